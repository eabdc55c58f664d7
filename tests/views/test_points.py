"""Which points carry sound, which rows are meant, how coordinates are packed."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.views.points import hover_data, panel_data, positions, spread
from workbench.views.projection import Projection


def test_spread_is_even_over_classes_and_repeats():
    rng = np.random.default_rng(0)
    xy, codes = rng.normal(size=(500, 2)), np.repeat([0, 1, 2], [400, 90, 10])
    chosen = spread(xy, codes, 30, seed=4)
    assert np.bincount(codes[chosen]).tolist() == [10, 10, 10]
    assert len(set(chosen)) == 30
    assert chosen == spread(xy, codes, 30, seed=4) != spread(xy, codes, 30, seed=5)


def test_spread_keeps_points_apart():
    xy = np.random.default_rng(0).normal(size=(2000, 2))

    def closest(indices):
        gaps = np.linalg.norm(xy[indices][:, None] - xy[indices][None], axis=2)
        return np.median(np.where(gaps > 0, gaps, np.inf).min(axis=1))

    assert closest(spread(xy, None, 60)) > 1.5 * closest(list(range(60)))


def test_spread_takes_all_there_are():
    xy = np.zeros((5, 2))
    assert sorted(spread(xy, np.array([0, 0, 1, 1, 1]), 99)) == [0, 1, 2, 3, 4]
    assert spread(xy, None, 0) == []


def test_positions_of_rows_masks_and_numbers(table):
    assert positions(table[table["label"] == "b"], table) == list(range(1, 40, 4))
    assert positions(table.iloc[[5, 2]].reset_index(drop=True), table) == [5, 2], "by id, not by index"
    assert positions((table["label"] == "b").to_numpy(), table) == list(range(1, 40, 4))
    assert positions([3, 1], table) == [3, 1]
    assert positions([], table) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([40], "rows=40 must be from 0 to 39"),
        ([-1], "rows=-1"),
        (np.zeros(3, dtype=bool), r"mask of shape \(3,\)"),
        ([0.5], "whole numbers"),
        (pd.DataFrame({"id": ["clip 1", "nobody"]}), "1 unknown rows"),
    ],
)
def test_wrong_rows(table, rows, message):
    with pytest.raises(ParameterError, match=message):
        positions(rows, table)


def test_both_axes_share_one_scale():
    packed = panel_data("p", Projection(np.array([[0, 0], [4, 1], [2, 0.5]], np.float32), ("", ""), "PCA"))
    assert (packed["w"], packed["h"]) == (1.0, 0.25)
    assert np.frombuffer(base64.b64decode(packed["x"]), "<u2").tolist() == [0, 65535, 32768]


def test_equal_points_do_not_divide_by_zero():
    packed = panel_data("p", Projection(np.ones((3, 2), np.float32), ("", ""), "given"))
    assert (packed["w"], packed["h"]) == (0, 0)


def test_hover_packs_classes_and_keeps_large_numbers():
    assert hover_data("c", pd.Series(["a", "b", "a", "a"]))["levels"] == ("a", "b")
    assert hover_data("id", pd.Series(["x", "y", None]))["values"] == ["x", "y", "–"]
    assert hover_data("seed", pd.Series([2**31 - 1, 5]))["values"] == ["2147483647", "5"]
