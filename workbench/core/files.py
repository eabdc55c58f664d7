"""Write files completely or not at all, and find the package's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TEMPORARY = ".tmp"
"""Suffix of the temporary names of files that are being written."""
_OURS = re.compile(rf"\..+\.([0-9a-f]{{8}})[0-9a-f]{{24}}{re.escape(TEMPORARY)}", re.DOTALL)
_HERE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
ABANDONED = 3600.0
"""Seconds without a write after which a temporary file counts as abandoned if locks cannot show it."""


def cache_folder() -> Path:
    """Return the folder in the environment variable ``WORKBENCH_CACHE``, else the user's cache folder."""
    folder = os.environ.get("WORKBENCH_CACHE")
    if folder:
        return Path(folder).expanduser()
    import pooch

    return Path(pooch.os_cache("workbench"))


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Write a file under a temporary name in the same folder, then flush it to the disk and rename it.

    At any moment, the file at ``path`` is either the old one or the complete new one. The temporary file is locked
    while its writer is alive, and its name contains a hash of the machine, so that :func:`abandoned` can recognise it.

    Raises
    ------
    OSError
        The file cannot be written; the temporary file is removed, as it is if the body raises an exception.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        with _locked(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:  # while it is locked
                os.replace(temporary, path)
        if fcntl is None:  # Windows renames no open file
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync(path.parent)


def temporary_beside(path: Path) -> Path:
    """Return a new temporary name in a file's folder, under which this machine writes the file."""
    return path.with_name(f".{path.name[:80]}.{_HERE}{uuid.uuid4().hex[8:]}{TEMPORARY}")


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Write bytes to a file with :func:`replacing`."""
    with replacing(path) as file:
        file.write(data)


def _locked(path: Path) -> BinaryIO:
    """Open a new file, locked so that other processes see that its writer is alive."""
    while True:
        file = open(path, "xb")  # noqa: SIM115 (the caller closes it)
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():
            return file
        file.close()  # removed by another process before it was locked


def abandoned(path: Path) -> bool:
    """Whether the writer of a temporary file is dead, so that no process holds its lock.

    If files cannot be locked, or if the writer is on another machine (whose locks a shared disk may not show), the
    writer counts as dead when the file was not written to for an hour.
    """
    try:
        old = time.time() - path.stat().st_mtime > ABANDONED
        if (name := _OURS.fullmatch(path.name)) and name[1] != _HERE:
            return old
        with open(path, "rb") as file:
            if fcntl is None:
                return old
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                return old
            return True
    except OSError:
        return False


def sweep_away(folder: Path) -> None:
    """Remove abandoned files of :func:`replacing` from a folder, and no others, as the folder may be the user's own."""
    for path in folder.glob(f".*{TEMPORARY}"):
        if _OURS.fullmatch(path.name) and abandoned(path):
            with contextlib.suppress(OSError):
                path.unlink()


def _sync(folder: Path) -> None:
    """Flush a folder to the disk, if the system can, so that a rename in it survives a power failure."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
