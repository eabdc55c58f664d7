"""Geometry of a classifier's embeddings: spread within and between classes, distance to prototypes, calibration.

Conventions
-----------
``z`` (N, k) holds embeddings and ``y`` (N,) their classes, of any sortable dtype. :func:`nc1`, :func:`nc2` and
:func:`distances` weight all classes equally, however many clips they have. All sums are in float64.

Metrics
-------
* :func:`nc1`: spread within classes relative to the spread between them; 0 when each class is one point [1]_.
* :func:`nc2`: distance of the class means from a regular simplex; 0 when they form one [1]_ [2]_.
* :func:`distances`: mean distance of clips to their class mean, and between class means.
* :func:`silhouette`: how much nearer each clip is to its own class than to the nearest other class [3]_.
* :func:`nearest_alike`: whether the nearest clip of another group has the same class.
* :func:`mean_cosines`, :func:`cosine_gap`: cosines between class means, and how far they are from those of the
  prototypes.
* :func:`alignment`: distance and cosine between embeddings and their targets, or between a head's weights and the
  prototypes.
* :func:`nearest_prototype`, :func:`head_gap`: classification by the nearest prototype, and the accuracy that the
  classifier's head has beyond it.
* :func:`expected_calibration_error`: difference between predicted confidence and observed accuracy [4]_.
* :func:`weighted_kappa`, :func:`rank_correlation`: agreement of ordered levels [5]_, and of any two rankings.

References
----------
.. [1] Papyan, Han, Donoho: Prevalence of neural collapse during the terminal phase of deep learning training. PNAS
   2020.
.. [2] Zhu et al.: A geometric analysis of neural collapse with unconstrained features. NeurIPS 2021 (the normalised
   distance to the simplex).
.. [3] Rousseeuw: Silhouettes: a graphical aid to the interpretation and validation of cluster analysis. J. Comput.
   Appl. Math. 1987.
.. [4] Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks. ICML 2017 (eq. 3).
.. [5] Cohen: Weighted kappa. Psychological Bulletin 1968.

Examples
--------
>>> import numpy as np
>>> from workbench.metrics import geometry
>>> y = np.repeat([0, 1, 2], 100)
>>> corners = np.eye(3)[y]  # each class is one point, and the points are a simplex
>>> geometry.nc1(corners, y), round(geometry.nc2(corners, y), 6), geometry.silhouette(corners, y)
(0.0, 0.0, 1.0)
>>> abs(geometry.silhouette(np.random.default_rng(0).normal(size=(300, 3)), y)) < 0.05  # noise knows no class
True
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, numbers, whole
from ..core.errors import ParameterError
from ..core.labels import known, labels
from .classification import accuracy
from .lasso import bounded

BINS = 15
"""Default number of bins of the calibration error."""
MOST_LEVELS = 10_000
"""Largest difference between levels in :func:`weighted_kappa`, which makes a table of all levels between them."""
SILHOUETTES = ("euclidean", "cosine", "correlation", "manhattan", "chebyshev", "sqeuclidean", "canberra", "braycurtis")
"""Distances that :func:`silhouette` accepts as ``metric``."""


class Distances(NamedTuple):
    """Euclidean distances within and between classes; made by :func:`distances`."""

    intra: float
    """Distance of clips to their class mean, averaged over the clips of a class and then over classes."""
    inter: float
    """Distance between class means, averaged over pairs of classes."""


class Alignment(NamedTuple):
    """Alignment of vectors z with their targets p, averaged over rows; made by :func:`alignment`."""

    distance: float
    """Mean of ||z - p|| / ||p||, which is 0 at the target and 1 at the origin."""
    cosine: float
    """Mean cosine between z and p."""


@checked
def validate(z: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings as float64 (N, k) and class indices as int64 (N,), in sorted order of the labels.

    Raises
    ------
    ParameterError
        If shapes are wrong, embeddings are not finite (the row is named), or there are fewer than two classes.
    """
    z, y = _rows("z", z), labels("y", y)
    if y.shape != (len(z),):
        raise ParameterError("y.shape", y.shape, f"({len(z)},), a class for each row of z")
    names, index = np.unique(y, return_inverse=True)
    if len(names) < 2:
        raise ParameterError("y", names.tolist(), "of at least two classes")
    return z, index


