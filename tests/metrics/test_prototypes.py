"""metrics.prototypes: numbers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.metrics import prototypes as metrics

SQUARE = np.array([[0.0, 0], [3, 4], [10, 0], [10, 2]])
CLASSES = np.array(["a", "a", "b", "b"])


def test_diversity_is_the_mean_over_classes_of_distances_within():
    assert metrics.diversity(SQUARE, CLASSES) == pytest.approx((5 + 2) / 2)


def test_diversity_leaves_out_classes_of_one_prototype():
    assert metrics.diversity(SQUARE[:3], CLASSES[:3]) == pytest.approx(5)
    assert np.isnan(metrics.diversity(SQUARE[:1], CLASSES[:1]))


def test_prototypes_that_share_a_nearest_real_vector_have_collapsed():
    z = np.array([[0.0, 0], [10, 1], [90, 90]])
    found = metrics.nearest(SQUARE, z)
    assert found.tolist() == [0, 0, 1, 1]
    assert metrics.collapsed(found) == 2
    assert metrics.collapsed([4, 5, 6]) == 0


def test_near_duplicates_by_the_threshold_of_the_published_code():
    line = np.array([[0.0], [1.0], [100.0], [200.0]])
    # mean of squares over all 16 pairs: 2 (1 + 1e4 + 4e4 + 99^2 + 199^2 + 1e4) / 16 = 13675.4, so the threshold is
    # 1 + 6837.7; nearest ones are 1, 1, 99^2 and 1e4 away
    assert metrics.near_duplicates(line, ["a", "a", "b", "b"]).tolist() == [True, False, False, False]
    assert not metrics.near_duplicates(line, ["a", "b", "a", "b"]).any()


def test_equal_prototypes_of_a_class_are_near_duplicates():
    assert metrics.near_duplicates(np.ones((2, 3)), ["a", "a"]).tolist() == [True, False]


def test_purity_counts_nearest_vectors_of_the_own_class():
    assert metrics.purity(["a", "a", "b", "b"], ["a", "b", "b"], [0, 1, 1, 2]) == 0.75
    with pytest.raises(ParameterError, match="classes.dtype='<U1' must be like y's, int64"):
        metrics.purity(["0", "1"], [0, 1], [0, 1])


def test_wrong_starts():
    assert metrics.wrong_starts([0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]) == 2
    with pytest.raises(ParameterError, match="started.dtype='<U1' must be like classes's, int64"):
        metrics.wrong_starts([0, 1], ["0", "1"])


def test_evaluate_gathers_all():
    found = metrics.evaluate(SQUARE, CLASSES, SQUARE + 0.1, CLASSES)
    assert found == pytest.approx({"diversity": 3.5, "collapsed": 0, "near_duplicates": 2, "purity": 1.0})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prototypes": np.full((4, 2), np.nan)}, r"prototypes\[0\]='nan or inf' must be finite"),
        ({"classes": CLASSES[:3]}, r"classes.shape=\(3,\) must be \(4,\), one a prototype"),
        ({"z": np.ones((4, 3))}, r"z.shape=\(4, 3\) must be \(4, 2\), a row a label"),
        ({"prototypes": np.ones(4)}, r"prototypes.shape=\(4,\) must be two-dimensional"),
    ],
)
def test_bad_input_is_named(changed, message):
    given = {"prototypes": SQUARE, "classes": CLASSES, "z": SQUARE, "y": CLASSES} | changed
    with pytest.raises(ParameterError, match=message):
        metrics.evaluate(**given)
