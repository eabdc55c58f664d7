"""Erase a concept from embeddings: by removing latents, and in the dense vector; and steer embeddings towards a class.

A concept is a property that a clip has or lacks: a class, or one level of a factor. It is *erased* where a new linear
probe, trained on the changed embeddings, does not read it on clips of other groups. A probe that was trained before the
change is no judge of that, because the concept may stay readable in another direction.

The controls are as many random latents that push every embedding equally far, and two erasures that know nothing of
latents: LEACE (Belrose et al. 2023, arXiv 2306.03819), the least change after which no linear probe of the clips it was
fitted on does better than a constant, and the orthogonal projection along the differences of class means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, choice, number, numbers, several, whole
from ..core.errors import ParameterError
from ..core.labels import known, labels
from ..core.splits import Split, fitting
from ..metrics.classification import roc_auc, roc_auc_interval
from ..metrics.intervals import group_interval
from ..probes import Probes, fit_probes
from .data import positions
from .interventions import _as_far, _decoder, _softmax, attributions

if TYPE_CHECKING:
    import pandas as pd

    from .model import SparseAutoencoder

LATENTS, RANDOM, LEACE, MEANS = "latents", "random latents", "LEACE", "class means"
"""The kinds of :func:`erasure_curve` and :func:`steering_curve`."""
PENALTIES = (0.5, 14.0, 380.0, 10000.0)
"""Every second penalty of :func:`workbench.probes.fit_probes`: dozens of probes are fitted."""


# --- in the dense vector ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Eraser:
    """An affine map that takes a concept out of embeddings, x' = x - left right (x - mean); see :func:`fit_eraser`."""

    mean: np.ndarray
    """Mean of the embeddings it was fitted on, float64 (D,)."""
    left: np.ndarray
    """Directions that are taken away, float64 (D, R); R is at most the number of classes less one."""
    right: np.ndarray
    """How much of each is taken away, float64 (R, D)."""

    @checked
    def __call__(self, x: np.ndarray | Tensor, lengths: Tensor | None = None) -> np.ndarray | Tensor:
        """Return embeddings (N, D), or frames (B, T, D) as :func:`workbench.encoders.splice` gives them, erased.

        ``lengths`` are the frames' and are not used: the map of the mean is the mean of the maps.
        """
        if isinstance(x, Tensor):
            mean, left, right = (torch.from_numpy(part).to(x.device) for part in (self.mean, self.left, self.right))
            wide = x.to(torch.float64)
            return (wide - (wide - mean) @ right.T @ left.T).to(x.dtype)
        x = numbers("x", x, ndim=2)
        return (x - (x - self.mean) @ self.right.T @ self.left.T).astype(np.float32)


@checked
def fit_eraser(x: np.ndarray, y: ArrayLike, *, method: Literal["leace", "means"] = "leace") -> Eraser:
    """Fit the map that takes classes out of embeddings, in closed form.

    Parameters
    ----------
    x : ndarray (N, D)
        Embeddings of the training clips.
    y : array_like (N,)
        Their classes, at least two; for a concept, whether a clip has it.
    method : {"leace", "means"}
        "leace" is the erasure of Belrose et al. (2023, arXiv 2306.03819, theorem 4.3), with the covariance of x,
        its inverse square root W (the pseudo-inverse on the space that the clips span), and the cross-covariance
        S of x and the classes: x' = x - W^+ P W (x - mean), where P projects on the columns of W S. Of all affine maps
        after which x and the classes are uncorrelated it changes x least, in the mean square. "means" projects on the
        complement of the differences of class means instead, which is the same map with W = 1.

    Returns
    -------
    Eraser
        After it the class means of x are equal. No linear probe of x' then has a lower loss on these clips than a
        constant answer; of other clips nothing is promised.

    Raises
    ------
    ParameterError
        If shapes differ, or there are fewer than two classes.
    """
    x, y = numbers("x", x, ndim=2).astype(np.float64), labels("y", y)
    if y.shape != x.shape[:1]:
        raise ParameterError("y.shape", y.shape, f"{x.shape[:1]}, one a row of x")
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ParameterError("y", classes.tolist(), "at least two classes")
    mean = x.mean(0)
    centred, members = x - mean, np.eye(len(classes))[codes]
    cross = centred.T @ (members - members.mean(0)) / len(x)
    if method == "means":
        basis = _columns(cross)
        return Eraser(mean, basis, basis.T)
    _, sizes, axes = np.linalg.svd(centred / np.sqrt(len(x)), full_matrices=False)
    kept = sizes > sizes.max(initial=0) * max(x.shape) * np.finfo(np.float32).eps
    sizes, axes = sizes[kept], axes[kept]
    basis = _columns((axes / sizes[:, None]) @ cross)  # of W S, in the principal axes
    return Eraser(mean, axes.T @ (sizes[:, None] * basis), basis.T @ (axes / sizes[:, None]))


