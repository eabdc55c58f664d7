"""Decisions in words and prototypes in space: from disk without a network, exported, and in a real JupyterLab."""

from __future__ import annotations

import inspect
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from workbench.prototypes.explaining import explain
from workbench.prototypes.factors import FactorPrototypes, Levels
from workbench.views.decisions import decision_page
from workbench.views.space import turnable

CLASSES = ["neutral", "<angry & loud>", "sad"]
CONNECTED = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"


def make_explanation():
    """40 clips with three factors of three levels, planted in the embedding with noise."""
    rng = np.random.default_rng(0)
    levels = Levels.fit(rng.normal(size=(40, 3)), ["pitch", "spread", "loudness"], count=3)
    factors = FactorPrototypes(levels, 12, scale=1.5)
    z = factors.targets(rng.integers(0, 3, (40, 3))) + 0.3 * rng.normal(size=(40, 12))
    return explain(z, 1.5 * rng.normal(size=(3, 12)), rng.normal(size=3), factors)


@pytest.fixture
def opened(offline_page, tone, tmp_path):
    explanation, table = make_explanation(), pd.DataFrame({"id": [f"clip {i}" for i in range(40)]})
    view = decision_page(explanation, table, [4, 7], classes=CLASSES, audio=tone)
    view.save(tmp_path / "decisions.html")
    offline_page.goto((tmp_path / "decisions.html").as_uri())
    return offline_page, explanation


def probabilities(card) -> np.ndarray:
    return np.array([float(text.split()[0]) / 100 for text in card.locator(".wb-chance b").all_inner_texts()])


def test_knobs_move_the_decision_as_the_counterfactual_does(opened):
    page, explanation = opened
    for k, i in enumerate((4, 7)):
        card = page.locator(".wb-decision").nth(k)
        heard, reset = explanation.probabilities[i], card.get_by_role("button", name="reset")
        assert reset.is_disabled()
        np.testing.assert_allclose(probabilities(card), heard, atol=1e-3)
        for turned in ({"pitch": 2}, {"pitch": 0, "loudness": 1}, {"pitch": 1, "spread": 2, "loudness": 0}):
            for name, level in turned.items():
                card.get_by_label(name).select_option(str(level))
            wanted = explanation.counterfactual(turned)[i]
            np.testing.assert_allclose(probabilities(card), wanted, atol=1e-3)
            assert card.locator(".wb-decided span").inner_text() == CLASSES[wanted.argmax()]
            verb = "It stays" if wanted.argmax() == heard.argmax() else "It would be"
            assert card.locator(".wb-outcome").inner_text().startswith(f"{verb} {CLASSES[wanted.argmax()]}")
        reset.click()
        np.testing.assert_allclose(probabilities(card), heard, atol=1e-3)
        assert card.locator(".wb-outcome").inner_text() == "" and reset.is_disabled()
    assert page.locator(".wb-words strong").all_inner_texts() == [CLASSES[c] for c in explanation.decisions[[4, 7]]]


def test_knobs_turn_by_keyboard(opened):
    page, explanation = opened
    card = page.locator(".wb-decision").first
    card.get_by_label("pitch").focus()
    page.keyboard.press("ArrowDown")
    wanted = explanation.counterfactual({"pitch": 0})[4]
    np.testing.assert_allclose(probabilities(card), wanted, atol=1e-3)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    np.testing.assert_allclose(probabilities(card), explanation.probabilities[4], atol=1e-3)
    assert page.evaluate("document.activeElement.tagName") == "SELECT", "the focus is not lost with the button"


def test_one_sound_at_a_time_and_none_by_itself(opened):
    page, _ = opened
    assert page.evaluate("[...document.querySelectorAll('audio')].every((a) => a.paused && !a.autoplay)")
    page.locator(".wb-picture").first.click(position={"x": 4, "y": 20})
    page.wait_for_function("document.querySelector('audio').currentTime > 0.2", timeout=60_000)
    page.locator(".wb-picture").nth(1).click(position={"x": 4, "y": 20})
    page.wait_for_function(
        """() => {
          const [first, second] = document.querySelectorAll('audio');
          return first.paused && !second.paused && second.currentTime > 0.2;
        }""",
        timeout=60_000,
    )


