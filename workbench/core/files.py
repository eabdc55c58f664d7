"""Files that are there wholly or not at all, and the folder where the package keeps what it may need again."""

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
"""How the names of files end that are being written."""
_OURS = re.compile(rf"\..+\.([0-9a-f]{{8}})[0-9a-f]{{24}}{re.escape(TEMPORARY)}", re.DOTALL)
_HERE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
ABANDONED = 3600.0
"""Seconds after which a temporary file belongs to no living writer, where a lock cannot tell."""


def cache_folder() -> Path:
    """The environment variable ``WORKBENCH_CACHE``, else the user's cache folder of this system."""
    folder = os.environ.get("WORKBENCH_CACHE")
    if folder:
        return Path(folder).expanduser()
    import pooch

    return Path(pooch.os_cache("workbench"))


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Write a file under a temporary name beside its own, then flush it to the disk and rename it.

    Whenever the process ends, the file under ``path`` is the old one or the whole new one. The temporary one is locked
    while its writer lives, and its name says on which machine, so that :func:`abandoned` can tell.

    Raises
    ------
    OSError
        The file cannot be written; the temporary one is gone, as it is when the body raises anything.
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
    """A new name beside a file's own, under which this machine writes it."""
    return path.with_name(f".{path.name[:80]}.{_HERE}{uuid.uuid4().hex[8:]}{TEMPORARY}")


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Bytes to a file, by :func:`replacing`."""
    with replacing(path) as file:
        file.write(data)


def _locked(path: Path) -> BinaryIO:
    """A new file, locked so that others see that its writer lives."""
    while True:
        file = open(path, "xb")  # noqa: SIM115 (the caller closes it)
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():
            return file
        file.close()  # swept away before it was locked


def abandoned(path: Path) -> bool:
    """Whether the writer of a temporary file is dead: nobody holds its lock.

    Where files cannot be locked, and of writers on other machines, whose locks a shared disk need not show, it is dead
    when the file was not written to for an hour.
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
    """Remove what dead writers of :func:`replacing` left in a folder, and nothing else: it may be the user's own."""
    for path in folder.glob(f".*{TEMPORARY}"):
        if _OURS.fullmatch(path.name) and abandoned(path):
            with contextlib.suppress(OSError):
                path.unlink()


def _sync(folder: Path) -> None:
    """Make a rename in the folder survive a power cut (where the system can)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
