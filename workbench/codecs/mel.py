"""``mel``: the built-in codec, which encodes to log-mel spectra and decodes by phase recovery.

It maps 16 kHz mono to 62.5 frames a second of 80 numbers. Nothing is learnt: the latent frames are ln(mel power +
floor), shifted and scaled by two constants so that instrument notes have about zero mean and unit variance, as a
diffusion decoder needs. Decoding inverts the mel filters by non-negative least squares and then uses fast Griffin-Lim
(Perraudin, Balazs and Sondergaard 2013). Phase, and sound below the floor, are lost; pitch, timbre and dynamics are
kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..audio import mel_spectrogram, mel_to_audio
from ..core.fingerprints import fingerprint
from .interface import Codec

VERSION = 2
N_FFT = 1024
FLOOR = 1e-4
"""Added to mel power; about 65 dB below that of a full-scale sine."""
SHIFT, SCALE = -8.15, 2.30
"""Mean and standard deviation of ln(mel + FLOOR) over 2 s excerpts of instrument notes and other sounds."""
CEILING = 12.0
"""Largest latent (some 45 dB above full scale), to which larger ones are clamped, as the exponential could overflow."""
GATE = 2.0
"""Mel power below ``GATE * FLOOR`` is decoded as silence, as generated latents are never exactly at the floor, which
would be audible as hiss. The gate reduces noise by 10 dB. It costs real sounds their faintest parts (.004 of the round
trip's log-mel correlation), and changes what a tagger that uses the background recognises in 8 of 80 notes."""
STEPS = 32
"""Number of iterations of Griffin-Lim."""


class MelCodec(Codec):
    """The built-in codec, with frames (T, 80) at 62.5 Hz from sound at 16 kHz.

    Frame t covers 64 ms centred on sample 256 t. The level is kept: a sound at half the amplitude is decoded at half.

    Parameters
    ----------
    device : str or torch.device, optional
    """

    name = "mel"
    rate = 16000
    dim = 80
    hop = 256

    def __init__(self, *, device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self.fingerprint = fingerprint("mel", VERSION, N_FFT, self.hop, self.dim, FLOOR, SHIFT, SCALE, GATE, STEPS)

    def encode(self, x: Tensor) -> Tensor:
        """Encode waveforms, see :meth:`Codec.encode`."""
        x = self.check_waveforms(x)
        frames = self.frames(x.shape[1])
        x = torch.nn.functional.pad(x, (0, frames * self.hop - x.shape[1]))
        # the spectrogram is centred and has one frame more, around the last sample
        mel = mel_spectrogram(x, self.rate, n_fft=N_FFT, hop=self.hop, n_mels=self.dim)[..., :frames]
        return ((mel + FLOOR).log() - SHIFT).transpose(1, 2) / SCALE

    def decode(self, latents: Tensor, *, length: int | None = None, seed: int = 0) -> Tensor:
        """Decode latents, see :meth:`Codec.decode`; a row depends on its own latents and the seed, not on its batch."""
        latents, length = self.check_latents(latents, length, seed=seed)
        mel = ((latents.clamp(max=CEILING) * SCALE + SHIFT).exp() - GATE * FLOOR).clamp_min(0.0).transpose(1, 2)
        # repeat the last frame for the one around the last sample, which encode leaves out; Griffin-Lim needs 5 frames
        mel = torch.cat((mel, mel[..., -1:].expand(-1, -1, max(1, 5 - mel.shape[2]))), 2)
        whole = (mel.shape[2] - 1) * self.hop
        # row by row: Griffin-Lim draws the phases of a batch together (and on a CPU a batch is no faster)
        options = {"n_fft": N_FFT, "hop": self.hop, "length": whole, "steps": STEPS, "seed": seed}
        rows = [mel_to_audio(row, self.rate, **options) for row in mel]
        return torch.stack(rows)[:, :length] if rows else mel.new_zeros(0, length)
