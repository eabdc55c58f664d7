"""The trivial control: its numbers, and that lengths are respected."""

import numpy as np
import pytest
import torch

from workbench.encoders import extract, load_encoder


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("logmel", device="cpu")


def test_shape_and_facts(encoder):
    ((_, (z,)),) = extract(encoder, [np.zeros(16000, np.float32)], pooling="mean+std", progress=False)
    assert z.shape == (128,)
    assert encoder.layers[0].dim == 64 and encoder.frame_rate == 100.0
    np.testing.assert_allclose(z[:64], np.log(1e-6), rtol=1e-5)  # silence is the floor
    np.testing.assert_allclose(z[64:], 0, atol=1e-5)


def test_full_scale_sine_is_zero_decibels(encoder):
    """Its spectral peak is 1 (0 dB), so the band it lies in holds a power near 1, bands far off none."""
    x = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    ((_, (z,)),) = extract(encoder, [x], progress=False)
    assert abs(z.max()) < 1.0
    assert np.exp(z[-1]) < 1e-5


def test_ten_times_louder_is_twenty_decibels(encoder):
    rng = np.random.default_rng(0)
    x = (0.5 * rng.standard_normal(16000)).astype(np.float32)
    (_, (a,)), (_, (b,)) = extract(encoder, [x, 10 * x], progress=False)
    np.testing.assert_allclose(b - a, np.log(100), atol=0.01)


def test_batch_mates_change_nothing(encoder):
    rng = np.random.default_rng(1)
    clips = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in (800, 16000, 15000, 14999, 300)]
    together = dict(extract(encoder, clips, pooling=None, progress=False))
    for i, x in enumerate(clips):
        ((_, (alone,)),) = extract(encoder, [x], pooling=None, progress=False)
        assert alone.shape == together[i][0].shape
        np.testing.assert_allclose(alone, together[i][0], atol=1e-4)
    assert together[0][0].shape == (2, 64)  # 0.05 s: 1 + (800 - 512) // 160


def test_half_precision_never_touches_it(encoder):
    assert encoder.compute == "float32"
    assert load_encoder("logmel", device="cpu", dtype="auto").fingerprint == encoder.fingerprint
    assert torch.equal(encoder._banks.sum(0) > 0, torch.ones(64, dtype=torch.bool))
