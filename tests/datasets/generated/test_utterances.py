"""Generated utterances: factors are what the table says, classes follow the rule, one change changes one thing."""

import hashlib
import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench
from workbench import audio
from workbench.attributes import loudness_track, pitch_track
from workbench.core.errors import ParameterError
from workbench.datasets import load_dataset
from workbench.datasets.generated.utterance_synthesis import AFTER, BEFORE, LONGEST, SNR, parse
from workbench.datasets.generated.utterances import (
    CLASSES,
    CUTS,
    EFFECTS,
    FACTORS,
    INTERCEPTS,
    RANGES,
    RATE,
    RULE_FACTORS,
    VERSION,
    f0_curve,
    levels,
    recipe,
    render,
    rule,
    table,
    usual_pitch,
)
from workbench.datasets.generated.voice_tract import SINGERS

# SHA-256 of the float32 samples of the first ten clips with seed 0. If this test fails, the sound has changed: raise
# VERSION and put the new value here.
DIGEST = {1: "2c8cd21ccc370761b9b07d2b73df46f858125bf4a9d6e53d5f56932a640e7117"}
LEVELS = ["pitch_level", "spread_level", "loudness_level"]
CELLS = np.array(list(product(range(3), repeat=3)))


@pytest.fixture(scope="module")
def rows():
    return table(2700, seed=3)


@pytest.fixture(scope="module")
def recipes(rows):
    return [recipe(row) for _, row in rows.iloc[:54].iterrows()]


@pytest.fixture(scope="module")
def sounds(recipes):
    return [render(one) for one in recipes]


@pytest.fixture(scope="module")
def one(recipes):
    return replace(recipes[0], speaker="male4", pitch_median=140.0, pitch_spread=2.0, loudness=-30.0, rate=4.5)


def semitones(f0):
    return 12.0 * np.log2(f0[np.isfinite(f0)])


# The table -------------------------------------------------------------------------------------------------------


def test_columns_and_ranges(rows):
    expected = ["id", "label", "split", "group", *FACTORS, "content", "seconds", "random_seed"]
    assert list(rows.columns) == expected
    assert (rows.label == rows.emotion_like).all() and (rows.group == rows.speaker).all()
    assert rows.id.is_unique and rows.random_seed.is_unique
    assert rows.rate.between(3.0, 6.5).all() and rows.seconds.between(2.0, 4.0).all()
    counts = rows.content.str.split().str.len()
    assert np.abs(rows.seconds - (BEFORE + counts / rows.rate + AFTER)).max() <= 0.5001 / RATE
    assert np.isfinite(rows.select_dtypes("number").to_numpy()).all()


def test_a_larger_table_begins_with_the_smaller_one(rows):
    pd.testing.assert_frame_equal(table(61, seed=3), rows.iloc[:61])
    assert not set(table(61, seed=4).random_seed) & set(rows.random_seed)


def test_combinations_of_levels_and_speakers_are_balanced(rows):
    assert (rows.groupby(LEVELS).size() == 100).all() and len(rows.groupby(LEVELS)) == 27
    assert (rows.groupby("speaker").size() == 135).all() and rows.speaker.nunique() == 20
    assert (rows.iloc[:540].groupby("speaker").size() == 27).all()
    assert rows.groupby("speaker").gender.first().value_counts().to_dict() == {"male": 11, "female": 9}


def test_splits_share_no_speaker(rows):
    speakers = {split: set(part.speaker) for split, part in rows.groupby("split")}
    assert [len(speakers[split]) for split in ("train", "valid", "test")] == [12, 3, 5]
    assert len(set.union(*speakers.values())) == 20
    assert all({SINGERS[name].gender for name in part} == {"male", "female"} for part in speakers.values())
    assert rows.split.value_counts(normalize=True).to_dict() == {"train": 0.6, "test": 0.25, "valid": 0.15}


def test_levels_are_those_of_the_values(rows, recipes):
    assert (levels(rows[list(RULE_FACTORS)]) == rows[LEVELS]).all(axis=None)
    for made, row in zip(recipes, rows.itertuples(), strict=False):
        assert made.levels.tolist() == [row.pitch_level, row.spread_level, row.loudness_level]
        assert made.pitch_relative == pytest.approx(row.pitch_relative, abs=2e-4)
        assert row.pitch_median == pytest.approx(usual_pitch(row.speaker) * 2 ** (row.pitch_relative / 12), abs=6e-4)


