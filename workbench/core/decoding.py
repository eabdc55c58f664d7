"""Sound files to samples: libsndfile, kept from what it does without a word.

- A piece of a file equals that slice of the whole. Seeking in compressed sound is not exact (what a frame borrows from
  those before it is missing, variable rates are searched by guess), so that is decoded from the start. Decoders of long
  files stay open: the pieces of one, in their order, cost one decoding of it. Going back begins at a landmark, samples
  met on the way there, which seeking must give again before it is believed.
- The length that a header states is compared with the file (:mod:`workbench.core.headers`).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import os
import threading
from collections.abc import Iterator

import numpy as np

from .errors import AudioError
from .headers import prepare

#: Frames decoded at a time, on the way to a piece and in it.
STEP, BLOCK = 1 << 16, 1 << 21
#: Seconds from which on a file is long, decoders that stay open, seconds from landmark to landmark, samples of one,
#: seconds before it where seeking begins, and how closely it must be met.
LONG, OPEN, SPACING, LANDMARK, RUN_UP, CLOSE = 30.0, 4, 20.0, 4096, 2.0, 1e-6
#: Encodings in which a sample's place in the file follows from its number, or that have a table of places.
PLACED = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "ALAC_")

_idle: list[_Decoder] = []
_lock = threading.Lock()


@atexit.register
def _close_all() -> None:
    """While libsndfile is still there."""
    while _idle:
        _idle.pop().close()


def read(source, name: object, *, offset: float = 0.0, duration: float | None = None) -> tuple[np.ndarray, int]:
    """Samples of a file, or of a piece of it.

    Parameters
    ----------
    source : path or seekable binary file object
    name : object
        What errors call it.
    offset, duration : float
        Seconds; without a duration to the end.

    Returns
    -------
    x : np.ndarray, float32 (channels, samples)
        At least one sample; fewer than asked for where the file ends.
    rate : int
        Hz.

    Raises
    ------
    AudioError
        The file is damaged, empty or cut short, or ends before ``offset``; ``duration`` is less than a sample.
    """
    import soundfile

    try:
        with _decoder(source, name, offset, duration) as decoder:
            count = None if duration is None else round(duration * decoder.rate)
            if count == 0:
                raise AudioError(name, f"a piece of {duration:g} s holds no sample at {decoder.rate} Hz")
            decoder.go_to(round(offset * decoder.rate))
            return decoder.read(count).T, decoder.rate
    # of soundfile itself are TypeError and ValueError: headers that make no sense, files without one
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError, MemoryError) as error:
        raise AudioError(name, f"does not decode ({error})") from error


def rate_of(path, name: object) -> int:
    """Hz of a file, from its header.

    Raises
    ------
    AudioError
        It is not there, damaged, empty or cut short.
    """
    import soundfile

    try:
        decoder = _Decoder(path, name, None)
        decoder.close()
        return decoder.rate
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        raise AudioError(name, f"does not decode ({error})") from error


@contextlib.contextmanager
def _decoder(source, name: object, offset: float, duration: float | None) -> Iterator[_Decoder]:
    """A decoder of the file: an open one if there is, kept open if more pieces are to be expected."""
    key = None
    if not hasattr(source, "read") and (offset or duration is not None):
        status = os.stat(source)
        # the process, because a fork shares the place in an open file with its parent
        key = (os.getpid(), os.path.abspath(source), status.st_size, status.st_mtime_ns, status.st_ino)
    with _lock:
        same = [idle for idle in _idle if idle.key == key]
        before = [idle for idle in same if idle.at <= offset * idle.rate]
        decoder = max(before, key=lambda idle: idle.at) if before else same[0] if same else None
        if decoder:
            _idle.remove(decoder)
    decoder = decoder or _Decoder(source, name, key)
    try:
        yield decoder
    except BaseException:
        decoder.close()
        raise
    surplus = [decoder]
    if key is not None and not decoder.placed and (decoder.frames or decoder.at) > LONG * decoder.rate:
        with _lock:
            _idle.append(decoder)
            surplus = [_idle.pop(0) for _ in range(len(_idle) - OPEN)]
    for decoder in surplus:
        decoder.close()


@functools.cache
def forward() -> type:
    """soundfile's SoundFile, for going forward only."""
    import soundfile

    class Forward(soundfile.SoundFile):
        """After each block soundfile seeks to where it is, at which an MP3 decoder forgets what it has decoded."""

        def seekable(self) -> bool:
            return False

    return Forward


