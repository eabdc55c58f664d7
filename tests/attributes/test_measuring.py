"""Tables of attributes: sets, families, the store, damaged files, and agreement with what generated voices are."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from workbench.attributes import attribute_entropy, egemaps, measure, measuring
from workbench.attributes.speech import SPEECH, SPEECH_PAPER
from workbench.attributes.voice import VOICE
from workbench.core.errors import AudioError, ParameterError
from workbench.datasets import load_dataset
from workbench.datasets.clips import Clips

RATE = 16000
GOLDEN = json.loads((Path(__file__).parent / "egemaps.json").read_text())


def noises(count=4, **columns) -> Clips:
    rng = np.random.default_rng(0)
    sounds = [(0.05 * rng.standard_normal(RATE // 2)).astype(np.float32) for _ in range(count)]
    return Clips.from_arrays(sounds, RATE, **columns)


@pytest.fixture(scope="module")
def voices():
    return load_dataset("voices", size=40)


@pytest.fixture(scope="module")
def measured(voices):
    return measure(voices, set="voice", cache=False, progress=False).table.reset_index(drop=True)


def test_result(voices):
    found = measure(voices.take(np.arange(3)), set="voice", progress=False)
    assert found.set == "voice" and found.names == tuple(VOICE)
    assert found.values.shape == (3, 51) and found.values.dtype == np.float64
    assert list(found.table.columns) == list(VOICE) and list(found.table.index) == list(voices.table["id"][:3])
    assert found.families["alpha_ratio"] == "spectral" and "dB" in found.meanings["hnr_mean"]
    assert repr(found).startswith("Attributes(voice: 3 clips x 51 attributes")


def test_pitch_is_the_exact_factor(voices, measured):
    """Held notes sung straight, belted or with vibrato: within 5 cents."""
    table = voices.table
    plain = table["label"].isin(["straight", "belt", "vibrato"]) & (table["context"] == "long_tone")
    cents = 100 * (measured["f0_median"] - 12 * np.log2(table["f0"] / 27.5))[plain]
    assert plain.sum() >= 3 and cents.abs().max() < 5
    voiced = ~table["label"].isin(["vocal_fry", "inhaled"])  # fry lies below the search range, breathing in is noise
    assert np.corrcoef(measured["f0_median"][voiced], np.log2(table["f0"])[voiced])[0, 1] > 0.9


def test_loudness_is_the_exact_factor(voices, measured):
    loudness = voices.table["loudness"]
    assert (measured["level"] - loudness).abs().max() < 0.05
    assert np.corrcoef(measured["loudness_p80"], loudness)[0, 1] > 0.85


def test_harmonicity_and_formants_follow_the_factors(voices, measured):
    table = voices.table
    voiced = ~table["label"].isin(["vocal_fry", "inhaled"])
    assert np.corrcoef(measured["hnr_mean"][voiced], table["hnr"][voiced])[0, 1] > 0.6
    low = voiced & (table["f0"] < 300)
    for name, most in (("f1", 0.10), ("f2", 0.06), ("f3", 0.04)):
        error = (measured[f"{name}_frequency"] / table[name] - 1).abs()[low]
        assert error.median() < most, name


def test_numbers_do_not_depend_on_the_other_clips(voices, measured):
    found = measure(voices.take([7, 3]), set="voice", cache=False, progress=False).table
    np.testing.assert_array_equal(found.to_numpy(), measured.loc[[7, 3]].to_numpy())


def test_second_call_decodes_and_computes_nothing(monkeypatch):
    clips = noises()
    first = measure(clips, set="voice", progress=False)
    monkeypatch.setattr(measuring, "voice", lambda *_: pytest.fail("computed again"))
    monkeypatch.setattr(Clips, "audio", lambda *_, **__: pytest.fail("decoded again"))
    np.testing.assert_array_equal(measure(clips, set="voice", progress=False).values, first.values)


def test_interrupted_goes_on(monkeypatch):
    """What a first call finished before it was stopped is not computed again."""
    clips = noises(6)
    counted = []
    real = measuring.voice

    def counting(x, rate):
        counted.append(len(x))
        return real(x, rate)

    monkeypatch.setattr(measuring, "voice", counting)
    measure(clips.take(np.arange(4)), set="voice", progress=False)
    measure(clips, set="voice", progress=False)
    assert len(counted) == 6


def test_other_code_or_length_is_another_entry(monkeypatch, tmp_path):
    clips = noises(2)
    whole = measure(clips, set="voice", cache=tmp_path, progress=False)
    start = measure(clips, set="voice", seconds=0.25, cache=tmp_path, progress=False)
    assert not np.array_equal(whole.values, start.values, equal_nan=True)
    monkeypatch.setattr(measuring, "CODE_VERSION", 99)
    monkeypatch.setattr(measuring, "voice", lambda x, rate: dict.fromkeys(VOICE, 7.0))
    assert (measure(clips, set="voice", cache=tmp_path, progress=False).values == 7).all()


def test_padding_to_seconds_counts_as_silence():
    found = measure(noises(1), set="voice", seconds=1.0, progress=False).table
    assert found["loudness_p20"].item() == -100 and found["level"].item() == pytest.approx(-26 - 3, abs=0.2)


def test_undefined_survives_the_store():
    clips = Clips.from_arrays([np.zeros(RATE, np.float32), np.zeros(100, np.float32)], RATE)
    for _ in range(2):
        found = measure(clips, set="voice", progress=False).table
        assert found["f0_median"].isna().all() and (found["level"] == -100).all()
        assert found["voiced_fraction"].tolist()[0] == 0


def test_damaged_file_is_named(tmp_path):
    from workbench import audio

    for name in ("good", "bad"):
        audio.write(tmp_path / f"{name}.wav", 0.1 * np.ones(RATE, np.float32), RATE)
    (tmp_path / "bad.wav").write_bytes(b"RIFF....WAVEjunk")
    clips = load_dataset(str(tmp_path))
    with pytest.raises(AudioError, match="bad.wav"):
        measure(clips, set="voice", progress=False)
    with pytest.warns(UserWarning, match="bad"):
        found = measure(clips, set="voice", progress=False, on_error="skip")
    assert len(found) == 1 and len(found.skipped) == 1 and "bad" in next(iter(found.skipped))
    assert "good" in clips.table["id"][found.valid[0]]


@pytest.mark.parametrize(("config", "columns"), [("default", SPEECH), ("paper", SPEECH_PAPER)])
def test_the_set_speech(monkeypatch, config, columns):
    """Columns, families, units and undefined values of the sets; a second call computes nothing."""
    t = np.arange(RATE) / RATE
    sounds = [0.1 * sum(np.sin(2 * np.pi * 150 * n * t) / n for n in range(1, 12)), np.zeros(RATE), np.zeros(40)]
    clips = Clips.from_arrays([x.astype(np.float32) for x in sounds], RATE)
    first = measure(clips, set="speech", config=config, progress=False)
    assert first.set == ("speech" if config == "default" else "speech, paper")
    assert first.names == tuple(columns)
    assert first.families["pitch_spread"] == "pitch" and first.families["loudness"] == "loudness"
    assert ("semitones" if config == "default" else "Hz") in first.meanings["pitch_spread"]
    assert np.isfinite(first.values[0]).all() and np.isnan(first.values[1:]).all()
    assert first.values[0, 0] == pytest.approx(150, abs=3)
    function = "speech" if config == "default" else "speech_paper"
    monkeypatch.setattr(measuring, function, lambda *_: pytest.fail("computed again"))
    again = measure(clips, set="speech", config=config, progress=False)
    np.testing.assert_array_equal(again.values, first.values)


def test_factors():
    clips = noises(3, pitch=[60, 62.5, np.nan], vowel=["a", "i", ""], singer=["x", "y", "x"])
    found = measure(clips, set="factors")
    assert found.names == ("pitch", "vowel=a", "vowel=i", "singer=x", "singer=y")
    expected = [[60, 1, 0, 1, 0], [62.5, 0, 1, 0, 1], [np.nan, np.nan, np.nan, 1, 0]]
    np.testing.assert_array_equal(found.values, expected)
    assert found.families == {
        "pitch": "pitch",
        "vowel=a": "formants",
        "vowel=i": "formants",
        "singer=x": "singer",
        "singer=y": "singer",
    }
    assert found.meanings["pitch"] == "number, as in the table"
    assert found.meanings["vowel=i"] == "category: 1 where vowel is i, else 0"


def test_factors_of_voices_are_those_of_the_table(voices):
    found = measure(voices, set="factors").table
    np.testing.assert_array_equal(found["hnr"], voices.table["hnr"])
    np.testing.assert_array_equal(found["technique=belt"], voices.table["label"] == "belt")
    assert (found[[name for name in found if name.startswith("singer=")]].sum(axis=1) == 1).all()


def test_wrong_arguments_are_named():
    expected = "'auto' or 'egemaps' or 'voice' or 'speech' or 'music' or 'praat' or 'crepe' or 'factors'"
    with pytest.raises(ParameterError, match=f"set='gemaps' must be {expected}"):
        measure(noises(1), set="gemaps")
    with pytest.raises(ParameterError, match="config='paper' must be 'default' for the set 'voice'"):
        measure(noises(1), set="voice", config="paper")
    with pytest.raises(ParameterError, match="set='factors' must be 'voice' or 'egemaps': arrays has no known factors"):
        measure(noises(1), set="factors")


def test_egemaps_families():
    """88 functionals; a first match wins, so that logRelF0-H1-H2 is pitch and F1 amplitude a formant."""
    names = GOLDEN["names"]
    assert len(names) == 88
    families = [egemaps.family(name) for name in names]
    assert {title: families.count(title) for title in GOLDEN["families"]} == GOLDEN["families"]
    known = {
        "logRelF0-H1-A3_sma3nz_amean": "pitch",
        "F3amplitudeLogRelF0_sma3nz_stddevNorm": "formants",
        "HNRdBACF_sma3nz_amean": "voice quality",
        "loudnessPeaksPerSec": "loudness",
        "equivalentSoundLevel_dBp": "loudness",
        "MeanUnvoicedSegmentLength": "rhythm",
        "spectralFluxUV_sma3nz_amean": "spectral",
        "mfcc4V_sma3nz_amean": "MFCC",
    }
    assert {name: egemaps.family(name) for name in known} == known
    with pytest.raises(ParameterError, match="name='tempo' must be a functional of eGeMAPSv02"):
        egemaps.family("tempo")


def test_without_opensmile(monkeypatch):
    monkeypatch.setattr(egemaps, "installed", lambda: False)
    with pytest.raises(ParameterError, match=r'pip install "audio-workbench\[egemaps\]" .*free for research.* only'):
        measure(noises(1), set="egemaps")
    assert measure(noises(1), set="auto", progress=False).set == "voice"


def test_egemaps_is_not_imported_for_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    assert measure(noises(1), set="voice", cache=False, progress=False).set == "voice"


def test_egemaps(voices, measured):
    """Ours and openSMILE's agree on pitch, harmonicity and level of voices."""
    pytest.importorskip("opensmile")
    part = np.flatnonzero(~voices.table["label"].isin(["vocal_fry", "inhaled"]))[:10]
    found = measure(voices.take(part), set="auto", progress=False)
    assert found.set == "egemaps" and list(found.names) == GOLDEN["names"]
    theirs, ours = found.table.reset_index(drop=True), measured.loc[part].reset_index(drop=True)
    pairs = {
        "f0_median": ("F0semitoneFrom27.5Hz_sma3nz_percentile50.0", 0.9),
        "hnr_mean": ("HNRdBACF_sma3nz_amean", 0.8),
        "level": ("equivalentSoundLevel_dBp", 0.999),
        "alpha_ratio": ("alphaRatioV_sma3nz_amean", 0.9),
        "hammarberg_index": ("hammarbergIndexV_sma3nz_amean", 0.9),
    }
    for name, (functional, least) in pairs.items():
        assert np.corrcoef(ours[name], theirs[functional])[0, 1] > least, name
    again = measure(voices.take(part), set="egemaps", progress=False)
    np.testing.assert_array_equal(again.values, found.values)


