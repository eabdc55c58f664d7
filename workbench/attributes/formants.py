"""Formants, the resonances of the vocal tract, measured by linear prediction.

The sound is resampled to 11 kHz and pre-emphasised, and each frame is modelled as the output of ten poles
(autocorrelation method, Levinson-Durbin; Makhoul, "Linear prediction: a tutorial review", Proc. IEEE 63 (1975)
561-580). A pair of poles at frequency f and radius r is a resonance with bandwidth -ln(r) rate / pi. The lowest three
resonances that are narrow enough are F1 to F3. The poles are biased towards harmonics that are far apart: above a pitch
of about 300 Hz, this and any other linear prediction finds harmonics instead of formants.
"""

from __future__ import annotations

import numpy as np

from .. import audio
from .loudness import waveform, windows

RATE, ORDER, WINDOW, EMPHASIS = 11000, 10, 0.04, 50.0
LOWEST, HIGHEST, WIDEST = 90.0, 5200.0, 700.0


def formant_tracks(x: np.ndarray, rate: int, *, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure F1 to F3 at the given times.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz.
    at : np.ndarray (T,)
        Times in seconds; for each, the nearest analysis frame (of 40 ms, every 5 ms) is used.

    Returns
    -------
    frequency, bandwidth : np.ndarray, float64 (T, 3)
        Values in Hz; NaN where there is no such resonance.
    """
    if not len(at):
        return np.empty((0, 3)), np.empty((0, 3))
    y = audio.resample(waveform(x, rate), rate, RATE)
    y = np.append(y[:1], y[1:] - np.exp(-2 * np.pi * EMPHASIS / RATE) * y[:-1])
    times, frames, _ = windows(y, RATE, hop=0.005, window=WINDOW)
    near = np.clip(np.rint((at - times[0]) / 0.005).astype(int), 0, len(times) - 1)
    a = _predictor(frames[near], ORDER)
    companion = np.zeros((len(a), ORDER, ORDER))
    companion[:, 0] = -a[:, 1:]
    companion[:, np.arange(1, ORDER), np.arange(ORDER - 1)] = 1.0
    poles = np.linalg.eigvals(companion)
    frequency = np.abs(np.angle(poles)) * RATE / (2 * np.pi)
    width = -np.log(np.maximum(np.abs(poles), 1e-9)) * RATE / np.pi
    wanted = (poles.imag > 0) & (frequency > LOWEST) & (frequency < HIGHEST) & (width < WIDEST)
    frequency = np.where(wanted, frequency, np.inf)
    order = np.argsort(frequency, axis=1)[:, :3]
    frequency, width = (np.take_along_axis(v, order, 1) for v in (frequency, width))
    there = np.isfinite(frequency)
    return np.where(there, frequency, np.nan), np.where(there, width, np.nan)


def _predictor(frames: np.ndarray, order: int) -> np.ndarray:
    """Return the linear prediction of each frame: coefficients (T, order + 1) of the inverse filter, the first is 1."""
    size = frames.shape[1]
    # a Gaussian window broadens bandwidths less than a Hann window
    tapered = frames.astype(np.float64) * np.exp(-12 * (np.arange(size) / (size - 1) - 0.5) ** 2)
    r = np.stack([(tapered[:, lag:] * tapered[:, : size - lag]).sum(1) for lag in range(order + 1)], 1)
    r[:, 0] = r[:, 0] * (1 + 1e-9) + 1e-20
    a = np.zeros_like(r)
    a[:, 0] = 1.0
    error = r[:, 0].copy()
    for m in range(1, order + 1):
        k = -(a[:, :m] * r[:, m:0:-1]).sum(1) / error
        a[:, 1 : m + 1] += k[:, None] * a[:, m - 1 :: -1][:, :m]
        error *= 1 - k**2
    return a
