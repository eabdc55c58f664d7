"""Probing all layers: fit_probes against a scikit-learn loop that does the same, on the CPU.

python tests/benchmarks/bench_probes.py [--layers 13] [--clips 1250] [--dim 768] [--threads 2] [--rounds 3] [--slow 2]

Both standardise on train, fit every penalty of the path, choose by validation accuracy and fit again on train and
valid. Prints wall and processor seconds, their ratios (target: wall at least 5), and how far apart the test accuracies
are (target: at most 0.5 points). The loop runs three times: with one thread; as it comes, with --threads; and at a
tolerance of 1e-6 instead of its default of 1e-4, where it reaches the minimum as the final fits here do. The last two
are slow, run on --slow layers and are scaled to all. The rest take turns and the fastest round counts, the loop's layer
by layer, so that neighbours on a busy machine matter little.

The features are generated: singular values that fall as those of the standardised hidden states of a HuBERT-base (random
weights, spoken digits), class means in the leading directions, group offsets, columns of very unequal scale and mean.
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

from workbench.probes import fit_probes
from workbench.probes.inputs import PENALTIES


def hidden_states(layers: int, clips: int, dim: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (L, N, D) float32, the middle layers the most separable, and labels (N,)."""
    rng = np.random.default_rng(seed)
    y, group = rng.integers(0, classes, clips), rng.integers(0, 20, clips)
    rank = np.arange(1.0, dim + 1)
    stack = []
    for layer in range(layers):
        strength = 0.7 * (0.5 + np.sin(np.pi * layer / max(1, layers - 1)))
        x = strength * rng.standard_normal((classes, dim))[y] / np.sqrt(rank)
        x = x + 0.5 * rng.standard_normal((20, dim))[group] + rng.standard_normal((clips, dim))
        x = x * rank**-0.25 * np.exp(-rank / 150) @ np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        x = x * np.exp(rng.standard_normal(dim)) + 3 * rng.standard_normal(dim)
        stack.append(x.astype(np.float32))
    return np.stack(stack), y


def looped(x: np.ndarray, y: np.ndarray, split: tuple, tolerance: float) -> tuple[float, float, np.ndarray]:
    """Test accuracy (percent), penalty chosen and test probabilities (n, C) of one layer."""
    train, valid, test = split

    def fit(rows: np.ndarray, penalty: float):
        model = LogisticRegression(C=1 / penalty, tol=tolerance, max_iter=100_000)
        return make_pipeline(StandardScaler(), model).fit(x[rows], y[rows])

    models = [fit(train, penalty) for penalty in PENALTIES]
    scores = [(m.score(x[valid], y[valid]), -log_loss(y[valid], m.predict_proba(x[valid]))) for m in models]
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
    defaults = {"layers": 13, "clips": 1250, "dim": 768, "classes": 10, "threads": 2, "rounds": 3, "slow": 2}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x, y = hidden_states(args.layers, args.clips, args.dim, args.classes)
    order = np.random.default_rng(1).permutation(args.clips)
    split = tuple(np.split(order, [int(0.64 * args.clips), int(0.8 * args.clips)]))

    fit_probes(x[:1], y, split)  # loading libraries is not what is measured
    ours, single = [], []
    for _ in range(args.rounds):
        probes, spent = timed(lambda: fit_probes(x, y, split, device="cpu"), args.threads)
        ours.append(spent)
        single.append([timed(lambda f=f: looped(f, y, split, 1e-4), 1) for f in x])
    few = x[: args.layers : max(1, args.layers // args.slow)][: args.slow]
    plain = [timed(lambda f=f: looped(f, y, split, 1e-4), args.threads) for f in few]
    exact = [timed(lambda f=f: looped(f, y, split, 1e-6), 1) for f in few]

    seconds = np.min(ours, 0)
    sizes = " / ".join(str(len(part)) for part in split)
    print(f"{args.layers} layers x {len(PENALTIES)} penalties, {sizes} clips x {args.dim}, {args.classes} classes")
    print(f"fit_probes, {args.threads} threads: {seconds[0]:.2f} s wall, {seconds[1]:.2f} s processor")
    loops = {
        "one thread": np.min([[spent for _, spent in layers] for layers in single], 0).sum(0),
        f"{args.threads} threads": np.mean([spent for _, spent in plain], 0) * args.layers,
        "one thread, tolerance 1e-6": np.mean([spent for _, spent in exact], 0) * args.layers,
    }
    for name, spent in loops.items():
        ratio = spent / seconds
        print(f"scikit-learn loop, {name}: {spent[0]:.2f} s wall ({ratio[0]:.1f}x), {spent[1]:.2f} s processor", end="")
        print(f" ({ratio[1]:.1f}x)")
    accuracy, penalty, probability = zip(*(result for result, _ in single[-1]), strict=True)
    same = np.isclose(probes.penalty[:, 0], penalty)
    points = np.abs(100 * probes.accuracy[:, 0] - accuracy)
    print(
        f"test accuracy {100 * probes.accuracy.mean():.2f} and, by the loop with one thread, {np.mean(accuracy):.2f}; ",
        end="",
    )
    print(f"same penalty in {same.sum()} of {len(same)} layers, there at most {points[same].max():.2f} points apart")
    print("  points", np.round(points, 2))
    apart = np.abs(probes.probabilities[:, 0] - np.stack(probability)).max((1, 2))
    print("  probability", np.round(apart, 3))


if __name__ == "__main__":
    main()
