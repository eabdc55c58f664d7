"""What ``notebooks/pecmae.ipynb`` computes and says of Listen to Interpret on the classifier made of prototypes.

``told`` is everywhere what :func:`workbench.sonify.summarise` gave: N segments with their vectors, labels and sounds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .. import audio
from ..core.splits import Split
from ..interpreters import (
    CONTROLS,
    L2I,
    Classifier,
    Interpretation,
    Spectra,
    classifier_on,
    dictionary_of,
    fit_l2i,
    normalised,
)
from ..metrics.intervals import difference_interval, group_interval
from ..prototypes import LearntPrototypes
from ..sonify import SummaryAutoencoder
from ..views import compared
from .pecmae import levelled, windows
from .pecmae_questions import Offer

EXPLAINED, LOUDEST, WHOLE = "L2I", "the loudest tenth", "the segment itself"
"""What is played of a segment: the components of a decision, and two controls that never ask the classifier."""

TAU = 0.2
"""A component is played if its relevance is above this share of the largest."""


# The classifier -------------------------------------------------------------------------------------------------------


class _AtLevel(nn.Module):
    """Windows (B, samples) at the autoencoder's level, before its encoder."""

    def __init__(self, level: float | None):
        super().__init__()
        self.level = level

    def extra_repr(self) -> str:
        """The level, of which fingerprints of classifiers must know."""
        return f"{self.level} dB"

    def forward(self, x: Tensor) -> Tensor:
        return levelled(x, self.level)


class _Similarities(nn.Module):
    """Frames (B, T, D) of whole windows, summed up in one vector each, and its similarities (B, M) to prototypes."""

    def __init__(self, model: SummaryAutoencoder, learnt: LearntPrototypes):
        super().__init__()
        self.summary, self.prototypes = model.net, copy.deepcopy(learnt.network)
        self.mean, self.unit = float(learnt.mean), float(learnt.config.scale * learnt.deviation)
        self.said = f"{model.fingerprint}, mean {self.mean}, unit {self.unit}, {learnt.config}"

    def extra_repr(self) -> str:
        """What else decides similarities, of which fingerprints of classifiers must know."""
        return self.said

    def forward(self, frames: Tensor) -> Tensor:
        lengths = torch.full((len(frames),), frames.shape[1], device=frames.device)
        x = (self.summary.summarise(frames, lengths) - self.mean) / self.unit
        return self.prototypes.similarities(self.prototypes.distances(x))


def prototype_classifier(model: SummaryAutoencoder, learnt: LearntPrototypes) -> Classifier:
    """The classifier made of prototypes as a module from whole windows to logits, whose taps are encoder layers.

    Its logits are those of ``learnt.logits(model.embed(x))`` divided by the temperature at which the prototypes were
    trained: their softmax is the probability by which the training went. Decisions do not depend on it.

    Parameters
    ----------
    model : SummaryAutoencoder
        The waveforms are windows of its length at the rate of its encoder; shorter sounds are padded before.
    learnt : LearntPrototypes
        Prototypes among its vectors.
    """
    temperature, layer = learnt.config.temperature, model.encoder.select(model.layer)[0]
    head = learnt.weight.T / temperature, learnt.bias / temperature
    options = {"layer": layer, "pool": _Similarities(model, learnt), "device": model.device}
    inner = classifier_on(model.encoder, *head, learnt.labels, **options)
    return Classifier(
        nn.Sequential(_AtLevel(model.level), inner.module),
        rate=inner.rate,
        classes=inner.classes,
        taps=[f"1.{tap}" for tap in inner.taps],
        axes=inner.axes,
        device=model.device,
        name=f"prototypes of {model.name}",
    )


