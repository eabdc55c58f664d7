"""What ``notebooks/predefined_prototypes.ipynb`` says of its figures: its choices, its sentences, what it records."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..attributes import measure
from ..core.errors import ParameterError
from ..core.splits import Split
from ..datasets import Clips
from ..embeddings import embed
from ..encoders import Encoder, load_encoder
from ..metrics.classification import paired_interval
from ..metrics.geometry import cosine_gap, mean_cosines, nearest_alike
from ..metrics.intervals import fold_interval, group_interval, jackknife_interval
from ..probes import Probes, fit_probes
from ..prototypes import (
    Explanation,
    FactorPrototypes,
    gram,
    max_cosine,
    over_folds,
    paired_differences,
    prototypes,
)
from ..views import compared, headed

if TYPE_CHECKING:
    from ..prototypes import TrainedClassifier

NO_INTERVAL = "one fold, or folds that agree exactly, give no interval"
"""Why a difference over folds has none."""
OURS = "prototypes, orthonormal"
"""The paper's setting, as the tables call it."""
LEARNT = {"name": "learnt_prototype", "pace": 10.0}
"""Places that are learnt along, at ten times the learning rate of the network; at the same rate they hardly move."""
NOTHING = "the embedding itself"
"""Of part 5: what no training has changed, as the tables call it."""
UNITS = {"pitch_median": "Hz", "pitch_spread": "semitones", "loudness": "LKFS"}
"""Units of the measured factors."""
WORDS = (
    "accuracy", "accuracy nearest", "area", "ArcFace", "base", "best constant", "by the rule", "calibration error",
    "center", "chance", "cross-entropy", "epochs to share", "fixed classifier (ETF)", "focal", "hyperspherical",
    "kappa", "largest cosine", "level read", "nc1", "novel, 1 shot", "novel, 5 shot", "one input column",
    "orthogonal-projection", "orthoplex", "orthonormal", "placebo", "prototypes, gaussian", "prototypes, learnt",
    "prototypes, mean", "prototypes, orthonormal", "prototypes, simplex", "prototypical network",
    "rank correlation", "read rightly", "repulsion", "simplex", "supervised contrastive",
)  # fmt: skip
"""What the glossary at the end explains."""


# --- parts 1 and 2: places and losses -----------------------------------------------------------------------------


def usual_classes(clips: Clips) -> Clips:
    """The clips; of ``iemocap`` those of the usual four classes, excitement counted as happiness."""
    if clips.name != "iemocap":
        return clips
    return clips.relabel({"neutral": "neutral", "happy": "happy", "excited": "happy", "angry": "angry", "sad": "sad"})


def tested_in_turn(clips: Clips, folds: int, *, seed: int) -> list[Split]:
    """At most so many folds; of ``speech_commands_v2`` the publisher's one split."""
    return [clips.split()] if clips.name == "speech_commands_v2" else clips.folds(seed=seed)[:folds]


def seconds_of(dataset: str, train: str) -> float | None:
    """Seconds that a network hears which is trained as a whole, by the paper's code; None for whole clips."""
    return None if train == "head" else {"speech_commands_v2": 1.0, "iemocap": 2.575}.get(dataset)


def largest_cosines(sizes: Sequence[tuple[int, int]], kinds: Sequence[str], *, seed: int) -> pd.DataFrame:
    """Largest cosine between two prototypes, of one draw: a row (classes, dimensions), a column a kind of set.

    NaN where a set does not exist for so many classes in so few dimensions.
    """
    rows = {}
    for classes, dim in sizes:
        rows[classes, dim] = {}
        for kind in kinds:
            try:
                places = prototypes(kind, classes, dim, scale=1.0, seed=seed)
            except ParameterError:
                continue
            rows[classes, dim][kind.replace("_", " ")] = max_cosine(places)
    index = pd.MultiIndex.from_tuples(list(rows), names=["classes", "dimensions"])
    return pd.DataFrame(list(rows.values()), index=index)


def cosine_sentences(cosines: pd.DataFrame) -> list[str]:
    """The sets of each row that has more classes than dimensions, from the one that lies furthest apart."""
    sentences = []
    for (classes, dim), row in cosines.iterrows():
        if classes > dim:
            order = ", ".join(f"{kind} {cosine:.2f}" for kind, cosine in row.dropna().sort_values().items())
            sentences.append(f"{classes} prototypes in {dim} dimensions, the largest cosine of one draw each: {order}.")
    return sentences


