"""Run notebooks: check, execute, export, report."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.checks import checked
from ..core.errors import ParameterError, RunError
from .following import Follower
from .meaning import check_meaning
from .notebooks import Notebook, find_notebooks
from .parameters import check_parameters
from .provenance import git_state, machine, this_process, versions
from .recording import NO_CELL, RUN_FOLDER, SCHEMA, brief, read_results, write_results, write_text
from .report import index_page


@dataclass(frozen=True)
class RunResult:
    """One executed notebook."""

    name: str
    """The notebook's name."""
    folder: Path
    """Holds ``<name>.html``, ``<name>.ipynb`` and ``results.json``."""
    results: dict
    """Contents of ``results.json``."""

    @property
    def status(self) -> str:
        """ "ok", "failed" or "interrupted"."""
        return self.results["status"]

    @property
    def metrics(self) -> dict[str, object]:
        """What the notebook recorded."""
        return self.results["metrics"]

    @property
    def page(self) -> Path:
        """The exported page."""
        return self.folder / f"{self.name}.html"

    @property
    def problem(self) -> str:
        """The failed cell, its heading and its message; empty when all went well."""
        error = self.results["error"]
        if error is None:
            return "stopped by the user" if self.status == "interrupted" else ""
        under = f" (under {error['heading']!r})" if error["heading"] else ""
        where = f", cell {error['cell']}{under}" if error["cell"] else ""
        return f"notebook {self.name}{where}: {error['type']}: {error['message']}"

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={brief(value, 40)}" for key, value in list(self.metrics.items())[:4])
        return f"RunResult({self.name}, {self.status}, {self.results['seconds']:.1f} s, {self.folder}; {shown})"


@checked
def run(
    names: Iterable[str | os.PathLike] | str | os.PathLike | None = None,
    *,
    parameters: Mapping[str, object] | None = None,
    scale: str = "smoke",
    seed: int | None = None,
    out: str | os.PathLike | None = None,
    kernel: str | None = None,
    client: object | None = None,
    text: bool = False,
    progress: bool | None = None,
) -> list[RunResult]:
    """Execute notebooks from top to bottom and write what came of it.

    Everything is checked before the first cell runs. A notebook stops at its first failing cell; what it did until
    then is kept, and the other notebooks still run. Kernels work in the current directory.

    Parameters
    ----------
    names : str, path, iterable of them or None
        Names of the project's notebooks, or paths of .ipynb files; None for all of the project's.
    parameters : mapping of str to object, optional
        Values for names in the notebooks' ``parameters`` cells; every notebook must have them.
    scale : {"smoke", "small", "paper"}
        The parameter ``scale``: seconds, minutes, or the paper's data and settings.
    seed : int, optional
        The parameter ``seed``; the notebook's own default without it.
    out : path, optional
        A new or empty folder; by default ``runs/<date and time>`` in the current directory.
    kernel : str, optional
        An installed Jupyter kernel; by default the interpreter this function runs in.
    client : distributed.Client, optional
        A dask client whose workers run the notebooks side by side (:mod:`workbench.core.cluster`), with equal results;
        ``out`` must lie in a folder that they share.
    text : bool
        ``parameters`` holds text to be parsed, as from a command line.
    progress : bool, optional
        Say on standard error what runs and how it ended, with a bar where that is a terminal and a line a cell
        elsewhere; True shows the bar anywhere, False nothing at all. ``<out>/<name>/<name>.log`` has the lines anyway.

    Returns
    -------
    list of RunResult
        One a notebook, in order. ``<out>/index.html`` lists them; ``<out>/<name>/`` holds each one's files.

    Raises
    ------
    RunError
        For an unknown notebook or parameter, an ``out`` that is not empty or cannot be written, or a kernel that does
        not start.
    ParameterError
        For a value of the wrong type, one that means nothing (an unknown dataset, encoder or device), a kernel that
        is not installed.
    KeyboardInterrupt
        After Ctrl-C, once the notebook so far has been kept.
    """
    prepare(kernel)
    notebooks = find_notebooks(names)
    values = [check(notebook, parameters, scale=scale, seed=seed, text=text) for notebook in notebooks]
    folder = _new_folder(out)
    finished: list[RunResult] = []
    if client is not None:
        from .spreading import spread_runs

        planned = [(notebook, given, folder / notebook.name) for notebook, given in zip(notebooks, values, strict=True)]
        results: dict[int, RunResult] = {}
        for place, result in spread_runs(client, planned, kernel=kernel, progress=progress):
            results[place] = result
            _write_index(folder, [results[i] for i in sorted(results)], len(notebooks))
        return [results[i] for i in range(len(notebooks))]
    for number, (notebook, settings) in enumerate(zip(notebooks, values, strict=True)):
        _write_index(folder, finished, len(notebooks))
        try:
            result = run_one(notebook, settings, folder / notebook.name, kernel=kernel, progress=progress)
        except RunError:
            here = folder / notebook.name
            if (here / "results.json").is_file():
                _write_index(folder, [*finished, RunResult(notebook.name, here, read_results(here))], len(notebooks))
            raise
        finished.append(result)
        _write_index(folder, finished, len(notebooks))
        if result.status == "interrupted":
            left = len(notebooks) - number - 1
            more = f", {left} of {len(notebooks)} notebooks were not begun" if left else ""
            raise KeyboardInterrupt(
                f"notebook {notebook.name} was stopped; what it did is kept in {result.folder}{more}"
            )
    return finished


