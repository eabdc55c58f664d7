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
    assert lesson.few_folds(5) is None and lesson.few_folds(0) is None
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
    assert np.allclose(tables["rule"].mean(axis=0), 0)
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


def trained_on(z, y, prototypes, split, classes="abcd"):
    """What of a trained classifier the sentences on geometry look at."""
    return SimpleNamespace(z=z, y=y, prototypes=prototypes, split=split, classes=np.array(list(classes)))


@pytest.fixture
def geometries():
    """Test clips of twelve groups at the prototypes of one set each, and in one direction without any."""
    rng, y, groups = np.random.default_rng(0), np.tile(np.arange(4), 24), np.repeat(np.arange(12), 8)
    sets = {
        "orthonormal": np.eye(4),
        "orthoplex": np.array([[1, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0.0]]),
    }
    split = wb.Split([], [], np.arange(48, 96))
    runs = {name: trained_on(p[y] + 0.05 * rng.normal(size=(96, 4)), y, p, split) for name, p in sets.items()}
    plain = np.ones(4) + 0.3 * np.eye(4)[y] + 0.2 * rng.normal(size=(96, 4))
    return {"cross-entropy": trained_on(plain, y, None, split)} | runs, sets, groups[48:]


def test_geometry_that_was_drawn_stands_beside_that_taken(geometries):
    runs, sets, groups = geometries
    shown = lesson.drawn_and_taken(runs["orthoplex"], most=3)
    assert list(shown.columns) == [f"{kind} {c}" for kind in ("drawn", "taken") for c in "abc"]
    assert shown.loc["a", "drawn b"] == -1 and shown.loc["a", "taken b"] < -0.9 and abs(shown.loc["a", "taken c"]) < 0.2
    gaps = lesson.gaps_of_cosines(runs, sets)
    assert gaps.shape == (3, 2) and gaps.loc["orthoplex", "to orthoplex"] < 0.15
    assert gaps.loc["orthoplex", "to orthonormal"] == pytest.approx(1 / 3, abs=0.1), "2 of 6 pairs are opposite"
    assert gaps.loc["cross-entropy", "to orthonormal"] > 0.8


def test_angles_are_said_to_be_taken_where_every_group_says_so(geometries):
    runs, sets, groups = geometries
    right, own, opposite, pairs = lesson.geometry_sentences(runs, sets, "cross-entropy", groups)
    start = 'Mean distance of cosines from those drawn: "orthonormal" lies below "cross-entropy"'
    assert right.startswith(start) and all(
        text.endswith("What was given shows in the means.") for text in (right, opposite)
    )
    assert own.startswith('"orthonormal" lies nearest to its own set (0.0') and own.endswith("to orthoplex).")
    assert pairs.startswith('"orthoplex" lies nearest to its own set')
    same = runs | {"orthonormal": runs["cross-entropy"]}
    level, *_ = lesson.geometry_sentences(same, sets, "cross-entropy", groups)
    assert "means" not in level, "equal gaps show nothing"
    swapped = runs | {"orthoplex": runs["orthonormal"]}
    assert (
        "no nearer to its own set than to another"
        in lesson.geometry_sentences(swapped, sets, "cross-entropy", groups)[3]
    )
    alone, *_ = lesson.geometry_sentences(runs, sets, "cross-entropy", np.zeros(48))
    assert "fewer than three groups give no interval" in alone


def test_every_class_is_new_once_and_never_beside_its_own_clips():
    clips = wb.load_dataset("voices", size=120)
    turns, ways = lesson.new_in_turn(clips, 5, seed=1)
    assert len(turns) == 3 and ways == 3, "ten classes: three, three and four are new"
    new = []
    for turn in turns:
        rows = np.concatenate(list(turn))
        inside = set(clips.labels[rows])
        assert np.isin(clips.labels, sorted(inside)).sum() == len(rows) == len(set(rows))
        groups = [set(clips.groups()[part]) for part in turn]
        assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
        new += sorted(set(clips.classes) - inside)
    assert sorted(new) == sorted(clips.classes)
    assert lesson.new_in_turn(clips, 5, seed=2)[0][0].test.tolist() != turns[0].test.tolist()
    few = clips.take(np.flatnonzero(np.isin(clips.labels, clips.classes[:3])))
    assert lesson.new_in_turn(few, 5, seed=0) == ([], 0)