def by_heart(clips: int, numbers: int) -> str | None:
    """A caution where a network, whose one penalty is weight decay, is given more numbers than clips; or None."""
    text = f"{clips} training clips of {numbers:,} numbers, hardly penalised: they can be learnt by heart."
    return text if clips < numbers else None


def few_folds(count: int) -> str | None:
    """A caution where so few folds hardly tell how results spread."""
    return f"Folds: {count}. So few hardly tell how results spread." if 0 < count < 5 else None


def rivals(draw: Callable[[str], np.ndarray], *, mixup: bool) -> dict[str, dict[str, object]]:
    """Losses that the paper's is compared with: name in the tables -> arguments of ``fit_classifier``.

    Parameters
    ----------
    draw : function of a kind of set to ndarray (C, k)
        Places for the losses that need some.
    mixup : bool
        Whether labels are mixed in training, which a prototypical network cannot take.
    """
    plain = ("cross_entropy", "focal", "orthogonal_projection", "center")
    losses: dict[str, dict[str, object]] = {name.replace("_", "-"): {"loss": name} for name in plain}
    losses |= {"ArcFace": {"loss": "arcface"}, "supervised contrastive": {"loss": "supervised_contrastive"}}
    losses["prototypes, mean"] = {"loss": "mean_prototype"}
    losses["prototypes, learnt"] = {"loss": LEARNT, "prototypes": draw("orthonormal")}
    losses["hyperspherical"] = {"loss": "hyperspherical", "prototypes": draw("simplex")}
    losses["fixed classifier (ETF)"] = {"loss": "fixed_classifier", "prototypes": draw("simplex")}
    return losses if mixup else losses | {"prototypical network": {"loss": "prototypical_network"}}


def against(table: pd.DataFrame, a: str, b: str, *, of: str, metric: str = "accuracy") -> str:
    """One sentence on setting a against setting b of a study, on the same folds and seeds."""
    row = paired_differences(table[table["loss"].isin([a, b])], b, metric=metric, limits=(-1, 1)).loc[a]
    ends = row[["difference", "low", "high"]].astype(float)
    return compared(f'"{a}"', f'"{b}"', ends, missing=NO_INTERVAL, of=of)


def loss_sentences(table: pd.DataFrame, differences: pd.DataFrame, data: str) -> list[str]:
    """The paper's places against those that ask which part of it counts, and how many findings chance would bring."""
    others = ("cross-entropy", *(f"prototypes, {kind}" for kind in ("gaussian", "learnt", "mean")))
    clear = int(((differences["low"] > 0) | (differences["high"] < 0)).sum())
    sentences = [against(table, OURS, other, of=f"Accuracy on {data}") for other in others]
    sentences.append(
        f"Of {len(differences)} intervals in the figure {clear} exclude zero; "
        f"if no loss differed, about {0.05 * len(differences):.1f} would."
    )
    perfect, count = int((table.groupby("loss")["accuracy"].min() == 1).sum()), table["loss"].nunique()
    if perfect:
        sentences.append(f"{perfect} of {count} losses are right about every test clip: such a set tells little.")
    return sentences


def knob_sentences(swept: pd.DataFrame) -> list[str]:
    """How far the mean accuracy spans over the weights of the pull, and over the scales; in points."""
    sentences = []
    for name, column in {"weight": "pull", "scale": "scale"}.items():
        mean = 100 * swept.groupby(column)["accuracy"].mean()
        best = f", highest at {mean.idxmax():g}" if np.ptp(mean) else ""
        sentences.append(f"From one {name} to another the mean accuracy spans {np.ptp(mean):.1f} points{best}.")
    return [*sentences, "With one fold and one seed no interval says which of the two matters more."]


