"""interpreters.judging: studies of explanations on a classifier whose reasons are known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.interpreters import Interpretation, above_guessing, agreement, mask_study, removal_study, truth_study
from workbench.interpreters.masking import masked_logits
from workbench.metrics import fidelity

from .conftest import BANDS, RATE, SAMPLES, SPECTRA, burst

BINS = [slice(round(low / RATE * 256), round(high / RATE * 256) + 1) for low, high in BANDS]


@pytest.fixture(scope="module")
def scene():
    """Six clips with a burst of classes 0, 1 and 2 in turn, and of the next class at a quarter of its level."""
    rng = np.random.default_rng(0)
    stems = np.float32([0.4 * burst(i % 3, rng) for i in range(6)])
    others = np.float32([0.1 * burst((i + 1) % 3, rng) for i in range(6)])
    return stems + others + np.float32(1e-4) * np.float32(rng.normal(size=stems.shape)), stems


def band_mask(c: int) -> torch.Tensor:
    mask = torch.zeros(SPECTRA.bins, SPECTRA.frames(SAMPLES))
    mask[BINS[c]] = 1
    return mask


def explained(classifier, scene):
    """One component a band, its activation the band's level; only that of the class is relevant."""
    found = []
    for i, x in enumerate(torch.from_numpy(scene[0])):
        log_magnitude, phase = SPECTRA.analyse(x)
        w = torch.stack([band_mask(c)[:, 0] for c in range(3)], 1)
        w /= w.norm(dim=0)
        h = w.T @ log_magnitude
        weights = torch.full((3,), 0.05)
        weights[i % 3] = 1.0
        logits = classifier.logits(x[None])[0]
        found.append(
            Interpretation(
                classes=classifier.classes,
                index=i % 3,
                waveform_in=x,
                log_magnitude=log_magnitude,
                phase=phase,
                dictionary=w,
                activations=h,
                pooled=h.mean(1),
                weights=weights,
                logits=logits,
                scores=logits,
                spectra=SPECTRA,
            )
        )
    return found


def test_the_relevant_component_carries_the_score_and_random_others_do_not(classifier, scene):
    table = removal_study(explained(classifier, scene), classifier, taus=(0.9, 0.5), draws=2, progress=False)
    assert table["components"].tolist() == [1, 1] and table["none"].tolist() == [0, 0]
    assert (table["drop"] > 5 * table["random"].abs()).all() and (table["low"] <= table["drop"]).all()
    assert (table["difference_low"] > 0).all() and (table["difference"] > 0.7 * table["drop"]).all()
    chances = removal_study(
        explained(classifier, scene), classifier, taus=(0.9,), draws=2, output="probabilities", progress=False
    )
    assert 0 < chances["drop"].iloc[0] <= 1


def test_the_rules_of_an_explanation_hold_where_its_components_are_removed(classifier, scene):
    """By the paper's, silence of W H stays in the clip when all components go; by the default nothing stays."""
    default = explained(classifier, scene)
    for one in default:
        one.activations[:, :16] = 0
    paper = [replace(one, rules="paper") for one in default]
    same = {"taus": (-1.0,), "draws": 1, "output": "logits", "progress": False}
    left = np.stack(
        [one.spectra.invert(one.log_magnitude * (1 - one.share([0, 1, 2])), one.phase, SAMPLES) for one in paper]
    )
    kept = np.median(
        [one.logits[one.index] - row[one.index] for one, row in zip(paper, classifier.logits(left), strict=True)]
    )
    assert removal_study(paper, classifier, **same).loc[-1.0, "drop"] == pytest.approx(kept, abs=1e-4)
    assert removal_study(default, classifier, **same).loc[-1.0, "drop"] > kept + 0.1


