"""Fit classification probes to embeddings, labels and a split, with the default or the paper's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, number, several
from ..core.checks import seed as check_seed
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.progress import Progress, reporter
from ..core.splits import Split, fitting
from ..core.warn import warn
from ..metrics import classification
from ..metrics.intervals import group_interval
from . import inputs, logistic, paper
from .result import Probes

Fitted = tuple[Tensor, Tensor, np.ndarray]
"""Weights (S, D, C) and bias (S, C) of a layer in float64, and validation accuracy and cross-entropy (2, S, P)."""


@checked
def fit_probes(
    layers: Mapping[str, ArrayLike] | ArrayLike | object,
    y: ArrayLike,
    split: Split,
    *,
    groups: ArrayLike | None = None,
    config: Literal["default", "paper"] = "default",
    penalties: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    shuffle_labels: int | None = None,
    level: float = 0.95,
    device: str = "auto",
    progress: Progress | bool | None = None,
) -> Probes:
    """Fit one linear probe per layer (and seed) and score it on the test clips.

    Parameters
    ----------
    layers : mapping of name to (N, D) array, or (L, N, D) array, or an object with ``layers`` and ``layer(name)``
        Clip embeddings, used as float32; D may differ between layers. Only the rows in ``split`` are checked and used.
    y : array_like (N,)
        Labels: text, integers or bool.
    split : Split
        Split of the N clips. If ``valid`` is empty, the default config selects the penalty on five grouped folds of
        train, and the paper's config holds out one such fold. The test clips are never used for a selection.
    groups : array_like (N,), optional
        Group of each clip (singer, speaker, source). Inner folds and redrawn parts never split a group, and the
        interval takes the test groups into account. A group in both test and train or valid is an error.
    config : {"default", "paper"}
        See :mod:`workbench.probes`.
    penalties : sequence of float, optional
        L2 penalties to select from in the default config; by default eight from .1 to 10,000, each 5.2 times the one
        before.
    seeds : sequence of int, optional
        With None there is one fit on the split as it is (in the paper's config with seed 0). Otherwise there is one
        probe per seed, S in all. The fit of the default config is not random, so there a seed divides the groups of
        train and valid anew into train and valid, in about the same proportion (without valid, four to one), and the
        probe is fitted on the new train part alone. The spread over seeds then shows how much the result depends on
        the choice of training clips. In the paper's config a seed draws the initial weights and the order of the clips.
    shuffle_labels : int, optional
        Seed of a control that permutes the labels of train and valid. The accuracy of such a probe on the true test
        labels should be near chance or majority; a higher one points to a leak.
    level : float
        Confidence level of the interval.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1".
    progress : callable (done, total) or bool, optional
        True shows a progress bar. A callable is called after finished fits (default config) or epochs (paper's config).

    Returns
    -------
    Probes

    Raises
    ------
    ParameterError
        If shapes do not match, values are not finite (layer and clip are named), parts of the split are empty, overlap
        or are out of range, valid or test has a class that train lacks, there are fewer than two classes, or a group is
        in both test and another part.

    Warns
    -----
    RuntimeWarning
        If the gradient norm of a fit stayed above the tolerance.
    UserWarning
        If nothing was learnt, because all columns of a layer are constant in train or, in the paper's config, because
        no epoch had a lower validation loss than the initial weights.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["low", "high"], 50)
    >>> noise = rng.normal(size=(100, 8))
    >>> order = rng.permutation(100)
    >>> split = Split(order[:60], order[60:80], order[80:])
    >>> probes = fit_probes({"noise": noise, "signal": noise + 9 * (y == "high")[:, None]}, y, split)
    >>> probes.best_layer, float(probes.accuracy[1, 0])
    ('signal', 1.0)
    """
    labels = inputs.labels(y)
    number("level", level, above=0, below=1)
    report = reporter(progress)
    parts = fitting(split, len(labels))
    arrays = inputs.arrays(layers, len(labels), np.concatenate(list(parts)))
    classes, codes = inputs.codes(labels, parts)
    members = inputs.members(groups, parts, len(labels))
    path = inputs.path(penalties, config)
    seeds = None if seeds is None else several("seeds", seeds, lambda name, value: check_seed(value, name))
    if seeds is not None and len(set(seeds)) < len(seeds):
        raise ParameterError("seeds", seeds, "None, or integers that differ")
    target = codes.copy()
    if shuffle_labels is not None:
        check_seed(shuffle_labels, "shuffle_labels")
        development = np.concatenate([parts.train, parts.valid])
        target[development] = np.random.default_rng(shuffle_labels).permutation(target[development])
    place = chosen_device(device, float64=True)
    if config == "default":
        repeats = inputs.repeats(target, parts, members, seeds)
        fitted = _fit_default(arrays, target, repeats, path, len(classes), place, report)
    else:
        fit, valid = inputs.repeats(target, parts, members, None)[0][0][0]
        drawn = (0,) if seeds is None else seeds
        fitted = _fit_paper(arrays, target, fit, valid, drawn, len(classes), place, report)
    _say_what_is_flat(arrays, parts.train)

    test = parts.test
    logits = [
        torch.from_numpy(arrays[name][test]).to(place).double() @ weight + bias[:, None]
        for name, (weight, bias, _) in zip(arrays, fitted, strict=True)
    ]
    probabilities = torch.stack(logits).softmax(-1).float().cpu().numpy()
    true, predictions = classes[codes[test]], classes[probabilities.argmax(-1)]
    right = (predictions == true).mean(1)
    grouped = groups is not None and len(np.unique(members[test])) < len(test)
    listed = inputs.listed(groups) if grouped else []
    if grouped:
        interval = group_interval(right, members[test], limits=(0, 1), level=level)
    else:
        interval = np.array([classification.wilson_interval(r.sum(), len(test), level=level) for r in right])
    accuracy, loss = np.stack([scores for _, _, scores in fitted], axis=1)
    chosen = _best(accuracy, loss)
    return Probes(
        names=tuple(arrays),
        classes=classes,
        config=config,
        seeds=None if seeds is None else tuple(int(seed) for seed in seeds),
        test=test,
        true=true,
        groups=np.array([listed[i] for i in test]) if grouped else None,
        split=np.zeros(len(test), np.int64),
        accuracy=(predictions == true).mean(-1),
        balanced_accuracy=np.array([[classification.balanced_accuracy(true, p) for p in row] for row in predictions]),
        interval=interval,
        interval_kind="groups" if grouped else "wilson",
        chance=classification.chance(classes),
        majority=classification.majority(codes[parts.train], codes[test]),
        penalties=path,
        penalty=path[chosen] if len(path) else np.full(chosen.shape, np.nan),
        validation_path=accuracy,
        validation_accuracy=np.take_along_axis(accuracy, chosen[..., None], -1)[..., 0],
        validation_loss=np.take_along_axis(loss, chosen[..., None], -1)[..., 0],
        predictions=predictions,
        probabilities=probabilities,
        weights=tuple(weight.cpu().numpy() for weight, _, _ in fitted),
        bias=torch.stack([bias for _, bias, _ in fitted]).cpu().numpy(),
    )


def _say_what_is_flat(arrays: dict[str, np.ndarray], train: np.ndarray) -> None:
    flat = [name for name, array in arrays.items() if not (array[train] != array[train[0]]).any()]
    if flat:
        text = f"nothing was learnt from layer {', '.join(flat)}: all columns are constant in train"
        warn(text)


def _fit_default(
    arrays: dict[str, np.ndarray],
    target: np.ndarray,
    repeats: list[inputs.Repeat],
    path: np.ndarray,
    classes: int,
    device: torch.device,
    progress: Progress,
) -> list[Fitted]:
    """Fit every layer, repeat, fold and penalty in one call of the solver, and the refits on all rows in another."""
    finished, total = 0, len(arrays) * sum(len(folds) * len(path) + (refit is not None) for folds, refit in repeats)

    def report(fits: int) -> None:
        nonlocal finished
        finished += fits
        progress(finished, total)

    def solve(tasks: list[tuple[str, np.ndarray, np.ndarray]], tolerance: float) -> list[tuple[Tensor, Tensor]]:
        problems = [
            logistic.Problem(arrays[name], rows, target[rows], penalties, f"layer {name}")
            for name, rows, penalties in tasks
        ]
        return logistic.solve(problems, classes, device, tolerance=tolerance, progress=report)

    keys = [(name, r, f) for name in arrays for r, (folds, _) in enumerate(repeats) for f in range(len(folds))]
    stays = any(refit is None for _, refit in repeats)
    tasks = [(name, repeats[r][0][f][0], path) for name, r, f in keys]
    solved = dict(zip(keys, solve(tasks, logistic.TOLERANCE if stays else logistic.PATH_TOLERANCE), strict=True))
    scores = {}
    for name in arrays:
        for r, (folds, _) in enumerate(repeats):
            each = [_score(arrays[name], target, valid, *solved[name, r, f]) for f, (_, valid) in enumerate(folds)]
            scores[name, r] = np.concatenate(each, axis=-1).mean(-1)
    best = {key: int(_best(*values)) for key, values in scores.items()}
    again = [(name, r) for name in arrays for r, (_, refit) in enumerate(repeats) if refit is not None]
    refits = solve([(name, repeats[r][1], path[[best[name, r]]]) for name, r in again], logistic.TOLERANCE)
    final = {(name, r): tuple(value[best[name, r]] for value in solved[name, r, 0]) for name, r in best}
    final |= {key: (weight[0], bias[0]) for key, (weight, bias) in zip(again, refits, strict=True)}
    return [
        (
            torch.stack([final[name, r][0] for r in range(len(repeats))]),
            torch.stack([final[name, r][1] for r in range(len(repeats))]),
            np.stack([scores[name, r] for r in range(len(repeats))], axis=1),
        )
        for name in arrays
    ]


def _fit_paper(
    arrays: dict[str, np.ndarray],
    target: np.ndarray,
    fit: np.ndarray,
    valid: np.ndarray,
    seeds: Sequence[int],
    classes: int,
    device: torch.device,
    progress: Progress,
) -> list[Fitted]:
    """Train the paper's probes; layers with the same D are trained together as one stack."""
    widths: dict[int, list[str]] = {}
    for name, array in arrays.items():
        widths.setdefault(array.shape[1], []).append(name)
    finished, total = 0, paper.EPOCHS * len(widths)

    def report(epochs: int) -> None:
        nonlocal finished
        finished += epochs
        progress(finished, total)

    fitted: dict[str, Fitted] = {}
    idle: list[str] = []
    labels = [torch.from_numpy(target[rows]).to(device) for rows in (fit, valid)]
    for names in widths.values():
        x, x_valid = (
            torch.from_numpy(np.stack([arrays[name][rows] for name in names])).to(device) for rows in (fit, valid)
        )
        *stacks, learnt = paper.train(x, labels[0], x_valid, labels[1], classes, seeds, report)
        idle += [f"layer {names[i]}, seed {seeds[s]}" for i, s in (~learnt).nonzero().tolist()]
        for name, weight, bias in zip(names, *(stack.double() for stack in stacks), strict=True):
            scores = _score(arrays[name], target, valid, weight, bias).mean(-1)
            fitted[name] = weight, bias, scores[..., None]
    if idle:
        text = "no epoch had a lower, finite validation loss than the initial weights"
        warn(f"nothing was learnt by {len(idle)} probes ({idle[0]}): {text}")
    return [fitted[name] for name in arrays]


def _score(array: np.ndarray, target: np.ndarray, rows: np.ndarray, weight: Tensor, bias: Tensor) -> np.ndarray:
    """Correctness (0 or 1) and cross-entropy (nats) of each of M probes on each of n rows, (2, M, n)."""
    x, y = (torch.from_numpy(values[rows]).to(weight.device) for values in (array, target))
    log = (x.to(weight) @ weight + bias[:, None]).log_softmax(-1)
    loss = -log.gather(-1, y.expand(len(log), -1)[..., None])[..., 0]
    return torch.stack([(log.argmax(-1) == y).to(loss), loss]).cpu().numpy()


def _best(accuracy: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Position of the highest accuracy along the last axis; in a tie, that with the lowest cross-entropy."""
    highest = np.isclose(accuracy, accuracy.max(-1, keepdims=True), rtol=0, atol=1e-12)
    return np.where(highest, loss, np.inf).argmin(-1)
