"""embed(): what is computed, what is found, what is raised, and what an Embeddings object gives."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench import audio
from workbench.core.errors import AudioError, ParameterError, StoreError
from workbench.datasets import load_dataset
from workbench.embeddings import Store, embed, extraction
from workbench.encoders import batching, load_encoder
from workbench.encoders.batching import extract

QUIET = {"progress": False}


def test_numbers_are_those_of_extract(make_clips, make_encoder):
    clips, encoder = make_clips(12), make_encoder()
    found = embed(clips, encoder, **QUIET)
    waves = list(clips.waveforms.values())
    for i, arrays in extract(encoder, waves, progress=False):
        for layer, array in zip(found.layers, arrays, strict=True):
            assert np.array_equal(found.layer(layer)[i], array)


def test_second_call_decodes_and_encodes_nothing(make_clips, make_encoder):
    clips, encoder = make_clips(12), make_encoder()
    first = embed(clips, encoder, **QUIET)
    clips.decoded.clear()
    encoder.forwards.clear()
    second = embed(clips, encoder, **QUIET)
    assert (clips.decoded, encoder.forwards) == ([], [])
    assert (first.hits, first.computed, second.hits, second.computed) == (0, 12, 12, 0)
    assert all(np.array_equal(first.layer(k), second.layer(k)) for k in range(3))


def test_key_is_content_not_name(make_clips, make_encoder):
    encoder = make_encoder()
    embed(make_clips(5), encoder, **QUIET)
    renamed = make_clips(5, version="touched")  # every signature is new, every sample the same
    assert embed(renamed, encoder, **QUIET).computed == 0
    assert len(renamed.decoded) == 5
    changed = make_clips(5, version="changed")
    changed.waveforms["clip0003"] = changed.waveforms["clip0003"] * np.float32(0.5)
    assert embed(changed, encoder, **QUIET).computed == 1


@pytest.mark.parametrize("other", [{"pooling": "mean+std"}, {"dtype": "bfloat16"}, {"seconds": 1.0}])
def test_other_policy_is_another_key(make_clips, make_encoder, other):
    clips, encoder = make_clips(4), make_encoder()
    embed(clips, encoder, **QUIET)
    assert embed(clips, encoder, **other, **QUIET).computed == 4
    assert embed(clips, encoder, **other, **QUIET).computed == 0


def test_other_weights_are_another_key(make_clips, make_encoder):
    clips = make_clips(4)
    a, b = (embed(clips, make_encoder(seed=seed), **QUIET) for seed in (0, 1))
    assert b.computed == 4
    assert not np.allclose(a.layer(0), b.layer(0))


def test_only_missing_layers_of_missing_clips_are_computed(make_clips, make_encoder):
    clips, encoder = make_clips(6), make_encoder()
    embed(clips, encoder, layers="1", **QUIET)
    encoder.forwards.clear()
    found = embed(clips, encoder, **QUIET)
    assert encoder.clips == 6
    assert {layers for _, layers in encoder.forwards} == {(0, 2)}
    assert found.layers == ("0", "1", "2")
    assert np.allclose(found.layer("1"), 2 * found.layer("0"), atol=1e-5)


def test_one_new_clip_costs_one_clip(make_clips, make_encoder):
    clips, encoder = make_clips(20), make_encoder()
    before = embed(clips, encoder, **QUIET)
    encoder.forwards.clear()
    grown = make_clips(21)
    grown.waveforms = {**dict(list(grown.waveforms.items())[20:]), **clips.waveforms}
    grown.table["id"] = list(grown.waveforms)
    after = embed(grown, encoder, **QUIET)
    assert encoder.forwards == [(1, (0, 1, 2))]
    assert np.array_equal(after.layer(0)[1:], before.layer(0))


def test_equal_content_is_computed_once(make_clips, make_encoder):
    clips, encoder = make_clips(4), make_encoder()
    clips.waveforms["clip0002"] = clips.waveforms["clip0000"].copy()
    found = embed(clips, encoder, **QUIET)
    assert (found.computed, found.hits, encoder.clips) == (3, 1, 3)
    assert np.array_equal(found.layer(1)[0], found.layer(1)[2])


def test_order_of_rows_is_the_order_of_clips(make_clips, make_encoder):
    clips, encoder = make_clips(30), make_encoder()
    embed(clips, encoder, **QUIET)
    turned = make_clips(30)
    turned.waveforms = dict(reversed(clips.waveforms.items()))
    turned.table["id"] = list(turned.waveforms)
    back = embed(turned, encoder, **QUIET)
    assert back.ids[0] == "clip0029"
    assert np.array_equal(back.layer(0), embed(clips, encoder, **QUIET).layer(0)[::-1])


def test_frames_are_ragged(make_clips, make_encoder):
    clips, encoder = make_clips(7), make_encoder()
    found = embed(clips, encoder, pooling=None, dtype="float16", **QUIET)
    pooled = embed(clips, encoder, **QUIET)
    flat, offsets = found.flat("1")
    for i, x in enumerate(clips.waveforms.values()):
        frames = found.frames("1", i)
        assert frames.shape == (len(x) // 100, 8) and frames.dtype == np.float32
        assert np.array_equal(flat[offsets[i] : offsets[i + 1]], frames)
        assert np.allclose(frames.mean(0), pooled.layer("1")[i], atol=0.02)
    part, at = found.flat("1", rows=[5, 2])
    assert np.array_equal(part[at[1] :], found.frames("1", 2))
    with pytest.raises(ParameterError, match="use .frames"):
        found.layer("1")
    with pytest.raises(ParameterError, match=r"\.layer\(\)"):
        pooled.frames("1", 0)


def test_layer_takes_rows_names_and_positions(make_clips, make_encoder):
    found = embed(make_clips(9), make_encoder(), **QUIET)
    whole = found.layer("2")
    assert whole.shape == (9, 4) and whole.dtype == np.float32
    assert np.array_equal(found.layer(-1, rows=[8, 0, 8]), whole[[8, 0, 8]])
    assert np.array_equal(found.layer(2, rows=np.arange(9) > 6), whole[7:])
    assert found.layer(2, rows=[]).shape[0] == 0
    assert found.arrays()["2"].shape == (9, 4)
    with pytest.raises(ParameterError, match="layer='3' must be a position or among 0, 1, 2"):
        found.layer("3")
    with pytest.raises(ParameterError, match=r"positions in 0 \.\.\. 8"):
        found.layer("2", rows=[9])


def test_stack_needs_equal_dimensions(make_clips, make_encoder):
    found = embed(make_clips(3), make_encoder(), layers=["0", "1"], **QUIET)
    assert found.stack().shape == (2, 3, 8)
    with pytest.raises(ParameterError, match="'2': 4"):
        embed(make_clips(3), make_encoder(), **QUIET).stack()


def test_seconds_cuts_and_pads(make_clips, make_encoder):
    clips, encoder = make_clips(5), make_encoder()
    found = embed(clips, encoder, seconds=0.8, pooling=None, **QUIET)
    assert {found.frames("0", i).shape[0] for i in range(5)} == {8}


def test_memory_only_writes_nothing(make_clips, make_encoder, tmp_path):
    clips, encoder = make_clips(5), make_encoder()
    found = embed(clips, encoder, store=False, **QUIET)
    assert np.array_equal(found.layer(0), embed(clips, encoder, store=tmp_path / "kept", **QUIET).layer(0))
    assert not Path(os.environ["WORKBENCH_CACHE"]).exists()


def test_a_store_that_is_no_folder_is_named_as_it_was_given(make_clips, make_encoder, tmp_path):
    (tmp_path / "x.csv").touch()
    for store in (tmp_path / "x.csv", str(tmp_path / "x.csv"), ""):
        with pytest.raises(ParameterError, match="^store=.* must be a Store, the path of a folder, or False"):
            embed(make_clips(2), make_encoder(), store=store)


def test_bad_clip_raises_after_what_was_finished_is_stored(make_clips, make_encoder, short_chunks):
    clips, encoder = make_clips(60, broken={"clip0040": "half a wav"}), make_encoder()
    with pytest.raises(AudioError, match="clip0040.*half a wav"):
        embed(clips, encoder, **QUIET)
    done = encoder.clips
    assert 20 < done < 41
    encoder.forwards.clear()
    found = embed(make_clips(60), encoder, **QUIET)
    assert (found.hits, found.computed, encoder.clips) == (done, 60 - done, 60 - done)


def test_bad_clips_are_skipped_with_one_warning(make_clips, make_encoder):
    broken = {f"clip{i:04d}": "zero length" for i in (1, 3, 5)} | {"clip0007": "no such file"}
    clips, encoder = make_clips(10, broken=broken), make_encoder()
    with pytest.warns(UserWarning, match="4 of 10 clips .*clip0001: zero length.* and 1 more") as seen:
        found = embed(clips, encoder, on_error="skip", **QUIET)
    assert len(seen) == 1 and seen[0].filename == __file__
    assert found.valid.tolist() == [0, 2, 4, 6, 8, 9]
    assert found.skipped == broken
    assert found.layer(0).shape == (6, 8) and len(found) == 6
    assert "4 skipped" in repr(found)


def test_missing_file_is_found_before_computing_and_names_the_clip(make_clips, make_encoder):
    encoder = make_encoder()
    with pytest.raises(AudioError, match="clip clip0004: /data/x.wav: no such file"):
        embed(make_clips(5, broken={"clip0004": "no such file"}), encoder, **QUIET)
    assert encoder.clips == 0


def test_a_clip_the_encoder_fails_on_is_named_or_skipped(make_clips, make_encoder):
    clips, encoder = make_clips(6), make_encoder()
    clips.waveforms["clip0002"] = np.full(1000, 1e38, np.float32)  # overflows inside the encoder
    clips.waveforms["clip0004"] = clips.waveforms["clip0002"].copy()
    with pytest.raises(AudioError, match="clip0002.*NaN or infinite"):
        embed(clips, encoder, **QUIET)
    with pytest.warns(UserWarning, match="2 of 6 clips"):
        found = embed(clips, encoder, on_error="skip", **QUIET)
    assert list(found.skipped) == ["clip0002", "clip0004"]
    assert len(found.layer(0)) == 4


def test_float16_that_overflows_is_an_error_that_names_clip_and_layer(make_clips, make_encoder):
    clips, encoder = make_clips(4), make_encoder()
    clips.waveforms["clip0002"] = clips.waveforms["clip0002"] * np.float32(1e6)
    with pytest.raises(ParameterError, match="bfloat16 or float32: layer 0 of clip clip0002 reaches"):
        embed(clips, encoder, dtype="float16", **QUIET)
    assert embed(clips, encoder, dtype="bfloat16", **QUIET).computed == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "7"}, "layers='7' must be 'all' or among 0, 1, 2"),
        ({"pooling": "max"}, "pooling='max' must be 'mean' or 'mean.std' or None"),
        ({"dtype": "float64"}, "dtype='float64' must be 'float32' or 'float16'"),
        ({"seconds": 0.0}, "seconds=0.0 must be a finite number, above 0"),
        ({"seconds": "1"}, "seconds='1' must be a finite number"),
        ({"seconds": float("nan")}, "seconds=nan must be a finite number"),
        ({"seconds": 1e7}, "seconds=10000000.0 must be a finite number, above 0 and 86400.0 or less"),
        ({"seconds": 1e-9}, "seconds=1e-09 must be at least one sample"),
        ({"layers": None}, "layers=None must be"),
        ({"layers": True}, "layers=True must be"),
        ({"layers": 1.5}, "layers=1.5 must be"),
        ({"layers": []}, r"layers=\[\] must be a list of at least one"),
        ({"pooling": 3}, "pooling=3 must be"),
        ({"dtype": None}, "dtype=None must be"),
        ({"store": 5}, "store=5 must be a store of embeddings or text or a path or True or False or None"),
        ({"store": ""}, "store='' must be a Store, the path of a folder"),
        ({"progress": 1}, "progress=1 must be True or False"),
        ({"on_error": "ignore"}, "on_error='ignore' must be 'raise' or 'skip'"),
    ],
)
def test_wrong_arguments_say_what_was_expected(make_clips, make_encoder, options, message):
    with pytest.raises(ParameterError, match=message):
        embed(make_clips(2), make_encoder(), **QUIET | options)


def test_encoder_by_name_and_no_clips_are_refused(make_clips, make_encoder):
    with pytest.raises(ParameterError, match="encoder='mini' must be an encoder, as load_encoder"):
        embed(make_clips(2), "mini")
    for encoder in (None, 5):
        with pytest.raises(ParameterError, match="encoder=.* must be an encoder, as load_encoder"):
            embed(make_clips(2), encoder)
    for clips in ("folder", ["a.wav"], None, Path("folder")):
        with pytest.raises(ParameterError, match="clips=.* must be clips, as load_dataset"):
            embed(clips, make_encoder())
    with pytest.raises(ParameterError, match="at least one clip"):
        embed(make_clips(0), make_encoder())


def test_an_encoder_without_a_fingerprint_is_told_what_to_write(make_clips, make_encoder):
    encoder = make_encoder()
    del encoder.fingerprint
    with pytest.raises(ParameterError, match=r"encoder.fingerprint=None must be .* self.fingerprint = fingerprint\("):
        embed(make_clips(2), encoder)


def test_long_clips_have_a_key_of_their_own_and_move_the_bar(make_clips, make_encoder, monkeypatch, capsys):
    clips = make_clips(3)
    clips.waveforms["clip0001"] = np.random.default_rng(1).uniform(-1, 1, 9000).astype(np.float32)
    whole = embed(clips, make_encoder(), pooling=None, **QUIET)
    monkeypatch.setattr(batching, "LONGEST_SECONDS", 4.0)
    monkeypatch.setattr(batching, "CONTEXT_SECONDS", 0.5)
    encoder = make_encoder(delay=lambda _: time.sleep(0.15))
    cut = embed(clips, encoder, pooling=None)
    assert (cut.hits, cut.computed, encoder.clips) == (2, 1, 3)  # the others are encoded whole in both
    assert cut.frames("1", 1).shape == whole.frames("1", 1).shape == (90, 8)
    np.testing.assert_allclose(cut.frames("1", 1), whole.frames("1", 1), atol=1e-3)
    assert "0.33/1" in (shown := capsys.readouterr().err) and "0.67/1" in shown and "1/1" in shown
    again = embed(clips, make_encoder(), pooling=None, **QUIET)
    assert again.computed == 0 and np.array_equal(again.frames("1", 1), cut.frames("1", 1))


def test_what_a_fixed_window_leaves_out_is_said_at_every_call(make_clips, make_encoder):
    clips, encoder = make_clips(4), make_encoder()
    encoder.padding, encoder.window = "fixed", 0.8
    behind = sum(max(len(x) / 1000 - 0.8, 0) for x in clips.waveforms.values() if len(x) >= 900)
    for _ in range(2):  # computed, found
        with pytest.warns(UserWarning, match=rf"of 4 clips are longer than the 0.8 s .* {behind:.1f} s behind") as told:
            embed(clips, encoder, **QUIET)
        assert len(told) == 1 and told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed(clips, encoder, seconds=0.8, **QUIET)


def test_an_encoder_that_fails_on_every_clip_leaves_no_shard(make_clips, make_encoder):
    clips, encoder = make_clips(2), make_encoder()
    clips.waveforms = {name: np.full(1000, 1e38, np.float32) for name in clips.waveforms}
    with pytest.warns(UserWarning, match="2 of 2 clips"):
        assert len(embed(clips, encoder, on_error="skip", **QUIET)) == 0
    assert not list(Path(os.environ["WORKBENCH_CACHE"]).rglob("*.safetensors"))


def test_interrupt_keeps_what_was_finished(make_clips, make_encoder, short_chunks, monkeypatch):
    monkeypatch.setattr(extraction, "SHARD_SECONDS", 1000.0)  # nothing is written before the interrupt

    def interrupt(_):
        if len(encoder.forwards) == 4:
            signal.raise_signal(signal.SIGINT)

    clips, encoder = make_clips(60), make_encoder(delay=interrupt)
    with pytest.raises(KeyboardInterrupt):
        embed(clips, encoder, **QUIET)
    found = embed(clips, make_encoder(), **QUIET)
    assert 0 < found.hits <= sum(count for count, _ in encoder.forwards[:3])
    assert found.computed == 60 - found.hits
    undisturbed = embed(clips, make_encoder(), store=False, **QUIET)
    assert np.array_equal(found.layer(0), undisturbed.layer(0))


def test_shards_are_written_while_running(make_clips, make_encoder, short_chunks, monkeypatch):
    monkeypatch.setattr(extraction, "SHARD_SECONDS", 0.05)
    counts = []

    def look(_):
        counts.append(len(list(Path(os.environ["WORKBENCH_CACHE"]).glob("embeddings/*/*.safetensors"))))
        time.sleep(0.03)

    embed(make_clips(100), make_encoder(delay=look), **QUIET)
    assert 0 == counts[0] < counts[-1] < len(counts)


def test_full_disk_is_one_error_and_leaves_no_half_files(make_clips, make_encoder, tmp_path, short_chunks):
    """A real limit on the size of files, in a child process of its own."""

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
        with pytest.raises(StoreError, match=f"cannot write embeddings to {tmp_path}.*WORKBENCH_CACHE.*store=False"):
            embed(make_clips(2000), make_encoder(), store=tmp_path, pooling=None, **QUIET)

    in_child(work)
    assert [p for p in tmp_path.rglob("*") if p.suffix in (".tmp", ".safetensors")] == []


def test_folder_that_cannot_be_written_is_found_out_before_computing(make_clips, make_encoder):
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    clips, encoder = make_clips(5), make_encoder()
    embed(clips, encoder, store=root, **QUIET)
    for path in root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root.chmod(0o555)

    def work():
        if os.getuid() == 0:
            os.setuid(65534)  # root may write anywhere
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert embed(clips, make_encoder(), store=root, **QUIET).computed == 0
            more = make_encoder()
            with pytest.raises(StoreError, match=f"cannot write embeddings to {root}.*WORKBENCH_CACHE.*store=False"):
                embed(make_clips(8), more, store=root, **QUIET)
            assert more.clips == 0
        moved = make_clips(5, version="moved")
        with pytest.warns(UserWarning, match="5 clips will be decoded again"):
            assert embed(moved, make_encoder(), store=root, **QUIET).computed == 0

    in_child(work)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)


def test_damaged_shard_is_warned_of_and_computed_again(make_clips, make_encoder):
    clips, encoder = make_clips(8), make_encoder()
    before = embed(clips, encoder, **QUIET).layer(0)
    path = next(Path(os.environ["WORKBENCH_CACHE"]).glob("embeddings/*/*.safetensors"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.warns(UserWarning, match=f"damaged shard .*{path.name}"):
        after = embed(clips, encoder, **QUIET)
    assert after.computed == 8
    assert np.array_equal(after.layer(0), before)


def test_lost_memo_costs_decoding_only(make_clips, make_encoder):
    clips, encoder = make_clips(8), make_encoder()
    embed(clips, encoder, **QUIET)
    Path(os.environ["WORKBENCH_CACHE"], "embeddings", "memo.txt").unlink()
    clips.decoded.clear()
    assert embed(clips, encoder, **QUIET).computed == 0
    assert len(clips.decoded) == 8


def test_shard_records_what_made_it(make_clips, make_encoder):
    encoder = make_encoder()
    embed(make_clips(8), encoder, seconds=1.0, dtype="bfloat16", **QUIET)
    store = Store()
    (group,) = store._groups()
    record = group.shards[0].record
    assert record["encoder"] == encoder.describe()
    assert (record["count"], record["nan"], record["rate"], record["dtype"]) == (8, 0, 1000, "bfloat16")
    assert record["segment"]["seconds"] == 1.0 and record["versions"]["torch"] and record["device"] == "cpu"
    assert record["compute_seconds"] > 0 and record["peak_memory_bytes"] > 10**6


def test_repr_is_one_short_line(make_clips, make_encoder):
    text = repr(embed(make_clips(3), make_encoder(), **QUIET))
    assert text.startswith("Embeddings(3 clips x 3 layers of small, mean, float32; 0 found, 3 computed in ")
    assert len(text) < 120 and "\n" not in text


def test_generated_clips_with_the_built_in_encoder():
    clips, encoder = load_dataset("voices", size=5, seed=0), load_encoder("mini", device="cpu")
    first = embed(clips, encoder, **QUIET)
    second = embed(load_dataset("voices", size=5, seed=0), encoder, **QUIET)
    assert (first.computed, second.computed) == (5, 0)
    assert first.stack().shape == (len(encoder.layers), 5, encoder.dim)
    assert np.array_equal(first.stack(), second.stack())
    other = embed(load_dataset("voices", size=5, seed=1), encoder, **QUIET)
    assert other.computed == 5
    wide = embed(clips, encoder, pooling="mean+std", **QUIET)
    assert first.fingerprint == second.fingerprint
    assert len({first.fingerprint, other.fingerprint, wide.fingerprint}) == 3


def test_files_that_cannot_be_read_are_named_or_skipped(tmp_path):
    folder = tmp_path / "noise"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "abcd":
        audio.write(folder / f"{name}.wav", rng.uniform(-0.1, 0.1, 8000), 16000)
    (folder / "c.wav").write_bytes((folder / "c.wav").read_bytes()[:3000])
    clips, encoder = load_dataset(tmp_path), load_encoder("mini", device="cpu")
    (folder / "d.wav").unlink()
    with pytest.raises(AudioError, match=r"clip .*d.*: .*d\.wav: .*No such file"):
        embed(clips, encoder, **QUIET)
    with pytest.warns(UserWarning, match="2 of 4 clips cannot be read"):
        found = embed(clips, encoder, on_error="skip", **QUIET)
    assert found.valid.tolist() == [0, 1]
    os.utime(folder / "a.wav", (0, 0))
    with pytest.warns(UserWarning, match="2 of 4 clips cannot be read"):
        assert embed(clips, encoder, on_error="skip", **QUIET).computed == 0


def in_child(work) -> None:
    """Run in a forked process; its failure is ours."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(60)  # a child that hangs is a failure too
            torch.set_num_threads(1)  # OpenMP does not survive a fork
            work()
            code = 0
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
