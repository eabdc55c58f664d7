"""What Part 6 of ``notebooks/pecmae.ipynb``, its open questions, computes and says; attacks are in its own module.

``told`` is everywhere what :func:`workbench.sonify.summarise` gave: N segments with their vectors, labels and sounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..core.splits import Split
from ..metrics.classification import balanced_accuracy
from ..metrics.intervals import difference_interval, group_interval
from ..probes import Probes, RegressionProbes, fit_probes, fit_regression
from ..prototypes import LearntPrototypes, setting_difference
from ..sonify import Judge, SummaryAutoencoder
from ..views import compared
from .pecmae import AVERAGE, PLAIN, SINGLE, alike

NEIGHBOURS, UNTRAINED, CONCEPTS = "nearest neighbours", "untrained prototypes", "concept bottleneck"
"""Interpretable models beside learnt prototypes, as tables call them."""

RANDOM = "a real segment drawn at random"
"""The control of what models play: any training segment of the class that the prototypes decided."""

OWN, MAPPED, SHUFFLED = "its own vector", "mapped", "shuffled map"
"""Where a vector that is decoded comes from, in tables of other spaces."""

_SAID, _PROTOTYPES = "Heard as the class decided", "Prototypes heard as their class"


# One setting, fewer axes ----------------------------------------------------------------------------------------------


def ablation_sentence(tried: pd.DataFrame, chance: float) -> str:
    """The highest and the lowest mean recall of settings on one split, of which no order follows."""
    recall = tried.groupby("model")["balanced_accuracy"].mean().sort_values()
    low, high = (f"{name} {recall[name]:.1%}" for name in (recall.index[0], recall.index[-1]))
    return (
        f"Mean recall from {low} to {high}, chance {chance:.1%}: on a single split, which has no interval, so that no "
        "order of the rows follows."
    )


def shortened(z: np.ndarray, axes: Any, k: int) -> np.ndarray:
    """Vectors (N, D) of which only the first k principal axes are kept, float32; ``axes`` is a fitted PCA."""
    kept = axes.components_[:k]
    return ((z - axes.mean_) @ kept.T @ kept + axes.mean_).astype(np.float32)


def size_row(
    variance: float, like: np.ndarray, named: np.ndarray, likeness: Mapping[str, np.ndarray], chance: float
) -> dict[str, float]:
    """Row of a table: what is kept of the variance, the likeness (n,) and the right answers (m,), and their floors."""
    return {
        "variance kept": variance,
        "likeness (median)": np.median(like),
        "linear probe": named.mean(),
        "likeness of the mean of all": np.median(likeness[AVERAGE]),
        "chance": chance,
    }


def as_rows(table: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A row for each name of a mapping."""
    return pd.DataFrame(table).T


def size_sentences(
    like: Mapping[int, np.ndarray], named: Mapping[int, np.ndarray], groups_some: np.ndarray, groups_test: np.ndarray
) -> list[str]:
    """What fewer axes hold of what all of them hold: likeness (n,) and right answers of a probe (m,), by number."""
    most, sentences = max(like), []
    for k in like:
        if k < most:
            pair = (f"a vector of {k} axes", f"one of all {most}")
            gap = difference_interval(like[k], like[most], groups_some, limits=(-2, 2))
            sentences.append(compared(*pair, gap, of="Mean correlation", **PLAIN))
            gap = difference_interval(named[k], named[most], groups_test, limits=(-2, 2))
            sentences.append(compared(*pair, gap, of="Linear probe"))
    return sentences or ["There are no axes to leave out."]


# Other interpretable models -------------------------------------------------------------------------------------------


def swapped(split: Split, y: np.ndarray) -> Split:
    """The split by which a judge hears the test part and is tested on the training part, whose classes it has met."""
    met = np.unique(y[split.test])
    return Split(split.test, *(rows[np.isin(y[rows], met)] for rows in (split.valid, split.train)))


