"""Probes: the same numbers as scikit-learn and torch loops, honest choices, real seeds, errors that name things."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.splits import Split, deal
from workbench.metrics.classification import paired_interval, wilson_interval
from workbench.metrics.intervals import group_interval
from workbench.probes import Probes, fit_probes, logistic, paired, paper, pooled
from workbench.probes.inputs import PENALTIES

CPU = torch.device("cpu")


def sounds(n: int = 240, dims: tuple[int, ...] = (24, 24, 24), classes: int = 4, groups: int = 12, seed: int = 0):
    """Layers of rising separability with group offsets and unequal scales, labels as text, groups, a grouped split."""
    rng = np.random.default_rng(seed)
    y, group = rng.integers(0, classes, n), np.arange(n) % groups
    layers = {}
    for i, dim in enumerate(dims):
        x = i * 0.6 * rng.standard_normal((classes, dim))[y] + 0.5 * rng.standard_normal((groups, dim))[group]
        x = (x + rng.standard_normal((n, dim))) * np.exp(rng.standard_normal(dim)) + 3 * rng.standard_normal(dim)
        layers[f"layer {i}"] = x.astype(np.float32)
    part = np.array(["train"] * 6 + ["valid"] * 3 + ["test"] * 3)[group % 12]
    split = Split(**{name: np.flatnonzero(part == name) for name in ("train", "valid", "test")})
    return layers, np.array(["ah", "eh", "ih", "oh", "uh"])[y], split, group


def reference(x, y, rows, penalty):
    """scikit-learn at its minimum: scaler and model."""
    scaler = StandardScaler().fit(x[rows].astype(np.float64))
    model = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=100_000)
    return scaler, model.fit(scaler.transform(x[rows].astype(np.float64)), y[rows])


# --- the default config against scikit-learn


@pytest.mark.parametrize(("n", "dim", "classes"), [(200, 12, 3), (150, 90, 2), (60, 200, 4)])
def test_weights_and_probabilities_equal_scikit_learn(n, dim, classes):
    rng = np.random.default_rng(n)
    y = rng.integers(0, classes, n)
    x = (rng.standard_normal((n, dim)) + rng.standard_normal((classes, dim))[y]).astype(np.float32) * 7 - 20
    x[:, 1] = 5.0  # constant columns get no weight
    rows, penalties = np.arange(n - 20), np.array([0.5, 5.0, 500.0])
    ((weights, bias),) = logistic.solve([logistic.Problem(x, rows, y[rows], penalties, "x")], classes, CPU)
    for i, penalty in enumerate(penalties):
        scaler, model = reference(x, y, rows, penalty)
        probability = (torch.from_numpy(x).double() @ weights[i] + bias[i]).softmax(-1).numpy()
        np.testing.assert_allclose(probability, model.predict_proba(scaler.transform(x)), atol=1e-3)
        standardised = weights[i].numpy() * scaler.scale_[:, None]
        found = standardised if classes > 2 else standardised[:, 1:] - standardised[:, :1]
        np.testing.assert_allclose(found, model.coef_.T, atol=2e-3)
        assert not standardised[1].any()


def test_padding_and_stacking_change_nothing():
    """Problems of other sizes in the same stack leave a problem's result alone."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 90)
    x = rng.standard_normal((90, 10)).astype(np.float32) + y[:, None]
    problems = [
        logistic.Problem(x, rows, y[rows], np.array([1.0, 30.0]), "x") for rows in (np.arange(90), np.arange(31))
    ]
    together = logistic.solve(problems, 3, CPU)
    for problem, (weights, bias) in zip(problems, together, strict=True):
        ((alone, alone_bias),) = logistic.solve([problem], 3, CPU)
        torch.testing.assert_close(weights, alone, atol=1e-3, rtol=0)
        torch.testing.assert_close(bias, alone_bias, atol=1e-3, rtol=0)


