"""Blocks of an embedding that carry the names of factors: does each hold its factor, all of it and nothing else?

Conventions
-----------
An embedding z (N, k) falls into blocks of dimensions: one a factor, and often a rest that was told nothing. ``factors``
are levels, integers (N,). A block of many dimensions has no mutual information that N clips could tell, so it is first
turned into a discrete variable:

* a factor's block into the level read from it, its nearest prototype: what an explanation says. What lies in the block
  beside that is not counted; :func:`leakage` of probes counts it.
* the rest, which has no levels, into what a linear classifier reads there about each factor (:func:`read_linearly`):
  another variable for every factor, and a lower bound of what the rest knows.

Judge clips that training never saw: on its training clips a network knows the levels by heart.

Metrics
-------
* :func:`block_information`: mutual information of blocks and factors, and from it :meth:`~BlockInformation.mig` [1]_,
  :meth:`~BlockInformation.minimality` and :meth:`~BlockInformation.sufficiency` [2]_,
  :meth:`~BlockInformation.disentanglement` and :meth:`~BlockInformation.completeness` [3]_.
* :func:`leakage`: what probes of other blocks read of a factor, as a share of what its own block tells.
* :func:`faithfulness`: deletion and insertion curves [4]_, blocks in order of their contributions against all orders.

Plug-in mutual information is too high on few clips, by about (L - 1)^2 / (2 N) nats between L levels. ``corrected``
scores subtract its mean over all permutations of the clips, exactly, in numerator and denominator [5]_: without any
relation they are 0 on average, with a perfect one 1.

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

    Every score takes ``corrected``: True as in the module's text, False as the papers have it.
    """

    blocks: tuple[str, ...]
    """Names of the rows."""
    factors: tuple[str, ...]
    """Names of the columns."""
    information: np.ndarray
    """Plug-in estimate, float64 (B, K)."""
    expected: np.ndarray
    """Its mean over all permutations of the clips: what is found where there is nothing; float64 (B, K)."""
    block_entropy: np.ndarray
    """H(Z_i), (B,); NaN for a block that is read anew for every factor."""
    factor_entropy: np.ndarray
    """H(Y_j), (K,)."""

    @checked
    def shares(self, *, corrected: bool = True) -> np.ndarray:
        """Share of each factor's entropy that each block tells, float64 (B, K); corrected ones may be below 0."""
        return self._shares(self.factor_entropy, corrected)

    @checked
    def mig(self, *, corrected: bool = True) -> Score:
        """Gap between the two blocks that tell most of a factor, as a share of its entropy; ``each`` (K,)."""
        shares = np.vstack([self.shares(corrected=corrected).clip(0), np.zeros(len(self.factors))])
        second, first = np.sort(shares, axis=0)[-2:]
        return _averaged(first - second)

    @checked
    def minimality(self, *, corrected: bool = True) -> Score:
        """Is all that a block says about one factor? mean_i max_j I(Y_j; Z_i) / H(Z_i); ``each`` (B,).

        NaN, and left out of the mean: a block that is read anew for every factor, or that always says the same.
        """
        return _averaged(self._shares(self.block_entropy[:, None], corrected).max(1))

    @checked
    def sufficiency(self, *, corrected: bool = True) -> Score:
        """Does one block tell all of a factor? mean_j max_i I(Y_j; Z_i) / H(Y_j); ``each`` (K,)."""
        return _averaged(self.shares(corrected=corrected).max(0))

    @checked
    def disentanglement(self, *, corrected: bool = True) -> Score:
        """Return :func:`workbench.metrics.disentanglement.disentanglement`, with the shares for importances."""
        return dci.disentanglement(self.shares(corrected=corrected).clip(0))

    @checked
    def completeness(self, *, corrected: bool = True) -> Score:
        """Return :func:`workbench.metrics.disentanglement.completeness`, with the shares for importances."""
        return dci.completeness(self.shares(corrected=corrected).clip(0))

    @checked
    def evaluate(self, *, corrected: bool = True) -> dict[str, float]:
        """All averages by name."""
        scores = (self.mig, self.minimality, self.sufficiency, self.disentanglement, self.completeness)
        return {score.__name__: score(corrected=corrected).overall for score in scores}

    def _shares(self, whole: np.ndarray, corrected: bool) -> np.ndarray:
        nothing = self.expected if corrected else np.zeros_like(self.expected)
        whole = np.broadcast_to(whole, nothing.shape) - nothing
        return np.divide(self.information - nothing, whole, out=np.full(whole.shape, np.nan), where=whole > 1e-12)


