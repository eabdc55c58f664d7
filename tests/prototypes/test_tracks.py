"""prototypes.tracks: logits of segments become decisions of tracks, or one error."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.prototypes.tracks import columns, decide, vectors


def test_a_track_is_decided_by_the_mean_of_its_logits():
    decided = decide([[3.0, 0], [0, 1], [0, 1], [5, 0]], ["a", "b"], [9, 9, 4, 4])
    assert decided.tracks.tolist() == [4, 9]
    assert decided.logits.tolist() == [[2.5, 0.5], [1.5, 0.5]]
    assert decide([[0, 1]], ["a", "b"]).predictions.tolist() == ["b"]


def test_balanced_accuracy_counts_classes_alike():
    decided = decide([[1, 0]] * 4, ["a", "b"])
    assert decided.score(["a", "a", "a", "b"], range(4)) == {"accuracy": 0.75, "balanced_accuracy": 0.5}


def test_labels_become_columns():
    assert columns(["b", "a"], np.array(["a", "b"]), 2).tolist() == [1, 0]
    with pytest.raises(ParameterError, match=r"y=\['c'\] must be classes that are in train too"):
        columns(["c"], np.array(["a", "b"]), 1)
    with pytest.raises(ParameterError, match=r"z\[1\]='nan or inf' must be finite"):
        vectors([[1.0], [np.inf]])


def test_decide_refuses_tracks_that_do_not_fit():
    decided = decide(np.eye(2), ["a", "b"], ["t", "u"])
    assert decided.predictions.tolist() == ["a", "b"]
    assert decided.score(["a", "a"], ["t", "u"]) == {"accuracy": 0.5, "balanced_accuracy": 0.5}
    with pytest.raises(ParameterError, match=r"tracks\[2\]='t' must be a track of one label"):
        decided.score(["a", "a", "b"], ["t", "u", "t"])
    with pytest.raises(ParameterError, match="must be the 2 that were decided"):
        decided.score(["a"], ["t"])
    with pytest.raises(ParameterError, match=r"tracks.shape=\(1,\) must be \(2,\), one a segment"):
        decide(np.eye(2), ["a", "b"], ["t"])
