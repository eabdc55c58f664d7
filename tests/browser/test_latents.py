"""The page of latents: from disk without a network, and in a real JupyterLab with its kernel."""

from __future__ import annotations

import inspect

import nbformat
import numpy as np
import pandas as pd
import pytest

from workbench.views.latents import latent_page

CURRENT = "document.querySelector('.wb-latents').wbView.current"
FIRST_TIME = "document.querySelector('.wb-card > audio').currentTime"
SEQUENCE = "document.querySelector('.wb-sequence audio')"


def make_latents(n: int = 120, latents: int = 60):
    """(z, table): latent k follows label k % 4, the first alone; the last five are dead."""
    rng = np.random.default_rng(0)
    label = np.array(["belt", "breathy", "straight", "vibrato"])[np.arange(n) % 4]
    z = np.maximum(rng.normal(size=(n, latents)) - 1.3, 0)
    for k in range(4):
        z[:, k] = (np.arange(n) % 4 == k) * rng.uniform(1, 2, n)
    z[:, -5:] = 0
    f0 = 110 * 2 ** rng.uniform(0, 2, n)
    z[:, 4] = f0 / 110
    return z, pd.DataFrame({"id": [f"clip {i:03d}" for i in range(n)], "label": label, "f0": f0})


def frames(i: int):
    """Activation that rises over a tone."""
    t = np.linspace(0, 2, 80)
    return t, np.outer(t, np.ones(60))


@pytest.fixture
def opened(offline_page, tone, tmp_path):
    """(page, view) with the latents of the four labels and some sounds, from a file."""
    z, table = make_latents()
    options = {"columns": ["label", "f0"], "decoder": np.random.default_rng(1).normal(size=(60, 16)), "frames": frames}
    view = latent_page(z, table, audio=tone, sounds=40, **options)
    view.save(tmp_path / "latents.html")
    offline_page.goto((tmp_path / "latents.html").as_uri())
    offline_page.wait_for_selector(".wb-latent h3")
    return offline_page, view


def shown(page) -> list[int]:
    return [int(text) for text in page.locator(".wb-rows .wb-c-latent").all_inner_texts()]


def search(page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)


def test_search_narrows_and_a_click_opens(opened):
    page, view = opened
    assert "55 alive · 5 dead" in page.inner_text(".wb-found")
    search(page, "vibrato")
    rows = page.locator(".wb-rows .wb-row")
    wanted = view.table.index[view.table["label"] == "vibrato"]
    assert page.inner_text(".wb-found") == f"{len(wanted)} of 55 alive latents"
    assert set(shown(page)) <= set(wanted) and len(wanted) < 30, "rows out of view are not drawn"
    assert shown(page)[0] == 3, "sorted by AUC"
    rows.first.click()
    assert page.inner_text(".wb-latent h3") == "Latent 3" and "vibrato" in page.inner_text(".wb-verdict")
    assert page.locator(".wb-card").count() == 11
    assert page.locator(".wb-card > audio").count() == 11, "all its clips play"
    assert page.locator(".wb-picture polyline.wb-line").count() == 11
    assert page.inner_text(".wb-best .wb-strip-name") == "vibrato"
    assert page.locator(".wb-strip-share").all_inner_texts() == ["100 %", "0 %", "0 %", "0 %"]

    search(page, "#4")
    assert shown(page) == [4]
    search(page, "f0 belt")
    assert set(shown(page)) <= set(view.table.index[(view.table["factor"] == "f0") & (view.table["label"] == "belt")])
    search(page, "#57")
    assert page.inner_text(".wb-found") == "latent 57 is dead: active in no clip"
    search(page, "nothing like it")
    assert page.inner_text(".wb-found") == "no alive latent fits" and shown(page) == []


