"""Attacks on a vector and on a sound, as the notebook on prototypes that can be heard makes and tells them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workbench import audio
from workbench.core.splits import Split
from workbench.lessons import pecmae_attacks as attacks
from workbench.prototypes import fit_prototypes

RATE = 16000
SPLIT = Split(np.arange(18), np.arange(18, 24), np.arange(24, 36))


def test_a_move_towards_another_class_is_told(told, learnt):
    i = int(SPLIT.test[0])
    row, sounding = attacks.move(learnt, told, SPLIT, i, seed=0)
    assert row["is"] == told.labels[i] != row["becomes"] and 0 < row["share of the way"] < 1
    first, second, _ = sounding.values()
    assert learnt.predict(np.stack([first, second])).predictions.tolist() == [row["is"], row["becomes"]]
    assert "of 1 moves are shorter" in attacks.move_sentences([row])[0]
    assert attacks.move_sentences([]) == ["No test segment is decided rightly, so that none was moved."]


def test_the_differentiable_autoencoder_is_the_autoencoder(mini_mel, tones):
    x = tones(3, np.random.default_rng(0)) * np.array([[1], [0.2], [3]], np.float32)
    leaf = torch.from_numpy(x).requires_grad_(True)
    z = attacks.differentiable(mini_mel)(leaf)
    assert z.detach().numpy() == pytest.approx(mini_mel.embed(x, RATE).numpy(), abs=1e-4)
    z[:, 0].sum().backward()
    slope, way = leaf.grad[0].double(), torch.from_numpy(tones(1, np.random.default_rng(1))[0])
    step = 3e-4  # larger ones meet the curvature, smaller ones the rounding
    ends = mini_mel.embed([x[0] + step * way.numpy(), x[0] - step * way.numpy()], RATE)[:, 0]
    assert float(slope @ way.double()) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=0.05)


def test_attacked_sounds_flip_the_decision_far_below_noise_that_does(mini_mel):
    rng = np.random.default_rng(0)
    t = np.arange(2 * RATE) / RATE
    kinds = {
        "high": lambda: np.sin(2 * np.pi * rng.uniform(700, 900) * t),
        "low": lambda: np.sin(2 * np.pi * rng.uniform(150, 250) * t),
        "noise": lambda: rng.standard_normal(len(t)),
    }
    sounds = [audio.at_level(kinds[name]() + 0.02 * rng.standard_normal(len(t)), -20.0) for name in sorted(kinds) * 8]
    labels, groups = np.array(sorted(kinds) * 8), np.arange(24).astype(str)
    z = mini_mel.embed(sounds, RATE).numpy()
    names = np.array([f"{label} {i}" for i, label in enumerate(labels)])
    told = SimpleNamespace(z=z, labels=labels, names=names, groups=groups, window=lambda i, rate: sounds[i])
    options = {"per_class": 1, "steps": 100, "feed_forward": 8, "device": "cpu", "progress": False, "keep": "last"}
    model = fit_prototypes(z, labels, Split(np.arange(24)), **options)
    assert (model.predict(z).predictions == labels).all()
    attacked = attacks.attack(model, mini_mel, told, np.arange(4), steps=25, seed=0)
    assert set(attacked.led) == {"prototype", "logit"} and attacked.made.tolist() == [0, 1, 2, 3]
    told.labels = np.r_[["low"], labels[1:]]  # the first window is not decided so: it is left out
    assert attacks.attack(model, mini_mel, told, np.arange(2), steps=1, seed=0).rows.tolist() == [1]
    told.labels = labels
    quiet = attacked.led["prototype"].snr
    assert (quiet > 15).all() and (attacked.targets == attacks.second(model, z[:4])).all()
    again = model.predict(mini_mel.embed(attacked.led["prototype"].sounds, RATE).numpy()).predictions
    assert (again == attacked.targets).all()
    flips = attacks.noise_flips(model, mini_mel, attacked, levels=(60, -40), seed=0)
    assert flips["60 dB"] == 0 and flips["-40 dB"] == 0.75  # noise itself stays noise, in one of the four
    judge = SimpleNamespace(
        classes=np.array(sorted(kinds)), probabilities=lambda x, rate: np.tile([0.2, 0.7, 0.1], (len(x), 1))
    )
    table = attacks.attack_table(model, mini_mel, told, attacked, judge, RATE, 0)
    assert table["is"].tolist() == labels[:4].tolist() and set(table["judge after"]) == {"low"}
    control, found, files, lead, ear = attacks.attack_sentences(table, attacked, flips, groups)
    assert "0% at 60 dB, 75% at -40 dB" in control and f"{np.median(quiet):.0f} dB below the sound" in found
    assert "16 bits" in files and lead.startswith("Distance of the change below the sound")
    assert "another class of 0 of 4" in ear and "noise as loud, of 0." in ear
    played = attacks.attack_sounds(attacked, told.names)
    x, sound, change, noise = (each for each, _ in played.values())
    assert np.linalg.norm(change) == pytest.approx(np.linalg.norm(x), rel=1e-3)
    assert np.linalg.norm(noise - x) == pytest.approx(np.linalg.norm(sound - x), rel=1e-2)


def test_no_segment_to_attack_is_said(learnt, told, mini_mel):
    none = attacks.attack(learnt, mini_mel, told, np.array([], int), steps=5, seed=0)
    assert attacks.noise_flips(learnt, mini_mel, none, levels=(0,), seed=0) == {} == attacks.attack_sounds(none, [])
    table = attacks.attack_table(learnt, mini_mel, told, none, None, RATE, 0)
    assert attacks.attack_sentences(table, none, {}, told.groups)[0].startswith("No test segment is decided rightly")


def test_noise_lies_as_far_below_the_sound_as_it_is_asked_to():
    x = np.random.default_rng(1).standard_normal((2, 1000)).astype(np.float32)
    noise = attacks.noisy(x, [20, 40], 0) - x
    assert 20 * np.log10(np.linalg.norm(x, axis=1) / np.linalg.norm(noise, axis=1)) == pytest.approx([20, 40], abs=0.01)
    steps = attacks.in_16_bits(np.array([0.5 / 32767, 1.4 / 32767, 2.0])) * 32767
    assert steps == pytest.approx([0, 1, 32767])
