"""prototypes.studies: placebos know nothing, true factors are read, histories become numbers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.prototypes import MLPProjector, train_classifier
from workbench.prototypes.studies import dynamics, factor_study, placebos

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(240, 2))
NAMES = ("pitch", "loudness")
Y = np.where(VALUES[:, 0] > 0, 2, 0) + (VALUES[:, 1] > 0)
X = np.hstack([VALUES, RNG.normal(size=(240, 6))]).astype(np.float32)
SPLIT = {"train": np.arange(140), "valid": np.arange(140, 170), "test": np.arange(170, 240)}
OPTIONS = {"network": partial(MLPProjector, 8, 16, hidden=32), "dim": 16, "scale": 4.0, "progress": False}
TRAINING = {"epochs": 30, "learning_rate": 0.01, "keep": "last", "device": "cpu"}


def study(**changed):
    return factor_study(X, Y, [SPLIT], VALUES, NAMES, **(OPTIONS | TRAINING | changed))


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
    table = study(counts=(2, 4), codes=("one-hot", "thermometer"), placebo=("shuffled", "random"))
    assert len(table) == 2 * 2 * 3 + 1 and table["told"].value_counts()["nothing"] == 1
    true, told = table[table.told == "true"], table[table.told != "nothing"]
    assert (true["level_read"] > true["chance"] + 0.4).all() and (true["kappa"] > 0.75).all()
    assert (true["rank_correlation"] > 0.8).all()
    control = told[told.told != "true"]
    assert (abs(control["level_read"] - control["chance"]) < 0.2).all() and (control["kappa"].abs() < 0.3).all()
    assert (true["accuracy"].to_numpy() > 0.85).all() and true["accuracy"].mean() > control["accuracy"].mean()
    assert (told["chance"] == 1 / told["count"]).all() and (table["seconds"] > 0).all()
    mean = told[["level_read pitch", "level_read loudness"]].mean(axis=1)
    assert mean.to_numpy() == pytest.approx(told["level_read"].to_numpy())


def test_rows_are_those_of_train_classifier_and_repeat_themselves():
    table = study(counts=(3,), codes=("one-hot",), placebo=(), seeds=(0, 4))
    plain = train_classifier(
        X, Y, SPLIT, network=OPTIONS["network"], loss="cross_entropy", seed=4, progress=False, **TRAINING
    )
    assert table[(table.told == "nothing") & (table.seed == 4)]["accuracy"].item() == plain.accuracy
    again = study(counts=(3,), codes=("one-hot",), placebo=(), seeds=(0, 4))
    pd.testing.assert_frame_equal(table.drop(columns="seconds"), again.drop(columns="seconds"))


def test_subsets_name_the_factors_that_are_told():
    short = {"counts": (2,), "codes": ("one-hot",), "placebo": (), "epochs": 2}
    assert study(**short, subsets="all")["factors"].tolist() == ["pitch", "loudness", "pitch, loudness", ""]
    single = study(**short, subsets=[["loudness"]])
    assert single["factors"].tolist() == ["loudness", ""] and "kappa pitch" not in single


def test_levels_are_cut_on_the_training_part_alone():
    moved = VALUES.copy()
    moved[SPLIT["test"]] += 1000  # all in the highest level, if the cuts do not see them
    table = factor_study(
        X, Y, [SPLIT], moved, NAMES, counts=(2,), codes=("one-hot",), placebo=(), **OPTIONS, **TRAINING
    )
    reads_high = np.mean([(VALUES[SPLIT["test"], f] > np.median(VALUES[:140, f])).mean() for f in range(2)])
    assert table["level_read"][0] == pytest.approx(reads_high, abs=0.1)


def test_dynamics_of_hand_made_histories():
    def history(*accuracy):
        return pd.DataFrame({"valid_accuracy": accuracy})

    table = dynamics({"fast": [history(0.5, 0.96, 0.9, 1.0), history(0.2, 0.4, 0.6, 0.8)], "one": [history(0.7, 0.7)]})
    fast = table.loc["fast"]
    assert fast["epochs_to_share", "mean"] == 3 and fast["epochs_to_share", "sd"] == pytest.approx(np.sqrt(2))
    assert fast["final", "mean"] == pytest.approx(0.9) and fast["final", "sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert fast["area", "mean"] == pytest.approx((0.84 + 0.5) / 2) and fast["runs", "count"] == 2
    assert table.loc["one", ("epochs_to_share", "mean")] == 1 and np.isnan(table.loc["one", ("area", "sd")])
    assert dynamics({"a": [history(0.5, 0.96, 1.0)]}, share=0.5).loc["a", ("epochs_to_share", "mean")] == 1


def test_dynamics_of_trainings_has_their_time():
    run = train_classifier(X, Y, SPLIT, network=OPTIONS["network"], loss="cross_entropy", progress=False, **TRAINING)
    row = dynamics({"cross-entropy": [run, run]}).loc["cross-entropy"]
    assert row["seconds", "mean"] == pytest.approx(run.seconds) and row["seconds", "sd"] == 0
    assert row["final", "mean"] == run.history["valid_accuracy"].iloc[-1]
    assert row["area", "mean"] == pytest.approx(run.history["valid_accuracy"].mean())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: placebos([[0.5]], 0), "levels='float64"),
        (lambda: study(placebo=("sugar",)), "placebo='sugar' must be"),
        (lambda: study(subsets=[["rate"]]), "subsets='rate' must be"),
        (lambda: study(subsets="each"), "subsets='each' must be"),
        (lambda: study(seeds=()), r"seeds=\(\) must be at least one"),
        (lambda: study(counts=(12,)), "dim=16 must be at least 24"),
        (lambda: dynamics({}), "runs={} must be at least one"),
        (lambda: dynamics({"a": []}), r"runs\['a'\]=\[\] must be a list of at least one"),
        (lambda: dynamics({"a": [pd.DataFrame({"loss": [1.0]})]}), "metric='valid_accuracy' must be a column"),
        (lambda: dynamics({"a": []}, share=0), "share=0 must be"),
    ],
)
def test_what_cannot_be_studied_is_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
