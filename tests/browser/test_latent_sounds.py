"""A latent turned by a slider: from disk without a network, exported, and in a real JupyterLab with its kernel."""

from __future__ import annotations

import inspect

import nbformat
import numpy as np
import pytest

from workbench.views.latent_sounds import latent_sound_page

CONNECTED = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
CHOSEN = "document.querySelector('.wb-choice audio')"


def make_view():
    """Three seconds of a tone of its own pitch for each combination; the page carries the first clip alone."""

    def tone(frequency):
        return (0.3 * np.sin(2 * np.pi * frequency * np.arange(48000) / 16000)).astype(np.float32)

    def sound(latent, clip, kind, stop):
        return tone(300 + 800 * latent + 200 * clip + 100 * kind + 20 * stop)

    return latent_sound_page(
        sound,
        16000,
        latents=["latent 7: more <brightness>", "latent 40: less pitch"],
        clips=["1: cello", "2: a clip with a long name that does not fit into the list beside the others"],
        kinds=["the latent", "random direction"],
        amounts=[0.0, 1.0, 2.0, 4.0],
        originals=[tone(220), tone(230)],
        unchanged=[tone(240), tone(250)],
        detail=lambda *at: "at " + " ".join(map(str, at)),
        carry=1,
    )


@pytest.fixture(scope="module")
def view():
    return make_view()


@pytest.fixture
def opened(offline_page, view, tmp_path):
    offline_page.goto(view.save(tmp_path / "turned.html").as_uri())
    offline_page.wait_for_selector(".wb-dials:not([hidden])")
    return offline_page


def turn(page, stop: int) -> None:
    page.get_by_role("slider").evaluate(
        "(slider, stop) => { slider.value = stop; slider.dispatchEvent(new Event('input', { bubbles: true })); }", stop
    )


def choose(page, **choices: int) -> None:
    for what, place in choices.items():
        page.locator(f"[data-of={what}]").select_option(str(place))


def test_lists_and_slider_choose_the_sound_its_picture_and_its_words(opened):
    shown, seen = opened.locator(".wb-choice"), set()
    assert opened.locator(".wb-card").count() == 3, "the cards for pages without scripts are gone"
    for latent in (0, 1):
        for kind, name in enumerate(("the latent", "random direction")):
            for stop, amount in enumerate("0124"):
                choose(opened, latents=latent, kinds=kind)
                turn(opened, stop)
                assert shown.locator(".wb-name").inner_text() == f"{name} = {amount}"
                assert shown.locator("audio").get_attribute("aria-label") == f"{name} = {amount}"
                assert shown.locator(".wb-detail").inner_text() == f"at {latent} 0 {kind} {stop}"
                assert opened.locator(".wb-dial output").inner_text() == amount
                seen.add(tuple(shown.locator(part).get_attribute("src") for part in ("audio", "img")))
    assert len({sound for sound, _ in seen}) == 16 and len({picture for _, picture in seen}) > 8
    assert opened.locator("[data-of=latents] option").first.inner_text() == "latent 7: more <brightness>"


def test_the_clip_changes_what_stands_beside_and_what_is_not_carried_says_so(opened):
    beside = [opened.locator(f"{part} audio").get_attribute("src") for part in (".wb-unchanged", ".wb-original")]
    clips = opened.locator("[data-of=clips] option").all_inner_texts()
    assert [text.endswith(" (unturned alone)") for text in clips[:2]] == [False, True]
    choose(opened, clips=1)
    after = [opened.locator(f"{part} audio").get_attribute("src") for part in (".wb-unchanged", ".wb-original")]
    assert not set(beside) & set(after) and len(set(after)) == 2
    assert "run the notebook" in opened.locator(".wb-state").inner_text()
    assert not opened.locator(".wb-choice audio").is_visible()
    choose(opened, clips=0)
    assert opened.locator(".wb-state").inner_text() == "" and opened.locator(".wb-choice audio").is_visible()


def test_what_sounds_goes_on_at_the_same_moment(opened):
    opened.locator(".wb-title").click()
    opened.evaluate(f"void {CHOSEN}.play()")
    opened.wait_for_function(f"{CHOSEN}.currentTime > 0.3", timeout=60_000)
    before = opened.locator(".wb-choice audio").get_attribute("src")
    turn(opened, 3)
    opened.wait_for_function(f"!{CHOSEN}.wbWanted && !{CHOSEN}.paused && {CHOSEN}.currentTime > 0.3", timeout=60_000)
    assert opened.locator(".wb-choice audio").get_attribute("src") != before


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("tone", ["light", "dark"])
def test_nothing_overflows(opened, width, tone):
    opened.emulate_media(color_scheme=tone)
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for part in (".wb-card", ".wb-asked label", ".wb-dial"):
        overflowing = (
            f"[...document.querySelectorAll('{part}')].filter((e) => e.scrollWidth > e.clientWidth + 1).length"
        )
        assert opened.evaluate(overflowing) == 0, part
    assert opened.locator(".wb-turned.wb-dark").count() == (tone == "dark")


CELL = """
import numpy as np
from workbench.views.latent_sounds import latent_sound_page
{source}
make_view()
"""


def test_the_kernel_computes_what_the_page_lacks(chromium, lab):
    url, folder = lab
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.format(source=inspect.getsource(make_view)))])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "turned.ipynb")
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(url.format("turned.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(".wb-dials:not([hidden])", timeout=60_000)
    page.wait_for_function("document.querySelector('.wb-turned .wb-note').textContent.includes('the kernel computes')")
    choose(page, clips=1, kinds=1)
    turn(page, 2)
    page.wait_for_function(
        "document.querySelector('.wb-choice .wb-detail').textContent === 'at 0 1 1 2'", timeout=60_000
    )
    page.wait_for_function(f"{CHOSEN}.duration > 2.5 && getComputedStyle({CHOSEN}).visibility === 'visible'")
    context.close()
