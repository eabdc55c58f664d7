"""A clip made ready for a page: cut, faded where cut, at a stated gain, compressed, with its caption."""

from __future__ import annotations

import base64
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from .. import audio
from ..core.checks import number
from ..core.errors import AudioError, ParameterError, WorkbenchError

#: Media type of each format the pages use.
MEDIA = {"mp3": "audio/mpeg", "ogg": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac"}
#: Highest level of the loudest peak after a shared gain: a compressed file may overshoot by a fraction of a dB.
CEILING_DB = -1.0
#: A shared gain never lifts by more: beyond that one hears the noise floor.
_MOST_GAIN_DB = 20.0
_FADE_SECONDS = 0.01
#: Hz. Slower sounds would be brought to the least rate of a format at many times their size.
_LEAST_RATE = 100


@dataclass(frozen=True)
class Sound:
    """One compressed clip and what its caption must say."""

    data: bytes
    """The sound file."""
    format: str
    """"mp3", "ogg", "wav" or "flac"."""
    seconds: float
    """Length that plays."""
    total: float
    """Length of the clip."""
    rate: int
    """Hz, of the clip (the file's own may be higher, see audio.encode)."""
    clipped: int
    """Samples beyond full scale, which were clipped."""

    @property
    def caption(self) -> str:
        """Duration and rate; what was cut or clipped."""
        length = duration(self.seconds)
        if self.seconds < self.total:
            length = f"first {length} of {duration(self.total)}"
        clipped = f" · {self.clipped:,} samples clipped" if self.clipped else ""
        return f"{length} · {self.rate / 1000:.6g} kHz{clipped}"

    @property
    def base64(self) -> str:
        """The file as base64."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def uri(self) -> str:
        """The file as a data URI."""
        return f"data:{MEDIA[self.format]};base64,{self.base64}"

    @property
    def size(self) -> float:
        """Bytes that it takes in a page, with the markup around it."""
        return len(self.data) * 4 / 3 + 700


def duration(seconds: float) -> str:
    """ "0.25 s", "4.8 s" or "2 min 05 s"."""
    if seconds >= 99.95:
        whole = round(seconds)
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"


def amount(size: float) -> str:
    """Bytes as "1.2 MB" or "340 kB"."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def waveform(name: str, x, rate, *, what: str = "a player") -> tuple[np.ndarray, int]:
    """Mono float32 and whole rate, or an AudioError that names the clip.

    Raises
    ------
    AudioError
        Not (samples,), no samples, no float, NaN or infinity, or a rate that is no whole number of Hz from 100 on.
    """
    try:
        x = x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)
    except (ValueError, TypeError, RuntimeError):
        raise AudioError(name, f"{what} takes a mono waveform (samples,), got {type(x).__name__}") from None
    if x.ndim != 1 or not x.size:
        cure = ""
        if x.ndim == 2 and x.size:
            axis = int(x.shape[0] > x.shape[1])
            cure = f": average its channels, x.mean({axis}), or choose one"
        raise AudioError(name, f"{what} takes a mono waveform (samples,), got shape {x.shape}{cure}")
    if not np.issubdtype(x.dtype, np.floating):
        raise AudioError(name, f"{what} takes float samples in [-1, 1], got {x.dtype}")
    with np.errstate(over="ignore"):  # beyond single precision is infinite, and refused as such
        x = x.astype(np.float32, copy=False)
    bad = int((~np.isfinite(x)).sum())
    if bad:
        raise AudioError(name, f"{bad} of {x.size} samples are NaN or infinite")
    whole = isinstance(rate, numbers.Real) and not isinstance(rate, (bool, np.bool_)) and np.isfinite(rate)
    if not whole or rate != int(rate) or rate < _LEAST_RATE:
        raise AudioError(name, f"rate {rate!r} is no whole number of Hz from {_LEAST_RATE} on")
    return x, int(rate)


def read(audio: Callable, i: int, name: str) -> tuple[np.ndarray, int]:
    """The sound of clip i as :func:`waveform` gives it.

    Raises
    ------
    AudioError
        The clip cannot be read, whatever the source says of it, or :func:`waveform` refuses it.
    ParameterError
        ``audio`` gives something else than (x, rate).
    """
    try:
        sound = audio(i)
    except WorkbenchError:
        raise
    except (OSError, EOFError, RuntimeError, ValueError) as error:  # what readers of files raise
        raise AudioError(name, f"{type(error).__name__}: {error}") from error
    if not isinstance(sound, (tuple, list)) or len(sound) != 2:
        shown = f"a function that gave {type(sound).__name__} for {name}"
        raise ParameterError("audio", shown, "a function of a position that gives (x, rate)")
    return waveform(name, *sound)


def check_length(name: str, seconds: float | None) -> None:
    """Refuse what is no length of sound; None is all of it."""
    if seconds is not None and not number(name, seconds) > 0:
        raise ParameterError(name, seconds, "more than 0, or None for whole sounds")


def cut(x: np.ndarray, rate: int, *, seconds: float | None) -> np.ndarray:
    """The first ``seconds`` (all if None), faded out over 10 ms where something was cut off."""
    if seconds is None or len(x) <= (size := max(1, round(seconds * rate))):
        return x
    x = x[:size].copy()
    fade = min(size, round(_FADE_SECONDS * rate))
    x[size - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return x


def compress(x: np.ndarray, rate: int, *, total: float, gain_db: float = 0.0, format: str = "mp3") -> Sound:
    """Apply a gain, clip what exceeds full scale (counted), and encode.

    Parameters
    ----------
    x : np.ndarray (samples,)
        What plays, already cut.
    rate : int
        Hz.
    total : float
        Seconds of the whole clip.
    gain_db : float
        The same for every sound that is to be compared.
    format : {"mp3", "ogg", "wav", "flac"}
    """
    if format not in MEDIA:
        raise ParameterError("format", format, f"one of {', '.join(map(repr, MEDIA))}")
    y = x * np.float32(10 ** (gain_db / 20)) if gain_db else x
    clipped = int((np.abs(y) > 1).sum())
    data = audio.encode(np.clip(y, -1, 1) if clipped else y, rate, format=format)
    return Sound(data, format, len(x) / rate, total, rate, clipped)


def shared_gain(waveforms: Iterable[np.ndarray]) -> float:
    """dB that bring the loudest peak of all to -1 dBFS, at most +20 dB; 0 when all is silence."""
    peak = max((float(np.abs(x).max(initial=0.0)) for x in waveforms), default=0.0)
    if peak == 0.0:
        return 0.0
    return min(CEILING_DB - 20 * float(np.log10(peak)), _MOST_GAIN_DB)
