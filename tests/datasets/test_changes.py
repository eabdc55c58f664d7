"""Sounds changed on purpose: what changes is what was asked for, and nothing else; who they are; files and recipes."""

import pickle

import numpy as np
import pytest
import soundfile

from workbench import audio
from workbench.core.errors import AudioError, ParameterError
from workbench.datasets import Clips, load_dataset
from workbench.datasets.changes import AMOUNTS

RATE = 16000


def tones(*frequencies, seconds=1.0, rate=RATE, level=0.1, **columns) -> Clips:
    t = np.arange(int(seconds * rate)) / rate
    sounds = [(level * np.sin(2 * np.pi * f * t)).astype(np.float32) for f in frequencies]
    return Clips.from_arrays(sounds, rate, **columns)


def frequency(x, rate) -> float:
    """Of the strongest partial, Hz, between the bins."""
    x = x[len(x) // 10 : -len(x) // 10] * np.hanning(len(x[len(x) // 10 : -len(x) // 10]))
    spectrum = np.log(np.abs(np.fft.rfft(x)) + 1e-12)
    k = spectrum.argmax()
    a, b, c = spectrum[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * rate / len(x)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("semitones", [-7, 0.5, 4])
def test_pitch_moves_by_semitones_and_the_length_stays(rate, semitones):
    clips = tones(440, rate=rate)
    x, found = clips.changed("pitch", semitones).audio(0)
    assert found == rate and len(x) == rate and x.dtype == np.float32
    assert 1200 * np.log2(frequency(x, rate) / 440) == pytest.approx(100 * semitones, abs=3)
    assert audio.level(x[rate // 10 : -rate // 10]) == pytest.approx(-23, abs=1)


@pytest.mark.parametrize("factor", [0.5, 1.25, 2])
def test_tempo_changes_the_length_and_pitch_stays(factor):
    clips = tones(440, seconds=2.0)
    changed = clips.changed("tempo", factor)
    x, _ = changed.audio(0)
    assert len(x) == round(2 * RATE / factor)
    assert frequency(x, RATE) == pytest.approx(440, rel=0.002)
    assert changed.table["tempo_change"].tolist() == [factor]


def test_clicks_come_at_the_new_tempo():
    x = np.zeros(3 * RATE, np.float32)
    x[:: RATE // 2] = 0.8
    y, _ = Clips.from_arrays([x], RATE).changed("tempo", 2.0).audio(0)
    energy = np.square(y).reshape(-1, RATE // 100).sum(1)  # in steps of 10 ms
    assert set(np.flatnonzero(energy > 0.3 * energy.max()) // 5 % 5) <= {0, 4}  # every 250 ms, give or take 50


def test_gain_is_exact_and_never_clips():
    clips = tones(440, level=0.5)
    x, _ = clips.changed("gain", 20.0).audio(0)
    np.testing.assert_allclose(x, 10 * clips.audio(0)[0], rtol=1e-6)
    assert np.abs(x).max() > 4.9
    assert audio.level(clips.changed("gain", -30.0).audio(0)[0]) == pytest.approx(audio.level(clips.audio(0)[0]) - 30)


def test_noise_has_its_ratio_and_belongs_to_the_sound():
    clips = tones(440, 600)
    noises = {}
    for ratio in (30.0, 0.0, -10.0):
        changed = clips.changed("noise", ratio, seed=3)
        noise = changed.audio(0)[0] - clips.audio(0)[0]
        assert audio.level(clips.audio(0)[0]) - audio.level(noise) == pytest.approx(ratio, abs=0.01)
        noises[ratio] = noise / noise.std()
    np.testing.assert_allclose(noises[30.0], noises[-10.0], atol=1e-3)
    assert abs(np.corrcoef(noises[0.0], changed.audio(1)[0] - clips.audio(1)[0])[0, 1]) < 0.05
    other = clips.changed("noise", 0.0, seed=4).audio(0)[0] - clips.audio(0)[0]
    assert abs(np.corrcoef(noises[0.0], other)[0, 1]) < 0.05
    spectrum = np.abs(np.fft.rfft(noises[0.0])) ** 2
    assert spectrum[:2000].mean() == pytest.approx(spectrum[-2000:].mean(), rel=0.15)
    named = tones(440, id=["other"]).changed("noise", 0.0, seed=3)
    np.testing.assert_array_equal(named.audio(0)[0], clips.changed("noise", 0.0, seed=3).audio(0)[0])


@pytest.mark.parametrize(("tone", "loss"), [(500, 0.03), (1000, 6.02), (2000, 50.96)])
def test_lowpass_of_a_kilohertz(tone, loss):
    """10 log10(1 + v^8), twice, of the warped frequency v = tan(pi f / rate) / tan(pi cutoff / rate)."""
    clips = tones(tone)
    middle = slice(RATE // 4, -RATE // 4)
    whole, left = (audio.level(c.audio(0)[0][middle]) for c in (clips, clips.changed("lowpass", 1000.0)))
    assert whole - left == pytest.approx(loss, abs=0.1)


@pytest.mark.parametrize("change", sorted(AMOUNTS))
def test_no_change_is_the_sound_itself(change):
    clips = tones(440, 300)
    neutral = AMOUNTS[change][0]
    same = clips.changed(change, neutral)
    np.testing.assert_array_equal(same.audio(1)[0], clips.audio(1)[0])
    np.testing.assert_array_equal(same.audio(1, rate=8000)[0], clips.audio(1, rate=8000)[0])
    assert same.fingerprint == clips.fingerprint and same.signature(0) == clips.signature(0)
    amount = {"tempo": 1.5, "noise": 10.0, "lowpass": 400.0}.get(change, 2.0)
    other = clips.changed(change, amount)
    assert other.fingerprint != clips.fingerprint and other.signature(0) != clips.signature(0)
    assert other.fingerprint == tones(440, 300).changed(change, amount).fingerprint
    assert not np.array_equal(other.audio(0)[0], clips.audio(0)[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(other)).audio(0)[0], other.audio(0)[0])


def test_an_amount_a_clip_goes_with_its_row():
    clips = tones(440, 440, 440, label=list("aab"), group=list("xyz"))
    changed = clips.changed("gain", [-6.0, 0.0, 6.0])
    assert list(changed.table["id"]) == list(clips.table["id"]) and list(changed.labels) == ["a", "a", "b"]
    assert list(changed.table["group"]) == list("xyz") and changed.factors == clips.factors
    assert changed.table["gain_change"].tolist() == [-6, 0, 6]
    levels = [audio.level(changed.take([2, 0]).audio(i)[0]) - audio.level(clips.audio(0)[0]) for i in (0, 1)]
    assert levels == pytest.approx([6, -6], abs=0.01)


def test_there_and_back_leaves_the_mark_of_the_vocoder():
    clips = tones(440)
    back = clips.changed("pitch", 3).changed("pitch", -3)
    assert list(back.table.columns[-2:]) == ["pitch_change", "pitch_change_2"]
    assert frequency(back.audio(0)[0], RATE) == pytest.approx(440, rel=0.002)
    assert not np.array_equal(back.audio(0)[0], clips.audio(0)[0])
    np.testing.assert_allclose(clips.changed("gain", 6).changed("gain", -6).audio(0)[0], clips.audio(0)[0], rtol=1e-6)


def test_short_sounds_and_silence():
    clips = Clips.from_arrays([np.full(100, 0.1, np.float32), np.zeros(RATE, np.float32)], RATE)
    for change, amount in (("pitch", 3.0), ("tempo", 0.5), ("gain", 3.0), ("noise", 0.0), ("lowpass", 100.0)):
        changed = clips.changed(change, amount)
        x, silent = changed.audio(0)[0], changed.audio(1)[0]
        assert len(x) == (200 if change == "tempo" else 100) and np.isfinite(x).all()
        assert not silent.any()


def test_files(tmp_path):
    """Changed at the file's own rate and then resampled; what cannot be read is named as ever."""
    t = np.arange(44100) / 44100
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.wav", 0.1 * np.sin(2 * np.pi * 440 * (i + 1) * t), 44100, subtype="FLOAT")
    (tmp_path / "clips.csv").write_text("path,label\n0.wav,a\n1.wav,b\n")
    clips = load_dataset(tmp_path / "clips.csv")
    changed = clips.changed("pitch", 12)
    x, rate = changed.audio(0, rate=16000)
    assert rate == 16000 and frequency(x, rate) == pytest.approx(880, rel=0.002)
    assert changed.source(0) == clips.source(0) and changed.signature(0).startswith(clips.signature(0))
    (tmp_path / "0.wav").write_bytes(b"RIFF no")
    with pytest.raises(AudioError, match="0.wav"):
        clips.changed("noise", 5.0).audio(0)


def test_generated_sounds_say_so():
    changed = load_dataset("voices", size=2).changed("tempo", 2.0)
    assert changed.generated and changed.table["seconds"].tolist() == [2.5, 2.5]
    x, rate = changed.audio(0)
    assert len(x) == round(2.5 * rate) and "tempo changed by 2" in changed.source(0)
    assert "generated audio" in repr(changed)


def test_embed_knows_them_apart_and_the_unchanged_again(tmp_path):
    from workbench.attributes import measure

    clips = tones(200, 300)
    options = {"set": "voice", "cache": tmp_path, "progress": False}
    pitch = {
        amount: measure(clips.changed("pitch", amount), **options).table["f0_median"].to_numpy() for amount in (0, 5)
    }
    np.testing.assert_allclose(pitch[5] - pitch[0], 5, atol=0.05)
    plain = measure(clips, **options)
    np.testing.assert_array_equal(plain.table["f0_median"], pitch[0])
    assert list(measure(clips.changed("gain", 6.0), **options).ids) == list(plain.ids)


@pytest.mark.parametrize(
    ("change", "amount", "said"),
    [
        ("speed", 2, "change='speed' must be 'pitch' or 'tempo' or 'gain' or 'noise' or 'lowpass'"),
        ("pitch", 40, "amount=40 must be a finite number from -36 to 36"),
        ("tempo", [1.0, 0], r"amount\[1\]=0.0 must be a finite number from 0.1 to 10"),
        ("gain", [1.0], "amount='1 values' must be a number, or one for each of the 2 clips"),
        ("gain", float("inf"), "amount=inf must be a finite number"),
        ("noise", float("nan"), "amount=nan must be a number, -60 or more"),
        ("lowpass", "low", "amount='low' must be a number, 20 or more"),
        ("pitch", None, "amount=None must be a finite number"),
    ],
)
def test_wrong_arguments_are_named(change, amount, said):
    with pytest.raises(ParameterError, match=said):
        tones(440, 300).changed(change, amount)
