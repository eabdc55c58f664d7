"""Sections 5.1 and 5.2 of ``notebooks/sae.ipynb``: erase a concept, steer to it, and ask the rest of the network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import close_match
from ..core.errors import ParameterError
from ..core.splits import Split
from ..embeddings import embed
from ..encoders import splice
from ..metrics.classification import roc_auc, roc_auc_interval
from ..metrics.intervals import group_interval
from ..probes import Probes, fit_probes
from ..sae import LatentRemoval, erasure_curve, fit_eraser, steering_curve
from ..views import compared, curves
from .sae_names import told_in

if TYPE_CHECKING:
    import pandas as pd

    from ..attributes import Attributes
    from ..datasets import Clips
    from ..embeddings import Embeddings
    from ..encoders import Encoder
    from ..sae import SparseAutoencoder

LATENTS, RANDOM, LEACE, MEANS = "latents", "random latents", "LEACE", "class means"
"""What is removed, as the tables of :mod:`workbench.sae` call it."""
PENALTIES = (0.5, 14.0, 380.0, 10000.0)
"""Penalties that validation chooses from for a new probe."""
ERASED = 0.1
"""A concept counts as erased where at most this share of what its AUC lay above one half is left."""
MOST = 80
"""At most so many training clips, and test clips, go through the rest of the network again."""
NO_INTERVAL = "the test clips have too few groups for an interval"
WORDS = ("auc", "LEACE", "class means", "fixed", "less", "over", "portion", "random latents", "shift")
"""What the glossary adds for these sections."""


# --- 5.1 ----------------------------------------------------------------------------------------------------------


def best_read(x: np.ndarray, y: ArrayLike, split: Split, **options: object) -> str:
    """The class that a probe tells best from all others on the validation clips; the commonest without such clips.

    Parameters
    ----------
    x : ndarray (N, D)
    y : (N,) labels
    split : Split
        Its test clips are not used.
    **options
        ``groups`` and ``device`` of :func:`workbench.fit_probes`.
    """
    y = np.asarray(y)
    names, sizes = np.unique(y[split.train], return_counts=True)
    areas = dict(zip(names.tolist(), sizes / len(y), strict=True))  # without validation, by their sizes
    for name in areas if len(split.valid) else ():
        has, rows = y == name, Split(split.train, np.array([], int), split.valid)
        if 0 < has[split.valid].sum() < len(split.valid) and len(names) > 1:
            probe = fit_probes({"": x}, has, rows, penalties=PENALTIES[1:3], **options)
            areas[name] = 1 + roc_auc(_scores(probe, 0, x[split.valid]), has[split.valid])
    return max(areas, key=areas.get)


_NUMBER = r"[-+]?\d*\.?\d+(?:e[-+]?\d+)?"
_RANGE = re.compile(
    rf"(?P<column>.+?)\s+(?:below\s+(?P<high>{_NUMBER})|from\s+(?P<low>{_NUMBER})|"
    rf"(?P<from>{_NUMBER})\s+to\s+(?P<to>{_NUMBER}))(?:\s+(?P<unit>\D.*))?"
)
SHOWN = 20
"""Most classes or levels that an error lists."""


class Concept(NamedTuple):
    """What a clip has or lacks."""

    name: str
    """The class, or the range or level of a column."""
    has: np.ndarray
    """Bool (N,)."""
    labels: np.ndarray
    """What clips are called (N,): their class, or the name and "not" with the name."""


def concept_of(
    asked: str, x: np.ndarray, clips: Clips, measured: Attributes, split: Split, **options: object
) -> Concept:
    """A class, or what a column or a measured attribute says of each clip, in the words of a latent's name.

    Parameters
    ----------
    asked : str
        A class; "vowel: a" of a column; "f0_median below 176 Hz", "midi from 60" or "midi 60 to 72" (the upper end is
        left out) of an attribute or of a column of numbers, which a clip lacks where it is not defined; or "" for the
        class of :func:`best_read`. Pitch is in Hz.
    x, clips, measured, split, **options
        Embedding (N, D), the N clips, what was measured of them, and what :func:`best_read` takes.

    Raises
    ------
    ParameterError
        There is no such class, column, level or unit, or all clips have the concept, or none does.
    """
    asked = asked.strip() or str(best_read(x, clips.labels, split, **options))
    classes = clips.labels.astype(str)
    if asked in classes:
        return Concept(asked, classes == asked, clips.labels)
    has = _within(asked, clips, measured)
    has = _level(asked, clips) if has is None else has
    if has is None:
        ways = "'column: level', 'column below 1', 'column from 1' or 'column 1 to 2'"
        known = ", ".join(sorted(set(classes))[:SHOWN])
        raise ParameterError("concept", asked, f"a class ({known}), {ways}{close_match(asked, set(classes))}")
    if has.all() or not has.any():
        raise ParameterError("concept", asked, f"true of some clips and false of others; it is of {has.sum()}")
    return Concept(asked, has, np.where(has, asked, f"not {asked}"))


def _level(asked: str, clips: Clips) -> np.ndarray | None:
    column, colon, level = (part.strip() for part in asked.partition(":"))
    if not colon:
        return None
    if column not in clips.table:
        raise ParameterError(
            "concept", column, f"a column ({', '.join(clips.table)}){close_match(column, clips.table)}"
        )
    levels = clips.table[column].astype(str).to_numpy()
    if level not in levels:
        known = sorted(set(levels))
        listed = ", ".join(known[:SHOWN])
        raise ParameterError("concept", asked, f"a level of {column} ({listed}){close_match(level, known)}")
    return levels == level


def _within(asked: str, clips: Clips, measured: Attributes) -> np.ndarray | None:
    """Whether a number lies in a range, bool (N,); None where no range is asked for."""
    import pandas as pd

    if (found := _RANGE.fullmatch(asked)) is None:
        return None
    column, unit = found["column"], found["unit"] or ""
    own = [name for name in clips.table if pd.api.types.is_numeric_dtype(clips.table[name])]
    if column in measured.names:
        numbers, told = np.full(len(clips), np.nan), told_in(measured, column)
        numbers[measured.valid] = told[0]
        if unit not in ("", told[1]):
            raise ParameterError("concept", asked, f"a number in {told[1]}" if told[1] else "a number without a unit")
    elif column in own and not unit:
        numbers = clips.table[column].to_numpy(float)
    else:
        known = [*own, *measured.names]
        raise ParameterError("concept", asked, f"a column of numbers ({', '.join(known)}){close_match(column, known)}")
    low, high = (float(found[a] or found[b] or end) for a, b, end in (("low", "from", -np.inf), ("high", "to", np.inf)))
    return (numbers >= low) & (numbers < high)


def also_read(clips: Clips, split: Split, *, most: int = 1) -> dict[str, np.ndarray]:
    """What else an erasure may cost: the other classes, and factors of two to twelve levels that no group gives away.

    Parameters
    ----------
    clips : Clips
    split : Split
    most : int
        At most so many factors, in the table's order.
    """
    found, groups = {"other classes": clips.labels}, clips.groups()
    for name in clips.factors:
        column = clips.table[name]
        if len(found) > most or column.isna().any() or not 2 <= column.nunique() <= 12:
            continue
        levels = column.astype(str).to_numpy()
        of_group = all(len(set(levels[groups == group])) == 1 for group in set(groups.tolist()))
        both = set(levels[split.train].tolist()) & set(levels[split.test].tolist())
        if not of_group and len(both) > 1 and not _same(levels, clips.labels):
            found[name] = levels
    return found


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two columns of labels divide the clips alike."""
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


