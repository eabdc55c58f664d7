"""Rhythm, harmony and timbre of sounds that are known, and what is undefined."""

import os
from pathlib import Path

import numpy as np
import pytest

from workbench import audio
from workbench.attributes import measure
from workbench.attributes.music import MUSIC, RATE, TONES, music
from workbench.datasets import Clips, load_dataset

DATA = Path(os.environ.get("WORKBENCH_DATA", "")) / "philharmonia"


def clicks(beats, seconds=6.0) -> np.ndarray:
    """Bursts of noise of 50 ms, so many a minute."""
    rng, x = np.random.default_rng(0), np.zeros(int(seconds * RATE))
    burst = 0.5 * rng.standard_normal(1100) * np.exp(-np.arange(1100) / 90)
    for start in np.arange(0, seconds - 0.05, 60 / beats):
        place = int(start * RATE)
        x[place : place + len(burst)] += burst
    return x


def chord(*notes, seconds=0.5) -> np.ndarray:
    """Struck notes (MIDI numbers) with seven harmonics each."""
    t = np.arange(int(seconds * RATE)) / RATE
    frequencies = 440 * 2 ** ((np.array(notes) - 69) / 12)
    return 0.05 * sum(np.sin(2 * np.pi * f * k * t) / k for f in frequencies for k in range(1, 8)) * np.exp(-3 * t)


def cadence(*chords, up=0) -> np.ndarray:
    return np.concatenate([chord(*(note + up for note in notes)) for notes in chords * 2])


D_MAJOR = ((62, 66, 69), (67, 71, 74), (69, 73, 76), (62, 66, 69))
B_MINOR = ((59, 62, 66), (64, 67, 71), (66, 70, 73), (59, 62, 66))


def tone(frequency, seconds=2.0) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


def noise(seconds=2.0) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(int(seconds * RATE))


def fifths(found) -> int:
    """Steps from C up the circle of fifths."""
    return round(np.degrees(np.arctan2(found["key_sin"], found["key_cos"])) / 30) % 12


@pytest.mark.parametrize("beats", [60, 90, 120, 150])
def test_tempo_and_onsets_of_clicks(beats):
    found = music(clicks(beats), RATE)
    assert found["tempo"] == pytest.approx(beats, rel=0.01) and found["tempo_strength"] > 0.9
    assert found["onset_rate"] == pytest.approx(beats / 60, abs=0.01)


def test_a_fast_pulse_is_heard_at_half_its_tempo():
    """The weight towards 120 beats a minute decides between a tempo and its half."""
    assert music(clicks(200), RATE)["tempo"] == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("up", [0, 1, 5])
@pytest.mark.parametrize(("chords", "tonic", "sign"), [(D_MAJOR, 2, 1), (B_MINOR, 5, -1)])
def test_key_of_a_cadence(chords, tonic, sign, up):
    found = music(cadence(*chords, up=up), RATE)
    assert fifths(found) == (tonic + 7 * up) % 12
    assert sign * found["mode"] > 0.05 and found["key_strength"] > 0.75
    assert found["tempo"] == pytest.approx(120, rel=0.01)
    assert np.hypot(found["key_cos"], found["key_sin"]) == pytest.approx(1)


@pytest.mark.parametrize("cents", [-30, 0, 40])
def test_chroma_of_a_mistuned_tone(cents):
    found = music(tone(440 * 2 ** (cents / 1200)), RATE)
    assert found["tuning"] == pytest.approx(cents, abs=3)
    shares = [found[f"chroma_{name}"] for name in TONES]
    assert sum(shares) == pytest.approx(1) and np.argmax(shares) == 9 and shares[9] > 0.7
    assert found["chroma_entropy"] == pytest.approx(-sum(s * np.log2(s) for s in shares if s > 0), abs=1e-6)
    assert found["onset_rate"] == 0.5 and np.isnan(found["tempo"])


def test_chroma_of_noise_is_even():
    assert music(noise(), RATE)["chroma_entropy"] > 3.5


def test_brightness_is_the_frequency_of_a_tone_and_follows_a_glide():
    for frequency in (500, 2000):
        found = music(tone(frequency), RATE)
        assert found["brightness"] == pytest.approx(frequency, rel=0.01) and found["brightness_spread"] < 5
        assert found["rolloff"] == pytest.approx(frequency, abs=22) and found["bandwidth"] < 30
        assert found["zero_crossings"] == pytest.approx(2 * frequency, rel=0.01) and found["flatness"] < 1e-3
    t = np.arange(4 * RATE) / RATE
    glide = music(0.1 * np.sin(2 * np.pi * np.cumsum(500 + 500 * t) / RATE), RATE)  # evenly from 500 to 2500 Hz
    assert glide["brightness"] == pytest.approx(1500, rel=0.02)
    assert glide["brightness_spread"] == pytest.approx(2000 / np.sqrt(12), rel=0.03)


