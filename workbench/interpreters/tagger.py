"""Train multi-label classifiers (taggers), as used for SONYC-UST, so that they can be explained."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked, numbers, several
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.fitting import RATES, Config, seeded, settle, train
from ..core.progress import Progress
from ..core.splits import Split, fitting
from ..core.warn import warn
from ..encoders import Encoder
from ..metrics.fidelity import average_precision
from .classifiers import Classifier, LogMels, network_of, real
from .imitation import BATCH, batches
from .vgg import LEAST_VGG, KumarVGG, VGGBody


@dataclass(frozen=True)
class TaggerConfig(Config):
    """Configuration of the training of a tagger."""

    epochs: int = 30
    """Number of passes over the training clips."""
    batch: int = 16
    """Largest number of clips per step."""
    learning_rate: float = 1e-3
    """Learning rate of Adam, constant."""

    def __post_init__(self):
        settle(self, epochs={"least": 1}, batch={"least": 1}, learning_rate=RATES)


@checked
def fit_tagger(
    x: Tensor,
    tags: ArrayLike,
    split: Split,
    *,
    classes: Sequence[object],
    network: str | Encoder = "conv",
    config: TaggerConfig | str = "default",
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | os.PathLike | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> Classifier:
    """Train a multi-label classifier by binary cross-entropy, in which rare positives have larger weights (1 to 20).

    The epoch with the highest mean average precision on the validation clips is kept.

    Parameters
    ----------
    x : Tensor (N, samples)
        Waveforms at the network's rate: 16 kHz for "conv", 44.1 kHz for "vgg", or that of the encoder.
    tags : array_like of bool (N, C)
        True labels.
    split : Split
        The clips to train on, and those by which the epoch is selected.
    classes : sequence of str (C,)
        Names of the classes.
    network : {"conv", "vgg"} or Encoder
        A small convolutional network or the paper's VGG, from random weights, or a linear head on a frozen encoder.
    config : TaggerConfig or "default"
        Configuration.
    seed : int
        Seed of the weights and of the order of clips.
    device : str
        Device of the training.
    checkpoint : path, optional
        File to which the state is written; the same call resumes from it.
    progress : bool or callable (done, total)
        True shows a progress bar; a callable is called after each epoch.
    **fields
        Fields of :class:`TaggerConfig` that replace those of ``config``.

    Returns
    -------
    Classifier
        The classifier, with ``multilabel`` set and the history of its training.

    Raises
    ------
    ParameterError
        If waveforms or tags have a wrong shape, a class has no positive among the training clips, no class has one
        among the validation clips, or the network is unknown.

    Warns
    -----
    UserWarning
        If some classes have no positive among the validation clips.
    """
    config = TaggerConfig.named(config, **fields)
    classes = several("classes", classes, lambda _, name: str(name))
    x, y = real("x", x), torch.from_numpy(numbers("tags", tags).astype(np.float32))
    if x.ndim != 2 or not x.numel() or not x.isfinite().all():
        raise ParameterError("x.shape", tuple(x.shape), "(N, samples), finite, with at least one clip")
    if not ((y == 0) | (y == 1)).all():
        raise ParameterError("tags", sorted(set(y.flatten().tolist()))[:5], "0 and 1, or False and True")
    if y.shape != (len(x), len(classes)):
        raise ParameterError("tags.shape", tuple(y.shape), f"({len(x)}, {len(classes)}), clips and classes")
    rows, valid, _ = fitting(split, len(x), needed=("train", "valid"))
    if len(rows) < 2:
        raise ParameterError("split.train", rows.tolist(), "two clips or more")
    positives = y[rows].sum(0)
    if (positives == 0).any():
        raise ParameterError("tags", f"none of {classes[int(positives.argmin())]} in train", "a positive of each class")
    absent = [classes[int(c)] for c in (y[valid].sum(0) == 0).nonzero()]
    if len(absent) == len(classes):
        raise ParameterError("tags", "no positive of any class in valid", "some, on which the epoch is chosen")
    if absent:
        few = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        warn(f"{len(absent)} of {len(classes)} classes have no positive in valid ({few}) and do not count there")
    with seeded(seed, chosen_device(device)):
        module, options = network_of(network, len(classes))
        front, vgg = module.front_end, isinstance(module, KumarVGG)
        body, head = (VGGBody(module), module.out) if vgg else (module.network, module.head)
        if isinstance(body, nn.BatchNorm1d) and math.ceil(len(rows) / config.batch) > len(rows) // 2:
            raise ParameterError("batch", config.batch, "so large that no step has one clip alone")
        tagger = Classifier(module, classes=classes, multilabel=True, device=device, **options)
        place, inputs = tagger.device, _inputs(front, body, x, rows, tagger.device)
        trained = nn.ModuleList([body, head]).requires_grad_()
        adam, rng = torch.optim.Adam(trained.parameters(), lr=config.learning_rate), np.random.default_rng(seed)
        weight = ((len(rows) - positives) / positives).clamp(1, 20).to(place)

        def epoch(i: int) -> dict[str, float]:
            total = torch.zeros((), device=place)
            for batch in batches(rng.permutation(rows), config.batch):
                scores = head(body(inputs[batch].to(place)))
                loss = F.binary_cross_entropy_with_logits(scores, y[batch].to(place), pos_weight=weight)
                adam.zero_grad()
                loss.backward()
                adam.step()
                total += loss.detach() * len(batch)
            return {"loss": float(total) / len(rows)}

        @torch.no_grad()
        def validate() -> dict[str, float]:
            scores = torch.cat([head(body(part.to(place))).sigmoid().cpu() for part in inputs[valid].split(BATCH)])
            return {"average_precision": average_precision(y[valid].numpy() > 0, scores.double().numpy()).macro}

        def identity() -> str:
            parts = ("tagger", config, seed, classes, rows.tolist(), valid.tolist(), tagger.fingerprint)
            return fingerprint(*parts, weights={"x": x, "y": y})

        tagger.history, _ = train(
            epoch,
            config.epochs,
            module=trained,
            optimizer=adam,
            validate=validate,
            score=lambda row: row["average_precision"],
            learning_rate=config.learning_rate,
            name="tagger",
            generators=[rng],
            checkpoint=checkpoint,
            identity=identity,
            progress=progress,
        )
    trained.requires_grad_(False)
    return tagger


@torch.no_grad()
def _inputs(front: nn.Module, body: nn.Module, x: Tensor, rows: np.ndarray, device: torch.device) -> Tensor:
    """Return the outputs of the fixed front end for every clip, standardised by statistics of the training clips."""
    front.eval()
    if isinstance(body, VGGBody) and x.shape[1] < LEAST_VGG:
        raise ParameterError("x.shape", tuple(x.shape), f"clips of at least {LEAST_VGG} samples at 44.1 kHz")
    inputs = torch.cat([front(part.to(device)).cpu() for part in x.split(16)])
    if isinstance(front, LogMels):
        shift, scale = inputs[rows].mean((0, 2), keepdim=True)[0], inputs[rows].std((0, 2), keepdim=True)[0] + 1e-6
        front.shift, front.scale = shift.to(device), scale.to(device)
        inputs = (inputs - shift) / scale
    return inputs
