"""From a recipe of the generated set `utterances` to sound: syllables, their timing, their pitch contour.

The voice is that of `voices`: the same twenty people, the same source and tract (`voice_synthesis`), the same syllables
as its technique *spoken*. What is new here is the string of different consonants and vowels and the control of pitch:
the contour, a declination with accents (Pierrehumbert, J. Acoust. Soc. Am. 66 (1979) 363-369), is drawn as a shape and
then scaled, so that its median and its standard deviation over the voiced time are exactly those of the recipe.

Each part of the sound draws from a stream of its own. A recipe with one field changed therefore keeps all that does
not follow from that field: syllables, relative timing, shape of the contour, consonant and background noise.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ...core.errors import ParameterError
from .portable_math import Draws, exp2, from_decibels, ordered_sum, rms, upsample
from .recipes import check_recipe
from .voice_gestures import (
    _TIME,
    FRAME_RATE,
    FRAMES,
    Gesture,
    _consonant_shapes,
    _envelope,
    _ramp,
)
from .voice_synthesis import RATE, _aspiration, _background, _hiss, _pulses
from .voice_tract import SINGERS, VOWELS
from .voices import VoiceRecipe

#: Consonants by their spelling: (manner, place), the manners as `voice_gestures` numbers them.
NASAL, STOP, FRICATIVE = 1, 2, 3
CONSONANTS = {
    **{"m": (NASAL, 0), "n": (NASAL, 1), "ng": (NASAL, 2)},
    **{"p": (STOP, 0), "t": (STOP, 1), "k": (STOP, 2)},
    **{"f": (FRICATIVE, 0), "s": (FRICATIVE, 1), "sh": (FRICATIVE, 2)},
}
#: Seconds of background before the first syllable and after the last.
BEFORE, AFTER = 0.12, 0.18
#: Longest sound in seconds; the frame grid of `voice_gestures` ends there.
LONGEST = FRAMES / FRAME_RATE
#: Amplitude of the glottal pulses from which a frame counts as voiced; the strongest have 1.
VOICED = 0.1
#: Background noise below the voice, dB.
SNR = 45.0

_SHAPES = 13  # tract shapes of a vowel: itself, then for each place four on the way from the consonant
_STEP = 0.018  # seconds that one of them lasts
_MURMUR = ((270.0, 1000.0), (270.0, 1450.0), (270.0, 1900.0))  # F1 and F2 of [m], [n], [ng] in an average man


@lru_cache
def usual_pitch(speaker: str) -> float:
    """Pitch at which a speaker speaks when nothing raises or lowers it, Hz: the 0 of `pitch_relative`."""
    person = SINGERS[speaker]
    note = 56.0 + 0.5 * (person.low - 57) if person.gender == "female" else 47.0 + 0.5 * (person.low - 44)
    return round(440.0 * float(exp2((note - 69.0) / 12.0)), 3)


def parse(content: str) -> list[tuple[int, int, int]]:
    """Manner, place and vowel (as numbers) of each syllable of a string such as "ta mi shu".

    Raises
    ------
    ParameterError
        If a syllable is not one of the nine consonants followed by one of the five vowels.
    """
    syllables = []
    for syllable in content.split():
        consonant, vowel = syllable[:-1], syllable[-1]
        if consonant not in CONSONANTS or vowel not in VOWELS:
            expected = f"syllables of one of {', '.join(CONSONANTS)} and one of {', '.join(VOWELS)}"
            raise ParameterError("content", syllable, expected)
        syllables.append((*CONSONANTS[consonant], VOWELS.index(vowel)))
    return syllables


def duration(recipe) -> float:
    """Length of a recipe's sound in seconds, a whole number of samples."""
    return round((BEFORE + len(recipe.content.split()) / recipe.rate + AFTER) * RATE) / RATE


def f0_curve(recipe) -> np.ndarray:
    """The true fundamental frequency of a recipe.

    Returns
    -------
    numpy.ndarray of float64, shape (milliseconds,)
        Hz, a value a millisecond; NaN where no voice sounds. Its median is the recipe's `pitch_median`, the standard
        deviation of ``12 * log2`` of it the recipe's `pitch_spread`.
    """
    made = _gesture(recipe)
    f0 = np.where(made.voice > VOICED, recipe.pitch_median * exp2(made.cents / 1200.0), np.nan)
    return f0[: int(duration(recipe) * FRAME_RATE)]


