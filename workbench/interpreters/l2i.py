"""Listen to Interpret: a small network that imitates a classifier by means of a dictionary of spectra.

Parekh et al., "Listen to interpret: post-hoc interpretability for audio networks with NMF" (NeurIPS 2022, arXiv
2202.11479). A dictionary W (F, K) of spectra is learnt first. :class:`~.psi.Psi` computes activations H (K, T) of its
components from the classifier's feature maps, such that W H approximates the clip's spectrogram. :class:`~.psi.Theta`
pools H over time and predicts the classifier's decision by a linear map. A decision is then explained by a few
components, which can be played.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..core.checks import checked, choice
from ..core.errors import ParameterError
from ..core.fitting import RATES, Config, seeded, settle
from ..core.progress import Progress
from ..core.splits import Split
from ..core.warn import warn
from .classifiers import Classifier, real
from .imitation import BATCH, Interpreter, fidelity_loss, imitate, prepared
from .interpretation import RULES, Interpretation
from .psi import Psi, Theta
from .spectra import Spectra


@dataclass(frozen=True)
class L2IConfig(Config):
    """Configuration of Psi, Theta, training and explanations.

    Except for ``keep`` and ``rules``, the defaults are those of the authors' code for ESC-50.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {"paper": {"keep": "test", "rules": "paper"}}

    pooling: Literal["attention", "max"] = "attention"
    """How Theta pools the activations over time: by attention or by their maximum."""
    width: int = 256
    """Number of channels of Psi's trunk."""
    reconstruction: float = 10.0
    """Weight alpha of the mean squared error of W H."""
    sparsity: float = 0.8
    """Weight beta of the mean of H."""
    halved_after: int = 19
    """Number of epochs after which both weights are halved."""
    epochs: int = 35
    """Number of passes over the training clips."""
    batch: int = 32
    """Largest number of clips per step."""
    learning_rate: float = 2e-4
    """Learning rate of Adam, constant."""
    keep: Literal["best", "last", "test"] = "best"
    """Which epoch's weights to keep: that with the highest fidelity on the validation clips (in a tie, the lowest
    loss), the last one, or, as in the paper's code, the best on the test clips, which makes test results too
    optimistic."""
    rules: Literal["default", "paper"] = "default"
    """Rules by which explanations are made of relevance (:attr:`.Interpretation.rules`); they do not change the
    training."""

    def __post_init__(self):
        weights = dict.fromkeys(("reconstruction", "sparsity", "halved_after"), {"least": 0})
        counts = dict.fromkeys(("epochs", "batch"), {"least": 1})
        settle(self, **weights, **counts, width={"least": 2}, learning_rate=RATES)


