"""How far two measurements agree: figures that are known, matching by id, and intervals that cover."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from workbench.attributes import Attributes, agreement
from workbench.core.errors import ParameterError

N = 60


def attributes(ids=None, set="voice", **columns) -> Attributes:
    names = tuple(columns)
    values = np.stack([np.asarray(column, float) for column in columns.values()], axis=1)
    ids = np.array([f"c{i}" for i in range(len(values))] if ids is None else ids)
    about = dict.fromkeys(names, "pitch")
    return Attributes(set, names, values, about, about, ids, np.arange(len(values)), {})


def test_figures_of_a_constant_difference():
    x = np.random.default_rng(0).normal(50, 5, N)
    found = agreement(attributes(pitch=x + 2, loud=x), attributes(pitch=x, tilt=x))
    assert list(found.index) == ["pitch"] and found.loc["pitch", "b"] == "pitch"
    row = found.loc["pitch"]
    assert row["n"] == N and row["rank_correlation"] == pytest.approx(1) and np.isnan([row["low"], row["high"]]).all()
    assert row["difference"] == row["difference_p5"] == pytest.approx(2) and row["difference_p95"] == pytest.approx(2)
    assert row["relative"] == pytest.approx(np.median(2 / x)) and row["only_a"] == row["only_b"] == 0


def test_figures_of_noise():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, N))
    y += x
    row = agreement(attributes(pitch=x), attributes(pitch=y)).loc["pitch"]
    assert row["rank_correlation"] == pytest.approx(spearmanr(x, y).statistic)
    assert row["difference_p5"] == pytest.approx(np.percentile(x - y, 5))
    assert row["difference_p95"] == pytest.approx(np.percentile(x - y, 95))
    assert row["low"] < row["rank_correlation"] < row["high"]


def test_clips_are_matched_by_id_and_undefined_ones_counted():
    x = np.arange(10.0)
    gone, other = x.copy(), x[::-1].copy()
    gone[:3], other[0] = np.nan, np.nan  # a lacks c0 to c2; b lacks c9
    a = attributes(pitch=gone)
    b = attributes([f"c{i}" for i in range(9, -1, -1)], pitch=other)
    row = agreement(a, b).loc["pitch"]
    assert row["n"] == 6 and row["difference"] == 0 and row["only_a"] == 0.1 and row["only_b"] == 0.3
    row = agreement(a, attributes(["c5", "c7", "new"], pitch=[5, 8, 0])).loc["pitch"]
    assert row["n"] == 2 and row["difference"] == -0.5


def test_names_may_differ():
    x = np.arange(N, dtype=float)
    found = agreement(attributes(hnr_mean=x, f0=x), attributes(set="factors", hnr=-x), names={"hnr_mean": "hnr"})
    assert found.loc["hnr_mean", "rank_correlation"] == pytest.approx(-1) and found.loc["hnr_mean", "b"] == "hnr"


def test_intervals_cover():
    """Twelve groups of five clips that share an offset in both: the truth is the rank correlation of many."""
    rng, inside = np.random.default_rng(0), 0

    def draw(count):
        shared = rng.normal(size=(2, count, 1)) @ np.ones((1, 5)) + rng.normal(size=(2, count, 5))
        return shared[0].ravel(), (shared[0] + shared[1]).ravel(), np.repeat(np.arange(count), 5)

    x, y, _ = draw(20000)
    truth = spearmanr(x, y).statistic
    for _ in range(60):
        x, y, groups = draw(12)
        row = agreement(attributes(pitch=x), attributes(pitch=y), groups=groups).loc["pitch"]
        inside += row["low"] <= truth <= row["high"]
    assert inside >= 54


def test_few_groups_and_flat_values_have_no_interval():
    x, y = np.random.default_rng(0).normal(size=(2, N))
    row = agreement(attributes(pitch=x), attributes(pitch=y), groups=np.arange(N) % 5).loc["pitch"]
    assert np.isnan(row["low"]) and np.isfinite(row["rank_correlation"])
    flat = agreement(attributes(pitch=np.ones(N)), attributes(pitch=y)).loc["pitch"]
    assert np.isnan(flat["rank_correlation"]) and np.isfinite(flat["difference"])
    none = agreement(attributes(pitch=np.full(N, np.nan)), attributes(pitch=y)).loc["pitch"]
    assert none["n"] == 0 and none["only_b"] == 1 and np.isnan(none["difference"])


def test_wrong_arguments_are_named():
    a, b = attributes(pitch=np.ones(3)), attributes(tilt=np.ones(3))
    with pytest.raises(
        ParameterError, match="names=None must be a mapping: the sets 'voice' and 'voice' share no name"
    ):
        agreement(a, b)
    with pytest.raises(ParameterError, match="names='tilts' must be one of tilt; did you mean 'tilt'"):
        agreement(a, b, names={"pitch": "tilts"})
    with pytest.raises(ParameterError, match=r"len\(groups\)=2 must be 3"):
        agreement(a, a, groups=[0, 1])
    with pytest.raises(ParameterError, match="b.ids=.* must be of clips that a has too"):
        agreement(a, attributes(["x"], pitch=[1]))
    with pytest.raises(ParameterError, match="b='dict' must be attributes"):
        agreement(a, {})
