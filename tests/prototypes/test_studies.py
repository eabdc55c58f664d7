"""prototypes.studies: placebos know nothing, true factors are read, histories become numbers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.core.study import study
from workbench.metrics.intervals import fold_interval
from workbench.prototypes import (
    FactorPrototypes,
    Levels,
    MLPProjector,
    dynamics,
    evaluate_factors,
    explain,
    fit_classifier,
    over_folds,
    paired_differences,
    placebos,
    setting_difference,
    spread,
)

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(240, 2))
NAMES = ("pitch", "loudness")
Y = np.where(VALUES[:, 0] > 0, 2, 0) + (VALUES[:, 1] > 0)
X = np.hstack([VALUES, RNG.normal(size=(240, 6))]).astype(np.float32)
SPLIT = Split(np.arange(140), np.arange(140, 170), np.arange(170, 240))
OPTIONS = {"network": partial(MLPProjector, 8, 16, hidden=32), "dim": 16, "scale": 4.0}
TRAINING = {"epochs": 30, "learning_rate": 0.01, "keep": "last", "device": "cpu"}


def factors(setting, split=SPLIT, seed=0, values=VALUES):
    names = setting.get("names", NAMES)
    columns = [NAMES.index(name) for name in names]
    rest = {name: value for name, value in setting.items() if name != "names"}
    return evaluate_factors(X, Y, split, values[:, columns], names, seed=seed, **OPTIONS, **TRAINING | rest)


def test_placebos_have_the_shape_and_the_levels_and_no_information():
    levels = np.column_stack([np.repeat(np.arange(4), 300), np.tile(np.arange(3), 400)])
    made = placebos(levels, 5)
    for control in made.values():
        assert control.shape == levels.shape and control.dtype == np.int64
        for f, size in enumerate((4, 3)):
            assert np.bincount(control[:, f]).tolist() == [1200 // size] * size
            assert abs((control[:, f] == levels[:, f]).mean() - 1 / size) < 0.05
    again, other = placebos(levels, 5), placebos(levels, 6)
    for kind in ("shuffled", "random"):
        assert np.array_equal(made[kind], again[kind]) and not np.array_equal(made[kind], other[kind])


def test_shuffled_keeps_how_factors_depend_on_each_other_and_random_does_not():
    same = np.repeat(np.arange(6), 100)[:, None] + [0, 0]
    made = placebos(same, 0)
    assert (made["shuffled"][:, 0] == made["shuffled"][:, 1]).all()
    assert (made["random"][:, 0] == made["random"][:, 1]).mean() < 0.25


def test_true_factors_are_read_and_placebos_are_not():
    grid = {"count": (2, 4), "code": ("one-hot", "thermometer"), "told": ("true", "shuffled", "random")}
    table = study(factors, grid, splits=[SPLIT], progress=False)
    true, control = table[table.told == "true"], table[table.told != "true"]
    assert (true["level_read"] > true["chance"] + 0.4).all() and (true["kappa"] > 0.75).all()
    assert (true["rank_correlation"] > 0.8).all()
    assert (abs(control["level_read"] - control["chance"]) < 0.2).all() and (control["kappa"].abs() < 0.3).all()
    assert (true["accuracy"].to_numpy() > 0.85).all() and true["accuracy"].mean() > control["accuracy"].mean()
    assert (table["chance"] == 1 / table["count"]).all() and (table["seconds"] > 0).all()
    mean = table[["level_read pitch", "level_read loudness"]].mean(axis=1)
    assert mean.to_numpy() == pytest.approx(table["level_read"].to_numpy())


def test_only_some_factors_are_told_as_if_there_were_no_others():
    setting = {"told": "true", "count": 3, "epochs": 4}
    for told in ("true", "shuffled"):
        alone = factors(setting | {"told": told, "names": ("loudness",)})
        some = factors(setting | {"told": told, "only": ["loudness"]})
        assert {name: value for name, value in some.items() if name != "seconds"} == {
            name: value for name, value in alone.items() if name != "seconds"
        }
        assert "level_read loudness" in some and "level_read pitch" not in some
    turned = factors(setting | {"only": ("loudness", "pitch")})
    assert turned["level_read"] == pytest.approx((turned["level_read pitch"] + turned["level_read loudness"]) / 2)
    for wrong, message in (([], "a list of at least one"), (["tempo"], r"only\[0\]='tempo'"), ("pitch", "a list")):
        with pytest.raises(ParameterError, match=message):
            factors(setting | {"only": wrong})


def test_nothing_told_is_cross_entropy_alone():
    options = {"network": OPTIONS["network"], "loss": "cross_entropy", "seed": 4, "progress": False, **TRAINING}
    found = factors({"told": "nothing"}, seed=4)
    assert found["accuracy"] == fit_classifier(X, Y, SPLIT, **options).accuracy
    assert list(found) == ["accuracy", "balanced_accuracy", "seconds"]


def told(inputs, groups=None, **options):
    """Blocks that hold the factors exactly, but for the last 20 clips, where the first is turned over."""
    levels = Levels.fit(VALUES[SPLIT.train], NAMES, count=2).codes(VALUES)
    points = FactorPrototypes(Levels.fit(VALUES[SPLIT.train], NAMES, count=2), 4, scale=1.0, code="thermometer")
    z = np.hstack([VALUES - np.median(VALUES[SPLIT.train], axis=0), np.zeros((240, 2))])
    z[220:, 0] *= -1
    explanation = explain(z, np.zeros((2, 4)), np.zeros(2), points)
    return explanation.judge(levels, VALUES, inputs, SPLIT, groups=groups, **options)


def test_levels_are_judged_beside_one_input_column():
    noise = np.random.default_rng(5).normal(size=(240, 3))
    inputs, groups = np.hstack([noise, VALUES[:, :1]]), np.arange(240) // 10
    table = told(inputs, groups, columns=["a", "b", "c", "pitch itself"])
    assert list(table.index) == [*NAMES, "all"]
    assert table.loc["pitch", "column"] == "pitch itself" and table.loc["pitch", "one input column"] == 1
    assert table.loc["pitch", "read rightly"] == pytest.approx(50 / 70)
    assert table.loc["pitch", "difference"] == pytest.approx(-20 / 70) and table.loc["pitch", "low"] < -0.5
    assert table.loc["loudness", "read rightly"] == 1 and table.loc["loudness", "low"] > 0.2
    assert table.loc["loudness", "read low"] < table.loc["loudness", "read high"] == 1
    assert table.loc["pitch", "read low"] < 50 / 70 < table.loc["pitch", "read high"] < 1.01
    assert table.loc["loudness", "rank correlation"] == pytest.approx(1)
    assert table.loc["all", "read rightly"] == pytest.approx((50 / 70 + 1) / 2) and table.loc["all", "column"] == ""
    assert (table["chance"] == 0.5).all() and table["best constant"].between(0.5, 0.7).all()
    assert table.loc["all", "rank correlation"] == pytest.approx(table.loc[list(NAMES), "rank correlation"].mean())


def test_spread_is_over_folds_whose_seeds_are_averaged_first():
    runs = [("b", 0, 0, 0.2), ("b", 0, 1, 0.4), ("b", 1, 0, 0.9), ("a", 0, 0, 0.5), ("a", 0, 1, 0.7)]
    table = pd.DataFrame(runs, columns=["loss", "fold", "seed", "accuracy"]).assign(nothing=np.nan)
    shown = spread(table, ["accuracy", "nothing"], digits=2)
    assert list(shown.index) == ["b", "a"]
    assert shown["accuracy"].tolist() == ["0.60 (0.30 to 0.90)", "0.60"] and shown["nothing"].tolist() == ["", ""]
    assert spread(table, ["accuracy"], over="seed", digits=1)["accuracy"].tolist() == [
        "0.5 (0.4 to 0.6)",
        "0.6 (0.5 to 0.7)",
    ]
    with pytest.raises(ParameterError, match="columns"):
        spread(table, ["speed"])


def test_one_group_of_test_clips_has_no_interval():
    table = told(VALUES, np.zeros(240, dtype=int))
    assert table[["low", "high", "read low", "read high"]].isna().all(axis=None) and table["difference"].notna().all()
    assert table.loc["loudness", "column"] == "1"


def test_judging_levels_refuses_what_does_not_fit():
    with pytest.raises(ParameterError, match="columns"):
        told(VALUES, columns=["one"])
    with pytest.raises(ParameterError, match="inputs"):
        told(VALUES[:, 0])


def test_some_factors_alone_may_be_told():
    assert "kappa pitch" not in factors({"names": ["loudness"], "count": 2, "epochs": 2})


def test_levels_are_cut_on_the_training_part_alone():
    moved = VALUES.copy()
    moved[SPLIT.test] += 1000  # all in the highest level, if the cuts do not see them
    found = factors({"count": 2, "code": "one-hot"}, values=moved)
    reads_high = np.mean([(VALUES[SPLIT.test, f] > np.median(VALUES[:140, f])).mean() for f in range(2)])
    assert found["level_read"] == pytest.approx(reads_high, abs=0.1)


@pytest.mark.parametrize("by", ["loss", "told"])
def test_paired_differences(by):
    rows = [(name, f, s) for name in ("a", "b", "c") for f in range(5) for s in range(2)]
    table = pd.DataFrame(rows, columns=[by, "fold", "seed"])
    fold_effect = np.tile(np.repeat(np.arange(5), 2), 3) / 10
    gain = np.repeat([0.01, 0.02, 0.03, 0.02, 0.01], 2) + np.tile([-0.02, 0.02], 5)  # seeds of a fold are averaged
    table["accuracy"] = fold_effect + np.concatenate([np.zeros(10), gain, np.zeros(10)])
    differences = paired_differences(table, "a", by=by)
    low, high = fold_interval(gain, np.repeat(np.arange(5), 2))
    assert differences.loc["b"].tolist() == pytest.approx([0.018, low, high, 5, 2]) and 0 < low < 0.018 < high < 0.036
    assert differences.loc["c", "difference"] == 0 and np.isnan(differences.loc["c", "low"])
    means = over_folds(table, "accuracy", by=by)
    assert means.loc["a", "mean"] == pytest.approx(0.2) and means.loc["a", "runs"] == 10
    assert means.loc["a", "fold_spread"] == pytest.approx(np.std([0, 0.1, 0.2, 0.3, 0.4], ddof=1))
    assert means.loc["b", "seed_spread"] == pytest.approx(np.std([-0.02, 0.02], ddof=1))
    assert means.loc["a", "low"] < 0.2 < means.loc["a", "high"]
    single = over_folds(table[(table["fold"] == 0) & (table["seed"] == 0)], "accuracy", by=by).loc["a"]
    assert single[["low", "high", "fold_spread", "seed_spread"]].isna().all() and single["mean"] == 0
    with pytest.raises(ParameterError, match="baseline='d' must be "):
        paired_differences(table, "d", by=by)
    with pytest.raises(ParameterError, match="a run a fold and seed"):
        paired_differences(table.iloc[1:], "b", by=by)


def test_what_the_seed_does_not_change_counts_for_every_seed():
    rows = [("drawn", f, s, 0.5 + 0.1 * f + 0.01 * s) for f in range(4) for s in range(2)]
    rows += [("fixed", f, 0, 0.3 + 0.1 * f + 0.001 * (f % 2)) for f in range(4)]
    table = pd.DataFrame(rows, columns=["model", "fold", "seed", "balanced_accuracy"])
    difference, low, high = setting_difference(table, "drawn", "fixed")
    assert difference == pytest.approx(0.2045) and 0.2 < low < 0.2045 < high < 0.209
    assert setting_difference(table, "fixed", "drawn")[0] == pytest.approx(-0.2045)
    failed = pd.concat([table, table.assign(model="failed", balanced_accuracy=np.nan)])
    assert np.isnan(setting_difference(failed, "drawn", "failed")).all(), "nothing to compare"
    alone = setting_difference(table[table["fold"] == 0], "drawn", "fixed")
    assert alone[0] == pytest.approx(0.205) and np.isnan(alone[1:]).all(), "seeds of one fold are no interval"
    with pytest.raises(ParameterError, match="b='nobody' must be "):
        setting_difference(table, "drawn", "nobody")


def test_dynamics_of_hand_made_histories():
    def history(*accuracy):
        return pd.DataFrame({"valid_accuracy": accuracy})

    table = dynamics({"fast": [history(0.5, 0.96, 0.9, 1.0), history(0.2, 0.4, 0.6, 0.8)], "one": (history(0.7, 0.7),)})
    fast = table.loc["fast"]
    assert fast["epochs_to_share", "mean"] == 3 and fast["epochs_to_share", "sd"] == pytest.approx(np.sqrt(2))
    assert fast["final", "mean"] == pytest.approx(0.9) and fast["final", "sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert fast["area", "mean"] == pytest.approx((0.84 + 0.5) / 2) and fast["runs", "count"] == 2
    assert table.loc["one", ("epochs_to_share", "mean")] == 1 and np.isnan(table.loc["one", ("area", "sd")])
    assert dynamics({"a": [history(0.5, 0.96, 1.0)]}, share=0.5).loc["a", ("epochs_to_share", "mean")] == 1


def test_dynamics_of_trainings_has_their_time():
    run = fit_classifier(X, Y, SPLIT, network=OPTIONS["network"], loss="cross_entropy", progress=False, **TRAINING)
    row = dynamics({"cross-entropy": [run, run]}).loc["cross-entropy"]
    assert row["seconds", "mean"] == pytest.approx(run.seconds) and row["seconds", "sd"] == 0
    assert row["final", "mean"] == run.history["valid_accuracy"].iloc[-1]
    assert row["area", "mean"] == pytest.approx(run.history["valid_accuracy"].mean())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: placebos([[0.5]], 0), "levels='float64"),
        (lambda: factors({"told": "sugar"}), "told='sugar' must be"),
        (lambda: factors({"count": 12, "code": "one-hot"}), "dim=16 must be at least 24"),
        (lambda: dynamics({}), "runs={} must be a mapping of at least one"),
        (lambda: dynamics({"a": []}), r"runs\['a'\]=\[\] must be a list of at least one"),
        (
            lambda: dynamics({"a": [pd.DataFrame({"loss": [1.0]})]}),
            "metric='valid_accuracy' must be a column of every history of a",
        ),
        (lambda: dynamics({"a": []}, share=0), "share=0 must be"),
    ],
)
def test_what_cannot_be_studied_is_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
