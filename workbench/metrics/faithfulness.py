"""Faithfulness metrics: did the model use what an interpretation shows? They compare its outputs with and without it.

Conventions
-----------
The metrics take outputs of the model, with one row per clip and one column per class: ``whole`` (N, C) for the input,
``kept`` (N, C) for the interpretation alone, and ``rest`` (N, C) for the input without the interpretation. The class
followed is the one with the largest output in ``whole`` (in a tie, the first). If a clip can have several labels, give
one row for each pair of clip and class, and the class of each row as ``classes`` (N,). p, o and q are the outputs of
whole, kept and rest for that class. All metrics except :func:`removal_drop` need probabilities in [0, 1]; rows need
not sum to 1, as with several labels.

An empty interpretation leaves ``rest`` equal to ``whole``, so its drop is 0. A mask of ones explains nothing but has
AI = AD = AG = 0 and Fid-In = 1. Report such controls beside every number of this module.

Metrics
-------
* :func:`removal_drop`: median of p - q in logits or in probability, FF of [1]_; its baseline removes as many components
  drawn from those that were not selected, :func:`random_components`.
* :func:`average_increase` (AI), :func:`average_drop` (AD) [2]_, :func:`average_gain` (AG) [3]_: o compared with p, per
  cent.
* :func:`average_drop_double_softmax`: AD of probabilities to which softmax was applied again, as in the programs behind
  published tables on audio [4]_; at most 100 (1 - 1/e) = 63.2, and not comparable with AD.
* :func:`mean_removal_drop`: mean of p - q, FF of [4]_.
* :func:`fidelity_in`: share of clips for which kept has the same class as whole [4]_.
* :func:`sparseness` [5]_, :func:`complexity` [6]_, :func:`mask_mean`: properties of the mask, independent of the model.
* :func:`deletion_insertion`: the model's output as units are removed, or added, in order of their importance [7]_.

References
----------
.. [1] Parekh, Parekh, Mozharovskyi, d'Alché-Buc, Richard: Listen to interpret: post-hoc interpretability for audio
   networks with NMF. NeurIPS 2022, arXiv 2202.11479.
.. [2] Chattopadhay, Sarkar, Howlader, Balasubramanian: Grad-CAM++: generalized gradient-based visual explanations for
   deep convolutional networks. WACV 2018.
.. [3] Zhang, Torres, Sicre, Avrithis, Ayache: Opti-CAM. arXiv 2301.07002.
.. [4] Paissan, Ravanelli, Subakan: Listenable maps for audio classifiers. ICML 2024, arXiv 2403.13086.
.. [5] Chalasani et al.: Concise explanations of neural networks using adversarial training. ICML 2020; the form of
   Quantus (Hedström et al., JMLR 2023).
.. [6] Bhatt, Weller, Moura: Evaluating and aggregating feature-based model explanations. IJCAI 2020; also in the form
   of Quantus.
.. [7] Petsiuk, Das, Saenko: RISE: randomized input sampling for explanation of black-box models. BMVC 2018.

Examples
--------
>>> from workbench.metrics import faithfulness
>>> whole, rest = [[0.9, 0.1], [0.2, 0.8]], [[0.4, 0.6], [0.7, 0.3]]  # without it, both decisions fall by 0.5
>>> round(faithfulness.removal_drop(whole, rest, output="probabilities").median, 6)
0.5
>>> faithfulness.removal_drop(whole, whole, output="probabilities").median  # nothing was taken away
0.0
>>> faithfulness.fidelity_in(whole, whole).overall, faithfulness.fidelity_in(whole, rest).overall
(1.0, 0.0)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, numbers
from ..core.checks import whole as at_least  # in this module "whole" is the complete input
from ..core.errors import ParameterError
from .disentanglement import Score
from .fidelity import outputs
from .intervals import median_interval
from .lasso import LARGEST


class Drop(NamedTuple):
    """How far the model's output for its class falls when the interpretation is removed from the input."""

    median: float
    """Median drop over clips; with several draws, the mean of the draws' medians."""
    low: float
    """Lower bound of the interval of ``median``."""
    high: float
    """Upper bound of the interval of ``median``."""
    each: np.ndarray
    """Drop of each clip, float64 (N,) or (draws, N); below 0 where the output rose."""
    output: str
    """Unit of the drops: "logits" or "probabilities"."""


class RandomComponents(NamedTuple):
    """Random selections of components that were not selected, as a baseline; made by :func:`random_components`."""

    selected: np.ndarray
    """Components drawn for each clip, bool (draws, N, K)."""
    short: np.ndarray
    """True where more than half of the components had been selected, so fewer were left to draw; bool (N,)."""


