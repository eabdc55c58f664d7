"""The sounds that ``mini-mel`` is trained on: windows of decoded clips and of generated sounds, at 16 kHz.

Drawn and encoded once, by :func:`encode_windows`; the training then reads frames and latents only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from ...audio import SILENT, at_level, level, load, resample
from ...codecs import Codec
from ...datasets.generated import notes
from ...encoders import Encoder
from ...encoders.mini import sounds as mini_sounds

RATE = 16000
LEVEL = -20.0
"""Root-mean-square level in dB that every window is brought to."""
SHARES = {
    "philharmonia": 0.40,
    "notes": 0.12,
    "": 0.05,
    "esc10": 0.13,
    "fsdd": 0.06,
    "speech_commands": 0.07,
    "librispeech": 0.10,
    "slakh": 0.04,
    "librosa": 0.03,
}
"""Share of each part among the windows: instruments above all. "notes" is the generated set, "" the sounds of mini."""

NOTES, NOTES_SEED = 1600, 1000
"""Size and seed of the generated set; its training specimens are heard. Other seeds give other notes."""


@dataclass
class Corpus:
    """Every clip that training may hear, decoded once: 16-bit, 16 kHz, by part."""

    parts: dict[str, list[np.ndarray]]
    """Part -> waveforms, int16 (samples,)."""

    @classmethod
    def read(cls, root: Path | str, table: pd.DataFrame) -> Corpus:
        """Decode the clips of ``table`` that are not held out, and add those of the generated set ``notes``."""
        parts: dict[str, list[np.ndarray]] = {}
        rows = table[~table["held_out"]]
        for part, file in tqdm(zip(rows["part"], rows["file"], strict=True), "decoding", len(rows), mininterval=5):
            parts.setdefault(part, []).append(_short(load(Path(root) / file, rate=RATE)[0]))
        made = notes.table(NOTES, seed=NOTES_SEED)
        for _, row in tqdm(made[made["split"] == "train"].iterrows(), "playing", mininterval=5):
            x = notes.render(notes.recipe(row))
            parts.setdefault("notes", []).append(_short(resample(x, notes.RATE, RATE)))
        return cls(parts)

    def draw(self, rng: np.random.Generator, seconds: float) -> np.ndarray:
        """One clip, float32 (samples,): a part by its share, then any of its clips."""
        part = str(rng.choice(list(SHARES), p=np.array(list(SHARES.values())) / sum(SHARES.values())))
        if not part:
            return resample(mini_sounds.generate(rng, seconds * rng.uniform(0.3, 1.2)), mini_sounds.RATE, RATE)
        clips = self.parts[part]
        return clips[rng.integers(len(clips))].astype(np.float32) / 32767


def _short(x: np.ndarray) -> np.ndarray:
    return (x.clip(-1, 1) * 32767).astype(np.int16)


def draw_window(corpus: Corpus, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A window, float32 (samples,): a clip at a speed of its own, cut or zero-padded; never silence.

    Half of the clips begin where they begin, as they will when they are summarised; the others a little later, after
    some silence, or, where they are longer than the window, anywhere.
    """
    size = round(seconds * RATE)
    x = corpus.draw(rng, seconds)
    if rng.uniform() < 0.6:  # pitch, formants and duration move together: pitches that no clip has
        positions = np.arange(0, len(x) - 1, 2 ** rng.uniform(-0.25, 0.25))
        x = np.interp(positions, np.arange(len(x)), x).astype(np.float32)
    if rng.uniform() < 0.5:
        slack = len(x) - size
        start = rng.integers(-RATE // 5, max(slack, RATE // 10) + 1)
        x = x[start:] if start > 0 else np.pad(x, (-start, 0))
    x = np.pad(x[:size], (0, max(size - len(x), 0)))
    return x if level(x) > SILENT else draw_window(corpus, rng, seconds)


@torch.inference_mode()
def encode_windows(
    windows: Iterator[np.ndarray], count: int, encoder: Encoder, layer: int, codec: Codec
) -> dict[str, Tensor]:
    """Frames (N, T, D) of the encoder's layer and latents (N, T', D') of the codec, float16, of windows."""
    frames, latents = [], []
    with tqdm(total=count, desc="encoding", mininterval=10) as bar:
        while bar.n < count:
            batch = [at_level(next(windows), LEVEL) for _ in range(min(32, count - bar.n))]
            x = torch.from_numpy(np.stack(batch))
            lengths = torch.full((len(x),), x.shape[1])
            frames.append(encoder.forward(x, lengths, [layer])[0][0].half())
            latents.append(codec.encode(x).half())
            bar.update(len(x))
    return {"frames": torch.cat(frames), "latents": torch.cat(latents)}
