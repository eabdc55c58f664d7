"""The controls of explore: they show a state and say it again; a turned one is told once."""

from __future__ import annotations

import pytest

from workbench.views.controls import Controls

STATE = {"layer": "early", "method": "pca", "components": (1, 2), "perplexity": 30.0, "neighbours": 15, "color": None}
STATE |= {"where": None, "query": None}


@pytest.fixture
def controls(table):
    told = []
    made = Controls(["early", "late"], table, STATE, told.append)
    made.told = told
    return made


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"layer": "late", "method": "umap", "neighbours": 4},
        {"components": (3, 1), "color": "f0"},
        {"where": {"label": ["b", "d"]}, "query": "f0 > 200"},
        {"where": {"id": ["clip 3"]}},  # a column whose values no list offers
    ],
)
def test_they_say_the_state_that_they_show(changed, table):
    assert Controls(["early", "late"], table, STATE | changed, print).said() == STATE | changed


def test_each_turn_is_told_once(controls):
    controls.parts["layer"].value = "late"
    controls.parts["color"].value = "label"
    controls.parts["first"].value = 4
    assert [said["layer"] for said in controls.told] == ["late"] * 3
    assert [said["color"] for said in controls.told] == [None, "label", "label"]
    assert controls.told[-1]["components"] == (4, 2)


def test_the_values_follow_the_column(controls):
    parts = controls.parts
    assert parts["values"].layout.display == "none"
    parts["column"].value = "label"
    assert [word for word, _ in parts["values"].options] == ["a", "b", "c", "d"]
    assert parts["values"].layout.display is None and controls.said()["where"] is None, "no value means all"
    parts["values"].value = ("c",)
    assert controls.said()["where"] == {"label": ["c"]}
    parts["column"].index = 0
    assert controls.said()["where"] is None and parts["values"].layout.display == "none"
    assert len(controls.told) == 3


def test_only_the_setting_of_the_method_is_shown(controls):
    names = ("first", "second", "perplexity", "neighbours")
    seen = {}
    for method in ("umap", "tsne", "pca"):
        controls.parts["method"].value = method
        seen[method] = [name for name in names if controls.parts[name].layout.display is None]
    assert seen == {"umap": ["neighbours"], "tsne": ["perplexity"], "pca": ["first", "second"]}


def test_the_condition_shows_an_example_of_its_own_table(controls, table):
    assert controls.parts["query"].placeholder == "such as f0 > 250; then Enter"
    bare = Controls(["early"], table[["id"]], STATE | {"layer": "early"}, print)
    assert bare.parts["query"].placeholder == "such as index < 100; then Enter"


def test_what_is_said_is_text(controls):
    controls.say("<b>late</b>", wrong=True)
    value = controls.parts["status"].value
    assert "&lt;b&gt;late" in value and "<b>" not in value and "error" in value
    controls.say("done")
    assert "error" not in controls.parts["status"].value
