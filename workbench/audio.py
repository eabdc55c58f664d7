"""Sound in and out: load, resample, segment and write sounds, compute their spectrograms and invert these.

A waveform is float32, (samples,) or (..., samples), nominally in [-1, 1], and is always passed together with its rate
in Hz. No function changes the level of a sound unless asked to: files that exceed full scale stay above it.
"""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from .core import decoding, dependencies
from .core.checks import checked, choice, number, numbers, whole
from .core.errors import AudioError, ParameterError
from .core.files import write_whole
from .core.warn import warn

if TYPE_CHECKING:
    import torch

#: Rates (Hz) that an MP3 stream can have.
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
#: Added to mel power before the logarithm; about -115 dB relative to the spectra of full-scale sound used here.
LOG_FLOOR = 1e-10

#: Limits beyond which a change to a sound is audible and is therefore reported. MIX_DB: by how many dB a mix to mono is
#: fainter than the loudest channel (with two independent channels it loses 3 dB, with a silent one 6 dB, with opposite
#: ones everything). CHANNEL_DB: the same for one chosen channel. BAND_SHARE: the share of the energy above half the new
#: rate (5 per cent is 13 dB below the whole). PEAK: the largest magnitude (2 is 6 dB above full scale; compressed files
#: of loud music reach 3).
MIX_DB, CHANNEL_DB, BAND_SHARE, PEAK = 4.5, 40.0, 0.05, 2.0
#: Floats with a larger peak (40 dB above full scale) are taken for integers that were not divided by their full scale.
MOST_PEAK = 100.0
#: An array with more channels than this is taken for a batch, as no recording has so many.
MOST_CHANNELS = 64
#: Highest rate (Hz) and longest waveform (samples) that are accepted.
MOST_RATE, MOST_SAMPLES = 10_000_000, 2**31
#: Level in dB relative to full scale below which a sound counts as silence, and the mean square at that level.
SILENT = -80.0
SILENCE = 10 ** (SILENT / 10)

#: A path, a binary file object, or (array or tensor, rate).
Source = str | os.PathLike | io.IOBase | tuple


class Change(NamedTuple):
    """An audible change that loading made to a sound; ``str`` gives one line that begins with the file's name."""

    kind: str
    """"level" (mixing to mono or choosing a channel), "band" (resampling) or "scale" (a peak beyond full scale)."""
    source: str
    """The file, or "array"."""
    figure: float
    """dB below the loudest channel ("level"; inf: silent), share of energy lost ("band"), or the peak ("scale")."""
    text: str
    """What happened, with the figure and how to avoid it, without the file's name."""

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


