"""Pitch, harmonicity, jitter, shimmer and vibrato of sounds that have known ones."""

import numpy as np
import pytest

from workbench.attributes import pitch_track
from workbench.attributes.pitch import cycles, harmonicity, perturbation, semitones, vibrato
from workbench.core.errors import ParameterError

RATE = 16000


@pytest.mark.parametrize("f0", [80, 110, 220, 440, 880, 1200])
def test_pulse_train(train, f0):
    x, _, _ = train(f0)
    times, found, strength = pitch_track(x, RATE)
    inner = slice(5, -10)
    np.testing.assert_allclose(found[inner], f0, rtol=0.0005)  # 0.9 cents
    assert strength[inner].min() > 0.98  # 3 periods a window are few: no more at 80 Hz, 0.9999 above 200 Hz
    np.testing.assert_allclose(np.diff(times), 0.01)


def test_pure_tone_at_another_rate():
    t = np.arange(2 * 44100) / 44100
    _, found, strength = pitch_track(np.sin(2 * np.pi * 311.127 * t), 44100)
    np.testing.assert_allclose(found, 311.127, rtol=1e-4)
    assert strength.min() > 0.999


def test_missing_fundamental(train):
    """Harmonics 4 to 9 of 200 Hz have the pitch of 200 Hz."""
    t = np.arange(RATE) / RATE
    x = sum(np.cos(2 * np.pi * 200 * n * t + n) for n in range(4, 10))
    _, found, _ = pitch_track(x, RATE)
    np.testing.assert_allclose(found, 200, rtol=0.001)


def test_glide(glide):
    """One octave in two seconds is followed to 5 cents."""
    t = np.arange(2 * RATE) / RATE
    times, found, _ = pitch_track(glide(200 * 2 ** (t / 2)), RATE)
    inner = slice(5, -10)
    cents = 1200 * np.log2(found[inner] / (200 * 2 ** (times[inner] / 2)))
    assert np.abs(cents).max() < 5


def test_level_does_not_matter(train):
    x, _, _ = train(150, 1.0)
    _, loud, _ = pitch_track(x, RATE)
    _, faint, _ = pitch_track(1e-3 * x, RATE)
    np.testing.assert_allclose(loud[:-2], faint[:-2], rtol=1e-5)


@pytest.mark.parametrize("snr", [0, 10, 20])
def test_harmonics_to_noise_ratio_is_that_of_the_mixture(resonate, train, snr):
    """White noise has no correlation at the period, so that r = signal / (signal + noise) exactly."""
    x = resonate(train(200, 4.0)[0], (500, 80))[800:-1600]
    noise = np.random.default_rng(0).standard_normal(len(x))
    x = x + noise * np.sqrt(np.mean(x.astype(float) ** 2) / 10 ** (snr / 10))
    _, found, strength = pitch_track(x, RATE)
    assert np.isfinite(found).mean() > 0.9
    assert abs(np.mean(harmonicity(strength[np.isfinite(found)])) - snr) < 1.0


def test_noise_and_silence_are_unvoiced():
    noise = np.random.default_rng(0).standard_normal(2 * RATE)
    assert np.isfinite(pitch_track(0.1 * noise, RATE)[1]).mean() < 0.02
    for silence in (np.zeros(RATE), np.full(RATE, 0.3)):
        assert not np.isfinite(pitch_track(silence, RATE)[1]).any()


def test_onset_and_end_are_found(train):
    """A second of voice between two of silence is voiced to within three frames at each end."""
    x, _, _ = train(200, 1.0)
    times, found, _ = pitch_track(np.pad(x, RATE), RATE)
    voiced = times[np.isfinite(found)]
    assert abs(voiced[0] - 1.0) < 0.03 and abs(voiced[-1] - 2.0) < 0.03


def test_shorter_than_a_window():
    times, found, strength = pitch_track(np.ones(700), RATE)
    assert len(times) == len(found) == len(strength) == 0


def test_long_sound_equals_its_parts():
    """Frames are analysed in blocks; where blocks meet nothing changes."""
    t = np.arange(25 * RATE) / RATE
    x = np.sin(2 * np.pi * 100 * 2 ** (t / 12) * t)
    whole = pitch_track(x, RATE)[1]
    assert len(whole) > 2048
    parts = pitch_track(x[: 4 * RATE], RATE)[1]
    np.testing.assert_allclose(whole[: len(parts) - 1], parts[:-1], rtol=1e-3)


