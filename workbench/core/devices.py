"""Choose the device on which tensors are computed, by one rule for every argument ``device``."""

from __future__ import annotations

import torch

from .errors import ParameterError
from .warn import warn


def all_devices(device: str | torch.device) -> list[torch.device]:
    """Return all devices that may be used: for "auto" and "cuda" all GPUs that this process sees, else one device.

    Raises
    ------
    ParameterError
        As for :func:`chosen_device`.
    """
    chosen = chosen_device(device)
    if chosen.type != "cuda" or chosen.index is not None:
        return [chosen]
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]


def chosen_device(device: str | torch.device, *, float64: bool = False) -> torch.device:
    """Return the device that a caller asks for, or with "auto" the best available one.

    Parameters
    ----------
    device : str or torch.device
        "auto" (cuda if available, else mps, else cpu), "cpu", "cuda", "cuda:<number>" or "mps".
    float64 : bool
        Whether the computation needs float64, which mps does not have. It is then done on the CPU instead of mps, with
        a warning if mps was asked for by name.

    Raises
    ------
    ParameterError
        The value is none of these, or the device is not available.
    """
    expected = "'auto', 'cpu', 'cuda', 'cuda:<number>' or 'mps'"
    if not isinstance(device, (str, torch.device)):
        raise ParameterError("device", device, expected)
    if auto := str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ParameterError("device", device, expected) from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise ParameterError("device", str(device), expected)
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}[chosen.type]
    if (chosen.index or 0) >= there:
        raise ParameterError("device", str(device), f"one that is there: torch sees {there} {chosen.type} device(s)")
    if float64 and chosen.type == "mps":
        if not auto:
            warn("device='mps' has no numbers of 64 bits, which this needs: done on the CPU")
        return torch.device("cpu")
    return chosen