def test_fit_probes_equals_a_scikit_learn_loop_within_half_a_point():
    layers, y, split, _ = sounds(n=400, dims=(40, 40, 300, 16))
    probes = fit_probes(layers, y, split)
    development = np.concatenate([split.train, split.valid])
    for i, x in enumerate(layers.values()):
        scores = []
        for penalty in PENALTIES:
            scaler, model = reference(x, y, split.train, penalty)
            z = scaler.transform(x[split.valid])
            scores.append((model.score(z, y[split.valid]), -log_loss(y[split.valid], model.predict_proba(z))))
        np.testing.assert_allclose(probes.validation_path[i, 0], [accuracy for accuracy, _ in scores], atol=0.005)
        best = max(range(len(scores)), key=scores.__getitem__)
        assert probes.penalty[i, 0] == pytest.approx(PENALTIES[best])
        assert probes.validation_loss[i, 0] == pytest.approx(-scores[best][1], abs=1e-3)
        scaler, model = reference(x, y, development, PENALTIES[best])
        z = scaler.transform(x[split.test])
        assert abs(probes.accuracy[i, 0] - model.score(z, y[split.test])) <= 0.005
        np.testing.assert_allclose(probes.probabilities[i, 0], model.predict_proba(z), atol=2e-3)


def test_threads_share_the_work_and_are_given_back():
    layers, y, split, _ = sounds(dims=(30,) * 6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = fit_probes(layers, y, split)
        torch.set_num_threads(2)
        two = fit_probes(layers, y, split)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-3)


def test_a_fit_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr(logistic, "ROUNDS", {torch.float32: (1,)})
    layers, y, split, _ = sounds()
    with pytest.warns(
        RuntimeWarning,
        match=r"2[34] of 24 fits stopped above gradient norm 0.0001; the worst: layer layer \d, penalty .*, norm",
    ):
        fit_probes(layers, y, split)


# --- choices are made on validation


def test_a_tie_on_validation_takes_the_lowest_cross_entropy():
    """Where every penalty is right on validation the strongest would shrink the refitted probe to a majority guess."""
    rng = np.random.default_rng(0)
    y = np.repeat(["low", "high"], 50)
    x, order = rng.normal(size=(100, 8)) + 9.0 * (y == "high")[:, None], rng.permutation(100)
    probes = fit_probes({"x": x}, y, Split(order[:60], order[60:80], order[80:]), penalties=[10_000, 0.1, 10])
    assert probes.penalties.tolist() == [0.1, 10.0, 10_000.0]
    assert probes.validation_path.tolist() == [[[1.0, 1.0, 1.0]]]
    assert probes.penalty[0, 0] == 0.1 and probes.accuracy[0, 0] == 1.0


def test_best_and_worst_layer_are_chosen_on_validation_not_on_test():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 60)
    parts = Split(np.arange(40), np.arange(40, 80), np.arange(80, 120))
    signal, noise = 6.0 * y[:, None] + rng.standard_normal((120, 3)), rng.standard_normal((120, 3))
    swapped = np.where((np.arange(120) < 80)[:, None], noise, signal)  # informative on test alone
    probes = fit_probes(
        {"fools validation": np.where((np.arange(120) < 80)[:, None], signal, noise), "x": swapped}, y, parts
    )
    assert probes.best_layer == "fools validation" and probes.worst_layer == "x"
    assert probes.accuracy[0, 0] < 0.75


@pytest.mark.parametrize("config", ["default", "paper"])
@pytest.mark.parametrize("valid", ["given", "inner folds"])
def test_nothing_about_the_test_clips_reaches_the_fit(config, valid, monkeypatch):
    monkeypatch.setattr(paper, "EPOCHS", 3)
    layers, y, split, group = sounds()
    if valid == "inner folds":
        split = Split(np.concatenate([split.train, split.valid]), test=split.test)
    first = fit_probes(layers, y, split, groups=group, config=config)
    changed = {name: x.copy() for name, x in layers.items()}
    for x in changed.values():
        x[split.test] = 1e4
    shuffled = y.copy()
    shuffled[split.test] = shuffled[split.test][::-1]
    second = fit_probes(changed, shuffled, split, groups=group, config=config)
    for a, b in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first.validation_path, second.validation_path)


