"""interpreters.masking: masks from relevances, rectangles, and what the classifier hears under a mask."""

from __future__ import annotations

import numpy as np
import torch

from workbench.interpreters.masking import Masked, as_mask, masked_logits, rectangles


def test_rectangles_are_equal_and_the_last_takes_what_remains():
    cells = rectangles(7, 5, bands=2, times=2)
    assert cells[:, 0].tolist() == [0, 0, 0, 2, 2, 2, 2] and cells[0].tolist() == [0, 0, 1, 1, 1]
    assert cells.max() == 3


def test_masks_from_relevances():
    relevance = torch.tensor([[-4.0, 0.0], [1.0, 2.0]])
    assert as_mask(relevance, quantile=1).tolist() == [[0, 0], [0.5, 1]]
    assert as_mask(relevance, quantile=1, sign="absolute").tolist() == [[1, 0], [0.25, 0.5]]
    many = as_mask(torch.arange(1001.0)[None], quantile=0.9)
    assert 0.09 < float((many == 1).float().mean()) < 0.11


def test_masks_of_one_and_zero_keep_all_and_nothing(classifier, clip, spectra):
    both = torch.stack([torch.ones(129, 32), torch.zeros(129, 32)])
    scores = masked_logits(classifier, clip, both, spectra=spectra)
    np.testing.assert_allclose(scores, classifier.logits(np.stack([clip, 0 * clip])), atol=1e-4)


def test_sounds_of_masks_are_those_of_the_spectra(classifier, clip, spectra):
    mask = torch.rand(129, 32, generator=torch.Generator().manual_seed(0))
    x = torch.from_numpy(clip)
    for domain in ("log", "linear"):
        expected = spectra.masked(x, mask, domain=domain)
        heard = Masked(classifier, clip, 0, spectra, domain).heard(mask[None])[0]
        np.testing.assert_allclose(heard, expected, atol=1e-5)
        scores = masked_logits(classifier, clip, mask[None], spectra=spectra, domain=domain)
        np.testing.assert_allclose(scores, classifier.logits(expected[None]), atol=1e-4)
