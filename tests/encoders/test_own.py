"""Any torch module as an encoder: each kind of network against its own direct call."""

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn

import workbench as wb
from workbench.core.errors import ParameterError
from workbench.encoders import encoder_from, extract, load_encoder
from workbench.prototypes import extractor

RATE = 2000
GAIN = 2.0


def front(channels=6):
    return nn.Conv1d(1, channels, 40, 20)


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(front(), nn.ReLU(inplace=True), nn.Conv1d(6, 4, 3, 2, padding=1))

    def forward(self, x):
        return self.net(x[:, None])


class Recurrent(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.batch_first, self.front = batch_first, front()
        self.gru = nn.GRU(6, 5, 2, batch_first=batch_first)

    def forward(self, x):
        y = self.front(x[:, None])
        return self.gru(y.mT if self.batch_first else y.permute(2, 0, 1))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.front = front(8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)

    def forward(self, x):
        return self.encoder(self.front(x[:, None]).mT)


class Spectral(nn.Module):
    sample_rate = RATE

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(64), persistent=False)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(a, 4, 3, 2, 1), nn.BatchNorm2d(4)) for a in (1, 4)))
        self.pool, self.head, self.gain = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3), 1.0

    def forward(self, x):
        y = torch.stft(x, 64, 20, window=self.window, return_complex=True).abs()[:, None]
        return self.gain * self.head(self.pool(self.blocks(y)).flatten(1))