def test_the_final_probe_is_fitted_on_train_and_valid():
    layers, y, split, _ = sounds(dims=(12,))
    probes = fit_probes(layers, y, split, penalties=[10.0])
    development = np.concatenate([split.train, split.valid])
    scaler, model = reference(layers["layer 0"], y, development, 10.0)
    np.testing.assert_allclose(
        probes.probabilities[0, 0], model.predict_proba(scaler.transform(layers["layer 0"][split.test])), atol=1e-3
    )


def test_shuffled_labels_give_chance():
    layers, y, split, _ = sounds(n=600, dims=(24, 24, 24))
    honest, control = fit_probes(layers, y, split), fit_probes(layers, y, split, shuffle_labels=1)
    assert honest.accuracy[2, 0] > 0.6
    assert np.abs(control.accuracy - 0.25).max() < 0.12
    assert control.true.tolist() == honest.true.tolist()


# --- seeds


def test_a_missing_label_of_pandas_is_named():
    layers, y, split, group = sounds()
    y = pd.Series(y, dtype="string")
    y[int(split.train[2])] = pd.NA
    with pytest.raises(ParameterError, match=f"y='missing' must be .*clips .{split.train[2]}. have none"):
        fit_probes(layers, y, split)


def test_groups_are_not_gone_through_again_for_every_clip():
    passes = []

    class Counted(list):
        def __iter__(self):
            passes.append(1)
            return super().__iter__()

    layers, y, split, group = sounds()
    fitted = fit_probes(layers, y, split, groups=Counted(group.tolist()), penalties=[5.0])
    assert len(passes) < 4
    np.testing.assert_array_equal(fitted.groups, group[fitted.test])
    series = fit_probes(layers, y, split, groups=pd.Series(group, index=group), penalties=[5.0])
    np.testing.assert_array_equal(series.groups, fitted.groups)


def test_default_seeds_redraw_the_training_groups():
    layers, y, split, group = sounds()
    many = fit_probes(layers, y, split, groups=group, seeds=(0, 1, 2, 3))
    assert many.accuracy.shape == (3, 4) and many.predictions.shape == (3, 4, len(split.test))
    assert many.accuracy[0].std() > 0
    alone = fit_probes(layers, y, split, groups=group, seeds=(2,))
    np.testing.assert_allclose(alone.probabilities[:, 0], many.probabilities[:, 2], atol=1e-3)
    np.testing.assert_array_equal(alone.validation_path[:, 0], many.validation_path[:, 2])


def test_a_seeded_default_fit_leaves_its_validation_groups_out():
    layers, y, split, group = sounds(dims=(8,))
    probes = fit_probes(layers, y, split, groups=group, seeds=(7,), penalties=[5.0])
    development = np.concatenate([split.train, split.valid])
    codes = np.unique(y, return_inverse=True)[1]
    fold = deal(codes[development], group[development], [1 / 3] * 3, seed=7)
    scaler, model = reference(layers["layer 0"], y, development[fold != 0], 5.0)
    expected = model.predict_proba(scaler.transform(layers["layer 0"][split.test]))
    np.testing.assert_allclose(probes.probabilities[0, 0], expected, atol=1e-3)


def torch_loop(x, y, x_valid, y_valid, classes, seed):
    """The paper's config as one would write it for one layer and seed."""
    torch.manual_seed(seed)
    model = torch.nn.Linear(x.shape[1], classes)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    best, kept = np.inf, None
    for _ in range(paper.EPOCHS):
        for batch in torch.randperm(len(x)).split(32):
            adam.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            adam.step()
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(model(x_valid), y_valid).item()
        if loss < best:
            best, kept = loss, {name: value.clone() for name, value in model.state_dict().items()}
    return kept


