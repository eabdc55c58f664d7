"""Losses with which predefined prototypes are compared; :mod:`.losses` describes how they are called."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import choice, number, numbers, whole
from ..core.checks import seed as checked_seed
from ..core.errors import ParameterError

RANGES = {
    **dict.fromkeys(("weight", "gamma"), {"least": 0}),
    **dict.fromkeys(("temperature", "scale", "width", "norm", "pace"), {"above": 0}),
    "alpha": {"above": 0, "most": 1},
    "margin": {"least": 0, "below": math.pi},
    "momentum": {"least": 0, "below": 1},
}
"""Allowed ranges of the options of losses, by name."""


class CrossEntropy(nn.Module):
    """Cross-entropy -log p_y of the head's softmax, which is also the classification term of most other losses.

    Parameters
    ----------
    classes, dim : int
        Number of classes C and of dimensions k.
    prototypes : np.ndarray or Tensor (C, k), optional
        Prototypes, only for losses that use them.
    classification : {"softmax", "sigmoid"}
        "sigmoid" is the mean binary cross-entropy over all C outputs, as in the code of Almudévar et al. with mixup.
    """

    prototypes: Tensor | None = None

    def __init__(self, classes: int, dim: int, prototypes=None, *, classification: str = "softmax"):
        super().__init__()
        choice("classification", classification, ("softmax", "sigmoid"))
        whole("classes", classes, least=2)
        whole("dim", dim, least=1)
        self.classes, self.dim, self.classification = classes, dim, classification

    def classify(self, logits: Tensor, y: Tensor) -> Tensor:
        if self.classification == "sigmoid":
            return F.binary_cross_entropy_with_logits(logits, self.soft(y))
        return F.cross_entropy(logits, y)

    def soft(self, y: Tensor) -> Tensor:
        """Return labels as weights of the classes, float32 (B, C)."""
        return F.one_hot(y, self.classes).float() if y.ndim == 1 else y

    def scores(self, z: Tensor, logits: Tensor) -> Tensor:
        return logits

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        return self.classify(logits, y)


class Focal(CrossEntropy):
    """-(1 - p_y)^gamma log p_y (Lin et al. 2017, eq. 4); gamma 0 is cross-entropy."""

    def __init__(self, classes: int, dim: int, prototypes=None, *, gamma: float = 2.0):
        super().__init__(classes, dim)
        self.gamma = ranged(gamma=gamma)

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        logp = logits.log_softmax(1)
        return -(self.soft(y) * (1 - logp.exp()) ** self.gamma * logp).sum(1).mean()


class Center(CrossEntropy):
    """Center loss: cross-entropy + weight / 2 * ||z - c_y||^2 with running centres (Wen et al. 2016, eqs. 2 to 5).

    Centres start at 0. After each training batch, c_j -= alpha * sum_i 1[y_i = j] (c_j - z_i) / (1 + n_j).
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        prototypes=None,
        *,
        weight: float = 0.003,
        alpha: float = 0.5,
        **options,
    ):
        super().__init__(classes, dim, **options)
        self.weight, self.alpha = ranged(weight=weight, alpha=alpha)
        self.register_buffer("centers", torch.zeros(classes, dim))

    @property
    def prototypes(self) -> Tensor:
        return self.centers

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        y_soft = self.soft(y)
        term = self.weight / 2 * (z - y_soft @ self.centers).square().sum(1).mean()
        if self.training:
            number = y_soft.sum(0)[:, None]
            delta = (number * self.centers - y_soft.T @ z.detach()) / (1 + number)
            self.centers = self.centers - self.alpha * delta
        return self.classify(logits, y) + term


