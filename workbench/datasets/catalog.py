"""Load, list and describe datasets by name, and say how to get one that is not on this machine."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..core.checks import checked, choice, close_match, whole
from ..core.errors import DatasetError, ParameterError
from ..core.files import cache_folder
from ..core.warn import warn
from .clips import Clips
from .contents import printable, why_no_file
from .folders import Own, read_folder
from .hub import HUB_NAME, PREFIX, hub_address, read_hub
from .layouts import CARRIED, Place, find, read, read_part, root_parts
from .leaks import unnamed_group
from .manifest import manifests, read_manifest
from .own_tables import read_table
from .schema import Manifest
from .sounds import FileSounds, GeneratedSounds, channel
from .tables import finish, typed


@dataclass(frozen=True)
class Generated:
    """A generated set: a module with table(size, seed=), recipe(row), render(recipe), RATE, VERSION and FACTORS."""

    module: str
    label: str
    """Factor that is used as the label."""
    group: str
    """Factor that is used as the group."""


#: Generated sets by name.
GENERATED = {
    "notes": Generated("workbench.datasets.generated.notes", "instrument", "specimen"),
    "scenes": Generated("workbench.datasets.generated.scenes", "event", "site"),
    "scenes_multi": Generated("workbench.datasets.generated.scenes_multi", "tags", "site"),
    "utterances": Generated("workbench.datasets.generated.utterances", "emotion_like", "speaker"),
    "voices": Generated("workbench.datasets.generated.voices", "technique", "singer"),
}
#: Options of every dataset that is stored in files.
OPTIONS = ("missing", "mono")
#: Number of clips of a generated set if no size is given.
GENERATED_SIZE = 1000

Roots = "str | os.PathLike | Sequence[str | os.PathLike] | None"


@checked
def data_roots(root: Roots = None) -> list[Path]:
    """Return the folders searched for datasets, in order: those given, those of WORKBENCH_DATA, the download cache.

    Raises
    ------
    ParameterError
        `root` is neither a folder nor a list of folders.
    DatasetError
        There is no folder of that name.
    """
    folders = [] if root is None else [root] if isinstance(root, (str, os.PathLike)) else root
    if not isinstance(folders, (list, tuple)) or not all(isinstance(folder, (str, os.PathLike)) for folder in folders):
        raise ParameterError("root", root, "a folder or a list of folders")
    for folder in folders:
        if not Path(folder).expanduser().is_dir():
            raise DatasetError(f"root={str(folder)!r} must be a folder with datasets in it; there is no such folder")
    named = [part for part in os.environ.get("WORKBENCH_DATA", "").split(os.pathsep) if part]
    return [Path(folder).expanduser() for folder in [*folders, *named]] + [cache_folder() / "data"]


@checked
def known_datasets(root: Roots = None) -> list[str]:
    """Return the names of all datasets that :func:`load_dataset` knows.

    These are the generated sets, the datasets with a manifest and the parts of the data roots' manifest.csv.
    """
    return sorted([*GENERATED, *manifests(), *(part for folder in data_roots(root) for part in root_parts(folder))])


@checked
def load_dataset(
    name: str | os.PathLike,
    *,
    root: Roots = None,
    label: str | None = None,
    group: str | None = None,
    fold: str | None = None,
    size: int | None = None,
    seed: int = 0,
    thirds: bool | None = None,
    **options: Any,
) -> Clips:
    """Load a dataset: a generated one, a published one that is on this machine, or your own sounds.

    Parameters
    ----------
    name : str or path
        One of these: a name from :func:`list_datasets`; a part of a data root's manifest.csv; a folder whose
        sub-folders are the labels (below train, valid and test folders if there are such); a csv with the columns path
        and label, and optionally id, group, split, fold, start, stop and factors; your own manifest (.yaml);
        "hf:owner/name", a public dataset of the Hugging Face hub (also "hf:owner/name:config" and
        "hf:owner/name@revision"); or "hf:folder", a folder that the `datasets` library reads, such as parquet files or
        what ``save_to_disk`` wrote.
    root : path or several, optional
        Data roots that are searched first; then come those of the environment variable WORKBENCH_DATA, then the
        download cache.
    label : str, optional
        Another column to use as the label; clips where it is empty are left out and counted. If it holds numbers that
        are not classes, :attr:`Clips.target` has the numbers, and the labels are their thirds. A column called tags
        holds sets of tags ("bark+siren", "none"), which :attr:`Clips.tags` returns as one column a tag.
    group : str, optional
        Another column to use as the group (speaker, singer, source ...); clips of one group are never on two sides of a
        split. "" means no groups. If no column is named and one looks like a group, a warning says so.
    fold : str, optional
        Column whose values are the folds, in place of any published split.
    size : int, optional
        For generated sets the number of clips (1000 by default); for others, how many clips are drawn at random with
        classes balanced.
    seed : int
        Seed of the generated set or of the random draw.
    thirds : bool, optional
        Whether a label that holds numbers is cut into thirds (over all clips, before `size` draws some). By default it
        is cut if the numbers cannot be classes: if they are not whole and there are more than two different ones, or if
        there are more than 20 different whole ones that do not run from 0 or 1 without a gap, in a column that is not
        called an id, a class, a speaker or the like.
    **options
        Published datasets take ``split``: the name of a split rule of the manifest, or "none".
        Datasets in files take ``missing`` and ``mono``. ``missing`` says what happens to clips whose file is not there,
        and to rows of a csv without a label: "raise" (the default) is an error, "skip" leaves them out and counts them
        in ``Clips.dropped``. In a folder, where no table lists the files, broken links and empty files are left out and
        named in a warning unless ``missing="raise"``. ``mono`` is "mean" (the mean of the channels, the default),
        "left", "right" or the number of one channel, counted from 0.
        Datasets of the hub also take ``audio``, the column of the sounds; by default it is the first such column.

    Returns
    -------
    Clips

    Raises
    ------
    DatasetError
        The name is unknown (the error names close matches), files are missing (it says what to get, from where, under
        which licence, and where to put it), or a table is wrong (it names the file and the row).
    ParameterError
        The dataset does not have the column or option.

    Warns
    -----
    UserWarning
        Once, with everything that was left out of a folder or csv, or read in another way than it is written.
    """
    key = os.fspath(name)
    if not isinstance(key, str) or not key or "\0" in key:
        raise ParameterError("name", key, "a dataset's name, a folder or a table")
    if size is not None:
        whole("size", size, least=1)
    for option, column in (("label", label), ("fold", fold)):
        if column == "":
            raise ParameterError(option, column, "the name of a column")
    if key in GENERATED:
        clips = _generate(key, size, seed, options)
        return _columns(clips, label, group, fold, thirds)
    own = Path(key).expanduser()
    if key.startswith(PREFIX):
        _allow(key, options, ("audio", *OPTIONS))
        clips = _of_hub(key, label, thirds, options)
        label, thirds = None, None
    elif key in manifests() or own.suffix in (".yaml", ".yml"):
        _allow(key, options, ("split", *OPTIONS))
        clips = _published(manifests().get(key) or read_manifest(own), data_roots(root), {**options, "group": group})
        group = None
    elif own.is_dir():
        _allow(key, options, OPTIONS)
        clips = _own(own, read_folder(own, options.get("missing")), options)
    elif own.is_file():
        _allow(key, options, OPTIONS)
        clips = _own(own, read_table(own, label, options.get("missing"), thirds), options)
        label, thirds = None, None
    else:
        _allow(key, options, OPTIONS)
        clips = _part(key, data_roots(root), options)
    clips = _columns(clips, label, group, fold, thirds)
    return clips if size is None else clips.balanced(size, seed=seed)


def _columns(clips: Clips, label: str | None, group: str | None, fold: str | None, thirds: bool | None) -> Clips:
    """Use the columns that the caller names as label, group and fold; warn if an unnamed column looks like a group."""
    if label is None and thirds:
        raise ParameterError("thirds", thirds, "left out where no label= names the column that is cut")
    clips = clips if label is None else clips.with_label(label, thirds=thirds)
    if group is not None:
        clips = clips.with_group(group)
    elif question := unnamed_group(clips.table.drop(columns=clips.target_name, errors="ignore")):
        warn(f"{clips.name}: {question}")
    return clips if fold is None else clips.with_fold(fold)


def _allow(name: str, options: dict[str, Any], allowed: Sequence[str]) -> None:
    for option in options:
        if option not in allowed:
            hint = close_match(option, allowed)
            takes = f"takes the options {', '.join(allowed)}" if allowed else "is generated and takes no such option"
            raise ParameterError(option, options[option], f"left out: {name} {takes}{hint}")
    choice("missing", options.get("missing", "raise"), ("raise", "skip"))
    if not isinstance(options.get("split", ""), str):
        raise ParameterError("split", options["split"], "text")
    channel(options.get("mono", "mean"))


def _generate(name: str, size: int | None, seed: int, options: dict[str, Any]) -> Clips:
    _allow(name, options, ())
    maker = importlib.import_module(GENERATED[name].module)
    table = maker.table(GENERATED_SIZE if size is None else size, seed=seed)
    columns = tuple(column for column in table.columns if column not in ("id", "label", "split", "fold", "group"))
    if hasattr(maker, "SECONDS"):
        table["seconds"] = float(maker.SECONDS)
    about = describe_dataset(name)
    more = {"title": about.title, "licence": about.licence, "citation": about.citation}
    return Clips(table, GeneratedSounds(GENERATED[name].module, columns), name=name, factors=maker.FACTORS, **more)


def _published(manifest: Manifest, roots: Sequence[Path], options: dict[str, Any]) -> Clips:
    place = find(manifest, roots)
    if place is None:
        raise DatasetError(how_to_get(manifest, roots))
    raw = read(manifest, place)
    table, factors = finish(manifest, raw, place, split=options.get("split", "default"), group=options.get("group"))
    if not len(table):
        raise DatasetError(f"{place.folder}: none of the {len(raw)} rows found is one of {manifest.name}'s clips")
    about = {"title": manifest.title, "licence": manifest.licence, "citation": manifest.citation}
    where = f"{manifest.name} in {place.folder}"
    table, dropped = _without_missing(table, where, options.get("missing"), manifest, place.kind != "part")
    return Clips(
        table, FileSounds(options.get("mono", "mean")), name=manifest.name, factors=factors, dropped=dropped, **about
    )


def _own(path: Path, own: Own, options: dict[str, Any]) -> Clips:
    table, dropped = _without_missing(own.table, printable(path), options.get("missing"), listed=True)
    if own.notes:
        warn(f"{printable(path)}: {'; '.join(own.notes)}")
    sounds = FileSounds(options.get("mono", "mean"))
    about = {"name": printable(path.stem) or "folder", "dropped": {**own.dropped, **dropped}}
    about["target_name"] = own.target_name
    return Clips(table, sounds, factors=own.factors, **about)


def _of_hub(name: str, label: str | None, thirds: bool | None, options: dict[str, Any]) -> Clips:
    missing, mono = options.get("missing"), options.get("mono", "mean")
    found = read_hub(name, label, missing, thirds, column=options.get("audio"), mono=mono)
    own = found.own
    table, dropped = _without_missing(own.table, name, missing, listed=True)
    if own.notes:
        warn(f"{name}: {'; '.join(own.notes)}")
    about = {"dropped": {**own.dropped, **dropped}, "target_name": own.target_name, **found.about}
    return Clips(table, found.sounds, factors=own.factors, **about)


def _part(name: str, roots: Sequence[Path], options: dict[str, Any]) -> Clips:
    """Load a part of a data root's manifest.csv for which this package has no manifest."""
    for root in roots:
        if name in root_parts(root):
            raw = read_part(root, name)
            skip = ("label", "split", *CARRIED)
            factors = tuple(c for c in raw.columns if not c.startswith("_") and c not in skip)
            table = pd.DataFrame({"id": [tail.rsplit(".", 1)[0] for tail in raw["_tail"]], "label": raw["label"]})
            split = raw["split"] if "split" in raw else pd.Series("", raw.index)
            is_fold = split.str.fullmatch(r"fold\d{1,9}")
            table["split"] = split.where(split.isin(["train", "valid", "test"]), "")
            table["fold"] = pd.to_numeric(split.where(is_fold, "").str.removeprefix("fold")).astype("Int64")
            for column in (*factors, *[c for c in CARRIED if c in raw]):
                kind = "float" if column == "seconds" else "str"
                table[column] = typed(raw[column], kind, column, raw["_line"])
            for column in ("_path", "_line", "_tail"):
                table[column.replace("_path", "path")] = raw[column]
            table, dropped = _without_missing(table, f"{name} in {root}", options.get("missing"))
            return Clips(table, FileSounds(options.get("mono", "mean")), name=name, factors=factors, dropped=dropped)
    what = printable(name) if _is_path(name) else f"unknown dataset {name!r}"
    raise DatasetError(f"{what}: {_unknown(name, roots)}")


