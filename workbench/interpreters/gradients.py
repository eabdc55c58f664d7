"""Which bins move a class's score: gradients by a mask that multiplies the spectrogram (:mod:`.masks` has sources)."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, choice, number, whole
from .classifiers import Classifier
from .masking import SIGNS, Masked, as_mask
from .spectra import Spectra


@checked
def saliency(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    index: int,
    *,
    spectra: Spectra | None = None,
    seed: int = 0,
    sign: str = "positive",
    quantile: float = 0.99,
    domain: str = "log",
    progress: bool = True,
) -> Tensor:
    """Gradient of the class's score by a multiplicative mask, at a mask of 1.

    By a mask, not by the spectrogram: that is gradient times input, which does not point at empty bins.

    Calls: 1, with its gradient.

    Parameters
    ----------
    classifier : Classifier
    x : array_like (samples,)
        Waveform at the classifier's rate.
    index : int
        Class to be explained.
    spectra : Spectra, optional
        Default: the paper's windows at the classifier's rate.
    seed, progress
        Ignored: nothing is drawn, and nothing takes long.
    sign : {"positive", "absolute"}
        What counts: what raises the score, or whatever moves it.
    quantile : float
        What is above this quantile of the gradients that count becomes 1; 1 leaves few bins visible.
    domain : {"log", "linear"}
        What the mask multiplies, log(1 + |STFT|) or |STFT|.

    Returns
    -------
    Tensor, float32 (F, T) in [0, 1]

    Raises
    ------
    ParameterError
        Not one clip, no such class, spectra at another rate, a gradient that is not finite.
    """
    _scale(sign, quantile)
    clip = Masked(classifier, x, index, spectra, domain)
    return as_mask(clip.gradients(clip.whole[None])[0], sign=sign, quantile=quantile)


@checked
def smooth_gradient(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    index: int,
    *,
    spectra: Spectra | None = None,
    seed: int = 0,
    samples: int = 25,
    noise: float = 0.15,
    sign: str = "positive",
    quantile: float = 0.99,
    domain: str = "log",
    progress: bool = True,
) -> Tensor:
    """Mean of :func:`saliency` at masks of 1 with Gaussian noise, which reach no lower than 0.

    Calls: ``samples``, with their gradients. Parameters and errors as in :func:`saliency`, and:

    Parameters
    ----------
    seed : int
        It draws the noise.
    samples : int
    noise : float
        Standard deviation; a mask's range is 1, and the authors advise 10 to 20 per cent of the range.
    """
    whole("samples", samples, least=1)
    number("noise", noise, least=0)
    _scale(sign, quantile)
    clip, generator = Masked(classifier, x, index, spectra, domain), torch.Generator().manual_seed(int(seed))

    def noisy(rows: range) -> Tensor:
        return (1 + noise * torch.randn(len(rows), *clip.whole.shape, generator=generator)).clamp_min(0)

    return as_mask(clip.mean_gradient(noisy, samples, progress=progress), sign=sign, quantile=quantile)


@checked
def integrated_gradients(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    index: int,
    *,
    spectra: Spectra | None = None,
    seed: int = 0,
    steps: int = 32,
    sign: str = "positive",
    quantile: float = 0.99,
    domain: str = "log",
    progress: bool = True,
) -> Tensor:
    """:func:`_path_integral` as a mask.

    Calls: ``steps``, with their gradients. Parameters and errors as in :func:`saliency`, and ``steps``.
    """
    _scale(sign, quantile)
    relevance = _path_integral(classifier, x, index, spectra=spectra, steps=steps, domain=domain, progress=progress)
    return as_mask(relevance, sign=sign, quantile=quantile)


@checked
def _path_integral(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    index: int,
    *,
    spectra: Spectra | None = None,
    steps: int = 32,
    domain: str = "log",
    progress: bool = True,
) -> Tensor:
    """Integrated gradients from silence to the clip: what each bin adds to the class's score, (F, T), with its sign.

    Their sum is the score of the clip less the score of silence, but for the error of the sum over steps. Scores that
    come from the logarithm of an energy rise steeply near silence, so that the points along the path, u^3 at the
    middles u of equal steps, are dense there.
    """
    whole("steps", steps, least=1)
    clip = Masked(classifier, x, index, spectra, domain)
    u = (torch.arange(steps) + 0.5) / steps
    scale, weight = u**3, 3 * u**2

    def along(rows: range) -> Tensor:
        return scale[list(rows), None, None] * torch.ones(clip.whole.shape)

    return clip.mean_gradient(along, steps, weight, progress=progress)


def _scale(sign: str, quantile: float) -> None:
    """Refuse, before anything is computed, what :func:`as_mask` would refuse after it."""
    choice("sign", sign, SIGNS)
    number("quantile", quantile, above=0, most=1)
