"""Turn the text columns of a published dataset into its table, with types, labels, groups, folds and splits."""

from __future__ import annotations

import functools
import re

import numpy as np
import pandas as pd

from ..core.checks import close_match
from ..core.errors import DatasetError, ParameterError
from .labels import fold_number
from .layouts import CARRIED, Place, locate
from .schema import TYPES, Manifest, SplitRule, placeholders

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def finish(
    manifest: Manifest, raw: pd.DataFrame, place: Place, *, split: str = "default", group: str | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Make the table of a dataset from its text columns.

    Parameters
    ----------
    manifest, raw, place
        The manifest, the rows that :func:`read` returned, and the place that :func:`find` returned.
    split : str
        Name of one of the manifest's split rules; "none" for no split.
    group : str, optional
        Group column to use in place of the manifest's; "" for no group.

    Returns
    -------
    table : DataFrame
        Columns id, label, split, fold, group and path, then those of :data:`CARRIED` and the factors; `_line` and
        `_tail` are kept for messages about rows.
    factors : tuple of str
        Names of the factors.

    Raises
    ------
    DatasetError
        The label's column or a list of the split is missing, or a value cannot be converted.
    ParameterError
        There is no such split rule or group column.
    """
    raw = raw.copy()
    layout = manifest.layout
    for column, values in layout.values.items():
        if column in raw:
            raw[column] = raw[column].replace(values)
    for column, note in layout.midi.items():
        if note in raw:
            raw[column] = [str(_midi_number(name, line)) for name, line in zip(raw[note], raw["_line"], strict=True)]
    for column, values in layout.keep.items():
        raw = raw[raw[column].isin(values)] if column in raw else raw
    for column, values in layout.drop.items():
        raw = raw[~raw[column].isin(values)] if column in raw else raw
    raw = raw.reset_index(drop=True)
    if manifest.label not in raw:
        raise DatasetError(f"{place.folder}: {manifest.name!r} has no column {manifest.label!r} there for its labels")
    rule = _rule(manifest, split, raw, place)
    columns = manifest.group if group is None else ((group,) if group else ())
    if rule is not None and rule.group is not None and group is None:
        columns = rule.group
    for column in columns:
        if column not in raw:
            raise ParameterError("group", column, f"a column of {manifest.name}: {', '.join(_visible(raw))}")
    table = pd.DataFrame({"id": _ids(manifest, raw), "label": raw[manifest.label]})
    table["split"] = "" if rule is None else _assign(rule, raw, place, manifest)
    table["fold"] = _folds(raw[manifest.fold], raw["_line"]) if manifest.fold in raw else pd.array([pd.NA] * len(raw))
    table["fold"] = table["fold"].astype("Int64")
    table["group"] = functools.reduce(lambda a, b: a + "-" + b, (raw[column] for column in columns)) if columns else ""
    for column in ("_path", "_line", "_tail"):
        table[column.replace("_path", "path")] = raw[column]
    for column in CARRIED:
        if column in raw:
            table[column] = pd.to_numeric(raw[column], errors="coerce") if column == "seconds" else raw[column]
    factors = tuple(name for name in manifest.factors if name in raw)
    for name in factors:
        table[name] = typed(raw[name], manifest.factors[name], name, raw["_line"])
    return table, factors


def _visible(raw: pd.DataFrame) -> list[str]:
    return [column for column in raw.columns if not column.startswith("_")]


def _ids(manifest: Manifest, raw: pd.DataFrame) -> list[str]:
    if manifest.id:
        return [manifest.id.format(**row) for row in raw[placeholders(manifest.id)].to_dict("records")]
    return [tail.rsplit(".", 1)[0] for tail in raw["_tail"]]


def _rule(manifest: Manifest, split: str, raw: pd.DataFrame, place: Place) -> SplitRule | None:
    """Return the rule asked for; None for no split, or if a part of a data root lacks what the default needs."""
    if split == "none" or (split == "default" and "default" not in manifest.splits):
        return None
    if split not in manifest.splits:
        known = ["none", *manifest.splits]
        raise ParameterError(
            "split", split, f"one of {', '.join(known)} for {manifest.name}{close_match(split, known)}"
        )
    rule = manifest.splits[split]
    present = rule.column in raw if rule.column else place.kind != "part"
    if present:
        return rule
    if split != "default":
        raise DatasetError(f"{place.folder}: what the split {split!r} of {manifest.name} needs is not there")
    return None


def _assign(rule: SplitRule, raw: pd.DataFrame, place: Place, manifest: Manifest) -> list[str]:
    part_of: dict[str, str] = {}
    for part in ("train", "valid", "test"):
        if rule.column:
            part_of.update(dict.fromkeys(getattr(rule, part), part))
        elif part in rule.lists:
            file = locate(rule.lists[part], place)
            if file is None:
                raise DatasetError(
                    f"{place.folder}: no {rule.lists[part]}, which names the {part} clips of {manifest.name}"
                )
            lines = file.read_text(encoding="utf-8").split("\n")
            part_of.update(dict.fromkeys((line.strip() for line in lines if line.strip()), part))
    return [part_of.get(key, rule.rest) for key in (raw[rule.column] if rule.column else raw["_tail"])]


def _folds(values: pd.Series, lines: pd.Series) -> list[int]:
    folds = []
    for value, line in zip(values, lines, strict=True):
        number = fold_number(value)
        if number is None:
            raise DatasetError(f"{line}: fold={value[:60]!r} must end in a number of up to nine digits")
        folds.append(number)
    return folds


def _midi_number(note: str, line: object = "") -> int:
    """Return the MIDI number of a note name: A4 is 69, Cs3 and C#3 are 49, Bb2 is 46."""
    match = re.fullmatch(r"([A-G])([s#b]?)(-?\d+)", note.strip())
    if match is None:
        raise DatasetError(
            f"{line}: note {note!r} must be a letter A to G, s, # or b or nothing, and an octave, as in Cs3"
        )
    letter, accidental, octave = match.groups()
    return 12 * (int(octave) + 1) + SEMITONES[letter] + {"": 0, "s": 1, "#": 1, "b": -1}[accidental]


def typed(values: pd.Series, kind: str, name: str, lines: pd.Series) -> pd.Series:
    """Convert text to the type that a manifest gives a factor; empty cells become missing values (or stay "")."""
    if kind == "str":
        return values.astype(object).astype(str)
    text = values.astype(object).astype(str).str.strip()
    if kind == "bool":
        truth = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        result = text.str.lower().map(truth)
        bad = result.isna() & (text != "")
        result = result.astype("boolean" if result.isna().any() else bool)
    else:
        result = pd.to_numeric(text.where(text != "", np.nan), errors="coerce")
        bad = result.isna() & (text != "")
        if kind == "int":
            bad |= result.notna() & (result % 1 != 0)
            result = result.where(~bad).astype("Int64" if result.isna().any() or bad.any() else "int64")
    if bad.any():
        first = int(np.argmax(bad.to_numpy()))
        expected = TYPES[kind].__name__
        raise DatasetError(
            f"{lines.iloc[first]}: {name}={values.iloc[first]!r} must be {expected} ({int(bad.sum())} such rows)"
        )
    return result
