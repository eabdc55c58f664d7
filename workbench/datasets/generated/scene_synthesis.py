"""Synthesise the recipes of the generated sets `scenes` and `scenes_multi`: backgrounds, stems and their sum.

A scene is the exact sum of its stems, one for each class and one for the background; there is no room and no limiter.
Each event and the background have their own random streams, so that removing an event, moving it or changing its level
leaves the rest of the scene as it was, bit for bit.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import ParameterError
from .portable_math import Draws, drift, from_decibels, rms, sine, upsample
from .recipes import check_recipe
from .scene_events import RATE, bins, ramp, shaped_noise, sound
from .scene_makers import SITES

SECONDS = 5.0
SAMPLES = int(RATE * SECONDS)
BACKGROUNDS = ("rain", "room", "street", "wind")

_HOP = 441  # samples between two values of a background's level, which has 100 values a second
_STEPS = SAMPLES // _HOP


def stems(recipe) -> dict[str, np.ndarray]:
    """Return the stems whose sum is a scene.

    Parameters
    ----------
    recipe : SceneRecipe

    Returns
    -------
    dict of str to numpy.ndarray of float32, shape (220500,)
        "background", then the stem of each class in the order of its first event. Added in this order, the stems equal
        ``render(recipe)`` bit for bit. Events of one class share a stem, which is exactly zero outside of them.
    """
    check_recipe(recipe)
    parts = {"background": _background(recipe).astype(np.float32)}
    for event in recipe.events:
        x = _event(event)
        start = round(event.onset * RATE)
        stem = parts.setdefault(event.label, np.zeros(SAMPLES, np.float32))
        stem[start : start + len(x)] += x[: SAMPLES - start]
    return parts


def render(recipe) -> np.ndarray:
    """Return the sound of one scene.

    Parameters
    ----------
    recipe : SceneRecipe

    Returns
    -------
    numpy.ndarray of float32, shape (220500,)
        Five seconds at 44.1 kHz, the sum of `stems`.

    Raises
    ------
    ParameterError
        If at the recipe's levels the peak of the scene would exceed full scale.
    """
    check_recipe(recipe)
    x = np.zeros(SAMPLES, np.float32)
    for stem in stems(recipe).values():
        x += stem
    peak = float(np.abs(x).max())
    if peak > 1.0:
        levels = [event.level for event in recipe.events]
        less = 20.0 * float(np.log10(peak))
        raise ParameterError("level", levels, f"{less:.1f} dB lower, background too, for this scene (it would clip)")
    return x


def _event(event) -> np.ndarray:
    x = sound(
        event.label,
        event.site,
        event.seconds,
        pitch=event.pitch,
        rate=event.rate,
        random_seed=event.random_seed,
    )
    return (x * float(from_decibels(event.level))).astype(np.float32)


def _background(recipe) -> np.ndarray:
    """Return the background noise at the recipe's RMS level over the whole scene, faded at both ends."""
    rng = Draws((recipe.random_seed, 1000))
    site = Draws((733, BACKGROUNDS.index(recipe.background), SITES.index(recipe.site)))
    colour = [site.random() for _ in range(4)]
    x = _NOISES[recipe.background](colour, rng)
    edge = ramp(np.arange(1, 442) / 442.0)  # 10 ms
    x[:441] *= edge
    x[-441:] *= edge[::-1]
    return x * (float(from_decibels(recipe.background_level)) / rms(x))


def _swell(rng, seconds: float, depth: float):
    """Return a slow random gain within +-`depth` dB, with one knot every so many seconds, shape (samples,)."""
    return upsample(from_decibels(depth * drift(rng, _STEPS, seconds * 100.0)), _HOP)


def _rain(colour, rng):
    """Hiss, brightest between 3 and 8 kHz."""
    f = bins()
    centre = 3500.0 + 3500.0 * colour[0]
    distance = (f - centre) / (0.7 * centre)
    spectrum = 0.15 + 1.0 / (1.0 + distance * distance)
    spectrum *= f / (f + 250.0) / (1.0 + f / (6000.0 + 8000.0 * colour[1]))
    return shaped_noise(spectrum, SAMPLES, rng) * _swell(rng, 0.6, 1.5)


def _room(colour, rng):
    """Soft pink noise and the hum of the mains."""
    f = bins()
    spectrum = 1.0 / np.sqrt(f + 60.0) / (1.0 + f / (3000.0 + 5000.0 * colour[0]))
    x = shaped_noise(spectrum, SAMPLES, rng)
    mains = 50.0 if colour[1] < 0.5 else 60.0
    cycle = np.arange(RATE // 10) / RATE  # a whole number of periods of 50 and of 60 Hz
    hum = np.zeros_like(cycle)
    for k in range(1, 7):
        hum += sine(k * mains * cycle + rng.random()) * (0.3 + 0.7 * rng.random()) / k
    hum *= (0.3 + 0.9 * colour[2]) * rms(x) / rms(hum)
    return x + np.tile(hum, SAMPLES // len(hum))


def _street(colour, rng):
    """Rumble and tyre noise of distant traffic that comes and goes."""
    f = bins()
    centre = 700.0 + 500.0 * colour[0]
    distance = (f - centre) / (0.6 * centre)
    spectrum = 6.0 / (1.0 + (f / 110.0) * (f / 110.0)) + (0.25 + 0.35 * colour[1]) / (1.0 + distance * distance)
    return shaped_noise(spectrum * f / (f + 40.0), SAMPLES, rng) * _swell(rng, 1.5, 5.0)


def _wind(colour, rng):
    """Low noise in gusts, whose resonance rises with their strength."""
    f, blocks = bins(), SAMPLES // 1024 + 2
    gust = drift(rng, blocks, (0.5 + 0.7 * colour[0]) * RATE / 1024.0)
    centre = (420.0 + 260.0 * colour[1]) * (1.0 + 0.5 * gust)
    distance = (f - centre) / 140.0
    spectrum = 2.0 / (1.0 + (f / 160.0) * (f / 160.0)) + (0.25 + 0.2 * gust) / (1.0 + distance * distance)
    return shaped_noise(spectrum * from_decibels(5.0 * gust) * (f / (f + 40.0)), SAMPLES, rng)


_NOISES = {"rain": _rain, "room": _room, "street": _street, "wind": _wind}
