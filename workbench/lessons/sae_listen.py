"""What ``notebooks/sae.ipynb`` says of the sounds that a latent needs: Listen to Interpret with latents as classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..core.checks import checked, numbers, several, whole
from ..core.errors import ParameterError
from ..core.splits import Split
from ..interpreters import L2I, Classifier, Interpretation, Spectra, classifier_on, fit_l2i, mask_study
from ..sae import SparseAutoencoder
from ..views import compared

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
"""Clips of the training part, and as many of the others, in which a latent must be active, and be silent."""


def varied_latents(z: np.ndarray, split: Split, wanted: Sequence[int], *, count: int) -> list[int]:
    """The first ``count`` of some latents that are active in enough clips, and silent in enough, on both sides.

    Parameters
    ----------
    z : ndarray (N, latents)
        Codes of the clips.
    split : Split
    wanted : sequence of int
        Latents, those that are wanted most first.
    count : int
    """
    sides = [z[rows] > 0 for rows in (split.train, split.test)]

    def varies(latent: int) -> bool:
        return all(min(side[:, latent].sum(), (~side[:, latent]).sum()) >= LEAST for side in sides)

    return [int(latent) for latent in dict.fromkeys(wanted) if varies(latent)][:count]


@checked
def latent_classifier(
    network: Encoder,
    sae: SparseAutoencoder,
    latents: Sequence[int],
    x: torch.Tensor,
    z: np.ndarray,
    train: np.ndarray,
    *,
    layer: int,
) -> Classifier:
    """The network as a classifier with several labels, which are latents of a sparse code of one of its layers.

    The score of latent j is a linear function of what it sees in the mean frame before ReLU and top-k: over the
    training clips in which the latent is active the mean score is :data:`SURE`, over the others ``-SURE``. A score
    above zero therefore reads "active".

    Parameters
    ----------
    network : Encoder
    sae : SparseAutoencoder
        Sparse code of mean frames of the layer.
    latents : sequence of int
    x : Tensor (N, samples)
        Waveforms at the network's rate.
    z : ndarray (N, latents)
        Codes of the same clips.
    train : ndarray of int
        Row numbers of the training clips.
    layer : int
        Position of the layer in the network.

    Returns
    -------
    Classifier
        Its classes are called "latent 17" and so on.

    Raises
    ------
    ParameterError
        If there is no latent, a latent does not exist, or is active in all training clips or in none.
    """
    z, most = numbers("z", z, ndim=2), sae.config.latents - 1
    latents = several("latents", latents, lambda name, value: whole(name, value, least=0, most=most))
    if not latents:
        raise ParameterError("latents", latents, "one or more")
    active = z[train][:, latents] > 0
    if (flat := active.all(0) | ~active.any(0)).any():
        latent = latents[int(flat.argmax())]
        raise ParameterError("latents", latent, "active in some training clips, not in all")
    weight = sae.encoder[latents].cpu().double().numpy()
    bias = sae.encoder_bias[latents].cpu().double().numpy() - weight @ sae.bias.cpu().double().numpy()
    names = [f"latent {latent}" for latent in latents]
    options = {"layer": layer, "device": network.device, "multilabel": True}
    seen = classifier_on(network, weight.T, bias, names, **options).logits(x[torch.from_numpy(train)])
    ends = [np.nanmean(np.where(rows, seen, np.nan), 0) for rows in (active, ~active)]
    middle, unit = np.mean(ends, 0), np.maximum(ends[0] - ends[1], 1e-9) / (2 * SURE)
    head = (weight / unit[:, None]).T, (bias - middle) / unit
    return classifier_on(network, *head, names, name=f"latents of {network.name}", **options)


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


def likeness_sentences(logits: np.ndarray | None, z: np.ndarray, latents: Sequence[int], seconds: float) -> list[str]:
    """How nearly the latents do over waveforms of equal length and peak what they do over the clips as they are.

    Parameters
    ----------
    logits : ndarray (n, C)
        Scores of the classifier whose classes are the latents.
    z : ndarray (n, latents)
        What the latents are, before ReLU and top-k, in the same clips as they are.
    latents : sequence of int (C,)
    seconds : float
        Length of the waveforms.
    """
    if not latents:
        return []
    both = [np.corrcoef(logits[:, c], z[:, latent])[0, 1] for c, latent in enumerate(latents)]
    lowest = int(np.argmin(both))
    return [
        f"Heard are the first {seconds:.1f} s of every clip, at a peak of 1. Over these sounds a latent is correlated "
        f"with itself over the clips as they are by {min(both):.2f} (latent {latents[lowest]}) to {max(both):.2f}."
    ]


def chosen_sentence(latents: Sequence[int]) -> str:
    """Which latents are looked at, or that none varies enough."""
    if not latents:
        return (
            f"No latent is active in {LEAST} clips and silent in {LEAST}, in training and in test: nothing to explain."
        )
    return f"Looked at: {', '.join(f'latent {latent}' for latent in latents)}."


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
