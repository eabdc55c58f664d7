"""From embeddings to two coordinates: PCA, t-SNE or UMAP, seeded, with the input checked first.

PCA keeps distances as well as two axes can and says how much variance they carry. t-SNE (van der Maaten and Hinton
2008) and UMAP (McInnes et al. 2018) keep neighbourhoods: the size of a cluster and the distance between two clusters
mean nothing there. Both start from the 50 leading principal components when the input has more, and use one thread, so
that a seed repeats; above some thousand points they take minutes, PCA seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.dependencies import load
from ..errors import ParameterError

METHODS = ("pca", "tsne", "umap", "given")
#: Dimensions kept by PCA before t-SNE and UMAP.
REDUCED = 50


@dataclass(frozen=True)
class Projection:
    """Two coordinates a point and what the axes are called."""

    xy: np.ndarray
    """(N, 2) float32."""
    axes: tuple[str, str]
    """Names of the two axes; for PCA with the share of variance."""
    method: str
    """"PCA", "t-SNE", "UMAP" or "given coordinates"."""


def project(
    z: np.ndarray,
    *,
    method: str = "pca",
    seed: int = 0,
    standardise: bool = False,
    perplexity: float = 30.0,
    neighbours: int = 15,
) -> Projection:
    """Project embeddings onto a plane.

    Parameters
    ----------
    z : array (N, D)
        Embeddings, any unit; with ``method="given"`` coordinates (N, 2), used as they are.
    method : {"pca", "tsne", "umap", "given"}
    seed : int
        Of t-SNE, UMAP and the randomised solver of a large PCA. Same seed, same machine: same picture.
    standardise : bool
        Scale each dimension to mean 0 and deviation 1 first (constant dimensions stay 0).
    perplexity : float
        t-SNE only; lowered to (N - 1) / 3 for few points.
    neighbours : int
        UMAP only; lowered to N - 1 for few points.

    Returns
    -------
    Projection

    Raises
    ------
    ParameterError
        Wrong shape, NaN or infinity (with count and first rows), all rows equal, fewer than 5 rows for t-SNE or UMAP.
    """
    if method not in METHODS:
        raise ParameterError("method", method, f"one of {', '.join(map(repr, METHODS))}")
    z = _checked(z, method)
    if method == "given":
        return Projection(z.astype(np.float32), ("", ""), "given coordinates")
    if not (np.ptp(z, axis=0) > 0).any():
        raise ParameterError("z", f"array of {len(z)} equal rows", "different in at least two rows to be projected")
    if standardise:
        z = _standardised(z)
    if method == "pca":
        return _pca(z, seed)
    if len(z) < 5:
        raise ParameterError("z", f"array of {len(z)} rows", f"at least 5 rows for {method}; pca takes any number")
    z = _reduced(z, seed)
    return _tsne(z, seed, perplexity) if method == "tsne" else _umap(z, seed, neighbours)


def _checked(z: np.ndarray, method: str) -> np.ndarray:
    z = z.detach().cpu().numpy() if hasattr(z, "detach") else np.asarray(z)
    if z.ndim != 2 or not len(z) or not z.shape[1]:
        raise ParameterError("z", f"array of shape {z.shape}", "of shape (clips, dimensions), neither of them 0")
    if z.dtype.kind not in "fiub":
        raise ParameterError("z", f"array of {z.dtype}", "numeric")
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


def _pca(z: np.ndarray, seed: int) -> Projection:
    from sklearn.decomposition import PCA

    kept = min(2, *z.shape)
    pca = PCA(kept, random_state=seed)
    xy = pca.fit_transform(z)
    share = np.zeros(2)
    share[:kept] = pca.explained_variance_ratio_
    xy = np.pad(xy, ((0, 0), (0, 2 - kept)))  # one row or one dimension: the second axis is empty
    axes = tuple(f"PC {i + 1} ({s:.0%} of variance)" for i, s in enumerate(share))
    return Projection(xy.astype(np.float32), axes, "PCA")


def _reduced(z: np.ndarray, seed: int) -> np.ndarray:
    if z.shape[1] <= REDUCED:
        return z
    from sklearn.decomposition import PCA

    return PCA(min(REDUCED, len(z)), random_state=seed).fit_transform(z)


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
