"""prototypes.explaining: contributions sum to the logit, counterfactuals, Shapley values, both decisions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.prototypes import FactorPrototypes, Levels, explain
from workbench.prototypes.explaining import _shapley

NAMES = ("pitch", "loudness", "rate")
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(60, 3))
LEVELS = Levels.fit(VALUES, NAMES, count=[4, 3, 3])
WEIGHT, BIAS = RNG.normal(size=(5, 16)), RNG.normal(size=5)


def example(code: str = "one-hot", noise: float = 0.1):
    factors = FactorPrototypes(LEVELS, 16, scale=3.0, code=code)
    codes = LEVELS.codes(VALUES)
    z = factors.targets(codes) + noise * np.random.default_rng(1).normal(size=(60, 16))
    return explain(z, WEIGHT, BIAS, factors), codes


def test_contributions_and_bias_sum_to_the_logit():
    explanation, _ = example(noise=1.0)
    assert explanation.contributions.shape == (60, 5, 4) and explanation.names == (*NAMES, "rest")
    logits = explanation.z @ WEIGHT.T + BIAS
    assert np.abs(explanation.contributions.sum(2) + BIAS - logits).max() < 1e-12
    assert np.array_equal(explanation.decisions, logits.argmax(1))
    assert explanation.probabilities.sum(1) == pytest.approx(np.ones(60))


@pytest.mark.parametrize("code", ["one-hot", "thermometer"])
def test_levels_are_read_back_with_confidence(code):
    explanation, codes = example(code)
    assert np.array_equal(explanation.levels, codes)
    sure, unsure = explanation.confidence, example(code, noise=2.0)[0].confidence
    assert sure.shape == (60, 3) and sure.min() > 0.99 and unsure.mean() < sure.mean()


def test_positions_run_from_the_lowest_level_to_the_highest():
    explanation, codes = example("thermometer", noise=0.0)
    assert explanation.positions == pytest.approx(codes / (np.array([4, 3, 3]) - 1))
    beyond = explain(2 * explanation.z, WEIGHT, BIAS, explanation.factors).positions[codes[:, 1] == 2, 1]
    assert beyond == pytest.approx(1.5)  # twice as far from the middle
    one_hot, codes = example("one-hot", noise=0.0)
    assert one_hot.positions == pytest.approx(np.where(codes == 0, 0, np.where(codes == np.array([3, 2, 2]), 1, 0.5)))


def test_confidence_is_the_softmax_of_negative_squared_distances():
    factors = FactorPrototypes(Levels.fit([[0.0], [1]], ["x"], count=2), 3, scale=1.0)
    explanation = explain([[0.8, 0.3, 9.0]], np.zeros((2, 3)), np.zeros(2), factors)
    near, far = 0.2**2 + 0.3**2, 0.8**2 + 0.7**2
    assert explanation.confidence[0, 0] == pytest.approx(1 / (1 + np.exp(near - far)))
    assert explanation.levels.tolist() == [[0]]


@pytest.mark.parametrize("code", ["one-hot", "thermometer"])
def test_effects_are_the_contributions_of_embeddings_on_their_prototypes(code):
    explanation, codes = example(code, noise=0)
    for f, name in enumerate(NAMES):
        effects = explanation.effects(name)
        assert effects.shape == (5, LEVELS.counts[f])
        assert explanation.contributions[:, :, f] == pytest.approx(effects.T[codes[:, f]], abs=1e-6)
    assert np.abs(explanation.contributions[:, :, 3]).max() == 0


def test_counterfactual_moves_the_logits_by_the_difference_of_effects():
    explanation, codes = example(noise=0)
    effects = explanation.effects("loudness")
    probabilities = explanation.counterfactual({"loudness": 2})
    moved = explanation.logits + effects[:, 2] - effects.T[codes[:, 1]]
    expected = np.exp(moved) / np.exp(moved).sum(1, keepdims=True)
    assert probabilities == pytest.approx(expected, abs=1e-6)
    same = explanation.counterfactual(dict(zip(NAMES, codes.T, strict=True)))
    assert same == pytest.approx(explanation.probabilities, abs=1e-6)


def test_shapley_of_logits_are_centred_contributions():
    explanation, _ = example(noise=1.0)
    centred = explanation.contributions - explanation.contributions.mean(0)
    assert explanation.shapley() == pytest.approx(centred, abs=1e-10)


def test_shapley_of_probabilities_sum_to_the_change_from_the_background():
    explanation, _ = example(noise=1.0)
    background = np.zeros(16)
    values = explanation.shapley(background, of="probability")
    start = np.exp(BIAS) / np.exp(BIAS).sum()
    assert values.sum(2) == pytest.approx(explanation.probabilities - start, abs=1e-10)


def test_shapley_of_a_product_is_shared_evenly():
    values = _shapley(
        lambda z: z[:, :1] * z[:, 1:2], np.array([[2.0, 3.0, 7.0]]), np.zeros(3), [slice(i, i + 1) for i in range(3)]
    )
    assert values[0, 0].tolist() == pytest.approx([3, 3, 0])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda e: explain(e.z[:, :9], WEIGHT, BIAS, e.factors), r"z.shape=\(60, 9\) must be \(60, 16\)"),
        (lambda e: explain(e.z, WEIGHT, BIAS[:3], e.factors), r"bias.shape=\(3,\) must be \(5,\)"),
        (lambda e: explain(e.z * np.nan, WEIGHT, BIAS, e.factors), "z=.array with 960 .* must be finite"),
        (lambda e: e.counterfactual({"loudness": 3}), r"levels\['loudness'\]=3 must be from 0 to 2"),
        (lambda e: e.counterfactual({"timbre": 0}), "factor='timbre' must be "),
        (lambda e: e.shapley(of="odds"), "'logit' or 'probability'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ParameterError, match=message):
        call(example()[0])


def test_moves_are_distances_block_by_block():
    explanation, _ = example()
    after = explanation.z.copy()
    after[:, explanation.factors.blocks["loudness"]] += [3.0, 0, 4.0]
    after[:, -1] -= 2
    moves = explanation.factors.moves(explanation.z, after)
    assert list(moves) == [*NAMES, "rest"] and len(moves) == 60
    assert moves.iloc[0].tolist() == pytest.approx([0, 5, 0, 2])
    with pytest.raises(ParameterError, match=r"after\.shape"):
        explanation.factors.moves(explanation.z, after[:, :5])


def test_a_block_moves_further_than_the_other_factors():
    rng, moved_further = np.random.default_rng(6), example()[0].factors.moved_further
    moves = pd.DataFrame(rng.random((40, 4)), columns=[*NAMES, "rest"]).assign(loudness=2.0, rest=50.0)
    difference, low, high = moved_further(moves, "loudness", groups=np.arange(40) // 5)
    assert difference == pytest.approx(2 - moves[["pitch", "rate"]].to_numpy().mean()) and 1 < low < difference < high
    assert moved_further(moves, "rate")[2] < 0
    assert np.isnan(moved_further(moves, "loudness", groups=np.zeros(40))[1:]).all()
    alone = FactorPrototypes(Levels.fit(VALUES[:, :1], ["loudness"], count=3), 8, scale=1.0)
    assert alone.moved_further(moves[["loudness", "rest"]], "loudness")[0] == -48
    with pytest.raises(ParameterError, match="block"):
        moved_further(moves, "colour")
