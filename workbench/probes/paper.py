"""The probe of Mariotte et al. (arXiv 2509.24793): one linear layer trained with Adam, layers x seeds as one stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..core.fitting import threads

EPOCHS = 120
"""Passes over the training clips."""
BATCH = 32
"""Clips a step; the last batch of an epoch may be smaller."""
RATE = 1e-3
"""Adam's learning rate, constant."""
SINGLE_THREAD = 4e6
"""Multiplications in one step of the stack below which one CPU thread does it."""


def train(
    x: Tensor,
    y: Tensor,
    x_valid: Tensor,
    y_valid: Tensor,
    classes: int,
    seeds: Sequence[int],
    progress: Callable[[int], None] = lambda epochs: None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Train L x S linear layers side by side; each equals its own run alone.

    The run of one layer and seed is this loop, and nothing a member does touches another:

        torch.manual_seed(seed); model = torch.nn.Linear(D, C); adam = torch.optim.Adam(model.parameters(), lr=1e-3)
        each epoch: for batch in torch.randperm(n).split(32): step on cross_entropy(model(x[batch]), y[batch])
        keep the weights of the epoch with the lowest mean cross-entropy on valid (ties: the first)

    Parameters
    ----------
    x : Tensor float32 (L, n, D)
        Training clips, not standardised.
    y : Tensor int64 (n,)
    x_valid : Tensor float32 (L, v, D)
    y_valid : Tensor int64 (v,)
    classes : int
        C.
    seeds : sequence of int
        S of them: initial weights and the order of the clips.
    progress : callable
        Called with 1 after each epoch.

    Returns
    -------
    weights, bias : Tensor float32 (L, S, D, C) and (L, S, C)
        Of the epoch kept.
    learnt : Tensor bool (L, S)
        Whether its validation loss is lower than that of the initial weights, which are kept where no loss is a number.
    """
    layers, n, dim = x.shape
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    bound = dim**-0.5  # torch.nn.Linear draws weight, then bias, uniformly within +-1/sqrt(D)
    drawn = [
        (
            torch.empty(classes, dim).uniform_(-bound, bound, generator=g),
            torch.empty(classes).uniform_(-bound, bound, generator=g),
        )
        for g in generators
    ]
    members = layers * len(seeds)
    weight = torch.stack([w for w, _ in drawn]).repeat(layers, 1, 1).to(x.device).requires_grad_()
    bias = torch.stack([b for _, b in drawn])[:, None].repeat(layers, 1, 1).to(x.device).requires_grad_()
    adam = torch.optim.Adam([weight, bias], lr=RATE, fused=True)
    target, target_valid = (torch.nn.functional.one_hot(labels, classes).to(x) for labels in (y, y_valid))
    best = torch.full((members, 1, 1), torch.inf, device=x.device)
    kept_weight, kept_bias = weight.detach().clone(), bias.detach().clone()
    x_valid = x_valid.repeat_interleave(len(seeds), 0) if members > layers else x_valid
    # Steps of microseconds: threads that wait for each other cost more than they save, and beside any other busy
    # process a hundred times more.
    tiny = members * BATCH * dim * classes < SINGLE_THREAD
    with torch.no_grad(), threads(1 if tiny else torch.get_num_threads()):
        first = _loss(x_valid, target_valid, weight, bias)
        for _ in range(EPOCHS):
            order = torch.stack([torch.randperm(n, generator=g) for g in generators]).to(x.device)
            for batch in order.split(BATCH, dim=1):
                clips = x[:, batch].view(members, batch.shape[1], dim)
                logits = torch.baddbmm(bias, clips, weight.mT)
                # d cross-entropy / d logits, written out: autograd would only add overhead
                error = (logits.softmax(-1) - target[batch].repeat(layers, 1, 1)) / batch.shape[1]
                weight.grad, bias.grad = error.mT @ clips, error.sum(1, keepdim=True)
                adam.step()
            loss = _loss(x_valid, target_valid, weight, bias)
            better = loss < best
            best = torch.where(better, loss, best)
            kept_weight = torch.where(better, weight, kept_weight)
            kept_bias = torch.where(better, bias, kept_bias)
            progress(1)
    shape = (layers, len(seeds))
    return kept_weight.mT.reshape(*shape, dim, classes), kept_bias.reshape(*shape, classes), (best < first).view(shape)


def _loss(x: Tensor, target: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean cross-entropy (members, 1, 1) of one-hot targets (v, C)."""
    log = torch.baddbmm(bias, x, weight.mT).log_softmax(-1)
    return -(log * target).sum(-1).mean(1)[:, None, None]
