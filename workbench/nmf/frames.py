"""What comes in: arguments checked, frames given out in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import ParameterError

#: Frames at once, on the CPU and on a GPU.
TILE = {"cpu": 4096, "cuda": 131_072}
BETAS = {"euclidean": 2, "kl": 1, "is": 0}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    if value not in list(choices):
        raise ParameterError(name, value, f"one of {', '.join(choices)}")


def check_sparsity(sparsity: float) -> None:
    if not 0 <= sparsity < float("inf"):
        raise ParameterError("sparsity", sparsity, "finite and at least 0")


def check_values(name: str, x: Tensor, first: int = 0) -> None:
    """x (..., n, F) is finite and non-negative, or an error that names the first row that is not."""
    for what, bad in (("finite", ~torch.isfinite(x)), ("non-negative", x < 0)):
        if bad.any():
            at = int(bad.flatten(0, -3).any(0).any(-1).nonzero()[0]) if x.ndim > 2 else int(bad.any(-1).nonzero()[0])
            raise ParameterError(
                f"{name}[{first + at}]", float(x[..., at, :][bad[..., at, :]][0]), f"{what} everywhere"
            )


def tensor(values: ArrayLike | Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    if not isinstance(values, Tensor):
        values = np.asarray(values)
        values = torch.from_numpy(values if values.flags.writeable else values.copy())
    return values.detach().to(device, dtype)


class Frames:
    """Frames in tiles (B, 1, n, F), the same at every pass: B problems, an axis for restarts, n frames."""

    def __init__(self, source, *, tile: int | None, device: torch.device, dtype: torch.dtype, floor: float):
        self.tile, self.device, self.dtype, self.floor = tile or TILE[device.type], device, dtype, floor
        self.blocks = source if callable(source) else self._one_block(source)
        self.sizes: list[int] = []
        self._survey()

    def _one_block(self, source: ArrayLike | Tensor) -> Callable[[], list]:
        block = source if hasattr(source, "shape") else np.asarray(source)
        shape = tuple(block.shape)
        if len(shape) not in (2, 3) or not np.prod(shape):
            raise ParameterError("frames.shape", shape, "(N, F), or (B, N, F) for B problems at once; not empty")
        size = int(np.prod(shape)) * self.dtype.itemsize
        if self.device.type == "cuda" and size < torch.cuda.mem_get_info(self.device)[0] // 3:
            block = tensor(block, self.device, self.dtype)  # once, not at every pass
        return lambda: [block]

    def _raw(self) -> Iterator[Tensor]:
        for block in self.blocks():
            for first in range(0, block.shape[-2], self.tile):
                x = tensor(block[..., first : first + self.tile, :], self.device, self.dtype)
                yield (x if x.ndim == 3 else x[None])[:, None]

    def __iter__(self) -> Iterator[Tensor]:
        for x in self._raw():
            yield x.clamp(min=self.floor) if self.floor else x

    def _survey(self) -> None:
        """Look at every frame once: sizes of the tiles, bins, and the sum of squares of each problem (B, 1)."""
        total = torch.zeros(1, 1, dtype=torch.float64, device=self.device)
        self.shape = None
        for x in self._raw():
            self.shape = self.shape or (x.shape[0], x.shape[-1])
            if (x.shape[0], x.shape[-1]) != self.shape:
                raise ParameterError("frames.shape", tuple(x.shape[2:]), f"(n, {self.shape[1]}), as in the first tile")
            check_values("frames", x, sum(self.sizes))
            total = total + x.square().sum((-2, -1), dtype=torch.float64)
            self.sizes.append(x.shape[-2])
        if not self.sizes:
            raise ParameterError("frames", "no tile", "at least one frame; a callable begins anew at every call")
        if (total == 0).any():
            where = f" of problem {int((total == 0).nonzero()[0, 0])}" if len(total) > 1 else ""
            raise ParameterError("frames", f"zeros in all {sum(self.sizes)} rows{where}", "above 0 somewhere")
        self.squares = total
