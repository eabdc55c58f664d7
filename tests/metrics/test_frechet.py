"""The Frechet distance against the textbook formula with matrix roots, and against what is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from workbench.core.errors import ParameterError
from workbench.metrics.frechet import frechet_distance


def by_roots(x, y):
    a, b = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    root = scipy.linalg.sqrtm(a @ b).real
    return np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * root)


@pytest.mark.parametrize("rows", [(40, 60), (200, 31)])
def test_it_is_the_textbook_formula(rows):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows[0], 5)) @ rng.normal(size=(5, 5))
    y = rng.normal(size=(rows[1], 5)) @ rng.normal(size=(5, 5)) + 1
    assert frechet_distance(x, y) == pytest.approx(by_roots(x, y), rel=1e-9)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)


def test_what_is_known_by_hand():
    x = np.random.default_rng(1).normal(size=(50, 8))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 3) == pytest.approx(8 * 9)
    spread = np.square(x - x.mean(0)).sum(1).mean()
    assert frechet_distance(x, x.mean(0) + 2 * (x - x.mean(0))) == pytest.approx(spread)
    assert frechet_distance(x[:20], np.random.default_rng(2).permutation(x[:20])) == pytest.approx(0, abs=1e-9)


def test_more_numbers_than_rows():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(12, 300)), rng.normal(size=(9, 300)) + 0.1
    assert frechet_distance(x, y) == pytest.approx(by_roots(x, y), rel=1e-3)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 4)), r"y=\(3, 4\) must be \(M, 2\), as wide as x"),
        (np.zeros((1, 2)), np.zeros((3, 2)), r"x=\(1, 2\) must be at least two rows"),
        (np.zeros(3), np.zeros((3, 1)), "x"),
        (np.full((3, 1), np.nan), np.zeros((3, 1)), "x"),
    ],
)
def test_what_is_refused(x, y, message):
    with pytest.raises(ParameterError, match=message):
        frechet_distance(x, y)
