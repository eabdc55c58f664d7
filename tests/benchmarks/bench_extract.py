"""Extraction of clips of mixed lengths: batches against a clip-by-clip loop over the same encoder, on the CPU.

python tests/benchmarks/bench_extract.py [--encoder mini] [--clips 300] [--threads 2] [--rounds 3]

The two take turns; the medians are compared. Prints the ratio of wall times (target: at least 1.5 with mini), that of
processor times (which neighbours on a busy machine disturb less), and the largest difference of a pooled value
(target: below 1e-4).
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from workbench.encoders import extract, load_encoder


def noises(rate: int, count: int, seed: int = 0) -> list[np.ndarray]:
    """Noise bursts of 0.3 to 8 s, log-uniform, as in sets of spoken words and musical notes."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.uniform(np.log(0.3), np.log(8.0), count)) * rate
    return [(0.1 * rng.standard_normal(int(n))).astype(np.float32) for n in lengths]


def one_by_one(encoder, clips: list[np.ndarray]) -> list[np.ndarray]:
    """The plain loop: every clip alone, mean over time of every layer."""
    layers = range(len(encoder.layers))
    found = []
    with torch.inference_mode():
        for x in clips:
            outputs = encoder.forward(torch.from_numpy(x)[None], torch.tensor([len(x)]), layers)
            found.append(np.stack([frames[0].mean(0).numpy() for frames, _ in outputs]))
    return found


def batched(encoder, clips: list[np.ndarray], batch_seconds: float | None) -> list[np.ndarray]:
    """The same through extract."""
    found = dict(extract(encoder, clips, batch_seconds=batch_seconds, progress=False))
    return [np.stack(found[i]) for i in range(len(clips))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--random-weights", type=int, default=None)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-seconds", type=float, default=None)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    encoder = load_encoder(args.encoder, device="cpu", random_weights=args.random_weights)
    clips = noises(encoder.rate, args.clips)
    sound = sum(map(len, clips)) / encoder.rate
    ways = {"one by one": one_by_one, "batched": lambda *given: batched(*given, args.batch_seconds)}
    clocks = {"wall": time.perf_counter, "processor": time.process_time}
    spent: dict[str, dict[str, list[float]]] = {clock: {way: [] for way in ways} for clock in clocks}
    results = {}
    for way in ways.values():
        way(encoder, clips[:20])
    for _ in range(args.rounds):
        for way, run in ways.items():
            start = {clock: now() for clock, now in clocks.items()}
            results[way] = run(encoder, clips)
            for clock, now in clocks.items():
                spent[clock][way].append(now() - start[clock])
    alone, together = results.values()
    difference = max(float(np.abs(a - b).max()) for a, b in zip(alone, together, strict=True))
    print(f"{encoder.name}, padding {encoder.padding!r}: {args.clips} clips, {sound:.0f} s, {args.threads} threads")
    for clock, times in spent.items():
        slow, fast = (statistics.median(times[way]) for way in ways)
        print(f"{clock}: one by one {slow:.2f} s, batched {fast:.2f} s ({sound / fast:.0f}x), ratio {slow / fast:.2f}")
    print(f"largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
