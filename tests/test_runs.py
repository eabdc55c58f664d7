"""Runs: parameters checked first, results kept whatever happens, sweeps that go on, pages that stand alone."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import platform
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
from PIL import Image

import workbench
from workbench.core.dependencies import explain
from workbench.core.errors import ParameterError, RunError, WorkbenchError
from workbench.core.files import temporary_beside
from workbench.runs import (
    asked_text,
    compare,
    find_notebooks,
    record,
    run,
    settings,
    sweep,
    sweep_table,
    text_table,
)
from workbench.runs import kernel as kernel_module
from workbench.runs import recording as recording_module
from workbench.runs.export import _formula_svg, _parameters_once, to_html
from workbench.runs.notebooks import notebooks_folder, read_notebook
from workbench.runs.parameters import check_parameters, read_parameters, split_values
from workbench.runs.previews import Preview, previews
from workbench.runs.provenance import git_state, kernel_report, this_process, versions
from workbench.runs.recording import plain, read_results, write_text
from workbench.runs.report import index_page, table_html
from workbench.runs.running import check
from workbench.runs.single import is_finished
from workbench.runs.sweeps import _claimed

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


def test_a_page_shows_parameters_once_with_the_values_of_the_run(here):
    cells = [
        new_code_cell("a: int = 0  # how many, ü\nb = ''  # a name\n", metadata={"tags": ["parameters"]}),
        new_code_cell('# Parameters\na = 3\nb = "x # y"\n', metadata={"tags": ["injected-parameters"]}),
        new_code_cell("print(a)"),
    ]
    shown = [cell.source for cell in _parameters_once(cells)]
    assert shown == ['a: int = 3  # how many, ü\nb = "x # y"  # a name\n', "print(a)"]
    more = [new_code_cell("a = 0", metadata={"tags": ["parameters"]}), *cells[1:]]
    assert _parameters_once(more) == more, "b was set and has no place: nothing is left out"
    assert _parameters_once(cells[2:]) == cells[2:]


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
    inside = read_parameters('kind: str = (\n    "#"  # a or\n)  # b\nn = 1\n', notebook="toy")
    assert (inside["kind"].help, inside["n"].help) == ("a or b", "")


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


TYPED = """\
from typing import Any, Literal
ks: list[int] = [1]
xs: list[float] = [0.1]
words: list[str] = []
free: list = []
nested: list[list[int]] = []
table: dict[str, float] = {}
kind: Literal["", "a", "b"] = ""
name: str | None = "x"
which: list[int] | str = "all"
flags: list[bool] = []
size = 0  # clips; 0 takes the scale's own
folds = 2  # 1 or more
"""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("ks", "010", [10]),
        ("ks", "[010]", [10]),
        ("ks", "[1_000]", [1000]),
        ("ks", "1,2,", [1, 2]),
        ("ks", "", []),
        ("ks", "[]", []),
        ("xs", "[1e-3, .5,1.]", [0.001, 0.5, 1.0]),
        ("xs", "1e-3,.5,1.", [0.001, 0.5, 1.0]),
        ("words", "[no,1e3,010,2020-01-01,~,'a,b',it's]", ["no", "1e3", "010", "2020-01-01", "~", "a,b", "it's"]),
        ("words", "no,1e3,010,2020-01-01,~,'a,b',it's", ["no", "1e3", "010", "2020-01-01", "~", "a,b", "it's"]),
        ("free", "[1e-3,1:30,no,010,0x10,nan,true,none,'1',{a: [x]}]",
         [0.001, "1:30", "no", 10, "0x10", "nan", True, None, "1", {"a": ["x"]}]),
        ("nested", "[[1,2],[3]]", [[1, 2], [3]]),
        ("nested", "[1,2],[3]", [[1, 2], [3]]),
        ("table", "{a: 1, 'b': 1e-3}", {"a": 1.0, "b": 0.001}),
        ("kind", "'b'", "b"),
        ("name", "'none'", "none"),
        ("name", "null", None),
        ("which", "all", "all"),
        ("which", "[1, 2]", [1, 2]),
        ("flags", "[yes, off]", [True, False]),
    ],
)  # fmt: skip
def test_text_is_read_by_the_declared_type_inside_brackets_as_outside(name, text, expected):
    value = check_parameters(read_parameters(TYPED, notebook="toy"), {name: text}, notebook="toy", text=True)[name]
    assert value == expected and repr(value) == repr(expected)  # 1 is not 1.0, nor True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("ks", text) for text in ("0x10", "[0x10]", "1:30", "[1:30]", "1e3", "[yes]")],
        *[("ks", text) for text in ("1,,2", "[1,,2]", "[1,2", "1,2]")],
        *[("xs", text) for text in ("nan", "[nan]", "inf", "[1, -inf]", "1e999", "[fast]")],
        *[("nested", text) for text in ("[1,2]", "1,2")],
        *[("table", text) for text in ("a: 1", "{a: x}", "{a: 1, a: 2}", "{a}")],
        ("free", "[1, 2"),
        ("flags", "[maybe]"),
        ("kind", "c"),
        ("name", "caf\udce9"),
        ("size", "-3"),
        ("size", "9" * 5000),
        ("folds", "0"),
    ],
)  # fmt: skip
def test_text_that_means_nothing_is_refused_in_one_line(name, text):
    with pytest.raises(ParameterError, match=f"^{name}=.*must be .*notebook toy, default") as caught:
        check_parameters(read_parameters(TYPED, notebook="toy"), {name: text}, notebook="toy", text=True)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_python_values_that_a_file_could_not_hold_are_refused():
    known = read_parameters(TYPED + "anything = None\n", notebook="toy")
    for value in (object(), {1: 2}, math.nan, b"x", {1, 2}, [math.inf], {"a": b""}):
        with pytest.raises(ParameterError, match="anything=.*must be any number, text, list or dict"):
            check_parameters(known, {"anything": value}, notebook="toy")
    with pytest.raises(ParameterError, match="xs=.*must be"):
        check_parameters(known, {"xs": [10**400]}, notebook="toy")
    given = {"ks": np.arange(2), "xs": np.float32([0.5]), "size": np.int64(4), "name": Path("a/b")}
    values = check_parameters(known, given, notebook="toy")
    assert (values["ks"], values["xs"], values["size"], values["name"]) == ([0, 1], [0.5], 4, "a/b")
    assert type(values["size"]) is int


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
        ("x: (lambda: 1)() = 1", "line 1: the annotation"),
        ("x: 5 = 5", "line 1: the annotation 5 must be made of"),
        ("x = {1, 2}", "line 1: x must be given a literal (number, text"),
        ("x = 1j", "line 1: x must be given a literal"),
        ("x = {[]: 1}", "line 1: x must be given a literal"),
        ("x = 1\0", "not valid Python"),
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
    second = read_notebook(path).sha256
    path.with_suffix(".yaml").write_text("smoke: {size: 3}")
    assert len({first, second, read_notebook(path).sha256}) == 3


def test_headings_of_cells_skip_code_fences(here):
    path = write_notebook(here / "toy.ipynb", "a = 1", "# Part\n\n```\n# not a heading\n```", "b = 2")
    notebook = read_notebook(path)
    assert notebook.title == "The toy notebook"
    assert notebook.headings == ("The toy notebook",) * 3 + ("Part",) * 2
    marked = write_notebook(here / "toy.ipynb", "# Why *dog*, **`x_y`**? 2 * 3 * 4")
    assert read_notebook(marked).headings[-1] == "Why dog, x_y? 2 * 3 * 4"


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


HEADLINE = [
    ("Accuracy", np.float64(0.8812), 0.85, 0.91, "chance 0.17"),
    ("R2", 0.5, math.nan, None, "the spectrum 0.4"),
]


def test_a_headline_is_kept_whole_and_shown_in_words(tmp_path, monkeypatch):
    write_text(tmp_path / "results.json", json.dumps({"schema": 1, "metrics": {}, "context": {}}))
    monkeypatch.setenv("WORKBENCH_RUN_DIR", str(tmp_path))
    shown = record(headline=HEADLINE, n=1)
    record(n=2)  # rows stay where none are given
    kept = read_results(tmp_path)
    assert kept["metrics"] == {"n": 2}
    assert kept["headline"] == [
        {"text": "Accuracy", "value": 0.8812, "low": 0.85, "high": 0.91, "control": "chance 0.17"},
        {"text": "R2", "value": 0.5, "low": None, "high": None, "control": "the spectrum 0.4"},
    ]
    assert shown["Accuracy"] == "0.881, interval 0.85 to 0.91; read against: chance 0.17"
    assert shown["R2"] == "0.5, no interval; read against: the spectrum 0.4"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Accuracy 0.9", r"headline\[0\]='Accuracy 0.9' must be five things: text, value, low, high, control"),
        (("Accuracy", 0.9), r"headline\[0\]=.* must be five things"),
        (("", 0.9, 0.8, 1.0, "chance"), r"headline\[0\], its text='' must be a text"),
        (("Accuracy", 0.9, 0.8, 1.0, 0.5), r"its control=0.5 must be a text"),
        (("Accuracy", "0.9", 0.8, 1.0, "chance"), "its value='0.9' must be a finite number, or None"),
        (("Accuracy", 0.9, 0.8, math.inf, "chance"), "its high='Infinity' must be a finite number"),
        (("Accuracy", 0.9, 0.8, None, "chance"), r"its bounds=\[0.8, None\] must be two numbers"),
        (("Accuracy", 0.9, 0.95, 0.8, "chance"), r"its bounds=\[0.95, 0.8\] must be two numbers"),
    ],
)
def test_rows_of_a_headline_that_lack_something_are_refused(row, message):
    with pytest.raises(ParameterError, match=message):
        record(headline=[row])


def test_record_without_a_run_keeps_in_memory(monkeypatch):
    monkeypatch.delenv("WORKBENCH_RUN_DIR", raising=False)
    monkeypatch.setattr(recording_module, "_in_memory", {"metrics": {}, "context": {}, "headline": []})
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


def test_record_refuses_what_could_not_be_read_again():
    import pandas as pd

    with pytest.raises(ParameterError, match=r"a\[0\]=.*must be a text that is UTF-8"):
        plain(["caf\udce9"], "a")
    with pytest.raises(ParameterError, match="fewer than 4000 digits"):
        plain(10**5000, "a")
    assert plain(pd.DataFrame({0: [1]}), "t") == [{"0": 1}]
    with pytest.raises(ParameterError, match="columns have one name each"):
        plain(pd.DataFrame([[1, 2]], columns=["a", "a"]), "t")
    with pytest.raises(ParameterError, match="metric=.*FakeEncoder.* must be a number"):
        record(metric=FakeEncoder)


def finished_results(**changes) -> dict:
    """What a finished run writes, as far as its readers look at it."""
    whole = {
        "schema": 1,
        "notebook": {"name": "toy", "title": "Toy", "sha256": "0"},
        "status": "ok",
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 1.0,
        "seed": 0,
        "parameters": {"seed": 0},
        "metrics": {"accuracy": 0.5},
        "context": {},
        "error": None,
        "device": "cpu",
        "peak_memory_bytes": 1,
        "peak_gpu_memory_bytes": None,
        "machine": {},
        "versions": {},
        "git": None,
    }
    return whole | changes


def write_run(folder: Path, **changes) -> Path:
    folder.mkdir(parents=True)
    write_text(folder / "results.json", json.dumps(finished_results(**changes)))
    return folder


def gone() -> dict:
    """A process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return {"pid": process.pid, "host": platform.node(), "began": time.time()}


