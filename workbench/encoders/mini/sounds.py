"""The sounds on which ``mini`` is trained: decoded clips, seeded generated sounds, and their distortions.

All sounds are made at 32 kHz, the rate of one of the teachers; the student gets a copy that is resampled to 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ...audio import load as load_sound
from ...core.dependencies import load

RATE = 32000

# share of each set among the clips of a batch; "" stands for generated sounds
SHARES = {
    "short": {"fsdd": 0.27, "speech_commands": 0.20, "philharmonia": 0.25, "librispeech": 0.20, "": 0.08},
    "long": {
        "esc10": 0.42,
        "philharmonia": 0.20,
        "librispeech": 0.14,
        "speech_commands": 0.04,
        "slakh": 0.06,
        "librosa": 0.06,
        "": 0.08,
    },
}
SECONDS = {"short": 1.0, "long": 3.0}
STRETCHED = 0.35
"""Fraction of the views that are stretched or compressed in time at the same pitch."""
IN_ROOMS = 0.3
"""Fraction of the views with reverberation."""


@dataclass
class Corpus:
    """All clips for training, decoded once to 16 bits at 32 kHz."""

    parts: dict[str, list[np.ndarray]]
    """Name of a set -> its waveforms, int16 (samples,)."""

    @classmethod
    def read(cls, root: Path | str, table: pd.DataFrame) -> Corpus:
        """Decode the clips of ``table`` that are not held out for the evaluation."""
        parts: dict[str, list[np.ndarray]] = {}
        rows = table[~table["held_out"]]
        for part, file in tqdm(zip(rows["part"], rows["file"], strict=True), "decoding", len(rows), mininterval=5):
            x, _ = load_sound(Path(root) / file, rate=RATE)
            parts.setdefault(part, []).append((x.clip(-1, 1) * 32767).astype(np.int16))
        return cls(parts)

    def draw(self, rng: np.random.Generator, kind: str) -> np.ndarray:
        """Draw one clip, float32 (samples,): first a set by its share, then one of its clips."""
        shares = SHARES[kind]
        part = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
        if not part:
            return generate(rng, SECONDS[kind] * rng.uniform(0.5, 1.2))
        clips = self.parts[part]
        return clips[rng.integers(len(clips))].astype(np.float32) / 32767


def _glide(rng: np.random.Generator, n: int, points: int, spread: float) -> np.ndarray:
    """Return a random curve of n samples around 0, linear between random knots."""
    knots = rng.normal(0, spread, points)
    return np.interp(np.linspace(0, points - 1, n), np.arange(points), knots)


def generate(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Make a random sound, float32 (samples,) at 32 kHz: a note with or without a glide, noise or clicks.

    Notes have vibrato, tremolo, a spectral slope, in half of them vowel-like resonances, breath noise and an envelope.
    """
    n = int(seconds * RATE)
    t = np.arange(n) / RATE
    kind = rng.choice(["note", "note", "voice", "voice", "noise", "clicks"])
    if kind in ("note", "voice"):
        f0 = 440 * 2 ** ((rng.uniform(36, 84) - 69) / 12)
        bend = _glide(rng, n, 3, rng.choice([0.0, 0.0, 0.3, 3.0])) / 12
        vibrato = rng.choice([0.0, rng.uniform(0.1, 1.0)]) / 12 * np.sin(2 * np.pi * rng.uniform(4, 8) * t)
        pitch = f0 * 2 ** (bend + vibrato)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        formants, widths = np.sort(rng.uniform([250, 700, 2000], [900, 2500, 3500])), rng.uniform(60, 250, 3)
        slope, odd = rng.uniform(0.5, 2.0), rng.uniform() < 0.2
        x = np.zeros(n)
        for h in range(1, min(40, int(15000 / f0)) + 1):
            gain = h**-slope * (0.1 if odd and h % 2 == 0 else 1.0)
            if kind == "voice":
                gain *= 0.02 + np.sum(1 / (1 + ((h * f0 - formants) / widths) ** 2))
            x += gain * np.sin(h * phase)
        x /= np.abs(x).max() + 1e-9
        x *= 1 + rng.choice([0.0, rng.uniform(0.1, 0.9)]) * np.sin(2 * np.pi * rng.uniform(4, 12) * t)
        x += rng.choice([0.0, 0.02, 0.2]) * rng.normal(0, 1, n)
    elif kind == "noise":
        spectrum = np.fft.rfft(rng.normal(0, 1, n))
        band = np.interp(np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, 12) ** 2, rng.normal(0, 3, 12))
        x = np.fft.irfft(spectrum * np.exp(band), n) * np.exp(_glide(rng, n, 8, rng.uniform(0, 1)))
    else:
        x = np.zeros(n)
        starts = np.cumsum(rng.uniform(0.7, 1.3, 40) * rng.uniform(0.03, 0.4))
        x[(starts[starts < seconds] * RATE).astype(int).clip(0, n - 1)] = 1
        ring = np.exp(-np.arange(1600) / rng.uniform(20, 400)) * np.cos(np.arange(1600) * rng.uniform(0.05, 2))
        x = np.convolve(x, ring)[:n]
    attack, decay = rng.uniform(0.002, 0.1), rng.choice([50.0, rng.uniform(0.1, 1.0)])
    x = x * np.minimum(1, t / attack) * np.exp(-t / decay) * np.minimum(1, (seconds - t) / 0.02)
    return (x / (np.abs(x).max() + 1e-9) * 10 ** rng.uniform(-1.5, 0)).astype(np.float32)


