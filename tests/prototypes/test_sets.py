"""prototypes.sets: exact Gram matrices, the distribution of the Gaussian kinds, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.prototypes import gram, max_cosine, prototypes, sets

GOLDEN = json.loads((Path(__file__).parent / "sets.json").read_text())
EXACT = ("orthonormal", "simplex", "orthoplex")


def expected_gram(kind: str, classes: int) -> np.ndarray:
    if kind == "simplex":
        return np.where(np.eye(classes, dtype=bool), 1, -1 / (classes - 1))
    cosines = np.eye(classes)
    if kind == "orthoplex":
        first = np.arange(0, classes - 1, 2)
        cosines[first, first + 1] = cosines[first + 1, first] = -1
    return cosines


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("to_ones", [False, True])
@pytest.mark.parametrize("classes, dim", [(2, 3), (5, 6), (7, 40), (50, 192)])
def test_gram_is_exact_and_rows_have_the_scale(kind, classes, dim, to_ones):
    M = prototypes(kind, classes, dim, scale=10.0, seed=3, orthogonal_to_ones=to_ones)
    assert M.shape == (classes, dim) and M.dtype == np.float32
    assert gram(M) == pytest.approx(expected_gram(kind, classes), abs=1e-6)
    assert np.linalg.norm(M, axis=1) == pytest.approx(np.full(classes, 10), abs=1e-5)
    if to_ones:
        assert np.abs(M.sum(1)).max() < 1e-4


def test_draws_are_orthonormal_to_double_precision_before_rounding():
    rows = sets._haar(50, 192, np.random.default_rng(0))
    assert np.abs(rows @ rows.T - np.eye(50)).max() < 1e-12


def test_haar_draw_has_no_preferred_sign():
    first = np.array([sets._haar(3, 3, np.random.default_rng(seed))[0, 0] for seed in range(2000)])
    assert abs(first.mean()) < 0.05 and np.mean(first**2) == pytest.approx(1 / 3, abs=0.02)


def test_seed_decides_the_draw():
    draw = [prototypes("orthonormal", 4, 6, scale=1.0, seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(draw[0], draw[1]) and not np.allclose(draw[0], draw[2])


@pytest.mark.parametrize("case", GOLDEN["simplex"], ids=lambda case: str(case["classes"]))
def test_simplex_in_its_least_dimension(case):
    C = case["classes"]
    M = prototypes("simplex", C, C - 1, scale=1.0).astype(float)
    assert max_cosine(M) == pytest.approx(case["cosine"], abs=1e-6)
    assert np.linalg.norm(M[0] - M[1]) == pytest.approx(case["distance"], abs=1e-6)
    assert np.abs(M.sum(0)).max() < 1e-5
    assert np.linalg.matrix_rank(sets._simplex_vertices(C)) == C - 1


@pytest.mark.parametrize("classes", GOLDEN["recursion"])
def test_recursion(classes):
    assert sets._simplex_vertices(int(classes)) == pytest.approx(np.array(GOLDEN["recursion"][classes]), abs=1e-6)


def test_centred_orthonormal_set_is_a_simplex():
    M = prototypes("orthonormal", 10, 30, scale=2.0)
    assert gram(M - M.mean(0)) == pytest.approx(expected_gram("simplex", 10), abs=1e-6)


def test_orthoplex_reaches_rankins_zero_beyond_k_plus_1():
    assert max_cosine(prototypes("orthoplex", 32, 16, scale=1.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("classes, dim, reached", GOLDEN["repulsion"])
def test_repulsion_reaches_the_known_figures(classes, dim, reached):
    M = prototypes("repulsion", classes, dim, scale=2.0)
    assert max_cosine(M) == pytest.approx(reached, abs=2e-3)
    assert np.linalg.norm(M, axis=1) == pytest.approx(np.full(classes, 2), abs=1e-6)
    assert np.array_equal(M, prototypes("repulsion", classes, dim, scale=2.0))


@pytest.mark.parametrize("classes, dim", [(4, 3), (10, 16)])
def test_repulsion_finds_the_simplex_where_there_is_one(classes, dim):
    assert max_cosine(prototypes("repulsion", classes, dim, scale=1.0)) == pytest.approx(-1 / (classes - 1), abs=1e-5)


def test_repulsion_puts_five_points_on_a_circle_72_degrees_apart():
    assert max_cosine(prototypes("repulsion", 5, 2, scale=1.0)) == pytest.approx(np.cos(np.radians(72)), abs=1e-5)


@pytest.mark.parametrize("kind", ["johnson_lindenstrauss", "gaussian"])
def test_projected_orthonormal_set_is_as_random_as_gaussians(kind):
    """Both kinds have the moments of independent N(0, I / k), so the orthogonal start is for nothing."""
    C, k = 50, 16
    draws = [prototypes(kind, C, k, scale=1.0, seed=seed).astype(float) for seed in range(400)]
    squares = np.array([np.square(M).sum(1) for M in draws])
    cosines = np.array([gram(M)[np.triu_indices(C, 1)] for M in draws])
    apart = np.array([np.square(M[:25] - M[25:]).sum(1) for M in draws])
    assert squares.mean() == pytest.approx(1, abs=0.01) and squares.var() == pytest.approx(2 / k, rel=0.04)
    assert cosines.mean() == pytest.approx(0, abs=0.002) and cosines.var() == pytest.approx(1 / k, rel=0.02)
    assert apart.mean() == pytest.approx(2, abs=0.02) and apart.var() == pytest.approx(8 / k, rel=0.06)
    assert cosines.max(1).mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("orthonormal", 5, 0), "dim=0 must be a whole number, 1 or more"),
        (("orthonormal", 1, 4), "classes=1 must be a whole number, 2 or more"),
        (("orthonormal", 5, 4), "kind='orthonormal' must be one of simplex, orthoplex, repulsion, johnson"),
        (("simplex", 50, 16), "must be one of repulsion, johnson_lindenstrauss, gaussian for 50 classes in 16"),
        (("orthoplex", 9, 4), "for 9 classes in 4 dimensions"),
        (("repulsion", 3, 1), "must be one of johnson_lindenstrauss, gaussian"),
        (("cube", 3, 4), "kind='cube' must be one of orthonormal, simplex"),
    ],
)
def test_impossible_sets_are_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        prototypes(*arguments, scale=1.0)


def test_one_dimension_less_when_orthogonal_to_ones():
    with pytest.raises(ParameterError, match="5 classes in 4 dimensions orthogonal to ones"):
        prototypes("orthonormal", 5, 5, scale=1.0, orthogonal_to_ones=True)
    with pytest.raises(ParameterError, match="scale=0 must be a finite number, above 0"):
        prototypes("orthonormal", 5, 5, scale=0)
    with pytest.raises(TypeError, match="scale"):
        prototypes("orthonormal", 5, 5)
