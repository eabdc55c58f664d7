"""A column of numbers as the question: the classes that stand for it where classes are needed.

Numbers that are no classes (:func:`workbench.core.labels.are_classes`: a tempo, a pitch, an age) are cut at their
terciles over all clips, since a split comes later. The names of the thirds sort as the numbers do.
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
    """The class of each clip: "tempo below 92", "tempo between 92 and 118" (92 among them) or "tempo from 118"."""
    note: str
    """What was done, for a warning."""


def cut_at_terciles(where: str, column: str, values: pd.Series) -> Thirds:
    """Cut a column of numbers at the terciles of all clips.

    Equal numbers are never parted: a cut lies between two different numbers, the nearest to a third or two thirds of
    the clips, and where that is one place for both there are two classes.

    Parameters
    ----------
    where : str
        The dataset, for messages.
    column : str
    values : Series of numbers (N,)
        Without missing ones.

    Raises
    ------
    DatasetError
        They are no numbers, one of them is infinite, or all are equal.
    """
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        raise DatasetError(f"{where}: column {column!r} holds no numbers, of which thirds could be made")
    numbers = values.to_numpy(np.float64)
    if np.isinf(numbers).any():
        raise DatasetError(f"{where}: column {column!r} is infinite in {int(np.isinf(numbers).sum())} clips")
    kinds = np.unique(numbers)
    if len(kinds) == 1:
        raise DatasetError(
            f"{where}: column {column!r} is {kinds[0]:g} in all {len(numbers)} clips: there is nothing to tell apart"
        )
    cuts = _cuts(numbers)
    names = [f"{column} below {cuts[0]:.15g}", f"{column} from {cuts[-1]:.15g}"]
    if len(cuts) == 2:
        names.insert(1, f"{column} between {cuts[0]:.15g} and {cuts[1]:.15g}")
    codes = np.searchsorted(cuts, numbers, side="right")
    counts = np.bincount(codes, minlength=len(names))
    kept = ", ".join(f"{name} ({count} clips)" for name, count in zip(names, counts, strict=True))
    note = (
        f"the column {column!r} holds numbers ({len(kinds)} different), of which the labels are the thirds over all "
        f"clips: {kept}. fit_regression(..., clips.target, ...) reads the numbers themselves; thirds=False makes each "
        "a class"
    )
    return Thirds([names[code] for code in codes], note)


def _cuts(numbers: np.ndarray) -> list[float]:
    """One or two cuts, each as short a number as parts the clips where it should."""
    kinds, counts = np.unique(numbers, return_counts=True)
    below = counts.cumsum()[:-1] / len(numbers)  # share of the clips below each place a cut can be
    places = sorted({int(np.abs(below - share).argmin()) for share in (1 / 3, 2 / 3)})
    return [_shortest(float(kinds[place]), float(kinds[place + 1])) for place in places]


def _shortest(low: float, high: float) -> float:
    """A number of as few digits as can be that is above low and not above high."""
    for digits in range(1, 16):
        for number in (high, low / 2 + high / 2):
            short = float(f"{number:.{digits}g}")
            if low < short <= high:
                return short
    return high
