"""The memo, a file that stores the content hash of unchanged files and recipes so that they are not decoded again."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

from ..core.files import write_whole
from ..core.warn import warn


class Memo:
    """Content hash and length of every file or recipe that was decoded, in an append-only text file.

    Its lines are "key content samples check", where ``check`` is the CRC-32 of the rest of the line. A line without a
    correct one (cut short by a kill, damaged, or written by a version without it) is ignored, with one warning, and its
    clip is decoded again. Without the file all clips are decoded again.

    Parameters
    ----------
    path : Path or None
        With None the memo is kept in this object only.

    Attributes
    ----------
    problem : str
        What is wrong with the file; empty if nothing is.
    """

    def __init__(self, path: Path | None):
        self.path, self.problem = path, ""
        self._fresh: dict[str, tuple[str, int]] = {}
        self._known: dict[str, tuple[str, int]] = {}
        if path is None:
            return
        try:
            self._known, bad, total = _read(path)
        except (FileNotFoundError, NotADirectoryError):
            return  # a new store
        except OSError as error:
            self.problem = f"cannot be read ({error.strerror})"
        else:
            self.problem = f"{bad} of {total} lines are damaged or of an earlier version" if bad else ""
        if self.problem:
            warn(f"{path}: {self.problem}; clips that are not known are decoded once more")

    def __len__(self) -> int:
        return len(self._known)

    @staticmethod
    def key(signature: str, rate: int, seconds: float | None) -> str:
        """Return the key of a clip at a rate and length; it depends on the versions of decoder and resampler, too."""
        import soundfile
        import soxr

        versions = (soundfile.__libsndfile_version__, soxr.__version__)
        text = repr(("memo 1", signature, rate, None if seconds is None else float(seconds), versions))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def get(self, key: str) -> str | None:
        """Return the content hash, or None if it is not known."""
        return self._known.get(key, (None, 0))[0]

    def samples(self, key: str) -> int:
        """Return the length of the clip in samples; 0 if it is not known."""
        return self._known.get(key, (None, 0))[1]

    def put(self, key: str, content: str, samples: int, *, keep: bool = True) -> None:
        """Add an entry, which :meth:`save` writes to the file if `keep` is true."""
        if self._known.get(key) != (content, samples):
            self._known[key] = content, samples
            if keep:
                self._fresh[key] = content, samples

    def save(self) -> None:
        """Append new entries in one write; a file with damaged lines is rewritten without them.

        If the file cannot be written, a warning says that the clips will be decoded again next time.
        """
        fresh, self._fresh = self._fresh, {}
        if self.path is None or not (fresh or self.problem):
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.problem:
                self._write_anew(fresh)
                return
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                # a leading newline closes a line that a killed writer left open
                os.write(handle, b"\n" + _text(fresh))
            finally:
                os.close(handle)
        except OSError as error:
            message = f"cannot write {self.path}: {error}; {len(fresh)} clips will be decoded again next time"
            warn(message)

    def _write_anew(self, fresh: dict[str, tuple[str, int]]) -> None:
        """Rewrite the file; entries that others append meanwhile are lost, and their clips are decoded again."""
        known = _read(self.path)[0] if self.path.exists() else {}
        write_whole(self.path, _text(known | fresh))
        self.problem = ""


def _text(entries: dict[str, tuple[str, int]]) -> bytes:
    lines = (f"{key} {content} {samples}" for key, (content, samples) in entries.items())
    return "".join(f"{line} {_check(line)}\n" for line in lines).encode()


def _check(line: str) -> str:
    return f"{zlib.crc32(line.encode(errors='replace')):08x}"


def _read(path: Path) -> tuple[dict[str, tuple[str, int]], int, int]:
    """Return the entries of intact lines, the number of other lines, and the number of all lines."""
    known, bad, total = {}, 0, 0
    for line in path.read_text(encoding="ascii", errors="replace").split("\n"):
        if not line:
            continue
        total += 1
        text, _, check = line.rpartition(" ")
        if text and check == _check(text):
            key, content, samples = text.split(" ")
            known[key] = content, int(samples)
        else:
            bad += 1
    return known, bad, total
