"""Batching: plans, pooling, lengths, back-off, errors; with encoders made up for the purpose."""

import threading
import time
import warnings

import numpy as np
import pytest
import torch

from workbench.core.errors import AudioError, ParameterError
from workbench.encoders import Encoder, Layer, batching, compute_dtype, extract, fingerprint, load_encoder
from workbench.encoders.batching import _plan


class Blocks(Encoder):
    """Frames of 100 samples: (mean, mean of squares) and, one layer on, twice that; NaN behind a row's end."""

    def __init__(self, *, padding="masked", window=None, fits=None):
        self.name, self.rate, self.padding, self.window = "blocks", 1000, padding, window
        self.minimum = 100
        self.layers = (Layer("0", 2, 10.0), Layer("1", 2, 10.0))
        self.fingerprint = fingerprint("blocks", padding)
        self.fits, self.seen = fits, []

    def forward(self, x, lengths, layers):
        assert torch.is_inference_mode_enabled()
        if self.fits is not None and x.numel() > self.fits:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
        self.seen.append((tuple(x.shape), lengths.tolist()))
        blocks = x[:, : x.shape[1] // 100 * 100].unflatten(1, (-1, 100))
        frames = torch.stack((blocks.mean(2), blocks.square().mean(2)), 2)
        counts = lengths // 100
        frames[torch.arange(frames.shape[1]) >= counts[:, None]] = torch.nan
        return [(frames * (i + 1), counts) for i in layers]


class Lazy:
    """Counts how often each clip is loaded."""

    def __init__(self, clips):
        self.clips, self.loads = clips, [0] * len(clips)

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        self.loads[index] += 1
        return self.clips[index]


def noises(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(n).astype(np.float32) for n in lengths]


def truth(x):
    blocks = np.pad(x, (0, max(0, 100 - len(x))))
    blocks = blocks[: len(blocks) // 100 * 100].reshape(-1, 100).astype(np.float64)
    return np.stack([blocks.mean(1), (blocks**2).mean(1)], 1)


LENGTHS = (950, 100, 3000, 3000, 40, 777, 2999, 1200)


@pytest.mark.parametrize("padding", ["masked", "equal", "fixed"])
@pytest.mark.parametrize("batch_seconds", [0.5, 4.0, 100.0])
def test_every_clip_once_with_the_true_mean(padding, batch_seconds):
    encoder = Blocks(padding=padding, window=3.0 if padding == "fixed" else None)
    clips = Lazy(noises(*LENGTHS))
    results = list(extract(encoder, clips, batch_seconds=batch_seconds, progress=False))
    assert sorted(index for index, _ in results) == list(range(len(LENGTHS)))
    assert clips.loads == [1] * len(LENGTHS)
    for index, (first, second) in results:
        expected = truth(clips.clips[index]).mean(0)
        np.testing.assert_allclose(first, expected, atol=1e-6)
        np.testing.assert_allclose(second, 2 * expected, atol=1e-6)
        assert first.dtype == np.float32


def test_poolings():
    clips = noises(*LENGTHS)
    frames = dict(extract(Blocks(), clips, pooling=None, layers="0", progress=False))
    both = dict(extract(Blocks(), clips, pooling="mean+std", layers="0", progress=False))
    for i, x in enumerate(clips):
        assert frames[i][0].shape == (max(len(x), 100) // 100, 2)
        np.testing.assert_allclose(frames[i][0], truth(x), atol=1e-6)
        np.testing.assert_allclose(both[i][0], np.r_[truth(x).mean(0), truth(x).std(0)], atol=1e-6)


def test_chosen_layers_keep_the_encoders_order():
    ((_, arrays),) = extract(Blocks(), noises(500), layers=["1", 0], progress=False)
    np.testing.assert_allclose(arrays[1], 2 * arrays[0], rtol=1e-6)
    ((_, arrays),) = extract(Blocks(), noises(500), layers=-1, progress=False)
    assert len(arrays) == 1


def test_plan_equal_lengths_only():
    samples = [5, 7, 5, 5, 7]
    batches = _plan(samples, padding="equal", budget=12)
    assert all(len({samples[i] for i in batch}) == 1 for batch in batches)
    assert sorted(sum(batches, [])) == [0, 1, 2, 3, 4]
    assert max(len(batch) * samples[batch[0]] for batch in batches) <= 12


def test_plan_masked_waste_and_budget():
    rng = np.random.default_rng(0)
    samples = rng.integers(300, 8000, 500).tolist()
    batches = _plan(samples, padding="masked", budget=48000)
    assert sorted(sum(batches, [])) == list(range(500))
    for batch in batches:
        padded, true = len(batch) * max(samples[i] for i in batch), sum(samples[i] for i in batch)
        assert padded <= 48000 and padded <= 1.25 * true
    total = sum(len(batch) * max(samples[i] for i in batch) for batch in batches)
    assert total < 1.05 * sum(samples)


def test_plan_fixed_counts_windows_and_a_long_clip_is_alone():
    assert [len(batch) for batch in _plan([1] * 7, padding="fixed", budget=30, window=10)] == [3, 3, 1]
    assert _plan([100, 1], padding="masked", budget=10) == [[0], [1]]
    assert _plan([], padding="masked", budget=10) == []


def test_out_of_memory_halves_and_the_numbers_stay():
    clips = noises(*[1000] * 12, 5000)
    calm = dict(extract(Blocks(), clips, batch_seconds=100, progress=False))
    tight = Blocks(fits=5000)
    results = dict(extract(tight, clips, batch_seconds=100, progress=False))
    assert sorted(results) == list(range(13))
    for i in results:
        np.testing.assert_array_equal(results[i][0], calm[i][0])
    assert max(rows * columns for (rows, columns), _ in tight.seen) <= 5000
    assert max(rows for (rows, _), _ in tight.seen) > 1


def test_out_of_memory_of_torch_itself():
    class Cuda(Blocks):
        def forward(self, x, lengths, layers):
            if len(x) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return super().forward(x, lengths, layers)

    assert len(list(extract(Cuda(), noises(*LENGTHS), progress=False))) == len(LENGTHS)


def test_clip_that_never_fits_is_named():
    clips = noises(500, 9000, 500)
    with pytest.raises(AudioError, match=r"clip long one: 9\.0 s do not fit into memory with encoder blocks on cpu"):
        list(extract(Blocks(fits=5000), clips, names=["a", "long one", "b"], progress=False))
    skipped = {}
    results = dict(
        extract(Blocks(fits=5000), clips, on_error=lambda i, error: skipped.update({i: error}), progress=False)
    )
    assert sorted(results) == [0, 2] and list(skipped) == [1]


def test_other_runtime_errors_are_not_swallowed():
    class Broken(Blocks):
        def forward(self, x, lengths, layers):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(extract(Broken(), noises(500), progress=False))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(0, np.float32), "clip 1: has no samples"),
        (np.zeros((2, 500), np.float32), r"clip 1: expected a waveform \(samples,\), got an array of shape \(2, 500\)"),
        (np.r_[np.zeros(98), np.nan, np.inf], "clip 1: 2 of 100 samples are NaN or infinite"),
    ],
)
def test_bad_clips_are_named(bad, message):
    clips = [*noises(500), bad, *noises(600)]
    with pytest.raises(AudioError, match=message):
        list(extract(Blocks(), clips, progress=False))
    told = []
    results = dict(extract(Blocks(), clips, on_error=lambda i, error: told.append((i, str(error))), progress=False))
    assert sorted(results) == [0, 2]
    assert told[0][0] == 1