def render(recipe) -> np.ndarray:
    """Speak one recipe.

    Parameters
    ----------
    recipe : UtteranceRecipe

    Returns
    -------
    numpy.ndarray of float32, shape (samples,)
        `duration` seconds at 24 kHz. Not rounded to 16 bit, so that two recipes that differ in loudness alone differ
        by a constant factor, down to the last digit of float32.

    Raises
    ------
    ParameterError
        If the loudness asked for would drive the peak of this clip beyond full scale.
    """
    check_recipe(recipe)
    made, voice = _gesture(recipe), _voice(recipe.speaker)
    samples = round(duration(recipe) * RATE)
    phase = np.cumsum(recipe.pitch_median * exp2(made.cents / 1200.0)) / FRAME_RATE
    # Without a gate the tract would ring on through closures: an open glottis or closed lips damp it.
    gate = upsample(_ramp(made.voice / VOICED), RATE // FRAME_RATE)
    voiced = (_pulses(voice, made, phase, _stream(recipe, 1)) * gate)[:samples]
    breath = _aspiration(voice, made, phase, _stream(recipe, 2))[:samples]
    level = rms(voiced)
    x = voiced + breath * (level * float(from_decibels(-voice.hnr)) / rms(breath))
    x = x + _hiss(made, _stream(recipe, 3))[:samples] * (1.4 * level)
    background = _background(_stream(recipe, 4))[:samples]
    x = x + background * (rms(x) * float(from_decibels(-SNR)) / rms(background))
    return _level(x - ordered_sum(x) / len(x), recipe.loudness)


def _level(x, loudness: float) -> np.ndarray:
    fade = _ramp(np.arange(1, 241) / 241.0)
    x[:240] *= fade
    x[-240:] *= fade[::-1]
    x = x * (1.0 / rms(x))
    gain, peak = float(from_decibels(loudness)), float(np.abs(x).max())
    if gain * peak > 1.0:
        most = -20.0 * float(np.log10(peak))
        raise ParameterError("loudness", loudness, f"at most {most:.1f} dBFS for this clip (it would clip)")
    return (x * gain).astype(np.float32)


def _stream(recipe, number: int) -> Draws:
    return Draws((recipe.random_seed, number))


@lru_cache
def _voice(speaker: str) -> VoiceRecipe:
    """The speaker's habits as `voice_synthesis` wants them, the same whatever an utterance's pitch and level."""
    person = SINGERS[speaker]
    none = float("nan")
    return VoiceRecipe(
        technique="spoken",
        vowel="a",
        singer=speaker,
        context="phrase",
        f0=usual_pitch(speaker),
        loudness=-20.0,
        vibrato_rate=none,
        vibrato_extent=none,
        modulation_rate=5.0,
        modulation_depth=none,
        trill_interval=none,
        hnr=20.0 + person.hnr,
        tilt=9.0 + person.tilt,
        open_quotient=0.58,
        jitter=person.jitter,
        shimmer=person.shimmer,
        openness=0.0,
        frontness=0.0,
        microphone=0.0,
        direct_to_reverberant=120.0,
        decay_time=0.3,
        snr=SNR,
        random_seed=0,
    )


@lru_cache
def _all_shapes(speaker: str) -> tuple[np.ndarray, np.ndarray]:
    """Formants (68, 5) and closure (68,) of all the shapes of a speaker's tract: 13 a vowel, then three murmurs."""
    voice, tract = _voice(speaker), SINGERS[speaker].tract
    shapes = [_consonant_shapes(replace(voice, vowel=vowel)) for vowel in VOWELS]
    size = tract * (1.0 if SINGERS[speaker].gender == "male" else 1.15)
    murmurs = [[f1 * size, f2 * size, 2500.0 * size, 3500.0 * size, 4500.0 * size] for f1, f2 in _MURMUR]
    return np.concatenate([*shapes, murmurs]), np.repeat([0.0, 1.0], [_SHAPES * len(VOWELS), len(_MURMUR)])


# Time ------------------------------------------------------------------------------------------------------------


def _gesture(recipe) -> Gesture:
    """Control curves of a recipe on the frame grid of `voice_gestures`, silent after the last syllable."""
    rng, syllables = _stream(recipe, 0), parse(recipe.content)
    count = len(syllables)
    weight = rng.between(0.75, 1.3, count)
    weight[-1] *= 1.3  # final lengthening
    bounds = BEFORE + np.cumsum(np.append(0.0, weight)) * (count / (recipe.rate * ordered_sum(weight)))
    share = rng.between(0.3, 0.42, count)
    melody = _melody(count, rng)
    voice, hiss = np.zeros((2, FRAMES))
    colour, state = np.zeros((2, FRAMES), dtype=np.int64)
    for i, (manner, place, vowel) in enumerate(syllables):
        start, end = float(bounds[i]), float(bounds[i + 1])
        gap = start + float(share[i]) * (end - start)
        following = syllables[i + 1] if i + 1 < count else None
        sounding, hissing = _syllable(rng, manner, start, gap, end)
        voice, hiss = np.maximum(voice, sounding), np.maximum(hiss, hissing)
        after = start <= _TIME  # what follows the last syllable keeps its shape
        colour[after] = place
        state[after] = _states(manner, place, vowel, gap, end, following)[after]
    used, state = np.unique(state, return_inverse=True)
    shapes, closed = (part[used] for part in _all_shapes(recipe.speaker))
    return Gesture(
        cents=_scaled(_along(melody, bounds), voice, recipe.pitch_spread),
        voice=voice,
        breath=_breath(voice),
        shapes=shapes,
        pitches=np.full(len(used), usual_pitch(recipe.speaker)),
        state=state,
        closed=closed,
        hiss=hiss,
        hiss_colour=colour,
    )


def _syllable(rng, manner, start, gap, end):
    """Voicing and consonant noise of one syllable: consonant from `start` to `gap`, vowel to `end`, each (FRAMES,)."""
    loud, strength = rng.between(0.55, 1.0), rng.between(0.25, 0.6)
    voice = loud * _envelope(gap - 0.01, end + 0.05, 0.04, min(0.12, 0.6 * (end - gap)))
    if manner == NASAL:  # the voice goes on, muffled
        return np.maximum(voice, 0.3 * loud * _envelope(start - 0.01, gap + 0.03, 0.02, 0.03)), np.zeros(FRAMES)
    if manner == STOP:  # silence, then a burst
        return voice, 0.5 * _envelope(gap - 0.016, gap + 0.012, 0.004, 0.015)
    return voice, strength * _envelope(start, gap + 0.01, 0.03, 0.02)


def _breath(voice):
    """Aspiration: with the voice, and more of it where the voice stops or starts and the glottis is open, (FRAMES,)."""
    total = np.cumsum(np.pad(voice, (31, 30)))
    around = (total[61:] - total[:-61]) / 61.0
    return voice + 4.0 * np.maximum(around - voice, 0.0)


def _states(manner, place, vowel, gap, end, following):
    """Tract shape in every frame: out of the consonant, the vowel, and towards the next consonant, (FRAMES,)."""
    first = _SHAPES * vowel
    step = np.maximum(np.floor((_TIME - gap + 0.02) / _STEP), 0.0).astype(np.int64)
    state = np.where(step < 4, first + 1 + 4 * place + step, first)
    if following is not None:  # a shorter way, not all of it: the consonant's own shapes take over at its onset
        left = np.floor((end - _TIME) / _STEP).astype(np.int64)
        state = np.where((step >= 4) & (left < 2), first + 1 + 4 * following[1] + 2 + np.maximum(left, 0), state)
    if manner == NASAL:
        state = np.where(gap - 0.02 > _TIME, _SHAPES * len(VOWELS) + place, state)
    return state


def _melody(count: int, rng: Draws):
    """Height of the contour at each syllable, arbitrary units: declination, and accents that are never neighbours."""
    strong = rng.random(count) < 0.45
    strong[1:] &= ~strong[:-1]
    height = rng.between(-0.4, 0.4, count) + strong * rng.between(0.4, 1.4, count)
    return height - 2.0 * (np.arange(count) / max(count - 1, 1))


def _along(melody, bounds):
    """Join the heights by smooth steps; each is reached at three fifths of its syllable, in the vowel, (FRAMES,)."""
    i = np.clip(np.searchsorted(bounds, _TIME, side="right") - 1, 0, len(melody) - 1)
    position = i + (_TIME - bounds[i]) / (bounds[i + 1] - bounds[i]) - 0.6
    position = np.clip(position, 0.0, len(melody) - 1.0)
    low = np.minimum(np.floor(position).astype(np.int64), max(len(melody) - 2, 0))
    high = np.minimum(low + 1, len(melody) - 1)
    return melody[low] + (melody[high] - melody[low]) * _ramp(position - low)


def _scaled(contour, voice, spread: float):
    """Cents around the median with a standard deviation of `spread` semitones over the voiced frames, (FRAMES,)."""
    inside = contour[voice > VOICED]
    away = inside - ordered_sum(inside) / len(inside)
    return (contour - np.median(inside)) * (100.0 * spread / rms(away))
