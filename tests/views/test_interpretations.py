"""interpretation_page: one sound for each set of components, one gain, caps that are said, and what it refuses."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from workbench.core.errors import AudioError, ParameterError
from workbench.views.interpretation_figures import Pictures, probabilities
from workbench.views.interpretations import interpretation_page

RATE, SAMPLES, BINS, FRAMES = 8000, 8000, 129, 63
RELEVANCE = np.array([0.25, 1.0, -0.5, 0.55, 0.05])


class Planted:
    """Five tones, one a component, that sound one after the other; nothing here is computed from spectra."""

    classes, name, logits = ("bark", "<bell>", "siren"), "<bell>", np.array([0.0, 2.0, 1.0])
    spectra = SimpleNamespace(rate=RATE, n_fft=256, hop=128)
    relevance = RELEVANCE

    def __init__(self):
        self.dictionary, self.activations = np.full((BINS, 5), 1e-6), np.full((5, FRAMES), 1e-6)
        for k in range(5):
            self.dictionary[20 * k + 10, k], self.activations[k, 12 * k : 12 * k + 12] = 1.0, 1.0
        self.log_magnitude = 3 * self.dictionary @ self.activations
        t = np.arange(SAMPLES) / RATE
        tones = [np.sin(2 * np.pi * (20 * k + 10) * RATE / 256 * t) * (t // 0.2 == k) for k in range(5)]
        self.tones = 0.5 * np.stack(tones).astype(np.float32)
        self.waveform_in = self.tones.sum(0)

    ranked = np.argsort(-RELEVANCE)

    def selected(self, tau):
        return self.ranked[RELEVANCE[self.ranked] > tau]

    def mask(self, tau):
        kept = self.selected(tau)
        return self.dictionary[:, kept] @ self.activations[kept] / (self.dictionary @ self.activations)

    def waveform(self, tau):
        return self.tones[self.selected(tau)].sum(0)

    def removed(self, tau):
        return self.waveform_in - self.waveform(tau)

    def component(self, k):
        return self.tones[k]


def data(view) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(re.search(r'class="wb-data">(.*?)</script>', view.html)[1])))


def text(view) -> str:
    return re.sub(r"<[^>]*>", " ", re.sub(r"<(style|script).*?</\1>", "", view.html, flags=re.S))


def decoded(uri: str) -> np.ndarray:
    return soundfile.read(io.BytesIO(base64.b64decode(uri.split(",")[1])), dtype="float32")[0][:SAMPLES]


def level(x: np.ndarray) -> float:
    return 10 * np.log10(np.mean(x**2))


def test_each_set_of_components_is_carried_once_and_as_it_sounds():
    one = Planted()
    view = interpretation_page(one)
    found = data(view)
    assert view.left_out == [] and view.taus == found["taus"] == pytest.approx(np.arange(20) / 20)
    assert sorted(len(part["kept"]) for part in found["parts"]) == [1, 2, 3, 4], "four sets along twenty thresholds"
    kept = [found["parts"][place]["kept"] for place in found["part"]]
    assert kept == [one.selected(tau).tolist() for tau in view.taus]
    assert found["taus"][found["start"]] == 0.2 and found["parts"][0]["kept"] == [1, 3, 0]
    gain = 10 ** (view.gain_db / 20)
    for part in found["parts"][1:]:
        rest = np.setdiff1d(range(5), part["kept"])
        for uri, components in ((part["sound"], part["kept"]), (part["rest"], rest)):
            assert level(decoded(uri)) == pytest.approx(level(gain * one.tones[components].sum(0)), abs=0.5)


def test_one_gain_for_all_and_levels_beside_the_clip():
    view = interpretation_page(Planted(), components=2)
    assert view.gain_db == pytest.approx(-1 + 20 * np.log10(2), abs=0.01), "the clip's peak of 0.5 comes to -1 dBFS"
    assert f"one gain of {view.gain_db:+.1f} dB" in text(view)
    uris = re.findall(r'<audio[^>]* src="([^"]+)"', view.html)
    clip, kept, rest, first, second = map(decoded, uris)
    assert level(clip) == pytest.approx(level(Planted().waveform_in) + view.gain_db, abs=0.1)
    for x, components in ((kept, 3), (rest, 2), (first, 1), (second, 1)):
        assert level(x) - level(clip) == pytest.approx(10 * np.log10(components / 5), abs=0.5)
    shown = [float(v.replace("−", "-")) for v in re.findall(r"([+−][\d.]+) dB re clip", text(view))]
    assert shown == pytest.approx(10 * np.log10(np.array([3, 2, 1, 1]) / 5), abs=0.06)


def test_what_does_not_fit_is_left_out_and_said():
    full = interpretation_page(Planted())
    small = interpretation_page(Planted(), megabytes=0.06)
    assert small.taus and small.left_out and 0.2 in small.taus
    assert sorted(small.taus + small.left_out) == full.taus
    assert len(small.html) < len(full.html)
    assert f"the page carries the sounds of {len(data(small)['parts'])}, and the slider stops only there" in text(small)
    none = interpretation_page(Planted(), megabytes=0, truth={"siren": Planted().tones[0]})
    assert none.components == [] and len(data(none)["parts"]) == 1, "clip, interpretation and rest are always there"
    assert none.html.count("<audio") == 3
    assert "4 of 4 components do not fit the page." in text(none) and "1 of 1 stems do not fit the page." in text(none)


def test_sets_farthest_from_the_first_come_first():
    view = interpretation_page(Planted(), tau=0.0, components=0, megabytes=0.075)
    assert [len(part["kept"]) for part in data(view)["parts"]][:2] == [4, 1]


def test_only_components_that_speak_for_the_class_have_cards():
    view = interpretation_page(Planted(), components=9)
    assert view.components == [1, 3, 0, 4]
    assert re.findall(r"component (\d)\s+([+−][\d.]+)\s+strongest at ([\d,]+) Hz", text(view)) == [
        ("1", "+1.00", "938"), ("3", "+0.55", "2,188"), ("0", "+0.25", "312"), ("4", "+0.05", "2,812"),
    ]  # fmt: skip
    assert "Each relevant component alone" not in text(interpretation_page(Planted(), components=0))


def test_bars_stand_in_order_and_are_coloured_above_the_threshold():
    view = interpretation_page(Planted(), tau=0.5)
    bars = re.findall(r'<rect [^>]*?( class="wb-on")?><title>component (\d): relevance ([^<]+)', view.html)
    assert [(k, value) for _, k, value in bars] == [
        ("1", "+1.00"), ("3", "+0.55"), ("0", "+0.25"), ("4", "+0.05"), ("2", "−0.50"),
    ]  # fmt: skip
    assert [bool(on) for on, _, _ in bars] == [True, True, False, False, False]
    assert "Kept: 1, 3." in text(view) and "2 of 5 components, τ = 0.50" in text(view)


def test_no_component_above_the_threshold_is_silence_and_said():
    one = Planted()
    one.relevance, one.selected = -np.abs(RELEVANCE), lambda tau: np.array([], dtype=int)
    view = interpretation_page(one)
    assert "the interpretation is silent" in text(view) and "0 of 5 components" in text(view)
    assert len(data(view)["parts"]) == 1 and view.components == [] and "silent" in text(view)


def test_truth_as_stems_and_as_times():
    one = Planted()
    view = interpretation_page(one, truth={"<bell>": one.tones[1], "siren": [[0.25, 0.5], [0.9, 1.5]]})
    assert "What truly sounds" in text(view) and text(view).count("the true stem") == 1
    assert 'aria-label="0.25 to 0.50 s, 0.90 to 1.00 s"' in view.html, "times end with the clip"
    assert 'style="left:25.00%;width:25.00%"' in view.html
    assert view.html.count('title="truly sounds"') == 2


def test_probabilities_of_both_kinds():
    np.testing.assert_allclose(probabilities([0.0, 2.0, 1.0], multilabel=False), [0.0900, 0.6652, 0.2447], atol=1e-4)
    np.testing.assert_allclose(probabilities([0.0, 2.0, -800.0], multilabel=True), [0.5, 0.8808, 0.0], atol=1e-4)
    assert "66.5 %" in text(interpretation_page(Planted()))
    assert "88.1 %" in text(interpretation_page(Planted(), multilabel=True))
    one = Planted()
    one.name = "bark"
    assert "What the classifier says (bark: number 3)" in text(interpretation_page(one))


def test_mask_pictures_say_the_share_of_what_is_there():
    from PIL import Image

    levels = np.zeros((BINS, FRAMES))
    levels[:, :30] = 1.0
    mask = np.full((BINS, FRAMES), 0.25)
    picture = Pictures(levels, RATE).mask(mask)
    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))), dtype=float)[..., 0] / 255
    assert grey.shape == (18, FRAMES)
    assert np.abs(grey[2:-2, 2:28] - 0.25).max() < 0.03
    low = Pictures(levels, RATE).rows(np.linspace(0, 1, BINS))
    assert (np.diff(low) > 0).all(), "rows go up in frequency"


def test_same_bytes_no_network_no_autoplay_all_escaped(tmp_path):
    view = interpretation_page(Planted(), caption="<img src=x>", title="<script>hit()</script>")
    assert view.html == interpretation_page(Planted(), caption="<img src=x>", title="<script>hit()</script>").html
    markup = re.sub(r"<(style|script)\b.*?</\1>", "", view.html, flags=re.S)
    assert "<bell>" not in markup and "<img src=x" not in markup and view.html.count("<script") == 2
    assert "autoplay" not in view.html and not re.search(r"https?://|import\(|require\(", view.html)
    assert "<title>mine</title>" in interpretation_page(Planted(), title="mine").save(tmp_path / "i.html").read_text()
    assert repr(view) == "InterpretationPage('<bell>': 20 thresholds, 4 sets)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 1.0}, "tau=1.0 must be at least 0 and below 1"),
        ({"tau": float("nan")}, "tau"),
        ({"taus": [0.1, -0.2]}, "taus=-0.2 must be at least 0"),
        ({"components": -1}, "components=-1"),
        ({"truth": {"bell": np.zeros(5)}}, r"truth\['bell'\]='array of shape \(5,\)' must be a stem \(8000,\)"),
        ({"truth": {"bell": [[2.0, 1.0]]}}, "each onset before its offset"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ParameterError, match=message):
        interpretation_page(Planted(), **options)


def test_broken_sounds_are_named():
    one = Planted()
    one.tones[3, 5] = np.nan
    with pytest.raises(AudioError, match="interpretation: 1 of 8000 samples are NaN"):
        interpretation_page(one)
