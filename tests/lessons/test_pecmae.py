"""What the notebook on prototypes that can be heard computes by itself: comparisons, tables and sentences."""

from __future__ import annotations

from types import SimpleNamespace

import librosa
import numpy as np
import pandas as pd
import pytest

from workbench.core.splits import Split
from workbench.datasets import Clips
from workbench.lessons import pecmae as lesson
from workbench.prototypes import APNet, LearntPrototypes

RATE, CLASSES = 8000, ("bell", "drum", "flute")


SPLIT = Split(np.arange(18), np.arange(18, 24), np.arange(24, 36))


def test_a_plan_is_narrowed_and_told():
    plan = {"dataset": "notes", "size": 480, "autoencoder": "mini-mel", "judge": "logmel", "ks": [1, 3, 5]}
    plan |= {
        "windows": "padded",
        "prototypes": 3,
        "folds": 2,
        "seeds": 1,
        "train_steps": 600,
        "steps": 10,
        "encoders": [],
        "apnet": {},
        "attack": {"segments": 6, "steps": 20},
        "l2i": {"most": 160, "epochs": 20},
    }
    less = lesson.narrowed(plan, most=3, encoder="mini", train_steps=14)
    assert less["ks"] == [1, 3] and less["encoders"] == ["mini"] and less["apnet"] == {"epochs": 14}
    assert less["attack"] == {"segments": 6, "steps": 14} and less["l2i"] == {"most": 160, "epochs": 14}
    assert lesson.narrowed(plan, most=0, encoder="", train_steps=0) == plan
    assert plan["apnet"] == {}  # the scale's own plan stays as it was
    assert "480 clips of notes, in 2 folds with 1 seed" in " ".join(lesson.plan_sentence(plan).split())


def test_prototypes_of_others_are_named_and_told(told):
    rows = [0, 2, 3, 4, 8]  # bell, drum, drum, flute, drum
    others = LearntPrototypes.given(told.z[rows], told.labels[rows], told.z, told.labels, SPLIT)
    assert lesson.prototype_names(others) == ["bell 1", "drum 1", "drum 2", "flute 1", "drum 3"]
    right = {"accuracy": 0.5, "balanced_accuracy": 0.4}
    assert lesson.model_sentence(others, right).startswith("5 prototypes, 1 a class or more, not trained: 50.0% of")
    assert lesson.weight_sentence(others).endswith("others 0.00 on average (0.00 to 0.00); nothing was trained.")
    assert [cell.label for cell in lesson.cells(others, told, SPLIT, [np.zeros((5, 100))], RATE)][:2] == [
        "bell",
        "drum",
    ]


