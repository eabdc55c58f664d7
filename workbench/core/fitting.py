"""What all trainings share: settings with names, one loop, a word when nothing was learnt, and files.

:class:`Config` is the base of a method's settings, :func:`train` the loop (validation, the best weights, losses that
run away, history, progress, checkpoints), :func:`write_fitted` and :func:`read_fitted` the folder of a trained object.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .checks import check_fields, choice, number, whole
from .errors import ParameterError, WeightsError
from .files import write_whole
from .fingerprints import fingerprint
from .progress import Progress, reporter
from .saving import read_checkpoint, read_record, write_checkpoint, write_tensors
from .warn import warn

if TYPE_CHECKING:
    import pandas as pd

#: Learning rates that can mean anything: above the highest, one step of Adam is longer than any sensible weight.
RATES = {"above": 0, "most": 10}
#: A loss has fallen if it lost more than this share of itself.
FALLEN = 1e-4
#: Of the files of trained objects: to be raised when older ones would be read wrongly.
VERSION = 1

Settings = TypeVar("Settings")


class NothingLearntWarning(UserWarning):
    """A training whose first validation was its best, or whose loss never fell."""


@dataclass(frozen=True)
class Config:
    """Settings of a method: a frozen dataclass whose fields are checked by their annotations.

    A subclass lists in :attr:`PRESETS` the fields that its named settings change; "paper" is that of the method's
    paper and "default" changes none.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {}

    def __post_init__(self):
        settle(self)

    @classmethod
    def named(cls, config: Config | str | None = "default", **fields: object) -> Self:
        """Return settings from an object, the name of a preset, or None for the default, with some fields changed.

        Raises
        ------
        ParameterError
            Something else, a preset or field that does not exist, or a value that a field does not admit.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in fields if name not in known]:
            raise ParameterError(unknown[0], fields[unknown[0]], f"left out: {cls.__name__} has {known}")
        if isinstance(config, str):
            presets = {"default": {}, **cls.PRESETS}
            return cls(**{**presets[choice("config", config, presets)], **fields})
        if config is None:
            return cls(**fields)
        if not isinstance(config, cls):
            raise ParameterError("config", config, f"a {cls.__name__} or the name of one of its presets")
        return dataclasses.replace(config, **fields)


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


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generator, which weights and dropout draw from, within a block; outside it goes on as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on so many threads within a block: where steps take microseconds, waiting for each other costs more."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    epoch: Callable[[int], Mapping[str, float]],
    epochs: int,
    *,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    validate: Callable[[], Mapping[str, float]] | None = None,
    score: Callable[[Mapping[str, float]], float | tuple[float, ...]] | None = None,
    patience: int | None = None,
    loss: str | Callable[[Mapping[str, float]], float] = "loss",
    learning_rate: float,
    name: str,
    state: Mapping[str, Any] | None = None,
    generators: Sequence[np.random.Generator] = (),
    checkpoint: str | os.PathLike | None = None,
    identity: Callable[[], str] | None = None,
    unit: str = "epoch",
    progress: Progress | bool | None = True,
) -> tuple[pd.DataFrame, int]:
    """Run a training to its end and leave the best weights in its module.

    Parameters
    ----------
    epoch : callable
        ``epoch(i)`` trains once through the data, or for as many steps as lie between two validations, and gives the
        columns of the history, among them the loss.
    epochs : int
        How often at most.
    module : nn.Module
        What is trained; its ``state_dict`` is what is kept. It is in eval mode for ``validate`` and at the end.
    optimizer : torch.optim.Optimizer
    validate : callable, optional
        Gives more columns, measured after an epoch.
    score : callable, optional
        What is to be highest, of a row of the history; the first of equals is kept. None keeps the last epoch.
    patience : int, optional
        Stop after so many epochs without a better score.
    loss : str or callable
        The column, or what of a row, that must fall for anything to have been learnt.
    learning_rate : float
        Named where the loss runs away.
    name : str
        What is trained, for messages.
    state : mapping of str to object with ``state_dict`` and ``load_state_dict``, optional
        What else changes while it trains, such as a schedule; kept in checkpoints.
    generators : sequence of numpy.random.Generator
        What is drawn from while it trains; kept in checkpoints, as torch's own generators are.
    checkpoint : path, optional
        File to which the state is written after every epoch; a training that finds it goes on from there, with the
        same result as if it had not been stopped.
    identity : callable, optional
        Gives a hash of all that decides the numbers: the checkpoint of another training is refused.
    unit : str
        What an epoch is called.
    progress : bool or callable (done, total)

    Returns
    -------
    history : pandas.DataFrame
        Row an epoch, columns epoch and those of ``epoch`` and ``validate``.
    kept : int
        Row of the history whose weights the module has, 0 first.

    Raises
    ------
    ParameterError
        A column of ``epoch`` that is not finite, or the checkpoint of another training.

    Warns
    -----
    NothingLearntWarning
        The first epoch was the best of several, or the loss never fell.
    """
    import pandas as pd

    stateful = {"module": module, "optimizer": optimizer, **(state or {})}
    rows, best, mark = [], None, None if checkpoint is None or identity is None else identity()
    device = next(module.parameters()).device
    if checkpoint is not None and Path(checkpoint).exists():
        saved = read_checkpoint(checkpoint, mark)
        for key, item in stateful.items():
            item.load_state_dict(saved[key])
        for generator, position in zip(generators, saved["generators"], strict=True):
            generator.bit_generator.state = position
        torch.set_rng_state(saved["torch"])
        if device.type == "cuda" and "cuda" in saved:
            torch.cuda.set_rng_state(saved["cuda"], device)
        rows, best = saved["history"], saved["best"]
    report = reporter(progress, name)
    report(len(rows), epochs)
    while len(rows) < epochs and not (patience and best and len(rows) - 1 - best["row"] >= patience):
        module.train()
        row = {unit: len(rows), **epoch(len(rows))}
        if bad := [key for key, value in row.items() if not math.isfinite(value)]:
            expected = f"lower: {bad[0]} is {row[bad[0]]} in {unit} {len(rows)}"
            raise ParameterError("learning_rate", learning_rate, expected)
        module.eval()
        if validate is not None:
            row |= validate()
        rows.append(row)
        if score is not None and (best is None or score(row) > best["score"]):
            weights = {key: values.detach().clone() for key, values in module.state_dict().items()}
            best = {"score": score(row), "row": len(rows) - 1, "weights": weights}
        if checkpoint is not None:
            now = {key: item.state_dict() for key, item in stateful.items()} | {"torch": torch.get_rng_state()}
            if device.type == "cuda":
                now["cuda"] = torch.cuda.get_rng_state(device)
            drawn = [generator.bit_generator.state for generator in generators]
            write_checkpoint(checkpoint, now | {"generators": drawn, "history": rows, "best": best, "identity": mark})
        report(len(rows), epochs)
    if len(rows) < epochs:  # patience ran out: the bar is closed
        report(epochs, epochs)
    if best is not None:
        module.load_state_dict(best["weights"])
    module.eval()
    losses = [row[loss] if isinstance(loss, str) else loss(row) for row in rows]
    if reason := _unlearnt(losses, best and best["row"], of=f"{unit}s"):
        settings = f"learning_rate={learning_rate:g}, {unit}s={epochs}"
        warn(f"{name} learnt nothing more: {reason} ({settings})", NothingLearntWarning)
    return pd.DataFrame(rows), len(rows) - 1 if best is None else best["row"]


def _unlearnt(losses: Sequence[float], kept: int | None = None, *, of: str = "epochs") -> str | None:
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


def write_fitted(
    folder: str | os.PathLike, kind: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> Path:
    """Write a trained object to a folder: one safetensors file, and ``fitted.json`` with all that is not a tensor.

    Parameters
    ----------
    folder : path
        Made where it is missing; a trained object that is there already is replaced.
    kind : str
        What it is, such as the name of its class.
    tensors : mapping of str to Tensor
    record : mapping
        Values that JSON can hold; dataclasses, arrays and tables are written as mappings and lists.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    WeightsError
        The folder cannot be written to; what was there before is still there.
    """
    folder = Path(folder)
    weights = f"weights-{fingerprint(weights=dict(tensors))}.safetensors" if tensors else None
    record = {"kind": kind, "version": VERSION, "weights": weights, **record}
    text = json.dumps(record, default=_plain, indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if weights is not None:
            write_tensors(folder / weights, tensors)
        write_whole(folder / "fitted.json", text.encode())  # from now on the folder is the new object
        for old in folder.glob("weights-*.safetensors"):
            if old.name != weights:
                old.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder}: cannot be written to ({error})") from error
    return folder


def read_fitted(folder: str | os.PathLike, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the record that :func:`write_fitted` wrote; ``record["history"]`` is a table again.

    Raises
    ------
    WeightsError
        No such folder, a damaged one, or one that holds something else.
    """
    import pandas as pd

    folder = Path(folder)
    try:
        record = json.loads((folder / "fitted.json").read_text())
        written_kind, version = record["kind"], record["version"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise WeightsError(f"{folder}: holds no {kind} of this package ({error})") from error
    if (written_kind, version) != (kind, VERSION):
        raise WeightsError(f"{folder}: holds {written_kind} of version {version}, not {kind} of version {VERSION}")
    tensors, weights = {}, record.pop("weights", "")
    if weights is not None:
        weights = Path(str(weights)).name
        tensors, _ = read_record(folder / weights)
        if weights != f"weights-{fingerprint(weights=tensors)}.safetensors":
            raise WeightsError(f"{folder / weights}: damaged: its tensors are not those that were written")
    if "history" in record:
        record["history"] = pd.DataFrame(record["history"])
    return tensors, record


@contextlib.contextmanager
def reading(folder: object, what: str) -> Iterator[None]:
    """Make what goes wrong while a record of :func:`read_fitted` is used a word about the folder that it came from.

    Raises
    ------
    WeightsError
        In place of any KeyError, TypeError, ValueError or IndexError within the block.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder}: holds no {what} that this package can read ({error!r})") from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    if hasattr(value, "to_dict"):
        return value.to_dict("list")
    if hasattr(value, "tolist"):
        return value.tolist()
    raise ParameterError("record", value, "of values that JSON can hold")


def restored(path: object, record: Mapping[str, Any], key: str, kind: type[Settings], *, what: str) -> Settings:
    """Return the settings that a saved file holds as ``record[key]``, field by field.

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


def new_module(network: object) -> nn.Module:
    """Return a copy of a torch module, or what a callable makes.

    Raises
    ------
    ParameterError
        Neither, or a callable that makes something else.
    """
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    module = network() if callable(network) else network
    if not isinstance(module, nn.Module):
        name = module if module is network else type(module).__name__
        raise ParameterError("network", name, "a torch module, or a callable that makes one")
    return module


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
