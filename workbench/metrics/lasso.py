"""The lasso for many targets and penalties in one call.

Of every target v_k (a column of ``v``) and penalty alpha it finds the minimum of

    1 / (2 n) ||v_k - b - Z w||^2 + alpha ||w||_1,

scikit-learn's ``Lasso(alpha)``. What it saves over a loop of those:

* All targets share the centred Z; one matrix product gives the correlations of all of them, and with these every
  duality gap. A target takes part until its gap is small enough.
* A target is solved on its working set alone: the codes it uses and those that violate the optimality condition most
  (Massias, Gramfort, Salmon: Celer, ICML 2018). There coordinate descent, scikit-learn's ``lasso_path``, sees only the
  Gram matrix (Friedman, Hastie, Tibshirani: Regularization paths for generalized linear models, J. Stat. Soft. 2010).
* Once the support and its signs are right the minimum is the solution of a linear system, so coordinate descent stops
  early and a Cholesky solve finishes (Lee, Battle, Raina, Ng: Efficient sparse coding algorithms, NIPS 2006).
* Penalties go from strong to weak, each starting where the one before ended; cores take targets in turn.

Where the minimum is not unique
-------------------------------
Codes that are equal on the given rows up to sign (in sparse codes: all those active on one clip only, once they are
standardised) may share a weight in any way without a change of the objective. Here the first of them takes it all.
Coordinate descent that cycles through all columns may divide it otherwise, so compare objectives, not coefficients.

Examples
--------
>>> import numpy as np
>>> from workbench.metrics import lasso
>>> z = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # orthogonal: weights shrink by the penalty
>>> lasso.lasso(z, z @ [0.8, 0.2], [0.1, 0.5]).coefficients[..., 0].round(6).tolist()
[[0.7, 0.1], [0.3, 0.0]]
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, number, numbers, whole
from ..core.errors import ParameterError
from ..core.warn import warn

SMALLEST, LARGEST = 1e-70, 1e70
"""Range of the largest value of a column (unless it is 0): squares of squares must be neither 0 nor infinite."""
WORKING_SET = 100
"""Violating codes that a round may add to a target's working set; never fewer than it uses already."""
INNER_TOLERANCE = 1e-4
"""Where coordinate descent stops in the first round, scikit-learn's ``tol``; each further round asks for a tenth."""


@checked
def validate(
    z: ArrayLike, v: ArrayLike, *, names: Sequence[str] | None = None, constant: str = "raise"
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], np.ndarray]:
    """Codes and factors as matrices, or an error that says what is wrong with them.

    Parameters
    ----------
    z : array_like (n, d)
        Codes; (n,) is one code.
    v : array_like (n, K)
        Factors, as numbers; (n,) is one factor.
    names : sequence of str (K,), optional
        Of the factors; default "factor 0" ...
    constant : {"raise", "nan"}
        What to do with a factor that has one value: nothing can be said about it.

    Returns
    -------
    z, v : np.ndarray float64
    names : tuple of str (K,)
    varying : np.ndarray of bool (K,)
        False where a factor is constant.

    Raises
    ------
    ParameterError
        Shapes or lengths that do not fit; NaN or infinite values (row and column named); a constant factor.
    """
    z, v = finite("z", z), finite("v", v, names)
    if len(z) != len(v):
        raise ParameterError("len(v)", len(v), f"len(z)={len(z)}: one row a clip")
    names = tuple(f"factor {j}" for j in range(v.shape[1])) if names is None else tuple(map(str, names))
    if len(names) != v.shape[1]:
        raise ParameterError("len(names)", len(names), f"the number of factors, {v.shape[1]}")
    if constant not in ("raise", "nan"):
        raise ParameterError("constant", constant, "'raise' or 'nan'")
    varying = (v != v[0]).any(0)
    if constant == "raise" and not varying.all():
        same = [names[j] for j in np.flatnonzero(~varying)]
        raise ParameterError("v", f"constant in {', '.join(same[:5])}", 'varying over clips; constant="nan" skips such')
    return z, v, names, varying


