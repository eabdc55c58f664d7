"""What a page for an interpretation draws: spectrograms under masks, bars of relevance, probabilities, spectra."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from .. import audio as sound_io
from .page import escape, percent, signed
from .pictures import magma, webp

#: Most columns of the pictures.
_COLUMNS = 320
#: Most classes whose probabilities are shown.
_MOST_CLASSES = 6
#: Most pixels a bar is wide.
_WIDEST_BAR = 28


class Pictures:
    """Small pictures of a spectrogram (F, T) and of masks over it: mel rows, at most 320 columns.

    Parameters
    ----------
    levels : np.ndarray (F, T), 0 or more
        Their largest is the brightest colour.
    rate : int
        Hz.
    """

    def __init__(self, levels: np.ndarray, rate: int):
        bins = len(levels)
        bands = max(8, min(96, bins // 7))  # more would leave the lowest mel bands without a bin
        filters = sound_io.mel_filters(rate, n_fft=2 * (bins - 1), n_mels=bands).numpy().T
        self._filters = filters / np.maximum(filters.sum(1, keepdims=True), 1e-12)
        self._levels, self._top = levels, float(levels.max())
        self._small = self._pooled(levels)
        self.base = self.picture(levels)

    def rows(self, spectrum: np.ndarray) -> np.ndarray:
        """(F,) -> (mel rows,)."""
        return self._filters @ spectrum

    def _pooled(self, values: np.ndarray) -> np.ndarray:
        parts = np.array_split(self._filters @ values, min(_COLUMNS, values.shape[1]), axis=1)
        return np.stack([part.mean(axis=1) for part in parts], axis=1)

    def picture(self, levels: np.ndarray) -> str:
        """Levels (F, T) as a data URL, in the colours of the spectrogram."""
        return webp(magma(self._pooled(levels) / (self._top or 1.0)))

    def part(self, mask: np.ndarray) -> str:
        """What a mask (F, T) leaves of the spectrogram, brightened to its own largest value."""
        shown = self._pooled(self._levels * mask)
        return webp(magma(shown / (shown.max() or 1.0)))

    def mask(self, mask: np.ndarray) -> str:
        """A mask (F, T) in grey, to be multiplied with the picture: in each cell the share of what is there."""
        share = self._pooled(mask)
        np.divide(self._pooled(self._levels * mask), self._small, out=share, where=self._small > 1e-9)
        grey = (np.clip(share, 0, 1)[::-1] * 255).round().astype(np.uint8)
        return webp(np.repeat(grey[..., None], 3, axis=2), quality=60)


def relevance_bars(relevance: np.ndarray, order: Sequence[int], tau: float, name: str) -> str:
    """A thin bar for each component in this order, and the threshold as a line."""
    low, high = bars_axis(relevance)
    bars = []

    def place(value: float) -> float:
        return 100 * (high - value) / (high - low)

    for at, k in enumerate(order):
        value = float(relevance[k])
        kind = ' class="wb-on"' if value > tau else ""
        height = max(abs(place(value) - place(0)), 0.4)
        bars.append(
            f'<rect x="{at + 0.1:.1f}" width=".8" y="{place(max(value, 0)):.2f}" height="{height:.2f}"{kind}>'
            f"<title>component {k}: relevance {signed(value)}</title></rect>"
        )
    ticks = [(v, text) for v, text in ((1, "1"), (0, "0"), (-1, "−1")) if low <= v <= high]
    marks = "".join(f'<span style="top:{place(v):.1f}%">{text}</span>' for v, text in ticks)
    count = len(relevance)
    label = escape(f"relevance of {count} components for {name}, the largest first")
    across = f'x1="0" x2="{count}"'
    return (
        f'<div class="wb-axis-box"><div class="wb-ticks" aria-hidden="true">{marks}</div>'
        f'<svg class="wb-bars" style="max-width:{_WIDEST_BAR * count}px" viewBox="0 0 {count} 100" '
        f'preserveAspectRatio="none" role="img" aria-label="{label}">{"".join(bars)}'
        f'<line {across} y1="{place(0):.2f}" y2="{place(0):.2f}"/>'
        f'<line class="wb-threshold" {across} y1="{place(tau):.2f}" y2="{place(tau):.2f}"/></svg></div>'
    )


def bars_axis(relevance: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value of the bars' axis."""
    return min(0.0, float(relevance.min())), max(1.0, float(relevance.max()))


def probabilities(logits: np.ndarray, *, multilabel: bool) -> np.ndarray:
    """Probability of each class (C,): logistic functions of the logits, or their softmax."""
    logits = np.asarray(logits, dtype=np.float64)
    if multilabel:
        return 0.5 * (1 + np.tanh(logits / 2))
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def chances(values: np.ndarray, classes: Sequence[str], explained: int, true: Collection[str]) -> str:
    """The most probable classes, among them the explained one; a tick marks those that truly sound."""
    rows, best = [], [int(c) for c in np.argsort(-values, kind="stable")[:_MOST_CLASSES]]
    for c in best if explained in best else [*best[:-1], explained]:
        kind = " wb-decided" if c == explained else ""
        tick = ' <span title="truly sounds">✓</span>' if classes[c] in true else ""
        rows.append(
            f'<div class="wb-chance{kind}"><span>{escape(classes[c])}{tick}</span>'
            f'<div><i style="width:{100 * values[c]:.2f}%"></i></div><b>{percent(values[c])}</b></div>'
        )
    rank, more = 1 + int((values > values[explained]).sum()), len(classes) - len(rows)
    place = "" if rank == 1 else f" ({classes[explained]}: number {rank})"
    rest = f'<div class="wb-detail">and {more} more class{"es" * (more > 1)}</div>' if more > 0 else ""
    return (
        f'<div class="wb-says"><div class="wb-heading">What the classifier says{escape(place)}</div>'
        f'<div class="wb-chances">{"".join(rows)}</div>{rest}</div>'
    )


def factors(pictures: Pictures, shown: str, spectrum: np.ndarray, activation: np.ndarray) -> str:
    """A component's picture, left of it its spectrum (F,), below it its activation (T,), as matrices are drawn."""
    rows = pictures.rows(spectrum)
    parts = np.array([part.max() for part in np.array_split(activation, min(_COLUMNS // 2, len(activation)))])
    up = [(100 - 96 * v, 100 * (1 - (at + 0.5) / len(rows))) for at, v in enumerate(rows / (rows.max() or 1.0))]
    along = [(100 * (at + 0.5) / len(parts), 100 - 96 * v) for at, v in enumerate(parts / (parts.max() or 1.0))]
    left = _area("wb-spectrum", [(100, 100), *up, (100, 0)])
    below = _area("wb-activation", [(0, 100), *along, (100, 100)])
    return f'<div class="wb-factors">{left}{shown}{below}</div>'


def _area(kind: str, points: Sequence[tuple[float, float]]) -> str:
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<svg class="{kind}" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="{text}"/></svg>'
    )


def times_row(name: str, intervals: np.ndarray, seconds: float) -> str:
    """When a class sounds: (n, 2) onsets and offsets in seconds along the clip."""
    bars = "".join(
        f'<i style="left:{100 * on / seconds:.2f}%;width:{100 * (off - on) / seconds:.2f}%"></i>'
        for on, off in intervals
    )
    said = ", ".join(f"{on:.2f} to {off:.2f} s" for on, off in intervals) or "never"
    return f'<div class="wb-when"><span>{escape(name)}</span><div role="img" aria-label="{said}">{bars}</div></div>'
