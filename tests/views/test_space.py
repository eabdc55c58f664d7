"""turnable: what it says of the sets, determinism, one copy of plotly, escaping, refusals."""

from __future__ import annotations

import base64
import gzip
import json
import re

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.views.space import turnable

TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
SETS = {"axes": np.eye(3), "simplex": TETRAHEDRON}


def carried(view) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(re.search(r'class="wb-data">([^<]*)<', view.html)[1])))


def tips(figure: dict) -> np.ndarray:
    return np.stack([figure["data"][-1][axis] for axis in "xyz"], axis=1)


def test_angles_and_lengths_are_said():
    view = turnable(SETS | {"uneven": np.diag([1.0, 2.0, 0.5]), "one": [[0, 0, 1]]})
    assert "3 points, smallest angle 90.0°, length 1" in view.html
    assert "4 points, smallest angle 109.5°, length 1" in view.html
    assert "lengths 0.5 to 2" in view.html
    assert "1 point, length 1" in view.html


def test_one_scale_for_all_sets():
    figures = carried(turnable({"axes": np.eye(3), "long": np.eye(3) * 4}))["figures"]
    for figure, points in zip(figures, (np.eye(3), 4 * np.eye(3)), strict=True):
        np.testing.assert_allclose(tips(figure), points)
        scene = figure["layout"]["scene"]
        assert [scene[f"{axis}axis"]["range"] for axis in "xyz"] == [pytest.approx([-4.6, 4.6])] * 3
        assert len(set(scene["aspectratio"].values())) == 1, "angles are seen as they are"
        sphere = np.concatenate([np.stack([trace[axis] for axis in "xyz"]) for trace in figure["data"][:3]], axis=1)
        np.testing.assert_allclose(np.linalg.norm(sphere, axis=0), 1)


def test_names_and_determinism(tmp_path):
    view = turnable({"axes": np.eye(3)}, names=["x", "y", "z"], title="to turn")
    assert carried(view)["figures"][0]["data"][-1]["text"] == ["x", "y", "z"]
    assert carried(turnable(SETS))["figures"][1]["data"][-1]["text"] == ["1", "2", "3", "4"]
    assert view.html == view._repr_html_() == turnable({"axes": np.eye(3)}, names=["x", "y", "z"], title="to turn").html
    assert "<title>to turn</title>" in view.save(tmp_path / "s.html").read_text(encoding="utf-8")
    assert repr(view) == "Turnable(axes (3, 3))"


def test_plotly_is_carried_once_and_packed():
    one, both = turnable({"axes": np.eye(3)}), turnable(SETS)
    assert len(both.html) - len(one.html) < 10_000 and len(both.html) < 2_500_000
    assert "Plotly" in carried(both)["plotly"] and "plotly.js" not in re.sub(r"wb-data.*?<", "", both.html)


def test_everything_is_escaped():
    hostile = '</script><img src=x onerror="hit()">\''
    view = turnable({hostile: np.eye(3)}, names=[hostile] * 3, title=hostile)
    assert "<img" not in view.html and view.html.count("</script>") == 2
    named = carried(view)["figures"][0]["data"][-1]
    assert named["text"] == [hostile] * 3 and "<" not in named["customdata"][0]


@pytest.mark.parametrize(
    ("sets", "names", "message"),
    [
        ({}, None, "at least one set"),
        ({"a": np.eye(4)}, None, r"sets\['a'\]='array of shape \(4, 4\)' must be below 1e100, of shape \(C, 3\)"),
        ({"a": np.full((2, 3), np.nan)}, None, "finite"),
        (SETS, ["x", "y", "z"], "names='3 names' must be one for each of 4 points of simplex"),
    ],
)
def test_what_does_not_fit_is_named(sets, names, message):
    with pytest.raises(ParameterError, match=message):
        turnable(sets, names=names)
