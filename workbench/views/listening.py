"""What do people hear? A listening test in a notebook: rating sounds, naming them blindly, or matching descriptions.

Descriptions, one of each class and rated from 0 to 100, also say what a sound is mistaken for.

Parekh et al. (arXiv 2202.11479) asked people how well an interpretation matches the part of the clip that belongs to
the class. The page (``static/listening.js``) plays the sounds of each trial under one gain, in an order that seed and
listener's name decide, and calls them A, B, C: which method made which is nowhere in it. While a kernel runs, answers
are appended to a csv file at once, and a listener who comes back goes on where they were; an exported page keeps the
answers in the browser and offers the same file as a download.

A response names trial and sound by ids that say nothing (:func:`_stimulus_id`), so that neither the page nor the file
tells a listener, who may be its author, which method made a sound. The same test gives the names back, and answers to
any other test are refused (:attr:`ListeningTest.identity`); :mod:`.responses` reads and analyses them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import check_fields, checked, choice, number, whole
from ..core.checks import seed as checked_seed
from ..core.errors import DatasetError, ParameterError
from .inputs import instances, items, mapping, texts
from .page import Page, check_file, escape
from .responses import (
    COLUMNS,
    DESCRIPTION,
    IDENTIFICATION,
    RATING,
    analyse_responses,
    analysed,
    decoded,
    own_level,
    rows_of,
    simulated_response,
)
from .sounds import cut, shared_gain, waveform
from .terms import Table, table

if TYPE_CHECKING:
    import pandas as pd

_QUESTIONS = {
    RATING: "How well does each sound match the part of the clip that is {label}?",
    IDENTIFICATION: "Which of these do you hear?",
    DESCRIPTION: "How well does the sound match each description?",
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
    path: str | os.PathLike | None = None,
    seed: int,
    task: str = RATING,
    question: str | None = None,
    choices: Sequence[str] | None = None,
    descriptions: Mapping[str, str] | None = None,
    seconds: float | None = 10.0,
    title: str = "A listening test",
    megabytes: float = 20.0,
) -> ListeningTest:
    """Ask people what they hear.

    Parameters
    ----------
    trials : sequence of ListeningTrial
    path : path, optional
        Where answers go while a kernel runs; appended to if it is there. Its folder must exist. By default
        ``responses-IDENTITY.csv`` in the current folder, so that another test has another file.
    seed : int
        Decides the order of trials and sounds, and the ids that hide the methods.
    task : {"rating", "identification", "description"}
        Rate all sounds of a trial from 0 to 100 beside its reference; name the class of one sound at a time, without
        reference; or rate from 0 to 100 how well one sound at a time matches each of the descriptions, without
        reference. Where one sound is heard at a time, they come in rounds, each with one sound of every trial: the
        first round is not given away by another sound of the same clip.
    question : str, optional
        What is asked; ``{label}`` stands for the class (ratings alone).
    choices : sequence of str, optional
        Classes to choose from ("identification"); by default those of the trials.
    descriptions : mapping of class to text, optional
        What each sound is rated against ("description", which needs two or more), in words that the listeners know.
        Every class of a trial must be there; classes that no trial has show what a sound is *not* taken for.
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
        No trials, two of one id, one without sounds, a class that cannot be chosen or has no description, an unknown
        task, more sound than ``megabytes``, a path whose folder does not exist.
    AudioError
        A sound holds NaN or is empty; trial and method are named.
    """
    trials = instances("trials", trials, ListeningTrial)
    choice("task", task, _QUESTIONS)
    number("megabytes", megabytes, above=0)
    ids = [trial.id for trial in trials]
    if not ids or len(set(ids)) < len(ids):
        raise ParameterError("trials", ids, "at least one, each with an id of its own")
    for trial in trials:
        if not trial.candidates:
            raise ParameterError(f"trial {trial.id!r}.candidates", {}, "at least one sound")
    if path is not None:
        check_file("path", Path(path))
    told = mapping("descriptions", descriptions, "a mapping of class to its description")
    told = {str(name): str(text) for name, text in told.items()}
    if (task == DESCRIPTION) != bool(told):
        raise ParameterError("descriptions", told, "given with task='description', and only then")
    if len(set(told.values())) < len(told) or not all(text.strip() for text in told.values()):
        raise ParameterError("descriptions", told, "texts that differ from class to class")
    if task == DESCRIPTION:
        choices = list(told)
    else:
        choices = sorted({trial.label for trial in trials}) if choices is None else texts("choices", choices)
    if task != RATING:
        name = "choices" if task == IDENTIFICATION else "descriptions"
        if len(set(choices)) < max(2, len(choices)):
            raise ParameterError(name, choices, "two or more different classes")
        for trial in trials:
            if trial.label not in choices:
                raise ParameterError(f"trial {trial.id!r}.label", trial.label, f"one of {', '.join(choices)}")
    question = question or _QUESTIONS[task]
    test = ListeningTest(trials, path, seed, task, question, choices, told, title=title, seconds=seconds)
    if test.megabytes > megabytes:
        expected = f"at least {test.megabytes:.1f} for these sounds, or fewer trials, or shorter seconds"
        raise ParameterError("megabytes", megabytes, expected)
    return test


class ListeningTest(Page):
    """A listening test, made by :func:`listening_test`; display it and let people answer.

    Attributes
    ----------
    identity : str
        Twelve hex digits that stand for all that a listener meets: task, question, classes and descriptions, seed,
        seconds played, and the ids, classes and sounds (16 bits) of all trials; not the title. Answers carry it, and
        are refused where it is another.
    path : Path
        Where answers go while a kernel runs.
    megabytes : float
        Sound in the page, 10^6 bytes.
    """

    _element, _styles = "wb-players wb-listening", ("players.css", "listening.css")
    _scripts, _view = ("players.js", "elements.js", "listening.js"), "ListeningTest"

    def __init__(self, trials, path, seed, task, question, choices, descriptions, *, seconds, **page):
        super().__init__(seconds=seconds, **page)
        self.task, self.megabytes = task, 0.0
        self._seed, self._salt = seed, _trial_id(seed, task)
        self._trials = {_trial_id(seed, trial.id): trial for trial in trials}
        self._choices, self._question = choices, question
        self._methods = {
            hidden: {_stimulus_id(seed, trial.id, method): method for method in trial.candidates}
            for hidden, trial in self._trials.items()
        }
        # In the order of ids that say nothing, not of trials and methods; their sounds are checked here.
        packed, offered = [self._trial(hidden) for hidden in sorted(self._trials)], choices if task != RATING else []
        self.identity = _identity(trials, [seed, task, question, offered, descriptions, seconds])
        self.path = Path(f"responses-{self.identity}.csv" if path is None else path)
        data = {
            "task": task,
            "test": self.identity,
            "title": self.title,
            "salt": self._salt,
            "trials": packed,
            "choices": offered,
            "descriptions": descriptions,
            "columns": COLUMNS,
            "file": self.path.name,
        }
        self._pack(data)

    def _trial(self, hidden: str) -> dict:
        """What the page knows of a trial, by its id that says nothing."""
        trial, methods = self._trials[hidden], self._methods[hidden]
        sounds = {stimulus: (method, trial.candidates[method]) for stimulus, method in sorted(methods.items())}
        if self.task == RATING and trial.reference is not None:
            sounds["reference"] = ("reference", trial.reference)
        read = {name: waveform(f"trial {trial.id}, {method}", x, trial.rate) for name, (method, x) in sounds.items()}
        gain = shared_gain(cut(x, rate, seconds=self._seconds) for x, rate in read.values())
        packed = {}
        for name, (x, rate) in read.items():
            sound = self._sound(name, x, rate, gain_db=gain)
            packed[name] = {"id": name, "uri": sound.uri, "caption": sound.caption}
            self.megabytes += len(sound.data) / 1e6
        reference = packed.pop("reference", None)
        question = self._question.replace("{label}", trial.label) if self.task == RATING else self._question
        note = f"All sounds of this trial at one gain of {gain:+.1f} dB: levels can be compared."
        if self.task != RATING:
            note = f"Gain {gain:+.1f} dB, the same for all sounds of this clip."
        said = {"id": hidden, "question": question, "note": note}
        return said | {"reference": reference, "sounds": list(packed.values())}

    @checked
    def steps(self, listener: str) -> list[tuple[str, list[str]]]:
        """What a listener meets: (trial, methods in the order of A, B, C ...), from the first screen to the last."""
        order = {trial: self._shuffled(methods, listener) for trial, methods in self._methods.items()}
        if self.task == RATING:
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
        """The rows in the file that this listener gave to this test.

        Raises
        ------
        DatasetError
            The file is none of responses, or holds answers to another test, which is named.
        """
        return [row for row in self._rows() if row["listener"] == listener]

    def _rows(self) -> list[dict[str, str]]:
        return rows_of(self.path, self.identity, self.title) if self.path.exists() else []

    @checked
    def responses(self, source: str | os.PathLike | Iterable[str | os.PathLike] | None = None) -> pd.DataFrame:
        """What listeners answered to this test, and who made what they heard.

        Parameters
        ----------
        source : path or paths, optional
            Files that the kernel wrote or that listeners downloaded from an exported page; by default :attr:`path`.

        Returns
        -------
        pandas.DataFrame
            A row for each answer (with descriptions, for each of them): ``listener``, ``task``, ``place`` (1 for the
            listener's first), ``trial``, ``label`` (the class), ``method``, ``description`` (the class whose
            description was rated, or empty), ``response`` (text as in the file), ``rating`` (0 to 100, NaN for a class
            that was named), ``correct`` (True, False, or missing for ratings), ``hearing`` (1 where the listener had
            met no other sound of that trial before, 2 for the next ...; where one sound is heard at a time),
            ``choices``, ``seconds``, ``plays``, ``time``, ``simulated`` (False). An answer that is there twice counts
            as it was given last.

        Raises
        ------
        DatasetError
            Missing columns, a file that cannot be read, or answers to another test; the file and both tests are named.
        ParameterError
            No paths.
        """
        source = self.path if source is None else source
        paths = [source] if isinstance(source, (str, os.PathLike)) else items("source", source, "a path or paths")
        if not paths or not all(isinstance(path, (str, os.PathLike)) for path in paths):
            raise ParameterError("source", paths, "a path, or a list of at least one")
        paths = [Path(path) for path in paths]
        rows = [row for path in paths for row in rows_of(path, self.identity, self.title)]
        return decoded(rows, self._known(), ", ".join(map(str, paths)))

    def _known(self) -> dict[str, tuple[str, str, str]]:
        """Stimulus -> trial, class, method."""
        of = {hidden: (trial.id, trial.label) for hidden, trial in self._trials.items()}
        return {one: (*of[hidden], name) for hidden, sounds in self._methods.items() for one, name in sounds.items()}

    @checked
    def simulate(
        self, *, listeners: int = 10, sensitivity: float | Mapping[str, float] = 1.0, seed: int = 0
    ) -> pd.DataFrame:
        """Answers of simulated listeners to this test: to try an analysis, and to see how many people it takes.

        They are written to no file, and say nothing about the sounds.

        Parameters
        ----------
        listeners : int
            How many, 1 or more.
        sensitivity : float or mapping of method to float
            d', 0 or more: how far the evidence for the class of a sound lies above that for any other, in standard
            deviations. Evidence is normal. The class of the strongest is named; a rating is 50 + 20 x evidence + a
            level of the listener's own (standard deviation 8), within 0 and 100.
        seed : int

        Returns
        -------
        pandas.DataFrame
            As :meth:`responses` gives it, with True in the column ``simulated``; :meth:`results` says so, too.

        Raises
        ------
        ParameterError
            A method of the test without a sensitivity, or a number out of range.
        """
        whole("listeners", listeners, least=1)
        methods = sorted({method for sounds in self._methods.values() for method in sounds.values()})
        given = dict.fromkeys(methods, sensitivity) if not isinstance(sensitivity, Mapping) else dict(sensitivity)
        if set(given) != set(methods):
            raise ParameterError("sensitivity", sorted(map(str, given)), f"one for each of {', '.join(methods)}")
        given = {name: number(f"sensitivity of {name}", value, least=0) for name, value in given.items()}
        rng, rows = np.random.default_rng(checked_seed(seed, "seed")), []
        ids = {(trial, method): stimulus for stimulus, (trial, _, method) in self._known().items()}
        labels, classes = {trial.id: trial.label for trial in self._trials.values()}, self._choices
        shared = {"test": self.identity, "title": self.title, "task": self.task, "time": "", "seconds": 0, "plays": 1}
        shared["choices"] = len(classes) if self.task != RATING else 0
        for listener in (f"simulated {k + 1}" for k in range(listeners)):
            level = own_level(rng)
            for place, (trial, heard) in enumerate(self.steps(listener), 1):
                for method in heard:
                    about = (self.task, labels[trial], classes, given[method], level, rng)
                    row = shared | {"listener": listener, "place": place, "stimulus": ids[trial, method]}
                    row["trial"] = trial
                    answers = simulated_response(*about).items()
                    rows += [row | {"description": name, "response": str(said)} for name, said in answers]
        return decoded(rows, self._known(), "simulated listeners").assign(simulated=True)

    def results(self, responses: pd.DataFrame | None = None) -> Table:
        """What all listeners said so far, by :func:`~workbench.views.analyse_responses`.

        Parameters
        ----------
        responses : pandas.DataFrame, optional
            Of :meth:`responses` or :meth:`simulate`; by default the answers in :attr:`path`. Without any answer the
            table has no row.
        """
        if responses is None:
            if not self.path.exists():
                return table(analysed([]), title="No answers yet: give some above, then run this cell again.")
            responses = self.responses()
        found = analyse_responses(responses)
        many = f"{responses['listener'].nunique()} listeners"
        made = "simulated" in responses and bool(responses["simulated"].any())
        title = f"SIMULATED answers of {many}, whom there are not" if made else f"Answers of {many}"
        return table(found, digits=2, title=title)

    @checked
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
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        if not self.path.exists():
            writer.writeheader()
        writer.writerows(rows)
        with self.path.open("a", encoding="utf-8", newline="") as file:  # one write: lines of two kernels do not mix
            file.write(text.getvalue())

    def _fault(self, row: Mapping[str, object]) -> str:
        """What is wrong with an answer; empty if nothing is."""
        if not isinstance(row, Mapping) or set(row) != set(COLUMNS):
            return f"columns {sorted(map(str, row))}" if isinstance(row, Mapping) else type(row).__name__
        if row["test"] != self.identity:
            return f"it is one to test {row['title']!r} ({row['test']}), this is {self.title!r} ({self.identity})"
        if row["task"] != self.task or not str(row["listener"]).strip():
            return f"task {row['task']!r} of listener {row['listener']!r}"
        if str(row["stimulus"]) not in self._methods.get(str(row["trial"]), {}):
            return f"sound {row['stimulus']!r} in trial {row['trial']!r}"
        if row["description"] not in (self._choices if self.task == DESCRIPTION else [""]):
            return f"description {row['description']!r}"
        if self.task != IDENTIFICATION:
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


def _trial_id(seed: int, trial: str) -> str:
    """Twelve hex digits that stand for a trial."""
    return _hex_id([seed, trial])


def _stimulus_id(seed: int, trial: str, method: str) -> str:
    """Twelve hex digits that stand for a method's sound in a trial."""
    return _hex_id([seed, trial, method])


def _hex_id(parts: Sequence) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8")).hexdigest()[:12]


def _identity(trials: Sequence[ListeningTrial], settings: list) -> str:
    """Twelve hex digits that stand for a test: its settings, and the ids, classes and sounds of its trials."""
    digest = hashlib.sha256(json.dumps(settings, ensure_ascii=False, default=float).encode("utf-8"))
    for trial in sorted(trials, key=lambda trial: trial.id):
        sounds = {**trial.candidates, "": trial.reference}
        told = [trial.id, trial.label, int(trial.rate), sorted(sounds)]
        digest.update(json.dumps(told, ensure_ascii=False).encode("utf-8"))
        for name in sorted(sounds):
            if sounds[name] is not None:
                digest.update(np.round(32767 * np.asarray(sounds[name], np.float64)).astype("<i4"))
    return digest.hexdigest()[:12]
