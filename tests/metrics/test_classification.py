"""metrics.classification against golden values, closed forms and properties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.metrics import classification as metrics

GOLDEN = json.loads((Path(__file__).parent / "golden" / "classification.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_golden_scores(case):
    true, predicted, expected = case["true"], case["predicted"], case["expected"]
    assert metrics.accuracy(true, predicted) == pytest.approx(expected["accuracy"], abs=1e-12)
    assert metrics.balanced_accuracy(true, predicted) == pytest.approx(expected["balanced_accuracy"], abs=1e-12)


@pytest.mark.parametrize("case", GOLDEN["wilson"], ids=lambda case: f"{case['successes']} of {case['n']}")
def test_wilson_matches_newcombes_table(case):
    low, high = metrics.wilson_interval(case["successes"], case["n"])
    assert (low, high) == pytest.approx((case["low"], case["high"]), abs=5e-5)


@pytest.mark.parametrize("case", GOLDEN["mcnemar"], ids=lambda case: f"{case['only_a']} against {case['only_b']}")
def test_mcnemar_is_the_exact_binomial(case):
    a = [1] * case["only_a"] + [0] * case["only_b"] + [1, 0]
    b = [0] * case["only_a"] + [1] * case["only_b"] + [1, 0]
    assert metrics.mcnemar(a, b) == pytest.approx(case["p"], abs=1e-12)


def test_wilson_is_closed_at_the_ends_and_widens_with_the_level():
    assert metrics.wilson_interval(0, 10)[0] == 0.0 and metrics.wilson_interval(10, 10)[1] == 1.0
    narrow, wide = (metrics.wilson_interval(7, 10, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < 0.7 < narrow[1] < wide[1]


def test_chance_and_majority():
    assert metrics.chance(["a", "b", "c", "a"]) == pytest.approx(1 / 3)
    assert metrics.majority(["a", "a", "b"], ["a", "b", "b", "b"]) == 0.25
    assert metrics.majority(["b", "a"], ["a", "a", "b"]) == pytest.approx(2 / 3)  # a tie: the first in sorted order


def test_paired_interval_is_narrower_than_two_separate_ones():
    rng = np.random.default_rng(1)
    a = rng.random(300) < 0.7
    b = np.where(rng.random(300) < 0.05, ~a, a)
    difference, low, high = metrics.paired_interval(a, b)
    assert difference == pytest.approx(a.mean() - b.mean()) and low <= difference <= high
    assert high - low < 0.6 * np.diff(metrics.wilson_interval(int(a.sum()), 300))[0]


def test_paired_interval_resamples_groups():
    a, b = np.ones(40), np.repeat([1, 0, 0, 0], 10)
    groups = np.repeat(np.arange(4), 10)
    assert metrics.paired_interval(a, b, groups)[1] < metrics.paired_interval(a, b)[1]


def test_evaluate_holds_every_metric_in_order():
    scores = metrics.evaluate(["a", "a", "b", "b"], ["a", "a", "b", "a"], train=["a", "b", "b"])
    assert list(scores) == ["accuracy", "low", "high", "chance", "majority"]
    assert scores["accuracy"] == 0.75 and scores["majority"] == 0.5 and scores["low"] < 0.75 < scores["high"]
    grouped = metrics.evaluate(["a", "a", "b", "b"], ["a", "a", "b", "a"], groups=[1, 1, 2, 2])
    assert list(grouped) == list(scores)[:3] and grouped["low"] < scores["low"] and grouped["high"] > scores["high"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy([], []), r"true.shape=\(0,\) must be \(N,\) with at least one clip"),
        (lambda: metrics.accuracy([[1]], [[1]]), r"true.shape=\(1, 1\)"),
        (lambda: metrics.accuracy(["a", None], ["a", "b"]), r"true\[1\]=None must be a label; 1 of 2 are missing"),
        (
            lambda: metrics.chance(pd.Series(["a", pd.NA], dtype="string")),
            r"classes\[1\]=.* must be a label; 1 of 2 are",
        ),
        (lambda: metrics.accuracy([1, np.nan], [1, 2]), r"true\[1\]=nan must be a label"),
        (lambda: metrics.accuracy(np.array([1, "a"], dtype=object), ["1", "a"]), "true='text and numbers'"),
        (lambda: metrics.mcnemar([0.5, 1], [1, 0]), "right_a, right_b.* must be True or False"),
        (lambda: metrics.paired_interval([2, 0], [1, 0]), r"right_a='0 to 2' must be within \[0, 1\]"),
        (lambda: metrics.accuracy([1, 2], [1]), r"len\(predicted\)=1 must be len\(true\)=2"),
        (lambda: metrics.accuracy(["a"], [1]), "predicted.dtype='int64' must be like true's"),
        (lambda: metrics.wilson_interval(3, 2), r"successes=3 must be in \[0, n=2\]"),
        (lambda: metrics.wilson_interval(0, 0), "n=0 must be a whole number, 1 or more"),
        (lambda: metrics.wilson_interval(1, 2, level=95), "level=95 must be between 0 and 1"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_the_area_is_that_of_sklearn_and_its_interval_is_over_groups():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    has, groups = rng.random(80) < 0.3, np.arange(80) // 8
    a, b = (rng.integers(0, 6, 80) + strength * has for strength in (2, 0))
    assert metrics.roc_auc(a, has) == pytest.approx(roc_auc_score(has, a))
    assert np.isnan(metrics.roc_auc(a, np.ones(80, bool)))
    area, low, high = metrics.roc_auc_interval(a, has, groups)
    assert low < area == metrics.roc_auc(a, has) < high <= 1
    less, low, high = metrics.roc_auc_interval([b, b], has, groups, against=a)
    assert less == pytest.approx(metrics.roc_auc(b, has) - metrics.roc_auc(a, has)) and low < less < high < 0
    assert np.isnan(metrics.roc_auc_interval(a, has, has)[1:]).all(), "a group that holds all clips of one answer"
    for wrong, message in (
        ({"positive": np.arange(80)}, "positive=2 must be True or False"),
        ({"scores": a[:5]}, r"scores.shape=\(5,\)"),
        ({"groups": groups[:5]}, "groups.shape"),
        ({"level": 1.5}, "level=1.5"),
    ):
        with pytest.raises(ParameterError, match=message):
            metrics.roc_auc_interval(**{"scores": a, "positive": has} | wrong)
