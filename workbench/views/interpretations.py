"""Why did it say that, and can one hear it? A page for one decision that is explained by a sound.

An interpretation keeps the components of a dictionary whose relevance for the class is above a threshold tau and plays
what they share of the clip (Parekh et al., arXiv 2202.11479, Algorithm 2). Its sound depends on *which* components are
kept alone, and as tau falls they only get more: along a slider there are few different sounds. The page carries each of
them once and switches between them at the same moment of the clip (``static/interpretations.js``), in a live notebook,
in one opened again and in an exported page, without kernel and network. Where scripts are stripped, everything remains
as it is at the first tau.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import audio as sound_io
from ..core.checks import checked, number, numbers, several, whole
from ..core.errors import ParameterError
from .inputs import items, mapping, parts
from .interpretation_figures import (
    Pictures,
    bars_axis,
    chances,
    factors,
    probabilities,
    relevance_bars,
    times_row,
)
from .page import Page, escape, signed
from .player_tables import card, picture
from .points import far_apart
from .sounds import shared_gain, waveform

if TYPE_CHECKING:
    from ..interpreters import Interpretation

#: Every twentieth from 0.
_TAUS = tuple(k / 20 for k in range(20))
#: Bytes of a picture or mask beside a sound.
_PICTURE = 5300


@checked
def interpretation_page(
    interpretation: Interpretation,
    *,
    tau: float = 0.2,
    taus: Sequence[float] = _TAUS,
    components: int = 6,
    truth: Mapping[str, np.ndarray] | None = None,
    multilabel: bool = False,
    caption: str = "",
    title: str | None = None,
    megabytes: float = 3.0,
) -> InterpretationPage:
    """Show and play why a clip is of a class: what speaks for it, what is left, and a slider for the threshold.

    Parameters
    ----------
    interpretation : Interpretation
        Or any object with its ``classes``, ``name``, ``logits``, ``waveform_in``, ``log_magnitude``, ``dictionary``,
        ``activations``, ``relevance``, ``ranked``, ``selected``, ``mask``, ``waveform``, ``removed``, ``component`` and
        ``spectra`` (``rate``, ``n_fft``, ``hop``).
    tau : float
        Where the slider stands at first.
    taus : sequence of float
        Where else it can stand.
    components : int
        Most components with a card of their own, the most relevant first; only those that speak for the class.
    truth : mapping of class -> (samples,) or (n, 2), optional
        What truly sounds: a stem, at the level and of the length of the clip, or onsets and offsets in seconds.
    multilabel : bool
        Probabilities are logistic functions of the logits instead of their softmax.
    caption : str
        What is said of the clip.
    title : str, optional
    megabytes : float
        Most sound and pictures (10^6 bytes as they stand in the page). Clip, interpretation and rest at ``tau`` are
        always there; then come the components, the stems, and the sounds for other thresholds, as far apart as can be.
        The page says what it leaves out.

    Returns
    -------
    InterpretationPage

    Raises
    ------
    ParameterError
        A threshold outside [0, 1), no threshold, fewer than 0 components, a truth that is neither stem nor intervals.
    AudioError
        A sound holds NaN; it is named.

    Notes
    -----
    All sounds have one gain, that which brings the loudest of them to -1 dBFS (at most +20 dB). Nothing else is
    changed: where the mask multiplies log magnitudes, parts are fainter than their share of the clip.
    """
    wanted = ("classes", "logits", "waveform_in", "log_magnitude", "dictionary", "activations", "relevance", "ranked")
    wanted = (*wanted, "name", "selected", "mask", "waveform", "removed", "component", "spectra")
    parts("interpretation", interpretation, wanted, "an Interpretation, as an interpreter's explain gives it")
    for name, values in (("tau", [tau]), ("taus", items("taus", taus, "a list of thresholds"))):
        for value in several(name, values, number):
            if not 0 <= value < 1:
                raise ParameterError(name, value, "at least 0 and below 1")
    whole("components", components, least=0)
    truth = mapping("truth", truth, "a mapping of class to a stem or to onsets and offsets")
    numbers("interpretation.relevance", interpretation.relevance, ndim=1)
    numbers("interpretation.logits", interpretation.logits, ndim=1)
    numbers("interpretation.log_magnitude", interpretation.log_magnitude, ndim=2)
    x, rate = waveform("clip", interpretation.waveform_in, interpretation.spectra.rate)
    stems, times = _truth(truth, len(x), len(x) / rate)
    taus = sorted({float(value) for value in (tau, *taus)})
    page = {"title": title or f"Why {interpretation.name}?", "megabytes": megabytes}
    return InterpretationPage(interpretation, tau, taus, components, stems, times, multilabel, caption, **page)


@dataclass(frozen=True)
class _Part:
    """What is heard and seen while the same components are kept."""

    kept: tuple[int, ...]
    """Components, the most relevant first."""
    sound: np.ndarray
    """(samples,) what they share of the clip, before the gain."""
    rest: np.ndarray
    """(samples,) what is left."""
    mask: str
    """Its picture."""


class InterpretationPage(Page):
    """A page for one explained decision, made by :func:`interpretation_page`; display it, listen, move the slider.

    Attributes
    ----------
    taus : list of float
        Where the slider can stand: the thresholds whose sound the page carries.
    left_out : list of float
        Thresholds whose sound it does not carry.
    components : list of int
        Components with a card.
    gain_db : float
        Applied to every sound.
    title : str
    """

    _element, _styles = "wb-players wb-interpretation", ("players.css", "bars.css", "interpretations.css")
    _scripts, _view = ("players.js", "exchange.js", "interpretations.js"), "slideTau"

    def __init__(self, interpretation, tau, taus, components, stems, times, multilabel, caption, **page):
        super().__init__(**page)
        self._caption, self._tau, self._stems, self._times = caption, tau, stems, times
        self._explained, self._multilabel = interpretation, multilabel
        self._rate = int(interpretation.spectra.rate)
        self._relevance = np.asarray(interpretation.relevance, dtype=np.float64)
        self._pictures = Pictures(_array(interpretation.log_magnitude), self._rate)
        self._x = _array(interpretation.waveform_in)
        # The kept components at each tau; as sounds each set once, at the lowest tau that keeps it.
        sets = {t: tuple(map(int, interpretation.selected(t))) for t in taus}
        lowest = {kept: t for t, kept in reversed(sets.items())}
        parts = {kept: self._part(kept, t) for kept, t in lowest.items()}
        self._relevant = [int(k) for k in interpretation.ranked if self._relevance[k] > 0][:components]
        alone = {k: _array(interpretation.component(k)) for k in self._relevant}
        stage = [x for part in parts.values() for x in (part.sound, part.rest)]
        self.gain_db = shared_gain([self._x, *stage, *alone.values(), *stems.values()])
        self._first, self._clip = self._compressed(parts[sets[tau]]), self._sound("clip", self._x, self._rate)
        self._take(self._size(self._first) + self._clip.size + _PICTURE)
        self._alone = self._carry(((k, f"component {k}", x, self._rate) for k, x in alone.items()), more=_PICTURE)
        self._levels = {k: self._below(x) for k, x in alone.items()}
        self._true = self._carry(((name, name, x, self._rate) for name, x in stems.items()), more=_PICTURE)
        others = ((kept, self._compressed(parts[kept])) for kept in far_apart([*lowest], sets[tau])[1:])
        self._others = self._fitting((kept, part, self._size(part)) for kept, part in others)
        self._kept = {t: kept for t, kept in sets.items() if kept in self._others or kept == sets[tau]}
        self.taus, self.components = list(self._kept), list(self._alone)
        self.left_out = [t for t in taus if t not in self._kept]
        self._distinct = len(lowest)
        self._pack(self._data())

    def _part(self, kept: tuple[int, ...], tau: float) -> _Part:
        explained = self._explained
        mask = self._pictures.mask(_array(explained.mask(tau)))
        return _Part(kept, _array(explained.waveform(tau)), _array(explained.removed(tau)), mask)

    def _compressed(self, part: _Part) -> dict:
        sounds = {"interpretation": part.sound, "rest": part.rest}
        sound, rest = (self._sound(name, x, self._rate) for name, x in sounds.items())
        levels = {"level": self._below(part.sound), "restLevel": self._below(part.rest)}
        return {"kept": list(part.kept), "mask": part.mask, "sound": sound, "rest": rest} | levels

    def _below(self, x: np.ndarray) -> str:
        """The level of a part beside that of the clip."""
        level = sound_io.level(x)
        if not np.isfinite(level):
            return "silent"
        return f"{signed(level - sound_io.level(self._x), 1)} dB re clip"

    @staticmethod
    def _size(part: dict) -> float:
        return part["sound"].size + part["rest"].size + 2 * _PICTURE

    def _data(self) -> dict:
        """What the script adds; the sounds at the first tau it finds in the HTML."""
        order = [tuple(self._first["kept"]), *self._others]
        others = [part | {"sound": part["sound"].uri, "rest": part["rest"].uri} for part in self._others.values()]
        low, high = bars_axis(self._relevance)
        return {
            "taus": self.taus,
            "parts": [self._first | {"sound": "", "rest": ""}, *others],
            "part": [order.index(kept) for kept in self._kept.values()],
            "start": self.taus.index(self._tau),
            "high": high,
            "span": high - low,
        }

    def _still(self) -> str:
        caption = f'<div class="wb-detail">{escape(self._caption)}</div>' if self._caption else ""
        classes, true = self._explained.classes, {*self._stems, *self._times}
        values = probabilities(self._explained.logits, multilabel=self._multilabel)
        said = chances(values, classes, list(classes).index(self._explained.name), true)
        why = f'<div class="wb-why">{self._threshold()}{said}</div>'
        return self._titled(f"{caption}{self._stage()}{why}{self._cards()}{self._truths()}", self._note())

    def _stage(self) -> str:
        first, shown, name = self._first, self._pictures.base, self._explained.name
        count = f"{len(first['kept'])} of {len(self._relevance)} components, τ = {self._tau:.2f}"
        veiled, rest = (picture(what, shown, first["mask"]) for what in ("interpretation", "rest"))
        cards = [
            card("The clip", "what the classifier heard", self._clip, picture("clip", shown)),
            card(f"What speaks for {name}", count, first["sound"], veiled, kind="wb-kept", value=first["level"]),
            card("The rest", "the clip without them", first["rest"], rest, kind="wb-rest", value=first["restLevel"]),
        ]
        return f'<div class="wb-stage">{"".join(cards)}</div>'

    def _threshold(self) -> str:
        bars = relevance_bars(self._relevance, self._explained.ranked, self._tau, self._explained.name)
        return (
            '<div><div class="wb-heading">Relevance of each component, the largest first</div>'
            f'{bars}<label class="wb-tau" hidden><span>threshold τ</span>'
            f'<input type="range" min="0" max="{len(self.taus) - 1}" step="1"><output></output></label>'
            f'<div class="wb-chosen" aria-live="polite">{escape(_listed(self._first["kept"]))}</div></div>'
        )

    def _cards(self) -> str:
        cards = []
        w, h = _array(self._explained.dictionary), _array(self._explained.activations)
        whole = w @ h
        for k, sound in self._alone.items():
            share = np.divide(np.outer(w[:, k], h[k]), whole, out=np.full_like(whole, 1 / len(h)), where=whole > 0)
            peak = np.argmax(w[:, k]) / (len(w) - 1) * self._rate / 2
            shown = picture(f"component {k}", self._pictures.part(share))
            cards.append(
                card(
                    f"component {k}",
                    f"strongest at {peak:,.0f} Hz · {self._levels[k]}",
                    sound,
                    factors(self._pictures, shown, w[:, k], h[k]),
                    value=signed(self._relevance[k]),
                )
            )
        return _section("Each relevant component alone", "", cards)

    def _truths(self) -> str:
        seconds, spectra, cards = len(self._x) / self._rate, self._explained.spectra, []
        for name, sound in self._true.items():
            levels = sound_io.spectrogram(self._stems[name], n_fft=spectra.n_fft, hop=spectra.hop, power=1.0).log1p()
            cards.append(card(name, "the true stem", sound, picture(name, self._pictures.picture(levels.numpy()))))
        rows = [times_row(name, intervals, seconds) for name, intervals in self._times.items()]
        return _section("What truly sounds", "".join(rows), cards)

    def _note(self) -> str:
        parts = [self._one_gain()]
        kept = f"{self._distinct} different sets of components are kept"
        if self.left_out:
            parts.append(
                f"Along {len(self.taus) + len(self.left_out)} thresholds {kept}; the page carries the sounds of "
                f"{len(self._others) + 1}, and the slider stops only there."
            )
        else:
            parts.append(f"Along {len(self.taus)} thresholds {kept}.")
        for what, have, wanted in (("components", self._alone, self._relevant), ("stems", self._true, self._stems)):
            if len(have) < len(wanted):
                parts.append(f"{len(wanted) - len(have)} of {len(wanted)} {what} do not fit the page.")
        parts.append(
            f"Pictures: log(1 + magnitude), 0 to {self._rate / 2000:.4g} kHz on the mel scale, darkened by the mask, "
            "all in the same colours; those of components are brightened."
        )
        if self._alone:
            parts.append("Left of a component its spectrum, below it its activation, each at its own scale.")
        return " ".join(parts)

    def __repr__(self) -> str:
        sets = len(self._others) + 1
        return f"InterpretationPage({self._explained.name!r}: {len(self.taus)} thresholds, {sets} sets)"


def _array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _truth(truth: Mapping[str, np.ndarray], samples: int, seconds: float) -> tuple[dict, dict]:
    """Stems and times by class."""
    stems, times = {}, {}
    for name, values in truth.items():
        values = numbers(f"truth[{name!r}]", values, empty=True)
        if values.shape == (samples,):
            stems[str(name)] = values.astype(np.float32)
        elif values.ndim == 2 and values.shape[1] == 2 and (values[:, 0] < values[:, 1]).all():
            times[str(name)] = np.clip(values.astype(np.float64), 0, seconds)
        else:
            expected = f"a stem ({samples},) or onsets and offsets (n, 2) in seconds, each onset before its offset"
            raise ParameterError(f"truth[{name!r}]", f"array of shape {values.shape}", expected)
    return stems, times


def _section(heading: str, before: str, cards: list[str]) -> str:
    if not (before or cards):
        return ""
    table = f'<div class="wb-cards">{"".join(cards)}</div>' if cards else ""
    return f'<div class="wb-heading">{heading}</div>{before}{table}'


def _listed(kept: Sequence[int]) -> str:
    if not kept:
        return "No component is above the threshold: the interpretation is silent."
    more = f" and {len(kept) - 20} more" if len(kept) > 20 else ""
    return f"Kept: {', '.join(map(str, kept[:20]))}{more}."
