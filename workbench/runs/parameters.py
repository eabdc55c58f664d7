"""Parameters of a notebook: read from its ``parameters`` cell without running it, checked before anything runs."""

from __future__ import annotations

import ast
import difflib
import math
import numbers
import os
import re
import tokenize
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.errors import ParameterError, RunError

_TYPES = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "list": list,
    "dict": dict,
    "None": None,
    "Any": typing.Any,
    "Literal": typing.Literal,
    "Optional": typing.Optional,
    "Union": typing.Union,
}
_ONE_KIND = (bool, int, float, str, list, dict, None, type(None), typing.Any)
_LEAST = re.compile(r"\b(\d+) (?:or more|takes)\b")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """One assignment of a ``parameters`` cell."""

    name: str
    """Left-hand side."""
    default: object
    """Literal on the right-hand side."""
    type: object
    """Annotation, or the type of the default (items of equal type: ``list[that type]``); Any for a bare None."""
    help: str = ""
    """Comment on its lines; "1 or more" or "0 takes ..." in it makes that the smallest value."""

    @property
    def type_name(self) -> str:
        """The type as a reader would write it."""
        return _type_name(self.type)

    @property
    def least(self) -> int | None:
        """Smallest number that the comment allows; None when it says nothing of one."""
        match = _LEAST.search(self.help)
        return int(match[1]) if match else None

    def check(self, value: object, *, notebook: str) -> object:
        """Value in the parameter's type (an int becomes a float where a float is wanted, a tuple a list).

        Raises
        ------
        ParameterError
            When the value is of another type, NaN or infinite, or below what the comment allows; names the parameter,
            the value, the type, the notebook.
        """
        try:
            return self._inside(_coerce(value, self.type))
        except (ValueError, OverflowError, RecursionError) as error:
            raise self._error(value, notebook) from error

    def parse(self, text: str, *, notebook: str) -> object:
        """Value written as text, as on a command line: ``5``, ``yes``, ``none``, ``a,b,c``, ``[1, 2]``, ``{a: 1}``.

        The declared type alone says how text is read, inside brackets as outside: ``010`` is ten where a number is
        wanted and a text where a text is. Quotes around a text are taken off. Where nothing is declared (an empty
        list, a bare None), what Python reads as a number is one, ``true``, ``false`` and ``none`` are what they say,
        and the rest is text.

        Raises
        ------
        ParameterError
            When the text does not spell a value of the parameter's type.
        """
        try:
            return self._inside(_coerce(_parse(text.strip(), self.type, bare=True), self.type))
        except (ValueError, OverflowError, RecursionError) as error:
            raise self._error(text, notebook) from error

    def _error(self, value: object, notebook: str) -> ParameterError:
        ranges = "" if self.least is None else f", {self.least} or more"
        ranges += ", finite" if "float" in self.type_name and re.search(r"\b(nan|inf)", repr(value).lower()) else ""
        expected = f"{self.type_name}{ranges} (notebook {notebook}, default {_short(self.default)})"
        return ParameterError(self.name, _Shown(value), expected)

    def _inside(self, value: object) -> object:
        for item in value if isinstance(value, list) else [value]:
            if self.least is not None and _is_number(item) and item < self.least:
                raise ValueError(item)
        return value


class _Shown:
    """A value whose repr is cut to what fits a line."""

    def __init__(self, value: object):
        self.value = value

    def __repr__(self) -> str:
        return _short(self.value)


def _short(value: object) -> str:
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a whole number of thousands of digits
        text = type(value).__name__
    return text if len(text) <= 120 else f"{text[:117]}..."


