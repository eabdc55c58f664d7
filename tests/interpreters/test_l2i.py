from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.interpreters import L2I, Classifier, Psi, Spectra, Theta, fit_l2i
from workbench.interpreters.classifiers import KumarVGG, kumar_vgg
from workbench.interpreters.imitation import fidelity_loss

RATE, SAMPLES = 8000, 4000
SPECTRA = Spectra(rate=RATE, n_fft=128, hop=64)
BANDS = {"low": 700.0, "middle": 1900.0, "high": 3100.0}


class Listener(nn.Module):
    """Keys on the energy of three bands, and on nothing else."""

    def __init__(self):
        super().__init__()
        self.bands = nn.Conv2d(1, 3, (65, 1), bias=False)
        with torch.no_grad():
            self.bands.weight.zero_()
            for row, f in enumerate(BANDS.values()):
                at = round(f / (RATE / 128))
                self.bands.weight[row, 0, at - 2 : at + 3] = 0.2
        self.maps = nn.Identity()

    def forward(self, x):
        magnitude = SPECTRA.stft(x).abs().log1p()[:, None]
        return 4 * self.maps(self.bands(magnitude)).mean((2, 3))


def sounds(n, seed=0):
    """Tones of two bands, one of them louder; the louder band is the class."""
    rng = np.random.default_rng(seed)
    t, x, y, stems = np.arange(SAMPLES) / RATE, [], [], []
    for _ in range(n):
        loud, faint = rng.permutation(3)[:2]
        both = [
            a * np.sin(2 * np.pi * (list(BANDS.values())[c] + rng.uniform(-60, 60)) * t)
            for a, c in ((0.6, loud), (0.15, faint))
        ]
        x.append(sum(both)), y.append(loud), stems.append(both[0])
    return np.float32(x), np.array(y), np.float32(stems)


@pytest.fixture(scope="module")
def classifier():
    return Classifier(Listener(), rate=RATE, classes=list(BANDS), taps=["maps"], device="cpu")


@pytest.fixture(scope="module")
def trained(classifier):
    x, _, _ = sounds(120)
    w = np.exp(-0.5 * ((np.arange(65)[:, None] - np.linspace(3, 61, 16)) / 2) ** 2)
    split = Split(np.arange(90), np.arange(90, 120))
    options = {"spectra": SPECTRA, "learning_rate": 2e-3, "epochs": 20, "batch": 8, "progress": False}
    return fit_l2i(classifier, w, x, split, **options, sparsity=0.2)


def test_the_paper_s_networks():
    vgg = kumar_vgg([str(i) for i in range(50)], device="cpu")
    assert vgg.shapes(220500) == [(128, 16, 53), (256, 8, 26), (512, 4, 13)]
    psi = Psi(vgg.shapes(220500), 100, 431)
    assert sum(p.numel() for p in psi.parameters()) == 2_866_200
    h = psi(vgg.tapped(torch.randn(1, 220500))[1])
    assert h.shape == (1, 100, 431) and (h >= 0).all()
    backbone = [p.numel() for name, p in vgg.module.named_parameters() if name.startswith(("stages", "last"))]
    assert sum(backbone) == 4_461_872
    sonyc = KumarVGG.TAPS, [(128, 16, 107), (256, 8, 53), (512, 4, 26)]
    assert sum(p.numel() for p in Psi(sonyc[1], 80, 862).parameters()) == 2_822_560
    assert [sum(p.numel() for p in Theta(k, c).parameters()) for k, c in ((100, 50), (80, 8))] == [56_969, 42_369]


def test_attention_pools_over_time():
    theta = Theta(4, 3).eval()
    h = torch.rand(2, 4, 7)
    scores, z = theta(h)
    assert torch.allclose(theta(h[:, :, torch.randperm(7)])[1], z, atol=1e-6)
    assert torch.allclose(z @ theta.classes.weight.T, scores, atol=1e-6)
    constant = h[:, :, :1].expand(-1, -1, 7)
    assert torch.allclose(theta(constant)[1], constant[:, :, 0], atol=1e-6)
    for part in (theta.score.weight, theta.score.bias):
        part.data.zero_()
    assert torch.allclose(theta(h)[1], h.mean(2), atol=1e-6)


