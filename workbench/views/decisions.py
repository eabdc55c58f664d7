"""Can a decision be read in words? A page of decisions: the sound, the reasons, and knobs to turn.

The head behind an :class:`~workbench.prototypes.explaining.Explanation` is linear, so what each block of the embedding
adds to each class, and what each level would add in its place, is all that a page needs to compute the class
probabilities of any combination of levels. The page carries these numbers and recomputes them itself
(``static/decisions.js``): the same output turns in JupyterLab, in a notebook opened again without a kernel, and in an
exported page without a network. Where scripts are stripped, everything but the knobs remains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from .inputs import items, mapping, parts, table_of, texts, values_of
from .page import Page, escape, percent, signed
from .player_tables import Players, cell_text, players
from .points import positions

if TYPE_CHECKING:
    from ..prototypes import Explanation, Levels

#: Most clips on a page: it carries the sound of all of them.
_MOST_CLIPS = 12
#: A part counts as a reason from this share of the largest part on.
_REASON = 0.1


@checked
def decision_page(
    explanation: Explanation,
    clips,
    rows,
    *,
    classes: Sequence[str],
    level_names: Mapping[str, Sequence[str]] | None = None,
    true: ArrayLike | None = None,
    measured: Mapping[str, tuple[ArrayLike, str]] | None = None,
    levels: ArrayLike | None = None,
    seconds: float | None = 10.0,
    audio: Callable[[int], tuple[np.ndarray, int]] | None = None,
    title: str | None = None,
) -> DecisionPage:
    """Show decisions with their reasons in words and numbers, beside the sounds, with knobs that change the levels.

    Parameters
    ----------
    explanation : Explanation
        The decisions on all N clips, in their order.
    clips : Clips or pandas.DataFrame
        The N clips: an object with ``.table`` and ``.audio(i)``, or a table alone. The column ``id`` names them.
    rows : positions, boolean mask (N,), or rows of the clips' table
        Which clips, in this order; at most 12.
    classes : sequence of str (C,)
        Names of the classes.
    level_names : mapping of factor -> names (L_f,), optional
        Words for the levels, from the lowest. By default low, middle and high (low and high of two, "level 2 of 6" of
        more than three), and the values themselves of a factor whose every value is a level.
    true : array_like (N,), optional
        Class of each clip: names, or positions in ``classes``.
    measured : mapping of factor -> (values (N,), unit), optional
        What was measured of the sounds, such as ``{"loudness": (values, "dBFS")}``; NaN where nothing was.
    levels : array_like of int (N, m), optional
        The level that each factor of each clip really has. A word that says another one is marked, with the level that
        contradicts it.
    seconds : float or None
        Longest part that plays, from the beginning; None for all.
    audio : callable, optional
        i -> (x, rate), instead of ``clips.audio``.
    title : str, optional

    Returns
    -------
    DecisionPage

    Raises
    ------
    ParameterError
        Lengths that do not fit each other, no clip or more than 12, an unknown factor, class or level.

    Notes
    -----
    All sounds have one gain, so that loud clips stay louder than soft ones. A clip that cannot be read says so in the
    place of its player.
    """
    wanted = ("z", "bias", "contributions", "probabilities", "decisions", "levels", "factors", "effects", "names")
    parts("explanation", explanation, wanted, "an Explanation, as explain gives it")
    table, classes = table_of(clips), texts("classes", classes)
    n, count = len(explanation.z), len(explanation.bias)
    if len(table) != n:
        raise ParameterError("clips", f"{len(table)} clips", f"{n}, one for each embedding of the explanation")
    if len(classes) != count:
        raise ParameterError("classes", f"{len(classes)} names", f"one for each of {count} classes of the head")
    chosen = positions(rows, table)
    if not 1 <= len(chosen) <= _MOST_CLIPS:
        raise ParameterError("rows", f"{len(chosen)} clips", f"1 to {_MOST_CLIPS}: the page carries all their sounds")
    factors = explanation.factors.levels
    level_names = mapping("level_names", level_names, "a mapping of factor to names of its levels")
    measured = mapping("measured", measured, "a mapping of factor to (values, unit)")
    words = _level_names(level_names, factors)
    truth = None if true is None else _true(true, classes, n)
    values, known = _measured(measured, factors.names, n), _known(levels, factors, n)
    view = players(clips, chosen, captions="id", seconds=seconds, limit=_MOST_CLIPS, audio=audio)
    if title is None:
        title = "Can a decision be read in words?"
    return DecisionPage(explanation, chosen, view, classes, words, truth, values, known, title)


@dataclass(frozen=True)
class _Reasons:
    """One decision, taken apart."""

    decided: int
    """The class."""
    parts: dict[str, float]
    """Block, then "bias" -> what it adds to that class's logit above the mean of what it adds to all."""
    levels: dict[str, str]
    """Factor -> word for the level read."""
    contradicted: dict[str, str]
    """Factor -> word for the level that it really has, where that is another one."""

    @property
    def total(self) -> float:
        """The logit of the class above the mean logit."""
        return sum(self.parts.values())

    @property
    def why(self) -> str:
        """What follows the name of the class: reasons, then factors that hardly count or speak against it, the rest."""
        said = {name: f"{name} is {level} ({self._beside(name)})" for name, level in self.levels.items()}
        order = sorted(said, key=lambda name: -self.parts[name])
        least = _REASON * max(abs(part) for part in self.parts.values())
        reasons = [said[name] for name in order if self.parts[name] > least]
        others = [said[name] for name in order if self.parts[name] <= least]
        named = sum(self.parts[name] for name in said)
        mostly = self.total - named > max(named, 0.0)  # rest and bias
        text = f", mostly without words (factors together {_signed(named)})" if mostly else ""
        text += f", because {_listed(reasons)}" if reasons else ", though no factor speaks for it"
        text += f"; {', '.join(others)}" if others else ""
        bias = f"bias adds {_signed(self.parts['bias'])}."
        if "rest" not in self.parts:
            return f"{text}. The {bias}"
        return f"{text}. The rest of the embedding, which has no words, adds {_signed(self.parts['rest'])}; the {bias}"

    def _beside(self, name: str) -> str:
        """What a factor adds, and what its level really is where the word is wrong."""
        wrong = f"; it is {self.contradicted[name]}" if name in self.contradicted else ""
        return f"{_signed(self.parts[name])}{wrong}"


