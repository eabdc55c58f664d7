"""Download files, resume interrupted downloads, and verify files before they get their final name."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checks import checked, whole
from .errors import DatasetError, ParameterError
from .progress import progress_bar

if TYPE_CHECKING:
    import requests

#: Supported checksum -> its number of hexadecimal digits.
DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}
#: Attempts in a row without a new byte after which a download gives up.
ATTEMPTS = 3
#: Bytes that are read from the network at a time; an incomplete piece is lost if the connection breaks.
PIECE = 1 << 15
#: Seconds to wait for a connection, and for the next byte.
TIMEOUT = (10, 60)


def human_bytes(count: float) -> str:
    """Return a number of bytes as text in powers of 1000: 1234567 -> "1.2 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


class _ResumingDownloader:
    """A downloader for pooch that keeps received bytes in a .part file and asks the server for the rest only.

    Parameters
    ----------
    part : Path
        File for the bytes until the download is complete.
    size : int or None
        Expected number of bytes; another size on the server is an error before anything is downloaded.
    resume : bool
        Whether to continue `part`, which is safe only if a size or checksum shows whether the file changed meanwhile.
    progress : bool
        Whether to show a bar.
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
        # identity: with compression by the server, byte positions would have no meaning
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
        with open(self.part, "ab" if start else "wb") as file, progress_bar(desc=self.part.stem, **bar) as shown:
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
        Address, http or https.
    path : path
        Final name of the file, which appears only when the file is complete and verified. Until then, received bytes
        are in a file with .part added to the name, which the next call continues.
    size : int, optional
        Expected number of bytes.
    checksum : str, optional
        Expected checksum, "md5:...", "sha1:..." or "sha256:...".
    progress : bool

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    DatasetError
        There is no network, the connection broke (received bytes are kept), the server answered with an error, the disk
        is full, or the checksum is wrong (the error names both values; the damaged file is deleted).
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
    downloader = _ResumingDownloader(part, size=size, resume=known, progress=progress)
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
