"""Evaluate explanations: fidelity to the classifier, the effect of removing an explanation, and agreement with truth.

Each study returns a table with one row per threshold or method, with medians or means over clips, their intervals, and
the same for controls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, choice, number, numbers, several, whole
from ..core.errors import ParameterError
from ..core.labels import known
from ..core.progress import progress_bar
from ..core.splits import Split, fitting
from ..metrics import faithfulness, fidelity, separation
from ..metrics.intervals import group_interval, median_interval
from .classifiers import Classifier, real, spectra_for
from .imitation import Interpreter
from .interpretation import Interpretation
from .l2i import L2I
from .masking import masked_logits
from .spectra import DOMAINS, Spectra

if TYPE_CHECKING:
    import pandas as pd


#: Values of k for the top-k fidelity.
KS = (1, 3, 5)
#: Lowest SI-SDR in dB that counts: that of silence is -inf, which would allow no mean.
QUIETEST = -60


@checked
def evaluate_interpreter(
    interpreter: Interpreter,
    x: ArrayLike | Tensor,
    split: Split,
    *,
    tags: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    judged: int | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Evaluate a trained interpreter on the test part of a split, as rows for :func:`workbench.study`.

    Parameters
    ----------
    interpreter : Interpreter
        Result of :func:`fit_l2i`, :func:`fit_flint`, :func:`fit_vibi` or :func:`fit_lmac`, or any object with a
        ``classifier`` and a method ``scores(x)``. The scores of L-MAC are the classifier's own for the sound of its
        masks, so that its fidelity at k = 1 is the fidelity to the input (Fid-In).
    x : array_like (N, samples)
        Waveforms at the classifier's rate.
    split : Split
        Split of the clips; for a multilabel classifier the training part is used too.
    tags : array_like of bool (N, C), optional
        True labels, required for a multilabel classifier: its threshold for each class is that with the largest F1 on
        the training clips.
    groups : array_like (N,), optional
        Group of each clip, for the intervals; by default every clip is its own group.
    judged : int, optional
        Number of test clips from which components are removed; by default all.
    seed : int
        Seed of the random components.

    Returns
    -------
    list of dict
        The first row is the fidelity, with the columns of :func:`workbench.metrics.fidelity.evaluate` (or
        ``evaluate_multilabel``). For an :class:`~.l2i.L2I` there follows one row per tau with the columns of
        :func:`removal_study`, in logits, or in probabilities for a multilabel classifier. Only these have a ``tau``.
    """
    measured = agreement(interpreter, x, split, tags=tags, groups=groups)
    if judged is not None:
        whole("judged", judged, least=1)
    if not isinstance(interpreter, L2I):
        return [measured]
    classifier = interpreter.classifier
    rows = fitting(split, len(x), needed=("test",)).test[:judged]
    explained = interpreter.explain(classifier.waveforms(x)[rows])
    groups = None if groups is None else known(groups, len(x), "groups")[rows]
    output = "probabilities" if classifier.multilabel else "logits"
    removal = removal_study(explained, classifier, output=output, groups=groups, seed=seed, progress=False)
    return [measured, *removal.reset_index().to_dict("records")]


@checked
def agreement(
    interpreter: Interpreter,
    x: ArrayLike | Tensor,
    split: Split,
    *,
    tags: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    by_class: bool = False,
) -> dict[str, float] | pd.DataFrame:
    """Measure the fidelity of an interpreter, how well it imitates its classifier, on the test part of a split.

    Parameters
    ----------
    interpreter, x, split, tags, groups
        As in :func:`evaluate_interpreter`.
    by_class : bool
        Whether to measure each class alone.

    Returns
    -------
    dict of str to float, or pandas.DataFrame
        Result of :func:`workbench.metrics.fidelity.evaluate`, or, for a multilabel classifier, of
        ``evaluate_multilabel``; :func:`above_guessing` compares it with a constant interpreter. With ``by_class`` a
        table with one row per class, the columns of :func:`workbench.metrics.fidelity.each_class`, or ``each_label``.
    """
    import pandas as pd

    choice("by_class", by_class, (False, True))
    classifier = getattr(interpreter, "classifier", None)
    if not isinstance(classifier, Classifier) or not callable(getattr(interpreter, "scores", None)):
        raise ParameterError("interpreter", type(interpreter).__name__, "one with a classifier and scores(x)")
    x = classifier.waveforms(x)
    test = fitting(split, len(x), needed=("test",)).test
    groups = None if groups is None else known(groups, len(x), "groups")[test]
    scores = interpreter.scores(x[test])
    if classifier.multilabel:
        said, chances = _decisions(classifier, x, tags, split), classifier.probabilities(scores)
        if by_class:
            return pd.DataFrame(fidelity.each_label(said, chances, names=classifier.classes)).set_index("class")
        return fidelity.evaluate_multilabel(said, chances, groups)
    ks, heard = [k for k in KS if k < len(classifier.classes)], classifier.logits(x[test])
    if by_class:
        return pd.DataFrame(fidelity.each_class(heard, scores, names=classifier.classes, ks=ks)).set_index("class")
    return fidelity.evaluate(heard, scores, groups, ks=ks)


