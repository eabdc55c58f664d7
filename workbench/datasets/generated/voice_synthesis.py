"""Source-filter synthesiser of the generated set `voices`, which turns control curves into sound.

Voiced sound is a sequence of glottal closures. For each, one grain is added at the exact fraction of a sample: the
response of the glottis, the vocal tract and the microphone to that closure (as in FOF synthesis: Rodet, "Time-domain
formant-wave-function synthesis", Computer Music Journal 8(3), 1984). The glottis is the causal-anticausal linear model
of Doval, d'Alessandro and Henrich ("The voice source as a causal/anticausal linear filter", VOQUAL 2003): an anticausal
pole pair set by open quotient and asymmetry, then a first-order spectral tilt, expressed like Klatt and Klatt's TL (J.
Acoust. Soc. Am. 87 (1990) 820-857) as dB lost at 3 kHz. The tract is a cascade of fourteen resonances. Aspiration is
noise through the same resonances, with a first formant damped by the open glottis, and pulsates with the glottal cycle.
Then a small room (velvet noise: Karjalainen and Jarvelainen, AES 2007) and background noise are added. The voice has
nothing above 11.5 kHz, so that there is no aliasing.

All arithmetic is that of `portable_math`, which gives the same bits on every machine.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...core.errors import ParameterError
from .portable_math import (
    Draws,
    cosine,
    exp2,
    from_decibels,
    interpolate,
    inverse_fft,
    ordered_sum,
    rms,
    sine,
    upsample,
)
from .recipes import check_recipe
from .voice_gestures import FRAME_RATE, FRAMES, SECONDS, gesture
from .voice_tract import SINGERS, all_poles, bandwidths

RATE = 24000
SAMPLES = int(RATE * SECONDS)
_HOP = RATE // FRAME_RATE

_GRAIN = 1024  # samples of one grain: 43 ms
_BEFORE = 320  # samples of a grain before the closure, for the opening phase
_PHASES = 8  # grains are tabulated at eighths of a sample and interpolated between
_BLOCK = 256  # samples of a block of noise


def render(recipe) -> np.ndarray:
    """Return the sound of one recipe.

    Parameters
    ----------
    recipe : VoiceRecipe

    Returns
    -------
    numpy.ndarray of float32, shape (120000,)
        Five seconds at 24 kHz. Every value is a whole number of 1/32768, so 16-bit files keep it without loss.

    Raises
    ------
    ParameterError
        If at the recipe's loudness the peak of the clip would exceed full scale.
    """
    check_recipe(recipe)
    rng = Draws(recipe.random_seed)
    made = gesture(recipe, rng)
    phase = np.cumsum(recipe.f0 * exp2(made.cents / 1200.0)) / FRAME_RATE
    voiced = _pulses(recipe, made, phase, rng)
    breath = _aspiration(recipe, made, phase, rng)
    level = rms(voiced)
    x = voiced + breath * (level * float(from_decibels(-recipe.hnr)) / max(rms(breath), 1e-12))
    if made.hiss is not None:
        x = x + _hiss(made, rng) * (1.4 * level)
    x = _room(x, recipe, rng)
    background = _background(rng)
    x = x + background * (rms(x) * float(from_decibels(-recipe.snr)) / rms(background))
    return _finish(x, recipe)


def _finish(x, recipe):
    """Remove the mean, fade both ends, set the level, check the peak, and round to 16 bits."""
    fade = np.arange(1, 241) / 241.0
    fade = fade * fade * (3.0 - 2.0 * fade)
    x = x - ordered_sum(x) / len(x)
    x[:240] *= fade
    x[-240:] *= fade[::-1]
    x = x * (float(from_decibels(recipe.loudness)) / rms(x))
    peak = float(np.abs(x).max())
    if peak > 0.999:
        most = recipe.loudness - 20.0 * float(np.log10(peak / 0.999))
        raise ParameterError("loudness", recipe.loudness, f"at most {most:.1f} dBFS for this clip (it would clip)")
    return (np.rint(x * 32768.0) / 32768.0 + 0.0).astype(np.float32)  # + 0.0: no negative zeros


# Voiced sound ----------------------------------------------------------------------------------------------------


def _pulses(recipe, made, phase, rng):
    """Add one grain at every glottal closure."""
    count = int(phase[-1])
    # Each closure deviates with a triangular distribution; a period has two closures (period jitter = sqrt 2 sd).
    spread = 1.7320508 * recipe.jitter * (rng.random(count) + rng.random(count) - 1.0)
    closure = np.arange(1, count + 1) + np.clip(spread, -0.45, 0.45)
    closure = closure[(closure > phase[0]) & (closure < phase[-1])]
    frame = np.searchsorted(phase, closure, side="right") - 1
    part = (closure - phase[frame]) / (phase[frame + 1] - phase[frame])
    shimmer = 1.0 + 2.4494897 * recipe.shimmer * (rng.random(len(frame)) + rng.random(len(frame)) - 1.0)
    amplitude = interpolate(made.voice, frame + part) * shimmer
    amplitude[1::2] *= 1.0 - made.alternate
    kept = amplitude > 1e-4
    place = (frame[kept] + part[kept]) * _HOP
    whole = np.floor(place)
    fine = (place - whole) * _PHASES
    row = np.floor(fine).astype(np.int64)
    weight = fine - row
    table = _grains(recipe, made)
    out = np.zeros(SAMPLES + 2 * _GRAIN)
    pulses = zip(
        (whole.astype(np.int64) + _GRAIN - _BEFORE).tolist(),
        made.state[frame[kept]].tolist(),
        row.tolist(),
        (amplitude[kept] * (1.0 - weight)).tolist(),
        (amplitude[kept] * weight).tolist(),
        strict=True,
    )
    for start, state, phase_row, early, late in pulses:
        target = out[start : start + _GRAIN]
        target += early * table[state, phase_row]
        target += late * table[state, phase_row + 1]
    return out[_GRAIN : _GRAIN + SAMPLES]


@lru_cache(maxsize=1)
def _delays():
    """Return phase factors that delay bin k of a grain by the opening phase and each tabulated fraction of a sample."""
    bins = np.arange(_GRAIN // 2)[:, None]
    turns = -bins * ((np.arange(_PHASES + 1) / _PHASES + _BEFORE) / _GRAIN)[None, :]
    return cosine(turns), sine(turns)


def _grains(recipe, made):
    """Return the response to a glottal closure for each tract shape and fraction of a sample, shape (S, 9, 1024)."""
    real, imag = _voice_spectrum(recipe, made)
    c, s = _delays()
    count = len(real)
    full_real, full_imag = np.zeros((2, _GRAIN, count, _PHASES + 1))
    half = _GRAIN // 2
    full_real[:half] = real.T[:, :, None] * c[:, None, :] - imag.T[:, :, None] * s[:, None, :]
    full_imag[:half] = real.T[:, :, None] * s[:, None, :] + imag.T[:, :, None] * c[:, None, :]
    flat = count * (_PHASES + 1)
    table, _ = inverse_fft(full_real.reshape(_GRAIN, flat), full_imag.reshape(_GRAIN, flat))
    window = np.ones(_GRAIN)
    window[:96] = np.arange(96) / 96.0
    window[-160:] = np.arange(160, 0, -1) / 160.0
    return np.ascontiguousarray((table * window[:, None]).T).reshape(count, _PHASES + 1, _GRAIN)


def _voice_spectrum(recipe, made):
    """Return the spectrum of glottis, tract and microphone for each tract shape: real and imaginary part, (S, 512)."""
    f = np.arange(_GRAIN // 2) * (RATE / _GRAIN)
    real, imag = _tract(recipe, made, f, damping=0.0)
    pitches = made.pitches[:, None]
    # Anticausal pole pair: half a sine over the open phase, which grows towards the closure.
    opened = np.minimum(recipe.open_quotient / pitches, 0.009)
    asymmetry = 0.88 - 0.25 * recipe.open_quotient  # pressed voices close faster
    centre = 0.5 / opened
    growth = -0.5 / (opened * (sine(0.5 * asymmetry) / cosine(0.5 * asymmetry)))
    # j f / ((growth - j f)^2 + centre^2)
    real, imag = -imag * f, real * f
    real, imag = _divide(real, imag, growth * growth + centre * centre - f * f, -2.0 * growth * f)
    # Tilt: one pole that loses `tilt` dB at 3 kHz.
    loss = float(from_decibels(recipe.tilt))
    corner = 3000.0 / np.sqrt(max(loss * loss - 1.0, 0.02))
    real, imag = _divide(real, imag, 1.0, f / corner)
    even = _evening(real * real + imag * imag, made.pitches)
    if made.closed is not None:  # closed lips: one more pole at 700 Hz and a weaker sound
        shut = made.closed[:, None]
        real, imag = _divide(real, imag, 1.0 + shut * 0.8, shut * f / 700.0)
    return real * even, imag * even


def _evening(power, pitches):
    """Return a gain for each tract shape that halves (in dB) the effect of harmonics that hit or miss a formant."""
    gains = []
    for row, pitch in zip(power, pitches, strict=True):
        harmonics = np.arange(1.0, np.floor(11000.0 / pitch) + 1.0) * (pitch * _GRAIN / RATE)
        gains.append(1.0 / np.sqrt(pitch * np.sqrt(ordered_sum(interpolate(row, harmonics)))))
    return np.array(gains)[:, None]


def _tract(recipe, made, f, *, damping: float):
    """Return the spectrum of fourteen resonances in cascade, microphone and band limit: two arrays (S, len(f))."""
    person = SINGERS[recipe.singer]
    spacing = 1000.0 * person.tract * (1.0 if person.gender == "male" else 1.15)
    poles = all_poles(made.shapes, spacing)
    width = bandwidths(poles, made.pitches[:, None])
    width *= 0.55 + 0.75 * recipe.open_quotient  # an open glottis damps the tract
    if recipe.technique == "vocal_fry":
        width *= 1.5  # slack folds do too
    width[:, 0] += damping + 80.0 * max(recipe.open_quotient - 0.6, 0.0)
    real = np.ones((len(poles), len(f)))
    imag = np.zeros_like(real)
    for n in range(poles.shape[1]):
        natural = (poles[:, n] * poles[:, n] + 0.25 * width[:, n] * width[:, n])[:, None]
        real, imag = _divide(real, imag, 1.0 - f * f / natural, f * width[:, n, None] / natural)
    tone = float(from_decibels(recipe.microphone))
    zero, pole = 2000.0 / np.sqrt(tone), 2000.0 * np.sqrt(tone)
    real, imag = real - imag * (f / zero), imag + real * (f / zero)
    real, imag = _divide(real, imag, 1.0, f / pole)
    rumble = f * f / (f * f + 40.0 * 40.0)
    edge = np.clip((11500.0 - f) / 1500.0, 0.0, 1.0)
    edge = edge * edge * (3.0 - 2.0 * edge) * rumble
    return real * edge, imag * edge


def _divide(a, b, c, d):
    """(a + jb) / (c + jd)."""
    size = c * c + d * d
    return (a * c + b * d) / size, (b * c - a * d) / size


# Noise -----------------------------------------------------------------------------------------------------------


def _coloured_noise(envelope, rng):
    """Return Gaussian noise with a given spectrum and an RMS of 1.

    Parameters
    ----------
    envelope : numpy.ndarray, shape (129, 1) or (129, 470)
        Magnitude at multiples of 93.75 Hz, for the whole sound or for each 10.7 ms.

    Returns
    -------
    numpy.ndarray, shape (120000,)
    """
    half = _BLOCK // 2
    pairs = SAMPLES // _BLOCK + 2
    white = rng.between(-1.0, 1.0, (2, _BLOCK, pairs))
    envelope = np.concatenate([envelope, envelope[-2:0:-1]])
    # The spectrum is not Hermitian, so that the real and imaginary parts of its transform are two independent noises.
    first, second = inverse_fft(white[0] * envelope, white[1] * envelope)
    window = sine((np.arange(_BLOCK) + 0.5) / (2.0 * _BLOCK))
    blocks = np.stack([first.T, second.T], axis=1).reshape(2 * pairs, _BLOCK) * window
    sound = np.zeros((2 * pairs + 1, half))
    sound[:-1] += blocks[:, :half]
    sound[1:] += blocks[:, half:]
    sound = sound.reshape(-1)[half : half + SAMPLES]
    return sound / rms(sound)


def _aspiration(recipe, made, phase, rng):
    """Return breath noise filtered by the first tract shape, pulsating with the glottis."""
    f = np.arange(_BLOCK // 2 + 1) * (RATE / _BLOCK)
    real, imag = _tract(recipe, made, f, damping=150.0)
    source = np.sqrt((f * f + 90000.0) / (f * f + 2250000.0))
    envelope = np.sqrt(real[0] * real[0] + imag[0] * imag[0]) * source
    return _coloured_noise(envelope[:, None], rng) * upsample(made.breath, _HOP) * _breathing(recipe, phase)


def _breathing(recipe, phase):
    """Return the gain of aspiration over the glottal cycle: largest while the glottis is open, least when it closes."""
    cycle = upsample(phase, _HOP)
    cycle = cycle - np.floor(cycle)
    arch = 4.0 * cycle * (1.0 - cycle)
    depth = 0.3 if recipe.technique == "inhaled" else 0.75
    return (1.0 - depth) + depth * arch * arch


def _hiss(made, rng):
    """Return the noise of consonants: a burst from the lips, [s], or a duller [sh]."""
    f = np.arange(_BLOCK // 2 + 1)[:, None] * (RATE / _BLOCK)
    centre, width = np.array([1500.0, 6500.0, 3200.0]), np.array([1800.0, 1600.0, 1100.0])
    distance = (f - centre) / width
    edge = f * f / (f * f + 160000.0) * np.clip((11500.0 - f) / 1500.0, 0.0, 1.0)
    colours = edge / (1.0 + distance * distance)
    times = np.minimum(np.arange(SAMPLES // _BLOCK + 2) * (_BLOCK * FRAME_RATE) // RATE, FRAMES - 1)
    return _coloured_noise(colours[:, made.hiss_colour[times]], rng) * upsample(made.hiss, _HOP)


def _background(rng):
    """Return pink-like room noise: a sum of white noises held for 1, 2, 4 ... 256 samples (Voss and Clarke 1978)."""
    total = np.zeros(SAMPLES)
    for octave in range(9):
        held = rng.between(-1.0, 1.0, SAMPLES // 2**octave + 1)
        total += np.repeat(held, 2**octave)[:SAMPLES]
    return total - ordered_sum(total) / SAMPLES


def _room(x, recipe, rng):
    """Add a small room: two stages of sparse random echoes at the recipe's direct-to-reverberant ratio."""
    wet = _echoes(x, rng, taps=8, start=20, end=500, decay=0.02)
    wet = _echoes(wet, rng, taps=14, start=120, end=int(0.8 * recipe.decay_time * RATE), decay=recipe.decay_time)
    wet[1:] = 0.5 * (wet[1:] + wet[:-1])
    gain = rms(x) * float(from_decibels(-recipe.direct_to_reverberant)) / max(rms(wet), 1e-12)
    return x + gain * wet


def _echoes(x, rng, *, taps, start, end, decay):
    """Sum `taps` delayed copies, at a random delay in each of as many equal slots, that decay by 60 dB in `decay` s."""
    out = np.zeros_like(x)
    slot = (end - start) / taps
    for n in range(taps):
        delay = int(start + slot * (n + rng.random()))
        sign = 1.0 if rng.random() < 0.5 else -1.0
        gain = sign * float(from_decibels(-60.0 * delay / (decay * RATE)))
        out[delay:] += gain * x[:-delay]
    return out
