"""prototypes.prototype_studies: tables go on where they stopped; adversarial moves flip the decision."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.prototypes import prototype_studies
from workbench.prototypes.comparing import paired_differences
from workbench.prototypes.learnt import LearntConfig, fit_prototypes
from workbench.prototypes.prototype_studies import (
    ABLATIONS,
    ablation,
    accuracy_against_k,
    adversarial_example,
    compare_ceilings,
    compare_prototypes,
    order_study,
)

RNG = np.random.default_rng(0)
Y = np.repeat(["a", "b", "c"], 60)
Z = (3 * RNG.normal(size=(3, 6))[np.repeat(np.arange(3), 60)] + RNG.normal(size=(180, 6))).astype(np.float32)
ROWS = RNG.permutation(180)
SPLITS = [(ROWS[:100], ROWS[100:140], ROWS[140:]), (ROWS[80:], ROWS[40:80], ROWS[:40])]
CONFIG = LearntConfig(steps=60, feed_forward=8, check_every=20)
OPTIONS = {"config": CONFIG, "device": "cpu", "progress": False}


def test_a_study_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    calls, real = [], prototype_studies.fit_prototypes

    def counting(*given, **options):
        calls.append(options["config"].per_class)
        return real(*given, **options)

    monkeypatch.setattr(prototype_studies, "fit_prototypes", counting)
    first = accuracy_against_k(Z, Y, None, SPLITS, ks=(1, 2), seeds=(0,), resume=tmp_path, **OPTIONS)
    assert calls == [1, 1, 2, 2]
    table = accuracy_against_k(Z, Y, None, SPLITS, ks=(1, 2), seeds=(0, 1), resume=tmp_path, **OPTIONS)
    assert calls[4:] == [1, 1, 2, 2] and len(table) == 8
    again = table[table["seed"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, first)
    assert table["per_class"].tolist() == table["model"].tolist()
    assert table[table["model"] == 2]["accuracy"].min() > 0.9
    assert table[table["model"] == 1]["diversity"].isna().all() and (table[table["model"] == 2]["diversity"] > 0).all()


def test_without_a_folder_nothing_is_kept_and_numbers_are_the_same(tmp_path):
    given = {"models": {"NA": {"adaptor": "none"}}, "seeds": (3,), **OPTIONS}
    kept = compare_prototypes(Z, Y, None, SPLITS[:1], resume=tmp_path, **given)
    free = compare_prototypes(Z, Y, None, SPLITS[:1], **given)
    pd.testing.assert_frame_equal(kept.drop(columns="seconds"), free.drop(columns="seconds"))


def test_pairs_of_models_can_be_compared():
    table = order_study(Z, Y, None, SPLITS, ks=(2,), seeds=(0,), **OPTIONS)
    assert table["model"].unique().tolist() == ["class-major 2", "paper_code 2"]
    pairs = paired_differences(table.rename(columns={"model": "loss"}), "class-major 2", metric="diversity")
    assert pairs.index.tolist() == ["paper_code 2"] and pairs["pairs"].item() == 2


def test_each_ablation_changes_a_field_that_there_is():
    table = ablation(Z, Y, None, SPLITS[:1], seeds=(0,), **OPTIONS)
    assert table["model"].tolist() == list(ABLATIONS)
    configs = [LearntConfig(**fields) for fields in ABLATIONS.values()]
    assert len(set(configs)) == len(configs)


def test_ceilings_on_the_same_splits():
    table = compare_ceilings(Z, Y, None, SPLITS, per_class=2, steps=150, seeds=(0, 1), device="cpu", progress=False)
    counts = table.groupby("model").size().to_dict()
    assert counts == {
        "MLP": 4,
        "untrained prototypes": 4,
        "linear probe": 2,
        "nearest neighbours": 2,
        "nearest centroid": 2,
    }
    assert table["accuracy"].min() > 0.9


def test_tracks_are_decided_as_one():
    tracks = np.array([f"{label}{i % 60 // 2}" for i, label in enumerate(Y)])
    names = np.unique(tracks)
    order = np.random.default_rng(0).permutation(len(names))
    parts = [np.flatnonzero(np.isin(tracks, names[some])) for some in np.split(order, [45, 65])]
    noisy = Z + np.random.default_rng(1).normal(size=Z.shape).astype(np.float32) * 2.5
    given = {"models": {"": {}}, "seeds": (0,), **OPTIONS}
    segments = compare_prototypes(noisy, Y, None, [tuple(parts)], **given)["accuracy"].item()
    assert compare_prototypes(noisy, Y, tracks, [tuple(parts)], **given)["accuracy"].item() > segments


def test_nothing_to_compare_is_an_error():
    with pytest.raises(ParameterError, match=r"seeds=\(\) must be at least one"):
        compare_prototypes(Z, Y, None, SPLITS, models={"": {}}, seeds=(), **OPTIONS)


@pytest.fixture(scope="module")
def model():
    return fit_prototypes(Z, Y, config=CONFIG, keep="last", per_class=2, device="cpu", progress=False)


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
    with pytest.raises(ParameterError, match="target='a' must be a class that the segment is not decided as"):
        adversarial_example(model, Z[0], "a")
