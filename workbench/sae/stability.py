"""Are latents real? Whether another autoencoder finds them again, and whether they split or are absorbed.

Conventions
-----------
Codes ``z`` are (N, latents), a row a clip or frame that no autoencoder was trained on, from
:meth:`~workbench.sae.SparseAutoencoder.encode`; decoders are (latents, D), a row a latent. Only latents that are alive
count, which here means that their value varies over the N rows.

* :func:`found_again`: share of the latents of one autoencoder that another one has as well [1]_ [2]_.
* :func:`splitting`: which latents of a small autoencoder are one latent of a larger one, or several [3]_.
* :func:`absorption`: how often the latent of a concept is silent while a more specific one writes the concept [4]_.

References
----------
.. [1] Paulo, Belrose: Sparse autoencoders trained on the same data learn different features. arXiv 2501.16615.
.. [2] Aparin et al.: AudioSAE: towards understanding of audio-processing models with sparse autoencoders. arXiv
   2602.05027.
.. [3] Bricken et al.: Towards monosemanticity: decomposing language models with dictionary learning. 2023.
.. [4] Chanin et al.: A is for absorption: studying feature splitting and absorption in sparse autoencoders. arXiv
   2409.14507.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, number, numbers, whole
from ..core.errors import ParameterError
from ..metrics.intervals import jackknife_interval, members
from .data import positions
from .model import SparseAutoencoder

THRESHOLD = 0.7
"""Similarity from which a latent counts as found again; a cosine of .7 is that of arXiv 2501.16615."""
BLOCKS = 20
"""Most blocks of groups that the jackknife leaves out in turn."""


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows at length 1; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlations (p, q) of the columns of a (N, p) and b (N, q); 0 with a constant column."""
    return _unit((a - a.mean(0)).T) @ _unit((b - b.mean(0)).T).T


def _pairs(similarity: np.ndarray) -> np.ndarray:
    """Similarity (n,) of each row to its partner in the best one-to-one assignment; -1 for rows left without one."""
    from scipy.optimize import linear_sum_assignment

    partner = np.full(len(similarity), -1.0)
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    partner[rows] = similarity[rows, columns]
    return partner


def _varies(z: np.ndarray) -> np.ndarray:
    return (z != z[0]).any(0)


def _code(name: str, z: ArrayLike) -> np.ndarray:
    z = numbers(name, z, ndim=2).astype(np.float64)
    if len(z) < 2:
        raise ParameterError(f"len({name})", len(z), "2 or more rows")
    return z


