"""Praat's figures of voices that are known, beside this package's own."""

import numpy as np
import pytest

from workbench.attributes import measure, praat
from workbench.attributes.praat import PRAAT
from workbench.attributes.voice import VOICE, voice
from workbench.core.errors import ParameterError
from workbench.datasets import Clips

RATE = 16000


def test_without_parselmouth(monkeypatch):
    monkeypatch.setattr(praat, "installed", lambda: False)
    clips = Clips.from_arrays([np.zeros(RATE, np.float32)], RATE)
    with pytest.raises(
        ParameterError, match=r'set=.praat. must be "voice", or .*pip install "audio-workbench\[praat\]"'
    ):
        measure(clips, set="praat")


def test_names_and_families_are_those_of_the_set_voice():
    assert set(PRAAT) <= set(VOICE)
    assert all(VOICE[name][0] == family for name, (family, _) in PRAAT.items())


def test_a_vowel_with_jitter_and_shimmer(train, resonate):
    """Formants 6 % or half a harmonic; jitter and shimmer of the pulses that were laid down."""
    pytest.importorskip("parselmouth")
    x, periods, amplitudes = train(110, 2.0, jitter=0.01, shimmer=0.05)
    x = np.append(0, np.diff(resonate(x, (0, 200), (500, 80), (1500, 90), (2500, 120), (3500, 200), (4500, 250))))
    x = 0.1 * x / np.abs(x).max()
    theirs, ours = praat.praat(x, RATE), voice(x, RATE)
    assert list(theirs) == list(PRAAT)
    for found in (theirs, ours):
        assert found["f0_median"] == pytest.approx(24, abs=0.2)  # 110 Hz
        frequencies = [found[f"f{n}_frequency"] for n in (1, 2, 3)]
        np.testing.assert_allclose(frequencies, (500, 1500, 2500), rtol=0.06, atol=0.12 * 110)
        assert found["level"] == pytest.approx(20 * np.log10(np.sqrt(np.mean(x**2))), abs=0.01)
        assert found["voiced_fraction"] > 0.95
        true = 100 * np.abs(np.diff(periods)).mean() / periods.mean()
        assert found["jitter"] == pytest.approx(true, rel=0.35)
        # before what rings on from one period into the next
        assert 0.2 < found["shimmer"] / np.abs(20 * np.diff(np.log10(amplitudes))).mean() < 1.3


@pytest.mark.parametrize("samples", [1, 100, 1599])
def test_what_is_undefined_is_nan(samples):
    pytest.importorskip("parselmouth")
    x = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    for sound in (x, x[:samples], np.zeros(RATE)):
        found = praat.praat(sound, RATE)
        rest = [value for name, value in found.items() if name not in ("level", "voiced_fraction")]
        assert np.isnan(rest).all() and np.isfinite(found["level"])
    assert found["level"] == -100 and found["voiced_fraction"] == 0


def test_no_length_fails():
    pytest.importorskip("parselmouth")
    x = 0.1 * np.sign(np.sin(2 * np.pi * 150 * np.arange(RATE) / RATE))
    for samples in range(1600, 4000, 300):
        assert np.isfinite(praat.praat(x[:samples], RATE)["f0_median"])


def test_the_set_praat():
    pytest.importorskip("parselmouth")
    t = np.arange(RATE) / RATE
    sounds = [0.1 * sum(np.sin(2 * np.pi * 220 * n * t) / n for n in range(1, 12)), np.zeros(RATE)]
    clips = Clips.from_arrays([x.astype(np.float32) for x in sounds], RATE)
    for _ in range(2):
        found = measure(clips, set="praat", progress=False)
        assert found.set == "praat" and found.table["f0_median"].iloc[0] == pytest.approx(36, abs=0.01)
        assert found.table["f0_median"].isna().tolist() == [False, True]
