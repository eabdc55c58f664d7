"""How a training run goes, and what its batches are made of: standardised inputs, balanced classes, mixup, masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.checks import choice, number, several, whole
from ..core.errors import ParameterError
from ..core.learning import RATES, configured, settle

MIXUP_BETA = 10.0
"""Shares are drawn from Beta(10, 10), around one half, as the code of arXiv 2406.16145 does."""


@dataclass(frozen=True)
class Recipe:
    """How to train: optimiser, schedule, augmentation and when to stop."""

    epochs: int = 40
    """Times that the training clips are seen, at most."""
    batch: int = 32
    """Clips a step."""
    learning_rate: float = 1e-3
    """Highest."""
    weight_decay: float = 1e-4
    """Of the optimiser; for "adam" it is an L2 penalty."""
    optimizer: str = "adamw"
    """"adam" or "adamw"."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of the optimiser."""
    schedule: str = "constant"
    """After the warm-up: "constant", "cosine" (to a thousandth) or "decay" (x 0.85 each epoch)."""
    warmup: int = 0
    """Epochs of linear rise to the highest rate."""
    mixup: float = 0.0
    """Probability that a training clip is mixed with another (:func:`mix`)."""
    spec_augment: tuple[int, int] = (0, 0)
    """Masks are of fewer than this many bands and frames; (0, 0): none."""
    keep: str = "best"
    """"best": the epoch of highest validation accuracy (ties: lowest cross-entropy, then the first); or "last"."""
    patience: int | None = None
    """Stop after as many epochs without a better one; None: never."""
    standardise: str = "each"
    """"each" dimension or mel band; "all" together to mean 0 and deviation 1/2, as AST does; or "none"."""

    def __post_init__(self):
        choice("optimizer", self.optimizer, ("adam", "adamw"))
        choice("schedule", self.schedule, ("constant", "cosine", "decay"))
        choice("keep", self.keep, ("best", "last"))
        choice("standardise", self.standardise, ("each", "all", "none"))
        counts = {"epochs": {"least": 1}, "batch": {"least": 2}, "warmup": {"least": 0}, "patience": {"least": 1}}
        rates = {"learning_rate": RATES, "weight_decay": {"least": 0}, "mixup": {"least": 0, "most": 1}}
        settle(self, **counts, **rates)
        betas = several("betas", self.betas, lambda name, beta: number(name, beta, least=0, below=1))
        masks = several("spec_augment", self.spec_augment, lambda name, most: whole(name, most, least=0))
        for name, pair in (("betas", betas), ("spec_augment", masks)):
            if len(pair) != 2:
                raise ParameterError(name, getattr(self, name), "two numbers")
            object.__setattr__(self, name, tuple(pair))
        if self.patience is not None and self.keep == "last":
            raise ParameterError("patience", self.patience, "None when the last epoch is kept")

    @classmethod
    def preset(cls, name: str, **fields: object) -> Recipe:
        """One of :data:`PRESETS`, with some fields changed; what a preset leaves out is as in the fields above."""
        return configured(cls, cls(**PRESETS[choice("preset", name, tuple(PRESETS))]), fields)

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, 0 first."""
        if epoch < self.warmup:
            return self.learning_rate * (epoch + 1) / self.warmup
        if self.schedule == "decay":
            return self.learning_rate * 0.85 ** (epoch - max(self.warmup, 1) + 1)
        if self.schedule == "cosine":
            turn = math.cos(math.pi * (epoch - self.warmup) / max(self.epochs - self.warmup, 1))
            return self.learning_rate * (0.001 + 0.999 * (1 + turn) / 2)
        return self.learning_rate


_PAPER = {"epochs": 25, "warmup": 5, "keep": "last"}
_PAPER_AST = {"optimizer": "adam", "betas": (0.95, 0.999), "weight_decay": 5e-6, "schedule": "decay"}
_PAPER_AST |= _PAPER | {"standardise": "all"}
_PAPER_BEATS = {"batch": 16, "betas": (0.9, 0.98), "weight_decay": 0.01, "standardise": "none"} | _PAPER
_KS2 = {"epochs": 30, "mixup": 0.5}

PRESETS: dict[str, dict] = {
    "default": {},
    "paper": _PAPER_AST | {"learning_rate": 6.7e-6, "spec_augment": (24, 96)},
    "paper-ks2": _PAPER_AST | _KS2 | {"learning_rate": 6.25e-5, "spec_augment": (48, 48)},
    "paper-beats": _PAPER_BEATS | {"learning_rate": 8e-6, "schedule": "cosine"},
    "paper-beats-ks2": _PAPER_BEATS | _KS2 | {"learning_rate": 1e-4},
    "conv": {"epochs": 40, "schedule": "cosine", "spec_augment": (8, 24)},
    "efficientat": {"epochs": 12, "learning_rate": 3e-4, "warmup": 1, "schedule": "cosine", "standardise": "none"},
    "ecapa": {"epochs": 30, "learning_rate": 1e-4, "warmup": 3, "schedule": "cosine", "standardise": "none"},
}
"""Recipes by name.

"paper" and "paper-ks2" fine-tune AST on ESC-50 and on Speech Commands (35 words) as the code of arXiv 2406.16145 does,
"paper-beats" and "paper-beats-ks2" BEATs; there warm-up rises from 0, where that code starts AST's above its highest.
The others are this package's: "conv" trains a small network from scratch, "efficientat" and "ecapa" fine-tune those.
"""

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
    return np.where(rng.random(n) < rate, rng.beta(MIXUP_BETA, MIXUP_BETA, n), 1).astype(np.float32)


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
