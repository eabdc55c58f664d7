"""From embeddings to two coordinates: PCA, t-SNE or UMAP, seeded, with the input checked first.

PCA keeps distances as well as two axes can and says how much variance they carry. t-SNE (van der Maaten and Hinton
2008) and UMAP (McInnes et al. 2018) keep neighbourhoods: the size of a cluster and the distance between two clusters
mean nothing there. Both start from the 50 leading principal components when the input has more, and use one thread, so
that a seed repeats; above some thousand points they take minutes, PCA seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.checks import checked, choice, number, numbers, several, whole
from ..core.dependencies import load
from ..core.errors import ParameterError, StoreError
from ..core.keeping import keep
from ..core.warn import warn

_METHODS = ("pca", "tsne", "umap", "given")
#: Dimensions kept by PCA before t-SNE and UMAP.
_REDUCED = 50
#: Fewer numbers than these take longer on several threads, which wait for each other on a busy machine (2,000 clips of
#: 768 dimensions on two shared cores: 0.1 s with one thread, 0.7 s with two).
_SMALL = 10**7
#: Largest coordinate: differences of two stay within single precision.
_MOST = 1e37


@dataclass(frozen=True)
class Projection:
    """Two coordinates a point and what the axes are called."""

    xy: np.ndarray
    """(N, 2) float32."""
    axes: tuple[str, str]
    """Names of the two axes; for PCA with the share of variance."""
    method: str
    """"PCA", "t-SNE", "UMAP", "given coordinates", "the one dimension" or "one clip"."""


@checked
def project(
    z,
    *,
    method: str = "pca",
    seed: int = 0,
    standardise: bool = False,
    perplexity: float = 30.0,
    neighbours: int = 15,
    components: Sequence[int] = (1, 2),
) -> Projection:
    """Project embeddings onto a plane.

    Maps by t-SNE and UMAP are kept in the cache folder (:func:`workbench.keep`): the same one is computed once.

    Parameters
    ----------
    z : array (N, D)
        Embeddings, any unit; with ``method="given"`` coordinates (N, 2), used as they are. One dimension needs no
        projection: t-SNE and UMAP leave it as it is, on a line. One row lies at the origin.
    method : {"pca", "tsne", "umap", "given"}
    seed : int
        Starts t-SNE, UMAP and the randomised solver of a large PCA. Same seed, same machine: same picture.
    standardise : bool
        Scale each dimension to mean 0 and deviation 1 first (constant dimensions stay 0).
    perplexity : float
        t-SNE only, 1 or more; lowered to (N - 1) / 3 for few points.
    neighbours : int
        UMAP only, 2 or more; lowered to N - 1 for few points.
    components : two of int
        PCA only: the components drawn, counted from 1; (1, 2) are drawn of any number of rows and dimensions.

    Returns
    -------
    Projection

    Raises
    ------
    ParameterError
        Wrong shape, NaN or infinity (with count and first rows), all of several rows equal, values beyond what single
        precision holds, fewer than 5 rows for t-SNE or UMAP, components that the input does not have.

    Warns
    -----
    UserWarning
        The cache folder cannot be written to.
    """
    choice("method", method, _METHODS)
    number("perplexity", perplexity, least=1)
    whole("neighbours", neighbours, least=2)
    components = several("components", components, lambda name, value: whole(name, value, least=1))
    if len(components) != 2 or components[0] == components[1]:
        raise ParameterError("components", tuple(components), "two different ones")
    z = _checked(z, method)
    if method == "given":
        return Projection(_single(z), ("", ""), "given coordinates")
    if len(z) > 1 and not (z != z[0]).any():
        raise ParameterError("z", f"array of {len(z)} equal rows", "different in at least two rows to be projected")
    # Squares of very large or very small values leave the range of numbers; a power of two changes no digit.
    largest = float(np.abs(z).max()) or 1.0
    unit = 1.0 if 1e-12 < largest < 1e12 else 2.0 ** np.floor(np.log2(largest))
    z = z / z.dtype.type(unit) if unit != 1 else z
    if standardise:
        z, unit = _standardised(z), 1.0
    if len(z) == 1:
        return Projection(np.zeros((1, 2), np.float32), ("", ""), "one clip")
    if z.shape[1] == 1 and method != "pca":
        return Projection(_single(np.pad(z, ((0, 0), (0, 1))), unit), ("the one dimension", ""), "the one dimension")
    if len(z) < 5 and method != "pca":
        raise ParameterError("z", f"array of {len(z)} rows", f"at least 5 rows for {method}; pca takes any number")
    if method == "pca":
        return _pca(z, seed, unit, components)
    make, most_near = (_tsne, perplexity) if method == "tsne" else (_umap, neighbours)
    z = _reduced(z, seed)
    try:
        return keep(make, z, seed, most_near)
    except StoreError as error:
        warn(f"the map is not kept for the next time: {error}")
        return make(z, seed, most_near)


def _single(xy: np.ndarray, unit: float = 1.0) -> np.ndarray:
    """Coordinates in their unit as single precision."""
    with np.errstate(over="ignore", under="ignore"):
        single = (xy.astype(np.float64) * unit).astype(np.float32)
    if not np.abs(single).max() < _MOST or (np.ptp(xy) > 0 and not np.ptp(single) > 0):
        shown = f"array with values up to {np.abs(xy).max() * unit:.3g}"
        raise ParameterError("z", shown, f"within single precision, from some 1e-38 to {_MOST:g}")
    return single


def _checked(z: np.ndarray, method: str) -> np.ndarray:
    if hasattr(z, "layers"):
        raise ParameterError(
            "z", type(z).__name__, "an array (clips, dimensions): one layer, such as embeddings.layer(name)"
        )
    z = numbers("z", z, finite=False, empty=True)
    if z.ndim != 2 or not len(z) or not z.shape[1]:
        raise ParameterError("z", f"array of shape {z.shape}", "of shape (clips, dimensions), neither of them 0")
    if method == "given" and z.shape[1] != 2:
        raise ParameterError("z", f"array of shape {z.shape}", "of shape (clips, 2) for method='given'")
    bad = np.flatnonzero(~np.isfinite(z).all(axis=1))
    if len(bad):
        rows = ", ".join(map(str, bad[:5])) + (" ..." if len(bad) > 5 else "")
        raise ParameterError("z", f"array with NaN or infinity in {len(bad)} of {len(z)} rows ({rows})", "finite")
    return z.astype(np.float64 if z.dtype == np.float64 else np.float32, copy=False)


def _standardised(z: np.ndarray) -> np.ndarray:
    deviation = z.std(axis=0)
    return (z - z.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def _pca(z: np.ndarray, seed: int, unit: float, components: list[int]) -> Projection:
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    most = max(components)
    if most > max(2, min(z.shape)):
        raise ParameterError("components", tuple(components), f"at most {min(z.shape)} for an array of shape {z.shape}")
    kept = min(most, *z.shape)
    pca = PCA(kept, random_state=seed)
    with threadpool_limits(1 if z.size < _SMALL else None):
        xy = pca.fit_transform(z)
    share = np.zeros(most)
    share[:kept] = pca.explained_variance_ratio_
    xy = np.pad(xy, ((0, 0), (0, most - kept)))  # one row or one dimension: the second axis is empty
    axes = tuple(f"PC {c} ({share[c - 1]:.0%} of variance)" for c in components)
    return Projection(_single(xy[:, [c - 1 for c in components]], unit), axes, "PCA")


def _reduced(z: np.ndarray, seed: int) -> np.ndarray:
    if z.shape[1] <= _REDUCED:
        return z
    from sklearn.decomposition import PCA

    return PCA(min(_REDUCED, len(z)), random_state=seed).fit_transform(z)


def _tsne(z: np.ndarray, seed: int, perplexity: float) -> Projection:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(perplexity, (len(z) - 1) / 3)
    # One thread: several add in an order of their own, so that a seed would not repeat; on a busy machine they also
    # wait for each other (1,000 points on two shared cores: 14 s with one thread, 61 s with two).
    with threadpool_limits(1):
        xy = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(z.astype(np.float32))
    return Projection(xy.astype(np.float32), ("t-SNE 1", "t-SNE 2"), f"t-SNE, perplexity {perplexity:.3g}")


def _umap(z: np.ndarray, seed: int, neighbours: int) -> Projection:
    neighbours = min(neighbours, len(z) - 1)
    UMAP = load("umap").UMAP
    # Spectral initialisation needs more points than components of the graph; PCA always works and depends on no solver.
    xy = UMAP(n_neighbors=neighbours, init="pca", random_state=seed, n_jobs=1).fit_transform(z)
    return Projection(xy.astype(np.float32), ("UMAP 1", "UMAP 2"), f"UMAP, {neighbours} neighbours")