class _Decoder:
    """A file that is decoded forwards.

    Attributes
    ----------
    rate : int
        Hz.
    frames : int or None
        How many there are; None where only the end of the file can tell.
    at : int
        The next one.
    placed : bool
        Whether seeking is exact.
    """

    def __init__(self, source, name: object, key: tuple | None):
        self.name, self.key = name, key
        self._marks: dict[int, np.ndarray] = {}
        self._landmarks = False
        self._streams, self._drop, counted = prepare(source, name)
        self._open(0)
        self._landmarks = key is not None and len(self._streams) == 1
        known = counted and len(self._streams) == 1 and self._file.frames < 2**62
        self.frames = self._file.frames - self._drop if known else None
        self.placed = known and self._file.subtype.startswith(PLACED)
        if self._file.frames == 0:
            self.close()
            raise AudioError(name, "has no samples")

    def _open(self, part: int) -> None:
        if part:
            self._file.close()
        stream = self._streams[part]
        if hasattr(stream, "seek"):
            stream.seek(0)
        elif os.name == "posix":  # names that are not UTF-8 too
            stream = os.fsencode(stream)
        self._part, self._file = part, forward()(stream)
        if part and (self._file.samplerate, self._file.channels) != (self.rate, self.channels):
            raise AudioError(self.name, "changes its rate or its number of channels on the way")
        self.rate, self.channels = self._file.samplerate, self._file.channels
        if part == 0:
            self.at = -self._drop
            self._skip(0)

    def close(self) -> None:
        self._file.close()
        for stream in self._streams:
            if isinstance(stream, io.RawIOBase):  # ours; a caller's file object stays open
                stream.close()

    def _next(self, count: int) -> np.ndarray:
        """Return at most so many frames (n, channels); none at the end."""
        x = self._file.read(count, dtype="float32", always_2d=True)
        while not len(x) and self._part + 1 < len(self._streams):
            self._open(self._part + 1)
            x = self._file.read(count, dtype="float32", always_2d=True)
        if (
            self._landmarks
            and self.at >= max(self._marks, default=0) + SPACING * self.rate
            and len(x) >= LANDMARK
            and np.abs(x[:LANDMARK]).max() > 1e-3  # silence could be anywhere
        ):
            self._marks[self.at] = x[:LANDMARK].copy()
        self.at += len(x)
        return x

    def _skip(self, start: int) -> None:
        while self.at < start and len(self._next(min(STEP, start - self.at))):
            pass

    def go_to(self, start: int) -> None:
        """Make ``start`` the next frame.

        Raises
        ------
        AudioError
            The file ends before it.
        """
        if self.placed and start < self.frames:
            if start != self.at:
                self._file.seek(start)
                self.at = start
            return
        mark = max((place for place in self._marks if place + LANDMARK <= start), default=-1)
        if mark >= 0 and (start < self.at or mark > self.at + RUN_UP * self.rate):
            self._jump(mark)
        if start < self.at:
            self._file.close()
            self._open(0)
        if self.frames is None or start < self.frames:
            self._skip(start)
        if self.at < start or start == self.frames:
            end = max(self.at, self.frames or 0) / self.rate
            raise AudioError(self.name, f"ends at {end:.3f} s, before offset {start / self.rate:g} s")

    def _jump(self, mark: int) -> None:
        """Go on after a landmark, or start again where it is not met; then none will be tried any more."""
        import soundfile

        begin = max(mark - round(RUN_UP * self.rate), 0)
        with contextlib.suppress(soundfile.SoundFileError, RuntimeError):
            self._file.seek(begin + self._drop)
            self._file.read(mark - begin, dtype="float32", always_2d=True)
            x = self._file.read(LANDMARK, dtype="float32", always_2d=True)
            if x.shape == self._marks[mark].shape and np.abs(x - self._marks[mark]).max() <= CLOSE:
                self.at = mark + LANDMARK
                return
        self._marks.clear()
        self._landmarks = False
        self._file.close()
        self._open(0)

    def read(self, count: int | None) -> np.ndarray:
        """So many frames (n, channels), or as many as there are."""
        wanted = count if self.frames is None else min(self.frames if count is None else count, self.frames - self.at)
        parts, got = [], 0
        while wanted is None or got < wanted:
            x = self._next(BLOCK if wanted is None else min(BLOCK, wanted - got))
            if not len(x):
                break
            parts.append(x)
            got += len(x)
        if not got and self.frames is None and wanted is not None:
            raise AudioError(self.name, f"ends at {self.at / self.rate:.3f} s, and the piece begins there")
        if not got or (self.frames is not None and got < wanted):
            raise AudioError(self.name, f"is cut short: {got} of {wanted or 'its'} samples could be decoded")
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