def test_spectrum_of_white_noise():
    """Even up to 11025 Hz; the flatness of a periodogram's exponential values is exp(-0.5772)."""
    found = music(noise(5.0), RATE)
    assert found["brightness"] == pytest.approx(RATE / 4, rel=0.01)
    assert found["bandwidth"] == pytest.approx(RATE / 2 / np.sqrt(12), rel=0.01)
    assert found["rolloff"] == pytest.approx(0.85 * RATE / 2, rel=0.01)
    assert found["flatness"] == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)


def test_brightness_counts_loud_frames_for_more():
    """A tone and 20 dB below it one of four times the frequency, as long: 100 to 1."""
    found = music(np.concatenate([tone(500), 0.1 * tone(2000)]), RATE)
    assert found["brightness"] == pytest.approx((100 * 500 + 2000) / 101, rel=0.02)


def test_harmonic_over_percussive():
    ratios = [music(x, RATE)["harmonic_percussive_ratio"] for x in (clicks(120), noise(), tone(440))]
    assert ratios[0] < -20 and abs(ratios[1]) < 1 and ratios[2] > 20


def test_loudness_crest_and_range():
    found = music(tone(997, 3.0) * 10, RATE)  # a sine of full scale
    assert found["loudness"] == pytest.approx(-3.01, abs=0.05) and found["crest"] == pytest.approx(3.01, abs=0.01)
    assert found["dynamic_range"] < 0.1
    steps = np.concatenate([tone(997, 3.0), 0.1 * tone(997, 3.0)])
    assert music(steps, RATE)["dynamic_range"] == pytest.approx(20, abs=0.1)


def test_ten_times_louder_changes_loudness_alone():
    x = cadence(*D_MAJOR)
    faint, loud = music(0.1 * x, RATE), music(x, RATE)
    for name in MUSIC:
        assert loud[name] - (20 if name == "loudness" else 0) == pytest.approx(faint[name], rel=1e-3, abs=1e-3), name


def test_rate_changes_little():
    x = cadence(*D_MAJOR)
    here, there = music(x, RATE), music(audio.resample(x.astype(np.float32), RATE, 44100), 44100)
    for name in ("tempo", "key_strength", "key_cos", "brightness", "chroma_d", "harmonic_percussive_ratio"):
        assert there[name] == pytest.approx(here[name], rel=0.02), name


HARMONY = [name for name, (family, _) in MUSIC.items() if family == "harmony"]


@pytest.mark.parametrize("x", [np.zeros(RATE), np.full(RATE, 0.5), np.ones(1), np.full(3, 0.1)])
def test_silence_has_nothing(x):
    found = music(x, RATE)
    assert list(found) == list(MUSIC) and np.isnan(list(found.values())).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [2, 50, 1000, 8000, 8820, 60000])
def test_short_sounds_have_no_tempo_nor_key(samples):
    found = music(noise(3.0)[:samples], RATE)
    assert np.isnan(found["tempo"]) and np.isfinite(found["brightness"]) and np.isfinite(found["onset_rate"])
    assert np.isnan([found[name] for name in HARMONY]).all() == (samples < 8820)


def test_tempo_stays_within_its_bounds():
    tempi = [music(clicks(beats), RATE)["tempo"] for beats in (42, 45, 230, 240, 300)]
    assert min(tempi) >= 40 and max(tempi) <= 240


def test_no_tempo_below_three_seconds():
    assert np.isnan(music(clicks(120, 2.9), RATE)["tempo"]) and np.isfinite(music(clicks(120, 3.1), RATE)["tempo"])


def test_every_attribute_is_documented():
    assert {family for family, _ in MUSIC.values()} == {"rhythm", "harmony", "spectral", "loudness"}
    assert len(MUSIC) == 31 and all(len(meaning) > 15 for _, meaning in MUSIC.values())


def test_the_set_music():
    clips = Clips.from_arrays([x.astype(np.float32) for x in (tone(440), np.zeros(RATE))], RATE)
    for _ in range(2):
        found = measure(clips, set="music", progress=False)
        assert found.set == "music" and found.names == tuple(MUSIC) and found.families["tempo"] == "rhythm"
        assert found.table["brightness"].iloc[0] == pytest.approx(440, rel=0.01)
        assert np.isnan(found.values[1]).all()


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the Philharmonia notes under WORKBENCH_DATA")
def test_recorded_notes_have_the_chroma_of_their_name():
    clips = load_dataset("philharmonia").where(duration="1", articulation="normal", dynamic="forte").sample(20, seed=0)
    found = measure(clips, set="music", progress=False).table
    strongest = found[[f"chroma_{name}" for name in TONES]].to_numpy().argmax(1)
    assert np.mean(strongest == clips.table["midi"].to_numpy(int) % 12) >= 0.8
    assert (found["harmonic_percussive_ratio"].median() > 0) and found["tempo"].isna().mean() > 0.5
