"""The memo: which content an unchanged file or recipe has, so that it is never decoded twice."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

from ..errors import StoreError


class Memo:
    """Content hash of every file or recipe seen: an append-only text file of "key content" lines.

    Lines cut short by a kill are skipped when it is read; without the file everything is decoded once more.

    Parameters
    ----------
    path : Path or None
        None remembers nothing beyond this object.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self._fresh: dict[str, str] = {}
        self._known: dict[str, str] = {}
        if path is not None:
            try:
                lines = path.read_text(encoding="ascii", errors="replace").split("\n")
            except (FileNotFoundError, NotADirectoryError):
                return  # a new store
            except OSError as error:
                raise StoreError(f"cannot read the embedding store in {path}: {error}") from error
            self._known = {line[:32]: line[33:] for line in lines if len(line) == 65}

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
        return self._known.get(key)

    def put(self, key: str, content: str) -> None:
        """Remember; :meth:`save` writes it down."""
        if self._known.get(key) != content:
            self._known[key] = self._fresh[key] = content

    def save(self) -> None:
        """Append what is new in one write. Where that cannot be, warn: the clips will be decoded again next time."""
        fresh, self._fresh = self._fresh, {}
        if self.path is None or not fresh:
            return
        # a leading newline closes a line that a killed writer left open
        text = "\n" + "".join(f"{key} {content}\n" for key, content in fresh.items())
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(handle, text.encode())
            finally:
                os.close(handle)
        except OSError as error:
            message = f"cannot write {self.path}: {error}; {len(fresh)} clips will be decoded again next time"
            warnings.warn(message, stacklevel=2)
