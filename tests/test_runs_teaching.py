"""Notebooks for a class: copies of one's own, handouts without solutions, grades by the original's checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from typer.testing import CliRunner

import workbench
from workbench.cli import app
from workbench.core.errors import ParameterError, RunError
from workbench.runs import copy_notebooks, find_notebooks, grade, grading, handout, run, settings
from workbench.runs.handouts import exercise_of, find_exercises
from workbench.runs.notebooks import notebooks_folder, read_node

CELLS = {
    "parameters": 'seed = 0\nscale = "smoke"',
    "data": "values = [1, 2, 4]",
    "check-total": """\
def check_total(total):
    assert total == sum(values), f"not {total}\\nbut something else"
    print("right")""",
    "solution-total": "total = sum(values)\ncheck_total(total)",
    "check-ends": "def check_ends(low, *, high, sure=True):\n    assert [low, high] == [1, 4], 'the ends'",
    "solution-ends": "low, high = min(values), max(values)\ncheck_ends(low, high=high)",
    "check-last": "def check_last(last):\n    assert last == 4",
    "solution-last": "last = values[-1]\ncheck_last(last)",
}


def write(path: Path, **cells: str) -> Path:
    """A notebook of these cells; what a cell's name begins with is its tag."""
    made = [new_markdown_cell("# Sums")]
    for name, source in cells.items():
        name = name.replace("_", "-")
        tags = [name.partition("-")[0]]
        cell = new_code_cell(source, id=name, metadata={"tags": tags}, execution_count=3)
        cell.outputs = [new_output("stream", text="an old output")]
        made.append(cell)
    nbformat.write(new_notebook(cells=made), path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sums(here):
    return write(here / "sums.ipynb", **CELLS)


def cli(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


# --- copies --------------------------------------------------------------------------------------------------------


def test_copies_are_the_notebooks_and_their_settings(here):
    printed = cli("notebooks", "copy", "mine").split()
    assert printed == [str(path) for path in copy_notebooks("mine")]  # which changes nothing
    there = {path.name for path in notebooks_folder().iterdir() if path.suffix in (".ipynb", ".yaml")}
    assert {Path(name).name for name in printed} == there and "tour.ipynb" in there
    for name in printed:
        assert Path(name).read_bytes() == (notebooks_folder() / Path(name).name).read_bytes()


def test_a_file_that_differs_is_named_and_replaced_by_force_alone(here):
    first, *others = copy_notebooks("mine")
    first.write_text("my own work")
    others[0].unlink()
    assert cli("notebooks", "copy", "mine", code=1).startswith(f"error: {first}: a file of other content is there")
    assert first.read_text() == "my own work" and not others[0].exists()
    cli("notebooks", "copy", "mine", "--force")
    assert first.read_bytes() == (notebooks_folder() / first.name).read_bytes() and others[0].exists()
    with pytest.raises(RunError, match=f"{first}: cannot be written"):
        copy_notebooks(first)


def test_a_copy_reads_the_settings_beside_it(here):
    (here / "copy").mkdir()
    (here / "copy" / "sums.yaml").write_text("smoke: {size: 5}")
    work = "from workbench.runs import record, settings\nrecord(**settings('sums', scale))"
    write(here / "copy" / "sums.ipynb", parameters=CELLS["parameters"], work=work)
    (result,) = run("copy/sums.ipynb", out="out", progress=False)
    assert result.metrics == {"size": 5}
    own = settings("sae", "smoke")
    (here / "sae.yaml").write_text("smoke: {size: 7}")
    assert settings("sae", "smoke") == {"size": 7} != own


# --- handouts ------------------------------------------------------------------------------------------------------


def test_a_handout_has_a_stub_where_a_solution_stood(sums):
    copy = handout(sums)
    assert copy == Path("handout/sums.ipynb")
    cells = {cell.get("id"): cell for cell in read_node(copy).cells}
    assert cells["solution-total"].source == "total = ...  # your turn\n\ncheck_total(total)"
    assert cells["solution-ends"].source == (
        "low = ...  # your turn\nhigh = ...  # your turn\n\ncheck_ends(low, high=high)"
    )
    assert cells["check-total"].source == CELLS["check-total"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells.values() if "outputs" in cell)
    assert [exercise_of(cell) for cell in cells.values()][-1] == "sums/last"
    (result,) = run(copy, out="out", progress=False)  # from top to bottom, whatever is not filled in yet
    assert result.status == "ok"


def test_the_instructors_copy_keeps_the_solutions(sums):
    copy = cli("handout", "sums.ipynb", "--answers", "--out", "class").strip()
    assert copy == "class/sums-answers.ipynb"
    cells = {cell.get("id"): cell for cell in read_node(Path(copy)).cells}
    assert all(cells[name].source == source for name, source in CELLS.items())
    assert exercise_of(cells["solution-ends"]) == "sums/ends" and "outputs" in cells["data"]
    assert cells["data"].outputs == []


def test_a_handout_that_was_changed_is_not_replaced(sums):
    copy = handout(sums)
    assert handout(sums) == copy
    copy.write_text("begun")
    assert f"error: {copy}: a file of other content" in cli("handout", "sums.ipynb", code=1)
    assert "begun" not in handout(sums, force=True).read_text()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"solution_a": "a = 1"}, r"cell 3, tagged 'solution', must call the check"),
        ({"solution_a": "check_a(1)"}, r"calls check_a: a cell before it must define that"),
        ({"check": "def check_a(b=1): pass", "solution_a": "check_a()"}, "with arguments to fill in"),
        (
            {"check": "def check_a(b): pass", "solution_a": "check_a(1)", "solution_b": "check_a(2)"},
            "calls check_a, as cell 4 does",
        ),
        ({"work": "1"}, "no exercise in it"),
    ],
)
def test_notebooks_that_are_no_exercises_are_refused(here, cells, message):
    path = write(here / "bad.ipynb", parameters=CELLS["parameters"], **cells)
    with pytest.raises(RunError, match=rf"bad\.ipynb: .*{message}"):
        handout(path)
    assert not (here / "handout").exists()
    with pytest.raises(RunError, match="did you mean 'sae'"):
        handout("saee")


