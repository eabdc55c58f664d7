"""prototypes.training and batches: it learns, it repeats itself, it never looks at test, and it says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.fitting import NothingLearntWarning
from workbench.core.splits import Split
from workbench.prototypes import (
    ClassifierConfig,
    FactorPrototypes,
    Levels,
    MLPProjector,
    TrainedClassifier,
    batches,
    explain,
    fit_classifier,
    prototypes,
)
from workbench.prototypes.losses import LOSSES

CLASSES, DIM, K, N = 4, 12, 8, 160
Y = np.arange(N) % CLASSES
X = (5 * np.eye(CLASSES, DIM)[Y] + np.random.default_rng(0).normal(size=(N, DIM))).astype(np.float32)
ROWS = np.random.default_rng(1).permutation(N)
SPLIT = Split(ROWS[:100], ROWS[100:130], ROWS[130:])
M = prototypes("orthonormal", CLASSES, K, scale=4.0)
NETWORK = partial(MLPProjector, DIM, K, hidden=32)


def train(inputs=X, y=Y, split=SPLIT, **options):
    options = {
        "network": NETWORK,
        "epochs": 12,
        "batch": 16,
        "learning_rate": 0.01,
        "prototypes": M,
        "progress": False,
        "device": "cpu",
    } | options
    return fit_classifier(inputs, y, split, **options)


def weights(run) -> np.ndarray:
    modules = (*run.network.state_dict().values(), *run.loss.state_dict().values())
    return np.concatenate([v.float().numpy().ravel() for v in modules] + [run.weight.ravel(), run.bias])


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_separable_classes(loss):
    run = train(loss=loss, epochs=30)
    assert run.accuracy > 0.95 and run.evaluate()["accuracy_nearest"] > 0.9
    assert run.z.shape == (N, K) and run.scores.shape == run.logits.shape == (N, CLASSES)
    assert 0 <= run.evaluate()["calibration_error"] <= 1
    np.testing.assert_allclose(run.z @ run.weight.T + run.bias, run.logits, atol=1e-4)
    np.testing.assert_allclose(run.embed(X[:5]), run.z[:5], atol=1e-5)
    loss_after, loss_before = run.history["cross_entropy"].iloc[[-1, 0]]
    assert loss_after < loss_before


def test_labels_may_be_words():
    words = np.array(["d", "c", "b", "a"])[Y]
    run = train(y=words)
    assert list(run.classes) == list("abcd")
    assert np.mean(run.predictions[SPLIT.test] == words[SPLIT.test]) == run.accuracy > 0.95


def test_prototypes_are_approached_as_the_weight_grows():
    at = [train(loss={"name": "prototype", "weight": w}, epochs=30).history["distance"].iloc[-1] for w in (0, 0.1, 10)]
    assert at[0] > at[1] > at[2] and at[2] < 0.5 < at[0]


def test_test_clips_never_influence_training():
    y, x = Y.copy(), X.copy()
    y[SPLIT.test] = np.roll(y[SPLIT.test], 1)
    x[SPLIT.test] += 100
    ours, theirs = train(), train(x, y)
    np.testing.assert_array_equal(weights(ours), weights(theirs))
    pd.testing.assert_frame_equal(ours.history, theirs.history)
    assert ours.epoch == theirs.epoch and ours.accuracy != theirs.accuracy


@pytest.mark.parametrize("options", [{}, {"mixup": 0.5}, {"loss": "supervised_contrastive"}])
def test_same_seed_same_bits_and_the_global_generators_stay(options):
    torch.manual_seed(5)
    before, np_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one = train(**options)
    torch.rand(3)
    torch.set_rng_state(before)
    two = train(**options)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], np_before)
    np.testing.assert_array_equal(weights(one), weights(two))
    np.testing.assert_array_equal(one.z, two.z)
    assert not np.array_equal(one.z, train(seed=1, **options).z)


def test_the_best_epoch_is_kept_and_training_stops():
    run = train(epochs=60, patience=3, learning_rate=0.02)
    order = run.history.sort_values(["valid_accuracy", "valid_cross_entropy"], ascending=[False, True], kind="stable")
    assert run.epoch == order.index[0]
    assert len(run.history) == run.epoch + 1 + 3 < 60
    rows = SPLIT.valid
    assert np.mean(run.scores[rows].argmax(1) == Y[rows]) == pytest.approx(run.history["valid_accuracy"][run.epoch])
    # training up to that epoch alone gives the same weights
    again = train(epochs=run.epoch + 1, learning_rate=0.02, keep="last")
    np.testing.assert_array_equal(weights(run), weights(again))


def test_the_last_epoch_needs_no_validation():
    run = train(split=replace(SPLIT, valid=[]), keep="last")
    assert run.epoch == 11 and "valid_accuracy" not in run.history


def test_factor_prototypes_are_read_back_and_explain_the_logit():
    rng = np.random.default_rng(2)
    factors = rng.uniform(size=(N, 2))
    y = (factors.sum(1) > 1).astype(int)
    x = np.hstack([factors, factors**2, rng.normal(size=(N, 2))]).astype(np.float32)
    levels = Levels.fit(factors[SPLIT.train], ["pitch", "loudness"], count=3)
    points = FactorPrototypes(levels, K, scale=3.0)
    found = levels.codes(factors)
    blind = found.copy()
    blind[SPLIT.test] = -1  # levels of test clips are never looked at
    run = train(x, y, prototypes=None, factors=points, levels=blind, epochs=80, network=partial(MLPProjector, 6, K))
    told = explain(run.z, run.weight, run.bias, points)
    assert np.mean(told.levels[SPLIT.test] == found[SPLIT.test]) > 0.8
    np.testing.assert_allclose(told.contributions.sum(2) + run.bias, run.logits, atol=1e-4)
    mixed = train(x, y, prototypes=None, factors=points, levels=blind, mixup=1.0, network=partial(MLPProjector, 6, K))
    assert mixed.history["distance"].iloc[-1] < mixed.history["distance"].iloc[0]


def test_mixup_mixes_inputs_labels_and_targets_alike():
    share = torch.from_numpy(batches.mixup_shares(10_000, 0.5, np.random.default_rng(0)))
    mixed = share[share < 1]
    assert len(mixed) / 10_000 == pytest.approx(0.5, abs=0.02)
    assert float((mixed**2 + (1 - mixed) ** 2).mean()) == pytest.approx(11 / 21, abs=0.005)
    y, points = torch.eye(3), torch.from_numpy(prototypes("orthonormal", 3, 5, scale=1.0))
    share, others = torch.tensor([0.3, 1.0, 0.5]), torch.tensor([1, 2, 0])
    labels = batches.mix(y, y[others], share)
    torch.testing.assert_close(labels, torch.tensor([[0.3, 0.7, 0], [0, 1, 0], [0.5, 0, 0.5]]))
    torch.testing.assert_close(batches.mix(points, points[others], share), labels @ points)
    assert float((labels @ points)[0].square().sum()) == pytest.approx(0.58)
    assert batches.mix(torch.ones(3, 4, 5), torch.zeros(3, 4, 5), share)[0].unique().item() == pytest.approx(0.3)


def test_balanced_batches_hold_two_clips_of_each_of_their_classes():
    labels = np.repeat(np.arange(6), [10, 10, 10, 10, 4, 16])
    for size, ways, each in ((12, 6, 2), (32, 6, 5), (7, 3, 2)):
        drawn = batches.balanced(labels, size, np.random.default_rng(0))
        assert sum(map(len, drawn)) == pytest.approx(60, abs=25)
        for rows in drawn:
            counts = np.bincount(labels[rows])
            assert len(rows) == len(set(rows)) <= size
            assert (counts > 0).sum() == ways and set(counts[counts > 0]) <= {each, min(each, 4), each - 1}


def test_masks_are_narrow_and_differ_by_clip():
    x = batches.spec_augment(torch.ones(50, 20, 30), 6, 9, np.random.default_rng(0))
    bands = (x == 0).all(2).sum(1)
    frames = (x == 0).all(1).sum(1)
    assert bands.max() == 5 and frames.max() == 8 and bands.min() == 0 and len(bands.unique()) == 6
    assert batches.spec_augment(torch.ones(2, 4, 4), 0, 0, np.random.default_rng(0)).all()


def test_schedules():
    paper = ClassifierConfig.named("paper")
    rates = [paper.rate(e) / 6.7e-6 for e in range(7)]
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.6, 0.8, 1, 0.85, 0.85**2])
    cosine = ClassifierConfig(epochs=10, schedule="cosine", learning_rate=1.0)
    assert cosine.rate(0) == 1 and cosine.rate(5) == pytest.approx(0.5005)
    assert ClassifierConfig(schedule="decay", learning_rate=1.0).rate(1) == 0.85


def test_statistics_come_from_training_clips_and_geometry_is_tracked():
    x = X.copy()
    x[:, 0] = 7
    run = train(x, track_geometry=True, epochs=3)
    assert np.isfinite(run.z).all() and {"nc1", "nc2"} <= set(run.history)
    np.testing.assert_allclose(run.shift, x[SPLIT.train].mean(0), atol=1e-5)
    assert run.scale[0] == 1


@pytest.mark.parametrize("options", [{}, {"mixup": 0.5, "loss": "supervised_contrastive"}])
def test_a_stopped_training_goes_on_with_the_same_result(tmp_path, options):
    class Stop(Exception):
        pass

    def stopping(done, total):
        if done == 5:
            raise Stop

    whole, path = train(**options), tmp_path / "state"
    with pytest.raises(Stop):
        train(**options, checkpoint=path, progress=stopping)
    resumed = train(**options, checkpoint=path)
    np.testing.assert_array_equal(weights(resumed), weights(whole))
    pd.testing.assert_frame_equal(resumed.history, whole.history)
    with pytest.raises(ParameterError, match="of the same data, config and seed"):
        train(**options, checkpoint=path, seed=1)


@pytest.mark.parametrize("loss", ["prototype", "learnt_prototype", "arcface", {"name": "center", "weight": 0.1}])
def test_everything_saved_comes_back(tmp_path, loss):
    run = train(loss=loss, epochs=2, standardise="all", y=np.array(list("abcd"))[Y])
    found = TrainedClassifier.load(run.save(tmp_path / "run"), NETWORK)
    for name, value in vars(found).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(run, name))
    pd.testing.assert_frame_equal(found.history, run.history)
    assert (found.config, found.loss.options) == (run.config, run.loss.options)
    assert [rows.tolist() for rows in found.split] == [rows.tolist() for rows in run.split]
    assert found.evaluate() == run.evaluate()
    np.testing.assert_array_equal(found.embed(X[:9]), run.embed(X[:9]))
    np.testing.assert_array_equal(weights(found), weights(run))
    again = TrainedClassifier.load(tmp_path / "run", found.network)
    assert again.network is not found.network and np.array_equal(weights(again), weights(run))
    assert not any(p.requires_grad for p in (*run.network.parameters(), *found.network.parameters()))


def test_folders_that_hold_something_else_are_refused(tmp_path):
    folder = train(epochs=1).save(tmp_path / "run")
    with pytest.raises(WeightsError, match="was trained with a network that is built otherwise than MLPProjector"):
        TrainedClassifier.load(folder, partial(MLPProjector, DIM, K, hidden=31))
    record = json.loads((folder / "fitted.json").read_text())
    for changed, message in (
        ({"kind": "MLP"}, "holds MLP of version 1, not TrainedClassifier of version 1"),
        ({"config": record["config"] | {"more": 1}}, "another version of this package .unknown: more"),
        ({"config": record["config"] | {"batch": "3"}}, "its config is not usable .batch='3'"),
    ):
        (folder / "fitted.json").write_text(json.dumps(record | changed))
        with pytest.raises(WeightsError, match=message):
            TrainedClassifier.load(folder, NETWORK)
    (folder / "fitted.json").write_text("{")
    with pytest.raises(WeightsError, match="holds no TrainedClassifier"):
        TrainedClassifier.load(folder, NETWORK)


def test_a_training_that_learns_nothing_says_so():
    with pytest.warns(NothingLearntWarning, match="fit_classifier learnt nothing more: .*learning_rate=1e-12"):
        train(learning_rate=1e-12, keep="last", epochs=3)


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  ", "nan", pd.NA])
def test_a_missing_label_is_no_class_and_may_be_outside_the_split(missing):
    y = np.array(list("abcd"), dtype=object)[Y]
    y[ROWS[0]] = missing
    with pytest.raises(ParameterError, match=rf"a label for each: 1 of \d+ are missing, rows \[{ROWS[0]}\]"):
        train(y=y)
    run = train(y=y, split=replace(SPLIT, train=ROWS[1:100]), epochs=1)
    assert run.classes.tolist() == ["a", "b", "c", "d"] and run.y[ROWS[0]] == -1


def test_what_a_part_lacks_and_shares_is_said():
    with pytest.warns(UserWarning, match=r"split.test has no clip of 1 of the 4 classes \(2\)"):
        train(split=replace(SPLIT, test=ROWS[130:][Y[ROWS[130:]] != 2]), epochs=1)
    x = X.copy()
    x[ROWS[140]] = x[ROWS[3]]
    with pytest.warns(UserWarning, match="1 of 30 inputs of split.test are in train too"):
        train(x, epochs=1)


def nan(x):
    x = x.copy()
    x[3, 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": nan(X)}, r"inputs\[3\]='nan or inf' must be finite"),
        ({"inputs": X[:, 0]}, r"inputs.shape=\(160,\) must be \(N, D\) or"),
        ({"y": Y[:-1]}, r"y.shape=\(159,\) must be \(160,\)"),
        ({"split": replace(SPLIT, valid=[])}, r"split.valid=\[\] must be at least one clip"),
        ({"split": replace(SPLIT, train=ROWS[:100][Y[ROWS[:100]] != 2])}, r"y of split.valid=\[2\]"),
        ({"split": Split(ROWS[:2], ROWS[2:3], ROWS[3:])}, "must be classes that are in train too"),
        ({"split": {"train": ROWS[:100], "valid": ROWS[100:130], "test": ROWS[130:]}}, "must be a workbench.Split"),
        ({"loss": "hinge"}, "name='hinge' must be "),
        ({"loss": {"name": "focal", "lambda": 1}}, "lambda=1 must be left out"),
        ({"prototypes": M[:3]}, r"prototypes.shape=\(3, 8\) must be \(C, k\) = \(4, 8\)"),
        ({"prototypes": None}, "prototypes=None must be given"),
        ({"learning": 1}, "learning=1 must be left out: ClassifierConfig has"),
        ({"epochs": 0}, "epochs=0 must be a whole number, 1 or more"),
        ({"mixup": 2.0}, "mixup=2.0 must be a finite number from 0 to 1"),
        ({"mixup": 0.5, "loss": "prototypical_network"}, "needs hard labels"),
        ({"spec_augment": (4, 4)}, "no spectrograms"),
        ({"learning_rate": 1e9}, "learning_rate=1000000000.0 must be a finite number, above 0 and 10 or less"),
        ({"network": partial(MLPProjector, DIM, 5)}, r"\(C, k\) = \(4, 5\)"),
        ({"levels": np.zeros((N, 2), int)}, "together with factors"),
        ({"inputs": np.zeros_like(X)}, "100 training inputs that are all the same"),
        ({"network": partial(MLPProjector, DIM + 1, K)}, r"network='MLPProjector' must be one that takes \(2, 12\)"),
        ({"network": 5}, "network=5 must be a torch module, or a callable that makes one"),
        ({"learning_rate": True}, "learning_rate=True must be a finite number"),
    ],
)
def test_bad_input_is_one_clear_error(options, message):
    with pytest.raises(ParameterError, match=message):
        train(**options)


def test_a_dimension_that_hardly_varied_in_training_does_not_blow_up_later():
    x = X.copy()
    x[:, 0] *= 1e-6
    run = train(x)
    far = x[:2].copy()
    far[:, 0] = 1.0  # a million deviations
    assert 0 < np.linalg.norm(run.embed(far) - run.embed(x[:2]), axis=1).max() < 30
