"""prototypes.networks: shapes, sizes, spectrograms, and short trainings from scratch and of a tiny AST."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.encoders.huggingface import load_huggingface
from workbench.prototypes import ClassifierConfig, MLPProjector, SmallConvNet, fit_classifier, log_mels, prototypes
from workbench.prototypes.networks import ASTNetwork, SpeechBrainNetwork, filterbanks, fine_tune_ast

RATE = 16000


def tones(n: int, seconds: float = 0.5) -> tuple[list[np.ndarray], np.ndarray]:
    """Low, middle and high harmonic tones in noise, and which is which."""
    rng, time = np.random.default_rng(0), np.arange(round(seconds * RATE)) / RATE
    y = np.arange(n) % 3
    pitch = np.array([150, 400, 1100])[y] * rng.uniform(0.9, 1.1, n)
    waves = [sum(np.sin(2 * np.pi * k * f * time) / k for k in (1, 2, 3)) for f in pitch]
    return [(0.1 * w + 0.02 * rng.normal(size=len(w))).astype(np.float32) for w in waves], y


def tiny_ast(frames: int = 58):
    config = {"model_type": "audio-spectrogram-transformer", "hidden_size": 16, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 16, "max_length": frames, "num_mel_bins": 32}
    preprocess = {"sampling_rate": RATE, "num_mel_bins": 32, "max_length": frames}
    return load_huggingface("tiny", folder=None, random_weights=0, architecture=config, preprocess=preprocess).model


def split(n: int) -> Split:
    return Split(*np.split(np.arange(n), [n // 2, n * 3 // 4]))


def test_projector():
    net = MLPProjector(6, 4, hidden=5, norm=True)
    assert net(torch.randn(3, 6)).shape == (3, 4)
    assert net(torch.randn(3, 6)).norm(dim=1).tolist() == pytest.approx([2, 2, 2], abs=0.01)


@pytest.mark.parametrize(("mels", "frames"), [(64, 250), (80, 31), (16, 4)])
def test_conv_net_takes_any_spectrogram(mels, frames):
    net = SmallConvNet(mels, 192)
    assert sum(p.numel() for p in net.parameters()) < 300_000
    z = net(torch.randn(2, mels, frames))
    assert z.shape == (2, 192)
    z.sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    with pytest.raises(ParameterError, match=rf"must be \(B, {mels}, frames\)"):
        net(torch.randn(2, mels + 1, frames))


def test_log_mels():
    waves, _ = tones(3)
    S = log_mels(waves, mels=40)
    assert S.shape == (3, 40, 26) and S.dtype == np.float32
    assert S[0].mean(1).argmax() < S[1].mean(1).argmax() < S[2].mean(1).argmax()
    assert log_mels([waves[0], waves[1][:4000]], seconds=0.4).shape == (2, 64, 21)
    np.testing.assert_array_equal(log_mels([np.zeros(8000, np.float32)]), np.float32(np.log(1e-6)))
    with pytest.raises(ParameterError, match="clip 0 has 8000 samples at 16000 Hz and clip 1 has 4000"):
        log_mels([waves[0], waves[1][:4000]])
    with pytest.raises(ParameterError, match="at least one clip"):
        log_mels([])


def test_a_bar_is_shown_while_inputs_are_computed(capsys):
    waves, _ = tones(2)
    log_mels(waves, progress=False)
    assert capsys.readouterr().err == ""
    filterbanks(waves)
    assert "filterbanks:" in capsys.readouterr().err


def test_filterbanks_have_the_frames_of_ast():
    x = 0.1 * np.random.default_rng(0).normal(size=5 * RATE).astype(np.float32)
    S = filterbanks([x, x + 0.5])
    assert S.shape == (2, 128, 498) and S.dtype == np.float32
    np.testing.assert_allclose(S[0], S[1], atol=0.05)  # the mean of a clip is taken off
    heard = S[0] > np.log(1e-6)  # the lowest bands are narrower than a bin; some hold none
    np.testing.assert_allclose((filterbanks([4 * x])[0] - S[0])[heard], 2 * np.log(4), atol=1e-3)
    assert heard.mean() > 0.99


def test_conv_net_learns_tones():
    waves, y = tones(96)
    options = {"network": partial(SmallConvNet, 32, 16), "prototypes": prototypes("simplex", 3, 16, scale=4.0)}
    options |= {"batch": 16, "spec_augment": (4, 4), "progress": False, "device": "cpu"}
    S = log_mels(waves, mels=32, hop=640)
    run = fit_classifier(S, y, split(96), epochs=12, **options)
    assert run.accuracy > 0.95 and run.shift.shape == (32, 1)
    one, two = (fit_classifier(S, y, split(96), epochs=2, **options).z for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_tiny_ast_is_fine_tuned():
    before = tiny_ast()
    table = before.embeddings.position_embeddings.detach().clone()
    net = ASTNetwork(tiny_ast())
    x = torch.randn(2, 32, 58)
    torch.testing.assert_close(net.eval()(x), before(x.transpose(1, 2)).last_hidden_state[:, :2].mean(1))

    cut = ASTNetwork(tiny_ast(), frames=38)
    had, now = table[:, 2:].reshape(2, 5, 16), cut.model.embeddings.position_embeddings[:, 2:].reshape(2, 3, 16)
    torch.testing.assert_close(now, had[:, 1:4])  # the central columns
    assert cut(torch.randn(2, 32, 38)).shape == (2, 16)
    with pytest.raises(ParameterError, match="frames=99 must be from 16 to 58"):
        ASTNetwork(tiny_ast(), frames=99)
    with pytest.raises(ParameterError, match=r"must be \(B, 32, 38\)"):
        cut(torch.randn(2, 32, 58))

    waves, y = tones(24, 0.6)
    S = filterbanks(waves, mels=32)
    options = {"network": lambda: ASTNetwork(tiny_ast()), "progress": False, "device": "cpu", "epochs": 2}
    options |= {"loss": "cross_entropy", "config": "paper", "spec_augment": (4, 4)}
    run = fit_classifier(S, y, split(24), **options)
    assert run.z.shape == (24, 16) and run.epoch == 1
    assert not torch.equal(run.network.model.embeddings.position_embeddings, table)
    assert all(p.requires_grad for p in options["network"]().parameters())
    assert not any(p.requires_grad for p in run.network.parameters()), "trained, and no gradients left on"


def test_paper_preset():
    paper = ClassifierConfig.named("paper")
    assert (paper.learning_rate, paper.betas, paper.weight_decay) == (6.7e-6, (0.95, 0.999), 5e-6)
    assert (paper.epochs, paper.warmup, paper.batch, paper.optimizer) == (25, 5, 32, "adam")


def test_only_ast_is_fine_tuned_as_ast():
    with pytest.raises(ParameterError, match="name_or_path='mini' must be an AST"):
        fine_tune_ast("mini")


def test_speechbrain_is_asked_for_where_it_is_absent(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r'pip install "audio-workbench\[speechbrain\]"'):
        SpeechBrainNetwork("beats")
    with pytest.raises(ParameterError, match="kind='hubert' must be 'beats' or 'ecapa'"):
        SpeechBrainNetwork("hubert")
