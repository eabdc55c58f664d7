"""metrics.importance: configs, what is held out, and that nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.metrics import disentanglement
from workbench.metrics.importance import lasso_importance, mutual_information


def grouped(n: int = 200, d: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, two factors of which code 0 and codes 1 and 2 know, and groups of ten rows."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, d))
    v = np.column_stack([2 * z[:, 0], z[:, 1] - z[:, 2]]) + 0.1 * rng.standard_normal((n, 2))
    return z, v + [100, -5], np.arange(n) // 10


def test_papers_recipe_step_by_step():
    from sklearn.linear_model import Lasso

    z, v, _ = grouped()
    z[:, 5] = 3  # constant
    result = lasso_importance(z, v, config="paper", names=["f0", "loudness"])
    zs = (z - z.mean(0)) / np.where(np.arange(12) == 5, 1, z.std(0))
    vs = (v - v.mean(0)) / v.std(0)
    for j in range(2):
        model = Lasso(alpha=0.1, tol=1e-10).fit(zs, vs[:, j])
        assert result.R[:, j] == pytest.approx(np.abs(model.coef_), abs=1e-6)
        assert result.in_sample[j] == pytest.approx(model.score(zs, vs[:, j]), abs=1e-6)
    assert not result.R[5].any() and result.settings.tolist() == [0.1, 0.1]
    assert result.informativeness is result.in_sample and np.isnan(result.held_out).all()
    assert result.names == ("f0", "loudness") and result.score == ("r2", "r2")


def test_held_out_informativeness_is_that_of_the_folds_given():
    z, v, groups = grouped()
    folds = [(np.arange(100), np.arange(100, 200)), (np.arange(100, 200), np.arange(100))]
    result = lasso_importance(z, v, alpha=0.1, folds=folds, groups=groups)
    train, test = folds[0]
    mean, std = z[train].mean(0), z[train].std(0)
    fit = lasso_importance(z[train], v[train], config="paper")  # the weights' sizes; here the signs are known
    w = fit.R * np.sign(np.array([[1, 1], [1, 1], [1, -1]] + 9 * [[1, 1]]))
    w[3:] = 0
    predicted = (z[test] - mean) / std @ w * v[train].std(0) + v[train].mean(0)
    r2 = 1 - ((v[test] - predicted) ** 2).sum(0) / ((v[test] - v[train].mean(0)) ** 2).sum(0)
    assert result.folds[0] == pytest.approx(r2, abs=0.01)
    assert result.informativeness is result.held_out and result.folds.shape == (2, 2)


def test_default_finds_the_codes_and_their_number():
    z, v, groups = grouped()
    result = lasso_importance(z, v, groups=groups)
    assert (result.held_out > 0.95).all() and len(result.folds) == 5
    assert disentanglement.effective_codes(result.R) == pytest.approx([1, 2], abs=0.35)
    assert disentanglement.disentanglement(result.R).overall > 0.8


def test_noise_looks_known_in_sample_and_not_held_out():
    rng = np.random.default_rng(0)
    z, v = rng.standard_normal((100, 300)), rng.standard_normal((100, 4))
    assert lasso_importance(z, v, config="paper").informativeness.mean() > 0.5
    assert lasso_importance(z, v, groups=np.arange(100) // 5).informativeness.mean() < 0.05


def test_what_only_groups_share_is_not_informative():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    z = np.eye(20)[groups] + 0.01 * rng.standard_normal((200, 20))  # the code is who, not what
    v = rng.standard_normal(20)[groups]
    assert lasso_importance(z, v, alpha=0.01).held_out[0] > 0.8
    assert lasso_importance(z, v, alpha=0.01, groups=groups).held_out[0] < 0.1


def test_a_penalty_that_silences_all_codes_scores_zero():
    z, v, groups = grouped()
    result = lasso_importance(z, v, alpha=5.0, groups=groups)
    assert not result.R.any() and (result.held_out == pytest.approx([0, 0], abs=1e-12))
    assert disentanglement.completeness(result.R, **disentanglement.PAPER).overall == 1  # the paper's policy


def test_same_seed_same_numbers_and_units_do_not_matter():
    z, v, groups = grouped()
    a, b = (lasso_importance(z, v, groups=groups, seed=3) for _ in range(2))
    np.testing.assert_array_equal(a.R, b.R)
    c = lasso_importance(1000 * z + 5, v / 7 - 3, groups=groups, seed=3)
    assert pytest.approx(a.R, abs=1e-6) == c.R and c.held_out == pytest.approx(a.held_out, abs=1e-6)


def test_constant_factor_is_refused_or_scored_nan_as_asked():
    z, v, groups = grouped()
    v[:, 1] = 4
    with pytest.raises(ParameterError, match="v='constant in loudness' must be varying"):
        lasso_importance(z, v, names=["f0", "loudness"])
    result = lasso_importance(z, v, groups=groups, constant="nan")
    assert np.isnan(result.held_out[1]) and np.isnan(result.in_sample[1]) and not result.R[:, 1].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": [(range(0, 105), range(105, 200))]}, r"folds\[0\]='1 groups on both sides' must be disjoint"),
        ({"folds": [(range(0, 100), range(50, 200))], "groups": None}, r"folds\[0\]='50 groups on both sides'"),
        ({"folds": [(range(0, 100), [200])]}, r"folds\[0\]=.* must be at least one position in \[0, 200\)"),
        ({"folds": []}, r"folds=\[\] must be a list of at least one"),
        ({"groups": np.zeros(200)}, "groups=1 must be at least two different ones"),
        ({"groups": [1, 2]}, r"groups.shape=\(2,\) must be \(200,\): one a clip"),
        ({"config": "best"}, "config='best' must be 'default' or 'paper'"),
        ({"config": "paper", "folds": [(range(100), range(100, 200))]}, "folds or alpha='given' must be None"),
        ({"names": ["one"]}, r"len\(names\)=1 must be the number of factors, 2"),
        ({"constant": "drop"}, "constant='drop' must be 'raise' or 'nan'"),
        ({"alpha": -1}, r"alpha=.* must be positive"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(options, message):
    z, v, groups = grouped()
    with pytest.raises(ParameterError, match=message):
        lasso_importance(z, v, **{"groups": groups, **options})


def test_missing_values_are_named_by_row_and_column():
    z, v, _ = grouped()
    v[7, 1] = np.nan
    with pytest.raises(ParameterError, match=r"v\[7, 1\] \(loudness\)=nan must be finite; 1 values are not"):
        lasso_importance(z, v, names=["f0", "loudness"])


@pytest.mark.parametrize("factor", [1e60, 1e-60])
def test_size_of_codes_and_factors_changes_nothing(factor):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((40, 3))
    v = z[:, :1] + 0.1 * rng.standard_normal((40, 1))
    one, other = (lasso_importance(c * z, c * v, config="paper") for c in (1.0, factor))
    np.testing.assert_allclose(other.R, one.R, atol=1e-9)
    np.testing.assert_allclose(other.in_sample, one.in_sample)


def test_columns_that_differ_in_their_last_digits_are_binned():
    column = np.array([1e16, 1e16 + 2, 1e16 + 4] * 4)
    assert mutual_information(column, np.arange(12) % 3, discrete=True)[0, 0] == pytest.approx(np.log(3))


def test_progress_may_be_a_bar(capsys):
    z = np.random.default_rng(0).standard_normal((12, 2))
    lasso_importance(z, z[:, :1], config="paper", progress=True)
    with pytest.raises(ParameterError, match="progress=3 must be True, False, None or a function"):
        lasso_importance(z, z[:, :1], config="paper", progress=3)
