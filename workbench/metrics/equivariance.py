"""Do embeddings follow a change that was made to their sounds on purpose, or do they stay where they were?

Conventions
-----------
``z`` (N, D) holds a vector a clip and ``changed`` (N, D) those of the same clips after one change by one amount, row by
row: all a semitone higher, all 6 dB louder. What is changed is a matter of :meth:`workbench.datasets.Clips.changed`;
here are arrays alone. The displacement of a clip is ``changed - z``. All is computed in float64.

With groups, two clips are different where their groups are: what two takes of one speaker share is no common answer.

Metrics
-------
* :func:`displacements`: how far each clip moved, in units of how far clips lie apart.
* :func:`sensitivity`: the mean of these [1]_: 0 when the vectors are invariant to the change, 1 when the change moves a
  clip as far as another clip is.
* :func:`consistency`: do all clips move the same way? The mean cosine between the displacements of different clips,
  known as the parallelism score [2]_. 1 for a linear code of what was changed, which is equivariant [3]_: the change of
  the sound is one shift of the vector, whatever the clip. 0 when each clip goes its own way.

Both are to be read together, and beside those of the spectrum and of an untrained model, as any code of the spectrum
moves with a change of it. A sensitivity has no scale of its own: that of a standardised ``z`` is another. A consistency
of .2 is far from nothing: of directions drawn at random it is 0 in the mean, give or take about sqrt(2 / D) / N. And
most of a displacement may be one and the same for every change, such as the mark of a phase vocoder: compare with a
change there and back.

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

#: Groups below which a sensitivity has no interval.
FEWEST = 6
#: Squared distances so much smaller than the largest squared length are rounding, not distance.
ROUNDING = 1e-24


@checked
def validate(z: ArrayLike, changed: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (N, D).

    Raises
    ------
    ParameterError
        Not two axes, shapes that differ, fewer than two clips, NaN or infinite vectors.
    """
    z, changed = _rows("z", z), _rows("changed", changed)
    if z.shape != changed.shape:
        raise ParameterError("changed.shape", changed.shape, f"{z.shape}, like z: the same clips, row by row")
    if len(z) < 2:
        raise ParameterError("len(z)", len(z), "two clips or more")
    return z, changed


@checked
def displacements(z: ArrayLike, changed: ArrayLike, groups: ArrayLike | None = None) -> np.ndarray:
    """Squared length of each clip's displacement over the mean squared distance of two different clips.

    Parameters
    ----------
    z, changed : array_like (N, D)
        Vectors of the clips, and of the same clips changed.
    groups : array_like (N,), optional
        Group of each clip; default: every clip is one.

    Returns
    -------
    np.ndarray float64 (N,)
        NaN where all clips of ``z`` share one vector, or one group.
    """
    z, changed = validate(z, changed)
    moved = np.square(changed - z).sum(1)
    return moved / _apart(z, members(groups, len(z)))


