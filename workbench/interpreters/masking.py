"""Masks on the spectrogram of one clip: convert masked spectrograms to sound and classify them.

All methods that explain by a mask (F, T) in [0, 1] use this module.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, choice, number, whole
from ..core.errors import ParameterError
from ..core.progress import progress_bar
from .classifiers import Classifier, real, spectra_for
from .spectra import DOMAINS, Spectra

SIGNS = ("positive", "absolute")


@checked
def masked_logits(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    masks: Tensor,
    *,
    spectra: Spectra | None = None,
    domain: str = "log",
) -> np.ndarray:
    """Return the classifier's scores for one clip under each of N masks, float32 (N, C).

    Parameters
    ----------
    classifier : Classifier
        The classifier.
    x : array_like (samples,)
        Waveform at the classifier's rate.
    masks : Tensor (N, F, T)
        Masks in [0, 1].
    spectra, domain
        Spectra, by default the paper's windows at the classifier's rate, and domain as in
        :meth:`~.spectra.Spectra.masked`.
    """
    clip = Masked(classifier, x, 0, spectra, domain)
    masks = real("masks", masks)
    if masks.ndim != 3 or not len(masks):
        raise ParameterError("masks.shape", tuple(masks.shape), "(N, F, T) with at least one mask")
    parts = masks.split(classifier.batch)
    heard = (clip.spectra.masked(clip.x, part.to(classifier.device), domain=domain) for part in parts)
    return np.concatenate([classifier.logits(part) for part in heard])


@checked
def as_mask(relevance: Tensor, *, sign: str = "positive", quantile: float = 0.99) -> Tensor:
    """Scale relevances (F, T) to a mask, float32 in [0, 1].

    Parameters
    ----------
    relevance : Tensor
        Relevance of each bin on any scale.
    sign : {"positive", "absolute"}
        Whether only positive relevances count, or the absolute values of all.
    quantile : float
        Quantile of the non-zero values that count; this value and larger ones become 1.
    """
    choice("sign", sign, SIGNS)
    number("quantile", quantile, above=0, most=1)
    relevance = real("relevance", relevance)
    if not relevance.isfinite().all():
        raise ParameterError("relevance", "nan or inf", "finite")
    values = relevance.abs() if sign == "absolute" else relevance.clamp_min(0)
    counting = values[values > 0]
    if not len(counting):
        return torch.zeros(values.shape)
    return (values / float(np.quantile(counting.numpy(), quantile))).clamp(0, 1).float()


@checked
def rectangles(bins: int, frames: int, *, bands: int, times: int) -> np.ndarray:
    """Divide a spectrogram into rectangles; return the number, 0 to bands * times - 1, of each bin's, int64 (F, T).

    Rectangles have floor(F / bands) bins by floor(T / times) frames; the last ones also contain the remainder.
    """
    for name, value in (("bins", bins), ("frames", frames)):
        whole(name, value, least=1)
    for name, value, most in (("bands", bands, bins), ("times", times, frames)):
        whole(name, value, least=1, most=most)
    row = np.minimum(np.arange(bins) // (bins // bands), bands - 1)
    column = np.minimum(np.arange(frames) // (frames // times), times - 1)
    return row[:, None] * times + column


class Masked:
    """One clip under masks, with the classifier's scores and gradients for one class."""

    def __init__(
        self,
        classifier: Classifier,
        x: ArrayLike | Tensor,
        index: int,
        spectra: Spectra | None,
        domain: str = "log",
    ):
        spectra = spectra_for(classifier, spectra)
        self.x = real("x", x).to(classifier.device)
        if self.x.ndim != 1:
            raise ParameterError("x.shape", tuple(self.x.shape), "(samples,), one clip")
        if whole("index", index) not in range(len(classifier.classes)):
            raise ParameterError("index", index, f"a class, 0 to {len(classifier.classes) - 1}")
        choice("domain", domain, DOMAINS)
        self.classifier, self.index, self.spectra, self.domain = classifier, index, spectra, domain
        self.log_magnitude, self.phase = spectra.analyse(self.x)

    @property
    def whole(self) -> Tensor:
        """A mask of ones, (F, T)."""
        return torch.ones(self.log_magnitude.shape)

    def heard(self, masks: Tensor) -> Tensor:
        """Return the sounds of the clip under masks (B, F, T), which need not be in [0, 1]; (B, samples)."""
        masks = masks.to(self.classifier.device)
        if self.domain == "log":
            return self.spectra.invert(self.log_magnitude * masks, self.phase, len(self.x))
        return self.spectra.istft(self.log_magnitude.expm1() * masks * self.phase, len(self.x))

    def gradients(self, masks: Tensor) -> Tensor:
        """Return the gradient of the class's score with respect to each of the masks, (B, F, T)."""
        with torch.enable_grad():
            masks = masks.to(self.classifier.device).requires_grad_()
            heard = self.heard(masks)
            try:
                score = self.classifier.module(heard)[:, self.index].sum()
                (gradient,) = torch.autograd.grad(score, masks)
            except RuntimeError as error:  # the clip is too short, or the module has no gradient
                raise self.classifier.unfit(heard, error) from error
        if not gradient.isfinite().all():
            raise ParameterError(f"gradient of {self.classifier.name}", "nan or inf", "finite")
        return gradient.cpu()

    def mean_gradient(
        self, masks: Callable[[range], Tensor], count: int, weight: Tensor | None = None, *, progress: bool
    ) -> Tensor:
        """Return the mean of :meth:`gradients` over ``count`` masks, each times a weight, (F, T)."""
        weight, total = torch.ones(count) if weight is None else weight, 0 * self.whole
        parts = _batches(count, self.classifier.batch)
        for rows in progress_bar(parts, disable=not progress, desc=self.classifier.name, leave=False):
            total += torch.einsum("b,bft->ft", weight[list(rows)], self.gradients(masks(rows)))
        return total / count

    @torch.no_grad()
    def scores(self, masks: Callable[[np.ndarray], Tensor], on: np.ndarray, progress: bool) -> np.ndarray:
        """Return the scores (N, C) for the masks that the function ``masks`` makes of the rows of ``on`` (N, D)."""
        parts = _batches(len(on), self.classifier.batch)
        shown = progress_bar(parts, disable=not progress, desc=self.classifier.name, leave=False)
        return np.concatenate([self.classifier.logits(self.heard(masks(on[list(rows)]))) for rows in shown])


def _batches(count: int, size: int) -> list[range]:
    return [range(at, min(at + size, count)) for at in range(0, count, size)]
