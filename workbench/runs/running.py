"""Run notebooks: check all, run one after the other or on the workers of a client, report."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..core.checks import checked
from ..core.errors import ParameterError, RunError
from .meaning import check_meaning
from .notebooks import Notebook, find_notebooks
from .parameters import check_parameters
from .previews import previews
from .recording import read_results, write_text
from .report import index_page
from .single import RunResult, run_one
from .spreading import spread_runs


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
        planned = [(notebook, own, folder / notebook.name) for notebook, own in zip(notebooks, values, strict=True)]
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
    shown = previews(folder, [entry.name for entry in finished])
    write_text(folder / "index.html", index_page(f"Runs of {folder.name}", entries, previews=shown, note=note))


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