@checked
def block_information(codes: Mapping[str, ArrayLike], factors: Mapping[str, ArrayLike]) -> BlockInformation:
    """Mutual information of discretised blocks and factors.

    Parameters
    ----------
    codes : mapping of str to array_like of int (N,) or (N, K)
        Block -> its level for each clip; or, column j, what is read there about factor j.
    factors : mapping of str to array_like of int (N,)
        Factor -> its true level for each clip. K of them.

    Returns
    -------
    BlockInformation

    Raises
    ------
    ParameterError
        No block or factor, another length or shape, levels that are no integers, a factor with one level alone.

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
    # the code that stands for a block when factor j is asked for
    columns = [[code if code.ndim == 1 else code[:, j] for code in z] for j in range(len(v))]
    levels = max(2, max(int(code.max()) for code in z) + 1)  # bins enough to keep all apart
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
    """Levels renumbered from 0 without gaps."""
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
    """What a linear classifier reads from a block about each factor, for clips that it was not fitted on.

    Logistic regression (L2, C = 1) on standardised dimensions, cross-validated.

    Parameters
    ----------
    block : array_like (N, d)
        Dimensions of the embedding, of clips unseen in its training.
    levels : array_like of int (N, K)
        True levels.
    groups : array_like (N,), optional
        What must not leak, such as speakers: whole groups are held out.
    folds : int
        At most; no more than there are groups.
    seed : int
        Of the dealing.

    Returns
    -------
    np.ndarray int64 (N, K)
        For ``codes`` of :func:`block_information`.

    Raises
    ------
    ParameterError
        Shapes that do not fit, NaN, fewer than two groups.
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
    """What other blocks tell of a factor, as a share of what its own tells."""

    overall: float
    """Mean over factors; NaN when no factor's own block tells anything."""
    each: np.ndarray
    """float64 (K,), mean over the other blocks; NaN where the factor's own block is no better than chance."""
    table: np.ndarray
    """float64 (B, K), block by block: 1 for a factor's own block."""


@checked
def leakage(scores: ArrayLike, chance: float | ArrayLike) -> Leakage:
    """(other - chance) / (own - chance) of the scores of probes.

    Parameters
    ----------
    scores : array_like (B, K)
        Score of a probe of block i for factor j, such as :func:`workbench.fit_probes` gives. The first K rows are the
        factors' own blocks in the order of the columns; more rows, such as the rest, are others to all.
    chance : float or array_like (K,)
        Score of a probe that knows nothing.

    Returns
    -------
    Leakage
        Below 0 where a probe did worse than chance.

    Raises
    ------
    ParameterError
        Fewer rows than columns, fewer than two rows, NaN.

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
    """Score of the decided class while blocks go and come, over N clips and B blocks; made by :func:`faithfulness`."""

    deletion: np.ndarray
    """float64 (N, B + 1): with 0, 1 ... B blocks gone, those of the largest contributions first."""
    insertion: np.ndarray
    """float64 (N, B + 1): with 0, 1 ... B blocks there, those of the largest contributions first."""
    random: np.ndarray
    """float64 (N, B + 1): with 0, 1 ... B blocks gone, mean over all orders, exactly; insertion's is its reverse."""

    def area(self, curve: str) -> np.ndarray:
        """Area under "deletion", "insertion" or "random", float64 (N,): the mean of the curve, ends weighing half.

        A faithful order has a smaller deletion area than random orders have, and a larger insertion area.
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
    """Do the blocks that are said to matter most matter most? Deletion and insertion in their order.

    Parameters
    ----------
    score : callable
        (N, k) -> (N, C), such as class probabilities; asked for all 2^B sets of blocks. The class of the largest score
        of z is the one followed.
    z : array_like (N, k)
        Embeddings.
    blocks : sequence of slice
        B of them; together all dimensions.
    contributions : array_like (N, B)
        Said to matter this much for the decided class.
    background : array_like (k,)
        What takes the place of a block that is gone, such as the mean prototype.

    Returns
    -------
    Faithfulness

    Raises
    ------
    ParameterError
        Shapes that do not fit, NaN.
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
    values = np.empty((2 ** len(blocks), len(z)))  # row: the set of blocks there, as bits
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
