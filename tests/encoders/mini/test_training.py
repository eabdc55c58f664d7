"""Training goes on after a kill exactly as if nothing had happened, and the table can be printed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from workbench.core.errors import DatasetError, ParameterError
from workbench.encoders import load_encoder
from workbench.encoders.mini import lessons, load_mini
from workbench.encoders.mini import training as mini_training
from workbench.encoders.mini.held_out import read_table
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
    corpus = lessons.Corpus.read(tmp_path, table)
    assert "fsdd" not in corpus.parts and len(corpus.parts["esc10"]) == 2


def test_a_folder_without_manifest_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"manifest\.csv: no such file"):
        read_table(tmp_path)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Teachers with random weights, and sizes that fit a test: gives the folder of sounds."""
    root = tiny_root(tmp_path)
    table = read_table(root)
    monkeypatch.setattr(lessons, "read_table", lambda *_: table.assign(held_out=False))
    monkeypatch.setattr(lessons, "BATCH", {"short": 4, "long": 2})

    def untrained(name, **options):
        encoder = load_encoder(name, random_weights=0, **options)
        if name == "mn04_as":  # without training its activations fade to 1e-8
            forward = encoder.forward
            encoder.forward = lambda *batch: [(1e8 * y, counts) for y, counts in forward(*batch)]
        return encoder

    monkeypatch.setattr(lessons, "load_encoder", untrained)
    for name, value in (("LESSONS", 4), ("CLUSTERS", 16)):
        monkeypatch.setattr(mini_training, name, value)
    return root


def trained(root, out, **options):
    options = {"seed": 1, "steps": 6, "every": 1} | options
    return mini_training.train_mini(root, ["whisper-tiny.en", "mn04_as"], out=out, **options)


@pytest.mark.slow
def test_a_killed_run_goes_on_as_the_undisturbed_one(small, tmp_path, monkeypatch):
    trained(small, tmp_path / "whole.safetensors", lessons=tmp_path / "lessons")
    schedule = mini_training.learning_rate

    def killed(step, steps):
        if step == 5:
            raise KeyboardInterrupt
        return schedule(step, steps)

    monkeypatch.setattr(mini_training, "learning_rate", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(small, tmp_path / "broken.safetensors", lessons=tmp_path / "lessons")
    assert len(torch.load(tmp_path / "broken.safetensors.checkpoint", weights_only=True)["history"]) == 4
    monkeypatch.setattr(mini_training, "learning_rate", schedule)
    trained(small, tmp_path / "broken.safetensors", lessons=tmp_path / "lessons")
    with pytest.raises(ParameterError, match="checkpoint=.* must be of the same data, config and seed"):
        trained(small, tmp_path / "broken.safetensors", lessons=tmp_path / "lessons", seed=2)
    whole, broken = (
        torch.load(tmp_path / f"{name}.safetensors.checkpoint", weights_only=True)["module"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


@pytest.mark.slow
def test_a_student_learns_what_its_teachers_say(small, tmp_path):
    history = trained(small, tmp_path / "mini.safetensors", steps=60, every=4)
    for term in ("whisper-tiny.en 4 clusters", "mn04_as features.16 clusters", "whisper-tiny.en 2 frames", "contrast"):
        assert history[term].iloc[-1] < 0.9 * history[term].iloc[0], term
    assert "contrast" not in trained(small, tmp_path / "alone.safetensors", alone=True)
    before, after = (
        load_mini(random_weights=1).net.project,
        load_mini(weights=tmp_path / "mini.safetensors").net.project,
    )
    assert not torch.allclose(before.weight, after.weight, atol=0.01)


def test_lessons_are_kept_seeded_and_hold_the_frames_of_the_teachers(small, tmp_path):
    def made(name, seed, *teachers):
        taken = lessons.Lessons(tmp_path / name, 2, teachers, root=small, part=0, seed=seed)
        taken.make()
        return taken, [taken[i] for i in range(2)]

    (kept, (long, short)), (_, again), (_, other) = made("a", 1, "mn04_as"), made("b", 1, "mn04_as"), made("c", 2)
    assert all(torch.equal(long[key], again[0][key]) for key in long) and not torch.equal(long["x"], other[0]["x"])
    assert long["x"].shape == (4, 48000) and short["x"].shape == (8, 16000) and long["x"].dtype == torch.int16
    assert long["mn04_as features.16"].shape == (4, 10, 384) and "whisper-tiny.en 2" not in long
    before = {path: path.stat().st_mtime_ns for path in kept.folder.rglob("*.safetensors")}
    more, (richer, _) = made("a", 1, "mn04_as", "whisper-tiny.en")
    assert richer["whisper-tiny.en 2"].shape == (4, 76, 384) and more.folder == kept.folder
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    with pytest.raises(ParameterError, match="teachers='logmel'"):
        made("a", 1, "logmel")


def test_another_folder_of_sounds_has_other_lessons(tmp_path):
    """Kept lessons are never taken for those of other sounds."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        tiny_root(folder)
    manifest = there / "manifest.csv"
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-1]) + "\n")
    first, again, other = (
        lessons.Lessons(tmp_path, 1, ["mn04_as"], root=root, part=0, seed=0).folder for root in (here, here, there)
    )
    assert first == again != other


def test_frames_of_a_slow_teacher_belong_to_a_clip_as_long_as_it_lasts():
    lengths = torch.tensor([48000, 16000, 1000])
    fast, slow = (lessons.inside(lengths, frames, 76) for frames in (76, 10))
    assert fast.sum(1).tolist() == [76, 26, 2] and slow.sum(1).tolist() == [10, 4, 1]


def test_fast_frames_are_averaged_to_the_students():
    """Whisper's 50 frames a second: pairs, the last one repeated where there are too few."""

    class Ramp:
        rate, padding, name = 16000, "masked", "ramp"

        def forward(self, x, lengths, layers):
            return [(torch.arange(51.0)[None, :, None], None)]

    (frames,) = lessons._frames(Ramp(), [0], torch.zeros(1, 32000), torch.tensor([32000]), 26)
    assert frames[0, :, 0].tolist() == [*(2 * i + 0.5 for i in range(25)), 50.0]
