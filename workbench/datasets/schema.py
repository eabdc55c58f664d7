"""Fields of a dataset's manifest, as dataclasses whose fields are those of the YAML file.

`data_manifests/README.md` explains them with examples; :mod:`workbench.datasets.manifest` reads and checks them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.download import human_bytes

ACCESS = ("open", "on_request", "unreleased", "generated")
ARCHIVES = ("zip", "tar", "tar.gz")
TYPES = {"str": str, "int": int, "float": float, "bool": bool}
#: A placeholder in a template: a column in braces, if needed with the fill, alignment and width of a format (0>6).
PLACEHOLDER = r"\{(\w+)(?::(?:[^{}]?[<>^])?\d{0,2})?\}"
#: Names of columns that a factor cannot have.
RESERVED = ("id", "label", "split", "fold", "group", "path", "seconds", "start", "stop")


def _of(kind: str, **more: Any) -> Any:
    """A dataclass field whose YAML value is checked by ``KINDS[kind]``."""
    return field(metadata={"kind": kind}, **more)


@dataclass(frozen=True)
class RemoteFile:
    """One file to download."""

    url: str = _of("url")
    """http or https address."""
    bytes: int | None = _of("count")
    """Size on the server, or null with a `why`."""
    checksum: str | None = _of("checksum")
    """"md5:...", "sha1:..." or "sha256:..." as published, or null with a `why`."""
    unpack: str | None = _of("archive", default=None)
    """zip, tar, tar.gz, true (the URL's suffix says which) or false."""
    to: str = _of("folder", default="")
    """Folder inside the dataset's folder into which the file is put or unpacked."""
    why: str = _of("text", default="")
    """Why the size or the checksum is not known."""

    @property
    def filename(self) -> str:
        """Last part of the URL's path."""
        return self.url.split("?")[0].rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Layout:
    """How the publisher's files become rows; exactly one of `paths`, `csv` and `text` is given."""

    paths: str = _of("regex", default="")
    """Regular expression for the end of a sound's path; each named group becomes a column."""
    csv: str = _of("relative", default="")
    """Table with one row a clip, separated by commas (by tabs if its name ends in .tsv)."""
    header: int = _of("positive", default=1)
    """Number of header lines of the csv; names in several lines are joined by a dot (`track.genre_top`)."""
    columns: Mapping[str, str] = _of("names", default_factory=dict)
    """Name of a column here -> its name in the csv. Columns that are not named here are left out."""
    text: str = _of("regex", default="")
    """Regular expression for the end of the path of text files, which are read with `rows`."""
    rows: str = _of("regex", default="")
    """Regular expression that is searched in such a text file; each match becomes a row."""
    audio: str = _of("template", default="")
    """Template of a sound's path for `csv` and `text`, such as `{file}.wav`; a file is found by the end of its path."""
    one_row_per: str = _of("text", default="")
    """Column that identifies a clip, for a csv that has several rows a clip, such as one for each annotator."""
    trust: Mapping[str, tuple[str, ...]] = _of("choices", default_factory=dict)
    """Column -> values; with `one_row_per`, if a clip has rows with these values, only those rows count."""
    tags: Mapping[str, str] = _of("names", default_factory=dict)
    """Tag -> csv column that is 1 where it applies. Each tag becomes a 0/1 column, and `tags` joins them ("a+b")."""
    values: Mapping[str, Mapping[str, str]] = _of("names of names", default_factory=dict)
    """Column -> (published value -> the value used here); other values stay as they are."""
    midi: Mapping[str, str] = _of("names", default_factory=dict)
    """New column of MIDI numbers -> the column of note names (A4, Cs3) from which they are computed."""
    keep: Mapping[str, tuple[str, ...]] = _of("choices", default_factory=dict)
    """Column -> values whose rows are used, as they are after `values`."""
    drop: Mapping[str, tuple[str, ...]] = _of("choices", default_factory=dict)
    """Column -> values whose rows are left out, as they are after `values`."""
    folders: tuple[str, ...] = _of("places", default=())
    """Folders to which the set is known to unpack; a data root is searched for them as for the dataset's own name."""

    @property
    def gives(self) -> tuple[str, ...]:
        """Names of the columns that reading with this layout yields."""
        names = [*self.columns, *self.midi, *self.tags, *(["tags"] if self.tags else [])]
        for pattern in (self.paths, self.text, self.rows):
            names += re.compile(pattern).groupindex
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class SplitRule:
    """Which clips are train, valid and test: by the values of a column, or by the publisher's lists of files."""

    column: str = _of("text", default="")
    """Column whose values decide."""
    train: tuple[str, ...] = _of("texts", default=())
    """Values of the column that mean train."""
    valid: tuple[str, ...] = _of("texts", default=())
    """Values of the column that mean valid."""
    test: tuple[str, ...] = _of("texts", default=())
    """Values of the column that mean test."""
    lists: Mapping[str, str] = _of("files of parts", default_factory=dict)
    """train, valid or test -> text file with one path a line, as in the archive."""
    rest: str = _of("part", default="")
    """Part for clips that neither a value nor a list assigns; by default they are in no part."""
    group: tuple[str, ...] | None = _of("texts", default=None)
    """Group columns for this split, where they differ from the dataset's; [] for no group."""


@dataclass(frozen=True)
class Local:
    """The dataset as a part of a data root that has its own `manifest.csv` (columns file, part, label, factors ...)."""

    part: str = _of("text")
    """Value of the column part for the rows of this dataset."""
    columns: Mapping[str, str] = _of("names", default_factory=dict)
    """Name of a column here -> the column or factor of that file, where the names differ."""
    clips: int | None = _of("count", default=None)
    """Number of clips of the part."""


@dataclass(frozen=True)
class Manifest:
    """What is known about one dataset."""

    name: str = _of("name")
    """Name for `load_dataset(name)`, and name of the manifest's file without suffix."""
    title: str = _of("text")
    licence: str = _of("text")
    citation: str = _of("text")
    homepage: str = _of("url")
    access: str = _of("access")
    """open (anyone may download), on_request (the publisher must be asked) or unreleased; generated sets: generated."""
    label: str = _of("text")
    """Column that is the label by default."""
    obtain: str = _of("text", default="")
    """How to get the files if they cannot be downloaded directly."""
    notes: str = _of("text", default="")
    files: tuple[RemoteFile, ...] = _of("files", default=())
    checks: Mapping[str, str] = _of("checksums", default_factory=dict)
    """Path inside the dataset -> checksum of the file, for `verify`."""
    layout: Layout | None = _of("layout", default=None)
    id: str = _of("template", default="")
    """Template of a clip's id, made of columns; by default the id is the path without suffix."""
    factors: Mapping[str, str] = _of("types", default_factory=dict)
    """Column of a factor -> its type: str, int, float or bool."""
    group: tuple[str, ...] = _of("texts", default=())
    """Column(s) that define the groups; clips with equal values must not be on both sides of a split."""
    fold: str = _of("text", default="")
    """Column with the publisher's fold numbers."""
    splits: Mapping[str, SplitRule] = _of("splits", default_factory=dict)
    """Name of a split -> its rule; "default" is used unless another is asked for."""
    clips: int | None = _of("count", default=None)
    """Number of clips of the complete set as the publisher released it."""
    extent: str = _of("text", default="")
    """Amount of sound: hours, or an approximate number of clips where `clips` is not known."""
    local: Local | None = _of("local", default=None)

    @property
    def size(self) -> str:
        """Download size: "2.1 GB", "more than 5.7 GB" or "unknown size" if some are missing, "" without files."""
        known = [file.bytes for file in self.files if file.bytes is not None]
        if not self.files:
            return ""
        if not known:
            return "unknown size"
        return ("more than " if len(known) < len(self.files) else "") + human_bytes(sum(known))

    @property
    def amount(self) -> str:
        """Number of clips and extent as text, as far as they are known: "2,000 clips, 2.8 h"."""
        clips = "" if self.clips is None else f"{self.clips:,} clips"
        return ", ".join(filter(None, [clips, self.extent]))

    def __str__(self) -> str:
        facts = {
            "licence": self.licence,
            "access": self.access + (f" ({self.size})" if self.files else ""),
            "clips": self.amount or "not stated",
            "label": self.label,
            "factors": ", ".join(self.factors),
            "group": " + ".join(self.group) or "none: every clip stands alone",
            "folds": self.fold,
            "splits": ", ".join(self.splits),
            "homepage": self.homepage,
            "cite": self.citation,
            "obtain": self.obtain,
            "notes": self.notes,
        }
        return "\n".join([f"{self.name}: {self.title}", *(f"{k:<11}{v}" for k, v in facts.items() if v)])


def placeholders(template: str) -> list[str]:
    """Return the names in the braces of a template: "{track:0>6}.mp3" -> ["track"]."""
    return [match[1] for match in re.finditer(PLACEHOLDER, template)]