def test_a_measurement_within_tolerance_finds_the_level():
    tolerance = {
        "pitch_relative": lambda v: (v - 0.2, v + 0.2 - 1e-9),
        "pitch_spread": lambda v: (0.9 * v, 1.1 * v),
        "loudness": lambda v: (v - 0.5, v + 0.5 - 1e-9),
    }
    for name, around in tolerance.items():
        for level, (low, high) in enumerate(RANGES[name]):
            found = [np.sum(np.array(CUTS[name]) <= value + 1e-12) for edge in (low, high) for value in around(edge)]
            assert found == [level] * 4, name


# The rule --------------------------------------------------------------------------------------------------------


def test_rule_is_the_softmax_of_the_published_effects():
    logits = INTERCEPTS + sum(EFFECTS[f, CELLS[:, f]] for f in range(3))
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rule(CELLS), expected, rtol=1e-12)
    assert rule([1, 1, 1]).shape == (5,) and rule(CELLS.reshape(3, 9, 3)).shape == (3, 9, 5)


def test_classes_are_balanced_and_no_factor_decides_alone():
    p = rule(CELLS)
    assert p.mean(axis=0) == pytest.approx(np.full(5, 0.2), abs=2e-4)
    assert p.max(axis=1).mean() == pytest.approx(0.865, abs=5e-4)
    alone = [np.mean([p[CELLS[:, f] == level].mean(axis=0).max() for level in range(3)]) for f in range(3)]
    assert min(alone) > 0.455 and max(alone) < 0.48
    assert {CLASSES[i] for i in p.argmax(axis=1)} == set(CLASSES)


def test_labels_occur_as_often_as_the_rule_says(rows):
    expected = 100.0 * rule(CELLS)
    counts = rows.groupby([*LEVELS, "label"]).size().unstack(fill_value=0)[list(CLASSES)].to_numpy()
    often = expected > 1.0
    chi_square = np.sum((counts - expected)[often] ** 2 / expected[often])
    assert chi_square < 1.6 * often.sum(), chi_square  # one a cell is expected
    assert counts[expected < 0.01].sum() <= 2
    likeliest = np.array(CLASSES)[rule(rows[LEVELS]).argmax(axis=1)]
    assert (likeliest == rows.label).mean() == pytest.approx(0.865, abs=0.02)


def test_rate_and_speaker_have_nothing_to_do_with_the_class(rows):
    for name in ("rate", "seconds"):
        between = rows.groupby("label")[name].transform("mean").var() / rows[name].var()
        assert between < 0.006, name  # 4 / 2700 is expected
    counts = pd.crosstab(rows.speaker, rows.label)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / len(rows)
    assert ((counts - expected) ** 2 / expected).to_numpy().sum() < 120.0  # 76 degrees of freedom


# The sound -------------------------------------------------------------------------------------------------------


def test_first_ten_clips_have_the_recorded_digest():
    total = hashlib.sha256()
    for _, row in table(10, seed=0).iterrows():
        total.update(render(recipe(row)).astype("<f4").tobytes())
    assert total.hexdigest() == DIGEST[VERSION]


def test_the_processor_does_not_matter():
    """Without the vector extensions that NumPy picks at run time, the bits stay the same."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("this build of NumPy has no run-time vector extensions to switch off")
    code = (
        "import hashlib\n"
        "from workbench.datasets.generated.utterances import table, recipe, render\n"
        "total = hashlib.sha256()\n"
        "for _, row in table(10, seed=0).iterrows():\n"
        "    total.update(render(recipe(row)).astype('<f4').tobytes())\n"
        "print(total.hexdigest())\n"
    )
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    environment["PYTHONPATH"] = str(Path(workbench.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == DIGEST[VERSION]


def test_a_row_survives_a_csv_file(rows, sounds):
    back = pd.read_csv(io.StringIO(rows.iloc[:5].to_csv(index=False)))
    for i, row in back.iterrows():
        assert np.array_equal(render(recipe(row)), sounds[i])


def test_level_length_peak_and_edges(rows, sounds):
    for row, x in zip(rows.itertuples(), sounds, strict=False):
        assert x.dtype == np.float32 and len(x) == round(row.seconds * RATE), row.id
        assert np.abs(x).max() < 0.8, row.id
        assert audio.level(x) == pytest.approx(row.loudness, abs=1e-4), row.id
        assert abs(x.astype(np.float64).mean()) < 1e-5 and np.abs(x[[0, -1]]).max() < 1e-5, row.id


def test_the_true_pitch_has_the_median_and_spread_of_the_recipe(recipes):
    for made in recipes:
        f0 = f0_curve(made)
        assert 0.6 < np.isfinite(f0).mean() < 0.95
        assert np.nanmedian(f0) == pytest.approx(made.pitch_median, rel=1e-5)
        assert semitones(f0).std() == pytest.approx(made.pitch_spread, rel=1e-9)
        assert np.nanmin(f0) > 40.0 and np.nanmax(f0) < 700.0


def measured(x):
    """Times and pitch in two passes, the second within reach of the first's quartiles (De Looze and Hirst 2008)."""
    _, f0, _ = pitch_track(x, RATE, f_max=600.0)
    low, high = np.nanpercentile(f0, [25, 75])
    times, f0, _ = pitch_track(x, RATE, f_min=max(0.6 * low, 45.0), f_max=1.9 * high)
    return times, f0


