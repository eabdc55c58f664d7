"""Shards, immutable files of embeddings that are written completely or not at all and read through memory maps.

A shard is a safetensors file, so any safetensors reader opens it:

- ``keys``: uint8 (R, 16), the content hash of each of its R clips;
- ``frames/<layer>``: (R, D), or (sum of T, D) with ``offsets/<layer>`` int64 (R + 1,) when frames are kept;
- ``sums/<layer>``: uint32 (R,), the CRC-32 of each clip's frames as they are stored;
- metadata ``record``: JSON about what made it (encoder, pooling, versions, device, seconds, counts).

A shard is written under a temporary name, flushed to disk and renamed, so that a file whose name ends in
``.safetensors`` is complete. The name has a hash of the header, and the header one of keys, offsets and sums; both are
checked whenever the file is opened. The frames of a clip are compared with their checksum when they are first read
after that, at about 2 GB a second, so that damaged numbers are never returned.

Shards of the first format are read too. In place of the sums, they have a SHA-256 of each layer in the record, so that
the first reading of a clip reads the whole layer.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from ..core.errors import StoreError
from ..core.files import replacing

SUFFIX = ".safetensors"
#: Types in which frames can be stored.
DTYPES = ("float32", "float16", "bfloat16")
#: Version of the file format; version 1 had no sums.
FORMAT = 2
#: Seconds after a change within which another change of a file may not show in its times.
UNSETTLED = 2.0
# numpy has no bfloat16: its bits are held as uint16, which nothing else in a shard uses
_TAGS = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64", "uint8": "U8", "uint32": "U32"}
_TYPES = {tag: np.dtype(name).newbyteorder("<") for name, tag in _TAGS.items()}
_ALIGN = 64
#: Errors that reading a malformed header may raise.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def pack(frames: np.ndarray, dtype: str) -> np.ndarray:
    """Convert frames to the type in which they are stored, rounded to nearest; bfloat16 is held as uint16."""
    if dtype == "bfloat16":
        rounded = torch.from_numpy(np.ascontiguousarray(frames)).to(torch.bfloat16)
        return rounded.view(torch.int16).numpy().view(np.uint16)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(frames, dtype)


def widen(stored: np.ndarray) -> np.ndarray:
    """Convert stored frames to float32, exactly; float32 is returned without a copy."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)


