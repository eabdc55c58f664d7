"""What ``notebooks/pecmae.ipynb`` says of its figures, and what it prepares without words.

``told`` is everywhere what :func:`workbench.sonify.summarise` gave: N segments with their vectors, labels and sounds.
Sounds are given as name -> (samples,) and rate in Hz.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from .. import audio
from ..codecs import Codec, load_codec
from ..core.errors import WorkbenchError
from ..core.splits import Split
from ..datasets import Clips
from ..metrics.intervals import difference_interval, group_interval
from ..prototypes import LearntPrototypes, most_per_class, setting_difference
from ..sonify import Judge, SummaryAutoencoder
from ..views import DataPoints, ExplainedClip, ListeningTrial, PrototypeSounds, RealClip, compared

SINGLE = "one split, or splits that agree exactly, give no interval"
"""Why a comparison over splits has no interval, where it has none."""

CODEC, VECTOR, FELLOW, AVERAGE = (
    "codec there and back",
    "one vector, g = 0",
    "another clip of the class",
    "mean of all",
)
"""Versions of a sound whose likeness to it is compared."""

SAME, CONTROL = "same model", "control, fitted on whole clips"
"""Two of the listeners of part 5; the third is the judge."""

ONE, REAL, AGAIN = "a prototype", "real segments nearest to them", "these through one vector"
"""Kinds of sound that are compared pair by pair, a pair a prototype."""

WORDS = ("prototype", "codec", "guidance", "adaptor", "linear probe", "untrained prototypes", "APNet", "diversity",
         "collapsed", "purity", "L2I", "fidelity")  # fmt: skip
"""The words of the glossary at the notebook's end."""

Sound = tuple[np.ndarray, int]
PLAIN = {"factor": 1, "unit": "", "digits": 2}
"""Options of :func:`workbench.views.compared` for numbers that are no shares."""


# Settings and sounds --------------------------------------------------------------------------------------------------


def sampled_in(steps: int) -> dict[str, Any]:
    """The settings by which every sound is drawn in so many steps; 0 changes nothing."""
    return {"steps": steps, "tried": {"steps": [steps] if steps else []}}


def narrowed(plan: Mapping[str, Any], *, most: int, encoder: str, train_steps: int) -> dict[str, Any]:
    """A scale's plan without numbers of prototypes above ``most``, with one other encoder, and less of the rest.

    ``train_steps`` are the most epochs of APNet and of Listen to Interpret, and the most steps of the attack on sounds.

    What is 0 or empty changes nothing.
    """
    plan = {**plan, "ks": [k for k in plan["ks"] if k <= (most or k)]}
    if train_steps:
        plan["apnet"] = plan["apnet"] | {"epochs": min(train_steps, plan["apnet"].get("epochs", 30))}
        plan["attack"] = plan["attack"] | {"steps": min(train_steps, plan["attack"]["steps"])}
        plan["l2i"] = plan["l2i"] | {"epochs": min(train_steps, plan["l2i"]["epochs"])}
    return plan | ({"encoders": [encoder]} if encoder else {})


def plan_sentence(plan: Mapping[str, Any]) -> str:
    """What a scale sets, in sentences of lines that no page breaks."""
    size = f"{plan['size']:,} clips of {plan['dataset']}" if plan.get("size") else f"all clips of {plan['dataset']}"
    folds = f"{plan['folds']} fold{'s' if plan['folds'] > 1 else ''}"
    seeds = f"{plan['seeds']} seed{'s' if plan['seeds'] > 1 else ''}"
    ks = ", ".join(map(str, plan["ks"]))
    return textwrap.fill(
        f"The data are {size}, in {folds} with {seeds}; the autoencoder is {plan['autoencoder']}, of {plan['windows']} "
        f"windows, the judge hears by {plan['judge']}. "
        f"Prototypes are trained for {plan['train_steps']:,} steps, {ks} a class in the tables and "
        f"{plan['prototypes']} in the model that is listened to. Sounds are drawn in {plan['steps']} "
        f"step{'s' if plan['steps'] > 1 else ''}.",
        88,
    )


