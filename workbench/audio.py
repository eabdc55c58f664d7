"""Sound in and out: load, resample, cut, look at as a spectrogram, and back to sound.

A waveform is float32, (samples,) or (..., samples), nominally in [-1, 1], and always travels with its rate in Hz.
Nothing here changes a level unless asked to: files that exceed full scale stay above it.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .errors import AudioError, ParameterError

if TYPE_CHECKING:
    import torch

#: Rates (Hz) an MP3 stream can have.
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
#: Added to mel power before the logarithm: about -115 dB for the spectra of full-scale sound used here.
LOG_FLOOR = 1e-10

#: What one would hear, and is therefore told of: a mix to mono that is fainter than the loudest channel by so many dB
#: (independent channels lose 3, one of two that is silent 6, opposite ones everything), a channel chosen alone by so
#: many, a share of the energy that lies above half the new rate (5 per cent is 13 dB below the whole), and a peak above
#: full scale (2 is 6 dB; compressed files of loud music reach 3).
MIX_DB, CHANNEL_DB, BAND_SHARE, PEAK = 4.5, 40.0, 0.05, 2.0
#: Mean square below which a sound is silence whatever becomes of it: -80 dB.
SILENCE = 1e-8

#: A path, a binary file object, or (array or tensor, rate).
Source = str | os.PathLike | io.IOBase | tuple


class Change(NamedTuple):
    """What happened to a sound on its way in, where one would hear it; as text one line that begins with the file."""

    kind: str
    """"level" (mixing to mono, or one channel), "band" (resampling) or "scale" (beyond full scale)."""
    source: str
    """The file, or "array"."""
    figure: float
    """level: dB below the loudest channel (inf where all is gone); band: share of the energy; scale: the peak."""
    text: str
    """What happened, with the figure and the way out; without the file."""

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


def load(
    source: Source,
    *,
    rate: int | None = None,
    mono: str | int = "mean",
    offset: float = 0.0,
    duration: float | None = None,
    report: Callable[[Change], object] | None = None,
) -> tuple[np.ndarray, int]:
    """Read a sound from wherever it is, as float32 at its own level.

    Parameters
    ----------
    source : path, binary file object, or (array or tensor, rate)
        Files: whatever libsndfile reads (wav, flac, ogg, mp3, ...). Arrays: (samples,) or (channels, samples);
        integers are divided by their type's full scale, floats are taken as they are.
    rate : int, optional
        Resample to this rate (Hz, soxr "HQ"); by default the source's own.
    mono : {"mean", "keep", "left", "right"} or int
        "mean" averages the channels, an int takes that channel (0 first), "left" is 0 and "right" 1, "keep" returns
        (channels, samples).
    offset, duration : float
        Seconds to skip and to read; by default all. A duration beyond the end gives what there is.
    report : callable, optional
        Called with each :class:`Change` that one would hear: a mix to mono that cancels, a band that resampling takes
        away, a peak far beyond full scale. By default each is a warning.

    Returns
    -------
    x : np.ndarray, float32 (samples,) or (channels, samples)
    rate : int
        Hz.

    Raises
    ------
    AudioError
        The file is missing, damaged, cut short or empty, or holds samples that are not finite; names the file.
    ParameterError
        An argument that cannot work.
    """
    mono = _channel(mono)
    if offset < 0:
        raise ParameterError("offset", offset, "0 or more seconds")
    if duration is not None and duration <= 0:
        raise ParameterError("duration", duration, "more than 0 seconds")
    if isinstance(source, tuple):
        name, (x, source_rate) = "array", _from_array(source)
        start = round(offset * source_rate)
        x = x[:, start : None if duration is None else start + round(duration * source_rate)]
    else:
        name = getattr(source, "name", source) if hasattr(source, "read") else os.fspath(source)
        x, source_rate = _from_file(source, name, offset, duration)
    if x.shape[-1] == 0:
        raise AudioError(name, "has no samples" + (f" after offset {offset} s" if offset else ""))
    bad = ~np.isfinite(x)
    if bad.any():
        first = int(np.argmax(bad.any(axis=0)))
        raise AudioError(name, f"{int(bad.sum())} of {bad.size} samples are not finite, the first at sample {first}")
    x = np.asarray(x, dtype=np.float32)
    whole, report = x, report or _warn
    if mono == "mean":
        x = x.mean(axis=0)
    elif mono != "keep":
        if not 0 <= mono < len(x):
            raise ParameterError("mono", mono, f"a channel below {len(x)}, the number of channels of {name}")
        x = x[mono]
    for change in _mixing(whole, x, mono, str(name)):
        report(change)
    y = resample(np.ascontiguousarray(x), source_rate, rate or source_rate)
    if (rate or source_rate) < source_rate and (change := _band(x, y, source_rate, rate, str(name))):
        report(change)
    return y, rate or source_rate


def _channel(mono: str | int) -> str | int:
    if isinstance(mono, (int, np.integer)) and not isinstance(mono, bool):
        return int(mono)
    if not isinstance(mono, str) or mono not in ("mean", "keep", "left", "right"):
        raise ParameterError("mono", mono, "'mean', 'keep', 'left', 'right' or a channel number")
    return {"left": 0, "right": 1}.get(mono, mono)


def _warn(change: Change) -> None:
    warnings.warn(str(change), UserWarning, stacklevel=3)


def _mixing(whole: np.ndarray, x: np.ndarray, mono: str | int, name: str) -> list[Change]:
    """What is to be said of a sound (channels, samples) and what was made mono of it."""
    changes = []
    peak = float(max(whole.max(), -whole.min()))
    if peak > PEAK:
        beyond = 20 * np.log10(peak)
        text = f"peaks at {peak:.4g}, {beyond:.0f} dB beyond full scale, and is kept so (integers stored as floats?)"
        changes.append(Change("scale", name, peak, text))
    if len(whole) > 1 and mono != "keep":
        loudest, kept = max(map(_power, whole)), _power(x)
        lost = float(10 * np.log10(loudest / kept)) if kept > 1e-12 * loudest else np.inf
        if loudest > SILENCE and lost > (MIX_DB if mono == "mean" else CHANNEL_DB):
            how = f"the mean of its {len(whole)} channels" if mono == "mean" else f"its channel {mono}"
            fainter = "silent" if lost == np.inf else f"{lost:.1f} dB fainter than the loudest one"
            why = " (they cancel, or some are silent)" if mono == "mean" else ""
            text = f"{how} is {fainter}{why}; mono= takes a channel number, 'left', 'right' or 'keep'"
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
    """Mean square."""
    flat = x.ravel()
    return float(np.dot(flat, flat)) / flat.size


def _from_array(source: tuple) -> tuple[np.ndarray, int]:
    if len(source) != 2:
        raise ParameterError("source", source, "a path, a file object or (array, rate)")
    x, rate = source
    x = x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)
    if x.ndim not in (1, 2):
        raise ParameterError("source", f"array of shape {x.shape}", "of shape (samples,) or (channels, samples)")
    if not (isinstance(rate, (int, np.integer)) and rate > 0):
        raise ParameterError("rate", rate, "a positive whole number of Hz")
    if np.issubdtype(x.dtype, np.integer):
        bits = np.iinfo(x.dtype)
        x = (x.astype(np.float64) - (0 if bits.min else 2 ** (bits.bits - 1))) / 2 ** (bits.bits - 1)
    elif not np.issubdtype(x.dtype, np.floating):
        raise ParameterError("source", f"array of {x.dtype}", "of a float or integer type")
    return np.atleast_2d(x).astype(np.float32), int(rate)


def _from_file(source: Source, name: object, offset: float, duration: float | None) -> tuple[np.ndarray, int]:
    import soundfile

    if not hasattr(source, "read"):
        path = Path(source)
        if not path.is_file():
            raise AudioError(name, "is a folder, not a file" if path.is_dir() else "no such file")
        if path.stat().st_size == 0:
            raise AudioError(name, "the file is empty (0 bytes)")
    try:
        with soundfile.SoundFile(source) as file:
            if file.frames == 0:
                raise AudioError(name, "has no samples")
            start = round(offset * file.samplerate)
            if start >= file.frames:
                raise AudioError(name, f"ends at {file.frames / file.samplerate:.3f} s, before offset {offset} s")
            if _is_cut_short(file):
                raise AudioError(name, "is cut short: its header promises more samples than the file holds")
            wanted = file.frames - start
            if duration is not None:
                wanted = min(wanted, round(duration * file.samplerate))
            if start:
                file.seek(start)
            x = file.read(wanted, dtype="float32", always_2d=True).T
            if x.shape[1] == 0 or (x.shape[1] < wanted and _length_is_exact(file, source)):
                raise AudioError(name, f"is cut short: {x.shape[1]} of {wanted} samples could be decoded")
            if file.format == "OGG" and not _ends(source):
                raise AudioError(name, "is cut short: its Ogg stream has no last page")
            return x, file.samplerate
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        raise AudioError(name, f"does not decode ({error})") from error


def _is_cut_short(file) -> bool:
    # libsndfile quietly shortens a RIFF file whose data chunk is larger than the file, but notes it in its log.
    # Recorders that write to a pipe leave a huge or zero length on purpose: those are whole.
    for line in file.extra_info.splitlines():
        if line.strip().startswith("data :") and "(should be" in line:
            claimed = int(line.split(":")[1].split("(")[0])
            return 0 < claimed < 0x7FFFF000
    return False


def _length_is_exact(file, source: Source) -> bool:
    # An mp3 states its length only in a Xing or Info header. Without one libsndfile estimates it from the file's size,
    # often some thousand samples too high, so that a shortfall says nothing.
    return file.format != "MP3" or any(mark in _bytes(source, 0) for mark in (b"Xing", b"Info"))


def _ends(source: Source) -> bool:
    tail = _bytes(source, -1)
    page = tail.rfind(b"OggS")
    return page < 0 or page + 5 >= len(tail) or bool(tail[page + 5] & 4)  # bit 2: last page of its stream


def _bytes(source: Source, end: int) -> bytes:
    """The first (0) or last (-1) 64 KiB of a file."""
    with contextlib.nullcontext(source) if hasattr(source, "read") else open(source, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0 if end == 0 else max(size - 65536, 0))
        return file.read(65536)


def resample(x: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Change the rate of (samples,) or (channels, samples), soxr "HQ"; the same array when the rates are equal."""
    for name, value in (("from_rate", from_rate), ("to_rate", to_rate)):
        if not value > 0:
            raise ParameterError(name, value, "more than 0 Hz")
    if from_rate == to_rate:
        return x
    import soxr

    y = soxr.resample(np.asarray(x, dtype=np.float32).T, from_rate, to_rate, quality="HQ").T
    if y.shape[-1] == 0:  # soxr gives nothing for a handful of samples: hold the first one
        y = np.asarray(x, dtype=np.float32)[..., :1]
    return np.ascontiguousarray(y)


