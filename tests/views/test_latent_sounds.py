"""latent_sound_page: each sound in its place, one gain, what fits, what the kernel is asked, and what is refused."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from html import unescape

import numpy as np
import pytest
import soundfile

from workbench.core.errors import AudioError, ParameterError
from workbench.views.latent_sounds import latent_sound_page

RATE = 8000
NAMES = {"latents": ["latent 3: more <brightness>", "latent 9"], "clips": ["a", "b", "c"], "kinds": ["own", "random"]}
AMOUNTS = [0.0, 1.0, 2.5]


def tone(frequency: float, level: float = 0.1) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(3200) / RATE)).astype(np.float32)


def hertz(latent: int, clip: int, kind: int, stop: int) -> float:
    """A pitch of its own for every combination."""
    return 400 + 600 * latent + 200 * clip + 100 * kind + 25 * stop


def made(**changed):
    given = {
        "sound": lambda *at: tone(hertz(*at)),
        "rate": RATE,
        "amounts": AMOUNTS,
        "originals": [tone(200 + i) for i in range(3)],
        "unchanged": [tone(300 + i) for i in range(3)],
    }
    return latent_sound_page(**given | NAMES | changed)


def packed(view) -> dict:
    text = re.search(r'class="wb-data">([^<]*)<', view.html).group(1)
    return json.loads(gzip.decompress(base64.b64decode(text)))


def heard(part: dict) -> np.ndarray:
    return soundfile.read(io.BytesIO(base64.b64decode(part["sound"].split(",")[1])))[0]


def pitch(x: np.ndarray) -> float:
    return np.abs(np.fft.rfft(x[:3000] * np.hanning(3000), 1 << 16)).argmax() * RATE / (1 << 16)


def test_the_page_carries_the_first_clips_with_each_sound_in_its_place():
    view = made(carry=2, detail=lambda *at: "at " + " ".join(map(str, at)))
    data = packed(view)
    assert len(view.carried) == 2 * 2 * 2 * 3 == len(data["parts"]) and view.left_out == 12
    for key, part in data["parts"].items():
        at = [int(k) for k in key.split(",")]
        assert at[1] < 2 and pitch(heard(part)) == pytest.approx(hertz(*at), abs=2)
        assert part["detail"] == "at " + " ".join(map(str, at))
    assert [round(pitch(heard(part))) for part in data["beside"][0]] == [300, 301, 302]
    assert [round(pitch(heard(part))) for part in data["beside"][1]] == [200, 201, 202]
    assert data["amounts"] == ["0", "1", "2.5"] and data["start"] == 1
    assert repr(view) == "LatentSoundPage(2 latents, 3 clips, 24 sounds)"
    assert "The page carries 24 of 36 sounds" in view.html and view.bytes == len(view.html.encode())


def test_all_sounds_have_the_gain_of_the_loudest():
    view = made(originals=[tone(200, 0.4), tone(201), tone(202)])
    assert view.gain_db == pytest.approx(-1 - 20 * np.log10(0.4), abs=0.01)
    data = packed(view)
    assert np.abs(heard(data["beside"][1][0])).max() == pytest.approx(10 ** (-1 / 20), rel=0.05)
    assert np.abs(heard(data["parts"]["0,0,0,0"])).max() == pytest.approx(0.1 * 10 ** (view.gain_db / 20), rel=0.08)


def test_the_kernel_is_asked_by_positions_and_answers_as_the_page_would_have_carried_it():
    view = made(carry=1)
    assert "0,2,1,2" not in packed(view)["parts"]
    answer = view._answer({"kind": "turned", "at": [0, 2, 1, 2]})
    assert pitch(heard(answer["part"])) == pytest.approx(hertz(0, 2, 1, 2), abs=2)
    assert view._answer({"at": [1, 0, 0, 1]})["part"] == packed(view)["parts"]["1,0,0,1"]
    for wrong in ([0, 3, 0, 0], [0, 0, 0], "0000", [0, 0, 0, -1]):
        with pytest.raises(ParameterError, match="at"):
            view._answer({"at": wrong})


def test_what_does_not_fit_is_left_to_the_kernel_controls_first():
    whole = made(carry=3)
    size = len(whole.html)
    tight = made(carry=3, megabytes=0.6 * size / 1e6)
    assert 6 < len(tight.carried) < 36 == len(whole.carried) and tight.carried == whole.carried[: len(tight.carried)]
    assert [key[2] for key in whole.carried[:18]] == [0] * 18, "the latents themselves come first"
    assert len(tight.html) < 0.85 * size
    nothing = made(megabytes=0)
    assert nothing.carried == [(0, 0, 0, 0)] and nothing.left_out == 35 and packed(nothing)["start"] == 0


def test_without_scripts_the_first_latent_is_heard_in_the_first_clip():
    view = made()
    names = [unescape(name) for name in re.findall(r'<audio [^>]*aria-label="([^"]*)"', view.html)]
    assert names == ["own = 1", "unchanged", "original", "own = 0", "own = 2.5"]
    assert "more &lt;brightness&gt;" in view.html and "<brightness>" not in view.html


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"latents": []}, ParameterError, "latents"),
        ({"clips": ["a", "a", "b"]}, ParameterError, "clips"),
        ({"clips": ["a", "b"]}, ParameterError, "originals"),
        ({"unchanged": [tone(1)]}, ParameterError, "unchanged"),
        ({"amounts": 3}, ParameterError, "amounts"),
        ({"amounts": [1.0, 1.0]}, ParameterError, "amounts"),
        ({"sound": "a.wav"}, ParameterError, "sound"),
        ({"detail": 3}, ParameterError, "detail"),
        ({"carry": 0}, ParameterError, "carry"),
        ({"megabytes": -1}, ParameterError, "megabytes"),
        ({"seconds": 0}, ParameterError, "seconds"),
        ({"rate": 0.5}, ParameterError, "rate"),
        ({"rate": 50}, AudioError, "rate"),
        ({"originals": [tone(1), tone(2), np.full(9, np.nan, np.float32)]}, AudioError, r"originals\[2\]"),
        ({"sound": lambda *at: np.zeros((2, 9), np.float32)}, AudioError, "latent 3"),
    ],
)
def test_what_is_wrong_is_named(wrong, error, message):
    with pytest.raises(error, match=message):
        made(**wrong)