@pytest.mark.parametrize(
    ("data", "asked", "config", "rate"),
    [
        ("medley_solos_db", {"config": "paper"}, "paper", 44100),
        ("gtzan", {"config": "paper", "epochs": 200}, "urbansound8k", 22050),
        ("notes", {"epochs": 14}, "default", 16000),
    ],
)
def test_apnet_hears_in_its_own_setting(told, data, asked, config, rate):
    options, spectra = lesson.apnet_setting({"prototypes": 5, "apnet": asked}, data, 2.0)
    setting = APNet.CONFIG.named(options.pop("config", "default"), **options)
    assert setting.per_class == 5 and setting.epochs == asked.get("epochs", setting.epochs)
    own = APNet.CONFIG.named(config)
    assert (setting.frames, setting.bands, setting.filters) == (own.frames, own.bands, own.filters)
    assert (spectra["rate"], spectra["htk"]) == (rate, config != "default")
    mels = lesson.log_mel_frames(told, **spectra)
    assert mels.shape == (36, setting.frames, setting.bands)
    x = np.pad(told.window(3, rate), (0, (setting.frames - 1) * spectra["hop"] - RATE // 4))
    power = librosa.feature.melspectrogram(
        y=x, sr=rate, n_fft=spectra["n_fft"], hop_length=spectra["hop"], n_mels=setting.bands, htk=spectra["htk"],
        pad_mode="constant",
    )  # fmt: skip
    np.testing.assert_allclose(mels[3], np.log(power.T + 1e-10), atol=2e-2)


def test_sounds_of_any_length_are_brought_to_the_window():
    long, short = np.ones((2, 2949), np.float32), np.ones((2, 900), np.float32)
    assert lesson.in_windows(long, 1000, 2.0).shape == (2, 2000)
    padded = lesson.in_windows(short, 1000, 2.0)
    assert padded.shape == (2, 2000) and padded.sum(1).tolist() == [900, 900]


def test_no_more_prototypes_than_a_class_has_segments(told):
    plan, most = lesson.possible({"prototypes": 9, "ks": [1, 5, 20]}, told, [SPLIT])
    assert most == 6 and plan == {"prototypes": 6, "ks": [1, 5, 6]}
    facts = lesson.summary_sentences(told, RATE, most=most, wanted=20)
    assert "250 samples become one number" in facts[0] and "-40 to -20 dB" in facts[1] and "only 6" in facts[2]


def test_three_classes_are_drawn_and_fellows_are_of_other_clips(told):
    rng = np.random.default_rng(0)
    drawn = lesson.of_three_classes(told.labels, SPLIT.test, rng)
    assert set(drawn) <= set(SPLIT.test) and set(told.labels[drawn]) == set(CLASSES)
    partner = lesson.fellows(told, SPLIT.test, rng)
    some = SPLIT.test
    assert (told.labels[some[partner]] == told.labels[some]).all() and (
        told.rows[some[partner]] != told.rows[some]
    ).all()
    assert lesson.fellows(told, some[:2], rng).tolist() == [-1, -1]  # two segments of one clip


def test_likeness_and_its_controls():
    rng = np.random.default_rng(0)
    real, groups = rng.standard_normal((12, 4, 5)), np.arange(12)
    assert lesson.alike(real, 3 * real - 1) == pytest.approx(1) and lesson.alike(real, -real) == pytest.approx(-1)
    versions = {lesson.CODEC: real, lesson.VECTOR: real + rng.standard_normal(real.shape), "one vector, g = 1": real}
    likeness = lesson.likeness_to(real, versions, np.r_[-1, np.arange(11)])
    assert np.isnan(likeness[lesson.FELLOW][0]) and np.isfinite(likeness[lesson.FELLOW][1:]).all()
    assert lesson.quartiles(likeness).loc[lesson.CODEC, "median"] == pytest.approx(1)
    codec, fellow, mean, guided = lesson.likeness_sentences(likeness, groups)
    assert "lies below codec there and back" in codec and "the vector or its decoder loses" in codec
    assert "lies above another clip of the class" in fellow
    likeness[lesson.FELLOW][:] = np.nan
    assert "there are too few pairs" in lesson.likeness_sentences(likeness, groups)[1]


def test_the_setting_most_like_the_original_is_named():
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 100)).astype(np.float32)
    codec = SimpleNamespace(encode=lambda x: x[:, None])
    (sentence,) = lesson.grid_sentences({(2, 0.0): noise, (40, 1.0): x}, x, codec)
    assert "S = 40, g = 1 (1.00)" in sentence and "least S = 2, g = 0" in sentence


def test_sounds_beside_each_other_share_their_gain():
    kinds = {"a": (np.full((1, 4), 2.0), 8000), "b": (np.full((1, 4), 0.5), 16000)}
    sounds = lesson.beside(kinds, ["bell"])
    assert list(sounds) == ["a: bell", "b: bell"] and sounds["b: bell"][1] == 16000
    assert sounds["a: bell"][0].max() == 1 and sounds["b: bell"][0].max() == 0.25
    assert list(lesson.beside(kinds, [""])) == ["a", "b"]


def test_what_can_be_said_of_prototypes(told, learnt):
    rng, test = np.random.default_rng(0), SPLIT.test
    cells = lesson.cells(learnt, told, SPLIT, [np.zeros((6, 100), np.float32)], RATE)
    assert [cell.label for cell in cells] == sorted(2 * CLASSES) and sum(cell.segments for cell in cells) == 18
    assert all(cell.label in cell.nearest[0].name for cell in cells)
    different, beside_them, _ = lesson.place_sentences(learnt, told, SPLIT, rng)
    assert different.startswith("The 6 prototypes have") and beside_them.startswith("100%")
    decided = learnt.predict(told.z[test]).predictions
    assert "100% of 12 test segments" in lesson.decision_sentences(learnt, told.z[test], decided)[1]
    wrong = np.where(np.arange(12) < 3, "drum", told.labels[test])
    picked = lesson.to_explain(wrong, told.labels[test], np.arange(12))
    assert (wrong[picked[:2]] != told.labels[test][picked[:2]]).all() and len(picked) == 5
    assert lesson.prototype_names(learnt)[:3] == ["bell 1", "bell 2", "drum 1"]
    assert "training began with 1 and 0" in lesson.weight_sentence(learnt)
    assert len(lesson.blind_trials(cells, [0, 3], "set")) == 2


def test_real_segments_near_prototypes_leave_out_classes_without_any(told, learnt):
    test = SPLIT.test[told.labels[SPLIT.test] != "bell"]
    near, there = lesson.nearest_real(learnt, told.z, told.labels, test)
    assert there.tolist() == [False, False, True, True, True, True]
    assert told.labels[near].tolist() == ["drum", "drum", "flute", "flute"]


