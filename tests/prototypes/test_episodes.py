"""Few-shot episodes: closed cases, chance, and errors."""

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.prototypes.episodes import few_shot

Y = np.repeat(list("abcdef"), 20)


def test_directions_of_their_own_are_told_apart_at_once():
    z = np.repeat(np.eye(6, 8), 20, axis=0) * np.random.default_rng(0).uniform(1, 9, (120, 1))
    assert few_shot(z, Y, ways=5, shots=1, seed=0) == {"accuracy": 1.0, "low": 1.0, "high": 1.0, "chance": 0.2}


def test_noise_is_at_chance_and_more_shots_help_what_is_not():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((120, 30))
    found = few_shot(noise, Y, ways=4, shots=5, episodes=1000, seed=0)
    assert found["accuracy"] == pytest.approx(0.25, abs=0.05) and found["low"] < found["accuracy"] < found["high"]
    z = noise + 1.2 * np.repeat(np.eye(6, 30), 20, axis=0) * 3
    one, five = (few_shot(z, Y, ways=6, shots=shots, seed=0)["accuracy"] for shots in (1, 5))
    assert 0.3 < one < five - 0.1


def test_same_seed_same_episodes():
    z = np.random.default_rng(2).standard_normal((120, 4))
    assert few_shot(z, Y, seed=3) == few_shot(z, Y, seed=3) != few_shot(z, Y, seed=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 7}, "ways=7 must be at most 6"),
        ({"shots": 20}, "shots=20 must be fewer than the 20 clips of class a"),
        ({"episodes": 1}, "episodes=1"),
    ],
)
def test_what_cannot_be_drawn_is_named(options, message):
    with pytest.raises(ParameterError, match=message):
        few_shot(np.ones((120, 3)), Y, **options)
