"""A table of clips to hear and see: captions, small spectrograms, players that share one gain.

Plain HTML: an ``<audio controls>`` and a picture for each clip, all inside the output, so that it plays in a live
notebook, in one opened again, in an exported page without a network, and where scripts are stripped. A small script
adds comfort: one sound at a time over the whole page, a play head, and seeking by clicking the picture.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .. import audio as sound_io
from ..core.checks import checked, choice, number, whole
from ..core.errors import AudioError, ParameterError
from .inputs import column, function, items, named_columns, table_of
from .page import escape, save_page, static
from .points import positions
from .sounds import CEILING_DB, Sound, check_length, compress, cut, read, shared_gain, waveform

#: Decibels from the brightest colour of a small spectrogram to its darkest.
RANGE_DB = 70.0
_WIDTH, _BANDS = 256, 64


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
    cards = [_card(*one, seconds=seconds) for one in wanted]
    made = getattr(clips, "generated", False) is True
    return Players(cards, total=total, generated=made, title=title, gain=gain, spectrogram=spectrogram, format=format)


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
    audio = function("audio", audio if audio is not None else getattr(clips, "audio", None))
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
        known = str(row["id"]) if "id" in table.columns else f"clip {i}"
        parts = [known] if "id" in table.columns and first != "id" else []
        parts += [f"{name} {cell_text(row[name])}" for name in columns]
        try:
            sound = read(audio, i, known)
        except AudioError as error:
            sound = error, 0
        title = row[first] if first in table.columns else known
        yield "–" if cell_text(title) == "–" else str(title), " · ".join(parts), *sound


def cell_text(value) -> str:
    if value is None or str(value) in ("<NA>", "NaT", "") or value != value:  # <NA> has no truth value
        return "–"
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


class Players:
    """A table of players, made by :func:`players`; display it."""

    def __init__(self, cards: list[_Clip], *, total: int, generated: bool, title, gain, spectrogram: bool, format: str):
        self.title, self.total = title, total
        self._generated = generated
        self._cards = cards
        heard = [card for card in cards if card.x is not None]
        each = [shared_gain([] if card.x is None else [card.x]) for card in cards] if gain == "each" else []
        one = shared_gain(card.x for card in heard) if gain == "shared" else 0.0 if gain in ("none", "each") else gain
        #: dB applied to each clip.
        self.gains = each or [float(one)] * len(cards)
        self._gain = gain
        #: None where the clip cannot be read.
        self.sounds: list[Sound | None] = [
            None if card.x is None else compress(card.x, card.rate, total=card.total, gain_db=g, format=format)
            for card, g in zip(cards, self.gains, strict=True)
        ]
        self._rate = min((card.rate for card in heard), default=0)
        self._pictures = _pictures(cards, self.gains, self._rate / 2) if spectrogram and heard else []

    @property
    def html(self) -> str:
        """The table as HTML that needs neither kernel nor network, and is usable without scripts."""
        title = f'<div class="wb-title">{escape(self.title)}</div>' if self.title else ""
        cards = "".join(self._card(k) for k in range(len(self._cards)))
        script = static("one_sound.js", "players.js")
        return (
            f'<div class="wb-players"><style>{static("players.css")}</style>{title}<div class="wb-cards">{cards}</div>'
            f'<div class="wb-note">{escape(self.caption)}</div><script>(() => {{\n{script}\n}})();</script></div>'
        )

    def _card(self, k: int) -> str:
        card, sound = self._cards[k], self.sounds[k]
        detail = f'<div class="wb-detail">{escape(card.detail)}</div>' if card.detail else ""
        if sound is None:
            name = f'<div class="wb-name">{escape(card.name)}</div>'
            return f'<div class="wb-card">{name}{detail}<div class="wb-broken">{escape(card.reason)}</div></div>'
        picture = ""
        if self._pictures:
            alt = escape(f"mel spectrogram of {card.name}")
            picture = f'<div class="wb-picture"><img alt="{alt}" src="{self._pictures[k]}"><i></i></div>'
        gain = f" · gain {self.gains[k]:+.1f} dB" if self._gain == "each" else ""
        return (
            f'<div class="wb-card"><div class="wb-name">{escape(card.name)}</div>{detail}{picture}'
            f'<audio controls preload="metadata" src="{sound.uri}"></audio>'
            f'<div class="wb-length">{escape(sound.caption)}{gain}</div></div>'
        )

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
            top = self._rate / 2000
            scale = "each clip's own peak" if self._gain == "each" else "the loudest moment of all"
            parts.append(f"Mel spectrograms, 0 to {top:.4g} kHz, {RANGE_DB:.0f} dB below {scale}.")
        return " ".join(parts)

    def save(self, path: str | os.PathLike) -> Path:
        """Write the table as a page of its own."""
        return save_page(path, self.html, title=self.title or "players")

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"Players({len(self._cards)} of {self.total} clips, gain {self._gain})"


def _pictures(cards: list[_Clip], gains: list[float], top: float) -> list[str]:
    # One top frequency and one reference level for all: the pictures compare like the sounds.
    found = zip(cards, gains, strict=True)
    decibels = [None if card.x is None else mel_levels(card.x, card.rate, top) + gain for card, gain in found]
    loudest = max(float(d.max()) for d in decibels if d is not None)
    return ["" if d is None else mel_picture(d, loudest) for d in decibels]


def mel_levels(x: np.ndarray, rate: int, top: float) -> np.ndarray:
    """Mel spectrogram (bands, frames) of x (samples,) up to ``top`` Hz, in dB, as fine as a player's picture."""
    n_fft = max(64, 2 ** round(np.log2(0.05 * rate)))
    hop = max(16, min(n_fft // 4, len(x) // _WIDTH))
    padded = np.pad(x, (0, max(0, n_fft - len(x))))
    log = sound_io.log_mel(padded, rate, n_fft=n_fft, hop=hop, n_mels=_BANDS, f_max=top).numpy()
    return log[:, : -(-len(x) // hop) + 1] * (10 / np.log(10))


def mel_picture(levels: np.ndarray, reference: float) -> str:
    """Levels (bands, frames) as a data URL; ``reference`` is the brightest colour, all in dB."""
    from matplotlib import colormaps
    from PIL import Image

    parts = np.array_split(levels, min(_WIDTH, levels.shape[1]), axis=1)
    shown = np.stack([part.max(axis=1) for part in parts], axis=1)
    silent = reference <= 10 * np.log10(sound_io.LOG_FLOOR) + 1
    brightness = np.zeros_like(shown) if silent else np.clip(1 + (shown - reference) / RANGE_DB, 0, 1)
    pixels = (colormaps["magma"](brightness[::-1])[..., :3] * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((_WIDTH, _BANDS)).save(buffer, format="webp", quality=75)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