def segment(
    x: np.ndarray, rate: int, *, seconds: float, hop: float | None = None, tail: str = "pad"
) -> list[np.ndarray]:
    """Cut a waveform into windows.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz.
    seconds, hop : float
        Window and step; by default windows do not overlap.
    tail : {"pad", "keep", "drop"}
        What happens to a last window that is not full: zero-padded on the right, kept short, or left out (a sound
        shorter than one window then gives none).

    Returns
    -------
    list of np.ndarray
    """
    if tail not in ("pad", "keep", "drop"):
        raise ParameterError("tail", tail, "'pad', 'keep' or 'drop'")
    size, step = round(seconds * rate), round((seconds if hop is None else hop) * rate)
    if size < 1 or step < 1:
        raise ParameterError("seconds" if size < 1 else "hop", seconds if size < 1 else hop, "at least one sample")
    pieces = []
    for start in range(0, max(len(x) - size + step, 1), step):
        piece = x[start : start + size]
        if len(piece) == size or tail == "keep":
            pieces.append(piece)
        elif tail == "pad":
            pieces.append(np.pad(piece, (0, size - len(piece))))
    return pieces


def fit(x: np.ndarray, rate: int, *, seconds: float) -> np.ndarray:
    """Exactly ``seconds``: the beginning of a longer waveform, a shorter one zero-padded on the right."""
    size = round(seconds * rate)
    if size < 1:
        raise ParameterError("seconds", seconds, "at least one sample")
    return np.pad(x[:size], (0, max(size - len(x), 0)))


