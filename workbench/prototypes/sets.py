"""Sets of class prototypes: C fixed points in R^k towards which embeddings are pulled, drawn before training.

Kinds
-----
``orthonormal``
    Rows of a uniformly (Haar) random orthogonal matrix, for k >= C. All cosines are 0 and all distances
    scale * sqrt(2). This is the choice of Almudévar et al. (arXiv 2406.16145).
``simplex``
    All cosines are -1 / (C - 1), the lowest possible common value, for k >= C - 1. At C = 50 distances are only 1 %
    larger than for ``orthonormal``. An orthonormal set minus its mean is a simplex, up to scale.
``orthoplex``
    Pairs +q_i, -q_i on orthonormal axes, for C <= 2 k: classes 2 i and 2 i + 1 are opposite, all others orthogonal.
    For k + 1 < C <= 2 k no set has a lower largest cosine (Rankin 1955).
``repulsion``
    Points for any C and k that minimise a soft maximum of their cosines (Mettes et al., arXiv 1901.10514; here with a
    soft maximum that is sharpened in stages).
``johnson_lindenstrauss``
    A random orthogonal C x C matrix projected by a Gaussian k x C matrix, the choice of arXiv 2406.16145 for k < C. A
    Gaussian matrix maps orthonormal vectors to independent Gaussian vectors, so the orthogonal matrix has no effect:
    cosines have variance 1 / k, and lengths differ (the squared length has variance 2 / k). For small C the lemma only
    guarantees its bound with more dimensions than classes.
``gaussian``
    Independent N(0, scale^2 / k) entries, which have the same distribution as ``johnson_lindenstrauss``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, number, numbers, whole
from ..core.errors import ParameterError

KINDS = ("orthonormal", "simplex", "orthoplex", "repulsion", "johnson_lindenstrauss", "gaussian")
_STAGES = 5.0 * 2.0 ** np.arange(9)
"""Inverse temperatures of the soft maximum of ``repulsion``, 5 to 1280."""
_STEPS = 250
"""Number of steps of Adam at each inverse temperature."""


def _possible_kinds(classes: int, dim: int) -> tuple[str, ...]:
    """Return the kinds of sets that exist for C classes in k dimensions."""
    exists = {
        "orthonormal": classes <= dim,
        "simplex": classes - 1 <= dim,
        "orthoplex": classes <= 2 * dim,
        "repulsion": dim > 1 or classes == 2,
        "johnson_lindenstrauss": True,
        "gaussian": True,
    }
    return tuple(kind for kind in KINDS if exists[kind])


@checked
def prototypes(
    kind: str, classes: int, dim: int, *, scale: float, seed: int = 0, orthogonal_to_ones: bool = False
) -> np.ndarray:
    """Draw a set of class prototypes.

    Parameters
    ----------
    kind : str
        Kind of the set, one of :data:`KINDS`.
    classes : int
        Number of classes C, at least 2.
    dim : int
        Number of dimensions k of the embeddings.
    scale : float
        Length of each prototype (for the two Gaussian kinds, the root mean square length). It has no default, because
        it determines how strongly the loss pulls; the output of a layer norm has length sqrt(k).
    seed : int
        Seed of the set, independent of the seed of the network's weights.
    orthogonal_to_ones : bool
        Whether to draw within the k - 1 dimensions orthogonal to the all-ones vector, which contain the output of a
        layer norm before its affine map.

    Returns
    -------
    np.ndarray float32 (C, k)
        Prototypes, one row per class.

    Raises
    ------
    ParameterError
        If ``classes`` is below 2, ``dim`` below 1, ``scale`` not positive, or ``kind`` is unknown or does not exist for
        this C and k; the message then says which kinds exist.

    Examples
    --------
    >>> M = prototypes("simplex", 5, 8, scale=3.0)
    >>> M.shape, round(max_cosine(M), 5)
    ((5, 8), -0.25)
    """
    whole("classes", classes, least=2)
    whole("dim", dim, least=1)
    number("scale", scale, above=0)
    free = dim - bool(orthogonal_to_ones)
    if free < 1:
        raise ParameterError("dim", dim, "at least 2 with orthogonal_to_ones")
    possible = _possible_kinds(classes, free)
    if kind not in possible:
        where = f"{classes} classes in {free} dimensions{' orthogonal to ones' if orthogonal_to_ones else ''}"
        raise ParameterError("kind", kind, f"one of {', '.join(possible)} for {where}")
    rows = scale * _DRAW[kind](classes, free, np.random.default_rng(seed))
    return (rows @ _complement_of_ones(dim) if orthogonal_to_ones else rows).astype(np.float32)


def gram(rows: ArrayLike) -> np.ndarray:
    """Return the cosines of all pairs of rows, float64 (C, C).

    Raises
    ------
    ParameterError
        If ``rows`` is not a matrix, or a row has length 0.
    """
    rows = numbers("rows", rows, ndim=2).astype(np.float64)
    norms = np.linalg.norm(rows, axis=1)
    if (norms == 0).any():
        raise ParameterError(f"rows[{int(norms.argmin())}]", "0", "a vector with a direction")
    unit = rows / norms[:, None]
    return unit @ unit.T


def max_cosine(rows: ArrayLike) -> float:
    """Return the largest cosine between two different rows of (C, k); lower values mean better separation."""
    cosines = gram(rows)
    if len(cosines) < 2:
        raise ParameterError("rows", f"{len(cosines)} row", "at least two")
    return float(cosines[~np.eye(len(cosines), dtype=bool)].max())


def _simplex_vertices(classes: int) -> np.ndarray:
    """Return C unit vectors in R^(C-1) with cosines -1 / (C - 1), by the recursion of Kasarla et al. (2206.08704)."""
    rows = np.zeros((classes, classes - 1))
    for i in range(classes - 1):
        rows[i, i] = math.sqrt(1 - np.sum(rows[i, :i] ** 2))
        rows[i + 1 :, i] = (-1 / (classes - 1) - rows[i, :i] @ rows[i, :i]) / rows[i, i]
    return rows


def _haar(rows: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows of a uniformly drawn orthogonal matrix: Q of a QR decomposition with R's diagonal made positive."""
    q, r = np.linalg.qr(rng.standard_normal((dim, rows)))
    return (q * np.sign(np.diag(r))).T


