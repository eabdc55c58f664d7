"""sound_map: the static twin's content, caps, errors; selection; answers to the page."""

from __future__ import annotations

import base64
import gzip
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.core.errors import AudioError, ParameterError
from workbench.views import sound_map
from workbench.views.page import _in_kernel, _static


def content(view) -> dict:
    packed = re.search(r'class="wb-data">([A-Za-z0-9+/=]+)</script>', view.html).group(1)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_twin_carries_points_text_and_sounds(z, table, tone):
    view = sound_map(z, table, audio=tone, sounds=8, hover=["f0"])
    data = content(view)
    assert data["n"] == 40 and len(data["sounds"]) == 8
    assert [column["name"] for column in data["columns"]] == ["id", "label", "f0"]
    assert data["colour"]["levels"] == ["a", "b", "c", "d"] and data["colour"]["counts"] == [10] * 4
    first = next(iter(data["sounds"].values()))
    assert base64.b64decode(first[0])[:3] == b"ID3" or base64.b64decode(first[0])[0] == 0xFF, "an mp3"
    assert first[1] == "0.50 s · 16 kHz"
    assert data["note"].startswith("Points with a ring play: 8 of 40 carry sound on this page")
    labels = [table["label"][int(i)] for i in data["sounds"]]
    assert sorted(labels) == list("aabbccdd")


def test_same_call_same_bytes(z, table, tone):
    one, two = (sound_map(z, table, audio=tone, sounds=4) for _ in range(2))
    assert one.html == two.html and one.key == two.key
    assert one.key != sound_map(z, table, audio=tone, sounds=5).key


def test_cap_in_bytes_is_kept_and_stated(z, table, tone):
    view = sound_map(z, table, audio=tone, sounds=40, megabytes=0.02)
    assert 0 < len(view.carried) < 40
    assert sum(len(view.sound(i).data) for i in view.carried) <= 20_000
    assert f"{len(view.carried)} of 40 carry sound" in content(view)["note"]


def test_all_points_with_sound_need_no_ring_note(z, table, tone):
    assert content(sound_map(z, table, audio=tone))["note"].startswith("Click a point to hear it")
    assert content(sound_map(z, table))["note"] == "These points came without sound."


def test_levels_are_kept(z, table, tone):
    import io

    import soundfile

    view = sound_map(z, table, audio=tone, format="flac", gain_db=-6)
    peaks = [np.abs(soundfile.read(io.BytesIO(view.sound(i).data))[0]).max() for i in (0, 4)]
    np.testing.assert_allclose(peaks, np.array([0.05, 0.25]) * 10 ** (-6 / 20), atol=1e-3)
    assert "all at -6.0 dB" in content(view)["note"]


def test_damaged_clip_is_named_not_ringed(z, table, tone):
    def audio(i):
        if i == 3:
            raise AudioError("clip 3", "the file is empty")
        return tone(i)

    view = sound_map(z, table, audio=audio)
    assert view.failed == {3: "clip 3: the file is empty"} and 3 not in view.carried
    assert "Could not be read: clip 3: the file is empty." in content(view)["note"]
    with pytest.raises(AudioError, match="clip 3"):
        view.sound(3)


def test_other_errors_are_not_hidden(z, table):
    with pytest.raises(ZeroDivisionError):
        sound_map(z, table, audio=lambda i: 1 / 0)


def test_numbers_colour_by_scale(z, table):
    table.loc[3, "f0"] = np.nan
    colour = content(sound_map(z, table, color="f0"))["colour"]
    assert (colour["kind"], colour["min"], colour["max"], colour["missing"]) == ("number", 100.0, 400.0, 1)
    right = content(sound_map(z, table, color=np.arange(40) % 2 == 0))["colour"]
    assert right["name"] == "colour" and right["levels"] == ["False", "True"]


def test_panels_from_a_mapping(z, table):
    data = content(sound_map({"layer 1": z, "layer 2": z[:, :2]}, table, title="two"))
    assert [panel["title"] for panel in data["panels"]] == ["layer 1", "layer 2"]
    assert data["title"] == "two"


@pytest.mark.parametrize("label", ["</script><b>", "<!--", "&amp;", "\"'", "$x^{", "\u2028", "日本"])
def test_labels_never_reach_the_markup(z, table, label):
    table["label"] = label
    view = sound_map(z, table, title=label)
    outside = re.sub(r'class="wb-data">[^<]*<|<style>.*?</style>|<script>.*?</script>', "", view.html, flags=re.S)
    assert content(view)["colour"]["levels"] == [label]
    if "<" in label:
        assert label not in outside
    assert view.html.count("<script") == 2 == view.html.count("</script>")


