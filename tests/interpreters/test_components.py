"""Explanations by what a decision loses without a component, on a classifier whose answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from workbench import ParameterError
from workbench.interpreters import Classifier, Spectra, dictionary_of, explain_components

RATE, SPECTRA = 8000, Spectra(rate=8000, n_fft=256, hop=128)


class Bands(nn.Module):
    """Class 0 scores the energy below 1 kHz, class 1 that above 2 kHz."""

    def forward(self, x):
        power = torch.fft.rfft(x).abs().square() / x.shape[1] ** 2
        pitch = torch.fft.rfftfreq(x.shape[1], 1 / RATE)
        return torch.stack([power[:, pitch < 1000].sum(1), power[:, pitch > 2000].sum(1)], 1)


def tone(pitch: float, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(RATE * seconds)) / RATE).astype(np.float32)


@pytest.fixture(scope="module")
def judge():
    return Classifier(Bands(), rate=RATE, classes=["low", "high"], device="cpu")


@pytest.fixture(scope="module")
def dictionary():
    sounds = [tone(pitch, seconds) for pitch, seconds in ((500, 1.0), (3000, 0.7), (500, 0.4), (3000, 1.0))]
    return dictionary_of([*sounds, np.zeros(800, np.float32)], SPECTRA, components=2, seed=0, progress=False)


def test_the_dictionary_finds_what_sounds_are_made_of_and_sorts_it(dictionary):
    assert dictionary.shape == (129, 2) and dictionary.dtype == np.float32
    assert np.allclose(np.linalg.norm(dictionary, axis=0), 1, atol=1e-5)
    assert (dictionary.argmax(0) * RATE / 256).tolist() == [500.0, 3000.0]
    again = dictionary_of([tone(500), tone(3000)], SPECTRA, components=40, frames=10, seed=0, progress=False)
    assert again.shape[1] <= 10  # no more than there are frames


def test_the_component_that_a_class_lives_on_is_found(judge, dictionary):
    both = tone(500) + 0.3 * tone(3000)
    first, short = explain_components(judge, [both, 0.2 * tone(500, 0.5) + tone(3000, 0.5)], dictionary,
                                      spectra=SPECTRA, progress=False)  # fmt: skip
    assert (first.name, short.name) == ("low", "high")
    assert first.relevance[0] == 1 and abs(first.relevance[1]) < 0.05
    assert short.relevance[1] == 1 and abs(short.relevance[0]) < 0.05
    (asked,) = explain_components(judge, [both], dictionary, classes=[1], spectra=SPECTRA, progress=False)
    assert asked.name == "high" and asked.ranked[0] == 1
    without = judge.logits(first.removed(0.5)[None])[0]
    lost = first.weights.numpy()[0]
    assert lost == pytest.approx(first.logits[0] - without[0], rel=0.02)  # what it is said to lose is what it loses
    assert first.scores[0] == pytest.approx(first.weights.sum().item(), rel=1e-5)


def test_a_silent_component_loses_nothing(judge, dictionary):
    (only,) = explain_components(judge, [tone(500)], np.pad(dictionary, ((0, 0), (0, 1)), constant_values=1e-3),
                                 spectra=SPECTRA, progress=False)  # fmt: skip
    quiet = ~only.activations.any(1).numpy()
    assert quiet.any() and (only.weights.numpy()[quiet] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": []}, "x='list' must be waveforms"),
        ({"x": [np.full(800, np.nan, np.float32)]}, "finite"),
        ({"dictionary": np.ones((3, 2))}, r"dictionary.shape=\(3, 2\) must be \(129, K\)"),
        ({"dictionary": -np.ones((129, 2))}, "dictionary"),
        ({"classes": [2]}, "classes"),
        ({"sparsity": -1}, "sparsity=-1"),
    ],
)
def test_what_cannot_be_explained_is_refused(judge, dictionary, change, message):
    options = {"x": [tone(500)], "dictionary": dictionary, "spectra": SPECTRA, "progress": False} | change
    with pytest.raises(ParameterError, match=message):
        explain_components(judge, options.pop("x"), options.pop("dictionary"), **options)


def test_a_dictionary_of_silence_is_refused():
    with pytest.raises(ParameterError, match="x='2 clips of silence' must be sound to learn components from"):
        dictionary_of(np.zeros((2, 800), np.float32), SPECTRA, progress=False)
    with pytest.raises(ParameterError, match="spectra"):
        dictionary_of([tone(500)], None)
