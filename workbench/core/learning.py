"""In transition: see :mod:`.fitting` and :mod:`.study`."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from .checks import seed
from .errors import ParameterError
from .fitting import *  # noqa: F403
from .fitting import (  # noqa: F401
    FALLEN,
    RATES,
    VERSION,
    NothingLearntWarning,
    check_loss,
    load_weights,
    restored,
    settle,
    unlearnt,
    warn_unlearnt,
)
from .warn import warn

Config = TypeVar("Config")


def configured(kind: type[Config], config: Config | str | None, fields: Mapping[str, object]) -> Config:
    """Settings of one kind from what a caller gave: an object, the name of a preset, or None, with fields changed.

    Raises
    ------
    ParameterError
        Something else, a preset or field that does not exist, or a value that a field does not admit.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    if unknown := [name for name in fields if name not in known]:
        raise ParameterError(unknown[0], fields[unknown[0]], f"left out: {kind.__name__} has {known}")
    if config is None:
        return kind(**fields)
    if isinstance(config, str) and hasattr(kind, "preset"):
        return kind.preset(config, **fields)
    if not isinstance(config, kind):
        named = " or the name of one of its presets" if hasattr(kind, "preset") else ""
        raise ParameterError("config", config, f"a {kind.__name__}{named}")
    return dataclasses.replace(config, **fields)


class Gathered:
    """What many runs warn of: each text is said once, and of those that learnt nothing how many there are."""

    def __init__(self) -> None:
        self.said: set[str] = set()
        self.unlearnt: list[str] = []

    @contextlib.contextmanager
    def run(self, name: str) -> Iterator[None]:
        """Around one run, which is called ``name`` in messages."""
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            yield
        for one in seen:
            text = str(one.message)
            if issubclass(one.category, NothingLearntWarning):
                self.unlearnt.append(name)
            elif text not in self.said:
                self.said.add(text)
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

    def finish(self, what: str, total: int) -> None:
        """Say how many of ``total`` runs learnt nothing, and which."""
        if names := list(dict.fromkeys(self.unlearnt)):
            few = "; ".join(names[:3]) + ("; ..." if len(names) > 3 else "")
            text = f"{what}: {len(names)} of {total} runs learnt nothing after their first epoch or validation: {few}"
            warn(text, NothingLearntWarning)


def to_run(**given: object) -> list:
    """What a study is to go through: mappings as they are, lists as lists, ``seeds`` and the like checked; none empty.

    Raises
    ------
    ParameterError
        Nothing there, or no mapping or list where there should be one.
    """
    found = []
    for name, several_of in given.items():
        mapping = name in ("losses", "models", "systems")
        if mapping and not isinstance(several_of, Mapping):
            raise ParameterError(name, several_of, "a mapping of names")
        if not mapping and (isinstance(several_of, (str, bytes, Mapping)) or not isinstance(several_of, Iterable)):
            raise ParameterError(name, several_of, "a list")
        runs = several_of if mapping else list(several_of)
        if not len(runs):
            raise ParameterError(name, several_of, "at least one")
        found.append([seed(each, f"{name}[{i}]") for i, each in enumerate(runs)] if name == "seeds" else runs)
    return found
