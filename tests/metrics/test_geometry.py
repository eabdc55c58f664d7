"""metrics.geometry against worked examples, closed forms and invariances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.metrics import geometry

GOLDEN = json.loads((Path(__file__).parent / "golden" / "geometry.json").read_text())
Z, Y = GOLDEN["nc1"]["z"], GOLDEN["nc1"]["y"]


def clusters(classes: int = 5, dim: int = 12, clips: int = 20, spread: float = 0.3, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), clips)
    return np.eye(classes, dim)[y] + spread * rng.normal(size=(len(y), dim)), y


def test_nc1_and_distances_by_hand():
    assert geometry.nc1(Z, Y) == pytest.approx(GOLDEN["nc1"]["value"], abs=1e-12)
    assert geometry.distances(Z, Y) == pytest.approx((GOLDEN["nc1"]["intra"], GOLDEN["nc1"]["inter"]), abs=1e-6)


def test_nc1_is_the_trace_with_the_pseudo_inverse():
    z, y = clusters()
    means = np.array([z[y == c].mean(0) for c in range(5)])
    within = np.mean([np.cov(z[y == c].T, bias=True) for c in range(5)], axis=0)
    between = np.cov(means.T, bias=True)
    expected = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 5
    assert geometry.nc1(z, y) == pytest.approx(expected, rel=1e-9)


def test_nc1_does_not_change_with_shift_rotation_scale_and_is_0_at_collapse():
    z, y = clusters()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    assert geometry.nc1(7 * z @ turn + 3, y) == pytest.approx(geometry.nc1(z, y))
    assert geometry.nc1(np.eye(5)[y], y) == 0
    assert geometry.nc1(100 * np.eye(5, 12)[y] + z, y) < geometry.nc1(z, y) / 1000
    assert geometry.nc1([[1.0], [-1], [1], [-1]], [0, 0, 1, 1]) == np.inf


def test_classes_count_equally():
    z, y = clusters(clips=20)
    twice = np.concatenate([z, z[y == 0]]), np.concatenate([y, y[y == 0]])
    for metric in (geometry.nc1, geometry.nc2, geometry.distances):
        assert metric(*twice) == pytest.approx(metric(z, y))


def test_nc2_of_a_simplex_and_of_orthogonal_means_is_0():
    y = np.repeat(np.arange(4), 2)
    assert geometry.nc2(np.eye(4)[y], y) == pytest.approx(0, abs=1e-12)
    assert geometry.nc2(np.eye(4)[y] - 0.25, y) == pytest.approx(0, abs=1e-12)
    line = np.arange(3.0)[:, None]  # means -1, 0, 1: G = [[1, 0, -1], [0, 0, 0], [-1, 0, 1]], of norm 2
    assert geometry.nc2(line, [0, 1, 2]) == pytest.approx(np.sqrt(2 - np.sqrt(2)))  # <G, I_c> = 2 and ||I_c|| = sqrt(2)
    assert np.isnan(geometry.nc2(np.ones((4, 2)), [0, 0, 1, 1]))


def test_silhouette_of_far_and_of_mixed_classes():
    z, y = clusters(spread=0.01)
    assert geometry.silhouette(z, y) > 0.95
    assert geometry.silhouette(z, y, metric="cosine") > 0.95
    assert abs(geometry.silhouette(z, np.random.default_rng(0).permutation(y))) < 0.2
    with pytest.raises(ParameterError, match="fewer classes than clips"):
        geometry.silhouette(Z, [0, 1, 2, 3])


def test_alignment():
    golden = GOLDEN["alignment"]
    expected = (golden["distance"], golden["cosine"])
    assert geometry.alignment(golden["z"], golden["targets"]) == pytest.approx(expected, abs=1e-6)
    assert geometry.alignment(golden["targets"], golden["targets"]) == (0, 1)
    assert geometry.alignment(np.zeros((2, 4)), golden["targets"]) == (1, 0)
    with pytest.raises(ParameterError, match=r"targets\[1\]=0 must be a vector"):
        geometry.alignment(np.ones((2, 2)), [[1, 0], [0, 0]])


def test_nearest_prototype_of_unequal_lengths():
    prototypes = np.array([[1.0, 0], [10, 0], [0, 2]])
    assert geometry.nearest_prototype([[5, 0], [6, 0], [0.2, 1]], prototypes).tolist() == [0, 1, 2]
    z, p = np.random.default_rng(0).normal(size=(2, 50, 6))
    assert np.array_equal(geometry.nearest_prototype(z, p[:7]), np.linalg.norm(z[:, None] - p[:7], axis=2).argmin(1))


def test_calibration_error():
    golden = GOLDEN["calibration"]
    value = geometry.expected_calibration_error(golden["probabilities"], golden["y"])
    assert value == pytest.approx(golden["value"], abs=1e-12)
    assert geometry.expected_calibration_error(np.eye(3), [0, 1, 2]) == 0
    assert geometry.expected_calibration_error(np.eye(3), [1, 2, 0]) == 1
    half = np.tile([0.5, 0.5], (4, 1))  # argmax is the first column, right half the time
    assert geometry.expected_calibration_error(half, [0, 0, 1, 1]) == 0


def test_calibration_of_honest_probabilities_is_small_and_of_sharpened_ones_is_not():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=20000)
    y = (p.cumsum(1) > rng.random((20000, 1))).argmax(1)
    assert geometry.expected_calibration_error(p, y) < 0.02
    sharp = p**3 / (p**3).sum(1, keepdims=True)
    assert geometry.expected_calibration_error(sharp, y) > 0.1


def test_weighted_kappa():
    golden = GOLDEN["kappa"]
    assert geometry.weighted_kappa(golden["true"], golden["predicted"]) == pytest.approx(golden["value"], abs=1e-6)
    levels = np.arange(60) % 6
    near, far = np.clip(levels + 1, 0, 5), (levels + 3) % 6
    assert geometry.weighted_kappa(levels, levels) == 1
    assert geometry.weighted_kappa(levels, near) > 0.7 > geometry.weighted_kappa(levels, far)
    assert geometry.weighted_kappa([0, 0, 5, 5], [0, 1, 5, 5]) > 0.9  # levels that never occur keep their distance


def test_rank_correlation():
    a = np.random.default_rng(0).normal(size=50)
    assert geometry.rank_correlation(a, np.exp(a)) == pytest.approx(1)
    assert geometry.rank_correlation(a, -a) == pytest.approx(-1)
    assert geometry.rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)
    assert np.isnan(geometry.rank_correlation([1, 1], [1, 2]))


def test_cosines_of_means_by_hand():
    z = [[2, 0], [0, 2], [3, 0], [3, 0], [-1, 1], [-3, 3]]  # means (1, 1), (3, 0), (-2, 2)
    half = np.sqrt(0.5)
    expected = [[1, half, 0], [half, 1, -half], [0, -half, 1]]
    np.testing.assert_allclose(geometry.mean_cosines(z, list("aabbcc")), expected, atol=1e-12)
    zero = geometry.mean_cosines([[1, 0], [-1, 0], [0, 2]], [0, 0, 1])
    assert np.isnan(zero[0]).all() and np.isnan(zero[:, 0]).all() and zero[1, 1] == 1
    # the prototypes' cosines are all 0, the means' 1/sqrt(2), 0 and -1/sqrt(2)
    assert geometry.cosine_gap(z, [0, 0, 1, 1, 2, 2], np.eye(3)) == pytest.approx(2 * half / 3)
    assert geometry.cosine_gap(z, [0, 0, 1, 1, 2, 2], [[1, 1], [5, 0], [-1, 1]]) == pytest.approx(0, abs=1e-12)


def test_gap_of_cosines_is_that_of_scipy_whatever_turn_and_length():
    from scipy.spatial.distance import pdist

    z, y = clusters(spread=0.5)
    targets = np.random.default_rng(2).normal(size=(7, 4))  # rows 1, 2, 4, 5 and 6 are those of classes with clips
    rows = np.array([1, 2, 4, 5, 6])
    means = np.array([z[y == c].mean(0) for c in range(5)])
    expected = np.abs(pdist(means, "cosine") - pdist(targets[rows], "cosine")).mean()
    gap = geometry.cosine_gap(z, rows[y], targets)
    assert gap == pytest.approx(expected, rel=1e-12) and gap > 0.1
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    assert geometry.cosine_gap(3 * z @ turn, rows[y], targets * [[2.0]] * 5) == pytest.approx(gap)
    # a set of opposite pairs is 1 off on C / 2 of C (C - 1) / 2 pairs from one at right angles
    pairs = np.concatenate([np.eye(3), -np.eye(3)])
    assert geometry.cosine_gap(pairs, np.arange(6), np.eye(6)) == pytest.approx(1 / 5)


def test_evaluate():
    z, y = clusters(spread=0.05)
    plain = geometry.evaluate(z, y)
    assert list(plain) == ["nc1", "nc2", "intra", "inter", "silhouette"]
    p = np.eye(5)[(y + (np.arange(len(y)) < 10)) % 5]
    scores = geometry.evaluate(z, y, prototypes=np.eye(5, 12), probabilities=p)
    assert scores["nearest_accuracy"] == 1 and scores["head_gap"] == pytest.approx(-0.1)
    assert scores["calibration_error"] == pytest.approx(0.1) and scores["distance"] < 0.3 and scores["cosine"] > 0.9
    assert scores["cosine_gap"] == geometry.cosine_gap(z, y, np.eye(5, 12)) < 0.05


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: geometry.nc1(Z, [0, 0, 1]), r"y.shape=\(3,\) must be \(4,\)"),
        (lambda: geometry.nc2(Z, [1, 1, 1, 1]), r"y=\[1\] must be of at least two classes"),
        (lambda: geometry.distances([[1, 2], [np.nan, 0]], [0, 1]), r"z\[1\]='nan or inf' must be finite"),
        (lambda: geometry.nc1([1, 2], [0, 1]), r"z.shape=\(2,\) must be two-dimensional"),
        (lambda: geometry.nearest_prototype(Z, np.eye(3)), r"prototypes.shape=\(3, 3\) must be \(C, 2\)"),
        (lambda: geometry.cosine_gap(Z, [0, 0, 1, 3], np.eye(3)), "int64, 0 to 3.* must be integers from 0 to 2"),
        (lambda: geometry.mean_cosines(Z, [0, 0, 1]), r"y.shape=\(3,\)"),
        (lambda: geometry.alignment(Z, np.eye(3)), r"targets.shape=\(3, 3\) must be \(4, 2\)"),
        (lambda: geometry.expected_calibration_error([[0.5, 0.6]], [0]), "rows that sum to 1"),
        (lambda: geometry.expected_calibration_error([[0.5, 0.5]], [2]), r"\(1,\) integers from 0 to 1"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


@pytest.mark.parametrize("factor", [1e30, 1e-30, 1e60, 1e-60])
def test_size_changes_nothing_that_is_relative(factor):
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((30, 4)), np.arange(30) % 3
    for metric in (geometry.nc1, geometry.nc2, geometry.silhouette):
        assert metric(factor * z, y) == pytest.approx(metric(z, y), rel=1e-9), metric.__name__
    one, other = geometry.alignment(z, z + 1), geometry.alignment(factor * z, factor * (z + 1))
    assert other == pytest.approx(one)
    np.testing.assert_array_equal(
        geometry.nearest_prototype(factor * z, factor * z[:5]), geometry.nearest_prototype(z, z[:5])
    )
    with pytest.raises(ParameterError, match="z='values up to .* must be from 1e-70 to 1e"):
        geometry.nc1(z * (1e80 if factor > 1 else 1e-80), y)


def test_the_nearest_prototype_is_found_far_from_the_origin():
    z = np.array([[1e9], [1e9 + 1], [1e9 + 2]])
    assert geometry.nearest_prototype(z + 0.1, z).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geometry.nc1(np.ones((2, 2)), ["a", None]), r"y\[1\]=None must be a label"),
        (lambda: geometry.nc1([["a"]], [0]), "z='array of <U1' must be an array of numbers"),
        (lambda: geometry.weighted_kappa(["a"], ["b"]), "true='array of <U1' must be an array of numbers"),
        (lambda: geometry.weighted_kappa([0.5], [1]), "true='0.5 to 0.5' must be levels, as whole numbers"),
        (lambda: geometry.weighted_kappa([0], [10**9]), "predicted='1000000000 to 1000000000' must be within 10000"),
        (
            lambda: geometry.silhouette(np.ones((3, 2)), [0, 0, 1], metric="loudness"),
            "metric='loudness' must be 'euclid",
        ),
        (lambda: geometry.rank_correlation([1, np.nan], [1, 2]), "a='array with 1 of 2 values NaN"),
        (
            lambda: geometry.evaluate(np.eye(3), ["a", "b", "a"], prototypes=np.eye(3)),
            "y='array of <U1' must be an array",
        ),
        (
            lambda: geometry.evaluate(np.eye(3), [0, 1, -1], prototypes=np.eye(3)),
            "y='int64, -1 to 1' must be integers from",
        ),
    ],
)
def test_wrong_kinds_are_named(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_kappa_of_truth_values_and_small_integers():
    a, b = np.array([1, 0, 1, 1, 0]), np.array([1, 1, 1, 0, 0])
    expected = geometry.weighted_kappa(a, b)
    for dtype in (bool, np.uint8, np.float32):
        assert geometry.weighted_kappa(a.astype(dtype), b.astype(dtype)) == pytest.approx(expected)


def test_one_level_has_no_kappa():
    assert np.isnan(geometry.weighted_kappa([2, 2], [2, 2]))


def test_nearest_alike_is_that_of_scikit_learn_and_leaves_out_the_own_group():
    from sklearn.neighbors import KNeighborsClassifier

    z, y = clusters(spread=0.5, dim=5, clips=130)  # more rows than are looked at in one go
    found = geometry.nearest_alike(z, y)
    near = KNeighborsClassifier(2).fit(z, y).kneighbors(z, return_distance=False)[:, 1]
    assert 0.5 < found.mean() < 1 and (found == (y[near] == y)).all()
    groups = np.arange(len(z)) // 10
    for i in (0, 37, 600):
        others = np.flatnonzero(groups != groups[i])
        nearest = others[np.linalg.norm(z[others] - z[i], axis=1).argmin()]
        assert geometry.nearest_alike(z, y, groups)[i] == (y[nearest] == y[i])
    with pytest.raises(ParameterError, match="groups"):
        geometry.nearest_alike(z, y, np.zeros(len(z)))