def test_errors_while_loading_go_the_same_way():
    class Damaged(Lazy):
        def __getitem__(self, index):
            if index == 1:
                raise AudioError("b.wav", "does not decode")
            return super().__getitem__(index)

    told = []
    clips = Damaged(noises(500, 600, 700))
    results = dict(extract(Blocks(), clips, on_error=lambda i, error: told.append((i, str(error))), progress=False))
    assert sorted(results) == [0, 2] and told == [(1, "b.wav: does not decode")]


def test_non_finite_frames_are_named():
    class Explodes(Blocks):
        def forward(self, x, lengths, layers):
            spoilt = (lengths != 700)[:, None, None]
            return [(frames.nan_to_num() / spoilt, n) for frames, n in super().forward(x, lengths, layers)]

    with pytest.raises(AudioError, match="clip 1: encoder blocks gives NaN or infinite values at layer 0"):
        list(extract(Explodes(), noises(500, 700, 600), progress=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "7"}, "layers='7' must be 'all' or among 0, 1 of encoder blocks"),
        ({"pooling": "max"}, "pooling='max' must be 'mean'"),
        ({"batch_seconds": 0}, "batch_seconds=0 must be a finite number, above 0"),
        ({"dtype": "int8"}, "dtype='int8' must be 'auto'"),
        ({"names": ["a", "b"]}, "names='2 names' must be one a clip"),
    ],
)
def test_wrong_options_fail_at_the_call(options, message):
    with pytest.raises(ParameterError, match=message.replace("(", r"\(")):
        extract(Blocks(), noises(500), **options)


