"""The instruments of the generated set `notes`: their timbre, how they are played, and eight specimens of each.

Each instrument has the acoustic cues that textbooks name (Fletcher and Rossing, "The Physics of Musical Instruments",
2nd ed., 1998): the plucking point and the stiffness of strings, the odd harmonics of a cylinder closed at one end, the
formants of a double reed, brass that grows brighter with level, the breath of a flute, the ranks of an organ, the
partials of bells and bars. The numbers were chosen by ear, not measured on recordings.

Sustained instruments are sums of harmonics (`SUSTAINED`), struck and plucked ones sums of decaying modes (`STRUCK`).
A specimen is one particular instrument (one violin, say) in one room. It has its own tuning, body, noise and recording,
which no recipe can change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .portable_math import Draws, exp2, from_decibels, sine

#: Lowest and highest MIDI note of each instrument.
RANGES = {
    "bass": (28, 55),
    "bell": (58, 86),
    "cello": (36, 72),
    "clarinet": (50, 86),
    "flute": (60, 93),
    "guitar": (40, 79),
    "marimba": (45, 88),
    "oboe": (58, 88),
    "organ": (36, 88),
    "piano": (33, 93),
    "trumpet": (54, 84),
    "violin": (55, 91),
}
INSTRUMENTS = tuple(RANGES)
#: Number of specimens of each instrument, such as violin1 to violin8.
SPECIMENS = 8

_OWN = {
    "bass": ("long", "staccato", "muted"),
    "bell": ("long", "staccato"),
    "cello": ("long", "staccato", "vibrato", "tremolo"),
    "clarinet": ("long", "staccato", "vibrato"),
    "flute": ("long", "staccato", "vibrato", "flutter"),
    "guitar": ("long", "staccato", "muted", "tremolo"),
    "marimba": ("long", "staccato", "tremolo"),
    "oboe": ("long", "staccato", "vibrato"),
    "organ": ("long", "staccato", "vibrato"),
    "piano": ("long", "staccato"),
    "trumpet": ("long", "staccato", "vibrato", "flutter"),
    "violin": ("long", "staccato", "vibrato", "tremolo"),
}
ARTICULATIONS = ("flutter", "long", "muted", "staccato", "tremolo", "vibrato")


def articulations(instrument: str) -> tuple[str, ...]:
    """Return the articulations in which an instrument is played."""
    return _OWN[instrument]


@dataclass(frozen=True)
class _Specimen:
    """One particular instrument, the habits of its player and its room.

    Attributes
    ----------
    tuning : float
        Deviation from equal temperament, cents (above is positive).
    shelf : float
        Gain of a treble shelf for body and microphone together, dB.
    body : numpy.ndarray, shape (R, 3)
        Resonances of the body: centre in Hz, half width in Hz, gain in dB.
    noise : float
        Level of the playing noise relative to the instrument's usual one, dB.
    decay : float
        Decay time relative to the instrument's usual one, a factor.
    decay_time : float
        Reverberation time of the room (decay by 60 dB), s.
    direct_to_reverberant : float
        Direct-to-reverberant ratio, dB.
    background : float
        Level of the room's background noise, dBFS.
    traits : tuple of float
        Twelve numbers from 0 to 1, whose meaning depends on the instrument.
    seed : tuple of int
        Seed of the room's echoes.
    """

    tuning: float
    shelf: float
    body: np.ndarray
    noise: float
    decay: float
    decay_time: float
    direct_to_reverberant: float
    background: float
    traits: tuple[float, ...]
    seed: tuple[int, ...]

    def gain(self, f):
        """Return the gain (a factor) of body and microphone at frequencies in Hz, of any shape."""
        decibels = np.zeros_like(f)
        for centre, width, peak in self.body.tolist():
            distance = (f - centre) / width
            decibels += peak / (1.0 + distance * distance)
        tone = float(from_decibels(self.shelf))
        zero, pole = 2000.0 / math.sqrt(tone), 2000.0 * math.sqrt(tone)
        shelf = (1.0 + (f / zero) * (f / zero)) / (1.0 + (f / pole) * (f / pole))
        return from_decibels(decibels) * np.sqrt(shelf)


# Body resonances: centre (Hz), half width (Hz), gain (dB). The violin's are A0, B1-, B1+ and the bridge hill.
_BODIES = {
    "bass": ((95.0, 25.0, 5.0), (190.0, 45.0, 4.0), (700.0, 250.0, 3.0)),
    "bell": (),
    "cello": ((105.0, 18.0, 8.0), (190.0, 25.0, 8.0), (330.0, 60.0, 4.0), (1300.0, 500.0, 6.0), (620.0, 90.0, -6.0)),
    "clarinet": ((1500.0, 500.0, 3.0), (3200.0, 700.0, 2.0)),
    "flute": ((900.0, 400.0, 3.0),),
    "guitar": ((105.0, 18.0, 8.0), (205.0, 28.0, 7.0), (400.0, 70.0, 4.0), (2600.0, 900.0, 4.0), (310.0, 40.0, -6.0)),
    "marimba": (),
    "oboe": ((1100.0, 260.0, 13.0), (2900.0, 500.0, 11.0), (550.0, 180.0, -5.0), (1900.0, 350.0, -7.0)),
    "organ": (),
    "piano": ((120.0, 60.0, 3.0), (350.0, 180.0, 3.0), (1100.0, 700.0, 2.0)),
    "trumpet": ((1300.0, 500.0, 5.0), (2600.0, 800.0, 2.0)),
    "violin": ((280.0, 25.0, 9.0), (460.0, 35.0, 8.0), (550.0, 40.0, 8.0), (2500.0, 700.0, 8.0), (1300.0, 250.0, -6.0)),
}


def specimen(instrument: str, number: int) -> _Specimen:
    """Return the specimen with this number (1 to 8), which is always the same."""
    seed = (4211, INSTRUMENTS.index(instrument), number)
    rng = Draws(seed)
    size = rng.between(0.9, 1.1)  # a larger body resonates lower
    body = [
        (centre * size * rng.between(0.94, 1.06), width * rng.between(0.7, 1.4), peak + rng.between(-3.0, 3.0))
        for centre, width, peak in _BODIES[instrument]
    ]
    # A few ripples of the frequency response that differ between specimens.
    for octave in range(5):
        centre = 250.0 * float(exp2(octave + rng.between(-0.5, 0.5)))
        body.append((centre, centre * rng.between(0.08, 0.2), rng.between(-5.0, 5.0)))
    return _Specimen(
        tuning=round(rng.between(-8.0, 8.0), 2),
        shelf=rng.between(-4.0, 4.0),
        body=np.array(body),
        noise=rng.between(-4.0, 4.0),
        decay=rng.between(0.75, 1.3),
        decay_time=rng.between(0.15, 0.6),
        direct_to_reverberant=rng.between(7.0, 22.0),
        background=rng.between(-84.0, -70.0),
        traits=tuple(rng.random() for _ in range(12)),
        seed=seed,
    )


# Sustained instruments ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sustained:
    """Parameters of a blown or bowed instrument.

    Attributes
    ----------
    strength : callable
        ``(k, f, effort, specimen) -> amplitude`` of harmonics with numbers k (K, 1) at frequencies f in Hz (K, T), for
        an effort of playing from 0 to 1.
    attack, late, release : float
        In seconds: rise time of the fundamental; delay of each octave above it; time in which all harmonics decay by
        60 dB.
    noise : float
        Level of the playing noise relative to the tone at medium effort, dB.
    burst : float
        Gain of that noise at the onset, dB.
    colour : callable
        ``(f, f0) -> amplitude``: spectrum of that noise.
    scoop : float
        Deviation of the pitch at the onset, cents.
    vibrato_rate, vibrato_extent : tuple of float
        Lowest and highest rate of vibrato in Hz, and its extent in cents to either side.
    swell : float
        Depth of the amplitude modulation by vibrato, a share of the amplitude.
    """

    strength: Callable
    attack: float
    late: float
    release: float
    noise: float
    burst: float
    colour: Callable
    scoop: float = 0.0
    vibrato_rate: tuple[float, float] = (4.8, 6.4)
    vibrato_extent: tuple[float, float] = (10.0, 28.0)
    swell: float = 0.1


_OCTAVES = np.array([round(math.log2(k), 6) for k in range(1, 129)])[:, None]


def _falling(k, decibels_per_octave):
    """Amplitude of harmonics that fall by so many dB an octave."""
    return from_decibels(-decibels_per_octave * _OCTAVES[: len(k)])


def _low_pass(f, corner, order=1):
    """Amplitude of a low pass of twice `order` poles, -6 dB times `order` at the corner."""
    gain = 1.0 / (1.0 + (f / corner) * (f / corner))
    return gain if order == 1 else gain * _low_pass(f, corner, order - 1)


def _bowed(corner):
    def strength(k, f, effort, made):
        place = 0.07 + 0.07 * made.traits[0]  # of the bow on the string; modes with a node there are not excited
        missed = 0.35 + 0.65 * np.abs(sine(0.5 * k * place))
        return _falling(k, 5.5 - effort) * missed * _low_pass(f, corner * (0.5 + 1.3 * effort))

    return strength


def _clarinet(k, f, effort, made):
    fall = 9.5 + 2.0 * made.traits[0] - 5.0 * effort
    # Even harmonics are weak where the bore acts as closed at one end: the lower their frequency, the weaker.
    even = from_decibels(-(22.0 + 8.0 * made.traits[1]) * _low_pass(f, 1500.0 + 600.0 * made.traits[2]))
    return np.where(k % 2 == 0, even, 1.0) * _falling(k, fall) * _low_pass(f, 3200.0 + 3500.0 * effort)


def _oboe(k, f, effort, made):
    return _falling(k, 4.0 + 1.5 * made.traits[0] - 1.5 * effort) * _low_pass(f, 3000.0 + 2500.0 * effort)


def _trumpet(k, f, effort, made):
    corner = (900.0 + 350.0 * made.traits[0]) * float(exp2(2.1 * effort))
    return _falling(k, 1.5) * _low_pass(f, corner, 2)


def _flute(k, f, effort, made):
    second = from_decibels(-13.0 + 17.0 * effort + 6.0 * (made.traits[0] - 0.5))
    return np.where(k == 1, 1.0, second) * _falling(k, 13.0 - 6.0 * effort) * _low_pass(f, 4500.0)


def _organ_pipe(k, f, effort, made):
    return _falling(k, 9.0 + 4.0 * made.traits[0] - 3.0 * effort) * _low_pass(f, 5500.0)


def _hiss(low, high):
    """Return a spectrum of noise between two corner frequencies, Hz."""

    def colour(f, f0):
        return (f / (f + low)) * _low_pass(f, high)

    return colour


def _breath(f, f0):
    """Breath over a mouth hole: hiss, strongest at the resonances of the tube."""
    turn = f / f0
    near = turn - np.rint(turn)
    return (0.25 + 1.0 / (1.0 + (near * near) * 120.0)) * (f / (f + 700.0)) * _low_pass(f, 5200.0)


SUSTAINED = {
    "cello": Sustained(
        _bowed(2600.0), 0.075, 0.008, 0.22, -30.0, 10.0, _hiss(900.0, 5000.0), 0.0, (4.6, 6.0), (14, 34)
    ),
    "clarinet": Sustained(_clarinet, 0.045, 0.012, 0.10, -40.0, 12.0, _hiss(1500.0, 6000.0), -12.0, swell=0.05),
    "flute": Sustained(_flute, 0.065, 0.010, 0.12, -21.0, 9.0, _breath, 8.0, (4.4, 5.8), (6.0, 18.0), 0.35),
    "oboe": Sustained(_oboe, 0.035, 0.004, 0.09, -42.0, 12.0, _hiss(2000.0, 7000.0), -10.0),
    "organ": Sustained(_organ_pipe, 0.030, -0.004, 0.10, -38.0, 14.0, _breath, 0.0, (5.5, 7.0), (4.0, 10.0), 0.30),
    "trumpet": Sustained(_trumpet, 0.040, 0.016, 0.09, -44.0, 14.0, _hiss(1000.0, 5000.0), -35.0, (4.8, 6.2), (8, 26)),
    "violin": Sustained(
        _bowed(5200.0), 0.060, 0.006, 0.16, -29.0, 10.0, _hiss(1800.0, 8000.0), 0.0, (5.0, 6.6), (14, 38)
    ),
}

#: Ranks of an organ: pitch relative to the eight-foot rank, strength, and least effort at which the rank sounds.
RANKS = ((1.0, 1.0, 0.0), (2.0, 0.6, 0.0), (4.0, 0.5, 0.4), (3.0, 0.35, 0.4), (0.5, 0.4, 0.8), (6.0, 0.35, 0.8))


# Struck and plucked instruments --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Struck:
    """Parameters of a plucked or struck instrument.

    Attributes
    ----------
    modes : callable
        ``(f0, effort, specimen, place) -> (frequency, amplitude, decay)`` of the modes, each (M,): in Hz, relative, and
        as the seconds of a decay by 60 dB. `place` from 0 to 1 is where the string or bar is struck.
    damping : float
        Seconds in which the sound decays by 60 dB after it is stopped.
    noise : float
        Peak of the noise of the stroke relative to the peak of the tone at medium effort, dB.
    noise_decay : float
        Seconds in which that noise decays by 60 dB.
    noise_band : tuple of float
        Centre and half width of its band, Hz.
    """

    modes: Callable
    damping: float
    noise: float
    noise_decay: float
    noise_band: tuple[float, float]


def _string(f0, stiffness, most):
    """Numbers and frequencies of the modes of a stiff string, the first exactly at `f0`."""
    k = np.arange(1.0, min(most, int(10500.0 / f0)) + 1.0)
    f = k * f0 * np.sqrt((1.0 + stiffness * k * k) / (1.0 + stiffness))
    return k[f < 10500.0], f[f < 10500.0]


def _guitar(f0, effort, made, place):
    k, f = _string(f0, 4e-5 + 8e-5 * made.traits[0], 60)
    at = 0.09 + 0.20 * place + 0.05 * made.traits[1]
    amplitude = np.abs(sine(0.5 * k * at)) / k * _low_pass(f, 1600.0 + 1000.0 * made.traits[2] + 4000.0 * effort)
    decay = (3.6 * math.sqrt(110.0 / f0)) / (1.0 + 0.10 * k + f * f / 6.0e6)
    return f, amplitude, decay


def _bass(f0, effort, made, place):
    k, f = _string(f0, 1e-4 + 2e-4 * made.traits[0], 60)
    at = 0.12 + 0.16 * place + 0.08 * made.traits[1]
    amplitude = np.abs(sine(0.5 * k * at)) / k * _low_pass(f, 450.0 + 500.0 * made.traits[2] + 1500.0 * effort)
    decay = (4.5 * math.sqrt(55.0 / f0)) / (1.0 + 0.12 * k + f * f / 2.0e6)
    return f, amplitude, decay


def _piano(f0, effort, made, place):
    # Stiffness is smallest around f0 = 100 Hz and grows on either side, faster towards the treble.
    stiffness = (1.2e-4 + 1.2e-4 * made.traits[0]) * (0.6 + 60.0 / f0 + f0 * f0 / 1.6e5)
    k, f = _string(f0, stiffness, 50)
    hammer = _low_pass(f, (500.0 + 250.0 * made.traits[1] + 1.2 * f0) * float(exp2(2.0 * effort)))
    amplitude = (0.15 + np.abs(sine(0.5 * k / (7.0 + 2.0 * made.traits[2])))) * hammer
    decay = 7.0 * math.sqrt(110.0 / f0) / (1.0 + 0.08 * k + f * f / 9.0e6)
    # Two slightly detuned strings beat; the second loses less energy to the bridge and rings longer.
    apart = 1.0 + 0.0003 + 0.0005 * made.traits[3]
    strings = np.concatenate([f, f * apart]), np.concatenate([amplitude, 0.35 * amplitude])
    return *strings, np.concatenate([0.35 * decay, decay])


#: Partials of a bell relative to its prime: hum, prime, tierce, quint, nominal, and six above.
BELL = (0.5, 1.0, 1.183, 1.506, 2.0, 2.514, 2.662, 3.011, 4.166, 5.433, 6.796)
_BELL_STRENGTHS = (0.5, 0.75, 0.8, 0.35, 1.0, 0.3, 0.35, 0.6, 0.45, 0.35, 0.25)
_BELL_DECAYS = (14.0, 7.0, 6.0, 3.5, 4.5, 2.6, 2.4, 2.4, 1.6, 1.1, 0.8)


def _bell(f0, effort, made, place):
    # All partials but the prime, which is the pitch, are out of tune by as much as those of real bells.
    off = np.array([made.traits[i % 12] - 0.5 for i in range(len(BELL))]) * 0.03
    off[1] = 0.0
    f = f0 * np.array(BELL) * (1.0 + off)
    hard = _low_pass(f, (1.6 + 1.2 * made.traits[11] + 5.0 * effort) * f0)
    amplitude = np.array(_BELL_STRENGTHS) * hard * (0.7 + 0.6 * np.abs(sine(place + 0.13 * np.arange(len(f)))))
    decay = np.array(_BELL_DECAYS) * math.sqrt(440.0 / f0)
    # As no bell is exactly round, each mode except the prime is a pair of modes that beat.
    split = np.array([0.6 + 1.8 * made.traits[(i + 5) % 12] for i in range(len(f))])
    split[1] = 0.0
    pair = np.concatenate([f, f + split]), np.concatenate([amplitude, 0.4 * amplitude])
    keep = pair[0] < 10500.0
    return pair[0][keep], pair[1][keep], np.concatenate([decay, decay])[keep]


#: Partials of a marimba's bar, tuned by undercutting it.
MARIMBA = (1.0, 3.95, 9.6, 16.5)


def _marimba(f0, effort, made, place):
    ratios = np.array(MARIMBA) * (1.0 + 0.06 * np.array([0.0, made.traits[0] - 0.5, made.traits[1] - 0.7, 0.0]))
    f = f0 * ratios
    hard = _low_pass(f, 700.0 + 500.0 * made.traits[2] + 4500.0 * effort)
    amplitude = np.array([1.0, 0.2 + 0.5 * place, 0.15 + 0.3 * place, 0.12]) * hard
    decay = 1.7 * math.sqrt(131.0 / f0) / np.array([1.0, 3.5, 7.0, 12.0])
    return f[f < 10500.0], amplitude[f < 10500.0], decay[f < 10500.0]


STRUCK = {
    "bass": Struck(_bass, 0.12, -24.0, 0.06, (1200.0, 900.0)),
    "bell": Struck(_bell, 0.25, -22.0, 0.03, (4500.0, 2500.0)),
    "guitar": Struck(_guitar, 0.10, -22.0, 0.04, (3200.0, 2000.0)),
    "marimba": Struck(_marimba, 0.12, -14.0, 0.05, (650.0, 500.0)),
    "piano": Struck(_piano, 0.16, -20.0, 0.09, (500.0, 500.0)),
}