def finite(name: str, array: ArrayLike, columns: Sequence[str] | None = None) -> np.ndarray:
    array = numbers(name, array, finite=False, empty=True).astype(np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise ParameterError(f"{name}.shape", array.shape, "two-dimensional with at least one row and column")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        row, column = map(int, bad[0])
        value = float(array[row, column])
        label = f" ({columns[column]})" if columns is not None and column < len(columns) else ""
        raise ParameterError(f"{name}[{row}, {column}]{label}", value, f"finite; {len(bad)} values are not")
    return bounded(name, array)


def bounded(name: str, array: np.ndarray) -> np.ndarray:
    """``array`` if sums of its squares, and of their squares, can be told from 0 and from infinity.

    Raises
    ------
    ParameterError
        A column (last axis) whose largest value is above 1e70, or below 1e-70 and not 0.
    """
    largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
    bad = (largest > LARGEST) | ((largest < SMALLEST) & (largest > 0))
    if bad.any():
        shown = f"values up to {float(largest[bad].flat[0]):.1e}"
        raise ParameterError(name, shown, f"from {SMALLEST:.0e} to {LARGEST:.0e} (or 0): rescale it, squares count")
    return array


def part(name: str, rows: ArrayLike, count: int) -> np.ndarray:
    """Positions in [0, count), at least one."""
    rows = numbers(name, rows, empty=True)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows) or rows.min() < 0 or rows.max() >= count:
        raise ParameterError(name, f"{rows.dtype} {rows.shape}", f"at least one position in [0, {count})")
    return rows.astype(np.int64)


@dataclass(frozen=True, repr=False, eq=False)
class LassoFits:
    """Fits of K targets at P penalties on d codes."""

    alphas: np.ndarray
    """float64 (P, K): penalty of each fit, in the order given."""
    coefficients: np.ndarray
    """float64 (P, d, K)."""
    intercepts: np.ndarray
    """float64 (P, K)."""
    gaps: np.ndarray
    """float64 (P, K): duality gap as a share of the objective at w = 0; bounds how far the objective is too high."""

    def predict(self, z: ArrayLike) -> np.ndarray:
        """Targets from codes (n, d): float64 (P, n, K)."""
        z = finite("z", z)
        if z.shape[1] != self.coefficients.shape[1]:
            raise ParameterError("z.shape", z.shape, f"(n, {self.coefficients.shape[1]}), the codes of the fit")
        return z @ self.coefficients + self.intercepts[:, None]


