"""The released layout: names, shapes, counts, and the forward pass against a plain one written from the description."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch

from workbench.codecs.encodec import load_encodec
from workbench.codecs.mel import MelCodec
from workbench.core.errors import ParameterError, WeightsError
from workbench.datasets import Clips
from workbench.encoders import encodecmae
from workbench.encoders.encodecmae import EncodecMAEConfig
from workbench.sonify import published, summarise
from workbench.sonify.files import load_autoencoder
from workbench.sonify.network import SummaryConfig, SummaryNet

HEADS = 8


def linear(make, name, outputs, inputs, *, bias=True):
    state = {f"{name}.weight": make(outputs, inputs)}
    return state | ({f"{name}.bias": make(outputs)} if bias else {})


def stack(make, prefix, layers, dim, heads, hidden):
    inner = heads * (dim // heads)
    shared = linear(make, "ff_layer.0", hidden, dim) | linear(make, "ff_layer.2", dim, hidden)
    state = {f"{prefix}final_norm.{part}": make(dim) for part in ("weight", "bias")}
    for i in range(layers):
        layer = f"{prefix}encoder_layers.{i}."
        for name in ("wq", "wk", "wv"):
            state |= linear(make, f"{layer}att_layer.{name}", inner, dim, bias=False)
        state |= linear(make, f"{layer}att_layer.wo", dim, inner, bias=False)
        state |= {layer + key: value for key, value in shared.items()}
        state |= {f"{layer}{norm}.{part}": make(dim) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
    return state


def backbone(make, layers, dim, heads, codebooks, hidden=4096):
    """EnCodecMAE, version 1, with everything its pretraining leaves in the file."""
    state = {}
    shapes = {0: (32, 1, 7), 15: (128, 512, 7)}
    for block, (number, channels) in enumerate([(1, 32), (4, 64), (7, 128), (10, 256)]):
        shapes[f"{number}.block.1"] = (channels // 2, channels, 3)
        shapes[f"{number}.block.3"] = (channels, channels // 2, 1)
        shapes[f"{number}.shortcut"] = (channels, channels, 1)
        shapes[number + 2] = (2 * channels, channels, 2 * (2, 4, 5, 8)[block])
    for place, shape in shapes.items():
        conv = f"wav_encoder.model.model.{place}.conv.conv."
        gain = {f"{conv}weight_g": make(shape[0], 1, 1), f"{conv}weight_v": make(*shape), f"{conv}bias": make(shape[0])}
        state |= gain
    for layer in (0, 1):
        for part in ("ih", "hh"):
            state[f"wav_encoder.model.model.13.lstm.weight_{part}_l{layer}"] = make(2048, 512)
            state[f"wav_encoder.model.model.13.lstm.bias_{part}_l{layer}"] = make(2048)
    for i in range(codebooks):
        start = f"target_encoder.model.vq.layers.{i}._codebook."
        state |= {start + "inited": make(1), start + "cluster_size": make(1024)}
        state |= {start + "embed": make(1024, 128), start + "embed_avg": make(1024, 128)}
    state |= linear(make, "feat_projector", dim, 128) | linear(make, "decoder_projector", dim, dim)
    state |= linear(make, "head.layer", 8192, dim) | {"positional_encoder.scale": make()}
    state |= stack(make, "visible_encoder.", layers, dim, heads, hidden)
    return state | stack(make, "decoder.", 2, dim, heads, hidden)


def trained(make, *, dim, latent, hidden, summary=2, denoiser=8):
    """What the training of the autoencoder changes."""
    state = stack(make, "encoder.encoder.", summary, dim, HEADS, hidden)
    state |= {"encoder.cls_tokens.weight": make(1, dim), "encoder.pos_encoder.scale": make()}
    state |= stack(make, "denoiser.", denoiser, dim, HEADS, hidden)
    state |= linear(make, "in_adapter", dim, latent) | linear(make, "out_adapter", latent, dim)
    return state | linear(make, "time_embedding.0", dim, 1) | linear(make, "time_embedding.2", dim, dim)


def nested(state):
    return {f"encoder.encodecmae_model.{key}": value for key, value in state.items()}


def random_maker(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: 0.3 * torch.randn(shape, generator=generator)


def shape_maker(*shape):
    return torch.zeros(()).expand(shape)  # a shape without memory


def naive_stack(state, prefix, x, heads=HEADS):
    """ResiDual with interleaved heads, head by head, as the paper of the encoder and its code have it."""

    def norm(y, name):
        y = y - y.mean(-1, keepdim=True)
        return y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * state[name + ".weight"] + state[name + ".bias"]

    a = b = x
    layers = sum(key.startswith(prefix) and key.endswith("wq.weight") for key in state)
    for i in range(layers):
        at = f"{prefix}encoder_layers.{i}."
        q, k, v = (a @ state[f"{at}att_layer.{w}.weight"].T for w in ("wq", "wk", "wv"))
        out = torch.zeros_like(q)
        for head in range(heads):
            own = slice(head, None, heads)  # channel d * heads + head
            score = q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(q.shape[-1] // heads)
            out[..., own] = score.softmax(-1) @ v[..., own]
        u = out @ state[f"{at}att_layer.wo.weight"].T
        a, b = norm(a + u, at + "norm1"), b + u
        inner = (a @ state[at + "ff_layer.0.weight"].T + state[at + "ff_layer.0.bias"]).clamp_min(0)
        f = inner @ state[at + "ff_layer.2.weight"].T + state[at + "ff_layer.2.bias"]
        a, b = norm(a + f, at + "norm2"), b + f
    return a + norm(b, prefix + "final_norm")


def naive_positions(state, x, scale="encoder.pos_encoder.scale"):
    place = torch.zeros(x.shape[1:], dtype=x.dtype)
    for t in range(x.shape[1]):
        for d in range(x.shape[2]):
            angle = t / 10000 ** (d // 2 * 2 / x.shape[2])
            place[t, d] = math.cos(angle) if d % 2 else math.sin(angle)
    return x + state[scale] * place


def naive_summary(state, frames):
    token = state["encoder.cls_tokens.weight"][None].expand(len(frames), 1, -1)
    return naive_stack(state, "encoder.encoder.", torch.cat((token, naive_positions(state, frames)), 1))[:, 0]


def naive_velocity(state, x, sigma, z):
    def dense(name, y):
        return y @ state[name + ".weight"].T + state[name + ".bias"]

    time = dense("time_embedding.2", dense("time_embedding.0", sigma[:, None]).clamp_min(0))
    noisy = naive_positions(state, dense("in_adapter", x))
    tokens = torch.cat((z[:, None], time[:, None], noisy), 1)
    return dense("out_adapter", naive_stack(state, "denoiser.", tokens)[:, 2:])


def test_the_layout_has_479_entries_and_the_published_number_of_parameters():
    state = nested(backbone(shape_maker, 10, 768, 12, 32)) | trained(shape_maker, dim=768, latent=128, hidden=4096)
    assert len(state) == 479
    own = published._own_entries(state)
    assert sum(value.numel() for value in own.values()) == 37_009_793
    config = published._shape_of(own, 4.0)
    assert config == SummaryConfig() and config.latent_frames == 300
    with torch.device("meta"):
        net = SummaryNet(config)
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in own.items()}
    assert [published._shape_of(own, s).latent_frames for s in (1.0, 10.0)] == [75, 750]


def test_the_network_equals_the_description():
    state = trained(random_maker(0), dim=16, latent=6, hidden=20, denoiser=3)
    own = published._own_entries(state)
    config = published._shape_of(own, 0.2)
    assert (config.summary_layers, config.denoiser_layers, config.hidden) == (2, 3, 20)
    net = SummaryNet(config)
    net.load_state_dict(own)
    draw = random_maker(1)
    frames, x, sigma, z = draw(4, 9, 16), draw(4, 15, 6), torch.rand(4), draw(4, 16)
    with torch.no_grad():
        found = net.summarise(frames, torch.full((4,), 9))
        assert float((found - naive_summary(state, frames)).abs().max()) < 2e-5
        assert float((net(x, sigma, z) - naive_velocity(state, x, sigma, z)).abs().max()) < 2e-5
        # the weights as they lie there, read as a usual attention, are another network
        wrong = dict(own)
        wrong["summary.layers.0.attention.wq.weight"] = state["encoder.encoder.encoder_layers.0.att_layer.wq.weight"]
        net.load_state_dict(wrong)
        assert float((net.summarise(frames, torch.full((4,), 9)) - found).abs().max()) > 1e-2


@pytest.fixture(scope="module")
def codec():
    return load_encodec(folder=None, random_weights=0)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A whole file of the released layout with a small transformer."""
    monkeypatch.setitem(encodecmae.CONFIGS, "encodecmae-base", EncodecMAEConfig(1, dim=48, heads=12))
    make = random_maker(2)
    state = nested(backbone(make, 1, 48, 12, 1)) | trained(make, dim=48, latent=128, hidden=32, denoiser=2)
    path = tmp_path / "autoencoder.ckpt"
    torch.save({"state_dict": state, "optimizer_states": [{"lr": 1e-4}], "epoch": 3}, path)
    return path, state


