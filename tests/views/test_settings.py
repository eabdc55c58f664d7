"""sounds_by_setting: every combination in its place, one gain, stops that fit the page, and what it refuses."""

from __future__ import annotations

import base64
import io
import re
from html import unescape

import numpy as np
import pytest
import soundfile

from workbench.core.errors import AudioError, ParameterError
from workbench.views.settings import sounds_by_setting

RATE = 8000
SETTINGS = {"steps S": [2, 5, 40], "guidance g": [0.0, 1.5]}


def tone(frequency: float, level: float = 0.1, seconds: float = 0.4) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * frequency * t)).astype(np.float32)


def make_sounds() -> dict:
    """A pitch of its own for every combination."""
    return {(s, g): tone(400 + 100 * i + 50 * k) for i, s in enumerate([2, 5, 40]) for k, g in enumerate([0.0, 1.5])}


def heard(view) -> dict[str, np.ndarray]:
    """Name -> sound of every card, in the page's order."""
    cards = re.findall(r'<audio controls preload="metadata" aria-label="([^"]*)" src="[^,]*,([^"]*)"', view.html)
    return {unescape(name): soundfile.read(io.BytesIO(base64.b64decode(data)))[0] for name, data in cards}


def pitch(x: np.ndarray) -> float:
    return np.abs(np.fft.rfft(x[:3000] * np.hanning(3000), 1 << 16)).argmax() * RATE / (1 << 16)


def words(view) -> str:
    return unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<(style|script).*?</\1>", "", view.html, flags=re.S)))


def test_every_combination_stands_under_its_name_the_start_first():
    view = sounds_by_setting(make_sounds(), RATE, settings=SETTINGS, reference={"original": tone(333)})
    found = heard(view)
    assert view.start == (5, 1.5) and view.settings == SETTINGS and view.left_out == {"steps S": [], "guidance g": []}
    order = [
        "2, guidance g = 0",
        "2, guidance g = 1.5",
        "5, guidance g = 0",
        "40, guidance g = 0",
        "40, guidance g = 1.5",
    ]
    first = ["steps S = 5, guidance g = 1.5", "original"]
    assert list(found) == first + [f"steps S = {rest}" for rest in order]
    expected = [550, 333, 400, 450, 500, 600, 650]
    assert [pitch(x) for x in found.values()] == pytest.approx(expected, abs=2)
    assert repr(view) == "SettingsPage(3 steps S x 2 guidance g, 1 references)"


@pytest.mark.parametrize("kind", ["nested", "array", "tensor"])
def test_nested_and_arrays_say_the_same_as_a_mapping(kind):
    import torch

    sounds = make_sounds()
    nested = [[sounds[s, g] for g in SETTINGS["guidance g"]] for s in SETTINGS["steps S"]]
    given = {"nested": nested, "array": np.array(nested), "tensor": torch.tensor(np.array(nested))}[kind]
    one, other = (sounds_by_setting(x, RATE, settings=SETTINGS, start=(2, 1.5)) for x in (sounds, given))
    assert one.html == other.html and pitch(next(iter(heard(one).values()))) == pytest.approx(450, abs=2)


def test_one_slider_unequal_lengths_and_captions():
    sounds = [tone(400, seconds=0.4), tone(500, seconds=1.0), tone(600, seconds=0.7)]
    view = sounds_by_setting(sounds, RATE, settings={"S": [2, 5, 40]}, captions={(5,): "error 0.25", (40,): "<b>"})
    assert [len(x) / RATE for x in heard(view).values()] == pytest.approx([1.0, 0.4, 0.7], abs=0.1)
    text = words(view)
    assert "error 0.25" in text and "<b>" in text and "<b></div>" not in view.html
    assert view.html.count('type="range"') == 1 and 'max="2" data-start="1"' in view.html
    assert "0.40 s · 8 kHz" in text and "1.0 s · 8 kHz" in text
    cut = sounds_by_setting(sounds, RATE, settings={"S": [2, 5, 40]}, seconds=0.5)
    assert "first 0.50 s of 1.0 s" in words(cut) and len(heard(cut)["S = 5"]) < 0.6 * RATE