def test_measured_pitch_is_the_true_one(recipes, sounds):
    medians, spreads, frames = [], [], []
    for made, x in zip(recipes[:27], sounds, strict=False):
        times, f0 = measured(x)
        true = f0_curve(made)[(times * 1000.0).astype(int)]
        both = np.isfinite(true) & np.isfinite(f0)
        frames.append(np.median(np.abs(f0 / true - 1.0)[both]))
        medians.append(abs(np.median(f0[both]) / made.pitch_median - 1.0))
        spreads.append(semitones(f0[both]).std() / made.pitch_spread)
    print("median", np.percentile(medians, [50, 90, 100]), "spread", np.percentile(spreads, [0, 10, 50, 90, 100]))
    # What is left is the tracker's: at the edges of voicing, and where the contour hurries through its median.
    assert np.median(frames) < 0.01 and np.median(medians) < 0.005
    assert np.mean(np.array(medians) < 0.01) >= 0.7 and max(medians) < 0.05
    assert np.median(spreads) == pytest.approx(1.0, abs=0.05)
    assert np.mean(np.abs(np.array(spreads) - 1.0) < 0.1) >= 0.8


def test_measured_median_of_a_flat_contour(recipes):
    for made in recipes[27:37]:
        _, f0 = measured(render(replace(made, pitch_spread=0.0)))
        assert np.nanmedian(f0) == pytest.approx(made.pitch_median, rel=0.01)


def test_syllables_come_at_the_rate(one):
    """Peaks of level of vowels after stops: one a syllable."""
    from scipy.signal import find_peaks

    for rate in (3.5, 5.5):
        x = render(replace(one, content=" ".join(["pa", "ti", "ko"] * 4), rate=rate))
        _, level = loudness_track(x, RATE)
        peaks, _ = find_peaks(level, prominence=8.0, distance=0.5 / rate / 0.01)
        assert len(peaks) == 12
        assert (peaks[-1] - peaks[0]) * 0.01 == pytest.approx(11.0 / rate, rel=0.12)


def band_level(x, low, high):
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    frequency = np.fft.rfftfreq(len(x), 1.0 / RATE)
    return 10.0 * np.log10(power[(frequency >= low) & (frequency < high)].sum())


def test_consonants_differ_in_spectrum(one):
    def onset(consonant):
        x = render(replace(one, content=" ".join([consonant + "a"] * 8), rate=4.0))
        return band_level(x, 4500.0, 9000.0) - band_level(x, 1800.0, 4000.0)

    assert onset("s") > onset("sh") + 3.0 and onset("s") > onset("f") + 3.0 and onset("s") > onset("n") + 10.0


def test_silence_before_the_first_syllable_is_background(sounds, rows):
    for row, x in zip(rows.itertuples(), sounds[:20], strict=False):
        assert audio.level(x[480:2160]) - row.loudness == pytest.approx(-SNR, abs=3.0), row.content


# One change changes one thing ------------------------------------------------------------------------------------


def test_a_gain_changes_nothing_but_the_level(one):
    x = render(one)
    for gain in (-12.0, 5.0):
        y = render(replace(one, loudness=one.loudness + gain))
        np.testing.assert_allclose(y, x * 10.0 ** (gain / 20.0), rtol=3e-7)
        assert audio.level(y) - audio.level(x) == pytest.approx(gain, abs=1e-4)


