"""Compare the length that a sound file states with the file, and correct wrong lengths for libsndfile.

Programs that write to a pipe leave 0 or a huge number as the length, and libsndfile then finds no samples, or cannot
open the file. Such lengths are corrected in the data that libsndfile reads, never in the file. A file that is shorter
than it states is refused. An MP3 states no length, or one that is wrong after files were concatenated; its frames are
counted. If an Ogg file has several streams after each other, all are read.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import re
import struct
from collections.abc import Iterator

from .errors import AudioError

#: Larger lengths in bytes are placeholders (those of arecord, ffmpeg, gstreamer and sox are larger).
PLACEHOLDER = 0x7F000000
CUT = "is cut short: its header promises more samples than the file holds"


def prepare(source, name: object) -> tuple[list, int, bool]:
    """Return the streams that libsndfile must read, one after the other.

    Parameters
    ----------
    source : path or seekable binary file object
    name : object
        What errors call the file.

    Returns
    -------
    streams : list
        The source itself if nothing needs to be corrected, else corrected streams.
    drop : int
        Number of frames at the beginning that do not belong to the sound.
    counted : bool
        Whether the number of frames that libsndfile will report is right.

    Raises
    ------
    AudioError
        The file is cut short.
    """
    with contextlib.nullcontext(source) if hasattr(source, "read") else open(source, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(12)
        if head[:4] in _LENGTHS:
            patches = _LENGTHS[head[:4]](file, size, head, name)
            file.seek(0)
            if not patches:
                return [source], 0, True
            return [_Patched(source if file is source else open(source, "rb"), size, patches)], 0, True
        if head[:4] == b"OggS":
            with _bytes(source, file) as data:
                ranges = _ogg_streams(data, name)
                parts = [io.BytesIO(data[start:stop]) for start, stop in ranges] if len(ranges) > 1 else [source]
            file.seek(0)
            return parts, 0, True
        if head[:3] == b"ID3" or _MPEG.match(head) or str(name).lower().endswith(".mp3"):
            with _bytes(source, file) as data:
                counted, stream, drop = _mp3(data, name)
            file.seek(0)
            return [source if stream is None else io.BytesIO(stream)], drop, counted
        file.seek(0)
        return [source], 0, True


@contextlib.contextmanager
def _bytes(source, file) -> Iterator:
    file.seek(0)
    if file is source:
        yield file.read()
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


class _Patched(io.RawIOBase):
    """A file object in which a few bytes are replaced."""

    def __init__(self, file, size: int, patches: dict[int, bytes]):
        self._file, self._size, self._patches, self._at = file, size, patches, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        self._file.seek(self._at)
        data = bytearray(self._file.read(len(buffer)))
        for place, new in self._patches.items():
            low, high = max(place, self._at), min(place + len(new), self._at + len(data))
            if low < high:
                data[low - self._at : high - self._at] = new[low - place : high - place]
        buffer[: len(data)] = bytes(data)
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed and isinstance(self._file, io.BufferedReader):
            self._file.close()
        super().close()


# --- containers that state the length of their samples in bytes ---------------------------------------------------


def _chunks(file, size: int, at: int, form: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, position of its content, stated length) of the chunks from ``at`` on."""
    head = struct.calcsize(form)
    while at + head <= size:
        file.seek(at)
        name, length = struct.unpack(form, file.read(head))
        yield name, at + head, length
        at += head + length + (length & 1 if form[-1] in "IL" else 0)


def _stated(file, size: int, place: int, length: int, form: str, name: object, *, least: int = 0) -> int | None:
    """Return the right length for the samples at ``place`` if the stated one is wrong, else None.

    ``least`` is the length that is stated if there are no samples.
    """
    there = size - place
    if least < length <= there:
        return None
    if 0 <= length <= least:
        empty = there <= least or _is_chain(file, size, place + length, form)
        return None if empty else there
    if length < 0 or length >= PLACEHOLDER:
        return there
    raise AudioError(name, CUT)


def _is_chain(file, size: int, at: int, form: str) -> bool:
    """Whether chunks follow up to the end of the file."""
    end = at
    for name, place, length in _chunks(file, size, at, form):
        if not re.fullmatch(rb"[ -~]{4}", name):
            return False
        end = place + length
    return end > at and size - end in (-1, 0, 1)


