"""Train a classifier with predefined prototypes or another loss on its embeddings.

The network maps inputs to embeddings z (N, k), a linear head with bias maps z to logits (N, C), and a loss of
:mod:`.losses` trains both. All selections, such as that of the epoch, use the validation part only.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked, number, numbers, several, whole
from ..core.devices import chosen_device
from ..core.errors import ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from ..core.fitting import (
    RATES,
    Config,
    load_weights,
    new_module,
    read_fitted,
    restored,
    seeded,
    settle,
    threads,
    train,
    write_fitted,
)
from ..core.progress import Progress
from ..core.splits import PARTS, Split, fitting
from ..metrics import geometry
from . import batches
from .factors import FactorPrototypes
from .losses import LOSSES, Prototype, make_loss
from .rival_losses import CrossEntropy
from .tracks import checked_parts

if TYPE_CHECKING:
    import pandas as pd

TRAINING_VERSION = 1
"""To be increased when a change of the training changes its results; older checkpoints are then refused."""
_BALANCED = ("supervised_contrastive", "orthogonal_projection", "prototypical_network")
"""Losses that compare clips within a batch; their batches have equally many clips of each class."""
_OWN_WEIGHTS = ("supervised_contrastive", "arcface", "rbf")
"""Losses with trained weights of their own, whose ``seed`` is by default that of the run."""
_ONE_THREAD = 3e7
"""A step on vectors with fewer multiplications than this runs on a single CPU thread, which is faster."""
_CHUNK = 4e6
"""Number of input values that pass through the network at once outside training."""
_ARRAYS = ("z", "logits", "scores", "weight", "bias", "prototypes", "y")

_PAPER = {"epochs": 25, "warmup": 5, "keep": "last"}
_PAPER_AST = {"optimizer": "adam", "betas": (0.95, 0.999), "weight_decay": 5e-6, "schedule": "decay"}
_PAPER_AST |= _PAPER | {"standardise": "all"}
_PAPER_BEATS = {"batch": 16, "betas": (0.9, 0.98), "weight_decay": 0.01, "standardise": "none"} | _PAPER
_KS2 = {"epochs": 30, "mixup": 0.5}


@dataclass(frozen=True)
class ClassifierConfig(Config):
    """Configuration of the training of a classifier: optimiser, schedule, augmentation and stopping.

    The presets "paper" and "paper-ks2" fine-tune AST on ESC-50 and on Speech Commands (35 words) as in the code of
    arXiv 2406.16145; "paper-beats" and "paper-beats-ks2" do so for BEATs. Unlike that code, which starts the warm-up
    of AST above its highest learning rate, the warm-up here rises linearly. The other presets are this package's own:
    "conv" trains a small network from scratch, and "efficientat" and "ecapa" fine-tune these networks.
    """

    PRESETS: ClassVar = {
        "paper": _PAPER_AST | {"learning_rate": 6.7e-6, "spec_augment": (24, 96)},
        "paper-ks2": _PAPER_AST | _KS2 | {"learning_rate": 6.25e-5, "spec_augment": (48, 48)},
        "paper-beats": _PAPER_BEATS | {"learning_rate": 8e-6, "schedule": "cosine"},
        "paper-beats-ks2": _PAPER_BEATS | _KS2 | {"learning_rate": 1e-4},
        "conv": {"epochs": 40, "schedule": "cosine", "spec_augment": (8, 24)},
        "efficientat": {"epochs": 12, "learning_rate": 3e-4, "warmup": 1, "schedule": "cosine", "standardise": "none"},
        "ecapa": {"epochs": 30, "learning_rate": 1e-4, "warmup": 3, "schedule": "cosine", "standardise": "none"},
    }

    epochs: int = 40
    """Largest number of passes over the training clips."""
    batch: int = 32
    """Number of clips per step."""
    learning_rate: float = 1e-3
    """Highest learning rate of the optimiser."""
    weight_decay: float = 1e-4
    """Weight decay of the optimiser, which is an L2 penalty for "adam"."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Optimiser: Adam, or Adam with decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the running means of the optimiser."""
    schedule: Literal["constant", "cosine", "decay"] = "constant"
    """Learning rate after the warm-up: constant, falling to a thousandth along a cosine, or times 0.85 every epoch."""
    warmup: int = 0
    """Number of epochs over which the learning rate rises linearly to its highest value."""
    mixup: float = 0.0
    """Probability that a training clip is mixed with another, by shares drawn from Beta(10, 10)."""
    spec_augment: tuple[int, int] = (0, 0)
    """Upper limits of the widths, in bands and frames, of the masks in a spectrogram; (0, 0) for no masks."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights to keep: that with the highest validation accuracy (in a tie, the lowest cross-entropy,
    then the first), or the last."""
    patience: int | None = None
    """Number of epochs without a better one after which training stops; None for never."""
    standardise: Literal["each", "all", "none"] = "each"
    """Whether inputs are standardised for each dimension or mel band, or all together to standard deviation 1/2 as for
    AST, or not at all."""

    def __post_init__(self):
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

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        whole("epoch", epoch, least=0)
        if epoch < self.warmup:
            return self.learning_rate * (epoch + 1) / self.warmup
        if self.schedule == "decay":
            return self.learning_rate * 0.85 ** (epoch - max(self.warmup, 1) + 1)
        if self.schedule == "cosine":
            turn = math.cos(math.pi * (epoch - self.warmup) / max(self.epochs - self.warmup, 1))
            return self.learning_rate * (0.001 + 0.999 * (1 + turn) / 2)
        return self.learning_rate


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A trained classifier and its outputs for all clips; made by :func:`fit_classifier`."""

    config: ClassifierConfig
    """Configuration of the training."""
    z: np.ndarray
    """Embeddings of all clips, float32 (N, k)."""
    logits: np.ndarray
    """Logits of the linear head, float32 (N, C)."""
    scores: np.ndarray
    """Scores by which the loss classifies, float32 (N, C); the logits, unless the loss has its own classifier."""
    weight: np.ndarray
    """Weights of the head, float32 (C, k)."""
    bias: np.ndarray
    """Bias of the head, float32 (C,)."""
    prototypes: np.ndarray
    """Prototypes of the loss, float32 (C, k); if it has none, or with factors, each class's mean training embedding."""
    classes: np.ndarray
    """Sorted labels of the classes, in the order of the columns, (C,)."""
    y: np.ndarray
    """Class of each clip as a column number, int64 (N,); -1 outside the split."""
    split: Split
    """The split into train, valid and test."""
    history: pd.DataFrame
    """One row per epoch: learning rate, means over training batches, validation accuracy and cross-entropy."""
    epoch: int
    """Number of the epoch whose weights were kept, from 0."""
    seconds: float
    """Duration of the training in seconds."""
    network: nn.Module = field(repr=False)
    """The network with the kept weights, on the CPU; it takes standardised inputs."""
    loss: CrossEntropy = field(repr=False)
    """The loss with its state; ``loss.options`` are the arguments for :func:`make_loss`."""
    shift: np.ndarray | None = field(repr=False)
    """Number or array subtracted from inputs to standardise them; None without standardisation."""
    scale: np.ndarray | None = field(repr=False)
    """Number or array by which inputs are then divided; None without standardisation."""

    @property
    def predictions(self) -> np.ndarray:
        """Predicted label of each clip, (N,)."""
        return self.classes[self.scores.argmax(1)]

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the scores, float64 (N, C); for a sigmoid classifier, its outputs divided by their sum."""
        scores = torch.from_numpy(self.scores).double()
        odds = F.logsigmoid(scores) if self.loss.classification == "sigmoid" else scores
        return odds.softmax(1).numpy()

    @property
    def accuracy(self) -> float:
        """Share of correctly classified test clips."""
        return float(np.mean(self.scores[self._test].argmax(1) == self.y[self._test]))

    def evaluate(self) -> dict[str, float]:
        """Score the classifier on the test clips; a task of :func:`workbench.study` can return the result.

        Returns
        -------
        dict
            ``accuracy`` by the scores, ``accuracy_nearest`` by the nearest of :attr:`prototypes`,
            ``calibration_error``, ``nc1`` and ``nc2`` (:mod:`workbench.metrics.geometry`), the number of ``epochs``
            run, the kept ``epoch``, and the ``seconds`` of the training.

        Raises
        ------
        ParameterError
            If the split has no test clips.
        """
        z, true = self.z[self._test], self.y[self._test]
        return {
            "accuracy": self.accuracy,
            "accuracy_nearest": float(np.mean(geometry.nearest_prototype(z, self.prototypes) == true)),
            "calibration_error": geometry.expected_calibration_error(self.probabilities[self._test], true),
            "nc1": geometry.nc1(z, true),
            "nc2": geometry.nc2(z, true),
            "epochs": len(self.history),
            "epoch": self.epoch,
            "seconds": self.seconds,
        }

    def embed(self, inputs: ArrayLike) -> np.ndarray:
        """Return the embeddings of other inputs, which are standardised as in training, float32 (N, k)."""
        inputs = _inputs(inputs)
        if np.ndim(self.shift) and inputs.shape[1] != len(self.shift):
            raise ParameterError("inputs.shape", inputs.shape, f"(N, {len(self.shift)}, ...), as in training")
        inputs = torch.from_numpy(batches.standardised(inputs, self.shift, self.scale))
        _dimension(self.network, inputs)  # raises a clear error for inputs that the network does not accept
        return _embeddings(self.network.eval(), inputs).numpy()

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write everything except the code of the network to a folder, and return the folder."""
        tensors = {name: torch.tensor(getattr(self, name)) for name in (*_ARRAYS, "shift", "scale")
                   if getattr(self, name) is not None}  # fmt: skip
        tensors |= {f"split.{part}": torch.from_numpy(rows) for part, rows in zip(PARTS, self.split, strict=True)}
        for name, module in (("network", self.network), ("loss", self.loss)):
            tensors |= {f"{name}.{key}": values for key, values in module.state_dict().items()}
        record = {"config": self.config, "classes": self.classes, "loss": self.loss.options, "history": self.history}
        record |= {"network": _mark(self.network), "epoch": self.epoch, "seconds": self.seconds}
        return write_fitted(folder, "TrainedClassifier", tensors, record)

    @classmethod
    @checked
    def load(cls, folder: str | Path, network: Callable[[], nn.Module]) -> TrainedClassifier:
        """Read a classifier that :meth:`save` wrote.

        Parameters
        ----------
        folder : path
            The folder.
        network : callable, or nn.Module
            The network of the training, as in :func:`fit_classifier`; its weights are read from the folder.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, holds something else, or was written with another network.
        """
        tensors, record = read_fitted(folder, "TrainedClassifier")
        config = restored(folder, record, "config", ClassifierConfig, what="classifier")
        with seeded(0, torch.device("cpu")):
            net = new_module(network)
        if record["network"] != _mark(net):
            raise WeightsError(
                f"{folder}: was trained with a network that is built otherwise than {type(net).__name__}"
            )
        classes, dim = tensors["weight"].shape
        points = tensors.get("loss.fixed", tensors.get("loss.learnt"))  # for the shape; values are loaded below
        loss = make_loss(classes=classes, dim=dim, prototypes=points, **record["loss"])
        for name, module in (("network", net), ("loss", loss)):
            own = {key.removeprefix(f"{name}."): v for key, v in tensors.items() if key.startswith(f"{name}.")}
            load_weights(folder, module, own)
            module.eval().requires_grad_(False)
        arrays = {name: tensors[name].numpy() if name in tensors else None for name in (*_ARRAYS, "shift", "scale")}
        split = Split(*(tensors[f"split.{part}"].numpy() for part in PARTS))
        rest = {name: record[name] for name in ("history", "epoch", "seconds")}
        return cls(config=config, classes=np.asarray(record["classes"]), split=split, network=net, loss=loss,
                   **arrays, **rest)  # fmt: skip

    @property
    def _test(self) -> np.ndarray:
        return fitting(self.split, len(self.y), needed=("test",)).test


