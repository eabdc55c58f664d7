"""One explained decision: which components speak for the class, how much, and what they sound like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import choice, number, numbers, whole
from ..core.errors import ParameterError
from .spectra import Spectra


def relevance(z: ArrayLike, weights: ArrayLike, *, preset: str = "default") -> np.ndarray:
    """How much each component adds to a class's score, as a share of the largest contribution, float64 (..., K).

    Parameters
    ----------
    z : array_like (..., K)
        Pooled activations.
    weights : array_like (..., K)
        Theta's row of the class.
    preset : {"default", "paper"}
        "default": z_k theta_k over max |z_l theta_l|, in [-1, 1]. "paper": over the plain maximum, as the code of arXiv
        2202.11479 does; where no contribution is positive that turns all signs around.

    Returns
    -------
    np.ndarray
        0 where all contributions are 0.
    """
    choice("preset", preset, ("default", "paper"))
    z, weights = numbers("z", z).astype(np.float64), numbers("weights", weights).astype(np.float64)
    if not z.ndim or not weights.ndim or z.shape[-1] != weights.shape[-1]:
        raise ParameterError("weights.shape", weights.shape, f"(..., K) as z, which is {z.shape}")
    try:
        parts = z * weights
    except ValueError:
        raise ParameterError("weights.shape", weights.shape, f"of a shape that goes with z, {z.shape}") from None
    largest = (np.abs(parts) if preset == "default" else parts).max(-1, keepdims=True)
    return np.divide(parts, largest, out=np.zeros_like(parts), where=largest != 0)


def component_mask(dictionary: Tensor, activations: Tensor, chosen: ArrayLike) -> Tensor:
    """Share of the chosen components in W H, (F, T); where W H is 0 all K have the same share.

    Parameters
    ----------
    dictionary : Tensor (F, K)
    activations : Tensor (K, T)
    chosen : array_like of int
        Components; none gives a mask of 0, all one of 1.
    """
    for name, value in (("dictionary", dictionary), ("activations", activations)):
        if not isinstance(value, Tensor) or value.ndim != 2 or not value.numel():
            raise ParameterError(name, tuple(getattr(value, "shape", ())), "a tensor (F, K), or (K, T) of activations")
    components = dictionary.shape[1]
    if len(activations) != components:
        raise ParameterError("activations.shape", tuple(activations.shape), f"({components}, T), as the dictionary")
    chosen = numbers("chosen", chosen, ndim=1, empty=True)
    if len(chosen) and (chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= components):
        raise ParameterError("chosen", chosen[:5].tolist(), f"components, 0 to {components - 1}")
    if len(np.unique(chosen)) != len(chosen):
        raise ParameterError("chosen", chosen[:5].tolist(), "different components")
    chosen = torch.as_tensor(chosen.astype(np.int64), device=activations.device)
    if len(chosen) == components:
        return torch.ones(dictionary.shape[0], activations.shape[1], device=activations.device)
    whole = dictionary @ activations
    part = dictionary[:, chosen] @ activations[chosen]
    return torch.where(whole > 0, part / whole.clamp_min(1e-30), len(chosen) / components).clamp(0, 1)


@dataclass(frozen=True, eq=False, repr=False)
class Interpretation:
    """Why a clip is of a class, in terms of a dictionary's components; made by :meth:`~.l2i.L2I.explain`."""

    classes: tuple[str, ...]
    """All C."""
    index: int
    """Which of them is explained."""
    waveform_in: Tensor
    """(samples,), what the classifier heard."""
    log_magnitude: Tensor
    """X = log(1 + |STFT|), (F, T)."""
    phase: Tensor
    """Complex (F, T)."""
    dictionary: Tensor
    """W (F, K)."""
    activations: Tensor
    """H (K, T)."""
    pooled: Tensor
    """z (K,)."""
    weights: Tensor
    """Theta's row of the class, (K,)."""
    logits: np.ndarray
    """The classifier's scores (C,)."""
    scores: np.ndarray
    """Theta's scores (C,); that of the class is the sum of z times weights."""
    spectra: Spectra

    def __repr__(self) -> str:
        best = ", ".join(f"{k}: {self.relevance[k]:+.2f}" for k in self.ranked[:3])
        return f"Interpretation({self.name}; most relevant components {best})"

    @property
    def name(self) -> str:
        """Name of the class that is explained."""
        return self.classes[self.index]

    @cached_property
    def relevance(self) -> np.ndarray:
        """Relevance of each component, float64 (K,) in [-1, 1]: see :func:`relevance`."""
        return relevance(self.pooled.numpy(), self.weights.numpy())

    @property
    def ranked(self) -> np.ndarray:
        """Components, the most relevant first."""
        return np.argsort(-self.relevance, kind="stable")

    def selected(self, tau: float) -> np.ndarray:
        """Components with a relevance above tau, the most relevant first; none where tau is 1 or more."""
        ranked = self.ranked
        number("tau", tau)
        return ranked[self.relevance[ranked] > tau]

    def mask(self, tau: float) -> Tensor:
        """Share of the selected components in W H, (F, T)."""
        return component_mask(self.dictionary, self.activations, self.selected(tau))

    def waveform(self, tau: float) -> np.ndarray:
        """What the selected components sound like, float32 (samples,): Algorithm 2 of the paper.

        All components above tau are kept; the paper's code plays the five most relevant at most. Nothing is made
        louder: in the log domain parts are always fainter than their share (:mod:`.spectra`).
        """
        return self._heard(self.mask(tau))

    def removed(self, tau: float) -> np.ndarray:
        """What is left of the clip without the selected components, float32 (samples,)."""
        return self._heard(1 - self.mask(tau))

    def component(self, k: int) -> np.ndarray:
        """What component k alone sounds like in this clip, float32 (samples,)."""
        if whole("k", k) not in range(len(self.weights)):
            raise ParameterError("k", k, f"from 0 to {len(self.weights) - 1}")
        return self._heard(component_mask(self.dictionary, self.activations, [k]))

    def _heard(self, mask: Tensor) -> np.ndarray:
        return self.spectra.invert(self.log_magnitude * mask, self.phase, len(self.waveform_in)).numpy()
