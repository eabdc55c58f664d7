"""What the views are given, checked before anything is drawn: tables of clips, mappings, things told by their parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd

#: An (x, rate) source by position.
Audio = Callable[[int], tuple[np.ndarray, int]]


def table_of(clips) -> pd.DataFrame:
    """The table of clips, or a table itself.

    Raises
    ------
    ParameterError
        Neither of the two, or two columns of one name.
    """
    import pandas as pd

    table = clips if isinstance(clips, pd.DataFrame) else getattr(clips, "table", None)
    if not isinstance(table, pd.DataFrame):
        raise ParameterError("clips", type(clips).__name__, "Clips or a pandas.DataFrame")
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ParameterError(
            "clips", f"a table with two columns {twice!r}", "a table whose columns have different names"
        )
    return table


def column(argument: str, name: object, table: pd.DataFrame) -> pd.Series:
    """A column of a table by its name."""
    try:
        known = name in table.columns
    except TypeError:  # a list or a mapping is no name
        known = False
    if not known:
        raise ParameterError(argument, name, f"a column of the table: {', '.join(map(str, table.columns))}")
    return table[name]


def named_columns(argument: str, names: str | Iterable | None) -> list:
    """Names of columns as a list; one may stand alone."""
    if names is None or isinstance(names, str):
        return [] if names is None else [names]
    if isinstance(names, (bytes, Mapping)) or not isinstance(names, Iterable):
        raise ParameterError(argument, names, "names of columns")
    return list(names)


def mapping(name: str, value: object, expected: str) -> dict:
    """A mapping as a dict; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ParameterError(name, type(value).__name__, expected)
    return dict(value)


def items(name: str, value: object, expected: str) -> list:
    """A sequence, or what gives one item after another, as a list; not text, nor a mapping."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ParameterError(name, type(value).__name__, expected)
    return list(value)


def instances(name: str, value: object, kind: type) -> list:
    """Objects of one class as a list."""
    objects = items(name, value, f"a list of {kind.__name__}")
    for k, item in enumerate(objects):
        if not isinstance(item, kind):
            raise ParameterError(f"{name}[{k}]", type(item).__name__, kind.__name__)
    return objects


def texts(name: str, value: object) -> list[str]:
    """Names as text: a list of words or numbers, not one word."""
    return list(map(str, items(name, value, "a list of names")))


def parts(name: str, value: object, wanted: Sequence[str], expected: str) -> None:
    """Refuse what lacks one of these attributes."""
    if isinstance(value, type) or not all(hasattr(value, part) for part in wanted):
        raise ParameterError(name, type(value).__name__, expected)


def clip_name(table: pd.DataFrame, i: int) -> str:
    """The id of a clip, or "clip 3" where the table has no ids."""
    return str(table["id"].iloc[i]) if "id" in table.columns else f"clip {i}"


def generated(clips) -> bool:
    """Whether these clips are generated audio, which is always said."""
    return getattr(clips, "generated", False) is True


def source_of(clips, audio: Callable | None) -> Callable | None:
    """Where the sounds come from: i -> (x, rate), or None where there are none."""
    return function("audio", audio if audio is not None else getattr(clips, "audio", None))


def function(name: str, value: object) -> Callable | None:
    """A function, or None."""
    if value is not None and not callable(value):
        raise ParameterError(name, type(value).__name__, "a function of a position that gives (x, rate)")
    return value


def values_of(name: str, values: object, count: int | None = None) -> np.ndarray:
    """Numbers (N,), NaN where there is none, as float64."""
    from ..core.checks import numbers

    array = numbers(name, values, ndim=1, finite=False, empty=True).astype(np.float64)
    if count is not None and len(array) != count:
        raise ParameterError(f"{name}.shape", array.shape, f"({count},), a value for each clip")
    return array
