"""Small pictures inside pages, as data URLs: mel spectrograms, and the still picture of a map."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence

import numpy as np

from .. import audio as sound_io
from .colours import MISSING, NO_VALUE, PALETTE, Coloured, shade
from .page import escape, printable
from .projection import Projection

#: Decibels from the brightest colour of a small spectrogram to its darkest.
RANGE_DB = 70.0
_WIDTH, _BANDS = 256, 64
#: As near to the map's shapes as matplotlib comes.
_MARKERS = "os^DPX"


def webp(pixels: np.ndarray, *, quality: int = 75, size: tuple[int, int] | None = None) -> str:
    """Pixels (height, width, 3) uint8 as a data URL, brought to ``size`` (width, height) if there is one."""
    from PIL import Image

    image, buffer = Image.fromarray(pixels), io.BytesIO()
    (image.resize(size) if size else image).save(buffer, format="webp", quality=quality)
    return _data_url(buffer)


def _data_url(buffer: io.BytesIO) -> str:
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def magma(brightness: np.ndarray) -> np.ndarray:
    """Brightness (F, T), clipped to [0, 1], as pixels (F, T, 3) uint8 with the lowest frequency at the bottom."""
    from matplotlib import colormaps

    return (colormaps["magma"](np.clip(brightness, 0, 1)[::-1])[..., :3] * 255).round().astype(np.uint8)


def mel_levels(x: np.ndarray, rate: int, top: float) -> np.ndarray:
    """Mel spectrogram (bands, frames) of x (samples,) up to ``top`` Hz, in dB, as fine as a player's picture."""
    n_fft = max(64, 2 ** round(np.log2(0.05 * rate)))
    hop = max(16, min(n_fft // 4, len(x) // _WIDTH))
    padded = np.pad(x, (0, max(0, n_fft - len(x))))
    log = sound_io.log_mel(padded, rate, n_fft=n_fft, hop=hop, n_mels=_BANDS, f_max=top).numpy()
    return log[:, : -(-len(x) // hop) + 1] * (10 / np.log(10))


def mel_picture(levels: np.ndarray, reference: float) -> str:
    """Levels (bands, frames) as a data URL; ``reference`` is the brightest colour, all in dB."""
    parts = np.array_split(levels, min(_WIDTH, levels.shape[1]), axis=1)
    shown = np.stack([part.max(axis=1) for part in parts], axis=1)
    silent = reference <= 10 * np.log10(sound_io.LOG_FLOOR) + 1
    brightness = np.zeros_like(shown) if silent else 1 + (shown - reference) / RANGE_DB
    return webp(magma(brightness), size=(_WIDTH, _BANDS))


def mel_pictures(sounds: Sequence[tuple[np.ndarray, int]], top: float) -> list[str]:
    """Pictures of sounds (x, rate) up to ``top`` Hz that compare: one brightest colour, the loudest moment of all."""
    levels = [mel_levels(x, rate, top) for x, rate in sounds]
    loudest = max(float(level.max()) for level in levels)
    return [mel_picture(level, loudest) for level in levels]


def mel_note(top: float, reference: str = "the loudest moment of all") -> str:
    """What the pictures show."""
    return f"Mel spectrograms, 0 to {top / 1000:.4g} kHz, {RANGE_DB:.0f} dB below {reference}."


def still_picture(panel: Projection, coloured: Coloured, title: str) -> str:
    """HTML of a small picture of a map, seen where scripts do not run, with a line that says why nothing moves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=80, layout="constrained")
    ax = figure.add_subplot(xticks=[], yticks=[], xlabel=panel.axes[0], ylabel=panel.axes[1])
    ax.set_aspect("equal", adjustable="datalim")
    size = 26 if len(panel.xy) < 400 else 9 if len(panel.xy) < 4000 else 2
    for colour, marker, mask, label in _groups(coloured):
        ax.scatter(*panel.xy[mask].T, c=colour, marker=marker, s=size, linewidths=0, label=label)
    if coloured.kind == "category" and len(coloured.levels) <= 20:
        # A dollar sign would start a formula.
        legend = ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, frameon=False, markerscale=1.5)
        for text in legend.get_texts():
            text.set_parse_math(False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the map itself shows every script
        figure.savefig(buffer, format="webp", pil_kwargs={"quality": 80})
    return (
        f'<div class="wb-still"><img alt="{escape(title)}" src="{_data_url(buffer)}">'
        f"<br>{escape(title)} (a picture: the map that plays needs scripts, which are loading or blocked here)</div>"
    )


def _groups(coloured: Coloured):
    if coloured.kind == "number":
        known = ~np.isnan(coloured.values)
        values = coloured.values[known]
        low, span = (values.min(), float(np.ptp(values)) or 1.0) if len(values) else (0.0, 1.0)
        yield shade((values - low) / span) / 255, "o", known, None
        yield MISSING, "o", ~known, None
        return
    for k, level in enumerate(coloured.levels):
        # A label that begins with an underscore would be left out of the legend.
        name = "\u200b" + printable(level if len(level) < 25 else level[:24] + "…")
        colour, marker = PALETTE[k % len(PALETTE)], _MARKERS[(k + k // len(PALETTE)) % len(_MARKERS)]
        yield colour, marker, coloured.codes == k, name
    yield MISSING, "o", coloured.codes == NO_VALUE, None
