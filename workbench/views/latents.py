"""What does a latent mean? A page of sparse latents: a table to search and sort, and for each the sounds it wakes at.

The page (``static/latents.js``) carries the numbers of all latents, and sounds and pictures of the most telling ones;
while a kernel runs it sends whatever is missing, in the same parcels that the page would carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ..core.checks import checked, whole
from ..core.errors import AudioError, ParameterError
from .colours import Coloured
from .inputs import Audio, clip_name, generated, source_of, table_of
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
from .page import Page, array, escape
from .pictures import RANGE_DB, mel_levels, mel_picture
from .points import colour_data
from .sounds import MEDIA, amount, cut, read, shared_gain

#: (times (T,) in s, activations (T, latents)) by position.
_Frames = Callable[[int], tuple[np.ndarray, np.ndarray]] | Mapping[int, tuple[np.ndarray, np.ndarray]]
#: Most activations (clips times active latents) in the output.
_MOST_ACTIVATIONS = 1_000_000


@checked
def latent_page(
    z,
    clips,
    *,
    columns: str | Sequence[str] | None = None,
    decoder=None,
    frames: _Frames | None = None,
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
        Draws the silent clips, and the shuffles behind the chance levels.

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
    if frames is not None and not (callable(frames) or isinstance(frames, Mapping)):
        raise ParameterError(
            "frames", type(frames).__name__, "a function or mapping of positions to (times, activations)"
        )
    audio = source_of(clips, audio)
    z = checked_activations(z, len(table))
    shown = chosen_columns(table, columns, getattr(clips, "factors", ()))
    names = [column.name for column in shown]
    statistics = latent_statistics(z, table, names, seed=seed)
    if title is None:
        made = " of generated audio" if generated(clips) else ""
        title = f"{z.shape[1]:,} latents on {len(table):,} clips{made}"
    decoder = None if decoder is None else unit_directions(decoder, z.shape[1])
    wanted = telling_order(statistics) if latents is None else checked_latents(latents, statistics)
    page = {"title": title, "seconds": seconds, "megabytes": megabytes}
    return LatentPage(z, table, statistics, shown, decoder, frames, wanted, top, sounds, audio, seed, **page)


class LatentPage(Page):
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

    _element, _styles = "wb-latents", ("players.css", "latents.css")
    _scripts, _view = ("players.js", "elements.js", "latents.js"), "LatentPage"

    def __init__(self, z, clips, statistics, columns, decoder, frames, wanted, top, sounds, audio, seed, **page):
        super().__init__(**page)
        self.table, self.clips, self.failed = statistics, clips, {}
        self._z, self._audio, self._frames = z, audio, frames
        self._alive = np.flatnonzero(statistics["density"].to_numpy() > 0)
        self._examples = examples(z, self._alive, top=top, seed=seed)
        self._place = {int(latent): k for k, latent in enumerate(self._alive)}
        self._top, self._peak_db = None, None
        self._parcels = self._fitting(self._readable(self._within(wanted, sounds))) if audio is not None else {}
        self._carried_clips = list(self._parcels)
        have = {*self._carried_clips, *self.failed}
        self.carried = [latent for latent in wanted if self._carried_clips and have >= set(self.example_clips(latent))]
        self._selected = (self.carried or wanted or self._alive.tolist())[:1]
        self._pack(self._data(columns, decoder, wanted, top))

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

    def _read(self, i: int) -> tuple[np.ndarray, int]:
        return read(self._audio, i, clip_name(self.clips, i))

    def _readable(self, clips: list[int]) -> Iterator[tuple[int, dict, int]]:
        """The parcels of these clips, with one gain for all sounds and one scale for all pictures."""
        read_clips = {}
        for i in clips:
            try:
                read_clips[i] = self._read(i)
            except AudioError as error:
                self.failed[i] = str(error)
        if not read_clips:
            return
        shown = {i: (cut(x, rate, seconds=self._seconds), rate) for i, (x, rate) in read_clips.items()}
        self.gain_db = shared_gain(x for x, _ in shown.values())
        self._top = min(rate for _, rate in shown.values()) / 2
        levels = {i: mel_levels(x, rate, self._top) for i, (x, rate) in shown.items()}
        self._peak_db = max(float(level.max()) for level in levels.values())
        for i, sound in read_clips.items():
            parcel = self._parcel(i, *sound, levels[i])
            yield i, parcel, _size(parcel)

    def _parcel(self, i: int, x: np.ndarray, rate: int, levels: np.ndarray) -> dict:
        sound = self._sound(clip_name(self.clips, i), x, rate)
        picture = mel_picture(levels, float(levels.max()) if self._peak_db is None else self._peak_db)
        shown = {"caption": sound.caption, "picture": picture, "seconds": round(sound.seconds, 4)}
        return shown | {"sound": sound.base64}

    def clip_parcel(self, i: int) -> dict:
        """Sound, caption and picture of clip i as the page carries them, made once; an AudioError names the clip."""
        if self._audio is None:
            raise ParameterError("audio", None, "given to latent_page for clips to be heard")
        if i not in self._parcels:
            whole("i", i, least=0, most=len(self.clips) - 1)
            x, rate = self._read(i)
            levels = mel_levels(cut(x, rate, seconds=self._seconds), rate, min(self._top or rate / 2, rate / 2))
            self._parcels[i] = self._parcel(i, x, rate, levels)
        return self._parcels[i]

    def latent_parcels(self, latents: Sequence[int], *, curves: Sequence[int]) -> dict[int, dict]:
        """Activations of all clips by each of these latents, for those in ``curves`` also of their examples' frames."""
        parcels = {latent: activation_parcel(self._z[:, latent]) for latent in latents}
        if self._frames is not None:
            wanted = {latent: self.example_clips(latent) for latent in curves}
            for latent, packed in frame_curves(self._frames, wanted, self._z.shape[1], self._seconds).items():
                parcels[latent]["curves"] = packed
        return parcels

    def _data(self, columns: list[Coloured], decoder: np.ndarray | None, wanted: list[int], top: int) -> dict:
        alive = self.table.iloc[self._alive].fillna(dict.fromkeys(("column", "label", "factor"), ""))
        order = list(dict.fromkeys([*wanted, *self._alive.tolist()]))
        fits = np.cumsum((self._z > 0).sum(axis=0)[order]) <= _MOST_ACTIVATIONS
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

    def _heard(self) -> str:
        peak = "the loudest moment of those carried" if self._peak_db is not None else "each clip's own peak"
        return f"{self._played()}; pictures: mel spectrograms, {RANGE_DB:.0f} dB below {peak}"

    def _note(self, with_activations: int) -> str:
        alive, rest = len(self._alive), "the page has the numbers"
        if with_activations < alive:
            rest = f"it has the numbers, and for {with_activations:,} latents the activation of every clip"
        if self._audio is None:
            return f"These clips came without sound; {rest}."
        if not self._carried_clips:
            return f"This page carries no sound; {rest}; run the notebook to hear the clips."
        size = amount(sum(_size(self._parcels[i]) for i in self._carried_clips))
        return (
            f"Latents marked ♪ play on this page: {len(self.carried):,} of {alive:,} alive, with "
            f"{len(self._carried_clips):,} of {len(self.clips):,} clips ({size}; {self._heard()}). "
            f"For the others {rest}; run the notebook to hear them all."
        )

    def _live_note(self) -> str:
        if self._audio is None:
            return "These clips came without sound."
        return f"Every latent plays; the kernel sends what the page lacks ({self._heard()})."

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

    @property
    def selected(self) -> int:
        """The latent that is open."""
        return int(self._chosen()[0])

    @checked
    def select(self, latent: int) -> None:
        """Open a latent from Python."""
        self._choose(checked_latents([latent], self.table))

    def _answer(self, message: dict) -> dict:
        """Clip ``index``, or from N on the latent ``index - N``."""
        index = whole("index", message["index"], least=0, most=len(self.clips) + len(self.table) - 1)
        latent = index - len(self.clips)
        if latent < 0:
            return {"parcel": self.clip_parcel(index)}
        return {"parcel": self.latent_parcels([latent], curves=[latent])[latent]}

    def __repr__(self) -> str:
        return f"LatentPage({self.title!r}: {len(self._alive):,} alive, {len(self.carried):,} carry sound)"


def _size(parcel: dict) -> int:
    """Bytes of a clip's sound and picture."""
    return (len(parcel["sound"]) + len(parcel["picture"])) * 3 // 4  # base64
