"""What does a latent mean? A page of sparse latents: a table to search and sort, and for each the sounds it wakes at.

The output is plain HTML that draws itself (``static/latents.js``) in JupyterLab, in a notebook opened again without a
kernel, and in an exported page without a network. It carries the numbers of all latents, and sounds and pictures of the
most telling ones; while a kernel runs, the link that sound maps use too brings whatever is missing, in the same parcels
that the page would carry.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.checks import checked, number, whole
from ..core.errors import AudioError, ParameterError
from . import sounds as clip_sounds
from .colours import Coloured
from .inputs import function, table_of
from .latents_data import (
    NO_CLIP,
    SILENT,
    WEAKER,
    activation_parcel,
    checked_activations,
    checked_latents,
    chosen_columns,
    examples,
    frame_curves,
    latent_statistics,
    relatives,
    telling_order,
    unit_directions,
)
from .live import in_kernel, open_link
from .page import array, drawing, escape, pack, save_page
from .players import RANGE_DB, mel_levels, mel_picture
from .points import base64_of, colour_data
from .sounds import MEDIA, check_length

#: An (x, rate) source by position.
Audio = Callable[[int], tuple[np.ndarray, int]]
#: (times (T,) in s, activations (T, latents)) by position.
Frames = Callable[[int], tuple[np.ndarray, np.ndarray]] | Mapping[int, tuple[np.ndarray, np.ndarray]]
#: Most activations (clips times active latents) in the output.
MOST_ACTIVATIONS = 1_000_000


@dataclass(frozen=True)
class _Parcel:
    """What the kernel sends, in the shape in which the link sends sounds."""

    data: bytes
    caption: str = ""
    format: str = "mp3"


@checked
def latent_page(
    z,
    clips,
    *,
    columns: str | Sequence[str] | None = None,
    decoder=None,
    frames: Frames | None = None,
    latents: Sequence[int] | None = None,
    top: int = 6,
    sounds: int = 80,
    megabytes: float = 4.0,
    seconds: float | None = 5.0,
    audio: Audio | None = None,
    title: str | None = None,
    seed: int = 0,
) -> LatentPage:
    """Show what sparse latents mean: a table of all, and for each one its clips, labels, factors and relatives.

    Parameters
    ----------
    z : array or tensor (N, latents)
        Activations of the clips, 0 or more, in the order of the clips.
    clips : Clips or pandas.DataFrame
        The N clips: an object with ``.table`` and ``.audio(i)``, or a table alone.
    columns : names of columns, optional
        What the latents are held against; by default the label and the factors of ``clips``.
    decoder : array or tensor (latents, D), optional
        The direction that each latent writes; latents with similar directions are linked.
    frames : callable or mapping, optional
        i -> (times (T,) in seconds, activations (T, latents)) of clip i, drawn over its spectrogram.
    latents : sequence of int, optional
        Latents whose clips the output carries as sound, in this order as far as the caps allow; by default the most
        telling ones, label by label.
    top : int
        How many of its strongest clips stand for a latent, beside three weaker and two in which it is silent.
    sounds : int
        Most clips whose sound the output carries; 0 for none.
    megabytes : float
        Most sound and pictures (10^6 bytes, compressed) in the output.
    seconds : float or None
        Longest part of a clip that plays (None: all), counted from its beginning.
    audio : callable, optional
        i -> (x, rate), instead of ``clips.audio``.
    title : str, optional
    seed : int
        Of the silent clips that are drawn, and of the shuffles behind the chance levels.

    Returns
    -------
    LatentPage
        Displays itself; ``.table`` holds the statistics, ``.selected`` the latent that is open.

    Raises
    ------
    ParameterError
        z is negative, not finite or not as long as clips; an unknown column; latents out of range or dead; decoder of
        another number of latents.

    Notes
    -----
    A clip that cannot be read says so in its place. All sounds have one gain, that which brings the loudest of those
    carried to -1 dBFS (at most +20 dB).
    """
    table = table_of(clips)
    whole("top", top, least=1, most=1000)
    whole("sounds", sounds, least=0)
    number("megabytes", megabytes, least=0)
    check_length("seconds", seconds)
    if frames is not None and not (callable(frames) or isinstance(frames, Mapping)):
        raise ParameterError(
            "frames", type(frames).__name__, "a function or mapping of positions to (times, activations)"
        )
    audio = function("audio", audio if audio is not None else getattr(clips, "audio", None))
    z = checked_activations(z, len(table))
    shown = chosen_columns(table, columns, getattr(clips, "factors", ()))
    names = [column.name for column in shown]
    statistics = latent_statistics(z, table, names, seed=seed)
    if title is None:
        made = " of generated audio" if getattr(clips, "generated", False) is True else ""
        title = f"{z.shape[1]:,} latents on {len(table):,} clips{made}"
    return LatentPage(
        z,
        table,
        statistics,
        columns=shown,
        decoder=None if decoder is None else unit_directions(decoder, z.shape[1]),
        frames=frames,
        wanted=telling_order(statistics) if latents is None else checked_latents(latents, statistics),
        top=top,
        sounds=sounds,
        megabytes=megabytes,
        seconds=seconds,
        audio=audio,
        title=title,
        seed=seed,
    )


class LatentPage:
    """A page of latents, made by :func:`latent_page`; display it, search, listen.

    Attributes
    ----------
    table : pandas.DataFrame
        Statistics of all latents, see :func:`latent_statistics`.
    carried : list of int
        Latents whose clips the output carries as sound.
    failed : dict of int to str
        Clips that could not be read, by position, and why.
    """

    def __init__(
        self,
        z: np.ndarray,
        clips,
        statistics,
        *,
        columns: list[Coloured],
        decoder: np.ndarray | None,
        frames: Frames | None,
        wanted: list[int],
        top: int,
        sounds: int,
        megabytes: float,
        seconds: float | None,
        audio: Audio | None,
        title: str,
        seed: int,
    ):
        self.table, self.title, self.clips = statistics, title, clips
        self._z, self._audio, self._frames, self._seconds = z, audio, frames, seconds
        self._alive = np.flatnonzero(statistics["density"].to_numpy() > 0)
        self._examples = examples(z, self._alive, top=top, seed=seed)
        self._place = {int(latent): k for k, latent in enumerate(self._alive)}
        self._parcels: dict[int, dict] = {}
        self._link = None
        self.failed: dict[int, str] = {}
        self._gain_db, self._top_hz, self._peak_db = 0.0, None, None
        fitting = self._within(wanted, sounds) if audio is not None else []
        self._size = 0
        self._carried_clips = self._carry(fitting, megabytes)
        have = {*self._carried_clips, *self.failed}
        self.carried = [one for one in wanted if self._carried_clips and have >= set(self.example_clips(one))]
        self._selected = (self.carried or wanted or self._alive.tolist())[:1]
        data = self._data(columns, decoder, wanted, top)
        self.key = pack(data)[1]
        self._packed, _ = pack(data | {"key": self.key})

    def example_clips(self, latent: int) -> list[int]:
        """Positions of the clips that stand for a latent: its strongest, weaker, and silent ones."""
        if latent not in self._place:
            raise ParameterError("latent", latent, "a latent that is active in some clip")
        row = self._examples[self._place[latent]]
        return row[row != NO_CLIP].tolist()

    def _within(self, wanted: list[int], sounds: int) -> list[int]:
        """The clips of as many of these latents as ``sounds`` allows, whole latents only."""
        clips: dict[int, None] = {}
        for latent in wanted:
            more = [i for i in self.example_clips(latent) if i not in clips]
            if len(clips) + len(more) <= sounds:
                clips |= dict.fromkeys(more)
        return list(clips)

    def _read(self, i: int) -> tuple[np.ndarray, int, float]:
        """What plays of clip i, its rate, and the seconds of the whole clip."""
        name = str(self.clips["id"].iloc[i]) if "id" in self.clips.columns else f"clip {i}"
        x, rate = clip_sounds.read(self._audio, i, name)
        return clip_sounds.cut(x, rate, seconds=self._seconds), rate, len(x) / rate

    def _carry(self, clips: list[int], megabytes: float) -> list[int]:
        """Make the parcels of these clips, with one gain for all sounds and one scale for all pictures."""
        read = {}
        for i in clips:
            try:
                read[i] = self._read(i)
            except AudioError as error:
                self.failed[i] = str(error)
        if read:
            self._gain_db = clip_sounds.shared_gain(x for x, _, _ in read.values())
            self._top_hz = min(rate for _, rate, _ in read.values()) / 2
        mels = {i: mel_levels(x, rate, self._top_hz) for i, (x, rate, _) in read.items()}
        self._peak_db = max((float(mel.max()) for mel in mels.values()), default=None)
        carried = []
        for i, sound in read.items():
            parcel = self._parcel(*sound, mels[i])
            size = (len(parcel["sound"]) + len(parcel["picture"])) * 3 // 4  # base64
            if self._size + size > megabytes * 1e6:
                break
            self._parcels[i], self._size = parcel, self._size + size
            carried.append(i)
        return carried

    def _parcel(self, x: np.ndarray, rate: int, total: float, decibels: np.ndarray) -> dict:
        sound = clip_sounds.compress(x, rate, total=total, gain_db=self._gain_db)
        picture = mel_picture(decibels, float(decibels.max()) if self._peak_db is None else self._peak_db)
        shown = {"caption": sound.caption, "picture": picture, "seconds": round(sound.seconds, 4)}
        return shown | {"sound": base64_of(sound.data)}

    def clip_parcel(self, i: int) -> dict:
        """Sound, caption and picture of clip i as the page carries them, made once; an AudioError names the clip."""
        if self._audio is None:
            raise ParameterError("audio", None, "given to latent_page for clips to be heard")
        if i not in self._parcels:
            whole("i", i, least=0, most=len(self.clips) - 1)
            x, rate, total = self._read(i)
            decibels = mel_levels(x, rate, min(self._top_hz or rate / 2, rate / 2))
            self._parcels[i] = self._parcel(x, rate, total, decibels)
        return self._parcels[i]

    def latent_parcels(self, latents: Sequence[int], *, curves: Sequence[int]) -> dict[int, dict]:
        """Activations of all clips by each of these latents, for those in ``curves`` also of their examples' frames."""
        parcels = {latent: activation_parcel(self._z[:, latent]) for latent in latents}
        if self._frames is not None:
            wanted = {latent: self.example_clips(latent) for latent in curves}
            for latent, found in frame_curves(self._frames, wanted, self._z.shape[1], self._seconds).items():
                parcels[latent]["curves"] = found
        return parcels

    def _data(self, columns: list[Coloured], decoder: np.ndarray | None, wanted: list[int], top: int) -> dict:
        alive = self.table.iloc[self._alive].fillna(dict.fromkeys(("column", "label", "factor"), ""))
        order = list(dict.fromkeys([*wanted, *self._alive.tolist()]))
        fits = np.cumsum((self._z > 0).sum(axis=0)[order]) <= MOST_ACTIVATIONS
        have = [*self.carried, *(latent for latent, fit in zip(order, fits, strict=True) if fit)]
        parcels = self.latent_parcels(list(dict.fromkeys(have)), curves=self.carried)
        return {
            "n": len(self.clips),
            "total": len(self.table),
            "title": self.title,
            "numbers": array(self._alive, "<u4"),
            "statistics": {name: array(of, "<f4") for name, of in alive.select_dtypes("number").items()},
            "about": list(zip(alive["column"], alive["label"], strict=True)),
            "factors": alive["factor"].tolist(),
            "examples": array(self._examples, "<u4"),
            "top": top,
            "weaker": list(WEAKER),
            "silent": SILENT,
            "relatives": relatives(self._z, self._alive, decoder),
            "columns": [colour_data(column) for column in columns],
            "ids": self._texts("id"),
            "labels": self._texts("label"),
            "latents": {str(latent): parcel for latent, parcel in parcels.items()},
            "clips": {str(i): self.clip_parcel(i) for i in self._carried_clips},
            "failed": {str(i): reason for i, reason in self.failed.items()},
            "carried": self.carried,
            "framed": self._frames is not None,
            "media": MEDIA["mp3"] if self._audio is not None else "",
            "first": self._selected[0],
            "note": self._note(len(parcels)),
            "live_note": self._live_note(),
        }

    def _texts(self, column: str) -> list[str]:
        if column not in self.clips.columns:
            return []
        return ["" if v is None or v != v else str(v) for v in self.clips[column].tolist()]

    def _played(self) -> str:
        seconds = self._seconds
        part = "whole clips" if seconds is None else f"at most the first {clip_sounds.duration(seconds)} of a clip"
        picture = "the loudest moment of those carried" if self._peak_db is not None else "each clip's own peak"
        return f"{part}, all at {self._gain_db:+.1f} dB; pictures: mel spectrograms, {RANGE_DB:.0f} dB below {picture}"

    def _note(self, with_activations: int) -> str:
        alive, rest = len(self._alive), "the page has the numbers"
        if with_activations < alive:
            rest = f"it has the numbers, and for {with_activations:,} latents the activation of every clip"
        if self._audio is None:
            return f"These clips came without sound; {rest}."
        if not self._carried_clips:
            return f"This page carries no sound; {rest}; run the notebook to hear the clips."
        size = f"{self._size / 1e6:.1f} MB" if self._size >= 1e6 else f"{self._size / 1e3:.0f} kB"
        return (
            f"Latents marked ♪ play on this page: {len(self.carried):,} of {alive:,} alive, with "
            f"{len(self._carried_clips):,} of {len(self.clips):,} clips ({size}; {self._played()}). "
            f"For the others {rest}; run the notebook to hear them all."
        )

    def _live_note(self) -> str:
        if self._audio is None:
            return "These clips came without sound."
        return f"Every latent plays; the kernel sends what the page lacks ({self._played()})."

    @property
    def html(self) -> str:
        """The page as HTML that needs neither kernel nor network."""
        files = {"styles": ("players.css", "latents.css"), "scripts": ("players.js", "latents.js")}
        return drawing("wb-latents", self._still(), self._packed, view="LatentPage", **files)

    def _still(self) -> str:
        """A few rows for where scripts are stripped; the script takes their place."""
        rows = []
        for latent in (self.carried or self._alive.tolist())[:8]:
            s = self.table.loc[latent]
            best = f"{s['column']} = {s['label']} (AUC {s['auc']:.2f})" if isinstance(s["label"], str) else "–"
            rows.append(f"<tr><td>{latent}</td><td>{s['density']:.1%}</td><td>{escape(best)}</td></tr>")
        head = "<tr><th>latent</th><th>active in</th><th>best label</th></tr>"
        return (
            f'<div class="wb-still"><strong>{escape(self.title)}</strong><table>{head}{"".join(rows)}</table>'
            f"{len(self._alive):,} latents are alive; the table, the search and the sounds need scripts.</div>"
        )

    def save(self, path: str | os.PathLike) -> Path:
        """Write a page of its own."""
        return save_page(path, self.html, title=self.title)

    @property
    def selected(self) -> int:
        """The latent that is open."""
        return int((self._link.selected if self._link is not None else self._selected)[0])

    @checked
    def select(self, latent: int) -> None:
        """Open a latent from Python."""
        self._selected = checked_latents([latent], self.table)
        if self._link is not None:
            self._link.selected = self._selected

    def parcel(self, index: int) -> _Parcel:
        """What the page asks for: clip ``index``, or from N on the latent ``index - N``, as JSON."""
        latent = index - len(self.clips)
        found = self.clip_parcel(index) if latent < 0 else self.latent_parcels([latent], curves=[latent])[latent]
        return _Parcel(json.dumps(found).encode("utf-8"))

    def connect(self) -> None:
        """Open the channel to the kernel; displaying the page does it."""
        if self._link is None:
            self._link = open_link(self.key, len(self.clips) + len(self.table), self.parcel, self._selected)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        if in_kernel():
            self.connect()
        return {"text/html": self.html, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"LatentPage({self.title!r}: {len(self._alive):,} alive, {len(self.carried):,} carry sound)"
