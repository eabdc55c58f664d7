"""Check texts that name an encoder, without importing torch and before anything is loaded or run."""

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
    """Refuse a text that :func:`load_encoder` cannot know, before anything is loaded or run.

    Parameters
    ----------
    text : str
        A name, a folder, a hub id, or code of the user's own.
    argument : str
        Name of the caller's argument, for the error.
    others : iterable of str
        Further names that the caller accepts.

    Raises
    ------
    ParameterError
        The text is no name of the registry, folder, hub id or existing code of the user's own; the error suggests close
        names.
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
    """Code that a text such as ``models/net.py:make`` names."""

    text: str
    """The text as it was written."""
    source: str
    """A path that ends in ``.py``, or the dotted name of a module."""
    name: str
    """Name of the object in that file or module; dots are attributes of classes and objects."""

    @property
    def file(self) -> Path | None:
        """Absolute path of the file; None for a module."""
        return Path(self.source).expanduser().absolute() if self.source.endswith(".py") else None

    @property
    def whole(self) -> str:
        """The text with an absolute path, for processes with another working folder."""
        return self.text if self.file is None else f"{self.file}:{self.name}"


def own_code(text: object) -> OwnCode | None:
    """Parse a text of the form ``file.py:name`` or ``module:name``; return None for any other text."""
    source, colon, name = str(text).rpartition(":")
    if not colon or not all(part.isidentifier() for part in name.split(".")):
        return None
    if source.endswith(".py") or all(part.isidentifier() for part in source.split(".")):
        return OwnCode(str(text), source, name)
    return None


def check_own_code(code: OwnCode, argument: str = "name_or_path") -> None:
    """Refuse code that cannot exist, without running any.

    Raises
    ------
    ParameterError
        There is no such file or module, the file is not Python code, or nothing in it has that name.
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
    """Make ``import`` search this folder first."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def no_name(code: OwnCode, names: Iterable[str], argument: str = "name_or_path") -> ParameterError:
    """Return the error for code in which nothing has that name; it suggests close names."""
    known = sorted(name for name in names if not name.startswith("_"))
    near = get_close_matches(code.name, known, 3, 0.4)
    guess = f"; did you mean {' or '.join(near)}?" if near else ""
    return ParameterError(
        argument, code.text, f"{FORM} with a name that is there: {code.source} has no {code.name}{guess}"
    )
