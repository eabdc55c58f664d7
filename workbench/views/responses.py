"""What listeners answered: the file of a listening test read back, and what follows from it.

A response names trial and sound by ids that say nothing (:func:`stimulus_id`), so that neither the page nor the file
tells a listener, who may be its author, which method made a sound. The same trials and seed give the names back.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import checked, number, whole
from ..core.errors import DatasetError, ParameterError
from ..metrics.classification import group_interval, wilson_interval

if TYPE_CHECKING:
    import pandas as pd

    from .listening import ListeningTrial

#: Of the file, in this order.
COLUMNS = ("time", "listener", "task", "place", "trial", "stimulus", "response", "choices", "seconds", "plays")
RATING, IDENTIFICATION = "rating", "identification"


def trial_id(seed: int, trial: str) -> str:
    """Twelve hex digits that stand for a trial."""
    return _digits([seed, trial])


def stimulus_id(seed: int, trial: str, method: str) -> str:
    """Twelve hex digits that stand for a method's sound in a trial."""
    return _digits([seed, trial, method])


def _digits(parts: Sequence) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8")).hexdigest()[:12]


@checked
def read_responses(
    source: str | os.PathLike | Iterable[str | os.PathLike], trials: Sequence[ListeningTrial], *, seed: int
) -> pd.DataFrame:
    """Read the responses to a listening test, and who made what was heard.

    Parameters
    ----------
    source : path or paths
        Files that the kernel wrote or that listeners downloaded from an exported page.
    trials : sequence of ListeningTrial
        Those of the test.
    seed : int
        That of the test.

    Returns
    -------
    pandas.DataFrame
        A row for each answer: ``listener``, ``task`` ("rating" or "identification"), ``place`` (1 for the listener's
        first), ``trial``, ``label`` (the class), ``method``, ``response`` (text as in the file), ``rating`` (0 to 100,
        else NaN), ``correct`` (True, False, or missing for ratings), ``hearing`` (1 where the listener had met no other
        sound of that trial before, 2 for the next ...; identification), ``choices``, ``seconds``, ``plays``, ``time``.
        Of an answer that is there twice, the last counts.

    Raises
    ------
    DatasetError
        Missing columns, a file that cannot be read, or sounds of other trials or of another seed; the file is named.
    """
    import pandas as pd

    from .listening import _trials

    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    frames, trials = [_read(path) for path in sources], _trials(trials)
    if not frames:
        raise ParameterError("source", [], "at least one file")
    known = {stimulus_id(seed, t.id, method): (t.id, t.label, method) for t in trials for method in t.candidates}
    for path, frame in zip(sources, frames, strict=True):
        strange = sorted(set(frame["stimulus"]) - set(known))
        if strange:
            raise DatasetError(f"{path}: sounds {strange[:3]} are not of these trials with seed={seed}")
    table = pd.concat(frames, ignore_index=True)
    table = table.drop_duplicates(["listener", "task", "stimulus"], keep="last").reset_index(drop=True)
    for place, name in enumerate(("trial", "label", "method")):
        table[name] = [known[stimulus][place] for stimulus in table["stimulus"]]
    rated = table["task"] == RATING
    table["rating"] = table["response"].where(rated)
    for name in ("place", "choices", "seconds", "plays", "rating"):
        found = pd.to_numeric(table[name], errors="coerce")
        wrong = found.isna() & (rated if name == "rating" else True)
        if wrong.any():
            column = "response" if name == "rating" else name
            shown = f"{table.loc[wrong, column].iloc[0]!r} of listener {table.loc[wrong, 'listener'].iloc[0]!r}"
            raise DatasetError(f"{', '.join(map(str, sources))}: column {column} holds {shown}, which is no number")
        table[name] = found
    table["correct"] = (table["response"] == table["label"]).astype("boolean").mask(rated)
    table["hearing"] = table.groupby(["listener", "task", "trial"])["place"].rank(method="dense").astype(int)
    shown = ["listener", "task", "place", "trial", "label", "method", "response", "rating", "correct"]
    return table[[*shown, "hearing", "choices", "seconds", "plays", "time"]]


def _read(path: str | os.PathLike) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
    except (OSError, ValueError) as error:  # what pandas raises for a broken table is a ValueError
        raise DatasetError(f"{path}: {error}") from error
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise DatasetError(f"{path}: columns {missing} are missing from a file of responses")
    return frame