class L2I(Interpreter):
    """A trained Listen to Interpret network; made by :func:`fit_l2i`, or directly from a Psi and a Theta.

    Attributes
    ----------
    dictionary : Tensor, float32 (F, K)
        Spectra of the components, as columns of length 1.
    psi, theta : Psi, Theta
        The two networks.

    The other attributes are those of :class:`~.imitation.Interpreter`.
    """

    CONFIG = L2IConfig
    TERMS = ("fidelity_loss", "squared_error", "mean_activation")

    def __init__(
        self,
        classifier: Classifier,
        spectra: Spectra,
        dictionary: Tensor,
        psi: Psi,
        theta: Theta,
        config: L2IConfig | str | None = None,
    ):
        for name, value, kind in (("psi", psi, Psi), ("theta", theta, Theta)):
            if not isinstance(value, kind):
                raise ParameterError(name, type(value).__name__, f"a {kind.__name__}")
        config = L2IConfig.named(config, pooling=theta.pooling, width=psi.join.out_channels)
        module = nn.ModuleDict({"psi": psi, "theta": theta})
        w, made = checked_dictionary(dictionary, spectra), (psi.out.out_channels, *theta.classes.weight.shape)
        if made != (w.shape[1], len(classifier.classes), w.shape[1]):
            expected = f"made for {w.shape[1]} components and {len(classifier.classes)} classes"
            raise ParameterError("psi, theta", f"components, classes, components: {made}", expected)
        module.register_buffer("dictionary", w / w.norm(dim=0))
        sizes = {"shapes": psi.shapes, "components": w.shape[1], "frames": psi.frames}
        super().__init__(classifier, spectra, config, module, psi.frames, sizes)
        self.psi, self.theta = psi, theta

    def __repr__(self) -> str:
        return f"L2I({self.classifier.name}; {self.dictionary.shape[1]} components, {self.theta.pooling})"

    @property
    def dictionary(self) -> Tensor:
        return self.module.dictionary

    @torch.no_grad()
    def explain(
        self, x: ArrayLike | Tensor, *, classes: ArrayLike | None = None, rules: str | None = None
    ) -> list[Interpretation]:
        """Explain the decisions for clips.

        Parameters
        ----------
        x : array_like (N, samples)
            Waveforms at the classifier's rate.
        classes : array_like of int (N,), optional
            Number of the class to be explained for each clip; by default the classifier's decision.
        rules : {"default", "paper"}, optional
            Rules of relevance, selection and masks (:attr:`.Interpretation.rules`); by default those of the
            configuration.

        Returns
        -------
        list of Interpretation
            One explanation per clip.

        Raises
        ------
        ParameterError
            If clips have another length than in training, or values or scores are not finite.
        """
        x, rules = self._clips(x), self.config.rules if rules is None else choice("rules", rules, RULES)
        if classes is not None:
            classes = torch.from_numpy(self.classifier.positions(classes, len(x)))
        explained = []
        for at in range(0, len(x), BATCH):
            part = x[at : at + BATCH].to(self.classifier.device)
            log_magnitude, phase = self.spectra.analyse(part)
            logits, maps = self.classifier.tapped(part)
            h = self.psi(maps)
            scores, z = self.theta(h)
            self.classifier.checked(logits.cpu().numpy())
            wanted = logits.argmax(1).cpu() if classes is None else classes[at : at + BATCH]
            weights = self.theta.classes.weight.cpu()[wanted]
            parts = (values.cpu() for values in (part, log_magnitude, phase, h, z, weights, logits, scores))
            for c, *own in zip(wanted.tolist(), *parts, strict=True):
                said = (values.numpy() for values in own[6:])
                clip = (
                    self.classifier.classes,
                    c,
                    *own[:3],
                    self.dictionary.cpu(),
                    *own[3:6],
                    *said,
                    self.spectra,
                    rules,
                )
                explained.append(Interpretation(*clip))
        return explained

    def terms(self, logits: Tensor, maps: list[Tensor], target: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return fidelity loss, mean squared error of W H and mean of H, without weights, and Theta's scores (B, C)."""
        h = self.psi(maps)
        scores, _ = self.theta(h)
        error = (self.dictionary @ h - target).square().mean()
        return [fidelity_loss(logits, scores, multilabel=self.classifier.multilabel), error, h.mean()], scores

    def weights(self, epoch: int) -> list[float]:
        share = 1.0 if epoch < self.config.halved_after else 0.5
        return [1.0, share * self.config.reconstruction, share * self.config.sparsity]

    def _scores(self, x: Tensor) -> Tensor:
        return self.theta(self.psi(self.classifier.tapped(x)[1]))[0]

    @classmethod
    def _built(
        cls,
        classifier: Classifier,
        spectra: Spectra,
        config: L2IConfig,
        dictionary: Tensor | None = None,
        *,
        shapes: Sequence[Sequence[int]],
        components: int,
        frames: int,
    ) -> Self:
        psi = Psi(shapes, components, frames, width=config.width)
        theta = Theta(components, len(classifier.classes), pooling=config.pooling)
        dictionary = torch.ones(spectra.bins, components) if dictionary is None else dictionary
        return cls(classifier, spectra, dictionary, psi, theta, config)


@checked
def fit_l2i(
    classifier: Classifier,
    dictionary: ArrayLike,
    x: ArrayLike | Tensor,
    split: Split,
    *,
    spectra: Spectra | None = None,
    config: L2IConfig | str = "default",
    seed: int = 0,
    checkpoint: str | os.PathLike | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> L2I:
    """Train a Listen to Interpret network for a frozen classifier, with the classifier's scores as targets.

    The loss is ``L_fidelity + alpha mean (X - W H)^2 + beta mean H``. The fidelity term is the cross-entropy between
    the classifier's and Theta's class probabilities, or, for a multilabel classifier, the mean binary cross-entropy. No
    labels are used. Everything is computed on the classifier's device.

    Parameters
    ----------
    classifier : Classifier
        The classifier; it must have taps.
    dictionary : array_like (F, K)
        Non-negative spectra of the components; they are scaled to length 1.
    x : array_like (N, samples)
        Waveforms at the classifier's rate with a peak of 1 (:func:`~.spectra.normalised`).
    split : Split
        The clips to train on, and those by which the epoch is selected.
    spectra : Spectra, optional
        Spectra of the dictionary; by default the paper's windows at the classifier's rate.
    config : L2IConfig or str
        Configuration, or the name of a preset: "default" or "paper".
    seed : int
        Seed of the weights, the order of clips and dropout.
    checkpoint : path, optional
        File to which the state is written; the same call resumes from it.
    progress : bool or callable (done, total)
        True shows a progress bar; a callable is called after each epoch.
    **fields
        Fields of :class:`L2IConfig` that replace those of ``config``.

    Returns
    -------
    L2I

    Raises
    ------
    ParameterError
        If shapes or rates do not match, a component is negative or all zero, a required part of the split is empty,
        sounds are not finite or all silent, or the loss is not finite.

    Warns
    -----
    UserWarning
        If the epoch is selected on the test clips, or some training clips are silent.
    """
    config = L2IConfig.named(config, **fields)
    needed = ("train", *{"best": ["valid"], "test": ["test"]}.get(config.keep, []))
    x, split, spectra = prepared(classifier, x, split, spectra, needed=needed)
    if config.keep == "test":
        warn('the epoch is chosen on the test clips (keep="test"), so that the fidelity on them is too optimistic')
    watched = split.test if config.keep == "test" else split.valid
    w, samples = checked_dictionary(dictionary, spectra), x.shape[1]
    sizes = {"shapes": classifier.shapes(samples), "components": w.shape[1], "frames": spectra.frames(samples)}
    with seeded(seed, classifier.device):
        fitted = L2I._built(classifier, spectra, config, w, **sizes)
        options = {"choose": config.keep != "last", "seed": seed, "checkpoint": checkpoint, "progress": progress}
        imitate(fitted, x, split.train, watched, **options)
    return fitted


def checked_dictionary(dictionary: ArrayLike, spectra: Spectra) -> Tensor:
    w = real("dictionary", dictionary).cpu().clone()
    if w.ndim != 2 or w.shape[0] != spectra.bins:
        raise ParameterError("dictionary.shape", tuple(w.shape), f"({spectra.bins}, K), a column a component")
    if not (w.isfinite().all() and (w >= 0).all() and (w.norm(dim=0) > 0).all()):
        raise ParameterError("dictionary", "negative, not finite or with an empty column", "0 or more, no column empty")
    return w
