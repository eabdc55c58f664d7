"""Sections 2.1 and 3.2 of ``notebooks/sae.ipynb``: whether latents are real, and disentanglement by other measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import ParameterError
from ..core.splits import Split, fitting
from ..metrics.disentanglement import (
    completeness,
    disentanglement,
    explicitness,
    mig,
    modularity,
    sap,
)
from ..metrics.importance import lasso_importance, mutual_information
from ..sae import SparseAutoencoder, absorption, codes, found_again, splitting
from ..views import curves, headed

if TYPE_CHECKING:
    import pandas as pd

    from ..datasets import Clips

MOST_ROWS = 20_000
"""Most held-out rows on which latents are compared, drawn evenly: frames of a long set are more than it takes."""
NEVER = "never trained"
"""The control of stability: an untrained autoencoder in place of the second."""
BOTH = "other half and seed"
"""The comparison that asks most: nothing is shared but the kind of data."""


# --- 2.1: are the latents real? -----------------------------------------------------------------------------------


def halves(split: Split, groups: np.ndarray, *, seed: int) -> list[Split]:
    """Two splits, each with one half of the training groups; validation and test rows are those of ``split``.

    Groups are dealt out whole, in a random order, each to the half that has fewer rows. Where all training rows are of
    one group they are dealt out singly.
    """
    train = split.train
    if len(train) < 2:
        raise ParameterError("split.train", len(train), "2 or more rows, to be halved")
    of = np.unique(np.asarray(groups)[train], return_inverse=True)[1]
    of = of if of.max() else np.arange(len(train))
    sizes, side, filled = np.bincount(of), np.zeros(of.max() + 1, int), [0, 0]
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        side[group] = int(filled[1] < filled[0])
        filled[side[group]] += sizes[group]
    return [Split(train[side[of] == half], split.valid, split.test) for half in (0, 1)]


def _some(rows: np.ndarray) -> np.ndarray:
    """At most :data:`MOST_ROWS` of the rows, evenly."""
    return rows if len(rows) <= MOST_ROWS else rows[np.linspace(0, len(rows) - 1, MOST_ROWS).astype(int)]


def stability_table(
    x: np.ndarray,
    split: Split,
    trained: Sequence[object],
    untrained: object,
    *,
    groups: np.ndarray,
    labels: np.ndarray | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of the latents of an autoencoder of the first half found again elsewhere, on test rows.

    Parameters
    ----------
    x : ndarray (N, D)
    split : Split
        Its test rows are those on which latents are compared.
    trained : two SAESweep
        One for each of :func:`halves`, of one layer and sparsity and of two seeds.
    untrained : SAESweep
        The same without training.
    groups : ndarray (N,)
    labels : ndarray (N,), optional
        The control of activity shuffles rows inside these.
    seed : int

    Returns
    -------
    pandas.DataFrame
        The table of :func:`workbench.sae.found_again` for each comparison: "other seed" (same half of the data),
        "other half" (same seed, therefore the same random directions at the start), "other half and seed", and "never
        trained" (another seed).
    """
    import pandas as pd

    (first, other_seed), (other_half, other) = (sweep.saes for sweep in trained)
    pairs = {"other seed": other_seed, "other half": other_half, BOTH: other, NEVER: untrained.saes[1]}
    rows = _some(split.test)
    given = {"groups": np.asarray(groups)[rows], "within": None if labels is None else np.asarray(labels)[rows]}
    tables = {name: found_again(first, second, x[rows], seed=seed, **given) for name, second in pairs.items()}
    return pd.concat(tables, names=["second"])


def _range(row: pd.Series) -> str:
    return f" ({row['low']:.0%} to {row['high']:.0%})" if np.isfinite(row["low"]) else ""


