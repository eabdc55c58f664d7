"""How a long job says how far it is."""

from __future__ import annotations

import functools
import html
import io
import sys
from collections.abc import Callable

from .errors import ParameterError

Progress = Callable[[int, int], None]
"""Called with what is done and how much there is in all."""


def reporter(progress: Progress | bool | None, name: str | None = None) -> Progress:
    """What a job calls to say how far it is: a bar (True), nothing (False, None), or the caller's own function.

    ``name`` stands before the bar.

    Raises
    ------
    ParameterError
        ``progress`` is something else.
    """
    if callable(progress):
        return progress
    if progress is None or progress is False:
        return lambda done, total: None
    if progress is not True:
        raise ParameterError("progress", progress, "True, False, None or a function of (done, total)")
    bars = []

    def show(done: int, total: int) -> None:
        bar = bars[0] if bars else progress_bar(total=total, leave=False, desc=name)
        bars[:] = [bar]
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return show


def progress_bar(*args, **options):
    """A bar of tqdm, of the same arguments: text in a terminal or a log, in a notebook an output of its own.

    tqdm's own bar for notebooks is a widget. A notebook that is saved keeps the widget's place, not the widget, and
    says so when it is opened again ("widget model not found"); what stands here is plain HTML, which is emptied when
    the bar is closed, unless it is to be left.

    Parameters
    ----------
    *args, **options
        Those of ``tqdm.tqdm``.
    """
    from tqdm.std import tqdm

    return (_notebook_bar() if _in_notebook() else tqdm)(*args, **options)


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    ipython = sys.modules.get("IPython")  # nobody who runs in a kernel has not imported it
    shell = ipython.get_ipython() if ipython is not None else None
    return "IPKernelApp" in getattr(shell, "config", {})


@functools.cache
def _notebook_bar() -> type:
    from IPython.display import display
    from tqdm.std import tqdm

    class NotebookBar(tqdm):
        """A bar that shows its text in one output, and changes that."""

        def __init__(self, *args, **options):
            self._shown = None
            options |= {"file": io.StringIO(), "ascii": False, "ncols": options.get("ncols") or 80}
            super().__init__(*args, **options)

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            text = str(self) if msg is None else msg
            page = f'<pre style="margin:0">{html.escape(text)}</pre>' if text else ""
            data = {"text/html": page, "text/plain": text}
            if self._shown is not None:
                self._shown.update(data, raw=True)
            elif text:
                self._shown = display(data, raw=True, display_id=True)

        def clear(self, nolock: bool = False) -> None:
            """Nothing stands in the way of what is printed."""

    return NotebookBar
