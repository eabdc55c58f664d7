"""Small tables with sounds made on the spot."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def tone():
    """i -> (half a second of a tone at its own level, 16 kHz)."""

    def make(i: int) -> tuple[np.ndarray, int]:
        t = np.arange(8000) / 16000
        return (0.05 * (1 + i % 5) * np.sin(2 * np.pi * (220 + 20 * (i % 40)) * t)).astype(np.float32), 16000

    return make


@pytest.fixture
def table():
    """40 clips in four classes, one column of numbers."""
    f0 = np.linspace(100, 400, 40)
    return pd.DataFrame({"id": [f"clip {i}" for i in range(40)], "label": list("abcd") * 10, "f0": f0})


@pytest.fixture
def z():
    """(40, 12) embeddings in four clusters that follow the labels of ``table``."""
    rng = np.random.default_rng(1)
    return np.tile(rng.normal(size=(4, 12)) * 5, (10, 1)) + rng.normal(size=(40, 12))
