"""Regression probes: scikit-learn's ridge, choices that never see the test part, gaps, folds, saving, errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.splits import Split
from workbench.metrics.regression import r2_difference, r2_interval, rank_correlation
from workbench.probes import Probes, RegressionProbes, fit_columns, fit_probes, fit_regression, paired, pooled


def sounds(n: int = 240, dims: tuple[int, ...] = (20, 20, 300), groups: int = 24, seed: int = 0):
    """Layers that hold the tempo better and better, and loudness in the first alone; a grouped split."""
    rng = np.random.default_rng(seed)
    numbers = {"tempo": rng.uniform(60, 180, n), "loudness": rng.normal(-20, 6, n)}
    group, layers = np.arange(n) % groups, {}
    for i, dim in enumerate(dims):
        x = rng.standard_normal((n, dim)) + 0.5 * rng.standard_normal((groups, dim))[group]
        x += i * 0.5 * np.outer((numbers["tempo"] - 120) / 35, rng.standard_normal(dim))
        x += (i == 0) * np.outer((numbers["loudness"] + 20) / 6, rng.standard_normal(dim))
        layers[str(i)] = (x * np.exp(rng.standard_normal(dim)) + 3).astype(np.float32)
    return layers, numbers, splits(group)[0], group


def splits(group):
    parts = [(group + shift) % 24 for shift in (0, 8, 16)]
    return [Split(np.flatnonzero(p < 10), np.flatnonzero((p >= 10) & (p < 16)), np.flatnonzero(p >= 16)) for p in parts]


def reference(x, y, split, penalties):
    """scikit-learn: validation R2 of each penalty, and the refitted model's prediction of the test clips."""
    scaler = StandardScaler().fit(x[split.train].astype(float))
    fits = [Ridge(alpha=a).fit(scaler.transform(x[split.train]), y[split.train]) for a in penalties]
    scores = [r2_score(y[split.valid], fit.predict(scaler.transform(x[split.valid]))) for fit in fits]
    both = np.concatenate([split.train, split.valid])
    scaler = StandardScaler().fit(x[both].astype(float))
    final = Ridge(alpha=penalties[int(np.argmax(scores))]).fit(scaler.transform(x[both]), y[both])
    return scores, final.predict(scaler.transform(x[split.test]))


def test_it_is_scikit_learns_ridge_with_the_penalty_of_validation():
    layers, numbers, split, group = sounds()
    penalties = [1.0, 30.0, 1000.0, 30000.0]
    probes = fit_regression(layers, numbers, split, groups=group, penalties=penalties)
    for i, (name, x) in enumerate(layers.items()):
        for a, (target, y) in enumerate(numbers.items()):
            scores, said = reference(x, y, split, penalties)
            assert np.allclose(probes.validation_path[i, a], scores, atol=1e-6)
            assert probes.penalty[i, a] == penalties[int(np.argmax(scores))]
            assert np.allclose(probes.predictions[i, a], said, rtol=1e-5, atol=1e-3)
            assert probes.r2[i, a] == pytest.approx(r2_score(y[split.test], said), abs=1e-5)
            assert np.allclose(probes.predict(name, x[split.test])[:, a], probes.predictions[i, a])
            expected = r2_interval(y[split.test], probes.predictions[i, a], group[split.test])
            assert np.allclose(probes.interval[i, a], expected)
            assert probes.rank_correlation[i, a] == pytest.approx(rank_correlation(y[split.test], said), abs=1e-5)
            assert probes[target].true[:, 0].tolist() == y[split.test].tolist()


def test_it_finds_where_each_number_lives():
    layers, numbers, split, group = sounds()
    probes = fit_regression(layers, pd.DataFrame(numbers), split, groups=group)
    assert probes.targets == ("tempo", "loudness")
    assert (probes["tempo"].best_layer, probes["loudness"].best_layer) == ("2", "0")
    assert probes["tempo"].r2[2, 0] > 0.9 > 0.3 > probes["tempo"].r2[0, 0]
    assert -0.2 < probes.guess.min() <= probes.guess.max() <= 0


def test_the_test_part_takes_no_part_in_a_choice():
    layers, numbers, split, group = sounds()
    y = numbers["tempo"].copy()
    one = fit_regression(layers, y, split, groups=group)
    y[split.test] = np.random.default_rng(1).permutation(y[split.test]) * 7
    other = fit_regression(layers, y, split, groups=group)
    assert np.array_equal(one.penalty, other.penalty) and np.array_equal(one.weights[2], other.weights[2])
    assert one.best_layer == other.best_layer and other.r2[2, 0] < 0.2


