"""Plots: what is drawn has the numbers it was given; strange labels and wrong input."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.views import confusion_matrix, layer_curve, layer_heatmap, spectrogram
from workbench.views.figures import dress, new_figure


def result(values, **more):
    accuracy = np.stack([np.array(values) - 0.01, np.array(values) + 0.01], axis=1)
    interval = np.stack([np.array(values) - 0.05, np.array(values) + 0.05], axis=1)
    names = [f"layer.{k}" for k in range(len(values))]
    fields = {"names": names, "accuracy": accuracy, "interval": interval, "chance": 0.1, "majority": 0.2} | more
    return SimpleNamespace(**fields)


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_layer_curve_draws_mean_band_and_levels():
    figure = layer_curve({"net": result([0.3, 0.8, 0.5])}, reference={"paper": [0.2, 0.6, 0.4]})
    ax = figure.axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["net\n  best layer.1, 80.0%"].get_ydata(), [30, 80, 50])
    np.testing.assert_allclose(lines["paper"].get_ydata(), [20, 60, 40])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(25) and band.max() == pytest.approx(85)
    assert {"chance, 10.0%", "majority, 20.0%"} <= set(legend(figure))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["layer.0", "layer.1", "layer.2"]


def test_the_circle_is_where_validation_chose_not_where_test_is_best():
    figure = layer_curve({"net": result([0.3, 0.8, 0.5], best_layer="layer.2")})
    assert "net\n  validation picks layer.2, 50.0%" in legend(figure)
    circle = next(line for line in figure.axes[0].lines if line.get_markersize() == 12)
    assert (list(circle.get_xdata()), list(circle.get_ydata())) == ([2], [pytest.approx(50)])


def test_control_with_one_layer_is_a_level_line():
    figure = layer_curve(result([0.3, 0.8]), controls={"log-mel": result([0.45])})
    assert "log-mel, 45.0%" in legend(figure)
    line = next(line for line in figure.axes[0].lines if line.get_label() == "log-mel, 45.0%")
    assert list(line.get_ydata()) == [45, 45]


def test_networks_of_different_depth():
    both = {"a": result([0.1, 0.2, 0.3]), "b": result([0.4, 0.5], names=["x", "y"])}
    assert [t.get_text() for t in layer_curve(both).axes[0].get_xticklabels()] == ["0", "1", "2"]
    line = layer_curve(both, x="depth").axes[0].lines[2]
    assert list(line.get_xdata()) == [0, 1]


def test_layer_curve_refuses():
    with pytest.raises(ParameterError, match="accuracy=.*one number in \\[0, 1\\]"):
        layer_curve(result([30.0, 80.0]))
    with pytest.raises(ParameterError, match="reference\\['p'\\]"):
        layer_curve(result([0.3]), reference={"p": [45.0]})
    with pytest.raises(ParameterError, match="x='time'"):
        layer_curve(result([0.3]), x="time")
    with pytest.raises(ParameterError, match="probes={}"):
        layer_curve({})


def test_heatmap_is_zero_at_the_majority_and_boxes_the_best():
    figure = layer_heatmap({"pitch": result([0.2, 0.6, 1.0]), "vowel": result([0.4, 0.1, 0.2])})
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0, 0.5, 1], [0.25, 0, 0]], atol=1e-9)
    assert [round(patch.get_x() + 0.5) for patch in ax.patches] == [2, 0]
    with pytest.raises(ParameterError, match="same layers"):
        layer_heatmap({"a": result([0.2]), "b": result([0.2, 0.3])})


def test_confusion_matrix_shows_shares_and_counts():
    figure = confusion_matrix([[3, 1], [0, 0]], ["cat", "dog"])
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), [[75, 25], [0, 0]])
    assert [t.get_text() for t in ax.texts] == ["3", "1"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["cat (4)", "dog (0)"]


def test_confusion_matrix_refuses():
    with pytest.raises(ParameterError, match=r"shape \(2, 3\)"):
        confusion_matrix(np.zeros((2, 3)), ["a", "b"])
    with pytest.raises(ParameterError, match="classes='1 names'"):
        confusion_matrix(np.zeros((2, 2)), ["a"])
    with pytest.raises(ParameterError, match="negative, NaN or infinite"):
        confusion_matrix([[1, -1], [0, 1]], ["a", "b"])


def test_a_title_longer_than_its_figure_is_wide_takes_more_lines():
    figure = new_figure(4.0, 3.0)
    dress(figure.subplots(), title="Dictionary of 24 components learnt from many recordings of one kind\nsecond")
    figure.draw_without_rendering()
    box = figure.get_suptitle() and figure._suptitle.get_window_extent()
    assert box.x1 <= figure.bbox.x1 and figure.get_suptitle().endswith("kind\nsecond")


def test_dollars_in_labels_are_text():
    names = [r"$\frac", "a_b^{"]
    for figure in (
        confusion_matrix(np.eye(2), names, title=names[0]),
        layer_curve({names[0]: result([0.3, 0.4], names=names)}, title=names[0]),
        spectrogram(np.zeros(50), 8000, title=names[0]),
    ):
        assert figure._repr_png_()[0][:4] == b"\x89PNG"


def test_names_that_are_no_utf8_are_drawn():
    figure = confusion_matrix(np.eye(2), ["caf\udce9", "b"])
    assert figure._repr_png_()[0][:4] == b"\x89PNG"
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["caf?", "b"]


def test_figures_leave_no_trace_in_pyplot():
    import matplotlib.pyplot as plt

    figure = confusion_matrix(np.eye(2), ["a", "b"])
    assert plt.get_fignums() == []
    data, size = figure._repr_png_()
    assert size["width"] == round(figure.get_figwidth() * 80) and len(data) > 1000


def test_layers_without_a_value_are_said_not_chosen():
    names, interval = ("a", "b", "c"), np.array([[0.1, 0.9]] * 3)
    one = SimpleNamespace(names=names, accuracy=np.array([[0.5], [np.nan], [0.7]]), chance=np.nan, majority=0.2)
    one.interval = interval
    figure = layer_curve({"_x": one})
    text = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert "_x" in text and "best c, 70.0%" in text and "1 layers without a value" in text and "nan" not in text
    perfect = SimpleNamespace(names=names, accuracy=one.accuracy, majority=1.0)
    (ax, _) = layer_heatmap({"x": one, "all of one class": perfect}).axes
    assert [text.get_text() for text in ax.texts] == ["0.37", "–", "0.62", "–", "–", "–"]
    assert len(ax.patches) == 1
    with pytest.raises(ParameterError, match="results without a number"):
        layer_heatmap({"x": perfect})


def read(values, target="tempo", **more):
    """Regression probes of one number, or of several (L, A)."""
    r2 = np.array(values, float)
    r2 = r2[:, None] if r2.ndim == 1 else r2
    targets = (target,) if isinstance(target, str) else tuple(target)
    names, interval = [f"{k}" for k in range(len(r2))], np.stack([r2 - 0.1, r2 + 0.1], -1)
    fields = {"names": names, "targets": targets, "r2": r2, "interval": interval, "guess": np.full(len(targets), -0.02)}
    return Numbers(**fields | more)


class Numbers(SimpleNamespace):
    def __getitem__(self, target):
        return read(self.r2[:, self.targets.index(target)], target)


def test_a_number_has_a_curve_of_r2():
    figure = layer_curve({"net": read([-0.3, 0.8, 0.5])}, controls={"log-mel": read([0.45])})
    ax = figure.axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["net\n  best 1, R² 0.80"].get_ydata(), [-0.3, 0.8, 0.5])
    assert {"log-mel, R² 0.45", "always the training mean"} <= set(legend(figure))
    assert ax.get_ylabel() == "R² of tempo" and ax.get_ylim()[0] < -0.3 and ax.get_ylim()[1] < 1.1
    with pytest.raises(ParameterError, match="of one number"):
        layer_curve(read([[0.1, 0.2], [0.3, 0.4]], ["a", "b"]))
    with pytest.raises(ParameterError, match="controls"):
        layer_curve(read([0.1, 0.2]), controls={"classes": result([0.3])})


def test_heatmap_shows_numbers_beside_classes_and_controls_on_the_right():
    numbers = read([[0.1, 0.9], [0.7, 0.2]], ["tempo", "pitch"])
    probes = {"who": result([0.6, 0.2], names=["0", "1"]), "numbers": numbers}
    controls = {
        "untrained": {"who": result([0.2, 0.4]), "numbers": read([[0.05, 0.1], [0.0, 0.3]], ["tempo", "pitch"])}
    }
    ax = layer_heatmap(probes, controls=controls).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["who", "tempo", "pitch"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "1", "untrained"]
    drawn = np.ma.filled(ax.images[0].get_array().astype(float), np.nan)
    np.testing.assert_allclose(drawn[:, [0, 1, 3]], [[0.5, 0, 0.25], [0.1, 0.7, 0.05], [0.9, 0.2, 0.3]], atol=1e-12)
    boxes = [(round(box.get_x() + 0.48), round(box.get_y() + 0.46)) for box in ax.patches]
    assert boxes == [(0, 0), (1, 1), (0, 2)]
    with pytest.raises(ParameterError, match="without who"):
        layer_heatmap(probes, controls={"untrained": numbers})
