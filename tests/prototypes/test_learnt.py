"""prototypes.learnt: the numbers of arXiv 2402.09318, the adaptor's closed form, and what a trained network says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.splits import Split
from workbench.core.study import study
from workbench.metrics.prototypes import wrong_starts
from workbench.prototypes import (
    ABLATIONS,
    LearntConfig,
    LearntPrototypes,
    fit_prototypes,
    most_per_class,
    paired_differences,
)
from workbench.prototypes.learnt import (
    Adaptor,
    PrototypeNetwork,
    _optimiser,
    _prototype_loss,
    _starts,
)

C, D, K = 3, 8, 2
RNG = np.random.default_rng(0)
CENTRES = 4 * RNG.normal(size=(C * K, D))
Y = np.repeat(["low", "mid", "top"], 60)
Z = (CENTRES[np.repeat(np.arange(C * K), 30)] + RNG.normal(size=(180, D)) + 5).astype(np.float32)
TRACKS = np.array([f"{i // 3:02d}" for i in range(180)])
OWN = np.arange(180) // 3 % 3 > 0
QUICK = {"per_class": K, "steps": 120, "feed_forward": 16, "check_every": 20, "device": "cpu", "progress": False}


SPLIT = Split(OWN, ~OWN)


def place_of_starts(per_class: int, classes: int, order: str = "class-major") -> np.ndarray:
    """Class whose centroid each prototype starts from: prototype ``c K + k`` is of class c, but of k C + c's place."""
    return (
        np.repeat(np.arange(classes), per_class) if order == "class-major" else np.tile(np.arange(classes), per_class)
    )


def fit(z=Z, y=Y, split=SPLIT, **changed) -> LearntPrototypes:
    return fit_prototypes(z, y, split, **{"tracks": TRACKS} | QUICK | changed)


@pytest.fixture(scope="module")
def model() -> LearntPrototypes:
    return fit()


def head_size(per_class: int, classes: int) -> int:
    config = LearntConfig.named("paper", adaptor="none", per_class=per_class)
    network = PrototypeNetwork(torch.zeros(per_class * classes, 768), classes, config)
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("classes", "sizes"),
    [(10, (7790, 23350, 38910, 77810, 155610, 311210)), (8, (6216, 18632, 31048, 62088, 124168, 248328))],
)
def test_parameters_of_the_paper_without_adaptor(classes, sizes):
    assert tuple(head_size(k, classes) for k in (1, 3, 5, 10, 20, 40)) == sizes


def test_parameters_of_the_paper_with_adaptor():
    config = LearntConfig.named("paper")
    assert sum(p.numel() for p in Adaptor(768, feed_forward=config.feed_forward).parameters()) == 5_513_984
    network = PrototypeNetwork(torch.zeros(50, 768), 10, config)
    assert sum(p.numel() for p in network.parameters()) == 5_552_894


def test_adaptor_equals_a_transformer_layer_on_sequences_of_length_one():
    torch.manual_seed(0)
    adaptor, p = Adaptor(48, feed_forward=96, dropout=0.1).eval(), torch.randn(7, 48)
    nn.init.normal_(adaptor.layer.self_attn.in_proj_bias)
    nn.init.normal_(adaptor.layer.self_attn.out_proj.bias)
    with torch.no_grad():
        own, torchs = adaptor(p), adaptor.layer(p[:, None])[:, 0]
        adaptor.layer.train()  # outside torch's fast path, which rounds in another order
        for module in adaptor.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        adaptor.layer.self_attn.dropout = 0.0
        assert (adaptor(p) - adaptor.layer(p[:, None])[:, 0]).abs().max() == 0
    torch.testing.assert_close(own, torchs, rtol=0, atol=2e-6)


def test_adaptor_drops_attention_of_whole_prototypes_in_training():
    torch.manual_seed(0)
    adaptor, seen = Adaptor(6, feed_forward=8, dropout=0.5).train(), []
    adaptor.layer.self_attn.out_proj.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    adaptor(torch.randn(1000, 6))
    dropped = (seen[0] == 0).all(1)
    assert ((seen[0] == 0).any(1) == dropped).all()
    assert 0.45 < dropped.float().mean() < 0.55


