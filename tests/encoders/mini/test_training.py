"""Training goes on after a kill exactly as if nothing had happened, and the table can be printed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from workbench.core.errors import DatasetError, ParameterError
from workbench.encoders.efficientat import load_efficientat
from workbench.encoders.mini import training as mini_training
from workbench.encoders.mini.evaluation import _probe, read_table
from workbench.encoders.mini.sounds import generate

FACTORS = {
    "esc10": {"fold": 1},
    "fsdd": {"digit": 1, "speaker": "george"},
    "philharmonia": {"midi": 60},
    "librispeech": {"speaker": "1"},
    "speech_commands": {"speaker": "2"},
    "slakh": {},
    "librosa": {},
}


def tiny_root(folder, *, held_out=False):
    """An audio folder with two generated clips a part; ``held_out`` moves the digits to a held-out speaker."""
    lines = ["file,part,label,factors"]
    for number, (part, factors) in enumerate(FACTORS.items()):
        for take in range(2):
            x = generate(np.random.default_rng((number, take)), 0.8)
            soundfile.write(folder / f"{part}{take}.wav", x, 32000)
            if part == "fsdd" and held_out:
                factors = factors | {"speaker": "theo"}
            text = json.dumps(factors).replace('"', '""')
            lines.append(f'{part}{take}.wav,{part},x,"{text}"')
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_held_out_clips_are_never_decoded(tmp_path):
    table = read_table(tiny_root(tmp_path, held_out=True))
    assert table.loc[table["held_out"], "part"].tolist()[:2] == ["fsdd", "fsdd"]
    corpus = mini_training.Corpus.read(tmp_path, table)
    assert "fsdd" not in corpus.parts and len(corpus.parts["esc10"]) == 2


def test_a_folder_without_manifest_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"manifest\.csv: no such file"):
        read_table(tmp_path)


@pytest.mark.slow
def test_a_killed_run_goes_on_as_the_undisturbed_one(tmp_path, monkeypatch):
    root = tiny_root(tmp_path)
    table = read_table(root)
    monkeypatch.setattr(mini_training, "read_table", lambda _: table.assign(held_out=False))
    monkeypatch.setattr(mini_training, "BATCH", {"short": 4, "long": 2})
    monkeypatch.setattr(mini_training, "PREPARED", 6)
    monkeypatch.setattr(mini_training, "CLUSTERS", 16)
    teacher = load_efficientat("mn01_as", weights=None, random_weights=0)
    mini_training.train_mini(root, teacher, seed=1, steps=4, out=tmp_path / "whole.safetensors", every=1)

    schedule = mini_training.learning_rate

    def killed(step, steps):
        if step == 3:
            raise KeyboardInterrupt
        return schedule(step, steps)

    monkeypatch.setattr(mini_training, "learning_rate", killed)
    with pytest.raises(KeyboardInterrupt):
        mini_training.train_mini(root, teacher, seed=1, steps=4, out=tmp_path / "broken.safetensors", every=1)
    assert len(torch.load(tmp_path / "broken.safetensors.checkpoint", weights_only=True)["history"]) == 2
    monkeypatch.setattr(mini_training, "learning_rate", schedule)
    mini_training.train_mini(root, teacher, seed=1, steps=4, out=tmp_path / "broken.safetensors", every=1)
    with pytest.raises(ParameterError, match="checkpoint=.* must be of the same data, config and seed"):
        mini_training.train_mini(root, teacher, seed=2, steps=4, out=tmp_path / "broken.safetensors", every=1)
    whole, broken = (
        torch.load(tmp_path / f"{name}.safetensors.checkpoint", weights_only=True)["module"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


def test_the_probe_reads_a_linear_code_and_not_noise():
    rng = np.random.default_rng(0)
    y, groups = np.arange(400) % 4, np.arange(400) // 4 % 10
    test = groups >= 8
    code = np.eye(4)[y] + 0.2 * rng.normal(size=(400, 4))
    assert _probe(code, y, groups, test) > 95
    assert _probe(rng.normal(size=(400, 4)), y, groups, test) < 45
