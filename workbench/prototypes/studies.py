"""Studies of what the paper left open: which factors, how many levels, and does a fixed target speed up training?

After the open questions of Almudévar et al. (arXiv 2406.16145). A factor that helps must help more than a placebo: a
factor of the same shape that knows nothing of the clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, number, numbers, several, whole
from ..core.errors import ParameterError
from ..core.learning import Gathered, to_run
from ..core.splits import split_rows
from ..metrics.geometry import rank_correlation, weighted_kappa
from .explaining import explain
from .factors import FactorPrototypes, Levels
from .tracks import known
from .training import Trained, train_classifier

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

CODES = ("one-hot", "thermometer")
"""Of :class:`FactorPrototypes`."""
PLACEBOS = ("shuffled", "random")
"""Kinds of levels without information."""


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
def factor_study(
    inputs: ArrayLike,
    y: ArrayLike,
    splits: Sequence[object],
    values: ArrayLike,
    names: Sequence[str],
    *,
    network: Callable[[], nn.Module],
    dim: int,
    scale: float,
    weight: float = 10.0,
    counts: Sequence[int] = (2, 3, 4, 6, 8, 12),
    codes: Sequence[str] = ("one-hot", "thermometer"),
    subsets: Sequence[Sequence[str]] | str = "together",
    placebo: Sequence[str] = ("shuffled",),
    seeds: Sequence[int] = (0,),
    progress: bool = True,
    **training: object,
) -> pd.DataFrame:
    """Train with prototypes of factors: each number of levels, code and subset of the factors, true and placebo.

    Parameters
    ----------
    inputs, y, network
        As in :func:`train_classifier`.
    splits : sequence of splits
        A fold each; levels are cut on its training part alone.
    values : array_like float (N, m)
        Factors of all clips, finite.
    names : sequence of str (m,)
        Factors.
    dim : int
        k, of the network's embeddings.
    scale : float
        Of the prototypes.
    weight : float
        Of the pull, the same for all.
    counts : sequence of int
        Numbers of levels.
    codes : sequence of str
        Of :class:`FactorPrototypes`.
    subsets : "together", "all", or sequence of sequences of str
        Which factors prototypes depend on: all m at once, each of the 2^m - 1 subsets, or these.
    placebo : sequence of str
        Kinds of :func:`placebos` that each setting is also trained with; none: ``()``.
    seeds : sequence of int
        Of weights and placebos.
    progress : bool
        Show a bar over all runs.
    training
        Keyword arguments of :func:`train_classifier` for all, such as ``epochs``.

    Returns
    -------
    pandas.DataFrame
        Row a run: count, code, factors, told ("true", a placebo, or "nothing": cross-entropy alone, once a fold and
        seed), fold, seed, and of the test clips accuracy, balanced_accuracy and, as means over factors, level_read
        (share of levels read rightly), chance (1 / count), kappa (quadratic-weighted) and rank_correlation (of the
        block's position and the factor's value); the last three and level_read also factor by factor, as "kappa pitch";
        seconds. Placebo levels are compared with the placebo.

    Raises
    ------
    ParameterError
        Nothing to run, an unknown factor or placebo; what :class:`Levels`, :class:`FactorPrototypes` and
        :func:`train_classifier` refuse.
    """
    import pandas as pd
    from sklearn.metrics import balanced_accuracy_score
    from tqdm.auto import tqdm

    splits, seeds = to_run(splits=splits, seeds=seeds)
    values, names = numbers("values", values, ndim=2).astype(np.float64), tuple(names)
    if values.shape[1] != len(names):
        raise ParameterError("names", names, f"{values.shape[1]} factors, one a column of values")
    y = known(y)
    if len(values) != len(y):
        raise ParameterError("values.shape", values.shape, f"({len(y)}, m), a row a clip")
    whole("dim", dim, least=1)
    number("scale", scale, above=0)
    number("weight", weight, least=0)
    counts = several("counts", counts, lambda name, count: whole(name, count, least=2))
    codes = several("codes", codes, lambda name, code: choice(name, code, CODES))
    for kind in placebo:
        choice("placebo", kind, PLACEBOS)
    gathered = Gathered()
    chosen = _subsets(subsets, names)
    settings = [*product(counts, codes, chosen, ("true", *placebo)), (None, None, (), "nothing")]
    shared = {"network": network, "progress": False, **training}
    rows = []
    with tqdm(total=len(settings) * len(splits) * len(seeds), disable=not progress, desc="runs") as bar:
        for (count, code, factors, told), (fold, split), seed in product(settings, enumerate(splits), seeds):
            bar.set_postfix(levels=count, told=told, refresh=False)
            row = {
                "count": count,
                "code": code,
                "factors": ", ".join(factors),
                "told": told,
                "fold": fold,
                "seed": seed,
            }
            if told == "nothing":
                with gathered.run(f"nothing told, fold {fold}, seed {seed}"):
                    run = train_classifier(inputs, y, split, loss="cross_entropy", seed=seed, **shared)
                read = {}
            else:
                some = values[:, [names.index(name) for name in factors]]
                cuts = Levels.fit(some[split_rows(split, len(some))["train"]], factors, count=count)
                levels = cuts.codes(some)
                if told != "true":
                    some = levels = placebos(levels, seed)[told]
                points = FactorPrototypes(cuts, dim, scale=scale, code=code)
                pull = {"loss": {"name": "prototype", "weight": weight}, "factors": points, "levels": levels}
                with gathered.run(f"{count} levels, {told}, fold {fold}, seed {seed}"):
                    run = train_classifier(inputs, y, split, seed=seed, **pull, **shared)
                read = {"chance": 1 / count} | _read(run, points, levels, some)
            test = run.split["test"]
            uar = balanced_accuracy_score(run.classes[run.y[test]], run.predictions[test])
            row |= {"fold": fold, "seed": seed}
            rows.append(row | {"accuracy": run.accuracy, "balanced_accuracy": uar} | read | {"seconds": run.seconds})
            bar.update()
    gathered.finish("factor_study", len(rows))
    return pd.DataFrame(rows)


def _subsets(subsets: Sequence[Sequence[str]] | str, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    if isinstance(subsets, str):
        choice("subsets", subsets, ("together", "all"))
        sizes = (len(names),) if subsets == "together" else range(1, len(names) + 1)
        return [some for size in sizes for some in combinations(names, size)]
    chosen = [
        (some,) if isinstance(some, str) else tuple(several(name, some, lambda _, one: one))
        for name, some in ((f"subsets[{i}]", some) for i, some in enumerate(subsets))
    ]
    if not chosen or not all(chosen):
        raise ParameterError("subsets", subsets, "at least one, of at least one factor each")
    for name in (name for some in chosen for name in some):
        choice("subsets", name, names)
    return chosen


def _read(run: Trained, points: FactorPrototypes, levels: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """How well the test clips' levels are read, over all factors and factor by factor."""
    test = run.split["test"]
    explanation = explain(run.z[test], run.weight, run.bias, points)
    each = {"level_read": [], "kappa": [], "rank_correlation": []}
    for f in range(len(points.levels.names)):
        read, true = explanation.levels[:, f], levels[test, f]
        each["level_read"].append(float((read == true).mean()))
        each["kappa"].append(weighted_kappa(true, read))
        each["rank_correlation"].append(rank_correlation(explanation.positions[:, f], values[test, f]))
    factors = points.levels.names
    single = {f"{what} {name}": x for what, xs in each.items() for name, x in zip(factors, xs, strict=True)}
    return {what: float(np.mean(xs)) for what, xs in each.items()} | single


