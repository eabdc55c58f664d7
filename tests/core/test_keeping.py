"""Stages that are kept: equal calls are read, changed ones are made, and what is damaged is noticed."""

from __future__ import annotations

import json
import math
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core import keeping
from workbench.core.errors import ParameterError, StoreError
from workbench.core.fitting import NothingLearntWarning
from workbench.core.keeping import keep
from workbench.core.splits import Split
from workbench.lessons.sae_sound import Named
from workbench.probes import fit_probes
from workbench.prototypes import MLPProjector, fit_classifier


@pytest.fixture(autouse=True)
def stages(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    return tmp_path / "stages"


def counted(*args, **kwargs):
    note()
    return args, kwargs


def note():
    note.calls += 1  # an attribute of a function is not what it does: it counts for no stage


@pytest.fixture
def calls():
    note.calls = 0
    return lambda: note.calls


VALUES = [
    None,
    True,
    3,
    math.inf,
    "text ü",
    [1, (2.5, "x"), None],
    {"a": 1, 2: [3]},
    np.arange(6, dtype=np.int16).reshape(2, 3),
    np.array(["a", "bc"]),
    np.array(["a", None, 3], dtype=object),
    np.float32(0.1),
    torch.arange(4).reshape(2, 2),
    pd.DataFrame({"x": [1.0, np.nan], "y": ["a", "b"], "z": [True, False]}, index=["p", "q"]),
    pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None])),
    pd.DataFrame({"n": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 0.5), ("b", 1.0)], names=["s", "t"])),
    pd.Series([1, 2], ["a", "b"], name="s"),
    Split([0, 1], [2], [3]),
    Named(3, "level", 0.5),
]


def same(a, b) -> bool:
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b)
    elif isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b)
    elif isinstance(a, (np.ndarray, np.generic, torch.Tensor)):
        assert a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))
    elif isinstance(a, Split):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    else:
        assert a == b
    return type(a) is type(b)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_comes_back_is_what_was_made(value, calls):
    (first,), _ = keep(counted, value)
    (again,), _ = keep(counted, value)
    assert calls() == 1
    assert same(value, first) and same(value, again)


def test_what_a_table_says_of_itself_comes_back_too(calls):
    for table in (pd.DataFrame({"a": [1.5]}), pd.Series([1], name="s"), pd.DataFrame()):
        table.attrs |= {"latents": [3, 1], "active": 2, "problem": None}
        for _ in range(2):
            (found,), _ = keep(counted, table)
            assert found.attrs == table.attrs and found.shape == table.shape
    keep(counted, pd.DataFrame({"a": [1.5]}))


def test_another_argument_or_code_is_another_stage(calls):
    keep(counted, 1)
    keep(counted, 1.0)
    keep(counted, 1, more=2)
    keep(counted, np.zeros(2))
    keep(counted, np.zeros((2, 1)))
    assert calls() == 5
    keep(counted, 1, progress=False)  # changes no number
    assert calls() == 5
    shift = 1
    assert keep(lambda x: x + shift, 1) == 2
    shift = 2
    assert keep(lambda x: x + shift, 1) == 3


def test_another_version_of_the_package_is_another_stage(calls, monkeypatch):
    keep(counted, 1)
    monkeypatch.setattr(keeping, "_surroundings", lambda: ("another",))
    keep(counted, 1)
    assert calls() == 2


