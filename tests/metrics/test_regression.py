"""R2, rank correlation and their intervals: scikit-learn's and scipy's numbers, the jackknife by hand, few groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr, t
from sklearn.metrics import r2_score

from workbench.core.errors import ParameterError
from workbench.metrics.regression import FEWEST, r2, r2_difference, r2_interval, rank_correlation, rank_interval


def data(n: int = 60, groups: int = 10, seed: int = 0):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=n) * 40 + 1e4
    return true, true + rng.normal(size=(3, n)) * np.array([[10], [40], [80]]), rng.integers(0, groups, n)


def test_the_figures_are_scikit_learns_and_scipys():
    true, predicted, _ = data()
    assert np.allclose(r2(true, predicted), [r2_score(true, row) for row in predicted], atol=1e-12)
    assert np.allclose(rank_correlation(true, predicted), [spearmanr(true, row)[0] for row in predicted], atol=1e-12)
    assert isinstance(r2(true, predicted[0]), float) and isinstance(rank_correlation(true, predicted[0]), float)


def test_ties_share_their_rank():
    true, predicted = [1, 1, 2, 3, 3], [0, 5, 5, 5, 9]
    assert rank_correlation(true, predicted) == pytest.approx(spearmanr(true, predicted)[0], abs=1e-12)


def test_r2_interval_is_the_jackknife_of_log_unexplained():
    true, predicted, groups = data()
    names, sizes = np.unique(groups, return_counts=True)
    count, even = len(names), sizes.sum() ** 2 / (sizes**2).sum()
    for row, (low, high) in zip(predicted, r2_interval(true, predicted, groups, level=0.9), strict=True):
        full = np.log(1 - r2_score(true, row))
        without = np.array([np.log(1 - r2_score(true[groups != g], row[groups != g])) for g in names])
        half = t.ppf(0.95, even - 1) * np.sqrt((count - 1) / count * ((without - full) ** 2).sum())
        bias = (count - 1) * (without.mean() - full)
        assert low == pytest.approx(1 - np.exp(full - min(bias, 0) + half), abs=1e-9)
        assert high == pytest.approx(1 - np.exp(full - max(bias, 0) - half), abs=1e-9)
        assert low < r2_score(true, row) < high < 1


def test_the_difference_is_paired():
    true, predicted, groups = data()
    difference, low, high = r2_difference(true, predicted[0], predicted[1], groups)
    assert difference == pytest.approx(r2_score(true, predicted[0]) - r2_score(true, predicted[1]), abs=1e-12)
    shared = np.random.default_rng(1).normal(size=len(true)) * 300  # what both find hard
    _, low_shared, high_shared = r2_difference(true, true + shared + 1, true + shared, groups)
    wide = np.ptp(r2_interval(true, true + shared, groups))
    assert 0 < high_shared - low_shared < 0.05 * wide
    assert low < difference < high


def test_order_alone_counts_for_ranks():
    true, predicted, groups = data()
    same = rank_interval(true, predicted, groups), rank_interval(true, np.exp(predicted / 1e4), groups)
    assert np.allclose(*same, atol=1e-12)
    assert (same[0][:, 0] < rank_correlation(true, predicted)).all()
    assert (rank_correlation(true, predicted) < same[0][:, 1]).all()


@pytest.mark.parametrize("count", [1, FEWEST - 1])
def test_few_groups_have_no_interval(count):
    true, predicted, _ = data()
    groups = np.arange(len(true)) % count
    assert (
        np.isnan(r2_interval(true, predicted, groups)).all() and np.isnan(rank_interval(true, predicted, groups)).all()
    )
    assert np.isnan(r2_difference(true, predicted[0], predicted[1], groups)[1]) == (count < 2)


def test_without_groups_every_clip_is_one():
    true, predicted, _ = data()
    assert np.array_equal(r2_interval(true, predicted), r2_interval(true, predicted, np.arange(len(true))))


def test_what_has_no_figure_is_nan():
    assert np.isnan(r2([2, 2, 2], [1, 2, 3])) and np.isnan(rank_correlation([1, 2, 3], [4, 4, 4]))
    assert np.isnan(r2_interval([2.0] * 8, np.arange(8.0))).all()
    assert np.isnan(r2_interval(np.arange(8.0), np.arange(8.0))).all()  # perfect: how sure, cannot be said
    assert r2(np.arange(8.0), np.arange(8.0)) == 1


def test_intervals_cover():
    """Nine tenths and more, also where most of the variance lies between groups."""
    rng, held = np.random.default_rng(0), []
    for _ in range(300):
        groups = np.repeat(np.arange(8), 20)
        true = rng.normal(0, np.sqrt(0.8), 8)[groups] + rng.normal(0, np.sqrt(0.2), 160)
        errors = rng.normal(0, np.sqrt(0.3), 8)[groups] + rng.normal(0, np.sqrt(0.7), 160)
        low, high = r2_interval(true, true + np.sqrt(0.5) * errors, groups)
        held.append(low <= 0.5 <= high)
    assert np.mean(held) > 0.88


def test_wrong_numbers_are_named():
    with pytest.raises(ParameterError, match="predicted.shape"):
        r2([1, 2, 3], [1, 2])
    with pytest.raises(ParameterError, match="true"):
        r2([1, np.nan, 3], [1, 2, 3])
    with pytest.raises(ParameterError, match="groups.shape"):
        r2_interval([1, 2, 3], [1, 2, 3], [0, 1])


def test_ranks_within_parts_do_not_know_their_levels():
    true, predicted, groups = data()
    parts = np.arange(len(true)) % 2
    shifted = predicted - 1e6 * parts  # two predictors, trained on different clips
    assert np.allclose(rank_correlation(true, shifted, parts), rank_correlation(true, predicted, parts), atol=1e-12)
    each = [rank_correlation(true[parts == k], predicted[0, parts == k]) for k in (0, 1)]
    assert rank_correlation(true, predicted[0], parts) == pytest.approx(np.mean(each), abs=1e-9)
    assert np.allclose(rank_interval(true, shifted, groups, parts), rank_interval(true, predicted, groups, parts))
    assert np.array_equal(rank_correlation(true, predicted, np.zeros(len(true))), rank_correlation(true, predicted))