def stability_sentences(table: pd.DataFrame, split: Split, parts: Sequence[Split], groups: np.ndarray) -> list[str]:
    """Whether more latents are found again than in an untrained autoencoder and by chance, the control first."""
    groups, sentences = np.asarray(groups), []
    if len(set(groups[split.train])) < 2:
        sentences.append("All training rows are of one group, so the halves share it: they are no independent data.")
    for by in ("activity", "direction"):
        ours, bare = table.loc[BOTH, by], table.loc[NEVER, by]
        control = max(bare["found_again"], ours["chance"])
        if not ours["found_again"]:
            told = f"By {by} no latent is found again from the other half and seed (mean highest similarity "
            told += f"{ours['similarity']:.2f}, by chance {ours['chance_similarity']:.2f})."
        elif ours["found_again"] <= control:
            told = f"By {by} the control wins: {bare['found_again']:.0%} are found in an untrained autoencoder, "
            told += f"{ours['chance']:.0%} by chance, and {ours['found_again']:.0%} from the other half and seed."
        else:
            told = f"By {by} {ours['found_again']:.0%}{_range(ours)} of {ours['compared']:.0f} latents are found again "
            told += f"from the other half and seed; {bare['found_again']:.0%} in an untrained autoencoder, "
            told += f"{ours['chance']:.0%} by chance."
            if np.isfinite(ours["low"]) and ours["low"] <= control:
                told += " The interval reaches the control: these rows do not show a difference."
        sentences.append(told)
    one = table.xs("direction", level="by")["found_again"]
    told = f"Found again by direction after another seed {one['other seed']:.0%}, from the other half with the same "
    told += f"random start {one['other half']:.0%}, from the other half and seed {one[BOTH]:.0%}."
    sizes = " and ".join(str(len(part.train)) for part in parts)
    return [*sentences, told, f"The halves have {sizes} training rows; all are judged on {len(split.test)} test rows."]


def stability_row(table: pd.DataFrame) -> tuple:
    """The share of latents found again from the other half and seed by their activity, as a main result."""
    ours, bare = table.loc[BOTH, "activity"], table.loc[NEVER, "activity"]
    control = f"in an untrained code {bare['found_again']:.2f}, by chance {ours['chance']:.2f}"
    text = "Share of latents found again from the other half of the data and another seed, by activity"
    return text, ours["found_again"], ours["low"], ours["high"], control


def splitting_table(
    x: np.ndarray, split: Split, small: SparseAutoencoder, large: Mapping[str, SparseAutoencoder], *, seed: int
) -> pd.DataFrame:
    """Fates of the latents of a small autoencoder in larger ones, and in the first of these with its rows shuffled.

    Parameters
    ----------
    x : ndarray (N, D)
    split : Split
        Counterparts are chosen on training rows and judged on test rows.
    small : SparseAutoencoder
    large : mapping of name to SparseAutoencoder
        The first is the trained one.
    seed : int
        Of the shuffle.

    Returns
    -------
    pandas.DataFrame
        A row a large autoencoder and one "shuffled": shares of the small latents whose fate is "one", "several" and
        "none"; the mean number of ``parts`` of those that are several (NaN without any); and how many ``latents``.
    """
    import pandas as pd

    rows = [_some(split.train), _some(split.test)]
    choose, test = np.arange(len(rows[0])), len(rows[0]) + np.arange(len(rows[1]))
    some, rng = x[np.concatenate(rows)], np.random.default_rng(seed)
    own, found = np.asarray(small.encode(some)), {}
    coded = {name: np.asarray(sae.encode(some)) for name, sae in large.items()}
    order = np.concatenate([rng.permutation(choose), rng.permutation(test)])
    coded["shuffled"] = next(iter(coded.values()))[order]
    for name, z in coded.items():
        each = splitting(own, z, choose=choose, test=test)
        shares = {fate: (each["fate"] == fate).mean() for fate in ("one", "several", "none")}
        parts = each.loc[each["fate"] == "several", "parts"].mean()
        found[name] = shares | {"parts": parts, "latents": len(each)}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("large autoencoder")


