"""The command line: every command does what it says, and bad input ends in one line and an exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

import workbench
from workbench.cli import app
from workbench.runs import find_notebooks
from workbench.runs.recording import read_results

NOTEBOOK = ["seed = 0\nscale = 'smoke'\nnames = ['a']", "from workbench.runs import record\nrecord(twice=2 * seed)"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    monkeypatch.delenv("WORKBENCH_WEIGHTS", raising=False)
    return tmp_path


@pytest.fixture
def sounds(here):
    """A folder with two classes of three short sounds each."""
    for label, pitch in (("high", 880), ("low", 220)):
        (here / "sounds" / label).mkdir(parents=True)
        for n in range(3):
            t = np.arange(16000) / 16000
            soundfile.write(here / "sounds" / label / f"{n}.wav", 0.3 * np.sin(2 * np.pi * (pitch + n) * t), 16000)
    return here / "sounds"


@pytest.fixture
def notebook(here):
    cells = [new_code_cell(source) for source in NOTEBOOK]
    cells[0].metadata.tags = ["parameters"]
    nbformat.write(new_notebook(cells=cells), here / "toy.ipynb")
    return "toy.ipynb"


def cli(*arguments: str, code: int = 0) -> str:
    """Run a command in this process; all it printed."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


# --- help and usage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "",
        "data",
        "data list",
        "data info",
        "data fetch",
        "data verify",
        "encoders list",
        "encoders info",
        "encoders fetch",
        "embed",
        "cache info",
        "cache verify",
        "cache prune",
        "run",
        "sweep",
        "compare",
        "notebooks copy",
        "handout",
        "grade",
        "gallery",
    ],
)
def test_every_command_has_help(command):
    text = cli(*command.split(), "--help")
    assert f"Usage: root {command}".strip() in text
    assert len(text.splitlines()) > 4


