"""Does an interpreter decide as the model it interprets?

Conventions
-----------
``model`` (N, C) holds the outputs of the model that is explained, ``interpreter`` (N, C) those of its interpreter, a
row a clip and a column a class. Fidelity asks for the model's decisions, right or wrong: true labels play no part.

With one label a clip, the model's class is its largest output, of equal ones the first. Classes that the interpreter
holds for equal share the places they take: a constant interpreter scores k / C, whatever the order of the classes.

With several labels a clip, the model's decisions are ``positives`` (N, C), see :func:`decisions`, and the interpreter's
are ``scores`` (N, C) in [0, 1]. A class without positives has no recall: it is skipped, and named in the result.

Metrics
-------
* :func:`top_k_fidelity`: share of clips whose class is among the interpreter's k largest [1]_.
* :func:`fidelity_interval`: the same with its interval, for other groups where there are any.
* :func:`auprc`: area under precision against recall on the thresholds of :data:`GRID`, as published [1]_.
* :func:`average_precision`: scikit-learn's form over all thresholds, a step function; the two are not comparable.
* :func:`max_f1`: largest micro F1 on the same thresholds [1]_.

References
----------
.. [1] Parekh, Parekh, Mozharovskyi, d'Alché-Buc, Richard: Listen to interpret: post-hoc interpretability for audio
   networks with NMF. NeurIPS 2022, arXiv 2202.11479.

Examples
--------
>>> import numpy as np
>>> from workbench.metrics import fidelity
>>> model, undecided = np.eye(4), np.full((4, 4), 0.5)  # four clips, each of its own class
>>> fidelity.top_k_fidelity(model, model).overall, fidelity.top_k_fidelity(model, undecided).overall
(1.0, 0.25)
>>> fidelity.auprc(model, model).macro, fidelity.average_precision(model, undecided).macro
(1.0, 0.25)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers, several, whole
from ..core.errors import ParameterError
from .disentanglement import Score
from .intervals import group_interval, jackknife_interval, members
from .lasso import LARGEST

GRID = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
"""Thresholds of the paper; what lies strictly above one is positive."""


class Area(NamedTuple):
    """Area under precision against recall, in [0, 1]."""

    macro: float
    """Mean over the classes with positives."""
    micro: float
    """The area over all pairs of clip and class together."""
    each: np.ndarray
    """float64 (C,), one a class; NaN where skipped."""
    skipped: tuple
    """Names (or columns) of the classes without positives."""


@checked
def outputs(name: str, values: ArrayLike, *, probabilities: bool = False) -> np.ndarray:
    """Outputs of a classifier as float64 (N, C), or an error that says what is wrong with them.

    Parameters
    ----------
    name : str
        The argument, for the message.
    values : array_like (N, C)
    probabilities : bool
        They must lie in [0, 1]; what rounding (1e-6) left outside is put inside.

    Raises
    ------
    ParameterError
        Not two-dimensional, empty, NaN or infinite (the first row is named), not in [0, 1].
    """
    values = numbers(name, values, finite=False, empty=True).astype(np.float64)
    if values.ndim != 2 or not values.size:
        raise ParameterError(f"{name}.shape", values.shape, "(N, C) with at least one clip and class")
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        raise ParameterError(f"{name}[{bad[0]}]", "nan or inf", f"finite; {len(bad)} of {len(values)} rows are not")
    if not probabilities:
        if np.abs(values).max() > LARGEST:
            raise ParameterError(name, f"values up to {np.abs(values).max():.1e}", f"{LARGEST:.0e} at most")
        return values
    bad = np.argwhere((values < -1e-6) | (values > 1 + 1e-6))
    if len(bad):
        row, column = map(int, bad[0])
        value = float(values[row, column])
        raise ParameterError(f"{name}[{row}, {column}]", value, "a probability, in [0, 1]; logits are none")
    return values.clip(0, 1)


@checked
def validate(model: ArrayLike, interpreter: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of model and interpreter, logits or probabilities, as float64 (N, C); errors as :func:`outputs`."""
    model, interpreter = outputs("model", model), outputs("interpreter", interpreter)
    _same_shape("interpreter", interpreter, "model", model)
    return model, interpreter


