"""sae.model and sae.saelens: configuration, encode and decode, files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.errors import ParameterError, WeightsError
from workbench.sae import SAEConfig, SparseAutoencoder, k_of, load_saelens, save_saelens
from workbench.sae import model as models


def random_sae(dim: int = 6, latents: int = 20, k: int = 4, **fields) -> SparseAutoencoder:
    config = SAEConfig(dim, latents, k, **fields)
    generator = torch.Generator().manual_seed(0)
    draw = {"encoder": (latents, dim), "encoder_bias": (latents,), "decoder": (latents, dim), "bias": (dim,)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in draw.items()}
    threshold = torch.rand(latents, generator=generator) if config.activation == "batchtopk" else None
    return SparseAutoencoder(config, **weights, threshold=threshold)


def identity(width: int, k: int) -> SparseAutoencoder:
    eye, zero = torch.eye(width), torch.zeros(width)
    return SparseAutoencoder(SAEConfig(width, width, k), encoder=eye, encoder_bias=zero, decoder=eye, bias=zero)


def rows(count: int, dim: int = 6) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, dim)).astype(np.float32)


def test_k_follows_the_papers_truncation():
    ks = [k_of(sparsity, 2048) for sparsity in (0.75, 0.80, 0.85, 0.90, 0.95, 0.99)]
    assert ks == [512, 409, 307, 204, 102, 20]


def test_topk_keeps_the_largest_and_relu_goes_first():
    assert identity(3, 2).encode([[3, 1, 2]]).tolist() == [[3, 0, 2]]
    assert identity(3, 2).encode([[3, -1, -2]]).tolist() == [[3, 0, 0]]  # L0 below k: too few are positive
    x = rows(50)
    np.testing.assert_array_equal(identity(6, 6).encode(x), np.maximum(x, 0))


def test_l0_never_exceeds_k_and_decode_is_affine():
    sae, x = random_sae(), rows(9000)  # more rows than are encoded at once
    z = sae.encode(x)
    assert z.dtype == np.float32 and z.shape == (9000, 20) and (z > 0).sum(1).max() == 4
    np.testing.assert_allclose(z[8999:], sae.encode(x[8999:]), rtol=1e-5)
    np.testing.assert_allclose(sae.decode(z), z @ sae.decoder.numpy() + sae.bias.numpy(), atol=1e-5)
    np.testing.assert_array_equal(sae.decode(np.zeros((1, 20))), sae.bias[None].numpy())
    assert isinstance(sae.encode(torch.from_numpy(x[:2])), torch.Tensor)
    assert sae.encode(x[:0]).shape == (0, 20)


def test_rescaling_a_latent_changes_nothing_while_the_same_are_kept():
    sae, x, c = random_sae(k=20), rows(30), torch.rand(20) + 0.5
    other = SparseAutoencoder(
        sae.config,
        encoder=sae.encoder / c[:, None],
        encoder_bias=sae.encoder_bias / c,
        decoder=sae.decoder * c[:, None],
        bias=sae.bias,
    )
    np.testing.assert_allclose(other.decode(other.encode(x)), sae.decode(sae.encode(x)), atol=1e-4)


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_file_gives_the_same_back(tmp_path, activation):
    sae = random_sae(activation=activation, prefixes=(5, 10))
    again = SparseAutoencoder.load(sae.save(tmp_path / "deep" / "a.safetensors"))
    assert again.config == sae.config and repr(again) == repr(sae)
    np.testing.assert_array_equal(again.encode(rows(20)), sae.encode(rows(20)))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = random_sae().save(tmp_path / "a.safetensors")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(models.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        random_sae(k=2).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_files_that_are_not_ours(tmp_path):
    with pytest.raises(WeightsError, match="none.safetensors"):
        SparseAutoencoder.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no tensors here")
    with pytest.raises(WeightsError, match="cannot read .*text"):
        SparseAutoencoder.load(tmp_path / "text")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="not a sparse autoencoder of this package"):
        SparseAutoencoder.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_saelens_folder_has_its_names_and_shapes_and_comes_back(tmp_path, activation):
    sae = random_sae(activation=activation)
    folder = save_saelens(sae, tmp_path / "sae")
    assert sorted(path.name for path in folder.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    shapes = {name: tuple(value.shape) for name, value in load_file(folder / "sae_weights.safetensors").items()}
    expected = {"W_enc": (6, 20), "b_enc": (20,), "W_dec": (20, 6), "b_dec": (6,)}
    assert shapes == expected | ({} if activation == "topk" else {"threshold": (20,)})
    config = json.loads((folder / "cfg.json").read_text())
    assert (config["d_in"], config["d_sae"], config["apply_b_dec_to_input"]) == (6, 20, True)
    assert config["architecture"] == {"topk": "topk", "batchtopk": "jumprelu"}[activation]
    again = load_saelens(folder)
    assert again.config == sae.config
    np.testing.assert_array_equal(again.encode(rows(20)), sae.encode(rows(20)))


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
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
    (folder / "cfg.json").write_text(json.dumps(config | {"architecture": "standard"}))
    assert load_saelens(folder).config.k == 4


def test_saelens_forms_that_cannot_be_held_are_refused(tmp_path):
    folder = save_saelens(random_sae(), tmp_path)
    config = json.loads((folder / "cfg.json").read_text())
    for change in ({"architecture": "gated"}, {"normalize_activations": "layer_norm"}):
        (folder / "cfg.json").write_text(json.dumps(config | change))
        with pytest.raises(WeightsError, match="only topk, jumprelu and standard"):
            load_saelens(folder)
    with pytest.raises(WeightsError, match="not a SAELens folder"):
        load_saelens(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SAEConfig(8, 20, 21), "k=21 must be from 1 to latents=20"),
        (lambda: SAEConfig(8, 20, 0), "k=0 must be from 1 to latents=20"),
        (
            lambda: SAEConfig.paper(8, latents=20, sparsity=0.99),
            "sparsity=0.99 must be low enough to keep at least one",
        ),
        (lambda: SAEConfig.paper(8, sparsity=95), r"sparsity=95 must be in \[0, 1\)"),
        (lambda: SAEConfig(8, activation="relu"), "activation='relu' must be 'topk' or 'batchtopk'"),
        (lambda: SAEConfig(8, 20, 4, prefixes=(10, 5)), r"prefixes=\(10, 5\) must be ascending"),
        (lambda: SAEConfig(8, 20, 4, auxk=-1), "auxk=-1 must be 0 or more"),
        (lambda: SAEConfig(0), "dim=0 must be at least 1"),
        (lambda: random_sae().encode(rows(3, 5)), r"x.shape=\(3, 5\) must be \(N, 6\)"),
        (
            lambda: random_sae().encode([[0, 0, 0, 0, 0, 0], [0, 0, np.nan, 0, 0, 0]]),
            r"x\[1\]='nan or inf' must be finite",
        ),
        (lambda: random_sae().decode(np.zeros((2, 3))), r"z.shape=\(2, 3\) must be \(N, 20\)"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
