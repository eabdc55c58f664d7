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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from .. import audio
from ..core.checks import checked
from ..core.errors import ParameterError
from ..core.learning import RATES, check_loss, configured, settle, unlearnt, warn_unlearnt
from .classifiers import Classifier, real
from .flint import agreement
from .l2i import prepared
from .spectra import Spectra

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class VibiConfig:
    """The image, its cells, and how VIBI is trained; beta, temperature, schedule and batch are the authors' for images.

    Cells and k for sound are not published.
    """

    mels: int = 64
    """Rows of the image, bands of log(1 + mel magnitude)."""
    height: int = 8
    """Mel bands of a cell."""
    width: int = 8
    """Frames of a cell."""
    cells: int = 32
    """k, cells that are drawn, and kept in the end."""
    beta: float = 0.1
    """Weight of the information term."""
    temperature: float = 0.5
    """Of the relaxed draws."""
    epochs: int = 100
    """Times that the training clips are seen."""
    batch: int = 50
    """Clips a step."""
    learning_rate: float = 1e-4
    """Of Adam with betas (.5, .999)."""
    decay: float = 0.97
    """Of the learning rate, an epoch."""
    averaging: float = 0.999
    """Of the moving average of weights that is evaluated; less in the first steps, (1 + step) / (10 + step)."""

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


