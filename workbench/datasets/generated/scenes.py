"""Generated set `scenes`: one sound event of twelve classes over a background, every stem, onset and level known.

Scenes of five seconds at 44.1 kHz as in ESC-50 (Piczak, ACM Multimedia 2015) with one class each; `scenes_multi` has
one to four overlapping classes. The twelve classes combine six timbres and three time patterns (`scene_makers`). The
stems of event and background and the times at which an event begins and ends are known exactly, so that an explanation
can be scored against the truth. The sounds are synthetic and do not imitate recordings.

Each of twenty sites has its own siren, bell, background and so on. Splits and folds hold out whole sites, and with them
the makers of all their sounds.

A row of `table` determines its sound: ``render(recipe(row))`` and ``stems(recipe(row))``. The same seed gives the same
bits on every machine (see `portable_math`). `scene` makes scenes of your own:

>>> both = scene([SceneEvent("bell", onset=0.5, seconds=3.0), SceneEvent("bark", onset=1.5)], background="rain", snr=0)
>>> sorted(stems(both))
['background', 'bark', 'bell']
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

import pandas as pd

from ...core.checks import checked
from ...core.errors import ParameterError
from .portable_math import Draws
from .recipes import check_kinds, check_row, check_size, read_cell
from .scene_makers import CLASSES, EVENTS, SITES
from .scene_synthesis import BACKGROUNDS, RATE, SECONDS, render, stems
from .voices import shuffled

__all__ = [
    "BACKGROUNDS",
    "CLASSES",
    "EVENTS",
    "FACTORS",
    "RATE",
    "SECONDS",
    "SITES",
    "VERSION",
    "SceneEvent",
    "SceneRecipe",
    "recipe",
    "render",
    "scene",
    "stems",
    "table",
]

VERSION = 1  # is increased whenever the sound of a recipe changes

FACTORS = (
    *("event", "timbre", "pattern", "site", "background", "snr", "level"),
    *("onset", "offset", "pitch", "rate"),
)

# What can be rendered.
_EVENT_LIMITS = {
    "onset": (0.0, SECONDS),
    "seconds": (0.25, SECONDS),
    "level": (-90.0, 0.0),
    "pitch": (-12.0, 12.0),
    "rate": (0.5, 2.0),
}
#: Ranges from which `table` draws the level of an event (dBFS) and the signal-to-noise ratio (dB).
LEVELS, SNRS = (-40.0, -30.0), (0.0, 24.0)


@dataclass(frozen=True)
class SceneEvent:
    """One sound event of a scene.

    Attributes
    ----------
    label : str
        One of `CLASSES`.
    site : str
        One of `SITES`, whose maker of this class sounds.
    onset, seconds : float
        Beginning and length, s. Before and after, the event is exactly zero.
    level : float
        RMS level from onset to offset, dBFS.
    pitch : float
        Semitones above the maker's usual pitch.
    rate : float
        Factor on the maker's usual rate of strokes, cycles or arcs.
    random_seed : int
        Seed of the timing of irregular strokes, of strengths and of noise.
    """

    label: str
    site: str = SITES[0]
    onset: float = 1.0
    seconds: float = 3.0
    level: float = -34.0
    pitch: float = 0.0
    rate: float = 1.0
    random_seed: int = 0

    def __post_init__(self):
        check_kinds(self)
        _one_of("label", self.label, CLASSES)
        _one_of("site", self.site, SITES)
        for name, (low, high) in _EVENT_LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ParameterError(name, getattr(self, name), f"between {low:g} and {high:g}")
        if self.offset > SECONDS + 1e-9:
            most = SECONDS - self.onset
            raise ParameterError("seconds", self.seconds, f"{most:g} at most, as the onset is at {self.onset:g} s")
        if self.random_seed < 0:
            raise ParameterError("random_seed", self.random_seed, "0 or more")

    @property
    def offset(self) -> float:
        """Time at which the event ends, s."""
        return round(self.onset + self.seconds, 6)


@dataclass(frozen=True)
class SceneRecipe:
    """All parameters of one scene. `dataclasses.replace` gives the same scene with one parameter changed.

    Attributes
    ----------
    events : tuple of SceneEvent
        Events in any order; without any, only the background sounds.
    background : str
        One of `BACKGROUNDS`.
    background_level : float
        RMS level of the background over the whole scene, dBFS.
    site : str
        One of `SITES`, whose background sounds.
    random_seed : int
        Seed of the noise of the background.
    """

    events: tuple[SceneEvent, ...]
    background: str
    background_level: float
    site: str
    random_seed: int

    def __post_init__(self):
        check_kinds(self)
        _one_of("background", self.background, BACKGROUNDS)
        _one_of("site", self.site, SITES)
        if not -150.0 <= self.background_level <= 0.0:
            raise ParameterError("background_level", self.background_level, "between -150 and 0")
        if self.random_seed < 0:
            raise ParameterError("random_seed", self.random_seed, "0 or more")

    @property
    def snr(self) -> float:
        """Level of the loudest event relative to the background, dB; -inf without events."""
        return max((event.level for event in self.events), default=-math.inf) - self.background_level

    def with_snr(self, snr: float) -> SceneRecipe:
        """Return the same scene with its background `snr` dB below the loudest event."""
        return replace(self, background_level=round(self.background_level + self.snr - snr, 6))

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of the events, in alphabetical order."""
        return tuple(sorted({event.label for event in self.events}))

    @property
    def overlap(self) -> float:
        """Fraction of the time with any event in which two or more events sound; 0 without events."""
        times = sorted({time for event in self.events for time in (event.onset, event.offset)})
        some = several = 0.0
        for start, end in zip(times[:-1], times[1:], strict=True):
            count = len([event for event in self.events if event.onset <= start and end <= event.offset])
            some += (end - start) * (count >= 1)
            several += (end - start) * (count >= 2)
        return round(several / some, 4) if some else 0.0


