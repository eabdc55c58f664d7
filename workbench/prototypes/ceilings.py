"""What prototypes are to be compared with: the network that need not explain itself, and rules that learn nothing.

The ceiling is the small network of arXiv 2402.09318 on the same vectors. Below it are rules without training: class
means, nearest neighbours, and the centroids that prototypes start from. A linear classifier is in :mod:`..probes`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn import functional as F

from ..core.checks import checked as checked_arguments
from ..core.checks import whole
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.learning import unlearnt, warn_unlearnt
from .learnt import LearntConfig, starts
from .recipes import shuffled
from .tracks import TrackDecisions, checked, columns, decide, held_out, known, warn_shared

if TYPE_CHECKING:
    import pandas as pd

HIDDEN = 128
"""Of the ceiling's only hidden layer."""


def ceiling_network(dim: int, classes: int) -> nn.Sequential:
    """Linear to 128, ReLU, linear to the classes: 99,722 parameters for 768 dimensions and 10 classes."""
    return nn.Sequential(nn.Linear(dim, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))


@dataclass(frozen=True, eq=False)
class Ceiling:
    """A trained network on summary vectors; made by :func:`fit_ceiling`."""

    labels: np.ndarray
    """(C,) sorted labels; columns of the logits."""
    network: nn.Module = field(repr=False)
    """In eval mode, on the CPU."""
    history: pd.DataFrame = field(repr=False)
    """Row a validation: step and valid_loss."""
    step: int
    """The one kept."""
    seconds: float
    """Time of the training."""

    @torch.no_grad()
    def logits(self, z: ArrayLike) -> np.ndarray:
        """Of segments, float32 (N, C)."""
        z, dim = checked(z), self.network[0].in_features
        if z.shape[1] != dim:
            raise ParameterError("z.shape", z.shape, f"(N, {dim}), as in training")
        return self.network(torch.from_numpy(z)).numpy()

    def predict(self, z: ArrayLike, tracks: ArrayLike | None = None) -> TrackDecisions:
        """Mean logits of each track's segments, and its label; without ``tracks`` (N,) each segment is one."""
        return decide(self.logits(z), self.labels, tracks)