def chosen(split: Split, first: Sequence[int], *, most: int, seed: int) -> tuple[np.ndarray, Split]:
    """The segments that Listen to Interpret hears, drawn at random, and their split.

    Parameters
    ----------
    split : Split
        Of all N segments.
    first : sequence of int
        Test segments that are all taken, and that come first in the test part.
    most : int
        Training segments at most; a quarter as many for validation, and half as many for the test.

    Returns
    -------
    rows : array of int (n,)
        Numbers of the segments.
    part : Split
        Places in ``rows``.
    """
    rng, first = np.random.default_rng(seed), np.asarray(first, dtype=int)
    train, valid = (
        np.sort(rng.permutation(rows)[:count]) for rows, count in ((split.train, most), (split.valid, most // 4))
    )
    others = rng.permutation(np.setdiff1d(split.test, first))[: max(0, most // 2 - len(first))]
    rows = np.concatenate([train, valid, first, others])
    ends = np.cumsum([len(train), len(valid)])
    return rows, Split(*np.split(np.arange(len(rows)), ends))


def heard(told: Any, rows: Sequence[int], model: SummaryAutoencoder) -> Tensor:
    """Segments as whole windows (n, samples) at the encoder's rate.

    Where the autoencoder brings them to one level anyway they have a peak of 1, as Listen to Interpret wants them;
    otherwise the level is part of what is decided by, and they stay as they are.
    """
    x = torch.from_numpy(windows(told, rows, model.encoder.rate))
    return x if model.level is None else normalised(x)


def imitation(classifier: Classifier, x: Tensor, part: Split, *, components: int, seed: int, **fields: Any) -> L2I:
    """Listen to Interpret on waveforms (n, samples), with a dictionary learnt from those of the training part."""
    spectra, options = Spectra(rate=classifier.rate), {"seed": seed, "progress": False}
    own = {"components": components, "device": str(classifier.device)}
    w = dictionary_of(x[torch.from_numpy(part.train)], spectra, **own, **options)
    return fit_l2i(classifier, w, x, part, spectra=spectra, **options, **fields)


def explained(l2i: L2I, x: Tensor, decided: np.ndarray) -> list[Interpretation]:
    """Why the classes that were decided (n,), of windows (n, samples)."""
    return l2i.explain(x, classes=[l2i.classifier.classes.index(str(name)) for name in decided])


# What is played -------------------------------------------------------------------------------------------------------


def masks(each: Sequence[Interpretation], classifier: Classifier) -> dict[str, Tensor]:
    """What is kept of the spectrogram of n segments by the explanation and by its controls, (n, F, T) in [0, 1]."""
    energy, own = CONTROLS["energy"], torch.stack([one.mask(TAU) for one in each])
    spectra = each[0].spectra
    loud = torch.stack([energy(classifier, one.waveform_in, one.index, spectra=spectra) for one in each])
    return {EXPLAINED: own, LOUDEST: loud, WHOLE: torch.ones_like(own)}


def offers(
    each: Sequence[Interpretation], kept: Mapping[str, Tensor], decided: np.ndarray, *, rate: int
) -> dict[str, Offer]:
    """What is played of each segment under masks (n, F, T), at a rate in Hz and at the segment's own level.

    A mask that keeps nothing gives silence.
    """

    def under(mask: Tensor, one: Interpretation) -> np.ndarray:
        x = one.spectra.masked(one.waveform_in[None], mask[None])[0].numpy()
        whole = audio.resample(one.waveform_in.numpy(), one.spectra.rate, rate)
        return audio.at_level(audio.resample(x, one.spectra.rate, rate), audio.level(whole))

    def offer(of_masks: Tensor) -> Offer:
        return Offer("a part of the segment", decided, np.arange(len(each)), lambda i: under(of_masks[i], each[i]))

    made = {name: offer(of_masks) for name, of_masks in kept.items()}
    return made | {WHOLE: made[WHOLE]._replace(plays=WHOLE)} if WHOLE in made else made


def agrees(l2i: L2I, x: Tensor) -> np.ndarray:
    """Whether Theta decides as the classifier does on windows (n, samples), bool (n,): the mean is the fidelity."""
    return l2i.scores(x).argmax(1) == l2i.classifier.logits(x).argmax(1)


def commonest(classifier: Classifier, x: Tensor, training: Tensor) -> np.ndarray:
    """Whether the classifier decides on windows (n, samples) what it decides most often in training, bool (n,)."""
    most = np.bincount(classifier.logits(training).argmax(1)).argmax()
    return classifier.logits(x).argmax(1) == most


def with_fidelity(
    table: pd.DataFrame, same: np.ndarray, groups: np.ndarray, kept: Mapping[str, Tensor]
) -> pd.DataFrame:
    """A table of models with how often Theta decides as the classifier (n,), and how much is played of a segment."""
    low, high = group_interval(same.astype(float), groups, limits=(0, 1))
    table.loc[EXPLAINED, ["fidelity", "fidelity low", "fidelity high"]] = [same.mean(), low, high]
    for name, mask in kept.items():
        table.loc[name, "mask mean"] = float(mask.mean())
    return table


def sentences(
    in_parts: Mapping[str, np.ndarray],
    each: Sequence[Interpretation],
    groups: np.ndarray,
    ours: str,
    *,
    chance: float,
) -> list[str]:
    """Whether one hears what was decided in what Listen to Interpret plays; the control that wins first.

    Parameters
    ----------
    in_parts : mapping of str to array of bool (n,)
        Whether the judge hears the class decided: in the explanation, in both controls, and in the prototype.
    each : sequence of n Interpretation
    groups : array (n,)
    ours : str
        Name of the prototypes.
    chance : float
    """
    told, mine = {**in_parts, "chance": np.full(len(groups), chance)}, EXPLAINED
    pairs = [
        (
            LOUDEST,
            mine,
            {"above": "To be loud is enough.", "level": "So the choice of components is not shown to matter."},
        ),
        (WHOLE, mine, {"above": "What is left out was needed, or the cut does harm."}),
        (mine, "chance", {}),
        (mine, ours, {}),
    ]
    said = [
        compared(a, b, difference_interval(told[a], told[b], groups, limits=(-1, 1)), of=_SAID, **then)
        for a, b, then in pairs
    ]
    silent = sum(not len(one.selected(TAU)) for one in each)
    if silent:
        said.append(f"In {silent} of {len(each)} segments no component is above {TAU}: silence is played.")
    return said


def fidelity_sentences(
    same: np.ndarray, common: np.ndarray, groups: np.ndarray, decided: np.ndarray, each: Sequence[Interpretation]
) -> list[str]:
    """How far Theta speaks for the classifier: beside its commonest decision (n,), and over whole windows.

    Parameters
    ----------
    same, common : array of bool (m,)
        Of :func:`agrees` and :func:`commonest`.
    groups : array (m,)
    decided : array (n,)
        Classes that were decided for the segments as they are.
    each : sequence of n Interpretation
        Of the same segments as whole windows.
    """
    gap = difference_interval(same, common, groups, limits=(-1, 1))
    said = [
        f"Theta decides as the prototypes do on {same.mean():.1%} of {len(same)} test segments.",
        compared("Theta", "their commonest decision", gap, of="Agreement with the prototypes"),
    ]
    padded = np.array([one.classes[int(one.logits.argmax())] for one in each])
    if (other := padded != decided.astype(str)).any():
        said.append(f"{other.mean():.1%} of the segments are decided otherwise when they are padded to a window.")
    return said


_SAID = "Heard as the class decided"
