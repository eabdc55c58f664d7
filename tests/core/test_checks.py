"""Arguments: what is refused, and that the message names argument, value and what was expected."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from workbench.core.checks import check_fields, checked, choice, number, numbers, seed, several, whole
from workbench.core.errors import ParameterError


@checked
def example(
    x: np.ndarray,
    *,
    epochs: int = 3,
    rate: float = 1.0,
    most: float = math.inf,
    mode: Literal["mean", "max"] = "mean",
    folder: str | Path | None = None,
    ks: Sequence[int] = (1,),
    layers: str | int | Sequence[str | int] = "all",
    progress: bool = True,
    seed: int = 0,
    other: dict | None = None,
):
    return "ran"


@pytest.mark.parametrize(
    "argument, good, bad",
    [
        ("epochs", [1, np.int64(4)], ["3", 1.5, 2.0, math.nan, True, None, [1]]),
        ("rate", [1, 0.5, np.float32(2)], ["1", math.nan, math.inf, None, True, 1j, 10**400]),
        ("most", [math.inf, 2], [math.nan, "inf", 10**400]),
        ("mode", ["mean", "max", np.array(["max"])[0]], ["Mean", 1, None, True, np.str_("Mean"), np.array("max")]),
        ("folder", [None, "a", Path("a")], [5, b"a", ["a"]]),
        ("ks", [(1, 2), [3], np.array([4]), range(3)], ["12", 5, [1.7], [True], None, {1: 2}, np.array(4)]),
        ("layers", ["all", 3, ["4", 2]], [None, 1.5, True, [True]]),
        ("progress", [True, np.bool_(False)], [1, "yes", None]),
        ("seed", [0, 2**32 - 1, np.uint8(3)], [-1, 2**32, "a", 1.0, None]),
        ("other", [None, {}, 5, "anything"], []),
    ],
)
def test_annotations_decide(argument, good, bad):
    for value in good:
        assert example(np.ones(3), **{argument: value}) == "ran"
    for value in bad:
        with pytest.raises(ParameterError, match=f"^{argument}="):
            example(np.ones(3), **{argument: value})


def test_positional_arguments_and_messages():
    for bad in (None, 5, "text", {}):
        with pytest.raises(ParameterError, match="x=.* must be an array"):
            example(bad)
    with pytest.raises(ParameterError, match=r"^epochs='3' must be a whole number$"):
        example([1.0], epochs="3")
    with pytest.raises(ParameterError, match=r"^ks=\[1.7\] must be a list, each item a whole number$"):
        example([1.0], ks=[1.7])


def test_scalars_of_numpy_come_in_as_pythons_own():
    @checked
    def kinds(n: int, *, x: float | None = None, mode: Literal["a", "b"] = "a", y: np.ndarray | float = 0.0):
        return type(n), type(x), type(mode), type(y)

    found = kinds(np.int64(3), x=np.float32(0.5), mode=np.array(["b"])[0], y=np.float32(1))
    assert found == (int, float, str, np.float32)

    @dataclasses.dataclass(frozen=True)
    class Config:
        rate: float = 1.0

        def __post_init__(self):
            check_fields(self)

    assert type(Config(np.float32(0.5)).rate) is float


def test_fields_of_a_dataclass():
    @dataclasses.dataclass(frozen=True)
    class Config:
        steps: int = 5
        kind: Literal["a", "b"] = "a"

        def __post_init__(self):
            check_fields(self)

    assert Config(steps=7).steps == 7
    with pytest.raises(ParameterError, match="kind='c' must be 'a' or 'b'"):
        Config(kind="c")
    with pytest.raises(ParameterError, match="steps=2.5"):
        Config(steps=2.5)


def test_ranges():
    assert whole("n", np.int32(3), least=1) == 3 and number("p", 1, most=1) == 1.0
    assert number("p", math.inf, infinite=True) == math.inf
    assert seed(7) == 7
    for call in (
        lambda: whole("n", 0, least=1),
        lambda: whole("n", 3.0),
        lambda: number("p", 0, above=0),
        lambda: number("p", 1, below=1),
        lambda: number("p", math.inf),
        lambda: number("p", 10**400),
        lambda: number("p", -(10**400), infinite=True),
        lambda: seed(-1),
    ):
        with pytest.raises(ParameterError):
            call()
    with pytest.raises(ParameterError, match=r"^n=0 must be a whole number from 1 to 9$"):
        whole("n", 0, least=1, most=9)
    with pytest.raises(ParameterError, match=r"^p=2 must be a finite number, above 0 and 1 or less$"):
        number("p", 2, above=0, most=1)


def test_choices_and_lists():
    assert choice("m", "a", ("a", "b")) == "a" and choice("m", None, (None, 1)) is None
    for value, options in (
        (np.str_("a"), ("a", "b")),
        (np.int64(2), (1, 2)),
        ("a", np.array(["a", "b"])),
        (2, np.array([1, 2])),
    ):
        found = choice("m", value, options)
        assert found == value and type(found) in (str, int)
    for wrong in (np.bool_(True), np.str_("1"), np.int64(3)):
        with pytest.raises(ParameterError, match="^m=.* must be 1 or 2$"):
            choice("m", wrong, (1, 2))
    with pytest.raises(ParameterError, match=r"^m=True must be 1 or 2$"):
        choice("m", True, (1, 2))
    assert several("ks", (1, 2), whole) == [1, 2]
    with pytest.raises(ParameterError, match=r"^ks\[1\]=1.5 must be a whole number$"):
        several("ks", [1, 1.5], whole)
    for bad in ("12", 5, [], {}):
        with pytest.raises(ParameterError, match="^ks="):
            several("ks", bad, whole)


def test_arrays_of_numbers():
    assert numbers("x", [[1, 2], [3, 4]], ndim=2).shape == (2, 2)
    for bad in (["a"], None, [[1], [1, 2]], [1j], object(), [], [math.nan]):
        with pytest.raises(ParameterError, match="^x="):
            numbers("x", bad)
    with pytest.raises(ParameterError, match=r"1 of 4 values NaN or infinite \(the first at \(1, 0\)\)"):
        numbers("x", [[1.0, 2.0], [math.nan, 3.0]])
    with pytest.raises(ParameterError, match=r"array of shape \(2,\).* an array of 2 or 3 axes"):
        numbers("x", [1, 2], ndim=(2, 3))


def test_kinds_of_numbers_that_numpy_lacks():
    import pandas as pd
    import torch

    x = numbers("x", torch.tensor([1.5, 2.0], dtype=torch.bfloat16, requires_grad=True))
    assert x.dtype == np.float32 and x.tolist() == [1.5, 2.0]
    table = pd.DataFrame(
        {"a": pd.array([1, 2], dtype="Int64"), "b": [0.5, 1.5], "c": pd.array([True, False], "boolean")}
    )
    np.testing.assert_array_equal(numbers("x", table), [[1, 0.5, 1], [2, 1.5, 0]])
    table["a"] = pd.array([1, None], dtype="Int64")
    assert np.isnan(numbers("x", table, finite=False)[1, 0]) and np.isnan(numbers("x", table["a"], finite=False)[1])
    with pytest.raises(ParameterError, match="1 of 6 values NaN"):
        numbers("x", table)
    with pytest.raises(ParameterError, match="x='array of object' must be an array of numbers"):
        numbers("x", table.assign(d=["a", "b"]))
    assert several("ks", torch.tensor([1, 2]), whole) == [1, 2]
    with pytest.raises(ParameterError, match="^ks=1 must be a list"):
        several("ks", torch.tensor(1), whole)


def test_messages_stay_one_short_line():
    assert str(ParameterError("n", 10**5000, "small")) == "n=<int> must be small"
    assert "\n" not in str(ParameterError("x", np.zeros((9, 9)), "a list"))
    assert len(str(ParameterError("x", list(range(10**5)), "short"))) < 500
