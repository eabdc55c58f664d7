"""Look around in embeddings: turn layer, projection, colour and filter, and keep what is selected.

What is displayed is a page like every other: the map of the first setting, which plays without kernel and network.
While a kernel answers, controls (ipywidgets, ``controls.py``) and the map that they turn take its place; they are made
when a page asks for them, so that nothing of them stays in a notebook. A projection is computed once for each layer,
method, setting, seed and choice of clips: another colour computes none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..core.checks import checked, choice, number, numbers, several, whole
from ..core.errors import ParameterError
from .controls import METHODS, SETTINGS, Controls
from .filtering import conditions, filtered
from .inputs import Audio, column, generated, source_of, table_of
from .maps import SoundMap, check_drawing, map_of
from .page import reason
from .points import positions
from .projection import Projection, project

if TYPE_CHECKING:
    import pandas as pd


@checked
def explore(
    embeddings,
    clips=None,
    *,
    layer: str | int | None = None,
    method: str = "pca",
    components: Sequence[int] = (1, 2),
    perplexity: float = 30.0,
    neighbours: int = 15,
    color: str | None = "label",
    where=None,
    query: str | None = None,
    seed: int = 0,
    standardise: bool = False,
    hover: str | Sequence[str] | None = None,
    sounds: int = 60,
    seconds: float | None = 5.0,
    megabytes: float = 3.0,
    format: Literal["mp3", "ogg", "wav", "flac"] = "mp3",
    gain_db: float = 0.0,
    audio: Audio | None = None,
    height: int = 440,
) -> Explorer:
    """Show embeddings as a map that sounds, with controls for its layer, projection, colour and clips.

    Parameters
    ----------
    embeddings : Embeddings, array (N, D), or mapping of name -> array (N, D)
        What :func:`workbench.embed` gives, or arrays with a row for each clip: layers, sparse codes, anything.
    clips : Clips or pandas.DataFrame, optional
        The N clips; by default those that were embedded. Arrays without clips are shown without sound and colour.
    layer : str or int, optional
        Name or position of what is shown first: by default the last layer of embeddings, the first of other arrays.
    method : {"pca", "tsne", "umap"}
    components, perplexity, neighbours
        Settings of PCA, t-SNE and UMAP: see :func:`workbench.views.project`.
    color : str or None
        Column that colours the points; None for one colour.
    where : mapping of column -> values, optional
        Only clips that have one of these values in this one column.
    query : str, optional
        Only clips that meet this condition, as ``pandas.DataFrame.query`` reads it: ``"f0 > 200 and label != 'belt'"``.
    seed, standardise, hover, sounds, seconds, megabytes, format, gain_db, audio, height
        As for :func:`workbench.views.sound_map`.

    Returns
    -------
    Explorer
        Displays itself; ``.selection``, ``.map`` and ``.state`` tell what is selected, shown and set.

    Raises
    ------
    ParameterError
        Arrays and clips that differ in length, an unknown layer, method or column, a condition that cannot be read or
        that no clip meets, and what :func:`project` refuses.
    """
    check_drawing(sounds, gain_db, height)
    names, read, first = _layers(embeddings)
    count = len(embeddings if first else read(names[0]))
    table, source = _clips(embeddings, clips, count, audio)
    if layer is None:
        layer = names[first]
    elif not isinstance(layer, str):
        layer = names[whole("layer", layer, least=-len(names), most=len(names) - 1)]
    if clips is None and color == "label" and "label" not in table.columns:
        color = None
    state = {"layer": layer, "method": method, "components": components, "perplexity": perplexity}
    state |= {"neighbours": neighbours, "color": color, "where": where, "query": query}
    page = {"seconds": seconds, "megabytes": megabytes, "format": format, "gain_db": gain_db}
    page |= {"hover": hover, "sounds": sounds, "height": height}
    made = generated(clips if clips is not None else getattr(embeddings, "clips", None))
    return Explorer(names, read, table, source, state | {"seed": seed, "standardise": standardise}, made, page)


def _layers(embeddings) -> tuple[list[str], Callable[[str], np.ndarray], int]:
    """Names, what gives the rows of one of them, and the place of the one that is shown first."""
    if hasattr(embeddings, "layers") and hasattr(embeddings, "layer"):
        return list(embeddings.layers), embeddings.layer, -1
    if not isinstance(embeddings, Mapping):
        array = numbers("embeddings", embeddings, ndim=2, finite=False)
        return ["embeddings"], lambda name: array, 0
    arrays = {str(name): numbers(f"embeddings[{name!r}]", x, ndim=2, finite=False) for name, x in embeddings.items()}
    if not arrays or len(arrays) < len(embeddings):
        raise ParameterError("embeddings", list(embeddings), "at least one array, each with a name of its own")
    lengths = {name: len(x) for name, x in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ParameterError("embeddings", lengths, "arrays of one length, a row for each clip")
    return list(arrays), arrays.__getitem__, 0


def _clips(embeddings, clips, count: int, audio: Audio | None) -> tuple[pd.DataFrame, Audio | None]:
    """The table of the rows, and where their sounds come from."""
    import pandas as pd

    clips = clips if clips is not None else getattr(embeddings, "clips", None)
    if clips is None:
        return pd.DataFrame({"id": [f"row {i}" for i in range(count)]}), source_of(None, audio)
    table, source = table_of(clips), source_of(clips, audio)
    skipped = len(getattr(embeddings, "skipped", ()))
    if len(table) == count:
        return table, source
    if not skipped or len(table) != count + skipped:
        raise ParameterError("clips", f"{len(table)} clips", f"as many as the embeddings have rows, {count}")
    valid = embeddings.valid  # a clip that could not be embedded has no row
    return table.iloc[valid], source and (lambda i: source(int(valid[i])))


class Explorer:
    """Embeddings to look around in, made by :func:`explore`; display it, turn its controls, read ``.selection``.

    Attributes
    ----------
    table : pandas.DataFrame (N,)
        The clips, a row for each row of the embeddings.
    layers : list of str
    """

    def __init__(self, layers, read, table, audio, state: dict, made: bool, page: dict):
        self.layers, self.table = layers, table
        self._read, self._audio, self._made, self._page = read, audio, made, page
        self._projections: dict[tuple, Projection] = {}
        self._maps: dict[str, tuple[SoundMap, np.ndarray]] = {}
        self._selected: list[int] = []
        self._following = False
        self._controls = self._box = None
        self._state = self._settled(state)
        self._draw("first", self._state, kind=FirstMap)
        self._first.explorer = self

    # --- what is set, shown and selected

    @property
    def state(self) -> dict[str, Any]:
        """The present setting, as arguments: ``explore(embeddings, clips, **state)`` shows the same map."""
        return dict(self._state)

    @property
    def map(self) -> SoundMap:
        """The present map, with as many sounds as a page carries; made when it is asked for."""
        if "whole" not in self._maps:
            self._draw("whole", self._state)
        return self._maps["whole"][0]

    @property
    def selection(self) -> pd.DataFrame:
        """Rows of the table that are selected, also those that another layer or a filter does not show."""
        return self.table.iloc[self._selected]

    def select(self, rows) -> None:
        """Select from Python: positions, a boolean mask (N,), or rows of the table (a DataFrame of them)."""
        self._choose(sorted(set(positions(rows, self.table))))

    def save(self, path: str | os.PathLike) -> Path:
        """Write the present map as one HTML file: see :meth:`Page.save <workbench.views.page.Page.save>`."""
        return self.map.save(path)

    @property
    def widget(self):
        """Controls and map as one widget (ipywidgets.VBox), for Jupyter, VS Code and Colab; made once."""
        if self._box is None:
            import ipywidgets

            self._controls = Controls(self.layers, self.table, self._state, self._turned)
            self._controls.say(self._words(self._state) + ".")
            live = self._draw("live", self._state, sounds=0)  # the kernel sends every sound
            self._box = ipywidgets.VBox([self._controls.box, live.widget])
        return self._box

    @property
    def html(self) -> str:
        """The map of the first setting as HTML that needs neither kernel nor network."""
        return self._first.html

    def _repr_html_(self) -> str:
        return self.html

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self._first._repr_mimebundle_(include, exclude)

    def _display_(self):
        """What marimo shows, which has controls of its own: the map."""
        return self.map

    def __repr__(self) -> str:
        layers = f"{len(self.layers)} layer{'s' * (len(self.layers) > 1)}"
        return f"Explorer({len(self.table):,} clips, {layers}; {self._words(self._state)})"

    @property
    def _first(self) -> FirstMap:
        return self._maps["first"][0]

    # --- from a setting to a map

    def _settled(self, state: dict) -> dict:
        """A setting in one spelling, all of it checked before anything is computed."""
        state = dict(state)
        choice("layer", state["layer"], self.layers)
        choice("method", state["method"], list(METHODS))
        state["components"] = tuple(several("components", state["components"], whole))
        state["perplexity"] = number("perplexity", state["perplexity"], least=1)
        state["neighbours"] = whole("neighbours", state["neighbours"], least=2)
        if state["color"] is not None:
            column("color", state["color"], self.table)
        return state | conditions(state["where"], state["query"], self.table)

    def _project(self, state: dict, rows: np.ndarray) -> Projection:
        """Where the clips lie; computed once."""
        setting = {SETTINGS[state["method"]]: state[SETTINGS[state["method"]]]}
        fixed = {name: state[name] for name in ("method", "seed", "standardise")}
        key = (state["layer"], *setting.values(), *fixed.values(), rows.tobytes())
        if key not in self._projections:
            z = self._read(state["layer"])
            self._projections[key] = project(z[rows] if len(rows) < len(z) else z, **fixed, **setting)
        return self._projections[key]

    def _draw(self, place: str, state: dict, *, kind: type[SoundMap] = SoundMap, **changed) -> SoundMap:
        """Make the map of a setting, which shows what is selected and tells what a person selects."""
        rows = filtered(self.table, state["where"], state["query"])
        panels, source = {"": self._project(state, rows)}, self._audio
        audio = source and (lambda i: source(int(rows[i])))
        count = f"{len(rows):,} of {len(self.table):,}" if len(rows) < len(self.table) else f"{len(rows):,}"
        made = " of generated audio" if self._made else ""
        title = f"{count} clips{made}, {_called(state['layer'])}: {panels[''].method}"
        color = None if state["color"] is None else self.table[state["color"]].iloc[rows]
        drawn = {"color": color, "seed": state["seed"], "title": title, "kind": kind} | self._page | changed
        view = map_of(panels, self.table.iloc[rows], audio, **drawn)
        view.select(self._among(rows))
        view.on_select(lambda _: self._taken(view, rows))
        self._maps[place] = view, rows
        return view

    def _words(self, state: dict) -> str:
        method, setting = METHODS[state["method"]], SETTINGS[state["method"]]
        shown = " and ".join(map(str, state[setting])) if method == "PCA" else f"{state[setting]:g}"
        return f"{method} of {_called(state['layer'])}, {setting} {shown}"

    def _turned(self, said: dict) -> None:
        """Show what the controls say; where that fails, they say why and the map stays."""
        asked = self._state | said
        if asked == self._state:
            return self._controls.say(self._words(self._state) + ".")
        words, started = self._words(asked), perf_counter()
        new = asked["method"] == "umap" and "umap" not in sys.modules
        self._controls.say(f"{words} ..." + new * " (the first UMAP of a kernel loads and compiles its code)")
        old = self._maps["live"][0]
        try:
            asked = self._settled(asked)
            known = len(self._projections)
            view = self._draw("live", asked, sounds=0)
        except KeyboardInterrupt:
            return self._controls.say(f"{words}: stopped. The map is still {self._words(self._state)}.", wrong=True)
        except Exception as error:  # whatever it is, the person who turned must see it instead of silence
            return self._controls.say(reason(error), wrong=True)
        self._state = asked
        self._maps.pop("whole", None)
        self._box.children = [self._controls.box, view.widget]
        old.widget.close()
        took = f"{perf_counter() - started:.1f} s" if len(self._projections) > known else "computed before"
        self._controls.say(f"{words}: {took}.")

    # --- the selection

    def _among(self, rows: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isin(rows, self._selected))

    def _taken(self, view: SoundMap, rows: np.ndarray) -> None:
        if not self._following:
            self._choose(rows[view.selected].tolist())

    def _choose(self, selected: list[int]) -> None:
        """Keep a selection and show it in every map."""
        self._selected, self._following = selected, True
        try:
            for view, rows in self._maps.values():
                view.select(self._among(rows))
        finally:
            self._following = False


def _called(layer: str) -> str:
    return f"layer {layer}" if layer.isdigit() else layer


class FirstMap(SoundMap):
    """The page of an :class:`Explorer`: the map of its first setting, whose place the controls take."""

    _scripts, _view = (*SoundMap._scripts, "explorer.js"), "ExplorerMap"
    #: Set by the explorer itself.
    explorer: Explorer

    def _data(self, *shown) -> dict:
        return super()._data(*shown) | {"explorer": True}

    def _shown(self):
        return self.explorer.widget

    def _answer(self, message: dict) -> dict:
        if message.get("kind") == "open":
            return {"model": self.explorer.widget.model_id}
        return super()._answer(message)

    def __repr__(self) -> str:
        return repr(self.explorer)
