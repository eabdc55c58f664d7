"""A clip made ready for a page: cut, faded where cut, at a stated gain, compressed, with its caption."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .. import audio
from ..errors import AudioError, ParameterError

#: Media type of each format the pages use.
MEDIA = {"mp3": "audio/mpeg", "ogg": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac"}
#: Highest level of the loudest peak after a shared gain: a compressed file may overshoot by a fraction of a dB.
CEILING_DB = -1.0
#: A shared gain never lifts by more: beyond that one hears the noise floor.
MOST_GAIN_DB = 20.0
FADE_SECONDS = 0.01


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
    def uri(self) -> str:
        """The file as a data URI."""
        return f"data:{MEDIA[self.format]};base64,{base64.b64encode(self.data).decode('ascii')}"


def duration(seconds: float) -> str:
    """ "0.25 s", "4.8 s" or "2 min 05 s"."""
    if seconds >= 99.95:
        whole = round(seconds)
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"


def checked(name: str, x, rate) -> tuple[np.ndarray, int]:
    """Mono float32 and whole rate, or an AudioError that names the clip.

    Raises
    ------
    AudioError
        Not (samples,), no samples, NaN or infinity, or a rate that is no positive whole number.
    """
    x = x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)
    if x.ndim != 1 or not x.size:
        raise AudioError(name, f"a player takes a mono waveform (samples,), got shape {x.shape}")
    if not np.issubdtype(x.dtype, np.floating):
        raise AudioError(name, f"a player takes float samples in [-1, 1], got {x.dtype}")
    bad = int((~np.isfinite(x)).sum())
    if bad:
        raise AudioError(name, f"{bad} of {x.size} samples are NaN or infinite")
    if rate != int(rate) or rate <= 0:
        raise AudioError(name, f"rate {rate!r} is no positive whole number of Hz")
    return x.astype(np.float32, copy=False), int(rate)


def cut(x: np.ndarray, rate: int, *, seconds: float | None) -> np.ndarray:
    """The first ``seconds`` (all if None), faded out over 10 ms where something was cut off."""
    if seconds is None or len(x) <= (size := max(1, round(seconds * rate))):
        return x
    x = x[:size].copy()
    fade = min(size, round(FADE_SECONDS * rate))
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
    return min(CEILING_DB - 20 * float(np.log10(peak)), MOST_GAIN_DB)
