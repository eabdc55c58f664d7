"""Studies of learnt prototypes: how many, where they start, what each part is worth, how near the other class is.

After Alonso-Jiménez et al. (arXiv 2402.09318), whose tables are single runs and which leaves the last three open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, numbers, several, whole
from ..core.errors import ParameterError
from ..core.kept import Kept, read, write
from ..core.learning import Gathered, configured, to_run
from ..core.splits import split_rows
from ..metrics import prototypes as metrics
from ..probes import fit_probes
from . import ceilings
from .learnt import TRAINING_VERSION, LearntConfig, LearntPrototypes, fit_prototypes
from .tracks import checked as vectors
from .tracks import decide, known

if TYPE_CHECKING:
    import os

    import pandas as pd
    import torch

MEASURED = ("accuracy", "balanced_accuracy", "diversity", "collapsed", "near_duplicates", "purity", "step", "seconds")
"""Columns that a run fills."""
ABLATIONS = {
    "default": {},
    "no adaptor": {"adaptor": "none"},
    "cross-entropy .05": {"cross_entropy": 0.05},
    "cross-entropy .75": {"cross_entropy": 0.75},
    "cross-entropy 1": {"cross_entropy": 1.0},
    "temperature 1": {"temperature": 1.0},
    "temperature .03": {"temperature": 0.03},
    "scale 1": {"scale": 1.0},
    "scale 4": {"scale": 4.0},
    "sum": {"similarity": "sum"},
}
"""Name -> fields changed, one at a time. The scale is the width of the kernel: half of it makes distances four times
as large."""


@checked
def compare_prototypes(
    z: ArrayLike,
    y: ArrayLike,
    tracks: ArrayLike | None,
    splits: Sequence[object],
    *,
    models: Mapping[str, Mapping[str, object]],
    seeds: Sequence[int] = (0, 1, 2),
    config: LearntConfig | str = "default",
    resume: bool | str | os.PathLike | None = False,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """Train each setting on the same splits with the same seeds.

    Parameters
    ----------
    z, y, tracks : array_like (N, D), (N,), (N,)
        Segments, their labels and tracks (None: each segment is one).
    splits : sequence of splits
        Rows of train, valid and test; tracks should lie in one of them.
    models : mapping of str to mapping
        Name -> fields of :class:`~.learnt.LearntConfig` that it changes.
    seeds : sequence of int
    config : LearntConfig or str
        What is changed; or a name of :data:`~.learnt.PRESETS`.
    resume : bool or path
        Keep each run in a folder (True: ``trained`` in the user's cache folder) as soon as it is finished; runs of the
        same vectors, labels, tracks, rows, config and seed are read, not trained.
    device, progress
        As of :func:`~.learnt.fit_prototypes`.

    Returns
    -------
    pandas.DataFrame
        Row a run: model, fold, seed, per_class, then of the test tracks accuracy and balanced_accuracy, then of the
        prototypes and the training segments diversity, collapsed, near_duplicates and purity
        (:mod:`..metrics.prototypes`), then step kept and seconds. Renamed to "loss", the column "model" makes it a
        table for :func:`~.comparing.paired_differences`.

    Raises
    ------
    ParameterError
        Nothing to compare, or what :func:`~.learnt.fit_prototypes` refuses.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    z, y, tracks = _inputs(z, y, tracks)
    models, splits, seeds = to_run(models=models, splits=splits, seeds=seeds)
    base, gathered = configured(LearntConfig, config, {}), Gathered()
    for name, fields in models.items():
        if not isinstance(fields, Mapping):
            raise ParameterError(f"models[{name!r}]", fields, "a mapping of fields of LearntConfig")
    chosen = {name: configured(LearntConfig, base, fields) for name, fields in models.items()}
    kept = Kept(resume, f"compare_prototypes {TRAINING_VERSION}", {"z": z, "y": y, "tracks": tracks})
    rows = []
    with tqdm(total=len(models) * len(splits) * len(seeds), disable=not progress, desc="runs") as bar:
        for name, own in chosen.items():
            for fold, split in enumerate(splits):
                split = split_rows(split, len(z))
                for seed in seeds:
                    bar.set_postfix(model=name, fold=fold, seed=seed, refresh=False)
                    row = {"model": name, "fold": fold, "seed": seed, "per_class": own.per_class}
                    path = kept.path(split=split, config=own, seed=int(seed))
                    found = read(path, MEASURED)
                    if found is None:
                        with gathered.run(f"{name}, fold {fold}, seed {seed}"):
                            found = _measured(z, y, tracks, split, config=own, seed=int(seed), device=device)
                        write(path, found)
                    rows.append(row | found)
                    bar.update()
    gathered.finish("compare_prototypes", len(rows))
    return pd.DataFrame(rows)


def accuracy_against_k(
    z: ArrayLike,
    y: ArrayLike,
    tracks: ArrayLike | None,
    splits: Sequence[object],
    *,
    ks: Sequence[int] = (1, 3, 5, 10, 20),
    **options: object,
) -> pd.DataFrame:
    """How accuracy grows with K, the prototypes of a class; the column model is K. Else :func:`compare_prototypes`."""
    models = {k: {"per_class": k} for k in several("ks", ks, lambda name, k: whole(name, k, least=1))}
    return compare_prototypes(z, y, tracks, splits, models=models, **options)


def order_study(
    z: ArrayLike,
    y: ArrayLike,
    tracks: ArrayLike | None,
    splits: Sequence[object],
    *,
    ks: Sequence[int] = (3, 5, 10),
    **options: object,
) -> pd.DataFrame:
    """Do prototypes that start in another class end up alike? Both orders of centroids, K by K.

    Models are "class-major 5" and so on, and "paper_code 5", where most prototypes start from another class's
    centroid (:func:`~.learnt.place_of_starts`). Read ``diversity`` and ``collapsed`` beside the accuracy.
    Else :func:`compare_prototypes`.
    """
    orders = ("class-major", "paper_code")
    ks = several("ks", ks, lambda name, k: whole(name, k, least=1))
    models = {f"{order} {k}": {"per_class": k, "order": order} for k in ks for order in orders}
    return compare_prototypes(z, y, tracks, splits, models=models, **options)


def ablation(
    z: ArrayLike,
    y: ArrayLike,
    tracks: ArrayLike | None,
    splits: Sequence[object],
    *,
    only: Sequence[str] | None = None,
    **options: object,
) -> pd.DataFrame:
    """What each part is worth: :func:`compare_prototypes` with :data:`ABLATIONS`, or only some of them."""
    names = list(ABLATIONS) if only is None else several("only", only, lambda _, name: choice("only", name, ABLATIONS))
    return compare_prototypes(z, y, tracks, splits, models={name: ABLATIONS[name] for name in names}, **options)


@checked
def compare_ceilings(
    z: ArrayLike,
    y: ArrayLike,
    tracks: ArrayLike | None,
    splits: Sequence[object],
    *,
    per_class: int = 5,
    neighbours: int = 5,
    steps: int = 3000,
    seeds: Sequence[int] = (0, 1, 2),
    device: str | torch.device = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """What to read prototypes against, on the same splits: :mod:`.ceilings` and a linear probe.

    Returns
    -------
    pandas.DataFrame
        Row a run: model ("MLP", "linear probe", "nearest neighbours", "nearest centroid", "untrained prototypes"),
        fold, seed, accuracy and balanced_accuracy of the test tracks. What has no randomness has seed 0 alone.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    z, y, tracks = _inputs(z, y, tracks)
    splits, seeds = to_run(splits=splits, seeds=seeds)
    whole("steps", steps, least=1)
    rows, gathered = [], Gathered()

    def add(model: str, fold: int, seed: int, logits: np.ndarray, test: np.ndarray) -> None:
        labels = np.unique(y[split["train"]])
        score = decide(logits, labels, tracks[test]).score(y[test], tracks[test])
        rows.append({"model": model, "fold": fold, "seed": seed, **score})

    for fold, split in enumerate(tqdm(splits, disable=not progress, desc="folds")):
        split = split_rows(split, len(z))
        own, held, test = (split[name] for name in ("train", "valid", "test"))
        for seed in seeds:
            options = {"steps": steps, "seed": int(seed), "device": device, "progress": False}
            with gathered.run(f"MLP, fold {fold}, seed {seed}"):
                network = ceilings.fit_ceiling(z[own], y[own], validation=(z[held], y[held]), **options)
            add("MLP", fold, seed, network.logits(z[test]), test)
            given = {"per_class": per_class, "seed": int(seed)}
            logits = ceilings.untrained_prototypes(z[own], y[own], z[test], **given)
            add("untrained prototypes", fold, seed, logits, test)
        probe = fit_probes({"z": z}, y, split, device=device)
        add("linear probe", fold, 0, np.log(np.maximum(probe.probabilities[0, 0], 1e-30)), test)
        logits = ceilings.nearest_neighbours(z[own], y[own], z[test], neighbours=neighbours)
        add("nearest neighbours", fold, 0, logits, test)
        add("nearest centroid", fold, 0, ceilings.nearest_centroid(z[own], y[own], z[test]), test)
    gathered.finish("compare_ceilings", len(splits) * len(seeds))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Adversarial:
    """How far a vector moves before the decision is the target; made by :func:`adversarial_example`."""

    z: np.ndarray
    """Moved to just beyond the boundary, float32 (D,); as it was where no way flips it."""
    prototype: int
    """The target's prototype that is reached with the shortest move."""
    length: float
    """L2 length of the move in the units of z; infinite where the decision does not flip on the way."""
    relative: float
    """Length over the distance of z to the nearest of the real vectors given; NaN without any."""
    share: float
    """Length over the whole way to the prototype, in [0, 1]."""
    random_flips: float
    """Share of random directions of equal length that change the decision to the target."""
    towards_others: float
    """Median length of the move towards real vectors of the target class; infinite if most do not flip; NaN without."""


@checked
def adversarial_example(
    model: LearntPrototypes,
    z: ArrayLike,
    target: object,
    *,
    real: ArrayLike | None = None,
    real_labels: ArrayLike | None = None,
    directions: int = 100,
    points: int = 200,
    seed: int = 0,
) -> Adversarial:
    """Move a segment's vector on the straight line to a prototype of another class until that is the decision.

    Parameters
    ----------
    model : LearntPrototypes
    z : array_like (D,)
        One segment.
    target : label
        The class wanted.
    real : array_like (N, D), optional
        Real vectors, not z itself: the unit in which the move is read.
    real_labels : array_like (N,), optional
        Their labels; then moves towards up to ``directions`` real vectors of the target class are compared.
    directions : int
        Controls of each kind.
    points : int
        Places looked at on each line; the boundary is then halved down to a thousandth of a step.
    seed : int
        Of the controls.

    Returns
    -------
    Adversarial

    Raises
    ------
    ParameterError
        A target that the model does not know, or that z is decided as already.
    """
    if not isinstance(model, LearntPrototypes):
        raise ParameterError("model", type(model).__name__, "LearntPrototypes, as fit_prototypes gives them")
    z = numbers("z", z, ndim=1).astype(np.float32)
    whole("directions", directions, least=1)
    whole("points", points, least=1)
    choices = model.labels.tolist()
    target = target.item() if isinstance(target, np.generic) else target
    column = choices.index(choice("target", target, choices))
    if model.logits(z[None]).argmax() == column:
        raise ParameterError("target", target, "a class that the segment is not decided as already")
    ends = model.prototypes()
    own = np.flatnonzero(model.classes == column)
    shares = [_flip(model, z, ends[j], column, points) for j in own]
    lengths = [share * float(np.linalg.norm(ends[j] - z)) for share, j in zip(shares, own, strict=True)]
    best = int(np.argmin(lengths))
    length, share, prototype = lengths[best], shares[best], int(own[best])
    flipped = np.isfinite(length)
    moved = (z + share * (ends[prototype] - z)).astype(np.float32) if flipped else z
    rng = np.random.default_rng(seed)
    ways = rng.normal(size=(directions, len(z)))
    ways *= (length if flipped else np.linalg.norm(ends[prototype] - z)) / np.linalg.norm(ways, axis=1, keepdims=True)
    random_flips = float(np.mean(model.logits(z + ways).argmax(1) == column))
    unit, others = float("nan"), float("nan")
    if real is not None:
        real = vectors(real, "real")
        if real.shape[1] != len(z):
            raise ParameterError("real.shape", real.shape, f"(N, {len(z)}), as z")
        unit = float(np.linalg.norm(real - z, axis=1).min())
    if real is not None and real_labels is not None:
        rows = np.flatnonzero(known(real_labels, len(real), "real_labels") == target)
        rows = rng.permutation(rows)[:directions]
        far = [_flip(model, z, real[i], column, points) * float(np.linalg.norm(real[i] - z)) for i in rows]
        others = float(np.median(far)) if far else float("nan")
    relative = length / unit if unit else float("inf")
    return Adversarial(moved, prototype, length, relative, share, random_flips, others)


def _flip(model: LearntPrototypes, start: np.ndarray, end: np.ndarray, column: int, points: int) -> float:
    """Least share of the way at which the decision is the column; infinite where it never is."""

    def decided(shares: np.ndarray) -> np.ndarray:
        return model.logits(start + shares[:, None] * (end - start)).argmax(1) == column

    grid = np.linspace(0, 1, points + 1)
    found = decided(grid)
    if not found.any():
        return float("inf")
    high = grid[found.argmax()]
    low = high - 1 / points
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (low, middle) if decided(np.array([middle]))[0] else (middle, high)
    return float(high)


def _inputs(z: ArrayLike, y: ArrayLike, tracks: ArrayLike | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z = vectors(z)
    return z, known(y, len(z)), np.arange(len(z)) if tracks is None else known(tracks, len(z), "tracks")


def _measured(
    z: np.ndarray,
    y: np.ndarray,
    tracks: np.ndarray,
    split: dict,
    *,
    config: LearntConfig,
    seed: int,
    device: str | torch.device,
) -> dict[str, float]:
    own, held, test = (split[name] for name in ("train", "valid", "test"))
    validation = (z[held], y[held], tracks[held]) if len(held) else None
    options = {"config": config, "seed": seed, "device": device, "progress": False}
    model = fit_prototypes(z[own], y[own], tracks[own], validation=validation, **options)
    found = model.predict(z[test], tracks[test]).score(y[test], tracks[test])
    found |= metrics.evaluate(model.prototypes(), model.labels[model.classes], z[own], y[own])
    return found | {"step": model.step, "seconds": model.seconds}
