"""Synthesise the recipes of the generated set `utterances`: syllables, their timing and their pitch contour.

The voice is that of `voices`: the same twenty speakers, the same source and tract (`voice_synthesis`), and syllables as
in its technique *spoken*. In addition, consonants and vowels vary from syllable to syllable, and pitch is controlled:
the contour, a declination with accents (Pierrehumbert, J. Acoust. Soc. Am. 66 (1979) 363-369), is drawn as a shape and
then scaled, so that its median and its standard deviation over the voiced time are exactly those of the recipe.

Each part of the sound has its own random stream. Changing one field of a recipe therefore changes only what depends on
that field; syllables, relative timing, shape of the contour, consonant and background noise stay as they were.
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

#: Spelling of a consonant -> (manner, place), with the numbers of manners as in `voice_gestures`.
NASAL, STOP, FRICATIVE = 1, 2, 3
CONSONANTS = {
    **{"m": (NASAL, 0), "n": (NASAL, 1), "ng": (NASAL, 2)},
    **{"p": (STOP, 0), "t": (STOP, 1), "k": (STOP, 2)},
    **{"f": (FRICATIVE, 0), "s": (FRICATIVE, 1), "sh": (FRICATIVE, 2)},
}
#: Seconds of background before the first syllable and after the last.
BEFORE, AFTER = 0.12, 0.18
#: Longest sound in seconds, the length of the frame grid of `voice_gestures`.
LONGEST = FRAMES / FRAME_RATE
#: A frame is voiced if the amplitude of its glottal pulses (at most 1) exceeds this.
VOICED = 0.1
#: Level of the voice above the background noise, dB.
SNR = 45.0

_SHAPES = 13  # tract shapes of a vowel: its own, then for each place four between the consonant and the vowel
_STEP = 0.018  # seconds for which each of these four is held
_MURMUR = ((270.0, 1000.0), (270.0, 1450.0), (270.0, 1900.0))  # F1 and F2 of [m], [n], [ng] in an average man


@lru_cache
def usual_pitch(speaker: str) -> float:
    """Return the usual pitch of a speaker in Hz, relative to which `pitch_relative` is measured."""
    person = SINGERS[speaker]
    note = 56.0 + 0.5 * (person.low - 57) if person.gender == "female" else 47.0 + 0.5 * (person.low - 44)
    return round(440.0 * float(exp2((note - 69.0) / 12.0)), 3)


def parse(content: str) -> list[tuple[int, int, int]]:
    """Return manner, place and vowel (as numbers) of each syllable of a string such as "ta mi shu".

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
    """Return the length of a recipe's sound in seconds, rounded to a whole number of samples."""
    return round((BEFORE + len(recipe.content.split()) / recipe.rate + AFTER) * RATE) / RATE


def f0_curve(recipe) -> np.ndarray:
    """Return the true fundamental frequency of a recipe over time.

    Returns
    -------
    numpy.ndarray of float64, shape (milliseconds,)
        F0 in Hz, one value for each millisecond; NaN in unvoiced frames. Its median is the recipe's `pitch_median`, and
        the standard deviation of ``12 * log2(f0)`` is the recipe's `pitch_spread`.
    """
    made = _gesture(recipe)
    f0 = np.where(made.voice > VOICED, recipe.pitch_median * exp2(made.cents / 1200.0), np.nan)
    return f0[: int(duration(recipe) * FRAME_RATE)]


def render(recipe) -> np.ndarray:
    """Return the sound of one recipe.

    Parameters
    ----------
    recipe : UtteranceRecipe

    Returns
    -------
    numpy.ndarray of float32, shape (samples,)
        `duration` seconds at 24 kHz. They are not rounded to 16 bit, so that two recipes that differ only in loudness
        differ by a constant factor within float32 precision.

    Raises
    ------
    ParameterError
        If at the recipe's loudness the peak of the clip would exceed full scale.
    """
    check_recipe(recipe)
    made, voice = _gesture(recipe), _voice(recipe.speaker)
    samples = round(duration(recipe) * RATE)
    phase = np.cumsum(recipe.pitch_median * exp2(made.cents / 1200.0)) / FRAME_RATE
    # An open glottis or closed lips damp the tract in closures; the gate does so here.
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
    """Return a speaker's voice as a recipe for `voice_synthesis`, independent of an utterance's pitch and level."""
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
    """Return formants (68, 5) and closure (68,) of all shapes of a speaker's tract: 13 a vowel, then three murmurs."""
    voice, tract = _voice(speaker), SINGERS[speaker].tract
    shapes = [_consonant_shapes(replace(voice, vowel=vowel)) for vowel in VOWELS]
    size = tract * (1.0 if SINGERS[speaker].gender == "male" else 1.15)
    murmurs = [[f1 * size, f2 * size, 2500.0 * size, 3500.0 * size, 4500.0 * size] for f1, f2 in _MURMUR]
    return np.concatenate([*shapes, murmurs]), np.repeat([0.0, 1.0], [_SHAPES * len(VOWELS), len(_MURMUR)])


