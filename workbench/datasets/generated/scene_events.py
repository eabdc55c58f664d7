"""Synthesise one sound event of a class for the generated sets `scenes` and `scenes_multi`.

Sounds with a pitch contour (tone, voice, whistle) read a band-limited cycle from a table; struck ones (metal, thump)
are sums of decaying partials; clicks are short pieces of shaped noise. The numbers were chosen by ear so that listeners
can distinguish the classes; they were not measured on recordings. All arithmetic is that of `portable_math`, which
gives the same bits on every machine.
"""

from __future__ import annotations

import math

import numpy as np

from .portable_math import (
    Draws,
    cosine,
    drift,
    exp2,
    interpolate,
    inverse_fft,
    ordered_sum,
    rms,
    sine,
    upsample,
)
from .scene_makers import CLASSES, maker

RATE = 44100
_HOP = 49  # samples between two values of a control curve, which has 900 values a second
_STEPS = RATE // _HOP
_TABLE = 2048  # samples of a cycle
_BLOCK = 1024  # samples of a block of shaped noise
_MINUS_60_DB = -9.965784284662087  # as a power of two


def sound(label: str, site: str, seconds: float, *, pitch: float, rate: float, random_seed: int) -> np.ndarray:
    """Return the sound of one event without a background.

    Parameters
    ----------
    label, site : str
        Class of the event, and the site whose maker of this class sounds (see `scene_makers`).
    seconds : float
    pitch : float
        Semitones above the maker's pitch.
    rate : float
        Factor on the maker's rate.
    random_seed : int

    Returns
    -------
    numpy.ndarray of float64, shape (round(seconds * 44100),)
        The sound at an RMS of 1, faded to silence at both ends.
    """
    rng = Draws((random_seed, CLASSES.index(label)))
    made = maker(label, site)
    frequency = made.pitch * float(exp2(pitch / 12.0))
    x = _MAKERS[label](made, frequency, made.rate * rate, round(seconds * RATE), rng)
    x[:44] *= ramp(np.arange(44) / 44.0)  # 1 ms
    x[-441:] *= ramp(np.arange(440, -1, -1) / 441.0)  # 10 ms
    return x * (1.0 / rms(x))


def ramp(position):
    """Return a smooth step from 0 to 1 as `position` goes from 0 to 1."""
    position = np.clip(position, 0.0, 1.0)
    return position * position * (3.0 - 2.0 * position)


def shaped_noise(spectrum, samples: int, rng: Draws) -> np.ndarray:
    """Return noise with a given spectrum.

    Parameters
    ----------
    spectrum : numpy.ndarray of float64, shape (513, 1) or (513, B)
        Magnitude at multiples of 1/1024 of the rate (43.07 Hz), either for the whole sound or for each of B blocks of
        1024 samples (``B >= samples // 1024 + 2``).
    samples : int
    rng : Draws

    Returns
    -------
    numpy.ndarray of float64, shape (samples,)
    """
    half, pairs = _BLOCK // 2, samples // _BLOCK + 2
    white = rng.between(-1.0, 1.0, (2, _BLOCK, pairs))
    spectrum = np.concatenate([spectrum, spectrum[-2:0:-1]])[:, :pairs]
    # The spectrum is not Hermitian, so that the real and imaginary parts of its transform are two independent noises.
    first, second = inverse_fft(white[0] * spectrum, white[1] * spectrum)
    window = sine((np.arange(_BLOCK) + 0.5) / (2.0 * _BLOCK))
    blocks = np.stack([first.T, second.T], axis=1).reshape(2 * pairs, _BLOCK) * window
    out = np.zeros((2 * pairs + 1, half))
    out[:-1] += blocks[:, :half]
    out[1:] += blocks[:, half:]
    return out.reshape(-1)[half : half + samples]


