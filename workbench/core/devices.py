"""Where tensors are computed: one rule for every ``device=``."""

from __future__ import annotations

import torch

from .errors import ParameterError
from .warn import warn


def all_devices(device: str | torch.device) -> list[torch.device]:
    """Every device that a caller's words allow: of "auto" and "cuda" all GPUs that this process sees; else one.

    Raises
    ------
    ParameterError
        As :func:`chosen_device`.
    """
    chosen = chosen_device(device)
    if chosen.type != "cuda" or chosen.index is not None:
        return [chosen]
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]


def chosen_device(device: str | torch.device, *, float64: bool = False) -> torch.device:
    """The device that a caller asks for, or the best one there is.

    Parameters
    ----------
    device : str or torch.device
        "auto" takes cuda, then mps, then cpu; else "cpu", "cuda", "cuda:<number>" or "mps".
    float64 : bool
        The computation needs numbers of 64 bits, which mps has not: it is done on the CPU instead, with a warning where
        mps was asked for.

    Raises
    ------
    ParameterError
        None of these, or a device that is not there.
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
