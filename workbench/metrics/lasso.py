"""Lasso regression for many targets and many penalties in one call.

For every target v_k (a column of ``v``) and penalty alpha it finds the weights w and the intercept b that minimise

    1 / (2 n) ||v_k - b - Z w||^2 + alpha ||w||_1,

the objective of scikit-learn's ``Lasso(alpha)``. It is faster than a loop over such fits for these reasons:

* All targets share the centred Z. One matrix product gives the correlations for all targets, and from them every
  duality gap. A target is finished when its gap is small enough.
* Each target is solved on a working set: the codes that it uses and those that violate the optimality condition most
  (Massias, Gramfort, Salmon: Celer, ICML 2018). Coordinate descent, by scikit-learn's ``lasso_path``, then only needs
  the Gram matrix of these codes (Friedman, Hastie, Tibshirani: Regularization paths for generalized linear models,
  J. Stat. Soft. 2010).
* Once the non-zero weights and their signs are known, the minimum is the solution of a linear system. Coordinate
  descent therefore stops early and a Cholesky solve finishes (Lee, Battle, Raina, Ng: Efficient sparse coding
  algorithms, NIPS 2006).
* Penalties are fitted from strong to weak, each starting from the weights of the one before. Targets are fitted in
  parallel threads.

Where the minimum is not unique
-------------------------------
If codes are equal on the given rows up to sign, their weight can be shared among them in any way without changing the
objective. Sparse codes that are active on only one and the same clip are such a case, once they are standardised. Here
the first of them gets all the weight. Coordinate descent over all columns may divide it differently, so compare
objectives rather than coefficients.

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
"""Allowed range of the largest value of a column, unless it is 0: fourth powers must neither vanish nor overflow."""
WORKING_SET = 100
"""Largest number of violating codes that a round adds to a working set, or the number already used if that is more."""
INNER_TOLERANCE = 1e-4
"""Tolerance of coordinate descent (scikit-learn's ``tol``) in the first round; each further round divides it by 10."""


@checked
def validate(
    z: ArrayLike, v: ArrayLike, *, names: Sequence[str] | None = None, constant: str = "raise"
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], np.ndarray]:
    """Return codes and factors as matrices, or raise an error that says what is wrong with them.

    Parameters
    ----------
    z : array_like (n, d)
        Codes; an array (n,) is one code.
    v : array_like (n, K)
        Factors, as numbers; an array (n,) is one factor.
    names : sequence of str (K,), optional
        Names of the factors; by default "factor 0", "factor 1" and so on.
    constant : {"raise", "nan"}
        Whether a constant factor is an error ("raise") or is allowed ("nan").

    Returns
    -------
    z, v : np.ndarray float64
        Arrays (n, d) and (n, K).
    names : tuple of str (K,)
        Names of the factors.
    varying : np.ndarray of bool (K,)
        False where a factor is constant.

    Raises
    ------
    ParameterError
        If shapes or lengths do not match, values are not finite (row and column are named), or a factor is constant
        and ``constant`` is "raise".
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
        raise ParameterError(
            "v", f"constant in {', '.join(same[:5])}", 'varying over clips; constant="nan" skips these'
        )
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
    """Return ``array`` if no value is so large or so small that its fourth power would overflow or vanish in float64.

    Raises
    ------
    ParameterError
        If the largest absolute value of a column (last axis) is above 1e70, or is below 1e-70 and not 0.
    """
    largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
    bad = (largest > LARGEST) | ((largest < SMALLEST) & (largest > 0))
    if bad.any():
        shown = f"values up to {float(largest[bad].flat[0]):.1e}"
        raise ParameterError(name, shown, f"from {SMALLEST:.0e} to {LARGEST:.0e} (or 0): rescale it")
    return array


def part(name: str, rows: ArrayLike, count: int) -> np.ndarray:
    """Return row numbers in [0, count) as int64, or raise an error; at least one is required."""
    rows = numbers(name, rows, empty=True)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows) or rows.min() < 0 or rows.max() >= count:
        raise ParameterError(name, f"{rows.dtype} {rows.shape}", f"at least one position in [0, {count})")
    return rows.astype(np.int64)


@dataclass(frozen=True, repr=False, eq=False)
class LassoFits:
    """Lasso fits of K targets on d codes at P penalties; made by :func:`lasso`."""

    alphas: np.ndarray
    """Penalty of each fit in the order given, float64 (P, K)."""
    coefficients: np.ndarray
    """Weights w, float64 (P, d, K)."""
    intercepts: np.ndarray
    """Intercepts b, float64 (P, K)."""
    gaps: np.ndarray
    """Duality gap relative to the objective at w = 0, float64 (P, K): a bound of the distance to the minimum."""

    def predict(self, z: ArrayLike) -> np.ndarray:
        """Predict the targets from codes (n, d), float64 (P, n, K)."""
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
    """Fit a lasso regression of every target at every penalty.

    Parameters
    ----------
    z : array_like (n, d)
        Codes. They are centred here but not scaled.
    v : array_like (n, K)
        Targets. They are centred here but not scaled.
    alphas : float, array_like (P,) or (P, K)
        Positive penalties; with (P, K) each target has its own.
    names : sequence of str (K,), optional
        Names of the targets, for the warning.
    tolerance : float
        Duality gap at which a fit is finished, relative to the objective at w = 0. Most fits end at rounding error, far
        below it, because the last step is an exact solve.
    max_rounds : int
        Largest number of rounds, each with a new working set, for one penalty.
    workers : int, optional
        Number of threads; by default one per core.

    Returns
    -------
    LassoFits

    Raises
    ------
    ParameterError
        If shapes do not match, values are not finite (the first is named), or a penalty is not positive.

    Warns
    -----
    RuntimeWarning
        If the gap of a fit stayed above the tolerance; the message names the target.

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
    """Minimise the objective at alpha (K,), starting from ``weights`` (K, d) and in place; return relative gaps (K,).

    Here codes (d, n) and targets (K, n) are rows, so that the data of one fit are contiguous in memory.
    """
    from scipy.sparse import csr_array

    n = z.shape[1]
    null = np.maximum((v * v).sum(1) / (2 * n), np.finfo(float).tiny)
    gaps, live, inner = np.zeros(len(v)), np.arange(len(v)), INNER_TOLERANCE
    for left in range(max_rounds, -1, -1):
        residual = v[live] - csr_array(weights[live]) @ z
        correlation = residual @ z.T / n
        # the dual point is the residual, scaled until it is feasible
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

        with warnings.catch_warnings(), _blas().limit(limits=1):  # targets run in parallel, each on one core
            warnings.simplefilter("ignore")  # if coordinate descent stops early, later steps or rounds finish the fit
            weights[live] = list(pool.map(solve, range(len(live))))
        inner = max(inner / 10, 1e-14)


def _solve_one(
    z: np.ndarray, v: np.ndarray, alpha: float, weights: np.ndarray, correlation: np.ndarray, tolerance: float
) -> np.ndarray:
    """Fit one target on one working set: coordinate descent, then the exact minimum for the signs that it found."""
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
    with config_context(skip_parameter_validation=True):  # validation would take a third of the time
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
    """Return the weights of least objective with the same support and signs.

    If a sign would change on the way, the step ends there, that weight becomes 0, and a second step follows without it;
    both lower the objective. ``gram`` is Z'Z, ``product`` is Z'v and ``penalty`` is n alpha. If the Gram matrix of the
    support is singular, the weights are not changed.
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
        # the solution for a nearly singular matrix can be wrong, so it must not raise the objective
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
    """Return the positions of all columns that are not equal, up to sign, to an earlier column."""
    # equal columns have equal projections on a random direction, so only neighbours in that order are compared
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
    """Controller of the BLAS libraries' thread counts, cached because finding them takes longer than a small fit."""
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
