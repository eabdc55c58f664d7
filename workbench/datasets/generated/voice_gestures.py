"""Control curves of the ten singing techniques of the generated set `voices`.

Each technique turns a recipe into a `Gesture`: pitch, voicing, breath and the sequence of vocal-tract shapes at a
thousand frames a second. `voice_synthesis` turns the gesture into sound. The techniques are those of VocalSet (Wilkins
et al., ISMIR 2018); their rates are in the ranges reported for people, such as a vibrato around 6 Hz (Prame, J. Acoust.
Soc. Am. 96 (1994) 1979-1984) and a vocal fry around 50 Hz (Blomgren et al., J. Acoust. Soc. Am. 103 (1998) 2649-2658).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .portable_math import Draws, drift, exp2, sine
from .voice_tract import SINGERS

FRAME_RATE = 1000
SECONDS = 5.0
FRAMES = int(FRAME_RATE * SECONDS)

# Degrees of a melody in semitones from its median note, which is the recipe's f0 (the third of the key).
MELODIES = {
    "long_tone": (0,),
    "scale": (-4, -2, 0, 1, 3, 1, 0, -2, -4),
    "arpeggio": (-4, 0, 3, 8, 3, 0, -4),
}
# F2 at which a spoken syllable starts, relative to 2200 Hz, for consonants at the lips, teeth and palate.
_LOCI = (0.45, 0.85, 1.1)


@dataclass
class Gesture:
    """Control curves, each of shape (FRAMES,) unless said otherwise.

    Attributes
    ----------
    cents : pitch relative to the recipe's f0; its median over voiced frames, without vibrato, is 0.
    voice : amplitude of the glottal pulses, 0 or more.
    breath : amplitude of the aspiration noise.
    hiss : amplitude of consonant noise (spoken only).
    hiss_colour : int, which consonant noise (0 to 2).
    state : int, index of the tract shape.
    shapes : formants F1 to F5 in Hz of each tract shape, shape (S, 5).
    pitches : pitch in Hz that each tract shape was made for, shape (S,).
    closed : 0 to 1, how much closed lips muffle each tract shape, shape (S,).
    alternate : a number from 0 to 1, by which every second glottal pulse is weakened.
    """

    cents: np.ndarray
    voice: np.ndarray
    breath: np.ndarray
    shapes: np.ndarray
    pitches: np.ndarray
    state: np.ndarray = field(default_factory=lambda: np.zeros(FRAMES, dtype=np.int64))
    closed: np.ndarray | None = None
    hiss: np.ndarray | None = None
    hiss_colour: np.ndarray | None = None
    alternate: float = 0.0


def gesture(recipe, rng: Draws) -> Gesture:
    """Return the control curves of a recipe.

    Parameters
    ----------
    recipe : VoiceRecipe
    rng : Draws
        Source of what the recipe does not determine, such as onsets, drift and syllables.
    """
    return _MAKERS[recipe.technique](recipe, rng)


def _centred(cents, voice):
    """Shift a pitch curve so that its median over voiced frames is exactly the recipe's f0."""
    return cents - np.median(cents[voice > 0.05])


