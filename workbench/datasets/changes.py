"""Sounds changed on purpose by a known amount: higher, faster, louder, noisier, duller.

:meth:`workbench.datasets.Clips.changed` makes a dataset of them. A sound is changed at its own rate when it is asked
for, and then brought to the rate that is asked for; nothing is kept. Nothing is clipped or rescaled: what passes full
scale stays float.

- pitch: ``librosa.effects.pitch_shift``, a phase vocoder and a resampling; the length stays. Resonances move with it.
- tempo: ``librosa.effects.time_stretch``, a phase vocoder; pitch stays.
- gain: a factor.
- noise: white, up to half the clip's own rate, at an exact ratio of the power of the whole clip to that of the noise.
- lowpass: Butterworth of fourth order there and back, without delay: -6 dB at the cutoff, at least -48 an octave above.

The phase vocoder (Flanagan and Golden, "Phase vocoder", Bell System Technical Journal 45 (1966) 1493-1509) smears
attacks and makes voices sound as from afar. At an amount of no change it is exact, and no control: its mark is heard in
a change there and back.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from .. import audio
from ..core.checks import choice, number, numbers
from ..core.dependencies import load
from ..core.errors import ParameterError
from .contents import printable
from .sounds import Row, Sounds, _Told

VERSION = 1
#: Seconds of the phase vocoder's window, of which the nearest power of two in samples is taken.
WINDOW = 0.0464
#: Order of the low-pass, before it goes there and back.
ORDER = 4
#: Change -> the amount of no change, at which a sound is itself bit for bit, and the bounds of amounts.
AMOUNTS: dict[str, tuple[float, dict[str, float]]] = {
    "pitch": (0.0, {"least": -36, "most": 36}),
    "tempo": (1.0, {"least": 0.1, "most": 10}),
    "gain": (0.0, {"least": -120, "most": 40}),
    "noise": (np.inf, {"least": -60}),
    "lowpass": (np.inf, {"least": 20}),
}


def checked_amounts(change: str, amount: object, count: int) -> np.ndarray:
    """The amount of each clip, float64 (count,).

    Raises
    ------
    ParameterError
        An unknown change, an amount out of its bounds (of several the first is named), as many as there are no clips.
    """
    bounds = AMOUNTS[choice("change", change, AMOUNTS)][1] | {"infinite": "most" not in AMOUNTS[change][1]}
    several = hasattr(amount, "__array__") or isinstance(amount, Sequence) and not isinstance(amount, str)
    amounts = numbers("amount", amount, ndim=(0, 1), finite=False) if several else np.array(amount)
    if amounts.ndim == 0:
        return np.full(count, number("amount", amounts.item(), **bounds))
    if len(amounts) != count:
        raise ParameterError("amount", f"{len(amounts)} values", f"a number, or one for each of the {count} clips")
    return np.array([number(f"amount[{i}]", value, **bounds) for i, value in enumerate(amounts.astype(float).tolist())])


class ChangedSounds(_Told):
    """The sounds of another source, each changed by the amount that stands in its row.

    Parameters
    ----------
    sounds : Sounds
        Where they come from.
    change : {"pitch", "tempo", "gain", "noise", "lowpass"}
    column : str
        Of the table: the amount (semitones, factor, dB, dB, Hz).
    seed : int
        Of the noise, together with what the sound is.
    """

    def __init__(self, sounds: Sounds, change: str, column: str, seed: int = 0):
        super().__init__()
        self.sounds, self.change, self.column, self.seed = sounds, change, column, seed
        self.generated, self.columns = sounds.generated, (*sounds.columns, column)

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        amount = float(row[self.column])
        if amount == AMOUNTS[self.change][0]:
            return self.sounds.audio(row, rate)
        x, own = self.sounds.audio(row, None)
        if self.change == "noise":
            x = _noisy(x, amount, f"{self.seed}|{self.sounds.identity(row)}")
        else:
            x = CHANGES[self.change](x, own, amount)
        return audio.load((np.asarray(x, np.float32), own), rate=rate, report=functools.partial(self._report, row))

    def _report(self, row: Row, change: audio.Change) -> None:
        if change.kind != "scale":  # beyond full scale a sound goes on purpose
            self.hear(printable(str(self.source(row))), change)

    def source(self, row: Row) -> Path | str:
        source = self.sounds.source(row)
        return source if isinstance(source, Path) else f"{source}, {self.change} changed by {row[self.column]:g}"

    def signature(self, row: Row) -> str:
        return self.sounds.signature(row) + self._mark(row)

    def identity(self, row: Row) -> str:
        return self.sounds.identity(row) + self._mark(row)

    def alike(self, rows: Sequence[Row]) -> list[str]:
        return [key + self._mark(row) for key, row in zip(self.sounds.alike(rows), rows, strict=True)]

    def _mark(self, row: Row) -> str:
        """What the change adds to what a sound is; nothing where it is none."""
        amount = float(row[self.column])
        if amount == AMOUNTS[self.change][0]:
            return ""
        maker = {"noise": self.seed, "pitch": _vocoder(), "tempo": _vocoder()}.get(self.change, "")
        return f"|changed|{VERSION}|{self.change}|{amount!r}|{maker}"


@functools.cache
def _vocoder() -> str:
    return metadata.version("librosa")


def _pitched(x: np.ndarray, rate: int, semitones: float) -> np.ndarray:
    size = _window(rate)
    y = load("librosa").effects.pitch_shift(_long(x, size), sr=rate, n_steps=semitones, n_fft=size)
    return y[: len(x)]


def _stretched(x: np.ndarray, rate: int, factor: float) -> np.ndarray:
    size = _window(rate)
    y = load("librosa").effects.time_stretch(_long(x, size), rate=factor, n_fft=size)
    return y[: max(round(len(x) / factor), 1)]


def _window(rate: int) -> int:
    return 2 ** max(round(np.log2(WINDOW * rate)), 4)


def _long(x: np.ndarray, size: int) -> np.ndarray:
    """With zeros behind it where it is shorter than a window."""
    return np.pad(x, (0, max(size - len(x), 0)))


def _louder(x: np.ndarray, rate: int, decibels: float) -> np.ndarray:
    return x * np.float32(10 ** (decibels / 20))


def _noisy(x: np.ndarray, ratio: float, seed: str) -> np.ndarray:
    """With noise; silence stays silence, which no ratio can be had to. One clip has one noise, whatever the ratio."""
    rng = np.random.default_rng(int(hashlib.sha256(seed.encode()).hexdigest(), 16))
    noise = rng.standard_normal(len(x))
    power = np.square(x, dtype=np.float64).mean() / 10 ** (ratio / 10)
    return x + noise * np.sqrt(power / np.square(noise).mean())


def _lowpassed(x: np.ndarray, rate: int, cutoff: float) -> np.ndarray:
    """Without what lies above; a cutoff of half the rate or more has nothing above it."""
    from scipy.signal import butter, sosfiltfilt

    if cutoff >= rate / 2:
        return x
    filters = butter(ORDER, cutoff, "lowpass", fs=rate, output="sos")
    return sosfiltfilt(filters, x, padlen=min(round(2 * rate / cutoff), len(x) - 1))


CHANGES: dict[str, Callable[[np.ndarray, int, float], np.ndarray]] = {
    "pitch": _pitched,
    "tempo": _stretched,
    "gain": _louder,
    "lowpass": _lowpassed,
}
