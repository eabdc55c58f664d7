"""Charts of tidy tables: what is drawn where."""

import io
import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from workbench.core.errors import ParameterError
from workbench.views import charts

XY = {"x": "x", "y": "y", "by": "kind"}


@pytest.fixture
def sweep():
    rows = [(s, seed, code, 10 * s + seed) for s in (0.75, 0.99) for seed in (0, 2) for code in ("sae", "pca")]
    return pd.DataFrame(rows, columns=["sparsity", "seed", "code", "fvu"])


def test_curves_draw_the_mean_over_repeats_and_their_range(sweep):
    levels = {"dense": (1.0, 0.5, 2.0), "one group": (0.7, np.nan, np.nan)}
    figure = charts.curves(sweep, x="sparsity", y="fvu", by="code", levels={"fvu": levels})
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [8.5, 10.9])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (7.5, 11.9)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["sae", "pca", *levels]
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


def boxes(figure, texts) -> list:
    figure.draw_without_rendering()
    return [Text.get_window_extent(text) for text in texts]


def apart(found) -> bool:
    return not any(one.overlaps(other) for one, other in itertools.combinations(found, 2))


def test_scatter_names_do_not_overprint_and_stay_inside():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(0, 0.02, 40), "y": np.r_[np.zeros(20), np.ones(20)], "kind": "a"})
    table.loc[39, "x"] = 1.0
    figure = charts.scatter(table.set_index("an attribute with a name " + table.index.astype(str)), **XY, named=8)
    (ax,) = figure.axes
    found = boxes(figure, ax.texts)
    assert len(found) == 16 and apart(found)
    assert all(ax.get_window_extent().contains(*corner) for box in found for corner in (box.min, box.max))


@pytest.mark.parametrize("count", [4, 40])
def test_curves_have_room_for_names_on_the_axis(count):
    table = pd.DataFrame({"k": [f"setting number {k:02d}" for k in range(count)], "y": 1.0, "by": "a"})
    figure = charts.curves(table, x="k", y=["y", "y"], by="by")
    for ax in figure.axes:
        labels = ax.get_xticklabels()
        figure.draw_without_rendering()
        places = [label.get_window_extent().x1 for label in labels]
        assert 2 < len(labels) <= 16
        # leaning by 45 degrees: a line of text is sin 45 of the step away from the next
        assert np.diff(places).min() * np.sin(np.pi / 4) > labels[0].get_fontsize() * figure.dpi / 72
    short = charts.curves(table.assign(k=range(count)), x="k", y="y", by="by")
    assert apart(boxes(short, short.axes[0].get_xticklabels()))


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


def drawn(figure) -> str:
    """All that a figure says; a warning of matplotlib is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
        figure.savefig(io.BytesIO())
    return " ".join(text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text")))


def test_heatmap_of_one_value_of_infinity_and_of_nothing():
    figure = charts.heatmap(pd.DataFrame([[2.0, 2.0]], columns=["a", "b"]))
    assert figure.axes[0].images[0].get_clim() == (1.0, 3.0), "in the middle of the colours"
    drawn(figure)
    mixed = charts.heatmap(pd.DataFrame([[1.0, np.inf], [np.nan, 3.0]], columns=["a", "b"]))
    assert "inf" in drawn(mixed)
    assert mixed.axes[0].images[0].get_clim() == (1.0, 3.0)
    with pytest.raises(ParameterError, match="2 cells without a number"):
        charts.heatmap(pd.DataFrame([[np.nan, np.nan]]))
    with pytest.raises(ParameterError, match="a table with text"):
        charts.heatmap(pd.DataFrame({"a": ["x"]}))


def test_curves_say_what_is_missing_and_keep_zeros_on_a_logarithmic_axis():
    table = pd.DataFrame({"k": [1, 2, 4, 8], "y": [0.0, 1.0, np.nan, np.inf], "by": ["a", "a", None, "a"]})
    figure = charts.curves(table, x="k", y="y", by="by", log="y")
    assert figure.axes[0].get_yscale() == "symlog"
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [0, 1])
    assert "2 of 4 rows without a value" in drawn(figure)
    with pytest.raises(ParameterError, match="column='y' must be a column with a finite number"):
        charts.curves(table[2:], x="k", y="y", by="by")
    with pytest.raises(ParameterError, match="column='by' must be a column of numbers"):
        charts.curves(table, x="k", y="by", by="k")
    with pytest.raises(ParameterError, match="x='by' must be a column with a value in every row; 1 have none"):
        charts.curves(table.assign(by=[1.0, 2.0, np.nan, 3.0]), x="by", y="y", by="k")


def test_intervals_of_one_seed_have_a_dot_alone_and_none_is_turned_round():
    table = pd.DataFrame({"mean": [0.4, 0.2, np.nan], "low": [0.5, np.nan, np.nan], "high": [0.7, np.nan, np.nan]})
    figure = charts.intervals(table.set_axis(["a", "one seed", "lost"]))
    (ax,) = figure.axes
    bars = [part.vertices[:, 0].tolist() for part in ax.collections[0].get_paths()]
    np.testing.assert_allclose(bars[0], [0.5, 0.7], err_msg="as it is given, although it does not hold the mean")
    assert "lost (no value)" in drawn(figure)
    with pytest.raises(ParameterError, match="row 0' must be one with low below high"):
        charts.intervals(table.assign(low=1.0, high=0.0))


def test_scatter_counts_what_it_cannot_place():
    table = pd.DataFrame({"x": [1.0, np.nan, 2.0], "y": [1.0, 2.0, np.inf], "kind": ["_a", "b", "b"]})
    text = drawn(charts.scatter(table, x="x", y="y", by="kind"))
    assert "2 of 3 rows without a value" in text and "_a" in text
