"""Vectors that sounds can be decoded from, and the sound of one latent of a sparse code of such vectors.

Examples can only show when a latent answers. If the code is of vectors that decode to sound, one can also hear what the
latent writes. A vector is x = x_hat + e, the reconstruction of the sparse autoencoder and its error, and the latent's
part of x_hat is a d, its value times its decoder direction. Setting the latent to another value a' gives

    x' = x + (a' - a) d,

in which everything else, also the error, stays. Decoded with the same random numbers, x' and x differ by the latent
alone. As a control the same step is made in another direction of the same length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .. import audio
from ..codecs import Codec
from ..core.checks import checked, numbers, whole
from ..core.checks import seed as checked_seed
from ..core.errors import ParameterError
from ..sae import SparseAutoencoder
from .autoencoder import SummaryAutoencoder
from .diffusion import check_sampling

SOUNDING = 40.0
"""Frames more than this many dB below the loudest of a sound, or below -80 dB, are background."""


@dataclass(frozen=True, eq=False)
class SoundVectors:
    """Vectors of N sounds, T for each, which can be decoded; made by :func:`sound_vectors`."""

    name: str
    """Name of the autoencoder or codec."""
    x: np.ndarray
    """Vectors, float32 (N, T, D). T is 1 for an autoencoder, the number of latent frames for a codec."""
    sounding: np.ndarray
    """Whether there is sound at each vector, bool (N, T): not in frames of background, nor in a silent window."""
    rate: int
    """Sampling rate of decoded sounds in Hz."""
    _decode: Callable[[np.ndarray], np.ndarray] = field(repr=False)

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        sounds, each, dim = self.x.shape
        return f"SoundVectors({self.name}: {sounds} sounds x {each} vectors of {dim} numbers)"

    @checked
    def decode(self, x: np.ndarray) -> np.ndarray:
        """Decode vectors (B, T, D), changed or not, to B sounds, float32 (B, samples), with the same random numbers.

        Raises
        ------
        ParameterError
            If the shape is wrong or values are not finite.
        """
        x = numbers("x", x, ndim=3)
        if x.shape[1:] != self.x.shape[1:] or not len(x):
            raise ParameterError("x.shape", x.shape, f"(B, {self.x.shape[1]}, {self.x.shape[2]}) with B at least 1")
        return self._decode(x.astype(np.float32))

    @checked
    def codes(self, sae: SparseAutoencoder) -> np.ndarray:
        """Return the code of each sound, float32 (N, latents): the mean over its vectors that sound, or zeros."""
        z = self._encode(sae, self.x)
        weight = self.sounding / np.maximum(self.sounding.sum(1, keepdims=True), 1)
        return np.einsum("ntk,nt->nk", z, weight.astype(np.float32))

    @checked
    def typical(self, sae: SparseAutoencoder, latent: int, sounds: Sequence[int] | np.ndarray) -> float:
        """Return the median value of a latent over the sounding vectors of some sounds at which it is active.

        Raises
        ------
        ParameterError
            If the autoencoder does not have the latent, a sound does not exist, or the latent is never active.
        """
        self._latent(sae, latent)
        sounds = self._sounds(sounds)
        values = self._encode(sae, self.x[sounds])[..., latent][self.sounding[sounds]]
        if not (values > 0).any():
            raise ParameterError("latent", latent, "a latent that is active in one of the sounds")
        return float(np.median(values[values > 0]))

    @checked
    def with_latent(
        self,
        i: int,
        sae: SparseAutoencoder,
        latent: int,
        values: Sequence[float] | np.ndarray,
        *,
        direction: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the vectors of one sound with a latent set to each of some values.

        Parameters
        ----------
        i : int
            Number of the sound.
        sae : SparseAutoencoder
            Sparse code of the vectors.
        latent : int
            Number of the latent.
        values : array-like (V,)
            Values a' of the latent, in its own units, at every vector of the sound that sounds.
        direction : array-like (D,), optional
            Direction in which to step instead of the latent's own, for a control; only its direction is used, as the
            step is as long as that of the latent.

        Returns
        -------
        ndarray, float32 (V, T, D)
            x + (a' - a) d where the sound sounds, and x elsewhere.

        Raises
        ------
        ParameterError
            If the sound or the latent does not exist, a value is not finite, or the direction has another D or is zero.
        """
        whole("i", i, least=0, most=len(self) - 1)
        self._latent(sae, latent)
        values = numbers("values", values, ndim=1).astype(np.float32)
        x, own = self.x[i], sae.decoder[latent].cpu().numpy()
        if direction is not None:
            direction = numbers("direction", direction, ndim=1).astype(np.float32)
            if direction.shape != own.shape or not (length := np.linalg.norm(direction)) > 0:
                raise ParameterError("direction", direction.shape, f"({len(own)},), not all zeros")
            own = direction * (np.linalg.norm(own) / length)
        step = (values[:, None] - self._encode(sae, x[None])[0, :, latent]) * self.sounding[i]  # (V, T)
        return x + step[..., None] * own

    def _encode(self, sae: SparseAutoencoder, x: np.ndarray) -> np.ndarray:
        if not isinstance(sae, SparseAutoencoder):
            raise ParameterError("sae", type(sae).__name__, "a SparseAutoencoder")
        return sae.encode(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)

    @staticmethod
    def _latent(sae: SparseAutoencoder, latent: int) -> None:
        if not isinstance(sae, SparseAutoencoder):
            raise ParameterError("sae", type(sae).__name__, "a SparseAutoencoder")
        whole("latent", latent, least=0, most=sae.config.latents - 1)

    def _sounds(self, sounds: Sequence[int] | np.ndarray) -> np.ndarray:
        rows = numbers("sounds", sounds, ndim=1)
        if rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(self):
            raise ParameterError("sounds", rows.tolist(), f"whole numbers in 0 ... {len(self) - 1}")
        return rows


