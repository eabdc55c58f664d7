"""Find columns that look like a group (a speaker, a source, a recording session) although no group is named.

Without a group, clips of one speaker can be on both sides of a split.
"""

from __future__ import annotations

import re
from pathlib import PurePath

import numpy as np
import pandas as pd

from ..core.labels import names_a_group, words_of


def unnamed_group(table: pd.DataFrame) -> str:
    """Return a warning about a column, or about beginnings of file names, that look like a group; "" if none does.

    Parameters
    ----------
    table : DataFrame
        Table of a dataset. If its column group is not empty, the result is "".
    """
    if table["group"].astype(str).str.strip().ne("").any() or len(table) < 4:
        return ""
    labels = table["label"].astype(str).to_numpy()
    for column in table.columns:
        words = words_of(column)
        if column not in ("id", "label", "path", "fold", "split", "group") and names_a_group(words):
            values = table[column].dropna().astype(str)
            shared = next((word for word in words if names_a_group([word])), words[0])
            if _is_shared(values.to_numpy(), labels[values.index.to_numpy()] if len(values) < len(labels) else labels):
                return (
                    f"the column {column!r} ({values.nunique()} values) looks like what clips of one {shared} share, "
                    "and no group is named: clips with the same value will be on both sides of a split, which can "
                    "raise scores by more than the effect that is measured. "
                    f"group={column!r} (--group {column}) keeps them on one side, "
                    'group="" (--group "") says that it is not a group'
                )
    if "path" in table and table["path"].astype(bool).all():
        starts = np.array([re.split(r"[-_. ]", PurePath(str(path)).stem)[0].lower() for path in table["path"]])
        stems = {PurePath(str(path)).stem for path in table["path"]}
        if len(stems) == len(table) and _is_shared(starts, labels) and len(set(starts)) <= len(table) / 3:
            few = ", ".join(sorted(set(starts))[:3])
            return (
                f"the names of files begin with one of {len(set(starts))} words ({few} ...), each of several labels, "
                "and no group is named: if these are speakers, sources or takes, clips of one will be on both sides of "
                "a split; a csv with a column of them, named by group= (--group), keeps them on one side"
            )
    return ""


def _is_shared(values: np.ndarray, labels: np.ndarray) -> bool:
    """Whether most values have more than one clip, and some value has clips of different labels."""
    kinds, counts = np.unique(values, return_counts=True)
    if not 2 <= len(kinds) < len(values) or np.median(counts) < 2:
        return False
    pairs = len({*zip(values.tolist(), labels.tolist(), strict=True)})
    return pairs > len(kinds)  # else each value has one label, and is a finer class
