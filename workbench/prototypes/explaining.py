"""Explain the decisions of a linear head: the level of each factor and its contribution to the logit of every class.

An embedding trained with prototypes of factors (:mod:`.factors`) has one block of dimensions per factor and a rest.
With a linear head, ``logit_c = sum_f W_c[f] . z_f + W_c[rest] . z_rest + b_c``, so a logit is exactly the sum of the
blocks' contributions and the bias. The level of a block is that of its nearest prototype. Replacing a block by the
prototype of another level gives a counterfactual decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, numbers, several
from ..core.errors import ParameterError
from ..core.labels import known
from ..core.splits import Split, fitting
from ..metrics.classification import paired_interval
from ..metrics.geometry import rank_correlation
from ..metrics.intervals import group_interval
from .factors import FactorPrototypes, best_input_column

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Explanation:
    """Decisions of a linear head on embeddings with one block per factor, explained; made by :func:`explain`."""

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
        """Names of the blocks in the order of the contributions: the m factors, then "rest"."""
        return tuple(self.factors.blocks)

    @cached_property
    def level_probabilities(self) -> dict[str, np.ndarray]:
        """For each factor the softmax of negative squared distances to its levels' prototypes, float64 (N, L_f)."""
        out = {}
        for name in self.names[:-1]:
            table = self.factors.table(name).astype(np.float64)
            distances = np.square(self.z[:, None, self.factors.blocks[name]] - table).sum(2)
            out[name] = _softmax(-distances)
        return out

    @property
    def levels(self) -> np.ndarray:
        """Level of the prototype nearest to each block, int64 (N, m)."""
        return np.stack([each.argmax(1) for each in self.level_probabilities.values()], axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """Probability of that level, float64 (N, m); with prototypes much longer than 1 it is near 1 for any match."""
        return np.stack([each.max(1) for each in self.level_probabilities.values()], axis=1)

    @property
    def positions(self) -> np.ndarray:
        """Position of each block projected on the line from its lowest level's prototype (0) to its highest's (1).

        It is float64 (N, m) and still varies where a large scale rounds all level probabilities to 0 or 1.
        """
        out = []
        for name in self.names[:-1]:
            table = self.factors.table(name).astype(np.float64)
            way = table[-1] - table[0]
            out.append((self.z[:, self.factors.blocks[name]] - table[0]) @ way / (way @ way))
        return np.stack(out, axis=1)

    @cached_property
    def contributions(self) -> np.ndarray:
        """Contribution of each block to each class's logit, float64 (N, C, m + 1); with the bias they sum to it."""
        parts = [self.z[:, block] @ self.weight[:, block].T for block in self.factors.blocks.values()]
        return np.stack(parts, axis=2)

    @property
    def logits(self) -> np.ndarray:
        """Logits of the head, float64 (N, C)."""
        return self.z @ self.weight.T + self.bias

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 (N, C)."""
        return _softmax(self.logits)

    @property
    def decisions(self) -> np.ndarray:
        """Class of the largest logit, int64 (N,)."""
        return self.logits.argmax(1)

    @checked
    def judge(
        self,
        levels: ArrayLike,
        values: ArrayLike,
        inputs: ArrayLike,
        split: Split,
        *,
        groups: ArrayLike | None = None,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Score the levels of the blocks on the test clips, and compare them with the best single input column.

        Parameters
        ----------
        levels : array_like of int (N, m)
            True levels.
        values : array_like float (N, m)
            Values of the factors from which the levels were made.
        inputs : array_like float (N, D)
            Inputs of the network.
        split : Split
            Split of the clips; the test rows are scored.
        groups : array_like (N,), optional
            Group of each clip, such as its speaker, for the intervals; by default every clip is its own group.
        columns : sequence of str (D,), optional
            Names of the columns of ``inputs``.

        Returns
        -------
        pandas.DataFrame
            One row per factor, then "all" for the mean over factors. The columns are:

            - "read rightly", "read low", "read high": share of test clips whose block has the true level, and its
              interval;
            - "chance": 1 / number of levels;
            - "best constant": share of the most frequent level on test;
            - "one input column", "column": the same share for :func:`~.factors.best_input_column`, and the name of that
              column;
            - "difference", "low", "high": "read rightly" minus "one input column", and its interval by
              :func:`workbench.metrics.classification.paired_interval` (NaN if the test clips are of one group);
            - "rank correlation": between the block's position and the factor's value, NaN if one of them is constant.

        Raises
        ------
        ParameterError
            If shapes do not match, or :func:`~.factors.best_input_column` raises it.
        """
        import pandas as pd

        names, inputs = self.names[:-1], numbers("inputs", inputs, ndim=2)
        levels, values = numbers("levels", levels, ndim=2), numbers("values", values, ndim=2)
        for name, array in (("levels", levels), ("values", values)):
            if array.shape != (len(self.z), len(names)):
                raise ParameterError(f"{name}.shape", array.shape, f"({len(self.z)}, {len(names)})")
        columns = several("columns", range(inputs.shape[1]) if columns is None else columns, lambda _, name: str(name))
        if len(columns) != inputs.shape[1]:
            raise ParameterError(
                "columns", f"{len(columns)} names", f"{inputs.shape[1]}, one for each column of inputs"
            )
        test, best = fitting(split, len(levels), needed=("test",)).test, best_input_column(inputs, levels, split)
        groups = np.arange(len(levels)) if groups is None else known(groups, len(levels), "groups")
        by_block, by_column = (self.levels == levels)[test], (best.read == levels)[test]
        rows = {}
        for f, name in enumerate(names):
            rows[name] = {
                "chance": 1 / self.factors.levels.counts[f],
                "best constant": np.bincount(levels[test, f]).max() / len(test),
                "column": columns[best.columns[f]],
                "rank correlation": rank_correlation(self.positions[test, f], values[test, f]),
            }
        means = ("chance", "best constant", "rank correlation")
        rows["all"] = {key: np.mean([row[key] for row in rows.values()]) for key in means}
        pairs = [*zip(by_block.T, by_column.T, strict=True), (by_block.mean(1), by_column.mean(1))]
        for row, pair in zip(rows.values(), pairs, strict=True):
            row |= dict(zip(("read rightly", "one input column"), map(np.mean, pair), strict=True))
            row["difference"] = row["read rightly"] - row["one input column"]
            bounds = group_interval(pair[0], groups[test], limits=(0, 1))
            row |= dict(zip(("read low", "read high"), bounds, strict=True))
            row |= dict(zip(("low", "high"), paired_interval(*pair, groups[test])[1:], strict=True))
        order = ["read rightly", "read low", "read high", "chance", "best constant", "one input column", "column"]
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("factor")
        return table[[*order, "difference", "low", "high", "rank correlation"]].fillna({"column": ""})

    def effects(self, factor: str) -> np.ndarray:
        """Contribution of each level's prototype of a factor to each class's logit, float64 (C, L_f)."""
        table = self.factors.table(factor)
        return self.weight[:, self.factors.blocks[factor]] @ table.T.astype(np.float64)

    def counterfactual(self, levels: dict[str, int | np.ndarray]) -> np.ndarray:
        """Return the class probabilities with some factors set to other levels, float64 (N, C).

        Parameters
        ----------
        levels : dict of str to int or array (N,)
            For each factor the level whose prototype replaces its block; other blocks and the rest do not change.

        Raises
        ------
        ParameterError
            If a factor or level does not exist.
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
        """Return the exact Shapley value of each block for each class (Shapley 1953), float64 (N, C, m + 1).

        Parameters
        ----------
        background : array_like (k,), optional
            Values that replace an absent block; by default the mean of z.
        of : {"logit", "probability"}
            Output that is explained. For the logit, a Shapley value is the contribution minus that of the background.
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
        The prototypes with which the embeddings were trained.

    Returns
    -------
    Explanation

    Raises
    ------
    ParameterError
        If shapes do not match or values are not finite.
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


def _shapley(
    score: Callable[[np.ndarray], np.ndarray], z: np.ndarray, background: np.ndarray, blocks: list[slice]
) -> np.ndarray:
    """Exact Shapley values of blocks of dimensions (Shapley 1953), from all 2^B subsets.

    Parameters
    ----------
    score : callable
        Function of embeddings (N, k) that returns scores (N, C).
    z : np.ndarray (N, k)
        Embeddings.
    background : np.ndarray (k,)
        Values that replace the blocks outside a subset.
    blocks : list of slice
        The B blocks.

    Returns
    -------
    np.ndarray float64 (N, C, B)
        Shapley values; they sum over blocks to score(z) - score(background).
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
