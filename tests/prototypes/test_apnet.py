"""prototypes.apnet: published sizes, masks, distances by definition, and what training changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench import audio
from workbench.core.errors import ParameterError, WeightsError
from workbench.core.splits import Split
from workbench.prototypes import APNet, fit_apnet, log_mel_to_audio
from workbench.prototypes.apnet import APNetConfig, APNetwork, _objective

T, F = 8, 12
QUICK = {
    "frames": T,
    "bands": F,
    "filters": 4,
    "per_class": 2,
    "epochs": 12,
    "learning_rate": 3e-3,
    "device": "cpu",
    "progress": False,
}


def sounds(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Class 0 has its energy below, class 1 above."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.normal(size=(n, T, F)) - 10
    for row, low in zip(x, y == 0, strict=True):
        row[:, slice(0, 6) if low else slice(6, 12)] += 8
    return x.astype(np.float32), y


X, Y = sounds(80, 0)
HELD = sounds(20, 1)
BOTH = np.concatenate([X, HELD[0]])
LABELS = np.concatenate([Y, HELD[1]])
SPLIT = Split(np.arange(80), np.arange(80, 100))


def fit(x=BOTH, y=LABELS, **changed) -> APNet:
    return fit_apnet(x, y, SPLIT, **QUICK | changed)


@pytest.fixture(scope="module")
def model() -> APNet:
    return fit()


@pytest.mark.parametrize(
    ("preset", "classes", "latent", "prototypes", "millions"),
    [
        ("paper", 8, 98_304, 40, 4.17),
        ("urbansound8k", 10, 21_504, 50, 1.18),
        ("speech_commands", 35, 14_400, 105, 1.75),
    ],
)
def test_published_sizes(preset, classes, latent, prototypes, millions):
    network = APNetwork(APNetConfig.named(preset), classes)
    assert network.prototypes[0].numel() == latent and len(network.prototypes) == prototypes
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


def test_masks_mark_the_maximum_of_every_four():
    torch.manual_seed(0)
    network = APNetwork(APNetConfig(frames=T, bands=F, filters=3), 2)
    latents, (first, second) = network.encode(torch.randn(2, T, F))
    assert latents.shape == (2, 3, T // 4, F // 4)
    assert first.shape == (2, 3, T, F) and second.shape == (2, 3, T // 2, F // 2)
    for mask in (first, second):
        assert torch.nn.functional.avg_pool2d(mask, 2).eq(0.25).all()


def test_a_decoded_latent_is_zero_outside_its_masks():
    torch.manual_seed(0)
    network = APNetwork(APNetConfig(frames=T, bands=F, filters=3), 2)
    shapes = ((1, 3, T, F), (1, 3, T // 2, F // 2))
    closed = network.decode(torch.randn(1, 3, T // 4, F // 4), tuple(torch.zeros(shape) for shape in shapes))
    assert closed.abs().max() == 0  # biases are 0 at the start
    opened = network.decode(torch.randn(1, 3, T // 4, F // 4), tuple(torch.ones(shape) for shape in shapes))
    assert opened.shape == (1, T, F) and 0 < opened.abs().max() < 1


def test_distances_and_similarities_by_definition():
    torch.manual_seed(0)
    network, latents = APNetwork(APNetConfig(frames=T, bands=F, filters=3, per_class=2), 2), torch.randn(5, 3, 2, 3)
    with torch.no_grad():
        network.frequency_weights.uniform_()
        network.prototypes.copy_(latents[:4] + 0.1 * torch.randn(4, 3, 2, 3))
    apart = (latents[:, None] - network.prototypes).square().sum((2, 3))  # over channels and time
    torch.testing.assert_close(network.distances(latents), apart, atol=1e-4, rtol=1e-4)
    expected = (torch.exp(-apart) * network.frequency_weights).sum(2)
    torch.testing.assert_close(network.similarities(apart), expected)


def test_frequency_weights_are_brought_to_length_one_over_prototypes():
    network = APNetwork(APNetConfig(frames=T, bands=F, per_class=2), 2)
    assert network.frequency_weights.unique().tolist() == pytest.approx([1 / 3])
    network.constrain()
    torch.testing.assert_close(network.frequency_weights.square().sum(0), torch.ones(3))


def test_loss_by_definition():
    torch.manual_seed(0)
    network = APNetwork(APNetConfig(frames=T, bands=F, filters=3, loss_weights=(2, 3, 4)), 2)
    x, y = torch.randn(4, T, F), torch.tensor([0, 1, 0, 1])
    terms, logits = _objective(network, x, y)
    _, reconstructed, distances = network(x)
    apart = distances.mean(2)
    pull = apart.min(0).values.mean() + apart.min(1).values.mean()
    error = (reconstructed - x).square().mean()
    entropy = -logits.log_softmax(1)[range(4), y].mean()
    torch.testing.assert_close(terms, torch.stack([2 * entropy + 3 * error + 4 * pull, entropy, error, pull]))


def test_last_layer_may_start_with_classes():
    dense = APNetwork(APNetConfig(frames=T, bands=F, per_class=2, own_class_start=True), 3).dense
    expected = torch.tensor([[1, 1, -1, -1, -1, -1], [-1, -1, 1, 1, -1, -1], [-1, -1, -1, -1, 1, 1]]) / 2
    assert (dense - expected).abs().max() <= 0.05


def test_training_learns_and_reconstructs(model):
    assert model.predict(HELD[0]).score(HELD[1], np.arange(20))["accuracy"] == 1.0
    assert model.history["reconstruction"].iloc[-1] < model.history["reconstruction"].iloc[0] / 2
    assert model.reconstruct(X).shape == X.shape
    assert np.square(model.reconstruct(X) - X).mean() < np.square(X.mean(0) - X).mean()


def test_classes_are_what_the_network_says_of_its_prototypes(model):
    net = model.network
    with torch.no_grad():
        own = torch.stack([(p - net.prototypes).square().sum((1, 2)) for p in net.prototypes])
        expected = ((torch.exp(-own) * net.frequency_weights).sum(2) @ net.dense.T).argmax(1)
    assert model.classes.tolist() == expected.tolist()


def test_prototypes_are_decoded_with_masks_of_the_most_similar_sound(model):
    decoded = model.decode(X)
    assert decoded.shape == (4, T, F) and model.low - 1e-3 <= decoded.min() and decoded.max() <= model.high + 1e-3
    row = int(model.similarities(X)[:, 2].argmax())
    with torch.no_grad():
        scaled = torch.from_numpy((X[row : row + 1] - model.low) * (2 / (model.high - model.low)) - 1)
        alone = model.network.decode(model.network.prototypes[2:3], model.network.encode(scaled)[1])
    expected = (alone.numpy()[0] + 1) * (model.high - model.low) / 2 + model.low
    np.testing.assert_allclose(decoded[2], expected, atol=1e-4)


def test_random_masks_are_seeded(model):
    assert np.array_equal(model.decode(seed=1), model.decode(seed=np.int64(1)))
    assert not np.array_equal(model.decode(seed=1), model.decode(seed=2))


def test_the_same_seed_gives_the_same_numbers_also_when_stopped(tmp_path, model):
    def stopping(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint=tmp_path / "state.pt", progress=stopping)
    resumed = fit(checkpoint=tmp_path / "state.pt")
    assert np.array_equal(resumed.logits(X), model.logits(X)) and resumed.epoch == model.epoch


def test_training_stops_when_patience_is_over():
    found = fit(patience=1, epochs=40, learning_rate=0.03)
    assert len(found.history) == found.epoch + 2 < 40


def test_saved_and_loaded(tmp_path, model):
    found = APNet.load(model.save(tmp_path / "apnet"))
    assert np.array_equal(found.logits(X), model.logits(X)) and found.config == model.config
    assert found.history.equals(model.history) and (found.low, found.high) == (model.low, model.high)
    (tmp_path / "apnet" / "fitted.json").write_bytes(b"none")
    with pytest.raises(WeightsError, match="apnet: holds no APNet"):
        APNet.load(tmp_path / "apnet")


def test_what_a_task_measures(model):
    found = model.evaluate(X, Y, Split([], test=np.arange(0, 80, 3)), tracks=None)
    assert found["accuracy"] == found["balanced_accuracy"] == 1.0 and found["epoch"] == model.epoch
    assert found["without_prototype"] == 2 - len(set(model.classes.tolist()))


def test_sound_of_a_log_mel():
    rate, seconds = 8000, 0.5
    x = np.sin(2 * np.pi * 1000 * np.arange(int(rate * seconds)) / rate).astype(np.float32)
    mel = audio.log_mel(x, rate, n_fft=512, hop=128, n_mels=40).numpy().T[None]
    back = log_mel_to_audio(mel, rate, n_fft=512, hop=128)
    assert back.shape == (1, (mel.shape[1] - 1) * 128)
    spectrum = np.abs(np.fft.rfft(back[0]))
    assert abs(spectrum.argmax() * rate / len(back[0]) - 1000) < 60


@pytest.mark.parametrize(
    ("x", "y", "changed", "message"),
    [
        (BOTH[:, :4], LABELS, {}, r"x.shape=\(100, 4, 12\) must be \(N, 8, 12\)"),
        (BOTH * np.nan, LABELS, {}, r"x\[0\]='nan or inf' must be finite"),
        (
            np.ones_like(BOTH),
            LABELS,
            {},
            "inputs='80 training inputs that are all the same' must be inputs that differ",
        ),
        (BOTH, Y[:9], {}, r"y.shape=\(9,\) must be \(100,\), one a segment"),
        (BOTH, np.concatenate([Y, HELD[1] + 1]), {}, r"y of split.valid=\[2\] must be classes that are in train too"),
        (BOTH, LABELS, {"tracks": np.arange(100) % 90}, r"tracks=\[0, 1, .* must be in split.train or in split.valid"),
        (BOTH, LABELS, {"bands": 10}, "bands=10 must be a multiple of 4"),
    ],
)
def test_bad_input_is_named(x, y, changed, message):
    with pytest.raises(ParameterError, match=message):
        fit(x, y, **changed)
