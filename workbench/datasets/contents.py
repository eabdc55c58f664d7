"""Identify files by their content: the sha256 of a file is computed once and stored until the file changes."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.errors import AudioError
from ..core.files import cache_folder

#: The checksum of a file that changed less than this many nanoseconds ago is not stored, as the file may change again
#: within one tick of the file system's clock.
LATELY = 2_000_000_000
#: Bytes from the middle of a file that are compared before two files of one size are read whole.
PEEK = 4096


def printable(path: str | os.PathLike) -> str:
    """Return a path as text that can be printed and stored; bytes that are not UTF-8 become backslash escapes."""
    text = os.fspath(path)
    if text.isascii():
        return text
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def on_disk(text: str) -> str:
    r"""Return the path from which :func:`printable` made the text.

    Escapes such as ``\xe1`` become bytes again, unless a file of exactly this name exists.
    """
    if "\\x" not in text or os.path.lexists(text):
        return text
    pieces = text.split("\\x")
    raw = pieces[0].encode()
    for piece in pieces[1:]:
        byte = piece[:2]
        is_byte = len(byte) == 2 and byte[0] in "89abcdef" and byte[1] in "0123456789abcdef"
        raw += bytes([int(byte, 16)]) + piece[2:].encode() if is_byte else b"\\x" + piece.encode()
    return os.fsdecode(raw)


def why_no_file(path: str) -> str:
    """Return why a path is not a file, such as " (a broken link)", for a message; "" where nothing has that path."""
    if not path or not os.path.lexists(path):
        return ""
    if os.path.islink(path) and not os.path.exists(path):
        return " (a broken link)"
    return " (a folder)" if os.path.isdir(path) else " (no ordinary file)"


def quick_look(path: str) -> str:
    """Return a file's size, mtime, ctime and inode as text; writing to the file or replacing it changes the text.

    The system keeps the ctime, which cannot be set back as the mtime can.

    Raises
    ------
    AudioError
        There is no such file.
    """
    status = _stat(path)
    return f"{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}|{status.st_ino}"


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except (OSError, ValueError) as error:
        raise AudioError(printable(path), f"cannot be read: {getattr(error, 'strerror', error)}") from None


class Contents:
    """The sha256 of files, kept between processes in a text file whose lines are "key sha256 crc32".

    The key is a hash of the file's path and of what :func:`quick_look` returns. A line that is damaged or cut short is
    skipped, and its file is read again.
    """

    def __init__(self, memory: Path):
        self.memory = memory
        self._fresh: list[str] = []
        self._known: dict[str, str] = {}
        try:
            lines = memory.read_text(encoding="ascii", errors="replace").split("\n")
        except OSError:
            return
        for line in lines:
            look, _, rest = line.partition(" ")
            sha, _, check = rest.partition(" ")
            if check == _check(look, sha):
                self._known[look] = sha

    def of(self, path: str) -> str:
        """Return the sha256 of a file's bytes, hexadecimal.

        Raises
        ------
        AudioError
            The file cannot be read.
        """

        def read() -> str:
            try:
                with open(path, "rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise AudioError(printable(path), f"cannot be read: {error.strerror}") from None

        return self._remembered(path, "", read)

    def of_part(self, path: str, part: str, read: Callable[[], bytes]) -> str:
        """Return the sha256 of a named part of a file, hexadecimal; `read`, called if needed, returns its bytes."""
        return self._remembered(path, f"|{part}", lambda: hashlib.sha256(read()).hexdigest())

    def _remembered(self, path: str, part: str, read: Callable[[], str]) -> str:
        key = self._key(path, part)
        if key in self._known:
            return self._known[key]
        sha = read()
        settled = _stat(path).st_ctime_ns + LATELY < time.time_ns()
        if settled and self._key(path, part) == key:
            self._known[key] = sha
            self._fresh.append(f"{key} {sha} {_check(key, sha)}\n")
        return sha

    def _key(self, path: str, part: str) -> str:
        what = f"{printable(os.path.abspath(path))}|{quick_look(path)}{part}"
        return hashlib.sha256(what.encode()).hexdigest()[:32]

    def save(self) -> None:
        """Append the new checksums to the text file; where it cannot be written, files are read again next time."""
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return
        try:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.memory, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:  # one write, so that several processes may append at once; the newline closes a line cut short
                os.write(handle, ("\n" + "".join(fresh)).encode())
            finally:
                os.close(handle)
        except OSError:
            return


def _check(look: str, sha: str) -> str:
    return f"{zlib.crc32(f'{look} {sha}'.encode()):08x}"


_CONTENTS: dict[Path, Contents] = {}


def contents() -> Contents:
    """Return this process's checksums for the cache folder as it is set now."""
    memory = cache_folder() / "contents.txt"
    if memory not in _CONTENTS:
        _CONTENTS[memory] = Contents(memory)
    return _CONTENTS[memory]


def alike(paths: Sequence[str]) -> list[str]:
    """Return a key for each file; keys are equal where the bytes of the files are.

    Only files that agree in size and in a few bytes from their middle are read whole. A file that cannot be read has a
    key of its own.
    """
    keys = [_size_key(path, i) for i, path in enumerate(paths)]
    for look in (_peek, contents().of):
        seen: dict[str, set[str]] = {}
        for key, path in zip(keys, paths, strict=True):
            seen.setdefault(key, set()).add(path)
        keys = [
            key if len(seen[key]) == 1 else f"{key}|{_or(look, path, i)}"
            for i, (key, path) in enumerate(zip(keys, paths, strict=True))
        ]
    contents().save()
    return keys


def _size_key(path: str, i: int) -> str:
    return _or(lambda path: str(_stat(path).st_size), path, i)


def _peek(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(max(os.fstat(file.fileno()).st_size // 2 - PEEK // 2, 0))
        return hashlib.sha256(file.read(PEEK)).hexdigest()[:32]


def _or(look, path: str, i: int) -> str:
    try:
        return look(path)
    except (OSError, AudioError):
        return f"unreadable {i}"
