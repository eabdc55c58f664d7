"""Cut a column of numbers into thirds, so that it can be used as a label where classes are needed.

Numbers that are not classes, such as a tempo, a pitch or an age (:func:`workbench.core.labels.are_classes` decides),
are cut at the terciles of all clips, as the split is made later. The names of the thirds sort in the order of the
numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..core.errors import DatasetError


@dataclass(frozen=True)
class Thirds:
    """Numbers cut into classes."""

    labels: list[str]
    """The class of each clip: "tempo below 92", "tempo between 92 and 118" (92 included) or "tempo from 118"."""
    note: str
    """Text for a warning that says what was done."""


def cut_at_terciles(where: str, column: str, values: pd.Series) -> Thirds:
    """Cut a column of numbers at the terciles of all clips.

    Equal numbers stay in one class: the cuts lie between two different numbers, as near as possible to a third and to
    two thirds of the clips. If both cuts fall in the same place, there are two classes.

    Parameters
    ----------
    where : str
        Name of the dataset, for messages.
    column : str
        Name of the column.
    values : Series of numbers (N,)
        Values of the column, none of them missing.

    Raises
    ------
    DatasetError
        The values are not numbers, one of them is infinite, or all are equal.
    """
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        raise DatasetError(f"{where}: column {column!r} does not hold numbers and cannot be cut into thirds")
    numbers = values.to_numpy(np.float64)
    if np.isinf(numbers).any():
        raise DatasetError(f"{where}: column {column!r} is infinite in {int(np.isinf(numbers).sum())} clips")
    kinds = np.unique(numbers)
    if len(kinds) == 1:
        raise DatasetError(
            f"{where}: column {column!r} is {kinds[0]:g} in all {len(numbers)} clips and cannot be cut into classes"
        )
    cuts = _cuts(numbers)
    names = [f"{column} below {cuts[0]:.15g}", f"{column} from {cuts[-1]:.15g}"]
    if len(cuts) == 2:
        names.insert(1, f"{column} between {cuts[0]:.15g} and {cuts[1]:.15g}")
    codes = np.searchsorted(cuts, numbers, side="right")
    counts = np.bincount(codes, minlength=len(names))
    kept = ", ".join(f"{name} ({count} clips)" for name, count in zip(names, counts, strict=True))
    note = (
        f"the column {column!r} holds numbers ({len(kinds)} different), and the labels are their thirds over all "
        f"clips: {kept}. fit_regression(..., clips.target, ...) uses the numbers themselves; thirds=False makes each "
        "number a class"
    )
    return Thirds([names[code] for code in codes], note)


def _cuts(numbers: np.ndarray) -> list[float]:
    """Return one or two cuts, each the number with the fewest digits that divides the clips in the right place."""
    kinds, counts = np.unique(numbers, return_counts=True)
    below = counts.cumsum()[:-1] / len(numbers)  # share of the clips below each possible cut
    places = sorted({int(np.abs(below - share).argmin()) for share in (1 / 3, 2 / 3)})
    return [_shortest(float(kinds[place]), float(kinds[place + 1])) for place in places]


def _shortest(low: float, high: float) -> float:
    """Return the number with the fewest digits that is above low and not above high."""
    for digits in range(1, 16):
        for number in (high, low / 2 + high / 2):
            short = float(f"{number:.{digits}g}")
            if low < short <= high:
                return short
    return high
