"""What listeners answered to a listening test: files read back, intervals, votes of every class, simulated listeners.

:mod:`.listening` makes the test. A file of responses names the test that it belongs to, and answers to another test are
refused: results of one set of sounds are never mixed with those of another.
"""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import checked, number
from ..core.errors import DatasetError, ParameterError
from ..metrics.intervals import group_interval

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a file of responses, in this order.
COLUMNS = ("time", "test", "title", "listener", "task", "place", "trial", "stimulus", "description", "response")
COLUMNS += ("choices", "seconds", "plays")
RATING, IDENTIFICATION, DESCRIPTION = "rating", "identification", "description"


def check_test(path: str | os.PathLike, rows: Iterable[Mapping[str, str]], test: str, title: str) -> None:
    """Raise an error that names both tests if a row of a file answers another test than this one."""
    for row in rows:
        if row["test"] != test:
            other = f"the listening test {row['title']!r} ({row['test']})"
            told = f"holds answers to {other}, not to {title!r} ({test}): their sounds, questions or seeds differ"
            raise DatasetError(f"{path}: {told}. Give every test a file of its own")


def rows_of(path: Path, test: str, title: str) -> list[dict[str, str]]:
    """The rows of a file of responses as text; an error if it is none, or holds answers to another test."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            names = tuple(reader.fieldnames or ())
            rows = list(reader) if set(COLUMNS) <= set(names) else []
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    if missing := [name for name in COLUMNS if name not in names]:
        raise DatasetError(f"{path}: is no file of responses: columns {missing} are missing")
    check_test(path, rows, test, title)
    return rows


def decoded(
    rows: Sequence[Mapping[str, object]], known: Mapping[str, tuple[str, str, str]], source: str
) -> pd.DataFrame:
    """A table of responses from rows of files; ``known`` says of every stimulus its trial, class and method."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(COLUMNS))
    strange = sorted(set(table["stimulus"]) - set(known))
    if strange:
        raise DatasetError(f"{source}: sounds {strange[:3]} are not of this test")
    table = table.drop_duplicates(["listener", "task", "stimulus", "description"], keep="last").reset_index(drop=True)
    for place, name in enumerate(("trial", "label", "method")):
        table[name] = [known[stimulus][place] for stimulus in table["stimulus"]]
    scaled = table["task"] != IDENTIFICATION
    table["rating"] = table["response"].where(scaled)
    for name in ("place", "choices", "seconds", "plays", "rating"):
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = values.isna() & (scaled if name == "rating" else True)
        if wrong.any():
            column = "response" if name == "rating" else name
            shown = f"{table.loc[wrong, column].iloc[0]!r} of listener {table.loc[wrong, 'listener'].iloc[0]!r}"
            raise DatasetError(f"{source}: column {column} holds {shown}, which is no number")
        table[name] = values
    table["correct"] = (table["response"] == table["label"]).astype("boolean").mask(scaled)
    table["hearing"] = table.groupby(["listener", "task", "trial"])["place"].rank(method="dense").astype(int)
    shown = ["listener", "task", "place", "trial", "label", "method", "description", "response", "rating", "correct"]
    return table[[*shown, "hearing", "choices", "seconds", "plays", "time"]].assign(simulated=False)


# --- what follows from them ---------------------------------------------------------------------------------------


