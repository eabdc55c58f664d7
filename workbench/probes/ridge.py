"""Ridge regression probes: predict one or many numbers from every layer.

A probe minimises ``sum over clips of (y - Wx - b)^2 + penalty * ||W||^2`` on inputs that are standardised with the mean
and standard deviation of the training clips (constant columns become 0); the intercept is not penalised. For each layer
and number the penalty with the highest validation R2 is selected, then the probe is fitted again on train and valid
together. All penalties of a layer, and all numbers that are defined for the same clips, share one eigendecomposition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, number, numbers
from ..core.checks import seed as check_seed
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.fitting import threads
from ..core.progress import Progress, reporter
from ..core.splits import Split, fitting
from ..core.warn import warn
from . import inputs
from .regression import RegressionProbes, judged, scores

MANY = 1000
"""Number of rows and columns from which several threads speed up an eigendecomposition; below it one thread is used."""
PENALTIES = tuple(np.geomspace(0.1, 1e7, 17).tolist())
"""Default penalties in ascending order, for standardised inputs and squared errors summed over clips."""


@checked
def fit_regression(
    layers: Mapping[str, ArrayLike] | ArrayLike | object,
    y: ArrayLike | Mapping[str, ArrayLike] | object,
    split: Split,
    *,
    groups: ArrayLike | None = None,
    penalties: Sequence[float] | None = None,
    shuffle_labels: int | None = None,
    level: float = 0.95,
    device: str = "auto",
    progress: Progress | bool | None = None,
) -> RegressionProbes:
    """Fit one ridge regression per layer and number, and score it on the test clips.

    Parameters
    ----------
    layers : mapping of name to (N, D) array, or (L, N, D) array, or an object with ``layers`` and ``layer(name)``
        Clip embeddings, used as float32; D may differ between layers. Only the rows in ``split`` are checked and used.
    y : array_like (N,) or (N, A), mapping of name to (N,) numbers, table, or Attributes
        The numbers to predict, such as tempo, pitch or a rating. Where a number is NaN, because it is undefined for a
        clip, that clip is left out for this number.
    split : Split
        Split of the N clips. If ``valid`` is empty, the penalty is selected on five grouped folds of train. The test
        clips are never used for a selection.
    groups : array_like (N,), optional
        Group of each clip (singer, speaker, source). Inner folds never split a group, and the interval takes the test
        groups into account. A group in both test and train or valid is an error.
    penalties : sequence of float, optional
        Penalties to select from; by default seventeen from .1 to ten million, each 3.2 times the one before.
    shuffle_labels : int, optional
        Seed of a control that permutes the numbers of train and valid. The R2 of such a probe on the true test numbers
        should be near 0; a higher one points to a leak.
    level : float
        Confidence level of the intervals.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1".
    progress : callable (done, total) or bool, optional
        True shows a progress bar; a callable is called after each layer.

    Returns
    -------
    RegressionProbes

    Raises
    ------
    ParameterError
        If shapes do not match, embeddings are not finite (layer and clip are named), numbers are infinite, parts of the
        split are empty, overlap or are out of range, a group is in both test and another part, or no number has two
        different values in train, validation and test.

    Warns
    -----
    UserWarning
        Names the numbers that are not predicted because train, validation or test has fewer than two different values.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tempo = rng.uniform(60, 180, 200)
    >>> noise = rng.normal(size=(200, 8))
    >>> split = Split(np.arange(100), np.arange(100, 150), np.arange(150, 200))
    >>> layers = {"noise": noise, "signal": noise + tempo[:, None] / 20}
    >>> probes = fit_regression(layers, {"tempo": tempo}, split)
    >>> probes.best_layer, bool(probes.r2[1, 0] > 0.9), bool(probes.r2[0, 0] < 0.1)
    ('signal', True, True)
    """
    number("level", level, above=0, below=1)
    report = reporter(progress, "layers")
    targets, values = _targets(y)
    parts = fitting(split, len(values))
    used = np.concatenate(list(parts))
    arrays = inputs.arrays(layers, len(values), used)
    members = inputs.members(groups, parts, len(values))
    path = inputs.path(PENALTIES if penalties is None else penalties, "default")
    folds, refit = inputs.repeats(np.zeros(len(values), np.int64), parts, members, None)[0]
    known = np.where(np.isin(np.arange(len(values)), used)[:, None], values, np.nan)
    _say_what_cannot_be_read(targets, known, [refit, parts.test, *(rows for pair in folds for rows in pair)])
    learnt = known.copy()
    if shuffle_labels is not None:
        check_seed(shuffle_labels, "shuffle_labels")
        learnt[refit] = learnt[np.random.default_rng(shuffle_labels).permutation(refit)]
    place = chosen_device(device, float64=True)
    fitted = []
    small = len(refit) < MANY or max(array.shape[1] for array in arrays.values()) < MANY
    with threads(1) if small and place.type == "cpu" else nullcontext():
        for done, array in enumerate(arrays.values(), 1):
            fitted.append(_fit(torch.from_numpy(array).to(place), learnt, folds, refit, path))
            report(done, len(arrays))

    test = parts.test
    predictions = np.stack(
        [arrays[name][test].astype(np.float64) @ w.T + b for name, (w, b, _, _) in zip(arrays, fitted, strict=True)]
    ).transpose(0, 2, 1)
    grouped = groups is not None and len(np.unique(members[test])) < len(test)
    listed = inputs.listed(groups) if grouped else []
    with np.errstate(invalid="ignore"):
        guess = np.array([_mean(learnt[refit, a]) for a in range(len(targets))])
    same = {"test": test, "true": known[test], "predictions": predictions, "split": np.zeros(len(test), np.int64)}
    same |= {"groups": np.array([listed[i] for i in test]) if grouped else None}
    return RegressionProbes(
        names=tuple(arrays),
        targets=targets,
        penalties=path,
        penalty=np.stack([penalty for _, _, penalty, _ in fitted]),
        validation_path=np.stack([scores for _, _, _, scores in fitted]),
        weights=tuple(weight for weight, _, _, _ in fitted),
        bias=np.stack([bias for _, bias, _, _ in fitted]),
        guess=scores(same["true"], np.repeat(guess[None, :, None], len(test), 2))[0],
        **same,
        **judged(**same, level=level),
    )


def _targets(y: object) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names (A) and the numbers (N, A)."""
    if hasattr(y, "names") and hasattr(y, "values") and not callable(y.values):  # Attributes
        names, values = y.names, np.asarray(y.values)
    elif hasattr(y, "columns") or isinstance(y, Mapping):
        names = list(y.columns) if hasattr(y, "columns") else list(y)
        columns = [numbers(f"y[{name!r}]", y[name], ndim=1, finite=False) for name in names]
        if len({len(column) for column in columns}) != 1:
            raise ParameterError("y", {n: len(c) for n, c in zip(names, columns, strict=True)}, "columns of one length")
        values = np.stack(columns, axis=1)
    else:
        values = numbers("y", y, finite=False)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2:
            raise ParameterError("y.shape", values.shape, "(N,) or (N, A)")
        names = ["y"] if values.shape[1] == 1 else range(values.shape[1])
    names = tuple(str(name) for name in names)
    if not names or len(set(names)) < len(names):
        raise ParameterError("y", names, "at least one number, of different names")
    values = values.astype(np.float64)
    if np.isinf(values).any():
        raise ParameterError(
            "y", "infinite", f"finite, or NaN where undefined; clip {np.argwhere(np.isinf(values))[0, 0]}"
        )
    return names, values


