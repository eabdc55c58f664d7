"""Part 3 of ``notebooks/sae.ipynb``: what a sparse code says of attributes, beside the embedding that it replaces."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..attributes import Attributes
from ..core.splits import Split
from ..metrics.intervals import jackknife_interval, members
from ..sae import attribute_study, best_attributes
from ..views import compared, curves, headed

if TYPE_CHECKING:
    import pandas as pd


def attribute_means(top: pd.DataFrame) -> pd.DataFrame:
    """Means over attributes of R², completeness and effective codes, of every kind, sparsity and protocol."""
    return top.groupby(["kind", "sparsity", "protocol"], sort=False)[["r2", "completeness", "codes"]].mean()


def attribute_curves(top: pd.DataFrame, *, clips: int, numbers: int, title: str):
    """The figure of part 3: means over attributes against sparsity, of every kind and protocol.

    Parameters
    ----------
    top : pandas.DataFrame
        Of :func:`workbench.sae.best_attributes`.
    clips, numbers : int
        Test clips, and numbers of the longest code: where these are more, the paper's recipe needs a caution.
    title : str
    """
    flat = attribute_means(top).reset_index().assign(code=lambda t: t["kind"] + ", " + t["protocol"])
    sparse, dense = flat[flat["kind"] != "embedding"], flat[flat["kind"] == "embedding"]
    levels = {y: dict(zip(dense["code"], dense[y], strict=True)) for y in ("r2", "completeness", "codes")}
    held_out = top[top["protocol"] == "held out"]
    count, picked = held_out["attribute"].nunique(), held_out["r2_valid"].notna().any()
    labels = {"r2": f"mean R² of {count} attributes", "completeness": "their completeness C"}
    labels |= {"codes": "their effective codes exp(H)"}
    title += f"the {count} chosen on validation" if picked else f"all {count}, as there was no validation to choose on"
    many = f"by the paper's recipe {numbers} numbers are fitted to {clips} clips, and R² is that of the same clips"
    return curves(
        sparse,
        x="sparsity",
        y=list(labels),
        by="code",
        levels=levels,
        labels=labels,
        title=headed(title, many if numbers >= clips else None),
    )


def attribute_margins(
    codes: Mapping[tuple[str, float], np.ndarray],
    measured: Attributes,
    top: pd.DataFrame,
    *,
    sparsity: float,
    split: Split,
    groups: np.ndarray,
    seed: int,
    blocks: int = 10,
) -> pd.DataFrame:
    """Completeness and effective codes of the trained code minus the embedding's, with intervals for other groups.

    The lasso is fitted again without each group of the clips that it is fitted to (or each block of groups, where there
    are more than ``blocks``), to the same attributes; the interval is the jackknife's. The codes stay as they are. In
    simulations with 4 to 20 groups a fit it holds the truth in 96 to 99 of 100 cases
    (``python tests/benchmarks/bench_coverage.py --only codes``).

    Parameters
    ----------
    codes : mapping of (kind, sparsity) to ndarray (N, d)
    measured : Attributes
        Of the same N clips.
    top : pandas.DataFrame
        Of :func:`workbench.sae.best_attributes`: the attributes that are averaged over.
    sparsity : float
        Of the codes that are compared with the embedding.
    split : Split
    groups : ndarray (N,)
    seed : int
        Of the choice of blocks.
    blocks : int
        At most so many fits.

    Returns
    -------
    pandas.DataFrame
        Rows "completeness", by the paper's recipe, and "codes", held out; columns ``difference``, ``low`` and ``high``
        (NaN with fewer than three groups) and ``untrained``, the difference of the untrained code.
    """
    import pandas as pd

    three = {key: codes[key] for key in (("embedding", 0.0), ("SAE", sparsity), ("SAE, untrained", sparsity))}
    means, rows = attribute_means(top), {}
    for column, protocol in (("completeness", "paper"), ("codes", "held out")):
        dense, ours, bare = (means.loc[(*key, protocol), column] for key in three)
        chosen = top[top["protocol"] == protocol].merge(pd.DataFrame(list(three), columns=["kind", "sparsity"]))
        kept = np.isin(measured.names, chosen["attribute"].unique())
        names = tuple(np.asarray(measured.names)[kept])
        few = dataclasses.replace(measured, names=names, values=measured.values[:, kept])
        fitted = split.test if protocol == "paper" else np.concatenate([split.train, split.valid])
        member = members(groups[fitted], len(fitted))
        rng, count = np.random.default_rng(seed), member.max() + 1
        block = (rng.permutation(count) % min(blocks, count))[member]
        pair, without = dict(list(three.items())[:2]), []
        for out in range(block.max() + 1 if count > 2 else 0):
            parts = Split(*(part[~np.isin(part, fitted[block == out])] for part in split))
            again = attribute_study(pair, few, split=parts, groups=groups, protocols=(protocol,))
            again = chosen[["kind", "sparsity", "attribute"]].merge(again, on=["kind", "sparsity", "attribute"])
            fewer = attribute_means(again)[column]
            without.append(fewer.loc[("SAE", sparsity, protocol)] - fewer.loc[("embedding", 0.0, protocol)])
        low = high = np.nan
        if len(without) > 1 and np.isfinite(without).all():
            drift = np.mean(without) - (ours - dense)  # fewer clips, fewer weights: not what other groups would change
            low, high = jackknife_interval(ours - dense, np.array(without) - drift, np.bincount(block))
        rows[column] = {"difference": ours - dense, "low": low, "high": high, "untrained": bare - dense}
    return pd.DataFrame.from_dict(rows, orient="index")


def attribute_sentences(top: pd.DataFrame, margins: pd.DataFrame, *, sparsity: float) -> list[str]:
    """The trained code against the embedding and the untrained code: completeness, R² and effective codes."""
    ours, sentences = ("SAE", sparsity), []
    each = top[top["protocol"] == "held out"].set_index(["kind", "sparsity", "attribute"]).sort_index()
    for rival in (("embedding", 0.0), ("SAE, untrained", sparsity)):
        sentences.append(f"Held out, {_beside(each.loc[ours], each.loc[rival], rival[0])}")
    asked = {"completeness": ("Completeness by the paper's recipe", 2), "codes": ("Effective codes, held out", 0)}
    for name, (of, digits) in asked.items():
        row = margins.loc[name]
        words = {"of": of, "factor": 1, "unit": "", "digits": digits, "missing": "the fit has fewer than three groups"}
        told = compared("the trained SAE", "the embedding", row[["difference", "low", "high"]], **words)
        sentences.append(f"{told} The untrained SAE's difference from the embedding is {row['untrained']:+.{digits}f}.")
    return [*sentences, f"Sparsity {sparsity:.0%}. The intervals are for a fit to other groups, with the same codes."]


def attribute_rows(margins: pd.DataFrame) -> list[tuple]:
    """Completeness and effective codes, of which fewer are better, as main results, from :func:`attribute_margins`."""
    texts = {
        "completeness": "Completeness of the sparse code minus the embedding's, by the paper's recipe",
        "codes": "Effective codes of an attribute in the sparse code minus those in the embedding, held out",
    }
    return [
        (texts[name], *row[["difference", "low", "high"]], f"the untrained code's {row['untrained']:+.2g}")
        for name, row in margins.iterrows()
    ]


def _beside(a: pd.DataFrame, b: pd.DataFrame, name: str) -> str:
    """R² and effective codes of the trained code a and of a rival b, attribute by attribute."""
    return (
        f"trained SAE and {name}: R² {a['r2'].mean():.2f} and {b['r2'].mean():.2f}, higher for "
        f"{(a['r2'] > b['r2']).sum()} of {len(a)} attributes; effective codes {a['codes'].mean():.0f} and "
        f"{b['codes'].mean():.0f}, fewer for {(a['codes'] < b['codes']).sum()}."
    )


def entropy_table(study: pd.DataFrame, names: Sequence[str], bits: np.ndarray, *, sparsity: float) -> pd.DataFrame:
    """Attributes of the trained code at one sparsity, held out, with the entropy of each; without those that lack one.

    Parameters
    ----------
    study : pandas.DataFrame
        Of :func:`workbench.sae.attribute_study`.
    names : sequence of A str
    bits : ndarray (A,)
        Entropies.
    sparsity : float
    """
    rows = (study["kind"] == "SAE") & (study["protocol"] == "held out") & (study["sparsity"] == sparsity)
    at, entropy = study[rows].set_index("attribute"), dict(zip(names, bits, strict=True))
    return at.assign(entropy=[entropy[name] for name in at.index]).dropna(subset=["entropy", "completeness"])


def entropy_sentences(table: pd.DataFrame) -> list[str]:
    """Whether attributes that hardly vary are those that few numbers explain."""
    rank = table[["entropy", "completeness"]].corr("spearman").iloc[0, 1]
    if math.isnan(rank):
        return [
            f"{len(table)} attributes have an entropy and a completeness: too few, or too much alike, to correlate."
        ]
    told = f"Rank correlation of entropy and completeness over {len(table)} attributes: {rank:+.2f}."
    return [told, "Attributes of a family measure nearly the same, so this number has no interval."]


def truth_table(codes: Mapping, exact: Attributes | None, *, sparsity: float, n: int = 15, **study: object):
    """R² and effective codes of known factors, from the embedding and from both codes at one sparsity.

    Parameters
    ----------
    codes : mapping of (kind, sparsity) to ndarray (N, d)
    exact : Attributes or None
        The factors of the same clips; None where the table has none.
    sparsity : float
    n : int
        At most so many factors, those that validation finds best explained.
    **study
        ``split`` and ``groups`` of :func:`workbench.sae.attribute_study`.

    Returns
    -------
    pandas.DataFrame
        A row a factor, columns (r2 or codes, kind); empty where no factor varies in every part of the split.
    """
    import pandas as pd

    both = {key: z for key, z in codes.items() if key == ("embedding", 0.0) or key[1] == sparsity}
    rows = None if exact is None else attribute_study(both, exact, protocols=("held out",), **study)
    if rows is None or rows.empty:
        return pd.DataFrame()
    best = best_attributes(rows, n=n)
    return best.pivot_table(index="attribute", columns="kind", values=["r2", "codes"], sort=False)


def truth_sentences(table: pd.DataFrame) -> list[str]:
    """Whether known factors are read from fewer numbers of the trained code than of the embedding."""
    if table.empty:
        return ["No factor of these clips is known that varies in every part of the split: nothing can be compared."]
    pairs = {name: table[name][["SAE", "embedding"]].dropna() for name in ("r2", "codes")}
    words = {"r2": ("R²", "higher", np.greater, "{:.2f}"), "codes": ("Effective codes", "fewer", np.less, "{:.0f}")}
    sentences = []
    for name, (quantity, better, sign, form) in words.items():
        both = pairs[name]
        a, b = (form.format(both[kind].mean()) for kind in ("SAE", "embedding")) if len(both) else ("none", "none")
        count = sign(both["SAE"], both["embedding"]).sum()
        sentences.append(
            f"{quantity} of the trained SAE {a}, of the embedding {b}; {better} for {count} of {len(both)}."
        )
    return [*sentences, "One fit a code: there is no interval, and factors that go together count more than once."]
