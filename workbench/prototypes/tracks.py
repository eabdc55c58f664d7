"""From segments to tracks: what classifiers of summary vectors take, and how their logits decide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ParameterError
from ..metrics.classification import accuracy, balanced_accuracy


@dataclass(frozen=True, eq=False)
class TrackDecisions:
    """What a classifier says of tracks; made by :func:`decide`."""

    tracks: np.ndarray
    """(n,) sorted."""
    logits: np.ndarray
    """Mean over each track's segments, float64 (n, C)."""
    labels: np.ndarray
    """Of the columns, (C,)."""

    @property
    def predictions(self) -> np.ndarray:
        """Label of the largest logit, (n,)."""
        return self.labels[self.logits.argmax(1)]

    def score(self, y: ArrayLike, tracks: ArrayLike) -> dict[str, float]:
        """``accuracy`` over tracks and ``balanced_accuracy``, the mean recall over classes.

        Parameters
        ----------
        y : array_like (N,)
            True label of each segment.
        tracks : array_like (N,)
            Track of each segment.

        Raises
        ------
        ParameterError
            A track that is not among the decided ones, or has two labels.
        """
        y, (names, first, member) = np.asarray(y), np.unique(tracks, return_index=True, return_inverse=True)
        if not np.array_equal(names, self.tracks):
            raise ParameterError("tracks", f"{len(names)} tracks", f"the {len(self.tracks)} that were decided")
        mixed = np.flatnonzero(y != y[first][member])
        if len(mixed):
            raise ParameterError(f"tracks[{mixed[0]}]", names.tolist()[member[mixed[0]]], "a track of one label")
        rates = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
        return {name: rate(y[first], self.predictions) for name, rate in rates.items()}


def decide(logits: ArrayLike, labels: ArrayLike, tracks: ArrayLike | None = None) -> TrackDecisions:
    """Average segments' logits (N, C) over tracks (N,); without tracks each segment is one."""
    logits = np.asarray(logits, dtype=np.float64)
    tracks = np.arange(len(logits)) if tracks is None else np.asarray(tracks)
    if tracks.shape != (len(logits),):
        raise ParameterError("tracks.shape", tracks.shape, f"({len(logits)},), one a segment")
    names, member = np.unique(tracks, return_inverse=True)
    sums = np.zeros((len(names), logits.shape[1]))
    np.add.at(sums, member, logits)
    return TrackDecisions(names, sums / np.bincount(member)[:, None], np.asarray(labels))


def checked(z: ArrayLike, name: str = "z") -> np.ndarray:
    """Vectors as float32 (N, D), finite."""
    z = np.asarray(z, dtype=np.float32)
    if z.ndim != 2 or not z.size:
        raise ParameterError(f"{name}.shape", z.shape, "(N, D), not empty")
    bad = ~np.isfinite(z).all(1)
    if bad.any():
        raise ParameterError(f"{name}[{int(bad.argmax())}]", "nan or inf", "finite")
    return z


def columns(y: ArrayLike, labels: np.ndarray, n: int, name: str = "y") -> np.ndarray:
    """Labels (n,) as positions in the sorted ``labels``, int64."""
    y = np.asarray(y)
    if y.shape != (n,):
        raise ParameterError(f"{name}.shape", y.shape, f"({n},), one a segment")
    unknown = np.setdiff1d(y, labels)
    if len(unknown):
        raise ParameterError(name, unknown.tolist(), "classes that have training segments")
    return np.searchsorted(labels, y).astype(np.int64)