def test_trained_objects_are_kept_by_their_own_files(stages):
    rng = np.random.default_rng(0)
    y = np.array(["a", "b"] * 20)
    x = {"0": (rng.normal(size=(40, 3)) + (y == "a")[:, None]).astype(np.float32)}
    split = Split(np.arange(20), np.arange(20, 30), np.arange(30, 40))
    first = keep(fit_probes, x, y, split)
    again = keep(fit_probes, x, y, split)
    assert again is not first
    assert np.array_equal(first.accuracy, again.accuracy) and np.array_equal(first.weights[0], again.weights[0])
    assert not [path for path in stages.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt")]


def test_what_needs_an_argument_of_the_call_to_be_read_gets_it(calls):
    rng = np.random.default_rng(0)
    y = np.array(["a", "b"] * 20)
    z = (rng.normal(size=(40, 3)) + (y == "a")[:, None]).astype(np.float32)
    split, network = Split(np.arange(20), np.arange(20, 30), np.arange(30, 40)), partial(MLPProjector, 3, 4)
    first = keep(fit_classifier, z, y, split, network=network, loss="cross_entropy", epochs=2, progress=False)
    again = keep(fit_classifier, z, y, split, network=network, loss="cross_entropy", epochs=2, progress=False)
    assert again is not first
    assert np.array_equal(first.z, again.z) and np.allclose(first.embed(z), again.embed(z))


class Scaled:
    def __init__(self, by):
        self.by = by

    def times(self, x):
        note()
        return x * self.by


def test_a_method_counts_with_its_object(calls):
    assert [keep(Scaled(2).times, 3), keep(Scaled(4).times, 3), keep(Scaled(2).times, 3)] == [6, 12, 6]
    assert calls() == 2
    one, other = (
        torch.nn.Linear(2, 2) for _ in range(2)
    )  # installed code counts by its name, its object by its weights
    assert not torch.equal(keep(one.forward, torch.ones(2)), keep(other.forward, torch.ones(2)))


def warns(text):
    warnings.warn(text, NothingLearntWarning, stacklevel=2)
    return 1


def test_warnings_are_given_again():
    for _ in range(2):
        with pytest.warns(NothingLearntWarning, match="nothing was learnt"):
            assert keep(warns, "nothing was learnt") == 1


def test_damage_is_noticed_and_made_again(stages, calls):
    keep(counted, np.arange(5))
    (file,) = stages.rglob("*.npy")
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    with pytest.warns(UserWarning, match=r"is damaged \(the checksum of .* is another\)"):
        keep(counted, np.arange(5))
    keep(counted, np.arange(5))
    assert calls() == 2
    (record,) = stages.rglob("stage.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"of": "another"}))
    with pytest.warns(UserWarning, match="its checksum is another"):
        keep(counted, np.arange(5))


class Own:
    pass


def test_what_cannot_be_kept_is_named(stages):
    with pytest.raises(ParameterError, match=r"the result of own.*Own"):

        def own():
            return Own()

        keep(own)
    with pytest.raises(ParameterError, match=r"\[1\]"):
        keep(lambda: [1, open])
    with pytest.raises(ParameterError, match=r"argument 1=.*whose changes can be noticed"):
        keep(counted, iter([1]))
    with pytest.raises(ParameterError, match="make"):
        keep(3)
    assert not stages.exists() or not list(stages.iterdir()), "nothing is left of what failed"


def test_a_record_names_classes_of_this_package_alone(stages):
    keep(lambda: Split([0], [1], [2]))
    (record,) = stages.rglob("stage.json")
    data = json.loads(record.read_text())
    data["tree"]["dataclass"] = "subprocess:Popen"
    data.pop("checksum")
    record.write_text(json.dumps({**data, "checksum": keeping._checksum(data)}))
    with pytest.raises(ValueError, match="no class of this package"):
        keeping._read(record.parent, {})


def test_a_folder_that_cannot_be_written(stages, tmp_path):
    (tmp_path / "stages").write_text("a file")
    with pytest.raises(StoreError, match="cannot keep a stage"):
        keep(counted, 1)


def test_stages_are_counted_and_removed_from_the_command_line(stages):
    from typer.testing import CliRunner

    from workbench.cli import app

    keep(counted, np.arange(1000))
    assert "1 stages of notebooks, 0.0 MB" in CliRunner().invoke(app, ["cache", "info"]).output
    assert "1 stages, 0.0 MB would be removed" in CliRunner().invoke(app, ["cache", "prune", "--stages"]).output
    assert len(list(stages.iterdir())) == 1
    assert "1 stages, 0.0 MB removed" in CliRunner().invoke(app, ["cache", "prune", "--stages", "-y"]).output
    assert not list(stages.iterdir())
    assert CliRunner().invoke(app, ["cache", "prune", "--stages", "--damaged"]).exit_code == 2
