"""Portable arithmetic agrees with NumPy's to rounding and does what generated sets need of it."""

import math

import numpy as np
import pytest

from workbench.datasets.generated.portable_math import (
    Draws,
    cosine,
    drift,
    exp2,
    from_decibels,
    interpolate,
    inverse_fft,
    ordered_sum,
    rms,
    sine,
    upsample,
)


def test_sine_and_cosine_agree_with_numpy():
    turns = np.linspace(-3.0, 3.0, 20001)
    assert np.abs(sine(turns) - np.sin(2 * np.pi * turns)).max() < 1e-14
    assert np.abs(cosine(turns) - np.cos(2 * np.pi * turns)).max() < 1e-14


def test_sine_is_exact_at_quarter_turns():
    assert sine(np.array([0.0, 0.5, 1.0, 2.0])).tolist() == [0.0, 0.0, 0.0, 0.0]
    assert sine(np.array([0.25, 0.75])) == pytest.approx([1.0, -1.0], abs=1e-15)


def test_exp2_and_decibels_agree_with_numpy():
    x = np.linspace(-30.0, 30.0, 10001)
    assert np.abs(exp2(x) / np.exp2(x) - 1.0).max() < 1e-14
    assert float(from_decibels(-20.0)) == pytest.approx(0.1, rel=1e-14)


@pytest.mark.parametrize("size", [4, 64, 256, 1024])
def test_inverse_fft_agrees_with_numpy(size):
    rng = np.random.default_rng(0)
    real, imag = rng.normal(size=(2, size, 3))
    out = inverse_fft(real, imag)
    expected = np.fft.ifft(real + 1j * imag, axis=0) * size
    assert np.abs(out[0] + 1j * out[1] - expected).max() < 1e-12 * size


def test_inverse_fft_refuses_other_lengths():
    with pytest.raises(ValueError, match="length 512 must be a power of four"):
        inverse_fft(np.zeros((512, 1)), np.zeros((512, 1)))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 1000, 1025])
def test_ordered_sum_is_a_sum_and_leaves_its_argument_alone(count):
    x = np.random.default_rng(count).normal(size=count)
    before = x.copy()
    assert ordered_sum(x) == pytest.approx(math.fsum(x), abs=1e-10)
    assert np.array_equal(x, before)


def test_rms_of_a_constant():
    assert rms(np.full(1001, -0.25)) == 0.25


def test_interpolate_and_upsample_draw_straight_lines():
    assert interpolate(np.array([0.0, 2.0, 1.0]), np.array([-1.0, 0.25, 1.5, 9.0])).tolist() == [0.0, 0.5, 1.5, 1.0]
    assert upsample(np.array([0.0, 4.0]), 4).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0]


def test_drift_stays_within_one_and_is_smooth():
    curve = drift(Draws(3), 5000, 50.0)
    assert curve.shape == (5000,)
    assert np.abs(curve).max() <= 1.0
    assert np.abs(np.diff(curve)).max() < 2.0 * 1.5 / 50.0 + 1e-9


def test_draws_are_the_published_pcg64_stream():
    # The stream of PCG64 is fixed by NumPy's promise; these three doubles must never change.
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence(7))).random(3)
    assert Draws(7).random(3).tolist() == expected.tolist()
    draws = Draws(7)
    assert [draws.random() for _ in range(3)] == expected.tolist()


def test_draws_cover_their_range_evenly():
    draws = Draws((1, 2))
    assert sorted(draws.permutation(20)) == list(range(20))
    counts = np.bincount([draws.below(5) for _ in range(5000)], minlength=5)
    assert counts.min() > 900 and counts.max() < 1100
    values = draws.between(-2.0, 4.0, 10000)
    assert values.min() >= -2.0 and values.max() < 4.0
    assert values.mean() == pytest.approx(1.0, abs=0.06)
