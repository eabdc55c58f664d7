"""Accuracy of predicted classes, its confidence interval, and the accuracy that guessing would reach.

Conventions
-----------
Labels are one-dimensional arrays of any sortable dtype, one entry per clip. Rates are in [0, 1]. A *group* is a set of
clips that must not be split between training and test (one speaker, singer or source). Clips of one group resemble
each other, so an interval that treats them as independent is too narrow; :mod:`workbench.metrics.intervals` has
intervals that take groups into account.

Metrics
-------
* :func:`accuracy`: share of correctly predicted clips.
* :func:`balanced_accuracy`: mean recall over classes, also called class-normalised accuracy.
* :func:`chance`, :func:`majority`: accuracy of uniform guessing and of always predicting the most frequent training
  class.
* :func:`wilson_interval`: Wilson's score interval of a rate from independent clips [1]_, recommended over the simpler
  intervals [2]_.
* :func:`mcnemar`: exact test for two classifiers on the same independent clips [3]_.
* :func:`paired_interval`: interval of the difference between two accuracies on the same clips, taking groups into
  account.
* :func:`roc_auc`, :func:`roc_auc_interval`: area under the ROC curve of scores for one class against the rest, which
  does not depend on how frequent the class is, and its interval, also of a difference.

For F1 and confusion matrices use :mod:`sklearn.metrics`.

References
----------
.. [1] Wilson: Probable inference, the law of succession, and statistical inference. JASA 22, 1927.
.. [2] Newcombe: Two-sided confidence intervals for the single proportion: comparison of seven methods. Statistics in
   Medicine 17, 1998 (method 3).
.. [3] McNemar: Note on the sampling error of the difference between correlated proportions or percentages.
   Psychometrika 12, 1947; the exact binomial form.

Examples
--------
>>> from workbench.metrics import classification
>>> true, always = ["dog"] * 8 + ["cat"] * 2, ["dog"] * 10
>>> classification.accuracy(true, true), classification.accuracy(true, always)
(1.0, 0.8)
>>> classification.balanced_accuracy(true, always), classification.chance(true), classification.majority(true, true)
(0.5, 0.5, 0.8)
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers, whole
from ..core.errors import ParameterError
from ..core.labels import check_kinds, labels
from .intervals import check_level, group_interval, jackknife_interval, members


@checked
def validate(
    true: ArrayLike, predicted: ArrayLike, groups: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return labels and groups as arrays, or raise an error that says what is wrong with them.

    Parameters
    ----------
    true, predicted : array_like (N,)
        True and predicted label of each clip.
    groups : array_like (N,), optional
        Group of each clip.

    Returns
    -------
    true, predicted, groups : np.ndarray (N,)
        ``groups`` is None if it was not given.

    Raises
    ------
    ParameterError
        If arrays are not one-dimensional, are empty or differ in length, if labels are missing, or if labels cannot be
        compared (text with numbers).
    """
    arrays = {"true": labels("true", true), "predicted": labels("predicted", predicted)}
    if groups is not None:
        arrays["groups"] = labels("groups", groups)
    for name, array in arrays.items():
        if len(array) != len(arrays["true"]):
            raise ParameterError(f"len({name})", len(array), f"len(true)={len(arrays['true'])}")
    check_kinds("predicted", arrays["predicted"], "true", arrays["true"])
    return arrays["true"], arrays["predicted"], arrays.get("groups")


@checked
def accuracy(true: ArrayLike, predicted: ArrayLike) -> float:
    """Share of correctly predicted clips.

    Parameters
    ----------
    true, predicted : array_like (N,)
        Labels.

    Returns
    -------
    float in [0, 1]

    Examples
    --------
    >>> accuracy(["a", "a", "b"], ["a", "b", "b"])
    0.6666666666666666
    """
    true, predicted, _ = validate(true, predicted)
    return float(np.mean(true == predicted))


@checked
def balanced_accuracy(true: ArrayLike, predicted: ArrayLike) -> float:
    """Mean recall over the classes that ``true`` contains, by scikit-learn's ``recall_score``.

    It equals :func:`accuracy` when all classes have equally many clips. Otherwise it does not reward a classifier for
    predicting the most frequent class.

    Parameters
    ----------
    true, predicted : array_like (N,)
        Labels.

    Returns
    -------
    float in [0, 1]
    """
    from sklearn.metrics import recall_score

    true, predicted, _ = validate(true, predicted)
    _, numbered = np.unique(np.concatenate([true, predicted]), return_inverse=True)  # scikit-learn takes no 0.5
    true, predicted = np.split(numbered, 2)
    return float(recall_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0))