def test_a_run_whose_process_is_gone_reads_as_interrupted(tmp_path):
    dead = write_run(tmp_path / "dead", status="running", process=gone())
    results = read_results(dead)
    assert results["status"] == "interrupted" and "ended before it was finished" in results["error"]["message"]
    alive = write_run(tmp_path / "alive", status="running", process=this_process())
    assert read_results(alive)["status"] == "running"
    reused = this_process() | {"began": time.time() - 1e6}  # the number belongs to a later process by now
    assert read_results(write_run(tmp_path / "reused", status="running", process=reused))["status"] == "interrupted"
    elsewhere = gone() | {"host": "another-machine"}
    assert read_results(write_run(tmp_path / "far", status="running", process=elsewhere))["status"] == "running"
    table = compare(dead, alive)
    assert table.loc[("run", "status")].tolist()[:2] == ["interrupted", "running"]
    page = index_page("Runs", [("dead", results), ("alive", read_results(alive))])
    assert "1 interrupted, 1 running" in page and "ended before it was finished" in page


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "schema 'list'"),
        ('{"schema": 1}', "'metrics' must be a dict"),
        ("[" * 100_000, "not readable as results"),
        ("{", "not readable as results"),
        (json.dumps(finished_results(metrics=[1])), "'metrics' must be a dict"),
        (json.dumps(finished_results(machine=None)), "not whole, 'machine' is NoneType"),
        (json.dumps(finished_results(headline=[{"text": "a"}])), "not whole, 'headline' must be rows of text, value"),
        (json.dumps(finished_results(asked=[1])), "not whole, 'asked' must be a list of names"),
        (json.dumps(finished_results(error={"cell": 1})), "not whole, 'heading' of 'error'"),
        (json.dumps(finished_results(context={"encoder": 1})), "not whole, context 'encoder' is int"),
    ],
)
def test_damaged_and_foreign_results_are_named(tmp_path, content, message):
    good = write_run(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "results.json").write_text(content)
    with pytest.raises(RunError, match=rf"bad/results\.json: .*{re.escape(message)}"):
        compare(good, tmp_path / "bad")


