"""Damage of what is stored: it is named, computed again and never served."""

from __future__ import annotations

import os
import random
import shutil
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

from workbench import audio
from workbench.core.errors import StoreError
from workbench.core.files import replacing
from workbench.datasets import load_dataset
from workbench.embeddings import Store, embed, shards
from workbench.embeddings.shards import FORMAT, Frames, _digest, _hash, _header
from workbench.encoders import load_encoder

QUIET = {"progress": False}


def values(found) -> list[np.ndarray]:
    return [found.flat(k)[0] if found.pooling is None else found.layer(k) for k in range(3)]


def files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.is_file() and p.name != "claims")


def rewrite(path: Path, change) -> None:
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data) or data)


@pytest.mark.parametrize("pooling", ["mean", None])
def test_no_flipped_bit_or_lost_page_in_any_file_is_served(make_clips, make_encoder, short_chunks, tmp_path, pooling):
    clips, encoder = make_clips(20), make_encoder()
    options = {"pooling": pooling, **QUIET}
    right = values(embed(clips, encoder, store=tmp_path / "sound", **options))
    names = [p.relative_to(tmp_path / "sound") for p in files(tmp_path / "sound")]
    assert len(names) >= 3
    chance = random.Random(0)
    for attempt in range(40):
        root = tmp_path / str(attempt)
        shutil.copytree(tmp_path / "sound", root)
        name = chance.choice(names)

        def change(data, cut=attempt % 4):
            at = chance.randrange(len(data))
            if cut == 0:
                data[at : at + 64] = b"\xff" * len(data[at : at + 64])
            elif cut == 1:
                return data[:at]
            else:
                data[at] ^= 1 << chance.randrange(8)

        rewrite(root / name, change)
        with pytest.warns(UserWarning, match=str(root)):
            found = embed(clips, encoder, store=root, **options)
        assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(values(found), right, strict=True))
        assert (found.computed > 0) == (name.name != "memo.txt")
        shutil.rmtree(root)


def test_only_the_damaged_clip_is_computed_again_and_named(make_clips, make_encoder, tmp_path):
    clips, encoder = make_clips(8), make_encoder()
    right = embed(clips, encoder, store=tmp_path, **QUIET).layer("2")
    (path,) = tmp_path.rglob("*.safetensors")
    rewrite(path, lambda data: data.__setitem__(-1, data[-1] ^ 1))  # the last frame of layer 2
    with pytest.warns(UserWarning, match=rf"{path.name}: checksum of frames/2 \(rows 7 of 8\).* clip0007 is not used"):
        found = embed(clips, encoder, store=tmp_path, **QUIET)
    assert (found.hits, found.computed) == (7, 1)
    np.testing.assert_allclose(found.layer("2"), right, atol=1e-3)
    with pytest.warns(UserWarning, match="clip0007"):  # until it is pruned; the sound copy is found
        assert embed(clips, encoder, store=tmp_path, **QUIET).computed == 0


@pytest.mark.parametrize("pooling", ["mean", None])
def test_damage_after_embed_is_an_error_of_the_read(make_clips, make_encoder, tmp_path, pooling):
    clips, encoder = make_clips(4), make_encoder()
    found = embed(clips, encoder, store=tmp_path, pooling=pooling, **QUIET)
    values(found)
    (path,) = tmp_path.rglob("*.safetensors")
    rewrite(path, lambda data: data.__setitem__(-1, data[-1] ^ 1))
    with pytest.raises(StoreError, match=f"{path.name}: checksum of frames/2 .*embed.. again computes what was lost"):
        found.layer("2") if pooling else found.flat("2")
    if pooling is None:
        frames = found.flat_frames("2")
        frames[:2]  # another clip's
        with pytest.raises(StoreError, match=r"frames/2 \(rows 3 of 4\)"):
            frames[[len(frames) - 1]]