def test_paper_members_equal_single_torch_runs(monkeypatch):
    monkeypatch.setattr(paper, "EPOCHS", 12)
    generator = torch.Generator().manual_seed(0)
    x, x_valid = torch.randn(2, 70, 9, generator=generator) * 3, torch.randn(2, 20, 9, generator=generator)
    y, y_valid = torch.randint(0, 4, (70,), generator=generator), torch.randint(0, 4, (20,), generator=generator)
    weight, bias, learnt = paper.train(x, y, x_valid, y_valid, 4, (0, 11))
    assert learnt.shape == (2, 2)
    for layer in range(2):
        for s, seed in enumerate((0, 11)):
            kept = torch_loop(x[layer], y, x_valid[layer], y_valid, 4, seed)
            torch.testing.assert_close(weight[layer, s].mT, kept["weight"], atol=2e-6, rtol=1e-5)
            torch.testing.assert_close(bias[layer, s], kept["bias"], atol=2e-6, rtol=1e-5)
    assert (weight[:, 0] - weight[:, 1]).abs().max() > 0.01


def test_the_papers_config_learns_without_standardising(monkeypatch):
    monkeypatch.setattr(paper, "EPOCHS", 60)
    layers, y, split, _ = sounds(dims=(24, 24, 10))
    told = []
    probes = fit_probes(layers, y, split, config="paper", seeds=(0, 1), progress=lambda *done: told.append(done))
    assert probes.accuracy.shape == (3, 2) and probes.accuracy[1].mean() > 0.4
    assert np.isnan(probes.penalty).all() and probes.validation_path.shape == (3, 2, 1)
    assert told[-1] == (120, 120) and len(told) == 120  # two widths, 60 epochs each


# --- what comes back


@pytest.fixture(scope="module")
def fitted() -> Probes:
    layers, y, split, group = sounds()
    return fit_probes(layers, y, split, groups=group)


def test_accuracies_chance_majority_and_intervals_belong_to_the_predictions(fitted):
    layers, y, split, group = sounds()
    right = fitted.predictions == y[split.test]
    np.testing.assert_allclose(fitted.accuracy, right.mean(-1))
    np.testing.assert_array_equal(fitted.interval[:2], group_interval(right[:2, 0], group[split.test], limits=(0, 1)))
    assert fitted.interval_kind == "groups" and fitted.chance == 0.25
    labels, counts = np.unique(y[split.train], return_counts=True)
    assert fitted.majority == pytest.approx((y[split.test] == labels[counts.argmax()]).mean())
    plain = fit_probes(layers, y, split)
    low, high = wilson_interval(int(right[1].sum()), right.shape[-1])
    assert plain.interval_kind == "wilson" and plain.interval[1].tolist() == [low, high]
    np.testing.assert_allclose(fitted.probabilities.sum(-1), 1, atol=1e-5)


def test_an_interval_has_width_even_where_every_clip_is_right():
    layers, y, split, group = sounds()
    probes = fit_probes({"label": 50.0 * (y[:, None] == np.unique(y))}, y, split, groups=group)
    assert probes.accuracy[0, 0] == 1.0
    assert probes.interval[0] == pytest.approx([0.025 ** (1 / 3), 1.0])  # three test groups, all right


def test_one_test_group_has_no_interval():
    layers, y, split, group = sounds()
    group = np.where(np.isin(np.arange(len(y)), split.test), 99, group)
    probes = fit_probes(layers, y, split, groups=group)
    assert probes.interval_kind == "groups" and np.isnan(probes.interval).all()
    assert np.isnan(probes.compare(0, 1).low) and "no interval of one test group" in repr(probes)


