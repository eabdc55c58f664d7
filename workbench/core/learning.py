"""What all trainings share: settings checked at the door, losses that run away, a word when nothing was learnt."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .checks import check_fields, number, seed, whole
from .errors import ParameterError, WeightsError
from .warn import warn

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Learning rates that can mean anything: above the highest, one step of Adam is longer than any sensible weight.
RATES = {"above": 0, "most": 10}
#: A loss has fallen if it lost more than this share of itself.
FALLEN = 1e-4
#: Of the files of trained objects: to be raised when older ones would be read wrongly.
VERSION = 1

Config = TypeVar("Config")


class NothingLearntWarning(UserWarning):
    """A training whose first validation was its best, or whose loss never fell."""


def settle(config: Any, **ranges: Mapping[str, float]) -> None:
    """Check a frozen dataclass of settings: kinds by its annotations, then ranges, as :func:`whole` takes them.

    What numpy made becomes plain int, float, bool and str, so that it is saved and compared as any other setting.
    """
    check_fields(config)
    for field in dataclasses.fields(config):
        if isinstance(value := getattr(config, field.name), np.generic):
            object.__setattr__(config, field.name, value.item())
    kinds = {field.name: field.type for field in dataclasses.fields(config)}
    for name, limits in ranges.items():
        if (value := getattr(config, name)) is not None:
            check = number if "float" in kinds[name] else whole
            object.__setattr__(config, name, check(name, value, **limits))


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


def check_loss(loss: float, learning_rate: float, where: str) -> None:
    """Raise a ParameterError if a loss is NaN or infinite; ``where`` is "epoch 3"."""
    if not math.isfinite(loss):
        raise ParameterError("learning_rate", learning_rate, f"lower: the loss is {loss} in {where}")


def unlearnt(losses: Sequence[float], kept: int | None = None, *, of: str = "epochs") -> str | None:
    """Why a training learnt nothing after its first epoch, as the end of a sentence, or None.

    Parameters
    ----------
    losses : sequence of float
        Training loss of each epoch, or between validations.
    kept : int, optional
        Place of the one kept, where it was chosen on validation.
    of : str
        What these are counted in.
    """
    if len(losses) < 2:
        return None
    if kept == 0:
        return f"the first of {len(losses)} {of} is the best on the validation part"
    if losses[0] - min(losses[1:]) <= FALLEN * abs(losses[0]):
        return f"its loss never fell below the {losses[0]:.3g} of the first of {len(losses)} {of}"
    return None


def warn_unlearnt(what: str, reason: str | None, settings: str = "") -> None:
    """Say that nothing was learnt, if there is a reason; the default level is the caller of a decorated fit."""
    if reason is not None:
        shown = f" ({settings})" if settings else ""
        warn(f"{what} learnt nothing more: {reason}{shown}", NothingLearntWarning)


def restored(path: object, record: Mapping[str, Any], key: str, kind: type[Config], *, what: str) -> Config:
    """The settings that a saved file holds as ``record[key]``, field by field.

    Raises
    ------
    WeightsError
        A file of something else, of a later version (:data:`VERSION`), or whose fields are not all of those known
        here: what is unknown or left out could change the numbers.
    """
    fields = record.get(key)
    if not isinstance(fields, Mapping):
        raise WeightsError(f"{path}: holds no {what} of this package (no {key!r} in it)")
    if (version := record.get("version", 1)) != VERSION:
        raise WeightsError(f"{path}: of version {version!r} of such files; this package reads version {VERSION}")
    known = {field.name for field in dataclasses.fields(kind)}
    for wrong, names in (("unknown", set(fields) - known), ("missing", known - set(fields))):
        if names:
            raise WeightsError(f"{path}: of another version of this package ({wrong}: {', '.join(sorted(names))})")
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its {key} is not usable ({error})") from error


def load_weights(path: object, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module the tensors of a file: every one that it has, no other, of its shape and finite.

    Raises
    ------
    WeightsError
        How many are missing, left over, misshapen or not finite, and the first of them.
    """
    own = module.state_dict()
    wrong = {
        "missing": [name for name in own if name not in tensors],
        "left over": [name for name in tensors if name not in own],
        "of another shape": [name for name in own if name in tensors and own[name].shape != tensors[name].shape],
        "not finite": [name for name, values in tensors.items() if not values.isfinite().all()],
    }
    listed = [f"{len(names)} {how}, such as {names[0]}" for how, names in wrong.items() if names]
    if listed:
        raise WeightsError(f"{path}: its weights do not fit its settings: {'; '.join(listed)}")
    module.load_state_dict(dict(tensors))


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
