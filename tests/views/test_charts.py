"""Charts of tidy tables: what is drawn where."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import ParameterError
from workbench.views import charts


@pytest.fixture
def sweep():
    rows = [(s, seed, code, 10 * s + seed) for s in (0.75, 0.99) for seed in (0, 2) for code in ("sae", "pca")]
    return pd.DataFrame(rows, columns=["sparsity", "seed", "code", "fvu"])


def test_curves_draw_the_mean_over_repeats_and_their_range(sweep):
    figure = charts.curves(sweep, x="sparsity", y="fvu", by="code", levels={"fvu": {"dense": (1.0, 0.5, 2.0)}})
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [8.5, 10.9])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (7.5, 11.9)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["sae", "pca", "dense"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.75", "0.99"]


def test_curves_leave_out_what_was_not_measured(sweep):
    sweep.loc[sweep["code"] == "pca", "fvu"] = np.nan
    figure = charts.curves(sweep, x="sparsity", y=["fvu", "seed"], by="code")
    assert len(figure.axes) == 2 and len(figure.axes[0].lines[1].get_ydata()) == 0


def test_heatmap_writes_numbers_and_leaves_gaps():
    table = pd.DataFrame([[1.0, np.nan], [0.25, 3.0]], index=["a", ("b", "c")], columns=["x", "y"])
    (ax, _) = charts.heatmap(table, digits=1).axes
    assert [t.get_text() for t in ax.texts] == ["1.0", "0.2", "3.0"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b, c"]


def test_scatter_names_both_ends():
    table = pd.DataFrame({"h": [1.0, 2, 3, 4], "c": [0.5, 0.1, 0.9, 0.4], "kind": list("aabb")}, index=list("wxyz"))
    (ax,) = charts.scatter(table, x="h", y="c", by="kind", named=1).axes
    assert sorted(t.get_text() for t in ax.texts) == ["x", "y"]


def test_intervals_stand_where_the_table_says():
    table = pd.DataFrame({"mean": [1.0, -1], "low": [0.5, -3], "high": [2.0, 0]}, index=["latent 3", "random"])
    (ax,) = charts.intervals(table).axes
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, -1])
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is on top"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: charts.curves(t, x="k", y="fvu", by="code"), "column='k' must be a column of the table: sparsity"),
        (lambda t: charts.curves(t.iloc[:0], x="sparsity", y="fvu", by="code"), "an empty table"),
        (lambda t: charts.intervals(t), "column='mean' must be"),
    ],
)
def test_what_cannot_be_drawn_is_named(sweep, call, message):
    with pytest.raises(ParameterError, match=message):
        call(sweep)
