"""Predefined prototypes that depend on the levels of factors, such as pitch or loudness, instead of on the class.

In Almudévar et al. (arXiv 2406.16145) the prototype of a clip is ``p = scale * (E_1[a_1], ..., E_m[a_m], 0)``, where
a_f is the level of factor f and E_f a fixed code of its levels. Each block of the embedding is pulled towards the code
of its factor and the remaining dimensions towards zero. The class enters only through the cross-entropy of the
classifier. After training, the code nearest to a block gives the level that the network recognises.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, number, numbers, several, whole
from ..core.errors import ParameterError
from ..core.labels import known
from ..core.splits import Split, fitting
from ..metrics.intervals import group_interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Levels:
    """Levels of m factors, with boundaries (cuts) taken from training clips; made by :meth:`fit`."""

    names: tuple[str, ...]
    """Names of the factors, in the order of the columns."""
    counts: tuple[int, ...]
    """Number of levels L_f of each factor."""
    cuts: dict[Hashable, tuple[tuple[float, ...], ...]]
    """For each group and factor the L_f - 1 ascending cuts, or, if each value is a level, the L_f values. The only key
    is None without groups."""
    distinct: tuple[bool, ...]
    """Whether each different value of the factor is a level."""

    @classmethod
    def fit(
        cls,
        values: ArrayLike,
        names: Sequence[str],
        *,
        count: int | None | Sequence[int | None] = 6,
        by: ArrayLike | None = None,
        method: str = "inclusive",
    ) -> Levels:
        """Divide each factor at quantiles, so that levels have equally many training clips.

        Parameters
        ----------
        values : array_like float (N, m)
            Factors of the training clips only; cuts that depend on test clips would be a leak.
        names : sequence of str (m,)
            Names of the factors.
        count : int or None, or one per factor
            Number of levels. With None, for a factor that is a category, every different training value is a level.
        by : array_like (N,), optional
            Group of each clip, such as the speaker's gender; each group gets its own cuts. Common cuts of pitch over
            all speakers would mostly separate women from men.
        method : {"inclusive", "exclusive"}
            Method of Python's ``statistics.quantiles``; the code of arXiv 2406.16145 uses "exclusive".

        Returns
        -------
        Levels

        Raises
        ------
        ParameterError
            If shapes do not match, a value is not finite (leave out clips without a measurement, as the paper does, for
            example by ``values[np.isfinite(values).all(1)]``), there are fewer than 2 levels, or a level has no
            training clip (of a group), which happens if many values are equal.
        """
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ParameterError("names", names, "a list of names")
        names = tuple(names)
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise ParameterError("names", names, "different texts")
        values = _finite(values, names)
        counts = count if isinstance(count, Iterable) else [count] * len(names)
        counts = several("count", counts, lambda name, c: None if c is None else whole(name, c))
        if len(counts) != len(names):
            raise ParameterError("count", count, f"one number, or one for each of {list(names)}")
        choice("method", method, ("inclusive", "exclusive"))
        categories = {f: tuple(np.unique(values[:, f]).tolist()) for f, c in enumerate(counts) if c is None}
        sizes = tuple(len(categories[f]) if c is None else c for f, c in enumerate(counts))
        for name, size in zip(names, sizes, strict=True):
            if size < 2:
                raise ParameterError(f"count of {name}", size, "at least 2 levels")
        cuts = {}
        for group, members in _groups(by, len(values)):
            if members.sum() < 2:
                raise ParameterError("by", group, "a group of at least two training clips")
            cuts[group] = tuple(
                categories[f]
                if f in categories
                else tuple(statistics.quantiles(values[members, f].tolist(), n=size, method=method))
                for f, size in enumerate(sizes)
            )
        levels = cls(names, sizes, cuts, tuple(c is None for c in counts))
        levels._check_peopled(levels.codes(values, by=by), by)
        return levels

    def codes(self, values: ArrayLike, *, by: ArrayLike | None = None) -> np.ndarray:
        """Return the level of each factor of each clip, int64 (N, m): the number of cuts at or below the value.

        Parameters
        ----------
        values : array_like float (N, m)
            Factors of the clips.
        by : array_like (N,), optional
            Group of each clip; required if the cuts were fitted by group, and not allowed otherwise.

        Raises
        ------
        ParameterError
            If values are not finite, or a group, or a value of a factor whose values are levels, was not in the
            training clips (it is named).
        """
        values = _finite(values, self.names)
        if (by is None) != (None in self.cuts):
            raise ParameterError("by", by, "given" if by is None else "left out: the cuts were fitted without groups")
        codes = np.empty(values.shape, dtype=np.int64)
        for group, members in _groups(by, len(values)):
            if group not in self.cuts:
                raise ParameterError("by", group, f"a group seen in training: {sorted(self.cuts, key=str)}")
            for f, cuts in enumerate(self.cuts[group]):
                codes[members, f] = np.searchsorted(cuts, values[members, f], side="right") - self.distinct[f]
        for f in np.flatnonzero(self.distinct):
            known = np.asarray(next(iter(self.cuts.values()))[f])
            unseen = ~np.isin(values[:, f], known)
            if unseen.any():
                row = int(unseen.argmax())
                expected = f"a level seen in training: {known.tolist()}"
                raise ParameterError(f"{self.names[f]} of row {row}", float(values[row, f]), expected)
        return codes

    def _check_peopled(self, codes: np.ndarray, by: ArrayLike | None) -> None:
        for group, members in _groups(by, len(codes)):
            for f, (name, size) in enumerate(zip(self.names, self.counts, strict=True)):
                clips = np.bincount(codes[members, f], minlength=size)
                if not clips.all() and not self.distinct[f]:
                    where = f"training clips of {name} in level {int(clips.argmin())} of {size}"
                    within = "" if by is None else f" in group {group}"
                    raise ParameterError(where + within, 0, "at least 1: ask for fewer levels")


class FactorPrototypes:
    """Prototypes of all combinations of factor levels, with one block of dimensions per factor and a rest of zeros.

    Parameters
    ----------
    levels : Levels
        Levels of the factors.
    dim : int
        Number of dimensions k of the embeddings.
    scale : float
        Length of the prototype in each block; a clip's whole prototype has length scale * sqrt(m).
    code : {"one-hot", "thermometer"}
        "one-hot" takes L_f dimensions for a factor, and any two levels have distance scale * sqrt(2). "thermometer"
        takes L_f - 1 dimensions, where level l is +1 in the first l and -1 in the others, divided by sqrt(L_f - 1).
        Levels l and l' then have distance 2 scale sqrt(abs(l - l') / (L_f - 1)), so neighbours are close.

    Attributes
    ----------
    blocks : dict of str to slice
        Dimensions of each factor, then of "rest".
    matrix : np.ndarray float32 (sum of L_f, k)
        One row for each level of each factor; the prototypes of clips are their one-hot levels times this matrix.

    Raises
    ------
    ParameterError
        If the factors need more than ``dim`` dimensions, ``scale`` is not positive, or ``code`` is unknown.
    """

    @checked
    def __init__(self, levels: Levels, dim: int, *, scale: float, code: str = "one-hot"):
        choice("code", code, ("one-hot", "thermometer"))
        number("scale", scale, above=0)
        if not isinstance(levels, Levels):
            raise ParameterError("levels", type(levels).__name__, "the Levels of the factors")
        self.levels, self.dim, self.scale, self.code = levels, dim, scale, code
        widths = [size - (code == "thermometer") for size in levels.counts]
        if sum(widths) > dim:
            needs = " + ".join(f"{name} {width}" for name, width in zip(levels.names, widths, strict=True))
            raise ParameterError("dim", dim, f"at least {sum(widths)}, which the factors need: {needs}")
        ends = np.cumsum([0, *widths]).tolist()
        self.blocks = {name: slice(a, b) for name, a, b in zip(levels.names, ends[:-1], ends[1:], strict=True)}
        self.blocks["rest"] = slice(ends[-1], dim)
        self.matrix = np.zeros((sum(levels.counts), dim), dtype=np.float32)
        self._rows = np.cumsum([0, *levels.counts])
        for f, (name, size) in enumerate(zip(levels.names, levels.counts, strict=True)):
            self.matrix[self._rows[f] : self._rows[f + 1], self.blocks[name]] = scale * _code(size, code)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {size}" for name, size in zip(self.levels.names, self.levels.counts, strict=True))
        return f"FactorPrototypes({sizes}; {self.code}, dim={self.dim}, scale={self.scale:g})"

    def table(self, factor: str) -> np.ndarray:
        """Return the prototypes of one factor's levels within its block, float32 (L_f, d_f)."""
        choice("factor", factor, self.levels.names)
        f = self.levels.names.index(factor)
        return self.matrix[self._rows[f] : self._rows[f + 1], self.blocks[factor]]

    def one_hot(self, levels: ArrayLike) -> np.ndarray:
        """Return levels (N, m) as concatenated one-hot vectors, float32 (N, sum of L_f), which mixup can mix.

        Raises
        ------
        ParameterError
            If the shape is wrong, or a level does not exist (factor and row are named).
        """
        levels = numbers("levels", levels)
        if levels.dtype.kind not in "iu" or levels.ndim != 2 or levels.shape[1] != len(self.levels.names):
            raise ParameterError("levels", f"{levels.dtype} {levels.shape}", f"integers (N, {len(self.levels.names)})")
        wrong = (levels < 0) | (levels >= np.asarray(self.levels.counts))
        if wrong.any():
            row, f = map(int, np.argwhere(wrong)[0])
            expected = f"a level seen in training, 0 to {self.levels.counts[f] - 1}"
            raise ParameterError(f"{self.levels.names[f]} of row {row}", int(levels[row, f]), expected)
        out = np.zeros((len(levels), len(self.matrix)), dtype=np.float32)
        np.put_along_axis(out, levels + self._rows[:-1], 1.0, axis=1)
        return out

    def targets(self, levels: ArrayLike) -> np.ndarray:
        """Return the prototypes of clips, float32 (N, k).

        They are linear in the one-hot levels, so the target of a mixture of clips is the same mixture of their targets.

        Parameters
        ----------
        levels : array_like
            Integer levels (N, m), or floating-point weights of the levels (N, sum of L_f), such as a mixture of rows of
            :meth:`one_hot`.
        """
        levels = numbers("levels", levels)
        weights = levels if levels.dtype.kind == "f" else self.one_hot(levels)
        if weights.ndim != 2 or weights.shape[1] != len(self.matrix):
            raise ParameterError("levels.shape", weights.shape, f"(N, {len(self.matrix)}) weights of levels")
        return weights.astype(np.float32) @ self.matrix

    @checked
    def moves(self, before: ArrayLike, after: ArrayLike) -> pd.DataFrame:
        """Measure how far each block of the embedding moves when the sounds are changed.

        Parameters
        ----------
        before, after : array_like (N, k)
            Embeddings of the original and of the changed sounds.

        Returns
        -------
        pandas.DataFrame
            Euclidean distances, one row per clip and one column per block (the factors, then "rest").

        Raises
        ------
        ParameterError
            If shapes do not match or values are not finite.
        """
        import pandas as pd

        arrays = {"before": before, "after": after}
        arrays = {name: numbers(name, z, ndim=2).astype(np.float64) for name, z in arrays.items()}
        for name, z in arrays.items():
            if z.shape != (len(arrays["before"]), self.dim):
                raise ParameterError(f"{name}.shape", z.shape, f"({len(arrays['before'])}, {self.dim})")
        way = arrays["after"] - arrays["before"]
        return pd.DataFrame({name: np.linalg.norm(way[:, block], axis=1) for name, block in self.blocks.items()})

    @checked
    def moved_further(
        self, moves: pd.DataFrame, block: str, *, groups: ArrayLike | None = None
    ) -> tuple[float, float, float]:
        """Measure how much further one factor's block moved than the blocks of the other factors on average.

        Parameters
        ----------
        moves : pandas.DataFrame
            Result of :meth:`moves`. The rest is used for comparison only if there is no other factor.
        block : str
            The factor that was changed.
        groups : array_like (N,), optional
            Group of each clip, for the interval; by default every clip is its own group.

        Returns
        -------
        difference, low, high : float
            Mean difference of the distances and its interval; the bounds are NaN with one group.

        Raises
        ------
        ParameterError
            If there is no such factor, or lengths differ.
        """
        choice("block", block, self.levels.names)
        others = [name for name in self.levels.names if name != block] or ["rest"]
        further = (moves[block] - moves[others].mean(axis=1)).to_numpy()
        low, high = group_interval(further, groups)
        return float(further.mean()), float(low), float(high)


