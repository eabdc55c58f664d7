"""Text for Markdown in which nothing is markup."""

from __future__ import annotations

import re


def markdown(text: object) -> str:
    r"""A text as one line of Markdown, or a cell of its tables: every mark that would format it is escaped.

    Examples
    --------
    >>> print(markdown("a|b *c*"))
    a\|b \*c\*
    """
    return re.sub(r"([\\`*_\[\]<>|#$~])", r"\\\1", " ".join(str(text).split()))
