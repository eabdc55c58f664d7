"""Losses for the training of an embedding: predefined prototypes, and the losses with which they are compared.

Every loss is called as ``loss(z, logits, y)`` and returns a scalar. z (B, k) are embeddings, logits (B, C) those of the
linear head, and y labels, either integers (B,) or weights of the classes (B, C) as mixup makes them. :class:`Prototype`
also takes ``targets`` (B, k), the prototypes of the clips, if these depend on more than the class. A loss with weights
or centres is a module with state: train its ``parameters()`` together with those of the network, and switch it with
``train()`` and ``eval()``.

``loss.scores(z, logits)`` (B, C) are the scores by which the loss classifies: the head's logits, unless it has its own
classifier. ``loss.prototypes`` (C, k) are the points to which it pulls the embeddings of each class, or None.

With soft labels each loss is linear in y if the formula allows it, and two clips belong to the same class to the degree
``y_i . y_j``. In the formulas below u = z / ||z||, and losses are averaged over the batch unless stated otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked, choice
from ..core.errors import ParameterError
from . import sets
from .rival_losses import (
    RBF,
    AngularDistance,
    ArcFace,
    Center,
    CrossEntropy,
    Focal,
    OrthogonalProjection,
    PrototypicalNetwork,
    RunningMeans,
    SupervisedContrastive,
    as_matrix,
    ranged,
)


class Prototype(CrossEntropy):
    """Cross-entropy + weight * ||z - p||^2 with fixed prototypes p = y M (Almudévar et al., arXiv 2406.16145).

    Parameters
    ----------
    prototypes : (C, k)
        The matrix M. With None every call must give ``targets``.
    weight : float
        The paper's lambda; 0 is plain cross-entropy.
    reduction : {"mean", "sum"}
        Reduction of the squares over the k dimensions, before the mean over the batch. The authors' code uses "mean";
        "sum" with weight / k is equal to it.
    angular : bool
        Whether to use 1 - cos(z, p) instead of the squared distance; ``reduction`` then has no effect.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        prototypes=None,
        *,
        weight: float = 1.0,
        reduction: str = "mean",
        angular: bool = False,
        classification: str = "softmax",
    ):
        super().__init__(classes, dim, classification=classification)
        self.reduction = choice("reduction", reduction, ("mean", "sum"))
        self.weight, self.angular = ranged(weight=weight), choice("angular", angular, (False, True))
        self.register_buffer("fixed", None if prototypes is None else as_matrix(prototypes, classes, dim))

    @property
    def prototypes(self) -> Tensor | None:
        return self.fixed

    def pull(self, z: Tensor, p: Tensor) -> Tensor:
        """Return the prototype term without its weight."""
        if self.angular:
            return (1 - F.cosine_similarity(z, p)).mean()
        squares = (z - p).square()
        return squares.mean() if self.reduction == "mean" else squares.sum(1).mean()

    def forward(self, z: Tensor, logits: Tensor, y: Tensor, targets: Tensor | None = None) -> Tensor:
        if targets is None:
            if self.prototypes is None:
                raise ParameterError("targets", None, "given (B, k): this loss was made without class prototypes")
            targets = self.soft(y) @ self.prototypes
        return self.classify(logits, y) + self.weight * self.pull(z, targets)


class LearntPrototype(Prototype):
    """A :class:`Prototype` loss whose prototypes M are trained with the network, starting from those given.

    Parameters
    ----------
    norm : float, optional
        Fixed length of the prototypes. With None their length is free, and they may shrink towards the embeddings
        instead of pulling them.
    pace : float
        How many times the learning rate of the network is that of the prototypes (exactly so for Adam, whose steps do
        not depend on the size of gradients: M / pace is trained). With 1, a step moves an entry of M by the learning
        rate at most, so that short trainings leave prototypes of length sqrt(k) nearly where they began.
    """

    def __init__(
        self, classes: int, dim: int, prototypes=None, *, norm: float | None = None, pace: float = 1.0, **options
    ):
        super().__init__(classes, dim, **options)
        self.pace = ranged(pace=pace)
        self.learnt = nn.Parameter(as_matrix(prototypes, classes, dim) / self.pace)
        self.norm = None if norm is None else ranged(norm=norm)

    @property
    def prototypes(self) -> Tensor:
        return self.pace * self.learnt if self.norm is None else self.norm * F.normalize(self.learnt)


