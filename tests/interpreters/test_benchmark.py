"""interpreters.benchmark: all measures of explanations, on a classifier whose reasons are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.interpreters import Benchmark, Classifier, Interpretation, all_masks, benchmark
from workbench.interpreters.benchmark import COMMONEST
from workbench.interpreters.masking import masked_logits
from workbench.interpreters.masks import energy, slime
from workbench.metrics import separation
from workbench.metrics.intervals import difference_interval

from .conftest import BANDS, BURST, RATE, SAMPLES, SPECTRA, BandListener, burst

COUNT = 9
CLASSES = np.arange(COUNT) % 3


def band(c: int) -> torch.Tensor:
    f = torch.arange(SPECTRA.bins) * RATE / SPECTRA.n_fft
    rows = (f >= BANDS[c][0] - 40) & (f <= BANDS[c][1] + 40)
    return rows[:, None].float().expand(-1, SPECTRA.frames(SAMPLES)).clone()


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Mixtures of the burst of a class with a louder, steady tone in no band, and the bursts alone."""
    rng, time = np.random.default_rng(0), np.arange(SAMPLES) / RATE
    stems = np.float32([0.3 * burst(c, rng) for c in CLASSES])
    return stems + np.float32(0.6 * np.sin(2 * np.pi * 2400 * time) + 1e-3 * rng.normal(size=stems.shape)), stems


class Imitator:
    """Says a class more than the classifier's for every third clip."""

    def __init__(self, classifier):
        self.classifier = classifier

    def scores(self, x):
        wrong = np.where(np.arange(len(x)) % 3 == 2, 1, 0)
        return np.eye(3)[(self.classifier.logits(x).argmax(1) + wrong) % 3]


@pytest.fixture(scope="module")
def found(classifier, scene) -> Benchmark:
    x, stems = scene
    listener = Classifier(BandListener(), rate=RATE, classes=classifier.classes, device="cpu", name="listener")
    whole = torch.ones(COUNT, SPECTRA.bins, SPECTRA.frames(SAMPLES))
    loud = torch.stack([energy(classifier, clip, c, spectra=SPECTRA) for clip, c in zip(x, CLASSES, strict=True)])
    masks = {"ones": whole, "zeros": 0 * whole, "energy": loud}
    masks |= {"own": torch.stack([band(c) for c in CLASSES]), "next": torch.stack([band((c + 1) % 3) for c in CLASSES])}
    options = {"classes": CLASSES, "spectra": SPECTRA, "stems": stems, "intervals": [[BURST]] * COUNT}
    options |= {"interpreters": {"own": Imitator(classifier)}, "listener": listener, "progress": False}
    return benchmark(classifier, x, masks, of_random={"energy": loud, "own": masks["next"], "ones": whole}, **options)


def test_each_measure_is_what_it_says(classifier, scene, found):
    x, stems = scene
    for i, c in enumerate(CLASSES):
        three = torch.stack([torch.ones_like(band(c)), band(c), 1 - band(c)])
        logits = masked_logits(classifier, x[i], three, spectra=SPECTRA)
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        drops = found.each["logit_drop"]["own"][i], found.each["mean_removal_drop"]["own"][i]
        assert drops == pytest.approx((logits[0, c] - logits[2, c], chances[0, c] - chances[2, c]), abs=1e-4)
        assert found.each["fidelity_in"]["own"][i] == (logits[1].argmax() == c)
        heard = SPECTRA.masked(torch.from_numpy(x[i]), band(c)).numpy()
        gained = separation.si_sdr(stems[i], heard) - separation.si_sdr(stems[i], x[i])
        assert found.each["improvement"]["own"][i] == pytest.approx(gained, abs=1e-3)
        assert found.each["overlap"]["own"][i] == separation.onset_overlap(heard, [BURST], RATE)
        pair = np.corrcoef(band(c).flatten(), band((c + 1) % 3).flatten())[0, 1]
        assert found.each["sanity"]["own"][i] == pytest.approx(abs(pair), abs=1e-6)
    assert found.each["imitation"]["own"].tolist() == [1, 1, 0] * 3
    assert found.each["imitation"][COMMONEST].sum() == 3, "each class is decided three times"


def test_what_controls_have_by_construction(found):
    table = found.table()
    assert list(table.index) == ["own", "next", "ones", "zeros", "energy", COMMONEST]
    assert table.loc["ones", ["fidelity_in", "heard"]].tolist() == [1, 1] and table.loc["zeros", "logit_drop"] == 0
    assert table.loc["ones", "improvement"] == pytest.approx(0, abs=0.01)
    assert table.loc["energy", "sanity"] == pytest.approx(1) and np.isnan(table.loc["ones", "sanity"])
    assert np.isnan(table.loc["next", "sanity"]) and np.isnan(table.loc["next", "imitation"])


