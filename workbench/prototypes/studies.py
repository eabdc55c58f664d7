"""Compare trainings: is one setting better than another, are factors recognised, how fast does a network learn?

These are open questions of Almudévar et al. (arXiv 2406.16145). A useful factor must help more than a placebo, a factor
with the same number of levels that is independent of the clips. :func:`workbench.study` runs the tasks over folds and
seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, number, numbers, several
from ..core.errors import ParameterError
from ..core.splits import Split, fitting
from ..metrics.classification import balanced_accuracy
from ..metrics.geometry import rank_correlation, weighted_kappa
from ..metrics.intervals import fold_interval
from .explaining import explain
from .factors import FactorPrototypes, Levels
from .training import TrainedClassifier, fit_classifier

if TYPE_CHECKING:
    import pandas as pd


def _of_study(table: object, *columns: str) -> None:
    """Raise an error if the argument is not a table of a study with these columns."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame) or not set(columns) <= set(table.columns):
        raise ParameterError("table", type(table).__name__, f"a table of workbench.study, with {', '.join(columns)}")


@checked
def paired_differences(
    table: pd.DataFrame,
    baseline: str,
    *,
    metric: str = "accuracy",
    by: str = "loss",
    limits: tuple[float, float] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Subtract the baseline from each setting of a study, on the same folds and seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        A table of :func:`workbench.study`, with columns fold and seed.
    baseline : str
        The setting that is subtracted, a value of the column ``by``.
    metric : str
        The column that is compared.
    by : str
        The column with the setting of each run.
    limits : (low, high), optional
        Lowest and highest possible difference, (-1, 1) for differences of rates; the interval is clipped to them.
    level : float
        Confidence level of the interval.

    Returns
    -------
    pandas.DataFrame
        One row per setting, indexed by ``by``: difference (mean over folds), low, high
        (:func:`workbench.metrics.intervals.fold_interval`; NaN with one fold), and the numbers of folds and seeds.

    Raises
    ------
    ParameterError
        If the baseline or metric is unknown, or the table does not have exactly one run of every setting for every
        fold and seed.
    """
    import pandas as pd

    keys = [by, "fold", "seed"]
    _of_study(table, *keys)
    number("level", level, above=0, below=1)
    names = list(dict.fromkeys(table[by]))
    choice("baseline", baseline, names)
    choice("metric", metric, [column for column in table.columns if column not in keys])
    if table[metric].dtype.kind not in "fiub":
        raise ParameterError("metric", metric, f"a column of numbers, not of {table[metric].dtype}")
    if table.duplicated(keys).any():
        raise ParameterError("table", f"{len(table)} rows", f"one run a {by}, fold and seed")
    wide = table.pivot(index=keys[1:], columns=by, values=metric)
    if wide.isna().any(axis=None):
        raise ParameterError("table", str(wide.columns[wide.isna().any()].tolist()), "complete: a run a fold and seed")
    folds = wide.index.get_level_values("fold")
    rows = {}
    for name in names:
        if name != baseline:
            gain = wide[name] - wide[baseline]
            low, high = fold_interval(gain, folds, limits=limits, level=level)
            rows[name] = {"difference": gain.groupby(folds).mean().mean(), "low": low, "high": high}
    counts = {"folds": folds.nunique(), "seeds": wide.index.get_level_values("seed").nunique()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by).assign(**counts)


@checked
def over_folds(
    table: pd.DataFrame, metric: str, *, by: str, limits: tuple[float, float] | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Average a column of a study over folds for each setting, with its interval and standard deviations.

    Parameters
    ----------
    table : pandas.DataFrame
        A table of :func:`workbench.study`, with columns fold and seed.
    metric : str
        The column that is averaged.
    by : str
        The column with the setting of each run.
    limits : (low, high), optional
        Lowest and highest possible value, (0, 1) for rates; the interval is clipped to them.
    level : float
        Confidence level of the interval.

    Returns
    -------
    pandas.DataFrame
        One row per setting, indexed by ``by``: mean, low, high (:func:`workbench.metrics.intervals.fold_interval`; NaN
        with one fold), fold_spread (standard deviation over folds of the means over seeds), seed_spread (standard
        deviation over seeds within a fold), both NaN with one fold or seed, and the number of runs.
    """
    import pandas as pd

    keys = [by, "fold", "seed"]
    _of_study(table, *keys)
    number("level", level, above=0, below=1)
    choice("metric", metric, [column for column in table.columns if column not in keys])
    rows = {}
    for name, runs in table.groupby(by, sort=False):
        of_fold = runs.groupby("fold")[metric]
        low, high = fold_interval(runs[metric], runs["fold"], limits=limits, level=level)
        spreads = {"fold_spread": of_fold.mean().std(), "seed_spread": float(np.sqrt(of_fold.var().mean()))}
        rows[name] = {"mean": of_fold.mean().mean(), "low": low, "high": high, **spreads, "runs": len(runs)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by)


@checked
def setting_difference(
    table: pd.DataFrame, a: str, b: str, *, metric: str = "balanced_accuracy", by: str = "model"
) -> tuple[float, float, float]:
    """Difference of two settings of a study on the same folds and seeds, for :func:`workbench.views.compared`.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of one or several calls of :func:`workbench.study`, with columns ``by``, fold and seed. If a setting has
        only one run per fold, because it does not depend on the seed, that run is used for every seed of the fold. Runs
        that failed are left out.
    a, b : str
        Values of the column ``by``.
    metric : str
        The column that is compared.
    by : str
        The column with the setting of each run.

    Returns
    -------
    difference, low, high : float
        a minus b, with the interval of :func:`paired_differences`. The bounds are NaN if all pairs are of one fold,
        because its seeds share their test clips. All three are NaN if there is no pair.

    Raises
    ------
    ParameterError
        If the table does not have a setting or the metric.
    """

    _of_study(table, by, "fold", "seed")
    for name, value in (("a", a), ("b", b)):
        choice(name, value, list(dict.fromkeys(table[by])))
    choice("metric", metric, [column for column in table.columns if column not in (by, "fold", "seed")])
    runs = table[table[by].isin([a, b])].pivot_table(index=["fold", "seed"], columns=by, values=metric)
    runs = runs.reindex(columns=[a, b])
    single = [name for name in (a, b) if (runs[name].groupby("fold").count() <= 1).all()]
    runs[single] = runs[single].groupby("fold").transform("mean")
    pairs = runs.dropna().stack().rename(metric).reset_index()
    if pairs["fold"].nunique() < 2:
        return float((runs[a] - runs[b]).mean()), math.nan, math.nan
    row = paired_differences(pairs, b, metric=metric, by=by).loc[a]
    return _rounded(row["difference"], row["low"], row["high"])


def _rounded(*values: float) -> tuple[float, ...]:
    """Round to 12 decimals, so that rounding errors of a difference of 0 have no sign."""
    return tuple(round(float(value), 12) for value in values)


@checked
def spread(
    table: pd.DataFrame, columns: Sequence[str], *, by: str = "loss", over: str = "fold", digits: int = 3
) -> pd.DataFrame:
    """Format the mean of each setting of a study, with its lowest and highest fold, as text for display.

    Parameters
    ----------
    table : pandas.DataFrame
        A table of :func:`workbench.study`.
    columns : sequence of str
        The columns with results.
    by : str
        The column with the setting of each run.
    over : str
        The column over which the range is taken; runs with the same value, such as the seeds of a fold, are averaged
        first.
    digits : int
        Number of decimals.

    Returns
    -------
    pandas.DataFrame
        One row per setting, indexed by ``by`` in the order of the table, with texts such as "0.853 (0.800 to 0.900)":
        mean, lowest and highest fold. It is the mean alone if the folds are equal to these decimals, and "" without
        results.

    Raises
    ------
    ParameterError
        If the table does not have a column.
    """
    import pandas as pd

    _of_study(table, by, over)
    columns = several("columns", columns, lambda name, value: choice(name, value, list(table.columns)))
    folds = table.groupby([by, over], sort=False)[columns].mean().groupby(level=by, sort=False)

    def text(values: pd.Series) -> str:
        values = values.dropna()
        if values.empty:
            return ""
        mean, low, high = (f"{value:.{digits}f}" for value in (values.mean(), values.min(), values.max()))
        return mean if low == high else f"{mean} ({low} to {high})"

    return pd.DataFrame({name: {key: text(rows[name]) for key, rows in folds} for name in columns}).rename_axis(by)


@checked
def placebos(levels: ArrayLike, seed: int) -> dict[str, np.ndarray]:
    """Draw placebo levels, which are independent of the clips, as a control for the true levels.

    Parameters
    ----------
    levels : array_like of int (N, m)
        True levels.
    seed : int
        Seed of the placebos.

    Returns
    -------
    dict of str to np.ndarray int64 (N, m)
        "shuffled" has the rows in random order, which keeps the dependence between factors. "random" has independent
        random levels, as many as the factor has and all equally frequent.

    Raises
    ------
    ParameterError
        If levels are not integers (N, m).
    """
    levels = numbers("levels", levels)
    if levels.dtype.kind not in "iu" or levels.ndim != 2 or not levels.size:
        raise ParameterError("levels", f"{levels.dtype} {levels.shape}", "integers (N, m)")
    rng = np.random.default_rng(seed)
    shuffled = levels[rng.permutation(len(levels))].astype(np.int64)
    ranks = rng.normal(size=levels.shape).argsort(0).argsort(0)
    return {"shuffled": shuffled, "random": ranks * (levels.max(0) + 1) // len(levels)}


@checked
def evaluate_factors(
    inputs: ArrayLike,
    y: ArrayLike,
    split: Split,
    values: ArrayLike,
    names: Sequence[str],
    *,
    dim: int,
    scale: float,
    only: Sequence[str] | None = None,
    told: Literal["true", "shuffled", "random", "nothing"] = "true",
    count: int = 3,
    code: Literal["one-hot", "thermometer"] = "thermometer",
    weight: float = 10.0,
    seed: int = 0,
    **training: object,
) -> dict[str, float]:
    """Train with prototypes of factors, and score classes and levels; a task of :func:`workbench.study` can return it.

    Parameters
    ----------
    inputs, y, split
        As in :func:`fit_classifier`; the cuts between levels depend on the training part only.
    values : array_like float (N, m)
        Finite factors of all clips.
    names : sequence of str (m,)
        Names of the factors.
    dim : int
        Number of dimensions k of the network's embeddings.
    scale : float
        Length of the prototype in each block.
    only : sequence of str, optional
        The factors that are used, some of ``names``; by default all.
    told : {"true", "shuffled", "random", "nothing"}
        Levels whose prototypes the clips are pulled towards: the true ones, a placebo (:func:`placebos`), or "nothing"
        for cross-entropy alone.
    count : int
        Number of levels of each factor.
    code : {"one-hot", "thermometer"}
        Code of the levels, as in :class:`FactorPrototypes`.
    weight : float
        Weight of the prototype term in the loss.
    seed : int
        Seed of the weights and placebos.
    **training
        Keyword arguments of :func:`fit_classifier`, such as ``network`` and ``epochs``.

    Returns
    -------
    dict
        accuracy and balanced_accuracy of the test clips, and seconds, the duration of the training. Unless ``told`` is
        "nothing", also chance (1 / count), and, as a mean over factors and for each factor (as in "kappa pitch"):
        level_read, the share of correct levels; kappa with quadratic weights; and rank_correlation between the block's
        position and the factor's value. For a placebo they are computed with the placebo levels.

    Raises
    ------
    ParameterError
        If the split has no test part, or :class:`Levels`, :class:`FactorPrototypes` or :func:`fit_classifier` raise it.
    """
    values, shared = numbers("values", values, ndim=2).astype(np.float64), {"seed": seed, "progress": False, **training}
    test = fitting(split, len(values)).test
    if told == "nothing":
        run, read = fit_classifier(inputs, y, split, loss="cross_entropy", **shared), {}
    else:
        if only is not None:
            used = several("only", only, lambda name, value: choice(name, value, list(names)))
            names, values = used, values[:, [list(names).index(name) for name in used]]
        cuts = Levels.fit(values[split.train], names, count=count)
        levels = cuts.codes(values)
        if told != "true":
            values = levels = placebos(levels, seed)[told]
        points = FactorPrototypes(cuts, dim, scale=scale, code=code)
        pull = {"loss": {"name": "prototype", "weight": weight}, "factors": points, "levels": levels}
        run = fit_classifier(inputs, y, split, **pull, **shared)
        explanation = explain(run.z[test], run.weight, run.bias, points)
        levels_read, positions, true = explanation.levels.T, explanation.positions.T, levels[test].T
        each = {
            "level_read": [float((read == level).mean()) for read, level in zip(levels_read, true, strict=True)],
            "kappa": [weighted_kappa(level, read) for read, level in zip(levels_read, true, strict=True)],
            "rank_correlation": [rank_correlation(*pair) for pair in zip(positions, values[test].T, strict=True)],
        }
        read = {"chance": 1 / count} | {what: float(np.mean(scores)) for what, scores in each.items()}
        read |= {f"{what} {name}": x for what, xs in each.items() for name, x in zip(cuts.names, xs, strict=True)}
    uar = balanced_accuracy(run.classes[run.y[test]], run.predictions[test])
    return {"accuracy": run.accuracy, "balanced_accuracy": uar} | read | {"seconds": run.seconds}


@checked
def dynamics(
    runs: Mapping[str, Sequence[TrainedClassifier | pd.DataFrame]],
    *,
    metric: str = "valid_accuracy",
    share: float = 0.95,
) -> pd.DataFrame:
    """Measure how fast trainings learn, from their histories.

    Parameters
    ----------
    runs : mapping of str to sequence of TrainedClassifier or DataFrame
        For each name the trainings, or their histories, one per seed. All should have the same number of epochs and no
        ``patience``, because the area is a mean over epochs.
    metric : str
        Column of the histories, of which higher values are better.
    share : float
        Share of the final value that is to be reached.

    Returns
    -------
    pandas.DataFrame
        One row per name, with mean and standard deviation (sd) over runs, NaN for one run. The quantities are final
        (value of the last epoch), epochs_to_share (epochs until ``share`` of the run's own final value was first
        reached; compare it only at similar final values, as a low one is reached early), area (mean value over epochs),
        and, for :class:`TrainedClassifier`, seconds. The columns are (quantity, "mean" or "sd") and ("runs", "count").

    Raises
    ------
    ParameterError
        If there are no runs, a history does not have the metric, or ``share`` is outside (0, 1].
    """
    import pandas as pd

    number("share", share, above=0, most=1)
    if not isinstance(runs, Mapping) or not runs:
        raise ParameterError("runs", runs if isinstance(runs, Mapping) else type(runs).__name__,
                             "a mapping of at least one name to trainings")  # fmt: skip
    rows = {}
    for name, trainings in runs.items():
        pace = several(f"runs[{name!r}]", trainings, lambda _, run, name=name: _pace(name, run, metric, share))
        rows[name] = pd.DataFrame(pace).agg(["mean", "std"]).rename({"std": "sd"}).T.stack()
        rows[name]["runs", "count"] = len(pace)
    return pd.DataFrame(rows).T.rename_axis("run")


def _pace(name: str, run: TrainedClassifier | pd.DataFrame, metric: str, share: float) -> dict[str, float]:
    trained = isinstance(run, TrainedClassifier)
    history = run.history if trained else run
    if metric not in getattr(history, "columns", ()) or not len(history):
        raise ParameterError("metric", metric, f"a column of every history of {name}")
    curve = history[metric].to_numpy()
    reached = int(np.argmax(curve >= share * curve[-1])) + 1
    pace = {"final": curve[-1], "epochs_to_share": reached, "area": curve.mean()}
    return pace | ({"seconds": run.seconds} if trained else {})