class Offer(NamedTuple):
    """What a model plays to explain its decisions on n segments."""

    plays: str
    """What its examples are, in words."""
    decided: np.ndarray
    """The classes decided (n,)."""
    which: np.ndarray
    """The number of the example that is played for each, int (n,)."""
    sound: Callable[[int], np.ndarray]
    """The example of a number, (samples,)."""


def defined(values: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Attributes (N, A) without gaps: an undefined value becomes the median of ``fitted`` rows, and is marked.

    A column of 0 and 1 is added for each attribute that some but not all of the fitted rows lack. Attributes that none
    of these rows has are left out, and infinite values count as undefined.
    """
    there = np.isfinite(values)
    known = there[fitted].any(0)
    values, there = np.where(there, values, np.nan)[:, known], there[:, known]
    filled = np.where(there, values, np.nanmedian(values[fitted], axis=0))
    return np.concatenate([filled, ~there[:, ~there[fitted].all(0)]], 1)


def concept_bottleneck(values: np.ndarray, told: Any, split: Split) -> Probes:
    """A logistic regression on measured attributes (N, A) alone, whose gaps are filled from the training part."""
    filled = defined(values, split.train)
    return fit_probes({CONCEPTS: filled}, told.labels, split, groups=told.groups)


def bottleneck_runs(values: np.ndarray, told: Any, splits: Sequence[Split], *, seed: int) -> pd.DataFrame:
    """Mean recall of the concept bottleneck on the tracks of each split, as rows of a study."""
    rows = []
    for fold, split in enumerate(splits):
        probes = concept_bottleneck(values, told, split)
        said = pd.DataFrame(np.log(np.maximum(probes.probabilities[0, 0], 1e-30)), columns=probes.classes)
        tracks = told.rows[split.test]
        of_track = said.groupby(tracks).mean().idxmax(axis=1)
        true = pd.Series(told.labels[split.test]).groupby(tracks).first()
        recall = balanced_accuracy(true.to_numpy(str), of_track.to_numpy(str))
        rows.append({"model": CONCEPTS, "fold": fold, "seed": seed, "balanced_accuracy": recall})
    return pd.DataFrame(rows)


def centroids(z: np.ndarray, y: np.ndarray, k: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The k centroids of k-means in each class (C k, D), and their classes (C k,)."""
    from sklearn.cluster import KMeans

    labels = np.unique(y)
    points = [KMeans(k, n_init="auto", random_state=seed).fit(z[y == name]).cluster_centers_ for name in labels]
    return np.concatenate(points).astype(np.float32), np.repeat(labels, k)


def strongest(learnt: LearntPrototypes, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes decided for vectors (n, D), and of each the number of the prototype that spoke most for it."""
    column = learnt.logits(z).argmax(1)
    return learnt.labels[column], learnt.contributions(z)[np.arange(len(z)), column].argmax(1)


def nearest(
    points: np.ndarray, classes: np.ndarray, z: np.ndarray, *, neighbours: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The commonest class among the nearest points of vectors (n, D), and the nearest point of that class.

    Parameters
    ----------
    points, classes : array (M, D), (M,)
    z : array (n, D)
    neighbours : int
        How many points decide; of classes that are as common the first in the alphabet.

    Returns
    -------
    decided, which : array (n,)
    """
    labels, member = np.unique(classes, return_inverse=True)
    points, z = np.asarray(points, np.float64), np.asarray(z, np.float64)
    apart = np.square(z).sum(1)[:, None] + np.square(points).sum(1) - 2 * z @ points.T
    order = apart.argsort(1, kind="stable")[:, : min(neighbours, len(points))]
    decided = np.eye(len(labels))[member[order]].sum(1).argmax(1)
    return labels[decided], np.where(member == decided[:, None], apart, np.inf).argmin(1)


def best_concepts(values: np.ndarray, told: Any, split: Split, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes that the concept bottleneck decides for test rows, and the training row that it is surest of."""
    probes, filled = concept_bottleneck(values, told, split), defined(values, split.train)
    decided = probes.predict_proba(0, filled[rows]).argmax(1)
    sure = probes.predict_proba(0, filled[split.train])  # (n_train, C)
    own = told.labels[split.train][:, None] == probes.classes
    best = split.train[np.where(own, sure, -1.0).argmax(0)]
    return probes.classes[decided], best[decided]


def drawn_examples(decided: np.ndarray, told: Any, split: Split, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training rows drawn at random, one of each decided class."""
    rng, y = np.random.default_rng(seed), told.labels[split.train]
    return decided, np.array([rng.choice(split.train[y == name]) for name in decided])


def heard_examples(offers: Mapping[str, Offer], judge: Judge, rate: int) -> dict[str, np.ndarray]:
    """Whether the judge hears the class that was decided in the example played for it, (n,) of each model."""
    heard = {}
    for name, offer in offers.items():
        different, of = np.unique(offer.which, return_inverse=True)
        said = judge.classes[judge.probabilities([offer.sound(int(i)) for i in different], rate).argmax(1)]
        heard[name] = said[of] == offer.decided
    return heard


def models_table(
    recall: pd.DataFrame, offers: Mapping[str, Offer], heard: Mapping[str, np.ndarray], groups: np.ndarray, classes: int
) -> pd.DataFrame:
    """A row of each model: recall with its interval, what it plays, and how often the judge hears the class in it.

    Parameters
    ----------
    recall : DataFrame
        Mean, low and high of the recall of each model.
    offers : mapping of str to Offer
    heard : mapping of str to array of bool (n,)
        Of :func:`heard_examples`.
    groups : array (n,)
        Groups of the segments that were decided.
    classes : int
        Number of classes C.
    """
    rows = {}
    for name, offer in offers.items():
        known = recall.loc[name, ["mean", "low", "high"]] if name in recall.index else [np.nan] * 3
        low, high = group_interval(heard[name].astype(float), groups, limits=(0, 1))
        rows[name] = dict(zip(("recall", "low", "high"), known, strict=True)) | {
            "plays": offer.plays,
            "heard as decided": heard[name].mean(),
            "judge low": low,
            "judge high": high,
            "different sounds": len(np.unique(offer.which)),
        }
    rows["chance"] = {"recall": 1 / classes, "heard as decided": 1 / classes}
    return pd.DataFrame.from_dict(rows, orient="index")


def models_sentences(
    runs: pd.DataFrame, heard: Mapping[str, np.ndarray], groups: np.ndarray, ours: str, *, over: str, chance: float
) -> list[str]:
    """Prototypes beside the other models, by recall and by the ear; the control that wins first."""
    pairs = [
        (RANDOM, ours, {"above": "A recording needs no decoder."}),
        (ours, "chance", {}),
        (ours, UNTRAINED, {}),
        (ours, NEIGHBOURS, {}),
    ]
    pairs += [(ours, CONCEPTS, {})]
    told = {**heard, "chance": np.full(len(groups), chance)}
    sentences = []
    for a, b, then in pairs:
        gap = difference_interval(told[a], told[b], groups, limits=(-1, 1))
        sentences.append(compared(a, b, gap, of=_SAID, **then))
    if ours not in set(runs["model"]):
        return [*sentences, f"Mean recall: {ours} were not fitted on these splits, and have no runs to compare."]
    for other in (NEIGHBOURS, UNTRAINED, CONCEPTS):
        gap = setting_difference(runs, ours, other)
        sentences.append(compared(ours, other, gap, of=f"Mean recall, {over}", missing=SINGLE))
    return sentences


# How many prototypes --------------------------------------------------------------------------------------------------


def of_classes(heard: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Mean of the prototypes of each class, (C,), of values (M,)."""
    return np.bincount(classes, np.asarray(heard, dtype=float)) / np.bincount(classes)


def cost_row(learnt: LearntPrototypes, train_z: np.ndarray, heard: np.ndarray) -> dict[str, float]:
    """What K prototypes a class cost and how they sound: parameters, segments a prototype, and the judge's share.

    Parameters
    ----------
    learnt : LearntPrototypes
    train_z : array (n, D)
        Vectors of the training segments.
    heard : array of bool (M,)
        Whether the judge hears each prototype as its class.
    """
    counts = np.bincount(learnt.distances(train_z).argmin(1), minlength=len(learnt.classes))
    each = of_classes(heard, learnt.classes)
    low, high = group_interval(each, limits=(0, 1))
    return {
        "heard as its class": each.mean(),
        "judge low": low,
        "judge high": high,
        "parameters (thousands)": sum(p.numel() for p in learnt.network.parameters()) / 1000,
        "segments a prototype": len(train_z) / len(counts),
        "nearest to no segment": (counts == 0).mean(),
    }


def cost_sentences(costs: pd.DataFrame, heard: Mapping[int, np.ndarray], chance: float) -> list[str]:
    """What the largest K buys the ear beside the smallest, and what it costs.

    Parameters
    ----------
    costs : DataFrame
        Rows of :func:`cost_row` by K, with the seconds of a training.
    heard : mapping of int to array (C,)
        K -> mean of the judge's answers of each class.
    chance : float
    """
    few, many = min(heard), max(heard)
    each = [
        compared(f"K = {k}", "chance", difference_interval(x, np.full(len(x), chance), limits=(-1, 1)), of=_PROTOTYPES)
        for k, x in heard.items()
    ]
    if few == many:
        return each
    gap = difference_interval(heard[many], heard[few], limits=(-1, 1))
    names = f"K = {many}", f"K = {few}"
    more = costs.loc[many] / costs.loc[few]
    return [
        *each,
        compared(*names, gap, of=_PROTOTYPES),
        f"K = {many} has {more['parameters (thousands)']:.2f} times the parameters of K = {few} and trains "
        f"{more['seconds']:.1f} times as long; {costs.loc[many, 'segments a prototype']:.0f} training segments stand "
        f"behind each prototype, in place of {costs.loc[few, 'segments a prototype']:.0f}.",
    ]


# Other spaces, heard --------------------------------------------------------------------------------------------------


def ways_across(
    v: np.ndarray, z: np.ndarray, split: Split, groups: np.ndarray, *, seed: int
) -> dict[str, RegressionProbes]:
    """Ridge regressions from vectors of another space (N, D') to those of the autoencoder (N, D), and their control.

    The control is fitted on pairs that do not belong together. Penalties are chosen on the validation part.
    """
    options = {"groups": groups, "progress": False}
    pairs = {OWN: v}, z, split
    return {
        MAPPED: fit_regression(*pairs, **options),
        SHUFFLED: fit_regression(*pairs, shuffle_labels=seed, **options),
    }


class Crossing(NamedTuple):
    """What came across a map from another space, on n test segments and M prototypes of that space."""

    held_out: float
    """Share of the variance of the autoencoder's vectors that the map explains on the test part (mean R2)."""
    like: np.ndarray
    """Likeness of the segments' sounds to the originals (n,)."""
    segments: np.ndarray
    """Whether the judge hears the segments as their class, bool (n,)."""
    prototypes: np.ndarray
    """Whether it hears the prototypes as their class, bool (M,)."""
    classes: np.ndarray
    """Classes of the prototypes, as numbers (M,)."""
    sounds: np.ndarray
    """The prototypes' sounds (M, samples), at the codec's rate."""


def crossed(
    ways: Mapping[str, RegressionProbes],
    learnt: LearntPrototypes,
    *,
    v: np.ndarray,
    labels: np.ndarray,
    real: np.ndarray,
    model: SummaryAutoencoder,
    judge: Judge,
    steps: int,
    seed: int,
) -> dict[str, Crossing]:
    """Decode what maps make of test segments and of the prototypes of another space, and ask the judge.

    Parameters
    ----------
    ways : mapping of str to RegressionProbes
        Of :func:`ways_across`. Of the control only the first prototype of each class is decoded.
    learnt : LearntPrototypes
        Fitted in the other space.
    v, labels, real : array (n, D'), (n,), (n, T, D)
        Vectors of test segments in the other space, their classes, and their latent frames.
    model, judge, steps, seed
        What decodes, what hears it, in how many steps, and the seed of the noise.
    """
    made = {}
    for name, way in ways.items():
        chosen = np.arange(0, len(learnt.classes), 1 if name == MAPPED else learnt.config.per_class)
        vectors, classes = way.predict(0, np.concatenate([v, learnt.prototypes()[chosen]])), learnt.classes[chosen]
        frames = model.generate(vectors[: len(v)], steps=steps, guidance=1.0, seed=seed).cpu().numpy()
        x = model.decode(vectors, steps=steps, seed=seed).cpu().numpy()
        right = judge.agreement(x, model.codec.rate, np.concatenate([labels, learnt.labels[classes]]))
        heard = right[: len(v)], right[len(v) :]
        made[name] = Crossing(float(np.nanmean(way.r2)), alike(frames, real), *heard, classes, x[len(v) :])
    return made


def same_ear(judge: Judge, spaces: Mapping[str, Any]) -> str | None:
    """A caution where the judge hears by an encoder whose space it is to judge."""
    same = [name for name, space in spaces.items() if space.fingerprint == judge.encoder.fingerprint]
    return f"the judge hears by {same[0]} itself, which may flatter prototypes of that space." if same else None


def crossed_table(own: Crossing, crossings: Mapping[str, Mapping[str, Crossing]], chance: float) -> pd.DataFrame:
    """A row of the autoencoder's own vectors, and one of each space and way: what is held, and what is heard."""
    rows = {OWN: own} | {f"{name}, {way}": c for name, ways in crossings.items() for way, c in ways.items()}

    def row(c: Crossing) -> dict[str, float]:
        of_class = of_classes(c.prototypes, c.classes)
        low, high = group_interval(of_class, limits=(0, 1))
        return {
            "variance explained": c.held_out,
            "likeness (median)": float(np.median(c.like)),
            "segments heard": c.segments.mean(),
            "prototypes heard": of_class.mean(),
            "judge low": low,
            "judge high": high,
        }

    table = {name: row(c) for name, c in rows.items()}
    return as_rows(table | {"chance": {"segments heard": chance, "prototypes heard": chance}})


def crossed_sentences(own: Crossing, crossings: Mapping[str, Mapping[str, Crossing]], groups: np.ndarray) -> list[str]:
    """What of a sound survives the way from another space, and whether its prototypes can be heard.

    Parameters
    ----------
    own : Crossing
        The same of the autoencoder's own vectors and prototypes.
    crossings : mapping of str to mapping of str to Crossing
        Space -> MAPPED and SHUFFLED.
    groups : array (n,)
        Of the test segments.
    """
    sentences = []
    for name, ways in crossings.items():
        across = ways[MAPPED]
        sentences.append(
            f"{name}: on the test part the map explains {across.held_out:.0%} of the variance of the autoencoder's "
            f"vectors, the {SHUFFLED} {max(0.0, ways[SHUFFLED].held_out):.0%}."
        )
        lost = {"below": "That is lost on the way across."}
        for other, called, then in ((ways[SHUFFLED], f"the {SHUFFLED}", {}), (own, OWN, lost)):
            pair = f"{name}, {MAPPED}", called
            gap = difference_interval(across.like, other.like, groups, limits=(-2, 2))
            sentences.append(compared(*pair, gap, of="Mean correlation of test segments", **PLAIN, **then))
            gap = difference_interval(across.segments, other.segments, groups, limits=(-1, 1))
            sentences.append(compared(*pair, gap, of="Test segments heard as their class", **then))
            each = [of_classes(c.prototypes, c.classes) for c in (across, other)]
            sentences.append(compared(*pair, difference_interval(*each, limits=(-1, 1)), of=_PROTOTYPES))
    return sentences or ["No other encoder was asked for: there is no other space to cross from."]
