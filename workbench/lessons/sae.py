"""What ``notebooks/sae.ipynb`` says of its figures: its choices, its sentences, and what it records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from ..attributes import agreement, measure
from ..core.splits import Split
from ..metrics.classification import paired_interval
from ..metrics.geometry import nearest_alike
from ..probes import Probes, RegressionProbes, paired
from ..sae import k_of, published
from ..views import compared
from .sae_attributes import attribute_means

if TYPE_CHECKING:
    import pandas as pd

    from ..datasets import Clips
    from ..encoders import Encoder

ONE_GROUP = "all test clips are of one group, and an interval takes two"
"""Why a difference of accuracies has no interval."""
NO_INTERVAL = "there are too few test groups for an interval"
"""Why a difference of accuracies or of R² has none."""
CONTROLS = {"untrained": "the untrained network", "spectrum": "the spectrum"}
"""The two controls of part 1, as a sentence calls them."""

WORDS = (
    "accuracy", "balanced accuracy", "chance", "codes", "completeness", "consistency", "dead",
    "embedding", "entropy", "family", "flips", "fvu", "held out", "l0", "majority", "moved", "others", "penalty",
    "principal components", "r2", "random projection", "rank correlation", "SAE", "SAE, paper's form",
    "SAE, untrained", "sensitivity", "sparsity", "spectrum", "untrained",
    "brightness", "harmonicity", "low-band slope", "mel", "mini-mel", "spectral flux",
    "luck", "wrong name",
)  # fmt: skip
"""What the glossary at the end explains."""


# --- part 1: the clips and the layers -----------------------------------------------------------------------------


def balanced(clips: Clips, per_class: int | None, *, least: int = 25, seed: int) -> Clips:
    """Clips of the classes that have ``least`` or more, at most ``per_class`` of each; all where that is None.

    A class of a few clips cannot be tested, and one class must not drown the others.
    """
    if not per_class:
        return clips
    counts = clips.table["label"].value_counts()
    return clips.where(label=list(counts[counts >= least].index)).sample(per_class, per="label", seed=seed)


def clips_sentences(clips: Clips, splits: Sequence[Split]) -> list[str]:
    """What the set allows: its sizes, its test parts, and whether a group could be on two sides of a split."""
    groups, tested = clips.groups(), sum(len(split.test) for split in splits)
    told = (
        f"{len(clips)} clips of {len(clips.classes)} classes; splits: {len(splits)}, with {tested} test clips in all."
    )
    if len(set(groups)) == len(clips):
        return [told, "No groups are named. If several clips come from one source, accuracy looks better than it is."]
    return [told, f"{len(set(groups))} groups of clips, none of which is on two sides of a split."]


def published_curve(dataset: str, encoder: str) -> dict[str, list[float]]:
    """The paper's accuracy of every layer, where the dataset and the encoder are the paper's; else nothing."""
    if dataset != "vocalset" or encoder not in published.PROBE_ACCURACY:
        return {}
    return {"paper, as published": [percent / 100 for percent in published.PROBE_ACCURACY[encoder]]}


def probe_cautions(clips: Clips, network: Encoder, split: Split) -> list[str]:
    """What must be known before accuracies are read: clips without groups, and more dimensions than clips."""
    widest, cautions = max(layer.dim for layer in network.layers), []
    if len(set(clips.groups())) == len(clips):
        cautions.append("no groups are named: clips of one source may be on both sides")
    if widest >= len(split.train):
        many = f"the paper's recipe fits {widest} dimensions to {len(split.train)} clips without a penalty"
        cautions.append(many)
    return cautions


def over_majority(probes: Probes) -> np.ndarray:
    """(3,) accuracy of the best layer minus that of always giving the commonest answer, with its interval."""
    at = probes.position(probes.best_layer)
    return np.array([probes.accuracy[at].mean(), *probes.interval[at]]) - probes.majority


def accuracy_sentences(probes: Probes, baselines: Mapping[str, Probes]) -> list[str]:
    """The layer that validation prefers against guessing, both controls and the layer that it likes least."""
    best, worst = probes.best_layer, probes.worst_layer
    bare = baselines["untrained"].best_layer
    rivals = {"the spectrum": (baselines["spectrum"], 0)}
    rivals |= {f"layer {bare} of the untrained network": (baselines["untrained"], bare)}
    rivals |= {f"layer {worst} (worst on validation)": (probes, worst)} if worst != best else {}
    ours, words = f"layer {best}", {"missing": ONE_GROUP}
    guess = compared(ours, "always giving the commonest answer", over_majority(probes), **words)
    return [guess, *(compared(ours, name, paired(probes, best, *of), **words) for name, of in rivals.items())]


def questions(clips: Clips) -> pd.DataFrame:
    """The columns of the table that say something of a clip: a number that is the label, and the factors."""
    return clips.table[list(dict.fromkeys([*filter(None, [clips.target_name]), *clips.factors]))]


def or_labels(
    shown: Mapping[str, Probes | RegressionProbes],
    rivals: Mapping[str, Mapping[str, Probes | RegressionProbes]],
    probes: Probes,
    baselines: Mapping[str, Probes],
) -> tuple[dict, dict]:
    """The same, or where the table has no other column (a folder knows its labels alone) the probes of the label."""
    if shown:
        return dict(shown), dict(rivals)
    return {"label": probes}, {name: {"label": control} for name, control in baselines.items()}


def column_sentences(
    shown: Mapping[str, Probes | RegressionProbes], rivals: Mapping[str, Mapping[str, Probes | RegressionProbes]]
) -> list[str]:
    """What the best layer of the first property gives against each control, and which properties were learnt.

    A property was learnt where its best layer lies above that of the untrained network and that of the spectrum, with
    intervals that exclude 0; best layers are those that validation prefers.
    """
    gains = {
        name: {key: paired(own, own.best_layer, of[name], of[name].best_layer) for key, of in rivals.items()}
        for name, own in shown.items()
    }
    first, own = next(iter(shown.items()))
    if isinstance(own, RegressionProbes):
        words = {"of": f"R² of {first}", "factor": 1, "unit": "", "digits": 2, "missing": NO_INTERVAL}
    else:
        words = {"of": f"Accuracy of {first}", "missing": NO_INTERVAL}
    ours = f"layer {own.best_layer}"
    sentences = [compared(ours, CONTROLS.get(key, key), gain, **words) for key, gain in gains[first].items()]
    learnt = [name for name in shown if all(gain[1] > 0 for gain in gains[name].values())]
    of_all = f"Of {len(shown)} properties {len(learnt)} are shown to be read better than from every control"
    where = ", ".join(f"{name} (layer {shown[name].best_layer})" for name in learnt)
    return [*sentences, f"{of_all}{': ' * bool(where)}{where}."]


def best_of_families(reads: RegressionProbes, families: Mapping[str, str], *, n: int) -> list[str]:
    """Of each family the n attributes that validation reads best in any layer."""
    import pandas as pd

    validated = pd.Series(np.nan_to_num(reads.validation_r2).max(0), reads.targets)
    return list(validated.groupby(families, sort=False).nlargest(n).index.get_level_values(1))


def second_source(clips: Clips, measured: str, *, seconds: float | None) -> pd.DataFrame:
    """How our "voice" and Praat agree (:func:`workbench.attributes.agreement`); empty where there is no Praat."""
    import pandas as pd

    if measured != "voice" or not find_spec("parselmouth"):
        return pd.DataFrame()
    ours, praat = (measure(clips, set=source, seconds=seconds) for source in ("voice", "praat"))
    return agreement(ours, praat, groups=clips.groups()).drop(columns="b").rename_axis("attribute")


def agreement_sentences(table: pd.DataFrame) -> list[str]:
    """How many attributes a second program orders as ours does, and which it orders least alike."""
    if table.empty:
        return ["No second program has measured these clips: that takes the attributes 'voice' and the extra 'praat'."]
    ranks = table["rank_correlation"].dropna()
    alike = f"Of {len(ranks)} attributes {(ranks > 0.9).sum()} have a rank correlation with Praat's above 0.9"
    return [f"{alike}; the lowest is that of {ranks.idxmin()}, {ranks.min():.2f}." if len(ranks) else f"{alike}."]


def neighbour_sentences(panels: Mapping[str, np.ndarray], labels: np.ndarray, groups: np.ndarray) -> list[str]:
    """For how many clips the nearest clip of another group has the same label, panel by panel, and the difference.

    Parameters
    ----------
    panels : mapping of name to ndarray (N, D)
        Two of them: the worst layer and the best.
    labels, groups : ndarray (N,)
    """
    right = {name: nearest_alike(x, labels, groups) for name, x in panels.items()}
    shares = [f"{name} {hits.mean():.0%}" for name, hits in right.items()]
    told = f"The nearest clip of another group has the same label, of all dimensions: {', '.join(shares)}."
    if len(right) < 2:
        return [told]
    (worst, hits), (best, others) = right.items()
    difference = paired_interval(others, hits, groups)
    return [told, compared(best, worst, difference, of="Neighbours of the same label", missing=ONE_GROUP)]


def confusion_sentences(probes: Probes, layer: str) -> list[str]:
    """How many test clips are taken for another class, and which two classes are confused most often."""
    counts = np.asarray(probes.confusion(layer), float)
    wrong = counts.sum() - np.trace(counts)
    told = f"{wrong:.0f} of {counts.sum():.0f} test clips are taken for another class."
    if not wrong:
        return [told]
    both = np.triu(counts + counts.T, 1)
    i, j = np.unravel_index(both.argmax(), both.shape)
    names, clips = probes.classes[[i, j]], counts[[i, j]].sum()
    return [told, f"Confused most often: {names[0]} and {names[1]}, {both[i, j]:.0f} of the {clips:.0f} clips of both."]


def altered(clips: Clips, changes: Sequence[tuple[str, float]], *, seed: int) -> Clips:
    """The clips after one change of their sounds after the other."""
    for change, amount in changes:
        clips = clips.changed(change, amount, seed=seed)
    return clips


def follow_sentences(followed: pd.DataFrame, encoder: str) -> list[str]:
    """One sentence a change: how far it moves the first and the last layer, of the network and of its untrained copy.

    Parameters
    ----------
    followed : pandas.DataFrame
        A row an encoder, change and layer, with the columns of :func:`workbench.metrics.equivariance.evaluate`.
    encoder : str
        The network's name in it; the untrained copy is called "untrained".
    """
    sentences = []
    for change, rows in followed.groupby("change", sort=False):
        ends = {name: _ends(rows[rows["encoder"] == name]) for name in (encoder, "untrained")}
        sentences.append(f"{change}, sensitivity from the first layer to the last: {encoder} {ends[encoder]}; ")
        sentences[-1] += f"its untrained copy {ends['untrained']}."
    return sentences


def _ends(rows: pd.DataFrame) -> str:
    first, last = (rows.sort_values("layer").iloc[at] for at in (0, -1))
    if math.isnan(first["sensitivity"]) or math.isnan(last["sensitivity"]):
        return "has none, as its vectors do not differ"
    text = f"{first['sensitivity']:.2f} to {last['sensitivity']:.2f}"
    if math.isnan(first["sensitivity_low"]) or math.isnan(last["sensitivity_low"]):
        return f"{text} (too few groups for an interval)"
    if last["sensitivity_high"] < first["sensitivity_low"]:
        return f"falls, {text}"
    if last["sensitivity_low"] > first["sensitivity_high"]:
        return f"rises, {text}"
    return f"is not shown to change, {text}"


def layer_results(
    *,
    probes: Probes,
    paper_probes: Probes,
    baselines: Mapping[str, Probes],
    columns: Mapping[str, Probes | RegressionProbes],
    attributes: RegressionProbes,
    followed: pd.DataFrame,
) -> dict[str, object]:
    """What part 1 records: accuracies of every layer with their controls, and what else each layer reads."""
    best = probes.position(probes.best_layer)
    return {
        "best_layer": probes.best_layer,
        "accuracy_best": probes.accuracy[best].mean(),
        "accuracy": dict(zip(probes.names, probes.accuracy.mean(1), strict=True)),
        "interval": dict(zip(probes.names, probes.interval, strict=True)),
        "accuracy_paper_recipe": dict(zip(paper_probes.names, paper_probes.accuracy.mean(1), strict=True)),
        "accuracy_untrained": baselines["untrained"].accuracy.mean(1).max(),
        "accuracy_spectrum": baselines["spectrum"].accuracy.mean(1).max(),
        "chance": probes.chance,
        "majority": probes.majority,
        "factors": {
            name: each.r2[:, 0] if isinstance(each, RegressionProbes) else each.accuracy.mean(1)
            for name, each in columns.items()
        },
        "attributes_read": {name: attributes[name].r2[:, 0] for name in attributes.targets},
        "followed": {f"{row.encoder}, {row.change}, {row.layer}": row.sensitivity for row in followed.itertuples()},
    }


# --- parts 2 to 6: the sparse code --------------------------------------------------------------------------------


def coded_layers(dataset: str, encoder: str, best: str) -> list[str]:
    """Layers that get a sparse code: the paper's two where its curve can be drawn, else the one validation prefers."""
    return list(published.LAYERS[encoder]) if published_curve(dataset, encoder) else [best]


