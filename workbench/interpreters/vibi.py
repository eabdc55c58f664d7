"""VIBI: explain a decision by the few cells of a log-mel spectrogram that are most informative about it.

Bang et al.: "Explaining a black-box using deep variational information bottleneck approach" (AAAI 2021, arXiv
1902.06918), one of the methods that arXiv 2202.11479 compares with. An explainer assigns probabilities p (d,) to d
cells, k cells are drawn with repetition, and an approximator predicts the classifier's decision from the spectrogram in
which only these cells are kept. Both are trained together on cross-entropy + beta k KL(uniform || p). The second term
keeps p near uniform, so that cells get a high probability only if they help to predict the decision.

The draws are relaxed (concrete distribution) and reparameterised, so that the gradient of the approximator's loss
reaches the explainer; with the sampler of the authors' program it does not. Only the classifier's decisions are used,
not its scores.
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
from .imitation import BATCH, Interpreter, agreement, batches, prepared
from .spectra import Spectra


@dataclass(frozen=True)
class VibiConfig(Config):
    """Configuration of VIBI; beta, temperature, schedule and batch are those of the authors for images.

    Cells and k for sound are not published. The default temperature is that of the authors' program for images, and the
    preset "paper" has that of the paper.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {"paper": {"temperature": 0.7}}

    mels: int = 64
    """Number of mel bands of the spectrogram log(1 + mel magnitude)."""
    height: int = 8
    """Height of a cell in mel bands."""
    width: int = 8
    """Width of a cell in frames."""
    cells: int = 32
    """Number k of cells that are drawn in training, and of cells in an explanation."""
    beta: float = 0.1
    """Weight of the information term."""
    temperature: float = 0.5
    """Temperature of the relaxed draws."""
    epochs: int = 100
    """Number of passes over the training clips."""
    batch: int = 50
    """Largest number of clips per step."""
    learning_rate: float = 1e-4
    """Initial learning rate of Adam, whose betas are (.5, .999)."""
    decay: float = 0.97
    """Factor by which every epoch multiplies the learning rate."""
    averaging: float = 0.999
    """Decay of the moving average of the weights, which is what is kept; in the first steps it is (1 + step) /
    (10 + step), if that is smaller."""

    def __post_init__(self):
        counts = dict.fromkeys(("mels", "height", "width", "cells", "epochs", "batch"), {"least": 1})
        rates = {"learning_rate": RATES, "decay": {"above": 0, "most": 1}, "averaging": {"least": 0, "below": 1}}
        settle(self, **counts, **rates, temperature={"above": 0}, beta={"least": 0})


class _Convolutions(nn.Sequential):
    """Three convolutions from images (B, 1, mels, frames) to maps of 64 channels, an eighth as high and as long."""

    def __init__(self):
        parts = []
        for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
            parts += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        super().__init__(*parts)


