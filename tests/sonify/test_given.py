"""Prototypes that somebody else chose: sounds in folders, and vectors with names beside them."""

import numpy as np
import pytest

from workbench import audio
from workbench.core.errors import DatasetError, ParameterError
from workbench.sonify import load_autoencoder, prototypes_from


@pytest.fixture(scope="module")
def model():
    return load_autoencoder("mini-mel", device="cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))


def test_a_folder_of_sounds_gives_their_vectors_and_themselves(model, tmp_path):
    sounds = {}
    for k, (name, seconds) in enumerate([("flute/a", 1.0), ("flute/b", 2.0), ("piano/c", 3.5)]):
        x = 0.2 * np.sin(np.arange(round(seconds * 16000)) * (0.05 + 0.03 * k)).astype(np.float32)
        file = tmp_path / "own" / f"{name}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        audio.write(file, x, 16000)
        sounds[name] = audio.load(file)[0]
    z, classes, heard = prototypes_from(tmp_path / "own", model)
    assert classes.tolist() == ["flute", "flute", "piano", "piano"], "3.5 s are two windows of 2 s"
    windows = [sounds["flute/a"], sounds["flute/b"], sounds["piano/c"][:32000], sounds["piano/c"][32000:]]
    np.testing.assert_allclose(z, model.embed(windows, 16000).numpy(), atol=1e-4)
    assert heard.shape == (4, model.samples) and heard.dtype == np.float32
    np.testing.assert_allclose(heard[1], audio.at_level(windows[1], model.level), atol=1e-6)


def test_a_file_of_vectors_takes_its_names_from_beside_it(model, tmp_path):
    own = np.random.default_rng(0).normal(size=(3, model.dim))
    np.save(tmp_path / "own.npy", own)
    (tmp_path / "own.txt").write_text("piano\nflute\nhigh flute\n")
    z, classes, heard = prototypes_from(tmp_path / "own.npy", model)
    np.testing.assert_array_equal(z, own.astype(np.float32))
    assert classes.tolist() == ["piano", "flute", "high flute"] and heard is None


@pytest.mark.parametrize(
    ("array", "names", "message"),
    [
        (np.zeros((3, 256)), None, "beside it, the class of each row, one a line"),
        (np.zeros((3, 255)), "a\nb\nc", r"float64 of shape \(3, 255\)' must be an array of numbers \(M, 256\)"),
        (np.zeros(256), "a", r"of shape \(256,\)"),
        (np.zeros((0, 256)), "", r"of shape \(0, 256\)"),
        (np.array([["a"] * 256]), "a", "<U1 of shape"),
        (np.full((2, 256), 1e300), "a\nb", "NaN or infinite in row 0"),
        (np.zeros((3, 256)), "a\nb", "own.txt of 2 lines' must be 3 names of classes, one a line"),
        (np.zeros((3, 256)), "a\n\nc", "own.txt of 3 lines' must be 3 names"),
        (np.array([{}, {}]), "a\nb", "an array of numbers .*allow_pickle=False"),
        (b"no array", "a", "an array of numbers"),
    ],
)
def test_vectors_that_cannot_be_prototypes_are_named(model, tmp_path, array, names, message):
    file = tmp_path / "own.npy"
    file.write_bytes(array) if isinstance(array, bytes) else np.save(file, array)
    if names is not None:
        (tmp_path / "own.txt").write_text(names)
    with pytest.raises(ParameterError, match=message):
        prototypes_from(file, model)


def test_what_is_not_there_is_named(model, tmp_path):
    with pytest.raises(ParameterError, match="absent.npy' must be an array of numbers"):
        prototypes_from(tmp_path / "absent.npy", model)
    with pytest.raises((ParameterError, DatasetError), match="absent"):
        prototypes_from(tmp_path / "absent", model)
    with pytest.raises(ParameterError, match="autoencoder='str' must be a SummaryAutoencoder"):
        prototypes_from(tmp_path, "mini-mel")
