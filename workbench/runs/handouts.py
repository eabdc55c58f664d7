"""A student's copy of a notebook: where a solution stood, names to fill in and the call of the check."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from pathlib import Path

from ..core.checks import checked
from ..core.errors import RunError
from .notebooks import Notebook, find_notebooks, place_files, read_node, tags_of

MAY_FAIL = "raises-exception"
"""Tag of a cell whose error does not stop the cells after it."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook: a cell that defines a check, and one with the solution, which calls it."""

    name: str
    """The notebook's name and the check's, as "sae/leak"."""
    check: str
    """Source of the cell that defines the check."""
    call: str
    """The check's call with the names that are to be filled in, as ``check_leak(leaky_split, leaky_accuracy)``."""
    wanted: tuple[str, ...]
    """Those names: the arguments of the check that have no default."""
    position: int
    """Position of the solution's cell, counted from 0."""

    @property
    def stub(self) -> str:
        """What stands in place of the solution."""
        return "".join(f"{name} = ...  # your turn\n" for name in self.wanted) + f"\n{self.call}"


def find_exercises(notebook: Notebook) -> list[Exercise]:
    """Exercises of a notebook, in order.

    Raises
    ------
    RunError
        A cell tagged ``solution`` calls no check, or one that no cell before it defines with arguments to fill in, or
        one that an earlier solution calls.
    """
    checks: dict[str, tuple[str, ast.arguments]] = {}
    found: dict[str, Exercise] = {}
    for position, cell in enumerate(read_node(notebook.path).cells):
        if cell.cell_type != "code":
            continue
        tree = _parsed(cell.source)
        if "solution" not in tags_of(cell):
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("check_"):
                    checks[node.name] = (cell.source, node.args)
            continue
        called = [node.func.id for node in ast.walk(tree) if _is_check(node)]
        where = f"{notebook.path}: cell {position + 1}, tagged 'solution',"
        if not called:
            raise RunError(f"{where} must call the check of its exercise, a function check_...")
        source, arguments = checks.get(called[-1], ("", None))
        in_place, by_name = _wanted(arguments)
        if not in_place + by_name:
            raise RunError(f"{where} calls {called[-1]}: a cell before it must define that, with arguments to fill in")
        name = f"{notebook.name}/{called[-1].removeprefix('check_')}"
        if name in found:
            raise RunError(f"{where} calls {called[-1]}, as cell {found[name].position + 1} does: one solution a check")
        call = f"{called[-1]}({', '.join(in_place + [f'{each}={each}' for each in by_name])})"
        found[name] = Exercise(name, source, call, (*in_place, *by_name), position)
    return list(found.values())


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # magics of IPython
        return ast.Module(body=[], type_ignores=[])


def _is_check(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("check_")


def _wanted(arguments: ast.arguments | None) -> tuple[list[str], list[str]]:
    """Names of the arguments without a default: those that may be given in their place, and the others."""
    if arguments is None:
        return [], []
    in_place = [*arguments.posonlyargs, *arguments.args]
    by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    required = in_place[: len(in_place) - len(arguments.defaults)]
    return [each.arg for each in required], [each.arg for each, default in by_name if default is None]


@checked
def handout(
    notebook: str | os.PathLike, *, answers: bool = False, out: str | os.PathLike = "handout", force: bool = False
) -> Path:
    """Write a student's copy of a notebook: no outputs, and a cell to fill in where a solution stood.

    Such a cell carries the exercise's name in its metadata, by which :func:`grade` finds it, and may fail without
    stopping the cells after it.

    Parameters
    ----------
    notebook : str or path
        One of the project's by its name, or the file of any other. An exercise is a cell that defines a function
        ``check_...`` and, further down, a cell tagged ``solution`` that calls it.
    answers : bool
        The instructor's copy: the solutions stay, and ``-answers`` is added to the file's name.
    out : path
        The folder; made where it is missing. The settings of the notebook's scales are put beside it.
    force : bool
        Replace files that have another content.

    Returns
    -------
    Path
        The copy.

    Raises
    ------
    RunError
        There is no such notebook, or no exercise in it; a file of the same name has another content (nothing is
        written then), or the folder cannot be written.
    """
    import nbformat

    (original,) = find_notebooks(notebook)
    exercises = find_exercises(original)
    if not exercises:
        raise RunError(f"{original.path}: no exercise in it (a cell tagged 'solution' that calls a function check_...)")
    node = read_node(original.path)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    for exercise in exercises:
        cell = node.cells[exercise.position]
        if not answers:
            cell.source = exercise.stub
            cell.metadata = nbformat.from_dict({"tags": [MAY_FAIL]})
        cell.metadata["workbench"] = {"exercise": exercise.name}
    copy = Path(out) / f"{original.name}{'-answers' if answers else ''}.ipynb"
    beside = {copy.parent / path.name: path.read_bytes() for path in original.files[1:]}
    place_files({copy: f"{nbformat.writes(node)}\n".encode(), **beside}, force=force)
    return copy


def exercise_of(cell) -> str | None:
    """Name of the exercise that a cell of a handout answers; None for other cells."""
    about = cell.metadata.get("workbench")
    name = about.get("exercise") if isinstance(about, dict) else None
    return name if cell.cell_type == "code" and isinstance(name, str) else None
