"""A summary autoencoder of whole windows: one level, components in place of frames, draws that are chosen among."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from workbench.audio import level
from workbench.codecs.mel import MelCodec
from workbench.core.errors import AudioError, ParameterError, WeightsError
from workbench.datasets import Clips
from workbench.encoders.mini import load_mini
from workbench.sonify import SummaryAutoencoder, load_autoencoder, save_autoencoder, summarise
from workbench.sonify.window import WindowConfig, WindowNet

SMALL = WindowConfig(frames=11, latent_frames=25, squeezed=8, components=20, width=32, blocks=1)


def tone(k: int, seconds: float = 0.4, loud: float = 0.3) -> np.ndarray:
    t = np.arange(round(seconds * 16000)) / 16000
    return (loud * np.sin(2 * np.pi * (200 + 50 * k) * t)).astype(np.float32)


@pytest.fixture(scope="module")
def small() -> SummaryAutoencoder:
    torch.manual_seed(0)
    net, encoder, codec = WindowNet(SMALL), load_mini(), MelCodec()
    x = torch.from_numpy(np.stack([tone(k) for k in range(40)]))
    frames = encoder.forward(x, torch.full((40,), 6400), [2])[0][0]
    net.fit(frames, codec.encode(x), 0)
    return SummaryAutoencoder(net, encoder, codec, layer="2", seconds=0.4, level=-20.0, name="small")


def test_a_summary_knows_nothing_of_the_level_and_decode_gives_it_back(small):
    loud, quiet = small.embed([tone(1)], 16000), small.embed([0.01 * tone(1)], 16000)
    assert float((loud - quiet).abs().max()) < 1e-3
    assert float(loud.norm()) == pytest.approx(16, rel=1e-3)
    z = loud.expand(3, -1)
    assert [level(x.numpy()) for x in small.decode(z, steps=2)] == pytest.approx([-20] * 3, abs=0.01)
    assert [level(x.numpy()) for x in small.decode(z, steps=2, levels=[-40, -30, -3])] == pytest.approx(
        [-40, -30, -3], abs=0.01
    )


def test_of_some_draws_the_nearest_is_taken(small):
    z = small.embed([tone(k) for k in range(6)], 16000)
    one, best = small.decode(z, steps=2, seed=3), small.decode(z, steps=2, seed=3, draws=4)

    def distance(sound):
        return (small.embed(sound, 16000) - z).norm(dim=1)

    assert (distance(best) <= distance(one) + 1e-4).all() and (distance(best) < distance(one) - 1e-4).any()
    assert torch.equal(best, small.decode(z, steps=2, seed=3, draws=4))
    assert torch.allclose(best[2], small.decode(z[2:3], steps=2, seed=3, draws=4)[0], atol=1e-4)


def test_a_row_is_the_same_alone_with_its_seed(small):
    z = small.embed([tone(k) for k in range(3)], 16000)
    together = small.generate(z, steps=3, guidance=1.5, seed=[4, 9, 4])
    assert together.shape == (3, 25, 80)
    assert float((small.generate(z[1:2], steps=3, guidance=1.5, seed=9) - together[1]).abs().max()) < 1e-3


def test_v_and_the_clean_components_say_the_same():
    torch.manual_seed(0)
    net = WindowNet(SMALL)
    x, z, sigma = torch.randn(4, 20), torch.randn(4, 256), torch.tensor([0.05, 0.3, 0.7, 1.0])
    alpha, beta = torch.cos(sigma * np.pi / 2)[:, None], torch.sin(sigma * np.pi / 2)[:, None]
    assert torch.allclose(alpha * x - beta * net(x, sigma, z), net.clean(x, sigma, z), atol=1e-4)
    assert torch.allclose(net(x, sigma, 3 * z), net(x, sigma, z), atol=1e-3), "the length of a summary says nothing"


def test_what_is_saved_is_loaded(small, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_autoencoder(small, path)
    loaded = load_autoencoder(path, device="cpu")
    assert (loaded.level, loaded.layer, loaded.seconds) == (-20.0, "2", 0.4)
    assert loaded.net.axes.dtype == torch.int8 and torch.equal(loaded.net.axes, small.net.axes)
    assert float((loaded.embed([tone(1)], 16000) - small.embed([tone(1)], 16000)).abs().max()) < 2e-2
    other = SummaryAutoencoder(small.net, small.encoder, small.codec, layer="2", seconds=0.4)
    assert other.fingerprint != small.fingerprint, "another level, other summaries"


def test_a_file_of_another_network_is_refused(small, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    save_autoencoder(small, tmp_path / "mine.safetensors")
    with safe_open(str(tmp_path / "mine.safetensors"), "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        settings = json.loads(file.metadata()["settings"])
    path = tmp_path / "other.safetensors"
    save_file(tensors, str(path), metadata={"settings": json.dumps(settings | {"network": "flow"})})
    with pytest.raises(WeightsError, match="its network is 'flow'; this package knows transformer, window"):
        load_autoencoder(path)
    save_file(tensors, str(path), metadata={"settings": json.dumps(settings | {"level": "loud"})})
    with pytest.raises(WeightsError, match="other.safetensors: its level is 'loud'; a number in dB or nothing"):
        load_autoencoder(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: a.embed([tone(0)], 16000, windows="paper"),
            "windows='paper' must be 'padded': small reads whole windows",
        ),
        (lambda a: a.summarise(torch.zeros(1, 7, 256), torch.tensor([7])), r"lengths=\[7\] must be 11, those of a"),
        (lambda a: a.decode(torch.zeros(1, 256), draws=0), "draws=0 must be a whole number, 1 or more"),
        (
            lambda a: a.decode(torch.ones(1, 256), steps=1, levels=[1, 2]),
            "levels='2 numbers' must be one for each of 1",
        ),
        (lambda a: SummaryAutoencoder(a.net, a.encoder, a.codec, layer=2, seconds=0.4, level=3.0), "level=3.0 must be"),
    ],
)
def test_bad_arguments_are_named(small, call, message):
    with pytest.raises(ParameterError, match=message):
        call(small)


def test_levels_are_kept_beside_the_vectors_and_silence_is_left_out(small, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    half = np.concatenate([tone(3), np.zeros(6400, np.float32)])
    clips = Clips.from_arrays([tone(1), 0.1 * tone(2), half, tone(4, 0.2)], 16000, label=list("abab"))
    with pytest.warns(UserWarning, match="1 windows below -80 dB are left out: 2 from 0.4 s"):
        told = summarise(clips, small, progress=False)
    assert told.rows.tolist() == [0, 1, 2, 3] and told.level == -20
    expected = [level(0.3 * tone(1, loud=1.0)), level(tone(2)) - 20, level(tone(3)), level(tone(4)) - 10 * np.log10(2)]
    assert told.levels == pytest.approx(expected, abs=0.05)
    for i in range(4):
        assert level(told.window(i, 16000)) == pytest.approx(-20, abs=0.01)
        assert level(told.windows(16000).audio(i)[0]) == pytest.approx(-20, abs=0.01)
    assert level(told.audio(1)[0]) == pytest.approx(-20, abs=0.01)
    assert level(told.audio(3)[0]) == pytest.approx(-17, abs=0.05), "half a window of sound, at its window's level"
    again = summarise(clips, small, progress=False)
    assert np.array_equal(again.levels, told.levels), "read from the cache"
    with pytest.raises(AudioError, match="none of its 1 clips is louder than -80 dB anywhere"):
        summarise(Clips.from_arrays([np.zeros(6400)], 16000), small, progress=False)


def test_summaries_that_hold_the_level_take_no_other():
    from workbench.sonify.network import SummaryConfig, SummaryNet

    config = SummaryConfig(dim=256, latent_dim=80, latent_frames=25, summary_layers=1, denoiser_layers=1, hidden=32)
    plain = SummaryAutoencoder(SummaryNet(config), load_mini(), MelCodec(), layer="2", seconds=0.4)
    with pytest.raises(ParameterError, match="levels=.* must be None: the summaries of own hold the level themselves"):
        plain.decode(torch.zeros(1, 256), steps=1, levels=[-20])
    told = summarise(Clips.from_arrays([tone(1), 0.1 * tone(1)], 16000), plain, cache=False, progress=False)
    assert told.levels is None and level(told.audio(1)[0]) == pytest.approx(level(tone(1)) - 20, abs=0.01)
