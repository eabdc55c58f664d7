"""Loudness, formants, spectrum and rhythm of known sounds, and what is undefined."""

import numpy as np
import pytest

from workbench.attributes import loudness_track
from workbench.attributes.formants import _predictor, formant_tracks
from workbench.attributes.loudness import _a_weighting
from workbench.attributes.voice import VOICE, voice
from workbench.core.errors import ParameterError

RATE = 16000


def tone(frequency, *, decibels=-20.0, seconds=1.0, rate=RATE):
    """A sine of this RMS level, dBFS."""
    return 10 ** (decibels / 20) * np.sqrt(2) * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def test_a_weighting_table():
    """IEC 61672-1, table 3 (rounded to 0.1 dB)."""
    nominal = {31.62: -39.4, 100: -19.1, 251.19: -8.6, 1000: 0.0, 1995.26: 1.2, 3981.07: 1.0, 7943.28: -1.1}
    for frequency, expected in nominal.items():
        assert 20 * np.log10(_a_weighting(frequency)) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_level_of_a_tone(rate):
    x = tone(1000, decibels=-20, rate=rate)
    for weighting in ("A", None):
        _, level = loudness_track(x, rate, weighting=weighting)
        np.testing.assert_allclose(level, -20, atol=0.05)
    _, level = loudness_track(tone(100, decibels=-20, rate=rate), rate)
    assert level.mean() == pytest.approx(-20 - 19.1, abs=0.6)


def test_level_of_noise_is_its_power():
    x = 0.1 * np.random.default_rng(0).standard_normal(10 * RATE)
    _, level = loudness_track(x, RATE, weighting=None)
    assert 10 * np.log10(np.mean(10 ** (level / 10))) == pytest.approx(-20, abs=0.1)


def test_level_over_time():
    x = np.concatenate([tone(1000, decibels=-40), tone(1000, decibels=-10)])
    times, level = loudness_track(x, RATE)
    np.testing.assert_allclose(level[times < 0.97], -40, atol=0.05)
    np.testing.assert_allclose(level[times > 1.03], -10, atol=0.05)


def test_loudness_of_silence_and_of_one_sample():
    assert loudness_track(np.zeros(RATE), RATE)[1].max() == -100
    times, level = loudness_track(np.ones(1), RATE)
    assert len(times) == len(level) == 1
    with pytest.raises(ParameterError, match="with at least one sample"):
        loudness_track(np.zeros(0), RATE)
    with pytest.raises(ParameterError, match="weighting='C' must be 'A' or None"):
        loudness_track(np.zeros(9), RATE, weighting="C")


def test_linear_prediction_recovers_an_autoregressive_process():
    from scipy.signal import lfilter

    a = np.array([1, -1.2, 0.9, -0.3])
    x = lfilter([1], a, np.random.default_rng(0).standard_normal(40000))
    np.testing.assert_allclose(_predictor(x[None], 3)[0], a, atol=0.03)


@pytest.mark.parametrize("vowel", [(280, 2250, 2900), (750, 1250, 2500), (500, 1500, 2500)])
@pytest.mark.parametrize("f0", [100, 180])
def test_formants_of_a_filtered_pulse_train(train, resonate, vowel, f0):
    """Frequencies to 6 % or half the distance of the harmonics' pull; bandwidths have the right size."""
    widths = (70, 90, 120, 200, 250)
    # half a glottal slope of -12 dB an octave stays once the lips have radiated, as the pre-emphasis expects
    x = resonate(train(f0, 2.0)[0], (0, 200), *zip((*vowel, 3500, 4500), widths, strict=True))
    x = np.append(0, np.diff(x))
    frequency, bandwidth = formant_tracks(x, RATE, at=np.linspace(0.2, 1.7, 100))
    np.testing.assert_allclose(np.nanmedian(frequency, 0), vowel, rtol=0.06, atol=0.12 * f0)
    assert (np.nanmedian(bandwidth, 0) < 4 * np.array(widths[:3])).all()


def test_all_attributes_of_a_vibrato_voice(glide, resonate):
    t = np.arange(3 * RATE) / RATE
    x = resonate(glide(220 * 2 ** (60 / 1200 * np.sin(2 * np.pi * 5.5 * t))), (0, 200), (600, 80), (1400, 100))
    x *= 0.1 / np.sqrt(np.mean(x**2))
    found = voice(x, RATE)
    assert list(found) == list(VOICE) and all(isinstance(value, float) for value in found.values())
    assert found["f0_median"] == pytest.approx(36, abs=0.1)  # 220 Hz: three octaves above 27.5 Hz
    assert found["f0_p80"] - found["f0_p20"] == found["f0_range"] == pytest.approx(2 * 0.6 * 0.809, rel=0.15)
    assert found["f0_rise"] == pytest.approx(4 * 0.6 * 5.5, rel=0.15)  # up by two extents in half a turn
    assert found["f0_rise"] == pytest.approx(found["f0_fall"], rel=0.05)
    assert found["vibrato_rate"] == pytest.approx(5.5, abs=0.15)
    assert found["level"] == pytest.approx(-20, abs=0.01)
    assert found["voiced_fraction"] > 0.97 and found["voiced_segments"] == pytest.approx(1 / 3, rel=0.05)
    assert found["f1_frequency"] == pytest.approx(600, rel=0.1)


