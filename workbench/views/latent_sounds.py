"""What does a latent sound like? A page on which one latent of a sound is turned by a slider.

If a sparse code is of vectors that decode to sound, a sound can be decoded again with one latent at another value. The
page sets it beside the original and beside what the vectors keep of it unchanged, and offers controls: steps of the
same length in other directions. It carries the sounds of the first clips; those of the others, and what did not fit,
come from the kernel while there is one. The saved page is the same without a kernel. Where scripts are stripped, the
first latent's sounds of the first clip remain.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from ..core.checks import checked, whole
from ..core.errors import ParameterError
from .inputs import items, texts
from .page import Page, escape
from .pictures import mel_levels, mel_note, mel_picture
from .player_tables import card, cell_text, picture
from .sounds import Sound, amount, cut, shared_gain, waveform

Key = tuple[int, int, int, int]
"""Positions of latent, clip, kind of step and amount."""


@checked
def latent_sound_page(
    sound: Callable[[int, int, int, int], np.ndarray],
    rate: int,
    *,
    latents: Sequence[str],
    clips: Sequence[str],
    kinds: Sequence[str],
    amounts: Sequence[float],
    originals: Sequence[np.ndarray],
    unchanged: Sequence[np.ndarray],
    detail: Callable[[int, int, int, int], str] | None = None,
    carry: int = 2,
    title: str | None = None,
    seconds: float | None = None,
    megabytes: float = 4.0,
) -> LatentSoundPage:
    """Show and play sounds in which a latent has several values, each beside the original and the unchanged sound.

    All have one gain, that which brings the loudest of those that the page carries to -1 dBFS (at most +20 dB).

    Parameters
    ----------
    sound : callable
        (latent, clip, kind, amount), positions in the four lists -> the sound (samples,). It is asked for the sounds
        that the page carries, then by the page while a kernel runs.
    rate : int
        Hz, of all sounds.
    latents : sequence of str
        Captions of the latents.
    clips : sequence of str
        Captions of the clips.
    kinds : sequence of str
        What is turned: the latent itself first, then controls.
    amounts : sequence of float
        Values of the latent at which the slider stops, in whatever unit the title names.
    originals, unchanged : sequences of (samples,)
        For each clip, the real sound and the one decoded with nothing changed.
    detail : callable, optional
        Positions as for ``sound`` -> a line beneath the sound, such as what was measured of it.
    carry : int
        Clips, from the first, all of whose sounds the page carries as far as there is room.
    title : str, optional
    seconds : float or None
        Longest part of a sound that plays, from the beginning; None for all.
    megabytes : float
        Most sound and pictures (10^6 bytes as they stand in the page). What does not fit is left to the kernel, the
        controls of the last clip first; the page says how much that is.

    Raises
    ------
    ParameterError
        An empty list, lists that do not fit each other, or a number out of range.
    AudioError
        A sound is empty, not mono or holds NaN; it is named.
    """
    names = {"latents": latents, "clips": clips, "kinds": kinds}
    names = {name: texts(name, given) for name, given in names.items()}
    amounts = items("amounts", amounts, "a list of numbers")
    for name, given in (names | {"amounts": amounts}).items():
        if not given or len({*map(cell_text, given)}) < len(given):
            raise ParameterError(name, given, "one or more, all different")
    for name, given in (("sound", sound), ("detail", detail)):
        if not callable(given) and (name == "sound" or given is not None):
            raise ParameterError(name, type(given).__name__, "a function of four positions")
    pairs = {}
    for name, given in (("originals", originals), ("unchanged", unchanged)):
        pairs[name] = items(name, given, "a list of sounds (samples,)")
        if len(pairs[name]) != len(names["clips"]):
            raise ParameterError(name, f"{len(pairs[name])} sounds", f"{len(names['clips'])}, one for each clip")
    whole("carry", carry, least=1)
    title = "What does a latent sound like?" if title is None else title
    page = {"title": title, "seconds": seconds, "megabytes": megabytes}
    return LatentSoundPage(sound, rate, names, amounts, pairs, detail, carry, **page)


class LatentSoundPage(Page):
    """A page of turned latents, made by :func:`latent_sound_page`; display it, choose, listen, move the slider.

    Attributes
    ----------
    carried : list of (latent, clip, kind, amount)
        Positions of the sounds that the page carries.
    left_out : int
        How many sounds of all combinations it leaves to the kernel.
    bytes : int
        Size of the page's HTML.
    gain_db : float
        Applied to every sound.
    title : str
    """

    _element, _styles = "wb-players wb-settings wb-turned", ("players.css", "settings.css", "latent_sounds.css")
    _scripts, _view = ("players.js", "exchange.js", "latent_sounds.js"), "LatentSounds"

    def __init__(self, sound, rate, names, amounts, pairs, detail, carry, **page):
        super().__init__(**page)
        self._ask, self._detail, self.rate = sound, detail, int(rate)
        self._names, self._amounts = names, [cell_text(value) for value in amounts]
        self._sizes = (*(len(given) for given in names.values()), len(amounts))
        latents, clips, kinds, stops = (range(size) for size in self._sizes)
        wanted = itertools.product(kinds[:1], clips[:carry], latents, stops)  # the latents themselves come first
        controls = itertools.product(kinds[1:], clips[:carry], latents, stops)
        order = sorted(controls, key=lambda key: key[1])
        order = [(latent, clip, kind, stop) for kind, clip, latent, stop in (*wanted, *order)]
        heard = {key: self._checked(self._called(key), sound(*key)) for key in order}
        beside = {name: [self._checked(f"{name}[{i}]", x) for i, x in enumerate(pairs[name])] for name in pairs}
        everything = [*heard.values(), *beside["originals"], *beside["unchanged"]]
        self.gain_db = shared_gain(everything)
        self._loudest = max(float(mel_levels(x, self.rate, self.rate / 2).max()) for x in everything)
        self._beside = {name: [self._part(name, x) for x in sounds] for name, sounds in beside.items()}
        self._take(sum(_size(part) for parts in self._beside.values() for part in parts))
        made = ((key, self._part(self._called(key), x, key)) for key, x in heard.items())
        self._parts = self._fitting((key, part, _size(part)) for key, part in made)
        if (0, 0, 0, 0) not in self._parts:  # what is seen first stays, whatever the room
            first = self._parts.setdefault((0, 0, 0, 0), self._part(self._called((0, 0, 0, 0)), heard[0, 0, 0, 0]))
            self._take(_size(first))
        self.carried, self.left_out = list(self._parts), int(np.prod(self._sizes)) - len(self._parts)
        self._start = min((k for k in stops if (0, 0, 0, k) in self._parts), key=lambda k: abs(k - 1))
        self._pack(self._data())

    def _called(self, key: Key) -> str:
        latent, clip, kind, stop = key
        own = f"{self._names['latents'][latent]}, {self._names['clips'][clip]}"
        return f"{own}, {self._names['kinds'][kind]} = {self._amounts[stop]}"

    def _checked(self, name: str, x) -> np.ndarray:
        return cut(waveform(name, x, self.rate)[0], self.rate, seconds=self._seconds)

    def _part(self, name: str, x: np.ndarray, key: Key | None = None) -> dict:
        """A sound with its picture and its words, as the script takes them."""
        made: Sound = self._sound(name, x, self.rate)
        shown = mel_picture(mel_levels(x, self.rate, self.rate / 2), self._loudest)
        detail = str(self._detail(*key)) if key is not None and self._detail is not None else ""
        return {"sound": made.uri, "picture": shown, "length": made.caption, "detail": detail, "made": made}

    def _answer(self, message: dict) -> dict:
        """The sound at four positions."""
        at = items("at", message.get("at"), "four positions")
        if len(at) != len(self._sizes):
            raise ParameterError("at", at, "four positions: latent, clip, kind and amount")
        key = tuple(whole("at", k, least=0, most=size - 1) for k, size in zip(at, self._sizes, strict=True))
        part = self._part(self._called(key), self._checked(self._called(key), self._ask(*key)), key)
        return {"part": _plain(part)}

    def _data(self) -> dict:
        return {
            "parts": {",".join(map(str, key)): _plain(part) for key, part in self._parts.items()},
            "beside": [[_plain(part) for part in self._beside[name]] for name in ("unchanged", "originals")],
            "amounts": self._amounts,
            "kinds": self._names["kinds"],
            "clips": self._names["clips"],
            "latents": self._names["latents"],
            "start": self._start,
            "note": self._note(),
            "live": self._note(live=True),
        }

    def _still(self) -> str:
        choices = "".join(self._choice(name, what) for name, what in _CHOICES.items())
        stops, last = range(len(self._amounts)), max(len(self._amounts) - 1, 1)
        written = "".join(f'<span style="--at:{k / last:.4g}">{escape(self._amounts[k])}</span>' for k in stops)
        span = f'min="0" max="{len(self._amounts) - 1}" step="1" aria-label="amount"'
        written = f'<div class="wb-stops" aria-hidden="true">{written}</div>'
        dial = f'<div><input type="range" {span}>{written}</div>'
        dial = f'<div class="wb-dial"><b>amount</b>{dial}<output></output></div>'
        shown = [k for k in stops if (0, 0, 0, k) in self._parts]
        first = self._card((0, 0, 0, self._start), "wb-choice")
        others = "".join(self._card((0, 0, 0, k)) for k in shown if k != self._start)
        beside = "".join(
            card(name, self._names["clips"][0], part["made"], picture(name, part["picture"]), kind=kind)
            for name, kind, part in (
                ("unchanged", "wb-unchanged", self._beside["unchanged"][0]),
                ("original", "wb-original", self._beside["originals"][0]),
            )
        )
        rest = f'<div class="wb-heading">The other amounts</div><div class="wb-cards">{others}</div>' if others else ""
        return self._titled(
            f'<div class="wb-asked" hidden>{choices}</div><div class="wb-dials" hidden>{dial}</div>'
            f'<div class="wb-cards wb-heard">{first}{beside}</div><div class="wb-state" aria-live="polite"></div>'
            f'<div class="wb-others">{rest}</div>',
            self._note(),
        )

    def _card(self, key: Key, kind: str = "") -> str:
        part, name = self._parts[key], f"{self._names['kinds'][key[2]]} = {self._amounts[key[3]]}"
        return card(name, part["detail"], part["made"], picture(name, part["picture"]), kind=kind)

    def _choice(self, name: str, what: str) -> str:
        options = "".join(f'<option value="{k}">{escape(text)}</option>' for k, text in enumerate(self._names[name]))
        return f'<label><span>{what}</span><select data-of="{name}">{options}</select></label>'

    def _note(self, *, live: bool = False) -> str:
        total, size = len(self._parts) + self.left_out, sum(map(_size, self._parts.values()))
        size += sum(_size(part) for parts in self._beside.values() for part in parts)
        carried = f"The page carries {len(self._parts)} of {total} sounds ({amount(size)})"
        if self.left_out:
            carried += "; the kernel computes the others" if live else "; the others need a running kernel"
        return f"{self._one_gain()} {mel_note(self.rate / 2)} {carried}."

    @property
    def bytes(self) -> int:
        """Size of the page's HTML in bytes."""
        return len(self.html.encode())

    def __repr__(self) -> str:
        latents, clips, *_ = self._sizes
        return f"LatentSoundPage({latents} latents, {clips} clips, {len(self.carried)} sounds)"


_CHOICES = {"latents": "latent", "clips": "clip", "kinds": "turn"}


def _plain(part: dict) -> dict:
    return {name: value for name, value in part.items() if name != "made"}


def _size(part: dict) -> float:
    """Bytes of a sound and its picture in the page."""
    return len(part["sound"]) + len(part["picture"])
