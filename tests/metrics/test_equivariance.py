"""metrics.equivariance against codes of which the answer is known, and against sums over all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.metrics import equivariance as metrics

N, D = 60, 10


def vectors(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of clips, and the groups of the clips: 12 unequal ones, each with an offset of its own."""
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.choice(12, N))
    return rng.normal(size=(N, D)) + rng.normal(size=(12, D))[groups], groups


def direction(seed: int = 1) -> np.ndarray:
    up = np.random.default_rng(seed).normal(size=D)
    return up / np.linalg.norm(up)


@pytest.mark.parametrize("amount", [-2.0, 0.1, 5.0])
def test_a_linear_code_is_equivariant(amount):
    """z = ... + amount * direction: one way for all, as far as the amount says."""
    z, groups = vectors()
    found = metrics.evaluate(z, z + amount * direction(), groups)
    assert found["consistency"] == pytest.approx(1, abs=1e-9) and found["consistency_high"] == pytest.approx(1)
    assert metrics.sensitivity(z, z + amount * direction()) == pytest.approx(amount**2 / (2 * z.var(0, ddof=1).sum()))
    assert found["moved"] == 1 and found["consistency_low"] > 0.4


def test_an_invariant_code_does_not_move():
    z, groups = vectors()
    found = metrics.evaluate(z, z.copy(), groups)
    assert found["sensitivity"] == found["moved"] == 0
    assert np.isnan([found["consistency"], found["consistency_low"], found["consistency_high"]]).all()


def test_noise_goes_everywhere():
    z, groups = vectors()
    found = metrics.evaluate(z, z + np.random.default_rng(2).normal(size=z.shape), groups)
    assert abs(found["consistency"]) < 0.05
    assert found["consistency_low"] < 0 < found["consistency_high"]


def test_another_clip_is_as_far_as_another_clip():
    """Each clip's vector exchanged for the next one's, over all of them in turn: a sensitivity of 1 in the mean."""
    z, _ = vectors()
    turned = [metrics.sensitivity(z, np.roll(z, k, axis=0)) for k in range(1, N)]
    assert np.mean(turned) == pytest.approx(1)


def test_both_are_sums_over_pairs_of_different_groups():
    z, groups = vectors()
    changed = z + direction() + 0.5 * np.random.default_rng(3).normal(size=z.shape)
    pairs = groups[:, None] != groups
    apart = np.square(z[:, None] - z).sum(2)[pairs].mean()
    moved = changed - z
    cosines = (moved @ moved.T) / np.outer(*[np.linalg.norm(moved, axis=1)] * 2)
    np.testing.assert_allclose(metrics.displacements(z, changed, groups), np.square(moved).sum(1) / apart)
    assert metrics.consistency(z, changed, groups) == pytest.approx(cosines[pairs].mean())
    alone = ~np.eye(N, dtype=bool)
    assert metrics.consistency(z, changed) == pytest.approx(cosines[alone].mean())


def test_intervals_come_from_leaving_each_group_out():
    from scipy.stats import t

    from workbench.metrics.intervals import jackknife_interval

    z, groups = vectors()
    changed = z + direction() + 0.5 * np.random.default_rng(3).normal(size=z.shape)
    found = metrics.evaluate(z, changed, groups)
    names, sizes = np.unique(groups, return_counts=True)

    def without(metric):
        return np.array([metric(z[groups != g], changed[groups != g], groups[groups != g]) for g in names])

    figure = metrics.consistency(z, changed, groups)
    expected = jackknife_interval(figure, without(metrics.consistency), sizes, limits=(-1, 1))
    assert (found["consistency_low"], found["consistency_high"]) == pytest.approx(expected)
    whole, parts, count = (
        np.log(metrics.sensitivity(z, changed, groups)),
        np.log(without(metrics.sensitivity)),
        len(names),
    )
    quantile = t.ppf(0.975, sizes.sum() ** 2 / (sizes**2).sum() - 1)
    error = np.sqrt((count - 1) / count * ((parts - whole) ** 2).sum())
    bias = (count - 1) * (parts.mean() - whole)
    skew = ((whole - parts) ** 3).sum() / ((whole - parts) ** 2).sum() ** 1.5
    more = max(error * skew * (1 / 6 + quantile**2 / 3), 0)
    bounds = whole - max(bias, 0) - quantile * error, whole - min(bias, 0) + quantile * error + more
    assert (found["sensitivity_low"], found["sensitivity_high"]) == pytest.approx(np.exp(bounds))


