"""Common base of the interpreters that are trained to imitate a classifier: training, scores, saving and loading."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.fitting import Config, load_weights, read_fitted, reading, restored, train, write_fitted
from ..core.splits import Split, fitting
from ..core.warn import warn
from .classifiers import Classifier, spectra_for
from .spectra import Spectra

if TYPE_CHECKING:
    import pandas as pd

#: Number of clips processed at once outside training.
BATCH = 32
#: Largest size in bytes of feature maps and spectrograms that are kept between epochs; otherwise they are recomputed.
KEPT_BYTES = 6e9


class Interpreter(ABC):
    """Base class of networks that imitate a frozen classifier, on the classifier's device.

    Attributes
    ----------
    classifier : Classifier
        The classifier that is imitated.
    spectra : Spectra
        Spectra of the explanations.
    config : Config
        Configuration of the training.
    module : nn.Module
        All trained networks, in eval mode and without gradients.
    history : pandas.DataFrame or None
        One row per epoch: the terms of the loss over the training clips, and fidelity and loss on the clips by which
        the epoch is selected. None if the interpreter was not trained by its fit function.
    """

    CONFIG: ClassVar[type[Config]]
    #: Columns of the history for the results of ``terms``; the fidelity loss is the first.
    TERMS: ClassVar[tuple[str, ...]]
    history: pd.DataFrame | None = None

    def __init__(
        self,
        classifier: Classifier,
        spectra: Spectra,
        config: Any,
        module: nn.Module,
        frames: int,
        sizes: dict[str, Any],
    ):
        self.classifier, self.spectra, self.config = classifier, spectra, config
        self.module = module.to(classifier.device).eval().requires_grad_(False)
        self.frames, self._sizes = frames, sizes

    @torch.no_grad()
    def scores(self, x: ArrayLike | Tensor) -> np.ndarray:
        """Return the scores that imitate the classifier's, float32 (N, C), for waveforms (N, samples)."""
        return torch.cat([self._scores(part).cpu() for part in self._clips(x).split(BATCH)]).numpy()

    @checked
    def save(self, folder: str | os.PathLike) -> Path:
        """Write everything except the classifier to a folder, and return the folder.

        Raises
        ------
        WeightsError
            If the folder cannot be written to.
        """
        record = {"config": self.config, "spectra": self.spectra, "sizes": self._sizes}
        record |= {"classifier": self.classifier.fingerprint}
        record |= {} if self.history is None else {"history": self.history}
        return write_fitted(folder, type(self).__name__, self.module.state_dict(), record)

    @classmethod
    @checked
    def load(cls, folder: str | os.PathLike, classifier: Classifier) -> Self:
        """Read an interpreter that :meth:`save` wrote, to the device of the classifier that it imitates.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, or holds something else.
        ParameterError
            If the classifier, by its fingerprint, is not that with which the interpreter was trained.
        """
        tensors, record = read_fitted(folder, cls.__name__)
        spectra_for(classifier, None)
        if record.get("classifier") != classifier.fingerprint:
            expected = f"the one that {folder} was trained on, of fingerprint {record.get('classifier')}"
            raise ParameterError("classifier", f"{classifier.name}, {classifier.fingerprint}", expected)
        config = restored(folder, record, "config", cls.CONFIG, what=cls.__name__)
        spectra = restored(folder, record, "spectra", Spectra, what=cls.__name__)
        with reading(folder, cls.__name__):
            loaded = cls._built(classifier, spectra, config, **record["sizes"])
        load_weights(folder, loaded.module, tensors)
        loaded.history = record.get("history")
        return loaded

    @classmethod
    def _built(cls, classifier: Classifier, spectra: Spectra, config: Any, **sizes: Any) -> Self:
        """Return an interpreter with initial weights, which are then trained or loaded."""
        return cls(classifier, spectra, config=config, **sizes)

    def _clips(self, x: ArrayLike | Tensor) -> Tensor:
        """Return the waveforms, or raise an error if their length is not that of the training."""
        x = self.classifier.waveforms(x)
        frames = self.spectra.stft(x[:1]).shape[-1]  # raises an error for clips that are shorter than a window
        if frames != self.frames:
            expected = f"clips of {self.frames} frames, as in training, not {frames}"
            raise ParameterError("x.shape", tuple(x.shape), expected)
        return x

    @abstractmethod
    def _scores(self, x: Tensor) -> Tensor:
        """Return the scores (B, C) of one batch of clips."""


def prepared(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    split: Split,
    spectra: Spectra | None,
    *,
    needed: tuple[str, ...] = ("train", "valid"),
) -> tuple[Tensor, Split, Spectra]:
    """Check waveforms, split and spectra for the training of an interpreter, and return them."""
    spectra = spectra_for(classifier, spectra)
    x = classifier.waveforms(x)
    spectra.stft(x[:1])  # raises an error for clips that are shorter than a window
    split = fitting(split, len(x), needed=needed)
    silent = int((x[torch.from_numpy(split.train)].abs().amax(1) == 0).sum())
    if silent == len(split.train):
        raise ParameterError("x", f"{silent} training clips that are all silent", "sounds")
    if silent:
        warn(f"{silent} of {len(split.train)} training clips are silent")
    return x, split, spectra


def batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Divide rows into batches of nearly equal size, none larger than ``size``."""
    return np.array_split(rows, math.ceil(len(rows) / size))


def imitate(
    interpreter: Any,
    x: Tensor,
    rows: np.ndarray,
    watched: np.ndarray,
    *,
    choose: bool = True,
    falls: Iterable[str] = ("fidelity_loss",),
    seed: int,
    **options: Any,
) -> None:
    """Train an interpreter in place on the sum of its ``terms`` times their ``weights``, and set its history.

    The training clips are ``rows``. After every epoch fidelity is measured on the clips ``watched`` (there may be
    none). With ``choose`` the epoch with the highest fidelity is kept (in a tie, that with the lowest loss), otherwise
    the last one. If the sum of the terms named in ``falls`` does not decrease, nothing was learnt. ``seed`` is that of
    the order of clips.
    """
    classifier, config, name = interpreter.classifier, interpreter.config, type(interpreter).__name__
    seen, module = Seen(classifier, interpreter.spectra, x), interpreter.module.requires_grad_()
    adam, rng = torch.optim.Adam(module.parameters(), lr=config.learning_rate), np.random.default_rng(seed)

    def epoch(i: int) -> dict[str, float]:
        weights = torch.tensor(interpreter.weights(i), device=classifier.device)
        sums = np.zeros(len(interpreter.TERMS))
        for batch in batches(rng.permutation(rows), config.batch):
            terms = torch.stack(interpreter.terms(*seen(batch))[0])
            adam.zero_grad()
            (terms * weights).sum().backward()
            adam.step()
            sums += terms.detach().cpu().numpy() * len(batch)
        return dict(zip(interpreter.TERMS, (sums / len(rows)).tolist(), strict=True))

    @torch.no_grad()
    def validate() -> dict[str, float]:
        same = loss = 0.0
        for batch in batches(watched, BATCH):
            logits, maps, target = seen(batch)
            (fidelity, *_), scores = interpreter.terms(logits, maps, target)
            loss += float(fidelity) * len(batch)
            same += float(agreement(logits, scores, multilabel=classifier.multilabel).sum())
        return {"fidelity": same / len(watched), "valid_loss": loss / len(watched)}

    def identity() -> str:
        parts = name, config, interpreter.spectra, seed, classifier.fingerprint, rows.tolist(), watched.tolist()
        return fingerprint(*parts, weights={"x": x, **module.state_dict()})

    interpreter.history, _ = train(
        epoch,
        config.epochs,
        module=module,
        optimizer=adam,
        validate=validate if len(watched) else None,
        score=(lambda row: (row["fidelity"], -row["valid_loss"])) if choose else None,
        loss=lambda row: sum(row[term] for term in falls),
        learning_rate=config.learning_rate,
        name=name,
        generators=[rng],
        identity=identity,
        **options,
    )
    module.requires_grad_(False)


def fidelity_loss(logits: Tensor, scores: Tensor, *, multilabel: bool) -> Tensor:
    """Cross-entropy between the classifier's and the interpreter's probabilities, averaged over clips (and labels)."""
    if multilabel:
        return F.binary_cross_entropy_with_logits(scores, logits.sigmoid())
    return F.cross_entropy(scores, logits.softmax(1))


def agreement(logits: Tensor, scores: Tensor, *, multilabel: bool) -> Tensor:
    """Whether each clip gets the same class, or its share of labels with the same decision at probability 1/2; (B,)."""
    if multilabel:
        return ((scores > 0) == (logits > 0)).float().mean(1)
    return (scores.argmax(1) == logits.argmax(1)).float()


class Seen:
    """Scores and feature maps of the classifier, and log magnitudes, of clips by row number.

    The classifier is frozen, so these are computed once and kept in half precision if they fit in memory.
    """

    def __init__(self, classifier: Classifier, spectra: Spectra, x: Tensor):
        self.classifier, self.spectra, self.x = classifier, spectra, x
        numbers = sum(math.prod(shape) for shape in classifier.shapes(x.shape[1]))
        numbers += spectra.bins * spectra.frames(x.shape[1])
        self.kept: dict[int, tuple[Tensor, ...]] | None = {} if 2 * numbers * len(x) <= KEPT_BYTES else None

    def __call__(self, rows: np.ndarray) -> tuple[Tensor, list[Tensor], Tensor]:
        if self.kept is None:
            return self._compute(rows)
        if new := [row for row in rows.tolist() if row not in self.kept]:
            logits, maps, target = self._compute(np.array(new))
            for i, row in enumerate(new):
                self.kept[row] = (logits[i], *(values[i].half() for values in (*maps, target)))
        logits, *rest = (torch.stack(part) for part in zip(*(self.kept[row] for row in rows.tolist()), strict=True))
        *maps, target = (values.float() for values in rest)
        return logits, maps, target

    @torch.no_grad()
    def _compute(self, rows: np.ndarray) -> tuple[Tensor, list[Tensor], Tensor]:
        x = self.x[torch.from_numpy(rows)].to(self.classifier.device)
        target = self.spectra.analyse(x)[0]
        logits, maps = self.classifier.tapped(x)
        self.classifier.checked(logits.cpu().numpy())
        return logits, maps, target
