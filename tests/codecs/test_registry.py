"""Codecs by name: what is known, where weights are found, what the errors say."""

from __future__ import annotations

import pytest
import torch

import workbench.core.weights as weights_module
from workbench.codecs.registry import SPECS, list_codecs, load_codec
from workbench.core.errors import ParameterError, WeightsError


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch):
    """No weights on the machine but what a test puts there, and no network."""
    monkeypatch.delenv("WORKBENCH_WEIGHTS", raising=False)
    monkeypatch.setattr(weights_module, "_hub", lambda wanted, local=True: None)


def test_list():
    table = list_codecs().set_index("name")
    assert list(table.index) == ["mel", "encodec", "lyra"]
    assert table["frame_rate"].to_dict() == {"mel": 62.5, "encodec": 75.0, "lyra": 50.0}
    assert table["size"].to_dict() == {"mel": 0.0, "encodec": 93.1, "lyra": 3.6}
    assert table.loc["encodec", "source"] == "facebook/encodec_24khz"
    assert table.loc["encodec", "licence"].startswith("unknown")


@pytest.mark.parametrize("name", ["mel", "encodec"])
def test_specs_tell_the_truth(name):
    codec = load_codec(name, device="cpu", random_weights=0 if name == "encodec" else None)
    spec = SPECS[name]
    assert (spec.rate, spec.dim, spec.hop, spec.frame_rate) == (codec.rate, codec.dim, codec.hop, codec.frame_rate)
    x = torch.zeros(1, codec.rate // 20)  # 0.05 s
    assert codec.round_trip(x).shape == x.shape


def test_lyra_is_found_in_a_root_and_in_a_given_folder(shared_weights, monkeypatch):
    pytest.importorskip("ai_edge_litert", reason="needs the package ai-edge-litert")
    given = load_codec("lyra", weights=shared_weights / "lyra")
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(shared_weights))
    codec = load_codec("lyra")
    spec = SPECS["lyra"]
    assert codec.device.type == "cpu" and codec.fingerprint == given.fingerprint
    assert (spec.rate, spec.dim, spec.hop) == (codec.rate, codec.dim, codec.hop)
    assert spec.size == sum((shared_weights / "lyra" / wanted.files[0]).stat().st_size for wanted in spec.wanted)


def test_encodec_is_found_in_a_root(tmp_path, monkeypatch):
    from transformers import EncodecConfig, EncodecModel

    EncodecModel(EncodecConfig()).save_pretrained(tmp_path / "facebook" / "encodec_24khz")
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(tmp_path))
    codec = load_codec("encodec", device="cpu")
    assert codec.name == "encodec" and codec.encode(torch.zeros(1, 96000)).shape == (1, 300, 128)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "encodec",
            ["facebook/encodec_24khz", "93.1 MB", "licence unknown", "c1dbe2ae3f1de713481a3b3e7c47f357092ee040"],
        ),
        (
            "lyra",
            ["soundstream_encoder.tflite", "1.8 MB", "Apache-2.0", "lyra/model_coeffs/soundstream_encoder.tflite"],
        ),
    ],
)
def test_missing_weights_say_all(name, parts):
    with pytest.raises(WeightsError) as caught:
        load_codec(name, device="cpu")
    common = [f"weights of codec '{name}' are not", f"load_codec('{name}', fetch=True)", "WORKBENCH_WEIGHTS=<folder>"]
    for part in [*parts, *common]:
        assert part in str(caught.value), part


def test_unknown_names_offer_close_ones():
    with pytest.raises(ParameterError, match=r"name='encodek' must be among mel, encodec, lyra \(did you mean encodec"):
        load_codec("encodek")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mel", {"weights": "x"}, "weights='x' must be None for mel"),
        ("mel", {"random_weights": 1}, "random_weights=1 must be None for mel"),
        ("lyra", {"random_weights": 1}, "random_weights=1 must be None for lyra"),
        ("encodec", {"weights": "x", "random_weights": 1}, "weights='x' must be None when random_weights"),
        ("encodec", {"device": "gpu"}, "device='gpu' must be 'auto'"),
    ],
)
def test_options_that_clash(name, options, message):
    with pytest.raises(ParameterError, match=message):
        load_codec(name, **options)
