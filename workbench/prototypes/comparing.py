"""Comparing losses on the same folds and seeds, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ParameterError
from ..metrics import geometry
from .baselines import choose
from .training import train_classifier

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


def compare_losses(
    inputs: ArrayLike,
    y: ArrayLike,
    splits: Sequence[object],
    *,
    losses: Mapping[str, str | Mapping[str, object]],
    network: Callable[[], nn.Module],
    seeds: Sequence[int] = (0, 1, 2),
    progress: bool = True,
    **shared: object,
) -> pd.DataFrame:
    """Train each loss on the same folds with the same seeds.

    Parameters
    ----------
    inputs, y, network
        As in :func:`train_classifier`.
    splits : sequence of splits
        A fold each.
    losses : mapping of str to str or mapping
        Name of the row -> name of a loss, or keyword arguments of :func:`train_classifier`, such as
        ``{"loss": {"name": "prototype", "weight": 0.1}, "prototypes": M}``; they go before the shared ones.
    seeds : sequence of int
    progress : bool
        Show a bar over all runs.
    shared
        Keyword arguments of :func:`train_classifier` for all.

    Returns
    -------
    pandas.DataFrame
        Row a run: loss, fold, seed, accuracy, accuracy_nearest, calibration_error, nc1 and nc2 of the test clips,
        epochs run, epoch kept, seconds.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    splits, seeds = list(splits), list(seeds)
    for name, given in (("losses", losses), ("splits", splits), ("seeds", seeds)):
        if not len(given):
            raise ParameterError(name, given, "at least one")
    rows = []
    with tqdm(total=len(losses) * len(splits) * len(seeds), disable=not progress, desc="runs") as bar:
        for name, given in losses.items():
            options = shared | ({"loss": given} if isinstance(given, str) else dict(given))
            for fold, split in enumerate(splits):
                for seed in seeds:
                    bar.set_postfix(loss=name, fold=fold, seed=seed, refresh=False)
                    run = train_classifier(inputs, y, split, network=network, seed=seed, progress=False, **options)
                    z, true = run.z[run.split["test"]], run.y[run.split["test"]]
                    rows.append(
                        {"loss": name, "fold": fold, "seed": seed, "accuracy": run.accuracy}
                        | {"accuracy_nearest": run.accuracy_nearest, "calibration_error": run.calibration_error}
                        | {"nc1": geometry.nc1(z, true), "nc2": geometry.nc2(z, true)}
                        | {"epochs": len(run.history), "epoch": run.epoch, "seconds": run.seconds}
                    )
                    bar.update()
    return pd.DataFrame(rows)


def paired_differences(
    table: pd.DataFrame,
    baseline: str,
    *,
    metric: str = "accuracy",
    level: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Each loss minus the baseline on the same folds and seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`compare_losses`.
    baseline : str
        One of its losses.
    metric : str
        One of its columns.
    level : float
        Of the interval.
    samples : int
        Bootstrap draws over the pairs.
    seed : int
        Of the draws.

    Returns
    -------
    pandas.DataFrame
        Index loss; columns difference (mean), low, high (percentile bootstrap), p_value (Wilcoxon signed-rank,
        two-sided; 1 when no pair differs) and pairs.

    Raises
    ------
    ParameterError
        An unknown baseline or metric, or a loss without a run on a fold and seed of the baseline.

    Notes
    -----
    Seeds of a fold share its clips, so that pairs are not independent: read intervals as for these folds, and p-values
    beside them.
    """
    import pandas as pd
    from scipy.stats import wilcoxon

    names = list(dict.fromkeys(table["loss"]))
    choose("baseline", baseline, tuple(names))
    choose("metric", metric, tuple(column for column in table.columns if column not in ("loss", "fold", "seed")))
    wide = table.pivot(index=["fold", "seed"], columns="loss", values=metric)
    if wide.isna().any(axis=None):
        raise ParameterError("table", str(wide.columns[wide.isna().any()].tolist()), "complete: a run a fold and seed")
    draws = np.random.default_rng(seed).integers(0, len(wide), (samples, len(wide)))
    rows = {}
    for name in names:
        if name == baseline:
            continue
        pairs = (wide[name] - wide[baseline]).to_numpy()
        low, high = np.quantile(pairs[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
        p = float(wilcoxon(pairs).pvalue) if np.any(pairs) else 1.0
        rows[name] = {"difference": pairs.mean(), "low": low, "high": high, "p_value": p, "pairs": len(pairs)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("loss")
