"""Sounds that a latent needs: planted latents that answer to one band of frequencies each."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.encoders import encoder_from
from workbench.interpreters import Spectra, dictionary_of, explain_components
from workbench.lessons import sae_listen as listen
from workbench.sae import SAEConfig, SparseAutoencoder

RATE, TONES = 8000, (500, 1500, 2500)
SPLIT = Split(np.arange(24), np.arange(24, 30), np.arange(30, 60))


class Bands(torch.nn.Module):
    """Root of the power in 4 bands of 1 kHz, one frame every 20 ms."""

    rate = RATE

    def __init__(self):
        super().__init__()
        self.out = torch.nn.Identity()

    def forward(self, x):
        frames = torch.stft(x, 320, 160, window=torch.hann_window(320), return_complex=True).abs().square()
        return self.out(frames[:, :160].reshape(len(x), 4, 40, -1).sum(2).sqrt().mT)


@pytest.fixture(scope="module")
def planted():
    """60 clips of noise with one of three tones, and a sparse code whose latent j is the band of tone j."""
    rng, seconds = np.random.default_rng(0), np.arange(RATE) / RATE
    which = np.arange(60) % 3
    hiss = 0.2 * np.sin(2 * np.pi * 3500 * seconds) * (seconds > 0.5)  # of all clips, so that it tells nothing
    x = np.stack([0.5 * np.sin(2 * np.pi * TONES[k] * seconds) + hiss for k in which])
    x = torch.from_numpy((x + 0.001 * rng.standard_normal(x.shape)).astype(np.float32))
    network = encoder_from(Bands(), device="cpu")
    eye = torch.eye(4)
    sae = SparseAutoencoder(
        SAEConfig(dim=4, latents=4, k=1), encoder=eye, encoder_bias=torch.zeros(4), decoder=eye, bias=torch.zeros(4)
    )
    z = sae.encode(Bands()(x).mean(1))
    return network, sae, x, z.numpy(), which


def judge(planted, wanted, **options):
    network, sae, x, _, _ = planted
    return listen.latent_classifier(network, sae, wanted, x, SPLIT, layer=len(network.layers) - 1, **options)


@pytest.mark.parametrize("unit", ["clip", "frame"])
def test_scores_are_sure_of_what_is_active(planted, unit):
    _, _, x, z, which = planted
    assert (z[:, :3].argmax(1) == which).all()
    judged = judge(planted, [3, 2, 2, 0], unit=unit)  # latent 3 is never active
    assert judged.classes == ("latent 2", "latent 0") and judged.multilabel
    seen = judged.logits(x[:24])
    for c, latent in enumerate((2, 0)):
        active = which[:24] == latent
        assert seen[active, c].mean() == pytest.approx(listen.SURE, abs=1e-3)
        assert seen[~active, c].mean() == pytest.approx(-listen.SURE, abs=1e-3)
    assert judge(planted, [0, 1, 2], unit=unit, count=1).classes == ("latent 0",)
    assert judge(planted, [3], unit=unit) is None and "nothing to explain" in listen.chosen_sentence(None)
    told = listen.chosen_sentence(SimpleNamespace(classes=["latent 3", "latent 7"]), {7: ("f0 below 176 Hz", "0.77")})
    assert told == 'Looked at: latent 3, latent 7 "f0 below 176 Hz".'
    with pytest.raises(ParameterError, match="wanted"):
        judge(planted, [4], unit=unit)
    with pytest.raises(ParameterError, match="wanted"):
        judge(planted, [], unit=unit)


def test_the_score_of_a_frame_code_is_the_mean_of_codes_of_frames(planted):
    network, sae, x, _, _ = planted
    judged = judge(planted, [0, 1, 2], unit="frame")
    codes = np.stack([sae.encode(frames).mean(0)[:3] for frames in Bands()(x).numpy()])
    seen = judged.logits(x)
    for c in range(3):  # a linear function of the mean code
        assert np.corrcoef(seen[:, c], codes[:, c])[0, 1] == pytest.approx(1, abs=1e-4)
    assert judge(planted, [0, 1, 2]).fingerprint != judged.fingerprint


def test_strongest_clips_are_of_different_groups():
    logits = np.array([[5.0, -1], [4, -1], [3, 2], [-2, 1]])
    groups = np.array(["x"] * 10 + ["a", "a", "b", "c"])
    clips, classes = listen.strongest_clips(logits, np.arange(10, 14), groups, each=2)
    assert list(zip(clips.tolist(), classes.tolist(), strict=True)) == [(10, 0), (12, 0), (12, 1), (13, 1)]
    none, _ = listen.strongest_clips(np.array([[-1.0]]), np.array([0]), groups, each=2)
    assert len(none) == 0


def test_a_latent_falls_silent_without_its_tone_and_less_without_as_much_of_everything(planted):
    _, _, x, _, which = planted
    judged = judge(planted, [0, 1, 2])
    spectra = Spectra(rate=RATE)
    w = dictionary_of(x[SPLIT.train], spectra, components=6, frames=600, seed=0, progress=False)
    some, classes = listen.strongest_clips(judged.logits(x[30:]), SPLIT.test, np.arange(60), each=3)
    assert (classes == which[some]).all()
    explained = explain_components(judged, x[some], w, classes=classes, spectra=spectra, progress=False)
    l2i = listen.imitation(judged, w, x, SPLIT, spectra=spectra, seed=0, epochs=1)
    both = listen.explanations(l2i, judged, x[some], w, classes=classes, spectra=spectra)
    for one, other in zip(both["one by one"], explained, strict=True):
        assert torch.equal(one.weights, other.weights) and one.index == other.index
    assert [one.index for one in both["L2I"]] == classes.tolist()
    study = listen.need_study({"one by one": explained}, judged, groups=np.arange(len(some)))
    own, evenly = (study.loc[("one by one", name)] for name in ("its components", "as much from everywhere"))
    assert own["fall"] > 0.9 and 0.2 < own["taken"] < 0.8
    assert evenly["difference"] == pytest.approx(own["fall"] - evenly["fall"], abs=0.1)
    assert evenly["difference_low"] > 0
    sentences = listen.need_sentences(study)
    assert "lies above that without as much from everywhere" in sentences[1] and "% of the way" in sentences[1]
    assert listen.most_needed({"a": explained}, judged) in explained
    assert listen.need_results(study)["one by one, its components"] == own["fall"]


def test_the_loudest_bins_hold_the_share():
    levels = torch.tensor([[1.0, 5.0], [3.0, 1.0]])
    assert listen.loudest(levels, 0.5).tolist() == [[0, 1], [0, 0]]
    assert listen.loudest(levels, 0.65).numpy() == pytest.approx(np.array([[0, 1], [0.5, 0]]))
    assert listen.loudest(levels, 1.0).tolist() == [[1, 1], [1, 1]] and not listen.loudest(levels, 0.0).any()


def test_without_a_latent_that_varies_nothing_is_explained():
    study = listen.need_study({}, None, groups=np.array([]))
    assert listen.need_sentences(study) == ["Nothing was explained."] and listen.need_results(study) == {}
    assert listen.most_needed({}, None) is None and listen.likeness_sentences(None, None, np.zeros((2, 2)), 3.0) == []


def test_how_alike_the_sounds_are_to_the_clips(planted):
    judged, a = judge(planted, [2, 0]), np.random.default_rng(0).standard_normal((20, 2))
    z = np.column_stack([-a[:, 1], np.zeros(20), a[:, 0]])
    (told,) = listen.likeness_sentences(judged, a, z, 3.0)
    assert "-1.00 (latent 0) to 1.00" in told
    (told,) = listen.likeness_sentences(judged, a, np.zeros((20, 3)), 3.0)
    assert told == "Heard are the first 3.0 s of every clip, at a peak of 1."
