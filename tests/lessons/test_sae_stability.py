"""What sections 2.1 and 3.2 of the notebook on sparse autoencoders compute: halves, factors, metrics, sentences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.lessons import sae_stability as real
from workbench.metrics.disentanglement import explicitness, mig, modularity, sap
from workbench.metrics.importance import mutual_information

NAN = float("nan")


def test_halves_keep_groups_whole_and_are_nearly_equal():
    groups = np.repeat(np.arange(12), np.arange(3, 15))
    split = wb.Split(np.arange(80), np.arange(80, 90), np.arange(90, len(groups)))
    a, b = real.halves(split, groups, seed=3)
    assert not set(groups[a.train]) & set(groups[b.train])
    assert sorted([*a.train, *b.train]) == list(range(80)) and abs(len(a.train) - len(b.train)) <= 13
    assert (a.valid == split.valid).all() and (b.test == split.test).all()
    one = real.halves(split, np.zeros(len(groups)), seed=3)
    assert [len(part.train) for part in one] == [40, 40]


@pytest.fixture(scope="module")
def trained():
    """Sparse vectors of two factors: the sweeps of their halves and of all, and an untrained one."""
    rng = np.random.default_rng(0)
    v = np.stack([np.arange(360) % 3, rng.integers(0, 4, 360)], 1)
    directions = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    signal = np.hstack([np.eye(3)[v[:, 0]], np.eye(4)[v[:, 1]]]) @ directions[:7]
    x = (signal * rng.uniform(0.8, 1.2, (360, 1)) + 0.02 * rng.standard_normal((360, 16))).astype(np.float32)
    groups = np.arange(360) // 6
    split = wb.Split(np.arange(200), np.arange(200, 250), np.arange(250, 360))
    same = {"sparsities": [0.75], "latents": 12, "seeds": [0, 1], "device": "cpu", "progress": False}

    def fit(part, **options):
        return wb.fit_saes({"a": x}, part, **same, **options)

    parts = real.halves(split, groups, seed=0)
    longer = {"epochs": 60, "learning_rate": 5e-3}
    sweeps = {"SAE": fit(split, **longer), "SAE, untrained": fit(split, steps=0)}
    return SimpleNamespace(
        x=x, v=v, groups=groups, split=split, parts=parts, sweeps=sweeps, halves=[fit(p, **longer) for p in parts]
    )


def test_stability_is_told_against_the_untrained_code(trained):
    t = trained
    never = t.sweeps["SAE, untrained"]
    table = real.stability_table(t.x, t.split, t.halves, never, groups=t.groups, seed=0)
    again = table.xs("direction", level="by")["found_again"]
    assert again[real.BOTH] > again[real.NEVER]
    told = real.stability_sentences(table, t.split, t.parts, t.groups)
    share = f"By direction {again[real.BOTH]:.0%} of"
    assert any(sentence.startswith(share) for sentence in told)
    assert told[-1] == f"The halves have 98 and 102 training rows; all are judged on {len(t.split.test)} test rows."
    worse = table.copy()
    worse.loc[(real.NEVER, "direction"), "found_again"] = 1.0
    assert "the control wins: 100%" in real.stability_sentences(worse, t.split, t.parts, t.groups)[1]
    worse.loc[(real.BOTH, "direction"), "found_again"] = 0.0
    assert "no latent is found again" in real.stability_sentences(worse, t.split, t.parts, t.groups)[1]
    text, share, low, high, control = real.stability_row(table)
    row = table.loc[(real.BOTH, "activity")]
    assert (share, low, high) == (row["found_again"], row["low"], row["high"]) and "by activity" in text
    bare = table.loc[(real.NEVER, "activity"), "found_again"]
    assert control == f"in an untrained code {bare:.2f}, by chance {row['chance']:.2f}"
    alone = real.stability_sentences(table, t.split, t.parts, np.zeros(360))
    assert alone[0].startswith("All training rows are of one group")


def test_fates_and_absorption_of_trained_codes(trained):
    t = trained
    large = {name: sweep.saes[0] for name, sweep in t.sweeps.items()}
    fates = real.splitting_table(t.x, t.split, t.sweeps["SAE"].saes[0], large, seed=0)
    assert fates.loc["SAE", "one"] == 1  # the code itself is its own counterpart
    assert fates.loc["shuffled", ["one", "several"]].sum() < 0.2
    assert fates[["one", "several", "none"]].sum(axis=1).to_numpy() == pytest.approx(1)
    labels = np.array(list("abc"))[t.v[:, 0]]
    weights = np.linalg.lstsq(t.x[t.split.train], np.eye(3)[t.v[t.split.train, 0]], rcond=None)[0]
    table = real.absorption_table(t.x, labels, t.split, large, weights, ["a", "b", "c", "d"])
    assert table.loc["SAE"].index.tolist() == ["a", "b", "c"]  # no clip is of class d
    told = real.splitting_sentences(fates, table)
    assert told[0].startswith("Of 12 latents") or "latents of the small autoencoder 100% are one" in told[0]
    bare = fates.copy()
    bare.loc["SAE, untrained", "one"] = 1.0
    assert "this is no finding" in real.splitting_sentences(bare, table)[0]
    kept = real.stability_results(
        real.stability_table(t.x, t.split, t.halves, t.sweeps["SAE, untrained"], groups=t.groups), fates, table
    )
    assert len(kept["latents_found_again"]) == 8
    share = np.average(table.loc["SAE", "absorbed"], weights=table.loc["SAE", "rows"])
    assert kept["latents_absorbed"]["SAE"] == pytest.approx(share)


def test_metrics_are_those_of_the_room_on_held_out_rows(trained):
    t = trained
    factors = pd.DataFrame(t.v, columns=["label", "other"])
    study = real.disentanglement_study(t.x, factors, t.sweeps, t.split, layer="a", draws=3)
    rows = study[study["kind"] == "embedding"].set_index("metric")
    x, v, train, test = t.x.astype(float), t.v, t.split.train, t.split.test
    assert rows.loc["mig", "value"] == pytest.approx(mig(x[test], v[test], discrete=True).overall)
    informed = mutual_information(x[test], v[test], discrete=True)
    assert rows.loc["modularity", "value"] == pytest.approx(modularity(informed).overall)
    assert rows.loc["explicitness", "value"] == pytest.approx(explicitness(x, v, split=(train, test)).overall)
    classes = np.hstack([np.eye(3)[v[test, 0]], np.eye(4)[v[test, 1]]])
    assert rows.loc["sap", "value"] == pytest.approx(sap(x[test], classes, discrete=False).overall)
    assert (study["above"] - (study["value"] - study["chance"])).abs().max() < 1e-12
    assert set(study["kind"]) == {"embedding", "SAE", "SAE, untrained", "principal components"}
    told = real.measures_sentences(study, sparsity=0.75)
    assert real.measures_sentences(study, sparsity=0.74) == told  # of few latents a share is not met exactly
    assert len(told) == 5 and "pairs of metrics" in told[3]
    assert len(list(real.measures_figures(study, title="t", factors=list(factors), rows=len(test)))) == 2
    assert real.measures_results(study)["embedding, 0"]["mig"] == pytest.approx(rows.loc["mig", "above"])
    table = real.measures_table(study)
    assert table.loc[("embedding", 0.0), ("MIG", "value")] == pytest.approx(rows.loc["mig", "value"])


def test_a_code_that_is_its_factors_gets_the_best_of_every_metric_and_shuffled_factors_do_not():
    v = np.stack([np.arange(240) % 2, np.arange(240) // 2 % 2], 1)
    v = v[np.random.default_rng(1).permutation(240)]
    train, test = np.arange(120), np.arange(120, 240)
    found = real._measures(v.astype(float), v, train, test, explicit=True)
    assert found["explicitness"] == 1 and found["mig"] > 0.95 and found["sap"] > 0.95
    assert found["modularity"] > 0.95 and found["disentanglement"] > 0.95 and found["completeness"] > 0.95
    shuffled = v.copy()
    shuffled[test] = v[np.random.default_rng(2).permutation(test)]
    luck = real._measures(v.astype(float), shuffled, train, test, explicit=False)
    assert luck["mig"] < 0.1 and luck["sap"] < 0.1 and luck["explicitness"] == 0.5


def test_a_code_that_never_changes_has_no_metric_and_no_factor_gives_no_rows(trained):
    v = np.stack([np.arange(20) % 2] * 2, 1)
    constant = real._measures(np.ones((20, 3)), v, np.arange(10), np.arange(10, 20), explicit=True)
    assert all(np.isnan(value) for value in constant.values())
    nothing = real.disentanglement_study(trained.x, pd.DataFrame(index=range(360)), {}, trained.split, layer="a")
    assert nothing.empty and list(real.measures_figures(nothing, title="t", factors=[], rows=9)) == []
    assert real.measures_table(nothing).empty and real.measures_results(nothing) == {}
    assert "none is measured" in real.measures_sentences(nothing, sparsity=0.75)[0]


def test_factors_are_classes_that_vary_everywhere_and_follow_from_no_other():
    n = 120
    table = pd.DataFrame({"label": list("abc") * 40, "vowel": ["u", "v"] * 60, "again": list("xyz") * 40})
    table["pitch"], table["gap"], table["one"] = np.linspace(1, 2, n)[np.random.default_rng(0).permutation(n)], NAN, 1
    table["id"] = [f"c{i}" for i in range(n)]
    names = ("vowel", "again", "pitch", "gap", "one", "id")
    clips = SimpleNamespace(labels=table["label"].to_numpy(), factors=names, table=table)
    clips = type("Set", (), {"__len__": lambda self: n, **vars(clips)})()
    split = wb.Split(np.arange(60), np.arange(60, 80), np.arange(80, n))
    found = real.known_factors(clips, None, split)
    assert list(found) == ["label", "vowel", "pitch"]  # "again" is the label; every id of test is new
    assert found.nunique().tolist() == [3, 2, 4]
    quarters = np.bincount(found["pitch"].to_numpy()[split.train])
    assert quarters.tolist() == [15, 15, 15, 15]
    bare = type("Set", (), {"__len__": lambda self: n, "labels": clips.labels, "factors": ()})()
    measured = SimpleNamespace(values=table[["pitch"]].to_numpy(), names=["f0"])
    assert list(real.known_factors(bare, measured, split)) == ["label", "f0"]