def concept_curve(
    x: np.ndarray, z: np.ndarray, sae: SparseAutoencoder, clips: Clips, concept: np.ndarray, split: Split, **options
) -> pd.DataFrame:
    """:func:`workbench.sae.erasure_curve` of one concept, with the other classes and a factor beside it; or no row.

    The table is empty where training or test clips have the concept all or not at all.
    """
    import pandas as pd

    if any(not 0 < concept[rows].sum() < len(rows) for rows in (split.train, split.test)):
        return pd.DataFrame()
    decoder = np.asarray(sae.decoder)
    return erasure_curve(x, z, decoder, concept, split, others=also_read(clips, split), **options)


def enough(table: pd.DataFrame, *, kind: str = LATENTS, by: str = "auc") -> int | None:
    """The fewest latents after which at most a tenth of what lay above one half is left; None if none were enough.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`concept_curve`.
    kind : str
        "latents" or "random latents".
    by : {"auc", "fixed"}
        Judged by a new probe, or by the one from before.
    """
    before = table.loc[table["latents"] == 0, by].iloc[0]
    rows = table[(table["removed"] == kind) & (table["latents"] > 0)]
    done = rows.loc[rows[by] - 0.5 <= ERASED * (before - 0.5), "latents"]
    return int(done.iloc[0]) if len(done) else None