def splits(clips: Clips, *, folds: int, own_groups: bool, seed: int) -> list[Split]:
    """The published split where one fold is asked for and the dataset has one, else so many folds.

    ``own_groups``: the reader named the groups, which a published split knows nothing of.
    """
    published = (clips.table["split"] == "test").any() and not own_groups
    return [clips.split(seed=seed)] if published and folds == 1 else clips.folds(seed=seed)[:folds]


def one_of_each(labels: np.ndarray, count: int = 6) -> np.ndarray:
    """Positions of the first clip of each class, for at most ``count`` of the classes (N,)."""
    return np.sort(np.unique(labels, return_index=True)[1])[:count]


def possible(plan: Mapping[str, Any], told: Any, parts: Sequence[Split]) -> tuple[dict[str, Any], int]:
    """The plan without numbers of prototypes that the smallest class cannot have, and the largest that it can."""
    most = most_per_class(told.z, told.labels, parts)
    kept = min(plan["prototypes"], most)
    ks = sorted({k for k in plan["ks"] if k <= most} | {kept})
    return {**plan, "prototypes": kept, "ks": ks}, most


def summary_sentences(told: Any, rate: int, *, most: int, wanted: int) -> list[str]:
    """How much is summed up in a vector, at what level, and what the classes allow.

    Parameters
    ----------
    told : what :func:`workbench.sonify.summarise` gives
    rate : int
        Of the codec, Hz.
    most : int
        Different segments that the smallest class has to train on.
    wanted : int
        The largest number of prototypes a class that was asked for.
    """
    count, dim = told.z.shape
    samples = round(told.seconds * rate / dim)
    sentences = [
        f"{count} segments of at most {told.seconds:g} s, {dim} numbers each: {samples} samples become one number."
    ]
    if told.levels is not None:
        low, high = told.levels.min(), told.levels.max()
        sentences.append(
            f"Each was brought to {told.level:g} dB; they lay at {low:.0f} to {high:.0f} dB, which is kept beside."
        )
    if most < wanted:
        sentences.append(f"A class has only {most} different segments to train on: no K is larger.")
    return sentences


