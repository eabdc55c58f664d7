"""The built-in codec: lengths, levels, what survives the round trip, and that rows keep to themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.audio import resample
from workbench.codecs.mel import CEILING, FLOOR, SCALE, SHIFT, MelCodec
from workbench.core.errors import ParameterError
from workbench.datasets.generated import notes


@pytest.fixture(scope="module")
def codec() -> MelCodec:
    return MelCodec()


@pytest.fixture(scope="module")
def played() -> torch.Tensor:
    """Twelve generated notes at 16 kHz, one an instrument."""
    table = notes.table(12, seed=3)
    sounds = [resample(notes.render(notes.recipe(row)), notes.RATE, 16000) for _, row in table.iterrows()]
    return torch.from_numpy(np.stack(sounds))


def sine(hertz: float, seconds: float = 1.0, gain: float = 0.5) -> torch.Tensor:
    return gain * torch.sin(2 * math.pi * hertz * torch.arange(round(16000 * seconds)) / 16000)[None]


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (256, 1), (257, 2), (1600, 7), (32000, 125)])
def test_a_frame_for_each_hop_begun(codec, samples, frames):
    latents = codec.encode(torch.zeros(2, samples))
    assert codec.frames(samples) == frames and latents.shape == (2, frames, 80)
    assert codec.decode(latents, length=samples).shape == (2, samples)
    assert codec.decode(latents).shape == (2, 256 * frames)
    assert codec.frame_rate == 62.5


def test_silence_is_one_number_and_comes_back_as_silence(codec):
    latents = codec.encode(torch.zeros(1, 4000))
    assert torch.allclose(latents, torch.full_like(latents, (math.log(FLOOR) - SHIFT) / SCALE), atol=1e-6)
    assert float(codec.decode(latents).abs().max()) < 1e-3


def test_notes_have_about_zero_mean_and_unit_variance(codec, played):
    latents = codec.encode(played * 10**0.5)  # the quiet levels of the set, raised by 10 dB
    assert abs(float(latents.mean())) < 0.4 and 0.7 < float(latents.std()) < 1.3


def test_pitch_and_level_come_back(codec):
    for hertz, gain in ((110.0, 0.1), (440.0, 0.5), (3000.0, 0.5)):
        x = sine(hertz, gain=gain)
        y = codec.round_trip(x)
        middle = y[0, 4000:12000].double()
        peak = torch.fft.rfft(middle * torch.hann_window(8000, dtype=torch.float64)).abs().argmax().item() * 2.0
        assert peak == pytest.approx(hertz, rel=0.05, abs=4)  # a band is as wide as it is
        assert 20 * math.log10(float(middle.std() / x.std())) == pytest.approx(0, abs=2.5)


def test_an_onset_stays_where_it_is(codec):
    x = torch.zeros(1, 16000)
    x[:, 8000:] = sine(500.0, 0.5)
    y = codec.round_trip(x)[0]
    power = y.square().unfold(0, 160, 160).mean(1)
    assert abs(int((power > power.max() / 4).nonzero()[0]) - 50) <= 4  # 10 ms steps


def test_spectra_survive_the_round_trip(codec, played):
    before = codec.encode(played)
    after = codec.encode(codec.round_trip(played))
    r = [
        float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1]) for a, b in zip(before, after, strict=True)
    ]
    others = torch.corrcoef(torch.stack((before[0].flatten(), after[1].flatten())))[0, 1]
    assert min(r) > 0.93 and float(np.mean(r)) > 0.96 and float(others) < 0.9


def test_a_row_does_not_depend_on_its_batch(codec, played):
    latents = codec.encode(played[:3])
    together = codec.decode(latents, seed=5)
    assert torch.equal(together[1], codec.decode(latents[1:2], seed=5)[0])
    assert not torch.equal(together[1], codec.decode(latents[1:2], seed=6)[0])
    assert codec.decode(latents[:0]).shape == (0, 32000)


def test_wild_latents_stay_finite(codec):
    assert torch.isfinite(codec.decode(torch.full((1, 5, 80), 1e6))).all() and CEILING > 6


def test_the_fingerprint_is_that_of_the_constants(codec, monkeypatch):
    assert codec.fingerprint == MelCodec().fingerprint
    monkeypatch.setattr("workbench.codecs.mel.FLOOR", 1e-5)
    assert codec.fingerprint != MelCodec().fingerprint


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.encode(torch.zeros(5)), r"x=\(5,\) must be waveforms \(B, samples\)"),
        (lambda c: c.encode(torch.full((1, 9), math.nan)), "9 samples of them' must be finite"),
        (lambda c: c.decode(torch.zeros(1, 4, 81)), r"latents=\(1, 4, 81\) must be \(B, T, 80\)"),
        (lambda c: c.decode(torch.full((1, 4, 80), math.inf)), "320 numbers of them' must be finite"),
        (lambda c: c.decode(torch.zeros(1, 4, 80), length=1025), "length=1025 must be 1 to 1024 samples"),
    ],
)
def test_bad_input_is_named(codec, call, message):
    with pytest.raises(ParameterError, match=message):
        call(codec)
