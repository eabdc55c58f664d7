"""core.learning and its users: what is said, and what is refused, when a training cannot have learnt or was written
elsewhere."""

from __future__ import annotations

import json
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.learning import NothingLearntWarning, unlearnt
from workbench.core.saving import read_record, write_record
from workbench.prototypes import (
    APNet,
    LearntConfig,
    LearntPrototypes,
    MLPProjector,
    Recipe,
    compare_losses,
    fit_apnet,
    fit_ceiling,
    fit_prototypes,
    train_classifier,
)

N, D, C = 60, 6, 3
Y = np.arange(N) % C
X = (3 * np.eye(C, D)[Y] + np.random.default_rng(0).normal(size=(N, D))).astype(np.float32)
SPLIT = {"train": np.arange(30), "valid": np.arange(30, 45), "test": np.arange(45, 60)}
CE = {"network": partial(MLPProjector, D, 4), "loss": "cross_entropy", "device": "cpu", "progress": False}
QUICK = {
    "per_class": 1,
    "steps": 20,
    "batch": 10,
    "check_every": 5,
    "adaptor": "none",
    "device": "cpu",
    "progress": False,
}
HELD = (X[30:45], Y[30:45], None)
TINY = {"frames": 8, "bands": 8, "filters": 2, "per_class": 1, "batch": 10, "device": "cpu", "progress": False}


def train(y=Y, x=X, split=SPLIT, **options):
    return train_classifier(x, y, split, **CE | {"epochs": 3} | options)


@pytest.mark.parametrize("rate", [float("nan"), -1, 0, 1e9, "1e-3", True, None])
def test_learning_rates_that_cannot_be(rate):
    for call in (
        lambda: train(learning_rate=rate),
        lambda: fit_prototypes(X, Y, validation=HELD, **QUICK | {"learning_rate": rate}),
        lambda: fit_apnet(X, Y, validation=HELD, learning_rate=rate),
    ):
        with pytest.raises(ParameterError, match="learning_rate=.* must be a finite number"):
            call()


@pytest.mark.parametrize(("name", "value"), [("epochs", 2.0), ("epochs", "3"), ("epochs", True), ("batch", 0)])
def test_counts_that_are_none(name, value):
    with pytest.raises(ParameterError, match=f"{name}=.* must be a whole number"):
        train(**{name: value})


def test_settings_of_numpy_are_saved_as_plain_numbers(tmp_path):
    config = LearntConfig(per_class=np.int64(1), scale=np.float32(2), steps=20)
    assert (type(config.per_class), type(config.scale), config.scale) == (int, float, 2.0)
    assert Recipe(betas=[0.9, 0.99]).betas == (0.9, 0.99)
    kept = fit_prototypes(X, Y, validation=HELD, config=config, device="cpu", progress=False).save(tmp_path / "p")
    assert LearntPrototypes.load(kept).config == config


def test_when_nothing_was_learnt():
    assert unlearnt([1.0, 0.5, 0.4], 2) is None and unlearnt([1.0], 0) is None
    assert unlearnt([1.0, 0.5, 0.4], 0) == "the first of 3 epochs is the best on the validation part"
    assert unlearnt([1.0, 1.0, 0.99999]) == "its loss never fell below the 1 of the first of 3 epochs"


def test_a_training_that_learns_nothing_says_so_and_one_that_learns_does_not():
    with pytest.warns(NothingLearntWarning, match=r"train_classifier learnt nothing more: .*learning_rate=1e-12"):
        train(learning_rate=1e-12, keep="last")
    with warnings.catch_warnings():
        warnings.simplefilter("error", NothingLearntWarning)
        train(learning_rate=0.01, keep="last", epochs=10)


