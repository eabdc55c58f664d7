"""latent_statistics against other libraries and planted latents; latent_page: content, caps, errors, answers."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import AudioError, ParameterError
from workbench.views.latents import latent_page
from workbench.views.latents_data import NO_CLIP, _midranks, _nearest, examples, latent_statistics, telling_order
from workbench.views.page import _static

COLUMNS = ["label", "f0"]


@pytest.fixture
def z(table):
    """(40, 8): 0 is label b alone, 1 follows f0, 2 to 5 are sparse noise with ties, 6 is constant, 7 dead."""
    rng = np.random.default_rng(0)
    z = np.zeros((40, 8), dtype=np.float32)
    z[:, 0] = (table["label"] == "b") * rng.uniform(1, 2, 40)
    z[:, 1] = table["f0"] / 100
    z[:, 2:6] = np.maximum(rng.integers(-4, 4, (40, 4)), 0)
    z[:, 6] = 2
    return z


def content(page) -> dict:
    packed = re.search(r'class="wb-data">([A-Za-z0-9+/=]+)</script>', page.html).group(1)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


# ---- statistics


def test_planted_label_and_factor_are_found(z, table):
    found = latent_statistics(z, table, COLUMNS)
    label, factor = found.loc[0], found.loc[1]
    assert (label["column"], label["label"], label["auc"]) == ("label", "b", 1.0)
    assert (label["precision"], label["recall"], label["share"], label["density"]) == (1.0, 1.0, 0.25, 0.25)
    assert factor["factor"] == "f0" and factor["correlation"] == pytest.approx(1, abs=1e-6)
    assert 0.5 < label["auc_chance"] < 0.9 and 0 < factor["correlation_chance"] < 0.7


def test_auc_precision_recall_equal_sklearn(z, table):
    metrics = pytest.importorskip("sklearn.metrics")
    found = latent_statistics(z, table, COLUMNS)
    for latent in range(6):
        row, label = found.loc[latent], table["label"] == found.loc[latent, "label"]
        active = z[:, latent] > 0
        assert row["auc"] == pytest.approx(metrics.roc_auc_score(label, z[:, latent]), abs=1e-12)
        assert row["precision"] == pytest.approx(metrics.precision_score(label, active))
        assert row["recall"] == pytest.approx(metrics.recall_score(label, active))
        # Labels of equal size: the one furthest from chance is the one with the largest AUC.
        every = [metrics.roc_auc_score(table["label"] == v, z[:, latent]) for v in "abcd"]
        assert row["auc"] == pytest.approx(max(every), abs=1e-12)


def test_correlation_equals_numpy_over_the_clips_with_a_value(z, table):
    rng = np.random.default_rng(1)
    table["tilt"] = np.where(rng.random(40) < 0.4, np.nan, rng.normal(size=40))
    for name in ("f0", "tilt"):
        found = latent_statistics(z, table, [name])
        has = table[name].notna().to_numpy()
        for latent in range(6):
            expected = np.corrcoef(z[has, latent], table.loc[has, name])[0, 1]
            assert found.loc[latent, "correlation"] == pytest.approx(expected, abs=1e-6)


def test_a_factor_of_few_clips_does_not_win_by_luck(table):
    # r = 1 over 5 clips says less than r = 0.8 over 40.
    f0 = table["f0"].to_numpy()
    z = (f0 + 30 * np.random.default_rng(0).normal(size=40)).clip(1)
    table["few"] = np.nan
    table.loc[:4, "few"] = z[:5] + np.array([0, 9, -9, 5, -5])
    found = latent_statistics(z[:, None], table, ["f0", "few"]).loc[0]
    assert found["factor"] == "f0"


def test_what_nothing_can_be_said_of_is_missing(z, table):
    found = latent_statistics(z, table, COLUMNS)
    assert found.loc[[6, 7], ["label", "auc", "auc_chance", "factor", "correlation"]].isna().all(axis=None)
    assert found["density"].tolist()[6:] == [1, 0]
    assert latent_statistics(z, table, [])["label"].isna().all()
    rare = table.assign(label=["x"] * 4 + ["y"] * 36)
    assert latent_statistics(z, rare, ["label"])["auc"].isna().all(), "four clips are too few for a label"


def test_ranks_equal_scipy():
    stats = pytest.importorskip("scipy.stats")
    z = np.maximum(np.random.default_rng(0).integers(-3, 5, (50, 20)), 0).astype(float)
    z[:, 3], z[:, 4] = 0, 2
    np.testing.assert_array_equal(_midranks(z), stats.rankdata(z, axis=0))


def test_chance_is_passed_by_one_unrelated_latent_in_twenty():
    rng = np.random.default_rng(0)
    z = np.maximum(rng.normal(size=(200, 1000)) - 1, 0)
    table = pd.DataFrame({"label": rng.integers(0, 8, 200).astype(str), "a": rng.normal(size=200)})
    table["b"] = np.where(rng.random(200) < 0.5, np.nan, rng.normal(size=200))
    found = latent_statistics(z, table, list(table.columns))
    assert 0.02 < (found["auc"] > found["auc_chance"]).mean() < 0.09
    assert 0.02 < (found["correlation"].abs() > found["correlation_chance"]).mean() < 0.09


def test_time_grows_with_the_latents_and_no_faster(record_property):
    """Four times the latents take less than twelve times the time, in one run: a loop over pairs would take sixteen."""
    rng = np.random.default_rng(0)
    z = rng.exponential(size=(2000, 2048)).astype(np.float32)
    z[z < np.quantile(z[:, :100], 0.95)] = 0
    labels = {f"label {k}": rng.integers(0, size, 2000).astype(str) for k, size in enumerate((2, 5, 10, 20))}
    table = pd.DataFrame(labels | {f"factor {k}": rng.normal(size=2000) for k in range(8)})

    def seconds(count: int) -> float:
        start = time.process_time()
        latent_statistics(z[:, :count], table, list(table.columns))
        return time.process_time() - start

    pairs = [(seconds(512), seconds(2048)) for _ in range(3)]
    few, many = np.min(pairs, axis=0)
    record_property("seconds", float(many))
    assert many < 12 * few, (few, many)


def test_same_seed_same_numbers(z, table):
    one, two = (latent_statistics(z, table, COLUMNS, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


# ---- examples and relatives


def test_examples_are_strongest_weaker_and_silent():
    z = np.zeros((30, 1))
    z[:20, 0] = np.arange(20, 0, -1)  # clip 0 is the strongest
    row = examples(z, [0], top=4, seed=0)[0].tolist()
    assert row[:4] == [0, 1, 2, 3]
    assert row[4:7] == [5, 10, 14], "a quarter, half, three quarters of the way from 0 to 19"
    assert all(20 <= i < 30 for i in row[7:]) and row[7] != row[8]


def test_missing_examples_have_no_clip():
    row = examples(np.array([[3.0], [0], [1]]), [0], top=4, seed=0)[0].tolist()
    assert row == [0, 2] + [NO_CLIP] * 5 + [1, NO_CLIP]


def test_nearest_equals_a_full_comparison():
    rows = np.random.default_rng(0).normal(size=(600, 7))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    places, values = _nearest(rows, np.arange(600), most=5)
    cosine = rows @ rows.T - 2 * np.eye(600)
    np.testing.assert_array_equal(places, np.argsort(-cosine, axis=1)[:, :5])
    np.testing.assert_allclose(values, -np.sort(-cosine, axis=1)[:, :5], atol=1e-6)


def test_most_telling_come_first_and_differ(z, table):
    z = np.concatenate([z, z[:, :1] * 2, (table["label"] == "c").to_numpy(float)[:, None]], axis=1)
    order = telling_order(latent_statistics(z, table, COLUMNS))
    assert sorted(order) == [0, 1, 2, 3, 4, 5, 6, 8, 9], "the dead one is left out"
    assert set(order[:3]) == {0, 1, 9} and order[3] == 8, "the second latent of label b waits"


# ---- the page


def test_page_carries_numbers_of_all_and_sounds_of_some(z, table, tone):
    page = latent_page(z, table, columns=COLUMNS, audio=tone, sounds=20, top=3)
    data = content(page)
    assert (data["n"], data["total"], len(data["latents"])) == (40, 8, 7)
    assert unpacked(data["numbers"], "<u4").tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert data["about"][0] == ["label", "b"] and data["factors"][1] == "f0"
    np.testing.assert_allclose(unpacked(data["statistics"]["auc"], "<f4")[0], 1)
    assert 0 < len(data["clips"]) <= 20 and page.carried == data["carried"] and len(page.carried) >= 2
    for latent in page.carried:
        assert {str(i) for i in page.example_clips(latent)} <= data["clips"].keys()
    clip = next(iter(data["clips"].values()))
    sound = base64.b64decode(clip["sound"])
    assert sound[:3] == b"ID3" or sound[0] == 0xFF, "an mp3"
    assert clip["picture"].startswith("data:image/webp;base64,") and clip["caption"] == "0.50 s · 16 kHz"
    assert f"Latents marked ♪ play on this page: {len(page.carried)} of 7 alive" in data["note"]
    assert "of 40 clips" in data["note"] and "all at +11.0 dB" in data["note"]


def test_activations_come_back(z, table):
    parcel = content(latent_page(z, table, columns=COLUMNS))["latents"]["2"]
    clips = np.cumsum(unpacked(parcel["gaps"], "<u4"))
    levels = unpacked(parcel["levels"], "<u2") / 65535 * z[:, 2].max()
    np.testing.assert_array_equal(clips, np.flatnonzero(z[:, 2]))
    np.testing.assert_allclose(levels, z[clips, 2], atol=1e-4)


def test_activations_on_the_page_are_capped(z, table, tone, monkeypatch):
    monkeypatch.setattr("workbench.views.latents._MOST_ACTIVATIONS", 30)
    page = latent_page(z, table, columns=COLUMNS, latents=[1, 0], audio=tone, sounds=0)
    assert list(content(page)["latents"]) == [], "latent 1 is active in 40 clips"
    page = latent_page(z, table, columns=COLUMNS, latents=[0, 1], audio=tone, sounds=0)
    assert list(content(page)["latents"]) == ["0"]
    assert "for 1 latents the activation of every clip" in content(page)["note"]


def test_caps_are_kept_and_stated(z, table, tone):
    page = latent_page(z, table, columns=COLUMNS, audio=tone, megabytes=0.06)
    data = content(page)
    size = sum(len(base64.b64decode(c["sound"])) + len(c["picture"]) * 3 // 4 for c in data["clips"].values())
    assert 0 < size <= 60_500 and f"{len(data['clips'])} of 40 clips" in data["note"]
    assert content(latent_page(z, table, audio=tone, sounds=0))["note"].startswith("This page carries no sound")
    assert content(latent_page(z, table))["note"] == "These clips came without sound; the page has the numbers."


def test_wanted_latents_are_carried_first(z, table, tone):
    page = latent_page(z, table, columns=COLUMNS, latents=[4, 2], top=2, audio=tone, sounds=40)
    assert page.carried == [4, 2] and page.selected == 4


def test_same_call_same_bytes(z, table, tone):
    one, two = (latent_page(z, table, columns=COLUMNS, decoder=np.eye(8), audio=tone, sounds=9) for _ in range(2))
    assert one.html == two.html and one.key == two.key


def test_default_columns_are_label_and_factors_once(z, table, tone):
    table["technique"], table["singer"] = table["label"], list("xy") * 20
    clips = SimpleNamespace(table=table, audio=tone, factors=("technique", "singer", "f0"), generated=True)
    data = content(latent_page(z, clips, sounds=0))
    assert [column["name"] for column in data["columns"]] == ["label", "singer", "f0"]
    assert data["title"] == "8 latents on 40 clips of generated audio"


def test_curves_over_time_keep_their_peak(z, table, tone):
    asked = []

    def frames(i):
        asked.append(i)
        times = np.arange(1000) / 1000
        activations = np.zeros((1000, 8))
        activations[321, :] = 1 + i
        return times, activations

    page = latent_page(z, table, columns=COLUMNS, latents=[0, 1], audio=tone, frames=frames, seconds=0.4)
    parcels = content(page)["latents"]
    assert len(asked) == len(set(asked)), "each clip's frames are asked for once"
    assert "curves" in parcels["0"] and "curves" not in parcels["2"], "only where the clips are carried"
    curves = parcels["0"]["curves"]
    strongest = max(page.example_clips(0))
    assert curves["largest"] == 1 + strongest
    times, levels = (unpacked(t, d) for t, d in zip(curves["of"][str(strongest)], ("<f4", "<u2"), strict=True))
    assert len(times) == 200 and times.max() < 0.4, "no more than what plays"
    assert levels.max() == 65535 and times[levels.argmax()] == pytest.approx(0.321, abs=0.002)


def test_curves_from_a_mapping_of_some_clips(z, table, tone):
    first = int(np.argmax(z[:, 0]))
    frames = {first: (np.array([0.1, 0.2]), np.ones((2, 8)))}
    page = latent_page(z, table, columns=COLUMNS, latents=[0], audio=tone, frames=frames)
    assert list(content(page)["latents"]["0"]["curves"]["of"]) == [str(first)]


def test_names_are_carried_with_their_worth(z, table):
    data = content(latent_page(z, table, names={1: "high voices", 3: ("a hiss", "balanced accuracy 0.8"), 7: "dead"}))
    assert (
        data["names"] == [["", ""], ["high voices", ""], ["", ""], ["a hiss", "balanced accuracy 0.8"]] + [["", ""]] * 3
    )
    assert content(latent_page(z, table))["names"] == [], "no column without names"


def test_damaged_clip_is_named(z, table, tone):
    worst = int(np.argmax(z[:, 0]))

    def audio(i):
        if i == worst:
            raise AudioError(f"clip {worst}", "the file is empty")
        return tone(i)

    page = latent_page(z, table, columns=COLUMNS, latents=[0], audio=audio)
    assert page.failed == {worst: f"clip {worst}: the file is empty"} and page.carried == [0]
    assert content(page)["failed"] == {str(worst): f"clip {worst}: the file is empty"}
    with pytest.raises(AudioError, match="the file is empty"):
        page.clip_parcel(worst)


def test_decoder_neighbours(z, table):
    decoder = np.random.default_rng(0).normal(size=(8, 5))
    decoder[3] = 2 * decoder[0]
    packed = content(latent_page(z, table, decoder=decoder))["relatives"]["decoder"]
    assert unpacked(packed["latents"], "<u4").reshape(7, 5)[0, 0] == 3
    assert unpacked(packed["values"], "<f4").reshape(7, 5)[0, 0] == pytest.approx(1)


def test_latents_active_together(z, table):
    packed = content(latent_page(z, table))["relatives"]["together"]
    others, shared = (unpacked(packed[name], "<u4").reshape(7, 5) for name in ("latents", "values"))
    for k in range(7):
        assert [int(((z[:, k] > 0) & (z[:, j] > 0)).sum()) for j in others[k]] == shared[k].tolist()


def test_one_clip_one_latent_no_columns(tone):
    page = latent_page(np.ones((1, 1)), pd.DataFrame({"id": ["only"]}), audio=tone)
    data = content(page)
    assert page.carried == [0] and data["about"] == [["", ""]] and data["columns"] == []
    assert data["relatives"]["together"]["latents"] == ""


@pytest.mark.parametrize("label", ["</script><b>", "<!--", "&amp;", "\"'", "\u2028", "日本"])
def test_labels_never_reach_the_markup(z, table, label):
    table["label"] = np.where(table["label"] == "b", label, table["label"])
    page = latent_page(z, table, title=label)
    outside = re.sub(r'class="wb-data">[^<]*<|<style>.*?</style>|<script>.*?</script>', "", page.html, flags=re.S)
    assert content(page)["about"][0] == ["label", label]
    assert "<" not in label or label not in outside
    assert page.html.count("<script") == 2 == page.html.count("</script>")


def test_static_files_stay_in_their_element_and_fetch_nothing(z, table):
    assert "</script" not in _static("latents.js") and "<!--" not in _static("latents.js")
    assert "</style" not in _static("latents.css")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|//cdn|import\(|require\(", latent_page(z, table).html)


def test_kernel_sends_the_parcels_the_page_would_carry(z, table, tone):
    page, sent = latent_page(z, table, columns=COLUMNS, audio=tone, sounds=0), []
    page.connect()
    page._link.send = lambda message, buffers=None: sent.append((message, buffers))
    for index in (3, 40 + 2, 48, "x"):
        page._link._handle_custom_msg({"kind": "sound", "index": index}, [])
    assert sent[0][0]["parcel"] == page.clip_parcel(3)
    assert sent[1][0]["parcel"] == content(page)["latents"]["2"]
    assert [message["error"].split("=")[0] for message, _ in sent[2:]] == ["index"] * 2


def test_selection_from_python_and_from_the_page(z, table, tone):
    page = latent_page(z, table, columns=COLUMNS, audio=tone, sounds=0)
    page.select(3)
    assert page.selected == 3
    page.connect()
    page._link.selected = [5]  # what the page does
    assert page.selected == 5
    with pytest.raises(ParameterError, match="latents=7 must be alive"):
        page.select(7)


def test_save_and_display(z, table, tmp_path):
    page = latent_page(z, table, title="<b>")
    text = page.save(tmp_path / "latents.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "<title>&lt;b&gt;</title>" in text
    assert set(page._repr_mimebundle_()) == {"text/html", "text/plain"}
    assert repr(page) == "LatentPage('<b>': 7 alive, 0 carry sound)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["pitch"]}, "columns='pitch' must be a column of the table: id, label, f0"),
        ({"latents": [8]}, r"latents\[0\]=8 must be a whole number from 0 to 7"),
        ({"latents": [-1]}, r"latents\[0\]=-1"),
        ({"latents": [7]}, "latents=7 must be alive"),
        ({"decoder": np.ones((7, 3))}, r"decoder='array of shape \(7, 3\)' must be of shape \(8, D\)"),
        ({"decoder": np.full((8, 3), np.nan)}, "decoder='array with 24 of 24 values NaN"),
        ({"top": 0}, "top=0"),
        ({"sounds": -1}, "sounds=-1"),
        ({"megabytes": -1}, "megabytes=-1"),
        ({"seconds": 0}, "seconds=0"),
        ({"moment": 0}, "moment=0"),
        ({"moment": 61.0}, "moment=61"),
        ({"names": ["a"]}, "names='list' must be a mapping"),
        ({"names": {8: "a"}}, "names=8 must be a whole number from 0 to 7"),
        ({"names": {1: 2.0}}, "names=2.0 must be text"),
    ],
)
def test_wrong_options(z, table, options, message):
    with pytest.raises(ParameterError, match=message):
        latent_page(z, table, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z[:39], "array of 39 rows.*as long as clips, which has 40"),
        (lambda z: -z, "z='array with values down to -"),
        (lambda z: z * np.nan, "z='array with 320 NaN or infinite values'"),
        (lambda z: z * 0, "z='array of zeros'"),
        (lambda z: z[:, 0], r"z='array of shape \(40,\)"),
        (lambda z: z.astype(str), "z='array of <U32' must be an array of numbers"),
    ],
)
def test_wrong_activations(z, table, change, message):
    with pytest.raises(ParameterError, match=message):
        latent_page(change(z), table)


def test_wrong_frames(z, table, tone):
    options = {"columns": COLUMNS, "latents": [0], "audio": tone}
    with pytest.raises(ParameterError, match=r"frames='times \(3,\), activations \(3, 7\) for clip"):
        latent_page(z, table, frames=lambda i: (np.arange(3), np.ones((3, 7))), **options)
    with pytest.raises(ParameterError, match="frames='NaN"):
        latent_page(z, table, frames=lambda i: (np.arange(3.0), np.full((3, 8), np.nan)), **options)
    with pytest.raises(ParameterError, match="clips='list'"):
        latent_page(z, [1, 2])
