"""Published weights of an APNet: an HDF5 file of Keras' layout, against its network written plainly from its arrays."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from workbench.core.errors import DependencyError, ParameterError, WeightsError
from workbench.prototypes import APNet

h5py = pytest.importorskip("h5py")

T, F, C, M, CLASSES = 8, 12, 3, 17, 8
"""17 prototypes for 8 classes, as are left where near-duplicates were removed."""
LABELS = ["violin", "clarinet", "flute", "piano", "horn", "bell", "drum", "organ"]
LOW, HIGH = -80.0, 0.0


def weights(seed: int = 0) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Layers of the model, each with the names and arrays of its weights, channels last."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    shapes = {"conv1": (5, 5, 1, C), "conv2": (5, 5, C, C), "conv3": (5, 5, C, C)}
    shapes |= {"deconv1": (5, 5, C, C), "deconv2": (5, 5, C, C), "deconv3": (5, 5, 1, C)}
    pairs = {
        name: [
            (f"{name}/kernel:0", 0.2 * draw(*shape)),
            (f"{name}/bias:0", 0.1 * draw(shape[2 if name[0] == "d" else 3])),
        ]
        for name, shape in shapes.items()
    }
    # prototypes near enough for similarities that are not all 0
    points = ("prototype_distances/prototype_feature_vectors:0", 0.3 * draw(M, T // 4, F // 4, C))
    return {
        "input": [],
        "encoder": [pair for name in ("conv1", "conv2", "conv3") for pair in pairs[name]],
        "features": [],
        "prototype_distances": [points],
        "mean": [("mean/prototype_feature_vectors:0", np.abs(draw(M, F // 4)))],
        "logits": [("logits/kernel:0", draw(M, CLASSES))],
        "decoder": [pair for name in ("deconv1", "deconv2", "deconv3") for pair in pairs[name]],
    }


def write(path, layers, *, whole=False):
    """As save_weights of Keras 2 does, or ``whole`` as save does."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = np.array([name.encode() for name in layers])
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        for layer, arrays in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name, _ in arrays])
            for name, array in arrays:
                group.create_dataset(name, data=array)
    return path


def convolved(x, kernel, bias):
    """Keras' Conv2D with "same" padding: x (T, F, in), kernel (5, 5, in, out)."""
    padded, out = np.pad(x, ((2, 2), (2, 2), (0, 0))), np.zeros((*x.shape[:2], kernel.shape[3]))
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = np.einsum("abc,abcd->d", padded[i : i + 5, j : j + 5], kernel) + bias
    return out


def transposed(x, kernel, bias):
    """Keras' Conv2DTranspose with "same" padding: every pixel paints the kernel (5, 5, out, in) around itself."""
    out = np.zeros((x.shape[0] + 4, x.shape[1] + 4, kernel.shape[2]))
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i : i + 5, j : j + 5] += np.einsum("abdc,c->abd", kernel, x[i, j])
    return out[2:-2, 2:-2] + bias


def leaky(x):
    return np.where(x > 0, x, 0.3 * x)


def pooled(x):
    small = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max((1, 3))
    return small, x >= doubled(small)


def doubled(x):
    return x.repeat(2, 0).repeat(2, 1)


def forward(layers, x):
    """Logits, similarities, latent and reconstruction of one scaled spectrogram (T, F)."""
    at = {name: array for arrays in layers.values() for name, array in arrays}
    of = lambda name: (at[f"{name}/kernel:0"], at[f"{name}/bias:0"])  # noqa: E731
    h, first = pooled(leaky(convolved(x[..., None], *of("conv1"))))
    h, second = pooled(leaky(convolved(h, *of("conv2"))))
    latent = leaky(convolved(h, *of("conv3")))
    points = at["prototype_distances/prototype_feature_vectors:0"]
    local = np.exp(-np.square(latent - points).sum((1, 3)))
    similar = (local * at["mean/prototype_feature_vectors:0"]).sum(1)
    y = leaky(doubled(transposed(latent, *of("deconv1"))) * second)
    y = leaky(doubled(transposed(y, *of("deconv2"))) * first)
    return similar @ at["logits/kernel:0"], similar, np.tanh(transposed(y, *of("deconv3")))[..., 0]


