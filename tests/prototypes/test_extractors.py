"""prototypes.extractors: inputs, network and settings go together for every encoder; what does not is refused early."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from workbench import audio
from workbench.core.errors import ParameterError, WeightsError
from workbench.core.splits import Split
from workbench.core.study import study
from workbench.datasets import Clips, load_dataset
from workbench.embeddings.embedding import embed
from workbench.encoders import Encoder, Layer, load_encoder
from workbench.prototypes import ClassifierConfig, extractor, extractors, fit_classifier, log_mels
from workbench.prototypes.networks import filterbanks

RATE = 16000
QUICK = {"progress": False, "device": "cpu", "loss": "cross_entropy", "epochs": 2, "keep": "last"}


def tones(n: int, seconds: float = 0.8) -> Clips:
    """Low and high tones in noise."""
    rng, time = np.random.default_rng(0), np.arange(round(seconds * RATE)) / RATE
    pitch = np.where(np.arange(n) % 2, 900.0, 200.0) * rng.uniform(0.9, 1.1, n)
    waves = [(0.1 * np.sin(2 * np.pi * f * time) + 0.01 * rng.normal(size=len(time))).astype(np.float32) for f in pitch]
    return Clips.from_arrays(waves, RATE, name="tones", label=["low", "high"] * (n // 2))


def fold(n: int) -> Split:
    return Split(*np.split(np.arange(n), [n // 2, n * 3 // 4]))


@pytest.fixture(scope="module")
def tiny_ast(tmp_path_factory) -> Path:
    """A folder with a small AST, seeded weights: 128 bands, 80 frames."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    folder = tmp_path_factory.mktemp("ast")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ASTModel(ASTConfig(max_length=80, **shape)).save_pretrained(folder)
    ASTFeatureExtractor(max_length=80).save_pretrained(folder)
    return folder


def tiny_esc50(root: Path) -> Clips:
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    for i, x in enumerate(tones(20).audio(i)[0] for i in range(20)):
        name = f"{i // 4 + 1}-{1000 + i}-A-{i % 2}.wav"
        lines.append(f"{name},{i // 4 + 1},{i % 2},{['dog', 'rooster'][i % 2]},True,{1000 + i},A")
        audio.write(root / "audio" / name, x, RATE)
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return load_dataset("esc50", root=root)


def test_head_on_frozen_embeddings():
    clips = tones(16)
    e = extractor(clips, "mini", seconds=0.5, dim=5, device="cpu", progress=False)
    expected = embed(clips, load_encoder("mini", device="cpu"), layers=-1, seconds=0.5, progress=False).layer(0)
    np.testing.assert_array_equal(e.inputs, expected)
    assert (e.name, e.dim, e.training) == ("mini, head", 5, {"config": "default"})
    run = fit_classifier(e.inputs, clips.labels, fold(16), network=e.network, **e.training | QUICK)
    assert run.z.shape == (16, 5)


def test_head_takes_an_encoder_of_ones_own():
    class Loudness(Encoder):
        name, rate, layers, fingerprint, padding = "loudness", RATE, (Layer("last", 1, 1.0),), "loudness", "equal"

        def forward(self, x, lengths, layers):
            return [(x.square().mean(1)[:, None, None], torch.ones_like(lengths)) for _ in layers]

    clips = tones(4)
    e = extractor(clips, Loudness(), progress=False)
    assert e.name == "loudness, head" and e.network().layers[0].in_features == 1
    np.testing.assert_allclose(e.inputs[:, 0], [np.mean(clips.audio(i)[0] ** 2) for i in range(4)], rtol=1e-5)


def test_conv_from_scratch():
    clips = tones(24)
    e = extractor(clips, "conv", train="scratch", seconds=0.6, dim=8, progress=False)
    np.testing.assert_array_equal(e.inputs, log_mels(clips, seconds=0.6, progress=False))
    assert (e.name, e.dim, e.training) == ("conv, scratch", 8, {"config": "conv"})
    options = e.training | QUICK | {"epochs": 10, "batch": 4}
    assert fit_classifier(e.inputs, clips.labels, fold(24), network=e.network, **options).accuracy == 1


