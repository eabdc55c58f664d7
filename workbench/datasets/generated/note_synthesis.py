"""Synthesise the recipes of the generated set `notes` from harmonics, decaying modes, playing noise and a room.

Harmonics of one pitch are computed from the first by the recursion ``sin (k+1)x = 2 cos x sin kx - sin (k-1)x``, so
that each can have its own amplitude curve. All arithmetic is that of `portable_math`, which gives the same bits on
every machine.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...core.errors import ParameterError
from .note_instruments import RANKS, STRUCK, SUSTAINED, specimen
from .portable_math import (
    Draws,
    cosine,
    drift,
    exp2,
    from_decibels,
    ordered_sum,
    rms,
    sine,
    upsample,
)
from .recipes import check_recipe
from .scene_events import ramp, shaped_noise

RATE = 24000
SECONDS = 2.0
SAMPLES = int(RATE * SECONDS)

EFFORTS = {"pp": 0.0, "mf": 0.5, "ff": 1.0}

_HOP = 120  # samples between two values of a control curve, which has 200 values a second
_CONTROL = RATE // _HOP
_FRAMES = SAMPLES // _HOP
_BAND = 10500.0  # Hz above which there are no harmonics
_MINUS_60_DB = -9.965784284662087  # as a power of two
_WINDOW = 1200  # samples (50 ms) of half a window in which the level is measured


def render(recipe) -> np.ndarray:
    """Return the sound of one recipe.

    Parameters
    ----------
    recipe : NoteRecipe

    Returns
    -------
    numpy.ndarray of float32, shape (48000,)
        Two seconds at 24 kHz. Every value is a whole number of 1/32768, so 16-bit files keep it without loss.

    Raises
    ------
    ParameterError
        If at the recipe's level the peak of the clip would exceed full scale.
    """
    check_recipe(recipe)
    rng = Draws(recipe.random_seed)
    made = _specimen(recipe.instrument, recipe.specimen)
    play = _sustained if recipe.instrument in SUSTAINED else _struck
    x = _room(play(recipe, made, rng), made)
    x = x * (float(from_decibels(recipe.level)) / loudest(x))
    x = x + _background(made, rng)
    fade = ramp(np.arange(1, 241) / 241.0)
    x[:240] *= fade
    x[-240:] *= fade[::-1]
    peak = float(np.abs(x).max())
    if peak > 0.999:
        most = recipe.level - 20.0 * float(np.log10(peak / 0.999))
        raise ParameterError("level", recipe.level, f"at most {most:.1f} dBFS for this clip (it would clip)")
    return (np.rint(x * 32768.0) / 32768.0 + 0.0).astype(np.float32)  # + 0.0: no negative zeros


def loudest(x) -> float:
    """Return the RMS of the loudest 100 ms window, with windows every 50 ms."""
    squares = (x * x).reshape(-1, _WINDOW)
    sums = np.array([ordered_sum(row) for row in squares])
    return float(np.sqrt((sums[1:] + sums[:-1]).max() / (2 * _WINDOW)))


@lru_cache(maxsize=128)
def _specimen(instrument: str, name: str):
    return specimen(instrument, int(name.removeprefix(instrument)))


# Sustained sounds --------------------------------------------------------------------------------------------------


def _sustained(recipe, made, rng):
    """Return a blown or bowed note."""
    how = SUSTAINED[recipe.instrument]
    time = np.arange(_FRAMES) / _CONTROL - recipe.onset
    cents, level = _gesture(recipe, how, time, rng)
    f = recipe.f0 * exp2(cents / 1200.0)
    x = (_ranks if recipe.instrument == "organ" else _tone)(recipe, made, f, level, time)
    return x + _noise(recipe, how, made, time, rng) * loudest(x)


def _tone(recipe, made, f, level, time, most=128):
    """Return a tone with a frequency curve in Hz and an amplitude curve, both (T,), and up to `most` harmonics."""
    how, effort = SUSTAINED[recipe.instrument], EFFORTS[recipe.dynamic]
    top = min(_BAND, most * float(f.max()))
    k = np.arange(1.0, int(top / float(f.max())) + 1.0)[:, None]
    strength = how.strength(k, k * f, effort, made) * made.gain(k * f) * _shelf(k * f, recipe.brightness)
    strength = strength * np.clip((1.02 * top - k * f) / (0.2 * top), 0.0, 1.0)
    return _harmonics(f, strength * level * _speaking(recipe, how, k, time, effort))


def _gesture(recipe, how, time, rng):
    """Return the pitch deviation in cents and the amplitude over the note, each (T,)."""
    cents = 2.5 * drift(rng, _FRAMES, 0.15 * _CONTROL)
    level = from_decibels(0.6 * drift(rng, _FRAMES, 0.1 * _CONTROL))
    if recipe.articulation != "staccato":  # a held note is never quite even
        level = level * (1.0 - 0.25 * rng.random() * ramp(time / max(recipe.duration, 0.1)))
    cents = cents + how.scoop * exp2(-np.maximum(time, 0.0) / 0.018) * np.where(time < -0.05, 0.0, 1.0)
    if recipe.articulation == "vibrato":
        grown = ramp((time - 0.08) / 0.25)
        turn = recipe.vibrato_rate * time + 0.15 * drift(rng, _FRAMES, 0.5 * _CONTROL)
        cents = cents + recipe.vibrato_extent * grown * sine(turn)
        level = level * (1.0 + how.swell * grown * sine(turn + 0.1))
    if recipe.articulation in ("tremolo", "flutter"):
        turn = recipe.tremolo_rate * np.maximum(time, 0.0) + 0.08 * drift(rng, _FRAMES, 0.2 * _CONTROL)
        arch = np.abs(sine(0.5 * turn)) if recipe.articulation == "tremolo" else 0.5 - 0.5 * cosine(turn)
        depth = 0.85 if recipe.articulation == "tremolo" else 0.7
        level = level * (1.0 - depth + depth * np.sqrt(np.maximum(arch, 0.0)))
    return cents, level


def _speaking(recipe, how, k, time, effort):
    """Return the amplitude envelope of each harmonic, (K, T)."""
    haste = (1.45 - 0.7 * effort) * (0.65 if recipe.articulation == "staccato" else 1.0)
    octaves = np.minimum(np.sqrt(k) - 1.0, 5.0)  # about the octaves above the fundamental up to the 32nd
    start = how.late * haste * np.maximum(octaves, 0.0)
    rise = ramp((time - np.maximum(start, 0.0)) / (how.attack * haste + np.abs(start)))
    return rise * _released(time - recipe.duration, how.release)


def _released(since, seconds):
    """Return the gain at times since the end of a note, which falls by 60 dB in so many seconds."""
    return exp2(np.maximum(since, 0.0) * (_MINUS_60_DB / seconds))


def _shelf(f, decibels):
    """Return the gain of a tilt around 1.5 kHz, which is higher by `decibels` far above it than far below."""
    half = float(from_decibels(0.5 * decibels))
    zero, pole = 1500.0 / half, 1500.0 * half
    return np.sqrt((1.0 + (f / zero) * (f / zero)) / (1.0 + (f / pole) * (f / pole)))


@lru_cache(maxsize=1)
def _signs() -> list[float]:
    """Return signs of the harmonics (a Rudin-Shapiro sequence), which keep the peaks of bright tones low."""
    signs = [1.0, 1.0]
    while len(signs) < 128:
        signs += [sign if i < len(signs) // 2 else -sign for i, sign in enumerate(signs)]
    return signs


def _harmonics(f, amplitudes):
    """Sum the harmonics of a frequency curve (T,) in Hz, with amplitude curves (K, T)."""
    phase = upsample(np.cumsum(f) / _CONTROL, _HOP)
    turn = phase - np.floor(phase)
    twice = 2.0 * cosine(turn)
    before, now, total = np.zeros(SAMPLES), sine(turn), np.zeros(SAMPLES)
    peaks = amplitudes.max(axis=1)
    last = int(np.flatnonzero(peaks > 1e-5 * peaks.max())[-1])
    for number in range(last + 1):
        total += now * upsample(amplitudes[number] * _signs()[number], _HOP)
        before, now = now, twice * now - before
    return total


def _ranks(recipe, made, f, level, time):
    """Sum the ranks of an organ; more ranks sound at a louder dynamic."""
    total = np.zeros(SAMPLES)
    for number, (ratio, share, effort) in enumerate(RANKS):
        if EFFORTS[recipe.dynamic] >= effort:
            # Ranks are never quite in tune with each other; the first is the pitch.
            off = 0.0 if number == 0 else 5.0 * (made.traits[number] - 0.5)
            share = share * (0.6 + 0.8 * made.traits[6 + number % 6])
            rank = f * (ratio * float(exp2(off / 1200.0)))
            total += share * _tone(recipe, made, rank, level, time, most=16)
    return total


# Struck sounds -----------------------------------------------------------------------------------------------------


def _struck(recipe, made, rng):
    """Return a struck or plucked note, or a tremolo of several strokes."""
    how = STRUCK[recipe.instrument]
    effort = EFFORTS[recipe.dynamic]
    f, amplitude, decay = how.modes(recipe.f0, effort, made, rng.random())
    amplitude = amplitude * made.gain(f) * _shelf(f, recipe.brightness)
    decay = np.minimum(decay * made.decay, 30.0)
    if recipe.articulation == "muted":  # a hand on the strings damps the treble first
        decay = decay / (1.0 + 3.0 * decay * (1.0 + f / 900.0))
        amplitude = amplitude / (1.0 + (f / 1500.0) * (f / 1500.0))
    total = np.zeros(SAMPLES)
    onsets = _strokes(recipe, rng)
    ends = [*onsets[1:], SAMPLES]
    for i, (start, end) in enumerate(zip(onsets, ends, strict=True)):
        grain = _stroke(f, amplitude * rng.between(0.85, 1.0, len(f)), decay, SAMPLES - start, rng)
        grain += _knock(how, made, len(grain), effort, rng) * float(np.abs(grain).max())
        grain *= 1.0 if i == 0 else rng.between(0.75, 1.0)
        if end < SAMPLES:  # the next stroke damps the one before to a fifth
            since = np.arange(len(grain)) / RATE - (end - start) / RATE
            grain *= 0.2 + 0.8 * ramp(1.0 - since / 0.012)
        total[start:] += grain
    since = np.arange(SAMPLES) / RATE - (recipe.onset + recipe.duration)
    return total * _released(since, how.damping)


def _strokes(recipe, rng):
    """Return the sample at which each stroke of a note begins."""
    count = max(int(recipe.duration * recipe.tremolo_rate), 1) if recipe.articulation == "tremolo" else 1
    period = 0.0 if count == 1 else 1.0 / recipe.tremolo_rate
    late = [0.0, *(rng.between(-0.08, 0.08) for _ in range(count - 1))]
    return [round((recipe.onset + (i + late[i]) * period) * RATE) for i in range(count)]


def _stroke(f, amplitude, decay, samples, rng):
    """Sum decaying modes, each with a random phase."""
    total = np.zeros(samples)
    for number in np.flatnonzero(amplitude > 1e-4 * amplitude.max()).tolist():
        length = min(samples, int(1.3 * decay[number] * RATE) + 1)  # -78 dB
        total[:length] += amplitude[number] * _mode(float(f[number]), float(decay[number]), rng.random(), length)
    rise = ramp(np.arange(36) / 36.0)
    total[:36] *= rise[: len(total[:36])]
    return total


def _mode(frequency, decay, phase, samples):
    """Return a sine that decays by 60 dB in `decay` seconds, (samples,), made by doubling the part that is done."""
    fall = float(exp2(_MINUS_60_DB / (decay * RATE)))
    c, s = fall * float(cosine(frequency / RATE)), fall * float(sine(frequency / RATE))
    real, imag = np.empty((2, samples))
    real[0], imag[0], done = float(cosine(phase)), float(sine(phase)), 1
    while done < samples:
        more = min(done, samples - done)
        real[done : done + more] = real[:more] * c - imag[:more] * s
        imag[done : done + more] = real[:more] * s + imag[:more] * c
        c, s, done = c * c - s * s, 2.0 * c * s, done + more
    return imag


# Noise and room ----------------------------------------------------------------------------------------------------


def _bins():
    """Return the frequencies of a spectrum's rows for `shaped_noise` at this rate, Hz, shape (513, 1)."""
    return np.arange(513)[:, None] * (RATE / 1024)


