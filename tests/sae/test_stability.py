"""Latents found again, split and absorbed: planted truths, brute force, and controls that find nothing."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.metrics.intervals import members
from workbench.sae import SAEConfig, SparseAutoencoder, absorption, fit_saes, found_again, splitting, stability

ROWS, DIM, FEATURES = 600, 24, 12


def autoencoder(directions, *, bias=0.0, k=None):
    """An autoencoder that reads and writes along given directions (latents, D)."""
    directions = torch.as_tensor(np.asarray(directions, np.float32))
    latents, dim = directions.shape
    config = SAEConfig(dim=dim, latents=latents, k=latents if k is None else k, pre_bias=False)
    biases = torch.full((latents,), float(bias))
    return SparseAutoencoder(config, encoder=directions, encoder_bias=biases, decoder=directions, bias=torch.zeros(dim))


@pytest.fixture(scope="module")
def planted():
    """Vectors that are sums of a few of twelve orthogonal directions, and these directions."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0][:FEATURES]
    active = rng.random((ROWS, FEATURES)) < 0.2
    return (active * rng.uniform(1, 2, active.shape)) @ directions, directions


def test_the_same_dictionary_in_another_order_is_found_again_and_others_are_not(planted):
    x, directions = planted
    first = autoencoder(directions, bias=-0.5)
    same = found_again(first, autoencoder(directions[::-1], bias=-0.5), x)
    assert same["found_again"].tolist() == same["weighted"].tolist() == same["nearest"].tolist() == [1, 1]
    assert same["similarity"].to_numpy() == pytest.approx(1, abs=1e-6)
    assert (same["chance"] < 0.05).all() and (same["compared"] == FEATURES).all()
    others = np.vstack([directions[:3], np.linalg.qr(np.random.default_rng(1).standard_normal((DIM, 9)))[0].T])
    part = found_again(first, autoencoder(others, bias=-0.5), x)
    assert part.loc["direction", "found_again"] == 3 / FEATURES
    assert part.loc["activity", "found_again"] == 3 / FEATURES


def test_shares_are_those_of_every_assignment_tried():
    rng = np.random.default_rng(2)
    similarity = rng.random((5, 6))
    best = max(permutations(range(6), 5), key=lambda columns: sum(similarity[range(5), columns]))
    assert stability._pairs(similarity) == pytest.approx(similarity[range(5), best])
    tall = stability._pairs(similarity.T)  # six rows for five columns: one is left without a partner
    assert (tall == -1).sum() == 1 and tall.sum() + 1 == pytest.approx(similarity[range(5), best].sum())


def test_one_to_one_counts_a_copy_once_and_nearest_twice(planted):
    x, directions = planted
    doubled = np.vstack([directions, directions[0]])
    table = found_again(autoencoder(doubled, bias=-0.5), autoencoder(directions, bias=-0.5), x)
    assert table["found_again"].to_numpy() == pytest.approx(FEATURES / (FEATURES + 1))
    assert (table["nearest"] == 1).all()


def test_frequent_latents_count_more_in_the_weighted_share():
    rng = np.random.default_rng(3)
    active = np.stack([rng.random(ROWS) < 0.9, rng.random(ROWS) < 0.1], 1)
    x = active * rng.uniform(1, 2, (ROWS, 2))
    table = found_again(autoencoder(np.eye(2)), autoencoder([[1.0, 0.0], [0.0, -1.0], [0.7, 0.7]]), x, threshold=0.9)
    assert table.loc["direction", "found_again"] == 0.5
    assert table.loc["direction", "weighted"] == pytest.approx(active[:, 0].sum() / active.sum())


def test_correlations_are_those_of_numpy_and_constants_have_none():
    rng = np.random.default_rng(4)
    a, b = rng.random((30, 3)), np.column_stack([rng.random((30, 2)), np.full(30, 7.0)])
    expected = np.corrcoef(np.hstack([a, b[:, :2]]).T)[:3, 3:]
    ours = stability._correlation(a, b)
    assert ours[:, :2] == pytest.approx(expected) and ours[:, 2] == pytest.approx(0)


def test_random_directions_have_the_covariance_of_the_data():
    x = np.random.default_rng(5).standard_normal((200, 4)) @ np.diag([3.0, 1.0, 0.5, 0.0]) + 10
    root = stability._root(x)
    assert root.T @ root == pytest.approx(np.cov(x.T, ddof=0))


