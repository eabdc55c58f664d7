"""Claims: several processes that embed the same clips share the work."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no claims, so two processes may compute the same clips; readers still see each once
    fcntl = None


class Claims:
    """Who computes what at this moment, so that several processes share the work instead of repeating it.

    A claim is a lock on one byte of the group's ``claims`` file, at an offset that stands for the piece of work. The
    system drops it when the process ends, however it ends. Claims are advisory: where they do not work (no locks on
    this file system) work is repeated, and nothing else changes.

    Parameters
    ----------
    folder : Path or None
        The group's; None claims nothing.
    """

    def __init__(self, folder: Path | None):
        self._handle = None
        if fcntl is not None and folder is not None:
            with contextlib.suppress(OSError):
                self._handle = os.open(folder / "claims", os.O_RDWR | os.O_CREAT, 0o666)

    def take(self, work: str) -> bool:
        """False where another process has claimed it; ``work`` is a string of hexadecimal digits."""
        if self._handle is not None:
            try:
                fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(work[:12], 16))
            except (BlockingIOError, PermissionError):
                return False
            except OSError:
                return True
        return True

    def release(self) -> None:
        """Give up all claims taken."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._handle, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up all claims and take no more."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