class Vibi:
    """A trained explainer and its approximator; made by :func:`train_vibi`.

    Attributes
    ----------
    classifier : Classifier
    spectra : Spectra
    explainer, approximator : nn.Module
    config : VibiConfig
    history : pandas.DataFrame
        Row an epoch: both terms of the loss over training clips (bits, nats), fidelity on validation clips.
    """

    def __init__(self, classifier: Classifier, spectra: Spectra, samples: int, config: VibiConfig):
        self.classifier, self.spectra, self.config = classifier, spectra, config
        frames, device = spectra.frames(samples), classifier.device
        self.filters = audio.mel_filters(spectra.rate, n_fft=spectra.n_fft, n_mels=config.mels).T.to(device)
        self.filters /= self.filters.sum(1, keepdim=True).clamp_min(1e-9)  # a mean: quiet bands stay visible
        self.rows, self.columns = -(-config.mels // config.height), -(-frames // config.width)
        if config.cells > self.rows * self.columns:
            raise ParameterError("cells", config.cells, f"at most {self.rows * self.columns}, all there are")
        self.frames, self.scale = frames, 1.0
        self.explainer = Explainer(self.rows, self.columns).to(device)
        self.approximator = Approximator(config.mels, len(classifier.classes)).to(device)
        self.history: pd.DataFrame | None = None

    def __repr__(self) -> str:
        return f"Vibi({self.classifier.name}; {self.config.cells} of {self.rows} x {self.columns} cells)"

    @torch.no_grad()
    def scores(self, x: ArrayLike | Tensor) -> np.ndarray:
        """Scores of the approximator, float32 (N, C), for the k likeliest cells of waveforms (N, samples)."""
        images = self.images(self.classifier.waveforms(x))
        return torch.cat([self.judged(image)[0].cpu() for image in images.split(self.config.batch)]).numpy()

    @torch.no_grad()
    def explain(self, x: ArrayLike | Tensor) -> Tensor:
        """The k likeliest cells as a mask on the spectrogram, float32 (F, T), 0 or 1, of one waveform (samples,).

        A bin belongs to the mel band whose filter is largest there. The decision of the classifier is explained; there
        is no choice of class.
        """
        x = real("x", x)
        if x.ndim != 1:
            raise ParameterError("x.shape", tuple(x.shape), "(samples,), one clip")
        log_p = self.explainer(self.images(self.classifier.waveforms(x[None])))
        kept = self.spread(most(log_p, self.config.cells))[0]
        return kept[self.bands].cpu()

    @property
    def bands(self) -> Tensor:
        """Mel band of each bin of the spectrogram, int64 (F,)."""
        peaks = self.filters.argmax(1)  # bins outside all filters, and those of filters without bins: the nearest peak
        nearest = (torch.arange(self.spectra.bins, device=peaks.device)[:, None] - peaks).abs().argmin(1)
        return torch.where(self.filters.sum(0) > 0, self.filters.argmax(0), nearest)

    @torch.no_grad()
    def images(self, x: Tensor) -> Tensor:
        """log(1 + mel magnitude) over its mean in training, (N, mels, T): silence is 0, as masked cells are."""
        parts = (self.spectra.stft(part.to(self.classifier.device)).abs() for part in x.split(self.config.batch))
        images = torch.cat([(self.filters @ part).log1p() for part in parts]) / self.scale
        if images.shape[2] != self.frames:
            raise ParameterError("x.shape", tuple(x.shape), f"clips of {self.frames} frames, as in training")
        return images

    def spread(self, cells: Tensor) -> Tensor:
        """Values of cells (B, d) over the image, (B, mels, T)."""
        grid = cells.reshape(-1, self.rows, self.columns)
        grid = grid.repeat_interleave(self.config.height, 1).repeat_interleave(self.config.width, 2)
        return grid[:, : self.config.mels, : self.frames]

    def judged(self, image: Tensor, *, drawn: bool = False) -> tuple[Tensor, Tensor]:
        """Scores (B, C) for what is kept of images, and log p (B, d); cells are drawn, or the k likeliest."""
        log_p, count = self.explainer(image), self.config.cells
        cells = concrete(log_p, count, self.config.temperature) if drawn else most(log_p, count)
        return self.approximator(image * self.spread(cells)), log_p


def concrete(log_p: Tensor, count: int, temperature: float) -> Tensor:
    """Largest of ``count`` relaxed one-hot draws for each cell, (B, d) in (0, 1); differentiable in log p (B, d).

    softmax((log p + g) / temperature) with Gumbel noise g, of torch's global generator.
    """
    uniform = torch.rand(count, *log_p.shape, device=log_p.device).clamp_(1e-9, 1 - 1e-7)
    return ((log_p - (-uniform.log()).log()) / temperature).softmax(-1).amax(0)


def most(log_p: Tensor, count: int) -> Tensor:
    """1 at the ``count`` likeliest cells, 0 elsewhere, float32 (B, d)."""
    return torch.zeros_like(log_p).scatter_(1, log_p.topk(count, 1).indices, 1.0)


def information(log_p: Tensor) -> Tensor:
    """KL(uniform || p), nats, mean over the batch (B, d): 0 where all cells are as likely."""
    return -(log_p.mean(1) + math.log(log_p.shape[1])).mean()


@checked
def train_vibi(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    split: object,
    *,
    spectra: Spectra | None = None,
    config: VibiConfig | None = None,
    seed: int = 0,
    progress: bool = True,
    **fields: object,
) -> Vibi:
    """Train VIBI on a classifier's decisions; the epoch of highest fidelity on validation is kept.

    Parameters
    ----------
    classifier : Classifier
        Taps are not needed.
    x : array_like (N, samples)
        Waveforms at the classifier's rate, at a peak of 1 (:func:`~.spectra.normalised`).
    split : object with ``train`` and ``valid`` rows
    spectra : Spectra, optional
        Default: the paper's windows at the classifier's rate.
    config : VibiConfig, optional
    seed : int
        Of weights, order and draws.
    progress : bool
    **fields
        Of :class:`VibiConfig`, in place of ``config``'s.

    Raises
    ------
    ParameterError
        No clips to train or choose on, more cells to keep than there are, a loss that is not finite.
    """
    import pandas as pd
    from torch.optim.swa_utils import AveragedModel
    from tqdm.auto import tqdm

    config = configured(VibiConfig, config, fields)
    x, train, valid, spectra = prepared(classifier, x, split, spectra)
    logits = torch.from_numpy(classifier.logits(x)).to(classifier.device)

    def average(old: Tensor, new: Tensor, step: int) -> Tensor:
        kept = min(config.averaging, (1 + step) / (10 + step))
        return kept * old + (1 - kept) * new

    with torch.random.fork_rng(devices=[classifier.device] if classifier.device.type == "cuda" else []):
        torch.manual_seed(seed)
        found = Vibi(classifier, spectra, x.shape[1], config)
        found.scale = float(found.images(x[torch.from_numpy(train)]).mean().clamp_min(1e-9))
        images = found.images(x)
        both = nn.ModuleList([found.explainer, found.approximator])
        adam = torch.optim.Adam(both.parameters(), lr=config.learning_rate, betas=(0.5, 0.999))
        schedule = torch.optim.lr_scheduler.ExponentialLR(adam, config.decay)
        averaged = AveragedModel(both, avg_fn=average)
        rng, history, best, kept = np.random.default_rng(seed), [], (-1.0, -math.inf), {}
        chosen = None
        for epoch in tqdm(range(config.epochs), disable=not progress, desc="VIBI epochs", leave=False):
            sums = np.zeros(2)
            for rows in np.array_split(rng.permutation(train), math.ceil(len(train) / config.batch)):
                scores, log_p = found.judged(images[rows], drawn=True)
                bits = decision_loss(logits[rows], scores, multilabel=classifier.multilabel)
                nats = config.cells * information(log_p)
                adam.zero_grad()
                (bits + config.beta * nats).backward()
                adam.step()
                averaged.update_parameters(both)
                sums += np.array([float(bits.detach()), float(nats.detach())]) * len(rows)
            schedule.step()
            check_loss(float(sums.sum()), config.learning_rate, f"epoch {epoch}")
            row = {"epoch": epoch} | dict(zip(("bits", "information"), sums / len(train), strict=True))
            found.explainer, found.approximator = averaged.module
            history.append(row | _validate(found, images[valid], logits[valid]))
            found.explainer, found.approximator = both
            if (now := (history[-1]["fidelity"], -history[-1]["valid_bits"])) > best:
                chosen = epoch
                best, kept = now, {name: value.clone() for name, value in averaged.module.state_dict().items()}
        both.load_state_dict(kept)
    both.requires_grad_(False)
    found.history = pd.DataFrame(history)
    reason = unlearnt(found.history["bits"].tolist(), chosen)
    warn_unlearnt("train_vibi", reason, f"learning_rate={config.learning_rate:g}, epochs={config.epochs}")
    return found


def decision_loss(logits: Tensor, scores: Tensor, *, multilabel: bool) -> Tensor:
    """Cross-entropy, bits, of the classifier's decision, its largest score or each label above probability 1/2."""
    if multilabel:
        return F.binary_cross_entropy_with_logits(scores, (logits > 0).float()) / math.log(2)
    return F.cross_entropy(scores, logits.argmax(1)) / math.log(2)


@torch.no_grad()
def _validate(found: Vibi, images: Tensor, logits: Tensor) -> dict[str, float]:
    scores = torch.cat([found.judged(part)[0] for part in images.split(found.config.batch)])
    multilabel = found.classifier.multilabel
    loss = float(decision_loss(logits, scores, multilabel=multilabel))
    return {"fidelity": agreement(logits, scores, multilabel=multilabel), "valid_bits": loss}
