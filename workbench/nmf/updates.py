"""Update rules and divergences of sparse NMF, for components as rows of w (K, F) and activations h (K, n)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

#: Smallest value of a bin of W H.
FLOOR = 1e-9
#: Smaller activations and entries of components are set to 0, so that no slow denormal numbers arise.
TINY = 1e-30
#: Number of rows of H that are updated between two products with the Gram matrix in a coordinate pass.
BLOCK = 20


@contextmanager
def full_precision() -> Iterator[None]:
    """Context without TF32, whose errors the ratio of two matrix products would amplify."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def hals(h: Tensor, c: Tensor, gram: Tensor, passes: int) -> None:
    """Make coordinate passes over the rows of h (K, n) in place; c = W^T X - sparsity, gram = W^T W."""
    length = gram.diagonal()[:, None]
    c, gram = c / length, gram / length
    for first in list(range(0, len(h), BLOCK)) * passes:
        last = min(first + BLOCK, len(h))
        step = c[first:last] - gram[first:last] @ h
        for k in range(first, last):
            change = torch.maximum(step[k - first], -h[k])
            h[k] += change
            if k + 1 < last:  # account for this change in the steps of the remaining rows of the block
                step[k + 1 - first :].addcmul_(gram[k + 1 : last, k, None], change, value=-1)


def directions(w: Tensor, a: Tensor, gram: Tensor) -> Tensor:
    """Set each component in turn to its minimum on the non-negative unit sphere; a = H X^T, gram = H H^T."""
    for k in range(len(w)):
        direction = (a[k] - (gram[k] @ w - gram[k, k] * w[k])).clamp_(min=0)
        length = torch.linalg.vector_norm(direction)
        w[k] = torch.where(length > 0, direction / length, w[k])
    return torch.nn.functional.threshold_(w, TINY, 0.0)


def balanced(w: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Multiplicative update of components of length 1; the gradient is b - a, with a and b (K, F) non-negative."""
    up, down = a + w * (b * w).sum(-1, keepdim=True), b + w * (a * w).sum(-1, keepdim=True)
    new = torch.nn.functional.threshold_(w * up / down.clamp_(min=TINY), TINY, 0.0)
    length = torch.linalg.vector_norm(new, dim=-1, keepdim=True)
    return torch.where(length > 0, new / length, w)  # a component without activations does not change


def multiply(h: Tensor, up: Tensor, down: Tensor) -> None:
    h *= up / down.clamp(min=TINY)
    torch.nn.functional.threshold_(h, TINY, 0.0)


def parts(x: Tensor, h: Tensor, w: Tensor, beta: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return L = W H (n, F), X L^(beta - 2) and L^(beta - 1); the last is None for beta 1, where it is 1."""
    whole = (h.T @ w).clamp_(min=FLOOR)
    ratio = x / whole
    return (whole, ratio, None) if beta == 1 else (whole, ratio / whole, 1 / whole)


def divergence(x: Tensor, whole: Tensor, beta: int) -> Tensor:
    """Divergence D(x | whole) summed over all bins, float64."""
    if beta == 2:
        return (x - whole).double().square_().sum() / 2
    if beta == 1:
        return (torch.xlogy(x, x / whole) - x + whole).sum(dtype=torch.float64)
    return (x / whole - torch.log(x / whole) - 1).sum(dtype=torch.float64)
