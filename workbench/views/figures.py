"""The figure all plots are drawn on, and how labels are put on it."""

from __future__ import annotations

import functools
import io


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


def plain(*texts) -> None:
    """Show these texts as they are, dollar signs and all."""
    for text in texts:
        text.set_parse_math(False)


def short(text: object, most: int = 28) -> str:
    """A label of at most ``most`` characters."""
    text = str(text)
    return text if len(text) <= most else text[: most - 1] + "…"
