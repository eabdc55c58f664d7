"""Solvers for the activations of frames when the components are given, and the objective."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, choice, number, whole
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from .frames import BETAS, DTYPES, TILE, array, check_values, tensor, unit_of
from .updates import FLOOR, TINY, divergence, full_precision, hals, multiply, parts

#: Number of coordinate passes before the exact solver, and number of frames that it solves at once.
WARM, SOLVED = 16, 1024


@checked
def objective(
    frames: ArrayLike, activations: ArrayLike, components: ArrayLike, *, sparsity: float = 0.0, beta: str = "euclidean"
) -> float:
    """Objective of sparse NMF, D(frames | activations @ components) + sparsity * sum(activations), in double precision.

    Parameters
    ----------
    frames : array_like (N, F)
        Non-negative frames.
    activations : array_like (N, K)
        Non-negative activations.
    components : array_like (K, F)
        Non-negative components; they are not scaled to length 1.
    sparsity, beta
        As in :class:`SparseNMF`.

    Returns
    -------
    float

    Raises
    ------
    ParameterError
        If values are negative or not finite, shapes do not match, or the objective overflows.
    """
    choice("beta", beta, BETAS)
    number("sparsity", sparsity, least=0)
    arrays = {"frames": frames, "activations": activations, "components": components}
    x, h, w = (tensor(name, value, torch.device("cpu"), torch.float64) for name, value in arrays.items())
    for name, value in zip(arrays, (x, h, w), strict=True):
        if value.ndim != 2 or not value.numel():
            raise ParameterError(f"{name}.shape", tuple(value.shape), "two-dimensional, not empty")
        check_values(name, value)
    for name, value, shape in (("activations", h, (len(x), len(w))), ("components", w, (h.shape[1], x.shape[1]))):
        if tuple(value.shape) != shape:
            raise ParameterError(f"{name}.shape", tuple(value.shape), f"{shape}, as frames (N, F) and K components say")
    cost = sparsity * h.sum()
    for part, rows in zip(x.split(TILE["cpu"]), h.split(TILE["cpu"]), strict=True):
        part = part.clamp(min=FLOOR) if beta == "is" else part
        cost += divergence(part, (rows @ w).clamp_(min=FLOOR), BETAS[beta])
    if not cost.isfinite():
        raise ParameterError("objective", float(cost), "finite: scale frames and activations down")
    return float(cost)


@checked
def activations(
    frames: ArrayLike | Tensor,
    components: ArrayLike | Tensor,
    *,
    sparsity: float = 0.0,
    beta: str = "euclidean",
    iterations: int = 1000,
    tolerance: float = 1e-2,
    device: str = "auto",
    dtype: str = "float32",
) -> tuple[np.ndarray, np.ndarray]:
    """Find the activations of given components that minimise the objective, for each frame separately.

    Parameters
    ----------
    frames : array_like (..., F)
        Non-negative frames; the result has the same leading axes, such as clips and time.
    components : array_like (K, F)
        Non-negative components; none may be all zero.
    sparsity, beta, device, dtype
        As in :class:`SparseNMF`.
    iterations, tolerance
        For "kl" and "is" only: multiplicative updates stop at a residual of ``tolerance``, or after ``iterations``.

    Returns
    -------
    h : np.ndarray (..., K)
        Activations.
    residual : np.ndarray float64 (...)
        How far each frame is from the Karush-Kuhn-Tucker conditions, gradient >= 0 and gradient * h = 0. For
        "euclidean" it is the largest change that an exact minimisation over one entry would make, relative to the
        largest such change from h = 0 without the penalty. For "kl" and "is" it is the largest of -gradient and
        min(h, gradient), where the gradient is divided by its positive part and h by the frame's largest activation.

    Raises
    ------
    ParameterError
        If values are negative or not finite, a component is all zero, shapes do not match, or ``beta`` is unknown.
    """
    choice("beta", beta, BETAS)
    choice("dtype", dtype, DTYPES)
    number("sparsity", sparsity, least=0)
    whole("iterations", iterations, least=0)
    number("tolerance", tolerance, least=0)
    place, kind = chosen_device(device, float64=True), DTYPES[dtype]
    w = tensor("components", components, place, kind)
    if w.ndim != 2 or not w.numel():
        raise ParameterError("components.shape", tuple(w.shape), "(K, F)")
    frames = array("frames", frames)
    shape = tuple(frames.shape)
    if not shape or shape[-1] != w.shape[1]:
        raise ParameterError("frames.shape", shape, f"(..., {w.shape[1]}), like the components")
    check_values("components", w)
    if (w.sum(1) == 0).any():
        raise ParameterError(
            "components", f"0 in row {int((w.sum(1) == 0).nonzero()[0])}", "above 0 somewhere in every row"
        )
    rows = frames.reshape(math.prod(shape[:-1]), shape[-1])
    activations, residual = np.empty((len(rows), len(w)), dtype), np.empty(len(rows))
    largest = max((float(tensor("frames", x, place, kind).amax()) for x in _tiles(rows)), default=0.0)
    # values far from 1 are divided by powers of two; the activations are then in units of the ratio of both
    unit, w_unit = unit_of(largest, kind), unit_of(float(w.max()), kind, "components")
    w, sparsity = w * (1 / w_unit), sparsity * unit ** (1 - BETAS[beta]) / w_unit
    with torch.no_grad(), full_precision():
        for first in range(0, len(rows), SOLVED):
            part = slice(first, first + SOLVED)
            x = tensor("frames", rows[part], place, kind)
            check_values("frames", x, first)
            x = x * (1 / unit)
            if beta == "euclidean":
                h, left = _exact(x, w, sparsity)
            else:
                h, left = _iterated(x, w, sparsity, BETAS[beta], iterations, tolerance)
            activations[part], residual[part] = (h * (unit / w_unit)).cpu().numpy(), left.cpu().numpy()
    if not np.isfinite(activations).all():
        raise ParameterError("frames", f"values up to {largest:.1e} for components of {w_unit:.1e}", "of similar size")
    return activations.reshape(*shape[:-1], len(w)), residual.reshape(shape[:-1])


def _tiles(rows: np.ndarray | Tensor) -> Iterator[np.ndarray | Tensor]:
    for first in range(0, len(rows), SOLVED):
        yield rows[first : first + SOLVED]


def _exact(x: Tensor, w: Tensor, sparsity: float) -> tuple[Tensor, Tensor]:
    """Return the exact Euclidean activations (n, K) of x (n, F), and residuals (n,)."""
    wide = w.double()
    gram, products = wide @ wide.T, wide @ x.T.double()
    c = products - sparsity
    h = torch.zeros_like(c, dtype=x.dtype)
    hals(h, c.to(x.dtype), gram.to(x.dtype), WARM)
    scale = products.amax(0).clamp_(min=FLOOR)
    h = _pivoted(h.T > 0, c.T.contiguous(), gram, scale).to(x.dtype)
    wide = h.double()
    step = (wide @ gram - c.T) / gram.diagonal()
    return h, torch.minimum(wide, step).abs_().amax(1) / (scale / gram.diagonal().min())


def _pivoted(used: Tensor, c: Tensor, gram: Tensor, scale: Tensor) -> Tensor:
    """Block principal pivoting: argmin over h >= 0 of 1/2 h gram h - c h for every row of c (n, K), all float64.

    ``used`` (n, K) marks the entries that may initially differ from 0. Each round solves for these entries. Then it
    exchanges every entry that violates the conditions: a used one that is negative, or an unused one with a negative
    gradient. If the number of violations no longer falls, only the last violating entry is exchanged, which is known to
    terminate. Solved frames are removed from later rounds.
    """
    n, size = c.shape
    h, todo = torch.zeros_like(c), torch.arange(n, device=c.device)
    fewest, patience = torch.full_like(todo, size + 1), torch.full_like(todo, 3)
    used, limit = used.clone(), -1e-12 * scale[:, None]
    for _ in range(5 * size + 20):
        now = used[todo]
        solved = _solved(now, c[todo], gram)
        gradient = solved @ gram - c[todo]
        wrong = torch.where(now, solved, gradient) < limit[todo]
        h[todo], count = solved.clamp(min=0), wrong.sum(1)
        left = count > 0
        if not left.any():
            break
        todo, wrong, count = todo[left], wrong[left], count[left]
        better = count < fewest[todo]
        every = better | (patience[todo] > 0)
        fewest[todo] = torch.where(better, count, fewest[todo])
        patience[todo] = torch.where(better, 3, patience[todo] - 1)
        last = size - 1 - wrong.flip(1).byte().argmax(1)
        single = torch.nn.functional.one_hot(last, size).bool()
        used[todo] ^= torch.where(every[:, None], wrong, single)
    return h


def _solved(used: Tensor, c: Tensor, gram: Tensor) -> Tensor:
    """Return the solutions (n, K) of gram h = c on the used entries of each row, and 0 elsewhere."""
    most = max(1, int(used.sum(1).max()))
    index = used.byte().sort(dim=1, descending=True, stable=True).indices[:, :most]
    live = used.gather(1, index)
    system = gram[index[:, :, None], index[:, None, :]] * (live[:, :, None] & live[:, None, :])
    # the ridge makes the system solvable if components are equal, and changes other solutions less than the tolerance
    system.diagonal(dim1=1, dim2=2).add_(torch.where(live, 1e-13 * gram.diagonal().max(), 1.0))
    factor = torch.linalg.cholesky_ex(system).L
    h = torch.cholesky_solve((c.gather(1, index) * live)[..., None], factor)[..., 0]
    return torch.zeros_like(c).scatter_(1, index, h)


def _iterated(x: Tensor, w: Tensor, sparsity: float, beta: int, iterations: int, tolerance: float):
    """Return activations (n, K) by multiplicative updates, and residuals (n,); solved frames are removed early."""
    x = x.clamp(min=FLOOR if beta == 0 else 0.0)
    result = (x.sum(1) / w.sum()).expand(len(w), -1).contiguous()
    residual = torch.full((len(x),), float("inf"), dtype=torch.float64, device=x.device)
    todo, h = torch.arange(len(x), device=x.device), result.clone()
    for i in range(iterations + 1):
        _, ratio, other = parts(x, h, w, beta)
        up = w @ ratio.mT
        down = (w.sum(1, keepdim=True) if other is None else w @ other.mT) + sparsity
        slope = 1 - up / down
        left = torch.maximum(-slope, torch.minimum(h / h.amax(0).clamp(min=TINY), slope)).amax(0)
        left[h.amax(0) == 0] = 0.0  # a silent frame
        result[:, todo], residual[todo] = h, left.double()
        more = left > tolerance
        if i == iterations or not more.any():
            break
        multiply(h, up, down.expand_as(h))
        x, h, todo = x[more], h[:, more], todo[more]
    return result.T, residual
