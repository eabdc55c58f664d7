"""How far two sets of sounds lie apart as sets: the Frechet distance of their embeddings.

Kilgour et al., "Frechet audio distance: a metric for evaluating music enhancement algorithms" (Interspeech 2019), on
the embeddings that it is given. Both sets are taken for normal distributions; the distance depends on how many sounds
there are (with few, it is too large), so that it is read beside a floor: two halves of the real sounds, as large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError


@checked
def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Squared Frechet distance of two normal distributions fitted to vectors, in the vectors' units squared.

    |mean(x) - mean(y)|^2 + tr(X + Y - 2 (X^1/2 Y X^1/2)^1/2), where X and Y are the covariances (divided by the number
    of rows).

    Parameters
    ----------
    x : array-like (N, D)
        Embeddings of one set of sounds, a row a sound.
    y : array-like (M, D)
        Embeddings of the other set.

    Returns
    -------
    float
        0 for the same distribution.

    Raises
    ------
    ParameterError
        Not two matrices of one width, fewer than two rows, or values that are not finite.
    """
    x, y = (numbers(name, rows, ndim=2).astype(np.float64) for name, rows in (("x", x), ("y", y)))
    if x.shape[1] != y.shape[1]:
        raise ParameterError("y", y.shape, f"(M, {x.shape[1]}), as wide as x")
    for name, rows in (("x", x), ("y", y)):
        if len(rows) < 2:
            raise ParameterError(name, rows.shape, "at least two rows")
    apart = x.mean(0) - y.mean(0)
    x, y = ((rows - rows.mean(0)) / np.sqrt(len(rows)) for rows in (x, y))
    # the trace of the root is the sum of the singular values of x y': no root of a D x D matrix is needed
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(max(0.0, apart @ apart + np.square(x).sum() + np.square(y).sum() - 2 * shared))
