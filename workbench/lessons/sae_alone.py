"""Part 5 of ``notebooks/sae.ipynb``: a single latent that has a name, removed alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import ParameterError
from ..core.splits import Split
from ..metrics.classification import roc_auc
from ..metrics.intervals import group_interval
from ..probes import fit_probes
from .sae import head
from .sae_cause import concept_of

if TYPE_CHECKING:
    import pandas as pd

    from ..attributes import Attributes
    from ..datasets import Clips
    from ..sae import SparseAutoencoder

COLUMNS = ["name", "name score", "clips", "auc", "alone", "low", "high", "as much"]
LUCK = 0.05
"""A latent stands out if at most this share of all others takes as much."""


def alone_table(
    x: np.ndarray,
    z: np.ndarray,
    sae: SparseAutoencoder,
    clips: Clips,
    measured: Attributes,
    names: Mapping[int, tuple[str, str]],
    split: Split,
    *,
    most: int = 40,
    device: str = "auto",
) -> pd.DataFrame:
    """Remove each named latent alone, and ask a probe of what it is named for; beside all others, removed as far.

    Parameters
    ----------
    x, z : ndarray (N, D), (N, latents)
        Embeddings and codes of the N clips.
    sae : SparseAutoencoder
    clips : Clips
    measured : Attributes
        Of the same clips.
    names : mapping of latent to (name, score)
        Of :func:`~workbench.lessons.sae_names.latent_names`, the best first.
    split : Split
        A probe of each name is fitted without its test clips, which then judge the removal.
    most : int
        At most so many latents, in the order of ``names``.
    device : str

    Returns
    -------
    pandas.DataFrame
        A row a latent. Left out are names that no clip can be asked about (tags of another network), those that all or
        no clips of a part have, and those that the probe does not read. ``clips``: test clips that have it. ``auc``:
        of the probe. ``alone``: how far the probe's log-odds of these clips fall, in shares of the way to the mean of
        the clips that lack it, with its bounds ``low`` and ``high`` for other groups. ``as much``: share of all other
        active latents whose directions, scaled to push every clip as far, take as much or more; by luck it is anything
        between 0 and 1.
    """
    import pandas as pd

    rows, groups, decoder = {}, clips.groups(), np.asarray(sae.decoder, float)
    lengths, alive = np.linalg.norm(decoder, axis=1), (z > 0).any(0)
    for latent, (name, score) in names.items():
        if len(rows) == most:
            break
        try:
            has = concept_of(name, x, clips, measured, split).has
        except ParameterError:
            continue
        if any(not 0 < has[part].sum() < len(part) for part in (split.train, split.test)):
            continue
        probe = head(fit_probes({"": x}, has, split, groups=groups, device=device), "")
        towards = probe["weights"] @ np.where(np.array(probe["classes"], bool), 1.0, -1.0)
        scores, own = x[split.test] @ towards, has[split.test]
        if not (gap := scores[own].mean() - scores[~own].mean()) > 0:
            continue
        writes = decoder @ towards / np.maximum(lengths, 1e-12)  # of each latent, for a push of length one
        tested = split.test[own]
        falls = z[tested, latent] * lengths[latent] * writes[latent] / gap
        others = np.delete(alive, latent)
        share = (1 + (np.delete(writes, latent)[others] >= writes[latent]).sum()) / (1 + others.sum())
        bounds = group_interval(falls, groups[tested])
        rows[latent] = [name, float(score), len(tested), roc_auc(scores, own), falls.mean(), *bounds, share]
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS).rename_axis("latent")


def alone_sentences(table: pd.DataFrame, names: Mapping[int, tuple[str, str]]) -> list[str]:
    """Which named latents, removed alone, take more from what they are named for than others that push as far.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`alone_table`.
    names : mapping of latent to (name, score)
        All names that hold.
    """
    if table.empty:
        return [f"{len(names)} latents have a name that holds, none of which clips can be asked: nothing is removed."]
    told = table[table["as much"] <= LUCK].sort_values("alone", ascending=False)
    listed = [
        f'latent {latent} "{row["name"]}", {row["alone"]:.1%} of the way{_bounds(row)}, as much as '
        f"{row['as much']:.1%} of the others"
        for latent, row in told.head(5).iterrows()
    ]
    first = (
        f"Of {len(table)} named latents, each removed alone, {len(told)} take more from what they are named for than "
        f"{1 - LUCK:.0%} of all other latents that push as far; by luck {LUCK * len(table):.1f} would"
    )
    sentences = [first + (f". The most: {'; '.join(listed)}." if listed else ".")]
    if rest := [str(latent) for latent in names if latent not in table.index]:
        listed = f"{', '.join(rest[:8])}{', ...' if len(rest) > 8 else ''}"
        why = "a tag of another network, what all clips of a part have or lack, what the probe does not read, or a "
        why += "name beyond the best"
        sentences.append(f"Not asked are {len(rest)} of the {len(names)} named ({listed}): {why}.")
    return sentences


def _bounds(row: pd.Series) -> str:
    return f" [{row['low']:.1%}, {row['high']:.1%}]" if np.isfinite(row["low"]) else ""


def alone_results(table: pd.DataFrame) -> dict[str, float]:
    """What is recorded: how many named latents were asked, and how many stand out."""
    return {"asked": len(table), "stand_out": int((table["as much"] <= LUCK).sum())}


def alone_rows(table: pd.DataFrame) -> list[tuple]:
    """The share of named latents that stand out, as a main result; none where none was asked."""
    if table.empty:
        return []
    text = f"Share of named latents that alone carry more of it than {1 - LUCK:.0%} of others that push as far"
    share = float((table["as much"] <= LUCK).mean())
    return [(text, share, None, None, f"of {len(table)} that are asked; by luck {LUCK:.2f}")]
