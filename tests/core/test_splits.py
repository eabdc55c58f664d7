"""Splits: what may be passed, and what is refused."""

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.core.splits import Split, deal, fitting, frame_split


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


def test_frames_go_where_their_clip_goes():
    lengths = np.array([2, 0, 3, 1, 2])  # frames 0-1 of clip 0, 2-4 of clip 2, 5 of clip 3, 6-7 of clip 4
    split = frame_split(Split(train=[4, 0], valid=[2, 1]), lengths)
    assert [part.tolist() for part in split] == [[0, 1, 6, 7], [2, 3, 4], []]
    rng = np.random.default_rng(0)
    lengths, clips = rng.integers(0, 9, 50), Split(*np.split(rng.permutation(50)[:45], [30, 40]))
    owner = np.concatenate([np.full(n, i) for i, n in enumerate(lengths)])
    for part, frames in zip(clips, frame_split(clips, lengths), strict=True):
        assert frames.tolist() == [f for f in range(len(owner)) if owner[f] in part]
    with pytest.raises(ParameterError, match=r"split.valid=\[5\]"):
        frame_split(Split([0], [5]), [1, 1])
    with pytest.raises(ParameterError, match="lengths"):
        frame_split(Split([0]), [-1, 1])


def test_dealt_folds_keep_groups_whole_and_classes_even():
    rng = np.random.default_rng(5)
    labels, groups = np.repeat([0, 1, 2], [100, 100, 20]), rng.integers(0, 30, 220)
    fold = deal(labels, groups, [0.2] * 5, seed=0)
    assert all(len(set(fold[groups == group])) == 1 for group in range(30))
    assert np.bincount(fold).min() >= 30
    alone = deal(labels, np.arange(220), [0.2] * 5, seed=0)
    assert [np.bincount(alone[labels == c]).tolist() for c in range(3)] == [[20] * 5, [20] * 5, [4] * 5]
    assert not np.array_equal(alone, deal(labels, np.arange(220), [0.2] * 5, seed=1))


def test_no_fold_is_empty_even_where_one_group_outweighs_all():
    groups = np.repeat(["much", "a", "b", "c"], [1000, 1, 1, 1])
    for seed in range(20):
        assert sorted(set(deal(np.zeros(1003, int), groups, [0.25] * 4, seed=seed))) == [0, 1, 2, 3]


def test_seeds_deal_unequal_groups_differently_and_evenly():
    # groups of 2 to 60 clips in three classes of 60, 30 and 10 %: sorted by spread, as scikit-learn has them, all seeds
    # give one partition
    rng = np.random.default_rng(0)
    sizes = np.linspace(2, 60, 14).astype(int)
    groups, labels = np.repeat(np.arange(14), sizes), rng.choice(3, sizes.sum(), p=[0.6, 0.3, 0.1])
    dealt = [deal(labels, groups, [0.2] * 5, seed=seed) for seed in range(10)]
    partitions = {frozenset(frozenset(groups[fold == f].tolist()) for f in range(5)) for fold in dealt}
    assert len(partitions) >= 8
    for fold in dealt:
        shares = [np.bincount(fold[labels == c], minlength=5) / (labels == c).sum() for c in range(3)]
        assert np.ptp(shares[0]) < 0.2 and np.ptp(shares[1]) < 0.2 and np.ptp(shares[2]) < 0.3, shares