@checked
def lasso(
    z: ArrayLike,
    v: ArrayLike,
    alphas: float | ArrayLike,
    *,
    names: Sequence[str] | None = None,
    tolerance: float = 1e-8,
    max_rounds: int = 50,
    workers: int | None = None,
) -> LassoFits:
    """Fit every target at every penalty.

    Parameters
    ----------
    z : array_like (n, d)
        Codes; used as float64, centred here, not scaled.
    v : array_like (n, K)
        Targets; centred here, not scaled.
    alphas : float, array_like (P,) or (P, K)
        Penalties, positive; (P, K) gives each target its own.
    names : sequence of str (K,), optional
        Of the targets, for the warning.
    tolerance : float
        Duality gap at which a fit is done, as a share of the objective at w = 0. Most fits end far below, at rounding
        error, because the last step is an exact solve.
    max_rounds : int
        Working sets tried for one penalty.
    workers : int, optional
        Threads; default: one a core.

    Returns
    -------
    LassoFits

    Raises
    ------
    ParameterError
        Shapes that do not fit, values that are not finite (named), a penalty that is not positive.

    Warns
    -----
    RuntimeWarning
        A fit whose gap stayed above the tolerance; names the target.

    Examples
    --------
    >>> z = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> fits = lasso(z, z @ [[0.8], [0.05]], 0.1)
    >>> fits.coefficients[0, :, 0].round(6).tolist()
    [0.7, 0.0]
    """
    z, v, names, _ = validate(z, v, names=names, constant="nan")
    number("tolerance", tolerance, least=0)
    whole("max_rounds", max_rounds, least=0)
    if workers is not None:
        whole("workers", workers, least=1)
    penalties = np.atleast_1d(numbers("alphas", alphas)).astype(np.float64)
    if penalties.ndim == 1:
        penalties = np.repeat(penalties[:, None], v.shape[1], axis=1)
    if penalties.ndim != 2 or penalties.shape[1] != v.shape[1] or not (np.isfinite(penalties) & (penalties > 0)).all():
        raise ParameterError("alphas", penalties.tolist(), f"positive, (P,) or (P, {v.shape[1]})")

    from joblib import cpu_count

    z_mean, v_mean = z.mean(0), v.mean(0)
    centred = z - z_mean
    distinct = _first_of_equals(centred)
    rows, targets = np.ascontiguousarray(centred[:, distinct].T), np.ascontiguousarray((v - v_mean).T)
    order = np.argsort(-penalties, axis=0, kind="stable")
    coefficients, gaps = np.zeros((len(penalties), z.shape[1], v.shape[1])), np.empty_like(penalties)
    weights, every = np.zeros((v.shape[1], len(rows))), np.arange(v.shape[1])
    with ThreadPoolExecutor(workers or cpu_count()) as pool:
        for step in order:
            gaps[step, every] = _descend(rows, targets, penalties[step, every], weights, tolerance, max_rounds, pool)
            coefficients[step[:, None], distinct, every[:, None]] = weights
    _warn(gaps, penalties, tolerance, names)
    return LassoFits(penalties, coefficients, v_mean - z_mean @ coefficients, gaps)


def _descend(
    z: np.ndarray,
    v: np.ndarray,
    alpha: np.ndarray,
    weights: np.ndarray,
    tolerance: float,
    max_rounds: int,
    pool: ThreadPoolExecutor,
) -> np.ndarray:
    """Bring ``weights`` (K, d) from where they are to the minimum at alpha (K,), in place; the relative gaps (K,).

    Here codes (d, n) and targets (K, n) are rows, so that what one fit reads lies together.
    """
    from scipy.sparse import csr_array

    n = z.shape[1]
    null = np.maximum((v * v).sum(1) / (2 * n), np.finfo(float).tiny)
    gaps, live, inner = np.zeros(len(v)), np.arange(len(v)), INNER_TOLERANCE
    for left in range(max_rounds, -1, -1):
        residual = v[live] - csr_array(weights[live]) @ z
        correlation = residual @ z.T / n
        # the residual, scaled into the dual feasible set, is the dual point
        scale = np.minimum(1, alpha[live] / np.maximum(np.abs(correlation).max(1), np.finfo(float).tiny))
        squared = (residual**2).sum(1)
        primal = squared / (2 * n) + alpha[live] * np.abs(weights[live]).sum(1)
        dual = (scale * (v[live] * residual).sum(1) - scale**2 * squared / 2) / n
        gaps[live] = np.maximum(primal - dual, 0) / null[live]
        open_ = gaps[live] > tolerance
        live, correlation = live[open_], correlation[open_]
        if not len(live) or not left:
            return gaps

        def solve(i, live=live, correlation=correlation, inner=inner):
            j = live[i]
            return _solve_one(z, v[j], alpha[j], weights[j], correlation[i], inner)

        with warnings.catch_warnings(), _blas().limit(limits=1):  # cores take targets, so a target takes one core
            warnings.simplefilter("ignore")  # coordinate descent that stops early is finished here or goes on
            weights[live] = list(pool.map(solve, range(len(live))))
        inner = max(inner / 10, 1e-14)


