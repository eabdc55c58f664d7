"""How often does a 95 % interval hold the truth? Rates, differences, medians, R2, ranks and folds, 2 to 50 groups.

Each row simulates data whose truth is known, draws the interval and counts how often it holds the truth, beside the
percentile bootstrap over groups. Group effects are those of a beta distribution around the rate (standard deviation
given), sizes are 20 clips or log-normal (median 12, so that the largest of ten groups has some 60).

    python tests/benchmarks/bench_coverage.py [--repeats 2000] [--only rates]
"""

from __future__ import annotations

import argparse

import numpy as np

from workbench.attributes import Attributes
from workbench.core.splits import Split
from workbench.lessons.sae_attributes import attribute_margins
from workbench.metrics.equivariance import evaluate
from workbench.metrics.intervals import fold_interval, group_interval, median_interval
from workbench.metrics.regression import r2_difference, r2_interval, rank_interval
from workbench.sae import attribute_study, best_attributes

COUNTS = (2, 3, 5, 6, 8, 12, 20, 50)


def sizes_of(count: int, unequal: bool, rng: np.random.Generator) -> np.ndarray:
    return np.maximum(1, rng.lognormal(2.5, 1, count).astype(int)) if unequal else np.full(count, 20)


def rates_of(mean: float, spread: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """A rate for each group."""
    if not spread:
        return np.full(count, mean)
    strength = mean * (1 - mean) / spread**2 - 1
    return rng.beta(mean * strength, (1 - mean) * strength, count)


def bootstrap(values: np.ndarray, groups: np.ndarray, statistic, rng: np.random.Generator, draws: int = 300):
    """Percentiles of a statistic over whole groups drawn with replacement: what these intervals replace."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    picks = rng.integers(0, len(members), (draws, len(members)))
    drawn = [statistic(values[np.concatenate([members[k] for k in pick])]) for pick in picks]
    return np.quantile(drawn, [0.025, 0.975])


def rates(mean, spread, count, unequal, rng):
    sizes = sizes_of(count, unequal, rng)
    groups = np.repeat(np.arange(count), sizes)
    right = (rng.random(len(groups)) < np.repeat(rates_of(mean, spread, count, rng), sizes)).astype(float)
    return right, groups, mean, group_interval(right, groups, limits=(0, 1)), np.mean


def differences(gain, spread, count, unequal, rng):
    """Two classifiers on the same clips: .7 right, and the second another ``gain`` more, which varies over groups."""
    sizes = sizes_of(count, unequal, rng)
    groups = np.repeat(np.arange(count), sizes)
    own = np.repeat(rng.normal(gain, spread, count), sizes)
    changed = rng.random(len(groups)) < np.clip(np.abs(own), 0, 1)
    noise = rng.choice([-1, 0, 1], len(groups), p=[0.05, 0.9, 0.05])
    values = np.clip(np.where(changed, np.sign(own), noise), -1, 1)
    return values, groups, gain, group_interval(values, groups, limits=(-1, 1)), np.mean


def medians(skew, spread, count, unequal, rng):
    """Log-normal values around 1 (``skew``: their standard deviation in logarithms) times a factor for each group."""
    sizes = sizes_of(count, unequal, rng)
    groups = np.repeat(np.arange(count), sizes)
    values = np.exp(np.repeat(rng.normal(0, spread, count), sizes) + rng.normal(0, skew, len(groups)))
    return values, groups, 1.0, median_interval(values, groups), np.median


def numbers(share, groups, rng):
    """Normal numbers, of whose variance 1 a share lies between groups."""
    own = rng.normal(0, np.sqrt(share), groups.max() + 1)[groups]
    return own + rng.normal(0, np.sqrt(1 - share), len(groups))


def regression(kind, explained, share, count, unequal, rng):
    """Predictions whose errors differ by group too (three tenths of their variance); a second one is better by .1."""
    groups = np.repeat(np.arange(count), sizes_of(count, unequal, rng))
    true = numbers(share, groups, rng)
    if kind == "rank":
        said = explained * true + np.sqrt(1 - explained**2) * numbers(share, groups, rng)
        truth = 6 / np.pi * np.arcsin(explained / 2)
        return np.stack([true, said]), groups, truth, rank_interval(true, said, groups), None
    errors = numbers(0.3, groups, rng)
    said = true + np.sqrt(1 - explained) * errors
    if kind == "r2":
        return np.stack([true, said]), groups, explained, r2_interval(true, said, groups), None
    better = true + np.sqrt(0.9 - explained) * (0.8 * errors + 0.6 * numbers(0.3, groups, rng))
    return np.stack([true, said]), groups, 0.1, r2_difference(true, better, said, groups)[1:], None


TRUE_SENSITIVITY: dict[tuple[float, float], float] = {}


def moved(share, spread, count, unequal, rng):
    """Vectors, and the same moved by an amount that differs by group (log-normal, ``spread`` in logarithms)."""
    groups = np.repeat(np.arange(count), sizes_of(count, unequal, rng))
    z = np.stack([numbers(share, groups, rng) for _ in range(8)], 1)
    own = np.exp(spread * rng.normal(size=count))[groups, None]
    step = np.eye(8)[0] + spread * rng.normal(size=(count, 8))[groups] + 0.5 * rng.normal(size=z.shape)
    return z, z + 0.5 * own * step, groups


def sensitivity(share, spread, count, unequal, rng):
    if (share, spread) not in TRUE_SENSITIVITY:
        TRUE_SENSITIVITY[share, spread] = evaluate(*moved(share, spread, 5000, False, rng))["sensitivity"]
    z, changed, groups = moved(share, spread, count, unequal, rng)
    scores = evaluate(z, changed, groups)
    bounds = scores["sensitivity_low"], scores["sensitivity_high"]
    return z, groups, TRUE_SENSITIVITY[share, spread], bounds, None


KINDS = {
    "sensitivity": (sensitivity, [(0.3, 0.0), (0.3, 0.3), (0.6, 0.6)]),
    "regression": (
        regression,
        [(kind, *rest) for kind in ("r2", "difference", "rank") for rest in ((0.5, 0.0), (0.1, 0.5), (0.5, 0.8))]
        + [("r2", 0.9, 0.3), ("rank", 0.9, 0.3)],
    ),
    "rates": (rates, [(0.7, 0.1), (0.7, 0.2), (0.9, 0.1), (0.97, 0.03), (0.5, 0.0)]),
    "differences": (differences, [(0.0, 0.05), (0.0, 0.15), (0.1, 0.1), (0.02, 0.0)]),
    "medians": (medians, [(0.5, 0.0), (0.5, 0.3), (1.0, 1.0)]),
}


def over_folds(repeats: int, folds: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Nearest class mean in 20 against 10 of 20 dimensions, cross-validated; the truth is what fresh data say.

    Returns the coverage of the corrected interval, that of the plain t interval, and the share without an interval.
    """
    from scipy.stats import t

    clips, truth, kept = 100, [], []
    for _ in range(repeats):
        y = np.arange(clips) % 2
        x = rng.normal(size=(clips, 20)) + 0.25 * y[:, None]
        order, gains, fresh = rng.permutation(clips) % folds, [], []
        other = np.arange(2000) % 2
        unseen = rng.normal(size=(2000, 20)) + 0.25 * other[:, None]
        for fold in range(folds):
            train = order != fold
            means = np.stack([x[train & (y == c)].mean(0) for c in (0, 1)])

            def gain(z, target, means=means):
                right = [(((z[:, None, :k] - means[:, :k]) ** 2).sum(2).argmin(1) == target).mean() for k in (20, 10)]
                return right[0] - right[1]

            gains.append(gain(x[~train], y[~train]))
            fresh.append(gain(unseen, other))
        kept.append(gains)
        truth.append(np.mean(fresh))
    truth, gains = float(np.mean(truth)), np.array(kept)
    bounds = np.array([fold_interval(row, np.arange(folds)) for row in gains])
    half = t.ppf(0.975, folds - 1) * gains.std(1, ddof=1) / np.sqrt(folds)
    plain = np.abs(gains.mean(1) - truth) <= half
    known = np.isfinite(bounds[:, 0])
    held = (bounds[known, 0] <= truth) & (truth <= bounds[known, 1])
    return float(held.mean()), float(plain.mean()), float(1 - known.mean())


def over_fits(repeats: int, count: int, rng: np.random.Generator) -> str:
    """Completeness and effective codes of a sparse code minus an embedding's, from lassos of ``count`` groups a fit.

    The truth is the mean over the repeats, whose groups are all new: the interval is for other groups of that number.
    """
    ways, kept = rng.normal(size=(12, 24)), {"completeness": [], "codes": []}
    for seed in range(repeats):
        groups = np.repeat(np.arange(3 * count), 8)
        v = np.stack([numbers(0.4, groups, rng) for _ in range(12)], 1)
        mixed = v @ ways + np.stack([numbers(0.4, groups, rng) for _ in range(24)], 1)
        alone = np.maximum(np.hstack([v, -v]) + 0.5 * rng.normal(size=(len(v), 24)), 0)
        codes = {("embedding", 0.0): mixed, ("SAE", 0.5): alone, ("SAE, untrained", 0.5): mixed}
        split = Split(*(np.flatnonzero(groups % 3 == part) for part in range(3)))
        names, ids = tuple(f"v{i}" for i in range(12)), np.arange(len(v))
        of = dict.fromkeys(names, "pitch")
        measured = Attributes("toy", names, v, of, of, ids.astype(str), ids, {})
        top = best_attributes(attribute_study(codes, measured, split=split, groups=groups))
        same = {"sparsity": 0.5, "split": split, "groups": groups, "seed": seed}
        for name, row in attribute_margins(codes, measured, top, **same).iterrows():
            kept[name].append(row[["difference", "low", "high"]].astype(float))
    told = []
    for name, rows in kept.items():
        value, low, high = np.array(rows).T
        held = (low <= value.mean()) & (value.mean() <= high)
        told.append(
            f"{name} {held.mean():.3f} (standard error {value.std():.3f}, half width {np.mean(high - low) / 2:.3f})"
        )
    return ", ".join(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--only", choices=[*KINDS, "folds", "codes"])
    arguments = parser.parse_args()
    rng, least = np.random.default_rng(0), 1.0
    for name, (simulate, settings) in KINDS.items():
        if arguments.only not in (None, name):
            continue
        print(f"{name}: coverage / median width / share without an interval; coverage of the bootstrap")
        for setting in settings:
            for unequal in (False, True):
                cells = []
                for count in COUNTS:
                    held, widths, old = [], [], []
                    for k in range(arguments.repeats):
                        values, groups, truth, (low, high), statistic = simulate(*setting, count, unequal, rng)
                        widths.append(high - low)
                        if np.isfinite(low):
                            held.append(low <= truth <= high)
                        if k < 100 and statistic is not None:
                            old_low, old_high = bootstrap(values, groups, statistic, rng)
                            old.append(old_low <= truth <= old_high)
                    missing = np.isnan(widths).mean()
                    beside = f" ({np.mean(old):.2f})" if old else ""
                    covered = f"{np.mean(held):.3f}/{np.nanmedian(widths):.2f}" if held else "  -  /  - "
                    least = min(least, np.mean(held) if len(held) > 100 else 1.0)
                    cells.append(f"{count}: {covered}/{missing:.2f}{beside}")
                print(f"  {setting} {'unequal' if unequal else 'equal  '}  " + "  ".join(cells), flush=True)
    if arguments.only in (None, "folds"):
        for folds in (2, 3, 5, 10):
            held, plain, missing = over_folds(max(200, arguments.repeats // 5), folds, rng)
            least = min(least, held)
            print(
                f"folds, {folds}: coverage {held:.3f}, without {missing:.2f}; plain t over folds {plain:.3f}",
                flush=True,
            )
    if arguments.only == "codes":
        for count in (4, 8, 20):
            print(
                f"codes, {count} groups in test: {over_fits(max(100, arguments.repeats // 20), count, rng)}", flush=True
            )
        return
    print(f"least coverage {least:.3f}")


if __name__ == "__main__":
    main()
