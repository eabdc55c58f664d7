"""In a real marimo, which runs no scripts in HTML: a widget draws the map, plays, and its selection is reactive."""

from __future__ import annotations

import inspect
import sys

import pytest

APP = """
import marimo

app = marimo.App(width="medium")

@app.cell
def _():
    import marimo as mo
    import numpy as np, pandas as pd
    from workbench.views import explore, players, sound_map
    return mo, np, pd, explore, players, sound_map

@app.cell
def _(np, pd, sound_map):
{tone}
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 200)
    z = rng.normal(size=(4, 8))[label] * 6 + rng.normal(size=(200, 8))
    table = pd.DataFrame({{"id": [f"clip {{i}}" for i in range(200)], "label": np.array(list("abcd"))[label]}})
    the_map = sound_map(z, table, audio=make_tone, sounds=12)
    the_map
    return make_tone, the_map, table, z

@app.cell
def _(mo, the_map):
    watched = mo.ui.anywidget(the_map.widget)
    return (watched,)

@app.cell
def _(mo, the_map, watched):
    mo.md(f"selected {{len(watched.value['selected'])}}, in Python {{len(the_map.selection)}}")
    return

@app.cell
def _(make_tone, players, table):
    players(table, [0, 1], audio=make_tone)
    return

@app.cell
def _(explore, make_tone, table, z):
    explore({{"early": z, "late": z**2}}, table, audio=make_tone, layer="late")
    return
"""
#: marimo puts every widget into a shadow, which the selectors of playwright see through and a script does not.
MAP = """
  const below = (one) => [one, ...(one.shadowRoot ? all(one.shadowRoot) : [])];
  const all = (node) => [...node.querySelectorAll("*")].flatMap(below);
  const maps = all(document).filter((one) => one.matches(".wb-map")), map = maps[0]?.wbView;
"""


@pytest.fixture(scope="module")
def marimo(chromium, serve, tone, tmp_path_factory):
    pytest.importorskip("marimo", reason="needs marimo")
    folder = tmp_path_factory.mktemp("marimo")
    source = "\n".join("    " + line for line in inspect.getsource(tone).splitlines())
    (folder / "app.py").write_text(APP.format(tone=source), encoding="utf-8")
    own = {f"XDG_{part}_HOME": str(folder / part.lower()) for part in ("CONFIG", "CACHE", "STATE", "DATA")}
    options = ["run", "app.py", "--headless", "--no-token", "--host", "127.0.0.1", "--port", "{port}"]
    url = serve([sys.executable, "-m", "marimo", *options], folder, own, "/")
    context = chromium.new_context(viewport={"width": 1000, "height": 1000})
    page = context.new_page()
    page.goto(url)
    # All of it is there: what is still to come would move what is clicked.
    page.wait_for_function(
        f"() => {{ {MAP} return maps.filter((one) => one.dataset.live).length === 2; }}", timeout=60_000
    )
    page.wait_for_selector(".wb-players .wb-picture", timeout=60_000)
    yield page
    context.close()


def points(page) -> dict:
    """A point of the first map that can be hit and whose sound it lacks, with its place on the screen."""
    return page.evaluate(
        f"""() => {{
          {MAP}
          const plot = map.panels[0];
          plot.marks.scrollIntoView({{ block: 'center' }});
          const box = plot.marks.getBoundingClientRect();
          for (let i = 0; i < map.data.n; i++) {{
            const [x, y] = plot.toScreen(i), fresh = !map.data.sounds[i] && !map.clips.has(i);
            if (fresh && plot.pick(x, y) === i) return {{i, x: box.left + x, y: box.top + y}};
          }}
        }}"""
    )


def test_the_map_plays_and_its_selection_is_reactive(marimo):
    page = marimo
    page.wait_for_selector("text=selected 0, in Python 0", timeout=60_000)
    first = page.locator(".wb-map").first
    assert "Every point plays" in first.locator(".wb-note").inner_text()
    assert "wb-dark" not in first.get_attribute("class"), "the page is white, in a colour space of its own"
    point = points(page)
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function(f"() => {{ {MAP} return map.audio.currentTime > 0.2; }}", timeout=60_000)
    assert f"clip {point['i']}" in first.locator(".wb-now").inner_text()

    first.get_by_role("button", name="Lasso").click()
    box = first.locator(".wb-marks").bounding_box()
    left, top, right, bottom = box["x"] + 3, box["y"] + 3, box["x"] + box["width"] - 3, box["y"] + box["height"] - 3
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    page.wait_for_selector("text=selected 200, in Python 200", timeout=60_000)


def test_one_sound_at_a_time_over_widgets(marimo):
    page = marimo
    point = points(page)
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function(f"() => {{ {MAP} return map.audio.currentTime > 0.1; }}", timeout=60_000)
    page.locator(".wb-players .wb-picture").nth(1).click()
    playing = f"""() => {{
      {MAP}
      const cards = all(document).filter((one) => one.matches(".wb-card audio"));
      return cards[1].currentTime > 0.9 && !cards[1].paused && map.audio.paused;
    }}"""
    page.wait_for_function(playing, timeout=60_000)


def test_explore_shows_the_map_of_its_setting(marimo):
    page = marimo
    assert "200 clips, late: PCA" in page.locator(".wb-map").nth(1).inner_text()
