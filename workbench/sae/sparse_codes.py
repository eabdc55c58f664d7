"""Codes of many frames, of which only the active latents are kept, in memory or in a folder.

Frames are encoded in chunks, so that millions of them need no more memory than thousands. An active latent takes 6
bytes, its number as uint16 (uint32 above 65,536 latents) and its activation as float32, exactly as the autoencoder
gave it: 10 million frames with 20 active latents are 1.2 GB, where a dense array of 2,048 latents would be 82 GB.
"""

from __future__ import annotations

import json
import os
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, numbers, several, whole
from ..core.errors import ParameterError, WeightsError
from ..core.files import replacing, sweep_away, write_whole
from ..core.progress import Progress, reporter
from .data import _array
from .model import SparseAutoencoder

if TYPE_CHECKING:
    import pandas as pd

#: Number of frames that are encoded at once.
FRAMES = 8192
#: Number of active latents, or of numbers of a result, that are looked at together.
ACTIVE = 2**21
_RECORD, _VERSION, _PARTS = "codes.json", 1, ("starts", "indices", "values", "lengths")
_TYPES = {"starts": "<i8", "values": "<f4", "lengths": "<i8"}


class SparseCodes:
    """Codes of the frames of N clips, sparse by row (CSR); made by :func:`encode_frames`.

    ``codes[rows]`` are the dense codes, float32 (n, latents), of some of the F frames.

    Parameters
    ----------
    starts : ndarray, int64 (F + 1,)
        The active latents of frame f are ``indices[starts[f]:starts[f + 1]]``, in ascending order.
    indices : ndarray, uint16 or uint32 (A,)
        Numbers of the A active latents.
    values : ndarray, float32 (A,)
        Their activations.
    lengths : ndarray, int64 (N,)
        Number of frames of each clip; they sum to F.
    latents : int
        Number of latents, active or not.

    Attributes
    ----------
    starts, indices, values, lengths
        As above. In a folder, the first three are memory maps.
    shape : tuple of int
        (F, latents).
    offsets : ndarray, int64 (N + 1,)
        Clip i has the frames from ``offsets[i]`` up to, but not including, ``offsets[i + 1]``.
    """

    @checked
    def __init__(self, starts: np.ndarray, indices: np.ndarray, values: np.ndarray, lengths: np.ndarray, latents: int):
        given = {"starts": starts, "indices": indices, "values": values}
        starts, indices, values = (numbers(*each, finite=False, empty=True) for each in given.items())
        for name, array, kind in (("starts", starts, "i"), ("indices", indices, "u"), ("values", values, "f")):
            if array.ndim != 1 or array.dtype.kind != kind:
                expected = {"i": "int64 (F + 1,)", "u": "uint16 or uint32 (A,)", "f": "float32 (A,)"}[kind]
                raise ParameterError(name, f"{array.dtype} of shape {array.shape}", expected)
        if len(indices) != len(values) or not len(starts) or starts[0] != 0 or starts[-1] != len(values):
            shapes = len(starts), len(indices), len(values)
            raise ParameterError("lengths of starts, indices, values", shapes, "F + 1, A and A = starts[F]")
        whole("latents", latents, least=1)
        for at in range(0, max(len(values), len(starts)), ACTIVE):  # bit by bit, as a mask of all would be large
            part = slice(at, at + ACTIVE)
            if (np.diff(starts[at : at + ACTIVE + 1]) < 0).any():
                raise ParameterError("starts", "descending", "ascending")
            if (indices[part] >= latents).any():
                raise ParameterError("indices", int(indices[part].max()), f"below latents={latents}")
            if not np.isfinite(values[part]).all():
                raise ParameterError("values", "nan or inf", "finite")
        self.starts, self.indices, self.values = starts, indices, values
        self.lengths, self.shape = _lengths(lengths, len(starts) - 1), (len(starts) - 1, latents)
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        active = len(self.values) / max(len(self), 1)
        return (
            f"SparseCodes({len(self)} frames of {len(self.lengths)} clips x {self.shape[1]} latents, "
            f"{active:.3g} active a frame, {self.nbytes / 1e6:.3g} MB)"
        )

    @property
    def nbytes(self) -> int:
        """Size in bytes, in memory or on disk."""
        return sum(getattr(self, name).nbytes for name in _PARTS)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the dense codes, float32 (n, latents), of a slice of the frames or of frames by number."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = numbers("rows", rows, ndim=1, empty=True)
        if rows.size and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(self)):
            raise ParameterError("rows", rows, f"whole numbers in 0 ... {len(self) - 1}")
        rows = rows.astype(np.int64)
        dense = np.zeros((len(rows), self.shape[1]), np.float32)
        counts = self.starts[rows + 1] - self.starts[rows]
        at = np.repeat(self.starts[rows] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        dense[np.repeat(np.arange(len(rows)), counts), self.indices[at]] = self.values[at]
        return dense

    def clip(self, i: int) -> np.ndarray:
        """Return the dense codes of one clip, float32 (T_i, latents)."""
        i = whole("i", i, least=0, most=len(self.lengths) - 1)
        return self[self.offsets[i] : self.offsets[i + 1]]

    @checked
    def pooled(self, how: Literal["mean", "max"] = "mean") -> np.ndarray:
        """Return one code a clip, float32 (N, latents): the mean or the largest activation over its frames."""
        choice("how", how, ("mean", "max"))
        out = np.zeros((len(self.lengths), self.shape[1]), np.float32)
        for begin, end in self._clips():
            place, indices, values = self._active(begin, end)
            if how == "max":
                np.maximum.at(out, (place, indices), values)
                continue
            flat = (place - begin) * self.shape[1] + indices
            sums = np.bincount(flat, values, (end - begin) * self.shape[1]).reshape(-1, self.shape[1])
            out[begin:end] = sums / self.lengths[begin:end, None]
        return out

    @cached_property
    def density(self) -> np.ndarray:
        """Share of frames in which each latent is active, float64 (latents,)."""
        counts = np.zeros(self.shape[1], np.int64)
        for at in range(0, len(self.indices), ACTIVE):
            counts += np.bincount(self.indices[at : at + ACTIVE], minlength=self.shape[1])
        return counts / max(len(self), 1)

    @checked
    def strongest(self, latents: int | Sequence[int], n: int = 10, *, apart: int | None = None) -> pd.DataFrame:
        """Return the frames in which latents are most active, strongest first.

        Parameters
        ----------
        latents : int or sequence of int
            One latent or several; all codes are read once.
        n : int
            Largest number of frames of each latent. Frames in which it is silent are not returned.
        apart : int, optional
            Least number of frames between two frames of one clip. By default a clip has one frame, its strongest.

        Returns
        -------
        DataFrame
            A row a frame: ``latent``, ``clip``, ``frame`` (its number in the clip) and ``value``. Of equal values, the
            earlier frame is first.

        Raises
        ------
        ParameterError
            If there is no such latent, or ``n`` or ``apart`` are below 1.
        """
        import pandas as pd

        given = [latents] if np.ndim(latents) == 0 else latents
        wanted = several("latents", given, lambda name, j: whole(name, j, least=0, most=self.shape[1] - 1))
        whole("n", n, least=1)
        if apart is not None:
            whole("apart", apart, least=1)
        asked = np.zeros(self.shape[1], bool)
        asked[wanted] = True
        best: dict[int, list[np.ndarray]] = {j: [np.zeros((3, 0))] for j in wanted}  # clip, frame and value
        for begin, end in self._clips():  # the n best of all are among the n best of each range of clips
            clips, latent, values = self._active(begin, end)
            rows = np.repeat(np.arange(*self.offsets[[begin, end]]), self._counts(begin, end))
            hits = np.flatnonzero(asked[latent])
            hits = hits[np.lexsort((-values[hits], latent[hits]))]
            edges = np.flatnonzero(np.diff(latent[hits], prepend=-1, append=-1))
            for of_one in np.split(hits, edges[1:-1]) if len(hits) else ():
                kept = of_one[_spread(rows[of_one], clips[of_one], n, apart)]
                frames = rows[kept] - self.offsets[clips[kept]]
                best[latent[of_one[0]]].append(np.stack([clips[kept], frames, values[kept]]))
        tables = []
        for j in wanted:
            clips, frames, values = np.concatenate(best[j], axis=1)
            order = np.argsort(-values, kind="stable")[:n]
            columns = {"clip": clips.astype(np.int64), "frame": frames.astype(np.int64), "value": values}
            tables.append(pd.DataFrame({"latent": j} | columns).iloc[order])
        return pd.concat(tables, ignore_index=True)

    def _clips(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of clips, of about :data:`ACTIVE` active latents and of as many numbers of a dense result."""
        begin, total = 0, self.starts[self.offsets]
        while begin < len(self.lengths):
            end = int(np.searchsorted(total, total[begin] + ACTIVE, side="right")) - 1
            end = min(max(end, begin + 1), begin + max(1, ACTIVE // self.shape[1]), len(self.lengths))
            yield begin, end
            begin = end

    def _active(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return clip, latent and value of every active latent of a range of clips."""
        edges = self.starts[self.offsets[begin : end + 1]]
        clips, at = np.repeat(np.arange(begin, end), np.diff(edges)), slice(int(edges[0]), int(edges[-1]))
        return clips, self.indices[at].astype(np.int64), self.values[at]

    def _counts(self, begin: int, end: int) -> np.ndarray:
        """Return the number of active latents of each frame of a range of clips."""
        return np.diff(self.starts[self.offsets[begin] : self.offsets[end] + 1])

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the codes to a folder, completely or not at all; codes that are in it are replaced.

        Raises
        ------
        WeightsError
            If the folder cannot be written to.
        """
        with _Files(folder, self.shape[1]) as files:
            for name in _PARTS:
                array = getattr(self, name)
                for at in range(0, len(array), ACTIVE):
                    files.add(name, array[at : at + ACTIVE])
        return Path(folder)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> SparseCodes:
        """Map the codes in a folder. Its files are read once, to compare them with their checksums.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, or holds something else.
        """
        folder, arrays = Path(folder), {}
        try:
            record = json.loads((folder / _RECORD).read_text())
            if (record["kind"], record["version"]) != ("SparseCodes", _VERSION):
                raise ValueError(f"holds {record['kind']} of version {record['version']}")
            latents = whole("latents", record["latents"], least=1)
            for name in _PARTS:
                path, checksum = folder / Path(record[name]["file"]).name, record[name]["checksum"]
                arrays[name] = _mapped(path, _types(latents)[name])
                if _checksum(arrays[name]) != checksum:
                    raise ValueError(f"the checksum of {path.name} is another")
            return cls(**arrays, latents=latents)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise WeightsError(f"{folder}: holds no codes of this package, or damaged ones ({error})") from error


@checked
def encode_frames(
    sae: SparseAutoencoder,
    x: ArrayLike | object,
    lengths: Sequence[int] | np.ndarray,
    *,
    folder: str | Path | None = None,
    progress: Progress | bool | None = True,
) -> SparseCodes:
    """Encode the frames of clips chunk by chunk and keep the active latents.

    Parameters
    ----------
    sae : SparseAutoencoder
        Autoencoder with D inputs, on any device.
    x : array (F, D)
        Frames of all clips, concatenated: an array, a memory map, or another object with ``shape`` and ``x[rows]``,
        such as :meth:`Embeddings.flat_frames <workbench.embeddings.result.Embeddings.flat_frames>` gives.
    lengths : sequence of int (N,)
        Number of frames of each clip; they sum to F.
    folder : path, optional
        Folder to which the codes are written as they are computed; codes that are in it are replaced when the new ones
        are complete. The result is then memory-mapped. By default the codes stay in memory.
    progress : bool or callable (done, total)
        True shows a progress bar of frames.

    Returns
    -------
    SparseCodes

    Raises
    ------
    ParameterError
        If shapes do not fit, or frames are not finite.
    WeightsError
        If the folder cannot be written to.
    """
    if not isinstance(sae, SparseAutoencoder):
        raise ParameterError("sae", type(sae).__name__, "a SparseAutoencoder")
    x, report = _array("x", x), reporter(progress, "frames")
    if len(x.shape) != 2 or x.shape[1] != sae.config.dim:
        raise ParameterError("x.shape", tuple(x.shape), f"(F, {sae.config.dim}), as the autoencoder has it")
    lengths = _lengths(lengths, x.shape[0])
    if folder is not None:
        with _Files(folder, sae.config.latents) as files:
            for name, part in _encoded(sae, x, report):
                files.add(name, part)
            files.add("lengths", lengths)
        return SparseCodes.load(folder)
    parts = {name: [] for name in _PARTS}
    for name, part in _encoded(sae, x, report):
        parts[name].append(part)
    arrays = {name: np.concatenate(parts.pop(name)) for name in ("starts", "indices", "values")}
    return SparseCodes(**arrays, lengths=lengths, latents=sae.config.latents)


def _encoded(sae: SparseAutoencoder, x: object, report: Progress) -> Iterator[tuple[str, np.ndarray]]:
    """Yield pieces of starts, indices and values by name, chunk by chunk."""
    kinds, count, total = _types(sae.config.latents), int(x.shape[0]), 0
    yield "starts", np.zeros(1, kinds["starts"])
    for at in range(0, count, FRAMES):
        with np.errstate(over="ignore"):  # too large for float32 becomes inf, which encode reports
            z = sae.encode(np.asarray(x[at : at + FRAMES], dtype=np.float32))
        active = np.flatnonzero(z)
        rows, latents = np.divmod(active, z.shape[1])
        starts = np.searchsorted(rows, np.arange(1, len(z) + 1)) + total
        total += len(active)
        yield "starts", starts.astype(kinds["starts"])
        yield "indices", latents.astype(kinds["indices"])
        yield "values", z.ravel()[active].astype(kinds["values"])
        report(min(at + FRAMES, count), count)


def _types(latents: int) -> dict[str, str]:
    return _TYPES | {"indices": "<u2" if latents <= 2**16 else "<u4"}


def _lengths(lengths: Sequence[int] | np.ndarray, frames: int) -> np.ndarray:
    lengths = numbers("lengths", lengths, ndim=1)
    if lengths.dtype.kind not in "iu" or lengths.min() < 1 or lengths.sum() != frames:
        shown = f"{len(lengths)} lengths from {lengths.min()} that sum to {lengths.sum()}"
        raise ParameterError("lengths", shown, f"whole numbers from 1 that sum to {frames}, the number of frames")
    return lengths.astype(np.int64)


def _spread(rows: np.ndarray, clips: np.ndarray, n: int, apart: int | None) -> np.ndarray:
    """Return the places of the first n frames of which no two of one clip are closer together than ``apart``.

    Without ``apart`` each clip has one.
    """
    if apart is None:
        return np.sort(np.unique(clips, return_index=True)[1])[:n]
    kept, left = [], np.arange(len(rows))
    while len(left) and len(kept) < n:
        first = left[0]
        kept.append(first)
        left = left[(clips[left] != clips[first]) | (np.abs(rows[left] - rows[first]) >= apart)]
    return np.array(kept, np.int64)


# ---- files ----


class _Files:
    """Files of a folder that grow as codes are added; the folder holds them when all are complete."""

    def __init__(self, folder: str | Path, latents: int):
        self.folder, self.record = Path(folder), {"kind": "SparseCodes", "version": _VERSION, "latents": latents}
        self.kinds, self.open = _types(latents), ExitStack()

    def __enter__(self) -> _Files:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sweep_away(self.folder)
            self.files, mark = {}, uuid.uuid4().hex[:16]
            for name in _PARTS:
                self.record[name] = {"file": f"{name}-{mark}.bin", "checksum": 0}
                self.files[name] = self.open.enter_context(replacing(self.folder / self.record[name]["file"]))
        except OSError as error:
            self.open.__exit__(type(error), error, None)
            raise WeightsError(f"{self.folder}: cannot be written to ({error})") from error
        return self

    def add(self, name: str, part: np.ndarray) -> None:
        data = _bytes(np.ascontiguousarray(part, self.kinds[name]))
        self.record[name]["checksum"] = zlib.crc32(data, self.record[name]["checksum"])
        try:
            self.files[name].write(data)
        except OSError as error:
            raise WeightsError(f"{self.folder}: cannot be written to ({error})") from error

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        mine = {self.record[name]["file"] for name in _PARTS}
        try:
            self.open.__exit__(kind, error, trace)
            if error is None:
                write_whole(self.folder / _RECORD, json.dumps(self.record, indent=1).encode())  # now they are the codes
        except OSError as failed:
            self._remove(mine)
            raise WeightsError(f"{self.folder}: cannot be written to ({failed})") from failed
        if error is None:
            files = {path.name for name in _PARTS for path in self.folder.glob(f"{name}-{'[0-9a-f]' * 16}.bin")}
            self._remove(files - mine)

    def _remove(self, names: set[str]) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)


def _mapped(path: Path, kind: str) -> np.ndarray:
    size = os.path.getsize(path)
    if size % np.dtype(kind).itemsize:
        raise ValueError(f"{path.name} has {size} bytes")
    return np.memmap(path, kind, "r").view(np.ndarray) if size else np.empty(0, kind)


def _checksum(array: np.ndarray) -> int:
    checksum = 0
    for at in range(0, len(array), ACTIVE):
        checksum = zlib.crc32(_bytes(array[at : at + ACTIVE]), checksum)
    return checksum


def _bytes(array: np.ndarray) -> memoryview:
    return array.view(np.uint8).data  # a memoryview cannot cast an array without elements
