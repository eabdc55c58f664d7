"""VIBI: the few cells of a log-mel image that tell most about a classifier's decision.

Bang et al.: "Explaining a black-box using deep variational information bottleneck approach" (AAAI 2021, arXiv
1902.06918), another rival of arXiv 2202.11479. An explainer gives each of d cells a probability p (d,); k of them are
drawn, a cell is kept if any draw took it, and an approximator tells the classifier's decision from what is kept. Both
are trained together on cross-entropy + beta k KL(uniform || p): cells that tell the decision, and no more certainty
about them than that takes.

Draws are relaxed (concrete) and reparameterised, so that the approximator's loss reaches the explainer; with the
sampler of the authors' program it does not. No score of the classifier but its decision is used.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from .. import audio
from ..core.checks import checked
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.fitting import RATES, Config, seeded, settle, train
from ..core.progress import Progress
from ..core.splits import Split
from .classifiers import Classifier, real
from .imitation import Interpreter, agreement, batches, prepared
from .spectra import Spectra


@dataclass(frozen=True)
class VibiConfig(Config):
    """The image, its cells, and how VIBI is trained; beta, temperature, schedule and batch are the authors' for images.

    Cells and k for sound are not published. The default temperature is the one that the authors' program uses for
    images, that of the preset "paper" the one that they give.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {"paper": {"temperature": 0.7}}

    mels: int = 64
    """The image has so many rows, bands of log(1 + mel magnitude)."""
    height: int = 8
    """A cell is so many mel bands high."""
    width: int = 8
    """A cell is so many frames wide."""
    cells: int = 32
    """So many cells, k, are drawn, and kept in the end."""
    beta: float = 0.1
    """This is the weight of the information term."""
    temperature: float = 0.5
    """The relaxed draws have this temperature."""
    epochs: int = 100
    """The training clips are seen so many times."""
    batch: int = 50
    """A step takes so many clips at most."""
    learning_rate: float = 1e-4
    """Adam, with betas (.5, .999), begins with this learning rate."""
    decay: float = 0.97
    """An epoch multiplies the learning rate by this."""
    averaging: float = 0.999
    """The weights that are kept are a moving average with this decay; with less in the first steps, (1 + step) /
    (10 + step)."""

    def __post_init__(self):
        counts = dict.fromkeys(("mels", "height", "width", "cells", "epochs", "batch"), {"least": 1})
        rates = {"learning_rate": RATES, "decay": {"above": 0, "most": 1}, "averaging": {"least": 0, "below": 1}}
        settle(self, **counts, **rates, temperature={"above": 0}, beta={"least": 0})


class _Convolutions(nn.Sequential):
    """Images (B, 1, mels, frames) to maps of 64 channels, an eighth as high and as long."""

    def __init__(self):
        parts = []
        for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
            parts += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        super().__init__(*parts)