def test_modules_are_put_into_eval_mode():
    encoder = Blocks()
    encoder.net = torch.nn.Dropout()
    encoder.net.train()
    list(extract(encoder, noises(500), progress=False))
    assert not encoder.net.training


def test_windows_bound_what_is_held():
    """Loading never runs far ahead: at most four batches (or the window) of sound beyond what has come out."""
    clips = Lazy(noises(*[1000] * 200))
    stream = extract(Blocks(), clips, batch_seconds=2, progress=False)
    next(stream)
    assert sum(clips.loads) <= 8
    stream.close()


def test_loader_threads_give_the_same():
    clips = Lazy(noises(*LENGTHS * 5))
    plain = dict(extract(Blocks(), clips.clips, progress=False))
    threaded = dict(extract(Blocks(), clips, loaders=3, progress=False))
    assert clips.loads == [1] * len(clips)
    for i in plain:
        np.testing.assert_array_equal(plain[i][0], threaded[i][0])


def test_reentrant_encoders_run_batches_side_by_side(monkeypatch):
    class Watched(Blocks):
        reentrant = True

        def forward(self, x, lengths, layers):
            self.threads = getattr(self, "threads", set()) | {
                (threading.current_thread().name, torch.get_num_threads())
            }
            time.sleep(0.02)
            return super().forward(x, lengths, layers)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encoder, clips = Watched(), noises(*LENGTHS * 3)
        results = dict(extract(encoder, clips, batch_seconds=3, progress=False))
        assert len(encoder.threads) == 2 and {count for _, count in encoder.threads} == {1}
        assert torch.get_num_threads() == 2
        plain = dict(extract(Blocks(), clips, progress=False))
        for i in plain:
            np.testing.assert_allclose(results[i][0], plain[i][0], atol=1e-6)
        tight = Watched(fits=3000)
        assert len(list(extract(tight, clips, batch_seconds=100, progress=False))) == len(clips)
        stream = extract(Watched(), clips, batch_seconds=3, progress=False)
        next(stream)
        stream.close()  # as Ctrl-C in the middle does
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_low_precision_is_asked_for():
    class Linear(Blocks):
        def forward(self, x, lengths, layers):
            self.seen.append(torch.nn.functional.linear(x, torch.eye(x.shape[1])).dtype)
            return super().forward(x, lengths, layers)

    for dtype in ("float32", "bfloat16"):
        encoder = Linear()
        list(extract(encoder, noises(500), dtype=dtype, progress=False))
        assert encoder.seen[0] == getattr(torch, dtype)
    assert compute_dtype(Blocks()) == "float32"
    on_gpu = Blocks()
    on_gpu.device = torch.device("cuda")
    assert compute_dtype(on_gpu) == "bfloat16"
    on_gpu.compute = "float32"
    assert compute_dtype(on_gpu) == "float32"