def test_a_released_file_goes_from_sound_to_sound(checkpoint, codec):
    path, state = checkpoint
    autoencoder = published.load_published("pecmae-1s", weights=path, codec=codec)
    assert (autoencoder.dim, autoencoder.layer, autoencoder.samples) == (48, "1", 24000)
    x = 0.1 * torch.randn(2, 24000, generator=torch.Generator().manual_seed(0))
    z = autoencoder.embed(x, 24000)
    with torch.inference_mode():
        frames = autoencoder.encoder.forward(x, torch.full((2,), 24000), [1])[0][0]
    assert frames.shape == (2, 75, 48)
    assert float((z - naive_summary(state, frames)).abs().max()) < 1e-4
    latents = autoencoder.generate(z, steps=2, guidance=1.0)
    assert latents.shape == (2, 75, 128) and autoencoder.codec.decode(latents).shape == (2, 24000)


def test_a_short_clip_in_the_papers_windows_is_that_of_the_network_without_a_mask(checkpoint, codec):
    """A clip of Medley-solos-DB: 71,332 samples are 222 whole frames and a last one of 292 samples, attended to."""
    path, state = checkpoint
    autoencoder = published.load_published("pecmae-4s", weights=path, codec=codec)
    x = 0.1 * torch.randn(1, 71_332, generator=torch.Generator().manual_seed(0))
    own = {key.removeprefix(encodecmae.NESTED): v for key, v in state.items() if key.startswith(encodecmae.NESTED)}
    with torch.inference_mode():
        latents = autoencoder.encoder.net.front(x)
        assert latents.shape == (1, 223, 128)
        projected = latents @ own["feat_projector.weight"].T + own["feat_projector.bias"]
        projected = naive_positions(own, projected, "positional_encoder.scale")
        expected = naive_summary(state, naive_stack(own, "visible_encoder.", projected, heads=12))
    z = {kind: autoencoder.embed(x, 24000, windows=kind) for kind in ("paper", "unpadded", "padded")}
    assert float((z["paper"] - expected).abs().max()) < 1e-5
    assert float((z["unpadded"] - expected).abs().max()) > 1e-4, "the last frame is not attended to"
    assert float((z["padded"] - expected).abs().max()) > 1e-3
    two = autoencoder.embed([x[0, :50_000], x[0]], 24000, windows="paper")
    assert float((two[1:] - expected).abs().max()) < 1e-5, "in a batch too"
    whole = 0.1 * torch.randn(1, 96_000, generator=torch.Generator().manual_seed(1))
    same = [autoencoder.embed(whole, 24000, windows=kind) for kind in ("paper", "unpadded", "padded")]
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], same[2])
    masking = autoencoder.encoder
    assert masking.unmasked().fingerprint != masking.fingerprint, "stores must not mix them"


