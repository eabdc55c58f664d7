"""Plots of what probes found: layer curves, heat maps, confusion matrices. Each returns a matplotlib Figure.

Nothing here touches pyplot or any other global state: a figure shows itself as the last line of a cell, or by
``display``, and is saved by its own ``savefig``. Labels are shown as they are, dollar signs included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from .figures import MARKERS, dress, in_legend, mark, new_figure, short
from .inputs import mapping, parts, texts

_GREY = "#656364"
_PROBES = "probes, as fit_probes or fit_regression gives them"
_BOTH = ("names", "interval")
_NUMBERS = ("targets", "r2", "guess", *_BOTH)


@checked
def layer_curve(
    probes,
    *,
    controls: Mapping | None = None,
    reference: Mapping[str, Sequence[float]] | None = None,
    x: Literal["layer", "depth"] = "layer",
    title: str | None = None,
    metric: str | None = None,
):
    """Accuracy or R2 against layer, with confidence band and the levels of guessing; validation's choice is circled.

    Parameters
    ----------
    probes : Probes or RegressionProbes, or mapping of name -> such results
        Each with ``names`` (L); Probes with ``accuracy`` (L, S) in [0, 1] over S seeds, ``interval`` (L, 2), and the
        levels ``chance`` and ``majority``; RegressionProbes of one number: ``probes["tempo"]``.
    controls : mapping of name -> results of the same kind, optional
        Drawn dashed and grey: what a trivial feature or an untrained network reaches. One layer makes a level line.
    reference : mapping of name -> (L,) numbers in [0, 1], optional
        Published curves, drawn dotted; they have no band.
    x : {"layer", "depth"}
        "depth" places the layers from 0 to 1, to compare networks of different depth.
    title : str, optional
    metric : str, optional
        What the axis is called; by default "accuracy", or "R²" and the number's name.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        No probes, accuracies outside [0, 1], results of two kinds or of several numbers, unknown ``x``.
    """
    curves = dict(probes) if isinstance(probes, Mapping) else {"": probes}
    if not curves:
        raise ParameterError("probes", probes, "at least one result")
    controls = mapping("controls", controls, "a mapping of name to Probes")
    reference = mapping("reference", reference, "a mapping of name to one number in [0, 1] a layer")
    numeric = hasattr(next(iter(curves.values())), "targets")
    for argument, results in (("probes", curves), ("controls", controls)):
        for result in results.values():
            parts(argument, result, _NUMBERS if numeric else ("accuracy", "chance", "majority", *_BOTH), _PROBES)
            if numeric and len(result.targets) != 1:
                raise ParameterError(argument, result.targets[:5], 'of one number: probes["..."]')
    word = metric or (f"R² of {next(iter(curves.values())).targets[0]}" if numeric else "accuracy")
    figure = new_figure(9.0, 4.2)
    ax = figure.add_subplot()
    for k, (name, result) in enumerate(curves.items()):
        style = mark(k) | {"linewidth": 2, "markersize": 5, "zorder": 3}
        _curve(ax, str(name) or word, result, x, style, best=True)
    for k, (name, result) in enumerate(controls.items()):
        style = {
            "color": _GREY,
            "linestyle": (0, (5, 2 + k)),
            "marker": MARKERS[k % 8],
            "markersize": 3.5,
            "zorder": 2,
        }
        _curve(ax, str(name), result, x, style, best=False)
    for k, (name, values) in enumerate(reference.items()):
        values = _fractions(f"reference[{name!r}]", values)
        style = {"color": "black", "linestyle": ":", "marker": MARKERS[k % 8], "markersize": 4, "fillstyle": "none"}
        ax.plot(
            _places(len(values), x), values if numeric else 100 * values, label=in_legend(name), zorder=2.5, **style
        )
    _levels(ax, [*curves.values(), *controls.values()], ("guess",) if numeric else ("majority", "chance"))
    _layer_axis(ax, x, [list(map(str, result.names)) for result in curves.values()])
    lowest = min(
        float(np.nanmin(np.append(_scored(result)[0], 0))) for result in (*curves.values(), *controls.values())
    )
    ax.set_ylim(*((max(1.1 * lowest - 0.05, -1.05), 1.04) if numeric else (0, 104)))
    dress(ax, y=word if numeric else f"{word} (%)", grid="y", title=title, legend=())
    return figure


def _scored(result) -> tuple[np.ndarray, np.ndarray]:
    """Mean score of each layer (L,) and its interval (2, L): accuracy in per cent, or R2."""
    if hasattr(result, "targets"):
        values, bounds = (numbers(name, getattr(result, name), finite=False) for name in ("r2", "interval"))
        return values[:, 0].astype(float), bounds[:, 0].astype(float).T
    accuracy = numbers("accuracy", result.accuracy, finite=False).astype(float)
    if len(accuracy) != len(result.names) or np.shape(result.interval) != (len(accuracy), 2):
        shown = f"{len(accuracy)} accuracies and intervals of shape {np.shape(result.interval)}"
        raise ParameterError("probes", shown, f"one of each for the {len(result.names)} layers")
    mean = _fractions("accuracy", accuracy.reshape(len(result.names), -1).mean(axis=1))
    return 100 * mean, 100 * numbers("interval", result.interval, finite=False).astype(float).T


def _fractions(name: str, values) -> np.ndarray:
    values = numbers(name, values, finite=False, empty=True).astype(float)
    known = values[np.isfinite(values)]
    if values.ndim != 1 or not len(values) or len(known) == 0 or known.min() < 0 or known.max() > 1:
        raise ParameterError(name, values.tolist() if values.size < 20 else values, "one number in [0, 1] a layer")
    return values


def _places(count: int, x: str) -> np.ndarray:
    return np.arange(count) if x == "layer" else np.linspace(0, 1, count) if count > 1 else np.zeros(1)


def _curve(ax, name: str, result, x: str, style: dict, *, best: bool) -> None:
    mean, (low, high) = _scored(result)
    if len(mean) == 1 and not best:
        line = {key: style[key] for key in ("color", "linestyle", "zorder")}
        ax.axhline(mean[0], label=in_legend(f"{name}, {_said(result, mean[0])}"), **line)
        ax.axhspan(low[0], high[0], color=style["color"], alpha=0.1, linewidth=0)
        return
    at = _places(len(mean), x)
    # the layer that validation picks, where the result knows it: the best on test would be chosen by its own score
    top = list(result.names).index(result.best_layer) if hasattr(result, "best_layer") else int(np.nanargmax(mean))
    word = "validation picks" if hasattr(result, "best_layer") else "best"
    label = f"{name}\n  {word} {short(result.names[top], 20)}, {_said(result, mean[top])}" if best else name
    label += f"\n  {int(np.isnan(mean).sum())} layers without a value" if np.isnan(mean).any() else ""
    ax.plot(at, mean, label=in_legend(label), **style)
    ax.fill_between(at, low, high, color=style["color"], alpha=0.16, linewidth=0)
    if best:
        ax.plot(at[top], mean[top], "o", markersize=12, fillstyle="none", color=style["color"], zorder=4)


def _said(result, score: float) -> str:
    return f"R² {score:.2f}" if hasattr(result, "targets") else f"{score:.1f}%"


def _levels(ax, results: Sequence, names: Sequence[str]) -> None:
    for attribute, line in zip(names, ("-.", (0, (1, 1.5))), strict=False):
        values = {round(float(np.ravel(getattr(result, attribute))[0]), 4) for result in results}
        for value in sorted(value for value in values if np.isfinite(value)):
            style = {"color": "black", "linewidth": 1, "linestyle": line, "alpha": 0.6}
            guessed = attribute == "guess"
            ax.axhline(value if guessed else 100 * value, zorder=1, **style)
            label = "always the training mean" if guessed else f"{attribute}, {value:.1%}"
            ax.plot([], [], label=label if value == min(values) or not guessed else None, **style)


def _layer_axis(ax, x: str, all_names: list[list[str]]) -> None:
    if x == "depth":
        ax.set_xlabel("depth (0 first layer, 1 last)")
        return
    names = max(all_names, key=len)
    if any(other != names[: len(other)] for other in all_names):
        names = [str(k) for k in range(len(names))]  # networks that name their layers differently: count them
    step = -(-len(names) // 26)
    shown = list(range(0, len(names), step))
    long = max(len(names[k]) for k in shown) * len(shown) > 90
    labels = [short(names[k], 22) for k in shown]
    ax.set_xticks(shown, labels, rotation=45 if long else 0, ha="right" if long else "center", fontsize=8)
    ax.set_xlabel("layer")


@checked
def confusion_matrix(matrix, classes: Sequence[str], *, title: str | None = None):
    """Rows: what it is; columns: what was said; colour: share of the row; numbers: counts (up to 24 classes).

    Parameters
    ----------
    matrix : array (C, C)
        Counts >= 0, or mean counts over seeds; true class by row.
    classes : sequence of C str
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        Not square, negative or NaN, another number of classes.
    """
    matrix = numbers("matrix", matrix, finite=False, empty=True).astype(float)
    classes = texts("classes", classes)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ParameterError("matrix", f"array of shape {matrix.shape}", "square and not empty")
    if len(classes) != len(matrix):
        raise ParameterError("classes", f"{len(classes)} names", f"one for each of {len(matrix)} rows")
    if not ((matrix >= 0) & (matrix < 1e15)).all():
        raise ParameterError("matrix", "array with negative, NaN or infinite entries", "counts of 0 or more")
    count, rows = len(matrix), matrix.sum(axis=1, keepdims=True)
    share = matrix / np.where(rows > 0, rows, 1)
    side = float(np.clip(0.42 * count + 2.2, 4.2, 9.5))
    figure = new_figure(side + 1.2, side)
    ax = figure.add_subplot()
    picture = ax.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    size = 9 if count <= 14 else 7 if count <= 30 else 5
    rows_said = [f"{short(name)} ({row:g})" for name, row in zip(classes, rows[:, 0].round(1), strict=True)]
    ax.set_xticks(range(count), [short(name) for name in classes], rotation=45, ha="right", fontsize=size)
    ax.set_yticks(range(count), rows_said, fontsize=size)
    ax.tick_params(length=0)
    if count <= 24:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            ink = "white" if share[i, j] > 0.6 else "black"
            ax.text(j, i, f"{round(matrix[i, j], 1):g}", ha="center", va="center", color=ink, fontsize=min(size, 8.5))
    bar = {"shrink": 0.7, "label": "share of the true class (%)"}
    dress(ax, x="predicted", y="true (number of clips)", title=title, picture=picture, **bar)
    return figure


@checked
def layer_heatmap(probes, *, controls: Mapping | None = None, title: str | None = None):
    """What each layer knows: one row a target, one column a layer, from guessing (0) to perfect (1).

    Parameters
    ----------
    probes : RegressionProbes, or mapping of target -> Probes or RegressionProbes
        Results for the same layers. Probes give a row, their accuracy between majority (0) and perfect (1);
        RegressionProbes a row a number, its R2.
    controls : mapping of name -> results for the same targets, optional
        Each becomes a column on the right: the layer that is best there on validation.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        The layer that validation picks is boxed in each row. Values below 0 (worse than the commonest answer or the
        mean) are drawn as 0 and written as they are. A cell without a value, as where the majority is already perfect,
        is empty and says "–".

    Raises
    ------
    ParameterError
        No probes, probes of different layers, or controls of other targets.
    """
    rows = _rows("probes", probes)
    names = [list(map(str, result.names)) for result, _ in rows.values()]
    if any(other != names[0] for other in names):
        raise ParameterError("probes", names, "results for the same layers")
    skill, beside = np.stack([values for _, values in rows.values()]), []
    for name, control in mapping("controls", controls, "a mapping of name to results").items():
        others = _rows("controls", control)
        if missing := [target for target in rows if target not in others]:
            raise ParameterError(
                f"controls[{name!r}]", f"without {', '.join(missing[:3])}", "results for the same targets"
            )
        beside.append([values[_best(result, values)] for result, values in (others[target] for target in rows)])
    if not np.isfinite(skill).any():
        raise ParameterError("probes", "results without a number", "with a score somewhere")
    gap = np.full((len(rows), 1), np.nan)
    shown = np.hstack([skill, gap, np.array(beside).T]) if beside else skill
    figure = new_figure(min(2.6 + 0.62 * shown.shape[1], 12.0), 1.5 + (0.42 if len(rows) < 20 else 0.27) * len(rows))
    ax = figure.add_subplot()
    picture = ax.imshow(np.clip(shown, 0, 1), cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for i, (row, (result, values)) in enumerate(zip(shown, rows.values(), strict=True)):
        if np.isfinite(values).any():
            ax.add_patch(_rectangle(_best(result, values), i))
        for j, value in enumerate(row):
            if beside and j == skill.shape[1]:
                continue
            text, ink = ("–", "black") if np.isnan(value) else (f"{value:.2f}", "black" if value > 0.6 else "white")
            ax.text(j, i, text.replace("-", "−"), ha="center", va="center", fontsize=7.5, color=ink)
    _layer_axis(ax, "layer", names[:1])
    if beside:
        ticks = [*ax.get_xticks(), *range(skill.shape[1] + 1, shown.shape[1])]
        labels = [text.get_text() for text in ax.get_xticklabels()] + [short(name, 14) for name in controls]
        ax.set_xticks(ticks, labels, rotation=45, ha="right", fontsize=8)
    ax.set_yticks(range(len(rows)), [short(target, 30) for target in rows], fontsize=9 if len(rows) < 20 else 7.5)
    ax.tick_params(length=0)
    dress(ax, title=title, picture=picture, label="0 guessing, 1 perfect")
    return figure


def _rows(argument: str, probes) -> dict[str, tuple]:
    """Result and skill (L,) of each target; regression probes give one a number."""
    if hasattr(probes, "targets"):
        probes = {target: probes[target] for target in probes.targets}
    rows: dict[str, tuple] = {}
    for name, result in mapping(argument, probes, "a mapping of target to probes").items():
        if hasattr(result, "targets"):
            parts(argument, result, _NUMBERS, _PROBES)
            single = len(result.targets) == 1
            for target in result.targets:
                rows[str(name) if single else target] = (result[target], result[target].r2[:, 0].astype(float))
        else:
            parts(argument, result, ("names", "accuracy", "majority"), _PROBES)
            rows[str(name)] = (result, _skill(result))
    if not rows:
        raise ParameterError(argument, probes, "at least one target")
    return rows


def _best(result, values: np.ndarray) -> int:
    """Position of the layer that validation picks, or, where the result does not know it, of the best."""
    if hasattr(result, "best_layer"):
        return list(result.names).index(result.best_layer)
    return int(np.nanargmax(values)) if np.isfinite(values).any() else 0


def _skill(result) -> np.ndarray:
    """Accuracy of each layer between majority (0) and perfect (1); NaN where there is nothing between."""
    accuracy = numbers("accuracy", result.accuracy, ndim=2, finite=False).astype(float).mean(axis=1)
    left = 1 - float(result.majority)
    return (accuracy - float(result.majority)) / left if left > 1e-9 else np.full(len(accuracy), np.nan)


def _rectangle(column: int, row: int):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, edgecolor="#e31a1c", linewidth=2)