@checked
def fit_classifier(
    inputs: ArrayLike,
    y: ArrayLike,
    split: Split,
    *,
    network: Callable[[], nn.Module],
    loss: str | Mapping[str, object] = "prototype",
    prototypes: ArrayLike | None = None,
    factors: FactorPrototypes | None = None,
    levels: ArrayLike | None = None,
    config: ClassifierConfig | str = "default",
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | os.PathLike | None = None,
    progress: Progress | bool | None = True,
    track_geometry: bool = False,
    **fields: object,
) -> TrainedClassifier:
    """Train a network and a linear head with one of the losses.

    Parameters
    ----------
    inputs : array_like float (N, D), (N, samples) or (N, mels, frames)
        Frozen embeddings, waveforms, or spectrograms; :func:`~.extractors.extractor` computes them.
    y : array_like (N,)
        Class of each clip, of any sortable type.
    split : Split
        Rows of train, of valid (required unless the last epoch is kept), and of test, which are only predicted.
    network : callable, or nn.Module
        Function that returns a network from a batch to z (B, k), such as ``partial(MLPProjector, 256, 64)``. A module
        is copied, and its weights that require gradients are trained further.
    loss : str or mapping
        Name of a loss in :data:`~.losses.LOSSES`, or a mapping with "name" and options of the loss.
    prototypes : array_like (C, k), optional
        Prototypes to which some losses pull, from which they start or by which they classify. Rows are in the order of
        the sorted labels of the training clips. A length of sqrt(k) is a good first choice; the nearest prototype
        classifies well only if the pull is strong enough.
    factors : FactorPrototypes, optional
        Prototypes of factor levels, used instead of class prototypes together with ``levels``, with loss "prototype"
        only.
    levels : array_like of int (N, m), optional
        Factor levels of all clips; only the rows of train are used.
    config : ClassifierConfig or str
        Configuration, or the name of a preset.
    seed : int
        Seed of the weights, the order of clips, mixup and masks. Draw the prototypes with a separate seed.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    checkpoint : path, optional
        File to which the state is written after each epoch; the same call resumes from it.
    progress : bool or callable (done, total)
        True shows a progress bar; a callable is called after each epoch.
    track_geometry : bool
        Whether to add ``nc1`` and ``nc2`` of the training clips to the history, which takes one more pass over them per
        epoch.
    **fields
        Fields of :class:`ClassifierConfig` that replace those of ``config``, such as ``epochs`` or ``batch``.

    Returns
    -------
    TrainedClassifier

    Raises
    ------
    ParameterError
        If inputs are not finite or of a wrong shape, valid or test has a class that train lacks, a required part is
        missing, a loss, option or field is unknown, prototypes have a wrong shape, the loss diverged, or the checkpoint
        belongs to another training.

    Notes
    -----
    In the history ``cross_entropy`` is that of the scores with the training labels and ``distance`` is the mean of
    ||z - p|| / ||p||; both are averages over the batches of an epoch while weights change. Mixup mixes the inputs, and
    a mixture of log-mel spectrograms is not the spectrogram of mixed waveforms.
    """
    start = time.perf_counter()
    config = ClassifierConfig.named(config, **fields)
    x = _inputs(inputs)
    needed = ("train", "valid") if config.keep == "best" else ("train",)
    split, classes, y, _ = checked_parts(x, y, split, needed=needed)
    if any(config.spec_augment) and x.ndim != 3:
        raise ParameterError("spec_augment", config.spec_augment, "(0, 0) for inputs that are no spectrograms")
    shift, scale = batches.statistics(x[split.train], config.standardise)
    place = chosen_device(device)
    x = torch.from_numpy(batches.standardised(x, shift, scale)).to(place)
    labels, own = torch.from_numpy(y).to(place), torch.from_numpy(split.train).to(place)
    targets = _targets(factors, levels, split.train, len(x))
    with seeded(seed, place):
        net = new_module(network).to(place)
        dim = _dimension(net, x)
        head = nn.Linear(dim, len(classes)).to(place)
        objective = _loss(loss, len(classes), dim, prototypes, factors, config, seed).to(place)
        run = _Training(net, head, objective, config, seed, (x, labels, targets), split, track_geometry)
        step = config.batch * sum(p.numel() for p in net.parameters())
        with threads(1 if x.ndim == 2 and step < _ONE_THREAD else torch.get_num_threads()):
            history, epoch = train(
                run.epoch,
                config.epochs,
                module=run.module,
                optimizer=run.optimizer,
                validate=run.validate,
                score=_merit if config.keep == "best" else None,
                patience=config.patience,
                learning_rate=config.learning_rate,
                name="fit_classifier",
                generators=[run.rng],
                checkpoint=checkpoint,
                identity=run.identity,
                progress=progress,
            )
            z = _embeddings(net, x)
            with torch.no_grad():
                logits = head(z)
                scores = objective.scores(z, logits)
    points = objective.prototypes
    if points is None or factors is not None:
        members = F.one_hot(labels[own], len(classes)).float()
        points = members.T @ z[own] / members.sum(0)[:, None]
    arrays = (values.detach().cpu().numpy() for values in (z, logits, scores, head.weight, head.bias, points))
    run.module.cpu().requires_grad_(False).zero_grad()
    seconds = time.perf_counter() - start
    return TrainedClassifier(config, *arrays, classes, y, split, history, epoch, seconds, net, objective, shift, scale)