def test_windows_start_where_those_of_the_papers_script_do(checkpoint, codec):
    path, _ = checkpoint
    autoencoder = published.load_published("pecmae-1s", weights=path, codec=codec)
    samples = [7_000, 24_000, 24_001, 47_999, 48_000, 48_001, 72_005]
    generator = np.random.default_rng(0)
    sounds = [0.1 * generator.standard_normal(n).astype(np.float32) for n in samples]
    clips = Clips.from_arrays(sounds, 24000, label=["a"] * len(samples))
    told = summarise(clips, autoencoder, windows="paper", cache=False, progress=False)
    starts = [(i, k / 24000) for i, n in enumerate(samples) for k in range(0, max(n - 24_000, 1), 24_000)]
    assert list(zip(told.rows.tolist(), told.starts.tolist(), strict=True)) == starts
    assert np.bincount(told.rows).tolist() == [1, 1, 1, 1, 1, 2, 3]
    short = autoencoder.embed([sounds[0]], 24000, windows="paper").numpy()
    np.testing.assert_allclose(told.z[:1], short, atol=1e-4)
    kept = summarise(clips, autoencoder, windows="unpadded", cache=False, progress=False)
    assert np.bincount(kept.rows).tolist() == [1, 1, 1, 2, 2, 2, 3], "an end of at least .1 s is kept"


