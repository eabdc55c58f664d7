"""What trainings are asked: is one setting better than another, is a factor read, how fast is it learnt?

After the open questions of Almudévar et al. (arXiv 2406.16145). A factor that helps must help more than a placebo: a
factor of the same shape that knows nothing of the clips. :func:`workbench.study` runs what is asked over folds and
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
    """Refuse what is no table of a study with these columns."""
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
        The column that says which setting a run had.
    limits : (low, high), optional
        Between which the figure can lie, (-1, 1) for differences of rates; the interval is cut there.
    level : float
        Level of the interval.

    Returns
    -------
    pandas.DataFrame
        Index ``by``; columns difference (mean over folds), low, high
        (:func:`workbench.metrics.intervals.fold_interval`; NaN with one fold), folds and seeds.

    Raises
    ------
    ParameterError
        An unknown baseline or metric, or a setting without a run on a fold and seed of the baseline.
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
    """Mean of a study's figure over folds, a row a setting, with its interval and spreads.

    Parameters
    ----------
    table : pandas.DataFrame
        A table of :func:`workbench.study`, with columns fold and seed.
    metric : str
        The column that is averaged.
    by : str
        The column that says which setting a run had.
    limits : (low, high), optional
        Between which the figure can lie, (0, 1) for rates; the interval is cut there.
    level : float
        Level of the interval.

    Returns
    -------
    pandas.DataFrame
        Index ``by``; columns mean, low, high (:func:`workbench.metrics.intervals.fold_interval`; NaN with one fold),
        fold_spread and seed_spread (standard deviations over folds of the means over seeds, and over seeds within a
        fold; NaN of one), and runs.
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
    """Difference of two settings of a study, on the same folds and seeds, for :func:`workbench.views.compared`.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of :func:`workbench.study`, perhaps of several of them, with columns ``by``, fold and seed. A setting that
        was run with the first seed alone, as nothing in it is drawn, counts with that for every seed of the fold. Runs
        that failed are left out.
    a, b : str
        Values of the column ``by``.
    metric : str
        The column that is compared.
    by : str
        The column that says which setting a run had.

    Returns
    -------
    difference, low, high : float
        a minus b, as :func:`paired_differences` says. The bounds are NaN where all pairs share one fold, whose seeds
        say nothing of other test clips; all are where there is no pair.

    Raises
    ------
    ParameterError
        A setting or a metric that the table lacks.
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
    """Without the last digits, in which what is 0 would have a sign."""
    return tuple(round(float(value), 12) for value in values)


@checked
def spread(
    table: pd.DataFrame, columns: Sequence[str], *, by: str = "loss", over: str = "fold", digits: int = 3
) -> pd.DataFrame:
    """Mean of each setting of a study with its lowest and highest fold, to be shown.

    Parameters
    ----------
    table : pandas.DataFrame
        A table of :func:`workbench.study`.
    columns : sequence of str
        What was measured.
    by : str
        The column that says which setting a run had.
    over : str
        The column whose values make the spread: runs that share one, such as the seeds of a fold, are averaged first.
    digits : int
        Decimals.

    Returns
    -------
    pandas.DataFrame
        Index ``by``, in the order of the table; texts such as "0.853 (0.800 to 0.900)": mean of the folds, lowest and
        highest of them. A mean alone where the folds are alike to these decimals, "" where nothing was measured.

    Raises
    ------
    ParameterError
        A column that the table does not have.
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
    """Levels of the same shape that say nothing of their clips, to be trained like the true ones.

    Parameters
    ----------
    levels : array_like of int (N, m)
    seed : int

    Returns
    -------
    dict of str to np.ndarray int64 (N, m)
        "shuffled": the rows in another order, so that factors depend on each other as before. "random": a Gaussian
        number for each clip and factor, cut into as many levels as the factor has, all equally peopled.

    Raises
    ------
    ParameterError
        No integers, or another number of axes.
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
    told: Literal["true", "shuffled", "random", "nothing"] = "true",
    count: int = 3,
    code: Literal["one-hot", "thermometer"] = "thermometer",
    weight: float = 10.0,
    seed: int = 0,
    **training: object,
) -> dict[str, float]:
    """Train with prototypes of factors and measure what is decided and read: a task of :func:`workbench.study`.

    Parameters
    ----------
    inputs, y, split
        As in :func:`fit_classifier`; levels are cut on the training part alone.
    values : array_like float (N, m)
        Factors of all clips, finite.
    names : sequence of str (m,)
        Their names.
    dim : int
        k, the length of the network's embeddings.
    scale : float
        Length of every block's prototypes.
    told : {"true", "shuffled", "random", "nothing"}
        What the clips are pulled to: their true levels, a placebo (:func:`placebos`), or nothing, which is
        cross-entropy alone.
    count : int
        Number of levels of each factor.
    code : {"one-hot", "thermometer"}
        Code of the levels, as in :class:`FactorPrototypes`.
    weight : float
        Weight of the pull.
    seed : int
        Draws weights and placebos.
    **training
        Keyword arguments of :func:`fit_classifier`, such as ``network`` and ``epochs``.

    Returns
    -------
    dict
        accuracy and balanced_accuracy of the test clips, then, unless nothing is told, chance (1 / count) and, as means
        over factors and factor by factor (as "kappa pitch"), level_read (share of levels read rightly), kappa
        (quadratic-weighted) and rank_correlation (of the block's position and the factor's value); last seconds.
        Placebo levels are compared with the placebo.

    Raises
    ------
    ParameterError
        What :class:`Levels`, :class:`FactorPrototypes` and :func:`fit_classifier` refuse, or a split without a test
        part.
    """
    values, shared = numbers("values", values, ndim=2).astype(np.float64), {"seed": seed, "progress": False, **training}
    test = fitting(split, len(values)).test
    if told == "nothing":
        run, read = fit_classifier(inputs, y, split, loss="cross_entropy", **shared), {}
    else:
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
        Name of the row -> its trainings or their histories, a seed each. Train them all for as many epochs, without
        ``patience``: the area is a mean over epochs.
    metric : str
        Column of the histories; higher is better.
    share : float
        Share of the final value that is to be reached.

    Returns
    -------
    pandas.DataFrame
        Index name; mean and sd (over runs; NaN for one) of: final (value of the last epoch), epochs_to_share (epochs
        until ``share`` of the run's own final value was first reached; a poor end is reached early, so read it beside
        final), area (mean value over epochs) and, of :class:`TrainedClassifier`, seconds. Columns (quantity, "mean" or
        "sd"), and ("runs", "count").

    Raises
    ------
    ParameterError
        No runs, a history without the metric, a share outside (0, 1].
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
