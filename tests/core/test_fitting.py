"""Fitting: named settings, the loop, and the folder of a trained object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.fitting import Config, NothingLearntWarning, read_fitted, seeded, train, write_fitted


@dataclass(frozen=True)
class Settings(Config):
    """Of a toy."""

    PRESETS: ClassVar = {"paper": {"epochs": 100, "kind": "b"}}

    epochs: int = 3
    kind: Literal["a", "b"] = "a"


def test_settings_are_named_and_changed():
    assert Settings.named() == Settings.named("default") == Settings() == Settings.named(None)
    assert Settings.named("paper", epochs=2) == Settings(2, "b") == Settings.named(Settings.named("paper"), epochs=2)
    for config, fields, message in (
        ("papers", {}, "config='papers' must be 'default' or 'paper'"),
        (3, {}, "config=3 must be a Settings or the name of one of its presets"),
        (None, {"epoch": 2}, "epoch=2 must be left out: Settings has"),
        ("paper", {"kind": "c"}, "kind='c'"),
    ):
        with pytest.raises(ParameterError, match=message):
            Settings.named(config, **fields)


class Toy:
    """A line through four points, with noise from numpy and dropout from torch in every epoch."""

    def __init__(self, rate=0.1, stop_at=None):
        with seeded(0, torch.device("cpu")):
            self.net = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.rng, self.stop_at = np.random.default_rng(0), stop_at
        self.adam = torch.optim.Adam(self.net.parameters(), lr=rate)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.adam, 0.9)
        self.x = torch.tensor([[-1.0], [0.0], [1.0], [2.0]])

    def epoch(self, i):
        if i == self.stop_at:
            raise KeyboardInterrupt
        noise = torch.from_numpy(self.rng.normal(size=(4, 1), scale=0.1)).float()
        loss = (self.net(self.x) - 3 * self.x - noise).square().mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.schedule.step()
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def validate(self):
        assert not self.net.training
        return {"valid_loss": float((self.net(self.x) - 3 * self.x).square().mean())}

    def train(self, epochs=12, **options):
        fixed = {"module": self.net, "optimizer": self.adam, "state": {"schedule": self.schedule}}
        fixed |= {"validate": self.validate, "score": lambda row: -row["valid_loss"], "generators": [self.rng]}
        with seeded(1, torch.device("cpu")):
            options = {"learning_rate": 0.1, "name": "toy", "progress": False, **fixed, **options}
            return train(self.epoch, epochs, **options)


def test_the_best_epoch_is_kept_and_the_last_without_a_score():
    toy = Toy()
    history, kept = toy.train()
    assert history.columns.tolist() == ["epoch", "loss", "valid_loss"] and len(history) == 12
    assert kept == history["valid_loss"].argmin() and not toy.net.training
    assert toy.validate()["valid_loss"] == pytest.approx(history["valid_loss"].min())
    toy = Toy()
    history, kept = toy.train(score=None)
    assert kept == 11 and toy.validate()["valid_loss"] == pytest.approx(history["valid_loss"].iloc[-1])


def test_patience_ends_a_training():
    history, kept = Toy().train(epochs=50, score=lambda row: -abs(row["epoch"] - 4), patience=3)
    assert kept == 4 and len(history) == 8


def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path):
    whole, path = Toy(), tmp_path / "toy"
    history, kept = whole.train()
    with pytest.raises(KeyboardInterrupt):
        Toy(stop_at=7).train(checkpoint=path, identity=lambda: "toy 1")
    resumed, seen = Toy(), []
    again, kept_again = resumed.train(
        checkpoint=path, identity=lambda: "toy 1", progress=lambda done, total: seen.append(done)
    )
    assert again.equals(history) and kept_again == kept and seen[0] == 7
    for key, values in whole.net.state_dict().items():
        assert torch.equal(values, resumed.net.state_dict()[key])
    with pytest.raises(ParameterError, match="of the same data, config and seed"):
        Toy().train(checkpoint=path, identity=lambda: "toy 2")


def test_what_runs_away_and_what_learns_nothing_is_said():
    with pytest.raises(ParameterError, match="learning_rate=0.1 must be lower: loss is inf in epoch 0"):
        toy = Toy()
        toy.x = toy.x * 1e30
        toy.train()
    with pytest.warns(NothingLearntWarning, match="toy learnt nothing more: the first of 3 epochs is the best"):
        Toy().train(epochs=3, score=lambda row: -row["epoch"])


def full(*_):
    raise OSError("disk full")


def test_a_trained_object_is_a_folder(tmp_path, monkeypatch):
    tensors = {"w": torch.arange(3.0)}
    record = {
        "config": Settings(),
        "labels": np.array(["a", "b"]),
        "history": pd.DataFrame({"loss": [1.0, float("nan")]}),
    }
    folder = write_fitted(tmp_path / "new" / "toy", "Toy", tensors, record)
    assert len(list(folder.iterdir())) == 2
    found, rest = read_fitted(folder, "Toy")
    assert torch.equal(found["w"], tensors["w"]) and rest["labels"] == ["a", "b"]
    assert rest["config"] == {"epochs": 3, "kind": "a"} and rest["history"].equals(record["history"])
    with pytest.raises(WeightsError, match="holds Toy of version 1, not Other"):
        read_fitted(folder, "Other")
    with pytest.raises(WeightsError, match="holds no Toy of this package"):
        read_fitted(tmp_path, "Toy")
    (weights,) = folder.glob("weights-*")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError, match="damaged: its tensors are not those"):
        read_fitted(folder, "Toy")
    weights.write_bytes(whole)
    with monkeypatch.context() as patch, pytest.raises(WeightsError, match="cannot be written to .disk full"):
        patch.setattr("workbench.core.fitting.write_whole", full)
        write_fitted(folder, "Toy", {"w": torch.ones(3)}, record)
    assert torch.equal(read_fitted(folder, "Toy")[0]["w"], tensors["w"])  # the old one is still there
    write_fitted(folder, "Toy", {"w": torch.ones(3)}, record)
    assert read_fitted(folder, "Toy")[0]["w"].sum() == 3 and len(list(folder.iterdir())) == 2
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot be written to"):
        write_fitted(tmp_path / "file", "Toy", tensors, record)
