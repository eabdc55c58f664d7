"""Codes to compare a sparse code with: does training matter, or would any code with as many numbers do?"""

from __future__ import annotations

import numpy as np

from ..core.checks import checked, numbers, whole
from .data import positions


@checked
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
    x, train = _rows(x, train)
    mean, axes = x[train].mean(0), np.linalg.svd(x[train] - x[train].mean(0), full_matrices=False)[2]
    return _project(x - mean, axes[: whole("k", k, least=1)], mean)


@checked
def random_projection(x: np.ndarray, k: int, *, train: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """k random orthonormal directions: a linear code of k numbers that knows nothing of the data but their mean.

    Parameters, returns and errors as in :func:`principal_components`; ``seed`` draws the directions.
    """
    x, train = _rows(x, train)
    mean, rng = x[train].mean(0), np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((x.shape[1], min(whole("k", k, least=1), x.shape[1]))))[0].T
    return _project(x - mean, axes.astype(np.float32), mean)


def _rows(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = numbers("x", x, ndim=2)
    x = x.astype(np.result_type(x, np.float32), copy=False)  # integers and half precision cannot be factorised
    return x, positions(train, "train", len(x))


def _project(centred: np.ndarray, axes: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    code = centred @ axes.T
    return code, code @ axes + mean
