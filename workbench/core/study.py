"""Run a task for every setting of a grid, on the same splits and with the same seeds, and resume after interrupts."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import time
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cluster
from .checks import checked
from .checks import seed as checked_seed
from .dependencies import release
from .errors import ParameterError, StoreError
from .fitting import NothingLearntWarning
from .kept import Kept, read, write
from .progress import Progress, reporter
from .splits import Split
from .warn import warn

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Increased when the numbers of studies change, so that results of earlier versions are not reused."""

Task = Callable[[Mapping[str, Any], Split | None, int], Mapping[str, Any] | Sequence[Mapping[str, Any]]]
Grid = Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]]


@checked
def study(
    task: Task,
    grid: Grid,
    *,
    splits: Iterable[Split] | None = None,
    seeds: Iterable[int] = (0,),
    resume: bool | str | os.PathLike | None = False,
    client: object | None = None,
    progress: Progress | bool | None = True,
) -> pd.DataFrame:
    """Run a task with every setting of a grid, on every split, with every seed, and collect the results in one table.

    Parameters
    ----------
    task : callable
        ``task(setting, split, seed)`` measures something and returns it as a mapping of column to value, or as a list
        of such mappings for several rows. Values are numbers, text, bool or None. The result must depend only on the
        arguments and on the outside values to which the code of the task refers.
    grid : mapping of str to list, or list of mappings
        Names and lists of values, every combination of which is a setting; or the settings themselves. If the values of
        a name are a mapping, the table shows its keys and the task gets its values.
    splits : sequence of Split, optional
        Without splits, the task is called with None, and the table has no column fold.
    seeds : sequence of int
    resume : bool or path
        Folder in which every finished run is kept (True for ``trained`` in the user's cache folder), and from which
        finished runs are read. A run is a small file, named by a hash of the setting, the rows of the split, the seed,
        the version of this package, and the task's code with all outside values to which it refers. Versions of other
        packages are not included.
    client : distributed.Client, or object with ``submit(function, *arguments)``, optional
        Where runs are computed: on the workers of a dask client (:mod:`workbench.core.cluster`), where a worker that
        dies costs only its current run, or by a ``concurrent.futures.ProcessPoolExecutor``. The table is the same. By
        default runs are computed in this process, one after the other. With ``resume``, a run that two callers of one
        scheduler need is computed once.
    progress : bool or callable (done, total)

    Returns
    -------
    pandas.DataFrame
        One row for each run (or for each row of its list), in the order of settings, splits and seeds, with the
        setting, fold, seed, the measured columns, and seconds. If a run failed, the column error says why, and its
        measured columns are missing; other runs are not affected.

    Raises
    ------
    ParameterError
        There is nothing to run, or a task or setting cannot be hashed for ``resume``.
    Exception
        The exception of the first run, if every run failed.

    Warns
    -----
    UserWarning
        Some runs failed (the warning says how many, and why the first did), or runs gave warnings (each text once).
    NothingLearntWarning
        Some runs learnt nothing (the warning says how many).

    Examples
    --------
    >>> def task(setting, split, seed):
    ...     return {"sum": setting["a"] + 10 * seed}
    >>> study(task, {"a": [1, 2]}, seeds=[0, 1], progress=False)[["a", "seed", "sum"]].values.tolist()
    [[1, 0, 1], [1, 1, 11], [2, 0, 2], [2, 1, 12]]
    """
    import pandas as pd

    if not callable(task):
        raise ParameterError("task", task, "a function of (setting, split, seed)")
    seeds = [checked_seed(seed, f"seeds[{i}]") for i, seed in enumerate(_listed("seeds", seeds))]
    folds = [(None, None)] if splits is None else list(enumerate(_listed("splits", splits)))
    for fold, split in folds:
        if fold is not None and not isinstance(split, Split):
            raise ParameterError(f"splits[{fold}]", type(split).__name__, "a workbench.Split(train, valid, test)")
    runs = [
        _Run(shown, setting, fold, split, seed)
        for (shown, setting), (fold, split), seed in itertools.product(_settings(grid), folds, seeds)
    ]
    kept = Kept(resume, f"study {VERSION}, workbench {release()}", {"task": task})
    for run in runs:
        rows = None if run.split is None else list(run.split)
        run.path = kept.path(setting=run.setting, split=rows, seed=run.seed)
        run.outcome = read(run.path, ("rows", "seconds", "unlearnt"))
    report, waiting = reporter(progress, "runs"), [run for run in runs if run.outcome is None]
    report(len(runs) - len(waiting), len(runs))
    said: set[str] = set()
    outcomes = (_spread if cluster.is_dask(client) else _outcomes)(task, waiting, client)
    for done, (run, outcome) in enumerate(outcomes, len(runs) - len(waiting) + 1):
        run.outcome = outcome
        for text in outcome.pop("said"):
            if text not in said:
                said.add(text)
                warn(text)
        if "failure" not in outcome:
            write(run.path, outcome)
        report(done, len(runs))
    failures = [run for run in runs if "failure" in run.outcome]
    if len(failures) == len(runs):
        raise failures[0].outcome["failure"]
    if failures:
        first = failures[0]
        warn(f"{len(failures)} of {len(runs)} runs failed; the first is {first}: {first.outcome['error']}")
    if idle := [str(run) for run in runs if run.outcome["unlearnt"]]:
        few = "; ".join(idle[:3]) + ("; ..." if len(idle) > 3 else "")
        text = f"{len(idle)} of {len(runs)} runs learnt nothing after their first epoch or validation: {few}"
        warn(text, NothingLearntWarning)
    return pd.DataFrame([row for run in runs for row in run.rows()])


