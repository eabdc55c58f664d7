"""Find the files of a published dataset, and read their rows as its manifest describes them.

Reading yields text columns as the publisher wrote them, with the path of the sound in `_path` ("" where there is no
such file), the part of that path inside the dataset in `_tail`, and the line or file that a row came from in `_line`;
:mod:`workbench.datasets.tables` turns them into the dataset's table.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..core.checks import close_match
from ..core.errors import DatasetError
from .delimited import read_rows
from .schema import Layout, Manifest, placeholders

#: Suffixes of the files that libsndfile decodes.
SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64")
SOUNDS += (".wave", ".bwf", ".mp2", ".mpga", ".aifc", ".aifr", ".snd", ".sph", ".nist", ".voc", ".iff", ".8svx", ".svx")
#: Columns of a data root's manifest.csv that are kept for each clip besides its factors.
CARRIED = ("seconds", "licence", "attribution", "sha256")


@dataclass(frozen=True)
class Place:
    """Where the files of a dataset are."""

    folder: Path
    """Folder below which its files are."""
    kind: str
    """"part" (of the root's manifest.csv), "folder" (the dataset's own) or "root" (the root itself is the dataset)."""


# --- walking ----------------------------------------------------------------------------------------------------


def _files_below(folder: Path, suffixes: Sequence[str] | None = None, depth: int | None = None) -> Iterator[str]:
    """Yield relative paths (with /) of the files below a folder, in sorted order, without hidden files and __MACOSX.

    Parameters
    ----------
    folder : Path
    suffixes : sequence of str, optional
        Lower-case suffixes of the files to yield; by default all.
    depth : int, optional
        Number of levels of sub-folders to enter; by default all.
    """
    top = os.fspath(folder)
    for where, folders, names in os.walk(top):
        inside = os.path.relpath(where, top).replace(os.sep, "/")
        level = 0 if inside == "." else inside.count("/") + 1
        going_on = depth is None or level < depth
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX") if going_on else []
        for name in sorted(names):
            if name.startswith(".") or (suffixes is not None and os.path.splitext(name)[1].lower() not in suffixes):
                continue
            yield name if inside == "." else f"{inside}/{name}"


def _expression(pattern: str, anchored: bool) -> re.Pattern:
    return re.compile(f"(?P<_tail>{pattern})" if anchored else f"(?:.*/)?(?P<_tail>{pattern})")


def _matches(pattern: str, place: Place, suffixes: Sequence[str] | None) -> Iterator[tuple[str, re.Match]]:
    anchored = place.kind == "root"
    expression = _expression(pattern, anchored)
    for path in _files_below(place.folder, suffixes, depth=pattern.count("/") if anchored else None):
        match = expression.fullmatch(path)
        if match:
            yield path, match


def locate(tail: str, place: Place) -> Path | None:
    """Return the file of a dataset whose path ends with `tail`, or None; of several, the one in the fewest folders."""
    direct = place.folder / tail
    if direct.is_file() or place.kind == "root":
        return direct if direct.is_file() else None
    hits = [path for path in _files_below(place.folder) if f"/{path}".endswith(f"/{tail}")]
    return place.folder / min(hits, key=lambda path: (path.count("/"), path)) if hits else None


def find(manifest: Manifest, roots: Sequence[Path]) -> Place | None:
    """Return the first place among the data roots where the files of a dataset are, or None.

    Looked for in each root are, in this order, a part of its manifest.csv, a folder with the dataset's name or one of
    the layout's folder names, and the root itself in the publisher's layout (unless it has a manifest.csv, which then
    describes the root).
    """
    for root in roots:
        parts = root_parts(root)
        if manifest.local is not None and manifest.local.part in parts:
            return Place(root, "part")
        if manifest.layout is None:
            continue
        candidates = [Place(root / name, "folder") for name in (manifest.name, *manifest.layout.folders)]
        candidates += [] if parts else [Place(root, "root")]
        for place in candidates:
            if place.folder.is_dir() and _has_files(manifest.layout, place):
                return place
    return None


def _has_files(layout: Layout, place: Place) -> bool:
    if layout.csv:
        return locate(layout.csv, place) is not None
    pattern, suffixes = (layout.paths, SOUNDS) if layout.paths else (layout.text, None)
    return next(_matches(pattern, place, suffixes), None) is not None


# --- a data root with its own manifest.csv ------------------------------------------------------------------------


def root_parts(root: Path) -> tuple[str, ...]:
    """Return the names in the `part` column of a root's manifest.csv; empty if there is no such file or column."""
    file = Path(root) / "manifest.csv"
    if not file.is_file():
        return ()
    table = _root_table(file, file.stat().st_mtime_ns)
    return tuple(sorted(set(table["part"]))) if "part" in table else ()


