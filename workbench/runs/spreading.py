"""Runs of notebooks on the workers of a dask client, each whole or not there, without a lock on any file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import RunError
from .notebooks import Notebook
from .recording import NO_CELL, plain, read_results, read_whole, write_results
from .single import RunResult, first_results, is_finished, run_one

if TYPE_CHECKING:
    from ..core import cluster

_ATTEMPT = ".attempt-"
"""How the folder of a run that is not finished begins."""

Planned = tuple[Notebook, Mapping[str, object], Path]
"""A notebook, all its parameters, and the folder that its run will have."""


def spread_runs(
    client: Any, planned: Sequence[Planned], *, kernel: str | None, progress: bool | None
) -> Iterator[tuple[int, RunResult]]:
    """Run notebooks on a client's workers; the place of each in the list and its result, as they end.

    A run is made in a folder of its own, which takes its final name when it is finished. One whose workers died, or
    that could not begin, gives a failed run that says so.
    """
    from ..core import cluster  # with torch, which a run without a client has no need of

    mark = uuid.uuid4().hex[:8]
    places = {str(folder.absolute()): i for i, (_, _, folder) in enumerate(planned)}

    def jobs() -> Iterator[cluster.Job]:
        for notebook, values, folder in planned:
            where = str(folder.absolute())
            same = json.dumps([where, notebook.sha256, plain(values, "parameters")], sort_keys=True)
            key = hashlib.sha256(same.encode()).hexdigest()[:32]
            yield cluster.Job(where, key, run_apart, (notebook, dict(values), where, kernel, mark))

    done = 0
    try:
        for job, outcome in cluster.spread(client, jobs()):
            notebook, values, folder = planned[places[job.name]]
            if isinstance(outcome, Exception):
                result = _lost(notebook, values, folder, outcome)
            else:
                result = RunResult(notebook.name, folder, read_results(folder))
            done += 1
            if progress is not False:
                problem = f"\n  {result.problem}" if result.problem else ""
                said = f"{result.status}, {result.results['seconds']:.1f} s"
                print(f"{folder.name}: {said} ({done} of {len(planned)}){problem}", file=sys.stderr, flush=True)
            yield places[job.name], result
    finally:
        for place in {folder.parent for _, _, folder in planned}:
            for left in place.glob(f"{_ATTEMPT}*-{mark}-*"):
                if _abandoned(left):
                    shutil.rmtree(left, ignore_errors=True)


def run_apart(notebook: Notebook, values: Mapping[str, object], where: str, kernel: str | None, mark: str) -> None:
    """On a worker: run a notebook in a folder of its own, then give the folder its name.

    Where another has finished the same run meanwhile, that one stays.
    """
    folder = Path(where)
    if finished_before(notebook, values, folder) is not None:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    attempt = folder.with_name(f"{_ATTEMPT}{folder.name[:80]}-{mark}-{uuid.uuid4().hex[:8]}")
    run_one(notebook, values, attempt, kernel=kernel, progress=False)
    for _ in range(5):  # others may be renaming too
        try:
            attempt.rename(folder)
            return
        except OSError:
            if finished_before(notebook, values, folder) is not None:
                break
            old = folder.with_name(f"{attempt.name}-old")
            with contextlib.suppress(OSError):
                folder.rename(old)
            shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(attempt, ignore_errors=True)
    if not (folder / "results.json").is_file():
        raise RunError(f"the folder {folder} cannot be written")


def finished_before(notebook: Notebook, values: Mapping[str, object], folder: Path) -> RunResult | None:
    """The run in a folder, if it is finished and of this notebook with these parameters."""
    if not (folder / "results.json").is_file():
        return None
    try:
        results = read_whole(folder)
    except RunError:
        return None  # of another version, or damaged: run it again
    same = results["notebook"]["sha256"] == notebook.sha256 and results["parameters"] == plain(values, "parameters")
    result = RunResult(notebook.name, folder, results)
    return result if same and is_finished(result) else None


def remove_attempts(folder: Path) -> None:
    """Remove what workers of this machine left that were killed."""
    for left in folder.glob(f"{_ATTEMPT}*"):
        if _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)


def _abandoned(attempt: Path) -> bool:
    """Whether nobody works in it: a run whose process is gone reads as interrupted."""
    with contextlib.suppress(RunError):
        return read_results(attempt)["status"] != "running"
    return False


def _lost(notebook: Notebook, values: Mapping[str, object], folder: Path, error: Exception) -> RunResult:
    """A failed run in place of one of which nothing came back."""
    folder.mkdir(parents=True, exist_ok=True)
    failed = {**NO_CELL, "type": type(error).__name__, "message": str(error)}
    results = first_results(notebook, values) | {"status": "failed", "error": failed}
    write_results(folder / "results.json", results)
    return RunResult(notebook.name, folder, results)
