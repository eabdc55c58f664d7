"""interpreters.lmac: the loss by hand, what is trained, and a planted truth: a tone that decides and a louder one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.interpreters import LMAC, Classifier, LMACConfig, fit_lmac, mask_study, truth_study
from workbench.interpreters.lmac import MaskDecoder, total_variation
from workbench.interpreters.masks import energy, shuffled

from .conftest import RATE, SAMPLES, SPECTRA, BandListener, burst

QUICK = {"spectra": SPECTRA, "batch": 8, "width": 16, "epochs": 12, "sparsity": 1.0}
QUICK |= {"progress": False}
SPLIT = Split(np.arange(60), np.arange(60, 75), np.arange(75, 90))


@pytest.fixture(scope="module")
def mixtures():
    """Clips of a faint burst in one band and a louder, longer tone in none; both parts, and the class of the burst."""
    rng, time = np.random.default_rng(2), np.arange(SAMPLES) / RATE
    y = np.arange(90) % 3
    keyed = np.stack([0.3 * burst(c, rng) for c in y])
    other = np.stack([0.6 * np.sin(2 * np.pi * rng.uniform(2300, 2450) * time) for _ in y])
    noise = 0.001 * rng.normal(size=keyed.shape)
    return np.float32(keyed + other + noise), np.float32(keyed), np.float32(other), y


@pytest.fixture(scope="module")
def trained(classifier, mixtures):
    return fit_lmac(classifier, mixtures[0], SPLIT, **QUICK)


def test_the_loss_by_hand(classifier, mixtures):
    """Every term from the masks alone, with the sounds made and classified again clip by clip."""
    x, classes = torch.from_numpy(mixtures[0][:4]), torch.tensor([0, 1, 2, 1])
    lmac = LMAC(classifier, SPECTRA, SAMPLES, LMACConfig(width=8, alike=0.9))
    fixed = torch.linspace(-3, 3, 129 * 32).reshape(129, 32).expand(4, -1, -1).clone()
    fixed[2:] = 8.0  # nearly everything is kept: alike
    lmac.module = lambda maps: fixed
    for guided in (False, True):
        terms, scores, masks = lmac.terms(x, [], classes, guided=guided)
        kept = rest = sparsity = variation = guidance = 0
        for clip, c, mask in zip(x, classes, fixed.sigmoid().double().numpy(), strict=True):
            spectrum = SPECTRA.stft(clip.double()).numpy()
            loud, phase = np.log1p(abs(spectrum)), np.exp(1j * np.angle(spectrum))
            said = []
            for part in (mask, 1 - mask):
                sound = SPECTRA.istft(torch.from_numpy(np.expm1(part * loud) * phase), SAMPLES)
                logits = classifier.module(sound[None].float()).double().numpy()[0]
                said.append(np.log(np.exp(logits).sum()) - logits[c])
            kept, rest = kept + said[0] / 4, rest + said[1] / 4
            cosine = (loud * mask * loud).sum() / np.sqrt((loud**2).sum() * ((mask * loud) ** 2).sum())
            if guided and cosine >= 0.9:
                own = np.where(loud >= 0.35 * loud.max(), mask, 1 - mask)
                guidance -= np.log(own).mean() / 4
            else:
                squares = (np.diff(mask, axis=0) ** 2).sum() + (np.diff(mask, axis=1) ** 2).sum()
                sparsity, variation = sparsity + mask.mean() / 4, variation + squares / 8
        assert (guidance > 0) == guided  # two of the clips
        expected = [kept, rest, sparsity, variation, guidance]
        np.testing.assert_allclose([float(term) for term in terms], expected, rtol=2e-4, atol=1e-6)
    assert lmac.weights() == [4.0, -0.2, 6.4, 0.0, 4.0]
    torch.testing.assert_close(masks, fixed.sigmoid())
    assert scores.shape == (4, 3)


def test_several_labels(mixtures):
    """The loss of the label with the largest score alone: a binary cross-entropy."""
    several = Classifier(
        BandListener(), rate=RATE, classes=list("abc"), taps=("rows",), multilabel=True, device="cpu", name="labels"
    )
    lmac, x = LMAC(several, SPECTRA, SAMPLES, LMACConfig(width=8)), torch.from_numpy(mixtures[0][:2])
    lmac.module = lambda maps: torch.full((2, 129, 32), 30.0)  # a mask of ones: what is kept is the clip
    (kept, rest, *_), scores, _ = lmac.terms(x, [], torch.tensor([2, 0]), guided=False)
    chances = torch.from_numpy(several.probabilities(several.logits(x)))
    assert float(kept) == pytest.approx(-float((chances[0, 2].log() + chances[1, 0].log()) / 2), rel=1e-4)
    assert float(rest) == pytest.approx(np.log(2), rel=1e-4)  # silence: a score of 0
    torch.testing.assert_close(scores, torch.from_numpy(several.logits(x)), rtol=1e-4, atol=1e-4)


def test_total_variation_by_hand():
    masks = torch.tensor([[[0.0, 1.0], [0.5, 0.5]], [[1.0, 1.0], [1.0, 1.0]]])
    torch.testing.assert_close(total_variation(masks), torch.tensor([(0.25 + 0.25 + 1 + 0) / 2, 0.0]))


def test_only_the_decoder_is_trained(classifier, mixtures, trained):
    """The classifier's weights and statistics stay, and so does its eval mode."""
    network = nn.Sequential(nn.Unflatten(1, (1, SAMPLES)), nn.Conv1d(1, 4, 64, 16), nn.BatchNorm1d(4), nn.ReLU())
    network.append(nn.AdaptiveAvgPool1d(1)).append(nn.Flatten()).append(nn.Dropout(0.5)).append(nn.Linear(4, 3))

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.network = BandListener(), network

        def forward(self, x):
            return self.rows(x) + self.network(x)

    wrapped = Wrapped()
    f = Classifier(wrapped, rate=RATE, classes=list("abc"), taps=("rows.rows",), device="cpu")
    before = copy.deepcopy(wrapped.state_dict())
    fit_lmac(f, mixtures[0], SPLIT, **QUICK | {"epochs": 1})
    assert all(torch.equal(before[name], values) for name, values in wrapped.state_dict().items())
    assert not any(module.training for module in wrapped.modules())
    assert all(values.grad is None for values in wrapped.parameters())
    lmac = LMAC(classifier, SPECTRA, SAMPLES, LMACConfig(width=8))
    start = {name: values.clone() for name, values in lmac.module.named_parameters()}
    moved = dict(fit_lmac(classifier, mixtures[0], SPLIT, **QUICK | {"epochs": 1}).module.named_parameters())
    assert set(moved) == set(start) and all(values.requires_grad is False for values in moved.values())
    x = torch.from_numpy(mixtures[0][:3])
    lmac.module.requires_grad_()
    terms, *_ = lmac.terms(x, classifier.tapped(x)[1], torch.tensor([0, 1, 2]), guided=False)
    terms[0].backward()  # through the classifier alone
    assert all(values.grad.abs().sum() > 0 for values in lmac.module.out.parameters())
    assert all(values.grad is None for values in classifier.module.parameters())


