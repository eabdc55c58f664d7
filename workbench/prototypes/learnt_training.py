"""How prototypes are learnt: where they start, what they are trained to, and which step is kept."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.learning import check_loss
from ..core.saving import read_checkpoint, write_checkpoint

if TYPE_CHECKING:
    import pandas as pd

    from .learnt import LearntConfig, PrototypeNetwork

TRAINING_VERSION = 1
"""To be raised when training changes its numbers: checkpoints of before are then refused."""
CHECKPOINT_EVERY = 1000
"""Steps between two checkpoints."""

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Scaled vectors float32 (N, D), classes int64 (N,), tracks (N,)."""


def place_of_starts(per_class: int, classes: int, order: str = "class-major") -> np.ndarray:
    """Class whose centroid each prototype starts from, int64 (C K,).

    Prototype ``c K + k`` is of class c. The published code lays centroids out as ``k C + c`` instead, so that most
    start from another class's segments.
    """
    classes_of = np.repeat(np.arange(classes), per_class)
    return classes_of if order == "class-major" else np.tile(np.arange(classes), per_class)


def starts(x: np.ndarray, y: np.ndarray, labels: np.ndarray, config: LearntConfig, seed: int) -> np.ndarray:
    """Vectors to start from, float32 (C K, D): k-means of each class by itself.

    Raises
    ------
    ParameterError
        A class with fewer different segments than K.
    """
    from sklearn.cluster import KMeans

    k, centres = config.per_class, []
    for column, label in enumerate(labels):
        own = x[y == column]
        different = len(np.unique(own, axis=0))
        if different < k:
            expected = f"at most {different}: class {label} has {len(own)} segments, {different} of them different"
            raise ParameterError("per_class", k, expected)
        found = KMeans(k, n_init="auto", random_state=seed).fit(own).cluster_centers_
        if config.start == "medoids":
            found = own[((own[:, None] - found) ** 2).sum(2).argmin(0)]
        centres.append(found)
    stacked = np.stack(centres).astype(np.float32)  # (C, K, D)
    if config.order == "paper_code":
        stacked = stacked.transpose(1, 0, 2)
    return np.ascontiguousarray(stacked.reshape(-1, x.shape[1]))


def prototype_loss(distances: Tensor, y: Tensor, owner: Tensor) -> Tensor:
    """Mean distance of the prototypes whose class is in the batch to their nearest segment of that class.

    Parameters
    ----------
    distances : Tensor (B, M)
    y : Tensor int64 (B,)
        Class of each segment.
    owner : Tensor int64 (M,)
        Class of each prototype.
    """
    least = distances.masked_fill(y[:, None] != owner, torch.inf).amin(0)
    present = least < torch.inf
    return torch.where(present, least, 0.0).sum() / present.sum()


