"""FLINT: a few attributes, read from a classifier's inner maps, that imitate its decision and rebuild its input.

Parekh, Mozharovskyi, d'Alché-Buc: "A framework to learn with interpretation" (NeurIPS 2021, arXiv 2010.09345), in its
post-hoc form: the classifier is frozen. The rival in fidelity of arXiv 2202.11479, whose audio networks these are; its
attributes have no sound of their own. With Psi(x) >= 0 (J,) the attributes, h linear and d a decoder, the loss is

    w_of CE(f, h Psi) + w_if mean (X - d Psi)^2 + w_s mean Psi + w_e E,
    E = mean_i H(softmax Psi(x_i)) - H(softmax mean_i Psi(x_i)):

few attributes a clip, many in a batch.
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

from ..core.checks import checked
from ..core.learning import RATES, check_loss, configured, settle, unlearnt, warn_unlearnt
from .classifiers import Classifier
from .l2i import BATCH, Seen, fidelity_loss, prepared
from .psi import Psi
from .spectra import Spectra

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FlintConfig:
    """How FLINT is trained. Weights and delays are the authors' for MNIST; those for audio are not published."""

    attributes: int = 100
    """J."""
    reconstruction: float = 0.8
    """w_if, of the mean squared error of the decoder."""
    fidelity: float = 0.5
    """w_of, of the cross-entropy between the classifier's probabilities and those of h."""
    fidelity_after: int = 2
    """Epochs without it."""
    sparsity: float = 0.1
    """w_s, of the mean attribute."""
    sparsity_after: int = 2
    """Epochs without it."""
    entropy: float = 0.2
    """w_e, of conciseness and diversity."""
    entropy_after: int = 4
    """Epochs without it."""
    epochs: int = 35
    """Times that the training clips are seen."""
    batch: int = BATCH
    """Clips a step."""
    learning_rate: float = 2e-4
    """Of Adam; that of Listen to Interpret."""

    def __post_init__(self):
        weights = ("reconstruction", "fidelity", "sparsity", "entropy")
        delays = ("fidelity_after", "sparsity_after", "entropy_after")
        counts = dict.fromkeys(("attributes", "epochs", "batch"), {"least": 1})
        settle(self, **dict.fromkeys((*weights, *delays), {"least": 0}), **counts, learning_rate=RATES)


class Attributes(nn.Module):
    """Maps (B, channels_i, frequency_i, time_i) -> attributes (B, J), at least 0.

    Psi's branches side by side, a 3 x 3 convolution to 128 channels, the mean over each of 3 x 3 fields, a linear map.

    Parameters
    ----------
    shapes : sequence of (channels, frequency, time)
        Of the maps of one clip, shallow first.
    attributes : int
        J.
    """

    def __init__(self, shapes: list[tuple[int, int, int]], attributes: int):
        super().__init__()
        psi = Psi(shapes, 1, 32 * shapes[-1][2])  # only its branches are kept
        self.branches, self.time = psi.branches, psi.time
        self.join = nn.Conv2d(psi.join.in_channels, 128, 3, padding=1)
        self.out = nn.Linear(128 * 9, attributes)

    def forward(self, maps: list[Tensor]) -> Tensor:
        y = torch.cat([branch(one, 4 * self.time) for branch, one in zip(self.branches, maps, strict=True)], 1)
        return self.out(F.adaptive_avg_pool2d(self.join(y).relu(), 3).flatten(1)).relu()


class Decoder(nn.Module):
    """Attributes (B, J) -> log magnitudes (B, F, T), at least 0."""

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


class Flint:
    """A trained interpreter; made by :func:`train_flint`.

    Attributes
    ----------
    classifier : Classifier
    spectra : Spectra
    psi, head, decoder : nn.Module
        Maps to attributes, attributes to scores (linear, without bias), attributes to the log magnitudes.
    config : FlintConfig
    history : pandas.DataFrame
        Row an epoch: the losses over training clips, and the fidelity on validation clips.
    """

    def __init__(self, classifier: Classifier, spectra: Spectra, samples: int, config: FlintConfig):
        self.classifier, self.spectra, self.config = classifier, spectra, config
        self.psi = Attributes(classifier.shapes(samples), config.attributes)
        self.head = nn.Sequential(nn.Dropout(0.01), nn.Linear(config.attributes, len(classifier.classes), bias=False))
        self.decoder = Decoder(config.attributes, spectra.bins, spectra.frames(samples))
        self.parts = nn.ModuleList([self.psi, self.head, self.decoder]).to(classifier.device)
        self.history: pd.DataFrame | None = None

    def __repr__(self) -> str:
        return f"Flint({self.classifier.name}; {self.config.attributes} attributes)"

    @torch.no_grad()
    def attributes(self, x: ArrayLike | Tensor) -> np.ndarray:
        """Attributes, float32 (N, J), of waveforms (N, samples)."""
        parts = self.classifier.waveforms(x).split(BATCH)
        return torch.cat([self.psi(self.classifier.tapped(part)[1]).cpu() for part in parts]).numpy()

    @torch.no_grad()
    def scores(self, x: ArrayLike | Tensor) -> np.ndarray:
        """Scores of h, float32 (N, C), of waveforms (N, samples): what imitates the classifier's."""
        return self.head(torch.from_numpy(self.attributes(x)).to(self.classifier.device)).cpu().numpy()

    def losses(self, logits: Tensor, maps: list[Tensor], target: Tensor) -> list[Tensor]:
        """Without weights: fidelity, squared error, mean attribute, entropies; and h's scores (B, C)."""
        found = self.psi(maps)
        scores = self.head(found)
        fidelity = fidelity_loss(logits, scores, multilabel=self.classifier.multilabel)
        return [fidelity, (self.decoder(found) - target).square().mean(), found.mean(), conciseness(found), scores]