class Explainer(nn.Module):
    """Images (B, mels, frames) -> log p of the cells (B, d); rows of cells one after the other, low bands first."""

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.convolutions = _Convolutions()
        self.out = nn.Conv2d(64, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        y = F.interpolate(self.convolutions(image[:, None]), (self.rows, self.columns), mode="nearest")
        return self.out(y).flatten(1).log_softmax(1)


class Approximator(nn.Module):
    """Images of which little is left (B, mels, frames) -> scores (B, C): means of each band over time, and maxima."""

    def __init__(self, mels: int, classes: int):
        super().__init__()
        self.convolutions = _Convolutions()
        self.out = nn.Sequential(nn.Linear(2 * 64 * -(-mels // 8), 128), nn.ReLU(), nn.Linear(128, classes))

    def forward(self, image: Tensor) -> Tensor:
        y = self.convolutions(image[:, None])
        return self.out(torch.cat([y.mean(3), y.amax(3)], 1).flatten(1))


class Bottleneck(nn.Module):
    """Explainer and approximator: images (B, mels, frames) -> scores (B, C) for what is kept of them, log p (B, d)."""

    def __init__(self, config: VibiConfig, frames: int, classes: int):
        super().__init__()
        self.config, self.frames = config, frames
        self.explainer = Explainer(-(-config.mels // config.height), -(-frames // config.width))
        self.approximator = Approximator(config.mels, classes)

    def forward(self, image: Tensor, *, drawn: bool = False) -> tuple[Tensor, Tensor]:
        """Cells are drawn, or the k likeliest."""
        log_p, count = self.explainer(image), self.config.cells
        cells = _concrete(log_p, count, self.config.temperature) if drawn else _most(log_p, count)
        return self.approximator(image * self.spread(cells)), log_p

    def spread(self, cells: Tensor) -> Tensor:
        """Values of cells (B, d) over the image, (B, mels, T)."""
        grid = cells.reshape(-1, self.explainer.rows, self.explainer.columns)
        grid = grid.repeat_interleave(self.config.height, 1).repeat_interleave(self.config.width, 2)
        return grid[:, : self.config.mels, : self.frames]


class Vibi(Interpreter):
    """A trained explainer and its approximator, both in its module; made by :func:`fit_vibi`.

    The history has both terms of the loss over the training clips (bits, information in nats), and fidelity and bits on
    the validation clips. Attributes are those of :class:`~.imitation.Interpreter`.
    """

    CONFIG = VibiConfig

    def __init__(self, classifier: Classifier, spectra: Spectra, samples: int, config: VibiConfig, scale: float = 1.0):
        frames = spectra.frames(samples)
        filters = audio.mel_filters(spectra.rate, n_fft=spectra.n_fft, n_mels=config.mels).T.to(classifier.device)
        self.filters = filters / filters.sum(1, keepdim=True).clamp_min(1e-9)  # a mean: quiet bands stay visible
        network = Bottleneck(config, frames, len(classifier.classes))
        self.rows, self.columns = network.explainer.rows, network.explainer.columns
        if config.cells > self.rows * self.columns:
            raise ParameterError("cells", config.cells, f"at most {self.rows * self.columns}, all there are")
        super().__init__(classifier, spectra, config, network, frames, {"samples": samples, "scale": scale})

    def __repr__(self) -> str:
        return f"Vibi({self.classifier.name}; {self.config.cells} of {self.rows} x {self.columns} cells)"

    @torch.no_grad()
    def explain(self, x: ArrayLike | Tensor) -> Tensor:
        """Return the k likeliest cells as a mask, float32 (F, T), 0 or 1, on the spectrogram of a waveform (samples,).

        A bin belongs to the mel band whose filter is largest there. The decision of the classifier is explained; there
        is no choice of class.
        """
        x = real("x", x)
        if x.ndim != 1:
            raise ParameterError("x.shape", tuple(x.shape), "(samples,), one clip")
        log_p = self.module.explainer(self.images(self._clips(x[None])))
        return self.module.spread(_most(log_p, self.config.cells))[0][self.bands].cpu()

    @property
    def bands(self) -> Tensor:
        """The mel band of each bin of the spectrogram, int64 (F,)."""
        peaks = self.filters.argmax(1)  # bins outside all filters, and those of filters without bins: the nearest peak
        nearest = (torch.arange(self.spectra.bins, device=peaks.device)[:, None] - peaks).abs().argmin(1)
        return torch.where(self.filters.sum(0) > 0, self.filters.argmax(0), nearest)

    @torch.no_grad()
    def images(self, x: Tensor) -> Tensor:
        """log(1 + mel magnitude) over its mean in training, (N, mels, T): silence is 0, as masked cells are."""
        parts = (self.spectra.stft(part.to(self.classifier.device)).abs() for part in x.split(self.config.batch))
        return torch.cat([(self.filters @ part).log1p() for part in parts]) / self._sizes["scale"]

    def _scores(self, x: Tensor) -> Tensor:
        return self.module(self.images(x))[0]


def _concrete(log_p: Tensor, count: int, temperature: float) -> Tensor:
    """Largest of ``count`` relaxed one-hot draws for each cell, (B, d) in (0, 1); differentiable in log p (B, d).

    softmax((log p + g) / temperature) with Gumbel noise g, of torch's global generator.
    """
    uniform = torch.rand(count, *log_p.shape, device=log_p.device).clamp_(1e-9, 1 - 1e-7)
    return ((log_p - (-uniform.log()).log()) / temperature).softmax(-1).amax(0)


def _most(log_p: Tensor, count: int) -> Tensor:
    """1 at the ``count`` likeliest cells, 0 elsewhere, float32 (B, d)."""
    return torch.zeros_like(log_p).scatter_(1, log_p.topk(count, 1).indices, 1.0)


def _information(log_p: Tensor) -> Tensor:
    """KL(uniform || p), nats, mean over the batch (B, d): 0 where all cells are as likely."""
    return -(log_p.mean(1) + math.log(log_p.shape[1])).mean()


@checked
def fit_vibi(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    split: Split,
    *,
    spectra: Spectra | None = None,
    config: VibiConfig | str = "default",
    seed: int = 0,
    checkpoint: str | os.PathLike | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> Vibi:
    """Train VIBI on a classifier's decisions; the epoch of highest fidelity on validation is kept.

    Everything is computed on the classifier's device. The arguments, and what is raised, are those of
    :func:`~.l2i.fit_l2i`, but there is no dictionary, and taps are not needed; ``config`` is a :class:`VibiConfig`,
    "default" or "paper", and ``fields`` stand in place of its fields.
    """
    from torch.optim.swa_utils import AveragedModel

    config = VibiConfig.named(config, **fields)
    x, split, spectra = prepared(classifier, x, split, spectra)
    options = {"multilabel": classifier.multilabel}
    logits = torch.from_numpy(classifier.logits(x)).to(classifier.device)

    def average(old: Tensor, new: Tensor, step: int) -> Tensor:
        kept = min(config.averaging, (1 + step) / (10 + step))
        return kept * old + (1 - kept) * new

    with seeded(seed, classifier.device):
        fitted = Vibi(classifier, spectra, x.shape[1], config)
        mean = fitted.images(x[torch.from_numpy(split.train)]).mean().clamp_min(1e-9)
        fitted._sizes["scale"] = float(mean)
        images, network = fitted.images(x), fitted.module.requires_grad_()
        adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=(0.5, 0.999))
        schedule = torch.optim.lr_scheduler.ExponentialLR(adam, config.decay)
        averaged, rng = AveragedModel(network, avg_fn=average), np.random.default_rng(seed)

        def epoch(i: int) -> dict[str, float]:
            sums = np.zeros(2)
            for rows in batches(rng.permutation(split.train), config.batch):
                scores, log_p = network(images[rows], drawn=True)
                bits = _decision_loss(logits[rows], scores, **options)
                nats = config.cells * _information(log_p)
                adam.zero_grad()
                (bits + config.beta * nats).backward()
                adam.step()
                averaged.update_parameters(network)
                sums += np.array([float(bits.detach()), float(nats.detach())]) * len(rows)
            schedule.step()
            return dict(zip(("bits", "information"), (sums / len(split.train)).tolist(), strict=True))

        @torch.no_grad()
        def validate() -> dict[str, float]:
            scores = torch.cat([averaged(part)[0] for part in images[split.valid].split(config.batch)])
            heard = logits[split.valid]
            same, bits = agreement(heard, scores, **options), _decision_loss(heard, scores, **options)
            return {"fidelity": float(same.mean()), "valid_bits": float(bits)}

        def identity() -> str:
            parts = ("Vibi", config, spectra, seed, classifier.fingerprint, split.train.tolist(), split.valid.tolist())
            return fingerprint(*parts, weights={"x": x})

        fitted.history, _ = train(
            epoch,
            config.epochs,
            module=averaged,
            optimizer=adam,
            validate=validate,
            score=lambda row: (row["fidelity"], -row["valid_bits"]),
            loss="bits",
            learning_rate=config.learning_rate,
            name="Vibi",
            state={"network": network, "schedule": schedule},
            generators=[rng],
            checkpoint=checkpoint,
            identity=identity,
            progress=progress,
        )
    network.load_state_dict(averaged.module.state_dict())
    network.requires_grad_(False)
    return fitted


def _decision_loss(logits: Tensor, scores: Tensor, *, multilabel: bool) -> Tensor:
    """Cross-entropy, bits, of the classifier's decision, its largest score or each label above probability 1/2."""
    if multilabel:
        return F.binary_cross_entropy_with_logits(scores, (logits > 0).float()) / math.log(2)
    return F.cross_entropy(scores, logits.argmax(1)) / math.log(2)