def _one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ParameterError(name, value, f"one of {', '.join(allowed)}")


@checked
def scene(
    events: Sequence[SceneEvent],
    *,
    background: str = "room",
    snr: float = 20.0,
    site: str | None = None,
    random_seed: int = 0,
) -> SceneRecipe:
    """Make a scene of your own events over a background at a given signal-to-noise ratio.

    Parameters
    ----------
    events : sequence of SceneEvent
        At least one event; events may overlap.
    background : str
        One of `BACKGROUNDS`.
    snr : float
        Level of the loudest event, from its onset to its offset, relative to the background, dB.
    site : str, optional
        Site whose background sounds; by default the site of the first event.
    random_seed : int
        Seed of the noise of the background.

    Returns
    -------
    SceneRecipe

    Raises
    ------
    ParameterError
        There are no events, or a value cannot be rendered.
    """
    if not isinstance(events, Sequence) or not events or not all(isinstance(event, SceneEvent) for event in events):
        raise ParameterError("events", events, "a list of one or more SceneEvent")
    events = tuple(events)
    level = round(max(event.level for event in events) - snr, 6)
    return SceneRecipe(events, background, level, site or events[0].site, random_seed)


def recipe(row: Mapping) -> SceneRecipe:
    """Return the recipe of one row of `table` (a Series, a dict, or a row read from a csv file).

    Raises
    ------
    ParameterError
        If a column is missing or holds a value that cannot be rendered.
    """
    check_row(row, tuple(field.name for field in fields(SceneRecipe)))
    return SceneRecipe(
        events=_events(row["events"]),
        background=str(row["background"]),
        background_level=read_cell(row, "background_level", "float"),
        site=str(row["site"]),
        random_seed=read_cell(row, "random_seed", "int"),
    )


def _events(text: str) -> tuple[SceneEvent, ...]:
    try:
        return tuple(SceneEvent(**event) for event in json.loads(text))
    except (json.JSONDecodeError, TypeError):
        raise ParameterError("events", text, "a JSON list of events with the fields of SceneEvent") from None