def test_removing_and_adding_by_the_true_band_is_best(found):
    table = found.table()
    assert table["deletion"].idxmin() == table["insertion"].idxmax() == "own"
    assert table.loc["own", "deletion"] < table.loc["ones", "deletion"] - 0.1
    assert table.loc["own", "insertion"] > table.loc["ones", "insertion"] + 0.1
    assert table.loc["ones", "deletion"] == pytest.approx(table.loc["zeros", "deletion"]), "equal rectangles, by chance"


def test_verdicts_set_the_best_beside_the_best_control(found):
    verdicts = found.verdicts()
    assert verdicts.loc["logit_drop", ["method", "control"]].tolist() == ["own", "ones"]
    assert verdicts.loc["logit_drop", "difference_low"] < 0, "to remove everything takes most"
    fair = found.verdicts(without=["ones", "zeros"])
    assert fair.loc["logit_drop", ["method", "control"]].tolist() == ["own", "energy"]
    assert fair.loc["logit_drop", "difference_low"] > 0 and fair.loc["deletion", "difference_low"] > 0
    assert fair.loc["sanity", "control"] == "energy" and fair.loc["sanity", "difference"] > 0.5
    assert fair.loc["imitation", ["value", "control_value"]].tolist() == pytest.approx([2 / 3, 1 / 3])
    with pytest.raises(ParameterError, match="without='own' must be 'ones', 'zeros', 'energy' or"):
        found.verdicts(without=["own"])


def test_an_interval_allows_for_the_choice_of_the_best():
    rng = np.random.default_rng(0)
    noise = pd.DataFrame(rng.normal(size=(40, 12)), columns=[f"method {i}" for i in range(10)] + ["ones", "energy"])
    row = Benchmark({"logit_drop": noise}, ("ones", "energy"), np.arange(40)).verdicts().loc["logit_drop"]
    gap = difference_interval(noise[row["method"]], noise[row["control"]], level=1 - 0.05 / 20)  # ten methods, two
    assert tuple(row[["difference", "difference_low", "difference_high"]]) == pytest.approx(gap)
    shown = 0
    for seed in range(200):
        values = pd.DataFrame(np.random.default_rng(seed).normal(size=(40, 12)), columns=noise.columns)
        row = Benchmark({"logit_drop": values}, ("ones", "energy"), np.arange(40)).verdicts().loc["logit_drop"]
        shown += row["difference_low"] > 0
    assert shown <= 20, "of noise, the best of ten methods beats the best of two controls at most by chance"


class Keeper:
    """An interpreter whose masks keep everything."""

    def masks(self, x):
        return torch.ones(len(x), SPECTRA.bins, SPECTRA.frames(SAMPLES))


def test_masks_of_every_method_for_every_clip(classifier, scene):
    explained = []
    for i, x in enumerate(torch.from_numpy(scene[0][:2])):
        level, phase = SPECTRA.analyse(x)
        w = torch.stack([band(c)[:, 0] for c in range(3)], 1)
        h, one = w.T @ level, torch.eye(3)[i]
        logits = classifier.logits(x[None])[0]
        parts = (level, phase, w, h, h.mean(1), one, logits, logits, SPECTRA)
        explained.append(Interpretation(classifier.classes, i, x, *parts))
    options = {"samples": 8, "seed": 3, "progress": False}
    masks = all_masks(classifier, explained, others={"keeper": Keeper()}, **options)
    assert list(masks)[:3] == ["L2I", "keeper", "saliency"] and {"lime_components", "energy", "shuffled"} <= set(masks)
    assert {tuple(mask.shape) for mask in masks.values()} == {(2, SPECTRA.bins, SPECTRA.frames(SAMPLES))}
    assert torch.equal(masks["L2I"][1], explained[1].mask(0.2)) and masks["keeper"].min() == masks["ones"].min() == 1
    alone = slime(classifier, scene[0][1], 1, spectra=SPECTRA, **options)
    assert torch.equal(masks["slime"][1], alone), "its own class, number of versions and seed"
    assert torch.equal(masks["shuffled"].flatten(1).sort()[0], masks["L2I"].flatten(1).sort()[0])


def test_bad_arguments_are_named(classifier, scene):
    x, stems = scene
    masks = {"ones": torch.ones(COUNT, SPECTRA.bins, SPECTRA.frames(SAMPLES))}
    options = {"spectra": SPECTRA, "progress": False}
    with pytest.raises(ParameterError, match=r"stems.shape=\(8, 4000\)"):
        benchmark(classifier, x, masks, stems=stems[:8], **options)
    with pytest.raises(ParameterError, match="intervals=8"):
        benchmark(classifier, x, masks, intervals=[[BURST]] * 8, **options)
    with pytest.raises(ParameterError, match="steps"):
        benchmark(classifier, x, masks, steps=0, **options)
    other = Classifier(BandListener(), rate=RATE, classes=("a", "b", "c"), device="cpu")
    with pytest.raises(ParameterError, match="listener.classes"):
        benchmark(classifier, x, masks, listener=other, **options)
    with pytest.raises(ParameterError, match=r"len\(masks\['ones'\]\)"):
        benchmark(classifier, x[:5], masks, **options)
