"""Do prototypes sound like their class? A page of them: every prototype to hear, real clips beside it, and the map.

A learnt prototype is one vector; a decoder makes sound of it, another one for each seed of its noise (Alonso-Jimenez et
al., arXiv 2402.09318, whose site plays one table a dataset). The page sets the classes in rows and a class's prototypes
in columns, each with its sounds and the real clips nearest to it, and marks prototypes that share a nearest clip: they
may have collapsed into one. The map above shows them as stars among the data; a click plays the point and
goes to its cell. It is one piece of HTML that needs neither kernel nor network. Where scripts are stripped, the first
seed plays, and the map is a picture.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.checks import check_fields, checked, number, whole
from ..core.errors import AudioError, ParameterError
from .inputs import items, texts
from .live import in_kernel
from .page import escape, pack, save_page, static
from .players import RANGE_DB, mel_levels, mel_picture
from .prototype_maps import DataPoints, carried_points, numbered, prototype_map
from .sounds import Sound, check_length, compress, cut, read, shared_gain, waveform


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
        Of the map, in pixels.

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
    All sounds of the page have one gain, that which brings the loudest of them to -1 dBFS (at most +20 dB). Louder
    points of the map that a kernel sends later are clipped, and their caption says so.
    """
    prototypes = check_prototypes(prototypes)
    check_length("seconds", seconds)
    number("megabytes", megabytes, least=0)
    whole("point_sounds", point_sounds, least=0)
    whole("height", height, least=100, most=10_000)
    count = len(prototypes[0].sounds)
    seeds = [f"seed {k + 1}" for k in range(count)] if seeds is None else texts("seeds", seeds)
    if len(seeds) != count:
        raise ParameterError("seeds", seeds, f"{count} names, one for each sound of a prototype")
    return PrototypePage(
        prototypes,
        points,
        seeds,
        title=title,
        seconds=seconds,
        megabytes=megabytes,
        point_sounds=point_sounds,
        height=height,
    )


def check_prototypes(prototypes: Sequence[PrototypeSounds]) -> list[PrototypeSounds]:
    """Refuse no prototypes, no or uneven numbers of sounds, and distances that are not finite."""
    prototypes = items("prototypes", prototypes, "a list of PrototypeSounds")
    if not prototypes:
        raise ParameterError("prototypes", [], "at least one")
    for k, one in enumerate(prototypes):
        if not isinstance(one, PrototypeSounds):
            raise ParameterError(f"prototypes[{k}]", type(one).__name__, "PrototypeSounds")
        if not 1 <= len(one.sounds) == len(prototypes[0].sounds):
            expected = f"{max(len(prototypes[0].sounds), 1)}, one for each seed"
            raise ParameterError(f"prototypes[{k}].sounds", f"{len(one.sounds)} sounds", expected)
        for clip in one.nearest:
            if not isinstance(clip, RealClip):
                raise ParameterError(f"prototypes[{k}].nearest", type(clip).__name__, "a list of RealClip")
            if not np.isfinite(clip.distance):
                raise ParameterError(f"prototypes[{k}]: distance of {clip.name!r}", clip.distance, "finite")
    return prototypes


def _readable(points: DataPoints | None, wanted: list[int]) -> list[np.ndarray]:
    """Sounds of data points; the map names those that cannot be read."""
    found = []
    for i in wanted:
        try:
            found.append(read(points.audio, i, str(points.names[i]))[0])
        except AudioError:
            continue
    return found


class Shelf:
    """Sounds of a page at one gain, and room for so many of them.

    Parameters
    ----------
    waveforms : iterable of np.ndarray
        All that will be heard: they decide the gain.
    """

    def __init__(self, waveforms, *, seconds: float | None, megabytes: float):
        check_length("seconds", seconds)
        self.seconds, self.room = seconds, megabytes * 1e6
        self.gain_db = shared_gain(waveforms)

    def sound(self, name: str, x, rate: int) -> Sound:
        """Compressed; its place is taken."""
        x, rate = waveform(name, x, rate)
        made = compress(cut(x, rate, seconds=self.seconds), rate, total=len(x) / rate, gain_db=self.gain_db)
        self.room -= len(made.data) * 4 / 3 + 700
        return made


