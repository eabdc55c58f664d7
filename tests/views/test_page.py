"""The base of pages as widgets: the code and data they carry, one selection everywhere, and where they are shown."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from workbench.views import page as module
from workbench.views import players, sound_map
from workbench.views.maps import SoundMap
from workbench.views.page import Page, _widget_class


def page_classes(base: type[Page] = Page) -> list[type[Page]]:
    return [found for kind in base.__subclasses__() for found in (kind, *page_classes(kind))]


@pytest.mark.parametrize("kind", page_classes(), ids=lambda kind: kind.__name__)
def test_a_widgets_code_is_one_module(kind, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs node on the path (Node.js 20 or newer)")
    code = _widget_class(kind)._esm
    (tmp_path / "widget.mjs").write_text(str(code), encoding="utf-8")
    done = subprocess.run(["node", "--check", tmp_path / "widget.mjs"], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert f"const View = {kind._view or 'null'};" in str(code)


def test_a_widget_carries_the_pages_data_and_answers(z, table, tone):
    view, sent = sound_map(z, table, audio=tone, sounds=3), []
    widget = view.widget
    assert view.widget is widget is view._display_()
    data = json.loads(gzip.decompress(base64.b64decode(widget.packed)))
    assert data["key"] == widget.key == view.key and len(data["sounds"]) == 3
    assert widget.element == "wb-map" and "<img" not in widget.inside and "<style>" in widget.inside
    widget.send = lambda message, buffers: sent.append((message["caption"], buffers))
    widget._handle_custom_msg({"kind": "sound", "index": 7, "ticket": 1}, [])
    assert sent == [("0.50 s · 16 kHz", [view.sound(7).data])]


def test_a_page_without_a_view_shows_its_html(tone):
    widget = players([("first", *tone(0))]).widget
    assert widget.packed == "" and widget.inside.count("<audio") == 1 and "<script" not in widget.inside


def test_one_selection_in_html_widget_and_python(z, table):
    view, seen = sound_map(z, table), []
    view.select([2])
    view.connect()
    assert view.widget.selected == [2] == view._link.selected
    view.on_select(lambda rows: seen.append(rows["id"].tolist()))
    view.widget.selected = [1, 5]  # what a page does
    assert view._link.selected == [1, 5] == view.selected.tolist()
    view._link.selected = [3]
    assert view.widget.selected == [3] == view.selected.tolist()
    view.select([3])
    assert seen == [["clip 1", "clip 5"], ["clip 3"]], "each change is told once"


WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.mark.parametrize("place", ["VS Code", "Colab"])
def test_vs_code_and_colab_show_the_widget_and_keep_the_page(z, table, place, monkeypatch):
    view = sound_map(z, table)
    assert set(view._repr_mimebundle_()) == {"text/html", "text/plain"}, "JupyterLab"
    if place == "VS Code":
        shell = SimpleNamespace(user_ns={"__vsc_ipynb_file__": "map.ipynb"})
        monkeypatch.setattr(module, "_shell", lambda: shell)
    else:
        widgets = SimpleNamespace(_installed_url=None)
        colab = SimpleNamespace(enable_custom_widget_manager=lambda: None, _widgets=widgets)
        monkeypatch.setitem(sys.modules, "google.colab.output", colab)
    data, metadata = view._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain", WIDGET} and metadata == {}
    assert data[WIDGET]["model_id"] == view.widget.model_id and data["text/html"] == view.html
    assert data["text/plain"].startswith("SoundMap(")


def test_the_widget_of_a_page_class_is_made_once():
    assert _widget_class(SoundMap) is _widget_class(SoundMap)
    assert _widget_class(SoundMap)._esm.endswith("export default { initialize, render };\n")