def test_every_solution_of_the_projects_notebooks_gives_a_stub(here):
    for notebook in find_notebooks():
        cells = read_node(notebook.path).cells
        solutions = [cell.source for cell in cells if "solution" in cell.metadata.get("tags", [])]
        exercises = find_exercises(notebook)
        assert [cells[each.position].source for each in exercises] == solutions, notebook.name
        if notebook.name == "tour":  # it has none, and says so
            with pytest.raises(RunError, match=r"tour\.ipynb: no exercise in it"):
                handout("tour")
            continue
        assert solutions, notebook.name
        elsewhere = {line.strip() for cell in cells if cell.source not in solutions for line in cell.source.split("\n")}
        given = read_node(handout(notebook.name)).cells
        shown = {line.strip() for cell in given for line in cell.source.split("\n")}
        for each, solution in zip(exercises, solutions, strict=True):
            lines = {line.strip() for line in solution.split("\n")} - {""}
            assert lines & (shown - elsewhere) <= {each.call}, each.name
            assert each.call in lines, f"{each.name}: the solution fills in what is asked for"
            stub = given[each.position]
            assert exercise_of(stub) == each.name and stub.source.count("= ...  # your turn") == len(each.wanted)
            asked = "".join(cell.source for cell in cells[: each.position])
            named = [f"`{name}`" in asked or f"`{name}(" in asked for name in each.wanted]
            assert all(named), f"{each.name}: the task names what is to be filled in"


# --- grades --------------------------------------------------------------------------------------------------------


def returned(here: Path, name: str, *, without: str = "", **changed: str) -> Path:
    """A handout with other sources in some of its cells, as a student gives it back."""
    node = read_node(handout(here / "sums.ipynb"))
    node.cells = [cell for cell in node.cells if cell.id != without.replace("_", "-")]
    for cell in node.cells:
        cell.source = changed.get(cell.id.replace("-", "_"), cell.source)
    (here / "class" / name).parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(node, here / "class" / name)
    return here / "class" / name


def results(table: pd.DataFrame, file: str) -> list[tuple[str, str]]:
    rows = table[table["file"] == file]
    return list(zip(rows["result"], rows["message"], strict=True))


def graded(here: Path, **options) -> pd.DataFrame:
    return grade(here / "class", notebook=here / "sums.ipynb", progress=False, **options)