def _crop(rng: np.random.Generator, x: np.ndarray, size: int) -> np.ndarray:
    """Return a random piece of at most ``size`` samples, the loudest of three, so that silence is rare."""
    if len(x) <= size:
        return x
    starts = rng.integers(0, len(x) - size, 3)
    return max((x[s : s + size] for s in starts), key=lambda y: float(np.square(y[::16]).sum()))


def _speed(x: np.ndarray, factor: float) -> np.ndarray:
    """Play ``x`` faster, which changes pitch, formants and duration together (by linear interpolation)."""
    positions = np.arange(0, len(x) - 1, factor)
    return np.interp(positions, np.arange(len(x)), x).astype(np.float32)


def _stretch(x: np.ndarray, factor: float) -> np.ndarray:
    """Stretch ``x`` to ``1 / factor`` of its duration at the same pitch (phase vocoder)."""
    n_fft, hop, window = 1024, 256, torch.hann_window(1024)
    spectrum = torch.stft(torch.from_numpy(np.ascontiguousarray(x)), n_fft, hop, window=window, return_complex=True)
    advance = torch.linspace(0, np.pi * hop, n_fft // 2 + 1)[:, None]
    longer = load("torchaudio.functional").phase_vocoder(spectrum[None], factor, advance)[0]
    return torch.istft(longer, n_fft, hop, window=window).numpy()


def _in_rooms(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Add reverberation to some rows: noise that decays by 60 dB in .08 to .8 s, at -12 to 3 dB re the direct sound."""
    rows = np.flatnonzero(rng.uniform(size=len(x)) < IN_ROOMS)
    if not len(rows):
        return x
    time = np.arange(int(0.6 * RATE)) / RATE
    echo = rng.standard_normal((len(rows), len(time))) * np.exp(-6.9 * time / rng.uniform(0.08, 0.8, (len(rows), 1)))
    echo[:, : RATE // 500] = 0
    echo *= 10 ** (rng.uniform(-12, 3, (len(rows), 1)) / 20) / np.sqrt(np.square(echo).sum(1, keepdims=True))
    echo[:, 0] = 1
    size = x.shape[1] + len(time)
    heard = torch.fft.rfft(x[rows], size) * torch.fft.rfft(torch.from_numpy(echo).float(), size)
    x = x.clone()
    x[rows] = torch.fft.irfft(heard, size)[:, : x.shape[1]]
    return x


def draw_batch(
    corpus: Corpus, rng: np.random.Generator, kind: str, clips: int, *, distort: bool = True
) -> tuple[Tensor, Tensor]:
    """Draw two views of each of ``clips`` clips: (2 * clips, samples) at 32 kHz, and their true lengths.

    Rows i and clips + i are views of the same piece of a clip, each with its own speed, duration, reverberation, gain,
    filter, noise, and a quiet other clip mixed in.
    """
    size = int(SECONDS[kind] * RATE)
    x, lengths = np.zeros((2 * clips, size), np.float32), np.full(2 * clips, 1)
    for i in range(clips):
        stretch = _crop(rng, corpus.draw(rng, kind), int(1.25 * size))
        for row in (i, clips + i):
            y = stretch
            if distort and rng.uniform() < STRETCHED:
                y = _stretch(y, 2 ** rng.uniform(-0.3, 0.3))
            if distort and rng.uniform() < 0.7:
                y = _speed(y, 2 ** rng.uniform(-0.3, 0.3))
            slack = len(y) - size
            y = y[(s := rng.integers(0, slack + 1) if slack > 0 else 0) : s + size]
            lead = rng.integers(0, min(size - len(y), RATE // 10) + 1)
            tail = rng.integers(0, min(size - len(y) - lead, RATE // 10) + 1)
            x[row, lead : lead + len(y)] = y
            lengths[row] = max(lead + len(y) + tail, 1024)
    x, lengths = torch.from_numpy(x), torch.from_numpy(lengths)
    return (_distort(x, lengths, rng) if distort else x), lengths


def _distort(x: Tensor, lengths: Tensor, rng: np.random.Generator) -> Tensor:
    rows, size = x.shape

    def drawn(low: float, high: float, chance: float, otherwise: float) -> Tensor:
        values = np.where(rng.uniform(size=rows) < chance, rng.uniform(low, high, rows), otherwise)
        return torch.from_numpy(values).float()[:, None]

    x = _in_rooms(x, rng)
    level = x.square().mean(1, keepdim=True).sqrt() + 1e-5
    # another clip of the batch, 3 to 20 dB below
    other = torch.from_numpy(rng.permutation(rows))
    x = x + x[other] * level / level[other] * 10 ** (drawn(-20, -3, 0.3, -200.0) / 20)
    x = x + torch.from_numpy(rng.standard_normal((rows, size), np.float32)) * level * 10 ** (
        drawn(-40, -12, 0.4, -200.0) / 20
    )
    # a smooth random filter, knots evenly spaced on a warped axis, with the gain in the same curve
    knots = torch.from_numpy(rng.normal(0, 3.5, (rows, 1, 8)) * (rng.uniform(size=(rows, 1, 1)) < 0.7)).float()
    curve = F.interpolate(knots, 256, mode="linear", align_corners=True)[:, 0]
    bins = 1 + size // 2
    warp = (torch.linspace(0, 1, bins).sqrt() * 255).long()
    decibels = curve[:, warp] + drawn(-12, 6, 0.8, 0.0)
    x = torch.fft.irfft(torch.fft.rfft(x) * 10 ** (decibels / 20), size)
    return x.clamp(-1, 1) * (torch.arange(size) < lengths[:, None])


def halve(x: Tensor) -> Tensor:
    """Resample (B, samples) from 32 kHz to 16 kHz by cutting the spectrum, with a slope of 500 Hz below 8 kHz."""
    size = x.shape[1] // 2
    spectrum = torch.fft.rfft(x[:, : 2 * size])[:, : size // 2 + 1]
    slope = torch.linspace(0, RATE / 4, size // 2 + 1).sub(RATE / 4).div(-500).clamp(max=1)
    return torch.fft.irfft(spectrum * slope, size) / 2