def map_sentences(panels: Mapping[str, np.ndarray], labels: np.ndarray, groups: np.ndarray) -> list[str]:
    """For how many clips the nearest clip of another group has the same label, before and after, and the difference.

    Parameters
    ----------
    panels : mapping of name to ndarray (N, k)
        Two of them: without and with the pull.
    labels, groups : ndarray (N,)
        Of the same clips; where all are of one group, every clip counts by itself.
    """
    apart = groups if len(set(groups)) > 1 else np.arange(len(groups))
    right = {name: nearest_alike(z, labels, apart) for name, z in panels.items()}
    shares = ", ".join(f"{name} {hits.mean():.0%}" for name, hits in right.items())
    (before, first), (after, second) = right.items()
    difference = paired_interval(second, first, groups)
    of = {"of": "Neighbours of the same label", "missing": "test clips of one group give no interval"}
    told = f"The nearest of the {len(labels)} test clips that is of another group has the same label: {shares}."
    return [told, compared(f'"{after}"', f'"{before}"', difference, **of)]


def drawn_and_taken(run: TrainedClassifier, *, most: int = 10) -> pd.DataFrame:
    """Cosines between the prototypes of a training, and beside them those between the class means of its test clips.

    A row a class, of the first ``most``; the columns are the same classes twice, "drawn" and "taken".
    """
    test = run.split.test
    present = np.unique(run.y[test])
    both = {"drawn": gram(run.prototypes)[np.ix_(present, present)], "taken": mean_cosines(run.z[test], run.y[test])}
    names = [str(run.classes[c]) for c in present[:most]]
    frames = {name: pd.DataFrame(cosines[:most, :most], names, names) for name, cosines in both.items()}
    joined = pd.concat(frames, axis=1).round(2) + 0.0  # no minus before a zero
    return joined.set_axis([f"{kind} {name}" for kind, name in joined.columns], axis=1)


