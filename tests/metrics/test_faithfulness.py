"""metrics.faithfulness against golden values, limits and brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.metrics import blocks
from workbench.metrics import faithfulness as metrics

GOLDEN = json.loads((Path(__file__).parent / "golden" / "faithfulness.json").read_text())


def spread(p: float, classes: int = 50) -> np.ndarray:
    """p for class 0, the rest uniform."""
    return np.array([[p] + (classes - 1) * [(1 - p) / (classes - 1)]])


def probabilities(seed: int, n: int = 30, classes: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), n)


@pytest.mark.parametrize("case", GOLDEN["average_drop"], ids=lambda case: f"p {case['p']}, o {case['o']}")
def test_golden_average_drop(case):
    whole, kept = spread(case["p"]), spread(case["o"])
    assert metrics.average_drop(whole, kept).overall == pytest.approx(case["textbook"], abs=0.05)
    assert metrics.average_drop_double_softmax(whole, kept).overall == pytest.approx(case["double_softmax"], abs=0.05)


@pytest.mark.parametrize("case", GOLDEN["masks"], ids=lambda case: case["name"])
def test_golden_masks(case):
    mask = np.array(case["mask"]).reshape(1, 2, 2)
    for name in ("sparseness", "complexity"):
        assert getattr(metrics, name)(mask).overall == pytest.approx(case[name], abs=1e-6)
    assert metrics.mask_mean(mask).overall == pytest.approx(case["mean"])


def test_double_softmax_never_exceeds_its_bound_and_reaches_it():
    whole, kept = probabilities(0, 2000, 10), probabilities(1, 2000, 10)
    bound = 100 * (1 - np.exp(-1))
    assert metrics.average_drop_double_softmax(whole, kept).each.max() < bound
    one, other = np.eye(50)[:1], np.eye(50)[1:2]
    assert metrics.average_drop_double_softmax(one, other).overall == pytest.approx(bound)
    assert metrics.average_drop(one, other).overall == 100


def test_a_mask_of_ones_explains_nothing_and_looks_perfect():
    whole = probabilities(0)
    scores = metrics.evaluate(whole, whole, np.full_like(whole, 1 / 6), masks=np.ones((30, 8, 9)))
    zero = ("average_increase", "average_drop", "average_drop_double_softmax", "average_gain", "sparseness")
    assert [scores[name] for name in zero] == pytest.approx([0] * 5, abs=1e-12)
    assert scores["fidelity_in"] == scores["mask_mean"] == 1
    assert scores["complexity"] == pytest.approx(np.log(72))
    assert scores["mean_removal_drop"] == pytest.approx(whole.max(1).mean() - 1 / 6)


def test_a_mask_of_zeros_has_no_complexity_and_is_flat():
    masks = np.zeros((2, 3, 4))
    masks[1, 0, 0] = 1
    assert metrics.sparseness(masks).each == pytest.approx([0, 11 / 12], abs=1e-5)
    complexity = metrics.complexity(masks)
    assert np.isnan(complexity.each[0]) and complexity.overall == pytest.approx(0, abs=1e-9)
    assert np.isnan(metrics.complexity(masks[:1]).overall)


def test_increase_drop_and_gain_of_four_clips():
    whole = [[0.6, 0.4], [0.2, 0.8], [1.0, 0.0], [0.5, 0.5]]
    kept = [[0.7, 0.3], [0.4, 0.6], [0.9, 0.1], [0.5, 0.5]]
    assert metrics.average_increase(whole, kept).each.tolist() == [100, 0, 0, 0]
    assert metrics.average_drop(whole, kept).each == pytest.approx([0, 25, 10, 0])
    assert metrics.average_gain(whole, kept).each == pytest.approx([25, 0, 0, 0])
    assert metrics.fidelity_in(whole, kept).overall == 1
    assert metrics.fidelity_in(whole, 1 - np.array(kept)).each.tolist() == [0, 0, 0, 1]  # the tie is class 0, twice


def test_classes_follow_what_the_caller_explains_and_zero_cannot_drop():
    whole, kept = [[0.9, 0.0], [0.9, 0.5]], [[0.1, 0.3], [0.2, 0.25]]
    assert metrics.average_drop(whole, kept, [1, 1]).each == pytest.approx([0, 50])
    assert metrics.average_gain(whole, kept, [1, 1]).each == pytest.approx([30, 0])
    assert metrics.mean_removal_drop(whole, kept, [1, 1]).each == pytest.approx([-0.3, 0.25])
    assert metrics.removal_drop(whole, kept, [1, 1], output="probabilities").median == pytest.approx(-0.025)


def test_removal_drop_is_the_median_of_the_signed_drops_of_the_models_class():
    rng = np.random.default_rng(0)
    whole, rest = rng.standard_normal((2, 41, 7))
    classes = whole.argmax(1)
    found = metrics.removal_drop(whole, rest, output="logits")
    each = whole[np.arange(41), classes] - rest[np.arange(41), classes]
    np.testing.assert_array_equal(found.each, each)
    assert found.median == np.median(each) and found.low < found.median < found.high and found.output == "logits"


def test_empty_interpretation_drops_nothing():
    whole = probabilities(2)
    drop = metrics.removal_drop(whole, whole, output="probabilities")
    assert (drop.median, drop.low, drop.high) == (0, 0, 0)


def test_draws_of_a_baseline_each_have_their_median():
    rng = np.random.default_rng(1)
    whole, rest = rng.standard_normal((25, 3)), rng.standard_normal((4, 25, 3))
    found = metrics.removal_drop(whole, rest, output="logits")
    single = [metrics.removal_drop(whole, draw, output="logits") for draw in rest]
    assert found.median == pytest.approx(np.mean([drop.median for drop in single]))
    np.testing.assert_array_equal(found.each, np.stack([drop.each for drop in single]))
    same = metrics.removal_drop(whole, np.stack([rest[0]] * 3), output="logits")
    assert (same.low, same.high) == pytest.approx((single[0].low, single[0].high))


def test_random_components_are_as_many_and_others():
    rng = np.random.default_rng(4)
    selected = rng.random((50, 20)) < 0.3
    selected[0], selected[1], selected[2] = False, True, np.arange(20) < 13
    found = metrics.random_components(selected, draws=8, seed=1)
    assert found.selected.shape == (8, 50, 20) and not (found.selected & selected).any()
    count = selected.sum(1)
    np.testing.assert_array_equal(found.selected.sum(-1), np.tile(np.minimum(count, 20 - count), (8, 1)))
    np.testing.assert_array_equal(found.short, count > 10)
    assert found.short[[1, 2]].all() and not found.short[0]
    np.testing.assert_array_equal(found.selected, metrics.random_components(selected, draws=8, seed=1).selected)
    assert (found.selected != metrics.random_components(selected, draws=8, seed=2).selected).any()


def test_random_components_are_drawn_evenly():
    drawn = metrics.random_components([[1, 0, 0, 1, 0, 0]], draws=4000).selected[:, 0]
    assert drawn.mean(0) == pytest.approx([0, 0.5, 0.5, 0, 0.5, 0.5], abs=0.03)
    assert (drawn[:, 1] & drawn[:, 2]).mean() == pytest.approx(1 / 6, abs=0.03)  # pairs, too


def test_curves_of_an_additive_score():
    weight = np.array([[4, 3, 2, 1], [1, 1, 2, 6]])
    curves = metrics.deletion_insertion(lambda there: (there * weight / 10).sum(1), weight, orders=200)
    assert curves.share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curves.deletion == pytest.approx(np.array([[1, 0.6, 0.3, 0.1, 0], [1, 0.4, 0.2, 0.1, 0]]))
    assert curves.insertion == pytest.approx(1 - curves.deletion)
    assert curves.random.mean(0) == pytest.approx(1 - curves.share, abs=0.03)
    assert curves.area("deletion").each == pytest.approx([0.375, 0.3])
    assert curves.area("deletion").overall == pytest.approx(0.3375)
    assert curves.area("random").overall == pytest.approx(0.5, abs=0.02)


def test_curves_keep_the_shape_of_masks_and_end_with_all_and_none():
    rng = np.random.default_rng(5)
    importance = rng.random((3, 7, 11))
    shapes = []

    def score(there):
        shapes.append(there.shape)
        return there.mean((1, 2)) ** 2

    curves = metrics.deletion_insertion(score, importance, steps=10, orders=2)
    assert set(shapes) == {(3, 7, 11)} and len(shapes) == 4 * 11
    assert (curves.deletion[:, 0] == 1).all() and (curves.deletion[:, -1] == 0).all()
    assert curves.insertion == pytest.approx(np.tile(curves.share**2, (3, 1)))
    assert curves.share == pytest.approx(np.linspace(0, 1, 11), abs=0.51 / 77)
    assert curves.area("insertion").overall == pytest.approx(1 / 3, abs=0.005)


def test_curves_agree_with_those_of_blocks():
    rng = np.random.default_rng(6)
    z, background = rng.standard_normal((5, 8)), rng.standard_normal(8)
    head, contributions = rng.standard_normal((8, 3)), rng.standard_normal((5, 4))
    parts = [slice(2 * b, 2 * b + 2) for b in range(4)]
    expected = blocks.faithfulness(lambda x: np.tanh(x @ head), z, parts, contributions, background)
    followed = np.tanh(z @ head).argmax(1)

    def score(there):
        mixed = np.where(np.repeat(there, 2, axis=1), z, background)
        return np.tanh(mixed @ head)[np.arange(5), followed]

    found = metrics.deletion_insertion(score, contributions, orders=600)
    assert found.deletion == pytest.approx(expected.deletion) and found.insertion == pytest.approx(expected.insertion)
    assert found.random == pytest.approx(expected.random, abs=0.12)
    assert found.area("deletion").each == pytest.approx(expected.area("deletion"))


def test_evaluate_holds_every_metric_in_order():
    whole, kept, rest = probabilities(0), probabilities(1), probabilities(2)
    drops = ["average_increase", "average_drop", "average_drop_double_softmax", "average_gain"]
    names = [*drops, "mean_removal_drop", "fidelity_in"]
    assert list(metrics.evaluate(whole, kept, rest)) == names
    scores = metrics.evaluate(whole, kept, rest, masks=np.ones((30, 2, 2)))
    assert list(scores) == [*names, "sparseness", "complexity", "mask_mean"]
    assert scores["average_gain"] == metrics.average_gain(whole, kept).overall > 0


P = [[0.4, 0.6], [0.3, 0.7]]


def test_one_group_has_no_interval():
    drop = metrics.removal_drop(P, P[::-1], output="probabilities", groups=["a"] * len(P))
    assert np.isfinite(drop.median) and np.isnan([drop.low, drop.high]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.average_drop([[3.0, -1.0]], P[:1]), r"whole\[0, 0\]=3.0 must be a probability, .*logits"),
        (lambda: metrics.average_drop(P, [[0.5, 0.5], [np.nan, 0]]), r"kept\[1\]='nan or inf' must be finite; 1 of 2"),
        (lambda: metrics.mean_removal_drop(P, [[0.5, 0.5]]), r"rest.shape=\(1, 2\) must be that of whole, \(2, 2\)"),
        (lambda: metrics.fidelity_in(P, P, [0, 2]), r"classes='int64 \(2,\)' must be \(2,\) integers in \[0, 2\)"),
        (lambda: metrics.removal_drop(P, P, output="logit"), "output='logit' must be 'logits' or 'probabilities'"),
        (lambda: metrics.removal_drop([[7.0, 1], [1, 1]], P, output="probabilities"), r"whole\[0, 0\]=7.0"),
        (
            lambda: metrics.removal_drop(P, np.empty((0, 2, 2)), output="logits"),
            r"rest.shape=\(0, 2, 2\) must be at least",
        ),
        (lambda: metrics.random_components([0, 1]), r"selected='int64 \(2,\)' must be booleans \(N, K\)"),
        (lambda: metrics.random_components([[0.5, 1]]), r"selected='float64 \(1, 2\)' must be booleans"),
        (lambda: metrics.random_components([[0, 1]], draws=0), "draws=0 must be a whole number, 1 or more"),
        (lambda: metrics.sparseness([0, 1]), r"masks.shape=\(2,\) must be \(N, ...\)"),
        (lambda: metrics.complexity([[0, 1], [np.inf, 0]]), r"masks\[1\]='nan or inf' must be finite"),
        (lambda: metrics.deletion_insertion(None, [[np.nan]]), r"importance\[0\]='nan or inf'"),
        (lambda: metrics.deletion_insertion(None, [[1, 2]], steps=0), "steps=0 must be a whole number, 1 or more"),
        (lambda: metrics.deletion_insertion(lambda x: x, [[1, 2]]), r"score\(there\).shape=\(1, 2\) must be \(1,\)"),
        (
            lambda: metrics.deletion_insertion(lambda x: [np.nan], [[1, 2]]),
            r"score\(there\)='array with 1 of 1 values NaN",
        ),
        (lambda: metrics.deletion_insertion(lambda x: x.sum(1), P).area("x"), "curve='x' must be 'deletion'"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
