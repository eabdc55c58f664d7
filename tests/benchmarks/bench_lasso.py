"""Lassos of all factors: one call against a loop of scikit-learn's Lasso that does the same, on the CPU.

python tests/benchmarks/bench_lasso.py [--clips 400] [--codes 2048] [--active 102] [--factors 88] [--rounds 3]

Codes are the top-k activations of a random encoder on correlated embeddings, factors bend and mix what the embeddings
come from; both standardised, as lasso_importance does. scikit-learn runs at its default tolerance, 1e-4, and stops
there; the call goes on to the exact minimum. They take turns and the fastest round of each counts, so that neighbours
on a busy machine matter little. Prints wall and processor seconds and their ratios, at penalty .1 (target: wall at
least 5) and for the default path of ten penalties. Then the distance to scikit-learn at tolerance 1e-12, in
objective and coefficients: for the codes as they are, of which some are equal (the minimum is then not unique and only
the objective counts), and for the distinct ones.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.linear_model import Lasso

from workbench.metrics.importance import ALPHAS
from workbench.metrics.lasso import lasso


def standardised(a: np.ndarray) -> np.ndarray:
    return (a - a.mean(0)) / np.where(a.std(0) > 0, a.std(0), 1)


def codes_and_factors(clips: int, codes: int, active: int, factors: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised (n, d) and (n, K)."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((clips, 24)) * np.arange(1, 25) ** -0.5
    x = np.tanh(hidden @ rng.standard_normal((24, 768))) + 0.3 * rng.standard_normal((clips, 768))
    x = x + 0.5 * rng.standard_normal(768)
    h = np.maximum(x @ rng.standard_normal((768, codes)) / np.sqrt(768), 0)
    z = np.where(h >= np.partition(h, codes - active, axis=1)[:, codes - active, None], h, 0)
    mix = rng.standard_normal((factors, factors)) / np.sqrt(factors)
    v = np.tanh(hidden @ rng.standard_normal((24, factors))) + 0.3 * rng.standard_normal((clips, factors)) @ mix
    return standardised(z), standardised(v)


def timed(work) -> tuple:
    """Result, and (wall, processor) seconds."""
    start = np.array([time.perf_counter(), time.process_time()])
    result = work()
    return result, np.array([time.perf_counter(), time.process_time()]) - start


def looped(z: np.ndarray, v: np.ndarray, alphas: tuple[float, ...]) -> None:
    for alpha in alphas:
        for factor in v.T:
            Lasso(alpha=alpha, max_iter=10_000).fit(z, factor)


def report(z: np.ndarray, v: np.ndarray, alphas: tuple[float, ...], rounds: int) -> None:
    ours, loops = [], []
    for _ in range(rounds):
        fits, spent = timed(lambda: lasso(z, v, alphas))
        ours.append(spent)
        loops.append(timed(lambda: looped(z, v, alphas))[1])
    ours, loops = np.min(ours, 0), np.min(loops, 0)
    print(f"{len(alphas)} penalties, {max(alphas):.3g} to {min(alphas):.3g}, {v.shape[1]} factors")
    for name, (wall, processor) in (("lasso", ours), ("scikit-learn loop", loops)):
        print(f"  {name}: {wall:.2f} s wall, {processor:.2f} s processor")
    print(f"  ratios {loops[0] / ours[0]:.1f} wall, {loops[1] / ours[1]:.1f} processor")
    print(f"  largest relative duality gap {fits.gaps.max():.1e}")


def accuracy(label: str, z: np.ndarray, v: np.ndarray, alpha: float) -> None:
    def objective(w: np.ndarray) -> float:
        return ((factor - z @ w) ** 2).mean() / 2 + alpha * np.abs(w).sum()

    apart, above = [], []
    fits = lasso(z, v, alpha)
    for factor, w in zip(v.T, fits.coefficients[0].T, strict=True):
        reference = Lasso(alpha=alpha, max_iter=1_000_000, tol=1e-12).fit(z, factor).coef_
        apart.append(np.abs(w - reference).max())
        above.append(objective(w) - objective(reference))
    used = np.mean(fits.coefficients[0] != 0) * z.shape[1]
    print(f"penalty {alpha:.3g}, {v.shape[1]} factors, {label} codes, {used:.0f} in use:")
    print(f"  objective above by {max(above):.1e}, coefficients apart by {max(apart):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"clips": 400, "codes": 2048, "active": 102, "factors": 88, "rounds": 3}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    z, v = codes_and_factors(args.clips, args.codes, args.active, args.factors)
    alive = z[:, z.any(0)]
    distinct = alive[:, np.unique(alive.round(9), axis=1, return_index=True)[1]]
    print(f"{args.clips} clips x {args.codes} codes, {alive.shape[1]} alive, {distinct.shape[1]} distinct")
    lasso(z[:, :20], v[:, :2], 0.1)  # loading libraries is not what is measured
    report(z, v, (0.1,), args.rounds)
    report(z, v, ALPHAS, args.rounds)
    for alpha in (0.1, min(ALPHAS)):
        accuracy("all", z, v[:, :8], alpha)
        accuracy("distinct", distinct, v[:, :8], alpha)


if __name__ == "__main__":
    main()
