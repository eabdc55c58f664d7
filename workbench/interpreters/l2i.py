"""Listen to Interpret: a small network that imitates a classifier through a dictionary of sounds.

Parekh et al., "Listen to interpret: post-hoc interpretability for audio networks with NMF" (NeurIPS 2022, arXiv
2202.11479). A dictionary W (F, K) of spectra is learnt before; :class:`~.psi.Psi` reads from the classifier's inner
maps how loud each component is over time, H (K, T), such that W H is the clip's spectrogram; :class:`~.psi.Theta`
predicts the classifier's decision from H linearly. A decision then is explained by few components, which can be heard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from ..core.checks import checked, choice, numbers
from ..core.errors import ParameterError
from ..core.learning import RATES, check_loss, configured, settle, unlearnt, warn_unlearnt
from ..core.warn import warn
from .classifiers import Classifier, real
from .interpretation import Interpretation
from .psi import Psi, Theta
from .spectra import Spectra

if TYPE_CHECKING:
    import pandas as pd

#: Clips at once where nothing is trained.
BATCH = 32
#: Most bytes of maps and spectrograms that are kept between epochs; more are computed anew in each.
KEPT_BYTES = 6e9


@dataclass(frozen=True)
class L2IConfig:
    """How Psi and Theta are trained; the defaults are those of the paper's code for ESC-50, with one exception."""

    pooling: str = "attention"
    """Of Theta: "attention" or "max"."""
    width: int = 256
    """Channels of Psi's trunk."""
    reconstruction: float = 10.0
    """alpha, weight of the mean squared error of W H."""
    sparsity: float = 0.8
    """beta, weight of the mean of H."""
    halved_after: int = 19
    """Epochs after which both weights are halved."""
    epochs: int = 35
    """Times that the training clips are seen."""
    batch: int = 32
    """Clips a step."""
    learning_rate: float = 2e-4
    """Of Adam."""
    keep: str = "best"
    """"best": the epoch of highest fidelity on the validation clips (ties: lowest loss); "last". The paper's code keeps
    the best on the test fold."""

    def __post_init__(self):
        choice("pooling", self.pooling, ("attention", "max"))
        choice("keep", self.keep, ("best", "last"))
        weights = dict.fromkeys(("reconstruction", "sparsity", "halved_after"), {"least": 0})
        counts = dict.fromkeys(("epochs", "batch"), {"least": 1})
        settle(self, **weights, **counts, width={"least": 2}, learning_rate=RATES)


