"""A listening test answered in a browser: from disk without a network, and in a real JupyterLab that saves at once."""

from __future__ import annotations

import inspect
from pathlib import Path

import nbformat
import numpy as np
import pytest

from workbench.views import ListeningTrial, analyse_responses, listening_test

CONNECTED = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
METHODS = ["dictionary method", "occlusion method"]


def make_trials():
    t = np.arange(8000) / 8000
    sound = [
        [(0.1 * (m + 2) * np.sin(2 * np.pi * (300 + 40 * k) * t)).astype("float32") for m in range(3)] for k in range(3)
    ]
    labels = ["bark", "<bell>", "siren"]
    return [
        ListeningTrial(f"recording {k}", labels[k], dict(zip(METHODS, sound[k], strict=False)), 8000, sound[k][2])
        for k in range(3)
    ]


def begin(page, listener: str) -> None:
    page.get_by_label("Your name or initials").fill(listener)
    page.keyboard.press("Enter")
    page.wait_for_selector(".wb-question")


def play(page, name: str) -> None:
    audio = f"document.querySelector('audio[aria-label=\"{name}\"]')"
    page.evaluate(f"void {audio}.play()")
    page.wait_for_function(f"{audio}.currentTime > 0.3 || {audio}.ended", timeout=60_000)


def rate_screen(page, ratings: list[int]) -> None:
    """Hear and rate A, B ... and go on."""
    for letter, rating in zip("ABC", ratings, strict=False):
        play(page, f"Sound {letter}")
        slider = page.get_by_role("slider", name=f"rating of Sound {letter}")
        slider.focus()
        page.keyboard.press("End" if rating == 100 else "Home" if rating == 0 else "Enter")
    page.wait_for_selector(".wb-go:not([disabled])")
    page.get_by_role("button", name="Next").click()


@pytest.fixture
def opened(offline_page, tmp_path):
    view = listening_test(make_trials(), seed=5, path=tmp_path / "responses.csv")
    view.save(tmp_path / "test.html")
    offline_page.goto((tmp_path / "test.html").as_uri())
    offline_page.wait_for_selector(".wb-welcome")
    return offline_page, view


def test_session_of_three_trials_is_downloaded_and_decoded(opened, tmp_path):
    page, view = opened
    source = page.content()
    assert not any(name in source for name in (*METHODS, "recording"))
    begin(page, 'Ann, "A"')
    questions = []
    for _ in range(3):
        questions.append(page.inner_text(".wb-question"))
        assert page.evaluate("document.activeElement.className") == "wb-question", (
            "the reader is told of the new screen"
        )
        assert not any(name in page.content() for name in (*METHODS, "recording"))
        rate_screen(page, [0, 100])
    assert page.inner_text(".wb-question") == "Done. Thank you."
    assert "6 answers in this browser" in page.inner_text(".wb-note")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the answers").click()
    assert download.value.suggested_filename == "responses-Ann-A-.csv"
    download.value.save_as(tmp_path / "downloaded.csv")
    table = view.responses(tmp_path / "downloaded.csv")
    steps = view.steps('Ann, "A"')
    found = [(trial, part["method"].tolist()) for trial, part in table.groupby("trial", sort=False)]
    assert found == steps, "the page finds the same order as Python"
    labels = {trial.id: trial.label for trial in make_trials()}
    assert questions == [
        f"How well does each sound match the part of the clip that is {labels[trial]}?" for trial, _ in steps
    ]
    assert table["rating"].tolist() == [0, 100] * 3 and (table["plays"] >= 1).all() and (table["seconds"] > 0).all()
    assert table["listener"].unique().tolist() == ['Ann, "A"']
    assert len(analyse_responses(table)) == 3 + 2 * 3, "two methods, their difference, and each of three classes"


def test_next_waits_for_hearing_and_rating(opened):
    page, _ = opened
    begin(page, "Bob")
    assert page.evaluate("[...document.querySelectorAll('audio')].every((a) => a.paused && !a.autoplay)")
    go = page.get_by_role("button", name="Next")
    assert go.is_disabled() and page.inner_text(".wb-missing") == "Still to do: hear A, B; rate A, B"
    slider = page.get_by_role("slider", name="rating of Sound A")
    assert slider.get_attribute("aria-valuetext") == "not rated"
    slider.click()  # in the middle, where it stands: that is a rating of 50
    assert slider.get_attribute("aria-valuetext") == "50"
    assert page.inner_text(".wb-missing") == "Still to do: hear A, B; rate B"
    play(page, "Sound A")
    play(page, "Sound B")
    playing = "[...document.querySelectorAll('audio')].filter((a) => !a.paused && !a.ended).length"
    assert page.evaluate(playing) <= 1, "one sound at a time"
    page.wait_for_function("document.querySelector('.wb-missing').textContent === 'Still to do: rate B'")
    page.get_by_role("slider", name="rating of Sound B").press("ArrowRight")
    assert go.is_enabled()


def test_who_comes_back_goes_on(opened):
    page, view = opened
    begin(page, "Cleo")
    rate_screen(page, [100, 0])
    page.reload()
    page.wait_for_selector(".wb-welcome")
    begin(page, "Cleo")
    assert page.inner_text(".wb-place") == "2 of 3" and "2 answers in this browser" in page.inner_text(".wb-note")
    page.reload()
    page.wait_for_selector(".wb-welcome")
    begin(page, "Dan")
    assert page.inner_text(".wb-place") == "1 of 3"