def gaps_of_cosines(runs: Mapping[str, TrainedClassifier], sets: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """How far cosines between class means of test clips are from those of a set: a row a training, a column a set."""
    gaps = {
        name: {f"to {kind}": cosine_gap(run.z[run.split.test], run.y[run.split.test], p) for kind, p in sets.items()}
        for name, run in runs.items()
    }
    return pd.DataFrame(gaps).T


def geometry_sentences(
    runs: Mapping[str, TrainedClassifier], sets: Mapping[str, np.ndarray], plain: str, groups: np.ndarray
) -> list[str]:
    """Whether each training that was given a set lies nearer to its angles than the one that was given none.

    Parameters
    ----------
    runs : mapping of str to TrainedClassifier
        All on one split; of those that were given a set, the name of the set.
    sets : mapping of str to ndarray (C, k)
        The prototypes.
    plain : str
        Name of the training without prototypes.
    groups : ndarray (n,)
        Group of each test clip, for the interval: the groups are left out one by one.
    """
    words = {"of": "Mean distance of cosines from those drawn", "factor": 1, "unit": "", "digits": 2}
    words |= {"missing": "test clips of fewer than three groups give no interval"}
    words |= {"below": "What was given shows in the means.", "above": "The means went away from what was given."}
    gaps = gaps_of_cosines(runs, sets)
    sentences, test = [], runs[plain].split.test
    names, member = np.unique(groups, return_inverse=True)
    for kind in (name for name in runs if name in sets):

        def nearer(rows: np.ndarray, kind: str = kind) -> float:
            gaps = [cosine_gap(run.z[rows], run.y[rows], sets[kind]) for run in (runs[kind], runs[plain])]
            return gaps[0] - gaps[1]

        left = [test[member != group] for group in range(len(names))] if len(names) > 2 else []
        left = [rows for rows in left if len(np.unique(runs[plain].y[rows])) > 1]
        ends = jackknife_interval(nearer(test), [nearer(rows) for rows in left], limits=(-2, 2))
        sentences.append(compared(f'"{kind}"', f'"{plain}"', [nearer(test), *ends], **words))
        own, others = gaps.loc[kind, f"to {kind}"], gaps.loc[kind].drop(f"to {kind}")
        near = "nearest to its own set" if own < others.min() else "no nearer to its own set than to another"
        sentences.append(f'"{kind}" lies {near} ({own:.2f}, and {others.min():.2f} {others.idxmin()}).')
    return sentences


def training_sentences(histories: Mapping[str, pd.DataFrame]) -> list[str]:
    """Accuracy on validation clips at the end of two trainings, and when each first reached 95 % of it."""
    said = []
    for name, history in histories.items():
        curve = history["valid_accuracy"].to_numpy()
        reached = int(np.argmax(curve >= 0.95 * curve[-1])) + 1
        said.append(f"{name} ends at {curve[-1]:.0%} and first reaches 95 % of that in epoch {reached}")
    return [f"Validation clips: {'; '.join(said)}.", "One training each: there is no interval."]


# --- parts 3 and 4: factors ---------------------------------------------------------------------------------------


def heard(sounds: Clips, *, hears: str, network: Encoder, device: str) -> dict[str, pd.DataFrame]:
    """Layer -> what a classifier is given of each sound, a row each: embeddings, or measured attributes and mel bands.

    Parameters
    ----------
    sounds : Clips
        N of them.
    hears : {"encoder", "attributes"}
        With "attributes" the factors are among what is given, and the only layer is called "attributes".
    network : Encoder
    device : str
        Of the mel bands.
    """
    if hears == "encoder":
        return {name: pd.DataFrame(x) for name, x in embed(sounds, network, progress=False).arrays().items()}
    measured = measure(sounds, set="voice", progress=False).table.reset_index(drop=True)
    measured = measured.replace([np.inf, -np.inf], np.nan).fillna(0)
    bands = embed(sounds, load_encoder("logmel", device=device), pooling="mean+std", progress=False).layer(0)
    return {"attributes": measured.join(pd.DataFrame(bands).add_prefix("mel band ")).astype(np.float32)}


def best_layer(given: Mapping[str, pd.DataFrame], levels: np.ndarray, split: Split, groups: np.ndarray) -> str:
    """The layer whose linear probes read the levels (N, m) best on validation clips."""
    scores = [fit_probes(given, level, split, groups=groups).validation_accuracy.mean(1) for level in levels.T]
    return list(given)[int(np.mean(scores, axis=0).argmax())]


def factor_sentences(
    told: TrainedClassifier, silent: TrainedClassifier, chances: np.ndarray, made: ModuleType, groups: np.ndarray
) -> list[str]:
    """Accuracy with the factors' prototypes and without, and what knowing the rule would reach.

    Parameters
    ----------
    told, silent : TrainedClassifier
        Trained with the pull to the factors' prototypes, and by cross-entropy alone.
    chances : ndarray (n, 5)
        Probability of each class of each test clip by the rule.
    made : module
        ``workbench.datasets.generated.utterances``.
    groups : ndarray (n,)
        Speaker of each test clip.
    """
    test = told.split.test
    true = told.classes[told.y[test]]
    right = [run.predictions[test] == true for run in (told, silent)]
    likeliest = np.array(made.CLASSES)[chances.argmax(1)] == true
    among, chance = f"{len(np.unique(groups))} unseen speakers", 1 / len(told.classes)
    return [
        f"Accuracy on {among}: with factors {told.accuracy:.1%}, without {silent.accuracy:.1%}, chance {chance:.1%}.",
        f"Whoever knew the rule and the levels would be right about {likeliest.mean():.1%} of these clips "
        f"(expected of their levels: {chances.max(1).mean():.1%}).",
        compared("the network with factors", "cross-entropy alone", paired_interval(*right, groups)),
    ]


def contradiction_sentences(page, factors: int) -> list[str]:
    """How many of the words of a page of decisions, one a factor and clip, the level that is known contradicts."""
    wrong, clips = sum(map(len, page.contradicted)), len(page.rows)
    words = f"Words on this page: {clips * factors}, of which {wrong} are contradicted by the level that is known"
    rest = "; each is marked with a cross, and what follows from it in its sentence is unfounded" if wrong else ""
    return [f"{words}{rest}.", f"{clips} clips say how a page reads, not how often it is right."]


def rule_effects(
    explanation: Explanation, made: ModuleType, classes: Sequence[str]
) -> tuple[dict[str, pd.DataFrame], float]:
    """What each level adds to each class's logit, by the rule and by the network, and their correlation.

    Both are centred over levels and over classes, because what is added to all alike changes no decision.

    Returns
    -------
    tables : dict of "rule" and "network" to DataFrame
        A row a class, a column a level of a factor.
    correlation : float
    """
    names = made.RULE_FACTORS
    truth = np.concatenate([made.EFFECTS[f].T for f in range(len(names))], axis=1)  # (class, factor x level)
    learnt = np.concatenate([explanation.effects(name) for name in names], axis=1)
    order = [list(made.CLASSES).index(name) for name in classes]
    both = {"rule": truth[order], "network": learnt}
    shape = (-1, len(names), 3)
    centred = {key: m.reshape(shape) - m.reshape(shape).mean(2, keepdims=True) for key, m in both.items()}
    centred = {key: (m - m.mean(0)).reshape(len(m), -1) for key, m in centred.items()}
    correlation = np.corrcoef(centred["rule"].ravel(), centred["network"].ravel())[0, 1]
    columns = [f"{name} {level}" for name in names for level in ("low", "middle", "high")]
    return {key: pd.DataFrame(m, classes, columns) for key, m in centred.items()}, float(correlation)


def meter_sentences(sounds: Clips, meter: pd.DataFrame, ours: bool) -> list[str]:
    """For how many clips the factors are known, and how far the paper's own measurement agrees.

    Parameters
    ----------
    sounds : Clips
    meter : DataFrame
        A row a clip, a column a factor.
    ours : bool
        Whether the factors were measured; they are columns of the table if not.
    """
    known = int(meter.notna().all(axis=1).sum())
    told = f"{sounds.name}: {', '.join(meter.columns)} known of {known} of {len(sounds)} clips."
    if not ours:
        return [told, "The factors are columns of the table: nothing was measured."]
    paper = measure(sounds, set="speech", config="paper", progress=False).table[list(meter.columns)]
    agree = meter["pitch_median"].corr(paper["pitch_median"].reset_index(drop=True), "spearman")
    rank = "" if math.isnan(agree) else f"; rank correlation of the two medians of pitch {agree:.2f}"
    return [told, f"By the paper's code they are known of {paper.notna().all(axis=1).sum()} clips{rank}."]


def moves_sentence(name: str, places: FactorPrototypes, moves: pd.DataFrame, block: str, groups: np.ndarray) -> str:
    """Whether the block of what was changed moved further than the blocks of the other factors."""
    nothing = "So it is not shown that the blocks tell this change from others."
    words = {"of": f"Distance moved, {name}", "factor": 1, "unit": "", "below": nothing, "level": nothing}
    missing = "clips of one group, or that move alike, give no interval"
    further = places.moved_further(moves, block, groups=groups)
    return compared(f"the block of {block}", "the mean of the other blocks", further, missing=missing, **words)


def moves_sentences(
    changed: Mapping[str, str], places: FactorPrototypes, moves: Mapping[str, pd.DataFrame], groups: np.ndarray
) -> list[str]:
    """A sentence a change whose block there is; ``changed`` says which block each change should move."""
    known = {name: block for name, block in changed.items() if block in places.levels.names}
    if not known:
        return [f"No block is called {' or '.join(changed.values())}: it is open which of them these changes move."]
    return [moves_sentence(name, places, moves[name], block, groups) for name, block in known.items()]


def above_chance(probes: Probes, block: str, factor: str) -> str:
    """One sentence on what a probe of a block reads of a factor, against knowing nothing."""
    at, least = probes.position(block), max(probes.chance, probes.majority)
    shares = np.array([probes.accuracy[at].mean(), *probes.interval[at]]) - least
    return compared(f"a probe of {block}", f"knowing nothing ({least:.0%})", shares, of=f"Level of {factor}")


def faithful_sentences(curves, groups: np.ndarray) -> list[str]:
    """Whether taking blocks away, and putting them back, in the order of the bars acts faster than random order.

    Parameters
    ----------
    curves : :func:`workbench.metrics.blocks.faithfulness` of the test clips
    groups : ndarray (n,)
    """
    areas = {order: curves.area(order).mean() for order in ("deletion", "random", "insertion")}
    told = ", ".join(f"{name} {area:.2f}" for name, area in areas.items())
    words = {"of": "Mean probability of the decided class", "factor": 1, "unit": "", "digits": 2}
    sentences = [f"Mean probability of the decided class while blocks go or come: {told}."]
    for order, side in (("deletion", "below"), ("insertion", "above")):
        gap = curves.area(order) - curves.area("random")
        ends = [gap.mean(), *group_interval(gap, groups, limits=(-1, 1))]
        faithful = {side: "The bars are faithful in this."}
        sentences.append(compared(f"{order} in the order of the bars", "random order", ends, **words, **faithful))
    return sentences


# --- part 5, and what is recorded ---------------------------------------------------------------------------------


def new_in_turn(clips: Clips, folds: int, *, seed: int) -> tuple[list[Split], int]:
    """Splits of a few-shot study, and how many new classes are to be told apart in each (at most five).

    The classes are dealt at random, and each part in turn is new. A split holds clips of the other classes alone, so
    that a class without a clip in it is a new one. There are at most ``folds`` of them, fewer where a part would have
    fewer than three classes, and none for fewer than four classes.
    """
    count = max(2, min(folds, len(clips.classes) // 3))
    if len(clips.classes) < 4:
        return [], 0
    splits, parts = [], np.array_split(np.random.default_rng(seed).permutation(clips.classes), count)
    for new in parts:
        rows = np.flatnonzero(~np.isin(clips.labels, new))
        splits.append(Split(*(rows[part] for part in clips.take(rows).split(seed=seed, valid=0.2, test=0.2))))
    return splits, min(5, *map(len, parts))


def starts(losses: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object] | None]:
    """What a few-shot study compares: name -> arguments of ``fit_classifier``, or None for no training at all.

    Those that need places say which ``kind`` in place of the places, because their number depends on the classes
    (:func:`placed`). The paper asks about learnt places against those that were fixed before.
    """
    taken = ("cross-entropy", "prototypical network", "prototypes, mean")
    found: dict = {NOTHING: None} | {name: dict(losses[name]) for name in taken if name in losses}
    found["prototypes, learnt"] = {"loss": LEARNT, "kind": "orthonormal"}
    found[OURS] = {"loss": "prototype", "kind": "orthonormal"}
    harder = {"loss": {"name": "prototype", "weight": 10.0}, "kind": "orthonormal"}
    return found | {"prototypes, pulled ten times harder": harder}


def placed(options: Mapping[str, object], classes: int, dim: int, *, seed: int) -> dict[str, object]:
    """Arguments of ``fit_classifier`` with the places of so many classes where :func:`starts` has a ``kind``."""
    rest = {name: value for name, value in options.items() if name != "kind"}
    if "kind" in options:
        rest["prototypes"] = prototypes(options["kind"], classes, dim, scale=dim**0.5, seed=seed)
    return rest


def way(run: TrainedClassifier, options: Mapping[str, object]) -> dict[str, float]:
    """How far prototypes ended from where they began, as a share of their length; {} for a training without places."""
    if "prototypes" not in options:
        return {}
    begun = np.asarray(options["prototypes"])
    moved = np.linalg.norm(run.prototypes - begun, axis=1) / np.linalg.norm(begun, axis=1)
    return {"way": float(moved.mean())}


def with_intervals(table: pd.DataFrame, metrics: Sequence[str], *, by: str = "loss") -> pd.DataFrame:
    """Rates of a study as text, such as "0.61 [0.40 to 0.82]": mean over folds and its interval; "" where unknown."""
    shown = pd.DataFrame("", index=pd.Index(dict.fromkeys(table[by]), name=by), columns=list(metrics))
    for metric in metrics:
        known = table.dropna(subset=[metric])
        for name, row in over_folds(known, metric, by=by, limits=(0, 1)).iterrows() if len(known) else ():
            ends = "" if math.isnan(row["low"]) else f" [{row['low']:.2f} to {row['high']:.2f}]"
            shown.loc[name, metric] = f"{row['mean']:.2f}{ends}"
    return shown


def few_shot_sentences(table: pd.DataFrame, clips: Clips, ways: int) -> list[str]:
    """What was asked of new classes, whether training helped them, and learnt places against fixed ones.

    Parameters
    ----------
    table : pandas.DataFrame
        A study over :func:`new_in_turn` of :func:`starts`.
    clips : Clips
    ways : int
        How many new classes are told apart; 0 where there are too few.
    """
    if not ways:
        return ["Of fewer than four classes, none can be new and told from another."]
    turns, seeds = table["fold"].nunique(), table["seed"].nunique()
    told = f"Each of the {len(clips.classes)} classes was new in one of {turns} turns, with {seeds} seeds each; "
    told += f"{ways} new ones are told apart, by chance {1 / ways:.0%}. Intervals: other choices of new classes."
    means = table.groupby("loss", sort=False)["novel, 5 shot"].mean()
    trained = means.drop(NOTHING)
    first = f"From five examples, {NOTHING} reaches {means[NOTHING]:.1%} without any training"
    if means[NOTHING] >= trained.max():
        first += f"; no training reaches more (the best is {trained.idxmax()}, {trained.max():.1%})."
    else:
        first += f"; the most of any training is {trained.max():.1%} ({trained.idxmax()})."
    learnt = table.loc[table["loss"] == "prototypes, learnt", "way"].mean()
    sentences = [first, told, f"Learnt places ended {learnt:.0%} of their length from where they began."]
    for shots, metric in {"one example": "novel, 1 shot", "five examples": "novel, 5 shot"}.items():
        sentences.append(against(table, OURS, "prototypes, learnt", of=f"New classes, {shots}", metric=metric))
    of = {"of": "New classes, five examples", "metric": "novel, 5 shot"}
    return [*sentences, *(against(table, name, NOTHING, **of) for name in trained.index)]


# --- part 5: which factors ----------------------------------------------------------------------------------------


def sets_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """All sets of factors but the empty one, the small ones first: "a + b" -> (a, b)."""
    sizes = range(1, len(names) + 1)
    return {" + ".join(some): some for size in sizes for some in itertools.combinations(names, size)}


def told_sets(names: Sequence[str], count: int) -> dict[str, dict[str, object]]:
    """What a study of sets of factors compares: name -> arguments of ``evaluate_factors``.

    All sets, one placebo a size (a shuffled factor says as little as any other: all levels are equally frequent), and
    none.
    """

    def some(told: str, only: Sequence[str]) -> dict[str, object]:
        return {"told": told, "count": count} | ({"only": list(only)} if len(only) < len(names) else {})

    found = {name: some("true", only) for name, only in sets_of(names).items()}
    found |= {_placebo(n): some("shuffled", names[:n]) for n in range(1, len(names) + 1)}
    return found | {"cross-entropy": {"told": "nothing"}}


def _placebo(size: int) -> str:
    return f"placebo of {size}" if size else "cross-entropy"


def told_by_rule(made: ModuleType, only: Sequence[str]) -> float:
    """Accuracy of whoever knows the rule and the levels of these factors alone, all levels equally frequent."""
    names = made.RULE_FACTORS
    grid = np.array(list(itertools.product(range(3), repeat=len(names))))
    chances = pd.DataFrame(made.rule(grid)).groupby([grid[:, names.index(name)] for name in only]).mean()
    return float(chances.max(axis=1).mean())


def set_table(study: pd.DataFrame, made: ModuleType) -> pd.DataFrame:
    """Accuracy with each set of factors, with its placebo, their difference, and what the rule would reach."""
    sets = sets_of(made.RULE_FACTORS)
    means, rows = study.groupby("loss")["accuracy"].mean(), {}
    for name, only in sets.items():
        placebo = _placebo(len(only))
        pair = study[study["loss"].isin([name, placebo])]
        row = paired_differences(pair, placebo, limits=(-1, 1)).loc[name, ["difference", "low", "high"]]
        rows[name] = {
            "by the rule": told_by_rule(made, only),
            "accuracy": means[name],
            "placebo": means[placebo],
        } | dict(row)
    return pd.DataFrame(rows).T


def added_by(study: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """What each factor adds to the accuracy, as the mean over all sets of the others, and what a placebo adds so.

    A row a run (fold, seed), a column a factor, and "placebo".
    """
    runs = study.pivot(index=["fold", "seed"], columns="loss", values="accuracy")
    sets = {frozenset(only): name for name, only in sets_of(names).items()} | {frozenset(): "cross-entropy"}
    added, others = {}, [frozenset(some) for some in sets if len(some) < len(names)]
    for name in names:
        pairs = [(sets[some | {name}], sets[some]) for some in others if name not in some]
        added[name] = sum(runs[more] - runs[fewer] for more, fewer in pairs) / len(pairs)
    sizes = [len(some) for some in others if names[0] not in some]
    added["placebo"] = sum(runs[_placebo(n + 1)] - runs[_placebo(n)] for n in sizes) / len(sizes)
    return pd.DataFrame(added)


def set_sentences(study: pd.DataFrame, made: ModuleType) -> list[str]:
    """Being told of none beside the best set, and what each factor adds beyond a placebo."""
    names, shown = made.RULE_FACTORS, set_table(study, made)
    means = study.groupby("loss")["accuracy"].mean()
    none, best = means["cross-entropy"], shown["accuracy"].idxmax()
    told = f"Told of no factor, the network is right about {none:.1%} of test clips; told of the set that looks best, "
    told += f"{best}, about {means[best]:.1%}."
    clear = int((shown["low"] > 0).sum())
    told += f" Intervals that lie above the placebo: {clear} of {len(shown)}; "
    told += f"if no set helped, about {0.025 * len(shown):.1f} would."
    alone = shown["by the rule"][list(names)]
    rule = f"By the rule, {alone.idxmax()} alone would tell most ({alone.max():.1%}), {alone.idxmin()} least "
    sentences = [told, f"{rule}({alone.min():.1%}), and all together {shown['by the rule'].iloc[-1]:.1%}."]
    added = added_by(study, names)
    folds = added.index.get_level_values("fold")
    for name in names:
        beyond = added[name] - added["placebo"]
        ends = fold_interval(beyond, folds, limits=(-1, 1))
        mean = beyond.groupby(folds).mean().mean()
        words = {"of": "Accuracy added, mean over sets of the others", "missing": NO_INTERVAL}
        sentences.append(compared(name, "a placebo", [mean, *ends], **words))
    return sentences


def level_sentences(study: pd.DataFrame, counts: Sequence[int]) -> list[str]:
    """The true factors against their placebo and against none, for every number of levels."""
    pairs = [(f"true, {n} levels", f"shuffled, {n} levels") for n in counts]
    pairs += [(f"true, {n} levels", "cross-entropy") for n in counts]
    return [against(study, a, b, of="Accuracy on utterances") for a, b in pairs]


def pace_sentences(paces: pd.DataFrame) -> list[str]:
    """How many epochs the paper's places take to 95 % of their own end, against each rival."""
    epochs = paces["epochs_to_share", "mean"]
    words = {"of": "Epochs needed", "factor": 1, "unit": "epochs", "missing": "one fold gives no interval"}
    gaps = {name: (epochs[OURS] - epochs[name], math.nan, math.nan) for name in epochs.index if name != OURS}
    return [compared(f'"{OURS}"', f'"{name}"', gap, **words) for name, gap in gaps.items()]


def titled(title: str, clips: int, numbers: int, folds: int | None = None) -> str:
    """A title below its cautions: few folds, and more numbers than training clips."""
    return headed(title, None if folds is None else few_folds(folds), by_heart(clips, numbers))


def headline(
    data: str,
    table: pd.DataFrame,
    differences: pd.DataFrame,
    told: TrainedClassifier,
    silent: TrainedClassifier,
    levels: pd.DataFrame,
    *,
    groups: np.ndarray,
    count: int,
) -> list[tuple]:
    """The three main results, each with its interval and what it is read against.

    Parameters
    ----------
    data : str
    table, differences : pandas.DataFrame
        The study of losses, and its differences to cross-entropy.
    told, silent : TrainedClassifier
        With factors and without.
    levels : pandas.DataFrame
        Differences of the study of levels to cross-entropy.
    groups : ndarray (n,)
        Speaker of each test clip of ``told``.
    count : int
        Levels a factor.
    """
    ends, test = ["difference", "low", "high"], told.split.test
    right = [run.predictions[test] == told.classes[told.y[test]] for run in (told, silent)]
    plain, chance = table.groupby("loss")["accuracy"].mean()["cross-entropy"], 1 / len(told.classes)
    gain, of_levels = paired_interval(*right, groups), levels.loc[f"true, {count} levels", ends]
    without = f"without {silent.accuracy:.2f}, chance {chance:.2f}"
    placebo = f"with factors shuffled {levels.loc[f'shuffled, {count} levels', 'difference']:+.2f}"
    ours = f"Accuracy of the paper's prototypes minus cross-entropy alone, {data}"
    factors = f"Accuracy with prototypes of factors minus without, {len(np.unique(groups))} unseen speakers"
    return [
        (ours, *differences.loc[OURS, ends], f"cross-entropy alone {plain:.2f}"),
        (factors, *gain, without),
        (f"The same over folds of speakers, {count} levels a factor", *of_levels, placebo),
    ]
