"""Listen to Interpret on prototypes among the vectors of an autoencoder: planted tones of three pitches."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from workbench import audio
from workbench.core.splits import Split
from workbench.interpreters import L2I, Spectra
from workbench.lessons import pecmae_listen as hear
from workbench.lessons import pecmae_questions as ask
from workbench.prototypes import fit_prototypes

RATE, PITCHES = 16000, {"high": 2500, "low": 300, "middle": 900}
SPLIT = Split(np.arange(18), np.arange(18, 24), np.arange(24, 36))


@pytest.fixture(scope="module")
def planted(mini_mel):
    """36 segments of a second in three classes, a pitch each, and prototypes among their vectors."""
    rng, t = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    labels = np.array(sorted(PITCHES) * 12)
    pure = [np.sin(2 * np.pi * PITCHES[name] * rng.uniform(0.9, 1.1) * t) * (t < 1) for name in labels]
    sounds = [audio.at_level(x + 0.01 * rng.standard_normal(len(t)), -25.0) for x in pure]
    z = mini_mel.embed(sounds, RATE).numpy()
    groups = np.arange(36).astype(str)

    def window(i, rate):
        return audio.resample(sounds[i], RATE, rate)

    told = SimpleNamespace(z=z, labels=labels, groups=groups, window=window)
    options = {"per_class": 2, "steps": 100, "feed_forward": 8, "device": "cpu", "progress": False}
    return told, fit_prototypes(z, labels, SPLIT, seed=0, **options)


@pytest.fixture(scope="module")
def interpreted(planted, mini_mel):
    """The classifier, the test windows, Listen to Interpret on it and its explanations."""
    told, learnt = planted
    classifier = hear.prototype_classifier(mini_mel, learnt)
    rows, part = hear.chosen(SPLIT, SPLIT.test[:6], most=18, seed=0)
    x = hear.heard(told, rows, mini_mel)
    options = {"components": 8, "epochs": 45, "batch": 6, "learning_rate": 3e-3, "width": 32}
    l2i = hear.imitation(classifier, x, part, seed=0, **options)
    tests = x[torch.from_numpy(part.test)]
    decided = ask.strongest(learnt, told.z[rows[part.test]])[0]
    return classifier, tests, l2i, hear.explained(l2i, tests, decided), decided


@pytest.mark.parametrize("similarity", ["mean", "sum"])
def test_the_classifier_is_that_of_the_prototypes_on_the_vectors(planted, mini_mel, similarity):
    told, _ = planted
    options = {"per_class": 2, "steps": 5, "feed_forward": 8, "scale": 3.0, "similarity": similarity, "device": "cpu"}
    learnt = fit_prototypes(told.z, told.labels, SPLIT, seed=1, progress=False, **options)
    made = hear.prototype_classifier(mini_mel, learnt)
    x = hear.heard(told, np.arange(6), mini_mel)
    x[1] *= 0.01  # a level that the autoencoder undoes
    expected = learnt.logits(mini_mel.embed(x, RATE))
    assert made.logits(x) * learnt.config.temperature == pytest.approx(expected, abs=1e-5)
    assert expected.std(0).max() > (1e-3 if similarity == "mean" else -1)  # not the bias alone
    assert (made.classes, made.rate) == (tuple(sorted(PITCHES)), RATE) and len(made.taps) >= 2
    assert all(shape[0] == mini_mel.dim for shape in made.shapes(x.shape[1]))


def test_the_fingerprint_knows_the_prototypes(planted, mini_mel):
    told, learnt = planted
    other = fit_prototypes(told.z, told.labels, SPLIT, seed=2, steps=2, per_class=2, device="cpu", progress=False)
    one, same, another = (hear.prototype_classifier(mini_mel, each).fingerprint for each in (learnt, learnt, other))
    assert one == same != another
    assert learnt.network.points.device.type == "cpu"


def test_segments_are_drawn_from_their_own_parts():
    split = Split(np.arange(0, 50), np.arange(50, 70), np.arange(70, 100))
    first = np.array([91, 75, 80])
    rows, part = hear.chosen(split, first, most=20, seed=3)
    assert [len(each) for each in part] == [20, 5, 10] and len(set(rows)) == 35
    assert rows[part.test][:3].tolist() == first.tolist()
    for mine, own in zip(part, split, strict=True):
        assert set(rows[mine]) <= set(own)
    assert (hear.chosen(split, first, most=20, seed=3)[0] == rows).all()
    assert (hear.chosen(split, first, most=20, seed=4)[0] != rows).any()
    many, whole = hear.chosen(split, split.test, most=1000, seed=0)
    assert len(many) == 100 and len(whole.test) == 30


def test_windows_keep_their_level_where_the_autoencoder_does(planted, mini_mel):
    told, _ = planted
    x = hear.heard(told, [0, 1], mini_mel)
    assert x.abs().amax(1).numpy() == pytest.approx(np.ones(2))
    as_is = hear.heard(told, [0, 1], SimpleNamespace(encoder=mini_mel.encoder, level=None))
    assert as_is.numpy() == pytest.approx(np.stack([told.window(i, RATE) for i in (0, 1)]))


def test_theta_learns_to_decide_as_the_prototypes(interpreted, tmp_path):
    classifier, tests, l2i, each, decided = interpreted
    same = hear.agrees(l2i, tests)
    said = classifier.logits(tests).argmax(1)
    assert same.dtype == bool and same.tolist() == (l2i.scores(tests).argmax(1) == said).tolist()
    assert same.mean() > 0.8  # of three classes
    common = hear.commonest(classifier, tests, tests)
    assert common.mean() == np.bincount(said).max() / len(said)
    assert [one.name for one in each] == decided.tolist()
    again = L2I.load(l2i.save(tmp_path / "l2i"), classifier)
    assert again.scores(tests) == pytest.approx(l2i.scores(tests), abs=1e-5)


def test_the_mask_of_the_explanation_times_the_spectrogram_becomes_sound(interpreted):
    classifier, tests, _, each, decided = interpreted
    kept = hear.masks(each, classifier)
    played = hear.offers(each, kept, decided, rate=RATE)
    assert set(played) == {hear.EXPLAINED, hear.LOUDEST, hear.WHOLE} and played[hear.WHOLE].plays == hear.WHOLE
    for i, one in enumerate(each):
        own = audio.level(one.waveform_in.numpy())
        logarithm = torch.stft(tests[i], 1024, 512, window=torch.hann_window(1024), return_complex=True)
        phase, x = logarithm / logarithm.abs().clamp_min(1e-9), logarithm.abs().log1p()
        shares = one.dictionary[:, None] * one.activations.T[None]  # (F, T, K)
        selected = np.flatnonzero(one.relevance > hear.TAU)
        empty = len(selected) / shares.shape[2]  # of bins where no component is active each has the same share
        mask = torch.where(shares.sum(2) > 0, shares[..., selected].sum(2) / shares.sum(2), empty)
        expected = Spectra(rate=RATE).istft((x * mask).expm1() * phase, len(tests[i])).numpy()
        sound = played[hear.EXPLAINED].sound(i)
        if not len(selected):
            assert not sound.any()
            continue
        assert sound == pytest.approx(expected * 10 ** ((own - audio.level(expected)) / 20), abs=1e-4)
        assert audio.level(sound) == pytest.approx(own, abs=0.01)
        assert played[hear.WHOLE].sound(i)[:-512] == pytest.approx(tests[i].numpy()[:-512], abs=1e-2)
    at_24 = hear.offers(each, kept, decided, rate=24000)[hear.LOUDEST].sound(0)
    assert len(at_24) == 1.5 * tests.shape[1]
    assert audio.level(at_24) == pytest.approx(audio.level(tests[0].numpy()), abs=0.1)


def test_the_control_keeps_the_loudest_tenth(interpreted):
    classifier, _, _, each, _ = interpreted
    loud = hear.masks(each, classifier)[hear.LOUDEST]
    for mask, one in zip(loud, each, strict=True):
        assert float(mask.mean()) == pytest.approx(0.1, abs=0.002)
        assert float(one.log_magnitude[mask == 1].min()) > float(one.log_magnitude[mask == 0].max())


def test_the_table_tells_fidelity_and_how_much_is_played():
    n = 10
    names = [hear.EXPLAINED, hear.LOUDEST]
    offers = {name: ask.Offer("a part", np.full(n, "a"), np.arange(n), None) for name in names}
    heard = {hear.EXPLAINED: np.arange(n) < 4, hear.LOUDEST: np.arange(n) < 6}
    recall = pd.DataFrame({"mean": [0.7], "low": [0.6], "high": [0.8]}, index=[hear.EXPLAINED])
    kept = {hear.EXPLAINED: torch.full((n, 2, 3), 0.25), hear.LOUDEST: torch.full((n, 2, 3), 0.1)}
    table = ask.models_table(recall, offers, heard, np.arange(n), 2)
    table = hear.with_fidelity(table, np.arange(n) < 8, np.arange(n), kept)
    row = table.loc[hear.EXPLAINED]
    assert row[["recall", "heard as decided", "fidelity"]].tolist() == [0.7, 0.4, 0.8]
    assert row["fidelity low"] < 0.8 < row["fidelity high"] and np.isnan(table.loc[hear.LOUDEST, "fidelity"])
    assert table["mask mean"].tolist()[:2] == pytest.approx([0.25, 0.1])


def test_a_control_that_wins_is_said_first():
    n = 40
    some = np.arange(n)
    heard = {hear.EXPLAINED: some < 10, hear.LOUDEST: some < 40, hear.WHOLE: some < 10, "ours": some < 0}
    each = [SimpleNamespace(selected=lambda tau, i=i: np.arange(i % 2)) for i in range(n)]
    said = hear.sentences(heard, each, some, "ours", chance=0.1)
    assert said[0].startswith(f"Heard as the class decided: {hear.LOUDEST} lies above {hear.EXPLAINED}")
    assert said[0].endswith("To be loud is enough.") and "no difference" in said[1]
    assert f"{hear.EXPLAINED} lies above ours" in said[3]
    assert said[4] == f"In 20 of 40 segments no component is above {hear.TAU}: silence is played."
    alike = hear.sentences(heard | {hear.LOUDEST: some < 10}, each, some, "ours", chance=0.1)
    assert "no difference" in alike[0] and alike[0].endswith("not shown to matter.")
    loses = hear.sentences(heard | {hear.LOUDEST: some < 0}, [SimpleNamespace(selected=lambda tau: [1])] * n, some,
                           "ours", chance=0.1)  # fmt: skip
    assert "lies below" in loses[0] and "To be loud" not in loses[0] and len(loses) == 4


def test_fidelity_is_read_against_the_commonest_decision():
    n = 40
    each = [SimpleNamespace(classes=("a", "b"), logits=np.array([0.0, float(i % 4 == 0)])) for i in range(8)]
    same, common = np.arange(n) < 36, np.arange(n) < 10
    said = hear.fidelity_sentences(same, common, np.arange(n), np.full(8, "a"), each)
    assert said[0] == "Theta decides as the prototypes do on 90.0% of 40 test segments."
    assert "Theta lies above their commonest decision" in said[1]
    assert said[2].startswith("25.0% of the segments are decided otherwise")
    as_padded = np.array(["b", "a", "a", "a"] * 2)
    assert len(hear.fidelity_sentences(same, common, np.arange(n), as_padded, each)) == 2