def test_a_shard_of_the_first_format_is_read_and_checked(make_clips, make_encoder, tmp_path):
    clips, encoder = make_clips(5), make_encoder()
    right = values(embed(clips, encoder, store=tmp_path, **QUIET))
    (path,) = tmp_path.rglob("*.safetensors")
    (group,) = Store(tmp_path)._groups()
    shard = group.shards[0]
    arrays = {"keys": np.frombuffer(bytes.fromhex("".join(shard.contents)), np.uint8).reshape(-1, 16)}
    arrays |= {f"frames/{layer}": np.array(shard.layer(layer)) for layer in shard.layers}
    record = {**shard.record, "format": 1, "sha256": {name: _hash(array) for name, array in arrays.items()}}
    header = _header(arrays, record)
    old = path.with_name(f"{path.name[:21]}-{_digest(header + arrays['keys'].tobytes())}.safetensors")
    old.write_bytes(header + b"".join(array.tobytes() for array in arrays.values()))
    path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = embed(clips, encoder, store=tmp_path, **QUIET)
    assert found.computed == 0 and all(np.array_equal(a, b) for a, b in zip(values(found), right, strict=True))
    rewrite(old, lambda data: data.__setitem__(-1, data[-1] ^ 1))
    with pytest.warns(UserWarning, match=f"{old.name}: checksum of frames/2"):
        assert embed(clips, encoder, store=tmp_path, **QUIET).computed == 5


def test_a_later_format_and_a_shard_of_another_group_are_not_read(make_clips, make_encoder, tmp_path, monkeypatch):
    clips = make_clips(3)
    embed(clips, make_encoder(seed=1), store=tmp_path, **QUIET)
    (foreign,) = tmp_path.rglob("*.safetensors")
    embed(clips, make_encoder(), store=tmp_path, **QUIET)
    (mine,) = (path for path in tmp_path.rglob("*.safetensors") if path != foreign)
    shutil.copy(foreign, mine.parent / foreign.name)
    mine.unlink()
    with pytest.warns(UserWarning, match=f"{foreign.name}: is of another encoder, pooling, segment or dtype"):
        assert embed(clips, make_encoder(), store=tmp_path, **QUIET).computed == 3
    (group,) = (g for g in Store(tmp_path)._groups(quiet=True) if g.folder == foreign.parent)
    monkeypatch.setattr(shards, "FORMAT", FORMAT + 1)
    monkeypatch.setattr(shards, "Shard", lambda path: path)
    frames = Frames(group.shards[0].contents, {f"frames/{k}": group.shards[0].layer(k) for k in "012"})
    later = shards.write(foreign.parent, frames, group.shards[0].record)
    monkeypatch.undo()
    foreign.unlink()
    with pytest.warns(UserWarning, match=f"{later.name}: has format 3; this version reads up to 2"):
        assert embed(clips, make_encoder(seed=1), store=tmp_path, **QUIET).computed == 3


@pytest.mark.parametrize("name", ["shard", "memo.txt", "claims"])
def test_a_file_that_became_a_folder_does_not_block(make_clips, make_encoder, tmp_path, name):
    clips, encoder = make_clips(3), make_encoder()
    embed(clips, encoder, store=tmp_path, **QUIET)
    (path,) = tmp_path.rglob("*.safetensors" if name == "shard" else name)
    path.unlink()
    path.mkdir()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = embed(clips, encoder, store=tmp_path, **QUIET)
    assert found.computed == (3 if name == "shard" else 0)
    assert any(str(path) in str(one.message) for one in told) == (name != "claims")
    if name == "shard":
        assert str(path) in Store(tmp_path).prune(damaged=True, dry_run=False)["path"].tolist() and not path.exists()


