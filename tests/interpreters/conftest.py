"""A classifier whose reasons are known: each class is the level of one frequency band, and nothing else counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from workbench.core.splits import Split
from workbench.interpreters import Classifier, Spectra

RATE, SAMPLES = 8000, 4000
SPECTRA = Spectra(rate=RATE, n_fft=256, hop=128)
#: Hz, of classes 0 to 2.
BANDS = ((500, 1000), (1500, 2000), (2750, 3250))
BURST = (0.15, 0.35)  # s, when the class of a clip sounds


class BandListener(nn.Module):
    """Score of a class: mean over time of the log magnitude in its band, by rows of 250 Hz and steps of 64 ms."""

    def __init__(self, gain: float = 8.0):
        super().__init__()
        self.gain = gain
        self.rows = nn.AvgPool2d((8, 4))
        self.bands = nn.Conv2d(1, 3, (16, 1), bias=False)
        with torch.no_grad():
            self.bands.weight.zero_()
            for c, (low, high) in enumerate(BANDS):
                self.bands.weight[c, 0, low // 250 : high // 250] = 0.5

    def forward(self, x):
        rows = self.rows(SPECTRA.stft(x).abs()[:, None, 1:].log1p())
        return self.gain * self.bands(rows).mean((2, 3))


def burst(c: int, rng: np.random.Generator) -> np.ndarray:
    """Tone of class c, sounding a part of the time."""
    time = np.arange(SAMPLES) / RATE
    on = (time >= BURST[0]) & (time < BURST[1])
    low, high = BANDS[c]
    return on * np.sin(2 * np.pi * rng.uniform(low + 100, high - 100) * time + rng.uniform(0, 6))


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    names = ("low", "middle", "high")
    return Classifier(BandListener(), rate=RATE, classes=names, taps=("rows", "bands"), device="cpu", name="bands")


@pytest.fixture(scope="session")
def clip() -> np.ndarray:
    """Class 1, and a louder, longer tone at 2400 Hz that is in no band."""
    rng, time = np.random.default_rng(0), np.arange(SAMPLES) / RATE
    x = 0.3 * burst(1, rng) + 0.6 * np.sin(2 * np.pi * 2400 * time) + 0.001 * rng.normal(size=SAMPLES)
    return np.float32(x)


@pytest.fixture(scope="session")
def clips() -> SimpleNamespace:
    """180 clips of one burst in noise, x (N, samples), and their split; y is which, and what the classifier says."""
    rng = np.random.default_rng(1)
    y = np.arange(180) % 3
    x = np.stack([rng.uniform(0.3, 1) * burst(c, rng) + 0.02 * rng.normal(size=SAMPLES) for c in y])
    return SimpleNamespace(x=np.float32(x), y=y, split=Split(np.arange(120), np.arange(120, 150), np.arange(150, 180)))


@pytest.fixture(scope="session")
def band_bins():
    """Which bins of the spectrogram are in a class's band, bool (F,)."""

    def bins(c: int) -> np.ndarray:
        f = np.arange(SPECTRA.bins) * RATE / SPECTRA.n_fft
        return (f >= BANDS[c][0]) & (f <= BANDS[c][1])

    return bins


@pytest.fixture(scope="session")
def spectra() -> Spectra:
    return SPECTRA