@checked
def check_dataset_name(name: str, argument: str = "name", *, root: Roots = None) -> None:
    """Refuse a name that :func:`load_dataset` cannot know, before anything is read.

    Parameters
    ----------
    name : str
        As for :func:`load_dataset`.
    argument : str
        Name of the caller's argument, for the error.
    root : path or several, optional
        As for :func:`load_dataset`.

    Raises
    ------
    ParameterError
        The name is not known, is no existing folder or file, and is no name of a dataset on the hub; the error offers a
        close name. Whether the clips of a published dataset are on this machine is not checked.
    """
    own, reason = os.path.expanduser(name), ""
    if name.startswith(PREFIX):
        try:
            hub_address(name)
        except DatasetError as error:
            reason = str(error).removeprefix(f"{name}: ")
    elif not (name in known_datasets(root) or os.path.isdir(own) or os.path.isfile(own)):
        reason = _unknown(name, data_roots(root))
    if reason:
        expected = f"the name of a dataset, a folder, a csv file or {PREFIX}owner/name: {reason}"
        raise ParameterError(argument, name, expected)


def _unknown(name: str, roots: Sequence[Path]) -> str:
    """Say why a text is the name of no dataset, folder or file."""
    if os.path.lexists(os.path.expanduser(name)):
        return "is neither a folder nor a file that can be read"
    if _is_path(name):
        hint = f"; a public set of that name on the hub is {PREFIX}{name}" if HUB_NAME.fullmatch(name) else ""
        return f"no such folder or file{hint}"
    return _known([*GENERATED, *manifests(), *(part for root in roots for part in root_parts(root))], name)


