"""Many runs of one notebook over a grid of parameters, and runs side by side."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.checks import checked
from ..core.errors import ParameterError, RunError
from ..core.files import sweep_away
from .notebooks import Notebook, find_notebooks, plain_heading
from .previews import previews
from .recording import asked_of, brief, plain, read_whole, write_text
from .report import flatten, index_page, table_html
from .running import check, check_mapping, prepare
from .single import RunResult, run_one
from .spreading import Planned, finished_before, remove_attempts, spread_runs

if TYPE_CHECKING:
    import pandas

_LOCK = ".sweep.lock"
_NARROWEST = 8
"""Characters that a column of a wrapped table has at least, where it has so many at all."""


@checked
def sweep(
    name: str | os.PathLike,
    grid: Mapping[str, Iterable[object]],
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
    """Run one notebook for every combination of some parameters' values.

    All combinations are checked before the first one runs. Each has a folder named by its values; one that finished
    before with the same notebook and the same parameters is not run again, and one that fails does not stop the
    others. Finished means: status "ok", and page and notebook there; what was killed is run again. (A change of the
    package or of the data is not noticed: delete the folder to run it again.)

    Parameters
    ----------
    name : str or path
        The notebook.
    grid : mapping of str to iterable of object
        Values of each parameter that varies; ``seed`` and ``scale`` may be among them.
    parameters : mapping of str to object, optional
        Parameters that stay the same.
    scale, seed, kernel, client, text, progress
        As for :func:`workbench.runs.run`.
    out : path, optional
        Folder of the sweep, ``runs/sweep-<name>`` by default; a rerun into the same folder goes on from there.

    Returns
    -------
    list of RunResult
        In the order of the grid, the last parameter varying fastest. ``<out>/sweep.csv`` and ``<out>/index.html``
        hold the table of results.

    Raises
    ------
    RunError, ParameterError
        As :func:`workbench.runs.run`, for an empty grid, for a folder that holds something else (another notebook's
        sweep, say), and where another process is at work on the same sweep.
    KeyboardInterrupt
        After Ctrl-C; finished combinations are kept.
    """
    prepare(kernel)
    (notebook,) = find_notebooks(name)
    if not isinstance(grid, Mapping) or not grid:
        raise ParameterError("grid", grid, "a mapping of at least one parameter to its values")
    choices = {key: _choices(key, values) for key, values in grid.items()}
    check_mapping(parameters)
    for key in choices:
        if key in (parameters or {}) or (key == "seed" and seed is not None) or (key == "scale" and scale != "smoke"):
            raise ParameterError(f"grid[{key!r}]", choices[key], f"left out: {key} is given a value of its own too")
    combinations = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    values_of = [
        check(notebook, {**(parameters or {}), **combination}, scale=scale, seed=seed, text=text)
        for combination in combinations
    ]
    # a grid may name the same values twice
    named = {_folder_name(values, choices): values for values in values_of}
    folder = Path(out) if out is not None else Path("runs") / f"sweep-{notebook.name}"
    finished: list[RunResult] = []
    with _claimed(folder, notebook, alone=client is None):
        _remove_leftovers(folder, named)
        if client is not None:
            planned = [(notebook, values, folder / place) for place, values in named.items()]
            return _spread(client, planned, list(choices), kernel=kernel, progress=progress)
        for place, values in named.items():
            result = finished_before(notebook, values, folder / place)
            if result is None:
                _write_tables(folder, notebook, finished, list(choices), total=len(named))
                result = run_one(notebook, values, folder / place, kernel=kernel, progress=progress, replace=True)
            finished.append(result)
            if result.status == "interrupted":
                break
        _write_tables(folder, notebook, finished, list(choices), total=len(named))
    if finished[-1].status == "interrupted":
        done = sum(result.status == "ok" for result in finished)
        raise KeyboardInterrupt(
            f"the sweep was stopped; {done} of {len(named)} combinations are finished and kept in {folder}, "
            "the same command goes on from there"
        )
    return finished


def _spread(
    client: object, planned: Sequence[Planned], varied: list[str], *, kernel: str | None, progress: bool | None
) -> list[RunResult]:
    """All combinations on a client's workers; those that are finished are read, whoever made them."""
    notebook, _, first = planned[0]
    results = {i: result for i, each in enumerate(planned) if (result := finished_before(*each)) is not None}
    left = [i for i in range(len(planned)) if i not in results]

    def tables() -> None:
        now = [results[i] for i in sorted(results)]
        _write_tables(first.parent, notebook, now, varied, total=len(planned))

    tables()
    for place, result in spread_runs(client, [planned[i] for i in left], kernel=kernel, progress=progress):
        results[left[place]] = result
        tables()
    return [results[i] for i in range(len(planned))]


