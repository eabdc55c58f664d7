"""Training learns, goes on after a kill exactly as if nothing had happened, and never hears what is held out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from workbench.core.errors import ParameterError
from workbench.encoders.mini.held_out import read_table
from workbench.encoders.mini.sounds import generate
from workbench.sonify.autoencoder import load_autoencoder
from workbench.sonify.mini_mel import evaluation, sounds, training
from workbench.sonify.network import SummaryConfig

TINY = SummaryConfig(
    dim=256, latent_dim=80, latent_frames=125, summary_layers=1, denoiser_layers=1, hidden=32, patch=25, skip=True
)
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


def test_windows_are_seeded_of_one_length_and_within_full_scale(root):
    corpus = sounds.Corpus.read(root, read_table(root))
    drawn = [sounds.draw_window(corpus, np.random.default_rng(i), 2.0) for i in range(40)]
    assert {(len(x), x.dtype.name) for x in drawn} == {(32000, "float32")}
    assert max(float(np.abs(x).max()) for x in drawn) <= 1.0
    assert np.array_equal(drawn[7], sounds.draw_window(corpus, np.random.default_rng(7), 2.0))
    assert len({float(np.abs(x).max()) for x in drawn}) > 30


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


def test_training_lowers_the_loss_far_below_that_of_knowing_nothing(monkeypatch):
    monkeypatch.setattr(training, "WARM_UP", 5)
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.standard_normal((8, 1, 256), np.float32))
    patterns = torch.from_numpy(rng.standard_normal((8, 1, 80), np.float32))
    windows = {"frames": codes.expand(-1, 10, -1).half(), "latents": patterns.expand(-1, 125, -1).half()}
    monkeypatch.setattr(training, "BATCH", 16)
    options = {"seed": 0, "steps": 60, "every": 5, "device": "cpu"}
    history, _ = training._fit(windows, TINY, **options)
    assert history["loss"].iloc[-1] < 0.7  # 1 is what a guess of zero costs


def test_correlation_is_pearsons_row_by_row():
    a = np.random.default_rng(0).normal(size=(3, 4, 5))
    assert evaluation._correlation(a, 3 * a + 1) == pytest.approx(1)
    assert evaluation._correlation(a, -a) == pytest.approx(-1)
    assert evaluation._correlation(a[:1], np.ones_like(a[:1])) == 0
    b = a[::-1]
    rows = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
    assert evaluation._correlation(a, b) == pytest.approx(np.mean(rows))


def test_the_table_of_the_model_card(root):
    training._train_mini_mel(root, seed=0, steps=1, out=root / "out.safetensors")
    table = evaluation.evaluate(root, load_autoencoder(root / "out.safetensors", device="cpu"), settings=((1, 0.0),))
    assert list(table.index) == [
        "mean of the training notes",
        "another held-out clip",
        "S=1, g=0",
        "codec round trip",
        "the clip itself",
    ]
    assert 0.9 < table.loc["codec round trip", "correlation"] < 1
    assert table.loc["the clip itself", "correlation"] == pytest.approx(1)
    assert 0 <= table.loc["S=1, g=0", "log-mel statistics"] <= 1
