"""kill -9 and many writers: nothing lost beyond what was in flight, nothing twice, resumed runs bit-identical."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch
import tqdm.auto

from workbench.datasets import Clips
from workbench.embeddings import Store, embed
from workbench.encoders import load_encoder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill")


def start(work) -> int:
    """Run in a forked child, warm and quick to start; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.alarm(60)  # a child that hangs is a failure too
        torch.set_num_threads(1)  # OpenMP does not survive a fork
        for bar in (tqdm.std.tqdm, tqdm.auto.tqdm):  # theirs is shared with the parent, which would wait for the dead
            bar.set_lock(threading.RLock())
        work()
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def everything(embeddings) -> list[np.ndarray]:
    return [embeddings.flat(k)[0] if embeddings.pooling is None else embeddings.layer(k) for k in range(3)]


def counts_on_disk(root) -> Counter:
    """How often each (content, layer) is stored."""
    return Counter(
        (content, layer)
        for group in Store(root)._groups()
        for shard in group.shards
        for content in shard.contents
        for layer in shard.layers
    )


@pytest.fixture(autouse=True)
def one_thread():
    """As in the children: the number of threads may change the last bit of a sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("pooling", ["mean", None])
def test_kill_at_50_random_moments_and_resume_bit_identical(make_clips, make_encoder, short_chunks, tmp_path, pooling):
    clips = make_clips(100)

    def run(root, delay=None):
        options = {"store": root, "pooling": pooling, "layers": "all", "progress": False}
        return embed(clips, make_encoder(delay=delay), **options)

    undisturbed = everything(run(tmp_path / "undisturbed"))
    begin = time.monotonic()
    run(tmp_path / "timed", delay=lambda _: time.sleep(0.002))
    whole = time.monotonic() - begin
    chance = random.Random(0)
    killed_midway = 0
    for attempt in range(25):  # twice: pooled and frames
        root = tmp_path / f"killed{attempt}"
        child = start(lambda root=root: run(root, delay=lambda _: time.sleep(0.002)))
        time.sleep(chance.uniform(0.0, whole))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert (Store(root).verify()["problem"] == "").all()
        resumed = run(root)
        killed_midway += 0 < resumed.hits < len(clips)
        assert resumed.hits + resumed.computed == len(clips)
        for array, expected in zip(everything(resumed), undisturbed, strict=True):
            assert np.array_equal(array, expected)
        assert set(counts_on_disk(root).values()) == {1}
    assert killed_midway >= 8  # else the moments were not random enough to show anything


def test_killed_again_and_again_it_still_gets_to_the_end(make_clips, make_encoder, short_chunks, tmp_path):
    clips = make_clips(100)
    undisturbed = everything(embed(clips, make_encoder(), store=False, progress=False))
    chance = random.Random(1)
    for _ in range(10):
        slow = make_encoder(delay=lambda _: time.sleep(0.01))
        child = start(lambda slow=slow: embed(clips, slow, store=tmp_path, progress=False))
        time.sleep(chance.uniform(0.02, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    resumed = embed(clips, make_encoder(), store=tmp_path, progress=False)
    for array, expected in zip(everything(resumed), undisturbed, strict=True):
        assert np.array_equal(array, expected)


def test_four_processes_share_one_set_nothing_lost_nothing_twice(make_clips, make_encoder, short_chunks, tmp_path):
    clips = make_clips(120)
    undisturbed = everything(embed(clips, make_encoder(), store=False, progress=False))

    def work(k):
        encoder = make_encoder(delay=lambda _: time.sleep(0.05))
        found = embed(clips, encoder, store=tmp_path, progress=False)
        assert all(np.array_equal(a, b) for a, b in zip(everything(found), undisturbed, strict=True))
        (tmp_path / f"{k}.count").write_text(str(found.computed))

    children = [start(lambda k=k: work(k)) for k in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    computed = [int((tmp_path / f"{k}.count").read_text()) for k in range(4)]
    assert sum(computed) == len(clips) and sum(count > 0 for count in computed) >= 2  # the work was shared
    assert set(counts_on_disk(tmp_path).values()) == {1}
    found = embed(clips, make_encoder(), store=tmp_path, progress=False)
    assert (found.hits, found.computed) == (len(clips), 0)


def test_four_processes_with_overlapping_sets(make_clips, make_encoder, short_chunks, tmp_path):
    clips = [make_clips(80, version=str(k)) for k in range(4)]
    for k, part in enumerate(clips):  # 20 ... 79, in an order of its own
        names = list(np.random.default_rng(k).permutation(list(part.waveforms))[20:])
        part.waveforms = {name: part.waveforms[name] for name in names}
        part.table = part.table.iloc[20:].reset_index(drop=True).assign(id=names)
    children = [start(lambda p=p: embed(p, make_encoder(), store=tmp_path, progress=False)) for p in clips]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    for part in clips:
        found = embed(part, make_encoder(), store=tmp_path, progress=False)
        alone = embed(part, make_encoder(), store=False, progress=False)
        assert (len(found), found.computed) == (60, 0)
        for array, expected in zip(everything(found), everything(alone), strict=True):
            assert np.allclose(array, expected, atol=1e-3)


def test_work_of_a_killed_process_is_taken_over(make_clips, make_encoder, short_chunks, tmp_path):
    clips = make_clips(60)
    encoding = tmp_path / "encoding"

    def hang(_):
        encoding.touch()
        time.sleep(60)

    stuck = start(lambda: embed(clips, make_encoder(delay=hang), store=tmp_path, progress=False))
    until(encoding.exists)
    other = start(lambda: embed(clips, make_encoder(), store=tmp_path, progress=False))
    until(lambda: len(counts_on_disk(tmp_path)) // 3 > 40)
    time.sleep(0.3)
    assert os.waitpid(other, os.WNOHANG)[0] == 0  # it waits for the first chunk, which is claimed
    assert len(counts_on_disk(tmp_path)) // 3 < len(clips)
    os.kill(stuck, signal.SIGKILL)
    os.waitpid(stuck, 0)
    assert os.waitpid(other, 0)[1] == 0
    found = embed(clips, make_encoder(), store=tmp_path, progress=False)
    assert (found.hits, found.computed) == (60, 0)


def test_real_encoder_killed_and_resumed_is_bit_identical(short_chunks, tmp_path):
    encoder = load_encoder("mini", device="cpu")
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(size).astype(np.float32) * 0.1 for size in rng.integers(4000, 32000, 60)]
    clips = Clips.from_arrays(waves, encoder.rate)
    begin = time.monotonic()
    undisturbed = embed(clips, encoder, store=False, progress=False)
    whole = time.monotonic() - begin
    midway = 0
    for attempt in range(6):
        child = start(lambda root=tmp_path / str(attempt): embed(clips, encoder, store=root, progress=False))
        time.sleep(whole * (0.2 + 0.1 * attempt))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        resumed = embed(clips, encoder, store=tmp_path / str(attempt), progress=False)
        midway += 0 < resumed.hits < len(clips)
        for layer in undisturbed.layers:
            assert np.array_equal(resumed.layer(layer), undisturbed.layer(layer))
    assert midway
