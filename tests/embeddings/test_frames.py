"""FlatFrames: ragged frames of many clips and shards as one array on disk."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.embeddings import Store, embed
from workbench.embeddings.shards import Shard


@pytest.fixture
def embedded(tmp_path, make_clips, make_encoder, short_chunks):
    def make(pooling=None, dtype="float32"):
        return embed(
            make_clips(12), make_encoder(), pooling=pooling, dtype=dtype, store=Store(tmp_path), progress=False
        )

    return make


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_rows_are_those_of_the_whole(embedded, dtype):
    held = embedded(dtype=dtype)
    whole, offsets = held.flat("1")
    frames = held.flat_frames("1")
    assert frames.shape == whole.shape and len(frames) == len(whole) and len(held._shards) > 1
    np.testing.assert_array_equal(frames.offsets, offsets)
    rows = np.random.default_rng(0).permutation(len(whole))[:40]
    np.testing.assert_array_equal(frames[rows], whole[rows])
    np.testing.assert_array_equal(frames[3:60:7], whole[3:60:7])
    assert frames[rows].dtype == np.float32 and frames[[]].shape == (0, 8)
    assert repr(frames) == f"FlatFrames({len(whole)} frames of 12 clips x 8, 1)"


def test_rows_lead_back_to_clip_and_frame(embedded):
    held = embedded()
    frames = held.flat_frames(0)
    rows = np.array([len(frames) - 1, 0, frames.offsets[5], frames.offsets[5] - 1])
    clips, numbers = frames.clip_of(rows)
    assert clips.tolist() == [11, 0, 5, 4] and numbers.tolist()[1:3] == [0, 0]
    for row, clip, number in zip(frames[rows], clips, numbers, strict=True):
        np.testing.assert_array_equal(row, held.frames(0, clip)[number])


def test_frames_are_split_by_their_clips(embedded):
    frames = embedded().flat_frames(0)
    clips = Split(train=[7, 0, 3, 9, 10], valid=[1], test=[11, 2])
    split = frames.split(clips)
    for part, of in zip(split, clips, strict=True):
        assert sorted(set(frames.clip_of(part)[0])) == sorted(of)
        assert len(part) == frames.lengths[of].sum()
    assert frames.lengths.min() > 0 and frames.lengths.sum() == len(frames)


def test_frames_are_told_apart_by_their_content(embedded):
    held = embedded()
    assert held.flat_frames(0).fingerprint == embedded().flat_frames("0").fingerprint
    assert held.flat_frames(0).fingerprint != held.flat_frames(1).fingerprint
    assert held.flat_frames(0).fingerprint != embedded(dtype="float16").flat_frames(0).fingerprint


def test_only_the_shards_asked_for_are_mapped(embedded, monkeypatch):
    frames = embedded().flat_frames("0")
    mapped, layer = [], Shard.layer
    monkeypatch.setattr(Shard, "layer", lambda self, name: (mapped.append(self.path), layer(self, name))[1])
    _ = frames[:3]
    assert len(set(mapped)) == 1


def test_errors(embedded):
    frames = embedded().flat_frames("0")
    with pytest.raises(ParameterError, match=f"must be positions in 0 ... {len(frames) - 1}"):
        _ = frames[[len(frames)]]
    with pytest.raises(ParameterError, match="pooling='mean' must be None to have frames"):
        embedded("mean").flat_frames("0")