def _riff(file, size: int, head: bytes, name: object) -> dict[int, bytes]:
    form = ">4sI" if head[:4] == b"RIFX" else "<4sI"
    wide = None
    for chunk, place, length in _chunks(file, size, 12, form):
        if chunk == b"ds64" and head[:4] == b"RF64":
            wide = place
            file.seek(place + 8)
            stated = struct.unpack("<q", file.read(8))[0]
        if chunk != b"data":
            continue
        if wide is None:
            right = _stated(file, size, place, length, form, name)
            if right is None:
                return {}
            pack = form[0] + "I"
            return {4: struct.pack(pack, min(size - 8, 2**32 - 1)), place - 4: struct.pack(pack, min(right, 2**32 - 1))}
        right = _stated(file, size, place, length if 0 < length < 2**32 - 1 else stated, form, name)
        if right is None:
            return {}
        sizes = struct.pack("<QQQ", size - 8, right, 0)
        return {wide: sizes, place - 4: struct.pack("<I", 2**32 - 1)}
    return {}


def _au(file, size: int, head: bytes, name: object) -> dict[int, bytes]:
    order = ">" if head[:4] == b".snd" else "<"
    place, length = struct.unpack(order + "II", head[4:12])
    if length == 2**32 - 1:  # the format's own value for an unknown length
        return {}
    right = _stated(file, size, place, length, order + "4sI", name)
    return {} if right is None else {8: struct.pack(order + "I", 2**32 - 1)}


def _aiff(file, size: int, head: bytes, name: object) -> dict[int, bytes]:
    for chunk, place, length in _chunks(file, size, 12, ">4sI"):
        if chunk == b"SSND":
            right = _stated(file, size, place, length, ">4sI", name, least=8)
            return {} if right is None else {place - 4: struct.pack(">I", min(right, 2**32 - 1))}
    return {}


def _caf(file, size: int, head: bytes, name: object) -> dict[int, bytes]:
    for chunk, place, length in _chunks(file, size, 8, ">4sq"):
        if chunk == b"data":
            right = _stated(file, size, place, length, ">4sq", name, least=4)
            return {} if right is None else {place - 8: struct.pack(">q", right)}
        if length < 0:
            break
    return {}


def _w64(file, size: int, head: bytes, name: object) -> dict[int, bytes]:
    at = 40
    while at + 24 <= size:
        file.seek(at)
        chunk, length = struct.unpack("<16sq", file.read(24))
        if chunk[:4] == b"data":
            right = _stated(file, size, at + 24, max(length - 24, 0), "<16sq", name)
            if right is None:
                return {}
            return {16: struct.pack("<q", size), at + 16: struct.pack("<q", right + 24)}
        if length < 24:
            break
        at += (length + 7) & ~7
    return {}


_LENGTHS = {b"RIFF": _riff, b"RIFX": _riff, b"RF64": _riff, b".snd": _au, b"dns.": _au}
_LENGTHS |= {b"FORM": _aiff, b"caff": _caf, b"riff": _w64}


# --- Ogg ------------------------------------------------------------------------------------------------------------


def _ogg_streams(data, name: object) -> list[tuple[int, int]]:
    """Return (start, stop) of each of the streams that follow each other."""
    starts, at, body, last = [], 0, True, 0
    while at >= 0 and at + 27 <= len(data):
        if data[at : at + 4] != b"OggS":
            at = data.find(b"OggS", at + 1)
            continue
        flags, segments = data[at + 5], data[at + 26]
        first = bool(flags & 2)
        if first and body:
            starts.append(at)
        body, last = not first, flags
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
    if at > len(data) or not last & 4:
        raise AudioError(name, "is cut short: its Ogg stream has no last page")
    return list(zip(starts, [*starts[1:], len(data)], strict=True))


# --- MPEG audio -----------------------------------------------------------------------------------------------------

_MPEG = re.compile(rb"\xff[\xe0-\xff]")
_KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)