def taken(table: pd.DataFrame) -> list[int]:
    """The latents that are removed in 5.2: as few as erase the concept; else, of at most half, what leaves least of it.

    Where a new probe finds no difference of 0.01, the probe from before decides.
    """
    n = enough(table)
    if n is None:
        rows = table[(table["removed"] == LATENTS) & (table["latents"] > 0)]
        half = rows[rows["portion"] <= 0.5] if (rows["portion"] <= 0.5).any() else rows
        n = int(half.assign(auc=half["auc"].round(2)).sort_values(["auc", "fixed"], kind="stable")["latents"].iloc[0])
    return table.attrs["latents"][:n]


def erasure_figure(table: pd.DataFrame, *, concept: str, title: str):
    """How well the concept, and what else there is, are read after more and more latents are removed."""
    rest = [name for name in _rest(table) if table[name].notna().any()]
    lines, dense = table[table["latents"] >= 0], table[table["latents"] < 0].set_index("removed")
    levels = {"auc": {kind: tuple(row[["auc", "low", "high"]]) for kind, row in dense.iterrows()}}
    levels["auc"]["not read"] = 0.5
    levels |= {name: {kind: row[name] for kind, row in dense.iterrows()} for name in rest}
    labels = {"latents": "latents removed", "auc": f"AUC of a new probe of {concept}"}
    labels |= {name: f"balanced accuracy, {name}" for name in rest}
    return curves(lines, x="latents", y=["auc", *rest], by="removed", levels=levels, labels=labels, title=title)


def erasure_rows(table: pd.DataFrame, *, concept: str) -> list[tuple]:
    """How well the concept is read after its latents are removed, as a main result; none where nothing was erased."""
    if table.empty:
        return []
    at, n = table.set_index(["removed", "latents"]), len(taken(table))
    row, others = at.loc[(LATENTS, n)], {"before": at.loc[(LATENTS, 0), "auc"], "LEACE": at.loc[(LEACE, -1), "auc"]}
    if (RANDOM, n) in at.index:
        others["as many random ones"] = at.loc[(RANDOM, n), "auc"]
    control = ", ".join(f"{name} {auc:.2f}" for name, auc in others.items())
    text = "AUC of a new probe of the erased concept after its latents are removed"
    return [
        (text, *row[["auc", "low", "high"]], f"{concept}, {n} of {table.attrs['active']} active latents; {control}")
    ]


def _rest(table: pd.DataFrame) -> list[str]:
    own = "removed latents portion auc low high fixed moved less less_low less_high".split()
    return [name for name in table.columns if name not in own]