def test_places_are_drawn_for_the_classes_that_are_trained():
    found = lesson.starts(lesson.rivals(lambda kind: kind, mixup=False))
    assert list(found)[0] == lesson.NOTHING and found[lesson.NOTHING] is None and "prototypical network" in found
    learnt = lesson.placed(found["prototypes, learnt"], 5, 8, seed=3)
    assert learnt["loss"] == lesson.LEARNT and set(learnt) == {"loss", "prototypes"}
    ours = lesson.placed(found[lesson.OURS], 5, 8, seed=3)
    assert np.array_equal(learnt["prototypes"], ours["prototypes"]), "learnt ones begin where the fixed ones stay"
    assert np.allclose(ours["prototypes"] @ ours["prototypes"].T, 8 * np.eye(5), atol=1e-5)
    assert lesson.placed({"loss": "focal"}, 5, 8, seed=3) == {"loss": "focal"}
    moved = SimpleNamespace(prototypes=ours["prototypes"] * np.array([[1.0], [2], [1], [1], [0.5]]))
    assert lesson.way(moved, ours) == {"way": pytest.approx((1 + 0.5) / 5)} and lesson.way(moved, {}) == {}


def few_shot_study(**novel) -> pd.DataFrame:
    table = runs(**novel).rename(columns={"accuracy": "novel, 5 shot"})
    table["way"] = 0.45
    return table.assign(**{"novel, 1 shot": table["novel, 5 shot"] - 0.2, "base": np.nan})


def test_new_classes_with_learnt_and_with_fixed_places():
    names = {lesson.OURS: [0.6, 0.61, 0.62, 0.6], "prototypes, learnt": [0.7, 0.72, 0.71, 0.7]}
    clips = SimpleNamespace(classes=list("abcdefghijkl"))
    table = few_shot_study(**{lesson.NOTHING: [0.8, 0.81, 0.8, 0.8]}, **names)
    first, told, learnt, one, five, *others = lesson.few_shot_sentences(table, clips, 3)
    assert first.startswith("From five examples, the embedding itself reaches 80.2%")
    assert first.endswith("no training reaches more (the best is prototypes, learnt, 70.8%).")
    assert "12 classes was new in one of 4 turns" in told and "by chance 33%" in told
    assert learnt == "Learnt places ended 45% of their length from where they began."
    assert one.startswith(f'New classes, one example: "{lesson.OURS}" lies below "prototypes, learnt", by 10.0 points')
    assert five.startswith(f'New classes, five examples: "{lesson.OURS}" lies below') and len(others) == 2
    better = few_shot_study(**{lesson.NOTHING: [0.5, 0.5, 0.5, 0.51]}, **names)
    assert "the most of any training is 70.8% (prototypes, learnt)" in lesson.few_shot_sentences(better, clips, 3)[0]
    assert lesson.few_shot_sentences(better, clips, 0)[0].startswith("Of fewer than four classes")


def test_rates_are_shown_with_their_interval_over_folds():
    shown = lesson.with_intervals(few_shot_study(a=[0.5, 0.6, 0.7], b=[0.4, 0.4, 0.4]), ["base", "novel, 5 shot"])
    half = 4.302653 * 0.1 * np.sqrt(1 / 3 + 1 / 2)  # t with two degrees of freedom; folds share training clips
    assert shown.loc["a", "novel, 5 shot"] == f"0.60 [{0.6 - half:.2f} to {0.6 + half:.2f}]"
    assert shown.loc["b", "novel, 5 shot"] == "0.40" and (shown["base"] == "").all(), "no spread, no interval"


NAMES = made.RULE_FACTORS


