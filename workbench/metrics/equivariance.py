"""How embeddings respond to a deliberate change of the sounds: invariance (no response) and equivariance (a shift).

Conventions
-----------
``z`` (N, D) holds the embedding of each clip and ``changed`` (N, D) those of the same clips, in the same order, after
the same change: all a semitone higher, or all 6 dB louder. :meth:`workbench.datasets.Clips.changed` makes the changed
clips; this module only takes arrays. The displacement of a clip is ``changed - z``. All sums are in float64.

With groups, such as speakers, only pairs of clips from different groups are compared.

Metrics
-------
* :func:`displacements`: squared displacement of each clip, relative to the mean squared distance between clips.
* :func:`sensitivity`: the mean of these [1]_: 0 when the embeddings are invariant to the change, 1 when the change
  moves a clip as far as the average distance to another clip.
* :func:`consistency`: the mean cosine between the displacements of different clips, known as the parallelism score
  [2]_. It is 1 when the change shifts the embedding by the same direction for every clip, as in a linear, equivariant
  code [3]_, and 0 when the directions are unrelated.

Read both together, and compare them with those of the spectrum and of an untrained model, because any function of the
spectrum responds to a change of it. Sensitivity depends on the scaling of the dimensions, so standardising ``z``
changes it. A consistency of .2 can be far from chance: for random directions its mean is 0 and its standard deviation
about sqrt(2 / D) / N. Part of a displacement may be common to all changes, such as the artefacts of a phase vocoder:
compare with a change that is made and then undone.

References
----------
.. [1] Investigating the sensitivity of pre-trained audio embeddings to common effects. arXiv 2501.15900, 2025;
   Plachouras et al.: Towards a unified representation evaluation framework beyond downstream tasks. arXiv 2505.06224,
   2025 (informativeness, equivariance, invariance, disentanglement); on music Ibanez-Martinez et al., arXiv 2602.10058.
.. [2] Bernardi et al.: The geometry of abstraction in the hippocampus and prefrontal cortex. Cell 183, 2020.
.. [3] Lenc, Vedaldi: Understanding image representations by measuring their equivariance and equivalence. CVPR 2015.
.. [4] Johnson: Modified t tests and confidence intervals for asymmetrical populations. JASA 73, 1978.

Examples
--------
>>> import numpy as np
>>> from workbench.metrics import equivariance
>>> rng = np.random.default_rng(0)
>>> z, up = rng.normal(size=(200, 8)), np.eye(8)[0]
>>> round(equivariance.consistency(z, z + 2 * up), 6)  # every clip moves the same way
1.0
>>> round(equivariance.sensitivity(z, z + 2 * up), 2)  # 4 of a mean squared distance of about 2 * 8
0.26
>>> abs(equivariance.consistency(z, z + rng.normal(size=(200, 8)))) < 0.02  # each its own
True
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from .intervals import check_level, jackknife_interval, members
from .lasso import bounded

#: Smallest number of groups for which an interval of the sensitivity is given.
FEWEST = 6
#: Squared distances below this share of the largest squared length are treated as rounding error.
ROUNDING = 1e-24


@checked
def validate(z: ArrayLike, changed: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 arrays (N, D).

    Raises
    ------
    ParameterError
        If arrays are not two-dimensional or differ in shape, there are fewer than two clips, or values are not finite.
    """
    z, changed = _rows("z", z), _rows("changed", changed)
    if z.shape != changed.shape:
        raise ParameterError("changed.shape", changed.shape, f"{z.shape}, like z: the same clips, row by row")
    if len(z) < 2:
        raise ParameterError("len(z)", len(z), "two clips or more")
    return z, changed


@checked
def displacements(z: ArrayLike, changed: ArrayLike, groups: ArrayLike | None = None) -> np.ndarray:
    """Squared length of each clip's displacement, divided by the mean squared distance between clips.

    Parameters
    ----------
    z, changed : array_like (N, D)
        Embeddings of the clips, and of the same clips after the change.
    groups : array_like (N,), optional
        Group of each clip; distances are between clips of different groups. By default every clip is its own group.

    Returns
    -------
    np.ndarray float64 (N,)
        All NaN if all rows of ``z`` are equal, or if there is only one group.
    """
    z, changed = validate(z, changed)
    moved = np.square(changed - z).sum(1)
    return moved / _apart(z, members(groups, len(z)))


