"""What the notebook on Listen to Interpret computes by itself: examples, comparisons and sentences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.datasets import Clips
from workbench.interpreters import Benchmark, Classifier, Interpretation, Spectra
from workbench.lessons import listen_to_interpret as lesson
from workbench.nmf import SparseNMF

RATE, SPECTRA = 8000, Spectra(rate=8000, n_fft=256, hop=128)
CLASSES = ("low", "high")


def tone(hz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(RATE * seconds)) / RATE).astype(np.float32)


class Bands(torch.nn.Module):
    """Scores of two classes: the mean level below and above 2 kHz."""

    def forward(self, x):
        levels = SPECTRA.stft(x).abs().log1p().mean(-1)
        return torch.stack([levels[:, :64].mean(1), levels[:, 64:].mean(1)], 1)


@pytest.fixture(scope="module")
def judged() -> Classifier:
    return Classifier(Bands(), rate=RATE, classes=CLASSES, device="cpu", name="bands")


def interpretation(parts, *, index=0, scores=None, x=None) -> Interpretation:
    """One whose components add these parts to the score of its class; component k is bins 32 k to 32 k + 32."""
    x = torch.from_numpy(tone(300) + tone(2500) if x is None else x)
    level, phase = SPECTRA.analyse(x)
    w = torch.zeros(129, len(parts)) + 1e-5
    for k in range(len(parts)):
        w[32 * k : 32 * k + 32, k] = 1
    scores = np.array([sum(parts), 0.0]) if scores is None else np.array(scores)
    h = torch.ones(len(parts), level.shape[1])
    pooled = torch.tensor(parts, dtype=torch.float32)
    return Interpretation(
        CLASSES, index, x, level, phase, w, h, pooled, torch.ones(len(parts)), scores, scores, SPECTRA
    )


def test_the_example_is_a_right_decision_along_whose_slider_most_changes():
    inert, rich = interpretation([1.0, 0.01, 0.01]), interpretation([1.0, 0.7, 0.4])
    wrong, unshared = interpretation([1.0, 0.8, 0.6, 0.3]), interpretation([1.0, 0.8, 0.6], scores=[1.0, 2.0])
    truth = np.array([[True, False], [True, False], [False, True], [True, False]])
    assert lesson.telling_example([inert, rich, wrong, unshared], truth) == 1
    assert lesson.telling_example([inert, wrong], truth[[0, 2]]) == 0  # right decisions come first
    assert lesson.telling_example([inert, wrong], truth[[2, 2]]) == 1  # none is right: what changes most


def test_example_sentences_count_components_and_what_the_strongest_makes():
    first, second = lesson.example_sentences(interpretation([0.5, 0.3, 0.15, -1.0]))
    assert "0 at 0.9" in first and "2 at 0.2" in first and "3 at 0.05" in first
    assert "53%" in second and "half of it takes 1 component." in second
    assert lesson.example_sentences(interpretation([-0.5, -0.1])) == ["No component speaks for low."]


def test_test_clips_take_turns_by_group():
    names = ["a"] * 4 + ["b"] * 2 + ["c"] * 6
    clips = Clips.from_arrays([tone(300 + 10 * i) for i in range(12)], RATE, label=["x", "y"] * 6, group=names)
    (part,) = lesson.splits(clips, folds=1, published=False, seed=0)
    groups = clips.groups()[part.test]
    assert len(set(groups[: len(set(groups))])) == len(set(groups))


def test_waveforms_are_cut_where_nothing_sounds_any_more():
    quiet = np.concatenate([tone(300, 0.5), np.zeros(RATE * 6, np.float32)])
    clips = Clips.from_arrays([quiet, quiet], RATE, label=["x", "y"])
    assert lesson.waveforms(clips, rate=RATE, seconds=6.0).shape == (2, 2 * RATE)


def test_a_dictionary_is_sorted_and_its_components_are_played_where_they_sound():
    x = torch.from_numpy(np.stack([tone(hz) for hz in (3000, 500, 3000, 500)]))

    def nmf(count):
        return SparseNMF(count, sparsity=0.1, seed=0, device="cpu", progress=False)

    sizes = {"components": 2, "frames": 60, "tags": None, "seed": 0}
    w = lesson.dictionary(nmf, x, np.arange(4), SPECTRA, **sizes)
    peaks = w.argmax(0) * RATE / 256
    assert peaks == pytest.approx([500, 3000], abs=40)
    sounds = lesson.component_sounds(w, x, SPECTRA)
    for (sound, rate), hz in zip(sounds.values(), (500, 3000), strict=True):
        spectrum = np.abs(np.fft.rfft(sound))
        assert rate == RATE and spectrum.argmax() * RATE / len(sound) == pytest.approx(hz, abs=40)
    first, second = lesson.dictionary_sentences(w, RATE)
    assert "2 components" in first and second.startswith("2 of them are strong in less than 200 Hz")


def test_standing_says_when_guessing_is_not_beaten(judged):
    x = torch.from_numpy(np.stack([tone(300 + 5 * i) for i in range(10)] + [tone(3000 + 5 * i) for i in range(10)]))
    truth = np.repeat([[True, False], [False, True]], 10, 0)
    good = lesson.classifier_standing(judged, x, truth, np.arange(20))
    assert good.value == 1 and good.guessing == 0.5 and good.caution is None and "lies above" in good.sentence
    bad = lesson.classifier_standing(judged, x, np.roll(truth, 5, 0), np.arange(20))
    assert bad.value == 0.5 and "not shown to beat guessing (50%, 50%)" in bad.caution


def test_recordings_are_mixed_with_a_clip_of_another_class(judged):
    x = torch.from_numpy(np.stack([tone(300), tone(400), tone(3000), tone(3100)]))
    truth = np.array([[True, False]] * 2 + [[False, True]] * 2)
    clips = SimpleNamespace(name="recordings")
    mixed = lesson.mixtures(clips, x, np.array([0, 2]), np.arange(4), judged, truth, rng=np.random.default_rng(0))
    assert mixed.classes.tolist() == [0, 1] and mixed.spans is None
    rest = mixed.x.numpy() - mixed.stems
    assert np.abs(mixed.x.numpy()).max(1) == pytest.approx(1)
    assert rest.std(1) / mixed.stems.std(1) == pytest.approx(0.5, rel=0.01)
    assert lesson.loudest_stem(mixed) in (0, 1)


def test_what_passes_a_mask_is_its_share_of_the_energy():
    one = interpretation([1.0, 1.0, -1.0, -1.0])  # tau .2 keeps the bins below 64: under 2 kHz
    low, high = tone(300), tone(3000)
    assert lesson.share_passed([one, one], np.stack([low, high])) == pytest.approx([1, 0], abs=0.02)
    passed = {"hum": lesson.passing(lambda x, classes: [one], low[None], high[None], [0])}
    assert lesson.passing_table(passed)["hum"] == pytest.approx(
        {"clip passes": 1, "disturbance passes": 0, "same decision": 1}, abs=0.02
    )
    many = {"hum": {"clip passes": np.full(9, 0.9), "disturbance passes": np.linspace(0.1, 0.2, 9)}}
    assert "the clip lies above hum" in lesson.passing_sentences(many, np.arange(9))[0]


def measured(better: str) -> Benchmark:
    """Twelve clips: ``better`` wins the logit drop, ``zeros`` the deletion, and energy is like itself."""
    rng = np.random.default_rng(0)
    names = ["L2I", "saliency", "ones", "zeros", "energy"]
    drop = pd.DataFrame(rng.normal(size=(12, 5)) / 10, columns=names)
    drop[better] += 3
    deletion = pd.DataFrame(rng.uniform(0.5, 0.6, size=(12, 5)), columns=names)
    deletion["zeros"] -= 0.5
    sanity = pd.DataFrame(
        {"L2I": rng.uniform(0, 0.1, size=12), "saliency": rng.uniform(0.8, 0.99, 12), "energy": np.ones(12)}
    )
    each = {"logit_drop": drop, "deletion": deletion, "sanity": sanity}
    return Benchmark(each, ("ones", "zeros", "energy"), np.arange(12))


def test_the_first_sentence_of_the_benchmark_counts_what_controls_win():
    first, beaten, fair, *rest = lesson.benchmark_sentences(measured("saliency"))
    assert first.startswith("Beside every control, a method is shown to win 2 of 3 measures: logit drop (saliency), s")
    assert beaten == "Not shown to be beaten, with the best control of each: deletion (zeros)."
    assert fair.startswith("Without the masks of everything and of nothing, a method is shown to win 2 of 3")
    everything = lesson.benchmark_sentences(measured("ones"))
    assert "1 of 3 measures: sanity (L2I)" in everything[0] and "logit drop (ones)" in everything[1]
    assert "logit drop (ones)" not in " ".join(everything[2:]), "all is left out"


def test_sanity_is_read_against_energy():
    found = measured("L2I")
    assert lesson.sanity_table(found)["energy"] == 1 and set(lesson.sanity_table(found).index) == set(
        found.each["sanity"]
    )
    sentences = lesson.sanity_sentences(found)
    assert "L2I lies below energy" in sentences[0] and len(sentences) == 2
    assert list(lesson.shown_benchmark(found)) == ["logit drop ↑", "deletion ↓", "sanity ↓"]


def study() -> pd.DataFrame:
    rows = []
    for fold in range(3):
        for system, top in (("L2I, attention", 0.8), ("VIBI", 0.3)):
            top = top + 0.01 * fold
            row = {"system": system, "fold": fold, "seed": 0, "seconds": 1.0, "top_1": top, "majority": 0.2}
            rows.append(row | {"top_1_low": top - 0.1, "top_1_high": top + 0.1})
        rows.append({"system": "L2I, attention", "fold": fold, "seed": 0, "seconds": 1.0, "tau": 0.5} | {
            "components": 2.0, "drop": 0.4 + fold, "random": 0.1,
        })  # fmt: skip
    return pd.DataFrame(rows)


def test_fidelity_beside_its_control_and_its_rivals():
    fidelities, removals = lesson.fidelity_and_removals(study())
    assert len(fidelities) == 6 and len(removals) == 3 and "tau" not in fidelities and "top_1" not in removals
    table = lesson.fidelity_table(fidelities)
    assert table.loc["VIBI", "top_1"] == pytest.approx(0.31) and table.loc["VIBI", "runs"] == 3
    assert all("lies above" in text for text in lesson.fidelity_sentences(lesson.mean_fidelity(fidelities))[:1])
    (rival,) = lesson.rival_sentences(fidelities, None, None, None)  # over folds: nothing is asked again
    assert "L2I, attention" in rival and "VIBI" in rival and "50.0 points" in rival
    over = lesson.removals_over_folds(removals)
    assert over.loc[("L2I, attention", 0.5), "drop"] == pytest.approx(1.4)


def test_rivals_of_one_fold_are_compared_clip_by_clip(judged):
    fidelities = lesson.fidelity_and_removals(study())[0].query("fold == 0")
    x = torch.from_numpy(np.stack([tone(300 + 5 * i) for i in range(12)]))

    def interpreter(name):
        scores = np.tile([1.0, 0.0] if name.startswith("L2I") else [0.0, 1.0], (12, 1))
        return SimpleNamespace(classifier=judged, scores=lambda x: scores)

    (sentence,) = lesson.rival_sentences(fidelities, interpreter, x, np.arange(12))
    assert (
        sentence.startswith("Decisions as the classifier's") and "L2I, attention lies above VIBI, by 100.0" in sentence
    )


def test_removals_are_read_where_anything_is_taken_out():
    removal = pd.DataFrame(
        {"components": [0.0, 2.0], "difference": [0, 0.5], "difference_low": [0, 0.2], "difference_high": [0, 0.8]},
        index=pd.Index([0.9, 0.5], name="tau"),
    )
    taken, untaken = lesson.removal_sentences(removal, "fall of the logit")
    assert "At tau 0.5 (2.0 components)" in taken and "lies above" in taken
    assert untaken == "Of 2 thresholds, 1 take nothing out."


def test_a_class_is_told_from_others_by_its_own_component():
    explained = [interpretation([1.0, 0.1]), interpretation([0.1, 1.0], index=1, scores=[0.0, 1.0])]
    relevance = lesson.class_relevance(explained)
    assert relevance.loc["low"].tolist() == pytest.approx([1, 0.1])
    assert lesson.class_sentences(relevance)[0].startswith("2 of 2 classes")


def test_the_plan_is_told_as_a_sentence():
    plan = {"dataset": "bells", "size": 60, "seconds": 2.0, "folds": 2, "classifier": "conv", "net": 3}
    plan |= {"components": 8, "frames": 1000, "judged": 4, "draws": 0}
    told = " ".join(lesson.plan_sentence(plan).split())
    assert "60 clips of bells" in told and "8 components" in told and "as often as its authors do" in told
    assert lesson.epochs_of_all(5)["flint"] == {"epochs": 5}
    assert lesson.one_of_each(np.array(["b", "a", "b", "c"])).tolist() == [0, 1, 3]
