"""Synthetic sound of which every attribute is known; 16 kHz."""

from __future__ import annotations

import numpy as np
import pytest

RATE = 16000


def pulses(times, amplitudes) -> np.ndarray:
    """Band-limited pulses at exact times (s): a windowed sinc each, laid down at the fraction of a sample."""
    x = np.zeros(int((times[-1] + 0.05) * RATE))
    k = np.arange(-32, 33)
    for place, amplitude in zip(np.asarray(times) * RATE, amplitudes, strict=True):
        start = int(place) - 32
        if start >= 0 and start + 65 <= len(x):
            d = k - (place - int(place))
            x[start : start + 65] += amplitude * 0.9 * np.sinc(0.9 * d) * np.cos(np.pi * d / 68) ** 2
    return x.astype(np.float32)


@pytest.fixture(autouse=True)
def numeric_trouble_raises():
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        yield


@pytest.fixture(scope="session")
def train():
    """train(f0, seconds=2, jitter=0, shimmer=0): pulse train with random deviations; sound, periods (s), amplitudes."""

    def make(f0: float, seconds: float = 2.0, *, jitter: float = 0.0, shimmer: float = 0.0):
        rng = np.random.default_rng(0)
        count = int(seconds * f0)
        periods = (1 + jitter * rng.standard_normal(count)) / f0
        amplitudes = 1 + shimmer * rng.standard_normal(count)
        return pulses(np.cumsum(periods), amplitudes), periods, amplitudes

    return make


@pytest.fixture(scope="session")
def glide():
    """glide(f0): pulse train that follows a pitch curve, Hz (samples,)."""

    def make(f0: np.ndarray) -> np.ndarray:
        phase = np.cumsum(f0) / RATE
        times = np.interp(np.arange(1, phase[-1]), phase, np.arange(len(f0)) / RATE)
        return pulses(times, np.ones(len(times)))

    return make


@pytest.fixture(scope="session")
def resonate():
    """resonate(x, (frequency, bandwidth), ...): through two-pole resonators, Hz."""
    from scipy.signal import lfilter

    def make(x: np.ndarray, *resonances: tuple[float, float]) -> np.ndarray:
        for frequency, bandwidth in resonances:
            radius = np.exp(-np.pi * bandwidth / RATE)
            a = [1, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2]
            x = lfilter([sum(a)], a, x)
        return x.astype(np.float32)

    return make