def test_the_verdict_of_the_listeners():
    n, judge = 40, "judge (logmel)"
    right, wrong = np.ones(n, bool), np.zeros(n, bool)
    kinds = {"real test segments": right, lesson.CODEC: right, "through one vector": wrong, lesson.REAL: right}
    kinds |= {lesson.AGAIN: right, "prototypes, noise seed 0": right, "prototypes, noise seed 1": wrong}
    heard = {name: {lesson.SAME: right, judge: x, lesson.CONTROL: wrong} for name, x in kinds.items()}
    trials = {name: (np.zeros((n, 4)), RATE, ["bell"] * n, None) for name in kinds}
    table = lesson.verdict(trials, heard, chance=0.25, common=0.3)
    assert table.loc["through one vector", judge] == 0 and table.loc["chance", judge] == 0.25
    assert table.loc["always the commonest class, on test segments", lesson.CONTROL] == 0.3
    low, high = lesson.judge_intervals(trials, heard, judge).loc["through one vector"]
    assert low == 0 and 0.05 < high < 0.2
    heard = lesson.with_pairs(heard, right, chance=0.25, judge=judge)
    assert heard[lesson.ONE][judge] == pytest.approx(np.full(n, 0.5))
    codec, vector, chance, real, _, flatters = lesson.judge_sentences(heard, judge, np.arange(n), np.arange(n))
    assert "no difference" in codec and "one vector lies below the codec" in vector
    assert "a prototype lies above chance" in chance and "a prototype lies below a real segment" in real
    assert "that on a prototype lies above" in flatters and flatters.endswith("It flatters what it made.")


def test_settings_that_the_judge_hears_alike_have_no_order():
    sweep = pd.DataFrame({"g = 0": {"S = 2": 0.2, "S = 40": 0.4}, "g = 1": {"S = 2": 0.3, "S = 40": 0.1}})
    assert "most at S = 40, g = 0 (40%) and least at S = 40, g = 1 (10%)" in lesson.setting_sentences(sweep)[0]
    assert lesson.setting_sentences(0 * sweep) == ["The judge hears 0% at every setting."]


def study(**models) -> pd.DataFrame:
    rows = [
        {"model": name, "fold": fold, "seed": 0, "balanced_accuracy": value + 0.01 * fold, "diversity": value}
        for name, value in models.items()
        for fold in range(3)
    ]
    return pd.DataFrame(rows).assign(collapsed=lambda table: np.arange(len(table)) % 2)


def test_recall_is_read_against_fewer_prototypes_and_the_references():
    models = {"prototypes, K = 1": 0.5, "prototypes, K = 5": 0.8, "linear probe": 0.9, "MLP": 0.8}
    runs = study(**models, **{"untrained prototypes": 0.7})
    runs.loc[runs["model"] == "linear probe", "balanced_accuracy"] += [0.002, 0, 0]
    more, probe, _, untrained = lesson.recall_sentences(runs, heard=5, ks=[1, 5], over="3 splits")
    assert "prototypes, K = 5" in more and "30.0 points" in more
    assert "lies below linear probe" in probe and "price" in probe
    assert "10.0 points" in untrained
    assert len(lesson.recall_sentences(runs, heard=5, ks=[5], over="3 splits")) == 3
    elsewhere = study(**{"prototypes, K = 5": 0.8, "mini, K = 5": 0.6})
    (other,) = lesson.other_encoder_sentences(elsewhere, "prototypes, K = 5", over="3 splits")
    assert "mini, K = 5" in other and "20.0 points" in other
    (none,) = lesson.other_encoder_sentences(study(**{"prototypes, K = 5": 0.8}), "prototypes, K = 5", over="1 split")
    assert none.startswith("No other encoder was asked for")


def test_orders_of_centroids():
    orders = study(**{"class-major 3": 0.8, "paper_code 3": 0.6})
    recall, apart, collapsed = lesson.order_sentences(orders, [3])
    assert "20.0 points" in recall and apart.startswith("Distance within a class")


def test_published_split_only_where_one_fold_and_no_groups_are_asked():
    sounds = list(0.1 * np.random.default_rng(0).standard_normal((24, 4000)).astype(np.float32))
    kinds = {"label": ["x", "y"] * 12, "split": ["train"] * 12 + ["valid"] * 6 + ["test"] * 6}
    clips = Clips.from_arrays(sounds, RATE, group=[str(i // 2) for i in range(24)], **kinds)
    (part,) = lesson.splits(clips, folds=1, own_groups=False, seed=0)
    assert part.test.tolist() == list(range(18, 24))
    assert len(lesson.splits(clips, folds=2, own_groups=False, seed=0)) == 2
