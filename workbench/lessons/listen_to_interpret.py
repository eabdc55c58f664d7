"""What ``notebooks/listen_to_interpret.ipynb`` says of its figures, and what it prepares without words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import audio, views
from ..core.splits import Split
from ..datasets import Clips
from ..datasets.generated import scenes
from ..embeddings import embed
from ..encoders import Encoder, load_encoder
from ..interpreters import (
    L2I,
    LMAC,
    Benchmark,
    Classifier,
    Flint,
    Interpretation,
    Spectra,
    Vibi,
    above_guessing,
    classifier_on,
    component_mask,
    convolutional,
    find_audioset,
    fit_flint,
    fit_l2i,
    fit_lmac,
    fit_tagger,
    fit_vgg,
    fit_vibi,
)
from ..metrics import fidelity
from ..metrics.intervals import difference_interval, group_interval
from ..nmf import SparseNMF, activations
from ..probes import fit_probes
from ..prototypes import extractor, fit_classifier, setting_difference
from ..views import compared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = "clips of one group, or that agree exactly, give no interval"
"""Why a comparison over clips has no interval, where it has none."""

DIFFERENCE = ["difference", "difference_low", "difference_high"]
"""Columns of a difference, clip by clip, and its interval."""

TAUS = tuple(k / 20 for k in range(20))
"""Thresholds at which the slider of the page can stand."""

WORDS = ("component", "dictionary", "relevance", "fidelity", "FLINT", "VIBI", "L-MAC", "SLIME", "logit drop")
WORDS += ("mean removal drop", "fidelity in", "deletion", "insertion", "heard")
"""The words at the end."""

EPOCHS = 20
"""Passes over the training clips by which the listener is trained, where it is trained in epochs."""


# Sounds ---------------------------------------------------------------------------------------------------------------


def epochs_of_all(epochs: int) -> dict[str, Any]:
    """The settings by which everything that this notebook trains sees its clips so many times; 0 changes nothing."""
    return {"net": epochs, **dict.fromkeys(("l2i", "lmac", "flint", "vibi"), {"epochs": epochs})}


def plan_sentence(plan: Mapping[str, Any]) -> str:
    """What a scale sets, in sentences of lines that no page breaks."""
    size = f"at most {plan['size']:,} clips of {plan['dataset']}" if plan.get("size") else f"all of {plan['dataset']}"
    folds = f"{plan['folds']} fold{'s' if plan['folds'] > 1 else ''}"
    times = f"{plan['draws']} times" if plan["draws"] else "as often as its authors do"
    return textwrap.fill(
        f"The data are {size}, {plan['seconds']:g} s of each, in {folds}. The classifier is {plan['classifier']}, "
        f"trained for {plan['net']} epoch{'s' if plan['net'] > 1 else ''}; the dictionary has {plan['components']} "
        f"components, learnt from at most {plan['frames']:,} frames. {plan['judged']} clips are explained; a method "
        f"that puts questions to the classifier asks {times} a clip.",
        88,
    )


def one_of_each(labels: np.ndarray, count: int = 6) -> np.ndarray:
    """Positions of the first clip of each class, for at most ``count`` of the classes (N,)."""
    return np.sort(np.unique(labels, return_index=True)[1])[:count]


def encoder_and_rate(classifier: str, device: str) -> tuple[Encoder | None, int]:
    """The pretrained encoder below the classifier, None for "conv" and "vgg", and the rate in Hz at which it hears."""
    if classifier in ("conv", "vgg"):
        return None, {"conv": 16000, "vgg": 44100}[classifier]
    encoder = load_encoder(classifier, device=device)
    return encoder, encoder.rate


def splits(clips: Clips, *, folds: int, published: bool, seed: int) -> list[Split]:
    """Splits whose test clips take turns by group, so that the first few are of as many groups as can be.

    Parameters
    ----------
    clips : Clips
    folds : int
        Most of them.
    published : bool
        Take the split that the dataset brings, in place of folds.
    seed : int
    """
    parts = [clips.split(seed=seed)] if published else clips.folds(seed=seed)[:folds]
    return [Split(part.train, part.valid, _in_turn(part.test, clips.groups())) for part in parts]


def _in_turn(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return rows[np.argsort(pd.Series(groups[rows]).groupby(groups[rows]).cumcount(), kind="stable")]


def waveforms(clips: Clips, *, rate: int, seconds: float) -> Tensor:
    """Clips as float32 (N, samples) at a peak of 1; the end is cut where more than a tenth is silent in all of them."""
    x = torch.from_numpy(clips.waveforms(rate=rate, seconds=seconds, progress=False))
    heard = max(int(x.any(0).nonzero().max()) + 1, 2 * rate)  # behind it no clip has any sound
    return x[:, :heard] if heard < 0.9 * x.shape[1] else x


# The dictionary -------------------------------------------------------------------------------------------------------


def training_frames(
    x: Tensor, rows: np.ndarray, spectra: Spectra, *, most: int, rng: np.random.Generator
) -> np.ndarray:
    """Frames of log(1 + |STFT|), float32 (n, F), as many from each of these clips and at most ``most`` together."""
    each = -(-most // len(rows))
    picked = [spectra.analyse(x[i])[0].T for i in rows]
    return torch.cat([frames[np.sort(rng.permutation(len(frames))[:each])] for frames in picked]).numpy()


def dictionary(
    nmf: Callable[[int], SparseNMF],
    x: Tensor,
    train: np.ndarray,
    spectra: Spectra,
    *,
    components: int,
    frames: int,
    tags: pd.DataFrame | None,
    seed: int,
) -> np.ndarray:
    """A dictionary W, float32 (F, K), its component of lowest centre first.

    Parameters
    ----------
    nmf : callable
        Number of components -> a factorisation to fit.
    x : Tensor (N, samples)
    train : array of int
        The clips to learn from.
    spectra : Spectra
    components : int
        K. Of clips with several labels, each label gets its share, as in the paper.
    frames : int
        Most frames of a factorisation.
    tags : DataFrame of bool (N, C), optional
        Of clips with several labels.
    seed : int
        Draws the frames.
    """
    rng = np.random.default_rng(seed)
    rows = [train] if tags is None else [train[tags[name].to_numpy()[train]][:1000] for name in tags]
    model = nmf(max(1, components // len(rows)))
    drawn = (training_frames(x, some, spectra, most=frames, rng=rng) for some in rows)
    w = np.concatenate([model.fit(each).components_.T for each in drawn], axis=1)
    return np.ascontiguousarray(w[:, np.argsort((np.arange(len(w))[:, None] * w).sum(0) / w.sum(0))])


def component_sounds(w: np.ndarray, x: Tensor, spectra: Spectra, *, count: int = 8) -> dict[str, tuple]:
    """Some components as sounds, from low to high: name -> (samples,) and rate.

    Each is the share of the component in the clip of ``x`` (n, samples) in which it sounds most, with the phase of that
    clip. Activations are exact for the dictionary ``w`` (F, K).
    """
    spread = np.unique(np.linspace(0, w.shape[1] - 1, count).astype(int))
    levels, phases = spectra.analyse(x)  # (n, F, T)
    h = [activations(level.T.numpy(), w.T, sparsity=0.8)[0].T for level in levels]  # (K, T) each
    sounds = {}
    for k in spread:
        i = int(np.argmax([each[k].sum() for each in h]))
        mask = component_mask(torch.from_numpy(w), torch.from_numpy(h[i]), [k])
        sounds[f"component {k}"] = (spectra.invert(levels[i] * mask, phases[i], x.shape[1]).numpy(), spectra.rate)
    return sounds


def dictionary_sentences(w: np.ndarray, rate: int) -> list[str]:
    """How many components of a dictionary (F, K) are narrow, as a pitch is, and how many are bands of noise."""
    hz = np.linspace(0, rate / 2, len(w))
    strong = (w > w.max(0) / 2).sum(0) * hz[1]  # Hz that lie within half of its largest value
    centres = (hz[:, None] * w).sum(0) / w.sum(0)
    return [
        f"The centres of the {w.shape[1]} components lie between {centres.min():,.0f} and {centres.max():,.0f} Hz.",
        f"{(strong < 200).sum()} of them are strong in less than 200 Hz, as one pitch is; "
        f"{(strong > 1000).sum()} in more than 1,000 Hz, as noise is.",
    ]


# The classifier and its imitation -------------------------------------------------------------------------------------


def train_classifier(
    clips: Clips, x: Tensor, part: Split, *, network: str | Encoder, rate: int, epochs: int, seed: int, device: str
) -> Classifier:
    """The classifier that is to be explained, trained on one split and frozen from here on.

    Parameters
    ----------
    clips : Clips
        Their labels, or where clips have several, their tags.
    x : Tensor (N, samples)
        Waveforms at ``rate``.
    part : Split
    network : str or Encoder
        "conv", a small convolutional net; "vgg", the paper's, on AudioSet weights where a folder of WORKBENCH_WEIGHTS
        has them; or an encoder, on which a linear layer is fitted.
    rate : int
    epochs, seed, device
        As in the fits that it calls.
    """
    options = {"epochs": epochs, "seed": seed, "device": device, "progress": False}
    if clips.tags is not None:
        return fit_tagger(x, clips.tags, part, classes=list(clips.tags), network=network, **options)
    if network == "vgg":
        return fit_vgg(x, clips.labels, part, weights=find_audioset(), **options)
    table = {"label": clips.labels, "group": clips.groups(), "id": clips.table["id"]}
    sounds = Clips.from_arrays(list(x.numpy()), rate, name=clips.name, **table)
    if network == "conv":
        net = extractor(sounds, "conv", train="scratch", progress=False)
        options |= {**net.training, "network": net.network, "loss": "cross_entropy"}
        return convolutional(fit_classifier(net.inputs, clips.labels, part, **options), device=device)
    z = embed(sounds, network, layers=-1, progress=False).layer(0)
    probe = fit_probes({"last": z}, clips.labels, part, groups=clips.groups(), seeds=[seed])
    return classifier_on(network, probe.weights[0][0], probe.bias[0][0], probe.classes, device=device)


@dataclass(frozen=True)
class Standing:
    """How far something lies above guessing."""

    measure: str
    """The quantity."""
    value: float
    """What was measured."""
    guessing: float
    """What guessing reaches."""
    above: tuple[float, float, float]
    """How far that lies above guessing, and the bounds of its interval."""
    sentence: str
    """The comparison in words."""
    caution: str | None
    """What must be known of everything that follows, where guessing is not shown to be beaten."""


def true_classes(clips: Clips, classes: Sequence[str]) -> np.ndarray:
    """Which classes are true of each clip, bool (N, C)."""
    return clips.labels[:, None] == np.array(classes) if clips.tags is None else clips.tags.to_numpy()


def classifier_standing(judged: Classifier, x: Tensor, truth: np.ndarray, groups: np.ndarray) -> Standing:
    """Does a classifier know the classes of clips that it has not seen?

    Parameters
    ----------
    judged : Classifier
    x : Tensor (n, samples)
        Clips of the test part.
    truth : array of bool (n, C)
    groups : array (n,)
    """
    logits = judged.logits(x)
    if judged.multilabel:
        measured = fidelity.evaluate_multilabel(truth, judged.probabilities(logits), groups)
        measure, value, chance = "Macro AUPRC", measured["macro_auprc"], measured["macro_constant_auprc"]
    else:
        measured = fidelity.evaluate(truth.astype(float), logits, groups, ks=[1])
        measure, value, chance = "Accuracy", measured["top_1"], measured["majority"]
    above, guess = above_guessing(measured), f"guessing without listening ({chance:.0%})"
    caution = f"the classifier is not shown to beat guessing ({value:.0%}, {chance:.0%})"
    sentence = compared("the classifier, on unseen clips,", guess, above, of=measure, missing=FEW)
    return Standing(measure, value, chance, above, sentence, None if above[1] > 0 else caution)


def settings_of(system: str, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an interpreter, by the name that :func:`fit_interpreter` has for it, among those of a scale."""
    return dict(plan[system.split(",")[0].lower().replace("-", "")])


