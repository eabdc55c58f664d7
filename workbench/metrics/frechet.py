"""Frechet audio distance: how far the distributions of embeddings of two sets of sounds lie apart.

The definition is that of Kilgour et al., "Frechet audio distance: a metric for evaluating music enhancement algorithms"
(Interspeech 2019), on any embeddings. Both sets are modelled as normal distributions. The estimate is too large for
small sets, so compare it with a floor: the distance between two disjoint sets of real sounds of the same size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError


@checked
def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Squared Frechet distance between normal distributions fitted to two sets of vectors, in their units squared.

    |mean(x) - mean(y)|^2 + tr(X + Y - 2 (X^1/2 Y X^1/2)^1/2), where X and Y are the covariances (divided by the number
    of rows).

    Parameters
    ----------
    x : array-like (N, D)
        Embeddings of one set of sounds, one row per sound.
    y : array-like (M, D)
        Embeddings of the other set.

    Returns
    -------
    float
        0 if means and covariances are equal.

    Raises
    ------
    ParameterError
        If the arrays are not two-dimensional with the same number of columns, have fewer than two rows, or have values
        that are not finite.
    """
    x, y = (numbers(name, rows, ndim=2).astype(np.float64) for name, rows in (("x", x), ("y", y)))
    if x.shape[1] != y.shape[1]:
        raise ParameterError("y", y.shape, f"(M, {x.shape[1]}), as wide as x")
    for name, rows in (("x", x), ("y", y)):
        if len(rows) < 2:
            raise ParameterError(name, rows.shape, "at least two rows")
    apart = x.mean(0) - y.mean(0)
    x, y = ((rows - rows.mean(0)) / np.sqrt(len(rows)) for rows in (x, y))
    # tr((X^1/2 Y X^1/2)^1/2) is the sum of the singular values of x y', so no square root of a D x D matrix is needed
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(max(0.0, apart @ apart + np.square(x).sum() + np.square(y).sum() - 2 * shared))
