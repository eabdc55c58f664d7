"""Probing all layers: fit_probes against a scikit-learn loop that does the same, on the CPU.

python tests/benchmarks/bench_probes.py [--layers 13] [--clips 1000] [--dim 768] [--threads 2] [--rounds 3] [--exact 2]

Both standardise on train, fit every penalty of the path, choose by validation accuracy and fit again on train and
valid. They take turns and the fastest round counts (the loop's layer by layer, and with one thread or --threads,
whichever was faster), so that neighbours on a busy machine matter little. Prints wall and processor seconds, their
ratios (target: wall at least 5), and how far apart the test accuracies are (target: at most 0.5 points).

scikit-learn runs at its default tolerance and, for --exact layers, at 1e-8, where it reaches the minimum; at the
default it stops weak penalties early, and is then not quite the probe that was asked for. The features are generated:
a decaying spectrum, class means, group offsets, columns of very unequal scale and mean, as hidden states have them.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from workbench.core.splits import Split
from workbench.probes import fit_probes
from workbench.probes.inputs import PENALTIES


def hidden_states(layers: int, clips: int, dim: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (L, N, D) float32, the middle layers the most separable, and labels (N,)."""
    rng = np.random.default_rng(seed)
    y, group = rng.integers(0, classes, clips), rng.integers(0, 20, clips)
    spectrum = np.arange(1, dim + 1) ** -0.7
    stack = []
    for layer in range(layers):
        strength = 0.15 + 0.25 * np.sin(np.pi * layer / max(1, layers - 1))
        x = strength * rng.standard_normal((classes, dim))[y] + 0.7 * rng.standard_normal((20, dim))[group]
        x = (x + rng.standard_normal((clips, dim))) * spectrum
        x = x @ np.linalg.qr(rng.standard_normal((dim, dim)))[0] * np.exp(rng.standard_normal(dim))
        stack.append((x + 3 * rng.standard_normal(dim)).astype(np.float32))
    return np.stack(stack), y


def looped(x: np.ndarray, y: np.ndarray, split: tuple, tolerance: float) -> tuple[float, float, np.ndarray]:
    """Test accuracy (percent), penalty chosen and test probabilities (n, C) of one layer."""
    train, valid, test = split

    def fit(rows: np.ndarray, penalty: float):
        model = LogisticRegression(C=1 / penalty, tol=tolerance, max_iter=100_000)
        return make_pipeline(StandardScaler(), model).fit(x[rows], y[rows])

    models = [fit(train, penalty) for penalty in PENALTIES]
    scores = [
        (m.score(x[valid], y[valid]), -log_loss(y[valid], m.predict_proba(x[valid]), labels=m.classes_)) for m in models
    ]
    penalty = PENALTIES[max(range(len(scores)), key=scores.__getitem__)]
    final = fit(np.concatenate([train, valid]), penalty)
    return 100 * final.score(x[test], y[test]), penalty, final.predict_proba(x[test])


def timed(work, threads: int) -> tuple:
    """Result, and its (wall, processor) seconds."""
    with threadpool_limits(threads):
        start = np.array([time.perf_counter(), time.process_time()])
        result = work()
        return result, np.array([time.perf_counter(), time.process_time()]) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"layers": 13, "clips": 1250, "dim": 768, "classes": 10, "threads": 2, "rounds": 3, "exact": 2}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x, y = hidden_states(args.layers, args.clips, args.dim, args.classes)
    order = np.random.default_rng(1).permutation(args.clips)
    split = Split(*np.split(order, [int(0.64 * args.clips), int(0.8 * args.clips)]))

    fit_probes(x[:1], y, split)  # loading libraries is not what is measured
    ours, loops = [], []
    for _ in range(args.rounds):
        probes, spent = timed(lambda: fit_probes(x, y, split, device="cpu"), args.threads)
        ours.append(spent)
        for threads in sorted({1, args.threads}):
            loop = [timed(lambda f=f: looped(f, y, split, 1e-4), threads) for f in x]
            loops.append([spent for _, spent in loop])
    exact = [timed(lambda f=f: looped(f, y, split, 1e-8), 1) for f in x[: args.exact]]
    seconds = np.min(ours, 0)
    others = {"1e-4": np.min(loops, 0).sum(0)}
    if exact:
        others["1e-8"] = np.mean([spent for _, spent in exact], 0) * args.layers

    sizes = " / ".join(str(len(part)) for part in split)
    print(f"{args.layers} layers x {len(PENALTIES)} penalties, {sizes} clips x {args.dim}, {args.classes} classes")
    print(f"fit_probes, {args.threads} threads: {seconds[0]:.2f} s wall, {seconds[1]:.2f} s processor")
    for tolerance, results in zip(others, (loop, exact), strict=False):
        wall, processor = others[tolerance]
        ratio = others[tolerance] / seconds
        note = "" if tolerance == "1e-4" else f" (from {args.exact} layers)"
        print(f"scikit-learn loop, tol {tolerance}{note}: {wall:.2f} s wall, {processor:.2f} s processor")
        print(f"  ratios {ratio[0]:.1f} and {ratio[1]:.1f}")
        accuracy, penalty, probability = zip(*(result for result, _ in results), strict=True)
        mine = slice(None, len(results))
        points = np.abs(100 * probes.accuracy[mine, 0] - accuracy)
        same = np.isclose(probes.penalty[mine, 0], penalty)
        apart = np.abs(probes.probabilities[mine, 0] - np.stack(probability)).max((1, 2))
        print(
            f"  test accuracy {np.mean(accuracy):.1f} against {100 * probes.accuracy[mine, 0].mean():.1f}; each layer"
        )
        print(f"  apart by {np.round(points, 2)} points, probability {np.round(apart, 3)}")
        print(f"  same penalty chosen in {same.sum()} of {len(same)} layers")


if __name__ == "__main__":
    main()
