"""The memo: which content an unchanged file or recipe has, so that it is never decoded twice."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

from ..core.files import write_whole
from ..core.warn import warn


class Memo:
    """Content hash and length of every file or recipe seen: an append-only text file of "key content samples check".

    ``check`` is the CRC-32 of the rest of its line. A line without its own (cut short by a kill, damaged, or written by
    a version that wrote none) is left out, with one warning, and its clip is decoded once more. Without the file
    everything is decoded once more.

    Parameters
    ----------
    path : Path or None
        None remembers nothing beyond this object.

    Attributes
    ----------
    problem : str
        What is wrong with the file; empty when nothing is.
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
        """Key of a clip as an encoder hears it; decoders' and resampler's versions count, as they make the samples."""
        import soundfile
        import soxr

        versions = (soundfile.__libsndfile_version__, soxr.__version__)
        text = repr(("memo 1", signature, rate, None if seconds is None else float(seconds), versions))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def get(self, key: str) -> str | None:
        """The content hash, where it is known."""
        return self._known.get(key, (None, 0))[0]

    def samples(self, key: str) -> int:
        """How long the clip is; 0 where that is not known."""
        return self._known.get(key, (None, 0))[1]

    def put(self, key: str, content: str, samples: int, *, keep: bool = True) -> None:
        """Remember; :meth:`save` writes it down, unless it is not to be kept."""
        if self._known.get(key) != (content, samples):
            self._known[key] = content, samples
            if keep:
                self._fresh[key] = content, samples

    def save(self) -> None:
        """Append what is new in one write, or write the file anew without its damaged lines.

        Where that cannot be, warn: the clips will be decoded again next time.
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
        """What others append between the reading and the renaming is lost, which costs its decoding."""
        known = _read(self.path)[0] if self.path.exists() else {}
        write_whole(self.path, _text(known | fresh))
        self.problem = ""


def _text(entries: dict[str, tuple[str, int]]) -> bytes:
    lines = (f"{key} {content} {samples}" for key, (content, samples) in entries.items())
    return "".join(f"{line} {_check(line)}\n" for line in lines).encode()


def _check(line: str) -> str:
    return f"{zlib.crc32(line.encode(errors='replace')):08x}"


def _read(path: Path) -> tuple[dict[str, tuple[str, int]], int, int]:
    """The entries of sound lines, the number of other lines, and of all."""
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