class InputColumns(NamedTuple):
    """For each factor the single input column that predicts its levels best; made by :func:`best_input_column`."""

    columns: np.ndarray
    """Position of the column among the inputs, int64 (m,)."""
    read: np.ndarray
    """Level of each clip that is predicted from the column, int64 (N, m)."""
    share: np.ndarray
    """Share of test clips with a correctly predicted level, float64 (m,)."""


@checked
def best_input_column(inputs: ArrayLike, levels: ArrayLike, split: Split) -> InputColumns:
    """Predict the levels of each factor from the best single input column, as a baseline for a network.

    A column is divided at those of its quantiles at which the parts have as many training clips as the factor's levels:
    for terciles of a factor, at the column's own terciles. The level may rise or fall with the column. The column and
    the direction with the highest accuracy on train and valid are selected; test clips are only predicted.

    Parameters
    ----------
    inputs : array_like float (N, D)
        Inputs of the network.
    levels : array_like of int (N, m)
        Levels of the factors, from 0.
    split : Split
        Split with a test part; valid may be empty.

    Returns
    -------
    InputColumns

    Raises
    ------
    ParameterError
        If shapes do not match, values are NaN, levels are not integers or are below 0, or there is no test part.

    Examples
    --------
    >>> x, level = np.column_stack([np.ones(30), -np.arange(30.0)]), np.arange(30)[:, None] // 15
    >>> best = best_input_column(x, level, Split(np.arange(0, 30, 2), [], np.arange(1, 30, 2)))
    >>> best.columns.tolist(), best.share.tolist()
    ([1], [1.0])
    """
    inputs, levels = numbers("inputs", inputs, ndim=2).astype(np.float64), numbers("levels", levels)
    if levels.dtype.kind not in "iu" or levels.ndim != 2 or len(levels) != len(inputs) or levels.min() < 0:
        raise ParameterError("levels", f"{levels.dtype} {levels.shape}", f"integers ({len(inputs)}, m), from 0")
    train, valid, test = fitting(split, len(inputs), needed=("train", "test"))
    chosen_on, ways = np.concatenate([train, valid]), np.hstack([inputs, -inputs])
    columns, read = [], []
    for level in levels.T:
        below = np.cumsum(np.bincount(level[train], minlength=level.max() + 1))[:-1] / len(train)
        each = np.zeros(ways.shape, dtype=np.int64)
        for cut in np.quantile(ways[train], below, axis=0):
            each += ways >= cut
        best = int((each[chosen_on] == level[chosen_on, None]).mean(0).argmax())
        columns.append(best % inputs.shape[1])
        read.append(each[:, best])
    read = np.stack(read, axis=1)
    return InputColumns(np.array(columns), read, (read[test] == levels[test]).mean(0))


def _code(size: int, code: str) -> np.ndarray:
    if code == "one-hot":
        return np.eye(size)
    return np.where(np.arange(size - 1) < np.arange(size)[:, None], 1.0, -1.0) / np.sqrt(size - 1)


def _groups(by: ArrayLike | None, n: int) -> list[tuple[Hashable, np.ndarray]]:
    """Return each group and its members as bool (N,); without groups, a single group None with all clips."""
    if by is None:
        return [(None, np.ones(n, dtype=bool))]
    by = known(by, n, "by")
    return [(group, by == group) for group in np.unique(by).tolist()]


def _finite(values: ArrayLike, names: tuple[str, ...]) -> np.ndarray:
    values = numbers("values", values, finite=False).astype(np.float64)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ParameterError("values.shape", values.shape, f"(N, {len(names)}), a column for each of {list(names)}")
    if not np.isfinite(values).all():
        row, f = map(int, np.argwhere(~np.isfinite(values))[0])
        expected = "finite: leave out clips whose factors could not be measured"
        raise ParameterError(f"{names[f]} of row {row}", float(values[row, f]), expected)
    return values
