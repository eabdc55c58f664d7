"""Part 5 of ``notebooks/sae.ipynb``: a single latent that has a name, removed alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import ParameterError
from ..core.splits import Split
from ..metrics.classification import roc_auc
from ..probes import fit_probes
from ..sae import ablations, chosen_against_random
from .sae import head
from .sae_cause import concept_of

if TYPE_CHECKING:
    import pandas as pd

    from ..attributes import Attributes
    from ..datasets import Clips
    from ..sae import SparseAutoencoder

COLUMNS = ["name", "name score", "clips", "auc", "alone", "random latents", "difference", "low", "high"]


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
    seed: int,
    device: str = "auto",
) -> pd.DataFrame:
    """Remove each named latent alone, and ask a probe of what it is named for; against one random latent as long.

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
    seed : int
        Of the random latents.
    device : str

    Returns
    -------
    pandas.DataFrame
        A row a latent. Names that no clip can be asked about (tags of another network), and those that all or no clips
        of a part have, are left out. ``clips``: test clips that have it. ``auc``: of the probe. ``alone`` and
        ``random latents``: mean change of its probability on these clips; ``difference``, ``low``, ``high`` of the two.
    """
    import pandas as pd

    rows, groups = {}, clips.groups()
    for latent, (name, score) in names.items():
        if len(rows) == most:
            break
        try:
            has = concept_of(name, x, clips, measured, split).has
        except ParameterError:
            continue
        if any(not 0 < has[part].sum() < len(part) for part in (split.train, split.test)):
            continue
        called = np.where(has, name, f"not {name}")
        probes = fit_probes({"": x}, called, split, groups=groups, device=device)
        asked = head(probes, "") | {"choose": split.train, "test": split.test, "groups": groups}
        asked |= {"latents": {name: [latent]}, "z": z, "seed": seed}
        effect = ablations(x, called, sae, **asked)["mean"]
        difference = chosen_against_random(x, called, sae, **asked)
        scores = x[split.test] @ (asked["weights"] @ np.where(np.array(asked["classes"]) == name, 1.0, -1.0))
        read, mean = roc_auc(scores, has[split.test]), [effect[name, kind] for kind in ("chosen", "random")]
        rows[latent] = [name, float(score), has[split.test].sum(), read, *mean, *difference]
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS).rename_axis("latent")


def alone_sentences(table: pd.DataFrame, *, named: int) -> list[str]:
    """Which named latents, removed alone, take more from what they are named for than a random latent as long.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`alone_table`.
    named : int
        How many latents have a name that holds.
    """
    if table.empty:
        return [f"{named} latents have a name that holds, and none can be asked about whole clips: nothing is removed."]
    told = table[table["high"] < 0]
    listed = [
        f'latent {latent} "{row["name"]}" by {-100 * row["difference"]:.1f} points '
        f"[{-100 * row['high']:.1f} to {-100 * row['low']:.1f}]"
        for latent, row in told.sort_values("difference").head(5).iterrows()
    ]
    first = (
        f"Of {len(table)} named latents, each removed alone, {len(told)} lower the probability of what they are named "
        f"for more than a random latent as long; by luck {0.025 * len(table):.1f} would"
    )
    sentences = [first + (f". The most: {'; '.join(listed)}." if listed else ".")]
    if table["low"].isna().all():
        sentences = ["The test clips have too few groups for an interval: no latent is shown to matter alone."]
    if (rest := named - len(table)) > 0:
        sentences.append(
            f"{rest} more have a name that is not asked here: a tag of another network, one that all clips have or "
            "none, or one beyond the best that the table shows."
        )
    return sentences