def test_printed_similarity_is_zero_in_single_precision():
    x = torch.full((1, 768), 0.5)
    x[:, ::2] *= -1
    start = torch.zeros(2, 768)
    start[0] = -x * (2**0.5 - 1)  # mean squared difference .5, as of independent vectors of standard deviation .5
    printed = PrototypeNetwork(start, 2, LearntConfig(adaptor="none", similarity="sum"))
    mean = PrototypeNetwork(start, 2, LearntConfig(adaptor="none"))
    distances = mean.distances(x).detach()
    assert float(distances[0, 0]) == pytest.approx(0.5, abs=1e-5)
    assert float(printed.similarities(distances)[0, 0]) == 0.0
    assert np.exp(-384.0) == pytest.approx(1.7e-167, rel=0.05)
    assert float(mean.similarities(distances)[0, 0]) == pytest.approx(0.6065, abs=1e-4)


def test_distances_are_mean_squared_differences():
    torch.manual_seed(0)
    network, x = PrototypeNetwork(torch.randn(6, 5), 3, LearntConfig(adaptor="none")), torch.randn(4, 5)
    expected = (x[:, None] - network.points).square().mean(2)
    torch.testing.assert_close(network.distances(x), expected)


def test_linear_layer_starts_with_each_prototype_counting_for_its_class():
    network = PrototypeNetwork(torch.zeros(6, 4), 3, LearntConfig(per_class=2))
    assert network.linear.weight.tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
    assert 0 < network.linear.bias.abs().max() <= 6**-0.5


def test_prototype_loss_is_the_mean_over_prototypes_of_classes_in_the_batch():
    distances = torch.tensor([[1.0, 2, 9, 9], [3, 1, 9, 9], [0, 0, 5, 4]])
    owner = torch.tensor([0, 0, 1, 2])
    assert float(_prototype_loss(distances, torch.tensor([0, 0, 1]), owner)) == pytest.approx((1 + 1 + 5) / 3)


def test_one_cycle_of_the_paper():
    config, weight = LearntConfig.named("paper"), nn.Linear(1, 1)
    adam, schedule = _optimiser(weight, config)
    rates, betas = [], []
    for step in range(config.steps):
        rates.append(adam.param_groups[0]["lr"])
        betas.append(adam.param_groups[0]["betas"][0])
        if step == 0:
            adam.step()
        if step + 1 < config.steps:
            schedule.step()
    assert rates[0] == pytest.approx(4e-5) and rates[-1] == pytest.approx(4e-9)
    assert int(np.argmax(rates)) == 44_999 and max(rates) == pytest.approx(1e-3)
    assert (betas[0], betas[44_999], betas[-1]) == pytest.approx((0.95, 0.85, 0.95))


@pytest.mark.parametrize(
    ("classes", "right"), [(10, (10, 4, 6, 10, 20, 40)), (8, (8, 4, 8, 10, 20, 40)), (24, (24, 4, 8, 12, 20, 42))]
)
def test_right_starts_in_the_order_of_the_published_code(classes, right):
    for k, expected in zip((1, 3, 5, 10, 20, 40), right, strict=True):
        assumed = place_of_starts(k, classes)
        assert k * classes - wrong_starts(assumed, place_of_starts(k, classes, "paper_code")) == expected


def test_starts_are_centroids_of_the_class_that_the_order_says():
    x, y = (Z - Z.mean()) / 4, np.repeat(np.arange(C), 60)
    means = np.stack([x[y == c].mean(0) for c in range(C)])
    for order in ("class-major", "paper_code"):
        points = _starts(x, y, np.unique(Y), LearntConfig(per_class=K, order=order), 0)
        of = place_of_starts(K, C, order)
        for c in range(C):  # two clusters of thirty: the mean of centroids is the class's mean
            np.testing.assert_allclose(points[of == c].mean(0), means[c], atol=1e-5)


