"""Metrics of sparse codes: how well they reconstruct their input, and how sparse they are.

Conventions
-----------
``x`` (N, D) are the vectors, ``x_hat`` their reconstructions in the same units, and ``z`` (N, latents) the codes. A
latent is *active* on a row where it is not 0. All sums are in double precision. For sets too large for memory,
:class:`Scores` computes the same results part by part.

Metrics
-------
* :func:`mse`: mean squared error over rows and dimensions, in squared units of x, so it does not compare
  reconstructions of different embeddings.
* :func:`fvu`: fraction of variance unexplained, the squared error divided by that of predicting the mean [1]_. It is 0
  for a perfect reconstruction and 1 for the mean. Divided by the squared length of x instead, the error of vectors far
  from the origin would look small for any code.
* :func:`explained_variance`: 1 - FVU.
* :func:`cosine`: mean cosine between x and its reconstruction.
* :func:`l0`: mean number of active latents per row.
* :func:`latent_density`: share of rows on which each latent is active.
* :func:`dead_fraction`: share of latents that are active on no row. It falls as N grows, so compare at equal N only.

References
----------
.. [1] Gao, Dupre la Tour, Tillman, Goh, Troll, Radford, Sutskever, Leike, Wu: Scaling and evaluating sparse
   autoencoders. ICLR 2025, arXiv 2406.04093 (normalised MSE).

Examples
--------
>>> from workbench.metrics import sparse_coding
>>> x, mean, z = [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]], [[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
>>> sparse_coding.fvu(x, x), sparse_coding.fvu(x, mean)  # perfect, and no better than the mean
(0.0, 1.0)
>>> sparse_coding.l0(z), sparse_coding.dead_fraction(z) == 1 / 3  # one latent a row; the third never
(1.0, True)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from .lasso import bounded


@checked
def validate(x: ArrayLike, x_hat: ArrayLike | None = None, *, name: str = "x") -> tuple[np.ndarray, ...]:
    """Return vectors and reconstructions as float64 (N, D), or raise an error that says what is wrong with them.

    Raises
    ------
    ParameterError
        If arrays are not two-dimensional, empty, of unequal shape, or not finite.
    """
    arrays = {name: x} if x_hat is None else {name: x, f"{name}_hat": x_hat}
    arrays = {
        key: np.asarray(numbers(key, value, finite=False, empty=True), dtype=np.float64)
        for key, value in arrays.items()
    }
    for key, array in arrays.items():
        if array.ndim != 2 or not array.size:
            raise ParameterError(f"{key}.shape", array.shape, "(N, D) with at least one row and column")
        if array.shape != arrays[name].shape:
            raise ParameterError(f"{key}.shape", array.shape, f"that of {name}, {arrays[name].shape}")
        bad = np.flatnonzero(~np.isfinite(array).all(1))
        if len(bad):
            raise ParameterError(f"{key}[{bad[0]}]", "nan or inf", "finite")
        bounded(key, array.reshape(-1, 1))
    return tuple(arrays.values())


class Scores:
    """Metrics of this module accumulated over the parts of a set that is too large for memory.

    Parameters
    ----------
    mean : array_like (D,), optional
        The mean in the denominator of FVU; by default that of all rows added.

    Examples
    --------
    >>> scores = Scores()
    >>> scores.add([[2.0], [4.0]], [[0.0], [0.0]], [[0, 0, 1], [0, 0, 2]])
    >>> {name: float(value) for name, value in scores.result().items()}
    {'mse': 10.0, 'fvu': 10.0, 'cosine': 0.0, 'l0': 1.0, 'dead': 0.6666666666666666}
    """

    @checked
    def __init__(self, *, mean: ArrayLike | None = None):
        self.rows = 0
        self._reference = None if mean is None else numbers("mean", mean, ndim=1).astype(np.float64)
        self._varies = False  # whether any row differs from the mean; rounding alone can make the spread positive
        self._error = self._spread = self._cosine = 0.0
        self._first: np.ndarray | None = None
        self._mean: np.ndarray | None = None
        self._active: np.ndarray | None = None

    @checked
    def add(self, x: ArrayLike, x_hat: ArrayLike, z: ArrayLike) -> None:
        """Add rows: x and x_hat (n, D), z (n, latents)."""
        x, x_hat = validate(x, x_hat)
        z = numbers("z", z, empty=True)
        if z.ndim != 2 or len(z) != len(x):
            raise ParameterError("z.shape", z.shape, f"({len(x)}, latents): one row a row of x")
        if self._active is not None and len(self._active) != z.shape[1]:
            raise ParameterError("z.shape", z.shape, f"({len(x)}, {len(self._active)}), latents as before")
        self._add_vectors(x, x_hat)
        active = np.count_nonzero(z, axis=0)
        self._active = active if self._active is None else self._active + active

    def _add_vectors(self, x: np.ndarray, x_hat: np.ndarray) -> None:
        known = self._reference if self._reference is not None else self._mean
        if known is not None and known.shape != x.shape[1:]:
            if self._reference is not None:
                raise ParameterError("mean.shape", known.shape, f"{x.shape[1:]}, the dimensions of x")
            raise ParameterError("x.shape", x.shape, f"({len(x)}, {len(known)}), dimensions as before")
        self._error += float(np.square(x - x_hat).sum())
        lengths = np.sqrt(np.square(x).sum(1) * np.square(x_hat).sum(1))
        self._cosine += float(
            np.divide((x * x_hat).sum(1), lengths, out=np.zeros_like(lengths), where=lengths > 0).sum()
        )
        before, self.rows = self.rows, self.rows + len(x)
        self._first = x[0] if self._first is None else self._first
        self._varies = self._varies or bool((x != (self._first if self._reference is None else self._reference)).any())
        if self._reference is not None:
            self._spread += float(np.square(x - self._reference).sum())
            return
        mean = x.mean(0)
        self._spread += float(np.square(x - mean).sum())
        if self._mean is None:
            self._mean = mean
        else:  # add the spread between the means of both parts (Chan, Golub, LeVeque 1983)
            apart = mean - self._mean
            self._spread += float(np.square(apart).sum()) * before * len(x) / self.rows
            self._mean = self._mean + apart * len(x) / self.rows

    @property
    def density(self) -> np.ndarray:
        """Share of rows on which each latent was active, float64 (latents,)."""
        return self._active / self.rows

    def result(self) -> dict[str, float]:
        """Return mse, fvu, cosine, l0 and dead (the dead fraction) of all rows added so far.

        ``fvu`` is nan if every row equals the mean, because there is then no variance to explain.
        """
        if not self.rows:
            raise ParameterError("rows", 0, "at least 1: nothing was added")
        result = self._vector_result()
        return result | {"l0": float(self.density.sum()), "dead": float(np.mean(self._active == 0))}

    def _vector_result(self) -> dict[str, float]:
        dimensions = len(self._mean if self._reference is None else self._reference)
        return {
            "mse": self._error / (self.rows * dimensions),
            "fvu": self._error / self._spread if self._spread > 0 and self._varies else float("nan"),
            "cosine": self._cosine / self.rows,
        }


def _score(x: ArrayLike, x_hat: ArrayLike, metric: str, mean: ArrayLike | None = None) -> float:
    scores = Scores(mean=mean)
    scores._add_vectors(*validate(x, x_hat))
    return scores._vector_result()[metric]


@checked
def mse(x: ArrayLike, x_hat: ArrayLike) -> float:
    """Mean squared error between x and x_hat (N, D) over rows and dimensions."""
    return _score(x, x_hat, "mse")


@checked
def fvu(x: ArrayLike, x_hat: ArrayLike, *, mean: ArrayLike | None = None) -> float:
    """Fraction of variance unexplained: ``sum |x - x_hat|^2 / sum |x - mean|^2``.

    Parameters
    ----------
    x, x_hat : array_like (N, D)
        Vectors and their reconstructions.
    mean : array_like (D,), optional
        Mean in the denominator; by default that of x. For a test set pass the mean of the training set.

    Returns
    -------
    float
        0 at best; nan if x does not vary.

    Examples
    --------
    >>> fvu([[2.0], [4.0]], [[0.0], [0.0]]), fvu([[2.0], [4.0]], [[3.0], [3.0]])
    (10.0, 1.0)
    """
    return _score(x, x_hat, "fvu", mean)


@checked
def explained_variance(x: ArrayLike, x_hat: ArrayLike, *, mean: ArrayLike | None = None) -> float:
    """Explained variance, 1 - :func:`fvu`; below 0 if the mean would reconstruct x better."""
    return 1.0 - fvu(x, x_hat, mean=mean)


@checked
def cosine(x: ArrayLike, x_hat: ArrayLike) -> float:
    """Mean over rows of the cosine between x and x_hat (N, D); the cosine of a row of length 0 counts as 0."""
    return _score(x, x_hat, "cosine")


@checked
def l0(z: ArrayLike) -> float:
    """Mean number of active latents per row of z (N, latents)."""
    return float(latent_density(z).sum())


@checked
def latent_density(z: ArrayLike) -> np.ndarray:
    """Share of rows of z (N, latents) on which each latent is active, float64 (latents,)."""
    (z,) = validate(z, name="z")
    return np.count_nonzero(z, axis=0) / len(z)


@checked
def dead_fraction(z: ArrayLike) -> float:
    """Share of latents that are active on no row of z (N, latents)."""
    return float(np.mean(latent_density(z) == 0))


@checked
def evaluate(x: ArrayLike, x_hat: ArrayLike, z: ArrayLike, *, mean: ArrayLike | None = None) -> dict[str, float]:
    """Compute mse, fvu, cosine, l0 and dead (the dead fraction).

    Parameters
    ----------
    x, x_hat : array_like (N, D)
        Vectors and their reconstructions.
    z : array_like (N, latents)
        Codes.
    mean
        As in :func:`fvu`.

    Returns
    -------
    dict of str to float
    """
    scores = Scores(mean=mean)
    scores.add(x, x_hat, z)
    return scores.result()