def test_largest_values_scale():
    theta = Theta(4, 3, pooling="max").eval()
    h = torch.rand(2, 4, 7)
    assert torch.allclose(theta(3 * h)[0], 3 * theta(h)[0], atol=1e-5)


def test_fidelity_loss():
    f, theta = torch.tensor([[2.0, 0, -1]]), torch.tensor([[1.0, 1, 0]])
    assert fidelity_loss(f, f, multilabel=False).item() == pytest.approx(0.524267, abs=1e-6)
    assert fidelity_loss(f, f + 5, multilabel=False).item() == pytest.approx(0.524267, abs=1e-6)
    assert fidelity_loss(f, theta, multilabel=False).item() == pytest.approx(0.904005, abs=1e-6)
    a, b = f.sigmoid(), theta.sigmoid()
    by_hand = -(a * b.log() + (1 - a) * (1 - b).log()).mean().item()
    assert fidelity_loss(f, theta, multilabel=True).item() == pytest.approx(by_hand, abs=1e-6)


def test_planted_truth(classifier, trained):
    """The louder tone decides; the explanation is that tone."""
    x, y, stems = sounds(40, seed=1)
    assert np.mean(classifier.logits(x).argmax(1) == y) == 1
    assert np.mean(trained.scores(x).argmax(1) == y) > 0.9
    found = trained.explain(x)
    assert [one.index for one in found] == y.tolist()

    def decibels(a, stem):
        return 10 * np.log10(np.sum(stem**2) / np.sum((a - stem) ** 2))

    explained = [decibels(one.waveform(0.3), stem) for one, stem in zip(found, stems, strict=True)]
    mixture = [decibels(one.waveform_in.numpy(), stem) for one, stem in zip(found, stems, strict=True)]
    assert np.median(explained) > np.median(mixture) + 5
    left = classifier.logits(np.stack([one.removed(0.3) for one in found]))
    drop = np.array([one.logits[one.index] - row[one.index] for one, row in zip(found, left, strict=True)])
    assert np.mean(drop > 0.2) > 0.9
    assert found[0].scores[found[0].index] == pytest.approx(float(found[0].pooled @ found[0].weights), abs=1e-4)


def test_the_rules_of_explanations_are_those_of_the_configuration(classifier, trained):
    """Carried by the trained network, through its files, and changed for one call; the training is the same."""
    x, _, _ = sounds(3, seed=1)
    paper = L2I(
        classifier, SPECTRA, trained.dictionary, trained.psi, trained.theta, replace(trained.config, rules="paper")
    )
    for one, other, asked in zip(trained.explain(x), paper.explain(x), trained.explain(x, rules="paper"), strict=True):
        assert (one.rules, other.rules, asked.rules) == ("default", "paper", "paper")
        parts = (other.pooled * other.weights).double().numpy()
        np.testing.assert_allclose(other.relevance, parts / parts.max(), rtol=1e-6)
        assert len(other.selected(0.01)) <= 5 and torch.allclose(other.mask(0.2), asked.mask(0.2), atol=1e-5)
    assert all(one.rules == "default" for one in paper.explain(x, rules="default"))
    with pytest.raises(ParameterError, match="rules='mine'"):
        trained.explain(x, rules="mine")


def test_training_is_reproducible_and_records(classifier, trained):
    assert trained.history["squared_error"].iloc[-1] < trained.history["squared_error"].iloc[0]
    assert list(trained.history.columns) == [
        "epoch",
        "fidelity_loss",
        "squared_error",
        "mean_activation",
        "fidelity",
        "valid_loss",
    ]
    x, _, _ = sounds(20)
    split = Split(np.arange(15), np.arange(15, 20))
    options = {"spectra": SPECTRA, "epochs": 2, "progress": False, "seed": 3}
    a, b = (fit_l2i(classifier, np.eye(65)[:, :8] + 0.01, x, split, **options) for _ in range(2))
    assert np.array_equal(a.scores(x), b.scores(x))
    c = fit_l2i(classifier, np.eye(65)[:, :8] + 0.01, x, split, **options | {"seed": 4})
    assert not np.array_equal(a.scores(x), c.scores(x))


