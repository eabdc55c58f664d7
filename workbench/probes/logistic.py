"""Many L2-penalised multinomial logistic regressions solved together.

One problem: features x (n, D), classes y (n,), penalty p >= 0 minimise

    f(W, b) = 1/n [ sum_i cross_entropy(softmax(W z_i + b), y_i) + p/2 ||W||^2 ],   z standardised x,

which is scikit-learn's ``LogisticRegression(C=1/p)`` on standardised features. What makes a stack of them fast:

* The penalty does not see rotations, so x is turned into its principal axes: at most min(n, D) columns, and a Hessian
  that is nearly diagonal. A diagonal preconditioner then leaves a well-conditioned problem: tens of steps where the
  plain coordinates need hundreds.
* All penalties of one x share its products: logits and gradients are two batched matrix products for everything.
* Logits are linear in the step length, so each problem's line search costs no product at all.
* L-BFGS restarts every ``MEMORY`` steps with the Hessian's true diagonal, and drops the problems that are done.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-5
"""A fit is done when the gradient of f has this 2-norm or less (in any rotation; in nats a clip)."""
MEMORY = 8
"""L-BFGS pairs, and steps between two looks at the Hessian's diagonal."""
ROUNDS = {torch.float32: 12, torch.float64: 100}
"""Restarts allowed in single precision, then in double for what is left."""
BYTES = 2**30
"""What one stack may take; more problems are solved in several stacks."""


@dataclass(eq=False)
class Features:
    """One layer, shared by all its problems."""

    x: np.ndarray
    """(N, D) float32, as they are."""
    axes: Tensor | None = None
    """(D, D) principal axes of the first problem that has at least D clips; any rotation serves the others as well."""


@dataclass(frozen=True)
class Problem:
    """One training set, with every penalty to be tried on it."""

    features: Features
    """Where the clips' features are."""
    rows: np.ndarray
    """(n,) the clips to train on, as rows of the features."""
    y: np.ndarray
    """(n,) int64 their classes in [0, C)."""
    penalties: np.ndarray
    """(P,) float64, the same P for all problems of a stack."""
    name: str
    """For the warning when a fit does not converge."""


def solve(
    problems: Sequence[Problem],
    classes: int,
    device: torch.device,
    progress: Callable[[int], None] = lambda fits: None,
) -> list[tuple[Tensor, Tensor]]:
    """Fit every problem at each of its penalties.

    Parameters
    ----------
    problems : sequence of Problem
        n and D may differ, P not; those of equal D share stacks.
    classes : int
        C.
    device : torch.device
    progress : callable
        Called with the number of fits just finished.

    Returns
    -------
    list of (weights, bias)
        One a problem: float64 (P, D, C) and (P, C) for the features as they were given; logits = x @ weights + bias.

    Warns
    -----
    RuntimeWarning
        A fit that did not reach ``TOLERANCE``.
    """
    stacks: list[list[int]] = []
    for i in sorted(range(len(problems)), key=lambda i: problems[i].features.x.shape[1]):
        stack = stacks[-1] if stacks else []
        fits = stack and problems[stack[0]].features.x.shape[1] == problems[i].features.x.shape[1]
        if fits and sum(_bytes(problems[j], classes) for j in [*stack, i]) <= BYTES:
            stack.append(i)
        else:
            stacks.append([i])
    solved: dict[int, tuple[Tensor, Tensor]] = {}
    for stack in stacks:
        solved |= zip(stack, _solve_stack([problems[i] for i in stack], classes, device), strict=True)
        progress(sum(len(problems[i].penalties) for i in stack))
    return [solved[i] for i in range(len(problems))]


def _bytes(problem: Problem, classes: int) -> int:
    n, width = len(problem.rows), len(problem.penalties) * classes
    rank = min(n, problem.features.x.shape[1])
    return 4 * (3 * n * rank + 6 * n * width + (2 * MEMORY + 8) * rank * width)


