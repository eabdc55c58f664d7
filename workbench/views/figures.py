"""The figure all plots are drawn on, and how axes are dressed."""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Sequence

from .colours import PALETTE
from .page import printable

#: A marker each beside the colour, so that lines stay apart in grey print too.
MARKERS = "osD^v<>P"
#: Width of a letter of a title in inches.
_LETTER = 0.095


@functools.cache
def _notebook_figure_class():
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that displays itself, sharp on dense screens, also where pyplot was never imported."""

        def _repr_png_(self):
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=160)
            width, height = (round(inches * 80) for inches in self.get_size_inches())
            return buffer.getvalue(), {"width": width, "height": height}

    return NotebookFigure


def new_figure(width: float, height: float):
    """An empty figure of width x height inches that shows itself in a notebook."""
    return _notebook_figure_class()(figsize=(width, height), dpi=80, layout="constrained")


def dress(
    ax,
    *,
    x: str | None = None,
    y: str | None = None,
    grid: str = "",
    title: str | None = None,
    legend: Sequence | None = None,
    picture=None,
    **bar,
) -> None:
    """Dress axes and their figure; texts are shown as they are.

    Parameters
    ----------
    ax : matplotlib Axes
    x, y : str, optional
        Labels of the axes.
    grid : {"", "x", "y", "both"}
        Faint lines across these axes, and no box; "" leaves both as they are.
    title : str, optional
        Over the figure, in as many lines as its width takes.
    legend : sequence, optional
        A legend right of the figure: (handles, labels), or () for all that the axes name.
    picture : optional
        An image of the axes, whose colours a bar explains (``bar``: options of the colour bar, such as ``label``).
    """
    for text, set_label in ((x, ax.set_xlabel), (y, ax.set_ylabel)):
        if text is not None:
            plain(set_label(text))
    for axis in (ax.xaxis, ax.yaxis):
        if type(axis.get_major_locator()).__name__ == "FixedLocator":  # ticks with names
            plain(*axis.get_ticklabels())
    if grid:
        ax.grid(axis=grid, alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    if title:
        width = int(ax.figure.get_size_inches()[0] / _LETTER)
        title = "\n".join(textwrap.fill(line, width) for line in title.split("\n"))
        plain(ax.figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11))
    if legend is not None:
        plain(*ax.figure.legend(*legend, loc="outside right upper", frameon=False, fontsize=9).get_texts())
    if picture is not None:
        ax.figure.colorbar(picture, ax=ax, **bar)


def mark(k: int) -> dict[str, str]:
    """Colour and marker of the k-th kind that a figure shows: 24 different pairs."""
    return {"color": PALETTE[k % len(PALETTE)], "marker": MARKERS[k % len(MARKERS)]}


def plain(*texts) -> None:
    """Show these texts as they are, dollar signs and all, as far as they can be written."""
    for text in texts:
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))


def apart(ax, notes: Sequence) -> None:
    """Move annotations (their text in offset points) beside, above or below their points until no two overlap.

    The axes must be dressed: from here on their labels leave the layout as it is. A line joins name and point.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for note in notes:
        note.set_in_layout(False)
    ax.figure.draw_without_rendering()
    renderer, inside, taken = FigureCanvasAgg(ax.figure).get_renderer(), ax.get_window_extent(), []
    places = [(6 + 3 * k, side, up * (3 + 9 * k)) for k in range(30) for up in (1, -1) for side in ("left", "right")]
    for note in notes:
        for away, side, up in places:
            note.xyann = (away if side == "left" else -away, up)
            note.set_ha(side)
            note.update_positions(renderer)
            box = Text.get_window_extent(note, renderer)
            if inside.contains(*box.min) and inside.contains(*box.max) and not box.count_overlaps(taken):
                break
        taken.append(box)


def in_legend(name: object) -> str:
    """A name as a label: one that begins with "_" would be left out of the legend."""
    return f"\u200b{name}" if str(name).startswith("_") else str(name)


def short(text: object, most: int = 28) -> str:
    """A label of at most ``most`` characters that can be written: an axis gives its ticks their texts again."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"
