"""Sounds in the rows of Arrow files, as the `datasets` library stores them, read when a row is asked for."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import audio
from ..core.errors import AudioError, ParameterError
from .contents import contents, printable, quick_look
from .sounds import FileSounds, Row

if TYPE_CHECKING:
    import pyarrow


class ArrowSounds(FileSounds):
    """Sounds whose bytes are in rows of Arrow files; a clip that has no row there is a file, found by its path.

    Parameters
    ----------
    places : mapping of str to (int, int)
        Id of a clip -> index of its file in `files`, and its row there.
    files : sequence of str
        Arrow files in the streaming format.
    column : str
        Column of structs that have the field "bytes".
    mono : {"mean", "left", "right"} or int
        As for :class:`FileSounds`.
    """

    columns = ("id", "path")

    def __init__(
        self, places: Mapping[str, tuple[int, int]], files: Sequence[str], column: str, mono: str | int = "mean"
    ):
        super().__init__(mono)
        self.places, self.files, self.column = dict(places), tuple(files), column

    def _bytes(self, row: Row) -> pyarrow.Buffer:
        file, position = self.places[row["id"]]
        cells, _ = cells_of(self.files[file], quick_look(self.files[file]), self.column)
        return cells[position].as_buffer()

    def _sha(self, row: Row) -> str:
        file, position = self.places[row["id"]]
        return contents().of_part(self.files[file], f"{self.column} {position}", lambda: self._bytes(row))

    def audio(self, row: Row, rate: int | None) -> tuple[np.ndarray, int]:
        if row["id"] not in self.places:
            return super().audio(row, rate)
        file = io.BytesIO(self._bytes(row))
        file.name = self.source(row)
        try:
            return audio.load(file, rate=rate, mono=self.mono, report=functools.partial(self.hear, file.name))
        except ParameterError as error:  # this sound lacks the channel; others of the set may have it
            raise AudioError(file.name, str(error)) from None

    def source(self, row: Row) -> Path | str:
        if row["id"] not in self.places:
            return super().source(row)
        file, position = self.places[row["id"]]
        return f"{row['path']}, row {position} of {printable(self.files[file])}"

    def signature(self, row: Row) -> str:
        if row["id"] not in self.places:
            return super().signature(row)
        file, position = self.places[row["id"]]
        name = printable(os.path.abspath(self.files[file]))
        return "|".join(map(str, ("row", name, quick_look(self.files[file]), self.column, position, self.mono)))

    def identity(self, row: Row) -> str:
        """Return the identity that a file with the same bytes would have."""
        if row["id"] not in self.places:
            return super().identity(row)
        which = () if self.mono == "mean" else (self.mono,)
        return "|".join(map(str, (self._sha(row), 0.0, None, *which)))

    def alike(self, rows: Sequence[Row]) -> list[str]:
        """Return a key for each row; sounds in Arrow rows are read whole only where they agree in size."""
        sizes = [self._bytes(row).size if row["id"] in self.places else -1 for row in rows]
        counts = dict(zip(*np.unique(sizes, return_counts=True), strict=True))
        files = iter(super().alike([row for row, size in zip(rows, sizes, strict=True) if size < 0]))
        keys = [
            next(files) if size < 0 else f"{size} bytes" if counts[size] == 1 else self._sha(row)
            for row, size in zip(rows, sizes, strict=True)
        ]
        contents().save()
        return keys


@functools.lru_cache(maxsize=64)
def cells_of(file: str, look: str, column: str) -> tuple[pyarrow.ChunkedArray, pyarrow.ChunkedArray | None]:
    """Return the bytes and the paths of a column of sounds, mapped into memory but not read yet.

    The second array is None where the column has no paths.

    Parameters
    ----------
    file : str
    look : str
        What :func:`quick_look` returns for the file, so that a file that was replaced is opened again.
    column : str

    Raises
    ------
    AudioError
        The file is not an Arrow stream, or has no such column.
    """
    import pyarrow
    from pyarrow import compute

    try:
        with pyarrow.memory_map(file) as mapped:  # the arrays keep the mapping alive
            sounds = pyarrow.ipc.open_stream(mapped).read_all()[column]
    except (OSError, KeyError, pyarrow.ArrowInvalid) as error:
        raise AudioError(printable(file), f"cannot be read ({error}); load the dataset again") from None
    fields = [sounds.type.field(i).name for i in range(sounds.type.num_fields)]
    return compute.struct_field(sounds, "bytes"), compute.struct_field(sounds, "path") if "path" in fields else None
