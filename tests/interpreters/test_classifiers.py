"""interpreters.classifiers: what was trained on spectrograms or embeddings is the same classifier on waveforms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.encoders import encoder_from, extract, load_encoder
from workbench.interpreters import MASKS, Classifier, classifier_on, convolutional, fit_tagger, fit_vgg
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
    made = classifier_on(encoder, weight, bias, ["a", "b", "c"], device="cpu")
    assert made.logits(x) == pytest.approx(frames.mean(1).numpy() @ weight + bias, rel=1e-3, abs=1e-3)
    assert len(made.shapes(32000)) == 3 and made.rate == 32000


class Net(torch.nn.Module):
    rate = 16000

    def __init__(self):
        super().__init__()
        self.stages = torch.nn.Sequential(torch.nn.Conv1d(1, 6, 400, 160), torch.nn.Tanh(), torch.nn.Conv1d(6, 4, 3, 2))

    def forward(self, x):
        return self.stages(x[:, None])


def encoder_of(name):
    if name == "a module":
        return encoder_from(Net(), device="cpu")
    return load_encoder(name, device="cpu", random_weights=None if name in ("mini", "logmel") else 0)


def head_on(encoder):
    rng, dim = np.random.default_rng(1), encoder.layers[-1].dim
    return rng.standard_normal((dim, 3)) / dim, np.arange(3.0)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [("a module", [(6, 1, 98), (4, 1, 48)]), ("mini", [(256, 1, 26)] * 3), ("logmel", [(64, 1, 97)])],
)
def test_a_classifier_on_any_encoder_is_the_probe_of_its_embedding(name, shapes):
    encoder, x = encoder_of(name), noise(16000)[:3]
    weight, bias = head_on(encoder)
    made = classifier_on(encoder, weight, bias, ["a", "b", "c"], device="cpu")
    z = np.stack([arrays[0] for _, arrays in sorted(extract(encoder, list(x), layers=-1, progress=False))])
    assert made.logits(x) == pytest.approx(z @ weight + bias, abs=1e-4)
    assert (made.axes, made.rate, made.shapes(16000)) == ("btc", 16000, shapes)
    assert float(MASKS["saliency"](made, x[0], 1).max()) == 1  # gradients pass through the frozen encoder
    with pytest.raises(ParameterError, match=r"weight\.shape=.* must be .*the layer's numbers and the classes"):
        classifier_on(encoder, weight[:, :2], bias[:2], ["a", "b", "c"])


def test_a_classifier_on_an_inner_layer_taps_nothing_behind_it():
    encoder, x = load_encoder("mini", device="cpu"), noise(16000)[:3]
    rng, inner = np.random.default_rng(1), 2
    weight, bias = rng.standard_normal((encoder.layers[inner].dim, 3)), np.arange(3.0)
    made = classifier_on(encoder, weight, bias, ["a", "b", "c"], layer=inner, device="cpu")
    z = np.stack([arrays[0] for _, arrays in sorted(extract(encoder, list(x), layers=inner, progress=False))])
    assert made.logits(x) == pytest.approx(z @ weight + bias, abs=1e-3)
    assert made.module.front_end.positions == [1, 2]
    count = len(encoder.layers)
    same = classifier_on(encoder, weight, bias, ["a", "b", "c"], layer=inner - count, device="cpu")
    assert same.fingerprint == made.fingerprint
    with pytest.raises(ParameterError, match=f"layer={count} must be a whole number from -{count} to {count - 1}"):
        classifier_on(encoder, weight, bias, ["a", "b", "c"], layer=count)


def test_a_classifier_on_a_summary_of_the_frames_in_place_of_their_mean():
    encoder, x = load_encoder("mini", device="cpu"), noise(16000)[:3]
    summary = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(5))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        summary(torch.zeros(1, 26, 256))
    weight, bias = np.random.default_rng(1).standard_normal((5, 3)), np.arange(3.0)
    made = classifier_on(encoder, weight, bias, ["a", "b", "c"], layer=2, pool=summary, device="cpu")
    frames = [rows for _, (rows,) in sorted(extract(encoder, list(x), layers=2, pooling=None, progress=False))]
    with torch.no_grad():
        z = summary(torch.from_numpy(np.stack(frames)).float()).numpy()
    assert made.logits(x) == pytest.approx(z @ weight + bias, abs=1e-3)
    assert made.shapes(16000) == [(256, 1, 26)] * 2
    with pytest.raises(ParameterError, match="pool=.* must be a torch module or None"):
        classifier_on(encoder, weight, bias, ["a", "b", "c"], pool=lambda frames: frames.mean(1))


def test_a_tagger_on_a_module_is_frozen_saved_and_made_random(tmp_path):
    encoder, x = encoder_of("a module"), torch.from_numpy(noise(8000))
    tags = np.stack([Y == 1, Y == 0], 1)
    options = {"classes": ["a", "b"], "network": encoder, "epochs": 1, "batch": 3, "device": "cpu", "progress": False}
    made = fit_tagger(x, tags, SPLIT, **options)
    for own, kept in zip(encoder.module.parameters(), made.module.front_end.encoder.module.parameters(), strict=True):
        assert torch.equal(own, kept) and own is not kept
    loaded = Classifier.load(made.save(tmp_path), encoder, device="cpu")
    assert loaded.fingerprint == made.fingerprint and np.array_equal(loaded.logits(x), made.logits(x))
    scrambled = made.randomised(0)
    assert np.abs(scrambled.tapped(x)[1][0].numpy() - made.tapped(x)[1][0].numpy()).max() > 0.01
