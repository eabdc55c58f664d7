"""Sentences that are computed from the figure above them, and say when nothing follows.

A notebook is run on sounds, models and machines that its author never saw. What its prose says of a result would be
false on most of them, so it is not written but computed: :func:`compared` makes one sentence of one difference and its
interval, :func:`reading` shows some of them below a figure. What must be known before a figure is read stands first in
it: :func:`headed`.

Examples
--------
>>> from workbench.views import compared, reading
>>> text = compared("the trained network", "the untrained one", (0.045, 0.011, 0.079), of="Accuracy")
>>> print(text)
Accuracy: the trained network lies above the untrained one, by 4.5 points [1.1 to 7.9].
>>> print(compared("layer 4", "layer 0", (0.01, -0.03, 0.05)))
Accuracy: between layer 4 and layer 0 no difference that these data can show (+1.0 points [-3.0 to +5.0]).
>>> shown = reading(text)  # the last line of a cell
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from ..core.markup import markdown
from .page import escape


@checked
def compared(
    a: str,
    b: str,
    difference: ArrayLike,
    *,
    of: str = "Accuracy",
    factor: float = 100.0,
    unit: str = "points",
    digits: int = 1,
    above: str = "",
    below: str = "",
    level: str = "",
    missing: str = "there is no interval",
) -> str:
    """One sentence on whether a lies above b, with its numbers, or that these data do not show it.

    Parameters
    ----------
    a, b : str
        What is compared, as it is called in the middle of a sentence.
    difference : (3,) numbers
        a minus b, and the low and high bound of its interval. Bounds of NaN: there is no interval, and nothing follows.
    of : str
        The quantity; the sentence begins with it.
    factor : float
        What the numbers are multiplied by before they are written; 100 for shares given in points.
    unit : str
        Behind the number; may be empty.
    digits : int
        Decimals.
    above, below, level : str
        What follows where a lies above b, below it, or neither can be shown; a sentence each, or empty.
    missing : str
        Why there is no interval, where there is none.

    Returns
    -------
    str
        An interval that touches 0 shows no difference.

    Raises
    ------
    ParameterError
        Not three numbers, or bounds that do not hold the difference's order.
    """
    values = numbers("difference", difference, ndim=1, finite=False).astype(float) * factor
    if len(values) != 3 or values[1] > values[2]:
        raise ParameterError("difference", values.tolist(), "three numbers: the difference, its low and its high bound")
    mean, low, high = values
    unit = f" {unit}" if unit else ""
    if math.isnan(mean):
        return _sentence(f"{of}: {a} and {b} cannot be compared, {missing}", "")
    if math.isnan(low) or math.isnan(high):
        text = f"{of}: {a} against {b} {mean:+.{digits}f}{unit}, but {missing}: nothing follows"
        return _sentence(text, "")
    if low > 0 or high < 0:
        place, then = ("above", above) if low > 0 else ("below", below)
        ends = sorted((abs(low), abs(high)))
        size, least, most = (f"{value:.{digits}f}" for value in (abs(mean), *ends))
        return _sentence(f"{of}: {a} lies {place} {b}, by {size}{unit} [{least} to {most}]", then)
    span = f"{mean:+.{digits}f}{unit} [{low:+.{digits}f} to {high:+.{digits}f}]"
    return _sentence(f"{of}: between {a} and {b} no difference that these data can show ({span})", level)


def _sentence(text: str, then: str) -> str:
    return f"{text}. {then}".rstrip() if then else f"{text}."


class Reading:
    """Sentences that show themselves as a list in a notebook; ``str`` gives the plain text, one a line."""

    def __init__(self, sentences: Sequence[str]):
        self.sentences = tuple(sentences)

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return "\n".join(f"- {markdown(sentence)}" for sentence in self.sentences)

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.sentences)
        return f'<div class="workbench-reading"><b>Computed from these data</b><ul>{lines}</ul></div>'


@checked
def reading(*sentences: str | None) -> Reading:
    """Show sentences below a figure; those that are None or empty are left out.

    Parameters
    ----------
    *sentences : str or None
        Such as :func:`compared` gives, or any text whose numbers the cell has computed.

    Returns
    -------
    Reading
        Shows itself as the last line of a cell, or by ``display``.

    Raises
    ------
    ParameterError
        Something that is no text, or nothing to say at all.
    """
    for sentence in sentences:
        if sentence is not None and not isinstance(sentence, str):
            raise ParameterError("sentences", type(sentence).__name__, "texts, or None")
    kept = [sentence for sentence in sentences if sentence]
    if not kept:
        raise ParameterError("sentences", sentences, "at least one text")
    return Reading(kept)


@checked
def headed(title: str, *cautions: str | None) -> str:
    """A title with what a reader must know first above it, a line each: for the ``title`` of any figure or page.

    Parameters
    ----------
    title : str
    *cautions : str or None
        Those that are None or empty are left out.

    Returns
    -------
    str

    Examples
    --------
    >>> print(headed("Codes", "1,024 latents were fitted to 341 vectors: they can learn them by heart.", None))
    Caution: 1,024 latents were fitted to 341 vectors: they can learn them by heart.
    Codes
    """
    lines = [line for text in cautions if text for line in textwrap.wrap(f"Caution: {text}", 80)]
    return "\n".join([*lines, title])
