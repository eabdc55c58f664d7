"""Adversarial examples for prototype classifiers: how little must change until another class is predicted?

:func:`adversarial_example` moves the summary vector of a segment, :func:`adversarial_waveforms` changes its sound.
Alonso-Jiménez et al. (arXiv 2402.09318) leave both as an open question.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, choice, number, numbers, several, whole
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
    column = _column(model, "target", target)
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
        rows = np.flatnonzero(known(real_labels, len(real), "real_labels") == model.labels[column])
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


@dataclass(frozen=True)
class AdversarialWaveforms:
    """Sounds changed until the decision is another; made by :func:`adversarial_waveforms`, N of them."""

    sounds: np.ndarray
    """The changed sounds, just across the decision boundary, float32 (N, samples); unchanged where none was found."""
    snr: np.ndarray
    """Energy of the sound over that of its change in dB, float64 (N,): the higher, the smaller the change. It is -inf
    where no change within the bound changes the decision to the target."""
    prototype: np.ndarray
    """Number of the target's prototype that is nearest to the unchanged sound, int64 (N,)."""
    noise_flips: np.ndarray
    """Share of draws of white noise, as loud as the change, that change the decision to any other class, float64 (N,);
    NaN where no change was found."""

    @property
    def found(self) -> np.ndarray:
        """Whether the decision is changed to the target, bool (N,)."""
        return np.isfinite(self.snr)