def above_guessing(measured: Mapping[str, float]) -> tuple[float, float, float]:
    """Difference between a fidelity, or an accuracy with the same columns, and that of guessing.

    Parameters
    ----------
    measured : mapping of str to float
        Result of :func:`agreement`, :func:`workbench.metrics.fidelity.evaluate` or ``evaluate_multilabel``, or means of
        such results over runs.

    Returns
    -------
    difference, low, high : float
        Top-1 fidelity minus that of always predicting the most frequent class, or, with several labels, macro AUPRC
        minus that of constant scores. The bounds are those of the fidelity minus the same number; the uncertainty of
        the score of guessing is not included.

    Raises
    ------
    ParameterError
        If ``measured`` has the columns of neither.
    """
    for name, level in (("top_1", "majority"), ("macro_auprc", "macro_constant_auprc")):
        if hasattr(measured, "keys") and {name, f"{name}_low", f"{name}_high", level} <= set(measured.keys()):
            return tuple(float(measured[name + end] - measured[level]) for end in ("", "_low", "_high"))
    raise ParameterError("measured", type(measured).__name__, "a fidelity with its interval, as agreement gives it")


def _decisions(classifier: Classifier, x: Tensor, tags: ArrayLike | None, split: Split) -> np.ndarray:
    """Return a multilabel classifier's labels of the test clips, bool (N_test, C), by thresholds selected on train."""
    if tags is None:
        raise ParameterError("tags", tags, "the true labels (N, C) of a multilabel classifier's clips")
    tags = numbers("tags", tags, ndim=2)
    if tags.shape != (len(x), len(classifier.classes)):
        raise ParameterError("tags.shape", tags.shape, f"({len(x)}, {len(classifier.classes)}), clips and classes")
    train, _, test = fitting(split, len(x))
    thresholds = fidelity.best_thresholds(tags[train], classifier.probabilities(classifier.logits(x[train])))
    return fidelity.decisions(classifier.probabilities(classifier.logits(x[test])), thresholds)