def conciseness(attributes: Tensor) -> Tensor:
    """Mean entropy of softmax over the attributes (B, J) of a clip, less that of softmax over their mean.

    Softmax does not know scale: all attributes 0 have the largest entropy.
    """

    def entropy(values: Tensor) -> Tensor:
        return -(values.softmax(-1) * values.log_softmax(-1)).sum(-1)

    return entropy(attributes.abs()).mean() - entropy(attributes.abs().mean(0))


@checked
def train_flint(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    split: object,
    *,
    spectra: Spectra | None = None,
    config: FlintConfig | None = None,
    seed: int = 0,
    progress: bool = True,
    **fields: object,
) -> Flint:
    """Train FLINT on a frozen classifier's maps and scores; the epoch of highest fidelity on validation is kept.

    Parameters
    ----------
    classifier : Classifier
        With taps.
    x : array_like (N, samples)
        Waveforms at the classifier's rate, at a peak of 1 (:func:`~.spectra.normalised`).
    split : object with ``train`` and ``valid`` rows
    spectra : Spectra, optional
        Default: the paper's windows at the classifier's rate.
    config : FlintConfig, optional
    seed : int
        Of weights, order and dropout.
    progress : bool
    **fields
        Of :class:`FlintConfig`, in place of ``config``'s.

    Raises
    ------
    ParameterError
        No clips to train or choose on, a loss that is not finite.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    config = configured(FlintConfig, config, fields)
    x, train, valid, spectra = prepared(classifier, x, split, spectra)
    seen = Seen(classifier, spectra, x)
    with torch.random.fork_rng(devices=[classifier.device] if classifier.device.type == "cuda" else []):
        torch.manual_seed(seed)
        found = Flint(classifier, spectra, x.shape[1], config)
        adam = torch.optim.Adam(found.parts.parameters(), lr=config.learning_rate)
        rng, history, best, kept = np.random.default_rng(seed), [], (-1.0, -math.inf), {}
        chosen = None
        for epoch in tqdm(range(config.epochs), disable=not progress, desc="FLINT epochs", leave=False):
            weights = torch.tensor(_weights(config, epoch), device=classifier.device)
            sums = np.zeros(4)
            found.parts.train()
            for rows in np.array_split(rng.permutation(train), math.ceil(len(train) / config.batch)):
                losses = torch.stack(found.losses(*seen(rows))[:4])
                adam.zero_grad()
                (losses * weights).sum().backward()
                adam.step()
                sums += losses.detach().cpu().numpy() * len(rows)
            check_loss(float(sums.sum()), config.learning_rate, f"epoch {epoch}")
            found.parts.eval()
            names = ("fidelity_loss", "squared_error", "mean_attribute", "conciseness")
            row = {"epoch": epoch} | dict(zip(names, sums / len(train), strict=True)) | _validate(found, seen, valid)
            history.append(row)
            if (now := (row["fidelity"], -row["valid_loss"])) > best:
                chosen = epoch
                best, kept = now, {name: value.clone() for name, value in found.parts.state_dict().items()}
        found.parts.load_state_dict(kept)
    found.parts.requires_grad_(False)
    found.history = pd.DataFrame(history)
    terms = ["fidelity_loss", "squared_error"]  # the whole loss is not the same from epoch to epoch
    reason = unlearnt(found.history[terms].sum(axis=1).tolist(), chosen)
    warn_unlearnt("train_flint", reason, f"learning_rate={config.learning_rate:g}, epochs={config.epochs}")
    return found


def _weights(config: FlintConfig, epoch: int) -> list[float]:
    later = [getattr(config, name) * (epoch >= getattr(config, f"{name}_after")) for name in ("sparsity", "entropy")]
    return [config.fidelity * (epoch >= config.fidelity_after), config.reconstruction, *later]


@torch.no_grad()
def _validate(found: Flint, seen: Seen, valid: np.ndarray) -> dict[str, float]:
    loss, same = 0.0, 0.0
    for rows in np.array_split(valid, math.ceil(len(valid) / BATCH)):
        logits, maps, target = seen(rows)
        fidelity, *_, scores = found.losses(logits, maps, target)
        loss += float(fidelity) * len(rows)
        same += agreement(logits, scores, multilabel=found.classifier.multilabel) * len(rows)
    return {"fidelity": same / len(valid), "valid_loss": loss / len(valid)}


def agreement(logits: Tensor, scores: Tensor, *, multilabel: bool) -> float:
    """Share of clips with the same class, or of labels with the same decision at probability 1/2."""
    if multilabel:
        return float(((scores > 0) == (logits > 0)).float().mean())
    return float((scores.argmax(1) == logits.argmax(1)).float().mean())
