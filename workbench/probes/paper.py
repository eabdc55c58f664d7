"""The probe of Mariotte et al. (arXiv 2509.24793): a linear layer trained with Adam, all layers and seeds at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..core.fitting import threads

EPOCHS = 120
"""Number of passes over the training clips."""
BATCH = 32
"""Clips per step; the last batch of an epoch may be smaller."""
RATE = 1e-3
"""Learning rate of Adam, constant."""
SINGLE_THREAD = 4e6
"""A step with fewer multiplications than this runs on a single CPU thread."""


def train(
    x: Tensor,
    y: Tensor,
    x_valid: Tensor,
    y_valid: Tensor,
    classes: int,
    seeds: Sequence[int],
    progress: Callable[[int], None] = lambda epochs: None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Train L x S linear layers at the same time, each independent of the others.

    The result for one layer and seed is that of this loop:

        torch.manual_seed(seed); model = torch.nn.Linear(D, C); adam = torch.optim.Adam(model.parameters(), lr=1e-3)
        each epoch: for batch in torch.randperm(n).split(32): step on cross_entropy(model(x[batch]), y[batch])
        keep the weights of the epoch with the lowest mean cross-entropy on valid (ties: the first)

    Parameters
    ----------
    x : Tensor float32 (L, n, D)
        Embeddings of the training clips, not standardised.
    y : Tensor int64 (n,)
        Classes of the training clips in [0, C).
    x_valid : Tensor float32 (L, v, D)
        Embeddings of the validation clips.
    y_valid : Tensor int64 (v,)
        Classes of the validation clips.
    classes : int
        Number of classes C.
    seeds : sequence of int
        S seeds of the initial weights and of the order of the clips.
    progress : callable
        Called with 1 after each epoch.

    Returns
    -------
    weights, bias : Tensor float32 (L, S, D, C) and (L, S, C)
        Weights of the epoch that was kept; the initial weights if no epoch had a finite validation loss.
    learnt : Tensor bool (L, S)
        Whether the validation loss of the kept epoch is lower than that of the initial weights.
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
    # For steps of microseconds the waiting of threads for each other costs more than they save, and a hundred times
    # more when another process is busy.
    tiny = members * BATCH * dim * classes < SINGLE_THREAD
    with torch.no_grad(), threads(1 if tiny else torch.get_num_threads()):
        first = _loss(x_valid, target_valid, weight, bias)
        for _ in range(EPOCHS):
            order = torch.stack([torch.randperm(n, generator=g) for g in generators]).to(x.device)
            for batch in order.split(BATCH, dim=1):
                clips = x[:, batch].view(members, batch.shape[1], dim)
                logits = torch.baddbmm(bias, clips, weight.mT)
                # the gradient of the cross-entropy with respect to the logits, without the overhead of autograd
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
    """Mean cross-entropy over v clips with one-hot targets (v, C), (members, 1, 1)."""
    log = torch.baddbmm(bias, x, weight.mT).log_softmax(-1)
    return -(log * target).sum(-1).mean(1)[:, None, None]