class DecisionPage(Page):
    """A page of decisions, made by :func:`decision_page`; display it, listen, turn the knobs.

    Attributes
    ----------
    rows : list of int
        Positions of the clips shown.
    words : list of str
        The decision on each of them in words.
    contradicted : list of list of str
        Factors of each of them whose word is another than ``levels`` say; empty lists where these were not given.
    title : str
    """

    _element, _styles = "wb-players wb-decisions", ("players.css", "bars.css", "decisions.css")
    _scripts, _view = ("players.js", "decisions.js"), "turnKnobs"

    def __init__(self, explanation, rows, view: Players, classes, levels, true, measured, known, title):
        super().__init__(title, gain_db=view.gain_db)
        self.rows = rows
        self._explanation, self._players, self._classes = explanation, view, classes
        self._levels, self._true, self._measured = levels, true, measured
        self._reasons = [_reasons(explanation, i, levels, known) for i in rows]
        self.contradicted, self._marks = [list(each.contradicted) for each in self._reasons], known is not None
        self.words = [classes[reasons.decided] + reasons.why for reasons in self._reasons]
        every = [part for reasons in self._reasons for part in (*reasons.parts.values(), 0.0)]
        self._low, self._high = min(every), max(max(every), min(every) + 1e-9)
        self._pack(self._numbers())

    def _still(self) -> str:
        return self._titled("".join(map(self._card, range(len(self.rows)))), self._note())

    def __repr__(self) -> str:
        return f"DecisionPage({len(self.rows)} of {len(self._explanation.z)} decisions)"

    def _numbers(self) -> dict:
        """All that the probabilities of any combination of levels need, and nothing but numbers."""
        e = self._explanation
        return {
            "parts": np.round(e.contributions[self.rows].transpose(0, 2, 1), 6).tolist(),  # clip, block, class
            "bias": np.round(e.bias, 6).tolist(),
            "effects": [np.round(e.effects(name).T, 6).tolist() for name in self._levels],  # factor, level, class
        }

    def _card(self, k: int) -> str:
        i, reasons = self.rows[k], self._reasons[k]
        probability = self._explanation.probabilities[i, reasons.decided]
        truth = ""
        if self._true is not None:
            right = self._true[i] == reasons.decided
            kind, mark = ("right", "✓ right") if right else ("wrong", "✗ wrong")
            truth = f'<span class="wb-true wb-{kind}">{mark}: true class {escape(self._classes[self._true[i]])}</span>'
        words = f"<strong>{escape(self._classes[reasons.decided])}</strong>{escape(reasons.why)}"
        return (
            f'<section class="wb-decision"><div class="wb-words">{words}</div>'
            f'<div class="wb-verdict"><span>probability {percent(probability)}</span>{truth}</div>'
            f'<div class="wb-three">{self._players.card(k)}{self._bars(k)}{self._knobs(k)}</div></section>'
        )

    def _bars(self, k: int) -> str:
        reasons, rows = self._reasons[k], []
        for name, part in reasons.parts.items():
            detail = {"rest": "has no words", "bias": "same for all clips"}.get(name) or self._value(k, name)
            said = escape(f"{name}: {reasons.levels[name]}" if name in reasons.levels else name)
            if name in reasons.contradicted:
                said = f'<b class="wb-wrong">✗</b> {said}'
                detail = f"it is {reasons.contradicted[name]}{'; ' * bool(detail)}{detail}"
            start, end = (self._share(value) for value in sorted((part, 0.0)))
            bar = (
                f'<i class="{"wb-for" if part > 0 else "wb-against"}" style="left:{start:.2f}%;right:{100 - end:.2f}%">'
            )
            rows.append(
                f'<div class="wb-part"><div><span>{said}</span><small>{escape(detail)}</small></div>'
                f'<div class="wb-track" style="--wb-zero:{self._share(0.0):.2f}%">{bar}</i></div>'
                f"<b>{_signed(part)}</b></div>"
            )
        total = f'<div class="wb-part wb-total"><div>together</div><div></div><b>{_signed(reasons.total)}</b></div>'
        name = escape(self._classes[reasons.decided])
        return f'<div class="wb-parts"><div class="wb-heading">What speaks for {name}</div>{"".join(rows)}{total}</div>'

    def _share(self, value: float) -> float:
        """Place on the axis of all bars of the page, per cent."""
        return 100 * (value - self._low) / (self._high - self._low)

    def _value(self, k: int, name: str) -> str:
        """ "measured −24.1 dBFS, above 88 % of clips"."""
        if name not in self._measured:
            return ""
        values, unit = self._measured[name]
        value, known = float(values[self.rows[k]]), values[np.isfinite(values)]
        if not np.isfinite(value):
            return "not measured"
        below = f", above {100 * np.mean(known < value):.0f} % of clips" if len(known) > 1 else ""
        return f"measured {value:.3g} {unit}{below}".replace("-", "−", 1 if value < 0 else 0)

    def _knobs(self, k: int) -> str:
        knobs = []
        for name, words in self._levels.items():
            options = "".join(f'<option value="{level}">{escape(word)}</option>' for level, word in enumerate(words))
            heard = f'<option value="" selected>as heard ({escape(self._reasons[k].levels[name])})</option>'
            knobs.append(f"<label><span>{escape(name)}</span><select>{heard}{options}</select></label>")
        chances = []
        for c, p in enumerate(self._explanation.probabilities[self.rows[k]].tolist()):
            kind, width = (" wb-decided" if c == self._reasons[k].decided else ""), f'style="width:{100 * p:.2f}%"'
            chances.append(
                f'<div class="wb-chance{kind}"><span>{escape(self._classes[c])}</span>'
                f"<div><u {width}></u><i {width}></i></div><b>{percent(p)}</b></div>"
            )
        return (
            f'<div class="wb-turn"><div class="wb-knobs" hidden><div class="wb-heading">Turn the knob: had it been …'
            f'<button type="button" disabled>reset</button></div>{"".join(knobs)}</div>'
            f'<div class="wb-chances">{"".join(chances)}</div><div class="wb-outcome" aria-live="polite"></div></div>'
        )

    def _note(self) -> str:
        return (
            "Bars: what each part adds to the logit of the decided class, less the mean of what it adds to all "
            f"{len(self._classes)} classes; they sum exactly to that logit above the mean logit, and have one scale "
            "for all clips. Knobs: the prototype of another level takes the place of the factor's block, all else "
            f"stays; the pale bar is the decision as heard. "
            f"{'✗: the factor really has another level. ' * self._marks}{self._players.caption}"
        )


