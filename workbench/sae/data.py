"""The vectors that autoencoders train on: checked, gathered by chunks, never held whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..core.checks import numbers
from ..core.errors import ParameterError

#: Bytes gathered at once, over all layers.
CHUNK = 2**27
#: Rows that stand for a training set in its mean, its scale and its fingerprint.
SAMPLE = 2**16


def named(layers: object) -> dict[str, object]:
    """Each layer's (N, D) array or array-like by name, shapes checked.

    Raises
    ------
    ParameterError
        No layer, one that is not (N, D), or layers of different N.
    """
    if isinstance(layers, Mapping):
        arrays = {str(name): array for name, array in layers.items()}
        if len(arrays) < len(layers):
            raise ParameterError("layers", list(layers), "names that differ as text")
    elif hasattr(layers, "layers") and callable(getattr(layers, "layer", None)):
        frames = getattr(layers, "pooling", "mean") is None
        arrays = {str(name): layers.flat_frames(name) if frames else layers.layer(name) for name in layers.layers}
    else:
        raise ParameterError("layers", type(layers).__name__, "a mapping of name to (N, D), or embeddings")
    if not arrays:
        raise ParameterError("layers", [], "at least one layer")
    arrays = {name: _array(f"layers[{name!r}]", array) for name, array in arrays.items()}
    count = next(iter(arrays.values())).shape[:1]
    for name, array in arrays.items():
        if len(array.shape) != 2 or not array.shape[1] or tuple(array.shape[:1]) != tuple(count):
            expected = f"(N, D) with N={count[0] if count else '?'} rows as in the other layers"
            raise ParameterError(f"layers[{name!r}].shape", tuple(array.shape), expected)
    return arrays


def _array(name: str, array: object) -> object:
    """What is asked for rows with ``array[rows]``: anything with a shape and a type of numbers, as it is."""
    if isinstance(array, torch.Tensor):
        return numbers(name, array.detach().cpu().float(), finite=False, empty=True)
    kind = getattr(getattr(array, "dtype", None), "kind", "f")
    plain = hasattr(array, "shape") and hasattr(array, "__getitem__") and not hasattr(array, "iloc")
    if hasattr(array, "toarray"):
        raise ParameterError(name, type(array).__name__, "a dense array of numbers (N, D)")
    return array if plain and kind in "fiubV" else numbers(name, array, finite=False, empty=True)


def positions(rows: ArrayLike, name: str, count: int) -> np.ndarray:
    """Row positions, int64, of positions or of a mask (bool, N).

    Raises
    ------
    ParameterError
        Empty, out of range, or neither.
    """
    rows = numbers(name, rows, empty=True)
    if rows.dtype == bool and rows.shape == (count,):
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not len(rows):
        raise ParameterError(name, f"rows of shape {rows.shape}", "at least one row")
    if rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= count:
        raise ParameterError(
            name, f"{rows.dtype} up to {rows.max()}", f"positions in [0, {count}) or a mask of {count}"
        )
    return rows.astype(np.int64, copy=False)


def chunk_rows(arrays: Mapping[str, object], copies: int = 1) -> int:
    """Rows of all layers, ``copies`` times, that fit into :data:`CHUNK` bytes."""
    return max(1, CHUNK // (4 * copies * sum(array.shape[1] for array in arrays.values())))


def _gather(array: object, rows: np.ndarray, name: str) -> np.ndarray:
    """Rows of one layer, float32 (n, D); read in ascending order, returned in the order asked for.

    Raises
    ------
    ParameterError
        NaN or infinite values: the layer and the row are named.
    """
    order = np.argsort(rows, kind="stable")
    with np.errstate(over="ignore"):  # what does not fit becomes inf and is named below
        read = np.asarray(array[rows[order]], dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(read).all(1))
    if len(bad):
        row = rows[order][bad[0]]
        raise ParameterError(f"layers[{name!r}][{row}]", "nan or inf", f"finite ({len(bad)} such rows where looked)")
    gathered = np.empty_like(read)
    gathered[order] = read
    return gathered


def chunks(array: object, rows: np.ndarray, name: str, size: int) -> Iterator[np.ndarray]:
    """:func:`_gather` by ``size`` rows at a time."""
    for at in range(0, len(rows), size):
        yield _gather(array, rows[at : at + size], name)


def sample(rows: np.ndarray, most: int | None = None) -> np.ndarray:
    """All rows, or ``most`` (default: :data:`SAMPLE`) of them spread evenly."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most or SAMPLE)).astype(np.int64)]


def statistics(arrays: Mapping[str, object], train: np.ndarray) -> dict[str, tuple[np.ndarray, float, str]]:
    """Return, for each layer's sampled training rows, mean (D,), root mean variance a dimension, and a hash of them."""
    moments = {}
    for name, array in arrays.items():
        count, total, squares, digest = 0, 0.0, 0.0, hashlib.sha256(train.tobytes())
        origin = None
        for part in chunks(array, sample(train), name, chunk_rows(arrays)):
            digest.update(part.tobytes())
            origin = part[0].astype(np.float64) if origin is None else origin
            moved = part - origin  # close to the mean: squares lose no digits
            count, total, squares = count + len(part), total + moved.sum(0), squares + np.square(moved).sum(0)
        mean = total / count
        variance = float(np.mean(np.maximum(squares / count - mean**2, 0)))
        moments[name] = ((origin + mean).astype(np.float32), variance**0.5 or 1.0, digest.hexdigest()[:16])
    return moments


def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Order (count,) in which a seed's members see the training rows in one epoch: a fresh permutation of all rows."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def tensors(arrays: Mapping[str, object], rows: list[tuple[str, np.ndarray]], device: torch.device) -> torch.Tensor:
    """Inputs (I, n, D) for a stack: of each (layer, rows) the rows."""
    # memory of torch's own: where an array begins decides how products round, and a resumed run has to round alike
    x = torch.empty(len(rows), len(rows[0][1]), arrays[rows[0][0]].shape[1])
    for place, (name, at) in zip(x.numpy(), rows, strict=True):
        place[:] = _gather(arrays[name], at, name)
    return x.to(device)
