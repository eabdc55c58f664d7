"""Compare two measurements of the same clips: two sets of attributes, or a set of attributes with known factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import checked, close_match
from ..core.errors import ParameterError
from ..core.labels import labels
from .result import Attributes

if TYPE_CHECKING:
    import pandas as pd

#: Smallest number of groups for which a rank correlation has an interval, and number of groups made if none are given.
FEWEST, MOST = 6, 100


@checked
def agreement(
    a: Attributes,
    b: Attributes,
    *,
    names: Mapping[str, str] | None = None,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare two measurements of the same clips, attribute by attribute.

    >>> agreement(measure(clips, set="voice"), measure(clips, set="praat"))  # doctest: +SKIP
    >>> truth = measure(clips, set="factors")  # doctest: +SKIP
    >>> agreement(measure(clips, set="voice"), truth, names={"hnr_mean": "hnr"})  # doctest: +SKIP

    Parameters
    ----------
    a, b : Attributes
        Two measurements; the clips that are in both are compared, matched by id.
    names : mapping of str to str, optional
        Name in ``a`` -> the name in ``b`` with which it is compared; by default every name that both have. Units are
        not checked: if they differ (a jitter in per cent and one as a fraction), only the rank correlation is
        meaningful.
    groups : array_like (len(a),), optional
        Group of each row of ``a``, for the interval. By default clips are independent, and are assigned to 100 groups.
    level : float
        Confidence level of the interval.

    Returns
    -------
    DataFrame
        Its index is the name in ``a``. Columns: b, the name in ``b``; n, the number of clips for which both are
        defined; rank_correlation (Spearman's), with its confidence interval low to high over groups; difference, the
        median of a - b; difference_p5 and difference_p95, the 5th and 95th percentiles of a - b; relative, the median
        of (a - b) / abs(b); only_a and only_b, the fractions of clips for which only one of the two is defined.

    Raises
    ------
    ParameterError
        No clip or no name is in both, or ``groups`` has another length than ``a``.

    Notes
    -----
    The interval is from a jackknife over groups on Fisher's z scale, with Student's t of G - 1 degrees of freedom; for
    unequal groups, G is the number of equal groups with the same evenness (Kish), as in
    :mod:`workbench.metrics.regression`. It is NaN with fewer than 6 groups, or if the rank correlation is exactly 1 or
    -1 for all groups or with any one left out.
    """
    import pandas as pd

    if not 0 < level < 1:
        raise ParameterError("level", level, "between 0 and 1, such as 0.95")
    for name, given in (("a", a), ("b", b)):
        if not isinstance(given, Attributes):
            raise ParameterError(name, type(given).__name__, "attributes, as measure gives them")
    pairs = _pairs(a, b, names)
    groups = np.arange(len(a)) % MOST if groups is None else labels("groups", groups)
    if len(groups) != len(a):
        raise ParameterError("len(groups)", len(groups), f"{len(a)}, one a row of a")
    row = {key: i for i, key in enumerate(b.ids.tolist())}
    mine = np.array([i for i, key in enumerate(a.ids.tolist()) if key in row], int)
    if not len(mine):
        raise ParameterError("b.ids", b.ids.tolist()[:3], "of clips that a has too")
    theirs = np.array([row[key] for key in a.ids[mine].tolist()])
    rows = {}
    for name, other in pairs.items():
        x, y = a.values[mine, a.names.index(name)], b.values[theirs, b.names.index(other)]
        rows[name] = {"b": other} | _agreement(x, y, groups[mine], level)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("a")


def _pairs(a: Attributes, b: Attributes, names: Mapping[str, str] | None) -> dict[str, str]:
    if names is None:
        shared = {name: name for name in a.names if name in b.names}
        if not shared:
            raise ParameterError("names", None, f"a mapping: the sets {a.set!r} and {b.set!r} share no name")
        return shared
    if not isinstance(names, Mapping) or not names:
        raise ParameterError("names", names, "a mapping of names in a to names in b")
    for given, known in ((names.keys(), a.names), (names.values(), b.names)):
        for name in given:
            if name not in known:
                raise ParameterError("names", name, f"one of {', '.join(known)}{close_match(name, known)}")
    return dict(names)


def _agreement(x: np.ndarray, y: np.ndarray, groups: np.ndarray, level: float) -> dict[str, float]:
    there, other = np.isfinite(x), np.isfinite(y)
    both = there & other
    x, y, groups = x[both], y[both], groups[both]
    found = {"n": int(both.sum())} | dict.fromkeys(
        ("rank_correlation", "low", "high", "difference", "difference_p5", "difference_p95", "relative"), np.nan
    )
    if len(x):
        found["rank_correlation"] = _spearman(x, y)
        found["low"], found["high"] = _interval(x, y, groups, level)
        low, middle, high = np.percentile(x - y, (5, 50, 95))
        found |= {"difference": middle, "difference_p5": low, "difference_p95": high}
        if (sized := y != 0).any():
            found["relative"] = np.median((x - y)[sized] / np.abs(y[sized]))
    return found | {"only_a": float(np.mean(there & ~other)), "only_b": float(np.mean(other & ~there))}


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation; NaN if one of the two is constant."""
    from scipy.stats import rankdata

    x, y = (ranks - ranks.mean() for ranks in (rankdata(x), rankdata(y)))
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 0 else np.nan


def _interval(x: np.ndarray, y: np.ndarray, groups: np.ndarray, level: float) -> tuple[float, float]:
    """Return the confidence interval of the rank correlation over groups."""
    from scipy.stats import t

    kinds, sizes = np.unique(groups, return_counts=True)
    if len(kinds) < FEWEST:
        return np.nan, np.nan
    values = np.array([_spearman(x, y)] + [_spearman(x[groups != g], y[groups != g]) for g in kinds])
    if not (np.abs(values) < 1 - 1e-12).all():
        return np.nan, np.nan
    whole, *without = np.arctanh(values)
    spread = np.sqrt((len(kinds) - 1) / len(kinds) * np.square(np.array(without) - whole).sum())
    even = sizes.sum() ** 2 / (sizes**2).sum()  # Kish's effective number of groups of equal size
    half = t.ppf(0.5 + level / 2, max(1.0, even - 1)) * spread
    return (float(np.tanh(whole - half)), float(np.tanh(whole + half))) if spread > 0 else (np.nan, np.nan)