def prepare(kernel: str | None) -> None:
    """What is checked before anything is written: the current directory and the kernel. Raises as :func:`run` does."""
    try:
        os.getcwd()
    except OSError as error:
        raise RunError("the current directory is gone (deleted or moved); change to one that exists") from error
    if kernel is not None:
        from .kernel import check_kernel

        check_kernel(kernel)


def _write_index(folder: Path, finished: list[RunResult], total: int) -> None:
    left = total - len(finished)
    note = f"{left} of {total} not finished when this page was written." if left else ""
    entries = [(entry.name, entry.results) for entry in finished]
    write_text(folder / "index.html", index_page(f"Runs of {folder.name}", entries, note=note))


def check(
    notebook: Notebook,
    parameters: Mapping[str, object] | None,
    *,
    scale: str,
    seed: int | None,
    text: bool = False,
) -> dict[str, object]:
    """All parameters of a notebook, checked; ``scale`` and ``seed`` join the others. Raises as :func:`run` does."""
    check_mapping(parameters)
    changes = dict(parameters or {})
    for name, value in (("scale", scale), ("seed", seed)):
        if name not in notebook.parameters:
            raise RunError(
                f"notebook {notebook.name}: its parameters cell must assign {name!r}, as every notebook does"
            )
        if name in changes and value not in (None, "smoke"):
            raise ParameterError(name, value, f"left out: it is given a second time, as the parameter {name}")
        if name not in changes and value is not None:
            changes[name] = value
    values = check_parameters(notebook.parameters, changes, notebook=notebook.name, text=text)
    check_meaning(notebook, values, changes)
    return values


def check_mapping(parameters: object) -> None:
    """Refuse parameters that are no mapping of names to values."""
    if parameters is not None and not (
        isinstance(parameters, Mapping) and all(isinstance(name, str) for name in parameters)
    ):
        raise ParameterError("parameters", parameters, "a mapping of names to values")


def _new_folder(out: str | os.PathLike | None) -> Path:
    """Make the folder of a run: the one given (new or empty), or ``runs/<date and time>``.

    Raises
    ------
    RunError
        When it holds something already or cannot be made.
    """
    try:
        if out is not None:
            folder = Path(out)
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise RunError(f"out={os.fspath(out)!r} must be a new or empty folder: it holds files already")
            return folder
        stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        for ending in ("", *(f"-{n}" for n in range(2, 100))):
            folder = Path("runs") / (stamp + ending)
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                continue
        raise RunError(f"too many runs were started at {stamp}")
    except (OSError, ValueError) as error:
        where, why = "runs" if out is None else os.fspath(out), getattr(error, "strerror", None) or error
        raise RunError(f"the folder {where} cannot be written ({why}); choose another") from error