class L2I:
    """A trained interpreter; made by :func:`train_l2i`.

    Attributes
    ----------
    classifier : Classifier
    spectra : Spectra
    dictionary : Tensor, float32 (F, K)
        Columns of length 1.
    psi, theta : nn.Module
    config : L2IConfig
    history : pandas.DataFrame
        Row an epoch: the losses over training clips, and the fidelity on validation clips.
    """

    def __init__(self, classifier: Classifier, spectra: Spectra, dictionary: Tensor, psi: Psi, theta: Theta, config):
        self.classifier, self.spectra, self.config = classifier, spectra, config
        self.dictionary, self.psi, self.theta = dictionary, psi.eval(), theta.eval()
        self.history: pd.DataFrame | None = None

    def __repr__(self) -> str:
        return f"L2I({self.classifier.name}; {self.dictionary.shape[1]} components, {self.theta.pooling})"

    @torch.no_grad()
    def scores(self, x: ArrayLike | Tensor) -> np.ndarray:
        """Theta's scores, float32 (N, C), of waveforms (N, samples): what imitates the classifier's."""
        parts = self._fitting(x).split(BATCH)
        return torch.cat([self.theta(self.psi(self.classifier.tapped(part)[1]))[0].cpu() for part in parts]).numpy()

    @torch.no_grad()
    def explain(self, x: ArrayLike | Tensor, *, classes: ArrayLike | None = None) -> list[Interpretation]:
        """Explain decisions.

        Parameters
        ----------
        x : array_like (N, samples)
            Waveforms at the classifier's rate, as it hears them.
        classes : array_like of int (N,), optional
            Which class of each clip is to be explained; default: the classifier's decision.

        Returns
        -------
        list of Interpretation

        Raises
        ------
        ParameterError
            Clips of another length than in training, values or scores that are not finite.
        """
        x = self._fitting(x)
        if classes is not None:
            classes = positions("classes", classes, len(x), len(self.classifier.classes))
        found = []
        for at in range(0, len(x), BATCH):
            part = x[at : at + BATCH].to(self.classifier.device)
            log_magnitude, phase = self.spectra.analyse(part)
            logits, maps = self.classifier.tapped(part)
            h = self.psi(maps)
            scores, z = self.theta(h)
            self.classifier.checked(logits.cpu().numpy())
            wanted = (logits.argmax(1).cpu().numpy() if classes is None else classes[at : at + BATCH]).tolist()
            for i, c in enumerate(wanted):
                found.append(
                    Interpretation(
                        classes=self.classifier.classes,
                        index=int(c),
                        waveform_in=part[i].cpu(),
                        log_magnitude=log_magnitude[i].cpu(),
                        phase=phase[i].cpu(),
                        dictionary=self.dictionary.cpu(),
                        activations=h[i].cpu(),
                        pooled=z[i].cpu(),
                        weights=self.theta.classes.weight[int(c)].cpu(),
                        logits=logits[i].cpu().numpy(),
                        scores=scores[i].cpu().numpy(),
                        spectra=self.spectra,
                    )
                )
        return found

    def _fitting(self, x: ArrayLike | Tensor) -> Tensor:
        """Waveforms of the length of training."""
        x = self.classifier.waveforms(x)
        frames = self.spectra.stft(x[:1]).shape[-1]  # which refuses what is shorter than a window
        if frames != self.psi.frames:
            expected = f"clips of {self.psi.frames} frames, as in training, not {frames}"
            raise ParameterError("x.shape", tuple(x.shape), expected)
        return x


def positions(name: str, classes: ArrayLike, count: int, most: int) -> np.ndarray:
    """A class for each of ``count`` clips, as numbers from 0 to ``most`` - 1, int64."""
    found = numbers(name, classes, ndim=1)
    if found.dtype.kind not in "iu" or len(found) != count or found.min() < 0 or found.max() >= most:
        raise ParameterError(name, found.tolist()[:5], f"{count} whole numbers from 0 to {most - 1}, one a clip")
    return found.astype(np.int64)


def prepared(
    classifier: Classifier, x: ArrayLike | Tensor, split: object, spectra: Spectra | None, *, choosing: bool = True
) -> tuple[Tensor, np.ndarray, np.ndarray, Spectra]:
    """What every training of an interpreter starts from: waveforms, rows of train and of valid, spectra.

    Raises
    ------
    ParameterError
        Spectra at another rate than the classifier's, waveforms that are too short for a window or not finite, rows
        that are none, outside, twice or in both parts; no clips in a part that is needed.

    Warns
    -----
    UserWarning
        Some training clips are silent.
    """
    if not isinstance(classifier, Classifier):
        raise ParameterError("classifier", type(classifier).__name__, "a Classifier")
    spectra = Spectra(rate=classifier.rate) if spectra is None else spectra
    if not isinstance(spectra, Spectra):
        raise ParameterError("spectra", spectra, "Spectra")
    if spectra.rate != classifier.rate:
        raise ParameterError("spectra.rate", spectra.rate, f"{classifier.rate}, that of {classifier.name}")
    x = classifier.waveforms(x)
    spectra.stft(x[:1])  # which refuses what is shorter than a window
    train, valid = training_rows(split, len(x))
    if not len(train) or (choosing and not len(valid)):
        raise ParameterError("split", f"{len(train)} train, {len(valid)} valid", "clips in both")
    silent = int((x[torch.from_numpy(train)].abs().amax(1) == 0).sum())
    if silent == len(train):
        raise ParameterError("x", f"{silent} training clips that are all silent", "sounds")
    if silent:
        warn(f"{silent} of {len(train)} training clips are silent")
    return x, train, valid, spectra