@checked
def analyse_responses(responses: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Mean ratings, their differences, and how often classes were recognised, each with its interval; votes a class.

    Parameters
    ----------
    responses : pandas.DataFrame
        A table that ``ListeningTest.responses`` or ``ListeningTest.simulate`` gave, not rows of both.
    level : float
        Confidence level.

    Returns
    -------
    pandas.DataFrame
        A row for each ``measure``:

        * "rating": mean by ``method``, 0 to 100;
        * "rating difference": mean of ``method`` minus that of ``against``, of the same listeners on the same trials;
        * "identification": share of right answers, with its ``chance``;
        * "identification, first hearing": the same of the answers given before any other sound of the trial was heard,
          which no earlier sound can have given away;
        * "own description": mean rating, 0 to 100, of the description of the sound's own class;
        * "own minus other descriptions": that rating minus the mean rating of the other descriptions of the same sound,
          which is 0 where descriptions are rated alike whatever is heard;
        * "own description highest": share of sounds of which the own description was rated highest, with its
          ``chance``; of n that are rated equally high, each counts 1 / n.

        with ``mean``, ``low``, ``high``, the ``answers`` (pairs for a difference, sounds for descriptions),
        ``listeners`` and ``trials`` behind it, and ``interval``, which says how it was made. Where ``class`` is empty,
        a row is about all classes; the rows of each class follow (not of differences and first hearings). Their
        ``votes`` say how often each answer was given to sounds of this class, the commonest first: the class named, or
        the one whose description was rated highest.

    Raises
    ------
    DatasetError
        No responses.
    ParameterError
        A table without the columns that are needed, or with real and simulated listeners.

    Notes
    -----
    Intervals are those of :func:`~workbench.metrics.intervals.group_interval` over listeners, which speak of other
    listeners and these trials; where there is one listener, over trials: other trials and this listener. Where there is
    one of each, there is no interval (NaN).
    """
    import pandas as pd

    if not isinstance(responses, pd.DataFrame):
        raise ParameterError("responses", type(responses).__name__, "a table, as ListeningTest.responses gives it")
    number("level", level, above=0, below=1)
    if not len(responses):
        raise DatasetError("there are no responses to analyse")
    wanted = ["task", "method", "listener", "trial", "label", "hearing"]
    of_task = {RATING: ["rating"], IDENTIFICATION: ["response", "correct", "choices"], DESCRIPTION: ["description"]}
    for task in set(responses["task"]) & set(of_task) if "task" in responses.columns else ():
        wanted += of_task[task] + ["rating"] * (task == DESCRIPTION)
    if missing := [name for name in wanted if name not in responses.columns]:
        raise ParameterError("responses", f"a table without {', '.join(missing)}", "of ListeningTest.responses")
    if "simulated" in responses.columns and responses["simulated"].nunique() > 1:
        raise ParameterError("responses", "a table of real and simulated listeners", "of one of the two")
    rows: list[dict] = []

    def add(measure: str, part: pd.DataFrame, column: str, limits: tuple[float, float], **more) -> None:
        counts = {"answers": len(part), "listeners": part["listener"].nunique(), "trials": part["trial"].nunique()}
        values = part[column].to_numpy(dtype=float)
        (low, high), interval = _interval(part, values, limits, level)
        estimate = {"mean": float(values.mean()), "low": float(low), "high": float(high)}
        rows.append({"measure": measure, "class": ""} | more | estimate | counts | {"interval": interval})

    def add_classes(measure: str, answers: pd.DataFrame, column: str, limits: tuple[float, float], votes=None) -> None:
        """A row a method, followed by a row for each class of its sounds."""
        for method, part in answers.groupby("method", sort=True):
            for name, some in [("", part), *part.groupby("label", sort=True)]:
                more = {"chance": float((1 / some["choices"]).mean())} if limits == (0, 1) else {}
                if votes is not None and name:
                    more["votes"] = _counted(some[votes])
                add(measure, some, column, limits, method=method, **{"class": name}, **more)

    rated = responses[responses["task"] == RATING]
    add_classes(RATING, rated, "rating", (0, 100))
    _add_differences(rated, add)
    named = responses[responses["task"] == IDENTIFICATION]
    if len(named):
        named = named.assign(votes=[{answer: 1.0} for answer in named["response"]])
    add_classes(IDENTIFICATION, named, "correct", (0, 1), "votes")
    for method, part in named[named["hearing"] == 1].groupby("method", sort=True):
        chance = float((1 / part["choices"]).mean())
        add(f"{IDENTIFICATION}, first hearing", part, "correct", (0, 1), method=method, chance=chance)
    described = _described(responses[responses["task"] == DESCRIPTION])
    add_classes("own description", described, "own", (0, 100))
    for method, part in described.groupby("method", sort=True):
        add("own minus other descriptions", part, "apart", (-100, 100), method=method)
    add_classes("own description highest", described, "highest", (0, 1), "votes")
    return analysed(rows)


def _add_differences(rated: pd.DataFrame, add: Callable) -> None:
    """Differences of the ratings of two methods by the same listener on the same trial, for every two methods."""
    wide = rated.pivot_table(index=["listener", "trial"], columns="method", values="rating", sort=True)
    for method, against in itertools.combinations(wide.columns, 2):
        pairs = wide[[method, against]].dropna().reset_index()
        if len(pairs):
            pairs["difference"] = pairs[method] - pairs[against]
            add("rating difference", pairs, "difference", (-100, 100), method=method, against=against)


def _described(responses: pd.DataFrame) -> pd.DataFrame:
    """A row for each sound that a listener rated against all descriptions: own, apart, highest and votes."""
    import pandas as pd

    rows = []
    keys = ["listener", "trial", "method", "label"]
    for key, part in responses.groupby(keys, sort=False):
        ratings = part.set_index("description")["rating"].astype(float)
        if len(ratings) < 2 or key[-1] not in ratings.index:
            continue  # an own description that was not rated has no difference
        first = ratings[ratings == ratings.max()].index
        votes, own = dict.fromkeys(first, 1 / len(first)), ratings[key[-1]]
        found = {"own": own, "apart": own - ratings.drop(key[-1]).mean(), "highest": votes.get(key[-1], 0.0)}
        rows.append(dict(zip(keys, key, strict=True)) | found | {"votes": votes, "choices": len(ratings)})
    return pd.DataFrame(rows, columns=[*keys, "own", "apart", "highest", "votes", "choices"])


def _counted(votes: Iterable[Mapping[str, float]]) -> str:
    """Votes of several answers as text, the commonest first, such as "bell 7, bark 2.5"."""
    total: dict[str, float] = {}
    for each in votes:
        for name, share in each.items():
            total[name] = total.get(name, 0.0) + share
    ordered = sorted(total.items(), key=lambda item: (-round(item[1], 9), item[0]))
    return ", ".join(f"{name} {f'{count:.2f}'.rstrip('0').rstrip('.')}" for name, count in ordered)


def analysed(rows: list[dict]) -> pd.DataFrame:
    """A table as :func:`analyse_responses` gives it, of these rows."""
    import pandas as pd

    columns = ["measure", "method", "against", "class", "mean", "low", "high", "chance"]
    table = pd.DataFrame(rows, columns=[*columns, "answers", "listeners", "trials", "votes", "interval"])
    for name in ("against", "votes"):
        table[name] = table[name].astype(object).where(table[name].notna(), "")
    return table


def _interval(part: pd.DataFrame, values: np.ndarray, limits: tuple[float, float], level: float) -> tuple[tuple, str]:
    for over in ("listener", "trial"):
        if part[over].nunique() > 1:
            bounds = group_interval(values, part[over].to_numpy(dtype=str), limits=limits, level=level)
            return tuple(bounds), f"over {over}s"
    return (np.nan, np.nan), "none: one listener, one trial"


# --- listeners that there are not ---------------------------------------------------------------------------------

#: Points of a rating that one unit of evidence is worth, and the standard deviation of listeners' own levels.
_POINTS, _OWN_LEVEL = 20.0, 8.0


def simulated_response(
    task: str, label: str, classes: Sequence[str], sensitivity: float, level: float, rng: np.random.Generator
) -> dict[str, str | int]:
    """What a simulated listener answers to one sound: description ("" without) -> response.

    The evidence for the class of the sound is normal with mean ``sensitivity`` (d') and variance 1, that for every
    other class with mean 0 (equal-variance signal detection). The class of the strongest evidence is named; a rating is
    50 + 20 x evidence + the listener's own ``level``, within 0 and 100.
    """
    evidence = {name: rng.normal(sensitivity * (name == label)) for name in classes}
    if task == IDENTIFICATION:
        return {"": max(evidence, key=evidence.get)}
    rated = {name: int(np.clip(round(50 + _POINTS * x + level), 0, 100)) for name, x in evidence.items()}
    return rated if task == DESCRIPTION else {"": rated[label]}


def own_level(rng: np.random.Generator) -> float:
    """How far a simulated listener's ratings lie above those of others."""
    return float(rng.normal(0, _OWN_LEVEL))
