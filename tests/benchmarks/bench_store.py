"""The embedding store: finding against computing, and gathering rows against a plain numpy memmap.

python tests/benchmarks/bench_store.py [--dataset voices] [--encoder mini] [--clips 100] [--rows 100000] [--rounds 5]

Prints the ratio of the first extraction of a set to the second (target: at least 50), and the time of a gather of
stored 768-d vectors in random order as a multiple of the same gather from one numpy memmap (target: at most 2). Both
gathers take turns and read from a warm page cache; the medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from workbench.datasets import Clips, load_dataset
from workbench.embeddings import Store, embed
from workbench.encoders import Encoder, Layer, load_encoder

DIM = 768


class Projection(Encoder):
    """The cheapest encoder there is: what remains is the cost of the store."""

    name, rate, padding, fingerprint = "projection", 16000, "masked", "projection"
    layers = (Layer("0", DIM, 100.0),)

    def __init__(self):
        self.weight = torch.randn(160, DIM, generator=torch.Generator().manual_seed(0))

    def forward(self, x, lengths, layers):
        return [(x[:, None, :160] @ self.weight, torch.ones_like(lengths))]


def timed(function, *args, **options):
    """Result and seconds."""
    start = time.perf_counter()
    result = function(*args, **options)
    return result, time.perf_counter() - start


def second_extraction(root: Path, dataset: str, encoder_name: str, count: int) -> None:
    """An unchanged set embedded twice, its vectors read each time; the store opened anew."""
    encoder = load_encoder(encoder_name, device="cpu")

    def run(clips):
        found = embed(clips, encoder, store=root, progress=False)
        return found, found.arrays()

    (first, arrays), slow = timed(run, load_dataset(dataset, size=count))
    (second, again), fast = timed(run, load_dataset(dataset, size=count))
    assert second.computed == 0 and all(np.array_equal(arrays[name], again[name]) for name in arrays)
    print(f"{dataset}, {len(first)} clips, {len(first.layers)} layers of {encoder_name}:")
    print(f"  first {slow:.2f} s, second {fast * 1000:.1f} ms: ratio {slow / fast:.0f} (target >= 50)")


def random_gather(root: Path, count: int, rounds: int) -> None:
    """Rows of a set embedded in another order than it is asked for."""
    rng = np.random.default_rng(0)
    sounds = rng.standard_normal((count, 160)).astype(np.float32)
    clips = Clips.from_arrays(list(sounds), 16000)
    encoder = Projection()
    _, slow = timed(embed, clips, encoder, store=root, progress=False)
    order = rng.permutation(count)
    turned = clips.take(order)
    found, fast = timed(embed, turned, encoder, store=root, progress=False)
    print(f"{count} clips of {DIM} numbers: first {slow:.1f} s ({slow / count * 1e6:.0f} us a clip of store and")
    print(f"  batching), found in {fast:.2f} s, in {len(list(Store(root).folder.glob('*/*.safetensors')))} shards")
    path = root / "plain.f32"
    plain = np.memmap(path, np.float32, "w+", shape=(count, DIM))
    plain[order] = found.layer(0)
    plain.flush()
    del plain

    # each maps its files anew; memory that was just touched, so that neither waits for the system to find some
    both = {
        "plain": lambda: np.memmap(path, np.float32, "r", shape=(count, DIM))[order],
        "store": lambda: found.layer(0),
    }
    assert np.array_equal(both["plain"](), both["store"]())
    times = {name: [] for name in both}
    for turn in range(2 * rounds):
        for name in sorted(both, reverse=bool(turn % 2)):
            result, seconds = timed(both[name])
            times[name].append(seconds)
            del result
    plain, store = (statistics.median(times[name]) for name in ("plain", "store"))
    print(
        f"  gather in random order: memmap {plain:.3f} s, store {store:.3f} s: ratio {store / plain:.2f} (target <= 2)"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", default="voices")
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        second_extraction(Path(folder) / "second", options.dataset, options.encoder, options.clips)
        random_gather(Path(folder) / "gather", options.rows, options.rounds)


if __name__ == "__main__":
    main()
