"""Training a classifier whose embeddings a loss shapes, and comparing losses on the same folds and seeds.

The network maps inputs to embeddings z (N, k), a linear head with bias maps z to logits (N, C), a loss of
:mod:`.losses` trains both. Everything that is chosen, such as the epoch kept, is chosen on the validation part.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked, numbers
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.learning import check_loss, unlearnt, warn_unlearnt
from ..core.splits import split_rows
from ..core.warn import warn
from ..metrics import geometry
from ..probes.inputs import codes
from . import recipes
from .factors import FactorPrototypes
from .losses import LOSSES, Prototype, make_loss
from .recipes import Recipe
from .rival_losses import CrossEntropy
from .tracks import known, warn_shared

if TYPE_CHECKING:
    import pandas as pd

BALANCED = ("supervised_contrastive", "orthogonal_projection", "prototypical_network")
"""Losses that compare clips within a batch, and get as many of each class."""
OWN_WEIGHTS = ("supervised_contrastive", "arcface", "rbf")
"""Losses whose ``seed`` draws weights that are trained; it is the seed of the run."""
ONE_THREAD = 3e7
"""Multiplications of a step on vectors below which one CPU thread does it: waiting for each other costs more."""
CHUNK = 4e6
"""Input numbers that go through the network at once when nothing is trained."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained classifier and what it makes of all clips; made by :func:`train_classifier`."""

    z: np.ndarray
    """Embeddings of all clips, float32 (N, k)."""
    logits: np.ndarray
    """Of the linear head, float32 (N, C)."""
    scores: np.ndarray
    """What the loss decides by, float32 (N, C); the logits, unless it has a classifier of its own."""
    weight: np.ndarray
    """Of the head, float32 (C, k)."""
    bias: np.ndarray
    """Of the head, float32 (C,)."""
    prototypes: np.ndarray
    """Of the loss, float32 (C, k); of a loss without any, each class's mean training embedding."""
    classes: np.ndarray
    """Labels in the order of the columns, sorted, (C,)."""
    y: np.ndarray
    """Class of each clip as a column, int64 (N,); -1 outside the split."""
    split: dict[str, np.ndarray]
    """Rows of "train", "valid" and "test"."""
    history: pd.DataFrame
    """Row an epoch run: rate, means over training batches, validation accuracy and cross-entropy."""
    epoch: int
    """The one kept, 0 first."""
    seconds: float
    """Time of the training."""
    network: nn.Module = field(repr=False)
    """With the weights kept, on the CPU; takes standardised inputs."""
    loss: CrossEntropy = field(repr=False)
    """With its own state."""
    shift: np.ndarray | None = field(repr=False)
    """Training statistics by which inputs are standardised."""
    scale: np.ndarray | None = field(repr=False)
    """As ``shift``: (inputs - shift) / scale."""

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

    @cached_property
    def accuracy(self) -> float:
        """On test, by the scores."""
        return float(np.mean(self.scores[self.split["test"]].argmax(1) == self._true))

    @cached_property
    def accuracy_nearest(self) -> float:
        """On test, by the nearest of :attr:`prototypes`."""
        return float(np.mean(geometry.nearest_prototype(self.z[self.split["test"]], self.prototypes) == self._true))

    @cached_property
    def calibration_error(self) -> float:
        """Expected calibration error on test."""
        return geometry.expected_calibration_error(self.probabilities[self.split["test"]], self._true)

    def embed(self, inputs: ArrayLike) -> np.ndarray:
        """Embeddings of other inputs, standardised as in training; float32 (N, k)."""
        inputs = _checked(inputs)
        if np.ndim(self.shift) and inputs.shape[1] != len(self.shift):
            raise ParameterError("inputs.shape", inputs.shape, f"(N, {len(self.shift)}, ...), as in training")
        inputs = torch.from_numpy(recipes.standardised(inputs, self.shift, self.scale))
        _dimension(self.network, inputs)  # which names what the network cannot take
        return _embeddings(self.network.eval(), inputs).numpy()

    @property
    def _true(self) -> np.ndarray:
        return self.y[self.split["test"]]


