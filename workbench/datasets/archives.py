"""Unpack archives that are not trusted.

Refused are members outside the folder, links, devices and archive bombs; a failure leaves no partial files behind.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..core.checks import checked
from ..core.download import human_bytes
from ..core.errors import DatasetError

#: An archive may unpack to EXPANSION times its own size plus ALLOWANCE bytes; sound compresses little, so real sets
#: stay below.
EXPANSION = 20
ALLOWANCE = 1_000_000_000
CHUNK = 1 << 20
#: First bytes of a compressed tar -> the function that opens it.
PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open, b"\x5d\0\0": lzma.open}
#: First bytes of archives that are not supported -> the name of their format.
OTHERS = {b"\x28\xb5\x2f\xfd": "Zstandard", b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!": "RAR", b"\x1f\x9d": "compress"}
#: Exceptions that the readers of archives raise for damaged files.
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError)
DAMAGE += (RuntimeError, NotImplementedError, ValueError, OverflowError, LookupError, AssertionError)

Unpacked = tuple[str, int, int]


@checked
def unpack(archive: str | os.PathLike, into: str | os.PathLike, *, limit: int | None = None) -> list[Unpacked]:
    """Unpack a zip or tar (plain, gz, bz2 or xz) archive.

    All members are written to a hidden folder first and moved when they are complete; files of the same name are
    replaced.

    Parameters
    ----------
    archive : path
    into : path
        Folder, which is made if it does not exist.
    limit : int, optional
        Largest number of bytes that the archive may unpack to; by default 20 times its own size plus a gigabyte.

    Returns
    -------
    list of (path, bytes, crc32)
        The unpacked files; paths are relative to `into` and use /.

    Raises
    ------
    DatasetError
        The archive cannot be read to its end (all checksums are verified); or a member has an absolute path, lies
        outside the folder, is a link, a device, encrypted or there twice; or the archive unpacks to more than `limit`.
        The error names the archive and the member, and nothing is left behind.
    """
    archive, into = Path(archive), Path(into)
    if not archive.is_file():
        raise DatasetError(f"{archive}: no such archive")
    if limit is None:
        limit = ALLOWANCE + EXPANSION * archive.stat().st_size
    staging = into / f".unpacking-{archive.name}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        files = _write_all(archive, staging, limit)
        for path, _, _ in files:
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / path, target)
    except DAMAGE as error:
        raise DatasetError(f"{archive}: is damaged or not an archive of this kind: {_say(error)}") from None
    except OSError as error:
        if error.errno is None:  # gzip and bz2 report damage in this way
            raise DatasetError(f"{archive}: is damaged: {error}") from None
        raise DatasetError(f"{archive}: cannot be unpacked into {into}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return files


def _say(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__


def _write_all(archive: Path, staging: Path, limit: int) -> list[Unpacked]:
    with open(archive, "rb") as file:
        head = file.read(8)
    for mark, kind in OTHERS.items():
        if head.startswith(mark):
            raise DatasetError(f"{archive}: is a {kind} archive, which is not unpacked here; unpack it yourself")
    packed = next((opener for mark, opener in PACKED.items() if head.startswith(mark)), None)
    is_zip = head.startswith(b"PK")
    if is_zip and not zipfile.is_zipfile(archive):
        raise EOFError("its table of contents, which stands at the end of a zip, is not there")
    total, files, there = 0, [], set()
    for name, size, stream in _zip_members(archive) if is_zip else _tar_members(archive, packed or open, limit):
        if name in there:
            raise DatasetError(f"{archive}: member {name!r} is there twice; refused")
        there.add(name)
        total += size
        if total > limit:
            raise DatasetError(
                f"{archive}: unpacks to more than {human_bytes(limit)} (reached at {name!r}), "
                f"from {human_bytes(archive.stat().st_size)}; refused as a possible archive bomb"
            )
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        files.append((name, *_copy(stream, target, size, archive, name)))
    return files


def _copy(stream: BinaryIO, target: Path, size: int, archive: Path, name: str) -> tuple[int, int]:
    written, crc = 0, 0
    with stream, open(target, "wb") as file:
        while chunk := stream.read(CHUNK):
            written, crc = written + len(chunk), zlib.crc32(chunk, crc)
            if written > size:
                raise DatasetError(f"{archive}: {name!r} is longer than the {size} bytes it declares")
            file.write(chunk)
    if written != size:
        raise EOFError(f"{name!r} ends after {written} of {size} bytes")
    return written, crc


def _safe(archive: Path, name: str) -> str:
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or "\0" in name or ".." in parts or ":" in parts[0]:
        raise DatasetError(f"{archive}: member {name!r} would be written outside the folder; refused")
    return "/".join(part for part in parts if part not in ("", ".")) or "."


def _zip_members(archive: Path) -> Iterator[tuple[str, int, BinaryIO]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            name = _safe(archive, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise DatasetError(f"{archive}: member {name!r} is a link or a device, not a file; refused")
            if member.flag_bits & 1:
                raise DatasetError(f"{archive}: member {name!r} is encrypted")
            yield name, member.file_size, file.open(member)


class _Watched:
    """A stream that keeps the bytes that were read from it last."""

    def __init__(self, stream: BinaryIO):
        self.stream, self.last = stream, b""
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        self.last = self.stream.read(size)
        return self.last


def _tar_members(archive: Path, opener, limit: int) -> Iterator[tuple[str, int, BinaryIO]]:
    with contextlib.closing(opener(archive, "rb")) as stream:
        watched = _Watched(stream)
        with tarfile.open(fileobj=watched, mode="r:") as file:
            for member in file:
                name = _safe(archive, member.name)
                if member.isdir():
                    continue
                if not member.isreg():
                    raise DatasetError(f"{archive}: member {name!r} is a link or a device, not a file; refused")
                yield name, member.size, file.extractfile(member)
            # tarfile stops without an error at a header that it cannot read, and at the end of a truncated file
            if len(watched.last) != tarfile.BLOCKSIZE or any(watched.last):
                raise EOFError(f"its end is not there; it stops after {watched.tell()} bytes")
        rest = 0
        while chunk := stream.read(CHUNK):  # the checksums of gz and xz stand at the very end
            rest += len(chunk)
            if rest > limit:
                raise DatasetError(f"{archive}: goes on for more than {human_bytes(limit)} after its last member")
