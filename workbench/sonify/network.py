"""The trained network of a summary autoencoder: a transformer that summarises and a transformer that denoises.

The first takes the frames of a frozen encoder, preceded by one learnt token; its output at that token is the summary z.
The second takes the tokens [z, time, noisy latents]; its outputs at the latents are v of :mod:`.diffusion`. Both are
:class:`workbench.encoders.residual.ResiDualStack`. Sinusoidal positions, with one learnt scale, are added to frames and
latents but not to the tokens before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.errors import ParameterError
from ..core.fitting import Config, settle
from ..encoders import residual


@dataclass(frozen=True)
class SummaryConfig(Config):
    """Shape of the network; the defaults, and "paper", are those of the paper's 4 s autoencoder."""

    PRESETS: ClassVar = {"paper": {}}

    dim: int = 768
    """Number of dimensions D of an encoder frame, a token and the summary."""
    latent_dim: int = 128
    """Number of dimensions of a latent frame of the codec."""
    latent_frames: int = 300
    """Number of latent frames of the window."""
    summary_layers: int = 2
    """Number of layers of the summary transformer."""
    denoiser_layers: int = 8
    """Number of layers of the denoiser."""
    heads: int = 8
    """Number of attention heads of both transformers."""
    hidden: int = 4096
    """Width of the feed-forward block, which is shared by the layers of a transformer."""
    patch: int = 1
    """Number of latent frames per token; it must divide ``latent_frames``."""
    skip: bool = False
    """Whether to add gain(time) * noisy latents to the output, as needed if a patch has more numbers than ``dim``."""

    def __post_init__(self) -> None:
        names = ("dim", "latent_dim", "latent_frames", "summary_layers", "denoiser_layers", "heads", "hidden", "patch")
        settle(self, **dict.fromkeys(names, {"least": 1}))
        for name, divisor in (("heads", self.heads), ("an even number", 2)):
            if self.dim % divisor:
                raise ParameterError("dim", self.dim, f"a multiple of {name}={divisor}" if name == "heads" else name)
        if self.latent_frames % self.patch:
            raise ParameterError("patch", self.patch, f"a divisor of latent_frames={self.latent_frames}")


class SummaryNet(nn.Module):
    """Summary transformer and denoiser of a :class:`SummaryAutoencoder`.

    Parameters
    ----------
    config : SummaryConfig
        Shape of the network.

    Notes
    -----
    Initial weights are drawn from torch's global random generator.
    """

    def __init__(self, config: SummaryConfig):
        super().__init__()
        self.config = config
        dim, wide = config.dim, config.latent_dim * config.patch
        self.summary = residual.ResiDualStack(dim, config.summary_layers, config.heads, config.hidden)
        self.denoiser = residual.ResiDualStack(dim, config.denoiser_layers, config.heads, config.hidden)
        self.token = nn.Parameter(torch.randn(dim))
        self.position_scale = nn.Parameter(torch.ones(()))
        self.in_adapter = nn.Linear(wide, dim)
        self.out_adapter = nn.Linear(dim, wide)
        self.time_embedding = nn.Sequential(nn.Linear(1, dim), nn.ReLU(), nn.Linear(dim, dim))
        if config.skip:
            self.skip = nn.Linear(dim, wide)
            nn.init.zeros_(self.skip.weight)
            nn.init.zeros_(self.skip.bias)

    @property
    def drawn(self) -> tuple[int, int]:
        """Shape of what is sampled by diffusion: latent frames, (T, latent_dim)."""
        return self.config.latent_frames, self.config.latent_dim

    def latents(self, x: Tensor) -> Tensor:
        """Return the sampled latent frames (B, T, latent_dim) unchanged; other networks convert them here."""
        return x

    def positions(self, x: Tensor) -> Tensor:
        """Return ``x`` (B, T, D) plus the scaled sinusoidal positions 0 to T - 1."""
        return x + self.position_scale * residual.sinusoidal(x.shape[1], x.shape[2], device=x.device)

    def summarise(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Summarise frames (B, T, D) with lengths (B,) without padding; return summaries (B, D)."""
        token = self.token.expand(len(frames), 1, -1)
        padding = torch.arange(frames.shape[1] + 1, device=frames.device) > lengths[:, None]
        padding = padding if bool(padding.any()) else None
        return self.summary(torch.cat((token, self.positions(frames)), 1), padding)[:, 0].float()

    def forward(self, x: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """Return v of noisy latents x (B, T, latent_dim) at sigma (B,) given z (B, D); zeros mean no condition."""
        patches = x.reshape(len(x), -1, self.in_adapter.in_features)
        time = self.time_embedding(sigma[:, None])
        tokens = torch.cat((z[:, None], time[:, None], self.positions(self.in_adapter(patches))), 1)
        v = self.out_adapter(self.denoiser(tokens)[:, 2:])
        if self.config.skip:
            v = v + self.skip(time)[:, None] * patches
        return v.float().reshape(x.shape)
