"""Baselines for learnt prototypes: a black-box network, a linear probe, and rules without training.

The upper reference is the small network (MLP) of arXiv 2402.09318 on the same vectors. The lower references are rules
without training: the nearest class mean, nearest neighbours, and the centroids from which prototypes start.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn import functional as F

from ..core.checks import checked, whole
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.fitting import RATES, Config, seeded, settle, train
from ..core.labels import known
from ..core.progress import Progress
from ..core.splits import Split, fitting
from ..probes import fit_probes
from .batches import shuffled
from .learnt import LearntConfig, _starts
from .tracks import TrackClassifier, checked_parts, columns, decide, vectors

if TYPE_CHECKING:
    import pandas as pd

TRAINING_VERSION = 1
"""To be increased when a change of the training changes its results; older checkpoints are then refused."""


@dataclass(frozen=True)
class MLPConfig(Config):
    """Configuration of a network with one hidden layer; weights with the lowest validation cross-entropy are kept."""

    PRESETS: ClassVar = {"paper": {"steps": 30_000}}

    hidden: int = 128
    """Number of units of the hidden layer."""
    steps: int = 3000
    """Number of steps of Adam; with a few thousand vectors the lowest validation loss is reached before 3,000."""
    batch: int = 32
    """Number of segments per step."""
    check_every: int = 50
    """Number of steps between validations."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 1e-5
    """L2 penalty of Adam."""

    def __post_init__(self):
        counts = dict.fromkeys(("hidden", "steps", "batch", "check_every"), {"least": 1})
        settle(self, **counts, learning_rate=RATES, weight_decay={"least": 0})


def _network(dim: int, classes: int, config: MLPConfig) -> nn.Sequential:
    """Return linear, ReLU, linear layers; with 128 hidden units, 768 inputs and 10 classes, 99,722 parameters."""
    return nn.Sequential(nn.Linear(dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, classes))


@dataclass(frozen=True, eq=False)
class MLP(TrackClassifier):
    """A trained network on summary vectors; made by :func:`_fit_mlp`."""

    CONFIG: ClassVar = MLPConfig

    config: MLPConfig
    """Configuration of the network and its training."""
    labels: np.ndarray
    """Sorted labels of the C classes, in the order of the columns of the logits, (C,)."""
    network: nn.Module = field(repr=False)
    """The trained network, in eval mode, on the CPU."""
    history: pd.DataFrame = field(repr=False)
    """One row per validation: its number, step, mean training loss since the row before, and valid_loss."""
    step: int
    """Number of steps after which the weights were kept."""
    seconds: float
    """Duration of the training in seconds."""

    @torch.no_grad()
    def logits(self, z: ArrayLike) -> np.ndarray:
        """Return the logits of segments z (N, D), float32 (N, C)."""
        z, dim = vectors(z), self.network[0].in_features
        if z.shape[1] != dim:
            raise ParameterError("z.shape", z.shape, f"(N, {dim}), as in training")
        return self.network(torch.from_numpy(z)).numpy()

    @classmethod
    def _built(cls, config, classes, tensors):
        return _network(tensors["0.weight"].shape[1], classes, config)


