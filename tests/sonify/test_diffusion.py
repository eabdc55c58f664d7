"""The schedule and the sampler against closed forms: data whose v is known exactly."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.sonify.diffusion import _angles, diffuse, draw_noise, sample


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_data_and_noise_come_back_from_x_and_v():
    x0, noise, sigma = normal(64, 5, 3), normal(64, 5, 3, seed=1), torch.linspace(0, 1, 64, dtype=torch.float64)
    x, v = diffuse(x0, noise, sigma)
    alpha, beta = (side[:, None, None] for side in _angles(sigma))
    assert float((alpha * x - beta * v - x0).abs().max()) < 1e-12
    assert float((beta * x + alpha * v - noise).abs().max()) < 1e-12
    assert float((alpha**2 + beta**2 - 1).abs().max()) < 1e-12


def test_unit_variance_stays_unit_variance_at_every_sigma():
    for sigma in (0.0, 0.3, 0.7, 1.0):
        x, v = diffuse(normal(1, 200_000), normal(1, 200_000, seed=1), torch.tensor([sigma], dtype=torch.float64))
        assert float(x.std()) == pytest.approx(1, abs=0.01) and float(v.std()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_the_sampler_finds_the_data_when_it_is_told_the_true_v(steps):
    x0 = normal(4, 6, 3)

    def oracle(x, sigma, z):
        alpha, beta = (side[:, None, None] for side in _angles(sigma))
        return (alpha * x - x0) / beta  # alpha eps - beta x0 with eps = (x - alpha x0) / beta

    found = sample(oracle, normal(4, 6, 3, seed=1), torch.zeros(4, 2), steps=steps, guidance=0.0)
    assert float((found - x0).abs().max()) < 1e-12


def gaussian(x, sigma, z):
    """The exact v of one-dimensional data N(2, .5^2)."""
    alpha, beta = (side[:, None] for side in _angles(sigma))
    variance = alpha**2 * 0.25 + beta**2
    eps, x0 = beta * (x - 2 * alpha) / variance, 2 + 0.25 * alpha * (x - 2 * alpha) / variance
    return alpha * eps - beta * x0


@pytest.mark.parametrize(("steps", "std"), [(10, 0.4280), (40, 0.4811), (100, 0.4923)])
def test_gaussian_data_come_out_with_the_known_spread(steps, std):
    ends = sample(gaussian, torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64), torch.zeros(3, 1), steps=steps)
    # the map from noise to data is linear: N(0, 1) becomes N(middle, half of the distance)
    assert float(ends[1]) == pytest.approx(2.0, abs=1e-9)
    assert float(ends[2] - ends[0]) / 2 == pytest.approx(std, abs=5e-5)


def test_guidance_goes_from_the_unconditional_through_the_conditional_v():
    def velocity(x, sigma, z):
        return torch.tanh(x + z[:, :1]) * sigma[:, None]

    noise, z = normal(3, 1), normal(3, 1, seed=1)
    conditional = sample(velocity, noise, z, steps=7, guidance=0.0)
    alone = sample(velocity, noise, torch.zeros_like(z), steps=7, guidance=-1.0)
    assert torch.equal(alone, sample(velocity, noise, torch.zeros_like(z), steps=7, guidance=0.0))
    assert torch.allclose(sample(velocity, noise, z, steps=7, guidance=-1.0), alone, atol=1e-12)
    # by hand, one step: x0 = -v at sigma = 1
    pushed = sample(velocity, noise, z, steps=1, guidance=2.0)
    v_c, v_u = torch.tanh(noise + z), torch.tanh(noise)
    assert torch.allclose(pushed, -(v_c + 2 * (v_c - v_u)), atol=1e-12)
    assert not torch.allclose(conditional, alone, atol=1e-3)


def test_noise_of_a_row_depends_on_its_seed_alone():
    together = draw_noise([3, 1, 3], (4, 2))
    assert torch.equal(together[0], together[2]) and not torch.equal(together[0], together[1])
    assert torch.equal(together[1:2], draw_noise([1], (4, 2)))
    state = torch.random.get_rng_state()
    draw_noise([5], (2,))
    assert torch.equal(state, torch.random.get_rng_state())


def test_progress_is_reported_once_a_step():
    calls = []
    sample(gaussian, torch.zeros(1, 1), torch.zeros(1, 1), steps=6, on_step=lambda: calls.append(1))
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps=0 must be a whole number, 1 or more"),
        ({"steps": 2.5}, "steps=2.5 must be"),
        ({"guidance": math.nan}, "guidance=nan must be a finite number"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ParameterError, match=message):
        sample(gaussian, torch.zeros(1, 1), torch.zeros(1, 1), **settings)


def test_one_condition_a_row():
    with pytest.raises(ParameterError, match=r"z=\(2, 1\) must be 3 rows"):
        sample(gaussian, torch.zeros(3, 1), torch.zeros(2, 1))
