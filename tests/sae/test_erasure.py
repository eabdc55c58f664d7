"""Erasure: the closed form is the least change after which nothing is read; planted latents carry a planted concept."""

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.sae import SAEConfig, SparseAutoencoder
from workbench.sae.erasure import (
    LatentRemoval,
    erasure_curve,
    fit_eraser,
    removed,
    speaking,
    steering_curve,
)


@pytest.fixture
def classes():
    """400 correlated embeddings of 12 dimensions in three classes, of unequal size."""
    rng = np.random.default_rng(0)
    y = rng.choice(3, 400, p=[0.5, 0.3, 0.2])
    means, mix = 2 * rng.standard_normal((3, 12)), rng.standard_normal((12, 12))
    return (means[y] + rng.standard_normal((400, 12)) @ mix).astype(np.float32), np.array(list("abc"))[y]


@pytest.mark.parametrize("method", ["leace", "means"])
def test_after_an_eraser_no_linear_probe_beats_a_constant(classes, method):
    from sklearn.linear_model import LogisticRegression

    x, y = classes
    x = x.astype(np.float64)
    free = LogisticRegression(C=1e6, max_iter=5000)
    assert free.fit(x, y).score(x, y) > 0.75
    eraser = fit_eraser(x, y, method=method)
    erased = x - (x - eraser.mean) @ eraser.right.T @ eraser.left.T
    means = np.stack([erased[y == name].mean(0) for name in "abc"])
    np.testing.assert_allclose(means - means[0], 0, atol=1e-8)
    np.testing.assert_allclose(eraser(x.astype(np.float32)), erased, atol=1e-4)
    share = np.array([(y == name).mean() for name in "abc"])
    fitted = free.fit(erased, y)
    loss = -np.log(fitted.predict_proba(erased)[np.arange(len(y)), np.searchsorted(["a", "b", "c"], y)]).mean()
    assert loss == pytest.approx(-(share * np.log(share)).sum(), abs=1e-6), (
        "the entropy of the classes is the least loss"
    )
    assert fitted.score(erased, y) == share.max()
    assert eraser.left.shape == (12, 2), "three classes are two directions"


def test_leace_is_the_least_change_by_brute_force(classes):
    """Least squares with the constraint P S = 0 written as one linear system (its KKT conditions), solved as it is."""
    x, y = classes
    x = x.astype(np.float64)
    centred = x - x.mean(0)
    cov = centred.T @ centred / len(x)
    members = (y[:, None] == np.array(["a", "b"])).astype(float)  # the third class is what is left
    cross = centred.T @ (members - members.mean(0)) / len(x)
    # a row p of P: minimise (p - e) cov (p - e) with p cross = 0
    system = np.block([[cov, cross], [cross.T, np.zeros((2, 2))]])
    P = np.stack([np.linalg.solve(system, np.concatenate([cov[i], np.zeros(2)]))[:12] for i in range(12)])
    eraser = fit_eraser(x, y)
    np.testing.assert_allclose(np.eye(12) - eraser.left @ eraser.right, P, atol=1e-7)
    moved = {m: np.square(fit_eraser(x, y, method=m)(x) - x).mean() for m in ("leace", "means")}
    assert moved["leace"] < 0.9 * moved["means"]


def test_an_eraser_of_fewer_clips_than_dimensions(classes):
    x, y = classes
    few, answers = x[:10], y[:10]
    erased = fit_eraser(few, answers)(few)
    means = np.stack([erased[answers == name].mean(0) for name in np.unique(answers)])
    np.testing.assert_allclose(means - means[0], 0, atol=1e-4)
    flat = np.ones((6, 3), np.float32)
    np.testing.assert_array_equal(fit_eraser(flat, [0, 1] * 3)(flat), flat)
    frames = torch.from_numpy(x[:12]).reshape(2, 6, 12)
    eraser = fit_eraser(x, y)
    torch.testing.assert_close(eraser(frames).flatten(0, 1), torch.from_numpy(eraser(x[:12])), atol=1e-4, rtol=1e-4)
    for wrong, message in (({"y": y[:5]}, "y.shape"), ({"y": ["a"] * 400}, "at least two classes")):
        with pytest.raises(ParameterError, match=message):
            fit_eraser(**{"x": x, "y": y} | wrong)


