"""players: one gain, captions, pictures, escaping, and what it refuses."""

from __future__ import annotations

import base64
import io
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile

from workbench.core.errors import AudioError, ParameterError
from workbench.views import players


def decoded(view) -> list[np.ndarray]:
    uris = re.findall(r'<audio controls preload="metadata" src="data:audio/\w+;base64,([^"]+)"', view.html)
    return [soundfile.read(io.BytesIO(base64.b64decode(uri)), dtype="float32")[0] for uri in uris]


def peaks(view) -> list[float]:
    return [float(np.abs(x).max()) for x in decoded(view)]


def test_shared_gain_keeps_the_differences(table, tone):
    view = players(table, [0, 1, 4], audio=tone, format="flac", spectrogram=False)
    top = 10 ** (-1 / 20)
    np.testing.assert_allclose(peaks(view), [top * 1 / 5, top * 2 / 5, top], atol=2e-3)
    assert view.caption == "All clips at one gain of +11.0 dB: levels can be compared."


def test_other_gains_are_stated(table, tone):
    options = {"audio": tone, "format": "flac", "spectrogram": False}
    each = players(table, [0, 1, 4], gain="each", **options)
    np.testing.assert_allclose(peaks(each), [0.5, 0.8913, 0.8913], atol=2e-3)  # 0.05 would need +25 dB; 20 is most
    assert "gain +20.0 dB" in each.html and "levels cannot be compared" in each.caption
    assert peaks(players(table, [0, 4], gain="none", **options)) == pytest.approx([0.05, 0.25], abs=1e-3)
    plus = players(table, [0], gain=6.0, **options)
    assert peaks(plus) == pytest.approx([0.05 * 10 ** (6 / 20)], abs=1e-3)
    assert plus.caption.startswith("All clips at one gain of +6.0 dB")


def test_limit_and_cut_are_stated(table, tone):
    view = players(table, audio=tone, limit=3, seconds=0.25)
    assert "3 of 40 clips shown." in view.caption
    assert view.html.count("first 0.25 s of 0.50 s · 16 kHz") == 3
    assert all(len(x) == 4000 for x in decoded(view))


def test_rows_captions_and_columns(table, tone):
    rows = table[table["label"] == "c"].head(2)
    html = players(table, rows, audio=tone, captions=["c → a", "c → b"], columns=["f0"]).html
    assert re.findall(r'"wb-name">([^<]*)<', html) == ["c → a", "c → b"]
    assert re.findall(r'"wb-detail">([^<]*)<', html) == ["clip 2 · f0 115.4", "clip 6 · f0 146.2"]
    assert re.findall(r'"wb-name">([^<]*)<', players(table, rows, audio=tone, captions="id").html) == [
        "clip 2",
        "clip 6",
    ]


def test_generated_audio_and_missing_values_are_said(table, tone):
    table.loc[0, "f0"] = np.nan
    clips = SimpleNamespace(table=table, audio=tone, generated=True)
    view = players(clips, [0], columns=["f0"])
    assert "Generated audio." in view.caption and "f0 –<" in view.html


def test_sounds_made_in_the_notebook(tone):
    mapping = players({"component 1": tone(0), "silence": (np.zeros(4000, np.float32), 8000)})
    triples = players([("component 1", *tone(0)), ("silence", np.zeros(4000, np.float32), 8000)])
    assert mapping.html == triples.html
    assert [len(x) for x in decoded(mapping)] == [8000, 4000]
    assert "0 to 4 kHz" in mapping.caption, "the lower rate bounds the pictures of both"


def test_silence_alone_and_very_short_clips():
    view = players([("silence", np.zeros(800, np.float32), 16000), ("click", np.ones(1, np.float32), 44100)])
    assert view.html.count("data:image/webp") == 2
    assert players([("silence", np.zeros(800, np.float32), 16000)]).gains == [0.0]
    assert players([]).caption == "No clips."


def test_louder_is_brighter_in_the_pictures(table, tone):
    from PIL import Image

    html = players(table, [0, 4], audio=tone).html
    pictures = [base64.b64decode(p) for p in re.findall(r"data:image/webp;base64,([^\"]+)", html)]
    quiet, loud = (np.asarray(Image.open(io.BytesIO(p)), dtype=float).mean() for p in pictures)
    assert loud > 1.3 * quiet


def test_players_never_start_by_themselves_and_need_no_network(table, tone):
    html = players(table, [0, 1], audio=tone).html
    assert "autoplay" not in html
    assert not re.search(r"https?://|import\(|require\(", html)


