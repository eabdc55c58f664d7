"""What one can look at and hear: the base of every page, and what its HTML is made of.

A page is one piece of HTML that draws itself from data inside it. The same output is the live view in JupyterLab, the
view in a notebook opened again without a kernel, and the static twin in an exported page without a network. Where
scripts are stripped a still picture, words or plain players remain.

Why not one widget for everything: what a widget draws is gone when the kernel is. A notebook opened again the next day
shows "model not found" in its place, and an exported page needs the widget's state and a script from a content network.
So a widget model without a view (anywidget, ``static/link.js``), which leaves nothing in the notebook, lends a page the
kernel while there is one: what the page does not carry, and the selection.

Where scripts in HTML do not run or no such model can be reached (marimo, VS Code, Colab) the same scripts draw the same
page as an anywidget (``Page.widget``, ``static/widget.js``), and displaying shows that.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import html
import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..core.checks import number
from ..core.errors import ParameterError, WorkbenchError
from ..core.files import write_whole
from .sounds import Sound, check_length, compress, cut, duration, waveform


class Page(ABC):
    """What one can look at and hear: it displays itself, plays without kernel and network, and can be saved.

    A page class names its files and says what it shows without scripts (``_still``; ``_titled`` puts a title above and
    a note below). It may carry data for its script (``_pack``) and answer what the script asks the kernel
    (``_answer``).

    Parameters
    ----------
    title : str or None
    seconds : float or None
        Longest part of a sound that plays, from the beginning; None for all.
    megabytes : float
        Room for sound and pictures (10^6 bytes).
    gain_db : float
        Applied to every sound.
    format : {"mp3", "ogg", "wav", "flac"}

    Raises
    ------
    ParameterError
        A length or a room that is no number above 0 (the room may be 0).
    """

    #: CSS classes of the page's element.
    _element = "wb-players"
    _styles: tuple[str, ...] = ("players.css",)
    _scripts: tuple[str, ...] = ("players.js",)
    #: A JavaScript class or function in one of the scripts, called with the element and the data.
    _view = ""
    #: Whether the script draws all that is seen, in the place of what ``_still`` gives.
    _drawn = False
    _packed = ""
    #: Stands for the data: the same data has the same key.
    key = ""
    _link = None
    _widget = None
    #: What the page asks the kernel (a message from ``link.ask``) -> what it gets, None where it asks nothing.
    _answer: Callable[[dict], dict] | None = None

    def __init__(
        self,
        title: str | None,
        *,
        seconds: float | None = None,
        megabytes: float = 0.0,
        gain_db: float = 0.0,
        format: str = "mp3",
    ):
        check_length("seconds", seconds)
        self.title, self.gain_db = title, gain_db
        self._seconds, self._format, self._selected, self._models = seconds, format, [], []
        self._room = 1e6 * number("megabytes", megabytes, least=0)

    # --- sounds, and the room they take

    def _sound(self, name: str, x, rate: int, *, gain_db: float | None = None) -> Sound:
        """A sound of the page: checked (an AudioError names it), cut, at the page's gain, compressed."""
        x, rate = waveform(name, x, rate)
        gain_db = self.gain_db if gain_db is None else gain_db
        short = cut(x, rate, seconds=self._seconds)
        return compress(short, rate, total=len(x) / rate, gain_db=gain_db, format=self._format)

    def _take(self, size: float) -> bool:
        """Take so many bytes of the page's room; False if there were fewer."""
        self._room -= size
        return self._room >= 0

    def _fitting(self, pieces: Iterable[tuple[Hashable, Any, float]]) -> dict:
        """The first pieces (key, piece, bytes) that there is room for; no more are made than needed."""
        fitting: dict = {}
        for key, piece, size in pieces:
            if not self._take(size):
                break
            fitting[key] = piece
        return fitting

    def _carry(self, sounds: Iterable[tuple], *, more: float = 0.0) -> dict[Any, Sound]:
        """The first sounds (key, name, x, rate) that there is room for, with ``more`` bytes beside each."""
        made = ((key, self._sound(*sound)) for key, *sound in sounds)
        return self._fitting((key, sound, sound.size + more) for key, sound in made)

    # --- what is seen

    @property
    def html(self) -> str:
        """The page as HTML that needs neither kernel nor network; where scripts are stripped something remains."""
        data = f'<script type="text/plain" class="wb-data">{self._packed}</script>' if self._packed else ""
        start = f"\nshowPage(document.currentScript, {self._view});" if self._view else ""
        return (
            f'<div class="{self._element}" data-lm-suppress-shortcuts="true"><style>{_static(*self._styles)}</style>'
            f"{self._still()}{data}<script>(() => {{\n{_static(*self._script_files())}{start}\n}})();</script></div>"
        )

    @classmethod
    def _script_files(cls) -> tuple[str, ...]:
        """The files in ``static/`` whose code the page carries."""
        return ("one_sound.js", *(("page.js",) if cls._view else ()), *cls._scripts)

    @abstractmethod
    def _still(self) -> str:
        """HTML that can be read without scripts; where a script draws the page, what stands there until it has."""

    def _titled(self, body: str, note: str) -> str:
        """HTML under the page's title, and under it the words of a note: gain, scales, what is left out."""
        title = f'<div class="wb-title" style="white-space:pre-line">{escape(self.title)}</div>' if self.title else ""
        return f'{title}{body}<div class="wb-note">{escape(note)}</div>'

    def _one_gain(self) -> str:
        return f"All sounds at one gain of {signed(self.gain_db, 1)} dB: levels can be compared."

    def _played(self) -> str:
        """How much of each clip plays, and at which gain."""
        part = "whole clips" if self._seconds is None else f"at most the first {duration(self._seconds)} of a clip"
        return part + (f", all at {self.gain_db:+.1f} dB" if self.gain_db else ", each at its own level")

    def _pack(self, data: dict) -> None:
        """Give the script its data, and the page the key that stands for them.

        JSON -> gzip -> base64, which contains no character that means anything in HTML: what labels hold cannot leave
        its place.
        """
        self.key = hashlib.sha256(_json(data)).hexdigest()[:16]
        packed = gzip.compress(_json(data | {"key": self.key}), 6, mtime=0)
        self._packed = base64.b64encode(packed).decode("ascii")

    def save(self, path: str | os.PathLike) -> Path:
        """Write the page as one HTML file that needs no other file and no network; all of it or nothing.

        Parameters
        ----------
        path : path
            Should end in ``.html``; the folder must exist.

        Raises
        ------
        ParameterError
            The path is a folder, or in one that does not exist or that cannot be written to.
        """
        try:
            path = Path(path)
        except TypeError:
            raise ParameterError("path", path, "a path of a file") from None
        check_file("path", path)
        text = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{escape(self.title or type(self).__name__)}</title>"
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<style>body{margin:24px;background:#fff;font-family:system-ui,sans-serif}"
            "@media screen and (prefers-color-scheme:dark){body{background:#1d1f22;color:#e8eaed;color-scheme:dark}}"
            "</style></head>"
            f"<body>{self.html}</body></html>\n"
        )
        try:
            write_whole(path, text.encode())
        except (OSError, ValueError) as error:  # no permission, no room, a name too long or with a NUL
            raise ParameterError("path", str(path), f"a file that can be written ({error})") from error
        return path

    def _repr_html_(self) -> str:
        return self.html

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict | tuple[dict, dict]:
        if _in_kernel():
            self.connect()
        page = {"text/html": self.html, "text/plain": repr(self)}
        if not _widgets_alone():
            return page
        shown = self._shown()._repr_mimebundle_()
        data, metadata = shown if isinstance(shown, tuple) else (shown, {})
        return data | page, metadata

    def _display_(self):
        """What marimo shows."""
        return self.widget

    # --- the kernel

    @property
    def widget(self):
        """The page as a widget (anywidget.AnyWidget): for marimo's ``mo.ui.anywidget``, or inside other widgets.

        Its ``selected`` is the page's selection, both ways. Displaying the page itself shows it in marimo, VS Code and
        Colab; in JupyterLab the page's HTML is shown, which outlives the kernel.
        """
        if self._widget is None:
            still = "" if self._drawn else self._still()
            inside = f"<style>{_static(*self._styles)}</style>{still}"
            parts = {"element": self._element, "inside": inside, "packed": self._packed}
            self._widget = self._open(_widget_class(type(self)), **parts)
        return self._widget

    def _shown(self):
        """The widget that displaying shows where HTML cannot reach the kernel."""
        return self.widget

    def connect(self) -> None:
        """Open the channel to the kernel, where the page asks it anything; displaying the page does it."""
        if self._answer is not None and self._link is None:
            self._link = self._open(_link_class())

    def _open(self, kind: type, **parts: str):
        """A model on the other side, which knows what is selected and asks for what the page does not carry."""
        model = kind(key=self.key, selected=self._selected, **parts)
        model.on_msg(self._reply)
        model.observe(lambda change: self._choose(change.new), "selected")
        self._models.append(model)
        return model

    def _reply(self, link, message: dict, _) -> None:
        try:
            answer = self._answer(message)
        except Exception as error:  # whatever it is, the person who asked must see it instead of silence
            answer = {"error": reason(error)}
        data = answer.pop("data", None)
        link.send({"ticket": message.get("ticket")} | answer, buffers=[] if data is None else [data])

    def _chosen(self) -> list[int]:
        """What is selected, here or on the page."""
        return self._selected

    def _choose(self, positions: list[int]) -> bool:
        """Select here and wherever the page is seen; False where that was selected already."""
        if positions == self._selected:
            return False
        self._selected = positions
        for model in self._models:
            model.selected = positions
        return True


