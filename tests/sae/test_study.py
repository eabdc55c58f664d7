"""Studies of codes: controls of equal size, and protocols that tell a good code from a leak."""

from types import SimpleNamespace

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.probes import fit_probes
from workbench.sae import fit_saes
from workbench.sae.study import _attribute_table, attribute_study, best_attributes, code_table, codes

SPLIT = Split(train=np.arange(120), valid=np.arange(120, 160), test=np.arange(160, 240))


@pytest.fixture(scope="module")
def planted():
    """x (240, 20) of sources that are seldom active; three attributes are sources, the fourth is noise."""
    rng = np.random.default_rng(0)
    sources = np.abs(rng.standard_normal((240, 12))) * (rng.random((240, 12)) < 0.25)
    x = (sources @ rng.standard_normal((12, 20))).astype(np.float32)
    return x, sources, np.column_stack([sources[:, :3], rng.standard_normal(240)])


@pytest.fixture(scope="module")
def sweeps(planted):
    options = {"split": SPLIT, "sparsities": (0.75, 0.9), "latents": 40, "progress": False}
    layers = {"a": planted[0]}
    return {"SAE": fit_saes(layers, epochs=60, **options), "untrained": fit_saes(layers, steps=0, **options)}


def test_every_code_has_its_controls_of_equal_size(planted, sweeps):
    found = {code.name: code for code in codes(planted[0], sweeps, layer="a", train=SPLIT.train)}
    kinds = [(code.kind, code.k) for code in found.values()]
    for kind in ("SAE", "untrained", "principal components", "random projection"):
        assert kinds.count((kind, 10)) == kinds.count((kind, 3)) == 1
    assert all((code.z != 0).sum(1).max() <= code.k for code in found.values())
    y = np.where(planted[1][:, 0] > 0, "on", "off")
    probes = fit_probes({name: code.features for name, code in found.items()}, y, SPLIT)
    table = code_table(planted[0], found, probes, test=SPLIT.test).set_index(["kind", "sparsity"])
    assert table.loc[("SAE", 0.75), "fvu"] < 0.5 * table.loc[("untrained", 0.75), "fvu"]
    assert table.loc[("principal components", 0.75), "fvu"] < table.loc[("random projection", 0.75), "fvu"]
    assert (table["low"] <= table["accuracy"]).all() and (table["accuracy"] <= table["high"]).all()


def test_held_out_noise_is_not_explained_and_in_sample_noise_is(planted):
    x, _, v = planted
    rng = np.random.default_rng(1)
    wide = np.column_stack([x, rng.standard_normal((240, 300))])  # more codes than clips
    options = {"names": ["a", "b", "c", "noise"], "split": SPLIT}
    paper = _attribute_table(wide, v, protocol="paper", **options)
    honest = _attribute_table(wide, v, protocol="held out", **options)
    assert paper.loc["noise", "r2"] > 0.5, "the paper's protocol explains noise"
    assert honest.loc["noise", "r2"] < 0.05
    assert (honest.loc[["a", "b", "c"], "r2"] > 0.6).all()
    with pytest.raises(ParameterError, match="protocol='best'"):
        _attribute_table(wide, v, protocol="best", **options)
    two = Split(SPLIT.train, test=SPLIT.test)  # without a validation part
    same = [_attribute_table(x, v, protocol="paper", **options | {"split": split}) for split in (SPLIT, two)]
    assert same[0].equals(same[1])
    assert _attribute_table(x, v, **options | {"split": two}).shape == honest.shape
    with pytest.raises(ParameterError, match="split.test=.* must be at least one clip"):
        _attribute_table(x, v, **options | {"split": Split(SPLIT.train, SPLIT.valid)})


def test_sources_as_codes_are_complete_and_rotated_ones_are_not(planted):
    _, sources, v = planted
    rotated = sources @ np.linalg.qr(np.random.default_rng(2).standard_normal((12, 12)))[0]
    names = ("a", "b", "c", "noise", "undefined")
    values = np.column_stack([v, np.full(240, np.nan)])
    values[:5, 0] = np.nan
    measured = SimpleNamespace(names=names, values=values, families=dict.fromkeys(names, "family"))
    study = attribute_study({("sources", 0.5): sources, ("rotated", 0.0): rotated}, measured, split=SPLIT)
    assert set(study["attribute"]) == {"a", "b", "c", "noise"}, "what is hardly ever defined is left out"
    top = best_attributes(study, n=2)
    assert set(top["attribute"]) <= {"a", "b", "c"} and len(top) == 8
    mean = top.groupby(["kind", "protocol"])[["codes", "completeness"]].mean()
    for protocol in ("paper", "held out"):
        assert mean.loc[("sources", protocol), "codes"] < 2 < 4 < mean.loc[("rotated", protocol), "codes"]
        assert mean.loc[("sources", protocol), "completeness"] > mean.loc[("rotated", protocol), "completeness"] + 0.3
