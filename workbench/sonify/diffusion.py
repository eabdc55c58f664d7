"""Diffusion with v-prediction: the schedule, the noise, and a deterministic sampler with guidance.

sigma runs from 0 (data) to 1 (noise). With alpha = cos(pi sigma / 2) and beta = sin(pi sigma / 2),

    x = alpha x0 + beta eps,   v = alpha eps - beta x0,   so that   x0 = alpha x - beta v,   eps = beta x + alpha v.

A network learns v (Salimans and Ho, "Progressive distillation", 2022). The functions take any function
``velocity(x, sigma, z)`` that returns v of the shape of x, with x (B, ...), sigma (B,) and the condition z (B, D). A z
of zeros stands for no condition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..core.checks import number, seed, several, whole
from ..core.errors import ParameterError

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]


def _angles(sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha = cos(pi sigma / 2) and beta = sin(pi sigma / 2), in the dtype of ``sigma``."""
    return torch.cos(sigma * (math.pi / 2)), torch.sin(sigma * (math.pi / 2))


def diffuse(x0: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return noisy data x and the training target v.

    Parameters
    ----------
    x0, noise : Tensor (B, ...)
        Data of about unit variance, and standard normal noise.
    sigma : Tensor (B,)
        Noise level of each row, in [0, 1].

    Returns
    -------
    x, v : Tensor, like ``x0``
    """
    for name, tensor in (("x0", x0), ("noise", noise), ("sigma", sigma)):
        _check_tensor(name, tensor)
    if x0.shape != noise.shape or sigma.shape != x0.shape[:1]:
        shapes = {"x0": tuple(x0.shape), "noise": tuple(noise.shape), "sigma": tuple(sigma.shape)}
        raise ParameterError("shapes", shapes, "(B, ...), the same, and (B,)")
    if not ((sigma >= 0) & (sigma <= 1)).all():
        raise ParameterError("sigma", f"{float(sigma.min()):g} to {float(sigma.max()):g}", "within 0 to 1")
    alpha, beta = (side.view(-1, *[1] * (x0.ndim - 1)) for side in _angles(sigma))
    return alpha * x0 + beta * noise, alpha * noise - beta * x0


def draw_noise(seeds: Sequence[int], shape: Sequence[int], *, device: str | torch.device = "cpu") -> Tensor:
    """Draw standard normal noise (B, *shape), float32; row i depends only on ``seeds[i]``, not on the device."""
    none = isinstance(seeds, (list, tuple)) and not seeds
    seeds = [] if none else several("seeds", seeds, lambda name, value: seed(value, name))
    shape = several("shape", shape, partial(whole, least=1))
    rows = [torch.randn(*shape, generator=torch.Generator().manual_seed(value)) for value in seeds]
    return torch.stack(rows).to(device) if rows else torch.zeros(0, *shape, device=device)


def sample(
    velocity: Velocity,
    noise: Tensor,
    z: Tensor,
    *,
    steps: int = 40,
    guidance: float = 1.0,
    on_step: Callable[[], object] | None = None,
) -> Tensor:
    """Convert noise to data deterministically (DDIM; Song, Meng and Ermon 2021), with sigma falling from 1 to 0.

    Parameters
    ----------
    velocity : callable (x, sigma, z) -> v
        The network.
    noise : Tensor (B, ...)
        Initial noise.
    z : Tensor (B, D)
        Condition.
    steps : int
        Number of steps S; 40 on the paper's web page, 100 in its "high quality" setting.
    guidance : float
        g of classifier-free guidance (Ho and Salimans 2022), v = v_c + g (v_c - v_u). 0 is the conditional model
        without guidance and takes half the time.
    on_step : callable, optional
        Called after each step.

    Returns
    -------
    Tensor, like ``noise``
        Sampled data.

    Raises
    ------
    ParameterError
        If ``steps`` is below 1, ``guidance`` is not finite, or ``z`` and ``noise`` differ in their number of rows.
    """
    check_sampling(steps, guidance)
    if not callable(velocity):
        raise ParameterError("velocity", velocity, "a function (x, sigma, z) that gives v")
    for name, tensor in (("noise", noise), ("z", z)):
        _check_tensor(name, tensor)
    if len(z) != len(noise):
        raise ParameterError("z", tuple(z.shape), f"{len(noise)} rows, one for each of noise")
    x = noise
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()
    for now, later in zip(grid[:-1], grid[1:], strict=True):
        v = _guided(velocity, x, now, z, guidance)
        alpha, beta = math.cos(now * math.pi / 2), math.sin(now * math.pi / 2)
        x0, eps = alpha * x - beta * v, beta * x + alpha * v
        x = math.cos(later * math.pi / 2) * x0 + math.sin(later * math.pi / 2) * eps
        if on_step is not None:
            on_step()
    return x


def _check_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or not value.ndim or not value.is_floating_point():
        raise ParameterError(name, type(value).__name__, "a tensor of floats, a row a sound")
    if not value.isfinite().all():
        raise ParameterError(name, "nan or inf", "finite")


def _guided(velocity: Velocity, x: Tensor, sigma: float, z: Tensor, guidance: float) -> Tensor:
    """Return v at one sigma with guidance; one call of the network computes v with and without the condition."""
    at = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
    if guidance == 0:
        return velocity(x, at, z)
    both = velocity(torch.cat((x, x)), torch.cat((at, at)), torch.cat((z, torch.zeros_like(z))))
    conditional, unconditional = both.chunk(2)
    return conditional + guidance * (conditional - unconditional)


def check_sampling(steps: int, guidance: float) -> None:
    """Raise a ParameterError for settings that :func:`sample` cannot use."""
    whole("steps", steps, least=1)
    number("guidance", guidance)
