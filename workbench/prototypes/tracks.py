"""Classification of tracks by their segments: checks of the data, decisions from logits, and a common base class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from ..core.fitting import Config, load_weights, read_fitted, restored, seeded, write_fitted
from ..core.labels import known
from ..core.splits import PARTS, Split, fitting
from ..core.warn import warn
from ..metrics.classification import accuracy, balanced_accuracy


@dataclass(frozen=True, eq=False)
class TrackDecisions:
    """Decisions of a classifier for n tracks; made by :func:`decide`."""

    tracks: np.ndarray
    """Names of the tracks, sorted, (n,)."""
    logits: np.ndarray
    """Mean logits over each track's segments, float64 (n, C)."""
    labels: np.ndarray
    """Labels of the classes, in the order of the columns, (C,)."""

    @property
    def predictions(self) -> np.ndarray:
        """Label with the largest logit for each track, (n,)."""
        return self.labels[self.logits.argmax(1)]

    def score(self, y: ArrayLike, tracks: ArrayLike) -> dict[str, float]:
        """Return ``accuracy`` over tracks and ``balanced_accuracy``, the mean recall over classes.

        Parameters
        ----------
        y : array_like (N,)
            True label of each segment.
        tracks : array_like (N,)
            Track of each segment.

        Raises
        ------
        ParameterError
            If the tracks are not those that were decided, or a track has two labels.
        """
        tracks = known(tracks, name="tracks")
        y = known(y, len(tracks))
        names, first, member = np.unique(tracks, return_index=True, return_inverse=True)
        if not np.array_equal(names, self.tracks):
            raise ParameterError("tracks", f"{len(names)} tracks", f"the {len(self.tracks)} that were decided")
        mixed = np.flatnonzero(y != y[first][member])
        if len(mixed):
            raise ParameterError(f"tracks[{mixed[0]}]", names.tolist()[member[mixed[0]]], "a track of one label")
        true, predicted = y[first], self.predictions
        return {"accuracy": accuracy(true, predicted), "balanced_accuracy": balanced_accuracy(true, predicted)}


def decide(logits: ArrayLike, labels: ArrayLike, tracks: ArrayLike | None = None) -> TrackDecisions:
    """Average the logits (N, C) of segments over tracks (N,); without tracks each segment is a track."""
    logits = numbers("logits", logits, ndim=2).astype(np.float64)
    tracks = np.arange(len(logits)) if tracks is None else known(tracks, len(logits), "tracks")
    labels = known(labels, name="labels")
    if logits.shape[1] != len(labels):
        raise ParameterError("labels", f"{len(labels)} labels", f"{logits.shape[1]}, one a column of the logits")
    names, member = np.unique(tracks, return_inverse=True)
    sums = np.zeros((len(names), logits.shape[1]))
    np.add.at(sums, member, logits)
    return TrackDecisions(names, sums / np.bincount(member)[:, None], np.asarray(labels))


