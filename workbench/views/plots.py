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
from .colours import PALETTE
from .figures import MARKERS, dress, in_legend, new_figure, short
from .inputs import mapping, parts, texts

_GREY = "#656364"
_PROBES = "Probes, as fit_probes gives them"


@checked
def layer_curve(
    probes,
    *,
    controls: Mapping | None = None,
    reference: Mapping[str, Sequence[float]] | None = None,
    x: Literal["layer", "depth"] = "layer",
    title: str | None = None,
    metric: str = "accuracy",
):
    """Accuracy against layer, with confidence band, chance and majority; the layer that validation picks is circled.

    Parameters
    ----------
    probes : Probes, or mapping of name -> Probes
        Each with ``names`` (L), ``accuracy`` (L, S) in [0, 1] over S seeds, ``interval`` (L, 2), and the levels
        ``chance`` and ``majority``.
    controls : mapping of name -> Probes, optional
        Drawn dashed and grey: what a trivial feature or an untrained network reaches. One layer makes a level line.
    reference : mapping of name -> (L,) numbers in [0, 1], optional
        Published curves, drawn dotted; they have no band.
    x : {"layer", "depth"}
        "depth" places the layers from 0 to 1, to compare networks of different depth.
    title, metric : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        No probes, values outside [0, 1], unknown ``x``.
    """
    curves = dict(probes) if isinstance(probes, Mapping) else {"": probes}
    if not curves:
        raise ParameterError("probes", probes, "at least one result")
    controls = mapping("controls", controls, "a mapping of name to Probes")
    reference = mapping("reference", reference, "a mapping of name to one number in [0, 1] a layer")
    for argument, results in (("probes", curves), ("controls", controls)):
        for result in results.values():
            parts(argument, result, ("names", "accuracy", "interval", "chance", "majority"), _PROBES)
    figure = new_figure(9.0, 4.2)
    ax = figure.add_subplot()
    for k, (name, result) in enumerate(curves.items()):
        style = {"color": PALETTE[k % 8], "marker": MARKERS[k % 8], "linewidth": 2, "markersize": 5, "zorder": 3}
        _curve(ax, str(name) or metric, result, x, style, best=True)
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
        ax.plot(_places(len(values), x), 100 * values, label=in_legend(name), zorder=2.5, **style)
    _levels(ax, [*curves.values(), *controls.values()])
    _layer_axis(ax, x, [list(map(str, result.names)) for result in curves.values()])
    ax.set_ylim(0, 104)
    dress(ax, y=f"{metric} (%)", grid="y", title=title, legend=())
    return figure


def _fractions(name: str, values) -> np.ndarray:
    values = numbers(name, values, finite=False, empty=True).astype(float)
    known = values[np.isfinite(values)]
    if values.ndim != 1 or not len(values) or len(known) == 0 or known.min() < 0 or known.max() > 1:
        raise ParameterError(name, values.tolist() if values.size < 20 else values, "one number in [0, 1] a layer")
    return values


def _places(count: int, x: str) -> np.ndarray:
    return np.arange(count) if x == "layer" else np.linspace(0, 1, count) if count > 1 else np.zeros(1)


