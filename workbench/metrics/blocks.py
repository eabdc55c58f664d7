"""Metrics for embeddings whose blocks of dimensions are named after factors: does each block encode its factor alone?

Conventions
-----------
An embedding z (N, k) is divided into blocks of dimensions: one for each factor, and often a rest that was trained for
no factor. ``factors`` are levels, integers (N,). The mutual information of a block of many dimensions cannot be
estimated from N clips, so each block is first turned into a discrete variable:

* A factor's block becomes the level of its nearest prototype, which is what an explanation states. Other information
  in the block is not counted here; :func:`leakage` measures it with probes.
* The rest, which has no levels, becomes the levels that a linear classifier predicts from it
  (:func:`read_linearly`): one variable for each factor, and a lower bound of the information in the rest.

Use clips that were not in the training set: a network may have memorised the levels of its training clips.

Metrics
-------
* :func:`block_information`: mutual information of blocks and factors, and from it :meth:`~BlockInformation.mig` [1]_,
  :meth:`~BlockInformation.minimality` and :meth:`~BlockInformation.sufficiency` [2]_,
  :meth:`~BlockInformation.disentanglement` and :meth:`~BlockInformation.completeness` [3]_.
* :func:`leakage`: how well probes predict a factor from the other blocks, relative to its own block.
* :func:`faithfulness`: deletion and insertion curves [4]_ with blocks in order of their contributions, compared with
  the mean over all orders.

The plug-in estimate of mutual information is biased upwards, by about (L - 1)^2 / (2 N) nats for two variables of L
levels on N clips. ``corrected`` scores subtract its exact mean over all permutations of the clips from numerator and
denominator [5]_: they are 0 on average for independent variables and 1 for identical ones.

References
----------
.. [1] Chen, Li, Grosse, Duvenaud: Isolating sources of disentanglement in variational autoencoders. NeurIPS 2018.
.. [2] Almudévar, Ortega: Rethinking disentanglement under dependent factors of variation. arXiv 2408.07016.
.. [3] Eastwood, Williams: A framework for the quantitative evaluation of disentangled representations. ICLR 2018.
.. [4] Petsiuk, Das, Saenko: RISE: randomized input sampling for explanation of black-box models. BMVC 2018.
.. [5] Vinh, Epps, Bailey: Information theoretic measures for clusterings comparison. JMLR 11 (2010) 2837-2854.

Examples
--------
>>> import numpy as np
>>> from workbench.metrics import blocks
>>> levels = {"pitch": np.repeat([0, 1], 50), "loudness": np.tile([0, 1], 50)}
>>> blocks.block_information(levels, levels).sufficiency().overall  # each block reads its own factor
1.0
>>> swapped = {"pitch": levels["loudness"], "loudness": levels["loudness"]}  # no block reads pitch
>>> blocks.block_information(swapped, levels).sufficiency(corrected=False).each.tolist()
[0.0, 1.0]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, numbers, several, whole
from ..core.errors import ParameterError
from ..core.labels import labels as named
from . import disentanglement as dci
from .disentanglement import Score
from .importance import entropy, mutual_information
from .lasso import finite


@dataclass(frozen=True)
class BlockInformation:
    """Mutual information of B blocks and K factors, nats; made by :func:`block_information`.

    Every score takes ``corrected``: True subtracts the expected value for independent variables (see the module's
    text), False gives the score as the papers define it.
    """

    blocks: tuple[str, ...]
    """Names of the B blocks, the rows."""
    factors: tuple[str, ...]
    """Names of the K factors, the columns."""
    information: np.ndarray
    """Plug-in estimate of the mutual information, float64 (B, K)."""
    expected: np.ndarray
    """Mean of the estimate over all permutations of the clips: its value for independent variables; float64 (B, K)."""
    block_entropy: np.ndarray
    """Entropy H(Z_i) of each block, (B,); NaN for a block with a different variable for each factor."""
    factor_entropy: np.ndarray
    """Entropy H(Y_j) of each factor, (K,)."""

    @checked
    def shares(self, *, corrected: bool = True) -> np.ndarray:
        """Mutual information as a share of each factor's entropy, float64 (B, K); corrected shares may be below 0."""
        return self._shares(self.factor_entropy, corrected)

    @checked
    def mig(self, *, corrected: bool = True) -> Score:
        """Mutual information gap between the two most informative blocks of each factor, in shares; ``each`` (K,)."""
        shares = np.vstack([self.shares(corrected=corrected).clip(0), np.zeros(len(self.factors))])
        second, first = np.sort(shares, axis=0)[-2:]
        return _averaged(first - second)

    @checked
    def minimality(self, *, corrected: bool = True) -> Score:
        """Share of a block's entropy that belongs to one factor: mean_i max_j I(Y_j; Z_i) / H(Z_i); ``each`` (B,).

        A block with a different variable for each factor, or with one level for all clips, is NaN and is left out of
        the mean.
        """
        return _averaged(self._shares(self.block_entropy[:, None], corrected).max(1))

    @checked
    def sufficiency(self, *, corrected: bool = True) -> Score:
        """Share of a factor's entropy that one block contains: mean_j max_i I(Y_j; Z_i) / H(Y_j); ``each`` (K,)."""
        return _averaged(self.shares(corrected=corrected).max(0))

    @checked
    def disentanglement(self, *, corrected: bool = True) -> Score:
        """:func:`workbench.metrics.disentanglement.disentanglement` with the shares as importances; ``each`` (B,)."""
        return dci.disentanglement(self.shares(corrected=corrected).clip(0))

    @checked
    def completeness(self, *, corrected: bool = True) -> Score:
        """:func:`workbench.metrics.disentanglement.completeness` with the shares as importances; ``each`` (K,)."""
        return dci.completeness(self.shares(corrected=corrected).clip(0))

    @checked
    def evaluate(self, *, corrected: bool = True) -> dict[str, float]:
        """Average of every score of this class, by the name of its method."""
        scores = (self.mig, self.minimality, self.sufficiency, self.disentanglement, self.completeness)
        return {score.__name__: score(corrected=corrected).overall for score in scores}

    def _shares(self, whole: np.ndarray, corrected: bool) -> np.ndarray:
        nothing = self.expected if corrected else np.zeros_like(self.expected)
        whole = np.broadcast_to(whole, nothing.shape) - nothing
        return np.divide(self.information - nothing, whole, out=np.full(whole.shape, np.nan), where=whole > 1e-12)


