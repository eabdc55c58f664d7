"""Compare sparse codes with controls: the embedding, untrained autoencoders, and linear codes of the same size.

Autoencoders may be of vectors of clips or of frames. The code of a clip is then the mean over its frames of their
codes, and errors are those of the frames. The controls go the same way: linear codes are fitted to frames, and as they
are linear, the mean of the frames' codes is the code of the mean frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, choice, numbers, several, whole
from ..core.errors import ParameterError
from ..core.labels import known
from ..core.splits import Split, fitting, frame_split
from ..metrics import sparse_coding
from ..metrics.disentanglement import PAPER, completeness, effective_codes
from ..metrics.importance import lasso_importance
from ..probes import Probes
from .controls import principal_axes, principal_components, random_axes, random_projection
from .data import _array, positions, sample
from .result import SAESweep
from .sparse_codes import FRAMES, _lengths


@dataclass(frozen=True, eq=False)
class Code:
    """One code of N clips, sparse or a linear control; made by :func:`codes`."""

    kind: str
    """Name of the sweep or of the control that the code comes from."""
    sparsity: float
    """Share of latents that are zero; for a control, that of the sparse code with the same k."""
    k: int
    """Number of non-zero entries per clip, in codes of frames per frame; the mean over frames has more."""
    seed: int
    """Seed of the weights or directions."""
    z: np.ndarray
    """The code, float32 (N, latents), or (N, k) for a linear control."""
    x_hat: np.ndarray
    """Reconstruction of the embeddings from the code, float32 (N, D)."""
    linear: bool = False
    """Whether the code is a linear function of x."""
    errors: np.ndarray | None = None
    """Of codes of frames, the squared error of each clip summed over its frames and dimensions, float64 (N,). ``z`` and
    ``x_hat`` are then means over the frames of a clip."""

    @property
    def features(self) -> np.ndarray:
        """Input for a probe: the code, or the reconstruction if the code is linear.

        Both contain the same information. Probes standardise their inputs, however, which would amplify principal
        components with almost no variance.
        """
        return self.x_hat if self.linear else self.z

    @property
    def name(self) -> str:
        """Name of the code, unique within a study: its kind, sparsity and seed."""
        return f"{self.kind}, {self.sparsity:.4g}, seed {self.seed}"


@checked
def codes(
    x: ArrayLike | object,
    sweeps: Mapping[str, SAESweep],
    *,
    layer: str,
    train: np.ndarray,
    lengths: np.ndarray | None = None,
) -> Iterator[Code]:
    """Yield the sparse codes of all sweeps, and linear control codes for each sparsity and seed of the first sweep.

    Parameters
    ----------
    x : ndarray (N, D)
        Embeddings of one layer; with ``lengths``, the frames (F, D) of N clips as an array or another object with
        ``shape`` and ``x[rows]``, which is read in chunks.
    sweeps : mapping of name to SAESweep
        Sweeps that include this layer; a sweep with ``steps=0`` is an untrained control.
    layer : str
        Name of the layer in the sweeps.
    train : ndarray of int
        Row numbers of the clips on which the linear codes are fitted, with ``lengths`` on at most 65,536 of their
        frames.
    lengths : ndarray of int (N,), optional
        Number of frames of each clip, for sweeps of frames.

    Yields
    ------
    Code
        Its ``kind`` is the name of a sweep, "principal components" (once per sparsity, as they do not depend on the
        seed) or "random projection".
    """
    if not isinstance(sweeps, Mapping) or not sweeps or not all(isinstance(s, SAESweep) for s in sweeps.values()):
        raise ParameterError("sweeps", type(sweeps).__name__, "a mapping of name to SAESweep, at least one")
    for name, sweep in sweeps.items():
        if layer not in set(sweep.table["layer"]):
            raise ParameterError("layer", layer, f"one of sweep {name!r}: {', '.join(sweep.table['layer'].unique())}")
    if lengths is not None:
        yield from _frame_codes(x, sweeps, layer=layer, train=train, lengths=lengths)
        return
    x = numbers("x", x, ndim=2)
    for name, sweep in sweeps.items():
        for row, sae in zip(sweep.table.itertuples(), sweep.saes, strict=True):
            if row.layer == layer:
                z = sae.encode(x)
                yield Code(name, row.sparsity, row.k, row.seed, z, sae.decode(z))
    first = next(iter(sweeps.values())).table
    for row in first[first["layer"] == layer].itertuples():
        if row.seed == first["seed"].iloc[0]:
            best = principal_components(x, row.k, train=train)
            yield Code("principal components", row.sparsity, row.k, 0, *best, linear=True)
        linear = random_projection(x, row.k, train=train, seed=row.seed)
        yield Code("random projection", row.sparsity, row.k, row.seed, *linear, linear=True)


def _frame_codes(
    x: object, sweeps: Mapping[str, SAESweep], *, layer: str, train: np.ndarray, lengths: np.ndarray
) -> Iterator[Code]:
    """Yield the codes of :func:`codes` for clips whose frames are x."""
    x = _frames(x)
    lengths = _lengths(lengths, x.shape[0])
    for name, sweep in sweeps.items():
        for row, sae in zip(sweep.table.itertuples(), sweep.saes, strict=True):
            if row.layer == layer:
                z, x_hat, errors = _pooled(x, lengths, sae.encode, sae.decode, sae.config.latents)
                yield Code(name, row.sparsity, row.k, row.seed, z, x_hat, errors=errors)
    first = next(iter(sweeps.values())).table
    at = frame_split(Split(positions(train, "train", len(lengths))), lengths).train
    mean, axes = principal_axes(np.asarray(x[sample(at)], np.float32))
    for row in first[first["layer"] == layer].itertuples():
        found = {("random projection", row.seed): random_axes(x.shape[1], row.k, seed=row.seed)}
        if row.seed == first["seed"].iloc[0]:
            found = {("principal components", 0): axes[: row.k]} | found
        for (kind, seed), directions in found.items():
            z, x_hat, errors = _pooled(x, lengths, *_linear(mean, directions), len(directions))
            yield Code(kind, row.sparsity, row.k, seed, z, x_hat, linear=True, errors=errors)


def _linear(mean: np.ndarray, axes: np.ndarray) -> tuple[Callable, Callable]:
    """Return the functions that project onto directions, and back."""
    return lambda x: (x - mean) @ axes.T, lambda z: z @ axes + mean


def _frames(x: object) -> object:
    x = _array("x", x)
    if len(x.shape) != 2:
        raise ParameterError("x.shape", tuple(x.shape), "(F, D)")
    return x


def _pooled(
    x: object, lengths: np.ndarray, encode: Callable, decode: Callable, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each clip's mean code (N, width), mean reconstruction (N, D) and summed squared error (N,)."""
    z, x_hat, errors = (np.zeros((len(lengths), n)) for n in (width, x.shape[1], 1))
    for part, sums in _chunks(x, lengths):
        code = encode(part)
        again = decode(code)
        sums(z, code)
        sums(x_hat, again)
        sums(errors, np.square(part.astype(np.float64) - again).sum(1, keepdims=True))
    return (z / lengths[:, None]).astype(np.float32), (x_hat / lengths[:, None]).astype(np.float32), errors[:, 0]


