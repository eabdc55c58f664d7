"""notebooks/sae.ipynb at the paper's scale: a tiny set in VocalSet's layout, small models of the paper's four kinds.

Twelve layers as in the real checkpoints, so that the published curves have their place; widths and weights differ. The
untrained control that the notebook makes by itself has the real configuration, so the full-sized networks run too.
"""

import json

import numpy as np
import pytest
import torch

from workbench import audio, run
from workbench.datasets import load_dataset
from workbench.datasets.generated import voices
from workbench.sae.published import LAYERS
from workbench.sae.published import table as published

SHAPE = {"hidden_size": 24, "num_hidden_layers": 12, "num_attention_heads": 2, "intermediate_size": 32}
SPEECH = {**SHAPE, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
MODELS = {
    "hubert-base": ("hubert", SPEECH),
    "wavlm-base-plus": ("wavlm", SPEECH),
    "ast": ("audio-spectrogram-transformer", SHAPE),
    "mert-95m": ("hubert", SPEECH),
}
TRAIN, TEST = ("female1", "female3", "male1", "male2"), ("female2", "male3")
TECHNIQUES = ("breathy", "lip_trill", "vibrato")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """ROOT/vocalset/FULL/<singer>/<context>/<technique>/<...>_<vowel>.wav: one take of three techniques a singer."""
    root = tmp_path_factory.mktemp("data")
    table = voices.table(400, seed=0)
    table = table[table["label"].isin(TECHNIQUES)].groupby("label").head(len(TRAIN + TEST))
    for technique, rows in table.groupby("label"):
        for k, (_, row) in enumerate(rows.iterrows()):
            singer = (TRAIN + TEST)[k]
            folder = root / "vocalset" / "FULL" / singer / "long_tones" / technique
            folder.mkdir(parents=True, exist_ok=True)
            x = voices.render(voices.recipe(row))[: voices.RATE]
            audio.write(folder / f"{singer}_long_{technique}_{'ae'[k % 2]}.wav", x, voices.RATE)
    return root


@pytest.fixture(scope="module")
def weights_root(tmp_path_factory):
    """ROOT/<name>: what a download of each checkpoint would leave, smaller."""
    from transformers import ASTFeatureExtractor, AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    root = tmp_path_factory.mktemp("weights")
    for name, (kind, shape) in MODELS.items():
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(kind, **shape)).save_pretrained(root / name)
        rate = 24000 if name == "mert-95m" else 16000
        extractor = ASTFeatureExtractor() if name == "ast" else Wav2Vec2FeatureExtractor(sampling_rate=rate)
        extractor.save_pretrained(root / name)
        if name == "mert-95m":  # the real one's configuration names a class of remote code
            path = root / name / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "mert_model"}))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("encoder", MODELS)
def test_paper_scale_runs_once_data_and_weights_are_there(tmp_path, monkeypatch, data_root, weights_root, encoder):
    monkeypatch.setenv("WORKBENCH_DATA", str(data_root))
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(weights_root))
    parameters = {"encoder": encoder, "latents": 64, "sparsities": [0.75, 0.95], "attributes": "voice", "changed": 4}
    (result,) = run("sae", scale="paper", parameters=parameters, out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    found = [row["text"] for row in result.results["headline"]]
    assert all(any(claim in text for text in found) for claim in ("attribute of pitch", "found again", "turning"))
    assert result.results["context"]["dataset"]["name"] == "vocalset"
    assert list(result.metrics["accuracy"]) == [str(layer) for layer in range(13)]
    assert result.metrics["chance"] == 1 / len(TECHNIQUES)
    assert result.metrics["layers"] == list(LAYERS[encoder])
    page = result.page.read_text()
    assert "the paper&#39;s curve is drawn" in page or "the paper's curve is drawn" in page
    for value in published("accuracy").loc[(encoder, LAYERS[encoder][0])].dropna():
        assert f">{value:.1f}<" in page, "the paper's table stands beside ours"
    for quantity in ("r2", "completeness"):
        assert f">{published(quantity).loc[(encoder, LAYERS[encoder][1]), 'dense']:.3g}<" in page


def test_the_split_is_the_publishers(data_root):
    clips = load_dataset("vocalset", root=data_root)
    split = clips.split(seed=0)
    singers = clips.table["singer"].to_numpy()
    assert len(clips) == 18
    assert set(singers[split.test]) == set(TEST)
    assert not set(singers[split.train]) & set(singers[split.valid])
    assert np.isin(np.concatenate([split.train, split.valid]), split.test).sum() == 0


@pytest.mark.slow
def test_a_folder_has_labels_and_nothing_else(tmp_path):
    table = voices.table(400, seed=0)
    rows = table[table["label"].isin(TECHNIQUES)].groupby("label").head(14)
    for k, (_, row) in enumerate(rows.iterrows()):
        (tmp_path / "sounds" / row["label"]).mkdir(parents=True, exist_ok=True)
        x = voices.render(voices.recipe(row))[: voices.RATE]
        audio.write(tmp_path / "sounds" / row["label"] / f"{k}.wav", x, voices.RATE)
    parameters = {"dataset": str(tmp_path / "sounds"), "encoder": "mini", "latents": 64, "sparsities": [0.75, 0.9]}
    parameters |= {"concept": "f0_median from 200 Hz"}
    (result,) = run("sae", parameters=parameters, out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    assert any(row["control"].startswith("f0_median from 200 Hz, ") for row in result.results["headline"])
    assert result.metrics["factors"] == {} and result.results["context"]["dataset"]["clips"] == len(rows)
