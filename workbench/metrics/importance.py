"""Importance matrices: how much each code matters for each factor, and how well all codes together predict it.

Metrics
-------
* :func:`lasso_importance`: absolute lasso weights between standardised codes and factors [1]_ [2]_.
* :func:`mutual_information`: mutual information of binned codes and factors, for MIG and modularity [3]_.

The first returns an :class:`Importance`: the matrix R for :mod:`workbench.metrics.disentanglement`, and
informativeness, the prediction score of the fitted models. By default informativeness is a held-out score: models are
fitted on some groups (speakers, singers) and scored on others, because the in-sample R^2 of any codes is high when
there are more codes than clips. R itself is from a fit on all rows.

References
----------
.. [1] Eastwood, Williams: A framework for the quantitative evaluation of disentangled representations. ICLR 2018.
.. [2] Mariotte et al.: Sparse autoencoders make audio foundation models more explainable. arXiv 2509.24793.
.. [3] Locatello et al.: Challenging common assumptions in the unsupervised learning of disentangled representations.
   ICML 2019, and its library disentanglement_lib.

Examples
--------
>>> import numpy as np
>>> from workbench.metrics import importance
>>> z, noise = np.split(np.random.default_rng(0).normal(size=(300, 4)), [3], axis=1)
>>> fit = importance.lasso_importance(z, np.hstack([z[:, :1], noise]))  # the first code, and what no code tells
>>> fit.R.round(1).tolist(), abs(fit.informativeness.round(1)).tolist()
([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [1.0, 0.0])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers, several, whole
from ..core.errors import ParameterError
from ..core.labels import labels
from ..core.progress import Progress, reporter
from .lasso import lasso, part, validate

ALPHAS = tuple(0.1 * 2 ** (k / 2) for k in range(4, -6, -1))
"""Lasso penalties to choose from, .4 to .018 in descending order; [2]_ uses .1."""
FOLDS, INNER_FOLDS = 5, 4
"""Number of grouped folds when none are given, and of those within the training rows that select the penalty."""
BINS = 20
"""Number of bins of equal width between a column's extremes, for codes and continuous factors, as in [3]_."""
MOST_BINS = 10_000
"""Largest number of bins allowed; with more, most rows would have a bin of their own."""
Folds = Sequence[tuple[ArrayLike, ArrayLike]]


@dataclass(frozen=True, repr=False, eq=False)
class Importance:
    """Importance of d codes for K factors, and the prediction scores; made by :func:`lasso_importance`."""

    method: str
    """Method that the importances come from: "lasso"."""
    names: tuple[str, ...]
    """Names of the factors, (K,)."""
    R: np.ndarray
    """Importances, float64 (d, K), 0 or more; a constant factor has a column of 0."""
    score: tuple[str, ...]
    """Kind of score of each factor, (K,): "r2", which is 0 for predicting the mean of the training rows."""
    in_sample: np.ndarray
    """Score of the models behind R on the rows that they were fitted on, (K,); NaN for a constant factor."""
    held_out: np.ndarray
    """Score over the test rows of all folds together, (K,); NaN without folds."""
    folds: np.ndarray
    """Score on the test rows of each of F folds, (F, K)."""
    settings: np.ndarray
    """Lasso penalty of the models behind R, (K,)."""

    @property
    def informativeness(self) -> np.ndarray:
        """Held-out score, or without folds the in-sample score, (K,).

        The NRMSE of Eastwood and Williams is (1 - r2)^.5.
        """
        return self.held_out if len(self.folds) else self.in_sample

    def __repr__(self) -> str:
        kind = f"held out over {len(self.folds)} folds" if len(self.folds) else "in-sample"
        mean = np.nanmean(self.informativeness)
        return f"Importance({self.method}, {len(self.R)} codes x {len(self.names)} factors, mean {mean:.3f} {kind})"


def classes(v: np.ndarray, discrete: np.ndarray, bins: int) -> list[np.ndarray]:
    """Return each column as class numbers, of its values if discrete, else of bins of equal width."""
    whole("bins", bins, least=2, most=MOST_BINS)
    cut = (column if kind else _binned(column, bins) for column, kind in zip(v.T, discrete, strict=True))
    return [np.unique(column, return_inverse=True)[1] for column in cut]


def _binned(column: np.ndarray, bins: int) -> np.ndarray:
    try:
        edges = np.histogram_bin_edges(column, bins)
    except ValueError:  # values differ only in the last digits; subtracting the minimum keeps the differences exact
        column = column - column.min()
        edges = np.histogram_bin_edges(column, bins)
    return np.digitize(column, edges[:-1])


