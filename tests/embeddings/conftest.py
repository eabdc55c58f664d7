"""Small clips and a fast encoder that follow the contracts, so that the store's tests take milliseconds."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.errors import AudioError
from workbench.datasets import Clips
from workbench.embeddings import extraction
from workbench.encoders import Encoder, Layer, fingerprint

RATE = 1000


class ArrayClips(Clips):
    """Clips over arrays in memory; counts how often each was decoded."""

    name = "arrays"

    def __init__(self, waveforms: dict[str, np.ndarray], *, version: str = "1", broken: dict[str, str] | None = None):
        self.waveforms, self.version, self.broken = waveforms, version, broken or {}
        self.table = pd.DataFrame({"id": list(waveforms), "label": "a"})
        self.decoded: list[str] = []
        self.fingerprint = hashlib.sha256(repr(list(waveforms)).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.table)

    def signature(self, i: int) -> str:
        if self.broken.get(self.table["id"][i]) == "no such file":
            raise AudioError("/data/x.wav", "no such file")
        return f"{self.table['id'][i]}|{self.version}"

    def __repr__(self) -> str:
        return f"ArrayClips({len(self)})"

    def source(self, i: int) -> str:
        return "array"

    def audio(self, i: int, *, rate: int | None = None) -> tuple[np.ndarray, int]:
        name = self.table["id"][i]
        self.decoded.append(name)
        if name in self.broken:
            raise AudioError(f"{name}.wav", self.broken[name])
        return self.waveforms[name], rate or RATE


class SmallEncoder(Encoder):
    """Three layers; its numbers depend, slightly, on the batch a clip is in, as those of real encoders do."""

    name, rate, padding = "small", RATE, "masked"
    layers = (Layer("0", 8, 10.0), Layer("1", 8, 10.0), Layer("2", 4, 10.0))

    def __init__(self, *, seed: int = 0, delay=None):
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(100, 8, generator=generator)
        self.fingerprint = fingerprint("small", seed)
        self.delay = delay
        self.forwards: list[tuple[int, tuple[int, ...]]] = []

    def forward(self, x, lengths, layers):
        self.forwards.append((len(x), tuple(layers)))
        if self.delay is not None:
            self.delay(len(x))
        frames = x[:, : x.shape[1] // 100 * 100].reshape(len(x), -1, 100) @ self.weight
        frames = frames + 1e-6 * torch.nan_to_num(frames).clamp(-9, 9).mean((0, 1)) + 1e-6 * len(x)
        counts = torch.clamp(lengths // 100, min=1)
        return [((frames * (layer + 1))[..., : self.layers[layer].dim], counts) for layer in layers]

    @property
    def clips(self) -> int:
        """Clips encoded so far."""
        return sum(count for count, _ in self.forwards)


@pytest.fixture
def make_clips():
    """make_clips(n, seconds=1.0, seed=0, **options): n clips of noise between half and one and a half ``seconds``."""

    def make(n: int, *, seconds: float = 1.0, seed: int = 0, **options) -> ArrayClips:
        rng = np.random.default_rng(seed)
        sizes = (rng.uniform(0.5, 1.5, n) * seconds * RATE).astype(int)
        waves = {f"clip{i:04d}": rng.uniform(-1, 1, size).astype(np.float32) for i, size in enumerate(sizes)}
        return ArrayClips(waves, **options)

    return make


@pytest.fixture
def make_encoder():
    """make_encoder(seed=0, delay=None): a small encoder; ``delay(batch size)`` is called in every pass."""
    return SmallEncoder


@pytest.fixture
def short_chunks(monkeypatch):
    """Ten seconds of sound a chunk, every chunk a shard."""
    monkeypatch.setattr(extraction, "BATCH_SECONDS", {"cpu": 2.5})
    monkeypatch.setattr(extraction, "SHARD_SECONDS", 0.0)
