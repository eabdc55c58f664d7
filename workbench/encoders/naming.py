"""What a text that names an encoder can mean, told before anything is loaded or run: without torch, at once."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ..core.checks import checked
from ..core.errors import ParameterError
from .catalog import HUB_ID, SPECS, known_names

FORM = "path/to/file.py:name"


@checked
def check_encoder_name(text: str, argument: str = "name_or_path", *, others: Iterable[str] = ()) -> None:
    """Refuse what :func:`load_encoder` cannot know, before anything is loaded or run.

    Parameters
    ----------
    text : str
        A name, folder, hub id, or code of one's own.
    argument : str
        What the caller calls it; named in the error.
    others : iterable of str
        Names that the caller knows besides.

    Raises
    ------
    ParameterError
        No name of the registry, folder or hub id, and no code of one's own that is there; close names are offered.
    """
    place = os.path.expanduser(text)
    if text.strip() and (text in (*SPECS, *others) or os.path.isdir(place)):
        return
    if os.path.isfile(place):
        way = f"; of a Python file say what of it: {text}:name" if text.endswith(".py") else ""
        raise ParameterError(argument, text, f"a model folder (with config.json), not a file{way}")
    if HUB_ID.match(text):
        return
    code = own_code(text)
    if code is None:
        expected = f"a model folder, a hub id (owner/model), code of your own ({FORM}) or a name"
        raise ParameterError(argument, text, f"{expected} {known_names(text, others)}")
    check_own_code(code, argument)


class OwnCode(NamedTuple):
    """What a text such as ``models/net.py:make`` names."""

    text: str
    """As it was written."""
    source: str
    """A path that ends in ``.py``, or a module's name with dots."""
    name: str
    """What is taken of it; dots go into classes and objects."""

    @property
    def file(self) -> Path | None:
        """The file from the root; None for a module by name."""
        return Path(self.source).expanduser().absolute() if self.source.endswith(".py") else None

    @property
    def whole(self) -> str:
        """The same with a path from the root, for processes that work elsewhere."""
        return self.text if self.file is None else f"{self.file}:{self.name}"


def own_code(text: object) -> OwnCode | None:
    """What a text names, where it has the form of code of one's own; None for anything else."""
    source, colon, name = str(text).rpartition(":")
    if not colon or not all(part.isidentifier() for part in name.split(".")):
        return None
    if source.endswith(".py") or all(part.isidentifier() for part in source.split(".")):
        return OwnCode(str(text), source, name)
    return None


def check_own_code(code: OwnCode, argument: str = "name_or_path") -> None:
    """Refuse what cannot be there, without running anything.

    Raises
    ------
    ParameterError
        No such file, one that is no Python, or one in which nothing has that name.
    """
    if code.file is None:
        top = code.source.partition(".")[0]
        with importing(Path.cwd()):
            importlib.invalidate_caches()
            if top not in sys.modules and importlib.util.find_spec(top) is None:
                raise ParameterError(argument, code.text, f"{FORM}, or module:name: there is no module {top} to import")
        return
    if not code.file.is_file():
        problem = "is a folder" if code.file.is_dir() else "is no file"
        raise ParameterError(argument, code.text, f"{FORM} with a file that is there: {code.file} {problem}")
    try:
        tree = ast.parse(code.file.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = getattr(error, "msg", error)
        raise ParameterError(argument, code.text, f"a file of Python code: {code.file}{line}: {reason}") from error
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {each.name for each in ast.walk(tree) if isinstance(each, (ast.FunctionDef, ast.ClassDef))}
    names |= {(each.asname or each.name).partition(".")[0] for each in ast.walk(tree) if isinstance(each, ast.alias)}
    if code.name.partition(".")[0] not in names and "*" not in names:
        raise no_name(code, names, argument)


@contextlib.contextmanager
def importing(folder: Path) -> Iterator[None]:
    """``import`` looks into this folder first."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def no_name(code: OwnCode, names: Iterable[str], argument: str = "name_or_path") -> ParameterError:
    """The error of code in which nothing has that name; close ones are offered."""
    known = sorted(name for name in names if not name.startswith("_"))
    near = get_close_matches(code.name, known, 3, 0.4)
    guess = f"; did you mean {' or '.join(near)}?" if near else ""
    return ParameterError(
        argument, code.text, f"{FORM} with a name that is there: {code.source} has no {code.name}{guess}"
    )
