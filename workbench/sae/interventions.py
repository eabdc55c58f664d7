"""Interventions on latents: remove or amplify a latent in an embedding and measure how a linear probe responds.

An embedding is x = x_hat + e, where x_hat is the sum of latents times their decoder directions and e is the error.
Multiplying latent i by a factor moves the embedding by exactly (factor - 1) z_i d_i and does not change e. This
distinguishes a latent whose direction the probe uses from one that is only correlated with a class, which Mariotte et
al. (2025) do not test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core.checks import checked, numbers, whole
from ..core.errors import ParameterError
from ..core.labels import known, labels
from ..metrics.intervals import group_interval
from .data import positions

if TYPE_CHECKING:
    import pandas as pd

    from .model import SparseAutoencoder


@checked
def intervene(
    x: np.ndarray, sae: SparseAutoencoder, latents: Sequence[int] | np.ndarray, *, factor: float = 0.0
) -> np.ndarray:
    """Return embeddings in which some latents are multiplied by a factor.

    Parameters
    ----------
    x : ndarray (N, D)
        Embeddings.
    sae : SparseAutoencoder
        Autoencoder with D inputs.
    latents : sequence of int
        Numbers of the latents to change.
    factor : float
        0 removes the latents, 1 changes nothing, 2 doubles them.

    Returns
    -------
    ndarray, float32 (N, D)
        x + (factor - 1) * sum_i z_i d_i, where i runs over ``latents``.

    Raises
    ------
    ParameterError
        If the autoencoder does not have a latent.
    """
    decoder = _decoder(sae)
    latents = numbers("latents", latents, ndim=1, empty=True)
    if latents.size and not (latents.dtype.kind in "iu" and latents.min() >= 0 and latents.max() < len(decoder)):
        raise ParameterError("latents", latents.tolist(), f"whole numbers in 0 ... {len(decoder) - 1}")
    x, latents = numbers("x", x).astype(np.float32), latents.astype(np.int64)
    return x + np.float32(factor - 1) * (sae.encode(x)[:, latents] @ decoder[latents])


def _decoder(sae: SparseAutoencoder) -> np.ndarray:
    if not callable(getattr(sae, "encode", None)) or not hasattr(sae, "decoder"):
        raise ParameterError("sae", type(sae).__name__, "a sparse autoencoder, with encode and decoder")
    return np.asarray(numbers("sae.decoder", sae.decoder, ndim=2))


@checked
def attributions(z: np.ndarray, decoder: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean contribution of each latent to the logit of each class of a linear probe.

    Parameters
    ----------
    z : ndarray (N, K)
        Codes of N clips.
    decoder : ndarray (K, D)
        Decoder directions d_k.
    weights : ndarray (D, C)
        Weights w_c of the probe. Each row is centred first, because adding the same amount to all logits does not
        change the probabilities.

    Returns
    -------
    ndarray (K, C)
        mean_n z[n, k] * d_k . w_c
    """
    z, decoder, weights = (numbers(*pair, ndim=2) for pair in (("z", z), ("decoder", decoder), ("weights", weights)))
    if z.shape[1] != len(decoder) or decoder.shape[1] != len(weights):
        shapes = z.shape, decoder.shape, weights.shape
        raise ParameterError("shapes of z, decoder, weights", shapes, "(N, K), (K, D), (D, C)")
    return z.mean(0)[:, None] * (decoder @ (weights - weights.mean(1, keepdims=True)))


