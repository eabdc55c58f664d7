"""Clips: the table, the sounds, choosing rows, and splits that do not leak."""

import pickle
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile

from workbench.core.errors import AudioError, DatasetError, ParameterError
from workbench.core.splits import Split
from workbench.datasets import Clips, load_dataset
from workbench.datasets.sounds import FileSounds
from workbench.datasets.splits import _draw, check, choose, each_fold, grouped_folds

RATE = 8000


def _clips(n=60, **columns):
    """n short tones: two labels, ten groups, each group with both labels."""
    arrays = [np.full(80, i / n, np.float32) for i in range(n)]
    columns = {"label": ["a", "b"] * (n // 2), "group": [f"g{i // 2 % 10}" for i in range(n)], **columns}
    return Clips.from_arrays(arrays, RATE, **columns)


@pytest.fixture
def on_disk(tmp_path):
    paths = []
    for i in range(4):
        paths.append(str(tmp_path / f"s{i}.wav"))
        soundfile.write(paths[-1], np.full((400, 2), [0.1 * i, 0.3], np.float32), RATE, subtype="FLOAT")
    table = pd.DataFrame({"id": list("wxyz"), "label": list("aabb"), "path": paths})
    return Clips(table, FileSounds(), name="four")


# --- table ----------------------------------------------------------------------------------------------------------


def test_the_table_has_its_columns_and_types():
    clips = _clips(pitch=list(range(60)))
    assert list(clips.table.columns) == ["id", "label", "split", "fold", "group", "pitch"]
    assert clips.table["fold"].dtype == "Int64" and clips.table["fold"].isna().all()
    assert (clips.table["split"] == "").all() and clips.table.index.equals(pd.RangeIndex(60))
    assert clips.factors == ("pitch",) and clips.classes == ("a", "b")
    assert clips.labels.dtype.kind == "U" and list(clips.labels[:3]) == ["a", "b", "a"]


def test_repeated_ids_are_refused_with_their_rows():
    with pytest.raises(DatasetError, match=r"2 rows share their id with another \(row 1: x; row 2: x\)"):
        Clips.from_arrays([np.zeros(9)] * 4, RATE, id=["w", "x", "x", "y"])


def test_a_table_without_label_or_rows_is_refused():
    with pytest.raises(DatasetError, match="no column 'label', only id"):
        Clips(pd.DataFrame({"id": ["a"]}), FileSounds(), name="t")
    with pytest.raises(DatasetError, match="t: no clips"):
        Clips(pd.DataFrame({"id": [], "label": []}), FileSounds(), name="t")
    with pytest.raises(DatasetError, match="no column for the factors pitch"):
        Clips(pd.DataFrame({"id": ["a"], "label": [""]}), FileSounds(), name="t", factors=["pitch"])
    with pytest.raises(ParameterError, match="one value for each of the 2 sounds"):
        Clips.from_arrays([np.zeros(9)] * 2, RATE, label=["a"])


def test_repr_states_counts_and_html_is_escaped():
    clips = _clips(seconds=[60.0] * 60)
    assert repr(clips) == "Clips(arrays: 60 clips, 2 classes, 10 groups, 1.00 h)"
    nasty = Clips.from_arrays([np.zeros(9)], RATE, name="<script>alert(1)</script>", label=["<b>"])
    page = nasty._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "&lt;b&gt;" in page


def test_summary_counts_clips_groups_and_seconds_of_each_class():
    summary = _clips(seconds=[0.5] * 60).summary()
    assert summary.loc["a"].to_dict() == {"clips": 30, "groups": 10, "seconds": 15.0}
    alone = Clips.from_arrays([np.zeros(9)] * 4, RATE, label=list("aabb"), group=[""] * 4)
    assert alone.summary()["groups"].tolist() == [0, 0]


# --- sound ----------------------------------------------------------------------------------------------------------


def test_audio_averages_channels_and_keeps_the_level(on_disk):
    x, rate = on_disk.audio(2)
    assert rate == RATE and x.dtype == np.float32 and x.shape == (400,)
    np.testing.assert_allclose(x, 0.25, atol=1e-6)
    assert len(on_disk.audio(2, rate=16000)[0]) == 800


def test_pieces_of_a_file_by_start_and_stop(on_disk):
    table = on_disk.table.assign(start=[0.01, np.nan, 0.0, 0.0], stop=[0.02, np.nan, 0.03, np.nan])
    pieces = Clips(table, FileSounds(), name="pieces")
    assert [len(pieces.audio(i)[0]) for i in range(4)] == [80, 400, 240, 400]
    assert pieces.signature(2) != on_disk.signature(2)


def test_errors_of_a_sound_name_clip_and_file(on_disk, tmp_path):
    (tmp_path / "s1.wav").write_bytes(b"RIFF broken")
    with pytest.raises(AudioError, match=r"clip x of four \(.*s1\.wav\)"):
        on_disk.audio(1)
    (tmp_path / "s2.wav").unlink()
    with pytest.raises(AudioError, match=r"clip y of four .*s2\.wav.*no such file"):
        on_disk.audio(2)
    with pytest.raises(AudioError, match=r"s2\.wav"):
        on_disk.signature(2)
    with pytest.raises(ParameterError, match="i=4 must be a row of the 4 clips"):
        on_disk.audio(4)


def test_signature_follows_the_file_without_reading_it(on_disk, tmp_path, monkeypatch):
    before = [on_disk.signature(i) for i in range(4)]
    monkeypatch.setattr(soundfile, "SoundFile", None)
    assert [on_disk.signature(i) for i in range(4)] == before and len(set(before)) == 4
    monkeypatch.undo()
    soundfile.write(tmp_path / "s0.wav", np.zeros(401), RATE)
    assert on_disk.signature(0) != before[0] and on_disk.signature(1) == before[1]


def test_array_signature_is_its_content():
    one, same = (Clips.from_arrays([np.ones(9, np.float32)], RATE) for _ in range(2))
    other = Clips.from_arrays([np.ones(9, np.float32) * 0.5], RATE)
    assert one.signature(0) == same.signature(0) != other.signature(0)


def test_clips_survive_pickling(on_disk):
    for clips in (on_disk, _clips(), load_dataset("voices", size=3)):
        again = pickle.loads(pickle.dumps(clips))
        assert again.fingerprint == clips.fingerprint
        np.testing.assert_array_equal(again.audio(1)[0], clips.audio(1)[0])


def test_fingerprint_depends_on_ids_labels_groups_and_sounds_not_on_the_place(on_disk, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    table = on_disk.table.copy()
    for i in range(4):
        (moved / f"s{i}.wav").write_bytes((tmp_path / f"s{i}.wav").read_bytes())
        table.loc[i, "path"] = str(moved / f"s{i}.wav")
    assert Clips(table, FileSounds(), name="other").fingerprint == on_disk.fingerprint
    assert len(on_disk.fingerprint) == 16
    assert Clips(table.assign(label="c"), FileSounds(), name="other").fingerprint != on_disk.fingerprint
    assert on_disk.take([0, 1]).fingerprint != on_disk.fingerprint


# --- choosing rows ----------------------------------------------------------------------------------------------------


def test_where_takes_values_lists_and_functions():
    clips = _clips(pitch=list(range(60)))
    assert len(clips.where(label="a")) == 30
    assert len(clips.where(label=["a", "b"], pitch=lambda p: p < 7)) == 7
    assert clips.where(pitch=[3, 5]).table["pitch"].tolist() == [3, 5]
    np.testing.assert_array_equal(clips.where(pitch=5).audio(0)[0], clips.audio(5)[0])
    with pytest.raises(ParameterError, match="did you mean 'pitch'"):
        clips.where(pich=3)
    with pytest.raises(DatasetError, match="no clip has pitch=99"):
        clips.where(pitch=99)


def test_take_by_position_and_mask():
    clips = _clips()
    assert clips.take([5, 2]).table["id"].tolist() == ["5", "2"]
    assert len(clips.take(clips.labels == "b")) == 30
    with pytest.raises(ParameterError, match="mask of shape"):
        clips.take(np.ones(3, bool))
    with pytest.raises(ParameterError, match="positions in 60 clips"):
        clips.take([60])


def test_sample_is_seeded_and_can_be_per_class():
    clips = _clips()
    assert clips.sample(10, seed=1).table["id"].tolist() == clips.sample(10, seed=1).table["id"].tolist()
    assert clips.sample(10, seed=1).table["id"].tolist() != clips.sample(10, seed=2).table["id"].tolist()
    assert clips.sample(4, per="label").summary()["clips"].tolist() == [4, 4]
    assert clips.sample(1, per="group").table["group"].nunique() == 10
    with pytest.raises(ParameterError, match="n=61 must be between 1 and the 60 clips"):
        clips.sample(61)


def test_balanced_serves_classes_in_turn():
    clips = Clips.from_arrays([np.zeros(9)] * 30, RATE, label=["rare"] * 3 + ["common"] * 27)
    assert clips.balanced(10).summary()["clips"].to_dict() == {"common": 7, "rare": 3}
    assert clips.balanced(4).summary()["clips"].to_dict() == {"common": 2, "rare": 2}
    assert clips.balanced(99) is clips


def test_relabel_merges_classes_and_leaves_out_the_others():
    clips = Clips.from_arrays([np.zeros(100)] * 6, 8000, label=list("aabbcc"))
    merged = clips.relabel({"a": "x", "b": "x"})
    assert len(merged) == 4 and merged.classes == ("x",) and merged.dropped == {"with another label": 2}
    assert clips.classes == ("a", "b", "c")
    with pytest.raises(ParameterError, match="names='d' must be labels of .*a, b, c"):
        clips.relabel({"d": "x"})


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["speaker1", None, "speaker2", "speaker1"], dtype="str"),
        pd.Series(["speaker1", None, "speaker2", "speaker1"], dtype=object),
        pd.Series(["speaker1", np.nan, "speaker2", "speaker1"]).astype("category"),
        pd.Series([101, None, 102, 101], dtype="Int64"),
        pd.Series([1.01, np.nan, 1.02, 1.01]),
    ],
)
def test_columns_with_gaps_as_labels_and_groups(column):
    clips = Clips.from_arrays([np.zeros(9)] * 4, 8000, who=column)
    names = [str(column[0]), str(column[2]), str(column[0])]
    assert clips.with_label("who").labels.tolist() == names
    assert clips.with_label("who").dropped == {"without who": 1}
    assert clips.groups(by="who").tolist() == [names[0], "clip 1", *names[1:]]
    table = pd.DataFrame({"id": list("abcd"), "label": list("xyxy"), "group": column})
    assert Clips(table, FileSounds(), name="mine").table["group"].tolist() == [names[0], "", *names[1:]]