def test_ast_from_a_folder_on_the_layout_of_esc50(tmp_path, tiny_ast):
    clips = tiny_esc50(tmp_path / "esc50")
    e = extractor(clips, tiny_ast, train="all", seconds=0.5, progress=False)
    np.testing.assert_array_equal(e.inputs, filterbanks(clips, seconds=0.5, progress=False))
    assert e.inputs.shape == (20, 128, 48) and e.dim == 16 and e.training == {"config": "paper-ks2"}
    one, two = e.network(), e.network()
    assert one is not two and torch.equal(one.model.layernorm.weight, two.model.layernorm.weight)

    def task(setting, split, seed):
        options = {"network": e.network, "seed": seed, **e.training, **QUICK}
        return fit_classifier(e.inputs, clips.labels, split, **options).evaluate()

    table = study(task, [{}], splits=clips.folds()[:2], resume=tmp_path / "runs", progress=False)
    assert table["epochs"].tolist() == [2, 2] and len(list((tmp_path / "runs").iterdir())) == 2
    run = fit_classifier(e.inputs, clips.labels, clips.folds()[0], network=e.network, **e.training | QUICK)
    before = dict(one.named_parameters())
    still = [name for name, p in run.network.named_parameters() if torch.equal(p, before[name])]
    assert not [name for name in still if "key.bias" not in name]  # attention does not depend on a bias of its keys


def test_settings_follow_the_length_of_the_clips():
    ks2, esc50 = ClassifierConfig.named("paper-ks2"), ClassifierConfig.named("paper")
    assert (ks2.learning_rate, ks2.epochs, ks2.mixup, ks2.spec_augment) == (6.25e-5, 30, 0.5, (48, 48))
    assert (ks2.optimizer, ks2.betas, ks2.schedule) == (esc50.optimizer, esc50.betas, esc50.schedule)
    beats, short = ClassifierConfig.named("paper-beats"), ClassifierConfig.named("paper-beats-ks2")
    assert (beats.learning_rate, beats.betas, beats.weight_decay, beats.batch) == (8e-6, (0.9, 0.98), 0.01, 16)
    assert (beats.epochs, beats.warmup, beats.schedule, beats.mixup, beats.standardise) == (25, 5, "cosine", 0, "none")
    assert (short.learning_rate, short.epochs, short.schedule, short.mixup) == (1e-4, 30, "constant", 0.5)
    assert beats.rate(4) == 8e-6 and ClassifierConfig.named("efficientat").rate(11) < 1e-4


def test_efficientat_is_fine_tuned_with_its_batch_norm_frozen():
    clips = tones(8)
    e = extractor(clips, "mn01_as", train="all", random_weights=0, progress=False)
    assert e.inputs.shape == (8, 128, 80) and e.training == {"config": "efficientat"}
    encoder = load_encoder("mn01_as", random_weights=0, device="cpu")
    x = torch.from_numpy(np.stack([clips.audio(i, rate=32000)[0] for i in range(2)]))
    frames, _ = encoder.forward(x, torch.tensor([x.shape[1]] * 2), [16])[0]
    expected = nn.functional.layer_norm(encoder.net.classifier[2](frames.mean(1)), (128,))
    with torch.no_grad():
        z = e.network().train()(torch.from_numpy(e.inputs[:2]))  # in training mode as well
    torch.testing.assert_close(z, expected, atol=1e-4, rtol=1e-4)
    assert e.dim == z.shape[1] == 128

    before = e.network()
    run = fit_classifier(e.inputs, clips.labels, fold(8), network=e.network, **e.training | QUICK | {"batch": 2})
    for name, values in run.network.state_dict().items():
        frozen = "running" in name or "tracked" in name
        assert torch.equal(values, before.state_dict()[name]) == frozen, name


class FakeSpeechBrain(nn.Module):
    """In the place of networks that another package makes."""

    def __init__(self, kind: str, *, weights=None):
        super().__init__()
        self.kind, self.weights, self.layer = kind, weights, nn.Linear(10, 7)

    def forward(self, x):
        return self.layer(x[:, :10])