def level(x: np.ndarray) -> float:
    """Root-mean-square level in dB relative to full scale (a full-scale square wave is 0); -inf for silence."""
    power = float(np.mean(np.square(x, dtype=np.float64)))
    return 10 * float(np.log10(power)) if power > 0 else -np.inf


def write(path: str | os.PathLike, x: np.ndarray, rate: int) -> Path:
    """Write (samples,) or (channels, samples) as wav or flac (16 bit), ogg or mp3, by suffix; all of it or nothing.

    Raises
    ------
    ParameterError
        An unknown suffix, or samples beyond full scale (they would be clipped).
    """
    path = Path(path)
    data = encode(x, rate, format=path.suffix.lstrip(".").lower())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def encode(x: np.ndarray, rate: int, *, format: str = "mp3") -> bytes:
    """A waveform as the bytes of a sound file, at its own level.

    Parameters
    ----------
    x : np.ndarray (samples,) or (channels, samples), within [-1, 1]
    rate : int
        Hz. MP3 knows nine rates; another one is resampled to the next higher (at most 48 kHz).
    format : {"mp3", "ogg", "flac", "wav"}

    Raises
    ------
    ParameterError
        An unknown format, or samples beyond full scale (they would be clipped): lower the gain first.
    """
    import soundfile

    if format not in ("mp3", "ogg", "flac", "wav"):
        raise ParameterError("format", format, "'mp3', 'ogg', 'flac' or 'wav'")
    peak = float(np.abs(x).max(initial=0.0))
    if not peak <= 1.0 + 1e-6:
        raise ParameterError("x", f"waveform with peak {peak:.4g}", "within [-1, 1]; lower its gain first")
    if format == "mp3" and rate not in MP3_RATES:
        target = min((r for r in MP3_RATES if r >= rate), default=MP3_RATES[-1])
        x, rate = np.clip(resample(x, rate, target), -1, 1), target
    buffer = io.BytesIO()
    # Without "constant" libsndfile's mp3 default is about twice the size for no audible gain on short clips.
    options = {"bitrate_mode": "VARIABLE", "compression_level": 0.6} if format == "mp3" else {}
    soundfile.write(buffer, np.asarray(x, dtype=np.float32).T, rate, format=format.upper(), **options)
    return buffer.getvalue()