def test_the_loss_falls_and_the_best_epoch_is_kept(classifier, mixtures, trained):
    history = trained.history
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    x = torch.from_numpy(mixtures[0][SPLIT.valid])
    assert float(trained.masks(x).mean()) == pytest.approx(
        history["mask_mean"][history["valid_loss"].idxmin()], abs=1e-3
    )


def test_the_tone_that_decides_is_kept_and_the_louder_one_is_not(classifier, mixtures, trained):
    x, keyed, other, y = (torch.as_tensor(part[SPLIT.test]) for part in mixtures)
    assert np.array_equal(classifier.logits(x).argmax(1), y)
    masks = trained.masks(x)
    assert masks.dtype == torch.float32 and masks.shape == (15, 129, 32) and masks.min() >= 0 and masks.max() <= 1

    def share(mask, source):
        """Mean of the mask, weighted by the log magnitudes of a source."""
        level = SPECTRA.analyse(source)[0]
        return float((mask * level).sum() / level.sum())

    loudest = torch.stack([energy(classifier, clip, 0, spectra=SPECTRA) for clip in x])
    ours, others = share(masks, keyed), share(masks, other)
    assert ours > 0.5 and others < 0.2
    assert share(loudest, keyed) < share(loudest, other)
    scattered = torch.stack([shuffled(classifier, clip, 0, like=mask) for clip, mask in zip(x, masks, strict=True)])
    named = {"LMAC": masks, "energy": loudest, "shuffled": scattered}
    judged = mask_study(classifier, x, named, spectra=SPECTRA, against="LMAC")
    assert judged.loc["LMAC", "fidelity_in"] == 1 and judged.loc["shuffled", "difference_low"] > 0.5
    true = truth_study(x.numpy(), keyed.numpy(), named, spectra=SPECTRA, against="LMAC")
    assert true.loc["energy", "difference_low"] > 10


def test_scores_are_those_of_what_is_played(classifier, mixtures, trained):
    x = torch.from_numpy(mixtures[0][:5])
    heard = SPECTRA.masked(x, trained.masks(x))
    np.testing.assert_allclose(trained.scores(x), classifier.logits(heard), rtol=1e-3, atol=1e-3)


def test_fine_tuning_comes_nearer_to_the_loud_bins(classifier, mixtures):
    """Where the cosine is no condition, every clip is guided, and its mask becomes that of the loud bins."""
    options = QUICK | {"epochs": 2, "alike": 0.0}
    x = torch.from_numpy(mixtures[0][SPLIT.test])
    level = SPECTRA.analyse(x)[0]
    loud = level >= 0.35 * level.amax((1, 2), keepdim=True)

    def right(lmac):
        return float(((lmac.masks(x) > 0.5) == loud).float().mean())

    fitted = fit_lmac(classifier, mixtures[0], SPLIT, **options, finetuning=15, guidance=100.0)
    assert list(fitted.history["guidance"] > 0) == 2 * [False] + 15 * [True]
    assert right(fitted) > 0.97 > right(fit_lmac(classifier, mixtures[0], SPLIT, **options))


