"""Reading a decision in words: the level of each factor, and what each adds to every class.

With prototypes of factors (:mod:`.factors`) and a linear head, ``logit_c = sum_f W_c[f] . z_f + W_c[rest] . z_rest +
b_c``: the blocks' contributions and the bias are the logit, exactly. What a block says is the level whose prototype is
nearest; what would be decided had it said otherwise follows by putting another level's prototype in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, numbers
from ..core.errors import ParameterError
from ..core.labels import known
from ..metrics.classification import group_interval
from .factors import FactorPrototypes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Explanation:
    """What a linear head made of embeddings with a block a factor; made by :func:`explain`."""

    z: np.ndarray
    """Embeddings, float64 (N, k)."""
    weight: np.ndarray
    """Weights of the head, float64 (C, k)."""
    bias: np.ndarray
    """Bias of the head, float64 (C,)."""
    factors: FactorPrototypes
    """Blocks and their prototypes."""

    @property
    def names(self) -> tuple[str, ...]:
        """Blocks in the order of the contributions: the m factors, then "rest"."""
        return tuple(self.factors.blocks)

    @cached_property
    def level_probabilities(self) -> dict[str, np.ndarray]:
        """Factor -> float64 (N, L_f): softmax of the negative squared distances to its levels' prototypes."""
        out = {}
        for name in self.names[:-1]:
            table = self.factors.table(name).astype(np.float64)
            distances = np.square(self.z[:, None, self.factors.blocks[name]] - table).sum(2)
            out[name] = _softmax(-distances)
        return out

    @property
    def levels(self) -> np.ndarray:
        """Level read from each block, int64 (N, m): the nearest prototype."""
        return np.stack([each.argmax(1) for each in self.level_probabilities.values()], axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """Probability of that level, float64 (N, m). With a scale much above 1 it is near 1 even for poor matches."""
        return np.stack([each.max(1) for each in self.level_probabilities.values()], axis=1)

    @property
    def positions(self) -> np.ndarray:
        """Where each block lies on the way from its lowest level's prototype, 0, to its highest's, 1; float64 (N, m).

        It goes on where level probabilities are 0 or 1 to all digits, which a large scale makes of them.
        """
        out = []
        for name in self.names[:-1]:
            table = self.factors.table(name).astype(np.float64)
            way = table[-1] - table[0]
            out.append((self.z[:, self.factors.blocks[name]] - table[0]) @ way / (way @ way))
        return np.stack(out, axis=1)

    @cached_property
    def contributions(self) -> np.ndarray:
        """What each block adds to each class's logit, float64 (N, C, m + 1); their sum + bias is the logit."""
        parts = [self.z[:, block] @ self.weight[:, block].T for block in self.factors.blocks.values()]
        return np.stack(parts, axis=2)

    @property
    def logits(self) -> np.ndarray:
        """float64 (N, C)."""
        return self.z @ self.weight.T + self.bias

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 (N, C)."""
        return _softmax(self.logits)

    @property
    def decisions(self) -> np.ndarray:
        """Class of the largest logit, int64 (N,)."""
        return self.logits.argmax(1)

    def effects(self, factor: str) -> np.ndarray:
        """What each level of a factor would add to each class's logit, were z on its prototype; float64 (C, L_f)."""
        table = self.factors.table(factor)
        return self.weight[:, self.factors.blocks[factor]] @ table.T.astype(np.float64)

    def counterfactual(self, levels: dict[str, int | np.ndarray]) -> np.ndarray:
        """Class probabilities had these factors been at these levels, float64 (N, C).

        Parameters
        ----------
        levels : dict of str to int or array (N,)
            Factor -> level whose prototype replaces the block; the other blocks and the rest stay.

        Raises
        ------
        ParameterError
            A factor or level that does not exist.
        """
        z = self.z.copy()
        if not isinstance(levels, Mapping):
            raise ParameterError("levels", levels, "a mapping of factor to level")
        for name, level in levels.items():
            table = self.factors.table(name)
            level = numbers(f"levels[{name!r}]", level)
            if level.dtype.kind not in "iu" or level.shape not in ((), (len(z),)):
                raise ParameterError(f"levels[{name!r}]", level.tolist(), f"a whole number, or {len(z)} of them")
            if not np.all((level >= 0) & (level < len(table))):
                raise ParameterError(f"levels[{name!r}]", level.tolist(), f"from 0 to {len(table) - 1}")
            z[:, self.factors.blocks[name]] = table[level]
        return _softmax(z @ self.weight.T + self.bias)

    def shapley(self, background: ArrayLike | None = None, *, of: str = "logit") -> np.ndarray:
        """Exact Shapley value of each block for each class (Shapley 1953), float64 (N, C, m + 1).

        Parameters
        ----------
        background : array_like (k,), optional
            What an absent block is set to; default: the mean of z.
        of : {"logit", "probability"}
            Of the logit it is the contribution minus the background's contribution.
        """
        choice("of", of, ("logit", "probability"))
        background = self.z.mean(0) if background is None else numbers("background", background).astype(np.float64)
        if background.shape != self.z.shape[1:]:
            raise ParameterError("background.shape", background.shape, f"{self.z.shape[1:]}, a number a dimension")

        def score(z: np.ndarray) -> np.ndarray:
            logits = z @ self.weight.T + self.bias
            return logits if of == "logit" else _softmax(logits)

        return _shapley(score, self.z, background, list(self.factors.blocks.values()))


@checked
def explain(z: ArrayLike, weight: ArrayLike, bias: ArrayLike, factors: FactorPrototypes) -> Explanation:
    """Explain the decisions of a linear head on embeddings trained with prototypes of factors.

    Parameters
    ----------
    z : array_like (N, k)
        Embeddings.
    weight : array_like (C, k)
        Weights of the head.
    bias : array_like (C,)
        Bias of the head.
    factors : FactorPrototypes
        The prototypes of the training.

    Returns
    -------
    Explanation

    Raises
    ------
    ParameterError
        Shapes that do not fit, NaN or infinite values.
    """
    if not isinstance(factors, FactorPrototypes):
        raise ParameterError("factors", type(factors).__name__, "the FactorPrototypes of the training")
    axes_of = {"z": (z, 2), "weight": (weight, 2), "bias": (bias, 1)}
    arrays = {name: numbers(name, values, ndim=axes).astype(np.float64) for name, (values, axes) in axes_of.items()}
    classes = arrays["weight"].shape[0]
    shapes = {"z": (len(arrays["z"]), factors.dim), "weight": (classes, factors.dim), "bias": (classes,)}
    for name, array in arrays.items():
        if array.shape != shapes[name]:
            raise ParameterError(f"{name}.shape", array.shape, f"{shapes[name]}, with k={factors.dim} of the factors")
    return Explanation(**arrays, factors=factors)


@checked
def block_moves(before: ArrayLike, after: ArrayLike, factors: FactorPrototypes) -> pd.DataFrame:
    """How far each block moves when the sounds are changed.

    Parameters
    ----------
    before, after : array_like (N, k)
        Embeddings of the sounds as they were and changed.
    factors : FactorPrototypes

    Returns
    -------
    pandas.DataFrame
        Row a clip, column a block (the factors, then "rest"): Euclidean distance.

    Raises
    ------
    ParameterError
        Shapes that do not fit, NaN or infinite values.
    """
    import pandas as pd

    arrays = {"before": before, "after": after}
    arrays = {name: numbers(name, z, ndim=2).astype(np.float64) for name, z in arrays.items()}
    for name, z in arrays.items():
        if z.shape != (len(arrays["before"]), factors.dim):
            raise ParameterError(f"{name}.shape", z.shape, f"({len(arrays['before'])}, {factors.dim})")
    way = arrays["after"] - arrays["before"]
    return pd.DataFrame({name: np.linalg.norm(way[:, block], axis=1) for name, block in factors.blocks.items()})


@checked
def moved_further(
    moves: pd.DataFrame, block: str, *, groups: ArrayLike | None = None, seed: int = 0
) -> tuple[float, float, float]:
    """How much further one factor's block moved than those of the other factors on average.

    Parameters
    ----------
    moves : pandas.DataFrame
        Of :func:`block_moves`. The rest, which is no factor, counts only where there is no other.
    block : str
        The block of what was changed.
    groups : array_like (N,), optional
        Group of each clip: the interval resamples whole groups; default: every clip its own.
    seed : int
        Of the interval.

    Returns
    -------
    difference, low, high : float
        Distance; the bounds are NaN where there is one group.

    Raises
    ------
    ParameterError
        No such block, lengths that differ.
    """
    choice("block", block, list(moves.columns))
    others = [name for name in moves if name not in (block, "rest")] or [name for name in moves if name != block]
    further = (moves[block] - moves[others].mean(axis=1)).to_numpy()
    groups = np.arange(len(moves)) if groups is None else known(groups, len(moves), "groups")
    several_groups = len(np.unique(groups)) > 1
    low, high = group_interval(further, groups, seed=seed) if several_groups else (np.nan, np.nan)
    return float(further.mean()), float(low), float(high)


def _shapley(
    score: Callable[[np.ndarray], np.ndarray], z: np.ndarray, background: np.ndarray, blocks: list[slice]
) -> np.ndarray:
    """Exact Shapley values of blocks of dimensions (Shapley 1953), by all 2^B subsets.

    Parameters
    ----------
    score : callable
        (N, k) -> (N, C).
    z : np.ndarray (N, k)
    background : np.ndarray (k,)
        Takes the place of blocks outside the subset.
    blocks : list of slice
        B of them.

    Returns
    -------
    np.ndarray float64 (N, C, B)
        Sums over blocks to score(z) - score(background).
    """
    players = range(len(blocks))
    subsets = [frozenset(some) for size in range(len(blocks) + 1) for some in combinations(players, size)]
    value = {}
    for subset in subsets:
        mixed = np.tile(background, (len(z), 1)).astype(np.float64)
        for player in subset:
            mixed[:, blocks[player]] = z[:, blocks[player]]
        value[subset] = score(mixed)
    out = np.zeros((*value[frozenset()].shape, len(blocks)))
    for subset in subsets:
        share = factorial(len(subset)) * factorial(len(blocks) - len(subset) - 1) if len(subset) < len(blocks) else 0
        for player in set(players) - subset:
            out[:, :, player] += share / factorial(len(blocks)) * (value[subset | {player}] - value[subset])
    return out


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)
