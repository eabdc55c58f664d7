"""metrics.sparse_coding against golden values, closed forms and properties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.metrics import sparse_coding as metrics

GOLDEN = json.loads((Path(__file__).parent / "golden" / "sparse_coding.json").read_text())


def made(rows: int = 101, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 7)) + 1e4  # far from the origin, where a careless variance loses its digits
    z = rng.exponential(size=(rows, 9)) * (rng.random((rows, 9)) < np.linspace(0, 0.8, 9))
    return x, x + 0.3 * rng.standard_normal(x.shape), z


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_golden_scores(case):
    x, x_hat, z, expected = case["x"], case["x_hat"], case["z"], case["expected"]
    assert metrics.evaluate(x, x_hat, z) == pytest.approx(expected, abs=1e-12)
    assert metrics.mse(x, x_hat) == pytest.approx(expected["mse"], abs=1e-12)
    assert metrics.explained_variance(x, x_hat) == pytest.approx(1 - expected["fvu"], abs=1e-12)
    assert metrics.cosine(x, x_hat) == pytest.approx(expected["cosine"], abs=1e-12)
    assert metrics.l0(z) == expected["l0"] and metrics.dead_fraction(z) == pytest.approx(expected["dead"])


def test_zero_output_is_judged_against_the_mean():
    case = GOLDEN["zero_output"]
    x = np.random.default_rng(case["seed"]).standard_normal(case["shape"]) + case["shift"]
    assert metrics.fvu(x, np.zeros_like(x)) == pytest.approx(case["fvu"], abs=5e-7)
    assert metrics.fvu([[2.0], [4.0]], [[0.0], [0.0]]) == 10.0


def test_fvu_is_one_for_the_mean_and_ignores_shift_and_scale():
    x, x_hat, _ = made()
    assert metrics.fvu(x, np.broadcast_to(x.mean(0), x.shape)) == pytest.approx(1)
    assert metrics.fvu(5 * x - 3, 5 * x_hat - 3) == pytest.approx(metrics.fvu(x, x_hat))
    assert metrics.fvu(x, x_hat) == pytest.approx(((x - x_hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum(), rel=1e-9)


def test_fvu_against_a_given_mean():
    assert metrics.fvu([[2.0], [4.0]], [[0.0], [0.0]], mean=[0.0]) == 1.0
    assert metrics.fvu([[2.0], [4.0]], [[2.0], [3.0]], mean=[2.0]) == 0.25


def test_density_counts_what_is_not_zero():
    z = np.array([[0.5, 0.0, -1.0], [0.0, 0.0, 2.0]])
    assert metrics.latent_density(z).tolist() == [0.5, 0.0, 1.0]
    assert metrics.l0(z) == 1.5 and metrics.dead_fraction(z) == pytest.approx(1 / 3)


@pytest.mark.parametrize("mean", [None, np.full(7, 1e4)])
def test_parts_give_what_the_whole_gives(mean):
    x, x_hat, z = made()
    scores = metrics.Scores(mean=mean)
    for part in np.split(np.arange(len(x)), [1, 40, 99]):
        scores.add(x[part].astype(np.float64), x_hat[part], z[part])
    assert scores.rows == 101
    assert scores.result() == pytest.approx(metrics.evaluate(x, x_hat, z, mean=mean), rel=1e-9)
    np.testing.assert_allclose(scores.density, metrics.latent_density(z))


def test_no_variance_leaves_nothing_to_explain():
    assert np.isnan(metrics.fvu([[1.0], [1.0]], [[1.0], [2.0]]))
    assert metrics.cosine([[0.0, 0.0]], [[1.0, 0.0]]) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.mse([1, 2], [1, 2]), r"x.shape=\(2,\) must be \(N, D\)"),
        (
            lambda: metrics.mse(np.zeros((0, 3)), np.zeros((0, 3))),
            r"x.shape=\(0, 3\) must be \(N, D\) with at least one",
        ),
        (lambda: metrics.fvu([[1, 2]], [[1]]), r"x_hat.shape=\(1, 1\) must be that of x, \(1, 2\)"),
        (lambda: metrics.fvu([[1.0], [np.nan]], [[1.0], [1.0]]), r"x\[1\]='nan or inf' must be finite"),
        (lambda: metrics.cosine([[1.0]], [[np.inf]]), r"x_hat\[0\]='nan or inf' must be finite"),
        (lambda: metrics.evaluate([[1.0]], [[1.0]], [[1], [2]]), r"z.shape=\(2, 1\) must be \(1, latents\)"),
        (lambda: metrics.l0([1, 2]), r"z.shape=\(2,\) must be \(N, D\)"),
        (lambda: metrics.Scores().result(), "rows=0 must be at least 1"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_rows_that_do_not_vary_have_no_fvu():
    x = np.full((7, 3), 0.1)  # whose mean is not .1 to the last digit
    assert np.isnan(metrics.fvu(x, x * 0))
    scores = metrics.Scores()
    for part in (x[:2], x[2:3], x[3:]):
        scores.add(part, part * 0, part)
    assert np.isnan(scores.result()["fvu"])
    scores.add(x + 1, x + 1, x)
    assert scores.result()["fvu"] == pytest.approx(0.03 / (2 * 0.25 * 3), rel=1e-6)


def test_rows_of_other_dimensions_are_named():
    scores = metrics.Scores()
    scores.add(np.eye(3), np.eye(3), np.eye(3))
    with pytest.raises(ParameterError, match=r"x.shape=\(4, 4\) must be \(4, 3\), dimensions as before"):
        scores.add(np.eye(4), np.eye(4), np.eye(4)[:, :3])


@pytest.mark.parametrize("factor", [1e30, 1e-30, 1e60, 1e-60])
def test_size_changes_nothing_that_is_relative(factor):
    x = np.random.default_rng(0).standard_normal((20, 3))
    for metric in (metrics.fvu, metrics.cosine):
        assert metric(factor * x, factor * (x + 0.1)) == pytest.approx(metric(x, x + 0.1)), metric.__name__
    with pytest.raises(ParameterError, match="x='values up to .* must be from 1e-70 to 1e"):
        metrics.fvu(x * 1e90, x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.mse([["a"]], [["b"]]), "x='array of <U1' must be an array of numbers"),
        (lambda: metrics.mse([[1], [1, 2]], [[1]]), "x='list' must be an array of numbers"),
        (lambda: metrics.fvu(np.eye(3), np.eye(3), mean=[1.0]), r"mean.shape=\(1,\) must be \(3,\)"),
        (lambda: metrics.fvu(np.eye(3), np.eye(3), mean=[np.nan] * 3), "mean='array with 3 of 3 values NaN"),
        (lambda: metrics.evaluate(np.eye(3), np.eye(3), [["a"]] * 3), "z='array of <U1'"),
    ],
)
def test_wrong_kinds_are_named(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
