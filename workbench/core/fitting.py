"""The training loop, settings and files that all trained models of this package share.

:class:`Config` is the base class of a method's settings. :func:`train` is the loop, with validation, selection of the
best weights, checks of the loss, history, progress and checkpoints. :func:`write_fitted` and :func:`read_fitted` write
and read the folder of a trained object.
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

#: Range of learning rates; with a higher one, a single step of Adam is larger than any sensible weight.
RATES = {"above": 0, "most": 10}
#: Smallest relative decrease of a loss that counts as learning.
FALLEN = 1e-4
#: Version of the files of trained objects, which is increased when older files would be read wrongly.
VERSION = 1

Settings = TypeVar("Settings")


class NothingLearntWarning(UserWarning):
    """The first validation of a training was its best, or its loss never fell."""


@dataclass(frozen=True)
class Config:
    """Settings of a method, a frozen dataclass whose fields are checked by their annotations.

    A subclass lists in :attr:`PRESETS` the fields that its named presets change. "paper" has the settings of the
    method's paper, and "default" changes no field.
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {}

    def __post_init__(self):
        settle(self)

    @classmethod
    def named(cls, config: Config | str | None = "default", **fields: object) -> Self:
        """Return settings given as an object, by the name of a preset, or None for the default, with fields changed.

        Raises
        ------
        ParameterError
            The settings are something else, the preset or a field does not exist, or a field has a wrong value.
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
    """Check a frozen dataclass of settings: types by its annotations, and ranges with arguments of :func:`whole`.

    Scalars of numpy become plain int, float, bool and str, so that they are saved and compared like other settings.
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
    """Seed torch's global generator, from which weights and dropout are drawn, within a block; then restore it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Use so many threads within a block; for steps of microseconds, the synchronisation of threads costs more."""
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
        ``epoch(i)`` trains once through the data, or for the steps between two validations, and returns columns of the
        history, among them the loss.
    epochs : int
        Largest number of epochs.
    module : nn.Module
        The module to train, whose ``state_dict`` is kept. It is in eval mode during ``validate`` and at the end.
    optimizer : torch.optim.Optimizer
    validate : callable, optional
        Function that returns further columns, measured after each epoch.
    score : callable, optional
        Function of a row of the history; the weights with the highest score are kept (the first of equal ones). By
        default those of the last epoch are kept.
    patience : int, optional
        Stop after so many epochs without a better score.
    loss : str or callable
        Column, or function of a row, that must decrease; otherwise nothing was learnt.
    learning_rate : float
        Learning rate, which the error names if the loss diverges.
    name : str
        Name of what is trained, for messages.
    state : mapping of str to object with ``state_dict`` and ``load_state_dict``, optional
        Other objects that change during training, such as a schedule; they are kept in checkpoints.
    generators : sequence of numpy.random.Generator
        Generators used during training; they are kept in checkpoints, as torch's own are.
    checkpoint : path, optional
        File to which the state is written after every epoch. If it exists, the training continues from it, with the
        same result as without an interruption.
    identity : callable, optional
        Function that returns a hash of everything that determines the numbers, by which the checkpoint of another
        training is refused.
    unit : str
        Word for an epoch, in messages and as a column of the history.
    progress : bool or callable (done, total)

    Returns
    -------
    history : pandas.DataFrame
        One row for each epoch, with its number in the column `unit`, and the columns of ``epoch`` and ``validate``.
    kept : int
        Row of the history, counted from 0, whose weights the module has.

    Raises
    ------
    ParameterError
        A column of ``epoch`` is not finite, or the checkpoint is of another training.

    Warns
    -----
    NothingLearntWarning
        The first of several epochs was the best, or the loss never fell.
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
    if len(rows) < epochs:  # stopped early: complete the bar
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
    """Return why a training learnt nothing after its first epoch, as the end of a sentence, or None.

    Parameters
    ----------
    losses : sequence of float
        Training loss of each epoch.
    kept : int, optional
        Number of the epoch that was kept, if it was chosen on the validation part.
    of : str
        Plural of the word for an epoch.
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
    """Write a trained object to a folder: its tensors as a safetensors file, everything else as ``fitted.json``.

    Parameters
    ----------
    folder : path
        Folder, which is made if it does not exist; a trained object in it is replaced.
    kind : str
        Kind of the object, such as the name of its class.
    tensors : mapping of str to Tensor
    record : mapping
        Values that JSON can represent; dataclasses, arrays and tables are written as mappings and lists.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    WeightsError
        The folder cannot be written to; a trained object that was in it is kept.
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
        The folder does not exist, is damaged, or holds something else.
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
    """Turn errors in the use of a record of :func:`read_fitted` into an error that names its folder.

    Raises
    ------
    WeightsError
        Raised in place of a KeyError, TypeError, ValueError or IndexError within the block.
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
    """Return the settings that a saved file has as ``record[key]``, field by field.

    Raises
    ------
    WeightsError
        The file holds something else, is of another version (:data:`VERSION`), or has other fields than the settings of
        this package, as an unknown or missing field could change the numbers.
    """
    fields = record.get(key)
    if not isinstance(fields, Mapping):
        raise WeightsError(f"{path}: holds no {what} of this package (no {key!r} in it)")
    if (version := record.get("version", 1)) != VERSION:
        raise WeightsError(f"{path}: is a file of version {version!r}; this package reads version {VERSION}")
    known = {field.name for field in dataclasses.fields(kind)}
    for wrong, names in (("unknown", set(fields) - known), ("missing", known - set(fields))):
        if names:
            raise WeightsError(f"{path}: of another version of this package ({wrong}: {', '.join(sorted(names))})")
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its {key} is not usable ({error})") from error


def new_module(network: object) -> nn.Module:
    """Return a copy of a torch module, or the module that a callable makes.

    Raises
    ------
    ParameterError
        The argument is neither, or the callable makes something else.
    """
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    module = network() if callable(network) else network
    if not isinstance(module, nn.Module):
        name = module if module is network else type(module).__name__
        raise ParameterError("network", name, "a torch module, or a callable that makes one")
    return module


def load_weights(path: object, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors of a file into a module, whose names and shapes they must have exactly.

    Raises
    ------
    WeightsError
        Tensors are missing, left over, of another shape or not finite; the error says how many, and names the first.
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