def bins():
    """Return the frequencies of a spectrum's rows for `shaped_noise` at 44.1 kHz, Hz, shape (513, 1)."""
    return np.arange(_BLOCK // 2 + 1)[:, None] * (RATE / _BLOCK)


# Strokes ---------------------------------------------------------------------------------------------------------


def _regular(rng, seconds, rate, length):
    """Return onsets in seconds of strokes at even intervals (within 2 %), all of them complete, and their strengths."""
    onsets = np.arange(max(int((seconds - length) * rate) + 1, 1)) / rate
    onsets[1:] += rng.between(-0.02, 0.02, len(onsets) - 1) / rate
    return onsets, rng.between(0.8, 1.0, len(onsets))


def _irregular(rng, seconds, rate, length, *, apart=0.0):
    """Return onsets of complete strokes at irregular intervals of at least `apart` seconds, and their strengths.

    The intervals are 0.25 to 2.5 times ``1 / rate``, their mean.
    """
    wide = rng.random(int(4.0 * seconds * rate) + 2)
    intervals = np.maximum((0.25 + 2.25 * wide * wide) / rate, apart)
    onsets = np.cumsum(np.append(0.0, intervals))
    onsets = onsets[onsets <= max(seconds - length, 0.0)]
    return onsets, rng.between(0.35, 1.0, len(onsets))


def _times(samples):
    """Return the times in seconds of the values of a control curve that covers `samples`."""
    return np.arange(samples // _HOP + 2) / _STEPS


def _stroke_curves(times, onsets, length):
    """Return for each time the number of the last stroke that began, and the part of it that is over (above 1: all)."""
    number = np.maximum(np.searchsorted(onsets, times, side="right") - 1, 0)
    return number, (times - onsets[number]) / length


# Sounds with a pitch contour ---------------------------------------------------------------------------------------


def _cycle(strengths):
    """Return one cycle of a sum of harmonics with alternating phases, followed by its first sample, shape (2049,)."""
    turns = np.arange(_TABLE + 1) / _TABLE
    total = np.zeros(_TABLE + 1)
    for number, strength in enumerate(strengths, start=1):
        if strength:
            total += strength * sine(number * turns + 0.25 * (number % 4))
    return total


def _sing(strengths, frequency, amplitude, samples):
    """Read a cycle from its table, with control curves of the frequency (Hz) and the amplitude."""
    strengths = strengths[: max(int(0.45 * RATE / float(frequency.max())), 1)]
    phase = upsample(np.cumsum(frequency) / _STEPS, _HOP)[:samples]
    phase -= np.floor(phase)
    return interpolate(_cycle(strengths), phase * _TABLE) * upsample(amplitude, _HOP)[:samples]


def _tone_colour(made):
    """Return strengths of harmonics as of a loudspeaker horn, in which even ones are weaker than odd ones."""
    fall = 1.1 + 0.8 * made.colour[1]
    even = 0.1 + 0.6 * made.colour[2]
    return [float(exp2(-fall * round(math.log2(k), 6))) * (even if k % 2 == 0 else 1.0) for k in range(1, 13)]


def _siren(made, frequency, rate, samples, rng):
    times = _times(samples)
    turn = rate * times + rng.random()
    turn -= np.floor(turn)
    swing = 1.0 - np.abs(2.0 * turn - 1.0)  # up and down again
    # A two-tone siren rests on both pitches, a wailing one glides all the time.
    swing = ramp(8.0 * swing - 3.5) if made.colour[0] < 0.5 else ramp(swing)
    octaves = 0.35 + 0.35 * made.colour[3]
    return _sing(_tone_colour(made), frequency * exp2(octaves * (swing - 0.5)), np.ones_like(times), samples)


def _alarm(made, frequency, rate, samples, rng):
    times = _times(samples)
    length = (0.4 + 0.25 * made.colour[4]) / rate
    onsets, strengths = _regular(rng, samples / RATE, rate, length)
    number, part = _stroke_curves(times, onsets, length)
    octaves = 0.35 + 0.35 * made.colour[3]
    high = (number % 2) if made.colour[0] < 0.5 else np.full(len(times), rng.below(2))
    amplitude = ramp(part * length / 0.006) * ramp((1.0 - part) * length / 0.006)
    return _sing(_tone_colour(made), frequency * exp2(octaves * (high - 0.5)), amplitude, samples)


def _voice_colour(made):
    """Return strengths of the harmonics of a pulse through three formants, at the maker's own pitch."""
    first, second = 650.0 + 500.0 * made.colour[0], 1500.0 + 1100.0 * made.colour[1]
    f = made.pitch * np.arange(1.0, 25.0)
    gain = np.full_like(f, 0.03)
    for centre, width, peak in ((first, 140.0, 1.0), (second, 220.0, 0.6), (second + 1300.0, 350.0, 0.35)):
        distance = (f - centre) / width
        gain += peak / (1.0 + distance * distance)
    return (gain / (1.0 + f / 1500.0)).tolist()


def _cry(made, frequency, rate, samples, rng):
    times = _times(samples)
    turn = rate * times + 0.6 * drift(rng, len(times), 0.8 * _STEPS)
    turn -= np.floor(turn)
    arch = 4.0 * turn * (1.0 - turn)
    octaves = (0.2 + 0.25 * made.colour[2]) * (arch - 0.5) + 0.02 * sine((5.0 + 3.0 * made.colour[3]) * times)
    octaves = octaves + 0.012 * drift(rng, len(times), 8.0)
    return _sing(_voice_colour(made), frequency * exp2(octaves), 0.3 + 0.7 * ramp(1.5 * arch), samples)


def _bark(made, frequency, rate, samples, rng):
    times = _times(samples)
    length = 0.11 + 0.09 * made.colour[3]
    onsets, strengths = _irregular(rng, samples / RATE, rate, length, apart=length)
    number, part = _stroke_curves(times, onsets, length)
    octaves = (0.25 + 0.35 * made.colour[2]) * (0.5 - np.clip(part, 0.0, 1.0)) + 0.03 * drift(rng, len(times), 5.0)
    amplitude = ramp(part * 8.0) * ramp((1.0 - part) * 1.6) * strengths[number]
    return _sing(_voice_colour(made), frequency * exp2(octaves), amplitude, samples)


def _cricket(made, frequency, rate, samples, rng):
    times = _times(samples)
    length = (0.45 + 0.2 * made.colour[1]) / rate
    onsets, strengths = _regular(rng, samples / RATE, rate, length)
    number, part = _stroke_curves(times, onsets, length)
    octaves = 0.03 * drift(rng, len(times), 0.5 * _STEPS) + 0.05 * made.colour[2] * np.clip(part, 0.0, 1.0)
    amplitude = ramp(3.0 * part) * ramp(3.0 * (1.0 - part)) * strengths[number]
    return _sing((1.0, 0.25 * made.colour[0]), frequency * exp2(octaves), amplitude, samples)


def _birdsong(made, frequency, rate, samples, rng):
    times = _times(samples)
    length = 0.06 + 0.08 * made.colour[1]
    onsets, strengths = _irregular(rng, samples / RATE, rate, length, apart=length)
    number, part = _stroke_curves(times, onsets, length)
    # Every chirp of a bird is one of its three sweeps.
    sweep = np.array([-0.5, 0.3, 0.5])[(np.floor(rng.random(len(onsets)) * 3.0)).astype(np.int64)]
    height = rng.between(-0.15, 0.15, len(onsets))
    octaves = height[number] + (0.3 + 0.7 * made.colour[2]) * sweep[number] * (np.clip(part, 0.0, 1.0) - 0.5)
    amplitude = ramp(3.0 * part) * ramp(3.0 * (1.0 - part)) * strengths[number]
    return _sing((1.0, 0.25 * made.colour[0]), frequency * exp2(octaves), amplitude, samples)


# Struck sounds -----------------------------------------------------------------------------------------------------


def partial(frequency: float, decay: float, samples: int) -> np.ndarray:
    """Return a sine that decays by 60 dB in `decay` seconds, (samples,), made by doubling the part that is done."""
    fall = float(exp2(_MINUS_60_DB / (decay * RATE)))
    c, s = fall * float(cosine(frequency / RATE)), fall * float(sine(frequency / RATE))
    real, imag = np.empty((2, samples))
    real[0], imag[0], done = 1.0, 0.0, 1
    while done < samples:
        more = min(done, samples - done)
        real[done : done + more] = real[:more] * c - imag[:more] * s
        imag[done : done + more] = real[:more] * s + imag[:more] * c
        c, s, done = c * c - s * s, 2.0 * c * s, done + more
    return imag


def _falling(decay, samples):
    """Return an envelope that decays by 60 dB in `decay` seconds."""
    return exp2(np.arange(samples) * (_MINUS_60_DB / (decay * RATE)))


def _strike(out, onsets, strengths, grains):
    """Add a grain to `out` at each onset (s), taking the grains in turn."""
    for i, (onset, strength) in enumerate(zip(onsets.tolist(), strengths.tolist(), strict=True)):
        grain, start = grains[i % len(grains)], round(onset * RATE)
        target = out[start : start + len(grain)]
        target += strength * grain[: len(target)]
    return out


# Partials of a bell from its hum note on: the usual names are hum, prime, tierce, quint, nominal, and two above.
_BELL = (1.0, 2.0, 2.4, 3.0, 4.0, 5.3, 6.7)


def _metal(made, frequency, decay, rng):
    """Return one strike of a bell or chime: inharmonic partials, of which higher ones decay faster."""
    samples = round(decay * RATE)
    total = np.zeros(samples)
    for k, ratio in enumerate(_BELL):
        tuned = ratio * (1.0 + 0.12 * (made.colour[k] - 0.5))
        strength = rng.between(0.6, 1.0) * (0.35 + 0.65 * made.colour[(3 * k + 1) % 8]) / (1.0 + 0.25 * k)
        total += strength * partial(frequency * tuned, decay / (1.0 + 0.22 * k), samples)
    total[:44] *= np.arange(44) / 44.0
    return total


def _bell(made, frequency, rate, samples, rng):
    onsets, strengths = _regular(rng, samples / RATE, rate, 0.6)
    decay = 4.0 + 4.0 * made.colour[7]
    grain = _metal(made, frequency, decay, rng)
    return _strike(np.zeros(samples), onsets, strengths, [grain])


def _chimes(made, frequency, rate, samples, rng):
    decay = 0.35 + 0.4 * made.colour[7]
    onsets, strengths = _irregular(rng, samples / RATE, rate, 0.4 * decay)
    steps = np.array([0.0, 2.0, 4.0, 7.0, 9.0]) - 4.0
    grains = [_metal(made, frequency * float(exp2(step / 12.0)), decay, rng) for step in steps]
    order = (rng.random(len(onsets)) * len(grains)).astype(np.int64)
    return _strike(np.zeros(samples), onsets, strengths, [grains[i] for i in order])


def _thump(made, frequency, rng):
    """Return one blow on wood or one stroke of a piston, made of four low modes."""
    decay = 0.10 + 0.12 * made.colour[0]
    total = np.zeros(round(decay * RATE))
    for k, ratio in enumerate((1.0, 1.7, 2.6, 4.1)):
        tuned = ratio * (1.0 + 0.2 * (made.colour[k + 1] - 0.5))
        strength = rng.between(0.8, 1.0) * (0.4 + 0.6 * made.colour[k + 4]) / (1.0 + 0.3 * k)
        total += strength * partial(frequency * tuned, decay / (1.0 + 0.4 * k), len(total))
    fall = _falling(decay, len(total))
    return total - fall * (ordered_sum(total) / ordered_sum(fall))  # the mean pressure of a blow is 0


def _knock(made, frequency, rate, samples, rng):
    onsets, strengths = _regular(rng, samples / RATE, rate, 0.1)
    return _strike(np.zeros(samples), onsets, strengths, [_thump(made, frequency, rng) for _ in range(3)])


def _engine(made, frequency, rate, samples, rng):
    times = _times(samples)
    turn = np.cumsum(rate * exp2(0.12 * drift(rng, len(times), 1.2 * _STEPS))) / _STEPS
    count = int(turn[-2])
    onsets = np.searchsorted(turn, np.arange(count) + rng.between(-0.06, 0.06, count) + 0.06) / _STEPS
    strengths = rng.between(0.75, 1.0, count)
    return _strike(np.zeros(samples), onsets, strengths, [_thump(made, frequency, rng) for _ in range(3)])


def _clicks(made, frequency, rng):
    """Return six short pieces of noise around a centre frequency, 93 ms each."""
    f, width = bins(), 0.45 + 0.4 * made.colour[0]
    distance = (f - frequency) / (width * frequency)
    high = (f - 2.6 * frequency) / (0.8 * frequency)
    spectrum = 1.0 / (1.0 + distance * distance) + 0.4 * made.colour[1] / (1.0 + high * high)
    spectrum *= f / (f + 200.0)
    size = 4 * _BLOCK
    decay = _falling(0.07 + 0.09 * made.colour[2], size)
    decay[:22] *= np.arange(22) / 22.0
    grains = shaped_noise(spectrum, 6 * size, rng).reshape(6, size) * decay
    return [grain * (1.0 / rms(grain)) for grain in grains]


def _clapping(made, frequency, rate, samples, rng):
    onsets, strengths = _regular(rng, samples / RATE, rate, 0.06)
    return _strike(np.zeros(samples), onsets, strengths, _clicks(made, frequency, rng))


def _crackle(made, frequency, rate, samples, rng):
    onsets, strengths = _irregular(rng, samples / RATE, rate, 0.06)
    strengths = strengths * strengths
    return _strike(np.zeros(samples), onsets, strengths, _clicks(made, frequency, rng))


_MAKERS = {
    "alarm": _alarm,
    "bark": _bark,
    "bell": _bell,
    "birdsong": _birdsong,
    "chimes": _chimes,
    "clapping": _clapping,
    "crackle": _crackle,
    "cricket": _cricket,
    "cry": _cry,
    "engine": _engine,
    "knock": _knock,
    "siren": _siren,
}