def test_a_comparison_says_once_how_many_runs_learnt_nothing(tmp_path):
    given = {"losses": {"a": "cross_entropy"}, "seeds": (0, 1), "network": CE["network"], "device": "cpu"}
    given |= {"epochs": 3, "learning_rate": 9.0, "keep": "last", "progress": False}
    dead = {"learning_rate": 1e-12}
    with pytest.warns(NothingLearntWarning) as said:
        compare_losses(X, Y, [SPLIT], **given | dead)
    assert len(said) == 1
    assert str(said[0].message).startswith("compare_losses: 2 of 2 runs learnt nothing")


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  ", "nan", pd.NA])
def test_a_missing_label_is_no_class(missing):
    y = np.array(["a", "b", "c"] * 20, dtype=object)
    y[7] = missing
    for call in (
        lambda: train(y),
        lambda: fit_prototypes(X, y, validation=HELD, **QUICK),
        lambda: fit_ceiling(X, y, validation=HELD[:2]),
    ):
        with pytest.raises(ParameterError, match=r"a label for each: 1 of \d+ are missing, rows \[7\]"):
            call()


def test_labels_outside_the_split_may_be_missing():
    y = np.array(["a", "b", "c"] * 20, dtype=object)
    y[0] = None
    split = {**SPLIT, "train": np.arange(1, 30)}
    assert train(y, split=split).classes.tolist() == ["a", "b", "c"]


def test_what_a_part_lacks_and_shares_is_said():
    split = {**SPLIT, "test": np.arange(45, 60)[Y[45:] != 2]}
    with pytest.warns(UserWarning, match=r"split.test has no clip of 1 of the 3 classes \(2\)"):
        train(split=split)
    x = X.copy()
    x[50] = x[3]
    with pytest.warns(UserWarning, match=r"1 of 15 inputs of split.test are in train too"):
        train(x=x)
    with pytest.raises(ParameterError, match="30 training inputs that are all the same"):
        train(x=np.zeros_like(X))


def test_a_network_that_does_not_fit_its_inputs_is_named():
    with pytest.raises(ParameterError, match=r"network='MLPProjector' must be one that takes \(2, 6\)"):
        train(network=partial(MLPProjector, D + 1, 4))
    with pytest.raises(ParameterError, match="network=5 must be a torch module, or a callable that makes one"):
        train(network=5)


def saved(tmp_path, kind):
    if kind == "prototypes":
        return LearntPrototypes, "config", fit_prototypes(X, Y, validation=HELD, **QUICK).save(tmp_path / "file")
    mels = np.random.default_rng(0).normal(size=(N, 8, 8))
    net = fit_apnet(mels[:30], Y[:30], validation=(mels[30:], Y[30:]), epochs=1, **TINY)
    return APNet, "apnet", net.save(tmp_path / "file")


@pytest.mark.parametrize("kind", ["prototypes", "apnet"])
def test_files_of_other_versions_are_refused_for_the_true_reason(tmp_path, kind):
    cls, key, path = saved(tmp_path, kind)
    tensors, record = read_record(path)
    assert record["version"] == 1
    write_record(path, tensors, {name: value for name, value in record.items() if name != "version"})
    cls.load(path)  # as written before there was a number

    def refused(message, tensors=tensors, **changed):
        write_record(path, tensors, record | changed)
        with pytest.raises(WeightsError, match=message) as error:
            cls.load(path)
        assert str(path) in str(error.value)

    refused("of version 2 of such files; this package reads version 1", version=2)
    refused("another version of this package .unknown: kernel", **{key: record[key] | {"kernel": 3}})
    refused(
        "another version of this package .missing: batch",
        **{key: {k: v for k, v in record[key].items() if k != "batch"}},
    )
    refused("its .* is not usable .learning_rate='fast'", **{key: record[key] | {"learning_rate": "fast"}})
    refused(f"no '{key}' in it", **{key: [1, 2]})
    name = next(iter(tensors))
    refused("1 left over, such as extra", tensors | {"extra": torch.zeros(2)})
    refused("1 not finite", tensors | {name: tensors[name] * float("nan")})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="file"):
        cls.load(path)
    with pytest.raises(WeightsError):
        cls.load(tmp_path)


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="checkpoint=.* must be a file that can be written"):
        fit_prototypes(X, Y, validation=HELD, checkpoint=tmp_path / "file" / "state", **QUICK)
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == '["file"]'
    with pytest.raises(ParameterError, match="checkpoint=.* must be a checkpoint of this training"):
        fit_prototypes(X, Y, validation=HELD, checkpoint=tmp_path, **QUICK)