def published_tables(dataset: str, encoder: str, *quantities: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and table of quantities of the paper, for its own dataset and encoders; none for others."""
    for quantity in quantities if published_curve(dataset, encoder) else ():
        yield f"the paper's {quantity}", published.table(quantity).loc[encoder]


def code_cautions(plan: Mapping, split: Split, dim: int) -> list[str]:
    """What must be known before a curve of codes is read: codes learnt by heart, and codes that are no shorter."""
    train, cautions = len(split.train), []
    if plan["latents"] >= train:
        by_heart = f"{plan['latents']} latents were fitted to {train} vectors, which they can learn by heart"
        cautions.append(f"{by_heart}: look at test")
    long = [k for k in (k_of(sparsity, plan["latents"]) for sparsity in plan["sparsities"]) if k >= dim]
    if long:
        kept = ", ".join(map(str, long))
        cautions.append(f"codes that keep {kept} numbers are no shorter than the {dim} of the embedding")
    return cautions


def embedding_levels(probes: Probes, layer: str) -> dict[str, object]:
    """Horizontal lines of the accuracy's curve: the whole embedding with its interval, and the commonest answer."""
    at = probes.position(layer)
    return {"embedding": (probes.accuracy[at].mean(), *probes.interval[at]), "majority": probes.majority}


def codes_of_kind(coded: Mapping[str, object], kind: str, k: int) -> list[str]:
    """Names of the codes of one kind that keep k numbers, one a seed."""
    return [code.name for code in coded.values() if code.kind == kind and code.k == k]


def code_sentences(
    code_probes: Probes, probes: Probes, coded: Mapping, table: pd.DataFrame, *, layer: str, sparsity: float, k: int
) -> list[str]:
    """The trained sparse code of a layer against its controls and the whole embedding, and what it loses.

    Parameters
    ----------
    code_probes : Probes
        Of every code, under its name.
    probes : Probes
        Of the layers.
    coded : mapping of name to :class:`workbench.sae.study.Code`
    table : pandas.DataFrame
        Of :func:`workbench.sae.code_table`.
    layer, sparsity, k
        Which layer, and which codes.
    """
    ours, trained = codes_of_kind(coded, "SAE", k), f"the trained SAE at {sparsity:.0%} sparsity (layer {layer})"
    rivals = {kind: (code_probes, codes_of_kind(coded, kind, k)) for kind in ("SAE, untrained", "principal components")}
    rivals["the whole embedding"] = (probes, layer)
    sentences = [
        compared(trained, name, paired(code_probes, ours, *of), missing=ONE_GROUP) for name, of in rivals.items()
    ]
    lost = table[(table["kind"] == "SAE") & (table["k"] == k)][["fvu_train", "fvu"]].mean()
    text = f"It leaves {lost['fvu_train']:.0%} of the variance of the training clips unexplained"
    return [*sentences, f"{text}, {lost['fvu']:.0%} of that of the test clips."]


def where_rows(
    reads: RegressionProbes,
    peaks: pd.DataFrame,
    families: Mapping[str, str],
    *,
    of: Sequence[str] = ("pitch", "formants"),
) -> list[tuple]:
    """Where the attribute of some families that validation reads best lives, each as a main result.

    Parameters
    ----------
    reads : RegressionProbes
    peaks : pandas.DataFrame
        Of its ``peaks``, with the controls that :data:`CONTROLS` names in words.
    families : mapping of attribute to family
    of : sequence of str
        Families; one that is not measured is left out.
    """
    rows = []
    for name in best_of_families(reads, families, n=1):
        if families[name] in of:
            row = peaks.loc[name]
            each = {control: row[f"{control}: r2"] for control in CONTROLS.values()}
            rival = max(each, key=each.get)
            gain = [row[f"{rival}: {part}"] for part in ("gain", "low", "high")]
            beside = ", ".join(f"{control} {r2:.2f}" for control, r2 in each.items())
            where = f"{name} in layer {row['layer']} (depth {row['depth']:.2f} of 1)"
            text = f"R² of the attribute of {families[name]} read best minus that of the better control"
            rows.append((text, *gain, f"{where}: R² {row['r2']:.2f}, {beside}"))
    return rows


def latent_sentences(table: pd.DataFrame, *, shuffles: int = 20) -> list[str]:
    """How many latents go with a label more than luck explains, and which does most.

    Parameters
    ----------
    table : pandas.DataFrame
        ``table`` of :func:`workbench.views.latent_page`.
    shuffles : int
        Shuffles behind its chance levels: of latents without a meaning one in ``shuffles + 1`` lies above.
    """
    known = table.dropna(subset=["auc", "auc_chance"])
    if known.empty:
        return ["No latent varies over these clips."]
    above = known[known["auc"] > known["auc_chance"]]
    told = f"Of {len(known)} latents that vary {len(above)} lie above their chance level for a label; "
    told += f"without any meaning about {len(known) / (shuffles + 1):.0f} would."
    if above.empty:
        return [told]
    most = above.loc[(above["auc"] - above["auc_chance"]).idxmax()]
    best = f"Furthest above it: latent {most.name}, {most['label']}, AUC {most['auc']:.2f}"
    return [told, f"{best} (chance level {most['auc_chance']:.2f}); active in {most['density']:.0%} of the clips."]


def head(probes: Probes, layer: str) -> dict[str, object]:
    """The probe of a layer as the verbs of :mod:`workbench.sae` take it; of several splits that of the first."""
    at = probes.position(layer)
    return {"weights": probes.weights[at][0], "bias": probes.bias[at][0], "classes": list(probes.classes)}


def causal_sentences(differences: Mapping[str, Sequence[float]]) -> list[str]:
    """Whether the chosen latents change the probability of a class more than others that push as far.

    Parameters
    ----------
    differences : mapping of change to (difference, low, high)
        Of :func:`workbench.sae.chosen_against_random`.
    """
    ours, others = "that by the chosen latents", "that by others that push as far"
    return [
        compared(ours, others, difference, missing=ONE_GROUP, of=f"Latents {change}, change of the class's probability")
        for change, difference in differences.items()
    ]


def code_results(
    *,
    mean: pd.DataFrame,
    layer: str,
    top: pd.DataFrame,
    effects: pd.DataFrame,
) -> dict[str, object]:
    """What parts 2 to 5 record of the first layer: accuracy and error of every code, attributes, removals."""
    first = mean.loc[layer]
    return {
        "sae_accuracy": {f"{kind}, {s:g}": value for (kind, s), value in first["accuracy"].items()},
        "sae_fvu": {f"{kind}, {s:g}": value for (kind, s), value in first["fvu"].items()},
        "attribute_means": {
            f"{kind}, {s:g}, {protocol}": dict(row) for (kind, s, protocol), row in attribute_means(top).iterrows()
        },
        "removed_chosen": effects.xs("chosen", level="kind")["mean"].mean(),
        "removed_random": effects.xs("random", level="kind")["mean"].mean(),
    }


def headline(
    probes: Probes,
    baselines: Mapping[str, Probes],
    code_probes: Probes,
    coded: Mapping,
    *,
    layer: str,
    sparsity: float,
    k: int,
    removed: Sequence[float],
    by_others: float,
) -> list[tuple]:
    """The first three main results, each with its interval and what it is read against.

    What depends on the sounds, such as a layer's name, stands there and not in the result's own text, so that the
    results of several runs can be read side by side.
    """
    best = probes.position(probes.best_layer)
    plain, bare = (baselines[name].accuracy.mean(1).max() for name in ("spectrum", "untrained"))
    guess = f"commonest class {probes.majority:.2f}, spectrum {plain:.2f}, untrained network {bare:.2f}"
    trained, untrained = (
        paired(code_probes, codes_of_kind(coded, kind, k), probes, layer) for kind in ("SAE", "SAE, untrained")
    )
    sparse = "Accuracy of its sparse code minus the whole embedding's"
    removal = "Change of a class's probability when its latents are removed, minus that by others that push as far"
    return [
        (
            "Accuracy of the layer that reads the labels best",
            probes.accuracy[best].mean(),
            *probes.interval[best],
            f"layer {probes.best_layer}; {guess}",
        ),
        (sparse, *trained, f"{sparsity:.0%} of latents zero; the untrained code's {untrained[0]:+.2f}"),
        (removal, *removed, f"by the others alone {by_others:+.2f}"),
    ]


def found_sentences(rows: Sequence[tuple]) -> list[str]:
    """Which differences among the main results are shown, above zero or below, and which are not.

    Parameters
    ----------
    rows : sequence of (text, value, low, high, control)
        As :func:`workbench.record` takes them; a difference says "minus".
    """
    told: dict[str, list[str]] = {
        "Shown to lie above zero": [],
        "Shown to lie below zero": [],
        "Not shown to differ from zero": [],
        "Without an interval, so that nothing is shown": [],
    }
    above, below, neither, unknown = told.values()
    for text, value, low, high, _ in rows:
        if " minus " in text and value is not None:
            bounds = np.array([low, high], dtype=float)
            known = np.isfinite(bounds).all()
            kind = (above if low > 0 else below if high < 0 else neither) if known else unknown
            kind.append(f"{text[0].lower()}{text[1:]}" if text[1].islower() else text)
    return [f"{kind}: {'; '.join(texts)}." for kind, texts in told.items() if texts]