@pytest.fixture
def planted():
    """A concept that latents 0 to 2 write (3 of 24), a class that latents 12 to 15 write, and others as busy."""
    rng = np.random.default_rng(1)
    n = 360
    concept, other = rng.random(n) < 0.4, rng.integers(0, 4, n)
    z = rng.random((n, 24)) * (rng.random((n, 24)) < 0.6)
    z[:, :3] = (rng.random((n, 3)) + 1) * concept[:, None]
    z[:, 12:16] = 2 * (other[:, None] == np.arange(4))
    decoder = np.linalg.qr(rng.standard_normal((30, 30)))[0][:24]
    x = z @ decoder + 0.02 * rng.standard_normal((n, 30))
    split = Split(np.arange(180), np.arange(180, 240), np.arange(240, n))
    return {"x": x.astype(np.float32), "z": z, "decoder": decoder, "concept": concept, "split": split}, other


def test_as_many_latents_as_carry_a_concept_erase_it_and_nothing_else(planted):
    given, other = planted
    options = {"others": {"class": other}, "groups": np.arange(360) // 6, "draws": 4}
    table = erasure_curve(**given, **options, counts=[1, 3, 6], seed=3)
    assert sorted(table.attrs["latents"][:3]) == [0, 1, 2] and table.attrs["active"] == 24
    at = table.set_index(["removed", "latents"])
    assert at.loc[("latents", 0), ["auc", "fixed"]].min() > 0.99
    assert at.loc[("latents", 1), "auc"] > 0.95, "two of three carry it still: a new probe finds them"
    assert at.loc[("latents", 1), "less"] == pytest.approx(
        at.loc[("latents", 1), "auc"] - at.loc[("random latents", 1), "auc"]
    )
    for kind, n in (("latents", 3), ("LEACE", -1), ("class means", -1)):
        row = at.loc[(kind, n)]
        assert row["low"] <= 0.5 and row["high"] < 0.75, "the concept is gone, up to the noise of 120 clips"
        assert row["class"] > 0.95, "the other classes are not"
    assert at.loc[("random latents", 3), "auc"] > 0.95
    assert at.loc[("latents", 3), "less_high"] < -0.2
    assert at.loc[("random latents", 3), "moved"] == pytest.approx(at.loc[("latents", 3), "moved"], rel=0.05)
    assert at.loc[("latents", 3), "portion"] == 3 / 24
    assert table.equals(erasure_curve(**given, **options, counts=[1, 3, 6], seed=3))
    assert list(erasure_curve(**given, draws=1)["latents"].unique()) == [0, 1, 2, 4, 8, 16, 24, -1]


def test_a_fixed_probe_is_blinded_where_a_new_one_still_sees(planted):
    """The concept is written twice; the first copy is far stronger, and the old probe looks at it alone."""
    given, _ = planted
    z = given["z"].copy()
    z[:, 0], z[:, 1:3] = 6 * given["concept"], 0.3 * given["concept"][:, None]
    x = (z @ given["decoder"] + 0.01 * np.random.default_rng(0).standard_normal(given["x"].shape)).astype(np.float32)
    table = erasure_curve(**given | {"x": x, "z": z}, counts=[1], draws=1).set_index(["removed", "latents"])
    row = table.loc[("latents", 1)]
    assert row["fixed"] < 0.7 < 0.95 < row["auc"]


def test_what_latents_speak_adds_up_to_what_the_reconstruction_says(planted):
    given, _ = planted
    weights, c = np.random.default_rng(0).standard_normal(30), given["concept"]
    scores = given["z"] @ given["decoder"] @ weights
    total = speaking(given["z"], given["decoder"], weights, c).sum()
    assert total == pytest.approx(scores[c].mean() - scores[~c].mean())


def test_others_push_as_far_and_are_as_many(planted):
    given, _ = planted
    z, decoder = given["z"], given["decoder"]
    own, push = removed(z, decoder, [0, 1]), removed(z, decoder, [0, 1], instead=5)
    np.testing.assert_allclose(np.linalg.norm(own, axis=1), np.linalg.norm(push, axis=1), rtol=1e-4)
    parts = push @ decoder.T  # the decoder is orthonormal: which latents were removed can be read off
    counts = (np.abs(parts) > 1e-4).sum(1)
    np.testing.assert_array_equal(counts, (z[:, :2] > 0).sum(1))
    assert (np.abs(parts[:, :2]) < 1e-4).all()
    ratio = np.where(np.abs(parts) > 1e-4, parts / np.where(z > 0, z, 1), np.nan)[counts > 0]
    assert np.nanstd(ratio, axis=1).max() < 1e-3, "one factor a row"
    assert not np.array_equal(push, removed(z, decoder, [0, 1], instead=6))


def test_steering_by_the_latents_of_a_class_beats_random_ones(planted):
    given, other = planted
    weights = 3 * given["decoder"][12:16].T
    asked = {"weights": weights, "bias": np.zeros(4), "classes": [0, 1, 2, 3], "target": 2, "top": 1, "draws": 5}
    asked |= {"choose": given["split"].train, "test": given["split"].test, "groups": np.arange(360) // 6}
    table = steering_curve(given["x"], other, given["z"], given["decoder"], **asked, doses=[0.0, 1.0, 3.0])
    assert table.attrs["latents"] == [14]
    at = table.set_index(["kind", "dose"])
    assert at.loc[("latents", 0.0), "probability"] == pytest.approx(at.loc[("random latents", 0.0), "probability"])
    assert at.loc[("latents", 0.0), "named"] == 0 < 0.9 < at.loc[("latents", 3.0), "named"]
    x, rows = given["x"], given["split"].test[other[given["split"].test] != 2]
    spread = np.sqrt(x[given["split"].train].var(0).sum())
    logits = (x[rows] + 3 * spread * given["decoder"][14]) @ weights
    wanted = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[:, 2].mean()
    assert at.loc[("latents", 3.0), "probability"] == pytest.approx(wanted, abs=1e-5)
    assert at.loc[("latents", 3.0), "over_low"] > 0.5
    assert at.loc[("class means", 3.0), "probability"] > 0.9
    for wrong, message in (
        ({"target": 9}, "target=9 must be 0, 1, 2 or 3"),
        ({"bias": np.zeros(3)}, r"bias.shape=\(3,\)"),
        ({"test": rows[:0]}, "test"),
        ({"doses": [-1.0]}, r"doses\[0\]=-1"),
    ):
        with pytest.raises(ParameterError, match=message):
            steering_curve(given["x"], other, given["z"], given["decoder"], **asked | wrong)
    with pytest.raises(ParameterError, match="0 latents are active in clips of 2"):
        steering_curve(given["x"], other, 0 * given["z"], given["decoder"], **asked)
    half = steering_curve(given["x"], other, given["z"], given["decoder"], **asked | {"top": 100})
    active = (given["z"][given["split"].train][other[given["split"].train] == 2] > 0).any(0).sum()
    assert len(half.attrs["latents"]) == active // 2


@pytest.fixture
def sae():
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(16, 6), dim=1)
    return SparseAutoencoder(
        SAEConfig(6, latents=16, k=4), encoder=directions, encoder_bias=torch.zeros(16), decoder=directions.clone(),
        bias=torch.zeros(6),
    )  # fmt: skip


@pytest.mark.parametrize("instead", [None, 3])
def test_removal_from_frames_is_removal_from_vectors(sae, instead):
    frames, lengths = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([7, 4, 1])
    chosen = [0, 2, 5]

    def wanted(rows):
        return torch.from_numpy(removed(sae.encode(rows).numpy(), sae.decoder.numpy(), chosen, instead=instead))

    by_clip = LatentRemoval(sae, chosen, instead=instead)(frames, lengths)
    by_frame = LatentRemoval(sae, chosen, "frame", instead)(frames, lengths)
    for i, n in enumerate(lengths.tolist()):
        own = frames[i, :n]
        mean = own.mean(0, keepdim=True)
        torch.testing.assert_close(by_clip[i, :n].mean(0, keepdim=True), mean - wanted(mean), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(by_clip[i, :n] - own, -wanted(mean).expand(n, 6), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(by_frame[i, :n], own - wanted(own), atol=1e-5, rtol=1e-4)
        assert torch.equal(by_clip[i, n:], frames[i, n:]) and torch.equal(by_frame[i, n:], frames[i, n:])
    assert (by_clip[0] != frames[0]).any()


def test_wrong_arguments_are_refused(sae, planted):
    given, other = planted
    for wrong, message in (
        ({"latents": [16]}, r"latents\[0\]=16"),
        ({"latents": [1], "unit": "clips"}, "unit='clips'"),
        ({"latents": [1], "instead": -1}, "instead=-1"),
        ({"latents": [1], "sae": 3}, "sae='int' must be a sparse autoencoder"),
    ):
        with pytest.raises(ParameterError, match=message):
            LatentRemoval(**{"sae": sae} | wrong)
    for wrong, message in (
        ({"concept": given["concept"] * 2}, "concept='int64"),
        ({"concept": np.arange(360) >= 240}, "concept='0 of 180' must be some and not all of train"),
        ({"z": given["z"][:, :5]}, "shapes of x, z, decoder"),
        ({"draws": 0}, "draws=0"),
        ({"counts": [0]}, r"counts\[0\]=0"),
        ({"others": {"class": other[:5]}}, "others="),
        ({"others": [other]}, "others='list' must be a mapping"),
        ({"z": 0 * given["z"]}, "z='no value above 0'"),
    ):
        with pytest.raises(ParameterError, match=message):
            erasure_curve(**given | wrong)