@contextlib.contextmanager
def _claimed(folder: Path, notebook: Notebook, *, alone: bool = True) -> Iterator[None]:
    """The folder of a sweep, made where it is not there; ``alone``: with no other process at work in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = any(folder.iterdir()) and not any((folder / name).exists() for name in (_LOCK, "sweep.csv"))
        lock = None if foreign else (folder / _LOCK).open("w")
    except OSError as error:
        raise RunError(f"the folder {folder} cannot be made ({error.strerror or error}); choose another") from error
    if foreign:
        raise RunError(f"the folder {folder} holds files that are no sweep's; choose another")
    with lock:
        if alone and not _lock(lock):
            raise RunError(
                f"another process is at work on the sweep in {folder}; wait for it, or choose another folder"
            )
        owners = set()
        for file in folder.glob("*/results.json"):
            with contextlib.suppress(RunError):  # what cannot be read is run again where it is asked for
                owners.add(read_whole(file)["notebook"]["name"])
        for owner in owners - {notebook.name}:
            raise RunError(f"the folder {folder} holds a sweep of the notebook {owner!r}; choose another")
        yield


def _lock(file) -> bool:
    """Take a lock that ends with this process; False when somebody has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _remove_leftovers(folder: Path, places: Iterable[str]) -> None:
    """Half-written files of a process that was killed."""
    for place in (folder, *(folder / name for name in places)):
        sweep_away(place)
    remove_attempts(folder)


