"""Rival explanations of one decision under one driver, and the trivial ones beside which they must be read.

Every function takes ``(classifier, x (samples,), index, *, spectra, seed, ...)`` and gives a mask, float32 (F, T) in
[0, 1], on the spectrogram of the clip: what speaks for class ``index``. All take ``seed``, so that a loop over
:data:`MASKS` needs no cases; what draws nothing ignores it. What a mask keeps, or leaves, is made sound again with the
phase of the input before the classifier hears it (:func:`~.masking.masked_logits`): it judges what a person would hear.

Where nothing speaks for the class, as in a silent clip, a mask is 0 throughout.

Methods
-------
* :mod:`.gradients`: saliency [1]_, SmoothGrad [2]_, integrated gradients [3]_: gradients of the class's score
  by a mask that multiplies log(1 + |STFT|).
* :func:`occlusion` [4]_: the fall of the score when one rectangle is silenced.
* :func:`slime` [5]_: a linear surrogate of the classifier over rectangles that are on or off.
* :func:`lime_components` [6]_: the same over components of a non-negative factorisation.
* Controls (:data:`CONTROLS`): :func:`ones`, :func:`zeros`, :func:`energy`, and of a given mask :func:`shuffled` and
  :func:`shifted`, of the same mean.

References
----------
.. [1] Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks. ICLR workshop 2014, arXiv 1312.6034.
.. [2] Smilkov et al.: SmoothGrad: removing noise by adding noise. arXiv 1706.03825.
.. [3] Sundararajan, Taly, Yan: Axiomatic attribution for deep networks. ICML 2017, arXiv 1703.01365.
.. [4] Zeiler, Fergus: Visualizing and understanding convolutional networks. ECCV 2014, arXiv 1311.2901.
.. [5] Mishra, Sturm, Dixon: Local interpretable model-agnostic explanations for music content analysis. ISMIR 2017.
.. [6] Haunschmid, Manilow, Widmer: audioLIME: listenable explanations using source separation. arXiv 2008.00582.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, number, numbers, whole
from ..core.errors import ParameterError
from .classifiers import Classifier, real
from .gradients import integrated_gradients, saliency, smooth_gradient
from .interpretation import component_mask
from .masking import Masked, as_mask, rectangles
from .spectra import Spectra

#: Weights on a probability below which single-precision scores say nothing.
ROUNDING = 1e-6


@checked
def occlusion(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    index: int,
    *,
    spectra: Spectra | None = None,
    seed: int = 0,
    times: int = 10,
    bands: int = 10,
    progress: bool = True,
) -> Tensor:
    """The fall of the class's score when one rectangle of the spectrogram is silenced, as a share of the largest fall.

    Calls: ``times * bands + 1``. Parameters and errors as in :func:`~.gradients.saliency`, and:

    Parameters
    ----------
    times, bands : int
        Rectangles along time and frequency: see :func:`~.masking.rectangles`.
    progress : bool
    """
    clip = Masked(classifier, x, index, spectra)
    cells = rectangles(*clip.whole.shape, bands=bands, times=times)
    count = bands * times
    silenced = np.concatenate([np.ones((1, count), bool), ~np.eye(count, dtype=bool)])  # row 0 silences nothing
    scores = clip.scores(lambda rows: torch.from_numpy(rows[:, cells]).float(), silenced, progress)[:, index]
    return as_mask(torch.from_numpy(scores[0] - scores[1:])[cells], quantile=1.0)


@checked
def slime(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    index: int,
    *,
    spectra: Spectra | None = None,
    seed: int = 0,
    times: int = 10,
    bands: int = 1,
    samples: int = 500,
    kept: int = 3,
    progress: bool = True,
) -> Tensor:
    """SLIME: the rectangles with the largest positive weights in a linear surrogate of the classifier.

    Rectangles are on or off (silenced) at random; the surrogate, a weighted ridge regression, is fitted to the
    probability of the class. The defaults are the reference's ten segments in time, of which three are kept; its
    authors take up to 70,000 samples for weights that no longer depend on the draw.

    Calls: ``samples``. Parameters and errors as in :func:`occlusion`, and:

    Parameters
    ----------
    seed : int
        It draws which are on.
    samples : int
        Versions of the clip, the first of them whole.
    kept : int
        Rectangles at most; the mask is 1 there and 0 elsewhere.
    """
    whole("kept", kept, least=1)
    clip = Masked(classifier, x, index, spectra)
    cells = rectangles(*clip.whole.shape, bands=bands, times=times)

    def masks(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows[:, cells]).float()

    weights = _weights(clip, masks, bands * times, samples=samples, seed=seed, progress=progress)
    return torch.from_numpy(np.isin(cells, _largest(weights, kept))).float()


@checked
def lime_components(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    index: int,
    *,
    dictionary: ArrayLike | Tensor,
    activations: ArrayLike | Tensor,
    spectra: Spectra | None = None,
    seed: int = 0,
    samples: int = 1000,
    kept: int = 5,
    progress: bool = True,
) -> Tensor:
    """LIME over the components of a factorisation: those with the largest positive weights, as their share in W H.

    This is what audioLIME does over separated sources. The components are what Listen to Interpret chooses from too,
    so that the two differ in the choice alone.

    Calls: ``samples``. Parameters and errors as in :func:`slime`, and:

    Parameters
    ----------
    dictionary : array_like (F, K)
        W, of log(1 + |STFT|).
    activations : array_like (K, T)
        H of this clip.
    kept : int
        Components at most.
    """
    clip = Masked(classifier, x, index, spectra)
    whole("kept", kept, least=1)
    w, h = real("dictionary", dictionary).to(classifier.device), real("activations", activations).to(classifier.device)
    if w.ndim != 2 or h.ndim != 2 or (w.shape[0], h.shape[1]) != clip.whole.shape or w.shape[1] != h.shape[0]:
        bins, frames = clip.whole.shape
        got = tuple(w.shape), tuple(h.shape)
        raise ParameterError("dictionary, activations", got, f"of shapes ({bins}, K) and (K, {frames})")
    for name, values in (("dictionary", w), ("activations", h)):
        if not (values.isfinite().all() and (values >= 0).all()):
            raise ParameterError(name, "negative or not finite", "0 or more")

    def masks(rows: np.ndarray) -> Tensor:
        return torch.stack([component_mask(w, h, np.flatnonzero(row)) for row in rows])

    weights = _weights(clip, masks, w.shape[1], samples=samples, seed=seed, progress=progress)
    return component_mask(w, h, _largest(weights, kept)).cpu()


@checked
def _surrogate(on: ArrayLike, outputs: ArrayLike, *, width: float = 0.25, alpha: float = 1.0) -> np.ndarray:
    """Weights (D,) of a linear model of outputs by what is on, near "all on": LIME's weighted ridge regression.

    A sample counts sqrt(exp(-d^2 / width^2)), where d is the cosine distance of what is on from all on, 1 where nothing
    is. The intercept is not penalised.

    Parameters
    ----------
    on : array_like of bool (N, D)
    outputs : array_like (N,)
    width : float
        Width of the kernel.
    alpha : float
        Weight of the penalty alpha sum w^2.
    """
    on, outputs = numbers("on", on, ndim=2).astype(np.float64), numbers("outputs", outputs, ndim=1).astype(np.float64)
    if len(on) != len(outputs):
        raise ParameterError("outputs.shape", outputs.shape, f"({len(on)},), an output a row of on")
    if not ((on == 0) | (on == 1)).all():
        raise ParameterError("on", "values other than 0 and 1", "on or off")
    number("width", width, above=0)
    number("alpha", alpha, above=0)
    distance = 1 - np.sqrt(on.mean(1))
    count = np.sqrt(np.exp(-(distance**2) / width**2))
    centred, target = on - np.average(on, 0, count), outputs - np.average(outputs, 0, count)
    gram = (centred.T * count) @ centred + alpha * np.eye(on.shape[1])
    return np.linalg.solve(gram, (centred.T * count) @ target)


def _weights(clip: Masked, masks: Callable, units: int, *, samples: int, seed: int, progress: bool) -> np.ndarray:
    """Weights (D,) of units that were on or off at random, the first time all on: LIME."""
    whole("samples", samples, least=2)
    on = np.random.default_rng(seed).random((samples, units)) < 0.5
    on[0] = True
    chances = clip.classifier.probabilities(clip.scores(masks, on, progress))
    return _surrogate(on, chances[:, clip.index])


def _largest(weights: np.ndarray, count: int) -> np.ndarray:
    """Positions of the largest positive weights, the largest first, at most ``count``; none of rounding errors."""
    order = np.argsort(-weights, kind="stable")[:count]
    return order[weights[order] > ROUNDING]


@checked
def ones(classifier, x, index, *, spectra: Spectra | None = None, seed: int = 0) -> Tensor:
    """Control: everything is kept."""
    return Masked(classifier, x, index, spectra).whole


@checked
def zeros(classifier, x, index, *, spectra: Spectra | None = None, seed: int = 0) -> Tensor:
    """Control: nothing is kept."""
    return 0 * ones(classifier, x, index, spectra=spectra)


@checked
def energy(classifier, x, index, *, spectra: Spectra | None = None, seed: int = 0, quantile: float = 0.9) -> Tensor:
    """Control: the loudest bins are kept, those at or above a quantile of log(1 + |STFT|); empty bins never are."""
    number("quantile", quantile, least=0, most=1)
    level = Masked(classifier, x, index, spectra).log_magnitude.cpu()
    threshold = np.quantile(level.numpy(), quantile)
    return ((level >= threshold) & (level > 0)).float()


@checked
def shuffled(classifier, x, index, *, like: Tensor, spectra: Spectra | None = None, seed: int = 0) -> Tensor:
    """Control: the values of the mask ``like`` (F, T) in random order."""
    like = _a_mask(like)
    flat = like.flatten()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(flat)))
    return flat[order].reshape(like.shape)


@checked
def shifted(classifier, x, index, *, like: Tensor, spectra: Spectra | None = None, seed: int = 0) -> Tensor:
    """Control: the mask ``like`` (F, T) moved round by random numbers of bins and frames, its shapes intact."""
    like = _a_mask(like)
    rng = np.random.default_rng(seed)
    return like.roll(tuple(int(rng.integers(1, max(2, size))) for size in like.shape), (0, 1))


def _a_mask(like: ArrayLike | Tensor) -> Tensor:
    like = real("like", like)
    if like.ndim != 2 or not like.numel() or not like.isfinite().all():
        raise ParameterError("like.shape", tuple(like.shape), "a mask (F, T), finite")
    return like


#: What explains. ``lime_components`` needs a ``dictionary`` and a clip's ``activations``.
MASKS: dict[str, Callable[..., Tensor]] = {
    "saliency": saliency,
    "smooth_gradient": smooth_gradient,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
    "slime": slime,
    "slime_grid": partial(slime, times=5, bands=8, kept=6),
    "lime_components": lime_components,
}
#: What explains nothing. ``shuffled`` and ``shifted`` need the mask they are ``like``.
CONTROLS: dict[str, Callable[..., Tensor]] = {
    "ones": ones,
    "zeros": zeros,
    "energy": energy,
    "shuffled": shuffled,
    "shifted": shifted,
}
