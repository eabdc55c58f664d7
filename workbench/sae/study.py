"""Sparse codes beside what they must be compared with: the embedding itself and other codes of as many numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.checks import checked, choice, numbers, several, whole
from ..core.errors import ParameterError
from ..core.labels import known
from ..core.splits import Split, fitting
from ..metrics import sparse_coding
from ..metrics.disentanglement import PAPER, completeness, effective_codes
from ..metrics.importance import lasso_importance
from ..probes import Probes
from .controls import principal_components, random_projection
from .result import SAESweep


@dataclass(frozen=True, eq=False)
class Code:
    """One code of N clips."""

    kind: str
    """The sweep or control that it comes from."""
    sparsity: float
    """Share of the sparse code's latents that are zero; a control has as many numbers as the sparse code non-zero."""
    k: int
    """Non-zero numbers a clip."""
    seed: int
    """Seed of its weights or directions."""
    z: np.ndarray
    """float32 (N, latents), or (N, k) of a dense control."""
    x_hat: np.ndarray
    """float32 (N, D), the reconstruction."""
    linear: bool = False
    """Whether the code is linear in x."""

    @property
    def features(self) -> np.ndarray:
        """What a probe is given: the code, or of a linear one the reconstruction.

        The two hold the same, but probes standardise their inputs, which would blow up the principal components that
        hardly vary.
        """
        return self.x_hat if self.linear else self.z

    @property
    def name(self) -> str:
        """Unlike that of every other code of a study."""
        return f"{self.kind}, {self.sparsity:.4g}, seed {self.seed}"


@checked
def codes(x: np.ndarray, sweeps: Mapping[str, SAESweep], *, layer: str, train: np.ndarray) -> Iterator[Code]:
    """Every sparse code of some sweeps, and for each sparsity and seed of the first the linear codes of k numbers.

    Parameters
    ----------
    x : ndarray (N, D)
        Embeddings of one layer.
    sweeps : mapping of name to SAESweep
        Over this layer; one with ``steps=0`` is the control that was never trained.
    layer : str
        The layer's name in the sweeps.
    train : ndarray of int
        Clips that the linear codes are fitted on.

    Yields
    ------
    Code
        Kinds: the names of the sweeps, "principal components" (the same for every seed, given once) and "random
        projection".
    """
    if not isinstance(sweeps, Mapping) or not sweeps or not all(isinstance(s, SAESweep) for s in sweeps.values()):
        raise ParameterError("sweeps", type(sweeps).__name__, "a mapping of name to SAESweep, at least one")
    x = numbers("x", x, ndim=2)
    for name, sweep in sweeps.items():
        if layer not in set(sweep.table["layer"]):
            raise ParameterError("layer", layer, f"one of sweep {name!r}: {', '.join(sweep.table['layer'].unique())}")
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


@checked
def code_table(x: np.ndarray, codes: Mapping[str, Code], probes, *, split: Split):
    """One row a code: what it loses and what a probe reads from it.

    Parameters
    ----------
    x : ndarray (N, D)
    codes : mapping of name to Code
    probes : Probes
        Fitted on the codes' ``features`` under the same names.
    split : Split

    Returns
    -------
    pandas.DataFrame
        kind, sparsity, k, seed, fvu_train and fvu (on the training and on the test clips, each against the mean of
        these clips), accuracy, low, high (of the accuracy on test, its 95 % interval). An FVU that is far lower on the
        training clips means that the code knows them by heart.
    """
    import pandas as pd

    if not isinstance(codes, Mapping) or not codes or not all(isinstance(code, Code) for code in codes.values()):
        raise ParameterError("codes", type(codes).__name__, "a mapping of name to Code, at least one")
    if not isinstance(probes, Probes):
        raise ParameterError("probes", type(probes).__name__, "probes, as fit_probes gives them")
    x, rows = numbers("x", x, ndim=2), []
    split = fitting(split, len(x))
    for name, code in codes.items():
        if code.x_hat.shape != x.shape:
            raise ParameterError("x.shape", x.shape, f"{code.x_hat.shape}, as that of code {name!r}")
        i = probes.position(name)
        parts = {"fvu_train": split.train, "fvu": split.test}
        lost = {part: sparse_coding.fvu(x[clips], code.x_hat[clips]) for part, clips in parts.items()}
        row = {"kind": code.kind, "sparsity": round(code.sparsity, 2), "k": code.k, "seed": code.seed} | lost
        rows.append(
            row | {"accuracy": probes.accuracy[i].mean(), "low": probes.interval[i][0], "high": probes.interval[i][1]}
        )
    return pd.DataFrame(rows)


PROTOCOLS = ("paper", "held out")
PENALTIES = (0.2, 0.1, 0.05, 0.018)
"""Penalties of the lasso to choose from in the protocol "held out"; the paper's .1 is among them."""


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
    """One code by one protocol: for each attribute of ``v`` (N, A) what :func:`attribute_study` says of it."""
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
        choosing = len(second) > 0 and len(first) > 1 and not first & second  # the inner folds need two groups
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
    """What codes say of each attribute and how many of their numbers that takes, by protocols, as one tidy table.

    Parameters
    ----------
    codes : mapping of (kind, sparsity) to ndarray (N, d)
    attributes : Attributes
        Of the same N clips. Attributes that are defined for fewer than half of the clips are left out, and those that
        have one value in a part of the split, which nothing can be learnt from or asked about (a speaker who is on one
        side alone). Elsewhere a clip without a value (of a pitch: nothing is voiced) takes the mean of the others.
    split : Split
    groups : ndarray (N,), optional
        What must not leak.
    protocols : sequence of {"paper", "held out"}
        "paper": that of Mariotte et al. (2025): lasso with penalty .1 on the test clips, R^2 on the same clips,
        completeness to the base of all codes, and 1 for an attribute that got no weight at all.
        "held out": the penalty chosen within the clips that are not test, R^2 on the test clips, completeness to the
        base of the codes that are used at all, nothing for an attribute without weights.

    Returns
    -------
    pandas.DataFrame
        kind, sparsity, protocol, attribute, family, ``r2``; ``r2_valid``, of the protocol "held out" the R^2 on the
        validation clips of a fit on the training clips, for choosing attributes by (NaN without validation clips, and
        where the training clips are of one group); ``completeness`` in [0, 1]; ``codes``, the effective number of
        codes exp(H), which unlike completeness does not depend on how many codes there are. No rows where no
        attribute is left.

    Raises
    ------
    ParameterError
        An unknown protocol, and what :func:`~workbench.metrics.importance.lasso_importance` refuses.
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
    """Which columns have two different values at least; NaN is none."""
    ends = ((np.min, np.inf), (np.max, -np.inf))
    low, high = (extreme(np.where(np.isfinite(values), values, end), axis=0) for extreme, end in ends)
    return low < high


@checked
def best_attributes(study, *, n: int = 10):
    """The n attributes to average over: chosen without the test clips, or as the paper does.

    Parameters
    ----------
    study : pandas.DataFrame
        Of :func:`attribute_study`.
    n : int

    Returns
    -------
    pandas.DataFrame
        Rows of ``study``, protocol by protocol. "paper": of each code the n attributes of highest R^2, on the clips of
        the fit, by falling R^2. "held out": the same attributes for every code, those of highest ``r2_valid`` averaged
        over the codes, the highest first; an attribute that lacks a number for some code is not among them. Where
        nothing was validated nothing can be chosen, and all attributes are there. The best on the test clips would look
        good by luck alone, and one list a code would compare codes on different questions.
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
