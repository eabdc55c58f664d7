"""Training learns, goes on after a kill exactly as if nothing had happened, and never hears what is held out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from workbench.audio import level
from workbench.codecs import MelCodec
from workbench.core.errors import ParameterError
from workbench.encoders.mini import load_mini
from workbench.encoders.mini.held_out import read_table
from workbench.encoders.mini.sounds import generate
from workbench.sonify.files import load_autoencoder
from workbench.sonify.mini_mel import sounds, training
from workbench.sonify.window import WindowConfig, WindowNet

TINY = WindowConfig(squeezed=4, components=6, width=32, blocks=1)
FACTORS = {
    "esc10": {"fold": 5},
    "fsdd": {"digit": 1, "speaker": "theo"},
    "philharmonia": {"midi": 60},
    "slakh": {},
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An audio folder of generated clips, and sizes that fit a test."""
    lines = ["file,part,label,factors"]
    for number, (part, factors) in enumerate(FACTORS.items()):
        for take in range(6):
            soundfile.write(tmp_path / f"{part}{take}.wav", generate(np.random.default_rng((number, take)), 0.8), 32000)
            if part == "philharmonia":
                factors = {"midi": 60 + take % 3}
            text = json.dumps(factors).replace('"', '""')
            lines.append(f'{part}{take}.wav,{part},{"ab"[take // 3]},"{text}"')
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(sounds, "NOTES", 24)
    monkeypatch.setattr(sounds, "SHARES", {"philharmonia": 0.5, "notes": 0.3, "": 0.2})
    monkeypatch.setattr(training, "CONFIG", TINY)
    monkeypatch.setattr(training, "WINDOWS", 10)
    monkeypatch.setattr(training, "BATCH", 4)
    return tmp_path


def test_held_out_clips_and_specimens_are_never_decoded(root):
    corpus = sounds.Corpus.read(root, read_table(root))
    assert set(corpus.parts) == {"philharmonia", "slakh", "notes"}
    held_out = read_table(root)["held_out"].groupby(read_table(root)["part"]).sum()
    assert len(corpus.parts["philharmonia"]) == 6 - held_out["philharmonia"] < 6
    assert len(corpus.parts["notes"]) == 12 and len(corpus.parts["notes"][0]) == 32000


def test_windows_are_seeded_of_one_length_and_never_silent(root):
    corpus = sounds.Corpus.read(root, read_table(root))
    corpus.parts["slakh"] = [np.zeros(40000, np.int16)]
    drawn = [sounds.draw_window(corpus, np.random.default_rng(i), 2.0) for i in range(40)]
    assert {(len(x), x.dtype.name) for x in drawn} == {(32000, "float32")}
    assert min(level(x) for x in drawn) > -80
    assert np.array_equal(drawn[7], sounds.draw_window(corpus, np.random.default_rng(7), 2.0))
    assert len({float(np.abs(x).max()) for x in drawn}) > 30


def test_what_is_encoded_is_at_one_level(root):
    t = np.arange(32000) / 16000
    tones = [10 ** (-k / 2) * np.sin(2 * np.pi * 440 * t).astype(np.float32) for k in range(4)]
    windows = sounds.encode_windows(iter(tones), 4, load_mini(), 2, MelCodec())
    for part in windows.values():
        assert float((part - part[:1]).abs().max()) < 5e-3


def test_a_killed_run_goes_on_as_the_undisturbed_one(root, monkeypatch):
    training._train_mini_mel(root, seed=1, steps=4, out=root / "whole.safetensors", every=1)
    schedule = training.mini_training.learning_rate

    def killed(step, steps, **options):
        if step == 3:
            raise KeyboardInterrupt
        return schedule(step, steps, **options)

    monkeypatch.setattr(training.mini_training, "learning_rate", killed)
    with pytest.raises(KeyboardInterrupt):
        training._train_mini_mel(root, seed=1, steps=4, out=root / "broken.safetensors", every=1)
    assert torch.load(root / "broken.safetensors.checkpoint", weights_only=True)["history"][-1]["round"] == 1
    monkeypatch.setattr(training.mini_training, "learning_rate", schedule)
    training._train_mini_mel(root, seed=1, steps=4, out=root / "broken.safetensors", every=1)
    with pytest.raises(ParameterError, match="checkpoint=.* must be of the same data, config and seed"):
        training._train_mini_mel(root, seed=2, steps=4, out=root / "broken.safetensors", every=1)
    kept = torch.load(root / "whole.safetensors.checkpoint", weights_only=True)
    assert any((kept["module"][key] != kept["mean"][key]).any() for key in kept["mean"])  # the mean lags behind
    for part in ("module", "mean"):
        whole, broken = (
            torch.load(root / f"{name}.safetensors.checkpoint", weights_only=True)[part] for name in ("whole", "broken")
        )
        assert all(torch.equal(whole[key], broken[key]) for key in whole)
    assert load_autoencoder(root / "whole.safetensors", device="cpu").seconds == 2.0


def tones(count: int) -> dict[str, torch.Tensor]:
    """Windows of eight kinds that frames tell apart, with latents of their own."""
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.standard_normal((8, 1, 256), np.float32))
    patterns = torch.from_numpy(rng.standard_normal((8, 1, 80), np.float32))
    kinds = torch.arange(count) % 8
    return {"frames": codes.expand(-1, 51, -1)[kinds].half(), "latents": patterns.expand(-1, 125, -1)[kinds].half()}


def test_training_lowers_the_loss_far_below_that_of_knowing_nothing(monkeypatch):
    monkeypatch.setattr(training, "WARM_UP", 5)
    monkeypatch.setattr(training, "BATCH", 16)
    history, net = training._fit(tones(16), TINY, seed=0, steps=200, every=20, device="cpu")
    assert history["loss"].iloc[-1] < 0.3 * history["loss"].iloc[0]
    assert isinstance(net, WindowNet) and not net.training


def test_components_are_principal_axes_drawn_with_unit_mean_square():
    rng = np.random.default_rng(1)
    spread = np.array([8.0, 4, 2, 1, 0.5, 0.25])
    axes = np.linalg.qr(rng.standard_normal((10000, 6)))[0]
    latents = (rng.standard_normal((200, 6)) * spread) @ axes.T + 0.5
    latents = torch.from_numpy(latents).float().unflatten(1, (125, 80))
    net = WindowNet(TINY)
    net.fit(torch.zeros(200, 51, 256), latents, 0)
    x = net.components(latents)
    assert float(x.square().mean()) == pytest.approx(1, abs=0.02)
    ratio = x.std(0) / x.std(0)[0]
    assert np.allclose(ratio, np.sqrt(spread / 8), atol=0.06)  # the square root: half whitened
    assert float((net.latents(x) - latents).square().mean()) < 1e-4 * float(latents.var())  # 8 bits an axis