def test_paired_is_the_difference_of_accuracies_on_the_same_clips(fitted):
    layers, y, split, group = sounds()
    poor = fit_probes({"noise": np.random.default_rng(5).standard_normal((len(y), 3))}, y, split, groups=group)
    difference, low, high = paired(fitted, "layer 2", poor, 0)
    right = [(p.predictions[k, 0] == y[split.test]).astype(float) for p, k in ((fitted, 2), (poor, 0))]
    assert (difference, low, high) == paired_interval(*right, group[split.test])
    within = fitted.compare("layer 2", "layer 0")
    assert paired(fitted, "layer 2", fitted, 0) == (within.difference, within.low, within.high)
    several = paired(fitted, [0, 1, 2], poor, "noise")[0]
    assert several == pytest.approx(fitted.accuracy.mean() - poor.accuracy.mean())
    other = fit_probes(layers, y, Split(split.train, split.valid, split.test[::-1]), groups=group)
    with pytest.raises(ParameterError, match=r"b.test='\d+ clips' must be the \d+ test clips of a"):
        paired(fitted, 0, other, 0)
    with pytest.raises(ParameterError, match="layer_b=\\[\\] must be at least one layer"):
        paired(fitted, 0, poor, [])


def test_pooled_probes_are_those_of_all_splits():
    layers, y, _, group = sounds()
    fold = deal(y, group, [0.25] * 4, seed=0)
    splits = [Split(fold > 1, fold == 1, fold == 0), Split(fold < 2, fold == 2, fold == 3)]
    each = [fit_probes(layers, y, split, groups=group) for split in splits]
    both = pooled(each)
    assert (
        both.test.tolist() == [*splits[0].test, *splits[1].test] and both.groups.tolist() == group[both.test].tolist()
    )
    right = both.predictions[:, 0] == y[both.test]
    np.testing.assert_allclose(both.accuracy[:, 0], right.mean(1))
    np.testing.assert_array_equal(both.interval, group_interval(right, group[both.test], limits=(0, 1)))
    assert (np.diff(both.interval) < np.diff(each[0].interval)).mean() >= 0.5  # twice as many groups
    np.testing.assert_allclose(
        both.validation_accuracy, (each[0].validation_accuracy + each[1].validation_accuracy) / 2
    )
    spread = np.std([p.accuracy[:, 0] for p in each], axis=0)
    np.testing.assert_allclose(both.to_frame()["split_spread"], spread)
    assert "of 2 splits" in repr(both) and "split_spread" not in each[0].to_frame()
    assert both.compare(0, 1).difference == pytest.approx(right[0].mean() - right[1].mean())
    assert pooled(each[:1]).interval.tolist() == each[0].interval.tolist()


def test_probes_that_cannot_be_pooled():
    layers, y, split, group = sounds(dims=(4,))
    probes = fit_probes(layers, y, split, groups=group)
    with pytest.raises(ParameterError, match="probes.test=.* must be tested once"):
        pooled([probes, probes])
    with pytest.raises(ParameterError, match="probes.names="):
        pooled([probes, fit_probes({"other": layers["layer 0"]}, y, split, groups=group)])
    with pytest.raises(ParameterError, match=r"probes.classes=\['d'\]|probes.classes="):
        fewer = Split(split.train[y[split.train] != y[0]], (), split.test[y[split.test] != y[0]])
        pooled([probes, fit_probes(layers, y, fewer, groups=group)])
    with pytest.raises(ParameterError, match="probes="):
        pooled([])


def test_confused_clips_are_wrong_and_sorted_by_confidence(fitted):
    _, y, split, _ = sounds()
    rows = fitted.confused("layer 0", 5)
    assert list(rows.columns) == ["clip", "true", "predicted", "probability", "probability_true"] and len(rows) == 5
    assert (rows.true != rows.predicted).all() and (y[rows["clip"]] == rows.true).all()
    assert rows["clip"].isin(split.test).all() and (rows.probability.diff().dropna() <= 0).all()
    assert (rows.probability > rows.probability_true).all()
    assert len(fitted.confused(0, 10**6)) == (fitted.predictions[0, 0] != fitted.true).sum()


