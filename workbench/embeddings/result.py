"""The embeddings that :func:`~workbench.embeddings.embed` returns, whose arrays are read from shards on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import checked, numbers, whole
from ..core.errors import ParameterError
from ..core.splits import Split, frame_split
from .shards import SHIFT, Frames, gather, gather_frames, widen

if TYPE_CHECKING:
    from ..datasets import Clips


class Embeddings:
    """Embeddings of clips at some layers of one encoder; rows are read from disk when they are asked for.

    Rows are in the order of the clips, without clips that were skipped: row ``r`` belongs to clip ``valid[r]``.

    Attributes
    ----------
    fingerprint : str
        Hash of the sounds, the encoder, the layers, pooling, ``seconds`` and dtype; equal ones mean equal numbers.
    layers : tuple of str
        Names of the layers, from the input to the output.
    ids : ndarray of str (N,)
        Clip id of each row.
    valid : ndarray, int64 (N,)
        Position of each row's clip among the clips: ``clips.labels[embeddings.valid]`` are the labels of the rows.
    skipped : dict of str to str
        Id of each clip without a row -> the reason.
    pooling : str or None
    dtype : str
        Type in which embeddings are stored; they are returned as float32.
    encoder : dict
        Result of :meth:`Encoder.describe <workbench.encoders.interface.Encoder.describe>`.
    clips : Clips
        The clips that were embedded; ``clips.fingerprint`` identifies them.
    hits, computed : int
        Number of rows that were in the store, and of rows that this call computed.
    seconds : float
        Computing time of the encoder in this call.
    """

    def __init__(
        self,
        *,
        fingerprint: str,
        layers: tuple[str, ...],
        ids: np.ndarray,
        valid: np.ndarray,
        skipped: dict[str, str],
        pooling: str | None,
        dtype: str,
        encoder: dict[str, object],
        clips: Clips,
        hits: int,
        computed: int,
        seconds: float,
        shards: list[Frames],
        addresses: dict[str, np.ndarray],
    ):
        self.fingerprint = fingerprint
        self.layers, self.ids, self.valid, self.skipped = layers, ids, valid, skipped
        self.pooling, self.dtype, self.encoder, self.clips = pooling, dtype, encoder, clips
        self.hits, self.computed, self.seconds = hits, computed, seconds
        self._shards, self._addresses = shards, addresses

    def __len__(self) -> int:
        return len(self.valid)

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"Embeddings({len(self)} clips x {len(self.layers)} layers of {self.encoder['name']}, "
            f"{self.pooling or 'frames'}, {self.dtype}; {self.hits} found, {self.computed} computed "
            f"in {self.seconds:.1f} s{skipped})"
        )

    @checked
    def layer(self, layer: str | int, *, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Return the pooled vectors of one layer.

        Parameters
        ----------
        layer : str or int
            A name in :attr:`layers`, or a position among them.
        rows : sequence of int or bool mask, optional
            Rows to read, in this order, for sets that do not fit into memory; by default all.

        Returns
        -------
        ndarray, float32 (N, D)

        Raises
        ------
        ParameterError
            There is no such layer or row, or the embeddings are frames, which have no single vector a clip.
        StoreError
            A shard was damaged or removed since ``embed``; calling ``embed`` again computes it again.
        """
        if self.pooling is None:
            raise ParameterError("pooling", None, "'mean' or 'mean+std' for .layer(); use .frames() or .flat()")
        name = self._name(layer)
        return gather(self._shards, self._addresses[name][self._rows(rows)], name)

    def stack(self) -> np.ndarray:
        """Return all layers as float32 (L, N, D).

        Raises
        ------
        ParameterError
            The layers have different dimensions D; the message lists them.
        """
        arrays = self.arrays()
        dims = {name: array.shape[1] for name, array in arrays.items()}
        if len(set(dims.values())) > 1:
            raise ParameterError("layers", dims, "of one dimension to be stacked; .arrays() gives them one by one")
        return np.stack(list(arrays.values()))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return each layer's vectors, float32 (N, D), by name."""
        return {name: self.layer(name) for name in self.layers}

    def frames(self, layer: str | int, row: int) -> np.ndarray:
        """Return the frames of one row, float32 (T, D), of embeddings made with ``pooling=None``."""
        return self.flat(layer, rows=[whole("row", row, least=-len(self), most=len(self) - 1)])[0]

    @checked
    def flat(
        self, layer: str | int, *, rows: Sequence[int] | np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames of many rows, concatenated, of embeddings made with ``pooling=None``.

        Returns
        -------
        frames : ndarray, float32 (sum of T, D)
        offsets : ndarray, int64 (N + 1,)
            Row ``r`` is ``frames[offsets[r]:offsets[r + 1]]``.

        Raises
        ------
        ParameterError
            There is no such layer or row, or the embeddings are pooled.
        StoreError
            As for :meth:`layer`.
        """
        if self.pooling is not None:
            raise ParameterError("pooling", self.pooling, "None to have frames; pooled vectors come from .layer()")
        name = self._name(layer)
        return gather_frames(self._shards, self._addresses[name][self._rows(rows)], name)

    @checked
    def flat_frames(self, layer: str | int) -> FlatFrames:
        """Return all frames of a layer as an array-like object that stays on disk, for ``pooling=None``.

        Raises
        ------
        ParameterError
            There is no such layer, or the embeddings are pooled.
        """
        if self.pooling is not None:
            raise ParameterError("pooling", self.pooling, "None to have frames; pooled vectors come from .layer()")
        name = self._name(layer)
        return FlatFrames(self._shards, self._addresses[name], name, self.fingerprint)

    def _name(self, layer: str | int) -> str:
        if isinstance(layer, str) and layer in self.layers:
            return layer
        if isinstance(layer, (int, np.integer)) and -len(self.layers) <= layer < len(self.layers):
            return self.layers[layer]
        raise ParameterError("layer", layer, f"a position or among {', '.join(self.layers)}")

    def _rows(self, rows: Sequence[int] | np.ndarray | None) -> slice | np.ndarray:
        if rows is None:
            return slice(None)
        rows = numbers("rows", rows, empty=True)
        if rows.dtype == bool and rows.shape == (len(self),):
            return np.flatnonzero(rows)
        return _positions(rows, len(self), f"positions in 0 ... {len(self) - 1}, or a mask of {len(self)}", -len(self))


def _positions(rows: Sequence[int] | np.ndarray, count: int, expected: str, least: int = 0) -> np.ndarray:
    """Check that rows are whole numbers from ``least`` to ``count`` - 1, and return them as int64 (n,)."""
    rows = numbers("rows", rows, empty=True)
    rows = rows.astype(np.int64) if rows.size == 0 else rows
    inside = rows.size == 0 or (rows.min() >= least and rows.max() < count)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not inside:
        raise ParameterError("rows", rows, expected)
    return rows.astype(np.int64)


class FlatFrames:
    """The frames of all clips, concatenated to (N, D), on disk; ``frames[rows]`` returns these rows.

    :meth:`Embeddings.flat_frames` makes it.

    Attributes
    ----------
    shape : tuple of int
        (N, D), where N is the number of frames of all clips together.
    offsets : ndarray, int64 (clips + 1,)
        Row r of the embeddings has the frames from ``offsets[r]`` up to, but not including, ``offsets[r + 1]``.
    lengths : ndarray, int64 (clips,)
        Number of frames of each row of the embeddings.
    fingerprint : str
        Layer, and hash of all that determines the numbers; equal ones mean equal frames.
    """

    def __init__(self, shards: list[Frames], addresses: np.ndarray, layer: str, fingerprint: str):
        self._shards, self._addresses, self._layer = shards, addresses, layer
        self.fingerprint = f"{fingerprint}, frames of {layer}"
        (lengths, self._starts), dim = np.zeros((2, len(addresses)), np.int64), 0
        for number in np.unique(addresses >> SHIFT):
            here = addresses >> SHIFT == number
            ends, rows = shards[number].offsets(layer), addresses[here] & (2**SHIFT - 1)
            lengths[here], self._starts[here] = np.diff(ends)[rows], ends[rows]
            dim = shards[number].layer(layer).shape[1]
        self.lengths, self.offsets = lengths, np.concatenate([[0], np.cumsum(lengths)])
        self.shape = (int(self.offsets[-1]), dim)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"FlatFrames({self.shape[0]} frames of {len(self._addresses)} clips x {self.shape[1]}, {self._layer})"

    def split(self, split: Split) -> Split:
        """Return the split of the frames in which all frames of a clip are in the part of the clip.

        Parameters
        ----------
        split : Split
            Split of the rows of the embeddings, one a clip.
        """
        return frame_split(split, self.lengths)

    def clip_of(self, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for each frame its row among the embeddings and its number in that row, int64 (n,) each."""
        rows = _positions(rows, len(self), f"positions in 0 ... {len(self) - 1}")
        clips = np.searchsorted(self.offsets, rows, side="right") - 1
        return clips, rows - self.offsets[clips]

    def __getitem__(self, rows: Sequence[int] | np.ndarray | slice) -> np.ndarray:
        """Return the frames at these positions, or at a slice, as float32 (n, D).

        When a clip's frames are read for the first time, all of them are read and compared with their checksum.
        """
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        clips, frames = self.clip_of(rows)
        numbers, places = self._addresses[clips] >> SHIFT, self._starts[clips] + frames
        out = np.empty((len(clips), self.shape[1]), np.float32)
        for number in np.unique(numbers):
            here = np.flatnonzero(numbers == number)
            here = here[np.argsort(places[here], kind="stable")]  # in their order on disk
            self._shards[number].check(self._layer, self._addresses[clips[here]] & (2**SHIFT - 1))
            out[here] = widen(self._shards[number].layer(self._layer)[places[here]])
        return out
