"""One picture and one sound out of an executed notebook, small enough for a page that lists many."""

from __future__ import annotations

import base64
import functools
import html.parser
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .notebooks import headings_of

WIDTH = 640
"""Pixels of a picture's width at most."""
LONGEST_SOUND = 350_000
"""Characters of a sound at most; a longer one is left for the notebook's own page."""
BUDGET = 1_300_000
"""Characters of all pictures and sounds of one page."""
_SMALLEST, _FLATTEST = 160, 5.0  # pixels of a side; the longer side to the shorter
_SOUND = re.compile(r"data:audio/[\w.+-]+;base64,[A-Za-z0-9+/=]+")
_BITMAP = re.compile(r"data:image/(?:png|jpeg|webp);base64,([A-Za-z0-9+/=\s]+)")


@dataclass(frozen=True)
class Preview:
    """What a reader sees and hears of a run before its page is opened; empty texts where there is nothing."""

    picture: str = ""
    """Address of the picture, its data included."""
    picture_of: str = ""
    """The heading it stands under."""
    sound: str = ""
    """Address of the sound, its data included."""
    sound_of: str = ""
    """What its player says it is."""


def previews(folder: Path, names: Iterable[str]) -> dict[str, Preview]:
    """Previews of the runs in a folder, by the name of their own folders, as many as one page can hold."""
    made, left = {}, BUDGET
    for name in names:
        (notebook, *_more) = [*(folder / name).glob("*.ipynb"), None]
        if notebook is None or left <= 0:
            continue
        about = notebook.stat()
        preview = _preview(notebook, about.st_mtime_ns, about.st_size)
        left -= len(preview.picture) + len(preview.sound)
        if left > 0:
            made[name] = preview
    return made


@functools.lru_cache(maxsize=64)
def _preview(notebook: Path, _changed: int, _size: int) -> Preview:
    """Preview of an executed notebook: the first figure, and the first player, of any of its cells."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):  # written by somebody else at this moment
        return Preview()
    picture = picture_of = sound = sound_of = ""
    for heading, kind, text in _shown(cells):
        if not picture and (found := _picture(kind, text)):
            picture, picture_of = found, heading
        if not sound and kind == "text/html" and (player := _player(text)):
            sound, sound_of = player
        if picture and sound:
            break
    return Preview(picture, picture_of, sound, sound_of)


def _shown(cells: list[dict]) -> Iterator[tuple[str, str, str]]:
    """Heading, kind and content of everything that the cells put out."""
    for heading, cell in zip(headings_of(cells), cells, strict=True):
        for output in cell.get("outputs", []):
            for kind, content in output.get("data", {}).items():
                text = "".join(content) if isinstance(content, list) else content
                if isinstance(text, str):
                    yield heading, kind, text


def _picture(kind: str, text: str) -> str:
    """A figure as a small webp, "" where the output shows none: icons, strips and blank ones are none."""
    if kind in ("image/png", "image/jpeg"):
        candidates = [text]
    else:
        candidates = (match[1] for match in _BITMAP.finditer(text)) if kind == "text/html" else []
    for data in candidates:
        if made := _small(data):
            return made
    return ""


def _small(data: str) -> str:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            sides = sorted(image.size)
            if sides[0] < _SMALLEST or sides[1] > _FLATTEST * sides[0]:
                return ""
            shown = image.convert("RGBA")
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    paper = Image.new("RGBA", shown.size, "white")
    paper.alpha_composite(shown)
    picture = paper.convert("RGB")
    if all(low == high for low, high in picture.getextrema()):
        return ""
    picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "webp", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _player(text: str) -> tuple[str, str] | None:
    """Address of the first sound of a page that is short enough, and what is written above it."""
    if "<audio" not in text:
        return None
    parser = _Players()
    parser.feed(text)
    return parser.found


class _Players(html.parser.HTMLParser):
    """Reads up to the first player whose sound is short enough."""

    def __init__(self):
        super().__init__()
        self.found: tuple[str, str] | None = None
        self.said: list[str] = []
        self.unseen = 0

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.unseen += tag in ("style", "script")
        address = given.get("src") or ""
        if tag in ("audio", "source") and self.found is None and address.startswith("data:audio/"):
            if len(address) <= LONGEST_SOUND and _SOUND.fullmatch(address):
                said = given.get("aria-label") or ", ".join(self.said[-2:])
                self.found = (address, said)
            self.said = []

    def handle_endtag(self, tag):
        self.unseen -= tag in ("style", "script")

    def handle_data(self, data):
        if not self.unseen and (text := " ".join(data.split())):
            self.said.append(text[:80])
