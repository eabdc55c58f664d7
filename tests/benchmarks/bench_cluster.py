"""Work on dask workers against the same work here: what a job costs, what a worker more brings, what the caller holds.

    python tests/benchmarks/bench_cluster.py [--clips 2000] [--rows 100000]

Needs the extra ``cluster``. In one run: the time that a job takes which does nothing; ``--clips`` sounds of four
seconds embedded with ``mini`` by one worker and by two of one thread each, and here with one thread; a sweep of eight
runs of a small notebook likewise (the workers' start and first imports are left out); and the memory of the caller
while ``--rows`` clips of a tenth of a second go through an encoder that gives 100 frames each. At the end, what these
figures come to with 1,000 workers and a million hours of sound.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nbformat
import numpy as np
import psutil
import soundfile
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from torch import Tensor

import workbench as wb
from workbench.core.cluster import Job, connect, spread
from workbench.encoders import Encoder, Layer
from workbench.runs import sweep

RATE = 16000
WORK = """\
import numpy as np
from workbench.runs import record
rng = np.random.default_rng(seed)
for _ in range(40):
    x = rng.standard_normal((600, 600))
    norm = float(np.linalg.svd(x, compute_uv=False)[0])
record(norm=norm)
"""


class Frames(Encoder):
    """100 frames of 16 numbers a tenth of a second: means of 16 samples, and as good as no work."""

    name, rate, padding = "frames", RATE, "masked"
    layers = (Layer("0", 16, 1000.0),)
    fingerprint = "bench_cluster frames 1"

    def forward(self, x: Tensor, lengths: Tensor, layers: object) -> list[tuple[Tensor, Tensor]]:
        frames = x[:, : x.shape[1] // 16 * 16].reshape(len(x), -1, 16)
        return [(frames, lengths // 16) for _ in layers]


def nothing(_: int) -> None:
    return None


def seconds(work, *arguments, **options) -> tuple[float, object]:
    start = time.perf_counter()
    result = work(*arguments, **options)
    return time.perf_counter() - start, result


def sounds(folder: Path, count: int, length: float) -> Path:
    """A csv of so many files of noise, each another."""
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(RATE * 60)).astype(np.float32)
    folder.mkdir()
    lines = ["path,label"]
    n = round(RATE * length)
    for i in range(count):
        at = int(rng.integers(len(noise) - n))
        x = noise[at : at + n] * rng.uniform(0.2, 1)
        (folder / f"{i // 1000:03d}").mkdir(exist_ok=True)
        soundfile.write(folder / f"{i // 1000:03d}" / f"{i:06d}.wav", x, RATE)
        lines.append(f"{i // 1000:03d}/{i:06d}.wav,{'ab'[i % 2]}")
    (folder / "sounds.csv").write_text("\n".join(lines) + "\n")
    return folder / "sounds.csv"


def embedding(folder: Path, count: int) -> dict[str, float]:
    clips, encoder = wb.load_dataset(str(sounds(folder / "sounds", count, 4.0))), wb.load_encoder("mini", device="cpu")
    took, made = {}, {}
    for name, cluster in (("here", None), ("one worker", "local:1"), ("two workers", "local:2")):
        options = {"store": folder / name, "progress": False}
        if cluster is None:
            took[name], made[name] = seconds(wb.embed, clips, encoder, **options)
            continue
        with connect(cluster) as client:
            client.wait_for_workers(int(cluster[-1]))
            for start in range(0, 40, 10):  # imports, and the encoder's weights
                first = clips.take(range(start, start + 10))
                wb.embed(first, encoder, store=folder / f"first {name}", client=client, progress=False)
            took[name], made[name] = seconds(wb.embed, clips, encoder, client=client, **options)
    equal = all(
        np.array_equal(made["here"].layer(layer), each.layer(layer))
        for each in made.values()
        for layer in encoder.select("all")
    )
    print(f"embedding {count} clips of 4 s, one thread each: " + ", ".join(f"{k} {v:.1f} s" for k, v in took.items()))
    print(f"  efficiency at two workers {took['one worker'] / took['two workers'] / 2:.0%}; "
          f"equal to the last bit: {equal}")  # fmt: skip
    return took


def sweeping(folder: Path) -> dict[str, float]:
    cells = [
        new_markdown_cell("# Toy"),
        new_code_cell('seed = 0  # of draws\nscale = "smoke"', metadata={"tags": ["parameters"]}),
    ]
    notebook = folder / "toy.ipynb"
    nbformat.write(new_notebook(cells=[*cells, new_code_cell(WORK)]), notebook)
    took = {}
    for name, cluster in (("here", None), ("one worker", "local:1"), ("two workers", "local:2")):
        options = {"out": folder / f"sweep {name}", "progress": False}
        if cluster is None:
            took[name], _ = seconds(sweep, notebook, {"seed": range(8)}, **options)
            continue
        with connect(cluster) as client:
            client.wait_for_workers(int(cluster[-1]))
            list(spread(client, [Job(f"warm {i}", f"warm-sweep-{name}-{i}", nothing, (i,)) for i in range(8)]))
            took[name], _ = seconds(sweep, notebook, {"seed": range(8)}, client=client, **options)
    print("sweep of eight runs: " + ", ".join(f"{k} {v:.1f} s" for k, v in took.items()))
    print(f"  efficiency at two workers {took['one worker'] / took['two workers'] / 2:.0%}")
    return took


def overhead() -> float:
    with connect("local:2") as client:
        client.wait_for_workers(2)
        for count in (20, 500):
            jobs = [Job(f"job {i}", f"nothing-{count}-{i}", nothing, (i,)) for i in range(count)]
            took, _ = seconds(list, spread(client, jobs))
    print(f"a job that does nothing: {took / count * 1e3:.1f} ms on two workers")
    return took / count


def memory(folder: Path, rows: int) -> float:
    """Megabytes that the caller takes more, at most, while many clips and frames go through."""
    written, path = seconds(sounds, folder / "many", rows, 0.1)
    process = psutil.Process()
    listed, clips = seconds(wb.load_dataset, str(path))
    before, peak = process.memory_info().rss, 0
    with connect("local:2") as client:
        client.wait_for_workers(2)
        import threading

        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.1):
                peak = max(peak, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        took, embeddings = seconds(
            wb.embed, clips, Frames(), pooling=None, store=folder / "store", client=client, progress=False
        )
        done.set()
        watcher.join()
    frames, held = len(embeddings.flat_frames(0)) / 1e6, (peak - before) / 2**20
    print(f"{rows} clips from csv to table in {listed:.1f} s")
    print(
        f"  {frames:.1f} million frames of 16 through two workers in {took:.0f} s ({took / rows * 1e6:.0f} us a clip)"
    )
    print(f"  the caller's memory grew by {held:.0f} MB at most")
    return held / rows


def arithmetic(job: float, took: dict[str, float], count: int, megabytes: float) -> None:
    """What the figures come to at a size that nobody has here."""
    hours, workers, clip = 1e6, 1000, 10.0
    clips = hours * 3600 / clip
    rate = count * 4.0 / took["one worker"]
    days = hours * 3600 / rate / workers / 86400
    jobs = hours * 3600 / (16 * 240)  # sixteen chunks of four minutes
    shards = clips * 7 * 64 * 4 / 64e6
    busy, table = jobs * job / 86400, megabytes * clips / 1024
    print(f"\nA million hours on {workers} such workers, from these figures:")
    print(f"  sound      {clips:.2g} clips of {clip:.0f} s; a worker does {rate:.0f} times real time: {days:.1f} days")
    print(
        f"  scheduler  {jobs:.2g} jobs of {job * 1e3:.1f} ms: {busy * 24:.1f} h of one, {busy / days:.0%} of that time"
    )
    print(f"  store      {shards:.0f} shards of 64 MB (seven layers of mini, pooled) in one folder")
    print(f"  caller     {megabytes * 1024:.1f} kB a clip: {table:.0f} GB of memory in one call")
    print(f"  first to break: {'the table of all clips, in the caller' if table > 100 else 'the scheduler'};", end=" ")
    print(f"a call for each million clips needs {megabytes * 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=100_000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORKBENCH_CACHE"] = str(Path(folder) / "cache")
        job = overhead()
        took = embedding(Path(folder), asked.clips)
        sweeping(Path(folder))
        held = memory(Path(folder), asked.rows)
    arithmetic(job, took, asked.clips, held)


if __name__ == "__main__":
    main()