def absorption_table(
    x: np.ndarray, labels: np.ndarray, split: Split, saes: Mapping[str, SparseAutoencoder], weights: np.ndarray, classes
) -> pd.DataFrame:
    """Absorption of each class's latent, in several autoencoders.

    Parameters
    ----------
    x : ndarray (N, D)
    labels : ndarray (N,)
    split : Split
        The main latents are chosen on training rows; test rows are counted.
    saes : mapping of name to SparseAutoencoder
    weights : ndarray (D, C)
        Of a linear probe of the classes. The direction of a class is its weights less the mean over classes.
    classes : sequence of C str

    Returns
    -------
    pandas.DataFrame
        By autoencoder and class: what :func:`workbench.sae.absorption` gives, and ``rows``, the test rows of the class.
        A class that is missing in a part of the split, or along whose direction no latent writes, has no row.
    """
    import pandas as pd

    directions, rows = np.asarray(weights) - np.mean(weights, axis=1, keepdims=True), []
    choose, test = _some(split.train), _some(split.test)
    for name, sae in saes.items():
        z, decoder = np.asarray(sae.encode(x)), sae.decoder.cpu().numpy()
        for c, value in enumerate(classes):
            positive = np.asarray(labels) == value
            if any(positive[part].all() or not positive[part].any() for part in (choose, test)):
                continue
            found = absorption(z, decoder, directions[:, c], positive, choose=choose, test=test)
            if found["main"] >= 0:
                rows.append({"autoencoder": name, "class": value, "rows": int(positive[test].sum())} | found)
    columns = [
        "autoencoder",
        "class",
        "rows",
        "main",
        "carried",
        "fires",
        "false_alarms",
        "silent",
        "absorbed",
        "absorber",
    ]
    return pd.DataFrame(rows, columns=columns).set_index(["autoencoder", "class"])


def splitting_sentences(fates: pd.DataFrame, absorbed: pd.DataFrame) -> list[str]:
    """Which share of a small autoencoder's latents stay, split or go, and how many rows of a class are absorbed."""
    trained, bare, luck = (fates.loc[name] for name in (fates.index[0], "SAE, untrained", "shuffled"))
    explained = trained["one"] + trained["several"]
    told = f"Of {trained['latents']:.0f} latents of the small autoencoder {trained['one']:.0%} are one latent of the "
    told += f"large one and {trained['several']:.0%} only the sum of several; {trained['none']:.0%} are not explained."
    controls = f"Explained at all {explained:.0%}, by an untrained large one {bare['one'] + bare['several']:.0%}, with "
    controls += f"shuffled rows {luck['one'] + luck['several']:.0%}."
    sentences = [told, controls]
    if bare["one"] + bare["several"] >= explained:
        sentences.insert(0, "An untrained large autoencoder explains the small latents as well: this is no finding.")
    for name, rows in absorbed.groupby(level=0, sort=False):
        main = rows[rows["fires"] >= 0.5]
        if main.empty:
            sentences.append(f"{name}: no class has one latent that fires in half of its test rows.")
            continue
        share = np.average(main["absorbed"], weights=main["rows"])
        told = f"{name}: {len(main)} of {len(rows)} classes have a latent that fires in half of their test rows; "
        sentences.append(told + f"in {share:.1%} of {main['rows'].sum()} it is silent and another writes the class.")
    return sentences


# --- 3.2: by other measures ---------------------------------------------------------------------------------------

MEASURES = {
    "mig": "MIG",
    "sap": "SAP",
    "modularity": "modularity",
    "explicitness": "explicitness",
    "disentanglement": "DCI disentanglement",
    "completeness": "DCI completeness",
}
"""The metrics of section 3.2, as the figure calls them; for all of them more is better."""
PENALTY = 0.05
"""Penalty of the lasso behind DCI."""