@pytest.mark.parametrize(
    "hostile", ["</script><script>hit()</script>", '" onerror="hit()', "<img src=x onerror=hit()>"]
)
def test_everything_is_escaped(table, tone, hostile):
    table["label"], table["id"], table["note"] = hostile, [f"{hostile}{i}" for i in range(40)], hostile
    view = players(table, [0], audio=tone, columns=["note"], title=hostile)
    markup = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", view.html, flags=re.S)
    assert hostile not in markup
    assert "<img src=x" not in markup and markup.count("<img ") == 1
    assert hostile not in players([(hostile, *tone(0))], captions=[hostile]).html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gain": "loud"}, "gain='loud'"),
        ({"gain": float("nan")}, "gain=nan"),
        ({"columns": ["pitch"]}, "columns='pitch' must be a column of the table"),
        ({"captions": ["one"]}, "captions='1 captions' must be one for each of 40 clips"),
        ({"captions": "pitch"}, "captions='pitch'"),
        ({"limit": 0}, "limit=0"),
        ({"seconds": -1}, "seconds=-1"),
        ({"format": "aac"}, "format='aac'"),
    ],
)
def test_wrong_options(table, tone, options, message):
    with pytest.raises(ParameterError, match=message):
        players(table, audio=tone, **options)


def test_wrong_sounds_are_named(table, tone):
    with pytest.raises(AudioError, match="broken: 1 of 9 samples"):
        players([("broken", np.array([np.nan] + [0.0] * 8), 8000)])
    with pytest.raises(ParameterError, match="audio=None must be given"):
        players(table)
    with pytest.raises(ParameterError, match="clips='int'"):
        players(3)
    with pytest.raises(ParameterError, match="clips='named sounds'"):
        players([("a", *tone(0))], columns=["f0"])


def test_saved_page_and_repr(table, tone, tmp_path):
    view = players(table, [0], audio=tone, title="t")
    assert "<title>t</title>" in view.save(tmp_path / "p.html").read_text(encoding="utf-8")
    assert repr(view) == "Players(1 of 1 clips, gain shared)"
    assert view._repr_html_() == view.html


def test_a_clip_that_cannot_be_read_has_a_card_that_says_why(table, tone):
    def damaged(i):
        if i == 1:
            raise OSError("end of file in frame 3")
        return (np.ones((8000, 2)), 16000) if i == 2 else tone(i)

    view = players(table, [0, 1, 2], audio=damaged)
    assert view.html.count("<audio ") == 1 and view.sounds[1:] == [None, None]
    assert "clip 1: OSError: end of file in frame 3" in view.html
    assert "got shape (8000, 2): average its channels, x.mean(1), or choose one" in view.html
    assert "2 could not be read." in view.caption
    assert "<audio " not in players(table, [1], audio=damaged, gain="each").html
    with pytest.raises(ParameterError, match="audio='a function that gave ndarray for clip 0' must be a function"):
        players(table, [0], audio=lambda i: tone(i)[0])


def test_clips_without_labels_are_called_by_their_ids(table, tone):
    table["label"] = ""
    assert '<div class="wb-name">clip 3</div>' in players(table, [3], audio=tone).html
    assert '<div class="wb-name">clip 3</div>' in players(table[["f0"]], [3], audio=tone).html


def test_gaps_of_any_kind_are_a_dash(table, tone):
    for kind in ("Int64", "Float64", "boolean", "float", "object", "category", "datetime64[ns]"):
        table["take"] = pd.Series([1, None] * 20).astype("Int64" if kind == "boolean" else "object").astype(kind)
        view = players(table, [0, 1], columns="take", audio=tone)
        assert view.html.count("take –") == 1
        assert '<div class="wb-name">–</div>' in players(table, [1], captions="take", audio=tone).html


@pytest.mark.parametrize(("samples", "rate"), [(1, 16000), (3000, 8000), (9600, 96000), (50, 100)])
def test_short_sounds_and_unusual_rates(samples, rate):
    view = players([("x", np.full(samples, 0.1, np.float32), rate), ("silence", np.zeros(samples, np.float32), rate)])
    assert view.html.count("<audio ") == 2


def test_names_that_are_no_utf8_can_be_written(table, tone, tmp_path):
    table = table.astype(object)
    table.loc[0, ["id", "label"]] = "caf\udce9"
    view = players(table, [0], audio=tone)
    assert "caf?" in view.save(tmp_path / "page.html").read_text(encoding="utf-8")
    with pytest.raises(ParameterError, match="a file, no folder"):
        view.save(tmp_path)
    with pytest.raises(ParameterError, match="in a folder that exists"):
        view.save(tmp_path / "no" / "page.html")
