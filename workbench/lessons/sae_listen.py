"""What ``notebooks/sae.ipynb`` says of the sounds that a latent needs: Listen to Interpret with latents as classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ..core.checks import checked, choice, several, whole
from ..core.errors import ParameterError
from ..core.splits import Split
from ..interpreters import (
    L2I,
    Classifier,
    Interpretation,
    Spectra,
    classifier_on,
    explain_components,
    fit_l2i,
    mask_study,
)
from ..sae import SparseAutoencoder
from ..views import compared
from .sae_units import UNITS

if TYPE_CHECKING:
    import pandas as pd

    from ..encoders import Encoder

TAU = 0.2
"""A component is played if its relevance is above this share of the largest."""
DIFFERENCE = ["difference", "difference_low", "difference_high"]
CONTROLLED = ("as much of the loudest bins", "as much from everywhere")
"""Masks that take as much from a spectrogram as an explanation does, and that it is held against."""
SURE = 3.0
"""Mean score of the training clips in which a latent is active: a probability of 95 %."""
LEAST = 5
"""Training clips, and as many test clips, in which a latent must be active, and be silent."""
CLIPS = 240
"""At most so many clips are heard: each goes through the network up to the layer, many times."""
MOST = 64
"""Most latents that are looked through for those that vary."""


class _MeanCode(nn.Module):
    """Frames (B, T, D) to the mean over time of the codes of some latents, (B, count)."""

    def __init__(self, sae: SparseAutoencoder, latents: Sequence[int]):
        super().__init__()
        self.sae, self.latents = sae, list(latents)
        for name, tensor in sae.tensors().items():
            self.register_buffer(name, tensor)  # fingerprints of classifiers must know them

    def extra_repr(self) -> str:
        """Which latents, and how the code is kept sparse."""
        return f"{self.latents}, {self.sae!r}"

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        codes = self.sae.encode(frames.flatten(0, 1))[:, self.latents]
        return codes.unflatten(0, frames.shape[:2]).mean(1)


@checked
def latent_classifier(
    network: Encoder,
    sae: SparseAutoencoder,
    wanted: Sequence[int],
    x: torch.Tensor,
    split: Split,
    *,
    layer: int,
    unit: str = "clip",
    count: int = 4,
) -> Classifier | None:
    """The network as a classifier with several labels, which are latents of a sparse code of one of its layers.

    The score of a latent is a linear function of its activation in a clip: what it sees in the mean frame before ReLU
    and top-k, or with "frame" the mean over the clip of what it is in each frame. A latent counts as *active* in a clip
    where this is above zero after the top-k, and above its median if it is active in more than half of the training
    clips. Over the training clips in which it is active the mean score is :data:`SURE`, over the others ``-SURE``; a
    score above zero therefore reads "active".

    Parameters
    ----------
    network : Encoder
    sae : SparseAutoencoder
        Sparse code of the layer.
    wanted : sequence of int
        Latents, those that are wanted most first.
    x : Tensor (N, samples)
        Waveforms at the network's rate.
    split : Split
        Of these clips.
    layer : int
        Position of the layer in the network.
    unit : {"clip", "frame"}
        What the autoencoder codes.
    count : int
        Most latents: the first of those wanted that are active in at least :data:`LEAST` clips, and silent in as many,
        in training and in test.

    Returns
    -------
    Classifier or None
        Its classes are called "latent 17" and so on; None if no latent varies enough.

    Raises
    ------
    ParameterError
        If there is no latent, or one does not exist.
    """
    most = sae.config.latents - 1
    latents = several("wanted", wanted, lambda name, value: whole(name, value, least=0, most=most))
    latents = list(dict.fromkeys(latents))[:MOST]
    if not latents:
        raise ParameterError("wanted", latents, "one or more latents")
    options = {"layer": layer, "device": network.device, "multilabel": True}
    names, dim = [f"latent {latent}" for latent in latents], network.layers[layer].dim
    of_sae = {name: tensor.cpu().double().numpy() for name, tensor in sae.tensors().items()}
    if choice("unit", unit, UNITS) == "clip":
        mean = classifier_on(network, np.eye(dim), np.zeros(dim), range(dim), **options).logits(x)
        weight = of_sae["encoder"][latents].T
        bias = of_sae["encoder_bias"][latents] - of_sae["bias"] @ weight
        seen, code = mean @ weight + bias, sae.encode(mean)[:, latents]
    else:
        weight, bias = np.eye(len(latents)), np.zeros(len(latents))
        options["pool"] = _MeanCode(sae.to(network.device), latents)
        seen = code = classifier_on(network, weight, bias, names, **options).logits(x)
    active = code > np.maximum(np.median(code[split.train], axis=0), 0)
    sides = [active[rows] for rows in (split.train, split.test)]
    enough = np.all([np.minimum(side.sum(0), (~side).sum(0)) >= LEAST for side in sides], axis=0)
    chosen = np.flatnonzero(enough)[:count]
    if not len(chosen):
        return None
    own, train = seen[split.train][:, chosen], sides[0][:, chosen]
    ends = [np.where(rows, own, 0).sum(0) / rows.sum(0) for rows in (train, ~train)]
    middle, step = np.mean(ends, 0), np.maximum(ends[0] - ends[1], 1e-9) / (2 * SURE)
    head = weight[:, chosen] / step, (bias[chosen] - middle) / step
    name = f"latents of {network.name}"
    return classifier_on(network, *head, [names[at] for at in chosen], name=name, **options)


def imitation(
    classifier: Classifier,
    w: np.ndarray,
    x: torch.Tensor,
    part: Split,
    *,
    spectra: Spectra,
    seed: int,
    epochs: int = 12,
) -> L2I:
    """A small L2I network for a classifier whose classes are latents, with a dictionary ``w`` (F, K)."""
    options = {"width": 64, "batch": 8, "learning_rate": 2e-3, "epochs": epochs, "progress": False}
    return fit_l2i(classifier, w, x, part, spectra=spectra, seed=seed, **options)


def strongest_clips(
    logits: np.ndarray, rows: np.ndarray, groups: np.ndarray, *, each: int
) -> tuple[np.ndarray, np.ndarray]:
    """For every class the clips with its highest scores, at most one a group, as clips (P,) and class numbers (P,).

    Parameters
    ----------
    logits : ndarray (n, C)
        Scores of the clips ``rows``.
    rows : ndarray of int (n,)
    groups : ndarray (N,)
        Group of every clip of the set.
    each : int
        Most clips of a class.
    """
    pairs = []
    for c, scores in enumerate(logits.T):
        found: dict[object, int] = {}
        for place in np.argsort(-scores, kind="stable"):
            if scores[place] > 0 and len(found) < each:
                found.setdefault(groups[rows[place]], int(rows[place]))
        pairs += [(row, c) for row in found.values()]
    clips, classes = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return clips, classes


def explanations(
    l2i: L2I, classifier: Classifier, x: torch.Tensor, w: np.ndarray, *, classes: np.ndarray, spectra: Spectra
) -> dict[str, list[Interpretation]]:
    """What latents need in some sounds (P, samples), the latent of each by its class number, found in both ways."""
    return {
        "L2I": l2i.explain(x, classes=classes),
        "one by one": explain_components(classifier, x, w, classes=classes, spectra=spectra, progress=False),
    }


def need_study(
    explained: Mapping[str, Sequence[Interpretation]], classifier: Classifier | None, *, groups: np.ndarray
) -> pd.DataFrame:
    """How far latents fall when the components that they are said to need are taken out, beside two controls.

    Both take as much from the spectrogram, counted in log(1 + |STFT|): from its loudest bins, or from every bin the
    same share.

    Parameters
    ----------
    explained : mapping of str to sequence of P Interpretation
        Of each way to find the components, explanations of the same clips and latents.
    classifier : Classifier
    groups : ndarray (P,)

    Returns
    -------
    pandas.DataFrame
        Rows (method, taken out): the mean share of the spectrogram that is taken, the median fall of the latent, as a
        share of the way from active clips to silent ones, and the difference: the fall by the method's own mask less
        this one's, with its interval. A fall of 1 takes an active clip where silent clips are. Without explanations the
        table is empty.
    """
    import pandas as pd

    if not explained:
        return pd.DataFrame()
    tables = {}
    for name, each in explained.items():
        masks: dict[str, list[torch.Tensor]] = {"its components": [one.mask(TAU) for one in each]}
        pairs = list(zip(each, masks["its components"], strict=True))
        taken = [
            float((mask * one.log_magnitude).sum() / one.log_magnitude.sum().clamp_min(1e-12)) for one, mask in pairs
        ]
        masks["as much of the loudest bins"] = [
            loudest(one.log_magnitude, share) for one, share in zip(each, taken, strict=True)
        ]
        masks["as much from everywhere"] = [torch.full_like(mask, s) for (_, mask), s in zip(pairs, taken, strict=True)]
        stacked = {method: torch.stack(of_clips) for method, of_clips in masks.items()}
        followed, x = np.array([one.index for one in each]), torch.stack([one.waveform_in for one in each])
        same = {"spectra": each[0].spectra, "classes": followed, "groups": groups}
        study = mask_study(classifier, x, stacked, against="its components", **same)
        study[DIFFERENCE] = study[DIFFERENCE].astype(float) / (2 * SURE)
        tables[name] = study.assign(taken=np.mean(taken), fall=study["logit_drop"] / (2 * SURE))
    return pd.concat(tables, names=["method", "taken out"])[["taken", "fall", *DIFFERENCE]]


def loudest(log_magnitude: torch.Tensor, share: float) -> torch.Tensor:
    """The mask (F, T) of the fewest bins that hold a share of a spectrogram (F, T); of its last bin only a part."""
    order = log_magnitude.flatten().argsort(descending=True)
    levels = log_magnitude.flatten()[order].double()
    before = levels.cumsum(0) - levels
    part = ((share * levels.sum() - before) / levels.clamp_min(1e-12)).clamp(0, 1)
    return torch.zeros_like(levels).scatter_(0, order, part).view_as(log_magnitude).float()


def need_sentences(study: pd.DataFrame) -> list[str]:
    """Whether what each method plays for a latent is what the latent needs, beside the two controls.

    Parameters
    ----------
    study : pandas.DataFrame
        Of :func:`need_study`.
    """
    if study.empty:
        return ["Nothing was explained."]
    words = {"of": "Fall of the latent", "unit": "% of the way to silent clips", "digits": 0}
    words["missing"] = "there are too few groups for an interval"
    return [
        compared(f"that without its components ({method})", f"that without {control}", difference[DIFFERENCE], **words)
        for (method, control), difference in study.iterrows()
        if control in CONTROLLED
    ]


def likeness_sentences(
    classifier: Classifier | None, logits: np.ndarray | None, z: np.ndarray, seconds: float
) -> list[str]:
    """How nearly latents do over waveforms of equal length and peak what they do over the clips as they are.

    Parameters
    ----------
    classifier : Classifier or None
        Of :func:`latent_classifier`.
    logits : ndarray (n, C) or None
        Its scores.
    z : ndarray (n, latents)
        What all latents are in the same clips as they are.
    seconds : float
        Length of the waveforms.
    """
    if classifier is None:
        return []
    latents = [int(name.removeprefix("latent ")) for name in classifier.classes]
    with np.errstate(invalid="ignore"):
        both = np.array(
            [np.corrcoef(scores, z[:, latent])[0, 1] for scores, latent in zip(logits.T, latents, strict=True)]
        )
    known = np.isfinite(both)
    told = f"Heard are the first {seconds:.1f} s of every clip, at a peak of 1."
    if not known.any():
        return [told]
    low = int(np.nanargmin(both))
    return [
        f"{told} Over these sounds a latent is correlated with itself over the clips as they are by {both[low]:.2f} "
        f"({classifier.classes[low]}) to {np.nanmax(both):.2f}."
    ]


def chosen_sentence(classifier: Classifier | None, names: Mapping[int, tuple[str, str]] | None = None) -> str:
    """Which latents are looked at, with the names that they have, or that none varies enough."""
    if classifier is None:
        return (
            f"No latent is active in {LEAST} clips and silent in {LEAST}, in training and in test: nothing to explain."
        )
    called = {f"latent {latent}": f' "{name}"' for latent, (name, _) in (names or {}).items()}
    return f"Looked at: {', '.join(each + called.get(each, '') for each in classifier.classes)}."


def most_needed(
    explained: Mapping[str, Sequence[Interpretation]], classifier: Classifier | None
) -> Interpretation | None:
    """The explanation, of those of all methods, without whose components the latent falls furthest; None of none."""
    every = [one for each in explained.values() for one in each]
    if not every:
        return None
    x = np.stack([one.removed(TAU) for one in every])
    own = np.array([one.index for one in every])[:, None]
    left = np.take_along_axis(classifier.logits(torch.from_numpy(x)), own, axis=1)[:, 0]
    return every[int(np.argmax([one.logits[one.index] - rest for one, rest in zip(every, left, strict=True)]))]


def need_results(study: pd.DataFrame) -> dict[str, float]:
    """What part 5.3 records: the fall by every mask of every method."""
    return {f"{method}, {taken}": row["fall"] for (method, taken), row in study.iterrows()}
