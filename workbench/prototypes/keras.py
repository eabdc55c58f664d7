"""Read the weights of a published APNet, an HDF5 file that Keras 2 wrote, as those of :class:`~.apnet.APNetwork`.

Keras writes a group for each layer, with the names of its weights in order as the attribute ``weight_names``. An APNet
has the layers encoder (with conv1 to conv3), decoder (deconv1 to deconv3), prototype_distances, mean and logits. Its
arrays have the channels last: kernels (5, 5, in, out), those of transposed convolutions (5, 5, out, in), prototypes
(M, T/4, F/4, C), the weights of frequencies (M, F/4), and the last layer (M, classes).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.dependencies import load
from ..core.errors import WeightsError

_LAYERS = {
    **{f"conv{i + 1}": f"encoder.{i}" for i in range(3)},
    **{f"deconv{i + 1}": f"decoder.{i}" for i in range(3)},
}
_OTHERS = {"prototype_distances": "prototypes", "mean": "frequency_weights", "logits": "dense"}
_ORDER = {"prototypes": (0, 3, 1, 2), "frequency_weights": (0, 1), "dense": (1, 0)}
"""Axes of Keras' array in the order of ours."""


def keras_tensors(path: Path | str) -> dict[str, Tensor]:
    """Return the weights of a published APNet by our names and in our order of axes, float32.

    Parameters
    ----------
    path : path
        File of ``model.save_weights`` or ``model.save``; nothing in it is run.

    Raises
    ------
    DependencyError
        If h5py is not installed.
    WeightsError
        If the file is missing or no HDF5 file, lacks layers of an APNet, or holds arrays that do not fit each other;
        the error names them.
    """
    path = Path(path).expanduser()
    h5py = load("h5py")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected an HDF5 file of Keras with the weights of an APNet")
    try:
        with h5py.File(path, "r") as file:
            arrays = _arrays(file.get("model_weights", file))
    except (OSError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable HDF5 file of Keras ({' '.join(str(error).split())})") from error
    places = [f"{place}.{part}" for place in _LAYERS.values() for part in ("weight", "bias")] + list(_ORDER)
    if missing := [place for place in places if place not in arrays]:
        found = f"it has {', '.join(sorted(arrays))}" if arrays else "it has no layer of an APNet"
        raise WeightsError(f"{path}: no APNet of Keras: {', '.join(missing)} are missing; {found}")
    state = {}
    for name in places:
        order = _ORDER.get(name, (3, 2, 0, 1) if name.endswith("weight") else (0,))
        if arrays[name].ndim != len(order):
            raise WeightsError(f"{path}: {name} is of shape {arrays[name].shape}; {len(order)} axes are expected")
        if not np.isfinite(arrays[name]).all():
            raise WeightsError(f"{path}: {name} holds NaN or infinity")
        state[name] = torch.from_numpy(np.ascontiguousarray(arrays[name].transpose(order), dtype=np.float32))
    _agree(path, state)
    return state


def _arrays(groups) -> dict[str, np.ndarray]:
    """Return the arrays of the layers of an APNet by our names, with Keras' axes."""
    arrays = {}
    for layer, group in groups.items():
        for name in group.attrs.get("weight_names", ()):
            name = name.decode() if isinstance(name, bytes) else str(name)
            inner, _, kind = name.rpartition("/")
            inner = re.sub(r"_\d+$", "", inner.rpartition("/")[2])  # a model that is built twice counts its layers
            if inner in _LAYERS:
                part = "weight" if kind.startswith("kernel") else "bias"
                arrays[f"{_LAYERS[inner]}.{part}"] = np.asarray(group[name])
            elif layer in _OTHERS:
                arrays[_OTHERS[layer]] = np.asarray(group[name])
    return arrays


def _agree(path: Path, state: dict[str, Tensor]) -> None:
    """Raise an error if the arrays are not those of one network with C channels everywhere."""
    number, c, _, f = state["prototypes"].shape
    expected = {"frequency_weights": (number, f), "dense": (state["dense"].shape[0], number)}
    for i, (before, after) in enumerate(((1, c), (c, c), (c, c))):
        expected |= {f"encoder.{i}.weight": (after, before, 5, 5), f"encoder.{i}.bias": (after,)}
    for i, after in enumerate((c, c, 1)):
        expected |= {f"decoder.{i}.weight": (c, after, 5, 5), f"decoder.{i}.bias": (after,)}
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise WeightsError(
                f"{path}: {name} is of shape {tuple(state[name].shape)}, but {shape} is what goes with prototypes of "
                f"shape {tuple(state['prototypes'].shape)}"
            )
