"""What do people hear? A listening test in a notebook: ratings from 0 to 100, or naming the class of a sound blindly.

Parekh et al. (arXiv 2202.11479) asked people how well an interpretation matches the part of the clip that belongs to
the class. The page (``static/listening.js``) plays the sounds of each trial under one gain, in an order that seed and
listener's name decide, and calls them A, B, C: which method made which is nowhere in it. While a kernel runs, answers
are appended to a csv file at once, and a listener who comes back goes on where they were; an exported page keeps the
answers in the browser and offers the same file as a download.

A response names trial and sound by ids that say nothing (:func:`_stimulus_id`), so that neither the page nor the file
tells a listener, who may be its author, which method made a sound. The same trials and seed give the names back.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import check_fields, checked, choice, number
from ..core.errors import DatasetError, ParameterError
from ..metrics.intervals import group_interval
from .inputs import instances, items, mapping, texts
from .page import Page, check_file, escape
from .sounds import cut, shared_gain, waveform
from .terms import Table, table

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the file of responses, in this order.
_COLUMNS = ("time", "listener", "task", "place", "trial", "stimulus", "response", "choices", "seconds", "plays")
_RATING, _IDENTIFICATION = "rating", "identification"
_QUESTIONS = {
    _RATING: "How well does each sound match the part of the clip that is {label}?",
    _IDENTIFICATION: "Which of these do you hear?",
}


@dataclass(frozen=True, eq=False)
class ListeningTrial:
    """One clip, or one part of it, as several methods explain it."""

    id: str
    """Its name in the analysis; the page does not show it."""
    label: str
    """The class."""
    candidates: Mapping[str, np.ndarray]
    """Method -> sound (samples,)."""
    rate: int
    """Hz, of all its sounds."""
    reference: np.ndarray | None = None
    """The clip, (samples,), played beside what is to be rated."""

    def __post_init__(self):
        check_fields(self)
        candidates = mapping("candidates", self.candidates, "a mapping of method to sound (samples,)")
        if len({str(method) for method in candidates}) < len(candidates):
            raise ParameterError("candidates", list(candidates), "methods of different names")
        object.__setattr__(self, "candidates", {str(method): sound for method, sound in candidates.items()})


@checked
def listening_test(
    trials: Sequence[ListeningTrial],
    *,
    path: str | os.PathLike = "responses.csv",
    seed: int,
    task: str = _RATING,
    question: str | None = None,
    choices: Sequence[str] | None = None,
    seconds: float | None = 10.0,
    title: str = "A listening test",
    megabytes: float = 20.0,
) -> ListeningTest:
    """Ask people what they hear.

    Parameters
    ----------
    trials : sequence of ListeningTrial
    path : path
        Where answers go while a kernel runs; appended to if it is there. Its folder must exist.
    seed : int
        Decides the order of trials and sounds, and the ids that hide the methods.
    task : {"rating", "identification"}
        Rate all sounds of a trial from 0 to 100 beside its reference, or name the class of one sound at a time, without
        reference. Naming goes in rounds, each with one sound of every trial: the first round is not given away by
        another sound of the same clip.
    question : str, optional
        What is asked; ``{label}`` stands for the class (ratings alone).
    choices : sequence of str, optional
        Classes to choose from; by default those of the trials.
    seconds : float or None
        Longest part of a sound that plays, from the beginning; None for all.
    title : str
    megabytes : float
        Most sound (10^6 bytes, compressed) in the output, which carries all of it.

    Returns
    -------
    ListeningTest

    Raises
    ------
    ParameterError
        No trials, two of one id, one without sounds, a class that cannot be chosen, an unknown task, more sound than
        ``megabytes``, a path whose folder does not exist.
    AudioError
        A sound holds NaN or is empty; trial and method are named.
    """
    trials, path = instances("trials", trials, ListeningTrial), Path(path)
    choice("task", task, _QUESTIONS)
    number("megabytes", megabytes, above=0)
    ids = [trial.id for trial in trials]
    if not ids or len(set(ids)) < len(ids):
        raise ParameterError("trials", ids, "at least one, each with an id of its own")
    for trial in trials:
        if not trial.candidates:
            raise ParameterError(f"trial {trial.id!r}.candidates", {}, "at least one sound")
    check_file("path", path)
    choices = sorted({trial.label for trial in trials}) if choices is None else texts("choices", choices)
    if task == _IDENTIFICATION:
        if len(set(choices)) < max(2, len(choices)):
            raise ParameterError("choices", choices, "two or more different classes")
        for trial in trials:
            if trial.label not in choices:
                raise ParameterError(f"trial {trial.id!r}.label", trial.label, f"one of {', '.join(choices)}")
    question = question or _QUESTIONS[task]
    test = ListeningTest(trials, path, seed, task, question, choices, title=title, seconds=seconds)
    if test.megabytes > megabytes:
        expected = f"at least {test.megabytes:.1f} for these sounds, or fewer trials, or shorter seconds"
        raise ParameterError("megabytes", megabytes, expected)
    return test


class ListeningTest(Page):
    """A listening test, made by :func:`listening_test`; display it and let people answer.

    Attributes
    ----------
    path : Path
        Where answers go while a kernel runs.
    megabytes : float
        Sound in the page, 10^6 bytes.
    """

    _element, _styles = "wb-players wb-listening", ("players.css", "listening.css")
    _scripts, _view = ("players.js", "elements.js", "listening.js"), "ListeningTest"

    def __init__(self, trials, path, seed, task, question, choices, **page):
        super().__init__(**page)
        self.path, self.task, self.megabytes = path, task, 0.0
        self._seed, self._salt = seed, _trial_id(seed, task)
        self._trials = {_trial_id(seed, trial.id): trial for trial in trials}
        self._choices, self._question = choices, question
        self._methods = {
            hidden: {_stimulus_id(seed, trial.id, method): method for method in trial.candidates}
            for hidden, trial in self._trials.items()
        }
        data = {
            "task": task,
            "title": self.title,
            "salt": self._salt,
            # In the order of ids that say nothing, not of trials and methods.
            "trials": [self._trial(hidden) for hidden in sorted(self._trials)],
            "choices": choices if task == _IDENTIFICATION else [],
            "columns": _COLUMNS,
            "file": path.name,
        }
        self._pack(data)

    def _trial(self, hidden: str) -> dict:
        """What the page knows of a trial, by its id that says nothing."""
        trial, methods = self._trials[hidden], self._methods[hidden]
        sounds = {stimulus: (method, trial.candidates[method]) for stimulus, method in sorted(methods.items())}
        if self.task == _RATING and trial.reference is not None:
            sounds["reference"] = ("reference", trial.reference)
        read = {name: waveform(f"trial {trial.id}, {method}", x, trial.rate) for name, (method, x) in sounds.items()}
        gain = shared_gain(cut(x, rate, seconds=self._seconds) for x, rate in read.values())
        packed = {}
        for name, (x, rate) in read.items():
            sound = self._sound(name, x, rate, gain_db=gain)
            packed[name] = {"id": name, "uri": sound.uri, "caption": sound.caption}
            self.megabytes += len(sound.data) / 1e6
        reference = packed.pop("reference", None)
        question = self._question.replace("{label}", trial.label) if self.task == _RATING else self._question
        note = f"All sounds of this trial at one gain of {gain:+.1f} dB: levels can be compared."
        if self.task == _IDENTIFICATION:
            note = f"Gain {gain:+.1f} dB, the same for all sounds of this clip."
        said = {"id": hidden, "question": question, "note": note}
        return said | {"reference": reference, "sounds": list(packed.values())}

    @checked
    def steps(self, listener: str) -> list[tuple[str, list[str]]]:
        """What a listener meets: (trial, methods in the order of A, B, C ...), from the first screen to the last."""
        order = {trial: self._shuffled(methods, listener) for trial, methods in self._methods.items()}
        if self.task == _RATING:
            screens = [(trial, order[trial]) for trial in self._shuffled(order, listener)]
        else:
            rounds = range(max(map(len, order.values())))
            screens = [
                (trial, [order[trial][r]])
                for r in rounds
                for trial in self._shuffled(order, f"{listener}|{r}")
                if r < len(order[trial])
            ]
        return [(self._trials[trial].id, [self._methods[trial][s] for s in stimuli]) for trial, stimuli in screens]

    def _shuffled(self, ids: Iterable[str], listener: str) -> list[str]:
        return sorted(ids, key=lambda id: (_hash32(f"{self._salt}|{listener}|{id}"), id))

    def _still(self) -> str:
        sounds = sum(map(len, self._methods.values()))
        return (
            f'<div class="wb-still"><strong>{escape(self.title)}</strong><br>A listening test of {len(self._trials)} '
            f"trials with {sounds} sounds ({self.task}). It needs scripts, which are loading or blocked here.</div>"
        )

    @checked
    def answers(self, listener: str) -> list[dict[str, str]]:
        """The rows in the file that this listener gave to this test."""
        stimuli = {stimulus for methods in self._methods.values() for stimulus in methods}
        rows = [row for row in self._rows() if (row["listener"], row["task"]) == (listener, self.task)]
        return [row for row in rows if row["stimulus"] in stimuli]

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                is_ours = tuple(reader.fieldnames or ()) == _COLUMNS
                rows = list(reader) if is_ours else []
        except (OSError, ValueError, csv.Error) as error:
            raise DatasetError(f"{self.path}: cannot be read: {error}") from error
        if not is_ours:
            raise DatasetError(f"{self.path}: is no file of responses, whose columns are {', '.join(_COLUMNS)}")
        return rows

    def results(self) -> Table:
        """What all listeners said so far, by :func:`analyse_responses`; without a row while nobody has answered."""
        if not self.path.exists():
            return table(_analysed([]), title="No answers yet: give some above, then run this cell again.")
        responses = read_responses(self.path, list(self._trials.values()), seed=self._seed)
        return table(analyse_responses(responses), title=f"Answers of {responses['listener'].nunique()} listeners")

    def record(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Append answers to the file.

        Parameters
        ----------
        rows : sequence of mapping
            Answers, each with the columns of the file; trials and sounds by their ids.

        Raises
        ------
        DatasetError
            A row that is no answer to this test, or a file that holds something else; nothing is written.
        """
        for row in (rows := items("rows", rows, "a list of answers, each a mapping of column to value")):
            if fault := self._fault(row):
                raise DatasetError(f"{self.path.name}: no answer to this test: {fault}")
        self._rows()
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        if not self.path.exists():
            writer.writeheader()
        writer.writerows(rows)
        with self.path.open("a", encoding="utf-8", newline="") as file:  # one write: lines of two kernels do not mix
            file.write(text.getvalue())

    def _fault(self, row: Mapping[str, object]) -> str:
        """What is wrong with an answer; empty if nothing is."""
        if not isinstance(row, Mapping) or set(row) != set(_COLUMNS):
            return f"columns {sorted(map(str, row))}" if isinstance(row, Mapping) else type(row).__name__
        if row["task"] != self.task or not str(row["listener"]).strip():
            return f"task {row['task']!r} of listener {row['listener']!r}"
        if str(row["stimulus"]) not in self._methods.get(str(row["trial"]), {}):
            return f"sound {row['stimulus']!r} in trial {row['trial']!r}"
        if self.task == _RATING:
            is_number = isinstance(row["response"], int) and not isinstance(row["response"], bool)
            possible = is_number and 0 <= row["response"] <= 100
        else:
            possible = row["response"] in self._choices
        return "" if possible else f"response {row['response']!r}"

    def _answer(self, message: dict) -> dict:
        if message["kind"] == "answers":
            return {"rows": self.answers(message["listener"])}
        self.record(message["rows"])
        return {"rows": []}

    def __repr__(self) -> str:
        return f"ListeningTest({self.task}, {len(self._trials)} trials, {self.path.name})"


