"""Why this class? One clip at a time: the prototypes it resembles, and what each adds to the logit of any class.

The logit of a class is a sum, over the prototypes, of similarity times weight, plus a bias (Alonso-Jimenez et al.,
arXiv 2402.09318), so the parts shown here are not an approximation: the most important ones, all others together and
the bias add up to the logit. The page (``static/similarity.js``) carries similarities and weights and computes the
parts for any clip and any class itself ("why not trumpet?"), without kernel and network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import check_fields, checked, number, numbers, whole
from ..core.errors import ParameterError
from .inputs import instances, texts
from .interpretation_figures import probabilities
from .page import Page, escape
from .pictures import mel_note, mel_pictures
from .prototype_maps import numbered
from .prototype_pages import PrototypeSounds, check_prototypes
from .sounds import Sound, cut, shared_gain, waveform


@dataclass(frozen=True, eq=False)
class ExplainedClip:
    """A clip whose decision is to be explained."""

    name: str
    """Its caption."""
    x: np.ndarray
    """Its sound, (samples,)."""
    rate: int
    """Hz."""
    similarities: np.ndarray
    """Similarity to each prototype, (M,): of its one segment, or the mean over its segments."""
    label: str | None = None
    """Its true class."""

    def __post_init__(self):
        check_fields(self)


@checked
def similarity_page(
    clips: Sequence[ExplainedClip],
    prototypes: Sequence[PrototypeSounds],
    *,
    classes: Sequence[str],
    weights: ArrayLike,
    bias: ArrayLike,
    temperature: float = 1.0,
    most: int = 6,
    nearest: int = 2,
    title: str = "Why this class?",
    seconds: float | None = 4.0,
    megabytes: float = 6.0,
) -> SimilarityPage:
    """Show and play why clips are of their classes: the prototypes they resemble, with exact contributions.

    Parameters
    ----------
    clips : sequence of ExplainedClip
    prototypes : sequence of PrototypeSounds, M of them
        The first of their sounds plays.
    classes : sequence of str (C,)
        Names of the classes, in the order of the logits.
    weights : array (C, M)
        Weights of the linear layer.
    bias : array (C,)
    temperature : float
        Probabilities are the softmax of the logits over this.
    most : int
        Prototypes shown at a time: those with the largest contributions, either sign.
    nearest : int
        Most real clips beside each.
    title : str
    seconds : float or None
        Longest part of a sound that plays, from the beginning; None for all.
    megabytes : float
        Most sound and pictures (10^6 bytes as they stand in the page). The clips are always there; then come
        prototypes, those that count most for the predicted classes first, then their nearest clips.

    Returns
    -------
    SimilarityPage

    Raises
    ------
    ParameterError
        No clips or prototypes, shapes that do not fit each other, numbers that are NaN, a temperature that is not
        above 0.
    AudioError
        A sound is empty, not mono or holds NaN; it is named.

    Notes
    -----
    All sounds have one gain, that which brings the loudest of them to -1 dBFS (at most +20 dB).
    """
    prototypes, classes = check_prototypes(prototypes), texts("classes", classes)
    clips = instances("clips", clips, ExplainedClip)
    for name, values in (("clips", clips), ("classes", classes)):
        if not values:
            raise ParameterError(name, [], "at least one")
    whole("most", most, least=1)
    whole("nearest", nearest, least=0)
    number("temperature", temperature, above=0)
    c, m = len(classes), len(prototypes)
    weights = _numbers("weights", weights, (c, m), f"(C, M) = ({c}, {m})")
    bias = _numbers("bias", bias, (c,), f"(C,) = ({c},)")
    rows = [_numbers(f"clip {clip.name!r}.similarities", clip.similarities, (m,), f"(M,) = ({m},)") for clip in clips]
    page = {"title": title, "seconds": seconds, "megabytes": megabytes}
    linear = classes, np.stack(rows), weights, bias, temperature
    return SimilarityPage(clips, prototypes, *linear, min(most, m), nearest, **page)


def _numbers(name: str, values: ArrayLike, shape: tuple, expected: str) -> np.ndarray:
    values = numbers(name, values, finite=False, empty=True).astype(np.float64)
    if values.shape != shape:
        raise ParameterError(name, f"array of shape {values.shape}", expected)
    if not np.abs(values).max() < 1e100:  # products and sums of them stay finite
        bad = int((~np.isfinite(values)).sum())
        shown = f"array with NaN or infinity in {bad} places" if bad else f"array with {np.abs(values).max():.3g}"
        raise ParameterError(name, shown, "finite" if bad else "below 1e100")
    return values


class SimilarityPage(Page):
    """A page of explained decisions, made by :func:`similarity_page`; display it, listen, ask for another class.

    Attributes
    ----------
    logits : np.ndarray (N, C) float64
    predicted : list of str (N,)
    gain_db : float
        Applied to every sound.
    title : str
    """

    _element = "wb-players wb-similarity"
    _styles = ("players.css", "bars.css", "prototypes.css", "similarity.css")
    _scripts, _view = ("players.js", "elements.js", "similarity.js"), "SimilarityView"

    def __init__(self, clips, prototypes, classes, similarities, weights, bias, temperature, most, nearest, **page):
        super().__init__(**page)
        self._clips, self._prototypes, self._classes = clips, prototypes, classes
        self._names = numbered([prototype.label for prototype in prototypes])
        self._similarities, self._weights, self._bias, self._most = similarities, weights, bias, most
        self.logits = similarities @ weights.T + bias
        self.predicted = [classes[c] for c in self.logits.argmax(1)]
        self._chances = [probabilities(row / temperature, multilabel=False) for row in self.logits]
        made = [(f"prototype {name}", p.sounds[0], p.rate) for name, p in zip(self._names, prototypes, strict=True)]
        seen = [(clip.name, clip.x, clip.rate) for clip in clips] + made
        near = [(k, clip) for k in self._order() for clip in prototypes[k].nearest[:nearest]]
        heard = [waveform(*sound) for sound in [*seen, *((clip.name, clip.x, clip.rate) for _, clip in near)]]
        self.gain_db, self._top = shared_gain(x for x, _ in heard), min(rate for _, rate in heard) / 2
        cuts = [(cut(x, rate, seconds=self._seconds), rate) for x, rate in heard[: len(seen)]]
        self._pictures = mel_pictures(cuts, self._top)
        self._sounds = [self._sound(*sound) for sound in seen[: len(clips)]]
        self._take(sum(map(len, self._pictures)) + sum(sound.size for sound in self._sounds))
        self._carried = self._carry((k, *made[k]) for k in self._order())
        different = {}
        for _, clip in near:
            different.setdefault(clip.name, (clip.name, clip.name, clip.x, clip.rate))
        near_sounds = self._carry(different.values())
        self._near = {}
        for k, clip in near:
            self._near.setdefault(k, []).append((clip, near_sounds.get(clip.name)))
        self._missing = len(prototypes) - len(self._carried), sum(clip.name not in near_sounds for _, clip in near)
        self._pack(self._data())

    def _order(self) -> list[int]:
        """Prototypes by what they add, or take, at most: first for the predicted classes, then for all."""
        parts = np.abs(self._weights[self.logits.argmax(1)] * self._similarities)
        return [int(k) for k in np.argsort(-parts.max(0), kind="stable")]

    def _data(self) -> dict:
        n = len(self._clips)
        prototypes = []
        for k in range(len(self._prototypes)):
            near = [[clip.name, float(clip.distance), _heard(made)] for clip, made in self._near.get(k, [])]
            made = {"name": self._names[k], "near": near, "sound": _heard(self._carried.get(k))}
            prototypes.append(made | {"picture": self._pictures[n + k]})
        clips = [
            {"name": clip.name, "label": clip.label, "picture": self._pictures[i], "sound": _heard(self._sounds[i])}
            | {"similarities": self._similarities[i].tolist(), "chances": self._chances[i].tolist()}
            for i, clip in enumerate(self._clips)
        ]
        data = {"title": self.title, "clips": clips, "prototypes": prototypes, "classes": self._classes}
        data |= {"weights": self._weights.tolist(), "bias": self._bias.tolist(), "most": self._most}
        return data | {"note": self._note()}

    def _note(self) -> str:
        parts = [
            "A prototype adds similarity times weight; shown ones, all others and the bias add up to the logit.",
            self._one_gain(),
            mel_note(self._top),
        ]
        if any(self._missing):
            prototypes, clips = self._missing
            parts.append(f"Without sound, for the page's size: {prototypes} prototypes, {clips} nearest clips.")
        return " ".join(parts)

    def _still(self) -> str:
        """The first clip in words, with its player."""
        predicted = int(self.logits[0].argmax())
        parts = self._weights[predicted] * self._similarities[0]
        best = [f"{self._names[k]} ({parts[k]:+.2f})" for k in np.argsort(-np.abs(parts))[: self._most]]
        name, logit = self._clips[0].name, self.logits[0, predicted]
        text = f"{name}: {self._classes[predicted]}, logit {logit:.3f}. {', '.join(best)}."
        return (
            f'<div class="wb-still"><div class="wb-title">{escape(self.title)}</div><div class="wb-card">'
            f'<div>{escape(text)}</div><audio controls preload="metadata" src="{self._sounds[0].uri}"></audio></div>'
            '<div class="wb-note">All clips and classes need scripts, which are loading or blocked here.</div></div>'
        )

    def __repr__(self) -> str:
        clips, prototypes = len(self._clips), len(self._prototypes)
        return f"SimilarityPage({clips} clips, {prototypes} prototypes, {len(self._carried)} with sound)"


def _heard(sound: Sound | None) -> list | None:
    return None if sound is None else [sound.uri, sound.caption]
