"""Multi-label classifiers, and interpreters compared on folds."""

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.splits import Split
from workbench.core.study import study
from workbench.encoders import load_encoder
from workbench.interpreters import L2I, Classifier, evaluate_interpreter, fit_l2i, fit_tagger
from workbench.interpreters.spectra import Spectra
from workbench.metrics.fidelity import average_precision

RATE, NAMES = 16000, ["high", "low", "noise"]
SPLIT = Split(np.arange(64), np.arange(64, 80), np.arange(80, 100))


@pytest.fixture(scope="module")
def data():
    """Sums of a high tone, a low tone and noise, each there or not."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE // 2) / RATE
    tags = rng.uniform(size=(100, 3)) < 0.5
    parts = np.stack([[np.sin(6.28 * 3000 * t), np.sin(6.28 * 300 * t), rng.normal(size=len(t)) / 3]] * 100)
    x = (tags[:, :, None] * parts).sum(1) + 1e-3 * rng.normal(size=(100, len(t)))
    return torch.from_numpy((x / np.abs(x).max(1, keepdims=True)).astype(np.float32)), tags


@pytest.fixture(scope="module")
def tagger(data):
    return fit_tagger(*data, SPLIT, classes=NAMES, epochs=15, learning_rate=3e-3, device="cpu", progress=False)


def test_a_tagger_learns_labels_that_overlap(data, tagger):
    x, tags = data
    scores = tagger.probabilities(tagger.logits(x[SPLIT.test]))
    assert tagger.multilabel and tagger.classes == tuple(NAMES)
    assert average_precision(tags[SPLIT.test], scores).macro > 0.9
    assert not any(p.requires_grad for p in tagger.module.parameters())
    assert tagger.history.average_precision.max() > 0.9


def test_a_perfect_imitation_of_several_labels(data, tagger):
    perfect = SimpleNamespace(classifier=tagger, scores=tagger.logits)
    (row,) = evaluate_interpreter(perfect, data[0], SPLIT, tags=data[1])
    assert row["macro_auprc"] == pytest.approx(1, abs=0.01) and row["macro_constant_auprc"] < 0.9


def test_the_same_seed_gives_the_same_tagger(data, tagger):
    again = fit_tagger(*data, SPLIT, classes=NAMES, epochs=15, learning_rate=3e-3, device="cpu", progress=False)
    np.testing.assert_array_equal(tagger.logits(data[0][:3]), again.logits(data[0][:3]))


def test_a_training_that_was_stopped_goes_on(data, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    options = {"classes": NAMES, "epochs": 4, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        fit_tagger(*data, SPLIT, **options, checkpoint=tmp_path / "state", progress=stop)
    went_on = fit_tagger(*data, SPLIT, **options, checkpoint=tmp_path / "state", progress=False)
    straight = fit_tagger(*data, SPLIT, **options, progress=False)
    assert went_on.history.equals(straight.history) and went_on.fingerprint == straight.fingerprint


def test_a_tagger_and_its_interpreter_come_back_from_their_folders(data, tagger, tmp_path):
    loaded = Classifier.load(tagger.save(tmp_path / "tagger"), "conv", device="cpu")
    assert loaded.fingerprint == tagger.fingerprint and loaded.history.equals(tagger.history)
    np.testing.assert_array_equal(loaded.logits(data[0][:3]), tagger.logits(data[0][:3]))
    options = {"epochs": 1, "progress": False}
    dictionary = np.random.default_rng(0).uniform(size=(257, 4))
    few = Split(np.arange(12), np.arange(12, 16))
    l2i = fit_l2i(tagger, dictionary, data[0][:16], few, spectra=Spectra(rate=RATE, n_fft=512, hop=256), **options)
    again = L2I.load(l2i.save(tmp_path / "l2i"), loaded)
    np.testing.assert_array_equal(again.scores(data[0][:3]), l2i.scores(data[0][:3]))
    with pytest.raises(WeightsError, match="weights do not fit its settings: .* missing"):
        Classifier.load(tmp_path / "tagger", "vgg")
    with pytest.raises(WeightsError, match="built otherwise than this one"):
        Classifier.load(tmp_path / "tagger", nn.Sequential(OrderedDict(tagger.module.named_children())))
    with pytest.raises(ParameterError, match="network='resnet' must be 'conv', 'vgg' or an encoder, as load_encoder"):
        Classifier.load(tmp_path / "tagger", "resnet")
    with pytest.raises(WeightsError, match="holds L2I"):
        Classifier.load(tmp_path / "l2i", "conv")


def test_the_papers_network_is_tapped_where_the_paper_does(data, tmp_path):
    x = torch.nn.functional.interpolate(data[0][:12, None], size=132300)[:, 0]
    few = Split(np.arange(8), np.arange(8, 12))
    options = {"network": "vgg", "epochs": 1, "batch": 8, "device": "cpu", "progress": False}
    found = fit_tagger(x, data[1][:12], few, classes=NAMES, **options)
    assert found.rate == 44100 and [shape[0] for shape in found.shapes(132300)] == [128, 256, 512]
    loaded = Classifier.load(found.save(tmp_path), "vgg", device="cpu")
    assert loaded.fingerprint == found.fingerprint


def test_a_head_on_a_frozen_tagger(data, tmp_path):
    encoder = load_encoder("mn04_as", device="cpu", random_weights=0)
    x = torch.nn.functional.interpolate(data[0][:24, None], size=32000)[:, 0]
    few = Split(np.arange(16), np.arange(16, 24))
    before = encoder.fingerprint, encoder.net.features[0][0].weight.clone()
    found = fit_tagger(x, data[1][:24], few, classes=NAMES, network=encoder, epochs=2, device="cpu", progress=False)
    assert found.multilabel and found.rate == 32000 and found.logits(x[:2]).shape == (2, 3)
    assert len(found.shapes(32000)) == 3
    assert torch.equal(encoder.net.features[0][0].weight, before[1]), "the encoder itself is left alone"
    loaded = Classifier.load(found.save(tmp_path), encoder, device="cpu")
    np.testing.assert_array_equal(loaded.logits(x[:2]), found.logits(x[:2]))
    assert torch.equal(encoder.net.features[0][0].weight, before[1]), "nor is it changed by what is loaded"


def test_a_class_without_positives_is_named(data):
    tags = data[1].copy()
    tags[:64, 1] = False
    with pytest.raises(ParameterError, match="none of low in train"):
        fit_tagger(data[0], tags, SPLIT, classes=NAMES, progress=False)
    with pytest.raises(ParameterError, match=r"tags\.shape=\(100, 2\)"):
        fit_tagger(data[0], tags[:, :2], SPLIT, classes=NAMES, progress=False)
    with pytest.raises(ParameterError, match="'conv', 'vgg' or an encoder"):
        fit_tagger(*data, SPLIT, classes=NAMES, network="resnet", progress=False)


def test_an_interpreter_is_judged_in_a_study(data, tagger, tmp_path):
    x, tags = data
    w = np.abs(np.random.default_rng(1).normal(size=(513, 6))).astype(np.float32)

    def task(setting, split, seed):
        options = {"epochs": 2, "width": setting["width"], "spectra": Spectra(rate=RATE), "progress": False}
        trained = fit_l2i(tagger, w, x, split, seed=seed, **options)
        return evaluate_interpreter(trained, x, split, tags=tags, judged=4, seed=seed)

    options = {"splits": [SPLIT], "seeds": (0, 1), "resume": tmp_path, "progress": False}
    table = study(task, {"width": [16]}, **options)
    fidelity, removal = table[table["tau"].isna()], table[table["tau"].notna()]
    assert len(fidelity) == 2 and removal["tau"].tolist() == [0.9, 0.7, 0.5, 0.3] * 2
    assert fidelity["macro_auprc"].between(0, 1).all() and removal["drop"].between(-1, 1).all()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert study(task, {"width": [16]}, **options).equals(table)
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}, "all was read"
    study(task, {"width": [24]}, **options)
    assert len(list(tmp_path.iterdir())) == 4


def test_what_a_judgement_needs(data, tagger):
    x, tags = data
    with pytest.raises(ParameterError, match="the true labels"):
        evaluate_interpreter(SimpleNamespace(classifier=tagger, scores=tagger.logits), x, SPLIT)
    with pytest.raises(ParameterError, match="interpreter='Classifier' must be one with a classifier and scores"):
        evaluate_interpreter(tagger, x, SPLIT, tags=tags)


def test_classes_without_positives_where_the_epoch_is_chosen(data):
    x, tags = data
    none = tags.copy()
    none[SPLIT.valid] = False
    with pytest.raises(ParameterError, match="no positive of any class in valid"):
        fit_tagger(x, none, SPLIT, classes=NAMES, epochs=1, progress=False)
    for name, value in (("epochs", 0), ("batch", 0), ("learning_rate", float("nan")), ("seed", -1)):
        with pytest.raises(ParameterError, match=f"{name}=.* must be a"):
            fit_tagger(x, tags, SPLIT, classes=NAMES, progress=False, **{name: value})
    with pytest.raises(ParameterError, match="tags=.* must be 0 and 1"):
        fit_tagger(x, tags * 2.0, SPLIT, classes=NAMES, progress=False)