def erasure_sentences(
    table: pd.DataFrame, *, concept: str, names: Mapping[int, tuple[str, str]] | None = None
) -> list[str]:
    """How few latents erase the concept, against random ones and the dense vector, and what else is lost.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`concept_curve`.
    concept : str
        How the concept is called.
    names : mapping of latent to (name, score), optional
        Names of latents that hold, of :func:`~workbench.lessons.sae_names.latent_names`.
    """
    if table.empty:
        return [f"Training and test clips do not both have clips with and without {concept}: nothing can be erased."]
    at, active = table.set_index(["removed", "latents"]), table.attrs["active"]
    before = at.loc[(LATENTS, 0)]
    if not before["low"] > 0.5:
        why = "is not shown to be read" if np.isfinite(before["low"]) else f"has no interval, as {NO_INTERVAL}"
        told = [
            f"Before anything is removed, {concept} {why}: {_area_of(before)}, {table.attrs['groups']} test groups."
        ]
        if before["auc"] < 0.6:
            return [f"{told[0]} There is nothing to erase."]
    else:
        told = [f"Before anything is removed a new probe reads {concept} in unseen groups: {_area_of(before)}."]
    n, luck = enough(table), enough(table, kind=RANDOM)
    if luck is not None and (n is None or luck <= n):
        told.insert(0, f"{luck} random latents that push as far erase it as well: any push of that length would do.")
    if n is None:
        least = table[(table["removed"] == LATENTS) & (table["latents"] > 0)]
        least = least.loc[least["auc"].idxmin()]
        told.append(
            f"No number of latents that was tried erases it: the least is left after {least['latents']:.0f} of "
            f"{active} active ones ({least['portion']:.0%}), {_area_of(least)}."
        )
        n = len(taken(table))
    else:
        row = at.loc[(LATENTS, n)]
        told.append(f"{n} of {active} active latents ({row['portion']:.1%}) erase it: {_area_of(row)}.")
    row = at.loc[(LATENTS, n)]
    if np.isfinite(row["less"]):
        words = {"of": f"After {n} latents are removed, AUC", "factor": 1, "unit": "", "digits": 2}
        difference = row[["less", "less_low", "less_high"]].astype(float)
        told.append(
            compared(
                "that after the concept's latents", "that after random ones", difference, missing=NO_INTERVAL, **words
            )
        )
    else:
        told.append(f"No random latents can push as far as these {n} do, so that the comparison with them is missing.")
    told.append(f"In the dense vector, LEACE leaves {_area_of(at.loc[(LEACE, -1)])}; ")
    told[-1] += f"the projection along the class means {_area_of(at.loc[(MEANS, -1)])}."
    for name in _rest(table):
        if np.isfinite(before[name]):
            after = {f"{n} latents": row[name], "LEACE": at.loc[(LEACE, -1), name]}
            if (RANDOM, n) in at.index:
                after[f"{n} random ones"] = at.loc[(RANDOM, n), name]
            costs = ", ".join(f"after {of} {value:.2f}" for of, value in after.items())
            told.append(f"Balanced accuracy of {name}, where the concept is not: before {before[name]:.2f}, {costs}.")
    ranked, names = table.attrs["latents"][:8], names or {}
    first = [f'{latent} "{names[latent][0]}"' if latent in names else f"{latent}" for latent in ranked]
    told.append(f"The first to be removed are the latents {', '.join(first)}.")
    if names:
        count = sum(latent in names for latent in ranked)
        told[-1] += (
            f" {count} of these {len(ranked)} have a name that holds, and {len(names)} of all {active} have one."
        )
    blind = enough(table, by="fixed")
    blinded = "no number of them" if blind is None else f"{blind} of them"
    told.append(f"Judged by the probe from before alone, {blinded} would have erased it.")
    return told