def test_plays_one_sound_at_a_time_and_never_by_itself(opened):
    page, _ = opened
    assert page.evaluate("[...document.querySelectorAll('audio')].every((a) => a.paused && !a.autoplay)")
    page.locator(".wb-picture").first.click()
    page.wait_for_function(f"{FIRST_TIME} > 0.2", timeout=60_000)
    page.locator(".wb-picture").nth(2).click(position={"x": 5, "y": 20})
    page.wait_for_function(
        """() => {
          const [first, , third] = document.querySelectorAll('.wb-card > audio');
          return first.paused && !third.paused && third.currentTime > 0.2;
        }""",
        timeout=60_000,
    )
    # Another latent: the sound of the last one ends with it.
    page.evaluate("window.before = document.querySelectorAll('.wb-card > audio')[2]")
    page.locator(".wb-chip").first.click()
    assert page.evaluate("window.before.paused")
    page.get_by_role("button", name="back").click()
    assert page.evaluate("document.querySelectorAll('.wb-card > audio').length") == 11


def test_columns_sort_up_and_down(opened):
    page, view = opened
    for name, column in (("active in", "density"), ("max", "max")):
        head = page.get_by_role("columnheader", name=name)
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        values = view.table.loc[shown(page), column].to_numpy()
        assert values[0] == view.table[column].max() and (np.diff(values) <= 1e-9).all()
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        alive = view.table[view.table["density"] > 0]
        assert view.table.loc[shown(page)[0], column] == alive[column].min()


def test_keyboard_goes_through_the_table_and_plays(opened):
    page, _ = opened
    page.get_by_role("searchbox").focus()
    page.keyboard.press("ArrowDown")  # from the search to the table
    order = page.evaluate(
        """() => {
          const v = document.querySelector('.wb-latents').wbView;
          return v.order.map((k) => v.numbers[k]);
        }"""
    )
    page.keyboard.press("Home")
    assert page.evaluate(CURRENT) == order[0]
    page.keyboard.press("ArrowDown")
    assert page.evaluate(CURRENT) == order[1]
    page.keyboard.press("End")
    assert page.evaluate(CURRENT) == order[-1] and order[-1] in shown(page), "scrolled into view"
    selected = page.locator('.wb-row[aria-selected="true"] .wb-c-latent').all_inner_texts()
    assert selected == [str(order[-1])]
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_function(f"{SEQUENCE}.currentTime > 0.1", timeout=60_000)  # of its moments
    page.keyboard.press("Enter")
    assert page.evaluate(f"{SEQUENCE}.paused")


def test_latent_without_sounds_says_so_and_shows_its_numbers(offline_page, tone, tmp_path):
    (z, table), page = make_latents(), offline_page
    decoder = np.random.default_rng(1).normal(size=(60, 16))
    view = latent_page(z, table, columns=["label", "f0"], decoder=decoder, audio=tone, sounds=40)
    page.goto(view.save(tmp_path / "latents.html").as_uri())
    page.wait_for_selector(".wb-latent h3")
    silent = next(latent for latent in view.table.index[5:55] if latent not in view.carried)
    search(page, f"#{silent}")
    page.locator(".wb-rows .wb-row").click()
    assert "its sound is not on this page" in page.inner_text(".wb-groups")
    assert f"Latents marked ♪ play on this page: {len(view.carried)} of 55 alive" in page.inner_text(".wb-note")
    assert page.locator(".wb-strip").count() == 5 and page.locator(".wb-chip").count() >= 6
    values = page.locator(".wb-value").all_inner_texts()
    assert float(values[0]) == pytest.approx(view.table.loc[silent, "max"], rel=0.01)


def sweep(i: int):
    """Five seconds whose level rises and falls around one second of its own."""
    t = np.arange(5 * 16000) / 16000
    at = 0.6 + (i % 8) * 0.5
    return (0.4 * np.sin(2 * np.pi * 500 * t) * np.exp(-(((t - at) / 0.1) ** 2))).astype(np.float32), 16000


def sweep_frames(i: int):
    t = (np.arange(250) + 0.5) / 50
    return t, np.outer(np.exp(-(((t - 0.6 - (i % 8) * 0.5) / 0.1) ** 2)), np.ones(60))


