"""Generated notes: factors are what the table says, instruments have the cues they are known by, bits are the same."""

import hashlib
import io
import os
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench
from workbench.core.errors import ParameterError
from workbench.datasets import load_dataset
from workbench.datasets.generated.note_instruments import BELL, MARIMBA, SUSTAINED, specimen
from workbench.datasets.generated.note_synthesis import loudest
from workbench.datasets.generated.notes import (
    DYNAMICS,
    FACTORS,
    INSTRUMENTS,
    LEVELS,
    RANGES,
    RATE,
    SECONDS,
    SPREAD,
    VERSION,
    articulations,
    recipe,
    render,
    table,
)

# SHA-256 of the 16-bit samples of the first twelve clips with seed 0, and CRC-32 of three of them. If this test fails,
# the sound has changed: raise VERSION and put the new values here.
DIGEST = {1: "65d189d19415c4e60e70eb6ee6b8e33e61f11e957602e59c68a740c42f412f07"}
CHECKSUMS = {1: {"bell": 528525574, "piano": 3612471975, "violin": 4290585567}}


@pytest.fixture(scope="module")
def rows():
    return table(480, seed=7)


@pytest.fixture(scope="module")
def sounds(rows):
    return [render(recipe(row)) for _, row in rows.iterrows()]


def note(instrument, f0=None, **changes):
    """A held note on the first specimen, forte and without vibrato."""
    row = table(12, seed=5).set_index("instrument", drop=False).loc[instrument]
    plain = {"specimen": f"{instrument}1", "articulation": "long", "dynamic": "ff", "level": -22.0, "brightness": 0.0}
    plain |= {"onset": 0.05, "duration": 1.5, "vibrato_rate": np.nan, "vibrato_extent": np.nan}
    plain |= {"tremolo_rate": np.nan, "f0": row.f0 if f0 is None else f0}
    return recipe(dict(row) | plain | changes)


def spectrum(x, start=0.25, seconds=0.5):
    """Power spectrum of a part of a clip, at multiples of 0.366 Hz, and its frequencies."""
    part = x[int(start * RATE) : int((start + seconds) * RATE)].astype(np.float64)
    return np.abs(np.fft.rfft(part * np.blackman(len(part)), 1 << 16)) ** 2, np.fft.rfftfreq(1 << 16, 1.0 / RATE)


def partial_level(x, frequency, **part):
    """Level of the strongest component within 2 % of a frequency, dB."""
    power, f = spectrum(x, **part)
    return 10.0 * np.log10(power[np.abs(f / frequency - 1.0) < 0.02].max())


def centroid(x, start, seconds=0.3):
    power, f = spectrum(x, start, seconds)
    return (power * f).sum() / power.sum()


def pitch(x, f0, start, seconds=0.4):
    """Pitch in cents against `f0` by autocorrelation, to a fraction of a sample."""
    part = x[int(start * RATE) : int((start + seconds) * RATE)].astype(np.float64)
    curve = np.fft.irfft(np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 15)) ** 2)
    lag = RATE / f0
    near = np.arange(int(0.93 * lag), int(1.07 * lag) + 2)
    best = near[curve[near].argmax()]
    a, b, c = curve[best - 1 : best + 2]
    return 1200.0 * np.log2(lag / (best + 0.5 * (a - c) / (a - 2.0 * b + c)))


# The table -------------------------------------------------------------------------------------------------------


