"""Charts of tidy tables: curves over a swept parameter, heat maps, scatter plots, intervals. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ParameterError
from .colours import PALETTE
from .figures import entitle, explain_lines, new_figure, open_axes, plain, short

_MARKERS = "osD^v<>P"


def curves(
    table,
    *,
    x: str,
    y: str | Sequence[str],
    by: str,
    levels: Mapping[str, Mapping[str, float | Sequence[float]]] | None = None,
    title: str | None = None,
    labels: Mapping[str, str] | None = None,
    log: Sequence[str] = (),
):
    """One panel a quantity: its mean over repeats (seeds, layers) against x, a line for each kind.

    Parameters
    ----------
    table : pandas.DataFrame
        Tidy: one row a measurement. Rows that agree in ``x`` and ``by`` are repeats: the line is their mean, the band
        reaches from the least to the greatest.
    x : str
        Column on the horizontal axis; its values are set at equal distances, in rising order.
    y : str or sequence of str
        Columns on the vertical axes, a panel each.
    by : str
        Column that names the lines, in the order of their first rows.
    levels : mapping of y -> mapping of name -> value, or (value, low, high)
        Level lines to compare with: a reference, a control, chance.
    title : str, optional
    labels : mapping of column -> str, optional
        Axis labels in words.
    log : sequence of str
        Quantities drawn on a logarithmic axis.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        An empty table or a column it does not have.
    """
    quantities = [y] if isinstance(y, str) else list(y)
    _columns(table, x, by, *quantities)
    places = {value: k for k, value in enumerate(sorted(table[x].unique()))}
    figure = new_figure(4.4 * len(quantities) + 1.6, 3.9)
    axes = figure.subplots(1, len(quantities), squeeze=False)[0]
    names, handles = labels or {}, {}
    for ax, quantity in zip(axes, quantities, strict=True):
        for k, (name, rows) in enumerate(table.groupby(by, sort=False)):
            found = rows.dropna(subset=[quantity]).groupby(x)[quantity].agg(["mean", "min", "max"])
            at = [places[value] for value in found.index]
            style = {"color": PALETTE[k % 8], "marker": _MARKERS[k % 8], "markersize": 5, "linewidth": 2}
            handles[str(name)] = ax.plot(at, found["mean"], **style)[0]
            ax.fill_between(at, found["min"], found["max"], color=style["color"], alpha=0.16, linewidth=0)
        for k, (name, level) in enumerate((levels or {}).get(quantity, {}).items()):
            value, *band = np.atleast_1d(level)
            dashes = (0, (5, 1.5 + 1.5 * k))
            handles[name] = ax.axhline(value, color="black", linestyle=dashes, linewidth=1.2, alpha=0.75, zorder=1)
            if band:
                ax.axhspan(*band, color="black", alpha=0.08, linewidth=0, zorder=0)
        ax.set_xticks(range(len(places)), [f"{value:g}" if isinstance(value, float) else value for value in places])
        ax.set(xlabel=names.get(x, x), ylabel=names.get(quantity, quantity))
        ax.set_yscale("log" if quantity in log else "linear")
        open_axes(ax, grid="y")
    entitle(figure, title)
    explain_lines(figure, handles.values(), handles)
    return figure


def heatmap(table, *, title: str | None = None, label: str = "", digits: int | None = 2):
    """A table of numbers as colours, each number written in its cell.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows and columns with names, values float; NaN cells stay empty.
    title, label : str
        Heading; what the colours mean.
    digits : int or None
        Decimals written; None: no numbers in the cells.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        An empty table.
    """
    _columns(table)
    values = table.to_numpy(dtype=float)
    wide = max(2.8 + 0.72 * values.shape[1], 0.5 + 0.09 * len(title or ""))  # room for the title, too
    figure = new_figure(min(wide, 11.0), 1.5 + 0.4 * len(values))
    ax = figure.add_subplot()
    picture = ax.imshow(values, cmap="viridis", aspect="auto")
    middle = np.nanmin(values) + 0.6 * np.ptp(values[np.isfinite(values)])
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value) and digits is not None:
            ink = "black" if value > middle else "white"
            ax.text(j, i, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color=ink)
    ax.set_xticks(range(values.shape[1]), [short(c, 18) for c in table.columns], rotation=30, ha="right", fontsize=9)
    ax.set_yticks(range(len(values)), [short(_text(row)) for row in table.index], fontsize=9)
    ax.tick_params(length=0)
    plain(*ax.get_xticklabels(), *ax.get_yticklabels())
    entitle(figure, title)
    figure.colorbar(picture, ax=ax, label=label)
    return figure


def scatter(
    table,
    *,
    x: str,
    y: str,
    by: str,
    title: str | None = None,
    labels: Mapping[str, str] | None = None,
    named: int = 0,
):
    """One point a row, coloured by a column, the rows with the lowest and highest ``y`` named.

    Parameters
    ----------
    table : pandas.DataFrame
        The index names the points.
    x, y : str
        Columns with numbers.
    by : str
        Column whose values get a colour each.
    title : str, optional
    labels : mapping of column -> str, optional
    named : int
        How many points are named at each end of ``y``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        An empty table or a column it does not have.
    """
    _columns(table, x, y, by)
    figure = new_figure(8.0, 4.2)
    ax, names = figure.add_subplot(), labels or {}
    for k, (name, rows) in enumerate(table.groupby(by, sort=False)):
        ax.scatter(rows[x], rows[y], s=26, color=PALETTE[k % 8], marker=_MARKERS[k % 8], alpha=0.85, label=str(name))
    known = table.dropna(subset=[x, y]).sort_values(y)
    ends = known.iloc[np.unique(np.r_[0 : min(named, len(known)), max(0, len(known) - named) : len(known)]).astype(int)]
    for name, row in ends.iterrows():
        text = ax.annotate(short(name, 30), (row[x], row[y]), (5, 3), textcoords="offset points", fontsize=7.5)
        plain(text)
    ax.set(xlabel=names.get(x, x), ylabel=names.get(y, y))
    open_axes(ax, grid="both")
    entitle(figure, title)
    explain_lines(figure)
    return figure


def intervals(table, *, x: str = "mean", by: str | None = None, title: str | None = None, label: str = ""):
    """A dot with its interval for each row, side by side, with a line at zero.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``x``, ``low`` and ``high``; the index names the rows, from the top.
    x : str
        Column with the dots.
    by : str, optional
        Column whose values get a colour each.
    title, label : str
        Heading; what the axis shows.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        An empty table or a column it does not have.
    """
    _columns(table, x, "low", "high", *([by] if by else []))
    figure = new_figure(8.0, 1.2 + 0.36 * len(table))
    ax = figure.add_subplot()
    kinds = list(dict.fromkeys(table[by])) if by else [None]
    for k, kind in enumerate(kinds):
        rows = np.flatnonzero(table[by] == kind) if by else np.arange(len(table))
        part = table.iloc[rows]
        reach = np.abs(part[["low", "high"]].to_numpy(dtype=float).T - part[x].to_numpy(dtype=float))
        style = {"color": PALETTE[k % 8], "fmt": _MARKERS[k % 8], "capsize": 3, "markersize": 6}
        ax.errorbar(part[x].to_numpy(dtype=float), rows, xerr=reach, label=None if kind is None else str(kind), **style)
    ax.axvline(0, color="black", linewidth=1, alpha=0.6)
    ax.set_yticks(range(len(table)), [short(_text(name), 40) for name in table.index], fontsize=9)
    plain(*ax.get_yticklabels())
    ax.invert_yaxis()
    ax.set_xlabel(label or x)
    open_axes(ax, grid="x")
    entitle(figure, title)
    if by:
        explain_lines(figure)
    return figure


def _text(name: object) -> str:
    return ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _columns(table, *names: str) -> None:
    if not len(table) or not len(table.columns):
        raise ParameterError("table", "an empty table", "at least one row and one column")
    for name in names:
        if name not in table.columns:
            raise ParameterError("column", name, f"a column of the table: {', '.join(map(str, table.columns))}")
