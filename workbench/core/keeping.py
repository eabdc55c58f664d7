"""Stages of a notebook that are kept: a call that was made before with the same inputs is read, not made again."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from .errors import ParameterError, StoreError, WorkbenchError
from .files import cache_folder, temporary_beside
from .fingerprints import fingerprint
from .kept import plain
from .warn import warn

Made = TypeVar("Made")

_TREE = "stage.json"
_UNTOLD = ("progress", "client")  # arguments that change no number
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "pandas", "umap-learn")
_PACKAGE = Path(__file__).parents[1]
_STORED = "numbers, text, arrays, tables, lists, mappings and records of them, and what has save and load"


def keep(make: Callable[..., Made], /, *args: Any, **kwargs: Any) -> Made:
    """Call a function, or read what the same call gave before: ``keep(fit_probes, layers, y, split)``.

    A notebook that runs again after one parameter was changed computes only the stages that depend on it. A call is the
    same where the function is (its code, and all that the code takes from outside), its arguments are (arrays, weights
    and tables by their content, datasets, embeddings and encoders by their fingerprint), and this package's code and
    the versions of numpy, scipy, scikit-learn, torch, pandas and umap-learn are. Arguments called ``progress`` or
    ``client`` do not count. Warnings that the call gave are given again.

    Results lie in ``stages`` of the cache folder (``WORKBENCH_CACHE``), as json, npy and safetensors files with
    checksums, never as pickles. ``workbench cache prune --stages`` removes them.

    Parameters
    ----------
    make : callable
        It must depend on its arguments, and on what it takes from outside, alone.
    *args, **kwargs
        What it is called with.

    Returns
    -------
    What ``make`` returns.

    Raises
    ------
    ParameterError
        An argument of which it cannot be told whether it changed, or a result of a kind that cannot be kept: neither a
        number, text, array, table, nor a list, mapping, dataclass or named tuple of them, nor an object of this package
        with ``save(folder)`` and a class method ``load(folder, ...)`` whose other parameters are arguments of the call.
    StoreError
        The cache folder cannot be written to.

    Warns
    -----
    UserWarning
        A kept result is damaged; it is computed again.

    Examples
    --------
    >>> import numpy as np
    >>> from workbench.core.keeping import keep
    >>> keep(np.linspace, 0, 1, num=3)
    array([0. , 0.5, 1. ])
    """
    if not callable(make):
        raise ParameterError("make", make, "a function")
    given = {f"argument {i}": value for i, value in enumerate(args, 1)} | kwargs
    told = [(name, plain(name, value)) for name, value in given.items() if name not in _UNTOLD]
    key = fingerprint("stage 1", _surroundings(), plain("make", make), told)
    path = cache_folder() / "stages" / key
    given = _by_name(make, args, kwargs)
    try:
        made, said = _read(path, given)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, WorkbenchError) as error:
        warn(f"{path} is damaged ({error}); the stage is made again")
        shutil.rmtree(path, ignore_errors=True)
    else:
        _say(said)
        return made
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        made = make(*args, **kwargs)
    said = list(dict.fromkeys((_place(each.category), str(each.message)) for each in heard))
    _say(said)
    _write(path, made, said, getattr(make, "__name__", "make"), given)
    return made


def _by_name(make: Callable, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names of the function's parameters."""
    try:
        return dict(inspect.signature(make).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # of a builtin no signature is known; a wrong call fails when it is made
        return dict(kwargs)


def stages() -> dict[Path, int]:
    """Folders of the stages that are kept, and of those that killed writers left, with their bytes."""
    folder = cache_folder() / "stages"
    found = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in found}


@functools.cache
def _surroundings() -> tuple[str, ...]:
    """What else decides numbers: the code of this package, and the versions of the libraries that compute."""
    digest = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{file.relative_to(_PACKAGE)}|".encode())
        digest.update(file.read_bytes())
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(name)
    return digest.hexdigest(), *versions


