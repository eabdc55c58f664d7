"""Sliders that choose among sounds: another sound at the same moment; on disk, exported, in JupyterLab."""

from __future__ import annotations

import inspect
from pathlib import Path

import nbformat
import numpy as np
import pytest

from workbench.views.settings import sounds_by_setting

CONNECTED = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
CHOSEN = "document.querySelector('.wb-choice audio')"


def make_view():
    """Tones of a pitch for each combination; with g = 4 they last one second, else three."""
    settings = {"steps <S>": [2, 5, 10, 40], "guidance g": [0, 1, 4]}

    def tone(frequency, seconds=3.0):
        t = np.arange(int(seconds * 16000)) / 16000
        return (0.3 * np.sin(2 * np.pi * frequency * t)).astype(np.float32)

    keys = [(s, g) for s in settings["steps <S>"] for g in settings["guidance g"]]
    sounds = {(s, g): tone(300 + 20 * s + 50 * g, 1.0 if g == 4 else 3.0) for s, g in keys}
    captions = {key: f"error {key[1] / key[0]:.3f}" for key in keys}
    reference = {"original": tone(220), "codec round trip": tone(230)}
    return sounds_by_setting(sounds, 16000, settings=settings, reference=reference, captions=captions, start=(10, 1))


@pytest.fixture(scope="module")
def view():
    return make_view()


@pytest.fixture
def opened(offline_page, view, tmp_path):
    offline_page.goto(view.save(tmp_path / "settings.html").as_uri())
    offline_page.wait_for_selector(".wb-dials:not([hidden])")
    return offline_page


def move(page, slider: int, place: int) -> None:
    page.locator(".wb-dial input").nth(slider).evaluate(
        "(slider, place) => { slider.value = place; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        place,
    )


def play(page, audio: str) -> None:
    """Start a sound, allowed by one click on the page, and wait until it moves."""
    page.locator(".wb-title").first.click()
    page.evaluate(f"void {audio}.play()")
    page.wait_for_function(f"{audio}.currentTime > 0.05", timeout=60_000)


def settled(page) -> None:
    page.wait_for_function(f"{CHOSEN}.readyState > 1 && !{CHOSEN}.seeking && !{CHOSEN}.wbWanted", timeout=60_000)


def test_all_that_is_seen_follows_the_sliders(opened):
    shown = opened.locator(".wb-choice")
    assert opened.locator(".wb-card").count() == 3 and opened.get_by_role("slider").count() == 2
    assert opened.evaluate("[...document.querySelectorAll('audio')].every((a) => a.paused && !a.autoplay)")
    assert shown.locator(".wb-name").inner_text() == "steps <S> = 10, guidance g = 1"
    first = [shown.locator(part).get_attribute("src") for part in ("audio", "img")]
    seen = {tuple(first)}
    for i, steps in enumerate([2, 5, 10, 40]):
        for k, guidance in enumerate([0, 1, 4]):
            move(opened, 0, i)
            move(opened, 1, k)
            name = f"steps <S> = {steps}, guidance g = {guidance}"
            assert shown.locator(".wb-name").inner_text() == name
            assert shown.locator("audio").get_attribute("aria-label") == name
            assert shown.locator("img").get_attribute("alt") == f"spectrogram: {name}"
            assert shown.locator(".wb-detail").inner_text() == f"error {guidance / steps:.3f}"
            assert shown.locator(".wb-length").inner_text().startswith("1.0 s" if guidance == 4 else "3.0 s")
            assert opened.locator(".wb-dial output").all_inner_texts() == [str(steps), str(guidance)]
            assert opened.locator(".wb-stops .wb-on").all_inner_texts() == [str(steps), str(guidance)]
            seen.add(tuple(shown.locator(part).get_attribute("src") for part in ("audio", "img")))
    assert len(seen) == 12, "every combination has its own sound and picture"
    move(opened, 0, 2)
    move(opened, 1, 1)
    assert [shown.locator(part).get_attribute("src") for part in ("audio", "img")] == first


def test_the_new_sound_goes_on_where_the_old_one_was(opened):
    play(opened, CHOSEN)
    opened.wait_for_function(f"{CHOSEN}.currentTime > 0.5", timeout=60_000)
    before = opened.evaluate(f"{CHOSEN}.currentTime")
    move(opened, 0, 3)
    opened.wait_for_function(f"!{CHOSEN}.paused && {CHOSEN}.readyState > 2 && !{CHOSEN}.wbWanted", timeout=60_000)
    assert before - 0.05 <= opened.evaluate(f"{CHOSEN}.currentTime") < before + 1.0
    opened.evaluate(f"{CHOSEN}.pause()")
    stopped = opened.evaluate(f"{CHOSEN}.currentTime")
    for place in (0, 1, 2, 3, 0):  # faster than sounds load
        move(opened, 0, place)
    settled(opened)
    assert opened.evaluate(f"{CHOSEN}.currentTime") == pytest.approx(stopped, abs=0.03)
    assert opened.evaluate(f"{CHOSEN}.paused"), "what stood still stays still"


