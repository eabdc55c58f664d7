"""Runs: parameters checked first, results kept whatever happens, sweeps that go on, pages that stand alone."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import workbench
from workbench.errors import ParameterError, RunError, WorkbenchError
from workbench.runs import compare, find_notebooks, read_notebook, record, run, sweep, sweep_table, text_table
from workbench.runs import recording as recording_module
from workbench.runs.export import formula_svg, to_html
from workbench.runs.notebooks import notebooks_folder
from workbench.runs.parameters import check_parameters, read_parameters, split_values
from workbench.runs.provenance import git_state, kernel_report, versions
from workbench.runs.recording import plain, read_results, write_text

PARAMETERS = """\
seed = 0  # of everything random
scale = "smoke"
rate: float = 1  # Hz
layers = [1, 2]
encoder: str | None = None
verbose = False
"""
WORK = """\
import numpy as np
from workbench.runs import record
draw = np.random.default_rng(seed).random(4)
record(accuracy=draw[0], curve=draw[1:], nested={"n": np.int64(3), "missing": float("nan")}, rate=rate)
"""


def write_notebook(path: Path, *cells, parameters: str | None = PARAMETERS) -> Path:
    """A notebook with a title, a parameters cell and the cells given (str: code; "# ...": a heading)."""
    made = [new_markdown_cell(f"# The {path.stem} notebook")]
    if parameters is not None:
        made.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    for cell in cells:
        made.append(new_markdown_cell(cell) if cell.startswith("#") else new_code_cell(cell))
    nbformat.write(new_notebook(cells=made), path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- parameters ----------------------------------------------------------------------------------------------------


def test_parameters_are_read_with_types_and_help_without_running():
    found = read_parameters(PARAMETERS, notebook="toy")
    assert list(found) == ["seed", "scale", "rate", "layers", "encoder", "verbose"]
    assert [found[name].type_name for name in found] == [
        "an int",
        "a str",
        "a float",
        "list[int]",
        "a str or None",
        "a bool",
    ]
    assert found["rate"].default == 1.0 and isinstance(found["rate"].default, float)
    assert found["seed"].help == "of everything random"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("rate", 3, 3.0), ("layers", (4, 5), [4, 5]), ("encoder", "mini", "mini"), ("encoder", None, None)],
)
def test_python_values_are_converted_only_where_nothing_is_lost(name, value, expected):
    checked = check_parameters(read_parameters(PARAMETERS, notebook="toy"), {name: value}, notebook="toy")[name]
    assert checked == expected and type(checked) is type(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", "abc"), ("seed", 1.0), ("seed", True), ("scale", 3), ("rate", "1"), ("layers", 3), ("layers", ["a"])],
)
def test_wrong_python_types_are_refused_by_name(name, value):
    known = read_parameters(PARAMETERS, notebook="toy")
    with pytest.raises(ParameterError, match=rf"^{name}=.*must be (an?|list).*notebook toy, default") as caught:
        check_parameters(known, {name: value}, notebook="toy")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("seed", "7", 7),
        ("scale", "7", "7"),
        ("rate", "1e-3", 0.001),
        ("layers", "3,4", [3, 4]),
        ("layers", "[3, 4]", [3, 4]),
        ("encoder", "none", None),
        ("encoder", "1.5", "1.5"),
        ("verbose", "yes", True),
        ("verbose", "False", False),
    ],
)
def test_text_is_parsed_by_the_type_of_the_default(name, text, expected):
    known = read_parameters(PARAMETERS, notebook="toy")
    assert check_parameters(known, {name: text}, notebook="toy", text=True)[name] == expected


@pytest.mark.parametrize(("name", "text"), [("seed", "abc"), ("seed", "1.5"), ("verbose", "maybe"), ("rate", "fast")])
def test_text_that_does_not_parse_is_refused(name, text):
    with pytest.raises(ParameterError, match=f"{name}='{text}' must be"):
        check_parameters(read_parameters(PARAMETERS, notebook="toy"), {name: text}, notebook="toy", text=True)


def test_other_annotations_and_untyped_none():
    source = (
        "from typing import Literal\nkind: Literal['a', 'b'] = 'a'\nfree = None\noptions: dict = {}\nmixed = [1, 2.5]"
    )
    known = read_parameters(source, notebook="toy")
    values = check_parameters(
        known, {"kind": "b", "free": "[1, x]", "options": "{a: 1}", "mixed": "3,4"}, notebook="toy", text=True
    )
    assert values == {"kind": "b", "free": [1, "x"], "options": {"a": 1}, "mixed": [3.0, 4.0]}
    with pytest.raises(ParameterError, match="one of 'a', 'b'"):
        check_parameters(known, {"kind": "c"}, notebook="toy")


def test_unknown_name_offers_close_ones():
    with pytest.raises(
        RunError, match=r"notebook toy has no parameter 'sede'; did you mean 'seed'\?.*it has: seed, scale"
    ):
        check_parameters(read_parameters(PARAMETERS, notebook="toy"), {"sede": 1}, notebook="toy")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 2 * 60", "line 1: x must be given a literal"),
        ("x = 1\nprint(x)", "line 2: the cell may only hold assignments"),
        ("x = (", "not valid Python"),
        ("x: Path = 1", "the annotation Path must be made of bool, int"),
        ("x: int = 'a'", "the default x='a' is not an int"),
    ],
)
def test_a_parameters_cell_that_cannot_be_checked_is_refused(source, message):
    with pytest.raises(RunError, match=re.escape(message)):
        read_parameters(source, notebook="toy")


def test_split_values_keeps_brackets_and_quotes_whole():
    assert split_values("a, b,c") == ["a", "b", "c"]
    assert split_values("[1,2],[3]") == ["[1,2]", "[3]"]
    assert split_values("'a,b',c") == ["'a,b'", "c"]


# --- notebooks -----------------------------------------------------------------------------------------------------


def test_source_hash_ignores_outputs_but_not_sources(here):
    path = write_notebook(here / "toy.ipynb", WORK)
    first = read_notebook(path).sha256
    node = nbformat.read(path, as_version=4)
    node.cells[2].outputs = [new_output("stream", text="hello")]
    node.cells[2].execution_count = 5
    nbformat.write(node, path)
    assert read_notebook(path).sha256 == first
    node.cells[2].source += "\n# more"
    nbformat.write(node, path)
    assert read_notebook(path).sha256 != first


def test_headings_of_cells_skip_code_fences(here):
    path = write_notebook(here / "toy.ipynb", "a = 1", "# Part\n\n```\n# not a heading\n```", "b = 2")
    notebook = read_notebook(path)
    assert notebook.title == "The toy notebook"
    assert notebook.headings == ("The toy notebook",) * 3 + ("Part",) * 2


def test_missing_and_unusable_notebooks(here):
    with pytest.raises(RunError, match="no notebook 'nope"):
        find_notebooks(["nope_not_there"])
    with pytest.raises(RunError, match=r"gone/x\.ipynb: no such notebook file"):
        find_notebooks("gone/x.ipynb")
    (here / "bad.ipynb").write_text("not json")
    with pytest.raises(RunError, match=r"bad\.ipynb: not a readable notebook"):
        find_notebooks(here / "bad.ipynb")
    write_notebook(here / "bare.ipynb", WORK, parameters=None)
    with pytest.raises(RunError, match=r"bare\.ipynb: no cell tagged 'parameters'"):
        find_notebooks(here / "bare.ipynb")
    (here / "other").mkdir()
    two = [write_notebook(here / "toy.ipynb"), write_notebook(here / "other" / "toy.ipynb")]
    with pytest.raises(RunError, match="two notebooks are called 'toy'"):
        find_notebooks(two)


def test_the_projects_own_notebooks_are_fit_to_be_run():
    try:
        folder = notebooks_folder()
    except RunError:
        pytest.skip("no notebooks in this checkout yet")
    for notebook in find_notebooks(None):
        assert {"seed", "scale"} <= set(notebook.parameters), notebook.path
        assert notebook.path.parent == folder


# --- record --------------------------------------------------------------------------------------------------------


class FakeClips:
    name, title, fingerprint, generated = "voices", "Voices", "0123456789abcdef", True
    table = ()

    def __len__(self):
        return 12


class FakeEncoder:
    def describe(self):
        return {"name": "mini", "fingerprint": "fedc", "layers": ("0", "1")}


def test_record_converts_and_separates_metrics_from_context(tmp_path, monkeypatch):
    results = {"schema": 1, "metrics": {"old": 1, "accuracy": 0.1}, "context": {}}
    write_text(tmp_path / "results.json", json.dumps(results))
    monkeypatch.setenv("WORKBENCH_RUN_DIR", str(tmp_path))
    shown = record(
        accuracy=np.float32(0.5),
        counts=np.array([[1, 2]]),
        bad=float("nan"),
        high=math.inf,
        name="<b>",
        flag=np.bool_(True),
        dataset=FakeClips(),
        encoder=FakeEncoder(),
    )
    kept = read_results(tmp_path)
    assert kept["metrics"] == {
        "old": 1,
        "accuracy": 0.5,
        "counts": [[1, 2]],
        "bad": None,
        "high": "Infinity",
        "name": "<b>",
        "flag": True,
    }
    assert kept["context"]["dataset"] == {
        "name": "voices",
        "fingerprint": "0123456789abcdef",
        "clips": 12,
        "generated": True,
        "title": "Voices",
    }
    assert kept["context"]["encoder"]["layers"] == ["0", "1"]
    assert "&lt;b&gt;" in shown._repr_html_() and "<b>" not in shown._repr_html_()


def test_record_without_a_run_keeps_in_memory(monkeypatch):
    monkeypatch.delenv("WORKBENCH_RUN_DIR", raising=False)
    monkeypatch.setattr(recording_module, "_in_memory", {"metrics": {}, "context": {}})
    assert repr(record(accuracy=0.91234567)) == "recorded accuracy=0.9123"
    record(accuracy=1)
    assert recording_module._in_memory["metrics"] == {"accuracy": 1}


def test_record_takes_tables_and_tensors():
    import pandas as pd
    import torch

    assert plain(pd.DataFrame({"a": [1, 2], "b": ["x", None]}), "t") == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert plain(pd.Series({"a": 1.5}), "t") == {"a": 1.5}
    assert plain(torch.ones(2, requires_grad=True), "t") == [1.0, 1.0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "metric=<object"),
        ([1, {"a": {1}}], r"metric\[1\]\['a'\]=\{1\} must be a number, text"),
        ({1: 2}, "metric=.*a dict whose keys are texts"),
        (np.zeros(200_000), "a list of 200000.*save arrays to a file"),
    ],
)
def test_record_refuses_what_json_cannot_hold(value, message):
    with pytest.raises(ParameterError, match=message):
        record(metric=value)


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    with pytest.raises(RunError, match=r"gone/results\.json: cannot be written"):
        write_text(tmp_path / "gone" / "results.json", "x")


def test_results_of_another_schema_are_refused(tmp_path):
    (tmp_path / "results.json").write_text('{"schema": 99}')
    with pytest.raises(RunError, match="schema 99, this version reads 1"):
        read_results(tmp_path)
    with pytest.raises(RunError, match="no results here"):
        read_results(tmp_path / "nothing.json")


# --- run -----------------------------------------------------------------------------------------------------------


def test_run_writes_everything_and_the_same_seed_gives_the_same_metrics(here):
    notebook = write_notebook(here / "toy.ipynb", WORK, "import os, sys; print(os.getcwd(), sys.executable)")
    (first,) = run(notebook, seed=3, parameters={"rate": 2}, out="first")
    (second,) = run(notebook, seed=3, parameters={"rate": 2}, progress=False)
    assert sorted(p.name for p in first.folder.iterdir()) == [
        "results.json",
        "toy.html",
        "toy.ipynb",
        "toy.log",
    ]
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d/toy", str(second.folder))
    assert first.metrics == second.metrics == read_results(first.folder)["metrics"]
    assert first.metrics["accuracy"] == np.random.default_rng(3).random(4)[0]
    kept = first.results
    assert kept["status"] == "ok" and kept["error"] is None and kept["seed"] == 3
    assert kept["parameters"] == {
        "seed": 3,
        "scale": "smoke",
        "rate": 2.0,
        "layers": [1, 2],
        "encoder": None,
        "verbose": False,
    }
    assert kept["device"] == "cpu" and kept["machine"]["cpus"] >= 1 and kept["seconds"] > 0
    assert 20e6 < kept["peak_memory_bytes"] < 2e9
    assert kept["versions"]["numpy"] == np.__version__
    executed = nbformat.read(first.folder / "toy.ipynb", as_version=4)
    assert str(here) in executed.cells[-1].outputs[0].text  # relative paths mean what they mean to the caller
    assert sys.executable in executed.cells[-1].outputs[0].text  # this environment, whatever kernels are installed
    page = (here / "first" / "index.html").read_text()
    assert 'href="toy/toy.html"' in page and "accuracy" in page and "1 ok" in page


def test_a_failed_cell_is_named_kept_and_does_not_stop_the_others(here, capsys):
    bad = write_notebook(
        here / "bad.ipynb", WORK, "## Later", "raise ValueError('<script>no</script>')", "print('never')"
    )
    good = write_notebook(here / "good.ipynb", WORK)
    failed, fine = run([bad, good], out="both")
    assert (failed.status, fine.status) == ("failed", "ok")
    error = failed.results["error"]
    assert (error["cell"], error["heading"], error["type"]) == (5, "Later", "ValueError")
    assert failed.problem == "notebook bad, cell 5 (under 'Later'): ValueError: <script>no</script>"
    assert failed.metrics["accuracy"] > 0  # what was recorded before is kept
    executed = nbformat.read(failed.folder / "bad.ipynb", as_version=4)
    assert executed.cells[-2].outputs[0].ename == "ValueError" and not executed.cells[-1].outputs
    for page in (failed.page, here / "both" / "index.html"):
        text = page.read_text()
        assert "ValueError" in text and "<script>no</script>" not in text
    assert "bad: failed" in capsys.readouterr().err


def test_a_dead_kernel_is_a_failed_cell(here):
    notebook = write_notebook(here / "toy.ipynb", WORK, "import os; os.kill(os.getpid(), 9)")
    (result,) = run(notebook, out="out", progress=False)
    assert result.status == "failed" and result.results["error"]["type"] == "DeadKernelError"
    assert result.results["error"]["cell"] == 4 and result.metrics["accuracy"] > 0
    assert result.page.is_file() and not list(result.folder.glob("*.partial*"))


def test_cells_tagged_raises_exception_may_raise(here):
    path = write_notebook(here / "toy.ipynb", "1 / 0", WORK)
    node = nbformat.read(path, as_version=4)
    node.cells[2].metadata.tags = ["raises-exception"]
    nbformat.write(node, path)
    (result,) = run(path, out="out", progress=False)
    assert result.status == "ok" and result.metrics["accuracy"] > 0


def test_a_page_that_cannot_be_made_costs_no_results(here):
    path = write_notebook(here / "toy.ipynb", WORK, "# Picture\n\n![x](attachment:gone.png)")
    after = write_notebook(here / "after.ipynb", WORK)
    result, fine = run([path, after], out="out", progress=False)
    assert (result.status, fine.status) == ("failed", "ok")
    assert "the page could not be made: missing attachment: gone.png" in result.problem
    assert result.metrics["accuracy"] > 0 and (result.folder / "toy.ipynb").is_file()
    assert "gone.png" in (here / "out" / "index.html").read_text()


def test_nothing_runs_and_nothing_is_written_when_a_parameter_is_wrong(here):
    notebook = write_notebook(here / "toy.ipynb", WORK)
    other = write_notebook(here / "other.ipynb", WORK, parameters="seed = 0\nscale = 'smoke'")
    with pytest.raises(ParameterError, match="seed='x' must be an int"):
        run(notebook, parameters={"seed": "x"})
    with pytest.raises(RunError, match="notebook other has no parameter 'rate'"):
        run([notebook, other], parameters={"rate": 1.0})
    with pytest.raises(ParameterError, match="scale='huge' must be one of smoke, small, paper"):
        run(notebook, scale="huge")
    with pytest.raises(ParameterError, match="scale='huge' must be one of smoke"):
        run(notebook, parameters={"scale": "huge"})
    unseeded = write_notebook(here / "unseeded.ipynb", parameters="scale = 'smoke'")
    with pytest.raises(RunError, match="must assign 'seed'"):
        run(unseeded)
    assert not (here / "runs").exists()


def test_out_must_be_empty_and_writable(here):
    notebook = write_notebook(here / "toy.ipynb")
    (here / "full").mkdir()
    (here / "full" / "thesis.tex").touch()
    with pytest.raises(RunError, match="out='full' must be a new or empty folder"):
        run(notebook, out="full")
    (here / "file").touch()
    with pytest.raises(RunError, match="the folder file cannot be written"):
        run(notebook, out="file")


def test_unknown_kernel_is_named(here):
    notebook = write_notebook(here / "toy.ipynb")
    with pytest.raises(ParameterError, match="kernel='no-such-kernel' must be an installed Jupyter kernel"):
        run(notebook, kernel="no-such-kernel", out="out", progress=False)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_kills_the_kernel_and_keeps_the_notebook(here):
    slow = "import os, time; open('pid', 'w').write(str(os.getpid())); print('begun', flush=True); time.sleep(60)"
    notebook = write_notebook(here / "toy.ipynb", WORK, slow)
    command = [sys.executable, "-m", "workbench", "run", str(notebook), "--out", "out"]
    paths = os.pathsep.join([str(Path(workbench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not (here / "pid").exists() or not (here / "pid").read_text():
        assert time.monotonic() < deadline and process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said, said
    with pytest.raises(ProcessLookupError):
        os.kill(int((here / "pid").read_text()), 0)
    kept = read_results(here / "out" / "toy")
    assert kept["status"] == "interrupted" and kept["metrics"]["accuracy"] > 0
    executed = nbformat.read(here / "out" / "toy" / "toy.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "begun\n"
    assert "1 interrupted" in (here / "out" / "index.html").read_text()


# --- sweep and compare ---------------------------------------------------------------------------------------------


def test_sweep_skips_finished_runs_failed_again_and_tabulates(here):
    break_one = "import pathlib\nif seed == 1 and not pathlib.Path('mended').exists(): raise RuntimeError('broken')"
    notebook = write_notebook(here / "toy.ipynb", WORK, break_one)
    grid = {"seed": ["0", "1"], "rate": ["1", "1.0"]}  # the same rate twice is one combination
    results = sweep(notebook, grid, text=True, progress=False)
    assert [result.status for result in results] == ["ok", "failed"]
    assert results[0].folder.parent == Path("runs/sweep-toy")
    columns, rows = sweep_table(results, ["seed", "rate"])
    assert columns == ["seed", "rate", "status", "seconds", "accuracy", "nested.n", "nested.missing", "rate (recorded)"]
    assert rows[1][:3] == [1, 1.0, "failed"]
    lines = text_table(columns, rows).splitlines()
    assert len(lines) == 4 and len({len(line.rstrip()) for line in lines[1:2]}) == 1
    (here / "mended").touch()
    before = (results[0].folder / "results.json").stat().st_mtime_ns
    again = sweep(notebook, {"seed": [0, 1], "rate": [1.0]}, progress=False)
    assert [result.status for result in again] == ["ok", "ok"]
    assert (results[0].folder / "results.json").stat().st_mtime_ns == before
    table = (here / "runs" / "sweep-toy" / "sweep.csv").read_text().splitlines()
    assert table[0].startswith("seed,rate,status") and len(table) == 3 and ",ok," in table[2]
    assert again[1].folder.name in (here / "runs" / "sweep-toy" / "index.html").read_text()

    frame = compare(*again)
    assert frame.loc[("parameter", "seed"), "difference"] == 1
    assert ("parameter", "rate") not in frame.index
    expected = again[1].metrics["accuracy"] - again[0].metrics["accuracy"]
    assert frame.loc[("metric", "accuracy"), "difference"] == pytest.approx(expected)
    assert compare("runs/sweep-toy").columns.tolist() == frame.columns.tolist()


def test_sweep_checks_the_whole_grid_first(here):
    notebook = write_notebook(here / "toy.ipynb", WORK)
    with pytest.raises(ParameterError, match="seed='x' must be an int"):
        sweep(notebook, {"seed": [0, "x"]})
    with pytest.raises(ParameterError, match=r"grid\['seed'\]='12' must be a list of values"):
        sweep(notebook, {"seed": "12"})
    with pytest.raises(ParameterError, match="at least one parameter"):
        sweep(notebook, {})
    assert not (here / "runs").exists()


def test_compare_needs_two_runs(tmp_path):
    with pytest.raises(RunError, match="no results here"):
        compare(tmp_path, tmp_path)
    with pytest.raises(WorkbenchError, match="at least two runs, got 0"):
        compare()


# --- export --------------------------------------------------------------------------------------------------------


def test_the_page_stands_alone_and_prefers_the_twin_of_a_widget():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x", "version_major": 2, "version_minor": 0}}
    outputs = [
        new_output("display_data", data={**view, "text/html": "<b>the twin</b>", "text/plain": "HBox()"}),
        new_output("display_data", data={**view, "text/plain": "a bare widget"}),
    ]
    text = "Energy $E_i = \\frac{1}{2}$, a price of \\$5, `code $x$`\n\n$$ a \\leq b \\tag{3} $$"
    node = new_notebook(cells=[new_markdown_cell(text), new_code_cell("1", outputs=outputs)])
    node.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    page = to_html(node, title="<script>alert(1)</script>")
    assert "<script" not in page and "&lt;script&gt;" in page  # no script but those of outputs
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert "@import" not in page and "url(http" not in page
    assert "the twin" in page and "a bare widget" not in page
    assert page.count('class="wb-formula"') == 2 and "<span>(3)</span>" in page and "code $x$" in page
    assert node.cells[1].outputs[0].data.keys() >= view.keys()  # the notebook itself is not touched


def test_formulas_are_drawn_or_kept_as_source():
    inline, display = formula_svg("x_i"), formula_svg("x_i", display=True)
    height = [float(re.search(r"height:([\d.]+)em", svg)[1]) for svg in (inline, display)]
    assert 0.3 < height[0] < 1.2 < 2 * height[1]
    assert 'aria-label="x_i"' in inline and display.startswith("<div")
    node = new_notebook(cells=[new_markdown_cell("$\\nosuchcommand{<x>}$")])
    with pytest.warns(UserWarning, match="formula kept as its TeX source"):
        page = to_html(node, title="t")
    assert "<code>\\nosuchcommand{&lt;x&gt;}</code>" in page


# --- provenance ----------------------------------------------------------------------------------------------------


def test_provenance(tmp_path):
    assert versions()["python"].startswith("3.")
    report = kernel_report()
    assert report["peak_memory_bytes"] > 20e6
    assert git_state(tmp_path) is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert git_state(tmp_path) == {"commit": None, "dirty": False}
    (tmp_path / "file").touch()
    assert git_state(tmp_path)["dirty"] is True
