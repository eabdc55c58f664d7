"""Solver for many L2-penalised multinomial logistic regressions at once.

One problem has features x (n, D), classes y (n,) and a penalty p > 0. With z the standardised x it minimises

    f(W, b) = 1/n [ sum_i cross_entropy(softmax(W z_i + b), y_i) + p/2 ||W||^2 ],

the objective of scikit-learn's ``LogisticRegression(C=1/p)`` on standardised features. With two classes scikit-learn
has one weight vector, the difference of the two here; the penalty is then doubled, so that both have the same minimum.
Many problems are solved fast for these reasons:

* The penalty is invariant to rotations of z. Therefore z is rotated so that its leading principal axes are the first
  coordinates and, if n < D, reduced to the span of its rows. In these coordinates the largest entries of the Hessian
  are nearly diagonal, and its diagonal is a preconditioner that reduces the number of steps to a tenth.
* All penalties of one x share its matrix products: one for all logits and one for all gradients.
* Logits are linear in the step length, so the line search needs no further matrix product.
* L-BFGS is restarted after some steps with the exact diagonal of the Hessian, without the problems that have converged.
* On the CPU each core works on its own stack of problems. On a GPU a stack is limited only by memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.warn import warn

TOLERANCE = 1e-5
"""2-norm of the gradient of f at which a final fit has converged; it is the same in any rotation."""
PATH_TOLERANCE = 1e-4
"""Tolerance of fits that only select the penalty. scikit-learn stops when the largest entry is 1e-4, a norm of about
1e-3."""
ROUNDS = {torch.float32: (8, 8, 8, 16, 32, 64), torch.float64: (128,) * 16}
"""Steps of L-BFGS between restarts, first in single precision, then in double for the remaining problems. Problems with
many columns converge fastest with frequent updates of the Hessian's diagonal; those with few columns and a weak penalty
need a long history."""
AXES = 128
"""Number of principal axes (Halko, Martinsson, Tropp 2011); more take longer to compute than they save in steps."""
BYTES = {"cpu": 2**25, "cuda": 2**32}
"""Memory limit of a stack with several problems, in bytes. On the CPU it keeps a stack within the caches."""
TOGETHER = 2**32
"""Memory limit, in bytes, of all stacks that are solved at the same time."""


@dataclass(frozen=True)
class Problem:
    """One training set and the penalties to fit it with."""

    x: np.ndarray
    """Features of all clips, not standardised, float32 (N, D)."""
    rows: np.ndarray
    """Row numbers of the training clips, (n,)."""
    y: np.ndarray
    """Classes of the training clips in [0, C), int64 (n,)."""
    penalties: np.ndarray
    """Penalties, float64 (P,); P is the same for all problems of one call."""
    name: str
    """Name of the problem in the warning for a fit that does not converge."""


def solve(
    problems: Sequence[Problem],
    classes: int,
    device: torch.device,
    *,
    tolerance: float = TOLERANCE,
    progress: Callable[[int], None] = lambda fits: None,
) -> list[tuple[Tensor, Tensor]]:
    """Fit every problem at each of its penalties.

    Parameters
    ----------
    problems : sequence of Problem
        Problems; n and D may differ between them, P must not.
    classes : int
        Number of classes C.
    device : torch.device
        CPU or CUDA.
    tolerance : float
        2-norm of the gradient of f at which a fit has converged.
    progress : callable
        Called with the number of fits that have just finished.

    Returns
    -------
    list of (weights, bias)
        For each problem float64 (P, D, C) and (P, C), for features that are not standardised: logits are
        x @ weights + bias.

    Warns
    -----
    RuntimeWarning
        If a fit did not reach the tolerance.
    """
    if not problems:
        return []
    stacks: list[list[int]] = []
    for i in sorted(range(len(problems)), key=lambda i: problems[i].x.shape[1]):
        # all problems of a stack are padded to its largest D, which is that of the last
        if stacks and (len(stacks[-1]) + 1) * _bytes(problems[i], classes) <= BYTES[device.type]:
            stacks[-1].append(i)
        else:
            stacks.append([i])
    largest = max(len(stack) * _bytes(problems[stack[-1]], classes) for stack in stacks)

    def work(stack: list[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
        return _solve_stack([problems[i] for i in stack], classes, device, tolerance)

    solved: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for stack, results in zip(stacks, _each(work, stacks, largest, device), strict=True):
        solved |= zip(stack, results, strict=True)
        progress(sum(len(problems[i].penalties) for i in stack))
    norms = torch.stack([solved[i][2] for i in range(len(problems))]).cpu()
    if not (norms <= tolerance).all():
        worst = divmod(int(norms.nan_to_num(torch.inf).argmax()), norms.shape[1])
        message = (
            f"{int((~(norms <= tolerance)).sum())} of {norms.numel()} fits stopped above gradient norm {tolerance:g}; "
            f"the worst: {problems[worst[0]].name}, penalty {problems[worst[0]].penalties[worst[1]]:g}, "
            f"norm {norms[worst]:.1e}"
        )
        warn(message, RuntimeWarning)
    return [solved[i][:2] for i in range(len(problems))]


def _bytes(problem: Problem, classes: int) -> int:
    n, dim, width = len(problem.rows), problem.x.shape[1], len(problem.penalties) * classes
    rank = min(n, dim)
    # features in double precision and rotated; arrays of the size of the logits; weights and about eight L-BFGS pairs
    return 16 * n * dim + 4 * (3 * n * rank + 6 * n * width + 24 * rank * width)


def _each(work: Callable, stacks: Sequence, largest: int, device: torch.device) -> Iterator:
    """Yield the results of ``work`` in order; on the CPU each thread takes a stack, or all share a large one.

    Threads that share small matrix products spend most of the time waiting for each other.
    """
    if device.type != "cpu":
        yield from map(work, stacks)
        return
    threads = torch.get_num_threads()
    workers = max(1, min(threads, len(stacks), TOGETHER // largest))
    inner = threads // workers if largest > BYTES["cpu"] else 1

    def alone(stack):
        torch.set_num_threads(inner)  # this applies to the worker's thread only
        return work(stack)

    try:
        if workers == 1:
            yield from map(alone, stacks)
        else:
            with ThreadPoolExecutor(workers) as pool:
                yield from pool.map(alone, stacks)
    finally:
        torch.set_num_threads(threads)


def _solve_stack(
    problems: list[Problem], classes: int, device: torch.device, tolerance: float
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return weights, bias and gradient norms of each problem.

    Smaller problems are padded with zero rows and columns, which do not change their solution.
    """
    turned = [_turn(torch.from_numpy(problem.x[problem.rows]).to(device)) for problem in problems]
    rows, rank = max(len(z) for z, _, _ in turned), max(z.shape[1] for z, _, _ in turned)
    z = torch.zeros(len(problems), rows, rank + 1, device=device)
    y = torch.zeros(len(problems), 1, classes, rows, device=device)
    for g, ((member, _, _), problem) in enumerate(zip(turned, problems, strict=True)):
        n = len(member)
        z[g, :n, : member.shape[1]] = member
        z[g, :n, -1] = 1  # the column of the intercept; padded rows have 0 and do not count in any sum
        y[g, 0, torch.from_numpy(problem.y).to(device), torch.arange(n, device=device)] = 1
    count = torch.tensor([float(len(problem.rows)) for problem in problems], device=device)[:, None, None, None]
    penalty = torch.from_numpy(np.stack([problem.penalties for problem in problems])).to(device)
    if classes == 2:
        penalty = 2 * penalty  # at the minimum w0 = -w1, so scikit-learn's ||w1 - w0||^2 is 2 ||W||^2
    ridge = (penalty[..., None, None] / count).expand(-1, -1, 1, rank + 1).clone()
    ridge[..., -1] = 0
    weights, norms = _minimise(_Stack(z, y, ridge, count), tolerance)
    solved = []
    for w, norm, (member, back, mean) in zip(weights, norms, turned, strict=True):
        columns = back(w[..., : member.shape[1]].flatten(0, 1).mT)
        folded = columns.unflatten(1, w.shape[:2]).movedim(0, 1)
        solved.append((folded, w[..., -1] - mean @ folded, norm))
    return solved