def read_parameters(source: str, *, notebook: str) -> dict[str, Parameter]:
    """Parameters assigned in the source of a cell.

    Parameters
    ----------
    source : str
        Python source: assignments of literals (``seed = 0``, ``layers: list[int] = [1, 2]``), comments, imports
        from typing.
    notebook : str
        Name used in messages.

    Returns
    -------
    dict of str to Parameter
        In the order of the cell.

    Raises
    ------
    RunError
        For a cell that is not Python or holds anything else; names the line.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else error
        raise RunError(f"notebook {notebook}: its parameters cell is not valid Python ({where})") from error
    parameters: dict[str, Parameter] = {}
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module in ("typing", "__future__"):
            continue
        parameter = _read_assignment(statement, source, notebook)
        parameters[parameter.name] = parameter
    return parameters


def check_parameters(
    known: Mapping[str, Parameter], changes: Mapping[str, object], *, notebook: str, text: bool = False
) -> dict[str, object]:
    """Every parameter of a notebook with its value: the default, or the one given, checked.

    Parameters
    ----------
    known : mapping of str to Parameter
        As :func:`read_parameters` returns them.
    changes : mapping of str to object
        What the caller wants changed.
    notebook : str
        Name used in messages.
    text : bool
        Values that are strings are text to be parsed (from a command line) instead of Python values.

    Raises
    ------
    RunError
        For a name the notebook does not have; the message offers close ones and lists all.
    ParameterError
        For a value of another type.
    """
    for name in changes:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=2)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise RunError(
                f"notebook {notebook} has no parameter {name!r}{hint} (it has: {', '.join(known) or 'none at all'})"
            )
    values = {name: parameter.default for name, parameter in known.items()}
    for name, value in changes.items():
        as_text = text and isinstance(value, str)
        method = known[name].parse if as_text else known[name].check
        values[name] = method(value, notebook=notebook)
    return values


def split_values(text: str) -> list[str]:
    """Pieces of ``a,b,c``; commas inside brackets or quotes do not split: ``[1,2],[3]`` has two pieces."""
    pieces, depth, quote, current = [], 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and not current.strip(" [{(:"):  # an apostrophe inside a word opens nothing
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        if character == "," and depth == 0 and not quote:
            pieces.append(current.strip())
            current = ""
        else:
            current += character
    return [*pieces, current.strip()]


def _read_assignment(statement: ast.stmt, source: str, notebook: str) -> Parameter:
    where = f"notebook {notebook}, parameters cell, line {statement.lineno}"
    simple = isinstance(statement, ast.Assign) and len(statement.targets) == 1
    if simple and isinstance(statement.targets[0], ast.Name):
        name, annotation = statement.targets[0].id, None
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        name, annotation = statement.target.id, statement.annotation
    else:
        raise RunError(f"{where}: the cell may only hold assignments of literals, such as seed = 0")
    try:
        default = ast.literal_eval(statement.value)
        if annotation is None:
            _understood(_inferred(default))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise RunError(
            f"{where}: {name} must be given a literal (number, text, bool, None, list, dict); "
            "derive the rest in a later cell"
        ) from error
    kind = _inferred(default) if annotation is None else _annotated(annotation, where)
    try:
        default = _coerce(default, kind)
    except (ValueError, OverflowError) as error:
        raise RunError(f"{where}: the default {name}={default!r} is not {_type_name(kind)}") from error
    return Parameter(name, default, kind, _comment(statement, source))


def _comment(statement: ast.stmt, source: str) -> str:
    """Comments on the lines of an assignment, those inside its brackets too."""
    lines = source.splitlines(keepends=True)[statement.lineno - 1 : statement.end_lineno]
    tokens = tokenize.generate_tokens(iter(lines).__next__)
    return " ".join(token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT).strip()


def _annotated(node: ast.expr, where: str) -> object:
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)
    try:
        plain = (ast.Expression, ast.Name, ast.Constant, ast.Subscript, ast.Tuple, ast.BinOp, ast.BitOr, ast.Load)
        tree = ast.parse(text, mode="eval")
        if not all(isinstance(part, (*plain, ast.UnaryOp, ast.USub)) for part in ast.walk(tree)):
            raise ValueError(text)  # a call, say: nothing of a notebook is executed here
        kind = eval(text, {"__builtins__": {}}, _TYPES)
        _understood(kind)
        return kind
    except Exception as error:
        raise RunError(
            f"{where}: the annotation {text} must be made of {', '.join(name for name in _TYPES)}"
        ) from error


def _understood(kind: object) -> None:
    """ValueError for what :func:`_coerce` could not check."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return
    if origin not in (None, list, dict, typing.Union, types.UnionType) or (origin is None and kind not in _ONE_KIND):
        raise ValueError(kind)
    for argument in arguments:
        _understood(argument)


def _inferred(default: object) -> object:
    if default is None:
        return typing.Any
    if isinstance(default, (list, tuple)):
        kinds = {type(item) for item in default}
        if kinds == {int, float}:
            kinds = {float}
        return list[kinds.pop()] if len(kinds) == 1 and kinds <= {bool, int, float, str} else list
    return type(default)


