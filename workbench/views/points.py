"""Points as data: which of them carry sound, which rows a person means, and how they are packed for the page."""

from __future__ import annotations

import numpy as np

from ..core.checks import numbers
from ..core.errors import ParameterError
from .colours import NO_VALUE, Coloured, colour_by
from .page import array
from .projection import Projection


def spread(xy: np.ndarray, codes: np.ndarray | None, count: int, *, seed: int = 0) -> list[int]:
    """Choose points evenly over classes and, within a class, over the plane.

    The classes take turns; each turn draws ten points of the class and keeps the one farthest from those it has
    (Mitchell's best candidate, 1991), so that dense places get more than empty ones but no two lie close.

    Parameters
    ----------
    xy : (N, 2)
    codes : (N,) int or None
        Class of each point.
    count : int
    seed : int

    Returns
    -------
    list of int
        min(count, N) different positions, the most telling first.
    """
    rng = np.random.default_rng(seed)
    codes = np.zeros(len(xy), dtype=int) if codes is None else codes
    left = [list(rng.permutation(np.flatnonzero(codes == code))) for code in np.unique(codes)]
    left = [left[k] for k in rng.permutation(len(left))]
    have: list[list[int]] = [[] for _ in left]
    chosen: list[int] = []
    while len(chosen) < min(count, len(xy)) and any(left):
        for queue, taken in zip(left, have, strict=True):
            if queue and len(chosen) < count:
                candidates = np.array(queue[:10])
                gaps = np.linalg.norm(xy[candidates][:, None] - xy[taken][None], axis=2).min(axis=1) if taken else [0]
                best = int(candidates[int(np.argmax(gaps))])
                # The losers go to the end of the queue, so that another ten have their turn next.
                queue[:10] = []
                queue.extend(int(c) for c in candidates if c != best)
                taken.append(best)
                chosen.append(best)
    return chosen


def far_apart(values: list, first) -> list:
    """All values, from the first one on: each next one is farthest from those before, in places along the list."""
    order, left = [values.index(first)], set(range(len(values))) - {values.index(first)}
    while left:
        order.append(max(sorted(left), key=lambda k: min(abs(k - other) for other in order)))
        left.remove(order[-1])
    return [values[k] for k in order]


def positions(rows, table) -> list[int]:
    """Positions in a table from positions, a boolean mask, or some of its rows.

    Raises
    ------
    ParameterError
        A position outside the table, a mask of another length, or a row that the table does not have.
    """
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        if "id" in rows.columns and "id" in table.columns:
            places = pd.Index(table["id"]).get_indexer(rows["id"])
        else:
            places = table.index.get_indexer(rows.index)
        if (places < 0).any():
            raise ParameterError(
                "rows", f"table with {int((places < 0).sum())} unknown rows", "rows of the clips' table"
            )
        return places.tolist()
    values = numbers("rows", rows, finite=False, empty=True)
    if values.dtype == bool:
        if values.shape != (len(table),):
            raise ParameterError("rows", f"mask of shape {values.shape}", f"of shape ({len(table)},)")
        return np.flatnonzero(values).tolist()
    if values.size == 0:
        return []
    if values.ndim != 1 or values.dtype.kind not in "iu":
        shown = f"array of {values.dtype}, shape {values.shape}"
        raise ParameterError("rows", shown, "whole numbers, a boolean mask or rows of the clips' table")
    wrong = values[(values < 0) | (values >= len(table))]
    if len(wrong):
        raise ParameterError("rows", int(wrong[0]), f"from 0 to {len(table) - 1}")
    return values.tolist()


def panel_data(name: str, panel: Projection) -> dict:
    """One plot: 16-bit coordinates, both axes on one scale so that distances are true."""
    low, high = panel.xy.min(axis=0).astype(float), panel.xy.max(axis=0).astype(float)
    size = high - low
    at = np.round((panel.xy.astype(float) - low) / np.where(size > 0, size, 1) * 65535)
    w, h = size / (size.max() or 1)
    x, y = array(at[:, 0], "<u2"), array(at[:, 1], "<u2")
    return {"title": name, "axes": panel.axes, "x": x, "y": y, "w": round(w, 6), "h": round(h, 6)}


def colour_data(coloured: Coloured) -> dict:
    """What the points' colour means, and the legend's counts or ends."""
    common = {"name": coloured.name, "kind": coloured.kind, "missing": coloured.missing}
    if coloured.kind == "category":
        counts = np.bincount(coloured.codes[coloured.codes != NO_VALUE], minlength=len(coloured.levels)).tolist()
        return common | {"levels": coloured.levels, "counts": counts, "codes": array(coloured.codes, "<u2")}
    known = coloured.values[~np.isnan(coloured.values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return common | {"min": low, "max": high, "numbers": array(coloured.values, "<f4")}


def hover_data(name: str, column) -> dict:
    """One line of the hover text for every point, classes as codes, numbers as float32."""
    shown = colour_by(str(name), column)
    if shown.kind == "number" and not (np.abs(shown.values) > 2**24).any():  # float32 holds whole numbers up to there
        return {"name": shown.name, "numbers": array(shown.values, "<f4")}
    if shown.kind == "number":
        return {"name": shown.name, "values": ["–" if v != v else str(v) for v in column.tolist()]}
    if len(shown.levels) > len(column) / 2:
        texts = [shown.levels[c] if c != NO_VALUE else "–" for c in shown.codes]
        return {"name": shown.name, "values": texts}
    return {"name": shown.name, "levels": shown.levels, "codes": array(shown.codes, "<u2")}
