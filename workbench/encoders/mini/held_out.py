"""Clips that are held out when ``mini`` is trained, by speaker, source and pitch.

The clips of four sets are divided into three parts, of which each training holds out one. Three trainings together can
so evaluate every clip with a network that was not trained on its group. The weights in the package hold out part 0.

| part | digits (FSDD), speakers | ESC-10, folds | Philharmonia, pitches | words, speakers |
|---|---|---|---|---|
| 0 | theo, yweweler | 5 | 22 % | a third |
| 1 | george, jackson | 1, 2 | 39 % | a third |
| 2 | lucas, nicolas | 3, 4 | 39 % | a third |
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from ...core.checks import whole
from ...core.errors import DatasetError

PARTS = 3
FOLDS = ((5,), (1, 2), (3, 4))
DIGIT_SPEAKERS = (("theo", "yweweler"), ("george", "jackson"), ("lucas", "nicolas"))
PITCHES = (0.22, 0.61, 1.0)
"""Fractions of all pitches, in a random order, at which the parts end."""
GROUPS = {"esc10": "fold", "fsdd": "speaker", "philharmonia": "midi", "speech_commands": "speaker"}
"""Set in the audio folder -> the factor that must not leak."""


def read_table(root: Path | str, part: int = 0) -> pd.DataFrame:
    """Read the audio folder's manifest, with columns for the factors, the group and whether a clip is held out.

    Parameters
    ----------
    root : path
        Folder with ``manifest.csv`` (columns file, part, label, factors as JSON and others).
    part : int
        Number of the part that is held out: 0, 1 or 2.

    Returns
    -------
    DataFrame
        One row a clip; ``group`` is the factor that must not leak (fold, speaker or pitch), ``held_out`` is True for
        clips that are used for evaluation only.

    Raises
    ------
    DatasetError
        The folder has no manifest.
    ParameterError
        There is no such part.
    """
    whole("part", part, least=0, most=PARTS - 1)
    path = Path(root) / "manifest.csv"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; expected the audio folder's manifest")
    table = pd.read_csv(path)
    factors = pd.DataFrame([json.loads(text) for text in table["factors"]], index=table.index)
    table = table.join(factors[["fold", "speaker", "digit", "midi"]])
    table["group"] = ""
    for name, factor in GROUPS.items():
        rows = table["part"] == name
        table.loc[rows, "group"] = table.loc[rows, factor].astype(str)

    def among(name: str, chosen) -> pd.Series:
        return (table["part"] == name) & table[GROUPS[name]].isin(chosen)

    def shuffled(name: str) -> np.ndarray:
        return np.random.default_rng(0).permutation(np.unique(table.loc[table["part"] == name, GROUPS[name]].dropna()))

    pitches, speakers = shuffled("philharmonia"), shuffled("speech_commands")
    begin, end = (round(share * len(pitches)) for share in (0.0, *PITCHES)[part : part + 2])
    table["held_out"] = (
        among("esc10", FOLDS[part])
        | among("fsdd", DIGIT_SPEAKERS[part])
        | among("philharmonia", pitches[begin:end])
        | among("speech_commands", speakers[part::PARTS])
    )
    return table


def task_rows(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return the clips of one task; of Philharmonia only pitched ones, and instruments that are in training."""
    rows = table[table["part"] == task]
    if task == "philharmonia":
        rows = rows[rows["midi"].notna()]
        rows = rows[rows["label"].isin(rows.loc[~rows["held_out"], "label"])]
    return rows