class TrackClassifier(ABC):
    """Base class of trained classifiers of segments, with decisions for tracks, saving and loading.

    A subclass is a dataclass with the fields config, labels and network, and other fields that JSON can represent.
    """

    CONFIG: ClassVar[type[Config]]

    @classmethod
    @abstractmethod
    def _built(cls, config: Config, classes: int, tensors: Mapping[str, Tensor]) -> nn.Module:
        """Return a network of the right shape for these tensors, before they are loaded."""

    def predict(self, x: ArrayLike, tracks: ArrayLike | None = None) -> TrackDecisions:
        """Classify tracks by the mean logits of their segments; without ``tracks`` (N,) each segment is a track."""
        return decide(self.logits(x), self.labels, tracks)

    def _score(self, z: np.ndarray, y: ArrayLike, split: Split, tracks: ArrayLike | None) -> dict[str, float]:
        """Return accuracy and balanced accuracy of the test tracks."""
        test = fitting(split, len(z), needed=("test",)).test
        tracks = np.arange(len(z)) if tracks is None else known(tracks, len(z), "tracks")
        return self.predict(z[test], tracks[test]).score(known(y, len(z), rows=test)[test], tracks[test])

    def evaluate(self, z: ArrayLike, y: ArrayLike, split: Split, tracks: ArrayLike | None = None) -> dict[str, float]:
        """Score the decisions on the test part; a task of :func:`workbench.study` can return the result.

        Parameters
        ----------
        z, y, split, tracks
            As in the training.

        Returns
        -------
        dict
            ``accuracy`` and ``balanced_accuracy`` of the test tracks, and ``seconds`` of the training.
        """
        return self._score(vectors(z), y, split, tracks) | {"seconds": self.seconds}

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the classifier to a folder, and return the folder."""
        record = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "network"}
        return write_fitted(folder, type(self).__name__, self.network.state_dict(), record)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> Self:
        """Read a classifier that :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, or holds something else.
        """
        tensors, record = read_fitted(folder, cls.__name__)
        config = restored(folder, record, "config", cls.CONFIG, what=cls.__name__)
        record |= {"config": config, "labels": np.asarray(record["labels"])}
        with seeded(0, torch.device("cpu")):
            network = cls._built(config, len(record["labels"]), tensors)
        load_weights(folder, network, tensors)
        record["network"] = network.eval().requires_grad_(False)
        return cls(**{field.name: record[field.name] for field in fields(cls)})


def vectors(z: ArrayLike, name: str = "z") -> np.ndarray:
    """Return vectors as float32 (N, D), or raise an error if their shape is wrong or they are not finite."""
    z = numbers(name, z, finite=False, empty=True)
    with np.errstate(over="ignore"):  # values too large for float32 become inf and are reported below
        z = z.astype(np.float32)
    if z.ndim != 2 or not z.size:
        raise ParameterError(f"{name}.shape", z.shape, "(N, D), not empty")
    bad = ~np.isfinite(z).all(1)
    if bad.any():
        raise ParameterError(f"{name}[{int(bad.argmax())}]", "nan or inf", "finite")
    return z


def checked_parts(
    x: np.ndarray, y: ArrayLike, split: Split, tracks: ArrayLike | None = None, *, needed: Sequence[str] = ("train",)
) -> tuple[Split, np.ndarray, np.ndarray, np.ndarray]:
    """Check that a classifier can be trained on inputs (N, ...), their labels and their tracks with this split.

    Returns
    -------
    split : Split
        The split, checked.
    labels : np.ndarray (C,)
        The sorted labels of the training part.
    y : np.ndarray int64 (N,)
        Position of each input's label in ``labels``; -1 outside the split.
    tracks : np.ndarray (N,)
        Track of each input; without tracks its row number.

    Raises
    ------
    ParameterError
        If a required part is empty, train has only one class, labels are missing, another part has a class that train
        lacks, all training inputs are equal, or a track is in train and in another part.

    Warns
    -----
    UserWarning
        If a part lacks some classes, or inputs of train are also in another part.
    """
    split = fitting(split, len(x), needed=needed)
    y = known(y, len(x), rows=np.concatenate(list(split)))
    tracks = np.arange(len(x)) if tracks is None else known(tracks, len(x), "tracks")
    labels, train = np.unique(y[split.train].tolist()), x[split.train]
    if len(labels) < 2:
        raise ParameterError("y of split.train", labels.tolist(), "labels of at least two classes")
    if (train == train[0]).all():
        raise ParameterError("inputs", f"{len(train)} training inputs that are all the same", "inputs that differ")
    numbered = np.full(len(x), -1, dtype=np.int64)
    for part, rows in zip(PARTS, split, strict=True):
        if not len(rows):
            continue
        numbered[rows] = columns(y[rows], labels, len(rows), f"y of split.{part}")
        if part == "train":
            continue
        if len(absent := labels[np.setdiff1d(np.arange(len(labels)), numbered[rows])]):
            few = ", ".join(map(str, absent[:5])) + (" ..." if len(absent) > 5 else "")
            warn(f"split.{part} has no clip of {len(absent)} of the {len(labels)} classes ({few})")
        if len(shared := np.intersect1d(tracks[split.train], tracks[rows])):
            raise ParameterError("tracks", shared[:5].tolist(), f"in split.train or in split.{part}, not in both")
        _warn_shared(train, x[rows], f"split.{part}")
    return split, labels, numbered, tracks


def _warn_shared(train: np.ndarray, held: np.ndarray, part: str) -> None:
    """Warn if inputs of another part, float32 (N, ...), are exactly equal to training inputs."""
    keys, others = ({}, 0)
    for row, key in enumerate(train.reshape(len(train), -1).sum(1, dtype=np.float32).tolist()):
        keys.setdefault(key, []).append(row)
    for row, key in enumerate(held.reshape(len(held), -1).sum(1, dtype=np.float32).tolist()):
        others += any(np.array_equal(train[own], held[row]) for own in keys.get(key, ())[:100])
    if others:
        warn(f"{others} of {len(held)} inputs of {part} are in train too, number for number: scores are too optimistic")


def columns(y: ArrayLike, labels: np.ndarray, n: int, name: str = "y") -> np.ndarray:
    """Return labels (n,) as positions in the sorted ``labels``, int64."""
    y = known(y, n, name)
    y = np.array(y.tolist()) if y.dtype == object else y
    try:
        unknown = np.setdiff1d(y, labels)
    except TypeError:
        raise ParameterError(name, f"labels such as {y[0]!r}", f"of the kind of {labels[:1].tolist()}") from None
    if len(unknown):
        raise ParameterError(name, unknown.tolist(), "classes that are in train too")
    return np.searchsorted(labels, y).astype(np.int64)
