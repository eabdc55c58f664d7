"""EfficientAT: shapes, strict loading, padding policy, and the published embedding's known answer."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.encoders.efficientat import EfficientATNet, load_efficientat

CHECKPOINT = "efficientat/mn04_as_mAP_432.pt"


@pytest.fixture(scope="module")
def random_encoder():
    return load_efficientat("mn04_as", weights=None, random_weights=3)


@pytest.fixture(scope="module")
def encoder(shared_weights):
    return load_efficientat("mn04_as", weights=shared_weights / CHECKPOINT, device="cpu")


def test_mn04_has_the_published_size_and_layout():
    net = EfficientATNet(0.4)
    assert sum(p.numel() for p in net.parameters()) == 983_599  # published: 0.99 M
    assert net.channels == (8, 8, 16, 16, 16, 16, 16, 32, 32, 32, 32, 48, 48, 64, 64, 64, 384)
    assert net.state_dict()["features.5.block.2.conc_se_layers.0.fc1.weight"].shape == (16, 48)


@pytest.mark.parametrize(("width", "dim", "millions"), [(1.0, 960, 4.88), (2.0, 1920, 17.91)])
def test_other_widths_follow_the_published_sizes(width, dim, millions):
    net = EfficientATNet(width)
    assert net.channels[-1] == dim
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_layers_tell_their_frame_rates_and_dims(random_encoder):
    assert [layer.name for layer in random_encoder.layers] == [f"features.{i}" for i in range(17)]
    assert [random_encoder.layers[i].frame_rate for i in (0, 2, 4, 7, 13, 16)] == [50, 25, 12.5, 6.25, 3.125, 3.125]
    assert random_encoder.dim == 384 and random_encoder.rate == 32000 and random_encoder.padding == "equal"


def test_frames_are_the_mean_over_frequency_and_lengths_count_them(random_encoder):
    x = 0.1 * torch.randn(2, 64000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([64000, 64000])
    with torch.inference_mode():
        (first, n_first), (last, n_last) = random_encoder.forward(x, lengths, [0, 16])
        maps = random_encoder.net.features[0](random_encoder.front_end(x))
    assert first.shape == (2, 100, 8) and last.shape == (2, 7, 384)
    assert n_first.tolist() == [100, 100] and n_last.tolist() == [7, 7]
    assert torch.equal(first, maps.mean(2).transpose(1, 2))


def test_a_batch_of_equal_lengths_gives_each_clips_own_numbers(random_encoder):
    x = 0.1 * torch.randn(3, 40000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together = random_encoder.forward(x, torch.full((3,), 40000), range(17))
        alone = random_encoder.forward(x[1:2], torch.tensor([40000]), range(17))
    for (a, _), (b, _) in zip(together, alone, strict=True):
        assert float((a[1] - b[0]).abs().max()) < 1e-4 * max(1.0, float(b.abs().max()))


def test_unequal_lengths_are_refused(random_encoder):
    with pytest.raises(ParameterError, match="all equal for mn04_as"):
        random_encoder.forward(torch.zeros(2, 4000), torch.tensor([4000, 3000]), [16])


@pytest.mark.parametrize("samples", [1, 500, 1600])
def test_very_short_clips_are_padded_with_zeros(random_encoder, samples):
    x = 0.1 * torch.ones(1, samples)
    padded = torch.nn.functional.pad(x, (0, max(0, 1024 - samples)))
    with torch.inference_mode():
        ((short, n),) = random_encoder.forward(x, torch.tensor([samples]), [16])
        ((same, _),) = random_encoder.forward(padded, torch.tensor([padded.shape[1]]), [16])
    assert n.tolist() == [1] and torch.isfinite(short).all() and torch.equal(short, same)


def test_seeded_random_weights_are_repeatable_and_have_their_own_fingerprint(random_encoder):
    again = load_efficientat("mn04_as", weights=None, random_weights=3)
    other = load_efficientat("mn04_as", weights=None, random_weights=4)
    assert again.fingerprint == random_encoder.fingerprint != other.fingerprint


def test_wrong_keys_are_listed(tmp_path):
    state = EfficientATNet(0.1).state_dict()
    state["extra.weight"] = state.pop("features.16.0.weight")
    torch.save(state, tmp_path / "mn01.pt")
    with pytest.raises(WeightsError, match=r"missing keys: features\.16\.0\.weight; unexpected keys: extra\.weight"):
        load_efficientat("mn01_as", weights=tmp_path / "mn01.pt")


def test_a_checkpoint_of_another_width_is_refused(tmp_path):
    torch.save(EfficientATNet(0.1).state_dict(), tmp_path / "mn01.pt")
    with pytest.raises(WeightsError, match="another width than mn04_as"):
        load_efficientat("mn04_as", weights=tmp_path / "mn01.pt")


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pt: no such file"):
        load_efficientat("mn04_as", weights=tmp_path / "absent.pt")
    (tmp_path / "half.pt").write_bytes(b"PK\x03\x04 not the rest")
    with pytest.raises(WeightsError, match=r"half\.pt: not a readable checkpoint"):
        load_efficientat("mn04_as", weights=tmp_path / "half.pt")


def test_names_of_no_known_form_are_refused():
    with pytest.raises(ParameterError, match="of the form mn04_as"):
        load_efficientat("efficientnet", weights=None, random_weights=0)
    with pytest.raises(ParameterError, match="weights"):
        load_efficientat("mn04_as", weights=None)


def test_logits_let_gradients_reach_the_waveform(random_encoder):
    x = torch.zeros(1, 16000).normal_(0, 0.1, generator=torch.Generator().manual_seed(2)).requires_grad_()
    logits = random_encoder.logits(x, torch.tensor([16000]))
    logits[0, 75].backward()
    assert logits.shape == (1, 527) and float(x.grad.abs().max()) > 0


def test_the_classifier_hears_a_dog_bark(encoder, shared_audio, shared_weights):
    from workbench.audio import load

    x, _ = load(shared_audio / "esc10/dog_bark/1-100032-A.ogg", rate=32000)
    with torch.inference_mode():
        scores = encoder.logits(torch.from_numpy(x)[None], torch.tensor([len(x)])).sigmoid()[0]
    names = pd.read_csv(shared_weights / "efficientat/audioset_classes.csv")["display_name"]
    assert names[int(scores.argmax())] == "Bark"


@pytest.mark.slow
def test_linear_probe_of_the_embedding_on_esc10_is_the_known_answer(encoder, shared_audio):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from workbench.audio import load

    table = pd.read_csv(shared_audio / "manifest.csv").query("part == 'esc10'")
    folds = table["factors"].map(lambda text: json.loads(text)["fold"]).to_numpy()
    rows = []
    with torch.inference_mode():
        for file in table["file"]:
            x, _ = load(shared_audio / file, rate=32000)
            ((frames, _),) = encoder.forward(torch.from_numpy(x)[None], torch.tensor([len(x)]), [16])
            rows.append(frames[0].mean(0).numpy())
    z, y = np.stack(rows), table["label"].to_numpy()
    correct = np.zeros(len(y))
    for fold in range(1, 6):
        train, test = folds != fold, folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(z[train], y[train])
        correct[test] = model.predict(z[test]) == y[test]
    assert 100 * correct.mean() >= 97.5  # known answer: 98.5
