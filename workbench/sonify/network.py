"""The trained part of a summary autoencoder: a transformer that summarises, a transformer that denoises.

Frames of a frozen encoder, preceded by one learnt token, go through the first; what it gives at that token is the
summary z. The second sees the tokens [z, time, noisy latents] and gives v of :mod:`.diffusion` at the latents. Both are
:class:`workbench.encoders.residual.ResiDualStack`; frames and latents share one learnt scale of sinusoidal positions,
the tokens before them have none.
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
    """The shape of the network; the defaults, and "paper", are the paper's 4 s autoencoder."""

    PRESETS: ClassVar = {"paper": {}}

    dim: int = 768
    """A frame of the encoder, a token and the summary have so many numbers, D."""
    latent_dim: int = 128
    """A latent frame of the codec has so many numbers."""
    latent_frames: int = 300
    """The window has so many latent frames."""
    summary_layers: int = 2
    """The summary transformer has so many layers."""
    denoiser_layers: int = 8
    """The denoiser has so many layers."""
    heads: int = 8
    """Both have so many attention heads."""
    hidden: int = 4096
    """The feed-forward block that the layers of a stack share is so wide."""
    patch: int = 1
    """A token holds so many latent frames; they must divide ``latent_frames``."""
    skip: bool = False
    """Gain(time) * noisy latents are added to the output, which a patch wider than ``dim`` needs to tell noise."""

    def __post_init__(self) -> None:
        names = ("dim", "latent_dim", "latent_frames", "summary_layers", "denoiser_layers", "heads", "hidden", "patch")
        settle(self, **dict.fromkeys(names, {"least": 1}))
        for name, divisor in (("heads", self.heads), ("an even number", 2)):
            if self.dim % divisor:
                raise ParameterError("dim", self.dim, f"a multiple of {name}={divisor}" if name == "heads" else name)
        if self.latent_frames % self.patch:
            raise ParameterError("patch", self.patch, f"a divisor of latent_frames={self.latent_frames}")


class SummaryNet(nn.Module):
    """Summary transformer and denoiser.

    Parameters
    ----------
    config : SummaryConfig

    Notes
    -----
    Weights start from torch's global generator: seed it, or load others.
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
        """Shape of what is drawn from noise: latent frames, (T, latent_dim)."""
        return self.config.latent_frames, self.config.latent_dim

    def latents(self, x: Tensor) -> Tensor:
        """What was drawn (B, T, latent_dim), as latent frames: the same."""
        return x

    def positions(self, x: Tensor) -> Tensor:
        """``x`` (B, T, D) plus the scaled sinusoidal positions 0 ... T - 1."""
        return x + self.position_scale * residual.sinusoidal(x.shape[1], x.shape[2], device=x.device)

    def summarise(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, T, D) and true lengths (B,) to summaries (B, D)."""
        token = self.token.expand(len(frames), 1, -1)
        padding = torch.arange(frames.shape[1] + 1, device=frames.device) > lengths[:, None]
        padding = padding if bool(padding.any()) else None
        return self.summary(torch.cat((token, self.positions(frames)), 1), padding)[:, 0].float()

    def forward(self, x: Tensor, sigma: Tensor, z: Tensor) -> Tensor:
        """v of noisy latents x (B, T, latent_dim) at sigma (B,), given summaries z (B, D); zeros are no condition."""
        patches = x.reshape(len(x), -1, self.in_adapter.in_features)
        time = self.time_embedding(sigma[:, None])
        tokens = torch.cat((z[:, None], time[:, None], self.positions(self.in_adapter(patches))), 1)
        v = self.out_adapter(self.denoiser(tokens)[:, 2:])
        if self.config.skip:
            v = v + self.skip(time)[:, None] * patches
        return v.float().reshape(x.shape)
