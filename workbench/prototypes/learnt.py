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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked as checked_arguments
from ..core.checks import choice, number, whole
from ..core.devices import chosen_device
from ..core.errors import ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from ..core.learning import (
    RATES,
    VERSION,
    check_loss,
    configured,
    load_weights,
    restored,
    settle,
    unlearnt,
    warn_unlearnt,
)
from ..core.saving import read_checkpoint, read_record, write_checkpoint, write_record
from .tracks import TrackDecisions, checked, columns, decide, held_out, known, warn_shared

if TYPE_CHECKING:
    import os

    import pandas as pd
ROWS = 4096
"""Segments judged at once."""


@dataclass(frozen=True)
class LearntConfig:
    """A prototype network and its training; the fields' values suit some thousand vectors on a CPU."""

    per_class: int = 5
    """K, prototypes of each class."""
    adaptor: str = "transformer"
    """"transformer": a transformer layer between trained vectors and prototypes; "none" (the paper's NA)."""
    similarity: str = "mean"
    """exp(-d), with d the "mean" over dimensions of the squared difference, or the "sum", as the paper prints it: for
    768 dimensions exp(-sum) is 0 in single precision."""
    scale: float = 2.0
    """Vectors are divided by so many standard deviations."""
    cross_entropy: float = 0.25
    """Share of cross-entropy in the loss, the paper's lambda; the rest is the distance of prototypes to segments."""
    temperature: float = 0.1
    """Logits are divided by it in the cross-entropy, and nowhere else."""
    feed_forward: int = 512
    """Width of the adaptor's hidden layer; 2048 in the paper, here three times slower and no better."""
    dropout: float = 0.1
    """Of the adaptor, in training."""
    start: str = "k-means"
    """"k-means": centroids of each class's segments; "medoids": the segment nearest to each centroid."""
    order: str = "class-major"
    """"class-major", or "paper_code": centroids are laid out as by the published code, most of them at another class's
    place."""
    steps: int = 2000
    """Of the optimiser."""
    batch: int = 256
    """Segments a step."""
    learning_rate: float = 1e-3
    """Highest, of the one-cycle schedule."""
    weight_decay: float = 1e-4
    """L2 penalty of Adam: 1e-4 in the published code, 1e-5 in the paper."""
    keep: str = "accuracy"
    """Step kept: of highest validation "accuracy" of tracks (ties: lowest loss, then the first), of lowest validation
    "loss", or the "last"."""
    check_every: int | None = 50
    """Steps between validations; None: once an epoch."""

    def __post_init__(self):
        choice("adaptor", self.adaptor, ("transformer", "none"))
        choice("similarity", self.similarity, ("mean", "sum"))
        choice("start", self.start, ("k-means", "medoids"))
        choice("order", self.order, ("class-major", "paper_code"))
        choice("keep", self.keep, ("accuracy", "loss", "last"))
        counts = dict.fromkeys(("per_class", "feed_forward", "steps", "batch", "check_every"), {"least": 1})
        widths = {"scale": {"above": 0}, "temperature": {"above": 0}, "learning_rate": RATES}
        shares = {"cross_entropy": {"least": 0, "most": 1}, "dropout": {"least": 0, "below": 1}}
        settle(self, **counts, **widths, **shares, weight_decay={"least": 0})

    @classmethod
    def preset(cls, name: str, **fields: object) -> LearntConfig:
        """One of :data:`PRESETS`, with some fields changed."""
        return configured(cls, cls(**PRESETS[choice("preset", name, tuple(PRESETS))]), fields)