def test_naming_blindly(offline_page, tmp_path):
    page = offline_page
    view = listening_test(make_trials(), seed=5, path=tmp_path / "r.csv", task="identification")
    view.save(tmp_path / "test.html")
    page.goto((tmp_path / "test.html").as_uri())
    page.wait_for_selector(".wb-welcome")
    begin(page, "Eve")
    labels = {trial.id: trial.label for trial in make_trials()}
    for place, (trial, _) in enumerate(view.steps("Eve")):
        assert page.inner_text(".wb-place") == f"{place + 1} of 6" and page.locator("audio").count() == 1
        play(page, "The sound")
        page.get_by_role(
            "radio", name=labels[trial] if place else "siren" if labels[trial] != "siren" else "bark"
        ).check()
        page.get_by_role("button", name="Next").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the answers").click()
    download.value.save_as(tmp_path / "downloaded.csv")
    table = view.responses(tmp_path / "downloaded.csv")
    assert table["correct"].tolist() == [False, *[True] * 5] and (table["choices"] == 3).all()
    assert list(zip(table["trial"], table["method"].map(lambda m: [m]), strict=True)) == view.steps("Eve")


def test_rating_against_descriptions(offline_page, tmp_path):
    page, said = (
        offline_page,
        {"bark": "A dog", "<bell>": "Metal & <b>ringing</b>", "siren": "It wails", "rain": "Water"},
    )
    options = {"task": "description", "descriptions": said}
    view = listening_test(make_trials(), seed=5, path=tmp_path / "r.csv", **options)
    view.save(tmp_path / "test.html")
    page.goto((tmp_path / "test.html").as_uri())
    page.wait_for_selector(".wb-welcome")
    assert "6 sounds, one at a time" in page.inner_text(".wb-welcome") and "4 descriptions" in page.inner_text(
        ".wb-welcome"
    )
    begin(page, "Hal")
    labels, orders = {trial.id: trial.label for trial in make_trials()}, set()
    for trial, _ in view.steps("Hal"):
        assert page.locator("audio").count() == 1 and page.get_by_role("slider").count() == 4
        orders.add(tuple(page.locator(".wb-descriptions .wb-name").all_inner_texts()))
        assert page.inner_text(".wb-missing") == "Still to do: hear the sound; rate 4 more"
        play(page, "The sound")
        for name, text in said.items():
            slider = page.get_by_role("slider", name=f"rating of {text}:")
            slider.press("End" if name == labels[trial] else "Home")
        page.get_by_role("button", name="Next").click()
    assert len(orders) == 1 and sorted(*orders) == sorted(said.values()), "one order for a listener"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the answers").click()
    download.value.save_as(tmp_path / "downloaded.csv")
    table = view.responses(tmp_path / "downloaded.csv")
    assert len(table) == 24 and (table["rating"] == 100 * (table["description"] == table["label"])).all()
    found = view.results(table).frame.set_index(["measure", "class", "method"])["mean"]
    assert found.xs("own description highest").eq(1).all() and found.xs("own minus other descriptions").eq(100).all()


@pytest.mark.parametrize("width", [420, 900])
def test_nothing_overflows(opened, width):
    page, _ = opened
    page.set_viewport_size({"width": width, "height": 900})
    begin(page, "Fay")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(
        "[...document.querySelectorAll('.wb-card, .wb-ends')].every((e) => e.scrollWidth <= e.clientWidth + 1)"
    )


CELL = """
import numpy as np
from workbench.views.listening import ListeningTrial, listening_test
METHODS = {methods!r}
{source}
listening_test(make_trials(), seed=5, path="responses.csv")
"""


def test_jupyterlab_saves_every_screen_and_knows_who_comes_back(chromium, lab):
    url, folder = lab
    code = CELL.format(methods=METHODS, source=inspect.getsource(make_trials))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "listening.ipynb")
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    view = listening_test(make_trials(), seed=5)  # the same test, here
    page.goto(url.format("listening.ipynb"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(CONNECTED, timeout=60_000)
    run = "() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
    page.evaluate(run)
    page.wait_for_selector('.wb-listening[data-live="true"]', timeout=60_000)
    begin(page, "Gil")
    for many in (2, 4):
        rate_screen(page, [0, 100])
        page.wait_for_function(f"document.querySelector('.wb-note').textContent.startsWith('{many} answers saved to')")
        table = view.responses(Path(folder) / "responses.csv")
        assert table["rating"].tolist() == [0, 100] * (many // 2) and (table["listener"] == "Gil").all()
    page.evaluate(run)  # a fresh output of the same test
    page.wait_for_selector(".wb-welcome", timeout=60_000)
    page.wait_for_selector('.wb-listening[data-live="true"]', timeout=60_000)
    begin(page, "Gil")
    assert page.inner_text(".wb-place") == "3 of 3"

    page.evaluate(
        "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
    )
    rate_screen(page, [100, 0])
    page.wait_for_selector(".wb-trouble", timeout=60_000)
    assert "2 of 6 answers not saved" in page.inner_text(".wb-note")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the answers").click()
    download.value.save_as(Path(folder) / "downloaded.csv")
    paths = [Path(folder) / name for name in ("responses.csv", "downloaded.csv")]
    table = view.responses(paths)
    assert len(table) == 6 and table["rating"].tolist()[-2:] == [100, 0], "both files together, nothing twice"

    page.evaluate(run)
    page.wait_for_selector(".wb-welcome", timeout=60_000)
    page.wait_for_selector('.wb-listening[data-live="true"]', timeout=60_000)
    begin(page, "Gil")
    page.wait_for_function("document.querySelector('.wb-note').textContent.startsWith('6 answers saved to')")
    assert len(Path(folder, "responses.csv").read_text().splitlines()) == 7, "what the browser kept is saved after all"
    context.close()
