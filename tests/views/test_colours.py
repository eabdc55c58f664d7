"""Colours: apart for colour-blind eyes, classes in natural order, missing values known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from workbench.views.colours import NO_VALUE, PALETTE, colour_by, shade

#: Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def cielab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", BLIND)
def test_palette_stays_apart(eyes):
    seen = [cielab(np.array(BLIND[eyes]) @ linear(colour)) for colour in PALETTE]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 17


def test_classes_in_natural_order_and_missing():
    result = colour_by("c", pd.Series(["class 10", "class 2", None, "", "Alto"]))
    assert result.levels == ("Alto", "class 2", "class 10")
    assert result.codes.tolist() == [2, 1, NO_VALUE, NO_VALUE, 0]
    assert result.missing == 2


def test_categorical_keeps_its_order_booleans_are_classes():
    column = pd.Series(pd.Categorical(["low", "high", "low"], categories=["low", "mid", "high"]))
    assert colour_by("c", column).levels == ("low", "high")
    assert colour_by("b", pd.Series([True, False])).levels == ("False", "True")


def test_numbers_with_gaps():
    result = colour_by("fold", pd.Series([1, 2, None], dtype="Int64"))
    assert result.kind == "number" and result.missing == 1
    assert result.values[:2].tolist() == [1, 2]
    assert colour_by("x", pd.Series([1.0, np.inf])).missing == 1


def test_shade_ends_are_viridis():
    assert shade(np.array([0.0, 1.0])).tolist() == [[68, 1, 84], [253, 231, 37]]
