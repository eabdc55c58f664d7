"""Grade returned handouts: run each, and put the checks of the notebook that they were made of to what is in it."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.checks import checked, number
from ..core.errors import ParameterError, RunError
from ..core.progress import Progress, reporter
from .handouts import MAY_FAIL, Exercise, exercise_of, find_exercises
from .notebooks import Notebook, find_notebooks, read_node, read_notebook, tags_of
from .recording import write_text
from .running import check as check_values
from .single import RunResult, run_one

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("file", "exercise", "result", "message", "minutes", "hash")
_GRADED = "graded"
_RETURNED = "returned-"
_EMPTY = "not filled in"
_PASSED = "the check passed"
_CHECK = """\
assert not any(_value is ... for _value in [{wanted}]), {empty!r}
{check}
{call}
{passed!r}"""


@checked
def grade(
    folder: str | os.PathLike,
    *,
    notebook: str | os.PathLike | None = None,
    minutes: float = 10.0,
    progress: Progress | bool = True,
) -> pd.DataFrame:
    """Run returned handouts and say which exercises they solve; ``grades.csv`` in their folder keeps it.

    Each runs in a kernel of its own, with the parameters and the checks of the notebook that the handout was made of,
    at scale smoke; whatever else it holds is the student's, as is what it does: it runs with the rights of the caller.
    A cell that fails stops no other. A notebook with grades is not run again unless its cells, the original or, after
    a time-out, the limit changed.

    Parameters
    ----------
    folder : path
        Holds the notebooks, also in folders of their own. Those executed are kept in ``<folder>/graded``.
    notebook : str or path, optional
        What the handouts were made of, where it is none of the project's own.
    minutes : float
        Longest time for one notebook.
    progress : bool or function of (done, total)
        Show a bar over the notebooks.

    Returns
    -------
    DataFrame
        A row a notebook and exercise: ``file``; ``exercise``; ``result``, which is "passed", "failed", "not filled
        in", "timed out" or "did not run"; ``message``, the reason in a line.

    Raises
    ------
    RunError
        No notebook there, ``grades.csv`` is not one of these, or a kernel does not start.
    ParameterError
        ``folder`` is none, or ``minutes`` not above 0.
    KeyboardInterrupt
        After Ctrl-C; what was graded is kept.
    """
    import pandas as pd

    minutes, say = number("minutes", minutes, above=0.0), reporter(progress, "grade")
    folder = Path(folder)
    if not folder.is_dir():
        raise ParameterError("folder", str(folder), "a folder with returned notebooks")
    originals = {each.name: each for each in find_notebooks()}
    if notebook is not None:
        originals |= {each.name: each for each in find_notebooks(notebook)}
    returned = _returned(folder)
    if not returned:
        raise RunError(f"{folder}: no notebooks (.ipynb) to grade in it")
    grades = _read_grades(folder / "grades.csv")
    for done, path in enumerate(returned):
        say(done, len(returned))
        handed_in = _HandedIn.read(path, path.relative_to(folder).as_posix(), originals)
        before = grades[grades["file"] == handed_in.file]
        if not _needed(before, handed_in, minutes):
            continue
        kept = folder / _GRADED / handed_in.file.removesuffix(".ipynb").replace("/", "__")
        found = handed_in.grade(kept, 60 * minutes)
        rows = [(handed_in.file, *row, str(minutes), handed_in.hash) for row in found]
        fresh = pd.DataFrame(rows, columns=_COLUMNS, dtype=str)
        grades = pd.concat([grades.drop(before.index), fresh], ignore_index=True).fillna("")
        grades = grades.sort_values("file", kind="stable", ignore_index=True)
        write_text(folder / "grades.csv", grades.to_csv(index=False, lineterminator="\n"))
    say(len(returned), len(returned))
    return grades[list(_COLUMNS[:4])]


def _returned(folder: Path) -> list[Path]:
    """The notebooks of a folder, without those that Jupyter and this module keep in it."""
    found = [path.relative_to(folder) for path in folder.rglob("*.ipynb") if path.is_file()]
    found = [path for path in found if path.parts[0] != _GRADED and not any(part[0] == "." for part in path.parts)]
    return [folder / path for path in sorted(found)]


def _read_grades(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.exists():
        return pd.DataFrame(columns=_COLUMNS, dtype=str)
    try:
        grades = pd.read_csv(io.StringIO(path.read_text(encoding="utf-8-sig")), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not a readable table ({error}); move it away") from error
    missing = [column for column in _COLUMNS if column not in grades]
    if missing:
        raise RunError(f"{path}: not a table of grades, without the column {missing[0]!r}; move it away")
    return grades


def _needed(before: pd.DataFrame, handed_in: _HandedIn, minutes: float) -> bool:
    import pandas as pd

    longer = (before["result"] == "timed out") & (pd.to_numeric(before["minutes"], errors="coerce") < minutes)
    return before.empty or bool(longer.any() or (before["hash"] != handed_in.hash).any())


@dataclass(frozen=True)
class _HandedIn:
    """One returned notebook."""

    file: str
    """Where it lies in the folder."""
    hash: str
    """Of its cells and of the original."""
    problem: str
    """Why it cannot be run; empty when it can."""
    node: object = None
    """Its content."""
    original: Notebook | None = None
    """What the handout was made of."""
    exercises: Sequence[Exercise] = ()
    """Those of the original."""

    @classmethod
    def read(cls, path: Path, file: str, originals: Mapping[str, Notebook]) -> _HandedIn:
        try:
            node = read_node(path)
        except RunError as error:
            return cls(file, _hash(str(error)), str(error))
        cells = repr([(cell.cell_type, cell.source, exercise_of(cell)) for cell in node.cells])
        name = next(filter(None, map(exercise_of, node.cells)), "").partition("/")[0]
        if not name:
            return cls(file, _hash(cells), "no cell of a handout is in it (`workbench handout` marks them)")
        if name not in originals:  # a name, never a path: what is returned must not choose its own checks
            return cls(file, _hash(cells), f"made of the notebook {name!r}: give its file (--notebook)")
        original = originals[name]
        return cls(file, _hash(cells, original.sha256), "", node, original, find_exercises(original))

    def grade(self, kept: Path, seconds: float) -> list[tuple[str, str, str]]:
        """Name, result and message of each exercise; the folder ``kept`` gets the executed notebook and its page."""
        if self.problem:
            return [("", "did not run", self.problem)]
        if kept.exists() and not (kept / "results.json").is_file():
            raise RunError(f"{kept}: holds something other than a graded notebook; move it away")
        values = check_values(self.original, {}, scale="smoke", seed=None)
        with tempfile.TemporaryDirectory(prefix="workbench-grade-") as place:
            prepared = Path(place) / Path(self.file).name
            write_text(prepared, self._with_checks())
            notebook = read_notebook(prepared)
            result = run_one(notebook, values, kept, progress=False, replace=True, seconds=seconds)
        if result.status == "interrupted":
            raise KeyboardInterrupt(f"{self.file} is not graded, those before it are; the same call goes on there")
        cells = read_node(kept / prepared.name).cells
        places = {cell.id: i for i, cell in enumerate(cells)}
        return [
            (each.name, *_result(cells, places.get(f"check-{number}"), result))
            for number, each in enumerate(self.exercises)
        ]

    def _with_checks(self) -> str:
        """The notebook with the original's parameters cell, and each check of the original after the answer to it."""
        import nbformat.v4

        original = read_node(self.original.path)
        parameters = nbformat.v4.new_code_cell(
            original.cells[self.original.parameters_cell].source, metadata={"tags": ["parameters"]}
        )
        answers = {exercise_of(cell): position for position, cell in enumerate(self.node.cells)}  # the last one counts
        checks = {answers[each.name]: number for number, each in enumerate(self.exercises) if each.name in answers}
        cells, places = [], []
        for position, cell in enumerate(self.node.cells):
            tags = set(tags_of(cell))
            if tags & {"parameters", "injected-parameters"}:
                places.append(len(cells))
                continue
            cell = nbformat.from_dict({**cell, "id": f"{_RETURNED}{position + 1}"})
            if cell.cell_type == "code":
                cell.metadata["tags"] = sorted(tags | {MAY_FAIL})
                cell.outputs, cell.execution_count = [], None
            cells.append(cell)
            if position in checks:
                cells.append(self._check_cell(checks[position]))
        cells.insert(places[0] if places else 0, parameters)
        return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=original.metadata)) + "\n"

    def _check_cell(self, number: int):
        from nbformat.v4 import new_code_cell

        exercise = self.exercises[number]
        wanted = ", ".join(exercise.wanted)
        source = _CHECK.format(wanted=wanted, empty=_EMPTY, check=exercise.check, call=exercise.call, passed=_PASSED)
        return new_code_cell(source, id=f"check-{number}", metadata={"tags": [MAY_FAIL]})


