"""sae.saelens: folders of SAELens of all its series, against its formulas written out in numpy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.core.errors import WeightsError
from workbench.sae import SAEConfig, SparseAutoencoder, load_saelens, save_saelens

DIM, LATENTS, K = 6, 20, 4
OLD = {
    "d_in": DIM,
    "d_sae": LATENTS,
    "dtype": "float32",
    "model_name": "gpt2-small",
    "hook_name": "blocks.6.hook_resid_pre",
    "hook_layer": 6,
    "hook_head_index": None,
    "activation_fn_str": "relu",
    "activation_fn_kwargs": {},
    "apply_b_dec_to_input": True,
    "finetuning_scaling_factor": False,
    "sae_lens_training_version": "5.3.0",
    "prepend_bos": True,
    "dataset_path": "a/set",
    "dataset_trust_remote_code": True,
    "context_size": 128,
    "normalize_activations": "none",
    "neuronpedia_id": None,
    "model_from_pretrained_kwargs": {},
}
TOPK = {"architecture": "topk", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}


def random_sae(**fields) -> SparseAutoencoder:
    config = SAEConfig(DIM, LATENTS, K, **fields)
    generator = torch.Generator().manual_seed(0)
    draw = {"encoder": (LATENTS, DIM), "encoder_bias": (LATENTS,), "decoder": (LATENTS, DIM), "bias": (DIM,)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in draw.items()}
    threshold = torch.rand(LATENTS, generator=generator) if config.activation != "topk" else None
    return SparseAutoencoder(config, **weights, threshold=threshold)


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, DIM)).astype(np.float32)


def weights(*names: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = {"W_enc": (DIM, LATENTS), "W_dec": (LATENTS, DIM), "b_dec": (DIM,)} | dict.fromkeys(names, (LATENTS,))
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write(folder: Path, config: object, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def top(a: np.ndarray, k: int = K) -> np.ndarray:
    return np.where(a >= np.sort(a, 1)[:, [-k]], np.maximum(a, 0), 0)


@pytest.mark.parametrize("activation", ["topk", "batchtopk", "jumprelu"])
def test_saelens_folder_has_its_names_and_shapes_and_comes_back(tmp_path, activation):
    sae = random_sae(activation=activation)
    folder = save_saelens(sae, tmp_path / "sae")
    assert sorted(path.name for path in folder.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    shapes = {name: tuple(value.shape) for name, value in load_file(folder / "sae_weights.safetensors").items()}
    expected = {"W_enc": (6, 20), "b_enc": (20,), "W_dec": (20, 6), "b_dec": (6,)}
    assert shapes == expected | ({} if activation == "topk" else {"threshold": (20,)})
    config = json.loads((folder / "cfg.json").read_text())
    assert (config["d_in"], config["d_sae"], config["apply_b_dec_to_input"]) == (6, 20, True)
    assert config["architecture"] == "topk" if activation == "topk" else "jumprelu"
    again = load_saelens(folder)
    assert again.config == sae.config
    np.testing.assert_array_equal(again.encode(rows(20)), sae.encode(rows(20)))


@pytest.mark.parametrize("activation", ["topk", "batchtopk", "jumprelu"])
def test_saelens_itself_gives_the_same_codes(tmp_path, activation):
    sae_lens = pytest.importorskip("sae_lens", reason="needs sae_lens, to load what was saved for it")
    sae, x = random_sae(activation=activation), torch.from_numpy(rows(40))
    theirs = sae_lens.SAE.load_from_disk(save_saelens(sae, tmp_path))
    with torch.no_grad():
        codes = theirs.encode(x)
        torch.testing.assert_close(codes, sae.encode(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(theirs.decode(codes), sae.decode(sae.encode(x)), rtol=1e-4, atol=1e-4)
    theirs.save_model(tmp_path / "back")
    torch.testing.assert_close(load_saelens(tmp_path / "back").encode(x), sae.encode(x))


def test_saelens_forms_that_differ_from_ours_are_folded(tmp_path):
    sae, x = random_sae(), rows(40)
    folder = save_saelens(sae, tmp_path)
    config = json.loads((folder / "cfg.json").read_text()) | {"metadata": {}}
    w = {name: value.numpy() for name, value in load_file(folder / "sae_weights.safetensors").items()}
    norm = np.linalg.norm(w["W_dec"], axis=1)

    def top(a):
        return np.where(a >= np.sort(a, 1)[:, [-4]], np.maximum(a, 0), 0)

    expected = {
        "apply_b_dec_to_input": top(x @ w["W_enc"] + w["b_enc"]),
        "rescale_acts_by_decoder_norm": top(((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * norm),
    }
    for field, codes in expected.items():
        (folder / "cfg.json").write_text(json.dumps(config | {field: field.startswith("rescale")}))
        np.testing.assert_allclose(load_saelens(folder).encode(x), codes, atol=1e-4)


def test_saelens_forms_that_cannot_be_held_are_refused(tmp_path):
    folder = save_saelens(random_sae(), tmp_path)
    config = json.loads((folder / "cfg.json").read_text())
    for change in ({"architecture": "temporal"}, {"normalize_activations": "layer_norm"}):
        (folder / "cfg.json").write_text(json.dumps(config | change))
        with pytest.raises(WeightsError, match="only topk, jumprelu, gated and standard"):
            load_saelens(folder)
    with pytest.raises(WeightsError, match="not a SAELens folder"):
        load_saelens(tmp_path / "nowhere")


def test_topk_from_before_6_keeps_its_k(tmp_path):
    w, x = weights("b_enc"), rows(40)
    n = {name: value.numpy() for name, value in w.items()}
    for change in (
        TOPK,
        TOPK | {"architecture": "standard"},  # so did the third and fourth series
        {"architecture": "topk", "activation_fn": "topk", "activation_fn_str": None, "activation_fn_kwargs": {"k": K}},
        {"architecture": "topk", "k": K, "activation_fn_str": None, "metadata": {"sae_lens_version": "6.12.1"}},
    ):
        sae = load_saelens(write(tmp_path, OLD | change, w))
        expected = top((x - n["b_dec"]) @ n["W_enc"] + n["b_enc"])
        np.testing.assert_allclose(sae.encode(x), expected, atol=1e-5)
        np.testing.assert_allclose(sae.decode(expected), expected @ n["W_dec"] + n["b_dec"], atol=1e-5)


def test_standard_from_before_6_is_dense(tmp_path):
    w, x = weights("b_enc"), rows(40)
    n = {name: value.numpy() for name, value in w.items()}
    old = {name: value for name, value in OLD.items() if name not in ("activation_fn_str", "normalize_activations")}
    for config in (OLD | {"architecture": "standard"}, old, OLD | {"normalize_activations": False}):
        codes = load_saelens(write(tmp_path, config, w)).encode(x)
        np.testing.assert_allclose(codes, np.maximum((x - n["b_dec"]) @ n["W_enc"] + n["b_enc"], 0), atol=1e-5)


@pytest.mark.parametrize("centred", [True, False])
def test_gated_is_a_jumprelu(tmp_path, centred):
    w, x = weights("b_gate", "b_mag", "r_mag"), rows(200)
    n = {name: value.numpy().astype(np.float64) for name, value in w.items()}
    inner = x - n["b_dec"] * centred
    gate = inner @ n["W_enc"] + n["b_gate"] > 0
    expected = gate * np.maximum(inner @ (n["W_enc"] * np.exp(n["r_mag"])) + n["b_mag"], 0)
    sae = load_saelens(write(tmp_path, OLD | {"architecture": "gated", "apply_b_dec_to_input": centred}, w))
    np.testing.assert_allclose(sae.encode(x), expected, atol=1e-4)
    assert 0.05 < (expected > 0).mean() < 0.95


@pytest.mark.parametrize("name", ["threshold", "log_threshold"])
def test_jumprelu_thresholds(tmp_path, name):
    w, x = weights("b_enc", name), rows(100)
    n = {key: value.numpy() for key, value in w.items()}
    a = (x - n["b_dec"]) @ n["W_enc"] + n["b_enc"]
    threshold = np.exp(n[name]) if name == "log_threshold" else n[name]  # below 0 in some: no more than a ReLU
    sae = load_saelens(write(tmp_path, OLD | {"architecture": "jumprelu"}, w))
    assert sae.config.activation == "jumprelu"
    codes = sae.encode(x)
    np.testing.assert_allclose(codes, np.maximum(a, 0) * (a > threshold), atol=1e-5)


@pytest.mark.parametrize("name", ["scaling_factor", "finetuning_scaling_factor"])
def test_the_factor_of_finetuning_scales_what_latents_write(tmp_path, name):
    w = weights("b_enc", name)
    n = {key: value.numpy() for key, value in w.items()}
    sae = load_saelens(write(tmp_path, OLD | TOPK | {"finetuning_scaling_factor": True}, w))
    z = sae.encode(rows(10))
    np.testing.assert_allclose(sae.decode(z), z * n[name] @ n["W_dec"] + n["b_dec"], atol=1e-4)
    with pytest.raises(WeightsError, match="finetuning_scaling_factor, but the setting of that name is not set"):
        load_saelens(write(tmp_path, OLD | TOPK, w))
    w[name] = torch.ones(LATENTS)  # written for a while whether it was used or not
    load_saelens(write(tmp_path, OLD | TOPK, w))


def test_half_precision_and_a_training_record_are_read(tmp_path):
    w = {name: value.bfloat16() for name, value in weights("b_enc").items()}
    config = OLD | TOPK | {"lr": 3e-4, "l1_coefficient": 5, "wandb_project": "a", "dtype": "bfloat16", "seed": 42}
    sae = load_saelens(write(tmp_path, config, w))
    assert sae.config.k == K and sae.encoder.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": {"sae_lens_version": "7.0.2"}}, "written by SAELens 7.0.2; up to series 6 can be read"),
        ({"input_scale": 2.0}, "unknown settings input_scale"),
        ({"activation_fn_kwargs": {}}, "k, the number of latents that topk keeps, is not given"),
        ({"activation_fn_kwargs": {"k": 4.5}}, r"topk keeps, is \[4.5\]"),
        ({"activation_fn_kwargs": {"k": 4, "postact_fn": "abs"}}, "activation function 'topk' with .*postact_fn"),
        ({"activation_fn_kwargs": ["k", 4]}, "activation_fn_kwargs=.* no settings by name"),
        ({"activation_fn_kwargs": {"k": 21}}, "k=21 must be from 1 to latents=20"),
        ({"k": 8}, r"topk keeps, is \[8, 4\]"),
        ({"architecture": "standard", "activation_fn_str": "tanh-relu"}, "activation function 'tanh-relu'"),
        ({"architecture": "standard", "activation_fn_str": "relu"}, "k is given, but architecture 'standard' has none"),
        ({"architecture": "jumprelu", "activation_fn_kwargs": {}}, "activation function 'topk'"),
        ({"architecture": "batchtopk"}, "architecture 'batchtopk'"),
        ({"architecture": "matryoshka_batchtopk"}, "architecture 'matryoshka_batchtopk'"),
        ({"architecture": "transcoder"}, "architecture 'transcoder'"),
        ({"architecture": "skip_transcoder"}, "architecture 'skip_transcoder'"),
        ({"architecture": ["topk"]}, "architecture .'topk'."),
        ({"normalize_activations": "expected_average_only_in"}, "expected_average_only_in'; its factor is not in the"),
        ({"normalize_activations": True}, "normalize_activations=True; its factor is not in the folder"),
        ({"normalize_activations": "constant_norm_rescale"}, "normalize_activations='constant_norm_rescale'"),
        ({"reshape_activations": "flip"}, "reshape_activations='flip'"),
        ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor is set, but there is no such tensor"),
        ({"d_sae": 64}, r"W_dec has shape \(20, 6\), expected \(64, 6\)"),
        ({"metadata": {"workbench": {"k": 9}}}, "k=4 in cfg.json, but 9 in what this package wrote"),
        ({"metadata": {"workbench": {"rotate": 1}}}, "fields rotate of another version of this package"),
    ],
)
def test_what_would_change_the_numbers_is_refused_by_name(tmp_path, change, message):
    with pytest.raises(WeightsError, match=message) as error:
        load_saelens(write(tmp_path, OLD | TOPK | change, weights("b_enc")))
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b_enc": None}, "no tensor b_enc for architecture 'topk'"),
        ({"W_skip": torch.zeros(DIM, DIM)}, "unknown tensors W_skip"),
        ({"threshold": torch.zeros(LATENTS)}, "unknown tensors threshold for architecture 'topk'"),
        ({"W_enc": torch.zeros(LATENTS, DIM)}, r"W_enc has shape \(20, 6\), expected \(6, 20\)"),
        ({"W_dec": torch.zeros(DIM * LATENTS)}, r"W_dec has shape \(120,\), expected \(d_sae, d_in\)"),
        ({"b_dec": torch.full((DIM,), torch.nan)}, "b_dec holds values that are not finite"),
        ({"W_dec": torch.zeros(LATENTS, DIM, dtype=torch.int8)}, "W_dec holds .*int8"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, change, message):
    tensors = {name: value for name, value in (weights("b_enc") | change).items() if value is not None}
    with pytest.raises(WeightsError, match=message):
        load_saelens(write(tmp_path, OLD | TOPK, tensors))


def test_folders_of_other_programs_and_damaged_ones(tmp_path):
    (tmp_path / "ae.pt").write_bytes(b"")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="ae.pt is a file of dictionary_learning"):
        load_saelens(tmp_path)
    write(tmp_path, [1], weights("b_enc"))
    with pytest.raises(WeightsError, match="cfg.json holds a list"):
        load_saelens(tmp_path)
    path = write(tmp_path, OLD | TOPK, weights("b_enc")) / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a SAELens folder"):
        load_saelens(tmp_path)
