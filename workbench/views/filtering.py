"""Which clips are shown: those that have some values in a column, those that meet a condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import ParameterError
from .inputs import column, items

if TYPE_CHECKING:
    import pandas as pd

#: Most values of a column that a list offers.
MOST_VALUES = 200


def conditions(where: object, query: object, table: pd.DataFrame) -> dict:
    """Both conditions in one spelling: ``where`` as None or {column: [values]}, ``query`` as None or text.

    Raises
    ------
    ParameterError
        More than one column, one that the table lacks, a value that its column lacks, a condition that is no text.
    """
    if query is not None and not isinstance(query, str):
        raise ParameterError("query", type(query).__name__, "text, or None")
    query = query.strip() if query else None
    if where is None or (isinstance(where, Mapping) and not where):
        return {"where": None, "query": query or None}
    if not isinstance(where, Mapping) or len(where) > 1:
        raise ParameterError("where", where, "a mapping of one column to values; query takes conditions on several")
    ((name, values),) = where.items()
    known = values_in(column("where", name, table))
    wanted = [values] if isinstance(values, str) else items(f"where[{name!r}]", values, "values of the column")
    wanted = [value.item() if isinstance(value, np.generic) else value for value in wanted]
    for value in wanted:
        if value not in known:
            raise ParameterError(
                f"where[{name!r}]", value, f"one of the column's {len(known)} values: {_listed(known)}"
            )
    return {"where": {name: wanted} if wanted else None, "query": query or None}


def filtered(table: pd.DataFrame, where: dict | None, query: str | None) -> np.ndarray:
    """Positions of the clips that meet both conditions, rising: (n,) int.

    Raises
    ------
    ParameterError
        A condition that pandas cannot read or that is not true or false for each clip, or that no clip meets.
    """
    keep = np.ones(len(table), dtype=bool)
    for name, values in (where or {}).items():
        keep &= table[name].isin(values).to_numpy()
    if query is not None:
        keep &= _asked(table, query)
    if not keep.any():
        said = {key: value for key, value in (("where", where), ("query", query)) if value}
        raise ParameterError(" and ".join(said), next(iter(said.values())), "met by at least one clip")
    return np.flatnonzero(keep)


def _asked(table: pd.DataFrame, query: str) -> np.ndarray:
    from pandas.api import types

    try:
        found = table.eval(query, local_dict={}, global_dict={}, engine="python")
    except Exception as error:  # pandas raises whatever its parser, or the comparison of two kinds, meets
        why = " ".join(str(error).split())
        expected = f"a condition on the columns {_listed(list(table.columns))} ({type(error).__name__}: {why})"
        raise ParameterError("query", query, expected) from None
    if getattr(found, "shape", None) != (len(table),) or not types.is_bool_dtype(found):
        raise ParameterError("query", query, "a condition, true or false for each clip, such as f0 > 200")
    return np.asarray(found.fillna(False), dtype=bool)


def values_in(column: pd.Series) -> list:
    """The different values of a column, sorted where they can be, without gaps."""
    try:
        values = column.dropna().unique().tolist()
    except TypeError:  # lists and mappings have no hash
        return []
    try:
        return sorted(values)
    except TypeError:
        return values


def offered(table: pd.DataFrame) -> dict[object, list]:
    """The columns whose values a list can offer, and these values."""
    found = {name: values_in(table[name]) for name in table.columns}
    return {name: values for name, values in found.items() if 1 < len(values) <= min(MOST_VALUES, len(table) - 1)}


def _listed(values: list, most: int = 12) -> str:
    return ", ".join(map(str, values[:most])) + (" ..." if len(values) > most else "")
