"""Interpreters on the same folds with the same seeds: do they match the classifier, and what does removing them do?"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ..embeddings.kept import Kept, read, write
from ..errors import ParameterError
from ..metrics import fidelity
from .classifiers import Classifier
from .judging import removal_study
from .l2i import L2I

if TYPE_CHECKING:
    import pandas as pd

#: To be raised when training or judging changes its numbers: results kept for resuming are then not found any more.
VERSION = 1
KS = (1, 3, 5)


def compare_interpreters(
    prepare: Callable[[int], tuple[Classifier, np.ndarray]],
    x: Tensor,
    splits: Sequence[object],
    systems: Mapping[str, Callable],
    *,
    tags: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seeds: Sequence[int] = (0,),
    judged: int | None = None,
    about: Mapping[str, object] | None = None,
    resume: bool | str | os.PathLike = False,
    progress: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train every interpreter on every fold with every seed and judge it on the clips held out.

    Parameters
    ----------
    prepare : callable
        Number of a fold -> its classifier and dictionary (F, K); called once a fold, when it is needed.
    x : Tensor (N, samples)
        Waveforms at the classifiers' rate.
    splits : sequence of splits
        A fold each.
    systems : mapping of str to callable
        ``system(classifier, dictionary, x, split, seed=...)`` gives an object with ``scores(x)``; from the sounds, the
        components of an :class:`~.l2i.L2I` are taken out too.
    tags : array_like of bool (N, C), optional
        True labels, of multilabel classifiers: on the training clips they set the threshold of each class.
    groups : array_like (N,), optional
        What the bootstrap draws as a whole.
    seeds : sequence of int
        Of the interpreters; classifiers and dictionaries stay the same.
    judged : int, optional
        Clips of a fold from which components are taken out; default all that are held out.
    about : mapping, optional
        Plain values that say what ``prepare``, ``x`` and ``systems`` are: what is kept is found again by them.
        Needed with ``resume``.
    resume : bool or path
        Keep each result in a folder (True: ``trained`` in the user's cache folder) and read those that are there.
    progress : bool

    Returns
    -------
    fidelity, removal : pandas.DataFrame
        A row a system, fold and seed, with the columns of :func:`~workbench.metrics.fidelity.evaluate` (or
        ``evaluate_multilabel``); and a row a system, fold, seed and tau with those of :func:`removal_study`, in logits,
        or of multilabel classifiers in probabilities.

    Raises
    ------
    ParameterError
        ``resume`` without ``about``, tags missing, nothing to compare.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    for name, given in (("systems", systems), ("splits", splits), ("seeds", seeds)):
        if not len(given):
            raise ParameterError(name, given, "at least one")
    if resume and not about:
        raise ParameterError("about", about, "what decides the numbers, where results are kept")
    kept = Kept(resume, f"compare_interpreters {VERSION}", dict(about or {}))
    rows, removals = [], []
    with tqdm(total=len(splits) * len(seeds) * len(systems), disable=not progress, desc="interpreters") as bar:
        for fold, split in enumerate(splits):
            prepared = functools.cache(prepare)
            for name, system in systems.items():
                for seed in seeds:
                    bar.set_postfix(system=name, fold=fold, seed=seed, refresh=False)
                    path = kept.path(system=name, seed=int(seed), judged=judged, split=[*map(np.asarray, split)])
                    found = read(path, ("fidelity", "removal"))
                    if found is None:
                        judge, words = prepared(fold)
                        trained = system(judge, words, x, split, seed=seed)
                        found = _judge(trained, judge, x, split, tags, groups, judged, seed)
                        write(path, found)
                    own = {"system": name, "fold": fold, "seed": seed}
                    rows.append(own | found["fidelity"])
                    removals += [own | row for row in found["removal"]]
                    bar.update()
    return pd.DataFrame(rows), pd.DataFrame(removals)


def _judge(trained, judge: Classifier, x: Tensor, split, tags, groups, judged: int | None, seed: int) -> dict:
    test = np.asarray(split.test)
    own = None if groups is None else np.asarray(groups)[test]
    logits, scores = judge.logits(x[test]), trained.scores(x[test])
    if judge.multilabel:
        scores = judge.probabilities(scores)
        measured = fidelity.evaluate_multilabel(multilabel_decisions(judge, x, tags, split), scores, own)
    else:
        measured = fidelity.evaluate(logits, scores, own, ks=[k for k in KS if k < logits.shape[1]])
    removal = []
    if isinstance(trained, L2I):
        some = slice(None, judged)
        explained = trained.explain(x[test[some]])
        options = {"output": "probabilities" if judge.multilabel else "logits", "seed": seed, "progress": False}
        table = removal_study(explained, judge, groups=None if own is None else own[some], **options)
        removal = table.reset_index().to_dict("records")
    return {"fidelity": measured, "removal": removal}


def multilabel_decisions(judge: Classifier, x: Tensor, tags: ArrayLike | None, split: object) -> np.ndarray:
    """What a multilabel classifier says of the test clips, bool (N_test, C).

    The threshold of each class is that of largest F1 on the training clips and their true ``tags``.
    """
    if tags is None:
        raise ParameterError("tags", tags, "the true labels (N, C) of a multilabel classifier's clips")
    train, test = np.asarray(split.train), np.asarray(split.test)
    thresholds = fidelity.best_thresholds(np.asarray(tags)[train], judge.probabilities(judge.logits(x[train])))
    return fidelity.decisions(judge.probabilities(judge.logits(x[test])), thresholds)
