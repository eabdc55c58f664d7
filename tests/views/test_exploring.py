"""explore: its page, what turned controls do, what is computed again, and the selection that stays."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import workbench.views.exploring as module
from workbench.core.errors import ParameterError
from workbench.views import explore, project


@pytest.fixture
def layers(z):
    return {"early": z, "late": z**2}


@pytest.fixture
def projected(monkeypatch) -> list:
    """What is projected, by method and number of rows."""
    calls = []

    def counting(z, **options):
        calls.append((options["method"], len(z)))
        return project(z, **options)

    monkeypatch.setattr(module, "project", counting)
    return calls


def opened(view):
    """The controls, as they are when a front end has asked for them."""
    view.widget  # noqa: B018
    return view._controls.parts


def shown(view):
    """The live map."""
    return view._maps["live"][0]


# --- the page


def test_the_page_is_the_map_of_the_first_setting(layers, table, tone):
    view = explore(layers, table, audio=tone, sounds=8)
    data = view._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"} and data["text/html"] == view.html == view._repr_html_()
    assert data["text/plain"] == repr(view) == "Explorer(40 clips, 2 layers; PCA of early, components 1 and 2)"
    assert "new ExplorerMap" not in view.html and "showPage(document.currentScript, ExplorerMap)" in view.html
    assert view._controls is None, "controls are made when a front end asks"
    assert view.html == explore(layers, table, audio=tone, sounds=8).html, "the same call gives the same bytes"


def test_a_front_end_asks_for_the_controls(layers, table):
    view, sent = explore(layers, table), []
    page = view._maps["first"][0]
    page.connect()
    page._link.send = lambda message, buffers: sent.append(message)
    for ticket in (1, 2):
        page._link._handle_custom_msg({"kind": "open", "ticket": ticket}, [])
    assert sent == [{"ticket": ticket, "model": view.widget.model_id} for ticket in (1, 2)]
    assert view.widget.children == (view._controls.box, shown(view).widget)


def test_saving_writes_the_present_map(layers, table, tone, tmp_path):
    view = explore(layers, table, audio=tone, sounds=4)
    opened(view)["layer"].value = "late"
    text = view.save(tmp_path / "map.html").read_text(encoding="utf-8")
    assert "<title>40 clips, late: PCA</title>" in text
    assert len(view.map.carried) == 4 and not shown(view).carried, "the kernel sends the live map's sounds"


# --- controls


def test_a_setting_is_projected_once(layers, table, projected):
    view = explore(layers, table)
    parts = opened(view)
    assert projected == [("pca", 40)]
    for color in ("f0", "label", "id"):
        parts["color"].value = color
        assert shown(view)._coloured.name == color
    assert projected == [("pca", 40)], "another colour projects nothing"
    assert parts["status"].value.endswith("components 1 and 2: computed before.</span>")
    parts["layer"].value = "late"
    parts["layer"].value = "early"
    parts["method"].value = "tsne"
    parts["perplexity"].value = 5.0
    assert projected == [("pca", 40), ("pca", 40), ("tsne", 40), ("tsne", 40)]
    parts["perplexity"].value = 30.0
    assert len(projected) == 4
    parts["query"].value = "f0 > 250"
    assert projected[4:] == [("tsne", 20)], "other clips are another projection"


def test_the_map_is_what_sound_map_would_draw(layers, table):
    view = explore(layers, table, method="tsne", perplexity=5, seed=3, color="f0")
    expected = project(layers["early"], method="tsne", perplexity=5, seed=3)
    np.testing.assert_array_equal(view.map.panels[""].xy, expected.xy)
    assert view.map.title == "40 clips, early: t-SNE, perplexity 5"


@pytest.mark.slow
def test_umap_is_one_click(layers, table):
    view = explore(layers, table, neighbours=7)
    parts = opened(view)
    assert ("UMAP", "umap") in parts["method"].options
    parts["method"].value = "umap"
    assert shown(view).title == "40 clips, early: UMAP, 7 neighbours"
    assert parts["neighbours"].layout.display is None and parts["perplexity"].layout.display == "none"


def test_state_comes_back_as_arguments(layers, table):
    view = explore(layers, table, seed=4)
    parts = opened(view)
    parts["layer"].value, parts["second"].value, parts["color"].value = "late", 3, "f0"
    parts["column"].value = "label"
    parts["values"].value = ("a", "b")
    parts["query"].value = "f0 > 150"
    expected = {"layer": "late", "method": "pca", "components": (1, 3), "perplexity": 30.0, "neighbours": 15}
    expected |= {"color": "f0", "where": {"label": ["a", "b"]}, "query": "f0 > 150", "seed": 4, "standardise": False}
    assert view.state == expected
    again = explore(layers, table, **view.state)
    assert again.state == expected and again.map.html == view.map.html
    assert opened(again)["values"].value == ("a", "b") and again._controls.said().items() <= expected.items()


def test_what_fails_is_said_and_the_map_stays(layers, table):
    view = explore(layers, table, color=None)
    parts, before = opened(view), shown(view)
    for query, said in {
        "pitch > 1": "name &#x27;pitch&#x27; is not defined",
        "f0 > 9999": "query=&#x27;f0 &gt; 9999&#x27; must be met by at least one clip",
        "f0 < 110": "array of 2 rows",
    }.items():
        parts["method"].value = "tsne" if query == "f0 < 110" else "pca"
        now = shown(view)
        parts["query"].value = query
        assert said in parts["status"].value and "error" in parts["status"].value
        assert shown(view) is now and view.state["query"] is None
    parts["method"].value, parts["query"].value = "pca", ""
    assert shown(view).panels[""].xy.tolist() == before.panels[""].xy.tolist()
    assert parts["status"].value.endswith("components 1 and 2: computed before.</span>")


def test_an_interrupted_projection_leaves_the_map(layers, table, monkeypatch):
    view = explore(layers, table)
    parts, before = opened(view), shown(view)

    def interrupted(z, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "project", interrupted)
    parts["method"].value = "tsne"
    assert "stopped. The map is still PCA of early" in parts["status"].value and shown(view) is before


def test_what_takes_long_is_said_before(layers, table, monkeypatch):
    view, said = explore(layers, table), []
    parts = opened(view)
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    monkeypatch.setattr(module, "project", lambda z, **options: said.append(parts["status"].value) or project(z))
    for method in ("tsne", "umap"):
        parts["method"].value = method
    assert said[0].endswith("t-SNE of early, perplexity 30 ...</span>")
    assert said[1].endswith("neighbours 15 ... (the first UMAP of a kernel loads and compiles its code)</span>")


@pytest.mark.slow
def test_two_thousand_clips_answer_at_once(record_property):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": range(2000), "label": rng.integers(0, 9, 2000).astype(str), "f0": rng.random(2000)})
    many = {f"layer {k}": rng.normal(size=(2000, 768)).astype(np.float32) for k in range(6)}
    view = explore(many, table, audio=lambda i: (np.ones(8000), 8000), sounds=2)
    parts = opened(view)

    def seconds(name: str, values) -> float:
        taken = []
        for value in values:
            start = time.perf_counter()
            parts[name].value = value
            taken.append(time.perf_counter() - start)
        record_property(name, min(taken))
        return min(taken)

    assert seconds("color", ["f0", "label", "f0"]) < 0.3
    assert seconds("layer", list(many)[1:]) < 0.5


# --- the selection


def test_the_selection_survives_layer_colour_and_filter(layers, table):
    view = explore(layers, table)
    parts = opened(view)
    shown(view).widget.selected = [0, 1, 30]  # what the page does
    assert view.selection["id"].tolist() == ["clip 0", "clip 1", "clip 30"]
    parts["layer"].value, parts["color"].value = "late", "f0"
    assert shown(view).selected.tolist() == [0, 1, 30] == shown(view).widget.selected
    parts["query"].value = "f0 > 250"  # positions 20 to 39
    assert shown(view).selected.tolist() == [10] and len(view.selection) == 3, "hidden clips stay selected"
    shown(view).widget.selected = [0, 19]
    assert view.selection["id"].tolist() == ["clip 20", "clip 39"], "a new selection replaces the old one"
    parts["query"].value = ""
    assert shown(view).selected.tolist() == [20, 39] == view.map.selected.tolist()


def test_selecting_from_python_reaches_every_map(layers, table):
    view = explore(layers, table, where={"label": "a"})
    opened(view)
    view.select(table[table["label"].isin(["a", "b"])].head(4))
    assert view.selection["id"].tolist() == ["clip 0", "clip 1", "clip 4", "clip 5"]
    assert [of.selected.tolist() for of in (view._maps["first"][0], shown(view), view.map)] == [[0, 1]] * 3
    view.map.select([9])
    assert view.selection["id"].tolist() == ["clip 36"] and shown(view).selected.tolist() == [9]


# --- what can be explored


def test_the_last_layer_of_embeddings_without_the_clips_that_failed(z, table, tone):
    heard = []
    clips = SimpleNamespace(table=table, audio=lambda i: heard.append(i) or tone(i), generated=True)
    valid = np.delete(np.arange(40), [3, 5])

    class Embedded:
        layers, skipped = ("0", "1"), {"clip 3": "empty", "clip 5": "empty"}

        def __len__(self):
            return len(self.valid)

        def layer(self, name):
            return z[valid]

    kept = Embedded()
    kept.valid, kept.clips = valid, clips
    view = explore(kept, sounds=0)
    assert view.map.title == "38 clips of generated audio, layer 1: PCA"
    assert view.table["id"].tolist() == table["id"].iloc[valid].tolist()
    view.map.sound(3)
    assert heard == [4], "row 3 is clip 4"
    assert explore(kept, layer=0, sounds=0).state["layer"] == "0"
    with pytest.raises(ParameterError, match="clips='39 clips' must be as many as the embeddings have rows, 38"):
        explore(kept, table.iloc[:39])


def test_arrays_alone_have_no_colour_and_no_sound(z):
    import torch

    view = explore({"code": torch.relu(torch.tensor(z))})
    assert view.state["color"] is None and view.state["layer"] == "code"
    assert repr(explore(z)) == "Explorer(40 clips, 1 layer; PCA of embeddings, components 1 and 2)"


def test_names_of_columns_may_be_anything(z, table):
    hostile = "<img src=x onerror=alert(1)>"
    table[5], table[hostile], table["list"] = range(40), "a", [[1]] * 40
    view = explore({hostile: z}, table)
    parts = opened(view)
    for name in (5, hostile, "list"):
        parts["color"].value = name
        assert shown(view)._coloured.name == str(name)
    assert "<img" not in parts["status"].value and "&lt;img" in parts["status"].value


@pytest.mark.parametrize(
    ("embeddings", "options", "message"),
    [
        ({}, {}, "embeddings=\\[\\]"),
        ({"a": np.eye(40), "b": np.eye(39)}, {}, "'a': 40, 'b': 39.* arrays of one length"),
        ({"a": np.eye(39)}, {}, "clips='40 clips' must be as many as the embeddings have rows, 39"),
        ({1: np.eye(40), "1": np.eye(40)}, {}, "a name of its own"),
        ({"a": "text"}, {}, "embeddings\\['a'\\]='text'"),
        (np.eye(40), {"layer": "b"}, "layer='b' must be 'embeddings'"),
        (np.eye(40), {"layer": 1}, "layer=1 must be a whole number from -1 to 0"),
        (np.eye(40), {"method": "given"}, "method='given'"),
        (np.eye(40), {"color": "pitch"}, "color='pitch' must be a column of the table: id, label, f0"),
        (np.eye(40), {"components": (1, 41)}, "components=\\(1, 41\\) must be at most 40"),
        (np.eye(40), {"sounds": -1}, "sounds=-1"),
        (np.eye(40), {"audio": 3}, "audio='int'"),
    ],
)
def test_wrong_options(embeddings, options, message, table):
    with pytest.raises(ParameterError, match=message):
        explore(embeddings, table, **options)