def _vectors(name: str, sae: object, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and decoder directions of the alive latents of an autoencoder."""
    if not isinstance(sae, SparseAutoencoder):
        raise ParameterError(name, type(sae).__name__, "a SparseAutoencoder")
    z = np.asarray(sae.encode(x), np.float64)
    alive = _varies(z)
    if not alive.any():
        raise ParameterError(name, "no latent varies over x", "an autoencoder with latents that are alive on x")
    return z[:, alive], sae.decoder.cpu().numpy().astype(np.float64)[alive]


@checked
def found_again(
    first: SparseAutoencoder,
    second: SparseAutoencoder,
    x: np.ndarray,
    *,
    threshold: float = THRESHOLD,
    groups: np.ndarray | None = None,
    within: np.ndarray | None = None,
    draws: int = 10,
    seed: int = 0,
):
    """Share of the latents of one autoencoder that another one has as well, by direction and by activity.

    Two latents are similar by *direction* as far as the cosine of their decoder rows is high, and by *activity* as far
    as their values correlate over the rows of ``x``. Latents are paired one to one so that the sum of similarities is
    highest (the Hungarian method, as in arXiv 2501.16615), and one is found again if its partner is similar enough.

    Parameters
    ----------
    first, second : SparseAutoencoder
        Autoencoders of the same vectors, which may differ in size. If both started from the same seed, latents that
        hardly moved are alike without any learning: use different seeds.
    x : ndarray (N, D)
        Vectors that neither was trained on.
    threshold : float
        Similarity from which a latent is found again, in (0, 1).
    groups : ndarray (N,), optional
        Group of each row; the interval is for other groups.
    within : ndarray (N,), optional
        The control of activity shuffles rows only inside each value of this, such as the label: what is left then is
        what latents share because both know the label.
    draws : int
        Draws of each control.
    seed : int
        Seed of the controls.

    Returns
    -------
    pandas.DataFrame
        Rows "direction" and "activity". ``found_again`` is the share of the compared latents of ``first`` found again
        one to one; ``low`` and ``high`` are its 95 % interval by activity, a jackknife that leaves out groups in turn
        (at most :data:`BLOCKS` blocks of them). A direction does not depend on rows and has no interval (NaN).
        ``weighted`` is the same share with each latent weighted by the number of rows in which it is active,
        ``nearest`` that of latents whose most similar latent is similar enough, whoever else has the same one, and
        ``similarity`` the mean of these highest similarities. ``chance`` is ``found_again`` with the control, on
        average, and ``chance_similarity`` its ``similarity``: for direction, random directions with the covariance of
        x; for activity, the codes of ``second`` in a shuffled order of rows. ``compared`` and ``compared_with`` count
        the alive latents of both.

    Raises
    ------
    ParameterError
        If shapes do not match, an autoencoder has no latent that varies over ``x``, or an option is out of range.
    """
    import pandas as pd

    x = numbers("x", x, ndim=2)
    number("threshold", threshold, above=0, below=1)
    whole("draws", draws, least=1)
    (a, da), (b, db) = _vectors("first", first, x), _vectors("second", second, x)
    if da.shape[1] != db.shape[1]:
        raise ParameterError("second", f"dim={db.shape[1]}", f"dim={da.shape[1]}, as that of first")
    weight, rng = (a != 0).sum(0), np.random.default_rng(seed)
    inside = np.zeros(len(x), int) if within is None else members(within, len(x))
    own, spread = _unit(da), _root(x)

    def random_directions() -> np.ndarray:
        return own @ _unit(rng.standard_normal((len(db), len(spread))) @ spread).T

    def shuffled() -> np.ndarray:
        return _correlation(a, b[_shuffled(inside, rng)])

    def activity(rows: np.ndarray) -> float:
        part = a[rows]
        known = _varies(part)
        if not known.any():
            return np.nan
        return float((_pairs(_correlation(part[:, known], b[rows])) >= threshold).mean())

    found = {"direction": (own @ _unit(db).T, random_directions), "activity": (_correlation(a, b), shuffled)}
    rows = {}
    for name, (similarity, control) in found.items():
        again, nearest = _pairs(similarity) >= threshold, similarity.max(1)
        chance = [control() for _ in range(draws)]
        rows[name] = {
            "found_again": again.mean(),
            "low": np.nan,
            "high": np.nan,
            "weighted": np.average(again, weights=weight),
            "nearest": (nearest >= threshold).mean(),
            "similarity": nearest.mean(),
            "chance": np.mean([(_pairs(each) >= threshold).mean() for each in chance]),
            "chance_similarity": np.mean([each.max(1).mean() for each in chance]),
            "compared": a.shape[1],
            "compared_with": b.shape[1],
        }
    bounds = _left_out(activity, rows["activity"]["found_again"], members(groups, len(x)), rng)
    rows["activity"]["low"], rows["activity"]["high"] = bounds
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("by")


def _root(x: np.ndarray) -> np.ndarray:
    """Matrix (min(N, D), D) that turns white noise into vectors with the covariance of x."""
    x = x.astype(np.float64)
    return np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x)), mode="r")


def _shuffled(inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Row numbers in a random order, each in the place of one of the same class."""
    order = np.empty(len(inside), int)
    place = np.argsort(inside, kind="stable")
    order[place] = np.lexsort((rng.random(len(inside)), inside))
    return order


def _left_out(
    statistic: Callable[[np.ndarray], float], value: float, member: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Interval of a share by the jackknife over groups, in at most :data:`BLOCKS` blocks of whole groups."""
    count = member.max() + 1
    block = (rng.permutation(count) % min(BLOCKS, count))[member]
    sizes = np.bincount(block)
    if len(sizes) < 2 or len(member) - sizes.max() < 2:
        return np.nan, np.nan
    without = [statistic(np.flatnonzero(block != out)) for out in range(len(sizes))]
    return jackknife_interval(value, without, sizes, limits=(0, 1)) if np.isfinite(without).all() else (np.nan, np.nan)


@checked
def splitting(
    small: np.ndarray,
    large: np.ndarray,
    *,
    choose: np.ndarray,
    test: np.ndarray,
    threshold: float = THRESHOLD,
    most: int = 5,
):
    """Which latents of a small autoencoder are one latent of a larger one, or the sum of several.

    On the rows ``choose``, the counterpart of a small latent is the large one whose value correlates most with it. Its
    parts are large latents inside it, which means that it is active in at least a share ``threshold`` of the rows in
    which they are. They are taken one by one, each time that whose value added to the sum raises the correlation most.
    The rows ``test`` then say how far the counterpart, and the sum of the parts, follow the small latent.

    Parameters
    ----------
    small, large : ndarray (N, n), (N, m)
        Codes of the same rows by both autoencoders.
    choose, test : ndarray of int
        Row numbers on which counterparts are chosen, and on which they are judged.
    threshold : float
        Correlation from which a latent is explained, and share of rows from which another is inside it, in (0, 1).
    most : int
        Most parts.

    Returns
    -------
    pandas.DataFrame
        One row per latent of ``small`` that varies in both parts, by its number: ``one``, the correlation with its
        counterpart on the test rows; ``together``, that with the sum of its parts (0 without any); how many ``parts``
        there are; and ``fate``: "one" if the counterpart reaches the threshold, "several" if only the sum of two or
        more parts does, and otherwise "none".

    Raises
    ------
    ParameterError
        If shapes do not match, row numbers are wrong, or an option is out of range.
    """
    import pandas as pd

    small, large = _code("small", small), _code("large", large)
    if len(large) != len(small):
        raise ParameterError("len(large)", len(large), f"len(small)={len(small)}")
    choose, test = (positions(rows, name, len(small)) for name, rows in (("choose", choose), ("test", test)))
    number("threshold", threshold, above=0, below=1)
    whole("most", most, least=1)
    of, on = small[choose], small[test]
    kept = np.flatnonzero(_varies(of) & _varies(on))
    pool, candidates = large[choose], large[test]
    moved = pool - pool.mean(0)
    power, cross = (moved**2).sum(0), _unit((of[:, kept] - of[:, kept].mean(0)).T) @ moved
    first = (cross / np.sqrt(np.where(power > 0, power, np.inf))).argmax(1)
    both = (of[:, kept] > 0).T.astype(np.float64) @ (pool > 0)
    inside = both >= threshold * np.maximum((pool > 0).sum(0), 1)
    rows, one, together = [], [], []
    for target, products, allowed, counterpart in zip(on[:, kept].T, cross, inside, first, strict=True):
        parts = np.flatnonzero(allowed)[_parts(products[allowed], moved[:, allowed], power[allowed], most)]
        follow = np.column_stack([candidates[:, counterpart], candidates[:, parts].sum(1)])
        for values, correlation in zip((one, together), _correlation(target[:, None], follow)[0], strict=True):
            values.append(correlation)
        rows.append(len(parts))
    found = pd.DataFrame({"one": one, "together": together, "parts": rows}, index=pd.Index(kept, name="latent"))
    several = (found["together"] >= threshold) & (found["parts"] > 1)
    fate = np.where(several, "several", "none")
    return found.assign(fate=np.where(found["one"] >= threshold, "one", fate))


def _parts(cross: np.ndarray, moved: np.ndarray, power: np.ndarray, most: int) -> np.ndarray:
    """Columns whose sum correlates most with a target, greedily; ``cross`` (m,) are their products with the target."""
    parts, product, square, total, best = [], 0.0, 0.0, np.zeros(len(moved)), 0.0
    while len(parts) < min(most, len(power)):
        grown = square + power + 2 * (total @ moved)
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.where(grown > 1e-12 * max(power.max(), 1e-300), (product + cross) / np.sqrt(grown), -1.0)
        score[parts] = -1.0
        at = int(score.argmax())
        if score[at] <= best + 1e-9:
            break
        best, parts = score[at], [*parts, at]
        product, square, total = product + cross[at], grown[at], total + moved[:, at]
    return np.array(parts, int)


@checked
def absorption(
    z: np.ndarray,
    decoder: np.ndarray,
    direction: np.ndarray,
    positive: np.ndarray,
    *,
    choose: np.ndarray,
    test: np.ndarray,
    least: float = 0.5,
) -> dict[str, float]:
    """How often the main latent of a concept is silent while another one writes the concept (absorption).

    What latent j writes along the concept in a row is ``z_j decoder_j . direction``, less its mean over the rows
    ``choose`` without the concept. The *main* latent is that which writes most on average over the rows ``choose`` with
    it. A test row with the concept is *absorbed* if the main latent is silent, one other latent writes at least
    ``least`` times what the main one does on average where it is active, and the whole code still says the concept: the
    sum over latents is nearer to its mean with the concept than to that without it.

    The definition is simpler than that of arXiv 2409.14507, which finds the main latents by sparse probes and
    what the others do by integrated gradients.

    Parameters
    ----------
    z : ndarray (N, latents)
        Codes.
    decoder : ndarray (latents, D)
        Decoder directions.
    direction : ndarray (D,)
        Direction of the concept, such as a probe's weights of its class less the mean over classes.
    positive : ndarray of bool (N,)
        Which rows have the concept.
    choose, test : ndarray of int
        Row numbers on which the main latent is chosen, and which are counted.
    least : float
        How much another latent must write, as a share of what the main one does, above 0.

    Returns
    -------
    dict
        ``main``, the number of the main latent; ``carried``, the share of what all latents write on the rows ``choose``
        that the main one does; ``fires`` and ``false_alarms``, the shares of the test rows with and without the concept
        in which it is active; ``silent`` (1 - fires) and ``absorbed``, shares of the test rows with the concept; and
        ``absorber``, the latent that writes most in most absorbed rows, or -1. If no latent writes along the direction,
        ``main`` is -1 and the shares are NaN.

    Raises
    ------
    ParameterError
        If shapes do not match, a part has no row with or without the concept.
    """
    z, decoder = _code("z", z), numbers("decoder", decoder, ndim=2).astype(np.float64)
    direction, positive = numbers("direction", direction, ndim=1), numbers("positive", positive, ndim=1)
    if len(decoder) != z.shape[1]:
        raise ParameterError("len(decoder)", len(decoder), f"{z.shape[1]}, a row a latent of z")
    if direction.shape != decoder.shape[1:]:
        raise ParameterError("direction.shape", direction.shape, f"{decoder.shape[1:]}, as the rows of decoder")
    if positive.dtype != bool or len(positive) != len(z):
        raise ParameterError("positive", f"{positive.dtype} {positive.shape}", f"bool ({len(z)},), one a row of z")
    number("least", least, above=0)
    choose, test = (positions(rows, name, len(z)) for name, rows in (("choose", choose), ("test", test)))
    for name, rows in (("choose", choose), ("test", test)):
        if positive[rows].all() or not positive[rows].any():
            raise ParameterError(f"positive[{name}]", bool(positive[rows].any()), "rows with and without the concept")
    written = z * (decoder @ direction)
    written -= written[choose][~positive[choose]].mean(0)
    mean = written[choose][positive[choose]].mean(0)
    main = int(mean.argmax())
    if mean[main] <= 0:
        shares = dict.fromkeys(("carried", "fires", "false_alarms", "silent", "absorbed"), float("nan"))
        return {"main": -1} | shares | {"absorber": -1}
    fired = positive & (z[:, main] > 0)
    reference = written[choose][fired[choose]][:, main].mean() if fired[choose].any() else np.inf
    rows = test[positive[test]]
    others = written[rows].copy()
    others[:, main] = -np.inf
    said = written[rows].sum(1) > mean.sum() / 2
    silent = z[rows, main] <= 0
    absorbed = silent & said & (others.max(1) >= least * reference)
    by = np.bincount(others[absorbed].argmax(1)) if absorbed.any() else None
    return {
        "main": main,
        "carried": float(mean[main] / np.maximum(mean, 0).sum()),
        "fires": float(1 - silent.mean()),
        "false_alarms": float((z[test[~positive[test]], main] > 0).mean()),
        "silent": float(silent.mean()),
        "absorbed": float(absorbed.mean()),
        "absorber": -1 if by is None else int(by.argmax()),
    }
