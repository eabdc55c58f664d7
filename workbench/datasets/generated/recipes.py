"""Argument checks of the generated sets: sizes, seeds, rows and recipes."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Mapping
from dataclasses import fields

import pandas as pd

from ...core.checks import seed as check_seed
from ...core.checks import whole
from ...core.errors import ParameterError

KINDS = {"str": (str, "text"), "int": (int, "a whole number"), "float": (float, "a number")}


def check_size(size: int, seed: int) -> None:
    """Refuse a size or a seed of a `table` that is not a whole number in range."""
    whole("size", size, least=1)
    check_seed(seed)


def check_row(row: Mapping, columns: tuple[str, ...]) -> None:
    """Refuse an object that is not a row of a table, or a row that lacks one of the columns."""
    if not isinstance(row, (Mapping, pd.Series)):
        raise ParameterError("row", type(row).__name__, "a row of the table: a Series or a dict")
    for column in columns:
        if column not in row:
            raise ParameterError("row", sorted(map(str, row.keys())), f"a row with a column {column}")


def read_row(recipe: type, row: Mapping) -> dict[str, object]:
    """Return the fields of a recipe from a row, each converted to its type; a row read from a csv file may be text."""
    columns = _columns(recipe)
    check_row(row, tuple(columns))
    return {name: read_cell(row, name, kind) for name, kind in columns.items()}


@functools.cache
def _columns(recipe: type) -> dict[str, str]:
    """Return the names of a recipe's fields with their types."""
    return {field.name: field.type for field in fields(recipe)}


def read_cell(row: Mapping, column: str, kind: str) -> object:
    """Return one cell of a row, converted to the type named "str", "int" or "float"."""
    convert, expected = KINDS[kind]
    value = row[column]
    try:
        converted = convert(value)
    except (TypeError, ValueError, OverflowError):
        raise ParameterError(column, value, expected) from None
    if kind == "int" and isinstance(value, numbers.Real) and converted != value:  # 3.7 would be cut to 3
        raise ParameterError(column, value, expected)
    return converted


def check_recipe(recipe: object) -> None:
    """Refuse an object that is not a recipe."""
    if not hasattr(recipe, "random_seed"):
        raise ParameterError("recipe", type(recipe).__name__, "a recipe, as recipe(row) makes it")


def check_kinds(recipe: object) -> None:
    """Refuse a field that does not have its type; NaN is allowed, as it marks a factor without a meaning."""
    for name, kind in _columns(type(recipe)).items():
        value, exact = getattr(recipe, name), KINDS.get(kind, (None,))[0]
        if exact is None or type(value) is exact:
            continue
        admitted = {"str": str, "int": numbers.Integral, "float": numbers.Real}[kind]
        if not isinstance(value, admitted) or isinstance(value, bool):
            raise ParameterError(name, value, KINDS[kind][1])
