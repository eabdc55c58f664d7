"""interpreters.imitation: what is trained is saved, loaded and gone on with, whichever interpreter it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.splits import Split
from workbench.interpreters import (
    L2I,
    Flint,
    FlintConfig,
    L2IConfig,
    Psi,
    Theta,
    Vibi,
    VibiConfig,
    evaluate_interpreter,
    fit_flint,
    fit_l2i,
    fit_vibi,
)

WORDS = np.exp(-0.5 * ((np.arange(129)[:, None] - np.linspace(3, 125, 8)) / 3) ** 2)
FITS = {
    L2I: lambda classifier, x, split, **more: fit_l2i(classifier, WORDS, x, split, width=16, batch=20, **more),
    Flint: lambda classifier, x, split, **more: fit_flint(classifier, x, split, attributes=8, batch=20, **more),
    Vibi: lambda classifier, x, split, **more: fit_vibi(classifier, x, split, mels=32, cells=4, batch=20, **more),
}
kinds = pytest.mark.parametrize("kind", FITS)


@pytest.fixture(scope="module")
def fits(classifier, clips, spectra):
    options = {"spectra": spectra, "epochs": 3, "learning_rate": 2e-3, "progress": False}
    return {kind: fit(classifier, clips.x, clips.split, **options) for kind, fit in FITS.items()}


@kinds
def test_what_was_saved_comes_back(kind, fits, classifier, clips, tmp_path):
    fitted = fits[kind]
    loaded = kind.load(fitted.save(tmp_path), classifier)
    np.testing.assert_array_equal(loaded.scores(clips.x[:9]), fitted.scores(clips.x[:9]))
    assert loaded.history.equals(fitted.history) and len(loaded.history) == 3
    assert (loaded.config, loaded.spectra, repr(loaded)) == (fitted.config, fitted.spectra, repr(fitted))
    assert not any(weights.requires_grad for weights in [*loaded.module.parameters(), *fitted.module.parameters()])
    if kind is L2I:
        a, b = (each.explain(clips.x[:2])[1] for each in (loaded, fitted))
        np.testing.assert_array_equal(a.waveform(0.2), b.waveform(0.2))


@kinds
def test_folders_of_something_else_are_refused(kind, fits, classifier, tmp_path):
    folder = fits[kind].save(tmp_path)
    other = next(each for each in FITS if each is not kind)
    with pytest.raises(WeightsError, match=f"holds {kind.__name__} of version 1, not {other.__name__}"):
        other.load(folder, classifier)
    with pytest.raises(ParameterError, match="classifier='bands, random weights, .*' must be the one that"):
        kind.load(folder, classifier.randomised(1))
    with pytest.raises(ParameterError, match="classifier='str' must be a Classifier"):
        kind.load(folder, "bands")
    whole = (folder / "fitted.json").read_text()
    (folder / "fitted.json").write_text(whole.replace('"sizes"', '"size"'))
    with pytest.raises(WeightsError, match=f"holds no {kind.__name__} that this package can read"):
        kind.load(folder, classifier)
    (folder / "fitted.json").write_text(whole)
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot read"):
        kind.load(folder, classifier)


@kinds
def test_a_training_that_was_stopped_goes_on(kind, fits, classifier, clips, spectra, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    options = {"spectra": spectra, "epochs": 3, "learning_rate": 2e-3, "checkpoint": tmp_path / "state"}
    with pytest.raises(KeyboardInterrupt):
        FITS[kind](classifier, clips.x, clips.split, **options, progress=stop)
    seen = []
    went_on = FITS[kind](classifier, clips.x, clips.split, **options, progress=lambda done, total: seen.append(done))
    assert seen == [2, 3] and went_on.history.equals(fits[kind].history)
    np.testing.assert_array_equal(went_on.scores(clips.x[:9]), fits[kind].scores(clips.x[:9]))
    with pytest.raises(ParameterError, match="of the same data, config and seed"):
        FITS[kind](classifier, clips.x, clips.split, **options, seed=1, progress=False)


def test_one_made_by_hand_explains_and_is_saved(classifier, clips, spectra, tmp_path):
    """Its networks come in with gradients and in training mode."""
    psi = Psi(classifier.shapes(4000), 8, 32, width=16)
    made = L2I(classifier, spectra, torch.from_numpy(np.float32(WORDS)), psi, Theta(8, 3, pooling="max"))
    assert (made.config.width, made.config.pooling, made.history) == (16, "max", None)
    (explained,) = made.explain(clips.x[:1])
    assert explained.relevance.shape == (8,) and np.isfinite(explained.waveform(0.0)).all()
    loaded = L2I.load(made.save(tmp_path), classifier)
    np.testing.assert_array_equal(loaded.scores(clips.x[:3]), made.scores(clips.x[:3]))
    assert loaded.history is None
    with pytest.raises(ParameterError, match="must be made for 8 components and 3 classes"):
        L2I(classifier, spectra, WORDS, psi, Theta(7, 3))
    with pytest.raises(ParameterError, match="theta='Psi' must be a Theta"):
        L2I(classifier, spectra, WORDS, psi, psi)


def test_settings_of_the_papers(classifier, clips, spectra):
    assert FlintConfig.named("paper").learning_rate == 1e-4 and VibiConfig.named("paper").temperature == 0.7
    assert L2IConfig.named("paper", epochs=2) == L2IConfig(keep="test", rules="paper", epochs=2)
    options = {"spectra": spectra, "config": "paper", "epochs": 2, "width": 16, "progress": False}
    with pytest.warns(UserWarning, match="the epoch is chosen on the test clips"):
        fitted = fit_l2i(classifier, WORDS, clips.x, clips.split, **options)
    rows = evaluate_interpreter(fitted, clips.x, clips.split, judged=2)
    assert rows[0]["top_1"] == pytest.approx(fitted.history.fidelity.max())
    with pytest.raises(ParameterError, match=r"split.test=\[\] must be at least one clip"):
        fit_l2i(classifier, WORDS, clips.x, Split(clips.split.train, clips.split.valid), **options)


@kinds
def test_fidelity_and_removal_of_the_test_part(kind, fits, classifier, clips):
    first, *others = evaluate_interpreter(fits[kind], clips.x, clips.split, groups=clips.y, judged=3)
    scores, said = (each(clips.x[clips.split.test]) for each in (fits[kind].scores, classifier.logits))
    assert first["top_1"] == pytest.approx(np.mean(scores.argmax(1) == said.argmax(1)))
    assert [row["tau"] for row in others] == ([0.9, 0.7, 0.5, 0.3] if kind is L2I else [])
    with pytest.raises(ParameterError, match=r"split.test=\[\] must be at least one clip"):
        evaluate_interpreter(fits[kind], clips.x, Split(clips.split.train))


def test_a_fingerprint_tells_classifiers_apart(classifier):
    same = {"rate": classifier.rate, "classes": classifier.classes, "taps": classifier.taps, "device": "cpu"}
    again = type(classifier)(classifier.module, **same)
    assert again.fingerprint == classifier.fingerprint
    others = [{"classes": list("abc")}, {"taps": ("rows",)}, {"multilabel": True}, {"rate": 4000}]
    prints = [type(classifier)(classifier.module, **same | other).fingerprint for other in others]
    assert len({classifier.fingerprint, classifier.randomised(0).fingerprint, *prints}) == 6
