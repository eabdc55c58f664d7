"""Load encoders from the user's own code, named as ``path/to/file.py:name`` or ``module:name``.

``name`` is an :class:`.interface.Encoder`, a torch module, or a function or class that returns one. A function or class
is called with ``device`` and ``random_weights``, as far as its signature has them. The file is run like a script, with
its folder first in the search path of ``import``; name only files that you trust.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from ..core.errors import ParameterError, WorkbenchError
from ..core.fingerprints import fingerprint
from .interface import Encoder, check_encoder, check_fingerprint
from .naming import OwnCode, check_own_code, importing, no_name
from .own import ModuleEncoder, encoder_from
from .untrained import reset

_PACKAGES = (*{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}, str(Path(__file__).parents[1]))


def load_own_code(code: OwnCode, *, device: torch.device, random_weights: int | None) -> Encoder:
    """Load the encoder that the user's own code names.

    Raises
    ------
    ParameterError
        There is no such file, module or name; the code raises an error (the message names its line); the object is
        neither an encoder nor a torch module; or random weights are asked for and cannot be made.
    """
    check_own_code(code)
    with importing(Path.cwd() if code.file is None else code.file.parent):
        with _running(code):
            module = importlib.import_module(code.source) if code.file is None else _executed(code.file)
        thing = _found(code, module)
        own_control = False
        if not isinstance(thing, (Encoder, nn.Module)):
            options = {"device": device, "random_weights": random_weights}
            taken = _taken(code, thing)
            own_control = "random_weights" in taken
            with _running(code):
                thing = thing(**{name: options[name] for name in options if name in taken})
    if not isinstance(thing, (Encoder, nn.Module)):
        expected = f"an Encoder or a torch module, or what gives one: {code.name} gives {_kind(thing)}"
        raise ParameterError("name_or_path", code.text, expected)
    encoder = load_object(thing, device=device, random_weights=None if own_control else random_weights)
    check_fingerprint(encoder)
    encoder.fingerprint = fingerprint(encoder.fingerprint, code.name, _print(module))
    mark = f"-random{random_weights}"
    if random_weights is not None and not encoder.name.endswith(mark):
        encoder.name += mark
    return encoder


def load_object(thing: Encoder | nn.Module, *, device: torch.device | None, random_weights: int | None) -> Encoder:
    """Return an encoder for an encoder or a torch module; only a module is moved to ``device``.

    Raises
    ------
    ParameterError
        An attribute is missing or wrong, or random weights are asked for and the encoder holds no torch module.
    """
    if not isinstance(thing, Encoder):
        return encoder_from(thing, device="auto" if device is None else device, random_weights=random_weights)
    check_encoder(thing)
    if random_weights is None:
        return thing
    if isinstance(thing, ModuleEncoder):
        return thing.untrained(random_weights)
    return _untrained(thing, random_weights)


def _untrained(encoder: Encoder, seed: int) -> Encoder:
    """Return a copy of an encoder whose torch modules have new random weights."""
    parts = {name: value for name, value in vars(encoder).items() if isinstance(value, nn.Module)}
    if isinstance(encoder, nn.Module):
        parts = {"": encoder}
    if not parts:
        expected = f"None: {type(encoder).__name__} holds no torch module that could be reset; load it with"
        way = "a function that takes random_weights and gives the untrained encoder"
        raise ParameterError("random_weights", seed, f"{expected} {way}")
    try:
        control = copy.deepcopy(encoder)
    except Exception as error:  # whatever it holds
        raise ParameterError("random_weights", seed, f"None: the encoder cannot be copied ({error})") from error
    weights = {}
    for name in parts:
        part = getattr(control, name) if name else control
        reset(part.cpu(), seed)
        part.eval().requires_grad_(False).to(encoder.device)
        weights |= {f"{name}.{key}": value for key, value in part.named_parameters()}
    control.name = f"{encoder.name}-random{seed}"
    control.fingerprint = fingerprint(getattr(encoder, "fingerprint", ""), "random", seed, weights=weights)
    control.recipe = None
    return control


@contextlib.contextmanager
def _running(code: OwnCode) -> Iterator[None]:
    """Turn an error in the user's code into a ParameterError that names the user's line."""
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
        where = f"{frames[-1].filename}, line {frames[-1].lineno}: " if frames else ""
        if isinstance(error, SyntaxError) and error.filename:
            where = f"{error.filename}, line {error.lineno}: "
        reason = f"{where}{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ParameterError("name_or_path", code.text, f"code that runs: {reason}") from error


def _is_own(file: str) -> bool:
    return not file.startswith((*_PACKAGES, "<"))


def _executed(file: Path) -> ModuleType:
    """Run a file as a module whose name depends only on the file's name."""
    name = f"own_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # where pickle and dataclasses look
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
        raise
    with contextlib.suppress(ImportError):  # workers of a cluster have no module of this name
        import cloudpickle

        cloudpickle.register_pickle_by_value(module)
    return module


def _found(code: OwnCode, module: ModuleType) -> object:
    thing: object = module
    for part in code.name.split("."):
        if not hasattr(thing, part):
            raise no_name(code, vars(module))
        thing = getattr(thing, part)
    return thing


def _taken(code: OwnCode, thing: object) -> set[str]:
    """Return the names of a callable's arguments; none may be required besides ``device`` and ``random_weights``."""
    if not callable(thing):
        expected = f"an Encoder or a torch module, or what gives one: {code.name} is {_kind(thing)}"
        raise ParameterError("name_or_path", code.text, expected)
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return set()
    needed = [each.name for each in parameters if each.default is each.empty and each.kind in (0, 1, 3)]
    if wrong := [name for name in needed if name not in ("device", "random_weights")]:
        expected = f"what can be called without {', '.join(wrong)}: give them defaults"
        raise ParameterError("name_or_path", code.text, f"{expected} (device and random_weights are passed)")
    return {each.name for each in parameters if each.kind in (1, 3)}


def _kind(thing: object) -> str:
    return "None" if thing is None else f"something of type {type(thing).__name__}"


def _print(module: ModuleType) -> str:
    """Return a hash of the content of a module's file; "" if it has none."""
    file = getattr(module, "__file__", None)
    if file is None or not os.path.isfile(file):
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