def _turn(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor], Tensor]:
    """Standardise and rotate x (n, D).

    Returns z float32 (n, R) with R = min(n, D), a function that converts weights for z, float64 (R, M), to weights for
    x - mean, (D, M), and the mean (D,).
    """
    x = x.double()
    mean = x.mean(0)
    x = x - mean
    deviation = x.square().mean(0).sqrt()
    constant = deviation <= 1e-7 * mean.abs()  # a constant column may deviate this much by float32 rounding
    scale = torch.where(constant, 0.0, 1 / torch.where(constant, 1.0, deviation))
    z = (x * scale).float()
    turns = []
    if len(z) < z.shape[1]:
        turns.append(torch.geqrf(z.mT.contiguous()))  # z = R^T Q^T, where R^T are coordinates in the span of the rows
        z = turns[0][0][: len(z)].triu().mT.contiguous()
    axes = _principal_axes(z)
    # Q of the axes' QR decomposition has them as first columns and completes the basis; it is never formed explicitly
    turns.append(torch.geqrf(axes))
    z = torch.ormqr(*turns[-1], z, left=False)

    def back(w: Tensor) -> Tensor:
        for reflectors, tau in reversed(turns):
            w = torch.nn.functional.pad(w, (0, 0, 0, len(reflectors) - len(w)))
            w = torch.ormqr(reflectors.double(), tau.double(), w)
        return scale[:, None] * w

    return z, back, mean


