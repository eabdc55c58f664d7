"""Read a user's own table of clips: a csv with one row a clip, or rows of text from another source."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd

from ..core.checks import close_match
from ..core.errors import DatasetError
from ..core.labels import are_classes
from .contents import on_disk, printable, why_no_file
from .delimited import read_rows
from .folders import SPLITS, UNREAD, Own
from .labels import MISSING, fold_number, look_alike, merged, tidy
from .layouts import SOUNDS
from .thirds import cut_at_terciles

#: Names that the column of paths may have, in lower case and without other signs: "File_name" is "filename".
PATHS = ("path", "file", "filename", "filepath", "audio", "audiopath", "audiofile", "audiofilepath", "audiofilename")
PATHS += ("wav", "wavpath", "wavfile", "sound", "soundpath", "soundfile", "fname")
#: Name of another column of a dataset's table -> names that it may have in a csv, in the same form.
KNOWN = {
    "id": ("id",),
    "group": ("group",),
    "split": ("split",),
    "fold": ("fold",),
    "seconds": ("seconds",),
    "start": ("start", "starttime", "startseconds"),
    "stop": ("stop", "stoptime", "stopseconds", "end", "endtime", "endseconds"),
}


def read_table(file: Path, label: str | None = None, missing: str | None = None, thirds: bool | None = None) -> Own:
    """Read a csv or tsv with one row a clip.

    Parameters
    ----------
    file : Path
        The table. It has the columns path (or file, filename, filepath, audio ...), relative to the csv or absolute,
        and label; it may have id, group, split (train, valid, test), fold, seconds, and start and stop (in seconds, for
        pieces of a longer sound). Case, blanks and underscores of these names do not matter. Other columns are factors.
    label : str, optional
        Column that is the label; by default "label".
    missing : {None, "raise", "skip"}
        What to do with rows without a label: None and "raise" are an error that names them, "skip" leaves them out and
        counts them. If no row has a label, all rows are kept.
    thirds : bool, optional
        Whether a label of numbers is cut into thirds, as in :meth:`Clips.with_label`; its numbers are then a factor.

    Returns
    -------
    Own
        Its table also has `_line`, the line of the csv, and `_tail`, the path as written; path is "" where there is no
        such file.

    Raises
    ------
    DatasetError
        A column is missing, or a value cannot be used; the error names the file and the line.
    """
    where = printable(file)
    raw = read_rows(file)
    ours = _columns(raw, label, where)
    if not len(raw):
        raise DatasetError(f"{where}: has a header and no rows")
    own = read_raw(
        raw, ours, where, lambda tails: _resolve(file, tails.tolist()), label=label, missing=missing, thirds=thirds
    )
    lost = [path == "" for path in own.table["path"]]
    base = os.path.dirname(os.fspath(file))
    own.table.loc[lost, "_tail"] = [text + why_no_file(os.path.join(base, text)) for text in own.table["_tail"][lost]]
    return own


def read_raw(
    raw: pd.DataFrame,
    ours: Mapping[str, str],
    where: str,
    resolve: Callable[[pd.Series], tuple[list[str], list[str], list[str]]],
    *,
    label: str | None = None,
    missing: str | None = None,
    thirds: bool | None = None,
    names: Collection[str] = (),
) -> Own:
    """Make the table of a dataset from rows of text.

    Parameters
    ----------
    raw : DataFrame of str
        Its index is what messages call a row; ``attrs["row"]`` is the word before it, by default "line ".
    ours : mapping of str to str
        Names of the dataset's columns (path, label and those of :data:`KNOWN`) -> names in `raw`. Columns of `raw` that
        are not named become factors.
    where : str
        Name of the dataset, for messages.
    resolve : callable
        Called with the paths as written; returns the names from which ids are made, the paths of the files ("" where
        there is no such file), and notes.
    label, missing, thirds
        As for :func:`read_table`.
    names : collection of str
        Columns whose values are names even if they look like numbers, unless `thirds` asks for numbers.
    """
    columns = [str(column) for column in raw.columns]
    own = Own(pd.DataFrame(index=raw.index), notes=list(raw.attrs["notes"]))
    written = raw[ours["label"]]
    raw, own.dropped = _with_label(raw, ours["label"], label, missing, where, own.notes)
    table = pd.DataFrame({"_line": raw.index.to_numpy(), "_tail": raw[ours["path"]].str.strip()}, index=raw.index)
    if missing != "skip":
        _refuse(where, raw, _missing(table["_tail"]), ours["path"], table["_tail"], "the path of a sound")
    is_address = table["_tail"].str.match(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+://")
    _refuse(where, raw, is_address, ours["path"], table["_tail"], "a path on this machine: addresses are not fetched")
    stems, table["path"], notes = resolve(table["_tail"])
    own.notes += notes
    comma = raw.attrs.get("delimiter") in (";", "\t")
    words = raw[ours["label"]]
    numbers = words if ours["label"] in names and not thirds else _guess(words, comma)
    if thirds or (thirds is None and not are_classes(numbers)):
        cut = cut_at_terciles(where, ours["label"], numbers)
        table["label"], notes = cut.labels, [cut.note] if thirds is None else []
    else:
        table["label"], numbers = words, None
        notes = merged("labels", written[words.index]) + look_alike("labels", words) if words.any() else []
    own.notes += notes
    if ours["label"] == "tags":  # by this column Clips.tags knows that the labels are sets
        table["tags"] = table["label"]
    for column in ("group", "split", "fold"):
        if column in ours:
            table[column] = _COLUMNS[column](where, raw, raw[ours[column]], own.notes)
    for column in ("seconds", "start", "stop"):
        if column in ours:
            table[column] = _seconds(where, raw, ours[column], raw[ours[column]], comma)
    if "stop" in table:
        start = table["start"].fillna(0) if "start" in table else 0
        _refuse(where, raw, table["stop"] <= start, ours["stop"], raw[ours["stop"]], "later than start")
    elif "start" in table and table["start"].fillna(0).any():
        own.notes.append("there is a start column and no stop: each clip runs to the end of its file")
    used = {*ours.values(), "label"}
    factors = [column for column in columns if column not in used]
    for column in factors:
        if column in ("_line", "_tail", *table.columns):
            raise DatasetError(
                f"{where}: the column {column!r} needs another name: {column} is a column of every table"
            )
        table[column] = raw[column].astype(object) if column in names else _guess(raw[column], comma)
    if numbers is not None:
        own.target_name = _target_name(ours["label"], table)
        table[own.target_name] = numbers
        factors += [own.target_name] if own.target_name != "seconds" else []
    own.factors = tuple(factors)
    table["id"] = _ids(where, raw, raw[ours["id"]] if "id" in ours else None, stems, table)
    own.table = table.reset_index(drop=True)
    return own


def _target_name(column: str, table: pd.DataFrame) -> str:
    """Return the name of the column that keeps the target: its own, or another if every dataset has such a column."""
    name = "number" if column in ("label", "path", *KNOWN) and column != "seconds" else column
    while name in table and name != "seconds":  # a column "seconds" holds the same numbers
        name += "_"
    return name


# --- columns ------------------------------------------------------------------------------------------------------


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _columns(raw: pd.DataFrame, label: str | None, where: str) -> dict[str, str]:
    """Map names of a dataset's columns to those of the table; raise an error if there is no path or label."""
    columns = [str(column) for column in raw.columns]
    ours = {}
    for name, forms in {"path": PATHS, **KNOWN}.items():
        hits = [column for form in forms for column in columns if _squash(column) == form]
        hits = [column for column in hits if column in forms] or hits  # an exact spelling goes first
        if hits:
            ours[name] = hits[0]
    wanted = label or "label"
    alike = [column for column in columns if column == wanted] or [
        column for column in columns if _squash(column) == _squash(wanted)
    ]
    shown = ", ".join(columns)
    if "path" not in ours:
        if any(os.path.splitext(cell)[1].lower() in (*SOUNDS, *UNREAD) for cell in columns):
            raise DatasetError(f"{where}: has no header: its first line is {shown}; write one above it: path,label")
        raise DatasetError(f"{where}: has no column of paths ({', '.join(PATHS[:5])} ...), only {shown}")
    if len(alike) != 1:
        raise DatasetError(
            f"{where}: has no column {wanted!r}, only {shown}{close_match(wanted, columns)}; "
            'choose one with label="..." (--label ...)'
        )
    return {**ours, "label": alike[0]}


