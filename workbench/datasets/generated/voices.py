"""Generated set `voices`: singing techniques x vowel x pitch x singer x loudness x context, every factor exact.

The ten techniques, five vowels, twenty singers (nine women, eleven men) and the singer-disjoint test split mirror
VocalSet (Wilkins, Seetharaman, Wahl and Pardo, ISMIR 2018), so that a notebook written for it runs without a download.
The sound is synthetic: a model's results on it need not hold for human singers.

A row of `table` determines its sound: ``render(recipe(row))``. ``table(100)`` is the beginning of ``table(1000)``, and
the same seed gives the same bits on every machine (see `portable_math`). The rate is 24 kHz, which keeps the band of
the breath noise that distinguishes the techniques, is a simple ratio of the rates of encoders (16 kHz, 24 kHz, 32 kHz,
48 kHz), and costs about half as much as 44.1 kHz.

`voice_tract` has the formants and the singers, `voice_gestures` the techniques, and `voice_synthesis` makes the sound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from ...core.errors import ParameterError
from .portable_math import Draws, exp2
from .recipes import check_kinds, check_size, read_row
from .voice_gestures import MELODIES, SECONDS
from .voice_synthesis import RATE, render
from .voice_tract import SINGERS, VOWELS, formants

__all__ = [
    "FACTORS",
    "RATE",
    "SECONDS",
    "TECHNIQUES",
    "TEST_SINGERS",
    "VALID_SINGERS",
    "VERSION",
    "VOWELS",
    "VoiceRecipe",
    "contexts",
    "recipe",
    "render",
    "table",
]

VERSION = 1  # is increased whenever the sound of a recipe changes

TECHNIQUES = (
    "belt",
    "breathy",
    "inhaled",
    "lip_trill",
    "spoken",
    "straight",
    "trill",
    "trillo",
    "vibrato",
    "vocal_fry",
)
# VocalSet's own test singers; the validation singers are ours, taken from its training singers.
TEST_SINGERS = ("female2", "female8", "male3", "male5", "male10")
VALID_SINGERS = ("female5", "male1", "male8")

_SUNG = ("long_tone", "scale", "arpeggio")
_CONTEXTS = {"belt": _SUNG, "breathy": _SUNG, "lip_trill": _SUNG, "straight": _SUNG, "vibrato": _SUNG}
_CONTEXTS["spoken"] = ("phrase",)
CONTEXTS = (*_SUNG, "phrase")


@dataclass(frozen=True)
class VoiceRecipe:
    """All parameters of one clip. `dataclasses.replace` gives the same clip with one factor changed.

    Attributes
    ----------
    technique : str
        One of `TECHNIQUES`.
    vowel : str
        a, e, i, o or u.
    singer : str
        A name in `voice_tract.SINGERS`; determines the size of the vocal tract and the singer's formant.
    context : str
        long_tone, scale or arpeggio; phrase for the technique spoken.
    f0 : float
        Median pitch over the voiced part, without vibrato, Hz.
    loudness : float
        RMS level of the clip, dBFS.
    vibrato_rate, vibrato_extent : float
        In Hz, and in cents to either side of the note. NaN where the technique has no vibrato.
    modulation_rate : float
        Alternations of a trill, strokes of a trillo, flaps of a lip trill or syllables of speech a second; else NaN.
    modulation_depth : float
        Amplitude lost between strokes of a trillo or flaps of a lip trill, 0 to 1; else NaN.
    trill_interval : float
        Cents between the two notes of a trill; else NaN.
    hnr : float
        Harmonics-to-noise ratio, dB: the power of the voiced sound over the power of the aspiration noise, over the
        whole clip and before room and background are added.
    tilt : float
        Spectral tilt of the source: dB lost at 3 kHz in addition to the glottal pulse's 6 dB an octave.
    open_quotient : float
        Fraction of the period in which the glottis is open.
    jitter, shimmer : float
        Relative standard deviation of the period and of the pulse amplitude from cycle to cycle.
    openness, frontness : float
        Relative deviation of F1 and of F2 from the singer's mean for the vowel.
    microphone : float
        Gain of the recording's treble shelf, dB.
    direct_to_reverberant : float
        Direct-to-reverberant ratio, dB.
    decay_time : float
        Reverberation time of the room (decay by 60 dB), s.
    snr : float
        Level of the voice relative to the background noise over the whole clip, dB.
    random_seed : int
        Seed of noise, jitter, drift and timing.
    """

    technique: str
    vowel: str
    singer: str
    context: str
    f0: float
    loudness: float
    vibrato_rate: float
    vibrato_extent: float
    modulation_rate: float
    modulation_depth: float
    trill_interval: float
    hnr: float
    tilt: float
    open_quotient: float
    jitter: float
    shimmer: float
    openness: float
    frontness: float
    microphone: float
    direct_to_reverberant: float
    decay_time: float
    snr: float
    random_seed: int

    def __post_init__(self):
        check_kinds(self)
        allowed = {"technique": TECHNIQUES, "vowel": VOWELS, "singer": tuple(SINGERS), "context": CONTEXTS}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ParameterError(name, getattr(self, name), f"one of {', '.join(values)}")
        if (self.context == "phrase") != (self.technique == "spoken"):
            raise ParameterError(
                "context", self.context, f"{' or '.join(contexts(self.technique))} when {self.technique}"
            )
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            needed = name in _ALWAYS or name in _NEEDED.get(self.technique, ())
            needed |= name == "vibrato_rate" and self.vibrato_extent > 0.0
            if not low <= value <= high and (needed or not math.isnan(value)):
                raise ParameterError(name, value, f"between {low:g} and {high:g} for the technique {self.technique}")
        if self.random_seed < 0:
            raise ParameterError("random_seed", self.random_seed, "0 or more")

    def formants_at(self, pitch: float) -> tuple[float, ...]:
        """Return F1 to F5 in Hz of a note of this clip at `pitch` Hz."""
        return formants(
            self.technique, self.vowel, self.singer, pitch, openness=self.openness, frontness=self.frontness
        )


_NEEDED = {
    "lip_trill": ("modulation_rate", "modulation_depth"),
    "trillo": ("modulation_rate", "modulation_depth"),
    "trill": ("modulation_rate", "trill_interval"),
    "spoken": ("modulation_rate",),
    "vibrato": ("vibrato_rate", "vibrato_extent"),
}
# What can be sung. NaN is allowed for a factor that the technique does not need.
_LIMITS = {
    "f0": (20.0, 1500.0),
    "loudness": (-90.0, 0.0),
    "vibrato_rate": (1.0, 12.0),
    "vibrato_extent": (0.0, 400.0),
    "modulation_rate": (1.0, 60.0),
    "modulation_depth": (0.0, 1.0),
    "trill_interval": (10.0, 1200.0),
    "hnr": (-60.0, 120.0),
    "tilt": (0.0, 60.0),
    "open_quotient": (0.1, 1.0),
    "jitter": (0.0, 0.25),
    "shimmer": (0.0, 0.4),
    "openness": (-0.3, 0.3),
    "frontness": (-0.3, 0.3),
    "microphone": (-20.0, 20.0),
    "direct_to_reverberant": (-20.0, 120.0),
    "decay_time": (0.05, 2.0),
    "snr": (-20.0, 120.0),
}
_ALWAYS = tuple(name for name in _LIMITS if not name.startswith(("vibrato", "modulation", "trill")))

FACTORS = (
    *("technique", "vowel", "midi", "f0", "singer", "gender", "loudness", "context"),
    *("vibrato_rate", "vibrato_extent", "modulation_rate", "modulation_depth", "trill_interval"),
    *("hnr", "tilt", "open_quotient", "jitter", "shimmer", "f1", "f2", "f3"),
    *("openness", "frontness", "microphone", "direct_to_reverberant", "decay_time", "snr"),
)

# Ranges of a technique: loudness (dBFS), tilt (dB), open quotient, hnr (dB). The loudest are 3 dB below those at which
# the highest peak of 1,500 clips would reach full scale, so that no row of a table clips.
_RANGES = {
    "belt": ((-25.0, -18.5), (0.0, 4.0), (0.38, 0.54), (24.0, 36.0)),
    "breathy": ((-39.0, -23.0), (13.0, 25.0), (0.70, 0.92), (2.0, 13.0)),
    "inhaled": ((-40.0, -25.0), (5.0, 16.0), (0.60, 0.85), (-9.0, 4.0)),
    "lip_trill": ((-36.0, -22.5), (6.0, 16.0), (0.50, 0.75), (10.0, 22.0)),
    "spoken": ((-36.0, -23.5), (5.0, 15.0), (0.45, 0.70), (12.0, 24.0)),
    "straight": ((-34.0, -20.0), (5.0, 16.0), (0.48, 0.72), (18.0, 33.0)),
    "trill": ((-34.0, -20.0), (4.0, 15.0), (0.48, 0.72), (18.0, 32.0)),
    "trillo": ((-34.0, -21.5), (4.0, 15.0), (0.45, 0.72), (13.0, 28.0)),
    "vibrato": ((-33.0, -20.0), (3.0, 14.0), (0.48, 0.72), (18.0, 33.0)),
    "vocal_fry": ((-42.0, -27.0), (4.0, 14.0), (0.25, 0.45), (9.0, 22.0)),
}


def contexts(technique: str) -> tuple[str, ...]:
    """Return the contexts in which a technique occurs."""
    return _CONTEXTS.get(technique, ("long_tone",))


def recipe(row: Mapping) -> VoiceRecipe:
    """Return the recipe of one row of `table` (a Series, a dict, or a row read from a csv file).

    Raises
    ------
    ParameterError
        If a column is missing or holds a value that cannot be sung.
    """
    return VoiceRecipe(**read_row(VoiceRecipe, row))


def table(size: int, *, seed: int = 0) -> pd.DataFrame:
    """Return the table of the first `size` clips of the endless set with this seed.

    Every ten clips have each technique once, every 50 each vowel once in each technique, every 200 each singer once in
    each technique. A quarter of the clips is sung by the five test singers.

    Parameters
    ----------
    size : int
        Number of clips, at least 1.
    seed : int
        Another seed gives other clips by the same twenty singers.

    Returns
    -------
    pandas.DataFrame
        Columns id, label (the technique), split (train, valid or test: disjoint singers), group (the singer), the
        `FACTORS`, and random_seed. f1 to f3 in Hz are the formants of the median note. A factor is NaN where it has no
        meaning, such as midi for speech and fry, or the vibrato rate of a technique without vibrato.

    Raises
    ------
    ParameterError
        If `size` or `seed` is not a whole number in range.
    """
    check_size(size, seed)
    return pd.DataFrame([_row(index, int(seed)) for index in range(size)])


def _row(index: int, seed: int) -> dict:
    block, slot = divmod(index, len(TECHNIQUES))
    technique = TECHNIQUES[shuffled(seed, 0, block, len(TECHNIQUES))[slot]]
    number = TECHNIQUES.index(technique)
    singer = singer_order(seed, number, block // 20)[block % 20]
    vowel = VOWELS[shuffled(seed, 200 + number, block // 5, 5)[block % 5]]
    possible = contexts(technique)
    context = possible[shuffled(seed, 300 + number, block // len(possible), len(possible))[block % len(possible)]]
    sung, midi = _draw(technique, vowel, singer, context, (seed, 400, index))
    f1, f2, f3 = sung.formants_at(sung.f0)[:3]
    split = "test" if singer in TEST_SINGERS else "valid" if singer in VALID_SINGERS else "train"
    row = {"id": f"voices-{seed}-{index:06d}", "label": technique, "split": split, "group": singer}
    row |= asdict(sung) | {"midi": midi, "gender": SINGERS[singer].gender, "f1": f1, "f2": f2, "f3": f3}
    return {name: row[name] for name in ("id", "label", "split", "group", *FACTORS, "random_seed")}


def shuffled(seed: int, stream: int, block: int, count: int) -> list[int]:
    """Return the permutation of one block of a stream, which does not depend on the number of blocks."""
    return Draws((seed, stream, block)).permutation(count)


def singer_order(seed: int, technique: int, block: int) -> list[str]:
    """Return all singers once, with one test singer in any four in a row, so that small tables have all splits."""
    rng = Draws((seed, 100 + technique, block))
    pools = {"x": TEST_SINGERS, "v": VALID_SINGERS}
    pools["t"] = tuple(name for name in SINGERS if name not in TEST_SINGERS + VALID_SINGERS)
    shuffled = {kind: iter([pool[i] for i in rng.permutation(len(pool))]) for kind, pool in pools.items()}
    return [next(shuffled[kind]) for kind in "txtvtxttvxtttxtvtxtt"]


def _draw(technique, vowel, singer, context, key) -> tuple[VoiceRecipe, float]:
    """Draw the remaining factors: return the recipe and the note number (NaN for speech and fry)."""
    rng = Draws(key)
    person = SINGERS[singer]

    def between(low, high, digits=2):
        return round(low + (high - low) * rng.random(), digits)

    loudness, tilt, opened, hnr = (between(*limits, 3) for limits in _RANGES[technique])
    midi, f0 = _pitch(technique, context, person, rng)
    vibrato = _vibrato_habit(technique, person, between)
    modulation, depth, interval = _modulation(technique, between, rng)
    rough = {"inhaled": between(0.015, 0.05, 4), "vocal_fry": between(0.03, 0.13, 4)}.get(technique, 0.0)
    made = VoiceRecipe(
        technique=technique,
        vowel=vowel,
        singer=singer,
        context=context,
        f0=f0,
        loudness=loudness,
        vibrato_rate=vibrato[0],
        vibrato_extent=vibrato[1],
        modulation_rate=modulation,
        modulation_depth=depth,
        trill_interval=interval,
        hnr=round(hnr + person.hnr, 3),
        tilt=round(max(tilt + person.tilt, 0.0), 3),
        open_quotient=opened,
        jitter=round(person.jitter * between(0.7, 1.6, 4) + rough, 5),
        shimmer=round(person.shimmer * between(0.7, 1.6, 4) + 2.0 * min(rough, 0.1), 5),
        openness=between(-0.07, 0.07, 4),
        frontness=between(-0.05, 0.05, 4),
        microphone=between(-5.0, 5.0),
        direct_to_reverberant=between(6.0, 24.0),
        decay_time=between(0.15, 0.7, 3),
        snr=between(22.0, 55.0),
        random_seed=rng.below(2**32),
    )
    return made, midi


def _pitch(technique, context, person, rng) -> tuple[float, float]:
    """Draw the note number and the median pitch in Hz, within the singer's range and the technique's part of it."""
    if technique == "vocal_fry":
        return math.nan, round(26.0 + 36.0 * rng.random(), 3)
    if technique == "spoken":
        usual = 54.0 + 0.5 * (person.low - 57) if person.gender == "female" else 45.0 + 0.5 * (person.low - 44)
        note = usual - 2.0 + 4.5 * rng.random()
        return math.nan, round(440.0 * float(exp2((note - 69.0) / 12.0)), 3)
    degrees = MELODIES[context]
    low, high = person.low - min(degrees), person.high - max(degrees)
    if technique in ("belt", "inhaled"):  # upper half of the range
        low = (low + high) // 2
    midi = low + rng.below(high + 1 - low)
    detune = -0.2 + 0.4 * rng.random()  # semitones: nobody sings at exactly 440 Hz
    return float(midi), round(440.0 * float(exp2((midi + detune - 69.0) / 12.0)), 3)


def _vibrato_habit(technique, person, between) -> tuple[float, float]:
    """Draw the vibrato's rate (Hz) and extent (cents); NaN for techniques without vibrato."""
    rate = round(person.vibrato_rate + between(-0.4, 0.4), 3)
    if technique == "vibrato":
        return rate, round(max(person.vibrato_extent * between(0.7, 1.35), 35.0), 3)
    if technique in ("straight", "belt", "breathy"):  # a rest of the singer's habit
        share = {"straight": 0.12, "belt": 0.4, "breathy": 0.3}[technique]
        return rate, round(person.vibrato_extent * share * between(0.0, 1.0, 4), 3)
    return math.nan, math.nan


def _modulation(technique, between, rng) -> tuple[float, float, float]:
    """Draw the rate (Hz), the amplitude depth and the interval (cents) of the technique's modulation; else NaN."""
    if technique == "trill":
        return between(4.6, 7.4, 3), math.nan, round((100.0, 200.0)[rng.below(2)] + between(-15.0, 15.0), 2)
    if technique == "trillo":
        return between(4.5, 9.5, 3), between(0.6, 1.0, 3), math.nan
    if technique == "lip_trill":
        return between(18.0, 30.0, 3), between(0.65, 0.97, 3), math.nan
    if technique == "spoken":
        return between(3.4, 6.2, 3), math.nan, math.nan
    return math.nan, math.nan, math.nan
