"""Find notebooks and read what must be known of them before they run."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..core.checks import checked
from ..core.errors import RunError
from ..core.files import write_whole
from .parameters import Parameter, read_parameters


@dataclass(frozen=True)
class Notebook:
    """One notebook on disk."""

    name: str
    """File name without its suffix."""
    path: Path
    """The file."""
    title: str
    """First heading, or the name."""
    sha256: str
    """Hash of the cells' sources, types and tags, and of the settings beside them: outputs do not change it."""
    parameters: dict[str, Parameter] = field(repr=False)
    """What its ``parameters`` cell assigns, in order."""
    headings: tuple[str, ...] = field(repr=False)
    """Return for each cell the heading it stands under ("" before the first)."""
    parameters_cell: int = field(repr=False)
    """Position of the ``parameters`` cell."""

    @property
    def files(self) -> list[Path]:
        """The notebook, and the settings of its scales where they lie beside it."""
        return [path for path in (self.path, self.path.with_suffix(".yaml")) if path.is_file()]


def notebooks_folder() -> Path:
    """Folder of the project's own notebooks: beside the package in a checkout, inside it when installed.

    Raises
    ------
    RunError
        When neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "notebooks", package / "notebooks"):
        if folder.is_dir() and any(folder.glob("*.ipynb")):
            return folder
    raise RunError(f"no notebooks found beside or inside the package at {package}; give the path of an .ipynb file")


@checked
def find_notebooks(names: Iterable[str | os.PathLike] | str | os.PathLike | None = None) -> list[Notebook]:
    """Read the notebooks asked for.

    Parameters
    ----------
    names : str, path, iterable of them or None
        Names of the project's notebooks ("sae") or paths of any .ipynb files; None for all of the project's, the tour
        first.

    Raises
    ------
    RunError
        For a name that is not there (close ones are offered), a file that is not a notebook, or one without a
        ``parameters`` cell.
    """
    if names is None:
        return [read_notebook(path) for path in _in_order(notebooks_folder())]
    names = [names] if isinstance(names, (str, os.PathLike)) else list(names)
    if not names:
        raise RunError("no notebook was named; leave the names out to run all of them")
    notebooks = [read_notebook(_locate(os.fspath(name))) for name in names]
    seen: dict[str, Path] = {}
    for notebook in notebooks:
        if notebook.name in seen:
            raise RunError(
                f"two notebooks are called {notebook.name!r} ({seen[notebook.name]}, {notebook.path}): run them apart"
            )
        seen[notebook.name] = notebook.path
    return notebooks


@checked
def copy_notebooks(folder: str | os.PathLike, *, force: bool = False) -> list[Path]:
    """Copy the project's notebooks and the settings of their scales into a folder; a copy reads those beside it.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    force : bool
        Replace files of these names that have another content.

    Returns
    -------
    list of Path
        The files, also those that were there already.

    Raises
    ------
    RunError
        A file of one of these names has another content (nothing is written then), or the folder cannot be written.
    """
    copied = [path for notebook in find_notebooks() for path in notebook.files]
    return place_files({Path(folder) / path.name: path.read_bytes() for path in copied}, force=force)


def place_files(files: Mapping[Path, bytes], *, force: bool) -> list[Path]:
    """Write files; without ``force`` none of them, should one be there with another content. Raises RunError then."""
    try:
        changed = [path for path, content in files.items() if not path.exists() or path.read_bytes() != content]
        others = [str(path) for path in changed if path.exists()]
        if others and not force:
            many = "files of other content are" if len(others) > 1 else "a file of other content is"
            raise RunError(f"{', '.join(others)}: {many} there already; another folder, or --force (force=True)")
        for path in changed:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, files[path])
    except OSError as error:
        raise RunError(
            f"{error.filename or ', '.join(map(str, files))}: cannot be written ({error.strerror})"
        ) from error
    return list(files)


@checked
def read_notebook(path: str | os.PathLike) -> Notebook:
    """Read one notebook file; nothing is executed.

    Raises
    ------
    RunError
        When the file is not a notebook, or has no cell tagged ``parameters``, or more than one.
    """
    path = Path(path)
    try:
        cells = _read_cells(path)
    except Exception as error:  # nbformat raises anything from OSError to its own validation errors
        raise RunError(f"{path}: not a readable notebook ({type(error).__name__}: {error})") from error
    try:
        tagged = [i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and "parameters" in tags_of(cell)]
        beside = path.with_suffix(".yaml")
        settings = beside.read_text(encoding="utf-8") if beside.is_file() else ""
        headings, sha256 = headings_of(cells), _source_hash(cells, settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: not a readable notebook (a cell without its type, source or metadata)") from error
    if len(tagged) != 1:
        many = "no cell" if not tagged else f"{len(tagged)} cells (numbers {', '.join(str(i + 1) for i in tagged)})"
        raise RunError(f"{path}: {many} tagged 'parameters'; a notebook needs exactly one to be run")
    title = next((heading for heading in headings if heading), path.stem)
    parameters = read_parameters(cells[tagged[0]]["source"], notebook=path.stem)
    return Notebook(path.stem, path, title, sha256, parameters, headings, tagged[0])


def read_node(path: Path):
    """What a notebook file holds, as a node of nbformat 4. Raises RunError where it is none."""
    import nbformat

    try:
        node = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises anything from OSError to its own validation errors
        raise RunError(f"{path}: not a readable notebook ({type(error).__name__}: {error})") from error
    try:
        for cell in node.cells:
            [cell.cell_type, cell.source.strip(), sorted(tags_of(cell))]
    except (AttributeError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not a readable notebook (a cell without its type, source or metadata)") from error
    return node


def _in_order(folder: Path) -> list[Path]:
    """The notebooks of a folder as a newcomer reads them: the tour, then the others in the order of the alphabet."""
    return sorted(folder.glob("*.ipynb"), key=lambda path: (path.stem != "tour", path.name))


def _locate(name: str) -> Path:
    if name.endswith(".ipynb") or os.sep in name:
        path = Path(name).expanduser()
        if path.is_file():
            return path
        if os.sep in name:
            raise RunError(f"{name}: no such notebook file")
    try:
        folder = notebooks_folder()
    except RunError as error:
        raise RunError(f"no notebook {name!r} here: {error}") from error
    known = {path.stem: path for path in _in_order(folder)}
    stem = name.removesuffix(".ipynb")
    if stem in known:
        return known[stem]
    close = difflib.get_close_matches(stem, known, n=2)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise RunError(f"no notebook {name!r}{hint} (there are: {', '.join(known)}; or give the path of an .ipynb file)")


def _read_cells(path: Path) -> list[dict]:
    """Cells of a notebook, each source as one text.

    A file of the present format is read as the JSON it is: nbformat, for all others, takes seconds to import.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("nbformat") != 4 or not isinstance(content.get("cells"), list):
        import nbformat

        return nbformat.read(path, as_version=4).cells
    cells = content["cells"]
    for cell in cells:
        if isinstance(cell.get("source"), list):
            cell["source"] = "".join(cell["source"])
    return cells


def tags_of(cell: Mapping) -> list:
    """The tags of a cell."""
    return cell["metadata"].get("tags") or []


def headings_of(cells: Iterable[Mapping]) -> tuple[str, ...]:
    """The heading that each cell stands under, "" before the first, without marks of emphasis."""
    current, headings = "", []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            prose = re.sub(r"^```.*?^```", "", "".join(cell["source"]), flags=re.MULTILINE | re.DOTALL)
            lines = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", prose, re.MULTILINE)
            lines = [plain_heading(line) for line in lines]
            headings.append(lines[0] if lines else current)
            current = lines[-1] if lines else current
        else:
            headings.append(current)
    return tuple(headings)


def plain_heading(markdown: str) -> str:
    """A heading without the marks of emphasis and code."""
    for mark in (r"\*{1,3}", "`"):
        markdown = re.sub(rf"({mark})(?=\S)(.+?)(?<=\S)\1", r"\2", markdown)
    return markdown


def _source_hash(cells: Iterable[Mapping], settings: str) -> str:
    told = [[cell["cell_type"], cell["source"], sorted(tags_of(cell))] for cell in cells]
    return hashlib.sha256((json.dumps(told, ensure_ascii=False) + settings).encode()).hexdigest()
