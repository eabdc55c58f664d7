"""What the open questions of the notebook on prototypes that can be heard compute and say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.splits import Split
from workbench.encoders import load_encoder
from workbench.lessons import pecmae_questions as ask
from workbench.lessons.pecmae import AVERAGE

RATE, CLASSES = 16000, ("bell", "drum", "flute")
SPLIT = Split(np.arange(18), np.arange(18, 24), np.arange(24, 36))


def study(**models) -> pd.DataFrame:
    rows = [
        {"model": name, "fold": fold, "seed": 0, "balanced_accuracy": value + 0.01 * fold}
        for name, value in models.items()
        for fold in range(3)
    ]
    return pd.DataFrame(rows)


def test_ablations_and_sizes():
    assert "MLP 50.0% to probe 90.0%" in ask.ablation_sentence(study(MLP=0.49, probe=0.89), 0.1)
    like = {4: np.linspace(0.1, 0.2, 9), 8: np.linspace(0.8, 0.9, 9)}
    right = {4: np.arange(9) < 4, 8: np.arange(9) < 4}
    first, second = ask.size_sentences(like, right, np.arange(9), np.arange(9))
    assert "a vector of 4 axes" in first and "0.70" in first and "no difference" in second
    assert ask.size_sentences({8: like[8]}, {8: right[8]}, np.arange(9), np.arange(9)) == [
        "There are no axes to leave out."
    ]


def test_shortened_vectors_lie_on_the_axes_kept():
    from sklearn.decomposition import PCA

    z = np.random.default_rng(0).standard_normal((30, 5))
    axes = PCA(random_state=0).fit(z)
    assert ask.shortened(z, axes, 5) == pytest.approx(z, abs=1e-5)
    kept = ask.shortened(z, axes, 2)
    assert np.linalg.matrix_rank(kept - kept.mean(0), tol=1e-3) == 2
    likeness = {AVERAGE: np.array([0.1, 0.3])}
    row = ask.size_row(0.6, np.array([0.5, 0.7]), np.array([True, False]), likeness, 0.25)
    assert ask.as_rows({"2 axes": row}).loc["2 axes"].tolist() == pytest.approx([0.6, 0.6, 0.5, 0.2, 0.25])


# Other interpretable models


def test_undefined_attributes_become_the_median_of_the_fitted_rows_and_are_marked():
    values = np.array([[1, np.nan, np.nan, 2], [3, 4, np.nan, 2], [5, 6, np.nan, np.nan], [np.inf, np.nan, 9, 2]])
    filled = ask.defined(values, np.array([0, 1, 2]))
    assert filled[:, :3].tolist() == [[1, 5, 2], [3, 4, 2], [5, 6, 2], [3, 5, 2]]
    assert filled[:, 3:].tolist() == [[1, 0], [0, 0], [0, 1], [1, 0]]  # of the second and the fourth


def test_a_judge_of_the_training_part_is_fitted_on_the_classes_of_the_test_part():
    y = np.array(["a", "b", "c", "a", "c", "a", "b"])
    other = ask.swapped(Split([0, 1, 2], [3, 4], [5, 6]), y)
    assert [rows.tolist() for rows in other] == [[5, 6], [3], [0, 1]]


def test_nearest_neighbours_and_centroids_decide_as_scikit_learn_does(told):
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(2)
    points, classes = rng.normal(size=(60, 4)), rng.permutation(np.repeat(CLASSES, 20))
    z = rng.normal(size=(40, 4))
    for k in (1, 5):
        said, which = ask.nearest(points, classes, z, neighbours=k)
        assert (said == KNeighborsClassifier(k, algorithm="brute").fit(points, classes).predict(z)).all()
        apart = np.where(classes == said[:, None], np.linalg.norm(z[:, None] - points, axis=2), np.inf)
        assert (which == apart.argmin(1)).all()
    means, owner = ask.centroids(told.z, told.labels, 1, seed=0)
    assert owner.tolist() == list(CLASSES)
    assert means == pytest.approx(np.stack([told.z[told.labels == name].mean(0) for name in CLASSES]), abs=1e-5)


def test_the_strongest_prototype_contributes_most_to_the_class_decided(told, learnt):
    z = told.z[SPLIT.test]
    said, which = ask.strongest(learnt, z)
    assert (said == learnt.predict(z).predictions).all()
    for i in range(len(z)):
        parts = learnt.weight[learnt.labels.tolist().index(said[i])] * learnt.similarities(z[[i]])[0]
        assert parts[which[i]] == parts.max()


def test_the_concept_bottleneck_decides_by_attributes_and_shows_the_surest_recording(told):
    rng = np.random.default_rng(3)
    values = np.c_[told.z[:, 0] > 2, told.z[:, 1] > 2] + 0.05 * rng.standard_normal((36, 2))
    values[5, 1] = np.nan
    runs = ask.bottleneck_runs(values, told, [SPLIT, SPLIT], seed=4)
    assert runs["balanced_accuracy"].tolist() == [1, 1] and runs["fold"].tolist() == [0, 1] and set(runs["seed"]) == {4}
    said, best = ask.best_concepts(values, told, SPLIT, SPLIT.test)
    assert (said == told.labels[SPLIT.test]).all() and (told.labels[best] == said).all()
    assert set(best) <= set(SPLIT.train) and len(set(best)) == 3
    wrong = ask.bottleneck_runs(rng.standard_normal((36, 2)), told, [SPLIT], seed=0)
    assert wrong["balanced_accuracy"][0] < 0.8


def test_recall_of_the_bottleneck_is_that_of_tracks():
    """Of a track's two segments the surer one decides: its logarithms are averaged, not the answers."""
    rows = np.repeat(np.arange(20), 2)
    labels = np.array(["a", "b"])[rows % 2]
    values = np.where(labels == "a", -1.0, 1.0) + 0.01 * np.random.default_rng(0).standard_normal(40)
    values[24::2] *= -0.1  # of every test track one segment is weakly wrong
    told = SimpleNamespace(labels=labels, rows=rows, groups=rows.astype(str))
    split = Split(np.arange(16), np.arange(16, 24), np.arange(24, 40))
    assert ask.concept_bottleneck(values[:, None], told, split).accuracy[0].mean() == 0.5
    assert ask.bottleneck_runs(values[:, None], told, [split], seed=0)["balanced_accuracy"].tolist() == [1]