def _chunks(x: object, lengths: np.ndarray) -> Iterator[tuple[np.ndarray, Callable]]:
    """Yield frames (n, D) chunk by chunk, and a function that adds a number a frame to those of the frames' clips."""
    ends = np.cumsum(lengths)
    for at in range(0, x.shape[0], FRAMES):
        part = np.asarray(x[at : at + FRAMES], np.float32)
        clips = np.searchsorted(ends, np.arange(at, at + len(part)), side="right")
        first = np.flatnonzero(np.diff(clips, prepend=-1))

        def sums(total: np.ndarray, values: np.ndarray, first=first, clips=clips) -> None:
            total[clips[first]] += np.add.reduceat(values, first, axis=0, dtype=np.float64)

        yield part, sums


class _Spread:
    """Sums of the frames of each clip, from which the variance of the frames of any clips follows."""

    def __init__(self, x: object, lengths: np.ndarray):
        self.lengths, origin = lengths, np.asarray(x[:FRAMES], np.float64).mean(0)
        self.total, self.squares = np.zeros((len(lengths), x.shape[1])), np.zeros((len(lengths), 1))
        for part, sums in _chunks(x, lengths):
            moved = part - origin  # near the mean, so that the difference below loses no digits
            sums(self.total, moved)
            sums(self.squares, np.square(moved).sum(1, keepdims=True))

    def fvu(self, errors: np.ndarray, clips: np.ndarray) -> float:
        """Return the FVU of the frames of some clips, given each clip's squared error (N,)."""
        total = self.total[clips].sum(0)
        spread = self.squares[clips].sum() - total @ total / self.lengths[clips].sum()
        return float(errors[clips].sum() / spread) if spread > 0 else np.nan


