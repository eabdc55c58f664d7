"""Generated set `notes`: instrument x pitch x dynamic x articulation x specimen, every factor exact.

Single notes of twelve instruments, two seconds each, with the cues that distinguish real instruments (see
`note_instruments`). Each instrument has eight specimens with their own tuning, body, noises and room. The specimen is
the group that must not leak; train, valid and test have different specimens. The sound is synthetic: a model's results
on it need not hold for recordings.

A row of `table` determines its sound: ``render(recipe(row))``. ``table(100)`` is the beginning of ``table(1000)``, and
the same seed gives the same bits on every machine (see `portable_math`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from ...core.errors import ParameterError
from .note_instruments import (
    ARTICULATIONS,
    INSTRUMENTS,
    RANGES,
    SPECIMENS,
    SUSTAINED,
    articulations,
    specimen,
)
from .note_synthesis import EFFORTS, RATE, SECONDS, render
from .portable_math import Draws, exp2
from .recipes import check_kinds, check_size, read_row
from .voices import shuffled

__all__ = [
    "ARTICULATIONS",
    "DYNAMICS",
    "FACTORS",
    "INSTRUMENTS",
    "LEVELS",
    "RANGES",
    "RATE",
    "SECONDS",
    "SPECIMENS",
    "TEST_SPECIMENS",
    "VALID_SPECIMENS",
    "VERSION",
    "NoteRecipe",
    "articulations",
    "recipe",
    "render",
    "table",
]

VERSION = 1  # is increased whenever the sound of a recipe changes

DYNAMICS = tuple(EFFORTS)
#: Level of each dynamic, dBFS RMS over the loudest 100 ms; the level of each clip is within `SPREAD` dB of it.
LEVELS = {"pp": -42.0, "mf": -32.0, "ff": -22.0}
SPREAD = 2.0
#: Numbers of the specimens of every instrument that are kept for validation and test.
VALID_SPECIMENS = (3,)
TEST_SPECIMENS = (2, 6)

FACTORS = (
    *("instrument", "midi", "f0", "dynamic", "articulation", "specimen", "level", "brightness"),
    *("onset", "duration", "vibrato_rate", "vibrato_extent", "tremolo_rate"),
)

# Seconds from onset to release.
_DURATIONS = {"staccato": (0.12, 0.22), "muted": (0.8, 1.2)}
_HELD = (1.0, 1.5)
# Strokes, bow changes or flutters a second.
_TREMOLOS = {"tremolo": (8.0, 13.0), "flutter": (20.0, 28.0)}
_LIMITS = {
    "f0": (25.0, 4000.0),
    "level": (-90.0, 0.0),
    "brightness": (-12.0, 12.0),
    "onset": (0.01, 1.0),
    "duration": (0.05, 1.8),
    "vibrato_rate": (1.0, 12.0),
    "vibrato_extent": (0.0, 200.0),
    "tremolo_rate": (2.0, 40.0),
}
_NEEDED = {
    "vibrato_rate": ("vibrato",),
    "vibrato_extent": ("vibrato",),
    "tremolo_rate": ("tremolo", "flutter"),
}


@dataclass(frozen=True)
class NoteRecipe:
    """All parameters of one clip. `dataclasses.replace` gives the same clip with one factor changed.

    Attributes
    ----------
    instrument : str
        One of `INSTRUMENTS`.
    specimen : str
        The instrument's name followed by a number from 1 to 8, such as violin3.
    articulation : str
        One of ``articulations(instrument)``.
    dynamic : str
        pp, mf or ff: how hard the note is played. It changes spectrum, attack and noise; `table` sets the level to fit.
    f0 : float
        Pitch in Hz: the fundamental without vibrato, the first mode of a string or bar, or the prime of a bell.
    level : float
        RMS over the loudest 100 ms without background noise, dBFS.
    brightness : float
        Treble of this note relative to the specimen's usual treble, dB.
    onset, duration : float
        Seconds from the beginning of the clip to the note, and from there to its release.
    vibrato_rate, vibrato_extent : float
        In Hz, and in cents to either side of the note. NaN unless the articulation is vibrato.
    tremolo_rate : float
        Strokes, bow changes or flutters a second. NaN unless the articulation is tremolo or flutter.
    random_seed : int
        Seed of noise, phases and drift.
    """

    instrument: str
    specimen: str
    articulation: str
    dynamic: str
    f0: float
    level: float
    brightness: float
    onset: float
    duration: float
    vibrato_rate: float
    vibrato_extent: float
    tremolo_rate: float
    random_seed: int

    def __post_init__(self):
        check_kinds(self)
        if self.instrument not in INSTRUMENTS:
            raise ParameterError("instrument", self.instrument, f"one of {', '.join(INSTRUMENTS)}")
        allowed = {
            "specimen": [f"{self.instrument}{number}" for number in range(1, SPECIMENS + 1)],
            "articulation": articulations(self.instrument),
            "dynamic": DYNAMICS,
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ParameterError(name, getattr(self, name), f"one of {', '.join(values)} for a {self.instrument}")
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            needed = self.articulation in _NEEDED.get(name, ARTICULATIONS)
            if not low <= value <= high and (needed or not math.isnan(value)):
                raise ParameterError(name, value, f"between {low:g} and {high:g}")
        if self.onset + self.duration > SECONDS:
            raise ParameterError("duration", self.duration, f"at most {SECONDS:g} s together with the onset")
        if self.random_seed < 0:
            raise ParameterError("random_seed", self.random_seed, "0 or more")


def recipe(row: Mapping) -> NoteRecipe:
    """Return the recipe of one row of `table` (a Series, a dict, or a row read from a csv file).

    Raises
    ------
    ParameterError
        If a column is missing or holds a value that cannot be played.
    """
    return NoteRecipe(**read_row(NoteRecipe, row))


def table(size: int, *, seed: int = 0) -> pd.DataFrame:
    """Return the table of the first `size` clips of the endless set with this seed.

    Every twelve clips have each instrument once, every 36 each dynamic of each instrument, every 96 each of its eight
    specimens. The first 48 clips have every instrument in every split.

    Parameters
    ----------
    size : int
        Number of clips, at least 1.
    seed : int
        Another seed gives other notes on the same 96 specimens.

    Returns
    -------
    pandas.DataFrame
        Columns id, label (the instrument), split (train, valid or test: disjoint specimens), group (the specimen), the
        `FACTORS`, and random_seed. midi is the MIDI number of the note; f0 in Hz is that note in the specimen's tuning,
        with a random deviation of up to 4 cents. A factor is NaN where it has no meaning.

    Raises
    ------
    ParameterError
        If `size` or `seed` is not a whole number in range.
    """
    check_size(size, seed)
    return pd.DataFrame([_row(index, int(seed)) for index in range(size)])


def _row(index: int, seed: int) -> dict:
    block, slot = divmod(index, len(INSTRUMENTS))
    number = shuffled(seed, 1000, block, len(INSTRUMENTS))[slot]
    instrument = INSTRUMENTS[number]
    which = _specimen_order(seed, number, block // SPECIMENS)[block % SPECIMENS]
    dynamic = DYNAMICS[shuffled(seed, 1200 + number, block // 3, 3)[block % 3]]
    ways = articulations(instrument)
    articulation = ways[shuffled(seed, 1300 + number, block // len(ways), len(ways))[block % len(ways)]]
    made, midi = _draw(instrument, which, dynamic, articulation, Draws((seed, 1400, index)))
    split = "test" if which in TEST_SPECIMENS else "valid" if which in VALID_SPECIMENS else "train"
    row = {"id": f"notes-{seed}-{index:06d}", "label": instrument, "split": split, "group": made.specimen}
    row |= asdict(made) | {"midi": midi}
    return {name: row[name] for name in ("id", "label", "split", "group", *FACTORS, "random_seed")}


def _specimen_order(seed: int, instrument: int, block: int) -> list[int]:
    """Return all specimen numbers, with test and validation early, so that small tables have all splits."""
    rng = Draws((seed, 1100 + instrument, block))
    pools = {"x": TEST_SPECIMENS, "v": VALID_SPECIMENS}
    pools["t"] = tuple(n for n in range(1, SPECIMENS + 1) if n not in TEST_SPECIMENS + VALID_SPECIMENS)
    shuffled = {kind: iter([pool[i] for i in rng.permutation(len(pool))]) for kind, pool in pools.items()}
    return [next(shuffled[kind]) for kind in "txtvttxt"]


def _draw(instrument, which, dynamic, articulation, rng) -> tuple[NoteRecipe, int]:
    """Draw the remaining factors: return the recipe and the note number."""

    def between(low, high, digits=3):
        return round(rng.between(low, high), digits)

    low, high = RANGES[instrument]
    midi = low + rng.below(high - low + 1)
    cents = specimen(instrument, which).tuning + between(-4.0, 4.0)
    f0 = round(440.0 * float(exp2((midi - 69) / 12.0 + cents / 1200.0)), 3)
    rates = SUSTAINED[instrument].vibrato_rate if articulation == "vibrato" else (math.nan, math.nan)
    extents = SUSTAINED[instrument].vibrato_extent if articulation == "vibrato" else (math.nan, math.nan)
    made = NoteRecipe(
        instrument=instrument,
        specimen=f"{instrument}{which}",
        articulation=articulation,
        dynamic=dynamic,
        f0=f0,
        level=round(LEVELS[dynamic] + between(-SPREAD, SPREAD), 3),
        brightness=between(-3.0, 3.0),
        onset=between(0.05, 0.12, 4),
        duration=between(*_DURATIONS.get(articulation, _HELD), 4),
        vibrato_rate=between(*rates),
        vibrato_extent=between(*extents),
        tremolo_rate=between(*_TREMOLOS.get(articulation, (math.nan, math.nan))),
        random_seed=rng.below(2**32),
    )
    return made, midi
