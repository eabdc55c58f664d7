"""Which clips are learnt from, chosen on and tested on: what may be passed as ``split``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .checks import numbers
from .errors import ParameterError


def split_rows(split: object, count: int) -> dict[str, np.ndarray]:
    """Positions of a split's clips: train, valid and test, each int64 (n,); valid may be empty.

    Parameters
    ----------
    split : object, mapping or tuple
        With ``train``, ``valid`` and ``test`` (``valid`` may be missing or None), or the three in this order; each
        holds positions, or is a mask (``count``,).
    count : int
        How many clips there are.

    Raises
    ------
    ParameterError
        Something else, positions that do not exist, clips that occur twice, or nothing in train or test.
    """
    names = ("train", "valid", "test")
    if isinstance(split, Mapping):
        given = [split.get(name) for name in names]
    elif isinstance(split, (tuple, list)) and len(split) == 3:
        given = list(split)
    elif hasattr(split, "train") and hasattr(split, "test"):
        given = [getattr(split, name, None) for name in names]
    else:
        raise ParameterError("split", type(split).__name__, "an object, mapping or 3-tuple with train, valid and test")
    parts = {}
    for name, part in zip(names, given, strict=True):
        rows = np.empty(0) if part is None else numbers(f"split.{name}", part, empty=True)
        if rows.dtype == bool and rows.shape == (count,):
            rows = np.flatnonzero(rows)
        if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
            found = f"{rows.dtype} of shape {rows.shape}"
            raise ParameterError(f"split.{name}", found, f"positions (int) or a mask (bool, {count})")
        if not len(rows) and name != "valid":
            raise ParameterError(f"split.{name}", [], "at least one clip")
        outside = rows[(rows < 0) | (rows >= count)] if len(rows) else rows
        if len(outside):
            raise ParameterError(f"split.{name}", outside[:5].tolist(), f"positions in [0, {count}), one a label in y")
        parts[name] = rows.astype(np.int64)
    rows, times = np.unique(np.concatenate(list(parts.values())), return_counts=True)
    if (times > 1).any():
        where = {name: np.intersect1d(part, rows[times > 1])[:5].tolist() for name, part in parts.items()}
        where = {name: clips for name, clips in where.items() if clips}
        raise ParameterError("split", where, "disjoint: these clips occur more than once")
    return parts