def test_grades_of_a_class(sums, here, monkeypatch):
    handout(sums, answers=True, out=here / "class")
    wrong = returned(here, "a/wrong.ipynb", solution_total="total = 5\ncheck_total(total)", solution_ends="low = 1 / 0")
    node = read_node(wrong)  # around the exercises, much was added
    forged = new_code_cell("'the check passed'", id="check-2", metadata={"workbench": {"check": "sums/last"}})
    node.cells[2:2] = [new_code_cell("undefined"), new_code_cell("%matplotlib inline"), forged]
    nbformat.write(node, wrong)
    easy = "def check_total(total):\n    pass"
    returned(here, "easy.ipynb", check_total=easy, solution_total="total = 0\ncheck_total(total)", without="check_last")
    (here / "class" / "notes.ipynb").write_text("no notebook")
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), here / "class" / "other.ipynb")
    calls = []
    table = grade(here / "class", notebook=sums, minutes=3, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert list(table["file"].unique()) == ["a/wrong.ipynb", "easy.ipynb", "notes.ipynb", "other.ipynb"] + [
        "sums-answers.ipynb"
    ]
    assert list(table["exercise"][:3]) == ["sums/total", "sums/ends", "sums/last"]
    assert results(table, "sums-answers.ipynb") == [("passed", "")] * 3
    assert results(table, "a/wrong.ipynb") == [
        ("failed", "not 5"),
        ("failed", "ZeroDivisionError: division by zero"),
        ("not filled in", ""),
    ]
    assert results(table, "easy.ipynb")[0] == ("failed", "not 0")
    assert results(table, "easy.ipynb")[1:] == [("not filled in", "")] * 2
    (row,) = results(table, "notes.ipynb")
    assert row[0] == "did not run" and "notes.ipynb: not a readable notebook" in row[1]
    assert results(table, "other.ipynb")[0][1].startswith("no cell of a handout is in it")
    assert (here / "class" / "graded" / "a__wrong" / "wrong.html").is_file()

    again = []
    monkeypatch.setattr(grading, "run_one", lambda *arguments, **options: again.append(arguments[0].name) or 1 / 0)
    node = read_node(wrong)
    node.cells[2].outputs = [new_output("stream", text="opened and saved")]
    nbformat.write(node, wrong)
    kept = here / "class" / "grades.csv"
    kept.write_text("\ufeff" + kept.read_text(), encoding="utf-8")  # as a spreadsheet saves it
    assert graded(here).equals(table) and again == []
    returned(here, "easy.ipynb", solution_total="total = 7\ncheck_total(total)")
    with pytest.raises(ZeroDivisionError):
        graded(here)
    assert again == ["easy"]


def test_what_breaks_before_is_told_from_what_is_wrong(sums, here):
    returned(here, "broken.ipynb", data="values = 1 / 0", solution_total="total = sum(values)", without="solution_last")
    table = graded(here)
    assert results(table, "broken.ipynb") == [
        ("did not run", "cell 3 failed: ZeroDivisionError: division by zero"),
        ("not filled in", ""),
        ("not filled in", "its cell is not in the notebook"),
    ]


def test_time_and_dead_kernels_end_one_notebook(sums, here, monkeypatch):
    returned(here, "dead.ipynb", solution_ends="import os\nos._exit(1)")
    late = returned(here, "late.ipynb", solution_total="total = 7", solution_ends="while True:\n    pass")
    table = graded(here, minutes=0.1)
    assert results(table, "late.ipynb") == [
        ("passed", ""),
        ("timed out", "the time limit of 6 s was over (under 'Sums')"),
        ("timed out", "the time limit of 6 s was over (under 'Sums')"),
    ]
    assert [result for result, _ in results(table, "dead.ipynb")] == ["not filled in", "did not run", "did not run"]
    assert "the kernel died" in results(table, "dead.ipynb")[1][1]
    again = []
    monkeypatch.setattr(grading, "run_one", lambda *arguments, **options: again.append(arguments[0].name) or 1 / 0)
    assert graded(here, minutes=0.05).equals(table) and late.exists()
    with pytest.raises(ZeroDivisionError):  # a longer limit is worth another try
        graded(here, minutes=1)
    assert again == ["late"]


def test_the_table_is_printed_and_needs_the_original(sums, here):
    returned(here, "one.ipynb")
    text = cli("grade", "class")
    assert "one.ipynb" in text and "made of the notebook 'sums': give its file (--notebook)" in text
    text = cli("grade", "class", "--notebook", "sums.ipynb", "--minutes", "2")
    assert "sums/total" in text and "not filled in" in text and "did not run" not in text


def test_grading_refuses(sums, here):
    with pytest.raises(ParameterError, match="folder='nowhere' must be a folder with returned notebooks"):
        grade("nowhere")
    (here / "class").mkdir()
    with pytest.raises(RunError, match="class: no notebooks"):
        graded(here)
    returned(here, "one.ipynb")
    for minutes in (0, float("nan")):
        with pytest.raises(ParameterError, match="minutes="):
            graded(here, minutes=minutes)
    (here / "class" / "grades.csv").write_text("name;grade\n")
    with pytest.raises(RunError, match=r"grades\.csv: not a table of grades, without the column 'file'"):
        graded(here)
    (here / "class" / "grades.csv").unlink()
    (here / "class" / "graded" / "one").mkdir(parents=True)
    with pytest.raises(RunError, match="one: holds something other than a graded notebook"):
        graded(here)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_stopped_grading_keeps_what_it_has(sums, here):
    returned(here, "a.ipynb", solution_total="total = 7")
    returned(here, "b.ipynb", solution_total="import os, signal\nos.kill(os.getppid(), signal.SIGINT)\nwhile 1: pass")
    paths = os.pathsep.join([str(Path(workbench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "workbench", "grade", "class", "--notebook", "sums.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 130 and "b.ipynb is not graded, those before it are" in done.stderr
    kept = pd.read_csv(here / "class" / "grades.csv")
    assert set(kept["file"]) == {"a.ipynb"} and kept["result"][0] == "passed"