def unit(a: np.ndarray) -> np.ndarray:
    """Scale each column by a power of two, without rounding, so that its largest absolute value is in [1/2, 1)."""
    return np.ldexp(a, -np.frexp(np.abs(a).max(0))[1])


def kinds(discrete: bool | ArrayLike, factors: int) -> np.ndarray:
    """Return one bool for each factor: whether it is discrete."""
    flags = numbers("discrete", discrete, empty=True)
    if flags.dtype != bool or flags.shape not in ((), (factors,)):
        raise ParameterError("discrete", discrete, f"True, False, or one of these for each of {factors} factors")
    return np.broadcast_to(flags, factors)


def entropy(numbers: np.ndarray) -> float:
    """Entropy of class numbers, in nats."""
    share = np.bincount(numbers) / len(numbers)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


@checked
def mutual_information(z: ArrayLike, v: ArrayLike, *, discrete: bool | ArrayLike, bins: int = BINS) -> np.ndarray:
    """Plug-in estimate of the mutual information of each code with each factor, in nats.

    The estimate for independent variables is about (bins - 1) (classes - 1) / (2 n) instead of 0.

    Parameters
    ----------
    z : array_like (n, d)
        Codes; each is divided into ``bins`` bins of equal width between its extremes.
    v : array_like (n, K)
        Factors.
    discrete : bool or array_like of bool (K,)
        If True, the values of a factor are its classes. If False, it is divided into bins like the codes.
    bins : int
        Number of bins; the default of 20 is that of disentanglement_lib.

    Returns
    -------
    np.ndarray float64 (d, K)
    """
    z, v, _, _ = validate(z, v, constant="nan")
    codes = classes(z, np.zeros(z.shape[1], bool), bins)
    factors = classes(v, kinds(discrete, v.shape[1]), bins)
    known = [entropy(factor) for factor in factors]
    table = np.empty((len(codes), len(factors)))
    for i, code in enumerate(codes):
        own = entropy(code)
        for j, factor in enumerate(factors):
            table[i, j] = own + known[j] - entropy(code * (factor.max() + 1) + factor)
    return table.clip(0)


