"""The notebooks as lessons: what a student with a stopwatch meets in them, looked up in their source.

What holds for every notebook is asked of every file in ``notebooks/``; exercises and a glossary are asked of those that
have a module in ``workbench/lessons/``.
"""

import ast
import importlib
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

import workbench.lessons
from workbench.runs.handouts import find_exercises
from workbench.runs.notebooks import find_notebooks
from workbench.views import glossary

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))
MODULES = {path.stem for path in Path(workbench.lessons.__path__[0]).glob("*.py")}
LESSONS = [path for path in FILES if path.stem in MODULES - {"tour"}]  # the tour has no exercises
SOUNDING = {"players", "sound_map", "explore"}
LEVELS = ("●○○", "●●○", "●●●")

every = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
every_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def cells_of(path: Path, kind: str | None = None) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = [cell | {"source": "".join(cell["source"]), "tags": cell["metadata"].get("tags", [])} for cell in cells]
    return [cell for cell in cells if kind in (None, cell["cell_type"])]


def hidden(cell: dict) -> bool:
    return cell["metadata"].get("jupyter", {}).get("source_hidden", False)


def calls(cell: dict) -> set[str]:
    """Last names of everything that a code cell calls."""
    if cell["cell_type"] != "code":
        return set()
    found = (node.func for node in ast.walk(ast.parse(cell["source"])) if isinstance(node, ast.Call))
    return {getattr(func, "attr", getattr(func, "id", "")) for func in found}


def code_lines(source: str) -> int:
    return sum(bool(line.strip()) for line in source.splitlines())


def words(markdown: str) -> int:
    return len(re.findall(r"[^\W_][\w'’.-]*", re.sub(r"\]\([^)]*\)|<[^>]*>", " ", markdown)))


def prose(markdown: str) -> list[str]:
    """Lines of a markdown cell, without tables and formulas."""
    lines = re.sub(r"\$\$.*?\$\$", "", markdown, flags=re.DOTALL).splitlines()
    return [line for line in lines if not line.startswith("|")]


def test_there_are_notebooks_and_lessons():
    assert len(FILES) >= 4 and len(LESSONS) >= 2


@every
def test_code_cells_are_short(path):
    for cell in cells_of(path, "code"):
        longer = "parameters" in cell["tags"] or (hidden(cell) and "solution" not in cell["tags"])
        lines = code_lines(cell["source"]) if longer else len(cell["source"].splitlines())
        assert lines <= (21 if longer else 12), f"{cell['id']}: {lines} lines"
        assert "fmt: skip" not in cell["source"] and "fmt: off" not in cell["source"], cell["id"]


@every
def test_no_line_runs_out_of_the_page(path):
    for cell in cells_of(path):
        for line in cell["source"].splitlines() if cell["cell_type"] == "code" else prose(cell["source"]):
            assert len(line) <= 100, f"{cell['id']}: {line}"


@every
def test_every_code_cell_does_something_whatever_the_scale(path):
    """A cell of nothing but imports, or of one ``if`` without ``else``, does nothing where the condition is false."""
    for cell in cells_of(path, "code"):
        idle = (ast.Import, ast.ImportFrom)
        doing = [node for node in ast.parse(cell["source"]).body if not isinstance(node, idle)]
        alone = len(doing) == 1 and isinstance(doing[0], ast.If) and not doing[0].orelse
        assert doing and not alone, cell["id"]


@every
def test_the_first_sound_comes_within_150_words_and_15_lines(path):
    cells = cells_of(path)
    first = next(i for i, cell in enumerate(cells) if calls(cell) & SOUNDING)
    before = cells[: first + 1]
    said = sum(words(cell["source"]) for cell in before if cell["cell_type"] == "markdown")
    written = [cell for cell in before if cell["cell_type"] == "code" and "parameters" not in cell["tags"]]
    assert said <= 150
    assert sum(code_lines(cell["source"]) for cell in written) <= 15


@every_lesson
def test_every_question_is_answered_from_the_data(path):
    """Between a question and the next stands a cell that shows computed sentences."""
    cells = cells_of(path)
    asked = [i for i, cell in enumerate(cells) if "*Question.*" in cell["source"]]
    assert asked
    for start, end in pairwise([*asked, len(cells)]):
        assert any("reading" in calls(cell) for cell in cells[start:end]), cells[start]["source"][:100]


@every_lesson
def test_exercises_of_every_level_with_hint_check_and_folded_solution(path):
    cells, (notebook,) = cells_of(path), find_notebooks(path)
    levels = []
    for exercise in find_exercises(notebook):
        solution = cells[exercise.position]
        at = next(i for i in range(exercise.position, -1, -1) if cells[i]["source"] == exercise.check)
        task = cells[at - 1]
        assert cells[at]["metadata"].get("jupyter", {}) == {"source_hidden": True}, exercise.name
        assert solution["metadata"].get("jupyter") == {"source_hidden": True, "outputs_hidden": True}, exercise.name
        assert task["cell_type"] == "markdown", f"{exercise.name}: its task must stand above its check"
        asked = re.search(r"Level (\S+), (\d+) minutes", task["source"])
        assert asked and asked[1] in LEVELS, f"{exercise.name}: 'Level ●●○, 10 minutes' must stand in its task"
        assert "<details><summary>Hint</summary>" in task["source"] and "</details>" in task["source"], exercise.name
        levels.append(asked[1])
    assert set(levels) == set(LEVELS)


@every_lesson
def test_it_ends_with_its_glossary(path):
    last = cells_of(path, "code")[-3:]
    shown = [node for cell in last for node in ast.walk(ast.parse(cell["source"])) if isinstance(node, ast.Call)]
    (shown,) = [node.args for node in shown if getattr(node.func, "attr", "") == "glossary"]
    if isinstance(shown[0], ast.Starred):  # lesson.WORDS, of a long list
        asked = importlib.import_module(f"workbench.lessons.{path.stem}").WORDS
    else:
        asked = [ast.literal_eval(word) for word in shown]
    assert len(asked) >= 8 and list(glossary(*asked).words)


@every_lesson
def test_goals_minutes_and_what_one_must_know_stand_first(path):
    first = cells_of(path, "markdown")[0]["source"]
    assert re.search(r"[Gg]oals?\b|you can\b", first) and "minutes" in first and "need" in first


def stored(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


@every
def test_no_function_takes_a_name_from_outside_that_a_later_cell_sets_anew(path):
    """It would work in the first call and fail, or say something else, in the next, as a study of folds makes it."""
    parsed = [ast.parse(cell["source"]) for cell in cells_of(path, "code") if not hidden(cell)]
    functions = [(i, each) for i, tree in enumerate(parsed) for each in tree.body if isinstance(each, ast.FunctionDef)]
    for i, function in functions:
        own = stored(function) | {each.arg for each in ast.walk(function) if isinstance(each, ast.arg)}
        taken = {each.id for each in ast.walk(function) if isinstance(each, ast.Name)} - own
        later = [
            stored(each) for tree in parsed[i + 1 :] for each in tree.body if not isinstance(each, ast.FunctionDef)
        ]
        before = set().union(*(stored(tree) for tree in parsed[: i + 1]))
        assert not taken & before & set().union(*later), f"{function.name}: {taken & before & set().union(*later)}"