@pytest.fixture
def brief(offline_page, tmp_path):
    """(page, view) with whole clips of one latent and the moments of others, and names of two."""
    z, table = make_latents()
    names = {0: ("a low belt", "balanced accuracy 0.91, best wrong name 0.62"), 3: "trembling"}
    options = {"audio": sweep, "frames": sweep_frames, "sounds": 11, "moment": 1.0, "names": names}
    view = latent_page(z, table, columns=["label", "f0"], **options)
    view.save(tmp_path / "latents.html")
    offline_page.goto((tmp_path / "latents.html").as_uri())
    offline_page.wait_for_selector(".wb-latent h3")
    return offline_page, view


LOUDEST = """async () => {
  const view = document.querySelector('.wb-latents').wbView, found = [];
  for (const card of view.cards.filter((card) => card.moment)) {
    const x = await view.cutMoment(card);
    let best = 0;
    x.forEach((v, j) => { if (Math.abs(v) > Math.abs(x[best])) best = j; });
    found.push([card.clip, card.moment.start + best / 44100, x.length / 44100, Math.abs(x[0])]);
  }
  return found;
}"""


def test_moments_are_cut_where_the_latent_fires_from_the_whole_and_alone(brief):
    page, view = brief
    for latent in (view.carried[0], view.carried_moments[-1]):
        page.evaluate("(latent) => document.querySelector('.wb-latents').wbView.open(latent)", latent)
        found = page.evaluate(LOUDEST)
        assert len(found) >= 6
        for clip, loudest, length, first in found:
            assert loudest == pytest.approx(0.6 + (clip % 8) * 0.5, abs=0.02) and first < 0.01
            assert length == pytest.approx(1.0, abs=0.001)
    assert page.locator(".wb-card .wb-slice").count() >= 1 and page.locator(".wb-blank").count() >= 1


def test_moments_play_one_after_the_other_and_stop_other_sounds(brief):
    page, view = brief
    assert page.locator(".wb-moment-mark").count() == 9, "six strongest and three weaker; not the silent"
    mark = page.locator(".wb-moment-mark").first
    picture = mark.locator("..")
    clip = view.example_clips(view.carried[0])[0]
    middle = mark.bounding_box()["x"] + mark.bounding_box()["width"] / 2 - picture.bounding_box()["x"]
    assert middle / picture.bounding_box()["width"] * 5 == pytest.approx(0.6 + (clip % 8) * 0.5, abs=0.1)
    page.locator(".wb-picture").first.click(position={"x": 5, "y": 20})
    page.wait_for_function(f"{FIRST_TIME} > 0.1", timeout=60_000)
    play = page.get_by_role("button", name="play its 6 strongest moments, one after the other")
    play.focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"{SEQUENCE}.currentTime > 0.2", timeout=60_000)
    assert page.evaluate("document.querySelector('.wb-card > audio').paused")
    assert page.evaluate(f"{SEQUENCE}.duration") == pytest.approx(6 * 1.25, abs=0.01)
    assert play.get_attribute("aria-pressed") == "true" and page.locator(".wb-in-turn").count() == 1
    page.locator(".wb-moment button").nth(1).click()
    page.wait_for_function("document.querySelectorAll('.wb-moment audio')[1].currentTime > 0.1", timeout=60_000)
    assert page.evaluate(f"{SEQUENCE}.paused") and play.get_attribute("aria-pressed") == "false"


def test_a_moment_that_is_nearly_silent_says_so_when_it_is_played(offline_page, tmp_path):
    z, table = make_latents()
    options = {"frames": sweep_frames, "sounds": 11, "moment": 1.0}
    view = latent_page(z, table, audio=lambda i: (0.0003 * sweep(i)[0], sweep(i)[1]), **options)
    view.save(tmp_path / "latents.html")
    offline_page.goto((tmp_path / "latents.html").as_uri())
    offline_page.wait_for_selector(".wb-moment-mark")
    assert "nearly silent" not in offline_page.inner_text(".wb-latents")
    offline_page.locator(".wb-moment button").first.click()
    offline_page.wait_for_function("document.querySelector('.wb-moment audio').currentTime > 0.1", timeout=60_000)
    assert " s · nearly silent, −" in offline_page.locator(".wb-moment button").first.inner_text()
    assert offline_page.inner_text(".wb-latents").count("nearly silent") == 1