@checked
def code_table(
    x: ArrayLike | object, codes: Mapping[str, Code], probes, *, split: Split, lengths: np.ndarray | None = None
):
    """Return a table of the reconstruction error and the probe accuracy of each code.

    Parameters
    ----------
    x : ndarray (N, D)
        Embeddings; with ``lengths``, frames (F, D) as in :func:`codes`.
    codes : mapping of name to Code
        Codes of these embeddings or frames.
    probes : Probes
        Probes fitted on the ``features`` of the codes, under the same names.
    split : Split
        The split of the clips with which the codes and probes were fitted.
    lengths : ndarray of int (N,), optional
        Number of frames of each clip, for codes of frames.

    Returns
    -------
    pandas.DataFrame
        One row per code: kind, sparsity, k, seed; fvu_train and fvu, on the training and on the test clips, each
        relative to the mean of these clips, or with ``lengths`` on their frames, relative to the mean of these;
        accuracy on the test clips, and the bounds low and high of its interval. An fvu_train far below fvu means that
        the code has overfitted the training clips.
    """
    import pandas as pd

    if not isinstance(codes, Mapping) or not codes or not all(isinstance(code, Code) for code in codes.values()):
        raise ParameterError("codes", type(codes).__name__, "a mapping of name to Code, at least one")
    if not isinstance(probes, Probes):
        raise ParameterError("probes", type(probes).__name__, "probes, as fit_probes gives them")
    if lengths is None:
        x, spread = numbers("x", x, ndim=2), None
        lengths = np.ones(len(x), np.int64)
    else:
        x = _frames(x)
        lengths = _lengths(lengths, x.shape[0])
        spread = _Spread(x, lengths)
    split, rows, shape = fitting(split, len(lengths)), [], (len(lengths), x.shape[1])
    for name, code in codes.items():
        if code.x_hat.shape != shape:
            raise ParameterError("clips and dimensions of x", shape, f"{code.x_hat.shape}, as those of code {name!r}")
        if (code.errors is None) != (spread is None):
            given = "without lengths" if spread is None else "with lengths"
            raise ParameterError(f"codes[{name!r}]", given, "of frames where lengths are given, else of clips")
        i = probes.position(name)
        parts = {"fvu_train": split.train, "fvu": split.test}
        if spread is None:
            lost = {part: sparse_coding.fvu(x[clips], code.x_hat[clips]) for part, clips in parts.items()}
        else:
            lost = {part: spread.fvu(code.errors, clips) for part, clips in parts.items()}
        row = {"kind": code.kind, "sparsity": round(code.sparsity, 2), "k": code.k, "seed": code.seed} | lost
        rows.append(
            row | {"accuracy": probes.accuracy[i].mean(), "low": probes.interval[i][0], "high": probes.interval[i][1]}
        )
    return pd.DataFrame(rows)


