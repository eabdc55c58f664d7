"""A table of clips to hear and see: captions, small spectrograms, players that share one gain.

Plain HTML: an ``<audio controls>`` and a picture for each clip, all inside the output, so that it plays in a live
notebook, in one opened again, in an exported page without a network, and where scripts are stripped. A small script
adds comfort: one sound at a time over the whole page, a play head, and seeking by clicking the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..core.checks import checked, choice, number, whole
from ..core.errors import AudioError, ParameterError
from .inputs import clip_name, column, generated, items, named_columns, source_of, table_of
from .page import Page, escape
from .pictures import mel_levels, mel_note, mel_picture
from .points import positions
from .sounds import CEILING_DB, Sound, check_length, compress, cut, read, shared_gain, waveform


@dataclass(frozen=True)
class _Clip:
    name: str
    """First line of the card."""
    detail: str
    """Second line."""
    x: np.ndarray | None
    """(samples,) what plays, before the gain; None where the clip cannot be read."""
    rate: int = 0
    total: float = 0.0
    """Seconds of the whole clip."""
    reason: str = ""
    """Why it cannot be read."""


@checked
def players(
    clips,
    indices=None,
    *,
    captions: str | Sequence[str] | None = None,
    columns: str | Sequence[str] = (),
    title: str | None = None,
    seconds: float | None = 10.0,
    gain: str | float = "shared",
    spectrogram: bool = True,
    limit: int = 12,
    format: Literal["mp3", "ogg", "wav", "flac"] = "mp3",
    audio: Callable | None = None,
) -> Players:
    """Show clips as a table of players.

    Parameters
    ----------
    clips : Clips, pandas.DataFrame, sequence of (name, x, rate), or mapping name -> (x, rate)
        A dataset, or sounds made in the notebook (components, reconstructions). A DataFrame needs ``audio``.
    indices : positions, boolean mask (N,), or rows of the clips' table, optional
        Which clips, in this order; all by default. Not for sounds given by name.
    captions : sequence of str, or name of a column, optional
        First line of each card, one for each clip asked for; by default the label (or the name).
    columns : names of columns
        Shown in the second line, after the id.
    title : str, optional
    seconds : float or None
        Longest part that plays, from the beginning, faded out over 10 ms where cut; None for all.
    gain : {"shared", "none", "each"} or float
        "shared": one gain for all, so that the loudest peak is at -1 dBFS (at most +20 dB): levels stay comparable.
        "each": every clip to -1 dBFS by itself. "none": 0 dB. A number: that many dB for all. It is always stated.
    spectrogram : bool
        A small mel spectrogram above each player.
    limit : int
        Most clips shown; the caption says how many there are.
    format : {"mp3", "ogg", "wav", "flac"}
    audio : callable, optional
        i -> (x, rate), instead of ``clips.audio``.

    Returns
    -------
    Players

    Raises
    ------
    AudioError
        A sound given by name is not mono, empty, or holds NaN; it is named.
    ParameterError
        Unknown columns or indices, captions of another number than the clips.

    Notes
    -----
    A clip of a dataset that cannot be read has a card that says why, and the last line counts such clips.
    """
    if isinstance(gain, str):
        choice("gain", gain, ("shared", "none", "each"))
    else:
        number("gain", gain, least=-120, most=120)
    whole("limit", limit, least=1)
    check_length("seconds", seconds)
    named = _named(clips)
    if named is not None:
        if indices is not None or columns or isinstance(captions, str):
            raise ParameterError(
                "clips", "named sounds", "a dataset where indices, columns or a caption column are given"
            )
        total = len(named)
        wanted = [(name, "", x, rate) for name, x, rate in named[:limit]]
    else:
        table = table_of(clips)
        rows = list(range(len(table))) if indices is None else positions(indices, table)
        total = len(rows)
        wanted = list(_read(clips, table, rows[:limit], captions, columns, audio))
    if captions is not None and not isinstance(captions, str):
        captions = items("captions", captions, "the name of a column, or a list of captions")
        if len(captions) not in (total, len(wanted)):
            raise ParameterError("captions", f"{len(captions)} captions", f"one for each of {total} clips")
        wanted = [(str(caption), *rest[1:]) for caption, rest in zip(captions, wanted, strict=False)]
    cards = [_card(*clip, seconds=seconds) for clip in wanted]
    return Players(title, cards, total, gain=gain, generated=generated(clips), spectrogram=spectrogram, format=format)


def _card(name: str, detail: str, x, rate, *, seconds: float | None) -> _Clip:
    if isinstance(x, AudioError):
        return _Clip(name, detail, None, reason=str(x))
    x, rate = waveform(detail or name, x, rate)
    return _Clip(name, detail, cut(x, rate, seconds=seconds), rate, len(x) / rate)


def _named(clips) -> list[tuple] | None:
    if hasattr(clips, "columns") or hasattr(clips, "table"):
        return None
    try:
        if isinstance(clips, Mapping):
            return [(str(name), x, rate) for name, (x, rate) in clips.items()]
        return [(str(name), x, rate) for name, x, rate in clips]
    except (TypeError, ValueError):
        expected = "Clips, a DataFrame, (name, x, rate) triples, or a mapping of name to (x, rate)"
        raise ParameterError("clips", type(clips).__name__, expected) from None


def _read(clips, table, rows: list[int], captions, columns, audio: Callable | None):
    audio = source_of(clips, audio)
    if audio is None:
        raise ParameterError("audio", None, "given where clips is a table: i -> (x, rate)")
    # Without labels ("" or none at all) the id stands first.
    labelled = "label" in table.columns and any(cell_text(value) != "–" for value in table["label"])
    first = captions if isinstance(captions, str) else "label" if labelled else "id"
    columns = named_columns("columns", columns)
    for argument, name in [("captions", first)] * isinstance(captions, str) + [("columns", name) for name in columns]:
        column(argument, name, table)
    for i in rows:
        row = table.iloc[i]
        known = clip_name(table, i)
        parts = [known] if "id" in table.columns and first != "id" else []
        parts += [f"{name} {cell_text(row[name])}" for name in columns]
        try:
            sound = read(audio, i, known)
        except AudioError as error:
            sound = error, 0
        title = row[first] if first in table.columns else known
        yield "–" if cell_text(title) == "–" else str(title), " · ".join(parts), *sound


def cell_text(value) -> str:
    """A cell of a table as text; a dash where there is no value."""
    if value is None or str(value) in ("<NA>", "NaT", "") or value != value:  # <NA> has no truth value
        return "–"
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def card(
    name, detail: str | None, sound: Sound, figure: str = "", *, kind: str = "", value: str = "", label=None, more=""
) -> str:
    """A sound with its picture, as a card of a table of players.

    ``name`` and ``detail`` are its first two lines (None: no second), ``figure`` is HTML above the player, ``kind``
    further CSS classes; ``value`` stands right of the name, ``more`` after the caption; ``label`` names the player for
    a screen reader as the card's name does by default ("" for none).
    """
    title = f'<span>{escape(name)}</span><span class="wb-value">{value}</span>' if value else escape(name)
    second = "" if detail is None else f'<div class="wb-detail">{escape(detail)}</div>'
    label = name if label is None else label
    label = f' aria-label="{escape(label)}"' if label else ""
    return (
        f'<div class="wb-card{kind and " "}{kind}"><div class="wb-name">{title}</div>{second}{figure}'
        f'<audio controls preload="metadata"{label} src="{sound.uri}"></audio>'
        f'<div class="wb-length">{escape(sound.caption)}{more}</div></div>'
    )


def picture(name: str, shown: str, veil: str = "") -> str:
    """A spectrogram with its play head, darkened by a mask if there is one."""
    over = f'<img class="wb-veil" alt="" src="{veil}">' if veil else ""
    return f'<div class="wb-picture"><img alt="spectrogram: {escape(name)}" src="{shown}">{over}<i></i></div>'


class Players(Page):
    """A table of players, made by :func:`players`; display it.

    Attributes
    ----------
    gains : list of float
        dB applied to each clip.
    sounds : list of Sound or None
        None where the clip cannot be read.
    """

    def __init__(self, title, cards: list[_Clip], total: int, *, gain, generated: bool, spectrogram: bool, format: str):
        super().__init__(title, format=format)
        self.total, self._cards, self._gain, self._generated = total, cards, gain, generated
        heard = [card for card in cards if card.x is not None]
        each = [shared_gain([] if card.x is None else [card.x]) for card in cards] if gain == "each" else []
        same = shared_gain(card.x for card in heard) if gain == "shared" else 0.0 if gain in ("none", "each") else gain
        self.gain_db = float(same)
        self.gains = each or [self.gain_db] * len(cards)
        self.sounds = [
            None if card.x is None else compress(card.x, card.rate, total=card.total, gain_db=gain_db, format=format)
            for card, gain_db in zip(cards, self.gains, strict=True)
        ]
        self._top = min((card.rate for card in heard), default=0) / 2
        self._pictures = _pictures(cards, self.gains, self._top) if spectrogram and heard else []

    def _still(self) -> str:
        cards = "".join(map(self.card, range(len(self._cards))))
        return self._titled(f'<div class="wb-cards">{cards}</div>', self.caption)

    def card(self, k: int) -> str:
        """HTML of the k-th clip's card."""
        clip, sound = self._cards[k], self.sounds[k]
        if sound is None:
            detail = f'<div class="wb-detail">{escape(clip.detail)}</div>' if clip.detail else ""
            name = f'<div class="wb-name">{escape(clip.name)}</div>'
            return f'<div class="wb-card">{name}{detail}<div class="wb-broken">{escape(clip.reason)}</div></div>'
        shown = picture(clip.name, self._pictures[k]) if self._pictures else ""
        gain = f" · gain {self.gains[k]:+.1f} dB" if self._gain == "each" else ""
        return card(clip.name, clip.detail or None, sound, shown, label="", more=gain)

    @property
    def caption(self) -> str:
        """What the table's last line says: gain, number shown, what the pictures show."""
        if not self._cards:
            return "No clips."
        if self._gain == "each":
            parts = [f"Every clip at its own gain, its peak at {CEILING_DB:.0f} dBFS: levels cannot be compared."]
        elif self._gain == "none":
            parts = ["Every clip at its own level (gain 0 dB)."]
        else:
            parts = [f"All clips at one gain of {self.gains[0]:+.1f} dB: levels can be compared."]
        if self._generated:
            parts.append("Generated audio.")
        if self.total > len(self._cards):
            parts.append(f"{len(self._cards)} of {self.total:,} clips shown.")
        if broken := self.sounds.count(None):
            parts.append(f"{broken} could not be read.")
        if self._pictures:
            peak = ("each clip's own peak",) if self._gain == "each" else ()
            parts.append(mel_note(self._top, *peak))
        return " ".join(parts)

    def __repr__(self) -> str:
        return f"Players({len(self._cards)} of {self.total} clips, gain {self._gain})"


def _pictures(cards: list[_Clip], gains: list[float], top: float) -> list[str]:
    # One top frequency and one reference level for all: the pictures compare like the sounds.
    pairs = zip(cards, gains, strict=True)
    decibels = [None if card.x is None else mel_levels(card.x, card.rate, top) + gain for card, gain in pairs]
    loudest = max(float(level.max()) for level in decibels if level is not None)
    return ["" if level is None else mel_picture(level, loudest) for level in decibels]
