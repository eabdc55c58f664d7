"""A grid of settings tried on the same splits with the same seeds, which goes on where it stopped."""

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
"""To be raised when a study changes its numbers: results kept for resuming are then not found any more."""

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
    """Run a task with every setting of a grid, on every split, with every seed, and put what it measured in one table.

    Parameters
    ----------
    task : callable
        ``task(setting, split, seed)`` measures something and gives it as a mapping of column to value, or as a list of
        such mappings, a row each. Values are numbers, text, bool or None. It must depend on its arguments, and on what
        it takes from outside, alone.
    grid : mapping of str to list, or list of mappings
        Names and their values, of which every combination is a setting; or the settings themselves. Where the values
        of a name are a mapping, its keys are what the table shows and its values what the task is given.
    splits : sequence of Split, optional
        Without any, the task is called with None and the table has no column fold.
    seeds : sequence of int
    resume : bool or path
        Keep every finished run in a folder (True: ``trained`` in the user's cache folder), in a small file named by a
        hash of the setting, the rows of the split, the seed, and the task: its code and everything that it takes from
        outside. Runs that are there are read. The version of this package counts, those of others do not.
    client : distributed.Client, or object with ``submit(function, *arguments)``, optional
        Where the runs are computed: the workers of a dask client (:mod:`workbench.core.cluster`), of which one that
        dies costs no more than what it was at, or a ``concurrent.futures.ProcessPoolExecutor``. The table is the same.
        Without one they run here, one after the other. With ``resume``, a run that two callers of one scheduler ask
        for is computed once.
    progress : bool or callable (done, total)

    Returns
    -------
    pandas.DataFrame
        A row a run (or a row of its list), in the order of settings, splits and seeds: the setting, fold, seed, what
        was measured, and seconds. Where a run failed, the column error says why and what it measures is missing; the
        others are made all the same.

    Raises
    ------
    ParameterError
        Nothing to run, a task or setting that cannot be hashed for ``resume``, or a row that does not fit in a table.
    Exception
        Whatever the first run raised, if every one failed.

    Warns
    -----
    UserWarning
        How many runs failed and why the first did; each text that runs warned of, once.
    NothingLearntWarning
        How many runs learnt nothing.

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
    """One setting on one split with one seed, and what came of it."""

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
    """Each setting twice: as the table shows it, and as the task is given it."""
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
    """Run once: rows, seconds, what was warned of, and the failure where there is one."""
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
    """Every run with what came of it on a dask client's workers, as soon as it is there."""
    with cluster.parcels() as pack:
        packed, of_key = pack(task), defaultdict(list)  # a setting may be there twice

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
    """Run once on a worker, unless somebody has meanwhile; what is finished is kept there and then."""
    if (before := read(path, ("rows", "seconds", "unlearnt"))) is not None:
        return {**before, "said": []}
    outcome = _attempt(task, setting, split, seed)
    if "failure" not in outcome:
        with contextlib.suppress(StoreError):  # a worker without that folder: the caller keeps it
            write(path, {name: value for name, value in outcome.items() if name != "said"})
    return outcome


def _outcomes(task: Task, runs: list[_Run], client: object | None) -> Iterator[tuple[_Run, dict[str, Any]]]:
    """Every run with what came of it, as soon as it is there."""
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