def _principal_axes(z: Tensor) -> Tensor:
    """Approximate the k = min(``AXES``, R) leading right singular vectors of z (n, R), the largest first, (R, k)."""
    generator = torch.Generator().manual_seed(0)
    sketch = torch.randn(z.shape[1], min(AXES, z.shape[1]), generator=generator).to(z.device)
    for _ in range(2):
        sketch = torch.linalg.qr(z.mT @ (z @ sketch)).Q
    small = (z @ sketch).double()
    return sketch @ torch.linalg.eigh(small.mT @ small).eigenvectors.flip(1).float()


@dataclass(frozen=True)
class _Stack:
    """The problems of G training sets with P penalties each, padded to one shape."""

    z: Tensor
    """Features, (G, n, R); the last column is 1."""
    y: Tensor
    """One-hot classes, (G, 1, C, n)."""
    ridge: Tensor
    """Penalty divided by the number of clips, (G, P, 1, R); 0 for the intercept."""
    count: Tensor
    """Number of clips without padding, (G, 1, 1, 1)."""

    def take(self, groups: Tensor, columns: Tensor, dtype: torch.dtype) -> _Stack:
        """Return a stack of the given training sets and penalties."""
        ridge = self.ridge[groups[:, None], columns]
        return _Stack(*(part.to(dtype) for part in (self.z[groups], self.y[groups], ridge, self.count[groups])))

    def scores(self, weights: Tensor) -> Tensor:
        """Logits (G, P, C, n) of weights (G, P, C, R)."""
        return (weights.flatten(1, 2) @ self.z.mT).unflatten(1, weights.shape[1:3])

    def gradient(self, probability: Tensor, weights: Tensor) -> Tensor:
        """Gradient of f at weights that give these class probabilities (G, P, C, n)."""
        slopes = ((probability - self.y).flatten(1, 2) @ self.z).view_as(weights)
        return torch.addcmul(slopes / self.count, self.ridge, weights)

    def inverse_diagonal(self, probability: Tensor) -> Tensor:
        """Inverse of the diagonal of the Hessian, (G, P, C, R)."""
        curvature = (probability * (1 - probability)).flatten(1, 2) @ self.z.square()
        return 1 / (curvature.unflatten(1, probability.shape[1:3]) / self.count + self.ridge).clamp_min(1e-9)