def test_what_does_not_fit_is_named(checkpoint, codec, tmp_path):
    path, state = checkpoint
    with pytest.raises(ParameterError, match="name='pecmae' must be 'pecmae-4s', 'pecmae-1s' or 'pecmae-10s'"):
        published.load_published("pecmae")
    with pytest.raises(ParameterError, match="codec='mel' must be EnCodec at 24 kHz"):
        published.load_published(weights=path, codec=MelCodec())
    with pytest.raises(WeightsError, match="pecmae-4s.* are not on this machine.*699.5 MB"):
        published.load_published()
    cut = {key: value for key, value in state.items() if not key.startswith("encoder.cls")}
    torch.save({"state_dict": cut}, tmp_path / "cut.ckpt")
    with pytest.raises(WeightsError, match="cut.ckpt does not fit pecmae-4s: 1 missing: token"):
        published.load_published(weights=tmp_path / "cut.ckpt", codec=codec)
    torch.save({"state_dict": {"model.weight": torch.zeros(2)}}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="other.ckpt: no entries in_adapter.weight.*no summary autoencoder"):
        published.load_published(weights=tmp_path / "other.ckpt", codec=codec)
    torch.save({"state_dict": state, "hyper_parameters": SummaryConfig()}, tmp_path / "objects.ckpt")
    with pytest.raises(WeightsError, match=r"not a checkpoint of tensors.*take them out once.*torch\.save"):
        published.load_published(weights=tmp_path / "objects.ckpt", codec=codec)


@pytest.fixture
def files(checkpoint, tmp_path, monkeypatch):
    """Two files of equal shapes, which the table of sums knows as the 4 s and the 1 s model, and one of no table."""
    path, state = checkpoint
    found = {
        name: tmp_path / file for name, file in (("pecmae-4s", "a.ckpt"), ("pecmae-1s", "b.ckpt"), (None, "c.ckpt"))
    }
    for k, (name, file) in enumerate(found.items()):
        torch.save({"state_dict": state, "epoch": k}, file)
        if name:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            monkeypatch.setitem(published.PUBLISHED, name, (*published.PUBLISHED[name][:2], digest))
    return found


def test_a_released_file_is_told_by_its_sum_and_a_wrong_name_refused(files, codec, recwarn):
    for name, seconds in (("pecmae-4s", 4.0), ("pecmae-1s", 1.0)):
        by_name = load_autoencoder(name, weights=files[name], codec=codec)
        by_file = load_autoencoder(files[name], codec=codec)
        by_text = load_autoencoder(str(files[name]), codec=codec)
        assert by_name.name == by_file.name == by_text.name == name
        assert by_name.seconds == by_file.seconds == by_text.seconds == seconds
        assert by_name.fingerprint == by_file.fingerprint
    assert not [w for w in recwarn if "SHA-256" in str(w.message)]
    with pytest.raises(WeightsError, match="b.ckpt is the file of pecmae-1s, by its SHA-256, not of pecmae-4s"):
        load_autoencoder("pecmae-4s", weights=files["pecmae-1s"], codec=codec)
    with pytest.raises(WeightsError, match="a.ckpt is the file of pecmae-4s, .* not of pecmae-10s"):
        load_autoencoder("pecmae-10s", weights=files["pecmae-4s"], codec=codec)


def test_a_file_of_no_known_sum_needs_a_name_and_warns(files, codec, tmp_path, monkeypatch):
    with pytest.warns(
        UserWarning, match="c.ckpt: its SHA-256, .*, is that of none of the released.*as pecmae-10s .* 10 s"
    ):
        assert load_autoencoder("pecmae-10s", weights=files[None], codec=codec).seconds == 10
    with pytest.raises(
        WeightsError, match=r"c.ckpt: a summary autoencoder, but .* load_autoencoder\(name, weights=file\)"
    ):
        load_autoencoder(files[None], codec=codec)
    torch.save({"state_dict": {"model.weight": torch.zeros(2)}}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="other.ckpt: no entries in_adapter.weight.*no summary autoencoder"):
        load_autoencoder(tmp_path / "other.ckpt", codec=codec)
    file = published.PUBLISHED["pecmae-10s"][1]
    files[None].rename(tmp_path / file)
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(tmp_path))
    with pytest.warns(UserWarning, match="as pecmae-10s its window is taken to be 10 s"):
        assert load_autoencoder("pecmae-10s", codec=codec).seconds == 10


def test_the_built_in_loader_says_what_it_knows(tmp_path):
    with pytest.raises(WeightsError, match="no such file; expected mini-mel"):
        load_autoencoder(tmp_path / "absent.safetensors")