def test_egemaps_of_a_clip_shorter_than_its_window():
    pytest.importorskip("opensmile")
    clips = Clips.from_arrays([np.full(50, 0.1, np.float32)], 44100)
    assert np.isnan(measure(clips, set="egemaps", progress=False).values).all()


def test_egemaps_at_a_file_s_own_rate_is_opensmile_on_the_file(tmp_path):
    opensmile = pytest.importorskip("opensmile")
    import soundfile

    from workbench import audio

    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )
    paths, voices = [], load_dataset("voices", size=4)
    for i, rate in enumerate((16000, 22050, 44100, 16000)):
        paths.append(tmp_path / f"{i}.wav")
        x = voices.audio(i)[0]
        soundfile.write(paths[-1], audio.resample(x, voices.audio(i)[1], rate), rate)
    (tmp_path / "clips.csv").write_text("path,label\n" + "".join(f"{path.name},a\n" for path in paths))
    clips = load_dataset(tmp_path / "clips.csv")
    with pytest.warns(UserWarning, match=r"2 of 16000 Hz, 1 of 22050 Hz, 1 of 44100 Hz\).*rate= brings them to one"):
        found = measure(clips, set="egemaps", cache=False, progress=False)
    assert list(found.ids) == list(clips.table["id"]) and list(found.valid) == [0, 1, 2, 3]
    for path, row in zip(paths, found.values, strict=True):
        theirs = smile.process_file(path).to_numpy()[0]
        np.testing.assert_allclose(row, theirs, rtol=1e-3, atol=1e-4)
    one = measure(clips, set="egemaps", rate=44100, cache=False, progress=False)
    np.testing.assert_array_equal(one.values[2], found.values[2])
    assert (np.abs(one.values[0] - found.values[0]) > 0.01 * np.abs(found.values[0])).sum() > 40
    with pytest.raises(ParameterError, match="rate=16000 must be None for the set 'voice'"):
        measure(clips, set="voice", rate=16000)


