"""Load public datasets by their name on the Hugging Face hub, and folders that the `datasets` library reads.

A name is "hf:owner/name", followed by ":config" if the dataset has several configurations and by "@revision" for
another revision of it; or "hf:folder", where the folder holds parquet files, sounds with a metadata file, or what
``save_to_disk`` wrote. The library (extra `datasets`) finds, downloads and caches the dataset; its sounds are decoded
by this package, as all others are.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core import dependencies
from ..core.checks import close_match
from ..core.errors import DatasetError, ParameterError
from .arrow_sounds import ArrowSounds, cells_of
from .contents import printable, quick_look
from .folders import SPLITS, Own
from .labels import fold_number, is_missing, tidy
from .own_tables import read_raw

if TYPE_CHECKING:
    import datasets

PREFIX = "hf:"
ADDRESS = re.compile(r"(?P<path>.+?)(:(?P<config>[\w.+ -]+))?(@(?P<revision>[\w./-]+))?")
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
#: Files that save_to_disk writes into a folder.
SAVED = ("dataset_dict.json", "state.json")
#: Columns that this package gives a meaning; a column of the same name with another meaning is renamed "..._column".
TAKEN = ("id", "split", "fold", "group", "path", "seconds", "start", "stop")


@dataclass(frozen=True)
class HubSet:
    """A dataset of the hub as it was read."""

    own: Own
    sounds: ArrowSounds
    about: dict[str, str]
    """The values of name, licence and citation."""


@dataclass(frozen=True)
class _Address:
    """Where a dataset is found."""

    path: str
    """A folder, or owner/name on the hub."""
    config: str | None
    revision: str | None
    local: bool


def read_hub(
    name: str,
    label: str | None = None,
    missing: str | None = None,
    thirds: bool | None = None,
    *,
    column: str | None = None,
    mono: str | int = "mean",
) -> HubSet:
    """Read a dataset of the hub, or a folder that the `datasets` library reads.

    Parameters
    ----------
    name : str
        "hf:owner/name" or "hf:owner/name:config", both optionally followed by "@revision", or "hf:folder".
    label : str, optional
        Column that is the label; by default "label", or the only column of classes if there is no "label".
    missing : {None, "raise", "skip"}
        What to do with rows without a label, as for :func:`read_table`.
    thirds : bool, optional
        As for :meth:`Clips.with_label`.
    column : str, optional
        Column of the sounds; by default the first.
    mono : {"mean", "left", "right"} or int
        As for :class:`FileSounds`.

    Raises
    ------
    DependencyError
        The library is not installed.
    DatasetError
        There is no such dataset, it cannot be reached or read, or it has no sounds or no label; the error says what to
        do.
    ParameterError
        `column` is not a column of sounds.
    """
    address = hub_address(name)
    library = dependencies.load("datasets")
    splits = _load(library, name, address)
    notes = [f"the split {split!r} is empty" for split, rows in splits.items() if rows is None]
    splits = {split: rows for split, rows in splits.items() if rows is not None}
    if not splits:
        raise DatasetError(f"{name}: has no rows")
    features = next(iter(splits.values())).features
    column = _sounds_in(name, features, column, notes)
    label = _label_in(name, features, label, len(splits) > 1)
    files = [file["filename"] for part in splits.values() for file in part.cache_files]
    raw, sounds = _rows(name, splits, column, address.path if address.local else "")
    raw, ours = _ours(raw, column, label, [*splits])
    raw.attrs |= {"row": "row ", "notes": notes + _left_out(features)}
    stems = _stems(sounds)
    own = read_raw(
        raw,
        ours,
        name,
        lambda tails: (stems[tails.index].tolist(), sounds["path"][tails.index].tolist(), []),
        label=label,
        missing=missing,
        thirds=thirds,
        names=_names(features),
    )
    kept = sounds.loc[own.table["_line"]]
    places = zip(own.table["id"], kept["file"].tolist(), kept["position"].tolist(), strict=True)
    places = {clip: (file, position) for clip, file, position in places if file >= 0}
    own.table["_line"] = "row " + own.table["_line"].astype(str)
    return HubSet(own, ArrowSounds(places, files, column, mono), _about(address, next(iter(splits.values()))))


# --- finding ------------------------------------------------------------------------------------------------------


def hub_address(name: str) -> _Address:
    """Parse the name of a dataset into its folder, or its name on the hub with configuration and revision.

    A text that is the path of an existing folder means that folder.

    Raises
    ------
    DatasetError
        The text is the path of a file, or is not a name that a dataset on the hub can have.
    """
    text = name.removeprefix(PREFIX)
    if Path(text).expanduser().is_dir() and text:
        return _Address(os.fspath(Path(text).expanduser()), None, None, local=True)
    if Path(text).expanduser().is_file():
        raise DatasetError(f"{name}: is a file; name the folder it lies in, {PREFIX}{os.path.dirname(text) or '.'}")
    match = ADDRESS.fullmatch(text)
    path = Path(match["path"]).expanduser() if match else Path("")
    if match and path.is_dir() and match["revision"] is None:
        return _Address(os.fspath(path), match["config"], None, local=True)
    if not match or not HUB_NAME.fullmatch(match["path"]):
        raise DatasetError(
            f"{name}: no such folder, and no name of a set on the hub: hf:owner/name, hf:owner/name:config or "
            "hf:owner/name@revision"
        )
    return _Address(match["path"], match["config"], match["revision"], local=False)


def _load(library: ModuleType, name: str, address: _Address) -> dict[str, datasets.Dataset | None]:
    """Return the rows of each split, mapped into memory; None for an empty split."""
    try:
        with _without_torchcodec():
            if address.local and any((Path(address.path) / file).is_file() for file in SAVED):
                return _saved(library, Path(address.path))
            builder = library.load_dataset_builder(address.path, address.config, revision=address.revision)
            builder.download_and_prepare()
            counts = {split: about.num_examples for split, about in builder.info.splits.items()}
            return {split: builder.as_dataset(split=split) if count else None for split, count in counts.items()}
    except Exception as error:  # the library, its readers and the hub's client raise dozens of types
        raise DatasetError(f"{name}: {_why(error, address)}") from error


def _saved(library: ModuleType, folder: Path) -> dict[str, datasets.Dataset | None]:
    """Load what save_to_disk wrote: a single split, or one folder for each split."""
    splits = {"train": folder}
    if (folder / SAVED[0]).is_file():
        splits = {name: folder / name for name in json.loads((folder / SAVED[0]).read_text(encoding="utf-8"))["splits"]}
    found = {}
    for split, place in splits.items():
        rows = library.load_from_disk(place, keep_in_memory=False) if any(place.glob("*.arrow")) else None
        # selected rows are stored as indices, and are written to a file of their own here
        chosen = rows is not None and (place / "indices.arrow").is_file()
        found[split] = rows.flatten_indices() if chosen else rows
    return found


@contextlib.contextmanager
def _without_torchcodec() -> Iterator[None]:
    """Put a placeholder in the place of torchcodec, where it cannot be imported, while a dataset is loaded.

    The library imports torchcodec before it stores the path or the bytes of a sound, but does not use it for that.
    """
    try:
        importlib.import_module("torchcodec.encoders")
    except Exception:  # not installed, or built for another torch or FFmpeg
        names = ("torchcodec", "torchcodec.encoders")
        before = {name: sys.modules.get(name) for name in names}
        sys.modules.update({name: ModuleType(name) for name in names})
        sys.modules["torchcodec.encoders"].AudioEncoder = None
        try:
            yield
        finally:
            for name in names:
                sys.modules.pop(name, None)
            sys.modules.update({name: module for name, module in before.items() if module is not None})
    else:
        yield


def _why(error: Exception, address: _Address) -> str:
    """Say why a dataset does not load, and what to do."""
    text, kinds, cause = " ".join(str(error).split()), set(), error
    while cause is not None:
        kinds.add(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    if found := re.search(r"available configs: \[(.*?)\]", text):
        known = re.findall(r"'([^']+)'", found[1])
        return f"has the configurations {', '.join(known)}: name one, as in {PREFIX}{address.path}:{known[0]}"
    if found := re.search(r"not found\. Available: \[(.*?)\]", text):
        known = re.findall(r"'([^']+)'", found[1])
        return f"has no configuration {address.config!r}, only {', '.join(known)}{close_match(address.config, known)}"
    if "is a gated dataset" in text or "GatedRepoError" in kinds:
        return (
            "is available only if you have accepted its conditions: do so on its page of the hub, then log in on "
            "this machine with `hf auth login` (or set HF_TOKEN)"
        )
    if "scripts are no longer supported" in text:
        return (
            "is published as a program, and those are not run; where the hub has made parquet files of it, "
            f"{PREFIX}{address.path}@refs/convert/parquet is the same set"
        )
    if address.local:
        return f"holds nothing that the datasets library reads ({text[:300]})"
    if kinds & {"ConnectionError", "ConnectError", "OfflineModeIsEnabled", "LocalEntryNotFoundError"}:
        return (
            "is not on this machine, and the hub cannot be reached: there is no network, or HF_HUB_OFFLINE is set. "
            f"Where there is one, `hf download {address.path} --repo-type dataset --local-dir FOLDER` gets it, and "
            f"{PREFIX}FOLDER loads it here"
        )
    if "DatasetNotFoundError" in kinds and "evision" not in text:
        return (
            "there is no such set on the hub, or it is private: check the name, or log in on this machine with "
            "`hf auth login` (or set HF_TOKEN)"
        )
    return f"cannot be loaded ({type(error).__name__}: {text[:300]})"


def _about(address: _Address, rows: datasets.Dataset) -> dict[str, str]:
    name = (Path(address.path).resolve().name if address.local else address.path) or "folder"
    name += f":{address.config}" if address.config else ""
    licence = rows.info.license or _licence_of_card(address)
    return {"name": printable(name), "licence": licence, "citation": (rows.info.citation or "").strip()}


def _licence_of_card(address: _Address) -> str:
    """Return the licence from the header of a dataset's README.md, in its folder or in the hub's cache; "" if none."""
    import yaml

    card = Path(address.path) / "README.md"
    if not address.local:
        from huggingface_hub import try_to_load_from_cache

        where = {"repo_type": "dataset", "revision": address.revision}
        card = Path(str(try_to_load_from_cache(address.path, "README.md", **where)))
    try:
        head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8"), re.DOTALL)
        known = yaml.safe_load(head[1]) if head else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""
    licence = known.get("license") or "" if isinstance(known, dict) else ""
    return ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence)


# --- columns ------------------------------------------------------------------------------------------------------


def _holds_sounds(feature: object) -> bool:
    """Whether a column has the type Audio, or holds structs of bytes and path without a declared type."""
    return type(feature).__name__ == "Audio" or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _is_class(feature: object) -> bool:
    return type(feature).__name__ == "ClassLabel"


def _is_plain(feature: object) -> bool:
    """Whether a column holds words, numbers or classes, and not lists, structs, sounds or pictures."""
    is_value = type(feature).__name__ == "Value"
    return _is_class(feature) or (is_value and "binary" not in feature.dtype and feature.dtype != "null")


def _names(features: Mapping[str, Any]) -> set[str]:
    """Return the columns that hold words, even if these look like numbers."""
    numeric = re.compile("u?int|float|double|decimal|bool")
    plain = {each for each, feature in features.items() if _is_plain(feature)}
    words = {each for each in plain if _is_class(features[each]) or not numeric.match(features[each].dtype)}
    return {*words, *(f"{each}_column" for each in words), "split_name"}


def _left_out(features: Mapping[str, Any]) -> list[str]:
    others = [each for each, feature in features.items() if not _is_plain(feature) and not _holds_sounds(feature)]
    return [f"columns that hold neither words nor numbers are left out: {', '.join(others)}"] if others else []


def _sounds_in(name: str, features: Mapping[str, Any], column: str | None, notes: list[str]) -> str:
    found = [each for each, feature in features.items() if _holds_sounds(feature)]
    if not found:
        raise DatasetError(f"{name}: has no column of sounds, only {', '.join(features)}")
    if column is None:
        others = ", ".join(f"audio={each!r}" for each in found[1:])
        notes += [f"of the columns of sounds {found[0]!r} is taken; {others} takes another"] if others else []
        return found[0]
    if column not in found:
        raise ParameterError("audio", column, f"a column of sounds of {name}: {', '.join(found)}")
    return column


def _label_in(name: str, features: Mapping[str, Any], label: str | None, several: bool) -> str:
    """Return the column of the label, which may be "split_name" if there are several splits."""
    plain = [each for each, feature in features.items() if _is_plain(feature)]
    classes = [each for each in plain if _is_class(features[each])]
    plain += ["split_name"] if several else []
    wanted = label or ("label" if "label" in plain or len(classes) != 1 else classes[0])
    if wanted in plain:
        return wanted
    first = ", ".join(sorted(plain, key=lambda each: each not in classes)) or "sounds"
    hint = close_match(wanted, plain)
    raise DatasetError(
        f'{name}: has no column {wanted!r}, only {first}{hint}; choose one with label="..." (--label ...)'
    )


def _words(feature: Any, values: list) -> list[str]:
    """Return values as text, "" where one is missing."""
    if _is_class(feature):  # -1: the label of a test split that is not published
        return ["" if value is None or value < 0 else feature.names[value] for value in values]
    if feature.dtype in ("float16", "float32"):
        values = [None if value is None else np.float32(value) for value in values]
    return ["" if value is None else str(value) for value in values]


def _rows(
    name: str, splits: Mapping[str, datasets.Dataset], column: str, folder: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all rows as text, with the names of their sounds, and a second table of where the sounds are.

    The columns of the second table are those of :func:`_where`.
    """
    frames, sounds, count = [], [], 0
    for split, part in splits.items():
        plain = [each for each, feature in part.features.items() if _is_plain(feature)]
        table = part.select_columns(plain).with_format("arrow")[:] if plain else {}
        index = [f"{split} {i}" if len(splits) > 1 else str(i) for i in range(part.num_rows)]
        frame = pd.DataFrame({each: _words(part.features[each], table[each].to_pylist()) for each in plain}, index)
        sounds.append(_where(name, part, column, folder, count).set_axis(index))
        frame[column] = sounds[-1]["tail"]
        frames.append(frame.assign(split_name=split) if len(splits) > 1 else frame)
        count += len(part.cache_files)
    return pd.concat(frames).astype(object), pd.concat(sounds)


