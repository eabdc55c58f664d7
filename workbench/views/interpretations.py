"""Why did it say that, and can one hear it? A page for one decision that is explained by a sound.

An interpretation keeps the components of a dictionary whose relevance for the class is above a threshold tau and plays
what they share of the clip (Parekh et al., arXiv 2202.11479, Algorithm 2). Its sound depends on *which* components are
kept alone, and as tau falls they only get more: along a slider there are few different sounds. The page carries each of
them once and switches between them at the same moment of the clip (``static/interpretations.js``), in a live notebook,
in one opened again and in an exported page, without kernel and network. Where scripts are stripped, everything remains
as it is at the first tau.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import audio as sound_io
from ..core.checks import checked, number, numbers, several, whole
from ..core.errors import ParameterError
from .inputs import items, mapping, parts
from .interpretation_figures import (
    Pictures,
    bars_axis,
    card,
    chances,
    factors,
    picture,
    probabilities,
    relevance_bars,
    signed,
    times_row,
)
from .page import escape, pack, save_page, static
from .sounds import Sound, compress, shared_gain, waveform

if TYPE_CHECKING:
    from ..interpreters.interpretation import Interpretation

#: Every twentieth from 0.
TAUS = tuple(k / 20 for k in range(20))


@checked
def interpretation_page(
    interpretation: Interpretation,
    *,
    tau: float = 0.2,
    taus: Sequence[float] = TAUS,
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
        Of the clip.
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
    number("megabytes", megabytes, least=0)
    truth = mapping("truth", truth, "a mapping of class to a stem or to onsets and offsets")
    numbers("interpretation.relevance", interpretation.relevance, ndim=1)
    numbers("interpretation.logits", interpretation.logits, ndim=1)
    numbers("interpretation.log_magnitude", interpretation.log_magnitude, ndim=2)
    x, rate = waveform("clip", interpretation.waveform_in, interpretation.spectra.rate)
    stems, times = _truth(truth, len(x), len(x) / rate)
    return InterpretationPage(
        interpretation,
        tau=tau,
        taus=sorted({float(value) for value in (tau, *taus)}),
        components=components,
        stems=stems,
        times=times,
        multilabel=multilabel,
        caption=caption,
        title=title or f"Why {interpretation.name}?",
        megabytes=megabytes,
    )


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


class InterpretationPage:
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

    def __init__(
        self,
        interpretation: Interpretation,
        *,
        tau: float,
        taus: list[float],
        components: int,
        stems: dict[str, np.ndarray],
        times: dict[str, np.ndarray],
        multilabel: bool,
        caption: str,
        title: str,
        megabytes: float,
    ):
        self.title, self._caption, self._tau = title, caption, tau
        self._of, self._rate, self._multilabel = interpretation, int(interpretation.spectra.rate), multilabel
        self._relevance = np.asarray(interpretation.relevance, dtype=np.float64)
        self._pictures = Pictures(_array(interpretation.log_magnitude), self._rate)
        self._x = _array(interpretation.waveform_in)
        self._stems, self._times = stems, times
        # The kept components at each tau; as sounds each set once, at the lowest tau that keeps it.
        sets = {t: tuple(map(int, interpretation.selected(t))) for t in taus}
        lowest = {kept: t for t, kept in reversed(sets.items())}
        parts = {kept: self._part(kept, t) for kept, t in lowest.items()}
        self._relevant = [int(k) for k in interpretation.ranked if self._relevance[k] > 0][:components]
        alone = {k: _array(interpretation.component(k)) for k in self._relevant}
        stage = [x for part in parts.values() for x in (part.sound, part.rest)]
        self.gain_db = shared_gain([self._x, *stage, *alone.values(), *stems.values()])
        self._room = megabytes * 1e6
        self._first, self._clip = self._compressed(parts[sets[tau]]), self._sound("clip", self._x)
        self._spend(self._first["sound"], self._first["rest"], self._clip)
        self._alone = self._fitting((k, self._sound(f"component {k}", x)) for k, x in alone.items())
        self._levels = {k: self._below(x) for k, x in alone.items()}
        self._true = self._fitting((name, self._sound(name, x)) for name, x in stems.items())
        order = _far_apart([*lowest], sets[tau])
        self._others = self._fitting((kept, self._compressed(parts[kept])) for kept in order)
        self._kept = {t: kept for t, kept in sets.items() if kept in self._others or kept == sets[tau]}
        self.taus, self.components = list(self._kept), list(self._alone)
        self.left_out = [t for t in taus if t not in self._kept]
        self._distinct = len(lowest)
        self._packed, self.key = pack(self._data())

    def _part(self, kept: tuple[int, ...], tau: float) -> _Part:
        of = self._of
        mask = self._pictures.mask(_array(of.mask(tau)))
        return _Part(kept, _array(of.waveform(tau)), _array(of.removed(tau)), mask)

    def _sound(self, name: str, x: np.ndarray) -> Sound:
        x, rate = waveform(name, x, self._rate)
        return compress(x, rate, total=len(x) / rate, gain_db=self.gain_db)

    def _compressed(self, part: _Part) -> dict:
        sounds = {"sound": self._sound("interpretation", part.sound), "rest": self._sound("rest", part.rest)}
        levels = {"level": self._below(part.sound), "restLevel": self._below(part.rest)}
        return {"kept": list(part.kept), "mask": part.mask} | sounds | levels

    def _below(self, x: np.ndarray) -> str:
        """The level of a part beside that of the clip."""
        level = sound_io.level(x)
        if not np.isfinite(level):
            return "silent"
        return f"{signed(level - sound_io.level(self._x), digits=1)} dB re clip"

    def _spend(self, *sounds: Sound) -> bool:
        """Take the place of these sounds in the page, with their pictures and markup; False if there is too little."""
        self._room -= sum(len(sound.data) * 4 / 3 + 6000 for sound in sounds)
        return self._room >= 0

    def _fitting(self, pieces: Iterable[tuple]) -> dict:
        """The first pieces that there is room for."""
        found = {}
        for name, piece in pieces:
            if not self._spend(*([piece] if isinstance(piece, Sound) else [piece["sound"], piece["rest"]])):
                break
            found[name] = piece
        return found

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

    @property
    def html(self) -> str:
        """The page as HTML that needs neither kernel nor network, and is usable without scripts."""
        script = static("one_sound.js", "players.js", "page.js", "interpretations.js")
        caption = f'<div class="wb-detail">{escape(self._caption)}</div>' if self._caption else ""
        of = self._of
        explained = list(of.classes).index(of.name)
        said = chances(
            probabilities(of.logits, multilabel=self._multilabel), of.classes, explained, {*self._stems, *self._times}
        )
        return (
            f'<div class="wb-players wb-interpretation" data-lm-suppress-shortcuts="true">'
            f"<style>{static('players.css', 'interpretations.css')}</style>"
            f'<div class="wb-title">{escape(self.title)}</div>{caption}{self._stage()}'
            f'<div class="wb-why">{self._threshold()}{said}</div>{self._cards()}{self._truths()}'
            f'<div class="wb-note">{escape(self._note())}</div>'
            f'<script type="text/plain" class="wb-data">{self._packed}</script>'
            f"<script>(() => {{\n{script}\nslideTau(document.currentScript.parentElement);\n}})();</script></div>"
        )

    def _stage(self) -> str:
        first, shown, name = self._first, self._pictures.base, self._of.name
        count = f"{len(first['kept'])} of {len(self._relevance)} components, τ = {self._tau:.2f}"
        veiled, rest = (picture(what, shown, first["mask"]) for what in ("interpretation", "rest"))
        cards = [
            card("The clip", "what the classifier heard", self._clip, picture("clip", shown)),
            card(f"What speaks for {name}", count, first["sound"], veiled, kind="wb-kept", value=first["level"]),
            card("The rest", "the clip without them", first["rest"], rest, kind="wb-rest", value=first["restLevel"]),
        ]
        return f'<div class="wb-stage">{"".join(cards)}</div>'

    def _threshold(self) -> str:
        bars = relevance_bars(self._relevance, self._of.ranked, self._tau, self._of.name)
        return (
            '<div><div class="wb-heading">Relevance of each component, the largest first</div>'
            f'{bars}<label class="wb-tau" hidden><span>threshold τ</span>'
            f'<input type="range" min="0" max="{len(self.taus) - 1}" step="1"><output></output></label>'
            f'<div class="wb-chosen" aria-live="polite">{escape(_listed(self._first["kept"]))}</div></div>'
        )

    def _cards(self) -> str:
        cards = []
        w, h = _array(self._of.dictionary), _array(self._of.activations)
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
        seconds, spectra, cards = len(self._x) / self._rate, self._of.spectra, []
        for name, sound in self._true.items():
            levels = sound_io.spectrogram(self._stems[name], n_fft=spectra.n_fft, hop=spectra.hop, power=1.0).log1p()
            cards.append(card(name, "the true stem", sound, picture(name, self._pictures.picture(levels.numpy()))))
        rows = [times_row(name, intervals, seconds) for name, intervals in self._times.items()]
        return _section("What truly sounds", "".join(rows), cards)

    def _note(self) -> str:
        parts = [f"All sounds at one gain of {self.gain_db:+.1f} dB: levels can be compared."]
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

    def save(self, path: str | os.PathLike) -> Path:
        """Write the page as a file of its own."""
        return save_page(path, self.html, title=self.title)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"InterpretationPage({self._of.name!r}: {len(self.taus)} thresholds, {len(self._others) + 1} sets)"


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


def _far_apart(sets: list[tuple], first: tuple) -> list[tuple]:
    """All sets but the first: each next one is farthest from those before, in places along the slider."""
    left, have = {k for k, kept in enumerate(sets) if kept != first}, [sets.index(first)]
    while left:
        have.append(max(sorted(left), key=lambda k: min(abs(k - other) for other in have)))
        left.remove(have[-1])
    return [sets[k] for k in have[1:]]


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
