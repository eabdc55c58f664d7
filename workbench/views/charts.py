"""Charts of tidy tables: curves over a swept parameter, heat maps, scatter plots, intervals. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..core.checks import checked, choice, whole
from ..core.errors import ParameterError
from .figures import apart, dress, in_legend, mark, new_figure, plain, short
from .inputs import mapping, named_columns


@checked
def curves(
    table,
    *,
    x: str,
    y: str | Sequence[str],
    by: str,
    levels: Mapping[str, Mapping[str, float | Sequence[float]]] | None = None,
    title: str | None = None,
    labels: Mapping[str, str] | None = None,
    log: str | Sequence[str] = (),
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
        Level lines to compare with: a reference, a control, chance. Without a band where it has no bounds (NaN).
    title : str, optional
    labels : mapping of column -> str, optional
        Axis labels in words.
    log : str or sequence of str
        Quantities drawn on a logarithmic axis; where some values are 0 or less it is linear around 0.

    Returns
    -------
    matplotlib.figure.Figure
        Rows whose quantity is NaN or infinite are left out, and the axis counts them.

    Raises
    ------
    ParameterError
        An empty table, a column it does not have, a quantity that is no number anywhere, an ``x`` that is missing or
        cannot be sorted.
    """
    quantities = named_columns("y", y)
    if not quantities:
        raise ParameterError("y", [], "at least one column")
    _columns(table, x, by, *quantities)
    table, labels = table.copy(deep=False), mapping("labels", labels, "a mapping of column to words")
    for quantity in quantities:
        table[quantity] = _known(table, quantity)
    log = [choice("log", name, quantities) for name in named_columns("log", log)]
    levels = {
        name: mapping("levels", of, "a mapping of quantity to (name -> value)")
        for name, of in mapping("levels", levels, "a mapping of quantity to (name -> value)").items()
    }
    try:
        places = {value: k for k, value in enumerate(sorted(table[x].unique()))}
    except TypeError:
        raise ParameterError("x", x, "a column whose values can be sorted") from None
    if table[x].isna().any():
        raise ParameterError("x", x, f"a column with a value in every row; {int(table[x].isna().sum())} have none")
    figure = new_figure(4.4 * len(quantities) + 1.6, 3.9)
    axes = figure.subplots(1, len(quantities), squeeze=False)[0]
    handles = {}
    for ax, quantity in zip(axes, quantities, strict=True):
        for k, (name, rows) in enumerate(table.groupby(by, sort=False, dropna=False)):
            spread = rows.dropna(subset=[quantity]).groupby(x)[quantity].agg(["mean", "min", "max"])
            at = [places[value] for value in spread.index]
            style = mark(k) | {"markersize": 5, "linewidth": 2}
            handles[str(name)] = ax.plot(at, spread["mean"], **style)[0]
            ax.fill_between(at, spread["min"], spread["max"], color=style["color"], alpha=0.16, linewidth=0)
        drawn = [table[quantity].dropna().to_numpy()]
        for k, (name, level) in enumerate(levels.get(quantity, {}).items()):
            value, *band = _level(name, level)
            drawn.append(np.array([value, *band]))
            dashes = (0, (5, 1.5 + 1.5 * k))
            handles[name] = ax.axhline(value, color="black", linestyle=dashes, linewidth=1.2, alpha=0.75, zorder=1)
            if band:
                ax.axhspan(*band, color="black", alpha=0.08, linewidth=0, zorder=0)
        texts = [f"{value:g}" if isinstance(value, float) else short(value) for value in places]
        step = -(-len(texts) // 16)  # as many names as there is room for, one beside the other or leaning
        lean = {"rotation": 45, "ha": "right"} if sum(len(text) + 2 for text in texts[::step]) > 44 else {}
        ax.set_xticks(range(0, len(texts), step), texts[::step], **lean)
        lost = int(table[quantity].isna().sum())
        missing = f"\n({lost} of {len(table)} rows without a value)" if lost else ""
        _scale(ax, np.concatenate(drawn), quantity in log)
        dress(ax, x=str(labels.get(x, x)), y=f"{labels.get(quantity, quantity)}{missing}", grid="y")
    dress(ax, title=title, legend=(handles.values(), handles))
    return figure


def _known(table, name: str):
    """A column of numbers, NaN where a value is none or infinite."""
    import pandas as pd

    try:
        values = pd.to_numeric(table[name]).astype(float)
    except (TypeError, ValueError):
        raise ParameterError("column", name, f"a column of numbers; it holds {table[name].dtype}") from None
    values = values.where(np.isfinite(values))
    if values.isna().all():
        raise ParameterError("column", name, "a column with a finite number in some row; it has none")
    return values


def _level(name: str, level) -> list[float]:
    try:
        values = np.atleast_1d(np.asarray(level, dtype=float)).tolist()
    except (TypeError, ValueError):
        values = []
    if len(values) not in (1, 3) or not np.isfinite(values[0]) or np.isinf(values).any():
        raise ParameterError(f"levels[{name!r}]", level, "a finite number, or (value, low, high)")
    return values[: None if np.isfinite(values).all() else 1]


def _scale(ax, values: np.ndarray, log: bool) -> None:
    """A logarithmic axis, linear around 0 where not all values are above it, linear where none is."""
    above = values[values > 0]
    if log and len(above) == len(values):
        ax.set_yscale("log")
    elif log and len(above):
        ax.set_yscale("symlog", linthresh=float(above.min()))


@checked
def heatmap(table, *, title: str | None = None, label: str = "", digits: int | None = 2):
    """A table of numbers as colours, each number written in its cell.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows and columns with names, values float; NaN cells stay empty, infinite ones too but for their number.
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
        An empty table, text, no finite number.
    """
    _columns(table)
    if digits is not None:
        whole("digits", digits, least=0, most=30)
    try:
        values = table.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        raise ParameterError("table", "a table with text", "a table of numbers") from None
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise ParameterError("table", f"a table of {values.size} cells without a number", "one with a finite number")
    wide = max(2.8 + 0.72 * values.shape[1], 0.5 + 0.09 * len(title or ""))  # room for the title, too
    figure = new_figure(min(wide, 11.0), 1.5 + 0.4 * len(values))
    ax = figure.add_subplot()
    low, high = float(finite.min()), float(finite.max())
    apart = (high - low) or max(abs(high), 1.0)  # one value: the middle of a scale that it does not fill
    ends = (low, high) if high > low else (low - apart / 2, high + apart / 2)
    shown = np.where(np.isfinite(values), values, np.nan)
    picture = ax.imshow(shown, cmap="viridis", aspect="auto", vmin=ends[0], vmax=ends[1])
    middle = ends[0] + 0.6 * (ends[1] - ends[0])
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value) and digits is not None:
            ink = "black" if value > middle or not np.isfinite(value) else "white"
            ax.text(j, i, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color=ink)
    ax.set_xticks(range(values.shape[1]), [short(c, 18) for c in table.columns], rotation=30, ha="right", fontsize=9)
    ax.set_yticks(range(len(values)), [short(_text(row)) for row in table.index], fontsize=9)
    ax.tick_params(length=0)
    dress(ax, title=title, picture=picture, label=label)
    return figure


