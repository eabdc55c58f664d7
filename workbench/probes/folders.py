"""Save fitted probes to a folder and load them: arrays are stored as tensors, the other fields as text."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ..core.fitting import read_fitted, reading, write_fitted

Result = TypeVar("Result")


def write(folder: str | Path, probes: object) -> Path:
    """Write all fields of a result to a folder (:func:`~workbench.core.fitting.write_fitted`)."""
    tensors, record = {}, {}
    weights = {f"weights.{i}": layer for i, layer in enumerate(probes.weights)}
    for name, value in (vars(probes) | weights).items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            tensors[name] = torch.from_numpy(np.ascontiguousarray(value))
        elif name != "weights":
            record[name] = value
    return write_fitted(folder, type(probes).__name__, tensors, record)


def read(folder: str | Path, kind: type[Result]) -> Result:
    """Read a result that :func:`write` wrote.

    Raises
    ------
    WeightsError
        If the folder does not exist, is damaged, or holds something else.
    """
    tensors, record = read_fitted(folder, kind.__name__)
    given = {name: tensor.numpy() for name, tensor in tensors.items()}
    with reading(folder, "probes"):
        given["weights"] = tuple(given.pop(f"weights.{i}") for i in range(len(record["names"])))
        for field in fields(kind):
            if field.name not in given:
                value = record[field.name]
                arrays = "ndarray" in field.type  # arrays of text
                given[field.name] = (np.array if arrays else tuple)(value) if isinstance(value, list) else value
        return kind(**given)
