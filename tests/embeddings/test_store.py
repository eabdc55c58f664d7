"""Shards, groups, the memo, claims, and what the store says and removes."""

from __future__ import annotations

import json
import os
import resource
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from workbench.core.errors import ParameterError, StoreError
from workbench.embeddings import Store, embed
from workbench.embeddings.claims import Claims
from workbench.embeddings.memo import Memo
from workbench.embeddings.shards import Frames, Shard, gather, pack, widen, write
from workbench.embeddings.store import Group

RECORD = {
    "encoder": {"name": "small"},
    "fingerprint": "f",
    "pooling": "mean",
    "dtype": "float32",
    "segment": {"seconds": None},
}


def rows(n, *, start=0, layers=("0", "1"), dtype="float32", dim=6):
    rng = np.random.default_rng(start)
    arrays = {f"frames/{layer}": pack(rng.standard_normal((n, dim), np.float32), dtype) for layer in layers}
    return Frames([f"{start + i:032x}" for i in range(n)], arrays)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_shard_reads_back_bit_identical(tmp_path, dtype):
    frames = rows(5, dtype=dtype)
    shard = Shard(write(tmp_path, frames, RECORD).path)
    assert shard.contents == frames.contents
    assert shard.layers == ("0", "1")
    assert np.array_equal(shard.layer("1"), frames.layer("1"))
    assert shard.problem() == ""


def test_shard_is_a_safetensors_file(tmp_path):
    frames = rows(5, dtype="bfloat16")
    path = write(tmp_path, frames, RECORD).path
    with safe_open(path, "pt") as file:
        tensor = file.get_tensor("frames/0")
        record = json.loads(file.metadata()["record"])
    assert tensor.dtype == torch.bfloat16
    assert np.array_equal(tensor.float().numpy(), widen(frames.layer("0")))
    assert record["layers"] == ["0", "1"]


def test_bfloat16_rounds_to_nearest_as_torch_does():
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert np.array_equal(widen(pack(x, "bfloat16")), torch.from_numpy(x).bfloat16().float().numpy())


def test_gather_over_shards_of_three_dtypes_in_random_order(tmp_path):
    shards = [
        write(tmp_path, rows(700, start=k * 1000, dtype=d), RECORD) for k, d in enumerate(["float32", "bfloat16"])
    ]
    group = Group(tmp_path)
    contents = [c for shard in shards for c in shard.contents]
    order = np.random.default_rng(0).permutation(len(contents))
    got = gather(group.shards, group.addresses([contents[i] for i in order], "1"), "1")
    expected = np.concatenate([widen(shard.layer("1")) for shard in shards])[order]
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("damage", ["cut", "grown", "empty", "header", "keys", "text"])
def test_damaged_shard_is_named_and_counts_as_missing(tmp_path, damage):
    sound, path = write(tmp_path, rows(3), RECORD), write(tmp_path, rows(3, start=10), RECORD).path
    data = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    if damage == "cut":
        data = data[:-1]
    elif damage == "grown":
        data += b"\0"
    elif damage == "empty":
        data = b""
    elif damage == "header":
        data[data.index(b"small")] ^= 1
    elif damage == "keys":
        data[header + 3] ^= 1
    else:
        data = b"not a shard at all"
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=f"damaged shard .*{path.name}.*count as missing"):
        group = Group(tmp_path)
    assert [shard.path for shard in group.shards] == [sound.path]
    assert group.addresses([f"{10:032x}", f"{0:032x}"], "0").tolist() == [-1, 0]


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=f"{tmp_path}.*No space left.*WORKBENCH_CACHE.*store=False"):
        Group(tmp_path).add(rows(3), RECORD)
    assert list(tmp_path.iterdir()) == []


def test_a_row_stored_twice_is_read_once_and_the_oldest(tmp_path):
    first, second = rows(3), rows(3)
    second.arrays["frames/0"] = second.arrays["frames/0"] + 1
    write(tmp_path, first, RECORD)
    write(tmp_path, second, RECORD)
    group = Group(tmp_path)
    got = gather(group.shards, group.addresses(first.contents, "0"), "0")
    assert np.array_equal(got, first.layer("0"))


def test_layers_of_a_clip_may_lie_in_several_shards(tmp_path):
    write(tmp_path, rows(3, layers=("0",)), RECORD)
    write(tmp_path, rows(3, layers=("1", "2")), RECORD)
    write(tmp_path, rows(4, layers=("1",)), RECORD)
    group = Group(tmp_path)
    assert group.missing(f"{0:032x}", ("0", "1", "2", "3")) == ("3",)
    assert group.missing(f"{3:032x}", ("0", "1", "2")) == ("0", "2")
    assert (group.addresses([f"{3:032x}"], "0") < 0).all()
    assert (group.addresses([f"{3:032x}", f"{2:032x}"], "1") >= 0).all()


def test_memo_skips_lines_cut_short(tmp_path):
    path = tmp_path / "memo.txt"
    memo = Memo(path)
    memo.put("a" * 32, "1" * 32, 5)
    memo.save()
    with open(path, "a") as file:
        file.write("b" * 20)  # a writer killed in the middle of a line
    with pytest.warns(UserWarning, match="1 of 2 lines are damaged or of an earlier version; .* decoded once more"):
        memo = Memo(path)
    memo.put("c" * 32, "3" * 32, 7)
    memo.save()
    memo = Memo(path)
    assert [memo.get(k * 32) for k in "abc"] == ["1" * 32, None, "3" * 32]
    assert [memo.samples(k * 32) for k in "abc"] == [5, 0, 7] and memo.problem == ""


