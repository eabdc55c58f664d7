"""The singing synthesiser: what the table says is what the ear gets, to the bit on every machine."""

import hashlib
import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
from scipy.signal import butter, hilbert, sosfiltfilt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import workbench
from workbench.core.errors import ParameterError
from workbench.datasets.generated.portable_math import Draws
from workbench.datasets.generated.voice_gestures import gesture
from workbench.datasets.generated.voice_tract import HILLENBRAND, SINGERS, formants
from workbench.datasets.generated.voices import (
    FACTORS,
    RATE,
    SECONDS,
    TECHNIQUES,
    VERSION,
    VOWELS,
    contexts,
    recipe,
    render,
    table,
)

CLIPS = 200  # every technique by every singer once

# SHA-256 of the 16-bit samples of the first ten clips with seed 0. If this test fails, the sound has changed:
# raise VERSION and put the new value here.
DIGEST = {1: "8d821838564547c92ed73f87c2c02fbd7cd80cda681ce957e4f388baf0482ccf"}


@pytest.fixture(scope="module")
def clips():
    return table(CLIPS, seed=11)


@pytest.fixture(scope="module")
def sounds(clips):
    return [render(recipe(row)) for _, row in clips.iterrows()]


def digest(sounds) -> str:
    total = hashlib.sha256()
    for x in sounds:
        total.update(np.rint(x * 32768.0).astype("<i2").tobytes())
    return total.hexdigest()


def clean(technique, singer="male11", vowel="a", f0=110.0, **changes):
    """A dry, noiseless recipe of a technique: only the voice itself is left to measure."""
    rows = table(200, seed=5)
    row = rows[(rows.technique == technique) & (rows.context == contexts(technique)[0])].iloc[0]
    dry = {"microphone": 0.0, "direct_to_reverberant": 60.0, "snr": 80.0, "openness": 0.0, "frontness": 0.0}
    return replace(recipe(row), singer=singer, vowel=vowel, f0=f0, **(dry | changes))


# The table -------------------------------------------------------------------------------------------------------


def test_columns_are_those_of_the_contract():
    rows = table(10)
    assert list(rows.columns) == ["id", "label", "split", "group", *FACTORS, "random_seed"]
    assert len(set(FACTORS)) == len(FACTORS)
    assert rows.label.tolist() == rows.technique.tolist()
    assert rows.group.tolist() == rows.singer.tolist()


def test_a_larger_table_begins_with_the_smaller_one():
    pd.testing.assert_frame_equal(table(37, seed=4), table(90, seed=4).iloc[:37])


def test_another_seed_gives_other_clips():
    a, b = table(50, seed=0), table(50, seed=1)
    assert not set(a.id) & set(b.id)
    assert not set(a.random_seed) & set(b.random_seed)


def test_two_hundred_clips_hold_every_technique_with_every_singer_once():
    rows = table(200, seed=2)
    assert (rows.groupby(["technique", "singer"]).size() == 1).all()
    assert len(rows.groupby(["technique", "singer"])) == 200
    assert (rows.groupby(["technique", "vowel"]).size() == 4).all()
    assert rows.id.is_unique and rows.random_seed.is_unique


def test_splits_share_no_singer_and_all_occur_early():
    rows = table(400)
    singers = {split: set(part.singer) for split, part in rows.groupby("split")}
    assert singers["test"] == {"female2", "female8", "male3", "male5", "male10"}
    assert not singers["train"] & singers["test"] and not singers["train"] & singers["valid"]
    assert not singers["valid"] & singers["test"]
    assert rows.split.value_counts(normalize=True).to_dict() == pytest.approx(
        {"train": 0.6, "test": 0.25, "valid": 0.15}
    )
    small = table(40)
    assert (small.groupby("technique").split.nunique() == 3).all()


