"""Fit probes for every column of a table: classification for categories, regression for numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked
from ..core.errors import ParameterError
from ..core.labels import are_classes, missing
from ..core.progress import Progress, reporter
from ..core.splits import Split
from ..core.warn import warn
from .fit import fit_probes
from .regression import RegressionProbes
from .result import Probes, pooled
from .ridge import fit_regression

if TYPE_CHECKING:
    import pandas as pd

MOST = 20
"""Most categories of a column; one with more is probably an identifier, such as a file name, and is left out."""


@checked
def fit_columns(
    layers: Mapping[str, ArrayLike] | ArrayLike | object,
    table: pd.DataFrame,
    splits: Sequence[Split],
    *,
    groups: ArrayLike | None = None,
    device: str = "auto",
    progress: Progress | bool | None = None,
) -> dict[str, Probes | RegressionProbes]:
    """Fit probes for every column of a table on several splits, and score them on the test clips of all splits.

    Parameters
    ----------
    layers : mapping of name to (N, D) array, or (L, N, D) array, or an object with ``layers`` and ``layer(name)``
        Clip embeddings.
    table : DataFrame (N rows)
        Columns of numbers that are not class numbers (:func:`workbench.core.labels.are_classes`) are predicted by
        :func:`fit_regression` and may have missing values; all others are classified by :func:`fit_probes`.
    splits : sequence of Split
        Splits of the N clips; no clip is tested twice.
    groups : array_like (N,), optional
        Group of each clip (singer, speaker, source), which must not be in both test and the other parts.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1".
    progress : callable (done, total) or bool, optional
        True shows a progress bar; a callable is called after each column.

    Returns
    -------
    dict of column to Probes or RegressionProbes
        In the order of the table, without the columns that were left out.

    Raises
    ------
    ParameterError
        If ``table`` is not a DataFrame, there is no split, or :func:`fit_probes` or :func:`fit_regression` raise it.

    Warns
    -----
    UserWarning
        Names the columns that are left out and the reason: only one value, more than 20 categories, missing categories,
        a category that the training part of a split lacks, or numbers that do not vary within every part.
    """
    if not hasattr(table, "columns") or not hasattr(table, "iloc"):
        raise ParameterError("table", type(table).__name__, "a pandas.DataFrame, a row a clip")
    splits = list(splits) if isinstance(splits, Iterable) and not isinstance(splits, Split) else [splits]
    if not splits or not all(isinstance(split, Split) for split in splits):
        raise ParameterError("splits", [type(split).__name__ for split in splits], "at least one workbench.Split")
    report, fitted, left_out = reporter(progress, "columns"), {}, {}
    same = {"groups": groups, "device": device}
    for done, name in enumerate(map(str, table.columns), 1):
        column = table.iloc[:, done - 1]
        numeric = not are_classes(column.dropna())
        y = column.to_numpy(np.float64, na_value=np.nan) if numeric else column.astype(object).to_numpy()
        reason = _does_not_vary(y, splits) if numeric else _no_classes(y, splits)
        if reason:
            left_out.setdefault(reason, []).append(name)
        elif numeric:
            fitted[name] = pooled([fit_regression(layers, {name: y}, split, **same) for split in splits])
        else:
            fitted[name] = pooled([fit_probes(layers, y.astype(str), split, **same) for split in splits])
        report(done, len(table.columns))
    if left_out:
        said = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in left_out.items())
        warn(f"no probes were fitted for these columns: {said}")
    return fitted


def _does_not_vary(y: np.ndarray, splits: Sequence[Split]) -> str:
    parts = [y[rows] for split in splits for rows in split if len(rows)]
    return (
        "" if all(len(np.unique(part[np.isfinite(part)])) > 1 for part in parts) else "it does not vary in every part"
    )


def _no_classes(y: np.ndarray, splits: Sequence[Split]) -> str:
    """Return the reason why a column cannot be classified; empty if it can."""
    used = y[np.unique(np.concatenate([rows for split in splits for rows in split]))]
    if any(missing(value) or str(value).strip() == "" for value in used.tolist()):
        return "it has gaps"
    count = len(set(map(str, used.tolist())))
    if count < 2 or count > MOST:
        return "one value" if count < 2 else f"more than {MOST} categories"
    for split in splits:
        train, valid, test = (set(map(str, y[rows].tolist())) for rows in split)
        if (valid | test) - train or len(train) < 2:
            return "a category that a training part lacks"
    return ""
