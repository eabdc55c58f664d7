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


DEALS = 8
"""Random orders that :func:`deal` tries at most."""


def deal(labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], *, seed: int) -> np.ndarray:
    """Deal clips into parts at random: groups stay whole, each part gets about its share of every class.

    Groups come in random order, and each goes to the part that most lacks its classes. Of some such deals the most even
    one is kept, so that parts differ from seed to seed also where groups differ in size. (scikit-learn's
    StratifiedGroupKFold sorts groups by their spread over classes before it deals: on such data all seeds give it one
    and the same split.)

    Parameters
    ----------
    labels, groups : np.ndarray (N,)
    shares : sequence of float
        Of each part; they sum to 1. At most as many as there are groups.
    seed : int

    Returns
    -------
    np.ndarray, int64 (N,)
        Part of each clip, as a position in ``shares``; none is empty.
    """
    (names, member), (classes, code) = (np.unique(values, return_inverse=True) for values in (groups, labels))
    pairs, times = np.unique(member * len(classes) + code, return_counts=True)
    owner, held = np.divmod(pairs, len(classes))
    weight = times / np.bincount(code)[held]  # a clip of a rare class weighs more
    ends = np.searchsorted(owner, np.arange(len(names) + 1))
    spread = np.bincount(held)  # groups that have a class
    wanted = np.asarray(shares, float)
    # the best of many deals of a few groups would be the same for every seed; many groups even out by themselves
    enough = max(1, min(DEALS, len(names) // 4, 2000 // len(names)))
    rng, kept, least = np.random.default_rng(seed), None, (np.inf,)
    for attempt in range(DEALS):
        load, total, part = np.zeros((len(wanted), len(classes))), np.zeros(len(wanted)), np.empty(len(names), np.int64)
        for place, group in enumerate(rng.permutation(len(names))):
            mine = slice(ends[group], ends[group + 1])
            # least growth of the squared loads over their shares; on a tie the emptiest; while groups run short, an
            # empty part
            growth = load[:, held[mine]] @ weight[mine] + (weight[mine] ** 2).sum() / 2
            wanting = total > 0 if len(names) - place <= (total == 0).sum() else np.zeros(len(wanted), bool)
            part[group] = to = np.lexsort((total / wanted, (growth / wanted).round(12), wanting))[0]
            load[to, held[mine]] += weight[mine]
            total[to] += weight[mine].sum()
        size = total / total.sum() / wanted
        amiss = int(((size < 0.5) | (size > 2)).sum())
        # a class that is whole in a small part is not learnt; nor, while another part is validated on, one in two parts
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
