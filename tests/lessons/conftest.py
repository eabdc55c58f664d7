"""Segments, prototypes and an autoencoder that the lessons on prototypes that can be heard are tested on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from workbench import audio
from workbench.core.splits import Split
from workbench.prototypes import fit_prototypes
from workbench.sonify import load_autoencoder

RATE, CLASSES = 8000, ("bell", "drum", "flute")
SPLIT = Split(np.arange(18), np.arange(18, 24), np.arange(24, 36))


@pytest.fixture(scope="module")
def told():
    """36 segments of 18 clips in three classes, whose vectors lie at three corners; two segments a clip."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(18), 2)
    labels = np.array(CLASSES)[rows % 3]
    z = np.eye(3, 8)[rows % 3] * 4 + 0.3 * rng.standard_normal((36, 8))
    sounds = 0.1 * rng.standard_normal((36, RATE // 4)).astype(np.float32)
    return SimpleNamespace(
        z=z.astype(np.float32),
        labels=labels,
        rows=rows,
        groups=rows.astype(str),
        names=np.array([f"sub/{label} {i}" for i, label in enumerate(labels)]),
        seconds=0.25,
        levels=np.linspace(-40, -20, 36),
        level=-25.0,
        audio=lambda i: (sounds[i], RATE),
        window=lambda i, rate: sounds[i],
    )


@pytest.fixture(scope="module")
def learnt(told):
    options = {"per_class": 2, "steps": 60, "feed_forward": 8, "device": "cpu", "progress": False}
    return fit_prototypes(told.z, told.labels, SPLIT, tracks=told.rows, seed=0, **options)


@pytest.fixture(scope="module")
def mini_mel():
    return load_autoencoder("mini-mel", device="cpu")


@pytest.fixture(scope="module")
def tones():
    """A function that makes two seconds at 16 kHz of some tones, with a little noise, at -20 dB."""
    t = np.arange(32000) / 16000

    def made(count, rng):
        pitches = rng.uniform(200, 900, count)
        sounds = [np.sin(2 * np.pi * pitch * t) + 0.05 * rng.standard_normal(len(t)) for pitch in pitches]
        return np.stack([audio.at_level(x, -20.0) for x in sounds])

    return made
