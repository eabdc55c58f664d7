"""Decode sound files with libsndfile, and avoid its silent errors in seeking and in the length of files.

- A piece of a file equals that slice of the whole sound. As seeking in compressed sound is not exact (a frame needs
  data of earlier frames, and positions are estimated at variable bit rates), compressed files are decoded from the
  start. Decoders of long files stay open, so that reading the pieces of a file in order costs decoding it once. To go
  back, the decoder seeks to before a landmark, a run of samples that was decoded earlier, and continues there only if
  it decodes the same samples again.
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

#: Frames that are decoded at a time before a piece, and in it.
STEP, BLOCK = 1 << 16, 1 << 21
#: LONG: seconds above which a file's decoder is kept open. OPEN: number of decoders kept open. SPACING: seconds between
#: landmarks. LANDMARK: samples of a landmark. RUN_UP: seconds before a landmark to which the decoder seeks. CLOSE:
#: largest difference of samples at a landmark.
LONG, OPEN, SPACING, LANDMARK, RUN_UP, CLOSE = 30.0, 4, 20.0, 4096, 2.0, 1e-6
#: Encodings in which seeking is exact: the position of a sample follows from its number, or is in a table.
PLACED = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "ALAC_")

_idle: list[_Decoder] = []
_lock = threading.Lock()


@atexit.register
def _close_all() -> None:
    """Close all decoders at exit, while libsndfile is still loaded."""
    while _idle:
        _idle.pop().close()


def read(source, name: object, *, offset: float = 0.0, duration: float | None = None) -> tuple[np.ndarray, int]:
    """Read the samples of a file, or of a piece of it.

    Parameters
    ----------
    source : path or seekable binary file object
    name : object
        What errors call the file.
    offset, duration : float
        Beginning and length of the piece in seconds; without a duration, it extends to the end.

    Returns
    -------
    x : np.ndarray, float32 (channels, samples)
        At least one sample; fewer than asked for if the file ends before.
    rate : int
        Hz.

    Raises
    ------
    AudioError
        The file is damaged, empty or cut short, or ends before ``offset``, or ``duration`` is less than a sample.
    """
    import soundfile

    try:
        with _decoder(source, name, offset, duration) as decoder:
            count = None if duration is None else round(duration * decoder.rate)
            if count == 0:
                raise AudioError(name, f"a piece of {duration:g} s holds no sample at {decoder.rate} Hz")
            decoder.go_to(round(offset * decoder.rate))
            return decoder.read(count).T, decoder.rate
    # soundfile raises TypeError and ValueError for nonsensical or missing headers
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError, TypeError, MemoryError) as error:
        raise AudioError(name, f"does not decode ({error})") from error


def rate_of(path, name: object) -> int:
    """Return the rate of a file in Hz, from its header.

    Raises
    ------
    AudioError
        The file is missing, damaged, empty or cut short.
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
    """Give a decoder of the file, an open one if possible; it is kept open if more pieces may be read."""
    key = None
    if not hasattr(source, "read") and (offset or duration is not None):
        status = os.stat(source)
        # the process is part of the key, because a fork shares the position in an open file with its parent
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
    """Return a subclass of soundfile's SoundFile that only reads forwards."""
    import soundfile

    class Forward(soundfile.SoundFile):
        """A file that claims not to be seekable, so that soundfile does not seek after each block.

        By seeking, even to its own position, an MP3 decoder loses its state.
        """

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
        Number of frames; None if it is known only at the end of the file.
    at : int
        Number of the next frame.
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
            if isinstance(stream, io.RawIOBase):  # opened here; a file object of the caller stays open
                stream.close()

    def _next(self, count: int) -> np.ndarray:
        """Return at most so many frames, (n, channels); n is 0 at the end of the file."""
        x = self._file.read(count, dtype="float32", always_2d=True)
        while not len(x) and self._part + 1 < len(self._streams):
            self._open(self._part + 1)
            x = self._file.read(count, dtype="float32", always_2d=True)
        if (
            self._landmarks
            and self.at >= max(self._marks, default=0) + SPACING * self.rate
            and len(x) >= LANDMARK
            and np.abs(x[:LANDMARK]).max() > 1e-3  # silence would match anywhere
        ):
            self._marks[self.at] = x[:LANDMARK].copy()
        self.at += len(x)
        return x

    def _skip(self, start: int) -> None:
        while self.at < start and len(self._next(min(STEP, start - self.at))):
            pass

    def go_to(self, start: int) -> None:
        """Move to a frame, so that ``start`` is the next one.

        Raises
        ------
        AudioError
            The file ends before ``start``.
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
        """Continue after a landmark; if its samples do not match, start again and use no more landmarks."""
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
        """Return so many frames, (n, channels), or as many as there are."""
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
