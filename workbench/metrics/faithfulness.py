"""Is what an interpretation shows what the model used? Take it away, or leave it alone, and ask the model again.

Conventions
-----------
Outputs of the model, a row a clip and a column a class: ``whole`` (N, C) of the input, ``kept`` (N, C) of the
interpretation alone, ``rest`` (N, C) of the input without it. The class followed is the model's own, the largest of
``whole`` (of equal ones the first). With several labels a clip, give a row for each pair of clip and class, and
``classes`` (N,). p, o and q are the outputs of whole, kept and rest for that class. All but :func:`removal_drop` need
probabilities, in [0, 1]; the sum of a row is free, as with several labels.

An empty interpretation leaves ``rest`` equal to ``whole``: its drop is 0. A mask of ones has AI = AD = AG = 0 and
Fid-In = 1 and explains nothing: read no number here without such controls beside it.

Metrics
-------
* :func:`removal_drop`: median of p - q in logits or in probability, FF of [1]_, against as many components drawn from
  those that were not chosen, :func:`random_components`.
* :func:`average_increase` (AI), :func:`average_drop` (AD) [2]_, :func:`average_gain` (AG) [3]_: o against p, per cent.
* :func:`average_drop_double_softmax`: AD of probabilities that went through a softmax again, as in the programs behind
  published tables on audio [4]_: at most 100 (1 - 1/e) = 63.2. Not comparable with AD.
* :func:`mean_removal_drop`: mean of p - q (FF of [4]_); :func:`fidelity_in`: is the class of kept that of whole? [4]_
* :func:`sparseness` [5]_, :func:`complexity` [6]_, :func:`mask_mean`: of the mask alone, the model plays no part.
* :func:`deletion_insertion`: the model's output while the most important goes, or comes, bit by bit [7]_.

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
.. [6] Bhatt, Weller, Moura: Evaluating and aggregating feature-based model explanations. IJCAI 2020; the same.
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
from ..core.checks import whole as at_least  # here "whole" is the input that nothing was taken from
from ..core.errors import ParameterError
from .disentanglement import Score
from .fidelity import outputs
from .intervals import median_interval
from .lasso import LARGEST


class Drop(NamedTuple):
    """How far the model's output for its class falls when the interpretation is taken away."""

    median: float
    """Over clips; of several draws, the mean of their medians. ``low`` and ``high`` are its interval's bounds."""
    low: float
    high: float
    each: np.ndarray
    """float64 (N,) or (draws, N), signed: below 0 where the output rose."""
    output: str
    """"logits" or "probabilities"."""


class RandomComponents(NamedTuple):
    """Selections as large as those given, of other components."""

    selected: np.ndarray
    """bool (draws, N, K)."""
    short: np.ndarray
    """bool (N,): more than half was chosen, so all that remains was taken and the selection is smaller."""