def test_help_is_fast():
    paths = os.pathsep.join([str(Path(workbench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    code = "import sys, time\nfrom workbench.cli import app\ntry:\n    app(['--help'])\n"
    code += "except SystemExit:\n    print(time.process_time())"
    seconds = []
    for _ in range(3):
        environment = {**os.environ, "PYTHONPATH": paths}
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
        seconds.append(float(done.stdout.splitlines()[-1]))
    assert min(seconds) < 0.7  # of the processor, start of Python included


@pytest.mark.parametrize("arguments", [["nope"], ["run", "--nope"], ["sweep", "toy"], ["embed", "voices"]])
def test_wrong_usage_exits_with_2(arguments):
    assert "Usage" in cli(*arguments, code=2)


# --- data and encoders ---------------------------------------------------------------------------------------------


def test_data_list_and_info_of_names(here):
    listed = cli("data", "list")
    assert re.search(r"^voices .*built in", listed, re.MULTILINE)
    assert re.search(r"^vocalset ", listed, re.MULTILINE)
    about = cli("data", "info", "iemocap")  # on request, and not here: that is news, not an error
    assert "on_request" in about and "not on this machine" in about


def test_data_info_of_a_folder_and_a_csv(sounds):
    text = cli("data", "info", "sounds")
    assert "6 clips" in text and re.search(r"^high +3", text, re.MULTILINE)
    table = sounds.parent / "table.csv"
    table.write_text("path,label\n" + "".join(f"sounds/{label}/0.wav,{label}\n" for label in ("low", "high")))
    assert "2 clips" in cli("data", "info", "table.csv")


def test_unknown_names_are_one_line_with_close_matches(here):
    text = cli("data", "info", "voicse", code=1)
    assert text.startswith("error: unknown dataset 'voicse'") and "did you mean 'voices'?" in text
    assert len(text.splitlines()) == 1
    text = cli("encoders", "info", "minni", code=1)
    assert text.startswith("error: name='minni' must be among mini") and "Traceback" not in text


def test_encoders(here):
    assert re.search(r"^mini +16000 ", cli("encoders", "list"), re.MULTILINE)
    assert re.search(r"^rate +32000$", cli("encoders", "info", "mn04_as"), re.MULTILINE)
    assert "is on this machine" in cli("encoders", "fetch", "mini")


NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate, self.last = 16000, torch.nn.Conv1d(1, 4, 320, 160)

    def forward(self, x):
        return self.last(x[:, None])


def make():
    torch.manual_seed(0)
    return Net()
"""


def test_an_encoder_in_code_of_ones_own(sounds, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(sounds.parent / "cache"))
    Path("net.py").write_text(NET)
    text = cli("encoders", "info", "net.py:make")
    assert re.search(r"^rate +16000$", text, re.MULTILINE) and re.search(r"^last +4 +100$", text, re.MULTILINE)
    assert "left out: output gives the same numbers as last" in text
    assert "6 clips x 1 layers of Net" in cli("embed", "sounds", "net.py:make")
    assert "6 found, 0 computed" in cli("embed", "sounds", "net.py:make")
    Path("net.py").write_text(NET.replace("self.last(x", "2 * self.last(x"))
    assert "0 found, 6 computed" in cli("embed", "sounds", "net.py:make")
    assert "net.py has no mke; did you mean make?" in cli("encoders", "info", "net.py:mke", code=1)


def test_fetch_and_verify_of_what_cannot_be_fetched(here):
    assert "error: voices: is generated when it is loaded" in cli("data", "fetch", "voices", code=1)
    assert "error: 'xai_genre'" in cli("data", "fetch", "xai_genre", code=1)
    assert "not on this machine" in cli("data", "verify", "esc50", code=1)


def test_fetch_asks_before_it_downloads(here, monkeypatch):
    asked = []

    def fetch(name, *, root, confirm, say):
        say(f"{name}: big")
        asked.append(confirm is None or confirm("Download it?"))

    monkeypatch.setattr("workbench.datasets.fetch", fetch)
    result = CliRunner().invoke(app, ["data", "fetch", "esc50"], input="n\n")
    assert "esc50: big" in result.output and "Download it? [y/N]" in result.output
    cli("data", "fetch", "esc50", "--yes")
    assert asked == [False, True]


def test_verify_exits_with_1_when_something_is_wrong(here, monkeypatch):
    import pandas as pd

    problems = pd.DataFrame([("a.wav", "damaged", "aa", "bb")], columns=["file", "problem", "expected", "found"])
    monkeypatch.setattr("workbench.datasets.verify", lambda name, root=None: problems)
    assert re.search(r"^a.wav +damaged +aa +bb$", cli("data", "verify", "esc50", code=1), re.MULTILINE)
    monkeypatch.setattr("workbench.datasets.verify", lambda name, root=None: problems.iloc[:0])
    assert cli("data", "verify", "esc50") == "esc50: nothing is wrong\n"


# --- embed and cache -----------------------------------------------------------------------------------------------


def test_embed_twice_then_look_at_the_store_and_empty_it(sounds):
    first = cli("embed", "sounds", "logmel", "--pooling", "mean+std", "--device", "cpu")
    assert "0 found, 6 computed" in first
    assert "6 found, 0 computed" in cli("embed", "sounds", "logmel", "--pooling", "mean+std", "--device", "cpu")
    assert re.search(r"^logmel .* 6 ", cli("cache", "info"), re.MULTILINE)
    assert "0 damaged" in cli("cache", "verify")
    assert "would be removed" in cli("cache", "prune", "--encoder", "logmel")
    assert "MB removed" in cli("cache", "prune", "--encoder", "logmel", "--yes")
    assert "(none)" in cli("cache", "info")


def test_cache_verify_exits_with_1_on_damage(sounds):
    cli("embed", "sounds", "logmel", "--device", "cpu")
    shards = [path for path in Path(os.environ["WORKBENCH_CACHE"]).rglob("*") if path.is_file()]
    largest = max(shards, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-20] ^= 255
    largest.chmod(0o644)
    largest.write_bytes(content)
    assert "1 damaged" in cli("cache", "verify", code=1)


def test_embed_names_the_bad_clip_or_skips_it(sounds):
    whole = (sounds / "low" / "0.wav").read_bytes()
    (sounds / "low" / "0.wav").write_bytes(whole[: len(whole) // 2])
    text = cli("embed", "sounds", "logmel", "--device", "cpu", code=1)
    assert "error:" in text and "low/0" in text and "Traceback" not in text
    text = cli("embed", "sounds", "logmel", "--device", "cpu", "--on-error", "skip")
    assert "1 skipped" in text and "skipped low/0" in text
    text = cli("embed", "sounds", "logmel", "--device", "cpu", "--on-error", "skip", "--mono", "7", code=1)
    assert "0 clips" in text and text.count("skipped low/") == text.count("skipped high/")  # nothing is no success


def test_embed_with_an_unknown_encoder_or_option(sounds):
    assert "'nope' must be a model folder, a hub id" in cli("embed", "sounds", "nope", code=1)
    assert "on_error='shrug' must be" in cli("embed", "sounds", "logmel", "--on-error", "shrug", code=1)
    assert "layers" in cli("embed", "sounds", "logmel", "--layers", "99x", code=1)


# --- runs ----------------------------------------------------------------------------------------------------------


def test_run_prints_where_and_compare_reads_it(notebook, here):
    for seed in ("1", "3"):
        text = cli("run", notebook, "--seed", seed, "--out", f"out{seed}", "-p", "names=x,y")
        assert text.splitlines()[-1] == f"out{seed}/index.html"
    assert read_results("out3/toy")["metrics"] == {"twice": 6}
    assert read_results("out3/toy")["parameters"]["names"] == ["x", "y"]
    text = cli("compare", "out1", "out3", "--csv", "both.csv")
    assert re.search(r"^metric +twice +2 +6 +4$", text, re.MULTILINE)
    assert text.startswith("toy (2 runs): toy\n  asked    scale='smoke', names=['x', 'y']\n  differs  seed\n")
    assert (here / "both.csv").read_text().splitlines()[-1] == "metric,twice,2,6,4"


def test_run_lists_notebooks_with_their_parameters(notebook):
    text = cli("run", notebook, "--list")
    assert re.search(r"^ +names +\['a'\] +list\[str\]", text, re.MULTILINE)


@pytest.mark.parametrize("width", [None, 60])
def test_the_list_of_notebooks_is_whole_and_as_wide_as_the_terminal(monkeypatch, width):
    if width is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(width))
    text = cli("run", "--list")
    assert "..." not in text and "*" not in text and max(map(len, text.splitlines())) <= (width or 100)
    words = " ".join(text.split())
    for notebook in find_notebooks():
        assert notebook.title in words
        for name, parameter in notebook.parameters.items():
            assert parameter.help, name
            assert set(parameter.help.split()) <= {*words.split()} and name in words
    for known in (
        "voices: 300 clips, 0.42 h, generated",
        "esc50: 2,000 clips, 2.8 h",
        "vocalset: about 3,600 recordings",
    ):
        assert known in words
    assert "states no number" not in words


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "toy.ipynb", "-p", "sede=1"], 1, "error: notebook toy has no parameter 'sede'; did you mean 'seed'?"),
        (["run", "toy.ipynb", "-p", "seed=one"], 1, "error: seed='one' must be an int"),
        (["run", "toy.ipynb", "-p", "seed"], 2, "must have the form key=value"),
        (["run", "toy.ipynb", "-p", "seed=1", "-p", "seed=2"], 2, "seed is given twice"),
        (
            ["run", "toy.ipynb", "-p", "seed=1", "--seed", "2"],
            1,
            "error: seed=2 must be left out",
        ),
        (["run", "toy.ipynb", "--seed", "-1"], 1, "error: seed=-1 must be"),
        (["run", "toy.ipynb", "--kernel", "nope"], 1, "error: kernel='nope' must be an installed Jupyter kernel"),
        (["sweep", "toy.ipynb", "-p", "seed=1", "--seed", "2"], 1, "must be left out: seed is given"),
        (["sweep", "toy.ipynb", "-p", "seed=1,,2"], 2, "seed: nothing between commas"),
        (["run", "toy.ipynb", "--scale", "huge"], 1, "error: scale='huge' must be one of smoke, small, paper"),
        (["run", "gone/toy.ipynb"], 1, "error: gone/toy.ipynb: no such notebook file"),
        (["sweep", "toy.ipynb", "-p", "seed=1,x"], 1, "error: seed='x' must be an int"),
        (["compare", "nowhere", "nowhere"], 1, "error: nowhere: no results here"),
    ],
)
def test_bad_requests_are_one_line_and_run_nothing(notebook, here, arguments, code, message):
    text = cli(*arguments, code=code)
    assert message in text and "Traceback" not in text
    assert not (here / "runs").exists()


def test_debug_shows_the_traceback(notebook):
    result = CliRunner().invoke(app, ["--debug", "run", notebook, "-p", "seed=one"])
    assert isinstance(result.exception, workbench.ParameterError)


def test_failed_runs_and_sweeps_exit_with_1_and_keep_the_rest(notebook, here):
    node = nbformat.read(notebook, as_version=4)
    node.cells.append(new_code_cell("assert seed != 2, 'two is not allowed'"))
    nbformat.write(node, here / notebook)
    text = cli("run", notebook, "--seed", "2", "--out", "bad", code=1)
    assert "notebook toy, cell 3: AssertionError: two is not allowed" in text and "bad/index.html" in text
    text = cli("sweep", notebook, "-p", "seed=1,2", code=1)
    assert re.search(r"^ +1 +ok +[\d.]+ +2$", text, re.MULTILINE)
    assert re.search(r"^ +2 +failed +[\d.]+ +4$", text, re.MULTILINE)
    shutil.rmtree(here / "runs")


def test_a_folder_that_cannot_be_made_is_named(notebook, here):
    (here / "file").touch()
    assert "error: the folder file/out cannot be written" in cli("run", notebook, "--out", "file/out", code=1)
    assert "error: the folder file/out cannot be made" in cli(
        "sweep", notebook, "-p", "seed=1", "--out", "file/out", code=1
    )


def test_a_package_that_does_not_load_is_one_line(here, monkeypatch):
    (here / "numba").mkdir()
    (here / "numba" / "__init__.py").write_text("raise ImportError('Numba needs NumPy 2.3 or less. Got NumPy 2.4.')")
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr("workbench.datasets.list_datasets", lambda root=None: __import__("numba"))
    text = cli("data", "list", code=1)
    assert text.startswith("error: numba cannot be loaded (Numba needs NumPy 2.3 or less. Got NumPy 2.4.)")
    assert "numpy " in text and "pip install -c constraints.txt -e ." in text and len(text.splitlines()) == 1
    result = CliRunner().invoke(app, ["--debug", "data", "list"])
    assert isinstance(result.exception, ImportError)


def test_too_little_memory_is_one_line(here, monkeypatch):
    def large(root=None):
        raise MemoryError("Unable to allocate 58 TiB")

    monkeypatch.setattr("workbench.datasets.list_datasets", large)
    assert cli("data", "list", code=1) == "error: the memory does not suffice: Unable to allocate 58 TiB\n"


def test_a_fault_of_the_package_keeps_its_traceback(here, monkeypatch):
    monkeypatch.setattr("workbench.datasets.list_datasets", lambda root=None: 1 / 0)
    assert isinstance(CliRunner().invoke(app, ["data", "list"]).exception, ZeroDivisionError)


def test_stopped_commands_say_what_is_kept(here, monkeypatch):
    def stopped(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.datasets.fetch", stopped)
    monkeypatch.setattr("workbench.datasets.load_dataset", stopped)
    goes_on = "; the same command goes on from there\n"
    assert cli("data", "fetch", "esc50", "--yes", code=130) == f"stopped. What was downloaded is kept{goes_on}"
    assert cli("embed", "voices", "mini", code=130) == f"stopped. What was embedded is in the store{goes_on}"
    assert cli("data", "info", "voices", code=130).endswith("\nstopped.\n")


def test_a_question_without_an_answer_ends_in_one_line(here, monkeypatch):
    monkeypatch.setattr("workbench.datasets.fetch", lambda name, *, root, confirm, say: confirm("Download it?"))
    text = CliRunner().invoke(app, ["data", "fetch", "esc50"], input="").output
    assert "stopped: the question was not answered" in text