@checked
def sensitivity(z: ArrayLike, changed: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Mean of :func:`displacements`: 0 for an invariant layer, 1 where the change is as far as to another clip.

    Parameters
    ----------
    z, changed, groups
        As in :func:`displacements`.

    Returns
    -------
    float
        At least 0, without an upper end. Rows of ``changed`` in another order give 1 or more, in the mean.
    """
    return float(displacements(z, changed, groups).mean())


@checked
def consistency(z: ArrayLike, changed: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Mean cosine between the displacements of two different clips, over all pairs.

    Parameters
    ----------
    z, changed, groups
        As in :func:`displacements`.

    Returns
    -------
    float
        1 when all move the same way, 0 when each goes its own, down to -1 for two clips that move apart. Clips that do
        not move have no direction and are left out; NaN when no two different ones are left.

    Notes
    -----
    The sum over all pairs is the squared length of the sum of unit vectors, less that of each group: O(N D).
    """
    z, changed = validate(z, changed)
    unit, member = _directions(z, changed, members(groups, len(z)))
    return float(_pairs(unit, member)[0]) if len(unit) else float("nan")


@checked
def evaluate(
    z: ArrayLike, changed: ArrayLike, groups: ArrayLike | None = None, *, level: float = 0.95
) -> dict[str, float]:
    """Both metrics, with intervals for other groups.

    Parameters
    ----------
    z, changed, groups
        As in :func:`displacements`.
    level : float
        Of the intervals.

    Returns
    -------
    dict of str to float
        sensitivity, sensitivity_low, sensitivity_high, consistency, consistency_low, consistency_high; moved, the share
        of clips that moved at all. Bounds of the sensitivity are NaN with fewer than :data:`FEWEST` groups, those of
        the consistency with fewer than three.

    Notes
    -----
    The interval of the consistency is that of :func:`~workbench.metrics.intervals.jackknife_interval`. Groups that move
    ten times as far as others are common, and the plain jackknife then misses a sensitivity in up to a quarter of
    cases. Its interval is taken in logarithms, with the bias that the jackknife sees and, above, Johnson's correction
    for skewed groups [4]_: 95 % intervals then cover in about 90 % of cases or more, also where the groups' logarithms
    differ by a standard deviation of 1.2 (``python tests/benchmarks/bench_coverage.py --only sensitivity``).
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
    """Interval of a ratio above 0, from what it is without each group; NaN with few groups, or where one has none."""
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
    more = max(error * skew * (1 / 6 + quantile**2 / 3), 0.0)  # few groups that move far may be missing here
    low, high = whole - max(bias, 0) - quantile * error, whole - min(bias, 0) + quantile * error + more
    return float(np.exp(low)), float(np.exp(high))


def _consistency(found: float, without: np.ndarray, member: np.ndarray, level: float) -> dict[str, float]:
    """The mean cosine and its bounds; none where it is not defined without one of the groups."""
    low = high = np.nan
    if len(without) and np.isfinite(found) and np.isfinite(without).all():
        low, high = jackknife_interval(float(found), without, np.bincount(member), limits=(-1, 1), level=level)
    return {"consistency": float(found), "consistency_low": low, "consistency_high": high}


def _apart(z: np.ndarray, member: np.ndarray) -> float:
    """Mean squared distance over all pairs of clips of different groups; NaN where that is 0 or there is none."""
    return _distances(z, member)[0]


def _sensitivities(z: np.ndarray, moved: np.ndarray, member: np.ndarray) -> np.ndarray:
    """The sensitivity without each group, (G,)."""
    left = len(z) - np.bincount(member)
    mean = (moved.sum() - np.bincount(member, weights=moved)) / np.maximum(left, 1)
    return mean / _distances(z, member)[1]


def _distances(z: np.ndarray, member: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean squared distance over pairs of clips of different groups, and the same without each group (G,)."""
    centred, sizes = z - z.mean(0), np.bincount(member)
    length, sums = np.bincount(member, weights=np.square(centred).sum(1)), _by_group(centred, member)
    # sums over pairs of a group with any other, in both orders
    others = len(z) - sizes
    across = 2 * (others * length + sizes * (length.sum() - length) - 2 * (sums * (sums.sum(0) - sums)).sum(1))
    total, pairs = across.sum() / 2, (sizes * others).sum()
    largest = np.square(z).sum(1).max()
    without = [_mean(t, p, largest) for t, p in zip(total - across, pairs - 2 * sizes * others, strict=True)]
    return _mean(total, pairs, largest), np.array(without)


def _mean(total: float, pairs: float, largest: float) -> float:
    """Of pairs; NaN where there are none or all distances are rounding."""
    if pairs <= 0 or total <= ROUNDING * pairs * largest:
        return np.nan
    return float(total / pairs)


def _directions(z: np.ndarray, changed: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacements of length 1 (M, D) of the clips that move, and their groups (M,) numbered anew."""
    moved = changed - z
    length = np.linalg.norm(moved, axis=1)
    moves = length > 0
    return moved[moves] / length[moves, None], np.unique(member[moves], return_inverse=True)[1]


def _pairs(unit: np.ndarray, member: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cosine over pairs of clips of different groups, and the same without each group (G,); NaN without a pair."""
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