def _where(name: str, part: datasets.Dataset, column: str, folder: str, first: int) -> pd.DataFrame:
    """Return for each sound its name (tail), its path, the number of its Arrow file (-1: its own file) and its row."""
    from pyarrow import compute

    rows = []
    for number, file in enumerate((each["filename"] for each in part.cache_files), first):
        cells, paths = cells_of(file, quick_look(file), column)
        sizes = compute.fill_null(compute.binary_length(cells), 0).to_pylist()
        paths = [None] * len(sizes) if paths is None else paths.to_pylist()
        for position, (size, path) in enumerate(zip(sizes, paths, strict=True)):
            tail = PurePosixPath(path or "").name if size else path or ""
            if size:  # the name that the file had where the dataset was made
                rows.append((tail or f"sound {position}", tail or f"sound {position}", number, position))
            else:
                rows.append((tail, _file(tail, folder), -1, position))
    if len(rows) != part.num_rows:
        raise DatasetError(f"{name}: {part.num_rows} rows are promised, and its files hold {len(rows)}")
    return pd.DataFrame(rows, columns=["tail", "path", "file", "position"])


def _file(path: str, folder: str) -> str:
    """Return the file of a path, which may be relative to the dataset's folder; "" if there is no such file."""
    forms = [path, os.path.join(folder, path)] if path else []
    return next((printable(form) for form in forms if os.path.isfile(form)), "")


