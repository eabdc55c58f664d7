"""Results of long studies that are kept one by one, so that a study goes on where it stopped."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .checks import checked
from .errors import ParameterError, StoreError
from .files import cache_folder, sweep_away, write_whole
from .fingerprints import fingerprint
from .warn import warn


class Kept:
    """A folder of finished results, each in a small json file named by a hash of all that decides its numbers.

    Parameters
    ----------
    resume : bool or path
        The folder; True: ``trained`` in the user's cache folder; False or None: nothing is kept.
    name : str
        Of the study, and a version that is raised when its numbers change.
    shared : mapping
        What all results depend on: arrays, modules, functions, dataclasses and plain values.

    Raises
    ------
    ParameterError
        No folder that can be written to, or something that cannot be hashed.
    """

    @checked
    def __init__(self, resume: bool | str | os.PathLike | None, name: str, shared: Mapping[str, object]):
        self.folder = cache_folder() / "trained" if resume is True else Path(resume) if resume else None
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a null byte
            raise ParameterError("resume", str(resume), f"a folder to write to ({error})") from None
        sweep_away(self.folder)
        self.name, self.shared = name, plain("shared", shared)

    def path(self, **own: object) -> Path | None:
        """Where the result is that depends on these too, or will be; None where nothing is kept."""
        if self.folder is None:
            return None
        return self.folder / f"{fingerprint(self.name, self.shared, plain('own', own))}.json"


def read(path: Path | None, names: Sequence[str] = ()) -> dict[str, object] | None:
    """A result with these names; None where there is none, or, with a warning, where its file is damaged.

    A file without a checksum is one of an earlier version, which wrote blanks behind its commas and colons.
    """
    if path is None:
        return None
    try:
        text = path.read_text()
        found = json.loads(text)
        if text != json.dumps(found) + "\n" and found.pop("checksum") != _checksum(found):
            raise ValueError("its checksum is another")
        return {name: found[name] for name in names or found}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        warn(f"{path} is damaged ({error!r}); its run is made again")
        return None


def write(path: Path | None, row: Mapping[str, object]) -> None:
    """Whole or not at all, whenever the process ends.

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


def plain(name: str, value: object) -> object:
    """What a value is, in plain types whose repr is the same in every process: arrays and weights by their hash."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return sorted(((repr(key), plain(str(key), each)) for key, each in value.items()), key=lambda pair: pair[0])
    if isinstance(value, nn.Module):
        return repr(value), fingerprint(weights=value.state_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return type(value).__qualname__, plain(name, fields)
    if isinstance(value, functools.partial):
        return "partial", plain(name, value.func), plain(name, value.args), plain(name, value.keywords)
    if hasattr(value, "__qualname__") and callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, (list, tuple)):
        return [plain(name, each) for each in value]
    if hasattr(value, "__array__"):
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        if array.dtype.kind in "biuf":
            return fingerprint(weights={"": torch.from_numpy(np.ascontiguousarray(array))})
        return [plain(name, each) for each in array.tolist()]
    raise ParameterError(name, value, "of plain types, arrays, modules or functions for runs to be resumed")