def _dealt(rows: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide the rows into folds without splitting a group."""
    from sklearn.model_selection import GroupKFold

    count = len(np.unique(groups[rows]))
    if count < 2:
        raise ParameterError("groups", count, "at least two different ones among the rows to divide into folds")
    dealer = GroupKFold(min(folds, count), shuffle=True, random_state=seed)
    return [(rows[train], rows[test]) for train, test in dealer.split(rows, groups=groups[rows])]


def _plan(
    folds: Folds | None, groups: ArrayLike | None, count: int, seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray, np.ndarray]:
    """Return outer folds, the rows they cover, and each row's group; raise an error if a fold splits a group."""
    groups = np.arange(count) if groups is None else labels("groups", groups)
    if groups.shape != (count,):
        raise ParameterError("groups.shape", groups.shape, f"({count},): one a clip")
    groups = np.unique(groups, return_inverse=True)[1]
    if folds is None:
        return _dealt(np.arange(count), groups, FOLDS, seed), np.arange(count), groups
    plan = several("folds", folds, lambda name, pair: several(name, pair, lambda _, rows: part(name, rows, count)))
    if any(len(pair) != 2 for pair in plan):
        raise ParameterError("folds", [len(pair) for pair in plan], "pairs (train rows, test rows)")
    for f, (train, test) in enumerate(plan):
        shared = np.intersect1d(groups[train], groups[test])
        if len(shared):
            clips = test[np.isin(groups[test], shared)][:5].tolist()
            raise ParameterError(
                f"folds[{f}]", f"{len(shared)} groups on both sides", f"disjoint in groups; test clips {clips} leak"
            )
    return plan, np.unique(np.concatenate([rows for pair in plan for rows in pair])), groups


def _ratio(loss: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return 1 - loss / total, NaN where total is 0."""
    return 1 - np.divide(loss, total, out=np.full(np.shape(total), np.nan), where=np.asarray(total) > 0)


@checked
def lasso_importance(
    z: ArrayLike,
    v: ArrayLike,
    *,
    config: Literal["default", "paper"] = "default",
    alpha: float | Sequence[float] | None = None,
    folds: Folds | None = None,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    constant: str = "raise",
    seed: int = 0,
    progress: Progress | bool | None = None,
) -> Importance:
    """Importance of codes as absolute weights of a lasso regression of each factor on all codes, all standardised.

    Parameters
    ----------
    z : array_like (n, d)
        Codes; a constant code has weight 0.
    v : array_like (n, K)
        Factors, as numbers.
    config : {"default", "paper"}
        "paper", after Mariotte et al., makes one fit on all rows with penalty .1; informativeness is in-sample.
        "default" selects each factor's penalty by the least squared error over grouped folds of the training rows.
        Informativeness is then the score on the outer folds' test rows, and R comes from the same procedure on all
        rows.
    alpha : float or sequence of float, optional
        One penalty, or several to select from; by default :data:`ALPHAS`, or .1 with the paper's config.
    folds : sequence of (train, test) positions, optional
        Outer folds as row numbers; by default five, without splitting a group. Not allowed with the paper's config.
    groups : array_like (n,), optional
        Group of each row; a group is never split between training and test. By default every row is its own group.
    names : sequence of str (K,), optional
        Names of the factors.
    constant : {"raise", "nan"}
        Whether a constant factor is an error, or has score NaN and importance 0.
    seed : int
        Seed of the assignment of groups to folds.
    progress : callable (done, total) or bool, optional
        True shows a progress bar. A callable is called after each fit with the number done and the total.

    Returns
    -------
    Importance

    Raises
    ------
    ParameterError
        If shapes or values are wrong, a factor is constant, a group is in both parts of a fold, or folds or several
        penalties are given with the paper's config.

    Warns
    -----
    RuntimeWarning
        If a fit did not converge; the message names the factor.
    """
    z, v, names, varying = validate(z, v, names=names, constant=constant)
    report = reporter(progress)
    paper = config == "paper"
    if paper and (folds is not None or np.ndim(alpha)):
        raise ParameterError(
            "folds or alpha", "given", "None and one number in the paper's config, which chooses nothing"
        )
    alphas = np.atleast_1d(numbers("alpha", alpha if alpha is not None else 0.1 if paper else ALPHAS))
    if alphas.ndim != 1 or alphas.min() <= 0:
        raise ParameterError("alpha", alphas.tolist(), "positive, one or several")
    alphas = np.sort(alphas.astype(np.float64))[::-1]
    plan, rows, groups = ([], np.arange(len(z)), None) if paper else _plan(folds, groups, len(z), seed)

    def fit(train: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = np.full(v.shape[1], alphas[0])
        if len(alphas) > 1:
            inner = _dealt(train, groups, INNER_FOLDS, seed)
            errors = [((_predicted(z, v, a, b, alphas, names, 1e-5)[0] - v[b]) ** 2).sum(1) for a, b in inner]
            chosen = alphas[np.sum(errors, axis=0).argmin(0)]  # in a tie, the strongest penalty
        return chosen, *_predicted(z, v, train, np.arange(len(z)), chosen[None], names)

    losses, totals = np.zeros((2, len(plan), v.shape[1]))
    for f, (train, test) in enumerate(plan):
        _, predicted, _ = fit(train)
        losses[f] = ((v[test] - predicted[0, test]) ** 2).sum(0)
        totals[f] = ((v[test] - v[train].mean(0)) ** 2).sum(0)
        report(f + 1, len(plan) + 1)
    chosen, predicted, weights = fit(rows)
    report(len(plan) + 1, len(plan) + 1)
    totals[:, ~varying] = 0
    spread = np.where(varying, ((v[rows] - v[rows].mean(0)) ** 2).sum(0), 0)
    in_sample = _ratio(((v[rows] - predicted[0, rows]) ** 2).sum(0), spread)
    held, by_fold = _ratio(losses.sum(0), totals.sum(0)), _ratio(losses, totals)
    return Importance("lasso", names, np.abs(weights[0]), ("r2",) * v.shape[1], in_sample, held, by_fold, chosen)


def _predicted(
    z: np.ndarray,
    v: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    alphas: np.ndarray,
    names: Sequence[str],
    tolerance: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (P, test, K) of lassos fitted on the training rows, and their standardised weights (P, d, K)."""

    def moments(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return a.mean(0), np.where((a != a[0]).any(0), a.std(0), 1)

    (z_mean, z_std), (v_mean, v_std) = moments(z[train]), moments(v[train])
    fits = lasso((z[train] - z_mean) / z_std, (v[train] - v_mean) / v_std, alphas, names=names, tolerance=tolerance)
    return fits.predict((z[test] - z_mean) / z_std) * v_std + v_mean, fits.coefficients