def test_one_gain_for_all_and_for_the_references():
    sounds = make_sounds() | {(2, 0.0): tone(400, level=0.02)}
    view = sounds_by_setting(sounds, RATE, settings=SETTINGS, reference={"original": tone(333, level=0.4)})
    assert view.gain_db == pytest.approx(-1 - 20 * np.log10(0.4), abs=0.01)
    found = heard(view)
    level = {name: 20 * np.log10(np.std(x[500:2500])) for name, x in found.items()}
    assert level["original"] - level["steps S = 2, guidance g = 0"] == pytest.approx(20 * np.log10(20), abs=0.5)
    assert "one gain of +7.0 dB" in words(view)


def test_stops_that_do_not_fit_are_left_out_and_named():
    settings = {"S": list(range(9)), "g": [0, 1]}
    sounds = {(s, g): tone(300 + 40 * s + 10 * g) for s in range(9) for g in range(2)}
    whole = sounds_by_setting(sounds, RATE, settings=settings, start=(4, 1))
    each = len(whole.html) - len(sounds_by_setting(sounds, RATE, settings=settings, start=(4, 1), megabytes=0).html)
    some = sounds_by_setting(sounds, RATE, settings=settings, start=(4, 1), megabytes=each / 17 * 10.5 / 1e6)
    assert some.settings == {"S": [0, 2, 4, 6, 8], "g": [0, 1]}, "as far apart as can be"
    assert some.left_out == {"S": [1, 3, 5, 7], "g": []} and "Left out, for the page's size: S = 1, 3, 5, 7." in words(
        some
    )
    assert len(heard(some)) == 10
    least = sounds_by_setting(
        sounds, RATE, settings=settings, start=(4, 1), reference={"original": tone(300)}, megabytes=0
    )
    assert least.settings == {"S": [4], "g": [1]} and list(heard(least)) == ["S = 4, g = 1", "original"]
    assert "Left out" not in words(whole) and "The other settings" not in words(least)


def test_names_are_escaped_and_the_page_is_complete(tmp_path):
    settings, sounds = {'<em>"S"': ["</script>", "b"]}, [tone(300), tone(400)]
    view = sounds_by_setting(sounds, RATE, settings=settings, reference={"<img src=x>": tone(500)}, title="<u>")
    assert "<em>" not in view.html and "<img src=x>" not in view.html and "<u>" not in view.html
    assert view.html.count("</script>") == 1 and view.html.count("<script>") == 1
    text = view.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert view.html in text and "autoplay" not in text and not re.search(r'(src|href)="(?!data:)', text)


def refused(sounds, error, message, **options) -> None:
    with pytest.raises(error, match=message):
        sounds_by_setting(sounds, RATE, **({"settings": SETTINGS} | options))


def test_missing_combinations_are_named():
    sounds = make_sounds()
    absent = {key: x for key, x in sounds.items() if key != (5, 1.5)}
    refused(absent, ParameterError, r"sounds\[steps S = 5, guidance g = 1\.5\]=None must be a waveform")
    refused(sounds | {(40, 0.0): None}, ParameterError, r"steps S = 40, guidance g = 0\]")
    nested = [[tone(300)] * 2, [tone(300)], [tone(300)] * 2]
    refused(nested, ParameterError, "'1 along guidance g' must be 2, one for each value")
    refused(nested[:2], ParameterError, "'2 along steps S' must be 3")


def test_damaged_sounds_are_named():
    sounds = make_sounds()
    refused(sounds | {(2, 1.5): tone(300) * np.nan}, AudioError, "steps S = 2, guidance g = 1.5: .* NaN")
    refused(sounds | {(2, 1.5): np.zeros(0, np.float32)}, AudioError, r"guidance g = 1.5: .*shape \(0,\)")
    refused(sounds, AudioError, r"original: .*shape \(2, 9\)", reference={"original": np.zeros((2, 9))})


@pytest.mark.parametrize("settings", [{}, {"a": [1], "b": [1], "c": [1]}])
def test_one_or_two_settings(settings):
    refused(make_sounds(), ParameterError, "one or two names", settings=settings)


def test_values_start_and_captions_must_belong_to_the_settings():
    refused(
        [tone(300)] * 2,
        ParameterError,
        r"settings\['S'\]=\[2, 2\] must be one value or more, all diff",
        settings={"S": [2, 2]},
    )
    refused([], ParameterError, r"settings\['S'\]=\[\] must be", settings={"S": []})
    refused(make_sounds(), ParameterError, r"start=\(5, 7\) must be a combination", start=(5, 7))
    refused(make_sounds(), ParameterError, r"captions=\(3, 0\.0\) must be a comb", captions={(3, 0.0): "x"})
    refused(make_sounds(), ParameterError, "seconds=0 must be more than 0", seconds=0)
