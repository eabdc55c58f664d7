"""Write and read files of trained models: tensors with a record of plain values, and checkpoints of trainings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ParameterError, WeightsError
from .files import replacing

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as one safetensors file, completely or not at all; its folder is made if it does not exist."""
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:  # by name, as large tensors would be in memory twice as bytes
        save_file(whole, str(file.name), metadata=dict(metadata or {}))


def write_record(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Path:
    """Write tensors and a record of JSON values as one safetensors file, completely or not at all."""
    write_tensors(path, tensors, {"record": json.dumps(record)})
    return path


def read_record(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the record that :func:`write_record` wrote.

    Raises
    ------
    WeightsError
        The file does not exist or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "{}"))
            if not isinstance(record, dict):
                raise WeightsError(f"{path}: its record is a {type(record).__name__}, not fields by name")
            return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"cannot read {path}: {error}") from error


def write_checkpoint(path: str | os.PathLike, state: Mapping[str, Any]) -> None:
    """Write the state of a training, completely or not at all.

    Raises
    ------
    ParameterError
        The file cannot be written.
    """
    import torch

    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            torch.save(dict(state), file)
    except (OSError, RuntimeError) as error:  # torch reports a full or missing disk as RuntimeError
        raise ParameterError("checkpoint", str(path), f"a file that can be written ({error})") from error


def read_checkpoint(path: str | os.PathLike, identity: str) -> dict[str, Any]:
    """Read what :func:`write_checkpoint` wrote, if its ``identity`` is that of this training.

    Raises
    ------
    ParameterError
        The file is damaged, or is the checkpoint of another training.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        stored_identity = state["identity"]
    except Exception as error:  # a damaged zip or pickle raises nearly anything
        reason = (str(error).splitlines() or [""])[0]
        expected = f"a checkpoint of this training, or a file that is not there ({type(error).__name__}: {reason})"
        raise ParameterError("checkpoint", str(path), expected) from error
    if stored_identity != identity:
        raise ParameterError("checkpoint", str(path), "of the same data, config and seed, or a file that is not there")
    return state
