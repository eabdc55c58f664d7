"""One run: a notebook, its parameters checked already, executed into a folder of its own."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import RunError
from .following import Follower
from .notebooks import Notebook
from .provenance import git_state, machine, this_process, versions
from .recording import NO_CELL, NOTEBOOK_FOLDER, RUN_FOLDER, SCHEMA, brief, read_results, write_results, write_text


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


def run_one(
    notebook: Notebook,
    parameters: Mapping[str, object],
    folder: Path,
    *,
    kernel: str | None = None,
    progress: bool | None = None,
    replace: bool = False,
    seconds: float | None = None,
) -> RunResult:
    """Run one notebook, its parameters checked already, into a folder of its own.

    A folder that is there is replaced, where that is allowed; ``seconds`` is the longest time for all cells. The status
    becomes "ok" last of all, when the page is there: a run that was killed before is never taken for a finished one.
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
        results.pop("process", None)  # that of a run that goes on; readers of a finished one need no name of a machine
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
                environment={
                    RUN_FOLDER: str(folder.resolve()),
                    NOTEBOOK_FOLDER: str(notebook.path.resolve().parent),
                },
                kernel=kernel,
                seconds=seconds,
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
        "asked": [name for name, own in notebook.parameters.items() if parameters[name] != own.default],
        "headline": [],
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
