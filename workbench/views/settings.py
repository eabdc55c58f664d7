"""What does a setting do to a sound? One or two sliders that choose among sounds made beforehand.

A decoder that removes noise step by step makes another sound for each number of steps and each strength of guidance
(Alonso-Jimenez et al., arXiv 2402.09318, whose site plays S = 40 and g = 1). The page carries every combination; a
slider puts another sound and its picture in the place of the last, at the same moment if it is playing; references (the
original, the codec's round trip) stay beside it. It needs neither kernel nor network. Where scripts are stripped the
sliders are absent and every combination has a card of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ..core.checks import checked
from ..core.errors import ParameterError
from .inputs import items, mapping
from .page import Page, escape
from .pictures import mel_note, mel_pictures
from .player_tables import card, cell_text, picture
from .points import far_apart
from .sounds import cut, shared_gain, waveform


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
    settings = mapping("settings", settings, "a mapping of one or two names to their values")
    settings = {
        str(name): items(f"settings[{name!r}]", values, "a list of values") for name, values in settings.items()
    }
    if not 1 <= len(settings) <= 2:
        raise ParameterError("settings", list(settings), "one or two names with their values")
    for name, values in settings.items():
        if not values or _repeat(name, values):
            raise ParameterError(f"settings[{name!r}]", values, "one value or more, all different")
    combinations = _combinations(sounds, settings)
    captions = mapping("captions", captions, "a mapping of combinations to text")
    reference = mapping("reference", reference, "a mapping of name to sound (samples,)")
    middle = tuple(values[len(values) // 2] for values in settings.values())
    start = middle if start is None else tuple(items("start", start, "a value of each setting"))
    for argument, key in [("start", start), *(("captions", key) for key in captions)]:
        if not _known(key, combinations):
            raise ParameterError(argument, key, f"a combination of the values of {' and '.join(settings)}")
    page = {"title": title, "seconds": seconds, "megabytes": megabytes}
    return SettingsPage(combinations, rate, settings, reference, start, captions, **page)


def _repeat(name: str, values: list) -> bool:
    """Whether a value comes twice."""
    try:
        return len(set(values)) < len(values)
    except TypeError:
        raise ParameterError(f"settings[{name!r}]", values, "numbers or words, no lists") from None


def _known(key: object, combinations: Mapping) -> bool:
    try:
        return key in combinations
    except TypeError:  # a list within
        return False


def _named(settings: Mapping[str, list], key: tuple) -> str:
    return ", ".join(f"{name} = {cell_text(value)}" for name, value in zip(settings, key, strict=True))


def _combinations(sounds, settings: Mapping[str, list]) -> dict[tuple, np.ndarray]:
    """The waveform of each combination, the last setting running fastest."""
    combinations = {}
    for places in itertools.product(*(range(len(values)) for values in settings.values())):
        key = tuple(values[k] for values, k in zip(settings.values(), places, strict=True))
        x = sounds.get(key) if isinstance(sounds, Mapping) else sounds
        for (name, values), k in zip(settings.items(), () if isinstance(sounds, Mapping) else places, strict=False):
            x = x.to_numpy() if hasattr(x, "to_numpy") else x
            is_list = (
                len(x.shape) > 0 if hasattr(x, "shape") else isinstance(x, Sequence) and not isinstance(x, (str, bytes))
            )
            size = len(x) if is_list else 0
            if size != len(values):
                raise ParameterError("sounds", f"{size} along {name}", f"{len(values)}, one for each value")
            x = x[k]
        if x is None:
            raise ParameterError(f"sounds[{_named(settings, key)}]", None, "a waveform: each combination needs one")
        combinations[key] = x
    return combinations


class SettingsPage(Page):
    """A page with sliders, made by :func:`sounds_by_setting`; display it, listen, move them.

    Attributes
    ----------
    settings : dict of str to list
        Where each slider can stop: the values that the page carries.
    left_out : dict of str to list
        Values that it does not carry.
    start : tuple
        The combination that plays at first, and without scripts.
    gain_db : float
        Applied to every sound.
    rate : int
        Hz, of all sounds.
    cards : dict of tuple to str
        HTML of each combination.
    beside : list of str
        HTML of the references.
    """

    _element, _styles = "wb-players wb-settings", ("players.css", "settings.css")
    _scripts, _view = ("players.js", "exchange.js", "settings.js"), "turnSettings"

    def __init__(self, sounds, rate, settings, reference, start, captions, **page):
        super().__init__(**page)
        heard = [(_named(settings, key), x) for key, x in sounds.items()] + list(reference.items())
        heard = [(str(name), waveform(str(name), x, rate)[0]) for name, x in heard]
        self.start, self.rate, self.gain_db = start, int(rate), shared_gain(x for _, x in heard)
        pictures = mel_pictures([(cut(x, rate, seconds=self._seconds), rate) for _, x in heard], rate / 2)
        cards = []
        for (name, x), shown, key in itertools.zip_longest(heard, pictures, sounds):
            kind, caption = "wb-choice" if key == start else "", str(captions.get(key, ""))
            cards.append(card(name, caption, self._sound(name, x, rate), picture(name, shown), kind=kind))
        self.cards, self.beside = dict(zip(sounds, cards, strict=False)), cards[len(sounds) :]
        self._take(sum(map(len, self.beside)))
        self.settings = self._stops(settings)
        self.left_out = {
            name: [value for value in values if value not in self.settings[name]] for name, values in settings.items()
        }

    def _stops(self, settings: dict[str, list]) -> dict[str, list]:
        """The values of each setting that there is room for."""
        orders = [far_apart(values, first) for values, first in zip(settings.values(), self.start, strict=True)]
        while sum(len(self.cards[key]) for key in itertools.product(*orders)) > self._room:
            if max(map(len, orders)) == 1:
                break
            max(orders, key=len).pop()
        return {name: [v for v in settings[name] if v in order] for name, order in zip(settings, orders, strict=True)}

    def _still(self) -> str:
        dials = "".join(map(self._dial, self.settings, self.start))
        others = "".join(self.cards[key] for key in itertools.product(*self.settings.values()) if key != self.start)
        rest = f'<div class="wb-heading">The other settings</div><div class="wb-cards">{others}</div>' if others else ""
        heard = f'<div class="wb-cards wb-heard">{self.cards[self.start]}{"".join(self.beside)}</div>'
        dials = f'<div class="wb-dials" hidden>{dials}</div>'
        return self._titled(f'{dials}{heard}<div class="wb-others">{rest}</div>', self._note())

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
        left = [f"{name} = {', '.join(map(cell_text, values))}" for name, values in self.left_out.items() if values]
        parts = [self._one_gain(), mel_note(self.rate / 2)]
        return " ".join(parts + ([f"Left out, for the page's size: {'; '.join(left)}."] if left else []))

    def __repr__(self) -> str:
        stops = " x ".join(f"{len(values)} {name}" for name, values in self.settings.items())
        return f"SettingsPage({stops}, {len(self.beside)} references)"