def known_factors(clips: Clips, measured: object, split: Split, *, most: int = 5, bins: int = 4) -> pd.DataFrame:
    """The label and the factors of the clips as classes; where there are no factors, measured attributes.

    A column of numbers with more than twelve values is cut at the quantiles of its training rows into ``bins``. Left
    out is a column that has a gap, that is constant in a part of the split, that has a class in valid or test which is
    missing in train (no classifier could know it), or that follows from an earlier column.

    Parameters
    ----------
    clips : Clips
    measured : Attributes
        Of the same clips.
    split : Split
    most : int
        Most columns.
    bins : int

    Returns
    -------
    pandas.DataFrame
        int class numbers, a row a clip; without columns where none is left.
    """
    import pandas as pd

    table = pd.DataFrame({"label": clips.labels}, index=range(len(clips)))
    if clips.factors:
        table = table.join(clips.table[list(clips.factors)].reset_index(drop=True))
    else:
        table = table.join(pd.DataFrame(measured.values, columns=list(measured.names)))
    kept: dict[str, np.ndarray] = {}
    for name, column in table.items():
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if column.isna().any() or (numeric and not np.isfinite(column).all()):
            continue
        if numeric and column.nunique() > 12:
            values = column.to_numpy(float)
            edges = np.unique(np.quantile(values[split.train], np.arange(1, bins) / bins))
            values = np.searchsorted(edges, values, side="right")
        else:
            values = np.unique(column.astype(str) if column.dtype == object else column, return_inverse=True)[1]
        parts = [set(values[rows]) for rows in fitting(split, len(values)) if len(rows)]
        repeated = any(len(set(zip(values, other, strict=True))) == len(set(other)) for other in kept.values())
        if min(map(len, parts)) > 1 and all(part <= parts[0] for part in parts) and not repeated:
            kept[name] = values
        if len(kept) == most:
            break
    return pd.DataFrame(kept, index=range(len(clips)))


def _measures(z: np.ndarray, v: np.ndarray, train: np.ndarray, test: np.ndarray, *, explicit: bool) -> dict[str, float]:
    """Every metric of one code (N, d) and factors (N, K)."""
    z = z[:, (z[train] != z[train][0]).any(0)].astype(np.float64)
    z = z[:, (z[test] != z[test][0]).any(0)]
    if not z.shape[1]:
        return dict.fromkeys(MEASURES, np.nan)
    owner = np.concatenate([np.full(len(np.unique(factor[train])), j) for j, factor in enumerate(v.T)])
    told = np.column_stack([(factor[:, None] == np.unique(factor[train])) for factor in v.T]).astype(float)
    weights = lasso_importance(z[train], told[train], config="paper", alpha=PENALTY).R
    present = np.ptp(told[test], axis=0) > 0
    R = np.stack([weights[:, owner == j].sum(1) for j in range(v.shape[1])], 1)
    found = {
        "mig": mig(z[test], v[test], discrete=True).overall,
        "sap": sap(z[test], told[test][:, present], discrete=False).overall,
        "modularity": modularity(mutual_information(z[test], v[test], discrete=True)).overall,
        "disentanglement": disentanglement(R, zero="skip").overall,
        "completeness": completeness(R, base="all", zero=0).overall,
    }
    return found | {"explicitness": explicitness(z, v, split=(train, test)).overall if explicit else 0.5}


def _kinds(
    x: np.ndarray, inputs: object, sweeps: Mapping[str, object], layer: str, train: np.ndarray, lengths
) -> Iterator[tuple[str, float, int, np.ndarray]]:
    """Kind, sparsity, seed and code of the embedding, the sparse codes and the principal components."""
    yield "embedding", 0.0, 0, x
    wanted = {name: sweeps[name] for name in ("SAE", "SAE, untrained")}
    for code in codes(inputs, wanted, layer=layer, train=train, lengths=lengths):
        if code.kind != "random projection":
            yield code.kind, round(code.sparsity, 2), code.seed, code.z