def _merit(row: Mapping[str, float]) -> tuple[float, float]:
    return row["valid_accuracy"], -row["valid_cross_entropy"]


class _Training:
    """State of a training, with the clips of train and of valid."""

    def __init__(self, net, head, loss, config: ClassifierConfig, seed: int, arrays, split: Split, geometry: bool):
        x, y, targets = arrays
        own, held = (torch.from_numpy(rows).to(x.device) for rows in (split.train, split.valid))
        self.net, self.head, self.loss, self.config, self.seed, self.geometry = net, head, loss, config, seed, geometry
        self.own = [x[own], y[own]] + ([] if targets is None else [torch.from_numpy(targets).to(x.device)])
        self.held = (x[held], y[held])
        self.module, self.rng = nn.ModuleList([net, head, loss]), np.random.default_rng(seed)
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        trained = [p for p in self.module.parameters() if p.requires_grad]
        rest = {"weight_decay": config.weight_decay, "betas": config.betas}
        self.optimizer = kind(trained, lr=config.learning_rate, fused=True, **rest)

    def epoch(self, number: int) -> dict[str, float]:
        """Train on all clips once, and return means over the batches."""
        config, (x, y, *targets) = self.config, self.own
        rate = config.rate(number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if isinstance(self.loss, tuple(LOSSES[name] for name in _BALANCED)):
            drawn = batches.balanced(y.cpu().numpy(), config.batch, self.rng)
        else:
            drawn = batches.shuffled(len(y), config.batch, self.rng)
        if config.mixup:
            y = F.one_hot(y, self.loss.classes).float()
        seen, total = [], torch.zeros((), device=x.device)
        for rows in drawn:
            rows = torch.from_numpy(rows).to(x.device)
            batch = [values[rows] for values in (x, y, *targets)]
            if config.mixup:
                others = torch.from_numpy(self.rng.integers(0, len(x), len(rows))).to(x.device)
                share = torch.from_numpy(batches.mixup_shares(len(rows), config.mixup, self.rng)).to(x.device)
                batch = [batches.mix(a, b[others], share) for a, b in zip(batch, (x, y, *targets), strict=True)]
            batch[0] = batches.spec_augment(batch[0], *config.spec_augment, self.rng)
            z = self.net(batch[0])
            logits = self.head(z)
            value = self.loss(z, logits, *batch[1:])
            self.optimizer.zero_grad()
            value.backward()
            self.optimizer.step()
            total += value.detach() * len(rows)
            seen.append((z.detach(), logits.detach(), *batch[1:]))
        return {"learning_rate": rate} | self._means(total, [torch.cat(values) for values in zip(*seen, strict=True)])

    @torch.no_grad()
    def _means(self, total: Tensor, seen: list[Tensor]) -> dict[str, float]:
        z, logits, y, *pulled_to = seen
        means = {"loss": float(total / len(z))}
        means["cross_entropy"] = float(F.cross_entropy(self.loss.scores(z, logits), y))
        if not pulled_to and self.loss.prototypes is not None:
            pulled_to = [self.loss.soft(y) @ self.loss.prototypes]
        if pulled_to:
            length = torch.linalg.norm(pulled_to[0], dim=1).clamp(min=1e-9)
            means["distance"] = float((torch.linalg.norm(z - pulled_to[0], dim=1) / length).mean())
        return means

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        (x, y), measured = self.held, {}
        if len(x):
            z = _embeddings(self.net, x)
            scores = self.loss.scores(z, self.head(z))
            measured["valid_accuracy"] = float((scores.argmax(1) == y).float().mean())
            measured["valid_cross_entropy"] = float(F.cross_entropy(scores, y))
        if self.geometry:
            z, labels = _embeddings(self.net, self.own[0]).cpu().numpy(), self.own[1].cpu().numpy()
            measured |= {"nc1": geometry.nc1(z, labels), "nc2": geometry.nc2(z, labels)}
        return measured

    def identity(self) -> str:
        """Return a hash of everything that determines the result."""
        tensors = [*self.own, *self.held, *self.module.state_dict().values()]
        settings = (sorted(asdict(self.config).items()), sorted(self.loss.options.items()), repr(self.module))
        weights = {str(place): values for place, values in enumerate(tensors)}
        return fingerprint("fit_classifier", TRAINING_VERSION, *settings, self.seed, self.geometry, weights=weights)


def _loss(loss, classes: int, dim: int, prototypes, factors, config: ClassifierConfig, seed: int) -> CrossEntropy:
    if not isinstance(loss, (str, Mapping)):
        raise ParameterError("loss", loss, f"a name among {list(LOSSES)}, or a mapping of name and options")
    options = {"name": loss} if isinstance(loss, str) else dict(loss)
    name = options.pop("name", None)
    if factors is not None and (name != "prototype" or prototypes is not None):
        raise ParameterError("factors", factors, f"None with class prototypes or loss {name!r}")
    if factors is not None and factors.dim != dim:
        raise ParameterError("factors.dim", factors.dim, f"{dim}, the network's k")
    if name == "prototypical_network" and config.mixup:
        raise ParameterError("mixup", config.mixup, "0: a prototypical network needs hard labels")
    if name in _OWN_WEIGHTS:
        options.setdefault("seed", seed)
    made = make_loss(name, classes=classes, dim=dim, prototypes=prototypes, **options)
    if type(made) is Prototype and prototypes is None and factors is None:
        raise ParameterError("prototypes", None, "given (C, k), or factors and levels, for loss 'prototype'")
    return made


def _inputs(inputs: ArrayLike) -> np.ndarray:
    x = numbers("inputs", inputs, finite=False, empty=True)
    with np.errstate(over="ignore"):  # values too large for float32 become inf and are reported below
        x = x.astype(np.float32, copy=False)
    if x.ndim not in (2, 3) or not x.size:
        raise ParameterError("inputs.shape", x.shape, "(N, D) or (N, mels, frames), not empty")
    bad = ~np.isfinite(x.reshape(len(x), -1).sum(1))
    if bad.any():
        raise ParameterError(f"inputs[{int(bad.argmax())}]", "nan or inf", "finite")
    return x


def _targets(factors: FactorPrototypes | None, levels, train: np.ndarray, n: int) -> np.ndarray | None:
    """Return the prototypes of the training clips by their levels, float32 (N_train, k); None without factors."""
    if (factors is None) != (levels is None):
        raise ParameterError("levels", levels, "given (N, m) together with factors, or neither")
    if factors is None:
        return None
    if not isinstance(factors, FactorPrototypes):
        raise ParameterError("factors", type(factors).__name__, "FactorPrototypes")
    levels = numbers("levels", levels)
    if levels.shape != (n, len(factors.levels.names)):
        raise ParameterError("levels.shape", levels.shape, f"{(n, len(factors.levels.names))}: factors of each clip")
    return factors.targets(levels[train])


def _mark(net: nn.Module) -> str:
    """Return a hash of the architecture of a network, without its weights."""
    return fingerprint(repr(net))


def _dimension(net: nn.Module, x: Tensor) -> int:
    """Return the number of dimensions k of the network's output for two inputs."""
    try:
        z = _embeddings(net.eval(), x[:2])
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ParameterError("network", type(net).__name__, f"one that takes {tuple(x[:2].shape)}: {reason}") from error
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != len(x[:2]):
        raise ParameterError("network", f"a map from {tuple(x[:2].shape)} to {tuple(z.shape)}", "one to (B, k)")
    return z.shape[1]


@torch.no_grad()
def _embeddings(net: nn.Module, x: Tensor) -> Tensor:
    """Return z of all rows, computed in chunks; the network must be in eval mode."""
    return torch.cat([net(some) for some in x.split(max(1, int(_CHUNK // x[0].numel())))])