@checked
def block_information(codes: Mapping[str, ArrayLike], factors: Mapping[str, ArrayLike]) -> BlockInformation:
    """Mutual information between discretised blocks and factors.

    Parameters
    ----------
    codes : mapping of str to array_like of int (N,) or (N, K)
        For each block its level on each clip, (N,); or (N, K), where column j is the level of factor j that was
        predicted from the block.
    factors : mapping of str to array_like of int (N,)
        True level of each clip, for each of K factors.

    Returns
    -------
    BlockInformation

    Raises
    ------
    ParameterError
        If there is no block or no factor, lengths or shapes do not match, levels are not integers, or a factor has
        only one level.

    Examples
    --------
    >>> pitch, loudness = np.repeat([0, 1], 50), np.tile([0, 1], 50)
    >>> information = block_information({"z1": pitch, "z2": loudness}, {"pitch": pitch, "loudness": loudness})
    >>> information.mig().overall, round(information.minimality().overall, 12)
    (1.0, 1.0)
    """
    for name, mapping in (("codes", codes), ("factors", factors)):
        if not isinstance(mapping, Mapping) or not mapping:
            raise ParameterError(name, mapping, "a mapping of name to levels, at least one")
    count = len(numbers("factors", next(iter(factors.values())), ndim=1, empty=True))
    v = [_numbered(f"factors[{name!r}]", column, ((count,),)) for name, column in factors.items()]
    for name, column in zip(factors, v, strict=True):
        if not column.any():
            raise ParameterError(f"factors[{name!r}]", "one level for all clips", "at least two levels")
    allowed = ((count,), (count, len(v)))
    z = [_numbered(f"codes[{name!r}]", code, allowed) for name, code in codes.items()]
    # for each factor j, the code that represents each block
    columns = [[code if code.ndim == 1 else code[:, j] for code in z] for j in range(len(v))]
    levels = max(2, max(int(code.max()) for code in z) + 1)  # enough bins to give every level its own
    information = [
        mutual_information(np.stack(z_j, axis=1), factor, discrete=True, bins=levels)[:, 0]
        for z_j, factor in zip(columns, v, strict=True)
    ]
    expected = [[_expected(code, factor) for code in z_j] for z_j, factor in zip(columns, v, strict=True)]
    own = [entropy(code) if code.ndim == 1 else float("nan") for code in z]
    known = [entropy(factor) for factor in v]
    tables = (np.array(information).T, np.array(expected).T, np.array(own), np.array(known))
    return BlockInformation(tuple(codes), tuple(factors), *tables)


