"""The sound map: embeddings as points on a plane; hover to read, click to hear, lasso to get rows.

One small script of our own (``static/scatter.js``, ``static/sound_map.js``; a 2-D canvas, no library) draws the map.
While a kernel runs it sends the sounds of all points and takes the selection; without one, the points drawn with a ring
play what the page carries.

Why not plotly's FigureWidget, which would do the drawing: its script adds 4.8 MB to every page that must work without a
network, its callbacks live in the kernel, so that a click on an exported page is silent, and its output holds random
ids, so that a strict comparison of notebooks fails. Ours adds 36 kB, plays without a kernel, and is the same byte for
byte for the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..core.checks import checked, number, whole
from ..core.errors import AudioError, ParameterError
from .colours import MISSING, PALETTE, SHAPES, VIRIDIS, Coloured, colour_by
from .inputs import Audio, clip_name, column, generated, named_columns, source_of, table_of
from .page import Page
from .pictures import still_picture
from .points import colour_data, hover_data, panel_data, positions, spread
from .projection import Projection, project
from .sounds import MEDIA, Sound, amount, read

if TYPE_CHECKING:
    import pandas as pd


@checked
def sound_map(
    z,
    clips,
    *,
    method: str = "pca",
    color="label",
    hover: str | Sequence[str] | None = None,
    title: str | None = None,
    seed: int = 0,
    sounds: int = 60,
    seconds: float | None = 5.0,
    megabytes: float = 3.0,
    format: Literal["mp3", "ogg", "wav", "flac"] = "mp3",
    gain_db: float = 0.0,
    audio: Audio | None = None,
    height: int = 440,
    standardise: bool = False,
) -> SoundMap:
    """Show embeddings as a map that sounds.

    Parameters
    ----------
    z : array (N, D), or mapping of title -> array (N, D)
        Embeddings of the clips, in their order; with ``method="given"`` coordinates (N, 2). Several arrays become
        panels side by side whose hover, sound and selection are one.
    clips : Clips or pandas.DataFrame
        The N clips: an object with ``.table`` and ``.audio(i)``, or a table alone.
    method : {"pca", "tsne", "umap", "given"}
        See :func:`workbench.views.project`.
    color : str, or values (N,), or None
        Column (or values) that colours the points: numbers get a scale, anything else classes.
    hover : names of columns, optional
        Shown beside ``id``, ``label`` and the colour.
    title : str, optional
    seed : int
        Decides the projection and the choice of sounds.
    sounds : int
        How many points carry their sound in the output itself, spread over classes and plane; 0 for none.
    seconds : float or None
        Longest part of a clip that plays (None: all), counted from its beginning.
    megabytes : float
        Most sound (10^6 bytes, compressed) in the output; fewer points carry sound when it is reached.
    format : {"mp3", "ogg", "wav", "flac"}
    gain_db : float
        The same for all clips: nothing is rescaled clip by clip.
    audio : callable, optional
        i -> (x, rate), instead of ``clips.audio``.
    height : int
        Height of the plot in pixels.
    standardise : bool
        Scale every dimension to deviation 1 before the projection.

    Returns
    -------
    SoundMap
        Displays itself; ``.selection`` is the table of the selected rows, ``.widget`` the map for ``mo.ui.anywidget``.

    Raises
    ------
    ParameterError
        z and clips differ in length, an unknown column, NaN in z, and what :func:`project` refuses.

    Notes
    -----
    A clip that cannot be read carries no ring, and the note below the map names it.
    """
    table = table_of(clips)
    check_drawing(sounds, gain_db, height)
    panels = {}
    for name, values in (z if isinstance(z, Mapping) else {"": z}).items():
        shape = values.shape if hasattr(values, "shape") else (len(values),) if hasattr(values, "__len__") else ()
        rows = shape[0] if len(shape) else 0
        if rows != len(table) and not hasattr(values, "layers"):
            raise ParameterError("z", f"array of {rows} rows", f"as long as clips, which has {len(table)}")
        panels[str(name)] = project(values, method=method, seed=seed, standardise=standardise)
    if not panels:
        raise ParameterError("z", z, "an array or a mapping with at least one")
    first = next(iter(panels.values()))
    made = " of generated audio" if generated(clips) else ""
    title = title if title is not None else f"{len(table):,} clips{made}, {first.method}"
    page = {"title": title, "seconds": seconds, "megabytes": megabytes, "gain_db": gain_db, "format": format}
    options = {"color": color, "hover": hover, "seed": seed, "sounds": sounds, "height": height}
    return map_of(panels, table, source_of(clips, audio), **options, **page)


def check_drawing(sounds: int, gain_db: float, height: int) -> None:
    """Refuse options of a map that are out of range, before anything is projected."""
    whole("sounds", sounds, least=0)
    number("gain_db", gain_db, least=-120, most=120)
    whole("height", height, least=100, most=10_000)


def map_of(
    panels: Mapping[str, Projection],
    table: pd.DataFrame,
    audio: Audio | None,
    *,
    color,
    hover: str | Sequence[str] | None,
    seed: int,
    sounds: int,
    height: int,
    kind: type[SoundMap] | None = None,
    **page,
) -> SoundMap:
    """A map of points that have their places, with the options of :func:`sound_map`, checked by whoever calls."""
    coloured = _coloured(color, table)
    first = next(iter(panels.values()))
    carried = spread(first.xy, coloured.codes, sounds, seed=seed) if audio else []
    columns = _columns(table, coloured, hover)
    return (kind or SoundMap)(table, panels, coloured, columns, audio, carried, height, **page)


def _coloured(color, table) -> Coloured:
    import pandas as pd

    if color is None:
        return colour_by("all clips", pd.Series(["clip"] * len(table)))
    if isinstance(color, str):
        return colour_by(color, column("color", color, table))
    try:
        values = color if isinstance(color, pd.Series) else pd.Series(np.asarray(color))
    except (ValueError, TypeError, RuntimeError):  # ragged, of two axes, or nothing that is a list
        raise ParameterError(
            "color", type(color).__name__, "the name of a column, or one value for each clip"
        ) from None
    if len(values) != len(table):
        raise ParameterError("color", f"{len(values)} values", f"a column, or one value for each of {len(table)} clips")
    return colour_by(str(values.name) if values.name is not None else "colour", values)


def _columns(table, coloured: Coloured, hover) -> list[tuple[str, object]]:
    names = [name for name in ("id", "label") if name in table.columns]
    if coloured.name in table.columns:
        names.append(coloured.name)
    columns = [(name, column("hover", name, table)) for name in (*names, *named_columns("hover", hover))]
    return list(dict(columns).items())


class SoundMap(Page):
    """A map of clips, made by :func:`sound_map`; display it, listen, select, read ``.selection``.

    Attributes
    ----------
    carried : list of int
        Positions whose sound the output carries.
    failed : dict of int to str
        Clips that could not be read, by position, and why.
    """

    _element, _styles, _scripts, _view = (
        "wb-map",
        ("sound_map.css",),
        ("elements.js", "scatter.js", "sound_map.js"),
        "SoundMap",
    )
    _drawn, _picture = True, ""

    def __init__(self, table, panels, coloured, columns, audio, carried, height, **page):
        super().__init__(**page)
        self.table, self.panels, self._audio = table, panels, audio
        self._cache: dict[int, Sound] = {}
        self._observers: list[Callable] = []
        self.failed: dict[int, str] = {}
        self.carried = list(self._fitting(self._readable(carried)))
        self._coloured = coloured
        self._pack(self._data(coloured, columns, height))

    @checked
    def sound(self, i: int) -> Sound:
        """The compressed sound of clip ``i``; made once.

        Raises
        ------
        AudioError
            The clip cannot be read.
        ParameterError
            The map was made without audio.
        """
        if self._audio is None:
            raise ParameterError("audio", None, "given to sound_map for clips to be heard")
        if i not in self._cache:
            whole("i", i, least=0, most=len(self.table) - 1)
            name = clip_name(self.table, i)
            self._cache[i] = self._sound(name, *read(self._audio, i, name))
        return self._cache[i]

    def _readable(self, wanted: list[int]) -> Iterator[tuple[int, Sound, int]]:
        for i in wanted:
            try:
                sound = self.sound(i)
            except AudioError as error:
                self.failed[i] = str(error)
            else:
                yield i, sound, len(sound.data)

    def _data(self, coloured: Coloured, columns: list, height: int) -> dict:
        return {
            "n": len(self.table),
            "title": self.title,
            "height": height,
            "panels": [panel_data(name, panel) for name, panel in self.panels.items()],
            "colour": colour_data(coloured),
            "palette": PALETTE,
            "shapes": SHAPES,
            "scale": VIRIDIS,
            "missing": MISSING,
            "columns": [hover_data(name, column) for name, column in columns],
            "sounds": {str(i): [self.sound(i).base64, self.sound(i).caption] for i in self.carried},
            "media": MEDIA[self._format],
            "note": self._note(),
            "live_note": self._live_note(),
        }

    def _still(self) -> str:
        if not self._picture:
            self._picture = still_picture(next(iter(self.panels.values())), self._coloured, self.title)
        return self._picture

    def _note(self) -> str:
        n, k = len(self.table), len(self.carried)
        size = amount(sum(len(self._cache[i].data) for i in self.carried))
        if self._audio is None:
            return "These points came without sound."
        if k == n:
            return f"Click a point to hear it ({self._played()})." + self._failures()
        if not k:
            return "This page carries no sound; run the notebook to hear the points." + self._failures()
        return (
            f"Points with a ring play: {k:,} of {n:,} carry sound on this page ({size}; {self._played()}), "
            f"chosen to spread over the classes and the plane. Run the notebook to hear them all." + self._failures()
        )

    def _live_note(self) -> str:
        if self._audio is None:
            return "These points came without sound."
        return f"Every point plays; the kernel sends its sound ({self._played()})." + self._failures()

    def _failures(self) -> str:
        if not self.failed:
            return ""
        reasons = list(self.failed.values())
        more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        return f" Could not be read: {'; '.join(reasons[:3])}{more}."

    @property
    def selected(self) -> np.ndarray:
        """Positions of the selected clips, rising: (n,) int."""
        return np.array(self._chosen(), dtype=int)

    @property
    def selection(self):
        """Rows of the table that are selected (pandas.DataFrame, empty if none)."""
        return self.table.iloc[self.selected]

    def select(self, rows) -> None:
        """Select from Python: positions, a boolean mask (N,), or rows of the table (a DataFrame of them)."""
        self._choose(sorted(set(positions(rows, self.table))))

    def on_select(self, observer: Callable) -> None:
        """Call ``observer(rows)`` with the selected rows (DataFrame) whenever the selection changes."""
        if not callable(observer):
            raise ParameterError("observer", type(observer).__name__, "a function of the selected rows")
        self._observers.append(observer)

    def _choose(self, positions: list[int]) -> bool:
        changed = super()._choose(positions)
        for observer in self._observers if changed else ():
            observer(self.selection)
        return changed

    def _answer(self, message: dict) -> dict:
        sound = self.sound(message["index"])
        return {"caption": sound.caption, "media": MEDIA[sound.format], "data": sound.data}

    def __repr__(self) -> str:
        names = f" in {len(self.panels)} panels" if len(self.panels) > 1 else ""
        return f"SoundMap({self.title!r}: {len(self.table):,} points{names}, {len(self.carried):,} carry sound)"
