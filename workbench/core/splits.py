"""The split of clips into train, validation and test, and the random assignment of groups to parts."""

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
    """The rows of a table or an array for training, for the choice of settings, and for testing.

    Each part is given as row numbers, or as a mask with one bool a row, and is kept as row numbers in the given order.
    ``train, valid, test = split`` unpacks it.

    Raises
    ------
    ParameterError
        A part is neither row numbers nor a mask, or a row occurs twice.

    Examples
    --------
    >>> Split(train=[0, 1, 4], test=[2, 3])
    Split(train=3, valid=0, test=2)
    """

    train: ArrayLike
    """Rows for training, int64 (N_train,)."""
    valid: ArrayLike = ()
    """Rows on which settings such as a penalty or an epoch are chosen, int64 (N_valid,); may be empty."""
    test: ArrayLike = ()
    """Rows for testing only, int64 (N_test,); may be empty if nothing is tested."""

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
    """Return the split after checking that it fits ``count`` rows and that the parts in ``needed`` are not empty.

    Raises
    ------
    ParameterError
        The argument is not a :class:`Split`, has rows that do not exist, or has an empty part that is needed.
    """
    if not isinstance(split, Split):
        raise ParameterError("split", type(split).__name__, "a workbench.Split(train, valid, test)")
    for name, rows in zip(PARTS, split, strict=True):
        if not len(rows) and name in needed:
            raise ParameterError(f"split.{name}", [], "at least one clip")
        if len(outside := rows[rows >= count]):
            raise ParameterError(f"split.{name}", outside[:5].tolist(), f"rows in [0, {count}), one a clip")
    return split


def frame_split(split: Split, lengths: ArrayLike) -> Split:
    """Return the split of frames that puts all frames of a clip into the part of the clip.

    Parameters
    ----------
    split : Split
        Split of N clips. Frames of clips that are in none of its parts are in none of the result's.
    lengths : sequence of int (N,)
        Number of frames of each clip; the frames of all clips are concatenated in the order of the clips.

    Returns
    -------
    Split
        Frames in ascending order.

    Raises
    ------
    ParameterError
        ``lengths`` are not whole numbers from 0, or there are fewer than the split has clips.

    Examples
    --------
    >>> frame_split(Split(train=[2, 0], test=[1]), [2, 3, 1]).train
    array([0, 1, 5])
    """
    lengths = numbers("lengths", lengths, ndim=1)
    if lengths.dtype.kind not in "iu" or lengths.min() < 0:
        raise ParameterError("lengths", lengths, "whole numbers from 0")
    of = np.full(len(lengths), -1, np.int8)
    for part, rows in enumerate(fitting(split, len(lengths), needed=())):
        of[rows] = part
    of_frames = np.repeat(of, lengths)
    return Split(*(np.flatnonzero(of_frames == part) for part in range(len(PARTS))))


DEALS = 8
"""Largest number of random orders that :func:`deal` tries."""


def deal(labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], *, seed: int) -> np.ndarray:
    """Assign clips to parts at random, in whole groups, so that each part has about its share of every class.

    Groups are taken in random order, and each is assigned to the part that lacks its classes most. Of several such
    assignments the most even one is kept. Parts therefore differ from seed to seed, also if groups differ in size.
    (scikit-learn's StratifiedGroupKFold sorts groups by their spread over classes first, so that on such data all seeds
    give the same split.)

    Parameters
    ----------
    labels, groups : np.ndarray (N,)
    shares : sequence of float
        Share of each part; they sum to 1. There are at most as many parts as groups.
    seed : int

    Returns
    -------
    np.ndarray, int64 (N,)
        Part of each clip, as a position in ``shares``; no part is empty.
    """
    (names, member), (classes, code) = (np.unique(values, return_inverse=True) for values in (groups, labels))
    pairs, times = np.unique(member * len(classes) + code, return_counts=True)
    owner, held = np.divmod(pairs, len(classes))
    weight = times / np.bincount(code)[held]  # clips of rare classes have a larger weight
    ends = np.searchsorted(owner, np.arange(len(names) + 1))
    spread = np.bincount(held)  # number of groups of each class
    wanted = np.asarray(shares, float)
    # with few groups, the best of many assignments would be the same for every seed; many groups are even anyway
    enough = max(1, min(DEALS, len(names) // 4, 2000 // len(names)))
    rng, kept, least = np.random.default_rng(seed), None, (np.inf,)
    for attempt in range(DEALS):
        load, total, part = np.zeros((len(wanted), len(classes))), np.zeros(len(wanted)), np.empty(len(names), np.int64)
        for place, group in enumerate(rng.permutation(len(names))):
            mine = slice(ends[group], ends[group + 1])
            # the part with the least growth of squared load over its share; of equal ones the emptiest; if only as many
            # groups are left as there are empty parts, an empty part
            growth = load[:, held[mine]] @ weight[mine] + (weight[mine] ** 2).sum() / 2
            wanting = total > 0 if len(names) - place <= (total == 0).sum() else np.zeros(len(wanted), bool)
            part[group] = to = np.lexsort((total / wanted, (growth / wanted).round(12), wanting))[0]
            load[to, held[mine]] += weight[mine]
            total[to] += weight[mine].sum()
        size = total / total.sum() / wanted
        amiss = int(((size < 0.5) | (size > 2)).sum())
        # a class that is only in a small part is not learnt; with a validation part, nor is one that is in two parts
        # only
        whole_in = load > 1 - 1e-9
        stranded = (whole_in.sum(1) * (1 - wanted)).sum()
        avoidable = (whole_in[wanted < wanted.max()].any(0) & (spread > 1)).any()
        if len(wanted) > 2:
            in_two = np.sort(load, axis=0)[-2:].sum(0) > 1 - 1e-9
            stranded, avoidable = stranded + in_two.sum(), (in_two & (spread > 2)).any()
        cost = (amiss, round(stranded, 9), round(float((load**2 / wanted[:, None]).sum()), 9))
        if cost < least:
            kept, least, avoidable_left = part, cost, avoidable
        if attempt + 1 >= enough and not least[0] and not avoidable_left:
            break
    return kept[member]
