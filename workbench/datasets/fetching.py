"""Downloads that go on where they stopped, are checked before they count, and can be verified later."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..core.checks import checked
from ..core.download import download, human_bytes
from ..core.errors import DatasetError, ParameterError
from ..core.files import cache_folder, write_whole
from .archives import CHUNK, unpack
from .catalog import Roots, data_roots, describe_dataset, how_to_get
from .layouts import Place, find, locate, read, read_part, root_parts
from .manifest import manifests
from .schema import Manifest, RemoteFile
from .tables import finish

if TYPE_CHECKING:
    pass

#: What is known of a fetched set, in its folder: URL -> checksum and the files it gave.
JOURNAL = ".fetched.json"


@checked
def fetch(
    name: str,
    *,
    root: str | os.PathLike | None = None,
    confirm: Callable[[str], bool] | None = None,
    progress: bool = True,
    say: Callable[[str], object] = print,
) -> Path:
    """Download and unpack a published dataset; what is already there and complete is not downloaded again.

    Parameters
    ----------
    name : str
    root : path, optional
        Data root; the set goes into a folder of its name. By default the download cache, which is searched last.
    confirm : callable, optional
        Asked with a question that states title, licence, size and place; False stops. By default these are only told.
    progress : bool
    say : callable
        Told what happens, line by line.

    Returns
    -------
    Path
        The dataset's folder.

    Raises
    ------
    DatasetError
        Unknown name; not to be had without asking, or at all (says what to do); or the download fails.
    """
    for argument, value in (("confirm", confirm), ("say", say)):
        if value is not None and not callable(value):
            raise ParameterError(argument, value, "a function of one text")
    manifest = describe_dataset(name)
    folder = (Path(root) if root is not None else cache_folder() / "data") / name
    if manifest.access == "generated":
        raise DatasetError(f"{name}: is generated when it is loaded; there is nothing to fetch")
    if manifest.access != "open" or not manifest.files:
        raise DatasetError(how_to_get(manifest, data_roots(None)))
    done = _read_journal(folder)
    wanted = [file for file in manifest.files if not _is_done(file, done, folder)]
    say(f"{manifest.title}\nlicence: {manifest.licence}\ncite: {manifest.citation}")
    say(f"{len(wanted)} of {len(manifest.files)} files to download ({_size(wanted)}) into {folder}")
    place = find(manifest, data_roots(None))
    if place is not None and place.folder != folder:
        say(f"note: {place.folder} has {name} already, and is searched before the download cache")
    if wanted and confirm is not None and not confirm(f"Download {_size(wanted)} under {manifest.licence}?"):
        raise DatasetError(f"{name}: not fetched, as the question was answered with no")
    for file in wanted:
        say(f"{file.url} ({human_bytes(file.bytes) if file.bytes is not None else 'size not published'})")
        if file.checksum is None:
            say(f"no checksum is known for it: {file.why}")
        done[file.url] = {"checksum": file.checksum, "files": _fetch_one(file, folder, progress)}
        _write_journal(folder, done)
    problems = verify(name, root=folder.parent, deep=False)
    for row in problems.itertuples():
        say(f"{row.file}: {row.problem}, expected {row.expected}, found {row.found}")
    say(f"{name} is in {folder}" + ("" if problems.empty else f", with {len(problems)} problems"))
    return folder


def _size(files: list[RemoteFile]) -> str:
    known = [file.bytes for file in files if file.bytes is not None]
    return ("" if len(known) == len(files) else "at least ") + human_bytes(sum(known))


def _fetch_one(file: RemoteFile, folder: Path, progress: bool) -> list[tuple[str, int, int]]:
    into = folder / file.to if file.to else folder
    path = download(file.url, into / file.filename, size=file.bytes, checksum=file.checksum, progress=progress)
    if file.unpack is None:
        files = [(file.filename, path.stat().st_size, _crc(path))]
    else:
        files = unpack(path, into)
        path.unlink()
    prefix = f"{file.to}/" if file.to else ""
    return [(prefix + name, size, crc) for name, size, crc in files]


def _crc(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def _is_done(file: RemoteFile, done: dict, folder: Path) -> bool:
    """The journal has it with today's checksum, and its files are there in their size."""
    entry = done.get(file.url)
    if entry is None or entry["checksum"] != file.checksum:
        return False
    return all(_size_of(folder / name) == size for name, size, _ in entry["files"])


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _read_journal(folder: Path) -> dict:
    try:
        return json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write_journal(folder: Path, done: dict) -> None:
    write_whole(folder / JOURNAL, json.dumps(done).encode())


