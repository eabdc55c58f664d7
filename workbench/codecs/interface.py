"""The interface of a codec, which turns sound into latent frames and back into sound.

To use your own codec, subclass :class:`Codec`, set the attributes and write ``encode`` and ``decode``; the round trip
in the notebooks and the diffusion decoder then work with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from .. import audio
from ..core.checks import numbers, seed, whole
from ..core.errors import ParameterError


class Codec(ABC):
    """A codec, which maps waveforms to latent frames (T frames of D numbers) and back.

    Attributes
    ----------
    name : str
    rate : int
        Sample rate (Hz) of the waveforms.
    dim : int
        Length D of a latent frame.
    hop : int
        Samples between latent frames.
    fingerprint : str
        Hash of everything that changes the numbers.
    device : torch.device
    """

    name: str
    rate: int
    dim: int
    hop: int
    fingerprint: str
    device: torch.device = torch.device("cpu")

    @property
    def frame_rate(self) -> float:
        """Latent frames a second (Hz)."""
        return self.rate / self.hop

    def frames(self, samples: int) -> int:
        """Return the number of latent frames of a waveform: samples / hop, rounded up."""
        return -(-whole("samples", samples, least=0) // self.hop)

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Encode waveforms into latent frames.

        Parameters
        ----------
        x : Tensor, float32 (B, samples)
            Waveforms of equal length at ``rate``.

        Returns
        -------
        Tensor, float32 (B, T, D) with T = ``frames(samples)``
        """

    @abstractmethod
    def decode(self, latents: Tensor, *, length: int | None = None, seed: int = 0) -> Tensor:
        """Decode latent frames into sound.

        Parameters
        ----------
        latents : Tensor, float32 (B, T, D)
        length : int, optional
            Number of samples of the result, at most and by default T hops.
        seed : int
            Seed of random numbers, such as an initial phase; codecs without randomness ignore it.

        Returns
        -------
        Tensor, float32 (B, length)
            Waveforms, not clipped: a decoded sound may exceed full scale.
        """

    def round_trip(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Encode and decode waveforms (B, samples), and return waveforms (B, samples)."""
        x = self.check_waveforms(x)
        return self.decode(self.encode(x), length=x.shape[-1], seed=seed)

    def check_waveforms(self, x: Tensor | np.ndarray) -> Tensor:
        """Return ``x`` on the codec's device as float32, or raise a ParameterError that says what is wrong with it."""
        x = _floats("x", x)
        if x.ndim != 2 or x.shape[-1] < 1:
            raise ParameterError("x", tuple(x.shape), "waveforms (B, samples) with at least one sample")
        audio.check_axes("x", x.shape, batch=True)
        if not torch.isfinite(x).all():
            raise ParameterError("x", f"waveforms, {int((~torch.isfinite(x)).sum())} samples of them", "finite")
        if x.numel() and (peak := float(x.abs().max())) > audio.MOST_PEAK:
            raise ParameterError("x", f"waveforms with peak {peak:.6g}", "within [-1, 1]; integers are divided first")
        return x.to(self.device, torch.float32)

    def check_latents(self, latents: Tensor | np.ndarray, length: int | None, *, seed: int = 0) -> tuple[Tensor, int]:
        """Return ``latents`` on the codec's device as float32, and the length of their sound in samples.

        Raises
        ------
        ParameterError
            The latents have another shape, no frames or values that are not finite, or the length is too large.
        """
        latents = _floats("latents", latents)
        _seed(seed)
        if latents.ndim != 3 or latents.shape[1] < 1 or latents.shape[2] != self.dim:
            raise ParameterError("latents", tuple(latents.shape), f"(B, T, {self.dim}) with T >= 1")
        if not torch.isfinite(latents).all():
            raise ParameterError("latents", f"{int((~torch.isfinite(latents)).sum())} numbers of them", "finite")
        longest = latents.shape[1] * self.hop
        if length is not None and not 1 <= whole("length", length) <= longest:
            raise ParameterError("length", length, f"1 to {longest} samples, which {latents.shape[1]} frames give")
        return latents.to(self.device, torch.float32), longest if length is None else length


_seed = seed  # the methods have an argument of that name


def _floats(name: str, x: Tensor | np.ndarray) -> Tensor:
    x = x if isinstance(x, Tensor) else torch.as_tensor(numbers(name, x, finite=False, empty=True))
    if not x.is_floating_point():
        raise ParameterError(name, f"array of {str(x.dtype).removeprefix('torch.')}", "of floats")
    return x
