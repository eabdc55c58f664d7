"""Claims, by which several processes that embed the same clips share the work."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no claims: two processes may compute the same clips, of which readers see one copy
    fcntl = None


class Claims:
    """Claims of one process on pieces of work, which other processes then leave to it.

    A claim is a lock on one byte of the group's ``claims`` file, at an offset that is computed from the piece of work.
    The operating system releases it when the process ends in any way. Claims are advisory: on a file system without
    locks, work may be repeated, and nothing else changes.

    Parameters
    ----------
    folder : Path or None
        Folder of the group; with None nothing is claimed.
    """

    def __init__(self, folder: Path | None):
        self._handle = None
        if fcntl is not None and folder is not None:
            with contextlib.suppress(OSError):
                self._handle = os.open(folder / "claims", os.O_RDWR | os.O_CREAT, 0o666)

    def take(self, work: str) -> bool:
        """Claim ``work``, a string of hexadecimal digits; return False if another process has claimed it."""
        if self._handle is not None:
            try:
                fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(work[:12], 16))
            except (BlockingIOError, PermissionError):
                return False
            except OSError:
                return True
        return True

    def release(self) -> None:
        """Release all claims."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._handle, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release all claims and close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
