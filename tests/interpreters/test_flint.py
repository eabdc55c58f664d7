"""interpreters.flint: shapes, the entropies in closed form, and a training on planted truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.interpreters.flint import Attributes, Decoder, Flint, FlintConfig, _conciseness, fit_flint
from workbench.interpreters.imitation import agreement

PAPER = [(128, 16, 53), (256, 8, 26), (512, 4, 13)]
QUICK = {"attributes": 24, "epochs": 5, "batch": 12, "learning_rate": 2e-3, "fidelity": 1.0, "fidelity_after": 0}


@pytest.fixture(scope="module")
def trained(classifier, clips, spectra):
    return fit_flint(classifier, clips.x, clips.split, spectra=spectra, progress=False, **QUICK)


@pytest.fixture(scope="module")
def few(clips):
    return Split(clips.split.train[:12], clips.split.valid[:3])


def test_shapes_and_sizes_of_the_audio_networks():
    psi, decoder = Attributes(PAPER, 100), Decoder(100, 513, 431)
    with torch.no_grad():
        attributes = psi([torch.randn(2, *shape) for shape in PAPER])
        decoded = decoder(attributes)
    assert attributes.shape == (2, 100) and attributes.min() >= 0
    assert decoded.shape == (2, 513, 431) and decoded.min() >= 0
    assert sum(p.numel() for p in psi.join.parameters()) == 512 * 128 * 9 + 128
    assert sum(p.numel() for p in psi.out.parameters()) == 1152 * 100 + 100
    assert sum(p.numel() for p in decoder.parameters()) == 101 * 1600 + 2592 + 10304 + 41088 + 3 * 128 * 513 + 513


def test_conciseness_in_closed_form():
    one_each = 100 * torch.eye(4)  # each clip one attribute, the batch all of them: least possible
    assert float(_conciseness(one_each)) == pytest.approx(-math.log(4), abs=1e-4)
    assert float(_conciseness(torch.ones(3, 4))) == pytest.approx(0, abs=1e-6)
    same = 100 * torch.eye(4)[[0, 0, 0]]  # concise, not diverse
    assert float(_conciseness(same)) == pytest.approx(0, abs=1e-4)


def test_loss_falls_and_the_decision_is_imitated(trained, classifier, clips):
    history = trained.history
    p = classifier.probabilities(classifier.logits(clips.x[clips.split.train]))
    above = history.fidelity_loss + (p * np.log(p)).sum(1).mean()  # the entropy of the classifier's own is the least
    assert above.iloc[-1] < 0.2 * above.iloc[0]
    assert history.squared_error.iloc[-1] < 0.8 * history.squared_error.iloc[0]
    heard = classifier.logits(clips.x[clips.split.test]).argmax(1)
    assert set(heard) == {0, 1, 2}
    assert np.mean(trained.scores(clips.x[clips.split.test]).argmax(1) == heard) > 0.9  # chance is 1/3


def test_the_best_epoch_is_kept(trained, classifier, clips):
    heard = classifier.logits(clips.x[clips.split.valid]).argmax(1)
    fidelity = np.mean(trained.scores(clips.x[clips.split.valid]).argmax(1) == heard)
    assert fidelity == pytest.approx(trained.history.fidelity.max())


def test_scores_are_linear_in_the_attributes(trained, clips):
    attributes = trained.attributes(clips.x[:5])
    assert attributes.dtype == np.float32 and attributes.shape == (5, 24) and attributes.min() >= 0
    np.testing.assert_allclose(trained.scores(clips.x[:5]), attributes @ trained.head[1].weight.numpy().T, atol=1e-4)


def test_the_first_step_follows_the_gradient_of_the_most_relevant_attribute(trained, classifier, clips, spectra):
    """Adam's first step is the learning rate times the sign, here of finite differences of the objective."""
    x = torch.from_numpy(clips.x[clips.split.test[:1]])
    attributes, weights = trained.attributes(x)[0], trained.head[-1].weight.numpy()
    c = int(classifier.logits(x)[0].argmax())
    j = int((attributes * weights[c]).argmax())

    def objective(mask):
        return trained.attributes(spectra.masked(x, mask[None]))[0, j] / attributes[j] - 3 * float(mask.mean())

    start, step = torch.full((129, 32), 0.4), 0.1
    moved = trained.masks(x, steps=1, start=0.4, sparsity=3.0, learning_rate=0.3)[0]
    changes = []
    for row in range(1, 129, 16):  # blocks, whose differences are larger than rounding errors
        more, less = start.clone(), start.clone()
        more[row : row + 16, 8:16] += step
        less[row : row + 16, 8:16] -= step
        block = moved[row : row + 16, 8:16]
        changes.append((objective(more) - objective(less), float(torch.logit(block).mean() - torch.logit(start[0, 0]))))
    changes = np.array(changes)
    assert np.abs(changes[:, 1]).max() <= 0.3 + 1e-4
    clear = np.abs(changes[:, 1]) > 0.2  # all bins of the block agree
    assert clear.sum() >= 3 and (np.sign(changes[clear, 0]) == np.sign(changes[clear, 1])).all()