PROTOCOLS = ("paper", "held out")
PENALTIES = (0.2, 0.1, 0.05, 0.018)
"""Lasso penalties to select from in the protocol "held out", including the paper's .1."""


@checked
def _attribute_table(
    z: np.ndarray,
    v: np.ndarray,
    *,
    names: list[str],
    split: Split,
    groups: np.ndarray | None = None,
    protocol: str = "held out",
):
    """Return the rows of :func:`attribute_study` for one code and one protocol, one per attribute of ``v`` (N, A)."""
    import pandas as pd

    choice("protocol", protocol, PROTOCOLS)
    names, z, v = list(names), numbers("z", z, ndim=2), numbers("v", v, ndim=2, finite=False)
    if len(v) != len(z) or len(names) != v.shape[1]:
        raise ParameterError("v.shape", v.shape, f"({len(z)}, {len(names)}), a row a code and a column a name")
    train, valid, test = fitting(split, len(z))
    development = np.concatenate([train, valid])
    fitted = test if protocol == "paper" else development
    undefined = ~np.isfinite(v[fitted]).any(0)
    if undefined.any():
        raise ParameterError("v", f"no value of {names[int(undefined.argmax())]} in the clips of the fit", "some")
    v = np.where(np.isfinite(v), v, np.nanmean(np.where(np.isfinite(v), v, np.nan)[fitted], axis=0))
    same = {"names": names, "constant": "nan"}
    if protocol == "paper":
        importance, options = lasso_importance(z[test], v[test], config="paper", **same), PAPER
        columns = {"r2": importance.informativeness, "r2_valid": np.nan}
    else:
        folds, options = [(development, test)], {"base": "alive", "zero": "skip"}
        apart = np.arange(len(z)) if groups is None else known(groups, len(z), "groups")
        first, second = (set(apart[rows].tolist()) for rows in (train, valid))
        choosing = len(second) > 0 and len(first) > 1 and not first & second  # the lasso's inner folds need two groups
        folds = [(train, valid), *folds] if choosing else folds
        importance = lasso_importance(z, v, alpha=PENALTIES, folds=folds, groups=groups, **same)
        columns = {"r2": importance.folds[-1], "r2_valid": importance.folds[0] if choosing else np.nan}
    columns |= {"completeness": completeness(importance.R, **options).each}
    return pd.DataFrame(columns | {"codes": effective_codes(importance.R)}, index=names)