def _say(said: list[tuple[str, str]]) -> None:
    for place, text in said:
        try:
            category = _found(place)
        except (ImportError, AttributeError, ValueError):  # of the notebook that made it
            category = UserWarning
        warn(text, category if isinstance(category, type) and issubclass(category, Warning) else UserWarning)


def _place(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _found(place: str) -> Any:
    """What a place names: a class of this package, or of Python."""
    module, _, name = place.partition(":")
    if module.partition(".")[0] not in (__package__.partition(".")[0], "builtins"):
        raise ValueError(f"{place} is no class of this package")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


# --- files ---------------------------------------------------------------------------------------------------------


def _write(path: Path, made: object, said: list[tuple[str, str]], of: str, given: Mapping[str, Any]) -> None:
    folder = temporary_beside(path)
    try:
        folder.mkdir(parents=True)
        tree = _Writer(folder, given).tree(made, f"the result of {of}")
        sums = {file.relative_to(folder).as_posix(): _sum(file) for file in sorted(folder.rglob("*")) if file.is_file()}
        record = {"of": of, "made": time.time(), "said": said, "tree": tree, "files": sums}
        (folder / _TREE).write_text(json.dumps({**record, "checksum": _checksum(record)}))
        if path.exists():  # another process was faster
            shutil.rmtree(folder)
        else:
            os.replace(folder, path)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if not path.exists():
            raise StoreError(f"cannot keep a stage in {path.parent}: {error}; call {of} without keep") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _read(path: Path, given: Mapping[str, Any]) -> tuple[Any, list[tuple[str, str]]]:
    record = json.loads((path / _TREE).read_text())
    if record.pop("checksum") != _checksum(record):
        raise ValueError("its checksum is another")
    for name, digest in record["files"].items():
        if _sum(path / name) != digest:
            raise ValueError(f"the checksum of {name} is another")
    return _Reader(path, given).value(record["tree"]), [(place, text) for place, text in record["said"]]


def _sum(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _checksum(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]


class _Writer:
    """Describes a value as json, and writes beside it what json cannot hold."""

    def __init__(self, folder: Path, given: Mapping[str, Any]):
        self.folder, self.given, self.count = folder, given, 0

    def place(self) -> str:
        self.count += 1
        return str(self.count)

    def tree(self, value: object, name: str) -> object:
        if value is None or isinstance(value, (bool, int, float, str)):
            return {"plain": value}
        if isinstance(value, np.ndarray) and value.dtype.kind == "O" or type(value).__name__ == "Index":
            return {"objects": [self.tree(each, name) for each in np.asarray(value).ravel()], "shape": np.shape(value)}
        if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
            return self.array(value, name)
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.tree(each, f"{name}[{i}]") for i, each in enumerate(value)]}
        if isinstance(value, dict):
            return {"dict": [[self.tree(k, name), self.tree(v, f"{name}[{k!r}]")] for k, v in value.items()]}
        if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "index"):
            return self.table(value, name)
        kind = type(value)
        ours = kind.__module__.partition(".")[0] == __package__.partition(".")[0]
        if ours and callable(getattr(value, "save", None)) and callable(getattr(kind, "load", None)):
            wanted = _wanted(kind.load)
            if not set(wanted) <= set(self.given):
                expected = f"read again with {', '.join(wanted)}, which must be arguments of the call"
                raise ParameterError(name, kind.__name__, expected)
            place = self.place()
            value.save(self.folder / place)
            return {"saved": _place(kind), "place": place}
        if ours and hasattr(value, "_fields"):
            return {
                "named": _place(kind),
                "fields": [self.tree(each, f"{name}.{at}") for at, each in value._asdict().items()],
            }
        if ours and is_dataclass(value):
            parts = [
                [field.name, self.tree(getattr(value, field.name), f"{name}.{field.name}")] for field in fields(value)
            ]
            return {"dataclass": _place(kind), "fields": parts}
        raise ParameterError(name, kind.__name__, f"something that can be kept: {_STORED}")

    def array(self, value: np.ndarray | np.generic | torch.Tensor, name: str) -> object:
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        if array.dtype.kind not in "biufcUSmM":
            raise ParameterError(name, f"an array of {array.dtype}", f"something that can be kept: {_STORED}")
        file = f"{self.place()}.npy"
        np.save(self.folder / file, array, allow_pickle=False)
        kind = "tensor" if isinstance(value, torch.Tensor) else "scalar" if isinstance(value, np.generic) else "array"
        return {kind: file}

    def table(self, value: Any, name: str) -> object:
        frame = value.to_frame() if value.ndim == 1 else value
        columns = [self.tree(frame.iloc[:, i].to_numpy(), f"{name}, column {c!r}") for i, c in enumerate(frame.columns)]
        axes = {
            axis: {
                "names": [self.tree(each, name) for each in labels.names],
                "levels": [self.tree(labels.get_level_values(k).to_numpy(), name) for k in range(labels.nlevels)],
            }
            for axis, labels in (("index", frame.index), ("columns", frame.columns))
        }
        return {
            "table": columns,
            **axes,
            "series": value.ndim == 1,
            "name": self.tree(getattr(value, "name", None), name),
            "attrs": self.tree(dict(value.attrs), f"{name}.attrs"),
        }