def test_what_models_play_is_put_to_the_judge_once_a_sound(told):
    asked = []

    def probabilities(x, rate):
        asked.append(len(x))
        return np.eye(3)[[int(each[0]) for each in x]]  # a sound says which class it is of

    judge = SimpleNamespace(classes=np.array(CLASSES), probabilities=probabilities)
    decided = np.array(["bell", "drum", "flute", "bell"])
    offer = ask.Offer("a prototype", decided, np.array([0, 1, 1, 0]), lambda i: np.array([float(i)]))
    right = ask.Offer("a recording", decided, np.array([0, 1, 2, 0]), lambda i: np.array([float(i)]))
    offers = {"ours": offer, ask.RANDOM: right}
    heard = ask.heard_examples(offers, judge, RATE)
    assert asked == [2, 3] and heard["ours"].tolist() == [True, True, False, True] and heard[ask.RANDOM].all()
    recall = pd.DataFrame({"mean": [0.6], "low": [0.5], "high": [0.7]}, index=["ours"])
    table = ask.models_table(recall, offers, heard, np.arange(4), 3)
    assert table.loc["ours", ["recall", "heard as decided", "different sounds"]].tolist() == [0.6, 0.75, 2]
    assert np.isnan(table.loc[ask.RANDOM, "recall"]) and table.loc["chance", "heard as decided"] == pytest.approx(1 / 3)
    drawn, rows = ask.drawn_examples(decided, told, SPLIT, seed=0)
    assert (told.labels[rows] == drawn).all() and set(rows) <= set(SPLIT.train)


def test_models_are_compared_and_the_control_comes_first():
    n = 40
    heard = {"ours": np.arange(n) < 20, ask.RANDOM: np.ones(n, bool), ask.UNTRAINED: np.arange(n) < 20}
    heard |= {ask.NEIGHBOURS: np.ones(n, bool), ask.CONCEPTS: np.zeros(n, bool)}
    runs = study(ours=0.8, **{ask.NEIGHBOURS: 0.6, ask.UNTRAINED: 0.8, ask.CONCEPTS: 0.9})
    runs["balanced_accuracy"] += np.r_[0, 0.001, 0, np.zeros(9)]
    said = ask.models_sentences(runs, heard, np.arange(n), "ours", over="3 splits", chance=0.1)
    assert said[0].startswith(f"Heard as the class decided: {ask.RANDOM} lies above ours")
    assert said[0].endswith("A recording needs no decoder.") and "above chance" in said[1]
    assert "no difference" in said[2] and "lies below nearest" in said[3] and f"above {ask.CONCEPTS}" in said[4]
    told_of = {"given prototypes": heard.pop("ours"), **heard}
    given = ask.models_sentences(runs, told_of, np.arange(n), "given prototypes", over="3 splits", chance=0.1)
    assert len(given) == 6 and "given prototypes were not fitted on these splits" in given[5]
    assert "lies above nearest neighbours" in said[5] and f"lies below {ask.CONCEPTS}" in said[7]


# How many prototypes, other spaces


