"""metrics.fidelity against golden values, scikit-learn and brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.metrics import fidelity as metrics
from workbench.metrics.intervals import jackknife_interval

GOLDEN = json.loads((Path(__file__).parent / "golden" / "fidelity.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["top_k"], ids=lambda case: case["name"])
def test_golden_top_k(case):
    for k, expected in case["expected"].items():
        found = metrics.top_k_fidelity(case["model"], case["interpreter"], k=int(k))
        assert found.overall == pytest.approx(expected, abs=1e-12) == found.each.mean()


@pytest.mark.parametrize("case", GOLDEN["multilabel"], ids=lambda case: case["name"])
def test_golden_multilabel(case):
    positives, scores = np.array(case["positives"])[:, None], np.array(case["scores"])[:, None]
    area = metrics.auprc(positives, scores)
    assert area.macro == area.micro == area.each[0] == pytest.approx(case["auprc"], abs=1e-6)
    assert metrics.average_precision(positives, scores).macro == pytest.approx(case["average_precision"], abs=1e-6)
    assert metrics.max_f1(positives, scores) == pytest.approx(case["max_f1"], abs=1e-6)


def random_labels(seed: int = 0, n: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.random((n, classes))
    return rng.random((n, classes)) < 0.2 + 0.5 * scores, scores


def test_top_k_agrees_with_scikit_learn_where_nothing_is_equal():
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(0)
    model, interpreter = rng.standard_normal((2, 200, 10))
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(model.argmax(1), interpreter, k=k, labels=np.arange(10))
        assert metrics.top_k_fidelity(model, interpreter, k=k).overall == pytest.approx(expected)


def test_logits_and_their_probabilities_have_the_same_fidelity():
    rng = np.random.default_rng(1)
    model, interpreter = rng.standard_normal((2, 50, 5))
    probabilities = np.exp(interpreter) / np.exp(interpreter).sum(1, keepdims=True)
    for k in (1, 2, 3):
        found, again = (metrics.top_k_fidelity(model, x, k=k) for x in (interpreter, probabilities))
        np.testing.assert_array_equal(found.each, again.each)


def test_area_loops_over_the_thresholds_of_the_paper():
    positives, scores = random_labels()
    areas = []
    for c in range(4):
        curve = [(1.0, 0.0)]
        for t in (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05):
            said = scores[:, c] > t
            right = (said & positives[:, c]).sum()
            curve.append(((right + 1e-9) / (said.sum() + 1e-9), right / positives[:, c].sum()))
        curve.append((0.0, 1.0))
        areas.append(sum((p + q) / 2 * (s - r) for (p, r), (q, s) in zip(curve, curve[1:], strict=False)))
    found = metrics.auprc(positives, scores)
    assert found.each == pytest.approx(areas, abs=1e-12) and found.macro == pytest.approx(np.mean(areas))
    flat = metrics.auprc(positives.reshape(-1, 1), scores.reshape(-1, 1))
    assert found.micro == pytest.approx(flat.macro) and found.skipped == ()


def test_average_precision_is_scikit_learns():
    from sklearn.metrics import average_precision_score

    positives, scores = random_labels(2)
    found = metrics.average_precision(positives, scores)
    for average in ("macro", "micro"):
        assert getattr(found, average) == pytest.approx(average_precision_score(positives, scores, average=average))


def test_random_scores_are_worth_less_than_constant_ones_on_the_papers_grid():
    rng = np.random.default_rng(3)
    positives = rng.random((4000, 1)) < 0.1
    assert metrics.auprc(positives, rng.random((4000, 1))).macro == pytest.approx(0.1 + 0.9 * 0.025, abs=0.02)
    assert metrics.auprc(positives, np.full((4000, 1), 0.5)).macro == pytest.approx(0.55, abs=0.01)


def test_a_class_without_positives_is_skipped_and_named():
    positives, scores = random_labels()
    positives[:, 2] = False
    for metric in (metrics.auprc, metrics.average_precision):
        found = metric(positives, scores, names=["dog", "rain", "siren", "drill"])
        assert found.skipped == ("siren",) and np.isnan(found.each[2])
        assert found.macro == pytest.approx(metric(positives[:, [0, 1, 3]], scores[:, [0, 1, 3]]).macro)
        assert metric(positives, scores).skipped == (2,)
    assert metrics.evaluate_multilabel(positives, scores)["skipped"] == 1


def test_interval_holds_the_fidelity_and_knows_groups():
    rng = np.random.default_rng(4)
    model = rng.standard_normal((400, 5))
    interpreter = model.copy()
    groups = np.repeat(np.arange(20), 20)
    interpreter[groups >= 14] *= -1  # a group is all right or all wrong
    fidelity, low, high = metrics.fidelity_interval(model, interpreter)
    assert fidelity == pytest.approx(0.7) and low < 0.7 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 400), rel=0.1)
    grouped = metrics.fidelity_interval(model, interpreter, groups)
    assert (grouped[2] - grouped[1]) / (high - low) == pytest.approx(np.sqrt(20) * 2.09 / 1.96, rel=0.1)


def test_the_interval_of_an_area_leaves_out_a_group_at_a_time():
    positives, scores = random_labels(5)
    groups = np.arange(60) % 7
    positives[:, 3] = groups == 2  # skipped where its only group is left out
    areas = [metrics.auprc(positives[groups != g], scores[groups != g]) for g in range(7)]
    intervals = metrics.auprc_interval(positives, scores, groups)
    for name in ("macro", "micro"):
        without = [getattr(area, name) for area in areas]
        estimate = getattr(metrics.auprc(positives, scores), name)
        assert intervals[name] == jackknife_interval(estimate, without, np.bincount(groups), limits=(0, 1))
        assert 0 <= intervals[name][0] < estimate < intervals[name][1] <= 1
    assert np.isnan(metrics.auprc_interval(positives, scores, ["a"] * 60)["macro"]).all()


def test_decisions_are_strictly_above_the_thresholds_of_the_classes():
    assert metrics.decisions([[0.5, 0.6], [0.51, 0.61]]).tolist() == [[False, True], [True, True]]
    assert metrics.decisions([[0.5, 0.6], [0.51, 0.61]], [0.4, 0.6]).tolist() == [[True, False], [True, True]]


def test_best_thresholds_maximise_f1_and_prefer_the_highest():
    labels = [[1, 1], [1, 0], [0, 0], [0, 0]]
    found = metrics.best_thresholds(labels, [[0.75, 0.85], [0.65, 0.45], [0.55, 0.35], [0.1, 0.2]])
    assert found.tolist() == [0.6, 0.8]


def test_evaluate_says_what_constant_answers_are_worth():
    model = np.eye(4)[[0, 0, 0, 1, 2, 3]]
    scores = metrics.evaluate(model, model, ks=(1, 3))
    tops = [f"top_{k}{bound}" for k in (1, 3) for bound in ("", "_low", "_high")]
    assert list(scores) == [*tops, "chance", "majority"]
    assert (
        scores["top_1"] == scores["top_1_high"] == 1
        and 0.5 < scores["top_1_low"] < 0.6
        and scores["chance"] == 0.25
        and scores["majority"] == 0.5
    )
    found = metrics.evaluate_multilabel([[1], [0], [0], [0]], [[0.97], [0.02], [0.03], [0.01]])
    assert found["macro_auprc"] == found["max_f1"] == 1 and found["positives"] == 0.25
    assert found["macro_constant_auprc"] == found["micro_constant_auprc"] == pytest.approx(0.625)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.top_k_fidelity([[1, 2]], [[1, 2, 3]]), r"interpreter.shape=\(1, 3\) must be that of model"),
        (lambda: metrics.top_k_fidelity([1, 2], [1, 2]), r"model.shape=\(2,\) must be \(N, C\)"),
        (lambda: metrics.top_k_fidelity(np.empty((0, 3)), np.empty((0, 3))), r"model.shape=\(0, 3\)"),
        (lambda: metrics.top_k_fidelity([[1, 2]], [[1, 2]], k=3), r"k=3 must be in \[1, 2\]"),
        (lambda: metrics.top_k_fidelity([[1, 2]] * 2, [[1, 2], [0, np.nan]]), r"interpreter\[1\]='nan or inf'"),
        (lambda: metrics.fidelity_interval([[1, 2]] * 2, [[1, 2]] * 2, ["a"]), r"groups.shape=\(1,\) must be \(2,\)"),
        (lambda: metrics.fidelity_interval([[1, 2]] * 2, [[1, 2]] * 2, level=95), "level=95 must be between 0 and 1"),
        (lambda: metrics.auprc([[1]], [[1.5]]), r"scores\[0, 0\]=1.5 must be a probability"),
        (lambda: metrics.auprc([[1]], [[np.nan]]), r"scores\[0\]='nan or inf' must be finite"),
        (lambda: metrics.auprc([[0]], [[0.5]]), "positives='0 in every class' must be 1 somewhere"),
        (lambda: metrics.auprc([[0.7]], [[0.5]]), r"positives=\[0.7\] must be made of 0 and 1"),
        (lambda: metrics.auprc([[1, 0]], [[0.5]]), r"positives.shape=\(1, 2\) must be that of scores"),
        (lambda: metrics.auprc([[1]], [[0.5]], names=["a", "b"]), r"len\(names\)=2 must be the number of classes, 1"),
        (lambda: metrics.decisions([[0.5, 0.5]], [0.1, 0.2, 0.3]), r"thresholds=.* must be one number, or 2"),
        (lambda: metrics.best_thresholds([[1, 0]], [[0.5, 0.5]]), "labels='no positive in column 1'"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_each_class_is_the_fidelity_of_its_own_clips():
    rng = np.random.default_rng(3)
    model, interpreter = rng.normal(size=(60, 7)), rng.normal(size=(60, 7))
    model[:, 2] = -9  # a class that the model never decides for
    rows = metrics.each_class(model, interpreter, names=list("abcdefg"))
    assert [row["class"] for row in rows] == list("abdefg") and sum(row["clips"] for row in rows) == 60
    order = np.argsort(-interpreter, axis=1)
    for row in rows:
        own = np.flatnonzero(model.argmax(1) == "abcdefg".index(row["class"]))
        for k in (1, 3, 5):
            hits = [model[i].argmax() in order[i, :k] for i in own]
            assert row[f"top_{k}"] == pytest.approx(np.mean(hits))
    for k in (1, 3, 5):
        mean = sum(row["clips"] * row[f"top_{k}"] for row in rows) / 60
        assert mean == pytest.approx(metrics.top_k_fidelity(model, interpreter, k=k).overall)
    with pytest.raises(ParameterError, match=r"len\(names\)=2"):
        metrics.each_class(model, interpreter, names=["a", "b"])


def test_each_label_has_its_own_areas():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(4)
    positives, scores = rng.random((40, 3)) < 0.4, rng.random((40, 3))
    positives[:, 1] = False
    rows = metrics.each_label(positives, scores, names=["a", "b", "c"])
    assert [(row["class"], row["clips"]) for row in rows] == list(zip("abc", positives.sum(0).tolist(), strict=True))
    for column in (0, 2):
        alone = metrics.auprc(positives[:, [column]], scores[:, [column]])
        assert rows[column]["auprc"] == pytest.approx(alone.macro)
        expected = average_precision_score(positives[:, column], scores[:, column])
        assert rows[column]["average_precision"] == pytest.approx(expected)
    assert np.isnan(rows[1]["auprc"]) and np.isnan(rows[1]["average_precision"])