def training_rows(split: object, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of train and of valid, int64, of a split that is an object, a mapping or a tuple."""
    if isinstance(split, (tuple, list)) and not hasattr(split, "train"):
        split = dict(zip(("train", "valid", "test"), split, strict=False))
    found = []
    for name in ("train", "valid"):
        rows = split.get(name) if isinstance(split, Mapping) else getattr(split, name, None)
        if rows is None and name == "train":
            raise ParameterError("split", type(split).__name__, "an object, mapping or 3-tuple with train and valid")
        rows = numbers(f"split.{name}", [] if rows is None else rows, ndim=1, empty=True)
        rows = np.flatnonzero(rows) if rows.dtype == bool and len(rows) == count else rows
        if len(rows) and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= count):
            expected = f"positions from 0 to {count - 1}, or a mask of {count}"
            raise ParameterError(f"split.{name}", f"{rows.dtype} {rows[:5].tolist()}", expected)
        found.append(rows.astype(np.int64))
    several, times = np.unique(np.concatenate(found), return_counts=True)
    if (times > 1).any():
        raise ParameterError("split", several[times > 1][:5].tolist(), "disjoint: these clips occur more than once")
    return found[0], found[1]


@checked
def train_l2i(
    classifier: Classifier,
    dictionary: ArrayLike,
    x: ArrayLike | Tensor,
    split: object,
    *,
    spectra: Spectra | None = None,
    config: L2IConfig | None = None,
    seed: int = 0,
    progress: bool = True,
    **fields: object,
) -> L2I:
    """Train an interpreter of a frozen classifier. No label is used: the classifier's scores are the targets.

    The loss is ``L_fidelity + alpha mean (X - W H)^2 + beta mean H``; the fidelity term is the cross-entropy between
    the classifier's and Theta's class probabilities, or of multilabel classifiers the mean binary one.

    Parameters
    ----------
    classifier : Classifier
        With taps.
    dictionary : array_like (F, K)
        Spectra of the components, 0 or more; brought to length 1.
    x : array_like (N, samples)
        Waveforms at the classifier's rate, at a peak of 1 (:func:`~.spectra.normalised`).
    split : object with ``train`` and ``valid`` rows
    spectra : Spectra, optional
        Default: the paper's windows at the classifier's rate.
    config : L2IConfig, optional
    seed : int
        Of weights, order and dropout.
    progress : bool
    **fields
        Of :class:`L2IConfig`, in place of ``config``'s.

    Returns
    -------
    L2I

    Raises
    ------
    ParameterError
        Shapes that do not fit, a negative or empty component, no validation clips where one epoch is chosen by them, a
        loss that is not finite.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    config = configured(L2IConfig, config, fields)
    x, train, valid, spectra = prepared(classifier, x, split, spectra, choosing=config.keep == "best")
    w = _dictionary(dictionary, spectra).to(classifier.device)
    seen = Seen(classifier, spectra, x)
    with torch.random.fork_rng(devices=[classifier.device] if classifier.device.type == "cuda" else []):
        torch.manual_seed(seed)
        shapes, frames = classifier.shapes(x.shape[1]), spectra.frames(x.shape[1])
        psi = Psi(shapes, w.shape[1], frames, width=config.width).to(classifier.device)
        theta = Theta(w.shape[1], len(classifier.classes), pooling=config.pooling).to(classifier.device)
        found = L2I(classifier, spectra, w, psi, theta, config)
        trained = [*psi.parameters(), *theta.parameters()]
        adam = torch.optim.Adam(trained, lr=config.learning_rate)
        rng, history, best, kept = np.random.default_rng(seed), [], (-math.inf, -math.inf), None
        chosen = None
        for epoch in tqdm(range(config.epochs), disable=not progress, desc="L2I epochs", leave=False):
            weight = 1.0 if epoch < config.halved_after else 0.5
            psi.train(), theta.train()
            sums = np.zeros(3)
            for rows in np.array_split(rng.permutation(train), math.ceil(len(train) / config.batch)):
                losses = torch.stack(_losses(found, *seen(rows)))
                total = losses[0] + weight * (config.reconstruction * losses[1] + config.sparsity * losses[2])
                adam.zero_grad()
                total.backward()
                adam.step()
                sums += losses.detach().cpu().numpy() * len(rows)
            psi.eval(), theta.eval()
            names = ("fidelity_loss", "squared_error", "mean_activation")
            row = {"epoch": epoch} | dict(zip(names, sums / len(train), strict=True))
            check_loss(float(sums.sum()), config.learning_rate, f"epoch {epoch}")
            if len(valid):
                row |= _validate(found, seen, valid)
            history.append(row)
            if config.keep == "best" and (now := (row["fidelity"], -row["valid_loss"])) > best:
                best, chosen = now, epoch
                kept = {name: value.clone() for name, value in _state(found).items()}
        if kept is not None:
            for name, value in _state(found).items():
                value.copy_(kept[name])
    found.history = pd.DataFrame(history)
    reason = unlearnt(found.history["fidelity_loss"].tolist(), chosen)
    warn_unlearnt("train_l2i", reason, f"learning_rate={config.learning_rate:g}, epochs={config.epochs}")
    for parameter in trained:
        parameter.requires_grad_(False)
    return found


def fidelity_loss(logits: Tensor, scores: Tensor, *, multilabel: bool) -> Tensor:
    """Cross-entropy of Theta's probabilities under the classifier's, mean over clips (of labels: and over classes)."""
    if multilabel:
        return F.binary_cross_entropy_with_logits(scores, logits.sigmoid())
    return F.cross_entropy(scores, logits.softmax(1))


def _losses(found: L2I, logits: Tensor, maps: list[Tensor], target: Tensor) -> list[Tensor]:
    h = found.psi(maps)
    scores, _ = found.theta(h)
    error = (found.dictionary @ h - target).square().mean()
    return [fidelity_loss(logits, scores, multilabel=found.classifier.multilabel), error, h.mean()]


@torch.no_grad()
def _validate(found: L2I, seen: Seen, valid: np.ndarray) -> dict[str, float]:
    right, losses = 0.0, 0.0
    for rows in np.array_split(valid, math.ceil(len(valid) / BATCH)):
        logits, maps, target = seen(rows)
        losses += float(sum(_losses(found, logits, maps, target)[:1])) * len(rows)
        scores, _ = found.theta(found.psi(maps))
        if found.classifier.multilabel:
            right += float(((scores > 0) == (logits > 0)).float().mean(1).sum())
        else:
            right += float((scores.argmax(1) == logits.argmax(1)).sum())
    return {"fidelity": right / len(valid), "valid_loss": losses / len(valid)}


def _state(found: L2I) -> dict[str, Tensor]:
    parts = {"psi": found.psi, "theta": found.theta}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


def _dictionary(dictionary: ArrayLike, spectra: Spectra) -> Tensor:
    w = real("dictionary", dictionary).cpu().clone()
    if w.ndim != 2 or w.shape[0] != spectra.bins:
        raise ParameterError("dictionary.shape", tuple(w.shape), f"({spectra.bins}, K), a column a component")
    length = w.norm(dim=0)
    if not (w.isfinite().all() and (w >= 0).all() and (length > 0).all()):
        raise ParameterError("dictionary", "negative, not finite or with an empty column", "0 or more, no column empty")
    return w / length


class Seen:
    """What training needs of clips by row: the classifier's scores and maps, and the log magnitudes.

    The classifier is frozen, so all is computed once and kept in half precision, as long as it fits.
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
                self.kept[row] = (logits[i], *(one[i].half() for one in (*maps, target)))
        logits, *rest = (torch.stack(one) for one in zip(*(self.kept[row] for row in rows.tolist()), strict=True))
        *maps, target = (one.float() for one in rest)
        return logits, maps, target

    @torch.no_grad()
    def _compute(self, rows: np.ndarray) -> tuple[Tensor, list[Tensor], Tensor]:
        x = self.x[torch.from_numpy(rows)].to(self.classifier.device)
        target = self.spectra.analyse(x)[0]
        logits, maps = self.classifier.tapped(x)
        self.classifier.checked(logits.cpu().numpy())
        return logits, maps, target
