"""The table of bench_gpu.py at its smallest size, where no library is installed but those of a bare GPU machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import workbench

SCRIPT = Path(__file__).with_name("bench_gpu.py")
ABSENT = (
    "IPython anywidget ipywidgets jupyter_client jupyter_core jupyterlab librosa matplotlib nbconvert nbformat "
    "opensmile papermill plotly pooch soundfile soxr speechbrain torchaudio typer umap"
).split()
BARE = f"""
import runpy, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {ABSENT!r} else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
sys.argv = [{str(SCRIPT)!r}, "--device", "cpu", "--size", "least", "--seconds", "1"]
sys.path.insert(0, {str(SCRIPT.parent)!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""
LINES = {"sae": 4, "probes": 1, "lasso": 2, "nmf": 3, "extraction": 6, "sampling": 2}
"""Least number of lines of each row of the table."""


def test_every_row_is_there_and_finite():
    path = os.pathsep.join([str(Path(workbench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", BARE]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    table = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    found = [cells[0].split(":")[0] for cells in table]
    assert {row: found.count(row) >= least for row, least in LINES.items()} == dict.fromkeys(LINES, True)
    for _, time, rival, ratio, goal, limit, share, *_ in table:
        ratio = re.fullmatch(r"(\S+)x \(\S+ to \S+\)", ratio)[1]
        numbers = [time.split()[0], rival.split(": ")[-1].split()[0], ratio, limit.split()[0], share.rstrip("%")]
        assert all(0 < float(number.replace(",", "")) < float("inf") for number in numbers), (rival, numbers)
        assert goal == "none" or goal.endswith(("reached", "missed"))