class OrthogonalProjection(CrossEntropy):
    """Cross-entropy + weight * ((1 - s) + gamma * d) over the pairs of a batch (Ranasinghe et al. 2021, eqs. 3 to 6).

    s is the mean cosine of pairs of the same class. d depends on the cosines of pairs of different classes: with
    ``config`` "paper" it is the absolute value of their mean; with "per-pair abs" the mean of their absolute values, as
    in the authors' code for CIFAR and the code of Almudévar et al. (gamma 2, weight 0.1); with "signed" their mean.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        prototypes=None,
        *,
        config: str = "paper",
        gamma: float = 0.5,
        weight: float = 1.0,
        **options,
    ):
        super().__init__(classes, dim, **options)
        self.config = choice("config", config, ("paper", "per-pair abs", "signed"))
        self.gamma, self.weight = ranged(gamma=gamma, weight=weight)

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        cosines, same, other = _pairs(z, self.soft(y))
        s = _weighted_mean(cosines, same)
        d = _weighted_mean(cosines.abs() if self.config == "per-pair abs" else cosines, other)
        d = d.abs() if self.config == "paper" else d
        return self.classify(logits, y) + self.weight * ((1 - s) + self.gamma * d)


class AngularDistance(CrossEntropy):
    """Cross-entropy + weight * mean over pairs of (cosdist(z_i, z_j) - cosdist(y_i, y_j))^2 (cf. arXiv 2411.00153)."""

    def __init__(
        self, classes: int, dim: int, prototypes=None, *, weight: float = 1.0, classification: str = "softmax"
    ):
        super().__init__(classes, dim, classification=classification)
        self.weight = ranged(weight=weight)

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        cosines, _, _ = _pairs(z, self.soft(y))
        labels = F.normalize(self.soft(y))
        pairs = 1 - torch.eye(len(z), device=z.device)
        return self.classify(logits, y) + self.weight * _weighted_mean((cosines - labels @ labels.T).square(), pairs)


class SupervisedContrastive(CrossEntropy):
    """-mean over positives p of log(exp(u_i . u_p / t) / sum_{a != i} exp(u_i . u_a / t)) (Khosla et al. 2020, eq. 2).

    The positives of a clip are the other clips of its class in the batch; clips without positives are left out. For two
    augmented views of each clip, as in the paper, give two rows of the batch. Classification is by a separate linear
    probe, which is trained at the same time without a gradient to z.
    """

    def __init__(self, classes: int, dim: int, prototypes=None, *, temperature: float = 0.1, seed: int = 0):
        super().__init__(classes, dim)
        self.temperature = ranged(temperature=temperature)
        self.weight = nn.Parameter(_drawn(classes, dim, seed))
        self.bias = nn.Parameter(torch.zeros(classes))

    def scores(self, z: Tensor, logits: Tensor) -> Tensor:
        return F.linear(z, self.weight, self.bias)

    def contrast(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the contrastive term alone."""
        cosines, same, _ = _pairs(z, self.soft(y))
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        logp = (cosines / self.temperature).masked_fill(itself, -1e9).log_softmax(1).masked_fill(itself, 0)
        positives = same.sum(1)
        each = -(same * logp).sum(1) / positives.clamp(min=1e-9)
        return _weighted_mean(each, (positives > 0).float())

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        return self.contrast(z, y) + self.classify(self.scores(z.detach(), logits), y)


class PrototypicalNetwork(CrossEntropy):
    """Cross-entropy over -||z - c_j||^2, c_j the mean of class j's support clips (Snell et al. 2017, eqs. 1 and 2).

    Each batch is an episode. Of every class the first, third, fifth clip and so on are support and the others are
    queries; a class with one clip has no query. Classification is by running class means, with ``momentum`` as in
    :class:`MeanPrototype`. Labels must be integers.
    """

    def __init__(self, classes: int, dim: int, prototypes=None, *, momentum: float = 0.9):
        super().__init__(classes, dim)
        self.means = RunningMeans(classes, dim, momentum)

    @property
    def prototypes(self) -> Tensor:
        return self.means.means

    def scores(self, z: Tensor, logits: Tensor) -> Tensor:
        return -torch.cdist(z, self.prototypes).square()

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        if y.ndim != 1:
            raise ParameterError("y.shape", tuple(y.shape), "(B,): a prototypical network needs hard labels, no mixup")
        one_hot = self.soft(y)
        if self.training:
            self.means.update(z, one_hot)
        support = (one_hot.cumsum(0) * one_hot).sum(1) % 2 == 1
        if support.all():
            return 0 * z.sum()
        return F.cross_entropy(_episode(z[support], y[support], z[~support], self.classes), y[~support])