def _solve_one(
    z: np.ndarray, v: np.ndarray, alpha: float, weights: np.ndarray, correlation: np.ndarray, tolerance: float
) -> np.ndarray:
    """One target on one working set: coordinate descent, then the exact minimum with the signs it found."""
    from sklearn import config_context
    from sklearn.linear_model import lasso_path

    used, strength = np.flatnonzero(weights), np.abs(correlation)
    violating = np.flatnonzero((strength > alpha) & (weights == 0))
    room = max(WORKING_SET, len(used))
    if len(violating) > room:
        violating = violating[np.argpartition(-strength[violating], room)[:room]]
    working = np.concatenate([used, violating])
    if not len(working):
        return weights
    part = z[working].T  # Fortran order, as coordinate descent wants it
    gram, product = part.T @ part, part.T @ v
    with config_context(skip_parameter_validation=True):  # else a third of the time
        coefficients = lasso_path(
            part,
            v,
            alphas=[alpha],
            precompute=gram,
            Xy=product,
            coef_init=weights[working],
            tol=tolerance,
            max_iter=1000,
            check_input=False,
        )[1][:, 0]
    result = np.zeros_like(weights)
    result[working] = _finish(gram, product, len(v) * alpha, coefficients)
    return result


def _finish(gram: np.ndarray, product: np.ndarray, penalty: float, weights: np.ndarray) -> np.ndarray:
    """Minimum over weights of the same signs; or as far towards it as the signs last, twice (it lowers the objective).

    ``gram`` is Z'Z, ``product`` Z'v and ``penalty`` n alpha. Where the support's Gram matrix is singular the weights
    stay as they are.
    """
    from scipy.linalg.lapack import dposv

    weights = weights.copy()
    for _ in range(2):
        support = np.flatnonzero(weights)
        if not len(support):
            break
        signs, now = np.sign(weights[support]), weights[support]
        inner, linear = gram[np.ix_(support, support)], product[support] - penalty * signs
        _, target, failed = dposv(inner, linear)
        # a nearly singular matrix passes, and its solution can be anywhere
        if failed or not target @ (inner @ target / 2 - linear) <= now @ (inner @ now / 2 - linear):
            break
        flips = np.flatnonzero(target * signs < 0)
        if not len(flips):
            weights[support] = target
            break
        steps = now[flips] / (now[flips] - target[flips])
        first = steps.argmin()
        weights[support] = now + steps[first] * (target - now)
        weights[support[flips[first]]] = 0
    return weights


def _first_of_equals(z: np.ndarray) -> np.ndarray:
    """Positions of columns without those equal, up to sign, to one before them."""
    # equal columns have equal projections on any direction, so only neighbours in that order need a look
    projection = np.random.default_rng(0).standard_normal(len(z)) @ z
    signed = z * np.where(projection < 0, -1, 1)
    order = np.argsort(np.abs(projection), kind="stable")
    size = np.abs(projection)[order]
    cluster = np.concatenate([[0], np.cumsum(np.diff(size) > 1e-10 * size[1:])])
    order = order[np.lexsort((order, cluster))]
    first = order[np.searchsorted(cluster, cluster)]
    candidates = np.flatnonzero(order != first)
    a, b = signed[:, order[candidates]], signed[:, first[candidates]]
    equal = np.abs(a - b).max(0) <= 1e-10 * np.abs(b).max(0)
    keep = np.ones(z.shape[1], dtype=bool)
    keep[order[candidates[equal]]] = False
    return np.flatnonzero(keep)


@cache
def _blas():
    """Handle on the BLAS libraries' thread counts; finding them takes longer than a small fit."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _warn(gaps: np.ndarray, alphas: np.ndarray, tolerance: float, names: Sequence[str]) -> None:
    bad = np.argwhere(~(gaps <= tolerance))
    if not len(bad):
        return
    p, k = bad[np.argmax(gaps[tuple(bad.T)])]
    message = (
        f"{len(bad)} of {gaps.size} lasso fits stopped above a relative duality gap of {tolerance:g}; "
        f"the worst: {names[k]}, alpha {alphas[p, k]:g}, gap {gaps[p, k]:.1e}"
    )
    warn(message, RuntimeWarning)