@dataclass(frozen=True)
class Curves:
    """Output for the class followed while units go and come, over N clips; made by :func:`deletion_insertion`."""

    share: np.ndarray
    """Shares of the units that are gone, or there; float64 (points,) from 0 to 1."""
    deletion: np.ndarray
    """float64 (N, points): with that share gone, the most important first."""
    insertion: np.ndarray
    """float64 (N, points): with that share there, the most important first."""
    random: np.ndarray
    """float64 (N, points): with that share gone in random order, mean over orders; insertion's is its reverse."""

    def area(self, curve: str) -> Score:
        """Area under "deletion", "insertion" or "random" (trapezoids); ``each`` (N,), one a clip.

        A faithful order has a smaller deletion area than random orders have, and a larger insertion area.
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
    """Outputs as float64 (N, C), and the class followed int64 (N,); ``name`` is that of ``other`` for messages.

    Raises
    ------
    ParameterError
        Shapes that differ, no clip, NaN or infinite, probabilities outside [0, 1], classes that are no columns.
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
    """Median over clips of p - q, what the model loses without the interpretation (Parekh et al. 2022).

    Parameters
    ----------
    whole : array_like (N, C)
        Outputs for the input.
    rest : array_like (N, C) or (draws of a selection, N, C)
        Outputs for the input without the interpretation. Draws of a random baseline are not averaged clip by clip,
        which would hide its spread: each has its median, and those are averaged.
    classes : array_like of int (N,), optional
        Class followed; default: the model's.
    output : {"logits", "probabilities"}
        What the outputs are: drops in one are not comparable with drops in the other.
    groups : array_like (N,), optional
        What must not leak, such as sources; default: every clip by itself.
    level : float
        Of the interval (:func:`workbench.metrics.intervals.median_interval`).

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
    """Draw as many components as were selected from those that were not (Parekh et al. 2022).

    Parameters
    ----------
    selected : array_like of bool (N, K)
        Components of each interpretation. Where none is, none is drawn; where more than half are, all others are: a
        smaller selection, told in ``short``.
    draws : int
        Selections a clip.
    seed : int
        Of the draws.

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
    keys[:, selected] = 2  # last in line
    place = keys.argsort(-1).argsort(-1)
    count = selected.sum(1, keepdims=True)
    return RandomComponents((place < count) & ~selected, (2 * count > selected.shape[1])[:, 0])


