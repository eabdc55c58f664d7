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

from ..errors import ParameterError, RunError
from .notebooks import Notebook, find_notebooks
from .parameters import check_parameters
from .provenance import git_state, machine, versions
from .recording import RUN_FOLDER, SCHEMA, brief, read_results, write_results, write_text
from .report import index_page

SCALES = ("smoke", "small", "paper")


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


def run(
    names: Iterable[str | os.PathLike] | str | os.PathLike | None = None,
    *,
    parameters: Mapping[str, object] | None = None,
    scale: str = "smoke",
    seed: int | None = None,
    out: str | os.PathLike | None = None,
    kernel: str | None = None,
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
    text : bool
        ``parameters`` holds text to be parsed, as from a command line.
    progress : bool, optional
        Say on standard error what runs and how it ended, with a bar where that is a terminal; True shows the bar
        anywhere, False nothing at all.

    Returns
    -------
    list of RunResult
        One a notebook, in order. ``<out>/index.html`` lists them; ``<out>/<name>/`` holds each one's files.

    Raises
    ------
    RunError
        For an unknown notebook or parameter, or an ``out`` that is not empty or cannot be written.
    ParameterError
        For a value of the wrong type.
    KeyboardInterrupt
        After Ctrl-C, once the notebook so far has been kept.
    """
    notebooks = find_notebooks(names)
    values = [check(notebook, parameters, scale=scale, seed=seed, text=text) for notebook in notebooks]
    folder = new_folder(out)
    finished: list[RunResult] = []
    for notebook, given in zip(notebooks, values, strict=True):
        result = run_one(notebook, given, folder / notebook.name, kernel=kernel, progress=progress)
        finished.append(result)
        entries = [(entry.name, entry.results) for entry in finished]
        left = len(notebooks) - len(finished)
        note = f"{left} of {len(notebooks)} not run yet." if left else ""
        write_text(folder / "index.html", index_page(f"Runs of {folder.name}", entries, note=note))
        if result.status == "interrupted":
            raise KeyboardInterrupt(f"notebook {notebook.name} was stopped; what it did is kept in {result.folder}")
    return finished


def check(
    notebook: Notebook,
    parameters: Mapping[str, object] | None,
    *,
    scale: str,
    seed: int | None,
    text: bool = False,
) -> dict[str, object]:
    """All parameters of a notebook, checked; ``scale`` and ``seed`` join the others. Raises as :func:`run` does."""
    if scale not in SCALES:
        raise ParameterError("scale", scale, f"one of {', '.join(SCALES)}")
    given = dict(parameters or {})
    for name, value in (("scale", scale), ("seed", seed)):
        if name not in notebook.parameters:
            raise RunError(
                f"notebook {notebook.name}: its parameters cell must assign {name!r}, as every notebook does"
            )
        if name not in given and value is not None:
            given[name] = value
    values = check_parameters(notebook.parameters, given, notebook=notebook.name, text=text)
    if values["scale"] not in SCALES:
        raise ParameterError("scale", values["scale"], f"one of {', '.join(SCALES)}")
    return values


def new_folder(out: str | os.PathLike | None) -> Path:
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
    except OSError as error:
        where = "runs" if out is None else os.fspath(out)
        raise RunError(f"the folder {where} cannot be written ({error.strerror or error}); choose another") from error


def run_one(
    notebook: Notebook,
    parameters: Mapping[str, object],
    folder: Path,
    *,
    kernel: str | None = None,
    progress: bool | None = None,
) -> RunResult:
    """Run one notebook, its parameters checked already, into a folder of its own (replaced when it exists)."""
    from .kernel import execute

    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    file, began = folder / "results.json", time.monotonic()
    started = _first_results(notebook, parameters)
    write_results(file, started)
    bar = sys.stderr.isatty() if progress is None else progress
    if progress is not False and not bar:
        print(f"{folder.name}: running", file=sys.stderr, flush=True)
    execution = execute(
        notebook,
        parameters=parameters,
        folder=folder,
        environment={RUN_FOLDER: str(folder.resolve())},
        kernel=kernel,
        progress=bar,
    )
    results = read_results(file)  # what the notebook recorded is in there by now
    results |= {
        "status": execution.status,
        "seconds": round(time.monotonic() - began, 2),
        "error": execution.failure,
        **execution.report,
    }
    node = _keep_notebook(execution, notebook, folder)
    write_results(file, results)  # before the page: whatever becomes of that, the results are safe
    problem = _write_page(node, notebook, folder)
    if problem is not None:
        results |= {"status": "failed", "error": results["error"] or problem}
        write_results(file, results)
    result = RunResult(notebook.name, folder, results)
    if progress is not False:
        ending = f"\n  {result.problem}" if result.problem else ""
        print(f"{folder.name}: {result.status}, {results['seconds']:.1f} s{ending}", file=sys.stderr, flush=True)
    return result


def _first_results(notebook: Notebook, parameters: Mapping[str, object]) -> dict[str, object]:
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
    }


def _keep_notebook(execution, notebook: Notebook, folder: Path):
    """Write the notebook so far under its final name, and return it."""
    import nbformat

    from .export import without_widgets

    if execution.node is None:  # stopped before the kernel was up
        execution.node = nbformat.read(notebook.path, as_version=4)
    node = without_widgets(execution.node)
    write_text(folder / f"{notebook.name}.ipynb", nbformat.writes(node) + "\n")
    (folder / f"{notebook.name}.partial.ipynb").unlink(missing_ok=True)
    return node


def _write_page(node, notebook: Notebook, folder: Path) -> dict[str, object] | None:
    """Write the page; when it cannot be made, what went wrong, in the form of a failed cell without a number."""
    from .export import to_html

    try:
        page = to_html(node, title=notebook.title)
    except Exception as error:  # nbconvert raises anything; the notebooks that follow must still run
        message = f"the page could not be made: {error}"
        return {
            "cell": None,
            "heading": "",
            "source": "",
            "type": type(error).__name__,
            "message": message,
            "traceback": traceback.format_exc(),
        }
    write_text(folder / f"{notebook.name}.html", page)
    return None