def test_medoids_are_real_segments():
    x, y = Z, np.repeat(np.arange(C), 60)
    points = _starts(x, y, np.unique(Y), LearntConfig(per_class=K, start="medoids"), 0)
    rows = [np.flatnonzero((x == point).all(1)) for point in points]
    assert [y[row[0]] for row in rows] == place_of_starts(K, C).tolist()


def test_training_learns_what_can_be_learnt(model):
    assert model.predict(Z[~OWN], TRACKS[~OWN]).score(Y[~OWN], TRACKS[~OWN])["accuracy"] == 1.0
    first, last = model.history.iloc[0], model.history.iloc[-1]
    assert last["loss"] < first["loss"] and last["step"] == 120 and len(model.history) == 6


def test_scale_is_two_numbers_of_the_training_part(model):
    assert model.mean == pytest.approx(Z[OWN].mean(), rel=1e-6)
    assert model.deviation == pytest.approx(np.mean([row.std() for row in Z[OWN].astype(float)]), rel=1e-6)


def test_contributions_and_bias_are_the_logit(model):
    parts = model.contributions(Z)
    assert parts.shape == (180, C, C * K)
    np.testing.assert_allclose(parts.sum(2) + model.bias, model.logits(Z), atol=1e-5)
    with torch.no_grad():
        x = torch.from_numpy((Z - model.mean) / (2 * model.deviation)).float()
        np.testing.assert_allclose(model.network(x)[0].numpy(), model.logits(Z), atol=1e-5)


def test_prototypes_are_in_the_units_of_z(model):
    points = model.prototypes()
    assert points.shape == (C * K, D)
    np.testing.assert_allclose(model.similarities(points)[np.arange(C * K), np.arange(C * K)], 1, atol=1e-5)
    nearest = model.nearest(Z)[:, 0]
    expected = ((Z[:, None] - points) ** 2).sum(2).argmin(0)
    assert nearest.tolist() == expected.tolist()


def test_nearest_and_medoids(model):
    assert model.nearest(Z, count=4).shape == (C * K, 4)
    distances = model.distances(Z)
    rows = model.nearest(Z, count=4)
    assert (np.diff(np.take_along_axis(distances.T, rows, 1), axis=1) >= 0).all()
    flipped = np.roll(Y, 60)
    medoids = model.medoids(Z, flipped)
    assert (flipped[medoids] == model.labels[model.classes]).all()
    with pytest.raises(ParameterError, match="count=181 must be from 1 to 180"):
        model.nearest(Z, count=181)


def test_track_logits_are_means_of_raw_logits(model):
    decided, logits = model.predict(Z, TRACKS), model.logits(Z)
    assert decided.tracks.tolist() == sorted(set(TRACKS))
    np.testing.assert_allclose(decided.logits[4], logits[12:15].mean(0), atol=1e-6)


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_generator_alone(model):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    again = fit()
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(again.logits(Z), model.logits(Z))
    assert not np.array_equal(fit(seed=1).logits(Z), model.logits(Z))


def test_the_step_kept(model):
    best = model.history.sort_values(["valid_accuracy", "valid_loss"], ascending=[False, True]).iloc[0]
    assert model.step == best["step"]
    lowest = fit(keep="loss")
    assert lowest.step == lowest.history.loc[lowest.history["valid_loss"].idxmin(), "step"]
    assert fit(keep="last").step == 120
    assert fit(keep="last", split=Split(OWN)).step == 120


@pytest.mark.parametrize("between", [20, 7, None])
def test_a_stopped_training_goes_on_with_the_same_result(tmp_path, between):
    def stopping(done, total):
        if done == 2:
            raise KeyboardInterrupt

    path, options = tmp_path / "state.pt", {"check_every": between, "batch": 50}
    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint=path, **options, progress=stopping)
    whole, resumed = fit(**options), fit(checkpoint=path, **options)
    assert np.array_equal(resumed.logits(Z), whole.logits(Z)) and resumed.history.equals(whole.history)
    assert whole.history["step"].iloc[-1] == 120
    with pytest.raises(ParameterError, match="of the same data, config and seed"):
        fit(checkpoint=path, **options, seed=1)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ParameterError, match="a checkpoint of this training"):
        fit(checkpoint=path, **options)


