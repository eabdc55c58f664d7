"""Archives from strangers: unpacked whole to the last checksum, or refused by name with nothing left behind."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from workbench.core.errors import DatasetError, ParameterError
from workbench.datasets.archives import unpack

FILES = {f"d/{i}.bin": bytes((i * 7 + j * j) % 251 for j in range(400 + 150 * i)) for i in range(4)}


def _zip(files=FILES, method=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _tar(kind="", files=FILES, more=()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in more:
            archive.addfile(member)
    return buffer.getvalue()


MADE = {"zip": _zip(), "stored zip": _zip(method=zipfile.ZIP_STORED), "tar": _tar()}
MADE |= {kind: _tar(kind) for kind in ("gz", "bz2", "xz")}


def _unpacked(data: bytes, folder: Path) -> dict[str, bytes] | str:
    """What comes out, or the message; nothing half may be left."""
    archive, into = folder / "x.archive", folder / "out"
    archive.write_bytes(data)
    try:
        found = unpack(archive, into)
    except DatasetError as error:
        assert not into.exists() or not any(into.iterdir())
        return str(error)
    got = {name: (into / name).read_bytes() for name, _, _ in found}
    for path in sorted(into.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return got


@pytest.mark.parametrize("kind", MADE)
def test_an_archive_that_was_cut_is_refused(tmp_path, kind):
    data = MADE[kind]
    assert _unpacked(data, tmp_path) == FILES
    last = len(data.rstrip(b"\0")) if kind == "tar" else len(data)  # zeros that fill a tar up say nothing
    for cut in sorted({*range(1, last, max(last // 40, 1)), *range(last - 20, last)}):
        found = _unpacked(data[:cut], tmp_path)
        assert isinstance(found, str) and "x.archive" in found, (kind, cut)


@pytest.mark.parametrize("kind", [kind for kind in MADE if kind != "tar"])  # a plain tar has no checksum of its data
def test_a_flipped_bit_is_refused_or_of_no_consequence(tmp_path, kind):
    data = MADE[kind]
    for place in {*range(0, len(data), max(len(data) // 60, 1)), *range(len(data) - 30, len(data))}:
        bad = bytearray(data)
        bad[place] ^= 1 << place % 8
        found = _unpacked(bytes(bad), tmp_path)
        assert isinstance(found, str) or found == FILES, (kind, place)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_damaged_end_of_a_packed_tar_is_refused(tmp_path, kind):
    data = MADE[kind]
    for place in range(len(data) - 8, len(data)):
        bad = bytearray(data)
        bad[place] ^= 255
        assert "x.archive" in str(_unpacked(bytes(bad), tmp_path))


def test_a_tar_with_a_damaged_header_in_the_middle_is_refused(tmp_path):
    bad = bytearray(MADE["tar"])
    second = 512 + 512  # header and data of the first member
    bad[second + 3] ^= 1
    assert "its end is not there" in _unpacked(bytes(bad), tmp_path)


def _special(kind: bytes, name="x", target="d/0.bin") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_tar(files={"../out.txt": b"x"}), "outside the folder"),
        (_tar(files={"/etc/out.txt": b"x"}), "outside the folder"),
        (_zip({"a/../../out.txt": b"x"}), "outside the folder"),
        (_zip({"C:/out.txt": b"x"}), "outside the folder"),
        (_zip({"..\\out.txt": b"x"}), "outside the folder"),
        (_tar(more=[_special(tarfile.SYMTYPE, target="/etc/passwd")]), "a link or a device"),
        (_tar(more=[_special(tarfile.LNKTYPE)]), "a link or a device"),
        (_tar(more=[_special(tarfile.CHRTYPE)]), "a link or a device"),
        (_tar(more=[_special(tarfile.FIFOTYPE)]), "a link or a device"),
        (_tar(files={"a": b"1"}, more=[tarfile.TarInfo("./a")]), "is there twice"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 90, "a Zstandard archive, which is not unpacked here"),
        (b"7z\xbc\xaf\x27\x1c" + b"x" * 90, "a 7-Zip archive"),
        (b"Rar!\x1a\x07" + b"x" * 90, "a RAR archive"),
        (b"", "damaged or not an archive"),
        (b"not an archive at all" * 50, "damaged or not an archive"),
        (b"PK\x03\x04" + b"x" * 900, "table of contents"),
        (b"\x1f\x8b\x08\x00" + b"x" * 900, "damaged"),
    ],
)
def test_what_is_refused(tmp_path, data, words):
    found = _unpacked(data, tmp_path)
    assert isinstance(found, str) and words in found and "\n" not in found
    assert not (tmp_path / "out.txt").exists()


def test_twice_a_name_encrypted_and_links_in_a_zip(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a", "1")
        archive.writestr("a", "2")
    assert "'a' is there twice" in _unpacked(buffer.getvalue(), tmp_path)
    link = zipfile.ZipInfo("l")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "a link or a device" in _unpacked(buffer.getvalue(), tmp_path)
    data = bytearray(_zip({"a": b"secret"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    assert "'a' is encrypted" in _unpacked(bytes(data), tmp_path)


def test_a_bomb_is_refused(tmp_path):
    for data in (_zip({"zeros": bytes(3_000_000)}), _tar("xz", {"zeros": bytes(3_000_000)})):
        (tmp_path / "b").write_bytes(data)
        with pytest.raises(DatasetError, match="possible archive bomb"):
            unpack(tmp_path / "b", tmp_path / "out", limit=1_000_000)


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    assert list(_unpacked(_tar(files={"a": b"1", "inner.zip": _zip()}), tmp_path)) == ["a", "inner.zip"]


def test_arguments(tmp_path):
    with pytest.raises(ParameterError, match="archive=3 must be"):
        unpack(3, tmp_path)
    with pytest.raises(ParameterError, match="limit='1' must be a whole number"):
        unpack(tmp_path / "x", tmp_path, limit="1")
    with pytest.raises(DatasetError, match="no such archive"):
        unpack(os.fspath(tmp_path / "x"), tmp_path)
