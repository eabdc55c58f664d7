"""From segments to tracks: what can be learnt from, how logits decide, and what classifiers of segments share."""

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
    """What a classifier says of tracks; made by :func:`decide`."""

    tracks: np.ndarray
    """The tracks, sorted, (n,)."""
    logits: np.ndarray
    """Mean over each track's segments, float64 (n, C)."""
    labels: np.ndarray
    """Labels of the columns, (C,)."""

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
    """Average segments' logits (N, C) over tracks (N,); without tracks each segment is one."""
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
    """What trained classifiers of segments share: logits become decisions of tracks, and all of it a folder.

    A subclass is a dataclass whose fields are config, labels and network, and others that JSON can hold.
    """

    CONFIG: ClassVar[type[Config]]

    @classmethod
    @abstractmethod
    def _built(cls, config: Config, classes: int, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The network before it has these tensors."""

    def predict(self, x: ArrayLike, tracks: ArrayLike | None = None) -> TrackDecisions:
        """Mean logits of each track's segments, and its label; without ``tracks`` (N,) each segment is one."""
        return decide(self.logits(x), self.labels, tracks)

    def _score(self, z: np.ndarray, y: ArrayLike, split: Split, tracks: ArrayLike | None) -> dict[str, float]:
        """Accuracy and balanced accuracy of the test tracks."""
        test = fitting(split, len(z), needed=("test",)).test
        tracks = np.arange(len(z)) if tracks is None else known(tracks, len(z), "tracks")
        return self.predict(z[test], tracks[test]).score(known(y, len(z), rows=test)[test], tracks[test])

    def evaluate(self, z: ArrayLike, y: ArrayLike, split: Split, tracks: ArrayLike | None = None) -> dict[str, float]:
        """Measure decisions on the test part: a task of :func:`workbench.study` returns this.

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
        """Write everything to a folder, and return it."""
        record = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "network"}
        return write_fitted(folder, type(self).__name__, self.network.state_dict(), record)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        WeightsError
            The folder is missing or damaged, or holds something else.
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
    """Vectors as float32 (N, D), finite."""
    z = numbers(name, z, finite=False, empty=True)
    with np.errstate(over="ignore"):  # what does not fit becomes inf and is named below
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
    """Check that inputs (N, ...), their labels and their tracks can be learnt from as the split says.

    Returns
    -------
    split : Split
    labels : np.ndarray (C,)
        The sorted labels of the training part.
    y : np.ndarray int64 (N,)
        Position of each input's label among them; -1 outside the split.
    tracks : np.ndarray (N,)
        Track of each input; its row where no tracks are given.

    Raises
    ------
    ParameterError
        An empty part that is needed, labels of a single class, missing labels, a class that is not in train, training
        inputs that are all the same, or a track in train and in another part.

    Warns
    -----
    UserWarning
        Classes that a part lacks, and inputs that are in train and in another part too.
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
    """Say how many inputs of another part are also among the training ones, number for number; float32 (N, ...)."""
    keys, others = ({}, 0)
    for row, key in enumerate(train.reshape(len(train), -1).sum(1, dtype=np.float32).tolist()):
        keys.setdefault(key, []).append(row)
    for row, key in enumerate(held.reshape(len(held), -1).sum(1, dtype=np.float32).tolist()):
        others += any(np.array_equal(train[own], held[row]) for own in keys.get(key, ())[:100])
    if others:
        warn(f"{others} of {len(held)} inputs of {part} are in train too, number for number: the figures flatter")


def columns(y: ArrayLike, labels: np.ndarray, n: int, name: str = "y") -> np.ndarray:
    """Labels (n,) as positions in the sorted ``labels``, int64."""
    y = known(y, n, name)
    y = np.array(y.tolist()) if y.dtype == object else y
    try:
        unknown = np.setdiff1d(y, labels)
    except TypeError:
        raise ParameterError(name, f"labels such as {y[0]!r}", f"of the kind of {labels[:1].tolist()}") from None
    if len(unknown):
        raise ParameterError(name, unknown.tolist(), "classes that are in train too")
    return np.searchsorted(labels, y).astype(np.int64)
