"""prototypes.adversarial: adversarial moves flip the decision."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.prototypes import adversarial_example, fit_prototypes

RNG = np.random.default_rng(0)
Y = np.repeat(["a", "b", "c"], 60)
Z = (3 * RNG.normal(size=(3, 6))[np.repeat(np.arange(3), 60)] + RNG.normal(size=(180, 6))).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return fit_prototypes(
        Z, Y, Split(np.arange(180)), keep="last", per_class=2, steps=60, feed_forward=8, device="cpu", progress=False
    )


def test_an_adversarial_example_lies_just_beyond_the_boundary(model):
    z = Z[0]
    found = adversarial_example(model, z, "b", real=Z[1:], real_labels=Y[1:])
    assert model.predict(z[None]).predictions.tolist() == ["a"]
    assert model.predict(found.z[None]).predictions.tolist() == ["b"]
    assert model.labels[model.classes[found.prototype]] == "b"
    assert found.length == pytest.approx(np.linalg.norm(found.z - z), rel=1e-4)
    assert found.relative == pytest.approx(found.length / np.linalg.norm(Z[1:] - z, axis=1).min(), rel=1e-4)
    just_before = z + 0.999 * (found.z - z)
    assert model.predict(just_before[None]).predictions.tolist() != ["b"]
    assert 0 < found.share <= 1 and 0 <= found.random_flips < 0.2 and found.towards_others > 0


def test_adversarial_targets_are_checked(model):
    with pytest.raises(ParameterError, match=r"target='d' must be 'a', 'b' or 'c'"):
        adversarial_example(model, Z[0], "d")
    with pytest.raises(ParameterError, match="target='a' must be another class than the one predicted for"):
        adversarial_example(model, Z[0], "a")