@checked
def ablations(
    x: np.ndarray,
    y: np.ndarray,
    sae: SparseAutoencoder,
    *,
    weights: np.ndarray,
    bias: np.ndarray,
    classes: Iterable,
    choose: np.ndarray,
    test: np.ndarray,
    groups: np.ndarray | None = None,
    top: int = 5,
    draws: int = 20,
    factor: float = 0.0,
    z: np.ndarray | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """For each class, change the latents with the largest attributions and measure how a probe's probability changes.

    As a control, as many random latents are changed.

    Parameters
    ----------
    x : ndarray (N, D)
        Embeddings.
    y : ndarray (N,)
        Labels.
    sae : SparseAutoencoder
        Autoencoder with D inputs.
    weights, bias : ndarray (D, C), (C,)
        Weights and intercepts of a linear probe on x.
    classes : sequence of C
        Labels in the order of the probe's columns.
    choose, test : ndarray of int
        Row numbers of the clips on which latents are chosen (by :func:`attributions`), and of those on which the
        probe's response is measured.
    groups : ndarray (N,), optional
        Group of each clip, for the intervals; by default every clip is its own group.
    top : int
        Number of latents that are changed together.
    draws : int
        Number of random controls per class. A control changes, in each clip, as many other active latents, and its
        displacement of the embedding is scaled to the length of that of the chosen latents, because weak latents would
        not be a fair control for strong ones.
    factor : float
        Factor of the change, as in :func:`intervene`.
    z : ndarray (N, latents), optional
        What the latents are in each clip; by default ``sae.encode(x)``. Where x are means over frames and the
        autoencoder is one of frames, the means of the frames' codes: multiplying a latent in every frame moves the
        mean frame by (factor - 1) times its mean activation.
    seed : int
        Seed of the random latents.

    Returns
    -------
    pandas.DataFrame
        Two rows per class, indexed by class and kind ("chosen" or "random"). ``mean`` is the change of the class's
        probability on its own test clips. ``low`` and ``high`` are, for "chosen", its 95 % interval over groups, NaN if
        the class has only one; for "random", the range of the middle 95 % of the draws. ``others`` is the change of the
        same probability on the clips of other classes, ``flips`` the share of the class's clips whose predicted class
        changes, ``moved`` the length of the displacement relative to the spread of the embeddings, and ``latents`` the
        numbers of the chosen latents.

    Raises
    ------
    ParameterError
        If shapes do not match, rows are out of range, ``top`` or ``draws`` is below 1, or no class occurs among both
        ``choose`` and ``test``.
    """
    import pandas as pd

    rows = []
    parts = {"choose": choose, "test": test, "groups": groups, "top": top, "draws": draws, "factor": factor, "z": z}
    for each in _changes(x, y, sae, weights=weights, bias=bias, classes=classes, **parts, seed=seed):
        row = {"class": each.name, "kind": "chosen", "mean": each.change.mean()}
        row |= dict(zip(("low", "high"), _bounds(each.change, each.groups), strict=True))
        rows.append(row | each.rest | {"latents": each.latents})
        means = each.controls.mean(1)
        row = {"class": each.name, "kind": "random", "mean": means.mean(), **_middle(means)}
        rows.append(row | pd.DataFrame(each.control_rests).mean().to_dict() | {"latents": []})
    return pd.DataFrame(rows).set_index(["class", "kind"])


@checked
def chosen_against_random(
    x: np.ndarray, y: np.ndarray, sae: SparseAutoencoder, *, seed: int = 0, **asked: object
) -> tuple[float, float, float]:
    """Compare the changes by chosen and by random latents of :func:`ablations`, paired by clip.

    Parameters
    ----------
    x, y, sae, seed
        As in :func:`ablations`.
    **asked
        The other arguments of :func:`ablations`.

    Returns
    -------
    difference, low, high : float in [-1, 1]
        Change of the probability of a test clip's class by the chosen latents, minus the mean change by the random
        draws of :func:`ablations`, averaged over the test clips of all classes, and its 95 % interval over groups. The
        bounds are NaN with one group.

    Raises
    ------
    ParameterError
        As in :func:`ablations`.
    """
    every = list(_changes(x, y, sae, seed=seed, **asked))
    difference = np.concatenate([each.change - each.controls.mean(0) for each in every])
    return float(difference.mean()), *_bounds(difference, np.concatenate([each.groups for each in every]))


class _Change(NamedTuple):
    """Changes of the probability of one class on its own n test clips."""

    name: object
    latents: list[int]
    groups: np.ndarray  # (n,)
    change: np.ndarray  # (n,), by the chosen latents
    rest: dict[str, float]
    controls: np.ndarray  # (draws, n), by random ones
    control_rests: list[dict[str, float]]


@checked
def _changes(
    x: np.ndarray,
    y: np.ndarray,
    sae: SparseAutoencoder,
    *,
    weights: np.ndarray,
    bias: np.ndarray,
    classes: Iterable,
    choose: np.ndarray,
    test: np.ndarray,
    groups: np.ndarray | None = None,
    top: int = 5,
    draws: int = 20,
    factor: float = 0.0,
    z: np.ndarray | None = None,
    seed: int = 0,
) -> Iterator[_Change]:
    """Yield the changes of each class for :func:`ablations`; classes absent from ``choose`` or ``test`` are skipped."""
    whole("top", top, least=1)
    whole("draws", draws, least=1)
    decoder, x, y = _decoder(sae), numbers("x", x, ndim=2), labels("y", y)
    if not isinstance(classes, Iterable) or not len(classes := list(classes)):
        raise ParameterError("classes", classes, "the labels of the columns of weights")
    weights, bias = numbers("weights", weights), numbers("bias", bias)
    width = x.shape[1], len(classes)
    for name, array, shape in (("y", y, x.shape[:1]), ("weights", weights, width), ("bias", bias, width[1:])):
        if array.shape != shape:
            raise ParameterError(f"{name}.shape", array.shape, f"{shape}, as x and classes say")
    choose, test = positions(choose, "choose", len(x)), positions(test, "test", len(x))
    groups = np.arange(len(x)) if groups is None else known(groups, len(x), "groups")
    rng = np.random.default_rng(seed)
    z = sae.encode(x) if z is None else numbers("z", z, ndim=2)
    if z.shape != (wanted := (len(x), len(decoder))):
        raise ParameterError("z.shape", z.shape, f"{wanted}, a row a row of x and a column a latent")
    tested = z[test]
    spread, before = np.sqrt(x[test].var(0).sum()), _softmax(x[test] @ weights + bias)

    def ask(shift: np.ndarray, c: int) -> tuple[np.ndarray, dict[str, float]]:
        """Return the changes of the class's probability on its own clips, and the other columns of its row."""
        after, own = _softmax((x[test] + shift) @ weights + bias), y[test] == classes[c]
        change = after[:, c] - before[:, c]
        rest = {
            "others": change[~own].mean() if not own.all() else np.nan,
            "flips": (after.argmax(1) != before.argmax(1))[own].mean(),
            "moved": np.linalg.norm(shift[own], axis=1).mean() / spread,
        }
        return change[own], rest

    asked = [c for c, name in enumerate(classes) if (y[choose] == name).any() and (y[test] == name).any()]
    if not asked:
        raise ParameterError("classes", classes, "labels that occur in y, among both choose and test")
    for c in asked:
        name = classes[c]
        chosen = np.argsort(-attributions(z[choose[y[choose] == name]], decoder, weights)[:, c], kind="stable")[:top]
        shift = (factor - 1) * (tested[:, chosen] @ decoder[chosen])
        others = tested.copy()
        others[:, chosen] = 0
        controls = [ask(_as_far((factor - 1) * (_some(others, top, rng) @ decoder), shift), c) for _ in range(draws)]
        of_random, rests = zip(*controls, strict=True)
        yield _Change(
            name, chosen.tolist(), groups[test][y[test] == name], *ask(shift, c), np.stack(of_random), [*rests]
        )


def _bounds(values: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval over groups of a mean change of probability."""
    low, high = group_interval(values, groups, limits=(-1, 1))
    return float(low), float(high)


def _middle(values: np.ndarray) -> dict[str, float]:
    return dict(zip(("low", "high"), np.quantile(values, [0.025, 0.975]), strict=True))


def _some(z: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return codes in which at most ``count`` active latents per row are kept, drawn at random."""
    lot = np.where(z > 0, rng.random(z.shape), 2.0)
    last = np.partition(lot, min(count, z.shape[1]) - 1, axis=1)[:, min(count, z.shape[1]) - 1, None]
    return z * (lot <= last)


def _as_far(shift: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Scale each row of ``shift`` to the length of the row of ``wanted``; a row of zeros does not change."""
    length = np.linalg.norm(shift, axis=1, keepdims=True)
    target = np.linalg.norm(wanted, axis=1, keepdims=True)
    return shift * np.divide(target, length, out=np.zeros_like(length), where=length > 0)


def _softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.exp(logits - logits.max(1, keepdims=True))
    return logits / logits.sum(1, keepdims=True)