def test_saved_and_loaded(tmp_path, model):
    folder = model.save(tmp_path / "prototypes")
    found = LearntPrototypes.load(folder)
    assert found.config == model.config and found.step == model.step and found.labels.tolist() == model.labels.tolist()
    assert np.array_equal(found.logits(Z), model.logits(Z)) and np.array_equal(found.prototypes(), model.prototypes())
    assert found.history.equals(model.history) and found.seconds == model.seconds
    assert not any(p.requires_grad for p in (*model.network.parameters(), *found.network.parameters()))
    (file,) = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(WeightsError, match=file.name):
        LearntPrototypes.load(folder)
    with pytest.raises(WeightsError, match="holds no LearntPrototypes"):
        LearntPrototypes.load(tmp_path)


def test_each_ablation_changes_a_field_that_there_is():
    split = Split(np.arange(0, 180, 3), np.arange(1, 180, 3), np.arange(2, 180, 3))

    def task(setting, split, seed):
        model = fit_prototypes(Z, Y, split, seed=seed, **QUICK | {"steps": 20}, **setting["model"])
        return model.evaluate(Z, Y, split)

    table = study(task, {"model": ABLATIONS}, splits=[split], progress=False)
    assert table["model"].tolist() == list(ABLATIONS) and (table["per_class"] == K).all()
    configs = [LearntConfig(**fields) for fields in ABLATIONS.values()]
    assert len(set(configs)) == len(configs)
    pairs = paired_differences(table, "default", metric="diversity", by="model")
    assert pairs.loc["scale 1", "folds"] == 1 and pairs.loc["scale 1", "difference"] != 0


def test_tracks_are_decided_as_one():
    names = np.random.default_rng(0).permutation(np.unique(TRACKS))
    split = Split(*(np.flatnonzero(np.isin(TRACKS, part)) for part in np.split(names, [30, 44])))
    noisy = Z + np.random.default_rng(1).normal(size=Z.shape).astype(np.float32) * 3
    segments = fit(noisy, split=split, tracks=None).evaluate(noisy, Y, split)
    assert fit(noisy, split=split).evaluate(noisy, Y, split, TRACKS)["accuracy"] > segments["accuracy"]


@pytest.mark.parametrize("name", ["default", *LearntConfig.PRESETS])
def test_presets(name):
    config = LearntConfig.named(name, per_class=20)
    assert config.per_class == 20
    if name != "default":
        assert (config.steps, config.batch, config.temperature, config.cross_entropy) == (150_000, 256, 0.1, 0.25)
        assert config.weight_decay == {"paper": 1e-5, "paper_code": 1e-4}[name]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"per_class": 40}, "per_class=40 must be at most 39: class low has 39 segments, 39 of them different"),
        ({"split": Split(OWN)}, r"split.valid=\[\] must be at least one clip"),
        (
            {"y": np.where(np.arange(180) == 0, "new", Y)},
            r"y of split.valid=\['new'\] must be classes that are in train",
        ),
        ({"tracks": np.arange(180) // 4}, r"tracks=\[0, 2, 4, 5, 6\] must be in split.train or in split.valid"),
        ({"z": Z * np.nan}, r"z\[0\]='nan or inf' must be finite"),
        ({"adaptor": "lstm"}, "adaptor='lstm'"),
        ({"temperature": 0.0}, "temperature=0.0 must be a finite number, above 0"),
        ({"cross_entropy": 1.5}, "cross_entropy=1.5 must be a finite number from 0 to 1"),
        ({"steps": 0}, "steps=0 must be a whole number, 1 or more"),
    ],
)
def test_bad_input_is_named(changed, message):
    with pytest.raises(ParameterError, match=message):
        fit(**changed)


