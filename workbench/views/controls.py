"""The controls of :func:`workbench.views.explore`, made of ipywidgets, and their line about what is done."""

from __future__ import annotations

from collections.abc import Callable

from .filtering import offered
from .page import escape, printable

METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
#: The setting that each method has of its own, besides the seed.
SETTINGS = {"pca": "components", "tsne": "perplexity", "umap": "neighbours"}
_KEPT = ("keeps distances as well as two axes can", *["keeps neighbourhoods: sizes and gaps mean nothing"] * 2)
#: Stands for no column: what shows None shows nothing at all.
_NONE = object()


class Controls:
    """Controls that show a state and tell when a person turns one.

    Parameters
    ----------
    layers : list of str
    table : pandas.DataFrame (N,)
    state : dict
        What :attr:`Explorer.state` holds.
    turned : callable
        Called with what the controls now say, a dict like ``state`` without seed and standardise.

    Attributes
    ----------
    box : ipywidgets.VBox
    parts : dict of str to ipywidgets.Widget
        One for each of layer, method, first, second, perplexity, neighbours, color, column, values, query, status.
    """

    def __init__(self, layers: list[str], table, state: dict, turned: Callable[[dict], None]):
        import ipywidgets as w

        self._offered, self._turned, self._busy = offered(table), turned, False
        where = state["where"] or {}
        wide = {"layout": {"width": "240px"}, "style": {"description_width": "80px"}}
        narrow = {"layout": {"width": "150px"}, "style": {"description_width": "80px"}}
        typed = narrow | {"continuous_update": False}
        first, second = state["components"]
        self.parts = {
            "layer": w.Dropdown(description="Layer", options=_options(layers), value=state["layer"], **wide),
            "method": w.ToggleButtons(
                options=[(name, key) for key, name in METHODS.items()],
                value=state["method"],
                tooltips=_KEPT,
                style={"button_width": "70px"},
            ),
            "first": w.BoundedIntText(description="Across: PC", min=1, max=10**6, value=first, **typed),
            "second": w.BoundedIntText(description="Up: PC", min=1, max=10**6, value=second, **typed),
            "perplexity": w.BoundedFloatText(
                description="Perplexity", min=1, max=10**6, value=state["perplexity"], **typed
            ),
            "neighbours": w.BoundedIntText(
                description="Neighbours", min=2, max=10**6, value=state["neighbours"], **typed
            ),
            "color": w.Dropdown(
                description="Colour",
                options=[("(one colour)", _NONE), *_options(table.columns)],
                value=_NONE if state["color"] is None else state["color"],
                **wide,
            ),
            "column": w.Dropdown(
                description="Only",
                options=[("(all clips)", _NONE), *_options(dict.fromkeys([*self._offered, *where]))],
                value=next(iter(where), _NONE),
                **wide,
            ),
            "values": w.SelectMultiple(rows=5, layout={"width": "230px"}),
            "query": w.Text(
                description="Condition",
                value=state["query"] or "",
                placeholder=f"such as {_example(table)}; then Enter",
                continuous_update=False,
                layout={"width": "480px"},
                style={"description_width": "80px"},
            ),
            "status": w.HTML(),
        }
        self._list_values(next(iter(where.values()), ()))
        self._show_settings()
        for name, part in self.parts.items():
            if name != "status":
                part.observe(self._changed, "value")
        self.box = self._laid_out(w)

    def _laid_out(self, w):
        part, row = self.parts, {"flex_flow": "row wrap", "align_items": "flex-start", "overflow": "visible"}
        rows = [
            ("layer", "method", "first", "second", "perplexity", "neighbours"),
            ("color", "column", "values"),
            ("query",),
        ]
        lines = [w.HBox([part[name] for name in names], layout=row) for names in rows]
        return w.VBox([*lines, part["status"]], layout={"overflow": "visible"})

    def said(self) -> dict:
        """What the controls say."""
        value = {name: part.value for name, part in self.parts.items()}
        value |= {name: None if value[name] is _NONE else value[name] for name in ("color", "column")}
        where = {value["column"]: list(value["values"])} if value["values"] else None
        said = {name: value[name] for name in ("layer", "method", "perplexity", "neighbours", "color")}
        components = (value["first"], value["second"])
        return said | {"components": components, "where": where, "query": value["query"].strip() or None}

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Show one line: what is computed, how long it took, or what is wrong."""
        colour = "color:var(--jp-error-color1,#b3261e)" if wrong else "opacity:0.75"
        self.parts["status"].value = f'<span role="status" style="{colour};line-height:1.4">{escape(text)}</span>'

    def _changed(self, change) -> None:
        if self._busy:
            return
        self._busy = True  # what is set here is not turned by a person
        try:
            if change.owner is self.parts["column"]:
                self._list_values(())
            self._show_settings()
        finally:
            self._busy = False
        self._turned(self.said())

    def _list_values(self, chosen) -> None:
        """The values of the column that is chosen; no list where none is."""
        name, values = self.parts["column"].value, self.parts["values"]
        known = self._offered.get(name, list(chosen))  # (all clips) has none
        values.options = _options(known)
        values.value = tuple(chosen)
        values.layout.display = "none" if name is _NONE else None

    def _show_settings(self) -> None:
        """The setting of the method that is chosen, alone."""
        shown = {"pca": ("first", "second"), "tsne": ("perplexity",), "umap": ("neighbours",)}
        for method, names in shown.items():
            for name in names:
                self.parts[name].layout.display = None if method == self.parts["method"].value else "none"


def _example(table) -> str:
    """A condition that this table's own columns can meet."""
    from pandas.api import types

    for name in table.columns:
        known = table[name].dropna()
        if str(name).isidentifier() and types.is_numeric_dtype(known) and known.nunique() > 1:
            return f"{name} > {float(known.median()):.3g}"
    return "index < 100"


def _options(values) -> list[tuple[str, object]]:
    """Words and what they stand for: widgets send the words as JSON."""
    return [(printable(value), value) for value in values]