@checked
def nc1(z: ArrayLike, y: ArrayLike) -> float:
    """Variability collapse, Tr(S_W S_B^+) / C (Papyan et al. 2020); 0 when every clip is at its class mean.

    S_W is the mean covariance within classes and S_B the covariance of the class means. The result is infinite when the
    class means coincide. Only spread in the subspace of the class means counts.
    """
    z, y = validate(z, y)
    means = _means(z, y)
    _, size, axes = np.linalg.svd((means - means.mean(0)) / np.sqrt(len(means)), full_matrices=False)
    size, axes = size[: len(means) - 1], axes[: len(means) - 1]  # C centred means span C - 1 dimensions
    kept = size > 1e-10 * np.abs(z).max()
    if not kept.any():
        return float("inf")
    spread = _means(((z - means[y]) @ axes[kept].T) ** 2, y).mean(0)
    return float(np.sum(spread / size[kept] ** 2) / len(means))


@checked
def nc2(z: ArrayLike, y: ArrayLike) -> float:
    """Distance of the class means from a simplex: ||G / ||G|| - I_c / ||I_c|| ||, Frobenius norms (Zhu et al. 2021).

    G is the Gram matrix of the centred class means, and I_c = I - 1 1^T / C. The value lies between 0 and sqrt(2). It
    is 0 when the centred means form a regular simplex (equal lengths and equal angles), as orthogonal means of equal
    length do. It is NaN when the means coincide.
    """
    z, y = validate(z, y)
    means = _means(z, y)
    if np.ptp(means, axis=0).max() <= 1e-10 * np.abs(z).max():
        return float("nan")
    centred = means - means.mean(0)
    gram, ideal = centred @ centred.T, np.eye(len(means)) - 1 / len(means)
    return float(np.linalg.norm(gram / np.linalg.norm(gram) - ideal / np.linalg.norm(ideal)))


@checked
def distances(z: ArrayLike, y: ArrayLike) -> Distances:
    """Mean Euclidean distance of clips to their class mean, and mean distance between class means."""
    from scipy.spatial.distance import pdist

    z, y = validate(z, y)
    means = _means(z, y)
    own = np.linalg.norm(z - means[y], axis=1)
    return Distances(float(_means(own[:, None], y).mean()), float(pdist(means).mean()))


@checked
def silhouette(z: ArrayLike, y: ArrayLike, *, metric: str = "euclidean") -> float:
    """Mean silhouette of the clips by scikit-learn, in [-1, 1]; ``metric`` is one of :data:`SILHOUETTES`."""
    from sklearn.metrics import silhouette_score

    z, y = validate(z, y)
    choice("metric", metric, SILHOUETTES)
    if y.max() + 1 == len(y):
        raise ParameterError("y", "a class for each clip", "of fewer classes than clips")
    return float(silhouette_score(z, y, metric=metric))


@checked
def alignment(z: ArrayLike, targets: ArrayLike) -> Alignment:
    """Relative distance and cosine between each row and its target, averaged over rows.

    Parameters
    ----------
    z : array_like (N, k)
        Embeddings. The cosine of a row of length 0 counts as 0.
    targets : array_like (N, k)
        Row i is the target of ``z[i]`` in training, as in ``prototypes[y]``.

    Raises
    ------
    ParameterError
        If shapes differ, or a target has length 0.
    """
    z, targets = _rows("z", z), _rows("targets", targets)
    if z.shape != targets.shape:
        raise ParameterError("targets.shape", targets.shape, f"{z.shape}, like z")
    length, size = np.linalg.norm(targets, axis=1), np.linalg.norm(z, axis=1)
    if not length.all():
        raise ParameterError(f"targets[{int(length.argmin())}]", 0, "a vector with a direction")
    cosine = np.sum(z * targets, axis=1) / (np.where(size == 0, 1, size) * length)
    return Alignment(float((np.linalg.norm(z - targets, axis=1) / length).mean()), float(cosine.mean()))


