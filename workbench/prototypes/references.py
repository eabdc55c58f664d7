"""What prototypes are to be read against: a network that need not explain itself, and rules that learn nothing.

The ceiling is the small network of arXiv 2402.09318 on the same vectors, the floor are rules without training: class
means, nearest neighbours, and the centroids that prototypes start from. Between them is a linear probe.
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
"""To be raised when training changes its numbers: checkpoints of before are then refused."""


@dataclass(frozen=True)
class MLPConfig(Config):
    """A network of one hidden layer and its training; the step of lowest validation cross-entropy is kept."""

    PRESETS: ClassVar = {"paper": {"steps": 30_000}}

    hidden: int = 128
    """The hidden layer has so many units."""
    steps: int = 3000
    """Adam makes so many steps; on some thousand vectors the lowest validation loss comes before 3,000."""
    batch: int = 32
    """A step is made on so many segments."""
    check_every: int = 50
    """There are so many steps between validations."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    weight_decay: float = 1e-5
    """Adam's L2 penalty."""

    def __post_init__(self):
        counts = dict.fromkeys(("hidden", "steps", "batch", "check_every"), {"least": 1})
        settle(self, **counts, learning_rate=RATES, weight_decay={"least": 0})


def _network(dim: int, classes: int, config: MLPConfig) -> nn.Sequential:
    """Linear to 128, ReLU, linear to the classes: 99,722 parameters for 768 dimensions and 10 classes."""
    return nn.Sequential(nn.Linear(dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, classes))


@dataclass(frozen=True, eq=False)
class MLP(TrackClassifier):
    """A trained network on summary vectors; made by :func:`_fit_mlp`."""

    CONFIG: ClassVar = MLPConfig

    config: MLPConfig
    """How it was trained."""
    labels: np.ndarray
    """(C,) sorted labels; columns of the logits."""
    network: nn.Module = field(repr=False)
    """The trained network, in eval mode, on the CPU."""
    history: pd.DataFrame = field(repr=False)
    """Row a validation: its number, step, loss (training mean since the row before) and valid_loss."""
    step: int
    """So many steps had been made when the weights kept were reached."""
    seconds: float
    """Time of the training."""

    @torch.no_grad()
    def logits(self, z: ArrayLike) -> np.ndarray:
        """Logits of segments, float32 (N, C)."""
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
        The settings, or the name of a preset.
    checkpoint : path, optional
        File to which the state is written after each validation; a training that finds it goes on from there.
    progress : bool or callable (done, total)
    **fields
        Fields of :class:`MLPConfig`, in place of the config's.

    Raises
    ------
    ParameterError
        Vectors or labels that do not fit, a class without training segments, a track in two parts, a loss that ran
        away, or a checkpoint of another training.
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
        """Make the steps up to the next validation; the mean loss over them."""
        nonlocal batches, drawn
        first, last = number * config.check_every, min((number + 1) * config.check_every, config.steps)
        total = torch.zeros((), device=place)
        for step in range(first, last):
            epoch, position = divmod(step, math.ceil(len(x) / config.batch))
            while drawn <= epoch:  # a training that goes on draws what it drew before
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
    """Measure what prototypes are to be read against: a task of :func:`workbench.study` returns this.

    Parameters
    ----------
    z, y : array_like (N, D), (N,)
        Segments and their labels.
    split : Split
        Rows of train, of valid, on which the step of the MLP is chosen, and of test.
    tracks : array_like (N,), optional
        Track of each segment, which must not be in two parts.
    per_class : int
        Number of centroids of each class of the untrained prototypes.
    neighbours : int
        Number of nearest neighbours.
    steps : int
        Number of steps of the MLP.
    drawn_only : bool
        Leave out what the seed does not change, as with the second seed of a study.
    seed : int
        Draws the weights of the MLP, the order of segments and the centroids.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".

    Returns
    -------
    list of dict
        For each model ("MLP", "untrained prototypes", "linear probe", "nearest neighbours", "nearest centroid"; the
        last three without ``drawn_only``) ``model``, ``accuracy`` and ``balanced_accuracy`` of the test tracks.
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
    """A caution for :func:`workbench.views.headed` where a linear probe can tell any labels of its training segments.

    Parameters
    ----------
    z : array_like (N, D)
    splits : sequence of Split
        Of the N segments.

    Returns
    -------
    str or None
        None where every training part has more than D + 1 segments: fewer points, in general position, are told apart
        by a hyperplane however they are labelled.
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
    """Minus the squared distance of each test vector to each class's mean, float64 (N_test, C), classes sorted."""
    z, labels, y, test = _pair(z, y, test)
    means = np.stack([z[y == c].mean(0) for c in range(len(labels))])
    return -_distances(test, means)


def _nearest_neighbours(z: ArrayLike, y: ArrayLike, test: ArrayLike, *, neighbours: int = 5) -> np.ndarray:
    """Share of each class among the nearest training vectors of each test vector, float64 (N_test, C)."""
    z, labels, y, test = _pair(z, y, test)
    if whole("neighbours", neighbours) not in range(1, len(z) + 1):
        raise ParameterError("neighbours", neighbours, f"from 1 to {len(z)}, the training vectors")
    order = _distances(test, z).argsort(1, kind="stable")[:, :neighbours]
    return np.eye(len(labels))[y[order]].mean(1)


@checked
def _untrained_prototypes(
    z: ArrayLike, y: ArrayLike, test: ArrayLike, *, per_class: int = 5, start: str = "k-means", seed: int = 0
) -> np.ndarray:
    """Minus the squared distance to each class's nearest centroid, float64 (N_test, C).

    What k-means of each class decides before anything is trained; ``per_class``, ``start`` and the errors are those of
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
    """Squared, (len(a), len(b))."""
    return np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