@checked
def _fit_mlp(
    z: ArrayLike,
    y: ArrayLike,
    split: Split,
    *,
    tracks: ArrayLike | None = None,
    config: MLPConfig | str = "default",
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | os.PathLike | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> MLP:
    """Train a network with one hidden layer on summary vectors; the split needs no test part.

    Parameters
    ----------
    z, y, split, tracks, seed, device
        As in :func:`evaluate_references`.
    config : MLPConfig or str
        Configuration, or the name of a preset.
    checkpoint : path, optional
        File to which the state is written after each validation; the same call resumes from it.
    progress : bool or callable (done, total)
        True shows a progress bar; a callable is called after each validation.
    **fields
        Fields of :class:`MLPConfig` that replace those of ``config``.

    Raises
    ------
    ParameterError
        If vectors and labels do not match, a class has no training segments, a track is in two parts, the loss
        diverged, or the checkpoint belongs to another training.
    """
    begin, config, z = time.perf_counter(), MLPConfig.named(config, **fields), vectors(z)
    place = chosen_device(device)
    split, labels, y, _ = checked_parts(z, y, split, tracks, needed=("train", "valid"))
    pairs = (values[rows] for rows in (split.train, split.valid) for values in (z, y))
    x, y, x_held, y_held = (torch.from_numpy(values).to(place) for values in pairs)
    with seeded(seed, place):
        network = _network(z.shape[1], len(labels), config).to(place)
    rates = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    adam = torch.optim.Adam(network.parameters(), fused=True, **rates)
    rng, batches, drawn = np.random.default_rng(seed), [], 0

    def advance(number: int) -> dict[str, float]:
        """Make the steps up to the next validation, and return the mean loss over them."""
        nonlocal batches, drawn
        first, last = number * config.check_every, min((number + 1) * config.check_every, config.steps)
        total = torch.zeros((), device=place)
        for step in range(first, last):
            epoch, position = divmod(step, math.ceil(len(x) / config.batch))
            while drawn <= epoch:  # a resumed training first draws the orders of the earlier epochs again
                batches, drawn = shuffled(len(x), config.batch, rng), drawn + 1
            rows = torch.from_numpy(batches[-1 - position]).to(place)
            adam.zero_grad()
            loss = F.cross_entropy(network(x[rows]), y[rows])
            loss.backward()
            adam.step()
            total += loss.detach()
        return {"step": last, "loss": float(total) / (last - first)}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        return {"valid_loss": float(F.cross_entropy(network(x_held), y_held))}

    def identity() -> str:
        weights = {"x": x, "y": y, "x_held": x_held, "y_held": y_held}
        return fingerprint("fit_mlp", TRAINING_VERSION, sorted(asdict(config).items()), seed, weights=weights)

    history, kept = train(
        advance,
        math.ceil(config.steps / config.check_every),
        module=network,
        optimizer=adam,
        validate=validate,
        score=lambda row: -row["valid_loss"],
        learning_rate=config.learning_rate,
        name="fit_mlp",
        checkpoint=checkpoint,
        identity=identity,
        unit="validation",
        progress=progress,
    )
    network.cpu().requires_grad_(False).zero_grad()
    step, seconds = int(history["step"][kept]), time.perf_counter() - begin
    return MLP(config, labels, network, history, step, seconds)


@checked
def evaluate_references(
    z: ArrayLike,
    y: ArrayLike,
    split: Split,
    *,
    tracks: ArrayLike | None = None,
    per_class: int = 5,
    neighbours: int = 5,
    steps: int = 3000,
    drawn_only: bool = False,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> list[dict[str, object]]:
    """Score the baselines for learnt prototypes; a task of :func:`workbench.study` can return the result.

    Parameters
    ----------
    z, y : array_like (N, D), (N,)
        Segments and their labels.
    split : Split
        Rows of train, of valid, on which the step of the MLP is selected, and of test.
    tracks : array_like (N,), optional
        Track of each segment; a track must not be in two parts. By default each segment is a track.
    per_class : int
        Number of centroids per class for the untrained prototypes.
    neighbours : int
        Number of nearest neighbours.
    steps : int
        Number of steps of the MLP.
    drawn_only : bool
        Whether to leave out the models that do not depend on the seed, as for further seeds of a study.
    seed : int
        Seed of the MLP's weights, of the order of segments and of the centroids.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".

    Returns
    -------
    list of dict
        ``model``, ``accuracy`` and ``balanced_accuracy`` of the test tracks for each of "MLP", "untrained prototypes",
        "linear probe", "nearest neighbours" and "nearest centroid"; the last three only without ``drawn_only``.
    """
    z = vectors(z)
    train, _, test = fitting(split, len(z))
    y = known(y, len(z), rows=np.concatenate(list(split)))
    tracks = np.arange(len(z)) if tracks is None else known(tracks, len(z), "tracks")
    own = (z[train], y[train], z[test])
    mlp = _fit_mlp(z, y, split, tracks=tracks, steps=steps, seed=seed, device=device, progress=False)
    logits = {
        "MLP": mlp.logits(z[test]),
        "untrained prototypes": _untrained_prototypes(*own, per_class=per_class, seed=seed),
    }
    if not drawn_only:
        probe = fit_probes({"z": z}, y, split, device=device)
        logits["linear probe"] = np.log(np.maximum(probe.probabilities[0, 0], 1e-30))
        logits["nearest neighbours"] = _nearest_neighbours(*own, neighbours=neighbours)
        logits["nearest centroid"] = _nearest_centroid(*own)
    scores = {
        name: decide(each, mlp.labels, tracks[test]).score(y[test], tracks[test]) for name, each in logits.items()
    }
    return [{"model": name, **score} for name, score in scores.items()]


@checked
def by_heart(z: ArrayLike, splits: Sequence[Split]) -> str | None:
    """Return a caution for :func:`workbench.views.headed` if a linear probe can fit any labels of training segments.

    Parameters
    ----------
    z : array_like (N, D)
        Vectors of the segments.
    splits : sequence of Split
        Splits of the N segments.

    Returns
    -------
    str or None
        None if every training part has more than D + 1 segments. Up to D + 1 points in general position can be
        separated by a hyperplane for any labels.
    """
    z = vectors(z)
    least = min(len(fitting(split, len(z), needed=("train",)).train) for split in splits)
    if least > z.shape[1] + 1:
        return None
    return (
        f"only {least} segments to train on, of {z.shape[1]:,} numbers each: a linear probe or an MLP can know them by "
        "heart, whatever their labels."
    )


def _nearest_centroid(z: ArrayLike, y: ArrayLike, test: ArrayLike) -> np.ndarray:
    """Return minus the squared distance of each test vector to each class's mean, float64 (N_test, C)."""
    z, labels, y, test = _pair(z, y, test)
    means = np.stack([z[y == c].mean(0) for c in range(len(labels))])
    return -_distances(test, means)


def _nearest_neighbours(z: ArrayLike, y: ArrayLike, test: ArrayLike, *, neighbours: int = 5) -> np.ndarray:
    """Return the share of each class among each test vector's nearest training vectors, float64 (N_test, C)."""
    z, labels, y, test = _pair(z, y, test)
    if whole("neighbours", neighbours) not in range(1, len(z) + 1):
        raise ParameterError("neighbours", neighbours, f"from 1 to {len(z)}, the training vectors")
    order = _distances(test, z).argsort(1, kind="stable")[:, :neighbours]
    return np.eye(len(labels))[y[order]].mean(1)


@checked
def _untrained_prototypes(
    z: ArrayLike, y: ArrayLike, test: ArrayLike, *, per_class: int = 5, start: str = "k-means", seed: int = 0
) -> np.ndarray:
    """Return minus the squared distance to the nearest k-means centroid of each class, float64 (N_test, C).

    These are the initial prototypes of :func:`fit_prototypes`; ``per_class`` and ``start`` are as in
    :class:`LearntConfig`.
    """
    z, labels, y, test = _pair(z, y, test)
    config = LearntConfig(per_class=per_class, start=start)
    points = _starts(z.astype(np.float32), y, labels, config, seed)
    return -_distances(test, points).reshape(len(test), len(labels), per_class).min(2)


def _pair(z: ArrayLike, y: ArrayLike, test: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    z, test = vectors(z).astype(np.float64), vectors(test, "test").astype(np.float64)
    labels = np.unique(known(y, len(z)))
    if test.shape[1] != z.shape[1]:
        raise ParameterError("test.shape", test.shape, f"(N, {z.shape[1]}), as z")
    return z, labels, columns(y, labels, len(z)), test


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared distances of all pairs of rows, (len(a), len(b))."""
    return np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
