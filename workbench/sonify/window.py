"""A summary autoencoder without transformers, small enough to be trained on a laptop: :class:`WindowNet`.

The window has one length, so its frames can be read side by side: each is squeezed by the same matrix, all of them
together become the summary z. What is drawn from z are not latent frames one by one, but principal components of the
whole window of them: a few hundred numbers, for which a denoiser of plain layers is enough, and whose linear way back
to latent frames changes as smoothly in time as real sounds do. Diffusion, guidance and sampling are those of
:mod:`.diffusion`; the interface is that of :class:`.network.SummaryNet`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.fitting import Config, settle

TIMES = 32
"""Frequencies of the time's embedding."""


@dataclass(frozen=True)
class WindowConfig(Config):
    """The shape of the network; the defaults are those of ``mini-mel``."""

    dim: int = 256
    """A frame of the encoder and the summary have so many numbers, D."""
    frames: int = 51
    """The window has so many frames of the encoder."""
    latent_dim: int = 80
    """A latent frame of the codec has so many numbers."""
    latent_frames: int = 125
    """The window has so many latent frames."""
    squeezed: int = 52
    """A frame is squeezed to so many numbers before all are read together."""
    components: int = 384
    """So many principal components of the window's latent frames are drawn, K."""
    width: int = 400
    """The denoiser's layers are so wide."""
    blocks: int = 3
    """It has so many residual blocks."""

    def __post_init__(self) -> None:
        names = ("dim", "frames", "latent_dim", "latent_frames", "squeezed", "components", "width", "blocks")
        settle(self, **dict.fromkeys(names, {"least": 1}))


class _Block(nn.Module):
    """x + gate * MLP(scale * norm(x) + shift), with scale, shift and gate from the condition."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.own = nn.Parameter(torch.zeros(3 * width))
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        scale, shift, gate = (modulation + self.own).chunk(3, -1)
        return x + gate * self.down(F.gelu(self.up(self.norm(x) * (1 + scale) + shift)))


class WindowNet(nn.Module):
    """Summary and denoiser of one window; the interface of :class:`.network.SummaryNet`.

    Parameters
    ----------
    config : WindowConfig

    Notes
    -----
    Weights start from torch's global generator; what is not trained is fitted before, by :meth:`fit`. Principal axes
    take most of the room, so that they are kept as whole numbers of 8 bits, each axis with a unit of its own.
    """

    def __init__(self, config: WindowConfig):
        super().__init__()
        self.config = config
        dim, width, size = config.dim, config.width, config.latent_dim * config.latent_frames
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("axes", torch.zeros(config.components, size, dtype=torch.int8))
        self.register_buffer("unit", torch.ones(config.components))  # of an axis as it is kept
        self.register_buffer("size", torch.ones(config.components))  # of a component as it is drawn
        self.squeeze = nn.Linear(dim, config.squeezed)
        self.together = nn.Linear(config.squeezed * config.frames, dim)
        self.refine = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.normal = nn.LayerNorm(dim, elementwise_affine=False)
        self.time = nn.Sequential(nn.Linear(2 * TIMES, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(dim, width)
        self.modulation = nn.Linear(width, 3 * width)
        self.enter = nn.Linear(config.components + dim, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(config.blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.components))

    @property
    def drawn(self) -> tuple[int, ...]:
        """Shape of what is drawn from noise."""
        return (self.config.components,)

    def summarise(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, T, D) of whole windows, of ``lengths`` T, to summaries (B, D) of length sqrt(D)."""
        y = F.gelu(self.squeeze((frames - self.centre) / self.spread))
        h = self.together(y.flatten(1))
        return self.normal((h + self.refine(h)).float())

    def clean(self, x: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """What x (B, K) was before noise came to it, as far as sigma (B,) and z (B, D) tell."""
        z = self.normal(z)  # between summaries, vectors are shorter than they are; zeros stay zeros
        angle = sigma[:, None] * (2 ** torch.linspace(0, 8, TIMES, device=x.device)) * math.pi
        condition = F.silu(self.time(torch.cat((angle.cos(), angle.sin()), 1)) + self.condition(z))
        modulation = self.modulation(condition)
        y = self.enter(torch.cat((x, z), 1))
        for block in self.blocks:
            y = block(y, modulation)
        return self.leave(y).float()

    def forward(self, x: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """v of noisy components x (B, K) at sigma (B,), given summaries z (B, D); zeros are no condition."""
        alpha, beta = torch.cos(sigma * math.pi / 2)[:, None], torch.sin(sigma * math.pi / 2)[:, None]
        return (alpha * x - self.clean(x, sigma, z)) / beta.clamp(min=1e-3)

    def components(self, latents: Tensor) -> Tensor:
        """Latent frames (B, T, latent_dim) to components (B, K)."""
        return (latents.flatten(1) - self.mean) @ self.axes.T.to(latents.dtype) * self.unit / self.size

    def latents(self, x: Tensor) -> Tensor:
        """Components (B, K) to latent frames (B, T, latent_dim)."""
        flat = self.mean + (x * self.size * self.unit) @ self.axes.to(x.dtype)
        return flat.unflatten(1, (self.config.latent_frames, self.config.latent_dim))

    @torch.no_grad()
    def fit(self, frames: Tensor, latents: Tensor, seed: int) -> None:
        """Take mean and spread from frames (N, T, D), principal axes from latent frames (N, T', latent_dim).

        A component is drawn in units of the square root of its own spread: the first ones are the loudest still, so
        that noise covers them last, and the last ones are not lost. The mean square of all is 1.
        """
        self.centre.copy_(frames.mean((0, 1)))
        self.spread.copy_(frames.std((0, 1)) + 1e-3)
        latents = latents.flatten(1)
        self.mean.copy_(latents.mean(0))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _, values, axes = torch.svd_lowrank(latents - self.mean, q=self.config.components + 20, niter=4)
        axes, spread = axes.T[: self.config.components], values[: self.config.components] / math.sqrt(len(latents))
        self.unit.copy_(axes.abs().amax(1) / 127)
        self.axes.copy_((axes / self.unit[:, None]).round())
        self.size.copy_((spread * spread.mean()).sqrt())