def test_compare_of_runs_that_recorded_nothing_or_oddities(tmp_path):
    one, two = (write_run(tmp_path / name, metrics={}) for name in "ab")
    assert compare(one, two).empty
    huge = write_run(tmp_path / "c", metrics={"n": 10**400, "bad": None})
    table = compare(write_run(tmp_path / "d", metrics={"n": 0.5}), huge)
    assert table.loc[("metric", "n"), "difference"] is None
    for wrong in (5, [one, two], None):
        with pytest.raises(ParameterError, match="runs="):
            compare(one, wrong)


def test_pages_escape_names_values_and_states():
    evil = "<script>alert(1)</script>"
    results = finished_results(
        notebook={"name": evil, "title": evil, "sha256": ""},
        status=evil,
        parameters={evil: evil * 100},
        metrics={evil: [evil] * 50},
        context={evil: {"name": evil}},
        headline=[{"text": evil, "value": 1.0, "low": None, "high": None, "control": evil}],
        asked=[evil],
        error={"cell": evil, "heading": evil, "type": evil, "message": evil, "traceback": evil},
        git={"commit": evil, "dirty": True},
        machine={evil: evil},
    )
    shown = {evil: Preview(picture="data:image/webp;base64,AA==", picture_of=evil)}
    page = index_page(evil, [(evil, results)], previews=shown, table=table_html([evil], [[evil]]), note=evil)
    assert "<script" not in page and "&lt;script&gt;" in page
    heard = index_page("t", [("a", finished_results())], previews={"a": Preview(sound=f'"{evil}', sound_of=evil)})
    assert evil not in heard and heard.count("<script>") == 1  # the page's own
    assert text_table(["a\x1b[31m"], [["b\nc"]]).splitlines()[2:] == ["b c"]


