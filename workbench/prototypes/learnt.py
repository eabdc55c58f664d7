"""A classifier with learnt prototypes in the space of summary vectors, each of which can be decoded to sound.

After Alonso-Jiménez et al., Leveraging pre-trained autoencoders for interpretable prototype learning of music audio
(arXiv 2402.09318). The summary vector z of a segment is scaled by two statistics of the training part,
``x = (z - mean) / (2 sd)``. An adaptor maps each trained vector p to its prototype ``a(p)``. The similarity of a
segment and a prototype is ``exp(-mean (x - a(p))^2)``, and a linear layer maps the similarities to logits. The
contribution of a prototype to a logit is therefore a product of its similarity and a weight. The class of a track is
that of the largest mean logit over its segments.
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
"""To be increased when a change of the training changes its results; older checkpoints are then refused."""
_ROWS = 4096
"""Number of segments that are evaluated at once."""


@dataclass(frozen=True)
class LearntConfig(Config):
    """Configuration of a prototype network and its training; the defaults suit a few thousand vectors on a CPU.

    The preset "paper" is the published setting, except for the similarity, whose printed form is always 0 in single
    precision; "paper_code" is the setting of the published code.
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
    """Number of prototypes K of each class."""
    adaptor: Literal["transformer", "none"] = "transformer"
    """Whether a transformer layer maps trained vectors to prototypes; with "none" (the paper's NA) both are equal."""
    similarity: Literal["mean", "sum"] = "mean"
    """The similarity is exp(-d), where d is the mean over dimensions of the squared difference, or the sum, as printed
    in the paper: for 768 dimensions exp(-sum) is 0 in single precision."""
    scale: float = 2.0
    """Number of standard deviations by which vectors are divided."""
    cross_entropy: float = 0.25
    """Weight of the cross-entropy in the loss, the paper's lambda; the distance of prototypes to segments has 1 minus
    this weight."""
    temperature: float = 0.1
    """Number by which logits are divided in the cross-entropy only."""
    feed_forward: int = 512
    """Width of the adaptor's hidden layer; the paper's 2048 is three times slower here and no better."""
    dropout: float = 0.1
    """Dropout probability in the adaptor during training."""
    start: Literal["k-means", "medoids"] = "k-means"
    """Initial prototypes: the k-means centroids of each class's segments, or the segment nearest to each centroid."""
    order: Literal["class-major", "paper_code"] = "class-major"
    """Whether each initial prototype belongs to the class of its centroid, or, as in the published code, most belong to
    another class."""
    steps: int = 2000
    """Number of steps of the optimiser."""
    batch: int = 256
    """Number of segments per step."""
    learning_rate: float = 1e-3
    """Highest learning rate of the one-cycle schedule."""
    weight_decay: float = 1e-4
    """L2 penalty of Adam: 1e-4 in the published code, 1e-5 in the paper."""
    keep: Literal["accuracy", "loss", "last"] = "accuracy"
    """Which step's weights to keep: those with the highest validation accuracy of tracks (in a tie, the lowest loss,
    then the first), with the lowest validation loss, or of the last step."""
    check_every: int | None = 50
    """Number of steps between validations; None validates once per epoch."""

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
"""Settings that each change one field of :class:`LearntConfig`, by name. The scale acts as the width of the kernel:
half the scale makes squared distances four times as large."""


class Adaptor(nn.Module):
    """A post-norm transformer layer on sequences of length 1, for which attention is only the value projection.

    ``h = LN1(p + W_o W_v p)``, ``a(p) = LN2(h + FF(h))``, with biases. As in the paper's layer there are weights for
    queries and keys, but they have no effect, because a softmax over one position is 1.
    """

    def __init__(self, dim: int, *, feed_forward: int = 2048, dropout: float = 0.1):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(dim, 1, feed_forward, dropout, batch_first=True)

    def forward(self, p: Tensor) -> Tensor:
        """Map vectors (M, D) to prototypes (M, D)."""
        layer, attention, dim = self.layer, self.layer.self_attn, p.shape[1]
        value = F.linear(p, attention.in_proj_weight[2 * dim :], attention.in_proj_bias[2 * dim :])
        if self.training:  # dropout of a row's only attention weight drops the whole row
            value = value * F.dropout(value.new_ones(len(p), 1), attention.dropout)
        h = layer.norm1(p + layer.dropout1(attention.out_proj(value)))
        hidden = layer.dropout(F.relu(layer.linear1(h)))
        return layer.norm2(h + layer.dropout2(layer.linear2(hidden)))


