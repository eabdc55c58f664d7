"""Sentences that are computed: their numbers, their direction, and where nothing follows."""

import numpy as np
import pytest

from workbench import ParameterError
from workbench.views import compared, headed, reading


def test_a_difference_that_excludes_zero_has_a_direction():
    above = compared("a", "b", (0.045, 0.011, 0.079), above="So a is read.", below="no", level="no")
    assert above == "Accuracy: a lies above b, by 4.5 points [1.1 to 7.9]. So a is read."
    below = compared("a", "b", (-0.045, -0.079, -0.011), above="no", below="So b is read.", level="no")
    assert below == "Accuracy: a lies below b, by 4.5 points [1.1 to 7.9]. So b is read."


@pytest.mark.parametrize("bounds", [(-0.01, 0.05), (0.0, 0.05), (-0.05, 0.0)])
def test_an_interval_that_holds_zero_shows_nothing(bounds):
    text = compared(
        "a", "b", (0.02, *bounds), of="R²", factor=1, unit="", digits=2, above="no", below="no", level="Ask more."
    )
    assert text.startswith("R²: between a and b no difference that these data can show (+0.02 [") and text.endswith(
        "Ask more."
    )
    assert "above" not in text and "below" not in text


def test_without_an_interval_nothing_follows():
    text = compared("a", "b", (0.3, np.nan, np.nan), above="no", missing="one group has no interval")
    assert text == "Accuracy: a against b +30.0 points, but one group has no interval: nothing follows."
    assert "cannot be compared, nothing is known" in compared("a", "b", [np.nan] * 3, missing="nothing is known")


def test_bad_differences_are_named():
    for bad in ((1, 2), (0.1, 0.3, 0.2), "abc"):
        with pytest.raises(ParameterError, match="difference"):
            compared("a", "b", bad)


def test_a_reading_shows_what_there_is_to_say():
    shown = reading("1 < 2.", None, "", "b")
    assert str(shown) == "1 < 2.\nb" and "<li>1 &lt; 2.</li><li>b</li>" in shown._repr_html_()
    for bad in ((), (None,), (3,)):
        with pytest.raises(ParameterError, match="sentences"):
            reading(*bad)


def test_cautions_stand_before_the_title():
    assert headed("T") == "T" and headed("T", None, "") == "T"
    lines = headed("T", "word " * 40).split("\n")
    assert lines[0].startswith("Caution: word") and len(lines) == 4 and lines[-1] == "T"