@checked
def train_classifier(
    inputs: ArrayLike,
    y: ArrayLike,
    split: object,
    *,
    network: Callable[[], nn.Module],
    loss: str | Mapping[str, object] = "prototype",
    prototypes: ArrayLike | None = None,
    factors: FactorPrototypes | None = None,
    levels: ArrayLike | None = None,
    preset: str = "default",
    seed: int = 0,
    device: str | torch.device = "auto",
    track_geometry: bool = False,
    progress: bool = True,
    **fields: object,
) -> Trained:
    """Train a network and a linear head with one of the losses.

    Parameters
    ----------
    inputs : array_like float (N, D), (N, samples) or (N, mels, frames)
        Frozen embeddings, waveforms, or spectrograms; :func:`~.extractors.extractor` makes them.
    y : array_like (N,)
        Class of each clip, of any sortable type.
    split : object, mapping or 3-tuple with train, valid, test
        Disjoint rows. ``test`` is only ever predicted.
    network : callable, or nn.Module
        Makes the network that maps a batch to z (B, k), such as ``partial(MLPProjector, 256, 64)``. A module is copied
        and trained on from its weights.
    loss : str or mapping
        A name of :data:`LOSSES`, or {"name": ..., option: ...}.
    prototypes : array_like (C, k), optional
        Of the losses that take them; rows in the order of the sorted labels of the training clips. Their length
        sqrt(k) is a good start: the nearest prototype decides well only where the pull is strong enough for it.
    factors : FactorPrototypes, optional
        Pull each clip to the prototype of its factor levels instead; with ``levels``, loss "prototype" only.
    levels : array_like of int (N, m), optional
        Levels of all clips; only the rows of train are looked at.
    preset : str
        Of :data:`~.recipes.PRESETS`.
    seed : int
        Draws weights, order of clips, mixup and masks. Draw the prototypes by a seed of their own.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1".
    track_geometry : bool
        Add ``nc1`` and ``nc2`` of the training clips to the history; one more pass over them an epoch.
    progress : bool
        Show a bar.
    fields
        Of :class:`Recipe`, in place of the preset's: ``epochs``, ``batch``, ``learning_rate``, ``mixup`` ...

    Returns
    -------
    Trained

    Raises
    ------
    ParameterError
        Inputs that are NaN or of a wrong shape, a class of valid or test that is not in train, a part that is missing,
        an unknown loss, option or field, prototypes that do not fit, or a loss that ran away.

    Notes
    -----
    The history's ``cross_entropy`` is that of the scores with the labels trained on, ``distance`` the mean of
    ||z - p|| / ||p||, both over the epoch's batches while weights change. Under mixup the inputs are mixed as they are
    given: of log-mel spectrograms that is not what mixing the waveforms would give.
    """
    import pandas as pd

    start = time.perf_counter()
    recipe = Recipe.preset(preset, **fields)
    x = _checked(inputs)
    rows = split_rows(split, len(x))
    classes, y = codes(known(y, len(x), rows=np.concatenate(list(rows.values()))), rows)
    _say(x, y, classes, rows)
    if recipe.keep == "best" and not len(rows["valid"]):
        raise ParameterError("split.valid", [], 'at least one clip, on which the epoch is chosen (or keep="last")')
    if any(recipe.spec_augment) and x.ndim != 3:
        raise ParameterError("spec_augment", recipe.spec_augment, "(0, 0) for inputs that are no spectrograms")
    shift, scale = recipes.statistics(x[rows["train"]], recipe.standardise)
    place = chosen_device(device)
    x = torch.from_numpy(recipes.standardised(x, shift, scale)).to(place)
    targets = _targets(factors, levels, rows["train"], len(x))
    with _seeded(seed, place):
        net = copy.deepcopy(network) if isinstance(network, nn.Module) else _made(network)
        net.to(place)
        dim = _dimension(net, x)
        head = nn.Linear(dim, len(classes)).to(place)
        objective = _loss(loss, len(classes), dim, prototypes, factors, recipe, seed).to(place)
        run = _Run(net, head, objective, recipe, np.random.default_rng(seed))
        step = recipe.batch * sum(p.numel() for p in net.parameters())
        with _threads(1 if x.ndim == 2 and step < ONE_THREAD else torch.get_num_threads()):
            history, epoch = _fit(run, x, torch.from_numpy(y).to(place), rows, targets, track_geometry, progress)
            z = _embeddings(net, x)
            with torch.no_grad():
                logits = head(z)
                scores = objective.scores(z, logits)
    points = objective.prototypes
    if points is None or factors is not None:
        own = torch.from_numpy(rows["train"]).to(place)
        members = F.one_hot(torch.from_numpy(y).to(place)[own], len(classes)).float()
        points = members.T @ z[own] / members.sum(0)[:, None]
    reason = unlearnt([row["loss"] for row in history], epoch if recipe.keep == "best" else None)
    warn_unlearnt("train_classifier", reason, f"learning_rate={recipe.learning_rate:g}, epochs={recipe.epochs}")
    arrays = (values.detach().cpu().numpy() for values in (z, logits, scores, head.weight, head.bias, points))
    seconds = time.perf_counter() - start
    rest = (classes, y, rows, pd.DataFrame(history), epoch, seconds, net.cpu(), objective.cpu(), shift, scale)
    return Trained(*arrays, *rest)


