"""The map of a page of prototypes: a sound map on which the prototypes are stars among the data.

A click on a point plays it, and tells the page around (``static/prototypes.js``) which prototype's cell to show; the
stars' own sounds stand in that page alone, so that it does not carry them twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.checks import numbers
from ..core.errors import ParameterError
from .colours import Coloured, colour_by
from .inputs import Audio, function, items
from .maps import SoundMap
from .points import spread
from .projection import project


@dataclass(frozen=True, eq=False)
class DataPoints:
    """The data around the prototypes, on one plane with them."""

    xy: np.ndarray
    """Coordinates of the N data points, (N, 2)."""
    labels: Sequence[str]
    """Class of each, (N,)."""
    names: Sequence[str]
    """Caption of each, (N,)."""
    prototypes: np.ndarray
    """Coordinates of the M prototypes, (M, 2), projected together with the data."""
    nearest: np.ndarray | None = None
    """Position of the prototype nearest to each data point, (N,) int: the cell to which a click leads."""
    audio: Audio | None = None
    """i -> (x, rate), the sound of data point i."""


def carried_points(points: DataPoints, prototypes: int, *, sounds: int) -> list[int]:
    """Data points whose sound a page should carry: at most ``sounds``, spread over classes and plane.

    Raises
    ------
    ParameterError
        Numbers that do not fit each other or the number of prototypes, coordinates that are not finite.
    """
    import pandas as pd

    _check(points, prototypes)
    codes = colour_by("label", pd.Series(list(map(str, points.labels)))).codes
    return spread(np.asarray(points.xy, dtype=float), codes, sounds) if points.audio else []


def numbered(labels: Sequence[str]) -> list[str]:
    """Captions of prototypes: the class and a number within it, from 1."""
    seen: Counter = Counter()
    names = []
    for label in labels:
        seen[label] += 1
        names.append(f"{label} {seen[label]}")
    return names


def _check(points: DataPoints, count: int) -> None:
    if not isinstance(points, DataPoints):
        raise ParameterError("points", type(points).__name__, "DataPoints")
    n = len(numbers("points.xy", points.xy, ndim=2))
    for name, values, rows in (("xy", points.xy, n), ("prototypes", points.prototypes, count)):
        shape = numbers(f"points.{name}", values).shape
        if shape != (rows, 2):
            raise ParameterError(f"points.{name}", f"array of shape {shape}", f"finite, of shape ({rows}, 2)")
    for name in ("labels", "names", "nearest"):
        values = getattr(points, name)
        if values is None and name == "nearest":
            continue
        if isinstance(values, Iterator):  # it would be used up here
            raise ParameterError(f"points.{name}", type(values).__name__, "a list, one for each data point")
        if len(items(f"points.{name}", values, "a list, one for each data point")) != n:
            raise ParameterError(f"points.{name}", f"{len(values)} of them", f"{n}, one for each data point")
    if points.nearest is not None:
        near = numbers("points.nearest", points.nearest, ndim=1)
        if near.dtype.kind not in "iu" or not np.isin(near, range(count)).all():
            raise ParameterError("points.nearest", "positions outside the prototypes", f"from 0 to {count - 1}")
    function("points.audio", points.audio)


class PrototypeMap(SoundMap):
    """A sound map whose last points are prototypes, one for each label: stars in the colours of their classes."""

    _scripts, _view = (*SoundMap._scripts, "prototype_map.js"), "PrototypeMap"

    def __init__(self, points: DataPoints, labels: Sequence[str], carried: list[int], height: int, **page):
        import pandas as pd

        n, self._count = len(points.xy), len(labels)
        panel = project(np.concatenate([points.xy, points.prototypes]), method="given")
        names = [*map(str, points.names), *(f"prototype {name}" for name in numbered(labels))]
        table = pd.DataFrame({"id": names, "label": [*map(str, points.labels), *labels]})
        near = np.full(n, -1) if points.nearest is None else np.asarray(points.nearest)
        self._cells = np.concatenate([near, np.arange(self._count)])
        columns, coloured = [(name, table[name]) for name in table], colour_by("label", table["label"])
        page |= {"title": "The prototypes among the data", "megabytes": 3.0}
        super().__init__(table, {"": panel}, coloured, columns, points.audio, carried, height, **page)

    def _data(self, coloured: Coloured, columns: list, height: int) -> dict:
        data = super()._data(coloured, columns, height) | {"stars": self._count, "cells": self._cells.tolist()}
        clips = coloured.codes[: len(coloured.codes) - self._count]  # the legend counts the data alone
        data["colour"]["counts"] = np.bincount(clips, minlength=len(coloured.levels))[: len(coloured.levels)].tolist()
        return data

    def _note(self) -> str:
        n, k = len(self.table) - self._count, len(self.carried)
        rings = f" Points with a ring play: {k:,} of {n:,} clips ({self._played()})." if k < n else ""
        rings = rings if k else " The clips came without sound."
        return f"Stars are the prototypes: a click plays them in the table.{rings}" + self._failures()

    def _live_note(self) -> str:
        return f"Stars are the prototypes: a click plays them in the table. {super()._live_note()}"