@checked
def load(
    source: Source,
    *,
    rate: int | None = None,
    mono: str | int = "mean",
    offset: float = 0.0,
    duration: float | None = None,
    report: Callable[[Change], object] | None = None,
) -> tuple[np.ndarray, int]:
    """Read a sound from a file or an array, as float32 at its own level.

    Parameters
    ----------
    source : path, binary file object, or (array or tensor, rate)
        Files may have any format that libsndfile reads (wav, flac, ogg, mp3 and others); :func:`as_channels` says
        which arrays are accepted.
    rate : int, optional
        Rate in Hz to resample to (soxr "HQ"); by default the source's own.
    mono : {"mean", "keep", "left", "right"} or int
        "mean" averages the channels, an int takes that channel (counted from 0), "left" is 0 and "right" 1, "keep"
        returns (channels, samples).
    offset, duration : float
        Seconds to skip, and seconds to read; by default the whole sound is read. A duration beyond the end gives what
        there is. The result equals that slice of the whole sound, sample for sample, in compressed files too: they are
        decoded from the start, and reading the pieces of a long file, in any order, costs little more than decoding it
        once.
    report : callable, optional
        Called with each audible :class:`Change`: channels that cancel in the mix to mono, a band that is lost by
        resampling, a peak far beyond full scale. By default each is a warning.

    Returns
    -------
    x : np.ndarray, float32 (samples,) or (channels, samples)
    rate : int
        Hz.

    Raises
    ------
    AudioError
        The file is missing, damaged, cut short or empty, or holds samples that are not finite; the error names it.
    ParameterError
        An argument has a wrong type or a value out of its range.
    """
    mono = _channel(mono)
    if rate is not None:
        whole("rate", rate, least=1, most=MOST_RATE)
    number("offset", offset, least=0)
    if duration is not None:
        number("duration", duration, above=0)
    changes = []
    if isinstance(source, tuple):
        name, (x, source_rate, scale) = "array", _from_array(source)
        changes += scale
        start = round(offset * source_rate)
        x = x[:, start : None if duration is None else start + round(duration * source_rate)]
    else:
        name = _name(source)
        x, source_rate = _from_file(source, name, offset, duration)
    if x.shape[-1] == 0:
        within = "" if duration is None else f" within {duration:g} s"
        raise AudioError(name, "has no samples" + (f" after offset {offset} s" if offset else "") + within)
    peak = float(max(x.max(), -x.min()))
    if not np.isfinite(peak):
        bad = ~np.isfinite(x)
        first = int(np.argmax(bad.any(axis=0)))
        raise AudioError(name, f"{int(bad.sum())} of {bad.size} samples are not finite, the first at sample {first}")
    x = np.asarray(x, dtype=np.float32)
    channels, report = x, report or _warn
    if mono == "mean":
        x = x.mean(axis=0) if len(x) > 1 else x[0]
    elif mono != "keep":
        if not 0 <= mono < len(x):
            raise ParameterError("mono", mono, f"a channel below {len(x)}, the number of channels of {name}")
        x = x[mono]
    changes += _mixing(channels, peak, x, mono, str(name))
    y = _resample(np.ascontiguousarray(x), source_rate, rate or source_rate)
    if (rate or source_rate) < source_rate and (change := _band(x, y, source_rate, rate, str(name))):
        changes.append(change)
    for change in changes:
        report(change)
    return y, rate or source_rate


def _channel(mono: str | int) -> str | int:
    if isinstance(mono, (int, np.integer)) and not isinstance(mono, bool):
        return int(mono)
    if not isinstance(mono, str) or mono not in ("mean", "keep", "left", "right"):
        raise ParameterError("mono", mono, "'mean', 'keep', 'left', 'right' or a channel number")
    return {"left": 0, "right": 1}.get(mono, mono)


def _warn(change: Change) -> None:
    warn(str(change))


def _mixing(channels: np.ndarray, peak: float, x: np.ndarray, mono: str | int, name: str) -> list[Change]:
    """List the audible changes of scale and level between a sound (channels, samples) and the mono `x` made of it."""
    changes = []
    if peak > PEAK:
        beyond = 20 * np.log10(peak)
        text = f"peaks at {peak:.4g}, {beyond:.0f} dB beyond full scale, and is kept so (integers stored as floats?)"
        changes.append(Change("scale", name, peak, text))
    if len(channels) > 1 and mono != "keep":
        loudest, kept = max(map(_power, channels)), _power(x)
        lost = float(10 * np.log10(loudest / kept)) if kept > 1e-8 * loudest else np.inf  # 16 bits do not cancel to 0
        if loudest > SILENCE and lost > (MIX_DB if mono == "mean" else CHANNEL_DB):
            how = f"the mean of its {len(channels)} channels" if mono == "mean" else f"its channel {mono}"
            level = 10 * np.log10(loudest)
            gone = f"silent, where the loudest one is at {level:.1f} dB"
            fainter = gone if lost == np.inf else f"{lost:.1f} dB fainter than the loudest one"
            why = " (they cancel, or some are silent)" if mono == "mean" else ""
            text = f"{how} is {fainter}{why}; mono= (--mono) takes 'left', 'right' or a channel's number"
            changes.append(Change("level", name, lost, text))
    return changes


