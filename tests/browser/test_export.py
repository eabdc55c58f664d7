"""A notebook run without a browser and exported to HTML: the page shows and plays, with or without widget state."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import nbformat
import pytest

from workbench.runs.export import to_html

CELL = """
import numpy as np, pandas as pd
from workbench.views import explore, players, sound_map, spectrogram
{tone}
rng = np.random.default_rng(0)
table = pd.DataFrame({{"id": [f"clip {{i}}" for i in range(60)], "label": list("abc") * 20}})
display(sound_map(rng.normal(size=(60, 8)), table, audio=make_tone, sounds=10))
display(players(table, [0, 1, 2], audio=make_tone))
display(explore({{"late": rng.normal(size=(60, 8))}}, table, audio=make_tone, sounds=10))
spectrogram(*make_tone(3))
"""


@pytest.fixture(scope="module")
def executed(tone):
    """The executed notebook with its widget state, as nbclient leaves it by default."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    root = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, before]))
    try:
        cell = nbformat.v4.new_code_cell(CELL.format(tone=inspect.getsource(tone)))
        book = nbformat.v4.new_notebook(cells=[cell])
        return nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_outputs_are_plain_html_and_picture(executed):
    kinds = [set(output["data"]) for output in executed.cells[0].outputs]
    assert kinds == [{"text/html", "text/plain"}] * 3 + [{"image/png", "text/plain"}]
    assert "SoundMap('60 clips, PCA': 60 points, 10 carry sound)" in executed.cells[0].outputs[0]["data"]["text/plain"]


def test_nothing_of_the_controls_stays_in_the_notebook(executed):
    state = executed.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    links = [model["state"] for model in state.values() if "_esm" in model["state"]]
    assert len(links) == 2 and not any("packed" in link for link in links)
    assert {model["model_name"] for model in state.values()} <= {"AnyModel", "LayoutModel"}


@pytest.mark.parametrize("state", [True, False])
def test_exported_page_plays_without_network(executed, state, offline_page, tmp_path):
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert")
    book = nbformat.from_dict(executed)
    assert "widgets" in book.metadata, "the link to the kernel is a widget, so there is state to leave out"
    if not state:
        del book.metadata["widgets"]
    text, _ = nbconvert.HTMLExporter().from_notebook_node(book)
    path = tmp_path / "export.html"
    path.write_text(text, encoding="utf-8")
    page = offline_page
    page.goto(path.as_uri(), wait_until="domcontentloaded")
    page.wait_for_function("document.querySelectorAll('.wb-marks').length === 2", timeout=60_000)
    assert "60 clips, late: PCA" in page.inner_text(".wb-map >> nth=1")
    assert "10 of 60 carry sound" in page.inner_text(".wb-note >> nth=0")
    point = page.evaluate(
        """() => {
          const map = document.querySelector('.wb-map').wbView, plot = map.panels[0], i = [...map.state.ringed][0];
          plot.holder.scrollIntoView({block: 'center'});
          const box = plot.marks.getBoundingClientRect(), [x, y] = plot.toScreen(i);
          return [box.left + x, box.top + y];
        }"""
    )
    page.mouse.click(*point)
    page.wait_for_function("document.querySelector('.wb-audio').currentTime > 0.2", timeout=60_000)
    page.locator(".wb-card audio").nth(1).evaluate("(audio) => audio.scrollIntoView()")
    page.locator(".wb-picture").nth(1).click()
    # a picture's click seeks, so the clock alone does not tell that the second sound plays and the first one stopped
    page.wait_for_function(
        """() => {
          const first = document.querySelector('.wb-audio'), second = document.querySelectorAll('.wb-card audio')[1];
          return second.currentTime > 0.9 && !second.paused && first.paused && !first.ended;
        }""",
        timeout=60_000,
    )
    if state:
        page.screenshot(path=tmp_path / "export.png")


def test_contents_open_lead_and_code_hides(offline_page, tmp_path):
    wide = "|" + " a_word_as_long_as_a_name |" * 12
    table = f"{wide}\n|{'---|' * 12}\n{wide}\n"
    cells = [nbformat.v4.new_markdown_cell(f"# Part {k}\n\n" + "text\n\n" * 40) for k in range(4)]
    cells.append(nbformat.v4.new_markdown_cell(table))
    output = nbformat.v4.new_output("stream", text="what was printed")
    cells.append(nbformat.v4.new_code_cell("secret = 1", outputs=[output]))
    path = tmp_path / "page.html"
    path.write_text(to_html(nbformat.v4.new_notebook(cells=cells), title="t"), encoding="utf-8")
    page = offline_page
    page.goto(path.as_uri())
    link, box, code = (
        page.get_by_role("link", name="Part 3"),
        page.get_by_label("Hide code"),
        page.get_by_text("secret"),
    )
    assert not link.is_visible() and code.is_visible() and not box.is_checked()
    page.get_by_text("Contents").click()
    link.click()
    top = page.locator("h1", has_text="Part 3").bounding_box()["y"]
    assert -1 <= top < 300, "the page has gone to the heading"
    assert -1 <= page.locator(".wb-guide").bounding_box()["y"] < 50, "the contents stay in view"
    assert not link.is_visible(), "the list closes, or it would lie over the heading"
    box.check()
    assert not code.is_visible() and page.get_by_text("what was printed").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".wb-guide").is_visible() and not code.is_visible()
    page.emulate_media(media="screen")
    page.reload()
    assert code.is_visible() and not box.is_checked(), "nothing is remembered"
    page.set_viewport_size({"width": 390, "height": 800})
    scroller = page.locator(".jp-MarkdownOutput", has=page.locator("table"))
    inside, across = scroller.evaluate("(node) => [node.clientWidth, node.scrollWidth]")
    assert inside <= 390 < across, "a wide table scrolls inside itself"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
