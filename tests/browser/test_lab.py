"""In a real JupyterLab: run the notebook, click a point and hear it from the kernel, lasso and get the rows."""

from __future__ import annotations

import inspect

import nbformat
import pytest

SETUP = """
import numpy as np, pandas as pd
from workbench.core.progress import progress_bar
from workbench.views import sound_map, players
for _ in progress_bar(range(3), leave=False):
    pass
{tone}
rng = np.random.default_rng(0)
label = rng.integers(0, 4, 200)
z = rng.normal(size=(4, 8))[label] * 6 + rng.normal(size=(200, 8))
table = pd.DataFrame({{"id": [f"clip {{i}}" for i in range(200)], "label": np.array(list("abcd"))[label]}})
seen = []
m = sound_map(z, table, audio=make_tone, sounds=12)
m.on_select(lambda rows: seen.append(len(rows)))
m
"""
ASK = 'print("selected", len(m.selection), "of", len(m.table), "seen", seen[-1:], sorted(set(m.selection["label"])))'

#: A run that comes before the kernel is there would open a dialogue.
CONNECTED = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"


@pytest.fixture(scope="module")
def notebook(chromium, lab, tone):
    url, folder = lab
    cells = [SETUP.format(tone=inspect.getsource(tone)), ASK]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "map.ipynb")
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(url.format("map.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)
    run(page, "notebook:run-all-cells")
    page.wait_for_selector('.wb-map[data-live="true"]', timeout=60_000)
    yield page, url
    context.close()


def run(page, command: str) -> None:
    page.evaluate("(command) => { window.jupyterapp.commands.execute(command); }", command)


def silent_point(page) -> dict:
    """A point whose sound the page does not have yet and that can be hit, with its place on the screen."""
    return page.evaluate(
        """() => {
          const map = document.querySelector('.wb-map').wbView, plot = map.panels[0];
          const box = plot.marks.getBoundingClientRect();
          for (let i = 0; i < map.data.n; i++) {
            const [x, y] = plot.toScreen(i);
            const fresh = !map.data.sounds[i] && !map.clips.has(i);
            if (fresh && plot.pick(x, y) === i) return {i, x: box.left + x, y: box.top + y};
          }
        }"""
    )


def test_click_hears_the_kernel_and_lasso_returns_rows(notebook):
    page, _ = notebook
    assert "Every point plays" in page.inner_text(".wb-note")
    point = silent_point(page)
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function("document.querySelector('.wb-audio').currentTime > 0.2", timeout=60_000)
    assert f"clip {point['i']}" in page.inner_text(".wb-now")
    assert "5.0 s · 16 kHz" in page.inner_text(".wb-now")

    page.get_by_role("button", name="Lasso").click()
    box = page.locator(".wb-marks").bounding_box()
    left, top, right, bottom = box["x"] + 3, box["y"] + 3, box["x"] + box["width"] - 3, box["y"] + box["height"] - 3
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    assert "200 selected" in page.inner_text(".wb-note")
    # Run the second cell again: the kernel has the rows.
    page.locator(".jp-CodeCell .cm-content").nth(1).click()
    run(page, "notebook:run-cell")
    wanted = "selected 200 of 200 seen [200] ['a', 'b', 'c', 'd']"
    page.wait_for_function("(text) => document.body.innerText.includes(text)", arg=wanted, timeout=60_000)


def test_reloaded_pages_are_live_again_and_the_console_stays_clean(notebook):
    page, url = notebook
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    said: list[str] = []
    run(page, "docmanager:save")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=60_000)
    page.goto("about:blank")
    page.goto(url.format("map.ipynb"))
    page.wait_for_selector('.wb-map[data-live="true"]', timeout=60_000)
    page.wait_for_timeout(1000)
    assert not [text for text in said if "model" in text.lower()], said
    assert "3/3" not in page.inner_text(".jp-Notebook")  # the bar is closed


def test_without_the_kernel_the_map_says_so_and_still_plays(notebook):
    page, url = notebook
    run(page, "docmanager:save")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=60_000)
    page.evaluate(
        "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
    )
    point = silent_point(page)
    page.mouse.click(point["x"], point["y"])
    page.wait_for_selector(".wb-wrong", timeout=60_000)
    assert "the kernel that made this map has ended" in page.inner_text(".wb-now")
    assert "Points with a ring play: 12 of 200" in page.inner_text(".wb-note")

    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")
    page.goto("about:blank")
    page.goto(url.format("map.ipynb"))
    page.wait_for_selector(".wb-marks", timeout=60_000)
    ringed = "const map = document.querySelector('.wb-map').wbView; map.click(map.panels[0], [...map.state.ringed][0])"
    page.locator(".wb-marks").click(position={"x": 2, "y": 2})  # the gesture that browsers want before sound
    page.evaluate(f"() => {{ {ringed} }}")
    page.wait_for_function("document.querySelector('.wb-audio').currentTime > 0.2", timeout=60_000)