class _Run:
    """One setting on one split with one seed, and its outcome."""

    path = outcome = None

    def __init__(self, shown: Mapping, setting: Mapping, fold: int | None, split: Split | None, seed: int):
        self.shown, self.setting, self.fold, self.split, self.seed = shown, setting, fold, split, seed

    def __str__(self) -> str:
        fold = {} if self.fold is None else {"fold": self.fold}
        return ", ".join(f"{name} {value}" for name, value in {**self.shown, **fold, "seed": self.seed}.items())

    def rows(self) -> Iterator[dict[str, Any]]:
        known = self.shown | ({} if self.fold is None else {"fold": self.fold}) | {"seed": self.seed}
        rest = {name: self.outcome[name] for name in ("seconds", "error") if name in self.outcome}
        for row in self.outcome["rows"]:
            yield {**known, **rest, **row} if "seconds" in row else {**known, **row, **rest}


def _listed(name: str, values: object) -> list:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ParameterError(name, values, "a list")
    if not (listed := list(values)):
        raise ParameterError(name, values, "at least one")
    return listed


def _settings(grid: Grid) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each setting in two forms: as the table shows it, and as the task gets it."""
    if not isinstance(grid, Mapping):
        settings = _listed("grid", grid)
        for i, setting in enumerate(settings):
            if not isinstance(setting, Mapping):
                raise ParameterError(f"grid[{i}]", setting, "a mapping of names to values")
        return [({name: _shown(value) for name, value in setting.items()}, dict(setting)) for setting in settings]
    axes = []
    for name, values in grid.items():
        labelled = values.items() if isinstance(values, Mapping) else [(_shown(v), v) for v in _listed(name, values)]
        if not (labelled := list(labelled)):
            raise ParameterError(f"grid[{name!r}]", values, "at least one")
        axes.append([((name, label), (name, value)) for label, value in labelled])
    return [tuple(map(dict, zip(*pairs, strict=True))) if pairs else ({}, {}) for pairs in itertools.product(*axes)]


def _shown(value: object) -> object:
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)


def _attempt(task: Task, setting: Mapping[str, Any], split: Split | None, seed: int) -> dict[str, Any]:
    """Run the task once; return its rows, seconds, warnings and, if it failed, the failure."""
    begin, outcome = time.perf_counter(), {"rows": [{}]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            measured = task(setting, split, seed)
            rows = [measured] if isinstance(measured, Mapping) else list(measured)
            outcome["rows"] = [{str(key): _value(key, value) for key, value in row.items()} for row in rows]
        except Exception as failure:
            outcome |= {"failure": failure, "error": f"{type(failure).__name__}: {failure}"}
    outcome["seconds"] = time.perf_counter() - begin
    outcome["unlearnt"] = any(issubclass(each.category, NothingLearntWarning) for each in caught)
    texts = [str(each.message) for each in caught if not issubclass(each.category, NothingLearntWarning)]
    return outcome | {"said": list(dict.fromkeys(texts))}


def _value(name: str, value: object) -> object:
    value = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    if value is not None and not isinstance(value, (str, bool, int, float)):
        raise ParameterError(f"the task's {name!r}", type(value).__name__, "a number, text, bool or None")
    return value


def _spread(task: Task, runs: list[_Run], client: Any) -> Iterator[tuple[_Run, dict[str, Any]]]:
    """Yield every run with its outcome from a dask client's workers, as soon as it is finished."""
    with cluster.parcels() as pack:
        packed, of_key = pack(task), defaultdict(list)  # a setting may occur twice

        def jobs() -> Iterator[cluster.Job]:
            for run in runs:
                key = uuid.uuid4().hex if run.path is None else run.path.stem
                path = None if run.path is None else run.path.absolute()
                of_key[key].append(run)
                yield cluster.Job(str(run), key, _kept_attempt, (path, packed, run.setting, run.split, run.seed))

        for job, outcome in cluster.spread(client, jobs()):
            if isinstance(outcome, Exception):  # the worker, not the task
                failed = {"failure": outcome, "error": f"{type(outcome).__name__}: {outcome}"}
                outcome = {"rows": [{}], "seconds": 0.0, "unlearnt": False, "said": [], **failed}
            yield of_key[job.key].pop(), outcome


def _kept_attempt(path: Path | None, task: Task, setting: Mapping, split: Split | None, seed: int) -> dict[str, Any]:
    """Run once on a worker, unless another process has finished the run meanwhile, and keep the outcome at once."""
    if (before := read(path, ("rows", "seconds", "unlearnt"))) is not None:
        return {**before, "said": []}
    outcome = _attempt(task, setting, split, seed)
    if "failure" not in outcome:
        with contextlib.suppress(StoreError):  # a worker without that folder: the caller keeps it
            write(path, {name: value for name, value in outcome.items() if name != "said"})
    return outcome


def _outcomes(task: Task, runs: list[_Run], client: object | None) -> Iterator[tuple[_Run, dict[str, Any]]]:
    """Yield every run with its outcome, as soon as it is finished."""
    if client is None:
        for run in runs:
            yield run, _attempt(task, run.setting, run.split, run.seed)
        return
    if not callable(getattr(client, "submit", None)):
        raise ParameterError("client", type(client).__name__, "an object with submit(function, *arguments), or None")
    ready: queue.SimpleQueue = queue.SimpleQueue()
    futures = {client.submit(_attempt, task, run.setting, run.split, run.seed): run for run in runs}
    for future in futures:
        future.add_done_callback(ready.put)
    try:
        for _ in runs:
            future = ready.get()
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()
