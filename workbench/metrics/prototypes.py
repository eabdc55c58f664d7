"""Metrics of learnt prototypes: how different the prototypes of a class are, and whether they lie near their class.

Conventions
-----------
``prototypes`` (M, D) have ``classes`` (M,). ``z`` (N, D) are embeddings of clips in the same units, with labels ``y``
(N,) of the same type as ``classes``. Distances are Euclidean. Accuracies are in :mod:`.classification`, where
class-normalised accuracy is :func:`~.classification.balanced_accuracy`.

Metrics
-------
* :func:`diversity`: mean distance between prototypes of the same class.
* :func:`collapsed`: number of prototypes whose nearest embedding is already that of another, so that they would be
  played as the same sound.
* :func:`near_duplicates`: prototypes that pruning by distance would delete [1]_.
* :func:`purity`: share of prototypes whose nearest embedding is of their class.
* :func:`wrong_starts`: number of prototypes that were initialised from another class than their own.

References
----------
.. [1] Zinemanas, Rocamora, Miron, Font, Serra: An interpretable deep learning model for automatic sound classification.
   Electronics 10(7), 850, 2021; the threshold is that of the published code.

Examples
--------
>>> from workbench.metrics import prototypes
>>> points, classes = [[0.0, 0.0], [0.0, 2.0], [9.0, 0.0], [9.0, 2.0]], ["dog", "dog", "cat", "cat"]
>>> prototypes.diversity(points, classes)  # two of a class are 2 apart
2.0
>>> prototypes.purity(classes, classes, prototypes.nearest(points, points))  # each lies on a vector of its class
1.0
>>> prototypes.purity(classes, classes, [0, 1, 2, 0]), prototypes.collapsed([0, 1, 2, 0])  # the last lies at a dog
(0.75, 1)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from ..core.labels import check_kinds, labels
from .geometry import _rows, nearest_prototype


@checked
def validate(prototypes: ArrayLike, classes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return prototypes as float64 (M, D) and classes (M,).

    Raises
    ------
    ParameterError
        If shapes do not match, or values are not finite (the row is named).
    """
    prototypes, classes = _rows("prototypes", prototypes), labels("classes", classes)
    if classes.shape != (len(prototypes),):
        raise ParameterError("classes.shape", classes.shape, f"({len(prototypes)},), one a prototype")
    return prototypes, classes


@checked
def diversity(prototypes: ArrayLike, classes: ArrayLike) -> float:
    """Mean over classes of the mean distance between two prototypes of the class; NaN if no class has two."""
    from scipy.spatial.distance import pdist

    prototypes, classes = validate(prototypes, classes)
    means = [pdist(prototypes[classes == c]).mean() for c in np.unique(classes) if (classes == c).sum() > 1]
    return float(np.mean(means)) if means else float("nan")


@checked
def nearest(prototypes: ArrayLike, z: ArrayLike) -> np.ndarray:
    """Row number in z (N, D) of the embedding nearest to each prototype (M, D), int64 (M,)."""
    return nearest_prototype(prototypes, z)


@checked
def collapsed(nearest: ArrayLike) -> int:
    """Number of prototypes minus the number of different embeddings that are nearest to one of them.

    Parameters
    ----------
    nearest : array_like of int (M,)
        Row number of the embedding nearest to each prototype, as returned by :func:`nearest`.
    """
    nearest = _positions("nearest", nearest)
    return int(len(nearest) - len(np.unique(nearest)))


@checked
def near_duplicates(prototypes: ArrayLike, classes: ArrayLike) -> np.ndarray:
    """Which prototypes pruning by distance would delete, bool (M,).

    The distance is the mean over dimensions of squared differences. Prototypes are visited in order. One is deleted if
    its nearest other prototype is of the same class and closer than a threshold, unless an earlier prototype was
    deleted as a duplicate of it. The threshold is the smallest non-zero distance plus half the mean over all pairs,
    including each prototype with itself. It depends on the set: the closest pair is always below it, so at least one
    prototype is deleted whenever that pair is of one class.
    """
    from scipy.spatial.distance import cdist

    prototypes, classes = validate(prototypes, classes)
    apart = cdist(prototypes, prototypes, "sqeuclidean") / prototypes.shape[1]
    others = apart + np.where(np.eye(len(apart), dtype=bool), np.inf, 0)
    different = apart[apart > 0]
    threshold = (different.min() if len(different) else 0.0) + apart.mean() / 2
    deleted, kept = np.zeros(len(apart), dtype=bool), set()
    for j, row in enumerate(others):
        partner = int(row.argmin())
        close = row[partner] < threshold or row[partner] == 0
        if close and classes[partner] == classes[j] and j not in kept:
            deleted[j] = True
            kept.add(partner)
    return deleted


@checked
def purity(classes: ArrayLike, y: ArrayLike, nearest: ArrayLike) -> float:
    """Share of prototypes whose nearest embedding is of their class.

    Parameters
    ----------
    classes : array_like (M,)
        Class of each prototype.
    y : array_like (N,)
        Class of each embedding.
    nearest : array_like of int (M,)
        Row number of the embedding nearest to each prototype, as returned by :func:`nearest`.
    """
    classes, y = labels("classes", classes), labels("y", y)
    check_kinds("classes", classes, "y", y)
    nearest = _positions("nearest", nearest, len(y))
    if len(nearest) != len(classes):
        raise ParameterError("len(nearest)", len(nearest), f"len(classes)={len(classes)}")
    return float(np.mean(y[nearest] == classes))


@checked
def wrong_starts(classes: ArrayLike, started: ArrayLike) -> int:
    """Number of prototypes of ``classes`` (M,) that were initialised from another class, ``started`` (M,)."""
    classes, started = labels("classes", classes), labels("started", started)
    check_kinds("started", started, "classes", classes)
    if len(started) != len(classes):
        raise ParameterError("len(started)", len(started), f"len(classes)={len(classes)}")
    return int(np.sum(classes != started))


@checked
def evaluate(prototypes: ArrayLike, classes: ArrayLike, z: ArrayLike, y: ArrayLike) -> dict[str, float]:
    """Compute diversity, collapsed, near_duplicates (as a count) and purity of prototypes and embeddings."""
    prototypes, classes = validate(prototypes, classes)
    z, y = _rows("z", z), labels("y", y)
    if z.shape[1] != prototypes.shape[1] or y.shape != (len(z),):
        raise ParameterError("z.shape", z.shape, f"({len(y)}, {prototypes.shape[1]}), a row a label")
    rows = nearest(prototypes, z)
    return {
        "diversity": diversity(prototypes, classes),
        "collapsed": collapsed(rows),
        "near_duplicates": int(near_duplicates(prototypes, classes).sum()),
        "purity": purity(classes, y, rows),
    }


def _positions(name: str, rows: ArrayLike, count: int | None = None) -> np.ndarray:
    rows = numbers(name, rows, ndim=1)
    if rows.dtype.kind not in "iu" or rows.min() < 0 or (count is not None and rows.max() >= count):
        expected = "positions of rows" + (f" from 0 to {count - 1}" if count is not None else "")
        raise ParameterError(name, f"{rows.dtype}, {rows.min():g} to {rows.max():g}", expected)
    return rows
