"""Prototypes that are learnt in the space of summary vectors, so that each can be turned back into sound.

After Alonso-Jiménez et al., Leveraging pre-trained autoencoders for interpretable prototype learning of music audio
(arXiv 2402.09318). A segment's vector z is scaled by two numbers of the training part, ``x = (z - mean) / (2 sd)``; an
adaptor maps each trained vector p to its prototype ``a(p)``; a segment is as similar to it as ``exp(-mean (x -
a(p))^2)`` and a linear layer makes logits of the similarities. What a prototype adds to a logit is therefore one
product. A track is decided by the mean logits of its segments.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked, whole
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.fitting import RATES, Config, seeded, settle, train
from ..core.labels import known
from ..core.progress import Progress
from ..core.splits import Split, fitting
from ..metrics import prototypes as metrics
from .tracks import TrackClassifier, checked_parts, vectors

if TYPE_CHECKING:
    import pandas as pd

TRAINING_VERSION = 1
"""To be raised when training changes its numbers: checkpoints of before are then refused."""
_ROWS = 4096
"""Segments judged at once."""


@dataclass(frozen=True)
class LearntConfig(Config):
    """A prototype network and its training; the fields' values suit some thousand vectors on a CPU.

    "paper" is the setting as printed but for the similarity, whose printed form cannot work, "paper_code" that of the
    published code.
    """

    PRESETS: ClassVar = {
        "paper": {
            "feed_forward": 2048,
            "steps": 150_000,
            "weight_decay": 1e-5,
            "keep": "loss",
            "check_every": None,
        },
        "paper_code": {"feed_forward": 2048, "steps": 150_000, "order": "paper_code", "check_every": None},
    }

    per_class: int = 5
    """Each class has so many prototypes, K."""
    adaptor: Literal["transformer", "none"] = "transformer"
    """A transformer layer makes prototypes of the trained vectors, or they are the prototypes (the paper's NA)."""
    similarity: Literal["mean", "sum"] = "mean"
    """exp(-d), with d the mean over dimensions of the squared difference, or the sum, as the paper prints it: for 768
    dimensions exp(-sum) is 0 in single precision."""
    scale: float = 2.0
    """Vectors are divided by so many standard deviations."""
    cross_entropy: float = 0.25
    """Cross-entropy has this share in the loss, the paper's lambda; the rest is the distance of prototypes to
    segments."""
    temperature: float = 0.1
    """Logits are divided by it in the cross-entropy, and nowhere else."""
    feed_forward: int = 512
    """The adaptor's hidden layer is so wide; 2048 in the paper, here three times slower and no better."""
    dropout: float = 0.1
    """The adaptor drops this share in training."""
    start: Literal["k-means", "medoids"] = "k-means"
    """Prototypes start at the centroids of each class's segments, or at the segment nearest to each centroid."""
    order: Literal["class-major", "paper_code"] = "class-major"
    """Centroids lie in their own class, or as the published code lays them out, most at another class's place."""
    steps: int = 2000
    """The optimiser makes so many steps."""
    batch: int = 256
    """A step is made on so many segments."""
    learning_rate: float = 1e-3
    """The one-cycle schedule rises to this rate."""
    weight_decay: float = 1e-4
    """The L2 penalty of Adam: 1e-4 in the published code, 1e-5 in the paper."""
    keep: Literal["accuracy", "loss", "last"] = "accuracy"
    """The step kept has the highest validation accuracy of tracks (ties: lowest loss, then the first), the lowest
    validation loss, or is the last."""
    check_every: int | None = 50
    """There are so many steps between validations; None validates once an epoch."""

    def __post_init__(self):
        counts = dict.fromkeys(("per_class", "feed_forward", "steps", "batch", "check_every"), {"least": 1})
        widths = {"scale": {"above": 0}, "temperature": {"above": 0}, "learning_rate": RATES}
        shares = {"cross_entropy": {"least": 0, "most": 1}, "dropout": {"least": 0, "below": 1}}
        settle(self, **counts, **widths, **shares, weight_decay={"least": 0})


ABLATIONS = {
    "default": {},
    "no adaptor": {"adaptor": "none"},
    "cross-entropy .05": {"cross_entropy": 0.05},
    "cross-entropy .75": {"cross_entropy": 0.75},
    "cross-entropy 1": {"cross_entropy": 1.0},
    "temperature 1": {"temperature": 1.0},
    "temperature .03": {"temperature": 0.03},
    "scale 1": {"scale": 1.0},
    "scale 4": {"scale": 4.0},
    "sum": {"similarity": "sum"},
}
"""A grid that changes one field of :class:`LearntConfig` at a time. The scale is the width of the kernel: half of it
makes distances four times as large."""


class Adaptor(nn.Module):
    """A post-norm transformer layer on sequences of length 1, where attention is the value projection alone.

    ``h = LN1(p + W_o W_v p)``, ``a(p) = LN2(h + FF(h))``, with biases. Queries and keys are there, and counted, as in
    the layer of the paper, and do nothing: a softmax over one position is 1.
    """

    def __init__(self, dim: int, *, feed_forward: int = 2048, dropout: float = 0.1):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(dim, 1, feed_forward, dropout, batch_first=True)

    def forward(self, p: Tensor) -> Tensor:
        """(M, D) to (M, D)."""
        layer, attention, dim = self.layer, self.layer.self_attn, p.shape[1]
        value = F.linear(p, attention.in_proj_weight[2 * dim :], attention.in_proj_bias[2 * dim :])
        if self.training:  # attention weights are dropped before they meet values: all of a row, or nothing
            value = value * F.dropout(value.new_ones(len(p), 1), attention.dropout)
        h = layer.norm1(p + layer.dropout1(attention.out_proj(value)))
        hidden = layer.dropout(F.relu(layer.linear1(h)))
        return layer.norm2(h + layer.dropout2(layer.linear2(hidden)))


class PrototypeNetwork(nn.Module):
    """Prototypes, their similarities to vectors, and a linear layer on these.

    Parameters
    ----------
    start : Tensor float32 (C K, D)
        Vectors p at the start, class-major: row ``c K + k``, in scaled units.
    classes : int
        C.
    config : LearntConfig

    Attributes
    ----------
    points : Tensor (C K, D)
        The trained vectors p; prototypes are what the adaptor makes of them.
    linear : nn.Linear
        Similarities to logits, each prototype counting for its own class alone at the start; nothing keeps it so.
    """

    def __init__(self, start: Tensor, classes: int, config: LearntConfig):
        super().__init__()
        self.config = config
        self.points = nn.Parameter(start.clone())
        options = {"feed_forward": config.feed_forward, "dropout": config.dropout}
        self.adaptor = Adaptor(start.shape[1], **options) if config.adaptor == "transformer" else nn.Identity()
        self.linear = nn.Linear(len(start), classes)
        owner = torch.arange(len(start)) // (len(start) // classes)
        self.register_buffer("owner", owner, persistent=False)
        with torch.no_grad():
            self.linear.weight.copy_(F.one_hot(owner, classes).T)

    def prototypes(self) -> Tensor:
        """(C K, D), in scaled units."""
        return self.adaptor(self.points)

    def distances(self, x: Tensor) -> Tensor:
        """Mean over dimensions of the squared difference of each x (B, D) to each prototype, (B, M)."""
        points = self.prototypes()
        squares = x.square().sum(1, keepdim=True) + points.square().sum(1)
        return torch.addmm(squares, x, points.T, alpha=-2).clamp_min(0) / x.shape[1]

    def similarities(self, distances: Tensor) -> Tensor:
        """exp(-d) of :meth:`distances`."""
        return torch.exp(-distances if self.config.similarity == "mean" else -distances * self.points.shape[1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and distances (B, M) of scaled vectors."""
        distances = self.distances(x)
        return self.linear(self.similarities(distances)), distances


@dataclass(frozen=True, eq=False)
class LearntPrototypes(TrackClassifier):
    """A trained prototype classifier; made by :func:`fit_prototypes`. M = C K prototypes, class-major."""

    CONFIG: ClassVar = LearntConfig

    config: LearntConfig
    """How it was trained."""
    labels: np.ndarray
    """(C,) sorted labels; columns of the logits."""
    mean: float
    """Mean of the training vectors."""
    deviation: float
    """Mean over training vectors of the standard deviation over their dimensions."""
    network: PrototypeNetwork = field(repr=False)
    """The trained network, on scaled vectors; in eval mode, on the CPU."""
    history: pd.DataFrame = field(repr=False)
    """Row a validation: its number, step, learning_rate, training means of loss, cross_entropy and distance since the
    row before, and valid_loss and valid_accuracy."""
    step: int
    """So many steps had been made when the weights kept were reached."""
    seconds: float
    """Time of the training."""

    @property
    def classes(self) -> np.ndarray:
        """Column of the class that each prototype belongs to, int64 (M,)."""
        return self.network.owner.numpy()

    @property
    def weight(self) -> np.ndarray:
        """Weights of the linear layer, float32 (C, M)."""
        return self.network.linear.weight.detach().numpy()

    @property
    def bias(self) -> np.ndarray:
        """Bias of the linear layer, float32 (C,)."""
        return self.network.linear.bias.detach().numpy()

    @torch.no_grad()
    def prototypes(self) -> np.ndarray:
        """What can be decoded and heard: prototypes after the adaptor in the units of z, float32 (M, D)."""
        return self.network.prototypes().numpy() * (self.config.scale * self.deviation) + self.mean

    @torch.no_grad()
    def distances(self, z: ArrayLike) -> np.ndarray:
        """Mean squared difference to each prototype, in scaled units, float32 (N, M).

        Raises
        ------
        ParameterError
            Another dimension than in training, NaN or infinite values (the row is named); so do all methods.
        """
        x = torch.from_numpy(self._scaled(z))
        return torch.cat([self.network.distances(some) for some in x.split(_ROWS)]).numpy()

    @torch.no_grad()
    def similarities(self, z: ArrayLike) -> np.ndarray:
        """Similarities to each prototype, float32 (N, M), in (0, 1]."""
        return self.network.similarities(torch.from_numpy(self.distances(z))).numpy()

    def logits(self, z: ArrayLike) -> np.ndarray:
        """Logits of segments, float32 (N, C), not divided by the temperature."""
        return self.similarities(z) @ self.weight.T + self.bias

    def contributions(self, z: ArrayLike) -> np.ndarray:
        """What each prototype adds to each logit, float32 (N, C, M): over M, with the bias, they sum to the logit.

        A track's are the mean over its segments.
        """
        return self.similarities(z)[:, None] * self.weight

    def nearest(self, z: ArrayLike, *, count: int = 1) -> np.ndarray:
        """Rows of z nearest to each prototype, nearest first, int64 (M, count)."""
        distances = self.distances(z)
        if whole("count", count) not in range(1, len(distances) + 1):
            raise ParameterError("count", count, f"from 1 to {len(distances)}, the rows of z")
        return distances.argsort(0, kind="stable")[:count].T

    def medoids(self, z: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Row of z nearest to each prototype among those of its own class, int64 (M,)."""
        distances = self.distances(z)
        own = self.labels[self.classes] == known(y, len(distances))[:, None]
        if not own.any(0).all():
            missing = self.labels[self.classes[~own.any(0)][0]]
            raise ParameterError("y", f"no segment of class {missing}", "labels of every class of the prototypes")
        return np.where(own, distances, np.inf).argmin(0)

    def evaluate(self, z: ArrayLike, y: ArrayLike, split: Split, tracks: ArrayLike | None = None) -> dict[str, float]:
        """Measure decisions on the test part and prototypes against the training part.

        Parameters
        ----------
        z, y, split, tracks
            As in the training.

        Returns
        -------
        dict
            ``per_class``, ``accuracy`` and ``balanced_accuracy`` of the test tracks, ``diversity``, ``collapsed``,
            ``near_duplicates`` and ``purity`` (:mod:`workbench.metrics.prototypes`), the ``step`` kept and ``seconds``
            of the training. A task of :func:`workbench.study` returns this.
        """
        z = vectors(z)
        scores = {"per_class": self.config.per_class} | self._score(z, y, split, tracks)
        train = fitting(split, len(z)).train
        scores |= metrics.evaluate(self.prototypes(), self.labels[self.classes], z[train], known(y, rows=train)[train])
        return scores | {"step": self.step, "seconds": self.seconds}

    @classmethod
    def _built(cls, config, classes, tensors):
        return PrototypeNetwork(torch.zeros(config.per_class * classes, tensors["points"].shape[1]), classes, config)

    def _scaled(self, z: ArrayLike) -> np.ndarray:
        z = vectors(z)
        if z.shape[1] != self.network.points.shape[1]:
            raise ParameterError("z.shape", z.shape, f"(N, {self.network.points.shape[1]}), as in training")
        return (z - np.float32(self.mean)) / np.float32(self.config.scale * self.deviation)


@checked
def fit_prototypes(
    z: ArrayLike,
    y: ArrayLike,
    split: Split,
    *,
    tracks: ArrayLike | None = None,
    config: LearntConfig | str = "default",
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | os.PathLike | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> LearntPrototypes:
    """Learn K prototypes of each class from summary vectors.

    Parameters
    ----------
    z : array_like float (N, D)
        Vectors of the segments.
    y : array_like (N,)
        Label of each, of any sortable type.
    split : Split
        Rows of train, and of valid, on which the step is chosen (not needed with ``keep="last"``).
    tracks : array_like (N,), optional
        Track of each segment, whose logits are averaged; without them each segment is one.
    config : LearntConfig or str
        The settings, or the name of a preset.
    seed : int
        Draws k-means, weights, dropout and the order of segments.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    checkpoint : path, optional
        File to which the state is written after each validation; a training that finds it goes on from there, with the
        same result as if it had not been stopped.
    progress : bool or callable (done, total)
    **fields
        Fields of :class:`LearntConfig`, in place of the config's: ``per_class``, ``steps`` ...

    Returns
    -------
    LearntPrototypes

    Raises
    ------
    ParameterError
        Vectors that are NaN or of a wrong shape, a class with fewer different segments than prototypes (it is named),
        a class without training segments, a track in two parts, a loss that ran away, or a checkpoint of another
        training.
    """
    begin, config, z = time.perf_counter(), LearntConfig.named(config, **fields), vectors(z)
    needed = ("train",) if config.keep == "last" else ("train", "valid")
    split, labels, y, tracks = checked_parts(z, y, split, tracks, needed=needed)
    own, held, place = z[split.train], z[split.valid], chosen_device(device)
    mean, deviation = float(own.mean(1, dtype=np.float64).mean()), float(own.std(1, dtype=np.float64).mean())
    if not deviation > 0:
        raise ParameterError("z", "vectors whose dimensions are all equal", "vectors with some spread")
    own, held = ((x - np.float32(mean)) / np.float32(config.scale * deviation) for x in (own, held))
    start = torch.from_numpy(_starts(own, y[split.train], labels, config, seed))
    with seeded(seed, place):
        network = PrototypeNetwork(start, len(labels), config).to(place)
        run = _Training(network, (own, y[split.train]), (held, y[split.valid], tracks[split.valid]), seed)
        scores = {"accuracy": lambda row: (row["valid_accuracy"], -row["valid_loss"]),
                  "loss": lambda row: -row["valid_loss"]}  # fmt: skip
        history, kept = train(
            run.advance,
            math.ceil(config.steps / run.between),
            module=network,
            optimizer=run.adam,
            validate=run.validate if len(held) else None,
            score=scores.get(config.keep),
            learning_rate=config.learning_rate,
            name="fit_prototypes",
            state={"schedule": run.schedule},
            checkpoint=checkpoint,
            identity=run.identity,
            unit="validation",
            progress=progress,
        )
    network.cpu().requires_grad_(False).zero_grad()
    step, seconds = int(history["step"][kept]), time.perf_counter() - begin
    return LearntPrototypes(config, labels, mean, deviation, network, history, step, seconds)


# --- how they are learnt: where they start, what they are trained to, and which step is kept -----------------------


def _starts(x: np.ndarray, y: np.ndarray, labels: np.ndarray, config: LearntConfig, seed: int) -> np.ndarray:
    """Vectors to start from, float32 (C K, D): k-means of each class by itself.

    Raises
    ------
    ParameterError
        A class with fewer different segments than K.
    """
    from sklearn.cluster import KMeans

    k, centres = config.per_class, []
    for column, label in enumerate(labels):
        own = x[y == column]
        different = len(np.unique(own, axis=0))
        if different < k:
            expected = f"at most {different}: class {label} has {len(own)} segments, {different} of them different"
            raise ParameterError("per_class", k, expected)
        points = KMeans(k, n_init="auto", random_state=seed).fit(own).cluster_centers_
        if config.start == "medoids":
            points = own[((own[:, None] - points) ** 2).sum(2).argmin(0)]
        centres.append(points)
    stacked = np.stack(centres).astype(np.float32)  # (C, K, D)
    if config.order == "paper_code":
        stacked = stacked.transpose(1, 0, 2)
    return np.ascontiguousarray(stacked.reshape(-1, x.shape[1]))


@checked
def most_per_class(z: ArrayLike, y: ArrayLike, splits: Sequence[Split]) -> int:
    """The largest K that :func:`fit_prototypes` can start: segments that the smallest class has in a training part.

    Parameters
    ----------
    z, y : array_like (N, D), (N,)
        Segments and their labels.
    splits : sequence of Split
        Of these N; the smallest of their training parts counts. Segments that are equal count as one.

    Returns
    -------
    int
    """
    z, counts = vectors(z), []
    for split in splits:
        rows = fitting(split, len(z), needed=("train",)).train
        labels = known(y, len(z), rows=rows)[rows]
        counts += [len(np.unique(z[rows][labels == label], axis=0)) for label in np.unique(labels)]
    return min(counts)


def _prototype_loss(distances: Tensor, y: Tensor, owner: Tensor) -> Tensor:
    """Mean distance of the prototypes whose class is in the batch to their nearest segment of that class.

    Parameters
    ----------
    distances : Tensor (B, M)
    y : Tensor int64 (B,)
        Class of each segment.
    owner : Tensor int64 (M,)
        Class of each prototype.
    """
    least = distances.masked_fill(y[:, None] != owner, torch.inf).amin(0)
    present = least < torch.inf
    return torch.where(present, least, 0.0).sum() / present.sum()


def _objective(network: PrototypeNetwork, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, its two terms (cross-entropy at the temperature, distance), and logits."""
    config = network.config
    logits, distances = network(x)
    entropy = F.cross_entropy(logits / config.temperature, y)
    pull = _prototype_loss(distances, y, network.owner)
    return config.cross_entropy * entropy + (1 - config.cross_entropy) * pull, entropy, pull, logits


def _optimiser(
    network: nn.Module, config: LearntConfig
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.OneCycleLR]:
    """Adam, and the one-cycle schedule with torch's settings, which moves Adam's first beta too."""
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    return adam, torch.optim.lr_scheduler.OneCycleLR(adam, config.learning_rate, total_steps=config.steps)


class _Training:
    """What one training changes, and the segments that it learns from and is chosen on, in scaled units."""

    def __init__(self, network: PrototypeNetwork, training: tuple, validation: tuple, seed: int):
        place, self.network, self.config, self.seed = network.points.device, network, network.config, seed
        self.x, self.y = (torch.from_numpy(values).to(place) for values in training)
        _, first, member = np.unique(validation[2], return_index=True, return_inverse=True)
        held = (*validation[:2], member, validation[1][first])
        self.held = [torch.from_numpy(np.ascontiguousarray(values)).to(place) for values in held]
        self.adam, self.schedule = _optimiser(network, self.config)
        self.epoch = math.ceil(len(self.x) / self.config.batch)
        self.between = self.config.check_every or self.epoch
        self.order = {}

    def advance(self, number: int) -> dict[str, float]:
        """Make the steps up to the next validation; means over them."""
        first, last = number * self.between, min((number + 1) * self.between, self.config.steps)
        sums = torch.zeros(3, device=self.x.device)
        for step in range(first, last):
            epoch, position = divmod(step, self.epoch)
            if epoch not in self.order:  # drawn from the epoch's number: resuming needs no state for it
                drawn = np.random.default_rng([self.seed, epoch]).permutation(len(self.x))
                self.order = {epoch: torch.from_numpy(drawn).to(self.x.device)}
            rows = self.order[epoch][position * self.config.batch : (position + 1) * self.config.batch]
            rate = self.schedule.get_last_lr()[0]
            loss, entropy, pull, _ = _objective(self.network, self.x[rows], self.y[rows])
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
            if step + 1 < self.config.steps:
                self.schedule.step()
            sums += torch.stack([loss.detach(), entropy.detach(), pull.detach()])
        means = dict(zip(("loss", "cross_entropy", "distance"), (sums / (last - first)).tolist(), strict=True))
        return {"step": last, "learning_rate": rate} | means

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        x, y, member, truth = self.held
        loss, _, _, logits = _objective(self.network, x, y)
        sums = logits.new_zeros(len(truth), logits.shape[1]).index_add_(0, member, logits)
        pooled = sums / torch.bincount(member)[:, None]
        right = (pooled.argmax(1) == truth).float().mean()
        return {"valid_loss": float(loss), "valid_accuracy": float(right)}

    def identity(self) -> str:
        """Hash of all that decides the numbers."""
        tensors = {str(place): values for place, values in enumerate([self.x, self.y, *self.held])}
        settings = sorted(asdict(self.config).items())
        return fingerprint("fit_prototypes", TRAINING_VERSION, settings, self.seed, weights=tensors)
