"""Scores of predicted numbers (R2, rank correlation) with confidence intervals that take groups of clips into account.

Conventions
-----------
``true`` is (N,), one number per clip; ``predicted`` is (..., N), with one row for each of several predictors of the
same clips. A *group* is a set of clips that must not be split between training and test (one speaker, singer or
source). As in :mod:`workbench.metrics.intervals`, the intervals treat the groups as a sample of all groups of the same
kind, and without groups every clip is its own group.

Metrics
-------
* :func:`r2`: coefficient of determination, the share of the variance of the true numbers that is explained.
* :func:`rank_correlation`: Spearman's rank correlation, which depends on the order of the numbers only.
* :func:`r2_interval`, :func:`rank_interval`: their confidence intervals.
* :func:`r2_difference`: difference in R2 of two predictors of the same clips, with its interval.

Notes
-----
Both metrics are functions of sums over clips, so leaving a group out is a subtraction. The standard errors come from
the jackknife over groups. They are computed for log(1 - R2) and for the inverse hyperbolic tangent of the correlation,
whose distributions are nearly symmetric. The jackknife's estimate of bias in log(1 - R2), which arises because few
groups vary less than many, widens the interval on one side. In simulations with up to 95 % of the variance between
groups, 95 % intervals of R2 cover the true value in 91 % of cases or more with six or more groups
(``python tests/benchmarks/bench_coverage.py --only regression``); with fewer groups the bounds are NaN.

Examples
--------
>>> import numpy as np
>>> from workbench.metrics import regression
>>> true, predicted = np.array([1.0, 2, 3, 4, 5, 6]), np.array([1.2, 1.8, 3.3, 3.9, 5.1, 5.7])
>>> round(regression.r2(true, predicted), 3), regression.rank_correlation(true, predicted)
(0.984, 1.0)
>>> regression.r2_interval(true, predicted).round(2)
array([0.94, 1.  ])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from .intervals import check_level, members

FEWEST = 6
"""Fewest groups for an interval of R2 or of the rank correlation; fewer tell too little about the variance."""


@checked
def validate(true: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 arrays, or raise an error that says what is wrong with them.

    Parameters
    ----------
    true : array_like (N,)
        True number of each clip.
    predicted : array_like (..., N)
        Predicted numbers, one row per predictor.

    Raises
    ------
    ParameterError
        If arrays are empty, not finite, or of unequal length.
    """
    true = numbers("true", true, ndim=1).astype(np.float64)
    predicted = numbers("predicted", predicted).astype(np.float64)
    if predicted.shape[-1:] != true.shape:
        raise ParameterError("predicted.shape", predicted.shape, f"(..., {len(true)}), one for each of true")
    return true, predicted


@checked
def r2(true: ArrayLike, predicted: ArrayLike) -> float | np.ndarray:
    """Coefficient of determination: 1 - (sum of squared errors) / (sum of squared deviations from the true mean).

    Parameters
    ----------
    true : array_like (N,)
        True number of each clip.
    predicted : array_like (..., N)
        Predicted numbers, one row per predictor.

    Returns
    -------
    float, or np.ndarray (...)
        1 is perfect, 0 is as good as predicting the mean of the true numbers, and below 0 is worse. NaN if all true
        numbers are equal.

    Examples
    --------
    >>> r2([1, 2, 3], [[1, 2, 3], [2, 2, 2]])
    array([1., 0.])
    """
    true, predicted = validate(true, predicted)
    errors, spread, _ = _sums(true, predicted, np.zeros(len(true), np.int64))
    return _plain(1 - _unexplained(errors, spread)[..., 0])


