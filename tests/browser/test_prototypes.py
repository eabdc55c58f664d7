"""Pages of prototypes in a real browser: seeds, stars that lead to cells, sums that follow clip and class."""

from __future__ import annotations

import inspect
from pathlib import Path

import nbformat
import numpy as np
import pytest

from workbench.views.prototype_maps import DataPoints
from workbench.views.prototype_pages import PrototypeSounds, RealClip, prototype_page
from workbench.views.similarity_pages import ExplainedClip, similarity_page

CONNECTED = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
CLASSES = ("bell", "<harp>", "oboe")
WEIGHTS = np.array([[2.0, 1.5, 0.1, -0.2, 0.0, 0.3], [0.1, 0.0, 2.0, 2.0, -0.5, 0.0], [-0.3, 0.2, 0.0, 0.1, 1.0, 1.5]])
BIAS = np.array([0.1, -0.2, 0.3])
MADE = "[...document.querySelectorAll('.wb-made audio')]"
VIEW = "document.querySelector('.wb-map').wbView"


def make_pages():
    """(page of six prototypes on a map of 24 clips, page of two explained clips)."""

    def tone(frequency, seconds=3.0):
        t = np.arange(int(seconds * 8000)) / 8000
        return (0.1 * np.sin(2 * np.pi * frequency * t)).astype(np.float32)

    prototypes = []
    for k in range(6):
        near = [RealClip(f"clip {k // 2}", tone(310 + 10 * k), 8000, 0.5 + k)]
        sounds = [tone(300 + 10 * k + 100 * seed) for seed in range(3)]
        prototypes.append(PrototypeSounds(CLASSES[k // 2], sounds, 8000, near, segments=k, weight=2.0 - k))
    xy = np.stack(np.meshgrid(np.arange(6.0), np.arange(4.0)), -1).reshape(-1, 2)
    labels, names = [CLASSES[i % 3] for i in range(24)], [f"clip {i}" for i in range(24)]
    own = np.stack([np.arange(6) + 0.5, np.full(6, 1.5)], 1)
    points = DataPoints(xy, labels, names, own, np.arange(24) % 6, lambda i: (tone(500), 8000))
    near = np.array([[0.9, 0.8, 0.1, 0.2, 0.3, 0.1], [0.1, 0.1, 0.2, 0.1, 0.6, 0.9]])
    clips = [ExplainedClip(f"<{i}>", tone(440), 8000, near[i], "bell") for i in range(2)]
    why = similarity_page(clips, prototypes, classes=CLASSES, weights=WEIGHTS, bias=BIAS, most=3)
    return prototype_page(prototypes, points=points, point_sounds=6), why


@pytest.fixture(scope="module")
def pages():
    return make_pages()


@pytest.fixture
def hear(offline_page, pages, tmp_path):
    offline_page.goto(pages[0].save(tmp_path / "hear.html").as_uri())
    offline_page.wait_for_function(f"{VIEW} && !document.querySelector('.wb-seeds').hidden", timeout=30_000)
    return offline_page


@pytest.fixture
def why(offline_page, pages, tmp_path):
    offline_page.goto(pages[1].save(tmp_path / "why.html").as_uri())
    offline_page.wait_for_selector(".wb-total", timeout=30_000)
    return offline_page


def play(page, audio: str) -> None:
    """Start a sound, allowed by one click on the page, and wait until it moves."""
    page.locator(".wb-title").first.click()
    page.evaluate(f"() => {{ {audio}.play(); }}")
    page.wait_for_function(f"{audio}.currentTime > 0.05", timeout=30_000)


def place(page, i: int) -> tuple[float, float]:
    """Where point i of the map is on the screen."""
    page.locator(".wb-marks").scroll_into_view_if_needed()
    x, y = page.evaluate(f"{VIEW}.panels[0].toScreen({i})")
    box = page.locator(".wb-marks").bounding_box()
    return box["x"] + x, box["y"] + y


# The table and its map ---------------------------------------------------------------------------------------------


def test_nothing_plays_by_itself_and_one_sound_at_a_time(hear):
    assert hear.evaluate("[...document.querySelectorAll('audio')].every((a) => a.paused && !a.autoplay)")
    assert hear.locator(".wb-cell").count() == 6 and hear.locator(".wb-near audio").count() == 6
    play(hear, f"{MADE}[1]")
    play(hear, "document.querySelectorAll('.wb-near audio')[3]")
    assert hear.evaluate(f"{MADE}[1].paused")


def test_seed_changes_all_sounds_and_keeps_the_moment(hear):
    sources = hear.evaluate(f"{MADE}.map((a) => a.src)")
    pictures = hear.evaluate("[...document.querySelectorAll('.wb-made img')].map((a) => a.src)")
    play(hear, f"{MADE}[2]")
    hear.wait_for_function(f"{MADE}[2].currentTime > 0.4", timeout=30_000)
    hear.get_by_label("seed 2").check()
    other = hear.evaluate(f"{MADE}.map((a) => a.src)")
    assert all(a != b for a, b in zip(sources, other, strict=True))
    assert hear.evaluate("[...document.querySelectorAll('.wb-made img')].map((a) => a.src)") != pictures
    hear.wait_for_function(f"!{MADE}[2].paused && {MADE}[2].currentTime > 0.4", timeout=30_000)
    hear.get_by_label("seed 2").press("ArrowLeft")
    assert hear.get_by_label("seed 1").is_checked() and hear.evaluate(f"{MADE}.map((a) => a.src)") == sources


def test_a_star_plays_its_cell_and_shows_how_far_it_is(hear):
    hear.mouse.click(*place(hear, 24 + 4))
    hear.wait_for_function(f"{MADE}[4].currentTime > 0.1", timeout=30_000)
    assert hear.locator(".wb-here").get_attribute("data-prototype") == "4"
    hear.wait_for_function(f"{VIEW}.state.sounding === 28 && {VIEW}.state.progress > 0", timeout=30_000)
    assert "prototype oboe 1" in hear.inner_text(".wb-now")
    assert hear.locator(".wb-here").evaluate("(e) => e.getBoundingClientRect().top < window.innerHeight")
    hear.mouse.click(*place(hear, 24 + 4))
    hear.wait_for_function(f"{MADE}[4].paused", timeout=30_000)


def test_a_data_point_plays_and_leads_to_its_nearest_prototype(hear):
    i = int(hear.evaluate(f"Math.min(...Object.keys({VIEW}.data.sounds))"))
    hear.mouse.click(*place(hear, i))
    hear.wait_for_function("document.querySelector('.wb-audio').currentTime > 0.05", timeout=30_000)
    assert hear.locator(".wb-here").get_attribute("data-prototype") == str(i % 6)
    assert hear.evaluate(f"{MADE}.every((a) => a.paused)")
    play(hear, f"{MADE}[0]")
    assert hear.evaluate("document.querySelector('.wb-audio').paused")
    assert hear.evaluate(f"{VIEW}.state.sounding") == 24


def test_stars_by_keyboard_and_legend(hear):
    hear.locator(".wb-marks").focus()
    for _ in range(12):
        hear.keyboard.press("ArrowRight")
        if hear.evaluate(f"{VIEW}.isStar({VIEW}.cursor)"):
            break
    star = hear.evaluate(f"{VIEW}.cursor - 24")
    assert star >= 0, "arrows reach the stars"
    hear.keyboard.press("Enter")
    hear.wait_for_function(f"{MADE}[{star}].currentTime > 0.05", timeout=30_000)
    assert hear.locator(".wb-class-count").all_inner_texts() == ["8", "8", "8"]
    pixels = "document.querySelector('.wb-points').toDataURL()"
    before = hear.evaluate(pixels)
    hear.locator(".wb-class").first.click()
    hear.wait_for_function(f"(before) => {pixels} !== before", arg=before, timeout=30_000)


@pytest.mark.parametrize("width", [600, 900, 1100])
def test_nothing_overflows(hear, width):
    hear.set_viewport_size({"width": width, "height": 900})
    assert hear.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for part in (".wb-card", ".wb-name", ".wb-near .wb-detail", ".wb-row-name"):
        fits = f"[...document.querySelectorAll('{part}')].every((e) => e.scrollWidth <= e.clientWidth + 1)"
        assert hear.evaluate(fits), part


def test_without_scripts_the_first_seed_plays(chromium, pages, tmp_path):
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(pages[0].save(tmp_path / "hear.html").as_uri())
    assert page.locator("audio").count() == 12 and page.locator(".wb-seeds").is_hidden()
    assert page.locator(".wb-still img").is_visible()
    page.goto(pages[1].save(tmp_path / "why.html").as_uri())
    assert page.locator("audio").count() == 1 and "<0>: bell, logit 3.100" in page.inner_text(".wb-card")
    context.close()


# Why this class? ---------------------------------------------------------------------------------------------------


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def adds(page) -> list[float]:
    return [number(text) for text in page.locator(".wb-part:not(.wb-names) b").all_inner_texts()]


def test_parts_add_up_to_the_logit_of_the_predicted_class(why, pages):
    *parts, total = adds(why)
    assert total == pytest.approx(pages[1].logits[0, 0], abs=6e-4) and sum(parts) == pytest.approx(total, abs=3e-3)
    names = why.locator(".wb-part:not(.wb-names) span").all_inner_texts()
    assert names[:2] == ["bell 1", "bell 2"] and names[3:] == ["all 3 others", "bias", "logit of bell"]
    assert why.inner_text(".wb-verdict").endswith("✓ right")
    bars = why.locator(".wb-track i").evaluate_all("(bars) => bars.map((b) => [b.className, b.offsetWidth])")
    widths = np.array([width for _, width in bars])
    assert [kind == "wb-for" for kind, _ in bars] == [part > 0 for part in parts]
    assert widths[0] / widths[1] == pytest.approx(parts[0] / parts[1], abs=0.05)


def test_another_class_and_another_clip(why, pages):
    why.get_by_label("explain").select_option("<harp>")
    *parts, total = adds(why)
    assert total == pytest.approx(pages[1].logits[0, 1], abs=6e-4) and sum(parts) == pytest.approx(total, abs=3e-3)
    assert why.locator(".wb-cards .wb-made, .wb-cell > .wb-card:first-child").count() == 3
    why.get_by_label("clip", exact=True).select_option("<1>")
    assert why.get_by_label("explain").input_value() == "oboe", "it goes back to what was predicted"
    assert adds(why)[-1] == pytest.approx(pages[1].logits[1, 2], abs=6e-4)
    assert "✗ wrong: true class bell" in why.inner_text(".wb-verdict")
    assert why.locator(".wb-cell .wb-name").all_inner_texts()[0] == "oboe 2"
    assert why.locator(".wb-near .wb-detail").first.inner_text().split() == ["clip", "2", "5.5"]


def test_clip_prototypes_and_real_clips_play_one_at_a_time(why):
    play(why, "document.querySelector('.wb-heard audio')")
    play(why, "document.querySelector('.wb-cell audio')")
    assert why.evaluate("document.querySelector('.wb-heard audio').paused")
    play(why, "document.querySelector('.wb-near audio')")
    assert why.evaluate("document.querySelector('.wb-cell audio').paused")


@pytest.mark.parametrize("width", [600, 900, 1100])
def test_nothing_of_the_sum_overflows(why, width):
    why.set_viewport_size({"width": width, "height": 900})
    assert why.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for part in (".wb-card", ".wb-part", ".wb-asked", ".wb-two > div"):
        fits = f"[...document.querySelectorAll('{part}')].every((e) => e.scrollWidth <= e.clientWidth + 1)"
        assert why.evaluate(fits), part


# In a notebook -----------------------------------------------------------------------------------------------------

CELL = """
import numpy as np
from workbench.views.prototype_maps import DataPoints
from workbench.views.prototype_pages import PrototypeSounds, RealClip, prototype_page
from workbench.views.similarity_pages import ExplainedClip, similarity_page
CLASSES, WEIGHTS, BIAS = {classes!r}, np.array({weights!r}), np.array({bias!r})
{source}
for view in make_pages():
    display(view)
"""


def test_both_pages_in_jupyterlab_and_in_the_exported_page(chromium, lab, offline_page, tmp_path):
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert")
    url, folder = lab
    values = {"classes": CLASSES, "weights": WEIGHTS.tolist(), "bias": BIAS.tolist()}
    cell = nbformat.v4.new_code_cell(CELL.format(source=inspect.getsource(make_pages), **values))
    book = nbformat.v4.new_notebook(cells=[cell])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "prototypes.ipynb")
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.goto(url.format("prototypes.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(".wb-total", timeout=60_000)
    page.wait_for_function(f"{VIEW}?.link", timeout=60_000)
    silent = page.evaluate(f"[...Array(24).keys()].find((i) => !{VIEW}.data.sounds[i])")
    page.locator(".wb-prototypes > .wb-title").click()
    page.evaluate(f"() => {{ {VIEW}.click({VIEW}.panels[0], {silent}); }}")  # the kernel sends what the page lacks
    page.wait_for_function("document.querySelector('.wb-audio').currentTime > 0.05", timeout=60_000)
    page.screenshot(path=tmp_path / "lab.png")
    page.evaluate("async () => { await window.jupyterapp.commands.execute('docmanager:save'); }")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=60_000)
    context.close()

    text, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.read(folder / "prototypes.ipynb", as_version=4))
    Path(tmp_path / "export.html").write_text(text, encoding="utf-8")
    offline_page.goto((tmp_path / "export.html").as_uri(), wait_until="domcontentloaded")
    offline_page.wait_for_selector(".wb-total", timeout=60_000)
    offline_page.wait_for_function(f"{VIEW} && !document.querySelector('.wb-seeds').hidden", timeout=60_000)
    offline_page.get_by_label("seed 3").check()
    play(offline_page, f"{MADE}[5]")
    offline_page.get_by_label("explain").select_option("oboe")
    assert offline_page.locator(".wb-total span").inner_text() == "logit of oboe"
