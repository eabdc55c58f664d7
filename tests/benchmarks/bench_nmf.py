"""Sparse NMF of 513 x 20,000 log-magnitude frames, K = 100: seconds to the objective scikit-learn's rule reaches.

    python tests/benchmarks/bench_nmf.py [--frames 20000] [--components 100] [--iterations 100] [--rounds 2]

All begin with the same factors. What counts is the normalised objective, 1/2 ||X - WH||^2 + sparsity * sum(H) with
columns of W of length 1: others leave lengths free, so their W is normalised and their H rescaled before it is taken.
At sparsity 0 all then solve one problem. Above 0 they do not (free lengths evade the penalty); their lowest value is
the mark all the same, and a third comparison fixes W, where the penalised problem is one again. scikit-learn's
multiplicative updates run for --iterations, in blocks of ten; their lowest objective and the time to it are the mark.
The others run until they are there: this package's two algorithms, timed with all checks and set-up, scikit-learn's
coordinate descent, and torchnmf where it can be imported (its penalty falls on W too). Rounds alternate; ratios are
within a round, given as median and range. Beside them: floating-point operations of an iteration, and the rate of
a plain product W^T X of one tile on the same threads, which bounds what any iteration can do.

Frames are those of ESC-10 under WORKBENCH_DATA, else synthetic mixtures of harmonic and noise spectra.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import non_negative_factorization
from threadpoolctl import threadpool_limits

from workbench import audio
from workbench.nmf import SparseNMF, activations, objective
from workbench.nmf.frames import TILE
from workbench.nmf.model import PASSES

BLOCK = 10


def esc10(root: Path, count: int) -> np.ndarray:
    """Log-magnitude frames, 50 random ones a clip."""
    rng, found = np.random.default_rng(0), []
    paths = sorted((root / "esc10").rglob("*.ogg"))
    for path in rng.permutation(np.array(paths, dtype=object)):
        x, _ = audio.load(path, rate=44_100)
        x = torch.from_numpy(x / max(np.abs(x).max(), 1e-9))
        spectra = torch.stft(x, 1024, 512, window=torch.hann_window(1024), return_complex=True).abs().log1p().T
        found.append(spectra.numpy()[rng.permutation(len(spectra))[: -(-count // len(paths))]])
    return np.concatenate(found)[:count]


def synthetic(count: int) -> np.ndarray:
    rng, bins = np.random.default_rng(0), np.arange(513)
    pitch = rng.uniform(4, 60, 150)[:, None]
    tones = np.exp(-(((bins / pitch + 0.5) % 1 - 0.5) ** 2) * pitch**2 / 2)
    tones *= np.exp(-bins / rng.uniform(30, 300, (150, 1)))
    bands = np.exp(-(((bins - rng.uniform(0, 513, (50, 1))) / rng.uniform(10, 150, (50, 1))) ** 2))
    gains = rng.exponential(size=(count, 200)) * (rng.random((count, 200)) < 0.03)
    magnitude = gains @ np.concatenate([tones, bands]) * 10
    return np.log1p(magnitude + 0.05 * rng.rayleigh(size=(count, 513))).astype(np.float32)


def normalised(x: np.ndarray, h: np.ndarray, w: np.ndarray, sparsity: float) -> float:
    lengths = np.linalg.norm(w, axis=1)
    lengths[lengths == 0] = 1
    return objective(x, h * lengths, w / lengths[:, None], sparsity=sparsity)


def stepped(step: Callable, h, w, score: Callable, enough: Callable[[list], bool]) -> list[tuple[float, float]]:
    """(seconds, objective) after every block; scoring is not timed."""
    spent, track = 0.0, []
    while not enough(track):
        start = time.perf_counter()
        h, w = step(h, w)
        spent += time.perf_counter() - start
        track.append((spent, score(h, w)))
    return track


def scikit(x: np.ndarray, sparsity: float, solver: str, learn: bool = True, iterations: int = BLOCK) -> Callable:
    penalty = {"alpha_W": sparsity / x.shape[1], "alpha_H": 0.0, "l1_ratio": 1.0}
    options = {"solver": solver, "init": "custom", "tol": 0, "max_iter": iterations} | penalty

    def step(h, w):
        given = {"W": h.copy(), "H": w.copy(), "n_components": len(w)}
        return non_negative_factorization(x, update_H=learn, **given, **options)[:2]

    return step


def torchnmf(x: np.ndarray, sparsity: float) -> Callable:
    from torchnmf.nmf import NMF

    frames = torch.from_numpy(x)

    def step(h, w):
        model = NMF(W=torch.from_numpy(w.T.copy()), H=torch.from_numpy(h.copy()))
        model.fit(frames, beta=2, tol=-1.0, max_iter=BLOCK, alpha=sparsity, l1_ratio=1)
        return model.H.detach().numpy(), model.W.detach().numpy().T.copy()

    return step


def ours(x: np.ndarray, h: np.ndarray, w: np.ndarray, sparsity: float, algorithm: str, mark: float):
    """Seconds and iterations to the mark."""
    options = {"sparsity": sparsity, "algorithm": algorithm, "tolerance": 0.0, "device": "cpu", "progress": False}
    reach, limit = None, 20
    while reach is None and limit < 1000:
        history = SparseNMF(len(w), iterations=limit, **options).fit(x, components=w, activations=h).history_
        reach, limit = next((i for i, cost in enumerate(history) if cost <= mark), None), limit * 4
    if reach is None:
        return float("inf"), limit
    model = SparseNMF(len(w), iterations=max(1, reach), **options)
    start = time.perf_counter()
    model.fit(x, components=w, activations=h)
    return time.perf_counter() - start, reach


def fits(x: np.ndarray, h: np.ndarray, w: np.ndarray, sparsity: float, iterations: int) -> dict[str, tuple[float, str]]:
    """Seconds to the mark, and a note, of each way."""
    score = lambda h, w: normalised(x, h, w, sparsity)  # noqa: E731
    track = stepped(scikit(x, sparsity, "mu"), h, w, score, lambda track: len(track) >= iterations // BLOCK)
    mark = min(cost for _, cost in track)
    found = {"scikit-learn mu": (next(s for s, cost in track if cost <= mark), f"objective {mark:.0f}")}
    rivals = {"scikit-learn cd": lambda: scikit(x, sparsity, "cd"), "torchnmf": lambda: torchnmf(x, sparsity)}
    for name, make in rivals.items():
        try:
            step = make()
        except ImportError as error:
            print(f"  {name} left out: {error}")
            continue
        enough = lambda t: bool(t) and (t[-1][1] <= mark or len(t) >= 1.2 * iterations // BLOCK)  # noqa: E731
        track = stepped(step, h, w, score, enough)
        there = track[-1][1] <= mark
        least = min(cost for _, cost in track)
        note = f"{BLOCK * len(track)} iterations" + ("" if there else f", not there: {least / mark - 1:+.2%}")
        found[name] = (track[-1][0], note)
    for algorithm in ("mu", "hals"):
        seconds, reach = ours(x, h, w, sparsity, algorithm, mark)
        found[f"ours {algorithm}"] = (seconds, f"{reach} iterations")
    return found


def given_components(x, h, w, sparsity: float, iterations: int) -> dict[str, tuple[float, str]]:
    """The same for H alone: ours is exact, scikit-learn's rule takes --iterations."""
    score = lambda h, w: objective(x, h, w, sparsity=sparsity)  # noqa: E731
    step = scikit(x, sparsity, "mu", False, iterations)  # from a start of its own: it takes none where W is fixed
    track = stepped(step, h, w, score, bool)
    start = time.perf_counter()
    best, residual = activations(x, w, sparsity=sparsity, device="cpu")
    seconds = time.perf_counter() - start
    above = track[-1][1] / score(best, w) - 1
    note = f"exact, residual {residual.max():.0e}"
    return {"scikit-learn mu": (track[-1][0], f"{above:.2%} above the minimum"), "ours exact": (seconds, note)}