@checked
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
        Rows without a finite ``x`` and ``y`` are left out, and the axis counts them.

    Raises
    ------
    ParameterError
        An empty table, a column it does not have or that is no number anywhere.
    """
    _columns(table, x, y, by)
    whole("named", named, least=0)
    names, table = mapping("labels", labels, "a mapping of column to words"), table.copy(deep=False)
    kinds = table[by]
    table[x], table[y] = _known(table, x), _known(table, y)
    figure = new_figure(8.0, 4.2)
    ax = figure.add_subplot()
    for k, (name, rows) in enumerate(table.groupby(kinds, sort=False, dropna=False)):
        ax.scatter(rows[x], rows[y], s=26, **mark(k), alpha=0.85, label=in_legend(name))
    known = table.dropna(subset=[x, y]).sort_values(y)
    ends = known.iloc[np.unique(np.r_[0 : min(named, len(known)), max(0, len(known) - named) : len(known)]).astype(int)]
    line = {"arrowstyle": "-", "linewidth": 0.6, "alpha": 0.5, "shrinkA": 0, "shrinkB": 2}
    style = {"textcoords": "offset points", "fontsize": 7.5, "arrowprops": line}
    notes = [ax.annotate(short(name, 30), row[[x, y]].to_list(), (0, 0), **style) for name, row in ends.iterrows()]
    plain(*notes)
    lost = len(table) - len(known)
    missing = f"\n({lost} of {len(table)} rows without a value)" if lost else ""
    dress(ax, x=f"{names.get(x, x)}{missing}", y=str(names.get(y, y)), grid="both", title=title, legend=())
    apart(ax, notes)
    return figure


@checked
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
        A row without an interval (one seed) has its dot alone, one without a value says so.

    Raises
    ------
    ParameterError
        An empty table, a column it does not have or that is no number anywhere, ``low`` above ``high``.
    """
    _columns(table, x, "low", "high", *([by] if by else []))
    dots = _known(table, x).to_numpy()
    low, high = (
        _known(table, name).to_numpy() if table[name].notna().any() else np.full(len(table), np.nan)
        for name in ("low", "high")
    )
    if (low > high).any():
        raise ParameterError(
            "table", f"row {_text(table.index[int(np.argmax(low > high))])}", "one with low below high"
        )
    figure = new_figure(8.0, 1.2 + 0.36 * len(table))
    ax = figure.add_subplot()
    kinds = list(dict.fromkeys(table[by])) if by else [None]
    for k, kind in enumerate(kinds):
        rows = np.flatnonzero(table[by].isna() if kind != kind else table[by] == kind) if by else np.arange(len(table))
        style = mark(k)
        named = {} if kind is None else {"label": in_legend(kind)}
        ax.plot(dots[rows], rows, **style, markersize=6, linestyle="none", **named)
        # The interval by itself: it need not hold the dot.
        middle, reach = (low + high)[rows] / 2, (high - low)[rows] / 2
        ax.errorbar(middle, rows, xerr=reach, color=style["color"], fmt="none", capsize=3)
    ax.axvline(0, color="black", linewidth=1, alpha=0.6)
    said = ["" if np.isfinite(dot) else " (no value)" for dot in dots]
    texts = [short(_text(name), 40) + more for name, more in zip(table.index, said, strict=True)]
    ax.set_yticks(range(len(table)), texts, fontsize=9)
    ax.invert_yaxis()
    dress(ax, x=label or x, grid="x", title=title, legend=() if by else None)
    return figure


def _text(name: object) -> str:
    return ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _columns(table, *names: str) -> None:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise ParameterError("table", type(table).__name__, "a pandas.DataFrame")
    if not len(table) or not len(table.columns):
        raise ParameterError("table", "an empty table", "at least one row and one column")
    if not table.columns.is_unique and names:
        raise ParameterError("table", "a table with two columns of one name", "one whose columns have different names")
    for name in names:
        if name not in table.columns:
            raise ParameterError("column", name, f"a column of the table: {', '.join(map(str, table.columns))}")