def test_wrong_arguments_are_named():
    with pytest.raises(ParameterError, match=r"f_min, f_max=\(60.0, 9000\) must be rising and within 0 to 8000 Hz"):
        pitch_track(np.zeros(RATE), RATE, f_max=9000)
    with pytest.raises(ParameterError, match=r"x='array of shape \(2, 9\)' must be a waveform"):
        pitch_track(np.zeros((2, 9)), RATE)
    with pytest.raises(ParameterError, match="hop=1e-06 must be at least one sample"):
        pitch_track(np.zeros(RATE), RATE, hop=1e-6)


@pytest.mark.parametrize("f0", [90, 150, 300])
@pytest.mark.parametrize("jitter", [0.0, 0.005, 0.02])
def test_jitter_and_shimmer(train, resonate, f0, jitter):
    """Of pulses that die away within a period: to 8 %, and to 0.03 % and 0.03 dB where there is none."""
    x, periods, amplitudes = train(f0, 3.0, jitter=jitter, shimmer=5 * jitter)
    x = np.diff(resonate(x, (0, 600)))  # as radiated: without a constant part
    times, found, _ = pitch_track(x, RATE)
    got_jitter, got_shimmer = perturbation(cycles(x, RATE, times, found))
    true_jitter = 100 * np.abs(np.diff(periods)).mean() / periods.mean()
    true_shimmer = np.abs(20 * np.log10(amplitudes[1:] / amplitudes[:-1])).mean()
    assert got_jitter == pytest.approx(true_jitter, rel=0.08, abs=0.03)
    assert got_shimmer == pytest.approx(true_shimmer, rel=0.08, abs=0.03)


def test_ringing_resonances_smooth_jitter(train, resonate):
    """The documented limit: where a formant rings on into the next period, less jitter is seen than there is."""
    seen = {}
    for f0 in (90, 300):
        x, periods, _ = train(f0, 3.0, jitter=0.01)
        x = np.diff(resonate(x, (0, 200), (600, 80), (1400, 100)))
        times, found, _ = pitch_track(x, RATE)
        jitter, _ = perturbation(cycles(x, RATE, times, found))
        seen[f0] = jitter / (100 * np.abs(np.diff(periods)).mean() / periods.mean())
    assert seen[90] == pytest.approx(1, abs=0.05)
    assert 0.3 < seen[300] < 0.6


def test_every_cycle_is_found(train, resonate):
    x, periods, _ = train(200, 3.0, jitter=0.01)
    x = np.diff(resonate(x, (0, 600)))  # as radiated: without a constant part
    times, found, _ = pitch_track(x, RATE)
    lengths, amplitudes = max(cycles(x, RATE, times, found), key=lambda run: len(run[0]))
    assert len(amplitudes) == len(lengths) + 1
    assert abs(len(lengths) - len(periods)) < 8  # the half window at each end
    errors = [np.abs(periods[first : first + 80] - lengths[5:85]).mean() for first in range(6, 16)]
    assert min(errors) < 0.02 * 0.01 / 200  # a fiftieth of the jitter: each is the period of its own cycle


def test_perturbation_of_nothing_is_undefined():
    assert np.isnan(perturbation([])).all()


@pytest.mark.parametrize(("rate", "extent"), [(4.5, 30), (5.7, 60), (7.0, 120)])
def test_vibrato(glide, resonate, rate, extent):
    """Rate to 0.15 Hz; extent to 15 % (a pitch track averages over its window of 50 ms)."""
    t = np.arange(3 * RATE) / RATE
    x = resonate(glide(220 * 2 ** (extent / 1200 * np.sin(2 * np.pi * rate * t))), (0, 200), (600, 80))
    _, f0, _ = pitch_track(x, RATE)
    found = vibrato(f0, hop=0.01)
    assert found[0] == pytest.approx(rate, abs=0.15)
    assert 0.85 * extent < found[1] < 1.02 * extent


def test_no_vibrato(train, glide):
    _, f0, _ = pitch_track(train(220, 2.0)[0], RATE)
    assert vibrato(f0, hop=0.01)[1] < 0.5
    t = np.arange(2 * RATE) / RATE
    _, f0, _ = pitch_track(glide(200 * 2 ** (t / 4)), RATE)
    assert vibrato(f0, hop=0.01)[1] < 1.5  # a straight glide has none either
    assert np.isnan(vibrato(np.full(30, 220.0), hop=0.01)).all()  # too short to say


def test_semitones():
    np.testing.assert_allclose(semitones(np.array([27.5, 55, 440])), [0, 12, 48])