def _simplex(classes: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    return _simplex_vertices(classes) @ _haar(classes - 1, dim, rng)


def _orthoplex(classes: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    axes = _haar((classes + 1) // 2, dim, rng)
    return np.stack([axes, -axes], axis=1).reshape(-1, dim)[:classes]


def _gaussian(classes: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((classes, dim)) / math.sqrt(dim)


def _johnson_lindenstrauss(classes: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    return _haar(classes, classes, rng) @ _gaussian(classes, dim, rng)


def _repulsion(classes: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Minimise log(sum over pairs of exp(b cos)) / b by Adam, for each b of :data:`_STAGES` in turn."""
    unit = _normalised(rng.standard_normal((classes, dim)))
    for sharpness in _STAGES:
        mean, square = np.zeros_like(unit), np.zeros_like(unit)
        rate = 0.5 / sharpness
        for step in range(1, _STEPS + 1):
            cosines = unit @ unit.T
            np.fill_diagonal(cosines, -np.inf)
            weights = np.exp(sharpness * (cosines - cosines.max()))
            slope = 2 * (weights / weights.sum()) @ unit
            slope -= np.sum(slope * unit, axis=1, keepdims=True) * unit  # the part tangential to the sphere
            mean += 0.1 * (slope - mean)
            square += 0.001 * (slope**2 - square)
            update = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-12)
            unit = _normalised(unit - rate * update)
    return unit


def _normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _complement_of_ones(dim: int) -> np.ndarray:
    """Return Helmert's orthonormal basis (k - 1, k) of the vectors whose entries sum to 0."""
    from scipy.linalg import helmert

    return helmert(dim)


_DRAW = {
    "orthonormal": _haar,
    "simplex": _simplex,
    "orthoplex": _orthoplex,
    "repulsion": _repulsion,
    "johnson_lindenstrauss": _johnson_lindenstrauss,
    "gaussian": _gaussian,
}
