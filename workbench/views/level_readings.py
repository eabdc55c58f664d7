"""What follows from the levels that blocks of an embedding say, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked
from ..core.errors import ParameterError
from ..core.labels import known
from .readings import compared

if TYPE_CHECKING:
    import pandas as pd


@checked
def levels_sentences(judged: pd.DataFrame, groups: ArrayLike) -> list[str]:
    """What follows from the levels that blocks say: against chance, a constant, and one number of the input.

    Parameters
    ----------
    judged : pandas.DataFrame
        Of :meth:`workbench.prototypes.Explanation.judge`.
    groups : array_like (n,)
        Group of each test clip.

    Returns
    -------
    list of str
        For :func:`~.readings.reading`.

    Raises
    ------
    ParameterError
        Another table.
    """
    needed = {"read rightly", "read low", "read high", "chance", "best constant", "difference", "low", "high"}
    if not needed <= set(judged.columns) or "all" not in judged.index:
        raise ParameterError("judged", list(judged.columns), "a table of Explanation.judge")
    mean, groups = judged.loc["all"], known(groups, name="groups")
    blocks, words = (
        "what the blocks say",
        {"of": "Levels read rightly", "missing": "one group of test clips has no interval"},
    )
    nothing = "So it is not shown that this explanation has learnt anything that was not handed to it."
    learnt = (
        "So the network has put together what no single number says." if mean["read low"] > mean["chance"] else nothing
    )
    over_chance = [mean[end] - mean["chance"] for end in ("read rightly", "read low", "read high")]
    over_input = [mean[end] for end in ("difference", "low", "high")]
    ends = {"above": learnt, "below": nothing, "level": nothing}
    sentences = [
        compared(blocks, "chance", over_chance, **words),
        compared(blocks, "the best single number of the input", over_input, **words, **ends),
    ]
    for name, row in judged.drop(index="all").iterrows():
        if row["best constant"] >= row["read rightly"]:
            constant, block = (f"{row[share]:.0%}" for share in ("best constant", "read rightly"))
            sentences.append(
                f"{name}: to say one level always would be right about {constant}, the block is about {block}."
            )
    if (count := len(np.unique(groups))) == len(groups):
        sentences.append(
            "No clips share a group. If they share a speaker or a source, numbers are too high and intervals too short."
        )
    else:
        sentences.append(f"Groups of test clips: {count}.")
    return sentences