@functools.lru_cache(maxsize=8)
def _root_table(file: Path, changed: int) -> pd.DataFrame:
    table = read_rows(file)
    table["_line"] = table.index
    return table


def read_part(root: Path, part: str) -> pd.DataFrame:
    """Read the rows of one part of a root's manifest.csv, with a column for each factor.

    Raises
    ------
    DatasetError
        The file lacks a column, or a row's factors are not a JSON object (the error names the line).
    """
    file = Path(root) / "manifest.csv"
    table = _root_table(file, file.stat().st_mtime_ns)
    for column in ("file", "part", "label"):
        if column not in table:
            raise DatasetError(f"{file}: has no column {column!r}, only {', '.join(table.columns[:-1])}")
    table = table[table["part"] == part]
    rows = []
    for line, text in zip(table["_line"], table.get("factors", pd.Series("", table.index)), strict=True):
        try:
            rows.append({key: str(value) for key, value in json.loads(text or "{}").items()})
        except (ValueError, AttributeError):
            raise DatasetError(f"{file}, line {line}: factors={text!r} must be a JSON object") from None
    raw = pd.DataFrame(rows, index=table.index).fillna("")
    for column in ("label", "split", *CARRIED):
        if column in table and column not in raw:
            raw[column] = table[column]
    raw["_path"] = [os.path.join(root, name) for name in table["file"]]
    raw["_tail"] = [name.removeprefix(f"{part}/") for name in table["file"]]
    raw["_line"] = table["_line"]
    return raw.reset_index(drop=True)


# --- the publisher's layout ----------------------------------------------------------------------------------------


def _read_csv(file: Path, header: int = 1) -> pd.DataFrame:
    """Read a csv or tsv as text, indexed by the line in the file; names in several header lines are joined by a dot."""
    if header == 1:
        return read_rows(file, "\t" if file.suffix == ".tsv" else ",")
    try:
        sep = "\t" if file.suffix == ".tsv" else ","
        table = pd.read_csv(file, sep=sep, dtype=str, keep_default_na=False, header=list(range(header)), index_col=0)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file}: cannot be read as a table: {error}") from None
    table.columns = [".".join(part for part in names if part) for names in table.columns]
    table = table.reset_index()
    table.index += header + 2
    return table


def read(manifest: Manifest, place: Place) -> pd.DataFrame:
    """Read the rows of a dataset as text columns, as they were published."""
    if place.kind == "part":
        return _read_local(manifest, place)
    layout = manifest.layout
    if layout.paths:
        rows = [
            {**_groups(match), "_path": os.path.join(place.folder, path), "_line": path}
            for path, match in _matches(layout.paths, place, SOUNDS)
        ]
        return pd.DataFrame(rows)
    raw, base, source = _read_text(layout, place) if layout.text else _read_table(layout, place)
    raw["_tail"] = [layout.audio.format(**row) for row in raw[placeholders(layout.audio)].to_dict("records")]
    raw["_path"] = _look_up(list(raw["_tail"]), place.folder, base, source)
    return raw