def png(width: int, height: int, *, blank: bool = False) -> str:
    """A picture of noise, as an output holds it."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 1 if blank else 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def test_a_preview_is_the_first_figure_and_the_first_sound_of_a_notebook(tmp_path):
    sound, long = "data:audio/mpeg;base64,AAAA", "data:audio/wav;base64," + "A" * 400_000
    players = (
        f"<style>.a {{}}</style><div>Title</div><b>first</b><audio src='{long}'></audio>"
        f"<b>low &amp; high</b><i>clip 7</i><audio controls src='{sound}'></audio>"
        "<audio src='data:audio/mpeg;base64,BB=='></audio>"
    )
    figures = [png(40, 40), png(1000, 100), png(300, 300, blank=True), png(1200, 600), png(500, 500)]
    outputs = [new_output("display_data", data={"image/png": each, "text/plain": "Figure"}) for each in figures]
    outputs.append(new_output("display_data", data={"text/html": players}))
    (tmp_path / "run").mkdir()
    cells = [new_markdown_cell("# Part *one*"), new_code_cell("1", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "run" / "toy.ipynb")
    (made,) = previews(tmp_path, ["run", "not there"]).values()
    kind, data = made.picture.split(",")
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert kind == "data:image/webp;base64" and picture.size == (640, 320)
    assert (made.picture_of, made.sound, made.sound_of) == ("Part one", sound, "low & high, clip 7")


def test_a_notebook_that_shows_nothing_or_is_damaged_has_no_preview(tmp_path):
    for name, text in {"bare": json.dumps(new_notebook(cells=[new_code_cell("1")])), "bad": "{"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "toy.ipynb").write_text(text)
    assert previews(tmp_path, ["bare", "bad"]) == {"bare": Preview(), "bad": Preview()}


def test_pictures_and_sounds_of_one_page_have_a_limit(tmp_path):
    output = new_output(
        "display_data", data={"text/html": f"<audio src='data:audio/mpeg;base64,{'A' * 300_000}'></audio>"}
    )
    for n in range(6):
        (tmp_path / str(n)).mkdir()
        nbformat.write(new_notebook(cells=[new_code_cell("1", outputs=[output])]), tmp_path / str(n) / "toy.ipynb")
    made = previews(tmp_path, map(str, range(6)))
    assert list(made) == ["0", "1", "2", "3"]
    assert len(index_page("t", [(name, finished_results()) for name in made], previews=made)) < 1_500_000


def test_the_index_leads_with_main_results_and_has_no_marks_of_markdown():
    rows = [
        {"text": f"Result *{n}*", "value": 0.12345, "low": 0.1, "high": 0.2, "control": f"**chance** {n}"}
        for n in range(4)
    ]
    results = finished_results(
        notebook={"name": "toy", "title": "Why *dog*?", "sha256": "0"},
        headline=[*rows, {"text": "Result 9", "value": 1, "low": None, "high": None, "control": "nothing"}],
        parameters={"seed": 0, "scale": "smoke", "size": 7, "label": "vowel_of_the_notebook"},
        asked=["size"],
        metrics={"accuracy": 0.5},
    )
    page = index_page("Sweep of Why *dog*?", [("toy", results)])
    assert "*" not in re.sub(r"<style>.*?</style>", "", page)
    assert [f"Result {n}" in page for n in range(5)] == [True, True, True, False, False]
    assert "<b>0.123</b> interval 0.1 to 0.2" in page and "read against: chance 2" in page
    assert (
        page.index("seed = 0, scale = smoke, size = 7<") < page.index("Result 0") < page.index("vowel_of_the_notebook")
    )
    plain_page = index_page("t", [("toy", results | {"headline": []})])
    assert "accuracy = <b>0.5</b>" in plain_page


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
    assert kept["asked"] == ["seed", "rate"] and kept["headline"] == []
    assert kept["device"] == "cpu" and kept["machine"]["cpus"] >= 1 and kept["seconds"] > 0
    assert 20e6 < kept["peak_memory_bytes"] < 2e9
    assert kept["versions"]["numpy"] == np.__version__
    executed = nbformat.read(first.folder / "toy.ipynb", as_version=4)
    assert str(here) in executed.cells[-1].outputs[0].text  # relative paths mean what they mean to the caller
    assert sys.executable in executed.cells[-1].outputs[0].text  # this environment, whatever kernels are installed
    log = (first.folder / "toy.log").read_text().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d |, [\d.]+ s$", "", line) for line in log] == [
        "running",
        "cell 2 of 4 (The toy notebook)",
        "cell 3 of 4 (The toy notebook)",
        "cell 4 of 4 (The toy notebook)",
        "ok",
    ]
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


def test_a_state_is_saved_as_often_as_it_costs_little(monkeypatch):
    from workbench.runs import kernel

    clock, saved = [0.0], []
    monkeypatch.setattr(kernel.time, "monotonic", lambda: clock[0])

    def save():
        saved.append(clock[0])
        clock[0] += 1.0

    saving = kernel._sparingly(save)
    while clock[0] < 100:
        saving()
        clock[0] += 1.0
    assert saved == [0.0, 20.0, 40.0, 60.0, 80.0], "one second in twenty"


def test_a_dead_kernel_is_a_failed_cell(here):
    notebook = write_notebook(here / "toy.ipynb", WORK, "import os; os.kill(os.getpid(), 9)")
    (result,) = run(notebook, out="out", progress=False)
    assert result.status == "failed" and result.results["error"]["type"] == "DeadKernelError"
    assert result.results["error"]["cell"] == 4 and result.metrics["accuracy"] > 0
    assert result.page.is_file() and not list(result.folder.glob("*.partial*"))
    assert "process" not in result.results and platform.node() not in (result.folder / "results.json").read_text()


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


def test_unknown_kernel_is_named_before_anything_is_written(here, monkeypatch):
    notebook = write_notebook(here / "toy.ipynb")
    kernels = here / "jupyter" / "kernels"
    write_kernel(kernels, "r", ["R"], language="R")
    monkeypatch.setenv("JUPYTER_PATH", str(here / "jupyter"))
    for name in ("no-such-kernel", "", "r"):
        with pytest.raises(ParameterError, match=f"kernel='{name}' must be an installed Jupyter kernel"):
            run(notebook, kernel=name, out="out")
        with pytest.raises(ParameterError, match=f"kernel='{name}' must be an installed Jupyter kernel"):
            sweep(notebook, {"seed": [1]}, kernel=name)
    assert not (here / "out").exists() and not (here / "runs").exists()


def write_kernel(folder: Path, name: str, argv: list[str], language: str = "python") -> None:
    (folder / name).mkdir(parents=True)
    spec = {"argv": argv, "display_name": name, "language": language}
    (folder / name / "kernel.json").write_text(json.dumps(spec))


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["/bin/sh", "-c", "echo no ipykernel here >&2; exit 3"], "the kernel's last words: no ipykernel here"),
        (["/no/such/python", "-f", "{connection_file}"], "No such file or directory: '/no/such/python'"),
    ],
)
def test_a_kernel_that_does_not_start_is_a_clear_failure(here, monkeypatch, argv, reason):
    notebook = write_notebook(here / "toy.ipynb", WORK)
    write_kernel(here / "jupyter" / "kernels", "broken", argv)
    monkeypatch.setenv("JUPYTER_PATH", str(here / "jupyter"))
    with pytest.raises(RunError, match=f"notebook toy: its kernel did not start: .*{reason}"):
        run(notebook, kernel="broken", out="out", progress=False)
    kept = read_results(here / "out" / "toy")
    assert kept["status"] == "failed" and reason in kept["error"]["message"]
    assert "1 failed" in (here / "out" / "index.html").read_text()


@pytest.mark.skipif(os.name != "posix", reason="local sockets")
def test_sockets_stand_where_their_names_fit(here, monkeypatch):
    long = here / ("x" * 100)
    long.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    for place in (str(long), str(here / "missing"), "", "relative"):
        monkeypatch.setenv("TMPDIR", place)
        with kernel_module._connection_folder(here) as (folder, local):
            assert local and folder.startswith("/tmp/wb-") and not list(long.iterdir())
        assert not Path(folder).exists()


def test_a_notebook_runs_where_no_local_socket_can_be(here, monkeypatch):
    monkeypatch.setattr(kernel_module, "_LONGEST_SOCKET", 0)
    (here / "a {b} 50% ü").mkdir()
    notebook = write_notebook(here / "a {b} 50% ü" / "my {toy} 100% ü.ipynb", WORK)
    (result,) = run(notebook, out="out {x}", progress=False)
    assert result.status == "ok" and result.metrics["accuracy"] > 0 and result.page.is_file()
    assert not [name for name in os.listdir(result.folder) if name.startswith(".")]


def test_what_is_wrong_with_the_place_is_said_first(here):
    notebook = write_notebook(here / "toy.ipynb").resolve()
    (here / "runs").touch()
    with pytest.raises(RunError, match="the folder runs cannot be written"):
        run(notebook)
    (here / "gone").mkdir()
    os.chdir(here / "gone")
    (here / "gone").rmdir()
    try:
        for call in (lambda: run(notebook), lambda: sweep(notebook, {"seed": [1]})):
            with pytest.raises(RunError, match="the current directory is gone"):
                call()
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parameters": 5}, "parameters=5 must be a mapping"),
        ({"parameters": {1: 2}}, "parameters=.*must be a mapping"),
        ({"parameters": {"seed": 1}, "seed": 2}, "seed=2 must be left out: it is given a second time"),
        ({"parameters": {"scale": "smoke"}, "scale": "small"}, "scale='small' must be left out"),
        ({"parameters": {"seed": -1}}, "seed=-1 must be"),
        ({"seed": -1}, "seed=-1 must be"),
        ({"seed": True}, "seed=True must be"),
        ({"seed": 1.5}, "seed=1.5 must be"),
        ({"scale": None}, "scale=None must be"),
        ({"out": 5}, "out=5 must be"),
        ({"kernel": 5}, "kernel=5 must be"),
        ({"progress": "yes"}, "progress='yes' must be"),
        ({"names": 5}, "names=5 must be"),
        ({"parameters": {"device": "gpu"}}, "device='gpu' must be 'auto', 'cpu', 'cuda'"),
        ({"parameters": {"device": "cuda:99"}}, "device='cuda:99' must be one that is there"),
        ({"parameters": {"dataset": "voicse"}}, "dataset='voicse' must be the name of a dataset.*voices"),
        ({"parameters": {"encoder": "minni"}}, "encoder='minni' must be a model folder.*did you mean mini"),
        ({"parameters": {"encoder": "net.py:make"}}, "encoder='net.py:make' must be .*net.py is no file"),
        ({"parameters": {"encoder": f"{__file__}:nothing_there"}}, "encoder='.*' must be .* has no nothing_there"),
        ({"parameters": {"encoder": __file__}}, "encoder='.*' must be a model folder .*, not a file; .*say what of it"),
        ({"parameters": {"judge": "minni"}}, "judge='minni' must be a model folder"),
        (
            {"parameters": {"dataset": "me/voices"}},
            "dataset='me/voices' must be .*no such folder or file; .*hf:me/voices",
        ),
        ({"parameters": {"dataset": "hf:a/b/c"}}, "dataset='hf:a/b/c' must be .*no name of a set on the hub"),
        ({"parameters": {"dataset": "~nobody_of_that_name/x"}}, "dataset='~nobody.*' must be .*no such folder"),
        ({"parameters": {"dataset": "x" * 300}}, "dataset='x.*' must be the name of a dataset"),
        ({"parameters": {"encoder": "x" * 300}}, "encoder='x.*' must be a model folder"),
        ({"parameters": {"dataset": "sounds.csv"}}, "dataset='sounds.csv' must be .*no such folder or file"),
        ({"parameters": {"size": -1}}, "size=-1 must be an int, 0 or more"),
        ({"names": "predefined_prototypes", "parameters": {"train": "none"}}, "train='none' must be one of '', 'head'"),
        ({"names": "pecmae", "parameters": {"autoencoder": "none"}}, "autoencoder='none' must be mini-mel, pecmae-4s"),
        (
            {"names": "pecmae", "parameters": {"autoencoder": "minimel"}},
            "autoencoder='minimel'.*did you mean 'mini-mel'",
        ),
        ({"names": "listen_to_interpret", "parameters": {"classifier": "none"}}, "classifier='none' must be a model"),
        ({"names": "listen_to_interpret", "parameters": {"classifier": "vgh"}}, "classifier='vgh' .*did you mean vgg"),
        ({"names": "sae", "parameters": {"dataset": "esc5"}}, "dataset='esc5' .*did you mean 'esc50'"),
        ({"names": "sae", "parameters": {"encoder": "huber-base"}}, "encoder='huber-base' .*did you mean hubert-base"),
        ({"names": "sae", "parameters": {"encoder": "conv"}}, "encoder='conv' must be a model folder"),
        (
            {"names": "sae", "parameters": {"latents": 64}},
            r"latents=64 must be 100 or more, or given with sparsities=\[0.75, 0.9, 0.95\]: .* 0.99 keeps none of 64",
        ),
        (
            {"names": "sae", "parameters": {"sparsities": [0.9, 0.999]}},
            r"sparsities=\[0.9, 0.999\] must be \[0.9\], or given with latents=1000 or more",
        ),
        ({"names": "sae", "parameters": {"sparsities": [1.5]}}, r"sparsities=\[1.5\] must be shares"),
        (
            {"names": "predefined_prototypes", "parameters": {"encoder": "conv", "train": "head"}},
            "train='head' must be 'scratch' with encoder='conv'",
        ),
        ({"names": "listen_to_interpret", "parameters": {"seeds": 0}}, "seeds=0 must be an int, 1 or more"),
    ],
)
def test_values_that_mean_nothing_are_refused_before_a_folder_is_made(here, arguments, message):
    parameters = (
        "seed = 0\nscale = 'smoke'\ndevice = 'auto'\ndataset = ''  # name, folder or csv\nencoder = 'mini'\n"
        "judge = ''  # encoder of the judge\nsize = 0  # clips; 0 takes the scale's own\n"
    )
    notebook = write_notebook(here / "toy.ipynb", parameters=parameters)
    with pytest.raises((ParameterError, RunError), match=message):
        run(**{"names": notebook, "out": "out", **arguments})
    assert not (here / "out").exists()


def test_words_that_a_notebook_uses_for_something_else_are_left_alone(here):
    parameters = "seed = 0\nscale = 'smoke'\nencoder = 'lstm'\ndataset = 'cifar'\nsplit = ''  # dataset of the split\n"
    notebook = read_notebook(write_notebook(here / "toy.ipynb", parameters=parameters))
    given = {"encoder": "gru", "dataset": "mnist"}
    assert check(notebook, given, scale="smoke", seed=None)["encoder"] == "gru"
    known = read_notebook(write_notebook(here / "other.ipynb", parameters=parameters.replace("lstm", "mini")))
    (here / "net.py").write_text("def make(): ...")
    (here / "sounds.csv").write_text("path,label")
    for value in ("mini", "facebook/hubert-base-ls960", "hubert-base", "net.py:make", str(here)):
        assert check(known, {"encoder": value}, scale="smoke", seed=None)["encoder"] == value
    toy = read_notebook(write_notebook(here / "toy.ipynb", parameters="seed = 0\nscale = 'smoke'\ndataset = ''\n"))
    for value in ("voices", "esc50", "hf:me/voices", "hf:me/voices:all@main", "sounds.csv", str(here)):
        assert check(toy, {"dataset": value}, scale="smoke", seed=None)["dataset"] == value


def test_names_of_the_notebooks_own_and_what_they_ask_for():
    (tagger,) = find_notebooks("listen_to_interpret")
    assert check(tagger, {"classifier": "vgg"}, scale="smoke", seed=None)["classifier"] == "vgg"
    (prototypes,) = find_notebooks("predefined_prototypes")
    for value in ("conv", "beats", "ast"):
        assert check(prototypes, {"encoder": value}, scale="paper", seed=None)["encoder"] == value
    for given in ({"latents": 100}, {"latents": 64, "sparsities": [0.95]}, {"sparsities": [0.0, 0.998]}):
        check(find_notebooks("sae")[0], given, scale="smoke", seed=None)


def test_a_wrong_name_is_refused_before_anything_large_is_imported():
    code = (
        "import sys\nfrom workbench.cli import app\ntry: app(sys.argv[1:])\n"
        "except SystemExit: print(*sorted({'torch', 'nbformat', 'papermill', 'librosa'} & {*sys.modules}))"
    )
    for wrong in ("dataset=voicez", "encoder=minni"):
        command = [sys.executable, "-c", code, "run", "sae", "-p", wrong]
        paths = os.pathsep.join([str(Path(workbench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
        assert "did you mean" in done.stderr and done.stdout == "\n", done


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_kills_the_kernel_and_keeps_the_notebook(here, number):
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
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said, said
    assert said.splitlines()[-1] == "stopped. notebook toy was stopped; what it did is kept in out/toy"
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


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_sweep_killed_while_a_page_is_written_is_finished_by_the_next(here):
    notebook = write_notebook(here / "toy.ipynb", WORK)
    command = [sys.executable, "-m", "workbench", "sweep", str(notebook), "-p", "seed=3,3", "--out", "out"]
    paths = os.pathsep.join([str(Path(workbench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(here.glob("out/*/toy.ipynb")):
        time.sleep(0.002)  # all cells are run; nothing is left to do but the page
    process.kill()
    process.wait()
    (place,) = (here / "out").glob("seed-*")
    assert read_results(place)["status"] == "interrupted" and not (place / "toy.html").exists()
    assert "0 of 1 combinations" in (here / "out" / "index.html").read_text()
    for folder in (here / "out", place):
        temporary_beside(folder / "sweep.csv").touch()
    (result,) = sweep(notebook, {"seed": [3]}, out="out", progress=False)
    assert result.status == "ok" and "</html>" in result.page.read_text()
    assert not list((here / "out").rglob("*.tmp"))
    assert "1 of 1 combinations" in (here / "out" / "index.html").read_text()

    assert is_finished(result)
    whole = result.page.read_bytes()
    result.page.write_bytes(whole[: len(whole) // 2])
    assert not is_finished(result)
    result.page.unlink()
    assert not is_finished(result)


def test_a_sweep_keeps_out_of_folders_that_are_not_its_own(here):
    notebook = write_notebook(here / "toy.ipynb")
    (here / "site").mkdir()
    (here / "site" / "index.html").write_text("mine")
    with pytest.raises(RunError, match="the folder site holds files that are no sweep's"):
        sweep(notebook, {"seed": [1]}, out="site")
    assert (here / "site" / "index.html").read_text() == "mine"
    write_run(here / "other" / "seed-1", notebook={"name": "sae", "title": "", "sha256": ""})
    (here / "other" / "sweep.csv").touch()
    with pytest.raises(RunError, match="the folder other holds a sweep of the notebook 'sae'"):
        sweep(notebook, {"seed": [1]}, out="other")
    busy = pytest.raises(RunError, match="another process is at work on the sweep in busy")
    with _claimed(here / "busy", read_notebook(notebook)), busy:
        sweep(notebook, {"seed": [1]}, out="busy")


@pytest.mark.parametrize(
    ("grid", "more", "message"),
    [
        (5, {}, "grid=5 must be a mapping"),
        ({1: [2]}, {}, "grid=1 must be a mapping whose keys"),
        ({"seed": {"a": 1}}, {}, "must be a list of values"),
        ({"seed": []}, {}, "at least one value"),
        ({"seed": [1]}, {"seed": 2}, r"grid\['seed'\]=\[1\] must be left out: seed is given"),
        ({"seed": [1]}, {"parameters": {"seed": 2}}, "must be left out: seed is given"),
        ({"scale": ["smoke"]}, {"scale": "small"}, "must be left out: scale is given"),
        ({"sede": [1]}, {}, "no parameter 'sede'; did you mean 'seed'"),
    ],
)
def test_grids_that_cannot_be_meant(here, grid, more, message):
    notebook = write_notebook(here / "toy.ipynb")
    with pytest.raises((ParameterError, RunError), match=message):
        sweep(notebook, grid, **more)
    assert not (here / "runs").exists()


def test_sweep_checks_the_whole_grid_first(here):
    notebook = write_notebook(here / "toy.ipynb", WORK)
    with pytest.raises(ParameterError, match="seed='x' must be an int"):
        sweep(notebook, {"seed": [0, "x"]})
    with pytest.raises(ParameterError, match=r"grid\['seed'\]='12' must be a list of values"):
        sweep(notebook, {"seed": "12"})
    with pytest.raises(ParameterError, match="at least one parameter"):
        sweep(notebook, {})
    assert not (here / "runs").exists()


def test_a_table_of_a_given_width_loses_nothing():
    words = "a description of many words that is much longer than any of the columns could be on such a line"
    text = text_table(["name", "n", ""], [["first", 1, words], ["x" * 30, 22, ""]], width=40)
    lines = text.splitlines()
    assert (
        max(map(len, lines)) <= 40 and text.replace("\n", "").count("x") == 30 and set(words.split()) <= {*text.split()}
    )
    assert text_table(["a"], [[words]]).endswith("...") and text_table(["a"], [["b"]], width=40) == "a\n-\nb"


def test_what_was_asked_is_said_of_each_notebook(tmp_path):
    own = {"seed": 0, "scale": "smoke", "size": 0, "label": ""}
    for n in (1, 2):
        write_run(tmp_path / f"a{n}", parameters=own | {"seed": n, "size": 7}, asked=["seed", "size"])
    other = {"name": "other", "title": "Why *dog*?", "sha256": "0"}
    write_run(tmp_path / "b", notebook=other, parameters=own, asked=[])
    assert asked_text(tmp_path).splitlines() == [
        "toy (2 runs): Toy",
        "  asked    scale='smoke', size=7",
        "  differs  seed",
        "  its own  label=''",
        "other: Why dog?",
        "  asked    seed=0, scale='smoke'",
        "  its own  size=0, label=''",
    ]
    assert max(map(len, asked_text(tmp_path, width=24).splitlines())) <= 24


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


def test_the_page_lists_its_headings_and_can_hide_its_code():
    shown = new_output("display_data", data={"text/markdown": "## not a heading of the text"})
    cells = [
        new_markdown_cell("# The [title](https://example.org)\n\ntext\n\n## Part <b>1</b> & $x_1$"),
        new_code_cell("1", outputs=[shown]),
        new_markdown_cell("### Deeper"),
    ]
    page = to_html(new_notebook(cells=cells), title="t")
    guide = re.search(r'<nav class="wb-guide">.*?</nav>', page, re.S)[0]
    links = re.findall(r'padding-left:([\d.]+)em"><a href="#([^"]*)">(.*?)</a></li>', guide, re.S)
    assert [float(indent) for indent, _, _ in links] == [0, 1.4, 2.8]
    assert [re.sub(r"<svg.*?</svg>", "[formula]", text) for _, _, text in links] == [
        "The title", "Part <b>1</b> &amp; [formula]", "Deeper",
    ]  # fmt: skip
    for _, name, _ in links:
        assert page.count(f'id="{name}"') == 1
    assert 'class="wb-hide-code"' in guide and "<script" not in guide
    alone = to_html(new_notebook(cells=[new_markdown_cell("text")]), title="t")
    assert '<nav class="wb-guide">' not in alone and "<!--guide-->" not in alone


def test_formulas_are_drawn_or_kept_as_source():
    inline, display = _formula_svg("x_i"), _formula_svg("x_i", display=True)
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


def write_package(folder: Path, name: str, source: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(source)


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        (
            "torchaudio",
            "def load():\n    raise OSError('Could not load this library: libtorchaudio.so')\nload()",
            "torchaudio cannot be loaded (Could not load this library: libtorchaudio.so). Installed: torchaudio ",
        ),
        (
            "numba",
            "raise ImportError('Numba needs NumPy 2.3 or less. Got 2.4.')",
            "numba cannot be loaded (Numba needs",
        ),
        ("librosa", "import numpy\nnumpy.no_such_thing", "librosa cannot be loaded (module 'numpy' has no attribute"),
        ("opensmile", "import no_such_module_at_all", 'pip install "audio-workbench[egemaps]"'),
    ],
)
def test_a_package_that_does_not_load_is_one_line_with_the_cure(tmp_path, monkeypatch, name, source, said):
    write_package(tmp_path, name, source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(Exception) as caught:
        __import__(name)
    text = explain(caught.value)
    assert said in text and "The cure: pip install" in text and "\n" not in text


def test_other_errors_are_no_problem_of_loading():
    for code in ("1 / 0", "import no_such_module_at_all", "import numpy; numpy.no_such_thing", "open('/no/such/file')"):
        with pytest.raises(Exception) as caught:
            exec(compile(code, "cell", "exec"), {"__name__": "__main__"})
        assert explain(caught.value) is None
    assert explain(None) is None


def test_a_cell_that_needs_a_package_that_does_not_load_says_so(here):
    write_package(here, "torchaudio", "raise OSError('Could not load this library: libtorchaudio.so')")
    cell = "import sys; sys.path.insert(0, '.')\nimport torchaudio"
    (result,) = run(write_notebook(here / "toy.ipynb", cell), out="out", progress=False)
    assert "OSError: torchaudio cannot be loaded (Could not load" in result.problem
    assert "constraints.txt" in result.problem


# --- settings ------------------------------------------------------------------------------------------------------

SETTINGS = """
of_dataset: [label, size]
smoke: {dataset: voices, label: vowel, size: 30, seeds: 2, ks: [1, 3], fit: {steps: 10, rate: 0.1}}
small:
  dataset: esc10
  seeds: 3
  ks: [1]
  fit: {}
  datasets: {other: {size: 7, seeds: 9}}
