"""interpreters.gradients: sums are complete, and a linear classifier's gradients are its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from workbench.interpreters import Classifier
from workbench.interpreters.gradients import _path_integral, saliency, smooth_gradient
from workbench.interpreters.masking import as_mask


def test_other_seeds_draw_other_noise(classifier, clip, spectra):
    a, b = (smooth_gradient(classifier, clip, 1, spectra=spectra, samples=4, seed=seed) for seed in (0, 1))
    assert not torch.equal(a, b)


def test_other_classes_have_other_masks(classifier, clip, spectra, band_bins):
    mask = saliency(classifier, clip, 2, spectra=spectra).numpy()
    assert mask[band_bins(2)].mean() > 4 * mask[~band_bins(2)].mean()


@pytest.mark.parametrize("domain", ["log", "linear"])
def test_integrated_gradients_are_complete(domain, classifier, clip, spectra):
    relevance = _path_integral(classifier, clip, 1, spectra=spectra, steps=64, domain=domain)
    scores = classifier.logits(np.stack([clip, 0 * clip]))[:, 1]
    assert float(relevance.sum()) == pytest.approx(scores[0] - scores[1], rel=2e-3)


def test_gradients_of_a_linear_classifier_in_closed_form(spectra):
    """A score that is linear in the waveform is linear in a mask on |STFT|: gradient and integral are its parts."""
    weight = np.random.default_rng(0).normal(size=4000)

    class Linear(nn.Module):
        def forward(self, x):
            return torch.stack([x @ torch.from_numpy(weight).to(x), 0 * x[:, 0]], 1)

    x = np.float32(np.random.default_rng(1).normal(size=4000))
    linear = Classifier(Linear(), rate=8000, classes=("a", "b"), device="cpu")
    relevance = _path_integral(linear, x, 0, spectra=spectra, steps=200, domain="linear")
    assert float(relevance.sum()) == pytest.approx(float(weight @ x), rel=1e-3)
    part = torch.zeros(129, 32)
    part[20, 7] = 1
    alone = spectra.masked(torch.from_numpy(x), part, domain="linear").numpy() @ weight
    assert float(relevance[20, 7]) == pytest.approx(alone, rel=1e-3)
    expected = as_mask(relevance)
    np.testing.assert_allclose(saliency(linear, x, 0, spectra=spectra, domain="linear"), expected, atol=1e-3)
