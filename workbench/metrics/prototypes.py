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
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ParameterError


def validate(prototypes: ArrayLike, classes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Prototypes float64 (M, D) and classes (M,).

    Raises
    ------
    ParameterError
        Shapes that do not fit, NaN or infinite values (the row is named).
    """
    prototypes, classes = _rows("prototypes", prototypes), np.asarray(classes)
    if classes.shape != (len(prototypes),):
        raise ParameterError("classes.shape", classes.shape, f"({len(prototypes)},), one a prototype")
    return prototypes, classes


def diversity(prototypes: ArrayLike, classes: ArrayLike) -> float:
    """Mean over classes of the mean distance between two prototypes of the class; NaN where no class has two."""
    from scipy.spatial.distance import pdist

    prototypes, classes = validate(prototypes, classes)
    means = [pdist(prototypes[classes == c]).mean() for c in np.unique(classes) if (classes == c).sum() > 1]
    return float(np.mean(means)) if means else float("nan")


def nearest(prototypes: ArrayLike, z: ArrayLike) -> np.ndarray:
    """Row of z nearest to each prototype, int64 (M,)."""
    from .geometry import nearest_prototype

    return nearest_prototype(prototypes, z)


def collapsed(nearest: ArrayLike) -> int:
    """Prototypes, beyond the first, that share a nearest real vector.

    Parameters
    ----------
    nearest : array_like of int (M,)
        Row of the nearest real vector of each prototype; :func:`nearest` finds it.
    """
    nearest = np.asarray(nearest)
    return int(len(nearest) - len(np.unique(nearest)))


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


def purity(classes: ArrayLike, y: ArrayLike, nearest: ArrayLike) -> float:
    """Share of prototypes whose nearest real vector, row ``nearest`` (M,) of those labelled ``y`` (N,), is of their
    class."""
    return float(np.mean(np.asarray(y)[np.asarray(nearest)] == np.asarray(classes)))


def wrong_starts(classes: ArrayLike, started: ArrayLike) -> int:
    """Prototypes of ``classes`` (M,) that ``started`` (M,) from another class."""
    return int(np.sum(np.asarray(classes) != np.asarray(started)))


def evaluate(prototypes: ArrayLike, classes: ArrayLike, z: ArrayLike, y: ArrayLike) -> dict[str, float]:
    """All that prototypes and real vectors allow: diversity, collapsed, near_duplicates (a count) and purity."""
    prototypes, classes = validate(prototypes, classes)
    z = _rows("z", z)
    if z.shape[1] != prototypes.shape[1] or np.shape(y) != (len(z),):
        raise ParameterError("z.shape", z.shape, f"({len(np.asarray(y))}, {prototypes.shape[1]}), a row a label")
    found = nearest(prototypes, z)
    return {
        "diversity": diversity(prototypes, classes),
        "collapsed": collapsed(found),
        "near_duplicates": int(near_duplicates(prototypes, classes).sum()),
        "purity": purity(classes, y, found),
    }


def _rows(name: str, values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ParameterError(f"{name}.shape", values.shape, "two-dimensional, not empty")
    if not np.isfinite(values).all():
        raise ParameterError(f"{name}[{int(np.argwhere(~np.isfinite(values))[0, 0])}]", "nan or inf", "finite")
    return values
