"""Gradient-based explanations: gradients of a class's score with respect to a mask (:mod:`.masks` has the sources)."""

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
    """Gradient of the class's score with respect to a multiplicative mask, at a mask of 1.

    The gradient with respect to the mask is the gradient with respect to the spectrogram times the spectrogram, so it
    is 0 in empty bins. It takes one call of the classifier with its gradient.

    Parameters
    ----------
    classifier : Classifier
        The classifier.
    x : array_like (samples,)
        Waveform at the classifier's rate.
    index : int
        Number of the class to be explained.
    spectra : Spectra, optional
        Spectra of the mask; by default the paper's windows at the classifier's rate.
    seed, progress
        Not used; they are there because all methods have them.
    sign : {"positive", "absolute"}
        Whether only bins that raise the score count, or also those that lower it.
    quantile : float
        Quantile of the gradients that count; larger ones become 1. With 1 only few bins are visible.
    domain : {"log", "linear"}
        Quantity that the mask multiplies, log(1 + |STFT|) or |STFT|.

    Returns
    -------
    Tensor, float32 (F, T) in [0, 1]
        The mask.

    Raises
    ------
    ParameterError
        If ``x`` is not one clip, the class does not exist, the spectra have another rate, or the gradient is not
        finite.
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
    """SmoothGrad: the mean of gradients at masks of 1 plus Gaussian noise, clipped at 0.

    It takes ``samples`` calls of the classifier with their gradients. Other parameters and errors are those of
    :func:`saliency`.

    Parameters
    ----------
    seed : int
        Seed of the noise.
    samples : int
        Number of noisy masks.
    noise : float
        Standard deviation of the noise; the authors recommend 10 to 20 per cent of the range, which is 1 for a mask.
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
    """Integrated gradients from silence to the clip, as a mask.

    It takes ``steps`` calls of the classifier with their gradients. Other parameters and errors are those of
    :func:`saliency`.

    Parameters
    ----------
    steps : int
        Number of points on the path.
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
    """Integrated gradients from silence to the clip: the signed contribution of each bin to the class's score, (F, T).

    They sum to the score of the clip minus that of silence, up to the error of the numerical integration. Scores that
    depend on the logarithm of energy change steeply near silence. Therefore the points on the path are dense there: u^3
    for the midpoints u of equal steps.
    """
    whole("steps", steps, least=1)
    clip = Masked(classifier, x, index, spectra, domain)
    u = (torch.arange(steps) + 0.5) / steps
    scale, weight = u**3, 3 * u**2

    def along(rows: range) -> Tensor:
        return scale[list(rows), None, None] * torch.ones(clip.whole.shape)

    return clip.mean_gradient(along, steps, weight, progress=progress)


def _scale(sign: str, quantile: float) -> None:
    """Check the arguments of :func:`as_mask` before anything is computed."""
    choice("sign", sign, SIGNS)
    number("quantile", quantile, above=0, most=1)