@pytest.mark.parametrize("width", [900, 1100])
def test_nothing_overflows(opened, width):
    page, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for part in (".wb-part", ".wb-knobs label", ".wb-chances", ".wb-card"):
        assert page.evaluate(
            f"[...document.querySelectorAll('{part}')].every((e) => e.scrollWidth <= e.clientWidth + 1)"
        )


def eye(page, nth: int = 0) -> list[float]:
    """Where the nth scene is looked at from, as plotly has it."""
    return (
        page.locator(".wb-scene")
        .nth(nth)
        .evaluate("(node) => Object.values(node._fullLayout.scene._scene.getCamera().eye)")
    )


def test_space_turns_all_sets_by_mouse_and_keyboard(offline_page, tmp_path):
    page = offline_page
    turnable({"axes": np.eye(3), "flat": np.eye(3)[:2]}, title="to turn").save(tmp_path / "space.html")
    page.goto((tmp_path / "space.html").as_uri())
    page.wait_for_function(READY, timeout=60_000)
    before = eye(page)
    assert eye(page, 1) == pytest.approx(before)
    pixels = page.locator(".wb-scene").first.screenshot()
    box = page.locator(".wb-scene").first.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120, steps=5)
    page.mouse.up()
    page.wait_for_function(
        f"(([one, other]) => one[0] !== {before[0]} && one.every((v, k) => Math.abs(v - other[k]) < 1e-9))({EYES})",
        timeout=60_000,
    )
    after = eye(page)
    assert np.linalg.norm(np.subtract(after, before)) > 0.1
    assert page.locator(".wb-scene").first.screenshot() != pixels
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    assert eye(page) == after, "it turns only while the button is held"
    page.locator(".wb-scene").nth(1).focus()
    page.keyboard.press("ArrowRight")
    turned = [np.arctan2(at[1], at[0]) for at in (after, eye(page), eye(page, 1))]
    assert np.subtract(turned[1:], turned[0]) == pytest.approx([0.1, 0.1], abs=1e-6)
    page.locator(".wb-scene").first.dblclick()
    page.wait_for_function(f"Math.abs({EYES}[1][0] - {before[0]}) < 1e-6", timeout=60_000)


EYES = (
    "[...document.querySelectorAll('.wb-scene')].map((n) => Object.values(n._fullLayout.scene._scene.getCamera().eye))"
)
READY = "[...document.querySelectorAll('.wb-scene')].every((node) => node._fullLayout?.scene?._scene?.getCamera)"


CELL = """
import numpy as np, pandas as pd
from workbench.prototypes.explaining import explain
from workbench.prototypes.factors import FactorPrototypes, Levels
from workbench.views.decisions import decision_page
from workbench.views.space import turnable
{sources}
table = pd.DataFrame({{"id": [f"clip {{i}}" for i in range(40)]}})
display(turnable({{"axes": np.eye(3)}}))
decision_page(make_explanation(), table, [4, 7], classes={classes!r}, audio=make_tone)
"""


def cell(tone):
    sources = "\n".join(map(inspect.getsource, (tone, make_explanation)))
    return nbformat.v4.new_code_cell(CELL.format(sources=sources, classes=CLASSES))


def turn_and_compare(page) -> None:
    card, explanation = page.locator(".wb-decision").nth(1), make_explanation()
    card.get_by_label("loudness").select_option("2")
    np.testing.assert_allclose(probabilities(card), explanation.counterfactual({"loudness": 2})[7], atol=1e-3)
    page.wait_for_function(READY, timeout=60_000)
    before = eye(page)
    page.locator(".wb-scene").focus()
    page.keyboard.press("ArrowLeft")
    assert eye(page) != before


def test_turns_in_jupyterlab_and_in_the_exported_page(chromium, lab, tone, offline_page, tmp_path):
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert")
    url, folder = lab
    book = nbformat.v4.new_notebook(cells=[cell(tone)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "decisions.ipynb")
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(url.format("decisions.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(".wb-knobs select", timeout=60_000)
    turn_and_compare(page)
    page.screenshot(path=tmp_path / "lab.png")
    page.evaluate("async () => { await window.jupyterapp.commands.execute('docmanager:save'); }")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=60_000)
    context.close()

    text, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.read(folder / "decisions.ipynb", as_version=4))
    Path(tmp_path / "export.html").write_text(text, encoding="utf-8")
    offline_page.goto((tmp_path / "export.html").as_uri(), wait_until="domcontentloaded")
    offline_page.wait_for_selector(".wb-knobs select", timeout=60_000)
    turn_and_compare(offline_page)