def test_a_shorter_sound_and_one_that_has_ended(opened):
    opened.locator(".wb-title").click()
    opened.evaluate(f"{CHOSEN}.currentTime = 2.0")
    settled(opened)
    play(opened, CHOSEN)
    move(opened, 1, 2)  # one second long: its end, or once more from its beginning
    opened.wait_for_function(f"{CHOSEN}.ended && !{CHOSEN}.wbWanted", timeout=60_000)
    move(opened, 1, 0)
    settled(opened)
    assert opened.evaluate(f"{CHOSEN}.currentTime") == 0 and opened.evaluate(f"{CHOSEN}.paused")


def test_keyboard_moves_sliders_and_only_one_sound_plays(opened):
    opened.get_by_label("steps <S>", exact=True).focus()
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("Tab")
    for _ in range(3):
        opened.keyboard.press("ArrowLeft")
    assert opened.locator(".wb-choice .wb-name").inner_text() == "steps <S> = 40, guidance g = 0"
    assert opened.get_by_label("guidance g", exact=True).get_attribute("aria-valuetext") == "0"
    original = "document.querySelectorAll('.wb-heard audio')[1]"
    play(opened, original)
    move(opened, 0, 0)
    settled(opened)
    assert not opened.evaluate(f"{original}.paused"), "the reference goes on while sliders move"
    play(opened, CHOSEN)
    assert opened.evaluate(f"{original}.paused")


@pytest.mark.parametrize("width", [420, 700, 1100])
def test_nothing_overflows_and_stops_stand_under_the_knob(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for part in (".wb-card", ".wb-name", ".wb-dial", ".wb-dial b"):
        fits = f"[...document.querySelectorAll('{part}')].every((e) => e.scrollWidth <= e.clientWidth + 1)"
        assert opened.evaluate(fits), part
    slider = opened.locator(".wb-dial input").first.bounding_box()
    stops = [stop.bounding_box() for stop in opened.locator(".wb-dial:first-child .wb-stops span").all()]
    expected = [slider["x"] + 8 + (slider["width"] - 16) * k / 3 for k in range(4)]
    assert [stop["x"] + stop["width"] / 2 for stop in stops] == pytest.approx(expected, abs=1)


def test_without_scripts_every_combination_stands_there(chromium, view, tmp_path):
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(view.save(tmp_path / "settings.html").as_uri())
    assert page.locator(".wb-dials").is_hidden() and page.locator("audio").count() == 12 + 2
    names = page.locator(".wb-name").all_inner_texts()
    assert names[:3] == ["steps <S> = 10, guidance g = 1", "original", "codec round trip"] and len(set(names)) == 14
    context.close()


CELL = """
import numpy as np
from workbench.views.settings import sounds_by_setting
{source}
make_view()
"""


def test_slides_in_jupyterlab_and_in_the_exported_page(chromium, lab, offline_page, tmp_path):
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert")
    url, folder = lab
    cell = nbformat.v4.new_code_cell(CELL.format(source=inspect.getsource(make_view)))
    book = nbformat.v4.new_notebook(cells=[cell])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "settings.ipynb")
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(url.format("settings.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(".wb-dials:not([hidden])", timeout=60_000)
    page.get_by_label("guidance g", exact=True).click()  # in its middle; the arrow is no shortcut of the notebook
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".wb-choice .wb-name") == "steps <S> = 10, guidance g = 4"
    page.screenshot(path=tmp_path / "lab.png")
    page.evaluate("async () => { await window.jupyterapp.commands.execute('docmanager:save'); }")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=60_000)
    context.close()

    text, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.read(folder / "settings.ipynb", as_version=4))
    Path(tmp_path / "export.html").write_text(text, encoding="utf-8")
    offline_page.goto((tmp_path / "export.html").as_uri(), wait_until="domcontentloaded")
    offline_page.wait_for_selector(".wb-dials:not([hidden])", timeout=60_000)
    move(offline_page, 0, 0)
    assert offline_page.inner_text(".wb-choice .wb-name") == "steps <S> = 2, guidance g = 1"
    play(offline_page, CHOSEN)
