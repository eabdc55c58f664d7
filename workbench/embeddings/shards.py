"""Shards: immutable files of embeddings, whole or absent, read through memory maps.

A shard is a safetensors file, so any safetensors reader opens it:

- ``keys``: uint8 (R, 16), the content hash of each of its R clips;
- ``frames/<layer>``: (R, D), or (sum of T, D) with ``offsets/<layer>`` int64 (R + 1,) when frames are kept;
- metadata ``record``: JSON about what made it (encoder, pooling, versions, device, seconds, counts, checksums).

It is written under a temporary name, flushed to disk and renamed, so a name that ends in ``.safetensors`` is a
complete shard. The name carries a hash of the header and the keys, which every opening checks; the frames have
their own checksums in the record, which :meth:`Shard.problem` checks.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from ..errors import StoreError

SUFFIX = ".safetensors"
TEMPORARY = ".tmp"
#: What frames can be stored as.
DTYPES = ("float32", "float16", "bfloat16")
# numpy has no bfloat16: its bits travel as uint16, which nothing else in a shard uses
_TAGS = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64", "uint8": "U8"}
_TYPES = {tag: np.dtype(name) for name, tag in _TAGS.items()}
_ALIGN = 64


def pack(frames: np.ndarray, dtype: str) -> np.ndarray:
    """Frames as they are stored: rounded to nearest; bfloat16 as the uint16 of its bits."""
    if dtype == "bfloat16":
        rounded = torch.from_numpy(np.ascontiguousarray(frames)).to(torch.bfloat16)
        return rounded.view(torch.int16).numpy().view(np.uint16)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(frames, dtype)


def widen(stored: np.ndarray) -> np.ndarray:
    """Stored frames as float32, exactly; float32 comes back as it is, without a copy."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)


class Frames:
    """Some clips' frames of some layers: what a shard holds, on disk or in memory.

    Parameters
    ----------
    contents : sequence of str
        Content hash of each clip, 32 hexadecimal digits.
    arrays : dict of str to ndarray
        ``frames/<layer>`` and, for ragged ones, ``offsets/<layer>``.
    """

    def __init__(self, contents: list[str], arrays: dict[str, np.ndarray]):
        self.contents = contents
        self.arrays = arrays
        self.layers = tuple(name.removeprefix("frames/") for name in arrays if name.startswith("frames/"))

    def layer(self, name: str) -> np.ndarray:
        """Stored frames of a layer, (R, D) or (sum of T, D)."""
        return self.arrays[f"frames/{name}"]

    def offsets(self, name: str) -> np.ndarray | None:
        """Where each clip's frames begin in :meth:`layer`, int64 (R + 1,); the last one is where they end.

        None where each clip has one vector."""
        return self.arrays.get(f"offsets/{name}")

    @classmethod
    def of(cls, contents: list[str], rows: list[dict[str, np.ndarray]], *, ragged: bool) -> Frames:
        """Join the stored-dtype frames of single clips (one dict of layer to array a clip)."""
        arrays = {}
        for name in rows[0]:
            parts = [row[name] for row in rows]
            if ragged:
                arrays[f"offsets/{name}"] = np.cumsum([0, *map(len, parts)], dtype=np.int64)
            arrays[f"frames/{name}"] = np.concatenate(parts) if ragged else np.stack(parts)
        return cls(contents, arrays)


