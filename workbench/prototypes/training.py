"""Training a classifier whose embeddings a loss shapes.

The network maps inputs to embeddings z (N, k), a linear head with bias maps z to logits (N, C), a loss of
:mod:`.losses` trains both. Everything that is chosen, such as the epoch kept, is chosen on the validation part.
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
"""To be raised when training changes its numbers: checkpoints of before are then refused."""
_BALANCED = ("supervised_contrastive", "orthogonal_projection", "prototypical_network")
"""Losses that compare clips within a batch, and get as many of each class."""
_OWN_WEIGHTS = ("supervised_contrastive", "arcface", "rbf")
"""Losses whose ``seed`` draws weights that are trained; it is the seed of the run."""
_ONE_THREAD = 3e7
"""Multiplications of a step on vectors below which one CPU thread does it: waiting for each other costs more."""
_CHUNK = 4e6
"""Input numbers that go through the network at once when nothing is trained."""
_ARRAYS = ("z", "logits", "scores", "weight", "bias", "prototypes", "y")

_PAPER = {"epochs": 25, "warmup": 5, "keep": "last"}
_PAPER_AST = {"optimizer": "adam", "betas": (0.95, 0.999), "weight_decay": 5e-6, "schedule": "decay"}
_PAPER_AST |= _PAPER | {"standardise": "all"}
_PAPER_BEATS = {"batch": 16, "betas": (0.9, 0.98), "weight_decay": 0.01, "standardise": "none"} | _PAPER
_KS2 = {"epochs": 30, "mixup": 0.5}


@dataclass(frozen=True)
class ClassifierConfig(Config):
    """How a classifier is trained: optimiser, schedule, augmentation and when to stop.

    "paper" and "paper-ks2" fine-tune AST on ESC-50 and on Speech Commands (35 words) as the code of arXiv 2406.16145
    does, "paper-beats" and "paper-beats-ks2" BEATs; there warm-up rises from 0, where that code starts AST's above its
    highest. The others are this package's: "conv" trains a small network from scratch, "efficientat" and "ecapa"
    fine-tune those.
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
    """The training clips are seen at most so many times."""
    batch: int = 32
    """A step is made on so many clips."""
    learning_rate: float = 1e-3
    """The optimiser's highest learning rate."""
    weight_decay: float = 1e-4
    """The optimiser's weight decay, which is an L2 penalty for "adam"."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """The optimiser is Adam, or Adam with decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """The optimiser's decay rates of its running means."""
    schedule: Literal["constant", "cosine", "decay"] = "constant"
    """After the warm-up the rate is constant, falls to a thousandth, or is multiplied by 0.85 each epoch."""
    warmup: int = 0
    """The rate rises linearly to its highest over so many epochs."""
    mixup: float = 0.0
    """A training clip is mixed with another with this probability, by shares drawn from Beta(10, 10)."""
    spec_augment: tuple[int, int] = (0, 0)
    """Masks hide fewer than so many bands and frames of a spectrogram; (0, 0) masks nothing."""
    keep: Literal["best", "last"] = "best"
    """The epoch of highest validation accuracy (ties: lowest cross-entropy, then the first) is kept, or the last."""
    patience: int | None = None
    """The training stops after so many epochs without a better one; None never stops it."""
    standardise: Literal["each", "all", "none"] = "each"
    """Dimensions or mel bands are standardised each, all together to deviation 1/2 as AST does, or not."""

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
        """Learning rate of an epoch, 0 first."""
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
    """A trained classifier and what it makes of all clips; made by :func:`fit_classifier`."""

    config: ClassifierConfig
    """How it was trained."""
    z: np.ndarray
    """Embeddings of all clips, float32 (N, k)."""
    logits: np.ndarray
    """Logits of the linear head, float32 (N, C)."""
    scores: np.ndarray
    """What the loss decides by, float32 (N, C); the logits, unless it has a classifier of its own."""
    weight: np.ndarray
    """Weights of the head, float32 (C, k)."""
    bias: np.ndarray
    """Bias of the head, float32 (C,)."""
    prototypes: np.ndarray
    """The loss's prototypes, float32 (C, k); where it has none, each class's mean training embedding."""
    classes: np.ndarray
    """Labels in the order of the columns, sorted, (C,)."""
    y: np.ndarray
    """Class of each clip as a column, int64 (N,); -1 outside the split."""
    split: Split
    """The clips that were learnt from, chosen on and kept apart."""
    history: pd.DataFrame
    """Row an epoch run: rate, means over training batches, validation accuracy and cross-entropy."""
    epoch: int
    """The epoch kept, 0 first."""
    seconds: float
    """Time of the training."""
    network: nn.Module = field(repr=False)
    """The network with the weights kept, on the CPU; it takes standardised inputs."""
    loss: CrossEntropy = field(repr=False)
    """The loss with its own state; ``loss.options`` is what :func:`make_loss` makes it from."""
    shift: np.ndarray | None = field(repr=False)
    """Training statistics by which inputs are standardised."""
    scale: np.ndarray | None = field(repr=False)
    """Training statistics too: inputs become (inputs - shift) / scale."""

    @property
    def predictions(self) -> np.ndarray:
        """Label decided for each clip, (N,)."""
        return self.classes[self.scores.argmax(1)]

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the scores, float64 (N, C); of a sigmoid classifier, its outputs over their sum."""
        scores = torch.from_numpy(self.scores).double()
        odds = F.logsigmoid(scores) if self.loss.classification == "sigmoid" else scores
        return odds.softmax(1).numpy()

    @property
    def accuracy(self) -> float:
        """Share of the test clips that the scores decide rightly."""
        return float(np.mean(self.scores[self._test].argmax(1) == self.y[self._test]))

    def evaluate(self) -> dict[str, float]:
        """Measure the test clips: a task of :func:`workbench.study` returns this.

        Returns
        -------
        dict
            ``accuracy`` by the scores, ``accuracy_nearest`` by the nearest of :attr:`prototypes`,
            ``calibration_error``, ``nc1`` and ``nc2`` (:mod:`workbench.metrics.geometry`), ``epochs`` run, the
            ``epoch`` kept and ``seconds`` of the training.

        Raises
        ------
        ParameterError
            The split has no test clips.
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
        """Embeddings of other inputs, standardised as in training; float32 (N, k)."""
        inputs = _inputs(inputs)
        if np.ndim(self.shift) and inputs.shape[1] != len(self.shift):
            raise ParameterError("inputs.shape", inputs.shape, f"(N, {len(self.shift)}, ...), as in training")
        inputs = torch.from_numpy(batches.standardised(inputs, self.shift, self.scale))
        _dimension(self.network, inputs)  # which names what the network cannot take
        return _embeddings(self.network.eval(), inputs).numpy()

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write everything but the network's own code to a folder, and return it."""
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
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        folder : path
        network : callable, or nn.Module
            As in the training; the weights come from the folder.

        Raises
        ------
        WeightsError
            The folder is missing or damaged, holds something else, or was written with another network.
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
        points = tensors.get("loss.fixed", tensors.get("loss.learnt"))  # whether there are any; values are loaded below
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
        Frozen embeddings, waveforms, or spectrograms; :func:`~.extractors.extractor` makes them.
    y : array_like (N,)
        Class of each clip, of any sortable type.
    split : Split
        Rows of train, valid (needed unless the last epoch is kept) and test, which is only ever predicted.
    network : callable, or nn.Module
        Makes the network that maps a batch to z (B, k), such as ``partial(MLPProjector, 256, 64)``. A module is copied
        and trained on from its weights, those that require gradients.
    loss : str or mapping
        A name of :data:`~.losses.LOSSES`, or {"name": ..., option: ...}.
    prototypes : array_like (C, k), optional
        What some losses pull to, start from or classify by; rows in the order of the sorted labels of the training
        clips. Their length sqrt(k) is a good start: the nearest prototype decides well only where the pull is strong
        enough for it.
    factors : FactorPrototypes, optional
        Pull each clip to the prototype of its factor levels instead; with ``levels``, loss "prototype" only.
    levels : array_like of int (N, m), optional
        Levels of all clips; only the rows of train are looked at.
    config : ClassifierConfig or str
        The settings, or the name of a preset.
    seed : int
        Draws weights, order of clips, mixup and masks. Draw the prototypes by a seed of their own.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    checkpoint : path, optional
        File to which the state is written after each epoch; a training that finds it goes on from there.
    progress : bool or callable (done, total)
    track_geometry : bool
        Add ``nc1`` and ``nc2`` of the training clips to the history; one more pass over them an epoch.
    **fields
        Fields of :class:`ClassifierConfig`, in place of the config's: ``epochs``, ``batch``, ``learning_rate`` ...

    Returns
    -------
    TrainedClassifier

    Raises
    ------
    ParameterError
        Inputs that are NaN or of a wrong shape, a class of valid or test that is not in train, a part that is missing,
        an unknown loss, option or field, prototypes that do not fit, a loss that ran away, or a checkpoint of another
        training.

    Notes
    -----
    The history's ``cross_entropy`` is that of the scores with the labels trained on, ``distance`` the mean of
    ||z - p|| / ||p||, both over the epoch's batches while weights change. Under mixup the inputs are mixed as they are
    given: of log-mel spectrograms that is not what mixing the waveforms would give.
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
    """What one training changes, and the clips that it learns from and is chosen on."""

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
        """Train once through the clips; means over the batches."""
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
        """Hash of all that decides the numbers."""
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
    with np.errstate(over="ignore"):  # what does not fit becomes inf and is named below
        x = x.astype(np.float32, copy=False)
    if x.ndim not in (2, 3) or not x.size:
        raise ParameterError("inputs.shape", x.shape, "(N, D) or (N, mels, frames), not empty")
    bad = ~np.isfinite(x.reshape(len(x), -1).sum(1))
    if bad.any():
        raise ParameterError(f"inputs[{int(bad.argmax())}]", "nan or inf", "finite")
    return x


def _targets(factors: FactorPrototypes | None, levels, train: np.ndarray, n: int) -> np.ndarray | None:
    """Prototypes of the training clips, float32 (N_train, k)."""
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
    """Hash of how a network is built, without its weights."""
    return fingerprint(repr(net))


def _dimension(net: nn.Module, x: Tensor) -> int:
    """k, by looking at what comes out."""
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
    """z of all rows, in chunks that fit into memory; the network must be in eval mode."""
    return torch.cat([net(some) for some in x.split(max(1, int(_CHUNK // x[0].numel())))])