def spectrogram(x: np.ndarray | torch.Tensor, *, n_fft: int = 1024, hop: int = 256, power: float | None = 2.0):
    """Short-time Fourier transform, centred, Hann window of ``n_fft`` samples.

    Parameters
    ----------
    x : (..., samples)
    n_fft, hop : int
        Samples.
    power : float or None
        2 gives power, 1 magnitude, None the complex transform.

    Returns
    -------
    Tensor (..., n_fft // 2 + 1, 1 + samples // hop)
    """
    import torch

    x = torch.as_tensor(x)
    flat = x.reshape(-1, x.shape[-1])
    pad = (n_fft // 2, n_fft // 2)
    padded = torch.nn.functional.pad(flat, pad)  # zeros, so that clips shorter than a window work too
    window = torch.hann_window(n_fft, dtype=x.dtype, device=x.device)
    S = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)
    S = S.reshape(*x.shape[:-1], *S.shape[-2:])
    return S if power is None else S.abs() ** power


def mel_filters(rate: int, *, n_fft: int = 1024, n_mels: int = 80, f_min: float = 0.0, f_max: float | None = None):
    """Triangular mel filters, Slaney's scale and area norm: Tensor (n_fft // 2 + 1, n_mels)."""
    from torchaudio.functional import melscale_fbanks

    f_max = rate / 2 if f_max is None else f_max
    if not 0 <= f_min < f_max <= rate / 2:
        raise ParameterError("f_min, f_max", (f_min, f_max), f"rising and within 0 to {rate / 2} Hz")
    return melscale_fbanks(n_fft // 2 + 1, f_min, f_max, n_mels, rate, norm="slaney", mel_scale="slaney")


def mel_spectrogram(x: np.ndarray | torch.Tensor, rate: int, *, n_fft: int = 1024, hop: int = 256, **filters):
    """Mel power spectrogram: Tensor (..., n_mels, frames). ``filters``: see :func:`mel_filters`."""
    S = spectrogram(x, n_fft=n_fft, hop=hop)
    return mel_filters(rate, n_fft=n_fft, **filters).to(S).T @ S


def log_mel(x: np.ndarray | torch.Tensor, rate: int, *, n_fft: int = 1024, hop: int = 256, **filters):
    """Natural logarithm of :func:`mel_spectrogram` + ``LOG_FLOOR``: Tensor (..., n_mels, frames)."""
    return (mel_spectrogram(x, rate, n_fft=n_fft, hop=hop, **filters) + LOG_FLOOR).log()


def griffin_lim(
    magnitude: np.ndarray | torch.Tensor,
    *,
    hop: int = 256,
    length: int | None = None,
    steps: int = 60,
    seed: int = 0,
):
    """A waveform whose magnitude spectrogram is near the one given (fast Griffin-Lim; Perraudin et al. 2013).

    Parameters
    ----------
    magnitude : (..., n_fft // 2 + 1, frames)
        Of :func:`spectrogram` with ``power=1``.
    hop : int
        Samples.
    length : int, optional
        Samples of the result; by default (frames - 1) * hop.
    steps : int
        Iterations.
    seed : int
        Of the random initial phase.

    Returns
    -------
    Tensor (..., samples)
    """
    import torch
    from torchaudio.functional import griffinlim

    S = torch.as_tensor(magnitude)
    n_fft = 2 * (S.shape[-2] - 1)
    length = (S.shape[-1] - 1) * hop if length is None else length
    with torch.random.fork_rng(devices=[S.device] if S.is_cuda else []):
        torch.manual_seed(seed)
        return griffinlim(
            S,
            window=torch.hann_window(n_fft, dtype=S.dtype, device=S.device),
            n_fft=n_fft,
            hop_length=hop,
            win_length=n_fft,
            power=1.0,
            n_iter=steps,
            momentum=0.99,
            length=length,
            rand_init=True,
        )


def mel_to_audio(mel: np.ndarray | torch.Tensor, rate: int, *, n_fft: int = 1024, hop: int = 256, **options):
    """Back from :func:`mel_spectrogram` (power) to sound: non-negative least squares, then :func:`griffin_lim`.

    ``options``: ``n_mels``, ``f_min``, ``f_max`` as in the analysis; ``length``, ``steps``, ``seed`` of Griffin-Lim.

    Returns
    -------
    Tensor (..., samples)
    """
    import torch

    inversion = {key: options.pop(key) for key in ("length", "steps", "seed") if key in options}
    mel = torch.as_tensor(mel)
    options.setdefault("n_mels", mel.shape[-2])
    filters = mel_filters(rate, n_fft=n_fft, **options).to(mel)
    # Multiplicative updates (Lee and Seung 2001) keep the power non-negative and need no solver per frame.
    power = filters @ mel
    for _ in range(100):
        power = power * (filters @ mel) / (filters @ (filters.T @ power)).clamp_min(torch.finfo(mel.dtype).tiny)
    return griffin_lim(power.sqrt(), hop=hop, **inversion)
