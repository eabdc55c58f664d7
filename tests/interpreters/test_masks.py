"""interpreters.masks: planted reasons are found, surrogates are exact, budgets kept; controls control."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from workbench.core.errors import ParameterError
from workbench.interpreters import Classifier, Spectra
from workbench.interpreters.masking import masked_logits, rectangles
from workbench.interpreters.masks import CONTROLS, MASKS, _largest, _surrogate, occlusion, saliency, slime


@pytest.fixture(scope="module")
def options(classifier, clip, spectra):
    """Small budgets, and for LIME components of three bins each with exact activations."""
    x = spectra.analyse(torch.from_numpy(clip))[0].numpy()
    w = np.kron(np.eye(43), np.ones((3, 1)))[:129] / np.sqrt(3)
    activations = w.T @ x
    few = {"progress": False}
    return {
        "smooth_gradient": {"samples": 8},
        "integrated_gradients": {"steps": 8},
        "occlusion": few | {"times": 4, "bands": 16},
        "slime": few | {"samples": 200},
        "slime_grid": few | {"samples": 400, "times": 4, "kept": 2},
        "lime_components": few | {"dictionary": w, "activations": activations, "samples": 400, "kept": 6},
    }


@pytest.fixture(scope="module")
def masks(classifier, clip, spectra, options):
    return {name: f(classifier, clip, 1, spectra=spectra, **options.get(name, {})) for name, f in MASKS.items()}


@pytest.mark.parametrize("name", [name for name in MASKS if name != "slime"])
def test_the_band_that_is_listened_to_is_found(name, masks, band_bins):
    mask, inside = masks[name].numpy(), band_bins(1)
    assert mask.dtype == np.float32 and mask.shape == (129, 32) and mask.min() >= 0 and mask.max() <= 1
    assert mask[inside].mean() > 4 * mask[~inside].mean()


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "occlusion", "slime", "slime_grid"])
def test_the_time_at_which_it_sounds_is_found(name, masks):
    time = torch.arange(32) * 128 / 8000
    during = (time > 0.1) & (time < 0.4)
    mask = masks[name].mean(0)
    assert mask[during].mean() > 2 * mask[~during].mean()


@pytest.mark.parametrize("name", MASKS)
def test_what_is_found_is_what_the_classifier_uses(name, masks, classifier, clip, spectra):
    shuffled = CONTROLS["shuffled"](classifier, clip, 1, like=masks[name], spectra=spectra)
    whole, rest, other = masked_logits(
        classifier, clip, torch.stack([torch.ones(129, 32), 1 - masks[name], 1 - shuffled]), spectra=spectra
    )[:, 1]
    assert whole - rest > max(0.2 * whole, 2 * (whole - other))


@pytest.mark.parametrize("name", MASKS)
def test_same_seed_same_mask(name, masks, classifier, clip, spectra, options):
    state = torch.get_rng_state()
    again = MASKS[name](classifier, clip, 1, spectra=spectra, seed=np.int64(0), **options.get(name, {}))
    np.testing.assert_array_equal(again, masks[name])
    np.testing.assert_array_equal(torch.get_rng_state(), state)


def test_surrogate_is_the_weighted_ridge_of_scikit_learn():
    from sklearn.linear_model import Ridge
    from sklearn.metrics import pairwise_distances

    rng = np.random.default_rng(0)
    on, y = rng.random((80, 7)) < 0.5, rng.normal(size=80)
    on[0], on[1] = True, False
    distance = pairwise_distances(on.astype(float), on[:1].astype(float), metric="cosine")[:, 0]
    assert distance[1] == 1
    oracle = Ridge(alpha=1.0).fit(on, y, sample_weight=np.sqrt(np.exp(-(distance**2) / 0.25**2)))
    np.testing.assert_allclose(_surrogate(on, y), oracle.coef_, atol=1e-10)


def test_surrogate_recovers_a_linear_model():
    rng, weights = np.random.default_rng(0), np.array([3.0, 0, -1, 0.5])
    on = rng.random((4000, 4)) < 0.5
    np.testing.assert_allclose(_surrogate(on, on @ weights + 2, alpha=1e-9), weights, atol=1e-9)
    assert _largest(weights, 3).tolist() == [0, 3] and _largest(weights, 1).tolist() == [0]
    assert not len(_largest(-np.ones(3), 3))


class Counting(nn.Module):
    """Hears how many clips it was asked about, at most how many at once."""

    def __init__(self, module):
        super().__init__()
        self.module, self.asked = module, []

    def forward(self, x):
        self.asked.append(len(x))
        return self.module(x)


@pytest.mark.parametrize(
    ("name", "calls"),
    [("saliency", 1), ("smooth_gradient", 8), ("integrated_gradients", 8), ("occlusion", 65), ("slime", 200)],
)
def test_budgets_are_kept(name, calls, classifier, clip, spectra, options):
    counting = Classifier(Counting(classifier.module), rate=8000, classes=["a", "b", "c"], batch=5, device="cpu")
    MASKS[name](counting, clip, 1, spectra=spectra, **options.get(name, {}))
    assert sum(counting.module.asked) == calls and max(counting.module.asked) <= 5


def test_occlusion_is_the_fall_of_the_score(classifier, clip, spectra):
    mask = occlusion(classifier, clip, 1, spectra=spectra, times=1, bands=3, progress=False)
    cells = torch.from_numpy(rectangles(129, 32, bands=3, times=1))
    left = torch.stack([torch.ones(129, 32), *((cells != i).float() for i in range(3))])
    scores = masked_logits(classifier, clip, left, spectra=spectra)[:, 1]
    falls = np.maximum(scores[0] - scores[1:], 0)
    np.testing.assert_allclose([mask[cells == i].mean() for i in range(3)], falls / falls.max(), atol=1e-5)


def test_controls_like_a_mask_have_its_values(classifier, clip, spectra, masks):
    like = masks["saliency"]
    for name in ("shuffled", "shifted"):
        control = CONTROLS[name](classifier, clip, 0, like=like, spectra=spectra, seed=3)
        assert not torch.equal(control, like)
        np.testing.assert_array_equal(control.flatten().sort()[0], like.flatten().sort()[0])


def test_energy_keeps_the_loudest_tenth(classifier, clip, spectra, band_bins):
    mask = CONTROLS["energy"](classifier, clip, 1, spectra=spectra).numpy()
    assert mask.mean() == pytest.approx(0.1, abs=1e-3)
    loud = round(2400 / 8000 * 256)
    assert mask[loud].all() and mask[band_bins(1)].mean() < 0.5  # it finds what is loud, not what counts


@pytest.mark.parametrize("name", [name for name in MASKS if name != "lime_components"] + ["energy"])
def test_silence_has_no_reasons(name, classifier, clip, spectra, options):
    found = (MASKS | CONTROLS)[name](classifier, 0 * clip, 1, spectra=spectra, **options.get(name, {}))
    assert not found.any()


def test_errors(classifier, clip, spectra):
    with pytest.raises(ParameterError, match=r"x.shape=\(1, 4000\) must be \(samples,\)"):
        saliency(classifier, clip[None], 1, spectra=spectra)
    with pytest.raises(ParameterError, match="index=3 must be a class, 0 to 2"):
        slime(classifier, clip, 3, spectra=spectra)
    with pytest.raises(ParameterError, match="spectra.rate=44100 must be 8000, that of bands"):
        saliency(classifier, clip, 1, spectra=Spectra())
    with pytest.raises(ParameterError, match="bands=200 must be a whole number from 1 to 129"):
        occlusion(classifier, clip, 1, spectra=spectra, bands=200)
    with pytest.raises(ParameterError, match="sign='negative'"):
        saliency(classifier, clip, 1, spectra=spectra, sign="negative")
    with pytest.raises(ParameterError, match=r"of shapes \(129, K\) and \(K, 32\)"):
        MASKS["lime_components"](classifier, clip, 1, spectra=spectra, dictionary=np.ones((129, 4)), activations=clip)
    with pytest.raises(ParameterError, match="samples=1 must be a whole number, 2 or more"):
        slime(classifier, clip, 1, spectra=spectra, samples=1)
    with pytest.raises(ParameterError, match="samples=100 must be more than 128, half a window"):
        saliency(classifier, clip[:100], 1, spectra=spectra)
