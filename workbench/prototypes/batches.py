"""Preparation of training batches: standardisation, class-balanced sampling, mixup and SpecAugment masks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_MIXUP_BETA = 10.0
"""Shares of mixup are drawn from Beta(10, 10), around one half, as in the code of arXiv 2406.16145."""
LIMIT = 10.0
"""Largest absolute value of standardised inputs; a band silent in training would have larger ones in other clips."""


def statistics(train: np.ndarray, how: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return shift and scale of the training clips, float32 (D,), (mels, 1) or (); both None for ``how="none"``."""
    if how == "none":
        return None, None
    if how == "all":
        return np.float32(train.mean(dtype=np.float64)), np.float32(2 * train.std(dtype=np.float64) or 1)
    axes = (0, 2) if train.ndim == 3 else 0
    shift, scale = (f(train, axis=axes, keepdims=True, dtype=np.float64)[0] for f in (np.mean, np.std))
    return shift.astype(np.float32), np.where(scale > 1e-6 * np.abs(shift), scale, 1).astype(np.float32)


def standardised(x: np.ndarray, shift: np.ndarray | None, scale: np.ndarray | None) -> np.ndarray:
    """Return (x - shift) / scale clipped to :data:`LIMIT`, or x if shift is None."""
    return np.ascontiguousarray(x if shift is None else np.clip((x - shift) / scale, -LIMIT, LIMIT))


def shuffled(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return rows 0 to n - 1 in random order in batches of ``size``; the last batch may be smaller."""
    order = rng.permutation(n)
    return [order[start : start + size] for start in range(0, n, size)]


def balanced(labels: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw batches with equally many clips per class, for losses that compare clips within a batch.

    A batch has as many classes as leave at least two clips for each. An epoch has about n clips: it goes through all
    classes equally often, so clips of rare classes are repeated, but never within a batch.

    Parameters
    ----------
    labels : np.ndarray of int (n,)
        Class of each clip.
    size : int
        Clips per batch, at least 2.
    rng : np.random.Generator
        Source of the random order.

    Returns
    -------
    list of np.ndarray of int
        Row numbers of each batch.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    ways = min(len(members), size // 2)
    shots = size // ways
    rounds = max(1, round(len(labels) / (shots * len(members))))
    decks = [np.concatenate([rng.permutation(m) for _ in range(-(-rounds * shots // len(m)))]) for m in members]
    batches = []
    for turn in range(rounds):
        order = rng.permutation(len(members))
        for start in range(0, len(order), ways):
            rows = np.concatenate([decks[c][turn * shots : (turn + 1) * shots] for c in order[start : start + ways]])
            _, first = np.unique(rows, return_index=True)
            batches.append(rows[np.sort(first)])
    return batches


def mixup_shares(n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the weight of each clip in its mixture, float32 (n,): 1, or with probability ``rate`` from Beta(10, 10)."""
    return np.where(rng.random(n) < rate, rng.beta(_MIXUP_BETA, _MIXUP_BETA, n), 1).astype(np.float32)


def mix(values: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """Return share * values + (1 - share) * partners for each row; a clip's inputs, labels and targets share one."""
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return share * values + (1 - share) * partners


def spec_augment(x: Tensor, bands: int, frames: int, rng: np.random.Generator) -> Tensor:
    """Set fewer than ``bands`` adjacent mel bands and fewer than ``frames`` adjacent frames of each clip to 0.

    This is SpecAugment (Park et al. 2019) without time warping. On standardised spectrograms 0 is the training mean.
    The code of arXiv 2406.16145 inserts zeros before it standardises, where 0 is a high level.

    Parameters
    ----------
    x : Tensor (B, mels, frames)
        Standardised spectrograms.
    bands, frames : int
        Upper limits of the widths of the masks; 0 for no mask.
    rng : np.random.Generator
        Source of widths and positions.
    """
    for axis, most in ((1, bands), (2, frames)):
        if most:
            total = x.shape[axis]
            width = rng.integers(0, min(most, total), len(x))
            start = rng.integers(0, total - width + 1)
            place = np.arange(total)
            hidden = (place >= start[:, None]) & (place < (start + width)[:, None])
            x = x.masked_fill(torch.from_numpy(hidden).to(x.device).unsqueeze(3 - axis), 0)
    return x
