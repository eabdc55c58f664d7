"""What the notebook on sparse autoencoders trains on: vectors of clips, or frames that are split by their clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.core.errors import ParameterError
from workbench.lessons.sae_units import Inputs, some_of
from workbench.sae import SparseCodes
from workbench.sae.study import Code

PLAN = {"epochs": 3, "frames_seen": 1000, "sae_seeds": 2}


@pytest.fixture(scope="module")
def made():
    clips = wb.load_dataset("voices", size=30)
    return clips, wb.load_encoder("logmel"), [clips.split(seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def both(made):
    return {unit: Inputs(unit, made[0], made[1], ["logmel"], made[2], seconds=0.5) for unit in ("clip", "frame")}


@pytest.fixture(scope="module")
def sae(both):
    options = {"ks": [3], "latents": 40, "steps": 30, "batch": 64, "progress": False}
    return wb.fit_saes(both["frame"].vectors, both["frame"].splits[0], **options).saes[0]


def test_frames_of_a_clip_are_in_the_part_of_the_clip(made, both):
    inputs = both["frame"]
    owner = np.repeat(np.arange(30), inputs.lengths)
    assert len(owner) == len(inputs.vectors["logmel"]) > 30 * 10
    for clips, frames in zip(made[2], inputs.splits, strict=True):
        for part in ("train", "valid", "test"):
            assert set(owner[getattr(frames, part)]) == set(getattr(clips, part))
    assert both["clip"].splits == made[2] and both["clip"].lengths is None


def test_some_rows_are_those_of_the_parts_with_the_labels_of_their_clips(made, both):
    clips, inputs, labels = made[0], both["frame"], np.asarray(made[0].labels)
    x, split, of_rows = both["clip"].some("logmel", clips)
    assert x is both["clip"].means["logmel"] and split == made[2][0] and (of_rows["labels"] == labels).all()
    owner = np.repeat(np.arange(30), inputs.lengths)
    x, split, of_rows = inputs.some("logmel", clips, most=200)
    assert len(x) == sum(map(len, split)) <= 200 and sorted(np.concatenate([*split])) == list(range(len(x)))
    table = inputs.vectors["logmel"][:]
    for rows, part in zip(split, inputs.splits[0], strict=True):
        own = np.array([np.flatnonzero((table == x[row]).all(1))[0] for row in rows])
        assert set(own) <= set(part)
        assert (of_rows["labels"][rows] == labels[owner[own]]).all()
        assert (of_rows["groups"][rows] == clips.groups()[owner[own]]).all()


def test_the_vector_of_a_clip_is_the_mean_of_its_frames(both):
    inputs, ends = both["frame"], np.cumsum(both["frame"].lengths)
    for i in (0, 7, 29):
        frames = inputs.vectors["logmel"][ends[i] - inputs.lengths[i] : ends[i]]
        np.testing.assert_allclose(frames.mean(0), inputs.means["logmel"][i], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(both["clip"].vectors["logmel"], inputs.means["logmel"])


def test_the_code_of_a_clip_is_of_its_vector_or_the_mean_of_its_frames(both, sae):
    x, ends = both["clip"].means["logmel"], np.cumsum(both["frame"].lengths)
    np.testing.assert_array_equal(both["clip"].encode(sae, "logmel"), sae.encode(x))
    codes, z = both["frame"].codes(sae, "logmel"), both["frame"].encode(sae, "logmel")
    assert isinstance(codes, SparseCodes)
    for i in (0, 29):
        frames = both["frame"].vectors["logmel"][ends[i] - both["frame"].lengths[i] : ends[i]]
        np.testing.assert_allclose(z[i], sae.encode(frames).mean(0), rtol=1e-4, atol=1e-5)
        strongest = both["frame"].encode(sae, "logmel", how="max")[i]
        np.testing.assert_allclose(strongest, sae.encode(frames).max(0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ParameterError, match="unit='clip' must be 'frame'"):
        both["clip"].codes(sae, "logmel")


def test_what_is_drawn_over_time_adds_up_to_the_clip_or_it_is_said(both, sae):
    frames, x = both["frame"].vectors["logmel"][: both["frame"].lengths[0]], both["frame"].means["logmel"][0]
    for unit, begins in (("clip", "Equation 4 holds for all 40"), ("frame", "The code of the first clip is the mean")):
        inputs = both[unit]
        z, seen = inputs.encode(sae, "logmel")[0], inputs.moments(sae, frames)
        assert inputs.moments_sentence(sae, frames, x, z).startswith(begins)
        assert seen.shape == (len(frames), 40) and seen.min() == 0
        with pytest.raises(AssertionError):
            inputs.moments_sentence(sae, frames[:5], x, z)
    np.testing.assert_array_equal(both["frame"].moments(sae, frames), sae.encode(frames))
    np.testing.assert_array_equal(both["clip"].moments(sae, frames), np.maximum(sae.preactivations(frames), 0))


def test_that_a_mean_of_codes_is_less_sparse_is_said(both):
    z = np.zeros((4, 9))
    z[:2, :3] = z[2:, :5] = 1  # four numbers that are not zero, on average
    coded = {"a": Code("SAE", 0.8, 2, 0, z, z), "b": Code("SAE, untrained", 0.8, 2, 0, np.ones((4, 9)), z)}
    assert both["clip"].mean_sentences(coded, k=2) == both["frame"].mean_sentences(coded, k=3) == []
    (told,) = both["frame"].mean_sentences(coded, k=2)
    assert told.startswith("A frame keeps about 2 of 9 latents; in the mean over a clip's frames 4 are not zero.")


def test_what_is_trained_on_is_said_before(both):
    assert both["clip"].budget(PLAN) == {"epochs": 3}
    assert both["frame"].budget(PLAN) == {"rows": 1000}
    told = both["clip"].sentences(PLAN, forms=3)
    assert told[0] == "Autoencoders of clips of layer logmel: 3 forms, 2 seeds each."
    assert told[1] == f"Training: {len(both['clip'].splits[0].train)} clips of the first split, each seen 3 times."
    told, train = both["frame"].sentences(PLAN, forms=3), len(both["frame"].splits[0].train)
    assert f"1,000 frames are seen; the first split has {train:,}" in told[2]
    assert f"seen {1000 / train:.1f} times" in told[2]


class Halving(torch.nn.Module):
    """Frames every 10 ms, and from these frames every 20 ms."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv1d(1, 4, 160, 160), torch.nn.Conv1d(4, 4, 2, 2)

    def forward(self, x):
        return self.second(self.first(x[:, None])).transpose(1, 2)


def test_layers_of_other_frame_rates_are_refused_and_so_are_other_units(made):
    network = wb.encoders.encoder_from(Halving(), rate=16000, layers=["first", "second"], device="cpu")
    with pytest.raises(ParameterError, match="as many frames each"):
        Inputs("frame", made[0], network, ["first", "second"], made[2])
    assert set(Inputs("clip", made[0], network, ["first", "second"], made[2]).vectors) == {"first", "second"}
    with pytest.raises(ParameterError, match="unit"):
        Inputs("word", *made[:2], ["logmel"], made[2])


def test_some_clips_keep_the_sides_of_the_split():
    split = wb.Split(np.arange(0, 60), np.arange(60, 80), np.arange(80, 100))
    clips = wb.datasets.Clips.from_arrays([np.zeros(100, np.float32)] * 100, 1000)
    rows, own = some_of(clips, split, most=50, seed=1)
    assert [len(part) for part in own] == [30, 10, 10] and len(set(rows)) == 50
    for part, of in zip(own, split, strict=True):
        assert set(rows[part]) <= set(of)
