"""Split clips into train, validation and test by group, and check published and drawn splits for leaks.

The functions take and return arrays.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from numbers import Real

import numpy as np

from ..core.checks import checked, number, whole
from ..core.checks import numbers as checked_numbers
from ..core.errors import DatasetError, ParameterError
from ..core.splits import Split, deal
from ..core.warn import warn

#: Default share of the clips that is drawn for a test or validation part.
SHARE = 0.2
ONE_GROUP = "all {} clips are in one group: no part of them can be set aside without a leak"
TOO_FEW = "two groups are too few: one is to be learnt from, one to choose settings on and one to be tested on"
ONE_LEFT = "one group is left to learn from and to choose settings on; test fewer groups, or ask for valid=0"
#: How a part of a split is given: a published name, a fold, several of these, or a share to draw.
Side = str | int | float | Sequence[str | int | float] | None


@checked
def grouped_folds(labels: np.ndarray, groups: np.ndarray, n: int, *, seed: int = 0) -> np.ndarray:
    """Assign clips to n folds; groups are kept whole, and classes are spread as evenly as that allows.

    Parameters
    ----------
    labels : np.ndarray of str (N,)
    groups : np.ndarray of str (N,)
    n : int
        Number of folds, 2 or more.
    seed : int

    Returns
    -------
    np.ndarray, int (N,)
        Fold of each clip, 0 ... n - 1.

    Raises
    ------
    DatasetError
        There are fewer groups than folds.

    Notes
    -----
    Uses :func:`workbench.core.splits.deal`, or scikit-learn's shuffled StratifiedKFold where every clip is a group of
    its own.
    """
    from sklearn.model_selection import StratifiedKFold

    whole("n", n, least=2)
    labels, groups = _a_row_each(labels, groups)
    count = len(np.unique(groups))
    if count == 1 < n:
        raise DatasetError(ONE_GROUP.format(len(groups)))
    if count < n:
        raise DatasetError(f"{count} groups cannot be dealt into {n} folds; every fold needs a group of its own")
    if count < len(groups):
        return deal(labels, groups, [1 / n] * n, seed=seed)
    if np.unique(labels, return_counts=True)[1].max() < n:
        labels = np.zeros(len(labels), int)  # scikit-learn raises an error where every class is smaller than n
    folds = np.empty(len(labels), int)
    with warnings.catch_warnings():
        # small classes cannot be in every fold; a warning comes later, when a split is made of the folds
        warnings.filterwarnings("ignore", message="The least populated class")
        dealt = StratifiedKFold(n, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels)
        for fold, (_, members) in enumerate(dealt):
            folds[members] = fold
    return folds


def _a_row_each(labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, groups = np.asarray(labels), np.asarray(groups)
    if labels.ndim != 1 or groups.shape != labels.shape:
        shapes = f"arrays of shape {labels.shape} and {groups.shape}"
        raise ParameterError("labels, groups", shapes, "one of each for every clip")
    return labels, groups


@checked
def _draw(labels: np.ndarray, groups: np.ndarray, share: float, *, seed: int = 0) -> np.ndarray:
    """Draw about `share` of the clips at random, in whole groups, with classes in proportion.

    Parameters
    ----------
    labels, groups : np.ndarray of str (N,)
    share : float
        Between 0 and 1.
    seed : int

    Returns
    -------
    np.ndarray, bool (N,)
    """
    number("share", share, above=0, below=1)
    labels, groups = _a_row_each(labels, groups)
    if not len(labels):
        raise DatasetError("no clips are left to draw from")
    count = len(np.unique(groups))
    if count < 2:
        raise DatasetError(ONE_GROUP.format(len(groups)))
    if count < len(groups):
        return deal(labels, groups, [share, 1 - share], seed=seed) == 0
    options = [(m, n) for n in range(2, min(count, 20) + 1) for m in range(1, n)]
    m, n = min(options, key=lambda option: (round(abs(option[0] / option[1] - share), 9), option[1]))
    return grouped_folds(labels, groups, n, seed=seed) < m


@checked
def choose(
    names: np.ndarray,
    folds: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    test: Side = None,
    valid: Side = None,
    seed: int = 0,
    name: str = "the dataset",
) -> Split:
    """Make a split of published, named and drawn parts, as `Clips.split` says. The result is not checked.

    Parameters
    ----------
    names : np.ndarray of str (N,)
        Published split of each clip, "" if it has none.
    folds : np.ndarray of int (N,)
        Published fold of each clip, -1 if it has none.
    labels, groups : np.ndarray of str (N,)
    test, valid
        A split's name, a fold, several of these, a share to draw, or None for the published part.
    seed : int
    name : str
        Name of the dataset, for messages.
    """
    if test is None:
        test = "test" if "test" in names else int(folds.max()) if (folds >= 0).any() else SHARE
    by_name = any(str(choice) in names for choice in _several(test))
    if not by_name:
        pool = np.ones(len(names), bool)
    elif "train" in names:
        pool = names == "train"
    else:
        pool = names == ""
    if valid is None:
        valid = "valid" if by_name and "valid" in names and "valid" not in _several(test) else SHARE

    def side(part: str, asked: Side, draw_seed: int) -> np.ndarray:
        mask = np.zeros(len(names), bool)
        for choice in _several(asked):
            if part == "valid" and isinstance(choice, Real) and choice == 0:
                continue
            if isinstance(choice, Real) and 0 < choice < 1:
                rows = np.flatnonzero(pool)
                if part == "valid" and len(set(groups[rows])) == 1 < len(set(groups)):
                    raise DatasetError(f"{name}: {TOO_FEW if len(set(groups)) == 2 else ONE_LEFT}")
                mask[rows] |= _draw(labels[rows], groups[rows], choice, seed=draw_seed)
            else:
                mask |= _published(part, choice, names, folds, name)
        return mask

    in_test = side("test", test, seed)
    pool = pool & ~in_test
    in_valid = side("valid", valid, seed + 1) & ~in_test
    return Split(*(np.flatnonzero(rows) for rows in (pool & ~in_valid, in_valid, in_test)))


def _several(asked: Side) -> list:
    return list(asked) if isinstance(asked, (list, tuple, np.ndarray)) else [asked]


def _published(part: str, asked: object, names: np.ndarray, folds: np.ndarray, name: str) -> np.ndarray:
    """Return a mask (N,) of the clips of a published split or fold."""
    text = str(asked)
    if text and text in names:
        return names == text
    number = text.removeprefix("fold")
    if number.isdigit() and int(number) in folds:
        return folds == int(number)
    known = sorted(set(names) - {""}) + [f"fold{k}" for k in sorted(set(folds[folds >= 0]))]
    raise ParameterError(
        part, asked, f"among {', '.join(known) or 'no splits or folds'} of {name}, or a share like 0.2"
    )


@checked
def each_fold(folds: np.ndarray, *, valid: bool = True) -> list[Split]:
    """Return one split for each test fold, in ascending order; clips with fold -1 are left out.

    With `valid`, the next fold is the validation part.

    Raises
    ------
    ParameterError
        There are fewer than two folds, or with `valid` fewer than three.
    """
    folds = checked_numbers("folds", folds, ndim=1)
    numbers = sorted(set(folds[folds >= 0]))
    if len(numbers) < 2 or (valid and len(numbers) < 3):
        raise ParameterError(
            "valid",
            valid,
            f"False with fewer than three folds, and at least two folds are needed (there: {len(numbers)})",
        )
    splits = []
    for position, fold in enumerate(numbers):
        in_valid = (folds == numbers[(position + 1) % len(numbers)]) & valid
        in_test = folds == fold
        in_train = (folds >= 0) & ~in_test & ~in_valid
        splits.append(Split(*(np.flatnonzero(rows) for rows in (in_train, in_valid, in_test))))
    return splits


def check(
    split: Split,
    groups: np.ndarray,
    classes: Sequence[frozenset[str]],
    *,
    name: str = "the dataset",
    by: str = "group",
) -> None:
    """Refuse a split that leaks, has an empty part, or tests no class that is in train.

    Parameters
    ----------
    split : Split
    groups : np.ndarray of str (N,)
    classes : sequence of sets of str (N,)
        Classes of each clip, of which there may be one, several or none.
    name, by : str
        Names of the dataset and its group column, for the message.

    Raises
    ------
    DatasetError
        A group is on two sides (the error names up to five); train or test is empty; or no class of test is in train.

    Warns
    -----
    UserWarning
        Some classes of test are not in train.
    """
    for part in ("train", "test"):
        if not len(getattr(split, part)):
            raise DatasetError(f"{name}: the split leaves no clips for {part}")
    for side, other in (("train", "test"), ("train", "valid"), ("valid", "test")):
        shared = sorted(set(groups[getattr(split, side)]) & set(groups[getattr(split, other)]))
        if shared:
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            raise DatasetError(
                f"{name}: the split leaks: {len(shared)} of its groups ({by}) are in both {side} and {other}: "
                f"{', '.join(shared[:5])}{more}; split by another column, or leave the split to the dataset"
            )
    tested, trained = (frozenset().union(*(classes[i] for i in rows)) for rows in (split.test, split.train))
    unseen = sorted(tested - trained)
    if unseen and len(unseen) == len(tested):
        counts = Counter(name for each in classes for name in each)
        if counts.most_common(1)[0][1] == 1:
            raise DatasetError(f"{name}: each of {len(counts)} classes has one clip; none can be learnt and tested")
        raise DatasetError(
            f"{name}: no class of test ({', '.join(unseen[:5])}) is in train: the label goes with the group ({by}); "
            "choose another label or another column to split by"
        )
    if unseen:
        few = ", ".join(unseen[:5]) + (" ..." if len(unseen) > 5 else "")
        warn(f"{name}: {len(unseen)} classes of test are not in train: {few}")