@checked
def sensitivity(z: ArrayLike, changed: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Mean of :func:`displacements`: 0 for invariant embeddings, 1 if the change equals the distance between clips.

    Parameters
    ----------
    z, changed, groups
        As in :func:`displacements`.

    Returns
    -------
    float
        At least 0, without an upper limit. Rows of ``changed`` in random order give about 1 or more on average.
    """
    return float(displacements(z, changed, groups).mean())


@checked
def consistency(z: ArrayLike, changed: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Mean cosine between the displacements of two clips, over all pairs of clips from different groups.

    Parameters
    ----------
    z, changed, groups
        As in :func:`displacements`.

    Returns
    -------
    float
        1 when all clips move in the same direction, 0 when directions are unrelated, down to -1 for two clips that move
        in opposite directions. Clips that do not move have no direction and are left out; NaN when no pair is left.

    Notes
    -----
    The sum of all cosines is the squared length of the sum of all unit displacements minus that of each group's sum, so
    the cost is O(N D) rather than O(N^2 D).
    """
    z, changed = validate(z, changed)
    unit, member = _directions(z, changed, members(groups, len(z)))
    return float(_pairs(unit, member)[0]) if len(unit) else float("nan")


@checked
def evaluate(
    z: ArrayLike, changed: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95
) -> dict[str, float]:
    """Sensitivity and consistency, with confidence intervals that treat the groups as a sample.

    Parameters
    ----------
    z, changed, groups
        As in :func:`displacements`.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    dict of str to float
        sensitivity, sensitivity_low, sensitivity_high, consistency, consistency_low, consistency_high, and moved, the
        share of clips with a displacement other than 0. The bounds of the sensitivity are NaN with fewer than
        :data:`FEWEST` groups, those of the consistency with fewer than three.

    Notes
    -----
    The interval of the consistency is :func:`~workbench.metrics.intervals.jackknife_interval`. Some groups often move
    ten times as far as others; a plain jackknife interval of the sensitivity then misses the true value in up to a
    quarter of cases. The interval of the sensitivity is therefore computed on a logarithmic scale, widened by the
    jackknife estimate of bias and, at its upper end, by Johnson's correction for skewness [4]_. Its 95 % intervals
    cover the true value in about 90 % of cases or more, even if the logarithms of the groups' displacements have a
    standard deviation of 1.2 (``python tests/benchmarks/bench_coverage.py --only sensitivity``).
    """
    check_level(level)
    z, changed = validate(z, changed)
    member = members(groups, len(z))
    moved = np.square(changed - z).sum(1)
    found, without = moved.mean() / _apart(z, member), _sensitivities(z, moved, member)
    low, high = _ratio_interval(found, without, np.bincount(member), level)
    scores = {"sensitivity": float(found), "sensitivity_low": low, "sensitivity_high": high}
    unit, own = _directions(z, changed, member)
    found, without = _pairs(unit, own) if len(unit) else (np.nan, np.empty(0))
    scores |= _consistency(found, without, own, level)
    return scores | {"moved": len(unit) / len(z)}


def _rows(name: str, values: ArrayLike) -> np.ndarray:
    values = numbers(name, values, ndim=2).astype(np.float64)
    return bounded(name, values.reshape(-1, 1)).reshape(values.shape)


def _ratio_interval(found: float, without: np.ndarray, sizes: np.ndarray, level: float) -> tuple[float, float]:
    """Interval of a positive ratio from its values with each group left out; NaN if undefined or with few groups."""
    from scipy.stats import t

    if len(without) < FEWEST or not (np.isfinite(without) & (without > 0)).all() or not found > 0:
        return float("nan"), float("nan")
    count, whole, parts = len(without), np.log(found), np.log(without)
    quantile = t.ppf(0.5 + level / 2, max(1.0, sizes.sum() ** 2 / (sizes**2).sum() - 1))  # Kish's count of groups
    pull = whole - parts
    error, bias = np.sqrt((count - 1) / count * np.square(pull).sum()), (count - 1) * (parts.mean() - whole)
    if not error > 0:
        return float("nan"), float("nan")
    skew = (pull**3).sum() / np.square(pull).sum() ** 1.5
    more = max(error * skew * (1 / 6 + quantile**2 / 3), 0.0)  # the sample may lack the rare groups that move far
    low, high = whole - max(bias, 0) - quantile * error, whole - min(bias, 0) + quantile * error + more
    return float(np.exp(low)), float(np.exp(high))


def _consistency(found: float, without: np.ndarray, member: np.ndarray, level: float) -> dict[str, float]:
    """The mean cosine and its bounds, which are NaN if the mean is undefined with one of the groups left out."""
    low = high = np.nan
    if len(without) and np.isfinite(found) and np.isfinite(without).all():
        low, high = jackknife_interval(float(found), without, np.bincount(member), limits=(-1, 1), level=level)
    return {"consistency": float(found), "consistency_low": low, "consistency_high": high}


def _apart(z: np.ndarray, member: np.ndarray) -> float:
    """Mean squared distance over all pairs of clips of different groups; NaN if it is 0 or there is no such pair."""
    return _distances(z, member)[0]


def _sensitivities(z: np.ndarray, moved: np.ndarray, member: np.ndarray) -> np.ndarray:
    """The sensitivity with each group left out, (G,)."""
    left = len(z) - np.bincount(member)
    mean = (moved.sum() - np.bincount(member, weights=moved)) / np.maximum(left, 1)
    return mean / _distances(z, member)[1]


def _distances(z: np.ndarray, member: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean squared distance over pairs of clips of different groups, and the same with each group left out (G,)."""
    centred, sizes = z - z.mean(0), np.bincount(member)
    length, sums = np.bincount(member, weights=np.square(centred).sum(1)), _by_group(centred, member)
    # for each group, the sum over its pairs with clips of other groups, each pair counted in both orders
    others = len(z) - sizes
    across = 2 * (others * length + sizes * (length.sum() - length) - 2 * (sums * (sums.sum(0) - sums)).sum(1))
    total, pairs = across.sum() / 2, (sizes * others).sum()
    largest = np.square(z).sum(1).max()
    without = [_mean(t, p, largest) for t, p in zip(total - across, pairs - 2 * sizes * others, strict=True)]
    return _mean(total, pairs, largest), np.array(without)


def _mean(total: float, pairs: float, largest: float) -> float:
    """Mean over pairs; NaN without pairs, or if all distances are rounding error."""
    if pairs <= 0 or total <= ROUNDING * pairs * largest:
        return np.nan
    return float(total / pairs)


def _directions(z: np.ndarray, changed: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit displacements (M, D) of the M clips that move, and their groups (M,) renumbered from 0."""
    moved = changed - z
    length = np.linalg.norm(moved, axis=1)
    moves = length > 0
    return moved[moves] / length[moves, None], np.unique(member[moves], return_inverse=True)[1]


def _pairs(unit: np.ndarray, member: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cosine over pairs from different groups, and the same with each group left out (G,); NaN without pairs."""
    sizes, sums = np.bincount(member), _by_group(unit, member)
    total, own = sums.sum(0), np.square(sums).sum(1)
    rest = np.square(total - sums).sum(1) - (own.sum() - own)
    left = (len(unit) - sizes) ** 2 - ((sizes**2).sum() - sizes**2)
    whole = len(unit) ** 2 - (sizes**2).sum()
    found = (np.square(total).sum() - own.sum()) / whole if whole else np.nan
    return found, np.divide(rest, left, out=np.full(len(sizes), np.nan), where=left > 0)


def _by_group(rows: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Sum of the rows of each group, (G, D)."""
    sums = np.zeros((member.max() + 1, rows.shape[1]))
    np.add.at(sums, member, rows)
    return sums