def _band(x: np.ndarray, y: np.ndarray, rate: int, to: int, name: str) -> Change | None:
    before = _power(x)
    lost = 1 - _power(y) / before if before > SILENCE else 0.0
    if lost <= BAND_SHARE or x.shape[-1] < 0.02 * rate:  # at the ends of a click a filter takes energy of any band
        return None
    text = f"{lost:.0%} of its energy lies above {to / 2:g} Hz and is lost at {to} Hz (the file has {rate} Hz)"
    return Change("band", name, lost, text)


def _power(x: np.ndarray) -> float:
    """Return the mean square of all samples."""
    flat = x.ravel() if x.ndim > 1 else x
    return float(np.dot(flat, flat)) / flat.size


def as_channels(x: np.ndarray | torch.Tensor, *, name: str = "x") -> np.ndarray:
    """Return one sound as float32 (channels, samples), or raise an error that says why the array is not a sound.

    Parameters
    ----------
    x : array or tensor, (samples,) or (channels, samples)
        Floats are taken as they are; integers (of 8, 16 or 32 bits) are divided by their type's full scale.
    name : str
        What errors call the array.

    Raises
    ------
    ParameterError
        The array has another shape: (samples, channels), as soundfile returns it, must be transposed, and the sounds of
        a batch be given one by one. Or it holds booleans, complex numbers or text; integers of 64 bits, whose full
        scale no sound reaches; or floats beyond 100, which are taken for integers not divided by their full scale.
    """
    x = numbers(name, x, ndim=(1, 2), finite=False, empty=True)
    check_axes(name, x.shape)
    if x.ndim == 2 and len(x) > MOST_CHANNELS:
        expected = f"of one sound, at most {MOST_CHANNELS} channels (a batch is given one by one)"
        raise ParameterError(name, f"array of shape {x.shape}", expected)
    if x.dtype.kind in "iu" and x.dtype.itemsize < 8:
        bits = np.iinfo(x.dtype)
        x = (x.astype(np.float64) - (0 if bits.min else 2 ** (bits.bits - 1))) / 2 ** (bits.bits - 1)
    elif x.dtype.kind != "f":
        expected = "of floats within [-1, 1], or of integers of 8, 16 or 32 bits (x.astype(np.int16), say)"
        raise ParameterError(name, f"array of {x.dtype}", expected)
    elif (peak := _peak(x)) > MOST_PEAK:
        expected = "within [-1, 1]: divide integers stored as floats by their full scale (32768 for 16 bits)"
        raise ParameterError(name, f"waveform with peak {peak:.6g}", expected)
    return np.atleast_2d(x).astype(np.float32)


def _peak(x: np.ndarray) -> float:
    """Return the largest magnitude of the samples that are finite; 0 if no sample is."""
    peak = max(x.max(), -x.min()) if x.size else 0.0
    return float(peak if np.isfinite(peak) else np.abs(x[np.isfinite(x)]).max(initial=0.0))


def check_axes(name: str, shape: tuple[int, ...], *, batch: bool = False) -> None:
    """Refuse (..., samples, channels): no sound has more channels than samples.

    Parameters
    ----------
    name : str
    shape : tuple of int
    batch : bool
        Whether the axis before the last may count the sounds of a batch. A batch may have more sounds than samples, so
        that only arrays with at most 64 values on the last axis and more than 64 on the one before are refused.

    Raises
    ------
    ParameterError
        The last axis is shorter than the one before it.
    """
    if len(shape) > 1 and 0 < shape[-1] <= MOST_CHANNELS and shape[-2] > (MOST_CHANNELS if batch else shape[-1]):
        expected = "samples last, (channels, samples): transpose it (x.T)"
        raise ParameterError(name, f"array of shape {tuple(shape)}", expected)


