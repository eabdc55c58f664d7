"""Few-shot evaluation: classify clips of classes that were not in training from a few examples of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, number, numbers, whole
from ..core.errors import ParameterError
from ..core.labels import known


@checked
def few_shot(
    z: ArrayLike,
    y: ArrayLike,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    episodes: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, float]:
    """Few-shot accuracy of classification by the nearest class mean, averaged over random episodes.

    Each episode draws ``ways`` classes and, of each, ``shots`` examples and at most ``queries`` other clips. Embeddings
    are scaled to length 1, and a query is assigned to the class with the nearest mean of its examples (Snell et al.
    2017, with the normalisation of Wang et al. 2019, arXiv 1911.04623).

    Parameters
    ----------
    z : array_like (N, k)
        Embeddings of clips of classes that were not in the training.
    y : array_like (N,)
        Classes of the clips.
    ways : int
        Number of classes per episode, at least 2.
    shots : int
        Number of examples per class.
    queries : int
        Largest number of other clips per class, which are classified.
    episodes : int
        Number of episodes, at least 2.
    seed : int
        Seed of the episodes.
    level : float
        Confidence level of the interval.

    Returns
    -------
    dict
        ``accuracy``, the mean over episodes; ``low`` and ``high``, its normal interval over episodes of these clips,
        which does not cover other clips; and ``chance``, which is 1 / ``ways``.

    Raises
    ------
    ParameterError
        If there are fewer classes than ``ways``, a class has no more clips than ``shots``, or a number is too small.
    """
    from scipy.stats import norm

    z = numbers("z", z, ndim=2).astype(np.float64)
    y = known(y, len(z))
    number("level", level, above=0, below=1)
    for name, value, least in (
        ("ways", ways, 2),
        ("shots", shots, 1),
        ("queries", queries, 1),
        ("episodes", episodes, 2),
    ):
        whole(name, value, least=least)
    members = {name: np.flatnonzero(y == name) for name in np.unique(y)}
    if len(members) < ways:
        raise ParameterError("ways", ways, f"at most {len(members)}, the number of classes")
    for name, rows in members.items():
        if len(rows) <= shots:
            raise ParameterError(
                "shots",
                shots,
                f"fewer than the {len(rows)} clips of class {name}: at least one must be left to classify",
            )
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    rng, names, scores = np.random.default_rng(seed), list(members), np.empty(episodes)
    for episode in range(episodes):
        drawn = [rng.permutation(members[names[c]])[: shots + queries] for c in rng.permutation(len(names))[:ways]]
        means = np.stack([z[rows[:shots]].mean(0) for rows in drawn])
        asked = np.concatenate([rows[shots:] for rows in drawn])
        true = np.repeat(np.arange(ways), [len(rows) - shots for rows in drawn])
        nearest = ((z[asked, None] - means) ** 2).sum(2).argmin(1)
        scores[episode] = np.mean([(nearest == true)[true == c].mean() for c in range(ways)])
    mean, half = scores.mean(), norm.ppf((1 + level) / 2) * scores.std(ddof=1) / np.sqrt(episodes)
    return {"accuracy": float(mean), "low": float(mean - half), "high": float(mean + half), "chance": 1 / ways}