@pytest.mark.parametrize(
    ("kind", "seconds", "preset"),
    [("beats", 0.8, "paper-beats-ks2"), ("beats", 1.2, "paper-beats"), ("ecapa", 0.8, "ecapa")],
)
def test_networks_of_speechbrain_hear_waveforms(monkeypatch, tmp_path, kind, seconds, preset):
    monkeypatch.setattr(extractors, "SpeechBrainNetwork", FakeSpeechBrain)
    file = tmp_path / "somewhere" / extractors.CHECKPOINTS[kind][0]
    file.parent.mkdir()
    clips = tones(4, 0.9)
    options = {"train": "all", "seconds": seconds, "progress": False}
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=rf"{file.name} .* WORKBENCH_WEIGHTS names, or pass weights="):
        extractor(clips, kind, **options)
    file.write_bytes(b"")
    e = extractor(clips, kind, **options)
    assert e.inputs.shape == (4, round(seconds * RATE)) and e.training == {"config": preset} and e.dim == 7
    np.testing.assert_array_equal(e.inputs[1, :100], clips.audio(1)[0][:100])
    assert e.network().weights == file
    one, same, other = (extractor(clips, kind, random_weights=seed, **options).network() for seed in (0, 0, 1))
    assert one.weights is None and torch.equal(one.layer.weight, same.layer.weight)
    assert not torch.equal(one.layer.weight, other.layer.weight)
    with pytest.raises(ParameterError, match="fetch=True must be False"):
        extractor(clips, kind, fetch=True, **options)


def test_inputs_that_memory_has_no_room_for_are_refused(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100_000))
    with pytest.raises(ParameterError, match=r"inputs of \(8, 64, 41\) take 0.0 GB, training on them 0.0 GB"):
        extractor(tones(8), "conv", train="scratch", progress=False)


def test_errors_come_before_the_long_computation(tiny_ast, monkeypatch):
    heard = []
    monkeypatch.setattr(
        Clips, "audio", lambda self, i, *, rate=None, _real=Clips.audio: heard.append(i) or _real(self, i, rate=rate)
    )
    with pytest.raises(ParameterError, match="frames=98 must be from 16 to 80 of the model"):
        extractor(tones(40), tiny_ast, train="all", seconds=1.0, progress=False)
    assert set(heard) == {0}


@pytest.mark.parametrize(
    ("encoder", "options", "error", "message"),
    [
        ("mini", {"train": "frozen"}, ParameterError, "train='frozen' must be 'head', 'scratch' or 'all'"),
        (
            "mini",
            {"train": "all"},
            ParameterError,
            "encoder='mini' must be 'ast', an AST's folder or hub id, 'mn01_as'",
        ),
        ("hubert-base", {"train": "all"}, ParameterError, "encoder='hubert-base' must be 'ast'"),
        ("mini", {"train": "scratch"}, ParameterError, "encoder='mini' must be 'conv' with train='scratch'"),
        ("conv", {}, ParameterError, "train='head' must be 'scratch' for encoder 'conv'"),
        ("conv", {"train": "all"}, ParameterError, "train='all' must be 'scratch' for encoder 'conv'"),
        ("conv", {"train": "scratch", "random_weights": 0}, ParameterError, "random_weights=0 must be left out"),
        ("beats", {}, ParameterError, "train='head' must be 'all' for encoder 'beats'"),
        ("nothing", {"train": "all"}, ParameterError, "name_or_path='nothing' must be a model folder"),
        ("mn05_as", {"train": "all"}, WeightsError, "the weights of encoder 'mn05_as' are not on this machine"),
        ("ecapa", {"train": "all", "weights": "x", "random_weights": 0}, ParameterError, "weights='x' must be None"),
        ("conv", {"train": "scratch", "seconds": 0}, ParameterError, "seconds=0 must be a finite number, above 0"),
    ],
)
def test_what_does_not_go_together_is_refused(encoder, options, error, message, monkeypatch):
    monkeypatch.setenv("WORKBENCH_WEIGHTS", "")
    with pytest.raises(error, match=message):
        extractor(tones(2), encoder, **{"device": "cpu", "progress": False} | options)


def test_a_loaded_encoder_is_for_the_head_alone():
    encoder = load_encoder("mini", device="cpu")
    with pytest.raises(ParameterError, match="encoder='mini' must be a name or a folder with train='all'"):
        extractor(tones(2), encoder, train="all")
    with pytest.raises(ParameterError, match="random_weights=3 must be left out: the encoder is loaded already"):
        extractor(tones(2), encoder, random_weights=3)


def test_clips_of_several_lengths_ask_for_seconds():
    clips = Clips.from_arrays([np.zeros(9000, np.float32), np.zeros(8000, np.float32)], RATE)
    with pytest.raises(ParameterError, match="clip 0 has 9000 samples at 16000 Hz and clip 1 has 8000"):
        extractor(clips, "conv", train="scratch", progress=False)