@checked
def mean_cosines(z: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Cosines between the class means of z (N, k), seen from the origin: float64 (C, C), classes in sorted order.

    Means are not centred, because prototypes are drawn around the origin. The row and the column of a class whose mean
    has length 0 are NaN.
    """
    z, y = validate(z, y)
    return _cosines(_means(z, y))


@checked
def cosine_gap(z: ArrayLike, y: ArrayLike, prototypes: ArrayLike) -> float:
    """Mean absolute difference of cosines between class means from those between prototypes, over pairs of classes.

    It says whether embeddings have the angles that their prototypes were drawn with: 0 where all angles are the same,
    whatever the lengths. 2 is the most.

    Parameters
    ----------
    z : array_like (N, k)
        Embeddings.
    y : array_like of int (N,)
        Class of each clip, as the row number in ``prototypes``. Pairs of classes without clips are left out.
    prototypes : array_like (C, k')
        One prototype per class; only their angles count, so they may have another number of dimensions.

    Raises
    ------
    ParameterError
        If classes are not row numbers, or shapes are wrong.
    """
    prototypes = _rows("prototypes", prototypes)
    y = _row_numbers(y, len(prototypes))
    z, _ = validate(z, y)
    present, index = np.unique(y, return_inverse=True)
    apart = np.abs(_cosines(_means(z, index)) - _cosines(prototypes[present]))
    return float(apart[~np.eye(len(present), dtype=bool)].mean())


def _cosines(rows: np.ndarray) -> np.ndarray:
    """Cosines of all pairs of rows; NaN where a row has length 0."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(length > 0, length, np.nan)
    return unit @ unit.T


def _row_numbers(y: ArrayLike, count: int) -> np.ndarray:
    """Return y, or raise an error if it is not the row numbers of ``count`` classes."""
    y = numbers("y", y, ndim=1)
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= count:
        raise ParameterError("y", f"{y.dtype}, {y.min():g} to {y.max():g}", f"integers from 0 to {count - 1}")
    return y


@checked
def nearest_prototype(z: ArrayLike, prototypes: ArrayLike) -> np.ndarray:
    """Index of the prototype (C, k) nearest to each row of z (N, k), int64 (N,); in a tie, the first."""
    z, prototypes = _rows("z", z), _rows("prototypes", prototypes)
    if z.shape[1] != prototypes.shape[1]:
        raise ParameterError("prototypes.shape", prototypes.shape, f"(C, {z.shape[1]})")
    middle = prototypes.mean(0)
    if np.abs(prototypes - middle).max() < 1e-3 * np.abs(middle).max():  # far from 0, rounding would hide the distances
        z, prototypes = z - middle, prototypes - middle
    return (z @ prototypes.T - np.square(prototypes).sum(1) / 2).argmax(1)


@checked
def head_gap(true: ArrayLike, head: ArrayLike, nearest: ArrayLike) -> float:
    """Accuracy of the head's predictions minus that of the nearest prototypes' classes; all are labels (N,)."""
    return accuracy(true, head) - accuracy(true, nearest)


@checked
def nearest_alike(z: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> np.ndarray:
    """Whether the nearest clip of another group has the same class: bool (N,), to be averaged or compared in pairs.

    Parameters
    ----------
    z, y
        As in all of this module.
    groups : array_like (N,), optional
        What must not leak, as two takes of one source are near each other; default: every clip is a group.

    Raises
    ------
    ParameterError
        All clips are of one group, or lengths that differ.

    Examples
    --------
    >>> from workbench.metrics import geometry
    >>> geometry.nearest_alike([[0.0], [0.1], [1.0], [1.2]], ["a", "a", "b", "a"]).tolist()
    [True, True, False, False]
    """
    z, y = validate(z, y)
    groups = np.arange(len(z)) if groups is None else known(groups, len(z), "groups")
    if len(set(groups.tolist())) < 2:
        raise ParameterError("groups", f"{len(z)} clips of one group", "two groups at least")
    z, alike = z - z.mean(0), []
    lengths = np.square(z).sum(1)
    for start in range(0, len(z), 512):
        part = slice(start, start + 512)
        distances = lengths[part, None] + lengths - 2 * z[part] @ z.T
        distances[groups[part, None] == groups] = np.inf
        alike.append(y[distances.argmin(1)] == y[part])
    return np.concatenate(alike)


@checked
def expected_calibration_error(probabilities: ArrayLike, y: ArrayLike, *, bins: int = BINS) -> float:
    """Mean absolute difference between confidence and accuracy over bins of confidence (Guo et al. 2017).

    Confidence is the largest probability of a clip. The mean is weighted by the number of clips in each bin.

    Parameters
    ----------
    probabilities : array_like (N, C)
        Probabilities of the classes; every row sums to 1.
    y : array_like of int (N,)
        True class of each clip, as a column number.
    bins : int
        Number of bins of equal width: (0, 1/bins], (1/bins, 2/bins] and so on.

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    ParameterError
        If rows are not probabilities, or classes are not column numbers.
    """
    p, y = _rows("probabilities", probabilities), labels("y", y)
    whole("bins", bins, least=1)
    if (p < 0).any() or np.abs(p.sum(1) - 1).max() > 1e-4:
        raise ParameterError("probabilities", "rows with negative entries or another sum", "rows that sum to 1")
    if y.shape != (len(p),) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= p.shape[1]:
        raise ParameterError("y", y.tolist()[:8], f"({len(p)},) integers from 0 to {p.shape[1] - 1}")
    confidence, right = p.max(1), p.argmax(1) == y
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(bin_of, weights=right - confidence, minlength=bins)).sum() / len(p))


@checked
def weighted_kappa(true: ArrayLike, predicted: ArrayLike) -> float:
    """Cohen's kappa with quadratic weights: agreement of ordered levels (N,) beyond chance (Cohen 1968).

    An error of two levels costs four times as much as an error of one. Levels are whole numbers. The result is NaN if
    there is only one level, because chance then agrees perfectly.
    """
    from sklearn.metrics import cohen_kappa_score

    pair = _pair("true", true, "predicted", predicted)
    true, predicted = (values.astype(np.int64) if values.dtype.kind in "biu" else values for values in pair)
    for name, values in (("true", true), ("predicted", predicted)):
        if (values != np.round(values)).any() or np.ptp(values) > MOST_LEVELS:
            raise ParameterError(name, f"{values.min():g} to {values.max():g}", "levels, as whole numbers")
    true, predicted = true.astype(np.int64), predicted.astype(np.int64)
    if max(true.max(), predicted.max()) - min(true.min(), predicted.min()) > MOST_LEVELS:
        raise ParameterError("predicted", f"{predicted.min()} to {predicted.max()}", f"within {MOST_LEVELS} of true")
    everything = np.arange(min(true.min(), predicted.min()), max(true.max(), predicted.max()) + 1)
    if len(everything) == 1:
        return float("nan")
    return float(cohen_kappa_score(true, predicted, labels=everything, weights="quadratic"))


@checked
def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of two arrays (N,) by scipy's ``spearmanr``; NaN if one of them is constant."""
    from scipy.stats import spearmanr

    a, b = _pair("a", a, "b", b)
    flat = min(len(np.unique(a)), len(np.unique(b))) < 2
    return float("nan") if flat else float(spearmanr(a, b).statistic)


@checked
def evaluate(
    z: ArrayLike,
    y: ArrayLike,
    *,
    prototypes: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
) -> dict[str, float]:
    """Compute every metric of this module for which the arrays are given.

    Parameters
    ----------
    z : array_like (N, k)
        Embeddings.
    y : array_like of int (N,)
        True class, as the row number in ``prototypes`` and the column number in ``probabilities``.
    prototypes : array_like (C, k), optional
        One prototype per class; adds ``distance``, ``cosine``, ``cosine_gap`` and ``nearest_accuracy``.
    probabilities : array_like (N, C), optional
        Probabilities from a classifier; adds ``calibration_error`` and, with prototypes, ``head_gap``.

    Returns
    -------
    dict of str to float
        nc1, nc2, intra, inter and silhouette, followed by those that were added.
    """
    prototypes = None if prototypes is None else _rows("prototypes", prototypes)
    probabilities = None if probabilities is None else _rows("probabilities", probabilities)
    if prototypes is not None or probabilities is not None:
        y = _row_numbers(y, len(prototypes) if prototypes is not None else probabilities.shape[1])
    scores = {"nc1": nc1(z, y), "nc2": nc2(z, y), **distances(z, y)._asdict(), "silhouette": silhouette(z, y)}
    if prototypes is not None:
        nearest = nearest_prototype(z, prototypes)
        scores |= alignment(z, prototypes[y])._asdict() | {"cosine_gap": cosine_gap(z, y, prototypes)}
        scores["nearest_accuracy"] = float(np.mean(nearest == y))
    if probabilities is not None:
        scores["calibration_error"] = expected_calibration_error(probabilities, y)
        if prototypes is not None:
            scores["head_gap"] = head_gap(y, probabilities.argmax(1), nearest)
    return scores


def _pair(name: str, values: ArrayLike, other_name: str, other: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays of numbers, or raise an error if their lengths differ."""
    values, other = numbers(name, values, ndim=1), numbers(other_name, other, ndim=1)
    if len(values) != len(other):
        raise ParameterError(f"len({other_name})", len(other), f"len({name})={len(values)}")
    return values, other


def _rows(name: str, values: ArrayLike) -> np.ndarray:
    values = numbers(name, values, finite=False, empty=True).astype(np.float64)
    if values.ndim != 2 or not values.size:
        raise ParameterError(f"{name}.shape", values.shape, "two-dimensional, not empty")
    if not np.isfinite(values).all():
        raise ParameterError(f"{name}[{int(np.argwhere(~np.isfinite(values))[0, 0])}]", "nan or inf", "finite")
    return bounded(name, values.reshape(-1, 1)).reshape(values.shape)


def _means(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean row of each class, (C, columns)."""
    members = np.eye(y.max() + 1)[y]
    return members.T @ values / members.sum(0)[:, None]
