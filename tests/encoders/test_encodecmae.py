"""EnCodecMAE: the published layout and sizes, loading, padding, layers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import workbench.encoders.encodecmae as module
from workbench.core.errors import AudioError, ParameterError, WeightsError
from workbench.encoders import describe_encoder, extract, load_encoder
from workbench.encoders.catalog import _encodecmae_specs
from workbench.encoders.encodecmae import (
    CONFIGS,
    MEL_WINDOW,
    EncodecMAE,
    EncodecMAEConfig,
    EncodecMAENet,
    _own_entries,
    encodec_half,
    load_encodecmae,
    read_checkpoint,
)
from workbench.encoders.residual import sinusoidal

TINY = EncodecMAEConfig(2, 48, 4)
TINY_MEL = EncodecMAEConfig(2, 48, 4, mel=True)


def encodec_released(make):
    """EnCodec's encoder as its authors name it: weight norm's length g and direction v beside each bias."""
    state = {}

    def conv(key, outputs, inputs, kernel):
        state[f"{key}.conv.conv.bias"] = make(outputs)
        state[f"{key}.conv.conv.weight_g"] = make(outputs, 1, 1)
        state[f"{key}.conv.conv.weight_v"] = make(outputs, inputs, kernel)

    conv("model.0", 32, 1, 7)
    for i, ratio in enumerate((2, 4, 5, 8)):
        c, block = 32 * 2**i, 1 + 3 * i
        conv(f"model.{block}.block.1", c // 2, c, 3)
        conv(f"model.{block}.block.3", c, c // 2, 1)
        conv(f"model.{block}.shortcut", c, c, 1)
        conv(f"model.{block + 2}", 2 * c, c, 2 * ratio)
    for layer in range(2):
        for side in ("ih", "hh"):
            state[f"model.13.lstm.weight_{side}_l{layer}"] = make(2048, 512)
            state[f"model.13.lstm.bias_{side}_l{layer}"] = make(2048)
    conv("model.15", 128, 512, 7)
    return state


def stack_released(make, layers, dim, heads, hidden=4096):
    """A ResiDual stack as released: one feed-forward under every layer's name."""
    inner = heads * (dim // heads)
    shared = {"0.weight": make(hidden, dim), "0.bias": make(hidden), "2.weight": make(dim, hidden), "2.bias": make(dim)}
    state = {"final_norm.weight": make(dim), "final_norm.bias": make(dim)}
    for i in range(layers):
        for name in ("wq", "wk", "wv"):
            state[f"encoder_layers.{i}.att_layer.{name}.weight"] = make(inner, dim)
        state[f"encoder_layers.{i}.att_layer.wo.weight"] = make(dim, inner)
        state |= {f"encoder_layers.{i}.ff_layer.{key}": value for key, value in shared.items()}
        for norm in ("norm1", "norm2"):
            state |= {f"encoder_layers.{i}.{norm}.{key}": make(dim) for key in ("weight", "bias")}
    return state


def released(make, config, codebooks=32):
    """A version 1 checkpoint, codebooks and pretraining decoder included."""
    dim, heads = config.dim, config.heads
    state = {f"wav_encoder.model.{key}": value for key, value in encodec_released(make).items()}
    for i in range(codebooks):
        start = f"target_encoder.model.vq.layers.{i}._codebook."
        state |= {start + "inited": make(1), start + "cluster_size": make(1024)}
        state |= {start + "embed": make(1024, 128), start + "embed_avg": make(1024, 128)}
    state |= {"feat_projector.weight": make(dim, 128), "feat_projector.bias": make(dim)}
    state |= {"positional_encoder.scale": make(), "head.layer.weight": make(8192, dim), "head.layer.bias": make(8192)}
    state |= {"decoder_projector.weight": make(dim, dim), "decoder_projector.bias": make(dim)}
    state |= {f"visible_encoder.{key}": value for key, value in stack_released(make, config.layers, dim, heads).items()}
    return state | {f"decoder.{key}": value for key, value in stack_released(make, 2, dim, heads).items()}


def second(make, config):
    """A version 2 checkpoint with the mel front end, by the authors' later names."""
    state = {}
    for key, value in released(make, config, codebooks=1).items():
        if key.startswith("wav_encoder."):
            continue
        key = key.replace("feat_projector.", "wav_encoder.post_net.")
        key = key.replace("decoder_projector.", "visible_encoder.post_net.")
        state[key.replace("positional_encoder.", "masker.positional_encoder.")] = value
    state["decoder.positional_encoder.scale"] = make()
    state["wav_encoder.post_net.weight"] = make(config.dim, 256)
    return state


def random_maker(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: 0.1 * torch.randn(shape, generator=generator)


def shape_maker(*shape):
    return torch.zeros(()).expand(shape)  # a shape without memory


def distinct(state):
    """Numbers of a state dict, a tensor that stands under several names once."""
    shared = {
        key: value for key, value in state.items() if ".ff_layer." not in key or ".encoder_layers.0." in f".{key}"
    }
    return sum(value.numel() for value in shared.values())


@pytest.fixture(scope="module")
def tiny_files(tmp_path_factory):
    """Random checkpoints of a small model in the two released layouts."""
    folder = tmp_path_factory.mktemp("encodecmae")
    first = released(random_maker(0), TINY, codebooks=1)
    torch.save({"state_dict": first}, folder / "model.pt")
    torch.save({"state_dict": second(random_maker(1), TINY_MEL), "config": "x = 1", "imports": []}, folder / "mel.pt")
    nested = {f"encoder.encodecmae_model.{key}": value for key, value in first.items()}
    nested |= {"encoder.cls_tokens.weight": torch.zeros(1, 48), "denoiser.final_norm.bias": torch.zeros(48)}
    torch.save({"state_dict": nested, "optimizer_states": [{"lr": 1e-4}], "epoch": 3}, folder / "autoencoder.ckpt")
    return folder


@pytest.fixture(autouse=True)
def tiny_names(monkeypatch):
    monkeypatch.setitem(CONFIGS, "tiny", TINY)
    monkeypatch.setitem(CONFIGS, "tiny-mel", TINY_MEL)


@pytest.fixture(scope="module")
def encoders():
    found = []
    for config in (TINY, TINY_MEL):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            found.append(EncodecMAE(EncodecMAENet(config), name="tiny"))
    return found


def run(encoder, clips, layers=(2,)):
    """Frames of each clip in one batch, (T, D) a clip and layer; what lies behind a clip is not zero."""
    lengths = torch.tensor([len(clip) for clip in clips])
    x = torch.full((len(clips), int(lengths.max())), 0.7)
    for row, clip in zip(x, clips, strict=True):
        row[: len(clip)] = clip
    with torch.inference_mode():
        outputs = encoder.forward(x, lengths, list(layers))
    return [[frames[i, :n] for frames, counts in outputs for n in [int(counts[i])]] for i in range(len(clips))]


def noise(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * torch.randn(n, generator=generator) for n in lengths]


def test_the_published_layout_has_345_entries_and_the_published_size():
    base, small = (released(shape_maker, CONFIGS[f"encodecmae-{size}"]) for size in ("base", "small"))
    assert len(base) == 345
    assert distinct(base) == 63_780_641 and distinct(small) == 51_968_801
    assert sum(value.numel() for key, value in base.items() if key.startswith("wav_encoder.")) == 7_425_792


@pytest.mark.parametrize("name", ["encodecmae-small", "encodecmae-base", "encodecmae-large", "encodecmae-mel-large-st"])
def test_the_published_layouts_fit_the_networks(name):
    config = CONFIGS[name]
    with torch.device("meta"):
        net = EncodecMAENet(config)
    state = (second if config.mel else released)(shape_maker, config)
    own = _own_entries(state, config, path="model.pt", name=name)
    assert {key: value.shape for key, value in own.items()} == {k: v.shape for k, v in net.state_dict().items()}


def test_both_halves_of_encodec_have_the_published_size():
    for half, size in (("encoder", 7_425_792), ("decoder", 7_426_018)):
        state = encodec_half(half).state_dict()
        assert len(state) == 62 and sum(value.numel() for value in state.values()) == size


def test_a_released_file_is_loaded(tiny_files):
    encoder, state = load_encodecmae("tiny", weights=tiny_files / "model.pt"), read_checkpoint(tiny_files / "model.pt")
    start = "wav_encoder.model.model.4.block.1.conv.conv."
    v = state[start + "weight_v"]
    expected = state[start + "weight_g"] * v / v.flatten(1).norm(dim=1)[:, None, None]
    found = encoder.net.front.encoder.layers[4].block[1].conv.weight
    assert float((found - expected).abs().max()) < 1e-6
    wq = state["visible_encoder.encoder_layers.1.att_layer.wq.weight"]
    own = encoder.net.visible.layers[1].attention.wq.weight
    assert torch.equal(own[:3], wq[[0, 4, 8]]) and torch.equal(own[12], wq[1])  # 4 heads of 12
    assert float(encoder.net.scale) == float(state["positional_encoder.scale"])


def test_layer_0_is_the_projected_front_end_with_scaled_positions(tiny_files):
    encoder, state = load_encodecmae("tiny", weights=tiny_files / "model.pt"), read_checkpoint(tiny_files / "model.pt")
    (clip,) = noise(3200)
    ((frames,),) = run(encoder, [clip], layers=[0])
    latents = encoder.net.front(clip[None])[0]
    expected = latents @ state["feat_projector.weight"].T + state["feat_projector.bias"]
    expected = expected + state["positional_encoder.scale"] * sinusoidal(10, 48)
    assert float((frames - expected).abs().max()) < 1e-5


def test_a_summary_autoencoder_holds_the_same_encoder(tiny_files):
    plain = load_encodecmae("tiny", weights=tiny_files / "model.pt")
    nested = load_encodecmae("tiny", weights=tiny_files / "autoencoder.ckpt")
    assert nested.fingerprint == plain.fingerprint


def test_newer_names_of_the_weight_norm_load_too(tiny_files, tmp_path):
    state = read_checkpoint(tiny_files / "model.pt")
    newer = {}
    for key, value in state.items():
        key = key.replace(".weight_g", ".parametrizations.weight.original0")
        newer[key.replace(".weight_v", ".parametrizations.weight.original1")] = value
    torch.save(newer, tmp_path / "newer.pt")
    assert (
        load_encodecmae("tiny", weights=tmp_path / "newer.pt").fingerprint
        == load_encodecmae("tiny", weights=tiny_files / "model.pt").fingerprint
    )


def test_version_2_loads_and_takes_mel_bands(tiny_files):
    encoder = load_encodecmae("tiny-mel", weights=tiny_files / "mel.pt")
    ((frames,),) = run(encoder, noise(96000))
    assert frames.shape == (300, 48) and encoder.frame_rate == pytest.approx(24000 / 318)
    assert encoder.net.projector.weight.shape == (48, 256)


def test_mel_bands_are_kaldis():
    """A sine of full scale at 1 kHz lands in the band that the Kaldi mel formula gives."""
    t = torch.arange(24000) / 24000
    bands = module._MelFront()(torch.sin(2 * torch.pi * 1000 * t)[None])[0]
    mels = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    step = (mels(12000) - mels(20)) / 257
    assert bands.shape == (74, 256)
    assert abs(float(bands.mean(0).argmax()) - ((mels(1000) - mels(20)) / step - 1)) < 1
    silence = module._MelFront()(torch.zeros(1, 1000))
    assert float(silence.max()) == pytest.approx((np.log(np.finfo(np.float32).eps) + 6.12) / 4.82, abs=1e-3)


@pytest.mark.parametrize(("samples", "frames"), [(96000, 300), (71332, 223), (320, 1), (321, 2)])
def test_frames_of_a_clip(encoders, samples, frames):
    ((found,),) = run(encoders[0], noise(samples), layers=[0])
    assert found.shape == (frames, 48)


@pytest.mark.parametrize("which", [0, 1])
def test_frames_do_not_depend_on_batch_mates(encoders, which):
    encoder = encoders[which]
    clips = noise(9600, 3215, 9600, 3215, 1000, 150)
    together = run(encoder, clips, layers=(0, 1, 2))
    for clip, found in zip(clips, together, strict=True):
        (alone,) = run(encoder, [clip], layers=(0, 1, 2))
        for a, b in zip(found, alone, strict=True):
            assert a.shape == b.shape and float((a - b).abs().max()) < 1e-4 * float(b.abs().max())


def test_encodecs_frames_depend_on_where_a_clip_ends(encoders):
    """Which is why the front end sees each clip alone: zeros behind it change its last frame."""
    (clip,) = noise(3215)
    front = encoders[0].net.front
    a, b = front(clip[None])[0], front(torch.nn.functional.pad(clip, (0, 500))[None])[0]
    assert float((a[10] - b[10]).detach().abs().max()) > 1e-3


def test_a_frame_that_is_not_complete_is_not_attended_to(encoders):
    (clip,) = noise(3210)
    other = clip.clone()
    other[3201:] = 0.9
    ((a,),), ((b,),) = run(encoders[0], [clip]), run(encoders[0], [other])
    assert len(a) == 11 and float((a[:10] - b[:10]).abs().max()) < 1e-5
    assert float((a[10] - b[10]).abs().max()) > 1e-3


@pytest.mark.parametrize(("which", "minimum"), [(0, 320), (1, MEL_WINDOW)])
def test_short_clips_are_zero_padded_to_one_frame(encoders, which, minimum):
    encoder = encoders[which]
    assert encoder.minimum == minimum
    (clip,) = noise(100)
    ((short,),) = run(encoder, [clip])
    ((padded,),) = run(encoder, [torch.nn.functional.pad(clip, (0, minimum - 100))])
    assert short.shape == (1, 48) and torch.equal(short, padded)
    ((_, (vector,)),) = extract(encoder, [clip.numpy()], layers=-1, progress=False)
    np.testing.assert_allclose(vector, short[0], rtol=1e-5)


def test_seeded_random_weights(encoders):
    first, again, other = (load_encodecmae("tiny", weights=None, random_weights=seed) for seed in (5, 5, 6))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.name == "tiny-random5"
    (clip,) = noise(6400)
    ((a,),), ((b,),) = run(first, [clip]), run(again, [clip])
    assert torch.equal(a, b)
    latents = first.net.front(clip[None])[0]
    assert float(latents.std(0).mean()) > 0.1 * float(latents.abs().mean())  # the sound comes through


def test_it_loads_by_name():
    encoder, spec = (
        load_encoder("encodecmae-small", random_weights=0, device="cpu"),
        describe_encoder("encodecmae-small"),
    )
    assert (spec.rate, spec.layers, spec.dim) == (encoder.rate, len(encoder.layers), encoder.dim) == (24000, 6, 768)
    assert spec.frame_rate == encoder.frame_rate == 75.0 and encoder.padding == "masked"
    assert sum(p.numel() for p in encoder.net.visible.parameters()) == 5 * 2_362_368 + 6_297_856
    assert spec.size == 207_986_541 and len(spec.sha256) == 64
    with pytest.raises(WeightsError, match=r"encodecmae-base/model\.pt; 255\.3 MB; licence MIT"):
        load_encoder("encodecmae-base", device="cpu")


def test_names_of_published_files_do_not_clash():
    files = [spec.files[0] for spec in _encodecmae_specs()]
    assert len(set(files)) == len(files) and all("/" in file for file in files)
    assert describe_encoder("encodecmae-mel-base").size is None


def test_another_version_is_refused(tiny_files):
    with pytest.raises(WeightsError, match=r"mel\.pt is of another version than tiny: it takes 256 mel bands"):
        load_encodecmae("tiny", weights=tiny_files / "mel.pt")
    with pytest.raises(WeightsError, match=r"it takes 128 EnCodec latents .*tiny-mel takes 256 mel bands"):
        load_encodecmae("tiny-mel", weights=tiny_files / "model.pt")


def test_another_size_is_refused_with_its_first_keys(tiny_files, monkeypatch):
    monkeypatch.setitem(CONFIGS, "deeper", EncodecMAEConfig(3, 48, 4))
    with pytest.raises(
        WeightsError, match=r"model\.pt does not fit deeper: 8 missing: visible\.layers\.2\.attention\.wq"
    ):
        load_encodecmae("deeper", weights=tiny_files / "model.pt")
    monkeypatch.setitem(CONFIGS, "wider", EncodecMAEConfig(2, 64, 4))
    with pytest.raises(WeightsError, match=r"of another shape: projector\.weight \(48, 128\), expected \(64, 128\); "):
        load_encodecmae("wider", weights=tiny_files / "model.pt")


def test_unknown_entries_are_refused(tiny_files, tmp_path):
    state = read_checkpoint(tiny_files / "model.pt") | {"visible_encoder.gate": torch.zeros(3)}
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match=r"odd\.pt does not fit tiny: 1 unexpected: visible\.gate"):
        load_encodecmae("tiny", weights=tmp_path / "odd.pt")


def test_layers_with_blocks_of_their_own_are_refused(tiny_files, tmp_path):
    state = dict(read_checkpoint(tiny_files / "model.pt"))
    state["visible_encoder.encoder_layers.1.ff_layer.2.bias"] = torch.ones(48)
    torch.save(state, tmp_path / "unshared.pt")
    with pytest.raises(WeightsError, match=r"unshared\.pt: encoder_layers\.1\.ff_layer\.2\.bias differs from that of"):
        load_encodecmae("tiny", weights=tmp_path / "unshared.pt")


class Surprise:
    pass


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pt: no such file"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(WeightsError, match="is a folder; it should be a file with a checkpoint"):
        read_checkpoint(tmp_path)
    (tmp_path / "half.pt").write_bytes(b"PK\x03\x04 not the rest")
    with pytest.raises(WeightsError, match=r"half\.pt: not a checkpoint of tensors"):
        read_checkpoint(tmp_path / "half.pt")
    torch.save({"state_dict": {"a": torch.zeros(1)}, "model": Surprise()}, tmp_path / "pickle.pt")
    with pytest.raises(
        WeightsError, match=r"pickle\.pt: not a checkpoint of tensors and plain values \(UnpicklingError"
    ):
        read_checkpoint(tmp_path / "pickle.pt")
    torch.save({"a": 1}, tmp_path / "number.pt")
    with pytest.raises(WeightsError, match=r"number\.pt: expected a dict of tensors"):
        read_checkpoint(tmp_path / "number.pt")
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other\.pt: no EnCodecMAE checkpoint, its keys begin with layer\.weight"):
        load_encodecmae("tiny", weights=tmp_path / "other.pt")


def test_bad_arguments_and_clips(encoders):
    with pytest.raises(ParameterError, match="name='encodecmae-huge' must be among encodecmae-small"):
        load_encodecmae("encodecmae-huge", weights=None, random_weights=0)
    with pytest.raises(ParameterError, match="weights=None must be a checkpoint file"):
        load_encodecmae("tiny", weights=None)
    bad = np.zeros(4000, np.float32)
    bad[7] = np.nan
    with pytest.raises(AudioError, match="clip 0: 1 of 4000 samples are NaN"):
        list(extract(encoders[0], [bad], progress=False))
    with pytest.raises(
        AudioError, match=r"clip 0: expected a waveform \(samples,\), got an array of shape \(2, 4000\)"
    ):
        list(extract(encoders[0], [np.zeros((2, 4000), np.float32)], progress=False))