@pytest.mark.parametrize("groups", [1, 4])  # of 8 channels, bfloat16 kernels of some processors are wrong throughout
def test_low_precision_keeps_convolutions_in_float32_on_the_cpu(groups):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 32 // groups, 16, generator=generator) / 8

    class Convolved(Blocks):
        def forward(self, x, lengths, layers):
            x = torch.stack([x.roll(shift, 1) for shift in range(32)], 1)
            self.seen.append([torch.conv1d(x, weight, groups=groups, padding=8)])
            self.seen[-1].append(torch.nn.functional.conv2d(x[:, :, None], weight=weight[:, :, None], groups=groups))
            return super().forward(x[:, 0], lengths, layers)

    full, half = Convolved(), Convolved()
    for encoder, dtype in ((full, "float32"), (half, "bfloat16")):
        list(extract(encoder, noises(500), dtype=dtype, progress=False))
    for a, b in zip(full.seen[0], half.seen[0], strict=True):
        assert b.dtype == torch.bfloat16 and torch.equal(a.bfloat16(), b)


def test_progress_bar_counts_seconds(capsys):
    class Slow(Blocks):
        def forward(self, x, lengths, layers):
            time.sleep(0.15)  # longer than the bar's pause between two drawings
            return super().forward(x, lengths, layers)

    list(extract(Slow(), noises(1000, 2000, 3000), batch_seconds=1, progress=True))
    assert "blocks" in (shown := capsys.readouterr().err) and "/6" in shown
    list(extract(Blocks(), noises(1000), progress=False))
    assert capsys.readouterr().err == ""


def test_your_own_model_in_ten_lines():
    """The recipe of the module's docstring."""

    class Mine(Encoder):
        def __init__(self):
            self.name, self.rate, self.padding = "mine", 16000, "equal"
            self.net = torch.nn.Conv1d(1, 3, 400, 320)
            self.minimum = 400
            self.layers = (Layer("last", 3, 50.0),)
            self.fingerprint = fingerprint("mine", 1, weights=self.net.state_dict())

        def forward(self, x, lengths, layers):
            frames = self.net(x[:, None]).transpose(1, 2)
            return [(frames, torch.full_like(lengths, frames.shape[1])) for _ in layers]

    encoder, clips = Mine(), noises(800, 16000, 5000, 16000)
    for index, (vector,) in extract(encoder, clips, progress=False):
        with torch.no_grad():
            alone = encoder.net(torch.from_numpy(clips[index])[None, None])[0].mean(1).numpy()
        np.testing.assert_allclose(vector, alone, atol=1e-5)
    assert encoder.fingerprint != Mine().fingerprint
    assert encoder.describe()["padding"] == "equal"


@pytest.fixture
def short_windows(monkeypatch):
    """Windows of 3 s with .5 s of context."""
    monkeypatch.setattr(batching, "LONGEST_SECONDS", 3.0)
    monkeypatch.setattr(batching, "CONTEXT_SECONDS", 0.5)


