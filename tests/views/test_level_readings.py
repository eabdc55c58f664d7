"""Sentences on levels: what the numbers allow to be said, and no more."""

import numpy as np
import pandas as pd
import pytest

from workbench import ParameterError
from workbench.views import levels_sentences


def sentences(groups=None, **changes):
    row = {"read rightly": 0.7, "read low": 0.6, "read high": 0.8, "chance": 0.5, "best constant": 0.6}
    row |= {"difference": 0.2, "low": 0.1, "high": 0.3} | changes
    judged = pd.DataFrame([row, row], index=["pitch", "all"])
    return levels_sentences(judged, np.arange(60) // 3 if groups is None else groups)


def test_sentences_on_levels_say_what_the_numbers_allow():
    over_chance, over_input, count = sentences()
    assert count == "Groups of test clips: 20."
    assert "lies above chance, by 20.0 points [10.0 to 30.0]" in over_chance
    assert "lies above the best single number" in over_input and "no single number says" in over_input
    for changes in ({"low": -0.1}, {"difference": -0.2, "low": -0.3, "high": -0.1}, {"read low": 0.45}):
        assert "not shown that this explanation has learnt anything" in sentences(**changes)[1]
    alone = sentences(np.zeros(60), **dict.fromkeys(("low", "high", "read low", "read high"), np.nan))
    assert all("nothing follows" in text for text in alone[:2]) and "Groups of test clips: 1." in alone[2]
    assert sentences(**{"best constant": 0.9})[2].startswith("pitch: to say one level always would be right about 90%")
    assert "No clips share a group" in sentences(np.arange(60))[2]
    with pytest.raises(ParameterError, match="judged"):
        levels_sentences(pd.DataFrame({"low": [1.0]}), np.arange(3))
