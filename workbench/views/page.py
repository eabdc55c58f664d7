"""What the views' HTML is made of: the static files, packed data, escaped text, and a page to put it in."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import html
import json
import os
from importlib import resources
from pathlib import Path

import numpy as np

from ..core.errors import ParameterError
from ..core.files import write_whole

__all__ = ["array", "drawing", "escape", "pack", "printable", "save_page", "static"]


def printable(text: object) -> str:
    """As text that can be written: file names that are no UTF-8 bring in halves of characters, which become "?"."""
    return str(text).replace("\0", "?").encode("utf-8", "replace").decode("utf-8")


def escape(text: object) -> str:
    """Text for HTML, quotes included."""
    return html.escape(printable(text))


@functools.cache
def static(*names: str) -> str:
    """Text of files in ``static/``, one after the other.

    They stand inside ``<script>`` and ``<style>``, so none of them may contain ``</script`` or ``</style``.
    """
    folder = resources.files(__package__) / "static"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def array(values: np.ndarray, dtype: str) -> str:
    """Numbers as base64 of little-endian ``dtype`` ("<u2" or "<f4")."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")


def pack(data: dict) -> tuple[str, str]:
    """JSON -> gzip -> base64, and a key of 16 hex digits that is the same for the same data.

    Base64 contains no character that means anything in HTML: what the labels hold cannot leave its place.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    raw = text.encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode("ascii"), key_of(raw)


def key_of(raw: bytes) -> str:
    """16 hex digits of the SHA-256."""
    return hashlib.sha256(raw).hexdigest()[:16]


def drawing(kind: str, still: str, packed: str, *, view: str, styles: tuple[str, ...], scripts: tuple[str, ...]) -> str:
    """HTML that draws itself from packed data, needing neither kernel nor network.

    Parameters
    ----------
    kind : str
        CSS class of the element, whose property ``wbView`` will be the JavaScript object.
    still : str
        HTML for where scripts are stripped; the script takes its place.
    packed : str
        Of :func:`pack`.
    view : str
        JavaScript class in one of ``scripts``: new View(element, data).
    styles, scripts : tuple of str
        Files in ``static/``.
    """
    return (
        f'<div class="{kind}"><style>{static(*styles)}</style>{still}'
        f'<script type="text/plain" class="wb-data">{packed}</script>'
        f"<script>(() => {{\n{static('one_sound.js', 'page.js', *scripts)}\n"
        f"showView(document.currentScript, {view});\n}})();</script></div>"
    )


def save_page(path: str | os.PathLike, body: str, *, title: str) -> Path:
    """Write a complete HTML page that needs no other file and no network; all of it or nothing.

    Parameters
    ----------
    path : path
        Should end in ``.html``; the folder must exist.
    body : str
        HTML, already escaped where needed.
    title : str
        Plain text; escaped here.

    Raises
    ------
    ParameterError
        The path is a folder, or in one that does not exist or that cannot be written to.
    """
    try:
        path = Path(path)
    except TypeError:
        raise ParameterError("path", path, "a path of a file") from None
    if path.is_dir() or not path.parent.is_dir():
        raise ParameterError("path", str(path), "a file, no folder" if path.is_dir() else "in a folder that exists")
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>body{margin:24px;background:#fff;font-family:system-ui,sans-serif}</style></head>"
        f"<body>{body}</body></html>\n"
    )
    try:
        write_whole(path, text.encode())
    except (OSError, ValueError) as error:  # no permission, no room, a name too long or with a NUL
        raise ParameterError("path", str(path), f"a file that can be written ({error})") from error
    return path