def _noise(recipe, how, made, time, rng):
    """Return the noise of bow or breath with a burst at the onset, its level relative to a tone of RMS 1."""
    f = _bins()
    x = shaped_noise(how.colour(f, recipe.f0) * made.gain(f) * np.clip((_BAND - f) / 1500.0, 0.0, 1.0), SAMPLES, rng)
    steady = float(from_decibels(how.noise + made.noise - 4.0 * (EFFORTS[recipe.dynamic] - 0.5)))
    burst = steady * float(from_decibels(how.burst))
    begun = ramp((time + 0.012) / 0.02)
    curve = begun * (steady + burst * _released(time, 0.12)) * _released(time - recipe.duration, how.release)
    if recipe.articulation in ("tremolo", "flutter"):
        curve = curve * (0.7 + 0.6 * np.abs(cosine(0.5 * recipe.tremolo_rate * time)))
    return x * upsample(curve, _HOP) * (1.0 / rms(x))


def _knock(how, made, samples, effort, rng):
    """Return the noise of one stroke, its peak relative to a tone of peak 1."""
    f = _bins()
    centre, width = how.noise_band
    distance = (f - centre * (0.8 + 0.4 * made.traits[10])) / width
    length = min(samples, 2 * int(how.noise_decay * RATE))
    x = shaped_noise(f / (f + 120.0) / (1.0 + distance * distance), length, rng)
    x = x * _released(np.arange(length) / RATE, how.noise_decay)
    x[:24] *= np.arange(min(24, length)) / 24.0
    out = np.zeros(samples)
    out[:length] = x * (float(from_decibels(how.noise + made.noise + 8.0 * (effort - 0.5))) / float(np.abs(x).max()))
    return out