def test_the_control_of_directions_rises_where_the_data_lie_in_one_direction():
    rng = np.random.default_rng(6)
    flat = rng.uniform(1, 2, (ROWS, 1)) * np.eye(6)[0] * rng.choice([-1, 1], (ROWS, 1)) + 1e-3 * rng.random((ROWS, 6))
    one, other = np.eye(6)[:1], np.vstack([np.eye(6)[0], np.eye(6)[0]])
    table = found_again(autoencoder(one), autoencoder(other), flat, draws=50)
    assert table.loc["direction", "chance"] > 0.6  # a random direction points along the only one, or against it


def test_the_shuffle_keeps_classes_and_breaks_pairs():
    inside = members(np.repeat(["b", "a", "c"], [5, 50, 20])[np.random.default_rng(0).permutation(75)], 75)
    order = stability._shuffled(inside, np.random.default_rng(1))
    assert sorted(order) == list(range(75)) and (inside[order] == inside).all()
    assert (order != np.arange(75)).mean() > 0.5


def test_latents_that_know_only_the_label_are_no_more_alike_than_the_shuffle_inside_the_label():
    rng = np.random.default_rng(7)
    label = np.arange(ROWS) % 2
    x = np.stack([label * (5 + rng.random(ROWS) * 0.1), rng.random(ROWS)], 1)
    sae = autoencoder(np.eye(2))
    free, strict = (found_again(sae, sae, x, within=within).loc["activity"] for within in (None, label))
    assert free["chance"] < 0.05 and strict["chance"] == 0.5  # the latent of the label is explained by the label


def test_the_interval_needs_groups_and_is_wide_for_few(planted):
    x, directions = planted
    noisy = autoencoder(directions + 0.35 * np.random.default_rng(8).standard_normal(directions.shape) / DIM**0.5)
    first = autoencoder(directions)

    def width(groups):
        low, high = found_again(first, noisy, x, groups=groups).loc["activity", ["low", "high"]]
        return high - low

    assert np.isnan(width(np.zeros(ROWS)))
    assert 0 < width(np.arange(ROWS) % 40) < width(np.arange(ROWS) % 3)
    assert found_again(first, noisy, x).loc["direction", ["low", "high"]].isna().all()


def test_trained_autoencoders_find_planted_features_again_and_untrained_ones_do_not(planted):
    import workbench as wb

    x, _ = planted
    split = wb.Split(np.arange(400), np.arange(400, 500), np.arange(500, 600))
    same = {"ks": [3], "latents": 16, "seeds": [0, 1], "progress": False, "device": "cpu"}
    trained = fit_saes({"a": x}, split, epochs=120, learning_rate=3e-3, **same)
    bare = fit_saes({"a": x}, split, steps=0, **same)
    ours = found_again(*trained.saes, x[split.test])
    theirs = found_again(*bare.saes, x[split.test])
    assert ours.loc["direction", "weighted"] > 0.7 > 0.3 > theirs.loc["direction", "weighted"]


def test_a_shared_start_alone_looks_like_stability(planted):
    """The same seed gives the same random directions: untrained autoencoders are then found again entirely."""
    import workbench as wb

    x, _ = planted
    split = wb.Split(np.arange(400), np.arange(400, 600))
    same = {"ks": [3], "latents": 16, "progress": False, "device": "cpu", "steps": 0}
    a, b = (fit_saes({"a": x}, split, seeds=[seed], **same).saes[0] for seed in (0, 0))
    assert found_again(a, b, x).loc["direction", "found_again"] == 1


# ---- splitting ----


def test_a_planted_feature_that_splits_in_two_is_told_from_one_that_stays_and_one_that_goes():
    rng = np.random.default_rng(9)
    active = rng.random((ROWS, 3)) < 0.3
    small = active * rng.uniform(1, 2, active.shape)
    half = rng.random(ROWS) < 0.5
    noise = (rng.random((ROWS, 5)) < 0.3) * rng.random((ROWS, 5))
    large = np.column_stack([small[:, 0], small[:, 1] * half, small[:, 1] * ~half, noise])
    table = splitting(small, large, choose=np.arange(300), test=np.arange(300, ROWS))
    assert table["fate"].tolist() == ["one", "several", "none"]
    assert table["parts"].tolist()[:2] == [1, 2]
    assert table.loc[0, "one"] == pytest.approx(1) and table.loc[1, "together"] == pytest.approx(1)
    halves = [np.corrcoef(small[300:, 1], large[300:, column])[0, 1] for column in (1, 2)]
    assert any(table.loc[1, "one"] == pytest.approx(value) for value in halves)
    broken = splitting(small, large[rng.permutation(ROWS)], choose=np.arange(300), test=np.arange(300, ROWS))
    assert broken["fate"].tolist() == ["none"] * 3 and broken["together"].abs().max() < 0.3


