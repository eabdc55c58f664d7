"""Embeddings by the workers of a dask client: equal to those of one process, whatever is killed."""

import os
import threading
import time

import numpy as np
import pytest

from workbench.core.errors import AudioError, ParameterError
from workbench.datasets import Clips, load_dataset
from workbench.embeddings import Store, embed
from workbench.encoders import encoder_from, load_encoder

pytest.importorskip("distributed", reason="needs dask.distributed (the extra 'cluster')")
pytestmark = pytest.mark.slow  # processes that start

RATE = 16000


@pytest.fixture(scope="module")
def client():
    from workbench.core.cluster import connect

    with connect("local:2") as client:
        yield client


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("mini", device="cpu")


def noises(count, seconds=2.0, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(0.3, seconds, count)
    return [0.1 * rng.standard_normal(round(RATE * length)).astype(np.float32) for length in lengths]


def same(a, b):
    assert a.fingerprint == b.fingerprint and list(a.ids) == list(b.ids) and a.skipped == b.skipped
    for layer in a.layers:
        np.testing.assert_array_equal(a.layer(layer), b.layer(layer))


@pytest.mark.parametrize("pooling", ["mean", None])
def test_the_numbers_are_those_of_one_process(client, encoder, tmp_path, pooling):
    sounds = noises(150, 8.0)
    clips = Clips.from_arrays([*sounds, *sounds[:5]], RATE)  # more than one chunk, and five that are there twice
    options = {"layers": [0, 3], "pooling": pooling, "progress": False}
    plain = embed(clips, encoder, store=tmp_path / "plain", **options)
    spread = embed(clips, encoder, store=tmp_path / "spread", client=client, **options)
    assert spread.computed == plain.computed == 150
    if pooling:
        same(plain, spread)
    else:
        for row in range(155):
            np.testing.assert_array_equal(plain.frames("3", row), spread.frames("3", row))
    again = embed(clips, encoder, store=tmp_path / "spread", client=client, **options)
    assert again.computed == 0 and again.hits == 155
    assert (Store(tmp_path / "spread").verify()["problem"] == "").all()


def test_files_and_generated_sounds_and_what_cannot_be_read(client, encoder, tmp_path):
    from workbench import audio

    for i, x in enumerate(noises(6)):
        path = tmp_path / "sounds" / "ab"[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, x, RATE)
    broken = tmp_path / "sounds" / "a" / "0.wav"
    clips = load_dataset(str(tmp_path / "sounds"))
    broken.write_bytes(b"RIFF but nothing that can be read")
    with pytest.raises(AudioError, match="0.wav"):
        embed(clips, encoder, layers=0, store=tmp_path / "store", client=client, progress=False)
    options = {"layers": 0, "on_error": "skip", "progress": False}
    with pytest.warns(UserWarning, match="1 of 6 clips cannot be read"):
        spread = embed(clips, encoder, store=tmp_path / "store", client=client, **options)
    with pytest.warns(UserWarning, match="1 of 6 clips cannot be read"):
        same(embed(clips, encoder, store=tmp_path / "plain", **options), spread)
    voices = load_dataset("voices", size=20, seed=0)
    options = {"layers": 0, "progress": False}
    plain = embed(voices, encoder, store=tmp_path / "plain", **options)
    same(plain, embed(voices, encoder, store=tmp_path / "store", client=client, **options))


def test_an_encoder_of_ones_own_travels_as_it_is(client, tmp_path, encoder):
    mine = load_encoder("mini", device="cpu")
    mine.recipe, mine.fingerprint = None, "mine"
    clips = Clips.from_arrays(noises(5), RATE)
    options = {"layers": 0, "progress": False}
    spread = embed(clips, mine, store=tmp_path / "a", client=client, **options)
    plain = embed(clips, mine, store=tmp_path / "b", **options)
    same(plain, spread)


NET = """
import torch

class Net(torch.nn.Module):
    rate = 16000

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Conv1d(1, 4, 320, 160)

    def forward(self, x):
        return self.last(x[:, None])
"""


def test_code_of_ones_own_is_run_by_the_workers_or_travels(client, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    by_name = load_encoder(f"{tmp_path / 'net.py'}:Net", device="cpu", random_weights=3)
    in_memory = encoder_from(by_name.module, device="cpu")
    clips = Clips.from_arrays(noises(5), RATE)
    for mine in (in_memory, by_name):  # the first before any worker knows the file
        spread = embed(clips, mine, store=tmp_path / "a", client=client, progress=False)
        same(embed(clips, mine, store=tmp_path / "b", progress=False), spread)


def test_workers_that_are_killed_cost_nothing(encoder, tmp_path):
    from workbench.core.cluster import connect

    clips = Clips.from_arrays(noises(200, 8.0), RATE)
    plain = embed(clips, encoder, layers=[0, 6], store=tmp_path / "plain", progress=False)
    with connect("local:2") as client:
        stop = threading.Event()

        def kill():
            rng = np.random.default_rng(0)
            for _ in range(3):
                if stop.wait(rng.uniform(0.5, 2)):
                    return
                victim = rng.choice(list(client.scheduler_info(n_workers=-1)["workers"]))
                client.run(os._exit, 1, workers=[str(victim)], on_error="ignore")
                time.sleep(1)

        killer = threading.Thread(target=kill)
        killer.start()
        spread = embed(clips, encoder, layers=[0, 6], store=tmp_path / "spread", client=client, progress=False)
        stop.set()
        killer.join()
    same(plain, spread)
    verified = Store(tmp_path / "spread").verify()
    assert (verified["problem"] == "").all()


def test_what_cannot_be_shared_is_refused(client, encoder):
    clips = Clips.from_arrays(noises(2), RATE)
    with pytest.raises(ParameterError, match="store=False must be a folder that the workers"):
        embed(clips, encoder, store=False, client=client)
    with pytest.raises(ParameterError, match="client='object' must be a dask client"):
        embed(clips, encoder, client=object())
