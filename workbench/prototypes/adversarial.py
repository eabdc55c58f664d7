"""How near the other class is: a vector moved until the decision changes.

After an open question of Alonso-Jiménez et al. (arXiv 2402.09318).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, numbers, whole
from ..core.errors import ParameterError
from ..core.labels import known
from .learnt import LearntPrototypes
from .tracks import vectors


@dataclass(frozen=True)
class Adversarial:
    """How far a vector moves before the decision is the target; made by :func:`adversarial_example`."""

    z: np.ndarray
    """Moved to just beyond the boundary, float32 (D,); as it was where no way flips it."""
    prototype: int
    """The target's prototype that is reached with the shortest move."""
    length: float
    """L2 length of the move in the units of z; infinite where the decision does not flip on the way."""
    relative: float
    """Length over the distance of z to the nearest of the real vectors given; NaN without any."""
    share: float
    """Length over the whole way to the prototype, in [0, 1]."""
    random_flips: float
    """Share of random directions of equal length that change the decision to the target."""
    towards_others: float
    """Median length of the move towards real vectors of the target class; infinite if most do not flip; NaN without."""


@checked
def adversarial_example(
    model: LearntPrototypes,
    z: ArrayLike,
    target: object,
    *,
    real: ArrayLike | None = None,
    real_labels: ArrayLike | None = None,
    directions: int = 100,
    points: int = 200,
    seed: int = 0,
) -> Adversarial:
    """Move a segment's vector on the straight line to a prototype of another class until that is the decision.

    Parameters
    ----------
    model : LearntPrototypes
    z : array_like (D,)
        One segment.
    target : label
        The class wanted.
    real : array_like (N, D), optional
        Real vectors, not z itself: the unit in which the move is read.
    real_labels : array_like (N,), optional
        Their labels; then moves towards up to ``directions`` real vectors of the target class are compared.
    directions : int
        Controls of each kind.
    points : int
        Places looked at on each line; the boundary is then halved down to a thousandth of a step.
    seed : int
        Draws the controls.

    Returns
    -------
    Adversarial

    Raises
    ------
    ParameterError
        A target that the model does not know, or that z is decided as already.
    """
    if not isinstance(model, LearntPrototypes):
        raise ParameterError("model", type(model).__name__, "LearntPrototypes, as fit_prototypes gives them")
    z = numbers("z", z, ndim=1).astype(np.float32)
    whole("directions", directions, least=1)
    whole("points", points, least=1)
    choices = model.labels.tolist()
    target = target.item() if isinstance(target, np.generic) else target
    column = choices.index(choice("target", target, choices))
    if model.logits(z[None]).argmax() == column:
        raise ParameterError("target", target, "a class that the segment is not decided as already")
    ends = model.prototypes()
    own = np.flatnonzero(model.classes == column)
    shares = [_flip(model, z, ends[j], column, points) for j in own]
    lengths = [share * float(np.linalg.norm(ends[j] - z)) for share, j in zip(shares, own, strict=True)]
    best = int(np.argmin(lengths))
    length, share, prototype = lengths[best], shares[best], int(own[best])
    flipped = np.isfinite(length)
    moved = (z + share * (ends[prototype] - z)).astype(np.float32) if flipped else z
    rng = np.random.default_rng(seed)
    ways = rng.normal(size=(directions, len(z)))
    ways *= (length if flipped else np.linalg.norm(ends[prototype] - z)) / np.linalg.norm(ways, axis=1, keepdims=True)
    random_flips = float(np.mean(model.logits(z + ways).argmax(1) == column))
    unit, others = float("nan"), float("nan")
    if real is not None:
        real = vectors(real, "real")
        if real.shape[1] != len(z):
            raise ParameterError("real.shape", real.shape, f"(N, {len(z)}), as z")
        unit = float(np.linalg.norm(real - z, axis=1).min())
    if real is not None and real_labels is not None:
        rows = np.flatnonzero(known(real_labels, len(real), "real_labels") == target)
        rows = rng.permutation(rows)[:directions]
        far = [_flip(model, z, real[i], column, points) * float(np.linalg.norm(real[i] - z)) for i in rows]
        others = float(np.median(far)) if far else float("nan")
    relative = length / unit if unit else float("inf")
    return Adversarial(moved, prototype, length, relative, share, random_flips, others)


def _flip(model: LearntPrototypes, start: np.ndarray, end: np.ndarray, column: int, points: int) -> float:
    """Least share of the way at which the decision is the column; infinite where it never is."""

    def decided(shares: np.ndarray) -> np.ndarray:
        return model.logits(start + shares[:, None] * (end - start)).argmax(1) == column

    grid = np.linspace(0, 1, points + 1)
    flips = decided(grid)
    if not flips.any():
        return float("inf")
    high = grid[flips.argmax()]
    low = high - 1 / points
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (low, middle) if decided(np.array([middle]))[0] else (middle, high)
    return float(high)