def test_with_label_drops_empty_rows_and_counts_them():
    clips = _clips(style=["x"] * 40 + [""] * 20, take=[1] * 60)
    styled = clips.with_label("style")
    assert len(styled) == 40 and styled.classes == ("x",) and styled.dropped == {"without style": 20}
    assert "20 without style left out" in repr(styled)
    assert clips.with_label("take").classes == ("1",)
    with pytest.raises(ParameterError, match="did you mean 'style'"):
        clips.with_label("stile")


# --- splits -----------------------------------------------------------------------------------------------------------


def _groups(clips, rows):
    return set(clips.table["group"].iloc[rows])


def test_random_split_keeps_groups_whole_and_classes_in_proportion():
    clips = _clips(200)
    split = clips.split(seed=3)
    assert sorted(np.concatenate(list(split))) == list(range(200))
    assert not _groups(clips, split.train) & _groups(clips, split.test)
    assert not _groups(clips, split.train) & _groups(clips, split.valid)
    assert not _groups(clips, split.valid) & _groups(clips, split.test)
    assert len(split.test) == 40 and (clips.labels[split.test] == "a").mean() == 0.5
    again = clips.split(seed=3)
    assert all(np.array_equal(one, other) for one, other in zip(split, again, strict=True))
    assert not np.array_equal(clips.split(seed=4).test, split.test)