@checked
def sweep_table(
    results: Sequence[RunResult], varied: Sequence[str], *, inner: bool = True
) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of a sweep's table: varied parameters, status, seconds, every metric that is not a list.

    ``inner=False`` leaves out what stands in dicts (one number a layer, say), which would make a line too long to read.
    """
    if not all(isinstance(result, RunResult) for result in results):
        raise ParameterError("results", results, "a list of runs, as sweep returns it")
    for result in results:
        for key in varied:
            if key not in result.results["parameters"]:
                raise ParameterError("varied", varied, f"names of parameters of notebook {result.name}")
    metrics: dict[str, None] = {}
    flat = [
        flatten(result.metrics)
        if inner
        else {key: value for key, value in result.metrics.items() if not isinstance(value, Mapping)}
        for result in results
    ]
    for figures in flat:
        metrics |= {key: None for key, value in figures.items() if not isinstance(value, list)}
    taken = {*varied, "status", "seconds"}
    columns = [*varied, "status", "seconds", *(f"{key} (recorded)" if key in taken else key for key in metrics)]
    rows = [
        [
            *(result.results["parameters"][key] for key in varied),
            result.status,
            result.results["seconds"],
            *(figures.get(key) for key in metrics),
        ]
        for result, figures in zip(results, flat, strict=True)
    ]
    return columns, rows


def compare(*runs: str | os.PathLike | RunResult) -> pandas.DataFrame:
    """Runs side by side: the parameters, data and encoders that differ, and every metric.

    Parameters
    ----------
    *runs : path or RunResult
        Folders of runs of one notebook each (or of several, or of a sweep: all inside are taken), or
        ``results.json`` files.

    Returns
    -------
    pandas.DataFrame
        One column a run; rows indexed by ("parameter" | "context" | "metric", name), and ("run", "status") first
        where one of them is not finished. With two runs a column
        ``difference`` holds second minus first for numbers.

    Raises
    ------
    RunError
        When there are no results to read, or fewer than two runs.
    """
    import pandas as pd

    named = [pair for run in runs for pair in read_runs(run)]
    if len(named) < 2:
        raise RunError(f"compare needs at least two runs, got {len(named)}")
    labels = _distinct([label for label, _ in named])
    rows: dict[tuple[str, str], list[object]] = {}
    states = [results["status"] for _, results in named]
    if set(states) != {"ok"}:  # figures of a run that failed, was killed or still goes on are no final ones
        rows["run", "status"] = states
    for kind, key in (("parameter", "parameters"), ("context", "context"), ("metric", "metrics")):
        flat = [flatten(results[key]) for _, results in named]
        for name in dict.fromkeys(itertools.chain(*flat)):
            values = [entries.get(name) for entries in flat]
            if kind == "metric" or any(value != values[0] for value in values):
                rows[kind, name] = values
    index = pd.MultiIndex.from_arrays([[kind for kind, _ in rows], [name for _, name in rows]], names=["kind", "name"])
    table = pd.DataFrame(list(rows.values()), index=index, columns=labels, dtype=object)
    if len(named) == 2:
        table["difference"] = pd.Series([_difference(*values) for values in rows.values()], index=index, dtype=object)
    return table


def asked_text(*runs: str | os.PathLike | RunResult, width: int = 100) -> str:
    """What was asked of each notebook, as text for a terminal: its parameters, those that are not its own first.

    Parameters
    ----------
    *runs : path or RunResult
        As of :func:`compare`. What differs between runs of one notebook is named, and stands in the table of that.
    width : int
        Characters that a line may have.
    """
    of_notebook: dict[str, list[dict]] = {}
    for _, results in (pair for run in runs for pair in read_runs(run)):
        of_notebook.setdefault(results["notebook"]["name"], []).append(results)
    lines = []
    for name, several in of_notebook.items():
        asked, own = {}, {}
        for results in several:
            given, left = asked_of(results)
            asked, own = asked | given, left | own
        every = [results["parameters"] for results in several]
        differ = [key for key in asked if any(each.get(key) != every[0].get(key) for each in every)]
        times = f" ({len(several)} runs)" if len(several) > 1 else ""
        lines += textwrap.wrap(f"{name}{times}: {plain_heading(several[0]['notebook']['title'])}", width)
        told = {
            "asked": [f"{key}={value!r}" for key, value in asked.items() if key not in differ],
            "differs": differ,
            "its own": [f"{key}={value!r}" for key, value in own.items() if key not in asked],
        }
        for word, texts in told.items():
            if texts:
                lines += textwrap.wrap(
                    f"  {word:<9}{', '.join(texts)}", width, subsequent_indent=" " * 11, break_on_hyphens=False
                )
    return "\n".join(lines)


def text_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, longest: int = 48, width: int | None = None
) -> str:
    """A table for a terminal: columns aligned, numbers on the right and short.

    Parameters
    ----------
    columns : sequence of str
        Names.
    rows : sequence of sequences
        One value a column.
    longest : int
        Characters that a text may have.
    width : int, optional
        Characters a line may have: what is longer goes on in the next, and nothing is cut. Without it a row is one line
        and texts longer than ``longest`` are cut.
    """
    numeric = [
        all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(columns)
    texts = [[_one_line(str(c)) for c in columns]]
    longest = longest if width is None else sys.maxsize
    texts += [["-" if value is None else _one_line(brief(value, longest)) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in texts) for i in range(len(columns))]
    while width is not None and sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    lines = [
        "  ".join(
            cell.rjust(wide) if right else cell.ljust(wide)
            for cell, wide, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for row in texts
        for line in _wrapped(row, widths)
    ]
    heading = len(_wrapped(texts[0], widths))
    return "\n".join([*lines[:heading], "  ".join("-" * wide for wide in widths), *lines[heading:]])


def _wrapped(cells: Sequence[str], widths: Sequence[int]) -> list[tuple[str, ...]]:
    """The lines of one row."""
    pieces = [
        textwrap.wrap(cell, wide, break_on_hyphens=False) if len(cell) > wide else [cell]
        for cell, wide in zip(cells, widths, strict=True)
    ]
    return list(itertools.zip_longest(*pieces, fillvalue=""))


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def _choices(key: object, values: Iterable[object]) -> list[object]:
    if not isinstance(key, str):
        raise ParameterError("grid", key, "a mapping whose keys are the names of parameters")
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ParameterError(f"grid[{key!r}]", values, "a list of values")
    choices = list(values)
    if not choices:
        raise ParameterError(f"grid[{key!r}]", choices, "at least one value")
    return choices


def _folder_name(values: Mapping[str, object], varied: Iterable[str]) -> str:
    """Readable start (what varies) and a hash of all parameters."""
    readable = "_".join(f"{key}-{brief(values[key], 24)}" for key in varied)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", readable).strip("-.")[:80]
    canonical = json.dumps(plain(values, "parameters"), sort_keys=True)
    return f"{readable}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def _write_tables(folder: Path, notebook: Notebook, results: list[RunResult], varied: list[str], *, total: int) -> None:
    columns, rows = sweep_table(results, varied)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*columns, "folder"])
    for row, result in zip(rows, results, strict=True):
        cells = [json.dumps(value) if isinstance(value, (list, dict)) else value for value in row]
        writer.writerow([*("" if cell is None else cell for cell in cells), result.folder.name])
    write_text(folder / "sweep.csv", text.getvalue())
    entries = [(result.folder.name, result.results) for result in results]
    note = f"{len(results)} of {total} combinations of {', '.join(varied)} when this page was written"
    note += ". " if len(results) == total else "; the same command goes on from there. "
    note += "Table as CSV: sweep.csv."
    title = f"Sweep of {notebook.title}"
    shown = previews(folder, [result.folder.name for result in results])
    page = index_page(title, entries, previews=shown, table=table_html(columns, rows), note=note)
    write_text(folder / "index.html", page)


def read_runs(run: str | os.PathLike | RunResult) -> list[tuple[str, dict]]:
    """Folder and results of the runs that an argument means: those in a folder of runs, or one."""
    if not isinstance(run, (str, os.PathLike, RunResult)):
        raise ParameterError("runs", run, "folders of runs, results.json files or results of run, one argument each")
    if isinstance(run, RunResult):
        return [(str(run.folder), run.results)]
    path = Path(run)
    if path.is_dir() and not (path / "results.json").is_file():
        inside = sorted(path.glob("*/results.json"))
        if inside:
            return [(str(file.parent), read_whole(file)) for file in inside]
    label = path.parent if path.name == "results.json" else path
    return [(str(label), read_whole(path))]


def _distinct(labels: list[str]) -> list[str]:
    """The shortest endings of paths that tell them apart."""
    parts = [Path(label).parts for label in labels]
    for length in range(1, max(map(len, parts)) + 1):
        short = ["/".join(part[-length:]) for part in parts]
        if len(set(short)) == len(short):
            return short
    return [f"{label} ({n})" for n, label in enumerate(labels, 1)]


def _difference(first: object, second: object) -> object:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (first, second))
    try:
        return second - first if numbers else None
    except OverflowError:  # a whole number beyond all floats
        return None