def fit_interpreter(
    system: str, classifier: Classifier, w: np.ndarray, x: Tensor, part: Split, **options: Any
) -> L2I | LMAC | Flint | Vibi:
    """Train an interpreter of a classifier.

    Parameters
    ----------
    system : {"L2I, attention", "L2I, max", "L-MAC", "FLINT", "VIBI"}
        Which, and how L2I pools over time.
    classifier : Classifier
    w : array (F, K)
        The dictionary, of which L2I alone makes use.
    x : Tensor (N, samples)
    part : Split
    **options
        Those of the interpreter's own function, as ``spectra``, ``seed`` and the fields of its configuration.
    """
    if system.startswith("L2I"):
        return fit_l2i(classifier, w, x, part, pooling=system.removeprefix("L2I, "), progress=False, **options)
    fit = {"L-MAC": fit_lmac, "FLINT": fit_flint, "VIBI": fit_vibi}[system]
    return fit(classifier, x, part, progress=False, **options)


def imitation_standing(matched: Mapping[str, float]) -> Standing:
    """Does an interpreter imitate its classifier better than one that always says the same?

    Parameters
    ----------
    matched : mapping
        Of :func:`workbench.interpreters.agreement`.
    """
    value = matched["top_1" if "top_1" in matched else "macro_auprc"]
    above = above_guessing(matched)
    caution = f"L2I is not shown to imitate the classifier ({value:.0%}, guessing {value - above[0]:.0%})"
    sentence = compared("L2I", _guess("top_1" not in matched), above, of="Fidelity", missing=FEW)
    return Standing("Fidelity", value, value - above[0], above, sentence, None if above[1] > 0 else caution)


