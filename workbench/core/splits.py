"""Which clips are learnt from, chosen on and tested on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .checks import numbers
from .errors import ParameterError

PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of a table or an array to learn from, to choose settings on, and to report on.

    Every part is given as row numbers or as a mask (bool, a value a row), and kept as row numbers in the order given.
    ``train, valid, test = split`` takes it apart.

    Raises
    ------
    ParameterError
        A part that is neither row numbers nor a mask, or a row that occurs twice.

    Examples
    --------
    >>> Split(train=[0, 1, 4], test=[2, 3])
    Split(train=3, valid=0, test=2)
    """

    train: ArrayLike
    """The rows that are learnt from, int64 (N_train,)."""
    valid: ArrayLike = ()
    """The rows on which settings such as a penalty or an epoch are chosen, int64 (N_valid,); may be empty."""
    test: ArrayLike = ()
    """The rows that are only ever judged, int64 (N_test,); may be empty where nothing is judged."""

    def __post_init__(self):
        for name in PARTS:
            part = getattr(self, name)
            rows = numbers(f"split.{name}", () if part is None else part, empty=True)
            rows = np.flatnonzero(rows) if rows.dtype == bool and rows.ndim == 1 else rows
            if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
                what = f"{rows.dtype} of shape {rows.shape}"
                raise ParameterError(f"split.{name}", what, "row numbers (int) or a mask (bool), of one axis")
            if (rows < 0).any():
                raise ParameterError(f"split.{name}", rows[rows < 0][:5].tolist(), "row numbers from 0")
            object.__setattr__(self, name, rows.astype(np.int64))
        rows, times = np.unique(np.concatenate(list(self)), return_counts=True)
        if (times > 1).any():
            where = {name: np.intersect1d(getattr(self, name), rows[times > 1])[:5].tolist() for name in PARTS}
            where = {name: repeated for name, repeated in where.items() if repeated}
            raise ParameterError("split", where, "disjoint: these clips occur more than once")

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.train, self.valid, self.test))

    def __repr__(self) -> str:
        return f"Split(train={len(self.train)}, valid={len(self.valid)}, test={len(self.test)})"


def fitting(split: object, count: int, *, needed: Sequence[str] = ("train", "test")) -> Split:
    """The split itself, if it is one of ``count`` rows and the parts ``needed`` are not empty.

    Raises
    ------
    ParameterError
        Something other than a :class:`Split`, rows that do not exist, or an empty part that is needed.
    """
    if not isinstance(split, Split):
        raise ParameterError("split", type(split).__name__, "a workbench.Split(train, valid, test)")
    for name, rows in zip(PARTS, split, strict=True):
        if not len(rows) and name in needed:
            raise ParameterError(f"split.{name}", [], "at least one clip")
        if len(outside := rows[rows >= count]):
            raise ParameterError(f"split.{name}", outside[:5].tolist(), f"rows in [0, {count}), one a clip")
    return split