def _members(kind: object) -> tuple[object, ...]:
    """The alternatives of a union, or the type itself alone."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _coerce(value: object, kind: object) -> object:
    """Value as the type ``kind``; ValueError when it is not one."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    members = _members(kind)
    if len(members) > 1:
        exact = sorted(members, key=lambda member: type(value) is not member)  # 1 stays an int in int | float
        for member in exact:
            try:
                return _coerce(value, member)
            except ValueError:
                continue
        raise ValueError(value)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return _coerce(value, _kind_of(value))
    if kind is None or kind is type(None):
        good = value is None
    elif origin is typing.Literal:
        good = any(value == item and type(value) is type(item) for item in arguments)
    elif kind is float:
        good = _is_number(value) and math.isfinite(value)
        value = float(value) if good else value
    elif kind is int:
        good = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        value = int(value) if good else value
    elif kind is str:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        good = isinstance(value, str)
        if good:
            value.encode()  # a file name that is not UTF-8 cannot be written into a notebook: a ValueError too
    elif list in (kind, origin):
        good = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        if good:
            return [_coerce(item, arguments[0] if arguments else typing.Any) for item in value]
    elif dict in (kind, origin):
        good = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        if good:
            inner = arguments[1] if arguments else typing.Any
            return {key: _coerce(item, inner) for key, item in value.items()}
    else:
        good = isinstance(value, kind)
    if not good:
        raise ValueError(value)
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _kind_of(value: object) -> object:
    """The type that a value without a declared one is checked as."""
    if value is None or isinstance(value, (bool, str)):
        return type(value)
    if isinstance(value, numbers.Real):
        return int if isinstance(value, numbers.Integral) else float
    return dict if isinstance(value, Mapping) else list


def _parse(text: str, kind: object, *, bare: bool = False) -> object:
    """Read text as ``kind``, ``bare`` where a list may do without its brackets; ValueError when it cannot be."""
    members = _members(kind)
    if len(members) > 1:
        if type(None) in members and text.lower() in ("none", "null"):
            return None
        for member in sorted((m for m in members if m is not type(None)), key=lambda member: member is str):
            try:
                return _coerce(_parse(text, member, bare=bare), member)
            except ValueError:
                continue
        raise ValueError(text)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is str:
        return _unquoted(text)
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(text)
        return _BOOLEANS[text.lower()]
    if kind in (int, float):
        return kind(text)
    if kind in (None, type(None)) and text.lower() in ("none", "null"):
        return None
    if origin is typing.Literal:
        for item in arguments:
            if str(item) == _unquoted(text):
                return item
        raise ValueError(text)
    if list in (kind, origin):
        return [_parse(piece, arguments[0] if arguments else typing.Any) for piece in _pieces(text, "[]", bare=bare)]
    if dict in (kind, origin):
        pairs = [piece.partition(":") for piece in _pieces(text, "{}")]
        if not all(colon for _, colon, _ in pairs) or len({_unquoted(key.strip()) for key, *_ in pairs}) < len(pairs):
            raise ValueError(text)
        inner = arguments[1] if arguments else typing.Any
        return {_unquoted(key.strip()): _parse(value.strip(), inner) for key, _, value in pairs}
    if kind is typing.Any:
        return _parse(text, _kind_of_text(text))
    raise ValueError(text)


def _kind_of_text(text: str) -> object:
    """What a text is read as where no type is declared."""
    words = {"none": None, "null": None, "true": bool, "false": bool}
    if text.lower() in words:
        return words[text.lower()]
    if text[:1] in ("[", "{"):
        return list if text[0] == "[" else dict
    for kind in (int, float):
        try:
            if math.isfinite(kind(text)):
                return kind
        except (ValueError, OverflowError):
            continue
    return str


def _pieces(text: str, brackets: str, *, bare: bool = False) -> list[str]:
    """What stands between brackets, cut at its commas; one comma may end it."""
    opening, closing = brackets
    if text.startswith(opening) and len(split_values(text)) == 1:
        if not text.endswith(closing):
            raise ValueError(text)
        text = text[1:-1].strip()
    elif not bare:
        raise ValueError(text)
    pieces = split_values(text)
    if not pieces[-1]:
        pieces.pop()
    if not all(pieces):
        raise ValueError(text)
    return pieces


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _type_name(kind: object) -> str:
    members = _members(kind)
    if len(members) > 1:
        return " or ".join(_type_name(member) for member in members)
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(repr(item) for item in typing.get_args(kind))
    plain = {None: "None", type(None): "None", typing.Any: "any number, text, list or dict"}
    if kind in plain:
        return plain[kind]
    return str(kind) if typing.get_origin(kind) else f"{'an' if kind is int else 'a'} {kind.__name__}"
