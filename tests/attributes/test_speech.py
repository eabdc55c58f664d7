"""Loudness against its standard, and the factors of speech against generated utterances of which each is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from workbench.attributes.loudness import _k_weighting, integrated_loudness
from workbench.attributes.measuring import measure
from workbench.attributes.speech import SPEECH, SPEECH_PAPER, _speech_pitch, speech, speech_paper
from workbench.core.errors import ParameterError
from workbench.datasets import load_dataset
from workbench.datasets.generated import utterances

RATE = 16000
GOLDEN = json.loads((Path(__file__).parent / "speech.json").read_text())


def sine(frequency, seconds, rate, amplitude=1.0):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.fixture(scope="module")
def recipes():
    return [utterances.recipe(row) for _, row in utterances.table(30, seed=5).iterrows()]


@pytest.fixture(scope="module")
def measured(recipes):
    """Both ways: name of the factor -> values (30,)."""
    sounds = [utterances.render(recipe) for recipe in recipes]
    found = {way: [way(x, utterances.RATE) for x in sounds] for way in (speech, speech_paper)}
    return {way: {name: np.array([row[name] for row in rows]) for name in rows[0]} for way, rows in found.items()}


def true(recipes, name):
    return np.array([getattr(recipe, name) for recipe in recipes])


def test_filters_are_those_of_the_standard():
    np.testing.assert_allclose(_k_weighting(48000), GOLDEN["k_weighting_48000"], rtol=1e-9)


def test_loudness_of_a_sine():
    x = sine(997, 3, 48000)
    assert integrated_loudness(x, 48000) == pytest.approx(GOLDEN["sine_997"]["full_scale_48000"], abs=0.005)
    louder = integrated_loudness(2 * x, 48000) - integrated_loudness(x, 48000)
    assert louder == pytest.approx(GOLDEN["sine_997"]["gain_2"], abs=1e-4)
    for rate in (16000, 22050, 44100):
        assert integrated_loudness(sine(997, 3, rate), rate) == pytest.approx(-3.01, abs=0.05)
        assert integrated_loudness(sine(60, 3, rate), rate) == pytest.approx(-6.602, abs=0.005)


@pytest.mark.parametrize("case", GOLDEN["gates"])
def test_gates(case):
    parts = [sine(1000, s, RATE, 10 ** (db / 20)) for db, s in zip(case["levels"], case["seconds"], strict=True)]
    assert integrated_loudness(np.concatenate(parts), RATE) == pytest.approx(case["loudness"] - 3.01, abs=0.1)


def test_loudness_of_short_and_silent_sound():
    assert integrated_loudness(sine(997, 0.1, 48000), 48000) == pytest.approx(-3.01, abs=0.2)
    assert np.isfinite(integrated_loudness(np.array([0.5]), RATE))
    assert np.isnan(integrated_loudness(np.zeros(RATE), RATE))
    assert np.isnan(integrated_loudness(sine(997, 1, RATE, 10 ** (-68 / 20)), RATE))
    with pytest.raises(ParameterError, match=r"x='array of shape \(0,\)' must be a waveform"):
        integrated_loudness(np.zeros(0), RATE)
    with pytest.raises(ParameterError, match="rate=4000 must be a whole number, 8000 or more"):
        integrated_loudness(np.zeros(4000), 4000)


def test_loudness_of_torchaudio_clips_and_reads_low():
    import torch
    from torchaudio.functional import loudness

    x = torch.from_numpy(sine(997, 3, 48000))[None]
    golden = GOLDEN["torchaudio_997_48000"]
    assert float(loudness(x, 48000)) == pytest.approx(golden["full_scale"], abs=0.002)
    assert float(loudness(0.5 * x, 48000)) == pytest.approx(golden["half"], abs=0.002)


def test_pulse_train(train):
    x = 0.1 * train(200, 2.0)[0]
    found, paper = speech(x, RATE), speech_paper(x, RATE)
    assert found["pitch_median"] == pytest.approx(200, rel=1e-3) and found["pitch_spread"] < 0.02
    assert abs(RATE / paper["pitch_median"] - 80) <= 1  # one lag
    assert found["loudness"] == pytest.approx(paper["loudness"], abs=0.2)


@pytest.mark.parametrize("f0", [65, 90, 120, 180, 260, 400])
def test_pitch_over_the_range_of_speakers(train, resonate, f0):
    """With formants near multiples of the pitch; every voice is within 0.1 semitones."""
    x = np.diff(resonate(train(f0, 1.5)[0], (0, 200), (600, 80), (1400, 100)))
    assert speech(x, RATE)["pitch_median"] == pytest.approx(f0, rel=0.006)


def test_voice_below_the_floor_of_the_paper_folds_up(train, resonate):
    x = np.diff(resonate(train(65, 1.5)[0], (0, 200), (600, 80)))
    folded = speech_paper(x, RATE)["pitch_median"]
    assert np.isnan(folded) or folded > 1.25 * 65


@pytest.mark.parametrize(("f0", "read"), [(280, None), (400, None), (260, 130), (300, 100), (330, 165)])
def test_high_voices_of_the_paper(train, f0, read):
    """Above 275 Hz undefined, or read as a part of what they are where whole lags fit that better."""
    found = speech_paper(0.1 * train(f0, 1.5)[0], RATE)
    if read is None:
        assert all(np.isnan(value) for value in found.values())
    else:
        assert found["pitch_median"] == pytest.approx(read, rel=0.005)


def test_hum_in_pauses_is_no_voice(train, resonate):
    """Mains hum 22 dB below the voice, in clips that are two thirds pause."""
    voice = resonate(train(200, 1.0)[0], (600, 80))[:RATE]
    x = np.pad(voice, RATE) + sine(60, 3, RATE, 0.08 * np.sqrt(2 * np.mean(voice**2)))
    assert speech(x, RATE)["pitch_median"] == pytest.approx(200, rel=0.01)
    assert speech(x, RATE)["pitch_spread"] < 0.5


@pytest.mark.parametrize("x", [np.zeros(RATE), np.zeros(1), np.full(RATE, 0.3)])
def test_without_voice(x):
    found = speech(x, RATE)
    assert list(found) == list(SPEECH)
    assert all(np.isnan(found[name]) for name in ("pitch_median", "pitch_spread", "rate"))
    paper = speech_paper(x, RATE)
    assert list(paper) == list(SPEECH_PAPER)
    assert np.isnan(speech(np.zeros(RATE), RATE)["loudness"])


def test_too_short_for_the_paper(train):
    x = train(150, 0.3)[0][:6399]
    assert all(np.isnan(value) for value in speech_paper(x, RATE).values())
    assert speech(x, RATE)["pitch_median"] == pytest.approx(150, rel=0.005)


def test_noise_has_no_pitch():
    x = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    assert len(_speech_pitch(x, RATE)[0]) == 0 and np.isnan(speech(x, RATE)["pitch_median"])


def test_factors_are_the_exact_ones(recipes, measured):
    found = measured[speech]
    semitones = np.abs(12 * np.log2(found["pitch_median"] / true(recipes, "pitch_median")))
    assert np.median(semitones) < 0.12 and np.percentile(semitones, 90) < 0.4
    spread = np.abs(found["pitch_spread"] / true(recipes, "pitch_spread") - 1)
    assert np.median(spread) < 0.03 and np.percentile(spread, 90) < 0.12
    assert np.abs(found["loudness"] - true(recipes, "loudness")).max() < 0.6
    rate = np.abs(found["rate"] / true(recipes, "rate") - 1)
    assert np.median(rate) < 0.03 and np.percentile(rate, 90) < 0.12
    for name, least in (("pitch_median", 0.99), ("pitch_spread", 0.95), ("loudness", 0.99), ("rate", 0.93)):
        assert spearmanr(found[name], true(recipes, name))[0] > least, name


def test_levels_are_read_from_sound(recipes, measured):
    found, expected = measured[speech], np.stack([recipe.levels for recipe in recipes])
    usual = np.array([utterances.usual_pitch(recipe.speaker) for recipe in recipes])
    relative = 12 * np.log2(found["pitch_median"] / usual)
    levels = utterances.levels(np.stack([relative, found["pitch_spread"], found["loudness"]], axis=1))
    assert (levels == expected).mean(axis=0).min() >= 0.96


def test_the_paper_measures_pitch_and_spread_worse(recipes, measured):
    ours, paper = measured[speech], measured[speech_paper]
    ok, exact = np.isfinite(paper["pitch_median"]), true(recipes, "pitch_median")
    errors = [np.median(np.abs(np.log2(way["pitch_median"] / exact))[ok]) for way in (ours, paper)]
    assert errors[1] > 3 * errors[0]
    ranks = [spearmanr(way["pitch_spread"][ok], true(recipes, "pitch_spread")[ok])[0] for way in (ours, paper)]
    assert ranks[0] > 0.95 > 0.8 > ranks[1]


@pytest.mark.parametrize("way", [speech, speech_paper])
def test_gain_moves_loudness_alone(recipes, measured, way):
    for i in range(6):
        found = way(utterances.render(replace(recipes[i], loudness=recipes[i].loudness - 8)), utterances.RATE)
        before = {name: values[i] for name, values in measured[way].items()}
        assert before["loudness"] - found["loudness"] == pytest.approx(8, abs=0.01)
        for name in set(found) - {"loudness"}:
            assert found[name] == pytest.approx(before[name], rel=1e-4), name


def test_pitch_and_spread_move_alone(recipes, measured):
    """Four semitones up, and half the spread: by the medians over eight utterances."""
    before = {name: values[:8] for name, values in measured[speech].items()}
    changes = {
        "up": lambda recipe: replace(recipe, pitch_median=recipe.pitch_median * 2 ** (4 / 12)),
        "half": lambda recipe: replace(recipe, pitch_spread=recipe.pitch_spread / 2),
    }
    found = {}
    for name, change in changes.items():
        rows = [speech(utterances.render(change(recipe)), utterances.RATE) for recipe in recipes[:8]]
        found[name] = {factor: np.array([row[factor] for row in rows]) for factor in SPEECH}
    moved = {name: 12 * np.log2(rows["pitch_median"] / before["pitch_median"]) for name, rows in found.items()}
    ratio = {name: np.median(rows["pitch_spread"] / before["pitch_spread"]) for name, rows in found.items()}
    assert np.median(moved["up"]) == pytest.approx(4, abs=0.15) and np.median(moved["half"]) == pytest.approx(
        0, abs=0.1
    )
    assert ratio["up"] == pytest.approx(1, abs=0.05) and ratio["half"] == pytest.approx(0.5, abs=0.04)
    for rows in found.values():
        assert np.abs(rows["loudness"] - before["loudness"]).max() < 0.5


def test_real_digits(shared_audio, monkeypatch):
    """Recorded digits: a pitch in nearly all; gain moves loudness alone."""
    monkeypatch.setenv("WORKBENCH_DATA", str(shared_audio))
    clips = load_dataset("fsdd")
    clips = clips.take(np.arange(0, len(clips), 60))
    found = measure(clips, set="speech", progress=False).table
    assert found["pitch_median"].notna().mean() > 0.95 and found["loudness"].notna().all()
    assert found["pitch_median"].between(60, 300).mean() > 0.95
    for i in range(0, len(clips), 6):
        x, _ = clips.audio(i, rate=RATE)
        quiet, loud = speech(0.398 * x, RATE), speech(x, RATE)
        assert loud["loudness"] - quiet["loudness"] == pytest.approx(8.002, abs=0.01)
        np.testing.assert_allclose(quiet["pitch_median"], loud["pitch_median"], rtol=1e-4)
