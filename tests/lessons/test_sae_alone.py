"""A named latent, removed alone: the one that writes what it is named for matters, its companion does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.attributes import Attributes
from workbench.lessons import sae_alone as lesson
from workbench.sae import SAEConfig, SparseAutoencoder

N = 240


@pytest.fixture(scope="module")
def planted():
    """Latent 0 writes that v is high; latent 1 is active with it, and writes what others write as well."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 10)
    high = rng.random(N) < 0.5
    z = np.zeros((N, 12), np.float32)
    z[:, 0] = high * (2 + rng.random(N))
    z[:, 1] = high * (2 + rng.random(N))
    z[:, 2:] = rng.random((N, 10)) * 3
    decoder = np.eye(12, 16, dtype=np.float32)
    decoder[1] = decoder[2]
    x = (z @ decoder + 0.5 * rng.standard_normal((N, 16))).astype(np.float32)
    x[:, 2] += 3 * rng.standard_normal(N)  # so that latent 1 is lost in it
    given = (torch.from_numpy(part) for part in (decoder, np.zeros(12, "f4"), decoder, np.zeros(16, "f4")))
    parts = dict(zip(("encoder", "encoder_bias", "decoder", "bias"), given, strict=True))
    sae = SparseAutoencoder(SAEConfig(dim=16, latents=12, k=4), **parts)
    sounds = [np.zeros(16, np.float32)] * N
    clips = wb.datasets.Clips.from_arrays(
        sounds, 1000, label=np.array(list("ab"))[groups % 2], group=groups.astype(str)
    )
    ids, of = clips.table["id"].to_numpy(), {"v": "pitch"}
    values = np.where(high, 200.0, 100.0)[:, None]
    measured = Attributes("toy", ("v",), values, of, {"v": "a number, without a unit"}, ids, np.arange(N), {})
    split = wb.Split(*(np.flatnonzero(groups % 3 == part) for part in range(3)))
    return x, z, sae, clips, measured, split


def test_what_a_latent_writes_matters_and_what_only_goes_with_it_does_not(planted):
    x, z, sae, clips, measured, split = planted
    names = {0: ("v from 150", "0.97"), 1: ("v from 150", "0.95"), 5: ("Music", "0.8"), 6: ("v from 50", "0.7")}
    table = lesson.alone_table(x, z, sae, clips, measured, names, split)
    assert list(table.index) == [0, 1], "a tag cannot be asked about, and what all clips have neither"
    assert table.loc[0, "auc"] > 0.95 and table.loc[0, "clips"] == (measured.values[split.test, 0] > 150).sum()
    assert table.loc[0, "low"] > 0.5 and table.loc[0, "as much"] == pytest.approx(1 / 12), "more than all 11 others"
    assert abs(table.loc[1, "alone"]) < 0.1 and table.loc[1, "as much"] > 0.15
    told = lesson.alone_sentences(table.assign(**{"as much": [0.01, 0.4]}), names)
    assert told[0].startswith("Of 2 named latents, each removed alone, 1 take more")
    assert 'The most: latent 0 "v from 150", ' in told[0] and told[0].endswith("as much as 1.0% of the others.")
    assert told[1].startswith("Not asked are 2 of the 4 named (5, 6): ")
    ((_, share, *_, control),) = lesson.alone_rows(table.assign(**{"as much": [0.01, 0.4]}))
    assert share == 0.5 and control == "of 2 that are asked; by luck 0.05"
    assert lesson.alone_results(table) == {"asked": 2, "stand_out": 0}, "of 12 latents none can be beyond 95 %"
    assert len(lesson.alone_table(x, z, sae, clips, measured, names, split, most=1)) == 1


def test_a_latent_that_only_happens_to_point_somewhere_stands_out_as_often_as_luck_says(planted):
    x, z, sae, clips, measured, split = planted
    names = dict.fromkeys(range(12), ("v from 150", "0.6"))
    shares = lesson.alone_table(x, z, sae, clips, measured, names, split)["as much"]
    np.testing.assert_allclose(np.sort(shares), np.arange(1, 13) / 12, atol=0.09, err_msg="ranks, whatever the clips")


def test_without_a_name_or_an_interval_no_bounds_are_said(planted):
    x, z, sae, clips, measured, split = planted
    none = lesson.alone_table(x, z, sae, clips, measured, {}, split)
    assert list(none.columns) == lesson.COLUMNS and "nothing is removed" in lesson.alone_sentences(none, {})[0]
    assert lesson.alone_rows(none) == []
    one = wb.Split(split.train, split.valid, split.test[:10])  # a single group
    table = lesson.alone_table(x, z, sae, clips, measured, {0: ("v from 150", "0.97")}, one)
    assert np.isnan(table.loc[0, "low"])
    told = lesson.alone_sentences(table.assign(**{"as much": 0.01}), {0: ("v from 150", "0.97")})
    assert "of the way, as much as" in told[0] and len(told) == 1