# Time ------------------------------------------------------------------------------------------------------------


def _gesture(recipe) -> Gesture:
    """Return the control curves of a recipe on the frame grid of `voice_gestures`, silent after the last syllable."""
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
        after = start <= _TIME  # frames after the last syllable keep its shape
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
    """Return voicing and consonant noise, (FRAMES,), of a syllable: consonant from `start` to `gap`, vowel to `end`."""
    loud, strength = rng.between(0.55, 1.0), rng.between(0.25, 0.6)
    voice = loud * _envelope(gap - 0.01, end + 0.05, 0.04, min(0.12, 0.6 * (end - gap)))
    if manner == NASAL:  # the voice continues, muffled
        return np.maximum(voice, 0.3 * loud * _envelope(start - 0.01, gap + 0.03, 0.02, 0.03)), np.zeros(FRAMES)
    if manner == STOP:  # silence, then a burst
        return voice, 0.5 * _envelope(gap - 0.016, gap + 0.012, 0.004, 0.015)
    return voice, strength * _envelope(start, gap + 0.01, 0.03, 0.02)


def _breath(voice):
    """Return the aspiration, (FRAMES,): it follows the voice, and is stronger where the voice starts or stops."""
    total = np.cumsum(np.pad(voice, (31, 30)))
    around = (total[61:] - total[:-61]) / 61.0
    return voice + 4.0 * np.maximum(around - voice, 0.0)


def _states(manner, place, vowel, gap, end, following):
    """Return the tract shape of every frame, (FRAMES,): from the consonant, the vowel, towards the next consonant."""
    first = _SHAPES * vowel
    step = np.maximum(np.floor((_TIME - gap + 0.02) / _STEP), 0.0).astype(np.int64)
    state = np.where(step < 4, first + 1 + 4 * place + step, first)
    if following is not None:  # only the last two shapes, as the consonant's own follow at its onset
        left = np.floor((end - _TIME) / _STEP).astype(np.int64)
        state = np.where((step >= 4) & (left < 2), first + 1 + 4 * following[1] + 2 + np.maximum(left, 0), state)
    if manner == NASAL:
        state = np.where(gap - 0.02 > _TIME, _SHAPES * len(VOWELS) + place, state)
    return state


def _melody(count: int, rng: Draws):
    """Return the height of the contour at each syllable in arbitrary units: a declination and non-adjacent accents."""
    strong = rng.random(count) < 0.45
    strong[1:] &= ~strong[:-1]
    height = rng.between(-0.4, 0.4, count) + strong * rng.between(0.4, 1.4, count)
    return height - 2.0 * (np.arange(count) / max(count - 1, 1))


def _along(melody, bounds):
    """Join the heights by smooth steps, (FRAMES,); each is reached at three fifths of its syllable, in the vowel."""
    i = np.clip(np.searchsorted(bounds, _TIME, side="right") - 1, 0, len(melody) - 1)
    position = i + (_TIME - bounds[i]) / (bounds[i + 1] - bounds[i]) - 0.6
    position = np.clip(position, 0.0, len(melody) - 1.0)
    low = np.minimum(np.floor(position).astype(np.int64), max(len(melody) - 2, 0))
    high = np.minimum(low + 1, len(melody) - 1)
    return melody[low] + (melody[high] - melody[low]) * _ramp(position - low)


def _scaled(contour, voice, spread: float):
    """Return cents around the median, (FRAMES,), scaled to a standard deviation of `spread` semitones when voiced."""
    inside = contour[voice > VOICED]
    away = inside - ordered_sum(inside) / len(inside)
    return (contour - np.median(inside)) * (100.0 * spread / rms(away))
