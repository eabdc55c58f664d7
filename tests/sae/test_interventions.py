"""Interventions: what is removed is what the latent wrote, and a latent that a probe reads matters more than others."""

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.sae.interventions import ablations, attributions, chosen_against_random, intervene


class Planted:
    """Codes that are known: x = z @ decoder + error, with an encoder that looks them up."""

    def __init__(self, z, decoder, x):
        self.decoder, self._z = decoder, {row.tobytes(): code for row, code in zip(x, z, strict=True)}

    def encode(self, x):
        return np.stack([self._z[row.tobytes()] for row in x])


@pytest.fixture
def planted():
    """Class c has latent c; six others are as busy and mean nothing."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    z = np.zeros((300, 9), np.float32)
    z[np.arange(300), y] = 2 + rng.random(300)
    z[:, 3:] = rng.random((300, 6)) * (rng.random((300, 6)) < 0.5) * 3
    decoder = np.eye(9, 12, dtype=np.float32)
    x = (z @ decoder + 0.1 * rng.standard_normal((300, 12))).astype(np.float32)
    weights = np.zeros((12, 3))
    weights[:3] = 3 * np.eye(3)
    return x, np.array(list("abc"))[y], Planted(z, decoder, x), weights, z


def test_intervene_moves_by_what_the_latents_wrote(planted):
    x, _, sae, _, z = planted
    np.testing.assert_allclose(x - intervene(x, sae, [1, 4]), z[:, [1, 4]] @ sae.decoder[[1, 4]], atol=1e-6)
    np.testing.assert_array_equal(intervene(x, sae, [2], factor=1.0), x)
    np.testing.assert_allclose(intervene(x, sae, [2], factor=3.0) - x, 2 * z[:, [2]] @ sae.decoder[[2]], atol=1e-5)
    with pytest.raises(ParameterError, match=r"latents=\[9\] must be whole numbers in 0 ... 8"):
        intervene(x, sae, [9])


def test_given_codes_take_the_place_of_the_autoencoders_own(planted):
    x, y, sae, weights, z = planted
    asked = {"weights": weights, "bias": np.zeros(3), "classes": "abc"}
    asked |= {"choose": np.arange(150), "test": np.arange(150, 300), "top": 1, "seed": 0}
    pd.testing.assert_frame_equal(ablations(x, y, sae, **asked), ablations(x, y, sae, z=z, **asked))
    swapped = z[:, [1, 2, 0, *range(3, 9)]]  # the latent of class c now writes in direction c - 1
    found = ablations(x, y, sae, z=swapped, **asked).xs("chosen", level="kind")
    assert found["latents"].to_dict() != {"a": [0], "b": [1], "c": [2]}
    half = chosen_against_random(x, y, sae, z=0.5 * z, factor=-1.0, **asked)  # half a latent, removed twice
    assert half == pytest.approx(chosen_against_random(x, y, sae, z=z, **asked), abs=1e-6)
    with pytest.raises(ParameterError, match=r"z\.shape"):
        ablations(x, y, sae, z=z[:9], **asked)


def test_attributions_add_up_to_what_the_code_says(planted):
    x, _, sae, weights, z = planted
    centred = weights - weights.mean(1, keepdims=True)
    np.testing.assert_allclose(
        attributions(z, sae.decoder, weights).sum(0), (z @ sae.decoder @ centred).mean(0), atol=1e-6
    )


def test_the_latent_that_the_probe_reads_matters_and_random_ones_do_not(planted):
    x, y, sae, weights, _ = planted
    table = ablations(
        x, y, sae, weights=weights, bias=np.zeros(3), classes="abc", choose=np.arange(150), test=np.arange(150, 300),
        top=1, draws=30, seed=0,
    )  # fmt: skip
    for c, name in enumerate("abc"):
        chosen, control = table.loc[(name, "chosen")], table.loc[(name, "random")]
        assert chosen["latents"] == [c]
        assert chosen["high"] < -0.3 < -0.05 < control["mean"]
        assert control["moved"] == pytest.approx(chosen["moved"], rel=0.15), "all are pushed as far, but where none is"
        assert chosen["others"] == pytest.approx(0, abs=0.01), "others do not have the latent"
    again = ablations(
        x, y, sae, weights=weights, bias=np.zeros(3), classes="abc", choose=np.arange(150), test=np.arange(150, 300),
        top=1, draws=30, seed=0,
    )  # fmt: skip
    assert table.equals(again)


def test_amplifying_goes_the_other_way(planted):
    x, y, sae, weights, _ = planted
    options = {"weights": weights / 9, "bias": np.zeros(3), "classes": "abc", "choose": np.arange(150)}
    up = ablations(x, y, sae, **options, test=np.arange(150, 300), top=1, factor=2.0)
    assert (up.xs("chosen", level="kind")["low"] > 0).all()
    with pytest.raises(ParameterError, match="top=0"):
        ablations(x, y, sae, **options, test=np.arange(150, 300), top=0)


def test_chosen_against_random_is_paired_by_clips_and_drawn_by_groups(planted):
    x, y, sae, weights, _ = planted
    options = {"weights": weights, "bias": np.zeros(3), "classes": "abc", "choose": np.arange(150), "top": 1}
    options |= {"test": np.arange(150, 300), "draws": 30}
    difference, low, high = chosen_against_random(x, y, sae, **options)
    table = ablations(x, y, sae, **options)["mean"].unstack()
    share = [(y[150:] == name).mean() for name in table.index]
    assert difference == pytest.approx(np.dot(share, table["chosen"] - table["random"]), abs=1e-9)
    assert low < difference < high < -0.25
    unread = options | {"weights": weights[::-1]}  # the probe reads directions that no latent writes: nothing changes
    nothing, low, high = chosen_against_random(x, y, sae, **unread)
    assert nothing == pytest.approx(0, abs=1e-9) and -0.03 < low < 0 < high < 0.03  # as far as 150 equal clips exclude
    alone = np.array(["g"] * 300)
    assert np.isnan(chosen_against_random(x, y, sae, **options, groups=alone)[1:]).all()
    assert ablations(x, y, sae, **options, groups=alone).xs("chosen", level="kind")["low"].isna().all()
    two = chosen_against_random(x, y, sae, **options, groups=np.arange(300) // 10)
    assert two[0] == difference and two[2] < 0
