"""Linear control codes with as many numbers as a sparse code has non-zero latents: is the sparse code any better?"""

from __future__ import annotations

import numpy as np

from ..core.checks import checked, numbers, whole
from .data import positions


@checked
def principal_components(x: np.ndarray, k: int, *, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project onto the first k principal components, the linear code of k numbers with the least squared error.

    Parameters
    ----------
    x : ndarray (N, D)
        Embeddings.
    k : int
        Number of components, as many as the sparse code has non-zero latents.
    train : ndarray of int
        Row numbers of the n clips on which mean and axes are fitted.

    Returns
    -------
    code : ndarray, float32 (N, min(k, D, n))
        Coordinates along the components.
    reconstruction : ndarray, float32 (N, D)
        Embeddings reconstructed from the code.

    Raises
    ------
    ParameterError
        If ``x`` is not two-dimensional, ``k`` is below 1, or ``train`` has no valid rows.
    """
    x, train = _rows(x, train)
    mean, axes = x[train].mean(0), np.linalg.svd(x[train] - x[train].mean(0), full_matrices=False)[2]
    return _project(x - mean, axes[: whole("k", k, least=1)], mean)


@checked
def random_projection(x: np.ndarray, k: int, *, train: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Project onto k random orthonormal directions, a linear code that depends on the data only through their mean.

    Parameters, results and errors are those of :func:`principal_components`, and the code is (N, min(k, D)). ``seed``
    draws the directions.
    """
    x, train = _rows(x, train)
    mean, rng = x[train].mean(0), np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((x.shape[1], min(whole("k", k, least=1), x.shape[1]))))[0].T
    return _project(x - mean, axes.astype(np.float32), mean)


def _rows(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = numbers("x", x, ndim=2)
    x = x.astype(np.result_type(x, np.float32), copy=False)  # linalg accepts neither integers nor half precision
    return x, positions(train, "train", len(x))


def _project(centred: np.ndarray, axes: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    code = centred @ axes.T
    return code, code @ axes + mean