def _ramp(position):
    """Return a smooth step from 0 to 1 as `position` goes from 0 to 1."""
    x = np.clip(position, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


_TIME = np.arange(FRAMES) / FRAME_RATE


def _span(rng, shortest: float = 3.2, longest: float = 4.6) -> tuple[float, float]:
    """Draw the start and the end of the phonation in seconds."""
    start = rng.between(0.06, 0.3)
    return start, min(start + rng.between(shortest, longest), SECONDS - 0.08)


def _envelope(start, stop, attack, release):
    """Return an amplitude that rises from `start` on and reaches 0 again at `stop`; all arguments are in seconds."""
    return _ramp((_TIME - start) / attack) * _ramp((stop - _TIME) / release)


def _cycles(rate, start: float = 0.0):
    """Return the phase in cycles of a rate curve in Hz."""
    return start + np.cumsum(rate) / FRAME_RATE


def _melody(recipe, rng, start, stop):
    """Return the melody's pitch in cents and the index of the current note, both (FRAMES,)."""
    degrees = MELODIES[recipe.context]
    if len(degrees) == 1:
        return np.zeros(FRAMES), np.zeros(FRAMES, dtype=np.int64)
    bounds = start + (stop - start) * np.arange(1, len(degrees)) / len(degrees)
    bounds = bounds + rng.between(-0.03, 0.03, len(bounds))
    glide = rng.between(0.04, 0.11)
    cents = np.full(FRAMES, 100.0 * degrees[0])
    for bound, before, after in zip(bounds, degrees[:-1], degrees[1:], strict=True):
        cents += 100.0 * (after - before) * _ramp((_TIME - bound) / glide + 0.5)
    return cents, np.searchsorted(bounds, _TIME, side="right")


def _vibrato(recipe, rng, start):
    """Return the vibrato in cents, which begins after the onset; 0 if the recipe has none."""
    if not recipe.vibrato_extent > 0.0:
        return np.zeros(FRAMES)
    rate = recipe.vibrato_rate * (1.0 + 0.03 * drift(rng, FRAMES, 400.0))
    delay = rng.between(0.1, 0.5)
    grown = _ramp((_TIME - start - delay) / 0.5)
    return recipe.vibrato_extent * grown * sine(_cycles(rate, rng.random()))


def _wander(rng, cents: float):
    """Return a slow involuntary drift plus a faster tremor, in cents."""
    return cents * (drift(rng, FRAMES, 500.0) + 0.4 * drift(rng, FRAMES, 90.0))


def _shapes(recipe, semitones):
    """Return the tract shape and the pitch in Hz of each note of a melody; F1 is raised where pitch would exceed it."""
    pitches = recipe.f0 * exp2(np.array(semitones) / 12.0)
    shapes = np.array([recipe.formants_at(pitch) for pitch in pitches])
    return shapes, pitches


def _swell(rng, decibels: float):
    """Return a slow change of loudness as a factor (to first order in place of the exponential)."""
    return 1.0 + 0.115 * decibels * drift(rng, FRAMES, rng.between(700.0, 1800.0))


def _sung(recipe, rng) -> Gesture:
    """Sing belt, breathy, straight or vibrato, which differ in source, level, onset and vibrato."""
    start, stop = _span(rng)
    belted, breathed = recipe.technique == "belt", recipe.technique == "breathy"
    attack = rng.between(0.02, 0.05) if belted else rng.between(0.04, 0.14)
    release = rng.between(0.05, 0.12) if belted else rng.between(0.08, 0.25)
    steps, note = _melody(recipe, rng, start, stop)
    scoop = rng.between(-250.0, -30.0) if belted else rng.between(-70.0, 20.0)
    cents = steps + _wander(rng, 6.0) + scoop * (1.0 - _ramp((_TIME - start) / rng.between(0.08, 0.16)))
    swell = _swell(rng, 2.0 if belted else 3.0)
    voice = _envelope(start, stop, attack, release) * swell
    cents = _centred(cents, voice) + _vibrato(recipe, rng, start)
    lead, trail = rng.between(0.03, 0.18, 2) if breathed else (0.01, 0.03)
    breath = _envelope(max(start - lead, 0.02), min(stop + trail, SECONDS - 0.03), 0.06, 0.1) * swell
    shapes, pitches = _shapes(recipe, MELODIES[recipe.context])
    return Gesture(cents, voice, breath, shapes, pitches, state=note)


def _trill(recipe, rng) -> Gesture:
    """Alternate two neighbouring notes fast; the lower one is held slightly longer and is the median."""
    start, stop = _span(rng)
    rate = recipe.modulation_rate * (1.0 + 0.06 * drift(rng, FRAMES, 500.0))
    grown = _ramp((_TIME - start) / rng.between(0.02, 0.5))
    upper = np.clip(0.5 + rng.between(1.2, 2.4) * (sine(_cycles(rate)) - 0.34), 0.0, 1.0)
    cents = recipe.trill_interval * _ramp(upper) * grown + _wander(rng, 6.0)
    voice = _envelope(start, stop, rng.between(0.04, 0.1), rng.between(0.08, 0.2)) * _swell(rng, 3.0)
    voice *= 1.0 - 0.12 * np.abs(2.0 * upper - 1.0) * rng.random()
    shapes, pitches = _shapes(recipe, (0,))
    return Gesture(_centred(cents, voice), voice, voice.copy(), shapes, pitches)


def _trillo(recipe, rng) -> Gesture:
    """Repeat one note with the glottis, often faster and faster, as Caccini describes the trillo."""
    start, stop = _span(rng)
    hurry = rng.between(0.0, 0.35)
    rate = recipe.modulation_rate * (1.0 + hurry * (2.0 * (_TIME - start) / (stop - start) - 1.0))
    rate = rate * (1.0 + 0.05 * drift(rng, FRAMES, 300.0))
    cycle = _cycles(np.maximum(rate, 2.0), 0.25)
    strength = 1.0 + 0.2 * rng.between(-1.0, 1.0, int(cycle[-1]) + 2)[np.floor(cycle).astype(np.int64)]
    shut = _ramp(0.5 + rng.between(0.7, 1.5) * (sine(cycle + 0.25) - rng.between(0.0, 0.4)))
    voice = _envelope(start, stop, 0.05, rng.between(0.08, 0.2)) * _swell(rng, 3.0)
    breath = voice * (1.0 + 0.6 * shut)
    voice = voice * (1.0 - recipe.modulation_depth * shut) * strength
    cents = -rng.between(10.0, 90.0) * shut + _wander(rng, 8.0)
    shapes, pitches = _shapes(recipe, (0,))
    return Gesture(_centred(cents, voice), voice, breath, shapes, pitches)


def _lip_trill(recipe, rng) -> Gesture:
    """Flap the lips 18 to 30 times a second; each flap lets a short, brighter puff of voice through."""
    start, stop = _span(rng)
    steps, note = _melody(recipe, rng, start, stop)
    rate = recipe.modulation_rate * (1.0 + 0.08 * drift(rng, FRAMES, 250.0))
    cycle = _cycles(rate)
    puff = np.clip(sine(cycle) + rng.between(0.0, 0.35), 0.0, 1.0)
    puff = puff * (1.0 + 0.25 * rng.between(-1.0, 1.0, int(cycle[-1]) + 2)[np.floor(cycle).astype(np.int64)])
    voice = _envelope(start, stop, rng.between(0.05, 0.15), rng.between(0.1, 0.25)) * _swell(rng, 3.0)
    breath = voice * puff * puff
    voice = voice * (1.0 - recipe.modulation_depth + recipe.modulation_depth * puff)
    cents = steps - rng.between(5.0, 35.0) * (1.0 - puff) + _wander(rng, 15.0)
    shapes, pitches = _shapes(recipe, MELODIES[recipe.context])
    count = len(pitches)
    shut = shapes * np.array([0.85, 0.94, 0.97, 1.0, 1.0])
    return Gesture(
        _centred(cents, voice),
        voice,
        breath,
        np.concatenate([shapes, shut]),
        np.concatenate([pitches, pitches]),
        state=np.where(puff > 0.55, note, note + count),
        closed=np.concatenate([np.full(count, 0.35), np.ones(count)]),
    )


def _inhaled(recipe, rng) -> Gesture:
    """Phonate while inhaling: first noise, then a voice that slides and cracks and swells to a sudden end."""
    start, stop = _span(rng, 2.2, 4.2)
    outline = _envelope(start, stop, rng.between(0.4, 0.75) * (stop - start), rng.between(0.02, 0.06))
    slide = rng.between(-60.0, 260.0) * (_TIME - start) / (stop - start)
    cents = slide + 45.0 * drift(rng, FRAMES, 180.0) + 30.0 * drift(rng, FRAMES, 35.0)
    rough = 1.0 + 0.5 * drift(rng, FRAMES, rng.between(12.0, 30.0))
    cracks = _ramp(2.0 + 3.0 * drift(rng, FRAMES, rng.between(130.0, 260.0)))
    shapes, pitches = _shapes(recipe, (0,))
    voice = (0.25 + 0.75 * outline) * rough * cracks * _envelope(start, stop, 0.25, 0.03)
    return Gesture(
        _centred(cents, voice),
        voice,
        (0.3 + 0.7 * outline) * _envelope(max(start - 0.04, 0.02), stop, 0.12, 0.04),
        shapes,
        pitches,
        alternate=rng.between(0.0, 0.5),
    )


def _vocal_fry(recipe, rng) -> Gesture:
    """Make single glottal pulses, far and irregularly apart, so that each decays before the next."""
    start, stop = _span(rng)
    cents = 140.0 * drift(rng, FRAMES, rng.between(500.0, 1200.0)) + 60.0 * drift(rng, FRAMES, 120.0)
    cents -= rng.between(0.0, 400.0) * _ramp((_TIME - stop + 0.9) / 0.9)
    voice = _envelope(start, stop, 0.06, 0.15) * (1.0 + 0.3 * drift(rng, FRAMES, 200.0)) * _swell(rng, 3.0)
    shapes, pitches = _shapes(recipe, (0,))
    cents = _centred(cents, voice)
    return Gesture(cents, voice, voice.copy(), shapes, pitches, alternate=rng.between(0.0, 0.55))


def _spoken(recipe, rng) -> Gesture:
    """Speak syllables on one vowel with changing consonants, in phrases that fall in pitch; no note is held."""
    start, stop = _span(rng, 3.8, 4.7)
    voice, hiss, cents = np.zeros((3, FRAMES))
    colour, state = np.zeros((2, FRAMES), dtype=np.int64)
    fall, time, phrase_end = rng.between(250.0, 600.0), start, 0.0
    while time < stop - 0.18:
        if time >= phrase_end:
            time += rng.between(0.15, 0.4) if phrase_end else 0.0
            phrase_start, phrase_end = time, min(time + rng.between(1.1, 2.2), stop)
        length = rng.between(0.75, 1.3) / recipe.modulation_rate
        end = min(time + length, stop)
        kind, place = rng.below(4), rng.below(3)
        gap = time + rng.between(0.05, 0.1) * (0.6 if kind == 1 else 1.0)
        sounding, hissing = _syllable(rng, kind, time, gap, end)
        voice, hiss = np.maximum(voice, sounding), np.maximum(hiss, hissing)
        inside = (time <= _TIME) & (end > _TIME)
        colour[inside] = place
        # Four steps of formant movement from the consonant to the vowel, which is shape 0.
        step = np.maximum(np.floor((_TIME - gap + 0.02) / 0.018), 0.0).astype(np.int64)
        state[inside] = np.where(step < 4, 1 + place * 4 + step, 0)[inside]
        accent = rng.between(-80.0, 380.0) * (1.0 if rng.random() < 0.45 else 0.15)
        tone = accent * (1.0 - np.abs(2.0 * (_TIME - time) / length - 1.0)) - fall * (_TIME - phrase_start) / 1.8
        cents[inside] = tone[inside]
        time = end
    total = np.cumsum(np.pad(cents, (21, 20), mode="edge"))
    cents = _centred((total[41:] - total[:-41]) / 41.0 + _wander(rng, 20.0), voice)
    shapes = _consonant_shapes(recipe)
    pitches = np.full(len(shapes), recipe.f0)
    return Gesture(cents, voice, voice.copy(), shapes, pitches, state, hiss=hiss, hiss_colour=colour)


def _syllable(rng, kind, time, gap, end):
    """Return voicing and consonant noise of one syllable: consonant from `time` to `gap`, vowel to `end`, seconds."""
    loud = rng.between(0.55, 1.0)
    voice, hiss = loud * _envelope(gap - 0.01, end + 0.02, 0.04, 0.06), np.zeros(FRAMES)
    if kind == 1:  # nasal or liquid: the voice continues, muffled
        voice = np.maximum(voice, 0.3 * loud * _envelope(time - 0.01, gap + 0.03, 0.02, 0.03))
    elif kind == 2:  # stop: silence, then a burst
        hiss = 0.5 * _envelope(gap - 0.016, gap + 0.012, 0.004, 0.015)
    elif kind == 3:  # fricative
        hiss = rng.between(0.25, 0.6) * _envelope(time, gap + 0.01, 0.03, 0.02)
    return voice, hiss


def _consonant_shapes(recipe):
    """Return the vowel's shape, then for each of three places of articulation four shapes towards it, (13, 5)."""
    vowel = np.array(recipe.formants_at(recipe.f0))
    shapes = [vowel]
    for place in _LOCI:
        locus = vowel.copy()
        locus[0] *= 0.45
        locus[1] = place * 2200.0 * SINGERS[recipe.singer].tract
        shapes += [vowel + weight * (locus - vowel) for weight in (0.9, 0.65, 0.4, 0.15)]
    return np.array(shapes)


_MAKERS = {
    "belt": _sung,
    "breathy": _sung,
    "straight": _sung,
    "vibrato": _sung,
    "inhaled": _inhaled,
    "lip_trill": _lip_trill,
    "spoken": _spoken,
    "trill": _trill,
    "trillo": _trillo,
    "vocal_fry": _vocal_fry,
}