@checked
def rank_correlation(true: ArrayLike, predicted: ArrayLike, within: ArrayLike | None = None) -> float | np.ndarray:
    """Spearman's rank correlation; ties share their mean rank.

    Parameters
    ----------
    true : array_like (N,)
        True number of each clip.
    predicted : array_like (..., N)
        Predicted numbers, one row per predictor.
    within : array_like (N,), optional
        Part of each clip, such as the fold in which it was tested. Clips are then ranked within their part, and ranks
        are divided by its size. Use it when parts were predicted by different models, whose predictions may differ by
        an offset.

    Returns
    -------
    float, or np.ndarray (...) in [-1, 1]
        NaN if all true or all predicted numbers are equal.

    Examples
    --------
    >>> rank_correlation([1, 2, 3, 10], [0.1, 0.4, 0.5, 0.6])
    1.0
    """
    true, predicted = validate(true, predicted)
    whole = np.zeros(len(true), np.int64)
    return _plain(_correlation(_moments(*_ranks(true, predicted, within), whole))[..., 0])


@checked
def r2_interval(
    true: ArrayLike, predicted: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95
) -> np.ndarray:
    """Confidence interval of :func:`r2` for clips that come in groups.

    Parameters
    ----------
    true : array_like (N,)
        True number of each clip.
    predicted : array_like (..., N)
        Predicted numbers, one row per predictor.
    groups : array_like (N,), optional
        Group of each clip; by default every clip is its own group.
    level : float
        Confidence level.

    Returns
    -------
    np.ndarray float64 (..., 2)
        Low and high bound, both below 1. They are NaN with fewer than :data:`FEWEST` groups, or if R2 is 1 or
        undefined.
    """
    check_level(level)
    true, predicted = validate(true, predicted)
    member = members(groups, len(true))
    errors, spread, sizes = _sums(true, predicted, member)
    if len(sizes) < FEWEST:
        return np.full((*predicted.shape[:-1], 2), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        full = np.log(_unexplained(errors.sum(-1, keepdims=True), spread.sum(-1, keepdims=True)))
        without = np.log(_unexplained(*(part.sum(-1, keepdims=True) - part for part in (errors, spread))))
        half, bias = _half_width(full, without, sizes, level)
        low, high = full[..., 0] - np.maximum(bias, 0) - half, full[..., 0] - np.minimum(bias, 0) + half
    return _known(1 - np.exp(high), 1 - np.exp(low))


@checked
def rank_interval(
    true: ArrayLike,
    predicted: ArrayLike,
    groups: ArrayLike | None = None,
    within: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> np.ndarray:
    """Confidence interval of :func:`rank_correlation` for clips that come in groups.

    When the jackknife leaves a group out, the ranks of the other clips are not computed again.

    Parameters
    ----------
    true : array_like (N,)
        True number of each clip.
    predicted : array_like (..., N)
        Predicted numbers, one row per predictor.
    groups : array_like (N,), optional
        Group of each clip; by default every clip is its own group.
    within : array_like (N,), optional
        As in :func:`rank_correlation`.
    level : float
        Confidence level.

    Returns
    -------
    np.ndarray float64 (..., 2)
        Low and high bound. They are NaN with fewer than :data:`FEWEST` groups, or if the correlation is undefined or
        ±1.
    """
    check_level(level)
    true, predicted = validate(true, predicted)
    member = members(groups, len(true))
    sizes = np.bincount(member)
    if len(sizes) < FEWEST:
        return np.full((*predicted.shape[:-1], 2), np.nan)
    sums = _moments(*_ranks(true, predicted, within), member)
    with np.errstate(divide="ignore", invalid="ignore"):
        full = np.arctanh(_correlation(sums.sum(-1, keepdims=True)))
        without = np.arctanh(np.clip(_correlation(sums.sum(-1, keepdims=True) - sums), -1 + 1e-9, 1 - 1e-9))
        half, _ = _half_width(full, without, sizes, level)
        return _known(np.tanh(full[..., 0] - half), np.tanh(full[..., 0] + half))


@checked
def r2_difference(
    true: ArrayLike, a: ArrayLike, b: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95
) -> tuple[float, float, float]:
    """R2 of predictions a minus R2 of predictions b for the same clips, with its confidence interval.

    Parameters
    ----------
    true : array_like (N,)
        True number of each clip.
    a, b : array_like (N,)
        Predictions of two models.
    groups : array_like (N,), optional
        Group of each clip; by default every clip is its own group.
    level : float
        Confidence level.

    Returns
    -------
    difference, low, high : float
        The bounds are NaN with fewer than two groups, or if leaving groups out does not change the difference.
    """
    check_level(level)
    true, a = validate(true, numbers("a", a, ndim=1))
    true, b = validate(true, numbers("b", b, ndim=1))
    predicted = np.stack([a, b])
    errors, spread, sizes = _sums(true, predicted, members(groups, len(true)))
    gain = errors[1] - errors[0]
    full = _unexplained(gain.sum(keepdims=True), spread.sum(-1, keepdims=True))
    if len(sizes) < 2:
        return float(full[0]), float("nan"), float("nan")
    without = _unexplained(gain.sum() - gain, spread.sum(-1, keepdims=True) - spread)
    half, _ = _half_width(full, without, sizes, level)
    half = float(half) if half > 1e-12 else float("nan")
    return float(full[0]), float(full[0] - half), float(full[0] + half)


def _by_group(values: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Sums over the clips of each group, (..., G)."""
    rows = values.reshape(-1, len(member))
    sums = np.stack([np.bincount(member, weights=row) for row in rows])
    return sums.reshape(*values.shape[:-1], -1)


def _sums(true: np.ndarray, predicted: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each group: squared errors (..., G), sums for the variance of the true numbers (3, G), and clips (G,)."""
    centred = true - true.mean()  # without centring, squares of large numbers would lose the differences to rounding
    spread = _by_group(np.stack([np.ones(len(true)), centred, centred**2]), member)
    return _by_group((predicted - true) ** 2, member), spread, np.bincount(member)


def _unexplained(errors: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return 1 - R2 from the sums of :func:`_sums`; NaN where the true numbers do not vary."""
    count, total, squares = spread
    variance = squares - total**2 / count
    return errors / np.where(variance > 1e-12 * squares, variance, np.nan)


def _ranks(true: np.ndarray, predicted: np.ndarray, within: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Centred ranks within each part, divided by the number of its clips."""
    from scipy.stats import rankdata

    parts = np.zeros(len(true), int) if within is None else members(within, len(true))
    ranks = np.zeros(true.shape), np.zeros(predicted.shape)
    for part in np.unique(parts):
        here = parts == part
        for values, ranked in zip((true, predicted), ranks, strict=True):
            ranked[..., here] = (rankdata(values[..., here], axis=-1) - (here.sum() + 1) / 2) / here.sum()
    return ranks


def _moments(a: np.ndarray, b: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Sums over the clips of each group from which a correlation is computed, (6, ..., G)."""
    a = np.broadcast_to(a, b.shape)
    return np.stack([_by_group(values, member) for values in (np.ones(b.shape), a, b, a * a, b * b, a * b)])


def _correlation(moments: np.ndarray) -> np.ndarray:
    count, a, b, aa, bb, ab = moments
    spread = (aa - a * a / count) * (bb - b * b / count)
    return (ab - a * b / count) / np.sqrt(np.where(spread > 1e-12, spread, np.nan))


def _half_width(
    full: np.ndarray, without: np.ndarray, sizes: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Half-width of the interval and bias of a statistic (..., 1), from its values without each group (..., G)."""
    from scipy.stats import t

    count = len(sizes)
    even = sizes.sum() ** 2 / (sizes**2).sum()  # Kish's effective number of groups
    error = np.sqrt((count - 1) / count * ((without - full) ** 2).sum(-1))
    return t.ppf(0.5 + level / 2, max(1.0, even - 1)) * error, (count - 1) * (without.mean(-1) - full[..., 0])


def _known(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Stack the bounds (..., 2); both are NaN if either is not finite."""
    bounds = np.stack([low, high], axis=-1)
    return np.where(np.isfinite(bounds).all(-1, keepdims=True), bounds, np.nan)


def _plain(values: np.ndarray) -> float | np.ndarray:
    return float(values) if values.ndim == 0 else values