def _groups(match: re.Match) -> dict[str, str]:
    return {name: text or "" for name, text in match.groupdict().items()}


def _read_local(manifest: Manifest, place: Place) -> pd.DataFrame:
    raw = read_part(place.folder, manifest.local.part)
    for ours, theirs in manifest.local.columns.items():
        if theirs not in raw:
            raise DatasetError(
                f"{place.folder / 'manifest.csv'}: part {manifest.local.part!r} has no column or factor {theirs!r}, "
                f"which the manifest of {manifest.name!r} reads as {ours!r}{close_match(theirs, raw.columns)}"
            )
        raw[ours] = raw[theirs]
    return raw


def _read_table(layout: Layout, place: Place) -> tuple[pd.DataFrame, Path, str]:
    file = locate(layout.csv, place)
    table = _read_csv(file, layout.header)
    wanted = {**layout.columns, **{f"_tag {tag}": column for tag, column in layout.tags.items()}}
    for name, column in wanted.items():
        if column not in table:
            raise DatasetError(f"{file}: has no column {column!r} (for {name!r}){close_match(column, table.columns)}")
    raw = table[list(wanted.values())].set_axis(list(wanted), axis="columns")
    raw["_line"] = table.index.to_numpy()
    raw = raw.reset_index(drop=True)
    if layout.one_row_per:
        raw = _one_row_per_clip(raw, layout)
    base = file.parents[layout.csv.count("/")]
    return raw, base, str(file)


def _one_row_per_clip(raw: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Merge the rows of a clip: a tag applies if any row has it, of the trusted rows alone if there are some."""
    trusted = np.ones(len(raw), bool)
    for column, values in layout.trust.items():
        trusted &= raw[column].isin(values).to_numpy()
    clip = raw[layout.one_row_per]
    has_trusted = clip.isin(set(clip[trusted])).to_numpy()
    raw = raw[trusted | ~has_trusted]
    clip = raw[layout.one_row_per]
    merged = raw.drop_duplicates(layout.one_row_per).reset_index(drop=True)
    for tag in layout.tags:
        heard = raw[f"_tag {tag}"].str.strip().isin(("1", "1.0")).groupby(clip.to_numpy()).any()
        merged[tag] = heard.loc[merged[layout.one_row_per]].astype(int).astype(str).to_numpy()
    names = np.array(list(layout.tags))
    on = merged[list(layout.tags)].to_numpy() == "1"
    merged["tags"] = ["+".join(names[row]) or "none" for row in on]
    return merged


def _read_text(layout: Layout, place: Place) -> tuple[pd.DataFrame, Path, str]:
    expression = re.compile(layout.rows, re.MULTILINE)
    rows = []
    for path, match in _matches(layout.text, place, None):
        text = (place.folder / path).read_text(encoding="utf-8", errors="replace")
        rows += [{**_groups(match), **_groups(row), "_line": path} for row in expression.finditer(text)]
    return pd.DataFrame(rows, columns=[*layout.gives, "_line"]), place.folder, str(place.folder)


def _look_up(tails: list[str], folder: Path, base: Path, source: str) -> list[str]:
    """Find sounds by the end of their path, below `base` if possible, else below `folder`; "" if there is none."""
    by_name: dict[str, list[str]] = {}
    for path in _files_below(folder, SOUNDS):
        by_name.setdefault(path.rsplit("/", 1)[-1], []).append(path)
    inside = "" if base == folder else base.relative_to(folder).as_posix() + "/"
    paths = []
    for tail in tails:
        hits = [path for path in by_name.get(tail.rsplit("/", 1)[-1], []) if f"/{path}".endswith(f"/{tail}")]
        hits = [path for path in hits if path == inside + tail] or hits
        if len(hits) > 1:
            raise DatasetError(f"{source}: {tail!r} could be any of {', '.join(hits[:5])} in {folder}; keep one copy")
        paths.append(os.path.join(folder, hits[0]) if hits else "")
    return paths
