"""interpreters.vibi: draws that carry gradients, the information term, cells on the spectrogram, a planted truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.interpreters.vibi import Vibi, VibiConfig, _concrete, _decision_loss, _information, _most, fit_vibi

QUICK = {"mels": 32, "height": 4, "width": 8, "cells": 4, "batch": 20, "learning_rate": 3e-3, "progress": False}


@pytest.fixture(scope="module")
def trained(classifier, clips, spectra):
    return fit_vibi(classifier, clips.x, clips.split, spectra=spectra, epochs=15, **QUICK)


def test_the_loss_of_the_approximator_reaches_the_explainer(classifier, clips, spectra):
    vibi = Vibi(classifier, spectra, clips.x.shape[1], VibiConfig(mels=32, height=4, width=8, cells=4))
    scores, _ = vibi.module.requires_grad_()(vibi.images(torch.from_numpy(clips.x[:6])), drawn=True)
    _decision_loss(torch.eye(3)[[0, 1, 2, 0, 1, 2]], scores, multilabel=False).backward()
    assert all(p.grad.abs().sum() > 0 for name, p in vibi.module.explainer.named_parameters() if name != "out.bias")


def test_relaxed_draws():
    log_p = torch.tensor([[0.7, 0.2, 0.1, 1e-6]]).log()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cold = _concrete(log_p.repeat(4000, 1), 1, 1e-3)
        two = _concrete(log_p.repeat(200, 1), 2, 0.5)
    np.testing.assert_allclose(cold.mean(0), [0.7, 0.2, 0.1, 0], atol=0.03)  # nearly one-hot, as likely as p says
    assert two.min() >= 0 and two.max() <= 1 and (two.sum(1) >= 1 - 1e-5).all() and (two.sum(1) <= 2).all()


def test_information_in_closed_form():
    assert float(_information(torch.full((3, 8), 1 / 8).log())) == pytest.approx(0, abs=1e-6)
    p = torch.tensor([[0.5, 0.25, 0.25]])
    expected = sum(math.log((1 / 3) / value) / 3 for value in (0.5, 0.25, 0.25))
    assert float(_information(p.log())) == pytest.approx(expected, rel=1e-5)


def test_the_likeliest_cells_are_kept():
    assert _most(torch.tensor([[0.1, 0.5, 0.4], [0.9, 0.0, 0.1]]), 2).tolist() == [[0, 1, 1], [1, 0, 1]]


def test_loss_falls_and_the_decision_is_imitated(trained, classifier, clips):
    assert trained.history.bits.iloc[-1] < 0.5 * trained.history.bits.iloc[0]
    heard = classifier.logits(clips.x[clips.split.test]).argmax(1)
    assert np.mean(trained.scores(clips.x[clips.split.test]).argmax(1) == heard) > 0.8  # chance is 1/3


def test_the_best_epoch_is_kept(trained, classifier, clips):
    heard = classifier.logits(clips.x[clips.split.valid]).argmax(1)
    fidelity = np.mean(trained.scores(clips.x[clips.split.valid]).argmax(1) == heard)
    assert fidelity == pytest.approx(trained.history.fidelity.max())


def test_the_band_that_is_listened_to_is_found(trained, clips, band_bins):
    inside, outside = [], []
    for row in clips.split.test:
        mask, at = trained.explain(clips.x[row]).numpy(), band_bins(int(clips.y[row]))
        assert mask.dtype == np.float32 and mask.shape == (129, 32) and set(np.unique(mask)) <= {0.0, 1.0}
        inside.append(mask[at].mean()), outside.append(mask[~at].mean())
    assert np.mean(inside) > 2 * np.mean(outside)


def test_masks_of_several_clips_are_those_of_each(trained, clips, classifier):
    """As many cells as were asked for, and what is heard of the mask of one clip is that of all."""
    masks = trained.masks(clips.x[:3])
    assert masks.shape == (3, 129, 32) and masks.dtype == torch.float32
    for mask, x in zip(masks, clips.x, strict=False):
        assert torch.equal(mask, trained.explain(x))
    log_p = trained.module.explainer(trained.images(torch.from_numpy(clips.x[:1])))[0]
    likeliest = log_p.topk(4).indices.sort().values.tolist()
    rows, columns = np.unique(trained.bands), np.arange(32)
    own = masks[0][[int((trained.bands == row).nonzero()[0]) for row in rows]]  # one bin a band
    found = {int(row) // 4 * 4 + int(column) // 8 for row in range(len(rows)) for column in columns if own[row, column]}
    assert sorted(found) == likeliest


def test_cells_lie_on_the_spectrogram_where_the_image_has_them(classifier, spectra):
    vibi = Vibi(classifier, spectra, 4000, VibiConfig(mels=32, height=4, width=8, cells=1))
    assert (vibi.rows, vibi.columns) == (8, 4)
    bands = vibi.bands
    assert len(bands) == 129 and (bands.diff() >= 0).all() and bands[0] == 0 and bands[-1] == 31
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(4000) / 8000)
    assert int(vibi.images(tone[None])[0].sum(1).argmax()) == bands[32]  # 1000 Hz is bin 32
    one = torch.zeros(1, 32)
    one[0, 5] = 1  # second row, second column
    image = vibi.module.spread(one)[0]
    assert image.shape == (32, 32) and image[4:8, 8:16].all() and image.sum() == 32


def test_silence_is_what_masked_cells_are(trained):
    assert not trained.images(torch.zeros(1, 4000)).any()


def test_same_seed_same_numbers(classifier, clips, spectra):
    state, options = torch.get_rng_state(), QUICK | {"spectra": spectra, "epochs": 1}
    a, b, c = (
        fit_vibi(classifier, clips.x, clips.split, seed=seed, **options).scores(clips.x[:4]) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)
    np.testing.assert_array_equal(torch.get_rng_state(), state)


def test_beta_makes_the_explainer_unsure(classifier, clips, spectra):
    options = QUICK | {"spectra": spectra, "epochs": 3}
    sure, unsure = (fit_vibi(classifier, clips.x, clips.split, beta=beta, **options) for beta in (0.0, 10.0))
    assert unsure.history.information.iloc[-1] < 0.1 * sure.history.information.iloc[-1]


def test_several_labels_in_closed_form():
    loss = _decision_loss(torch.tensor([[3.0, -2.0]]), torch.tensor([[0.0, 0.0]]), multilabel=True)
    assert float(loss) == pytest.approx(1)  # one bit a label


def test_errors(classifier, clips, spectra, trained):
    with pytest.raises(ParameterError, match="cells=100 must be at most 32, all there are"):
        Vibi(classifier, spectra, 4000, VibiConfig(mels=32, height=4, width=8, cells=100))
    with pytest.raises(ParameterError, match="temperature=0 must be a finite number, above 0"):
        VibiConfig(temperature=0)
    with pytest.raises(ParameterError, match=r"x.shape=\(2, 4000\) must be \(samples,\), one clip"):
        trained.explain(clips.x[:2])
    with pytest.raises(ParameterError, match=r"x.shape=\(2, 2000\) must be clips of 32 frames, as in training"):
        trained.scores(clips.x[:2, :2000])


def test_what_cannot_be_trained_on_is_named_before_it_is(classifier, clips, spectra):
    with pytest.raises(ParameterError, match="spectra.rate=44100 must be 8000, that of bands"):
        fit_vibi(classifier, clips.x, clips.split, spectra=replace(spectra, rate=44100), **QUICK)
    with pytest.raises(ParameterError, match=r"split.train=\[20, 21, 22, 23, 24\] must be rows in \[0, 20\)"):
        fit_vibi(classifier, clips.x[:20], clips.split, spectra=spectra, **QUICK)
    with pytest.raises(ParameterError, match="split='dict' must be a workbench.Split"):
        fit_vibi(classifier, clips.x, {"train": range(20), "valid": [20]}, spectra=spectra, **QUICK)
    with pytest.raises(ParameterError, match="20 training clips that are all silent"):
        fit_vibi(classifier, 0 * clips.x, Split(range(20), [20]), spectra=spectra, **QUICK)
    quiet = clips.x.copy()
    quiet[:3] = 0
    with pytest.warns(UserWarning, match="3 of 120 training clips are silent"):
        fit_vibi(classifier, quiet, clips.split, spectra=spectra, **QUICK | {"epochs": 1})
    quiet[1] = np.nan
    with pytest.raises(ParameterError, match=r"x\[1\]='nan or inf' must be finite"):
        fit_vibi(classifier, quiet, clips.split, spectra=spectra, **QUICK)
