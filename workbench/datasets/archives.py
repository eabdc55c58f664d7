"""Unpacking archives from strangers: nothing outside the folder, no links, no devices, no bombs, nothing partial."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import DatasetError
from .schema import human_bytes

#: An archive may unpack to this many times its own size, and a gigabyte; sound hardly packs, so real sets stay below.
EXPANSION = 20
ALLOWANCE = 1_000_000_000
CHUNK = 1 << 20

Unpacked = tuple[str, int, int]


def unpack(archive: str | os.PathLike, into: str | os.PathLike, *, limit: int | None = None) -> list[Unpacked]:
    """Unpack a zip or tar (plain, gz, bz2 or xz) archive.

    Everything goes to a hidden folder first and is moved when all of it is there; files of the same name are replaced.

    Parameters
    ----------
    archive : path
    into : path
        Made if need be.
    limit : int, optional
        Most bytes it may unpack to; by default a gigabyte and 20 times its own size.

    Returns
    -------
    list of (path, bytes, crc32)
        Files unpacked; paths relative to `into`, with /.

    Raises
    ------
    DatasetError
        It cannot be read, or a member is absolute, leaves the folder, is a link, a device or encrypted, or there is
        more in it than allowed; names the archive and the member. Nothing is left behind then.
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
        found = _write_all(archive, staging, limit)
        for path, _, _ in found:
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / path, target)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DatasetError(f"{archive}: is damaged or not an archive of this kind: {error}") from None
    except OSError as error:
        raise DatasetError(f"{archive}: cannot be unpacked into {into}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return found


def _write_all(archive: Path, staging: Path, limit: int) -> list[Unpacked]:
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    total, found = 0, []
    for name, size, stream in members(archive):
        total += size
        if total > limit:
            raise DatasetError(
                f"{archive}: unpacks to more than {human_bytes(limit)} (reached at {name!r}), "
                f"from {human_bytes(archive.stat().st_size)}; refused as a possible archive bomb"
            )
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        found.append((name, *_copy(stream, target, size, archive, name)))
    return found


def _copy(stream: BinaryIO, target: Path, size: int, archive: Path, name: str) -> tuple[int, int]:
    written, crc = 0, 0
    with stream, open(target, "wb") as file:
        while chunk := stream.read(CHUNK):
            written, crc = written + len(chunk), zlib.crc32(chunk, crc)
            if written > size:
                raise DatasetError(f"{archive}: {name!r} is longer than the {size} bytes it declares")
            file.write(chunk)
    return written, crc


def _safe(archive: Path, name: str) -> str:
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or "\0" in name or ".." in parts or ":" in parts[0]:
        raise DatasetError(f"{archive}: member {name!r} would be written outside the folder; refused")
    return "/".join(part for part in parts if part not in ("", "."))


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


def _tar_members(archive: Path) -> Iterator[tuple[str, int, BinaryIO]]:
    with tarfile.open(archive, "r:*") as file:
        for member in file:
            name = _safe(archive, member.name)
            if member.isdir():
                continue
            if not member.isreg():
                raise DatasetError(f"{archive}: member {name!r} is a link or a device, not a file; refused")
            yield name, member.size, file.extractfile(member)