@checked
def attribute_study(
    codes: Mapping[tuple[str, float], np.ndarray],
    attributes,
    *,
    split: Split,
    groups: np.ndarray | None = None,
    protocols: Sequence[str] = PROTOCOLS,
):
    """Measure how well codes predict each attribute (R^2) and how many latents that takes (completeness).

    Parameters
    ----------
    codes : mapping of (kind, sparsity) to ndarray (N, d)
        Codes of N clips.
    attributes : Attributes
        Attributes of the same N clips. Left out are those that are defined for fewer than half of the clips and those
        that have a single value in a part of the split. A missing value (such as the pitch of an unvoiced clip) is
        replaced by the mean over the clips of the fit.
    split : Split
        Split of the N clips.
    groups : ndarray (N,), optional
        Group of each clip; the penalty is selected on folds that do not split a group.
    protocols : sequence of {"paper", "held out"}
        "paper", after Mariotte et al. (2025), fits a lasso with penalty .1 on the test clips and takes R^2 on the same
        clips. Completeness has the logarithm base of all codes and is 1 for an attribute without any weight.
        "held out" selects the penalty on the clips outside test and takes R^2 on the test clips. Completeness has the
        base of the codes that have any weight and is NaN for an attribute without any weight.

    Returns
    -------
    pandas.DataFrame
        One row per code, protocol and attribute: kind, sparsity, protocol, attribute, family and ``r2``.
        ``r2_valid`` is, for "held out", the R^2 on the validation clips of a fit on the training clips, by which
        attributes may be selected; it is NaN without validation clips, or if the training clips are of one group.
        ``completeness`` is in [0, 1]. ``codes`` is the effective number of codes exp(H), which does not depend on the
        number of codes as completeness does. The table is empty if every attribute is left out.

    Raises
    ------
    ParameterError
        If a protocol is unknown, or :func:`~workbench.metrics.importance.lasso_importance` raises it.
    """
    import pandas as pd

    if not isinstance(codes, Mapping) or not codes or not all(isinstance(k, tuple) and len(k) == 2 for k in codes):
        raise ParameterError("codes", type(codes).__name__, "a mapping of (kind, sparsity) to codes, at least one")
    if not all(hasattr(attributes, name) for name in ("values", "names", "families")):
        raise ParameterError("attributes", type(attributes).__name__, "attributes, as measure gives them")
    protocols = several("protocols", protocols, lambda name, protocol: choice(name, protocol, PROTOCOLS))
    values = np.asarray(attributes.values, float)
    parts = [rows for rows in fitting(split, len(values)) if len(rows)]
    defined = (np.isfinite(values).mean(0) >= 0.5) & np.all([_varies(values[rows]) for rows in parts], axis=0)
    names = [name for name, kept in zip(attributes.names, defined, strict=True) if kept]
    tables = []
    for protocol in protocols if names else ():
        for (kind, sparsity), z in codes.items():
            table = _attribute_table(
                z, attributes.values[:, defined], names=names, split=split, groups=groups, protocol=protocol
            )
            table.insert(0, "family", [attributes.families[name] for name in names])
            table = table.rename_axis("attribute").reset_index()
            tables.append(table.assign(kind=kind, sparsity=sparsity, protocol=protocol))
    columns = ["kind", "sparsity", "protocol", "attribute", "family", "r2", "r2_valid", "completeness", "codes"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _varies(values: np.ndarray) -> np.ndarray:
    """Return which columns have at least two different finite values."""
    ends = ((np.min, np.inf), (np.max, -np.inf))
    low, high = (extreme(np.where(np.isfinite(values), values, end), axis=0) for extreme, end in ends)
    return low < high


@checked
def best_attributes(study, *, n: int = 10):
    """Select the n attributes over which results are averaged.

    Parameters
    ----------
    study : pandas.DataFrame
        Result of :func:`attribute_study`.
    n : int
        Number of attributes.

    Returns
    -------
    pandas.DataFrame
        Rows of ``study``. For "paper" they are the n attributes of each code with the highest R^2 on the clips of the
        fit, in descending order. For "held out" they are the same n attributes for every code, those with the highest
        ``r2_valid`` averaged over codes, in descending order. Attributes without a value for some code are left out. If
        there are no validation scores, all other attributes are returned. Selecting by the test clips would
        overestimate R^2, and codes with different selections would not be comparable.
    """
    import pandas as pd

    columns = {"kind", "sparsity", "protocol", "attribute", "r2", "r2_valid"}
    if not columns <= set(getattr(study, "columns", ())):
        raise ParameterError("study", type(study).__name__, f"a table with {', '.join(sorted(columns))}")
    whole("n", n, least=1)
    parts = []
    for protocol, rows in study.groupby("protocol", sort=False):
        if protocol == "paper":
            ranked = rows.dropna(subset=["r2"]).sort_values("r2", ascending=False, kind="stable")
            parts.append(ranked.groupby(["kind", "sparsity"], sort=False, dropna=False).head(n))
            continue
        by = rows.groupby("attribute", sort=False)
        complete = by["r2"].agg(lambda values: values.notna().all())
        score = by["r2_valid"].agg(lambda values: values.mean(skipna=False))
        if score.notna().any():
            chosen = score[complete].dropna().sort_values(ascending=False, kind="stable").index[:n]
        else:
            chosen = complete.index[complete]
        place = dict(zip(chosen, range(len(chosen)), strict=True))
        kept = rows[rows["attribute"].isin(place)]
        order = kept["attribute"].map(place)
        parts.append(kept.loc[order.sort_values(kind="stable").index])
    return pd.concat(parts) if parts else study