def _result(cells: Sequence, at: int | None, result: RunResult) -> tuple[str, str]:
    """Result and message of the exercise whose check stands at a place among the executed cells."""
    if at is None:
        return _EMPTY, "its cell is not in the notebook"
    if any(output.get("data", {}).get("text/plain") == repr(_PASSED) for output in cells[at].outputs):
        return "passed", ""
    kind, message = _error(cells[at])
    if not kind:
        ending = result.results["error"] or {"type": "", "heading": "", "message": "its check gave no answer"}
        under = f" (under {ending['heading']!r})" if ending["heading"] else ""
        how = "timed out" if ending["type"] == "TimeoutError" else "did not run"
        return how, _first_line(ending["message"]) + under
    if kind == "AssertionError":
        return (_EMPTY, "") if message == _EMPTY else ("failed", message or "the check does not say why")
    if kind == "NameError":  # the fault lies before: in the answer, or in a cell that broke
        own, reason = _error(cells[at - 1])
        if own and own != "AssertionError":
            kind, message = own, reason
    if kind == "NameError":
        broken = [cell for cell in cells[: at - 1] if _error(cell)[0] and exercise_of(cell) is None]
        broken = [cell for cell in broken if cell.id.startswith(_RETURNED)]
        if broken:
            number = broken[0].id.removeprefix(_RETURNED)
            return "did not run", f"cell {number} failed: {': '.join(_error(broken[0]))}"
    return "failed", f"{kind}: {message}"


def _error(cell) -> tuple[str, str]:
    """Kind and first line of the error that a cell ended in; empty without one."""
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            return output.ename, _first_line(output.evalue)
    return "", ""


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()
