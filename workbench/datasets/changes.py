"""Change the pitch, tempo, gain, noise or bandwidth of sounds by a known amount.

:meth:`workbench.datasets.Clips.changed` makes a dataset of changed sounds. A sound is changed at its own rate when it
is asked for, and then resampled to the requested rate; results are not stored. Nothing is clipped or rescaled: samples
beyond full scale stay as they are, in float.

- pitch: ``librosa.effects.pitch_shift``, a phase vocoder followed by resampling; the length is kept, and resonances
  (formants) are shifted as well.
- tempo: ``librosa.effects.time_stretch``, a phase vocoder; the pitch is kept.
- gain: multiplication by a constant.
- noise: white noise up to half the clip's own rate, at an exact ratio of the clip's mean power to the noise's.
- lowpass: a fourth-order Butterworth filter, applied forwards and backwards and so without delay; -6 dB at the cutoff,
  -48 dB or less an octave above.

The phase vocoder (Flanagan and Golden, "Phase vocoder", Bell System Technical Journal 45 (1966) 1493-1509) smears
attacks and makes voices sound distant. An amount that means no change returns the sound bit for bit, and therefore is
no control for these artefacts; a change and its inverse, one after the other, leave only the artefacts.
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
#: Seconds of the phase vocoder's window; the nearest power of two in samples is used.
WINDOW = 0.0464
#: Order of the low-pass filter, which is applied twice (forwards and backwards).
ORDER = 4
#: Change -> the amount that leaves a sound as it is, bit for bit, and the bounds of amounts.
AMOUNTS: dict[str, tuple[float, dict[str, float]]] = {
    "pitch": (0.0, {"least": -36, "most": 36}),
    "tempo": (1.0, {"least": 0.1, "most": 10}),
    "gain": (0.0, {"least": -120, "most": 40}),
    "noise": (np.inf, {"least": -60}),
    "lowpass": (np.inf, {"least": 20}),
}


def checked_amounts(change: str, amount: object, count: int) -> np.ndarray:
    """Return the amount for each clip, float64 (count,).

    Raises
    ------
    ParameterError
        The change is unknown, an amount is out of its bounds (the error names the first), or the number of amounts is
        neither one nor the number of clips.
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
    """The sounds of another source, each changed by the amount in its row.

    Parameters
    ----------
    sounds : Sounds
        Source of the sounds before the change.
    change : {"pitch", "tempo", "gain", "noise", "lowpass"}
    column : str
        Column of the table with the amounts: in semitones, as a factor, in dB, in dB, in Hz, in the order above.
    seed : int
        Seed of the noise, which also depends on the identity of the sound.
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
        if change.kind != "scale":  # a change may go beyond full scale on purpose
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
        """Return what the change adds to a sound's identity; "" where the amount means no change."""
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
    """Append zeros to a sound that is shorter than a window."""
    return np.pad(x, (0, max(size - len(x), 0)))


def _louder(x: np.ndarray, rate: int, decibels: float) -> np.ndarray:
    return x * np.float32(10 ** (decibels / 20))


def _noisy(x: np.ndarray, ratio: float, seed: str) -> np.ndarray:
    """Add white noise at a ratio in dB; silence gets none, and a clip has the same noise at any ratio."""
    rng = np.random.default_rng(int(hashlib.sha256(seed.encode()).hexdigest(), 16))
    noise = rng.standard_normal(len(x))
    power = np.square(x, dtype=np.float64).mean() / 10 ** (ratio / 10)
    return x + noise * np.sqrt(power / np.square(noise).mean())


def _lowpassed(x: np.ndarray, rate: int, cutoff: float) -> np.ndarray:
    """Remove what lies above the cutoff; a cutoff of half the rate or more changes nothing."""
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