def table(size: int, *, seed: int = 0) -> pd.DataFrame:
    """Return the table of the first `size` scenes of the endless set with this seed, with one event each.

    Every 12 scenes have each class once, every 240 each class once at each site, and every 4 each background once.

    Parameters
    ----------
    size : int
        Number of scenes, at least 1.
    seed : int
        Another seed gives other scenes of the same twenty sites.

    Returns
    -------
    pandas.DataFrame
        Columns id, label (the class), split (train, valid or test: 12, 4 and 4 sites), fold (1 to 5 of four sites
        each; 4 is valid, 5 is test), group (the site), the `FACTORS` (snr in dB, level in dBFS, onset and offset in
        s, pitch and rate relative to the maker's), and three more that `recipe` reads: events (JSON), background_level
        (dBFS) and random_seed. ``table(100)`` is the beginning of ``table(1000)``.

    Raises
    ------
    ParameterError
        If `size` or `seed` is not a whole number in range.
    """
    check_size(size, seed)
    return pd.DataFrame([_row(index, int(seed)) for index in range(size)])


def _row(index: int, seed: int) -> dict:
    block, slot = divmod(index, len(CLASSES))
    label = CLASSES[shuffled(seed, 0, block, len(CLASSES))[slot]]
    site = site_in_turn(seed, 100 + CLASSES.index(label), block)
    rng = Draws((seed, 400, index))
    level, snr = round(rng.between(*LEVELS), 2), round(rng.between(*SNRS), 2)
    event = draw_event(label, site, rng, seconds=(1.5, 4.5), level=level)
    made = draw_scene((event,), index, seed, snr, rng)
    timbre, pattern = EVENTS[label]
    row = place(f"scenes-{seed}-{index:06d}", label, site)
    row |= {"event": label, "timbre": timbre, "pattern": pattern, "offset": event.offset}
    row |= {name: getattr(event, name) for name in ("level", "onset", "pitch", "rate")}
    row |= described(made)
    return {name: row[name] for name in (*HEAD, *FACTORS, *TAIL)}


#: First and last columns of the tables, before and after the factors.
HEAD = ("id", "label", "split", "fold", "group")
TAIL = ("events", "background_level", "random_seed")


def place(id: str, label: str, site: str) -> dict:
    """Return the first columns of a row; the site determines split and fold."""
    fold = SITES.index(site) % 5 + 1
    split = {4: "valid", 5: "test"}.get(fold, "train")
    return dict(zip(HEAD, (id, label, split, fold, site), strict=True))


def described(made: SceneRecipe) -> dict:
    """Return the columns of a scene that the tables of `scenes` and `scenes_multi` share."""
    row = {"site": made.site, "background": made.background, "snr": round(made.snr, 2)}
    events = json.dumps([asdict(event) for event in made.events])
    return row | {"events": events, "background_level": made.background_level, "random_seed": made.random_seed}


def site_in_turn(seed: int, stream: int, turn: int) -> str:
    """Return the site of the turn-th scene of a stream; twenty turns have each site once, five turns each fold once."""
    block, slot = divmod(turn, len(SITES))
    fold = shuffled(seed, stream, 2 * (turn // 5), 5)[turn % 5]
    member = shuffled(seed, stream + 50, 5 * block + fold, 4)[slot // 5]
    return SITES[5 * member + fold]


def draw_event(label: str, site: str, rng: Draws, *, seconds: tuple[float, float], level: float) -> SceneEvent:
    """Draw an event's length, onset, pitch and rate from `rng`."""
    length = round(rng.between(*seconds), 3)
    return SceneEvent(
        label=label,
        site=site,
        onset=round(rng.between(0.0, SECONDS - length), 3),
        seconds=length,
        level=level,
        pitch=round(rng.between(-1.5, 1.5), 3),
        rate=round(rng.between(0.85, 1.18), 3),
        random_seed=rng.below(2**32),
    )


def draw_scene(events: tuple[SceneEvent, ...], index: int, seed: int, snr: float, rng: Draws) -> SceneRecipe:
    """Make a scene of events over one of the backgrounds, which take turns."""
    background = BACKGROUNDS[shuffled(seed, 300, index // len(BACKGROUNDS), len(BACKGROUNDS))[index % len(BACKGROUNDS)]]
    return scene(events, background=background, snr=snr, random_seed=rng.below(2**32))