@checked
def top_k_fidelity(model: ArrayLike, interpreter: ArrayLike, *, k: int = 1) -> Score:
    """Share of clips whose class, by the model, is among the k largest outputs of the interpreter.

    Parameters
    ----------
    model, interpreter : array_like (N, C)
        Logits or probabilities.
    k : int
        In [1, C].

    Returns
    -------
    Score
        ``each`` (N,) is 1 or 0; between them where classes are equal to the interpreter: the chance that the model's is
        drawn into the places left.

    Examples
    --------
    >>> model, interpreter = [[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]], [[3, 1, 2], [3, 1, 2]]
    >>> [top_k_fidelity(model, interpreter, k=k).overall for k in (1, 2, 3)]
    [0.5, 1.0, 1.0]
    """
    model, interpreter = validate(model, interpreter)
    if not 1 <= whole("k", k) <= model.shape[1]:
        raise ParameterError("k", k, f"in [1, {model.shape[1]}], the number of classes")
    own = np.take_along_axis(interpreter, model.argmax(1)[:, None], axis=1)
    above, equal = (interpreter > own).sum(1), (interpreter == own).sum(1)
    each = np.clip((k - above) / equal, 0, 1)
    return Score(float(each.mean()), each)


@checked
def fidelity_interval(
    model: ArrayLike,
    interpreter: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    k: int = 1,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """:func:`top_k_fidelity` and its interval (:func:`workbench.metrics.intervals.group_interval`).

    Parameters
    ----------
    model, interpreter, k
        As in :func:`top_k_fidelity`.
    groups : array_like (N,), optional
        What must not leak, such as sources; default: every clip by itself.
    level : float
        Of the interval.

    Returns
    -------
    fidelity, low, high : float in [0, 1]
        Bounds are NaN with one group.
    """
    fidelity, each = top_k_fidelity(model, interpreter, k=k)
    low, high = group_interval(each, groups, limits=(0, 1), level=level)
    return fidelity, float(low), float(high)


@checked
def decisions(probabilities: ArrayLike, thresholds: float | ArrayLike = 0.5) -> np.ndarray:
    """Labels that a model gives: probabilities (N, C) strictly above ``thresholds``, one or (C,); bool (N, C)."""
    probabilities = outputs("probabilities", probabilities, probabilities=True)
    thresholds = numbers("thresholds", thresholds)
    if thresholds.shape not in ((), (probabilities.shape[1],)):
        raise ParameterError("thresholds", thresholds.tolist(), f"one number, or {probabilities.shape[1]}")
    return probabilities > thresholds


@checked
def best_thresholds(labels: ArrayLike, probabilities: ArrayLike) -> np.ndarray:
    """Threshold of :data:`GRID` with the largest F1 for each class, of equal ones the highest; float64 (C,).

    From true labels, bool (N, C), and probabilities of the training part. A class without positives is an error: it
    tells nothing about its threshold.
    """
    tp, fp, positives = (each.sum(0) for each in _counts(labels, probabilities))
    if not positives.all():
        raise ParameterError("labels", f"no positive in column {int(positives.argmin())}", "at least one a class")
    return np.array(GRID)[_f1(tp, fp, positives[:, None]).argmax(1)]


@checked
def auprc(positives: ArrayLike, scores: ArrayLike, *, names: Sequence[str] | None = None) -> Area:
    """Area under precision against recall on the thresholds of the paper.

    With P = (TP + 1e-9) / (TP + FP + 1e-9) and R = TP / (TP + FN) at each threshold of :data:`GRID`, (R, P) = (0, 1)
    before them and (1, 0) after; trapezoids between.

    Parameters
    ----------
    positives : array_like of bool (N, C)
        The model's decisions.
    scores : array_like (N, C)
        The interpreter's, in [0, 1].
    names : sequence of str, optional
        Of the classes.

    Returns
    -------
    Area

    Raises
    ------
    ParameterError
        Shapes that differ, scores outside [0, 1] or NaN, entries of ``positives`` beside 0 and 1, no positive at all.

    Notes
    -----
    The first trapezoid begins at (0, 1), so scores that are all the same number above 0.05 are worth (1 + share) / 2
    with ``share`` of the clips positive, and those below 1/2, far more than random scores (little above ``share``).
    Read it beside the area of constant scores, which :func:`evaluate_multilabel` gives.

    Examples
    --------
    >>> [round(auprc([[1], [0]], [[a], [b]]).macro, 6) for a, b in ((0.97, 0.02), (0.5, 0.5))]
    [1.0, 0.75]
    """
    counts = [each.sum(0) for each in _counts(positives, scores)]
    return Area(*_areas(*counts), _area(*counts), _names(names, counts[2]))


@checked
def auprc_interval(
    positives: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Intervals of :func:`auprc` for other groups, {"macro": (low, high), "micro": (low, high)}.

    Parameters as there and in :func:`fidelity_interval`; by :func:`workbench.metrics.intervals.jackknife_interval`. A
    class that is without positives when a group is left out is skipped there, as is a group without which none has any.
    """
    counts = _counts(positives, scores)
    member = members(groups, len(counts[0]))
    total = [each.sum(0) for each in counts]
    own = [np.zeros((member.max() + 1, *each.shape[1:]), each.dtype) for each in counts]
    for sums, each in zip(own, counts, strict=True):
        np.add.at(sums, member, each)
    rests = [[part - sums[group] for part, sums in zip(total, own, strict=True)] for group in range(len(own[0]))]
    without = {group: _areas(*rest) for group, rest in enumerate(rests) if rest[2].any()}
    sizes, areas = np.bincount(member)[list(without)], _areas(*total)
    return {
        name: jackknife_interval(areas[k], [left[k] for left in without.values()], sizes, limits=(0, 1), level=level)
        for k, name in enumerate(("macro", "micro"))
    }


@checked
def average_precision(positives: ArrayLike, scores: ArrayLike, *, names: Sequence[str] | None = None) -> Area:
    """scikit-learn's average precision: sum over all thresholds of precision times the step of recall.

    Parameters, result and errors as in :func:`auprc`; constant scores are worth the share of positives.
    """
    from sklearn.metrics import average_precision_score

    positives, scores = _multilabel(positives, scores)
    total = positives.sum(0)
    each = np.full(len(total), np.nan)
    for column in np.flatnonzero(total):
        each[column] = average_precision_score(positives[:, column], scores[:, column])
    micro = average_precision_score(positives.ravel(), scores.ravel())
    return Area(float(np.nanmean(each)), float(micro), each, _names(names, total))


@checked
def max_f1(positives: ArrayLike, scores: ArrayLike) -> float:
    """Largest F1 of all pairs of clip and class together (micro) on the thresholds of :data:`GRID`.

    Parameters and errors as in :func:`auprc`.
    """
    tp, fp, total = (each.sum((0, 1)) for each in _counts(positives, scores))
    return float(_f1(tp, fp, total).max())


@checked
def evaluate(
    model: ArrayLike,
    interpreter: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    ks: Sequence[int] = (1, 3, 5),
    level: float = 0.95,
) -> dict[str, float]:
    """Fidelity of an interpreter of a model that gives one label a clip.

    Parameters
    ----------
    model, interpreter, groups
        As in :func:`fidelity_interval`.
    ks : sequence of int
        Numbers of classes the model's may be among.
    level : float
        Of the intervals.

    Returns
    -------
    dict of str to float
        For each k top_k, top_k_low, top_k_high; then chance, 1 / C, and majority, what an interpreter gets at k = 1
        that always says the model's commonest class.
    """
    scores = {}
    for k in several("ks", ks, whole):
        interval = fidelity_interval(model, interpreter, groups, k=k, level=level)
        scores |= dict(zip((f"top_{k}", f"top_{k}_low", f"top_{k}_high"), interval, strict=True))
    model = outputs("model", model)
    commonest = np.bincount(model.argmax(1)).max() / len(model)
    return scores | {"chance": 1 / model.shape[1], "majority": float(commonest)}


@checked
def evaluate_multilabel(
    positives: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95
) -> dict[str, float]:
    """Fidelity of an interpreter of a model that gives several labels a clip.

    Parameters
    ----------
    positives, scores, groups, level
        As in :func:`auprc_interval`.

    Returns
    -------
    dict of str to float
        For macro and micro: auprc with _low and _high, constant_auprc, what scores of 0.5 throughout would get, and
        average_precision; then max_f1, the share of positives (average precision, micro, of constant scores), and the
        number of classes skipped.
    """
    grid, steps = auprc(positives, scores), average_precision(positives, scores)
    constant = auprc(positives, np.full(np.shape(scores), 0.5))
    intervals = auprc_interval(positives, scores, groups, level=level)
    metrics = {}
    for name in ("macro", "micro"):
        low, high = intervals[name]
        metrics |= {f"{name}_auprc": getattr(grid, name), f"{name}_auprc_low": low, f"{name}_auprc_high": high}
        metrics |= {f"{name}_constant_auprc": getattr(constant, name)}
        metrics |= {f"{name}_average_precision": getattr(steps, name)}
    share = float(np.asarray(positives, dtype=bool).mean())
    return metrics | {"max_f1": max_f1(positives, scores), "positives": share, "skipped": float(len(grid.skipped))}


def _same_shape(name: str, values: np.ndarray, other: str, like: np.ndarray) -> None:
    if values.shape != like.shape:
        raise ParameterError(f"{name}.shape", values.shape, f"that of {other}, {like.shape}")


def _multilabel(positives: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    positives, scores = numbers("positives", positives, empty=True), outputs("scores", scores, probabilities=True)
    _same_shape("positives", positives, "scores", scores)
    if not np.isin(positives, (0, 1)).all():
        raise ParameterError("positives", np.unique(positives).tolist()[:5], "made of 0 and 1; see decisions()")
    if not positives.any():
        raise ParameterError("positives", "0 in every class", "1 somewhere: there is no recall without a positive")
    return positives.astype(bool), scores


def _counts(positives: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and false positives at each threshold (N, C, thresholds) and positives (N, C), float64; sums are counts."""
    positives, scores = _multilabel(positives, scores)
    above = scores[..., None] > np.array(GRID)
    true = positives[..., None]
    return (above & true).astype(np.float64), (above & ~true).astype(np.float64), positives.astype(np.float64)


def _area(tp: np.ndarray, fp: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Area on the paper's grid of counts (..., thresholds) and positives (...); NaN without positives."""
    total = np.asarray(total)[..., None]
    precision = (tp + 1e-9) / (tp + fp + 1e-9)
    recall = np.divide(tp, total, out=np.full(tp.shape, np.nan), where=total > 0)
    ends = [(0, 0)] * (tp.ndim - 1) + [(1, 1)]
    return np.trapezoid(np.pad(precision, ends, constant_values=(1, 0)), np.pad(recall, ends, constant_values=(0, 1)))


def _areas(tp: np.ndarray, fp: np.ndarray, total: np.ndarray) -> tuple[float, float]:
    """Macro and micro area of counts (C, thresholds) and positives (C,)."""
    return float(np.nanmean(_area(tp, fp, total))), float(_area(tp.sum(0), fp.sum(0), total.sum()))


def _f1(tp: np.ndarray, fp: np.ndarray, total: np.ndarray) -> np.ndarray:
    return 2 * tp / (tp + fp + total)  # TP + FN = total, at least 1


def _names(names: Sequence[str] | None, total: np.ndarray) -> tuple:
    names = None if names is None else list(names)
    if names is not None and len(names) != len(total):
        raise ParameterError("len(names)", len(names), f"the number of classes, {len(total)}")
    return tuple(int(c) if names is None else names[c] for c in np.flatnonzero(total == 0))
