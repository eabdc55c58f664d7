"""What the notebook on predefined prototypes computes by itself: its choices, its comparisons and its sentences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.datasets.generated import utterances as made
from workbench.lessons import predefined_prototypes as lesson
from workbench.prototypes import FactorPrototypes, Levels, dynamics, explain

OTHERS = ("cross-entropy", "prototypes, gaussian", "prototypes, learnt", "prototypes, mean")


def runs(**accuracies) -> pd.DataFrame:
    """A study's table: setting -> its accuracy in each fold."""
    rows = [
        {"loss": name, "fold": fold, "seed": 0, "accuracy": accuracy}
        for name, each in accuracies.items()
        for fold, accuracy in enumerate(each)
    ]
    return pd.DataFrame(rows)


def test_of_iemocap_the_usual_four_classes_are_left_and_other_sets_stay_as_they_are():
    clips = wb.load_dataset("utterances", size=30)
    assert lesson.usual_classes(clips) is clips
    table = SimpleNamespace(name="iemocap", relabel=lambda classes: sorted(set(classes.values())))
    assert lesson.usual_classes(table) == ["angry", "happy", "neutral", "sad"]
    assert lesson.seconds_of("iemocap", "all") == 2.575 and lesson.seconds_of("iemocap", "head") is None
    assert len(lesson.tested_in_turn(clips, 2, seed=0)) == 2


def test_cosines_of_sets_that_do_not_exist_are_missing():
    cosines = lesson.largest_cosines([(4, 3), (50, 16)], ("simplex", "repulsion", "johnson_lindenstrauss"), seed=0)
    assert cosines.loc[(4, 3), "simplex"] == pytest.approx(-1 / 3, abs=1e-6)
    assert np.isnan(cosines.loc[(50, 16), "simplex"]) and cosines.index.names == ["classes", "dimensions"]
    few, many = lesson.cosine_sentences(cosines)
    assert few.startswith("4 prototypes in 3 dimensions") and "simplex -0.33" in few
    assert many.startswith("50 prototypes in 16 dimensions, the largest cosine of one draw each: repulsion ")


def test_rivals_need_hard_labels_for_a_prototypical_network():
    drawn = lesson.rivals(lambda kind: kind, mixup=False)
    assert drawn["hyperspherical"] == {"loss": "hyperspherical", "prototypes": "simplex"}
    assert set(drawn) - set(lesson.rivals(lambda kind: kind, mixup=True)) == {"prototypical network"}


def test_cautions_stand_where_clips_or_folds_are_few():
    assert lesson.by_heart(100, 100) is None and lesson.by_heart(99, 1000).startswith("99 training clips of 1,000")
    assert lesson.few_folds(5) is None
    assert lesson.titled("t", 10, 5) == "t" and lesson.titled("t", 4, 5, 3).count("Caution") == 2


def test_losses_are_compared_on_the_same_folds():
    table = runs(
        **{name: [0.5, 0.52, 0.51] for name in OTHERS}, **{lesson.OURS: [0.8, 0.81, 0.8]}, perfect=[1.0, 1.0, 1.0]
    )
    differences = pd.DataFrame({"low": [-0.1, 0.1], "high": [0.1, 0.2]})
    sentences = lesson.loss_sentences(table, differences, "d")
    start = f'Accuracy on d: "{lesson.OURS}" lies above "'
    assert all(sentence.startswith(start) for sentence in sentences[:4])
    assert sentences[4].startswith("Of 2 intervals in the figure 1 exclude zero")
    assert sentences[5].startswith("1 of 6 losses are right about every test clip")


def test_knobs_that_change_nothing_have_no_best_value():
    swept = pd.DataFrame({"pull": [0.1, 0.1, 1.0, 1.0], "scale": [1.0, 2.0] * 2, "accuracy": [0.5, 0.5, 0.7, 0.7]})
    weight, scale, _ = lesson.knob_sentences(swept)
    assert weight == "From one weight to another the mean accuracy spans 20.0 points, highest at 1."
    assert scale == "From one scale to another the mean accuracy spans 0.0 points."


def test_neighbours_before_and_after_are_compared_also_within_one_group():
    rng = np.random.default_rng(0)
    labels, groups = np.tile(["a", "b"], 30), np.repeat(np.arange(10), 6)
    noise = rng.normal(size=(60, 2))
    panels = {"before": noise, "after": noise + 9.0 * (labels == "a")[:, None]}
    told, compared = lesson.map_sentences(panels, labels, groups)
    assert "after 100%" in told and 'Neighbours of the same label: "after" lies above "before"' in compared
    assert "give no interval" in lesson.map_sentences(panels, labels, np.zeros(60))[1]


def test_trainings_are_described_by_their_end():
    histories = {"plain": pd.DataFrame({"valid_accuracy": [0.1, 0.79, 0.8]})}
    assert "plain ends at 80% and first reaches 95 % of that in epoch 2" in lesson.training_sentences(histories)[0]