def _signed(value: float) -> str:
    """ "+2.1", "−0.2" or "0.0"."""
    text = signed(value, 1)
    return text[1:] if text[1:] == "0.0" else text


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def _reasons(
    explanation: Explanation, i: int, words: Mapping[str, Sequence[str]], known: np.ndarray | None
) -> _Reasons:
    decided = int(explanation.decisions[i])
    parts = explanation.contributions[i]
    contrast = dict(zip(explanation.names, (parts[decided] - parts.mean(0)).tolist(), strict=True))
    rest = explanation.factors.blocks["rest"]
    if rest.start == rest.stop:
        del contrast["rest"]
    contrast["bias"] = float(explanation.bias[decided] - explanation.bias.mean())
    read = dict(zip(words, explanation.levels[i].tolist(), strict=True))
    true = read if known is None else dict(zip(words, known[i].tolist(), strict=True))
    wrong = {name: words[name][true[name]] for name, level in read.items() if true[name] != level}
    return _Reasons(decided, contrast, {name: words[name][level] for name, level in read.items()}, wrong)


def _level_names(level_names: Mapping[str, Sequence[str]], factors: Levels) -> dict[str, list[str]]:
    for name in level_names:
        if name not in factors.names:
            raise ParameterError("level_names", name, f"one of the factors: {', '.join(factors.names)}")
    names = {}
    for f, (name, count) in enumerate(zip(factors.names, factors.counts, strict=True)):
        words = texts(f"level_names[{name!r}]", level_names[name]) if name in level_names else None
        if words is not None and len(words) != count:
            raise ParameterError(f"level_names[{name!r}]", words, f"{count} names, one for each level")
        usual = {2: ["low", "high"], 3: ["low", "middle", "high"]}.get(count)
        if factors.distinct[f]:
            usual = [cell_text(value) for value in next(iter(factors.cuts.values()))[f]]
        names[name] = words or usual or [f"level {l + 1} of {count}" for l in range(count)]
    return names


