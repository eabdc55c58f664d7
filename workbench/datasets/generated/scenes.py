"""Generated set `scenes`: one sound event of twelve classes over a background, every stem, onset and level known.

Five seconds at 44.1 kHz as in ESC-50 (Piczak, ACM Multimedia 2015), one class a scene; `scenes_multi` is its sister
with one to four overlapping classes. The twelve classes are six timbres in three time patterns (`scene_makers`): which
part of a scene is the event and which the background, when it begins and when it ends is known exactly, so that an
explanation can be scored against the truth. The sounds are synthetic and imitate no recording.

Twenty sites each have a siren, a bell, a background ... of their own; splits and folds hold sites out, and with them
the makers of all sounds.

A row of `table` holds all that is needed: ``render(recipe(row))`` and ``stems(recipe(row))``. The same seed gives the
same bits on every machine (see `portable_math`). Own scenes are made with `scene`:

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

VERSION = 1  # raised whenever a recipe sounds different from before

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
#: Values between which `table` draws: dBFS and dB.
LEVELS, SNRS = (-40.0, -30.0), (0.0, 24.0)


@dataclass(frozen=True)
class SceneEvent:
    """One sound event of a scene.

    Attributes
    ----------
    label : str
        One of `CLASSES`.
    site : str
        One of `SITES`: whose siren, bell ... it is.
    onset, seconds : float
        Beginning and length, s. Outside of it the event is silent, to the bit.
    level : float
        RMS level from onset to offset, dBFS.
    pitch : float
        Semitones above the maker's usual pitch.
    rate : float
        Strokes, cycles or arcs a second relative to the maker's usual rate.
    random_seed : int
        Draws what is left: timing of irregular strokes, strengths, noise.
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
        """End, s."""
        return round(self.onset + self.seconds, 6)


@dataclass(frozen=True)
class SceneRecipe:
    """All that determines one scene. Change a field with `dataclasses.replace` to hear that alone change.

    Attributes
    ----------
    events : tuple of SceneEvent
        In any order; none at all leaves the background.
    background : str
        One of `BACKGROUNDS`.
    background_level : float
        RMS level of the background over the whole scene, dBFS.
    site : str
        One of `SITES`: whose background it is.
    random_seed : int
        Draws the noise of the background.
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
        """Level of the loudest event over that of the background, dB; -inf without events."""
        return max((event.level for event in self.events), default=-math.inf) - self.background_level

    def with_snr(self, snr: float) -> SceneRecipe:
        """The same scene with its background that many dB below the loudest event."""
        return replace(self, background_level=round(self.background_level + self.snr - snr, 6))

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that sound, in alphabetical order."""
        return tuple(sorted({event.label for event in self.events}))

    @property
    def overlap(self) -> float:
        """Share of the time in which an event sounds that two or more of them sound; 0 without events."""
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
    """Your own scene: given events, their overlap in your hand, over a background at a given signal-to-noise ratio.

    Parameters
    ----------
    events : sequence of SceneEvent
        At least one.
    background : str
        One of `BACKGROUNDS`.
    snr : float
        Level of the loudest event, from its onset to its offset, over that of the background, dB.
    site : str, optional
        Whose background; by default that of the first event.
    random_seed : int
        Draws the noise of the background.

    Returns
    -------
    SceneRecipe

    Raises
    ------
    ParameterError
        No events, or a value that cannot be rendered.
    """
    if not isinstance(events, Sequence) or not events or not all(isinstance(event, SceneEvent) for event in events):
        raise ParameterError("events", events, "a list of one or more SceneEvent")
    events = tuple(events)
    level = round(max(event.level for event in events) - snr, 6)
    return SceneRecipe(events, background, level, site or events[0].site, random_seed)


def recipe(row: Mapping) -> SceneRecipe:
    """Recipe of one row of `table` (a Series, a dict, or a row read back from a csv file).

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
    """Table of the first `size` scenes of the endless set with this seed, one event each.

    Each class occurs once in every 12 scenes, at each site once in every 240; each background once in every 4.

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
        s, pitch and rate relative to the maker's), then what `recipe` reads besides: events (JSON),
        background_level (dBFS), random_seed. ``table(100)`` is the beginning of ``table(1000)``.

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
    """First columns of a row: which site belongs to which split and fold."""
    fold = SITES.index(site) % 5 + 1
    split = {4: "valid", 5: "test"}.get(fold, "train")
    return dict(zip(HEAD, (id, label, split, fold, site), strict=True))


def described(made: SceneRecipe) -> dict:
    """Columns of a scene that both tables have."""
    row = {"site": made.site, "background": made.background, "snr": round(made.snr, 2)}
    events = json.dumps([asdict(event) for event in made.events])
    return row | {"events": events, "background_level": made.background_level, "random_seed": made.random_seed}


def site_in_turn(seed: int, stream: int, turn: int) -> str:
    """Site of the turn-th scene of a stream: all sites once in twenty turns, each fold once in five."""
    block, slot = divmod(turn, len(SITES))
    fold = shuffled(seed, stream, 2 * (turn // 5), 5)[turn % 5]
    member = shuffled(seed, stream + 50, 5 * block + fold, 4)[slot // 5]
    return SITES[5 * member + fold]


def draw_event(label: str, site: str, rng: Draws, *, seconds: tuple[float, float], level: float) -> SceneEvent:
    """An event with length, onset, pitch and rate from `rng`."""
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
    """Put events over one of the backgrounds, which take turns."""
    background = BACKGROUNDS[shuffled(seed, 300, index // len(BACKGROUNDS), len(BACKGROUNDS))[index % len(BACKGROUNDS)]]
    return scene(events, background=background, snr=snr, random_seed=rng.below(2**32))
