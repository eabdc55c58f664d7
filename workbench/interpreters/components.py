"""Explanations without training: a dictionary of spectra, and what a decision loses without each of them.

Listen to Interpret (:mod:`.l2i`) trains a network that finds how loud each component of a dictionary is and how much it
speaks for a class. Here both are computed of one clip at a time: the activations are the exact ones of the
factorisation (:func:`workbench.nmf.activations`), and a component's weight is what the score of the class loses when
that component alone is silenced, the occlusion of Zeiler and Fergus (arXiv 1311.2901) with components in place of
rectangles. It takes K + 1 calls of the classifier a clip, imitates nothing, and so needs no fidelity; what it cannot
see is a class for which two components speak that can stand in for each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, number, whole
from ..core.checks import seed as check_seed
from ..core.errors import ParameterError
from ..core.progress import progress_bar
from ..nmf import SparseNMF, activations
from .classifiers import Classifier, real, spectra_for
from .interpretation import Interpretation, component_mask
from .l2i import checked_dictionary
from .masking import Masked
from .spectra import Spectra


@checked
def dictionary_of(
    x: Sequence[ArrayLike] | ArrayLike | Tensor,
    spectra: Spectra,
    *,
    components: int = 40,
    frames: int = 4000,
    sparsity: float = 0.8,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Learn the spectra that clips are made of, by sparse non-negative matrix factorisation of log(1 + |STFT|).

    Parameters
    ----------
    x : sequence of (samples,), or array_like (N, samples)
        Waveforms at the rate of ``spectra``, at a peak of 1 (:func:`~.spectra.normalised`); each of any length.
    spectra : Spectra
    components : int
        K at most; fewer where there are fewer frames that sound.
    frames : int
        Frames to learn from at most, as many from each clip and drawn from it at random.
    sparsity : float
        Weight of the mean of the activations.
    seed : int
        Draws the frames and the start.
    device : str
    progress : bool

    Returns
    -------
    np.ndarray, float32 (F, K)
        Columns of length 1, the lowest (by the mean of its bins) first.

    Raises
    ------
    ParameterError
        No clip, a clip that is too short or not finite, or silence throughout.
    """
    if not isinstance(spectra, Spectra):
        raise ParameterError("spectra", spectra, "Spectra")
    whole("components", components, least=1)
    whole("frames", frames, least=1)
    number("sparsity", sparsity, least=0)
    rng, clips = np.random.default_rng(check_seed(seed)), _each(x)
    each = -(-frames // len(clips))
    drawn = []
    for clip in clips:
        own = spectra.analyse(clip)[0].T.numpy()
        own = own[own.any(1)]  # a silent frame teaches nothing
        drawn.append(own[np.sort(rng.permutation(len(own))[:each])])
    sounding = np.concatenate(drawn)
    if not len(sounding):
        raise ParameterError("x", f"{len(clips)} clips of silence", "sound to learn components from")
    count = min(components, len(sounding))
    options = {"sparsity": sparsity, "seed": seed, "device": device, "progress": progress}
    w = SparseNMF(count, **options).fit(sounding).components_.T
    w = w[:, w.any(0)] / np.linalg.norm(w[:, w.any(0)], axis=0)
    middle = (np.arange(len(w))[:, None] * w).sum(0) / w.sum(0)
    return np.ascontiguousarray(w[:, np.argsort(middle, kind="stable")], dtype=np.float32)


@checked
@torch.no_grad()
def explain_components(
    classifier: Classifier,
    x: Sequence[ArrayLike] | ArrayLike | Tensor,
    dictionary: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    spectra: Spectra | None = None,
    sparsity: float = 0.8,
    progress: bool = True,
) -> list[Interpretation]:
    """Explain decisions by what they lose without each component of a dictionary. Nothing is trained.

    Parameters
    ----------
    classifier : Classifier
        It needs no taps.
    x : sequence of (samples,), or array_like (N, samples)
        Waveforms at the classifier's rate, as it hears them; each of any length that it takes.
    dictionary : array_like (F, K)
        Spectra of log(1 + |STFT|), 0 or more, as :func:`dictionary_of` learns them; brought to length 1.
    classes : array_like of int (N,), optional
        Which class of each clip is to be explained; default: the classifier's decision.
    spectra : Spectra, optional
        Default: the paper's windows at the classifier's rate.
    sparsity : float
        Weight of the mean of the activations, as in the dictionary's learning.
    progress : bool

    Returns
    -------
    list of Interpretation
        ``weights`` are what the logit of the class loses without each component, ``pooled`` are ones, and ``scores``
        the sums of the losses of every class; relevance, masks and sounds follow from them as with
        :meth:`~.l2i.L2I.explain`. A silent component loses nothing.

    Raises
    ------
    ParameterError
        A dictionary of another shape, a clip that is not finite or that the classifier does not take.
    """
    spectra = spectra_for(classifier, spectra)
    number("sparsity", sparsity, least=0)
    w = checked_dictionary(dictionary, spectra)
    w = w / w.norm(dim=0)
    clips = _each(x)
    wanted = [None] * len(clips) if classes is None else classifier.positions(classes, len(clips)).tolist()
    parts = progress_bar(clips, disable=not progress, desc="explanations", leave=False)
    return [_explained(classifier, clip, w, c, spectra, sparsity) for clip, c in zip(parts, wanted, strict=True)]


def _each(x: Sequence[ArrayLike] | ArrayLike | Tensor) -> list[Tensor]:
    """Waveforms (samples,), one a clip."""
    if isinstance(x, (str, bytes, dict)) or not hasattr(x, "__len__") or not len(x):
        raise ParameterError("x", type(x).__name__, "waveforms (samples,), at least one")
    return [real(f"x[{i}]", clip) for i, clip in enumerate(x)]


def _explained(classifier, x: Tensor, w: Tensor, index: int | None, spectra: Spectra, sparsity: float):
    """The interpretation of one clip."""
    clip = Masked(classifier, x, 0, spectra)
    h, _ = activations(clip.log_magnitude.T.cpu().numpy(), w.T.numpy(), sparsity=sparsity)
    h = torch.from_numpy(np.ascontiguousarray(h.T, dtype=np.float32))
    count = w.shape[1]
    sounding = np.flatnonzero(h.any(1).numpy())
    kept = np.ones((1 + len(sounding), count), dtype=bool)
    kept[1 + np.arange(len(sounding)), sounding] = False

    def masks(rows: np.ndarray) -> Tensor:
        return torch.stack([component_mask(w, h, np.flatnonzero(row)) for row in rows])

    scores = clip.scores(masks, kept, progress=False)
    lost = np.zeros((count, len(classifier.classes)), np.float32)
    lost[sounding] = scores[0] - scores[1:]
    index = int(scores[0].argmax()) if index is None else index
    said = (torch.ones(count), torch.from_numpy(lost[:, index].copy()), scores[0], lost.sum(0))
    own = (clip.x.cpu(), clip.log_magnitude.cpu(), clip.phase.cpu(), w, h)
    return Interpretation(classifier.classes, index, *own, *said, spectra)
