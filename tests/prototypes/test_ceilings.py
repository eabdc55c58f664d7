"""prototypes.ceilings: sizes of the paper, and rules that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.prototypes.ceilings import (
    ceiling_network,
    fit_ceiling,
    nearest_centroid,
    nearest_neighbours,
    untrained_prototypes,
)

Z = np.array([[0.0, 0], [0, 2], [10, 0], [10, 2], [10, 4]])
Y = np.array(["a", "a", "b", "b", "b"])


@pytest.mark.parametrize(("dim", "classes", "size"), [(768, 10, 99_722), (2304, 10, 296_330)])
def test_parameters_of_the_paper(dim, classes, size):
    assert sum(p.numel() for p in ceiling_network(dim, classes).parameters()) == size


def test_nearest_centroid():
    assert nearest_centroid(Z, Y, [[0, 1], [10, 1]]).tolist() == [[0, -101], [-100, -1]]


def test_nearest_neighbours():
    assert nearest_neighbours(Z, Y, [[0, 1]], neighbours=3).round(3).tolist() == [[0.667, 0.333]]
    with pytest.raises(ParameterError, match="neighbours=6 must be from 1 to 5"):
        nearest_neighbours(Z, Y, Z, neighbours=6)


def test_untrained_prototypes_decide_by_the_nearest_centroid_of_a_class():
    logits = untrained_prototypes(Z, Y, [[0, 0], [10, 4]], per_class=2)
    assert logits[0].round(4).tolist() == [0, -100 if logits[0, 1] > -101 else -101]
    assert logits.argmax(1).tolist() == [0, 1]
    with pytest.raises(ParameterError, match="per_class=3 must be at most 2: class a has 2 segments"):
        untrained_prototypes(Z, Y, Z, per_class=3)


def test_the_ceiling_learns_what_no_line_separates_and_keeps_its_best_step():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(600, 2)).astype(np.float32)
    y = (z[:, 0] * z[:, 1] > 0).astype(int)
    options = {"validation": (z[400:500], y[400:500]), "steps": 600, "device": "cpu", "progress": False}
    ceiling = fit_ceiling(z[:400], y[:400], **options)
    tracks = np.arange(100)
    assert ceiling.predict(z[500:], tracks).score(y[500:], tracks)["accuracy"] > 0.9
    assert ceiling.step == ceiling.history.loc[ceiling.history["valid_loss"].idxmin(), "step"]
    again = fit_ceiling(z[:400], y[:400], **options)
    assert np.array_equal(again.logits(z), ceiling.logits(z))
    with torch.no_grad():
        np.testing.assert_allclose(ceiling.network(torch.from_numpy(z)).numpy(), ceiling.logits(z))


def test_bad_input_is_named():
    with pytest.raises(ParameterError, match=r"validation y=\['c'\] must be classes that have training segments"):
        fit_ceiling(Z, Y, validation=(Z[:1], ["c"]), progress=False)
    with pytest.raises(ParameterError, match=r"test.shape=\(1, 3\) must be \(N, 2\), as z"):
        nearest_centroid(Z, Y, [[1, 2, 3]])
