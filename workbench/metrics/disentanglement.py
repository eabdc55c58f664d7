"""Disentanglement metrics: does each code represent one factor of variation, and each factor one code?

Conventions
-----------
``z`` (n, d) holds d codes and ``v`` (n, K) holds K factors, one row per clip. An importance matrix ``R`` (d, K) says
how much code i matters for factor j, in any unit and never below 0; :mod:`workbench.metrics.importance` computes such
matrices. The score of a code or factor without any importance is undefined; ``zero`` sets its value. ``each`` of a
:class:`Score` has one value per code or factor, and ``overall`` is their average.

Metrics
-------
From an importance matrix:

* :func:`disentanglement`: 1 - entropy of a code's importances over factors; 1 when it matters for one factor only [1]_.
* :func:`completeness`: 1 - entropy of a factor's importances over codes; 1 when one code has all of it [1]_.
* :func:`effective_codes`: exp of that entropy: the number of equally important codes with the same entropy.
* :func:`modularity`: how close a code's importances are to those of a code that matters for a single factor [2]_.

From codes and factors:

* :func:`mig`: difference in mutual information between the two most informative codes of a factor, as a share of the
  factor's entropy [3]_.
* :func:`sap`: difference in score between the two codes that best predict a factor [4]_.
* :func:`explicitness`: area under the ROC curve of a logistic regression on all codes [2]_.

Informativeness, the third score of [1]_, is the prediction score of the model from which the importances are taken;
:class:`~workbench.metrics.importance.Importance` contains it.

Completeness depends on the number of codes d: m equally important codes score 1 - ln m / ln d, so adding dead codes
raises it. :func:`effective_codes` does not change with dead codes and should be reported beside it.

Degenerate cases
----------------
With one code (or, with ``base="alive"``, one code that has any importance) completeness is 1 for every factor that has
importance. In the same way disentanglement and modularity are 1 with one factor. With one code, :func:`mig` and
:func:`sap` take 0 for the second code.

References
----------
.. [1] Eastwood, Williams: A framework for the quantitative evaluation of disentangled representations. ICLR 2018.
.. [2] Ridgeway, Mozer: Learning deep disentangled embeddings with the F-statistic loss. NeurIPS 2018.
.. [3] Chen, Li, Grosse, Duvenaud: Isolating sources of disentanglement in variational autoencoders. NeurIPS 2018.
.. [4] Kumar, Sattigeri, Balakrishnan: Variational inference of disentangled latent concepts from unlabeled
   observations. ICLR 2018.
.. [5] Locatello et al.: Challenging common assumptions in the unsupervised learning of disentangled representations.
   ICML 2019; its library disentanglement_lib fixed the choices (20 bins, weighted completeness, 0 without importance).
.. [6] Mariotte et al.: Sparse autoencoders make audio foundation models more explainable. arXiv 2509.24793.

Examples
--------
>>> import numpy as np
>>> from workbench.metrics import disentanglement
>>> apart, alike = np.eye(4), np.ones((4, 4))  # a code for each factor; every code for every factor
>>> disentanglement.completeness(apart).overall, disentanglement.completeness(alike).overall
(1.0, 0.0)
>>> disentanglement.effective_codes(apart).round(6).tolist(), disentanglement.effective_codes(alike).round(6).tolist()
([1.0, 1.0, 1.0, 1.0], [4.0, 4.0, 4.0, 4.0])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, number, several
from ..core.errors import ParameterError
from .importance import BINS, classes, entropy, kinds, mutual_information, unit
from .lasso import finite, part, validate

PAPER = {"base": "all", "zero": 1, "average": "mean", "epsilon": 1e-6}
"""Options of :func:`completeness` that reproduce the code of [6]_, where a factor without importance scores 1."""


class Score(NamedTuple):
    """The average of a metric and the values that it averages."""

    overall: float
    """Average of ``each`` without its NaN; NaN if all are NaN."""
    each: np.ndarray
    """float64, one value per code, factor or clip; NaN for one that is skipped."""


def _importances(R: ArrayLike) -> np.ndarray:
    R = finite("R", R)
    if (R < 0).any():
        row, column = map(int, np.argwhere(R < 0)[0])
        raise ParameterError(f"R[{row}, {column}]", float(R[row, column]), "0 or more: an importance")
    return R


@checked
def disentanglement(
    R: ArrayLike, *, base: str = "all", zero: float | str = 0, average: str = "weighted", epsilon: float = 0.0
) -> Score:
    """Disentanglement: how far each code's importance is concentrated on one factor (Eastwood and Williams, section 2).

    D_i = 1 - H(P_i) / ln K with P_ij = R_ij / sum_k R_ik.

    Parameters
    ----------
    R : array_like (d, K)
        Importances.
    base : {"all", "alive"}
        Base of the logarithm: the number of all K factors, or of those that have importance.
    zero : {0, 1, "skip"}
        Score of a code without importance; "skip" leaves it out of the average (NaN in ``each``).
    average : {"weighted", "mean"}
        Average over codes: weighted by their share of all importance, as Eastwood and Williams do, or unweighted.
    epsilon : float
        Added to sums and inside logarithms, to reproduce implementations that do so; with 0, 0 ln 0 is taken as 0.

    Returns
    -------
    Score
        ``each`` (d,), one value per code.
    """
    return _concentration(_importances(R).T, base, zero, average, epsilon)


@checked
def completeness(
    R: ArrayLike, *, base: str = "all", zero: float | str = 0, average: str = "mean", epsilon: float = 0.0
) -> Score:
    """Completeness: how far each factor's importance is concentrated on one code (Eastwood and Williams, section 2).

    C_j = 1 - H(P~_j) / ln d with P~_ij = R_ij / sum_c R_cj. It is not comparable between different d; see
    :func:`effective_codes`.

    Parameters
    ----------
    R : array_like (d, K)
        Importances.
    base : {"all", "alive"}
        Base of the logarithm: the number of all d codes, or of those that have importance for any factor.
    zero : {0, 1, "skip"}
        Score of a factor without importance: 0 as in disentanglement_lib, 1 as in the code of Mariotte et al.; "skip"
        leaves it out of the average (NaN in ``each``).
    average : {"mean", "weighted"}
        Average over factors: unweighted (Eastwood and Williams), or weighted by their share of all importance
        (disentanglement_lib), which hides factors that no code represents.
    epsilon : float
        Added to sums and inside logarithms; Mariotte et al. use 1e-6. With 0, 0 ln 0 is taken as 0.

    Returns
    -------
    Score
        ``each`` (K,), one value per factor.

    Raises
    ------
    ParameterError
        If an importance is negative or not finite, or an option is unknown.

    Examples
    --------
    >>> R = [[3, 1], [1, 3], [0, 0], [0, 0]]
    >>> round(completeness(R).overall, 6), effective_codes(R).round(3).tolist()
    (0.594361, [1.755, 1.755])
    """
    return _concentration(_importances(R), base, zero, average, epsilon)


def _concentration(R: np.ndarray, base: str, zero: float | str, average: str, epsilon: float) -> Score:
    """1 - normalised entropy of each column, and the average over columns."""
    choice("base", base, ("all", "alive"))
    choice("average", average, ("mean", "weighted"))
    if zero != "skip" and zero not in (0, 1):
        raise ParameterError("zero", zero, "0, 1 or 'skip'")
    number("epsilon", epsilon, least=0, below=1)
    count = len(R) if base == "all" else int(R.any(1).sum())
    # with one code the entropy is 0, so the base does not matter
    each = 1 - _entropies(R, epsilon) / np.log(max(count, 2))
    if not epsilon:
        each = each.clip(0, 1)
    mass = R.sum(0)
    each[mass == 0] = np.nan if zero == "skip" else zero
    kept = ~np.isnan(each)
    if not kept.any():
        return Score(float("nan"), each)
    weights = mass[kept] / mass.max() if average == "weighted" and mass.any() else None
    return Score(float(np.average(each[kept], weights=weights)), each)


def _entropies(R: np.ndarray, epsilon: float = 0.0) -> np.ndarray:
    """Entropy of each column, normalised to a distribution, in nats."""
    mass = R.sum(0)
    if epsilon:
        p = R / (mass + epsilon)
        return -(p * np.log(p + epsilon)).sum(0)
    p = R / np.where(mass, mass, 1)
    return -(p * np.log(np.where(p, p, 1))).sum(0)


@checked
def effective_codes(R: ArrayLike) -> np.ndarray:
    """Effective number of codes of each factor: exp of the entropy of its importances over codes.

    It is 1 when one code has all the importance, and m when m codes share it equally. Unlike completeness it does not
    depend on d, so it can compare representations of different size. It is 0 for a factor without importance.

    Parameters
    ----------
    R : array_like (d, K)
        Importances.

    Returns
    -------
    np.ndarray float64 (K,)
    """
    R = _importances(R)
    return np.where(R.any(0), np.exp(_entropies(R)), 0.0)


@checked
def modularity(R: ArrayLike) -> Score:
    """Modularity: how close each code is to having importance for a single factor (Ridgeway and Mozer, section 3).

    With t_i the largest importance of code i, its score is 1 - (sum_j R_ij^2 - t_i^2) / (t_i^2 (K - 1)), or 0 for a
    code without importance. The average is unweighted and includes dead codes. The paper uses
    :func:`~workbench.metrics.importance.mutual_information` as the importance.

    Parameters
    ----------
    R : array_like (d, K)
        Mutual information or any importance.

    Returns
    -------
    Score
        ``each`` (d,), one value per code.
    """
    R = _importances(R)
    largest = R.max(1)
    shares = R / np.where(largest, largest, 1)[:, None]
    each = np.where(largest > 0, 1 - ((shares**2).sum(1) - 1) / max(R.shape[1] - 1, 1), 0.0)
    return Score(float(each.mean()), each)


def _gap(table: np.ndarray) -> np.ndarray:
    """Largest minus second largest value of each column; with a single row the second largest is taken as 0."""
    best = np.sort(np.vstack([table, np.zeros((1, table.shape[1]))]) if len(table) == 1 else table, axis=0)
    return best[-1] - best[-2]


@checked
def mig(
    z: ArrayLike, v: ArrayLike, *, discrete: bool | ArrayLike, bins: int = BINS, names: Sequence[str] | None = None
) -> Score:
    """Mutual information gap (Chen et al., equation 6): (I_(1)j - I_(2)j) / H(v_j).

    Parameters
    ----------
    z, v, discrete, bins
        As in :func:`~workbench.metrics.importance.mutual_information`; the entropy of a factor uses the same classes or
        bins.
    names : sequence of str (K,), optional
        Names of the factors, for error messages.

    Returns
    -------
    Score
        ``each`` (K,), one value per factor.

    Raises
    ------
    ParameterError
        If a factor is constant, values are NaN, or shapes do not match.
    """
    z, v, _, _ = validate(z, v, names=names)
    known = [entropy(factor) for factor in classes(v, kinds(discrete, v.shape[1]), bins)]
    each = _gap(mutual_information(z, v, discrete=discrete, bins=bins)) / known
    return Score(float(each.mean()), each)


@checked
def sap(
    z: ArrayLike,
    v: ArrayLike,
    *,
    discrete: bool | ArrayLike,
    split: tuple[ArrayLike, ArrayLike] | None = None,
    names: Sequence[str] | None = None,
) -> Score:
    """Separated attribute predictability (Kumar et al., section 3): gap between the two most predictive codes.

    A code's score for a continuous factor is their squared correlation. For a discrete factor it is the test accuracy
    of a linear support-vector machine on that code alone (C = .01, classes weighted to balance); this takes d fits per
    factor and is slow for many codes.

    Parameters
    ----------
    z : array_like (n, d)
        Codes; a constant code scores 0 on continuous factors.
    v : array_like (n, K)
        Factors.
    discrete : bool or array_like of bool (K,)
        Which factors are discrete.
    split : (train, test) positions, optional
        Row numbers of both parts, required for discrete factors. Continuous factors use all rows, as nothing is fitted
        for them.
    names : sequence of str (K,), optional
        Names of the factors, for error messages.

    Returns
    -------
    Score
        ``each`` (K,), one value per factor.

    Raises
    ------
    ParameterError
        If a factor is constant, values are NaN, shapes do not match, ``split`` is missing for a discrete factor, or its
        training rows have only one class.
    """
    z, v, _, _ = validate(z, v, names=names)
    nominal = kinds(discrete, v.shape[1])
    zc, vc = unit(z - z.mean(0)), unit(v - v.mean(0))
    squares = np.outer((zc * zc).sum(0), (vc * vc).sum(0))
    table = np.where((z != z[0]).any(0)[:, None], (zc.T @ vc) ** 2 / np.where(squares, squares, 1), 0.0)
    if nominal.any():
        train, test = _split(split, len(z))
        for j in np.flatnonzero(nominal):
            v[:, j] = np.unique(v[:, j], return_inverse=True)[1]
            if np.ptp(v[train, j]) == 0:
                raise ParameterError("split[0]", f"one class of factor {j}", "rows of at least two classes")
            table[:, j] = [_accuracy(z[:, i : i + 1], v[:, j], train, test) for i in range(z.shape[1])]
    each = _gap(table)
    return Score(float(each.mean()), each)


def _split(split: tuple[ArrayLike, ArrayLike] | None, rows: int) -> list[np.ndarray]:
    if split is None:
        raise ParameterError("split", None, "(train, test) positions: a classifier is fitted")
    sides = several("split", split, lambda name, side: part(name, side, rows))
    if len(sides) != 2:
        raise ParameterError("split", f"{len(sides)} parts", "(train, test) positions")
    return sides


def _accuracy(code: np.ndarray, factor: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    from sklearn.svm import LinearSVC

    model = LinearSVC(C=0.01, class_weight="balanced", random_state=0).fit(code[train], factor[train])
    return model.score(code[test], factor[test])


@checked
def explicitness(
    z: ArrayLike, v: ArrayLike, *, split: tuple[ArrayLike, ArrayLike], names: Sequence[str] | None = None
) -> Score:
    """Explicitness: how well a linear classifier predicts each factor from all codes (Ridgeway and Mozer, section 3).

    It is the one-vs-rest area under the ROC curve on the test rows, averaged over classes, of a logistic regression
    (L2, C = 1) on codes standardised on the training rows. Chance is .5. For the score on the training rows pass them
    as both parts of ``split``.

    Parameters
    ----------
    z : array_like (n, d)
        Codes.
    v : array_like (n, K)
        Discrete factors.
    split : (train, test) positions
        Row numbers of both parts.
    names : sequence of str (K,), optional
        Names of the factors, for error messages.

    Returns
    -------
    Score
        ``each`` (K,), one value per factor.

    Raises
    ------
    ParameterError
        If either part has fewer than two classes, the test rows have a class that the training rows lack, values are
        NaN, or shapes do not match.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    z, v, names, _ = validate(z, v, names=names)
    train, test = _split(split, len(z))
    each = np.empty(v.shape[1])
    for j, factor in enumerate(v.T):
        factor = np.unique(factor, return_inverse=True)[1]
        seen, met = np.unique(factor[train]), np.unique(factor[test])
        if min(len(seen), len(met)) < 2 or not np.isin(met, seen).all():
            expected = f"two or more, all in train: {seen.tolist()}"
            raise ParameterError(f"classes of {names[j]} in test", met.tolist(), expected)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000)).fit(z[train], factor[train])
        sure = model.predict_proba(z[test])
        each[j] = np.mean([roc_auc_score(factor[test] == value, sure[:, seen == value]) for value in met])
    return Score(float(each.mean()), each)


@checked
def evaluate(
    R: ArrayLike,
    z: ArrayLike,
    v: ArrayLike,
    *,
    discrete: bool | ArrayLike,
    split: tuple[ArrayLike, ArrayLike] | None = None,
) -> dict[str, float]:
    """Overall value of every metric of this module with its default options, by name.

    ``effective_codes`` is the mean over the factors that have importance; ``explicitness`` is included when all factors
    are discrete. The arguments are those of :func:`completeness` and :func:`sap`.
    """
    effective = effective_codes(R)
    known = effective[effective > 0]
    scores = {
        "disentanglement": disentanglement(R).overall,
        "completeness": completeness(R).overall,
        "effective_codes": float(known.mean()) if len(known) else 0.0,
        "modularity": modularity(mutual_information(z, v, discrete=discrete)).overall,
        "mig": mig(z, v, discrete=discrete).overall,
        "sap": sap(z, v, discrete=discrete, split=split).overall,
    }
    if np.all(discrete):
        scores["explicitness"] = explicitness(z, v, split=split).overall
    return scores