def sets_study(worth, placebo=0.0, folds=4) -> pd.DataFrame:
    """A study in which each factor adds its worth to every set, each placebo factor adds the same, and folds differ."""
    added = {name: 0.3 + sum(worth[NAMES.index(f)] for f in only) for name, only in lesson.sets_of(NAMES).items()}
    added |= {f"placebo of {n}": 0.3 + n * placebo for n in (1, 2, 3)} | {"cross-entropy": 0.3}
    rng = np.random.default_rng(0)
    return runs(**{name: value + 0.002 * rng.normal(size=folds) for name, value in added.items()})


def test_all_sets_of_factors_one_placebo_a_size_and_none():
    assert list(lesson.sets_of("ab")) == ["a", "b", "a + b"]
    told = lesson.told_sets(NAMES, 3)
    assert len(told) == 7 + 3 + 1 and told["cross-entropy"] == {"told": "nothing"}
    assert told[" + ".join(NAMES)] == {"told": "true", "count": 3}, "as in the study of levels, whose run is kept"
    assert told["placebo of 2"] == {"told": "shuffled", "count": 3, "only": list(NAMES[:2])}


def test_what_the_rule_tells_is_what_its_documentation_says():
    assert lesson.told_by_rule(made, NAMES) == pytest.approx(0.865, abs=0.001)
    assert all(0.455 < lesson.told_by_rule(made, [name]) < 0.485 for name in NAMES)
    pair = lesson.told_by_rule(made, NAMES[1:])
    best = np.mean([
        np.mean([made.rule([a, b, c]) for a in range(3)], axis=0).max() for b in range(3) for c in range(3)
    ])  # fmt: skip
    assert pair == pytest.approx(best)


def test_what_a_factor_adds_is_the_mean_over_the_sets_of_the_others():
    study = sets_study([0.1, 0.2, 0.0], placebo=0.05)
    added = lesson.added_by(study, NAMES)
    assert len(added) == 4 and added.mean().to_numpy() == pytest.approx([0.1, 0.2, 0.0, 0.05], abs=0.004)
    by_hand = study.pivot(index="fold", columns="loss", values="accuracy")
    first, second, third = NAMES
    pairs = [(first, "cross-entropy"), (f"{first} + {second}", second), (f"{first} + {third}", third)]
    pairs.append((" + ".join(NAMES), f"{second} + {third}"))
    expected = np.mean([by_hand[more] - by_hand[fewer] for more, fewer in pairs], axis=0)
    assert added[first].to_numpy() == pytest.approx(expected)


def test_a_factor_that_adds_no_more_than_a_placebo_is_said_to():
    study = sets_study([0.2, 0.05, 0.05], placebo=0.05)
    shown = lesson.set_table(study, made)
    assert list(shown.columns) == ["by the rule", "accuracy", "placebo", "difference", "low", "high"]
    assert shown.loc[NAMES[0], "difference"] == pytest.approx(0.15, abs=0.01)
    none, rule, *each = lesson.set_sentences(study, made)
    assert none.startswith("Told of no factor, the network is right about 30") and " + ".join(NAMES) in none
    assert "above the placebo: 4 of 7; if no set helped, about 0.2 would." in none, "the sets with the first factor"
    assert "By the rule, " in rule and "all together 86.5%" in rule
    assert f"{NAMES[0]} lies above a placebo, by 14.9 points" in each[0], "0.2 less 0.05, and noise"
    assert all("no difference that these data can show" in text for text in each[1:])


def test_levels_are_compared_with_their_placebo_and_with_none():
    table = runs(**{"true, 2 levels": [0.9, 0.91], "shuffled, 2 levels": [0.5, 0.52], "cross-entropy": [0.9, 0.9]})
    first, second = lesson.level_sentences(table, [2])
    assert '"true, 2 levels" lies above "shuffled, 2 levels"' in first and '"cross-entropy"' in second


def test_paces_are_compared_without_an_interval():
    slow, fast = (pd.DataFrame({"valid_accuracy": curve}) for curve in ([0.1, 0.2, 0.9], [0.9, 0.9, 0.9]))
    (text,) = lesson.pace_sentences(dynamics({"cross-entropy": [slow], lesson.OURS: [fast]}))
    assert text.startswith(f'Epochs needed: "{lesson.OURS}" against "cross-entropy" -2.0 epochs, but one fold')