def _is_path(name: str) -> bool:
    written = os.sep in name or "/" in name or bool(Path(name).suffix)
    return written or os.path.lexists(os.path.expanduser(name))


def _known(names: Sequence[str], name: str) -> str:
    names = sorted(set(names))
    return f"there are {', '.join(names)}{close_match(name, names)}"


def _without_missing(
    table: pd.DataFrame,
    where: str,
    missing: str | None,
    manifest: Manifest | None = None,
    listed: bool = False,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Refuse or leave out rows whose file is missing.

    With `listed`, paths were found by searching, and "" means that no file was found; they are not checked again.
    """
    gone = ~np.array([bool(path) and (listed or os.path.isfile(path)) for path in table["path"]], bool)
    absent, table = table[gone], table[~gone].drop(columns=["_line", "_tail"], errors="ignore")
    if not len(absent):
        return table, {}
    if len(table) and missing == "skip":
        return table, {"clips whose file is missing": len(absent)}
    names = list(zip(absent["_line"], absent["_tail"], absent["path"], strict=True))
    shown = "; ".join(
        f"{line if isinstance(line, str) else f'line {line}'}: {name}{why_no_file(path)}"
        for line, name, path in names[:5]
    )
    message = f"{where}: the files of {len(absent)} of {len(gone)} clips are missing ({shown})"
    if manifest is not None:
        message += f". {how_to_get(manifest)}"
    raise DatasetError(message + ('; missing="skip" (--missing skip) leaves such clips out' if len(table) else ""))


def how_to_get(manifest: Manifest, roots: Sequence[Path] = ()) -> str:
    """Say how to get a dataset: its title, size and licence, how to fetch it or where to get it, where to put it."""
    folders = " or ".join(dict.fromkeys([manifest.name, *(manifest.layout.folders if manifest.layout else ())]))
    lines = []
    if roots:
        searched = ", ".join(f"{root}{'' if root.is_dir() else ' (no such folder)'}" for root in roots)
        lines.append(f"{manifest.name!r} ({manifest.title}) is not on this machine; looked in {searched}.")
    lines.append(f"Licence: {manifest.licence}.")
    if manifest.access == "unreleased":
        return " ".join([*lines, f"It was never released. {manifest.obtain}"])
    if manifest.files and manifest.access == "open":
        lines.append(f"Get it with `workbench data fetch {manifest.name}` ({manifest.size}), or by hand from:")
        lines.append(
            ", ".join(file.url for file in manifest.files[:3]) + (" ..." if len(manifest.files) > 3 else "") + "."
        )
    lines += [manifest.obtain] if manifest.obtain else []
    lines.append(f"Then put the unpacked files into ROOT/{folders} and pass root=ROOT or set WORKBENCH_DATA=ROOT.")
    return " ".join(lines)


@checked
def describe_dataset(name: str) -> Manifest:
    """Return what is known about a dataset: print it, or read its fields.

    Raises
    ------
    DatasetError
        The name is unknown (the error names close matches), or is that of a dataset on the hub.
    """
    if name in GENERATED:
        maker = importlib.import_module(GENERATED[name].module)
        sample, kinds = maker.table(1), {"i": "int", "f": "float", "b": "bool"}
        title = (maker.__doc__ or name).strip().split("\n")[0].rstrip(".")
        return Manifest(
            name=name,
            title=title,
            licence="MIT, as this package",
            citation="made by this package; say that the audio is generated",
            homepage="",
            access="generated",
            label=GENERATED[name].label,
            notes=f"Version {maker.VERSION}, {maker.RATE} Hz; made from a seed when it is loaded, nothing to download.",
            factors={factor: kinds.get(sample[factor].dtype.kind, "str") for factor in maker.FACTORS},
            group=(GENERATED[name].group,),
        )
    if name in manifests():
        return manifests()[name]
    if name.startswith(PREFIX):
        raise DatasetError(
            f"{name}: a set of the hub has no entry here; load_dataset({name!r}) downloads it when first used"
        )
    raise DatasetError(f"unknown dataset {name!r}: {_known([*GENERATED, *manifests()], name)}")


@checked
def list_datasets(*, root: Roots = None) -> pd.DataFrame:
    """List all datasets by name.

    Parameters
    ----------
    root : path or several, optional
        As for :func:`load_dataset`.

    Returns
    -------
    DataFrame
        Columns name, title, licence, access, clips (Int64, the number in the complete set), size (of the download) and
        found (its folder on this machine, "" if it is not there, "built in" for generated sets).
    """
    roots = data_roots(root)
    rows = []
    for name in sorted([*GENERATED, *manifests()]):
        about = describe_dataset(name)
        place: Place | None = None if name in GENERATED else find(about, roots)
        folder = "built in" if name in GENERATED else "" if place is None else str(place.folder)
        rows.append((name, about.title, about.licence, about.access, about.clips, about.size, folder))
    table = pd.DataFrame(rows, columns=["name", "title", "licence", "access", "clips", "size", "found"])
    return table.astype({"clips": "Int64"})
