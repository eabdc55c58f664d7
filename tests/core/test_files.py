"""Files that are there wholly or not at all."""

import os
import stat
from pathlib import Path

import pytest

from workbench.core.files import abandoned, cache_folder, replacing, sweep_away, temporary_beside, write_whole


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, b"old")
    with replacing(path) as file:
        file.write(b"half of the n")
        file.flush()
        assert path.read_bytes() == b"old"
        (temporary,) = set(tmp_path.iterdir()) - {path}
        assert temporary == Path(file.name) and not abandoned(temporary)
    assert path.read_bytes() == b"half of the n" and list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600


@pytest.mark.parametrize("problem", [OSError("disk full"), KeyboardInterrupt(), ValueError("x")])
def test_a_writer_that_fails_leaves_nothing(tmp_path, problem):
    path = tmp_path / "a.txt"
    write_whole(path, b"old")
    with pytest.raises(type(problem)), replacing(path) as file:
        file.write(b"new")
        raise problem
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_rename_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", b"new")
    with pytest.raises(OSError):
        write_whole(tmp_path / "absent" / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_dead_writers_left_is_swept_away(tmp_path):
    dead, elsewhere = temporary_beside(tmp_path / "a.txt"), tmp_path / f".a.txt.{32 * '0'}.tmp"
    theirs = [tmp_path / name for name in ("thesis.tmp", ".thesis.tmp", f"{32 * '0'}.tmp", ".a.txt.0.tmp")]
    for path in (dead, elsewhere, *theirs):
        path.write_bytes(b"half")
    with replacing(tmp_path / "b.txt") as file:
        file.write(b"b")
        sweep_away(tmp_path)
        assert not dead.exists() and os.path.exists(file.name)
    assert elsewhere.exists(), "another machine's, whose lock does not show here, may live for an hour"
    os.utime(elsewhere, (0, 0))
    sweep_away(tmp_path)
    assert set(tmp_path.iterdir()) == {tmp_path / "b.txt", *theirs}


def test_a_long_name_is_written(tmp_path):
    path = tmp_path / ("n" * 250)
    write_whole(path, b"x")
    assert path.read_bytes() == b"x"


def test_the_cache_is_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("WORKBENCH_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
    monkeypatch.delenv("WORKBENCH_CACHE")
    assert cache_folder().name == "workbench"
