"""project: PCA as scikit-learn has it, seeded neighbours, small and broken input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.views import project


def test_pca_axes_carry_the_stated_variance(z):
    result = project(z)
    centred = z - z.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    np.testing.assert_allclose((result.xy**2).sum(axis=0), values[:2], rtol=1e-4)
    assert result.axes[0] == f"PC 1 ({values[0] / values.sum():.0%} of variance)"


def test_other_components_are_those_of_a_full_decomposition(z):
    centred = z - z.mean(axis=0)
    u, values, _ = np.linalg.svd(centred, full_matrices=False)
    result = project(z, components=(4, 3))
    expected = (u * values)[:, [3, 2]]
    np.testing.assert_allclose(np.abs(result.xy), np.abs(expected), atol=1e-4)
    assert result.axes[0] == f"PC 4 ({values[3] ** 2 / (values**2).sum():.0%} of variance)"
    np.testing.assert_array_equal(project(z, components=[1, 2]).xy, project(z).xy)


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ((1, 13), "components=(1, 13) must be at most 12 for an array of shape (40, 12)"),
        ((2, 2), "components=(2, 2) must be two different ones"),
        ((1, 2, 3), "components=(1, 2, 3) must be two different ones"),
        ((0, 1), "components[0]=0 must be a whole number, 1 or more"),
        (2, "components=2 must be a list"),
    ],
)
def test_components_that_are_not_there(z, components, message):
    with pytest.raises(ParameterError) as error:
        project(z, components=components)
    assert message in str(error.value)


@pytest.mark.parametrize("method", ["tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_neighbours_stay_and_seed_repeats(z, method, tmp_path, monkeypatch):
    made = []
    for folder in ("first", "second"):  # computed twice
        monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / folder))
        made.append(project(z, method=method, seed=3).xy)
    one, two = made
    np.testing.assert_array_equal(one, two)
    gaps = np.linalg.norm(one[:, None] - one[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    same_class = gaps.argmin(axis=1) % 4 == np.arange(40) % 4
    assert same_class.mean() > 0.95
    assert one.dtype == np.float32 and one.shape == (40, 2)


def test_a_map_is_computed_once(z, monkeypatch):
    first = project(z, method="tsne", seed=1)
    monkeypatch.setattr("sklearn.manifold.TSNE", None)  # not called
    again = project(z, method="tsne", seed=1)
    np.testing.assert_array_equal(first.xy, again.xy)
    assert (first.axes, first.method) == (again.axes, again.method)
    for other in ({"seed": 2}, {"seed": 1, "perplexity": 5.0}):
        with pytest.raises(TypeError):
            project(z, method="tsne", **other)


def test_a_cache_that_cannot_be_written_costs_only_time(z, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="the map is not kept for the next time"):
        assert project(z, method="tsne").xy.shape == (40, 2)


@pytest.mark.parametrize("method", ["tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_few_points(z, method):
    assert np.isfinite(project(z[:5], method=method).xy).all()
    with pytest.raises(ParameterError, match=r"array of 4 rows.*at least 5 rows"):
        project(z[:4], method=method)


def test_many_dimensions_are_reduced_first():
    rng = np.random.default_rng(0)
    result = project(rng.normal(size=(30, 300)), method="tsne")
    assert result.xy.shape == (30, 2)
    assert result.method == "t-SNE, perplexity 9.67"


def test_pca_of_one_dimension_has_an_empty_second_axis():
    result = project(np.array([[1.0], [2.0], [4.0]]))
    assert np.ptp(result.xy[:, 0]) == pytest.approx(3)
    assert (result.xy[:, 1] == 0).all()


def test_standardise_makes_units_irrelevant(z):
    scaled = z * np.array([1e4] + [1] * 11)
    raw = project(scaled).xy
    np.testing.assert_allclose(project(scaled, standardise=True).xy, project(z, standardise=True).xy, atol=1e-3)
    assert np.abs(raw[:, 0]).max() > 1e4


def test_given_coordinates_stay():
    xy = np.array([[1, 2], [1, 2]])
    np.testing.assert_array_equal(project(xy, method="given").xy, xy)
    with pytest.raises(ParameterError, match=r"shape \(clips, 2\)"):
        project(np.zeros((4, 3)), method="given")


def test_broken_input_is_named(z):
    z[[2, 7]] = np.nan
    with pytest.raises(ParameterError, match=r"NaN or infinity in 2 of 40 rows \(2, 7\)"):
        project(z)
    with pytest.raises(ParameterError, match="5 equal rows"):
        project(np.ones((5, 3)))
    with pytest.raises(ParameterError, match=r"shape \(0, 3\)"):
        project(np.ones((0, 3)))
    with pytest.raises(ParameterError, match="method='lda' must be 'pca', 'tsne', 'umap' or 'given'"):
        project(z, method="lda")


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_one_dimension_is_the_value_itself(method):
    z = np.random.default_rng(0).random((40, 1))
    result = project(z, method=method)
    np.testing.assert_allclose(result.xy, np.c_[z, np.zeros(40)], rtol=1e-6)
    assert (result.axes, result.method) == (("the one dimension", ""), "the one dimension")
    assert project(z[:3], method=method).xy.shape == (3, 2)


@pytest.mark.parametrize("shape", [(1, 8), (1, 1)])
@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_one_clip_lies_at_the_origin(shape, method):
    result = project(np.full(shape, 3.0), method=method)
    np.testing.assert_array_equal(result.xy, [[0, 0]])


def test_very_large_and_very_small_values_keep_their_picture(z):
    usual = project(z).xy
    for unit in (2.0**100, 2.0**-100):
        np.testing.assert_allclose(project(z * unit).xy / unit, usual, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(project((z * unit).astype(np.float32)).xy / unit, usual, rtol=1e-3, atol=1e-3)
    with pytest.raises(ParameterError, match="must be within single precision"):
        project(z * 1e299)


def test_kinds_of_arrays(z):
    import torch

    usual = project(z.astype(np.float32)).xy
    for same in (torch.tensor(z, dtype=torch.float32, requires_grad=True), pd.DataFrame(z.astype(np.float32))):
        np.testing.assert_allclose(project(same).xy, usual, rtol=1e-4, atol=1e-4)
    assert project(torch.tensor(z).to(torch.bfloat16)).xy.shape == project(z.astype(np.float16)).xy.shape == (40, 2)
    with pytest.raises(ParameterError, match=r"one layer, such as embeddings.layer\(name\)"):
        project(type("Embeddings", (), {"layers": ("a",)})())
    for wrong in (z.astype(str), [[1, 2], [3]], z.astype(complex)):
        with pytest.raises(ParameterError, match="must be an array of numbers"):
            project(wrong)
    with pytest.raises(ParameterError, match="perplexity=nan"):
        project(z, method="tsne", perplexity=float("nan"))
    with pytest.raises(ParameterError, match="neighbours=1 must be a whole number, 2 or more"):
        project(z, method="umap", neighbours=1)