def test_shuffled_numbers_are_not_read():
    layers, numbers, split, group = sounds()
    shuffled = fit_regression(layers, numbers["tempo"], split, groups=group, shuffle_labels=3)
    assert shuffled.r2.max() < 0.2 and np.array_equal(shuffled.true[:, 0], numbers["tempo"][split.test])


def test_a_gap_costs_that_clip_of_that_number_alone():
    layers, numbers, split, group = sounds()
    gaps = numbers["tempo"].copy()
    gaps[::3] = np.nan
    both = fit_regression(layers, {"gaps": gaps, "loudness": numbers["loudness"]}, split, groups=group)
    full = fit_regression(layers, {"loudness": numbers["loudness"]}, split, groups=group)
    assert np.allclose(both["loudness"].predictions, full.predictions) and np.allclose(both.r2[:, 1], full.r2[:, 0])
    there = np.isfinite(gaps)
    parts = Split(*(rows[there[rows]] for rows in split))
    alone = fit_regression(layers, gaps, parts, groups=group)
    assert (
        np.allclose(both["gaps"].r2, alone.r2)
        and both.to_frame().query("target == 'gaps'")["clips"].eq(len(parts.test)).all()
    )


def test_without_validation_the_penalty_is_chosen_on_folds_of_train():
    layers, numbers, split, group = sounds()
    bare = Split(np.concatenate([split.train, split.valid]), [], split.test)
    probes = fit_regression(layers, numbers["tempo"], bare, groups=group)
    assert probes.best_layer == "2" and probes.r2[2, 0] > 0.9
    assert np.isfinite(probes.validation_path).all()


def test_a_number_that_does_not_vary_is_named_and_has_no_figure():
    layers, numbers, split, group = sounds()
    flat = np.where(np.isin(np.arange(len(group)), split.test), 1.0, 2.0)
    with pytest.warns(UserWarning, match=r"1 of 2 numbers \(flat\) cannot be read"):
        probes = fit_regression(layers, {"flat": flat, "tempo": numbers["tempo"]}, split, groups=group)
    assert np.isnan(probes["flat"].r2).all() and np.isfinite(probes["tempo"].r2).all()
    assert probes.peaks({"same": probes}).loc["flat"].isna()[["r2", "same: gain", "same: low"]].all()
    with pytest.raises(ParameterError, match="two different values"):
        fit_regression(layers, {"flat": flat}, split, groups=group)


def test_constant_columns_and_layers_of_one_number():
    layers, numbers, split, group = sounds()
    x = layers["2"].copy()
    x[:, 3] = 7.5
    both = fit_regression({"x": x, "without": np.delete(x, 3, 1)}, numbers["tempo"], split, groups=group)
    assert np.allclose(both.predictions[0], both.predictions[1], rtol=1e-5) and both.weights[0][0, 3] == 0
    flat = fit_regression({"flat": np.ones((len(group), 2))}, numbers["tempo"], split, groups=group)
    assert np.allclose(flat.r2, flat.guess)


def test_splits_are_pooled_and_compared_on_all_groups():
    layers, numbers, _, group = sounds()
    parts = splits(group)
    each = [fit_regression(layers, numbers, part, groups=group) for part in parts]
    all_of = pooled(each)
    assert len(all_of.test) == len(group) and set(all_of.split) == {0, 1, 2}
    said = all_of["tempo"].predictions[2, 0]
    assert all_of["tempo"].r2[2, 0] == pytest.approx(r2_score(numbers["tempo"][all_of.test], said))
    ranks = [one["tempo"].rank_correlation[2, 0] for one in each]
    assert all_of["tempo"].rank_correlation[2, 0] == pytest.approx(np.mean(ranks), abs=0.01)
    low, high = all_of["tempo"].rank_interval[2, 0]
    assert low < all_of["tempo"].rank_correlation[2, 0] < high < 1
    true, groups = all_of["tempo"].true[:, 0], all_of.groups
    expected = r2_difference(true, said, all_of["tempo"].predictions[0, 0], groups)
    assert paired(all_of["tempo"], "2", all_of["tempo"], "0") == pytest.approx(expected)
    assert expected[1] > 0
    with pytest.raises(ParameterError, match="tested once"):
        pooled([each[0], each[0]])
    with pytest.raises(ParameterError, match="probes.targets"):
        pooled([each[0], each[1]["tempo"]])


