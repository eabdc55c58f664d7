"""Parameters of a notebook: read from its ``parameters`` cell without running it, checked before anything runs."""

from __future__ import annotations

import ast
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import ParameterError, RunError

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
    """Comment at the end of the line."""

    @property
    def type_name(self) -> str:
        """The type as a reader would write it."""
        return _type_name(self.type)

    def check(self, value: object, *, notebook: str) -> object:
        """Value in the parameter's type (an int becomes a float where a float is wanted, a tuple a list).

        Raises
        ------
        ParameterError
            When the value is of another type; names the parameter, the value, the type, the notebook.
        """
        try:
            return _coerce(value, self.type)
        except ValueError as error:
            raise self._error(value, notebook) from error

    def parse(self, text: str, *, notebook: str) -> object:
        """Value written as text, as on a command line: ``5``, ``yes``, ``none``, ``a,b,c``, ``[1, 2]``, ``{a: 1}``.

        Raises
        ------
        ParameterError
            When the text does not spell a value of the parameter's type.
        """
        try:
            return _coerce(_parse(text.strip(), self.type), self.type)
        except ValueError as error:
            raise self._error(text, notebook) from error

    def _error(self, value: object, notebook: str) -> ParameterError:
        return ParameterError(self.name, value, f"{self.type_name} (notebook {notebook}, default {self.default!r})")


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
    except SyntaxError as error:
        raise RunError(
            f"notebook {notebook}: its parameters cell is not valid Python (line {error.lineno}: {error.msg})"
        ) from error
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module in ("typing", "__future__"):
            continue
        parameter = _read_assignment(statement, source, notebook)
        found[parameter.name] = parameter
    return found


def check_parameters(
    known: Mapping[str, Parameter], given: Mapping[str, object], *, notebook: str, text: bool = False
) -> dict[str, object]:
    """Every parameter of a notebook with its value: the default, or the one given, checked.

    Parameters
    ----------
    known : mapping of str to Parameter
        As :func:`read_parameters` returns them.
    given : mapping of str to object
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
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=2)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise RunError(
                f"notebook {notebook} has no parameter {name!r}{hint} (it has: {', '.join(known) or 'none at all'})"
            )
    values = {name: parameter.default for name, parameter in known.items()}
    for name, value in given.items():
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
        elif character in "'\"":
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
    except ValueError as error:
        raise RunError(
            f"{where}: {name} must be given a literal (number, text, bool, None, list, dict); "
            "derive the rest in a later cell"
        ) from error
    kind = _inferred(default) if annotation is None else _annotated(annotation, where)
    try:
        default = _coerce(default, kind)
    except ValueError as error:
        raise RunError(f"{where}: the default {name}={default!r} is not {_type_name(kind)}") from error
    line = source.splitlines()[statement.end_lineno - 1][statement.end_col_offset :]
    comment = line.partition("#")[2].strip()
    return Parameter(name, default, kind, comment)


def _annotated(node: ast.expr, where: str) -> object:
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)
    try:
        return eval(text, {"__builtins__": {}}, _TYPES)
    except Exception as error:
        raise RunError(
            f"{where}: the annotation {text} must be made of {', '.join(name for name in _TYPES)}"
        ) from error


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
        return value
    if kind is None or kind is type(None):
        good = value is None
    elif origin is typing.Literal:
        good = any(value == item and type(value) is type(item) for item in arguments)
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif kind is int:
        good = isinstance(value, int) and not isinstance(value, bool)
    elif list in (kind, origin):
        good = isinstance(value, Sequence) and not isinstance(value, str)
        if good:
            return [_coerce(item, arguments[0]) if arguments else item for item in value]
    elif dict in (kind, origin):
        good = isinstance(value, Mapping)
        if good:
            return dict(value)
    else:
        good = isinstance(value, kind)
    if not good:
        raise ValueError(value)
    return value


def _parse(text: str, kind: object) -> object:
    """Read text as ``kind``; ValueError when it cannot be."""
    members = _members(kind)
    if len(members) > 1:
        if type(None) in members and text.lower() in ("none", "null"):
            return None
        for member in sorted((m for m in members if m is not type(None)), key=lambda member: member is str):
            try:
                return _parse(text, member)
            except ValueError:
                continue
        raise ValueError(text)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(text)
        return _BOOLEANS[text.lower()]
    if kind in (int, float):
        return kind(text)
    if origin is typing.Literal:
        for item in arguments:
            if str(item) == text:
                return item
        raise ValueError(text)
    if list in (kind, origin):
        if text.startswith("["):
            return _yaml(text)
        return [_parse(piece, arguments[0] if arguments else typing.Any) for piece in split_values(text) if piece]
    return _yaml(text)


def _yaml(text: str) -> object:
    import yaml

    for number in (int, float):  # YAML 1.1 reads 1e-3 as text
        try:
            return number(text)
        except ValueError:
            continue
    try:
        return None if text.lower() == "none" else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(text) from error


def _type_name(kind: object) -> str:
    members = _members(kind)
    if len(members) > 1:
        return " or ".join(_type_name(member) for member in members)
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(repr(item) for item in typing.get_args(kind))
    plain = {None: "None", type(None): "None", typing.Any: "anything"}
    if kind in plain:
        return plain[kind]
    return str(kind) if typing.get_origin(kind) else f"{'an' if kind is int else 'a'} {kind.__name__}"