class ArcFace(CrossEntropy):
    """Cross-entropy on S cos(theta_y + margin) and S cos(theta_j), angles to learnt weights (Deng et al. 2019, eq. 3).

    Where theta_y + margin exceeds pi, cos(theta_y) - margin sin(margin) takes its place, as in the authors' code, so
    that the function stays monotonic. Classification is by the cosines. For soft labels the losses of the classes are
    averaged with weights y.
    """

    def __init__(
        self, classes: int, dim: int, prototypes=None, *, scale: float = 30.0, margin: float = 0.5, seed: int = 0
    ):
        super().__init__(classes, dim)
        self.scale, self.margin = ranged(scale=scale, margin=margin)
        self.weight = nn.Parameter(_drawn(classes, dim, seed))

    def scores(self, z: Tensor, logits: Tensor) -> Tensor:
        return self.scale * F.normalize(z) @ F.normalize(self.weight).T

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        plain = self.scores(z, logits)
        cosine = plain / self.scale
        sine = (1 - cosine.square()).clamp(min=1e-9).sqrt()  # the clamp also avoids the infinite gradient at 0
        raised = torch.where(
            cosine > math.cos(math.pi - self.margin),
            cosine * math.cos(self.margin) - sine * math.sin(self.margin),
            cosine - self.margin * math.sin(self.margin),
        )
        own = torch.eye(self.classes, dtype=torch.bool, device=z.device)
        each = torch.where(own, self.scale * raised[:, :, None], plain[:, None, :])  # (B, true class, logits)
        return -(self.soft(y) * each.log_softmax(2).diagonal(dim1=1, dim2=2)).sum(1).mean()


class RBF(CrossEntropy):
    """Cross-entropy on S exp(-||w_c - z||^2 / width) with learnt centres w_c (RBF-softmax, Zhang et al. 2020)."""

    def __init__(
        self, classes: int, dim: int, prototypes=None, *, scale: float = 14.0, width: float = 2.2, seed: int = 0
    ):
        super().__init__(classes, dim)
        self.scale, self.width = ranged(scale=scale, width=width)
        self.weight = nn.Parameter(_drawn(classes, dim, seed))

    @property
    def prototypes(self) -> Tensor:
        return self.weight

    def scores(self, z: Tensor, logits: Tensor) -> Tensor:
        return self.scale * (-(z[:, None] - self.weight).square().sum(2) / self.width).exp()

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        return self.classify(self.scores(z, logits), y)


class RunningMeans(nn.Module):
    """Running means of the classes' embeddings, without gradient: m <- momentum m + (1 - momentum) (batch mean)."""

    def __init__(self, classes: int, dim: int, momentum: float):
        super().__init__()
        self.momentum = ranged(momentum=momentum)
        self.register_buffer("means", torch.zeros(classes, dim))
        self.register_buffer("seen", torch.zeros(classes, 1, dtype=torch.bool))

    @torch.no_grad()
    def update(self, z: Tensor, y: Tensor) -> None:
        """Update the means by a batch of embeddings (B, k) and weights of the classes (B, C)."""
        number = y.sum(0)[:, None]
        new = y.T @ z / number.clamp(min=1e-9)
        moved = torch.where(self.seen, self.momentum * self.means + (1 - self.momentum) * new, new)
        self.means = torch.where(number > 0, moved, self.means)
        self.seen = self.seen | (number > 0)


def _episode(support: Tensor, support_y: Tensor, query: Tensor, classes: int) -> Tensor:
    """Return logits -||query - c_j||^2 (Q, C), where c_j is the mean of class j's support; -inf without support."""
    one_hot = F.one_hot(support_y, classes).to(support)
    number = one_hot.sum(0)
    means = one_hot.T @ support / number.clamp(min=1)[:, None]
    return -(query[:, None] - means).square().sum(2).masked_fill(number == 0, math.inf)


def as_matrix(prototypes, classes: int, dim: int) -> Tensor:
    """Return a float32 copy of prototypes, or raise an error if they are None or of another shape."""
    if prototypes is None:
        raise ParameterError("prototypes", None, f"(C, k) = {(classes, dim)}")
    points = numbers("prototypes", prototypes).astype(np.float32)
    if points.shape != (classes, dim):
        raise ParameterError("prototypes.shape", points.shape, f"(C, k) = {(classes, dim)}")
    return torch.tensor(points)


def _drawn(classes: int, dim: int, seed: int) -> Tensor:
    return torch.randn(classes, dim, generator=torch.Generator().manual_seed(checked_seed(seed))) / math.sqrt(dim)


def ranged(**values: float) -> float | list[float]:
    """Check that options are within :data:`RANGES`, and return one value, or a list of several."""
    options = [number(name, value, **RANGES[name]) for name, value in values.items()]
    return options[0] if len(options) == 1 else options


def _pairs(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cosines of all pairs, and weights of pairs of the same and of different classes, each (B, B).

    The weights are 0 on the diagonal.
    """
    u = F.normalize(z)
    pairs = 1 - torch.eye(len(z), device=z.device)
    same = y @ y.T
    return u @ u.T, same * pairs, (1 - same) * pairs


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1e-9)
