"""What the notebook on sparse autoencoders computes by itself: its choices, its comparisons and its sentences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.lessons import sae as lesson

NAN = float("nan")


@pytest.fixture(scope="module")
def fitted():
    """Probes of two layers, of which the second knows the classes, and of an untrained network and a spectrum."""
    rng = np.random.default_rng(0)
    y, groups = np.tile(["a", "b", "c"], 60), np.repeat(np.arange(18), 10)
    signal = np.eye(3)[np.tile([0, 1, 2], 60)]
    split = wb.Split(np.arange(90), np.arange(90, 120), np.arange(120, 180))

    def probe(**layers):
        return wb.fit_probes(layers, y, split, groups=groups)

    noise, weak = rng.normal(size=(180, 4)), 0.5 * signal + rng.normal(size=(180, 3))
    own = probe(**{"0": noise, "1": signal + 0.1 * rng.normal(size=(180, 3))})
    return own, {"untrained": probe(**{"0": noise, "1": weak}), "spectrum": probe(logmel=noise)}


def test_classes_are_balanced_only_when_asked():
    clips = wb.load_dataset("voices", size=60)
    assert lesson.balanced(clips, None, seed=0) is clips
    few = lesson.balanced(clips, 2, least=3, seed=0)
    large = clips.table["label"].value_counts()
    assert set(few.table["label"]) == set(large[large >= 3].index)
    assert few.table["label"].value_counts().max() == 2


def test_what_a_set_allows_is_said_with_and_without_groups():
    clips = wb.load_dataset("voices", size=60)
    told, groups = lesson.clips_sentences(clips, [clips.split(seed=0)])
    assert told.startswith("60 clips of 10 classes; splits: 1, with ") and groups.startswith("20 groups of clips")
    alone = wb.datasets.Clips.from_arrays([np.ones(10, np.float32)] * 4, 8000, label=list("aabb"))
    assert "No groups are named" in lesson.clips_sentences(alone, [wb.Split([0], [1], [2, 3])])[1]


def test_the_papers_curve_belongs_to_its_data_and_encoders_alone():
    assert lesson.published_curve("voices", "hubert-base") == lesson.published_curve("vocalset", "mini") == {}
    (curve,) = lesson.published_curve("vocalset", "hubert-base").values()
    assert len(curve) == 13 and curve[3] == 0.73
    assert lesson.coded_layers("vocalset", "hubert-base", "5") == ["3", "12"]
    assert lesson.coded_layers("voices", "hubert-base", "5") == ["5"]
    assert list(lesson.published_tables("voices", "mini", "accuracy")) == []
    ((title, table),) = lesson.published_tables("vocalset", "ast", "r2")
    assert title == "the paper's r2" and table.loc["12", "dense"] == 0.864


def test_accuracies_are_compared_with_guessing_and_all_controls(fitted):
    own, baselines = fitted
    sentences = lesson.accuracy_sentences(own, baselines)
    assert [sentence.startswith("Accuracy: layer 1 lies above ") for sentence in sentences] == [True] * 4
    assert "layer 1 of the untrained network" in sentences[2] and "layer 0 (worst on validation)" in sentences[3]
    assert lesson.over_majority(own)[0] == pytest.approx(own.accuracy[1, 0] - own.majority)


def test_a_property_was_learnt_where_it_lies_above_every_control(fitted):
    own, baselines = fitted
    rivals = {name: {"kind": each, "same": each} for name, each in baselines.items()}
    sentences = lesson.column_sentences({"kind": own, "same": baselines["untrained"]}, rivals)
    assert sentences[0].startswith("Accuracy of kind: layer 1 lies above the untrained network")
    assert sentences[-1] == "Of 2 properties 1 are shown to be read better than from every control: kind (layer 1)."
    shown, bare = lesson.or_labels({}, {}, own, baselines)
    assert shown == {"label": own} and bare["spectrum"] == {"label": baselines["spectrum"]}


def test_the_best_attributes_of_each_family_are_those_of_validation():
    reads = SimpleNamespace(validation_r2=np.array([[0.1, 0.9, NAN], [0.5, 0.2, NAN]]), targets=("a", "b", "c"))
    families = {"a": "pitch", "b": "pitch", "c": "rhythm"}
    assert lesson.best_of_families(reads, families, n=1) == ["b", "c"]


def test_neighbours_are_counted_in_all_dimensions():
    rng = np.random.default_rng(1)
    labels, groups = np.tile(["a", "b"], 40), np.repeat(np.arange(10), 8)
    apart = np.where(labels == "a", 5.0, 0.0)[:, None] + rng.normal(size=(80, 2))
    told, compared = lesson.neighbour_sentences({"worst": rng.normal(size=(80, 2)), "best": apart}, labels, groups)
    assert "best 100%" in told and compared.startswith("Neighbours of the same label: best lies above worst")
    assert len(lesson.neighbour_sentences({"only": apart}, labels, groups)) == 1


def test_the_pair_confused_most_is_counted_both_ways():
    counts = np.array([[5, 2, 0], [3, 6, 0], [1, 0, 9]])
    probes = SimpleNamespace(confusion=lambda layer: counts, classes=np.array(["x", "y", "z"]))
    told, most = lesson.confusion_sentences(probes, "1")
    assert told == "6 of 26 test clips are taken for another class."
    assert most == "Confused most often: x and y, 5 of the 16 clips of both."
    probes.confusion = lambda layer: np.diag([3, 3, 3])
    assert lesson.confusion_sentences(probes, "1") == ["0 of 9 test clips are taken for another class."]


def test_a_change_is_followed_only_as_far_as_intervals_say():
    rows = [("m", 0, 1.0, 0.9, 1.1), ("m", 1, 0.2, 0.1, 0.3)]
    rows += [("untrained", 0, 1.0, 0.5, 1.5), ("untrained", 1, 0.9, 0.4, 1.4)]
    columns = ["encoder", "layer", "sensitivity", "sensitivity_low", "sensitivity_high"]
    followed = pd.DataFrame(rows, columns=columns).assign(change="noise")
    (text,) = lesson.follow_sentences(followed, "m")
    assert text == (
        "noise, sensitivity from the first layer to the last: m falls, 1.00 to 0.20; "
        "its untrained copy is not shown to change, 1.00 to 0.90."
    )
    few = followed.assign(sensitivity_low=NAN, sensitivity_high=NAN)
    assert "m 1.00 to 0.20 (too few groups for an interval)" in lesson.follow_sentences(few, "m")[0]
    assert "has none" in lesson.follow_sentences(followed.assign(sensitivity=NAN), "m")[0]


def test_codes_learnt_by_heart_and_codes_that_are_no_shorter_are_cautioned():
    plan, split = {"latents": 100, "sparsities": [0.5, 0.95]}, wb.Split(np.arange(80), [80], [81])
    heart, long = lesson.code_cautions(plan, split, 40)
    assert heart.startswith("100 latents were fitted to 80 vectors") and long.startswith("codes that keep 50 numbers")
    assert lesson.code_cautions(plan, wb.Split(np.arange(200), [200], [201]), 60) == []


def test_latents_are_counted_against_what_luck_would_bring():
    table = pd.DataFrame(
        {"auc": [0.9, 0.55, NAN], "auc_chance": [0.6, 0.7, NAN], "label": ["x", "y", None], "density": [0.1, 0.5, 0]}
    )
    told, best = lesson.latent_sentences(table, shuffles=1)
    assert told.startswith("Of 2 latents that vary 1 lie above") and told.endswith("about 1 would.")
    assert best.startswith("Furthest above it: latent 0, x, AUC 0.90 (chance level 0.60)")
    assert lesson.latent_sentences(table[2:]) == ["No latent varies over these clips."]


def test_without_praat_there_is_a_sentence_and_no_table():
    assert lesson.second_source(None, "egemaps", seconds=None).empty
    assert lesson.agreement_sentences(pd.DataFrame())[0].startswith("No second program")
    table = pd.DataFrame({"rank_correlation": [0.95, 0.2, NAN]}, index=["f0", "jitter", "none"])
    assert lesson.agreement_sentences(table) == [
        "Of 2 attributes 1 have a rank correlation with Praat's above 0.9; the lowest is that of jitter, 0.20."
    ]


def test_differences_are_told_by_what_their_intervals_show():
    rows = [
        ("Accuracy of layer 2", 0.9, 0.8, 1.0, "chance"),
        ("R² of a minus b", 0.2, 0.1, 0.3, "c"),
        ("Accuracy of a minus b", -0.2, -0.3, -0.1, "c"),
        ("Change minus that by others", 0.1, -0.1, 0.3, "c"),
        ("Codes minus those", 4, None, None, "c"),
        ("Never measured minus that", None, None, None, "c"),
        ("One group minus that", 1.0, NAN, NAN, "c"),
    ]
    assert lesson.found_sentences(rows) == [
        "Shown to lie above zero: R² of a minus b.",
        "Shown to lie below zero: accuracy of a minus b.",
        "Not shown to differ from zero: change minus that by others.",
        "Without an interval, so that nothing is shown: codes minus those; one group minus that.",
    ]
    assert lesson.found_sentences(rows[:1]) == []
