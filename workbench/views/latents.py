"""What does a latent mean? A page of sparse latents: a table to search and sort, and for each the sounds it wakes at.

The page (``static/latents.js``) carries the numbers of all latents, and sounds and pictures of the most telling ones;
while a kernel runs it sends whatever is missing, in the same parcels that the page would carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..core.checks import checked, number, whole
from ..core.errors import AudioError, ParameterError
from .colours import Coloured
from .inputs import Audio, clip_name, generated, source_of, table_of
from .latent_moments import Curve, Frames, Moment, curves_of, moment_of, packed_curves, strip
from .latents_data import (
    NO_CLIP,
    SILENT,
    WEAKER,
    activation_parcel,
    checked_activations,
    checked_latents,
    chosen_columns,
    examples,
    latent_statistics,
    relatives,
    telling_order,
    unit_directions,
)
from .page import Page, array, escape
from .pictures import RANGE_DB, mel_levels, mel_picture
from .points import colour_data
from .sounds import MEDIA, amount, cut, read, shared_gain

#: Most activations (clips times active latents) in the output.
_MOST_ACTIVATIONS = 1_000_000
#: Most moments of a latent that the output carries where it does not carry whole clips.
_MOST_MOMENTS = 12
#: Bytes below which no latent's moments are: bounds for how many latents' frames are asked for.
_LEAST_MOMENTS = 8_000


@checked
def latent_page(
    z,
    clips,
    *,
    columns: str | Sequence[str] | None = None,
    decoder=None,
    frames: Frames | None = None,
    names: Mapping[int, str | tuple[str, str]] | None = None,
    moment: float = 0.5,
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
        i -> (times (T,) in seconds, activations (T, latents)) of clip i, drawn over its spectrogram. With it the page
        shows when a latent fires, and half of the room below is for moments: sound and picture around the strongest
        frames of latents whose whole clips have no room.
    names : mapping of latent to str, optional
        What a latent is called, or (what it is called, what that name is worth in words or as a number, "0.83"). The
        table begins with these, by their numbers or by name.
    moment : float
        Seconds around a clip's strongest frame that play on their own; needs ``frames``.
    latents : sequence of int, optional
        Latents whose clips the output carries as sound, in this order as far as the caps allow; by default the most
        telling ones, label by label.
    top : int
        How many of its strongest clips stand for a latent, beside three weaker and two in which it is silent.
    sounds : int
        Most whole clips whose sound the output carries; 0 for no sound at all.
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
        another number of latents; names of latents that there are not, or that are no text; a moment of no length.

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
    against = [column.name for column in shown]
    statistics = latent_statistics(z, table, against, seed=seed)
    called = _checked_names(names, z.shape[1])
    if not 0 < number("moment", moment) <= 60:
        raise ParameterError("moment", moment, "more than 0 and at most 60 seconds")
    if title is None:
        made = " of generated audio" if generated(clips) else ""
        title = f"{z.shape[1]:,} latents on {len(table):,} clips{made}"
    decoder = None if decoder is None else unit_directions(decoder, z.shape[1])
    wanted = telling_order(statistics) if latents is None else checked_latents(latents, statistics)
    page = {"title": title, "seconds": seconds, "megabytes": megabytes}
    heard = {"audio": audio, "frames": frames, "moment": float(moment), "sounds": sounds}
    return LatentPage(z, table, statistics, shown, decoder, called, wanted, top, seed, **heard, **page)


def _checked_names(names, latents: int) -> dict[int, tuple[str, str]]:
    """Latent -> (its name, what the name is worth)."""
    if names is None:
        return {}
    if not isinstance(names, Mapping):
        raise ParameterError("names", type(names).__name__, "a mapping of latents to their names")
    called = {}
    for latent, name in names.items():
        latent = whole("names", latent, least=0, most=latents - 1)
        pair = (name, "") if isinstance(name, str) else name
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise ParameterError("names", name, f"text, or (text, what it is worth), for latent {latent}")
        called[latent] = pair
    return called


class LatentPage(Page):
    """A page of latents, made by :func:`latent_page`; display it, search, listen.

    Attributes
    ----------
    table : pandas.DataFrame
        Statistics of all latents, see :func:`latent_statistics`.
    carried : list of int
        Latents whose clips the output carries as sound.
    carried_moments : list of int
        Latents of which it carries moments alone.
    failed : dict of int to str
        Clips that could not be read, by position, and why.
    """

    _element, _styles = "wb-latents", ("players.css", "latents.css")
    _scripts, _view = ("players.js", "elements.js", "latents.js"), "LatentPage"

    def __init__(
        self, z, clips, statistics, columns, decoder, names, wanted, top, seed, *, audio, frames, moment, sounds, **page
    ):
        super().__init__(**page)
        self.table, self.clips, self.failed = statistics, clips, {}
        self._z, self._audio, self._frames, self._moment, self._names = z, audio, frames, moment, names
        self._alive = np.flatnonzero(statistics["density"].to_numpy() > 0)
        self._examples = examples(z, self._alive, top=top, seed=seed)
        self._place = {int(latent): k for k, latent in enumerate(self._alive)}
        self._strongest, self._top, self._peak_db = min(top, _MOST_MOMENTS), None, None
        self._parcels: dict[int, dict] = {}
        self._curves: dict[int, dict[int, Curve]] = {}
        self._strips: dict[int, dict] = {}
        self.carried, self.carried_moments, self._carried_clips = [], [], []
        if audio is not None and sounds:
            self._carry_latents(wanted, sounds)
        self._selected = (self.carried or self.carried_moments or wanted or self._alive.tolist())[:1]
        data = self._data(columns, decoder, wanted, top)
        self._pack(data)
        if self._carried_clips or self._strips:  # the page tells its own size, which changes by these words alone
            self._pack(data | {"note": f"{data['note']} This page takes {amount(len(self.html))}."})

    def example_clips(self, latent: int) -> list[int]:
        """Positions of the clips that stand for a latent: its strongest, weaker, and silent ones."""
        if latent not in self._place:
            raise ParameterError("latent", latent, "a latent that is active in some clip")
        row = self._examples[self._place[latent]]
        return row[row != NO_CLIP].tolist()

    def _carry_latents(self, wanted: list[int], sounds: int) -> None:
        """Whole clips of the most telling latents, and then moments of as many more as there is room for."""
        room, framed = self._room, self._frames is not None
        within = self._within(wanted, sounds)
        if framed:
            several = wanted[: int(room / _LEAST_MOMENTS)]
            clips_of = {latent: self._active(latent)[: self._strongest] for latent in several}
            whole_clips = set(within)
            clips_of |= {one: mine for one in wanted if whole_clips >= set(mine := self.example_clips(one))}
            self._curves = curves_of(self._frames, clips_of, self._z.shape[1], self._seconds)
        shown, moments = self._gather(within)
        if not shown and not moments:
            return
        cuts = [m.x for of in moments.values() for m in of.values()]
        self.gain_db = shared_gain([*(cut(x, rate, seconds=self._seconds) for x, rate in shown.values()), *cuts])
        rates = [rate for _, rate in shown.values()] + [m.rate for of in moments.values() for m in of.values()]
        self._top = min(rates) / 2
        levels = {i: mel_levels(cut(x, r, seconds=self._seconds), r, self._top) for i, (x, r) in shown.items()}
        self._peak_db = max((float(level.max()) for level in levels.values()), default=None)
        parcels = ((i, self._parcel(i, *sound, levels[i])) for i, sound in shown.items())
        self._room = room / 2 if framed else room
        self._parcels = self._fitting((i, parcel, _size(parcel)) for i, parcel in parcels)
        self._carried_clips = list(self._parcels)
        have = {*self._carried_clips, *self.failed}
        self.carried = [one for one in wanted if self._carried_clips and have >= set(self.example_clips(one))]
        self._room = room - sum(map(_size, self._parcels.values()))
        # What plays of a whole clip is cut by the page's script; only what it cannot cut takes room of its own.
        lacking = {
            one: {i: m for i, m in of.items() if i not in self._parcels or self._beyond(self._curves[one][i])}
            for one, of in moments.items()
        }
        order = [one for one in dict.fromkeys([*self.carried, *wanted]) if lacking.get(one)]
        strips = ((one, self._strip(lacking[one])) for one in order)
        self._strips = self._fitting((one, packed, _size(packed)) for one, packed in strips)
        briefly = (one for one in wanted if moments.get(one) and (one in self._strips or not lacking[one]))
        whole_latents = set(self.carried)
        self.carried_moments = [one for one in briefly if one not in whole_latents]

    def _gather(self, within: list[int]) -> tuple[dict[int, tuple[np.ndarray, int]], dict[int, dict[int, Moment]]]:
        """The whole clips, and by latent and clip the moments: every file is read once and only that is kept."""
        latents_of: dict[int, list[int]] = {}
        for latent, of in self._curves.items():
            for i in of:
                latents_of.setdefault(i, []).append(latent)
        shown, found = {}, {}
        whole_clips = dict.fromkeys(within)
        for i in dict.fromkeys([*within, *sorted(latents_of)]):
            try:
                x, rate = self._read(i)
            except AudioError as error:
                self.failed[i] = str(error)
                continue
            if i in whole_clips:
                shown[i] = (x, rate)
            for latent in latents_of.get(i, ()):
                at = self._curves[latent][i].at
                if at is not None and self._z[i, latent] > 0:
                    found[latent, i] = moment_of(x, rate, at, self._moment)
        moments = {
            latent: {i: found[latent, i] for i in self._active(latent) if (latent, i) in found}
            for latent in self._curves
        }
        return shown, moments

    def _active(self, latent: int) -> list[int]:
        """The examples in which a latent is active, the strongest first."""
        return [i for i in self.example_clips(latent) if self._z[i, latent] > 0]

    def _beyond(self, curve: Curve) -> bool:
        """Whether the strongest frame lies behind the part of the clip that plays."""
        return self._seconds is not None and curve.at is not None and curve.at > self._seconds

    def _strip(self, moments: Mapping[int, Moment]) -> dict:
        top = self._top or min(moment.rate for moment in moments.values()) / 2
        return strip(moments, top=top, peak_db=self._peak_db, gain_db=self.gain_db)

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
            clips_of = {latent: self.example_clips(latent) for latent in curves}
            new = {latent: clips for latent, clips in clips_of.items() if not self._knows(latent, clips)}
            self._curves |= curves_of(self._frames, new, self._z.shape[1], self._seconds)
            for latent in curves:
                parcels[latent]["curves"] = packed_curves(self._curves[latent])
        for latent, parcel in parcels.items():
            peaks = {i: of.at for i, of in self._curves.get(latent, {}).items() if of.at is not None}
            parcel["peaks"] = {str(i): round(at, 4) for i, at in peaks.items() if self._z[i, latent] > 0}
            if latent in curves and latent not in self._strips:
                beyond = {i: at for i, at in peaks.items() if self._beyond(self._curves[latent][i])}
                self._strips |= self._late(latent, beyond)
            if latent in self._strips:
                parcel["strip"] = self._strips[latent]
        return parcels

    def _late(self, latent: int, peaks: Mapping[int, float]) -> dict[int, dict]:
        """The moments that lie behind what plays of their clips, if there are any that can be read."""
        moments = {}
        for i, at in peaks.items():
            try:
                if self._audio is not None and self._z[i, latent] > 0:
                    moments[i] = moment_of(*self._read(i), at, self._moment)
            except AudioError as error:
                self.failed.setdefault(i, str(error))
        return {latent: self._strip(moments)} if moments else {}

    def _knows(self, latent: int, clips: list[int]) -> bool:
        """Whether the curves of these clips were made; a mapping need not have all."""
        asked = clips if not isinstance(self._frames, Mapping) else [i for i in clips if i in self._frames]
        return set(asked) <= self._curves.get(latent, {}).keys()

    def _data(self, columns: list[Coloured], decoder: np.ndarray | None, wanted: list[int], top: int) -> dict:
        alive = self.table.iloc[self._alive].fillna(dict.fromkeys(("column", "label", "factor"), ""))
        order = list(dict.fromkeys([*wanted, *self._alive.tolist()]))
        fits = np.cumsum((self._z > 0).sum(axis=0)[order]) <= _MOST_ACTIVATIONS
        have = [*self.carried, *(latent for latent, fit in zip(order, fits, strict=True) if fit)]
        have = [*self.carried, *self.carried_moments, *have]
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
            "moments": self.carried_moments,
            "moment": self._moment,
            "names": [list(self._names.get(latent, ("", ""))) for latent in self._alive.tolist()]
            if self._names
            else [],
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
        if not self._carried_clips and not self._strips:
            return f"This page carries no sound; {rest}; run the notebook to hear the clips."
        size = amount(sum(map(_size, [*(self._parcels[i] for i in self._carried_clips), *self._strips.values()])))
        others = ""
        if self._frames is not None:
            few, silent = len(self.carried_moments), alive - len(self.carried) - len(self.carried_moments)
            others = f"Those marked ♩, {few:,}, play the {self._moment:g} s around their strongest frames; "
            others += f"{silent:,} do not play here. "
        return (
            f"Latents marked ♪ play on this page: {len(self.carried):,} of {alive:,} alive, with "
            f"{len(self._carried_clips):,} of {len(self.clips):,} clips ({size}; {self._heard()}). "
            f"{others}For the others {rest}; run the notebook to hear them all."
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
    """Bytes of the sound and the picture of a clip, or of a row of moments."""
    return (len(parcel["sound"]) + len(parcel["picture"])) * 3 // 4  # base64
