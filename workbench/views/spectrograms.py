"""Pictures of sound over time and frequency, in dB: one, or several that can be compared."""

from __future__ import annotations

import numpy as np

from .. import audio as sound_io
from ..core.checks import checked, number, numbers, whole
from ..core.errors import ParameterError
from .figures import dress, new_figure, plain, short
from .sounds import waveform

#: Level of nothing at all.
_FLOOR_DB = 10 * float(np.log10(sound_io.LOG_FLOOR))


@checked
def spectrogram(
    x,
    rate: int,
    *,
    ax=None,
    mel: bool = True,
    n_mels: int = 80,
    f_max: float | None = None,
    range_db: float = 80.0,
    reference_db: float | None = None,
    title: str | None = None,
):
    """A sound over time and frequency, in dB.

    Parameters
    ----------
    x : array or tensor (samples,)
    rate : int
        Hz.
    ax : matplotlib Axes, optional
        Draw there, without colour bar, and return its figure.
    mel : bool
        Frequency on the mel scale, else linear.
    n_mels : int
    f_max : float, optional
        Hz; half the rate by default.
    range_db : float
        From the brightest colour down to the darkest.
    reference_db : float, optional
        Level of the brightest colour; by default the loudest moment. Give the same to plots that are to be compared.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    AudioError
        Not (samples,), empty, NaN.
    ParameterError
        A number out of range.

    Notes
    -----
    Silence is dark, and the colour bar says so.
    """
    x, rate = waveform(title or "x", x, rate, what="a spectrogram")
    number("range_db", range_db, above=0)
    if ax is not None and not hasattr(ax, "imshow"):
        raise ParameterError("ax", type(ax).__name__, "axes of matplotlib")
    decibels, hop, top = _decibels(x, rate, mel, n_mels, f_max)
    reference = float(decibels.max()) if reference_db is None else reference_db
    silent = float(decibels.max()) <= _FLOOR_DB + 1
    reference = _FLOOR_DB + range_db if silent else reference
    figure = new_figure(9.0, 3.2) if ax is None else ax.figure
    own = figure.add_subplot() if ax is None else ax
    extent = (0, len(x) / rate, 0, decibels.shape[0] - 1)
    shown = np.clip(decibels - reference, -range_db, 0)
    options = {"origin": "lower", "aspect": "auto", "cmap": "magma", "vmin": -range_db, "vmax": 0}
    picture = own.imshow(shown[:, : len(x) // hop + 1], extent=extent, **options)
    _frequency_axis(own, mel, decibels.shape[0] - 1, top)
    if title:
        plain(own.set_title(short(title, 60), loc="left", fontsize=10))
    label = "dB below the loudest" if reference_db is None else f"dB re {reference:.0f}"
    label = "dB (the sound is silent)" if silent else label
    dress(own, x="time (s)", picture=picture if ax is None else None, label=label)
    return figure


def _decibels(x: np.ndarray, rate: int, mel: bool, n_mels: int, f_max: float | None):
    top = rate / 2 if f_max is None else f_max
    n_fft = max(64, 2 ** round(np.log2(0.05 * rate)))
    if not 2 * rate / n_fft <= top <= rate / 2:
        expected = f"from {2 * rate / n_fft:.4g} Hz, two bins, to {rate / 2:.4g} Hz, half the rate"
        raise ParameterError("f_max", f_max, expected)
    whole("n_mels", n_mels, least=1, most=4096)
    hop = n_fft // 4
    padded = np.pad(x, (0, max(0, n_fft - len(x))))
    if mel:
        natural = sound_io.log_mel(padded, rate, n_fft=n_fft, hop=hop, n_mels=n_mels, f_max=top).numpy()
        return natural * (10 / np.log(10)), hop, top
    power = sound_io.spectrogram(padded, n_fft=n_fft, hop=hop).numpy()[: int(top / rate * n_fft) + 1]
    return 10 * np.log10(power + sound_io.LOG_FLOOR), hop, top


def _mel_of(hertz) -> np.ndarray:
    # Slaney's scale, as in the filters: linear up to 1 kHz, logarithmic above.
    hertz = np.asarray(hertz, dtype=float)
    above = 15 + 27 * np.log(np.maximum(hertz, 1e-9) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, hertz * 3 / 200, above)


def _frequency_axis(ax, mel: bool, height: int, top: float) -> None:
    if mel:
        ticks = np.array([f for f in (0, 500, 1000, 2000, 4000, 8000, 16000) if f <= top])
        places = _mel_of(ticks) / _mel_of(top) * height
    else:
        step = next((s for s in (500, 1000, 2000, 5000, 10000) if top / s <= 7), 50000)
        ticks = np.arange(0, top + 1, step)
        places = ticks / top * height
    ax.set_yticks(places, [f"{f / 1000:.3g}" for f in ticks])
    ax.set_ylabel("kHz (mel)" if mel else "kHz")


@checked
def dictionary_picture(components, rate: int, *, title: str | None = None):
    """Components of a factorisation as columns, on the mel scale, each in dB below its own strongest bin.

    Parameters
    ----------
    components : array (F, K)
        Spectra of log magnitudes or magnitudes, 0 or more, from 0 Hz to half the rate.
    rate : int
        Hz.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        Not two-dimensional, negative, or not finite.
    """
    w = numbers("components", components, finite=False, empty=True).astype(float)
    if w.ndim != 2 or not w.size or len(w) < 2 or not np.isfinite(w).all() or w.min() < 0:
        raise ParameterError("components", f"array of shape {w.shape}", "(F, K), finite, 0 or more, F 2 or more")
    whole("rate", rate, least=1)
    edges = np.linspace(0, _mel_of(rate / 2), 161)
    hertz = np.linspace(0, rate / 2, len(w))
    rows = np.clip(np.digitize(_mel_of(hertz), edges) - 1, 0, 159)
    middle = (edges[:-1] + edges[1:]) / 2
    level = np.array([np.interp(middle, _mel_of(hertz), column / max(column.max(), 1e-300)) for column in w.T]).T
    for row in range(160):  # several bins in a band: the strongest
        if (rows == row).sum() > 1:
            level[row] = (w[rows == row] / np.maximum(w.max(0), 1e-300)).max(0)
    figure = new_figure(min(10.0, 2 + 0.09 * w.shape[1]), 3.6)
    ax = figure.subplots()
    decibels = 20 * np.log10(np.maximum(level, 1e-3))
    shown = ax.imshow(decibels, aspect="auto", origin="lower", cmap="magma", vmin=-40, vmax=0, interpolation="nearest")
    _frequency_axis(ax, True, 160, rate / 2)
    dress(ax, x="component", title=title, picture=shown, label="dB below its strongest bin")
    return figure
