"""Loudness of a sound: A-weighted level over time, and integrated loudness of the whole sound.

- :func:`loudness_track` returns the A-weighted level of each frame.
- :func:`integrated_loudness` returns one number for a sound, by ITU-R BS.1770-4 (2015): K-weighting, blocks, two gates.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from .. import audio
from ..core.checks import checked, number, numbers, whole
from ..core.errors import ParameterError

#: Lowest level in dBFS, to which lower ones are raised (16-bit rounding noise is at -101).
FLOOR = -100.0
BLOCK = 4096
# Analogue prototypes of the two filters of ITU-R BS.1770-4, which gives coefficients for 48 kHz only: a shelf (Hz, Q,
# gain of the power 10^(dB/20), exponent of that gain at its own frequency) and a high-pass (Hz, Q).
SHELF = (1681.974450955533, 0.7071752369554196, 10 ** (3.999843853973347 / 20), 0.4996667741545416)
HIGH_PASS = (38.13547087602444, 0.5003270373238773)
#: Constants of BS.1770-4: length of a block and step between blocks (s), absolute gate (LKFS), relative gate (LU
#: relative to the mean of blocks above the absolute gate), and the offset by which a full-scale 997 Hz sine has -3.01
#: LKFS.
GATE_BLOCK, GATE_HOP, ABSOLUTE_GATE, RELATIVE_GATE, OFFSET = 0.4, 0.1, -70.0, -10.0, -0.691


def _a_weighting(frequency: np.ndarray) -> np.ndarray:
    """Return the gain of A-weighting at frequencies in Hz, an amplitude factor of 1 at 1 kHz (IEC 61672-1:2013, E)."""
    f = np.square(np.asarray(frequency, dtype=np.float64))
    poles = (f + 20.598997**2) * np.sqrt((f + 107.65265**2) * (f + 737.86223**2)) * (f + 12194.217**2)
    return 10**0.1 * 12194.217**2 * f**2 / poles


@checked
def loudness_track(
    x: np.ndarray, rate: int, *, hop: float = 0.01, window: float = 0.04, weighting: Literal["A"] | None = "A"
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the level over time.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz.
    hop, window : float
        Seconds between frames, and seconds of a frame (Hann window).
    weighting : {"A", None}
        "A" applies A-weighting, which approximates the ear's sensitivity to faint sound (IEC 61672-1).

    Returns
    -------
    times : np.ndarray, float64 (T,)
        Centres of the frames in seconds. A sound shorter than a frame has one frame.
    level : np.ndarray, float64 (T,)
        RMS level in dB relative to full scale (a full-scale square wave is 0, a sine -3), at least -100.

    Raises
    ------
    ParameterError
        The weighting is unknown, ``hop`` or ``window`` is too short, or ``x`` is not a waveform or is empty.
    """
    from scipy import fft

    times, frames, taper = windows(x, rate, hop=hop, window=window)
    n = fft.next_fast_len(frames.shape[1], real=True)
    gain = np.full(n // 2 + 1, 2.0)
    gain[0] = 1.0
    gain[-1] = 1.0 if n % 2 == 0 else 2.0
    if weighting == "A":
        gain *= _a_weighting(np.fft.rfftfreq(n, 1 / rate)) ** 2
    gain /= n * np.square(taper).sum()
    power = [
        (np.abs(fft.rfft(frames[i : i + BLOCK] * taper, n)) ** 2) @ gain.astype(np.float32)
        for i in range(0, len(frames), BLOCK)
    ]
    return times, decibels(np.concatenate(power))


def _k_weighting(rate: int) -> np.ndarray:
    """Return the two filters of ITU-R BS.1770-4 at any rate, as second-order sections float64 (2, 6).

    At 48 kHz they equal those of the standard to ten digits. At other rates each is the bilinear transform of the same
    analogue filter, prewarped at its own frequency, and the high-pass has the same gain as at 48 kHz.
    """
    frequency, q, high, exponent = SHELF
    k = np.tan(np.pi * frequency / rate)
    middle = high**exponent
    b = np.array([high + middle * k / q + k * k, 2 * (k * k - high), high - middle * k / q + k * k])
    a = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    shelf = np.concatenate([b, a]) / a[0]
    frequency, q = HIGH_PASS
    k, standard = (np.tan(np.pi * frequency / r) for r in (rate, 48000))
    a = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    b = np.array([1.0, -2.0, 1.0]) * (1 + standard / q + standard**2)
    return np.stack([shelf, np.concatenate([b, a]) / a[0]])


@checked
def integrated_loudness(x: np.ndarray, rate: int) -> float:
    """Measure the integrated loudness of a mono sound by ITU-R BS.1770-4.

    It is the mean power of the K-weighted sound over blocks of 0.4 s with a step of 0.1 s, as a level. Only blocks
    above -70 LKFS count, and of these only blocks above a level of 10 LU below their mean, so that pauses are left out.
    A gain of g dB adds g LU, unless a block crosses -70 LKFS.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz, at least 8000.

    Returns
    -------
    float
        Loudness in LKFS (the same as LUFS); NaN if no block is above -70. A sound shorter than a block is one block of
        its own length; the end of a longer one that does not fill a block is left out, as in the standard.

    Raises
    ------
    ParameterError
        ``x`` is not a waveform or is empty, or the rate is too low for the filters.
    """
    from scipy.signal import sosfilt

    whole("rate", rate, least=8000)
    heard = waveform(x, rate)
    x = np.asarray(x, dtype=np.float64) if getattr(x, "dtype", None) == np.float64 else heard.astype(np.float64)
    energy = np.cumsum(np.append(0.0, np.square(sosfilt(_k_weighting(rate), x))))
    size = min(round(GATE_BLOCK * rate), len(x))
    starts = np.rint(np.arange((len(x) - size) // (GATE_HOP * rate) + 1) * GATE_HOP * rate).astype(int)
    power = (energy[starts + size] - energy[starts]) / size
    power = power[power > 10 ** ((ABSOLUTE_GATE - OFFSET) / 10)]
    if not len(power):
        return np.nan
    loud = power[power > power.mean() * 10 ** (RELATIVE_GATE / 10)]
    return float(OFFSET + 10 * np.log10(loud.mean()))


def windows(x: np.ndarray, rate: int, *, hop: float, window: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a waveform into frames.

    Returns
    -------
    times : np.ndarray, float64 (T,)
        Centres in seconds. T is at least 1, as a sound shorter than a frame is padded with zeros.
    frames : np.ndarray, float32 (T, size)
        The frames, a view without the window applied.
    taper : np.ndarray, float32 (size,)
        The Hann window for the frames.
    """
    x = waveform(x, rate)
    for name, seconds in (("hop", hop), ("window", window)):
        number(name, seconds, above=0, most=3600)
    size, step = round(window * rate), round(hop * rate)
    if size < 2 or step < 1:
        raise ParameterError("hop, window", (hop, window), f"at least one and two samples at {rate} Hz")
    x = np.pad(x, (0, max(size - len(x), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[::step]
    times = (np.arange(len(frames)) * step + size / 2) / rate
    return times, frames, np.hanning(size + 2)[1:-1].astype(np.float32)


def waveform(x: np.ndarray, rate: int, *, empty: bool = False) -> np.ndarray:
    """Return one mono sound as float32 (samples,).

    Raises
    ------
    ParameterError
        The array has another shape or no samples, its values are not finite or not a sound
        (:func:`workbench.audio.as_channels`), or the rate is not a whole number of at least 1000 Hz.
    """
    whole("rate", rate, least=1000, most=audio.MOST_RATE)
    x = numbers("x", x, empty=True)
    if x.ndim != 1 or not (len(x) or empty):
        expected = "a waveform (samples,)" + (" with at least one sample" if not empty else "")
        raise ParameterError("x", f"array of shape {x.shape}", expected)
    return np.ascontiguousarray(audio.as_channels(x)[0])


def decibels(power: np.ndarray) -> np.ndarray:
    """Return 10 log10 of power, and at least :data:`FLOOR`."""
    return 10 * np.log10(np.maximum(np.asarray(power, np.float64), 10 ** (FLOOR / 10)))