def _numbered(name: str, levels: ArrayLike, shapes: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Return the levels renumbered from 0 without gaps."""
    levels = numbers(name, levels, empty=True)
    if levels.dtype.kind not in "iub" or levels.shape not in shapes or not levels.size:
        expected = " or ".join(str(shape) for shape in shapes)
        raise ParameterError(name, f"{levels.dtype} {levels.shape}", f"integers {expected}, a row a clip")
    return np.unique(levels, return_inverse=True)[1].reshape(levels.shape)


def _expected(code: np.ndarray, factor: np.ndarray) -> float:
    """Mean mutual information over all permutations of the clips, nats."""
    from sklearn.metrics.cluster import expected_mutual_information

    table = np.zeros((code.max() + 1, factor.max() + 1), dtype=np.int64)
    np.add.at(table, (code, factor), 1)
    table = table[table.any(1)]
    return 0.0 if len(table) == 1 else float(expected_mutual_information(table, len(code)))


def _averaged(each: np.ndarray) -> Score:
    kept = each[~np.isnan(each)]
    return Score(float(kept.mean()) if len(kept) else float("nan"), each)


@checked
def read_linearly(
    block: ArrayLike, levels: ArrayLike, *, groups: ArrayLike | None = None, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Predict the level of each factor from a block with a linear classifier, on clips that it was not fitted on.

    The classifier is a cross-validated logistic regression (L2, C = 1) on standardised dimensions.

    Parameters
    ----------
    block : array_like (N, d)
        The block's dimensions of the embeddings, of clips that the embedding was not trained on.
    levels : array_like of int (N, K)
        True levels of the K factors.
    groups : array_like (N,), optional
        Group of each clip, such as its speaker; a group is never split between training and test. By default every
        clip is its own group.
    folds : int
        Number of folds, at least 2; with fewer groups than that, the number of groups.
    seed : int
        Seed of the assignment of groups to folds.

    Returns
    -------
    np.ndarray int64 (N, K)
        Predicted levels, to be used in ``codes`` of :func:`block_information`.

    Raises
    ------
    ParameterError
        If shapes do not match, values are NaN, there are fewer than two groups, or a factor has only one level in the
        training part of a fold.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    block, levels = finite("block", block), numbers("levels", levels)
    whole("folds", folds, least=2)
    if levels.dtype.kind not in "iu" or levels.ndim != 2 or len(levels) != len(block):
        raise ParameterError("levels", f"{levels.dtype} {levels.shape}", f"integers ({len(block)}, K)")
    groups = np.arange(len(block)) if groups is None else named("groups", groups)
    if groups.shape != (len(block),) or len(np.unique(groups)) < 2:
        raise ParameterError("groups", f"{len(np.unique(groups))} in {groups.shape}", f"two or more, ({len(block)},)")
    dealer = GroupKFold(min(folds, len(np.unique(groups))), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    for fold, (train, _) in enumerate(dealer.split(block, groups=groups)):
        constant = np.flatnonzero(np.ptp(levels[train], axis=0) == 0)
        if len(constant):
            raise ParameterError(
                f"levels[:, {constant[0]}]", f"one level in the training part of fold {fold}", "two or more"
            )
    read = [cross_val_predict(model, block, column, groups=groups, cv=dealer) for column in levels.T]
    return np.stack(read, axis=1).astype(np.int64)


class Leakage(NamedTuple):
    """How well other blocks predict a factor, relative to the factor's own block; made by :func:`leakage`."""

    overall: float
    """Mean over factors; NaN when no factor's own block is better than chance."""
    each: np.ndarray
    """Mean over the other blocks, float64 (K,); NaN where the factor's own block is no better than chance."""
    table: np.ndarray
    """Leakage of each block for each factor, float64 (B, K); it is 1 for a factor's own block."""


@checked
def leakage(scores: ArrayLike, chance: float | ArrayLike) -> Leakage:
    """Relative probe scores (other - chance) / (own - chance) of other blocks and a factor's own block.

    Parameters
    ----------
    scores : array_like (B, K)
        Score of a probe that predicts factor j from block i, such as the accuracy from :func:`workbench.fit_probes`.
        The first K rows are the factors' own blocks in the order of the columns; further rows, such as the rest, are
        "other" for every factor.
    chance : float or array_like (K,)
        Score of a probe without any information.

    Returns
    -------
    Leakage
        Values are below 0 where a probe did worse than chance.

    Raises
    ------
    ParameterError
        If there are fewer rows than columns, fewer than two rows, or NaN.

    Examples
    --------
    >>> leakage([[0.9, 0.4], [0.5, 0.8], [0.3, 0.3]], 0.3).each.round(3).tolist()
    [0.167, 0.1]
    """
    scores = finite("scores", scores)
    blocks, factors = scores.shape
    if blocks < max(2, factors):
        raise ParameterError("scores.shape", scores.shape, "at least two rows, and a row for each column's own block")
    chance = numbers("chance", chance)
    if chance.shape not in ((), (factors,)):
        raise ParameterError("chance.shape", chance.shape, f"one number, or ({factors},)")
    above = scores - np.broadcast_to(chance.astype(np.float64), factors)
    own = np.diag(above).copy()
    own[own <= 0] = np.nan
    table = above / own
    each = (table.sum(0) - 1) / (blocks - 1)
    return Leakage(_averaged(each).overall, each, table)


@dataclass(frozen=True)
class Faithfulness:
    """Score of the decided class as blocks are removed or added, N clips, B blocks; made by :func:`faithfulness`."""

    deletion: np.ndarray
    """Score after 0 to B blocks were removed, those with the largest contributions first; float64 (N, B + 1)."""
    insertion: np.ndarray
    """Score after 0 to B blocks were added, those with the largest contributions first; float64 (N, B + 1)."""
    random: np.ndarray
    """Exact mean over all orders of the score after 0 to B blocks were removed, float64 (N, B + 1).

    Read from its end, it is the mean over all orders of insertion."""

    def area(self, curve: str) -> np.ndarray:
        """Area under "deletion", "insertion" or "random" by the trapezoid rule, with 1 for the whole axis; (N,).

        A faithful order has a smaller deletion area and a larger insertion area than random orders.
        """
        choice("curve", curve, ("deletion", "insertion", "random"))
        return np.trapezoid(getattr(self, curve), axis=1) / (self.random.shape[1] - 1)


def _slice(name: str, block: object) -> slice:
    if not isinstance(block, slice):
        raise ParameterError(name, block, "a slice of the dimensions")
    return block


@checked
def faithfulness(
    score: Callable[[np.ndarray], np.ndarray],
    z: ArrayLike,
    blocks: Sequence[slice],
    contributions: ArrayLike,
    background: ArrayLike,
) -> Faithfulness:
    """Deletion and insertion curves that test whether blocks with large stated contributions affect the score most.

    Parameters
    ----------
    score : callable
        Function of embeddings (N, k) that returns scores (N, C), such as class probabilities. It is called once for
        each of the 2^B sets of blocks. The curves follow the class with the largest score of ``z``.
    z : array_like (N, k)
        Embeddings.
    blocks : sequence of slice
        The B blocks; together they cover all dimensions.
    contributions : array_like (N, B)
        Contribution of each block to the decided class, as the explanation states it.
    background : array_like (k,)
        Values that replace a removed block, such as those of the mean prototype.

    Returns
    -------
    Faithfulness

    Raises
    ------
    ParameterError
        If shapes do not match or values are NaN.
    """
    z, contributions = finite("z", z), finite("contributions", contributions)
    if not callable(score):
        raise ParameterError("score", type(score).__name__, "a function of embeddings (N, k)")
    blocks = several("blocks", blocks, _slice)
    background = numbers("background", background).astype(np.float64)
    for name, array, shape in (
        ("contributions", contributions, (len(z), len(blocks))),
        ("background", background, (z.shape[1],)),
    ):
        if array.shape != shape:
            raise ParameterError(f"{name}.shape", array.shape, f"{shape}")

    def ask(vectors: np.ndarray) -> np.ndarray:
        scores = numbers("score(z)", score(vectors), ndim=2)
        if len(scores) != len(z):
            raise ParameterError("score(z).shape", scores.shape, f"({len(z)}, C)")
        return scores

    decided = ask(z).argmax(1)
    values = np.empty((2 ** len(blocks), len(z)))  # the bits of a row's number are the set of blocks that are present
    sizes = np.zeros(len(values), dtype=int)
    for size in range(len(blocks) + 1):
        for there in combinations(range(len(blocks)), size):
            mixed = np.tile(background, (len(z), 1))
            for block in there:
                mixed[:, blocks[block]] = z[:, blocks[block]]
            row = sum(1 << block for block in there)
            values[row], sizes[row] = ask(mixed)[np.arange(len(z)), decided], size
    order = np.argsort(-contributions, axis=1, kind="stable")
    first = np.hstack([np.zeros((len(z), 1), dtype=int), np.cumsum(1 << order, axis=1)])  # sets of the leading blocks
    clips = np.arange(len(z))[:, None]
    random = np.stack([values[sizes == size].mean(0) for size in range(len(blocks), -1, -1)], axis=1)
    return Faithfulness(values[len(values) - 1 - first, clips], values[first, clips], random)