def test_peaks_say_where_and_how_much_more_than_controls():
    layers, numbers, split, group = sounds()
    probes = fit_regression(layers, numbers, split, groups=group)
    noise = {"a": np.random.default_rng(5).normal(size=(len(group), 9))}
    table = probes.peaks({"noise": fit_regression(noise, numbers, split, groups=group)})
    assert table.loc["tempo", ["layer", "depth"]].tolist() == ["2", 1.0] and table.loc["loudness", "depth"] == 0
    assert table.loc["tempo", "noise: low"] > 0.5
    assert table.loc["tempo", "noise: gain"] == pytest.approx(
        table.loc["tempo", "r2"] - table.loc["tempo", "noise: r2"]
    )


def test_saved_probes_are_the_same(tmp_path):
    layers, numbers, split, group = sounds()
    probes = fit_regression(layers, numbers, split, groups=[f"singer {g}" for g in group])
    probes.save(tmp_path / "probes")
    again = RegressionProbes.load(tmp_path / "probes")
    assert again.targets == probes.targets and np.array_equal(again.predictions, probes.predictions)
    assert again.groups.tolist() == probes.groups.tolist() and repr(again) == repr(probes)
    assert again.to_frame().equals(probes.to_frame()) and len(probes.history) == 3 * 2 * len(probes.penalties)
    with pytest.raises(WeightsError):
        RegressionProbes.load(tmp_path / "nowhere")


def test_errors_name_the_argument():
    layers, numbers, split, group = sounds()
    cases = [
        ({"y": ["fast"] * len(group)}, "y"),
        ({"y": np.full(len(group), np.inf)}, "infinite"),
        ({"y": np.ones(3)}, "split.train"),
        ({"y": {"a": np.ones(3), "b": np.ones(4)}}, "columns of one length"),
        ({"penalties": [-1.0]}, "penalties"),
        ({"groups": np.zeros(len(group))}, "groups"),
        ({"level": 1.5}, "level"),
    ]
    for change, word in cases:
        arguments = {"layers": layers, "y": numbers["tempo"], "split": split, "groups": group} | change
        with pytest.raises(ParameterError, match=word):
            fit_regression(**arguments)
    probes = fit_regression(layers, numbers, split, groups=group)
    with pytest.raises(ParameterError, match="one of tempo, loudness"):
        probes["speed"]
    with pytest.raises(ParameterError, match="one number"):
        paired(probes, "0", probes, "1")
    with pytest.raises(ParameterError, match="x.shape"):
        probes.predict("0", np.ones((2, 3)))


def test_classification_sends_quantities_here():
    layers, numbers, split, _ = sounds()
    with pytest.raises(ParameterError, match="fit_regression"):
        fit_probes(layers, numbers["tempo"], split)


def test_every_column_is_asked_in_its_own_way():
    layers, numbers, split, group = sounds(dims=(20, 20))
    fast = np.where(numbers["tempo"] > 120, "fast", "slow")
    table = pd.DataFrame(
        {"tempo": numbers["tempo"], "fast": fast, "take": np.arange(240) % 3, "id": list(map(str, range(240)))}
    )
    table["gaps"] = table["fast"].where(table.index > 3)
    table["thin"] = table["tempo"].where(table.index > 30).astype("Float64")
    with pytest.warns(UserWarning, match=r"id \(more than 20 categories\); gaps \(it has gaps\)"):
        found = fit_columns(layers, table, splits(group), groups=group)
    assert {name: type(probes) for name, probes in found.items()} == {
        "tempo": RegressionProbes, "fast": Probes, "take": Probes, "thin": RegressionProbes
    }  # fmt: skip
    each = [fit_probes(layers, fast, part, groups=group) for part in splits(group)]
    assert np.array_equal(found["fast"].accuracy, pooled(each).accuracy)
    assert found["thin"].to_frame()["clips"].iloc[0] == 240 - 31
    both = fit_regression(layers, numbers, split, groups=group)
    assert both[["loudness", "tempo"]].targets == ("loudness", "tempo")
    assert np.array_equal(both[["loudness", "tempo"]].r2, both.r2[:, ::-1])