def test_static_files_stay_in_their_element():
    for name in ("one_sound.js", "scatter.js", "sound_map.js", "link.js", "players.js", "explorer.js"):
        assert "</script" not in _static(name) and "<!--" not in _static(name)
    for name in ("sound_map.css", "players.css"):
        assert "</style" not in _static(name)


def test_nothing_is_fetched_from_anywhere(z, table, tone):
    html = sound_map(z, table, audio=tone).html
    assert not re.search(r"https?://|//cdn|import\(|require\(", html)


def test_save_writes_a_whole_page(z, table, tmp_path):
    path = sound_map(z, table, title="<b>").save(tmp_path / "map.html")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "<title>&lt;b&gt;</title>" in text
    assert list(tmp_path.iterdir()) == [path]


def test_generated_audio_is_said(z, table, tone):
    clips = SimpleNamespace(table=table, audio=tone, generated=True)
    view = sound_map(z, clips, sounds=2)
    assert view.title == "40 clips of generated audio, PCA" and len(view.carried) == 2


def test_selection_from_python(z, table):
    view = sound_map(z, table)
    assert len(view.selection) == 0
    view.select(table[table["label"] == "c"])
    assert view.selection["label"].unique().tolist() == ["c"]
    assert view.selected.tolist() == list(range(2, 40, 4))


def test_observers_hear_of_the_page(z, table):
    view, seen = sound_map(z, table), []
    view.on_select(lambda rows: seen.append(rows["id"].tolist()))
    view.connect()
    view._link.selected = [1, 5]  # what the page does
    assert seen == [["clip 1", "clip 5"]]
    view.select([7])
    assert seen[1] == ["clip 7"] and view._link.selected == [7]


def asked(view, *indices) -> list[tuple[dict, list]]:
    """What the kernel sends when the page asks for these sounds."""
    sent = []
    view.connect()
    view._link.send = lambda message, buffers: sent.append((message, buffers))
    for ticket, index in enumerate(indices):
        view._link._handle_custom_msg({"kind": "sound", "index": index, "ticket": ticket}, [])
    return sent


def test_link_answers_with_sound_or_reason(z, table, tone):
    sent = asked(sound_map(z, table, audio=tone, sounds=0), 3, 99, "x", None)
    message, buffers = sent[0]
    assert message == {"ticket": 0, "caption": "0.50 s · 16 kHz", "media": "audio/mpeg"}
    assert buffers == [sound_map(z, table, audio=tone).sound(3).data]
    assert [set(m) for m, _ in sent[1:]] == [{"ticket", "error"}] * 3 and [m["ticket"] for m, _ in sent] == [0, 1, 2, 3]
    assert sent[1][0]["error"] == "i=99 must be a whole number from 0 to 39"


def test_link_tells_any_failure(z, table):
    sent = asked(sound_map(z, table, audio=lambda i: 1 / 0, sounds=0), 0)
    assert sent == [({"ticket": 0, "error": "ZeroDivisionError: division by zero"}, [])]


def test_no_kernel_no_link(z, table):
    view = sound_map(z, table)
    assert not _in_kernel()
    assert set(view._repr_mimebundle_()) == {"text/html", "text/plain"} and view._link is None
    assert repr(view) == "SoundMap('40 clips, PCA': 40 points, 0 carry sound)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": "colour"}, "color='colour' must be a column of the table: id, label, f0"),
        ({"hover": ["pitch"]}, "hover='pitch'"),
        ({"color": [1, 2]}, "color='2 values'"),
        ({"sounds": -1}, "sounds=-1"),
        ({"seconds": 0}, "seconds=0"),
        ({"format": "aac"}, "format='aac'"),
    ],
)
def test_wrong_options(z, table, options, message):
    with pytest.raises(ParameterError, match=message):
        sound_map(z, table, **options)


def test_wrong_sizes(z, table):
    with pytest.raises(ParameterError, match="array of 39 rows.*has 40"):
        sound_map(z[:39], table)
    for number in (5, np.array(5.0), np.float32(5)):
        with pytest.raises(ParameterError, match="array of 0 rows.*has 40"):
            sound_map(number, table)
    with pytest.raises(ParameterError, match="clips='list'"):
        sound_map(z, [1, 2])
