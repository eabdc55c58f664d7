"""turnable: what it says of the sets, determinism, escaping, refusals."""

from __future__ import annotations

import html
import json
import re

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.views.space import turnable

TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
SETS = {"axes": np.eye(3), "simplex": TETRAHEDRON}


def drawn(view) -> list[dict]:
    return [json.loads(html.unescape(data)) for data in re.findall(r'data-set="([^"]*)"', view.html)]


def test_angles_and_lengths_are_said():
    view = turnable(SETS | {"uneven": np.diag([1.0, 2.0, 0.5])})
    assert "3 prototypes, smallest angle 90.0°, length 1" in view.html
    assert "4 prototypes, smallest angle 109.5°, length 1" in view.html
    assert "lengths 0.5 to 2" in view.html
    assert "1 prototype, length 1" in turnable({"one": [[0, 0, 1]]}).html


def test_one_scale_for_all_sets():
    axes, uneven = drawn(turnable({"axes": np.eye(3), "long": np.eye(3) * 4}))
    np.testing.assert_allclose(axes["points"], np.eye(3) / 4)
    np.testing.assert_allclose(uneven["points"], np.eye(3))
    assert axes["sphere"] == uneven["sphere"] == 0.25
    assert drawn(turnable({"short": np.eye(3) / 2}))[0]["sphere"] == 1, "the sphere always fits"


def test_names_and_determinism(tmp_path):
    view = turnable({"axes": np.eye(3)}, names=["x", "y", "z"], title="to turn")
    assert drawn(view)[0]["names"] == ["x", "y", "z"] and drawn(turnable(SETS))[1]["names"] == ["1", "2", "3", "4"]
    assert view.html == view._repr_html_() == turnable({"axes": np.eye(3)}, names=["x", "y", "z"], title="to turn").html
    assert "<title>to turn</title>" in view.save(tmp_path / "s.html").read_text(encoding="utf-8")
    assert repr(view) == "Turnable(axes (3, 3))"


def test_small_and_without_network():
    assert len(turnable(SETS).html) < 8000
    assert not re.search(r"https?://|import\(|require\(", turnable(SETS).html)


def test_everything_is_escaped():
    hostile = '</script><img src=x onerror="hit()">\''
    view = turnable({hostile: np.eye(3)}, names=[hostile] * 3, title=hostile)
    assert "<img" not in view.html and view.html.count("</script>") == 1
    assert drawn(view)[0]["names"] == [hostile] * 3


@pytest.mark.parametrize(
    ("sets", "names", "message"),
    [
        ({}, None, "at least one set"),
        ({"a": np.eye(4)}, None, r"sets\['a'\]='array of shape \(4, 4\)' must be below 1e100, of shape \(C, 3\)"),
        ({"a": np.full((2, 3), np.nan)}, None, "finite"),
        (SETS, ["x", "y", "z"], "names='3 names' must be one for each of 4 prototypes of simplex"),
    ],
)
def test_what_does_not_fit_is_named(sets, names, message):
    with pytest.raises(ParameterError, match=message):
        turnable(sets, names=names)