@dataclass
class _Run:
    """What one training changes."""

    net: nn.Module
    head: nn.Linear
    loss: CrossEntropy
    recipe: Recipe
    rng: np.random.Generator

    def __post_init__(self):
        self.modules = nn.ModuleList([self.net, self.head, self.loss])
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.recipe.optimizer]
        trained = [p for p in self.modules.parameters() if p.requires_grad]
        rest = {"weight_decay": self.recipe.weight_decay, "betas": self.recipe.betas}
        self.optimiser = kind(trained, lr=self.recipe.learning_rate, fused=True, **rest)
        self.labels_mixed = self.recipe.mixup > 0

    def epoch(self, x: Tensor, y: Tensor, targets: Tensor | None) -> dict[str, float]:
        """Train once through the clips; means over the batches."""
        self.modules.train()
        recipe, labels = self.recipe, y.cpu().numpy()
        pick = recipes.balanced if self.balanced else lambda labels, *rest: recipes.shuffled(len(labels), *rest)
        if self.labels_mixed:
            y = F.one_hot(y, self.loss.classes).float()
        seen, total = [], torch.zeros((), device=x.device)
        for picked in pick(labels, recipe.batch, self.rng):
            rows = torch.from_numpy(picked).to(x.device)
            batch = [x[rows], y[rows], *([] if targets is None else [targets[rows]])]
            if self.labels_mixed:
                others = torch.from_numpy(self.rng.integers(0, len(x), len(rows))).to(x.device)
                share = torch.from_numpy(recipes.mixup_shares(len(rows), recipe.mixup, self.rng)).to(x.device)
                batch = [recipes.mix(a, b[others], share) for a, b in zip(batch, (x, y, targets), strict=False)]
            batch[0] = recipes.spec_augment(batch[0], *recipe.spec_augment, self.rng)
            z = self.net(batch[0])
            logits = self.head(z)
            value = self.loss(z, logits, *batch[1:])
            self.optimiser.zero_grad()
            value.backward()
            self.optimiser.step()
            total += value.detach() * len(rows)
            seen.append((z.detach(), logits.detach(), *batch[1:]))
        return self._means(total, [torch.cat(some) for some in zip(*seen, strict=True)])

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

    @property
    def balanced(self) -> bool:
        return isinstance(self.loss, tuple(LOSSES[name] for name in BALANCED))

    @torch.no_grad()
    def validate(self, x: Tensor, y: Tensor) -> dict[str, float]:
        self.modules.eval()
        z = _embeddings(self.net, x)
        scores = self.loss.scores(z, self.head(z))
        right = float((scores.argmax(1) == y).float().mean())
        return {"valid_accuracy": right, "valid_cross_entropy": float(F.cross_entropy(scores, y))}


