"""The live end of a sound map: a widget model without a view, through which a page reaches the kernel.

Why not one widget for everything: what a widget draws is gone when the kernel is. A notebook opened again the next
day shows "model not found" in its place, and an exported page needs the widget's state and a script from a content
network. So the output of a sound map is plain HTML that draws itself anywhere, and this model, which leaves nothing in
the notebook, lends it the kernel while there is one: sounds by index, and the selection.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from ..core.errors import WorkbenchError
from .page import static
from .sounds import MEDIA, Sound


def in_kernel() -> bool:
    """True inside a Jupyter kernel (also a headless one), False in a script or a plain IPython shell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


@functools.cache
def _link_class():
    import anywidget
    import traitlets

    class SoundMapLink(anywidget.AnyWidget):
        _esm = static("link.js")
        key = traitlets.Unicode().tag(sync=True)
        selected = traitlets.List(traitlets.Int()).tag(sync=True)

    return SoundMapLink


def open_link(key: str, size: int, sound: Callable[[int], Sound], selected: list[int]):
    """Open the channel for the map with this key.

    Parameters
    ----------
    key : str
        Of the packed data; the page's maps with the same key use this link.
    size : int
        Number of points.
    sound : callable
        Index -> Sound; what it raises is shown on the page.
    selected : list of int
        What is selected at first.

    Returns
    -------
    anywidget.AnyWidget
        With a trait ``selected`` (list of int), kept equal with the page.
    """
    link = _link_class()(key=key, selected=selected)

    def answer(_, message: dict, __) -> None:
        if message.get("kind") != "sound":
            return
        index = message.get("index")
        try:
            if not isinstance(index, int) or not 0 <= index < size:
                raise WorkbenchError(f"no point {index!r}")
            clip = sound(index)
        except Exception as error:  # whatever it is, the person who clicked must see it instead of silence
            text = str(error) if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}"
            link.send({"kind": "error", "index": index, "text": text})
        else:
            reply = {"kind": "sound", "index": index, "caption": clip.caption, "media": MEDIA[clip.format]}
            link.send(reply, buffers=[clip.data])

    link.on_msg(answer)
    return link
