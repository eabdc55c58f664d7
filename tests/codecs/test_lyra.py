"""Lyra: real sound through the published graphs, state, lengths, quantisation, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from workbench.codecs.lyra import SHA256, LyraCodec
from workbench.core.errors import ParameterError, WeightsError


@pytest.fixture(scope="module")
def files(shared_weights):
    return {name: shared_weights / "lyra" / name for name in SHA256}


@pytest.fixture(scope="module")
def codec(files):
    pytest.importorskip("ai_edge_litert", reason="needs the package ai-edge-litert")
    return LyraCodec(files)


@pytest.fixture(scope="module")
def speech(shared_audio):
    """2 s of four speakers."""
    from workbench.audio import load

    found = sorted((shared_audio / "librispeech").rglob("*.flac"))[::25]
    return torch.from_numpy(np.stack([load(path, rate=16000)[0][8000:40000] for path in found]))


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def log_mel(x):
    from librosa.feature import melspectrogram

    return np.log(melspectrogram(y=x.numpy(), sr=16000, n_fft=1024, hop_length=256, n_mels=80) + 1e-5)


def likeness(x, y):
    """Mean correlation of two batches' log-mel spectra."""
    return np.mean([np.corrcoef(log_mel(a).ravel(), log_mel(b).ravel())[0, 1] for a, b in zip(x, y, strict=True)])


def test_shapes(codec):
    assert (codec.rate, codec.hop, codec.dim, codec.frame_rate) == (16000, 320, 64, 50.0)
    for samples, frames in ((16000, 50), (1000, 4), (320, 1), (1, 1)):
        latents = codec.encode(noise(2, samples))
        assert latents.shape == (2, frames, 64) and latents.dtype == torch.float32 and frames == codec.frames(samples)
        sound = codec.decode(latents, length=samples)
        assert sound.shape == (2, samples) and torch.isfinite(sound).all()


def test_a_sound_remembers_nothing_of_the_one_before(codec):
    quiet, loud = noise(1, 3200), 5 * noise(1, 3200, seed=1)
    first = codec.encode(quiet)
    codec.decode(codec.encode(loud))
    assert torch.equal(codec.encode(quiet), first)
    together = codec.encode(torch.cat((loud, quiet, loud)))
    assert torch.equal(together[1:2], first) and not torch.equal(together[0], together[1])
    assert torch.equal(codec.decode(together)[1:2], codec.decode(first))


def test_a_hop_only_begun_is_filled_with_zeros(codec):
    x = noise(1, 1000)
    assert torch.equal(codec.encode(x), codec.encode(torch.nn.functional.pad(x, (0, 280))))


def test_speech_survives_the_round_trip(codec, speech):
    latents = codec.encode(speech)
    found = {None: likeness(speech, codec.decode(latents))}
    found |= {stages: likeness(speech, codec.decode(codec.quantise(latents, stages=stages))) for stages in (4, 16, 46)}
    # known, on all of librispeech and other mel settings: .979, .966 at 16 stages, .977 at 46
    assert found[None] == pytest.approx(0.975, abs=0.01)
    assert found[4] < found[16] < found[46] < found[None]
    assert found[16] == pytest.approx(0.960, abs=0.01)
    shuffled = likeness(speech, codec.decode(latents[[1, 2, 3, 0]]))
    assert shuffled < found[4] - 0.1  # control: another speaker's sentence


def test_the_decoder_is_neither_late_nor_loud(codec, speech):
    sound = codec.round_trip(speech)
    x, y = speech[0].numpy(), sound[0].numpy()
    lags = range(-200, 201)
    products = [float(x[400:30000] @ y[400 + lag : 30000 + lag]) for lag in lags]
    assert abs(lags[int(np.argmax(products))]) <= 2
    assert float(sound.std() / speech.std()) == pytest.approx(1, abs=0.1)


def test_quantised_latents_do_not_depend_on_order(codec):
    latents = codec.encode(noise(1, 1600))
    quantised = codec.quantise(latents, stages=8)
    assert quantised.shape == latents.shape
    assert torch.equal(codec.quantise(latents.flip(1), stages=8), quantised.flip(1))
    with pytest.raises(ParameterError, match="stages=47 must be a whole number from 1 to 46"):
        codec.quantise(latents, stages=47)


def test_bad_sounds(codec):
    with pytest.raises(ParameterError, match=r"x=\(2, 3, 4\) must be waveforms"):
        codec.encode(torch.zeros(2, 3, 4))
    with pytest.raises(ParameterError, match="1 samples of them' must be finite"):
        codec.encode(torch.tensor([[0.0, torch.inf]]))
    with pytest.raises(ParameterError, match=r"latents=\(1, 5, 128\) must be \(B, T, 64\)"):
        codec.decode(torch.zeros(1, 5, 128))


def test_files_that_are_not_the_published_ones(files, codec, tmp_path):
    other = tmp_path / "quantizer.tflite"
    other.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"quantizer\.tflite: not the published graph of lyra \(sha256 "):
        LyraCodec({**files, "quantizer.tflite": other})
    with pytest.raises(WeightsError, match=r"lyragan\.tflite: no such file; lyra needs soundstream_encoder"):
        LyraCodec({name: path for name, path in files.items() if name != "lyragan.tflite"})


def test_without_the_package_one_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ParameterError, match=r'name=\'lyra\' must be used .*pip install "audio-workbench\[lyra\]"'):
        LyraCodec({})
