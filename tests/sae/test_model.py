"""sae.model: configuration, encode and decode, files."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.fitting import write_fitted
from workbench.sae import SAEConfig, SparseAutoencoder, k_of


def random_sae(dim: int = 6, latents: int = 20, k: int = 4, **fields) -> SparseAutoencoder:
    config = SAEConfig(dim, latents, k, **fields)
    generator = torch.Generator().manual_seed(0)
    draw = {"encoder": (latents, dim), "encoder_bias": (latents,), "decoder": (latents, dim), "bias": (dim,)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in draw.items()}
    threshold = torch.rand(latents, generator=generator) if config.activation != "topk" else None
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


@pytest.mark.parametrize("activation", ["topk", "batchtopk", "jumprelu"])
def test_file_gives_the_same_back(tmp_path, activation):
    sae = random_sae(activation=activation, prefixes=(5, 10))
    again = SparseAutoencoder.load(sae.save(tmp_path / "deep" / "a"))
    assert again.config == sae.config and repr(again) == repr(sae)
    np.testing.assert_array_equal(again.encode(rows(20)), sae.encode(rows(20)))


def test_folders_that_are_not_ours(tmp_path):
    with pytest.raises(WeightsError, match="none: holds no SparseAutoencoder"):
        SparseAutoencoder.load(tmp_path / "none")
    write_fitted(tmp_path / "other", "Other", {"a": torch.zeros(2)}, {})
    with pytest.raises(WeightsError, match="holds Other of version 1, not SparseAutoencoder"):
        SparseAutoencoder.load(tmp_path / "other")


def test_settings_of_numpy_are_saved_as_plain_ones(tmp_path):
    plain = SAEConfig(6, 20, 4, prefixes=(5, 9), pre_bias=False, auxk=0.25, decay=0.5)
    settings = {"prefixes": np.array([5, 9]), "pre_bias": np.bool_(False), "activation": np.str_("topk")}
    config = SAEConfig(*np.array([6, 20, 4]), **settings, auxk=np.float32(0.25), decay=np.float64(0.5))
    assert config == plain and repr(config) == repr(plain)
    weights = {"encoder": torch.ones(20, 6), "encoder_bias": torch.zeros(20), "bias": torch.zeros(6)}
    sae = SparseAutoencoder(config, **weights, decoder=torch.ones(20, 6))
    assert SparseAutoencoder.load(sae.save(tmp_path / "a")).config == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotate": True}, "a: of another version of this package .unknown: rotate"),
        ({"k": None}, "its config is not usable .k=None"),
        ({"k": 40}, "its config is not usable .k=40 must be from 1 to latents=20"),
        ({"latents": 10}, r"encoder.shape=\(20, 6\) must be \(10, 6\)"),
    ],
)
def test_files_of_another_version_are_named(tmp_path, change, message):
    sae = random_sae()
    fields = asdict(sae.config) | change
    path = write_fitted(tmp_path / "a", "SparseAutoencoder", sae.tensors(), {"config": fields})
    with pytest.raises(WeightsError, match=message):
        SparseAutoencoder.load(path)
    fields.pop("rotate", None)
    del fields["k"]  # 102 by default, which it need not have been
    with pytest.raises(WeightsError, match="of another version of this package .missing: k"):
        SparseAutoencoder.load(write_fitted(path, "SparseAutoencoder", sae.tensors(), {"config": fields}))
    with pytest.raises(WeightsError, match="holds no sparse autoencoder"):
        SparseAutoencoder.load(write_fitted(path, "SparseAutoencoder", sae.tensors(), {"config": []}))


def test_presets_are_their_papers_forms_at_any_size():
    """Bussmann et al. nest a BatchTopK; here in halves of halves, whatever the number of latents."""
    batchtopk, nested = (SAEConfig.named(name, dim=6, latents=2048, k=4) for name in ("batchtopk", "matryoshka"))
    assert batchtopk == SAEConfig(6, 2048, 4, activation="batchtopk")
    assert SAEConfig.named("jumprelu", dim=6, k=4) == SAEConfig(6, k=4, activation="jumprelu")
    assert nested == SAEConfig(6, 2048, 4, activation="batchtopk", prefixes=(128, 256, 512, 1024))
    assert SAEConfig.named("matryoshka", dim=6, latents=12, k=4).prefixes == (1, 3, 6)  # no sixteenth of 12
    assert SAEConfig(6, 20, 4, prefixes=(0.25, 15)).prefixes == (5, 15)
    assert SAEConfig.named(nested, k=5).prefixes == nested.prefixes


def test_weights_that_are_not_finite_or_of_half_precision(tmp_path):
    sae = random_sae()
    record = {"config": asdict(sae.config)}
    half = {name: tensor.bfloat16() for name, tensor in sae.tensors().items()}
    again = SparseAutoencoder.load(write_fitted(tmp_path / "half", "SparseAutoencoder", half, record))
    assert again.encoder.dtype == torch.float32 and again.encode(rows(2)).dtype == np.float32
    half["decoder"][0, 0] = torch.nan
    with pytest.raises(WeightsError, match="nan: decoder holds values that are not finite"):
        SparseAutoencoder.load(write_fitted(tmp_path / "nan", "SparseAutoencoder", half, record))
    (weights,) = (tmp_path / "half").glob("weights*")
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="cannot read .*weights"):
        SparseAutoencoder.load(tmp_path / "half")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SAEConfig(8, 20, 21), "k=21 must be from 1 to latents=20"),
        (lambda: SAEConfig(8, 20, 0), "k=0 must be from 1 to latents=20"),
        (
            lambda: k_of(0.99, 20),
            "sparsity=0.99 must be at most 0.95 with latents=20, or no latent is kept; it needs latents=100",
        ),
        (lambda: k_of(95, 20), r"sparsity=95 must be in \[0, 1\)"),
        (lambda: SAEConfig(8, activation="relu"), "activation='relu' must be 'topk' or 'batchtopk' or 'jumprelu'"),
        (lambda: SAEConfig(8, 20, 4, prefixes=(10, 5)), r"prefixes=\(10, 5\) must be ascending"),
        (lambda: SAEConfig(8, 20, 4, prefixes=(0.5, 0.25)), r"prefixes=\(10, 5\) must be ascending"),
        (lambda: SAEConfig(8, 20, 4, prefixes=(4.0,)), "prefixes=4.0 must be a whole number"),
        (lambda: SAEConfig(8, 20, 4, prefixes=(1.5,)), "prefixes=1.5 must be a whole number"),
        (lambda: SAEConfig(8, 20, 4, prefixes=(0,)), r"prefixes=\(0,\) must be ascending, between 0 and latents=20"),
        (lambda: SAEConfig(8, 20, 4, auxk=-1), "auxk=-1 must be a finite number, 0 or more"),
        (lambda: SAEConfig(8, 20, 4, bandwidth=0), "bandwidth=0 must be a finite number, above 0"),
        (lambda: SAEConfig(8, 20, 4, l0_weight=-1), "l0_weight=-1 must be a finite number, 0 or more"),
        (lambda: SAEConfig(0), "dim=0 must be a whole number, 1 or more"),
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
