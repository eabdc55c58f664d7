"""Sparse codes of millions of frames: what memory, time and disk they take.

    python tests/benchmarks/bench_frames.py [--rows 1000000] [--of 10000000] [--dim 512] [--latents 2048] [--k 32]

1. *Train* on ``--of`` frames, of which ``--seen`` are seen; they are made when they are read and stored nowhere.
2. *Encode* ``--rows`` of them to a folder.
3. *Read* what was encoded: a code a clip, the strongest frames of 64 latents.
4. *Gather* batches in random order from a store of ``--stored`` frames in shards, as training does; with an empty page
   cache (the first reading also compares checksums, clip by clip), and again.

Rates are of processor time, as others may use the machine; what a disk takes shows in the seconds that passed. Memory
is what the process holds by itself (RssAnon; pages of mapped files, which the system may take back, are not counted),
at a tenth of the way and at the end. What 10 million frames take is what ``--rows`` take times a factor.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from workbench import Split, fit_saes
from workbench.embeddings.result import FlatFrames
from workbench.embeddings.shards import SHIFT, Frames, write
from workbench.sae import encode_frames
from workbench.sae.data import CHUNK

CLIP = 500  # frames
ALL = 10_000_000


class Generated:
    """Frames (rows, dim), each the sum of three of 3 x 1,024 directions, drawn by its number and the seed."""

    def __init__(self, rows: int, dim: int, seed: int = 0):
        self.shape = (rows, dim)
        rng = np.random.default_rng(seed)
        self.directions = rng.standard_normal((3, 1024, dim)).astype(np.float32)
        self.factors = rng.integers(1, 2**62, 3, np.uint64) | np.uint64(1)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.shape[0]))
        out, numbers = np.zeros((len(rows), self.shape[1]), np.float32), np.asarray(rows, np.uint64) + np.uint64(1)
        for directions, factor in zip(self.directions, self.factors, strict=True):
            mixed = numbers * factor  # wraps around
            mixed ^= mixed >> np.uint64(29)
            out += directions[(mixed * factor >> np.uint64(54)).astype(np.int64)]
        return out


def held() -> float:
    """Megabytes that the process holds by itself."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this needs /proc/self/status with RssAnon (Linux 4.5 or later)")


def clocks() -> np.ndarray:
    """Seconds that have passed, and seconds of processor time, of all cores, that were used."""
    return np.array([time.perf_counter(), time.process_time()])


class Watch:
    """Remembers, as a job reports, what it holds at a tenth of the way and at the end, and the most of all."""

    def __init__(self):
        self.begin, self.before, self.seen = clocks(), held(), []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done / total, held(), clocks() - self.begin))

    def told(self, rows: int) -> str:
        tenth = next(holds for share, holds, _ in self.seen if share >= 0.1)
        most = max(holds for _, holds, _ in self.seen)
        _, end, (seconds, busy) = self.seen[-1]
        return (
            f"{rows / busy:,.0f} frames a second of processor time ({busy:.0f} s; {seconds:.0f} s passed); memory "
            f"{tenth - self.before:+.0f} MB at a tenth, {end - self.before:+.0f} at the end, {most - self.before:+.0f} "
            "at most"
        )


def timed(job: Callable[[], object]) -> np.ndarray:
    """The two :func:`clocks` that a job takes."""
    begin = clocks()
    job()
    return clocks() - begin


def stored(folder: Path, x: Generated, rows: int) -> FlatFrames:
    """Shards of 60 clips each."""
    found, addresses = [], []
    for at in range(0, rows, 60 * CLIP):
        frames = x[at : min(at + 60 * CLIP, rows)]
        clips = [{"layer": frames[i : i + CLIP]} for i in range(0, len(frames), CLIP)]
        keys = [f"{at + i:032x}" for i in range(len(clips))]
        addresses += [(len(found) << SHIFT) + i for i in range(len(clips))]
        found.append(write(folder, Frames.of(keys, clips, ragged=True), {}))
    return FlatFrames(found, np.array(addresses), "layer", "benchmark")


def forget(folder: Path) -> None:
    """Drop the folder's files from the page cache."""
    os.sync()
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"rows": 10**6, "of": ALL, "dim": 512, "latents": 2048, "k": 32}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in {"seen": 200_000, "batch": 1024, "stored": 500_000}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    if asked.rows % CLIP or asked.stored % CLIP:
        parser.error(f"--rows and --stored must be multiples of {CLIP}, the frames of a clip")

    x, watch = Generated(asked.of, asked.dim), Watch()
    split = Split(train=np.arange(asked.of - 10_000), valid=np.arange(asked.of - 10_000, asked.of))
    options = {"ks": [asked.k], "latents": asked.latents, "batch": asked.batch, "steps": asked.seen // asked.batch}
    sweep = fit_saes({"x": x}, split, **options, device="cpu", progress=watch)
    score = sweep.table.iloc[0]
    trained = watch.seen[-1][2][1] / asked.seen
    print(f"train, {asked.of:,} x {asked.dim} to {asked.latents:,}, {asked.seen:,} seen: {watch.told(asked.seen)}")
    print(f"  a row number takes 8 bytes in each list of rows; FVU {score['fvu']:.2f}, dead {score['dead']:.0%}")

    with tempfile.TemporaryDirectory() as name:
        folder, watch = Path(name) / "codes", Watch()
        lengths, part = np.full(asked.rows // CLIP, CLIP), Generated(asked.rows, asked.dim)
        codes = encode_frames(sweep.saes[0], part, lengths, folder=folder, progress=watch)
        size, factor = sum(path.stat().st_size for path in folder.iterdir()), ALL / asked.rows
        print(f"encode {asked.rows:,}: {watch.told(asked.rows)}")
        print(
            f"  {size / 1e9:.2f} GB on disk, dense {asked.rows * asked.latents * 4 / 1e9:.1f} GB; 10 million frames: "
            f"{factor * size / 1e9:.1f} GB, {factor * watch.seen[-1][2][1] / 60:.0f} min of processor time"
        )
        before = held()
        for what, job in {
            "load, with checksums": lambda: type(codes).load(folder),
            "mean of each clip": codes.pooled,
            "ten strongest frames of 64 latents": lambda: codes.strongest(list(range(64)), 10),
        }.items():
            print(f"  {what}: {timed(job)[1]:.1f} s, then {held() - before:+.0f} MB")

        (store := Path(name) / "store").mkdir()
        flat = stored(store, Generated(asked.stored, asked.dim), asked.stored)
        forget(store)
        n = min(CHUNK // (4 * asked.dim), asked.stored // 2)
        order = np.random.default_rng(0).permutation(asked.stored)
        for what in ("first reading", "later reading", "empty page cache"):
            if what == "empty page cache":
                forget(store)
            passed, busy = timed(lambda: flat[order[:n]])
            share = f"{busy / n / trained:.1%} of what it takes to train on one"
            rate = f"{busy / n * 1e6:.1f} us of processor time a frame, {share}; {passed:.2f} s passed"
            print(f"gather {n:,} of {asked.stored:,} in random order, {what}: {rate}")
        print(f"gather {n:,} in their order: {timed(lambda: flat[:n])[1] / n * 1e6:.1f} us of processor time a frame")


if __name__ == "__main__":
    main()
