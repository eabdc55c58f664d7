"""Comparing losses on the same folds and seeds, pair by pair; long comparisons go on where they stopped."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..embeddings.store import default_root
from ..encoders.interface import fingerprint
from ..errors import ParameterError
from ..metrics import geometry
from ..probes.inputs import parts
from .baselines import choose
from .factors import FactorPrototypes
from .mixing import Recipe
from .training import train_classifier

if TYPE_CHECKING:
    import pandas as pd

TRAINING_VERSION = 1
"""To be raised when training changes its numbers: runs kept for resuming are then not found any more."""
MEASURED = ("accuracy", "accuracy_nearest", "calibration_error", "nc1", "nc2", "epochs", "epoch", "seconds")
"""Columns that a run fills."""


def compare_losses(
    inputs: ArrayLike,
    y: ArrayLike,
    splits: Sequence[object],
    *,
    losses: Mapping[str, str | Mapping[str, object]],
    network: Callable[[], nn.Module],
    seeds: Sequence[int] = (0, 1, 2),
    resume: bool | str | os.PathLike = False,
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

    splits, seeds = list(splits), list(seeds)
    for name, given in (("losses", losses), ("splits", splits), ("seeds", seeds)):
        if not len(given):
            raise ParameterError(name, given, "at least one")
    folder = default_root() / "trained" if resume is True else resume
    kept = _Kept(folder, inputs, y, network) if folder else None
    rows = []
    with tqdm(total=len(losses) * len(splits) * len(seeds), disable=not progress, desc="runs") as bar:
        for name, given in losses.items():
            options = shared | ({"loss": given} if isinstance(given, str) else dict(given))
            for fold, split in enumerate(splits):
                for seed in seeds:
                    bar.set_postfix(loss=name, fold=fold, seed=seed, refresh=False)
                    path = None if kept is None else kept.path(split, seed, options)
                    row = {"loss": name, "fold": fold, "seed": seed}
                    found = None if path is None else _read(path)
                    if found is None:
                        found = _measured(inputs, y, split, network=network, seed=seed, **options)
                        if path is not None:
                            _write(path, row | found)
                    rows.append(row | found)
                    bar.update()
    return pd.DataFrame(rows)


def _measured(inputs: ArrayLike, y: ArrayLike, split: object, **options: object) -> dict[str, float]:
    """Train once; the columns of :data:`MEASURED`."""
    run = train_classifier(inputs, y, split, progress=False, **options)
    z, true = run.z[run.split["test"]], run.y[run.split["test"]]
    numbers = (run.accuracy, run.accuracy_nearest, run.calibration_error, geometry.nc1(z, true), geometry.nc2(z, true))
    return dict(zip(MEASURED, (*numbers, len(run.history), run.epoch, run.seconds), strict=True))


class _Kept:
    """The folder of finished runs; hashes once what all runs share."""

    def __init__(self, folder: str | os.PathLike, inputs: ArrayLike, y: ArrayLike, network: Callable[[], nn.Module]):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParameterError("resume", str(folder), f"a folder to write to ({error})") from None
        self.clips = len(inputs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first = network if isinstance(network, nn.Module) else network()
        shared = {"inputs": np.asarray(inputs, dtype=np.float32), "y": y, "network": network, "weights": first}
        self.shared = [(name, _plain(name, value)) for name, value in shared.items()]

    def path(self, split: object, seed: int, options: Mapping[str, object]) -> Path:
        """Where the run is, or will be."""
        rest = {name: value for name, value in options.items() if name not in ("device", "progress")}
        fields = {name: rest.pop(name) for name in Recipe.__dataclass_fields__ if name in rest}
        recipe = dataclasses.replace(Recipe.preset(rest.pop("preset", "default")), **fields)
        loss = rest.pop("loss", "prototype")
        rest["loss"] = {"name": loss} if isinstance(loss, str) else loss
        own = {"split": parts(split, self.clips), "seed": int(seed), "recipe": recipe, **rest}
        plain = sorted((name, _plain(name, value)) for name, value in own.items())
        return self.folder / f"{fingerprint('compare_losses', TRAINING_VERSION, self.shared, plain)}.json"


def _plain(name: str, value: object) -> object:
    """What a value is, in plain types whose repr is the same in every process: arrays and weights by their hash."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return sorted(((repr(key), _plain(name, each)) for key, each in value.items()), key=lambda pair: pair[0])
    if isinstance(value, FactorPrototypes):
        return _plain(name, {"matrix": value.matrix, "counts": value.levels.counts})
    if isinstance(value, nn.Module):
        return repr(value), fingerprint(weights=value.state_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return type(value).__qualname__, _plain(name, fields)
    if isinstance(value, functools.partial):
        return "partial", _plain(name, value.func), _plain(name, value.args), _plain(name, value.keywords)
    if hasattr(value, "__qualname__") and callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, (list, tuple)):
        return [_plain(name, each) for each in value]
    if hasattr(value, "__array__"):
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        if array.dtype.kind in "biuf":
            return fingerprint(weights={"": torch.from_numpy(np.ascontiguousarray(array))})
        return [_plain(name, each) for each in array.tolist()]
    raise ParameterError(name, value, "of plain types, arrays, modules or functions for runs to be resumed")


def _read(path: Path) -> dict[str, float] | None:
    """A finished run's columns; None where there is none, or, with a warning, where its file is damaged."""
    try:
        found = json.loads(path.read_text())
        return {name: found[name] for name in MEASURED}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{path} is damaged ({error!r}); its run is trained again", stacklevel=3)
        return None


def _write(path: Path, row: Mapping[str, object]) -> None:
    """Whole or not at all, whenever the process ends."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(row) + "\n")
    os.replace(partial, path)


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
