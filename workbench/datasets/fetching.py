"""Download published datasets and verify them.

A download that was interrupted is resumed, its checksum is verified before it counts, and its files can be verified
again later.
"""

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

#: File in a fetched dataset's folder: URL -> the checksum and the files that came from it.
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
    """Download and unpack a published dataset; files that are there and complete are not downloaded again.

    Parameters
    ----------
    name : str
    root : path, optional
        Data root, in which the dataset gets a folder of its name. By default this is the download cache, which is
        searched last when a dataset is loaded.
    confirm : callable, optional
        Called before the download with a question that states size and licence; an answer of False stops. By default
        nothing is asked.
    progress : bool
    say : callable
        Called with each line that reports what happens: first title, licence, citation, size and folder.

    Returns
    -------
    Path
        The dataset's folder.

    Raises
    ------
    DatasetError
        The name is unknown, the dataset cannot be downloaded without asking its publisher or at all (the error says
        what to do), the answer to `confirm` was False, or the download fails.
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
    """Whether the journal has the file with the checksum of the manifest, and its files are there in the same size."""
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
    """Check a dataset on this machine against what is known about its files.

    Checked are the sha256 of each file of a data root's part, size and CRC-32 of files that were fetched, the checksums
    of the manifest, the number of clips, and whether the files that the dataset's tables name are there.

    Parameters
    ----------
    name : str
        A published dataset, or a part of a data root.
    root : path or several, optional
        As for :func:`~workbench.datasets.load_dataset`.
    deep : bool
        Whether to read all files. False checks only names and sizes of files, and the manifest's own checksums.

    Returns
    -------
    DataFrame
        Columns file, problem ("missing", "damaged" or "clip count"), expected and found; no rows if all is right.

    Raises
    ------
    DatasetError
        The name is unknown, the dataset is generated, or it is not on this machine (the error says how to get it).
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
