"""A user's own sounds: a folder whose sub-folders are the labels, or a csv with a row a clip."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DatasetError
from .layouts import SOUNDS, files_below, read_csv, root_parts
from .manifest import close_match

SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
}
SPLITS |= {"test": "test", "testing": "test", "eval": "test", "evaluation": "test"}
PATHS = ("path", "file", "filename", "filepath", "audio")


def read_folder(folder: Path) -> pd.DataFrame:
    """Sounds below a folder: label is the first sub-folder, or the second where the first are train, valid and test.

    Returns
    -------
    DataFrame
        id (path without suffix), label, split, path.

    Raises
    ------
    DatasetError
        There are no sounds, it is a data root with a manifest.csv, or some sounds lie beside the label folders.

    Warns
    -----
    UserWarning
        All sounds lie in the folder itself, so they have no labels.
    """
    parts = root_parts(folder)
    if parts:
        raise DatasetError(
            f"{folder} is a data root of several sets ({', '.join(parts)}): load one by name, with root={str(folder)!r}"
        )
    files = list(files_below(folder, SOUNDS))
    if not files:
        raise DatasetError(f"{folder}: no sounds in it; looked for {', '.join(SOUNDS)}, in sub-folders too")
    pieces = [file.split("/") for file in files]
    has_splits = all(len(piece) > 1 and piece[0].lower() in SPLITS for piece in pieces)
    split = [SPLITS[piece[0].lower()] if has_splits else "" for piece in pieces]
    inner = [piece[1:] if has_splits else piece for piece in pieces]
    loose = [file for file, piece in zip(files, inner, strict=True) if len(piece) == 1]
    if loose and len(loose) < len(files):
        raise DatasetError(
            f"{folder}: {len(loose)} sounds lie outside the folders that are the labels: {', '.join(loose[:5])}; "
            "move them into a sub-folder named as their label, or away"
        )
    if loose:
        warnings.warn(
            f"{folder}: all {len(files)} sounds lie in one folder, so they have no labels: they can be embedded and "
            "mapped, not probed. For labels, sort them into sub-folders named as the labels, or write a csv with the "
            "columns path and label",
            UserWarning,
            stacklevel=4,
        )
    ids = [file.rsplit(".", 1)[0] for file in files]
    table = pd.DataFrame({"id": ids if len(set(ids)) == len(ids) else files})
    table["label"] = ["" if len(piece) == 1 else piece[0] for piece in inner]
    table["split"], table["path"] = split, [str(folder / file) for file in files]
    return table


def read_table(file: Path, label: str | None = None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A csv or tsv with a row a clip.

    Parameters
    ----------
    file : Path
        Columns: path (or file, filename, filepath, audio), relative to the csv or absolute; label; and where there
        are: id, group, split (train, valid, test), fold, seconds, start and stop (seconds, for pieces of a
        longer sound). All other columns are factors.
    label : str, optional
        Column that is the label; by default "label".

    Returns
    -------
    table : DataFrame
        With `_line`, the line of the csv, and `_tail`, the path as written.
    factors : tuple of str

    Raises
    ------
    DatasetError
        A column is missing, or a value cannot be used; names the file and the line.
    """
    raw = read_csv(file)
    columns = [str(column) for column in raw.columns]
    path = next((name for name in PATHS if name in raw), None)
    if path is None:
        raise DatasetError(f"{file}: has no column of paths ({', '.join(PATHS)}), only {', '.join(columns)}")
    wanted = label or "label"
    if wanted not in raw:
        raise DatasetError(
            f"{file}: has no column {wanted!r}, only {', '.join(columns)}{close_match(wanted, columns)}; "
            'choose one with label="..."'
        )
    line = raw.index.to_numpy() + 2
    if not len(raw):
        raise DatasetError(f"{file}: has a header and no rows")
    _refuse(file, line, raw[path] == "", path, raw[path], "the path of a sound")
    table = pd.DataFrame({"id": raw["id"] if "id" in raw else [name.rsplit(".", 1)[0] for name in raw[path]]})
    table["label"] = raw[wanted]
    table["path"] = [str(file.parent / name) for name in raw[path]]
    table["_line"], table["_tail"] = line, raw[path]
    if "group" in raw:
        table["group"] = raw["group"]
    if "split" in raw:
        named = raw["split"].str.strip().str.lower()
        _refuse(file, line, ~named.isin([*SPLITS, ""]), "split", raw["split"], "train, valid, test or empty")
        table["split"] = named.map({**SPLITS, "": ""})
    if "fold" in raw:
        number = raw["fold"].str.extract(r"(\d+)$", expand=False)
        _refuse(file, line, number.isna() & (raw["fold"] != ""), "fold", raw["fold"], "a number, or end in one")
        table["fold"] = pd.to_numeric(number).astype("Int64")
    for column in ("seconds", "start", "stop"):
        if column in raw:
            table[column] = _numbers(file, line, column, raw[column])
    if {"start", "stop"} <= set(raw):
        _refuse(file, line, table["stop"] <= table["start"], "stop", raw["stop"], "later than start")
    known = {"id", path, "group", "split", "fold", "seconds", "start", "stop", "label"}
    factors = tuple(column for column in columns if column not in known)
    for column in factors:
        table[column] = _guess(raw[column])
    if "id" not in raw and table["id"].duplicated().any():
        # several pieces of one file, or files that differ in suffix only
        table["id"] = [f"{name}:{number}" for name, number in zip(raw[path], line, strict=True)]
        if not {"start", "stop"} & set(raw):
            twice = raw[path].duplicated(keep=False).to_numpy()
            _refuse(file, line, twice, path, raw[path], "there once, or have start and stop columns")
            table["id"] = raw[path]
    return table, factors


def _refuse(
    file: Path, line: np.ndarray, bad: pd.Series | np.ndarray, column: str, values: pd.Series, expected: str
) -> None:
    bad = np.asarray(bad, bool)
    if bad.any():
        shown = ", ".join(str(number) for number in line[bad][:5]) + (" ..." if bad.sum() > 5 else "")
        value = values[bad].iloc[0]
        raise DatasetError(f"{file}: {column}={value!r} must be {expected} ({int(bad.sum())} rows: line {shown})")


def _numbers(file: Path, line: np.ndarray, column: str, text: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(text.where(text != "", None), errors="coerce")
    bad = (numbers.isna() & (text != "")) | (numbers < 0)
    _refuse(file, line, bad, column, text, "a number of seconds, 0 or more")
    return numbers


def _guess(text: pd.Series) -> pd.Series:
    """Numbers where every filled cell is one (codes such as 007 stay text), else text."""
    filled = text[text != ""]
    if not len(filled) or filled.map(lambda cell: bool(re.match(r"[+-]?0\d", cell))).any():
        return text.astype(object)
    numbers = pd.to_numeric(filled, errors="coerce")
    if numbers.isna().any():
        return text.astype(object)
    whole = bool((numbers % 1 == 0).all()) and not filled.str.contains(r"[.eE]").any()
    if whole:
        return numbers.astype("Int64").reindex(text.index) if len(filled) < len(text) else numbers.astype("int64")
    return numbers.astype(float).reindex(text.index)