@pytest.mark.parametrize("samples", [3001, 3500, 4040, 5000, 6500, 12345, 20000])
@pytest.mark.parametrize("padding", ["masked", "equal"])
def test_long_clips_in_windows_give_the_frames_of_the_whole(short_windows, samples, padding):
    encoder, clips = Blocks(padding=padding), noises(samples, 900)
    for pooling, expected in ((None, truth), ("mean", lambda x: truth(x).mean(0))):
        results = dict(extract(encoder, clips, pooling=pooling, progress=False))
        for i, x in enumerate(clips):
            np.testing.assert_allclose(results[i][1], 2 * expected(x), atol=1e-6)
    both = dict(extract(encoder, clips, pooling="mean+std", progress=False))[0][0]
    np.testing.assert_allclose(both, np.r_[truth(clips[0]).mean(0), truth(clips[0]).std(0)], atol=1e-6)
    assert max(columns for (_, columns), _ in encoder.seen) <= 3000
    assert all(rows == 1 for (rows, columns), _ in encoder.seen if columns > 900)


def test_a_clip_of_the_longest_length_is_encoded_whole(short_windows):
    encoder = Blocks()
    list(extract(encoder, noises(3000), progress=False))
    assert [shape for shape, _ in encoder.seen] == [(1, 3000)]


def test_local_frames_of_a_real_encoder_do_not_change_in_windows(short_windows):
    encoder, x = load_encoder("logmel", device="cpu"), noises(16000 * 8 + 77)
    ((_, (cut,)),) = extract(encoder, x, pooling=None, progress=False)
    frames, counts = encoder.forward(torch.from_numpy(x[0])[None], torch.tensor([len(x[0])]), [0])[0]
    np.testing.assert_allclose(cut, frames[0, : counts[0]].numpy(), atol=1e-4)
    mini = load_encoder("mini", device="cpu")
    ((_, (cut,)),) = extract(mini, x, layers="0", pooling=None, progress=False)
    frames, counts = mini.forward(torch.from_numpy(x[0])[None], torch.tensor([len(x[0])]), [0])[0]
    np.testing.assert_allclose(cut, frames[0, : counts[0]].numpy(), atol=1e-4)


def test_windows_of_a_layer_with_one_frame_a_clip_count_by_their_seconds(short_windows):
    class Whole(Blocks):
        def __init__(self):
            super().__init__()
            self.layers = (Layer("mean", 2, 0.0),)

        def forward(self, x, lengths, layers):
            ((frames, counts),) = super().forward(x, lengths, layers)
            return [(frames[:, : int(counts[0])].mean(1, keepdim=True), torch.ones_like(lengths))]

    x = np.repeat(np.float32([1, 1, 5, 5]), 1000)  # windows keep 0 to 2 s and 2 to 4 s, and hear .5 s more
    ((_, (vector,)),) = extract(Whole(), [x], progress=False)
    np.testing.assert_allclose(vector[0], (0.5 * (2.0 * 1 + 0.5 * 5) + 0.5 * (2.0 * 5 + 0.5 * 1)) / 2.5, rtol=1e-6)
    ((_, (frames,)),) = extract(Whole(), [x], pooling=None, progress=False)
    assert frames.shape == (2, 2)


def test_a_window_that_does_not_fit_names_the_clip_and_the_rest_goes_on(short_windows):
    told = []
    clips = noises(9000, 900)
    results = dict(
        extract(Blocks(fits=2500), clips, on_error=lambda i, error: told.append((i, str(error))), progress=False)
    )
    assert sorted(results) == [1] and [i for i, _ in told] == [0] and "do not fit into memory" in told[0][1]


def test_a_wrong_frame_rate_is_refused_where_windows_depend_on_it(short_windows):
    encoder = Blocks()
    encoder.layers = (Layer("0", 2, 12.0), Layer("1", 2, 10.0))
    with pytest.warns(UserWarning, match="blocks declares 12 frames a second at layer 0 and gives about 10:") as said:
        assert len(list(extract(encoder, noises(2000, 1500, 700), progress=False))) == 3
    assert len(said) == 1
    with pytest.raises(ParameterError, match="encoder='blocks' must be one whose layer 0 gives the 12 frames a second"):
        list(extract(encoder, noises(9000), progress=False))


