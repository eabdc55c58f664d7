"""The explanation of one decision by components of a dictionary: their relevance for the class, and their sound."""

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

#: Rules by which relevance becomes a mask: corrected ones, and those of the code of arXiv 2202.11479.
RULES = ("default", "paper")
#: What the authors add to W H where they divide by it, and the largest number of components that they play.
EPSILON, PLAYED = 1e-6, 5
#: What components get of bins in which none is active.
EMPTY = ("share", "zero")


def relevance(z: ArrayLike, weights: ArrayLike, *, preset: str = "default") -> np.ndarray:
    """Contribution of each component to a class's score, divided by the largest contribution, float64 (..., K).

    Parameters
    ----------
    z : array_like (..., K)
        Pooled activations.
    weights : array_like (..., K)
        Theta's weights for the class.
    preset : {"default", "paper"}
        "default" divides z_k theta_k by max |z_l theta_l|, so that relevance is in [-1, 1]. "paper" divides by the
        maximum without absolute value, as the code of arXiv 2202.11479 does; if no contribution is positive, this
        reverses all signs.

    Returns
    -------
    np.ndarray
        Relevance of each component; 0 if all contributions are 0.
    """
    choice("preset", preset, RULES)
    z, weights = numbers("z", z).astype(np.float64), numbers("weights", weights).astype(np.float64)
    if not z.ndim or not weights.ndim or z.shape[-1] != weights.shape[-1]:
        raise ParameterError("weights.shape", weights.shape, f"(..., K) as z, which is {z.shape}")
    try:
        parts = z * weights
    except ValueError:
        raise ParameterError("weights.shape", weights.shape, f"of a shape that goes with z, {z.shape}") from None
    largest = (np.abs(parts) if preset == "default" else parts).max(-1, keepdims=True)
    return np.divide(parts, largest, out=np.zeros_like(parts), where=largest != 0)


def component_mask(
    dictionary: Tensor, activations: Tensor, chosen: ArrayLike, *, empty: str = "share", epsilon: float = 0.0
) -> Tensor:
    """Share of the chosen components in W H, (F, T).

    Parameters
    ----------
    dictionary : Tensor (F, K)
        Spectra W of the components.
    activations : Tensor (K, T)
        Activations H of the components.
    chosen : array_like of int
        Numbers of the chosen components. No component gives a mask of 0, and all components, by default, a mask of 1.
    empty : {"share", "zero"}
        What components get of bins where W H is 0, such as those of frames that Psi takes for silent: 1 / K each, so
        that the masks of all components sum to 1 and nothing of the clip is lost, or 0, so that nothing is heard there
        for which no component speaks. The code of arXiv 2202.11479 gives 0.
    epsilon : float
        Number that is added to W H where the share is divided by it; 1e-6 in the code of arXiv 2202.11479.
    """
    choice("empty", empty, EMPTY)
    number("epsilon", epsilon, least=0)
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
    if len(chosen) == components and empty == "share" and not epsilon:
        return torch.ones(dictionary.shape[0], activations.shape[1], device=activations.device)
    whole = dictionary @ activations
    part = dictionary[:, chosen] @ activations[chosen]
    shared = len(chosen) / components if empty == "share" else 0.0
    return torch.where(whole > 0, part / (whole + epsilon).clamp_min(1e-30), shared).clamp(0, 1)


@dataclass(frozen=True, eq=False, repr=False)
class Interpretation:
    """Explanation of a clip's class by components of a dictionary; made by :meth:`~.l2i.L2I.explain`."""

    classes: tuple[str, ...]
    """Names of all C classes."""
    index: int
    """Number of the class that is explained."""
    waveform_in: Tensor
    """Input of the classifier, (samples,)."""
    log_magnitude: Tensor
    """Spectrogram X = log(1 + |STFT|) of the input, (F, T)."""
    phase: Tensor
    """Phase of the input, complex (F, T) of absolute value 1 (0 in empty bins)."""
    dictionary: Tensor
    """Spectra W of the components, (F, K)."""
    activations: Tensor
    """Activations H of the components over time, (K, T)."""
    pooled: Tensor
    """Activations z pooled over time, (K,)."""
    weights: Tensor
    """Theta's weights for the class, (K,)."""
    logits: np.ndarray
    """Scores of the classifier, (C,)."""
    scores: np.ndarray
    """Scores of Theta, (C,); that of the class is the sum of z times weights."""
    spectra: Spectra
    """Spectra by which masks are converted to sound."""
    rules: str = "default"
    """Rules of relevance, selection and masks. "paper" has those of the code of arXiv 2202.11479: relevance is divided
    by the maximum without absolute value, at most the five most relevant components are played, and shares have an
    epsilon of 1e-6 and are 0 where no component is active. By "default" relevance is divided by the largest absolute
    value, all components above tau are played, and they share what no component explains."""

    def __post_init__(self):
        choice("rules", self.rules, RULES)

    def __repr__(self) -> str:
        best = ", ".join(f"{k}: {self.relevance[k]:+.2f}" for k in self.ranked[:3])
        return f"Interpretation({self.name}; most relevant components {best})"

    @property
    def name(self) -> str:
        """Name of the class that is explained."""
        return self.classes[self.index]

    @cached_property
    def relevance(self) -> np.ndarray:
        """Relevance of each component by :func:`relevance`, float64 (K,); in [-1, 1] by the default rules."""
        return relevance(self.pooled.numpy(), self.weights.numpy(), preset=self.rules)

    @property
    def ranked(self) -> np.ndarray:
        """Numbers of all components, the most relevant first."""
        return np.argsort(-self.relevance, kind="stable")

    def selected(self, tau: float) -> np.ndarray:
        """Return the components with a relevance above tau, the most relevant first; by the paper's rules at most 5.

        By the default rules there is none if tau is 1 or more.
        """
        number("tau", tau)
        ranked = self.ranked if self.rules == "default" else self.ranked[:PLAYED]
        return ranked[self.relevance[ranked] > tau]

    def mask(self, tau: float) -> Tensor:
        """Return the share of the selected components in W H as a mask, (F, T)."""
        return self.share(self.selected(tau))

    def share(self, chosen: ArrayLike) -> Tensor:
        """Return the share of components, given by their numbers, in W H as a mask, (F, T)."""
        rule = {"empty": "zero", "epsilon": EPSILON} if self.rules == "paper" else {}
        return component_mask(self.dictionary, self.activations, chosen, **rule)

    def waveform(self, tau: float) -> np.ndarray:
        """Return the sound of the selected components, float32 (samples,), by Algorithm 2 of the paper.

        The level is not raised, although in the log domain parts are fainter than their share (:mod:`.spectra`).
        """
        return self._heard(self.mask(tau))

    def removed(self, tau: float) -> np.ndarray:
        """Return the sound of the clip without the selected components, float32 (samples,)."""
        return self._heard(1 - self.mask(tau))

    def component(self, k: int) -> np.ndarray:
        """Return the sound of component k alone in this clip, float32 (samples,)."""
        if whole("k", k) not in range(len(self.weights)):
            raise ParameterError("k", k, f"from 0 to {len(self.weights) - 1}")
        return self._heard(self.share([k]))

    def _heard(self, mask: Tensor) -> np.ndarray:
        return self.spectra.invert(self.log_magnitude * mask, self.phase, len(self.waveform_in)).numpy()
