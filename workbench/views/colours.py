"""Colours for points: twelve that stay apart for colour-blind eyes, a shape beside each; and one scale for numbers.

No two of the twelve come closer than a CIEDE2000 difference of 12, in ordinary vision and under the three simulated
dichromacies of Machado et al. (2009), on a bright page and, lightened, on a dark one (tests/views/test_colours.py
measures it). Classes that follow each other also differ in shape, so that 72 classes look different.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..core.errors import ParameterError

#: Class k has colour k % 12 and shape (k + k // 12) % 6; on a dark page a quarter of white is mixed in.
PALETTE = (
    "#1100ee", "#cc6600", "#5588aa", "#990000", "#aa44ff", "#773344",
    "#886644", "#66ddcc", "#ccaa77", "#444477", "#aadd11", "#aabbff",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
#: Points without a value.
MISSING = "#999999"
#: Nine stops of viridis (van der Walt and Smith 2015): even in lightness, safe for colour-blind eyes.
VIRIDIS = (
    "#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725",
)  # fmt: skip
NO_VALUE = 65535


@dataclass(frozen=True)
class Coloured:
    """What each point's colour means."""

    name: str
    """The column."""
    kind: str
    """"category" or "number"."""
    levels: tuple[str, ...] = ()
    """Category: the classes, in legend order."""
    codes: np.ndarray | None = None
    """Category: (N,) uint16 index into ``levels``; 65535 where there is no value."""
    values: np.ndarray | None = None
    """Number: (N,) float32; NaN where there is no value."""

    @property
    def missing(self) -> int:
        """How many points have no value."""
        return int((self.codes == NO_VALUE).sum() if self.kind == "category" else np.isnan(self.values).sum())


def colour_by(name: str, column) -> Coloured:
    """Decide how a column is shown.

    Parameters
    ----------
    name : str
    column : pandas.Series (N,)
        Numbers (not booleans) get a continuous scale, anything else one colour and shape a class; a pandas categorical
        keeps its order, other classes are sorted (2 before 10).

    Raises
    ------
    ParameterError
        More than 65,000 classes.
    """
    from pandas.api import types

    if types.is_numeric_dtype(column) and not types.is_bool_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return Coloured(name, "number", values=np.where(np.isfinite(values), values, np.nan).astype(np.float32))
    # As objects one by one: pandas' own text cannot hold a file name that is no UTF-8.
    words = [str(value) for value in column] if column.dtype == object else column.astype(str).tolist()
    text = np.array([*words, ""], dtype=object)[:-1]
    empty = column.isna().to_numpy(dtype=bool) | (text == "")
    if isinstance(column.dtype, types.CategoricalDtype):
        present = set(text[~empty])
        levels = [str(level) for level in column.cat.categories if str(level) in present]
    else:
        levels = sorted(set(text[~empty]), key=_natural)
    if len(levels) >= NO_VALUE:
        raise ParameterError("color", name, f"a column of fewer than {NO_VALUE} classes; it has {len(levels)}")
    position = {level: k for k, level in enumerate(levels)}
    codes = np.array([NO_VALUE if e else position[t] for t, e in zip(text, empty, strict=True)], dtype=np.uint16)
    return Coloured(name, "category", levels=tuple(levels), codes=codes)


def _natural(text: str) -> list:
    # "class 2" before "class 10": runs of digits compare as numbers, and an odd position always holds one.
    return [int(part) if k % 2 else part.casefold() for k, part in enumerate(re.split(r"(\d+)", text))] + [text]


def shade(values: np.ndarray) -> np.ndarray:
    """Viridis: (N,) in [0, 1] -> (N, 3) uint8 RGB."""
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in VIRIDIS], dtype=float)
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(values, at, stops[:, k]) for k in range(3)], axis=1).round().astype(np.uint8)
