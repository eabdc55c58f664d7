"""Keep the results of long studies in single files, so that an interrupted study can be resumed."""

from __future__ import annotations

import datetime
import functools
import hashlib
import inspect
import json
import logging
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .checks import checked
from .errors import ParameterError, StoreError
from .files import cache_folder, sweep_away, write_whole
from .fingerprints import fingerprint
from .warn import warn

_INSTALLED = (*{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}, str(Path(__file__).parents[1]))
"""Folders of installed code, which changes only with a version."""


class Kept:
    """A folder of finished results, each in a small JSON file named by a hash of all that determines its numbers.

    Parameters
    ----------
    resume : bool or path
        The folder; True for ``trained`` in the user's cache folder; False or None to keep nothing.
    name : str
        Name of the study, with a version that is increased when its numbers change.
    shared : mapping
        Values on which all results depend: arrays, modules, functions, dataclasses and plain values.

    Raises
    ------
    ParameterError
        The folder cannot be written to, or a value cannot be hashed.
    """

    @checked
    def __init__(self, resume: bool | str | os.PathLike | None, name: str, shared: Mapping[str, object]):
        self.folder = cache_folder() / "trained" if resume is True else Path(resume) if resume else None
        if self.folder is None:
            return
        self.name, self.shared = name, [(key, plain(key, value)) for key, value in shared.items()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a null byte
            raise ParameterError("resume", str(resume), f"a folder to write to ({error})") from None
        sweep_away(self.folder)

    def path(self, **own: object) -> Path | None:
        """Return the file of the result that depends on these values as well; None if nothing is kept."""
        if self.folder is None:
            return None
        return self.folder / f"{fingerprint(self.name, self.shared, plain('own', own))}.json"


def read(path: Path | None, names: Sequence[str] = ()) -> dict[str, object] | None:
    """Read these names of a result, by default all; None if there is no file or, with a warning, if it is damaged."""
    if path is None:
        return None
    try:
        row = json.loads(path.read_text())
        if row.pop("checksum") != _checksum(row):
            raise ValueError("its checksum is another")
        return {name: row[name] for name in names or row}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        warn(f"{path} is damaged ({error!r}); its run is made again")
        return None


def write(path: Path | None, row: Mapping[str, object]) -> None:
    """Write a result to its file, completely or not at all.

    Raises
    ------
    StoreError
        The file cannot be written; nothing of it is left.
    """
    if path is None:
        return
    text = json.dumps({**row, "checksum": _checksum(row)}, separators=(",", ":")) + "\n"
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise StoreError(f"cannot keep a result in {path}: {error}; resume=False goes on without") from error


def _checksum(row: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16]


def plain(name: str, value: object, seen: tuple[int, ...] = ()) -> object:
    """Describe a value in plain types whose repr is the same in every process, for hashing.

    Arrays, weights and tables are described by their content; functions by their code and all values that it refers to
    (functions of installed packages by their name and what they enclose); other objects by their ``fingerprint`` or,
    without one, by their attributes.

    Raises
    ------
    ParameterError
        The value cannot be described in this way.
    """
    if value is None or isinstance(value, (str, bytes, bool, int, float, complex)):
        return value
    if (
        isinstance(
            value, (np.generic, datetime.date, datetime.timedelta, np.dtype, torch.dtype, torch.device, slice, range)
        )
        or value is Ellipsis
    ):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, logging.Logger):  # does not change numbers
        return value.name
    if id(value) in seen:
        return "itself"
    within = (*seen, id(value))

    def inside(part: object, label: str = "") -> object:
        return plain(f"{name}{label}", part, within)

    if isinstance(value, Mapping):
        pairs = ((repr(inside(key)), inside(each, f"[{key!r}]")) for key, each in value.items())
        return sorted(pairs, key=lambda pair: pair[0])
    if isinstance(value, (set, frozenset)):
        return sorted(repr(inside(each)) for each in value)
    if isinstance(value, nn.Module):
        return inside(type(value)), repr(value), fingerprint(weights=value.state_dict())
    if isinstance(value, functools.partial):
        return "partial", inside(value.func), inside(value.args), inside(value.keywords)
    if isinstance(value, type):
        return _class(value, inside)
    if inspect.isroutine(value) or hasattr(value, "__wrapped__"):
        return _function(value, inside)
    if hasattr(value, "columns") and hasattr(value, "to_dict"):
        return [(str(column), inside(value[column].to_numpy())) for column in value.columns]
    if isinstance(value, (list, tuple)):
        return [inside(each, f"[{i}]") for i, each in enumerate(value)]
    if hasattr(value, "__array__"):
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        if array.dtype.kind in "biufc":
            return fingerprint(weights={"": torch.from_numpy(np.require(array, requirements="CW"))})
        return [inside(each) for each in array.tolist()]
    kind = inside(type(value))
    if isinstance(mark := getattr(value, "fingerprint", None), str):
        return kind, mark
    if hasattr(value, "__dict__"):
        made = {key for key in vars(value) if isinstance(getattr(type(value), key, None), functools.cached_property)}
        own = sorted((key, each) for key, each in vars(value).items() if key not in made)  # what follows from the rest
        return kind, [(key, inside(each, f".{key}")) for key, each in own]
    expected = "something whose changes can be noticed (a value, array, table, function, or an object made of these)"
    raise ParameterError(name, value, expected)


def _class(kind: type, inside: Callable[..., object]) -> object:
    """Describe a class by its name and, if it is the user's own, by its bases and everything that it defines."""
    title, module = f"{kind.__module__}.{kind.__qualname__}", sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if kind.__module__ != "__main__" and (file is None or file.startswith(_INSTALLED)):
        return title
    skipped = ("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__static_attributes__")
    own = [(name, part) for name, part in sorted(vars(kind).items()) if name not in (*skipped, "__firstlineno__")]
    parts = [(name, _behind(part)) for name, part in own]
    return title, inside(kind.__bases__), [(name, inside(part, f".{name}")) for name, part in parts]


def _behind(part: object) -> object:
    """The function behind a static or class method, a property or a cached one; anything else as it is."""
    if isinstance(part, functools.cached_property):
        return part.func
    return getattr(part, "__func__", None) or getattr(part, "fget", None) or part


def _function(function: Any, inside: Callable[..., object]) -> object:
    """Describe a function by its code, its defaults, and the variables outside to which it refers."""
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, (type, ModuleType)):
        return "method", function.__name__, inside(owner)
    function = inspect.unwrap(function)
    code, title = getattr(function, "__code__", None), f"{function.__module__}.{function.__qualname__}"
    if code is None:
        return title
    held = zip(code.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=True)
    if code.co_filename.startswith(_INSTALLED):
        cells = [(name, inside(value, f": {name}")) for name, value in held]
        return (title, cells) if cells else title
    names, everything = _names(code), function.__globals__
    outside = {name: everything[name] for name in sorted(names) if name in everything}
    taken = [(name, inside(value, f": {name}")) for name, value in [*outside.items(), *held]]
    rest = (owner, function.__defaults__, function.__kwdefaults__)
    return title, _code(code), taken, [inside(each, ": a default") for each in rest]


def _names(code: CodeType) -> set[str]:
    """Return the names that code and the code nested in it refer to, including names of attributes."""
    return set(code.co_names).union(*(_names(each) for each in code.co_consts if isinstance(each, CodeType)))


def _code(code: CodeType) -> list[object]:
    constants = [_code(each) if isinstance(each, CodeType) else _constant(each) for each in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names)]


def _constant(value: object) -> str:
    return repr(sorted(value, key=repr) if isinstance(value, frozenset) else value)