def test_shares_and_folds_that_numpy_made():
    clips = _clips(fold=[1, 2, 3] * 20, group=[""] * 60)
    share, folds = np.float32(0.5), np.array([1, 3])
    np.testing.assert_array_equal(clips.split(test=share, valid=np.int64(0)).test, clips.split(test=0.5, valid=0).test)
    np.testing.assert_array_equal(clips.split(test=folds).test, clips.split(test=[1, 3]).test)


def test_shares_and_none_for_validation():
    clips = _clips(200)
    assert len(clips.split(test=0.3, valid=0).test) == 60 and len(clips.split(test=0.3, valid=0).valid) == 0
    assert len(clips.split(test=0.8, by="id", valid=0).test) == 160


def test_published_split_is_kept_and_validation_is_drawn_from_train():
    names = ["test" if i // 2 % 10 in (1, 4) else "train" for i in range(60)]
    clips = _clips(split=names)
    split = clips.split()
    assert set(clips.table["split"].iloc[split.test]) == {"test"} and len(split.test) == 12
    assert set(clips.table["split"].iloc[split.valid]) == {"train"} and len(split.valid) > 0
    assert not _groups(clips, split.train) & _groups(clips, split.valid)


def test_published_validation_is_used_and_never_trained_on():
    part = {0: "test", 1: "valid", 2: "valid"}
    clips = _clips(split=[part.get(i // 2 % 10, "train") for i in range(60)])
    assert (len(clips.split().valid), len(clips.split().train), len(clips.split().test)) == (12, 42, 6)
    without = clips.split(valid=0)
    assert len(without.valid) == 0 and len(without.train) == 42


def test_clips_in_no_published_part_are_left_out():
    part = {0: "test", 1: ""}
    split = _clips(split=[part.get(i // 2 % 10, "train") for i in range(60)]).split(valid=0)
    assert (len(split.train), len(split.test)) == (48, 6)


def test_published_folds():
    clips = _clips(fold=[i // 2 % 5 + 1 for i in range(60)])
    splits = clips.folds()
    assert [len(split.test) for split in splits] == [12] * 5
    assert set(clips.table["fold"].iloc[splits[0].test]) == {1} and set(clips.table["fold"].iloc[splits[0].valid]) == {
        2
    }
    assert len(clips.folds(valid=False)[0].train) == 48
    by_name, by_number = clips.split(test="fold3", valid="fold4"), clips.split(test=3, valid=4)
    np.testing.assert_array_equal(by_name.test, by_number.test)
    assert set(clips.table["fold"].iloc[by_name.valid]) == {4}
    assert len(clips.split(test=["fold1", "fold2"]).test) == 24
    assert set(clips.table["fold"].iloc[clips.split().test]) == {5}
    with pytest.raises(ParameterError, match="test='fold6' must be among fold1, fold2, fold3, fold4, fold5"):
        clips.split(test="fold6")


def test_random_folds_test_every_clip_once_and_keep_groups():
    clips = _clips(100)
    splits = clips.folds(4, seed=1)
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(100))
    assert all(not _groups(clips, split.train) & _groups(clips, split.test) for split in splits)


def test_a_published_split_that_leaks_is_refused_and_groups_are_named():
    clips = _clips(split=["test" if i < 20 else "train" for i in range(60)])
    with pytest.raises(
        DatasetError,
        match=r"leaks: 10 of its groups \(group\) are in both train and test: g0, g1, g2, g3, g4 and 5 more",
    ):
        clips.split(valid=0)
    assert len(clips.split(by="id").test) == 20
    with pytest.raises(DatasetError, match=r"arrays, fold 1: the split leaks"):
        _clips(fold=[i % 5 + 1 for i in range(60)], group=[f"g{i // 5}" for i in range(60)]).folds()


def test_label_that_goes_with_the_group_is_refused():
    clips = _clips(label=[f"g{i // 2 % 10}" for i in range(60)])
    with pytest.raises(DatasetError, match="no class of test .* is in train"):
        clips.split()


def test_a_class_that_is_only_tested_is_warned_of():
    names = ["train"] * 40 + ["test"] * 20
    label = ["a", "b"] * 20 + ["a", "c"] * 10
    clips = Clips.from_arrays([np.zeros(9)] * 60, RATE, label=label, split=names)
    with pytest.warns(UserWarning, match="1 classes of test are not in train: c"):
        clips.split()


def test_one_group_cannot_be_split():
    with pytest.raises(DatasetError, match="all 60 clips are in one group"):
        _clips(group=["g"] * 60).split()
    with pytest.raises(DatasetError, match="all 60 clips are in one group"):
        _clips(group=["g"] * 60).testable()
    with pytest.raises(DatasetError, match="10 groups cannot be dealt into 11 folds"):
        _clips().folds(11)


def test_clips_without_a_group_stand_alone():
    clips = Clips.from_arrays([np.zeros(9)] * 20, RATE, label=["a", "b"] * 10, group=["g"] * 10 + [""] * 10)
    assert len(set(clips.groups())) == 11
    assert len(clips.split(seed=1).test) > 0


def test_small_classes_can_be_dealt():
    labels = np.array(list("aabbccddee"))
    folds = grouped_folds(labels, np.array([str(i) for i in range(10)]), 5)
    assert sorted(np.bincount(folds)) == [2] * 5
    pairs = np.array([str(i // 2) for i in range(10)])
    assert len(set(zip(pairs, grouped_folds(labels, pairs, 5), strict=True))) == 5


def test_draw_takes_the_groups_nearest_to_the_share():
    labels, groups = np.array(["a"] * 60), np.array([f"speaker{i % 6}" for i in range(60)])
    assert _draw(labels, groups, 0.2).sum() == 10
    assert _draw(labels, groups, 1 / 3).sum() == 20
    with pytest.raises(ParameterError, match="share=1.5 must be a finite number, above 0 and below 1"):
        _draw(labels, groups, 1.5)


def test_another_seed_tests_other_groups_of_unequal_size():
    rng = np.random.default_rng(3)
    for count, distinct in ((5, 3), (8, 4), (20, 9)):
        sizes = np.maximum(2, rng.lognormal(2.5, 0.8, count)).astype(int)
        groups = np.repeat([f"speaker {g}" for g in range(count)], sizes)
        labels = np.array(["a", "b", "c"])[rng.integers(0, 3, len(groups))]
        drawn = [_draw(labels, groups, 0.2, seed=seed) for seed in range(10)]
        assert len({mask.tobytes() for mask in drawn}) >= distinct
        for mask in drawn:
            assert not set(groups[mask]) & set(groups[~mask]) and 0.08 < mask.mean() < 0.42
            assert set(labels[~mask]) == {"a", "b", "c"}


def test_two_groups_are_refused_by_name_and_three_make_folds():
    sounds = [np.full(800, i / 100, np.float32) for i in range(24)]
    for count in (1, 2, 3):
        group = [f"g{i // 2 % count}" for i in range(24)]
        clips = Clips.from_arrays(sounds, 16000, label=["a", "b"] * 12, group=group)
        if count == 3:
            assert len(clips.folds()) == 3 and len(clips.split().valid) == 8
            continue
        for call in (clips.folds, clips.split):
            with pytest.raises(DatasetError, match="two groups are too few" if count == 2 else "are in one group"):
                call()
    with pytest.raises(DatasetError, match="one group is left to learn from"):
        Clips.from_arrays(sounds, 16000, label=["a", "b"] * 12, group=[f"g{i // 8}" for i in range(24)]).split(test=0.7)


def test_classes_of_too_few_groups_are_left_out_by_name():
    sounds = [np.full(800, i / 100, np.float32) for i in range(24)]
    label, group = ["a", "b"] * 10 + ["rare"] * 4, [f"g{i // 4}" for i in range(24)]
    clips = Clips.from_arrays(sounds, 16000, label=label, group=group)
    with pytest.warns(UserWarning, match=r"1 of 3 classes \(rare; 4 clips\) are left out: they have fewer than 3"):
        assert list(clips.testable().classes) == ["a", "b"]
    assert clips.testable(1) is clips
    each = Clips.from_arrays(sounds, 16000, label=[str(i) for i in range(24)])
    with pytest.raises(DatasetError, match="each of 24 classes has one clip"):
        each.testable()
    twelve = [f"g{i % 12}" for i in range(24)]  # six of each class
    with pytest.raises(DatasetError, match="0 of 2 classes have clips of 7 groups"):
        Clips.from_arrays(sounds, 16000, label=["a", "b"] * 12, group=twelve).testable(7)


def test_the_only_group_of_a_class_is_rather_not_tested():
    groups = np.repeat([f"g{i}" for i in range(6)], 10)
    labels = np.where(groups == "g5", "rare", np.tile(["a", "b"], 30))
    assert all(not _draw(labels, groups, 0.2, seed=seed)[groups == "g5"].any() for seed in range(30))


def test_split_prints_and_unpacks():
    train, valid, test = split = Split(np.arange(3), np.arange(0), np.array([4]))
    assert repr(split) == "Split(train=3, valid=0, test=1)" and (len(train), len(valid), len(test)) == (3, 0, 1)
    with pytest.raises(DatasetError, match="leaves no clips for test"):
        check(Split(train, valid, valid), np.array(list("abcde")), [frozenset("x")] * 5)
    with pytest.raises(ParameterError, match="at least two folds"):
        each_fold(np.zeros(4, int))


def test_choose_with_only_a_test_part_trains_on_the_rest():
    names, none = np.array(["test", "test", "", ""]), np.full(4, -1)
    split = choose(names, none, np.array(list("abab")), np.array(list("wxyz")), valid=0)
    assert split.train.tolist() == [2, 3] and split.test.tolist() == [0, 1]


def test_a_hundred_thousand_clips_are_split_in_seconds():
    n = 100_000
    labels = np.array([f"w{i % 35}" for i in range(n)])
    groups = np.array([f"s{i // 40}" for i in range(n)])
    began = time.perf_counter()
    mask = _draw(labels, groups, 0.2)
    assert time.perf_counter() - began < 10 and abs(mask.mean() - 0.2) < 0.01


def test_tags_of_clips_whose_label_is_a_set():
    labels = ["bark+siren", "none", "siren", "bell"]
    clips = Clips.from_arrays([np.zeros(8)] * 4, 8000, label=labels, tags=labels)
    assert clips.tags.to_dict("list") == {
        "bark": [True, False, False, False],
        "bell": [False, False, False, True],
        "siren": [True, False, True, False],
    }
    assert "3 tags" in repr(clips)
    assert clips.with_label("label").tags is not None and clips.relabel({"bell": "b"}).tags is None
    assert Clips.from_arrays([np.zeros(8)], 8000, label=["a"]).tags is None


def test_a_split_of_sets_is_checked_tag_by_tag():
    clips = load_dataset("scenes_multi", size=60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = clips.folds()
    assert len(folds) == 5
    labels = ["a+c", "a", "a", "a+b"]
    few = Clips.from_arrays([np.zeros(8)] * 4, 8000, label=labels, tags=labels, split=["train"] * 2 + ["valid", "test"])
    with pytest.warns(UserWarning, match="1 classes of test are not in train: b"):
        few.split()


def test_waveforms_at_one_rate_and_length(monkeypatch):
    clips = Clips.from_arrays([0.5 * np.ones(4000), np.zeros(8000), -0.25 * np.ones(12000)], 8000)
    x = clips.waveforms(rate=8000, seconds=1.0, progress=False)
    assert x.shape == (3, 8000) and x.dtype == np.float32
    assert x[0, 3999] == 1 and x[0, 4000] == 0 and not x[1].any() and (x[2] == -1).all()
    monkeypatch.setattr("workbench.datasets.clips.IN_MEMORY", 1)
    mapped = clips.waveforms(rate=8000, seconds=1.0, progress=False)
    assert isinstance(mapped, np.memmap) and np.array_equal(mapped, x)
