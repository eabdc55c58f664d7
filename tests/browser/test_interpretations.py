"""The tau slider: another sound at the same moment, bars and masks that follow; on disk, exported, in JupyterLab."""

from __future__ import annotations

import inspect
from pathlib import Path

import nbformat
import numpy as np
import pytest

from workbench.interpreters.interpretation import Interpretation
from workbench.views.interpretations import interpretation_page

CONNECTED = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
KEPT = "document.querySelector('.wb-kept audio')"


def make_interpretation():
    """Two seconds of four tones that come one after the other; all but the last speak for the bell."""
    import torch

    from workbench.interpreters.spectra import Spectra

    spectra = Spectra(rate=16000)
    t = torch.arange(32000) / 16000
    tones = torch.stack([0.5 * torch.sin(2 * np.pi * 500 * (k + 1) * t) * (t // 0.5 == k) for k in range(4)])
    x, phase = spectra.analyse(tones.sum(0))
    w = torch.full((513, 4), 1e-5)
    for k in range(4):
        w[32 * k + 16 : 32 * k + 48, k] = 1
    h = torch.stack([spectra.analyse(tone)[0].sum(0) for tone in tones]) + 1e-3
    classes, logits = ("<bark>", "bell", "rain"), np.array([0.5, 2.0, -1.0])
    weights = torch.tensor([1.0, 0.7, 0.4, -0.5])
    return Interpretation(classes, 1, tones.sum(0), x, phase, w, h, torch.ones(4), weights, logits, logits, spectra)


@pytest.fixture
def opened(offline_page, tmp_path):
    one = make_interpretation()
    truth = {"bell": one.waveform_in.numpy(), "<bark>": [[0.2, 0.7]]}
    view = interpretation_page(one, truth=truth, tau=0.2)
    view.save(tmp_path / "interpretation.html")
    offline_page.goto((tmp_path / "interpretation.html").as_uri())
    offline_page.wait_for_selector(".wb-tau:not([hidden])")
    return offline_page, view, one


def slide(page, view, tau: float) -> None:
    place = int(np.argmin(np.abs(np.array(view.taus) - tau)))
    page.locator(".wb-tau input").evaluate(
        "(slider, place) => { slider.value = place; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        place,
    )


def coloured(page) -> list[bool]:
    return page.evaluate("[...document.querySelectorAll('.wb-bars rect')].map((b) => b.classList.contains('wb-on'))")


def blue(page) -> list[bool]:
    return page.evaluate("[...document.querySelectorAll('.wb-bars rect')].map((b) => getComputedStyle(b).fill)")


def test_slider_changes_the_sound_and_keeps_the_moment(opened):
    page, view, _ = opened
    kept = page.locator(".wb-kept audio")
    page.locator(".wb-kept .wb-picture").click(position={"x": 60, "y": 40})
    page.wait_for_function(f"{KEPT}.currentTime > 0.5", timeout=60_000)
    source, rest = kept.get_attribute("src"), page.locator(".wb-rest audio").get_attribute("src")
    before = kept.evaluate("(audio) => audio.currentTime")
    slide(page, view, 0.55)
    assert kept.get_attribute("src") != source
    assert page.locator(".wb-rest audio").get_attribute("src") != rest
    page.wait_for_function(f"!{KEPT}.paused && {KEPT}.readyState > 2", timeout=60_000)
    assert before - 0.05 <= kept.evaluate("(audio) => audio.currentTime") < before + 0.6, "it goes on where it was"
    kept.evaluate("(audio) => audio.pause()")
    stopped = kept.evaluate("(audio) => audio.currentTime")
    for tau in (0.8, 0.2, 0.55, 0.2):  # faster than sounds load
        slide(page, view, tau)
    page.wait_for_function(f"{KEPT}.readyState > 1 && !{KEPT}.seeking && !{KEPT}.wbWanted", timeout=60_000)
    assert kept.evaluate("(audio) => audio.currentTime") == pytest.approx(stopped, abs=0.03)
    assert kept.evaluate("(audio) => audio.paused"), "what stood still stays still"
    assert kept.get_attribute("src") == source, "back at the first threshold it is the first sound"


def test_the_same_components_are_not_interrupted(opened):
    page, view, one = opened
    assert one.selected(0.2).tolist() == one.selected(0.35).tolist()
    kept = page.locator(".wb-kept audio")
    page.locator(".wb-kept .wb-picture").click(position={"x": 4, "y": 40})
    page.wait_for_function(f"{KEPT}.currentTime > 0.1", timeout=60_000)
    source = kept.get_attribute("src")
    slide(page, view, 0.35)
    assert kept.get_attribute("src") == source and not kept.evaluate("(audio) => audio.paused")
    assert page.inner_text(".wb-tau output") == "τ = 0.35"


def test_bars_mask_and_words_follow(opened):
    page, view, one = opened
    veil, line = page.locator(".wb-kept .wb-veil"), page.locator(".wb-threshold")
    first, height = veil.get_attribute("src"), float(line.get_attribute("y1"))
    assert coloured(page) == [True, True, True, False] and len(set(blue(page)[:3])) == 1
    assert page.inner_text(".wb-kept .wb-detail") == "3 of 4 components, τ = 0.20"
    for tau in (0.8, 0.55, 0.0, 0.2):
        slide(page, view, tau)
        many = len(one.selected(tau))
        assert coloured(page) == [k < many for k in range(4)]
        assert [fill != blue(page)[3] for fill in blue(page)] == [k < many for k in range(4)]
        names = ", ".join(map(str, one.selected(tau)))
        assert page.inner_text(".wb-chosen") == f"Kept: {names}."
        said = page.locator(".wb-tau input").get_attribute("aria-valuetext")
        assert said == f"{tau:.2f}: {many} of 4 components"
        assert (veil.get_attribute("src") == first) == (many == 3)
        assert page.locator(".wb-rest .wb-veil").get_attribute("src") == veil.get_attribute("src")
    assert float(line.get_attribute("y1")) == pytest.approx(height, abs=0.01)
    slide(page, view, 0.8)
    assert float(line.get_attribute("y1")) < height
    assert page.inner_text(".wb-kept .wb-value") != page.inner_text(".wb-rest .wb-value")


def test_slider_by_keyboard_and_one_sound_at_a_time(opened):
    page, view, _ = opened
    assert page.evaluate("[...document.querySelectorAll('audio')].every((a) => a.paused && !a.autoplay)")
    assert page.get_by_role("slider").count() == 1
    page.get_by_label("threshold τ").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert page.inner_text(".wb-tau output") == "τ = 0.70"
    page.locator(".wb-stage .wb-picture").first.click(position={"x": 4, "y": 40})
    page.wait_for_function("document.querySelector('audio').currentTime > 0.1", timeout=60_000)
    page.locator(".wb-kept .wb-picture").click(position={"x": 4, "y": 40})
    page.wait_for_function(f"document.querySelector('audio').paused && {KEPT}.currentTime > 0.1", timeout=60_000)


@pytest.mark.parametrize("width", [700, 900, 1100])
def test_nothing_overflows(opened, width):
    page, _, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for part in (".wb-card", ".wb-name", ".wb-why > div", ".wb-tau"):
        assert page.evaluate(
            f"[...document.querySelectorAll('{part}')].every((e) => e.scrollWidth <= e.clientWidth + 1)"
        ), part


def test_without_scripts_the_first_threshold_shows_and_plays(chromium, opened, tmp_path):
    _, view, _ = opened
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((tmp_path / "interpretation.html").as_uri())
    assert page.locator("audio").count() == 3 + 3 + 1 and page.locator(".wb-tau").is_hidden()
    assert page.locator(".wb-bars .wb-on").count() == 3 and "Kept: 0, 1, 2." in page.inner_text(".wb-chosen")
    context.close()


CELL = """
import numpy as np
from workbench.interpreters.interpretation import Interpretation
from workbench.views.interpretations import interpretation_page
{source}
interpretation_page(make_interpretation())
"""


def test_slides_in_jupyterlab_and_in_the_exported_page(chromium, lab, offline_page, tmp_path):
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert")
    url, folder = lab
    view = interpretation_page(make_interpretation())
    cell = nbformat.v4.new_code_cell(CELL.format(source=inspect.getsource(make_interpretation)))
    book = nbformat.v4.new_notebook(cells=[cell])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "interpretation.ipynb")
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(url.format("interpretation.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(".wb-tau:not([hidden])", timeout=60_000)
    slide(page, view, 0.55)
    assert coloured(page) == [True, True, False, False]
    slider = page.locator(".wb-tau input")
    before = int(slider.input_value())
    slider.press("ArrowLeft")  # JupyterLab leaves the keys of a view alone
    assert int(slider.input_value()) == before - 1
    page.screenshot(path=tmp_path / "lab.png")
    page.evaluate("async () => { await window.jupyterapp.commands.execute('docmanager:save'); }")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=60_000)
    context.close()

    text, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.read(folder / "interpretation.ipynb", as_version=4))
    Path(tmp_path / "export.html").write_text(text, encoding="utf-8")
    offline_page.goto((tmp_path / "export.html").as_uri(), wait_until="domcontentloaded")
    offline_page.wait_for_selector(".wb-tau:not([hidden])", timeout=60_000)
    slide(offline_page, view, 0.8)
    assert coloured(offline_page) == [True, False, False, False]


def test_drawings_keep_their_size_where_the_notebook_styles_all_drawings(opened):
    page, _, _ = opened
    page.evaluate(
        """() => {
          document.body.classList.add("jp-RenderedHTMLCommon");
          const style = document.createElement("style");
          style.textContent = ".jp-RenderedHTMLCommon svg { max-width: 100%; height: auto; }";
          document.head.append(style);
        }"""
    )
    heights = "(kind) => [...document.querySelectorAll(kind)].map((e) => e.getBoundingClientRect().height)"
    assert set(page.evaluate(heights, ".wb-activation")) == {26}
    assert set(page.evaluate(heights, ".wb-spectrum")) == {92}
    assert max(page.evaluate(heights, ".wb-bars")) < 120
