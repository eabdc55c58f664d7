"""prototypes.references: sizes of the paper, and rules that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.splits import Split
from workbench.core.study import study
from workbench.prototypes import by_heart, evaluate_references
from workbench.prototypes.references import (
    MLP,
    MLPConfig,
    _fit_mlp,
    _nearest_centroid,
    _nearest_neighbours,
    _network,
    _untrained_prototypes,
)

Z = np.array([[0.0, 0], [0, 2], [10, 0], [10, 2], [10, 4]])
Y = np.array(["a", "a", "b", "b", "b"])


@pytest.mark.parametrize(("dim", "classes", "size"), [(768, 10, 99_722), (2304, 10, 296_330)])
def test_parameters_of_the_paper(dim, classes, size):
    assert sum(p.numel() for p in _network(dim, classes, MLPConfig.named("paper")).parameters()) == size


def test_nearest_centroid():
    assert _nearest_centroid(Z, Y, [[0, 1], [10, 1]]).tolist() == [[0, -101], [-100, -1]]


def test_nearest_neighbours():
    assert _nearest_neighbours(Z, Y, [[0, 1]], neighbours=3).round(3).tolist() == [[0.667, 0.333]]
    with pytest.raises(ParameterError, match="neighbours=6 must be from 1 to 5"):
        _nearest_neighbours(Z, Y, Z, neighbours=6)


def test_untrained_prototypes_decide_by_the_nearest_centroid_of_a_class():
    logits = _untrained_prototypes(Z, Y, [[0, 0], [10, 4]], per_class=2)
    assert logits[0].round(4).tolist() == [0, -100 if logits[0, 1] > -101 else -101]
    assert logits.argmax(1).tolist() == [0, 1]
    with pytest.raises(ParameterError, match="per_class=3 must be at most 2: class a has 2 segments"):
        _untrained_prototypes(Z, Y, Z, per_class=3)


RNG = np.random.default_rng(0)
CROSSED = RNG.normal(size=(600, 2)).astype(np.float32)
SIGNS = (CROSSED[:, 0] * CROSSED[:, 1] > 0).astype(int)
SPLIT = Split(np.arange(400), np.arange(400, 500), np.arange(500, 600))
OPTIONS = {"steps": 600, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def model() -> MLP:
    return _fit_mlp(CROSSED, SIGNS, SPLIT, **OPTIONS)


def test_the_mlp_learns_what_no_line_separates_and_keeps_its_best_step(model):
    tracks = np.arange(100)
    assert model.predict(CROSSED[500:], tracks).score(SIGNS[500:], tracks)["accuracy"] > 0.9
    assert model.evaluate(CROSSED, SIGNS, SPLIT)["accuracy"] > 0.9
    assert model.step == model.history.loc[model.history["valid_loss"].idxmin(), "step"]
    assert np.array_equal(_fit_mlp(CROSSED, SIGNS, SPLIT, **OPTIONS).logits(CROSSED), model.logits(CROSSED))
    with torch.no_grad():
        np.testing.assert_allclose(model.network(torch.from_numpy(CROSSED)).numpy(), model.logits(CROSSED))


def test_a_stopped_training_goes_on_with_the_same_result(tmp_path, model):
    def stopping(done, total):
        if done == 4:  # after 200 steps, in the middle of the sixteenth epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _fit_mlp(CROSSED, SIGNS, SPLIT, **OPTIONS | {"progress": stopping}, checkpoint=tmp_path / "state")
    resumed = _fit_mlp(CROSSED, SIGNS, SPLIT, **OPTIONS, checkpoint=tmp_path / "state")
    assert np.array_equal(resumed.logits(CROSSED), model.logits(CROSSED)) and resumed.history.equals(model.history)


def test_saved_and_loaded(tmp_path, model):
    found = MLP.load(model.save(tmp_path / "mlp"))
    assert np.array_equal(found.logits(CROSSED), model.logits(CROSSED)) and found.history.equals(model.history)
    assert (found.config, found.step, found.labels.tolist()) == (model.config, model.step, [0, 1])
    (file,) = (tmp_path / "mlp").glob("*.safetensors")
    file.write_bytes(b"none")
    with pytest.raises(WeightsError, match=file.name):
        MLP.load(tmp_path / "mlp")


def test_references_on_the_same_splits():
    y = np.repeat(["a", "b", "c"], 60)
    z = (3 * RNG.normal(size=(3, 6))[np.repeat(np.arange(3), 60)] + RNG.normal(size=(180, 6))).astype(np.float32)
    rows = RNG.permutation(180)
    splits = [Split(rows[:100], rows[100:140], rows[140:]), Split(rows[80:], rows[40:80], rows[:40])]

    def task(setting, split, seed):
        options = {"per_class": 2, "steps": 150, "device": "cpu"}
        return evaluate_references(z, y, split, seed=seed, drawn_only=seed > 0, **options)

    table = study(task, [{}], splits=splits, seeds=(0, 1), progress=False)
    drawn, fixed = ("MLP", "untrained prototypes"), ("linear probe", "nearest neighbours", "nearest centroid")
    assert table.groupby("model").size().to_dict() == dict.fromkeys(drawn, 4) | dict.fromkeys(fixed, 2)
    assert table["accuracy"].min() > 0.9


def test_bad_input_is_named():
    y = np.where(np.arange(600) == 450, 2, SIGNS)
    with pytest.raises(ParameterError, match=r"y of split.valid=\[2\] must be classes that are in train too"):
        _fit_mlp(CROSSED, y, SPLIT, **OPTIONS)
    with pytest.raises(ParameterError, match=r"test.shape=\(1, 3\) must be \(N, 2\), as z"):
        _nearest_centroid(Z, Y, [[1, 2, 3]])


def test_points_fewer_than_dimensions_can_be_known_by_heart():
    from sklearn.linear_model import LogisticRegression

    z = np.random.default_rng(0).normal(size=(80, 12)).astype(np.float32)
    few, many = Split(np.arange(13), test=np.arange(70, 80)), Split(np.arange(70), test=np.arange(70, 80))
    assert by_heart(z, [many]) is None and "only 13 segments to train on, of 12 numbers" in by_heart(z, [many, few])
    drawn = np.random.default_rng(1).integers(0, 2, 80)
    right = [LogisticRegression(C=1e6, max_iter=9999).fit(z[s.train], drawn[s.train]).score(z[s.train], drawn[s.train])
             for s in (few, many)]  # fmt: skip
    assert right[0] == 1 and right[1] < 0.9