@dataclass(frozen=True)
class Curves:
    """Output for the class followed as units are removed or added, N clips; made by :func:`deletion_insertion`."""

    share: np.ndarray
    """Share of the units that are removed, or added, at each point; float64 (points,) from 0 to 1."""
    deletion: np.ndarray
    """Output with that share removed, the most important units first; float64 (N, points)."""
    insertion: np.ndarray
    """Output with only that share present, the most important units first; float64 (N, points)."""
    random: np.ndarray
    """Output with that share removed in random order, mean over orders; float64 (N, points).

    Read from its end, it is the curve of insertion in random order."""

    def area(self, curve: str) -> Score:
        """Area under "deletion", "insertion" or "random" by the trapezoid rule; ``each`` (N,), one per clip.

        A faithful order has a smaller deletion area and a larger insertion area than random orders.
        """
        choice("curve", curve, ("deletion", "insertion", "random"))
        return _mean(np.trapezoid(getattr(self, curve), self.share, axis=1))


@checked
def validate(
    whole: ArrayLike,
    other: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    output: str = "probabilities",
    name: str = "kept",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both outputs as float64 (N, C), and the class followed as int64 (N,).

    ``name`` is the name of ``other`` in error messages.

    Raises
    ------
    ParameterError
        If shapes differ, there is no clip, values are not finite, probabilities lie outside [0, 1], or classes are not
        column numbers.
    """
    choice("output", output, ("logits", "probabilities"))
    chances = output == "probabilities"
    whole, other = outputs("whole", whole, probabilities=chances), outputs(name, other, probabilities=chances)
    if other.shape != whole.shape:
        raise ParameterError(f"{name}.shape", other.shape, f"that of whole, {whole.shape}")
    if classes is None:
        return whole, other, whole.argmax(1)
    classes, (count, columns) = numbers("classes", classes), whole.shape
    if classes.shape != (count,) or classes.dtype.kind not in "iu" or classes.min() < 0 or classes.max() >= columns:
        raise ParameterError("classes", f"{classes.dtype} {classes.shape}", f"({count},) integers in [0, {columns})")
    return whole, other, classes.astype(np.int64)


@checked
def removal_drop(
    whole: ArrayLike,
    rest: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    output: str,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Drop:
    """Median over clips of p - q, the drop in output when the interpretation is removed (Parekh et al. 2022).

    Parameters
    ----------
    whole : array_like (N, C)
        Outputs for the input.
    rest : array_like (N, C) or (draws, N, C)
        Outputs for the input without the interpretation, or without each draw of a random baseline. Averaging the
        draws of each clip would hide their spread, so the median is taken for each draw and the medians are averaged.
    classes : array_like of int (N,), optional
        Class followed for each clip; by default the one with the largest output in ``whole``.
    output : {"logits", "probabilities"}
        What the outputs are. Drops in logits are not comparable with drops in probabilities.
    groups : array_like (N,), optional
        Group of each clip, such as its source; by default every clip is its own group.
    level : float
        Confidence level of the interval (:func:`workbench.metrics.intervals.median_interval`).

    Examples
    --------
    >>> whole, rest = [[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]], [[1.5, 0.0], [0.0, 1.0], [1.0, 0.0]]
    >>> removal_drop(whole, rest, output="logits").median
    0.5
    """
    rest = numbers("rest", rest, finite=False, empty=True)
    if not rest.size:
        raise ParameterError("rest.shape", rest.shape, "at least one draw of at least one clip")
    selections = rest if rest.ndim == 3 else [rest]
    pairs = [_followed(whole, selection, classes, output=output, name="rest") for selection in selections]
    each = np.array([p - q for p, q in pairs])
    low, high = median_interval(each, groups, level=level)
    return Drop(float(np.median(each, axis=1).mean()), low, high, each if rest.ndim == 3 else each[0], output)


@checked
def random_components(selected: ArrayLike, *, draws: int = 5, seed: int = 0) -> RandomComponents:
    """For each clip, draw as many components as were selected from those that were not (Parekh et al. 2022).

    Parameters
    ----------
    selected : array_like of bool (N, K)
        Components selected for each interpretation. If none is selected, none is drawn. If more than half are
        selected, all others are drawn; this smaller selection is marked in ``short``.
    draws : int
        Number of random selections per clip.
    seed : int
        Seed of the draws.

    Examples
    --------
    >>> random_components([[True, True, False, False]], draws=1).selected.tolist()
    [[[False, False, True, True]]]
    """
    selected = numbers("selected", selected, empty=True)
    if selected.ndim != 2 or not selected.size or not np.isin(selected, (0, 1)).all():
        raise ParameterError("selected", f"{selected.dtype} {selected.shape}", "booleans (N, K), not empty")
    at_least("draws", draws, least=1)
    selected = selected.astype(bool)
    keys = np.random.default_rng(seed).random((draws, *selected.shape))
    keys[:, selected] = 2  # larger than all others, so that selected components are ranked last
    place = keys.argsort(-1).argsort(-1)
    count = selected.sum(1, keepdims=True)
    return RandomComponents((place < count) & ~selected, (2 * count > selected.shape[1])[:, 0])


@checked
def average_increase(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """AI: percentage of clips with o > p; ``each`` (N,) is 0 or 100.

    Any rounding difference counts. If the interpretation was converted to sound by an inversion, ``whole`` must be
    computed from the input after the same inversion; otherwise a mask of ones may have any AI between 0 and 100.
    """
    p, o = _followed(whole, kept, classes)
    return _mean(100.0 * (o > p))


@checked
def average_drop(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """AD: mean over clips of 100 max(0, p - o) / p, which is 0 where p is 0; ``each`` (N,)."""
    p, o = _followed(whole, kept, classes)
    return _mean(100 * np.divide(np.maximum(0, p - o), p, out=np.zeros_like(p), where=p > 0))


@checked
def average_drop_double_softmax(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """:func:`average_drop` of softmax(whole) and softmax(kept), although both are probabilities already.

    Its values are near 100 (1 - exp(o - p)) with many classes and never above 63.2. Use it only for comparison with
    published tables.
    """
    whole, kept, classes = validate(whole, kept, classes)
    twice = [np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (whole, kept)]
    return average_drop(*twice, classes)


@checked
def average_gain(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """AG: mean over clips of 100 max(0, o - p) / (1 - p), which is 0 where p is 1; ``each`` (N,)."""
    p, o = _followed(whole, kept, classes)
    return _mean(100 * np.divide(np.maximum(0, o - p), 1 - p, out=np.zeros_like(p), where=p < 1))


@checked
def mean_removal_drop(whole: ArrayLike, rest: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """FF of the L-MAC paper: mean over clips of p - q, in probabilities; ``each`` (N,) in [-1, 1]."""
    p, q = _followed(whole, rest, classes, name="rest")
    return _mean(p - q)


@checked
def fidelity_in(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """Fid-In: share of clips whose interpretation alone has the same class as the input; ``each`` (N,) is 0 or 1.

    If outputs are equal, the first is the class, for both: a model with equal outputs for silence has class 0 there.
    """
    whole, kept, classes = validate(whole, kept, classes)
    return _mean((kept.argmax(1) == classes).astype(np.float64))


@checked
def sparseness(masks: ArrayLike) -> Score:
    """Gini index of |mask| + 1e-7: 0 when all bins are equal, near 1 when few bins hold the sum; ``each`` (N,).

    With the n values m in ascending order it is sum_i (2 i - n - 1) m_i / (n sum m). An empty mask scores 0.

    Parameters
    ----------
    masks : array_like (N, ...)
        One mask per clip, of any shape, such as (N, F, T).
    """
    flat = np.sort(_masks(masks), axis=1) + 1e-7
    n = flat.shape[1]
    return _mean(flat @ (2 * np.arange(1, n + 1) - n - 1) / (n * flat.sum(1)))


@checked
def complexity(masks: ArrayLike) -> Score:
    """Entropy of |mask| / sum |mask| over its n bins, nats: 0 for a single bin, ln n for a flat mask; ``each`` (N,).

    With p the normalised mask it is -sum_i p_i ln(p_i + 1e-12). An empty mask is NaN and is left out of the mean.
    Compare only masks with the same n. ``masks`` is as in :func:`sparseness`.
    """
    flat = _masks(masks)
    total = flat.sum(1, keepdims=True)
    p = np.divide(flat, total, out=np.full_like(flat, np.nan), where=total > 0)
    return _mean(-(p * np.log(p + 1e-12)).sum(1))


@checked
def mask_mean(masks: ArrayLike) -> Score:
    """Mean of |mask| over its bins, the share of the input that is kept; masks (N, ...), ``each`` (N,)."""
    return _mean(_masks(masks).mean(1))


@checked
def deletion_insertion(
    score: Callable[[np.ndarray], ArrayLike], importance: ArrayLike, *, steps: int = 20, orders: int = 5, seed: int = 0
) -> Curves:
    """Deletion and insertion curves: the output as units are removed, or added, by importance (Petsiuk et al. 2018).

    Parameters
    ----------
    score : callable
        Function of the units that are present, bool of the shape of ``importance``, that returns the output for the
        class followed, (N,). It is called 2 + orders times for each point.
    importance : array_like (N, ...)
        Importance of the units of each clip, such as components (N, K) or bins (N, F, T). Equally important units are
        taken in their order.
    steps : int
        Number of steps from no unit to all units; at most the number of units.
    orders : int
        Number of random orders per clip to compare with; 0: the curve of random orders is NaN.
    seed : int
        Seed of the random orders.

    Examples
    --------
    >>> weight = np.array([[4, 3, 2, 1]])
    >>> curves = deletion_insertion(lambda there: (there * weight / 10).sum(1), weight)
    >>> round(curves.area("deletion").overall, 6), round(curves.area("insertion").overall, 6)
    (0.375, 0.625)
    """
    flat, shape = _masks(importance, "importance", signed=True), np.shape(importance)
    for name, value, least in (("steps", steps, 1), ("orders", orders, 0)):
        at_least(name, value, least=least)
    if not callable(score):
        raise ParameterError("score", type(score).__name__, "a function of the units that are there")

    def ask(there: np.ndarray) -> np.ndarray:
        values = numbers("score(there)", score(there.reshape(shape))).astype(np.float64)
        if values.shape != (len(flat),):
            raise ParameterError("score(there).shape", values.shape, f"({len(flat)},), a number a clip")
        return values

    n = flat.shape[1]
    counts = np.unique(np.linspace(0, n, min(steps, n) + 1).round().astype(int))
    place = np.argsort(np.argsort(-flat, axis=1, kind="stable"), axis=1)
    deletion = np.stack([ask(place >= count) for count in counts], axis=1)
    insertion = np.stack([ask(place < count) for count in counts], axis=1)
    rng, random = np.random.default_rng(seed), np.full_like(deletion, 0.0 if orders else np.nan)
    for _ in range(orders):
        place = rng.permuted(place, axis=1)
        random += np.stack([ask(place >= count) for count in counts], axis=1) / orders
    return Curves(counts / n, deletion, insertion, random)


@checked
def evaluate(
    whole: ArrayLike,
    kept: ArrayLike,
    rest: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    masks: ArrayLike | None = None,
) -> dict[str, float]:
    """Mean over clips of every metric of this module that takes probabilities or masks, by name.

    Parameters
    ----------
    whole, kept, rest : array_like (N, C)
        Probabilities for the input, for the interpretation alone and for the input without the interpretation.
    classes : array_like of int (N,), optional
        Class followed for each clip; by default the one with the largest output in ``whole``.
    masks : array_like (N, ...), optional
        One mask per clip; adds sparseness, complexity and mask_mean.
    """
    drops = (average_increase, average_drop, average_drop_double_softmax, average_gain)
    scores = {metric.__name__: metric(whole, kept, classes).overall for metric in drops}
    scores["mean_removal_drop"] = mean_removal_drop(whole, rest, classes).overall
    scores["fidelity_in"] = fidelity_in(whole, kept, classes).overall
    if masks is not None:
        scores |= {metric.__name__: metric(masks).overall for metric in (sparseness, complexity, mask_mean)}
    return scores


def _followed(whole: ArrayLike, other: ArrayLike, classes: ArrayLike | None, **options: str) -> tuple[np.ndarray, ...]:
    """Return both outputs for the class followed, (N,) each."""
    whole, other, classes = validate(whole, other, classes, **options)
    rows = np.arange(len(whole))
    return whole[rows, classes], other[rows, classes]


def _mean(each: np.ndarray) -> Score:
    kept = each[~np.isnan(each)]
    return Score(float(kept.mean()) if len(kept) else float("nan"), each)


def _masks(masks: ArrayLike, name: str = "masks", *, signed: bool = False) -> np.ndarray:
    """Return masks flattened to one row per clip, float64 (N, n); absolute values unless ``signed``."""
    masks = numbers(name, masks, finite=False, empty=True).astype(np.float64)
    if masks.ndim < 2 or not masks.size:
        raise ParameterError(f"{name}.shape", masks.shape, "(N, ...), a clip first, not empty")
    flat = masks.reshape(len(masks), -1)
    bad = np.flatnonzero(~np.isfinite(flat).all(1))
    if len(bad):
        raise ParameterError(f"{name}[{bad[0]}]", "nan or inf", "finite")
    if np.abs(flat).max() > LARGEST:
        raise ParameterError(name, f"values up to {np.abs(flat).max():.1e}", f"{LARGEST:.0e} at most")
    return flat if signed else np.abs(flat)
