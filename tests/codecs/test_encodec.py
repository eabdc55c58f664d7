"""EnCodec as a codec: frames, equality with transformers, loading, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.codecs.encodec import ROWS, EncodecCodec, load_encodec
from workbench.core.errors import ParameterError, WeightsError


@pytest.fixture(scope="module")
def model():
    """A seeded random EnCodec of transformers, weight norms included."""
    from transformers import EncodecConfig, EncodecModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return EncodecModel(EncodecConfig()).eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("encodec_24khz")
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def codec(folder):
    return load_encodec(folder=folder)


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("samples", "frames"), [(96000, 300), (71332, 223), (240000, 750), (2400, 8), (1000, 4), (320, 1), (1, 1)]
)
def test_frames_of_a_sound(codec, samples, frames):
    latents = codec.encode(noise(1, samples))
    assert latents.shape == (1, frames, 128) and frames == codec.frames(samples)
    sound = codec.decode(latents[:, :4])
    assert sound.shape == (1, 320 * min(4, frames)) and torch.isfinite(sound).all()


def test_it_is_transformers_model(codec, model):
    x = noise(2, 7133)
    with torch.no_grad():
        expected = model.encoder(x[:, None])
        sound = model.decoder(expected)
    latents = codec.encode(x)
    assert torch.equal(latents, expected.transpose(1, 2))
    assert torch.equal(codec.decode(latents), sound[:, 0])
    assert torch.equal(codec.round_trip(x), sound[:, 0, :7133])
    assert codec.rate == 24000 and codec.frame_rate == 75.0 and codec.hop == 320 and codec.dim == 128


def test_older_files_of_transformers_load(codec, folder, tmp_path):
    """facebook/encodec_24khz calls the two tensors of a weight norm weight_g and weight_v."""
    older = {}
    for key, value in load_file(folder / "model.safetensors").items():
        key = key.replace("parametrizations.weight.original0", "weight_g")
        older[key.replace("parametrizations.weight.original1", "weight_v")] = value.clone()
    assert "decoder.layers.0.conv.weight_g" in older
    save_file(older, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    assert load_encodec(folder=tmp_path).fingerprint == codec.fingerprint


def test_no_codebook_is_built(codec):
    for half, size in ((codec.encoder, 7_425_792), (codec.decoder, 7_426_018)):
        assert sum(p.numel() for p in half.parameters()) == size


def test_more_sounds_than_go_through_at_once(codec):
    x = noise(ROWS + 2, 640)
    latents = codec.encode(x)
    assert latents.shape == (ROWS + 2, 2, 128)
    assert float((latents[-1] - codec.encode(x[-1:])[0]).abs().max()) < 1e-5
    assert codec.decode(latents, length=500).shape == (ROWS + 2, 500)


def test_seeded_random_weights():
    first, again, other = (load_encodec(folder=None, random_weights=seed) for seed in (3, 3, 4))
    assert isinstance(first, EncodecCodec) and first.name == "encodec-random3"
    assert first.fingerprint == again.fingerprint != other.fingerprint
    x = noise(1, 3200)
    assert torch.equal(first.round_trip(x), again.round_trip(x))


def test_bad_sounds_and_latents(codec):
    with pytest.raises(ParameterError, match=r"x=\(4000,\) must be waveforms \(B, samples\)"):
        codec.encode(torch.zeros(4000))
    x = torch.zeros(1, 4000)
    x[0, :2] = torch.nan
    with pytest.raises(ParameterError, match="2 samples of them' must be finite"):
        codec.encode(x)
    with pytest.raises(ParameterError, match=r"latents=\(1, 3, 64\) must be \(B, T, 128\)"):
        codec.decode(torch.zeros(1, 3, 64))
    with pytest.raises(ParameterError, match="length=1000 must be 1 to 960 samples"):
        codec.decode(torch.zeros(1, 3, 128), length=1000)


def test_folders_that_do_not_fit(folder, tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json: no such file"):
        load_encodec(folder=tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"model\.safetensors: no such file"):
        load_encodec(folder=tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not the rest")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_encodec(folder=tmp_path)
    state = load_file(folder / "model.safetensors")
    del state["decoder.layers.0.conv.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit the decoder of EnCodec: 1 missing: layers\.0\.conv\.bias"):
        load_encodec(folder=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "audio_channels": 2, "normalize": True}))
    with pytest.raises(ParameterError, match=r"must be a mono EnCodec .* not 2 channel\(s\), normalize=True"):
        load_encodec(folder=tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "dac"}')
    with pytest.raises(ParameterError, match="model_type='dac' must be 'encodec'"):
        load_encodec(folder=tmp_path)
    with pytest.raises(ParameterError, match="folder=None must be a model folder"):
        load_encodec(folder=None)
