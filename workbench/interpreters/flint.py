"""FLINT: attributes computed from a classifier's feature maps that imitate its decision and reconstruct its input.

This is the post-hoc form, with a frozen classifier, of Parekh, Mozharovskyi, d'Alché-Buc: "A framework to learn with
interpretation" (NeurIPS 2021, arXiv 2010.09345). ArXiv 2202.11479 compares the fidelity of Listen to Interpret with it;
the audio networks follow that paper. With attributes Psi(x) >= 0 (J,), a linear map h and a decoder d, the loss is

    w_of CE(f, h Psi) + w_if mean (X - d Psi)^2 + w_s mean Psi + w_e E,
    E = mean_i H(softmax Psi(x_i)) - H(softmax mean_i Psi(x_i)).

E is low if each clip has few attributes and a batch has many.

An attribute is shown by activation maximisation with partial initialisation: from a fainter version of the clip, the
input is changed such that the attribute grows. Here the change is a mask on the clip's spectrogram, so that what is
found is a part of the clip that can be played beside those of other methods.
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

from ..core.checks import checked, number, whole
from ..core.fitting import RATES, Config, seeded, settle
from ..core.progress import Progress, progress_bar
from ..core.splits import Split
from .classifiers import Classifier
from .imitation import BATCH, Interpreter, fidelity_loss, imitate, prepared
from .psi import Psi
from .spectra import Spectra


@dataclass(frozen=True)
class FlintConfig(Config):
    """Configuration of FLINT. Weights and delays are the authors' for MNIST; those for audio are not published.

    The preset "paper" has the authors' learning rate, and the default that of Listen to Interpret.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {"paper": {"learning_rate": 1e-4}}

    attributes: int = 100
    """Number of attributes J."""
    reconstruction: float = 0.8
    """Weight w_if of the decoder's mean squared error."""
    fidelity: float = 0.5
    """Weight w_of of the cross-entropy between the classifier's probabilities and those of h."""
    fidelity_after: int = 2
    """Number of epochs before the fidelity term is added."""
    sparsity: float = 0.1
    """Weight w_s of the mean attribute."""
    sparsity_after: int = 2
    """Number of epochs before the sparsity term is added."""
    entropy: float = 0.2
    """Weight w_e of the entropy term E (conciseness and diversity)."""
    entropy_after: int = 4
    """Number of epochs before the entropy term is added."""
    epochs: int = 35
    """Number of passes over the training clips."""
    batch: int = BATCH
    """Largest number of clips per step."""
    learning_rate: float = 2e-4
    """Learning rate of Adam, constant."""

    def __post_init__(self):
        weights = ("reconstruction", "fidelity", "sparsity", "entropy")
        delays = ("fidelity_after", "sparsity_after", "entropy_after")
        counts = dict.fromkeys(("attributes", "epochs", "batch"), {"least": 1})
        settle(self, **dict.fromkeys((*weights, *delays), {"least": 0}), **counts, learning_rate=RATES)


class Attributes(nn.Module):
    """Network from feature maps (B, channels_i, frequency_i, time_i) to attributes (B, J), 0 or more.

    It has the branches of Psi, concatenated, a 3 x 3 convolution to 128 channels, average pooling to 3 x 3, and a
    linear layer.

    Parameters
    ----------
    shapes : sequence of (channels, frequency, time)
        Shapes of the maps of one clip, shallow first.
    attributes : int
        Number of attributes J.
    """

    def __init__(self, shapes: list[tuple[int, int, int]], attributes: int):
        super().__init__()
        psi = Psi(shapes, 1, 32 * shapes[-1][2])  # only its branches are used
        self.branches, self.time = psi.branches, psi.time
        self.join = nn.Conv2d(psi.join.in_channels, 128, 3, padding=1)
        self.out = nn.Linear(128 * 9, attributes)

    def forward(self, maps: list[Tensor]) -> Tensor:
        y = torch.cat([branch(values, 4 * self.time) for branch, values in zip(self.branches, maps, strict=True)], 1)
        return self.out(F.adaptive_avg_pool2d(self.join(y).relu(), 3).flatten(1)).relu()