def test_a_pitch_shift_multiplies_the_contour_and_keeps_the_rest(one):
    true, x = f0_curve(one), render(one)
    higher = replace(one, pitch_median=one.pitch_median * 2.0 ** (3.0 / 12.0))
    np.testing.assert_allclose(f0_curve(higher), true * 2.0 ** (3.0 / 12.0), rtol=1e-12)
    y = render(higher)
    assert audio.level(y) == pytest.approx(audio.level(x), abs=1e-4) and len(y) == len(x)
    low, high = (np.nanmedian(measured(render(replace(made, pitch_spread=0.0)))[1]) for made in (one, higher))
    assert 12.0 * np.log2(high / low) == pytest.approx(3.0, abs=0.1)
    # the envelope of the spectrum stays: third-octave levels move by little while the harmonics move by 3 semitones
    edges = 500.0 * 2.0 ** (np.arange(10) / 3.0)
    moved = [band_level(y, a, b) - band_level(x, a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    assert np.abs(moved).mean() < 1.5


def test_spread_scales_the_contour_around_its_median(one):
    flat, wide = (f0_curve(replace(one, pitch_spread=spread)) for spread in (0.0, 4.0))
    true = semitones(f0_curve(one) / one.pitch_median)
    assert np.nanmax(np.abs(flat / one.pitch_median - 1.0)) < 1e-12
    np.testing.assert_allclose(semitones(wide / one.pitch_median), 2.0 * true, atol=1e-9)


def test_rate_moves_time_alone(one):
    slow, fast = replace(one, rate=3.0), replace(one, rate=6.0)
    count = len(one.content.split())
    assert (len(render(slow)) - len(render(fast))) / RATE == pytest.approx(count / 6.0, abs=2.0 / RATE)
    curves = []
    for made in (slow, fast):
        f0 = f0_curve(made)
        at = BEFORE + (np.arange(200) + 0.5) / 200.0 * count / made.rate
        curves.append(np.interp(at, np.flatnonzero(np.isfinite(f0)) / 1000.0, semitones(f0)))
    assert np.corrcoef(curves)[0, 1] > 0.99


def test_another_speaker_says_the_same_with_the_same_melody(one):
    np.testing.assert_array_equal(f0_curve(replace(one, speaker="female3")), f0_curve(one))
    assert not np.array_equal(render(replace(one, speaker="female3")), render(one))


def test_content_keeps_timing(one):
    words = one.content.split()
    changed = " ".join(word[:-1] + ("a" if word[-1] != "a" else "i") for word in words)
    np.testing.assert_allclose(f0_curve(replace(one, content=changed)), f0_curve(one), rtol=1e-9)
    assert len(parse(changed)) == len(words)


# Use -------------------------------------------------------------------------------------------------------------


def test_it_is_a_dataset():
    clips = load_dataset("utterances", size=60, seed=1)
    assert clips.generated and clips.classes == tuple(sorted(CLASSES)) and clips.factors == FACTORS
    x, rate = clips.audio(3)
    assert rate == RATE and len(x) == round(clips.table.seconds[3] * RATE)
    split = clips.split()
    speakers = [set(clips.table.speaker.iloc[side]) for side in (split.train, split.valid, split.test)]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda made: table(0), r"size=0 must be a whole number, 1 or more"),
        (lambda made: table(5, seed=-1), r"seed=-1 must be a whole number from 0 to 4294967295"),
        (lambda made: replace(made, speaker="bob"), r"speaker='bob' must be one of female1"),
        (lambda made: replace(made, content="ta xo"), r"content='xo' must be syllables of one of m, n"),
        (lambda made: replace(made, content="ta"), r"content='ta' must be two syllables or more"),
        (lambda made: replace(made, rate=1.2), rf"rate=1.2 must be faster for so many syllables \({LONGEST:g} s"),
        (lambda made: replace(made, pitch_median=10.0), r"pitch_median=10.0 must be between 50 and 600"),
        (lambda made: replace(made, pitch_spread=float("nan")), r"pitch_spread=nan must be between 0 and 6"),
        (lambda made: replace(made, random_seed=-1), r"random_seed=-1 must be 0 or more"),
        (lambda made: render(replace(made, loudness=-1.0)), r"loudness=-1.0 must be at most -\d+\.\d dBFS"),
        (lambda made: recipe({"speaker": "male1"}), r"row=\['speaker'\] must be a row with a column content"),
        (lambda made: rule([0, 1, 3]), r"levels=\[0, 1, 3\] must be 0, 1 or 2"),
        (lambda made: levels([1.0, 2.0]), r"values='array of shape \(2,\)' must be finite, of shape"),
    ],
)
def test_bad_arguments_are_named(one, call, message):
    with pytest.raises(ParameterError, match=message):
        call(one)


def test_a_thousand_clips_fit_in_a_minute_of_two_cores(recipes):
    render(recipes[0])
    start = time.process_time()
    for made in recipes[:20]:
        render(made)
    assert (time.process_time() - start) / 20 * 1000 / 2 < 60.0
