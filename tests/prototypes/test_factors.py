"""prototypes.factors: cuts from training values alone, codes, blocks, linearity, errors."""

from __future__ import annotations

import statistics

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.prototypes import FactorPrototypes, Levels
from workbench.prototypes.factors import best_input_column

NAMES = ("pitch_median", "pitch_std", "loudness")


def values(n: int = 600, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([150, 30, -25], [30, 8, 5], (n, 3))


def test_quantile_cuts_fill_levels_evenly_and_do_not_look_at_test_clips():
    levels = Levels.fit(values(), NAMES)
    for column in levels.codes(values()).T:
        assert np.bincount(column).tolist() == [100] * 6
    shifted = values(seed=1) + 1000
    assert (levels.codes(shifted) == 5).all()


def test_code_is_the_number_of_cuts_at_or_below_the_value():
    levels = Levels.fit([[0.0], [1], [2], [3], [4]], ["x"], count=2)
    assert levels.cuts[None] == ((2.0,),)
    assert levels.codes([[1.9], [2.0], [2.1]]).tolist() == [[0], [1], [1]]


def test_exclusive_cuts_are_those_of_the_statistics_module():
    column = values(37)[:, 0]
    cuts = Levels.fit(column[:, None], ["x"], method="exclusive").cuts[None][0]
    assert cuts == tuple(statistics.quantiles(column, n=6, method="exclusive"))
    assert cuts[0] < Levels.fit(column[:, None], ["x"]).cuts[None][0][0]
    assert Levels.fit(column[:, None], ["x"]).cuts[None][0] == pytest.approx(np.quantile(column, np.arange(1, 6) / 6))


def test_cuts_by_group_free_the_levels_of_the_group():
    gender = np.repeat(["f", "m"], 300)
    pitch = values()[:, :1] + 80 * (gender == "f")[:, None]
    pooled = Levels.fit(pitch, ["pitch"]).codes(pitch)[:, 0]
    own = Levels.fit(pitch, ["pitch"], by=gender).codes(pitch, by=gender)[:, 0]
    assert pooled[:300].mean() - pooled[300:].mean() > 2
    assert own[:300].mean() == own[300:].mean() == 2.5


def test_distinct_values_as_levels():
    levels = Levels.fit([[3.0, 0.1], [5, 0.2], [3, 0.4], [9, 0.3]], ["rate", "x"], count=[None, 2])
    assert levels.counts == (3, 2)
    one, other = (Levels.fit(values(), NAMES, count=count) for count in ([6, 3, 2], pd.Series([6, 3, 2])))
    assert one == other
    assert levels.codes([[9, 0.1], [3, 0.9]]).tolist() == [[2, 0], [0, 1]]
    with pytest.raises(ParameterError, match=r"rate of row 1=4.0 must be a level seen in training: \[3.0, 5.0, 9.0\]"):
        levels.codes([[9, 0.1], [4, 0.9]])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Levels.fit([[1.0, 2], [np.nan, 3]], ["a", "b"]), "a of row 1=nan must be finite: leave out clips"),
        (lambda: Levels.fit(values(), ["a", "b"]), r"values.shape=\(600, 3\) must be \(N, 2\)"),
        (lambda: Levels.fit(values(), NAMES, count=1), "count of pitch_median=1 must be at least 2 levels"),
        (lambda: Levels.fit(values(), NAMES, count=[6, 6]), "one number, or one for each"),
        (lambda: Levels.fit(values(), NAMES, method="cubic"), "'inclusive' or 'exclusive'"),
        (lambda: Levels.fit([[0.0]] * 9 + [[1.0]], ["x"], count=3), "training clips of x in level 0 of 3=0 must be at"),
        (lambda: Levels.fit(values(), NAMES, by=np.arange(600) < 1), "at least two training clips"),
        (lambda: Levels.fit(values(), NAMES).codes(values(), by=np.zeros(600)), "without groups"),
        (lambda: grouped().codes(values()), "by=None must be given"),
        (lambda: grouped().codes(values(), by=["f"] * 599 + ["x"]), r"by='x' must be a group seen in training"),
    ],
)
def test_errors_of_levels(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def grouped() -> Levels:
    return Levels.fit(values(), NAMES, by=np.repeat(["f", "m"], 300))


def test_one_hot_blocks_and_targets():
    factors = FactorPrototypes(Levels.fit(values(), NAMES), 32, scale=4.0)
    blocks = {"pitch_median": slice(0, 6), "pitch_std": slice(6, 12), "loudness": slice(12, 18), "rest": slice(18, 32)}
    assert factors.blocks == blocks
    assert np.array_equal(factors.table("loudness"), 4 * np.eye(6))
    p = factors.targets([[2, 0, 5]])
    assert p.dtype == np.float32 and np.flatnonzero(p).tolist() == [2, 6, 17]
    assert np.linalg.norm(p) == pytest.approx(4 * np.sqrt(3))
    assert FactorPrototypes(factors.levels, 18, scale=1.0).blocks["rest"] == slice(18, 18)


def test_thermometer_keeps_neighbours_close_and_lengths_equal():
    factors = FactorPrototypes(Levels.fit(values(), NAMES), 20, scale=3.0, code="thermometer")
    table = factors.table("pitch_std")
    assert table.shape == (6, 5) and factors.blocks["rest"] == slice(15, 20)
    assert np.linalg.norm(table, axis=1) == pytest.approx(np.full(6, 3))
    steps = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    apart = np.linalg.norm(table[:, None] - table, axis=2)
    assert apart == pytest.approx(2 * 3 * np.sqrt(steps / 5), abs=1e-6)


@pytest.mark.parametrize("code", ["one-hot", "thermometer"])
def test_targets_of_mixed_levels_are_mixed_targets(code):
    factors = FactorPrototypes(Levels.fit(values(), NAMES), 24, scale=2.0, code=code)
    a, b = np.array([[0, 1, 2]]), np.array([[0, 4, 5]])
    mixed = 0.3 * factors.one_hot(a) + 0.7 * factors.one_hot(b)
    assert factors.targets(mixed) == pytest.approx(0.3 * factors.targets(a) + 0.7 * factors.targets(b), abs=1e-6)
    if code == "one-hot":
        p = factors.targets(mixed)[0, factors.blocks["loudness"]]
        assert np.sum(p**2) == pytest.approx(4 * 0.58, abs=1e-5)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda f: FactorPrototypes(f.levels, 12, scale=1.0),
            "dim=12 must be at least 18, .*: pitch_median 6 [+]",
        ),
        (lambda f: FactorPrototypes(f.levels, 32, scale=-1.0), "scale=-1.0 must be a finite number, above 0"),
        (lambda f: FactorPrototypes(f.levels, 32, scale=1.0, code="gray"), "'one-hot' or 'thermometer'"),
        (lambda f: f.targets([[0, 6, 0]]), "pitch_std of row 0=6 must be a level seen in training, 0 to 5"),
        (lambda f: f.targets([[0, -1, 0]]), "pitch_std of row 0=-1"),
        (lambda f: f.targets([[0, 1]]), r"must be integers \(N, 3\)"),
        (lambda f: f.targets([[0.0, 1, 0]]), r"\(N, 18\) weights of levels"),
        (lambda f: f.table("rest"), "factor='rest' must be "),
    ],
)
def test_errors_of_factor_prototypes(call, message):
    with pytest.raises(ParameterError, match=message):
        call(FactorPrototypes(Levels.fit(values(), NAMES), 32, scale=1.0))


