"""``logmel``, the trivial control: log-mel frames of the sound, without a network or weights.

With ``pooling="mean+std"`` a clip becomes 128 numbers: mean and standard deviation of 64 mel bands. A pretrained
encoder that is not better than this has learnt nothing that matters for the task.

Padding is "masked": frames are computed without centring, so that each depends on true samples of its clip only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.dependencies import load
from ..core.fingerprints import fingerprint
from .interface import Encoder, Layer

CODE_VERSION = 1
RATE, N_FFT, HOP, N_MELS, FLOOR = 16000, 512, 160, 64, 1e-6


class LogMelStatistics(Encoder):
    """Log-mel frames: 64 HTK mel bands from 0 to 8 kHz, natural logarithm of power, 100 frames a second, 16 kHz.

    A full-scale sine has a power of 1 (0 dB). The Hann window has 512 samples, and 1e-6 (-60 dB) is added to the power
    before the logarithm.

    Parameters
    ----------
    device : str or torch.device
    """

    name = "logmel"
    rate = RATE
    padding = "masked"
    minimum = N_FFT
    compute = "float32"  # half precision would make the bands inaccurate and save no time

    def __init__(self, *, device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self.layers = (Layer("logmel", N_MELS, RATE / HOP),)
        window = torch.hann_window(N_FFT)
        self._window = (window / (window.sum() / 2)).to(self.device)
        banks = load("torchaudio.functional").melscale_fbanks(N_FFT // 2 + 1, 0.0, RATE / 2, N_MELS, RATE)
        self._banks = banks.to(self.device)
        self.fingerprint = fingerprint("logmel", CODE_VERSION, self.padding, RATE, N_FFT, HOP, N_MELS, FLOOR)

    def forward(self, x: Tensor, lengths: Tensor, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch, see :meth:`Encoder.forward`."""
        spectrum = torch.stft(x, N_FFT, HOP, N_FFT, self._window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        frames = (power.transpose(1, 2) @ self._banks + FLOOR).log()
        return [(frames, (lengths - N_FFT) // HOP + 1) for _ in layers]