def test_a_sensitivity_of_few_groups_has_no_interval():
    z, _ = vectors()
    found = metrics.evaluate(z, z + direction(), np.arange(len(z)) % (metrics.FEWEST - 1))
    assert np.isnan(found["sensitivity_low"]) and np.isfinite(found["sensitivity"])
    assert np.isfinite(metrics.evaluate(z, z + direction(), np.arange(len(z)) % 6)["sensitivity_low"])


def test_intervals_cover():
    """Of the truth for other groups, in nine cases of ten at the least: 10 groups of unequal size."""
    rng, inside = np.random.default_rng(0), {"sensitivity": 0, "consistency": 0}
    # offsets of variance 1 and clips of variance 1: pairs of groups are 4 D apart; moved by 1 + noise of variance .25
    truth = {"sensitivity": (1 + 0.25 * D) / (4 * D), "consistency": None}
    many = direction() + 0.5 * rng.normal(size=(100000, D))
    truth["consistency"] = np.square((many / np.linalg.norm(many, axis=1, keepdims=True)).mean(0)).sum()
    for _ in range(200):
        groups = np.repeat(np.arange(10), rng.integers(2, 12, 10))
        z = rng.normal(size=(len(groups), D)) + rng.normal(size=(10, D))[groups]
        found = metrics.evaluate(z, z + direction() + 0.5 * rng.normal(size=z.shape), groups)
        for name in inside:
            inside[name] += found[f"{name}_low"] <= truth[name] <= found[f"{name}_high"]
    assert min(inside.values()) >= 180


def test_clips_that_do_not_move_are_left_out_of_the_direction():
    z, _ = vectors()
    changed = z.copy()
    changed[:20] += direction()
    found = metrics.evaluate(z, changed)
    assert found["moved"] == pytest.approx(1 / 3) and found["consistency"] == pytest.approx(1, abs=1e-9)


def test_far_from_the_origin_and_in_any_unit():
    z, groups = vectors()
    changed = z + direction() + 0.5 * np.random.default_rng(3).normal(size=z.shape)
    near = metrics.evaluate(z, changed, groups)
    for other in (metrics.evaluate(z + 1e4, changed + 1e4, groups), metrics.evaluate(1e-6 * z, 1e-6 * changed, groups)):
        assert other == pytest.approx(near, rel=1e-6)


def test_what_is_not_defined_is_nan():
    z, groups = vectors()
    same = np.ones((N, D))
    assert np.isnan(metrics.sensitivity(same, same + 1))
    assert np.isnan(metrics.sensitivity(z, z + 1, np.zeros(N))) and np.isnan(metrics.consistency(z, z + 1, np.zeros(N)))
    two = metrics.evaluate(z, z + 1, groups > 5)
    assert np.isfinite(two["sensitivity"]) and np.isnan([two["sensitivity_low"], two["consistency_high"]]).all()


def test_wrong_arguments_are_named():
    z, _ = vectors()
    with pytest.raises(ParameterError, match=r"changed.shape=\(59, 10\) must be \(60, 10\), like z"):
        metrics.sensitivity(z, z[1:])
    with pytest.raises(ParameterError, match=r"len\(z\)=1 must be two clips or more"):
        metrics.consistency(z[:1], z[:1])
    with pytest.raises(ParameterError, match="changed='array with 1 of 600 values NaN"):
        metrics.sensitivity(z, np.where(np.arange(600).reshape(60, 10) == 7, np.nan, z))
    with pytest.raises(ParameterError, match="level=2"):
        metrics.evaluate(z, z, level=2)
