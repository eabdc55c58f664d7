"""prototypes.adversarial: adversarial moves and adversarial sounds flip the decision, and are short."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.prototypes import adversarial_example, adversarial_waveforms, fit_prototypes

RNG = np.random.default_rng(0)
Y = np.repeat(["a", "b", "c"], 60)
Z = (3 * RNG.normal(size=(3, 6))[np.repeat(np.arange(3), 60)] + RNG.normal(size=(180, 6))).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return fit_prototypes(
        Z, Y, Split(np.arange(180)), keep="last", per_class=2, steps=60, feed_forward=8, device="cpu", progress=False
    )


def test_an_adversarial_example_lies_just_beyond_the_boundary(model):
    z = Z[0]
    found = adversarial_example(model, z, "b", real=Z[1:], real_labels=Y[1:])
    assert model.predict(z[None]).predictions.tolist() == ["a"]
    assert model.predict(found.z[None]).predictions.tolist() == ["b"]
    assert model.labels[model.classes[found.prototype]] == "b"
    assert found.length == pytest.approx(np.linalg.norm(found.z - z), rel=1e-4)
    assert found.relative == pytest.approx(found.length / np.linalg.norm(Z[1:] - z, axis=1).min(), rel=1e-4)
    just_before = z + 0.999 * (found.z - z)
    assert model.predict(just_before[None]).predictions.tolist() != ["b"]
    assert 0 < found.share <= 1 and 0 <= found.random_flips < 0.2 and found.towards_others > 0


def test_adversarial_targets_are_checked(model):
    with pytest.raises(ParameterError, match=r"target='d' must be 'a', 'b' or 'c'"):
        adversarial_example(model, Z[0], "d")
    with pytest.raises(ParameterError, match="target='a' must be another class than the one predicted for"):
        adversarial_example(model, Z[0], "a")


# Waveforms: of two samples, whose vectors bend them, so that the shortest change can be found by trying all of them.


def bent(x):
    """Vectors (B, 6) of waveforms (B, 2)."""
    x = torch.as_tensor(x, dtype=torch.float32)
    return torch.cat([x, x.square() / 16, torch.sin(x / 4)], 1)


CORNERS = 4 + np.array([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]])[np.repeat(np.arange(3), 60)]
WAVES = (CORNERS + 0.5 * np.random.default_rng(1).normal(size=(180, 2))).astype(np.float32)


@pytest.fixture(scope="module")
def hearing():
    options = {"keep": "last", "per_class": 2, "steps": 200, "feed_forward": 8, "device": "cpu", "progress": False}
    return fit_prototypes(bent(WAVES).numpy(), Y, Split(np.arange(180)), **options)


def of_two(model):
    """Six sounds with the class that came second, as targets."""
    rows = np.array([0, 1, 60, 61, 120, 121])
    return WAVES[rows], model.labels[model.logits(bent(WAVES[rows]).numpy()).argsort(1)[:, -2]]


def shortest(model, x, target, *, most):
    """Length of the shortest change of x (2,) that gives the target, of 720 directions and 500 lengths."""
    angle, length = np.linspace(0, 2 * np.pi, 720), np.linspace(0, most, 500)[1:]
    ways = np.stack([np.cos(angle), np.sin(angle)], 1)
    for each in length:  # the first length at which any direction gives the target
        if (model.predict(bent(x + each * ways).numpy()).predictions == target).any():
            return each
    return np.inf


@pytest.mark.parametrize("lead", ["prototype", "logit"])
def test_adversarial_sounds_flip_the_decision_by_a_change_of_the_level_that_they_say(hearing, lead):
    x, targets = of_two(hearing)
    made = adversarial_waveforms(hearing, bent, x, targets, lead=lead)
    assert made.found.all() and made.sounds.dtype == np.float32
    assert (hearing.predict(bent(made.sounds).numpy()).predictions == targets).all()
    change = made.sounds.astype(np.float64) - x
    assert made.snr == pytest.approx(10 * np.log10((x**2).sum(1) / (change**2).sum(1)), abs=0.01)
    just_before = x + 0.99 * change
    assert (hearing.predict(bent(just_before).numpy()).predictions != targets).all()
    assert (hearing.labels[hearing.classes[made.prototype]] == targets).all()
    far = hearing.distances(bent(x).numpy())[np.arange(6), made.prototype]
    foreign = hearing.labels[hearing.classes] != targets[:, None]
    assert far == pytest.approx(np.where(foreign, np.inf, hearing.distances(bent(x).numpy())).min(1))


def test_adversarial_sounds_led_by_the_logit_are_as_near_as_any(hearing):
    x, targets = of_two(hearing)
    made = adversarial_waveforms(hearing, bent, x, targets, lead="logit", steps=200)
    lengths = np.linalg.norm(made.sounds - x, axis=1)
    for i in range(len(x)):
        best = shortest(hearing, x[i], targets[i], most=2 * lengths[i])
        assert lengths[i] == pytest.approx(best, rel=0.02), i


def test_noise_flips_fewer_decisions_than_adversarial_changes_of_the_same_level():
    """Of 400 samples, of which the vectors are 6 sums: noise hardly points along any of them."""
    rng = np.random.default_rng(0)
    spread = torch.from_numpy(rng.normal(size=(400, 6)) / np.sqrt(400)).float()
    waves = (Z @ np.linalg.pinv(spread.numpy())).astype(np.float32)  # whose vectors are those of Z
    options = {"keep": "last", "per_class": 2, "steps": 200, "feed_forward": 8, "device": "cpu", "progress": False}
    model = fit_prototypes(Z, Y, Split(np.arange(180)), **options)
    rows = np.arange(0, 180, 20)
    targets = model.labels[model.logits(Z[rows]).argsort(1)[:, -2]]
    made = adversarial_waveforms(model, lambda x: x @ spread, waves[rows], targets, draws=50, seed=3)
    assert made.found.all() and made.noise_flips.mean() < 0.05
    again = adversarial_waveforms(model, lambda x: x @ spread, waves[rows], targets, draws=50, seed=3)
    assert np.array_equal(again.sounds, made.sounds) and np.array_equal(again.noise_flips, made.noise_flips)


def test_adversarial_sounds_stay_within_the_bound(hearing):
    x, targets = of_two(hearing)
    free = adversarial_waveforms(hearing, bent, x, targets)
    middle = float(np.median(free.snr))
    bound = adversarial_waveforms(hearing, bent, x, targets, least_snr=middle)
    assert (bound.snr[bound.found] >= middle - 0.01).all()
    assert 0 < bound.found.sum() < 6 and np.isnan(bound.noise_flips[~bound.found]).all()
    assert np.array_equal(bound.sounds[~bound.found], x[~bound.found]) and (bound.snr[~bound.found] == -np.inf).all()


def test_adversarial_sounds_are_checked(hearing):
    x, targets = of_two(hearing)
    with pytest.raises(ParameterError, match=r"targets\[1\]='d' must be 'a', 'b' or 'c'"):
        adversarial_waveforms(hearing, bent, x[:2], ["b", "d"])
    with pytest.raises(ParameterError, match=r"targets\[0\]='a' must be another class than the one predicted"):
        adversarial_waveforms(hearing, bent, x[:1], ["a"])
    with pytest.raises(ParameterError, match=r"x\[1\]='a silent sound' must be one that is not silent"):
        adversarial_waveforms(hearing, bent, x[:2] * [[1], [0]], targets[:2])
    with pytest.raises(ParameterError, match=r"embed='a function that returns \(1, 2\)' must be \(1, 6\)"):
        adversarial_waveforms(hearing, lambda x: x, x[:1], targets[:1])
    with pytest.raises(ParameterError, match="embed='a function without a gradient' must be one that"):
        adversarial_waveforms(hearing, lambda x: bent(x).detach(), x[:1], targets[:1])
    with pytest.raises(ParameterError, match="lead='ear' must be 'prototype' or 'logit'"):
        adversarial_waveforms(hearing, bent, x[:1], targets[:1], lead="ear")
