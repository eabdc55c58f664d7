"""Spectrograms on which explanations are masks, and their conversion back to sound.

Parekh et al. (arXiv 2202.11479) use X = log(1 + |STFT|) at 44.1 kHz, and combine a masked X with the phase of the
input. Because of the logarithm the effect of a mask depends on the level of the clip: a soft mask m keeps the share
((1 + |S|)^m - 1) / |S| of a bin, which is about m if the bin is faint and far less if it is loud. Clips are therefore
scaled to a peak of 1 first (:func:`normalised`); a full-scale sine then has |S| = 256 with the default window.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import audio
from ..core.checks import check_fields, choice, whole
from ..core.errors import ParameterError

DOMAINS = ("log", "linear")


@dataclass(frozen=True)
class Spectra:
    """Settings of short-time spectra with centred Hann windows, reflected at the ends; defaults are the paper's."""

    rate: int = 44100
    """Sampling rate in Hz."""
    n_fft: int = 1024
    """Length of a frame in samples, even; there are F = n_fft / 2 + 1 bins."""
    hop: int = 512
    """Samples between frames, at most half of n_fft."""

    def __post_init__(self):
        check_fields(self)
        whole("rate", self.rate, least=1)
        audio.check_frames(self.n_fft, self.hop)

    @property
    def bins(self) -> int:
        """Number of frequency bins F."""
        return self.n_fft // 2 + 1

    def frames(self, samples: int) -> int:
        """Return the number of frames T of a clip."""
        whole("samples", samples, least=1)
        return 1 + samples // self.hop

    def stft(self, x: Tensor) -> Tensor:
        """Return the complex spectra (..., F, T) of waveforms (..., samples).

        Raises
        ------
        ParameterError
            If a clip is too short to be reflected, axes seem to be (samples, channels), or values are not floats or not
            finite.
        """
        _check_floats("x", x, "(..., samples)", 1)
        audio.check_axes("x", x.shape, batch=True)
        if x.shape[-1] <= self.n_fft // 2:
            raise ParameterError("samples", x.shape[-1], f"more than {self.n_fft // 2}, half a window")
        if not x.isfinite().all():
            raise ParameterError("x", "nan or inf", "finite")
        flat = x.reshape(-1, x.shape[-1])
        window = torch.hann_window(self.n_fft, dtype=x.dtype, device=x.device)
        spectra = torch.stft(flat, self.n_fft, self.hop, window=window, pad_mode="reflect", return_complex=True)
        return spectra.reshape(*x.shape[:-1], *spectra.shape[-2:])

    def istft(self, spectra: Tensor, samples: int) -> Tensor:
        """Return the waveforms (..., samples) of complex spectra (..., F, T).

        The last samples, up to 3 ms with the paper's frames, are covered only by the ends of windows and are faded out.
        Dividing by the small values of these windows, as the usual inversion does, could make a click thousands of
        times as loud when a mask was applied.

        Raises
        ------
        ParameterError
            If spectra are not complex, have other bins, or do not have the frames of this many samples.
        """
        frames = self.frames(samples)
        expected = f"a complex tensor (..., {self.bins}, {frames}) for {samples} samples"
        if not isinstance(spectra, Tensor):
            raise ParameterError("spectra", type(spectra).__name__, expected)
        if tuple(spectra.shape[-2:]) != (self.bins, frames) or not spectra.is_complex():
            shown = f"{str(spectra.dtype).removeprefix('torch.')} of shape {tuple(spectra.shape)}"
            raise ParameterError("spectra", shown, expected)
        flat = spectra.reshape(-1, *spectra.shape[-2:])
        reached = audio.window_tail(self.n_fft, self.hop, self.hop)
        last = (frames - 1) * self.hop
        fading = reached[: samples - last].min(initial=1.0) < audio.LEAST_WINDOW
        if fading:  # pad with an empty frame, and correct below for the window that it adds to the divisor
            flat = torch.nn.functional.pad(flat, (0, 1))
        window = torch.hann_window(self.n_fft, dtype=flat.real.dtype, device=flat.device)
        x = torch.istft(flat, self.n_fft, self.hop, window=window, length=samples)
        if fading:
            divided = reached + window.cpu().double()[self.n_fft // 2 - self.hop : self.n_fft // 2].square().numpy()
            gain = torch.as_tensor(divided / reached.clip(audio.LEAST_WINDOW))[: samples - last].to(x)
            x = torch.cat((x[..., :last], x[..., last:] * gain), -1)
        return x.reshape(*spectra.shape[:-2], samples)

    def analyse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log magnitudes log(1 + |STFT|) and phases, complex of length 1 (0 in empty bins), both (..., F, T)."""
        spectra = self.stft(x)
        magnitude = spectra.abs()
        return magnitude.log1p(), spectra / magnitude.clamp_min(1e-9)

    def invert(self, log_magnitude: Tensor, phase: Tensor, samples: int) -> Tensor:
        """Return the waveforms (..., samples) of log magnitudes and phases (..., F, T)."""
        _check_floats("log_magnitude", log_magnitude, "(..., F, T)", 2)
        if not isinstance(phase, Tensor) or not phase.is_complex() or phase.shape[-2:] != log_magnitude.shape[-2:]:
            shown = f"tensor of shape {tuple(phase.shape)}" if isinstance(phase, Tensor) else type(phase).__name__
            raise ParameterError(
                "phase", shown, f"a complex tensor (..., {', '.join(map(str, log_magnitude.shape[-2:]))})"
            )
        return self.istft(log_magnitude.expm1() * phase, samples)

    def masked(self, x: Tensor, mask: Tensor, *, domain: str = "log") -> Tensor:
        """Return waveforms (..., samples) under masks (..., F, T) in [0, 1], with the phase of the input.

        Parameters
        ----------
        x, mask : Tensor
            Waveforms and masks.
        domain : {"log", "linear"}
            Quantity that the mask multiplies: log(1 + |STFT|), as in the paper, or |STFT|, with which the sounds of
            masks that sum to 1 sum to x.

        Raises
        ------
        ParameterError
            If the domain is unknown, or the mask has another shape or values outside [0, 1].
        """
        choice("domain", domain, DOMAINS)
        _check_floats("x", x, "(..., samples)", 1)
        _check_floats("mask", mask, "(..., F, T)", 2)
        expected = (self.bins, self.frames(x.shape[-1]))
        if tuple(mask.shape[-2:]) != expected:
            raise ParameterError("mask.shape", tuple(mask.shape), f"(..., {expected[0]}, {expected[1]})")
        if not (mask.min() >= -1e-6 and mask.max() <= 1 + 1e-6):  # also true for NaN
            raise ParameterError("mask", f"{float(mask.min()):g} to {float(mask.max()):g}", "within 0 to 1")
        if domain == "linear":
            return self.istft(self.stft(x) * mask, x.shape[-1])
        log_magnitude, phase = self.analyse(x)
        return self.invert(log_magnitude * mask, phase, x.shape[-1])


def _check_floats(name: str, x: object, shape: str, axes: int) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < axes:
        is_tensor = isinstance(x, Tensor)
        shown = f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}" if is_tensor else type(x).__name__
        raise ParameterError(name, shown, f"a tensor of floats {shape}")


def normalised(x: Tensor) -> Tensor:
    """Return waveforms (..., samples) scaled to a peak of 1; silence is not changed.

    The code of arXiv 2202.11479 divides by the maximum without absolute value. A clip whose largest peak is negative is
    then too loud, and silence leads to a division by 0.
    """
    _check_floats("x", x, "(..., samples)", 1)
    if not x.numel():
        return x
    peak = x.abs().amax(-1, keepdim=True)
    return x / torch.where(peak > 0, peak, torch.ones_like(peak))