def of_three_classes(labels: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> list[int]:
    """One of ``rows`` of each of three classes, drawn."""
    classes = rng.permutation(np.unique(labels[rows]))[:3]
    return [int(rng.choice(rows[labels[rows] == name])) for name in classes]


def windows(told: Any, rows: Sequence[int], rate: int) -> np.ndarray:
    """Segments as the autoencoder hears them, (n, samples) at ``rate``."""
    return np.stack([told.window(i, rate) for i in rows])


def levelled(x: torch.Tensor, level: float | None) -> torch.Tensor:
    """Windows (B, samples) at an autoencoder's level in dB, with a gradient; silent ones, and without a level all, as
    they are."""
    if level is None:
        return x
    own = 10 * torch.log10(x.square().mean(1, keepdim=True))
    return x * torch.where(own > audio.SILENT, 10 ** ((level - own) / 20), 1.0)


def usable_codecs(names: Sequence[str]) -> dict[str, Codec]:
    """Codecs that generate nothing here, for comparison; of those that cannot be loaded it is printed why."""
    loaded = {}
    for name in names:
        try:
            loaded[name] = load_codec(name)
        except WorkbenchError as error:
            print(error)
    return loaded


def there_and_back(codec: Codec, told: Any, rows: Sequence[int]) -> np.ndarray:
    """Segments through a codec, (n, samples) at its rate."""
    return codec.round_trip(torch.from_numpy(windows(told, rows, codec.rate))).numpy()


def codec_trials(codecs: Mapping[str, Codec], told: Any, rows: Sequence[int]) -> dict[str, tuple]:
    """Segments through each of some codecs, with rate, labels and groups."""
    about = told.labels[rows], told.groups[rows]
    return {f"{name} there and back": (there_and_back(c, told, rows), c.rate, *about) for name, c in codecs.items()}


def beside(kinds: Mapping[str, tuple[np.ndarray, int]], labels: Sequence[str]) -> dict[str, Sound]:
    """Sounds to be played: of each label all kinds, (n, samples) and rate, turned down together beyond full scale."""
    level = max(1.0, *(float(np.abs(x).max()) for x, _ in kinds.values()))
    pairs = ((k, name, kind) for k, name in enumerate(labels) for kind in kinds)
    return {f"{kind}: {name}" if name else kind: (kinds[kind][0][k] / level, kinds[kind][1]) for k, name, kind in pairs}


# Likeness -------------------------------------------------------------------------------------------------------------


def alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation over all bands and frames of each pair (n, ...), (n,)."""
    a, b = (each.reshape(len(each), -1) - each.reshape(len(each), -1).mean(1, keepdims=True) for each in (a, b))
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-9)


def fellows(told: Any, some: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which of ``some`` segments is of another clip of the class of each of them, drawn; -1 where none is, (n,)."""
    labels, rows, drawn = told.labels[some], told.rows[some], []
    for k in range(len(some)):
        others = np.flatnonzero((labels == labels[k]) & (rows != rows[k]))
        drawn.append(rng.choice(others) if len(others) else -1)
    return np.array(drawn)


def likeness_to(real: np.ndarray, versions: Mapping[str, np.ndarray], partner: np.ndarray) -> dict[str, np.ndarray]:
    """Likeness of versions of some sounds to the originals, and of two controls, in latent frames.

    Parameters
    ----------
    real : array (n, ...)
        Latent frames of the originals.
    versions : mapping of str to array (n, ...)
    partner : array of int (n,)
        Of :func:`fellows`; NaN where there is none.

    Returns
    -------
    dict of str to array (n,)
        The versions', that of another clip of the class, and that of the mean of all.
    """
    controls = {FELLOW: real[partner], AVERAGE: np.repeat(real.mean(0, keepdims=True), len(real), 0)}
    likeness = {name: alike(x, real) for name, x in {**versions, **controls}.items()}
    likeness[FELLOW][partner < 0] = np.nan
    return likeness


def quartiles(likeness: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Median and quartiles of each kind of likeness."""
    table = pd.DataFrame(likeness).quantile([0.5, 0.25, 0.75]).T
    return table.set_axis(["median", "low quartile", "high quartile"], axis=1)


def likeness_sentences(likeness: Mapping[str, np.ndarray], groups: np.ndarray) -> list[str]:
    """One vector beside the codec alone, beside both controls, and with guidance; ``groups`` (n,) of the sounds."""
    further = "One vector is further away than that."
    pairs = [
        (VECTOR, CODEC, {"below": "What lies between them, the vector or its decoder loses."}),
        (VECTOR, FELLOW, {"below": further}),
        (VECTOR, AVERAGE, {"below": further}),
        ("one vector, g = 1", VECTOR, {}),
    ]
    sentences = []
    for a, b, then in pairs:
        there = np.isfinite(likeness[a] + likeness[b])
        values = [likeness[name][there] for name in (a, b)]
        gap = difference_interval(*values, groups[there], limits=(-2, 2)) if there.any() else [np.nan] * 3
        missing = "there are too few pairs"
        sentences.append(compared(a, b, gap, of="Mean correlation", missing=missing, **PLAIN, **then))
    return sentences


def grid_sentences(grid: Mapping[tuple[int, float], np.ndarray], original: np.ndarray, codec: Codec) -> list[str]:
    """Which setting (S, g) of a grid of sounds (samples,) comes nearest to the one original, and which least."""
    frames = codec.encode(torch.from_numpy(np.stack([original, *grid.values()]))).numpy()
    likeness = dict(zip(grid, alike(frames[1:], np.repeat(frames[:1], len(grid), 0)), strict=True))
    ends = [max(likeness, key=likeness.get), min(likeness, key=likeness.get)]
    said = [f"S = {s}, g = {g:g} ({likeness[s, g]:.2f})" for s, g in ends]
    return [f"Most like the original is {said[0]}, least {said[1]}: correlations of one clip, which order nothing."]


# Models ---------------------------------------------------------------------------------------------------------------


def recall_sentences(runs: pd.DataFrame, *, heard: int, ks: Sequence[int], over: str) -> list[str]:
    """What more prototypes change, and how far they lie from the references, by mean recall.

    Parameters
    ----------
    runs : DataFrame
        Of :func:`workbench.study`: the models of all K, called "prototypes, K = 5", and the references.
    heard : int
        K of the model that is listened to.
    ks : sequence of int
        All K.
    over : str
        The splits and seeds, in words.
    """
    price = "That is the price of being made of examples, or of few steps."
    one, least, most = (f"prototypes, K = {k}" for k in (heard, min(ks), max(ks)))
    pairs = [(most, least, {"above": "One example does not cover a class."})] if most != least else []
    pairs += [(one, "linear probe", {"below": price}), (one, "MLP", {"below": price})]
    pairs += [(one, "untrained prototypes", {"above": "Training moved them to better places."})]
    of = f"Mean recall, {over}"
    return [compared(a, b, setting_difference(runs, a, b), of=of, missing=SINGLE, **then) for a, b, then in pairs]


def other_encoder_sentences(runs: pd.DataFrame, heard: str, *, over: str) -> list[str]:
    """The prototypes that can be heard beside those among the mean frames of other encoders, which cannot."""
    others = [name for name in dict.fromkeys(runs["model"]) if ", K = " in name and not name.startswith("prototypes")]
    of = f"Mean recall, {over}"
    gaps = {name: setting_difference(runs, heard, name) for name in others}
    sentences = [compared(heard, name, gap, of=of, missing=SINGLE) for name, gap in gaps.items()]
    return sentences or ["No other encoder was asked for: nothing stands beside the prototypes that can be heard."]


def published() -> pd.DataFrame:
    """The paper's accuracies: single runs, per cent."""
    rows = ["MLP on z", "K = 5, no adaptor", *(f"K = {k}" for k in (1, 3, 5, 10, 20, 40)), "APNet, K = 5"]
    gtzan = [85.9, 81.8, 80.8, 82.8, 83.8, 86.9, 85.9, 85.7, 87.4]
    medley = [72.1, 66.8, 63.9, 67.6, 70.2, 71.1, 69.2, 71.3, 65.8]
    return pd.DataFrame({"GTZAN": gtzan, "Medley-solos-DB": medley}, index=rows)


def apnet_setting(plan: Mapping[str, Any], data_name: str, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """What :func:`workbench.prototypes.fit_apnet` is told, and the spectrograms that it is trained on.

    Its authors' setting for Medley-solos-DB, "paper", has sounds of 3 s; for any other dataset theirs for UrbanSound8K
    takes its place, which has 4 s and the size of latent that the PECMAE paper gives. Without either, the frames span
    the window of ``seconds``.

    Returns
    -------
    options : dict
        Fields of an APNet's configuration.
    spectra : dict
        Options of :func:`log_mel_frames`.
    """
    options = {"per_class": plan["prototypes"], **plan["apnet"]}
    if options.get("config", "default") == "default":
        hop = round(seconds * 16000) // 63
        return options, {"rate": 16000, "n_fft": 2048, "hop": hop, "n_mels": 64, "frames": 64, "htk": False}
    published = {"n_fft": 4096, "hop": 1024, "htk": True}
    if data_name == "medley_solos_db":
        return options, {"rate": 44100, "n_mels": 256, "frames": 128, **published}
    return options | {"config": "urbansound8k"}, {"rate": 22050, "n_mels": 128, "frames": 84, **published}


def log_mel_frames(told: Any, *, rate: int, frames: int, **analysis: Any) -> np.ndarray:
    """Log-mel spectrograms of all segments at a rate in Hz, float32 (N, frames, n_mels), with silence at the end.

    ``analysis`` are options of :func:`workbench.audio.log_mel`.
    """
    least = (frames - 1) * analysis["hop"]  # samples that have so many frames

    def mel(i: int) -> np.ndarray:
        x = told.window(i, rate)
        return audio.log_mel(np.pad(x, (0, max(0, least - len(x)))), rate, **analysis).numpy()[:, :frames].T

    return np.stack([mel(i) for i in range(len(told.z))])


def in_windows(sounds: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """Sounds (n, samples) cut or zero-padded to a window of so many seconds, as is all that model and judge hear."""
    return np.stack([audio.fit(x, rate, seconds=seconds) for x in sounds])


def apnet_sentence(rival: Any, score: Mapping[str, float], per_class: int) -> str:
    """What APNet reaches, and whether every class kept a prototype of its own."""
    without = len(rival.labels) - len(set(rival.classes))
    return (
        f"APNet, {per_class} a class, first split, one seed: mean recall {score['balanced_accuracy']:.1%}; "
        f"{without} of {len(rival.labels)} classes have no prototype of their own."
    )


def prototype_names(learnt: LearntPrototypes) -> list[str]:
    """Captions of prototypes: the class and a number within it, from 1."""
    owner = pd.Series(learnt.labels[learnt.classes])
    return [f"{name} {j + 1}" for name, j in zip(owner, owner.groupby(owner).cumcount(), strict=True)]


def model_sentence(learnt: LearntPrototypes, right: Mapping[str, float]) -> str:
    """What the model that is listened to gets right."""
    counts = np.bincount(learnt.classes)
    of = (
        f"K = {counts[0]}"
        if np.ptp(counts) == 0
        else f"{len(learnt.classes)} prototypes, {min(counts)} a class or more"
    )
    return (
        f"{of}{'' if learnt.step else ', not trained'}: {right['accuracy']:.1%} of the test clips, "
        f"mean recall {right['balanced_accuracy']:.1%}, chance {1 / len(learnt.labels):.1%}."
    )


def weight_sentence(learnt: LearntPrototypes) -> str:
    """How far the weights of the linear layer have moved from 1 for the own class and 0 for others."""
    home = learnt.classes == np.arange(len(learnt.labels))[:, None]  # (C, M)
    own, others = (
        f"{w.mean():.2f} on average ({w.min():.2f} to {w.max():.2f})"
        for w in (learnt.weight[home], learnt.weight[~home])
    )
    began = "training began with 1 and 0" if learnt.step else "nothing was trained"
    return f"Own-class weights are {own}, others {others}; {began}."


# Prototypes -----------------------------------------------------------------------------------------------------------


def cells(learnt: LearntPrototypes, told: Any, split: Split, sounds: Sequence[np.ndarray], rate: int) -> list:
    """Each prototype as it sounds, beside its two nearest training segments.

    ``sounds`` are (M, samples) for each noise seed, or once as the prototypes were given.
    """
    train_z, points, owner = told.z[split.train], learnt.prototypes(), learnt.labels[learnt.classes]
    near = learnt.nearest(train_z, count=2)
    apart, counts = np.linalg.norm(points[:, None] - train_z[near], axis=2), learnt.distances(train_z).argmin(1)

    def real(j: int, n: int) -> RealClip:
        i = split.train[near[j, n]]
        name = told.names[i].split("/")[-1]
        name = name if told.labels[i] in name else f"{told.labels[i]}: {name}"
        return RealClip(name, *told.audio(i), float(apart[j, n]))

    def of(j: int) -> PrototypeSounds:
        beside_it, weight = [real(j, n) for n in range(2)], float(learnt.weight[learnt.classes[j], j])
        return PrototypeSounds(owner[j], [x[j] for x in sounds], rate, beside_it, int((counts == j).sum()), weight)

    return [of(j) for j in range(len(points))]


def around(learnt: LearntPrototypes, told: Any, split: Split, plane: np.ndarray) -> DataPoints:
    """The training segments and the prototypes on one plane (n + M, 2), segments first."""
    n, nearest = len(split.train), learnt.distances(told.z[split.train]).argmin(1)
    names, labels = told.names[split.train], told.labels[split.train]
    return DataPoints(plane[:n], labels, names, plane[n:], nearest, lambda i: told.audio(split.train[i]))


def place_sentences(learnt: LearntPrototypes, told: Any, split: Split, rng: np.random.Generator) -> list[str]:
    """Do prototypes lie where segments of their class are, and apart from each other?"""
    train_z, points = told.z[split.train], learnt.prototypes()
    near = learnt.nearest(train_z, count=2)
    apart = np.linalg.norm(points - train_z[near[:, 0]], axis=1)
    of_class = told.labels[split.train][near] == learnt.labels[learnt.classes][:, None]
    pairs = rng.integers(len(train_z), size=(2, 500))
    usual = np.median(np.linalg.norm(train_z[pairs[0]] - train_z[pairs[1]], axis=1))
    return [
        f"The {len(points)} prototypes have {len(np.unique(near[:, 0]))} different nearest segments.",
        f"{of_class.mean():.0%} of the segments beside them are of the prototype's own class.",
        f"A prototype lies {np.median(apart):.1f} from its nearest segment (median); "
        f"two segments drawn at random, {usual:.1f}.",
    ]


def to_explain(decided: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Test segments to explain: two that are decided wrongly where there are so many, then three right ones."""
    wrong, right = np.flatnonzero(decided != y[test])[:2], np.flatnonzero(decided == y[test])
    return test[np.concatenate([wrong, right[:: max(1, len(decided) // 4)][:3]])]


def explained_clips(learnt: LearntPrototypes, told: Any, rows: Sequence[int]) -> list[ExplainedClip]:
    """Segments with their similarities to all prototypes, for :func:`workbench.views.similarity_page`."""
    captions = {i: f"{told.names[i]} ({told.labels[i]})" for i in rows}
    alike_to = {i: learnt.similarities(told.z[[i]])[0] for i in rows}
    return [ExplainedClip(captions[i], *told.audio(i), alike_to[i], told.labels[i]) for i in rows]


def decision_sentences(learnt: LearntPrototypes, z: np.ndarray, decided: np.ndarray) -> list[str]:
    """How much of a decision its strongest prototype makes, and whether that is of the decided class.

    Parameters
    ----------
    learnt : LearntPrototypes
    z : array (n, D)
    decided : array (n,)
        The labels that the model gives them.
    """
    column = pd.Index(learnt.labels).get_indexer(decided)
    parts = learnt.similarities(z) * learnt.weight[column]  # (n, M)
    strongest, speaking = parts.argmax(1), parts.clip(min=0).sum(1)
    share = parts.max(1) / np.maximum(speaking, 1e-9)
    own = learnt.classes[strongest] == column
    return [
        f"The strongest prototype makes {share.mean():.0%} of what speaks for the decided class "
        f"(of {parts.shape[1]} equal ones it would be {1 / parts.shape[1]:.0%}).",
        f"It is one of that class in {own.mean():.0%} of {len(decided)} test segments.",
    ]


# The judge ------------------------------------------------------------------------------------------------------------


def same_model(learnt: LearntPrototypes, model: SummaryAutoencoder) -> Callable[..., np.ndarray]:
    """The model itself as a listener: sounds, rate, labels -> whether it says so of each sound encoded again."""

    def agreement(x: Sequence[np.ndarray], at: int, labels: Sequence[str]) -> np.ndarray:
        again = [audio.resample(sound, at, model.encoder.rate) for sound in x]
        return learnt.predict(model.embed(again, model.encoder.rate).numpy()).predictions == labels

    return agreement


def wrong_judge_sentence(judge: Judge, other: Judge, told: Any, rate: int, *, name: str, seed: int) -> str:
    """Would a judge of whole clips, ``other``, have been right less often on windows at ``rate``? On 500 at most."""
    test = judge.probes.test
    few = np.random.default_rng(seed).permutation(len(test))[:500]
    right, asked = (judge.probes.predictions[0, 0] == judge.probes.true)[few], test[few]
    control = other.agreement([told.window(i, rate) for i in asked], rate, told.labels[asked])
    gap = difference_interval(control, right, told.groups[asked], limits=(-1, 1))
    return compared(CONTROL, name, gap, of="Right on these", below="It would have been the wrong judge.")


def nearest_real(learnt: LearntPrototypes, z: np.ndarray, y: np.ndarray, test: np.ndarray) -> tuple:
    """Real test segments nearest to each prototype, of its class and new to all, and whether there is one, bool (M,).

    A class without a test segment has none: rows are those of the other prototypes.
    """
    owner = learnt.labels[learnt.classes]
    near = np.where(y[test][:, None] == owner, learnt.distances(z[test]), np.inf).argmin(0)
    there = np.isin(owner, y[test])
    return test[near[there]], there


def verdict(
    trials: Mapping[str, tuple], heard: Mapping[str, Mapping[str, np.ndarray]], *, chance: float, common: float
):
    """Share of each kind of sound that each listener hears as its class, with what needs no hearing.

    Parameters
    ----------
    trials : mapping of str to (sounds, rate, labels, groups)
        Groups are None where every sound is one.
    heard : mapping of str to mapping of str to array of bool
        Kind of sound -> listener -> whether each is heard as its class.
    chance, common : float
        What guessing reaches, and always saying the commonest class.
    """
    rows = {name: {"sounds": len(trials[name][0])} for name in trials}
    rows = {name: row | {who: x.mean() for who, x in heard[name].items()} for name, row in rows.items()}
    table = pd.DataFrame(rows).T
    listeners = len(table.columns) - 1
    table.loc["chance"] = [0, *[chance] * listeners]
    table.loc["always the commonest class, on test segments"] = [0, *[common] * listeners]
    return table


def judge_intervals(
    trials: Mapping[str, tuple], heard: Mapping[str, Mapping[str, np.ndarray]], judge: str
) -> pd.DataFrame:
    """Bounds of the interval of the judge's share of each kind of sound, for other groups of clips or prototypes."""
    spans = {
        name: group_interval(heard[name][judge].astype(float), trial[3], limits=(0, 1))
        for name, trial in trials.items()
    }
    return pd.DataFrame(spans, index=["judge low", "judge high"]).T


def with_pairs(heard: Mapping[str, Mapping[str, np.ndarray]], there: np.ndarray, *, chance: float, judge: str) -> dict:
    """``heard`` with two more entries: each prototype's mean over noise seeds, and chance, (n,) each.

    ``there``: the prototypes that have a real test segment beside them, bool (M,).
    """
    seeds = [each for name, each in heard.items() if name.startswith("prototypes, ")]
    mean = {who: np.mean([each[who][there] for each in seeds], 0) for who in seeds[0]}
    return {**heard, ONE: mean, "chance": {judge: np.full(int(there.sum()), chance)}}


def judge_sentences(
    heard: Mapping[str, Mapping[str, np.ndarray]], judge: str, groups_some: np.ndarray, groups_near: np.ndarray
) -> list[str]:
    """What codec, vector and decoder lose for the judge, and whether the same model flatters what it made.

    Parameters
    ----------
    heard : mapping
        Of :func:`with_pairs`.
    judge : str
        The judge's name in it.
    groups_some : array (n,)
        Groups of the test segments.
    groups_near : array (m,)
        Groups of the real segments nearest to the prototypes.
    """
    lost, beside_it = "This much of what it hears in real sounds is lost.", "a real segment nearest to it"

    def likelier(a: str, b: str, groups: np.ndarray, called: tuple[str, str], **then: str) -> str:
        gap = difference_interval(heard[a][judge], heard[b][judge], groups, limits=(-1, 1))
        return compared(*called, gap, of=f"Heard as their class by the {judge}", **then)

    lead = [np.subtract(heard[name][SAME], heard[name][judge], dtype=float) for name in (ONE, REAL)]
    flatters = difference_interval(*lead, groups_near, limits=(-2, 2))
    return [
        likelier(CODEC, "real test segments", groups_some, ("the codec", "the original"), below=lost),
        likelier("through one vector", CODEC, groups_some, ("one vector", "the codec"), below=lost),
        likelier(ONE, "chance", groups_near, (ONE, "chance"), above="Something of the class can be heard."),
        likelier(ONE, REAL, groups_near, (ONE, beside_it)),
        likelier(ONE, AGAIN, groups_near, (ONE, f"{beside_it}, through one vector")),
        compared(
            "that on a prototype",
            f"that on {beside_it}",
            flatters,
            of="Lead of the same model over the judge",
            above="It flatters what it made.",
        ),
    ]


def setting_sentences(sweep: pd.DataFrame) -> list[str]:
    """Which steps and guidance the judge hears best, of a table of shares (steps, guidance)."""
    best, worst = sweep.stack().idxmax(), sweep.stack().idxmin()
    high, low = sweep.stack().max(), sweep.stack().min()
    if high == low:
        return [f"The judge hears {high:.0%} at every setting."]
    return [
        f"The judge hears most at {best[0]}, {best[1]} ({high:.0%}) and least at {worst[0]}, {worst[1]} ({low:.0%}): "
        "one sound a class, so that one of them changes the share much."
    ]


# Orders of centroids, people, main results ----------------------------------------------------------------------------


def order_sentences(orders: pd.DataFrame, ks: Sequence[int]) -> list[str]:
    """Do prototypes that start in their own class decide better, differ more, and collapse less?"""
    measures = {"balanced_accuracy": ("Mean recall", {})}
    measures |= {"diversity": ("Distance within a class", {"factor": 1, "unit": ""})}
    measures |= {"collapsed": ("Collapsed prototypes", {"factor": 1, "unit": ""})}
    sentences = []
    for measure, (of, form) in measures.items():
        for k in ks:
            a, b = f"class-major {k}", f"paper_code {k}"
            gap = setting_difference(orders, a, b, metric=measure)
            sentences.append(compared(a, b, gap, of=of, missing=SINGLE, **form))
    return sentences


def blind_trials(prototypes: Sequence[PrototypeSounds], chosen: Sequence[int], name: str) -> list[ListeningTrial]:
    """Trials in which prototypes and real segments are named blindly; ``name`` stands in their ids."""
    trials = []
    for n, j in enumerate(chosen):
        cell, real = prototypes[j], prototypes[j].nearest[0]
        sounds = {"prototype": audio.resample(cell.sounds[0], cell.rate, real.rate), "real": real.x}
        about = {"label": str(cell.label), "reference": real.x, "rate": real.rate}
        trials.append(ListeningTrial(id=f"{name} {n}", candidates=sounds, **about))
    return trials


def headline(
    runs: pd.DataFrame,
    summary: pd.DataFrame,
    heard: Mapping[str, Mapping[str, np.ndarray]],
    *,
    model: str,
    judge: str,
    groups: np.ndarray,
    data_name: str,
    chance: float,
) -> list[tuple[str, float, float, float, str]]:
    """The three main results, each with its interval and what it is read against.

    Parameters
    ----------
    runs, summary : DataFrame
        The study of prototypes and references, and its means over folds.
    heard : mapping
        Of :func:`with_pairs`.
    model, judge : str
        Names in ``summary`` and ``heard``.
    groups : array (m,)
        Groups of the real segments nearest to the prototypes.
    data_name : str
    chance : float
    """
    mean = summary["mean"]
    sounds = difference_interval(*(heard[name][judge] for name in (ONE, "chance")), groups, limits=(-1, 1))
    untrained = "untrained prototypes"
    share = "Share of prototypes' sounds that the judge hears as their class, minus chance"
    return [
        (
            f"Mean recall of {model}, {data_name}",
            *summary.loc[model, ["mean", "low", "high"]],
            f"linear probe {mean['linear probe']:.2f}, chance {chance:.2f}",
        ),
        (
            f"The same minus that of {untrained}",
            *setting_difference(runs, model, untrained),
            f"{untrained} {mean[untrained]:.2f}",
        ),
        (share, *sounds, f"real segments nearest to them {heard[REAL][judge].mean() - chance:+.2f}"),
    ]
