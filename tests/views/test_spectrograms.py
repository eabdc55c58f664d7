"""Spectrograms: a tone lies where it belongs, a grid shares one level, wrong input is named."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.core.errors import AudioError, ParameterError
from workbench.views import spectrogram


# Slaney's scale has 15 steps to 1 kHz and 27 for each factor of 6.4 above.
@pytest.mark.parametrize(("mel", "place"), [(True, np.log(2) / np.log(6.4)), (False, 2 / 8)])
def test_spectrogram_puts_a_tone_where_it_belongs(mel, place):
    place = (15 + 27 * place) / (15 + 27 * np.log(8) / np.log(6.4)) if mel else place
    x = 0.5 * np.sin(2 * np.pi * 2000 * np.arange(16000) / 16000)
    figure = spectrogram(x, 16000, mel=mel)
    picture = figure.axes[0].images[0]
    shown = np.asarray(picture.get_array())
    assert np.argmax(shown.mean(axis=1)) / (shown.shape[0] - 1) == pytest.approx(place, abs=0.02)
    assert shown.max() == 0 and shown.min() >= -80
    assert picture.get_extent()[:2] == [0, 1]
    axis = figure.axes[0]
    ticks = dict(zip([t.get_text() for t in axis.get_yticklabels()], axis.get_yticks(), strict=True))
    assert ticks["2"] / (shown.shape[0] - 1) == pytest.approx(place, abs=0.01)


def test_spectrogram_refuses():
    with pytest.raises(AudioError, match=r"shape \(2, 4\)"):
        spectrogram(np.zeros((2, 4)), 8000)
    with pytest.raises(AudioError, match="clip: 1 of 2 samples"):
        spectrogram(np.array([0, np.nan]), 8000, title="clip")
    with pytest.raises(ParameterError, match="f_max=9000"):
        spectrogram(np.zeros(100), 8000, f_max=9000)


def test_a_dictionary_shows_each_component_at_its_frequency():
    from workbench.views import dictionary_picture

    w = np.full((513, 3), 1e-6)
    for k, hz in enumerate((500, 2000, 7000)):
        w[round(hz / 8000 * 512), k] = 0.5 + k
    figure = dictionary_picture(w, 16000, title="W")
    picture = figure.axes[0].images[0].get_array()
    ticks = dict(
        zip([t.get_text() for t in figure.axes[0].get_yticklabels()], figure.axes[0].get_yticks(), strict=True)
    )
    strongest = picture.argmax(0)
    assert (picture.max(0) > -0.5).all() and (np.diff(strongest) > 0).all()
    assert abs(strongest[0] - ticks["0.5"]) <= 2 and abs(strongest[1] - ticks["2"]) <= 2
    with pytest.raises(ParameterError, match=r"components='array of shape \(513,\)' must be \(F, K\)"):
        dictionary_picture(w[:, 0], 16000)


def test_silence_is_dark_and_says_so():
    figure = spectrogram(np.zeros(8000, np.float32), 8000)
    assert figure.axes[0].images[0].get_array().max() < -79.9
    assert "silent" in figure.axes[1].get_ylabel()