def _wanted(load: Callable) -> list[str]:
    """What a class method ``load(folder, ...)`` needs beside the folder."""
    _, *others = inspect.signature(load).parameters.values()
    return [each.name for each in others if each.default is each.empty and each.kind is not each.VAR_KEYWORD]


class _Reader:
    """Makes the value again that a :class:`_Writer` described."""

    def __init__(self, folder: Path, given: Mapping[str, Any]):
        self.folder, self.given = folder, given

    def value(self, tree: Mapping[str, Any]) -> Any:
        (kind, held), *_ = tree.items()
        if kind == "plain":
            return held
        if kind in ("array", "tensor", "scalar"):
            array = np.load(self.folder / held, allow_pickle=False)
            return torch.from_numpy(array) if kind == "tensor" else array[()] if kind == "scalar" else array
        if kind in ("list", "tuple"):
            return (list if kind == "list" else tuple)(self.value(each) for each in held)
        if kind == "objects":
            array = np.empty(len(held), dtype=object)
            array[:] = [self.value(each) for each in held]
            return array.reshape(tree["shape"])
        if kind == "dict":
            return {self.value(key): self.value(value) for key, value in held}
        if kind == "saved":
            load = _found(held).load
            return load(self.folder / tree["place"], **{name: self.given[name] for name in _wanted(load)})
        if kind == "named":
            return _found(held)(*map(self.value, tree["fields"]))
        if kind == "dataclass":
            made = object.__new__(_found(held))
            for name, value in tree["fields"]:
                object.__setattr__(made, name, self.value(value))
            return made
        return self.table(tree)

    def table(self, tree: Mapping[str, Any]) -> Any:
        import pandas as pd

        def labels(axis: str) -> pd.Index:
            names = [self.value(each) for each in tree[axis]["names"]]
            levels = [self.value(each) for each in tree[axis]["levels"]]
            return (
                pd.MultiIndex.from_arrays(levels, names=names) if len(levels) > 1 else pd.Index(*levels, name=names[0])
            )

        index = labels("index")
        columns = {i: pd.Series(self.value(each), index) for i, each in enumerate(tree["table"])}
        frame = pd.DataFrame(columns, index=index)
        frame.columns = labels("columns")
        made = frame.iloc[:, 0].rename(self.value(tree["name"])) if tree["series"] else frame
        made.attrs |= self.value(tree["attrs"]) if "attrs" in tree else {}  # tables kept before had none
        return made
