"""One table of explanations: every method and every control, on the same clips, by every measure.

A measure alone says little of an explanation: keeping everything has perfect fidelity, removing everything takes the
largest part of the score, and the loudest bins know nothing of the classifier. :func:`benchmark` therefore measures all
methods clip by clip, and :meth:`Benchmark.verdicts` compares the best method of each measure with the best control.

Every mask is converted to sound with the phase of the input, so all measures are about what a person would hear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .. import audio
from ..core.checks import checked, choice, number, numbers, whole
from ..core.errors import ParameterError
from ..core.labels import known
from ..core.progress import progress_bar
from ..metrics import faithfulness, separation
from ..metrics.intervals import difference_interval
from .classifiers import Classifier, spectra_for
from .flint import Flint
from .imitation import Interpreter
from .judging import QUIETEST, each_a_mask
from .masking import rectangles
from .masks import CONTROLS, MASKS
from .spectra import Spectra

if TYPE_CHECKING:
    import pandas as pd

    from .interpretation import Interpretation
    from .lmac import LMAC
    from .vibi import Vibi

#: Measures by name, in the order of the table: 1 if larger is better and -1 if smaller is, and how far two values can
#: be apart (None: without limit).
MEASURES = {
    "imitation": (1, 1),
    "fidelity_in": (1, 1),
    "logit_drop": (1, None),
    "mean_removal_drop": (1, 2),
    "deletion": (-1, 1),
    "insertion": (1, 1),
    "sanity": (-1, 1),
    "improvement": (1, None),
    "overlap": (1, 1),
    "heard": (1, 1),
}
#: Methods that draw versions of a clip, as many as ``samples`` says.
DRAWN = ("slime", "slime_grid", "lime_components")
#: Row of the control of imitation, which always says what the classifier says most often.
COMMONEST = "commonest decision"
#: The only control with which ``sanity`` is compared: the others are constant, or random by construction.
BLIND = "energy"


@dataclass(frozen=True)
class Benchmark:
    """Measures of explanations, clip by clip; made by :func:`benchmark`."""

    each: Mapping[str, pd.DataFrame]
    """For each measure a table with one row per clip and one column per method and control."""
    controls: tuple[str, ...]
    """Names of the columns that explain nothing."""
    groups: np.ndarray
    """Group of each clip, (N,)."""

    @property
    def better(self) -> dict[str, int]:
        """For each measure 1 if larger is better, -1 if smaller is."""
        return {measure: MEASURES[measure][0] for measure in self.each}

    def table(self) -> pd.DataFrame:
        """Return the means over clips: one row per method, controls last, and one column per measure.

        A measure that a method does not have is NaN there.
        """
        import pandas as pd

        names = dict.fromkeys(name for values in self.each.values() for name in values)
        rows = [*(name for name in names if name not in self.controls), *self.controls]
        means = pd.DataFrame({name: values.mean() for name, values in self.each.items()})
        return means.reindex(rows).rename_axis("method")

    @checked
    def verdicts(self, *, without: Sequence[str] = (), level: float = 0.95) -> pd.DataFrame:
        """Compare the best method of each measure with the best control.

        Parameters
        ----------
        without : sequence of str
            Controls that are left out, such as "ones" and "zeros", which keep everything or nothing.
        level : float
            Confidence level of each measure's difference. As the best of several methods is compared with the best of
            several controls, each interval has the level 1 - (1 - level) / pairs of methods and controls (Bonferroni).

        Returns
        -------
        pandas.DataFrame
            One row per measure: method and control (the best of each), value and control_value (means over clips), and
            difference with difference_low and difference_high, the mean over clips of how much better the method is,
            positive also where smaller is better. Measures without a control that remains are left out.

        Raises
        ------
        ParameterError
            If ``without`` has a name that is no control.
        """
        import pandas as pd

        number("level", level, above=0, below=1)
        for name in without:
            choice("without", name, self.controls)
        rows = {}
        for measure, values in self.each.items():
            sign, apart = MEASURES[measure]
            means = sign * values.mean().dropna()
            fair = [BLIND] if measure == "sanity" else self.controls
            controls = [name for name in fair if name in means and name not in without]
            methods = [name for name in means.index if name not in self.controls]
            if not controls or not methods:
                continue
            best, rival = means[methods].idxmax(), means[controls].idxmax()
            pair = sign * values[[best, rival]].dropna()
            each = 1 - (1 - level) / (len(methods) * len(controls))
            limits = None if apart is None else (-apart, apart)
            gap = difference_interval(pair[best], pair[rival], self.groups[pair.index], limits=limits, level=each)
            row = {"method": best, "value": sign * means[best], "control": rival, "control_value": sign * means[rival]}
            rows[measure] = row | dict(zip(("difference", "difference_low", "difference_high"), gap, strict=True))
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")


@checked
def all_masks(
    classifier: Classifier,
    explained: Sequence[Interpretation],
    *,
    others: Mapping[str, Flint | LMAC | Vibi] | None = None,
    tau: float = 0.2,
    samples: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Tensor]:
    """Make a mask for each of N clips by Listen to Interpret, every other method and every control.

    Parameters
    ----------
    classifier : Classifier
        The classifier whose decisions are explained.
    explained : sequence of Interpretation
        Explanations of N clips by Listen to Interpret; the other methods explain the same classes of the same clips.
    others : mapping, optional
        Further trained interpreters with a method ``masks``, by name. FLINT explains the same classes, others (L-MAC
        and VIBI) the classifier's decisions.
    tau : float
        Relevance above which components of Listen to Interpret are kept.
    samples : int, optional
        Number of versions of a clip for the methods that draw them (SLIME and LIME); by default each method's own.
    seed : int
        Seed of all random draws.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict of str to Tensor (N, F, T)
        "L2I", the names of ``others``, of :data:`~.masks.MASKS` and of :data:`~.masks.CONTROLS`, in this order.
        ``shuffled`` and ``shifted`` imitate the masks of L2I.
    """
    made = {"L2I": torch.stack([one.mask(tau) for one in explained])}
    x = torch.stack([one.waveform_in for one in explained])
    classes = np.array([one.index for one in explained])
    for name, other in (others or {}).items():
        made[name] = other.masks(x, classes) if isinstance(other, Flint) else other.masks(x)
    for name in progress_bar([*MASKS, *CONTROLS], disable=not progress, desc="masks", leave=False):
        options = {"seed": seed} | ({"progress": False} if name in MASKS else {})
        if samples is not None and name in DRAWN:
            options["samples"] = samples
        method, masks = {**MASKS, **CONTROLS}[name], []
        for one, like in zip(explained, made["L2I"], strict=True):
            own = {"spectra": one.spectra}
            if name == "lime_components":
                own |= {"dictionary": one.dictionary, "activations": one.activations}
            if name in ("shuffled", "shifted"):
                own["like"] = like
            masks.append(method(classifier, one.waveform_in, one.index, **options, **own))
        made[name] = torch.stack(masks)
    return made


@checked
def benchmark(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    masks: Mapping[str, Tensor],
    *,
    spectra: Spectra | None = None,
    classes: ArrayLike | None = None,
    interpreters: Mapping[str, Interpreter] | None = None,
    of_random: Mapping[str, Tensor] | None = None,
    stems: ArrayLike | None = None,
    intervals: Sequence[ArrayLike] | None = None,
    listener: Classifier | None = None,
    groups: ArrayLike | None = None,
    steps: int = 10,
    seed: int = 0,
    progress: bool = True,
) -> Benchmark:
    """Measure explanations of N decisions, and controls, by every measure for which there are data.

    Parameters
    ----------
    classifier : Classifier
        The classifier that is explained.
    x : array_like (N, samples)
        Waveforms at the classifier's rate.
    masks : mapping of str to Tensor (N, F, T)
        For each method and control one mask per clip. Names in :data:`~.masks.CONTROLS` are controls.
    spectra : Spectra, optional
        Spectra of the masks; by default the paper's windows at the classifier's rate.
    classes : array_like of int (N,), optional
        Class that is explained for each clip; by default the classifier's decision.
    interpreters : mapping of str to Interpreter, optional
        Interpreters that imitate the classifier; adds ``imitation``.
    of_random : mapping of str to Tensor (N, F, T), optional
        Masks of the same methods for the same clips and classes, made for the classifier with random weights
        (:meth:`Classifier.randomised`); adds ``sanity``.
    stems : array_like (N, samples), optional
        True sound of the class in each clip, at its level there; adds ``improvement``.
    intervals : sequence of array_like (n, 2), optional
        True onsets and offsets of the class in each clip, in seconds; adds ``overlap``.
    listener : Classifier, optional
        Another classifier of the same classes, which has not been explained and may have another rate; adds ``heard``.
    groups : array_like (N,), optional
        Group of each clip, for the intervals; by default every clip is its own group.
    steps : int
        Number of steps of the deletion and insertion curves.
    seed : int
        Seed of the order of equally important rectangles.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Benchmark
        With these measures, a number per clip each:

        * ``imitation``: 1 if the interpreter decides as the classifier does, whatever its mask.
        * ``fidelity_in``: 1 if the classifier, given the sound of the mask alone, decides for the class.
        * ``logit_drop``, ``mean_removal_drop``: fall of the class's logit, and of its probability, when the bins of the
          mask are removed (arXiv 2202.11479 and 2403.13086).
        * ``deletion``, ``insertion``: area under the class's probability as the rectangles of a grid of 16 x 16 are
          removed, or added, in the order of their mean mask (Petsiuk et al. 2018).
        * ``sanity``: absolute correlation with the mask for random weights; masks that are equal everywhere have none.
          Its only control is ``energy``, whose mask never depends on the weights.
        * ``improvement``: scale-invariant signal-to-distortion ratio to the true stem, minus that of the clip, in dB; a
          ratio below -60 dB counts as -60 dB.
        * ``overlap``: intersection over union of the times at which the mask's sound and the true event sound.
        * ``heard``: 1 if the listener, given the sound of the mask, hears the class: as its decision, or with several
          labels with a probability above .5.

    Raises
    ------
    ParameterError
        If shapes do not agree, or the listener has other classes.
    """
    import pandas as pd

    spectra = spectra_for(classifier, spectra)
    x = classifier.waveforms(x)
    masks = each_a_mask(masks, len(x))
    whole("steps", steps, least=1)
    groups = np.arange(len(x)) if groups is None else known(groups, len(x), "groups")
    unmasked = torch.ones(1, spectra.bins, spectra.frames(x.shape[1])).expand(len(x), -1, -1)
    intact = classifier.logits(_sounds(classifier, x, unmasked, spectra))
    classes = intact.argmax(1) if classes is None else classifier.positions(classes, len(x))
    stems = None if stems is None else numbers("stems", stems, ndim=2).astype(np.float32)
    if stems is not None and stems.shape != tuple(x.shape):
        raise ParameterError("stems.shape", stems.shape, f"{tuple(x.shape)}, a stem a clip")
    if intervals is not None and len(intervals) != len(x):
        raise ParameterError("intervals", len(intervals), f"{len(x)}, onsets and offsets of each clip")
    if listener is not None and tuple(listener.classes) != tuple(classifier.classes):
        raise ParameterError("listener.classes", listener.classes[:5], f"those of {classifier.name}")
    before = None if stems is None else separation.si_sdr(stems, x.numpy())

    def measured(name: str, mask: Tensor) -> dict[str, np.ndarray]:
        kept, rest = (_sounds(classifier, x, part, spectra) for part in (mask, 1 - mask))
        logits = [intact, classifier.logits(kept), classifier.logits(rest)]
        of_class = [np.take_along_axis(part, classes[:, None], axis=1)[:, 0] for part in logits]
        chances = [classifier.probabilities(part) for part in logits]
        row = {"fidelity_in": faithfulness.fidelity_in(chances[0], chances[1], classes).each}
        row["logit_drop"] = of_class[0] - of_class[2]
        row["mean_removal_drop"] = faithfulness.mean_removal_drop(chances[0], chances[2], classes).each
        row |= _curves(classifier, x, classes, mask, spectra, steps=steps, seed=seed)
        if name in random_masks and (name not in CONTROLS or name == BLIND):
            row["sanity"] = _likeness(mask, random_masks[name])
        if stems is not None:
            row["improvement"] = np.maximum(separation.si_sdr(stems, kept.numpy()), QUIETEST) - before
        if intervals is not None:
            pairs = zip(kept.numpy(), intervals, strict=True)
            row["overlap"] = np.array([separation.onset_overlap(*pair, spectra.rate) for pair in pairs])
        if listener is not None:
            row["heard"] = _recognised(listener, kept.numpy(), spectra.rate, classes)
        return row

    random_masks = each_a_mask(of_random, len(x)) if of_random else {}
    bar = progress_bar(masks.items(), disable=not progress, desc="explanations", leave=False)
    rows = {name: measured(name, mask) for name, mask in bar}
    decided = intact.argmax(1)
    for name, interpreter in (interpreters or {}).items():
        rows.setdefault(name, {})["imitation"] = (interpreter.scores(x).argmax(1) == decided).astype(float)
    if interpreters:
        rows[COMMONEST] = {"imitation": (decided == np.bincount(decided).argmax()).astype(float)}
    found = {
        measure: pd.DataFrame({n: row[measure] for n, row in rows.items() if measure in row}) for measure in MEASURES
    }
    controls = tuple(name for name in rows if name in CONTROLS or name == COMMONEST)
    return Benchmark({name: values for name, values in found.items() if len(values.columns)}, controls, groups)


def _sounds(classifier: Classifier, x: Tensor, masks: Tensor, spectra: Spectra) -> Tensor:
    """Return the sounds (N, samples) of clips under a mask each."""
    parts = zip(x.split(classifier.batch), masks.split(classifier.batch), strict=True)
    heard = (spectra.masked(part.to(classifier.device), mask.to(classifier.device)) for part, mask in parts)
    return torch.cat([part.cpu() for part in heard])


def _curves(
    classifier: Classifier, x: Tensor, classes: np.ndarray, mask: Tensor, spectra: Spectra, *, steps: int, seed: int
) -> dict[str, np.ndarray]:
    """Areas under the class's probability as rectangles are removed, and as they are added, (N,) each."""
    bins, frames = mask.shape[1:]
    sides = {"bands": min(16, bins), "times": min(16, frames)}
    cells = rectangles(bins, frames, **sides)
    size = np.bincount(cells.ravel())
    means = np.stack([np.bincount(cells.ravel(), one.ravel()) / size for one in mask.double().numpy()])
    # ranks, equal ones in random order: by position, a mask of ones would prefer low frequencies
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(len(size)), (len(x), 1)), axis=1)
    ranks = np.lexsort((order, means)).argsort(axis=1)

    def score(there: np.ndarray) -> np.ndarray:
        sounds = _sounds(classifier, x, torch.from_numpy(there[:, cells]).float(), spectra)
        chances = classifier.probabilities(classifier.logits(sounds))
        return np.take_along_axis(chances, classes[:, None], axis=1)[:, 0]

    curves = faithfulness.deletion_insertion(score, ranks, steps=steps, orders=0)
    return {name: curves.area(name).each for name in ("deletion", "insertion")}


def _likeness(mask: Tensor, other: Tensor) -> np.ndarray:
    """Absolute correlation of two masks of each clip, (N,); NaN where one of them is the same everywhere."""
    flat = [part.flatten(1).double() for part in (mask, other)]
    flat = [part - part.mean(1, keepdim=True) for part in flat]
    norms = flat[0].norm(dim=1) * flat[1].norm(dim=1)
    return torch.where(norms > 0, (flat[0] * flat[1]).sum(1).abs() / norms, torch.nan).numpy()


def _recognised(listener: Classifier, sounds: np.ndarray, rate: int, classes: np.ndarray) -> np.ndarray:
    """Whether the listener hears the class in each of the sounds, 0 or 1, (N,)."""
    logits = listener.logits(audio.resample(sounds, rate, listener.rate))
    if listener.multilabel:
        return np.take_along_axis(listener.probabilities(logits) > 0.5, classes[:, None], axis=1)[:, 0].astype(float)
    return (logits.argmax(1) == classes).astype(float)