def test_what_a_fixed_window_leaves_out_is_said_once():
    clips = noises(1000, 3050, 4000, 5500)
    with pytest.warns(
        UserWarning, match=r"2 of 4 clips are longer than the 3 s that encoder blocks hears: 3\.5 s"
    ) as told:
        list(extract(Blocks(padding="fixed", window=3.0), clips, progress=False))
    assert len(told) == 1 and told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(extract(Blocks(padding="fixed", window=3.0), clips[:2], progress=False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: out[:1], "a list of (frames, lengths), one for each of the 2 layers asked for, not 1"),
        (lambda out: None, "one for each of the 2 layers asked for, not NoneType"),
        (lambda out: [frames for frames, _ in out], "a pair of tensors (frames, lengths) at layer 0, not Tensor"),
        (lambda out: [(f[..., :1], n) for f, n in out], "float frames (1, T, 2) at layer 0, as its dim declares, not"),
        (lambda out: [(f[0], n) for f, n in out], "not torch.float32 of shape (5, 2)"),
        (lambda out: [(f.long(), n) for f, n in out], "not torch.int64 of shape (1, 5, 2)"),
        (lambda out: [(f, n + 1) for f, n in out], "lengths from 0 to T = 5 at layer 0, not [6]"),
        (lambda out: [(f, -n) for f, n in out], "lengths from 0 to T = 5 at layer 0, not [-5]"),
        (
            lambda out: [(f, n.float()) for f, n in out],
            "whole lengths (1,) at layer 0, not torch.float32 of shape (1,)",
        ),
        (lambda out: [(f, n[0]) for f, n in out], "whole lengths (1,) at layer 0, not torch.int64 of shape ()"),
    ],
)
def test_what_forward_gives_must_be_what_is_declared(change, message):
    class Other(Blocks):
        def forward(self, x, lengths, layers):
            return change([(frames.nan_to_num(), counts) for frames, counts in super().forward(x, lengths, layers)])

    with pytest.raises(ParameterError, match="encoder='blocks' must be one whose forward gives") as told:
        list(extract(Other(), noises(500), progress=False))
    assert message in str(told.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 3),
        ("rate", 16000.0),
        ("minimum", 0),
        ("padding", "same"),
        ("window", -1.0),
        ("device", "cpu"),
        ("layers", ()),
        ("layers", ("a",)),
        ("layers", (Layer("a", 2, 1.0), Layer("a", 2, 1.0))),
        ("layers", (Layer("a", 2.5, 1.0),)),
        ("layers", (Layer("a", 2, float("nan")),)),
    ],
)
def test_attributes_of_an_encoder_are_checked(name, value):
    encoder = Blocks()
    setattr(encoder, name, value)
    with pytest.raises(ParameterError, match=rf"^encoder\.{name}"):
        extract(encoder, noises(500))
    del encoder.layers
    with pytest.raises(ParameterError, match="encoder"):
        extract(encoder, noises(500))


@pytest.mark.parametrize("layers", [None, True, 1.5, [], [True], [None], b"0", {"0": 1}, 2, -3, "", [[0]]])
def test_layers_that_are_none(layers):
    with pytest.raises(ParameterError, match="layers"):
        Blocks().select(layers)
    assert Blocks().select(np.int64(1)) == (1,) and Blocks().select(np.array([1, 0])) == (0, 1)


@pytest.mark.parametrize("waveforms", ["abc", None, 5, {"a": 1}])
def test_waveforms_that_are_none(waveforms):
    with pytest.raises(ParameterError, match="waveforms=.* must be a sequence of arrays"):
        extract(Blocks(), waveforms)


@pytest.mark.parametrize("bad", ["a.wav", None, np.zeros(500, np.int16), np.zeros(500, complex), [[1.0], [1.0, 2.0]]])
def test_waveforms_that_are_no_floats_are_named(bad):
    with pytest.raises(AudioError, match="clip 0: expected a waveform"):
        list(extract(Blocks(), [bad], progress=False))
