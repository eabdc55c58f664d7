"""sound_vectors: what is decoded with one latent at another value, against the formula written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench import audio
from workbench.codecs import load_codec
from workbench.core.errors import ParameterError
from workbench.sae import SAEConfig, SparseAutoencoder
from workbench.sonify import load_autoencoder, sound_vectors

RATE = 16000


@pytest.fixture(scope="module")
def sounds():
    """Four sounds of 0.6 s; the first half of the last one is silent."""
    t = np.arange(round(0.6 * RATE)) / RATE
    x = np.stack([0.2 * np.sin(2 * np.pi * f * t) for f in (220, 440, 880, 660)])
    x[3, : len(t) // 2] = 0
    return x.astype(np.float32)


def make_sae(dim: int, latents: int = 12, k: int = 4) -> SparseAutoencoder:
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.standard_normal((2, latents, dim)).astype(np.float32))
    config = SAEConfig(dim=dim, latents=latents, k=k)
    bias = {"encoder_bias": torch.zeros(latents), "bias": torch.full((dim,), 0.1)}
    return SparseAutoencoder(config, encoder=weights[0], decoder=weights[1], **bias)


@pytest.fixture(scope="module")
def codec(sounds):
    return sound_vectors(sounds, RATE, load_codec("mel"))


def test_a_codecs_vectors_are_its_frames_and_decode_as_it_does(codec, sounds):
    mel = load_codec("mel")
    np.testing.assert_array_equal(codec.x, mel.encode(torch.from_numpy(sounds)).numpy())
    there_and_back = mel.round_trip(torch.from_numpy(sounds)).numpy()
    np.testing.assert_array_equal(codec.decode(codec.x), there_and_back)
    assert len(codec) == 4 and codec.rate == RATE and codec.name == "mel"


def test_an_autoencoders_vectors_are_its_summaries_and_decode_with_one_noise(sounds):
    mini = load_autoencoder("mini-mel", device="cpu")
    vectors = sound_vectors(sounds[:2], RATE, mini, steps=2, seed=3)
    np.testing.assert_array_equal(vectors.x[:, 0], mini.embed(sounds[:2], RATE).numpy())
    both = np.stack([vectors.x[1], vectors.x[1]])
    made = vectors.decode(both)
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_allclose(made[:1], mini.decode(vectors.x[1], steps=2, guidance=0.0, seed=3).numpy(), atol=1e-3)


def test_background_does_not_sound(codec):
    frames = codec.x.shape[1]
    assert codec.sounding[:3].all()
    assert not codec.sounding[3, : frames // 2 - 1].any() and codec.sounding[3, frames // 2 + 1 :].all()


def test_a_latent_is_set_as_the_formula_says_and_the_error_stays(codec):
    sae, latent, values = make_sae(80), 5, [0.0, 1.5, 6.0]
    changed = codec.with_latent(3, sae, latent, values)
    x, d = codec.x[3], sae.decoder[latent].numpy()
    pre = np.maximum((x - 0.1) @ sae.encoder.numpy().T, 0)
    kept = np.sort(pre, axis=1)[:, -4][:, None]
    a = np.where(pre >= kept, pre, 0)[:, latent]
    for value, got in zip(values, changed, strict=True):
        expected = x + np.where(codec.sounding[3], value - a, 0)[:, None] * d
        np.testing.assert_allclose(got, expected, atol=1e-4)
    quiet = ~codec.sounding[3]
    np.testing.assert_array_equal(changed[2][quiet], x[quiet])


def test_setting_a_latent_to_what_it_is_changes_nothing(sounds):
    vectors = sound_vectors(sounds[:2], RATE, load_autoencoder("mini-mel", device="cpu"))
    sae = make_sae(256)
    value = sae.encode(vectors.x[0])[0].max()
    latent = int(sae.encode(vectors.x[0])[0].argmax())
    np.testing.assert_allclose(vectors.with_latent(0, sae, latent, [value])[0], vectors.x[0], atol=1e-5)


def test_a_control_steps_as_far_in_its_own_direction(codec):
    sae, drawn = make_sae(80), np.random.default_rng(1).standard_normal(80)
    step, control = (
        codec.with_latent(0, sae, 2, [9.0], direction=direction)[0] - codec.x[0] for direction in (None, drawn)
    )
    np.testing.assert_allclose(np.linalg.norm(control, axis=1), np.linalg.norm(step, axis=1), rtol=1e-4)
    cosines = control @ drawn / np.linalg.norm(control, axis=1) / np.linalg.norm(drawn)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-5)


def test_codes_are_means_over_what_sounds_and_typical_the_median_where_active(codec):
    sae = make_sae(80)
    z = [sae.encode(codec.x[i])[codec.sounding[i]] for i in range(4)]
    np.testing.assert_allclose(codec.codes(sae), np.stack([each.mean(0) for each in z]), rtol=1e-4, atol=1e-6)
    both = np.concatenate([z[1], z[3]])
    latent = int((both > 0).mean(0).argmax())
    assert codec.typical(sae, latent, [1, 3]) == pytest.approx(float(np.median(both[both[:, latent] > 0, latent])))


def test_the_decoded_sound_follows_a_planted_direction(codec):
    """A latent that writes into the highest bands alone makes the decoded sound brighter, step by step."""
    sae = make_sae(80)
    sae.decoder[0] = torch.where(torch.arange(80) > 60, 1.0, 0.0)
    made = codec.decode(codec.with_latent(0, sae, 0, [0.0, 2.0, 4.0]))
    spectra = np.abs(np.fft.rfft(made, axis=1)) ** 2
    high = spectra[:, 3000 * made.shape[1] // RATE :].sum(1) / spectra.sum(1)
    assert high[0] < high[1] < high[2] and high[2] > 10 * high[0]
    assert audio.level(made[0]) > -40


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"i": 4}, "i=4"),
        ({"latent": 12}, "latent=12"),
        ({"values": [np.nan]}, "values"),
        ({"direction": np.zeros(80)}, "not all zeros"),
        ({"direction": np.ones(3)}, "direction"),
        ({"sae": None}, "sae"),
    ],
)
def test_what_is_wrong_is_named(codec, wrong, message):
    given = {"i": 0, "sae": make_sae(80), "latent": 0, "values": [1.0]} | wrong
    with pytest.raises(ParameterError, match=message):
        codec.with_latent(**given)


def test_a_latent_that_is_never_active_and_vectors_of_another_shape_are_refused(codec):
    sae = make_sae(80)
    sae.encoder_bias[7] = -1e6
    with pytest.raises(ParameterError, match="active"):
        codec.typical(sae, 7, [0, 1])
    with pytest.raises(ParameterError, match="sounds"):
        codec.typical(sae, 0, [9])
    with pytest.raises(ParameterError, match="x.shape"):
        codec.decode(codec.x[:, :5])
    with pytest.raises(ParameterError, match="decoder"):
        sound_vectors(np.zeros((1, 100)), RATE, "mel")