def run_one(
    notebook: Notebook,
    parameters: Mapping[str, object],
    folder: Path,
    *,
    kernel: str | None = None,
    progress: bool | None = None,
    replace: bool = False,
) -> RunResult:
    """Run one notebook, its parameters checked already, into a folder of its own.

    A folder that is there is replaced, where that is allowed. The status becomes "ok" last of all, when the page is
    there: a run that was killed before is never taken for a finished one.
    """
    from .kernel import execute

    _make_folder(folder, replace=replace)
    file, began = folder / "results.json", time.monotonic()
    write_results(file, first_results(notebook, parameters))
    bar = sys.stderr.isatty() if progress is None else progress
    follower = Follower(
        folder.name, len(notebook.headings), folder / f"{notebook.name}.log", bar=bar, lines=progress is not False
    )

    def finish(status: str, error: Mapping[str, object] | None, *, raised: bool = False) -> RunResult:
        results = read_results(file) | {  # what the notebook recorded is in there by now
            "status": status,
            "seconds": round(time.monotonic() - began, 2),
            "error": error,
        }
        write_results(file, results)
        result = RunResult(notebook.name, folder, results)
        ending = f"\n  {result.problem}" if result.problem and not raised else ""
        follower.say(f"{status}, {results['seconds']:.1f} s{ending}", always=progress is not False)
        return result

    with follower:
        try:
            execution = execute(
                notebook,
                parameters=parameters,
                folder=folder,
                environment={RUN_FOLDER: str(folder.resolve())},
                kernel=kernel,
                follower=follower,
            )
            write_results(file, read_results(file) | execution.report)  # whatever becomes of the page
            problem = _keep(execution, notebook, folder)
        except RunError as error:
            finish("failed", {**NO_CELL, "type": "RunError", "message": str(error)}, raised=True)
            raise
        except KeyboardInterrupt:  # while the page was written
            return finish("interrupted", None)
        if problem is not None and execution.status == "ok":
            return finish("failed", problem)
        return finish(execution.status, execution.failure)


def _make_folder(folder: Path, *, replace: bool) -> None:
    try:
        if replace and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise RunError(f"{folder} is there already: another run has begun in the same folder") from error
    except OSError as error:
        raise RunError(f"the folder {folder} cannot be written ({error.strerror or error})") from error


def first_results(notebook: Notebook, parameters: Mapping[str, object]) -> dict[str, object]:
    """``results.json`` as it stands while the notebook runs."""
    return {
        "schema": SCHEMA,
        "notebook": {"name": notebook.name, "title": notebook.title, "sha256": notebook.sha256},
        "status": "running",
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": 0.0,
        "seed": parameters["seed"],
        "parameters": dict(parameters),
        "metrics": {},
        "context": {},
        "error": None,
        "device": None,
        "peak_memory_bytes": None,
        "peak_gpu_memory_bytes": None,
        "machine": machine(),
        "versions": versions(),
        "git": git_state(notebook.path.resolve().parent),
        "process": this_process(),
    }


def _keep(execution, notebook: Notebook, folder: Path) -> dict[str, object] | None:
    """Write the notebook so far and its page under their final names; what went wrong, in the form of a failed cell."""
    import nbformat

    from .export import to_html, without_widgets

    if execution.node is None:  # stopped before the kernel was up
        execution.node = nbformat.read(notebook.path, as_version=4)
    node = without_widgets(execution.node)
    write_text(folder / f"{notebook.name}.ipynb", nbformat.writes(node) + "\n")
    (folder / f"{notebook.name}.partial.ipynb").unlink(missing_ok=True)
    try:
        page = to_html(node, title=notebook.title)
    except Exception as error:  # nbconvert raises anything; the notebooks that follow must still run
        message = f"the page could not be made: {error}"
        return {**NO_CELL, "type": type(error).__name__, "message": message, "traceback": traceback.format_exc()}
    write_text(folder / f"{notebook.name}.html", page)
    return None


def is_finished(result: RunResult) -> bool:
    """Whether all that a run leaves behind is there, to the last line of its page."""
    try:
        with result.page.open("rb") as file:
            file.seek(-min(file.seek(0, os.SEEK_END), 64), os.SEEK_END)
            whole = b"</html>" in file.read()
        return result.status == "ok" and whole and result.page.with_suffix(".ipynb").stat().st_size > 0
    except OSError:
        return False
