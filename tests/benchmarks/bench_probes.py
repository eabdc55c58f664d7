"""Fitting probes: all layers x penalties at once against a scikit-learn loop over the same fits, on the CPU.

python tests/benchmarks/bench_probes.py [--layers 13] [--clips 1000] [--dim 768] [--threads 2] [--rounds 3] [--exact 2]

Both standardise with the same clips and solve the same problems (C = 1 / penalty). They take turns, and the fastest of
the rounds counts (the loop's, layer by layer), so that neighbours on a busy machine matter little. Prints the ratio of
wall times (target: at least 5), that of processor times, and how far apart the two are in accuracy (target: at most
0.5 points) and probability, on held-out clips.

scikit-learn runs at its default tolerance (largest entry of the gradient 1e-4) and, for --exact layers, at 1e-8, where
it reaches the minimum. At the default it stops weak penalties early, and is then not the probe that was asked for.
The features are generated: a decaying spectrum, class means, group offsets, columns of very unequal scale and mean, as
hidden states have them.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from workbench.probes import TOLERANCE, logistic
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


def timed(work) -> tuple[np.ndarray, np.ndarray]:
    """Result, and its (wall, processor) seconds."""
    start = np.array([time.perf_counter(), time.process_time()])
    result = work()
    return result, np.array([time.perf_counter(), time.process_time()]) - start


def batched(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Test probabilities (L, P, n, C) of all fits at once."""
    problems = [logistic.Problem(f, train, y[train], np.array(PENALTIES), "") for f in x]
    solved = logistic.solve(problems, y.max() + 1, torch.device("cpu"))
    scores = [torch.from_numpy(f[test]).double() @ w + b[:, None] for f, (w, b) in zip(x, solved, strict=True)]
    return torch.stack(scores).softmax(-1).numpy()


def looped(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, tolerance: float) -> np.ndarray:
    """Test probabilities (P, n, C) of one layer."""
    scaler = StandardScaler().fit(x[train])
    z, z_test = scaler.transform(x[train]), scaler.transform(x[test])
    models = [LogisticRegression(C=1 / p, tol=tolerance, max_iter=100_000).fit(z, y[train]) for p in PENALTIES]
    return np.stack([model.predict_proba(z_test) for model in models])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"layers": 13, "clips": 1000, "dim": 768, "classes": 10, "threads": 2, "rounds": 3, "exact": 2}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x, y = hidden_states(args.layers, args.clips, args.dim, args.classes)
    train, test = np.split(np.random.default_rng(1).permutation(args.clips), [int(0.8 * args.clips)])
    seconds = {"batched": [], "1e-4": [], "1e-8": []}
    with threadpool_limits(args.threads):
        batched(x[:1], y, train, test)  # loading libraries is not what is measured
        for _ in range(args.rounds):
            ours, spent = timed(lambda: batched(x, y, train, test))
            seconds["batched"].append(spent)
            loop = [timed(lambda f=f: looped(f, y, train, test, 1e-4)) for f in x]
            seconds["1e-4"].append([spent for _, spent in loop])
        exact = [timed(lambda f=f: looped(f, y, train, test, 1e-8)) for f in x[: args.exact]]
        seconds["1e-8"].append([spent for _, spent in exact])
    best = {name: np.min(spent, 0) for name, spent in seconds.items()}
    best = {"batched": best["batched"], "1e-4": best["1e-4"].sum(0), "1e-8": best["1e-8"].mean(0) * args.layers}
    print(
        f"{args.layers} layers x {len(PENALTIES)} penalties, {len(train)} x {args.dim}, {args.classes} classes, ",
        end="",
    )
    print(f"{args.threads} threads: wall and processor seconds, ratios")
    print(f"  batched, 2-norm of the gradient <= {TOLERANCE:g}: {best['batched'][0]:.2f} {best['batched'][1]:.2f}")
    for name in ("1e-4", "1e-8"):
        ratio = best[name] / best["batched"]
        note = "" if name == "1e-4" else f" ({args.exact} layers measured)"
        print(
            f"  scikit-learn, tol {name}: {best[name][0]:.2f} {best[name][1]:.2f}, {ratio[0]:.1f} {ratio[1]:.1f}{note}"
        )
    print(f"penalties {', '.join(f'{p:.3g}' for p in PENALTIES)}; accuracy, mean over layers:")
    accuracy = 100 * (ours.argmax(-1) == y[test]).mean(-1)
    print(" ", np.round(accuracy.mean(0), 1))
    for name, results in (("1e-4", loop), ("1e-8", exact)):
        other = np.stack([probabilities for probabilities, _ in results])
        points = np.abs(accuracy[: len(other)] - 100 * (other.argmax(-1) == y[test]).mean(-1))
        apart = np.abs(ours[: len(other)] - other).max((0, 2, 3))
        print(f"largest difference from tol {name}, each penalty: points {np.round(points.max(0), 2)}")
        print(f"  probability {' '.join(f'{value:.0e}' for value in apart)}")


if __name__ == "__main__":
    main()