def objective(network: PrototypeNetwork, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, its two terms (cross-entropy at the temperature, distance), and logits."""
    config = network.config
    logits, distances = network(x)
    entropy = F.cross_entropy(logits / config.temperature, y)
    pull = prototype_loss(distances, y, network.owner)
    return config.cross_entropy * entropy + (1 - config.cross_entropy) * pull, entropy, pull, logits


def optimiser(
    network: torch.nn.Module, config: LearntConfig
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.OneCycleLR]:
    """Adam, and the one-cycle schedule with torch's settings, which moves Adam's first beta too."""
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    return adam, torch.optim.lr_scheduler.OneCycleLR(adam, config.learning_rate, total_steps=config.steps)


def train(
    network: PrototypeNetwork,
    training: Part,
    validation: Part | None = None,
    *,
    config: LearntConfig,
    seed: int,
    checkpoint: str | os.PathLike | None,
    progress: bool,
) -> tuple[pd.DataFrame, int]:
    """All steps; leaves the weights of the step kept in the network. History, that step."""
    import pandas as pd
    from tqdm.auto import tqdm

    run = _Run(network, training, validation, config, seed)
    identity = None if checkpoint is None else run.identity()
    if checkpoint is not None and Path(checkpoint).exists():
        run.restore(read_checkpoint(checkpoint, identity))
    with tqdm(total=config.steps, initial=run.step, disable=not progress, desc="steps") as bar:
        while run.step < config.steps:
            run.advance()
            bar.update()
            if checkpoint is not None and (run.step % CHECKPOINT_EVERY == 0 or run.step == config.steps):
                write_checkpoint(checkpoint, {"identity": identity, **run.state()})
    if run.best is not None:
        network.load_state_dict(run.best["weights"])
    kept = config.steps if run.best is None else run.best["step"]
    return pd.DataFrame(run.history), kept


class _Run:
    """What one training changes."""

    def __init__(
        self, network: PrototypeNetwork, training: Part, validation: Part | None, config: LearntConfig, seed: int
    ):
        place = network.points.device
        self.network, self.config, self.seed, self.parts = network, config, seed, (training, validation)
        self.x, self.y = (torch.from_numpy(values).to(place) for values in training[:2])
        self.held = None
        if validation is not None:
            names, first, member = np.unique(validation[2], return_index=True, return_inverse=True)
            held = (*validation[:2], member, validation[1][first])
            self.held = [torch.from_numpy(np.ascontiguousarray(values)).to(place) for values in held]
        self.adam, self.schedule = optimiser(network, config)
        self.epoch = math.ceil(len(self.x) / config.batch)
        self.check_every = config.check_every or self.epoch
        self.step, self.history, self.best = 0, [], None
        self.sums = torch.zeros(3, device=place)

    def advance(self) -> None:
        """One step, and the validation after it where one is due."""
        epoch, position = divmod(self.step, self.epoch)
        if position == 0 or not hasattr(self, "order"):  # drawn from the epoch's number: resuming needs no state for it
            drawn = np.random.default_rng([self.seed, epoch]).permutation(len(self.x))
            self.order = torch.from_numpy(drawn).to(self.x.device)
        rows = self.order[position * self.config.batch : (position + 1) * self.config.batch]
        rate = self.schedule.get_last_lr()[0]
        self.network.train()
        loss, entropy, pull, _ = objective(self.network, self.x[rows], self.y[rows])
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.step += 1
        if self.step < self.config.steps:
            self.schedule.step()
        self.sums += torch.stack([loss.detach(), entropy.detach(), pull.detach()])
        if self.step % self.check_every == 0 or self.step == self.config.steps:
            self.check(rate)

    def check(self, rate: float) -> None:
        """A row of the history; remember the weights if they are the best so far."""
        since = self.step - (self.history[-1]["step"] if self.history else 0)
        means = (self.sums / since).tolist()
        self.sums.zero_()
        check_loss(means[0], self.config.learning_rate, f"step {self.step}")
        row = {"step": self.step, "learning_rate": rate}
        row |= dict(zip(("loss", "cross_entropy", "distance"), means, strict=True))
        if self.held is not None:
            row |= self.validate()
            self.compare(row)
        self.history.append(row)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        x, y, member, truth = self.held
        self.network.eval()
        loss, _, _, logits = objective(self.network, x, y)
        sums = logits.new_zeros(len(truth), logits.shape[1]).index_add_(0, member, logits)
        pooled = sums / torch.bincount(member)[:, None]
        right = (pooled.argmax(1) == truth).float().mean()
        return {"valid_loss": float(loss), "valid_accuracy": float(right)}

    def compare(self, row: Mapping[str, float]) -> None:
        if self.config.keep == "last":
            return
        score = (row["valid_accuracy"] if self.config.keep == "accuracy" else 0.0, -row["valid_loss"])
        if self.best is None or score > tuple(self.best["score"]):
            weights = {name: values.detach().clone() for name, values in self.network.state_dict().items()}
            self.best = {"score": list(score), "step": self.step, "weights": weights}

    def identity(self) -> str:
        """Hash of all that decides the numbers."""
        arrays = {f"{i}{j}": part[j] for i, part in enumerate(self.parts) if part is not None for j in (0, 1)}
        tracks = [np.unique(part[2], return_inverse=True)[1] for part in self.parts if part is not None]
        arrays |= {f"tracks{i}": values for i, values in enumerate(tracks)}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
        return fingerprint(TRAINING_VERSION, sorted(asdict(self.config).items()), self.seed, weights=tensors)

    def state(self) -> dict:
        state = {"network": self.network.state_dict(), "adam": self.adam.state_dict()}
        state |= {"schedule": self.schedule.state_dict(), "torch": torch.get_rng_state(), "sums": self.sums}
        if self.x.is_cuda:
            state["cuda"] = torch.cuda.get_rng_state(self.x.device)
        return state | {"step": self.step, "history": self.history, "best": self.best}

    def restore(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.adam.load_state_dict(state["adam"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["torch"])
        if self.x.is_cuda and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.x.device)
        self.sums = state["sums"].to(self.x.device)
        self.step, self.history, self.best = state["step"], state["history"], state["best"]