def test_factors_mean_what_they_say(clips):
    sung = clips[clips.midi.notna()]
    nominal = 440.0 * 2.0 ** ((sung.midi - 69.0) / 12.0)
    assert (1200.0 * np.abs(np.log2(sung.f0 / nominal))).max() < 21.0
    assert set(clips[clips.midi.isna()].technique) == {"spoken", "vocal_fry"}
    assert set(clips[clips.modulation_rate.notna()].technique) == {"spoken", "trill", "trillo", "lip_trill"}
    assert set(clips[clips.trill_interval.notna()].technique) == {"trill"}
    assert clips[clips.technique == "vibrato"].vibrato_extent.min() >= 35.0
    assert clips[clips.technique == "straight"].vibrato_extent.max() < 15.0
    assert (clips.f1 < clips.f2).all() and (clips.f2 < clips.f3).all()
    assert (sung.f1 >= sung.f0).all()
    numeric = clips[["f0", "loudness", "hnr", "tilt", "open_quotient", "jitter", "shimmer", "f1", "f2", "f3", "snr"]]
    assert np.isfinite(numeric.to_numpy()).all()


def test_nine_women_and_eleven_men():
    genders = [singer.gender for singer in SINGERS.values()]
    assert (genders.count("female"), genders.count("male")) == (9, 11)


