"""One sound at a time over all outputs of a page, nothing announced that is not heard: late, broken, missing sounds."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.views import ListeningTrial, listening_test, players, sound_map, sounds_by_setting

MAP = "document.querySelector('.wb-map').wbView"
PLAYING = "[...document.querySelectorAll('audio')].map((a) => !a.paused && !a.error)"
#: A kernel whose answers come when the test wants: ``answers[i]()`` sends the tone of point 0 as that of i.
KERNEL = """() => {
  const map = document.querySelector('.wb-map').wbView, sound = map.data.sounds[0];
  window.answers = {};
  const raw = Uint8Array.from(atob(sound[0]), (c) => c.charCodeAt(0));
  map.connect({ selected: () => [], select: () => {}, sound: (i) => new Promise((done, fail) => {
    window.answers[i] = () => done({ data: raw, caption: `sent ${i}`, media: map.data.media });
    window.refuse = () => fail(new Error('no answer'));
  })});
}"""
#: Sounds that no browser can decode, in the place of the page's own.
NOISE = "data:audio/mpeg;base64," + "AAAA" * 40


@pytest.fixture
def opened(offline_page, clusters, tone, tmp_path):
    """A page with a map (point 0 carries its sound) and a table of two players."""
    z, table = clusters(12)
    view = sound_map(z, table, audio=tone, sounds=12)
    data = view.html + players([("first", *tone(0)), ("second", *tone(9))]).html
    (tmp_path / "page.html").write_text(f'<meta charset="utf-8">{data}', encoding="utf-8")
    offline_page.goto((tmp_path / "page.html").as_uri())
    offline_page.wait_for_selector(".wb-marks")
    offline_page.locator(".wb-marks").click(position={"x": 2, "y": 2})  # the gesture that browsers want before sound
    return offline_page


def click(page, i: int) -> None:
    page.evaluate(f"{MAP}.click({MAP}.panels[0], {i})")


def sounds(page, i: int) -> None:
    page.wait_for_function(f"{MAP}.state.sounding === {i} && {MAP}.audio.currentTime > 0.1", timeout=60_000)


def test_a_point_without_sound_stops_what_sounds(opened):
    opened.evaluate(f"delete {MAP}.data.sounds[3]")
    click(opened, 1)
    sounds(opened, 1)
    click(opened, 3)
    opened.wait_for_selector(".wb-now .wb-wrong")
    assert "clip 00003" in opened.inner_text(".wb-now")
    assert not any(opened.evaluate(PLAYING))
    assert not opened.evaluate(f"{MAP}.audio.hasAttribute('src')"), (
        "the player's button would play another than is named"
    )
    assert opened.evaluate(f"{MAP}.state.sounding") == -1
    click(opened, 1)
    sounds(opened, 1)
    assert "clip 00001" in opened.inner_text(".wb-now")
    assert opened.evaluate(f"{MAP}.audio.volume") == 1


def test_a_broken_sound_is_not_announced_as_playing(opened):
    opened.evaluate(f"{MAP}.data.sounds[3][0] = btoa('no sound at all'.repeat(20))")
    click(opened, 1)
    sounds(opened, 1)
    click(opened, 3)
    opened.wait_for_function("document.querySelector('.wb-now').innerText.includes('cannot play this sound')")
    assert "clip 00003" in opened.inner_text(".wb-now")
    assert opened.evaluate(f"{MAP}.state.sounding") == -1
    assert not any(opened.evaluate(PLAYING))


def test_while_the_kernel_is_asked_nothing_else_sounds_under_the_new_name(opened):
    opened.evaluate(KERNEL)
    opened.evaluate(f"delete {MAP}.data.sounds[3]")
    click(opened, 1)
    sounds(opened, 1)
    click(opened, 3)
    opened.wait_for_function("document.querySelector('.wb-now').innerText.includes('waiting for the kernel')")
    assert not any(opened.evaluate(PLAYING))
    opened.evaluate("window.answers[3]()")
    sounds(opened, 3)
    assert "clip 00003" in opened.inner_text(".wb-now")
    assert "sent 3" in opened.inner_text(".wb-now")


def test_the_last_point_asked_for_plays_whichever_answer_comes_last(opened):
    opened.evaluate(KERNEL)
    opened.evaluate(f"delete {MAP}.data.sounds[3]; delete {MAP}.data.sounds[4]")
    click(opened, 3)
    opened.wait_for_function("!!window.answers[3]")
    click(opened, 4)
    opened.wait_for_function("!!window.answers[4]")
    opened.evaluate("window.answers[4]()")
    sounds(opened, 4)
    opened.evaluate("window.answers[3]()")
    opened.wait_for_timeout(200)
    assert opened.evaluate(f"{MAP}.state.sounding") == 4
    assert "clip 00004" in opened.inner_text(".wb-now")


def test_an_answer_that_comes_late_does_not_interrupt(opened):
    opened.evaluate(KERNEL)
    opened.evaluate(f"delete {MAP}.data.sounds[3]")
    click(opened, 3)
    opened.wait_for_function("!!window.answers[3]")
    opened.evaluate("void document.querySelectorAll('.wb-card audio')[1].play()")
    opened.wait_for_selector(".wb-sounding")
    opened.evaluate("window.answers[3]()")
    opened.wait_for_function("document.querySelector('.wb-now').innerText.includes('started meanwhile')")
    assert opened.evaluate(PLAYING) == [False, False, True]
    opened.evaluate(f"void {MAP}.audio.play()")  # its own button
    sounds(opened, 3)
    assert opened.evaluate(PLAYING) == [True, False, False]
    assert opened.locator(".wb-sounding").count() == 0


def test_an_answer_for_an_output_that_is_gone_stays_silent(opened):
    opened.evaluate(KERNEL)
    opened.evaluate(f"delete {MAP}.data.sounds[3]; window.gone = {MAP}")
    click(opened, 3)
    opened.wait_for_function("!!window.answers[3]")
    opened.evaluate("document.querySelector('.wb-map').remove(); window.answers[3]()")
    opened.wait_for_timeout(300)
    assert opened.evaluate("window.gone.audio.paused")


def test_a_broken_player_says_so_and_is_not_marked(opened):
    opened.evaluate(f"document.querySelectorAll('.wb-card audio')[0].src = '{NOISE}'")
    opened.wait_for_selector(".wb-broken")
    opened.locator(".wb-picture").nth(0).click()
    assert opened.inner_text(".wb-card >> nth=0").count("cannot play this sound") == 1
    assert opened.locator(".wb-sounding").count() == 0
    opened.locator(".wb-picture").nth(1).click()
    opened.wait_for_selector(".wb-sounding")
    assert "second" in opened.inner_text(".wb-sounding")
    opened.evaluate("document.querySelectorAll('.wb-card audio')[1].pause()")
    opened.wait_for_function("!document.querySelector('.wb-sounding')")


@pytest.fixture
def settings(offline_page, tone, tmp_path):
    t = np.arange(16000 * 3) / 16000
    sounds = {(k,): (0.2 * np.sin(2 * np.pi * 200 * (k + 1) * t)).astype("float32") for k in range(3)}
    view = sounds_by_setting(
        sounds, 16000, settings={"step": [0, 1, 2]}, start=(0,), reference={"original": tone(3)[0]}
    )
    html = view.html.replace(
        view.cards[1,], view.cards[1,].split(' src="data:audio')[0] + f' src="{NOISE}"></audio></div>'
    )
    assert NOISE in html
    html = html.replace(f'src="{NOISE}"></audio></div>', f'src="{NOISE}"></audio><div class="wb-length"></div></div>')
    (tmp_path / "page.html").write_text(f'<meta charset="utf-8">{html}', encoding="utf-8")
    offline_page.goto((tmp_path / "page.html").as_uri())
    offline_page.wait_for_selector(".wb-dials:not([hidden])")
    offline_page.locator(".wb-title").click()
    return offline_page


def move(page, to: int) -> None:
    page.evaluate(
        """(to) => { const slider = document.querySelector('.wb-dial input');
           slider.value = to; slider.dispatchEvent(new Event('input')); }""",
        to,
    )


def test_a_slider_over_a_broken_sound_does_not_start_one_later(settings):
    page = settings
    page.evaluate("void document.querySelectorAll('.wb-card audio')[0].play()")
    page.wait_for_function("document.querySelectorAll('audio')[0].currentTime > 0.2", timeout=60_000)
    move(page, 1)
    page.wait_for_selector(".wb-broken")
    assert page.locator(".wb-sounding").count() == 0
    page.evaluate("void document.querySelectorAll('.wb-card audio')[1].play()")
    page.wait_for_function("document.querySelectorAll('audio')[1].currentTime > 0.1", timeout=60_000)
    move(page, 2)
    page.wait_for_function("document.querySelectorAll('audio')[0].readyState > 0", timeout=60_000)
    page.wait_for_timeout(200)
    assert page.evaluate(PLAYING) == [False, True]
    assert page.inner_text(".wb-choice .wb-broken") == ""


def test_a_sound_started_while_another_loads_goes_on(settings):
    page = settings
    page.evaluate("void document.querySelectorAll('.wb-card audio')[0].play()")
    page.wait_for_function("document.querySelectorAll('audio')[0].currentTime > 0.2", timeout=60_000)
    page.evaluate(
        """() => { const slider = document.querySelector('.wb-dial input');
           slider.value = 2; slider.dispatchEvent(new Event('input'));
           void document.querySelectorAll('audio')[1].play(); }"""
    )
    page.wait_for_function("document.querySelectorAll('audio')[1].currentTime > 0.2", timeout=60_000)
    assert page.evaluate(PLAYING) == [False, True]


@pytest.fixture
def listening(offline_page, tmp_path):
    sound = [np.sin(np.arange(16000) * 0.1 * (k + 1)).astype("float32") * 0.2 for k in range(4)]
    trials = [ListeningTrial(f"t{k}", "x", {"a": sound[k], "b": sound[k + 2]}, 8000) for k in range(2)]
    view = listening_test(trials, seed=1, path=tmp_path / "answers.csv")
    view.save(tmp_path / "test.html")
    offline_page.goto((tmp_path / "test.html").as_uri())
    offline_page.wait_for_selector(".wb-welcome")
    offline_page.get_by_label("Your name or initials").fill("Ann")
    offline_page.keyboard.press("Enter")
    offline_page.wait_for_selector(".wb-question")
    return offline_page, trials


ROWS = "document.querySelector('.wb-listening').wbView"


def test_a_seek_is_not_a_hearing_and_a_wish_no_play(listening):
    page, _ = listening
    page.wait_for_function("[...document.querySelectorAll('audio')].every((a) => a.duration)")
    page.evaluate("for (const audio of document.querySelectorAll('audio')) audio.currentTime = 1")
    page.wait_for_timeout(300)
    assert "hear A, B" in page.inner_text(".wb-missing")
    page.evaluate("const a = document.querySelectorAll('audio')[0]; a.play().catch(() => {}); a.pause();")
    page.wait_for_timeout(200)
    assert page.evaluate(f"[...{ROWS}.answers.values()].map((one) => one.plays)") == [0, 0]
    page.evaluate("void document.querySelectorAll('audio')[0].play()")
    page.wait_for_function("!document.querySelector('.wb-missing').innerText.includes('hear A')", timeout=60_000)
    assert page.evaluate(f"[...{ROWS}.answers.values()].map((one) => one.plays)") == [1, 0]


def test_a_sound_that_does_not_play_gets_no_answer_and_blocks_nobody(listening):
    page, _ = listening
    page.evaluate(f"document.querySelectorAll('audio')[1].src = '{NOISE}'")
    page.wait_for_selector(".wb-broken")
    page.evaluate("void document.querySelectorAll('audio')[0].play()")
    page.wait_for_function("!document.querySelector('.wb-missing').innerText.includes('hear A')", timeout=60_000)
    page.get_by_role("slider", name="rating of Sound A").focus()
    page.keyboard.press("End")
    first = page.evaluate(f"{ROWS}.steps[0].sounds")
    page.get_by_role("button", name="Next").click()
    assert page.inner_text(".wb-place") == "2 of 2"
    assert [row["stimulus"] for row in page.evaluate(f"{ROWS}.rows")] == first[:1]
    # What comes from the screen before changes nothing any more.
    page.evaluate(f"{ROWS}.save({ROWS}.steps[0])")
    assert len(page.evaluate(f"{ROWS}.rows")) == 1
