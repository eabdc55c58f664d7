"""Loudness: level over time, weighted as the ear hears faint and moderate sound."""

from __future__ import annotations

import numpy as np

from ..errors import ParameterError

#: dBFS; what is fainter counts as this (16-bit rounding noise lies at -101).
FLOOR = -100.0
BLOCK = 4096


def a_weighting(frequency: np.ndarray) -> np.ndarray:
    """Gain of the A curve, a factor of amplitude, 1 at 1 kHz (IEC 61672-1:2013, Annex E)."""
    f = np.square(np.asarray(frequency, dtype=np.float64))
    poles = (f + 20.598997**2) * np.sqrt((f + 107.65265**2) * (f + 737.86223**2)) * (f + 12194.217**2)
    return 10**0.1 * 12194.217**2 * f**2 / poles


def loudness_track(
    x: np.ndarray, rate: int, *, hop: float = 0.01, window: float = 0.04, weighting: str | None = "A"
) -> tuple[np.ndarray, np.ndarray]:
    """Level over time.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz.
    hop, window : float
        Seconds between frames, seconds of a frame (Hann).
    weighting : {"A", None}
        "A": as the ear weights faint sound (IEC 61672-1); None: as it is.

    Returns
    -------
    times : np.ndarray, float64 (T,)
        Centres of the frames, seconds. A sound shorter than a frame gives one frame.
    level : np.ndarray, float64 (T,)
        RMS level in dB relative to full scale (a full-scale square wave is 0, a sine -3), at least -100.

    Raises
    ------
    ParameterError
        An unknown weighting, steps below a sample, or ``x`` is not a waveform or empty.
    """
    from scipy import fft

    if weighting not in ("A", None):
        raise ParameterError("weighting", weighting, "'A' or None")
    times, frames, taper = windows(x, rate, hop=hop, window=window)
    n = fft.next_fast_len(frames.shape[1], real=True)
    gain = np.full(n // 2 + 1, 2.0)
    gain[0] = 1.0
    gain[-1] = 1.0 if n % 2 == 0 else 2.0
    if weighting == "A":
        gain *= a_weighting(np.fft.rfftfreq(n, 1 / rate)) ** 2
    gain /= n * np.square(taper).sum()
    power = [
        (np.abs(fft.rfft(frames[i : i + BLOCK] * taper, n)) ** 2) @ gain.astype(np.float32)
        for i in range(0, len(frames), BLOCK)
    ]
    return times, decibels(np.concatenate(power))


def windows(x: np.ndarray, rate: int, *, hop: float, window: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a waveform into frames.

    Returns
    -------
    times : np.ndarray, float64 (T,)
        Centres, seconds. T is at least 1: a sound shorter than a frame is padded with zeros.
    frames : np.ndarray, float32 (T, size)
        A view.
    taper : np.ndarray, float32 (size,)
        The Hann window that goes with them.
    """
    x = np.ascontiguousarray(x, dtype=np.float32)
    size, step = round(window * rate), round(hop * rate)
    if x.ndim != 1 or not len(x):
        raise ParameterError("x", f"array of shape {x.shape}", "a waveform (samples,) with at least one sample")
    if size < 2 or step < 1:
        raise ParameterError("hop, window", (hop, window), f"at least one and two samples at {rate} Hz")
    x = np.pad(x, (0, max(size - len(x), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[::step]
    times = (np.arange(len(frames)) * step + size / 2) / rate
    return times, frames, np.hanning(size + 2)[1:-1].astype(np.float32)


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10 of power, at least :data:`FLOOR`."""
    return 10 * np.log10(np.maximum(np.asarray(power, np.float64), 10 ** (FLOOR / 10)))