PRESETS = {
    "default": {},
    "paper": {
        "feed_forward": 2048,
        "steps": 150_000,
        "weight_decay": 1e-5,
        "keep": "loss",
        "check_every": None,
    },
    "paper_code": {"feed_forward": 2048, "steps": 150_000, "order": "paper_code", "check_every": None},
}
"""Named settings: "paper" as printed but for the similarity, whose printed form cannot work; "paper_code" as the
published code."""


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
class LearntPrototypes:
    """A trained prototype classifier; made by :func:`fit_prototypes`. M = C K prototypes, class-major."""

    config: LearntConfig
    """As trained."""
    labels: np.ndarray
    """(C,) sorted labels; columns of the logits."""
    mean: float
    """Of the training vectors."""
    deviation: float
    """Mean over training vectors of the standard deviation over their dimensions."""
    network: PrototypeNetwork = field(repr=False)
    """On scaled vectors; in eval mode, on the CPU."""
    history: pd.DataFrame = field(repr=False)
    """Row a validation: step, learning_rate, training means of loss, cross_entropy and distance since the row before,
    and valid_loss and valid_accuracy."""
    step: int
    """The one kept: so many steps were made."""
    seconds: float
    """Time of the training."""

    @property
    def classes(self) -> np.ndarray:
        """Column of the class that each prototype belongs to, int64 (M,)."""
        return self.network.owner.numpy()

    @property
    def weight(self) -> np.ndarray:
        """Of the linear layer, float32 (C, M)."""
        return self.network.linear.weight.detach().numpy()

    @property
    def bias(self) -> np.ndarray:
        """Of the linear layer, float32 (C,)."""
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
        return torch.cat([self.network.distances(some) for some in x.split(ROWS)]).numpy()

    @torch.no_grad()
    def similarities(self, z: ArrayLike) -> np.ndarray:
        """float32 (N, M), in (0, 1]."""
        return self.network.similarities(torch.from_numpy(self.distances(z))).numpy()

    def logits(self, z: ArrayLike) -> np.ndarray:
        """Of segments, float32 (N, C); not divided by the temperature."""
        return self.similarities(z) @ self.weight.T + self.bias

    def contributions(self, z: ArrayLike) -> np.ndarray:
        """What each prototype adds to each logit, float32 (N, C, M): over M, with the bias, they sum to the logit.

        A track's are the mean over its segments.
        """
        return self.similarities(z)[:, None] * self.weight

    def predict(self, z: ArrayLike, tracks: ArrayLike | None = None) -> TrackDecisions:
        """Mean logits of each track's segments, and its label; without ``tracks`` (N,) each segment is one."""
        return decide(self.logits(z), self.labels, tracks)

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

    def _scaled(self, z: ArrayLike) -> np.ndarray:
        z = checked(z)
        if z.shape[1] != self.network.points.shape[1]:
            raise ParameterError("z.shape", z.shape, f"(N, {self.network.points.shape[1]}), as in training")
        return (z - np.float32(self.mean)) / np.float32(self.config.scale * self.deviation)

    @checked_arguments
    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, wholly or not at all; all but the weights is JSON in its metadata."""
        record = {"version": VERSION, "config": asdict(self.config), "labels": self.labels.tolist(), "step": self.step}
        record |= {"mean": self.mean, "deviation": self.deviation, "seconds": self.seconds}
        record |= {"history": self.history.to_dict("list")}
        return write_record(Path(path), self.network.state_dict(), record)

    @classmethod
    @checked_arguments
    def load(cls, path: str | Path) -> LearntPrototypes:
        """Read what :meth:`save` wrote.

        Raises
        ------
        WeightsError
            No such file, a damaged one, or one that holds something else.
        """
        import pandas as pd

        tensors, record = read_record(Path(path))
        config = restored(path, record, "config", LearntConfig, what="prototypes")
        try:
            labels, points = np.asarray(record["labels"]), config.per_class * len(record["labels"])
            start = torch.zeros(points, tensors["points"].shape[1])
            rest = (pd.DataFrame(record["history"]), record["step"], record["seconds"])
            scale = (number("mean", record["mean"]), number("deviation", record["deviation"], above=0))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise WeightsError(f"{path}: no prototypes of this package ({error!r})") from error
        network = PrototypeNetwork(start, len(labels), config)
        load_weights(path, network, tensors)
        return cls(config, labels, *scale, network.eval(), *rest)


@checked_arguments
def fit_prototypes(
    z: ArrayLike,
    y: ArrayLike,
    tracks: ArrayLike | None = None,
    *,
    validation: tuple[ArrayLike, ArrayLike, ArrayLike | None] | None = None,
    config: LearntConfig | str = "default",
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
    **fields: object,
) -> LearntPrototypes:
    """Learn K prototypes of each class from summary vectors.

    Parameters
    ----------
    z : array_like float (N, D)
        Vectors of the training segments.
    y : array_like (N,)
        Label of each, of any sortable type.
    tracks : array_like (N,), optional
        Track of each segment; looked at to refuse a track that is in ``validation`` too.
    validation : (z, y, tracks), optional
        Segments on which the step is chosen; not needed with ``keep="last"``.
    config : LearntConfig or str
        Or a name of :data:`PRESETS`.
    seed : int
        Draws k-means, weights, dropout and the order of segments.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1".
    checkpoint : path, optional
        File to which the state of the training is written now and then; a training that finds it goes on from there,
        with the same result as if it had not been stopped.
    progress : bool
        Show a bar.
    fields
        Of :class:`LearntConfig`, in place of the config's: ``per_class``, ``steps`` ...

    Returns
    -------
    LearntPrototypes

    Raises
    ------
    ParameterError
        Vectors that are NaN or of a wrong shape, a class with fewer different segments than prototypes (it is named),
        a validation class without training segments, a track in training and validation, a loss that ran away, or a
        checkpoint of another training.
    """
    begin, config = time.perf_counter(), configured(LearntConfig, config, fields)
    z = checked(z)
    labels = np.unique(known(y, len(z)))
    if len(labels) < 2:
        raise ParameterError("y", labels.tolist(), "labels of at least two classes")
    mean, deviation = float(z.mean(1, dtype=np.float64).mean()), float(z.std(1, dtype=np.float64).mean())
    if not deviation > 0:
        raise ParameterError("z", "vectors whose dimensions are all equal", "vectors with some spread")
    if validation is None and config.keep != "last":
        raise ParameterError("validation", None, f'(z, y, tracks), for keep={config.keep!r} (or keep="last")')
    parts = [(z, y, tracks)] if validation is None else [(z, y, tracks), held_out(validation, (2, 3))]
    ready = []
    for name, (vectors, truth, track) in zip(("", "validation "), parts, strict=False):
        x = (checked(vectors, f"{name}z") - np.float32(mean)) / np.float32(config.scale * deviation)
        if x.shape[1] != z.shape[1]:
            raise ParameterError(f"{name}z.shape", x.shape, f"(N, {z.shape[1]}), as z")
        track = np.arange(len(x)) if track is None else known(track, len(x), f"{name}tracks")
        ready.append((x, columns(truth, labels, len(x), f"{name}y"), track))
    if validation is not None:
        warn_shared(ready[0][0], ready[1][0], "the validation part")
        if tracks is not None and parts[1][2] is not None:
            shared = np.intersect1d(ready[0][2], ready[1][2])
            if len(shared):
                raise ParameterError("tracks", shared[:5].tolist(), "in training or in validation, not in both")
    place = chosen_device(device)
    start = torch.from_numpy(starts(ready[0][0], ready[0][1], labels, config, seed))
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        network = PrototypeNetwork(start, len(labels), config).to(place)
        history, step = train(network, *ready, config=config, seed=seed, checkpoint=checkpoint, progress=progress)
    kept = None if config.keep == "last" else history["step"].tolist().index(step)
    reason = unlearnt(history["loss"].tolist(), kept, of="validations")
    warn_unlearnt("fit_prototypes", reason, f"learning_rate={config.learning_rate:g}, steps={config.steps}")
    seconds = time.perf_counter() - begin
    return LearntPrototypes(config, labels, mean, deviation, network.cpu().eval(), history, step, seconds)


# --- how they are learnt: where they start, what they are trained to, and which step is kept -----------------------

TRAINING_VERSION = 1
"""To be raised when training changes its numbers: checkpoints of before are then refused."""
CHECKPOINT_EVERY = 1000
"""Steps between two checkpoints."""

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Scaled vectors float32 (N, D), classes int64 (N,), tracks (N,)."""