class Frames:
    """Frames of some clips at some layers, on disk or in memory; the content of a shard.

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
        """Return the stored frames of a layer, (R, D) or (sum of T, D)."""
        return self.arrays[f"frames/{name}"]

    def offsets(self, name: str) -> np.ndarray | None:
        """Return where each clip's frames begin in :meth:`layer`, and where the last ones end, int64 (R + 1,).

        None if each clip has one vector.
        """
        return self.arrays.get(f"offsets/{name}")

    def check(self, name: str, rows: np.ndarray) -> None:
        """Raise an error if rows of a layer are damaged, which cannot be in memory."""

    @classmethod
    def of(cls, contents: list[str], rows: list[dict[str, np.ndarray]], *, ragged: bool) -> Frames:
        """Join the frames of single clips, given as one dict for each clip of layer -> array in the stored type."""
        arrays = {}
        for name in rows[0]:
            parts = [row[name] for row in rows]
            if ragged:
                arrays[f"offsets/{name}"] = np.cumsum([0, *map(len, parts)], dtype=np.int64)
            arrays[f"frames/{name}"] = _joined(parts) if ragged else np.stack(parts)
        return cls(contents, arrays)


class DamagedRows(StoreError):
    """Rows of a shard are damaged or cannot be read.

    Attributes
    ----------
    rows : ndarray, int64
    """

    def __init__(self, path: Path, rows: np.ndarray, reason: str):
        super().__init__(f"{path}: {reason}; embed() again computes what was lost")
        self.rows, self.reason = rows, reason


class Shard(Frames):
    """A shard on disk; its size, header, keys and offsets are checked at once, its frames are mapped when read.

    Each array that is read has a memory map of its own, which is closed with it, because a map keeps a file open and a
    store may have more shards than a process may have open files.

    Attributes
    ----------
    path : Path
    record : dict
        How the shard was made.
    bytes : int
        Size of the file.

    Raises
    ------
    StoreError
        The file is damaged; the message names it.
    FileNotFoundError
        The file was removed meanwhile.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                self.bytes = os.fstat(file.fileno()).st_size
                self.record, contents, small, self._places = _read(file, self.bytes, path.stem.rpartition("-")[2])
        except FileNotFoundError:
            raise
        except (OSError, MemoryError, RecursionError, *_MALFORMED) as error:
            raise StoreError(f"damaged shard {path}: {error}") from error
        self._sums = {name: small.pop(name) for name in list(small) if name.startswith("sums/")}
        super().__init__(contents, small)
        self.layers = tuple(name.removeprefix("frames/") for name in self._places)
        self._sound: dict[str, np.ndarray] = {}  # layer -> mask of rows that were compared with their sums
        self._state: tuple = ()  # state of the file at that time

    def layer(self, name: str) -> np.ndarray:
        """Map the stored frames of a layer, (R, D) or (sum of T, D), without comparing them with their checksums.

        Raises
        ------
        StoreError
            The file was removed or cannot be read.
        """
        kind, shape, start = self._places[f"frames/{name}"]
        if 0 in shape:
            return np.empty(shape, kind)
        try:
            return np.memmap(self.path, kind, "r", start, shape)
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {self.path}: {error}; embed() again computes what was lost") from error

    def layer_bytes(self, name: str) -> int:
        """Return the size of a layer in bytes, with its offsets."""
        kind, shape, _ = self._places[f"frames/{name}"]
        offsets = self.arrays.get(f"offsets/{name}")
        return kind.itemsize * math.prod(shape) + (0 if offsets is None else offsets.nbytes)

    def check(self, name: str, rows: np.ndarray) -> None:
        """Compare rows of a layer with their checksums, each row once unless the file has changed meanwhile.

        Raises
        ------
        DamagedRows
            Some rows are damaged.
        StoreError
            The file was removed.
        """
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error}; embed() again computes what was lost") from error
        state = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if state != self._state:
            self._sound, self._state = {}, state
        sound = self._sound.get(name)
        if sound is None:
            sound = self._sound[name] = np.zeros(len(self.contents), bool)
        if sound[rows].all():
            return
        todo = np.unique(rows[~sound[rows]])
        bad = self._bad(name, todo)
        if time.time() - max(status.st_mtime, status.st_ctime) > UNSETTLED:
            sound[todo] = True
            sound[bad] = False
        if len(bad):
            shown = f"rows {', '.join(map(str, bad[:5].tolist()))}{' ...' if len(bad) > 5 else ''}"
            raise DamagedRows(self.path, bad, f"checksum of frames/{name} ({shown} of {len(self.contents)})")

    def _bad(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return the rows that differ from their checksum."""
        try:
            stored = self.layer(name)
        except StoreError as error:
            raise DamagedRows(self.path, rows, str(error.__cause__)) from error
        sums = self._sums.get(f"sums/{name}")
        if sums is None:
            return rows[:0] if _hash(stored) == self.record["sha256"].get(f"frames/{name}") else rows
        fits = _sums(stored, self.offsets(name), rows) == sums[rows]
        return rows[~fits]

    def problem(self) -> str:
        """Read the whole file and say which frames differ from their checksums; "" if none do."""
        wrong = []
        for name in self.layers:
            try:
                bad = self._bad(name, np.arange(len(self.contents)))
            except DamagedRows as error:
                return error.reason
            if len(bad):
                wrong.append(f"frames/{name} ({len(bad)} of {len(self.contents)} clips)")
        return f"checksum of {', '.join(wrong)}" if wrong else ""


def write(folder: Path, frames: Frames, record: dict) -> Shard:
    """Write a shard into ``folder``, completely or not at all.

    Raises
    ------
    OSError
        The folder cannot be written or is full; nothing of the shard is left.
    """
    created = datetime.now(UTC)
    small: dict[str, np.ndarray] = {
        "keys": np.frombuffer(bytes.fromhex("".join(frames.contents)), np.uint8).reshape(-1, 16)
    }
    every = np.arange(len(frames.contents))
    for layer in frames.layers:
        offsets = frames.offsets(layer)
        small |= {} if offsets is None else {f"offsets/{layer}": offsets}
        small[f"sums/{layer}"] = _sums(frames.layer(layer), offsets, every)
    record = {**record, "format": FORMAT, "created": created.isoformat(), "layers": list(frames.layers)}
    record["small"] = _hash(*small.values())
    arrays = small | {f"frames/{layer}": frames.layer(layer) for layer in frames.layers}
    header = _header(arrays, record)
    # names sort by age, so that of two equal rows the older is read, also with several writers
    path = folder / f"{created:%Y%m%dT%H%M%S%f}-{_digest(header)}{SUFFIX}"
    parts = (header, *(np.ascontiguousarray(array).data for array in arrays.values()))
    with replacing(path) as file:
        for part in parts:
            file.write(part)
    return Shard(path)


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
    """Return the record, the keys, offsets and sums, and (dtype, shape, position) of the frames."""
    length = file.read(8)
    start = 8 + int.from_bytes(length, "little")
    if start > size or start <= 8:
        raise ValueError(f"cut short at {size} bytes")
    header = length + file.read(start - 8)
    first_format = _digest(header) != digest
    entries = json.loads(header[8:])
    record = json.loads(entries.pop("__metadata__")["record"])
    if first_format and record["format"] != 1:
        raise ValueError("the header does not match the name")
    if record["format"] not in (1, FORMAT):
        raise ValueError(f"has format {record['format']}; this version reads up to {FORMAT}")
    expected = start + max(entry["data_offsets"][1] for entry in entries.values())
    if size != expected:
        raise ValueError(f"{size} bytes instead of {expected}")
    places = {
        name: (_TYPES[entry["dtype"]], tuple(entry["shape"]), start + entry["data_offsets"][0])
        for name, entry in entries.items()
    }
    small = {}
    for name, (kind, shape, _) in places.items():
        if not name.startswith("frames/"):
            count = math.prod(shape)  # written first, in this order
            small[name] = np.frombuffer(file.read(count * kind.itemsize), kind, count).reshape(shape)
    if first_format:
        if _digest(header + small["keys"].tobytes()) != digest:
            raise ValueError("header or keys do not match the name")
        bad = [name for name, array in small.items() if name != "keys" and _hash(array) != record["sha256"][name]]
        if bad:
            raise ValueError(f"checksum of {', '.join(bad)}")
    elif _hash(*small.values()) != record["small"]:
        raise ValueError("keys, offsets or sums do not match the header")
    text = small.pop("keys").tobytes().hex()
    contents = [text[at : at + 32] for at in range(0, len(text), 32)]
    return record, contents, small, {name: place for name, place in places.items() if name.startswith("frames/")}


def _sums(stored: np.ndarray, offsets: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of each row's frames, uint32."""
    if stored.size == 0:
        return np.zeros(len(rows), "<u4")
    data = memoryview(np.ascontiguousarray(stored).reshape(-1).view(np.uint8))
    width = stored.itemsize * math.prod(stored.shape[1:])
    begins, ends = (rows, rows + 1) if offsets is None else (offsets[rows], offsets[rows + 1])
    pairs = zip((begins * width).tolist(), (ends * width).tolist(), strict=True)
    return np.fromiter((zlib.crc32(data[a:b]) for a, b in pairs), "<u4", len(rows))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # one long clip is not copied


def _hash(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _digest(header: bytes) -> str:
    return hashlib.sha256(header).hexdigest()[:16]


# ---- gathering rows from several shards ----

#: An address is the number of a shard, shifted left by SHIFT bits, plus the row in that shard; -1 means "not stored".
SHIFT = 32
_BLOCK = 256  # rows gathered at once, which fit into the processor's cache


def gather(shards: list[Frames], addresses: np.ndarray, layer: str) -> np.ndarray:
    """Read rows of one layer, float32 (N, D), in the order of their addresses; the disk is read in its own order.

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
    """Read the frames of many rows, concatenated to float32 (sum of T, D), with their offsets int64 (N + 1,)."""
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
    """Yield for each shard its frames, offsets (None if pooled), places in the result, and rows in ascending order."""
    order = np.argsort(addresses)
    for run in _runs(addresses[order] >> SHIFT):
        places = order[run]
        shard = shards[int(addresses[places[0]]) >> SHIFT]
        rows = addresses[places] & (2**SHIFT - 1)
        shard.check(layer, rows)
        yield shard.layer(layer), shard.offsets(layer), places, rows


def _runs(values: np.ndarray) -> Iterable[slice]:
    """Return the slices over which sorted values are equal."""
    edges = np.flatnonzero(np.diff(values, prepend=-1, append=-1)) if len(values) else np.zeros(0, int)
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