def test_memo_lines_that_were_exchanged_are_left_out_and_verify_says_so(make_clips, make_encoder, tmp_path):
    clips, encoder = make_clips(4), make_encoder()
    right = values(embed(clips, encoder, store=tmp_path, **QUIET))
    memo = tmp_path / "embeddings" / "memo.txt"
    lines = memo.read_text().split("\n")
    (a, b) = (k for k, line in enumerate(lines) if line and k < 3)
    lines[a], lines[b] = lines[a][:33] + lines[b][33:], lines[b][:33] + lines[a][33:]
    memo.write_text("\n".join(lines))
    with memo.open("a") as file:
        file.write("00000000\n")  # the checksum of nothing
    report = Store(tmp_path).verify().set_index("path")["problem"]
    assert report[str(memo)] == "3 of 5 lines are damaged or of an earlier version" and (report != "").sum() == 1
    assert str(memo) in Store(tmp_path).prune(damaged=True)["path"].tolist()
    with pytest.warns(UserWarning, match=f"{memo}: 3 of 5 lines are damaged"):
        found = embed(clips, encoder, store=tmp_path, **QUIET)
    assert found.computed == 0 and all(np.array_equal(a, b) for a, b in zip(values(found), right, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the file was written anew
        embed(clips, encoder, store=tmp_path, **QUIET)
    for line in memo.read_text().split():
        assert line
    assert (Store(tmp_path).verify()["problem"] == "").all()


def test_memo_lines_of_an_earlier_version_are_not_trusted(make_clips, make_encoder, tmp_path):
    clips, encoder = make_clips(3), make_encoder()
    embed(clips, encoder, store=tmp_path, **QUIET)
    memo = tmp_path / "embeddings" / "memo.txt"
    memo.write_text("\n".join(line[:65] for line in memo.read_text().split("\n")))
    clips.decoded.clear()
    with pytest.warns(UserWarning, match="3 of 3 lines are damaged or of an earlier version"):
        assert embed(clips, encoder, store=tmp_path, **QUIET).computed == 0
    assert len(clips.decoded) == 3


def test_a_file_rewritten_at_once_with_equal_size_and_time_is_embedded_anew(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    encoder, t = load_encoder("logmel", device="cpu"), np.arange(8000) / 16000

    def put(frequency):
        audio.write(folder / "new.wav", 0.3 * np.sin(2 * np.pi * frequency * t), 16000)
        (folder / "a.wav").write_bytes((folder / "new.wav").read_bytes())  # the same inode
        (folder / "new.wav").unlink()
        os.utime(folder / "a.wav", (315532800, 315532800))

    def first(store):
        return embed(load_dataset(folder), encoder, store=store, **QUIET).layer(0)

    for pause in (0.0, 0.0, 0.0, 0.15):
        for frequency in (300, 3000):
            put(frequency)
            time.sleep(pause)
            np.testing.assert_array_equal(first(tmp_path / "store"), first(False))
            if pause:  # old enough to be remembered
                (line,) = (tmp_path / "store/embeddings/memo.txt").read_text().split("\n")[-2:-1]
                text, check = line.rsplit(" ", 1)
                assert check == f"{zlib.crc32(text.encode()):08x}" and text.endswith(" 8000")


def test_leftovers_of_dead_writers_go_those_of_living_ones_stay(make_clips, make_encoder, tmp_path):
    embed(make_clips(2), make_encoder(), store=tmp_path, **QUIET)
    (shard,) = tmp_path.rglob("*.safetensors")
    dead, memo = shard.parent / "dead.tmp", shard.parents[1] / "memo-x.tmp"
    dead.write_bytes(b"half")
    memo.write_bytes(b"half")

    with replacing(shard.parent / "done") as file:
        (alive,) = shard.parent.glob(".done.*.tmp")
        assert {Path(p) for p in Store(tmp_path).prune()["path"]} == {dead, memo}
        embed(make_clips(2), make_encoder(), store=tmp_path, **QUIET)
        assert alive.exists() and not dead.exists() and not memo.exists()
        file.write(b"whole")
    assert (shard.parent / "done").read_bytes() == b"whole" and not alive.exists()