def _fit(run: _Run, x: Tensor, y: Tensor, rows: dict, targets, track_geometry: bool, progress: bool):
    """All epochs; leaves the weights of the epoch kept in the modules. History, that epoch."""
    from tqdm.auto import tqdm

    recipe = run.recipe
    own, held = (torch.from_numpy(rows[part]).to(x.device) for part in ("train", "valid"))
    x_own, y_own, x_held, y_held = x[own], y[own], x[held], y[held]
    targets = None if targets is None else torch.from_numpy(targets[rows["train"]]).to(x.device)
    history, best, kept, epoch_kept = [], (-math.inf, -math.inf), None, 0
    for epoch in tqdm(range(recipe.epochs), disable=not progress, desc="epochs"):
        for group in run.optimiser.param_groups:
            group["lr"] = recipe.rate(epoch)
        row = {"epoch": epoch, "learning_rate": recipe.rate(epoch), **run.epoch(x_own, y_own, targets)}
        check_loss(row["loss"], recipe.learning_rate, f"epoch {epoch}")
        if len(held):
            row |= run.validate(x_held, y_held)
        if track_geometry:
            z = _embeddings(run.net.eval(), x_own).cpu().numpy()
            labels = y_own.cpu().numpy()
            row |= {"nc1": geometry.nc1(z, labels), "nc2": geometry.nc2(z, labels)}
        history.append(row)
        if recipe.keep == "last":
            epoch_kept = epoch
        elif (found := (row["valid_accuracy"], -row["valid_cross_entropy"])) > best:
            best, epoch_kept = found, epoch
            kept = {name: values.clone() for name, values in run.modules.state_dict().items()}
        elif recipe.patience is not None and epoch - epoch_kept >= recipe.patience:
            break
    if kept is not None:
        run.modules.load_state_dict(kept)
    run.modules.eval()
    return history, epoch_kept


def _loss(loss, classes: int, dim: int, prototypes, factors, recipe: Recipe, seed: int) -> CrossEntropy:
    if not isinstance(loss, (str, Mapping)):
        raise ParameterError("loss", loss, f"a name among {list(LOSSES)}, or a mapping of name and options")
    options = {"name": loss} if isinstance(loss, str) else dict(loss)
    name = options.pop("name", None)
    if factors is not None and (name != "prototype" or prototypes is not None):
        raise ParameterError("factors", factors, f"None with class prototypes or loss {name!r}")
    if factors is not None and factors.dim != dim:
        raise ParameterError("factors.dim", factors.dim, f"{dim}, the network's k")
    if name == "prototypical_network" and recipe.mixup:
        raise ParameterError("mixup", recipe.mixup, "0: a prototypical network needs hard labels")
    if name in OWN_WEIGHTS:
        options.setdefault("seed", seed)
    made = make_loss(name, classes=classes, dim=dim, prototypes=prototypes, **options)
    if type(made) is Prototype and prototypes is None and factors is None:
        raise ParameterError("prototypes", None, "given (C, k), or factors and levels, for loss 'prototype'")
    return made


def _made(network: object) -> nn.Module:
    net = network() if callable(network) else None
    if not isinstance(net, nn.Module):
        found = network if net is None else type(net).__name__
        raise ParameterError("network", found, "a torch module, or a callable that makes one")
    return net


def _say(x: np.ndarray, y: np.ndarray, classes: np.ndarray, rows: dict[str, np.ndarray]) -> None:
    """Refuse training inputs that are all the same; warn of classes that a part lacks and of clips in two parts."""
    own = x[rows["train"]]
    if (own == own[0]).all():
        raise ParameterError("inputs", f"{len(own)} training inputs that are all the same", "inputs that differ")
    for part in ("valid", "test"):
        if not len(rows[part]):
            continue
        absent = np.setdiff1d(np.arange(len(classes)), y[rows[part]])
        if len(absent):
            few = ", ".join(map(str, classes[absent][:5])) + (" ..." if len(absent) > 5 else "")
            text = f"split.{part} has no clip of {len(absent)} of the {len(classes)} classes ({few})"
            warn(text)
        warn_shared(own, x[rows[part]], f"split.{part}")


def _checked(inputs: ArrayLike) -> np.ndarray:
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
    """Prototypes of the training clips in their rows, float32 (N, k)."""
    if (factors is None) != (levels is None):
        raise ParameterError("levels", levels, "given (N, m) together with factors, or neither")
    if factors is None:
        return None
    if not isinstance(factors, FactorPrototypes):
        raise ParameterError("factors", type(factors).__name__, "FactorPrototypes")
    levels = numbers("levels", levels)
    if levels.shape != (n, len(factors.levels.names)):
        raise ParameterError("levels.shape", levels.shape, f"{(n, len(factors.levels.names))}: factors of each clip")
    targets = np.zeros((n, factors.dim), dtype=np.float32)
    targets[train] = factors.targets(levels[train])
    return targets


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
    return torch.cat([net(some) for some in x.split(max(1, int(CHUNK // x[0].numel())))])


@contextlib.contextmanager
def _seeded(seed: int, place: torch.device) -> Iterator[None]:
    """Torch's own generator, which initial weights and dropout draw from, seeded here and as before outside."""
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
