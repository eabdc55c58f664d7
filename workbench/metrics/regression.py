"""How well predicted numbers match true ones, and how sure that is.

Conventions
-----------
``true`` is (N,), one number a clip; ``predicted`` is (..., N): a row for each of several predictors of the same clips.
A *group* is what must not leak between splits (speaker, singer, source); intervals are for other groups of the same
kind, as those of :mod:`workbench.metrics.intervals`, and without groups every clip is one.

Metrics
-------
* :func:`r2`: share of the variance of the true numbers that the predicted ones account for.
* :func:`rank_correlation`: Spearman's, which asks for the order alone.
* :func:`r2_interval`, :func:`rank_interval`: their intervals.
* :func:`r2_difference`: of two predictors of the same clips, with its interval.

Notes
-----
Both figures are ratios of sums over clips, so that leaving a group out is a subtraction. Their standard errors are
those of the jackknife over groups, of log(1 - R2) and of the inverse hyperbolic tangent of the correlation, on which
scales they are nearly symmetric; the bias that the jackknife sees in log(1 - R2) (few groups spread less than many)
widens the interval on its side. In simulations with up to 95 % of the variance between groups, 95 % intervals of R2
cover the truth in 91 % of cases or more from six groups on (``python tests/benchmarks/bench_coverage.py --only
regression``); with fewer groups bounds are NaN.

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
"""Groups below which R2 and rank correlation have no interval: what few groups spread says little of many."""


@checked
def validate(true: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as float64 arrays, or an error that says what is wrong with them.

    Parameters
    ----------
    true : array_like (N,)
    predicted : array_like (..., N)

    Raises
    ------
    ParameterError
        Empty, NaN or infinite, or of unequal length.
    """
    true = numbers("true", true, ndim=1).astype(np.float64)
    predicted = numbers("predicted", predicted).astype(np.float64)
    if predicted.shape[-1:] != true.shape:
        raise ParameterError("predicted.shape", predicted.shape, f"(..., {len(true)}), one for each of true")
    return true, predicted


@checked
def r2(true: ArrayLike, predicted: ArrayLike) -> float | np.ndarray:
    """Coefficient of determination: 1 - (squared errors) / (squared distances of the true numbers to their mean).

    Parameters
    ----------
    true : array_like (N,)
    predicted : array_like (..., N)

    Returns
    -------
    float, or np.ndarray (...) up to 1
        1 is perfect, 0 as good as always giving the mean of these clips, below 0 worse. NaN where all true numbers are
        the same.

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
    predicted : array_like (..., N)
    within : array_like (N,), optional
        Parts, such as the splits that clips were tested in: clips are ranked among those of their own part, as shares
        of it. Predictors trained on different clips have different levels, which say nothing of the order.

    Returns
    -------
    float, or np.ndarray (...) in [-1, 1]
        NaN where all true or all predicted numbers are the same.

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
    """Interval of :func:`r2`, for other groups.

    Parameters
    ----------
    true : array_like (N,)
    predicted : array_like (..., N)
    groups : array_like (N,), optional
        Group of each clip; default: every clip is one.
    level : float
        Confidence level.

    Returns
    -------
    np.ndarray float64 (..., 2)
        Low and high bound, both below 1. NaN with fewer than :data:`FEWEST` groups, or where R2 is 1 or undefined.
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
    """Interval of :func:`rank_correlation`, for other groups; ranks stay those among all clips.

    Parameters
    ----------
    true : array_like (N,)
    predicted : array_like (..., N)
    groups : array_like (N,), optional
        Group of each clip; default: every clip is one.
    within : array_like (N,), optional
        As for :func:`rank_correlation`.
    level : float
        Confidence level.

    Returns
    -------
    np.ndarray float64 (..., 2)
        Low and high bound. NaN with fewer than :data:`FEWEST` groups, or where the correlation is undefined or ±1.
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
    """R2 of a minus R2 of b on the same clips, with its interval; what both find hard cancels.

    Parameters
    ----------
    true : array_like (N,)
    a, b : array_like (N,)
        Two predictions of it.
    groups : array_like (N,), optional
        Group of each clip; default: every clip is one.
    level : float
        Confidence level.

    Returns
    -------
    difference, low, high : float
        The bounds are NaN with fewer than two groups, or where the two never differ.
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
    """Of each group: squared errors (..., G), what the variance of the true is made of (3, G), and clips (G,)."""
    centred = true - true.mean()  # squares of large numbers that hardly differ would lose their digits
    spread = _by_group(np.stack([np.ones(len(true)), centred, centred**2]), member)
    return _by_group((predicted - true) ** 2, member), spread, np.bincount(member)


def _unexplained(errors: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """1 - R2 from sums; NaN where the true numbers do not differ."""
    count, total, squares = spread
    variance = squares - total**2 / count
    return errors / np.where(variance > 1e-12 * squares, variance, np.nan)


def _ranks(true: np.ndarray, predicted: np.ndarray, within: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Ranks among the clips of each part, as shares of it around 0."""
    from scipy.stats import rankdata

    parts = np.zeros(len(true), int) if within is None else members(within, len(true))
    ranks = np.zeros(true.shape), np.zeros(predicted.shape)
    for part in np.unique(parts):
        here = parts == part
        for values, ranked in zip((true, predicted), ranks, strict=True):
            ranked[..., here] = (rankdata(values[..., here], axis=-1) - (here.sum() + 1) / 2) / here.sum()
    return ranks


def _moments(a: np.ndarray, b: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Sums over each group that a correlation is made of, (6, ..., G)."""
    a = np.broadcast_to(a, b.shape)
    return np.stack([_by_group(values, member) for values in (np.ones(b.shape), a, b, a * a, b * b, a * b)])


def _correlation(moments: np.ndarray) -> np.ndarray:
    count, a, b, aa, bb, ab = moments
    spread = (aa - a * a / count) * (bb - b * b / count)
    return (ab - a * b / count) / np.sqrt(np.where(spread > 1e-12, spread, np.nan))


def _half_width(
    full: np.ndarray, without: np.ndarray, sizes: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Half the width of an interval and the bias of a figure (..., 1), from what it is without each group (..., G)."""
    from scipy.stats import t

    count = len(sizes)
    even = sizes.sum() ** 2 / (sizes**2).sum()  # Kish's: groups of equal size that would weigh as evenly
    error = np.sqrt((count - 1) / count * ((without - full) ** 2).sum(-1))
    return t.ppf(0.5 + level / 2, max(1.0, even - 1)) * error, (count - 1) * (without.mean(-1) - full[..., 0])


def _known(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Bounds (..., 2), both or none."""
    bounds = np.stack([low, high], axis=-1)
    return np.where(np.isfinite(bounds).all(-1, keepdims=True), bounds, np.nan)


def _plain(values: np.ndarray) -> float | np.ndarray:
    return float(values) if values.ndim == 0 else values