@checked
def adversarial_waveforms(
    model: LearntPrototypes,
    embed: Callable[[Tensor], Tensor],
    x: ArrayLike,
    targets: ArrayLike,
    *,
    lead: Literal["prototype", "logit"] = "prototype",
    least_snr: float = 0.0,
    steps: int = 60,
    draws: int = 20,
    seed: int = 0,
) -> AdversarialWaveforms:
    """Change sounds as little as possible until another class is predicted, by projected gradient descent.

    The length of the change and its direction are found together [1]_: after each step along the gradient the change is
    scaled to a length that shrinks while the target is predicted and grows while it is not. The shortest change at
    which the target was predicted is then shortened further by bisection.

    Parameters
    ----------
    model : LearntPrototypes
        The classifier.
    embed : callable
        Maps waveforms, Tensor float32 (B, samples), to summary vectors (B, D), differentiably and each row by itself.
    x : array_like (N, samples)
        Sounds, none of them silent.
    targets : array_like (N,)
        The class to be predicted for each, other than the one that is.
    lead : {"prototype", "logit"}
        What the gradient makes small: the distance to the target's nearest prototype, or by how much the target's logit
        lies below the largest of the others. The second knows the whole classifier, and is the control of the first.
    least_snr : float
        Bound of the change: it is at least so many dB below the sound.
    steps : int
        Number of steps; each computes ``embed`` and its gradient once.
    draws : int
        Number of draws of white noise, as loud as the change, that are tested on each sound as a control.
    seed : int
        Seed of the noise.

    Returns
    -------
    AdversarialWaveforms

    Raises
    ------
    ParameterError
        If a sound is silent, the model does not have a target or predicts it already, or ``embed`` returns another
        shape or has no gradient.

    References
    ----------
    .. [1] Rony et al., "Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and
       defenses", CVPR 2019, arXiv 1811.09600.
    """
    if not isinstance(model, LearntPrototypes):
        raise ParameterError("model", type(model).__name__, "LearntPrototypes, as fit_prototypes gives them")
    sounds = torch.from_numpy(numbers("x", x, ndim=2).astype(np.float32))
    number("least_snr", least_snr)
    if not callable(embed):
        raise ParameterError("embed", type(embed).__name__, "a function from waveforms to vectors")
    whole("steps", steps, least=1)
    whole("draws", draws, least=1)
    targets = known(targets, len(sounds), "targets").tolist()
    columns = torch.tensor(several("targets", targets, lambda name, value: _column(model, name, value)))
    size = sounds.norm(dim=1, keepdim=True)
    if not (size > 0).all():
        raise ParameterError(f"x[{int((size[:, 0] > 0).int().argmin())}]", "a silent sound", "one that is not silent")
    logits, distances, _ = _decided(model, embed, sounds)
    first = logits.argmax(1)
    if (first == columns).any():
        i = int((first == columns).int().argmax())
        raise ParameterError(f"targets[{i}]", targets[i], "another class than the one predicted for the sound")
    foreign = torch.from_numpy(model.classes) != columns[:, None]
    nearest = distances.masked_fill(foreign, torch.inf).argmin(1)

    def loss(logits: Tensor, distances: Tensor) -> Tensor:
        if lead == "prototype":
            return distances.gather(1, nearest[:, None]).sum()
        own = logits.gather(1, columns[:, None])[:, 0]
        return (logits.scatter(1, columns[:, None], -torch.inf).amax(1) - own).sum()

    change = _shortest_change(model, embed, sounds, columns, loss, size * 10 ** (-least_snr / 20), steps)
    found = change.norm(dim=1) > 0
    change = _bisected(model, embed, sounds, change, columns)
    length = change.norm(dim=1, keepdim=True)
    flips = torch.zeros(len(sounds), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        noise = torch.randn(sounds.shape, generator=generator)
        noise *= length / noise.norm(dim=1, keepdim=True)
        flips += (_decided(model, embed, sounds + noise)[0].argmax(1) != first) / draws
    snr = 20 * torch.log10(size.double() / length.double())[:, 0]
    return AdversarialWaveforms(
        (sounds + change).numpy(),
        torch.where(found, snr, -torch.inf).numpy(),
        nearest.numpy(),
        torch.where(found, flips, torch.nan).numpy(),
    )


def _column(model: LearntPrototypes, name: str, target: object) -> int:
    """Return the column of a label in the logits."""
    choices = model.labels.tolist()
    return choices.index(choice(name, target.item() if isinstance(target, np.generic) else target, choices))


def _decided(
    model: LearntPrototypes, embed: Callable[[Tensor], Tensor], x: Tensor, *, gradient: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits (B, C) and distances to prototypes (B, M) of sounds (B, samples), and the sounds as a leaf."""
    x = x.detach().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        z = embed(x)
        dim = model.network.points.shape[1]
        if z.shape != (len(x), dim):
            raise ParameterError("embed", f"a function that returns {tuple(z.shape)}", f"({len(x)}, {dim})")
        if gradient and not z.requires_grad:
            raise ParameterError("embed", "a function without a gradient", "one that is differentiable by torch")
        return *model.network((z.cpu().float() - model.mean) / (model.config.scale * model.deviation)), x


def _shortest_change(
    model: LearntPrototypes,
    embed: Callable[[Tensor], Tensor],
    x: Tensor,
    columns: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    most: Tensor,
    steps: int,
) -> Tensor:
    """Return the shortest change of each sound (B, samples) at which its target was predicted; 0 where it never was.

    ``most`` (B, 1) is the greatest length. The first length is 40 dB below it.
    """
    change, length = torch.zeros_like(x), most / 100
    shortest, least = torch.zeros_like(x), torch.full_like(most, torch.inf)
    for step in range(steps + 1):  # the last pass only looks at what the last step made
        logits, distances, leaf = _decided(model, embed, x + change, gradient=step < steps)
        there = (logits.detach().argmax(1) == columns)[:, None]
        shorter = there & (change.norm(dim=1, keepdim=True) < least)
        shortest = torch.where(shorter, change, shortest)
        least = torch.where(shorter, change.norm(dim=1, keepdim=True), least)
        if step == steps:
            return shortest
        (slope,) = torch.autograd.grad(loss(logits, distances), leaf)
        slope = slope / slope.norm(dim=1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
        along = (1 + math.cos(math.pi * step / steps)) / 2  # from 1 to 0, as the steps become finer
        factor = 1 + 0.02 + 0.4 * along
        if step:
            length = torch.minimum(torch.where(there, length / factor, length * factor), most)
        change = change - (0.05 + along) * length * slope
        change = change * (length / change.norm(dim=1, keepdim=True).clamp_min(torch.finfo(change.dtype).tiny))
    return shortest


def _bisected(
    model: LearntPrototypes, embed: Callable[[Tensor], Tensor], x: Tensor, change: Tensor, columns: Tensor
) -> Tensor:
    """Return each change (B, samples) shortened, by bisection to a thousandth, while the target is predicted."""
    low, high = torch.zeros(len(x), 1), torch.ones(len(x), 1)
    for _ in range(10):
        middle = (low + high) / 2
        there = (_decided(model, embed, x + middle * change)[0].argmax(1) == columns)[:, None]
        low, high = torch.where(there, low, middle), torch.where(there, middle, high)
    return high * change
