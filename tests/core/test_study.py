"""The study: one table of a grid, kept results, failures, executors."""

import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.core.fitting import NothingLearntWarning
from workbench.core.splits import Split
from workbench.core.study import study

SPLITS = [Split([0, 1], test=[2]), Split([1, 2], test=[0])]
X = np.array([1.0, 2.0, 4.0])


def mean(setting, split, seed):
    """Mean of the training rows, times a factor, plus what the seed draws."""
    return {"mean": setting["factor"] * X[split.train].mean() + np.random.default_rng(seed).normal()}


def test_a_row_each_setting_split_and_seed():
    table = study(mean, {"factor": {"one": 1, "two": 2}}, splits=SPLITS, seeds=[3, 4], progress=False)
    assert table.columns.tolist() == ["factor", "fold", "seed", "mean", "seconds"]
    assert table[["factor", "fold", "seed"]].values.tolist() == [
        [name, fold, seed] for name in ("one", "two") for fold in (0, 1) for seed in (3, 4)
    ]
    drawn = [np.random.default_rng(seed).normal() for seed in (3, 4)]
    np.testing.assert_allclose(table["mean"], np.add.outer([1.5, 3, 3, 6], drawn).ravel())


def test_a_grid_may_be_a_list_and_a_task_may_give_several_rows():
    def task(setting, split, seed):
        assert split is None
        return [{"layer": name, "width": width} for name, width in setting["widths"].items()]

    grid = [{"name": "a", "widths": {"x": 1, "y": 2}}, {"name": "b", "widths": {"z": 3}}]
    table = study(task, grid, progress=False)
    assert table[["name", "seed", "layer", "width"]].values.tolist() == [
        ["a", 0, "x", 1],
        ["a", 0, "y", 2],
        ["b", 0, "z", 3],
    ]
    assert "fold" not in table


def test_finished_runs_are_read_and_what_the_task_depends_on_is_noticed(tmp_path):
    made = tmp_path / "made"
    made.mkdir()

    def count():
        return len(list(made.iterdir()))

    def task_on(x, power=1):
        def task(setting, split, seed):
            (made / f"{count()}").touch()
            return {"value": float((x[split.train] ** power).sum()) + setting["a"]}

        return task

    options = {"splits": SPLITS, "resume": tmp_path / "kept", "progress": False}
    first = study(task_on(X), {"a": [1, 2]}, **options)
    assert count() == 4
    again = study(task_on(X.copy()), {"a": [1, 2, 3]}, **options)
    assert count() == 6 and first.equals(again[:4])
    study(task_on(X + 1), {"a": [1]}, **options)  # other data
    assert count() == 8
    study(task_on(X, power=2), {"a": [1]}, **options)  # another variable from outside
    assert count() == 10
    study(lambda *run: {**task_on(X)(*run), "more": 1}, {"a": [1]}, **options)  # other code
    assert count() == 12
    study(partial(mean), {"factor": [1]}, **options)
    study(task_on(X), {"a": [1]}, **options | {"splits": SPLITS[::-1]})  # the same rows under other numbers
    assert count() == 12


def test_code_of_a_class_of_ones_own_counts(tmp_path):
    def task_of(net):
        return lambda setting, split, seed: {"value": float(net(torch.ones(1)))}

    def twice(self, x):
        return 2 * x

    def thrice(self, x):
        return 3 * x

    for count, forward in ((1, twice), (1, twice), (2, thrice)):
        net = type("Net", (torch.nn.Module,), {"forward": forward, "__module__": __name__})()
        table = study(task_of(net), {}, resume=tmp_path, progress=False)
        assert len(list(tmp_path.iterdir())) == count
    assert table["value"].tolist() == [3.0]


def test_what_is_kept_is_the_same_in_another_process(tmp_path):
    options = {"splits": SPLITS, "resume": tmp_path, "progress": False}
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(partial(study, mean, {"factor": [1, 2]}, **options)).result()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    study(mean, {"factor": [1, 2]}, **options)
    assert len(kept) == 4 and kept == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_one_failure_does_not_stop_the_rest_and_is_tried_again(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()

    def task(setting, split, seed):
        if setting["a"] == 2 and os.path.exists(tmp_path / "broken"):
            raise ValueError("no such thing")
        return {"value": setting["a"]}

    options = {"resume": tmp_path / "kept", "progress": False}
    with pytest.warns(UserWarning, match=r"1 of 3 runs failed; the first is a 2, seed 0: ValueError: no such thing"):
        table = study(task, {"a": [1, 2, 3]}, **options)
    assert table["value"].isna().tolist() == [False, True, False]
    assert table["error"].tolist()[1] == "ValueError: no such thing" and table["error"].isna().sum() == 2
    broken.unlink()
    assert study(task, {"a": [1, 2, 3]}, **options)["value"].tolist() == [1, 2, 3]
    broken.touch()
    with pytest.raises(ValueError, match="no such thing"):
        study(task, {"a": [2]}, progress=False)


def test_warnings_are_said_once_and_those_that_learnt_nothing_counted(tmp_path):
    def task(setting, split, seed):
        warnings.warn("mind the gap", stacklevel=1)
        if setting["a"]:
            warnings.warn("idle", NothingLearntWarning, stacklevel=1)
        return {}

    for _ in range(2):  # the second time from what was kept
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            study(task, {"a": [0, 1]}, seeds=[0, 1], resume=tmp_path, progress=False)
        texts = [str(each.message) for each in caught]
        assert texts[-1] == "2 of 4 runs learnt nothing after their first epoch or validation: a 1, seed 0; a 1, seed 1"
        assert texts[:-1] in (["mind the gap"], [])


def test_an_executor_gives_the_same_table(tmp_path):
    grid, options = {"factor": [1, 2]}, {"splits": SPLITS, "seeds": [0, 1], "progress": False}
    with ProcessPoolExecutor(2, get_context("spawn")) as client:
        spread = study(mean, grid, **options, client=client, resume=tmp_path)
    assert spread.drop(columns="seconds").equals(study(mean, grid, **options).drop(columns="seconds"))
    assert len(list(tmp_path.iterdir())) == 8


def test_progress_is_told_of_runs():
    seen = []
    study(mean, {"factor": [1, 2]}, splits=SPLITS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 4) for i in range(5)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": 3}, r"task=3 must be a function of \(setting, split, seed\)"),
        ({"grid": {}, "seeds": []}, "seeds="),
        ({"grid": []}, r"grid=\[\] must be at least one"),
        ({"grid": [1]}, r"grid\[0\]=1 must be a mapping"),
        ({"grid": {"a": []}}, "must be at least one"),
        ({"grid": {"a": 3}}, "a=3 must be a list"),
        ({"splits": [([0], [], [1])]}, r"splits\[0\]='tuple' must be a workbench.Split"),
        ({"seeds": [-1]}, r"seeds\[0\]=-1"),
        ({"client": 3, "splits": SPLITS}, "client='int' must be an object with submit"),
        ({"task": lambda *_: {"a": [1]}}, "the task's 'a'='list' must be a number"),
    ],
)
def test_studies_that_cannot_be(options, message):
    with pytest.raises(ParameterError, match=message):
        study(**{"task": mean, "grid": {"factor": [1]}, "progress": False, **options})


def test_what_cannot_be_hashed_is_named():
    things = iter([1])
    with pytest.raises(
        ParameterError,
        match=r"task: things=<list_iter.*> must be something whose changes can",
    ):
        study(lambda *_: {"a": next(things)}, [{}], resume="unused", progress=False)
    assert not os.path.exists("unused")