def test_masks_keep_the_band_that_decides(trained, classifier, clips, band_bins):
    x = clips.x[clips.split.test[:9]]
    masks, y = trained.masks(x), clips.y[clips.split.test[:9]]
    assert masks.dtype == torch.float32 and masks.shape == (9, 129, 32) and masks.min() >= 0 and masks.max() <= 1
    inside = np.mean([mask[band_bins(c)].mean() for mask, c in zip(masks, y, strict=True)])
    outside = np.mean([mask[~band_bins(c)].mean() for mask, c in zip(masks, y, strict=True)])
    assert inside > 2 * outside
    again = trained.masks(x[:2], classifier.logits(x[:2]).argmax(1))
    torch.testing.assert_close(again, masks[:2], rtol=1e-4, atol=1e-4)  # bits differ between batches
    sparse, full = (trained.masks(x[:3], sparsity=value).mean() for value in (30.0, 0.0))
    assert sparse < masks[:3].mean() < full


def test_no_attribute_speaks_for_the_class(classifier, clips, spectra):
    flint = Flint(classifier, spectra, clips.x.shape[1], FlintConfig(attributes=4))
    with torch.no_grad():
        flint.head[-1].weight.copy_(torch.tensor([[1.0], [1.0], [-1.0]]).expand(3, 4))
        flint.psi.out.bias.fill_(5.0)
    masks = flint.masks(clips.x[:2], [2, 0], steps=2)
    assert not masks[0].any() and masks[1].any()


def test_same_seed_same_numbers(classifier, clips, few, spectra):
    options = QUICK | {"epochs": 1, "spectra": spectra, "progress": False}
    state = torch.get_rng_state()
    a, b, c = (fit_flint(classifier, clips.x, few, seed=seed, **options).scores(clips.x[:4]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)
    np.testing.assert_array_equal(torch.get_rng_state(), state)


def test_terms_begin_after_their_delays(classifier, clips, few, spectra):
    """Without decoder and other terms, nothing moves the head before the fidelity counts."""
    alone = {"reconstruction": 0.0, "sparsity": 0.0, "entropy": 0.0, "epochs": 1, "attributes": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = Flint(classifier, spectra, clips.x.shape[1], FlintConfig(attributes=8)).head[1].weight
    options = {"spectra": spectra, "progress": False} | alone
    waiting = fit_flint(classifier, clips.x, few, fidelity_after=1, **options).head[1].weight
    moving = fit_flint(classifier, clips.x, few, fidelity_after=0, **options).head[1].weight
    assert torch.equal(waiting, start) and not torch.equal(moving, start)


def test_several_labels(classifier, clips, few, spectra):
    from workbench.interpreters import Classifier

    labels = Classifier(classifier.module, rate=8000, classes=["a", "b", "c"], taps=classifier.taps, multilabel=True)
    found = fit_flint(labels, clips.x, few, spectra=spectra, progress=False, **QUICK)
    assert found.history.fidelity_loss.iloc[-1] < found.history.fidelity_loss.iloc[0]


def test_agreement():
    logits, scores = torch.tensor([[1.0, -1], [2, 3]]), torch.tensor([[3.0, 1], [2, 1]])
    assert agreement(logits, scores, multilabel=False).tolist() == [1, 0]
    assert agreement(logits, scores, multilabel=True).tolist() == [0.5, 1]


def test_errors(classifier, clips, spectra):
    flint = Flint(classifier, spectra, clips.x.shape[1], FlintConfig(attributes=4))
    with pytest.raises(ParameterError, match="start=1 must be a finite number, above 0 and below 1"):
        flint.masks(clips.x[:1], start=1)
    with pytest.raises(ParameterError, match="classes="):
        flint.masks(clips.x[:1], [3])
    with pytest.raises(ParameterError, match=r"split.valid=\[\] must be at least one clip"):
        fit_flint(classifier, clips.x, Split(clips.split.train), spectra=spectra)
    with pytest.raises(ParameterError, match="attributes=0 must be a whole number, 1 or more"):
        FlintConfig(attributes=0)
    with pytest.raises(ParameterError, match="entropy=-1 must be a finite number, 0 or more"):
        fit_flint(classifier, clips.x, clips.split, entropy=-1)