def _curve(ax, name: str, result, x: str, style: dict, *, best: bool) -> None:
    accuracy = numbers("accuracy", result.accuracy, finite=False).astype(float)
    if len(accuracy) != len(result.names) or np.shape(result.interval) != (len(accuracy), 2):
        shown = f"{len(accuracy)} accuracies and intervals of shape {np.shape(result.interval)}"
        raise ParameterError("probes", shown, f"one of each for the {len(result.names)} layers")
    mean = _fractions("accuracy", accuracy.reshape(len(result.names), -1).mean(axis=1))
    low, high = numbers("interval", result.interval, finite=False).astype(float).T
    if len(mean) == 1 and not best:
        line = {key: style[key] for key in ("color", "linestyle", "zorder")}
        ax.axhline(100 * mean[0], label=in_legend(f"{name}, {mean[0]:.1%}"), **line)
        ax.axhspan(100 * low[0], 100 * high[0], color=style["color"], alpha=0.1, linewidth=0)
        return
    at = _places(len(mean), x)
    # the layer that validation picks, where the result knows it: the best on test would be chosen by its own score
    top = list(result.names).index(result.best_layer) if hasattr(result, "best_layer") else int(np.nanargmax(mean))
    word = "validation picks" if hasattr(result, "best_layer") else "best"
    label = f"{name}\n  {word} {short(result.names[top], 20)}, {mean[top]:.1%}" if best else name
    label += f"\n  {int(np.isnan(mean).sum())} layers without a value" if np.isnan(mean).any() else ""
    ax.plot(at, 100 * mean, label=in_legend(label), **style)
    ax.fill_between(at, 100 * low, 100 * high, color=style["color"], alpha=0.16, linewidth=0)
    if best:
        ax.plot(at[top], 100 * mean[top], "o", markersize=12, fillstyle="none", color=style["color"], zorder=4)


def _levels(ax, results: Sequence) -> None:
    for attribute, line in (("majority", "-."), ("chance", (0, (1, 1.5)))):
        values = {round(float(getattr(result, attribute)), 4) for result in results}
        for value in sorted(value for value in values if np.isfinite(value)):
            ax.axhline(100 * value, color="black", linewidth=1, linestyle=line, alpha=0.6, zorder=1)
            ax.plot([], [], color="black", linewidth=1, linestyle=line, alpha=0.6, label=f"{attribute}, {value:.1%}")


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
def layer_heatmap(probes: Mapping, *, title: str | None = None):
    """What each layer knows: one row a target, one column a layer, accuracy between majority (0) and perfect (1).

    Parameters
    ----------
    probes : mapping of target -> Probes
        Results for the same layers, each with ``names`` (L), ``accuracy`` (L, S) and ``majority``.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Each row's best layer is boxed. Values below 0 (worse than the commonest answer) are drawn as 0 and written
        as they are. A cell without a value, as where the majority is already perfect, is empty and says "–".

    Raises
    ------
    ParameterError
        No probes, or probes of different layers.
    """
    probes = mapping("probes", probes, "a mapping of target to Probes")
    if not probes:
        raise ParameterError("probes", probes, "at least one target")
    for result in probes.values():
        parts("probes", result, ("names", "accuracy", "majority"), _PROBES)
    names = [list(map(str, result.names)) for result in probes.values()]
    if any(other != names[0] for other in names):
        raise ParameterError("probes", names, "results for the same layers")
    skill = np.stack([_skill(result) for result in probes.values()])
    if not np.isfinite(skill).any():
        raise ParameterError("probes", "results without a number", "with an accuracy somewhere")
    figure = new_figure(min(2.6 + 0.62 * len(names[0]), 11.0), 1.3 + 0.42 * len(skill))
    ax = figure.add_subplot()
    picture = ax.imshow(np.clip(skill, 0, 1), cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(skill):
        if np.isfinite(row).any():
            ax.add_patch(_rectangle(int(np.nanargmax(row)), i))
        for j, value in enumerate(row):
            text, ink = ("–", "black") if np.isnan(value) else (f"{value:.2f}", "black" if value > 0.6 else "white")
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color=ink)
    _layer_axis(ax, "layer", names[:1])
    ax.set_yticks(range(len(probes)), [short(target) for target in probes], fontsize=9)
    ax.tick_params(length=0)
    dress(ax, title=title, picture=picture, label="0 majority, 1 perfect")
    return figure


def _skill(result) -> np.ndarray:
    """Accuracy of each layer between majority (0) and perfect (1); NaN where there is nothing between."""
    accuracy = numbers("accuracy", result.accuracy, ndim=2, finite=False).astype(float).mean(axis=1)
    left = 1 - float(result.majority)
    return (accuracy - float(result.majority)) / left if left > 1e-9 else np.full(len(accuracy), np.nan)


def _rectangle(column: int, row: int):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, edgecolor="#e31a1c", linewidth=2)
