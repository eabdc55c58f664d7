"""A network for summary autoencoders without transformers, small enough to train on a laptop: :class:`WindowNet`.

All windows have the same length. Each frame is reduced by the same matrix, and a linear layer on all reduced frames
together gives the summary z. Instead of latent frames, diffusion samples the principal components of a whole window of
latent frames. These are a few hundred numbers, for which a fully connected denoiser is enough, and the latent frames
that they reconstruct vary as smoothly in time as those of real sounds. Diffusion, guidance and sampling are those of
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
"""Number of frequencies in the embedding of the diffusion time."""


@dataclass(frozen=True)
class WindowConfig(Config):
    """Shape of the network; the defaults are those of ``mini-mel``."""

    dim: int = 256
    """Number of dimensions D of an encoder frame and of the summary."""
    frames: int = 51
    """Number of encoder frames of the window."""
    latent_dim: int = 80
    """Number of dimensions of a latent frame of the codec."""
    latent_frames: int = 125
    """Number of latent frames of the window."""
    squeezed: int = 52
    """Number of dimensions to which each encoder frame is reduced."""
    components: int = 384
    """Number K of principal components of the window's latent frames."""
    width: int = 400
    """Width of the denoiser's layers."""
    blocks: int = 3
    """Number of residual blocks of the denoiser."""

    def __post_init__(self) -> None:
        names = ("dim", "frames", "latent_dim", "latent_frames", "squeezed", "components", "width", "blocks")
        settle(self, **dict.fromkeys(names, {"least": 1}))


class _Block(nn.Module):
    """Residual block x + gate * MLP((1 + scale) * norm(x) + shift), with scale, shift and gate from the condition."""

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
    """Network that summarises and denoises windows, with the interface of :class:`.network.SummaryNet`.

    Parameters
    ----------
    config : WindowConfig
        Shape of the network.

    Notes
    -----
    Initial weights are drawn from torch's global random generator. Statistics and principal axes are not trained but
    set before by :meth:`fit`. The axes take most memory and are stored as 8-bit integers with one scale per axis.
    """

    def __init__(self, config: WindowConfig):
        super().__init__()
        self.config = config
        dim, width, size = config.dim, config.width, config.latent_dim * config.latent_frames
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("axes", torch.zeros(config.components, size, dtype=torch.int8))
        self.register_buffer("unit", torch.ones(config.components))  # scale of each axis's 8-bit integers
        self.register_buffer("size", torch.ones(config.components))  # unit in which each component is sampled
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
        """Shape of what is sampled by diffusion: components, (K,)."""
        return (self.config.components,)

    def summarise(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Summarise frames (B, T, D) of whole windows; return summaries (B, D) of Euclidean length sqrt(D)."""
        y = F.gelu(self.squeeze((frames - self.centre) / self.spread))
        h = self.together(y.flatten(1))
        return self.normal((h + self.refine(h)).float())

    def clean(self, x: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """Estimate the components x0 without noise from x (B, K), sigma (B,) and z (B, D)."""
        z = self.normal(z)  # interpolated summaries are too short and get their length back; zeros remain zeros
        angle = sigma[:, None] * (2 ** torch.linspace(0, 8, TIMES, device=x.device)) * math.pi
        condition = F.silu(self.time(torch.cat((angle.cos(), angle.sin()), 1)) + self.condition(z))
        modulation = self.modulation(condition)
        y = self.enter(torch.cat((x, z), 1))
        for block in self.blocks:
            y = block(y, modulation)
        return self.leave(y).float()

    def forward(self, x: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """Return v of noisy components x (B, K) at sigma (B,) given summaries z (B, D); zeros mean no condition."""
        alpha, beta = torch.cos(sigma * math.pi / 2)[:, None], torch.sin(sigma * math.pi / 2)[:, None]
        return (alpha * x - self.clean(x, sigma, z)) / beta.clamp(min=1e-3)

    def components(self, latents: Tensor) -> Tensor:
        """Convert latent frames (B, T, latent_dim) to components (B, K)."""
        return (latents.flatten(1) - self.mean) @ self.axes.T.to(latents.dtype) * self.unit / self.size

    def latents(self, x: Tensor) -> Tensor:
        """Convert components (B, K) to latent frames (B, T, latent_dim)."""
        flat = self.mean + (x * self.size * self.unit) @ self.axes.to(x.dtype)
        return flat.unflatten(1, (self.config.latent_frames, self.config.latent_dim))

    @torch.no_grad()
    def fit(self, frames: Tensor, latents: Tensor, seed: int) -> None:
        """Set mean and deviation of frames (N, T, D), and the principal axes of latent frames (N, T', latent_dim).

        A component is divided by the geometric mean of its standard deviation and the mean standard deviation. The
        first components then still have the largest variance and are the last to be covered by noise, and the last
        components do not vanish. The mean square over all components is 1.
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