@checked
def chance(classes: ArrayLike) -> float:
    """Expected accuracy of uniform guessing among the distinct ``classes``: 1 / C, whatever their frequencies."""
    return 1.0 / len(np.unique(labels("classes", classes)))


@checked
def majority(train: ArrayLike, true: ArrayLike) -> float:
    """Accuracy on ``true`` of always predicting the most frequent label of ``train`` (in a tie, the first when sorted).

    Parameters
    ----------
    train : array_like (M,)
        Labels of the training clips.
    true : array_like (N,)
        Labels of the test clips.

    Returns
    -------
    float in [0, 1]
    """
    names, counts = np.unique(labels("train", train), return_counts=True)
    return accuracy(true, np.full(len(labels("true", true)), names[counts.argmax()]))


@checked
def wilson_interval(successes: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate, for independent clips.

    Parameters
    ----------
    successes : float
        Number of correctly predicted clips, in [0, n]; it may be fractional, such as a mean over seeds.
    n : int
        Number of clips.
    level : float
        Confidence level.

    Returns
    -------
    low, high : float in [0, 1]

    Raises
    ------
    ParameterError
        If ``n`` is below 1, ``successes`` outside [0, n], or ``level`` outside (0, 1).

    Examples
    --------
    >>> [round(bound, 4) for bound in wilson_interval(81, 263)]
    [0.2553, 0.3662]
    """
    check_level(level)
    whole("n", n, least=1)
    if not 0 <= successes <= n:
        raise ParameterError("successes", successes, f"in [0, n={n}]")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    rate = successes / n
    centre = rate + z * z / (2 * n)
    half = z * np.sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2)
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return float(low if successes > 0 else 0.0), float(high if successes < n else 1.0)


def _right(right_a: ArrayLike, right_b: ArrayLike) -> list[np.ndarray]:
    """Return both as arrays (N,) of numbers in [0, 1], one per clip."""
    arrays = {name: numbers(name, values, ndim=1) for name, values in (("right_a", right_a), ("right_b", right_b))}
    for name, array in arrays.items():
        if len(array) != len(arrays["right_a"]):
            raise ParameterError(f"len({name})", len(array), f"len(right_a)={len(arrays['right_a'])}")
        if array.min() < 0 or array.max() > 1:
            raise ParameterError(
                name, f"{array.min():g} to {array.max():g}", "within [0, 1]: 1 where a clip is predicted right"
            )
    return list(arrays.values())


@checked
def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """Exact two-sided McNemar test that two classifiers are equally accurate on the same independent clips.

    Parameters
    ----------
    right_a, right_b : array_like of bool (N,)
        Whether each classifier is right on each clip.

    Returns
    -------
    float in [0, 1]
        p-value. It depends only on the clips on which one classifier is right and the other wrong; 1.0 if there are
        none.
    """
    from scipy.stats import binomtest

    a, b = _right(right_a, right_b)
    if not np.isin([a, b], (0, 1)).all():
        raise ParameterError("right_a, right_b", "other values", "True or False (0 or 1) for each clip")
    a, b = a.astype(bool), b.astype(bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


@checked
def paired_interval(
    right_a: ArrayLike,
    right_b: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Difference of two accuracies on the same clips, with its confidence interval.

    Clips that both classifiers get right, or both get wrong, cancel, so the interval is usually far narrower than a
    comparison of two separate intervals would suggest.

    Parameters
    ----------
    right_a, right_b : array_like (N,)
        1 where the classifier is right, 0 where it is wrong (or a mean over seeds).
    groups : array_like (N,), optional
        Group of each clip; by default every clip is its own group.
    level : float
        Confidence level.

    Returns
    -------
    difference, low, high : float in [-1, 1]
        Accuracy of a minus accuracy of b, and the bounds by :func:`workbench.metrics.intervals.group_interval`, which
        are NaN with one group.
    """
    a, b = _right(right_a, right_b)
    values = a.astype(np.float64) - b
    low, high = group_interval(values, groups, limits=(-1, 1), level=level)
    return float(values.mean()), float(low), float(high)


@checked
def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a clip of the class has a higher score than another clip.

    Parameters
    ----------
    scores : array_like (N,)
        Any increasing function of how sure the classifier is of the class.
    positive : array_like, bool (N,)
        Whether a clip is of the class.

    Returns
    -------
    float in [0, 1]
        One half without any knowledge; ties count one half. NaN without clips of the class, or without others.
    """
    scores, positive = _scored(scores, positive)
    if scores.ndim != 1:
        raise ParameterError("scores.shape", scores.shape, f"{positive.shape}")
    return _area(scores, positive)


@checked
def roc_auc_interval(
    scores: ArrayLike,
    positive: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    against: ArrayLike | None = None,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Area under the ROC curve, or the difference of two areas on the same clips, with its interval over groups.

    Parameters
    ----------
    scores : array_like (N,) or (repeats, N)
        Scores; of several repeats (seeds, draws) the mean of their areas counts.
    positive : array_like, bool (N,)
        Whether a clip is of the class.
    groups : array_like (N,), optional
        Group of each clip; by default every clip is its own.
    against : array_like (N,) or (repeats, N), optional
        Other scores of the same clips, whose area is subtracted.
    level : float
        Confidence level.

    Returns
    -------
    value, low, high : float
        By the delete-a-group jackknife (:func:`workbench.metrics.intervals.jackknife_interval`). The bounds are NaN
        with one group, or where one group has all clips of the class, or all others.
    """
    both = [_scored(each, positive) for each in (scores, against) if each is not None]
    positive, tables = both[0][1], [np.atleast_2d(each) for each, _ in both]
    groups = members(groups, len(positive))

    def value(rows: np.ndarray) -> float:
        areas = [np.mean([_area(row[rows], positive[rows]) for row in table]) for table in tables]
        return float(areas[0] - areas[1] if len(areas) > 1 else areas[0])

    names, sizes = np.unique(groups, return_counts=True)
    estimate, without = value(np.ones(len(groups), bool)), np.array([value(groups != name) for name in names])
    if not np.isfinite(without).all():
        return estimate, float("nan"), float("nan")
    limits = (-1, 1) if against is not None else (0, 1)
    return estimate, *jackknife_interval(estimate, without, sizes, limits=limits, level=level)


def _scored(scores: ArrayLike, positive: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    scores, positive = numbers("scores", scores), numbers("positive", positive, ndim=1)
    if not np.isin(positive, (0, 1)).all():
        other = positive[~np.isin(positive, (0, 1))][0].item()
        raise ParameterError("positive", other, "True or False for each clip")
    if scores.ndim not in (1, 2) or scores.shape[-1:] != positive.shape:
        raise ParameterError("scores.shape", scores.shape, f"({len(positive)},) or (repeats, {len(positive)})")
    return scores, positive.astype(bool)


def _area(scores: np.ndarray, positive: np.ndarray) -> float:
    from scipy.stats import rankdata

    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))


@checked
def evaluate(
    true: ArrayLike,
    predicted: ArrayLike,
    *,
    train: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> dict[str, float]:
    """Accuracy with its interval, and the accuracy of guessing.

    Parameters
    ----------
    true, predicted : array_like (N,)
        Labels.
    train : array_like (M,), optional
        Training labels, which add ``chance`` and ``majority``.
    groups : array_like (N,), optional
        Group of each clip. With groups the interval is :func:`workbench.metrics.intervals.group_interval`, without
        them :func:`wilson_interval`.
    level : float
        Confidence level of the interval.

    Returns
    -------
    dict of str to float
        accuracy, low, high, and with ``train`` also chance and majority.
    """
    true, predicted, groups = validate(true, predicted, groups)
    right = true == predicted
    if groups is None:
        low, high = wilson_interval(int(right.sum()), len(right), level=level)
    else:
        low, high = map(float, group_interval(right, groups, limits=(0, 1), level=level))
    scores = {"accuracy": accuracy(true, predicted), "low": low, "high": high}
    if train is not None:
        scores |= {"chance": chance(train), "majority": majority(train, true)}
    return scores