@pytest.mark.parametrize("whole", [False, True])
def test_a_network_of_keras_gives_keras_numbers(tmp_path, whole):
    layers = weights()
    model = APNet.from_keras(write(tmp_path / "best.hdf5", layers, whole=whole), LABELS, low=LOW, high=HIGH)
    scaled = np.random.default_rng(1).uniform(-1, 1, size=(3, T, F))
    x = (scaled + 1) * (HIGH - LOW) / 2 + LOW
    expected = [forward(layers, one) for one in scaled]
    assert model.labels.tolist() == sorted(LABELS) and model.config.latent == (C, T // 4, F // 4)
    by_label = np.array([row[0] for row in expected])[:, np.argsort(LABELS)]
    np.testing.assert_allclose(model.similarities(x), [row[1] for row in expected], rtol=1e-4, atol=1e-6)
    assert np.ptp(model.similarities(x)) > 1e-3, "not all of them are 0"
    np.testing.assert_allclose(model.logits(x), by_label, rtol=1e-4, atol=1e-5)
    again = np.array([row[2] for row in expected])
    np.testing.assert_allclose(model.reconstruct(x), (again + 1) * (HIGH - LOW) / 2 + LOW, atol=1e-2)
    assert model.predict(x).predictions.tolist() == [LABELS[row[0].argmax()] for row in expected]


def test_seventeen_prototypes_are_saved_loaded_and_decoded(tmp_path):
    model = APNet.from_keras(write(tmp_path / "best.hdf5", weights()), LABELS, low=LOW, high=HIGH)
    assert len(model.classes) == 17 and model.decode().shape == (17, T, F)
    again = APNet.load(model.save(tmp_path / "kept"))
    x = np.random.default_rng(1).uniform(LOW, HIGH, size=(4, T, F))
    np.testing.assert_array_equal(again.logits(x), model.logits(x))
    assert again.labels.tolist() == model.labels.tolist() and again.decode(x).shape == (17, T, F)
    assert (again.low, again.high, again.history.empty) == (LOW, HIGH, True)


def test_a_layer_that_was_built_twice_has_a_number(tmp_path):
    layers = weights()
    plain = APNet.from_keras(write(tmp_path / "a.hdf5", layers), LABELS, low=LOW, high=HIGH)
    layers["encoder"] = [(name.replace("/", "_3/").replace(":0", "_1:0"), x) for name, x in layers["encoder"]]
    counted = APNet.from_keras(write(tmp_path / "b.hdf5", layers), LABELS, low=LOW, high=HIGH)
    x = np.random.default_rng(1).uniform(LOW, HIGH, size=(2, T, F))
    np.testing.assert_array_equal(counted.logits(x), plain.logits(x))


def test_what_does_not_fit_is_named(tmp_path, monkeypatch):
    path, layers = tmp_path / "w.hdf5", weights()
    read = lambda **given: APNet.from_keras(path, **{"labels": LABELS, "low": LOW, "high": HIGH} | given)  # noqa: E731
    with pytest.raises(WeightsError, match="w.hdf5: no such file"):
        read()
    path.write_bytes(b"no such format")
    with pytest.raises(WeightsError, match="w.hdf5: not a readable HDF5 file of Keras"):
        read()
    write(path, {name: arrays for name, arrays in layers.items() if name != "mean"})
    with pytest.raises(WeightsError, match="no APNet of Keras: frequency_weights are missing; it has decoder.0.bias"):
        read()
    write(path, {"dense_1": [("dense_1/kernel:0", np.zeros((3, 3)))]})
    with pytest.raises(WeightsError, match="it has no layer of an APNet"):
        read()
    write(path, layers | {"logits": [("logits/kernel:0", np.zeros((M + 1, CLASSES)))]})
    with pytest.raises(WeightsError, match=r"dense is of shape \(8, 18\), but \(8, 17\) is what goes with prototypes"):
        read()
    write(path, layers | {"mean": [("mean/prototype_feature_vectors:0", np.full((M, F // 4), np.nan))]})
    with pytest.raises(WeightsError, match="frequency_weights holds NaN or infinity"):
        read()
    write(path, layers)
    with pytest.raises(ParameterError, match=r"labels=\['a', 'b'\] must be 8 different ones, one an output"):
        read(labels=["a", "b"])
    with pytest.raises(ParameterError, match="labels=.* must be 8 different ones"):
        read(labels=["a"] * 8)
    with pytest.raises(ParameterError, match="high=-90.0 must be .*above -80"):
        read(high=-90.0)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DependencyError, match=r'h5py cannot be loaded.*pip install "audio-workbench\[keras\]"'):
        read()
