"""metrics.disentanglement against golden vectors, closed forms and invariances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.core.errors import ParameterError
from workbench.metrics import disentanglement as metrics
from workbench.metrics.importance import mutual_information

GOLDEN = json.loads((Path(__file__).parent / "golden" / "disentanglement.json").read_text())
MATRICES = arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(2, 5)), elements=st.sampled_from([0, 0.5, 1, 3]))


def factors(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 11, (n, 10)).astype(float)


@pytest.mark.parametrize("case", GOLDEN["matrices"], ids=lambda case: case["name"])
def test_golden_matrices(case):
    R = case["R"]
    assert metrics.disentanglement(R).overall == pytest.approx(case["disentanglement"], abs=1e-6)
    assert metrics.completeness(R).overall == pytest.approx(case["completeness"], abs=1e-6)
    assert metrics.completeness(R, average="weighted").overall == pytest.approx(case["weighted"], abs=1e-6)
    assert metrics.modularity(R).overall == pytest.approx(case["modularity"], abs=1e-9)


@pytest.mark.parametrize("case", GOLDEN["paper"], ids=lambda case: case["name"])
def test_completeness_with_the_papers_options(case):
    assert metrics.completeness(case["R"], **metrics.PAPER).overall == pytest.approx(case["completeness"], abs=1e-6)


@pytest.mark.parametrize("case", GOLDEN["rotation"], ids=lambda case: f"{case['degrees']} degrees")
def test_two_factors_rotated_into_two_codes(case):
    angle = np.radians(case["degrees"])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    assert metrics.disentanglement(np.abs(turn)).overall == pytest.approx(case["disentanglement"], abs=1e-6)
    assert metrics.completeness(np.abs(turn)).overall == pytest.approx(case["disentanglement"], abs=1e-6)
    noise = np.random.default_rng(0).standard_normal((500, 2))
    v = np.linalg.qr(np.column_stack([np.ones(500), noise]))[0][:, 1:]  # mean 0, exactly uncorrelated
    assert metrics.sap(v @ turn, v, discrete=False).overall == pytest.approx(case["sap"], abs=1e-9)


def test_scores_of_each_code_and_factor():
    score = metrics.completeness([[3, 1], [1, 0], [0, 0], [0, 0]])
    assert score.each == pytest.approx([1 - 0.811278 / 2, 1], abs=1e-6)
    assert metrics.disentanglement([[3, 1], [1, 0]]).each == pytest.approx([1 - 0.811278, 1], abs=1e-6)


@pytest.mark.parametrize("m", [1, 2, 16, 64])
def test_m_equal_codes_of_d(m):
    R = (np.arange(64) < m)[:, None] * [[2.0, 5.0]]
    assert metrics.completeness(R).each == pytest.approx(2 * [1 - np.log(m) / np.log(64)])
    assert metrics.effective_codes(R) == pytest.approx(2 * [m])
    assert metrics.completeness(R, base="alive").each == pytest.approx(2 * [1.0 if m == 1 else 0.0])


def test_dead_codes_raise_completeness_for_free_but_not_the_effective_number():
    R = np.random.default_rng(0).random((8, 3))
    padded = np.vstack([R, np.zeros((24, 3))])
    before, after = metrics.completeness(R).each, metrics.completeness(padded).each
    assert after == pytest.approx(1 - (1 - before) * np.log(8) / np.log(32))
    assert metrics.effective_codes(padded) == pytest.approx(metrics.effective_codes(R))
    assert metrics.completeness(padded, base="alive").each == pytest.approx(before)


@pytest.mark.parametrize(("zero", "overall"), [(0, 0.5), (1, 1.0), ("skip", 1.0)])
def test_a_factor_without_importance(zero, overall):
    score = metrics.completeness([[1, 0], [0, 0]], zero=zero)
    assert score.overall == overall
    assert score.each[1] == zero if zero != "skip" else np.isnan(score.each[1])
    assert metrics.effective_codes([[1, 0], [0, 0]]).tolist() == [1, 0]


def test_everything_skipped_is_nan():
    assert np.isnan(metrics.completeness(np.zeros((3, 2)), zero="skip").overall)


def test_weighted_average_follows_the_share_of_importance():
    R = np.array([[8.0, 0.5], [0, 0.5]])
    assert metrics.completeness(R).overall == pytest.approx(0.5)
    assert metrics.completeness(R, average="weighted").overall == pytest.approx(8 / 9)


def test_one_code_or_one_factor():
    assert metrics.completeness([[3, 1, 0]]).each.tolist() == [1, 1, 0]
    assert metrics.disentanglement([[3], [1], [0]]).each.tolist() == [1, 1, 0]
    assert metrics.modularity([[3], [0]]).each.tolist() == [1, 0]
    assert metrics.completeness([[3, 1], [0, 0]], base="alive").each.tolist() == [1, 1]


@settings(max_examples=60, deadline=None)
@given(R=MATRICES, seed=st.integers(0, 100), scale=st.sampled_from([1e-6, 3.0, 1e6]))
def test_permutations_and_scales_change_nothing(R, seed, scale):
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(R)), rng.permutation(R.shape[1])
    for metric in (metrics.disentanglement, metrics.completeness, metrics.modularity):
        score, moved = metric(R), metric(scale * R[rows][:, columns])
        assert moved.overall == pytest.approx(score.overall, abs=1e-9) and -1e-12 <= score.overall <= 1 + 1e-12
    stretched = metrics.completeness(R * rng.uniform(0.1, 10, R.shape[1]))
    assert stretched.each == pytest.approx(metrics.completeness(R).each, abs=1e-9)
    stretched = metrics.disentanglement(R * rng.uniform(0.1, 10, (len(R), 1)))
    assert stretched.each == pytest.approx(metrics.disentanglement(R).each, abs=1e-9)


def test_histogram_entropy_and_mutual_information():
    v = np.array([[1, 1], [2, 1], [1, 2], [2, 2]])
    z = np.array([[1, 2], [2, 2], [1, 1], [2, 1]])
    assert mutual_information(z, v, discrete=True) == pytest.approx(np.diag([np.log(2), np.log(2)]), abs=1e-12)
    column = np.array([[0.1], [0.2], [0.3], [0.4], [0.5], [0.6]])
    own = mutual_information(column, column, discrete=False, bins=3)
    assert own.item() == pytest.approx(np.log(3))


def test_identity_code_end_to_end():
    v, expected = factors(3000), GOLDEN["end_to_end"]
    assert metrics.mig(v, v, discrete=True).overall == pytest.approx(expected["mig"], abs=5e-5)
    assert metrics.sap(v, v, discrete=False).overall == pytest.approx(expected["sap"], abs=5e-5)
    table = mutual_information(v, v, discrete=True)
    assert metrics.modularity(table).overall == pytest.approx(expected["modularity"], abs=5e-6)


def test_constant_and_duplicated_codes_end_to_end():
    v = factors(3000)
    constant, doubled = np.zeros((3000, 10)), np.hstack([v, v])
    assert metrics.mig(constant, v, discrete=True).overall == 0 == metrics.sap(constant, v, discrete=False).overall
    assert metrics.mig(doubled, v, discrete=True).overall == pytest.approx(0, abs=1e-12)
    assert metrics.sap(doubled, v, discrete=False).overall == pytest.approx(0, abs=1e-12)
    assert metrics.modularity(mutual_information(doubled, v, discrete=True)).overall > 0.9


def test_shuffled_positions_need_many_samples_for_a_low_modularity():
    for n, low, high in ((3000, 0.28, 0.34), (20_000, 0.1, 0.2)):
        v = factors(n)
        z = np.random.default_rng(1).permuted(v, axis=1)
        assert low < metrics.modularity(mutual_information(z, v, discrete=True)).overall < high


def test_sap_of_one_perfect_code_is_one_and_never_more():
    rng = np.random.default_rng(0)
    v = rng.standard_normal((200, 1))
    assert metrics.sap(3 - 2 * v, v, discrete=False).overall == pytest.approx(1)  # the runner-up of one code is 0
    assert metrics.sap(np.hstack([v, rng.standard_normal((200, 4))]), v, discrete=False).overall < 1


def test_sap_and_explicitness_of_classes():
    rng = np.random.default_rng(0)
    v = rng.integers(0, 2, (300, 1))
    z = np.hstack([v + 0.01 * rng.standard_normal((300, 1)), rng.standard_normal((300, 3))])
    split = np.arange(200), np.arange(200, 300)
    assert metrics.sap(z, v, discrete=True, split=split).overall == pytest.approx(0.5, abs=0.15)
    assert metrics.explicitness(z, v, split=split).overall == pytest.approx(1)
    assert metrics.explicitness(z[:, 1:], v, split=split).overall == pytest.approx(0.5, abs=0.15)


def test_continuous_and_discrete_factors_in_one_table():
    rng = np.random.default_rng(0)
    v = np.column_stack([rng.integers(0, 5, 1000), rng.standard_normal(1000)])
    assert metrics.mig(v, v, discrete=[True, False]).overall > 0.9
    assert metrics.mig(v, v, discrete=True).each[1] < 0.5  # every value its own class: 20 bins cannot tell them apart


def test_evaluate_names_every_average():
    v = factors(300)[:, :3]
    scores = metrics.evaluate(np.eye(3), v, v, discrete=True, split=(np.arange(200), np.arange(200, 300)))
    names = ["disentanglement", "completeness", "effective_codes", "modularity", "mig", "sap", "explicitness"]
    assert list(scores) == names and scores["effective_codes"] == 1 == scores["completeness"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.completeness([[1, -2]]), r"R\[0, 1\]=-2.0 must be 0 or more: an importance"),
        (lambda: metrics.completeness([[1], [np.nan]]), r"R\[1, 0\]=nan must be finite"),
        (lambda: metrics.completeness([]), r"R.shape=\(0, 1\) must be two-dimensional"),
        (lambda: metrics.completeness([[1]], base="some"), "base='some' must be 'all' or 'alive'"),
        (lambda: metrics.completeness([[1]], zero=2), "zero=2 must be 0, 1 or 'skip'"),
        (lambda: metrics.disentanglement([[1]], average="sum"), "average='sum' must be 'mean' or 'weighted'"),
        (lambda: metrics.mig([[1], [2]], [[1], [1]], discrete=True), "v='constant in factor 0' must be varying"),
        (lambda: metrics.mig([1, 2], [1, 1], discrete=True, names=["pitch"]), "v='constant in pitch'"),
        (lambda: metrics.mig([1, 2], [1, 2, 3], discrete=True), r"len\(v\)=3 must be len\(z\)=2"),
        (lambda: metrics.mig([1, 2], [1, np.inf], discrete=True, names=["f0"]), r"v\[1, 0\] \(f0\)=inf must be finite"),
        (lambda: metrics.mig([1, 2], ["a", "b"], discrete=True), "v='array of <U1' must be an array of numbers"),
        (lambda: metrics.mig([1, 2], [1, 2], discrete="yes"), "discrete='yes' must be True or False or an array"),
        (lambda: metrics.mig([1, 2], [1, 2], discrete=False, bins=1), "bins=1 must be a whole number from 2"),
        (lambda: metrics.sap([1, 2], [1, 2], discrete=True), "split=None must be"),
        (lambda: metrics.explicitness([1, 2], [1, 2], split=([0], [1])), "classes of factor 0 in test"),
        (lambda: metrics.explicitness([1, 2], [1, 2], split=([0], [2])), r"split\[1\]='int64 \(1,\)' must be"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
