"""Checks of the arguments of the probes, and their conversion to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import numbers
from ..core.errors import ParameterError
from ..core.labels import labels as named
from ..core.labels import missing
from ..core.splits import Split, deal

SMALLEST = 1e-30
"""A layer whose largest absolute value is smaller (and not 0) is refused: single precision would lose its digits."""
PENALTIES = tuple(np.geomspace(0.1, 10_000.0, 8).tolist())
"""Default L2 penalties in ascending order, for standardised inputs and a loss summed over clips."""
INNER_FOLDS = 5
"""Number of folds of train on which the penalty is selected if there is no valid part."""

Repeat = tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray | None]
"""Folds (train rows, validation rows) that select the penalty, and the rows of the final fit; None for no refit, when
the fit on the first fold is final."""


def arrays(layers: object, count: int, used: np.ndarray) -> dict[str, np.ndarray]:
    """Return each layer as (N, D) float32, checked on the rows that are used."""
    if isinstance(layers, Mapping):
        named = {str(name): array for name, array in layers.items()}
        if len(named) < len(layers):
            raise ParameterError("layers", list(layers), "names that differ as text")
    elif hasattr(layers, "layers") and callable(getattr(layers, "layer", None)):
        names = [getattr(layer, "name", layer) for layer in layers.layers]
        named = {str(name): layers.layer(name) for name in names}
    else:
        stacked = numbers("layers", _plain(layers), finite=False, empty=True)
        if stacked.ndim != 3:
            raise ParameterError("layers.shape", stacked.shape, "(L, N, D), or a mapping of name to (N, D)")
        named = {str(i): array for i, array in enumerate(stacked)}
    if not named:
        raise ParameterError("layers", [], "at least one layer")
    arrays = {}
    for name, array in named.items():
        values = numbers(f"layers[{name!r}]", _plain(array), finite=False, empty=True)
        with np.errstate(over="ignore"):  # values too large for float32 become inf and are reported below
            array = np.asarray(values, dtype=np.float32)
        if array.ndim != 2 or len(array) != count or not array.shape[1]:
            raise ParameterError(f"layers[{name!r}].shape", array.shape, f"({count}, D): one row a label in y")
        bad = used[~np.isfinite(array[used]).all(1)]
        if len(bad):
            value = float(array[bad[0]][~np.isfinite(array[bad[0]])][0])
            raise ParameterError(
                f"layers[{name!r}][{bad[0]}]", value, f"finite; clips {bad[:5].tolist()} ({len(bad)} in all)"
            )
        largest = float(np.abs(array[used]).max())
        if largest < SMALLEST and np.any(values[used]):
            expected = f"values up to at least {SMALLEST:.0e} (or 0), for single precision: rescale them"
            raise ParameterError(f"layers[{name!r}]", f"values up to {np.abs(values[used]).max():.1e}", expected)
        arrays[name] = array
    return arrays


def _plain(values: object) -> object:
    """Return floating-point tensors as float32, because numpy has no bfloat16."""
    return values.detach().cpu().float() if isinstance(values, Tensor) and values.is_floating_point() else values


def labels(y: object) -> np.ndarray:
    """Return the labels as an array (N,); missing ones are kept, as only those within the split are checked."""
    try:
        array = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
        if array.dtype.kind in "US" and isinstance(y, (list, tuple)):
            array = np.asarray(y, dtype=object)  # a text array would turn a missing label (nan) into the text "nan"
    except (ValueError, TypeError, RuntimeError):
        raise ParameterError("y", type(y).__name__, "labels (N,), one a clip") from None
    if array.ndim != 1:
        raise ParameterError("y.shape", array.shape, "(N,)")
    return array


def codes(labels: np.ndarray, parts: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of train (C,) and the class number of each clip (N,), -1 for a clip outside the split."""
    used = np.concatenate(list(parts))
    values = labels[used]
    if values.dtype.kind in "Of":
        empty = [int(clip) for clip, value in zip(used, values, strict=True) if missing(value)]
        if empty:
            raise ParameterError("y", "missing", f"a label for every clip of the split; clips {empty[:5]} have none")
    kinds = {isinstance(value, str) for value in values.tolist()}
    if len(kinds) > 1:
        raise ParameterError("y", "text and numbers", "labels of one kind")
    values = named("y", values.tolist())
    if values.dtype.kind == "f" and (values != np.round(values)).any():
        raise ParameterError(
            "y",
            f"numbers such as {values[values != np.round(values)][0]:g}",
            "classes; quantities are read by fit_regression",
        )
    train = values[: len(parts.train)]
    classes = np.unique(train)
    start = len(train)
    for name in ("valid", "test"):
        unknown = np.setdiff1d(values[start : start + len(getattr(parts, name))], classes)
        if len(unknown):
            raise ParameterError(f"classes of split.{name}", unknown.tolist(), "in train too: a probe cannot know them")
        start += len(getattr(parts, name))
    if len(classes) < 2:
        raise ParameterError("classes of split.train", classes.tolist(), "at least two")
    codes = np.full(len(labels), -1, dtype=np.int64)
    codes[used] = np.searchsorted(classes, values)
    return classes, codes


