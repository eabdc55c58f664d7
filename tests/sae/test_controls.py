"""Controls: the best linear code is the best, a random one keeps the share that its size deserves."""

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.sae.controls import principal_components, random_projection
from workbench.sae.published import FAMILIES, LAYERS, PROBE_ACCURACY, SPARSITIES
from workbench.sae.published import table as published

ROWS = np.arange(200)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((250, 32)).astype(np.float32) + 3


def _fvu(x, found):
    return ((x - found) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()


def test_all_components_lose_nothing_and_more_keep_more(x):
    losses = [_fvu(x[ROWS], principal_components(x, k, train=ROWS)[1][ROWS]) for k in (4, 16, 32)]
    assert losses[0] > losses[1] > losses[2] and losses[2] < 1e-10
    assert principal_components(x, 99, train=ROWS)[0].shape == (250, 32)


def test_a_random_projection_of_white_noise_keeps_k_of_d(x):
    kept = [1 - _fvu(x[ROWS], random_projection(x, 8, train=ROWS, seed=s)[1][ROWS]) for s in range(20)]
    assert np.mean(kept) == pytest.approx(8 / 32, abs=0.01)


def test_test_clips_shape_neither_mean_nor_axes(x):
    changed = x.copy()
    changed[200:] *= 100
    for a, b in zip(principal_components(x, 5, train=ROWS), principal_components(changed, 5, train=ROWS), strict=True):
        np.testing.assert_array_equal(a[ROWS], b[ROWS])


def test_k_of_zero_is_refused(x):
    with pytest.raises(ParameterError, match="k=0 must be a whole number, 1 or more"):
        principal_components(x, 0, train=ROWS)


def test_published_tables_are_the_papers():
    accuracy = published("accuracy")
    assert accuracy.loc[("ast", "6")].tolist() == [81.8, 80.25, 81.5, 82.5, 80.75, 80.0, 78.0]
    assert accuracy.isna().sum().sum() == 1 and np.isnan(accuracy.loc[("hubert-base", "3"), 0.99])
    assert published("completeness").loc[("mert-95m", "7"), "dense"] == 0.609
    assert (
        published("mse").loc[("ast", "12"), 0.99] == 0.061
        and published("r2").loc[("wavlm-base-plus", "1"), 0.85] == 0.913
    )
    families = published("families")
    assert list(families.columns) == list(FAMILIES)
    assert families.sum(axis=1).between(9.8, 10.2).all(), "ten attributes are shared out"
    assert [(e, layer) for e, layers in LAYERS.items() for layer in layers] == list(accuracy.index)
    assert all(len(curve) == 13 for curve in PROBE_ACCURACY.values()) and len(SPARSITIES) == 6
    with pytest.raises(ParameterError, match="quantity='speed'"):
        published("speed")