def test_costs_count_what_there_is(told, learnt):
    heard = np.array([1, 1, 1, 0, 0, 0], bool)
    assert ask.of_classes(heard, learnt.classes).tolist() == [1, 0.5, 0]
    row = ask.cost_row(learnt, told.z[SPLIT.train], heard)
    assert row["heard as its class"] == 0.5 and row["segments a prototype"] == 3
    d, hidden, m, c = 8, 8, 6, 3
    adaptor = 4 * d * d + 4 * d + 2 * d * hidden + hidden + d + 4 * d
    assert row["parameters (thousands)"] == pytest.approx((m * d + adaptor + c * m + c) / 1000)
    used = np.unique(learnt.distances(told.z[SPLIT.train]).argmin(1))
    assert row["nearest to no segment"] == pytest.approx(1 - len(used) / 6)
    costs = pd.DataFrame({1: row | {"seconds": 1.0}, 2: row | {"seconds": 3.0}}).T
    few, many = np.full(12, 0.2), np.full(12, 0.8)
    said = ask.cost_sentences(costs, {1: few, 2: many}, 0.2)
    assert "no difference" in said[0] and "K = 2 lies above chance" in said[1]
    assert "K = 2 lies above K = 1, by 60.0 points" in said[2] and "trains 3.0 times as long" in said[3]
    assert len(ask.cost_sentences(costs, {1: few}, 0.2)) == 1


def test_a_map_brings_vectors_across_and_its_control_does_not():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((1200, 3))
    v = z @ rng.standard_normal((3, 5)) + 0.01 * rng.standard_normal((1200, 5))
    split = Split(np.arange(600), np.arange(600, 800), np.arange(800, 1200))
    ways = ask.ways_across(v, z, split, np.arange(1200), seed=0)
    assert ways[ask.MAPPED].r2.min() > 0.99 and ways[ask.SHUFFLED].r2.max() < 0.1
    assert ways[ask.MAPPED].predict(0, v[800:]) == pytest.approx(z[800:], abs=0.2)


def test_what_comes_across_is_decoded_and_put_to_the_judge(told, learnt, mini_mel, tones):
    rng, n = np.random.default_rng(0), 4
    z = mini_mel.embed(tones(36, rng), RATE).numpy()
    ways = ask.ways_across(told.z, z, SPLIT, told.groups, seed=0)
    judge = SimpleNamespace(agreement=lambda x, rate, labels: np.asarray(labels) == "bell")
    real = mini_mel.codec.encode(torch.from_numpy(tones(n, rng))).numpy()
    about = {"v": told.z[:n], "labels": told.labels[:n], "real": real}
    made = ask.crossed(ways, learnt, **about, model=mini_mel, judge=judge, steps=1, seed=0)
    across, control = made[ask.MAPPED], made[ask.SHUFFLED]
    assert across.sounds.shape == (6, mini_mel.samples) and len(control.sounds) == 3
    assert across.segments.tolist() == [True, True, False, False]
    assert across.prototypes.tolist() == [True, True, *[False] * 4] and control.classes.tolist() == [0, 1, 2]
    assert across.like.shape == (n,) and (np.abs(across.like) <= 1).all()


def test_other_spaces_are_read_against_the_own_vectors_and_the_control():
    n = 30
    own = ask.Crossing(1.0, np.linspace(0.8, 0.9, n), np.ones(n, bool), np.ones(12, bool), np.arange(12), None)
    lost = own._replace(held_out=0.4, like=np.linspace(0.5, 0.6, n), segments=np.arange(n) < 15)
    none = own._replace(held_out=-0.02, like=np.zeros(n), segments=np.zeros(n, bool), prototypes=np.zeros(12, bool))
    crossings = {"mini": {ask.MAPPED: lost, ask.SHUFFLED: none}}
    table = ask.crossed_table(own, crossings, 0.1)
    assert table.loc["mini, mapped", "segments heard"] == 0.5 and table.loc["chance", "prototypes heard"] == 0.1
    assert table.loc[ask.OWN, "likeness (median)"] == pytest.approx(0.85)
    said = ask.crossed_sentences(own, crossings, np.arange(n))
    assert "explains 40%" in said[0] and "the shuffled map 0%" in said[0]
    assert "mini, mapped lies above the shuffled map" in said[1] and "mini, mapped lies below its own vector" in said[4]
    assert said[4].endswith("That is lost on the way across.") and "no difference" in said[6]
    assert ask.crossed_sentences(own, {}, np.arange(n))[0].startswith("No other encoder was asked for")
    logmel, mini = load_encoder("logmel"), SimpleNamespace(fingerprint="another")
    judge = SimpleNamespace(encoder=logmel)
    assert "hears by logmel itself" in ask.same_ear(judge, {"mini": mini, "logmel": logmel})
    assert ask.same_ear(judge, {"mini": mini}) is None