def _from_array(source: tuple) -> tuple[np.ndarray, int, list[Change]]:
    if len(source) != 2:
        raise ParameterError("source", f"tuple of {len(source)}", "a path, a binary file object or (array, rate)")
    x, rate = source
    if isinstance(x, (int, float, np.number)) and hasattr(rate, "__len__") and not isinstance(rate, (str, bytes)):
        raise ParameterError("source", "(rate, array)", "(array, rate), the other way round")
    rate = whole("rate", rate, least=1, most=MOST_RATE)
    channels = as_channels(x, name="source")
    dtype = getattr(x, "dtype", None)
    long = dtype == np.int32 if isinstance(dtype, np.dtype) else str(dtype) == "torch.int32"
    peak = _peak(channels) if long else 0.0
    if not 0 < peak <= 2**-16:
        return channels, rate, []
    text = (
        f"peaks {20 * np.log10(peak):.0f} dB below full scale: integers of 32 bits that hold 16 (x.astype(np.int16))?"
    )
    return channels, rate, [Change("scale", "array", peak, text)]


def _name(source: Source) -> str:
    """Return what errors call a source."""
    if hasattr(source, "read"):
        named = getattr(source, "name", None)
        return str(named) if isinstance(named, (str, os.PathLike)) else type(source).__name__
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    hint = " (io.BytesIO(data), say)" if isinstance(source, (bytes, bytearray)) else ""
    shown = type(source).__name__ if hasattr(source, "__len__") else source
    raise ParameterError("source", shown, f"a path, a binary file object{hint} or a tuple (array, rate)")


def _from_file(source: Source, name: object, offset: float, duration: float | None) -> tuple[np.ndarray, int]:
    if not hasattr(source, "read"):
        path = Path(source)
        try:
            if not path.is_file():
                known = "is no regular file" if path.exists() else "no such file"
                raise AudioError(name, "is a folder, not a file" if path.is_dir() else known)
            if path.stat().st_size == 0:
                raise AudioError(name, "the file is empty (0 bytes)")
        except OSError as error:
            raise AudioError(name, f"cannot be read: {error.strerror or error}") from None
    else:
        source = _binary(source, name)
    return decoding.read(source, name, offset=offset, duration=duration)


def _binary(source: io.IOBase, name: str) -> io.IOBase:
    """Return an open binary file that can be read from its beginning; what cannot be sought is read into memory."""
    try:
        if not source.seekable():  # a pipe, a download
            source = io.BytesIO(source.read())
        if not isinstance(source.read(0), bytes):
            raise ParameterError("source", type(source).__name__, 'a file opened in binary mode, "rb"')
        if source.seek(0, os.SEEK_END) == 0:
            raise AudioError(name, "the file is empty (0 bytes)")
    except (OSError, AttributeError, TypeError) as error:
        raise AudioError(name, f"cannot be read ({error})") from None
    except ValueError as error:
        if isinstance(error, ParameterError):
            raise
        raise AudioError(name, f"cannot be read ({error})") from None  # closed
    return source


