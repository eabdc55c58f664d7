"""Read a user's own folder of sounds, whose sub-folders are the labels, and report what was left out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..core.errors import DatasetError
from .contents import printable
from .labels import is_missing, look_alike, merged, tidy
from .layouts import SOUNDS, root_parts

SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "validate": "valid",
    "val": "valid",
    "dev": "valid",
    "development": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
#: Suffixes of audio and video files that libsndfile does not read.
_FILMS = (
    ".m4a .m4b .m4r .mp4 .m4v .mov .qt .aac .adts .3gp .3g2 .amr .awb .wma .asf .wmv .webm .weba .mka .mkv "
    ".avi .flv .ac3 .eac3 .dts .ape .wv .tta .tak .mpc .alac .ra .rm .dsf .dff .shn .spx .ogv .ogx .mpg .mpeg "
    ".aa .aax .raw .pcm .gsm .vox"
)
UNREAD = frozenset(_FILMS.split())
#: First bytes of sound files that libsndfile reads, whatever their suffix is.
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"riff\x2e\x91", b"NIST_1A")
#: Suffixes of files that are not sounds; of files with any other unknown suffix the first bytes are read.
_NO_SOUNDS = (
    ".txt .csv .tsv .json .jsonl .xml .yaml .yml .md .rst .pdf .html .lab .textgrid .eaf .rttm .ctm .stm "
    ".trans .npy .npz .pt .pth .h5 .hdf5 .parquet .pkl .mat .png .jpg .jpeg .gif .svg .py .sh .ipynb .log .db "
    ".ini .zip .gz .tar .7z .rar .mid .midi .xls .xlsx .doc .docx .asd .sfk .reapeaks .pek .cfg .tmp .part "
    ".crdownload .bak .lnk"
)
_BESIDE = frozenset(_NO_SOUNDS.split())


@dataclass
class Own:
    """A user's own dataset as it was read."""

    table: pd.DataFrame
    factors: tuple[str, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason -> number of clips that were left out for it."""
    notes: list[str] = field(default_factory=list)
    """Texts for a warning to the user."""
    target_name: str = ""
    """Column of numbers whose thirds are the labels; "" where the labels are words."""


class _Survey:
    """All files below a folder, in sorted order; links are followed, except those that lead back to a parent folder."""

    def __init__(self, folder: Path):
        self.top = os.fspath(folder)
        self.sounds: list[str] = []
        self.guessed: list[str] = []
        """Files that are taken as sounds because of their first bytes, not their suffix."""
        self.unread: list[str] = []
        self.bad: dict[str, list[str]] = {}
        """Reason -> files with the suffix of a sound, or folders, that cannot be read for it."""
        self.hidden: list[str] = []
        self.tables: list[str] = []
        self.folders: list[str] = []
        self.seen: dict[tuple[int, int], str] = {}
        self.twice: list[tuple[str, str]] = []
        self._walk("", (os.path.realpath(self.top),))

    def _walk(self, inside: str, chain: tuple[str, ...]) -> None:
        try:
            with os.scandir(os.path.join(self.top, inside)) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            if not inside:
                raise DatasetError(f"{printable(self.top)}: cannot be read: {error.strerror}") from None
            self._note(f"folders that cannot be opened ({error.strerror})", inside)
            return
        below = []
        for entry in entries:
            path = f"{inside}/{entry.name}" if inside else entry.name
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link to itself
                is_folder = False
            if is_folder:
                below.append((entry, path))
            else:
                self._file(entry, path)
        for entry, path in below:
            if entry.name == "__MACOSX":
                continue
            if entry.name.startswith("."):
                self.hidden += [name for name in _sounds_below(entry.path) if not name.startswith("._")]
                continue
            real = os.path.realpath(entry.path) if entry.is_symlink() else f"{chain[-1]}/{entry.name}"
            if real in chain:
                self._note("links that lead back to a folder around them", path)
                continue
            self.folders.append(path)
            self._walk(path, (*chain, real))

    def _note(self, reason: str, path: str) -> None:
        self.bad.setdefault(reason, []).append(path)

    def _file(self, entry: os.DirEntry, path: str) -> None:
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            if suffix in SOUNDS and not entry.name.startswith("._"):
                self.hidden.append(path)
            return
        if suffix in UNREAD:
            self.unread.append(path)
            return
        if suffix not in SOUNDS:
            if suffix in (".csv", ".tsv", ".jsonl") and path.count("/") < 2:
                self.tables.append(path)
            if suffix in _BESIDE or not entry.is_file() or not _begins_like_a_sound(entry.path):
                return
            self.guessed.append(path)
        try:
            status = entry.stat()
        except OSError as error:
            broken = entry.is_symlink()
            return self._note("broken links" if broken else f"files that cannot be read ({error.strerror})", path)
        if not entry.is_file():
            return self._note("pipes, sockets or devices", path)
        if status.st_size == 0:
            return self._note("empty files (0 bytes)", path)
        self.sounds.append(path)
        first = self.seen.setdefault((status.st_dev, status.st_ino), path) if status.st_ino else path
        if first != path:
            self.twice.append((first, path))


def _sounds_below(folder: str) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from (name for name in names if os.path.splitext(name)[1].lower() in SOUNDS)


def _begins_like_a_sound(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(12).startswith(_MAGIC)
    except OSError:
        return False


def read_folder(folder: Path, missing: str | None = None) -> Own:
    """Read the sounds below a folder, whose sub-folders are the labels.

    The labels are the second level of sub-folders if those of the first level are train, valid and test, or folds.

    Parameters
    ----------
    folder : Path
    missing : {None, "raise", "skip"}
        What to do with broken links, pipes and empty files that have the suffix of a sound: None leaves them out and
        names them in the notes, "raise" is an error, "skip" leaves them out and only counts them.

    Returns
    -------
    Own
        Its table has the columns id (path without suffix), label, split, path, and fold where sub-folders are folds.

    Raises
    ------
    DatasetError
        There are no sounds, the folder is a data root with a manifest.csv, or some sounds lie outside the folders that
        are labels.
    """
    where = printable(folder)
    parts = root_parts(folder)
    if parts:
        raise DatasetError(
            f"{where} is a data root of several sets ({', '.join(parts)}): load one by name, with root={where!r}"
        )
    survey = _Survey(folder)
    if survey.bad and missing == "raise":
        reasons = "; ".join(_counted(reason, paths) for reason, paths in survey.bad.items())
        raise DatasetError(f'{where}: {reasons}; missing="skip" (--missing skip) leaves them out')
    left_out = _unread(survey)
    if not survey.sounds:
        reasons = [*left_out, *(_counted(reason, paths) for reason, paths in survey.bad.items())]
        also = f" ({'; '.join(reasons)})" if reasons else ""
        raise DatasetError(f"{where}: no sounds in it; looked for {', '.join(SOUNDS)}, in sub-folders too{also}")
    rows, notes, beside = _sorted_out([path.split("/") for path in survey.sounds], where)
    own = Own(_table(folder, rows), notes=[*left_out])
    own.dropped |= {f"sounds in {suffix} files": n for suffix, n in _suffixes(survey.unread).items()}
    own.dropped |= {reason: len(paths) for reason, paths in survey.bad.items()}
    if beside:
        own.dropped["sounds outside the split folders"] = beside
    if missing != "skip":
        own.notes += [_counted(reason, paths) + " are left out" for reason, paths in survey.bad.items()]
    own.notes += notes + _remarks(survey, own.table)
    return own


def _table(folder: Path, rows: list[_Row]) -> pd.DataFrame:
    shown = [printable(row.path) for row in rows]
    ids = [os.path.splitext(path)[0] for path in shown]
    ids = ids if len(set(ids)) == len(ids) else shown
    ids = ids if len(set(ids)) == len(ids) else [f"{path}:{i}" for i, path in enumerate(shown)]
    table = pd.DataFrame({"id": ids, "label": [row.label for row in rows], "split": [row.split for row in rows]})
    if any(row.fold is not None for row in rows):
        table["fold"] = pd.array([row.fold for row in rows], "Int64")
    top = printable(folder)
    table["path"] = [os.path.join(top, path) for path in shown]
    return table


# --- which sub-folder says what -----------------------------------------------------------------------------------


@dataclass
class _Row:
    path: str
    inner: list[str]
    """Parts of the path, beginning with the label."""
    split: str = ""
    fold: int | None = None
    label: str = ""


def _sorted_out(pieces: list[list[str]], where: str) -> tuple[list[_Row], list[str], int]:
    """Return rows with split, fold and label; notes; and how many sounds outside the split folders were left out."""
    notes: list[str] = []
    tops = {piece[0] for piece in pieces if len(piece) > 1}
    flat = [piece for piece in pieces if len(piece) == 1]
    named = {top: SPLITS[tidy(top).lower()] for top in tops if tidy(top).lower() in SPLITS}
    others = sorted(tops - set(named))
    deep = all(len(piece) > 2 for piece in pieces if piece[0] in named)
    beside = 0
    if named and others and len(set(named.values())) > 1:
        if not deep:
            raise DatasetError(
                f"{where}: {', '.join(sorted(named))} read like splits, {', '.join(others[:5])} beside them do not; "
                "sort each sound into a folder split/label/, or write a csv with the columns path, label and split"
            )
        kept = [piece for piece in pieces if piece[0] in named or len(piece) == 1]
        beside, pieces = len(pieces) - len(kept), kept
        notes.append(
            f"{beside} sounds in {', '.join(map(printable, others[:5]))} are left out, as the folders beside are "
            f"splits ({', '.join(sorted(named))})"
        )
    elif named and others:
        if deep:
            notes.append(f"the folder {', '.join(named)} is taken as a label, as the others beside it are no splits")
        named = {}
    elif not named and not flat and tops:
        named = _prefixed(tops) if all(len(piece) > 2 for piece in pieces) else {}
        if named:
            taken = ", ".join(f"{top} as {named[top]}" for top in sorted(named))
            notes.append(f"the sub-folders are taken as splits: {taken}")
    rows = [_Row("/".join(piece), piece) for piece in pieces]
    if named and not flat:
        for row in rows:
            row.split, row.inner = named[row.inner[0]], row.inner[1:]
    elif not flat:
        notes += _folds(rows, tops) or _inner_splits(rows)
    _label(rows, where, notes)
    return rows, notes, beside


def _prefixed(tops: set[str]) -> dict[str, str]:
    """Return the split of each folder where all have names such as train-clean-100, else an empty mapping."""
    heads = {top: SPLITS.get(re.split(r"[-_. ]", tidy(top).lower())[0], "") for top in tops}
    return heads if all(heads.values()) and len(set(heads.values())) > 1 else {}


def _folds(rows: list[_Row], tops: set[str]) -> list[str]:
    numbers = {top: re.fullmatch(r"fold[-_ ]?(\d{1,4})", tidy(top).lower()) for top in tops}
    if len(tops) < 2 or not all(numbers.values()):
        return []
    for row in rows:
        row.fold, row.inner = int(numbers[row.inner[0]][1]), row.inner[1:]
    return [f"the sub-folders {', '.join(sorted(tops)[:3])} ... are taken as folds"]


def _inner_splits(rows: list[_Row]) -> list[str]:
    """Set the splits of rows if all folders are of the form label/split/sound; return a note if so."""
    second = [SPLITS.get(tidy(row.inner[1]).lower(), "") if len(row.inner) > 2 else "" for row in rows]
    if not all(second) or len(set(second)) < 2:
        return []
    for row, split in zip(rows, second, strict=True):
        row.split, row.inner = split, [row.inner[0], *row.inner[2:]]
    return ["the sub-folders of the labels are taken as splits"]


def _label(rows: list[_Row], where: str, notes: list[str]) -> None:
    loose = [row for row in rows if len(row.inner) == 1]
    if loose and len(loose) < len(rows):
        shown = ", ".join(printable(row.path) for row in loose[:5])
        raise DatasetError(
            f"{where}: {len(loose)} sounds lie outside the folders that are the labels: {shown}; "
            "move them into a sub-folder named as their label, or away"
        )
    if loose:
        notes.append(
            f"all {len(rows)} sounds lie in one folder, so they have no labels: they can be embedded and mapped, not "
            "probed. For labels, sort them into sub-folders named as the labels, or write a csv with the columns path "
            "and label"
            if len({row.split for row in rows}) == 1 and rows[0].fold is None
            else f"the {len(rows)} sounds have a split or fold and no labels: they can be embedded, not probed"
        )
        return
    words = {row.inner[0]: tidy(printable(row.inner[0])) for row in rows}
    for row in rows:
        row.label = words[row.inner[0]]
    labels = set(words.values())
    notes += merged("labels", map(printable, words)) + look_alike("labels", labels)
    odd = sorted(filter(is_missing, labels))
    if odd:
        notes.append(f"a folder's name, and so a label, reads like a missing one: {', '.join(map(repr, odd))}")
    within = sorted({row.inner[1] for row in rows if len(row.inner) > 2})
    if len(labels) == 1 and len(within) > 1 and all(len(row.inner) > 2 for row in rows):
        only = printable(rows[0].inner[0])
        notes.append(
            f"all {len(rows)} sounds have the one label {only!r}: if {', '.join(map(printable, within[:5]))} in it are "
            f"the labels, load the folder {only} itself"
        )


# --- notes --------------------------------------------------------------------------------------------------------


def _counted(reason: str, paths: Sequence[str]) -> str:
    shown = ", ".join(printable(path) for path in paths[:3]) + (" ..." if paths[3:] else "")
    return f"{len(paths)} {reason}: {shown}"


def _suffixes(paths: Sequence[str]) -> Counter[str]:
    return Counter(os.path.splitext(path)[1].lower() for path in sorted(paths))


def _unread(survey: _Survey) -> list[str]:
    if not survey.unread:
        return []
    places = Counter(os.path.dirname(path) or "the folder itself" for path in survey.unread)
    inside = {os.path.dirname(path) for path in survey.sounds}
    alone = {place for place in places if not any(f"{other}/".startswith(f"{place}/") for other in inside)}
    listed = [
        f"{count} in {printable(place)}" + (" (which has no other sound)" if place in alone else "")
        for place, count in places.items()
    ]
    suffixes = _suffixes(survey.unread)
    more = f" and {len(listed) - 8} more folders" if len(listed) > 8 else ""
    first = next(iter(suffixes))
    cure = f"ffmpeg -i NAME{first} NAME.wav" if first not in (".raw", ".pcm", ".vox") else "a wav file with a header"
    return [
        f"{len(survey.unread)} sounds are left out, as {', '.join(suffixes)} cannot be read: {', '.join(listed[:8])}"
        f"{more}; convert them ({cure})"
    ]


def _remarks(survey: _Survey, table: pd.DataFrame) -> list[str]:
    notes = []
    if survey.hidden:
        notes.append(_counted("hidden sounds", survey.hidden) + " are left out")
    if survey.guessed:
        notes.append(_counted("files are taken as sounds by what they begin with", survey.guessed))
    if survey.twice:
        shown = ", ".join(f"{printable(a)} and {printable(b)}" for a, b in survey.twice[:3])
        more = " ..." if survey.twice[3:] else ""
        notes.append(f"{len(survey.twice)} files are there twice, by a link: {shown}{more}")
    full = {os.path.dirname(path) for path in (*survey.sounds, *survey.unread)}
    depth = 1 if table["split"].any() or "fold" in table else 0  # where the labels are
    labels = [path for path in survey.folders if path.count("/") == depth]
    empty = [path for path in labels if not any(f"{place}/".startswith(f"{path}/") for place in full)]
    if empty and table["label"].any():
        notes.append(_counted("sub-folders without a sound", empty))
    if survey.tables and (not table["label"].any() or any("metadata" in name for name in survey.tables)):
        names = ", ".join(printable(name) for name in survey.tables[:3])
        notes.append(f"{names} is not read; load a csv by its own path to use what it says")
    return notes
