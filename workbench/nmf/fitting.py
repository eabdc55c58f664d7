"""One pass after the other over all frames."""

from __future__ import annotations

import torch
from torch import Tensor

from .frames import Frames
from .updates import balanced, directions, divergence, hals, multiply, parts

#: Coordinate passes over the activations in an iteration of "hals".
PASSES = 2


class Run:
    """Components and activations while they are learnt."""

    def __init__(self, frames: Frames, w: Tensor, h: list[Tensor], sparsity: float, beta: int, multiplicative: bool):
        self.frames, self.w, self.h, self.sparsity, self.beta = frames, w, h, sparsity, beta
        self.multiplicative = multiplicative
        self.late = beta != 2
        """Whether :meth:`sweep` gives the objective of before its update, where that is what comes for free."""

    def sweep(self, update: bool = True) -> Tensor:
        """One pass over all frames, updating activations and then components; the objective (B, restarts)."""
        return (self._euclidean if self.beta == 2 else self._divergence)(update)

    def _euclidean(self, update: bool) -> Tensor:
        w, gram_w = self.w, self.w @ self.w.mT
        a = gram = total = 0.0
        for x, h in zip(self.frames, self.h, strict=True):
            if update:
                products = w @ x.mT
                if self.multiplicative:
                    multiply(h, products, gram_w @ h + self.sparsity)
                else:
                    hals(h, products - self.sparsity, gram_w, PASSES)
            a, gram = a + (h @ x).double(), gram + (h @ h.mT).double()
            total = total + h.sum((-2, -1), dtype=torch.float64)
        if update:
            new = w.double()
            new = balanced(new, a, gram @ new) if self.multiplicative else directions(new, a, gram)
            self.w = new.to(w.dtype)
        wide = self.w.double()
        fit = self.frames.squares - 2 * (wide * a).sum((-2, -1)) + ((wide @ wide.mT) * gram).sum((-2, -1))
        return fit / 2 + self.sparsity * total

    def _divergence(self, update: bool) -> Tensor:
        w, beta = self.w, self.beta
        a = b = cost = 0.0
        for x, h in zip(self.frames, self.h, strict=True):
            whole, ratio, other = parts(x, h, w, beta)
            cost = cost + divergence(x, whole, beta) + self.sparsity * h.sum((-2, -1), dtype=torch.float64)
            if update:
                sums = w.sum(-1, keepdim=True) if other is None else w @ other.mT
                multiply(h, w @ ratio.mT, sums + self.sparsity)
                _, ratio, other = parts(x, h, w, beta)
                a = a + (h @ ratio).double()
                b = b + (h.sum(-1, keepdim=True) if other is None else h @ other).double()
        if update:
            self.w = balanced(w.double(), a, b).to(w.dtype)
        return cost