def _area_of(row) -> str:
    bounds = "" if not np.isfinite(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return f"AUC {row['auc']:.2f}{bounds}"


def steering(*codes: np.ndarray, target: str, **asked: object) -> pd.DataFrame:
    """:func:`workbench.sae.steering_curve`, or no row where it cannot be asked: a code without two active latents."""
    import pandas as pd

    try:
        return steering_curve(*codes, target=target, **asked)
    except ParameterError as error:
        table = pd.DataFrame()
        table.attrs["problem"] = str(error)
        return table


def steering_figure(table: pd.DataFrame, *, target: str, title: str):
    """How likely, and how often named, the target is at each dose along each direction."""
    labels = {"dose": "dose (spreads)", "probability": f"probability of {target}", "named": f"share called {target}"}
    return curves(table, x="dose", y=["probability", "named"], by="kind", labels=labels, title=title)


def steering_sentences(table: pd.DataFrame, *, target: str) -> list[str]:
    """How large a dose makes the probe give half of the other clips the target's name, along each direction."""
    if table.empty:
        return [f"Clips cannot be steered to {target}: {table.attrs['problem']}."]
    doses = {}
    for kind, rows in table.groupby("kind", sort=False):
        reached = rows.loc[rows["named"] >= 0.5, "dose"]
        doses[kind] = f"{reached.min():g}" if len(reached) else f"none up to {rows['dose'].max():g}"
    names = {LATENTS: "its latents", RANDOM: "random latents", MEANS: "the difference of class means"}
    told = ", ".join(f"{names[kind]} {dose}" for kind, dose in doses.items())
    first = f"Dose at which half of the other clips are called {target}, along: {told}."
    largest = table[table["dose"] == table["dose"].max()].set_index("kind")
    words = {"of": f"Probability of {target} at dose {table['dose'].max():g}", "missing": NO_INTERVAL}
    return [first] + [
        compared(
            f"that along {names[kind]}",
            f"that along {names[RANDOM]}",
            largest.loc[kind, ["over", "over_low", "over_high"]].astype(float),
            **words,
        )
        for kind in (LATENTS, MEANS)
    ]


# --- 5.2 ----------------------------------------------------------------------------------------------------------


def no_rest(network: Encoder, layer: str) -> str:
    """Why nothing of the network can be run after a layer, as a sentence; empty where it can."""
    if network.select(layer)[0] == len(network.layers) - 1 and not hasattr(network, "tags"):
        return f"Layer {layer} is the last one of {network.name}: no rest of the network is left to ask."
    try:
        splice(network, layer, _same_frames)
    except ParameterError as error:
        return f"The rest of {network.name} cannot be run with layer {layer} changed: {error}"
    return ""


def _same_frames(frames, lengths):
    return frames


def rest_of_network(
    clips: Clips,
    network: Encoder,
    embeddings: Embeddings,
    sae: SparseAutoencoder,
    latents: Sequence[int],
    *,
    layer: str,
    concept: np.ndarray,
    target: str,
    probes: Probes,
    split: Split,
    unit: str,
    seconds: float | None = None,
    seed: int = 0,
    device: str = "auto",
) -> pd.DataFrame:
    """Remove latents in one layer and run the rest of the network; against random latents, and LEACE in every frame.

    Parameters
    ----------
    clips : Clips
        At most :data:`MOST` of its training and validation clips, drawn at random, and of its test clips go through.
    network : Encoder
    embeddings : Embeddings
        Clip vectors of every layer.
    sae : SparseAutoencoder
        Of the layer.
    latents : sequence of int
    layer : str
    concept : ndarray, bool (N,)
        What the latents speak for; LEACE is fitted to it.
    target : label
        Its name: the class whose probability is followed.
    probes : Probes
        Of every layer, which have that class, fitted before; the weights of the first split are used.
    split : Split
    unit : {"clip", "frame"}
        What the autoencoder codes.
    seconds : float, optional
        As in :func:`workbench.embed`.
    seed : int
    device : str

    Returns
    -------
    pandas.DataFrame
        A row for what was removed ("nothing", "latents", "random latents", "LEACE") and each layer from this one on.
        ``position``: the layer's place. ``moved``: mean distance of the test clips' vectors from those before,
        relative to the layer's spread. ``auc``, ``low``, ``high``: of a new probe of the concept. ``shift``: change of
        the target's probability by the old probe, on its own test clips; ``flips``: share of all test clips whose
        decision changes; ``over``, ``over_low``, ``over_high``: ``shift`` less that by random latents. Of a tagger,
        ``attrs["tags"]`` maps what was removed to the summed change of all tags' probabilities in each of the target's
        test clips, and ``attrs["groups"]`` are their groups. ``attrs["bypassed"]`` are later layers that read around
        this one.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    fit = rng.permutation(np.concatenate([split.train, split.valid]))[:MOST]
    test = np.sort(rng.permutation(split.test)[:MOST])
    rows = np.concatenate([np.sort(fit), test])
    some, has, groups = clips.take(rows), concept[rows], clips.groups()[rows]
    part = Split(np.arange(len(fit)), np.array([], int), np.arange(len(fit), len(rows)))
    at = network.select(layer)[0]
    after = [each.name for each in network.layers[at:]]
    unit_x = embeddings.layer(layer)[np.concatenate([split.train, split.valid])]
    eraser = fit_eraser(unit_x, concept[np.concatenate([split.train, split.valid])])
    changes = {
        LATENTS: LatentRemoval(sae, latents, unit),
        RANDOM: LatentRemoval(sae, latents, unit, seed),
        LEACE: eraser,
    }
    spliced = {name: splice(network, layer, change) for name, change in changes.items()}
    before = {name: embeddings.layer(name)[rows] for name in after}
    vectors = {"nothing": before}
    for name, encoder in spliced.items():
        found = embed(some, encoder, layers=after, seconds=seconds)
        vectors[name] = {each: found.layer(each) for each in after}
    table, own, c = [], part.test[has[part.test]], list(probes.classes).index(target)
    told = {}
    for name, each in vectors.items():
        new = _new_probes(each, has, part, groups, device)
        for i, of in enumerate(after, at):
            x, x0 = each[of][part.test], before[of][part.test]
            spread = np.sqrt(x0.var(0).sum())
            old, now = (_asked(probes, of, v[own]) for v in (before[of], each[of]))
            told[name, of] = now[:, c] - old[:, c]
            flips = _asked(probes, of, x).argmax(1) != _asked(probes, of, x0).argmax(1)
            row = {"removed": name, "layer": of, "position": i, "shift": told[name, of].mean() if len(own) else np.nan}
            row |= {"moved": np.linalg.norm(x - x0, axis=1).mean() / spread, "flips": flips.mean()}
            table.append(row | dict(zip(("auc", "low", "high"), new[of], strict=True)))
    table = pd.DataFrame(table)
    for i, row in table[table["removed"].isin([LATENTS, LEACE])].iterrows():
        over = told[row["removed"], row["layer"]] - told[RANDOM, row["layer"]]
        bounds = group_interval(over, groups[own], limits=(-1, 1)) if len(own) else (np.nan, np.nan)
        table.loc[i, ["over", "over_low", "over_high"]] = [over.mean() if len(own) else np.nan, *bounds]
    table.attrs["bypassed"] = list(spliced[LATENTS].bypassed)
    table.attrs["groups"] = groups[own].tolist()
    if hasattr(network, "tags") and len(own):
        tags = {name: network.tags(each[after[-1]][own]) for name, each in vectors.items()}
        moved = {name: np.abs(p - tags["nothing"]).sum(1).tolist() for name, p in tags.items() if name != "nothing"}
        table.attrs["tags"] = moved
        table.attrs["top"] = {
            name: float((p.argmax(1) != tags["nothing"].argmax(1)).mean()) for name, p in tags.items()
        }
    return table


def _new_probes(layers: Mapping[str, np.ndarray], has: np.ndarray, part: Split, groups: np.ndarray, device: str):
    """AUC with its interval of a new probe of each layer; NaN where the drawn clips do not allow one."""
    if any(not 0 < has[rows].sum() < len(rows) for rows in (part.train, part.test)):
        return dict.fromkeys(layers, (np.nan,) * 3)
    found = fit_probes(layers, has, part, groups=groups, device=device, penalties=PENALTIES, progress=False)
    return {
        name: roc_auc_interval(_scores(found, i, x[part.test]), has[part.test], groups[part.test])
        for i, (name, x) in enumerate(layers.items())
    }


def _scores(probes: Probes, at: int, x: np.ndarray) -> np.ndarray:
    """Scores (n,) of "True" by a probe with two answers."""
    weights = probes.weights[at][0]
    return x.astype(np.float64) @ (weights[:, 1] - weights[:, 0])


def _asked(probes: Probes, layer: str, x: np.ndarray) -> np.ndarray:
    """Probabilities (n, C) by the probe of a layer that was fitted before."""
    at = probes.position(layer)
    logits = x.astype(np.float64) @ probes.weights[at][0] + probes.bias[at][0]
    logits = np.exp(logits - logits.max(1, keepdims=True))
    return logits / logits.sum(1, keepdims=True)


def rest_figure(table: pd.DataFrame, *, target: str, title: str):
    """How far later layers move, whether a new probe reads the concept there, and what the old one says."""
    labels = {"position": "layer (its place)", "moved": "moved (spreads of the layer)", "auc": "AUC of a new probe"}
    labels["shift"] = f"change of the old probe's {target}"
    shown = [name for name in ("moved", "auc", "shift") if table[name].notna().any()]
    levels = {"auc": {"not read": 0.5}} if "auc" in shown else None
    table = table.sort_values("removed", key=lambda removed: removed == "nothing", kind="stable")  # colours as in 5.1
    return curves(table, x="position", y=shown, by="removed", levels=levels, labels=labels, title=title)


def rest_sentences(table: pd.DataFrame, *, target: str) -> list[str]:
    """Whether what was removed is still gone at the network's end, against random latents and LEACE."""
    at = table.set_index(["removed", "layer"])
    layers = table["layer"].unique()
    first, last = layers[0], layers[-1]
    told = []
    if table.attrs["bypassed"]:
        around = ", ".join(table.attrs["bypassed"])
        told.append(f"Layers {around} also read what comes before layer {first}, around the removal.")
    if len(layers) > 1:
        told.append(
            f"From layer {first} to {last} the displacement goes from {at.loc[(LATENTS, first), 'moved']:.2f} to "
            f"{at.loc[(LATENTS, last), 'moved']:.2f} spreads; by random latents from "
            f"{at.loc[(RANDOM, first), 'moved']:.2f} to {at.loc[(RANDOM, last), 'moved']:.2f}."
        )
    if np.isfinite(at.loc[("nothing", last), "auc"]):
        names = ("nothing", LATENTS, RANDOM, LEACE)
        ends = {name: [at.loc[(name, layer)] for layer in dict.fromkeys((first, last))] for name in names}
        areas = [f"{name} {', then '.join(map(_area_of, rows))}" for name, rows in ends.items()]
        where = f"layer {first} and in layer {last}" if len(layers) > 1 else f"layer {first}"
        told.append(f"A new probe of {target} in {where}, after the removal in layer {first} of: {'; '.join(areas)}.")
        for name in (LATENTS, LEACE) if len(layers) > 1 else ():
            (gone, back), (was, end) = ([row["auc"] - 0.5 for row in ends[each]] for each in (name, "nothing"))
            if gone <= ERASED * was and back >= 0.5 * end > 0:
                told.append(f"What {name} takes out of layer {first} is read again in layer {last}.")
    if np.isfinite(at.loc[(LATENTS, last), "over"]):
        words = {"of": f"Change of the probability of {target} by the old probe of layer {last}"}
        over = at.loc[(LATENTS, last), ["over", "over_low", "over_high"]].astype(float)
        told.append(compared("that by the latents", "that by random ones", over, missing=NO_INTERVAL, **words))
        flips = {name: f"{name} {at.loc[(name, last), 'flips']:.0%}" for name in (LATENTS, RANDOM, LEACE)}
        told.append(f"Decisions of that probe that change, of all test clips: {', '.join(flips.values())}.")
    if "tags" in table.attrs:
        moved = {name: np.array(values) for name, values in table.attrs["tags"].items()}
        less, groups = moved[LATENTS] - moved[RANDOM], np.array(table.attrs["groups"])
        difference = [less.mean(), *(group_interval(less, groups) if len(set(groups)) > 1 else (np.nan, np.nan))]
        words = {"of": "Summed change of the probabilities of its 527 tags", "factor": 1, "unit": "", "digits": 3}
        told.append(compared("that by the latents", "that by random ones", difference, missing=NO_INTERVAL, **words))
        top = ", ".join(f"{name} {table.attrs['top'][name]:.0%}" for name in (LATENTS, RANDOM, LEACE))
        told.append(f"Clips of {target} whose first tag changes: {top}.")
    return told


def cause_results(erased: pd.DataFrame, steered: pd.DataFrame, rest: pd.DataFrame | None) -> dict[str, object]:
    """What 5.1 and 5.2 record."""
    if erased.empty:
        return {}
    at = erased.set_index(["removed", "latents"])
    found = {
        "erased_by_latents": enough(erased),
        "active_latents": erased.attrs["active"],
        "erasure_auc": {f"{kind}, {n}": value for (kind, n), value in at["auc"].items()},
        "steered": {f"{row.kind}, {row.dose:g}": row.named for row in steered.itertuples()},
    }
    if rest is not None:
        found["rest_auc"] = {f"{row.removed}, {row.layer}": row.auc for row in rest.itertuples()}
        found["rest_shift"] = {f"{row.removed}, {row.layer}": row.shift for row in rest.itertuples()}
    return found
