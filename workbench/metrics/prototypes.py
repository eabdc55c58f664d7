"""Whether prototypes of a class differ, and whether they lie where their class is.

Conventions
-----------
``prototypes`` are (M, D) with their ``classes`` (M,), ``z`` real vectors (N, D) in the same units with labels ``y``
(N,) of the same kind as ``classes``. Distances are Euclidean. Accuracies are in :mod:`.classification`, where
class-normalised accuracy is :func:`~.classification.balanced_accuracy`.

Metrics
-------
* :func:`diversity`: mean distance between prototypes of a class.
* :func:`collapsed`: prototypes that share their nearest real vector with another: what one hears of them is one sound.
* :func:`near_duplicates`: prototypes that pruning by distance would delete [1]_.
* :func:`purity`: share of prototypes whose nearest real vector is of their class.
* :func:`wrong_starts`: prototypes that start from another class than they are trained for.

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
    """Prototypes float64 (M, D) and classes (M,).

    Raises
    ------
    ParameterError
        Shapes that do not fit, NaN or infinite values (the row is named).
    """
    prototypes, classes = _rows("prototypes", prototypes), labels("classes", classes)
    if classes.shape != (len(prototypes),):
        raise ParameterError("classes.shape", classes.shape, f"({len(prototypes)},), one a prototype")
    return prototypes, classes


@checked
def diversity(prototypes: ArrayLike, classes: ArrayLike) -> float:
    """Mean over classes of the mean distance between two prototypes of the class; NaN where no class has two."""
    from scipy.spatial.distance import pdist

    prototypes, classes = validate(prototypes, classes)
    means = [pdist(prototypes[classes == c]).mean() for c in np.unique(classes) if (classes == c).sum() > 1]
    return float(np.mean(means)) if means else float("nan")


@checked
def nearest(prototypes: ArrayLike, z: ArrayLike) -> np.ndarray:
    """Row of z nearest to each prototype, int64 (M,)."""
    return nearest_prototype(prototypes, z)


@checked
def collapsed(nearest: ArrayLike) -> int:
    """Prototypes, beyond the first, that share a nearest real vector.

    Parameters
    ----------
    nearest : array_like of int (M,)
        Row of the nearest real vector of each prototype; :func:`nearest` finds it.
    """
    nearest = _positions("nearest", nearest)
    return int(len(nearest) - len(np.unique(nearest)))


@checked
def near_duplicates(prototypes: ArrayLike, classes: ArrayLike) -> np.ndarray:
    """Which prototypes pruning would delete, bool (M,).

    In their order, a prototype goes whose nearest other prototype is of its class and nearer than the threshold, unless
    it is the one that an earlier one was deleted for. The threshold, of mean squared differences over dimensions, is
    the least between two different prototypes plus half the mean over all pairs, a prototype with itself included. It
    moves with the set: the nearest pair of all is always within it, so that 0 does not come out by itself.
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
    """Share of prototypes whose nearest real vector, row ``nearest`` (M,) of those labelled ``y`` (N,), is of their
    class."""
    classes, y = labels("classes", classes), labels("y", y)
    check_kinds("classes", classes, "y", y)
    nearest = _positions("nearest", nearest, len(y))
    if len(nearest) != len(classes):
        raise ParameterError("len(nearest)", len(nearest), f"len(classes)={len(classes)}")
    return float(np.mean(y[nearest] == classes))


@checked
def wrong_starts(classes: ArrayLike, started: ArrayLike) -> int:
    """Prototypes of ``classes`` (M,) that ``started`` (M,) from another class."""
    classes, started = labels("classes", classes), labels("started", started)
    check_kinds("started", started, "classes", classes)
    if len(started) != len(classes):
        raise ParameterError("len(started)", len(started), f"len(classes)={len(classes)}")
    return int(np.sum(classes != started))


@checked
def evaluate(prototypes: ArrayLike, classes: ArrayLike, z: ArrayLike, y: ArrayLike) -> dict[str, float]:
    """All that prototypes and real vectors allow: diversity, collapsed, near_duplicates (a count) and purity."""
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