def _true(true: ArrayLike, classes: list[str], n: int) -> np.ndarray:
    values = true.tolist() if hasattr(true, "tolist") else items("true", true, "a class for each clip")
    if not isinstance(values, list) or len(values) != n:
        shape = np.shape(true) if hasattr(true, "shape") else (len(values),)
        raise ParameterError("true.shape", shape, f"({n},), a class for each clip")
    places = {name: c for c, name in enumerate(classes)} | {c: c for c in range(len(classes))}
    for value in values:
        if isinstance(value, (list, dict, set, bool)) or value not in places:
            raise ParameterError("true", value, f"one of the classes: {', '.join(classes)}, or their positions")
    return np.array([places[value] for value in values])


def _known(levels: ArrayLike | None, factors: Levels, n: int) -> np.ndarray | None:
    if levels is None:
        return None
    levels, counts = numbers("levels", levels, ndim=2), np.asarray(factors.counts)
    if levels.shape != (n, len(counts)):
        raise ParameterError("levels.shape", levels.shape, f"({n}, {len(counts)}), a row a clip and a column a factor")
    if levels.dtype.kind not in "iu" or (levels < 0).any() or (levels >= counts).any():
        raise ParameterError("levels", f"{levels.dtype}", f"whole numbers below {counts.tolist()}, factor by factor")
    return levels


def _measured(
    measured: Mapping[str, tuple[ArrayLike, str]], names: tuple[str, ...], n: int
) -> dict[str, tuple[np.ndarray, str]]:
    out = {}
    for name, pair in measured.items():
        if name not in names:
            raise ParameterError("measured", name, f"one of the factors: {', '.join(names)}")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[1], str):
            raise ParameterError(f"measured[{name!r}]", type(pair).__name__, "(values, unit)")
        out[name] = (values_of(f"measured[{name!r}]", pair[0], n), pair[1])
    return out