class PrototypePage:
    """A page of prototypes, made by :func:`prototype_page`; display it, listen.

    Attributes
    ----------
    gain_db : float
        Applied to every sound.
    seeds : list of str
        Diffusion seeds that the page carries.
    shared : list of str
        Clips that are the nearest of two prototypes or more.
    map : SoundMap or None
    title : str
    """

    def __init__(
        self,
        prototypes: list[PrototypeSounds],
        points: DataPoints | None,
        seeds: list[str],
        *,
        title: str,
        seconds: float | None,
        megabytes: float,
        point_sounds: int,
        height: int,
    ):
        self._of, self.title, self._seeds = prototypes, title, seeds
        self._names = numbered([one.label for one in prototypes])
        clips = [clip for one in prototypes for clip in one.nearest]
        heard = [(f"prototype {self._names[k]}", x, one.rate) for k, one in enumerate(prototypes) for x in one.sounds]
        heard += [(clip.name, clip.x, clip.rate) for clip in clips]
        carried = [] if points is None else carried_points(points, len(prototypes), sounds=point_sounds)
        waveforms = [waveform(*one)[0] for one in heard] + _readable(points, carried)
        shelf = Shelf(waveforms, seconds=seconds, megabytes=megabytes)
        self.gain_db, self._shelf = shelf.gain_db, shelf
        self._top = min(rate for _, _, rate in heard) / 2
        levels = [[self._levels(x, one.rate) for x in one.sounds] for one in prototypes]
        loudest = max(float(level.max()) for row in levels for level in row)
        self._pictures = [[mel_picture(level, loudest) for level in row] for row in levels]
        self._first = [self._sound(k, 0) for k in range(len(prototypes))]
        self._near = self._nearest(shelf)
        self._others = self._other_seeds()
        self.seeds = seeds[: 1 + len(self._others)]
        firsts = Counter(one.nearest[0].name for one in prototypes if one.nearest)
        self.shared = [name for name, count in firsts.items() if count > 1]
        self.map = None
        if points is not None:
            labels = [one.label for one in prototypes]
            options = {"height": height, "seconds": seconds, "gain_db": self.gain_db}
            self.map = prototype_map(points, labels, carried=carried, **options)
        data = {"seeds": [[[s.uri, p, s.caption] for s, p in seed] for seed in self._others]}
        self._packed, self.key = pack(data)

    def _levels(self, x, rate: int) -> np.ndarray:
        return mel_levels(cut(x, rate, seconds=self._shelf.seconds), rate, self._top)

    def _sound(self, k: int, seed: int) -> Sound:
        one = self._of[k]
        self._shelf.room -= len(self._pictures[k][seed])
        return self._shelf.sound(f"prototype {self._names[k]}", one.sounds[seed], one.rate)

    def _nearest(self, shelf: Shelf) -> list[list[tuple[RealClip, Sound]]]:
        """The nearest clips of each prototype that there is room for: first the nearest of all, and so on."""
        near = [[] for _ in self._of]
        self._wanted = max(len(one.nearest) for one in self._of)
        for rank in range(self._wanted):
            row = [(k, one.nearest[rank]) for k, one in enumerate(self._of) if rank < len(one.nearest)]
            made = [(k, clip, shelf.sound(clip.name, clip.x, clip.rate)) for k, clip in row]
            if shelf.room < 0:
                break
            for k, clip, sound in made:
                near[k].append((clip, sound))
        return near

    def _other_seeds(self) -> list[list[tuple[Sound, str]]]:
        others = []
        for seed in range(1, len(self._seeds)):
            made = [(self._sound(k, seed), self._pictures[k][seed]) for k in range(len(self._of))]
            if self._shelf.room < 0:
                break
            others.append(made)
        return others

    @property
    def html(self) -> str:
        """The page as HTML that needs neither kernel nor network, and is usable without scripts."""
        script = static("one_sound.js", "players.js", "page.js", "interpretations.js", "prototypes.js")
        buttons = "".join(
            f'<label><input type="radio" value="{k}"{" checked" * (k == 0)}>{escape(name)}</label>'
            for k, name in enumerate(self.seeds)
        )
        choice = f'<fieldset class="wb-seeds" hidden><legend>the decoder\'s noise</legend>{buttons}</fieldset>'
        above = self.map.html if self.map is not None else ""
        return (
            f'<div class="wb-players wb-prototypes" data-lm-suppress-shortcuts="true">'
            f"<style>{static('players.css', 'prototypes.css')}</style>"
            f'<div class="wb-title">{escape(self.title)}</div>{above}'
            f"{choice if len(self.seeds) > 1 else ''}{self._table()}"
            f'<div class="wb-note">{escape(self._note())}</div>'
            f'<script type="text/plain" class="wb-sounds">{self._packed}</script>'
            f"<script>(() => {{\n{script}\nhearPrototypes(document.currentScript.parentElement);\n}})();</script></div>"
        )

    def _table(self) -> str:
        rows: dict[str, list[int]] = {}
        for k, one in enumerate(self._of):
            rows.setdefault(one.label, []).append(k)
        columns = max(map(len, rows.values()))
        parts = []
        for label, members in rows.items():
            parts.append(f'<div class="wb-row-name">{escape(label)}</div>')
            parts += map(self._cell, members)
            parts += ["<div></div>"] * (columns - len(members))
        style = f"grid-template-columns:78px repeat({columns},minmax(178px,1fr))"
        return f'<div class="wb-matrix" tabindex="0" style="{style}">{"".join(parts)}</div>'

    def _cell(self, k: int) -> str:
        one = self._of[k]
        facts = [f"nearest to {one.segments:,} segments"] if one.segments is not None else []
        facts += [f"weight {one.weight:+.2f}".replace("-", "−")] if one.weight is not None else []
        name = self._names[k]
        near = "".join(self._near_card(clip, sound, rank) for rank, (clip, sound) in enumerate(self._near[k]))
        shown = f'<img alt="mel spectrogram of {escape(name)}" src="{self._pictures[k][0]}"><i></i>'
        sound = self._first[k]
        return (
            f'<div class="wb-cell" data-prototype="{k}" tabindex="-1"><div class="wb-card wb-made">'
            f'<div class="wb-name">{escape(name)}</div><div class="wb-detail">{escape(" · ".join(facts))}</div>'
            f'<div class="wb-picture">{shown}</div>'
            f'<audio controls preload="metadata" aria-label="prototype {escape(name)}" src="{sound.uri}"></audio>'
            f'<div class="wb-length">{escape(sound.caption)}</div></div>{near}</div>'
        )

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
        parts = [f"All sounds at one gain of {self.gain_db:+.1f} dB: levels can be compared.".replace("-", "−")]
        if any(self._near):
            parts.append("Under each prototype the real clips nearest to it, with their distances.")
        if self.shared:
            parts.append(
                f"{len(self.shared)} clip{'s are' if len(self.shared) > 1 else ' is'} the nearest of more than one "
                "prototype (marked “shared”): such prototypes may have collapsed."
            )
        parts.append(
            f"Mel spectrograms, 0 to {self._top / 1000:.4g} kHz, {RANGE_DB:.0f} dB below the loudest moment of all."
        )
        missing = len(self._seeds) - len(self.seeds)
        carried = max(map(len, self._near))
        if missing or carried < self._wanted:
            left = f"{missing} of {len(self._seeds)} seeds" if missing else ""
            clips = f"all but {carried} of {self._wanted} nearest clips" if carried < self._wanted else ""
            parts.append(f"Left out, for the page's size: {' and '.join(filter(None, [left, clips]))}.")
        return " ".join(parts)

    def save(self, path: str | os.PathLike) -> Path:
        """Write the page as a file of its own."""
        return save_page(path, self.html, title=self.title)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        if self.map is not None and in_kernel():
            self.map.connect()
        return {"text/html": self.html, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"PrototypePage({len(self._of)} prototypes, {len(self.seeds)} of {len(self._seeds)} seeds)"
