"""When does a latent fire? Its activation over a clip's time, its strongest frame, and the sound around that frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import audio
from ..core.checks import numbers
from ..core.errors import ParameterError
from .page import array
from .pictures import mel_levels, mel_picture
from .sounds import Sound, compress

#: (times (T,) in s, activations (T, latents)) by position.
Frames = Callable[[int], tuple[np.ndarray, np.ndarray]] | Mapping[int, tuple[np.ndarray, np.ndarray]]
_CURVE_POINTS = 200
#: Silence between two moments of one sound, and the fades at the ends of each.
_GAP_SECONDS, _FADE_SECONDS = 0.1, 0.005
#: Width of one row of moments as a picture.
_PICTURE_COLUMNS = 256


@dataclass(frozen=True)
class Curve:
    """How one latent is active over one clip."""

    times: np.ndarray
    """Seconds (P,), at most 200 points of the part that is shown."""
    values: np.ndarray
    """Activations (P,), 0 or more; none of the peaks is lost."""
    at: float | None
    """Second of the strongest frame of the whole clip; None where no frame is above 0."""


@dataclass(frozen=True)
class Moment:
    """The sound around the strongest frame of a clip."""

    x: np.ndarray
    """Waveform (samples,), faded at both ends, with silence behind it where the clip is shorter."""
    rate: int
    """Hz."""
    start: float
    """Second of the clip at which it begins."""
    seconds: float
    """Length of the sound in it."""
    total: float
    """Length of the clip in seconds."""


def curves_of(
    frames: Frames, clips_of: Mapping[int, Sequence[int]], latents: int, seconds: float | None
) -> dict[int, dict[int, Curve]]:
    """Activation over time of each latent in its clips: latent -> clip -> curve; a clip's frames are asked for once.

    Only what is wanted of a clip's (T, latents) activations is kept before the next clip is asked for.

    Parameters
    ----------
    frames : callable or mapping
        Clip -> (times (T,), activations (T, latents)); a mapping need not have all clips.
    clips_of : mapping of latent -> clips
    latents : int
    seconds : float or None
        What is shown of a clip; its strongest frame is looked for in all of it.

    Raises
    ------
    ParameterError
        ``frames`` gives something else than finite times (T,) and activations (T, latents).
    """
    wanted: dict[int, list[int]] = {}
    for latent, clips in clips_of.items():
        for i in clips:
            wanted.setdefault(i, []).append(latent)
    curves: dict[int, dict[int, Curve]] = {latent: {} for latent in clips_of}
    for i, those in sorted(wanted.items()):
        pair = frames.get(i) if isinstance(frames, Mapping) else frames(i)
        if pair is None:
            continue
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ParameterError("frames", f"{type(pair).__name__} for clip {i}", "(times, activations) of a clip")
        for latent, curve in zip(those, _curves(i, *pair, those, latents, seconds), strict=True):
            curves[latent][i] = curve
    return curves


def _curves(i: int, times, activations, wanted: list[int], latents: int, seconds: float | None) -> list[Curve]:
    times, activations = (numbers("frames", x, finite=False, empty=True) for x in (times, activations))
    if times.ndim != 1 or activations.shape != (len(times), latents):
        shapes = f"times {times.shape}, activations {activations.shape} for clip {i}"
        raise ParameterError("frames", shapes, f"(T,) and (T, {latents})")
    values = activations[:, wanted].astype(np.float64)
    if not (np.isfinite(values).all() and np.isfinite(times).all()):
        raise ParameterError("frames", f"NaN or infinite values for clip {i}", "finite")
    strongest = values.argmax(axis=0) if len(times) else np.zeros(len(wanted), dtype=int)
    at = [float(times[t]) if len(times) and values[t, k] > 0 else None for k, t in enumerate(strongest)]
    shown = times <= (np.inf if seconds is None else seconds)
    times, values = times[shown], np.maximum(values[shown], 0)
    if len(times) > _CURVE_POINTS:
        parts = np.array_split(np.arange(len(times)), _CURVE_POINTS)
        times = np.array([times[part].mean() for part in parts])
        values = np.array([values[part].max(axis=0) for part in parts])
    return [Curve(times, values[:, k].copy(), at[k]) for k in range(len(wanted))]


def packed_curves(curves: Mapping[int, Curve]) -> dict:
    """A latent's curves by clip, packed for the page as shares of the largest."""
    largest = max((float(curve.values.max(initial=0)) for curve in curves.values()), default=0.0)
    packed = {
        str(i): [array(curve.times, "<f4"), array(np.round(curve.values / (largest or 1) * 65535), "<u2")]
        for i, curve in curves.items()
    }
    return {"largest": float(f"{largest:.4g}"), "of": packed}


def moment_of(x: np.ndarray, rate: int, at: float, seconds: float) -> Moment:
    """The ``seconds`` around second ``at`` of a clip x (samples,): never beyond its ends, where it is moved inwards."""
    size = max(1, round(seconds * rate))
    start = min(max(0, round((at - seconds / 2) * rate)), max(0, len(x) - size))
    piece = x[start : start + size].astype(np.float32)
    length = len(piece)
    fade = min(length // 2, round(_FADE_SECONDS * rate))
    if fade:
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        piece[:fade] *= ramp
        piece[length - fade :] *= ramp[::-1]
    piece = np.pad(piece, (0, size - length))
    return Moment(piece, rate, start / rate, length / rate, len(x) / rate)


def strip(moments: Mapping[int, Moment], *, top: float, peak_db: float | None, gain_db: float) -> dict:
    """Moments of one latent by clip as one sound, one after the other, and one picture; packed for the page.

    Parameters
    ----------
    moments : mapping of clip -> Moment, all of one length
    top : float
        Hz at the top of the picture.
    peak_db : float or None
        Level of the brightest colour; None: the loudest of these.
    gain_db : float
        Applied to the sound.

    Returns
    -------
    dict
        ``sound`` (base64 of an mp3), ``picture`` (data URL: the moments side by side, equally wide), ``clips``, and for
        each its second in the clip (``starts``), its ``lengths`` and the clip's (``totals``) in seconds; ``step`` is
        the time from one moment to the next in the sound.
    """
    rate = max(moment.rate for moment in moments.values())
    pieces = [m.x if m.rate == rate else audio.resample(m.x, m.rate, rate) for m in moments.values()]
    size = max(map(len, pieces))
    step = size + round(_GAP_SECONDS * rate)
    line = np.zeros(step * len(pieces), dtype=np.float32)
    for k, piece in enumerate(pieces):
        line[k * step : k * step + len(piece)] = piece
    sound: Sound = compress(line, rate, total=len(line) / rate, gain_db=gain_db)
    # One spectrogram of all; the silences between them are left out of the picture.
    levels = mel_levels(line, rate, min(top, rate / 2))
    places = (levels.shape[1] - 1) / len(line)
    width = max(1, min(_PICTURE_COLUMNS // len(pieces), round(size * places)))
    edges = [np.linspace(k * step, k * step + size, width, endpoint=False) * places for k in range(len(pieces))]
    shown = levels[:, np.concatenate(edges).round().astype(int)]
    return {
        "sound": sound.base64,
        "picture": mel_picture(shown, float(shown.max()) if peak_db is None else peak_db),
        "clips": list(moments),
        "starts": [round(m.start, 4) for m in moments.values()],
        "lengths": [round(m.seconds, 4) for m in moments.values()],
        "totals": [round(m.total, 2) for m in moments.values()],
        "step": step / rate,
    }
