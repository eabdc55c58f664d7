"""Comparing losses on the same folds and seeds, pair by pair; long comparisons go on where they stopped."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from ..core.checks import checked, choice, number, whole
from ..core.errors import ParameterError
from ..core.kept import Kept, read, write
from ..core.learning import Gathered, to_run
from ..core.splits import split_rows
from ..metrics import geometry
from .factors import FactorPrototypes
from .recipes import Recipe
from .training import _checked, train_classifier

if TYPE_CHECKING:
    import pandas as pd

TRAINING_VERSION = 1
"""To be raised when training changes its numbers: runs kept for resuming are then not found any more."""
MEASURED = ("accuracy", "accuracy_nearest", "calibration_error", "nc1", "nc2", "epochs", "epoch", "seconds")
"""Columns that a run fills."""


@checked
def compare_losses(
    inputs: ArrayLike,
    y: ArrayLike,
    splits: Sequence[object],
    *,
    losses: Mapping[str, str | Mapping[str, object]],
    network: Callable[[], nn.Module],
    seeds: Sequence[int] = (0, 1, 2),
    resume: bool | str | os.PathLike | None = False,
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
    resume : bool or path
        Keep each run in a folder (True: ``trained`` in the user's cache folder) as soon as it is finished, in a small
        file named by a hash of all that decides its numbers: inputs, labels, rows of the split, loss, prototypes,
        recipe, network with its first weights, and seed. Runs that are there are read, not trained, also by other
        comparisons and processes. The device and the versions of packages do not count.
    progress : bool
        Show a bar over all runs.
    shared
        Keyword arguments of :func:`train_classifier` for all.

    Returns
    -------
    pandas.DataFrame
        Row a run: loss, fold, seed, accuracy, accuracy_nearest, calibration_error, nc1 and nc2 of the test clips,
        epochs run, epoch kept, seconds.

    Raises
    ------
    ParameterError
        Nothing to compare, what :func:`train_classifier` refuses, a ``resume`` that is no folder, or an option that
        cannot be hashed.

    Warns
    -----
    UserWarning
        A file of ``resume`` is damaged; it is named, and its run trained again.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    losses, splits, seeds = to_run(losses=losses, splits=splits, seeds=seeds)
    gathered = Gathered()
    for name, given in losses.items():
        if not isinstance(given, (str, Mapping)):
            raise ParameterError(f"losses[{name!r}]", given, "a name, or a mapping of keyword arguments")
    inputs = _checked(inputs)
    kept = Kept(resume, f"compare_losses {TRAINING_VERSION}", _shared(inputs, y, network) if resume else {})
    rows = []
    with tqdm(total=len(losses) * len(splits) * len(seeds), disable=not progress, desc="runs") as bar:
        for name, given in losses.items():
            options = shared | ({"loss": given} if isinstance(given, str) else dict(given))
            for fold, split in enumerate(splits):
                for seed in seeds:
                    bar.set_postfix(loss=name, fold=fold, seed=seed, refresh=False)
                    path = kept.path(split=split_rows(split, len(inputs)), seed=int(seed), **_decisive(options))
                    row = {"loss": name, "fold": fold, "seed": seed}
                    found = read(path, MEASURED)
                    where = f"{name}, fold {fold}, seed {seed}"
                    if found is None:
                        with gathered.run(where):
                            found = _measured(inputs, y, split, network=network, seed=seed, **options)
                        write(path, found)
                    elif found["epoch"] == 0 and found["epochs"] > 1:
                        gathered.unlearnt.append(where)
                    rows.append(row | found)
                    bar.update()
    gathered.finish("compare_losses", len(rows))
    return pd.DataFrame(rows)


def _measured(inputs: ArrayLike, y: ArrayLike, split: object, **options: object) -> dict[str, float]:
    """Train once; the columns of :data:`MEASURED`."""
    run = train_classifier(inputs, y, split, progress=False, **options)
    z, true = run.z[run.split["test"]], run.y[run.split["test"]]
    numbers = (run.accuracy, run.accuracy_nearest, run.calibration_error, geometry.nc1(z, true), geometry.nc2(z, true))
    return dict(zip(MEASURED, (*numbers, len(run.history), run.epoch, run.seconds), strict=True))


def _shared(inputs: ArrayLike, y: ArrayLike, network: Callable[[], nn.Module]) -> dict[str, object]:
    """What all runs depend on; of the network also its first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = network if isinstance(network, nn.Module) else network()
    return {"inputs": np.asarray(inputs, dtype=np.float32), "y": y, "network": network, "weights": first}


def _decisive(options: Mapping[str, object]) -> dict[str, object]:
    """Options of a run that decide its numbers, however they were given."""
    rest = {name: value for name, value in options.items() if name not in ("device", "progress")}
    fields = {name: rest.pop(name) for name in Recipe.__dataclass_fields__ if name in rest}
    rest["recipe"] = dataclasses.replace(Recipe.preset(rest.pop("preset", "default")), **fields)
    loss = rest.pop("loss", "prototype")
    rest["loss"] = {"name": loss} if isinstance(loss, str) else loss
    if isinstance(rest.get("factors"), FactorPrototypes):
        rest["factors"] = {"matrix": rest["factors"].matrix, "counts": rest["factors"].levels.counts}
    return rest


@checked
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

    if not isinstance(table, pd.DataFrame) or not {"loss", "fold", "seed"} <= set(table.columns):
        raise ParameterError("table", type(table).__name__, "a table of compare_losses, with loss, fold and seed")
    number("level", level, above=0, below=1)
    whole("samples", samples, least=1)
    names = list(dict.fromkeys(table["loss"]))
    choice("baseline", baseline, names)
    choice("metric", metric, [column for column in table.columns if column not in ("loss", "fold", "seed")])
    if table[metric].dtype.kind not in "fiub":
        raise ParameterError("metric", metric, f"a column of numbers, not of {table[metric].dtype}")
    if table.duplicated(["loss", "fold", "seed"]).any():
        raise ParameterError("table", f"{len(table)} rows", "one run a loss, fold and seed")
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
