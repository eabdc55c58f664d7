"""What ``notebooks/tour.ipynb`` says of its pictures, and how it goes on where sounds cannot carry a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..core.errors import WorkbenchError
from ..core.splits import Split
from ..datasets import Clips
from ..embeddings import Embeddings, embed
from ..encoders import load_encoder
from ..interpreters import CONTROLS, Classifier, Interpretation, mask_study, normalised
from ..metrics.intervals import difference_interval, jackknife_interval
from ..probes import Probes, fit_probes
from ..prototypes import LearntPrototypes
from ..sonify import SummaryAutoencoder
from ..views import PrototypeSounds, RealClip, compared, reading

MISSING = "there are too few groups of test clips for an interval"
"""Why a comparison has no interval, where it has none."""

NOTHING = (float("nan"),) * 3
"""A difference that cannot be measured, as :func:`workbench.views.compared` takes it."""

RIVALS = ("always giving the commonest answer", "a linear probe of the same vectors")
"""What decisions by prototypes are read against."""

REMOVED = ("the same mask elsewhere", "the loudest bins")
"""What taking out the components that speak for a class is read against."""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Go on where these sounds cannot carry a step, and say why in a sentence, in place of its picture.

    What the package refuses is caught, and nothing else: any other error ends the notebook as it should.

    Parameters
    ----------
    what : str
        The step, as it is called in the middle of a sentence.
    """
    from IPython.display import display

    try:
        yield
    except WorkbenchError as error:
        display(reading(f"These sounds and this model cannot carry {what}: {error}. The tour goes on without."))


def controls(clips: Clips, encoder: str, *, device: str, seed: int) -> dict[str, Embeddings]:
    """What an encoder is read against: its own untrained copy, and the mean and deviation of 64 bands of the spectrum.

    Parameters
    ----------
    clips : Clips
    encoder : str
        The spectrum "logmel" has no weights, and so no untrained copy.
    device : str
    seed : int
        Of the random weights.
    """
    spectrum = embed(clips, load_encoder("logmel", device=device), pooling="mean+std")
    if encoder == "logmel":
        return {"spectrum": spectrum}
    untrained = load_encoder(encoder, device=device, random_weights=seed)
    return {"untrained": embed(clips, untrained), "spectrum": spectrum}


def neighbours_agree(z: np.ndarray, labels: Sequence[str], groups: Sequence[str]) -> np.ndarray:
    """Whether the clip that lies nearest, among those of other groups, has the same label.

    Parameters
    ----------
    z : array (N, D)
    labels, groups : sequence of str (N,)
        Clips of one group (one speaker, one source) may be near because they are one source.

    Returns
    -------
    np.ndarray
        Bool (N,); False for a clip without another group.
    """
    z, labels, groups = np.asarray(z, dtype=np.float64), np.asarray(labels), np.asarray(groups)
    z = (z - z.mean(0)) / np.where(z.std(0) > 0, z.std(0), 1.0)
    squares = (z**2).sum(1)
    apart = squares[:, None] + squares - 2 * z @ z.T
    apart[groups[:, None] == groups] = np.inf
    return (labels[apart.argmin(1)] == labels) & np.isfinite(apart.min(1))


class Latent(NamedTuple):
    """One latent and the label that it answers to, chosen on training clips, judged on test clips."""

    number: int
    """Its position in the code."""
    label: str
    """The label."""
    difference: tuple[float, float, float]
    """AUC on the test clips minus one half, and the bounds of its 95 % interval; NaN where there is none."""


def telling_latents(z: np.ndarray, clips: Clips, split: Split, *, most: int = 6) -> list[Latent]:
    """Latents that tell a label on the training clips, a label's best each, and how well they do on the test clips.

    Labels that no test clip has are passed over.

    Parameters
    ----------
    z : array (N, latents)
        Activations, 0 or more.
    clips : Clips
        The N clips.
    split : Split
    most : int
        So many at most.

    Returns
    -------
    list of Latent
        That with the AUC of most standard errors above one half on the training clips first, so that a label of few
        clips is not preferred. The AUC is the chance that a clip with the label activates the latent more than another.
    """
    z, labels = np.asarray(z), clips.labels[split.train]
    found: dict[int, tuple[float, str]] = {}
    for label in np.unique(labels):
        own = labels == label
        if own.all() or label not in clips.labels[split.test]:
            continue
        auc = _auc(z[split.train], own)
        spread = np.sqrt((len(own) + 1) / (12 * own.sum() * (~own).sum()))
        best = (float(auc.max() - 0.5) / spread, str(label))
        number = int(auc.argmax())
        found[number] = max(found.get(number, best), best)
    order = sorted(found, key=found.get, reverse=True)[:most]
    return [
        Latent(number, found[number][1], _judged(z[:, number], clips, split.test, found[number][1])) for number in order
    ]


