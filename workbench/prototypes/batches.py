"""What batches are made of: standardised inputs, balanced classes, mixup and masks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_MIXUP_BETA = 10.0
"""Shares are drawn from Beta(10, 10), around one half, as the code of arXiv 2406.16145 does."""
LIMIT = 10.0
"""Deviations at which standardised inputs are cut: a band that was silent in training may sound later."""


def statistics(train: np.ndarray, how: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Shift and scale by training clips, float32: (D,), (mels, 1) or (); None for "none"."""
    if how == "none":
        return None, None
    if how == "all":
        return np.float32(train.mean(dtype=np.float64)), np.float32(2 * train.std(dtype=np.float64) or 1)
    axes = (0, 2) if train.ndim == 3 else 0
    shift, scale = (f(train, axis=axes, keepdims=True, dtype=np.float64)[0] for f in (np.mean, np.std))
    return shift.astype(np.float32), np.where(scale > 1e-6 * np.abs(shift), scale, 1).astype(np.float32)


def standardised(x: np.ndarray, shift: np.ndarray | None, scale: np.ndarray | None) -> np.ndarray:
    """(x - shift) / scale, within :data:`LIMIT`; x itself without statistics."""
    return np.ascontiguousarray(x if shift is None else np.clip((x - shift) / scale, -LIMIT, LIMIT))


def shuffled(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows 0 to n - 1 in random order, ``size`` a batch; the last one is what is left."""
    order = rng.permutation(n)
    return [order[start : start + size] for start in range(0, n, size)]


def balanced(labels: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches with equally many clips of each of their classes, for losses that compare clips within a batch.

    As many classes a batch as leave two clips or more for each. An epoch is as many rounds through all classes as see
    about as many clips as there are; rare classes come again, a clip never twice in one batch.

    Parameters
    ----------
    labels : np.ndarray of int (n,)
    size : int
        Clips a batch, at least 2.
    rng : np.random.Generator
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
    """Share that each clip keeps of itself, float32 (n,): 1, or with probability ``rate`` a draw of Beta(10, 10)."""
    return np.where(rng.random(n) < rate, rng.beta(_MIXUP_BETA, _MIXUP_BETA, n), 1).astype(np.float32)


def mix(values: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """share * values + (1 - share) * partners, row by row; inputs, labels and targets of a clip take the same share."""
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return share * values + (1 - share) * partners


def spec_augment(x: Tensor, bands: int, frames: int, rng: np.random.Generator) -> Tensor:
    """Set a random run of fewer than ``bands`` mel bands and one of fewer than ``frames`` frames to 0 in each clip.

    After Park et al. 2019, without the warping. On standardised spectrograms 0 is the training mean; the code of arXiv
    2406.16145 writes its zeros before it standardises, where they are loud.

    Parameters
    ----------
    x : Tensor (B, mels, frames)
    bands, frames : int
        0: no mask.
    rng : np.random.Generator
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