def _stems(sounds: pd.DataFrame) -> pd.Series:
    """Return the names from which ids are made: those of the sounds or, if these repeat, split and row number."""
    stems = [os.path.splitext(os.path.basename(tail))[0] for tail in sounds["tail"]]
    nameless = len(set(stems)) < len(stems) or any(stem.startswith("sound ") or not stem for stem in stems)
    return pd.Series([f"{row}." for row in sounds.index] if nameless else [f"{stem}." for stem in stems], sounds.index)


def _ours(raw: pd.DataFrame, column: str, label: str, splits: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the rows, with the split they came in as a column, and a mapping of our column names to theirs.

    Columns that have one of our names but another meaning are renamed.
    """
    ours = {"path": column, "label": label}
    usable = {
        "id": lambda words: words.is_unique and not words.map(is_missing).any(),
        "group": lambda words: True,
        "split": lambda words: len(splits) == 1 and words.map(lambda word: not word or word.lower() in SPLITS).all(),
        "fold": lambda words: words.map(lambda word: is_missing(word) or fold_number(word) is not None).all(),
        "seconds": lambda words: (pd.to_numeric(words.replace("", "0"), errors="coerce") >= 0).all(),
    }
    for name, suits in usable.items():
        if name in raw and name not in ours.values() and suits(raw[name]):
            ours[name] = name
    others = {name: f"{name}_column" for name in TAKEN if name in raw and name not in ours.values()}
    raw = raw.rename(columns=others)
    if len(splits) > 1:
        words = raw["split_name"].map({split: tidy(split).lower() for split in splits})
        if all(re.fullmatch(r"fold[-_ ]?\d{1,4}", word) for word in set(words)) and "fold" not in ours:
            ours["fold"], raw["fold"] = "fold", words
        else:
            ours["split"], raw["split"] = "split", words.map(_side)
            if label != "split_name" and not set(words) - set(SPLITS):
                raw = raw.drop(columns="split_name")
    return raw, ours


def _side(split: str) -> str:
    """Return train, valid or test for a split's name such as "validation" or "train.clean.100"; "" for any other."""
    return SPLITS.get(split) or SPLITS.get(re.split(r"[-_. ]", split)[0], "")
