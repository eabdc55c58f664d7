"""What does a setting do to a sound? One or two sliders that choose among sounds made beforehand.

A decoder that removes noise step by step makes another sound for each number of steps and each strength of guidance
(Alonso-Jimenez et al., arXiv 2402.09318, whose site plays S = 40 and g = 1). The page carries every combination; a
slider puts another sound and its picture in the place of the last, at the same moment if it is playing; references (the
original, the codec's round trip) stay beside it. It needs neither kernel nor network. Where scripts are stripped the
sliders are absent and every combination has a card of its own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.checks import checked, number
from ..core.errors import ParameterError
from .inputs import items, mapping
from .interpretation_figures import card, picture
from .page import escape, save_page, static
from .players import RANGE_DB, cell_text, mel_levels, mel_picture
from .prototype_pages import Shelf
from .sounds import check_length, cut, waveform


@checked
def sounds_by_setting(
    sounds,
    rate: int,
    *,
    settings: Mapping[str, Sequence],
    reference: Mapping[str, np.ndarray] | None = None,
    captions: Mapping[tuple, str] | None = None,
    start: tuple | None = None,
    title: str = "What do the settings change?",
    seconds: float | None = None,
    megabytes: float = 6.0,
) -> SettingsPage:
    """Show and play sounds that depend on one or two settings, each with a slider.

    All have one gain, that which brings the loudest of them to -1 dBFS (at most +20 dB).

    Parameters
    ----------
    sounds : mapping of (value, ...) -> (samples,), or array-like nested in the order of ``settings``
        A waveform for every combination: ``sounds[40, 1.0]`` or ``sounds[3][1]``, also an array (values, samples) or
        (values, values, samples). Lengths may differ; other keys of a mapping are not shown.
    rate : int
        Hz, of all sounds.
    settings : mapping of name -> sequence of values
        One or two sliders, which stop at these values in this order.
    reference : mapping of name -> (samples,), optional
        Sounds that stay beside the chosen one.
    captions : mapping of (value, ...) -> str, optional
        What to say beneath a combination's player; the keys are tuples for one slider, too: ``(value,)``.
    start : tuple of values, optional
        Where the sliders stand at first; by default in the middle, the later of two.
    title : str
    seconds : float or None
        Longest part of a sound that plays, from the beginning; None for all.
    megabytes : float
        Most sound and pictures (10^6 bytes as they stand in the page). While there are more, the slider with the most
        stops loses one; the rest lie as far apart as can be, start and references stay, the page says what is left out.

    Raises
    ------
    ParameterError
        No slider or three, no values or the same twice, a combination without a sound, a caption or start without one.
    AudioError
        A sound is empty, not mono or holds NaN; it is named.
    """
    check_length("seconds", seconds)
    number("megabytes", megabytes, least=0)
    settings = mapping("settings", settings, "a mapping of one or two names to their values")
    settings = {
        str(name): items(f"settings[{name!r}]", values, "a list of values") for name, values in settings.items()
    }
    if not 1 <= len(settings) <= 2:
        raise ParameterError("settings", list(settings), "one or two names with their values")
    for name, values in settings.items():
        if not values or _repeat(name, values):
            raise ParameterError(f"settings[{name!r}]", values, "one value or more, all different")
    found = _combinations(sounds, settings)
    captions = mapping("captions", captions, "a mapping of combinations to text")
    reference = mapping("reference", reference, "a mapping of name to sound (samples,)")
    middle = tuple(values[len(values) // 2] for values in settings.values())
    start = middle if start is None else tuple(items("start", start, "a value of each setting"))
    for argument, key in [("start", start), *(("captions", key) for key in captions)]:
        if not _known(key, found):
            raise ParameterError(argument, key, f"a combination of the values of {' and '.join(settings)}")
    heard = [(_named(settings, key), x) for key, x in found.items()] + list(reference.items())
    heard = [(str(name), waveform(str(name), x, rate)[0]) for name, x in heard]
    shelf = Shelf((x for _, x in heard), seconds=seconds, megabytes=megabytes)
    levels = [mel_levels(cut(x, rate, seconds=seconds), rate, rate / 2) for _, x in heard]
    loudest = max(float(level.max()) for level in levels)
    cards = []
    for (name, x), level, key in itertools.zip_longest(heard, levels, found):
        shown = picture(name, mel_picture(level, loudest))
        kind = "wb-choice" if key == start else ""
        cards.append(card(name, str(captions.get(key, "")), shelf.sound(name, x, rate), shown, kind=kind))
    beside, cards = cards[len(found) :], dict(zip(found, cards, strict=False))
    carried = _fitting(settings, start, cards, megabytes * 1e6 - sum(map(len, beside)))
    left = {name: [value for value in values if value not in carried[name]] for name, values in settings.items()}
    return SettingsPage(title, carried, left, start, shelf.gain_db, int(rate), cards, beside)


def _repeat(name: str, values: list) -> bool:
    """Whether a value comes twice."""
    try:
        return len(set(values)) < len(values)
    except TypeError:
        raise ParameterError(f"settings[{name!r}]", values, "numbers or words, no lists") from None


def _known(key: object, found: Mapping) -> bool:
    try:
        return key in found
    except TypeError:  # a list within
        return False


def _named(settings: Mapping[str, list], key: tuple) -> str:
    return ", ".join(f"{name} = {cell_text(value)}" for name, value in zip(settings, key, strict=True))


def _combinations(sounds, settings: Mapping[str, list]) -> dict[tuple, np.ndarray]:
    """The waveform of each combination, the last setting running fastest."""
    found = {}
    for places in itertools.product(*(range(len(values)) for values in settings.values())):
        key = tuple(values[k] for values, k in zip(settings.values(), places, strict=True))
        x = sounds.get(key) if isinstance(sounds, Mapping) else sounds
        for (name, values), k in zip(settings.items(), () if isinstance(sounds, Mapping) else places, strict=False):
            x = x.to_numpy() if hasattr(x, "to_numpy") else x
            several = (
                len(x.shape) > 0 if hasattr(x, "shape") else isinstance(x, Sequence) and not isinstance(x, (str, bytes))
            )
            size = len(x) if several else 0
            if size != len(values):
                raise ParameterError("sounds", f"{size} along {name}", f"{len(values)}, one for each value")
            x = x[k]
        if x is None:
            raise ParameterError(f"sounds[{_named(settings, key)}]", None, "a waveform: each combination needs one")
        found[key] = x
    return found


def _fitting(settings: dict[str, list], start: tuple, cards: dict[tuple, str], room: float) -> dict[str, list]:
    """The values of each setting that there is room for."""
    orders = [_far_apart(values, first) for values, first in zip(settings.values(), start, strict=True)]
    while sum(len(cards[key]) for key in itertools.product(*orders)) > room and max(map(len, orders)) > 1:
        max(orders, key=len).pop()
    return {name: [v for v in settings[name] if v in order] for name, order in zip(settings, orders, strict=True)}


def _far_apart(values: list, first) -> list:
    """All values, each next one farthest from those before in places along the slider."""
    order, left = [values.index(first)], set(range(len(values))) - {values.index(first)}
    while left:
        order.append(max(sorted(left), key=lambda k: min(abs(k - other) for other in order)))
        left.remove(order[-1])
    return [values[k] for k in order]


@dataclass(frozen=True, eq=False, repr=False)
class SettingsPage:
    """A page with sliders, made by :func:`sounds_by_setting`; display it, listen, move them."""

    title: str
    """Plain text."""
    settings: dict[str, list]
    """Where each slider can stop: the values that the page carries."""
    left_out: dict[str, list]
    """Values that it does not carry."""
    start: tuple
    """The combination that plays at first, and without scripts."""
    gain_db: float
    """Applied to every sound."""
    rate: int
    """Hz, of all sounds."""
    cards: dict[tuple, str]
    """HTML of each combination."""
    beside: list[str]
    """HTML of the references."""

    @property
    def html(self) -> str:
        """The page as HTML that needs neither kernel nor network, and is usable without scripts."""
        script = static("one_sound.js", "players.js", "page.js", "interpretations.js", "settings.js")
        dials = "".join(map(self._dial, self.settings, self.start))
        others = "".join(self.cards[key] for key in itertools.product(*self.settings.values()) if key != self.start)
        rest = f'<div class="wb-heading">The other settings</div><div class="wb-cards">{others}</div>' if others else ""
        return (
            f'<div class="wb-players wb-settings" data-lm-suppress-shortcuts="true">'
            f"<style>{static('players.css', 'settings.css')}</style>"
            f'<div class="wb-title">{escape(self.title)}</div><div class="wb-dials" hidden>{dials}</div>'
            f'<div class="wb-cards wb-heard">{self.cards[self.start]}{"".join(self.beside)}</div>'
            f'<div class="wb-others">{rest}</div><div class="wb-note">{escape(self._note())}</div>'
            f"<script>(() => {{\n{script}\nturnSettings(document.currentScript.parentElement);\n}})();</script></div>"
        )

    def _dial(self, name: str, first) -> str:
        values = self.settings[name]
        apart, last = -(-len(values) // 12), max(len(values) - 1, 1)  # more than 12 would run into each other
        looks = [f'style="--at:{k / last:.4g}"{" class=wb-unsaid" * (k % apart > 0)}' for k in range(len(values))]
        written = "".join(f"<span {look}>{escape(cell_text(v))}</span>" for look, v in zip(looks, values, strict=True))
        span = f'min="0" max="{len(values) - 1}" data-start="{values.index(first)}"'
        return (
            f'<div class="wb-dial"><b>{escape(name)}</b><div><input type="range" {span} aria-label="{escape(name)}">'
            f'<div class="wb-stops" aria-hidden="true">{written}</div></div><output></output></div>'
        )

    def _note(self) -> str:
        shown = f"Mel spectrograms, 0 to {self.rate / 2000:.4g} kHz, {RANGE_DB:.0f} dB below the loudest moment of all."
        parts = [f"All sounds at one gain of {self.gain_db:+.1f} dB: levels can be compared.".replace("-", "−"), shown]
        left = [f"{name} = {', '.join(map(cell_text, values))}" for name, values in self.left_out.items() if values]
        return " ".join(parts + ([f"Left out, for the page's size: {'; '.join(left)}."] if left else []))

    def save(self, path: str | os.PathLike) -> Path:
        """Write the page as a file of its own."""
        return save_page(path, self.html, title=self.title)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        stops = " x ".join(f"{len(values)} {name}" for name, values in self.settings.items())
        return f"SettingsPage({stops}, {len(self.beside)} references)"