def _guess(multilabel: bool) -> str:
    return "the same score for every clip" if multilabel else "always saying the classifier's commonest class"


# One explained decision -----------------------------------------------------------------------------------------------


def telling_example(explained: Sequence[Interpretation], truth: np.ndarray) -> int:
    """Which explanation shows most: along the slider it has the most different sounds.

    Only decisions that are right and that the imitation shares come into question, where there are any; of equal ones,
    the imitation's surest.

    Parameters
    ----------
    explained : sequence of Interpretation
    truth : array of bool (n, C)
    """

    def rank(i: int) -> tuple:
        one = explained[i]
        shared = int(np.argmax(one.scores)) == one.index
        margin = one.scores[one.index] - np.delete(one.scores, one.index).max(initial=-np.inf)
        return (bool(truth[i, one.index]) and shared, shared, len({len(one.selected(t)) for t in TAUS}), margin)

    return max(range(len(explained)), key=rank)


def example_sentences(one: Interpretation) -> list[str]:
    """How many components an explained decision needs, and how much of its score the strongest ones make."""
    parts = np.sort(np.maximum((one.pooled * one.weights).numpy(), 0))[::-1]
    speaking = parts.sum()
    if speaking <= 0:
        return [f"No component speaks for {one.name}."]
    half = int(np.argmax(np.cumsum(parts) >= speaking / 2)) + 1
    counts = ", ".join(f"{len(one.selected(t))} at {t:g}" for t in (0.9, 0.5, 0.2, 0.05))
    return [
        f"Components above the threshold tau: {counts}.",
        f"The strongest component makes {parts[0] / speaking:.0%} of what speaks for {one.name}; "
        f"half of it takes {half} component{'s' if half > 1 else ''}.",
    ]