def _with_label(
    raw: pd.DataFrame, column: str, label: str | None, missing: str | None, where: str, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows that have a label, with the label cleaned; if no row has one, return all of them."""
    written = raw[column]
    words = _tidy(written)
    gone = _missing(words)
    if column == "tags":  # "none" is the empty set of tags
        gone &= words != "none"
    attrs = raw.attrs
    raw = raw.assign(**{column: words})
    raw.attrs = attrs
    if gone.all():
        raw[column] = ""
        notes.append("no row has a label: the clips can be embedded and mapped, not probed")
        return raw, {}
    if not gone.any():
        return raw, {}
    if missing != "skip":
        row = raw.attrs.get("row", "line ")
        shown = ", ".join(f"{row}{line}: {text!r}" for line, text in written[gone].iloc[:5].items())
        more = " ..." if gone.sum() > 5 else ""
        raise DatasetError(
            f"{where}: {column} is missing in {int(gone.sum())} of {len(raw)} rows ({shown}{more}); "
            'missing="skip" (--missing skip) leaves such clips out'
        )
    kept = raw[~gone]
    kept.attrs = attrs
    return kept, {f"without {column}": int(gone.sum())}


def _refuse(where: str, raw: pd.DataFrame, bad: pd.Series, column: str, values: pd.Series, expected: str) -> None:
    bad = np.asarray(bad, bool)
    if bad.any():
        lines = values.index[bad]
        shown = ", ".join(str(number) for number in lines[:5]) + (" ..." if len(lines) > 5 else "")
        value = values[bad].iloc[0]
        value = value if len(value) <= 60 else value[:57] + "..."
        row = raw.attrs.get("row", "line ")
        raise DatasetError(f"{where}: {column}={value!r} must be {expected} ({len(lines)} rows: {row}{shown})")


def _missing(words: pd.Series) -> pd.Series:
    return words.str.strip().str.lower().isin(MISSING)


def _tidy(words: pd.Series) -> pd.Series:
    forms = {word: tidy(word) for word in set(words)}
    return words.map(forms) if any(word != form for word, form in forms.items()) else words


def _named(text: pd.Series) -> pd.Series:
    words = _tidy(text)
    return words.where(~_missing(words), "")


def _some_missing(values: pd.Series, notes: list[str], what: str, so: str) -> None:
    count = int((values == "").sum())
    if 0 < count < len(values):
        notes.append(f"{count} of {len(values)} clips have no {what}: {so}")


def _groups(where: str, raw: pd.DataFrame, text: pd.Series, notes: list[str]) -> pd.Series:
    words = _named(text)
    notes += merged("groups", text[words != ""]) + look_alike("groups", words)
    _some_missing(words, notes, "group", "each of these is a group of its own")
    return words


def _splits(where: str, raw: pd.DataFrame, text: pd.Series, notes: list[str]) -> pd.Series:
    words = _named(text).str.lower()
    _refuse(where, raw, ~words.isin([*SPLITS, ""]), "split", text, "train, valid, test or empty")
    _some_missing(words, notes, "split", "they are in no part of the published split")
    return words.map({**SPLITS, "": ""})


def _folds(where: str, raw: pd.DataFrame, text: pd.Series, notes: list[str]) -> pd.Series:
    words = _named(text)
    folds = pd.Series([fold_number(word) for word in words], text.index, dtype="Int64")
    _refuse(where, raw, folds.isna() & (words != ""), "fold", text, "a number of up to nine digits, or end in one")
    _some_missing(words, notes, "fold", "they are in no fold")
    return folds


_COLUMNS = {"group": _groups, "split": _splits, "fold": _folds}


def _seconds(where: str, raw: pd.DataFrame, column: str, text: pd.Series, comma: bool) -> pd.Series:
    words = _decimal(text.str.strip(), comma)
    words = words.where(~_missing(words), "")
    numbers = pd.to_numeric(words.where(words != "", None), errors="coerce").astype(float)
    bad = (numbers.isna() & (words != "")) | (numbers < 0) | np.isinf(numbers)
    _refuse(where, raw, bad, column, text, "a number of seconds, 0 or more")
    return numbers


def _decimal(words: pd.Series, comma: bool) -> pd.Series:
    """Read a decimal comma (1,5 as 1.5) where the comma is not the delimiter and all cells are such numbers."""
    if comma and words[words != ""].str.fullmatch(r"[+-]?\d*,?\d+").all():
        return words.str.replace(",", ".", regex=False)
    return words


def _guess(text: pd.Series, comma: bool) -> pd.Series:
    """Convert a column to numbers if every filled cell is one (codes such as 007 stay text), else to clean text.

    Cells that mean "missing" become missing numbers; as text only "nan" becomes "".
    """
    words = _tidy(text)
    numeric = _decimal(words.where(~_missing(words), ""), comma)
    filled = numeric[numeric != ""]
    if not len(filled) or filled.str.match(r"[+-]?0\d").any() or filled.str.len().max() > 300:
        return words.where(words.str.lower() != "nan", "").astype(object)
    numbers = pd.to_numeric(filled, errors="coerce")
    if numbers.isna().any() or np.isinf(numbers.astype(float)).any():
        return words.where(words.str.lower() != "nan", "").astype(object)
    whole = not filled.str.contains(r"[.eE]").any() and filled.str.len().max() < 19
    if whole:
        numbers = numbers.astype("int64")
        return numbers.astype("Int64").reindex(text.index) if len(filled) < len(text) else numbers
    return numbers.astype(float).reindex(text.index)


def _ids(
    where: str, raw: pd.DataFrame, column: pd.Series | None, names: Sequence[str], table: pd.DataFrame
) -> list[str]:
    if column is not None:
        ids = column.str.strip()
        _refuse(where, raw, _missing(ids), "id", column, "a name")
        twice = ids.duplicated(keep=False)
        if twice.any():
            row = raw.attrs.get("row", "line ")
            shown = "; ".join(f"{row}{line}: {text}" for line, text in ids[twice].iloc[:6].items())
            raise DatasetError(f"{where}: {int(twice.sum())} rows share their id with another ({shown})")
        return ids.tolist()
    ids = [os.path.splitext(name)[0] for name in names]
    if len(set(ids)) == len(ids):
        return ids
    # names repeat for pieces of one file, or for files that differ in suffix only
    if {"start", "stop"} & set(table.columns):
        return [f"{name}:{line}" for name, line in zip(names, table["_line"], strict=True)]
    twice = table["path"].duplicated(keep=False) & (table["path"] != "")
    twice |= pd.Series(names, table.index).duplicated(keep=False)
    _refuse(where, raw, twice, "path", table["_tail"], "there once, or have start and stop columns")
    return list(names)


# --- paths --------------------------------------------------------------------------------------------------------


def _resolve(file: Path, written: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the paths as text with /, the paths of the files ("" for none), and notes on how they were found."""
    base, notes = os.path.dirname(os.fspath(file)), []
    names, paths = [], []
    for text in written:
        name, path = text, os.path.join(base, text) if text else ""
        if path and not os.path.isfile(path):
            name, path = _another_way(base, text)
        names.append(name)
        paths.append(path)
    lost = [i for i, path in enumerate(paths) if not path and names[i]]
    here = [i for i in lost if os.path.isfile(names[i])]
    for i in here:
        paths[i] = os.path.abspath(names[i])
    if here:
        notes.append(f"{len(here)} paths are relative to the working folder ({printable(os.getcwd())}), not to the csv")
    moved = _moved(base, [(i, names[i]) for i in lost if i not in set(here)])
    for i, (path, _) in moved.items():
        paths[i] = path
    if moved:
        i, (path, _) = next(iter(moved.items()))
        notes.append(f"{len(moved)} paths of another place were found by their end: {names[i]} as {printable(path)}")
    return names, [printable(path) for path in paths], notes


def _another_way(base: str, text: str) -> tuple[str, str]:
    """Find a file whose path is a file: address, or is written with ~, with \\ or in another Unicode form.

    Returns its name and its path, which is "" if there is no such file.
    """
    name = unquote(re.sub(r"^file:(//(localhost)?)?", "", text)) if text.startswith("file:") else text
    if re.match(r"/[A-Za-z]:[/\\]", name):  # file:///C:/...
        name = name[1:]
    if name.startswith("~"):
        name = os.path.expanduser(name)
    slashed = name.replace("\\", "/")
    for form in dict.fromkeys((name, on_disk(os.path.join(base, name)), slashed)):
        for kind in (None, "NFC", "NFD"):
            path = os.path.join(base, form if kind is None else unicodedata.normalize(kind, form))
            if os.path.isfile(path):
                return slashed, path
    return slashed, ""


def _moved(base: str, lost: list[tuple[int, str]]) -> dict[int, tuple[str, int]]:
    """Find files below the csv's folder for absolute paths of another machine that end in the same way.

    Returns row -> (path, number of parts that were left off at the beginning).
    """
    moved: dict[int, tuple[str, int]] = {}
    vain = 0
    for i, name in lost:
        if not re.match(r"/|[A-Za-z]:/", name) or vain > 20:
            continue
        parts = name.split("/")
        known = dict.fromkeys(count for _, count in moved.values())
        for count in (*known, *range(1, len(parts))):
            path = os.path.join(base, *parts[count:]) if count < len(parts) else ""
            if path and os.path.isfile(path):
                moved[i] = path, count
                break
        else:
            vain += not moved
    return moved
