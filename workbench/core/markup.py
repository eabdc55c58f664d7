"""Escape text for Markdown."""

from __future__ import annotations

import re


def markdown(text: object) -> str:
    r"""Return a text as one line of Markdown, or as a cell of a table, with all formatting characters escaped.

    Examples
    --------
    >>> print(markdown("a|b *c*"))
    a\|b \*c\*
    """
    return re.sub(r"([\\`*_\[\]<>|#$~])", r"\\\1", " ".join(str(text).split()))