class MeanPrototype(Prototype):
    """A :class:`Prototype` loss whose prototypes M are running means of each class's embeddings, without gradient.

    Parameters
    ----------
    momentum : float
        Weight of the old mean when a batch contains the class; the first such batch sets the mean.
    """

    def __init__(self, classes: int, dim: int, prototypes=None, *, momentum: float = 0.9, **options):
        super().__init__(classes, dim, **options)
        self.means = RunningMeans(classes, dim, momentum)

    @property
    def prototypes(self) -> Tensor:
        return self.means.means

    def forward(self, z: Tensor, logits: Tensor, y: Tensor, targets: Tensor | None = None) -> Tensor:
        if self.training:
            self.means.update(z, self.soft(y))
        return super().forward(z, logits, y, targets)


class FixedClassifier(CrossEntropy):
    """A fixed classifier W of unit vectors: a simplex (Yang et al., arXiv 2203.09081), or the prototypes given.

    With "dot regression" the loss is 1/2 (w_y . u - 1)^2. With "cross-entropy" it is the cross-entropy of scale * W u:
    on a simplex this is maximum class separation (Kasarla et al., arXiv 2206.08704), on an orthoplex a regular polytope
    classifier (Pernici et al., 2103.15632). The predicted class is that of the largest entry of W u.
    """

    @checked
    def __init__(
        self,
        classes: int,
        dim: int,
        prototypes=None,
        *,
        term: str = "dot regression",
        scale: float = 10.0,
        seed: int = 0,
    ):
        super().__init__(classes, dim)
        self.term = choice("term", term, ("dot regression", "cross-entropy"))
        self.scale = ranged(scale=scale)
        if prototypes is None:
            prototypes = sets.prototypes("simplex", classes, dim, scale=1.0, seed=seed)
        self.register_buffer("fixed", F.normalize(as_matrix(prototypes, classes, dim)))

    @property
    def prototypes(self) -> Tensor:
        return self.fixed

    def scores(self, z: Tensor, logits: Tensor) -> Tensor:
        return self.scale * F.normalize(z) @ self.fixed.T

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        scores = self.scores(z, logits)
        if self.term == "cross-entropy":
            return self.classify(scores, y)
        return (self.soft(y) * (scores / self.scale - 1).square()).sum(1).mean() / 2


class Hyperspherical(FixedClassifier):
    """(1 - cos(z, p_y))^2, where the largest cosine gives the predicted class (Mettes et al., arXiv 1901.10514, eq. 2).

    Without prototypes it draws a set of kind ``repulsion``, as in that paper.
    """

    @checked
    def __init__(self, classes: int, dim: int, prototypes=None, *, seed: int = 0):
        if prototypes is None:
            prototypes = sets.prototypes("repulsion", classes, dim, scale=1.0, seed=seed)
        super().__init__(classes, dim, prototypes, scale=1.0)

    def forward(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        return 2 * super().forward(z, logits, y)


LOSSES: dict[str, Callable[..., CrossEntropy]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "prototype": Prototype,
    "learnt_prototype": LearntPrototype,
    "mean_prototype": MeanPrototype,
    "center": Center,
    "orthogonal_projection": OrthogonalProjection,
    "angular_distance": AngularDistance,
    "supervised_contrastive": SupervisedContrastive,
    "prototypical_network": PrototypicalNetwork,
    "arcface": ArcFace,
    "rbf": RBF,
    "fixed_classifier": FixedClassifier,
    "hyperspherical": Hyperspherical,
}
"""Classes of the losses by name, for :func:`make_loss`."""


@checked
def make_loss(name: str, *, classes: int, dim: int, prototypes=None, **options) -> CrossEntropy:
    """Make a loss by name.

    Parameters
    ----------
    name : str
        A key of :data:`LOSSES`.
    classes, dim : int
        Number of classes C and of dimensions k.
    prototypes : np.ndarray or Tensor (C, k), optional
        Prototypes to which some losses pull, from which they start or by which they classify; others ignore them.
    options
        Keyword-only arguments of the loss, such as ``weight`` and ``reduction``.

    Returns
    -------
    torch.nn.Module
        The loss; its attribute ``options`` contains the name and the options given.

    Raises
    ------
    ParameterError
        If the name or an option is unknown, or prototypes are missing or of another shape.
    """
    choice("name", name, tuple(LOSSES))
    known = _options(LOSSES[name])
    if unknown := set(options) - known:
        expected = f"left out: loss {name!r} has {sorted(known)}"
        raise ParameterError(min(unknown), options[min(unknown)], expected)
    loss = LOSSES[name](classes, dim, prototypes, **options)
    loss.options = {"name": name, **options}
    return loss


def _options(loss: type) -> set[str]:
    """Return the keyword-only arguments of a loss, including those of its base class if it passes them on."""
    parameters = inspect.signature(loss.__init__).parameters.values()
    own = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    return own | _options(loss.__base__) if any(p.kind is p.VAR_KEYWORD for p in parameters) else own
