"""Does a latent matter? Remove or amplify what it writes, and see what a linear probe of the embedding then says.

An embedding is x = x_hat + e, and x_hat is a sum of latents times their decoder directions. Changing latent i by a
factor moves the embedding by exactly (factor - 1) z_i d_i and leaves the error e alone, so nothing but the latent
changes. A direction that merely correlates with a class and one that the probe reads can be told apart this way;
Mariotte et al. (2025) do not test it.
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
    """Embeddings with some latents multiplied by a factor.

    Parameters
    ----------
    x : ndarray (N, D)
    sae : SparseAutoencoder
    latents : sequence of int
        Which latents change.
    factor : float
        0 removes them, 1 changes nothing, 2 doubles them.

    Returns
    -------
    ndarray, float32 (N, D)
        x + (factor - 1) * sum_i z_i d_i over the latents.

    Raises
    ------
    ParameterError
        A latent that the autoencoder does not have.
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
    """What each latent adds to each class's logit, on average over clips.

    Parameters
    ----------
    z : ndarray (N, K)
        Codes.
    decoder : ndarray (K, D)
        Directions.
    weights : ndarray (D, C)
        Of the probe. Each row is centred first: what is added to all logits alike changes no decision.

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
    seed: int = 0,
) -> pd.DataFrame:
    """Change, class by class, the latents that speak for it most, and as many random ones, and ask the probe again.

    Parameters
    ----------
    x : ndarray (N, D)
        Embeddings.
    y : ndarray (N,)
        Labels.
    sae : SparseAutoencoder
    weights, bias : ndarray (D, C), (C,)
        Of a linear probe on x.
    classes : sequence of C
        In the order of the probe's columns.
    choose, test : ndarray of int
        Clips on which latents are chosen (by :func:`attributions`), and clips on which the probe is asked.
    groups : ndarray (N,), optional
        What must not leak, for the intervals; default: every clip by itself.
    top : int
        Latents changed together.
    draws : int
        Random sets a class: of each clip as many of its other active latents. What these write is scaled to move
        the embedding as far as the chosen ones do; weak latents would otherwise be no control for strong ones.
    factor : float
        See :func:`intervene`.
    seed : int

    Returns
    -------
    pandas.DataFrame
        Index: class, kind ("chosen" or "random"). Columns: ``mean``, change of the probability of the class on its
        own test clips; ``low``, ``high``, its 95 % interval (chosen: for other groups, NaN where the class has one
        alone; random: the middle 95 % of the draws); ``others``, the same change on the other classes' clips;
        ``flips``, share of the class's clips whose decision changes; ``moved``, length of the change over the spread of
        the embeddings; ``latents``.

    Raises
    ------
    ParameterError
        ``top`` or ``draws`` below 1.
    """
    import pandas as pd

    rows = []
    parts = {"choose": choose, "test": test, "groups": groups, "top": top, "draws": draws, "factor": factor}
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
    """How much more the chosen latents of :func:`ablations` change than the random ones, paired clip by clip.

    Parameters
    ----------
    x, y, sae, seed
        As in :func:`ablations`.
    **asked
        Its other arguments.

    Returns
    -------
    difference, low, high : float in [-1, 1]
        Change of the probability of a test clip's class by the chosen latents minus that by the random ones (mean over
        the draws, which are those of :func:`ablations`), averaged over the test clips of all classes; its 95 %
        interval for other groups, NaN where there is one alone.

    Raises
    ------
    ParameterError
        As :func:`ablations`.
    """
    every = list(_changes(x, y, sae, seed=seed, **asked))
    difference = np.concatenate([each.change - each.controls.mean(0) for each in every])
    return float(difference.mean()), *_bounds(difference, np.concatenate([each.groups for each in every]))


class _Change(NamedTuple):
    """What happens to the probability of a class on its own n test clips."""

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
    seed: int = 0,
) -> Iterator[_Change]:
    """Class by class what :func:`ablations` tells; classes without clips to choose on or to ask about are left out."""
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
    z = sae.encode(x)
    tested = z[test]
    spread, before = np.sqrt(x[test].var(0).sum()), _softmax(x[test] @ weights + bias)

    def ask(shift: np.ndarray, c: int) -> tuple[np.ndarray, dict[str, float]]:
        """Changes of the class's probability on its own clips, and the rest of the row."""
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
    """95 % interval of a mean of changes of a probability, for other groups."""
    low, high = group_interval(values, groups, limits=(-1, 1))
    return float(low), float(high)


def _middle(values: np.ndarray) -> dict[str, float]:
    return dict(zip(("low", "high"), np.quantile(values, [0.025, 0.975]), strict=True))


def _some(z: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Codes with at most ``count`` active latents a row, drawn from those that are active there."""
    lot = np.where(z > 0, rng.random(z.shape), 2.0)
    last = np.partition(lot, min(count, z.shape[1]) - 1, axis=1)[:, min(count, z.shape[1]) - 1, None]
    return z * (lot <= last)


def _as_far(shift: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rows of ``shift`` at the lengths of ``wanted``; a row of zeros stays."""
    length = np.linalg.norm(shift, axis=1, keepdims=True)
    target = np.linalg.norm(wanted, axis=1, keepdims=True)
    return shift * np.divide(target, length, out=np.zeros_like(length), where=length > 0)


def _softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.exp(logits - logits.max(1, keepdims=True))
    return logits / logits.sum(1, keepdims=True)