def reason(error: Exception) -> str:
    """An error as the words that a person is shown."""
    return str(error) if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}"


def _shell():
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _in_kernel() -> bool:
    """True inside a Jupyter kernel (also a headless one), False in a script or a plain IPython shell."""
    return getattr(_shell(), "kernel", None) is not None


def _widgets_alone() -> bool:
    """True in VS Code and Colab, which show widgets but do not let scripts in HTML reach them."""
    # VS Code gives the kernel of a notebook this variable, wherever the kernel runs; Colab's kernel imports the module.
    return "google.colab.output" in sys.modules or "__vsc_ipynb_file__" in getattr(_shell(), "user_ns", {})


@functools.cache
def _link_class():
    import anywidget
    import traitlets

    class PageLink(anywidget.AnyWidget):
        _esm = _module("initialize", "link.js")
        key = traitlets.Unicode().tag(sync=True)
        selected = traitlets.List(traitlets.Int()).tag(sync=True)

    return PageLink


@functools.cache
def _widget_class(kind: type[Page]):
    """The widget of a page class: the code that its HTML carries, told what to draw."""
    import traitlets

    class PageWidget(_link_class()):
        _esm = _module("initialize, render", *kind._script_files(), "link.js", "widget.js", view=kind._view)
        element = traitlets.Unicode().tag(sync=True)
        inside = traitlets.Unicode().tag(sync=True)
        packed = traitlets.Unicode().tag(sync=True)

    return PageWidget