def members(groups: ArrayLike | None, parts: Split, count: int) -> np.ndarray:
    """Return the group number of each clip (N,); without groups every clip is its own group."""
    if groups is None:
        return np.arange(count)
    shape = (len(groups),) if isinstance(groups, (list, tuple)) else np.shape(groups)
    if shape != (count,):
        raise ParameterError("groups.shape", shape, f"({count},): one a label in y")
    used = np.concatenate(list(parts))
    groups = listed(groups)
    names, inverse = np.unique(named("groups", [groups[i] for i in used]), return_inverse=True)
    member = np.full(count, -1)
    member[used] = inverse
    development = np.concatenate([parts.train, parts.valid])
    leaking = names[np.intersect1d(member[parts.test], member[development])]
    if len(leaking):
        raise ParameterError("groups", leaking[:5].tolist(), "on one side only: they are in test and in train or valid")
    return member


def listed(groups: ArrayLike) -> Sequence[object]:
    """Return groups as a list of Python values; a numpy array of NaN and text would turn both into text."""
    return groups if isinstance(groups, (list, tuple)) else np.asarray(groups).tolist()


def path(penalties: Sequence[float] | None, config: str) -> np.ndarray:
    if config == "paper":
        if penalties is not None:
            raise ParameterError("penalties", penalties, "None in the paper's config, which has none")
        return np.empty(0)
    path = np.unique(numbers("penalties", PENALTIES if penalties is None else penalties, ndim=1).astype(np.float64))
    if path.ndim != 1 or not len(path) or not (np.isfinite(path) & (path > 0)).all():
        raise ParameterError("penalties", penalties, "positive and finite")
    return path


def repeats(target: np.ndarray, parts: Split, members: np.ndarray, seeds: Sequence[int] | None) -> list[Repeat]:
    """Return, for each repeat, the folds that select the penalty and the rows of the final fit."""
    development = np.concatenate([parts.train, parts.valid])
    if seeds is None and len(parts.valid):
        return [([(parts.train, parts.valid)], development)]
    count = len(np.unique(members[development]))
    if count < 2:
        raise ParameterError("groups", count, "at least 2 in train and valid together, to hold one out for validation")
    share = len(parts.valid) / len(development) or 1 / INNER_FOLDS
    folds = min(max(round(1 / share), 2), count)
    made: list[Repeat] = []
    for seed in [None] if seeds is None else seeds:
        fold = deal(target[development], members[development], [1 / folds] * folds, seed=seed or 0)
        cuts = [(development[fold != f], development[fold == f]) for f in range(folds)]
        made.append((cuts, development) if seed is None else (cuts[:1], None))
    return made


def position(names: Sequence[str], layer: str | int) -> int:
    """Return the position of a layer given by name or position; the error lists the names of all layers."""
    if isinstance(layer, str) and layer in names:
        return names.index(layer)
    whole = isinstance(layer, (int, np.integer)) and not isinstance(layer, bool)
    if whole and -len(names) <= layer < len(names):
        return int(layer) % len(names)
    raise ParameterError("layer", layer, f"a position or one of {', '.join(names)}")


def tested_once(test: np.ndarray) -> None:
    """Raise an error if a clip is in the test part of two splits."""
    rows, times = np.unique(test, return_counts=True)
    if (times > 1).any():
        raise ParameterError("probes.test", rows[times > 1][:5].tolist(), "tested once, by one of the splits")


def joined_groups(probes: Sequence) -> np.ndarray | None:
    """Return the groups of the test clips of several splits; in a split without groups each clip is its own."""
    if all(each.groups is None for each in probes):
        return None
    return np.concatenate([each.test.astype(str) if each.groups is None else each.groups for each in probes])
