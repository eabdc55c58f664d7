"""The figure all plots are drawn on, and how labels are put on it."""

from __future__ import annotations

import functools
import io

from .page import printable


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


def entitle(figure, title: str | None) -> None:
    """Put a title over the figure, if there is one."""
    if title:
        plain(figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11))


def explain_lines(figure, *given) -> None:
    """A legend right of the figure, of (handles, labels) or of all that its axes name."""
    plain(*figure.legend(*given, loc="outside right upper", frameon=False, fontsize=9).get_texts())


def open_axes(ax, *, grid: str) -> None:
    """Axes without a box, with faint lines across "x", "y" or "both"."""
    ax.grid(axis=grid, alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


def plain(*texts) -> None:
    """Show these texts as they are, dollar signs and all, as far as they can be written."""
    for text in texts:
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))


def in_legend(name: object) -> str:
    """A name as a label: one that begins with "_" would be left out of the legend."""
    return f"\u200b{name}" if str(name).startswith("_") else str(name)


def short(text: object, most: int = 28) -> str:
    """A label of at most ``most`` characters that can be written: an axis gives its ticks their texts again."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"
