"""Pages of prototypes: what they carry, one gain, marks of collapse, sums that are exact, and what they refuse."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from workbench.core.errors import AudioError, ParameterError
from workbench.views.prototype_maps import DataPoints, numbered
from workbench.views.prototype_pages import PrototypeSounds, RealClip, prototype_page
from workbench.views.similarity_pages import ExplainedClip, similarity_page

RATE = 8000
CLASSES = ("bell", "<harp>", "oboe")


def tone(frequency: float, level: float = 0.1, seconds: float = 0.5) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * frequency * t)).astype(np.float32)


def make_prototypes(seeds: int = 3) -> list[PrototypeSounds]:
    """Two of each of three classes; both bells have the same nearest clip."""
    made = []
    for k in range(6):
        first = "clip 0" if k < 2 else f"clip {k}"
        near = [RealClip(first, tone(310 + 10 * k, 0.2), RATE, 0.5 + k), RealClip(f"far {k}", tone(900), RATE, 9.0)]
        sounds = [tone(300 + 10 * k + 100 * seed) for seed in range(seeds)]
        made.append(PrototypeSounds(CLASSES[k // 2], sounds, RATE, near, segments=10 * k, weight=2.0 - k))
    return made


def make_points(n: int = 30) -> DataPoints:
    rng = np.random.default_rng(0)
    labels = [CLASSES[i % 3] for i in range(n)]
    nearest = np.arange(n) % 6
    names = [f"clip {i}" for i in range(n)]
    return DataPoints(
        rng.normal(size=(n, 2)), labels, names, rng.normal(size=(6, 2)), nearest, lambda i: (tone(400), RATE)
    )


def packed(html: str, kind: str) -> dict:
    text = re.search(f'class="{kind}">([^<]*)<', html)[1]
    return json.loads(gzip.decompress(base64.b64decode(text)))


def decoded(uri: str) -> np.ndarray:
    return soundfile.read(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))[0]


def pitch(x: np.ndarray, rate: int) -> float:
    return np.abs(np.fft.rfft(x * np.hanning(len(x)), 1 << 17)).argmax() * rate / (1 << 17)


# The table of prototypes -------------------------------------------------------------------------------------------


def test_every_prototype_has_its_sound_its_nearest_clips_and_its_facts():
    html = prototype_page(make_prototypes()).html
    cells = re.findall(r'<div class="wb-cell" data-prototype="(\d)"', html)
    assert cells == list("012345")
    assert html.count("wb-made") >= 6 and html.count('preload="none"') == 12
    assert "nearest to 50 segments · weight −3.00" in html and "nearest to 0 segments · weight +2.00" in html
    sources = re.findall(r'aria-label="([^"]*)" src="([^"]*)"', html)
    assert [name for name, _ in sources[:3]] == ["prototype bell 1", "real clip clip 0", "real clip far 0"]
    x, rate = soundfile.read(io.BytesIO(base64.b64decode(sources[3][1].split(",", 1)[1])))
    assert sources[3][0] == "prototype bell 2" and pitch(x, rate) == pytest.approx(310, abs=2)


def test_other_seeds_are_carried_with_pictures_and_captions():
    view = prototype_page(make_prototypes(), seeds=["a", "b", "<c>"])
    seeds = packed(view.html, "wb-data")["seeds"]
    assert len(seeds) == 2 and [len(seed) for seed in seeds] == [6, 6] and view.seeds == ["a", "b", "<c>"]
    uri, picture, caption = seeds[1][4]
    x, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))
    assert pitch(x, rate) == pytest.approx(300 + 40 + 200, abs=2)
    assert picture.startswith("data:image/webp") and caption == "0.50 s · 8 kHz"


def test_a_quiet_prototype_is_heard_beside_a_loud_one_and_its_gain_is_stated():
    prototypes = make_prototypes(1)
    prototypes[3] = replace(prototypes[3], sounds=[tone(330, 0.5)], nearest=())
    prototypes[4] = replace(
        prototypes[4], sounds=[tone(330, 0.05)], nearest=(RealClip("real", tone(330, 0.2), RATE, 1.0),)
    )
    view = prototype_page(prototypes)
    assert view.gains[3] == pytest.approx(-1 - 20 * np.log10(0.5), abs=0.01)
    assert view.gains[4] == pytest.approx(-1 - 20 * np.log10(0.2), abs=0.01)
    sounds = re.findall(r'aria-label="prototype [^"]*" src="([^"]*)"', view.html)
    loud, quiet = (np.abs(decoded(sounds[k])).max() for k in (3, 4))
    near = re.findall(r'aria-label="real clip real" src="([^"]*)"', view.html)
    assert loud == pytest.approx(10 ** (-1 / 20), abs=0.05) == pytest.approx(np.abs(decoded(near[0])).max(), abs=0.05)
    assert quiet == pytest.approx(10 ** (-1 / 20) / 4, abs=0.03), "it is as quiet beside its clip as it was made"
    assert all(f"gain {gain:+.1f} dB".replace("-", "−") in view.html for gain in view.gains)


def test_a_shared_nearest_clip_is_marked():
    view = prototype_page(make_prototypes(1))
    assert view.shared == ["clip 0"] and view.html.count('class="wb-shared"') == 2
    assert "1 clips are the nearest" not in view.html and "1 clip is the nearest" in view.html
    apart = [replace(one, nearest=one.nearest[1:]) for one in make_prototypes(1)]
    assert prototype_page(apart).shared == [] and 'class="wb-shared"' not in prototype_page(apart).html


def test_size_is_bounded_and_what_is_left_out_is_said():
    full, small = prototype_page(make_prototypes()), prototype_page(make_prototypes(), megabytes=0.045)
    assert len(small.html) < len(full.html) and small.seeds == ["seed 1"]
    assert "Left out, for the page's size: 2 of 3 seeds and all but 1 of 2" in small.html.replace("&#x27;", "'")
    none = prototype_page(make_prototypes(), megabytes=0.0)
    assert none.html.count("<audio") == 6, "the first seed is always there"
    assert "all but 0 of 2 nearest clips" in none.html


def test_same_input_same_page_and_everything_is_escaped():
    prototypes = make_prototypes(2)
    prototypes[0] = replace(prototypes[0], nearest=[RealClip("</script><b>", tone(300), RATE, 1.0)])
    view = prototype_page(prototypes, points=make_points(), title="<i>", seeds=["</script>", "2"])
    assert view.html == prototype_page(prototypes, points=make_points(), title="<i>", seeds=["</script>", "2"]).html
    assert "<harp>" not in view.html and "&lt;harp&gt;" in view.html
    assert "<i>" not in view.html.replace("<i></i>", "") and "</script><b>" not in view.html
    assert "http" not in re.sub(r"data:[^\"']*", "", view.html).replace("http://www.w3.org", "")


def test_map_has_a_star_for_each_prototype_and_leads_to_cells():
    view = prototype_page(make_prototypes(1), points=make_points(), point_sounds=7)
    data = packed(view.map.html, "wb-data")
    assert data["n"] == 36 and data["stars"] == 6 and len(data["sounds"]) == 7
    assert data["cells"] == [*(i % 6 for i in range(30)), *range(6)]
    assert data["colour"]["counts"] == [10, 10, 10], "the legend counts clips alone"
    assert max(map(int, data["sounds"])) < 30, "prototypes sound in the table"
    assert view.map.html in view.html and "7 of 30 clips" in data["note"]
    silent = prototype_page(make_prototypes(1), points=replace(make_points(), audio=None))
    assert "came without sound" in packed(silent.map.html, "wb-data")["note"]


def test_points_of_the_map_have_a_gain_and_broken_ones_are_named():
    def audio(i):
        if i == 4:
            raise AudioError("clip 4", "is damaged")
        return tone(400, 0.8), RATE

    view = prototype_page(make_prototypes(1), points=replace(make_points(), audio=audio), point_sounds=30)
    assert view.gain_db == pytest.approx(-1 - 20 * np.log10(0.8), abs=0.01)
    assert view.map.failed == {4: "clip 4: is damaged"} and len(view.map.carried) == 29
    assert "clip 4: is damaged" in packed(view.map.html, "wb-data")["note"]


def test_names_within_classes():
    assert numbered(["a", "b", "a", "a"]) == ["a 1", "b 1", "a 2", "a 3"]


def test_page_is_saved_and_represented(tmp_path):
    view = prototype_page(make_prototypes(2), title="<Hear>")
    text = view.save(tmp_path / "page.html").read_text()
    assert text.startswith("<!doctype html>") and "<title>&lt;Hear&gt;</title>" in text
    assert repr(view) == "PrototypePage(6 prototypes, 2 of 2 seeds)"
    assert view._repr_mimebundle_()["text/html"] == view.html


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, q: prototype_page([]), r"prototypes=\[\] must be at least one"),
        (lambda p, q: prototype_page([replace(p[0], sounds=[])]), r"prototypes\[0\].sounds='0 sounds' must be 1, one"),
        (lambda p, q: prototype_page([p[0], replace(p[1], sounds=p[1].sounds[:2])]), r"prototypes\[1\].sounds='2 soun"),
        (lambda p, q: prototype_page(p, seeds=["one"]), r"seeds=\['one'\] must be 3 names, one for each sound"),
        (
            lambda p, q: prototype_page([replace(p[0], nearest=[RealClip("x", tone(300), RATE, np.nan)])]),
            r"distance=nan must be a finite number",
        ),
        (lambda p, q: prototype_page(p, seconds=0), r"seconds=0 must be more than 0"),
        (lambda p, q: prototype_page(p, points=replace(q, labels=q.labels[1:])), r"points.labels='29 of them' must be"),
        (
            lambda p, q: prototype_page(p[:5], points=q),
            r"points.prototypes='array of shape \(6, 2\)' must be finite, of",
        ),
        (
            lambda p, q: prototype_page(p, points=replace(q, xy=np.full((30, 2), np.nan))),
            "points.xy='array with 60 of 60 values NaN",
        ),
        (lambda p, q: prototype_page(p, points=replace(q, nearest=np.full(30, 6))), r"points.nearest=.* from 0 to 5"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ParameterError, match=message):
        change(make_prototypes(), make_points())


def test_a_damaged_sound_is_named():
    broken = make_prototypes(1)
    broken[3] = replace(broken[3], sounds=[np.full(100, np.nan, np.float32)])
    with pytest.raises(AudioError, match=r"prototype <harp> 2.*100 of 100 samples are NaN"):
        prototype_page(broken)


# Why this class? ---------------------------------------------------------------------------------------------------

WEIGHTS = np.array([[2.0, 1.5, 0.1, -0.2, 0.0, 0.3], [0.1, 0.0, 2.0, 2.0, -0.5, 0.0], [-0.3, 0.2, 0.0, 0.1, 1.0, 1.5]])
BIAS = np.array([0.1, -0.2, 0.3])


def make_clips() -> list[ExplainedClip]:
    near = np.array([[0.9, 0.8, 0.1, 0.2, 0.3, 0.1], [0.1, 0.1, 0.2, 0.1, 0.6, 0.9]])
    return [
        ExplainedClip("first <clip>", tone(440), RATE, near[0], "bell"),
        ExplainedClip("second", tone(550), RATE, near[1], "<harp>"),
    ]


def similar(**options):
    return similarity_page(
        make_clips(), make_prototypes(1), **({"classes": CLASSES, "weights": WEIGHTS, "bias": BIAS} | options)
    )


def test_logits_are_sums_of_contributions():
    view = similar(temperature=0.5)
    expected = [WEIGHTS @ clip.similarities + BIAS for clip in make_clips()]
    np.testing.assert_allclose(view.logits, expected, rtol=1e-12)
    assert view.predicted == ["bell", "oboe"]
    data = packed(view.html, "wb-data")
    for clip, row in zip(data["clips"], expected, strict=True):
        again = np.array(data["weights"]) @ clip["similarities"] + data["bias"]
        np.testing.assert_allclose(again, row, rtol=1e-12)
        scaled = np.exp(row / 0.5)
        np.testing.assert_allclose(clip["chances"], scaled / scaled.sum(), rtol=1e-9)


def test_page_carries_sounds_of_clips_prototypes_and_their_nearest():
    data = packed(similar(nearest=1).html, "wb-data")
    assert [one["name"] for one in data["prototypes"]] == [
        "bell 1",
        "bell 2",
        "<harp> 1",
        "<harp> 2",
        "oboe 1",
        "oboe 2",
    ]
    assert [[name for name, _, _ in one["near"]] for one in data["prototypes"]][:3] == [
        ["clip 0"],
        ["clip 0"],
        ["clip 2"],
    ]
    for k, one in enumerate(data["prototypes"]):
        x, rate = soundfile.read(io.BytesIO(base64.b64decode(one["sound"][0].split(",", 1)[1])))
        assert pitch(x, rate) == pytest.approx(300 + 10 * k, abs=2) and one["near"][0][2][1] == "0.50 s · 8 kHz"


def test_room_goes_to_clips_then_to_the_prototypes_that_count():
    view = similar(megabytes=0.02)
    data = packed(view.html, "wb-data")
    assert all(clip["sound"] for clip in data["clips"])
    heard = [one["sound"] is not None for one in data["prototypes"]]
    assert 0 < sum(heard) < 6 and heard[0], "bell 1 adds most"
    assert "Without sound, for the page's size" in data["note"]


def test_first_decision_stands_where_scripts_are_stripped(tmp_path):
    view = similar()
    assert "first &lt;clip&gt;: bell, logit 3.100. bell 1 (+1.80), bell 2 (+1.20)" in view.html
    assert "<harp>" not in view.html and view.html.count("<audio") == 1
    assert repr(view) == "SimilarityPage(2 clips, 6 prototypes, 6 with sound)"
    assert "<title>Why this class?</title>" in view.save(tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": WEIGHTS[:2]}, r"weights='array of shape \(2, 6\)' must be \(C, M\) = \(3, 6\)"),
        ({"weights": WEIGHTS * np.nan}, r"weights='array with NaN or infinity in 18 places' must be finite"),
        ({"bias": BIAS[:1]}, r"bias='array of shape \(1,\)' must be \(C,\) = \(3,\)"),
        ({"temperature": 0.0}, "temperature=0.0 must be a finite number, above 0"),
        ({"most": 0}, "most=0 must be a whole number, 1 or more"),
    ],
)
def test_bad_numbers_are_named(options, message):
    with pytest.raises(ParameterError, match=message):
        similar(**options)


def test_bad_clips_are_named():
    arguments = {"classes": CLASSES, "weights": WEIGHTS, "bias": BIAS}
    with pytest.raises(ParameterError, match=r"clips=\[\] must be at least one"):
        similarity_page([], make_prototypes(1), **arguments)
    short = replace(make_clips()[1], similarities=np.zeros(5))
    with pytest.raises(
        ParameterError, match=r"clip 'second'.similarities='array of shape \(5,\)' must be \(M,\) = \(6"
    ):
        similarity_page([short], make_prototypes(1), **arguments)
    with pytest.raises(AudioError, match="second"):
        similarity_page([replace(make_clips()[1], x=np.zeros((2, 5)))], make_prototypes(1), **arguments)