def limit(x: np.ndarray, w: np.ndarray, rounds: int = 5) -> float:
    """Operations a second of W^T X on one tile."""
    tile, rows, seconds = torch.from_numpy(x[: TILE["cpu"]]), torch.from_numpy(w), []
    for _ in range(rounds):
        start = time.perf_counter()
        rows @ tile.T
        seconds.append(time.perf_counter() - start)
    return 2 * tile.numel() * len(rows) / min(seconds)


def report(title: str, rounds: list[dict[str, tuple[float, str]]], mine: str) -> None:
    print(title)
    for name in rounds[0]:
        seconds = [r[name][0] for r in rounds]
        ratios = [r[name][0] / r[mine][0] for r in rounds]
        ratio = f"{statistics.median(ratios):6.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"  {name:16} {statistics.median(seconds):7.2f} s, over {mine}: {ratio}; {rounds[-1][name][1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"frames": 20_000, "components": 100, "iterations": 100, "threads": 2, "rounds": 2}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--sparsity", type=float, default=0.8)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", module="sklearn")
    root = os.environ.get("WORKBENCH_DATA")
    x = esc10(Path(root), args.frames) if root else synthetic(args.frames)
    rng = np.random.default_rng(0)
    w = rng.random((args.components, x.shape[1]), dtype=np.float32)
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    h = np.repeat(x.sum(1, keepdims=True) / w.sum(), args.components, axis=1) + np.float32(1e-6)
    print(f"{x.shape[1]} x {len(x)} {'frames of ESC-10' if root else 'synthetic frames'}, {args.threads} threads")
    runs = {
        "sparsity 0": (lambda: fits(x, h, w, 0.0, args.iterations), "ours hals"),
        f"sparsity {args.sparsity}": (lambda: fits(x, h, w, args.sparsity, args.iterations), "ours hals"),
    }
    learnt = SparseNMF(args.components, sparsity=args.sparsity, iterations=30, device="cpu", progress=False).fit(x)
    fixed = learnt.components_
    step = lambda: given_components(x, h, fixed, args.sparsity, args.iterations)  # noqa: E731
    runs[f"sparsity {args.sparsity}, W fixed"] = (step, "ours exact")
    with threadpool_limits(args.threads):
        results = {title: [] for title in runs}
        for _ in range(args.rounds):
            for title, (run, _) in runs.items():
                results[title].append(run())
                print(title, {name: round(seconds, 2) for name, (seconds, _) in results[title][-1].items()}, flush=True)
    for title, (_, mine) in runs.items():
        report(title, results[title], mine)
    bins, components = x.shape[1], args.components
    operations = len(x) * (4 * bins * components + 2 * components**2 * (1 + PASSES))
    model = SparseNMF(components, iterations=10, tolerance=0, device="cpu", progress=False)
    start = time.perf_counter()
    model.fit(x)
    seconds, rate = (time.perf_counter() - start) / 10, limit(x, w)
    print(f"an iteration of hals, with its share of the set-up: {operations / 1e9:.2f} G operations, {seconds:.3f} s")
    print(f"  {operations / seconds / 1e9:.0f} G a second; a product does {rate / 1e9:.0f}: {operations / rate:.3f} s")


if __name__ == "__main__":
    main()