def test_each_class_alone(classifier, scene):
    """As the studies of the clips of each class."""
    found, same = explained(classifier, scene), {"taus": (0.9, 0.5), "draws": 2, "progress": False}
    table = removal_study(found, classifier, by_class=True, groups=np.arange(6) // 3, **same)
    assert table.index.names == ["class", "tau"] and len(table) == 6
    alone = removal_study(found[1::3], classifier, groups=[0, 1], **same)
    pd.testing.assert_frame_equal(table.loc["middle"], alone)
    interpreter = SimpleNamespace(classifier=classifier, scores=lambda x: np.tile([3.0, 2.0, 1.0], (len(x), 1)))
    fidelities = agreement(interpreter, scene[0], Split([], [], np.arange(6)), by_class=True)
    assert fidelities.to_dict() == {
        "clips": {"low": 2, "middle": 2, "high": 2},
        "top_1": {"low": 1, "middle": 0, "high": 0},
    }
    with pytest.raises(ParameterError, match="by_class='yes'"):
        removal_study(found, classifier, by_class="yes")


def test_nothing_is_removed_above_every_relevance(classifier, scene):
    table = removal_study(explained(classifier, scene), classifier, taus=(1.0,), draws=1, progress=False)
    assert table.loc[1.0, "none"] == 1 and table.loc[1.0, "drop"] == 0 and table.loc[1.0, "random"] == 0


def test_masks_of_one_and_zero_are_the_ends_of_every_column(classifier, scene):
    whole = torch.ones(6, SPECTRA.bins, SPECTRA.frames(SAMPLES))
    own = torch.stack([band_mask(i % 3) for i in range(6)])
    wrong = torch.stack([band_mask((i + 2) % 3) for i in range(6)])
    masks = {"ones": whole, "zeros": 0 * whole, "own": own, "wrong": wrong}
    table = mask_study(classifier, scene[0], masks, spectra=SPECTRA)
    assert table.loc["ones", ["average_increase", "average_drop", "average_gain"]].tolist() == [0, 0, 0]
    assert table.loc["zeros", "logit_drop"] == 0 and table.loc["ones", "fidelity_in"] == 1
    assert table.loc["own", "logit_drop"] > 5 * abs(table.loc["wrong", "logit_drop"])
    logits = masked_logits(classifier, scene[0][0], torch.stack([whole[0], 1 - own[0]]), spectra=SPECTRA)[:, 0]
    assert logits[0] - logits[1] > 0


def test_the_true_band_is_nearer_to_the_stem_than_the_mixture(scene):
    own = torch.stack([band_mask(i % 3) for i in range(6)])
    masks = {"own": own, "ones": torch.ones_like(own), "zeros": torch.zeros_like(own)}
    spans = [[(0.15, 0.35)]] * 6
    table = truth_study(*scene, masks, spectra=SPECTRA, intervals=spans, domain="linear")
    assert table.loc["ones", "improvement"] == pytest.approx(0, abs=0.01)
    assert table.loc["own", "improvement"] > 10 and table.loc["own", "overlap"] > 0.8
    assert table.loc["zeros", "silent"] == 1 and table.loc["zeros", "si_sdr"] == -60


def test_differences_are_paired_clip_by_clip_and_drawn_by_groups(classifier, scene):
    own = torch.stack([band_mask(i % 3) for i in range(6)])
    wrong = torch.stack([band_mask((i + 2) % 3) for i in range(6)])
    masks, same = {"own": own, "again": own.clone(), "wrong": wrong}, {"spectra": SPECTRA, "against": "own"}
    table = mask_study(classifier, scene[0], masks, **same)
    columns = ["difference", "difference_low", "difference_high"]
    assert table.loc["again", "difference"] == 0 and table.loc["again", columns[1:]].isna().all(), "nothing differs"
    assert 0 < table.loc["wrong", "difference_low"] <= table.loc["wrong", "difference"]
    assert table.loc["own", "logit_drop_low"] <= table.loc["own", "logit_drop"] <= table.loc["own", "logit_drop_high"]
    true = truth_study(*scene, masks, **same, domain="linear")
    assert true.loc["again", "difference"] == 0 and true.loc["wrong", "difference_low"] > 10
    gained = true.loc["own", "si_sdr"] - true.loc["wrong", "si_sdr"]
    assert true.loc["wrong", "difference"] == pytest.approx(gained, rel=0.3)
    assert "difference" not in truth_study(*scene, masks, spectra=SPECTRA)
    few = mask_study(classifier, scene[0], masks, **same, groups=[0, 0, 0, 1, 1, 1])
    assert few.loc["wrong", "difference_low"] < table.loc["wrong", "difference_low"], "two groups tell less"
    alone = mask_study(classifier, scene[0], masks, **same, groups=["g"] * 6)
    assert np.isnan(alone.loc["wrong", "difference_low"]) and alone.loc["wrong", "difference"] > 0
    with pytest.raises(ParameterError, match="against='none' must be one of own, again, wrong"):
        mask_study(classifier, scene[0], masks, spectra=SPECTRA, against="none")


def test_above_guessing_sets_a_fidelity_beside_its_level():
    model = np.eye(4)[[0, 0, 0, 1, 1, 2, 3, 3]]
    perfect = above_guessing(fidelity.evaluate(model, model, ks=[1]))
    assert perfect[0] == perfect[2] == 1 - 3 / 8 and 0 < perfect[1] < perfect[0]
    always = above_guessing(fidelity.evaluate(model, np.tile([1.0, 0, 0, 0], (8, 1)), ks=[1]))
    assert always[0] == 0 and always[1] < 0 < always[2]
    said = np.array([[1, 0], [0, 1], [1, 1], [0, 1], [1, 0], [0, 0]] * 5, bool)
    assert above_guessing(fidelity.evaluate_multilabel(said, said.astype(float)))[1] > 0
    assert above_guessing(fidelity.evaluate_multilabel(said, np.full((30, 2), 0.5)))[0] == 0
    alone = fidelity.evaluate(model, model, ["g"] * 8, ks=[1])
    assert above_guessing(alone)[0] == 1 - 3 / 8 and np.isnan(above_guessing(alone)[1:]).all()
    alone = fidelity.evaluate_multilabel(said, said.astype(float), ["g"] * 30)
    assert above_guessing(alone)[0] > 0 and np.isnan(above_guessing(alone)[1:]).all()
    for bad in ({"top_1": 0.5}, None, 3):
        with pytest.raises(ParameterError, match="measured"):
            above_guessing(bad)


def test_errors(classifier, scene):
    with pytest.raises(ParameterError, match=r"masks=\{\} must be at least one method"):
        mask_study(classifier, scene[0], {}, spectra=SPECTRA)
    with pytest.raises(ParameterError, match=r"len\(masks\['one'\]\)=1 must be 6, a mask a clip"):
        mask_study(classifier, scene[0], {"one": band_mask(0)[None]}, spectra=SPECTRA)
    with pytest.raises(ParameterError, match=r"stems.shape=\(2, 4000\) must be \(6, 4000\)"):
        truth_study(scene[0], scene[1][:2], {"one": band_mask(0)[None]}, spectra=SPECTRA)
