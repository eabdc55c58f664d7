"""Fidelity metrics: how often does an interpreter make the same decisions as the model that it interprets?

Conventions
-----------
``model`` (N, C) holds the outputs of the model that is explained and ``interpreter`` (N, C) those of its interpreter,
with one row per clip and one column per class. Fidelity compares with the model's decisions, right or wrong; true
labels are not used.

If each clip has one label, the model's class is its largest output (in a tie, the first). Ties between the
interpreter's outputs count in proportion: a constant interpreter scores k / C, whatever the order of the classes.

If a clip can have several labels, the model's decisions are ``positives`` (N, C), see :func:`decisions`, and the
interpreter's outputs are ``scores`` (N, C) in [0, 1]. Recall is undefined for a class without positives; such a class
is skipped and listed in the result.

Metrics
-------
* :func:`top_k_fidelity`: share of clips whose class is among the interpreter's k largest outputs [1]_.
* :func:`fidelity_interval`: the same with its confidence interval, taking groups into account.
* :func:`auprc`: area under the precision-recall curve on the thresholds of :data:`GRID`, as published [1]_.
* :func:`average_precision`: scikit-learn's area over all thresholds, a step function; not comparable with
  :func:`auprc`.
* :func:`each_class`: the fidelity of each of the model's classes, or labels.
* :func:`max_f1`: largest micro F1 on the thresholds of :data:`GRID` [1]_.

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
"""Thresholds of the paper; a score strictly above a threshold is a positive."""


class Area(NamedTuple):
    """Area under the precision-recall curve, in [0, 1]."""

    macro: float
    """Mean over the classes with positives."""
    micro: float
    """Area of all pairs of clip and class pooled."""
    each: np.ndarray
    """Area of each class, float64 (C,); NaN for a skipped class."""
    skipped: tuple
    """Names (or columns) of the classes without positives."""


@checked
def outputs(name: str, values: ArrayLike, *, probabilities: bool = False) -> np.ndarray:
    """Return outputs of a classifier as float64 (N, C), or raise an error that says what is wrong with them.

    Parameters
    ----------
    name : str
        Name of the argument, for error messages.
    values : array_like (N, C)
        Outputs, one row per clip.
    probabilities : bool
        Whether the values must lie in [0, 1]; values at most 1e-6 outside, from rounding, are clipped.

    Raises
    ------
    ParameterError
        If the outputs are not two-dimensional, are empty, are not finite (the first such row is named), or are not in
        [0, 1] although they must be.
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
        raise ParameterError(f"{name}[{row}, {column}]", value, "a probability, in [0, 1]; logits are not accepted")
    return values.clip(0, 1)