def test_every_step_of_a_sum_is_the_best_that_brute_force_finds():
    rng = np.random.default_rng(10)
    large = (rng.random((80, 7)) < 0.4) * rng.random((80, 7))
    target = large[:, 2] + 0.8 * large[:, 5] + 0.3 * rng.random(80)
    moved, centred = large - large.mean(0), target - target.mean()
    parts = stability._parts(centred / np.linalg.norm(centred) @ moved, moved, (moved**2).sum(0), 3)

    def follows(columns):
        return np.corrcoef(target, large[:, columns].sum(1))[0, 1]

    taken, best = [], 0.0
    while len(taken) < 3:
        free = [column for column in range(7) if column not in taken]
        at = max(free, key=lambda column: follows([*taken, column]))
        if follows([*taken, at]) <= best:
            break
        best, taken = follows([*taken, at]), [*taken, at]
    assert parts.tolist() == taken and {2, 5} <= set(parts)


def test_a_latent_that_is_silent_in_a_part_is_left_out_and_dead_ones_explain_nothing():
    small = np.zeros((20, 2))
    small[:, 0] = np.arange(20) % 3
    small[:10, 1] = 1 + np.arange(10)
    table = splitting(small, np.zeros((20, 4)), choose=np.arange(10), test=np.arange(10, 20))
    assert table.index.tolist() == [0]
    assert table.loc[0].tolist() == [0, 0, 0, "none"]


# ---- absorption ----


def absorbing(share, rows=ROWS):
    """A concept whose main latent is silent in a share of its rows, in which latent 1 writes the concept as well."""
    rng = np.random.default_rng(11)
    positive = rng.random(rows) < 0.5
    special = positive & (rng.random(rows) < share)
    z = np.zeros((rows, 4))
    z[:, 0] = (positive & ~special) * rng.uniform(0.9, 1.1, rows)
    z[:, 1] = special * rng.uniform(0.9, 1.1, rows)
    z[:, 2:] = rng.random((rows, 2))
    concept, own = np.eye(6)[0], np.eye(6)[1]
    decoder = np.vstack([concept, (concept + own) / 2**0.5, np.eye(6)[2:4]])
    return z, decoder, concept, positive, special


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_a_planted_absorption_is_counted(share):
    z, decoder, concept, positive, special = absorbing(share)
    test = np.arange(300, ROWS)
    found = absorption(z, decoder, concept, positive, choose=np.arange(300), test=test)
    here = test[positive[test]]
    assert found["main"] == 0 and found["absorbed"] == pytest.approx(special[here].mean())
    assert found["silent"] == found["absorbed"] and found["false_alarms"] == 0
    assert found["absorber"] == (1 if share else -1)


def test_a_silent_latent_whose_concept_is_not_written_by_another_is_a_miss_and_no_absorption():
    z, decoder, concept, positive, special = absorbing(0.3)
    z[:, 1] = 0
    found = absorption(z, decoder, concept, positive, choose=np.arange(300), test=np.arange(300, ROWS))
    assert found["silent"] > 0.2 and found["absorbed"] == 0 and found["absorber"] == -1


def test_a_latent_that_is_always_on_absorbs_nothing():
    z, decoder, concept, positive, _ = absorbing(0.3)
    z[:, 1] = 1.0  # writes the concept in every row, so says nothing of it
    found = absorption(z, decoder, concept, positive, choose=np.arange(300), test=np.arange(300, ROWS))
    assert found["main"] == 0 and found["absorbed"] == 0


# ---- refusals ----


def test_wrong_arguments_are_named(planted):
    x, directions = planted
    sae = autoencoder(directions)
    with pytest.raises(ParameterError, match="first"):
        found_again("sae", sae, x)
    with pytest.raises(ParameterError, match="no latent varies"):
        found_again(sae, autoencoder(directions, bias=-100.0), x)
    with pytest.raises(ParameterError, match="threshold"):
        found_again(sae, sae, x, threshold=1.0)
    with pytest.raises(ParameterError, match="len\\(large\\)"):
        splitting(x, x[:10], choose=[0, 1], test=[2, 3])
    rows = {"choose": np.arange(300), "test": np.arange(300, ROWS)}
    z, decoder, concept, positive, _ = absorbing(0.2)
    with pytest.raises(ParameterError, match="positive"):
        absorption(z, decoder, concept, np.ones(ROWS, bool), **rows)
    with pytest.raises(ParameterError, match="direction.shape"):
        absorption(z, decoder, concept[:2], positive, **rows)
    nobody = absorption(z, decoder, np.eye(6)[5], positive, **rows)
    assert nobody["main"] == -1 and np.isnan(nobody["absorbed"])