def test_masks_that_keep_everything_are_said_to(classifier, mixtures):
    options = QUICK | {"epochs": 1, "learning_rate": 0.01}
    every = {"alike": 0.0, "loud": 0.0, "guidance": 100.0, "finetuning": 8}  # every bin is loud
    with pytest.warns(UserWarning, match=r"keep everything \((9|100).* of every bin on average\): raise sparsity=1"):
        fit_lmac(classifier, mixtures[0], SPLIT, **options | every)
    with pytest.warns(UserWarning, match=r"keep nothing \(0.* of every bin on average\): lower sparsity=1000"):
        fit_lmac(classifier, mixtures[0], SPLIT, **options | {"epochs": 6, "sparsity": 1000.0})


def test_same_seed_same_masks(classifier, mixtures):
    state, x = torch.get_rng_state(), mixtures[0][:4]
    a, b, c = (
        fit_lmac(classifier, mixtures[0], SPLIT, seed=seed, **QUICK | {"epochs": 1}).masks(x) for seed in (1, 1, 2)
    )
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.allclose(a, c)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_killed_training_goes_on(classifier, mixtures, tmp_path):
    """Through the halving of the learning rate and into fine-tuning, with the same numbers."""
    options = QUICK | {"epochs": 4, "finetuning": 2, "halve_after": 0}
    whole = fit_lmac(classifier, mixtures[0], SPLIT, **options)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    file = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit_lmac(classifier, mixtures[0], SPLIT, checkpoint=file, **options | {"progress": stop})
    resumed = fit_lmac(classifier, mixtures[0], SPLIT, checkpoint=file, **options)
    assert resumed.history.equals(whole.history) and len(whole.history) == 6
    torch.testing.assert_close(resumed.masks(mixtures[0][:3]), whole.masks(mixtures[0][:3]), rtol=0, atol=0)
    with pytest.raises(ParameterError, match="checkpoint"):
        fit_lmac(classifier, mixtures[0], SPLIT, checkpoint=file, **options | {"sparsity": 2.0})


def test_saved_and_read_again(classifier, mixtures, trained, tmp_path):
    again = LMAC.load(trained.save(tmp_path / "lmac"), classifier)
    torch.testing.assert_close(again.masks(mixtures[0][:3]), trained.masks(mixtures[0][:3]), rtol=0, atol=0)
    assert again.config == trained.config and again.history.equals(trained.history)
    assert repr(again) == "LMAC(bands; masks of 129 x 32 bins)"


@pytest.mark.parametrize("shapes", [[(3, 16, 20), (5, 8, 10)], [(4, 1, 126)], [(2, 60, 40), (2, 7, 90)]])
def test_maps_of_any_size(shapes):
    decoder = MaskDecoder(shapes, 129, 63, width=4)
    assert decoder([torch.randn(2, *shape) for shape in shapes]).shape == (2, 129, 63)


def test_the_paper_s_setting():
    paper = LMACConfig.named("paper")
    assert (paper.kept, paper.rest, paper.variation, paper.guidance, paper.loud, paper.alike) == (
        4,
        0.2,
        0,
        4,
        0.35,
        0.6,
    )
    assert paper.sparsity == pytest.approx(0.4 * 16)
    assert (paper.epochs, paper.batch, paper.learning_rate, paper.weight_decay) == (200, 16, 2e-4, 2e-6)


def test_errors(classifier, mixtures, trained):
    x = mixtures[0]
    with pytest.raises(ParameterError, match="alike=2 must be a finite number from 0 to 1"):
        LMACConfig(alike=2)
    with pytest.raises(ParameterError, match=r"x.shape=\(2, 2000\) must be clips of 32 frames, as in training"):
        trained.masks(x[:2, :2000])
    with pytest.raises(ParameterError, match="split.valid"):
        fit_lmac(classifier, x, Split(np.arange(60), []), **QUICK)
    with pytest.raises(ParameterError, match="must be clips that deaf takes .no gradient reaches its input"):
        fit_lmac(deaf(lambda x: x.detach()), x, SPLIT, **QUICK)
    with pytest.raises(ParameterError, match="gradient of deaf='nan or inf' must be finite"):
        fit_lmac(deaf(lambda x: x + 0 * (0 * x).sqrt()), x, SPLIT, **QUICK)
    untapped = Classifier(BandListener(), rate=RATE, classes=list("abc"), device="cpu")
    with pytest.raises(ParameterError, match="taps"):
        fit_lmac(untapped, x, SPLIT, **QUICK)


def deaf(change) -> Classifier:
    """A classifier that passes its input on in a way that spoils the gradient."""

    class Deaf(BandListener):
        def forward(self, x):
            return super().forward(change(x))

    return Classifier(Deaf(), rate=RATE, classes=list("abc"), taps=("rows",), device="cpu", name="deaf")
