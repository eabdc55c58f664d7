"""Where a run stands: a bar on a terminal, a line a cell elsewhere, and always a log in the run's folder."""

from __future__ import annotations

import contextlib
import datetime
import sys
import threading
import time
from pathlib import Path

from ..core.progress import progress_bar

QUIET_SECONDS = 30.0
"""Longest time without a line while one cell runs."""
_START = "the start of the kernel"


class Follower:
    """Told of every cell that begins, it says so; a context manager.

    Parameters
    ----------
    label : str
        Begins each line.
    cells : int
        Cells of the notebook.
    log : Path
        Gets every line with the time of day, at once.
    bar : bool
        Show a bar instead of lines.
    lines : bool
        Say it on standard error too.
    """

    def __init__(self, label: str, cells: int, log: Path, *, bar: bool, lines: bool):
        self.label, self.cells, self.log, self.lines = label, cells, log, lines
        self.bar = None
        if bar:
            self.bar = progress_bar(total=cells, desc=label, unit="cell", leave=False, file=sys.stderr)
        self._began = self._last = time.monotonic()
        self._where, self._ended = _START, threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Follower:
        self.say("running")
        threading.Thread(target=self._remind, daemon=True).start()
        return self

    def __exit__(self, *_exception) -> None:
        self._ended.set()
        if self.bar is not None:
            self.bar.close()

    @property
    def cells_begun(self) -> bool:
        """Whether a first cell was told of."""
        return self._where != _START

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began

    def cell(self, position: int, heading: str) -> None:
        """A cell begins; ``position`` counts from 0."""
        under = f" ({heading[:60]})" if heading else ""
        where = f"cell {position + 1} of {self.cells}{under}"
        if where != self._where:  # the parameters take two cells of an executed notebook
            self._where = where
            self.say(f"{where}, {self.seconds:.0f} s")
        if self.bar is not None:
            self.bar.set_description_str(f"{self.label}: {heading[:40] or self.label}", refresh=False)
            self.bar.update(position - self.bar.n)
            self.bar.refresh()

    def say(self, text: str, *, always: bool = False) -> None:
        """One line, ``always`` beside a bar too; neither a full disk nor a closed pipe ends the run."""
        with self._lock:
            self._last = time.monotonic()
            now = datetime.datetime.now().strftime("%H:%M:%S")
            with (
                contextlib.suppress(OSError, ValueError),
                self.log.open("a", encoding="utf-8", errors="replace") as file,
            ):
                file.write(f"{now} {text}\n")
            if always and self.bar is not None:
                self.bar.close()
            if always or (self.lines and self.bar is None):
                with contextlib.suppress(OSError, ValueError):
                    print(f"{self.label}: {text}", file=sys.stderr, flush=True)

    def _remind(self) -> None:
        while not self._ended.wait(1.0):
            if time.monotonic() - self._last >= QUIET_SECONDS:
                self.say(f"still at {self._where}, {self.seconds:.0f} s")