class Squeezed(nn.Module):
    """(B, 1, samples) only, and an output without the axes of length 1."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(front(), nn.Conv1d(6, 3, 1))

    def forward(self, x):
        assert x.ndim == 3
        return self.net(x).mean(2).squeeze()


class Merged(nn.Module):
    def __init__(self):
        super().__init__()
        self.front, self.inner, self.out = front(), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        y = self.front(x[:, None]).mT
        return self.out(self.inner(y.flatten(0, 1)).view(*y.shape[:2], 4))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.front, self.mix, self.idle = front(), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return self.mix(self.mix(self.front(x[:, None]).mT).tanh())


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.front = nn.utils.parametrizations.weight_norm(front())
        self.last = nn.Conv1d(6, 3, 1)

    def forward(self, x):
        return self.last(self.front(x[:, None]).relu())


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.front = front()

    def forward(self, x):
        return {"positions": torch.arange(3), "frames": GAIN * self.front(x[:, None]).mT}


class BatchStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.front, self.norm = front(), nn.BatchNorm1d(6, track_running_stats=False)

    def forward(self, x):
        return self.norm(self.front(x[:, None]))


class Tokens(nn.Module):
    """Eight vectors of a clip, whatever its length."""

    def __init__(self):
        super().__init__()
        self.pool, self.last = nn.Sequential(front(), nn.AdaptiveAvgPool1d(8)), nn.Linear(6, 5)

    def forward(self, x):
        return self.last(self.pool(x[:, None]).mT)


class Noisy(nn.Module):
    """It adds noise of its own at every call."""

    def __init__(self):
        super().__init__()
        self.front, self.noisy = front(), nn.Identity()

    def forward(self, x):
        y = self.front(x[:, None])
        return self.noisy(y + torch.randn_like(y))


def made(kind, *arguments, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(*arguments).eval()


def hubert():
    from transformers import HubertConfig, HubertModel

    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (20, 3), "conv_stride": (10, 2)}
    position = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    return HubertModel(HubertConfig(**shape, **convolutions, **position))


def encodec():
    from transformers import EncodecConfig, EncodecModel

    shape = {"sampling_rate": RATE, "num_filters": 2, "hidden_size": 4, "upsampling_ratios": [5, 4]}
    return EncodecModel(EncodecConfig(**shape, codebook_size=8, codebook_dim=4, target_bandwidths=[0.3]))


@functools.cache
def encoder_of(kind, *arguments, **options):
    return encoder_from(made(kind, *arguments), rate=RATE, device="cpu", **options)


CASES = {  # by class: (layer, D, Hz, frames (B, T, D) from the direct call)
    Convolutional: ("net.2", 4, 50.0, lambda net, x: net(x).mT),
    Transformer: ("encoder.layers.1", 8, 100.0, lambda net, x: net(x)),
    Spectral: ("head", 3, 0.0, lambda net, x: net(x)[:, None]),
    Squeezed: ("output", 3, 0.0, lambda net, x: net(torch.cat([x, x])[:, None])[: len(x), None]),
    Merged: ("out", 2, 100.0, lambda net, x: net(x)),
    Shared: ("output", 6, 100.0, lambda net, x: net(x)),
    Normed: ("last", 3, 100.0, lambda net, x: net(x).mT),
    Named: ("output", 6, 100.0, lambda net, x: net(x)["frames"]),
    Tokens: ("last", 5, 0.0, lambda net, x: net(x)),
    hubert: ("encoder.layers.1", 16, 100.0, lambda net, x: net(x).last_hidden_state),
    encodec: ("output", 1, 2000.0, lambda net, x: net(x[:, None]).audio_values.mT),
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noises(*lengths):
    rng = np.random.default_rng(0)
    return [0.1 * rng.standard_normal(n).astype(np.float32) for n in lengths]


def frames(encoder, clips, **options):
    return [arrays for _, arrays in sorted(extract(encoder, clips, pooling=None, progress=False, **options))]


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_the_last_layer_is_what_the_module_gives(kind):
    name, dim, rate, direct = CASES[kind]
    encoder, clips = encoder_of(kind), noises(3001, 2222, 3001, 1777)
    last = encoder.layers[-1]
    assert (last.name, last.dim, last.frame_rate) == (name, dim, rate)
    for x, own in zip(clips, frames(encoder, clips, layers=-1), strict=True):
        with torch.no_grad():
            expected = direct(made(kind), torch.from_numpy(x)[None])[0]
        torch.testing.assert_close(torch.from_numpy(own[0]), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [*CASES, BatchStatistics], ids=lambda kind: kind.__name__)
def test_vectors_alone_are_those_in_batches(kind):
    encoder, clips = encoder_of(kind), noises(2001, 2600, 2001, 2001)
    together = [arrays for _, arrays in sorted(extract(encoder, clips, progress=False))]
    for x, arrays in zip(clips, together, strict=True):
        (_, alone), *_ = extract(encoder, [x], progress=False)
        for own, other in zip(alone, arrays, strict=True):
            np.testing.assert_allclose(own, other, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("first", [True, False])
def test_recurrent_nets_of_either_order_of_axes(first):
    net, encoder, clips = made(Recurrent, first), encoder_of(Recurrent, first), noises(2100, 1333, 3020)
    assert [(layer.name, layer.dim, layer.frame_rate) for layer in encoder.layers] == [
        ("front", 6, 100),
        ("gru", 5, 100),
    ]
    assert encoder.padding == "masked" and encoder.minimum == 40
    for x, (_, own) in zip(clips, frames(encoder, clips), strict=True):
        assert own.shape == ((len(x) - 40) // 20 + 1, 5)
        with torch.no_grad():
            y = net(torch.from_numpy(x)[None])[0]
        np.testing.assert_allclose(own, (y[0] if first else y[:, 0]).numpy(), atol=1e-6)


def test_padding_is_masked_only_where_it_changes_nothing():
    paddings = {kind: encoder_of(kind).padding for kind in CASES}
    masked = {kind for kind, padding in paddings.items() if padding == "masked"}
    assert masked == {Merged, Shared, Normed, Named}  # frame by frame, without padding of their own
    assert encoder_of(Merged, padding="equal").padding == "equal"
    encoder = encoder_of(Transformer)
    with pytest.raises(ParameterError, match=r"lengths=\[900, 800\] must be all equal for Transformer"):
        encoder.forward(torch.zeros(2, 900), torch.tensor([900, 800]), [0])


def test_a_spectrogram_s_channels_and_bands_are_one_frame():
    encoder, (x,) = encoder_of(Spectral), noises(2500)
    assert [(layer.name, layer.dim) for layer in encoder.layers] == [
        ("blocks.0", 4 * 17),
        ("blocks.1", 4 * 9),
        ("pool", 4),
        ("head", 3),
    ]
    assert [layer.frame_rate for layer in encoder.layers] == [50, 25, 0, 0]
    net = made(Spectral)
    with torch.no_grad():
        y = torch.stft(torch.from_numpy(x)[None], 64, 20, window=net.window, return_complex=True).abs()
        y = net.blocks[0](y[:, None])[0]  # (C, F, T)
    np.testing.assert_allclose(frames(encoder, [x])[0][0], y.flatten(0, 1).T.numpy(), atol=1e-5)


def test_a_layer_that_is_written_over_in_place_is_what_it_was():
    (x,), net = noises(2000), made(Convolutional)
    for name in ("net.0", "net.1"):
        found = encoder_of(Convolutional, layers=name)
        with torch.no_grad():
            y = net.net[0](torch.from_numpy(x)[None, None])
        expected = (y.relu() if name == "net.1" else y)[0].mT.numpy()
        np.testing.assert_allclose(frames(found, [x])[0][0], expected, atol=1e-6)
    assert (expected >= 0).all() and (y.numpy() < 0).any()


def test_what_cannot_be_read_is_left_out_with_the_reason():
    left_out = {kind: encoder_of(kind).describe()["left_out"] for kind in (Merged, Shared, Transformer, Noisy)}
    assert left_out[Merged]["inner"].endswith("its axis of clips is merged with another")
    assert left_out[Shared]["mix"] == "is called 2 times in a forward"
    assert left_out[Shared]["idle"] == "is not called in a forward"
    assert left_out[Transformer] == {"output": "gives the same numbers as encoder.layers.1"}
    assert left_out[Noisy]["noisy"] == "gives other numbers each time"
    with pytest.raises(ParameterError, match="layers='inner' must be a layer that can be read: inner gives"):
        encoder_from(made(Merged), rate=RATE, layers=["out", "inner"], device="cpu")


def test_a_layer_that_is_not_there_is_refused_with_near_names():
    with pytest.raises(ParameterError, match=r"layers='encoder.layer.1' must be 'all' or .* encoder\.layers\.1"):
        encoder_from(made(Transformer), rate=RATE, layers="encoder.layer.1", device="cpu")
    deep = encoder_of(Transformer, layers=("front", "encoder.layers.0.linear1"))
    assert [(layer.name, layer.dim) for layer in deep.layers] == [("front", 8), ("encoder.layers.0.linear1", 16)]


def test_the_form_and_batches_of_one_are_found_out():
    assert encoder_of(Squeezed).describe()["input"] == "(B, 1, samples)"
    assert encoder_of(Merged).describe()["input"] == "(B, samples)"
    assert encoder_of(BatchStatistics).describe()["one_clip_at_a_time"] is True


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            nn.Linear(3, 3),
            r"module='Linear' must be a torch module that takes waveforms .* it raises for \(B, samples\)",
        ),
        (nn.Unflatten(1, (-1, 2)), "module='Unflatten' must be one that takes clips of any length .* samples"),
        (nn.Flatten(0), "layers='all' must be layers that can be read: output gives"),
    ],
)
def test_modules_that_take_no_waveforms_are_refused(module, message):
    with pytest.raises(ParameterError, match=message):
        encoder_from(module, rate=RATE, device="cpu")


def test_the_rate_is_the_module_s_own():
    assert encoder_from(made(Spectral), device="cpu").rate == RATE
    net = made(Merged)
    with pytest.raises(
        ParameterError, match=r"rate=None must be given in Hz: Merged has no .*encoder_from\(module, rate"
    ):
        encoder_from(net, device="cpu")
    net.config = type("Config", (), {"sampling_rate": 4000})()
    assert encoder_from(net, device="cpu").rate == 4000
    holder = nn.Sequential(made(Spectral))
    with pytest.raises(ParameterError, match=r"\(its 0 says 2000\)"):
        encoder_from(holder, device="cpu")


def test_the_module_stays_as_it_is_and_the_encoder_as_it_was():
    net, (x,) = made(Normed).train(), noises(1500)
    weights = copy.deepcopy(net.state_dict())
    encoder = encoder_from(net, rate=RATE, device="cpu")
    before = frames(encoder, [x])[0][0]
    assert net.training and all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())
    with torch.no_grad():
        net.last.weight.zero_()
    assert np.array_equal(frames(encoder, [x])[0][0], before)


def test_gradients_reach_the_waveform():
    encoder, x = encoder_of(Transformer), torch.randn(2, 900, requires_grad=True)
    (y, counts), *_ = encoder.forward(x, torch.full((2,), 900), [2])
    y.sum().backward()
    assert counts.tolist() == [44, 44] and float(x.grad.abs().max()) > 0


# --- fingerprints -------------------------------------------------------------------------------------------------


def mark(net, **options):
    return encoder_from(net, rate=RATE, device="cpu", **options).fingerprint


def test_a_fingerprint_knows_all_that_changes_the_numbers():
    same = mark(made(Spectral))
    assert mark(made(Spectral)) == same
    louder, moved, windowed = made(Spectral), made(Spectral), made(Spectral)
    louder.gain = 2.0
    moved.head.bias.data[0] += 1
    windowed.window = torch.ones(64)  # a buffer that is in no state dict
    hooked = made(Spectral)
    hooked.head.register_forward_hook(lambda module, inputs, output: output + 1)
    others = [mark(net) for net in (louder, moved, windowed, hooked)] + [mark(made(Spectral), layers="head")]
    others += [encoder_from(made(Spectral), rate=4000, device="cpu").fingerprint]
    assert len({same, *others}) == 7
    assert mark(made(Merged)) != mark(made(Merged), padding="equal")


def test_a_fingerprint_knows_the_code_and_what_it_takes_from_outside(monkeypatch):
    same = mark(made(Named))
    monkeypatch.setitem(globals(), "GAIN", 3.0)
    assert mark(made(Named)) != same
    monkeypatch.setitem(globals(), "GAIN", 2.0)
    assert mark(made(Named)) == same

    def forward(self, x):
        return {"positions": torch.arange(3), "frames": GAIN * self.front(x[:, None]).mT.tanh()}

    monkeypatch.setattr(Named, "forward", forward)
    assert mark(made(Named)) != same


def test_what_cannot_be_told_is_warned_of():
    net = made(Merged)
    net.hidden = iter(())
    with pytest.warns(UserWarning, match=r"changes of hidden \(tuple_iterator\) in Merged cannot be noticed"):
        encoder = encoder_from(net, rate=RATE, device="cpu")
    assert encoder.describe()["counted_by_type_only"] == ["hidden (tuple_iterator)"]


# --- untrained controls -------------------------------------------------------------------------------------------


def test_untrained_weights_are_drawn_with_their_seed():
    net, before = made(Normed), torch.get_rng_state()
    one, same, other = (encoder_from(net, rate=RATE, device="cpu", random_weights=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.name == "Normed-random1" and one.fingerprint == same.fingerprint != other.fingerprint
    assert one.describe() | {"reset": 3, "permuted": 2, "constant": 0} == one.describe()
    old, new = dict(net.named_parameters()), dict(one.module.named_parameters())
    for name in ("front.parametrizations.weight.original0", "front.parametrizations.weight.original1"):
        assert not torch.equal(old[name], new[name])  # a reset writes past them
        assert torch.equal(old[name].flatten().sort().values, new[name].flatten().sort().values)
    assert not torch.equal(old["last.weight"], new["last.weight"])


def test_running_statistics_are_reset_and_windows_stay():
    net = made(Spectral)
    net.blocks[0][1].running_mean += 3
    control = encoder_from(net, device="cpu", random_weights=0)
    assert float(control.module.blocks[0][1].running_mean.abs().max()) == 0
    assert torch.equal(control.module.window, net.window)


def test_nothing_to_draw_is_refused():
    with pytest.raises(ParameterError, match="random_weights=0 must be None: Unfold has no weights"):
        encoder_from(nn.Unfold(1), rate=RATE, device="cpu", random_weights=0)


# --- a module where an encoder is ---------------------------------------------------------------------------------


def test_a_module_is_taken_wherever_an_encoder_is():
    clips, net = wb.load_dataset("voices", size=4, seed=0), made(Spectral)
    encoder = encoder_from(net, device="cpu")
    expected = wb.embed(clips, encoder, seconds=1.0, store=False, progress=False)
    found = wb.embed(clips, net, seconds=1.0, store=False, progress=False)
    np.testing.assert_allclose(found.layer("head"), expected.layer("head"), atol=1e-6)
    inputs = extractor(clips, net, seconds=1.0, device="cpu", progress=False)
    np.testing.assert_allclose(inputs.inputs, expected.layer("head"), atol=1e-6)
    assert inputs.name == "Spectral, head"
    (_, (own, *_)), *_ = extract(net, noises(2000), progress=False)
    assert own.shape == (4 * 17,)
    with pytest.raises(ParameterError, match="Merged has no attribute rate"):
        wb.embed(clips, made(Merged), store=False)


def test_a_module_or_an_encoder_is_loaded_as_it_is():
    encoder = encoder_of(Merged)
    assert load_encoder(encoder) is encoder
    assert load_encoder(made(Spectral), device="cpu").fingerprint == mark(made(Spectral))
    control = load_encoder(encoder, random_weights=3)
    assert control.name == "Merged-random3" and control.layers == encoder.layers
    mini = load_encoder(load_encoder("mini", device="cpu"), random_weights=3)
    assert mini.name == "mini-random3" and mini.fingerprint != load_encoder("mini", device="cpu").fingerprint
    with pytest.raises(ParameterError, match="random_weights=0 must be None: LogMelStatistics holds no torch module"):
        load_encoder(load_encoder("logmel", device="cpu"), random_weights=0)
    with pytest.raises(ParameterError, match="weights='x' must be left out for Spectral in memory"):
        load_encoder(made(Spectral), weights="x")
