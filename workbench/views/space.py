"""Points in space, to be turned with the mouse or the arrow keys: 3-D scatter plots of plotly, which work offline.

The page carries plotly's code, packed (2.0 MB instead of 4.8); a browser that has it already does not start it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from .colours import PALETTE
from .inputs import mapping, texts
from .page import Page, escape, printable


@checked
def turnable(
    sets: Mapping[str, ArrayLike], *, names: Sequence[str] | None = None, title: str | None = None
) -> Turnable:
    """Draw sets of points, such as prototypes, in three dimensions side by side; turning one turns all.

    Parameters
    ----------
    sets : mapping of title -> array_like (C, 3)
        Points, drawn as lines from the origin, in one scale for all sets; the faint sphere has radius 1.
    names : sequence of str, optional
        Written at the points, one for each of the C points of every set; by default 1, 2, ...
    title : str, optional

    Returns
    -------
    Turnable
        Displays itself; ``figures`` are plotly figures, one a set.

    Raises
    ------
    ParameterError
        No set, one that is not (C, 3) and finite, or names of another number.
    """
    sets = mapping("sets", sets, "a mapping of title to points (C, 3)")
    if not sets:
        raise ParameterError("sets", sets, "at least one set of points")
    names = None if names is None else texts("names", names)
    arrays = {}
    for name, values in sets.items():
        points = arrays[str(name)] = numbers(f"sets[{name!r}]", values, empty=True).astype(np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.abs(points).max() < 1e100:
            raise ParameterError(f"sets[{name!r}]", f"array of shape {points.shape}", "below 1e100, of shape (C, 3)")
        if names is not None and len(names) != len(points):
            raise ParameterError("names", f"{len(names)} names", f"one for each of {len(points)} points of {name}")
    return Turnable(arrays, names, title)


class Turnable(Page):
    """Points to be turned, made by :func:`turnable`; display it and drag.

    Attributes
    ----------
    sets : dict of str to np.ndarray (C, 3)
    figures : dict of str to plotly.graph_objects.Figure
    """

    _element, _styles, _scripts, _view = "wb-players wb-space", ("players.css", "space.css"), ("space.js",), "turnSpace"

    def __init__(self, sets: dict[str, np.ndarray], names: list[str] | None, title: str | None):
        from plotly.offline import get_plotlyjs

        super().__init__(title)
        self.sets = sets
        radius = max(1.0, *(float(np.linalg.norm(points, axis=1).max()) for points in sets.values()))
        self.figures = {name: _figure(points, names, radius) for name, points in sets.items()}
        figures = [json.loads(figure.to_json()) for figure in self.figures.values()]
        self._pack({"figures": figures, "plotly": get_plotlyjs()})

    def _still(self) -> str:
        scenes = []
        for name, points in self.sets.items():
            name, words = escape(name), escape(_described(points))
            scene = f'<div class="wb-scene" tabindex="0" role="img" aria-label="{name}: {words}"></div>'
            scenes.append(f"<figure>{scene}<figcaption><b>{name}</b>{words}</figcaption></figure>")
        note = "Drag to turn, or use the arrow keys; a double click turns back. The sphere has radius 1."
        return self._titled(f'<div class="wb-scenes">{"".join(scenes)}</div>', note)

    def __repr__(self) -> str:
        return f"Turnable({', '.join(f'{name} {points.shape}' for name, points in self.sets.items())})"


def _figure(points: np.ndarray, names: list[str] | None, radius: float):
    """A sphere of radius 1 and the points around the origin, in a cube that reaches to ``radius``."""
    from plotly import graph_objects as go

    turn = np.linspace(0, 2 * np.pi, 73)
    circle = np.stack([np.sin(turn), np.cos(turn), np.zeros(73)])
    colours = [PALETTE[c % len(PALETTE)] for c in range(len(points))]
    names = list(map(printable, names or range(1, len(points) + 1)))
    spokes = {"mode": "lines", "hoverinfo": "skip"}
    figure = go.Figure([go.Scatter3d(**_xyz(np.roll(circle, k, 0).T), line={"width": 1}, **spokes) for k in range(3)])
    for point, colour in zip(points, colours, strict=True):
        line = {"color": colour, "width": 5}
        figure.add_scatter3d(**_xyz(np.stack([0 * point, point])), line=line, **spokes)
    marker = {"color": colours, "size": 5}
    named = {"text": names, "customdata": list(map(escape, names))}  # what hovers is read as HTML, what is drawn is not
    named["hovertemplate"] = "%{customdata} (%{x:.3g}, %{y:.3g}, %{z:.3g})<extra></extra>"
    figure.add_scatter3d(**_xyz(points), mode="markers+text", marker=marker, **named)
    axis = {"visible": False, "range": [-1.15 * radius, 1.15 * radius]}
    camera = {"eye": {"x": 1.0, "y": -1.5, "z": 0.65}, "projection": {"type": "orthographic"}}
    scene = {"xaxis": axis, "yaxis": axis, "zaxis": axis, "camera": camera}
    scene |= {"aspectmode": "manual", "aspectratio": dict.fromkeys("xyz", 1.75)}  # as large as the frame allows
    margin, clear = dict.fromkeys("lrtb", 0), "rgba(0,0,0,0)"
    return figure.update_layout(scene=scene, margin=margin, showlegend=False, paper_bgcolor=clear, template="none")


def _xyz(points: np.ndarray) -> dict[str, list[float]]:
    return dict(zip("xyz", points.T.tolist(), strict=True))


def _described(points: np.ndarray) -> str:
    """ "4 points, smallest angle 109.5°, all of length 1"."""
    lengths = np.linalg.norm(points, axis=1)
    low, high = f"{lengths.min():.3g}", f"{lengths.max():.3g}"
    text = f"{len(points)} point{'s' * (len(points) > 1)}"
    if len(points) > 1 and lengths.min() > 0:
        cosines = (points @ points.T) / np.outer(lengths, lengths)
        widest = cosines[~np.eye(len(points), dtype=bool)].max()
        text += f", smallest angle {np.degrees(np.arccos(np.clip(widest, -1, 1))):.1f}°"
    return f"{text}, " + (f"length {low}" if low == high else f"lengths {low} to {high}")
