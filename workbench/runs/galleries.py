"""A static site of executed notebooks: an index with pictures and sounds, their pages, and the API reference."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..core.checks import checked
from ..core.dependencies import load
from ..core.errors import RunError
from ..core.files import temporary_beside
from ..core.warn import warn
from .links import broken_links
from .previews import previews
from .provenance import versions
from .recording import read_whole
from .reference import write_reference
from .report import index_page
from .running import prepare
from .single import RunResult, is_finished

_MARK = "gallery.json"
"""File that says which files of a folder a gallery wrote."""
_NAMED = 10
"""Broken links that are named."""
_LEAD = "What came of each notebook, with its main results, a picture and a sound. Every page plays without a network."
_REFERENCE = '<p><a href="reference/workbench.html">Reference of the package: every public function and class</a></p>'


@checked
def gallery(
    folder: str | os.PathLike, *, runs: Iterable[str | os.PathLike] | str | os.PathLike = "runs"
) -> list[RunResult]:
    """Write the executed pages of notebooks as a static site, which any host of files can serve.

    ``index.html`` shows a picture, a sound and the main results of each notebook and leads to its page, the executed
    notebook and its ``results.json`` (copies, below ``notebooks/``), and to a reference of the package's public names
    (below ``reference/``). All links are relative and are checked, and no page asks a network for anything, unless its
    notebook does. Nothing is executed: of each notebook, the newest finished run is taken.

    Parameters
    ----------
    folder : path
        New or empty, or a gallery that was made before, which is replaced when the new one is whole.
    runs : path or iterable of paths
        Where to look: folders of runs, folders that hold such folders (as ``runs`` of the current directory does), or
        one run's own folder. The combinations of a sweep are looked at only where its own folder is given.

    Returns
    -------
    list of RunResult
        The runs that are shown, by name, where they were found.

    Raises
    ------
    RunError
        No run is finished, a link of a page leads nowhere, or the folder holds other files or cannot be written.
    DependencyError
        pdoc, which makes the reference, is not installed.

    Warns
    -----
    UserWarning
        The newest run of a notebook is not finished, or a ``results.json`` cannot be read.
    """
    prepare(None)
    load("pdoc")
    target = Path(folder).resolve()
    _check_replaceable(target)
    shown = _newest([runs] if isinstance(runs, (str, os.PathLike)) else list(runs))
    made = temporary_beside(target)
    try:
        _write(made, shown)
        if broken := broken_links(made):
            more = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
            raise RunError(f"{folder} is not written, as links lead nowhere: {'; '.join(broken[:_NAMED])}{more}")
        _put(made, target)
    except OSError as error:
        raise RunError(f"the gallery {folder} cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return shown


def _newest(folders: list[str | os.PathLike]) -> list[RunResult]:
    """The newest finished run of every notebook, by name."""
    of_notebook: dict[str, list[RunResult]] = {}
    for folder in folders:
        for place in _runs_in(Path(folder)):
            try:
                results = read_whole(place)
            except RunError as error:
                warn(f"{error}: left out")
                continue
            run = RunResult(results["notebook"]["name"], place, results)
            of_notebook.setdefault(run.name, []).append(run)
    shown = []
    for name, several in sorted(of_notebook.items()):
        several.sort(key=lambda run: run.results["started"], reverse=True)
        finished = [run for run in several if Path(name).name == name and is_finished(run)]
        if finished[:1] != several[:1]:
            instead = f"{finished[0].folder} is shown instead" if finished else "none is shown"
            warn(f"the newest run of {name} is not finished ({several[0].folder}, {several[0].status}): {instead}")
        shown += finished[:1]
    if not shown:
        where = ", ".join(map(str, folders))
        raise RunError(
            f"no finished run of a notebook in {where}; first execute them all, at scale smoke: workbench run; "
            "or name the folder where other runs are: --runs (runs=)"
        )
    return shown


def _runs_in(folder: Path) -> Iterator[Path]:
    """Folders of runs: the folder itself, those in it, or in folders in it that are neither sweeps nor galleries."""
    if (folder / "results.json").is_file():
        yield folder
        return
    if not folder.is_dir():
        return
    for inside in sorted(folder.iterdir()):
        if (inside / "results.json").is_file():
            yield inside
        elif not any((inside / name).exists() for name in ("sweep.csv", _MARK)):
            yield from (file.parent for file in sorted(inside.glob("*/results.json")))


def _write(folder: Path, shown: list[RunResult]) -> None:
    """The whole site into a new folder."""
    version = f"audio-workbench {versions()['audio-workbench']}"
    entries = []
    for run in shown:
        place = f"notebooks/{run.name}"
        (folder / place).mkdir(parents=True)
        for file in (run.page, run.page.with_suffix(".ipynb"), run.folder / "results.json"):
            shutil.copyfile(file, folder / place / file.name)
        entries.append((place, run.results))
    small = previews(folder, [place for place, _ in entries])
    page = index_page(
        "Executed notebooks", entries, previews=small, lead=_LEAD, table=_REFERENCE, footer=f"Made by {version}."
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    write_reference(folder / "reference", footer=version)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    mark = {"version": versions()["audio-workbench"], "files": [*files, _MARK]}
    (folder / _MARK).write_text(json.dumps(mark, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_replaceable(folder: Path) -> None:
    """Refuse a folder that holds anything that no gallery wrote, or that is in use as the current directory."""
    try:
        held = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
        if folder.exists() and (not folder.is_dir() or Path.cwd().is_relative_to(folder)):
            raise RunError(f"{folder} must be a folder, and not the one that you are in")
        own = set(json.loads((folder / _MARK).read_text(encoding="utf-8"))["files"]) if held else set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} is no gallery: it holds other files; choose a new folder") from error
    if others := sorted(set(held) - own):
        raise RunError(f"{folder} holds files that no gallery wrote ({', '.join(others[:3])}): it is not replaced")


def _put(made: Path, folder: Path) -> None:
    """Give a finished folder its name; what had it goes when that has worked."""
    if not folder.exists():
        made.rename(folder)
        return
    before = temporary_beside(folder)
    folder.rename(before)
    try:
        made.rename(folder)
    except OSError:
        before.rename(folder)
        raise
    shutil.rmtree(before, ignore_errors=True)