def _mean(values: np.ndarray) -> float:
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")


def _varies(values: np.ndarray) -> np.ndarray:
    """Return which of A columns have at least two different values that are not NaN."""
    return np.array([len(np.unique(column[np.isfinite(column)])) > 1 for column in values.T])


def _say_what_cannot_be_read(targets: Sequence[str], values: np.ndarray, parts: Iterable[np.ndarray]) -> None:
    readable = np.all([_varies(values[rows]) for rows in parts], axis=0)
    if not readable.any():
        few = ", ".join(targets[:5])
        raise ParameterError("y", few, "a number with two different values in train, validation and test")
    if not readable.all():
        names = [name for name, good in zip(targets, readable, strict=True) if not good]
        few = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        text = "cannot be read: train, validation or test has fewer than two different values"
        warn(f"{len(names)} of {len(targets)} numbers ({few}) {text}")


class _Ridge:
    """Ridge regressions of A columns on one layer for all penalties, from one eigendecomposition."""

    def __init__(self, x: Tensor, y: Tensor):
        self.mean, deviation = x.mean(0), x.std(0, correction=0)
        flat = deviation <= 1e-7 * x.abs().amax(0)  # a smaller deviation of float32 inputs is rounding error
        self.scale = torch.where(flat, torch.inf, deviation)
        self.level = y.mean(0)
        x, y = (x - self.mean) / self.scale, y - self.level
        if len(x) <= x.shape[1]:
            self.values, vectors = torch.linalg.eigh(x @ x.T)
            self.basis, self.moment = x.T @ vectors, vectors.T @ y
        else:
            self.values, self.basis = torch.linalg.eigh(x.T @ x)
            self.moment = self.basis.T @ (x.T @ y)
        self.values = self.values.clamp_min(0)

    def predict(self, x: Tensor, penalties: Tensor) -> Tensor:
        """Predict A columns for the rows of x with each of P penalties, (P, rows, A)."""
        seen = ((x - self.mean) / self.scale) @ self.basis
        shrunk = self.moment / (self.values + penalties[:, None])[..., None]
        return seen @ shrunk + self.level

    def weights(self, penalties: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (A, D) and bias (A,) for inputs that are not standardised, with one penalty per column."""
        shrunk = self.moment / (self.values[:, None] + penalties)
        weight = (self.basis @ shrunk / self.scale[:, None]).T
        return weight, self.level - weight @ self.mean


def _fit(
    x: Tensor, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], refit: np.ndarray, path: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return weights (A, D), bias (A,), penalty (A,) and validation R2 (A, P) of a layer; NaN without enough clips."""
    columns, dim = y.shape[1], x.shape[1]
    weight, bias = np.full((columns, dim), np.nan), np.full(columns, np.nan)
    penalty, scores = np.full(columns, path[0]), np.full((columns, len(path)), np.nan)
    penalties = torch.from_numpy(path).to(x.device)
    patterns: dict[bytes, list[int]] = {}
    for a in range(columns):  # numbers that are defined for the same clips are fitted together
        patterns.setdefault(np.isfinite(y[:, a]).tobytes(), []).append(a)
    for at in patterns.values():
        there = np.isfinite(y[:, at[0]])

        def take(rows: np.ndarray, at=at, there=there) -> tuple[Tensor, Tensor]:
            rows = rows[there[rows]]
            return x[rows].double(), torch.from_numpy(y[np.ix_(rows, at)]).to(x.device)

        if len(take(refit)[0]) < 2 or any(len(take(rows)[0]) < 2 for pair in folds for rows in pair):
            continue
        errors, spread = 0.0, 0.0
        for train, valid in folds:
            x_valid, y_valid = take(valid)
            errors = errors + (_Ridge(*take(train)).predict(x_valid, penalties) - y_valid).square().sum(1)
            spread = spread + (y_valid - y_valid.mean(0)).square().sum(0)
        scores[at] = (1 - errors / torch.where(spread > 0, spread, torch.nan)).T.cpu().numpy()
        best = errors.argmin(0)
        penalty[at] = path[best.cpu().numpy()]
        found, level = _Ridge(*take(refit)).weights(penalties[best])
        weight[at], bias[at] = found.cpu().numpy(), level.cpu().numpy()
    return weight, bias, penalty, scores