# --- verifying --------------------------------------------------------------------------------------------------


@checked
def verify(name: str, *, root: Roots = None, deep: bool = True) -> pd.DataFrame:
    """Check a dataset on this machine against what is known of its files.

    Known are: sha256 of each file (parts of a data root), sizes and CRC-32 of what was fetched, the manifest's own
    checksums, the number of clips, and the files that the dataset's tables name.

    Parameters
    ----------
    name : str
        A published dataset, or a part of a data root.
    root : path or several, optional
        As in :func:`~workbench.datasets.load_dataset`.
    deep : bool
        Read all files; False looks at names and sizes only.

    Returns
    -------
    DataFrame
        file, problem ("missing", "damaged", "clip count"), expected, found. Empty: nothing is wrong.

    Raises
    ------
    DatasetError
        The dataset is not on this machine (says how to get it).
    """
    roots = data_roots(root)
    manifest = manifests().get(name)
    if manifest is None:
        data_root = next((root for root in roots if name in root_parts(root)), None)
        if data_root is None:
            describe_dataset(name)
            raise DatasetError(f"{name}: is generated when it is loaded; there are no files to verify")
        problems = _verify_part(data_root, name, deep)
    else:
        place = find(manifest, roots)
        if place is None:
            raise DatasetError(how_to_get(manifest, roots))
        problems = _verify_part(place.folder, manifest.local.part, deep) if place.kind == "part" else []
        if place.kind != "part":
            problems += _verify_journal(place.folder, deep) + _verify_checks(manifest, place)
        problems += _verify_table(manifest, place)
    return pd.DataFrame(problems, columns=["file", "problem", "expected", "found"])


def _verify_part(root: Path, part: str, deep: bool) -> list[tuple]:
    import pooch

    problems = []
    raw = read_part(root, part)
    for path, expected in zip(raw["_path"], raw.get("sha256", pd.Series("", raw.index)), strict=True):
        if not os.path.isfile(path):
            problems.append((path, "missing", "a file", "nothing"))
        elif deep and expected and (value := pooch.file_hash(path)) != expected:
            problems.append((path, "damaged", f"sha256:{expected}", f"sha256:{value}"))
    return problems


def _verify_journal(folder: Path, deep: bool) -> list[tuple]:
    problems = []
    for entry in _read_journal(folder).values():
        for name, size, crc in entry["files"]:
            path = folder / name
            have = _size_of(path)
            if have < 0:
                problems.append((str(path), "missing", f"{size} bytes", "nothing"))
            elif have != size:
                problems.append((str(path), "damaged", f"{size} bytes", f"{have} bytes"))
            elif deep and (value := _crc(path)) != crc:
                problems.append((str(path), "damaged", f"crc32:{crc:08x}", f"crc32:{value:08x}"))
    return problems


def _verify_checks(manifest: Manifest, place: Place) -> list[tuple]:
    import pooch

    problems = []
    for name, checksum in manifest.checks.items():
        file = locate(name, place)
        algorithm, _, expected = checksum.partition(":")
        if file is None:
            problems.append((name, "missing", checksum, "nothing"))
        elif (value := pooch.file_hash(str(file), alg=algorithm)) != expected:
            problems.append((str(file), "damaged", checksum, f"{algorithm}:{value}"))
    return problems


def _verify_table(manifest: Manifest, place: Place) -> list[tuple]:
    table, _ = finish(manifest, read(manifest, place), place, split="none")
    absent = table[table["path"] == ""]
    problems = [
        (tail, "missing", f"named in line {line}", "nothing")
        for tail, line in zip(absent["_tail"], absent["_line"], strict=True)
    ]
    expected = manifest.local.clips if place.kind == "part" else manifest.clips
    if expected is not None and len(table) != expected:
        problems.append((str(place.folder), "clip count", str(expected), str(len(table))))
    return problems
