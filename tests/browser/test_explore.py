"""explore in a real JupyterLab: controls turn the map, a point plays, a lasso reaches Python, and a page remains."""

from __future__ import annotations

import inspect

import nbformat
import pytest

SETUP = """
import numpy as np, pandas as pd
from workbench.views import explore
{tone}
rng = np.random.default_rng(0)
label = rng.integers(0, 4, 200)
z = rng.normal(size=(4, 8))[label] * 6 + rng.normal(size=(200, 8))
table = pd.DataFrame({{"id": [f"clip {{i}}" for i in range(200)], "label": np.array(list("abcd"))[label],
                       "f0": np.linspace(100, 400, 200)}})
e = explore({{"early": z, "late": z**2}}, table, audio=make_tone, sounds=12)
e
"""
ASK = 'print("selected", len(e.selection), "of", len(e.table), e.state["layer"], e.state["color"], e.state["query"])'
CONNECTED = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
LIVE = ".wb-explorer .wb-map"
TIME = f"document.querySelector('{LIVE} .wb-audio')?.currentTime"


@pytest.fixture(scope="module")
def notebook(chromium, lab, tone):
    url, folder = lab
    cells = [SETUP.format(tone=inspect.getsource(tone)), ASK]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "explore.ipynb")
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(url.format("explore.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)
    run(page, "notebook:run-all-cells")
    page.wait_for_selector(f'{LIVE}[data-live="true"]', timeout=60_000)
    yield page, url
    context.close()


def run(page, command: str) -> None:
    page.evaluate("(command) => { window.jupyterapp.commands.execute(command); }", command)


def title(page, text: str) -> None:
    """Wait until the live map's title holds these words."""
    page.wait_for_function(
        f"(text) => document.querySelector('{LIVE} .wb-title')?.innerText.includes(text)", arg=text, timeout=60_000
    )


def place(page) -> dict:
    """A point of the live map that can be hit, with its place on the screen."""
    return page.evaluate(
        f"""() => {{
          const map = document.querySelector('{LIVE}').wbView, plot = map.panels[0];
          plot.marks.scrollIntoView({{ block: 'center' }});
          const box = plot.marks.getBoundingClientRect();
          for (let i = 0; i < map.data.n; i++) {{
            const [x, y] = plot.toScreen(i);
            if (plot.pick(x, y) === i) return {{i, x: box.left + x, y: box.top + y}};
          }}
        }}"""
    )


def test_controls_turn_the_map_which_plays_and_whose_selection_stays(notebook):
    page, _ = notebook
    title(page, "200 clips, early: PCA")
    page.locator(".wb-explorer select").first.select_option(label="late")
    title(page, "200 clips, late: PCA")
    page.wait_for_selector(f'{LIVE}[data-live="true"]', timeout=60_000)
    point = place(page)
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function(f"{TIME} > 0.2", timeout=60_000)
    assert f"clip {point['i']}" in page.inner_text(f"{LIVE} .wb-now")

    page.locator(LIVE).get_by_role("button", name="Lasso").click()
    box = page.locator(f"{LIVE} .wb-marks").bounding_box()
    left, top, right, bottom = box["x"] + 3, box["y"] + 3, box["x"] + box["width"] - 3, box["y"] + box["height"] - 3
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    assert "200 selected" in page.inner_text(f"{LIVE} .wb-note")

    page.locator(".wb-explorer select").nth(1).select_option(label="f0")
    page.wait_for_function(f"document.querySelector('{LIVE} .wb-legend-name')?.innerText === 'f0'", timeout=60_000)
    page.locator(".wb-explorer input[type=text]").last.fill("f0 > 300")
    page.keyboard.press("Enter")
    title(page, "67 of 200 clips, late: PCA")
    page.wait_for_function(
        f"document.querySelector('{LIVE} .wb-note')?.innerText.includes('67 selected')", timeout=60_000
    )
    # Run the second cell again: the kernel has the rows and the setting.
    page.locator(".jp-CodeCell .cm-content").nth(1).click()
    run(page, "notebook:run-cell")
    wanted = "selected 200 of 200 late f0 f0 > 300"
    page.wait_for_function("(text) => document.body.innerText.includes(text)", arg=wanted, timeout=60_000)


def test_a_wrong_condition_is_said_and_the_map_stays(notebook):
    page, _ = notebook
    page.locator(".wb-explorer input[type=text]").last.fill("pitch > 300")
    page.keyboard.press("Enter")
    wanted = "must be a condition on the columns id, label, f0 (UndefinedVariableError: name 'pitch' is not defined)"
    page.wait_for_function("(text) => document.body.innerText.includes(text)", arg=wanted, timeout=60_000)
    title(page, "67 of 200 clips, late: PCA")


def test_a_page_that_is_loaded_again_finds_its_controls(notebook):
    page, url = notebook
    run(page, "docmanager:save")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=60_000)
    page.goto("about:blank")
    page.goto(url.format("explore.ipynb"))
    title(page, "67 of 200 clips, late: PCA")
    page.wait_for_selector(f'{LIVE}[data-live="true"]', timeout=60_000)
    assert page.locator(".wb-explorer input[type=text]").last.input_value() == "pitch > 300"
    page.locator(".wb-explorer input[type=text]").last.fill("")
    page.keyboard.press("Enter")
    title(page, "200 clips, late: PCA")


def test_without_the_kernel_the_page_of_the_first_setting_remains(notebook):
    page, url = notebook
    run(page, "docmanager:save")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=60_000)
    page.evaluate(
        "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
    )
    page.wait_for_function("!document.querySelector('.wb-explorer')", timeout=60_000)
    assert "Points with a ring play: 12 of 200" in page.inner_text(".wb-map .wb-note")

    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")
    page.goto("about:blank")
    page.goto(url.format("explore.ipynb"))
    page.wait_for_selector(".wb-map .wb-marks", timeout=60_000)
    assert "200 clips, early: PCA" in page.inner_text(".wb-map .wb-title")
    assert "model not found" not in page.inner_text("body")
    ringed = "const map = document.querySelector('.wb-map').wbView; map.click(map.panels[0], [...map.state.ringed][0])"
    page.locator(".wb-marks").click(position={"x": 2, "y": 2})  # the gesture that browsers want before sound
    page.evaluate(f"() => {{ {ringed} }}")
    page.wait_for_function("document.querySelector('.wb-audio').currentTime > 0.2", timeout=60_000)