def _minimise(stack: _Stack, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return the weights float64 (G, P, C, R) that minimise f, and the norm of its gradient there (G, P)."""
    shape = (*stack.ridge.shape[:2], stack.y.shape[2], stack.z.shape[2])
    weights = torch.zeros(shape, dtype=torch.float64, device=stack.z.device)
    norms = torch.full(shape[:2], torch.inf, dtype=torch.float64, device=stack.z.device)
    groups, columns = (torch.arange(size, device=stack.z.device) for size in shape[:2])
    for dtype, rounds in ROUNDS.items():
        for steps in rounds:
            at = (groups[:, None], columns)
            updated, norm = _descend(stack.take(groups, columns, dtype), weights[at].to(dtype), steps, tolerance)
            weights[at], norms[at] = updated.double(), norm.double()
            busy = norm > tolerance
            groups, columns = groups[busy.any(1)], columns[busy.any(0)]
            if not len(groups):
                return weights, norms
    return weights, norms


def _descend(stack: _Stack, weights: Tensor, steps: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Take steps of L-BFGS (Nocedal 1980) on all problems at once; return weights and gradient norms (G, P)."""
    scores = stack.scores(weights)
    probability = scores.softmax(2)
    gradient = stack.gradient(probability, weights)
    inverse = stack.inverse_diagonal(probability)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(steps):
        active = _dot(gradient, gradient).sqrt() > tolerance
        if not active.any():
            break
        direction = _direction(gradient, inverse, pairs) * active  # problems that have converged do not move
        ahead = stack.scores(direction)
        length, probability = _line_search(stack, scores, ahead, weights, direction, _dot(gradient, direction))
        move, before = length * direction, gradient
        weights, scores = weights + move, torch.addcmul(scores, length, ahead)
        gradient = stack.gradient(probability, weights)
        change = gradient - before
        curvature = _dot(move, change)
        # a pair of a problem that did not move must have no effect
        rho = torch.where(curvature > torch.finfo(move.dtype).tiny, 1 / curvature, 0.0)
        pairs.append((move, change, rho))
    return weights, _dot(gradient, gradient).sqrt()[..., 0, 0]


def _direction(gradient: Tensor, inverse: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return minus the approximate inverse Hessian times the gradient, by the two-loop recursion of L-BFGS."""
    direction, alphas = -gradient, []
    for move, change, rho in reversed(pairs):
        alphas.append(rho * _dot(move, direction))
        direction.addcmul_(change, -alphas[-1])
    direction *= inverse
    if pairs:
        _, change, rho = pairs[-1]
        direction *= torch.where(rho > 0, 1 / (rho * _dot(change, inverse * change)), 1.0)
    for (move, change, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        direction.addcmul_(move, alpha - rho * _dot(change, direction))
    return direction


def _line_search(
    stack: _Stack, scores: Tensor, ahead: Tensor, weights: Tensor, direction: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the step length t of each problem (G, P, 1, 1) and the class probabilities there.

    Newton's method on the convex f(t), kept inside the bracket found so far, runs until the slope is at most half of
    the slope at 0. The logits at t are ``scores + t * ahead``, so no matrix product is needed.
    """
    pull, count = stack.ridge * direction, stack.count
    linear, quadratic = _dot(pull, weights), _dot(pull, direction)
    target = _dot(stack.y.expand_as(ahead), ahead)
    t = torch.ones_like(slope)
    low, high = torch.zeros_like(t), torch.full_like(t, torch.inf)
    for _ in range(8):
        probability = torch.addcmul(scores, t, ahead).softmax(2)
        first = (_dot(probability, ahead) - target) / count + linear + t * quadratic
        done = first.abs() <= 0.5 * slope.abs()
        if done.all():
            break
        weighted = probability * ahead
        mean = weighted.sum(2, keepdim=True)
        second = (_dot(weighted, ahead) - _dot(mean, mean)) / count + quadratic
        low, high = torch.where(first < 0, t, low), torch.where(first < 0, high, t)
        newton = t - first / second.clamp_min(torch.finfo(t.dtype).tiny)
        fallback = torch.where(high.isinf(), 4 * t, (low + high) / 2)
        newton = torch.where((newton > low) & (newton < high), newton, fallback)
        t = torch.where(done, t, newton)
    else:
        probability = torch.addcmul(scores, t, ahead).softmax(2)
    return t, probability


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product for each problem: (G, P, ...) x (G, P, ...) -> (G, P, 1, 1)."""
    return torch.linalg.vecdot(a.flatten(2), b.flatten(2))[..., None, None]