def place_of_starts(per_class: int, classes: int, order: str = "class-major") -> np.ndarray:
    """Class whose centroid each prototype starts from, int64 (C K,).

    Prototype ``c K + k`` is of class c. The published code lays centroids out as ``k C + c`` instead, so that most
    start from another class's segments.
    """
    classes_of = np.repeat(np.arange(classes), per_class)
    return classes_of if order == "class-major" else np.tile(np.arange(classes), per_class)


def starts(x: np.ndarray, y: np.ndarray, labels: np.ndarray, config: LearntConfig, seed: int) -> np.ndarray:
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
        found = KMeans(k, n_init="auto", random_state=seed).fit(own).cluster_centers_
        if config.start == "medoids":
            found = own[((own[:, None] - found) ** 2).sum(2).argmin(0)]
        centres.append(found)
    stacked = np.stack(centres).astype(np.float32)  # (C, K, D)
    if config.order == "paper_code":
        stacked = stacked.transpose(1, 0, 2)
    return np.ascontiguousarray(stacked.reshape(-1, x.shape[1]))


def prototype_loss(distances: Tensor, y: Tensor, owner: Tensor) -> Tensor:
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


def objective(network: PrototypeNetwork, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, its two terms (cross-entropy at the temperature, distance), and logits."""
    config = network.config
    logits, distances = network(x)
    entropy = F.cross_entropy(logits / config.temperature, y)
    pull = prototype_loss(distances, y, network.owner)
    return config.cross_entropy * entropy + (1 - config.cross_entropy) * pull, entropy, pull, logits


def optimiser(
    network: torch.nn.Module, config: LearntConfig
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.OneCycleLR]:
    """Adam, and the one-cycle schedule with torch's settings, which moves Adam's first beta too."""
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    return adam, torch.optim.lr_scheduler.OneCycleLR(adam, config.learning_rate, total_steps=config.steps)


def train(
    network: PrototypeNetwork,
    training: Part,
    validation: Part | None = None,
    *,
    config: LearntConfig,
    seed: int,
    checkpoint: str | os.PathLike | None,
    progress: bool,
) -> tuple[pd.DataFrame, int]:
    """All steps; leaves the weights of the step kept in the network. History, that step."""
    import pandas as pd
    from tqdm.auto import tqdm

    run = _Run(network, training, validation, config, seed)
    identity = None if checkpoint is None else run.identity()
    if checkpoint is not None and Path(checkpoint).exists():
        run.restore(read_checkpoint(checkpoint, identity))
    with tqdm(total=config.steps, initial=run.step, disable=not progress, desc="steps") as bar:
        while run.step < config.steps:
            run.advance()
            bar.update()
            if checkpoint is not None and (run.step % CHECKPOINT_EVERY == 0 or run.step == config.steps):
                write_checkpoint(checkpoint, {"identity": identity, **run.state()})
    if run.best is not None:
        network.load_state_dict(run.best["weights"])
    kept = config.steps if run.best is None else run.best["step"]
    return pd.DataFrame(run.history), kept


class _Run:
    """What one training changes."""

    def __init__(
        self, network: PrototypeNetwork, training: Part, validation: Part | None, config: LearntConfig, seed: int
    ):
        place = network.points.device
        self.network, self.config, self.seed, self.parts = network, config, seed, (training, validation)
        self.x, self.y = (torch.from_numpy(values).to(place) for values in training[:2])
        self.held = None
        if validation is not None:
            names, first, member = np.unique(validation[2], return_index=True, return_inverse=True)
            held = (*validation[:2], member, validation[1][first])
            self.held = [torch.from_numpy(np.ascontiguousarray(values)).to(place) for values in held]
        self.adam, self.schedule = optimiser(network, config)
        self.epoch = math.ceil(len(self.x) / config.batch)
        self.check_every = config.check_every or self.epoch
        self.step, self.history, self.best = 0, [], None
        self.sums = torch.zeros(3, device=place)

    def advance(self) -> None:
        """One step, and the validation after it where one is due."""
        epoch, position = divmod(self.step, self.epoch)
        if position == 0 or not hasattr(self, "order"):  # drawn from the epoch's number: resuming needs no state for it
            drawn = np.random.default_rng([self.seed, epoch]).permutation(len(self.x))
            self.order = torch.from_numpy(drawn).to(self.x.device)
        rows = self.order[position * self.config.batch : (position + 1) * self.config.batch]
        rate = self.schedule.get_last_lr()[0]
        self.network.train()
        loss, entropy, pull, _ = objective(self.network, self.x[rows], self.y[rows])
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.step += 1
        if self.step < self.config.steps:
            self.schedule.step()
        self.sums += torch.stack([loss.detach(), entropy.detach(), pull.detach()])
        if self.step % self.check_every == 0 or self.step == self.config.steps:
            self.check(rate)

    def check(self, rate: float) -> None:
        """A row of the history; remember the weights if they are the best so far."""
        since = self.step - (self.history[-1]["step"] if self.history else 0)
        means = (self.sums / since).tolist()
        self.sums.zero_()
        check_loss(means[0], self.config.learning_rate, f"step {self.step}")
        row = {"step": self.step, "learning_rate": rate}
        row |= dict(zip(("loss", "cross_entropy", "distance"), means, strict=True))
        if self.held is not None:
            row |= self.validate()
            self.compare(row)
        self.history.append(row)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        x, y, member, truth = self.held
        self.network.eval()
        loss, _, _, logits = objective(self.network, x, y)
        sums = logits.new_zeros(len(truth), logits.shape[1]).index_add_(0, member, logits)
        pooled = sums / torch.bincount(member)[:, None]
        right = (pooled.argmax(1) == truth).float().mean()
        return {"valid_loss": float(loss), "valid_accuracy": float(right)}

    def compare(self, row: Mapping[str, float]) -> None:
        if self.config.keep == "last":
            return
        score = (row["valid_accuracy"] if self.config.keep == "accuracy" else 0.0, -row["valid_loss"])
        if self.best is None or score > tuple(self.best["score"]):
            weights = {name: values.detach().clone() for name, values in self.network.state_dict().items()}
            self.best = {"score": list(score), "step": self.step, "weights": weights}

    def identity(self) -> str:
        """Hash of all that decides the numbers."""
        arrays = {f"{i}{j}": part[j] for i, part in enumerate(self.parts) if part is not None for j in (0, 1)}
        tracks = [np.unique(part[2], return_inverse=True)[1] for part in self.parts if part is not None]
        arrays |= {f"tracks{i}": values for i, values in enumerate(tracks)}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
        return fingerprint(TRAINING_VERSION, sorted(asdict(self.config).items()), self.seed, weights=tensors)

    def state(self) -> dict:
        state = {"network": self.network.state_dict(), "adam": self.adam.state_dict()}
        state |= {"schedule": self.schedule.state_dict(), "torch": torch.get_rng_state(), "sums": self.sums}
        if self.x.is_cuda:
            state["cuda"] = torch.cuda.get_rng_state(self.x.device)
        return state | {"step": self.step, "history": self.history, "best": self.best}

    def restore(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.adam.load_state_dict(state["adam"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["torch"])
        if self.x.is_cuda and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.x.device)
        self.sums = state["sums"].to(self.x.device)
        self.step, self.history, self.best = state["step"], state["history"], state["best"]