def test_columns_ranges_and_meaning(rows):
    assert list(rows.columns) == ["id", "label", "split", "group", *FACTORS, "random_seed"]
    assert (rows.label == rows.instrument).all() and (rows.group == rows.specimen).all()
    assert rows.id.is_unique and rows.random_seed.is_unique
    nominal = 440.0 * 2.0 ** ((rows.midi - 69) / 12.0)
    assert (1200.0 * np.abs(np.log2(rows.f0 / nominal))).max() <= 12.01
    for row in rows.itertuples():
        low, high = RANGES[row.instrument]
        assert low <= row.midi <= high and row.articulation in articulations(row.instrument)
        assert abs(row.level - LEVELS[row.dynamic]) <= SPREAD
    assert set(rows[rows.vibrato_rate.notna()].articulation) == {"vibrato"}
    assert set(rows[rows.tremolo_rate.notna()].articulation) == {"tremolo", "flutter"}
    assert rows.onset.between(0.05, 0.12).all() and (rows.onset + rows.duration).max() < 1.65 < SECONDS


def test_a_larger_table_begins_with_the_smaller_one(rows):
    pd.testing.assert_frame_equal(table(61, seed=7), rows.iloc[:61])
    assert not set(table(61, seed=8).random_seed) & set(rows.random_seed)


