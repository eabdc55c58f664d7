"""Notebooks on the workers of a dask client: the same files as without, whatever is killed, without a lock."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workbench.core.cluster import connect
from workbench.runs import run, sweep

distributed = pytest.importorskip("distributed", reason="needs dask.distributed (the extra 'cluster')")
pytestmark = pytest.mark.slow  # processes that start

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 'seed = 0  # of the draws\nscale = "smoke"\nrate = 1.0\nwait = 0.0'
WORK = """\
import os, time, numpy as np
from workbench.runs import record
time.sleep(wait)
if rate == 13:
    raise ValueError("an unlucky rate")
draw = np.random.default_rng(seed).random(1000) @ np.random.default_rng(seed + 1).random(1000)
record(draw=draw, rate=rate, here=os.getcwd())
"""


@pytest.fixture(scope="module")
def client():
    with connect("local:2") as client:
        yield client


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "toy.ipynb", WORK)


def write(path, work):
    cells = [new_markdown_cell("# Toy"), new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    nbformat.write(new_notebook(cells=[*cells, new_code_cell(work)]), path)
    return path


def table(folder):
    with (folder / "sweep.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".sweep.lock")


def test_a_sweep_leaves_the_same_files_and_numbers(toy, client, tmp_path):
    grid = {"seed": [0, 1, 2], "rate": [2.0, 13.0]}
    here = sweep(toy, grid, out=tmp_path / "here", progress=False)
    spread = sweep(toy, grid, out=tmp_path / "spread", client=client, progress=False)
    assert [result.status for result in spread] == [result.status for result in here] == ["ok", "failed"] * 3
    assert [result.metrics for result in spread] == [result.metrics for result in here]
    assert table(tmp_path / "spread") == table(tmp_path / "here")
    assert files(tmp_path / "spread") == files(tmp_path / "here")
    assert "unlucky rate" in spread[1].problem
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "spread").glob("seed-*_rate-2*/*.html")}
    sweep(toy, grid, out=tmp_path / "spread", client=client, progress=False)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert len(before) == 3 and after == before, "what is finished is not run again"


def test_two_who_start_the_same_grid_share_it(toy, client, tmp_path):
    with distributed.Client(client.scheduler.address) as other, ThreadPoolExecutor(2) as pool:
        grid, out = {"seed": [0, 1, 2], "wait": [0.5]}, tmp_path / "shared"
        both = [pool.submit(sweep, toy, grid, out=out, client=each, progress=False) for each in (client, other)]
        first, second = (each.result() for each in both)
    assert [a.results for a in first] == [b.results for b in second], "each combination was run once"
    assert [result.status for result in first] == ["ok"] * 3


def test_a_run_of_two_notebooks(toy, client, tmp_path):
    other = write(tmp_path / "other.ipynb", WORK.replace("draw=draw", "other=draw"))
    results = run([toy, other], out=tmp_path / "runs", client=client, progress=False)
    assert [(result.name, result.status) for result in results] == [("toy", "ok"), ("other", "ok")]
    assert (tmp_path / "runs" / "index.html").is_file() and results[1].page.is_file()


def test_workers_that_are_killed_cost_only_time(toy, tmp_path):
    with connect("local:2") as client:

        def kill():
            for _ in range(2):
                time.sleep(3)
                victim = sorted(client.scheduler_info(n_workers=-1)["workers"])[0]
                client.run(os._exit, 1, workers=[victim], on_error="ignore")

        killer = threading.Thread(target=kill)
        killer.start()
        grid = {"seed": [0, 1, 2, 3], "wait": [1.0]}
        spread = sweep(toy, grid, out=tmp_path / "spread", client=client, progress=False)
        killer.join()
    assert [result.status for result in spread] == ["ok"] * 4
    assert not list((tmp_path / "spread").glob(".attempt-*"))
    assert [row["status"] for row in table(tmp_path / "spread")] == ["ok"] * 4


def test_the_command_is_killed_and_goes_on(toy, tmp_path):
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-m", "workbench", "sweep", str(toy), "-p", "seed=0,1,2,3", "-p", "wait=1"]
    words += ["--out", str(tmp_path / "swept"), "--cluster", "local:2"]
    own = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen(words, env=own, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "swept").glob("seed*/toy.html")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "swept").glob("seed*/toy.html")}
    done = subprocess.run(words, env=own, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "2 workers of tcp://127.0.0.1" in done.stderr and "every metric" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [row["status"] for row in table(tmp_path / "swept")] == ["ok"] * 4
    results = [json.loads(path.read_text()) for path in (tmp_path / "swept").glob("*/results.json")]
    assert {each["metrics"]["here"] for each in results} == {str(tmp_path)}
