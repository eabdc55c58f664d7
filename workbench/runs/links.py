"""Links between the pages of a site: each must lead to a file that is there, and to a place in it that is there."""

from __future__ import annotations

import html.parser
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..core.errors import RunError

_TOP = {"", "top"}  # fragments that every page has


def broken_links(folder: str | os.PathLike) -> list[str]:
    """The links of a site's pages that lead nowhere.

    Read are the ``href``, ``src`` and ``poster`` of every element of every page; what scripts make is not. Addresses
    with a scheme (``https:``, ``data:``) are left alone, no network is used.

    Parameters
    ----------
    folder : path
        The site; its pages are the files below it whose names end in ``.html``.

    Returns
    -------
    list of str
        A line a link, with its page (relative to the folder), its address and what is wrong: a file or a place in it
        that is not there, a way out of the folder, or a path that begins at the host (``/index.html``), which a site
        in a folder of its host cannot have. Empty when all is well.

    Raises
    ------
    RunError
        There is no page, or one cannot be read.
    """
    root = Path(folder).resolve()
    pages = {path: _read(path) for path in sorted(root.rglob("*.html"))}
    if not pages:
        raise RunError(f"{folder}: no page of a site there (a file whose name ends in .html)")
    broken = []
    for path, page in pages.items():
        for link in page.links:
            problem = _problem(link, path, root, pages)
            if problem:
                broken.append(f"{path.relative_to(root).as_posix()}: {link[:200]} {problem}")
    return broken


def _problem(link: str, path: Path, root: Path, pages: dict[Path, _Page]) -> str:
    try:
        address = urlsplit(link.strip())
    except ValueError:
        return "is no address"
    if address.scheme or address.netloc:
        return ""
    if address.path.startswith("/"):
        return "begins at the host, not at the page"
    target = Path(os.path.normpath(path.parent / unquote(address.path))) if address.path else path
    if not target.is_relative_to(root):
        return "leads out of the site"
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "leads to a file that is not there"
    wanted = {address.fragment, unquote(address.fragment)}
    if target in pages and not wanted & (pages[target].places | _TOP):
        return "leads to a place that the page does not have"
    return ""


def _read(path: Path) -> _Page:
    page = _Page()
    try:
        page.feed(path.read_text(encoding="utf-8"))
        page.close()
    except (OSError, ValueError, AssertionError) as error:  # the last two: bytes or markup that cannot be parsed
        raise RunError(f"{path}: the page cannot be read ({error})") from error
    return page


class _Page(html.parser.HTMLParser):
    """The links of a page, each once, and the names of its places."""

    def __init__(self):
        super().__init__()
        self.links: dict[str, None] = {}
        self.places: set[str] = set()

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.places.add(value)
            elif name in ("href", "src", "poster") and not value.startswith("data:"):
                self.links[value] = None