def _hash32(text: str) -> int:
    """Hash of a text, 32 bits: FNV-1a, then the finaliser of MurmurHash3, as in ``listening.js``.

    An exported page has to find the same order as Python, with nothing but integers.
    """
    value, low = 2166136261, 0xFFFFFFFF
    for byte in text.encode("utf-8"):
        value = (value ^ byte) * 16777619 & low
    value = (value ^ value >> 16) * 0x85EBCA6B & low
    value = (value ^ value >> 13) * 0xC2B2AE35 & low
    return value ^ value >> 16


# --- what listeners answered: the file read back, and what follows from it ----------------------------------------


def _trial_id(seed: int, trial: str) -> str:
    """Twelve hex digits that stand for a trial."""
    return _hex_id([seed, trial])


def _stimulus_id(seed: int, trial: str, method: str) -> str:
    """Twelve hex digits that stand for a method's sound in a trial."""
    return _hex_id([seed, trial, method])


def _hex_id(parts: Sequence) -> str:
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
        The trials of the test.
    seed : int
        The seed of the test.

    Returns
    -------
    pandas.DataFrame
        A row for each answer: ``listener``, ``task`` ("rating" or "identification"), ``place`` (1 for the listener's
        first), ``trial``, ``label`` (the class), ``method``, ``response`` (text as in the file), ``rating`` (0 to 100,
        else NaN), ``correct`` (True, False, or missing for ratings), ``hearing`` (1 where the listener had met no other
        sound of that trial before, 2 for the next ...; identification), ``choices``, ``seconds``, ``plays``, ``time``.
        An answer that is there twice counts as it was given last.

    Raises
    ------
    DatasetError
        Missing columns, a file that cannot be read, or sounds of other trials or of another seed; the file is named.
    """
    import pandas as pd

    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    frames, trials = [_read(path) for path in sources], instances("trials", trials, ListeningTrial)
    if not frames:
        raise ParameterError("source", [], "at least one file")
    known = {_stimulus_id(seed, t.id, method): (t.id, t.label, method) for t in trials for method in t.candidates}
    for path, frame in zip(sources, frames, strict=True):
        strange = sorted(set(frame["stimulus"]) - set(known))
        if strange:
            raise DatasetError(f"{path}: sounds {strange[:3]} are not of these trials with seed={seed}")
    table = pd.concat(frames, ignore_index=True)
    table = table.drop_duplicates(["listener", "task", "stimulus"], keep="last").reset_index(drop=True)
    for place, name in enumerate(("trial", "label", "method")):
        table[name] = [known[stimulus][place] for stimulus in table["stimulus"]]
    rated = table["task"] == _RATING
    table["rating"] = table["response"].where(rated)
    for name in ("place", "choices", "seconds", "plays", "rating"):
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = values.isna() & (rated if name == "rating" else True)
        if wrong.any():
            column = "response" if name == "rating" else name
            shown = f"{table.loc[wrong, column].iloc[0]!r} of listener {table.loc[wrong, 'listener'].iloc[0]!r}"
            raise DatasetError(f"{', '.join(map(str, sources))}: column {column} holds {shown}, which is no number")
        table[name] = values
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
    if missing := [name for name in _COLUMNS if name not in frame.columns]:
        raise DatasetError(f"{path}: columns {missing} are missing from a file of responses")
    return frame


@checked
def analyse_responses(responses: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Mean ratings, their differences, and how often the class was recognised, each with its interval.

    Parameters
    ----------
    responses : pandas.DataFrame
        A table that :func:`read_responses` gave.
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
          which no earlier sound can have given away.

        with ``mean``, ``low``, ``high``, the ``answers`` (pairs for a difference), ``listeners`` and ``trials`` behind
        it, and ``interval``, which says how it was made.

    Raises
    ------
    DatasetError
        No responses.

    Notes
    -----
    Intervals are those of :func:`~workbench.metrics.intervals.group_interval` over listeners, which speak of other
    listeners and these trials; where there is one listener, over trials: other trials and this listener. Where there is
    one of each, there is no interval (NaN).
    """
    import pandas as pd

    if not isinstance(responses, pd.DataFrame):
        raise ParameterError("responses", type(responses).__name__, "a table, as read_responses gives it")
    number("level", level, above=0, below=1)
    if not len(responses):
        raise DatasetError("there are no responses to analyse")
    wanted = ["task", "method", "listener", "trial"]
    identified = (responses["task"] == _IDENTIFICATION).any() if "task" in responses.columns else False
    wanted += ["correct", "hearing", "choices"] if identified else ["rating", "hearing"]
    if missing := [name for name in wanted if name not in responses.columns]:
        raise ParameterError("responses", f"a table without {', '.join(missing)}", "of read_responses")
    rows = []

    def add_row(measure: str, part: pd.DataFrame, values: np.ndarray, bounds: tuple, interval: str, **more) -> None:
        counts = {"answers": len(part), "listeners": part["listener"].nunique(), "trials": part["trial"].nunique()}
        low, high = bounds
        estimate = {"mean": float(values.mean()), "low": float(low), "high": float(high)}
        rows.append({"measure": measure} | more | estimate | counts | {"interval": interval})

    rated = responses[responses["task"] == _RATING]
    for method, part in rated.groupby("method", sort=True):
        values = part["rating"].to_numpy(dtype=float)
        add_row(_RATING, part, values, *_interval(part, values, (0, 100), level), method=method)
    wide = rated.pivot_table(index=["listener", "trial"], columns="method", values="rating", sort=True)
    for method, against in itertools.combinations(wide.columns, 2):
        pairs = wide[[method, against]].dropna().reset_index()
        if len(pairs):
            values = (pairs[method] - pairs[against]).to_numpy(dtype=float)
            bounds = _interval(pairs, values, (-100, 100), level)
            add_row("rating difference", pairs, values, *bounds, method=method, against=against)
    identified = responses[responses["task"] == _IDENTIFICATION]
    first = identified[identified["hearing"] == 1]
    for measure, answers in ((_IDENTIFICATION, identified), (f"{_IDENTIFICATION}, first hearing", first)):
        for method, part in answers.groupby("method", sort=True):
            right = part["correct"].to_numpy(dtype=float)
            chance = float((1 / part["choices"]).mean())
            add_row(measure, part, right, *_interval(part, right, (0, 1), level), method=method, chance=chance)
    return _analysed(rows)


def _analysed(rows: list[dict]) -> pd.DataFrame:
    import pandas as pd

    columns = ["measure", "method", "against", "mean", "low", "high", "chance"]
    return pd.DataFrame(rows, columns=[*columns, "answers", "listeners", "trials", "interval"])


def _interval(part: pd.DataFrame, values: np.ndarray, limits: tuple[float, float], level: float) -> tuple[tuple, str]:
    for over in ("listener", "trial"):
        if part[over].nunique() > 1:
            bounds = group_interval(values, part[over].to_numpy(dtype=str), limits=limits, level=level)
            return tuple(bounds), f"over {over}s"
    return (np.nan, np.nan), "none: one listener, one trial"
