"""Codes to compare a sparse code with: does training matter, or would any code with as many numbers do?"""

from __future__ import annotations

import numpy as np

from ..errors import ParameterError


def principal_components(x: np.ndarray, k: int, *, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first k principal components: the best linear code of k numbers.

    Parameters
    ----------
    x : ndarray (N, D)
    k : int
        Numbers kept, as many as a sparse code has non-zero latents.
    train : ndarray of int
        Clips that mean and axes are fitted on.

    Returns
    -------
    code : ndarray, float32 (N, min(k, D, n))
    reconstruction : ndarray, float32 (N, D)

    Raises
    ------
    ParameterError
        k below 1.
    """
    mean, axes = x[train].mean(0), np.linalg.svd(x[train] - x[train].mean(0), full_matrices=False)[2]
    return _project(x - mean, axes[: _positive(k)], mean)


def random_projection(x: np.ndarray, k: int, *, train: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """k random orthonormal directions: a linear code of k numbers that knows nothing of the data but their mean.

    Parameters, returns and errors as in :func:`principal_components`; ``seed`` draws the directions.
    """
    mean, rng = x[train].mean(0), np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((x.shape[1], min(_positive(k), x.shape[1]))))[0].T
    return _project(x - mean, axes.astype(np.float32), mean)


def _positive(k: int) -> int:
    if k < 1:
        raise ParameterError("k", k, "1 or more")
    return k


def _project(centred: np.ndarray, axes: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    code = centred @ axes.T
    return code, code @ axes + mean