def test_without_frames_no_moments_are_shown(offline_page, tone, tmp_path):
    z, table = make_latents()
    latent_page(z, table, audio=tone, sounds=11).save(tmp_path / "latents.html")
    offline_page.goto((tmp_path / "latents.html").as_uri())
    offline_page.wait_for_selector(".wb-latent h3")
    assert offline_page.locator(".wb-moment, .wb-moment-mark, .wb-moment-button, .wb-c-name").count() == 0
    assert "♩" not in offline_page.inner_text(".wb-latents")


def test_names_are_shown_searched_and_sorted(brief):
    page, _ = brief
    assert page.inner_text(".wb-latent h3") == "Latent 0: a low belt"
    assert page.inner_text(".wb-worth") == "balanced accuracy 0.91, best wrong name 0.62"
    assert shown(page)[:2] == [0, 3], "by name at first; those without one come last"
    page.get_by_role("columnheader", name="name").get_by_role("button").click()
    assert shown(page)[:2] == [3, 0]
    search(page, "trembl")
    assert shown(page) == [3] and page.locator(".wb-rows .wb-c-name").inner_text() == "trembling"


def test_names_that_are_worth_a_number_are_sorted_by_it(offline_page, tone, tmp_path):
    z, table = make_latents()
    names = {0: ("high", "0.61"), 3: ("low", "0.83")}
    latent_page(z, table, audio=tone, sounds=0, names=names).save(tmp_path / "page.html")
    offline_page.goto((tmp_path / "page.html").as_uri())
    offline_page.wait_for_selector(".wb-latent h3")
    assert shown(offline_page)[:2] == [3, 0], "the best name first"
    assert offline_page.locator(".wb-rows .wb-c-worth").first.inner_text() == "0.83"
    assert offline_page.inner_text(".wb-worth").startswith("score 0.")


def test_strange_labels_stay_text(offline_page, tone, tmp_path):
    z, table = make_latents()
    table["label"] = table["label"].replace("vibrato", "<img src=x onerror=alert(1)>")
    latent_page(z, table, audio=tone, sounds=0, title="<script>alert(2)</script>").save(tmp_path / "page.html")
    offline_page.goto((tmp_path / "page.html").as_uri())
    offline_page.wait_for_selector(".wb-latent h3")
    search(offline_page, "onerror")
    offline_page.locator(".wb-rows .wb-row").first.click()
    assert "<img src=x onerror=alert(1)>" in offline_page.inner_text(".wb-verdict")
    assert offline_page.locator(".wb-latents img[onerror], .wb-latents script").count() == 0


def test_one_latent_without_labels(offline_page, tone, tmp_path):
    latent_page(np.ones((3, 1)), pd.DataFrame({"id": list("abc")}), audio=tone).save(tmp_path / "page.html")
    offline_page.goto((tmp_path / "page.html").as_uri())
    offline_page.wait_for_selector(".wb-latent h3")
    assert offline_page.inner_text(".wb-verdict") == "no label or factor above chance"
    assert offline_page.locator(".wb-card > audio").count() == 3


def test_many_latents_stay_fluid(offline_page, tmp_path, record_property):
    rng = np.random.default_rng(0)
    z = np.maximum(rng.normal(size=(400, 4096)) - 2, 0)
    table = pd.DataFrame({"id": np.arange(400).astype(str), "label": rng.integers(0, 9, 400).astype(str)})
    latent_page(z, table).save(tmp_path / "page.html")
    offline_page.goto((tmp_path / "page.html").as_uri())
    offline_page.wait_for_selector(".wb-latent h3")
    measure = """() => {
      const view = document.querySelector('.wb-latents').wbView, start = performance.now();
      view.sortBy(view.fields.find((field) => field.key === 'max'));
      const sorted = performance.now();
      view.open(view.numbers[view.order[2000]]);
      return [sorted - start, performance.now() - sorted, document.querySelectorAll('.wb-rows .wb-row').length];
    }"""
    rounds = [offline_page.evaluate(measure) for _ in range(4)]
    sort, opening, rows = (min(values) for values in zip(*rounds, strict=True))
    record_property("sort_ms", sort)
    assert sort < 200 and opening < 200 and rows < 40