def test_egemaps_leaves_out_what_cannot_be_read_whatever_its_place(tmp_path):
    pytest.importorskip("opensmile")
    import soundfile

    x = np.random.default_rng(0).normal(0, 0.1, 44100)
    (tmp_path / "0.wav").write_bytes(b"RIFF, but no more")
    for name in ("1.wav", "2.wav"):
        soundfile.write(tmp_path / name, x, 44100)
    soundfile.write(tmp_path / "3.wav", x * np.nan, 22050, subtype="FLOAT")
    (tmp_path / "clips.csv").write_text("path,label\n" + "".join(f"{i}.wav,a\n" for i in range(4)))
    options = {"set": "egemaps", "cache": False, "progress": False, "on_error": "skip"}
    clips = load_dataset(tmp_path / "clips.csv")
    with pytest.warns(UserWarning, match=r"3 of 44100 Hz") as said:
        found = measure(clips, **options)
    assert list(found.valid) == [1, 2] and sorted(found.skipped) == sorted(clips.table["id"][[0, 3]])
    assert found.values.shape == (2, 88) and np.isfinite(found.values).all()
    assert any("1 of 22050 Hz, 3 of 44100 Hz" in str(one.message) for one in said)
    with pytest.warns(UserWarning, match="left out") as said:
        assert list(measure(clips.take([0, 1, 2]), **options).valid) == [1, 2]
    assert not any("several rates" in str(one.message) for one in said)


def test_entropy():
    tenths = np.repeat(np.arange(10), 7)
    assert attribute_entropy(tenths) == pytest.approx(np.log2(10))
    assert attribute_entropy([1, 1, 2, 2, 3, 3], bins=3) == pytest.approx(np.log2(3))
    assert attribute_entropy([0, 0, 0, 1]) == pytest.approx(0.75 * np.log2(4 / 3) + 0.25 * 2)
    assert attribute_entropy(np.full(5, 1e9)) == 0
    table = np.stack([tenths, 1e-12 * tenths + 5, np.where(tenths < 5, 0, np.nan), np.full(70, np.nan)], axis=1)
    np.testing.assert_allclose(attribute_entropy(table), [np.log2(10), np.log2(10), 0, np.nan], atol=0.02)
    assert attribute_entropy(np.random.default_rng(0).random(100000)) == pytest.approx(np.log2(10), abs=1e-3)
    with pytest.raises(ParameterError, match="bins=0 must be a whole number from 1"):
        attribute_entropy(tenths, bins=0)
    with pytest.raises(ParameterError, match=r"values='array of shape \(1, 1, 1\)'"):
        attribute_entropy(np.zeros((1, 1, 1)))