def halves(n):
    return Split(np.arange(0, n, 2), np.arange(1, n, 4), np.arange(3, n, 4))


def test_the_factor_itself_among_the_inputs_reads_all_of_its_levels():
    factor, split = values(300), halves(300)
    cuts = Levels.fit(factor[split.train], NAMES, count=3)
    levels = cuts.codes(factor)
    noise = np.random.default_rng(1).normal(size=(300, 5))
    inputs = np.hstack([noise, factor[:, :1], -2 * factor[:, 1:2], noise[:, :1], factor[:, 2:] + 1])
    best = best_input_column(inputs, levels, split)
    assert best.columns.tolist() == [5, 6, 8] and best.share[[0, 2]].tolist() == [1, 1]
    assert best.share[1] > 0.98  # downwards a value on a cut goes to the other side
    assert np.array_equal(best.read[:, 0], levels[:, 0]) and best.read.shape == (300, 3)


def test_columns_of_noise_read_what_chance_says():
    split = halves(3000)
    levels = np.random.default_rng(2).integers(0, 3, (3000, 1))
    best = best_input_column(np.random.default_rng(3).normal(size=(3000, 20)), levels, split)
    assert abs(best.share[0] - 1 / 3) < 0.05


def test_the_column_is_not_chosen_on_test_clips():
    split, rng = halves(400), np.random.default_rng(4)
    levels = rng.integers(0, 2, (400, 1))
    good, knows_test = levels + 0.3 * rng.normal(size=(400, 1)), rng.normal(size=(400, 1))
    knows_test[split.test] = levels[split.test]
    best = best_input_column(np.hstack([knows_test, good]), levels, split)
    assert best.columns.tolist() == [1]
    moved = good.copy()
    moved[split.test] += 100  # cuts are the training clips' own
    assert best_input_column(moved, levels, split).share[0] == levels[split.test].mean()


def test_unequal_levels_are_cut_where_the_training_clips_are():
    level = np.repeat([0, 0, 0, 0, 0, 0, 0, 1, 2, 2], 40)[:, None]
    best = best_input_column(np.arange(400.0)[:, None], level, halves(400))
    assert best.share[0] > 0.95  # equal thirds would read half of them


def test_best_input_column_refuses_what_does_not_fit():
    x, level, split = np.zeros((40, 2)), np.zeros((40, 1), dtype=int), halves(40)
    for bad in (level + 0.5, level[:20], level - 1, level[:, 0]):
        with pytest.raises(ParameterError, match="levels"):
            best_input_column(x, bad, split)
    with pytest.raises(ParameterError, match="inputs"):
        best_input_column(x * np.nan, level, split)
    with pytest.raises(ParameterError, match="split"):
        best_input_column(x, level, Split(np.arange(20), np.arange(20, 40), []))