def _frame_size(second: int, third: int) -> int:
    """Return the bytes of a layer III frame from the second and third byte of its header; 0 for another header."""
    version = (second >> 3) & 3  # 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5
    if second & 0xE6 != 0xE2 or version == 1 or third >> 4 in (0, 15) or (third >> 2) & 3 == 3:
        return 0
    kbits = _KBITS[1 if version == 3 else 2][third >> 4]
    rate = _RATES[(third >> 2) & 3] >> {3: 0, 2: 1, 0: 2}[version]
    return (144000 if version == 3 else 72000) * kbits // rate + (third >> 1 & 1)


_SIZES = {(second, third): _frame_size(second, third) for second in range(224, 256) for third in range(256)}


def _mp3(data, name: object) -> tuple[bool, bytes | None, int]:
    """Return whether the frames of a layer III stream will be counted right, a stream to read instead, what to drop."""
    runs, kinds, count = _mp3_frames(data)
    if not count:
        return False, None, 0
    first = runs[0][0]
    side = first + 4 + _side(data, first)
    if data[side : side + 4] in (b"Xing", b"Info") and data[side + 7] & 1:
        flags, stated = struct.unpack(">II", data[side + 4 : side + 12])
        bytes_stated = struct.unpack(">I", data[side + 12 : side + 16])[0] if flags & 2 else 0
        held = sum(stop - start for start, stop in runs)
        if stated == count - 1:
            return True, None, 0
        if stated > count - 1 and not 0 < bytes_stated <= held:
            raise AudioError(name, f"is cut short: {count - 1} of {stated} frames are there")
        stream = bytearray(b"".join(data[start:stop] for start, stop in runs))
        place = side - first
        stream[place + 8 : place + 12] = struct.pack(">I", count - 1)
        if flags & 2:
            stream[place + 12 : place + 16] = struct.pack(">I", len(stream))
        return True, bytes(stream), 0
    silent = data[first + 36 : first + 40] == b"VBRI"
    if len(kinds) == 1 and not silent:
        return False, None, 0
    # Add a Xing frame with the number of frames; libmpg123 then drops 529 samples at the beginning, for which an empty
    # frame is inserted.
    header = bytes((0xFF, data[first + 1] | 1, 0x90 | data[first + 2] & 0x0C, data[first + 3]))
    size, samples = _SIZES[header[1], header[2]], 1152 if data[first + 1] & 8 else 576
    xing = header + bytes(_side(data, first)) + b"Xing" + struct.pack(">II", 1, count - silent + 1)
    stream = b"".join(data[start:stop] for start, stop in runs)
    if silent:
        stream = stream[_SIZES[data[first + 1], data[first + 2]] :]
    return True, xing.ljust(size, b"\0") + header.ljust(size, b"\0") + stream, samples - 529


def _side(data, first: int) -> int:
    """Return the bytes of a frame's side information, after which a Xing header may follow."""
    mono = data[first + 3] >> 6 == 3
    return (17 if mono else 32) if data[first + 1] & 8 else (9 if mono else 17)


def _mp3_frames(data) -> tuple[list[tuple[int, int]], set[int], int]:
    """Return the ranges of frames without a gap, the set of bit rates, and the number of frames."""
    runs, kinds, count, at, end = [], set(), 0, 0, len(data)
    kind = None
    while at + 4 <= end:
        start = at
        while at + 4 <= end and data[at] == 0xFF:
            second, third = data[at + 1], data[at + 2]
            size = _SIZES.get((second, third), 0)
            if not size or at + size > end or (kind is not None and (second & 0x1E, third & 0x0C) != kind):
                break
            if at == start:  # after a gap, a frame counts only if another one follows
                after = at + size
                if after + 4 <= end and not (data[after] == 0xFF and _SIZES.get((data[after + 1], data[after + 2]))):
                    break
            kind = kind or (second & 0x1E, third & 0x0C)
            kinds.add(third >> 4)
            count += 1
            at += size
        if at > start:
            runs.append((start, at))
        if data[at : at + 3] == b"ID3" and at + 10 <= end:
            z = data[at + 6 : at + 10]
            at += 10 + (z[0] << 21 | z[1] << 14 | z[2] << 7 | z[3])
        else:
            at = data.find(b"\xff", at + 1)
            if at < 0:
                break
    return runs, kinds, count
