"""How an APNet is trained: cross-entropy, reconstruction, and prototypes that stay near the sounds."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.fingerprints import fingerprint
from ..core.learning import check_loss
from ..core.saving import read_checkpoint, write_checkpoint

if TYPE_CHECKING:
    import pandas as pd

    from .apnet import APNetConfig, APNetwork

TRAINING_VERSION = 1
"""To be raised when training changes its numbers: checkpoints of before are then refused."""
TERMS = ("loss", "cross_entropy", "reconstruction", "distance")

Part = tuple[np.ndarray, np.ndarray]
"""Scaled spectrograms float32 (N, T, F), classes int64 (N,)."""


def objective(network: APNetwork, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The :data:`TERMS` (4,), and logits.

    The distance is that of each prototype to its nearest sound of the batch plus that of each sound to its nearest
    prototype, means of both; squared differences are means over latent frequencies.
    """
    logits, reconstructed, distances = network(x)
    entropy, error = F.cross_entropy(logits, y), F.mse_loss(reconstructed, x)
    apart = distances.mean(2)
    pull = apart.amin(0).mean() + apart.amin(1).mean()
    a, b, c = network.config.loss_weights
    return torch.stack([a * entropy + b * error + c * pull, entropy, error, pull]), logits


def train(
    network: APNetwork,
    training: Part,
    validation: Part,
    *,
    config: APNetConfig,
    seed: int,
    checkpoint: str | os.PathLike | None,
    progress: bool,
) -> tuple[pd.DataFrame, int]:
    """All epochs; leaves the weights of the epoch kept in the network. History, that epoch."""
    import pandas as pd
    from tqdm.auto import tqdm

    place = network.prototypes.device
    parts = [tuple(torch.from_numpy(values) for values in part) for part in (training, validation)]
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    state = {"epoch": 0, "history": [], "best": None}
    identity = None
    if checkpoint is not None:
        arrays = {f"{i}{j}": values for i, part in enumerate(parts) for j, values in enumerate(part)}
        identity = fingerprint("apnet", TRAINING_VERSION, sorted(asdict(config).items()), seed, weights=arrays)
        if Path(checkpoint).exists():
            state = read_checkpoint(checkpoint, identity)
            network.load_state_dict(state["network"])
            adam.load_state_dict(state["adam"])
    with tqdm(total=config.epochs, initial=state["epoch"], disable=not progress, desc="epochs") as bar:
        while state["epoch"] < config.epochs and not _patience_is_over(state, config.patience):
            epoch = state["epoch"]
            order = np.random.default_rng([seed, epoch]).permutation(len(parts[0][0]))
            row = {"epoch": epoch, **_epoch(network, adam, parts[0], torch.from_numpy(order), config.batch, place)}
            check_loss(row["loss"], config.learning_rate, f"epoch {epoch}")
            row |= _validate(network, parts[1], config.batch, place)
            state["history"].append(row)
            score = [row["valid_accuracy"], -row["valid_loss"]]
            if state["best"] is None or score > state["best"]["score"]:
                weights = {name: values.detach().clone() for name, values in network.state_dict().items()}
                state["best"] = {"score": score, "epoch": epoch, "weights": weights}
            state["epoch"] += 1
            if checkpoint is not None:
                now = {"network": network.state_dict(), "adam": adam.state_dict(), "identity": identity}
                write_checkpoint(checkpoint, state | now)
            bar.update()
    network.load_state_dict(state["best"]["weights"])
    return pd.DataFrame(state["history"]), state["best"]["epoch"]


def _patience_is_over(state: dict, patience: int) -> bool:
    return state["best"] is not None and state["epoch"] - 1 - state["best"]["epoch"] >= patience


def _epoch(
    network: APNetwork, adam: torch.optim.Adam, part: tuple[Tensor, Tensor], order: Tensor, batch: int, place
) -> dict[str, float]:
    """Train once through the sounds; means over them while weights change."""
    network.train()
    sums = torch.zeros(len(TERMS), device=place)
    for rows in order.split(batch):
        terms, _ = objective(network, part[0][rows].to(place), part[1][rows].to(place))
        adam.zero_grad()
        terms[0].backward()
        adam.step()
        network.constrain()
        sums += terms.detach() * len(rows)
    return dict(zip(TERMS, (sums / len(order)).tolist(), strict=True))


@torch.no_grad()
def _validate(network: APNetwork, part: tuple[Tensor, Tensor], batch: int, place) -> dict[str, float]:
    network.eval()
    right = loss = 0.0
    for x, y in zip(part[0].split(batch), part[1].split(batch), strict=True):
        terms, logits = objective(network, x.to(place), y.to(place))
        right += float((logits.argmax(1).cpu() == y).sum())
        loss += float(terms[0]) * len(x)
    return {"valid_accuracy": right / len(part[0]), "valid_loss": loss / len(part[0])}
