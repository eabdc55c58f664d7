"""Why this class? One clip at a time: the prototypes it resembles, and what each adds to the logit of any class.

The logit of a class is a sum, over the prototypes, of similarity times weight, plus a bias (Alonso-Jimenez et al.,
arXiv 2402.09318), so the parts shown here are not an approximation: the most important ones, all others together and
the bias add up to the logit. The page (``static/prototypes.js``) carries similarities and weights and computes the
parts for any clip and any class itself ("why not trumpet?"), without kernel and network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import check_fields, checked, number, numbers, whole
from ..core.errors import ParameterError
from .inputs import items, texts
from .interpretation_figures import probabilities
from .page import drawing, escape, pack, save_page
from .players import RANGE_DB, mel_levels, mel_picture
from .prototype_maps import numbered
from .prototype_pages import PrototypeSounds, Shelf, check_prototypes
from .sounds import Sound, check_length, cut, waveform


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
        Of the linear layer.
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
    clips = items("clips", clips, "a list of ExplainedClip")
    if not clips:
        raise ParameterError("clips", [], "at least one")
    for k, one in enumerate(clips):
        if not isinstance(one, ExplainedClip):
            raise ParameterError(f"clips[{k}]", type(one).__name__, "an ExplainedClip")
    if not classes:
        raise ParameterError("classes", [], "at least one")
    whole("most", most, least=1)
    whole("nearest", nearest, least=0)
    number("temperature", temperature, above=0)
    number("megabytes", megabytes, least=0)
    check_length("seconds", seconds)
    c, m = len(classes), len(prototypes)
    weights = _numbers("weights", weights, (c, m), f"(C, M) = ({c}, {m})")
    bias = _numbers("bias", bias, (c,), f"(C,) = ({c},)")
    rows = [_numbers(f"clip {one.name!r}.similarities", one.similarities, (m,), f"(M,) = ({m},)") for one in clips]
    return SimilarityPage(
        clips,
        prototypes,
        classes,
        np.stack(rows),
        weights,
        bias,
        temperature=temperature,
        most=min(most, m),
        nearest=nearest,
        title=title,
        seconds=seconds,
        megabytes=megabytes,
    )


def _numbers(name: str, values: ArrayLike, shape: tuple, expected: str) -> np.ndarray:
    values = numbers(name, values, finite=False, empty=True).astype(np.float64)
    if values.shape != shape:
        raise ParameterError(name, f"array of shape {values.shape}", expected)
    if not np.abs(values).max() < 1e100:  # products and sums of them stay finite
        bad = int((~np.isfinite(values)).sum())
        shown = f"array with NaN or infinity in {bad} places" if bad else f"array with {np.abs(values).max():.3g}"
        raise ParameterError(name, shown, "finite" if bad else "below 1e100")
    return values


class SimilarityPage:
    """A page of explained decisions, made by :func:`similarity_page`; display it, listen, ask for another class.

    Attributes
    ----------
    logits : np.ndarray (N, C) float64
    predicted : list of str (N,)
    gain_db : float
        Applied to every sound.
    title : str
    """

    def __init__(
        self,
        clips: list[ExplainedClip],
        prototypes: list[PrototypeSounds],
        classes: list[str],
        similarities: np.ndarray,
        weights: np.ndarray,
        bias: np.ndarray,
        *,
        temperature: float,
        most: int,
        nearest: int,
        title: str,
        seconds: float | None,
        megabytes: float,
    ):
        self.title, self._clips, self._of, self._classes = title, clips, prototypes, classes
        self._names = numbered([one.label for one in prototypes])
        self._similarities, self._weights, self._bias, self._most = similarities, weights, bias, most
        self.logits = similarities @ weights.T + bias
        self.predicted = [classes[c] for c in self.logits.argmax(1)]
        self._chances = [probabilities(row / temperature, multilabel=False) for row in self.logits]
        heard = [(one.name, one.x, one.rate) for one in clips]
        heard += [(f"prototype {self._names[k]}", one.sounds[0], one.rate) for k, one in enumerate(prototypes)]
        heard += [(clip.name, clip.x, clip.rate) for one in prototypes for clip in one.nearest[:nearest]]
        self._top = min(rate for _, _, rate in heard) / 2
        self._shelf = Shelf((waveform(*one)[0] for one in heard), seconds=seconds, megabytes=megabytes)
        self.gain_db = self._shelf.gain_db
        levels = [self._levels(x, rate) for _, x, rate in heard[: len(clips) + len(prototypes)]]
        loudest = max(float(level.max()) for level in levels)
        self._pictures = [mel_picture(level, loudest) for level in levels]
        self._shelf.room -= sum(map(len, self._pictures))
        self._sounds = [self._shelf.sound(one.name, one.x, one.rate) for one in clips]
        order = self._order()
        self._carried = self._fitting((k, self._names[k], prototypes[k].sounds[0], prototypes[k].rate) for k in order)
        near = [(k, clip) for k in order for clip in prototypes[k].nearest[:nearest]]
        found = self._fitting((clip.name, clip.name, clip.x, clip.rate) for _, clip in near)
        self._near = {}
        for k, clip in near:
            self._near.setdefault(k, []).append((clip, found.get(clip.name)))
        self._missing = len(prototypes) - len(self._carried), sum(clip.name not in found for _, clip in near)
        self._packed, self.key = pack(self._data())

    def _levels(self, x: np.ndarray, rate: int) -> np.ndarray:
        return mel_levels(cut(x, rate, seconds=self._shelf.seconds), rate, self._top)

    def _order(self) -> list[int]:
        """Prototypes by what they add, or take, at most: first for the predicted classes, then for all."""
        parts = np.abs(self._weights[self.logits.argmax(1)] * self._similarities)
        return [int(k) for k in np.argsort(-parts.max(0), kind="stable")]

    def _fitting(self, pieces) -> dict[object, Sound]:
        """The sounds that there is room for, each once."""
        found = {}
        for key, name, x, rate in pieces:
            if key not in found:
                sound = self._shelf.sound(name, x, rate)
                if self._shelf.room < 0:
                    break
                found[key] = sound
        return found

    def _data(self) -> dict:
        n = len(self._clips)
        prototypes = []
        for k in range(len(self._of)):
            near = [[clip.name, float(clip.distance), _heard(made)] for clip, made in self._near.get(k, [])]
            made = {"name": self._names[k], "near": near, "sound": _heard(self._carried.get(k))}
            prototypes.append(made | {"picture": self._pictures[n + k]})
        clips = [
            {"name": one.name, "label": one.label, "picture": self._pictures[i], "sound": _heard(self._sounds[i])}
            | {"similarities": self._similarities[i].tolist(), "chances": self._chances[i].tolist()}
            for i, one in enumerate(self._clips)
        ]
        data = {"title": self.title, "clips": clips, "prototypes": prototypes, "classes": self._classes}
        data |= {"weights": self._weights.tolist(), "bias": self._bias.tolist(), "most": self._most}
        return data | {"note": self._note()}

    def _note(self) -> str:
        parts = [
            "A prototype adds similarity times weight; shown ones, all others and the bias add up to the logit.",
            f"All sounds at one gain of {self.gain_db:+.1f} dB: levels can be compared.".replace("-", "−"),
            f"Mel spectrograms, 0 to {self._top / 1000:.4g} kHz, {RANGE_DB:.0f} dB below the loudest moment of all.",
        ]
        if any(self._missing):
            prototypes, clips = self._missing
            parts.append(f"Without sound, for the page's size: {prototypes} prototypes, {clips} nearest clips.")
        return " ".join(parts)

    @property
    def html(self) -> str:
        """The page as HTML that needs neither kernel nor network; where scripts are stripped, the first decision."""
        files = {"styles": ("players.css", "prototypes.css"), "scripts": ("players.js", "prototypes.js")}
        return drawing("wb-players wb-similarity", self._still(), self._packed, view="SimilarityView", **files)

    def _still(self) -> str:
        """The first clip in words, with its player."""
        one, predicted = self._clips[0], int(self.logits[0].argmax())
        parts = self._weights[predicted] * self._similarities[0]
        best = [f"{self._names[k]} ({parts[k]:+.2f})" for k in np.argsort(-np.abs(parts))[: self._most]]
        text = f"{one.name}: {self._classes[predicted]}, logit {self.logits[0, predicted]:.3f}. {', '.join(best)}."
        return (
            f'<div class="wb-title">{escape(self.title)}</div><div class="wb-card"><div>{escape(text)}</div>'
            f'<audio controls preload="metadata" src="{self._sounds[0].uri}"></audio></div>'
            '<div class="wb-note">All clips and classes need scripts, which are loading or blocked here.</div>'
        )

    def save(self, path: str | os.PathLike) -> Path:
        """Write the page as a file of its own."""
        return save_page(path, self.html, title=self.title)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"SimilarityPage({len(self._clips)} clips, {len(self._of)} prototypes, {len(self._carried)} with sound)"


def _heard(sound: Sound | None) -> list | None:
    return None if sound is None else [sound.uri, sound.caption]
