"""Downloads that go on where they stopped, are checked before they count, and can be verified later."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..core.checks import checked, whole
from ..core.errors import DatasetError, ParameterError
from ..core.files import cache_folder, write_whole
from .archives import CHUNK, unpack
from .catalog import Roots, data_roots, describe_dataset, how_to_get
from .layouts import Found, find, locate, read, read_part, root_parts
from .manifest import manifests
from .schema import DIGITS, Manifest, RemoteFile, human_bytes
from .tables import finish

if TYPE_CHECKING:
    import requests

#: What is known of a fetched set, in its folder: URL -> checksum and the files it gave.
JOURNAL = ".fetched.json"
#: Attempts without a byte gained before a download gives up.
ATTEMPTS = 3
#: Bytes taken from the network at a time; what came of the last piece is lost when the connection breaks.
PIECE = 1 << 15
#: Seconds to wait for a connection, and for the next byte.
TIMEOUT = (10, 60)


class ResumingDownloader:
    """A downloader for pooch that keeps what it has in a .part file and asks the server for the rest only.

    Parameters
    ----------
    part : Path
        Where bytes go until all are there.
    size : int or None
        Bytes expected; another size on the server is an error before anything is downloaded.
    resume : bool
        Use what is in `part`; only sensible where size or checksum will tell if the file changed meanwhile.
    progress : bool
        Show a bar.
    """

    def __init__(self, part: Path, *, size: int | None, resume: bool, progress: bool):
        self.part, self.size, self.resume, self.progress = part, size, resume, progress

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        import requests

        if not self.resume:
            self.part.unlink(missing_ok=True)
        failed, reached = 0, self._have()
        while True:
            try:
                self._stream(url)
                break
            except requests.RequestException as error:
                failed = failed + 1 if self._have() <= reached else 0
                reached = self._have()
                if failed >= ATTEMPTS:
                    raise DatasetError(self._gave_up(url, error)) from None
            except OSError as error:
                full = " (the disk is full)" if error.errno == errno.ENOSPC else ""
                raise DatasetError(f"{self.part}: cannot be written: {error.strerror}{full}; {self._kept()}") from None
        os.replace(self.part, output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _kept(self) -> str:
        return f"{human_bytes(self._have())} are kept in {self.part.name}, the same call goes on from there"

    def _gave_up(self, url: str, error: Exception) -> str:
        if not self._have():
            return f"{url}: cannot be reached; is there a network? ({type(error).__name__})"
        of = f" of {human_bytes(self.size)}" if self.size else ""
        return f"{url}: the connection broke after {human_bytes(self._have())}{of}; {self._kept()}"

    def _stream(self, url: str) -> None:
        import requests

        start = self._have()
        # identity: a server that compresses on the way would make byte positions meaningless
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            said = answer.headers.get("Content-Range", "")
            if answer.status_code == 416:
                if said == f"bytes */{start}":
                    return
                self.part.unlink()
                raise requests.ConnectionError("the partial file does not fit the one on the server")
            if answer.status_code not in (200, 206):
                raise DatasetError(f"{url}: the server answers {answer.status_code} {answer.reason}")
            if answer.status_code == 200 or not said.startswith(f"bytes {start}-"):
                start = 0
            self._receive(url, answer, start)

    def _receive(self, url: str, answer: requests.Response, start: int) -> None:
        import requests
        from tqdm.auto import tqdm

        if answer.status_code == 206 and not start:
            raise DatasetError(f"{url}: the server sends another range than was asked for")
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        if self.size is not None and total is not None and total != self.size:
            raise DatasetError(f"{url}: has {total} bytes, the manifest says {self.size}; it was changed or moved")
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - start > free:
            raise DatasetError(f"{self.part.parent}: {human_bytes(total - start)} needed, {human_bytes(free)} free")
        bar = {"total": total, "initial": start, "unit": "B", "unit_scale": True, "disable": not self.progress}
        with open(self.part, "ab" if start else "wb") as file, tqdm(desc=self.part.stem, **bar) as shown:
            for chunk in answer.iter_content(PIECE):
                file.write(chunk)
                shown.update(len(chunk))
        if total is not None and self._have() < total:
            raise requests.ConnectionError("closed early")


@checked
def download(
    url: str, path: str | os.PathLike, *, size: int | None = None, checksum: str | None = None, progress: bool = True
) -> Path:
    """Download one file; a file that is already there with the right checksum is not downloaded again.

    Parameters
    ----------
    url : str
        http or https.
    path : path
        Its final name; nothing is there under it until it is complete and checked. What has come so far is beside it,
        with .part added to the name, and is used by the next call.
    size : int, optional
        Bytes expected.
    checksum : str, optional
        "md5:...", "sha1:..." or "sha256:...".
    progress : bool

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    DatasetError
        No network, a broken connection (what came is kept), an error of the server, no room, or a wrong checksum
        (names both values; the damaged file is deleted).
    """
    import pooch

    if not re.match(r"https?://[^\s/]", url):
        raise ParameterError("url", url, "an http or https address")
    if size is not None:
        whole("size", size, least=0)
    if checksum is not None and not re.fullmatch("|".join(f"{a}:[0-9a-f]{{{n}}}" for a, n in DIGITS.items()), checksum):
        raise ParameterError(
            "checksum", checksum, f"one of {', '.join(f'{a}: and {n} digits' for a, n in DIGITS.items())}"
        )
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise ParameterError("path", path, "the name of a file")
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{path.parent}: cannot be made: {error.strerror}") from None
    part = path.with_name(path.name + ".part")
    known = size is not None or checksum is not None
    downloader = ResumingDownloader(part, size=size, resume=known, progress=progress)
    if path.exists() and checksum is None and size is not None and path.stat().st_size != size:
        path.unlink()
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        pooch.retrieve(url, checksum, fname=path.name, path=path.parent, downloader=downloader)
    except ValueError as error:
        # pooch names expected and found value; its temporary file is gone by now
        raise DatasetError(f"{url}: wrong checksum: {error}") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        logger.setLevel(level)
    return path


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
        found = [(file.filename, path.stat().st_size, _crc(path))]
    else:
        found = unpack(path, into)
        path.unlink()
    prefix = f"{file.to}/" if file.to else ""
    return [(prefix + name, size, crc) for name, size, crc in found]


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
    manifest, found = manifests().get(name), None
    if manifest is None:
        place = next((root for root in roots if name in root_parts(root)), None)
        if place is None:
            describe_dataset(name)
            raise DatasetError(f"{name}: is generated when it is loaded; there are no files to verify")
        problems = _verify_part(place, name, deep)
    else:
        found = find(manifest, roots)
        if found is None:
            raise DatasetError(how_to_get(manifest, roots))
        problems = _verify_part(found.folder, manifest.local.part, deep) if found.kind == "part" else []
        if found.kind != "part":
            problems += _verify_journal(found.folder, deep) + _verify_checks(manifest, found)
        problems += _verify_table(manifest, found)
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


def _verify_checks(manifest: Manifest, found: Found) -> list[tuple]:
    import pooch

    problems = []
    for name, checksum in manifest.checks.items():
        file = locate(name, found)
        algorithm, _, expected = checksum.partition(":")
        if file is None:
            problems.append((name, "missing", checksum, "nothing"))
        elif (value := pooch.file_hash(str(file), alg=algorithm)) != expected:
            problems.append((str(file), "damaged", checksum, f"{algorithm}:{value}"))
    return problems


def _verify_table(manifest: Manifest, found: Found) -> list[tuple]:
    table, _ = finish(manifest, read(manifest, found), found, split="none")
    absent = table[table["path"] == ""]
    problems = [
        (tail, "missing", f"named in line {line}", "nothing")
        for tail, line in zip(absent["_tail"], absent["_line"], strict=True)
    ]
    expected = manifest.local.clips if found.kind == "part" else manifest.clips
    if expected is not None and len(table) != expected:
        problems.append((str(found.folder), "clip count", str(expected), str(len(table))))
    return problems