@checked
def removal_study(
    explained: Sequence[Interpretation],
    classifier: Classifier,
    *,
    taus: Sequence[float] = (0.9, 0.7, 0.5, 0.3),
    draws: int = 5,
    output: str = "logits",
    groups: ArrayLike | None = None,
    by_class: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure how far the class's score drops when the relevant components are removed from the sound.

    The measure is that of Parekh et al. (arXiv 2202.11479), with the random baseline of their slides: removing as many
    of the other components. As in their program all components above tau are removed, also by the paper's rules
    (:attr:`.Interpretation.rules`), by which at most five are played.

    Parameters
    ----------
    explained : sequence of Interpretation
        Explanations of N clips.
    classifier : Classifier
        The classifier that was explained.
    taus : sequence of float
        Thresholds; components with a relevance above the threshold are removed.
    draws : int
        Number of random selections per clip and tau.
    output : {"logits", "probabilities"}
        Output of the classifier in which the drop is measured.
    groups : array_like (N,), optional
        Group of each clip, for the intervals; by default every clip is its own group.
    by_class : bool
        Whether to take the clips of each explained class alone, as the figure of the paper for SONYC-UST does.
    seed : int
        Seed of the random selections.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row per tau, with ``by_class`` per class and tau: components (mean number removed), none (share of clips
        without any), drop (median) with low and high, random (median drop for random components) with random_low and
        random_high, difference (mean over clips of the drop minus the mean drop for random components) with
        difference_low and difference_high, and short (share of clips with too few other components to draw from).
    """
    import pandas as pd

    choice("output", output, ("logits", "probabilities"))
    choice("by_class", by_class, (False, True))
    whole("draws", draws, least=1)
    taus = several("taus", taus, lambda name, tau: number(name, tau, least=-1, most=1))
    if len(set(taus)) != len(taus):
        raise ParameterError("taus", taus, "different thresholds")
    spectra_for(classifier)
    explained = several("explained", explained, _interpretation)
    for each in explained:
        if each.spectra.rate != classifier.rate or each.classes != classifier.classes:
            raise ParameterError("explained", repr(each), f"explanations of {classifier.name}: its rate and classes")
    if len({len(each.weights) for each in explained}) > 1:
        raise ParameterError("explained", "explanations of several dictionaries", "of one")
    groups = None if groups is None else known(groups, len(explained), "groups")
    if by_class:
        options = {"taus": taus, "draws": draws, "output": output, "seed": seed, "progress": progress}
        found, decided = {}, np.array([each.index for each in explained])
        for c in np.unique(decided):
            rows = np.flatnonzero(decided == c)
            own = None if groups is None else groups[rows]
            found[classifier.classes[c]] = removal_study(
                [explained[i] for i in rows], classifier, groups=own, **options
            )
        return pd.concat(found, names=["class"])
    relevance = np.stack([each.relevance for each in explained])
    selected = {tau: relevance > tau for tau in taus}
    random = {tau: faithfulness.random_components(chosen, draws=draws, seed=seed) for tau, chosen in selected.items()}
    removed = np.stack([np.concatenate([selected[tau][None], random[tau].selected]) for tau in taus])
    bar = progress_bar(explained, disable=not progress, desc="removals", leave=False)
    scores = np.stack([_without(each, classifier, removed[:, :, i]) for i, each in enumerate(bar)])
    scores = classifier.probabilities(scores) if output == "probabilities" else scores
    intact, rest = scores[:, 0], scores[:, 1:].reshape(len(scores), len(taus), 1 + draws, -1)
    same = {"classes": [each.index for each in explained], "output": output, "groups": groups}
    rows = []
    for k, tau in enumerate(taus):
        drop = faithfulness.removal_drop(intact, rest[:, k, 0], **same)
        chance = faithfulness.removal_drop(intact, rest[:, k, 1:].swapaxes(0, 1), **same)
        count = selected[tau].sum(1)
        row = {"tau": tau, "components": count.mean(), "none": (count == 0).mean()}
        row |= {"drop": drop.median, "low": drop.low, "high": drop.high}
        row |= {"random": chance.median, "random_low": chance.low, "random_high": chance.high}
        pairs = drop.each - np.atleast_2d(chance.each).mean(0)
        rows.append(row | _difference(pairs, groups) | {"short": random[tau].short.mean()})
    return pd.DataFrame(rows).set_index("tau")


def _median(name: str, values: np.ndarray, groups: ArrayLike | None) -> dict[str, float]:
    """Return the columns of a table for the median over clips and its interval; NaN without clips."""
    middle, (low, high) = float("nan"), (float("nan"),) * 2
    if len(values):
        middle, (low, high) = float(np.median(values)), median_interval(values, groups)
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


def _interpretation(name: str, value: object) -> Interpretation:
    if not isinstance(value, Interpretation):
        raise ParameterError(name, type(value).__name__, "an Interpretation, as L2I.explain gives them")
    return value


def _without(explained: Interpretation, classifier: Classifier, removed: np.ndarray) -> np.ndarray:
    """Return scores (1 + sets, C) for the clip and for the clip without each set of components, bool (..., K)."""
    sets = [[], *map(np.flatnonzero, removed.reshape(-1, removed.shape[-1]))]
    scores = []
    for at in range(0, len(sets), classifier.batch):
        part = sets[at : at + classifier.batch]
        masks = [1 - explained.share(components) for components in part]
        left = explained.log_magnitude * torch.stack(masks)
        scores.append(classifier.logits(explained.spectra.invert(left, explained.phase, len(explained.waveform_in))))
    return np.concatenate(scores)


@checked
def mask_study(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    masks: Mapping[str, Tensor],
    *,
    spectra: Spectra | None = None,
    classes: ArrayLike | None = None,
    against: str | None = None,
    groups: ArrayLike | None = None,
) -> pd.DataFrame:
    """Evaluate masks by all metrics of :mod:`workbench.metrics.faithfulness`.

    Parameters
    ----------
    classifier : Classifier
        The classifier that was explained.
    x : array_like (N, samples)
        Waveforms at the classifier's rate.
    masks : mapping of str to Tensor (N, F, T)
        For each method one mask per clip. Include controls, such as masks of ones, of zeros and random ones.
    spectra : Spectra, optional
        Spectra of the masks; by default the paper's windows at the classifier's rate.
    classes : array_like of int (N,), optional
        Class followed for each clip; by default the classifier's decision.
    against : str, optional
        Name of the method with which all are compared.
    groups : array_like (N,), optional
        Group of each clip, for the intervals; by default every clip is its own group.

    Returns
    -------
    pandas.DataFrame
        One row per method, with the columns of :func:`workbench.metrics.faithfulness.evaluate`, and logit_drop, the
        median drop of the logit when the bins of the mask are removed, with logit_drop_low and logit_drop_high. With
        ``against`` also difference, the mean over clips of that method's drop minus this method's drop, with
        difference_low and difference_high. The unmasked input is computed by the same inversion as masked ones.
    """
    import pandas as pd

    spectra = spectra_for(classifier, spectra)
    x = classifier.waveforms(x)
    masks = each_a_mask(masks, len(x))
    if classes is not None:
        classes = classifier.positions(classes, len(x))
    groups, rows, drops = None if groups is None else known(groups, len(x), "groups"), {}, {}
    for name, of_clips in masks.items():
        versions = [torch.stack([torch.ones_like(mask), mask, 1 - mask]) for mask in of_clips]
        pairs = zip(x, versions, strict=True)
        logits = [masked_logits(classifier, clip, three, spectra=spectra) for clip, three in pairs]
        intact, kept, rest = np.stack(logits, axis=1)
        scored = [classifier.probabilities(part) for part in (intact, kept, rest)]
        row = faithfulness.evaluate(*scored, classes, masks=of_clips.numpy())
        followed = intact.argmax(1) if classes is None else classes
        drops[name] = np.take_along_axis(intact - rest, followed[:, None], axis=1)[:, 0]
        rows[name] = row | _median("logit_drop", drops[name], groups)
    _compare(rows, drops, against, groups)
    return pd.DataFrame(rows).T.rename_axis("method")


def _compare(rows: dict[str, dict], each: dict[str, np.ndarray], against: str | None, groups: ArrayLike | None) -> None:
    """Add to each method's row the mean difference, paired by clip, of the method ``against`` minus this one."""
    if against is None:
        return
    if against not in each:
        raise ParameterError("against", against, f"one of {', '.join(map(str, each))}")
    for name, values in each.items():
        rows[name] |= _difference(each[against] - values, groups)


def _difference(values: np.ndarray, groups: ArrayLike | None) -> dict[str, float]:
    """Return the columns of a table for a mean over clips and its interval, which is defined even with few groups."""
    middle, (low, high) = float("nan"), (float("nan"),) * 2
    if len(values):
        middle, (low, high) = float(np.mean(values)), group_interval(values, groups)
    return {"difference": middle, "difference_low": float(low), "difference_high": float(high)}


@checked
def truth_study(
    x: ArrayLike,
    stems: ArrayLike,
    masks: Mapping[str, Tensor],
    *,
    spectra: Spectra,
    intervals: Sequence[ArrayLike] | None = None,
    domain: str = "log",
    against: str | None = None,
    groups: ArrayLike | None = None,
) -> pd.DataFrame:
    """Compare the sound of masks with the true stem of the class in generated mixtures.

    Parameters
    ----------
    x : array_like (N, samples)
        Mixtures.
    stems : array_like (N, samples)
        The part of each mixture that belongs to the class, at its level in the mixture.
    masks : mapping of str to Tensor (N, F, T)
        For each method one mask per clip.
    spectra : Spectra
        Spectra of the masks.
    intervals : sequence of array_like (n, 2), optional
        Onsets and offsets of the stem in each clip, in seconds.
    domain : {"log", "linear"}
        Quantity that the mask multiplies; see :meth:`~.spectra.Spectra.masked`.
    against : str, optional
        Name of the method with which all are compared.
    groups : array_like (N,), optional
        Group of each clip, for the intervals; by default every clip is its own group.

    Returns
    -------
    pandas.DataFrame
        One row per method, with medians over clips: si_sdr (dB) with low and high, improvement over the mixture (dB),
        and with ``intervals`` overlap, the intersection over union in time. silent is the share of masks whose sound is
        silent. With ``against`` also difference, the mean over clips of that method's SI-SDR minus this method's (dB),
        with difference_low and difference_high. An SI-SDR below -60 dB, such as that of silence, counts as -60 dB, and
        clips with a silent stem are left out.
    """
    import pandas as pd

    if not isinstance(spectra, Spectra):
        raise ParameterError("spectra", spectra, "Spectra")
    choice("domain", domain, DOMAINS)
    intervals = list(intervals) if isinstance(intervals, Iterator) else intervals
    x = numbers("x", x, ndim=2).astype(np.float32)
    stems = numbers("stems", stems, ndim=2).astype(np.float32)
    if x.shape != stems.shape:
        raise ParameterError("stems.shape", stems.shape, f"{x.shape}, a stem a mixture")
    masks = each_a_mask(masks, len(x))
    groups = np.arange(len(x)) if groups is None else known(groups, len(x), "groups")
    if intervals is not None and len(intervals) != len(x):
        raise ParameterError("intervals", f"{len(intervals)}", f"{len(x)}, onsets and offsets of each clip")
    before, rows, reached = separation.si_sdr(stems, x), {}, {}
    for name, of_clips in masks.items():
        pairs = zip(torch.from_numpy(x), of_clips, strict=True)
        heard = np.stack([spectra.masked(clip, mask, domain=domain).numpy() for clip, mask in pairs])
        after = np.maximum(separation.si_sdr(stems, heard), QUIETEST)
        finite = np.isfinite(after) & np.isfinite(before)
        reached[name] = after
        values = _median("si_sdr", after[finite], groups[finite])
        row = dict(zip(("si_sdr", "low", "high"), values.values(), strict=True))
        row["improvement"] = np.median((after - before)[finite]) if finite.any() else np.nan
        if intervals is not None:
            spans = zip(heard, intervals, strict=True)
            row["overlap"] = np.nanmedian([separation.onset_overlap(*span, spectra.rate) for span in spans])
        rows[name] = row | {"silent": float(np.mean(np.abs(heard).max(1) == 0))}
    finite = np.isfinite([before, *reached.values()]).all(0)
    reached = {name: values[finite] for name, values in reached.items()}
    _compare(rows, reached, against, groups[finite])
    return pd.DataFrame(rows).T.rename_axis("method")


def each_a_mask(masks: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return the masks of each method as float32 tensors (N, F, T) on the CPU, checked to be in [0, 1]."""
    if not isinstance(masks, Mapping) or not masks:
        raise ParameterError("masks", masks, "at least one method")
    read = {}
    for name, values in masks.items():
        shapes = {getattr(mask, "shape", None) for mask in values} if isinstance(values, (list, tuple)) else ()
        if len(shapes) == 1 and all(isinstance(mask, Tensor) for mask in values):
            values = torch.stack(list(values))
        values = real(f"masks[{name!r}]", values).cpu()
        if not values.ndim or len(values) != count:
            raise ParameterError(f"len(masks[{name!r}])", len(values) if values.ndim else 0, f"{count}, a mask a clip")
        if values.ndim != 3 or not (values.min() >= -1e-6 and values.max() <= 1 + 1e-6):  # also true for NaN
            raise ParameterError(f"masks[{name!r}].shape", tuple(values.shape), "(N, F, T), within 0 to 1")
        read[name] = values
    return read