@checked
def average_increase(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """AI: per cent of clips whose interpretation alone has o > p; ``each`` (N,) is 0 or 100.

    The least rounding counts: where the interpretation went through an inversion, ``whole`` must have gone through it
    too, or a mask of ones has an AI of anything between 0 and 100.
    """
    p, o = _followed(whole, kept, classes)
    return _mean(100.0 * (o > p))


@checked
def average_drop(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """AD: 100 max(0, p - o) / p, mean over clips; ``each`` (N,). Where p is 0 nothing can drop: 0."""
    p, o = _followed(whole, kept, classes)
    return _mean(100 * np.divide(np.maximum(0, p - o), p, out=np.zeros_like(p), where=p > 0))


@checked
def average_drop_double_softmax(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """:func:`average_drop` of softmax(whole) and softmax(kept), although both are probabilities already.

    Near 100 (1 - exp(o - p)) with many classes, never above 63.2. For reading published tables alone.
    """
    whole, kept, classes = validate(whole, kept, classes)
    twice = [np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (whole, kept)]
    return average_drop(*twice, classes)


@checked
def average_gain(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """AG: 100 max(0, o - p) / (1 - p), mean over clips; ``each`` (N,). Where p is 1 nothing can be gained: 0."""
    p, o = _followed(whole, kept, classes)
    return _mean(100 * np.divide(np.maximum(0, o - p), 1 - p, out=np.zeros_like(p), where=p < 1))


@checked
def mean_removal_drop(whole: ArrayLike, rest: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """FF of the L-MAC paper: mean over clips of p - q, in probability; ``each`` (N,) in [-1, 1]."""
    p, q = _followed(whole, rest, classes, name="rest")
    return _mean(p - q)


@checked
def fidelity_in(whole: ArrayLike, kept: ArrayLike, classes: ArrayLike | None = None) -> Score:
    """Fid-In: share of clips whose interpretation alone has the same class as the whole; ``each`` (N,) is 0 or 1.

    Of equal outputs the first is the class, on both sides: a model that is undecided about silence answers class 0.
    """
    whole, kept, classes = validate(whole, kept, classes)
    return _mean((kept.argmax(1) == classes).astype(np.float64))


@checked
def sparseness(masks: ArrayLike) -> Score:
    """Gini index of |mask| + 1e-7 over its bins: 0 when all are equal, near 1 when few have all; ``each`` (N,).

    With the n values m ascending, sum_i (2 i - n - 1) m_i / (n sum m). An empty mask is flat: 0.

    Parameters
    ----------
    masks : array_like (N, ...)
        A mask a clip, of any shape, such as (N, F, T).
    """
    flat = np.sort(_masks(masks), axis=1) + 1e-7
    n = flat.shape[1]
    return _mean(flat @ (2 * np.arange(1, n + 1) - n - 1) / (n * flat.sum(1)))


@checked
def complexity(masks: ArrayLike) -> Score:
    """Entropy of |mask| / sum |mask| over its n bins, nats: from 0, one bin has all, to ln n; ``each`` (N,).

    -sum_i p_i ln(p_i + 1e-12). NaN, and left out of the mean, for an empty mask. Masks of another size have another
    maximum: compare at equal n. Masks as in :func:`sparseness`.
    """
    flat = _masks(masks)
    total = flat.sum(1, keepdims=True)
    p = np.divide(flat, total, out=np.full_like(flat, np.nan), where=total > 0)
    return _mean(-(p * np.log(p + 1e-12)).sum(1))


@checked
def mask_mean(masks: ArrayLike) -> Score:
    """Mean of |mask| over its bins: how much of the input is kept; masks (N, ...), ``each`` (N,)."""
    return _mean(_masks(masks).mean(1))


@checked
def deletion_insertion(
    score: Callable[[np.ndarray], ArrayLike], importance: ArrayLike, *, steps: int = 20, orders: int = 5, seed: int = 0
) -> Curves:
    """Does the output fall when the most important goes first, and rise when it comes first? (Petsiuk et al. 2018)

    Parameters
    ----------
    score : callable
        Units that are there, bool like ``importance`` -> output for the class followed, (N,). Asked 2 + orders times a
        point.
    importance : array_like (N, ...)
        Of the units of each clip: components (N, K), bins (N, F, T). Of equal ones the first comes first.
    steps : int
        Steps from none to all; no more than there are units.
    orders : int
        Random orders a clip to compare with.
    seed : int
        Of those.

    Examples
    --------
    >>> weight = np.array([[4, 3, 2, 1]])
    >>> curves = deletion_insertion(lambda there: (there * weight / 10).sum(1), weight)
    >>> round(curves.area("deletion").overall, 6), round(curves.area("insertion").overall, 6)
    (0.375, 0.625)
    """
    flat, shape = _masks(importance, "importance", signed=True), np.shape(importance)
    for name, value in (("steps", steps), ("orders", orders)):
        at_least(name, value, least=1)
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
    rng, random = np.random.default_rng(seed), np.zeros_like(deletion)
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
    """Means over clips of all metrics of probabilities and masks.

    Parameters
    ----------
    whole, kept, rest : array_like (N, C)
        Probabilities of the input, of the interpretation alone and of the input without it.
    classes : array_like of int (N,), optional
        Class followed; default: the model's.
    masks : array_like (N, ...), optional
        Adds sparseness, complexity and mask_mean.
    """
    drops = (average_increase, average_drop, average_drop_double_softmax, average_gain)
    scores = {metric.__name__: metric(whole, kept, classes).overall for metric in drops}
    scores["mean_removal_drop"] = mean_removal_drop(whole, rest, classes).overall
    scores["fidelity_in"] = fidelity_in(whole, kept, classes).overall
    if masks is not None:
        scores |= {metric.__name__: metric(masks).overall for metric in (sparseness, complexity, mask_mean)}
    return scores


def _followed(whole: ArrayLike, other: ArrayLike, classes: ArrayLike | None, **options: str) -> tuple[np.ndarray, ...]:
    """Both outputs for the class followed, (N,) each."""
    whole, other, classes = validate(whole, other, classes, **options)
    rows = np.arange(len(whole))
    return whole[rows, classes], other[rows, classes]


def _mean(each: np.ndarray) -> Score:
    kept = each[~np.isnan(each)]
    return Score(float(kept.mean()) if len(kept) else float("nan"), each)


def _masks(masks: ArrayLike, name: str = "masks", *, signed: bool = False) -> np.ndarray:
    """A row a clip, float64 (N, n), without signs."""
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