def disentanglement_study(
    x: np.ndarray,
    factors: pd.DataFrame,
    sweeps: Mapping[str, object],
    split: Split,
    *,
    layer: str,
    inputs: object = None,
    lengths: np.ndarray | None = None,
    draws: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """Six metrics of disentanglement for the embedding, its sparse codes, and controls, each with its chance level.

    What is fitted (the classifier of explicitness, the lasso of DCI) is fitted on training rows; explicitness, SAP, MIG
    and modularity are of test rows. The lasso predicts each class of a factor, and the importance of a code for the
    factor is the sum of its absolute weights over these. SAP is the gap in squared correlation with each class.
    Numbers of a code that never change are left out. Factors are classes for every metric.

    Parameters
    ----------
    x : ndarray (N, D)
        Vectors of the clips.
    factors : pandas.DataFrame (N, K)
        Class numbers, as :func:`known_factors` gives them.
    sweeps : mapping
        Sweeps "SAE" and "SAE, untrained".
    split : Split
    layer : str
        Layer of the sweeps.
    inputs, lengths : array (rows, D) and ndarray (N,), optional
        For autoencoders of frames: the frames, and how many each clip has; a code is the mean over a clip's frames.
    draws : int
        Shuffles of the factors' rows, within train and within test, behind the chance level. That of explicitness is
        exactly .5 and is not drawn.
    seed : int
        Of the shuffles.

    Returns
    -------
    pandas.DataFrame
        Rows of kind, sparsity, seed, metric, value, chance and ``above``, their difference; empty without factors.
    """
    import pandas as pd

    columns = ["kind", "sparsity", "seed", "metric", "value", "chance", "above"]
    if factors.shape[1] == 0:
        return pd.DataFrame(columns=columns)
    v, rng, rows = factors.to_numpy(), np.random.default_rng(seed), []
    train, test = split.train, split.test
    shuffled = []
    for _ in range(draws):
        other = v.copy()
        for part in (train, test):
            other[part] = v[rng.permutation(part)]
        shuffled.append(other)
    for kind, sparsity, number, z in _kinds(
        np.asarray(x), x if inputs is None else inputs, sweeps, layer, train, lengths
    ):
        values = _measures(z, v, train, test, explicit=True)
        luck = pd.DataFrame([_measures(z, other, train, test, explicit=False) for other in shuffled]).mean()
        for name in MEASURES:
            above = values[name] - luck[name]
            rows.append((kind, sparsity, number, name, values[name], luck[name], above))
    return pd.DataFrame(rows, columns=columns)


def measures_figures(study: pd.DataFrame, *, title: str, factors: Sequence[str], rows: int) -> Iterator:
    """Two figures, a panel a metric above its chance level against sparsity; none where nothing was measured.

    Parameters
    ----------
    study : pandas.DataFrame
        Of :func:`disentanglement_study`.
    title : str
    factors : sequence of str
    rows : int
        Test rows: with few, MIG and modularity are mostly chance, which is said first.
    """
    if study.empty:
        return
    wide = study.pivot_table(index=["kind", "sparsity", "seed"], columns="metric", values="above", sort=False)
    wide = wide.reset_index()
    sparse, dense = wide[wide["kind"] != "embedding"], wide[wide["kind"] == "embedding"].iloc[0]
    few = f"{rows} test rows: MIG and modularity are mostly chance" if rows < 100 else None
    title = headed(f"{title}: {', '.join(factors)}", few)
    for some in (("mig", "sap", "explicitness"), ("modularity", "disentanglement", "completeness")):
        labels = {name: f"{MEASURES[name]} above chance" for name in some}
        levels = {name: {"embedding": dense[name]} for name in some}
        yield curves(sparse, x="sparsity", y=list(some), by="kind", levels=levels, labels=labels, title=title)


def measures_table(study: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of every metric and its chance level, by kind and sparsity."""
    import pandas as pd

    if study.empty:
        return pd.DataFrame()
    table = study.assign(metric=study["metric"].map(MEASURES))
    table = table.pivot_table(index=["kind", "sparsity"], columns="metric", values=["value", "chance"], sort=False)
    return table.reorder_levels([1, 0], axis=1)[
        [(name, of) for name in MEASURES.values() for of in ("value", "chance")]
    ]


def measures_sentences(study: pd.DataFrame, *, sparsity: float) -> list[str]:
    """Which metrics agree on the order of codes, and whether the trained code beats its controls by them."""
    if study.empty:
        return [
            "No property of these clips has all its classes in training and varies in every part: none is measured."
        ]
    coded = study.loc[study["kind"] == "SAE", "sparsity"]  # what k latents of so many leave, about what was asked for
    nearest = coded.iloc[(coded - sparsity).abs().argmin()]
    at = study[(study["kind"] == "embedding") | (study["sparsity"] == nearest)]
    by = {kind: rows.groupby("metric")["above"] for kind, rows in at.groupby("kind")}
    ours, count, sentences = by["SAE"], len(MEASURES), []
    for rival in ("SAE, untrained", "embedding", "principal components"):
        theirs = by[rival]
        above = [name for name in MEASURES if ours.min().get(name, np.nan) > theirs.max().get(name, np.nan)]
        below = [name for name in MEASURES if ours.max().get(name, np.nan) < theirs.min().get(name, np.nan)]
        told = f"The trained code beats {rival} with every seed by {len(above)} of {count} metrics"
        told += f" ({', '.join(MEASURES[name] for name in above)})" if above else ""
        told += f", and loses by {len(below)}" + (f" ({', '.join(MEASURES[n] for n in below)})" if below else "")
        sentences.append((len(below) > len(above), told + "."))
    sentences = [told for _, told in sorted(sentences, key=lambda pair: not pair[0])]  # a control that wins comes first
    wide = study.pivot_table(index=["kind", "sparsity", "seed"], columns="metric", values="above")
    rank = wide.corr("spearman")
    names = [name for name in MEASURES if name in rank]
    pairs = {(a, b): rank.loc[a, b] for i, a in enumerate(names) for b in names[i + 1 :] if np.isfinite(rank.loc[a, b])}
    if not pairs:
        return [*sentences, "No two metrics can be ranked against each other."]
    most, least = max(pairs, key=pairs.get), min(pairs, key=pairs.get)
    agree = sum(value >= 0.5 for value in pairs.values())
    told = f"Over {len(wide)} codes {agree} of {len(pairs)} pairs of metrics order them alike (rank correlation .5 or "
    told += f"more): most {MEASURES[most[0]]} and {MEASURES[most[1]]} ({pairs[most]:+.2f}), least "
    told += f"{MEASURES[least[0]]} and {MEASURES[least[1]]} ({pairs[least]:+.2f})."
    return [*sentences, told, "One split, so that there is no interval; seeds differ in the random start alone."]


def stability_results(table: pd.DataFrame, fates: pd.DataFrame, absorbed: pd.DataFrame) -> dict[str, object]:
    """What section 2.1 records."""
    keys = ["found_again", "low", "high", "weighted", "similarity", "chance"]
    return {
        "latents_found_again": {f"{a}, {by}": dict(row[keys]) for (a, by), row in table.iterrows()},
        "latents_split": {name: dict(row) for name, row in fates.iterrows()},
        "latents_absorbed": {
            name: float(np.average(rows["absorbed"], weights=rows["rows"]))
            for name, rows in absorbed.groupby(level=0, sort=False)
        },
    }


def measures_results(study: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What section 3.2 records: every metric above its chance level, means over seeds, by kind and sparsity."""
    if study.empty:
        return {}
    means = study.pivot_table(index=["kind", "sparsity"], columns="metric", values="above", sort=False)
    return {f"{kind}, {sparsity:g}": dict(row) for (kind, sparsity), row in means.iterrows()}