def test_confusion_counts_every_test_clip(fitted):
    counts = fitted.confusion("layer 2")
    assert counts.sum() == len(fitted.test) and counts.dtype == np.int64
    assert np.trace(counts) == pytest.approx(fitted.accuracy[2, 0] * len(fitted.test))
    np.testing.assert_allclose(fitted.confusion(2, normalise=True).sum(1), 1)
    assert np.diag(fitted.confusion(2, normalise=True)).mean() == pytest.approx(fitted.balanced_accuracy[2, 0])


def test_compare_is_paired_and_grouped(fitted):
    difference = fitted.compare("layer 2", "layer 0")
    assert difference.difference == pytest.approx(fitted.accuracy[2, 0] - fitted.accuracy[0, 0])
    assert difference.low > 0 and np.isnan(difference.p_value)
    layers, y, split, _ = sounds()
    assert fit_probes(layers, y, split).compare(2, 0).p_value < 1e-4
    assert fitted.compare(1, 1).difference == 0.0


def test_predict_proba_takes_raw_embeddings(fitted):
    layers, _, split, _ = sounds()
    np.testing.assert_allclose(
        fitted.predict_proba("layer 1", layers["layer 1"][split.test]), fitted.probabilities[1, 0], atol=1e-5
    )
    with pytest.raises(ParameterError, match=r"x.shape=\(2, 3\) must be \(clips, 24\) for layer layer 1"):
        fitted.predict_proba(1, np.zeros((2, 3)))


def test_frame_and_repr(fitted):
    frame = fitted.to_frame()
    assert list(frame.layer) == ["layer 0", "layer 1", "layer 2"]
    assert (frame.low <= frame.accuracy).all() and (frame.accuracy <= frame.high).all()
    assert "best on validation: layer " in repr(fitted) and len(repr(fitted)) < 250


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y.astype(object),
        lambda y: pd.Series(y, dtype="category"),
        lambda y: np.unique(y, return_inverse=True)[1].astype(np.uint8),
        lambda y: list(y),
    ],
)
def test_labels_of_any_kind(convert):
    layers, y, split, _ = sounds(dims=(10, 10))
    plain, other = fit_probes(layers, y, split), fit_probes(layers, convert(y), split)
    np.testing.assert_array_equal(plain.probabilities, other.probabilities)


def test_layers_as_stack_tensor_or_embeddings_and_masks_as_split():
    layers, y, split, _ = sounds()
    plain = fit_probes(layers, y, split)
    masks = Split(*(np.isin(np.arange(len(y)), part) for part in split))
    embeddings = SimpleNamespace(layers=tuple(layers), layer=lambda name: layers[name])
    stack = np.stack(list(layers.values()))
    for given in (embeddings, stack, torch.from_numpy(stack)):
        np.testing.assert_array_equal(fit_probes(given, y, masks).probabilities, plain.probabilities)
    assert fit_probes(stack, y, split).names == ("0", "1", "2")


def test_rows_outside_the_split_are_not_looked_at():
    layers, y, split, _ = sounds(dims=(10,))
    unused, split = split.valid[0], Split(split.train, split.valid[1:], split.test)
    broken, labels = {"layer 0": layers["layer 0"].copy()}, y.astype(object)
    broken["layer 0"][unused], labels[unused] = np.nan, None
    plain = fit_probes(layers, y, split)
    np.testing.assert_array_equal(fit_probes(broken, labels, split).probabilities, plain.probabilities)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config", ["default", "paper"])