# ---- JupyterLab

SETUP = """
import numpy as np, pandas as pd
from workbench.views.latents import latent_page
{make_latents}
{frames}
{tone}
z, table = make_latents()
page = latent_page(z, table, columns=["label", "f0"], frames=frames, audio=make_tone, sounds=25)
page
"""
ASK = 'print("open", page.selected, "carried", page.selected in page.carried)'
CONNECTED = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"


def run(page, command: str) -> None:
    page.evaluate("(command) => { window.jupyterapp.commands.execute(command); }", command)


def open_silent(page) -> int:
    """Open a latent whose strongest clip the page does not have."""
    latent = page.evaluate(
        """() => {
          const v = document.querySelector('.wb-latents').wbView, per = v.examples.length / v.numbers.length;
          return [...v.numbers].find((_, k) => !v.data.clips[v.examples[k * per]]);
        }"""
    )
    search(page, f"#{latent}")
    page.locator(".wb-rows .wb-row").first.click()
    return latent


def test_the_kernel_sends_what_the_page_lacks(chromium, lab, tone):
    url, folder = lab
    sources = {"make_latents": make_latents, "frames": frames, "tone": tone}
    cells = [SETUP.format(**{name: inspect.getsource(source) for name, source in sources.items()}), ASK]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "latents.ipynb")
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page, lost = context.new_page(), []
    page.on("requestfailed", lambda request: lost.append(f"{request.url} {request.failure}"))
    page.goto(url.format("latents.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)
    run(page, "notebook:run-all-cells")
    page.wait_for_selector('.wb-latents[data-live="true"]', timeout=60_000)
    assert "Every latent plays" in page.inner_text(".wb-note")

    latent = open_silent(page)
    page.wait_for_function("document.querySelectorAll('.wb-card > audio').length === 11", timeout=60_000)
    assert page.locator(".wb-picture polyline.wb-line").count() == 11, "curves come from the kernel too"
    page.wait_for_selector(".wb-sequence button", timeout=60_000)
    assert page.locator(".wb-moment-mark").count() == page.locator(".wb-moment button").count() == 9, "so do moments"
    page.locator(".wb-moment button").first.click()
    page.wait_for_function("document.querySelector('.wb-moment audio').currentTime > 0.1", timeout=60_000)
    page.locator(".wb-picture").first.click(position={"x": 5, "y": 20})
    page.wait_for_function(f"{FIRST_TIME} > 0.2", timeout=60_000)
    assert "5.0 s · 16 kHz" in page.inner_text(".wb-card >> nth=0")
    page.locator(".wb-search").evaluate("(node) => node.scrollIntoView()")
    page.screenshot(path=folder / "latents.png")
    page.locator(".jp-CodeCell .cm-content").nth(1).click()
    run(page, "notebook:run-cell")
    text = f"open {latent} carried False"
    page.wait_for_function("(text) => document.body.innerText.includes(text)", arg=text, timeout=60_000)

    # The kernel ends: the page says so, and what it carries still plays.
    page.evaluate(
        "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
    )
    open_silent(page)
    page.wait_for_function(
        "document.querySelector('.wb-groups').innerText.includes('the kernel that made this page has ended')"
        " || !document.querySelector('.wb-latents').dataset.live",
        timeout=60_000,
    )
    assert "Latents marked ♪ play on this page" in page.inner_text(".wb-note")
    assert not [url for url in lost if url.startswith("blob:")], "no sound is taken away while it still loads"
    search(page, "")
    page.evaluate("(() => { const v = document.querySelector('.wb-latents').wbView; v.open(v.data.carried[0]); })()")
    page.locator(".wb-picture").first.click(position={"x": 5, "y": 20})
    page.wait_for_function(f"{FIRST_TIME} > 0.2", timeout=60_000)
    context.close()