def _solve_stack(problems: list[Problem], classes: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """As :func:`solve`, in one stack; smaller problems are padded with zero rows and columns, which change nothing."""
    axes = [_rotate(problem, device) for problem in problems]
    rows, rank = max(len(z) for z, _, _ in axes), max(z.shape[1] for z, _, _ in axes)
    z = torch.zeros(len(problems), rows, rank + 1, device=device)
    y = torch.zeros(len(problems), 1, classes, rows, device=device)
    for g, ((member, _, _), problem) in enumerate(zip(axes, problems, strict=True)):
        n = len(member)
        z[g, :n, : member.shape[1]] = member
        z[g, :n, -1] = 1  # the intercept; zero in padded rows, so that these drop out of every sum
        y[g, 0, torch.from_numpy(problem.y).to(device), torch.arange(n, device=device)] = 1
    count = torch.tensor([len(problem.rows) for problem in problems], device=device)
    penalty = torch.from_numpy(np.stack([problem.penalties for problem in problems])).to(device)
    weights, norm = _minimise(z, y, penalty, count)
    for problem, norms in zip(problems, norm, strict=True):
        for p in torch.nonzero(norms > TOLERANCE).flatten().tolist():
            warnings.warn(
                f"{problem.name}, penalty {problem.penalties[p]:g}: gradient norm {norms[p]:.1e} > {TOLERANCE:g}",
                RuntimeWarning,
                stacklevel=5,
            )
    solved = []
    for w, (member, fold, mean) in zip(weights, axes, strict=True):
        folded = fold(w[..., : member.shape[1]].flatten(0, 1)).unflatten(1, w.shape[:2]).movedim(0, 1)
        solved.append((folded, w[..., -1] - mean @ folded))
    return solved


def _rotate(problem: Problem, device: torch.device) -> tuple[Tensor, Callable[[Tensor], Tensor], Tensor]:
    """Standardised x of a problem, along principal axes.

    Returns z float32 (n, R); a function that turns weights for z, float64 (M, R), into weights for x (D, M); and the
    mean (D,) that those expect to be subtracted.
    """
    features = problem.features
    x = torch.from_numpy(features.x[problem.rows]).to(device).double()
    mean, deviation = x.mean(0), x.std(0, correction=0)
    constant = deviation <= 1e-7 * mean.abs()  # what float32 rounding leaves of a constant column
    scale = torch.where(constant, 0.0, 1 / torch.where(constant, 1.0, deviation))
    x = (x - mean) * scale
    scale = scale[:, None]
    if x.shape[1] <= len(x):
        # any orthonormal axes are exact here, so single precision will do, and so will those of another fold: they
        # only have to make the Hessian nearly diagonal
        x = x.float()
        if features.axes is None:
            features.axes = torch.linalg.eigh(x.mT @ x).eigenvectors
        axes = features.axes
        return x @ axes, lambda w: scale * (axes.double() @ w.mT), mean
    energy, left = torch.linalg.eigh(x @ x.mT)
    kept = energy > 1e-12 * energy[-1]
    length, left = energy[kept].sqrt(), left[:, kept]
    return (left * length).float(), lambda w: scale * (x.mT @ (left / length @ w.mT)), mean


def _minimise(z: Tensor, y: Tensor, penalty: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Weights float64 (G, P, C, R) that minimise f, and the norm of its gradient there (G, P).

    z (G, n, R) with the ones as last column, y (G, 1, C, n) one-hot, penalty (G, P), count (G,) rows that are real.
    """
    shape = (len(z), penalty.shape[1], y.shape[2], z.shape[2])
    weights = torch.zeros(shape, dtype=torch.float64, device=z.device)
    norm = torch.full(shape[:2], torch.inf, dtype=torch.float64, device=z.device)
    ridge = (penalty / count[:, None])[..., None, None].expand(-1, -1, 1, shape[3]).clone()
    ridge[..., -1] = 0
    group, column = (torch.arange(size, device=z.device) for size in shape[:2])
    for dtype, rounds in ROUNDS.items():
        for _ in range(rounds):
            at = (group[:, None], column)
            data = (z[group].to(dtype), y[group].to(dtype), ridge[at].to(dtype), count[group])
            found, size = _descend(*data, weights[at].to(dtype))
            weights[at], norm[at] = found.double(), size.double()
            busy = size > TOLERANCE
            group, column = group[busy.any(1)], column[busy.any(0)]
            if not len(group):
                return weights, norm
    return weights, norm


def _descend(z: Tensor, y: Tensor, ridge: Tensor, count: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """``MEMORY`` steps of L-BFGS (Nocedal 1980) on G x P problems at once; weights and gradient norms afterwards."""
    groups, penalties, classes, rank = weights.shape
    count = count.to(z.dtype)[:, None, None, None]

    def logits(w: Tensor) -> Tensor:
        return (w.view(groups, penalties * classes, rank) @ z.mT).view(groups, penalties, classes, -1)

    def collect(error: Tensor, features: Tensor) -> Tensor:
        return (error.view(groups, penalties * classes, -1) @ features).view_as(weights) / count

    scores = logits(weights)
    probability = scores.softmax(2)
    gradient = torch.addcmul(collect(probability - y, z), ridge, weights)
    tiny = torch.finfo(z.dtype).tiny
    inverse = 1 / (collect(probability * (1 - probability), z * z) + ridge).clamp_min(1e-9)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    scale = 1.0
    for _ in range(MEMORY):
        active = _dot(gradient, gradient).sqrt() > TOLERANCE
        if not active.any():
            break
        direction, alphas = -gradient, []
        for step, change, rho in reversed(history):
            alphas.append(rho * _dot(step, direction))
            direction.addcmul_(change, -alphas[-1])
        direction *= inverse
        direction *= scale * active  # what is done stays where it is
        for (step, change, rho), alpha in zip(history, reversed(alphas), strict=True):
            direction.addcmul_(step, alpha - rho * _dot(change, direction))
        direction *= active
        ahead = logits(direction)
        length, probability = _line_search(
            scores, ahead, y, weights, direction, ridge, count, _dot(gradient, direction)
        )
        step, before = length * direction, gradient
        weights, scores = weights + step, torch.addcmul(scores, length, ahead)
        gradient = torch.addcmul(collect(probability.sub_(y), z), ridge, weights)
        change = gradient - before
        curvature = _dot(step, change)
        usable = curvature > tiny  # false where nothing moved: such a pair must do nothing
        rho = torch.where(usable, 1 / curvature.clamp_min(tiny), 0.0)
        scale = torch.where(usable, curvature / _dot(change, inverse * change).clamp_min(tiny), 1.0)
        history.append((step, change, rho))
    return weights, _dot(gradient, gradient).sqrt()[..., 0, 0]


def _line_search(
    scores: Tensor,
    ahead: Tensor,
    y: Tensor,
    weights: Tensor,
    direction: Tensor,
    ridge: Tensor,
    count: Tensor,
    slope: Tensor,
) -> tuple[Tensor, Tensor]:
    """Step length of each problem (G, P, 1, 1) and the class probabilities there.

    Newton on the convex f(t), kept inside the bracket found so far, until the slope is at most half of that at 0.
    ``scores + t * ahead`` are the logits at t: no matrix product is needed.
    """
    pull = ridge * direction
    linear, quadratic = _dot(pull, weights), _dot(pull, direction)
    target = _dot(y.expand_as(ahead), ahead)
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
    """Inner product of each problem: (G, P, ...) x (G, P, ...) -> (G, P, 1, 1)."""
    return torch.linalg.vecdot(a.flatten(2), b.flatten(2))[..., None, None]