class Shard(Frames):
    """A shard on disk; its size, header and keys are checked, its frames are mapped whenever they are read.

    A map lasts as long as the array that it gave, because each holds a file open: a store may have more shards than
    a process may have open files.

    Attributes
    ----------
    path : Path
    record : dict
        What made it.
    bytes : int
        Size of the file.

    Raises
    ------
    StoreError
        A damaged file; the message names it.
    FileNotFoundError
        It was pruned meanwhile.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                self.bytes = os.fstat(file.fileno()).st_size
                self.record, contents, offsets, self._places = _read(file, self.bytes, path.stem.rpartition("-")[2])
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"damaged shard {path}: {error}") from error
        super().__init__(contents, offsets)
        self.layers = tuple(name.removeprefix("frames/") for name in self._places)

    def layer(self, name: str) -> np.ndarray:
        """Stored frames of a layer, (R, D) or (sum of T, D): a new memory map.

        Raises
        ------
        StoreError
            The shard was removed.
        """
        kind, shape, start = self._places[f"frames/{name}"]
        if 0 in shape:
            return np.empty(shape, kind)
        try:
            return np.memmap(self.path, kind, "r", start, shape)
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {self.path}: {error}; embed() again computes what was lost") from error

    def layer_bytes(self, name: str) -> int:
        """Bytes that a layer takes, its offsets included."""
        kind, shape, _ = self._places[f"frames/{name}"]
        offsets = self.arrays.get(f"offsets/{name}")
        return kind.itemsize * math.prod(shape) + (0 if offsets is None else offsets.nbytes)

    def problem(self) -> str:
        """What is wrong with the frames by their checksums; empty when nothing is. Reads the whole file."""
        held = self.arrays | {f"frames/{layer}": self.layer(layer) for layer in self.layers}
        wrong = [name for name, array in held.items() if _hash(array) != self.record["sha256"].get(name)]
        return f"checksum of {', '.join(wrong)}" if wrong else ""


def write(folder: Path, frames: Frames, record: dict) -> Shard:
    """Write a shard into ``folder`` so that it is there completely or not at all.

    Raises
    ------
    OSError
        The folder cannot be written or is full; nothing of the shard is left.
    """
    sums = {name: _hash(array) for name, array in frames.arrays.items()}
    created = datetime.now(UTC)
    record = {**record, "created": created.isoformat(), "layers": list(frames.layers), "sha256": sums}
    keys = np.frombuffer(bytes.fromhex("".join(frames.contents)), np.uint8).reshape(-1, 16)
    # keys first, so that one hash covers header and keys; offsets before frames, so that all are aligned
    arrays = {"keys": keys} | dict(sorted(frames.arrays.items(), key=lambda item: item[0].startswith("frames/")))
    header = _header(arrays, record)
    digest = _digest(header, keys)
    # names sort by age, so that of two equal rows the older is read, whoever else is writing
    path = folder / f"{created:%Y%m%dT%H%M%S%f}-{digest}{SUFFIX}"
    temporary = folder / f"{uuid.uuid4().hex}{TEMPORARY}"
    try:
        with open(temporary, "xb") as file:
            file.write(header)
            for array in arrays.values():
                file.write(np.ascontiguousarray(array).data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync(folder)
    return Shard(path)


def sync(folder: Path) -> None:
    """Make a rename in the folder survive a power cut (where the system can)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _header(arrays: dict[str, np.ndarray], record: dict) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"record": json.dumps(record)}}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        entries[name] = {
            "dtype": _TAGS[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % _ALIGN)
    return len(text).to_bytes(8, "little") + text


def _read(file: io.BufferedReader, size: int, digest: str) -> tuple[dict, list[str], dict, dict]:
    """Record, keys, offsets, and (dtype, shape, position) of the frames."""
    length = file.read(8)
    start = 8 + int.from_bytes(length, "little")
    if start > size:
        raise ValueError(f"cut short at {size} bytes")
    header = length + file.read(start - 8)
    entries = json.loads(header[8:])
    record = json.loads(entries.pop("__metadata__")["record"])
    expected = start + max(entry["data_offsets"][1] for entry in entries.values())
    if size != expected:
        raise ValueError(f"{size} bytes instead of {expected}")
    places = {
        name: (_TYPES[entry["dtype"]], tuple(entry["shape"]), start + entry["data_offsets"][0])
        for name, entry in entries.items()
    }
    small = {
        name: np.fromfile(file, kind, math.prod(shape)).reshape(shape)  # written first, in this order
        for name, (kind, shape, _) in places.items()
        if not name.startswith("frames/")
    }
    keys = small.pop("keys")
    if _digest(header, keys) != digest:
        raise ValueError("header or keys do not match the name")
    text = keys.tobytes().hex()
    contents = [text[at : at + 32] for at in range(0, len(text), 32)]
    return record, contents, small, {name: place for name, place in places.items() if name.startswith("frames/")}


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _digest(header: bytes, keys: np.ndarray) -> str:
    return hashlib.sha256(header + keys.tobytes()).hexdigest()[:16]


# ---- gathering rows that lie in several shards ----

#: A row's address: the number of its shard in the high bits, its row there in the low ones; -1 is nowhere.
SHIFT = 32
_BLOCK = 256  # rows gathered at once: they stay in the processor's cache on their way


def gather(shards: list[Frames], addresses: np.ndarray, layer: str) -> np.ndarray:
    """Rows of one layer, float32 (N, D), in the order asked for; read in their order on disk.

    Parameters
    ----------
    shards : list of Frames
    addresses : ndarray, int64 (N,)
    layer : str
    """
    out = np.empty((0, 0), np.float32)
    for stored, _, places, rows in _by_shard(shards, addresses, layer):
        if not out.size:
            out = np.empty((len(addresses), stored.shape[1]), np.float32)
        for begin in range(0, len(places), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            out[places[block]] = widen(stored[rows[block]])
    return out


def gather_frames(shards: list[Frames], addresses: np.ndarray, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames of many rows one after the other, float32 (sum of T, D), and int64 offsets (N + 1,)."""
    counts = np.zeros(len(addresses), np.int64)
    for _, offsets, places, rows in _by_shard(shards, addresses, layer):
        counts[places] = np.diff(offsets)[rows]
    ends = np.concatenate([[0], np.cumsum(counts)])
    out = np.empty((0, 0), np.float32)
    for stored, offsets, places, rows in _by_shard(shards, addresses, layer):
        if not out.size:
            out = np.empty((int(ends[-1]), stored.shape[1]), np.float32)
        for place, row in zip(places, rows, strict=True):
            out[ends[place] : ends[place + 1]] = widen(stored[offsets[row] : offsets[row + 1]])
    return out, ends


def _by_shard(shards: list[Frames], addresses: np.ndarray, layer: str) -> Iterator[tuple]:
    """For each shard concerned: its frames, its offsets (None if pooled), places in the result, rows, ascending."""
    order = np.argsort(addresses)
    for run in _runs(addresses[order] >> SHIFT):
        places = order[run]
        shard = shards[int(addresses[places[0]]) >> SHIFT]
        yield shard.layer(layer), shard.offsets(layer), places, addresses[places] & (2**SHIFT - 1)


def _runs(values: np.ndarray) -> Iterable[slice]:
    """Slices over which sorted values stay the same."""
    edges = np.flatnonzero(np.diff(values, prepend=-1, append=-1)) if len(values) else np.zeros(0, int)
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
