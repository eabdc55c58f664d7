"""Where the sound of a table's row comes from: a file, memory, or a recipe that is rendered when asked for."""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from .. import audio
from ..core.checks import whole
from ..core.errors import AudioError, ParameterError
from ..core.warn import warn
from .contents import alike, contents, on_disk, printable, quick_look

#: A clip may be so much shorter (seconds) than its start and stop say before that is told: it may be rounding.
SHORT = 0.05

Row = Mapping[str, Any]


class Sounds(Protocol):
    """Where the sound of a row comes from. Implementations pickle and hold no open files."""

    generated: bool
    columns: tuple[str, ...]
    """Columns of the table it reads; columns that are not there are left out of the row."""

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        """Float32 mono (samples,) and its rate (Hz)."""

    def source(self, row: Row) -> Path | str:
        """The file, or words."""

    def signature(self, row: Row) -> str:
        """Changes whenever the sound may have changed; made without decoding it."""

    def identity(self, row: Row) -> str:
        """What the sound is, wherever it lies."""

    def alike(self, rows: Sequence[Row]) -> list[str]:
        """A key for each row, equal where the sounds are the same; made from as little reading as that takes."""


def channel(mono: object) -> str | int:
    """The choice of channels as it goes into an identity: "mean", or a channel's number (left is 0, right is 1).

    Raises
    ------
    ParameterError
        It is none.
    """
    if isinstance(mono, str) and mono in ("mean", "left", "right"):
        return {"mean": "mean", "left": 0, "right": 1}[mono]
    if isinstance(mono, str) or mono is None:
        raise ParameterError("mono", mono, "'mean', 'left', 'right' or the number of a channel, 0 the first")
    return whole("mono", mono, least=0, most=1023)


class _Told:
    """What is said of a set's sounds, each kind of thing once: in `said`, which goes with the set, not with a clip."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def tell(self, kind: str, text: str) -> None:
        if kind not in self.said:
            self.said.add(kind)
            warn(f"{text} (said once a dataset)")

    def hear(self, source: str, change: audio.Change) -> None:
        self.tell(change.kind, f"{source}: {change.text}")


class FileSounds(_Told):
    """Sounds in files: `path`, and where a row is a piece of one, `start` and `stop` in seconds.

    Parameters
    ----------
    mono : {"mean", "left", "right"} or int
        Mean of the channels, or one of them. It is part of what a sound is: another channel is another sound.
    """

    generated = False
    columns = ("path", "start", "stop")

    def __init__(self, mono: str | int = "mean"):
        super().__init__()
        self.mono = channel(mono)

    def _piece(self, row: Row) -> tuple[float, float | None]:
        start, stop = (row.get(name) for name in ("start", "stop"))
        start = 0.0 if start is None or pd.isna(start) else float(start)
        return start, None if stop is None or pd.isna(stop) else float(stop)

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        start, stop = self._piece(row)
        wanted = None if stop is None else stop - start
        name = printable(row["path"])
        hear = functools.partial(self.hear, name)
        options = {"rate": rate, "mono": self.mono, "offset": start, "duration": wanted, "report": hear}
        try:
            x, rate = audio.load(on_disk(row["path"]), **options)
        except ParameterError as error:  # a channel that this file lacks: its own fault, the others may have it
            raise AudioError(name, str(error)) from None
        if wanted is not None and wanted - len(x) / rate > SHORT:
            end = start + len(x) / rate
            self.tell("short", f"{name}: ends at {end:.3f} s, and a clip of it was to stop at {stop} s")
        return x, rate

    def source(self, row: Row) -> Path:
        return Path(on_disk(row["path"]))

    def signature(self, row: Row) -> str:
        path = on_disk(row["path"])
        parts = ("file", printable(os.path.abspath(path)), quick_look(path), *self._piece(row), self.mono)
        return "|".join(map(str, parts))

    def identity(self, row: Row) -> str:
        which = () if self.mono == "mean" else (self.mono,)
        return "|".join(map(str, (contents().of(on_disk(row["path"])), *self._piece(row), *which)))

    def alike(self, rows: Sequence[Row]) -> list[str]:
        keys = alike([on_disk(row["path"]) for row in rows])
        return [f"{key}|{self._piece(row)}" for key, row in zip(keys, rows, strict=True)]


class ArraySounds(_Told):
    """Sounds already in memory, found by the row's id.

    Parameters
    ----------
    arrays : mapping of str to np.ndarray (samples,) or (channels, samples)
    rate : int
        Hz.
    mono : {"mean", "left", "right"} or int
        As of :class:`FileSounds`.
    """

    generated = False
    columns = ("id",)

    def __init__(self, arrays: Mapping[str, np.ndarray], rate: int, mono: str | int = "mean"):
        super().__init__()
        self.arrays, self.rate, self.mono = dict(arrays), rate, channel(mono)

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        hear = functools.partial(self.hear, f"clip {row['id']}")
        return audio.load((self.arrays[row["id"]], self.rate), rate=rate, mono=self.mono, report=hear)

    def source(self, row: Row) -> str:
        return f"array of {self.arrays[row['id']].shape[-1]} samples at {self.rate} Hz"

    def signature(self, row: Row) -> str:
        x = np.ascontiguousarray(self.arrays[row["id"]])
        which = "" if self.mono == "mean" else f"|{self.mono}"
        return f"array|{self.rate}|{x.dtype}|{x.shape}|{hashlib.sha256(x.tobytes()).hexdigest()}{which}"

    identity = signature

    def alike(self, rows: Sequence[Row]) -> list[str]:
        return [self.signature(row) for row in rows]


@functools.lru_cache(maxsize=512)  # a five-second clip at 24 kHz is half a megabyte
def _rendered(module: str, recipe: Any) -> np.ndarray:
    # A notebook asks for the same few hundred clips once an encoder, a map and a player: making them is the slow part.
    x = importlib.import_module(module).render(recipe)
    x.setflags(write=False)
    return x


class GeneratedSounds(_Told):
    """Sounds made when asked for by a module of this package from a recipe in the row.

    Parameters
    ----------
    module : str
        Such as "workbench.datasets.generated.voices". It has RATE, VERSION, recipe(row) -> recipe whose repr says
        everything, and render(recipe) -> float32 (samples,).
    columns : tuple of str
        Columns the recipe is made from.
    """

    generated = True

    def __init__(self, module: str, columns: tuple[str, ...]):
        super().__init__()
        self.module, self.columns = module, columns

    @property
    def _maker(self) -> Any:
        return importlib.import_module(self.module)

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        maker = self._maker
        hear = functools.partial(self.hear, f"a clip of {self.module.rsplit('.', 1)[-1]}")
        return audio.load((_rendered(self.module, maker.recipe(row)), maker.RATE), rate=rate, report=hear)

    def source(self, row: Row) -> str:
        return f"generated: {self._maker.recipe(row)!r}"

    def signature(self, row: Row) -> str:
        maker = self._maker
        # the name as it was before the sets had a folder: what is stored keeps its key
        name = f"workbench.datasets.{self.module.rpartition('.')[2]}"
        return f"generated|{name}|{maker.VERSION}|{maker.RATE}|{maker.recipe(row)!r}"

    identity = signature

    def alike(self, rows: Sequence[Row]) -> list[str]:
        return [self.signature(row) for row in rows]