class Explainer(nn.Module):
    """Network from images (B, mels, frames) to log p of the cells, (B, d), row by row from low to high bands."""

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.convolutions = _Convolutions()
        self.out = nn.Conv2d(64, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        y = F.interpolate(self.convolutions(image[:, None]), (self.rows, self.columns), mode="nearest")
        return self.out(y).flatten(1).log_softmax(1)


class Approximator(nn.Module):
    """Network from masked images (B, mels, frames) to scores (B, C), with mean and maximum pooling over time."""

    def __init__(self, mels: int, classes: int):
        super().__init__()
        self.convolutions = _Convolutions()
        self.out = nn.Sequential(nn.Linear(2 * 64 * -(-mels // 8), 128), nn.ReLU(), nn.Linear(128, classes))

    def forward(self, image: Tensor) -> Tensor:
        y = self.convolutions(image[:, None])
        return self.out(torch.cat([y.mean(3), y.amax(3)], 1).flatten(1))


class Bottleneck(nn.Module):
    """Explainer and approximator: from images (B, mels, frames) to scores (B, C) of the kept cells and log p (B, d)."""

    def __init__(self, config: VibiConfig, frames: int, classes: int):
        super().__init__()
        self.config, self.frames = config, frames
        self.explainer = Explainer(-(-config.mels // config.height), -(-frames // config.width))
        self.approximator = Approximator(config.mels, classes)

    def forward(self, image: Tensor, *, drawn: bool = False) -> tuple[Tensor, Tensor]:
        """Return scores and log p with drawn cells, or with the k most probable cells."""
        log_p, count = self.explainer(image), self.config.cells
        cells = _concrete(log_p, count, self.config.temperature) if drawn else _most(log_p, count)
        return self.approximator(image * self.spread(cells)), log_p

    def spread(self, cells: Tensor) -> Tensor:
        """Expand values of cells (B, d) to the image, (B, mels, T)."""
        grid = cells.reshape(-1, self.explainer.rows, self.explainer.columns)
        grid = grid.repeat_interleave(self.config.height, 1).repeat_interleave(self.config.width, 2)
        return grid[:, : self.config.mels, : self.frames]


class Vibi(Interpreter):
    """A trained VIBI interpreter with explainer and approximator; made by :func:`fit_vibi`.

    The history has both terms of the loss over the training clips (cross-entropy in bits, information in nats), and
    fidelity and cross-entropy on the validation clips. Attributes are those of :class:`~.imitation.Interpreter`.
    """

    CONFIG = VibiConfig

    def __init__(self, classifier: Classifier, spectra: Spectra, samples: int, config: VibiConfig, scale: float = 1.0):
        frames = spectra.frames(samples)
        filters = audio.mel_filters(spectra.rate, n_fft=spectra.n_fft, n_mels=config.mels).T.to(classifier.device)
        self.filters = filters / filters.sum(1, keepdim=True).clamp_min(1e-9)  # the mean over the bins of each band
        network = Bottleneck(config, frames, len(classifier.classes))
        self.rows, self.columns = network.explainer.rows, network.explainer.columns
        if config.cells > self.rows * self.columns:
            raise ParameterError("cells", config.cells, f"at most {self.rows * self.columns}, all there are")
        super().__init__(classifier, spectra, config, network, frames, {"samples": samples, "scale": scale})

    def __repr__(self) -> str:
        return f"Vibi({self.classifier.name}; {self.config.cells} of {self.rows} x {self.columns} cells)"

    def explain(self, x: ArrayLike | Tensor) -> Tensor:
        """Return :meth:`masks` of one waveform (samples,), float32 (F, T)."""
        x = real("x", x)
        if x.ndim != 1:
            raise ParameterError("x.shape", tuple(x.shape), "(samples,), one clip")
        return self.masks(x[None])[0]

    @torch.no_grad()
    def masks(self, x: ArrayLike | Tensor) -> Tensor:
        """Return the k most probable cells of waveforms (N, samples) as masks of 0 and 1, float32 (N, F, T).

        A bin belongs to the mel band whose filter is largest there. A mask explains the classifier's decision; other
        classes cannot be explained.
        """
        parts = self._clips(x).split(BATCH)
        cells = (_most(self.module.explainer(self.images(part)), self.config.cells) for part in parts)
        return torch.cat([self.module.spread(part)[:, self.bands].cpu() for part in cells])

    @property
    def bands(self) -> Tensor:
        """Number of the mel band of each bin of the spectrogram, int64 (F,)."""
        peaks = self.filters.argmax(1)  # a bin outside all filters belongs to the band with the nearest peak
        nearest = (torch.arange(self.spectra.bins, device=peaks.device)[:, None] - peaks).abs().argmin(1)
        return torch.where(self.filters.sum(0) > 0, self.filters.argmax(0), nearest)

    @torch.no_grad()
    def images(self, x: Tensor) -> Tensor:
        """Return log(1 + mel magnitude) divided by its training mean, (N, mels, T); silence is 0, like masked cells."""
        parts = (self.spectra.stft(part.to(self.classifier.device)).abs() for part in x.split(self.config.batch))
        return torch.cat([(self.filters @ part).log1p() for part in parts]) / self._sizes["scale"]

    def _scores(self, x: Tensor) -> Tensor:
        return self.module(self.images(x))[0]


def _concrete(log_p: Tensor, count: int, temperature: float) -> Tensor:
    """Return for each cell the maximum of ``count`` relaxed one-hot draws, (B, d) in (0, 1).

    A draw is softmax((log p + g) / temperature) with Gumbel noise g from torch's global generator; it is differentiable
    with respect to log p (B, d).
    """
    uniform = torch.rand(count, *log_p.shape, device=log_p.device).clamp_(1e-9, 1 - 1e-7)
    return ((log_p - (-uniform.log()).log()) / temperature).softmax(-1).amax(0)


def _most(log_p: Tensor, count: int) -> Tensor:
    """Return 1 for the ``count`` most probable cells and 0 for the others, float32 (B, d)."""
    return torch.zeros_like(log_p).scatter_(1, log_p.topk(count, 1).indices, 1.0)


def _information(log_p: Tensor) -> Tensor:
    """Return KL(uniform || p) in nats, averaged over the batch of log p (B, d); 0 if all cells are equally probable."""
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
    """Train VIBI on a classifier's decisions; the epoch with the highest fidelity on the validation clips is kept.

    Everything is computed on the classifier's device. Arguments and errors are those of :func:`~.l2i.fit_l2i`, without
    a dictionary and without the need for taps. ``config`` is a :class:`VibiConfig`, "default" or "paper", and
    ``fields`` replace its fields.
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
    """Cross-entropy, in bits, with the classifier's decision: its largest score, or labels above probability 1/2."""
    if multilabel:
        return F.binary_cross_entropy_with_logits(scores, (logits > 0).float()) / math.log(2)
    return F.cross_entropy(scores, logits.argmax(1)) / math.log(2)
