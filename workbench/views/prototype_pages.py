"""Do prototypes sound like their class? A page of them: every prototype to hear, real clips beside it, and the map.

A learnt prototype is one vector; a decoder makes sound of it, another one for each seed of its noise (Alonso-Jimenez et
al., arXiv 2402.09318, whose site plays one table a dataset). The page sets the classes in rows and a class's prototypes
in columns, each with its sounds and the real clips nearest to it, and marks prototypes that share a nearest clip: they
may have collapsed into one. The map above shows them as stars among the data; a click plays the point and
goes to its cell. It is one piece of HTML that needs neither kernel nor network. Where scripts are stripped, the first
seed plays, and the map is a picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.checks import check_fields, checked, whole
from ..core.errors import AudioError, ParameterError
from .inputs import instances, items, texts
from .page import Page, escape, signed
from .pictures import mel_note, mel_pictures
from .player_tables import card, picture
from .prototype_maps import DataPoints, PrototypeMap, carried_points, numbered
from .sounds import Sound, cut, read, shared_gain, waveform


@dataclass(frozen=True, eq=False)
class RealClip:
    """A clip of the data near a prototype."""

    name: str
    """Its caption, which also tells whether two prototypes share it."""
    x: np.ndarray
    """Its sound, (samples,)."""
    rate: int
    """Hz."""
    distance: float
    """From the prototype, in the space of the embedding."""

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True, eq=False)
class PrototypeSounds:
    """One prototype, as it sounds."""

    label: str
    """The class it belongs to."""
    sounds: Sequence[np.ndarray] | np.ndarray
    """What the decoder made of it, one sound (samples,) for each diffusion seed."""
    rate: int
    """Hz, of these sounds."""
    nearest: Sequence[RealClip] = ()
    """Real clips, the nearest first."""
    segments: int | None = None
    """How many segments of the data have it as their nearest prototype."""
    weight: float | None = None
    """Its weight in the logit of its own class."""

    def __post_init__(self):
        check_fields(self)
        object.__setattr__(self, "nearest", tuple(items("nearest", self.nearest, "a list of RealClip")))
        if not hasattr(self.sounds, "__len__"):  # what gives one sound after another
            object.__setattr__(self, "sounds", tuple(self.sounds))


@checked
def prototype_page(
    prototypes: Sequence[PrototypeSounds],
    *,
    points: DataPoints | None = None,
    seeds: Sequence[str] | None = None,
    title: str = "Do prototypes sound like their class?",
    seconds: float | None = 4.0,
    megabytes: float = 6.0,
    point_sounds: int = 40,
    height: int = 380,
) -> PrototypePage:
    """Show and play all prototypes: one row a class, one column a prototype.

    Parameters
    ----------
    prototypes : sequence of PrototypeSounds
        In the order of the model's columns. Classes become rows in the order in which they first occur.
    points : DataPoints, optional
        Draws the map above the table.
    seeds : sequence of str, optional
        Names of the diffusion seeds; by default "seed 1", "seed 2" ...
    title : str
    seconds : float or None
        Longest part of a sound that plays, from the beginning; None for all.
    megabytes : float
        Most sound and pictures (10^6 bytes as they stand in the page), the map set apart. The first seed of every
        prototype is always there; then come the nearest clips, then the other seeds, each seed for all prototypes or
        for none. The page says what it leaves out.
    point_sounds : int
        Most data points of the map whose sound the page carries.
    height : int
        Height of the map in pixels.

    Returns
    -------
    PrototypePage

    Raises
    ------
    ParameterError
        No prototypes, prototypes with another number of sounds than the first, names or coordinates of another number
        than what they belong to, distances or coordinates that are NaN.
    AudioError
        A sound is empty, not mono or holds NaN; it is named.

    Notes
    -----
    A prototype and the real clips under it share a gain, that which brings the loudest of them to -1 dBFS (at most
    +20 dB); it is stated beside the prototype. The sounds of the map have one of their own. Louder points of the map
    that a kernel sends later are clipped, and their caption says so.
    """
    prototypes = check_prototypes(prototypes)
    whole("point_sounds", point_sounds, least=0)
    whole("height", height, least=100, most=10_000)
    count = len(prototypes[0].sounds)
    seeds = [f"seed {k + 1}" for k in range(count)] if seeds is None else texts("seeds", seeds)
    if len(seeds) != count:
        raise ParameterError("seeds", seeds, f"{count} names, one for each sound of a prototype")
    page = {"title": title, "seconds": seconds, "megabytes": megabytes}
    return PrototypePage(prototypes, points, seeds, point_sounds, height, **page)


def check_prototypes(prototypes: Sequence[PrototypeSounds]) -> list[PrototypeSounds]:
    """Refuse no prototypes, no or uneven numbers of sounds, and distances that are not finite."""
    prototypes = instances("prototypes", prototypes, PrototypeSounds)
    if not prototypes:
        raise ParameterError("prototypes", [], "at least one")
    for k, prototype in enumerate(prototypes):
        if not 1 <= len(prototype.sounds) == len(prototypes[0].sounds):
            expected = f"{max(len(prototypes[0].sounds), 1)}, one for each seed"
            raise ParameterError(f"prototypes[{k}].sounds", f"{len(prototype.sounds)} sounds", expected)
        for clip in instances(f"prototypes[{k}].nearest", prototype.nearest, RealClip):
            if not np.isfinite(clip.distance):
                raise ParameterError(f"prototypes[{k}]: distance of {clip.name!r}", clip.distance, "finite")
    return prototypes


def _readable(points: DataPoints | None, wanted: list[int]) -> list[np.ndarray]:
    """Sounds of data points; the map names those that cannot be read."""
    sounds = []
    for i in wanted:
        try:
            sounds.append(read(points.audio, i, str(points.names[i]))[0])
        except AudioError:
            continue
    return sounds


class PrototypePage(Page):
    """A page of prototypes, made by :func:`prototype_page`; display it, listen.

    Attributes
    ----------
    gains : list of float
        dB, of each prototype and of the real clips under it.
    gain_db : float
        Of the sounds of the map.
    seeds : list of str
        Diffusion seeds that the page carries.
    shared : list of str
        Clips that are the nearest of two prototypes or more.
    map : SoundMap or None
    title : str
    """

    _element, _styles = "wb-players wb-prototypes", ("players.css", "prototypes.css")
    _scripts, _view = ("players.js", "exchange.js", "prototypes.js"), "hearPrototypes"

    def __init__(self, prototypes, points, seeds, point_sounds, height, **page):
        super().__init__(**page)
        self._prototypes, self._seeds = prototypes, seeds
        self._names = numbered([prototype.label for prototype in prototypes])
        heard = [
            (f"prototype {name}", x, prototype.rate)
            for name, prototype in zip(self._names, prototypes, strict=True)
            for x in prototype.sounds
        ]
        clips = [(clip.name, clip.x, clip.rate) for prototype in prototypes for clip in prototype.nearest]
        carried = [] if points is None else carried_points(points, len(prototypes), sounds=point_sounds)
        made = [waveform(*sound) for sound in heard]
        seeds_of = np.reshape(np.arange(len(made)), (len(prototypes), -1))
        self.gains = [
            shared_gain(
                [*(made[i][0] for i in own), *(waveform(clip.name, clip.x, clip.rate)[0] for clip in one.nearest)]
            )
            for own, one in zip(seeds_of, prototypes, strict=True)
        ]
        self.gain_db = shared_gain([] if points is None else _readable(points, carried))
        self._top = min(rate for _, _, rate in heard + clips) / 2
        pictures = iter(mel_pictures([(cut(x, rate, seconds=self._seconds), rate) for x, rate in made], self._top))
        self._pictures = [[next(pictures) for _ in prototype.sounds] for prototype in prototypes]
        self._first = [self._made(k, 0) for k in range(len(prototypes))]
        self._take(sum(map(self._size, self._first)))
        self._wanted = max(len(prototype.nearest) for prototype in prototypes)
        ranks = self._fitting(self._ranks()).values()
        self._near = [[rank[k] for rank in ranks if k in rank] for k in range(len(prototypes))]
        others = list(self._fitting(self._other_seeds()).values())
        self.seeds = seeds[: 1 + len(others)]
        firsts = Counter(prototype.nearest[0].name for prototype in prototypes if prototype.nearest)
        self.shared = [name for name, count in firsts.items() if count > 1]
        self.map = None
        if points is not None:
            labels, page = [prototype.label for prototype in prototypes], {"seconds": self._seconds}
            self.map = PrototypeMap(points, labels, carried, height, gain_db=self.gain_db, **page)
        self._pack({"seeds": [[[sound.uri, shown, sound.caption] for sound, shown in seed] for seed in others]})

    def _made(self, k: int, seed: int) -> tuple[Sound, str]:
        """A prototype's sound with its picture."""
        prototype = self._prototypes[k]
        where = f"prototype {self._names[k]}"
        sound = self._sound(where, prototype.sounds[seed], prototype.rate, gain_db=self.gains[k])
        return sound, self._pictures[k][seed]

    @staticmethod
    def _size(made: tuple[Sound, str]) -> float:
        return made[0].size + len(made[1])

    def _ranks(self) -> Iterator[tuple[int, dict[int, tuple[RealClip, Sound]], float]]:
        """The nearest clips of all prototypes, then the second nearest, and so on."""
        for rank in range(self._wanted):
            row = {k: made.nearest[rank] for k, made in enumerate(self._prototypes) if rank < len(made.nearest)}
            sounds = {
                k: (clip, self._sound(clip.name, clip.x, clip.rate, gain_db=self.gains[k])) for k, clip in row.items()
            }
            yield rank, sounds, sum(sound.size for _, sound in sounds.values())

    def _other_seeds(self) -> Iterator[tuple[int, list[tuple[Sound, str]], float]]:
        for seed in range(1, len(self._seeds)):
            made = [self._made(k, seed) for k in range(len(self._prototypes))]
            yield seed, made, sum(map(self._size, made))

    def _still(self) -> str:
        buttons = "".join(
            f'<label><input type="radio" value="{k}"{" checked" * (k == 0)}>{escape(name)}</label>'
            for k, name in enumerate(self.seeds)
        )
        choice = f'<fieldset class="wb-seeds" hidden><legend>the decoder\'s noise</legend>{buttons}</fieldset>'
        above = self.map.html if self.map is not None else ""
        return self._titled(f"{above}{choice if len(self.seeds) > 1 else ''}{self._table()}", self._note())

    def _table(self) -> str:
        rows: dict[str, list[int]] = {}
        for k, prototype in enumerate(self._prototypes):
            rows.setdefault(prototype.label, []).append(k)
        columns = max(map(len, rows.values()))
        parts = []
        for label, members in rows.items():
            parts.append(f'<div class="wb-row-name">{escape(label)}</div>')
            parts += map(self._cell, members)
            parts += ["<div></div>"] * (columns - len(members))
        style = f"grid-template-columns:78px repeat({columns},minmax(178px,1fr))"
        return f'<div class="wb-matrix" tabindex="0" style="{style}">{"".join(parts)}</div>'

    def _cell(self, k: int) -> str:
        prototype, name, (sound, shown) = self._prototypes[k], self._names[k], self._first[k]
        facts = [f"nearest to {prototype.segments:,} segments"] if prototype.segments is not None else []
        facts += [f"weight {signed(prototype.weight)}"] if prototype.weight is not None else []
        facts += [f"gain {signed(self.gains[k], 1)} dB"]
        near = "".join(self._near_card(clip, sound, rank) for rank, (clip, sound) in enumerate(self._near[k]))
        words = {"kind": "wb-made", "label": f"prototype {name}"}
        made = card(name, " · ".join(facts), sound, picture(name, shown), **words)
        return f'<div class="wb-cell" data-prototype="{k}" tabindex="-1">{made}{near}</div>'

    def _near_card(self, clip: RealClip, sound: Sound, rank: int) -> str:
        shared = rank == 0 and clip.name in self.shared
        mark = '<span class="wb-shared" title="nearest clip of two prototypes or more">shared</span>' if shared else ""
        label = escape(f"real clip {clip.name}")
        return (
            f'<div class="wb-card wb-near"><div class="wb-detail"><span>{escape(clip.name)}</span>{mark}'
            f"<b>{clip.distance:.3g}</b></div>"
            f'<audio controls preload="none" aria-label="{label}" src="{sound.uri}"></audio></div>'
        )

    def _note(self) -> str:
        parts = ["Each prototype has a gain of its own, as stated, which the real clips under it share."]
        if any(self._near):
            parts.append("Under each prototype the real clips nearest to it, with their distances.")
        if self.shared:
            parts.append(
                f"{len(self.shared)} clip{'s are' if len(self.shared) > 1 else ' is'} the nearest of more than one "
                "prototype (marked “shared”): such prototypes may have collapsed."
            )
        parts.append(mel_note(self._top))
        missing = len(self._seeds) - len(self.seeds)
        carried = max(map(len, self._near))
        if missing or carried < self._wanted:
            left = f"{missing} of {len(self._seeds)} seeds" if missing else ""
            clips = f"all but {carried} of {self._wanted} nearest clips" if carried < self._wanted else ""
            parts.append(f"Left out, for the page's size: {' and '.join(filter(None, [left, clips]))}.")
        return " ".join(parts)

    def connect(self) -> None:
        """Open the channel to the kernel for the map; displaying the page does it."""
        if self.map is not None:
            self.map.connect()

    def __repr__(self) -> str:
        return f"PrototypePage({len(self._prototypes)} prototypes, {len(self.seeds)} of {len(self._seeds)} seeds)"
