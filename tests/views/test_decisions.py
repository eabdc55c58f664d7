"""decision_page: words, exact parts, numbers that suffice for every knob, escaping, and what it refuses."""

from __future__ import annotations

import base64
import gzip
import json
import re

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.prototypes.explaining import explain
from workbench.prototypes.factors import FactorPrototypes, Levels
from workbench.views.decisions import decision_page

CLASSES = ["neutral", "angry", "sad"]


@pytest.fixture(scope="module")
def factors():
    values = np.stack([np.linspace(-5, 5, 40), np.tile(np.linspace(-40, -20, 8), 5)], axis=1)
    return FactorPrototypes(Levels.fit(values, ["pitch", "loudness"], count=3), 8, scale=2.0)


@pytest.fixture(scope="module")
def explanation(factors):
    rng = np.random.default_rng(0)
    z = factors.targets(rng.integers(0, 3, (40, 2))) + 0.3 * rng.normal(size=(40, 8))
    return explain(z, rng.normal(size=(3, 8)), rng.normal(size=3), factors)


@pytest.fixture
def page(explanation, table, tone):
    def make(rows=(3, 5), **options):
        return decision_page(explanation, table, rows, **{"classes": CLASSES, "audio": tone} | options)

    return make


def numbers(view) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(re.search(r'class="wb-data">(.*?)</script>', view.html)[1])))


def text(view) -> str:
    return re.sub(r"<[^>]*>", " ", re.sub(r"<(style|script).*?</\1>", "", view.html, flags=re.S))


def test_words_name_reasons_in_order_of_their_weight(factors, table, tone):
    weight = np.zeros((3, 8))
    weight[1, 5], weight[1, 2], weight[1, 6] = 1.5, 0.75, 0.3  # angry: loudness high, pitch high, something in the rest
    levels = np.tile([[2, 2]], (40, 1))
    z = factors.targets(levels)
    z[:, 6] = -1.0
    view = decision_page(explain(z, weight, [0, 0.3, 0], factors), table, [0], classes=CLASSES, audio=tone)
    assert view.words == [
        "angry, because loudness is high (+2.0) and pitch is high (+1.0). "
        "The rest of the embedding, which has no words, adds −0.2; the bias adds +0.2."
    ]
    assert "<strong>angry</strong>, because loudness is high" in view.html
    assert "What speaks for angry" in text(view) and "pitch: high" in text(view)


def test_words_say_when_the_factors_do_not_explain(factors, table, tone):
    z = factors.targets(np.tile([[0, 1]], (40, 1)))
    z[:, 7] = 1.0
    weight = np.zeros((3, 8))
    weight[2, 7], weight[2, 0], weight[0, 4] = 3.0, -0.3, 0.015
    view = decision_page(explain(z, weight, np.zeros(3), factors), table, [0], classes=CLASSES, audio=tone)
    assert view.words[0].startswith(
        "sad, mostly without words (factors together −0.4), though no factor speaks for it; "
        "loudness is middle (0.0), pitch is low (−0.4). The rest of the embedding, which has no words, adds +2.0"
    )


def test_parts_add_up_to_the_logit_above_the_mean(page, explanation):
    view = page(range(12))
    shown = [
        float(value.replace("−", "-"))
        for value in re.findall(r'wb-total"><div>together</div><div></div><b>([^<]*)', view.html)
    ]
    logits = explanation.logits[:12]
    np.testing.assert_allclose(shown, logits.max(1) - logits.mean(1), atol=0.0501)


def test_the_numbers_carried_suffice_for_every_counterfactual(page, explanation):
    given = numbers(page([3, 5]))
    for levels in ([0, None], [None, 2], [2, 1], [None, None]):
        turned = {name: level for name, level in zip(["pitch", "loudness"], levels, strict=True) if level is not None}
        wanted = explanation.counterfactual(turned)[[3, 5]]
        for parts, expected in zip(given["parts"], wanted, strict=True):
            logits = np.array(given["bias"]) + parts[2]
            for f, level in enumerate(levels):
                logits = logits + np.array(parts[f] if level is None else given["effects"][f][level])
            found = np.exp(logits) / np.exp(logits).sum()
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_truth_and_measurements_stand_beside(page, explanation):
    true = explanation.decisions.copy()
    true[5] = (true[5] + 1) % 3
    values = np.linspace(-40.0, -20.0, 40)
    values[5] = np.nan
    view = page([3, 5], true=true, measured={"loudness": (values, "dBFS")})
    assert f"✓ right: true class {CLASSES[true[3]]}" in text(view)
    assert f"✗ wrong: true class {CLASSES[true[5]]}" in text(view)
    assert "measured −38.5 dBFS, above 8 % of clips" in text(view) and "not measured" in text(view)
    assert page([3, 5], true=[CLASSES[c] for c in true], measured={"loudness": (values, "dBFS")}).html == view.html