class PrototypeNetwork(nn.Module):
    """Network of prototypes, their similarities to vectors, and a linear layer on the similarities.

    Parameters
    ----------
    start : Tensor float32 (C K, D)
        Initial vectors p in scaled units; row ``c K + k`` is vector k of class c.
    classes : int
        Number of classes C.
    config : LearntConfig
        Configuration.
    owner : Tensor int64 (M,), optional
        Class of each vector, if that is another one.

    Attributes
    ----------
    points : Tensor (C K, D)
        The trained vectors p, which the adaptor maps to prototypes.
    linear : nn.Linear
        Map from similarities to logits. Its initial weight is 1 for a prototype's own class and 0 for others; training
        is not constrained to keep this.
    """

    def __init__(self, start: Tensor, classes: int, config: LearntConfig, owner: Tensor | None = None):
        super().__init__()
        self.config = config
        self.points = nn.Parameter(start.clone())
        options = {"feed_forward": config.feed_forward, "dropout": config.dropout}
        self.adaptor = Adaptor(start.shape[1], **options) if config.adaptor == "transformer" else nn.Identity()
        self.linear = nn.Linear(len(start), classes)
        given = owner is not None
        owner = owner if given else torch.arange(len(start)) // (len(start) // classes)
        self.register_buffer("owner", owner, persistent=given)
        with torch.no_grad():
            self.linear.weight.copy_(F.one_hot(owner, classes).T)

    def prototypes(self) -> Tensor:
        """Return the prototypes in scaled units, (C K, D)."""
        return self.adaptor(self.points)

    def distances(self, x: Tensor) -> Tensor:
        """Return the mean over dimensions of the squared difference of each x (B, D) and each prototype, (B, M)."""
        points = self.prototypes()
        squares = x.square().sum(1, keepdim=True) + points.square().sum(1)
        return torch.addmm(squares, x, points.T, alpha=-2).clamp_min(0) / x.shape[1]

    def similarities(self, distances: Tensor) -> Tensor:
        """Return exp(-d) for distances d of :meth:`distances`, or for their sums over dimensions with "sum"."""
        return torch.exp(-distances if self.config.similarity == "mean" else -distances * self.points.shape[1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, C) and distances (B, M) of scaled vectors (B, D)."""
        distances = self.distances(x)
        return self.linear(self.similarities(distances)), distances


@dataclass(frozen=True, eq=False)
class LearntPrototypes(TrackClassifier):
    """A trained prototype classifier; made by :func:`fit_prototypes`. Its M = C K prototypes are sorted by class.

    :meth:`given` makes one of prototypes that somebody else chose, of any number and order.
    """

    CONFIG: ClassVar = LearntConfig

    config: LearntConfig
    """Configuration of the network and its training."""
    labels: np.ndarray
    """Sorted labels of the C classes, in the order of the columns of the logits, (C,)."""
    mean: float
    """Mean over all dimensions of the training vectors."""
    deviation: float
    """Mean over training vectors of the standard deviation over their dimensions."""
    network: PrototypeNetwork = field(repr=False)
    """The trained network for scaled vectors, in eval mode, on the CPU."""
    history: pd.DataFrame = field(repr=False)
    """One row per validation: its number, step, learning_rate, means of loss, cross_entropy and distance over the
    training steps since the row before, and valid_loss and valid_accuracy."""
    step: int
    """Number of steps after which the weights were kept."""
    seconds: float
    """Duration of the training in seconds."""

    @property
    def classes(self) -> np.ndarray:
        """Class that each prototype belongs to, as a column number, int64 (M,)."""
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
        """Return the prototypes after the adaptor in the units of z, float32 (M, D), which can be decoded to sound."""
        return self.network.prototypes().numpy() * (self.config.scale * self.deviation) + self.mean

    @torch.no_grad()
    def distances(self, z: ArrayLike) -> np.ndarray:
        """Return the mean squared difference of z (N, D) and each prototype, in scaled units, float32 (N, M).

        Raises
        ------
        ParameterError
            As in all methods, if z has another D than in training or values that are not finite (the row is named).
        """
        x = torch.from_numpy(self._scaled(z))
        return torch.cat([self.network.distances(some) for some in x.split(_ROWS)]).numpy()

    @torch.no_grad()
    def similarities(self, z: ArrayLike) -> np.ndarray:
        """Return the similarities of z (N, D) to each prototype, in [0, 1], float32 (N, M)."""
        return self.network.similarities(torch.from_numpy(self.distances(z))).numpy()

    def logits(self, z: ArrayLike) -> np.ndarray:
        """Return the logits of segments z (N, D), float32 (N, C), not divided by the temperature."""
        return self.similarities(z) @ self.weight.T + self.bias

    def contributions(self, z: ArrayLike) -> np.ndarray:
        """Return the contribution of each prototype to each logit, float32 (N, C, M).

        Their sum over M plus the bias is the logit. The contributions for a track are the means over its segments.
        """
        return self.similarities(z)[:, None] * self.weight

    def nearest(self, z: ArrayLike, *, count: int = 1) -> np.ndarray:
        """Return the row numbers in z of the vectors nearest to each prototype, nearest first, int64 (M, count)."""
        distances = self.distances(z)
        if whole("count", count) not in range(1, len(distances) + 1):
            raise ParameterError("count", count, f"from 1 to {len(distances)}, the rows of z")
        return distances.argsort(0, kind="stable")[:count].T

    def medoids(self, z: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Return the row number in z of the vector nearest to each prototype among those of its class, int64 (M,)."""
        distances = self.distances(z)
        own = self.labels[self.classes] == known(y, len(distances))[:, None]
        if not own.any(0).all():
            missing = self.labels[self.classes[~own.any(0)][0]]
            raise ParameterError("y", f"no segment of class {missing}", "labels of every class of the prototypes")
        return np.where(own, distances, np.inf).argmin(0)

    def evaluate(self, z: ArrayLike, y: ArrayLike, split: Split, tracks: ArrayLike | None = None) -> dict[str, float]:
        """Score the decisions on the test part, and compare the prototypes with the training part.

        Parameters
        ----------
        z, y, split, tracks
            As in :func:`fit_prototypes`.

        Returns
        -------
        dict
            ``per_class``, ``accuracy`` and ``balanced_accuracy`` of the test tracks, ``diversity``, ``collapsed``,
            ``near_duplicates`` and ``purity`` (:mod:`workbench.metrics.prototypes`), the kept ``step``, and the
            ``seconds`` of the training. A task of :func:`workbench.study` can return it.
        """
        z = vectors(z)
        scores = {"per_class": self.config.per_class} | self._score(z, y, split, tracks)
        train = fitting(split, len(z)).train
        scores |= metrics.evaluate(self.prototypes(), self.labels[self.classes], z[train], known(y, rows=train)[train])
        return scores | {"step": self.step, "seconds": self.seconds}

    @classmethod
    @checked
    def given(
        cls, points: ArrayLike, names: ArrayLike, z: ArrayLike, y: ArrayLike, split: Split, *, scale: float = 2.0
    ) -> LearntPrototypes:
        """Make a classifier of prototypes that somebody else chose, without any training.

        There is no adaptor, and the weight of a prototype is 1 for its own class and 0 for others, as where the
        training of :func:`fit_prototypes` starts. A class with more prototypes than others is therefore decided for
        more easily.

        Parameters
        ----------
        points : array_like float (M, D)
            Vectors of the prototypes in the units of z, such as those of :func:`workbench.sonify.prototypes_from`.
        names : array_like (M,)
            Class of each prototype; every class of the training part needs one at least.
        z, y : array_like (N, D), (N,)
            Summary vectors of the segments and their labels.
        split : Split
            The training part gives the classes, and the mean and the deviation by which vectors are scaled.
        scale : float
            Number of standard deviations by which vectors are divided.

        Returns
        -------
        LearntPrototypes
            With an empty history; ``config.per_class`` is the largest number of prototypes of a class.

        Raises
        ------
        ParameterError
            If points are not finite or not (M, D), names are not M, or of classes that are not in the training part, or
            a class of the training part has no prototype (the classes are named).
        """
        import pandas as pd

        points, z = vectors(points, "points"), vectors(z)
        split, labels, _, _ = checked_parts(z, y, split, needed=("train",))
        mean, deviation = _statistics(z[split.train])
        if points.shape[1] != z.shape[1]:
            raise ParameterError("points.shape", points.shape, f"(M, {z.shape[1]}), as z")
        names = np.array(known(names, len(points), "names").tolist())
        absent, without = sorted({*names.tolist()} - {*labels.tolist()}), sorted({*labels.tolist()} - {*names.tolist()})
        if absent or without:
            what = f"{absent}, which no segment of train has" if absent else f"no prototype of {without}"
            raise ParameterError("names", what, f"of every class of train, and of no other: {labels.tolist()}")
        owner = torch.from_numpy(np.searchsorted(labels, names))
        most = int(torch.bincount(owner).max())
        config = LearntConfig(per_class=most, adaptor="none", scale=scale, keep="last")
        scaled = torch.from_numpy((points - np.float32(mean)) / np.float32(scale * deviation))
        with seeded(0, torch.device("cpu")):
            network = PrototypeNetwork(scaled, len(labels), config, owner)
        torch.nn.init.zeros_(network.linear.bias)
        network.eval().requires_grad_(False)
        return cls(config, labels, mean, deviation, network, pd.DataFrame(), 0, 0.0)

    @classmethod
    def _built(cls, config, classes, tensors):
        return PrototypeNetwork(torch.zeros_like(tensors["points"]), classes, config, tensors.get("owner"))

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
        Summary vectors of the segments.
    y : array_like (N,)
        Label of each segment, of any sortable type.
    split : Split
        Rows of train and of valid, on which the step to keep is selected (not needed with ``keep="last"``).
    tracks : array_like (N,), optional
        Track of each segment; logits are averaged over a track. By default each segment is a track.
    config : LearntConfig or str
        Configuration, or the name of a preset.
    seed : int
        Seed of k-means, weights, dropout and the order of segments.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    checkpoint : path, optional
        File to which the state is written after each validation. The same call resumes from it, with the same result
        as an uninterrupted training.
    progress : bool or callable (done, total)
        True shows a progress bar; a callable is called after each validation.
    **fields
        Fields of :class:`LearntConfig` that replace those of ``config``, such as ``per_class`` or ``steps``.

    Returns
    -------
    LearntPrototypes

    Raises
    ------
    ParameterError
        If vectors are not finite or of a wrong shape, a class has fewer different segments than prototypes (it is
        named) or no training segments, a track is in two parts, the loss diverged, or the checkpoint belongs to another
        training.
    """
    begin, config, z = time.perf_counter(), LearntConfig.named(config, **fields), vectors(z)
    needed = ("train",) if config.keep == "last" else ("train", "valid")
    split, labels, y, tracks = checked_parts(z, y, split, tracks, needed=needed)
    own, held, place = z[split.train], z[split.valid], chosen_device(device)
    mean, deviation = _statistics(own)
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


# --- training: initial prototypes, loss, and selection of the step --------------------------------------------------


def _statistics(own: np.ndarray) -> tuple[float, float]:
    """Return the mean of all numbers of the training vectors (N, D), and the mean of the rows' standard deviations."""
    mean, deviation = float(own.mean(1, dtype=np.float64).mean()), float(own.std(1, dtype=np.float64).mean())
    if not deviation > 0:
        raise ParameterError("z", "vectors whose dimensions are all equal", "vectors with some spread")
    return mean, deviation


def _starts(x: np.ndarray, y: np.ndarray, labels: np.ndarray, config: LearntConfig, seed: int) -> np.ndarray:
    """Return the initial vectors, float32 (C K, D), by k-means on each class separately.

    Raises
    ------
    ParameterError
        If a class has fewer than K different segments.
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
    """Return the largest number of prototypes per class that :func:`fit_prototypes` can fit.

    It is the number of different segments of the smallest class in any training part.

    Parameters
    ----------
    z, y : array_like (N, D), (N,)
        Segments and their labels.
    splits : sequence of Split
        Splits of the N segments.

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
        Distance of each segment and prototype.
    y : Tensor int64 (B,)
        Class of each segment.
    owner : Tensor int64 (M,)
        Class of each prototype.
    """
    least = distances.masked_fill(y[:, None] != owner, torch.inf).amin(0)
    present = least < torch.inf
    return torch.where(present, least, 0.0).sum() / present.sum()


def _objective(network: PrototypeNetwork, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loss, its two terms (cross-entropy at the temperature, and distance), and the logits."""
    config = network.config
    logits, distances = network(x)
    entropy = F.cross_entropy(logits / config.temperature, y)
    pull = _prototype_loss(distances, y, network.owner)
    return config.cross_entropy * entropy + (1 - config.cross_entropy) * pull, entropy, pull, logits


def _optimiser(
    network: nn.Module, config: LearntConfig
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.OneCycleLR]:
    """Return Adam and the one-cycle schedule with torch's defaults, which also changes Adam's first beta."""
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    return adam, torch.optim.lr_scheduler.OneCycleLR(adam, config.learning_rate, total_steps=config.steps)


class _Training:
    """State of a training, with the scaled segments of train and of valid."""

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
        """Make the steps up to the next validation, and return the means of the loss and its terms over them."""
        first, last = number * self.between, min((number + 1) * self.between, self.config.steps)
        sums = torch.zeros(3, device=self.x.device)
        for step in range(first, last):
            epoch, position = divmod(step, self.epoch)
            if epoch not in self.order:  # the order depends on seed and epoch only, so it need not be saved
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
        """Return a hash of everything that determines the result."""
        tensors = {str(place): values for place, values in enumerate([self.x, self.y, *self.held])}
        settings = sorted(asdict(self.config).items())
        return fingerprint("fit_prototypes", TRAINING_VERSION, settings, self.seed, weights=tensors)
