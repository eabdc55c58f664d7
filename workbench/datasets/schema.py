"""What a manifest may say: the fields of its dataclasses are the fields of the YAML.

`data_manifests/README.md` shows them with examples; :mod:`workbench.datasets.manifest` reads and checks them.
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
#: What stands in the braces of a template: a column and, if need be, how wide it is and what fills it (0>6).
PLACEHOLDER = r"\{(\w+)(?::(?:[^{}]?[<>^])?\d{0,2})?\}"
#: Columns every table has; a factor cannot take these names.
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
    """zip, tar, tar.gz, true (told from the URL) or false."""
    to: str = _of("folder", default="")
    """Folder inside the dataset's own that the file (or what it unpacks to) goes into."""
    why: str = _of("text", default="")
    """Why size or checksum is not known."""

    @property
    def filename(self) -> str:
        """Last part of the URL's path."""
        return self.url.split("?")[0].rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Layout:
    """How the publisher's files become rows: exactly one of `paths`, `csv` and `text`."""

    paths: str = _of("regex", default="")
    """Regular expression for the end of a sound's path; each named group is a column."""
    csv: str = _of("relative", default="")
    """Table with one row a clip, comma separated (tab if it ends in .tsv)."""
    header: int = _of("positive", default=1)
    """Header lines of the csv; several are joined by a dot (`track.genre_top`)."""
    columns: Mapping[str, str] = _of("names", default_factory=dict)
    """Our name -> the csv's name. Columns not named here are left out."""
    text: str = _of("regex", default="")
    """Regular expression for the end of a text file's path, read with `rows`."""
    rows: str = _of("regex", default="")
    """Regular expression found again and again in such a file, each find a row."""
    audio: str = _of("template", default="")
    """Template, for `csv` and `text`, of a sound's file, such as `{file}.wav`, found by the end of its path."""
    one_row_per: str = _of("text", default="")
    """csv with several rows a clip (annotators): the column that tells clips apart."""
    trust: Mapping[str, tuple[str, ...]] = _of("choices", default_factory=dict)
    """Where, with `one_row_per`, a clip has rows with these values, only they count."""
    tags: Mapping[str, str] = _of("names", default_factory=dict)
    """Tag -> csv column holding 1 where it was heard. Gives a 0/1 column a tag and a column `tags` ("a+b")."""
    values: Mapping[str, Mapping[str, str]] = _of("names of names", default_factory=dict)
    """Column -> (published value -> ours); other values stay."""
    midi: Mapping[str, str] = _of("names", default_factory=dict)
    """New column -> column with a note name (A4, Cs3) whose MIDI number it holds."""
    keep: Mapping[str, tuple[str, ...]] = _of("choices", default_factory=dict)
    """Column -> the values whose rows are used, after `values`."""
    drop: Mapping[str, tuple[str, ...]] = _of("choices", default_factory=dict)
    """Column -> the values whose rows are left out."""
    folders: tuple[str, ...] = _of("places", default=())
    """Folders the set is known to unpack to, looked for in a data root beside the dataset's own name."""

    @property
    def gives(self) -> tuple[str, ...]:
        """Names of the columns that reading this layout gives."""
        names = [*self.columns, *self.midi, *self.tags, *(["tags"] if self.tags else [])]
        for pattern in (self.paths, self.text, self.rows):
            names += re.compile(pattern).groupindex
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class SplitRule:
    """Which clips are train, valid and test: by the values of a column, or by the publisher's lists of files."""

    column: str = _of("text", default="")
    train: tuple[str, ...] = _of("texts", default=())
    valid: tuple[str, ...] = _of("texts", default=())
    test: tuple[str, ...] = _of("texts", default=())
    lists: Mapping[str, str] = _of("files of parts", default_factory=dict)
    """train, valid or test -> text file with one path a line, as in the archive."""
    rest: str = _of("part", default="")
    """Where clips go that nothing names; left out of the split by default."""
    group: tuple[str, ...] | None = _of("texts", default=None)
    """Group for this split, where it differs from the dataset's; [] for none."""


@dataclass(frozen=True)
class Local:
    """The dataset as a part of a data root that has its own `manifest.csv` (columns file, part, label, factors ...)."""

    part: str = _of("text")
    columns: Mapping[str, str] = _of("names", default_factory=dict)
    """Our column -> column or factor of that file, where the names differ."""
    clips: int | None = _of("count", default=None)
    """Clips of the part."""


@dataclass(frozen=True)
class Manifest:
    """One dataset."""

    name: str = _of("name")
    """The name, as in `load_dataset(name)`; also the file's name."""
    title: str = _of("text")
    licence: str = _of("text")
    citation: str = _of("text")
    homepage: str = _of("url")
    access: str = _of("access")
    """open (anyone may download), on_request (the publisher must be asked) or unreleased."""
    label: str = _of("text")
    """Column that is the label unless another is asked for."""
    obtain: str = _of("text", default="")
    """How to get the files, where they cannot simply be fetched."""
    notes: str = _of("text", default="")
    files: tuple[RemoteFile, ...] = _of("files", default=())
    checks: Mapping[str, str] = _of("checksums", default_factory=dict)
    """File inside the dataset -> checksum, for `verify`."""
    layout: Layout | None = _of("layout", default=None)
    id: str = _of("template", default="")
    """Template of a clip's id over the columns; by default its path without suffix."""
    factors: Mapping[str, str] = _of("types", default_factory=dict)
    """Column -> str, int, float or bool."""
    group: tuple[str, ...] = _of("texts", default=())
    """Column(s) whose clips belong together and must not be on both sides of a split."""
    fold: str = _of("text", default="")
    """Column with the publisher's fold number."""
    splits: Mapping[str, SplitRule] = _of("splits", default_factory=dict)
    """Name -> rule; "default" is used unless another is asked for."""
    clips: int | None = _of("count", default=None)
    """Clips of the complete set as the publisher released it."""
    extent: str = _of("text", default="")
    """How much sound it is: hours, or about how many clips where `clips` is not certain."""
    local: Local | None = _of("local", default=None)

    @property
    def size(self) -> str:
        """Download size for people: "2.1 GB", "more than 5.7 GB" where some sizes are unknown, "" without files."""
        known = [file.bytes for file in self.files if file.bytes is not None]
        if not self.files:
            return ""
        if not known:
            return "unknown size"
        return ("more than " if len(known) < len(self.files) else "") + human_bytes(sum(known))

    @property
    def amount(self) -> str:
        """Clips and hours for people, as far as they are known: "2,000 clips, 2.8 h"."""
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
    """Names in the braces of a template: "{track:0>6}.mp3" -> ["track"]."""
    return [match[1] for match in re.finditer(PLACEHOLDER, template)]
