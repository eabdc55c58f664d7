"""Methods that explain a single decision by a mask, without training, and control masks to compare them with.

Every function takes ``(classifier, x (samples,), index, *, spectra, seed, ...)`` and returns a mask, float32 (F, T) in
[0, 1], of the bins of the clip's spectrogram that are evidence for class ``index``. All take ``seed``, so that a loop
over :data:`MASKS` can call all in the same way; methods without random draws ignore it. Masked spectrograms are
converted to sound with the phase of the input before they are classified (:func:`~.masking.masked_logits`), so the
classifier gets what a person would hear.

If there is no evidence for the class, as in a silent clip, the mask is 0 everywhere.

Methods
-------
* :mod:`.gradients`: saliency [1]_, SmoothGrad [2]_ and integrated gradients [3]_, from gradients of the class's score
  with respect to a mask on log(1 + |STFT|).
* :func:`occlusion` [4]_: the drop of the score when a rectangle of the spectrogram is silenced.
* :func:`slime` [5]_: a linear surrogate model of the classifier on rectangles that are on or off.
* :func:`lime_components` [6]_: the same on components of a non-negative factorisation.
* Controls (:data:`CONTROLS`): :func:`ones`, :func:`zeros` and :func:`energy`, and, for a given mask, :func:`shuffled`
  and :func:`shifted`, which keep its mean.

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

#: Weights of the surrogate model up to this size may be rounding errors of single-precision scores.
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
    """Drop of the class's score when each rectangle of the spectrogram is silenced, as a share of the largest drop.

    The classifier is called on ``times * bands + 1`` sounds. Other parameters and errors are those of
    :func:`~.gradients.saliency`.

    Parameters
    ----------
    times, bands : int
        Number of rectangles along time and frequency; see :func:`~.masking.rectangles`.
    progress : bool
        Whether to show a progress bar.
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
    """SLIME: the rectangles with the largest positive weights in a linear surrogate model of the classifier.

    Rectangles are switched off (silenced) at random, and a weighted ridge regression is fitted to the probability of
    the class. By default there are ten segments in time, of which three are kept, as in the reference. Its authors
    need up to 70,000 samples for weights that do not depend on the random draw.

    The classifier is called on ``samples`` sounds. Other parameters and errors are those of :func:`occlusion`.

    Parameters
    ----------
    seed : int
        Seed of the rectangles that are on.
    samples : int
        Number of versions of the clip, including the unchanged one.
    kept : int
        Largest number of rectangles; the mask is 1 there and 0 elsewhere.
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
    """LIME on the components of a factorisation: the share in W H of those with the largest positive weights.

    It is audioLIME with components instead of separated sources. With the dictionary and activations of Listen to
    Interpret, both methods differ only in the selection of components.

    The classifier is called on ``samples`` sounds. Other parameters and errors are those of :func:`slime`.

    Parameters
    ----------
    dictionary : array_like (F, K)
        Components W of log(1 + |STFT|).
    activations : array_like (K, T)
        Activations H of this clip.
    kept : int
        Largest number of components.
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
    """Fit LIME's linear surrogate model, a weighted ridge regression, and return its weights (D,).

    A sample has the weight sqrt(exp(-d^2 / width^2)), where d is the cosine distance between its units that are on and
    all units (1 if none is on). The intercept is not penalised.

    Parameters
    ----------
    on : array_like of bool (N, D)
        Which of D units are on in each sample.
    outputs : array_like (N,)
        Output of the classifier for each sample.
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
    """Switch units on and off at random, with all on in the first sample, and return their LIME weights (D,)."""
    whole("samples", samples, least=2)
    on = np.random.default_rng(seed).random((samples, units)) < 0.5
    on[0] = True
    chances = clip.classifier.probabilities(clip.scores(masks, on, progress))
    return _surrogate(on, chances[:, clip.index])


def _largest(weights: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of at most ``count`` largest weights above rounding errors, the largest first."""
    order = np.argsort(-weights, kind="stable")[:count]
    return order[weights[order] > ROUNDING]


@checked
def ones(classifier, x, index, *, spectra: Spectra | None = None, seed: int = 0) -> Tensor:
    """Control: a mask of ones, which keeps everything."""
    return Masked(classifier, x, index, spectra).whole


@checked
def zeros(classifier, x, index, *, spectra: Spectra | None = None, seed: int = 0) -> Tensor:
    """Control: a mask of zeros, which keeps nothing."""
    return 0 * ones(classifier, x, index, spectra=spectra)


@checked
def energy(classifier, x, index, *, spectra: Spectra | None = None, seed: int = 0, quantile: float = 0.9) -> Tensor:
    """Control: a mask of the loudest bins, those at or above a quantile of log(1 + |STFT|), without empty bins."""
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
    """Control: the mask ``like`` (F, T) shifted cyclically by random numbers of bins and frames."""
    like = _a_mask(like)
    rng = np.random.default_rng(seed)
    return like.roll(tuple(int(rng.integers(1, max(2, size))) for size in like.shape), (0, 1))


def _a_mask(like: ArrayLike | Tensor) -> Tensor:
    like = real("like", like)
    if like.ndim != 2 or not like.numel() or not like.isfinite().all():
        raise ParameterError("like.shape", tuple(like.shape), "a mask (F, T), finite")
    return like


#: Methods that explain, by name. ``lime_components`` needs a ``dictionary`` and a clip's ``activations``.
MASKS: dict[str, Callable[..., Tensor]] = {
    "saliency": saliency,
    "smooth_gradient": smooth_gradient,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
    "slime": slime,
    "slime_grid": partial(slime, times=5, bands=8, kept=6),
    "lime_components": lime_components,
}
#: Controls, which explain nothing, by name. ``shuffled`` and ``shifted`` need a mask as ``like``.
CONTROLS: dict[str, Callable[..., Tensor]] = {
    "ones": ones,
    "zeros": zeros,
    "energy": energy,
    "shuffled": shuffled,
    "shifted": shifted,
}
