"""Input of sparse NMF: checks of arrays, and frames that are read tile by tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import numbers
from ..core.errors import ParameterError

#: Frames per tile, on the CPU and on a GPU.
TILE = {"cpu": 4096, "cuda": 131_072}
BETAS = {"euclidean": 2, "kl": 1, "is": 0}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
#: Range of the largest value of frames that are not scaled. Within it sums of squares neither vanish nor overflow in
#: single precision, and the floor of W H (1e-9) is smaller. Other frames are divided by a power of two, which is exact.
NORMAL = (1e-9, 1e12)
#: Largest value allowed, so that activations, and squares in double precision, do not overflow.
MOST = {torch.float32: 1e36, torch.float64: 1e150}


def unit_of(largest: float, dtype: torch.dtype, name: str = "frames") -> float:
    """Return the unit by which frames with this largest value are divided: 1 within ``NORMAL``, else a power of two."""
    if largest > MOST[dtype]:
        raise ParameterError(name, f"values up to {largest:.1e}", f"{MOST[dtype]:.0e} at most in {dtype}")
    if largest == 0 or NORMAL[0] <= largest <= NORMAL[1]:
        return 1.0
    return math.ldexp(1.0, max(math.frexp(largest)[1], -120 if dtype == torch.float32 else -1000))


def check_values(name: str, x: Tensor, first: int = 0) -> None:
    """Raise an error that names the first row of x (n, F) that is not finite or has a negative value."""
    for what, bad in (("finite", ~torch.isfinite(x)), ("non-negative", x < 0)):
        if bad.any():
            row = int(bad.any(1).nonzero()[0])
            raise ParameterError(f"{name}[{first + row}]", float(x[row][bad[row]][0]), f"{what} everywhere")


def array(name: str, values: ArrayLike | Tensor) -> np.ndarray | Tensor:
    """Return an array of numbers without copying it (a memory map is not read), or raise an error."""
    if isinstance(values, Tensor) and not (values.is_complex() or values.is_sparse):
        return values.detach()
    if isinstance(values, Tensor) or (hasattr(values, "shape") and not hasattr(values, "__array__")):
        raise ParameterError(name, type(values).__name__, "a dense array of real numbers")
    return numbers(name, values, finite=False, empty=True)


def tensor(name: str, values: ArrayLike | Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    values = array(name, values)
    if not isinstance(values, Tensor):
        if not values.dtype.isnative or values.dtype.itemsize > 8 or min(values.strides, default=0) < 0:
            values = np.ascontiguousarray(values, dtype=np.float64)  # torch does not accept these arrays
        values = torch.from_numpy(values if values.flags.writeable else values.copy())
    return values.to(device, dtype)


class Frames:
    """Iterable of tiles (n, F) of frames, which are the same at every pass."""

    def __init__(self, source, *, tile: int | None, device: torch.device, dtype: torch.dtype, floor: float):
        self.tile, self.device, self.dtype, self.floor = tile or TILE[device.type], device, dtype, floor
        self.blocks = source if callable(source) else self._one_block(source)
        self.sizes: list[int] = []
        self.unit = 1.0
        """Power of two by which the frames are divided; see :data:`NORMAL`."""
        self._survey()

    def _one_block(self, source: ArrayLike | Tensor) -> Callable[[], list]:
        block = array("frames", source)
        shape = tuple(block.shape)
        if len(shape) != 2 or not np.prod(shape):
            raise ParameterError("frames.shape", shape, "(N, F), not empty")
        size = int(np.prod(shape)) * self.dtype.itemsize
        if self.device.type == "cuda" and size < torch.cuda.mem_get_info(self.device)[0] // 3:
            block = tensor("frames", block, self.device, self.dtype)  # copy to the GPU once instead of at every pass
        return lambda: [block]

    def _raw(self) -> Iterator[Tensor]:
        blocks = self.blocks()
        if not hasattr(blocks, "__iter__"):
            raise ParameterError("frames()", type(blocks).__name__, "an iterable of tiles (n, F)")
        for block in blocks:
            block = array("frames", block)
            if block.ndim != 2:
                raise ParameterError("frames.shape", tuple(block.shape), "(n, F)")
            for first in range(0, len(block), self.tile):
                x = tensor("frames", block[first : first + self.tile], self.device, self.dtype)
                yield x if self.unit == 1 else x * (1 / self.unit)

    def __iter__(self) -> Iterator[Tensor]:
        for x in self._raw():
            yield x.clamp(min=self.floor) if self.floor else x

    def _survey(self) -> None:
        """Check every frame, and find the sizes of the tiles, the number of bins and the sum of squares."""
        largest, total, self.bins = 0.0, 0.0, None
        for x in self._raw():
            self.bins = self.bins or x.shape[1]
            if x.shape[1] != self.bins:
                raise ParameterError("frames.shape", tuple(x.shape), f"(n, {self.bins}), as in the first tile")
            check_values("frames", x, sum(self.sizes))
            total = total + x.square().sum(dtype=torch.float64)
            largest = max(largest, float(x.max()))
            self.sizes.append(len(x))
        if not self.sizes:
            raise ParameterError("frames", "no tile", "at least one frame; a callable begins anew at every call")
        if largest == 0:
            shown = f"zeros in all {sum(self.sizes)} rows (as {str(self.dtype)[6:]})"
            raise ParameterError("frames", shown, "above 0 somewhere")
        self.unit = unit_of(largest, self.dtype)
        if self.unit != 1:
            total = sum(x.square().sum(dtype=torch.float64) for x in self._raw())
        self.squares = total