def test_maps_that_do_not_fit_into_memory_are_computed_again(classifier, monkeypatch):
    x, _, _ = sounds(20)
    split = Split(np.arange(15), np.arange(15, 20))
    options = {"spectra": SPECTRA, "epochs": 2, "progress": False}
    kept = fit_l2i(classifier, np.eye(65)[:, :8] + 0.01, x, split, **options)
    monkeypatch.setattr("workbench.interpreters.imitation.KEPT_BYTES", 0)
    again = fit_l2i(classifier, np.eye(65)[:, :8] + 0.01, x, split, **options)
    assert np.allclose(kept.scores(x), again.scores(x), atol=2e-2)


def test_multilabel(classifier):
    x, _, _ = sounds(20)
    many = Classifier(Listener(), rate=RATE, classes=list(BANDS), taps=["maps"], multilabel=True, device="cpu")
    split = Split(np.arange(15), np.arange(15, 20))
    found = fit_l2i(many, np.eye(65)[:, :8] + 0.01, x, split, spectra=SPECTRA, epochs=2, progress=False)
    assert found.explain(x[:2], classes=[0, 2])[1].name == "high"
    assert many.probabilities(many.logits(x)) == pytest.approx(1 / (1 + np.exp(-many.logits(x).astype(float))))


def test_silence_explains_nothing_and_breaks_nothing(trained):
    (found,) = trained.explain(np.zeros((1, SAMPLES), np.float32))
    assert (found.waveform(0.1) == 0).all() and np.isfinite(found.relevance).all()


def test_random_weights_change_the_decision():
    vgg = kumar_vgg(["a", "b"], device="cpu")
    x = np.random.default_rng(0).standard_normal((2, 72000)).astype("f4") * 0.1
    other, last = vgg.randomised(7), vgg.randomised(7, modules=1)
    assert not np.allclose(vgg.logits(x), other.logits(x))
    changed = [
        n
        for (n, p), q in zip(vgg.module.named_parameters(), last.module.parameters(), strict=True)
        if not torch.equal(p, q)
    ]
    assert set(changed) == {"out.weight", "out.bias"}


def test_bad_classifiers(classifier):
    same = {"rate": RATE, "device": "cpu"}
    with pytest.raises(ParameterError, match="taps='map' must be a named module, such as .*maps"):
        Classifier(Listener(), classes=["a", "b", "c"], taps=["map"], **same)
    with pytest.raises(ParameterError, match="classes=2 must be as many as classifier has scores"):
        Classifier(Listener(), classes=["a", "b"], **same).logits(np.zeros((1, 4000)))
    with pytest.raises(ParameterError, match=r"taps=\[\] must be at least one"):
        Classifier(Listener(), classes=["a", "b", "c"], **same).tapped(torch.zeros(1, 4000))
    with pytest.raises(ParameterError, match="scores of classifier for clip 0='nan or inf' must be finite"):
        Classifier(Broken(), classes=["a", "b", "c"], **same).logits(np.zeros((3, 4000)))
    with pytest.raises(ParameterError, match=r"x.shape=\(4000,\) must be \(N, samples\)"):
        classifier.logits(np.zeros(4000))
    with pytest.raises(ParameterError, match="axes='btc' must be that of a tap with the shape"):
        Classifier(Listener(), classes=["a", "b", "c"], taps=["maps"], axes="btc", **same).tapped(torch.zeros(1, 4000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dictionary": np.ones((64, 4))}, r"dictionary.shape=\(64, 4\) must be \(65, K\)"),
        ({"dictionary": -np.ones((65, 4))}, "dictionary='negative"),
        ({"valid": []}, r"split.valid=\[\] must be at least one clip"),
        ({"pooling": "mean"}, "pooling='mean'"),
        ({"epochs": 0}, "epochs=0 must be a whole number, 1 or more"),
        ({"sparsity": -1.0}, "sparsity=-1.0 must be a finite number, 0 or more"),
        ({"keep": "worst"}, "keep='worst'"),
    ],
)
def test_bad_training(classifier, change, message):
    options = {"spectra": SPECTRA, "progress": False} | change
    split = Split(np.arange(9), options.pop("valid", np.arange(9, 12)))
    with pytest.raises(ParameterError, match=message):
        fit_l2i(classifier, options.pop("dictionary", np.ones((65, 4))), sounds(12)[0], split, **options)


class Broken(nn.Module):
    def forward(self, x):
        return torch.full((len(x), 3), torch.nan)
