"""What a notebook says of its results, and the file that keeps it: ``results.json``."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..core.errors import ParameterError, RunError
from ..core.files import write_whole
from .provenance import has_ended

SCHEMA = 1
"""Version of the layout of ``results.json``."""

RUN_FOLDER = "WORKBENCH_RUN_DIR"
"""Environment variable that a run sets for its kernel: the folder that holds its ``results.json``."""

NOTEBOOK_FOLDER = "WORKBENCH_NOTEBOOK_DIR"
"""Environment variable that a run sets for its kernel: the folder in which the notebook lies."""

NO_CELL = {"cell": None, "heading": "", "source": "", "type": "", "message": "", "traceback": ""}
"""The error of a run that no cell is to blame for."""

_MISSING = object()
_LAYOUT: dict[str, type | tuple[type, ...]] = {
    "notebook": dict,
    "status": str,
    "started": str,
    "seconds": (int, float),
    "parameters": dict,
    "error": (dict, type(None)),
    "device": (str, type(None)),
    "peak_memory_bytes": (int, type(None)),
    "peak_gpu_memory_bytes": (int, type(None)),
    "machine": dict,
    "versions": dict,
    "git": (dict, type(None)),
}
_LARGEST = 100_000  # numbers in one metric; beyond this a file of its own is the right place

_ROW = ("text", "value", "low", "high", "control")

_in_memory: dict[str, object] = {"metrics": {}, "context": {}, "headline": []}


class Recorded(dict):
    """What one call of :func:`record` wrote, plain Python values; shows itself as a small table."""

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th>"
            f"<td style='text-align:left'>{html.escape(brief(value, 400))}</td></tr>"
            for key, value in self.items()
        )
        return f"<table><caption style='text-align:left'>recorded</caption>{rows}</table>"

    def __repr__(self) -> str:
        return "recorded " + ", ".join(f"{key}={brief(value)}" for key, value in self.items())


def record(*, headline: Iterable[tuple] = (), **values: object) -> Recorded:
    """Keep results of a notebook: numbers, texts, lists, dicts, tables, and which data and encoder made them.

    Under ``workbench run`` they are written to the run's ``results.json`` at once (whole file, then renamed); in a
    notebook opened by hand they are kept in memory and shown. A key given again takes the new value.

    Parameters
    ----------
    headline : rows of (text, value, low, high, control)
        The notebook's main results, the most important first; a report shows three. What was measured and of what; the
        number, and the bounds of its interval, None or NaN where there are none; and what the number is read against,
        with its own number ("chance 0.17"). Rows given again replace those given before.
    **values : object
        Metrics: None, bool, int, float, str, and lists or dicts (with text keys) of them; numpy and torch scalars and
        arrays, pandas Series (-> dict) and DataFrames (-> list of rows). NaN becomes null, infinities become the
        texts "Infinity" and "-Infinity".
        Context: an object with ``describe() -> dict`` (an encoder) or with a ``fingerprint`` (a dataset's clips) is
        stored by its description and fingerprint, apart from the metrics.

    Returns
    -------
    Recorded
        A dict of what was stored; as the last line of a cell it shows a table.

    Raises
    ------
    ParameterError
        For a value of another type; names the key and the place inside the value. For a row of the headline that lacks
        something, or whose bounds are no interval.
    RunError
        When ``results.json`` cannot be written.

    Examples
    --------
    >>> record(accuracy=0.91, per_layer=[0.4, 0.6, 0.91])
    recorded accuracy=0.91, per_layer=[0.4, 0.6, 0.91]
    """
    rows = [_row(row, f"headline[{i}]") for i, row in enumerate(headline)]
    metrics: dict[str, object] = {}
    context: dict[str, object] = {}
    for key, value in values.items():
        description = _describe(value)
        if description is not None:
            context[key] = plain(description, key)
        else:
            metrics[key] = plain(value, key)
    folder = os.environ.get(RUN_FOLDER)
    if folder:
        path = Path(folder) / "results.json"
        results = _load(path)
        results["metrics"].update(metrics)
        results["context"].update(context)
        results["headline"] = rows or results.get("headline", [])
        write_results(path, results)
    else:
        _in_memory["metrics"].update(metrics)
        _in_memory["context"].update(context)
        _in_memory["headline"] = rows or _in_memory["headline"]
    return Recorded(**{row["text"]: row_text(row) for row in rows}, **metrics, **context)


def row_text(row: Mapping[str, object]) -> str:
    """A row of a headline without its text: "0.881, interval 0.85 to 0.91; read against: chance 0.1"."""
    return f"{number_text(row['value'])}, {interval_text(row)}; read against: {row['control']}"


def interval_text(row: Mapping[str, object]) -> str:
    """The interval of a row of a headline, or that there is none."""
    low, high = (number_text(row[end]) for end in ("low", "high"))
    return "no interval" if row["low"] is None else f"interval {low} to {high}"


def asked_of(results: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Parameters of other values than the notebook's own, with scale and seed; and the rest."""
    parameters = results["parameters"]
    names = {"scale", "seed", *results.get("asked", parameters)}
    asked = {name: value for name, value in parameters.items() if name in names}
    return asked, {name: value for name, value in parameters.items() if name not in names}


def number_text(value: float | None) -> str:
    """A number of a headline."""
    return "not measured" if value is None else f"{value:.3g}"


def _row(row: object, where: str) -> dict[str, object]:
    """A row of a headline, checked."""
    cells = list(row) if isinstance(row, (list, tuple)) else []
    if len(cells) != len(_ROW):
        raise ParameterError(where, row, f"five things: {', '.join(_ROW)}")
    made = {name: plain(cell, f"{where}, its {name}") for name, cell in zip(_ROW, cells, strict=True)}
    for name in ("text", "control"):
        if not isinstance(made[name], str) or not made[name].strip():
            raise ParameterError(f"{where}, its {name}", made[name], "a text")
    bounds = [made["low"], made["high"]]
    for name in _ROW[1:4]:
        if made[name] is not None and (not isinstance(made[name], (int, float)) or isinstance(made[name], bool)):
            raise ParameterError(f"{where}, its {name}", made[name], "a finite number, or None where there is none")
    if (bounds[0] is None) != (bounds[1] is None) or (bounds[0] is not None and bounds[0] > bounds[1]):
        raise ParameterError(f"{where}, its bounds", bounds, "two numbers, the lower first, or None twice")
    return made


def plain(value: object, where: str) -> object:
    """Value as JSON can hold it, see :func:`record`; ``where`` names it in errors."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # torch, without importing it
        value = value.detach().cpu().tolist()
    elif type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_dict"):
        is_table = hasattr(value, "columns")
        value = _rows(value, where) if is_table else {str(k): v for k, v in value.to_dict().items()}
    elif type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, str)):
        if not _fits(value):
            shown = brief(value) if isinstance(value, str) else "a longer number"
            raise ParameterError(where, shown, "a text that is UTF-8, or a number of fewer than 4000 digits")
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ParameterError(where, value, "a dict whose keys are texts")
        return {key: plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if len(value) > _LARGEST:
            raise ParameterError(where, f"a list of {len(value)}", f"at most {_LARGEST} long; save arrays to a file")
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if str(value) in ("NaT", "<NA>"):
        return None
    raise ParameterError(
        where, value, "a number, text, None, a list or dict of them, an array, a table, a dataset or an encoder"
    )


def _fits(value: object) -> bool:
    """Whether JSON can hold a text or whole number and be read again."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    return value is None or int(value).bit_length() < 13_000


def _rows(table, where: str) -> list[dict[str, object]]:
    table = table.rename(columns=str)
    if table.columns.nlevels > 1 or not table.columns.is_unique:
        raise ParameterError(where, list(table.columns), "a table whose columns have one name each")
    return table.to_dict("records")


def brief(value: object, limit: int = 120) -> str:
    """Short text of a stored value: four significant digits, long ones cut."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        text = "[" + ", ".join(brief(item, limit) for item in value[:20]) + (", ..." if len(value) > 20 else "") + "]"
    elif isinstance(value, dict):
        shown = list(value.items())[:20]
        text = "{" + ", ".join(f"{key}: {brief(item, limit)}" for key, item in shown)
        text += ", ...}" if len(value) > 20 else "}"
    else:
        text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def read_results(path: str | os.PathLike) -> dict:
    """Contents of a ``results.json`` (its folder will do).

    A run whose process is gone although it never finished (it was killed, or the machine went down) reads as
    "interrupted", with an ``error`` that says so.

    Raises
    ------
    RunError
        When it is not there, not JSON, or of another schema.
    """
    results = _load(_results_file(path))
    process = results.get("process")
    if results.get("status") == "running" and isinstance(process, Mapping) and has_ended(process):
        message = f"its process ({process.get('pid')} on {process.get('host')}) ended before it was finished"
        results |= {"status": "interrupted", "error": {**NO_CELL, "type": "Killed", "message": message}}
    return results


def read_whole(path: str | os.PathLike) -> dict:
    """Do as :func:`read_results`, for those who need all of it: a file that lacks something is refused by name."""
    path = _results_file(path)
    results = read_results(path)
    for key, kind in _LAYOUT.items():
        if not isinstance(results.get(key, _MISSING), kind):
            problem = "is missing" if key not in results else f"is {type(results[key]).__name__}"
            raise RunError(f"{path}: not whole, {key!r} {problem}; run the notebook again")
    texts = [("notebook", key) for key in ("name", "title", "sha256")]
    texts += [("error", key) for key in ("heading", "type", "message", "traceback") if results["error"]]
    for outer, key in texts:
        if not isinstance(results[outer].get(key), str):
            raise RunError(f"{path}: not whole, {key!r} of {outer!r} must be a text; run the notebook again")
    asked = results.get("asked", [])
    if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
        raise RunError(f"{path}: not whole, 'asked' must be a list of names; run the notebook again")
    headline = results.setdefault("headline", [])
    if not isinstance(headline, list) or not all(isinstance(row, Mapping) and {*_ROW} <= {*row} for row in headline):
        raise RunError(f"{path}: not whole, 'headline' must be rows of {', '.join(_ROW)}; run the notebook again")
    for key, value in results["context"].items():
        if not isinstance(value, Mapping):
            raise RunError(f"{path}: not whole, context {key!r} is {type(value).__name__}; run the notebook again")
    return results


def _results_file(path: str | os.PathLike) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise ParameterError("path", path, "the folder of a run, or its results.json")
    path = Path(path)
    return path / "results.json" if path.is_dir() else path


def _load(path: Path) -> dict:
    """Results as far as :func:`record` needs them."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(
            f"{path}: no results here; give the folder of one notebook's run, or its results.json"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: not readable as results ({error})") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        schema = results.get("schema") if isinstance(results, dict) else type(results).__name__
        raise RunError(f"{path}: schema {brief(repr(schema))}, this version reads {SCHEMA}")
    for key in ("metrics", "context"):
        if not isinstance(results.get(key), dict):
            raise RunError(f"{path}: not whole, {key!r} must be a dict; run the notebook again")
    return results


def write_results(path: str | os.PathLike, results: Mapping[str, object]) -> None:
    """Write results as JSON under their final name, whole or not at all."""
    write_text(path, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file under a temporary name, flush it, rename it.

    Raises
    ------
    RunError
        When the folder is not writable or full; nothing is left behind.
    """
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error


def _not_finite(value: float) -> str | None:
    return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _describe(value: object) -> dict[str, object] | None:
    """Description of a dataset's clips or an encoder; None for anything else."""
    if isinstance(value, type):
        return None
    if callable(getattr(value, "describe", None)) and type(value).__module__.partition(".")[0] != "pandas":
        description = value.describe()
        return description if isinstance(description, Mapping) else None
    if hasattr(value, "fingerprint") and hasattr(value, "name"):
        description: dict[str, object] = {"name": value.name, "fingerprint": value.fingerprint}
        if hasattr(value, "table"):
            description |= {"clips": len(value), "generated": bool(getattr(value, "generated", False))}
            description |= {name: getattr(value, name) for name in ("title", "licence") if hasattr(value, name)}
        return description
    return None