@checked
def analyse_responses(
    responses: pd.DataFrame, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Mean ratings, their differences, and how often the class was recognised, each with its interval.

    Parameters
    ----------
    responses : pandas.DataFrame
        Of :func:`read_responses`.
    level : float
        Confidence level.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        A row for each ``measure``:

        * "rating": mean by ``method``, 0 to 100;
        * "rating difference": mean of ``method`` minus that of ``against``, of the same listeners on the same trials;
        * "identification": share of right answers, with its ``chance``;
        * "identification, first hearing": the same of the answers given before any other sound of the trial was heard,
          which no earlier sound can have given away.

        with ``mean``, ``low``, ``high``, the ``answers`` (pairs for a difference), ``listeners`` and ``trials`` behind
        it, and ``interval``, which says how it was made.

    Raises
    ------
    DatasetError
        No responses.

    Notes
    -----
    Intervals of ratings are percentiles of a bootstrap over listeners, which speaks of other listeners and these
    trials; where there is one listener, over trials: other trials and this listener. With one of both there is none
    (NaN). Under ten listeners they are too narrow (:func:`~workbench.metrics.classification.group_interval`). Those of
    identification are Wilson's, which take the answers for independent; several answers of one listener are not quite.
    """
    import pandas as pd

    if not isinstance(responses, pd.DataFrame):
        raise ParameterError("responses", type(responses).__name__, "a table, as read_responses gives it")
    number("level", level, above=0, below=1)
    whole("draws", draws, least=1)
    if not len(responses):
        raise DatasetError("there are no responses to analyse")
    wanted = ["task", "method", "listener", "trial"]
    named = (responses["task"] == IDENTIFICATION).any() if "task" in responses.columns else False
    wanted += ["correct", "hearing", "choices"] if named else ["rating", "hearing"]
    if missing := [name for name in wanted if name not in responses.columns]:
        raise ParameterError("responses", f"a table without {', '.join(missing)}", "of read_responses")
    rows = []

    def note(measure: str, part: pd.DataFrame, values: np.ndarray, bounds: tuple, interval: str, **more) -> None:
        counts = {"answers": len(part), "listeners": part["listener"].nunique(), "trials": part["trial"].nunique()}
        low, high = bounds
        found = {"mean": float(values.mean()), "low": float(low), "high": float(high)}
        rows.append({"measure": measure} | more | found | counts | {"interval": interval})

    rated = responses[responses["task"] == RATING]
    for method, part in rated.groupby("method", sort=True):
        values = part["rating"].to_numpy(dtype=float)
        note(RATING, part, values, *_bootstrap(part, values, level, draws, seed), method=method)
    wide = rated.pivot_table(index=["listener", "trial"], columns="method", values="rating", sort=True)
    for method, against in itertools.combinations(wide.columns, 2):
        pairs = wide[[method, against]].dropna().reset_index()
        if len(pairs):
            values = (pairs[method] - pairs[against]).to_numpy(dtype=float)
            bounds = _bootstrap(pairs, values, level, draws, seed)
            note("rating difference", pairs, values, *bounds, method=method, against=against)
    named = responses[responses["task"] == IDENTIFICATION]
    for measure, chosen in (
        (IDENTIFICATION, named),
        (f"{IDENTIFICATION}, first hearing", named[named["hearing"] == 1]),
    ):
        for method, part in chosen.groupby("method", sort=True):
            right = part["correct"].to_numpy(dtype=bool)
            bounds = wilson_interval(int(right.sum()), len(right), level=level)
            chance = float((1 / part["choices"]).mean())
            note(measure, part, right, bounds, "Wilson", method=method, chance=chance)
    columns = ["measure", "method", "against", "mean", "low", "high", "chance"]
    return pd.DataFrame(rows, columns=[*columns, "answers", "listeners", "trials", "interval"])


def _bootstrap(part: pd.DataFrame, values: np.ndarray, level: float, draws: int, seed: int) -> tuple[tuple, str]:
    for over in ("listener", "trial"):
        if part[over].nunique() > 1:
            bounds = group_interval(values, part[over].to_numpy(dtype=str), level=level, draws=draws, seed=seed)
            return tuple(bounds), f"bootstrap over {over}s"
    return (np.nan, np.nan), "none: one listener, one trial"
