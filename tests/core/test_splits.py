"""Splits: what may be passed, and what is refused."""

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.core.splits import Split, fitting


def test_a_split_is_kept_as_row_numbers_in_the_order_given():
    split = Split([4, 1], np.array([False, False, True]), test=np.array([3, 0], np.uint8))
    assert [part.tolist() for part in split] == [[4, 1], [2], [3, 0]] and split.test.dtype == np.int64
    assert repr(split) == "Split(train=2, valid=1, test=2)" and fitting(split, 5) is split


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": [0.5]}, r"split.train='float64 of shape \(1,\)' must be row numbers"),
        ({"train": [[0]]}, "split.train="),
        ({"train": [0, -1]}, r"split.train=\[-1\] must be row numbers from 0"),
        ({"train": [0, 1], "test": [1]}, r"split=\{'train': \[1\], 'test': \[1\]\} must be disjoint"),
        ({"train": [0, 0]}, r"split=\{'train': \[0\]\} must be disjoint"),
        ({"train": ["a"]}, "split.train"),
    ],
)
def test_splits_that_cannot_be(parts, message):
    with pytest.raises(ParameterError, match=message):
        Split(**parts)


def test_a_split_must_fit_what_it_splits():
    split = Split([0, 1], test=[5])
    for wrong in (([0], [1], [2]), {"train": [0], "test": [1]}, None, "train"):
        with pytest.raises(ParameterError, match=r"split=.* must be a workbench.Split\(train, valid, test\)"):
            fitting(wrong, 3)
    with pytest.raises(ParameterError, match=r"split.test=\[5\] must be rows in \[0, 5\)"):
        fitting(split, 5)
    with pytest.raises(ParameterError, match=r"split.valid=\[\] must be at least one clip"):
        fitting(split, 6, needed=("train", "valid"))
