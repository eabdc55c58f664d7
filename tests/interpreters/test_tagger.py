"""Multi-label classifiers, and interpreters compared on folds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.encoders import load_encoder
from workbench.interpreters import compare_interpreters, multilabel_decisions, train_l2i, train_tagger
from workbench.interpreters.spectra import Spectra
from workbench.metrics.fidelity import average_precision

RATE, NAMES = 16000, ["high", "low", "noise"]
PARTS = SimpleNamespace(train=np.arange(64), valid=np.arange(64, 80), test=np.arange(80, 100))
SPLIT = type("Split", (SimpleNamespace,), {"__iter__": lambda self: iter((self.train, self.valid, self.test))})(
    **vars(PARTS)
)


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
    return train_tagger(*data, SPLIT, classes=NAMES, epochs=15, learning_rate=3e-3, device="cpu", progress=False)


def test_a_tagger_learns_labels_that_overlap(data, tagger):
    x, tags = data
    scores = tagger.probabilities(tagger.logits(x[SPLIT.test]))
    assert tagger.multilabel and tagger.classes == tuple(NAMES)
    assert average_precision(tags[SPLIT.test], scores).macro > 0.9
    assert not any(p.requires_grad for p in tagger.module.parameters())
    said = multilabel_decisions(tagger, x, tags, SPLIT)
    masks = {part: np.isin(np.arange(len(x)), getattr(SPLIT, part)) for part in ("train", "valid", "test")}
    np.testing.assert_array_equal(multilabel_decisions(tagger, x, tags, masks), said)
    assert (said == tags[SPLIT.test]).mean() > 0.75


def test_the_same_seed_gives_the_same_tagger(data, tagger):
    again = train_tagger(*data, SPLIT, classes=NAMES, epochs=15, learning_rate=3e-3, device="cpu", progress=False)
    np.testing.assert_array_equal(tagger.logits(data[0][:3]), again.logits(data[0][:3]))


def test_the_papers_network_is_tapped_where_the_paper_does(data):
    x = torch.nn.functional.interpolate(data[0][:12, None], size=132300)[:, 0]
    few = SimpleNamespace(train=np.arange(8), valid=np.arange(8, 12))
    options = {"network": "vgg", "epochs": 1, "batch": 8, "device": "cpu", "progress": False}
    found = train_tagger(x, data[1][:12], few, classes=NAMES, **options)
    assert found.rate == 44100 and [shape[0] for shape in found.shapes(132300)] == [128, 256, 512]


def test_a_head_on_a_frozen_tagger(data):
    encoder = load_encoder("mn04_as", device="cpu", random_weights=0)
    x = torch.nn.functional.interpolate(data[0][:24, None], size=32000)[:, 0]
    few = SimpleNamespace(train=np.arange(16), valid=np.arange(16, 24))
    before = encoder.fingerprint, encoder.net.features[0][0].weight.clone()
    found = train_tagger(x, data[1][:24], few, classes=NAMES, network=encoder, epochs=2, device="cpu", progress=False)
    assert found.multilabel and found.rate == 32000 and found.logits(x[:2]).shape == (2, 3)
    assert len(found.shapes(32000)) == 3
    assert torch.equal(encoder.net.features[0][0].weight, before[1]), "the encoder itself is left alone"


def test_a_class_without_positives_is_named(data):
    tags = data[1].copy()
    tags[:64, 1] = False
    with pytest.raises(ParameterError, match="none of low in train"):
        train_tagger(data[0], tags, SPLIT, classes=NAMES, progress=False)
    with pytest.raises(ParameterError, match=r"tags\.shape=\(100, 2\)"):
        train_tagger(data[0], tags[:, :2], SPLIT, classes=NAMES, progress=False)
    with pytest.raises(ParameterError, match="'conv', 'vgg' or an EfficientAT"):
        train_tagger(*data, SPLIT, classes=NAMES, network="resnet", progress=False)


def test_a_comparison_goes_on_where_it_stopped(data, tagger, tmp_path):
    x, tags = data
    w = np.abs(np.random.default_rng(1).normal(size=(513, 6))).astype(np.float32)
    made = []

    def prepare(fold):
        made.append(fold)
        return tagger, w

    def system(f, words, x, split, seed):
        small = {"epochs": 2, "width": 16, "spectra": Spectra(rate=RATE), "progress": False}
        return train_l2i(f, words, x, split, seed=seed, **small)

    options = {"tags": tags, "judged": 4, "about": {"data": "tones"}, "resume": tmp_path, "progress": False}
    fidelity, removal = compare_interpreters(prepare, x, [SPLIT], {"L2I": system}, seeds=(0, 1), **options)
    assert made == [0] and len(fidelity) == 2 and len(removal) == 2 * 4
    assert fidelity["macro_auprc"].between(0, 1).all() and removal["drop"].between(-1, 1).all()
    again = compare_interpreters(prepare, x, [SPLIT], {"L2I": system}, seeds=(0, 1), **options)
    assert made == [0], "all was read"
    assert again[0].equals(fidelity) and again[1].equals(removal)
    compare_interpreters(prepare, x, [SPLIT], {"L2I": system}, **options | {"about": {"data": "others"}})
    assert made == [0, 0]


def test_what_a_comparison_needs(data, tagger):
    x, tags = data
    with pytest.raises(ParameterError, match="about=None"):
        compare_interpreters(lambda fold: None, x, [SPLIT], {"a": print}, resume=True)
    with pytest.raises(ParameterError, match="systems={}"):
        compare_interpreters(lambda fold: None, x, [SPLIT], {})
    with pytest.raises(ParameterError, match="the true labels"):
        multilabel_decisions(tagger, x, None, SPLIT)


def test_kept_results_of_other_sounds_or_settings_are_not_served(data, tagger, tmp_path):
    x, tags = data
    trained = []

    def system(width):
        def train(f, words, x, split, seed):
            trained.append(width)
            small = {"epochs": 1, "width": width, "spectra": Spectra(rate=RATE), "progress": False}
            return train_l2i(f, words, x, split, seed=seed, **small)

        return train

    w = np.abs(np.random.default_rng(1).normal(size=(513, 4))).astype(np.float32)
    options = {"tags": tags, "judged": 2, "about": {"a": 1}, "resume": tmp_path, "progress": False}

    def compare(x=x, width=16):
        compare_interpreters(lambda fold: (tagger, w), x, [SPLIT], {"L2I": system(width)}, **options)
        return len(trained)

    assert (compare(), compare()) == (1, 1), "the same is read"
    assert compare(width=24) == 2
    assert compare(x=x * 0.5) == 3
    path = next(tmp_path.glob("*.json"))
    for kept in tmp_path.glob("*.json"):
        kept.write_text(kept.read_text()[:20])
    with pytest.warns(UserWarning, match="is damaged"):
        compare()
    assert len(trained) == 4 and path.exists() and not list(tmp_path.glob("*.tmp"))


def test_classes_without_positives_where_the_epoch_is_chosen(data):
    x, tags = data
    none = tags.copy()
    none[SPLIT.valid] = False
    with pytest.raises(ParameterError, match="no positive of any class in valid"):
        train_tagger(x, none, SPLIT, classes=NAMES, epochs=1, progress=False)
    for name, value in (("epochs", 0), ("batch", 0), ("learning_rate", float("nan")), ("seed", -1)):
        with pytest.raises(ParameterError, match=f"{name}=.* must be a"):
            train_tagger(x, tags, SPLIT, classes=NAMES, progress=False, **{name: value})
    with pytest.raises(ParameterError, match="tags=.* must be 0 and 1"):
        train_tagger(x, tags * 2.0, SPLIT, classes=NAMES, progress=False)