def _room(x, made):
    """Add the specimen's room: two stages of sparse echoes (velvet noise) at its direct-to-reverberant ratio."""
    rng = Draws((*made.seed, 1))
    wet = _echoes(x, rng, taps=6, start=20, end=480, decay=0.02)
    wet = _echoes(wet, rng, taps=12, start=120, end=int(0.8 * made.decay_time * RATE), decay=made.decay_time)
    wet[1:] = 0.5 * (wet[1:] + wet[:-1])
    return x + wet * (rms(x) * float(from_decibels(-made.direct_to_reverberant)) / max(rms(wet), 1e-12))


def _echoes(x, rng, *, taps, start, end, decay):
    """Sum `taps` delayed copies, at a random delay in each of as many equal slots, that decay by 60 dB in `decay` s."""
    out = np.zeros_like(x)
    slot = (end - start) / taps
    for n in range(taps):
        delay = int(start + slot * (n + rng.random()))
        sign = 1.0 if rng.random() < 0.5 else -1.0
        out[delay:] += (sign * float(from_decibels(-60.0 * delay / (decay * RATE)))) * x[:-delay]
    return out


def _background(made, rng):
    """Return the room's noise at the specimen's level: a sum of white noises held for 1, 2, 4 ... 256 samples."""
    total = np.zeros(SAMPLES)
    for octave in range(9):
        held = rng.between(-1.0, 1.0, SAMPLES // 2**octave + 1)
        total += np.repeat(held, 2**octave)[:SAMPLES]
    total = total - ordered_sum(total) / SAMPLES
    return total * (float(from_decibels(made.background)) / rms(total))
