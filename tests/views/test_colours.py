"""Colours: apart for colour-blind eyes, classes in natural order, missing values known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from workbench.views.colours import MISSING, NO_VALUE, PALETTE, colour_by, shade
from workbench.views.figures import mark

#: Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour: str, white: float = 0.0) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    c += white * (1 - c)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def cielab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(one, two) -> float:
    """The CIE's colour difference (2000): about 1 is the least that an eye sees."""
    (l1, a1, b1), (l2, a2, b2) = one, two
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean**7 / (mean**7 + 25.0**7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    waves = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    t = 1 + sum(size * np.cos(np.radians(times * hue + shift)) for size, times, shift in waves)
    dl = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2))
    dc = (c2 - c1) / (1 + 0.045 * chroma)
    dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * t)
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    rotation *= np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    return float(np.sqrt(dl**2 + dc**2 + dh**2 + rotation * dc * dh))


def test_difference_agrees_with_published_pairs():
    pairs = [  # Sharma, Wu and Dalal (2005), table 1: pairs 1, 8, 17 and 25
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ]
    for one, two, expected in pairs:
        assert ciede2000(one, two) == pytest.approx(expected, abs=1e-4)
        assert ciede2000(two, one) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("white", [0.0, 0.25], ids=["bright", "dark"])
@pytest.mark.parametrize("eyes", ["ordinary", *BLIND])
def test_no_two_of_twelve_classes_look_alike(eyes, white):
    matrix = np.array(BLIND[eyes]) if eyes in BLIND else np.eye(3)
    assert len(PALETTE) == 12
    seen = {colour: cielab(matrix @ linear(colour, white)) for colour in (*PALETTE, MISSING)}
    if white:  # the map does not lighten what has no value
        seen[MISSING] = cielab(matrix @ linear(MISSING))
    least = min(itertools.combinations(seen, 2), key=lambda pair: ciede2000(seen[pair[0]], seen[pair[1]]))
    assert ciede2000(*(seen[colour] for colour in least)) > 12, least


def test_marks_of_plots_repeat_after_24_kinds():
    pairs = [tuple(mark(k).values()) for k in range(25)]
    assert len(set(pairs[:24])) == 24 and pairs[24] == pairs[0]
    assert all(a != c and b != d for (a, b), (c, d) in itertools.pairwise(pairs))


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