def _module(names: str, *files: str, view: str = "") -> str:
    """Files in ``static/`` as one JavaScript module that a widget runs."""
    return f"{_static(*files)}\nconst View = {view or 'null'};\nexport default {{ {names} }};\n"


def check_file(name: str, path: Path) -> None:
    """Refuse a folder, and a file in a folder that does not exist."""
    if path.is_dir() or not path.parent.is_dir():
        raise ParameterError(name, str(path), "a file, no folder" if path.is_dir() else "in a folder that exists")


@functools.cache
def _static(*names: str) -> str:
    """The code of files in ``static/``, one after the other, without indents and comments.

    It stands inside ``<script>`` and ``<style>``, so none of the files may contain ``</script`` or ``</style``. No text
    in them runs over several lines or holds "// ", which begins a comment.
    """
    folder = resources.files(__package__) / "static"
    lines = [line for name in names for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    return "\n".join(filter(None, (re.sub(r"(^|\s)// .*", "", line).strip() for line in lines)))


def _json(data: dict) -> bytes:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return text.encode("utf-8", "replace")


def array(values: np.ndarray, dtype: str) -> str:
    """Numbers as base64 of little-endian ``dtype`` ("<u2" or "<f4")."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")


def printable(text: object) -> str:
    """Text that can be written: file names that are no UTF-8 bring in halves of characters, which become "?"."""
    return str(text).replace("\0", "?").encode("utf-8", "replace").decode("utf-8")


def escape(text: object) -> str:
    """Text for HTML, quotes included."""
    return html.escape(printable(text))


def signed(value: float, digits: int = 2) -> str:
    """ "+0.83" or "−0.20"."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def percent(probability: float) -> str:
    """ "83.2 %"."""
    return f"{100 * probability:.1f} %"