def test_memo_key_knows_rate_and_segment():
    keys = {Memo.key("f", 16000, None), Memo.key("f", 32000, None), Memo.key("f", 16000, 5), Memo.key("g", 16000, None)}
    assert len(keys) == 4
    assert Memo.key("f", 16000, 5) == Memo.key("f", 16000, 5.0)


def test_more_shards_than_open_files(tmp_path):
    for k in range(100):
        write(tmp_path, rows(2, start=10 * k), RECORD)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    try:
        group = Group(tmp_path)
        contents = [c for shard in group.shards for c in shard.contents]
        assert gather(group.shards, group.addresses(contents, "0"), "0").shape == (200, 6)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_shard_removed_while_in_use_is_named(make_clips, make_encoder, tmp_path):
    store = Store(tmp_path)
    found = embed(make_clips(3), make_encoder(), store=store, progress=False)
    store.prune(encoder="all", dry_run=False)
    with pytest.raises(StoreError, match=f"cannot read {tmp_path}.*embed.. again"):
        found.layer(0)


def test_claim_is_exclusive_between_processes_and_ends_with_the_process(tmp_path):
    claims = Claims(tmp_path)
    read, write_end = os.pipe()
    hold, release = os.pipe()
    child = os.fork()
    if child == 0:
        theirs = Claims(tmp_path)
        os.write(write_end, b"1" if theirs.take("ab" * 32) else b"0")
        os.read(hold, 1)
        os._exit(0)
    assert os.read(read, 1) == b"1"
    assert not claims.take("ab" * 32)
    assert claims.take("cd" * 32)
    os.write(release, b"x")
    os.waitpid(child, 0)
    assert claims.take("ab" * 32)


def test_info_counts_clips_and_bytes_per_layer(make_clips, make_encoder, tmp_path):
    store = Store(tmp_path)
    embed(make_clips(10), make_encoder(), store=store, layers="0")
    embed(make_clips(4), make_encoder(), store=store, layers=["1", "2"], dtype="float16")
    info = store.info()
    assert info[["encoder", "dtype", "layer", "clips", "bytes"]].sort_values("layer").values.tolist() == [
        ["small", "float32", "0", 10, 10 * 8 * 4],
        ["small", "float16", "1", 4, 4 * 8 * 2],
        ["small", "float16", "2", 4, 4 * 4 * 2],
    ]
    assert ((pd.Timestamp.now("UTC").tz_localize(None) - info["last_used"]).dt.total_seconds().abs() < 60).all()


def test_verify_names_what_is_damaged_and_prune_removes_it(make_clips, make_encoder, tmp_path, short_chunks):
    clips, store = make_clips(30), Store(tmp_path)
    before = embed(clips, make_encoder(), store=store).layer("2")
    assert (store.verify()["problem"] == "").all()
    paths = sorted(store.folder.glob("*/*.safetensors"))
    flipped, cut = paths[:2]
    data = bytearray(flipped.read_bytes())
    data[-1] ^= 1  # inside the frames: opening cannot see it
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-10])
    report = store.verify().set_index("path")["problem"]
    assert "checksum of frames/2" in report[str(flipped)]
    assert "bytes instead of" in report[str(cut)]
    assert (report != "").sum() == 2
    assert len(store.prune(damaged=True)) == 2
    assert flipped.exists()
    assert set(store.prune(damaged=True, dry_run=False)["path"]) == {str(flipped), str(cut)}
    assert not flipped.exists()
    again = embed(clips, make_encoder(), store=store)
    assert 0 < again.computed < len(clips)
    assert np.allclose(again.layer("2"), before, atol=1e-3)


def test_prune_by_encoder_and_age_and_leftovers(make_clips, make_encoder, tmp_path):
    store = Store(tmp_path)
    embed(make_clips(3), make_encoder(), store=store)
    folder = next(p for p in store.folder.iterdir() if p.is_dir())
    leftover = folder / "abc.tmp"
    leftover.write_bytes(b"half a shard")
    assert store.prune()["path"].tolist() == [str(leftover)]
    assert store.prune(dry_run=False)["why"].tolist() == ["left by a killed writer"]
    assert not leftover.exists()
    assert len(store.prune(older_than=1.0)) == 0
    os.utime(folder, (0, time.time() - 2 * 86400))
    assert len(store.prune(older_than=1.0)) == 1
    assert len(store.prune(older_than=3.0, encoder="small")) == 0
    with pytest.raises(ParameterError, match="encoder='hubert' must be one that the store holds: .*small"):
        store.prune(encoder="hubert")
    assert len(store.prune(encoder="small", dry_run=False)) == 1
    assert len(store.info()) == 0


def test_store_root_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "elsewhere"))
    assert Store().root == tmp_path / "elsewhere"
    monkeypatch.delenv("WORKBENCH_CACHE")
    assert Store().root.name == "workbench"
    (tmp_path / "file").write_text("x")
    with pytest.raises(ParameterError, match="root=.*file.*must be a folder"):
        Store(tmp_path / "file")


def test_info_of_an_empty_store_has_no_rows(tmp_path):
    assert len(Store(tmp_path / "new").info()) == 0
    assert len(Store(tmp_path / "new").verify()) == 0
    assert len(Store(tmp_path / "new").prune(encoder="all")) == 0
    assert not (tmp_path / "new").exists()