def _columns(matrix: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the columns of a matrix."""
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    return u[:, s > s.max(initial=0) * max(matrix.shape) * 1e-9] if s.max(initial=0) > 0 else u[:, :0]


# --- by latents ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LatentRemoval:
    """Removes latents from the frames of one layer, as a change for :func:`workbench.encoders.splice`.

    Raises
    ------
    ParameterError
        If the autoencoder does not have a latent.
    """

    sae: SparseAutoencoder
    """Autoencoder of the layer's D dimensions."""
    latents: Sequence[int]
    """Numbers of the latents."""
    unit: Literal["clip", "frame"] = "clip"
    """What the autoencoder codes. "frame": of every frame what the latents write in it is subtracted. "clip": the mean
    of a clip's frames is coded, and what the latents write in it is subtracted from all of them."""
    instead: int | None = None
    """Seed of a control: in each row, as many other active latents are removed as the row has of ``latents``, with a
    displacement scaled to equal length. None removes the latents themselves."""

    def __post_init__(self):
        count = len(_decoder(self.sae))
        chosen = several("latents", self.latents, lambda name, value: whole(name, value, least=0, most=count - 1))
        object.__setattr__(self, "latents", tuple(chosen))
        if self.unit not in ("clip", "frame"):
            raise ParameterError("unit", self.unit, "'clip' or 'frame'")
        if self.instead is not None:
            whole("instead", self.instead, least=0)

    def __call__(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Return frames (B, T, D) of clips with ``lengths`` (B,) true frames without what the latents write."""
        inside = torch.arange(frames.shape[1], device=frames.device) < lengths.to(frames.device)[:, None]
        if self.unit == "frame":
            changed = frames.clone()
            changed[inside] -= self._written(frames[inside])
            return changed
        counts = lengths.to(frames.device).clamp(min=1)[:, None]
        mean = (frames.float() * inside[:, :, None]).sum(1) / counts
        return frames - self._written(mean)[:, None].to(frames) * inside[:, :, None]

    def _written(self, rows: Tensor) -> Tensor:
        z, decoder = self.sae.encode(rows.float()).cpu().numpy(), _decoder(self.sae)
        return torch.from_numpy(removed(z, decoder, self.latents, instead=self.instead)).to(rows)


def removed(z: np.ndarray, decoder: np.ndarray, latents: Sequence[int], *, instead: int | None = None) -> np.ndarray:
    """Return what latents write in each row, float32 (N, D): the sum of z_i d_i; see :class:`LatentRemoval`."""
    latents = np.asarray(latents, np.int64)
    written = z[:, latents] @ decoder[latents]
    if instead is None:
        return written.astype(np.float32)
    order = np.random.default_rng(instead).permutation(z.shape[1])
    others, wanted = z.copy(), (z[:, latents] > 0).sum(1)
    others[:, latents] = 0
    turn = np.cumsum(others[:, order] > 0, axis=1)  # how many active ones up to each, in the random order
    others[:, order] *= turn <= wanted[:, None]
    return _as_far(others @ decoder, written).astype(np.float32)


@checked
def speaking(z: np.ndarray, decoder: np.ndarray, weights: np.ndarray, concept: np.ndarray) -> np.ndarray:
    """How much each latent speaks for a concept: what it adds to a probe's score of clips with it, over those without.

    Parameters
    ----------
    z : ndarray (N, K)
        Codes.
    decoder : ndarray (K, D)
        Decoder directions d_i.
    weights : ndarray (D,)
        Weights w of a linear probe of the concept.
    concept : ndarray, bool (N,)
        Whether a clip has the concept; some must and some must not.

    Returns
    -------
    ndarray (K,)
        (mean of z_i with the concept - mean of z_i without it) * d_i . w. The sum is the difference that the
        reconstruction makes to the probe's score. A latent that is silent where the concept is counts as well.
    """
    z, decoder = numbers("z", z, ndim=2), numbers("decoder", decoder, ndim=2)
    weights, concept = numbers("weights", weights, ndim=1), _asked("concept", concept, len(z))
    if z.shape[1] != len(decoder) or decoder.shape[1] != len(weights):
        shapes = z.shape, decoder.shape, weights.shape
        raise ParameterError("shapes of z, decoder, weights", shapes, "(N, K), (K, D), (D,)")
    return (z[concept].mean(0) - z[~concept].mean(0)) * (decoder @ weights)


def _asked(name: str, concept: object, count: int) -> np.ndarray:
    """Return a concept as bool (N,), of which both answers occur."""
    concept = numbers(name, concept)
    if concept.shape != (count,) or not np.isin(concept, (0, 1)).all() or not 0 < concept.sum() < count:
        raise ParameterError(name, f"{concept.dtype} {concept.shape}", f"bool ({count},), some True and some False")
    return concept.astype(bool)


@checked
def erasure_curve(
    x: np.ndarray,
    z: np.ndarray,
    decoder: np.ndarray,
    concept: np.ndarray,
    split: Split,
    *,
    others: Mapping[str, ArrayLike] | None = None,
    groups: ArrayLike | None = None,
    counts: Sequence[int] | None = None,
    draws: int = 2,
    seed: int = 0,
    device: str = "auto",
) -> pd.DataFrame:
    """Remove more and more of the latents that speak for a concept, and ask whether it is still read.

    Parameters
    ----------
    x : ndarray (N, D)
        Embeddings of N clips.
    z : ndarray (N, K)
        Their codes; of a code of frames, the means over the frames.
    decoder : ndarray (K, D)
        Decoder directions: removing the latents S gives x - sum_S z_i d_i.
    concept : ndarray, bool (N,)
        Whether a clip has the concept.
    split : Split
        Latents are ranked (:func:`speaking`), erasers fitted and probes trained on its training and validation clips;
        everything in the table is measured on its test clips.
    others : mapping of name to (N,) labels, optional
        What else may be lost: classes that are read from the clips without the concept.
    groups : array_like (N,), optional
        Group of each clip; a group must not be on both sides of the split. By default every clip is its own.
    counts : sequence of int, optional
        Numbers of latents; by default 1, 2, 4 ... and all that are active in some training clip.
    draws : int
        Random controls of each count.
    seed : int
        Seed of the controls.
    device : str
        Of the probes.

    Returns
    -------
    pandas.DataFrame
        A row for what was ``removed`` ("latents", "random latents", "LEACE", "class means") and the number of
        ``latents`` (0 for nothing removed, -1 for the last two). ``auc``, ``low``, ``high``: area under the ROC curve
        of a new probe of the concept, with a 95 % interval over groups; one half says that it is not read. ``fixed``:
        that of the probe trained before the change. ``moved``: length of the displacement relative to the spread of
        the embeddings. ``portion``: number of latents relative to all active ones. ``less``, ``less_low``,
        ``less_high``: ``auc`` minus that of the random latents, with its interval. A column of each of ``others``:
        balanced accuracy of a new probe, NaN where the classes cannot be asked for. Rows of random latents are means
        over draws (of ``others``, the first); a count is left out where the other latents of a clip cannot push as far.
        ``attrs["latents"]`` are the numbers of the ranked latents, ``attrs["active"]`` says how many are active, and
        ``attrs["groups"]`` how many groups the test clips have.

    Raises
    ------
    ParameterError
        If shapes do not match, no latent is active, a part of the split lacks clips with or without the concept, or an
        option is wrong.
    """
    import pandas as pd

    x, z, decoder = (numbers(*pair, ndim=2) for pair in (("x", x), ("z", z), ("decoder", decoder)))
    if len(x) != len(z) or z.shape[1] != len(decoder) or decoder.shape[1] != x.shape[1]:
        raise ParameterError("shapes of x, z, decoder", (x.shape, z.shape, decoder.shape), "(N, D), (N, K), (K, D)")
    whole("draws", draws, least=1)
    whole("seed", seed, least=0)
    concept, parts = _asked("concept", concept, len(x)), fitting(split, len(x))
    groups = np.arange(len(x)) if groups is None else known(groups, len(x), "groups")
    for name, rows in (("train", parts.train), ("test", parts.test)):
        if not 0 < concept[rows].sum() < len(rows):
            raise ParameterError("concept", f"{concept[rows].sum()} of {len(rows)}", f"some and not all of {name}")
    if others is not None and not isinstance(others, Mapping):
        raise ParameterError("others", type(others).__name__, "a mapping of name to labels (N,), or None")
    fit = np.concatenate([parts.train, parts.valid])
    active = int((z[fit] > 0).any(0).sum())
    if not active:
        raise ParameterError("z", "no value above 0", "codes of which some latent is active in a training clip")
    options = {"groups": groups, "device": device, "progress": False, "penalties": PENALTIES}
    before = fit_probes({"": x}, concept, parts, **options)
    weights, bias = _score(before, 0)
    ranked = np.argsort(-speaking(z[fit], decoder, weights, concept[fit]), kind="stable")
    counts = _counts(counts, active)
    changed, drawn = {(LATENTS, 0, 0): x}, np.random.default_rng(seed).integers(2**31, size=draws)
    for n in counts:
        written = removed(z, decoder, ranked[:n])
        changed[LATENTS, n, 0] = x - written
        for k, instead in enumerate(drawn):
            push = removed(z, decoder, ranked[:n], instead=int(instead))
            if np.linalg.norm(push) > 0.95 * np.linalg.norm(written):
                changed[RANDOM, n, k] = x - push
    for kind, method in ((LEACE, "leace"), (MEANS, "means")):
        changed[kind, -1, 0] = fit_eraser(x[fit], concept[fit], method=method)(x)
    found = fit_probes(_named(changed), concept, parts, **options)
    once = {key: array for key, array in changed.items() if key[2] == 0}
    lost = {name: _kept(once, answers, ~concept, parts, options) for name, answers in (others or {}).items()}
    spread, has = np.sqrt(x[parts.test].var(0).sum()), concept[parts.test]
    scores = {key: changed[key][parts.test] @ _score(found, i)[0] for i, key in enumerate(changed)}
    rows = []
    for kind, n in dict.fromkeys(key[:2] for key in changed):
        keys = [key for key in changed if key[:2] == (kind, n)]
        same = [scores[key] for key in changed if key[:2] == (RANDOM, n)] if kind == LATENTS else []
        own, of_test = [scores[key] for key in keys], groups[parts.test]
        auc, low, high = roc_auc_interval(own, has, of_test)
        less = roc_auc_interval(own, has, of_test, against=same) if same else [np.nan] * 3
        row = {"removed": kind, "latents": n, "portion": n / active if n >= 0 else np.nan, "auc": auc, "low": low}
        row |= {
            "high": high,
            "fixed": np.mean([roc_auc(changed[key][parts.test] @ weights + bias, has) for key in keys]),
        }
        away = [np.linalg.norm(changed[key][parts.test] - x[parts.test], axis=1).mean() for key in keys]
        row |= {"moved": np.mean(away) / spread if spread else np.nan}
        row |= dict(zip(("less", "less_low", "less_high"), less, strict=True))
        rows.append(row | {name: of[keys[0]] for name, of in lost.items()})
    table = pd.DataFrame(rows)
    table.attrs |= {"latents": ranked.tolist(), "active": active, "groups": len(set(groups[parts.test].tolist()))}
    return table


def _counts(counts: Sequence[int] | None, active: int) -> list[int]:
    if counts is None:
        return sorted({*(2**i for i in range(active.bit_length()) if 2**i < active), active} - {0})
    return sorted(set(several("counts", counts, lambda name, value: whole(name, value, least=1))))


def _named(changed: Mapping[tuple, np.ndarray]) -> dict[str, np.ndarray]:
    return {" ".join(map(str, key)): array for key, array in changed.items()}


def _score(probes: Probes, at: int) -> tuple[np.ndarray, float]:
    """Return weights (D,) and bias of the score of "True" of a probe with two answers."""
    weights, bias = probes.weights[at][0], probes.bias[at][0]
    return weights[:, 1] - weights[:, 0], bias[1] - bias[0]


def _kept(changed, answers: ArrayLike, rows: np.ndarray, parts: Split, options: dict) -> dict[tuple, float]:
    """Balanced accuracy of new probes of other classes on rows of the clips, by key; NaN where it cannot be asked."""
    answers = labels("others", answers)
    if answers.shape != rows.shape:
        raise ParameterError("others", answers.shape, f"labels {rows.shape}, one a clip")
    asked = [part[rows[part]] for part in (parts.train, parts.valid, parts.test)]
    seen = set(answers[asked[0]].tolist())
    asked = [part[[answers[i] in seen for i in part.tolist()]] if len(part) else part for part in asked]
    if len(seen) < 2 or not all(map(len, asked[::2])) or len(set(answers[asked[2]].tolist())) < 2:
        return dict.fromkeys(changed, np.nan)
    found = fit_probes(_named(changed), answers, Split(*asked), **options)
    return dict(zip(changed, found.balanced_accuracy[:, 0], strict=True))


# --- the other way: steering --------------------------------------------------------------------------------------


@checked
def steering_curve(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    decoder: np.ndarray,
    *,
    weights: np.ndarray,
    bias: np.ndarray,
    classes: ArrayLike,
    target: object,
    choose: np.ndarray,
    test: np.ndarray,
    groups: np.ndarray | None = None,
    top: int = 5,
    doses: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0),
    draws: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Add what the latents of a class write to clips of the other classes, in doses, and ask a probe for the class.

    Parameters
    ----------
    x, y : ndarray (N, D), (N,)
        Embeddings and labels.
    z, decoder : ndarray (N, K), (K, D)
        Codes, and decoder directions.
    weights, bias, classes : (D, C), (C,), C labels
        A linear probe on x.
    target : label
        The class, one of ``classes``.
    choose, test : ndarray of int
        Row numbers of the clips from which directions are taken, and of those that are steered (where they are of
        another class).
    groups : ndarray (N,), optional
        Group of each clip, for the intervals; by default every clip is its own.
    top : int
        Number of latents, those with the largest :func:`~.interventions.attributions` to the class; at most half of
        those that are active in its clips, so that as many others are.
    doses : sequence of float
        Lengths that are added, in units of the spread of the embeddings (the root of their total variance).
    draws : int
        Random controls.
    seed : int
        Seed of the controls.

    Returns
    -------
    pandas.DataFrame
        A row a kind and dose. "latents": along the mean of what the latents write in clips of the class. "random
        latents": the same of as many others that are active in these clips, the mean over draws. "class means": along
        the mean of the class less that of the others, in the dense vector. ``probability`` of the class with its 95 %
        interval over groups ``low``, ``high``; ``named``: share of clips to which the probe gives the class;
        ``over``, ``over_low``, ``over_high``: probability less that by random latents.

    Raises
    ------
    ParameterError
        If shapes do not match, the target is no class or no clip of it is among ``choose``, all clips of ``test`` are
        of it, or fewer than two latents are active in its clips.
    """
    import pandas as pd

    whole("top", top, least=1)
    whole("draws", draws, least=1)
    x, z, decoder = (numbers(*pair, ndim=2) for pair in (("x", x), ("z", z), ("decoder", decoder)))
    weights, bias, y = numbers("weights", weights, ndim=2), numbers("bias", bias, ndim=1), labels("y", y)
    classes, doses = (
        labels("classes", classes).tolist(),
        several("doses", doses, lambda name, value: number(name, value, least=0)),
    )
    target = choice("target", target, classes)
    wanted = {"z": (len(x), len(decoder)), "decoder": (len(decoder), x.shape[1]), "y": x.shape[:1]}
    wanted |= {"weights": (x.shape[1], len(classes)), "bias": (len(classes),)}
    given = {"z": z, "decoder": decoder, "y": y, "weights": weights, "bias": bias}
    for name, shape in wanted.items():
        if given[name].shape != shape:
            raise ParameterError(f"{name}.shape", given[name].shape, f"{shape}, as x, decoder and classes say")
    choose, test = positions(choose, "choose", len(x)), positions(test, "test", len(x))
    groups = np.arange(len(x)) if groups is None else known(groups, len(x), "groups")
    own, steered, c = choose[y[choose] == target], test[y[test] != target], classes.index(target)
    if not len(own) or not len(steered) or len(own) == len(choose):
        found = f"{len(own)} of {len(choose)} clips of choose, {len(steered)} others in test"
        raise ParameterError("target", f"{target}: {found}", "a class with clips in choose, others in both parts")
    level = z[own].mean(0)
    top = min(top, int((level > 0).sum()) // 2)
    if not top:
        found = f"{(level > 0).sum()} latents are active in clips of {target}"
        raise ParameterError("z", found, "codes with at least two, one for a control")
    chosen = np.argsort(-attributions(z[own], decoder, weights)[:, c], kind="stable")[:top]
    rest = np.setdiff1d(np.flatnonzero(level > 0), chosen)
    rng = np.random.default_rng(seed)
    lots = [rng.choice(rest, min(top, len(rest)), replace=False) for _ in range(draws)]
    pushes = {
        LATENTS: [level[chosen] @ decoder[chosen]],
        RANDOM: [level[lot] @ decoder[lot] for lot in lots],
        MEANS: [x[own].mean(0) - x[choose[y[choose] != target]].mean(0)],
    }
    spread = np.sqrt(x[choose].var(0).sum())
    rows, bounds = [], {"groups": groups[steered], "limits": (0, 1)}
    for dose in doses:
        asked = {}
        for kind, directions in pushes.items():
            lengths = [max(np.linalg.norm(v), np.finfo(float).tiny) for v in directions]
            moved = [x[steered] + dose * spread * v / n for v, n in zip(directions, lengths, strict=True)]
            asked[kind] = np.stack([_softmax(each.astype(np.float64) @ weights + bias) for each in moved])
        by_random = asked[RANDOM][..., c].mean(0)
        for kind, answers in asked.items():
            p = answers[..., c].mean(0)
            low, high = group_interval(p, **bounds)
            over = group_interval(p - by_random, bounds["groups"], limits=(-1, 1)) if kind != RANDOM else (np.nan,) * 2
            row = {"kind": kind, "dose": dose, "probability": p.mean(), "low": low, "high": high}
            row |= {"named": (answers.argmax(-1) == c).mean(), "over": (p - by_random).mean()}
            rows.append(row | {"over_low": over[0], "over_high": over[1]})
    table = pd.DataFrame(rows)
    table.attrs["latents"] = chosen.tolist()
    return table
