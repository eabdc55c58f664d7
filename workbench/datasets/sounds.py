"""Where the sound of a table's row comes from: a file, memory, or a recipe that is rendered when asked for."""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from .. import audio
from ..errors import AudioError

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


class FileSounds:
    """Sounds in files: `path`, and where a row is a piece of one, `start` and `stop` in seconds."""

    generated = False
    columns = ("path", "start", "stop", "sha256")

    def _piece(self, row: Row) -> tuple[float, float | None]:
        start, stop = (row.get(name) for name in ("start", "stop"))
        start = 0.0 if start is None or pd.isna(start) else float(start)
        return start, None if stop is None or pd.isna(stop) else float(stop)

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        start, stop = self._piece(row)
        duration = None if stop is None else stop - start
        return audio.load(row["path"], rate=rate, mono="mean", offset=start, duration=duration)

    def source(self, row: Row) -> Path:
        return Path(row["path"])

    def signature(self, row: Row) -> str:
        try:
            found = os.stat(row["path"])
        except OSError as error:
            raise AudioError(row["path"], f"cannot be read: {error.strerror}") from None
        return "|".join(
            map(
                str, ("file", os.path.abspath(row["path"]), found.st_size, found.st_mtime_ns, *self._piece(row), "mean")
            )
        )

    def identity(self, row: Row) -> str:
        content = row.get("sha256") or os.stat(row["path"]).st_size
        return "|".join(map(str, (content, *self._piece(row))))


class ArraySounds:
    """Sounds already in memory, found by the row's id."""

    generated = False
    columns = ("id",)

    def __init__(self, arrays: Mapping[str, np.ndarray], rate: int):
        self.arrays, self.rate = dict(arrays), rate

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        return audio.load((self.arrays[row["id"]], self.rate), rate=rate)

    def source(self, row: Row) -> str:
        return f"array of {self.arrays[row['id']].shape[-1]} samples at {self.rate} Hz"

    def signature(self, row: Row) -> str:
        x = np.ascontiguousarray(self.arrays[row["id"]])
        return f"array|{self.rate}|{x.dtype}|{x.shape}|{hashlib.sha256(x.tobytes()).hexdigest()}"

    identity = signature


@functools.lru_cache(maxsize=512)  # a five-second clip at 24 kHz is half a megabyte
def _rendered(module: str, recipe: Any) -> np.ndarray:
    # A notebook asks for the same few hundred clips once an encoder, a map and a player: making them is the slow part.
    x = importlib.import_module(module).render(recipe)
    x.setflags(write=False)
    return x


class GeneratedSounds:
    """Sounds made when asked for by a module of this package from a recipe in the row.

    Parameters
    ----------
    module : str
        Such as "workbench.datasets.voices". It has RATE, VERSION, recipe(row) -> recipe whose repr says everything,
        and render(recipe, rate=RATE) -> float32 (samples,).
    columns : tuple of str
        Columns the recipe is made from.
    """

    generated = True

    def __init__(self, module: str, columns: tuple[str, ...]):
        self.module, self.columns = module, columns

    @property
    def _maker(self) -> Any:
        return importlib.import_module(self.module)

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        maker = self._maker
        return audio.load((_rendered(self.module, maker.recipe(row)), maker.RATE), rate=rate)

    def source(self, row: Row) -> str:
        return f"generated: {self._maker.recipe(row)!r}"

    def signature(self, row: Row) -> str:
        maker = self._maker
        return f"generated|{self.module}|{maker.VERSION}|{maker.RATE}|{maker.recipe(row)!r}"

    identity = signature
