"""Summaries of a dataset: segments, tracks, the cache; and the judge."""

import numpy as np
import pytest

from workbench import audio
from workbench.core.errors import AudioError, ParameterError
from workbench.core.splits import Split
from workbench.datasets import Clips, load_dataset
from workbench.encoders import load_encoder
from workbench.sonify import Judge, fit_judge, load_autoencoder, summarise


@pytest.fixture(scope="module")
def model():
    return load_autoencoder("mini-mel", device="cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))


def tones(*seconds, rate=16000):
    times = [np.arange(round(s * rate)) / rate for s in seconds]
    sounds = [0.3 * np.sin(2 * np.pi * (200 + 100 * k) * t) for k, t in enumerate(times)]
    return Clips.from_arrays(sounds, rate, label=[f"tone {k}" for k in range(len(sounds))])


def test_clips_are_cut_into_windows_and_short_rests_left_out(model):
    told = summarise(tones(1.0, 4.5, 2.05), model, progress=False)
    assert told.rows.tolist() == [0, 1, 1, 1, 2], "50 ms are left of the last clip: too short to be summed up"
    assert told.starts.tolist() == [0, 0, 2, 4, 0]
    assert told.z.shape == (5, 256) and told.labels.tolist() == ["tone 0", "tone 1", "tone 1", "tone 1", "tone 2"]
    assert told.names.tolist() == ["0", "1", "1 at 2 s", "1 at 4 s", "2"]
    assert len(told.audio(3)[0]) == 8000 and len(told.audio(1)[0]) == 32000
    alone = model.embed([told.audio(2)[0]], 16000).numpy()
    np.testing.assert_allclose(told.z[2], alone[0], atol=1e-4)


def test_a_split_of_clips_is_one_of_segments(model):
    told = summarise(tones(1.0, 4.5, 2.0), model, progress=False)
    split = told.split(Split(train=[1], valid=[2], test=[0]))
    assert [rows.tolist() for rows in split] == [[1, 2, 3], [4], [0]]
    with pytest.raises(ParameterError, match="split='tuple' must be a workbench.Split"):
        told.split(([1], [2], [0]))


def test_what_was_summed_up_is_read_not_made_again(model, tmp_path, monkeypatch):
    clips = tones(1.0, 2.0)
    first = summarise(clips, model, progress=False)
    (file,) = (tmp_path / "cache" / "summaries").iterdir()
    monkeypatch.setattr(type(model), "embed", lambda *a, **k: pytest.fail("encoded again"))
    again = summarise(clips, model, progress=False)
    np.testing.assert_array_equal(first.z, again.z)
    monkeypatch.undo()
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    file.write_bytes(b"no zip")
    with pytest.warns(UserWarning, match=f"{file.name} is damaged"):
        np.testing.assert_array_equal(summarise(clips, model, progress=False).z, first.z)
    summarise(tones(1.0, 2.1), model, progress=False)
    assert len(list(file.parent.iterdir())) == 2, "other sounds, another file"


def test_a_clip_that_cannot_be_summed_up_is_named(model):
    with pytest.raises(AudioError, match="clip 1 of arrays.*lasts 0.050 s"):
        summarise(tones(1.0, 0.05), model, progress=False)
    with pytest.warns(UserWarning, match="1 clips under 0.1 s are left out: 1"):
        assert summarise(tones(1.0, 0.05, 1.0), model, skip_short=True, progress=False).rows.tolist() == [0, 2]
    bad = Clips.from_arrays([np.full(16000, np.nan, np.float32)], 16000)
    with pytest.raises(AudioError, match="clip 0 of arrays"):
        summarise(bad, model, progress=False)


def test_windows_are_a_dataset_of_what_the_autoencoder_is_given(model):
    told = summarise(tones(1.0, 4.5, 2.05, rate=22050), model, progress=False)
    windows = told.windows(16000)
    assert len(windows) == 5 and windows.labels.tolist() == told.labels.tolist()
    assert windows.groups().tolist() == told.groups.tolist(), "windows of a clip share its group"
    for i in range(5):
        x, rate = windows.audio(i)
        assert rate == 16000 and x.shape == (32000,)
        np.testing.assert_array_equal(x, told.window(i, 16000))
    start = round(22050 * 2)
    whole = tones(1.0, 4.5, 2.05, rate=22050).audio(1)[0]
    expected = audio.at_level(audio.resample(whole[start : start + 44100], 22050, 16000), told.level)
    np.testing.assert_allclose(windows.audio(2)[0], expected)
    assert not windows.audio(0)[0][16000:].any(), "a clip of 1 s is padded with silence"
    assert len(windows.audio(0, rate=8000)[0]) == 16000
    assert windows.fingerprint != told.windows(8000).fingerprint, "another rate, other sounds"
    assert len({windows.signature(i) for i in range(5)}) == 5


def test_a_judge_of_windows_is_judged_on_exactly_what_it_hears(model):
    """Clips of .5 or of 4 s: padding or cutting changes every one of them."""
    rng, rate = np.random.default_rng(0), 24000
    labels = np.array(["low", "high"] * 40)
    seconds = np.where(np.arange(80) % 4 < 2, 0.5, 4.0)
    sounds = [0.2 * np.sin(np.arange(round(s * rate)) * (0.05 if c == "low" else 0.06) * rng.uniform(0.95, 1.05))
              for s, c in zip(seconds, labels, strict=True)]  # fmt: skip
    clips = Clips.from_arrays(sounds, rate, label=labels.tolist())
    told, parts = summarise(clips, model, progress=False), clips.split()
    split, encoder = told.split(parts), load_encoder("logmel")
    judge = fit_judge(told.windows(16000), encoder, split, progress=False)
    heard = judge.agreement([told.window(i, 16000) for i in split.test], 16000, told.labels[split.test])
    np.testing.assert_array_equal(heard, judge.probes.predictions[0, 0] == judge.probes.true)
    assert judge.knows and judge.caution is None and f"{heard.mean():.1%}" in judge.accuracy
    assert f", of {len(np.unique(told.groups[split.test]))} groups;" in judge.accuracy
    noise = Clips.from_arrays([0.1 * rng.standard_normal(8000) for _ in labels], rate, label=rng.permutation(labels))
    deaf = fit_judge(noise, encoder, parts, progress=False)
    assert not deaf.knows and "nothing follows" in deaf.caution and deaf.floor >= 0.5


def test_a_judge_knows_notes_and_prototypes_of_mere_noise_not(tmp_path):
    clips = load_dataset("notes", size=192)
    judge = fit_judge(clips, load_encoder("logmel"), clips.split(), progress=False)
    test = clips.split().test
    sounds = [clips.audio(int(i))[0] for i in test]
    agreed = judge.agreement(sounds, 24000, clips.labels[test])
    assert agreed.mean() == pytest.approx(judge.probes.accuracy[0].mean(), abs=0.15) and agreed.mean() > 0.2
    noise = [4 * np.random.default_rng(k).standard_normal(48000).astype(np.float32) for k in range(12)]
    p = judge.probabilities(noise, 24000)
    assert p.shape == (12, 12) and np.allclose(p.sum(1), 1)
    assert judge.agreement(noise, 24000, judge.classes).mean() <= 0.2, "one class for all noises"
    judge.save(tmp_path / "judge")
    loaded = Judge.load(tmp_path / "judge", load_encoder("logmel"))
    np.testing.assert_array_equal(loaded.probabilities(noise, 24000), p)
    with pytest.raises(ParameterError, match="encoder='mini, .*' must be logmel, the one that .*judge was fitted on"):
        Judge.load(tmp_path / "judge", load_encoder("mini"))
