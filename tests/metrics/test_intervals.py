"""Intervals for other groups: against their formulas, against scipy, and against simulated truths."""

import numpy as np
import pytest
from scipy import stats

from workbench import ParameterError
from workbench.metrics import intervals
from workbench.metrics.classification import wilson_interval


def test_without_groups_a_rate_has_wilsons_interval():
    right = np.arange(400) < 300
    expected = wilson_interval(300, 400)
    assert intervals.group_interval(right, limits=(0, 1)) == pytest.approx(expected, abs=1e-3)


def test_equal_groups_without_limits_are_a_t_test_of_their_means():
    rng = np.random.default_rng(0)
    groups = np.repeat(list("abcdef"), 7)
    values = rng.normal(size=42) + np.repeat(rng.normal(size=6) * 3, 7)
    means = values.reshape(6, 7).mean(1)
    expected = stats.t.interval(0.9, 5, means.mean(), stats.sem(means))
    assert intervals.group_interval(values, groups, level=0.9) == pytest.approx(expected)


def test_the_jackknife_leaves_out_a_group_at_a_time():
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 5, 60)
    values = rng.random(60) + groups
    without = [values[groups != g].mean() for g in range(5)]
    by_hand = intervals.jackknife_interval(values.mean(), without, np.bincount(groups))
    assert intervals.group_interval(values, groups) == pytest.approx(by_hand)


def test_groups_that_agree_within_widen_the_interval():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(20), 20)
    right = (rng.random(20) < 0.5).astype(float)[groups]
    grouped, single = (np.diff(intervals.group_interval(right, g, limits=(0, 1)))[0] for g in (groups, None))
    assert grouped / single == pytest.approx(np.sqrt(20) * stats.t.ppf(0.975, 19) / 1.96, rel=0.1)


def test_groups_that_happen_to_agree_are_no_proof():
    right = np.tile([1, 1, 1, 0], 10)
    low, high = intervals.group_interval(right, np.repeat([0, 1], 20), limits=(0, 1))
    assert low < 0.2 and high > 0.95
    low, high = intervals.group_interval(np.ones(100), np.repeat(np.arange(5), 20), limits=(0, 1))
    assert (low, high) == pytest.approx((0.025 ** (1 / 5), 1.0))
    low, high = intervals.group_interval(np.zeros(100), np.repeat(np.arange(5), 20), limits=(-1, 1))
    assert low == -high and high == pytest.approx(1 - 0.025 ** (1 / 5))
    assert np.isnan(intervals.group_interval(np.ones(6), np.arange(6))).all()


def test_bounds_stay_within_the_limits_and_leading_axes_are_kept():
    rng = np.random.default_rng(2)
    values, groups = (rng.random((3, 2, 50)) < 0.95).astype(float), rng.integers(0, 4, 50)
    bounds = intervals.group_interval(values, groups, limits=(0, 1))
    assert bounds.shape == (3, 2, 2) and (bounds >= 0).all() and (bounds <= 1).all()
    np.testing.assert_allclose(bounds[1, 1], intervals.group_interval(values[1, 1], groups, limits=(0, 1)))


def test_one_group_has_no_interval():
    for bounds in (
        intervals.group_interval([0, 1, 1], ["a"] * 3, limits=(0, 1)),
        intervals.median_interval([0, 1, 1], ["a"] * 3),
        intervals.jackknife_interval(0.5, [0.4]),
        intervals.fold_interval([0.5, 0.6], [0, 0]),
    ):
        assert np.isnan(bounds).all()


def test_the_median_of_rows_moves_together_and_few_groups_have_none():
    rng = np.random.default_rng(3)
    row, groups = rng.standard_normal(60), np.repeat(np.arange(6), 10)
    low, high = intervals.median_interval(row, groups)
    assert row.min() <= low < np.median(row) < high <= row.max()
    assert intervals.median_interval(np.stack([row, row + 1]), groups) == pytest.approx((low + 0.5, high + 0.5))
    assert np.isnan(intervals.median_interval(row, groups % 5)).all()


def test_folds_share_their_training_clips_and_seeds_their_fold():
    folds, values = np.repeat(np.arange(5), 2), np.array([0.8, 0.9, 0.7, 0.7, 0.6, 0.8, 0.9, 0.9, 0.5, 0.7])
    means = values.reshape(5, 2).mean(1)
    low, high = intervals.fold_interval(values, folds)
    half = stats.t.ppf(0.975, 4) * means.std(ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    assert (low, high) == pytest.approx((means.mean() - half, means.mean() + half))


@pytest.mark.parametrize("count", [2, 3, 5, 10, 30])
@pytest.mark.parametrize("unequal", [False, True])
def test_95_per_cent_covers_at_least_90(count, unequal):
    rng, held = np.random.default_rng(count), {"rate": [], "difference": [], "median": []}
    for _ in range(400):
        sizes = np.maximum(1, rng.lognormal(2.5, 1, count)).astype(int) if unequal else np.full(count, 20)
        groups = np.repeat(np.arange(count), sizes)
        own = np.repeat(rng.beta(0.8 * 15, 0.2 * 15, count), sizes)  # around .8, spread .1
        right = (rng.random(len(groups)) < own).astype(float)
        other = (rng.random(len(groups)) < 0.8).astype(float)
        shifted = np.repeat(rng.normal(0, 0.5, count), sizes) + rng.standard_normal(len(groups))
        for name, truth, bounds in (
            ("rate", 0.8, intervals.group_interval(right, groups, limits=(0, 1))),
            ("difference", 0.0, intervals.group_interval(right - other, groups, limits=(-1, 1))),
            ("median", 0.0, intervals.median_interval(shifted, groups)),
        ):
            if np.isfinite(bounds[0]):
                held[name].append(bounds[0] <= truth <= bounds[1])
    assert (len(held["median"]) == 0) == (count < intervals.FEWEST_FOR_A_MEDIAN)
    for name, hits in held.items():
        assert not hits or np.mean(hits) >= 0.9, (name, np.mean(hits))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intervals.group_interval([1, 0], ["s"]), r"groups.shape=\(1,\) must be \(2,\)"),
        (lambda: intervals.group_interval([2, 0], limits=(0, 1)), r"values='0 to 2' must be within the limits"),
        (lambda: intervals.group_interval([1, 0], limits=(1, 0)), "limits="),
        (lambda: intervals.group_interval([1, 0], limits=3), "limits=3"),
        (lambda: intervals.group_interval([1, 0], level=95), "level=95 must be between 0 and 1"),
        (lambda: intervals.jackknife_interval(0.5, [0.4, 0.6], [1]), r"sizes=\[1\]"),
        (lambda: intervals.fold_interval([0.5, 0.6], [0]), r"groups.shape=\(1,\)"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
