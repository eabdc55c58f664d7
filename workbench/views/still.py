"""The picture of a map that is seen where scripts do not run (a notebook not trusted, a viewer that strips them)."""

from __future__ import annotations

import base64
import io
import warnings

import numpy as np

from .colours import MISSING, NO_VALUE, PALETTE, Coloured, shade
from .page import escape, printable
from .projection import Projection

_MARKERS = "osv^D*"


def still_picture(panel: Projection, coloured: Coloured, title: str) -> str:
    """HTML of a small picture with a line that says why nothing moves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=80, layout="constrained")
    ax = figure.add_subplot(xticks=[], yticks=[], xlabel=panel.axes[0], ylabel=panel.axes[1])
    ax.set_aspect("equal", adjustable="datalim")
    size = 26 if len(panel.xy) < 400 else 9 if len(panel.xy) < 4000 else 2
    for colour, marker, mask, label in _groups(coloured):
        ax.scatter(*panel.xy[mask].T, c=colour, marker=marker, s=size, linewidths=0, label=label)
    if coloured.kind == "category" and len(coloured.levels) <= 20:
        # A dollar sign would start a formula.
        legend = ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, frameon=False, markerscale=1.5)
        for text in legend.get_texts():
            text.set_parse_math(False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the map itself shows every script
        figure.savefig(buffer, format="webp", pil_kwargs={"quality": 80})
    picture = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<div class="wb-still"><img alt="{escape(title)}" src="data:image/webp;base64,{picture}">'
        f"<br>{escape(title)} (a picture: the map that plays needs scripts, which are loading or blocked here)</div>"
    )


def _groups(coloured: Coloured):
    if coloured.kind == "number":
        known = ~np.isnan(coloured.values)
        values = coloured.values[known]
        low, span = (values.min(), float(np.ptp(values)) or 1.0) if len(values) else (0.0, 1.0)
        yield shade((values - low) / span) / 255, "o", known, None
        yield MISSING, "o", ~known, None
        return
    for k, level in enumerate(coloured.levels):
        # A label that begins with an underscore would be left out of the legend.
        name = "\u200b" + printable(level if len(level) < 25 else level[:24] + "…")
        yield PALETTE[k % len(PALETTE)], _MARKERS[k // 8 % 6], coloured.codes == k, name
    yield MISSING, "o", coloured.codes == NO_VALUE, None