@checked
def resample(x: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample (samples,) or (channels, samples) with soxr "HQ"; equal rates return the same array.

    Raises
    ------
    ParameterError
        A rate is not positive, or the array has another type or shape; (samples, channels) must be transposed.
    """
    for name, value in (("from_rate", from_rate), ("to_rate", to_rate)):
        whole(name, value, least=1, most=MOST_RATE)
    x = numbers("x", x, ndim=(1, 2), finite=False, empty=True)
    check_axes("x", x.shape)
    return _resample(x, from_rate, to_rate)


def _resample(x: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    if from_rate == to_rate or not x.size:
        return x
    import soxr

    y = soxr.resample(np.asarray(x, dtype=np.float32).T, from_rate, to_rate, quality="HQ").T
    if y.shape[-1] == 0:  # soxr gives nothing for a handful of samples: hold the first one
        y = np.asarray(x, dtype=np.float32)[..., :1]
    return np.ascontiguousarray(y)


@checked
def segment(
    x: np.ndarray,
    rate: int,
    *,
    seconds: float,
    hop: float | None = None,
    tail: Literal["pad", "keep", "drop"] = "pad",
) -> list[np.ndarray]:
    """Cut a waveform into windows of equal length.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz.
    seconds, hop : float
        Length of a window, and step from one window to the next, in seconds; by default windows do not overlap.
    tail : {"pad", "keep", "drop"}
        Whether a last window that is not full is zero-padded on the right, kept short, or left out (a sound shorter
        than one window then gives an empty list).

    Returns
    -------
    list of np.ndarray
    """
    x = numbers("x", x, ndim=1, finite=False, empty=True)
    size = _samples("seconds", seconds, rate)
    step = size if hop is None else _samples("hop", hop, rate)
    pieces = []
    for start in range(0, max(len(x) - size + step, 1), step):
        piece = x[start : start + size]
        if len(piece) == size or tail == "keep":
            pieces.append(piece)
        elif tail == "pad":
            pieces.append(np.pad(piece, (0, size - len(piece))))
    return pieces


def _samples(name: str, seconds: float, rate: int) -> int:
    whole("rate", rate, least=1, most=MOST_RATE)
    if not 1 <= round(seconds * rate) <= MOST_SAMPLES:
        raise ParameterError(name, seconds, f"at least one sample and at most 2**31 of them, at {rate} Hz")
    return round(seconds * rate)


@checked
def fit(x: np.ndarray, rate: int, *, seconds: float) -> np.ndarray:
    """Cut a longer waveform (samples,) to its first ``seconds``, or zero-pad a shorter one on the right."""
    x = numbers("x", x, ndim=1, finite=False, empty=True)
    size = _samples("seconds", seconds, rate)
    return np.pad(x[:size], (0, max(size - len(x), 0)))


@checked
def level(x: np.ndarray) -> float:
    """Return the root-mean-square level in dBFS: 0 for a full-scale square wave, -inf if all samples are 0."""
    x = numbers("x", x)
    power = float(np.mean(np.square(x, dtype=np.float64)))
    return 10 * float(np.log10(power)) if power > 0 else -np.inf


@checked
def at_level(x: np.ndarray, to: float) -> np.ndarray:
    """Scale a waveform (samples,) to a root-mean-square level of ``to`` dB relative to full scale, as float32.

    A waveform quieter than -80 dB counts as silence and is returned unchanged. Peaks may exceed full scale.
    """
    number("to", to)
    own, x = level(x), np.asarray(x, np.float32)
    return x * np.float32(10 ** ((to - own) / 20)) if own > SILENT else x


@checked
def write(path: str | os.PathLike, x: np.ndarray, rate: int) -> Path:
    """Write (samples,) or (channels, samples) as wav or flac (16 bit), ogg or mp3; the suffix of the path decides.

    The file appears under its name only when it is complete.

    Raises
    ------
    ParameterError
        The suffix is unknown, or :func:`encode` refuses the waveform or the rate.
    AudioError
        The file cannot be written.
    """
    path = Path(path)
    data = encode(x, rate, format=path.suffix.lstrip(".").lower())
    try:
        write_whole(path, data)
    except OSError as error:
        reason = "is a folder, not a file" if isinstance(error, IsADirectoryError) else f"cannot be written: {error}"
        raise AudioError(path, reason) from error
    return path


@checked
def encode(x: np.ndarray, rate: int, *, format: Literal["mp3", "ogg", "flac", "wav"] = "mp3") -> bytes:
    """Return a waveform as the bytes of a sound file, at its own level.

    Parameters
    ----------
    x : np.ndarray (samples,) or (channels, samples), floats within [-1, 1]
    rate : int
        Hz. MP3 has nine rates; a waveform at another one is resampled to the next higher (at most 48 kHz).
    format : {"mp3", "ogg", "flac", "wav"}

    Raises
    ------
    ParameterError
        The format is unknown or does not support the rate or the number of channels; there are no samples, or they are
        (samples, channels), which must be transposed; samples are not floats, not finite, or beyond full scale, where
        they would be clipped (lower the gain first).
    """
    import soundfile

    x = numbers("x", x, ndim=(1, 2))
    check_axes("x", x.shape)
    if x.dtype.kind != "f":
        raise ParameterError("x", f"array of {x.dtype}", "of floats within [-1, 1]")
    whole("rate", rate, least=1, most=MOST_RATE)
    peak = float(np.abs(x).max())
    if not peak <= 1.0 + 1e-6:
        raise ParameterError("x", f"waveform with peak {peak:.4g}", "within [-1, 1]; lower its gain first")
    if format == "mp3" and rate not in MP3_RATES:
        target = min((r for r in MP3_RATES if r >= rate), default=MP3_RATES[-1])
        x, rate = np.clip(_resample(x, rate, target), -1, 1), target
    buffer, channels = io.BytesIO(), np.atleast_2d(x)
    # Without "constant" libsndfile's mp3 default is about twice the size for no audible gain on short clips.
    options = {"bitrate_mode": "VARIABLE", "compression_level": 0.6} if format == "mp3" else {}
    try:
        with decoding.forward()(buffer, "w", rate, len(channels), format=format.upper(), **options) as file:
            # libvorbis takes what it is given onto the stack: a minute at once is a segmentation fault
            for start in range(0, channels.shape[1], decoding.STEP):
                file.write(np.ascontiguousarray(channels[:, start : start + decoding.STEP].T, dtype=np.float32))
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        expected = f"one that takes {len(channels)} channel(s) at {rate} Hz ({error})"
        raise ParameterError("format", format, expected) from error
    return buffer.getvalue()


@checked
def check_frames(n_fft: int, hop: int) -> None:
    """Refuse frames from which the sound cannot be reconstructed.

    A Hann window is 0 at its ends. With hops of more than half a window, some samples are covered only by these ends:
    the sum of squared windows, by which the inverse transform divides, nearly vanishes there, and phase recovery has
    no overlap to work on.

    Raises
    ------
    ParameterError
        ``n_fft`` is odd or below 4, or ``hop`` is below 1 or above half of ``n_fft``.
    """
    _check_size(n_fft)
    if not 1 <= hop <= n_fft // 2:
        expected = f"from 1 to {n_fft // 2}, half of n_fft={n_fft}, for the sound to be reconstructed"
        raise ParameterError("hop", hop, expected)


#: Smallest sum of squared windows by which an inverse transform divides. Where only the ends of windows reach, dividing
#: would make the errors that masks or phase recovery leave there thousands of times as loud.
LEAST_WINDOW = 0.1


def window_tail(n_fft: int, hop: int, samples: int) -> np.ndarray:
    """Sum the squared Hann windows over the ``samples`` after the centre of the last frame: float64 (samples,)."""
    window = np.hanning(n_fft + 1)[:-1] ** 2
    tail = np.zeros(samples)
    for start in range(n_fft // 2, n_fft, hop):
        part = window[start : start + samples]
        tail[: len(part)] += part
    return tail


def _check_size(n_fft: int) -> None:
    whole("n_fft", n_fft, least=4, most=2**24)
    if n_fft % 2:
        raise ParameterError("n_fft", n_fft, "an even number")


@checked
def spectrogram(
    x: np.ndarray | torch.Tensor, *, n_fft: int = 1024, hop: int = 256, power: float | None = 2.0
) -> torch.Tensor:
    """Compute a centred short-time Fourier transform with a Hann window of ``n_fft`` samples.

    Parameters
    ----------
    x : (..., samples)
        Floats.
    n_fft, hop : int
        Samples. ``n_fft`` is even, and ``hop`` at most ``n_fft``, as a larger one would leave samples out. The sound
        can be reconstructed only with a ``hop`` of at most half of ``n_fft``.
    power : float or None
        2 gives power, 1 magnitude, None the complex transform.

    Returns
    -------
    Tensor (..., n_fft // 2 + 1, 1 + samples // hop)

    Raises
    ------
    ParameterError
        ``n_fft`` or ``hop`` is out of its range, ``power`` is below 0.01 or above 100, or the array has no samples or
        the shape (samples, channels).
    """
    import torch

    _check_size(n_fft)
    whole("hop", hop, least=1, most=n_fft)
    if power is not None:
        number("power", power, least=0.01, most=100)
    x = _floats("x", x)
    if x.ndim < 1 or x.shape[-1] < 1:
        raise ParameterError("x", f"array of shape {tuple(x.shape)}", "(..., samples) with at least one sample")
    check_axes("x", x.shape, batch=True)
    flat = x.reshape(-1, x.shape[-1])
    pad = (n_fft // 2, n_fft // 2)
    padded = torch.nn.functional.pad(flat, pad)  # zeros, so that clips shorter than a window work too
    window = torch.hann_window(n_fft, dtype=x.dtype, device=x.device)
    S = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)
    S = S.reshape(*x.shape[:-1], *S.shape[-2:])
    return S if power is None else S.abs() ** power


def _floats(name: str, x: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Return the values as a tensor of floats; a tensor stays on its device and in its autograd graph."""
    import torch

    x = x if isinstance(x, torch.Tensor) else torch.as_tensor(numbers(name, x, finite=False, empty=True))
    if not x.is_floating_point():
        raise ParameterError(name, f"array of {str(x.dtype).removeprefix('torch.')}", "of floats")
    return x


@checked
def mel_filters(
    rate: int,
    *,
    n_fft: int = 1024,
    n_mels: int = 80,
    f_min: float = 0.0,
    f_max: float | None = None,
    htk: bool = False,
) -> torch.Tensor:
    """Return triangular mel filters, Tensor (n_fft // 2 + 1, n_mels), with Slaney's area norm.

    The scale is Slaney's, or with ``htk`` that of HTK, 2595 log10(1 + f / 700).
    """
    whole("rate", rate, least=1, most=MOST_RATE)
    _check_size(n_fft)
    whole("n_mels", n_mels, least=1, most=2**16)
    f_max = rate / 2 if f_max is None else f_max
    if not 0 <= f_min < f_max <= rate / 2:
        raise ParameterError("f_min, f_max", (f_min, f_max), f"rising and within 0 to {rate / 2} Hz")
    return _mel_filters(n_fft // 2 + 1, float(f_min), float(f_max), n_mels, rate, "htk" if htk else "slaney").clone()


@functools.lru_cache(maxsize=32)
def _mel_filters(bins: int, f_min: float, f_max: float, n_mels: int, rate: int, scale: str) -> torch.Tensor:
    """Filters that are asked for again and again, as a page of many small spectrograms does."""
    melscale_fbanks = dependencies.load("torchaudio.functional").melscale_fbanks
    return melscale_fbanks(bins, f_min, f_max, n_mels, rate, norm="slaney", mel_scale=scale)


def mel_spectrogram(
    x: np.ndarray | torch.Tensor, rate: int, *, n_fft: int = 1024, hop: int = 256, **filters
) -> torch.Tensor:
    """Compute a mel power spectrogram, Tensor (..., n_mels, frames); ``filters`` are options of :func:`mel_filters`."""
    S = spectrogram(x, n_fft=n_fft, hop=hop)
    return mel_filters(rate, n_fft=n_fft, **filters).to(S).T @ S


def log_mel(x: np.ndarray | torch.Tensor, rate: int, *, n_fft: int = 1024, hop: int = 256, **filters) -> torch.Tensor:
    """Compute the natural logarithm of :func:`mel_spectrogram` plus ``LOG_FLOOR``: Tensor (..., n_mels, frames)."""
    return (mel_spectrogram(x, rate, n_fft=n_fft, hop=hop, **filters) + LOG_FLOOR).log()


@checked
def griffin_lim(
    magnitude: np.ndarray | torch.Tensor,
    *,
    hop: int = 256,
    length: int | None = None,
    steps: int = 60,
    seed: int = 0,
) -> torch.Tensor:
    """Find a waveform whose magnitude spectrogram is near the given one (fast Griffin-Lim; Perraudin et al. 2013).

    Parameters
    ----------
    magnitude : (..., n_fft // 2 + 1, frames)
        Spectrogram as :func:`spectrogram` computes it with ``power=1``; its frames span more than half a window.
    hop : int
        Samples between frames, as in the analysis; at most half of ``n_fft``.
    length : int, optional
        Number of samples of the result, below ``frames * hop``; by default (frames - 1) * hop.
    steps : int
        Number of iterations.
    seed : int
        Seed of the random initial phase.

    Returns
    -------
    Tensor (..., samples)

    Raises
    ------
    ParameterError
        The magnitude is complex, negative, not finite or has too few frames; the hop allows no reconstruction
        (:func:`check_frames`); or the frames do not reach the length.
    """
    import torch

    S = _magnitude("magnitude", magnitude)
    n_fft, frames = 2 * (S.shape[-2] - 1), S.shape[-1]
    check_frames(n_fft, hop)
    whole("steps", steps, least=1, most=100_000)
    if (frames - 1) * hop <= n_fft // 2:
        expected = f"of at least {n_fft // 2 // hop + 2} frames, more than half a window of {n_fft} samples"
        raise ParameterError("magnitude", f"array of shape {tuple(S.shape)}", expected)
    length = (frames - 1) * hop if length is None else whole("length", length, least=1, most=frames * hop - 1)
    if window_tail(n_fft, hop, max(length - (frames - 1) * hop, 0)).min(initial=1.0) < LEAST_WINDOW:
        S, frames = torch.cat((S, S[..., -1:]), -1), frames + 1  # the analysis left the next frame out: repeat the last
    with torch.random.fork_rng(devices=[S.device] if S.is_cuda else []):
        torch.manual_seed(seed)
        return dependencies.load(
            "torchaudio.functional"
        ).griffinlim(
            S,
            window=torch.hann_window(n_fft, dtype=S.dtype, device=S.device),
            n_fft=n_fft,
            hop_length=hop,
            win_length=n_fft,
            power=1.0,
            n_iter=steps,
            momentum=0.99,
            length=max(length, (frames - 1) * hop),  # a shorter sound would have fewer frames than are given
            rand_init=True,
        )[..., :length]


def _magnitude(name: str, values: np.ndarray | torch.Tensor) -> torch.Tensor:
    S = _floats(name, values)
    if S.ndim < 2 or S.numel() == 0:
        raise ParameterError(name, f"array of shape {tuple(S.shape)}", "of shape (..., bins, frames)")
    if not S.isfinite().all():
        raise ParameterError(name, f"array with {int((~S.isfinite()).sum())} values NaN or infinite", "finite")
    if S.min() < 0:
        raise ParameterError(name, f"array with values down to {float(S.min()):.4g}", "0 or more (no logarithm)")
    return S


@checked
def mel_to_audio(
    mel: np.ndarray | torch.Tensor, rate: int, *, n_fft: int = 1024, hop: int = 256, **options
) -> torch.Tensor:
    """Invert :func:`mel_spectrogram` (power) to sound by non-negative least squares and :func:`griffin_lim`.

    ``options`` are ``n_mels``, ``f_min``, ``f_max`` and ``htk`` as in the analysis, and Griffin-Lim's ``length``,
    ``steps`` and ``seed``.

    Returns
    -------
    Tensor (..., samples)

    Raises
    ------
    ParameterError
        As :func:`griffin_lim` raises it; or ``n_mels`` differs from the number of bands of ``mel``, or is so large for
        ``n_fft`` that some filters are empty.
    """
    import torch

    check_frames(n_fft, hop)
    inversion = {key: options.pop(key) for key in ("length", "steps", "seed") if key in options}
    mel = _magnitude("mel", mel)
    choice("n_mels", options.setdefault("n_mels", mel.shape[-2]), [mel.shape[-2]])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filterbank")  # an error here
        filters = mel_filters(rate, n_fft=n_fft, **options).to(mel)
    empty = int((filters.amax(0) <= 0).sum())
    if empty:
        expected = f"fewer, or n_fft larger than {n_fft}: {empty} filters hold no bin and their sound is lost"
        raise ParameterError("n_mels", options["n_mels"], expected)
    # Multiplicative updates (Lee and Seung 2001) keep the power non-negative and need no solver per frame.
    power = filters @ mel
    for _ in range(100):
        power = power * (filters @ mel) / (filters @ (filters.T @ power)).clamp_min(torch.finfo(mel.dtype).tiny)
    return griffin_lim(power.sqrt(), hop=hop, **inversion)
