"""The lesson on the sound of a latent, on sounds whose loudness and brightness are planted in their vectors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from workbench import audio
from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.datasets import Clips
from workbench.lessons import sae_sound as lesson
from workbench.sae import SAEConfig, SparseAutoencoder
from workbench.sonify import SoundVectors

RATE, N = 16000, 30
T = np.arange(RATE // 2) / RATE
TRAIN, TEST = np.arange(20), np.arange(25, 30)


def tones(x: np.ndarray) -> np.ndarray:
    """Vectors (B, 1, 4) as sounds: number 0 is the level in 10 dB, number 1 weights a high tone over a low one."""
    low, high = np.sin(2 * np.pi * 220 * T), np.sin(2 * np.pi * 3000 * T)
    mixed = [low + 10 ** (row[1] / 2 - 2) * high for row in x[:, 0]]
    return np.stack([audio.at_level(m, 10 * row[0] - 45) for m, row in zip(mixed, x[:, 0], strict=True)])


@pytest.fixture(scope="module")
def vectors():
    x = np.abs(np.random.default_rng(0).normal(1, 0.5, (N, 1, 4))).astype(np.float32)
    return SoundVectors("planted", x, np.ones((N, 1), bool), RATE, tones)


@pytest.fixture(scope="module")
def sae():
    """One latent a dimension, which encodes exactly what it decodes."""
    eye = torch.eye(4)
    config = SAEConfig(dim=4, latents=4, k=4)
    return SparseAutoencoder(config, encoder=eye, decoder=eye, encoder_bias=torch.zeros(4), bias=torch.zeros(4))


@pytest.fixture(scope="module")
def real(vectors):
    return lesson.heard_in(vectors.decode(vectors.x), RATE)


@pytest.fixture(scope="module")
def turned(vectors, sae):
    named = [lesson.Named(0, "level", 0.9), lesson.Named(1, "brightness", 0.8), lesson.Named(2, "level", -0.4)]
    return lesson.Turned(vectors, sae, named, TRAIN, seed=0)


@pytest.fixture(scope="module")
def table(turned, real):
    return lesson.doses(turned, TEST, real.iloc[TRAIN], np.arange(N).astype(str))


def test_planted_latents_are_named_by_what_they_write(vectors, sae, real):
    known = real[["brightness", "level"]].iloc[TRAIN]
    named = lesson.most_telling(vectors.codes(sae)[TRAIN], known, count=2)
    assert {each[:2] for each in named} == {(0, "level"), (1, "brightness")}
    for each in named:
        of = vectors.codes(sae)[TRAIN, each.latent], real[each.attribute].to_numpy()[TRAIN]
        assert each.correlation == pytest.approx(spearmanr(*of).statistic, abs=1e-6)
    assert named[0].latent != named[1].latent and abs(named[0].correlation) >= abs(named[1].correlation)


def test_luck_reaches_what_shuffled_sounds_reach_and_planted_names_lie_above():
    rng = np.random.default_rng(1)
    codes, real = np.abs(rng.standard_normal((60, 12))), pd.DataFrame(rng.standard_normal((60, 3)), columns=list("abc"))
    luck = lesson.lucky(codes, real, seed=0, draws=60)
    largest = [
        np.abs(spearmanr(codes, real.to_numpy()[rng.permutation(60)]).statistic[:12, 12:]).max() for _ in range(60)
    ]
    assert luck == pytest.approx(np.quantile(largest, 0.95), abs=0.06)
    real["b"] = codes[:, 5] + 0.1 * rng.standard_normal(60)
    named = lesson.most_telling(codes, real, count=2)
    assert named[0][:2] == (5, "b") and named[0].correlation > luck
    assert lesson.name_sentences(named, luck)[0].startswith("1 of 2 names are stronger")
    assert "luck alone" in lesson.name_sentences(named, luck)[0]


def test_latents_that_are_hardly_ever_active_and_unknown_attributes_are_not_named():
    codes = np.zeros((20, 1))
    codes[: lesson.FEWEST - 1, 0] = np.arange(1, lesson.FEWEST)
    real = pd.DataFrame({"a": np.arange(20.0), "b": np.full(20, np.nan)})
    assert lesson.most_telling(codes, real, count=2) == []
    codes[lesson.FEWEST - 1] = 20
    assert [each[:2] for each in lesson.most_telling(codes, real, count=2)] == [(0, "a")]
    assert lesson.name_sentences([], 0.3) == [lesson.NOTHING]


def test_the_named_attribute_moves_with_the_latent_and_not_with_controls(table, turned):
    own = lesson.responses(table, turned.named)
    own = own[own["kind"] == lesson.OWN]["mean"].to_numpy()
    assert own[0] > 0.1 and own[1] > 0.05, "level and brightness are planted"
    assert abs(own[2]) < 0.02, "number 2 of the vector is not heard at all"
    planted = table[table["place"] < 2]
    for kind in (lesson.OTHER, lesson.RANDOM):
        difference, low, high = lesson.against(planted, turned.named[:2], kind)
        each = planted.pivot(index=["place", "sound"], columns="kind")
        brute = [
            each[name][lesson.OWN].loc[p] - each[name][kind].loc[p] for p, name in ((0, "level"), (1, "brightness"))
        ]
        assert difference == pytest.approx(np.mean(brute), abs=1e-9) and low <= difference <= high
    moved = lesson.moved(table, turned.named)
    assert moved.iloc[0].abs().idxmax() == "level"
    right, chance = lesson.specific(table, turned.named)
    assert right == sum(moved.iloc[p].abs().idxmax() == each.attribute for p, each in enumerate(turned.named))
    assert chance == pytest.approx(3 / 8)


def test_the_sentences_say_what_the_table_shows(table, turned):
    lines = lesson.dose_sentences(table, turned.named)
    assert any("along a random direction" in line for line in lines) and any("another latent" in line for line in lines)
    null = table.assign(**{name: np.tile([0.1, 0.2, 0.0], len(table))[: len(table)] for name in lesson.UNITS})
    null = null.assign(level=null["sound"] % 3 - 1.0, brightness=null["sound"] % 2 - 0.5)
    assert lesson.dose_sentences(null, turned.named)[0].startswith("A control may do as well")
    assert lesson.dose_sentences(table.iloc[:0], []) == [lesson.NOTHING]
    assert len(lesson.dose_figures(table, turned.named, title="planted")) == 2
    assert lesson.dose_figures(table.iloc[:0], [], title="none") == []


def test_sounds_prepared_together_are_those_made_one_by_one(vectors, sae, turned):
    again = lesson.Turned(vectors, sae, turned.named, TRAIN, seed=0)
    keys = [(0, 25, lesson.OWN, 2.0), (1, 26, lesson.RANDOM, 4.0), (0, 25, lesson.OWN, 2.0)]
    again.prepare(keys)
    for key in keys:
        expected = vectors.decode(turned.changed(*key)[None])[0]
        assert np.allclose(again.sound(*key), expected, atol=1e-6)
    table = lesson.heard_in([again.sound(*key) for key in keys], RATE)
    pd.testing.assert_frame_equal(again.heard(keys), table, check_dtype=False)


def test_the_main_result_is_the_difference_from_a_random_direction(table, turned):
    ((text, value, low, high, control),) = lesson.dose_rows(table, turned.named)
    assert [value, low, high] == pytest.approx([100 * v for v in lesson.against(table, turned.named, lesson.RANDOM)])
    assert low < value < high and "random direction" in text
    assert control.endswith(f"{100 * lesson.against(table, turned.named, lesson.OTHER)[0]:+.1f}")
    assert lesson.dose_rows(table.iloc[:0], []) == []


def test_results_hold_what_was_compared(table, turned, real):
    kept = pd.DataFrame({"planted": [0.9, 0.8, np.nan]})
    found = lesson.sound_results(table, turned.named, kept, "planted")
    assert found["carried"] == pytest.approx(0.85) and len(found["slopes"]) == 9
    assert found["against"][lesson.RANDOM]["difference"] == lesson.against(table, turned.named, lesson.RANDOM)[0]
    assert "slopes" not in lesson.sound_results(table.iloc[:0], [], kept, "planted")


def test_a_turned_vector_has_the_amount_and_controls_go_as_far(turned, vectors):
    typical = np.median(vectors.x[TRAIN, 0, 1])
    assert turned.typical[1] == pytest.approx(typical)
    changed = turned.changed(1, 26, lesson.OWN, 2.0)
    assert changed[0, 1] == pytest.approx(2 * typical, rel=1e-5)
    np.testing.assert_allclose(np.delete(changed[0], 1), np.delete(vectors.x[26, 0], 1), atol=1e-6)
    for kind in (lesson.OTHER, lesson.RANDOM):
        control = turned.changed(1, 26, kind, 2.0)
        assert np.linalg.norm(control - vectors.x[26]) == pytest.approx(
            np.linalg.norm(changed - vectors.x[26]), rel=1e-4
        )
        np.testing.assert_array_equal(control, turned.changed(1, 26, kind, 2.0))
        assert not np.allclose(control, changed)


def test_the_page_plays_what_was_turned_and_softens_what_is_far_louder(turned, vectors):
    page = lesson.turned_page(turned, TEST, ["bell"] * 5, vectors.decode(vectors.x), carry=1)
    plain = audio.level(turned.unchanged(25))
    made = turned.sound(0, 25, lesson.OWN, 4.0)
    part = page._answer({"at": [0, 0, 0, 3]})["part"]
    softer = audio.level(made) - plain - lesson.LOUDER
    assert softer > 1 and f"played {softer:.0f} dB softer" in part["detail"]
    assert page._answer({"at": [1, 0, 0, 0]})["part"]["detail"].startswith("brightness: ")
    assert "softer" not in page._answer({"at": [2, 0, 0, 3]})["part"]["detail"]
    assert page.left_out == 3 * 5 * 3 * 4 - len(page.carried) and len(page.carried) == 36
    nothing = lesson.Turned(vectors, turned.sae, [], TRAIN, seed=0)
    assert lesson.turned_page(nothing, TEST, ["bell"] * 5, vectors.x[:, 0]) == lesson.NOTHING
    assert lesson.doses(nothing, TEST, pd.DataFrame(), np.arange(N)).empty


def test_percentiles_and_slopes_by_hand():
    real = pd.DataFrame({"a": [4.0, 0.0, 2.0, np.nan], "b": [np.nan] * 4})
    got = lesson.percentiles(pd.DataFrame({"a": [-1.0, 0, 1, 3, 9, np.nan], "b": [1.0] * 6}), real)
    np.testing.assert_allclose(got["a"], [0, 0, 0.25, 0.75, 1, np.nan])
    assert got["b"].isna().all()
    amounts, values = np.array([0.0, 1, 2, 4]), np.array([1.0, 4, 2, 9])
    assert lesson.slope(amounts, values) == pytest.approx(np.polyfit(amounts, values, 1)[0])
    values[1] = np.nan
    assert lesson.slope(amounts, values) == pytest.approx(np.polyfit(amounts[[0, 2, 3]], values[[0, 2, 3]], 1)[0])
    assert np.isnan(lesson.slope([0.0, 1], [np.nan, 2.0]))
    with pytest.raises(ParameterError, match="values"):
        lesson.slope([0.0, 1], [1.0])


def test_what_goes_through_unchanged_is_carried_and_noise_is_not(vectors, real):
    rng = np.random.default_rng(0)
    noise = SoundVectors(
        "noise", vectors.x, vectors.sounding, RATE, lambda x: 0.1 * rng.standard_normal((len(x), 8000))
    )
    kept = lesson.carried({"planted": vectors, "noise": noise}, real, np.arange(12))
    assert kept["planted"][["level", "brightness"]].min() > 0.999
    assert lesson.best_carrier(kept) == "planted"
    lines = lesson.carrier_sentences(kept, "noise", sounds=12)
    assert "poorly" in lines[0] and "Not carried" in lines[-1]
    assert lesson.carrier_sentences(kept, "planted", sounds=12)[0].startswith("Attributes of 12 sounds")


def test_the_level_beyond_full_scale_is_put_back():
    x = 0.5 * np.sin(2 * np.pi * 440 * T)
    both = lesson.heard_in([x, 8 * x], RATE)
    assert both["level"][1] - both["level"][0] == pytest.approx(20 * np.log10(8), abs=0.01)
    assert both["brightness"][1] == pytest.approx(both["brightness"][0], rel=1e-3)


def test_windows_have_one_length():
    clips = Clips.from_arrays([np.zeros(100, np.float32)] * 4, 1000)
    assert lesson.windows(clips, [0, 3]).shape == (2, 24000)


def test_sounds_come_from_as_many_groups_as_can_be():
    groups = np.array(list("aaaabbc"))
    assert lesson.spread(np.array([0, 1, 2, 4, 5, 6]), groups, 4).tolist() == [0, 4, 6, 1]


def test_a_sparse_code_is_fitted_on_sounding_vectors_of_training_sounds():
    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(1, 1, (20, 8, 6))).astype(np.float32)
    sounding = np.ones((20, 8), bool)
    sounding[:, 4:] = False
    x[:, 4:] = np.nan  # were it read, the fit would refuse it
    vectors = SoundVectors("frames", x, sounding, RATE, tones)
    split = Split(np.arange(12), np.arange(12, 16), np.arange(16, 20))
    options = {"latents": 16, "k": 4, "seed": 0, "epochs": 3, "device": "cpu"}
    sae, lost = lesson.sparse_code(vectors, split, **options)
    rows = x[12:16, :4].reshape(-1, 6)
    errors = ((sae.decode(sae.encode(rows)) - rows) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum()
    assert lost == pytest.approx(errors, rel=0.2) and lost < 1


def test_zeros_after_the_end_change_the_level_by_a_constant_and_nothing_else():
    """Clips shorter than the window end in zeros; what is measured must be of the sound."""
    vibrato = 220 * T + 0.8 * np.sin(2 * np.pi * 6 * T)
    x = 0.3 * sum(np.sin(2 * np.pi * k * vibrato) / k for k in range(1, 12))
    both = lesson.heard_in([x, np.pad(x, (0, len(x)))], RATE)
    assert both["level"][0] - both["level"][1] == pytest.approx(10 * np.log10(2), abs=0.01)
    rest = both.drop(columns="level")
    np.testing.assert_allclose(rest.iloc[1], rest.iloc[0], rtol=0.1)
