"""Who is held out when ``mini`` is trained: clips that no weight has seen, by speaker, source and pitch.

Three parts, of which a training holds out one; together they are all clips of four sets, each once, so that three
trainings judge every clip by a network that has never heard its group. The weights in the package hold out part 0.

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
"""Where the parts end in a random order of all pitches."""
GROUPS = {"esc10": "fold", "fsdd": "speaker", "philharmonia": "midi", "speech_commands": "speaker"}
"""Part of the folder -> the factor that must not leak."""


def read_table(root: Path | str, part: int = 0) -> pd.DataFrame:
    """The audio folder's manifest with one column a factor, the task's group, and who is held out.

    Parameters
    ----------
    root : path
        Folder with ``manifest.csv`` (columns file, part, label, factors as JSON ...).
    part : int
        0, 1 or 2.

    Returns
    -------
    DataFrame
        One row a clip; ``group`` is what must not leak (fold, speaker, pitch), ``held_out`` is True for the
        clips that only the evaluation may hear.

    Raises
    ------
    DatasetError
        No manifest there.
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
    """The clips of one task; Philharmonia without unpitched ones and those of instruments absent in training."""
    rows = table[table["part"] == task]
    if task == "philharmonia":
        rows = rows[rows["midi"].notna()]
        rows = rows[rows["label"].isin(rows.loc[~rows["held_out"], "label"])]
    return rows
