"""Studies of codes: controls of equal size, and protocols that tell a good code from a leak."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.probes import fit_probes
from workbench.sae import fit_saes, study
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
    table = code_table(planted[0], found, probes, split=SPLIT).set_index(["kind", "sparsity"])
    assert table.loc[("SAE", 0.75), "fvu"] < 0.5 * table.loc[("untrained", 0.75), "fvu"]
    assert table.loc[("principal components", 0.75), "fvu"] < table.loc[("random projection", 0.75), "fvu"]
    code = next(code for code in found.values() if code.kind == "SAE" and code.k == 10)
    lost = ((planted[0] - code.x_hat)[:120] ** 2).sum() / ((planted[0] - planted[0][:120].mean(0))[:120] ** 2).sum()
    assert table.loc[("SAE", 0.75), "fvu_train"] == pytest.approx(lost, rel=1e-4)
    assert table.loc[("SAE", 0.75), "fvu_train"] < table.loc[("SAE", 0.75), "fvu"]
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


def test_attributes_are_chosen_on_validation_and_are_the_same_for_all_codes():
    rng, names = np.random.default_rng(4), [f"noise {k}" for k in range(60)]
    small = Split(np.arange(40), np.arange(40, 60), np.arange(60, 80))
    measured = SimpleNamespace(names=names, values=rng.standard_normal((80, 60)), families=dict.fromkeys(names, "n"))
    codes = {(kind, 0.5): rng.standard_normal((80, 8)) for kind in "ab"}
    study = attribute_study(codes, measured, split=small, protocols=("held out",))
    best_on_test = study.sort_values("r2").groupby("kind").tail(10)["r2"].mean()
    top = best_attributes(study, n=10)
    assert best_on_test > 0.03, "the best of sixty on test look good although all is noise"
    assert top["r2"].mean() < 0 < top["r2_valid"].mean(), "chosen on validation they are worth nothing on test"
    lists = top.groupby("kind")["attribute"].agg(list)
    assert lists["a"] == lists["b"] and len(lists["a"]) == 10
    expected = study.groupby("attribute")["r2_valid"].mean().nlargest(10)
    assert set(lists["a"]) == set(expected.index)


def test_validation_is_a_fit_on_train_alone(planted):
    """R² on valid is that of a lasso on train: the test clips may hold anything."""
    x, _, v = planted
    options = {"names": ["a", "b", "c", "noise"], "split": SPLIT}
    plain = _attribute_table(x, v, **options)
    spoilt = v.copy()
    spoilt[SPLIT.test] = np.random.default_rng(4).standard_normal((80, 4)) * 50
    other = _attribute_table(x, spoilt, **options)
    np.testing.assert_allclose(plain["r2_valid"], other["r2_valid"], atol=1e-6)
    assert (plain["r2"] - other["r2"])[:3].min() > 0.5
    assert (plain.loc[["a", "b", "c"], "r2_valid"] > 0.5).all() and plain.loc["noise", "r2_valid"] < 0.1


def test_best_attributes_without_validation_or_with_gaps(planted):
    x, _, v = planted
    names = ("a", "b", "c", "noise")
    measured = SimpleNamespace(names=names, values=v, families=dict.fromkeys(names, "family"))
    two = Split(SPLIT.train, test=np.arange(160, 240))
    study = attribute_study({("x", 0.0): x, ("y", 0.5): x[:, :4]}, measured, split=two)
    assert study["r2_valid"].isna().all()
    assert len(best_attributes(study[study["protocol"] == "held out"], n=2)) == 8, "nothing to choose on: all of them"
    one_group = np.where(np.arange(240) < 120, "g", np.arange(240).astype(str))  # nothing to deal inner folds from
    study = attribute_study({("x", 0.0): x}, measured, split=SPLIT, groups=one_group, protocols=("held out",))
    assert study["r2_valid"].isna().all() and study["r2"].notna().all()
    study = attribute_study({("x", 0.0): x, ("y", 0.5): x[:, :4]}, measured, split=SPLIT)
    paper = best_attributes(study, n=1).query("protocol == 'paper'")
    assert (
        len(paper) == 2 and (paper["r2"] == study.query("protocol == 'paper'").groupby("kind")["r2"].max().values).all()
    )
    first = best_attributes(study, n=1).query("protocol == 'held out'")["attribute"].iloc[0]
    study.loc[(study["attribute"] == first) & (study["kind"] == "y"), "r2"] = np.nan
    left = best_attributes(study, n=10).query("protocol == 'held out'")
    assert set(left["attribute"]) == set(names) - {first}, "what one code lacks is compared for none; fewer than n"


def test_what_does_not_vary_in_a_part_is_left_out(planted):
    x, _, v = planted
    values = v.copy()
    values[SPLIT.test, 1] = np.nan
    values[SPLIT.valid, 2] = 7
    measured = SimpleNamespace(names=list("abcd"), values=values, families=dict.fromkeys("abcd", "family"))
    assert set(attribute_study({("x", 0.0): x}, measured, split=SPLIT)["attribute"]) == set("ad")
    measured.values = np.full((240, 4), 7.0)
    nothing = attribute_study({("x", 0.0): x}, measured, split=SPLIT)
    assert nothing.empty and best_attributes(nothing).empty


@pytest.fixture(scope="module")
def framed(planted, sweeps):
    """240 frames of 60 clips, their split, and every code of them."""
    lengths = np.random.default_rng(2).multinomial(180, np.ones(60) / 60) + 1
    split = Split(train=np.arange(0, 60, 2), valid=np.arange(1, 60, 4), test=np.arange(3, 60, 4))
    found = codes(planted[0], sweeps, layer="a", train=split.train, lengths=lengths)
    return lengths, split, {code.name: code for code in found}


def test_the_code_of_a_clip_is_the_mean_of_its_frames_codes(planted, sweeps, framed, monkeypatch):
    x, (lengths, split, found) = planted[0], framed
    of = np.repeat(np.arange(60), lengths)
    train = np.isin(of, split.train)
    centre = x[train].mean(0)
    axes = np.linalg.svd(x[train] - centre, full_matrices=False)[2]
    y = np.where(np.arange(60) % 3 == 0, "a", "b")
    probes = fit_probes({name: code.features for name, code in found.items()}, y, split)
    table = code_table(x, found, probes, split=split, lengths=lengths).set_index(["kind", "k"])
    for (kind, k), z in {
        **{("SAE", k): sweeps["SAE"].encode(x, k=k) for k in (10, 3)},
        **{("principal components", k): (x - centre) @ axes[:k].T for k in (10, 3)},
    }.items():
        sparse = kind == "SAE"
        x_hat = sweeps["SAE"].sae(k=k).decode(z) if sparse else z @ axes[:k] + centre
        code = next(code for code in found.values() if (code.kind, code.k) == (kind, k))
        means = np.stack([z[of == i].mean(0) for i in range(60)])
        np.testing.assert_allclose(code.z if sparse else np.abs(code.z), means if sparse else np.abs(means), atol=1e-4)
        np.testing.assert_allclose(code.x_hat, [x_hat[of == i].mean(0) for i in range(60)], atol=1e-4)
        for column, clips in (("fvu_train", split.train), ("fvu", split.test)):
            rows = np.isin(of, clips)
            lost = np.square(x - x_hat)[rows].sum() / np.square(x[rows] - x[rows].mean(0)).sum()
            assert table.loc[(kind, k), column] == pytest.approx(lost, rel=1e-4)
    monkeypatch.setattr(study, "FRAMES", 7)  # chunks that begin and end inside clips
    again = codes(x, sweeps, layer="a", train=split.train, lengths=lengths)
    for code in again:
        np.testing.assert_allclose(code.z, found[code.name].z, atol=1e-5)
        np.testing.assert_allclose(code.errors, found[code.name].errors, rtol=1e-4)
    chunked = code_table(x, found, probes, split=split, lengths=lengths).set_index(["kind", "k"])
    np.testing.assert_allclose(chunked["fvu"], table["fvu"], rtol=1e-6)


def test_clips_of_one_frame_have_the_codes_of_vectors(planted, sweeps):
    options = {"layer": "a", "train": SPLIT.train}
    plain = {code.name: code for code in codes(planted[0], sweeps, **options)}
    of_frames = {code.name: code for code in codes(planted[0], sweeps, **options, lengths=np.ones(240, int))}
    assert plain.keys() == of_frames.keys()
    y = np.where(planted[1][:, 0] > 0, "on", "off")
    probes = fit_probes({name: code.features for name, code in plain.items()}, y, SPLIT)
    tables = [
        code_table(planted[0], plain, probes, split=SPLIT),
        code_table(planted[0], of_frames, probes, split=SPLIT, lengths=np.ones(240, int)),
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)
    for name, code in plain.items():
        if not code.linear:
            np.testing.assert_allclose(code.z, of_frames[name].z, atol=1e-5)


def test_codes_of_frames_and_of_clips_are_not_mixed_up(planted, sweeps, framed):
    x, (lengths, split, found) = planted[0], framed
    y = np.where(np.arange(60) % 3 == 0, "a", "b")
    probes = fit_probes({name: code.features for name, code in found.items()}, y, split)
    with pytest.raises(ParameterError, match="clips and dimensions"):
        code_table(x, found, probes, split=SPLIT)
    with pytest.raises(ParameterError, match="without lengths"):
        code_table(x[:60], found, probes, split=split)
    with pytest.raises(ParameterError, match="sum to"):
        list(codes(x, sweeps, layer="a", train=split.train, lengths=lengths[:-1]))
