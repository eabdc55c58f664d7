"""Many runs of one notebook over a grid of parameters, and runs side by side."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ParameterError, RunError
from .notebooks import Notebook, find_notebooks
from .recording import brief, plain, read_results, write_text
from .report import flatten, index_page, table_html
from .running import RunResult, check, run_one

if TYPE_CHECKING:
    import pandas


def sweep(
    name: str | os.PathLike,
    grid: Mapping[str, Iterable[object]],
    *,
    parameters: Mapping[str, object] | None = None,
    scale: str = "smoke",
    seed: int | None = None,
    out: str | os.PathLike | None = None,
    kernel: str | None = None,
    text: bool = False,
    progress: bool | None = None,
) -> list[RunResult]:
    """Run one notebook for every combination of some parameters' values.

    All combinations are checked before the first one runs. Each has a folder named by its values; one that finished
    before with the same notebook and the same parameters is not run again, and one that fails does not stop the
    others. (A change of the package or of the data is not noticed: delete the folder to run it again.)

    Parameters
    ----------
    name : str or path
        The notebook.
    grid : mapping of str to iterable of object
        Values of each parameter that varies; ``seed`` and ``scale`` may be among them.
    parameters : mapping of str to object, optional
        Parameters that stay the same.
    scale, seed, kernel, text, progress
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
        As :func:`workbench.runs.run`, and for an empty grid.
    KeyboardInterrupt
        After Ctrl-C; finished combinations are kept.
    """
    (notebook,) = find_notebooks(name)
    choices = {key: _choices(key, values) for key, values in grid.items()}
    if not choices:
        raise ParameterError("grid", {}, "a mapping of at least one parameter to its values")
    combinations = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    checked = [
        check(notebook, {**(parameters or {}), **combination}, scale=scale, seed=seed, text=text)
        for combination in combinations
    ]
    folder = Path(out) if out is not None else Path("runs") / f"sweep-{notebook.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {folder} cannot be made ({error.strerror or error}); choose another") from error
    finished: dict[str, RunResult] = {}
    for values in checked:
        place = folder / _folder_name(values, choices)
        if place.name in finished:
            continue  # the grid names the same values twice
        result = _done_before(notebook, values, place)
        if result is None:
            result = run_one(notebook, values, place, kernel=kernel, progress=progress)
        finished[place.name] = result
        _write_tables(folder, notebook, list(finished.values()), list(choices), total=len(checked))
        if result.status == "interrupted":
            raise KeyboardInterrupt(f"the sweep was stopped; what is finished is kept in {folder}")
    return list(finished.values())


def sweep_table(
    results: Sequence[RunResult], varied: Sequence[str], *, inner: bool = True
) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of a sweep's table: varied parameters, status, seconds, every metric that is not a list.

    ``inner=False`` leaves out what stands in dicts (one number a layer, say), which would make a line too long to read.
    """
    metrics: dict[str, None] = {}
    flat = [
        flatten(result.metrics)
        if inner
        else {key: value for key, value in result.metrics.items() if not isinstance(value, Mapping)}
        for result in results
    ]
    for one in flat:
        metrics |= {key: None for key, value in one.items() if not isinstance(value, list)}
    taken = {*varied, "status", "seconds"}
    columns = [*varied, "status", "seconds", *(f"{key} (recorded)" if key in taken else key for key in metrics)]
    rows = [
        [
            *(result.results["parameters"][key] for key in varied),
            result.status,
            result.results["seconds"],
            *(one.get(key) for key in metrics),
        ]
        for result, one in zip(results, flat, strict=True)
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
        One column a run; rows indexed by ("parameter" | "context" | "metric", name). With two runs a column
        ``difference`` holds second minus first for numbers.

    Raises
    ------
    RunError
        When there are no results to read, or fewer than two runs.
    """
    import pandas as pd

    named = [pair for run in runs for pair in _read_runs(run)]
    if len(named) < 2:
        raise RunError(f"compare needs at least two runs, got {len(named)}")
    labels = _distinct([label for label, _ in named])
    rows: dict[tuple[str, str], list[object]] = {}
    for kind, key in (("parameter", "parameters"), ("context", "context"), ("metric", "metrics")):
        flat = [flatten(results[key]) for _, results in named]
        for name in dict.fromkeys(itertools.chain(*flat)):
            values = [one.get(name) for one in flat]
            if kind == "metric" or any(value != values[0] for value in values):
                rows[kind, name] = values
    index = pd.MultiIndex.from_tuples(list(rows), names=["kind", "name"])
    table = pd.DataFrame(list(rows.values()), index=index, columns=labels, dtype=object)
    if len(named) == 2:
        table["difference"] = pd.Series([_difference(*values) for values in rows.values()], index=index, dtype=object)
    return table


def text_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table for a terminal: columns aligned, numbers on the right and short."""
    numeric = [
        all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(columns)
    texts = [[str(c) for c in columns], *([("-" if v is None else brief(v, 48)) for v in row] for row in rows)]
    widths = [max(len(line[i]) for line in texts) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in texts
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _choices(key: str, values: Iterable[object]) -> list[object]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ParameterError(f"grid[{key!r}]", values, "a list of values")
    found = list(values)
    if not found:
        raise ParameterError(f"grid[{key!r}]", found, "at least one value")
    return found


def _folder_name(values: Mapping[str, object], varied: Iterable[str]) -> str:
    """Readable start (what varies) and a hash of all parameters."""
    readable = "_".join(f"{key}-{brief(values[key], 24)}" for key in varied)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", readable).strip("-.")[:80]
    canonical = json.dumps(plain(values, "parameters"), sort_keys=True)
    return f"{readable}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def _done_before(notebook: Notebook, values: Mapping[str, object], place: Path) -> RunResult | None:
    if not (place / "results.json").is_file():
        return None
    try:
        results = read_results(place)
    except RunError:
        return None  # of another version, or damaged: run it again
    same = results["notebook"]["sha256"] == notebook.sha256 and results["parameters"] == plain(values, "parameters")
    return RunResult(notebook.name, place, results) if same and results["status"] == "ok" else None


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
    note = f"{len(results)} of {total} combinations of {', '.join(varied)}. Table as CSV: sweep.csv."
    title = f"Sweep of {notebook.title}"
    write_text(folder / "index.html", index_page(title, entries, table=table_html(columns, rows), note=note))


def _read_runs(run: str | os.PathLike | RunResult) -> list[tuple[str, dict]]:
    if isinstance(run, RunResult):
        return [(str(run.folder), run.results)]
    path = Path(run)
    if path.is_dir() and not (path / "results.json").is_file():
        inside = sorted(path.glob("*/results.json"))
        if inside:
            return [(str(file.parent), read_results(file)) for file in inside]
    label = path.parent if path.name == "results.json" else path
    return [(str(label), read_results(path))]


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
    return second - first if numbers else None