def true_stem(clips: Clips, i: int, name: str, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """All that a class does in a generated scene, as loud as in the clip at a peak of 1, and when.

    Returns
    -------
    stem : array (samples,)
    spans : array (n, 2)
        Onsets and offsets, seconds.
    """
    recipe = scenes.recipe(clips.table.iloc[i])
    stem = audio.resample(scenes.stems(recipe)[name], scenes.RATE, rate)
    when = [(event.onset, event.offset) for event in recipe.events if event.label == name]
    return stem / np.abs(clips.audio(i, rate=rate)[0]).max(), np.array(when)


def has_stems(clips: Clips) -> bool:
    """Whether every sound of a clip is known by itself, as in generated scenes."""
    return clips.name.startswith("scenes")


def true_stems(clips: Clips, i: int, names: Sequence[str], rate: int) -> dict[str, np.ndarray] | None:
    """The true stems of clip i by class, or None where they are not known."""
    return {name: true_stem(clips, i, name, rate)[0] for name in names} if has_stems(clips) else None


# Fidelity and removal -------------------------------------------------------------------------------------------------


def fidelity_and_removals(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of a study that measure fidelity, and those that take components out, which alone have a tau."""
    table_of = (
        table[rows].drop(columns="seconds").dropna(axis=1, how="all")
        for rows in (table["tau"].isna(), table["tau"].notna())
    )
    return tuple(table_of)


def mean_fidelity(fidelities: pd.DataFrame) -> pd.DataFrame:
    """Fidelity of each system, means over folds and seeds; its first column is the main figure."""
    columns = ["top_1", "top_1_low", "top_1_high", "top_3", "majority"]
    columns += ["macro_auprc", "macro_auprc_low", "macro_auprc_high", "macro_constant_auprc", "micro_auprc", "max_f1"]
    columns = [column for column in columns if column in fidelities]  # of few classes there is no top 3
    return fidelities.groupby("system", sort=False)[columns].mean()


def fidelity_table(fidelities: pd.DataFrame) -> pd.DataFrame:
    """:func:`mean_fidelity` with the spread over folds and seeds, and how many runs there were."""
    means, runs = mean_fidelity(fidelities), fidelities.groupby("system")
    return means.assign(spread=runs[means.columns[0]].std(), runs=runs.size())


def fidelity_sentences(means: pd.DataFrame) -> list[str]:
    """Each system beside its control."""
    guess = _guess("macro_auprc" in means)
    rows = means.iterrows()
    return [compared(name, guess, above_guessing(row), of="Fidelity", missing=FEW) for name, row in rows]


def rival_sentences(
    fidelities: pd.DataFrame, interpreter: Callable[[str], Any], x: Tensor, groups: np.ndarray
) -> list[str]:
    """Who imitates best: the first system beside each other one.

    Several folds are compared fold by fold. One fold is compared clip by clip: the share of clips with the classifier's
    decision, or with several labels how near the probabilities are to the classifier's.

    Parameters
    ----------
    fidelities : DataFrame
        Of :func:`fidelity_and_removals`.
    interpreter : callable
        Name of a system -> the interpreter of the first fold.
    x : Tensor (n, samples)
        Test clips of the first fold.
    groups : array (n,)
    """
    first, *others = dict.fromkeys(fidelities["system"])
    if fidelities["fold"].nunique() > 1:
        metric = "top_1" if "top_1" in fidelities else "macro_auprc"
        gaps = {b: setting_difference(fidelities, first, b, metric=metric, by="system") for b in others}
        return [compared(first, b, gap, of="Fidelity, over folds", missing=FEW) for b, gap in gaps.items()]
    judged = interpreter(first).classifier
    logits = judged.logits(x)
    if judged.multilabel:
        near = {name: _nearness(judged, logits, interpreter(name).scores(x)) for name in (first, *others)}
        of = "Nearness to the classifier's probabilities, clip by clip"
    else:
        near = {name: fidelity.top_k_fidelity(logits, interpreter(name).scores(x)).each for name in (first, *others)}
        of = "Decisions as the classifier's, clip by clip"
    gaps = {b: difference_interval(near[first], near[b], groups, limits=(-1, 1)) for b in others}
    return [compared(first, b, gap, of=of, missing=FEW) for b, gap in gaps.items()]


def _nearness(judged: Classifier, logits: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """1 minus the mean distance of two sets of probabilities, (n,)."""
    return 1 - np.abs(judged.probabilities(logits) - judged.probabilities(scores)).mean(1)


def published() -> pd.DataFrame:
    """The paper's fidelities: of ESC-50 the shares (five folds, 100 components), of SONYC-UST the areas and F1 (80)."""
    rows = {
        "top 1": [0.657, 0.733, 0.735, 0.277],
        "top 3": [0.818, 0.878, 0.891, 0.454],
        "top 5": [0.882, 0.927, 0.934, 0.530],
        "macro AUPRC": [0.900, 0.864, 0.807, 0.608],
        "micro AUPRC": [0.914, 0.912, 0.898, 0.575],
        "max F1": [0.847, 0.840, 0.811, 0.549],
    }
    return pd.DataFrame(rows, index=["L2I, attention", "L2I, max", "FLINT", "VIBI"])


def removals_over_folds(removals: pd.DataFrame) -> pd.DataFrame:
    """Removals of each pooling and tau: means over folds and seeds, the spread of the fall, and how many runs."""
    each = removals.groupby(["system", "tau"], sort=False)
    spread = each["drop"].std().rename("spread of drop")
    return each[["components", "drop", "random"]].mean().join(spread).assign(runs=each.size())


def removal_picture(removal: pd.DataFrame, *, title: str) -> Figure:
    """The fall by the relevant components and by as many others, beside each other at each tau."""
    names = ["drop", "low", "high"]
    kinds = {"relevant components": removal[names]}
    kinds["as many others"] = removal[["random", "random_low", "random_high"]].set_axis(names, axis=1)
    long = pd.concat(kinds, names=["kind"]).reset_index("kind").rename(index="tau {:g}".format)
    return views.intervals(long, x="drop", by="kind", title=title, label="median over clips")


def removal_sentences(removal: pd.DataFrame, fall: str) -> list[str]:
    """Do the relevant components take more than as many others? A sentence a tau at which anything is taken out."""
    taken = removal[removal["components"] > 0]
    sentences = []
    for tau, row in taken.iterrows():
        of = f"At tau {tau:g} ({row['components']:.1f} components), {fall}, mean over clips"
        pair = ("that by the relevant components", "that by as many others", row[DIFFERENCE])
        sentences.append(compared(*pair, of=of, factor=1, unit="", digits=2, missing=FEW))
    if len(taken) < len(removal):
        sentences.append(f"Of {len(removal)} thresholds, {len(removal) - len(taken)} take nothing out.")
    return sentences


# Other explanations ---------------------------------------------------------------------------------------------------


def mask_sentences(judgement: pd.DataFrame, against: Sequence[str]) -> list[str]:
    """L2I beside some methods, by the fall of the logit."""
    form = {"of": "Fall of the logit, mean over clips", "factor": 1, "unit": "", "digits": 2, "missing": FEW}
    return [compared("L2I", name, judgement.loc[name, DIFFERENCE], **form) for name in against]


def listener(clips: Clips, x: Tensor, part: Split, *, network: str, rate: int, seed: int, device: str) -> Classifier:
    """A classifier of the same clips and labels that nobody has explained, to hear what explanations play.

    Parameters
    ----------
    clips, x, part, seed, device
        As for :func:`train_classifier`.
    network : str
        The encoder below it, another one than that of the classifier that is explained.
    rate : int
        Rate of ``x`` in Hz; the listener gets it at its own.
    """
    encoder = load_encoder(network, device=device)
    heard = torch.from_numpy(audio.resample(x.numpy(), rate, encoder.rate))
    return train_classifier(
        clips, heard, part, network=encoder, rate=encoder.rate, epochs=EPOCHS, seed=seed, device=device
    )


def sanity_table(found: Benchmark) -> pd.Series:
    """Median over clips of each method's absolute correlation with its mask for random weights, where it has one."""
    middle = found.each["sanity"].median().dropna()
    return middle.rename("median correlation with the mask for random weights, without its sign")


def sanity_sentences(found: Benchmark) -> list[str]:
    """Is each mask less like that for random weights than energy, which never looks at the classifier?"""
    each, sentences = found.each["sanity"], []
    for name in each.columns.difference(found.controls, sort=False):
        pair = each[[name, "energy"]].dropna()
        if len(pair):
            gap = difference_interval(pair[name], pair["energy"], found.groups[pair.index], limits=(-1, 1))
            form = {"of": "Likeness to that for random weights, mean over clips", "factor": 1, "unit": "", "digits": 2}
            sentences.append(compared(name, "energy", gap, missing=FEW, **form))
    return sentences


def benchmark_sentences(found: Benchmark) -> list[str]:
    """Where does a control win? First against all controls, then against those that keep as much as a method does.

    A method wins a measure only if the best one is better than the best control, with an interval that allows for the
    choice among all pairs.
    """
    every, fair = found.verdicts(), found.verdicts(without=["ones", "zeros"])
    sentences = []
    for verdicts, beside in ((every, "Beside every control"), (fair, "Without the masks of everything and of nothing")):
        won = verdicts.index[verdicts["difference_low"] > 0]
        lost = verdicts.index.difference(won, sort=False)
        first = f"{beside}, a method is shown to win {len(won)} of {len(verdicts)} measures"
        by = [f"{_said(m)} ({verdicts.loc[m, 'method']})" for m in won]
        beaten = [f"{_said(m)} ({verdicts.loc[m, 'control']})" for m in lost]
        sentences.append(f"{first}{': ' if by else ''}{', '.join(by)}.")
        if beaten:
            sentences.append(f"Not shown to be beaten, with the best control of each: {', '.join(beaten)}.")
    return sentences


def _said(measure: str) -> str:
    return measure.replace("_", " ")


def shown_benchmark(found: Benchmark) -> pd.DataFrame:
    """The means of all measures; an arrow says which way is better."""
    arrows = {name: f"{_said(name)} {'↑' if better > 0 else '↓'}" for name, better in found.better.items()}
    return found.table().rename(columns=arrows)


# Truth, noise, people -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixtures:
    """Clips of which one part is known by itself."""

    x: Tensor
    """(N, samples)."""
    stems: np.ndarray
    """The part of each that its class is about, (N, samples)."""
    spans: tuple | None
    """Onsets and offsets of that part, seconds (n, 2) a clip; None where they are not known."""
    classes: np.ndarray
    """That class, int (N,)."""


def mixtures(
    clips: Clips, x: Tensor, rows: np.ndarray, pool: np.ndarray, judged: Classifier, truth: np.ndarray, *, rng
) -> Mixtures:
    """Clips with a part that is known: scenes with their stems, or of recordings the sum of two.

    Parameters
    ----------
    clips : Clips
    x : Tensor (N, samples)
    rows : array of int (n,)
        The clips. A true class of each is explained, of several the one that the classifier is surest of.
    pool : array of int
        Clips from which a second, fainter one is drawn that shares as few classes as can be.
    judged : Classifier
    truth : array of bool (N, C)
    rng : numpy Generator
    """
    open_to = truth[rows].any(1, keepdims=True) & ~truth[rows]
    classes = np.where(open_to, -np.inf, judged.logits(x[rows])).argmax(1)
    if has_stems(clips):
        pairs = zip(rows, classes, strict=True)
        stems, spans = zip(*(true_stem(clips, i, judged.classes[c], judged.rate) for i, c in pairs), strict=True)
        return Mixtures(x[rows], np.stack(stems), spans, classes)
    shared = [(truth[pool] & truth[i]).sum(1) for i in rows]
    partner = [rng.choice(pool[n == n.min()]) for n in shared]
    both = x[rows] + 0.5 * x[partner]
    gain = both.abs().amax(1, keepdim=True)
    return Mixtures(both / gain, (x[rows] / gain).numpy(), None, classes)


def truth_sentences(true: pd.DataFrame) -> list[str]:
    """Is what L2I plays nearer to the true stem than the mixture itself, and than the rivals?"""
    form = {"of": "Likeness to the true stem (SI-SDR), mean over clips", "factor": 1, "unit": "dB", "missing": FEW}
    rivals = {"ones": "the mixture itself"} | {
        name: name for name in ("energy", "lime_components", "slime", "saliency")
    }
    return [compared("what L2I plays", rival, true.loc[name, DIFFERENCE], **form) for name, rival in rivals.items()]


def loudest_stem(mixed: Mixtures) -> int:
    """The mixture with the largest share of its stem."""
    return int(np.argmax(mixed.stems.std(1) / mixed.x.numpy().std(1)))


def heard_beside_truth(mixed: Mixtures, masks: Mapping[str, Tensor], i: int, spectra: Spectra) -> dict[str, tuple]:
    """One mixture, its true stem, and what five methods play of it: name -> (samples,) and rate."""
    sounds = {"mixture": mixed.x[i].numpy(), "true stem": mixed.stems[i]}
    for name in ("L2I", "L-MAC", "lime_components", "slime", "saliency"):
        sounds[name] = spectra.masked(mixed.x[i], masks[name][i]).numpy()
    return {name: (sound, spectra.rate) for name, sound in sounds.items()}


def disturbances(clean: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The paper's two: white noise as loud as each clip, and another clip at half its amplitude, all (N, samples)."""
    noise = rng.standard_normal(clean.shape).astype(np.float32)
    noise *= clean.std(1, keepdims=True) / noise.std(1, keepdims=True)
    return {"white noise, 0 dB": noise, "another clip, -6 dB": 0.5 * clean[rng.permutation(len(clean))]}


def share_passed(explained: Sequence[Interpretation], parts: np.ndarray, *, tau: float = 0.2) -> np.ndarray:
    """Share of the energy of a part of each clip (N, samples) that the mask of its explanation lets through, (N,)."""
    levels = [one.spectra.stft(torch.from_numpy(part)).abs() for one, part in zip(explained, parts, strict=True)]
    pairs = zip(explained, levels, strict=True)
    return np.array([float((s * one.mask(tau)).square().sum() / s.square().sum()) for one, s in pairs])


def passing(
    explain: Callable[..., list[Interpretation]], clean: np.ndarray, disturbance: np.ndarray, classes: Sequence[int]
) -> dict[str, np.ndarray]:
    """Add a disturbance (N, samples) to clips, explain the same classes again, and see what the masks let through.

    Returns
    -------
    dict of str to array (N,)
        "clip passes" and "disturbance passes", shares of energy; "same decision", whether the class still is decided.
    """
    peak = np.abs(clean + disturbance).max(1, keepdims=True)
    disturbed = explain((clean + disturbance) / peak, classes=classes)
    shares = {"clip passes": share_passed(disturbed, clean / peak)}
    shares["disturbance passes"] = share_passed(disturbed, disturbance / peak)
    pairs = zip(disturbed, classes, strict=True)
    return shares | {"same decision": np.array([one.logits.argmax() == index for one, index in pairs])}


def passing_table(passed: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Of each disturbance the medians of what passes, and the share of decisions that stay."""
    middle = {"clip passes": np.median, "disturbance passes": np.median, "same decision": np.mean}
    return {name: {what: middle[what](x) for what, x in shares.items()} for name, shares in passed.items()}


def as_rows(table: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A row for each name of a mapping."""
    return pd.DataFrame(table).T


def passing_sentences(passed: Mapping[str, Mapping[str, np.ndarray]], groups: np.ndarray) -> list[str]:
    """Does more of the clip pass than of the disturbance?"""
    sentences = []
    for name, shares in passed.items():
        gap = shares["clip passes"] - shares["disturbance passes"]
        more = np.mean(gap), *group_interval(gap, groups, limits=(-1, 1))
        sentences.append(compared("the clip", name, more, of="Energy that passes, mean over clips", missing=FEW))
    return sentences


def class_relevance(explained: Sequence[Interpretation], count: int = 20) -> pd.DataFrame:
    """Mean relevance of components (columns) for each class decided (rows); those that matter most to some class."""
    relevance = pd.DataFrame([one.relevance for one in explained]).groupby([one.name for one in explained]).mean()
    return relevance[relevance.max().nlargest(count).index.sort_values()]


def class_sentences(relevance: pd.DataFrame) -> list[str]:
    """Which component matters most to each class, and whether classes share it."""
    first = relevance.idxmax(axis=1)
    alone = first.map(first.value_counts()) == 1
    return [
        f"{alone.sum()} of {len(first)} classes decided have a most relevant component that is no other class's.",
        f"The largest mean relevance of a class is {relevance.max(axis=1).median():.2f} (median over classes).",
    ]


def trials(
    mixed: Mixtures, masks: Mapping[str, Tensor], spectra: Spectra, classes: Sequence[str], *, name: str, count: int = 4
) -> list[views.ListeningTrial]:
    """Trials of a listening test: L2I, SLIME and the loudest bins of some mixtures; ``name`` stands in their ids."""
    made = []
    for i in range(min(count, len(mixed.x))):
        sounds = {way: spectra.masked(mixed.x[i], masks[way][i]).numpy() for way in ("L2I", "slime", "energy")}
        about = {"label": classes[mixed.classes[i]], "reference": mixed.x[i].numpy(), "rate": spectra.rate}
        made.append(views.ListeningTrial(id=f"{name} {i}", candidates=sounds, **about))
    return made


def headline(
    data_name: str, knows: Standing, means: pd.DataFrame, true: pd.DataFrame
) -> list[tuple[str, float, float, float, str]]:
    """The three main results, each with its interval and what it is read against."""
    rest = above_guessing(means.loc["VIBI"])[0]
    nearer = "Likeness to the true stem (SI-SDR, dB) of what L2I plays, minus that of the mixture"
    beside = f"L2I minus a mask of energy alone {true.loc['energy', DIFFERENCE[0]]:+.1f}"
    imitates = f"Fidelity of L2I above {_guess('macro_auprc' in means)}"
    return [
        (
            f"{knows.measure} of the classifier above guessing, {data_name}",
            *knows.above,
            f"guessing {knows.guessing:.2f}",
        ),
        (imitates, *above_guessing(means.loc["L2I, attention"]), f"the same of VIBI {rest:+.2f}"),
        (nearer, *true.loc["ones", DIFFERENCE], beside),
    ]
