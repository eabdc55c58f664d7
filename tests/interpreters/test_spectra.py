import math

import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.interpreters import Spectra, normalised


@pytest.fixture
def x():
    return 0.2 * torch.randn(2, 22050, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_paper_s_frames():
    assert Spectra().bins == 513
    assert [Spectra().frames(n) for n in (220500, 220160, 441000)] == [431, 431, 862]


def test_there_and_back(x):
    spectra = Spectra()
    log_magnitude, phase = spectra.analyse(x)
    assert log_magnitude.shape == (2, 513, 1 + 22050 // 512)
    assert (spectra.invert(log_magnitude, phase, 22050) - x).abs().max() < 2e-10
    short = spectra.invert(*spectra.analyse(x.float()), 22050)
    assert (short - x.float()).abs().max() < 2e-6


def test_a_full_scale_sine_peaks_at_256():
    x = torch.sin(2 * math.pi * 100 * torch.arange(44100) * 44100 / 1024 / 44100)  # in the middle of a bin
    assert Spectra().stft(x).abs()[:, 20].max() == pytest.approx(256, rel=1e-3)


@pytest.mark.parametrize(
    ("share", "size", "gain"), [(0.5, 0.01, 0.4988), (0.5, 1, 0.4142), (0.5, 10, 0.2317), (0.5, 100, 0.0905)]
)
def test_a_mask_in_the_log_domain_takes_more_of_what_is_loud(share, size, gain):
    assert math.expm1(share * math.log1p(size)) / size == pytest.approx(gain, abs=5e-5)
    spectra = Spectra(n_fft=64, hop=16)
    x = torch.randn(1024, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x * size / spectra.stft(x).abs().mean()
    mask = torch.full((33, spectra.frames(1024)), share, dtype=torch.float64)
    log_magnitude, phase = spectra.analyse(x)
    left = (log_magnitude * share).expm1()
    assert torch.allclose(spectra.masked(x, mask), spectra.istft(left * phase, 1024))


def test_limits_of_masks(x):
    spectra = Spectra()
    mask = torch.zeros(513, 44, dtype=torch.float64)
    for domain in ("log", "linear"):
        assert (spectra.masked(x, mask, domain=domain) == 0).all()
        assert torch.allclose(spectra.masked(x, mask + 1, domain=domain), x, atol=1e-9)


def test_masks_that_sum_to_one_give_sounds_that_sum_to_x_in_the_linear_domain_only(x):
    spectra = Spectra()
    mask = torch.rand(513, 44, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = {
        domain: spectra.masked(x, mask, domain=domain) + spectra.masked(x, 1 - mask, domain=domain)
        for domain in ("linear", "log")
    }
    assert torch.allclose(both["linear"], x, atol=1e-9)
    assert both["log"].square().sum() < 0.9 * x.square().sum()


def test_normalised():
    x = torch.tensor([[0.1, -0.5, 0.2], [0.0, 0.0, 0.0]])
    assert normalised(x).tolist() == [pytest.approx([0.2, -1.0, 0.4]), [0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.full((22050,), torch.nan)}, "x='nan or inf' must be finite"),
        ({"mask": torch.ones(513, 40)}, r"mask.shape=\(513, 40\) must be \(..., 513, 44\)"),
        ({"mask": torch.full((513, 44), 1.5)}, "mask='1.5 to 1.5' must be within 0 to 1"),
        ({"mask": torch.full((513, 44), torch.nan)}, "must be within 0 to 1"),
        ({"domain": "dB"}, "domain='dB' must be 'log' or 'linear'"),
    ],
)
def test_errors(change, message):
    given = {"x": torch.zeros(22050), "mask": torch.ones(513, 44)} | change
    with pytest.raises(ParameterError, match=message):
        Spectra().masked(given.pop("x"), given.pop("mask"), **given)


def test_a_clip_shorter_than_half_a_window():
    with pytest.raises(ParameterError, match="samples=512 must be more than 512"):
        Spectra().analyse(torch.zeros(512))


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 512), (4096, 2048), (64, 16)])
@pytest.mark.parametrize("domain", ["log", "linear"])
def test_masks_leave_no_click_at_the_end(n_fft, hop, domain):
    spectra = Spectra(n_fft=n_fft, hop=hop)
    for samples in range(4 * n_fft, 4 * n_fft + hop, max(hop // 40, 1)):
        x = 0.2 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
        mask = torch.rand(spectra.bins, spectra.frames(samples), generator=torch.Generator().manual_seed(1))
        left = spectra.masked(x, mask, domain=domain)
        assert left.abs().max() < 1.2 * x.abs().max()
        same = spectra.masked(x, mask * 0 + 1, domain=domain)
        assert torch.allclose(same[: -hop // 2], x[: -hop // 2], atol=1e-5)
        assert (same.abs() <= x.abs() + 1e-4).all()


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ({"hop": 513}, "hop=513 must be from 1 to 512, half of n_fft=1024"),
        ({"hop": 1024}, "hop=1024"),
        ({"n_fft": 1023}, "n_fft=1023 must be an even number"),
        ({"n_fft": 0}, "n_fft=0"),
        ({"hop": 0}, "hop=0"),
        ({"rate": 0}, "rate=0"),
        ({"rate": 44100.0}, r"rate=44100\.0"),
        ({"hop": True}, "hop=True"),
    ],
)
def test_frames_without_a_way_back(frames, message):
    with pytest.raises(ParameterError, match=message):
        Spectra(**frames)


def test_spectra_of_other_frames():
    spectra = Spectra()
    with pytest.raises(ParameterError, match=r"complex tensor \(..., 513, 44\) for 22050 samples"):
        spectra.istft(torch.zeros(513, 43, dtype=torch.complex64), 22050)
    with pytest.raises(ParameterError, match="spectra='float32 of shape"):
        spectra.istft(torch.zeros(513, 44), 22050)
    with pytest.raises(ParameterError, match="transpose it"):
        spectra.stft(torch.zeros(22050, 2))
    with pytest.raises(ParameterError, match="a tensor of floats"):
        spectra.stft(torch.zeros(22050, dtype=torch.int16))
