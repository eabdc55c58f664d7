"""prototypes.comparing: a comparison that is stopped goes on where it was, and only what is the same is found again."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.prototypes import FactorPrototypes, Levels, MLPProjector, comparing, prototypes
from workbench.prototypes.comparing import compare_losses

CLASSES, DIM, K, N = 3, 6, 4, 90
Y = np.arange(N) % CLASSES
X = (3 * np.eye(CLASSES, DIM)[Y] + np.random.default_rng(0).normal(size=(N, DIM))).astype(np.float32)
ROWS = np.random.default_rng(1).permutation(N)
FOLDS = [(ROWS[:50], ROWS[50:70], ROWS[70:]), (ROWS[40:], ROWS[20:40], ROWS[:20])]
M = prototypes("orthonormal", CLASSES, K, scale=2.0)
LOSSES = {"CE": "cross_entropy", "pull": {"loss": {"name": "prototype", "weight": 0.5}, "prototypes": M}}


@pytest.fixture
def trained(monkeypatch) -> list:
    """The options of each training that was started."""
    calls, real = [], comparing.train_classifier

    def counting(*args, **options):
        calls.append(options)
        return real(*args, **options)

    monkeypatch.setattr(comparing, "train_classifier", counting)
    return calls


def compare(folder=None, **changed) -> pd.DataFrame:
    options = {"inputs": X, "y": Y, "splits": FOLDS, "losses": LOSSES, "network": partial(MLPProjector, DIM, K)}
    options |= {"seeds": (0, 1), "epochs": 2, "device": "cpu", "progress": False, "resume": folder}
    return compare_losses(**options | changed)


def test_a_comparison_goes_on_where_it_was_stopped(tmp_path, trained, monkeypatch):
    whole = compare()
    assert len(trained) == len(whole) == 8 and not list(tmp_path.iterdir())

    trained.clear()
    counting = comparing.train_classifier

    def interrupted(*args, **options):
        if len(trained) == 3:
            raise KeyboardInterrupt
        return counting(*args, **options)

    monkeypatch.setattr(comparing, "train_classifier", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path / "runs")
    assert len(list((tmp_path / "runs").iterdir())) == 3
    monkeypatch.setattr(comparing, "train_classifier", counting)

    resumed = compare(tmp_path / "runs")
    assert len(trained) == 3 + 5
    pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), whole.drop(columns="seconds"))
    pd.testing.assert_frame_equal(compare(tmp_path / "runs"), resumed)
    assert len(trained) == 8


def levels_and_points(cuts: int) -> dict:
    levels = Levels.fit(X[:, :1], ["first"], count=cuts)
    return {"factors": FactorPrototypes(levels, K, scale=1.0), "levels": levels.codes(X[:, :1])}


CHANGES = {
    "inputs": {"inputs": X + 1e-6},
    "labels": {"y": np.where(np.arange(N) == ROWS[0], (Y + 1) % CLASSES, Y)},
    "labels in words": {"y": np.array(["a", "b", "c"])[Y]},
    "split": {"splits": [(ROWS[:49], ROWS[49:70], ROWS[70:])]},
    "order of the split": {"splits": [(ROWS[:50][::-1], ROWS[50:70], ROWS[70:])]},
    "loss": {"losses": {"CE": "focal"}},
    "option of the loss": {"losses": {"CE": {"loss": {"name": "focal", "gamma": 1.0}}}},
    "prototypes": {"losses": {"CE": {"loss": "prototype", "prototypes": M}}},
    "other prototypes": {"losses": {"CE": {"loss": "prototype", "prototypes": 2 * M}}},
    "factors": {"losses": {"CE": {"loss": "prototype", **levels_and_points(2)}}},
    "other factors": {"losses": {"CE": {"loss": "prototype", **levels_and_points(3)}}},
    "recipe": {"epochs": 1},
    "preset": {"preset": "conv", "spec_augment": (0, 0)},
    "seed": {"seeds": (1,)},
    "argument of the network": {"network": partial(MLPProjector, DIM, K, hidden=8)},
    "network of another kind": {"network": partial(torch.nn.Linear, DIM, K)},
    "module": {"network": torch.nn.Linear(DIM, K)},
    "module with other weights": {"network": torch.nn.Linear(DIM, K)},
    "closure": {"network": lambda: MLPProjector(DIM, K, hidden=16)},
}


def test_whatever_changes_the_numbers_is_trained_anew(tmp_path, trained):
    one = {"losses": {"CE": "cross_entropy"}, "splits": FOLDS[:1], "seeds": (0,)}
    compare(tmp_path, **one)
    for i, (what, change) in enumerate(CHANGES.items()):
        for _ in range(2):
            compare(tmp_path, **one | change)
            assert len(trained) == i + 2, what


def test_names_progress_device_and_ways_to_say_it_do_not_count(tmp_path, trained):
    one = {"losses": {"CE": "cross_entropy"}, "splits": FOLDS[:1], "seeds": (0,)}
    compare(tmp_path, **one)
    named = dict(zip(("train", "valid", "test"), FOLDS[0], strict=True))
    same = {"losses": {"other name": {"loss": {"name": "cross_entropy"}}}, "splits": [named], "preset": "default"}
    found = compare(tmp_path, **one | same | {"inputs": X.astype(np.float64), "batch": 32, "device": "auto"})
    assert len(trained) == 1 and found["loss"].tolist() == ["other name"]


@pytest.mark.parametrize("text", ["", '{"accuracy": 0.5', '{"accuracy": 0.5}', "[1]"])
def test_a_damaged_file_is_named_and_its_run_trained_again(tmp_path, trained, text):
    one = {"losses": {"CE": "cross_entropy"}, "splits": FOLDS[:1], "seeds": (0,)}
    whole = compare(tmp_path, **one)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["accuracy"] == whole["accuracy"].item()
    file.write_text(text)
    with pytest.warns(UserWarning, match=rf"{file.name} is damaged"):
        again = compare(tmp_path, **one)
    assert len(trained) == 2 and json.loads(file.read_text())["accuracy"] == again["accuracy"].item()
    assert whole["accuracy"].item() == again["accuracy"].item()


def test_what_cannot_be_resumed_is_said(tmp_path):
    with pytest.raises(ParameterError, match=r"classification=<object .*> must be of plain types"):
        compare(tmp_path, losses={"CE": {"loss": {"name": "cross_entropy"}, "classification": object()}})
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="must be a folder to write to"):
        compare(tmp_path / "file")
