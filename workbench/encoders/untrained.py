"""Give any torch module new random weights from a seed, as an untrained control."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..core.errors import ParameterError


def reset(module: nn.Module, seed: int) -> dict[str, int]:
    """Give a module new random weights, in place and on the CPU, without changing torch's global random state.

    ``reset_parameters`` is called on every sub-module that has it, the innermost first. Parameters that no reset has
    changed (those made by hand in ``__init__``, or by ``weight_norm``) are permuted within themselves, unless all their
    numbers are equal. Buffers such as filter banks and windows are kept; resets may change running statistics.

    Parameters
    ----------
    module : nn.Module
    seed : int

    Returns
    -------
    dict of str to int
        Number of parameters that were "reset", that were "permuted", and that are unchanged because they are
        "constant".

    Raises
    ------
    ParameterError
        A ``reset_parameters`` fails, or the module has no weights that could be made random.
    """
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    counts = {"reset": 0, "permuted": 0, "constant": 0}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for name, part in reversed(list(module.named_modules())):
            if (renew := _renewal(part)) is not None:
                try:
                    renew()
                except Exception as error:  # another's code may raise anything
                    expected = (
                        f"None: {type(part).__name__}.reset_parameters() fails at {name or 'the module'} ({error})"
                    )
                    raise ParameterError("random_weights", seed, expected) from error
        generator = torch.Generator().manual_seed(seed)
        for name, value in module.named_parameters():
            counts[_drawn(value, before.get(name), generator)] += 1
    if not counts["reset"] and not counts["permuted"]:
        raise ParameterError("random_weights", seed, f"None: {type(module).__name__} has no weights to draw anew")
    return counts


def _renewal(part: nn.Module) -> Callable[[], object] | None:
    """Return a sub-module's reset function; that of torch's attention and Transformer begins with an underscore."""
    own = getattr(part, "reset_parameters", None)
    if own is None and isinstance(part, (nn.MultiheadAttention, nn.Transformer)):
        own = part._reset_parameters
    return own if callable(own) else None


def _drawn(value: Tensor, before: Tensor | None, generator: torch.Generator) -> str:
    """Permute a parameter that no reset has changed, and return what became of it."""
    if before is None or value.shape != before.shape or not torch.equal(value, before):
        return "reset"
    flat = value.flatten()
    if not flat.numel() or bool((flat == flat[0]).all()):
        return "constant"
    value.copy_(flat[torch.randperm(flat.numel(), generator=generator)].view_as(value))
    return "permuted"
