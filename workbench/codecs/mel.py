"""``mel``: the built-in codec, logarithmic mel spectra one way, phase recovery the other way.

16 kHz mono, 62.5 frames a second of 80 numbers. Nothing is learnt: the latent frames are ln(mel power + floor),
shifted and scaled by two constants so that instrument notes come out with about zero mean and unit variance, as a
diffusion decoder wants them. Back: mel inversion by non-negative least squares, then fast Griffin-Lim (Perraudin,
Balazs and Sondergaard 2013). Phase and what lies under the floor are lost; pitch, timbre and dynamics are kept.
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
"""Added to mel power; about 65 dB below a full-scale sine's."""
SHIFT, SCALE = -8.15, 2.30
"""Mean and standard deviation of ln(mel + FLOOR) over 2 s excerpts of instrument notes and other sounds."""
CEILING = 12.0
"""Largest latent that is believed (some 45 dB above full scale): beyond it the exponential would overflow."""
GATE = 2.0
"""What is under so many floors comes back as silence: generated latents are never quite at the floor, which would be
heard as hiss. Takes 10 dB of noise; costs real sounds their faintest parts, .004 of the round trip's log-mel
correlation, and a tagger that listens to the background 8 of 80 notes."""
STEPS = 32
"""Iterations of Griffin-Lim."""


class MelCodec(Codec):
    """The built-in codec: (T, 80) at 62.5 Hz from 16 kHz.

    Frame t looks at 64 ms centred on sample 256 t. Level is kept: half the amplitude comes back as half.

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
        """See :meth:`Codec.encode`."""
        x = self.check_waveforms(x)
        frames = self.frames(x.shape[1])
        x = torch.nn.functional.pad(x, (0, frames * self.hop - x.shape[1]))
        # the spectrogram is centred and has one frame more, around the last sample
        mel = mel_spectrogram(x, self.rate, n_fft=N_FFT, hop=self.hop, n_mels=self.dim)[..., :frames]
        return ((mel + FLOOR).log() - SHIFT).transpose(1, 2) / SCALE

    def decode(self, latents: Tensor, *, length: int | None = None, seed: int = 0) -> Tensor:
        """See :meth:`Codec.decode`. A row's sound depends on its own latents and the seed, not on its batch."""
        latents, length = self.check_latents(latents, length, seed=seed)
        mel = ((latents.clamp(max=CEILING) * SCALE + SHIFT).exp() - GATE * FLOOR).clamp_min(0.0).transpose(1, 2)
        # the frame that encode leaves out, around the last sample: as the one before. Griffin-Lim wants 5 at least
        mel = torch.cat((mel, mel[..., -1:].expand(-1, -1, max(1, 5 - mel.shape[2]))), 2)
        whole = (mel.shape[2] - 1) * self.hop
        # row by row: Griffin-Lim draws the phases of a batch together (and on a CPU a batch is no faster)
        options = {"n_fft": N_FFT, "hop": self.hop, "length": whole, "steps": STEPS, "seed": seed}
        rows = [mel_to_audio(row, self.rate, **options) for row in mel]
        return torch.stack(rows)[:, :length] if rows else mel.new_zeros(0, length)
