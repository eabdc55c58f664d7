"""Adversarial examples for prototype classifiers: how far must a vector move until another class is predicted?

Alonso-Jiménez et al. (arXiv 2402.09318) leave this as an open question.
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
    """The shortest move of a vector that changes the decision to a target; made by :func:`adversarial_example`."""

    z: np.ndarray
    """The vector moved just across the decision boundary, float32 (D,); unchanged if no move changes the decision."""
    prototype: int
    """Number of the target's prototype towards which the move is shortest."""
    length: float
    """L2 length of the move in the units of z; infinite if the decision does not change on the way."""
    relative: float
    """Length divided by the distance of z to the nearest of the real vectors; NaN without real vectors."""
    share: float
    """Length divided by the distance to the prototype, in [0, 1], or infinite."""
    random_flips: float
    """Share of moves of equal length in random directions that change the decision to the target."""
    towards_others: float
    """Median length of moves towards real vectors of the target class; infinite if most of these do not change the
    decision, NaN without such vectors."""


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
    """Move a segment's vector straight towards a prototype of another class until that class is predicted.

    Parameters
    ----------
    model : LearntPrototypes
        The classifier.
    z : array_like (D,)
        Summary vector of one segment.
    target : label
        The class to be predicted.
    real : array_like (N, D), optional
        Vectors of real sounds other than z. The move is reported relative to the distance to the nearest one.
    real_labels : array_like (N,), optional
        Labels of the real vectors; with them, moves towards up to ``directions`` real vectors of the target class are
        measured as a control.
    directions : int
        Number of controls of each kind.
    points : int
        Number of points tested on each line; the boundary between two of them is then found by bisection to a
        thousandth of their distance.
    seed : int
        Seed of the controls.

    Returns
    -------
    Adversarial

    Raises
    ------
    ParameterError
        If the model does not have the target class, or predicts it for z already.
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
        raise ParameterError("target", target, "another class than the one predicted for the segment")
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
    """Return the smallest share of the way at which class ``column`` is predicted; infinite if it never is."""

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