def test_formants_are_the_published_ones_for_an_average_tract_without_ring():
    for vowel in VOWELS:
        expected = np.array(HILLENBRAND["male"][vowel][:3]) * SINGERS["male11"].tract
        assert formants("spoken", vowel, "male11", 100.0)[:3] == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: table(0), r"size=0 must be a whole number, 1 or more"),
        (lambda: table(2.5), r"size=2.5 must be a whole number"),
        (lambda: table(10, seed=-1), r"seed=-1 must be a whole number from 0 to 4294967295"),
        (lambda: replace(clean("belt"), technique="yodel"), r"technique='yodel' must be one of belt, breathy"),
        (lambda: replace(clean("belt"), vowel="y"), r"vowel='y' must be one of a, e, i, o, u"),
        (lambda: replace(clean("belt"), context="phrase"), r"context='phrase' must be long_tone or scale"),
        (lambda: replace(clean("belt"), f0=5.0), r"f0=5.0 must be between 20 and 1500 for"),
        (lambda: replace(clean("belt"), f0=float("nan")), r"f0=nan must be between 20 and 1500"),
        (
            lambda: replace(clean("trill"), modulation_rate=float("nan")),
            r"modulation_rate=nan must be between 1 and 60",
        ),
        (lambda: replace(clean("vibrato"), vibrato_rate=float("nan")), r"vibrato_rate=nan must be between 1 and 12"),
        (lambda: replace(clean("belt"), decay_time=0.0), r"decay_time=0.0 must be between 0.05 and 2 for"),
        (lambda: replace(clean("belt"), random_seed=-1), r"random_seed=-1 must be 0 or more"),
        (lambda: render(clean("straight", loudness=-1.0)), r"loudness=-1.0 must be at most -\d+\.\d dBFS"),
        (lambda: recipe({"technique": "belt"}), r"row=\['technique'\] must be a row with a column vowel"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


# The same bits everywhere ----------------------------------------------------------------------------------------


def test_first_ten_clips_have_the_recorded_digest():
    rows = table(10, seed=0)
    assert set(rows.technique) == set(TECHNIQUES)
    assert digest(render(recipe(row)) for _, row in rows.iterrows()) == DIGEST[VERSION]


def test_the_processor_does_not_matter():
    """Without the vector extensions that NumPy picks at run time, the bits stay the same."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("this build of NumPy has no run-time vector extensions to switch off")
    code = (
        "import hashlib, numpy as np\n"
        "from workbench.datasets.generated.voices import table, recipe, render\n"
        "total = hashlib.sha256()\n"
        "for _, row in table(10, seed=0).iterrows():\n"
        "    total.update(np.rint(render(recipe(row)) * 32768.0).astype('<i2').tobytes())\n"
        "print(total.hexdigest())\n"
    )
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    environment["PYTHONPATH"] = str(Path(workbench.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == DIGEST[VERSION]


def test_a_row_survives_a_csv_file(clips, sounds):
    text = clips.iloc[:12].to_csv(index=False)
    back = pd.read_csv(io.StringIO(text))
    for i, row in back.iterrows():
        assert np.array_equal(render(recipe(row)), sounds[i])


def test_one_changed_factor_changes_the_sound():
    base = clean("straight")
    x = render(base)
    for change in ({"vowel": "i"}, {"singer": "male6"}, {"f0": 120.0}, {"tilt": 1.0}, {"random_seed": 1}):
        assert not np.array_equal(render(replace(base, **change)), x)


# The sound -------------------------------------------------------------------------------------------------------


def test_level_peak_and_edges(clips, sounds):
    for row, x in zip(clips.itertuples(), sounds, strict=True):
        assert x.dtype == np.float32 and x.shape == (int(RATE * SECONDS),), row.id
        assert np.isfinite(x).all() and np.abs(x).max() < 1.0, row.id
        level = 10.0 * np.log10(np.mean(x.astype(np.float64) ** 2))
        assert level == pytest.approx(row.loudness, abs=0.02), row.id
        assert abs(x.astype(np.float64).mean()) < 2e-5, row.id
        assert np.abs(x[[0, -1]]).max() <= 1e-4 and np.abs(x[[*range(24), *range(-24, 0)]]).max() < 2e-3, row.id
        assert np.array_equal(np.rint(x * 32768.0), x * 32768.0), row.id


def test_nothing_above_the_band(clips, sounds):
    x = np.concatenate([render(clean("belt", f0=f0, loudness=-25.0)) for f0 in (220.0, 523.25)])
    power = np.mean(np.abs(librosa.stft(x, n_fft=2048)) ** 2, axis=1)
    frequency = librosa.fft_frequencies(sr=RATE, n_fft=2048)
    assert 10 * np.log10(power[frequency > 11700].max() / power.max()) < -70.0


def track(x, f0):
    """Pitch in cents around `f0` at 100 Hz, from 0.9 s after the onset; windows of 43 ms can follow a vibrato."""
    y = librosa.resample(x, orig_sr=RATE, target_sr=12000)
    pitch, _, _ = librosa.pyin(
        y, fmin=f0 * 0.7, fmax=f0 * 1.45, sr=12000, frame_length=512, hop_length=120, resolution=0.05
    )
    voiced = np.flatnonzero(np.isfinite(pitch))
    inner = pitch[voiced[0] + 90 : voiced[-1] - 20]
    gaps = np.isfinite(inner)
    return 1200.0 * np.log2(np.interp(np.arange(len(inner)), np.flatnonzero(gaps), inner[gaps]) / f0)


def strongest(curve, rate, low, high):
    """Frequency of the strongest component of a curve between two limits, Hz."""
    size = 1 << 14
    spectrum = np.abs(np.fft.rfft((curve - curve.mean()) * np.hanning(len(curve)), size))
    frequency = np.fft.rfftfreq(size, 1.0 / rate)
    inside = (frequency > low) & (frequency < high)
    return frequency[inside][spectrum[inside].argmax()]


def envelope(x, cutoff=60.0, rate=200):
    """Amplitude envelope of the sounding part."""
    smooth = butter(4, cutoff, fs=RATE, output="sos")
    curve = sosfiltfilt(smooth, np.abs(hilbert(x)))[:: RATE // rate]
    loud = np.flatnonzero(curve > 0.3 * np.percentile(curve, 95))
    return curve[loud[0] + 20 : loud[-1] - 20]


def test_f0_is_the_exact_median_of_the_pitch_curve(clips):
    for _, row in clips[:60].iterrows():
        made = gesture(replace(recipe(row), vibrato_extent=0.0), Draws(row.random_seed))
        assert np.median(made.cents[made.voice > 0.05]) == pytest.approx(0.0, abs=1e-9), row.id


@pytest.mark.parametrize("technique", ["straight", "vibrato", "belt"])
def test_median_pitch(clips, sounds, technique):
    rows = clips[(clips.technique == technique) & (clips.context == "long_tone")][:2]
    for i, row in rows.iterrows():
        assert np.median(track(sounds[i], row.f0)) == pytest.approx(0.0, abs=30.0), row.id


def test_vibrato_rate_and_extent(clips, sounds):
    rows = clips[(clips.technique == "vibrato") & (clips.context == "long_tone")][:3]
    for i, row in rows.iterrows():
        cents = track(sounds[i], row.f0)
        assert strongest(cents, 100, 3.0, 9.0) == pytest.approx(row.vibrato_rate, rel=0.06), row.id
        extent = np.sqrt(2.0) * (cents - np.median(cents)).std()
        assert extent == pytest.approx(row.vibrato_extent, rel=0.3), row.id


def test_trill_rate_and_interval(clips, sounds):
    for i, row in clips[clips.technique == "trill"][:3].iterrows():
        cents = track(sounds[i], row.f0)
        assert strongest(cents, 100, 3.0, 9.0) == pytest.approx(row.modulation_rate, rel=0.08), row.id
        low, high = np.percentile(cents, [10, 90])
        assert high - low == pytest.approx(row.trill_interval, rel=0.25), row.id


@pytest.mark.parametrize(("technique", "low", "high"), [("trillo", 3.0, 12.0), ("lip_trill", 14.0, 36.0)])
def test_amplitude_is_modulated_at_the_given_rate(clips, sounds, technique, low, high):
    rows = clips[clips.technique == technique][:10]
    ratios = [strongest(envelope(sounds[i]), 200, low, high) / row.modulation_rate for i, row in rows.iterrows()]
    assert np.median(ratios) == pytest.approx(1.0, abs=0.04)
    assert np.mean(np.abs(np.array(ratios) - 1.0) < 0.12) >= 0.8


def test_fry_pulses_come_at_f0():
    made = clean("vocal_fry", f0=40.0, jitter=0.05, hnr=40.0)
    curve = envelope(render(replace(made, random_seed=3)), cutoff=150.0, rate=1000)
    peaks = librosa.util.peak_pick(curve, pre_max=8, post_max=8, pre_avg=12, post_avg=12, delta=0.0, wait=8)
    assert np.median(np.diff(peaks)) == pytest.approx(1000.0 / 40.0, rel=0.12)


def harmonicity(x, f0):
    """Harmonics-to-noise ratio in dB by autocorrelation (Boersma 1993), median over loud frames."""
    window = np.hanning(2400)
    reference = np.correlate(window, window, "full")[2399:3999]
    lag, found = int(RATE / f0), []
    for frame in librosa.util.frame(x.astype(np.float64), frame_length=2400, hop_length=2400).T:
        if np.mean(frame**2) < 0.3 * np.mean(x**2):
            continue
        part = (frame - frame.mean()) * window
        curve = np.correlate(part, part, "full")[2399:3999] / reference
        best = np.clip(curve[int(0.9 * lag) : int(1.12 * lag) + 2].max() / curve[0], 1e-3, 0.9999)
        found.append(10.0 * np.log10(best / (1.0 - best)))
    return np.median(found)


def test_breathy_is_noisier_than_straight_and_inhaled_noisier_still(clips, sounds):
    means = {}
    for technique in ("straight", "breathy", "inhaled"):
        rows = clips[(clips.technique == technique) & (clips.context == "long_tone")][:8]
        means[technique] = np.mean([harmonicity(sounds[i], row.f0) for i, row in rows.iterrows()])
    assert means["straight"] > means["breathy"] + 5.0
    assert means["breathy"] > means["inhaled"] + 3.0


def test_harmonicity_follows_the_recipe():
    measured = [
        harmonicity(render(clean("straight", f0=200.0, hnr=hnr, vibrato_extent=0.0)), 200.0) for hnr in (0, 8, 16)
    ]
    assert measured == pytest.approx([0.0, 8.0, 16.0], abs=3.0)


def test_belt_is_brightest_and_breathy_darkest_at_the_source():
    """The mean centroid of the voiced sound alone, for the typical tilt and open quotient of each technique."""
    rows, centroids = table(200, seed=5), {}
    for technique in ("belt", "straight", "breathy"):
        usual = rows[rows.technique == technique][["tilt", "open_quotient"]].median()
        made = [
            clean(technique, vowel=vowel, f0=220.0, hnr=80.0, tilt=usual.tilt, open_quotient=usual.open_quotient)
            for vowel in VOWELS
        ]
        found = [
            librosa.feature.spectral_centroid(y=render(one), sr=RATE, n_fft=2048)[0, 60:120].mean() for one in made
        ]
        centroids[technique] = np.mean(found)
    assert centroids["belt"] > 1.15 * centroids["straight"] > 1.3 * centroids["breathy"]


def resonances(x):
    """Formants in Hz by linear prediction at 10 kHz, narrow poles only."""
    y = librosa.resample(x[int(1.2 * RATE) : int(1.6 * RATE)], orig_sr=RATE, target_sr=10000).astype(np.float64)
    poles = np.roots(librosa.lpc(np.append(y[0], y[1:] - 0.95 * y[:-1]) * np.hanning(len(y)), order=12))
    poles = poles[poles.imag > 0]
    width = -np.log(np.abs(poles)) * 10000 / np.pi
    return np.sort(np.angle(poles[width < 400.0]) * 10000 / (2 * np.pi))


@pytest.mark.parametrize("vowel", VOWELS)
def test_formants_of_a_low_straight_tone(vowel):
    made = clean("straight", vowel=vowel, f0=90.0, tilt=4.0, open_quotient=0.5)
    found = resonances(render(made))
    for true, tolerance in zip(made.formants_at(90.0)[:3], (0.12, 0.08, 0.08), strict=True):
        assert np.abs(found / true - 1.0).min() < tolerance, (true, found)


def test_speech_has_pauses_consonants_and_falling_pitch(clips, sounds):
    silent, sung = [], []
    for i, row in clips.iterrows():
        curve = librosa.feature.rms(y=sounds[i], frame_length=480, hop_length=240)[0][30:350]
        if row.technique in ("spoken", "straight"):
            (silent if row.technique == "spoken" else sung).append(np.mean(curve < 0.25 * np.percentile(curve, 90)))
    assert np.mean(silent) > 0.25 > 0.1 > np.mean(sung)


# What a model can learn from it ------------------------------------------------------------------------------------


def log_mel_statistics(sounds):
    """Mean and standard deviation over time of 80 log-mel bands up to 8 kHz: the trivial control."""
    mel = librosa.filters.mel(sr=RATE, n_fft=600, n_mels=80, fmax=8000.0)
    features = []
    for x in sounds:
        band = np.log(mel @ np.abs(librosa.stft(x, n_fft=600, hop_length=240)) ** 2 + 1e-6)
        features.append(np.concatenate([band.mean(axis=1), band.std(axis=1)]))
    return np.array(features)


def test_log_mel_statistics_know_something_but_not_all(clips, sounds):
    features = log_mel_statistics(sounds)
    held_out = (clips.split == "test").to_numpy()
    for target, low, high in (("technique", 0.40, 0.97), ("vowel", 0.40, 0.99)):
        y = clips[target].to_numpy()
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
        accuracy = model.fit(features[~held_out], y[~held_out]).score(features[held_out], y[held_out])
        print(f"log-mel statistics, held-out singers, {target}: {accuracy:.3f}")
        assert low < accuracy < high, target


def test_a_thousand_clips_fit_in_a_minute_of_two_cores():
    rows = [recipe(row) for _, row in table(20, seed=9).iterrows()]
    render(rows[0])
    start = time.process_time()
    for one in rows:
        render(one)
    assert (time.process_time() - start) / len(rows) * 1000 / 2 < 60.0
