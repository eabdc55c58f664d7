"""Linear control codes with as many numbers as a sparse code has non-zero latents: is the sparse code any better?"""

from __future__ import annotations

import numpy as np

from ..core.checks import checked, numbers, whole
from .data import positions

#: Number of rows that are added to a covariance at once.
ROWS = 4096


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
    mean = x[train].mean(0)
    return _project(x - mean, random_axes(x.shape[1], whole("k", k, least=1), seed=seed), mean)


def random_axes(dim: int, k: int, *, seed: int) -> np.ndarray:
    """Return random orthonormal directions, float32 (min(k, dim), dim)."""
    rng = np.random.default_rng(seed)
    return np.linalg.qr(rng.standard_normal((dim, min(k, dim))))[0].T.astype(np.float32)


def principal_axes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) and all principal directions (min(n, D), D) of many rows (n, D), in order of variance.

    They come from the covariance, in double precision, which for many rows takes far less time than decomposing these.
    """
    mean = x.mean(0, dtype=np.float64)
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for at in range(0, len(x), ROWS):
        centred = x[at : at + ROWS] - mean
        covariance += centred.T @ centred
    axes = np.linalg.eigh(covariance)[1].T[::-1][: min(x.shape)]
    return mean.astype(np.float32), np.ascontiguousarray(axes, np.float32)


def _rows(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = numbers("x", x, ndim=2)
    x = x.astype(np.result_type(x, np.float32), copy=False)  # linalg accepts neither integers nor half precision
    return x, positions(train, "train", len(x))


def _project(centred: np.ndarray, axes: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    code = centred @ axes.T
    return code, code @ axes + mean