"""


@pytest.fixture
def settings_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(SETTINGS)
    return tmp_path / "mine.ipynb"


def test_settings_are_the_scales_own_where_nothing_is_given(settings_file):
    own = {
        "label": "vowel",
        "size": 30,
        "dataset": "voices",
        "seeds": 2,
        "ks": [1, 3],
        "fit": {"steps": 10, "rate": 0.1},
    }
    empty = {"label": "", "size": 0, "seeds": 0, "ks": [], "fit": {"steps": 0}}
    assert settings(settings_file, "smoke") == settings(str(settings_file), "smoke", dataset="", **empty) == own
    small = {"label": None, "size": None, "dataset": "esc10", "seeds": 3, "ks": [1], "fit": {}}
    assert settings(settings_file, "small") == small


def test_settings_that_are_given_replace_the_scales_own(settings_file):
    found = settings(settings_file, "smoke", size=5, ks=[4], fit={"steps": 20, "rate": 0})
    assert (found["size"], found["ks"], found["fit"]) == (5, [4], {"steps": 20, "rate": 0.1})
    assert settings(settings_file, "smoke")["fit"] == {"steps": 10, "rate": 0.1}
    assert settings(settings_file, "small", fit={"steps": 1})["fit"] == {"steps": 1}


def test_another_dataset_brings_its_own(settings_file):
    found = settings(settings_file, "smoke", dataset="my_sounds", seeds=4)
    assert (found["dataset"], found["label"], found["size"], found["seeds"]) == ("my_sounds", None, None, 4)
    found = settings(settings_file, "small", dataset="other")
    assert (found["dataset"], found["size"], found["seeds"]) == ("other", 7, 9)
    assert settings(settings_file, "small", dataset="other", size=3)["size"] == 3


def test_what_a_value_needs_follows_it_or_is_named(tmp_path):
    text = (
        "needs: {net: {conv: {train: scratch}}, train: {scratch: {net: conv}}}\nsmoke: {net: mini, train: head, n: 1}"
    )
    (tmp_path / "mine.yaml").write_text(text)
    for given in ({"net": "conv"}, {"train": "scratch"}, {"net": "conv", "train": "scratch"}):
        assert settings(tmp_path / "mine.ipynb", "smoke", **given) == {"net": "conv", "train": "scratch", "n": 1}
    assert settings(tmp_path / "mine.ipynb", "smoke", net="", n=2) == {"net": "mini", "train": "head", "n": 2}
    with pytest.raises(ParameterError, match="train='head' must be 'scratch' with net='conv'"):
        settings(tmp_path / "mine.ipynb", "smoke", net="conv", train="head")
    with pytest.raises(ParameterError, match="net='ast' must be 'conv' with train='scratch'"):
        settings(tmp_path / "mine.ipynb", "smoke", net="ast", train="scratch")


def test_settings_are_shown_as_a_table(settings_file):
    page = settings(settings_file, "smoke", dataset="<b>")._repr_html_()
    assert "<th>fit</th>" in page and "steps 10, rate 0.1" in page and "1, 3" in page and "&lt;b&gt;" in page


def test_settings_refuse(settings_file, tmp_path):
    with pytest.raises(ParameterError, match="scale='huge' must be one of smoke, small"):
        settings(settings_file, "huge")
    with pytest.raises(
        ParameterError, match="sead=1 must be a setting of mine: it has dataset, fit, ks, label, seeds, size"
    ):
        settings(settings_file, "smoke", sead=1)
    with pytest.raises(RunError, match=r"none.yaml: cannot be read \(No such file"):
        settings(tmp_path / "none.ipynb", "smoke")
    for text in ("- a", "smoke: 5", "smoke: {a: [", "", "needs: [a]"):
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(RunError, match="mine.yaml: is no mapping of scales to settings"):
            settings(settings_file, "smoke")


def test_the_projects_own_notebooks_have_settings_for_every_scale():
    for notebook in find_notebooks():
        plans = [settings(notebook.path, scale) for scale in ("smoke", "small", "paper")]
        assert len({frozenset(plan) for plan in plans}) == 1, notebook.name  # a cell must find them at any scale
        assert plans[0] == settings(notebook.name, "smoke")
