"""Hash everything that determines a model's numbers into a short fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from .errors import ParameterError


def fingerprint(*parts: object, weights: dict[str, Tensor] | None = None) -> str:
    """Return a hash of a model's weights and of everything else that changes its numbers.

    Parameters
    ----------
    *parts : object
        Plain values (str, int, float, or tuples of them), such as family, code version, padding policy and dtype.
    weights : dict of str to Tensor, optional
        A state dict, of which names, shapes, dtypes and bytes are hashed.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    weights = {} if weights is None else weights
    if not isinstance(weights, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    ):
        raise ParameterError("weights", type(weights).__name__, "a state dict: names and tensors")
    digest = hashlib.sha256(repr(parts).encode())
    for key in sorted(weights):
        tensor = weights[key].detach().cpu().contiguous()
        digest.update(f"{key}|{tuple(tensor.shape)}|{tensor.dtype}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()[:16]
