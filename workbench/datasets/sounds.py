"""Sources of the sound of a table's row: files, arrays in memory, or recipes that are rendered when asked for."""

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

#: A clip that is shorter than its start and stop say by more than this (seconds) is reported; less may be rounding.
SHORT = 0.05

Row = Mapping[str, Any]


class Sounds(Protocol):
    """A source of the sound of each row. Implementations can be pickled and hold no open files."""

    generated: bool
    """Whether the sounds are made by this package."""
    columns: tuple[str, ...]
    """Columns of the table that it reads; a row holds those of them that the table has."""

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        """Return the sound as mono float32 (samples,), and its rate (Hz)."""

    def source(self, row: Row) -> Path | str:
        """Return the file of the sound, or a text that says where it comes from."""

    def signature(self, row: Row) -> str:
        """Return a text that changes whenever the sound may have changed, made without decoding the sound."""

    def identity(self, row: Row) -> str:
        """Return a text that depends on the content of the sound alone, wherever it is stored."""

    def alike(self, rows: Sequence[Row]) -> list[str]:
        """Return a key for each row, equal where the sounds are the same; no more is read than this needs."""


def channel(mono: object) -> str | int:
    """Return the choice of channels in the form that identities use: "mean", or a number (left is 0, right is 1).

    Raises
    ------
    ParameterError
        `mono` is not a choice of channels.
    """
    if isinstance(mono, str) and mono in ("mean", "left", "right"):
        return {"mean": "mean", "left": 0, "right": 1}[mono]
    if isinstance(mono, str) or mono is None:
        raise ParameterError("mono", mono, "'mean', 'left', 'right' or the number of a channel, 0 the first")
    return whole("mono", mono, least=0, most=1023)


class _Told:
    """Warn of the sounds of a dataset, once for each kind of warning; `said` holds the kinds that were given."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def tell(self, kind: str, text: str) -> None:
        if kind not in self.said:
            self.said.add(kind)
            warn(f"{text} (this warning is given once for each dataset)")

    def hear(self, source: str, change: audio.Change) -> None:
        self.tell(change.kind, f"{source}: {change.text}")


class FileSounds(_Told):
    """Sounds in files: a row has a `path` and, if it is a piece of the file, `start` and `stop` in seconds.

    Parameters
    ----------
    mono : {"mean", "left", "right"} or int
        Whether to use the mean of the channels or one of them. It is part of a sound's identity.
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
        except ParameterError as error:  # this file lacks the channel; others of the set may have it
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
    """Sounds in memory, found by the id of the row.

    Parameters
    ----------
    arrays : mapping of str to np.ndarray (samples,) or (channels, samples)
    rate : int
        Hz.
    mono : {"mean", "left", "right"} or int
        As for :class:`FileSounds`.
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
    # A notebook asks for the same few hundred clips for each encoder, map and player, and making them is slow.
    x = importlib.import_module(module).render(recipe)
    x.setflags(write=False)
    return x


class GeneratedSounds(_Told):
    """Sounds that a module of this package makes from a row when they are asked for.

    Parameters
    ----------
    module : str
        Name of the module, such as "workbench.datasets.generated.voices". It has RATE, VERSION, recipe(row), whose
        result has a repr that determines the sound, and render(recipe) -> float32 (samples,).
    columns : tuple of str
        Columns from which the recipe is made.
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
        # the module's former name, so that embeddings stored under it are still found
        name = f"workbench.datasets.{self.module.rpartition('.')[2]}"
        return f"generated|{name}|{maker.VERSION}|{maker.RATE}|{maker.recipe(row)!r}"

    identity = signature

    def alike(self, rows: Sequence[Row]) -> list[str]:
        return [self.signature(row) for row in rows]