@checked
def sound_vectors(
    waveforms: np.ndarray,
    rate: int,
    decoder: SummaryAutoencoder | Codec,
    *,
    steps: int = 10,
    guidance: float = 0.0,
    seed: int = 0,
) -> SoundVectors:
    """Compute vectors of sounds from which they can be decoded again.

    Parameters
    ----------
    waveforms : ndarray (N, samples)
        Sounds of one length. An autoencoder pads them to its window.
    rate : int
        Their sampling rate in Hz.
    decoder : SummaryAutoencoder or Codec
        What encodes and decodes: an autoencoder gives one vector for a whole sound, a codec one for each latent frame.
    steps, guidance, seed
        How an autoencoder decodes (:meth:`.SummaryAutoencoder.decode`). The seed is the same for every sound, so that
        two sounds differ by their vectors alone; it also starts a codec whose decoder is random.

    Returns
    -------
    SoundVectors

    Raises
    ------
    ParameterError
        If the waveforms have another shape, are too long for the autoencoder or are not finite.
    """
    x = numbers("waveforms", waveforms, ndim=2).astype(np.float32)
    whole("rate", rate, least=1)
    check_sampling(steps, guidance)
    checked_seed(seed)
    if not isinstance(decoder, (SummaryAutoencoder, Codec)):
        raise ParameterError("decoder", type(decoder).__name__, "a SummaryAutoencoder or a Codec")
    if isinstance(decoder, SummaryAutoencoder):
        heard = [audio.resample(row, rate, decoder.encoder.rate) for row in x]
        z = decoder.embed(heard, decoder.encoder.rate).cpu().numpy()[:, None]
        options = {"steps": steps, "guidance": guidance, "seed": seed}

        def decode(rows: np.ndarray) -> np.ndarray:
            return decoder.decode(rows[:, 0], **options).cpu().numpy()

        return SoundVectors(decoder.name, z, _sounding(x, 1), decoder.codec.rate, decode)
    heard = np.stack([audio.resample(row, rate, decoder.rate) for row in x])
    latents = decoder.encode(torch.from_numpy(heard)).cpu().numpy()

    def decode(rows: np.ndarray) -> np.ndarray:
        return decoder.decode(torch.from_numpy(rows), length=heard.shape[1], seed=seed).cpu().numpy()

    return SoundVectors(decoder.name, latents, _sounding(heard, latents.shape[1]), decoder.rate, decode)


def _sounding(x: np.ndarray, frames: int) -> np.ndarray:
    """Whether each of so many equal parts of waveforms (N, samples) sounds, bool (N, frames)."""
    size = -(-x.shape[1] // frames)
    parts = np.pad(x, ((0, 0), (0, size * frames - x.shape[1]))).reshape(len(x), frames, size)
    decibels = 10 * np.log10(np.square(parts, dtype=np.float64).mean(2) + 1e-20)
    return (decibels > decibels.max(1, keepdims=True) - SOUNDING) & (decibels > audio.SILENT)