def _judged(activation: np.ndarray, clips: Clips, test: np.ndarray, label: str) -> tuple[float, float, float]:
    """AUC of a latent for a label on the test clips, minus one half, and its interval."""
    own, groups, activation = clips.labels[test] == label, clips.groups()[test], activation[test, None]
    if own.all() or not own.any():
        return NOTHING
    auc, bounds = float(_auc(activation, own)[0]), NOTHING[1:]
    parts = [groups != group for group in np.unique(groups)]
    if len(parts) > 1 and all(own[part].any() and not own[part].all() for part in parts):
        without = np.array([_auc(activation[part], own[part])[0] for part in parts])
        bounds = jackknife_interval(auc, without, limits=(0, 1))
    return (auc - 0.5, *(float(bound) - 0.5 for bound in bounds))


def _auc(z: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Chance that a clip of the label activates each latent more than another clip; equal ones count a half."""
    ranks = pd.DataFrame(z).rank().to_numpy()
    count = own.sum()
    return (ranks[own].sum(0) - count * (count + 1) / 2) / (count * (len(own) - count))


def latent_sentence(latents: Sequence[Latent]) -> str:
    """What the test clips say of the first latent, which the page shows open; there may be none."""
    if not latents:
        return "There is no latent to read."
    latent = latents[0]
    of = f"Chance that a test clip of {latent.label} activates latent {latent.number} more than another does"
    known = np.isfinite(latent.difference[0])
    missing = MISSING if known else "the test part has no clip without the label"
    return compared("this", "the toss of a coin", latent.difference, of=of, missing=missing)


def waveforms(
    clips: Clips, rows: np.ndarray, rate: int, seconds: float, *, most: int | None = None, seed: int = 0
) -> tuple[np.ndarray, list[Tensor]]:
    """Some clips at one rate, at a peak of 1 and no longer than so many seconds.

    Returns
    -------
    rows : np.ndarray
        Which; at most ``most`` of those asked for, drawn at random.
    x : list of Tensor (samples,)
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
    x = (torch.from_numpy(clips.audio(i, rate=rate)[0][: round(seconds * rate)].copy()) for i in drawn)
    return drawn, [normalised(each) for each in x]


def clearest(explained: Sequence[Interpretation], labels: Sequence[str], *, tau: float) -> int:
    """Position of the explanation to look at: of a right decision, carried by several components, that one can hear.

    Of those, if there are any, the one that holds the largest share of its clip's spectrogram is taken: many decisions
    lie in a faint background, which a newcomer's ears are not the judge of. It is chosen to be heard, and not to be
    right: what explanations are worth is measured on all of them.

    Parameters
    ----------
    explained : sequence of Interpretation
    labels : sequence of str
        The true label of each.
    tau : float
        Components of a relevance above count.
    """

    def worth(i: int) -> tuple[bool, bool, float]:
        each = explained[i]
        share = (each.log_magnitude * each.mask(tau)).sum() / each.log_magnitude.sum().clamp_min(1e-9)
        return each.name == labels[i], len(each.selected(tau)) > 1, float(share)

    return max(range(len(explained)), key=worth)


def removal_differences(
    explained: Sequence[Interpretation],
    judge: Classifier,
    groups: Sequence[str],
    *,
    tau: float,
    seed: int,
) -> dict[str, tuple[float, float, float]]:
    """How much more a decision loses with the relevant components than with what controls take out.

    Parameters
    ----------
    explained : sequence of Interpretation
        N clips; each may have its own length.
    judge : Classifier
    groups : sequence of str (N,)
    tau : float
        Components of a relevance above are taken out.
    seed : int

    Returns
    -------
    dict
        One of ``REMOVED`` -> mean over clips of the fall of the logit minus that with the control, and its interval.
        The loudest bins are the highest tenth of the spectrogram.
    """
    if not explained:
        return dict.fromkeys(REMOVED, NOTHING)
    falls = []
    for each in explained:
        asked, mask = (judge, each.waveform_in, each.index), each.mask(tau)
        controls = (
            CONTROLS["shifted"](*asked, spectra=each.spectra, seed=seed, like=mask),
            CONTROLS["energy"](*asked, spectra=each.spectra, seed=seed),
        )
        masks = {name: made[None] for name, made in zip(("ours", *REMOVED), (mask, *controls), strict=True)}
        options = {"spectra": each.spectra, "classes": [each.index]}
        falls.append(mask_study(judge, each.waveform_in[None], masks, **options)["logit_drop"])
    table = pd.DataFrame(falls)
    return {name: difference_interval(table["ours"], table[name], groups) for name in REMOVED}


def prototype_sounds(
    learnt: LearntPrototypes, told: Any, model: SummaryAutoencoder, split: Split, *, steps: int, seed: int
) -> list[PrototypeSounds]:
    """Every prototype as the autoencoder sounds it, with the training segment nearest to it.

    Parameters
    ----------
    learnt : LearntPrototypes
    told : Summaries
        The vectors that it was trained on, as :func:`workbench.sonify.summarise` gives them.
    model : SummaryAutoencoder
        What decodes a vector.
    split : Split
        Of the segments.
    steps : int
        Steps of the decoder.
    seed : int
        Of the decoder's noise.
    """
    points, train = learnt.prototypes(), split.train
    sounds = model.decode(points, steps=steps, seed=seed).numpy()
    nearest = train[learnt.nearest(told.z[train])[:, 0]]
    return [
        PrototypeSounds(label, [x], model.codec.rate, [_real(told, i, point)])
        for label, x, i, point in zip(learnt.labels[learnt.classes], sounds, nearest, points, strict=True)
    ]


def prototype_differences(
    learnt: LearntPrototypes | None, told: Any, split: Split, *, device: str = "auto"
) -> dict[str, tuple[float, float, float]]:
    """How much more test segments the prototypes name rightly than each of ``RIVALS``, with its interval."""
    if learnt is None:
        return dict.fromkeys(RIVALS, NOTHING)
    test, truth = split.test, told.labels[split.test]
    groups, right = told.groups[test], learnt.predict(told.z[test]).predictions == truth
    names, counts = np.unique(told.labels[split.train], return_counts=True)
    probe = fit_probes({"vector": told.z}, told.labels, split, groups=told.groups, device=device)
    rivals = (truth == names[counts.argmax()], probe.predictions[0, 0] == probe.true)
    pairs = zip(RIVALS, rivals, strict=True)
    return {name: difference_interval(right, rival, groups, limits=(-1, 1)) for name, rival in pairs}


def _real(told: Any, i: int, point: np.ndarray) -> RealClip:
    distance = float(np.linalg.norm(told.z[i] - point))
    return RealClip(f"{told.labels[i]}: {told.names[i].split('/')[-1]}", *told.audio(i), distance)


def headline(
    name: str,
    probes: Probes,
    baselines: Mapping[str, Probes],
    removed: Mapping[str, Sequence[float]],
    gaps: Mapping[str, Sequence[float]],
) -> list[tuple]:
    """The main results as :func:`workbench.record` takes them; those that were not measured are left out.

    Parameters
    ----------
    name : str
        Of the data.
    probes, baselines : Probes, mapping of str to Probes
    removed, gaps : mapping
        Of :func:`removal_differences` and :func:`prototype_differences`.
    """
    at = probes.position(probes.best_layer)
    controls = ", ".join(f"{rival} {each.accuracy.mean(1).max():.2f}" for rival, each in baselines.items())
    rows = [
        (
            f"Accuracy of layer {probes.best_layer}, {name}",
            probes.accuracy[at].mean(),
            *probes.interval[at],
            f"commonest class {probes.majority:.2f}, {controls}",
        ),
        (
            f"Fall of a class's score without what speaks for it, minus that without {REMOVED[0]}",
            *removed[REMOVED[0]],
            f"minus that without {REMOVED[1]} {removed[REMOVED[1]][0]:+.1f}",
        ),
        (
            f"Accuracy of the nearest prototype, minus that of {RIVALS[0]}",
            *gaps[RIVALS[0]],
            f"minus that of {RIVALS[1]} {gaps[RIVALS[1]][0]:+.2f}",
        ),
    ]
    return [row for row in rows if np.isfinite(row[1])]
