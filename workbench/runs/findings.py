"""What runs have found, as one Markdown text: main results, tables and computed readings, each below its command."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..core.checks import checked
from ..core.errors import RunError
from ..core.markup import markdown
from .notebooks import headings_of, plain_heading
from .recording import asked_of, number_text, write_text
from .single import RunResult
from .sweeps import read_runs

LONGEST = 60
"""Rows of a table at most; a longer one is named and left to the page of the run."""
_ALSO = {"scale": "smoke", "seed": 0}  # said only where it is another


@checked
def results_text(
    *runs: str | os.PathLike | RunResult,
    brief: Iterable[str | os.PathLike | RunResult] = (),
    out: str | os.PathLike | None = None,
) -> str:
    """What runs have found, as Markdown; nothing in it is written by hand.

    Of every run: the command, when, where and from what it was made, the rows that its notebook recorded as its
    ``headline``, and below their headings the tables and readings that the executed notebook shows, which it keeps
    as Markdown beside their HTML.

    Parameters
    ----------
    *runs : path or RunResult
        Folders of runs, of sweeps, or of one notebook's run. In the order given.
    brief : iterable of path or RunResult
        Runs that follow with their command and main results alone, those of one notebook side by side: a table a main
        result, with a row a run, and in how many of them a difference ("minus") is shown to lie above or below zero.
    out : path, optional
        A file to write the text to as well; one that is there is replaced.

    Returns
    -------
    str

    Raises
    ------
    RunError
        There are no results, a run is not finished (its figures are no final ones), its executed notebook is gone,
        or the file cannot be written.
    """
    whole, short = ([pair for run in given for pair in read_runs(run)] for given in (runs, brief))
    named = whole + short
    if not named:
        raise RunError("results: no run is given; give the folder of one")
    for folder, results in named:
        if results["status"] != "ok":
            raise RunError(f"{folder}: this run is {results['status']}; only finished runs have results")
    beside: dict[str, list[Mapping]] = {}
    for _, results in short:
        beside.setdefault(results["notebook"]["name"], []).append(results)
    titles = [_title(results) for _, results in whole]
    titles += [_beside_title(runs) for runs in beside.values()]
    parts = [_run(Path(folder), results) for folder, results in whole] + [_beside(runs) for runs in beside.values()]
    contents = [f"- [{markdown(title)}](#{_anchor(title)})" for title in titles]
    about = (
        "Every figure below was written by `workbench results` from the files that runs leave; none is copied by hand. "
        "Above each run's results stands the command that makes it again. Recorded sound and pretrained weights are "
        "looked for in the folders that `WORKBENCH_DATA` and `WORKBENCH_WEIGHTS` name. Intervals are of 95 %, for "
        "other groups (speakers, sources, pitches) than those heard."
    )
    text = "\n\n".join(["# Results", about, "\n".join(contents), *parts]) + "\n"
    if out is not None:
        write_text(out, text)
    return text


def command(results: Mapping) -> str:
    """The command that makes a run again: ``workbench run sae --scale small -p dataset=esc10``."""
    asked = {key: value for key, value in asked_of(results)[0].items() if _ALSO.get(key) != value}
    words = ["workbench", "run", results["notebook"]["name"]]
    words += [word for key in _ALSO if key in asked for word in (f"--{key}", str(asked[key]))]
    for key, value in asked.items():
        if key not in _ALSO:
            words += ["-p", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def _sounds(results: Mapping) -> str:
    """What a run heard with what, such as "esc10, mn04_as"."""
    data = results["context"].get("dataset", {})
    told = ", ".join(dict.fromkeys(str(each.get("name", "?")) for each in results["context"].values()))
    return f"{told}{' (generated audio)' if data.get('generated') else ''}"


def _title(results: Mapping) -> str:
    return f"{plain_heading(results['notebook']['title'])}: {_sounds(results)}"


def _beside_title(runs: Sequence[Mapping]) -> str:
    return f"{plain_heading(runs[0]['notebook']['title'])}: {len(runs)} run{'s side by side' if len(runs) > 1 else ''}"


def _anchor(title: str) -> str:
    """Name that a heading has on the usual hosts of Markdown."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _about(results: Mapping) -> str:
    """When, where and from what a run was made."""
    git, machine, versions = results["git"] or {}, results["machine"], results["versions"]
    commit = f", commit {git['commit'][:9]}{' with changes' if git.get('dirty') else ''}" if git.get("commit") else ""
    data = results["context"].get("dataset", {})
    about = [
        f"{results['started'][:10]}, {results['seconds']:.0f} s, {results['device']}, {machine.get('cpus', '?')} cores",
        f"torch {versions.get('torch')}{commit}",
        f"{data['clips']} clips" if "clips" in data else "",
    ]
    return "; ".join(filter(None, about)) + "."


def _rows(first: str, rows: Iterable[tuple[str, Mapping]]) -> str:
    """A table of rows of headlines, each with what stands in its first column."""
    lines = [
        f"| {markdown(name)} | {number_text(row['value'])} | {_bounds(row)} | {markdown(row['control'])} |"
        for name, row in rows
    ]
    head = [f"| {first} | value | interval | read against |", "| --- | ---: | ---: | --- |"]
    return "\n".join(head + lines) if lines else ""


def _run(folder: Path, results: Mapping) -> str:
    parts = [
        f"## {markdown(_title(results))}",
        f"    {command(results)}",
        _about(results),
        _rows("main result", ((row["text"], row) for row in results["headline"])),
    ]
    under = None
    for heading, text in _shown(folder, results):
        parts += [f"### {markdown(heading)}"] if heading and heading != under else []
        parts.append(text)
        under = heading
    return "\n\n".join(part for part in parts if part)


def _beside(runs: Sequence[Mapping]) -> str:
    parts = [f"## {markdown(_beside_title(runs))}"]
    for results in runs:
        parts += [f"**{markdown(_sounds(results))}**", f"    {command(results)}", _about(results)]
    for text in dict.fromkeys(row["text"] for results in runs for row in results["headline"]):
        rows = [(_sounds(results), row) for results in runs for row in results["headline"] if row["text"] == text]
        parts += [f"### {markdown(text)}", _rows("sounds and model", rows)]
        if " minus " in text:
            known = [row for _, row in rows if row["low"] is not None]
            above, below = sum(row["low"] > 0 for row in known), sum(row["high"] < 0 for row in known)
            unknown = f"; {len(rows) - len(known)} without an interval" if len(rows) > len(known) else ""
            parts.append(f"- Shown to lie above zero in {above} of {len(rows)}, below zero in {below}{unknown}.")
    return "\n\n".join(part for part in parts if part)


def _bounds(row: Mapping) -> str:
    return "none" if row["low"] is None else f"{number_text(row['low'])} to {number_text(row['high'])}"


def _shown(folder: Path, results: Mapping) -> Iterator[tuple[str, str]]:
    """Heading and Markdown of every table and reading that the executed notebook shows."""
    path = (folder if folder.is_dir() else folder.parent) / f"{results['notebook']['name']}.ipynb"
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for heading, cell in zip(headings_of(cells), cells, strict=True):
            for output in cell.get("outputs", []):
                content = output.get("data", {}).get("text/markdown", "")
                text = "".join(content).strip()
                count = len(re.findall(r"^\|", text, re.MULTILINE)) - 2  # without the head and the line below it
                if text and count:
                    yield heading, text if count <= LONGEST else f"A table of {count} rows is on the run's page."
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: the executed notebook of this run cannot be read ({error})") from error
