"""Interpreters on the same folds with the same seeds: do they match the classifier, and what does removing them do?"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, numbers, whole
from ..core.errors import ParameterError
from ..core.kept import Kept, plain, read, write
from ..core.learning import Gathered, to_run
from ..metrics import fidelity
from ..prototypes.tracks import known
from .classifiers import Classifier, real
from .judging import removal_study
from .l2i import L2I, training_rows

if TYPE_CHECKING:
    import pandas as pd

#: To be raised when training or judging changes its numbers: results kept for resuming are then not found any more.
VERSION = 1
KS = (1, 3, 5)


@checked
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
    resume: bool | str | os.PathLike | None = False,
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

    systems, splits, seeds = to_run(systems=systems, splits=splits, seeds=seeds)
    for name, function in {
        "prepare": prepare,
        **{f"systems[{name!r}]": each for name, each in systems.items()},
    }.items():
        if not callable(function):
            raise ParameterError(name, function, "a function")
    x, tags, groups = _inputs(x, tags, groups)
    if judged is not None:
        whole("judged", judged, least=1)
    if about is not None and not isinstance(about, Mapping):
        raise ParameterError("about", about, "a mapping")
    if resume and not about:
        raise ParameterError("about", about, "what decides the numbers, where results are kept")
    shared = {"about": dict(about or {}), "x": x, "tags": tags, "groups": groups, "prepare": recipe(prepare)}
    kept, gathered = Kept(resume, f"compare_interpreters {VERSION}", shared if resume else {}), Gathered()
    rows, removals = [], []
    with tqdm(total=len(splits) * len(seeds) * len(systems), disable=not progress, desc="interpreters") as bar:
        for fold, split in enumerate(splits):
            prepared = functools.cache(prepare)
            for name, system in systems.items():
                for seed in seeds:
                    bar.set_postfix(system=name, fold=fold, seed=seed, refresh=False)
                    own = {
                        "system": recipe(system) if resume else None,
                        "judged": judged,
                        "split": _parts(split, len(x)),
                    }
                    path = kept.path(name=name, fold=fold, seed=seed, **own)
                    found = read(path, ("fidelity", "removal"))
                    if found is None:
                        judge, words = prepared(fold)
                        with gathered.run(f"{name}, fold {fold}, seed {seed}"):
                            trained = system(judge, words, x, split, seed=seed)
                        found = _judge(trained, judge, x, split, tags, groups, judged, seed)
                        write(path, found)
                    own = {"system": name, "fold": fold, "seed": seed}
                    rows.append(own | found["fidelity"])
                    removals += [own | row for row in found["removal"]]
                    bar.update()
    gathered.finish("compare_interpreters", len(rows))
    return pd.DataFrame(rows), pd.DataFrame(removals)


def recipe(function: object, home: str | None = None, seen: tuple[int, ...] = ()) -> object:
    """What a function will do, in plain values: its code, defaults, and what it takes from outside.

    So that results are not found again after a cell was changed, even where ``about`` does not say so. Functions are
    followed within the module they start in (``home``). What cannot be told, such as an object of another library,
    counts by its type alone, and so do lists and sets from outside, in which a function may keep what it did.
    """
    if isinstance(function, functools.partial):
        return "partial", recipe((function.func, function.args, function.keywords), home, seen)
    if isinstance(function, tuple):
        return [recipe(each, home, seen) for each in function]
    if isinstance(function, (list, set)) and seen:
        return type(function).__name__
    if isinstance(function, Mapping):
        return sorted((repr(key), repr(recipe(each, home, seen))) for key, each in function.items())
    if isinstance(function, Classifier):
        return plain("module", function.module), function.rate, function.classes, function.taps
    code = getattr(function, "__code__", None)
    if code is None or id(code) in seen:
        try:
            return plain("recipe", function)
        except ParameterError:
            return f"{type(function).__module__}.{type(function).__qualname__}", getattr(function, "fingerprint", None)
    module = function.__module__ or ""
    if module.split(".")[0] == __package__.split(".")[0] or home not in (None, module):
        return f"{module}.{function.__qualname__}"
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    outside = {name: function.__globals__[name] for name in sorted(_names(code)) if name in function.__globals__}
    given = (getattr(function, "__self__", None), cells, function.__defaults__, function.__kwdefaults__, outside)
    return _code(code), recipe(given, module, (*seen, id(code)))


def _code(code: CodeType) -> list[object]:
    constants = [_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names)]


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(each) for each in code.co_consts if isinstance(each, CodeType)))


def _inputs(x: Tensor, tags: ArrayLike | None, groups: ArrayLike | None) -> tuple:
    x = real("x", x)
    if x.ndim != 2 or not x.numel():
        raise ParameterError("x.shape", tuple(x.shape), "(N, samples) with at least one clip")
    if tags is not None:
        tags = numbers("tags", tags, ndim=2)
        if len(tags) != len(x):
            raise ParameterError("tags.shape", tags.shape, f"({len(x)}, C), a row a clip")
    return x, tags, None if groups is None else known(groups, len(x), "groups")


def _parts(split: object, count: int) -> list[np.ndarray]:
    """Rows of train, valid and test."""
    if isinstance(split, (tuple, list)) and not hasattr(split, "train"):
        split = dict(zip(("train", "valid", "test"), split, strict=False))
    test = split.get("test") if isinstance(split, Mapping) else getattr(split, "test", None)
    test = numbers("split.test", [] if test is None else test, ndim=1, empty=True)
    test = np.flatnonzero(test) if test.dtype == bool and len(test) == count else test
    if not len(test) or test.dtype.kind not in "iu" or test.min() < 0 or test.max() >= count:
        raise ParameterError("split.test", test[:5].tolist(), f"at least one position, 0 to {count - 1}")
    train, valid = training_rows(split, count)
    if len(both := np.intersect1d(test, np.concatenate([train, valid]))):
        raise ParameterError("split", both[:5].tolist(), "disjoint: these clips are in test and in train or valid")
    return [train, valid, test]


def _judge(trained, judge: Classifier, x: Tensor, split, tags, groups, judged: int | None, seed: int) -> dict:
    test = _parts(split, len(x))[2]
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
    if not isinstance(judge, Classifier):
        raise ParameterError("judge", type(judge).__name__, "a Classifier")
    if tags is None:
        raise ParameterError("tags", tags, "the true labels (N, C) of a multilabel classifier's clips")
    x = judge.waveforms(x)
    tags = numbers("tags", tags, ndim=2)
    if tags.shape != (len(x), len(judge.classes)):
        raise ParameterError("tags.shape", tags.shape, f"({len(x)}, {len(judge.classes)}), clips and classes")
    train, _, test = _parts(split, len(x))
    thresholds = fidelity.best_thresholds(tags[train], judge.probabilities(judge.logits(x[train])))
    return fidelity.decisions(judge.probabilities(judge.logits(x[test])), thresholds)