def test_gpu_equals_cpu(config):
    layers, y, split, _ = sounds(dims=(24, 24, 300))
    cpu, gpu = (fit_probes(layers, y, split, config=config, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(gpu.probabilities, cpu.probabilities, atol=5e-3)


# --- errors


def spoil(what):
    """Arguments of fit_probes with one thing wrong."""
    layers, y, split, group = sounds()
    given = {"layers": layers, "y": y, "split": split, "groups": group}
    if what == "nan":
        layers["layer 1"][split.valid[3], 2] = np.nan
    elif what == "overflow":
        layers["layer 1"] = np.full((240, 3), 1e300)
    elif what == "rows":
        layers["layer 1"] = layers["layer 1"][:-1]
    elif what == "flat":
        given["layers"] = layers["layer 1"]
    elif what == "no layers":
        given["layers"] = {}
    elif what == "unknown class":
        y[split.test[0]] = "uh"
    elif what == "missing label":
        given["y"] = y.astype(object)
        given["y"][split.train[0]] = None
    elif what == "mixed labels":
        given["y"] = y.astype(object)
        given["y"][split.train[0]] = 1
    elif what == "one class":
        given["y"] = np.zeros(240, dtype=int)
    elif what == "empty test":
        given["split"] = Split(split.train, split.valid)
    elif what == "range":
        given["split"] = Split(split.train, split.valid, np.append(split.test, 240))
    elif what == "leak":
        group[split.test[0]] = group[split.train[0]]
    elif what == "group length":
        given["groups"] = group[:-1]
    elif what == "one group":
        given["split"] = Split(split.train, test=split.test)
        given["groups"] = np.where(np.isin(np.arange(240), split.test), "t", "s")
    elif what == "bare split":
        given["split"] = 3
    else:
        given |= what
    return given


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", r"layers\['layer 1'\]\[\d+\]=nan must be finite; clips \[\d+\] \(1 in all\)"),
        ("overflow", r"layers\['layer 1'\]\[\d+\]=inf must be finite; clips .* \(240 in all\)"),
        ("rows", r"layers\['layer 1'\].shape=\(239, 24\) must be \(240, D\)"),
        ("flat", r"layers.shape=\(240, 24\) must be \(L, N, D\)"),
        ("no layers", r"layers=\[\] must be at least one layer"),
        ("unknown class", r"classes of split.test=\['uh'\] must be in train too"),
        ("missing label", r"y='missing' must be a label for every clip of the split; clips \[\d+\]"),
        ("mixed labels", "y='text and numbers' must be labels of one kind"),
        ("one class", r"classes of split.train=\[0\] must be at least two"),
        ("empty test", r"split.test=\[\] must be at least one clip"),
        ("range", r"split.test=\[240\] must be rows in \[0, 240\)"),
        ("leak", r"groups=\[\d+\] must be on one side only"),
        ("group length", r"groups.shape=\(239,\) must be \(240,\)"),
        ("one group", "groups=1 must be at least 2 in train and valid together"),
        ("bare split", r"split='int' must be a workbench.Split\(train, valid, test\)"),
        ({"config": "papre"}, "config='papre' must be 'default' or 'paper'"),
        ({"penalties": [0.0, 1.0]}, r"penalties=\[0.0, 1.0\] must be positive and finite"),
        ({"penalties": [1.0], "config": "paper"}, "penalties=.* must be None in the paper's config"),
        ({"seeds": (1, 1)}, r"seeds=\[1, 1\] must be None, or integers that differ"),
        ({"level": 95}, "level=95 must be a finite number, above 0 and below 1"),
    ],
    ids=str,
)
def test_errors_name_what_is_wrong(what, message):
    given = spoil(what)
    with warnings.catch_warnings(), pytest.raises(ParameterError, match=message):
        warnings.simplefilter("error")
        fit_probes(given.pop("layers"), given.pop("y"), given.pop("split"), **given)


def test_an_unknown_layer_lists_those_there_are(fitted):
    with pytest.raises(ParameterError, match="layer='9' must be a position or one of layer 0, layer 1, layer 2"):
        fitted.confusion("9")