@checked
def validate(model: ArrayLike, interpreter: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs of model and interpreter, logits or probabilities, as float64 (N, C).

    Raises
    ------
    ParameterError
        As in :func:`outputs`, or if the shapes differ.
    """
    model, interpreter = outputs("model", model), outputs("interpreter", interpreter)
    _same_shape("interpreter", interpreter, "model", model)
    return model, interpreter


@checked
def top_k_fidelity(model: ArrayLike, interpreter: ArrayLike, *, k: int = 1) -> Score:
    """Share of clips for which the model's class is among the k largest outputs of the interpreter.

    Parameters
    ----------
    model, interpreter : array_like (N, C)
        Logits or probabilities.
    k : int
        Number of largest outputs, in [1, C].

    Returns
    -------
    Score
        ``each`` (N,) is 1 or 0. With a tie at place k it is the probability that the model's class is among the first k
        if tied classes are ordered at random.

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
        Group of each clip, such as its source; by default every clip is its own group.
    level : float
        Confidence level of the interval.

    Returns
    -------
    fidelity, low, high : float in [0, 1]
        The bounds are NaN with one group.
    """
    fidelity, each = top_k_fidelity(model, interpreter, k=k)
    low, high = group_interval(each, groups, limits=(0, 1), level=level)
    return fidelity, float(low), float(high)


@checked
def decisions(probabilities: ArrayLike, thresholds: float | ArrayLike = 0.5) -> np.ndarray:
    """Labels that a model assigns: where probabilities (N, C) exceed ``thresholds``, a float or (C,); bool (N, C)."""
    probabilities = outputs("probabilities", probabilities, probabilities=True)
    thresholds = numbers("thresholds", thresholds)
    if thresholds.shape not in ((), (probabilities.shape[1],)):
        raise ParameterError("thresholds", thresholds.tolist(), f"one number, or {probabilities.shape[1]}")
    return probabilities > thresholds


@checked
def best_thresholds(labels: ArrayLike, probabilities: ArrayLike) -> np.ndarray:
    """Threshold of :data:`GRID` with the largest F1 for each class (in a tie, the highest threshold); float64 (C,).

    Parameters
    ----------
    labels : array_like of bool (N, C)
        True labels of training clips.
    probabilities : array_like (N, C)
        The model's probabilities for these clips.

    Raises
    ------
    ParameterError
        If arrays do not match, or a class has no positive, so that its threshold cannot be chosen.
    """
    tp, fp, positives = (each.sum(0) for each in _counts(labels, probabilities))
    if not positives.all():
        raise ParameterError("labels", f"no positive in column {int(positives.argmin())}", "at least one a class")
    return np.array(GRID)[_f1(tp, fp, positives[:, None]).argmax(1)]


@checked
def auprc(positives: ArrayLike, scores: ArrayLike, *, names: Sequence[str] | None = None) -> Area:
    """Area under the precision-recall curve on the thresholds of the paper.

    Precision P = (TP + 1e-9) / (TP + FP + 1e-9) and recall R = TP / (TP + FN) are computed at each threshold of
    :data:`GRID`. The point (R, P) = (0, 1) is put before them and (1, 0) after them, and the area is that of the
    trapezoids between these points.

    Parameters
    ----------
    positives : array_like of bool (N, C)
        The model's decisions.
    scores : array_like (N, C)
        The interpreter's outputs, in [0, 1].
    names : sequence of str (C,), optional
        Names of the classes, for ``skipped``; by default column numbers.

    Returns
    -------
    Area

    Raises
    ------
    ParameterError
        If shapes differ, scores are NaN or outside [0, 1], ``positives`` has entries other than 0 and 1, or there is no
        positive at all.

    Notes
    -----
    The first trapezoid begins at (0, 1). Let ``share`` be the share of positive clips. Scores that all equal one number
    above 0.05 therefore have the area (1 + share) / 2, and those that all equal one number up to 0.05 have 1/2. Both
    are far above random scores, whose area is little above ``share``. Compare with the area of constant scores that
    :func:`evaluate_multilabel` returns.

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
    """Confidence intervals of :func:`auprc`, {"macro": (low, high), "micro": (low, high)}.

    They are :func:`workbench.metrics.intervals.jackknife_interval` over the groups. The parameters are those of
    :func:`auprc` and :func:`fidelity_interval`. When leaving a group out leaves a class without positives, that class
    is skipped for this group; when no class has positives left, the group is skipped.
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
    """scikit-learn's average precision: the sum over all thresholds of precision times the increase in recall.

    Parameters, result and errors are those of :func:`auprc`. Constant scores have the share of positives as their area.
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
    """Largest micro F1 (all pairs of clip and class pooled) over the thresholds of :data:`GRID`.

    Parameters and errors are those of :func:`auprc`.
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
    """Fidelity metrics for a model that gives each clip one label.

    Parameters
    ----------
    model, interpreter, groups
        As in :func:`fidelity_interval`.
    ks : sequence of int
        Values of k for the top-k fidelity.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    dict of str to float
        For each k top_k, top_k_low and top_k_high; then chance, which is 1 / C, and majority, the fidelity at k = 1 of
        always predicting the model's most frequent class.
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
    """Fidelity metrics for a model that can give each clip several labels.

    Parameters
    ----------
    positives, scores, groups, level
        As in :func:`auprc_interval`.

    Returns
    -------
    dict of str to float
        With the prefixes macro_ and micro_: auprc, auprc_low, auprc_high, constant_auprc, which is the area if all
        scores are 0.5, and average_precision. Then max_f1; positives, the share of positives, which is also the micro
        average precision of constant scores; and skipped, the number of skipped classes.
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


@checked
def each_class(
    model: ArrayLike, interpreter: ArrayLike, *, names: Sequence[str] | None = None, ks: Sequence[int] = (1, 3, 5)
) -> list[dict[str, object]]:
    """:func:`top_k_fidelity` of each class that the model decides for, over the clips for which it does.

    Parameters
    ----------
    model, interpreter : array_like (N, C)
        Logits or probabilities.
    names : sequence of str (C,), optional
        Names of the classes; by default column numbers.
    ks : sequence of int
        Values of k for the top-k fidelity.

    Returns
    -------
    list of dict
        For each class with clips, in the order of the columns: class, clips (their number) and top_k for each k. The
        mean of top_k weighted by clips is the fidelity of all.

    Examples
    --------
    >>> model, interpreter = [[2, 0, 0], [2, 0, 0], [0, 0, 2]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    >>> each_class(model, interpreter, names=["cat", "dog", "hen"], ks=[1])
    [{'class': 'cat', 'clips': 2, 'top_1': 0.5}, {'class': 'hen', 'clips': 1, 'top_1': 1.0}]
    """
    reached = {k: top_k_fidelity(model, interpreter, k=k).each for k in several("ks", ks, whole)}
    model = outputs("model", model)
    names = _names(names, np.zeros(model.shape[1]))
    decided, rows = model.argmax(1), []
    for c in np.unique(decided):
        own = decided == c
        row = {"class": names[c], "clips": int(own.sum())}
        rows.append(row | {f"top_{k}": float(each[own].mean()) for k, each in reached.items()})
    return rows


@checked
def each_label(
    positives: ArrayLike, scores: ArrayLike, *, names: Sequence[str] | None = None
) -> list[dict[str, object]]:
    """Areas of each label, for a model that can give each clip several labels.

    Parameters
    ----------
    positives, scores, names
        As in :func:`auprc`.

    Returns
    -------
    list of dict
        For each label: class, clips (with the label by the model's decision), :func:`auprc` and
        :func:`average_precision`; NaN without clips.
    """
    grid, steps = auprc(positives, scores), average_precision(positives, scores)
    total = np.asarray(positives).astype(int).sum(0)
    names, areas = _names(names, 0 * total), zip(total.tolist(), grid.each, steps.each, strict=True)
    return [
        {"class": name, "clips": count, "auprc": float(area), "average_precision": float(step)}
        for name, (count, area, step) in zip(names, areas, strict=True)
    ]


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
    """True and false positives at each threshold (N, C, thresholds) and positives (N, C), as 0 or 1 in float64."""
    positives, scores = _multilabel(positives, scores)
    above = scores[..., None] > np.array(GRID)
    true = positives[..., None]
    return (above & true).astype(np.float64), (above & ~true).astype(np.float64), positives.astype(np.float64)


def _area(tp: np.ndarray, fp: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Area on the paper's thresholds from counts (..., thresholds) and positives (...); NaN without positives."""
    total = np.asarray(total)[..., None]
    precision = (tp + 1e-9) / (tp + fp + 1e-9)
    recall = np.divide(tp, total, out=np.full(tp.shape, np.nan), where=total > 0)
    ends = [(0, 0)] * (tp.ndim - 1) + [(1, 1)]
    return np.trapezoid(np.pad(precision, ends, constant_values=(1, 0)), np.pad(recall, ends, constant_values=(0, 1)))


def _areas(tp: np.ndarray, fp: np.ndarray, total: np.ndarray) -> tuple[float, float]:
    """Macro and micro area from counts (C, thresholds) and positives (C,)."""
    return float(np.nanmean(_area(tp, fp, total))), float(_area(tp.sum(0), fp.sum(0), total.sum()))


def _f1(tp: np.ndarray, fp: np.ndarray, total: np.ndarray) -> np.ndarray:
    return 2 * tp / (tp + fp + total)  # TP + FN = total, at least 1


def _names(names: Sequence[str] | None, total: np.ndarray) -> tuple:
    names = None if names is None else list(names)
    if names is not None and len(names) != len(total):
        raise ParameterError("len(names)", len(names), f"the number of classes, {len(total)}")
    return tuple(int(c) if names is None else names[c] for c in np.flatnonzero(total == 0))
