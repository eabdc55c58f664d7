"""metrics.blocks: perfect and empty codes, a leak of known size, exact curves of a linear toy."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.metrics import disentanglement as dci
from workbench.metrics.blocks import block_information, faithfulness, leakage, read_linearly

SCORES = ("mig", "minimality", "sufficiency", "disentanglement", "completeness")
GRID = np.array(list(product(range(3), repeat=3)) * 20)  # independent and balanced: 20 clips a combination
FACTORS = dict(zip(("pitch", "spread", "loudness"), GRID.T, strict=True))
NOTHING = np.zeros_like(GRID)


@pytest.mark.parametrize("corrected", [True, False])
def test_independent_factors_told_exactly_score_one(corrected):
    found = block_information(FACTORS | {"rest": NOTHING}, FACTORS)
    assert found.evaluate(corrected=corrected) == pytest.approx(dict.fromkeys(SCORES, 1.0))
    assert found.information[:3] == pytest.approx(np.log(3) * np.eye(3), abs=1e-12)
    assert found.blocks == (*FACTORS, "rest") and np.isnan(found.block_entropy[3])


def test_level_names_and_order_do_not_matter():
    other = {name: np.array([70, -4, 9])[level] for name, level in FACTORS.items()}
    assert block_information(other, FACTORS).evaluate() == pytest.approx(dict.fromkeys(SCORES, 1.0))


def test_shuffled_codes_score_nothing_once_corrected():
    draws = [np.random.default_rng(seed).permutation(GRID[:60]) for seed in range(200)]
    factors = {name: level[:60] for name, level in FACTORS.items()}
    found = [block_information(dict(zip(FACTORS, codes.T, strict=True)), factors) for codes in draws]
    raw, corrected = (np.mean([f.shares(corrected=c) for f in found]) for c in (False, True))
    bias = 4 / (2 * 60) / np.log(3)  # (L - 1)^2 / 2N of a factor's entropy
    assert raw == pytest.approx(bias, rel=0.15) and abs(corrected) < 0.1 * bias
    assert np.mean([f.information for f in found]) == pytest.approx(np.mean([f.expected for f in found]), rel=0.06)
    many = np.random.default_rng(0).permutation(GRID)
    assert block_information(dict(zip(FACTORS, many.T, strict=True)), FACTORS).mig().overall < 0.01


def test_expected_information_is_the_mean_over_all_permutations():
    code, factor = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1])
    every = [block_information({"z": code[list(order)]}, {"v": factor}) for order in permutations(range(5))]
    assert every[0].expected[0, 0] == pytest.approx(np.mean([each.information for each in every]))


def test_a_leak_built_in_by_hand():
    # the pitch block also says whether loudness is 2: six levels
    leaky = FACTORS | {"pitch": GRID[:, 0] * 2 + (GRID[:, 2] == 2)}
    found = block_information(leaky, FACTORS)
    whole, part = np.log(3), np.log(3) - np.log(2) * 2 / 3  # I(loudness; is it 2)
    assert found.information[0] == pytest.approx([whole, 0, part], abs=1e-12)
    assert found.mig(corrected=False).each == pytest.approx([1, 1, 1 - part / whole])
    assert found.minimality(corrected=False).each == pytest.approx([whole / (whole + part), 1, 1])
    assert found.sufficiency(corrected=False).each == pytest.approx([1, 1, 1])


def test_plug_in_mig_is_the_one_of_single_dimensions():
    rng = np.random.default_rng(3)
    codes = np.where(rng.random(GRID.shape) < 0.3, rng.permutation(GRID), GRID)
    found = block_information(dict(zip(FACTORS, codes.T, strict=True)), FACTORS)
    assert found.mig(corrected=False).each == pytest.approx(dci.mig(codes, GRID, discrete=True).each)


def test_a_block_may_be_read_anew_for_every_factor():
    # the rest tells loudness alone, as well as the loudness block does
    rest = np.column_stack([NOTHING[:, :2], GRID[:, 2]])
    found = block_information(FACTORS | {"rest": rest}, FACTORS)
    assert found.shares() == pytest.approx(np.vstack([np.eye(3), [0, 0, 1]]), abs=0.01)
    assert found.mig().each == pytest.approx([1, 1, 0], abs=0.01) and np.isnan(found.minimality().each[3])
    assert found.completeness().each[2] == pytest.approx(1 - np.log(2) / np.log(4))


def test_what_a_linear_classifier_reads_is_held_out_by_group():
    rng = np.random.default_rng(0)
    block = np.eye(3)[GRID[:, 0]] + 0.1 * rng.normal(size=(len(GRID), 3))
    read = read_linearly(block, GRID)
    assert (read[:, 0] == GRID[:, 0]).all() and 0.2 < (read[:, 1] == GRID[:, 1]).mean() < 0.45
    # each group has its own direction, and its own level: of no use to the others
    groups = np.arange(len(GRID)) % 9
    level = groups[:, None] % 3
    alone = np.eye(9)[groups] + 0.01 * rng.normal(size=(len(GRID), 9))
    assert (read_linearly(alone, level) == level).all()
    assert (read_linearly(alone, level, groups=groups, folds=9) == level).mean() < 0.4


def test_leakage_is_a_share_of_what_the_own_block_tells():
    found = leakage([[0.9, 0.4], [0.5, 0.8], [0.3, 0.1]], [0.3, 0.2])
    assert found.table == pytest.approx(np.array([[1, 1 / 3], [1 / 3, 1], [0, -1 / 6]]))
    assert found.each == pytest.approx([1 / 6, 1 / 12]) and found.overall == pytest.approx(1 / 8)
    silent = leakage([[0.3, 0.4], [0.5, 0.8]], 0.3)
    assert np.isnan(silent.each[0]) and silent.overall == pytest.approx(0.2)


def linear(z):
    return z @ np.array([[1.0, 1, 1], [0, 0, -1]]).T


def test_curves_of_a_linear_toy():
    z, blocks = np.array([[3.0, 1, 0.5], [1, 4, 0.5]]), [slice(0, 1), slice(1, 2), slice(2, 3)]
    found = faithfulness(linear, z, blocks, z, np.zeros(3))
    assert found.deletion == pytest.approx(np.array([[4.5, 1.5, 0.5, 0], [5.5, 1.5, 0.5, 0]]))
    assert found.insertion == pytest.approx(np.array([[0, 3, 4, 4.5], [0, 4, 5, 5.5]]))
    assert found.random == pytest.approx(np.array([[4.5, 3, 1.5, 0], [5.5, 11 / 3, 11 / 6, 0]]))
    assert found.area("deletion") == pytest.approx([17 / 12, 19 / 12])
    assert found.area("insertion") == pytest.approx([37 / 12, 47 / 12])
    assert found.area("random") == pytest.approx([4.5 / 2, 5.5 / 2])  # of a linear score: half way, whatever the order
    worst = faithfulness(linear, z, blocks, -z, np.zeros(3))
    assert worst.deletion == pytest.approx(np.array([[4.5, 4, 3, 0], [5.5, 5, 4, 0]]))


def test_random_is_the_mean_over_all_orders_and_the_background_takes_the_place():
    rng = np.random.default_rng(1)
    weight, z, background = rng.normal(size=(4, 6)), rng.normal(size=(5, 6)), rng.normal(size=6)
    blocks = [slice(0, 2), slice(2, 3), slice(3, 6)]

    def score(z):
        return np.exp(z @ weight.T) / np.exp(z @ weight.T).sum(1, keepdims=True)

    def asked(order):
        return faithfulness(score, z, blocks, np.tile(order, (5, 1)), background)

    every = [asked(order) for order in permutations(range(3))]
    assert np.mean([each.deletion for each in every], axis=0) == pytest.approx(every[0].random)
    assert np.mean([each.insertion for each in every], axis=0) == pytest.approx(every[0].random[:, ::-1])
    decided = score(z).argmax(1)
    assert every[0].deletion[:, -1] == pytest.approx(score(background[None])[0, decided])
    mixed = np.hstack([z[:, :3], np.tile(background[3:], (5, 1))])
    assert asked((0, 1, 2)).deletion[:, 1] == pytest.approx(score(mixed)[np.arange(5), decided])


def test_a_score_may_be_a_network_and_is_asked_once_a_set():
    z, asked = torch.rand(5, 3, dtype=torch.float64), []

    def score(vectors):
        asked.append(vectors)
        return torch.tensor(vectors, requires_grad=True) * 2

    blocks = [slice(0, 1), slice(1, 3)]
    given = (blocks, np.eye(5, 2), np.zeros(3))
    expected = faithfulness(lambda vectors: 2 * vectors, z, *given)
    np.testing.assert_array_equal(faithfulness(score, z, *given).deletion, expected.deletion)
    assert len(asked) == 1 + 2 ** len(blocks)
    with pytest.raises(ParameterError, match=r"score\(z\)='array with .* NaN or infinite"):
        faithfulness(lambda vectors: np.where(vectors == 0, np.nan, vectors), z + 1, *given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: block_information({}, FACTORS), "codes={} must be a mapping of name to levels, at least one"),
        (lambda: block_information({"z": GRID[:5, 0]}, FACTORS), r"codes\['z'\]='int64 \(5,\)' must be integers"),
        (lambda: block_information({"z": GRID[:, 0] / 2}, FACTORS), r"codes\['z'\]='float64"),
        (lambda: block_information(FACTORS, {"v": NOTHING[:, 0]}), r"factors\['v'\]='one level for all clips'"),
        (lambda: read_linearly(GRID, GRID[:, 0]), "levels="),
        (lambda: read_linearly(GRID, GRID, groups=NOTHING[:, 0]), "groups='1 in"),
        (lambda: leakage([[0.5, 0.5]], 0.3), r"scores.shape=\(1, 2\)"),
        (lambda: faithfulness(linear, GRID, [slice(0, 3)], GRID, np.zeros(3)), r"contributions.shape=\(540, 3\)"),
        (lambda: faithfulness(linear, GRID, [slice(0, 3)], GRID[:, :1], 0), r"background=0 must be an array"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_an_unknown_curve_is_refused():
    found = faithfulness(linear, GRID, [slice(0, 3)], GRID[:, :1], np.zeros(3))
    with pytest.raises(ParameterError, match="curve='delete' must be 'deletion'"):
        found.area("delete")
