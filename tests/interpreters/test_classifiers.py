"""interpreters.classifiers: what was trained on spectrograms or embeddings is the same classifier on waveforms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.core.splits import Split
from workbench.encoders import load_encoder
from workbench.interpreters import Classifier, convolutional, efficientat, fit_vgg
from workbench.prototypes import SmallConvNet, fit_classifier, log_mels

SPLIT = Split(np.arange(6), np.arange(6, 8), np.arange(8, 10))
Y = np.arange(10) % 2


def noise(samples):
    return np.float32(0.1 * np.random.default_rng(0).standard_normal((10, samples)))


def test_a_small_net_hears_waveforms_as_it_saw_log_mels():
    x = noise(16000)
    options = {"network": lambda: SmallConvNet(64, 8), "loss": "cross_entropy", "epochs": 2, "progress": False}
    run = fit_classifier(log_mels(list(x), progress=False), Y, SPLIT, device="cpu", **options)
    made = convolutional(run, device="cpu")
    assert made.logits(x) == pytest.approx(run.logits, abs=1e-3)
    assert [shape[0] for shape in made.shapes(16000)] == [32, 64, 64]


def test_the_vgg_trained_here_keeps_its_weights(tmp_path):
    x = torch.from_numpy(noise(72000))
    made = fit_vgg(x, Y, SPLIT, epochs=1, batch=6, device="cpu", progress=False)
    assert made.classes == ("0", "1") and made.shapes(72000)[0][:2] == (128, 16)
    first, again = made.logits(x), made.logits(x)
    assert np.array_equal(first, again) and np.std(first) > 0
    assert float(made.module.last[1].running_mean.abs().sum()) > 0, "batch norm's statistics came along"
    loaded = Classifier.load(made.save(tmp_path), "vgg", device="cpu")
    assert loaded.fingerprint == made.fingerprint and loaded.history.equals(made.history)
    other = fit_vgg(x, Y, SPLIT, epochs=1, batch=6, device="cpu", progress=False, seed=1)
    assert not np.allclose(other.logits(x), first)


def test_an_efficientat_with_a_head_is_the_probe_of_its_embedding():
    encoder, x = load_encoder("mn01_as", random_weights=0, device="cpu"), torch.from_numpy(noise(32000))
    last = len(encoder.layers) - 1
    ((frames, _),) = encoder.forward(x, torch.full((10,), 32000), [last])
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(frames.shape[2], 3)), rng.normal(size=3)
    made = efficientat(encoder, weight, bias, ["a", "b", "c"], device="cpu")
    assert made.logits(x) == pytest.approx(frames.mean(1).numpy() @ weight + bias, rel=1e-3, abs=1e-3)
    assert len(made.shapes(32000)) == 3 and made.rate == 32000