@checked_arguments
def fit_ceiling(
    z: ArrayLike,
    y: ArrayLike,
    *,
    validation: tuple[ArrayLike, ArrayLike],
    steps: int = 3000,
    batch: int = 32,
    check_every: int = 50,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> Ceiling:
    """Train the ceiling: Adam, 1e-3, weight decay 1e-5, the step of lowest validation cross-entropy.

    Parameters
    ----------
    z, y : array_like (N, D), (N,)
        Training segments and their labels.
    validation : (z, y), or (z, y, tracks)
        Segments on which the step is chosen.
    steps : int
        30,000 in the scripts of the paper; on some thousand vectors the lowest validation loss comes before 3,000.
    batch : int
        Segments a step.
    check_every : int
        Steps between validations.
    seed : int
        Draws weights and the order of segments.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1".
    progress : bool
        Show a bar.

    Raises
    ------
    ParameterError
        Vectors or labels that do not fit, or a validation class without training segments.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    begin, place = time.perf_counter(), chosen_device(device)
    for name, value in (("steps", steps), ("batch", batch), ("check_every", check_every)):
        whole(name, value, least=1)
    z, (held, held_y, _) = checked(z), held_out(validation, (2, 3))
    held, labels = checked(held, "validation z"), np.unique(known(y, len(z)))
    if len(labels) < 2:
        raise ParameterError("y", labels.tolist(), "labels of at least two classes")
    if held.shape[1] != z.shape[1]:
        raise ParameterError("validation z.shape", held.shape, f"(N, {z.shape[1]}), as z")
    if (z == z[0]).all():
        raise ParameterError("z", f"{len(z)} vectors that are all the same", "vectors that differ")
    warn_shared(z, held, "the validation part")
    pairs = (z, columns(y, labels, len(z)), held, columns(held_y, labels, len(held), "validation y"))
    x, y, x_held, y_held = (torch.from_numpy(values).to(place) for values in pairs)
    rng, history, best, batches = np.random.default_rng(seed), [], (np.inf, 0, None), []
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        network = ceiling_network(z.shape[1], len(labels)).to(place)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    losses, kept, total = [], 0, torch.zeros((), device=place)
    for step in tqdm(range(1, steps + 1), disable=not progress, desc="steps"):
        batches = batches or shuffled(len(x), batch, rng)
        rows = torch.from_numpy(batches.pop()).to(place)
        adam.zero_grad()
        training = F.cross_entropy(network(x[rows]), y[rows])
        training.backward()
        adam.step()
        total += training.detach()
        if step % check_every == 0 or step == steps:
            with torch.no_grad():
                loss = float(F.cross_entropy(network(x_held), y_held))
            losses.append(float(total) / (step - (history[-1]["step"] if history else 0)))
            total.zero_()
            if not np.isfinite(loss):
                expected = f"of a scale that a network can be fed: the validation loss is {loss} at step {step}"
                raise ParameterError("z", f"vectors up to {float(x.abs().max()):.3g}", expected)
            history.append({"step": step, "valid_loss": loss})
            if loss < best[0]:
                kept = len(history) - 1
                best = (loss, step, {name: values.clone() for name, values in network.state_dict().items()})
    warn_unlearnt("fit_ceiling", unlearnt(losses, kept, of="validations"), f"steps={steps}")
    network.load_state_dict(best[2])
    return Ceiling(labels, network.cpu().eval(), pd.DataFrame(history), best[1], time.perf_counter() - begin)


def nearest_centroid(z: ArrayLike, y: ArrayLike, test: ArrayLike) -> np.ndarray:
    """Minus the squared distance of each test vector to each class's mean, float64 (N_test, C), classes sorted."""
    z, labels, y, test = _pair(z, y, test)
    means = np.stack([z[y == c].mean(0) for c in range(len(labels))])
    return -_distances(test, means)


def nearest_neighbours(z: ArrayLike, y: ArrayLike, test: ArrayLike, *, neighbours: int = 5) -> np.ndarray:
    """Share of each class among the nearest training vectors of each test vector, float64 (N_test, C)."""
    z, labels, y, test = _pair(z, y, test)
    if whole("neighbours", neighbours) not in range(1, len(z) + 1):
        raise ParameterError("neighbours", neighbours, f"from 1 to {len(z)}, the training vectors")
    order = _distances(test, z).argsort(1, kind="stable")[:, :neighbours]
    return np.eye(len(labels))[y[order]].mean(1)


@checked_arguments
def untrained_prototypes(
    z: ArrayLike, y: ArrayLike, test: ArrayLike, *, per_class: int = 5, start: str = "k-means", seed: int = 0
) -> np.ndarray:
    """Minus the squared distance to each class's nearest centroid, float64 (N_test, C).

    What k-means of each class decides before anything is trained; ``per_class``, ``start`` and the errors are those of
    :class:`~.learnt.LearntConfig`.
    """
    z, labels, y, test = _pair(z, y, test)
    config = LearntConfig(per_class=per_class, start=start)
    points = starts(z.astype(np.float32), y, labels, config, seed)
    return -_distances(test, points).reshape(len(test), len(labels), per_class).min(2)


def _pair(z: ArrayLike, y: ArrayLike, test: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    z, test = checked(z).astype(np.float64), checked(test, "test").astype(np.float64)
    labels = np.unique(known(y, len(z)))
    if test.shape[1] != z.shape[1]:
        raise ParameterError("test.shape", test.shape, f"(N, {z.shape[1]}), as z")
    return z, labels, columns(y, labels, len(z)), test


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared, (len(a), len(b))."""
    return np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