def test_nothing_learnt_is_said():
    layers, y, split, _ = sounds()
    with pytest.warns(UserWarning, match="nothing was learnt from layer flat: all columns are constant in train"):
        probes = fit_probes({"flat": np.full((240, 3), 0.1), "good": layers["layer 1"]}, y, split)
    assert probes.accuracy[0, 0] == pytest.approx(probes.majority) and probes.best_layer == "good"
    with pytest.warns(
        UserWarning, match=r"nothing was learnt by 1 probes \(layer huge, seed 0\): no epoch had a lower"
    ):
        fit_probes({"huge": 1e30 * layers["layer 1"]}, y, split, config="paper")


@pytest.mark.parametrize("factor", [1e20, 1e-20])
def test_features_of_any_size_are_probed_alike(factor):
    layers, y, split, _ = sounds()
    one, other = (fit_probes({"a": c * layers["layer 1"]}, y, split) for c in (1.0, factor))
    np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-3)
    with pytest.raises(
        ParameterError, match=r"layers\['a'\]='values up to .*e-[56][0-9]' must be values up to at least 1e-30"
    ):
        fit_probes({"a": 1e-60 * layers["layer 1"].astype(float)}, y, split)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"y": np.random.default_rng(0).random(240)},
            "y='numbers such as .*' must be classes; quantities are read by fit_regression",
        ),
        ({"y": ["a", np.nan] * 120}, "y='missing' must be a label for every clip"),
        ({"y": None}, "y=None must be an array"),
        ({"groups": [None, *range(239)]}, r"groups\[0\]=None must be a label; 1 of"),
        ({"seeds": [1.5]}, r"seeds=\[1.5\] must be a list, each item a whole number"),
        ({"seeds": [-1]}, r"seeds\[0\]=-1 must be a whole number from 0"),
        ({"shuffle_labels": -1}, "shuffle_labels=-1 must be a whole number from 0"),
        ({"penalties": [1.0, np.nan]}, r"penalties=\[1.0, nan\] must be a list, each item a finite number"),
        ({"penalties": 3.0}, "penalties=3.0 must be a list"),
        ({"penalties": []}, r"penalties='array of shape \(0,\)' must be an array with at least one element"),
        ({"progress": 3}, "progress=3 must be True, False, None or a function"),
        ({"device": "cuda:x"}, "device='cuda:x' must be 'auto', 'cpu'"),
        ({"layers": {"a": np.full((240, 2), "x")}}, r"layers\['a'\]='array of <U1' must be an array of numbers"),
        ({"layers": {1: np.ones((240, 2)), "1": np.ones((240, 2))}}, "layers=.* must be names that differ as text"),
    ],
    ids=str,
)
def test_wrong_kinds_are_named(change, message):
    layers, y, split, group = sounds()
    given = {"layers": layers, "y": y, "split": split, "groups": group} | change
    with pytest.raises(ParameterError, match=message):
        fit_probes(**given)


def test_progress_may_be_a_bar(capsys):
    layers, y, split, _ = sounds()
    told = []
    fit_probes({"a": layers["layer 1"]}, y, split, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (9, 9)
    fit_probes({"a": layers["layer 1"]}, y, split, progress=True)
    assert "/9 " in capsys.readouterr().err


@pytest.mark.parametrize("seeds", [None, (0, 1)])
def test_probes_are_saved_whole(tmp_path, seeds):
    layers, y, split, group = sounds()
    fitted = fit_probes(layers, y, split, groups=group, seeds=seeds, penalties=[1.0, 10.0])
    again = Probes.load(fitted.save(tmp_path))
    for name in Probes.__dataclass_fields__:
        for a, b in zip(*(np.atleast_1d(np.asarray(getattr(p, name), object)) for p in (fitted, again)), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(*(p.predict_proba(0, layers["layer 0"]) for p in (fitted, again)))
    assert again.to_frame().equals(fitted.to_frame()) and again.history.equals(fitted.history)
    history = fitted.history
    assert len(history) == 3 * len(seeds or (0,)) * 2 and set(history["penalty"]) == {1.0, 10.0}
    with pytest.raises(WeightsError, match="holds no Probes"):
        Probes.load(tmp_path / "elsewhere")