def test_level_names(page, table, tone):
    assert '<option value="2">loud</option>' in page(level_names={"loudness": ["soft", "medium", "loud"]}).html
    assert '<option value="2">high</option>' in page().html
    many = Levels.fit(
        np.stack([np.arange(40.0), np.arange(40) % 4 * 60.0], axis=1), ["pitch", "tempo"], count=[5, None]
    )
    factors = FactorPrototypes(many, 9, scale=1.0)
    e = explain(np.zeros((40, 9)), np.zeros((3, 9)), np.zeros(3), factors)
    view = decision_page(e, table, [0], classes=CLASSES, audio=tone)
    assert re.findall(r'<option value="\d">([^<]*)', view.html) == [
        *(f"level {k} of 5" for k in range(1, 6)), "0", "60", "120", "180",
    ]  # fmt: skip
    assert "<span>rest</span>" not in view.html and "The bias adds 0.0." in view.words[0], "no rest, no word of it"


def test_same_bytes_no_network_no_autoplay(page, tmp_path):
    view = page()
    assert view.html == page().html == view._repr_html_()
    assert "autoplay" not in view.html and not re.search(r"https?://|import\(|require\(", view.html)
    assert view.html.count("<audio controls") == 2
    assert "All clips at one gain" in text(view) and "less the mean of what it adds to all 3 classes" in text(view)
    assert "<title>mine</title>" in page(title="mine").save(tmp_path / "d.html").read_text(encoding="utf-8")
    assert repr(view) == "DecisionPage(2 of 40 decisions)"


@pytest.mark.parametrize(
    "hostile", ["</script><script>hit()</script>", '" onerror="hit()', "<img src=x onerror=hit()>"]
)
def test_everything_is_escaped(page, table, hostile):
    table["id"] = [f"{hostile}{i}" for i in range(40)]
    view = page(
        [0, 1],
        classes=[f"{hostile}{c}" for c in range(3)],
        level_names={"pitch": [hostile] * 3},
        true=[f"{hostile}1"] * 40,
        measured={"pitch": (np.zeros(40), hostile)},
        title=hostile,
    )
    assert hostile not in re.sub(r"<(style|script).*?</\1>", "", view.html, flags=re.S)
    assert view.html.count("<script") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["a", "b"]}, "classes='2 names' must be one for each of 3 classes"),
        ({"rows": []}, "rows='0 clips' must be 1 to 12"),
        ({"rows": range(13)}, "rows='13 clips' must be 1 to 12"),
        ({"level_names": {"rate": []}}, "level_names='rate' must be one of the factors: pitch, loudness"),
        ({"level_names": {"pitch": ["low"]}}, "3 names, one for each level"),
        ({"true": ["calm"] * 40}, "true='calm' must be one of the classes: neutral, angry, sad"),
        ({"true": [0, 1]}, "true.shape"),
        ({"measured": {"rate": (np.zeros(40), "Hz")}}, "measured='rate'"),
        ({"measured": {"pitch": (np.zeros(3), "Hz")}}, r"measured\['pitch'\].shape"),
        ({"audio": None}, "audio=None must be given"),
    ],
)
def test_what_does_not_fit_is_named(page, options, message):
    with pytest.raises(ParameterError, match=message):
        page(**options)


def test_other_number_of_clips(explanation, table, tone):
    with pytest.raises(ParameterError, match="clips='39 clips' must be 40, one for each embedding"):
        decision_page(explanation, table.head(39), [0], classes=CLASSES, audio=tone)


def test_a_word_that_the_known_level_contradicts_is_marked(factors, table, tone):
    weight = np.zeros((3, 8))
    weight[1, 5], weight[1, 2] = 1.5, 0.75
    z = factors.targets(np.tile([[2, 2]], (40, 1)))
    known = np.tile([[2, 2]], (40, 1))
    known[1] = 2, 0
    e = explain(z, weight, [0, 0.3, 0], factors)
    view = decision_page(e, table, [0, 1], classes=CLASSES, audio=tone, levels=known)
    assert view.contradicted == [[], ["loudness"]]
    assert "loudness is high (+2.0) and" in view.words[0]
    assert "loudness is high (+2.0; it is low) and pitch is high (+1.0)" in view.words[1]
    assert view.html.count('<b class="wb-wrong">✗</b> loudness: high') == 1 and "it is low" in text(view)
    silent = decision_page(e, table, [0, 1], classes=CLASSES, audio=tone)
    assert silent.contradicted == [[], []] and "really has another level" not in text(silent)


@pytest.mark.parametrize("levels", [np.zeros((40, 3), int), np.full((40, 2), 3), np.zeros((40, 2))])
def test_levels_that_do_not_fit_are_refused(page, levels):
    with pytest.raises(ParameterError, match="levels"):
        page(levels=levels)