def test_bad_vectors_are_named(model):
    with pytest.raises(ParameterError, match=r"z.shape=\(2, 5\) must be \(N, 8\), as in training"):
        model.logits(np.ones((2, 5)))
    with pytest.raises(ParameterError, match=r"y of split.train=\['low'\] must be labels of at least two classes"):
        fit_prototypes(Z[:60], Y[:60], Split(np.arange(60)), keep="last", **QUICK)


def test_the_largest_k_is_what_the_smallest_class_can_start():
    z = np.arange(24, dtype=np.float32).reshape(12, 2)
    z[2] = z[1]  # of class a, twice the same
    y = np.array(list("aaaabbbbbbbb"))
    whole, small = Split(np.arange(8), np.arange(8, 12)), Split([0, 1, 2, 5, 6, 7, 8], [9, 10])
    assert most_per_class(z, y, [whole]) == 3 and most_per_class(z, y, [whole, small]) == 2
    options = {"config": LearntConfig(steps=2, feed_forward=4), "seed": 0, "device": "cpu", "progress": False}
    fit_prototypes(z, y, Split([0, 1, 2, 4, 5, 6, 7], [3, 10]), per_class=2, **options)
    with pytest.raises(ParameterError, match="per_class=3 must be at most 2"):
        fit_prototypes(z, y, Split([0, 1, 2, 4, 5, 6, 7], [3, 10]), per_class=3, **options)


def test_prototypes_of_others_decide_by_the_formula(tmp_path):
    """Of any number and order; with the statistics of train, no adaptor, and weights of 1 and 0."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(30, 6)).astype(np.float32), np.array(list("abc"))[np.arange(30) % 3]
    split = Split(np.arange(18), np.arange(18, 24), np.arange(24, 30))
    points, names = rng.normal(size=(5, 6)).astype(np.float32), ["b", "a", "b", "c", "b"]
    model = LearntPrototypes.given(points, names, z, y, split)
    mean, deviation = z[:18].mean(1).mean(), z[:18].std(1).mean()
    x, p = (z - mean) / (2 * deviation), (points - mean) / (2 * deviation)
    similar = np.exp(-np.square(x[:, None] - p).mean(2))
    expected = np.stack([similar[:, [n == c for n in names]].sum(1) for c in "abc"], 1)
    np.testing.assert_allclose(model.logits(z), expected, rtol=1e-4)
    np.testing.assert_allclose(model.prototypes(), points, atol=1e-5)
    assert model.labels[model.classes].tolist() == names and model.config.per_class == 3
    assert model.step == 0 and model.history.empty
    again = LearntPrototypes.load(model.save(tmp_path / "given"))
    np.testing.assert_array_equal(again.logits(z), model.logits(z))
    assert again.classes.tolist() == model.classes.tolist()
    assert set(model.evaluate(z, y, split)) >= {"balanced_accuracy", "diversity", "purity"}


@pytest.mark.parametrize(
    ("points", "names", "message"),
    [
        (np.zeros((3, 5)), list("abc"), r"points.shape=\(3, 5\) must be \(M, 6\), as z"),
        (np.zeros(6), ["a"], r"points.shape=\(6,\) must be \(N, D\)"),
        (np.full((3, 6), np.nan), list("abc"), r"points\[0\]='nan or inf' must be finite"),
        (np.zeros((3, 6)), list("ab"), r"names.shape=\(2,\)"),
        (np.zeros((3, 6)), ["a", "b", "drum"], r"names=\"\['drum'\], which no segment of train has\" must be of every"),
        (np.zeros((3, 6)), ["a", "b", "b"], r"names=\"no prototype of \['c'\]\" must be of every class of train"),
        (np.zeros((3, 6)), [0, 1, 2], r"names='\[0, 1, 2\], which no segment of train has'"),
    ],
)
def test_prototypes_of_others_that_do_not_fit_are_named(points, names, message):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(30, 6)), np.array(list("abc"))[np.arange(30) % 3]
    with pytest.raises(ParameterError, match=message):
        LearntPrototypes.given(points, names, z, y, Split(np.arange(18), np.arange(18, 30)))
