"""Training data of autoencoders: embeddings are checked and read in chunks, so they need not fit in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..core.checks import numbers
from ..core.errors import ParameterError

#: Bytes that are read at once, over all layers.
CHUNK = 2**27
#: Number of training rows from which the mean, the scale and the fingerprint of a training set are computed.
SAMPLE = 2**16
#: Number of training rows by which rows that are far from the others are told, and the share that are not.
TYPICAL_ROWS, TYPICAL = 1024, 0.9


class Moments(NamedTuple):
    """What is known of a layer's training rows before training."""

    mean: np.ndarray
    """Mean, float32 (D,)."""
    scale: float
    """Root of the mean variance per dimension; 1 for rows that do not vary."""
    digest: str
    """Hash of the sampled rows."""
    centre: np.ndarray
    """Median of each dimension, float32 (D,)."""
    reach: float
    """Distance from the centre to which rows beyond it are drawn in; infinite if rows count as they are."""


def named(layers: object) -> dict[str, object]:
    """Return each layer's array (N, D) by name, with checked shapes.

    Raises
    ------
    ParameterError
        If there is no layer, a layer is not (N, D), or layers differ in N.
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
    """Return an object that gives rows by ``array[rows]``; one with a shape and a numeric dtype is not converted."""
    if isinstance(array, torch.Tensor):
        return numbers(name, array.detach().cpu().float(), finite=False, empty=True)
    kind = getattr(getattr(array, "dtype", None), "kind", "f")
    plain = hasattr(array, "shape") and hasattr(array, "__getitem__") and not hasattr(array, "iloc")
    if hasattr(array, "toarray"):
        raise ParameterError(name, type(array).__name__, "a dense array of numbers (N, D)")
    return array if plain and kind in "fiubV" else numbers(name, array, finite=False, empty=True)


def positions(rows: ArrayLike, name: str, count: int) -> np.ndarray:
    """Return row numbers as int64, from row numbers or a boolean mask (N,).

    Raises
    ------
    ParameterError
        If there are no rows, row numbers are out of range, or ``rows`` is neither row numbers nor a mask.
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
    """Return how many rows of all layers, each ``copies`` times, fit into :data:`CHUNK` bytes."""
    return max(1, CHUNK // (4 * copies * sum(array.shape[1] for array in arrays.values())))


def _gather(array: object, rows: np.ndarray, name: str) -> np.ndarray:
    """Return rows of one layer in the given order, float32 (n, D); they are read in ascending order.

    Raises
    ------
    ParameterError
        If values are not finite; the layer and the row are named.
    """
    order = np.argsort(rows, kind="stable")
    with np.errstate(over="ignore"):  # values too large for float32 become inf and are reported below
        read = np.asarray(array[rows[order]], dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(read).all(1))
    if len(bad):
        row = rows[order][bad[0]]
        raise ParameterError(
            f"layers[{name!r}][{row}]", "nan or inf", f"finite ({len(bad)} of the rows read together are not)"
        )
    gathered = np.empty_like(read)
    gathered[order] = read
    return gathered


def chunks(array: object, rows: np.ndarray, name: str, size: int) -> Iterator[np.ndarray]:
    """Yield rows of one layer, ``size`` at a time, as :func:`_gather` returns them."""
    for at in range(0, len(rows), size):
        yield _gather(array, rows[at : at + size], name)


def sample(rows: np.ndarray, most: int | None = None) -> np.ndarray:
    """Return all rows, or at most ``most`` (by default :data:`SAMPLE`) of them, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most or SAMPLE)).astype(np.int64)]


def drawn_in(rows: np.ndarray, centre: np.ndarray, reach: float) -> np.ndarray:
    """Move rows (n, D) that are farther than ``reach`` from the centre towards it to that distance, in place."""
    if np.isfinite(reach):
        with np.errstate(over="ignore"):
            moved = (rows - centre) / np.float32(reach)
            far = np.flatnonzero(np.einsum("nd,nd->n", moved, moved) > 1)
        moved = rows[far].astype(np.float64) - centre
        rows[far] = centre + moved * (reach / np.linalg.norm(moved, axis=1, keepdims=True))
    return rows


def statistics(arrays: Mapping[str, object], train: np.ndarray, bound: float | None) -> dict[str, Moments]:
    """Return the moments of each layer's sampled training rows, drawn in as ``row_bound`` of the settings says."""
    moments = {}
    for name, array in arrays.items():
        some = list(chunks(array, sample(train, TYPICAL_ROWS), name, chunk_rows(arrays)))
        centre = np.median(np.concatenate(some), axis=0)
        apart = [np.linalg.norm(part.astype(np.float64) - centre, axis=1) for part in some]
        typical = float(np.quantile(np.concatenate(apart), TYPICAL))
        reach = bound * typical if bound is not None and typical > 0 else np.inf
        count, total, squares, digest = 0, 0.0, 0.0, hashlib.sha256(train.tobytes())
        origin = None
        for part in chunks(array, sample(train), name, chunk_rows(arrays)):
            digest.update(part.tobytes())
            part = drawn_in(part, centre, reach)
            origin = part[0].astype(np.float64) if origin is None else origin
            moved = part - origin  # subtracting a row keeps the squares small, so that they lose no digits
            count, total, squares = count + len(part), total + moved.sum(0), squares + np.square(moved).sum(0)
        mean = total / count
        variance = float(np.mean(np.maximum(squares / count - mean**2, 0)))
        mean, scale = (origin + mean).astype(np.float32), variance**0.5 or 1.0
        moments[name] = Moments(mean, scale, digest.hexdigest()[:16], centre, reach)
    return moments


def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the permutation (count,) in which autoencoders of this seed see the training rows in this epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def tensors(
    arrays: Mapping[str, object],
    rows: list[tuple[str, np.ndarray]],
    device: torch.device,
    moments: Mapping[str, Moments],
) -> torch.Tensor:
    """Return the inputs (I, n, D) of a stack, one for each pair of layer name and rows, with far rows drawn in."""
    # torch allocates the memory, because rounding depends on alignment and a resumed run has to round in the same way
    x = torch.empty(len(rows), len(rows[0][1]), arrays[rows[0][0]].shape[1])
    for place, (name, at) in zip(x.numpy(), rows, strict=True):
        place[:] = drawn_in(_gather(arrays[name], at, name), moments[name].centre, moments[name].reach)
    return x.to(device)