def test_instruments_specimens_dynamics_and_articulations_are_balanced():
    many = table(12 * 72, seed=1)
    assert (many.groupby("instrument").size() == 72).all() and many.instrument.nunique() == 12
    assert (many.groupby("specimen").size() == 9).all() and many.specimen.nunique() == 96
    assert (many.groupby(["instrument", "dynamic"]).size() == 24).all()
    counts = many.groupby(["instrument", "articulation"]).size()
    assert all(counts[name, way] == 72 // len(articulations(name)) for name, way in counts.index)
    assert len(counts) == sum(len(articulations(name)) for name in INSTRUMENTS)


def test_splits_share_no_specimen_and_all_occur_early(rows):
    groups = {split: set(part.specimen) for split, part in rows.groupby("split")}
    assert {split: len(names) for split, names in groups.items()} == {"train": 60, "valid": 12, "test": 24}
    assert len(set.union(*groups.values())) == 96
    assert (table(48).groupby("instrument").split.nunique() == 3).all()


# The same bits everywhere ------------------------------------------------------------------------------------------


def test_first_twelve_clips_have_the_recorded_digest():
    total, checksums = hashlib.sha256(), {}
    for _, row in table(12, seed=0).iterrows():
        samples = np.rint(render(recipe(row)) * 32768.0).astype("<i2").tobytes()
        total.update(samples)
        checksums[row.instrument] = zlib.crc32(samples)
    assert {name: checksums[name] for name in ("bell", "piano", "violin")} == CHECKSUMS[VERSION]
    assert total.hexdigest() == DIGEST[VERSION]


def test_the_processor_does_not_matter():
    """Without the vector extensions that NumPy picks at run time, the bits stay the same."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("this build of NumPy has no run-time vector extensions to switch off")
    code = (
        "import hashlib, numpy as np\n"
        "from workbench.datasets.generated.notes import table, recipe, render\n"
        "total = hashlib.sha256()\n"
        "for _, row in table(12, seed=0).iterrows():\n"
        "    total.update(np.rint(render(recipe(row)) * 32768.0).astype('<i2').tobytes())\n"
        "print(total.hexdigest())\n"
    )
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    environment["PYTHONPATH"] = str(Path(workbench.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == DIGEST[VERSION]


def test_a_row_survives_a_csv_file(rows, sounds):
    back = pd.read_csv(io.StringIO(rows.iloc[:24].to_csv(index=False)))
    for i, row in back.iterrows():
        assert np.array_equal(render(recipe(row)), sounds[i])


def test_one_changed_factor_changes_the_sound():
    base = note("violin", 440.0)
    x = render(base)
    changes = ({"specimen": "violin2"}, {"dynamic": "pp"}, {"articulation": "staccato"}, {"f0": 441.0})
    for change in (*changes, {"brightness": 1.0}, {"random_seed": 1}):
        assert not np.array_equal(render(replace(base, **change)), x), change


# The sound ---------------------------------------------------------------------------------------------------------


def test_length_peak_grid_and_edges(rows, sounds):
    for row, x in zip(rows.itertuples(), sounds, strict=True):
        assert x.dtype == np.float32 and x.shape == (int(RATE * SECONDS),), row.id
        assert np.isfinite(x).all() and np.abs(x).max() < 0.8, row.id
        assert np.array_equal(np.rint(x * 32768.0), x * 32768.0), row.id
        assert np.abs(x[[0, -1]]).max() <= 1e-4, row.id


def test_level_is_that_of_the_row_and_its_dynamic(rows, sounds):
    level = np.array([20.0 * np.log10(loudest(x.astype(np.float64))) for x in sounds])
    assert np.abs(level - rows.level).max() < 0.1  # background noise is added to it
    means = pd.Series(level).groupby(rows.dynamic).mean()
    assert [means[name] for name in DYNAMICS] == pytest.approx([-42.0, -32.0, -22.0], abs=0.4)


def test_silence_before_the_onset_and_at_the_end(rows, sounds):
    for row, x in zip(rows.itertuples(), sounds, strict=True):
        before = x[240 : int((row.onset - 0.013) * RATE)].astype(np.float64)
        quiet = specimen(row.instrument, int(row.specimen[-1])).background
        assert 10.0 * np.log10(np.mean(before**2)) == pytest.approx(quiet, abs=4.0), row.id
        end = 10.0 * np.log10(np.mean(x[-1200:].astype(np.float64) ** 2))
        assert end < max(row.level - 30.0, quiet + 4.0), row.id


def test_every_instrument_plays_every_articulation_at_both_ends_of_its_range():
    for instrument, (low, high) in RANGES.items():
        for articulation in articulations(instrument):
            for midi, dynamic in ((low, "ff"), (high, "pp"), (high, "ff")):
                more = {"vibrato_rate": 5.5, "vibrato_extent": 30.0, "tremolo_rate": 12.0}
                duration = 0.15 if articulation == "staccato" else 1.4
                made = note(instrument, 440.0 * 2.0 ** ((midi - 69) / 12.0), articulation=articulation, **more)
                x = render(replace(made, dynamic=dynamic, duration=duration))
                assert np.isfinite(x).all() and np.abs(x).max() < 1.0, (instrument, articulation, midi)
                assert loudest(x.astype(np.float64)) == pytest.approx(10.0 ** (-22.0 / 20.0), rel=0.01)


def test_measured_pitch_of_held_notes_is_f0(rows, sounds):
    held = rows[rows.articulation.isin(["long", "vibrato"]) & rows.instrument.isin(SUSTAINED)]
    error = np.array([abs(pitch(sounds[i], row.f0, row.onset + 0.2, 0.75)) for i, row in held.iterrows()])
    print("cents", np.percentile(error, [50, 90, 100]).round(2), len(error))
    assert np.mean(error < 10.0) > 0.95 and np.median(error) < 2.0


def test_measured_first_mode_of_strings_bars_and_bells_is_f0(rows, sounds):
    struck = rows[(rows.articulation == "long") & ~rows.instrument.isin(SUSTAINED) & (rows.midi >= 45)]
    error = []
    for i, row in struck.iterrows():
        power, f = spectrum(sounds[i], row.onset + 0.02, 0.4)
        near = np.abs(f / row.f0 - 1.0) < 0.03
        error.append(abs(1200.0 * np.log2(f[near][power[near].argmax()] / row.f0)))
    print("cents", np.percentile(error, [50, 90, 100]).round(2), len(error))
    assert np.mean(np.array(error) < 10.0) > 0.95


def test_vibrato_has_its_rate_and_extent():
    made = note("violin", 440.0, articulation="vibrato", vibrato_rate=5.5, vibrato_extent=30.0)
    x = render(made)
    times = np.arange(0.5, 1.45, 0.01)
    cents = np.array([pitch(x, 440.0, at, 0.04) for at in times])
    phases = np.exp(-2j * np.pi * 5.5 * times)
    assert 2.0 * abs(np.mean((cents - cents.mean()) * phases)) == pytest.approx(30.0, rel=0.2)


def test_louder_is_brighter():
    ratios = {}
    for instrument in INSTRUMENTS:
        low, high = RANGES[instrument]
        f0 = 440.0 * 2.0 ** ((0.6 * low + 0.4 * high - 69.0) / 12.0)
        found = [centroid(render(note(instrument, f0, dynamic=name)), 0.06) for name in DYNAMICS]
        assert found[0] < found[1] < found[2], (instrument, found)
        ratios[instrument] = found[2] / found[0]
    assert ratios["trumpet"] > 1.6, ratios  # brass more than most


def test_clarinet_has_odd_harmonics_and_oboe_has_all():
    def even_against_odd(instrument):
        found = []
        for number in range(1, 9):
            x = render(note(instrument, 233.08, specimen=f"{instrument}{number}"))
            levels = np.array([partial_level(x, 233.08 * k) for k in range(1, 6)])
            found.append(0.5 * (levels[1] + levels[3]) - (levels[0] + levels[2] + levels[4]) / 3.0)
        return np.array(found)

    clarinet, oboe = even_against_odd("clarinet"), even_against_odd("oboe")
    print(clarinet.round(1), oboe.round(1))
    assert clarinet.max() < -12.0 and oboe.min() > -9.0


@pytest.mark.parametrize(("instrument", "ratios", "f0"), [("bell", BELL[:8], 523.25), ("marimba", MARIMBA[:3], 220.0)])
def test_partials_of_bell_and_bar(instrument, ratios, f0):
    x = render(note(instrument, f0))
    power, f = spectrum(x, 0.06, 0.2 if instrument == "marimba" else 1.0)
    for ratio in ratios:
        near = np.abs(f / (ratio * f0) - 1.0) < 0.04
        beside = (np.abs(f / (ratio * f0) - 1.0) < 0.1) & ~near
        assert power[near].max() > 5.0 * np.median(power[beside]), ratio


def test_piano_strings_are_stiff_and_flute_is_harmonic():
    def sharp(instrument, k):
        power, f = spectrum(render(note(instrument, 262.0)), 0.1, 0.6)
        near = np.abs(f / (262.0 * k) - 1.0) < 0.03
        return 1200.0 * np.log2(f[near][power[near].argmax()] / (262.0 * k))

    assert sharp("piano", 12) > 10.0 and sharp("piano", 12) > sharp("piano", 5) > sharp("piano", 2)
    assert abs(sharp("flute", 5)) < 3.0


def test_brass_speaks_from_the_bottom_up():
    """Share of the 12th harmonic early and late in the attack, against the fundamental."""
    x = render(note("trumpet", 262.0))
    share = [
        partial_level(x, 262.0 * 12, start=at, seconds=0.03) - partial_level(x, 262.0, start=at, seconds=0.03)
        for at in (0.058, 0.2)
    ]
    assert share[1] > share[0] + 6.0


def test_flute_breathes():
    def noise(instrument):
        power, f = spectrum(render(note(instrument, 800.0, dynamic="pp")), 0.3, 0.8)
        between = (np.abs(f / 800.0 - np.rint(f / 800.0)) > 0.2) & (f > 1500.0) & (f < 5000.0)
        return 10.0 * np.log10(power[between].sum() / power.sum())

    assert noise("flute") > noise("clarinet") + 10.0


def test_struck_notes_decay_and_blown_ones_do_not():
    for instrument in INSTRUMENTS:
        x = render(note(instrument)).astype(np.float64)
        early, late = (np.mean(x[int(at * RATE) :][:4800] ** 2) for at in (0.15, 1.2))
        fall = 10.0 * np.log10(early / late)
        assert (fall < 5.0) if instrument in SUSTAINED else (fall > 3.0), (instrument, fall)


def test_tremolo_repeats_at_its_rate():
    for instrument in ("guitar", "marimba", "violin"):
        x = render(note(instrument, 330.0, articulation="tremolo", tremolo_rate=9.0, duration=1.45))
        power = np.sqrt(np.mean(x[1200:36000].astype(np.float64).reshape(-1, 240) ** 2, axis=1))
        curve = np.abs(np.fft.rfft((power - power.mean()) * np.hanning(len(power)), 4096))
        f = np.fft.rfftfreq(4096, 0.01)
        inside = (f > 4.0) & (f < 16.0)
        assert f[inside][curve[inside].argmax()] == pytest.approx(9.0, rel=0.06), instrument


# What a model can learn from it ------------------------------------------------------------------------------------


def test_log_mel_statistics_know_something_but_not_all(rows, sounds):
    """Instruments of specimens never heard, by a linear probe on means and deviations of 80 log-mel bands."""
    import librosa
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mel, features = librosa.filters.mel(sr=RATE, n_fft=600, n_mels=80, fmax=8000.0), []
    for x in sounds:
        band = np.log(mel @ np.abs(librosa.stft(x, n_fft=600, hop_length=240)) ** 2 + 1e-6)
        features.append(np.concatenate([band.mean(axis=1), band.std(axis=1)]))
    features, held_out = np.array(features), (rows.split == "test").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=300))
    model.fit(features[~held_out], rows.instrument[~held_out])
    accuracy = model.score(features[held_out], rows.instrument[held_out])
    print(f"log-mel statistics, held-out specimens: {accuracy:.3f}")
    assert 0.25 < accuracy < 0.9  # chance 0.083


# Use -----------------------------------------------------------------------------------------------------------------


def test_it_is_a_dataset():
    clips = load_dataset("notes", size=96, seed=1)
    assert clips.generated and clips.classes == INSTRUMENTS and clips.factors == FACTORS
    x, rate = clips.audio(3)
    assert rate == RATE and len(x) == SECONDS * RATE
    split = clips.split()
    groups = [set(clips.table.specimen.iloc[side]) for side in (split.train, split.valid, split.test)]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 96


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: table(0), r"size=0 must be a whole number, 1 or more"),
        (lambda: table(5, seed=-1), r"seed=-1 must be a whole number from 0 to 4294967295"),
        (lambda: replace(note("bell"), instrument="kazoo"), r"instrument='kazoo' must be one of bass, bell"),
        (lambda: replace(note("bell"), specimen="bell9"), r"specimen='bell9' must be one of bell1, .* for a bell"),
        (lambda: replace(note("bell"), articulation="vibrato"), r"articulation='vibrato' must be one of long, stacc"),
        (lambda: replace(note("bell"), dynamic="p"), r"dynamic='p' must be one of pp, mf, ff"),
        (lambda: replace(note("bell"), f0=float("nan")), r"f0=nan must be between 25 and 4000"),
        (lambda: replace(note("oboe"), articulation="vibrato"), r"vibrato_rate=nan must be between 1 and 12"),
        (lambda: replace(note("bell"), onset=0.9), r"duration=1.5 must be at most 2 s together with the onset"),
        (lambda: replace(note("bell"), random_seed=-1), r"random_seed=-1 must be 0 or more"),
        (lambda: render(note("piano", level=-1.0)), r"level=-1.0 must be at most -\d+\.\d dBFS"),
        (lambda: recipe({**table(1).iloc[0], "random_seed": 3.7}), r"random_seed=3.7 must be a whole number"),
        (lambda: recipe({"instrument": "bell"}), r"row=\['instrument'\] must be a row with a column specimen"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_a_thousand_clips_fit_in_a_minute_of_one_core():
    made = [recipe(row) for _, row in table(36, seed=9).iterrows()]
    render(made[0])
    start = time.process_time()
    for one in made:
        render(one)
    assert (time.process_time() - start) / len(made) * 1000 < 60.0