@checked
def dynamics(
    runs: Mapping[str, Sequence[Trained | pd.DataFrame]], *, metric: str = "valid_accuracy", share: float = 0.95
) -> pd.DataFrame:
    """How fast trainings learn, from their histories.

    Parameters
    ----------
    runs : mapping of str to sequence of Trained or DataFrame
        Name of the row -> its trainings or their histories, a seed each. Train them all for as many epochs, without
        ``patience``: the area is a mean over epochs.
    metric : str
        Column of the histories; higher is better.
    share : float
        Of the final value that is to be reached.

    Returns
    -------
    pandas.DataFrame
        Index name; mean and sd (over runs; NaN for one) of: final (value of the last epoch), epochs_to_share (epochs
        until ``share`` of the run's own final value was first reached; a poor end is reached early, so read it beside
        final), area (mean value over epochs) and, of :class:`Trained`, seconds. Columns (quantity, "mean" or "sd"),
        and ("runs", "count").

    Raises
    ------
    ParameterError
        No runs, a history without the metric, a share outside (0, 1].
    """
    import pandas as pd

    number("share", share, above=0, most=1)
    if not isinstance(runs, Mapping):
        raise ParameterError("runs", type(runs).__name__, "a mapping of name to trainings")
    rows = {}
    for name, given in runs.items():
        given = [given] if isinstance(given, (Trained, pd.DataFrame)) else several(f"runs[{name!r}]", given, _a_run)
        table = pd.DataFrame([_pace(name, run, metric, share) for run in given])
        rows[name] = table.agg(["mean", "std"]).rename({"std": "sd"}).T.stack()
        rows[name]["runs", "count"] = len(given)
    if not rows:
        raise ParameterError("runs", runs, "at least one")
    return pd.DataFrame(rows).T.rename_axis("run")


def _a_run(name: str, run: object) -> Trained | pd.DataFrame:
    import pandas as pd

    if not isinstance(run, (Trained, pd.DataFrame)) or not len(run.history if isinstance(run, Trained) else run):
        raise ParameterError(name, type(run).__name__, "a training, or its history with at least one row")
    return run


def _pace(name: str, run: Trained | pd.DataFrame, metric: str, share: float) -> dict[str, float]:
    history = run.history if isinstance(run, Trained) else run
    if metric not in history:
        raise ParameterError("metric", metric, f"a column of the history of {name}: {history.columns.tolist()}")
    curve = history[metric].to_numpy()
    reached = int(np.argmax(curve >= share * curve[-1])) + 1
    pace = {"final": curve[-1], "epochs_to_share": reached, "area": curve.mean()}
    return pace | ({"seconds": run.seconds} if isinstance(run, Trained) else {})