class Decoder(nn.Module):
    """Network from attributes (B, J) to log magnitudes (B, F, T), 0 or more."""

    def __init__(self, attributes: int, bins: int, frames: int):
        super().__init__()
        self.frames = frames
        self.start = nn.Linear(attributes, 1600)
        widths = (16, 32, 64, 128)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, 5, padding=2) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.out = nn.Conv1d(128, bins, 3, padding=1)

    def forward(self, attributes: Tensor) -> Tensor:
        y = self.start(attributes).reshape(-1, 16, 100)
        for i, convolution in enumerate(self.convolutions):
            y = convolution(F.interpolate(y, scale_factor=2) if i else y).relu()
        return self.out(F.interpolate(y, self.frames, mode="linear", align_corners=True)).relu()


class Flint(Interpreter):
    """A trained FLINT interpreter; made by :func:`fit_flint`.

    Attributes
    ----------
    psi, head, decoder : nn.Module
        Networks from feature maps to attributes, from attributes to scores (linear, without bias), and from attributes
        to log magnitudes.

    The other attributes are those of :class:`~.imitation.Interpreter`.
    """

    CONFIG = FlintConfig
    TERMS = ("fidelity_loss", "squared_error", "mean_attribute", "conciseness")

    def __init__(self, classifier: Classifier, spectra: Spectra, samples: int, config: FlintConfig):
        frames, classes = spectra.frames(samples), len(classifier.classes)
        self.psi = Attributes(classifier.shapes(samples), config.attributes)
        self.head = nn.Sequential(nn.Dropout(0.01), nn.Linear(config.attributes, classes, bias=False))
        self.decoder = Decoder(config.attributes, spectra.bins, frames)
        module = nn.ModuleDict({"psi": self.psi, "head": self.head, "decoder": self.decoder})
        super().__init__(classifier, spectra, config, module, frames, {"samples": samples})

    def __repr__(self) -> str:
        return f"Flint({self.classifier.name}; {self.config.attributes} attributes)"

    @torch.no_grad()
    def attributes(self, x: ArrayLike | Tensor) -> np.ndarray:
        """Return the attributes, float32 (N, J), of waveforms (N, samples)."""
        parts = self._clips(x).split(BATCH)
        return torch.cat([self.psi(self.classifier.tapped(part)[1]).cpu() for part in parts]).numpy()

    @checked
    def masks(
        self,
        x: ArrayLike | Tensor,
        classes: ArrayLike | None = None,
        *,
        steps: int = 30,
        start: float = 0.5,
        sparsity: float = 1.0,
        learning_rate: float = 0.2,
        progress: bool = False,
    ) -> Tensor:
        """Return masks that make the most relevant attribute large, by activation maximisation.

        The most relevant attribute j is that with the largest share Psi_j(x) h_cj in the score of the class c. Adam
        ascends Psi_j(M X) / Psi_j(X) - sparsity mean M from a mask M of ``start`` everywhere. As the derivatives of
        the ratio with respect to all bins sum to about 1, a sparsity of 1 keeps bins that add more than the average.
        It takes ``steps`` calls of the classifier with their gradients.

        Parameters
        ----------
        x : array_like (N, samples)
            Waveforms at the classifier's rate.
        classes : array_like of int (N,), optional
            Number of the class to be explained for each clip; by default the classifier's decision.
        steps : int
            Number of steps of Adam.
        start : float
            Initial value of the mask, above 0 and below 1.
        sparsity : float
            Weight of the mean of the mask.
        learning_rate : float
            Learning rate, of the mask before the sigmoid.
        progress : bool
            Whether to show a progress bar.

        Returns
        -------
        Tensor, float32 (N, F, T) in [0, 1]
            Masks on log(1 + |STFT|); 0 everywhere for a clip in which no attribute speaks for the class.

        Raises
        ------
        ParameterError
            If clips have another length than in training, or no gradient comes through the classifier.
        """
        x = self._clips(x)
        wanted = None if classes is None else torch.from_numpy(self.classifier.positions(classes, len(x)))
        whole("steps", steps, least=1)
        number("start", start, above=0, below=1)
        number("sparsity", sparsity, least=0)
        number("learning_rate", learning_rate, **RATES)
        found, parts = [], range(0, len(x), self.classifier.batch)
        for at in progress_bar(parts, disable=not progress, desc="attributes", leave=False):
            rows = slice(at, at + self.classifier.batch)
            own = None if wanted is None else wanted[rows]
            clips = x[rows].to(self.classifier.device)
            found.append(self._maximised(clips, own, steps, math.log(start / (1 - start)), sparsity, learning_rate))
        return torch.cat(found)

    @torch.enable_grad()
    def _maximised(
        self, x: Tensor, wanted: Tensor | None, steps: int, start: float, sparsity: float, learning_rate: float
    ) -> Tensor:
        """Return the masks of one batch; ``start`` is that before the sigmoid."""
        log_magnitude, phase = self.spectra.analyse(x)
        logits, maps = self.classifier.tapped(x)
        attributes = self.psi(maps)
        classes = logits.argmax(1) if wanted is None else wanted.to(x.device)
        shares = attributes * self.head[-1].weight[classes]
        most, speaks = shares.argmax(1, keepdim=True), shares.amax(1) > 0
        level = attributes.gather(1, most)[speaks]
        masks = torch.zeros(log_magnitude.shape)
        if not speaks.any():
            return masks
        log_magnitude, phase, most = log_magnitude[speaks], phase[speaks], most[speaks]
        free = torch.full_like(log_magnitude, start).requires_grad_()
        adam = torch.optim.Adam([free], lr=learning_rate)
        for _ in range(steps):
            mask = free.sigmoid()
            heard = self.spectra.invert(mask * log_magnitude, phase, x.shape[1])
            ratio = self.psi(self.classifier.tapped(heard, gradient=True)[1]).gather(1, most) / level
            if not ratio.requires_grad:
                raise self.classifier.unfit(x, RuntimeError("no gradient reaches its input"))
            adam.zero_grad()
            (sparsity * mask.mean((1, 2)).sum() - ratio.sum()).backward()
            adam.step()
        masks[speaks.cpu()] = free.detach().sigmoid().cpu()
        return masks

    def terms(self, logits: Tensor, maps: list[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return fidelity loss, squared error, mean attribute and entropy term, without weights, and scores (B, C)."""
        attributes = self.psi(maps)
        scores = self.head(attributes)
        fidelity = fidelity_loss(logits, scores, multilabel=self.classifier.multilabel)
        error = (self.decoder(attributes) - target).square().mean()
        return [fidelity, error, attributes.mean(), _conciseness(attributes)], scores

    def weights(self, epoch: int) -> list[float]:
        """Return the weights of the terms in an epoch; those of terms that are added later are 0 before."""
        config = self.config
        later = [
            getattr(config, name) * (epoch >= getattr(config, f"{name}_after")) for name in ("sparsity", "entropy")
        ]
        return [config.fidelity * (epoch >= config.fidelity_after), config.reconstruction, *later]

    def _scores(self, x: Tensor) -> Tensor:
        return self.head(self.psi(self.classifier.tapped(x)[1]))


def _conciseness(attributes: Tensor) -> Tensor:
    """Return the mean entropy of the softmax of each clip's attributes (B, J) minus that of the softmax of their mean.

    Attributes that are all 0 have the largest entropy.
    """

    def entropy(values: Tensor) -> Tensor:
        return -(values.softmax(-1) * values.log_softmax(-1)).sum(-1)

    return entropy(attributes.abs()).mean() - entropy(attributes.abs().mean(0))


@checked
def fit_flint(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    split: Split,
    *,
    spectra: Spectra | None = None,
    config: FlintConfig | str = "default",
    seed: int = 0,
    checkpoint: str | os.PathLike | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> Flint:
    """Train FLINT on a frozen classifier's feature maps and scores; the epoch with the highest valid fidelity is kept.

    Everything is computed on the classifier's device. Arguments and errors are those of :func:`~.l2i.fit_l2i`, without
    a dictionary. ``config`` is a :class:`FlintConfig`, "default" or "paper", and ``fields`` replace its fields.
    """
    config = FlintConfig.named(config, **fields)
    x, split, spectra = prepared(classifier, x, split, spectra)
    with seeded(seed, classifier.device):
        fitted = Flint(classifier, spectra, x.shape[1], config)
        options = {"seed": seed, "checkpoint": checkpoint, "progress": progress}
        # the weights change between epochs, so only these terms show whether anything is learnt
        imitate(fitted, x, split.train, split.valid, falls=("fidelity_loss", "squared_error"), **options)
    return fitted