def test_rate_changes_little():
    """The same sound at 44.1 kHz is heard at 16 kHz."""
    from workbench import audio

    x = tone(300, seconds=2) + 0.01 * np.random.default_rng(0).standard_normal(2 * RATE)
    here = voice(x, RATE)
    there = voice(audio.resample(x.astype(np.float32), RATE, 44100), 44100)
    assert there["f0_median"] == pytest.approx(here["f0_median"], abs=0.01)
    assert there["loudness_mean"] == pytest.approx(here["loudness_mean"], abs=0.1)


def test_rhythm_of_three_syllables(train):
    """Voice of 0.4 s three times, 0.2 s apart, with 0.2 s at the ends: 2 s in all."""
    syllable = train(200, 0.5)[0][: int(0.4 * RATE)]
    x = np.concatenate([np.pad(syllable, (int(0.2 * RATE), 0))] * 3 + [np.zeros(int(0.2 * RATE))])
    found = voice(x, RATE)
    assert found["voiced_segments"] == pytest.approx(1.5)
    assert found["voiced_length_mean"] == pytest.approx(0.4, abs=0.03)
    assert found["voiced_length_std"] < 0.02
    assert found["unvoiced_length_mean"] == pytest.approx(0.2, abs=0.04)
    assert found["loudness_peaks"] == pytest.approx(1.5)


def test_tremolo_has_its_rate_of_loudness_peaks():
    t = np.arange(4 * RATE) / RATE
    x = tone(440, seconds=4) * (1 + 0.5 * np.sin(2 * np.pi * 5 * t))
    assert voice(x, RATE)["loudness_peaks"] == pytest.approx(5, abs=0.3)


def test_spectral_shape_of_two_tones():
    """Equal tones in both bands: no ratio; the centroid lies between them; a steady sound has no flux."""
    found = voice(tone(500, seconds=2) + tone(3000, seconds=2), RATE)
    assert found["alpha_ratio"] == pytest.approx(0, abs=0.1)
    assert found["hammarberg_index"] == pytest.approx(0, abs=0.1)
    assert found["centroid_mean"] == pytest.approx(1750, rel=0.01)
    assert found["flux"] < 0.01
    louder = voice(tone(500, seconds=2) + tone(3000, decibels=-40, seconds=2), RATE)
    assert louder["alpha_ratio"] == pytest.approx(-20, abs=0.1)
    assert louder["hammarberg_index"] == pytest.approx(20, abs=0.1)


def test_spectral_slope_of_coloured_noise():
    """Noise that falls by 30 dB a kHz has this slope in both bands."""
    n = 8 * RATE
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(n))
    x = np.fft.irfft(spectrum * 10 ** (-30 * np.fft.rfftfreq(n, 1 / RATE) / 1000 / 20), n)
    found = voice(x / np.abs(x).max(), RATE)
    assert found["slope_500_1500"] == pytest.approx(-30, abs=1.5)
    assert found["slope_0_500"] == pytest.approx(-30, abs=8)  # the band is 16 bins wide, and its edge is the axis


def test_ten_times_louder_changes_loudness_and_little_else():
    x = tone(300, decibels=-40, seconds=2) + 0.005 * np.random.default_rng(0).standard_normal(2 * RATE)
    faint, loud = voice(x, RATE), voice(10 * x, RATE)
    for name, (family, _) in VOICE.items():
        shift = 20 if name in ("level", "loudness_mean", "loudness_p20", "loudness_p50", "loudness_p80") else 0
        np.testing.assert_allclose(loud[name] - shift, faint[name], atol=0.1, err_msg=f"{name} ({family})")


OF_VOICE = [name for name, (family, _) in VOICE.items() if family in ("pitch", "voice quality", "formants")]


@pytest.mark.parametrize(
    ("kind", "x"),
    [
        ("silence", np.zeros(RATE)),
        ("constant", np.full(RATE, 0.5)),
        ("unvoiced", 0.1 * np.random.default_rng(0).standard_normal(RATE)),
        ("shorter than a window", tone(440)[:500]),
        ("three samples", np.full(3, 0.1)),
        ("one sample", np.zeros(1)),
    ],
)
def test_what_is_undefined_is_nan(kind, x):
    found = voice(x, RATE)
    assert all(np.isnan(found[name]) for name in OF_VOICE)
    assert np.isfinite(found["level"]) and np.isfinite(found["loudness_mean"])
    assert found["voiced_fraction"] == 0 if len(x) == RATE else np.isnan(found["voiced_fraction"])
    if kind == "silence":
        assert found["level"] == found["loudness_mean"] == -100
        assert found["loudness_peaks"] == found["voiced_segments"] == 0
        assert np.isnan(found["alpha_ratio"]) and np.isnan(found["mfcc1_mean"])
    if kind == "unvoiced":
        assert np.isfinite(found["alpha_ratio"]) and np.isfinite(found["mfcc4_std"])


def test_every_attribute_is_documented():
    families = {"pitch", "formants", "voice quality", "loudness", "rhythm", "spectral", "MFCC"}
    assert {family for family, _ in VOICE.values()} == families
    assert len(VOICE) == 51 and all(len(meaning) > 15 for _, meaning in VOICE.values())