@pytest.fixture(scope="module")
def explained():
    """Utterances whose embeddings lie on the prototypes of their levels, and a head that has the rule's effects."""
    table = made.table(40, seed=0)
    values = table[list(made.RULE_FACTORS)].to_numpy()
    cuts = Levels.fit(values, made.RULE_FACTORS, count=3)
    points = FactorPrototypes(cuts, 12, scale=1.0)  # one-hot: 9 dimensions, and a rest of 3
    levels = made.levels(values)
    weight = np.concatenate([*(made.EFFECTS[f].T for f in range(3)), np.zeros((5, 3))], axis=1)
    return explain(points.targets(levels), weight, made.INTERCEPTS, points), points, levels


def test_a_head_that_has_the_rules_effects_correlates_with_it(explained):
    tables, correlation = lesson.rule_effects(explained[0], made, made.CLASSES)
    assert correlation == pytest.approx(1.0)
    assert tables["rule"].shape == (5, 9) and np.allclose(tables["rule"], tables["network"], atol=1e-5)
    assert np.allclose(tables["rule"].mean(0), 0)
    turned, _ = lesson.rule_effects(explained[0], made, made.CLASSES[::-1])
    assert list(turned["rule"].index) == list(made.CLASSES[::-1])


def test_contradicted_words_are_counted():
    page = SimpleNamespace(contradicted=[["loudness"], [], ["pitch", "loudness"]], rows=[4, 5, 6])
    told, few = lesson.contradiction_sentences(page, 3)
    assert told.startswith("Words on this page: 9, of which 3 are contradicted") and "cross" in told
    assert few.startswith("3 clips say how a page reads")
    page.contradicted = [[], [], []]
    assert lesson.contradiction_sentences(page, 3)[0].endswith("0 are contradicted by the level that is known.")


def test_a_move_is_told_of_blocks_that_there_are(explained):
    _, points, _ = explained
    rng = np.random.default_rng(0)
    moves = pd.DataFrame(rng.uniform(0, 0.1, size=(24, 4)), columns=[*made.RULE_FACTORS, "rest"])
    moves["loudness"] += 1
    groups = np.repeat(np.arange(8), 3)
    (text,) = lesson.moves_sentences({"fainter": "loudness", "x": "timbre"}, points, {"fainter": moves}, groups)
    assert text.startswith("Distance moved, fainter: the block of loudness lies above the mean of the other blocks")
    (none,) = lesson.moves_sentences({"x": "timbre"}, points, {}, groups)
    assert none.startswith("No block is called timbre")


def test_what_a_probe_reads_is_held_against_knowing_nothing():
    probes = SimpleNamespace(chance=1 / 3, majority=0.4, accuracy=np.array([[0.8]]), interval=np.array([[0.7, 0.9]]))
    probes.position = ["rest"].index
    text = lesson.above_chance(probes, "rest", "pitch")
    assert text == "Level of pitch: a probe of rest lies above knowing nothing (40%), by 40.0 points [30.0 to 50.0]."


def test_bars_are_faithful_where_their_order_is_better_than_any():
    rng = np.random.default_rng(0)
    areas = {"random": 0.5 + 0.01 * rng.normal(size=30), "deletion": np.full(30, 0.2), "insertion": np.full(30, 0.5)}
    told, deletion, insertion = lesson.faithful_sentences(SimpleNamespace(area=areas.get), np.arange(30))
    assert "deletion 0.20" in told
    assert deletion.endswith("The bars are faithful in this.") and "no difference" in insertion


def test_new_classes_are_compared_with_the_embedding_or_said_to_be_missing():
    table = pd.DataFrame({"loss": ["start", "start", "x"], "seed": [0, 1, 0], "novel, 5 shot": [0.8, 0.6, 0.5]})
    told, gap = lesson.few_shot_sentences(table, 12, 3)
    assert told.startswith("12 clips of 3 new classes") and '"x" against "start" -20.0 points' in gap
    assert lesson.few_shot_sentences(table, 0, 0) == [
        "Of fewer than four classes, none can be new and told from another."
    ]


def test_levels_are_compared_with_their_placebo_and_with_none():
    table = runs(**{"true, 2 levels": [0.9, 0.91], "shuffled, 2 levels": [0.5, 0.52], "cross-entropy": [0.9, 0.9]})
    first, second = lesson.level_sentences(table, [2])
    assert '"true, 2 levels" lies above "shuffled, 2 levels"' in first and '"cross-entropy"' in second


def test_paces_are_compared_without_an_interval():
    slow, fast = (pd.DataFrame({"valid_accuracy": curve}) for curve in ([0.1, 0.2, 0.9], [0.9, 0.9, 0.9]))
    (text,) = lesson.pace_sentences(dynamics({"cross-entropy": [slow], lesson.OURS: [fast]}))
    assert text.startswith(f'Epochs needed: "{lesson.OURS}" against "cross-entropy" -2.0 epochs, but one fold')
