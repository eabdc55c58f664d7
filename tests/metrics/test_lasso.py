"""metrics.lasso: equal to scikit-learn's Lasso, to closed forms, and honest about what it did not reach."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from workbench.core.errors import ParameterError
from workbench.metrics.lasso import lasso

GOLDEN = json.loads((Path(__file__).parent / "golden" / "disentanglement.json").read_text())


def sparse_codes(n: int, d: int, active: int, factors: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Top-k codes of a random encoder and correlated factors, all standardised (dead codes stay 0)."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, 12))
    h = np.tanh(hidden @ rng.standard_normal((12, 96))) @ rng.standard_normal((96, d))
    h = np.maximum(h + 3 * rng.standard_normal((n, d)), 0)
    z = np.where(h >= np.partition(h, d - active, axis=1)[:, d - active, None], h, 0)
    v = np.tanh(hidden @ rng.standard_normal((12, factors))) + 0.5 * rng.standard_normal((n, factors))
    return tuple((a - a.mean(0)) / np.where(a.std(0) > 0, a.std(0), 1) for a in (z, v))


def exact(z: np.ndarray, v: np.ndarray, alpha: float) -> Lasso:
    return Lasso(alpha=alpha, tol=1e-12, max_iter=1_000_000).fit(z, v)


def objective(z, v, w, b, alpha) -> float:
    return ((v - b - z @ w) ** 2).mean() / 2 + alpha * np.abs(w).sum()


def test_orthogonal_codes_are_soft_thresholded():
    golden, n = GOLDEN["orthogonal_lasso"], 400
    basis = np.random.default_rng(0).standard_normal((n, 6))
    basis[:, 0] = 1
    z = np.linalg.qr(basis)[0][:, 1:] * np.sqrt(n)
    v = z @ golden["b"]
    fits = lasso(z, v, golden["alpha"])
    assert fits.coefficients[0, :, 0] == pytest.approx(golden["w"], abs=1e-9)
    r2 = 1 - ((v - fits.predict(z)[0, :, 0]) ** 2).sum() / (v**2).sum()
    assert r2 == pytest.approx(golden["r2"], abs=1e-6)


def test_equal_to_scikit_learn_on_many_factors_and_penalties():
    z, v = sparse_codes(120, 300, 40, 6)
    alphas = [0.05, 0.3, 0.1]  # in any order
    fits = lasso(z, v, alphas)
    for p, alpha in enumerate(alphas):
        for j in range(6):
            model = exact(z, v[:, j], alpha)
            assert np.abs(fits.coefficients[p, :, j] - model.coef_).max() < 1e-4
            assert fits.intercepts[p, j] == pytest.approx(model.intercept_, abs=1e-6)
    assert fits.gaps.max() < 1e-8


def test_unscaled_columns_and_means_are_handled_by_the_intercept():
    z, v = sparse_codes(80, 30, 10, 2)
    z, v = 3 * z + 7, 5 * v - 100
    fits = lasso(z, v, 0.2)
    for j in range(2):
        model = exact(z, v[:, j], 0.2)
        assert np.abs(fits.coefficients[0, :, j] - model.coef_).max() < 1e-6
        assert fits.predict(z)[0, :, j] == pytest.approx(model.predict(z), abs=1e-5)


def test_each_target_may_have_its_own_penalties():
    z, v = sparse_codes(80, 50, 12, 3)
    own = lasso(z, v, [[0.1, 0.2, 0.05], [0.3, 0.1, 0.1]])
    for p, j in np.ndindex(2, 3):
        alone = lasso(z, v[:, [j]], own.alphas[p, j])
        assert own.coefficients[p, :, j] == pytest.approx(alone.coefficients[0, :, 0], abs=1e-7)


def test_duplicated_codes_reach_the_same_objective_and_the_first_takes_the_weight():
    z, v = sparse_codes(100, 60, 15, 3)
    z = np.hstack([z, -z[:, :30], z[:, 30:]])
    fits = lasso(z, v, 0.05)
    assert not fits.coefficients[0, 60:].any()
    for j in range(3):
        model = exact(z, v[:, j], 0.05)
        mine = objective(z, v[:, j], fits.coefficients[0, :, j], fits.intercepts[0, j], 0.05)
        assert mine == pytest.approx(objective(z, v[:, j], model.coef_, model.intercept_, 0.05), rel=1e-9)
    assert fits.gaps.max() < 1e-8


def test_codes_in_linear_dependence_still_close_the_gap():
    z, v = sparse_codes(60, 20, 6, 2)
    z = np.hstack([z, z @ np.random.default_rng(0).standard_normal((20, 20))])  # rank 20 of 40
    assert lasso(z, v, [0.1, 0.001]).gaps.max() < 1e-8


def test_the_largest_correlation_is_where_weights_begin():
    z, v = sparse_codes(80, 50, 12, 1)
    largest = np.abs(z.T @ (v - v.mean(0))).max() / len(z)
    fits = lasso(z, v, [largest * 1.0001, largest * 0.99])
    assert not fits.coefficients[0].any() and (fits.coefficients[1] != 0).sum() == 1


def test_threads_do_not_change_a_bit():
    z, v = sparse_codes(100, 200, 30, 7)
    one, two = (lasso(z, v, [0.1, 0.05], workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(one.coefficients, two.coefficients)


def test_a_fit_that_does_not_converge_warns_with_the_factors_name():
    z, v = sparse_codes(100, 200, 30, 2)
    with pytest.warns(RuntimeWarning, match=r"4 of 4 lasso fits .*: (pitch|loudness), alpha 0\.05") as found:
        fits = lasso(z, v, [0.1, 0.05], names=["pitch", "loudness"], max_rounds=0)
    assert found[0].filename == __file__
    assert (fits.gaps > 1e-8).all()


def test_a_constant_target_gets_weight_zero():
    z, v = sparse_codes(50, 20, 5, 2)
    v[:, 1] = 0.1
    fits = lasso(z, v, 0.05)
    assert not fits.coefficients[0, :, 1].any() and fits.intercepts[0, 1] == pytest.approx(0.1)


def test_the_papers_size_against_scikit_learn():
    z, v = sparse_codes(400, 2048, 102, 6, seed=3)
    fits = lasso(z, v, 0.1)
    assert fits.gaps.max() < 1e-8
    for j in range(6):
        model = exact(z, v[:, j], 0.1)
        mine = objective(z, v[:, j], fits.coefficients[0, :, j], fits.intercepts[0, j], 0.1)
        assert mine == pytest.approx(objective(z, v[:, j], model.coef_, model.intercept_, 0.1), rel=1e-9)
        assert np.abs(fits.coefficients[0, :, j] - model.coef_).max() < 1e-4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lasso([[1.0], [2]], [[1.0], [2]], 0), r"alphas=\[\[0.0\]\] must be positive"),
        (lambda: lasso([[1.0], [2]], [[1.0], [2]], [[0.1, 0.2]]), r"alphas=.* must be positive, \(P,\) or \(P, 1\)"),
        (lambda: lasso([[1.0], [np.nan]], [[1.0], [2]], 0.1), r"z\[1, 0\]=nan must be finite"),
        (lambda: lasso([[1.0]], [[1.0], [2]], 0.1), r"len\(v\)=2 must be len\(z\)=1"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
