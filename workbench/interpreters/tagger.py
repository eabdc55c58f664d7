"""Classifiers that give a clip several labels or none, trained here to be explained (the SONYC-UST setting)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..encoders import Encoder
from ..errors import ParameterError
from ..metrics.fidelity import average_precision
from ..prototypes.networks import FLOOR, HOP, N_FFT, SmallConvNet
from .classifiers import Classifier, Features, KumarVGG, LogMels, Stacked, VGGBody

MELS, RATE = 64, 16000


def train_tagger(
    x: Tensor,
    tags: ArrayLike,
    split: object,
    *,
    classes: list[str],
    network: str | Encoder = "conv",
    epochs: int = 30,
    batch: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Classifier:
    """Train a multi-label classifier by binary cross-entropy, positives weighted by how rare they are.

    Parameters
    ----------
    x : Tensor (N, samples)
        Waveforms at the network's rate: 16 kHz for "conv", 44.1 kHz for "vgg", else the encoder's.
    tags : array_like of bool (N, C)
    split : object with ``train`` and ``valid`` rows
    classes : sequence of str (C,)
    network : {"conv", "vgg"} or EfficientAT
        A small convolutional net or the paper's VGG, from random weights; or a linear head on a frozen EfficientAT.
    epochs, batch, learning_rate
        Of Adam. The epoch of highest mean average precision on the validation clips is kept.
    seed : int
        Of weights and order.
    device : str
    progress : bool

    Returns
    -------
    Classifier
        With ``multilabel`` set.

    Raises
    ------
    ParameterError
        Tags of a wrong shape, a class without a positive among the training clips, an unknown network.
    """
    from tqdm.auto import tqdm

    y = torch.from_numpy(np.asarray(tags, dtype=np.float32))
    if y.shape != (len(x), len(classes)):
        raise ParameterError("tags.shape", tuple(y.shape), f"({len(x)}, {len(classes)}), clips and classes")
    train, valid = (torch.from_numpy(np.asarray(getattr(split, part))) for part in ("train", "valid"))
    positives = y[train].sum(0)
    if (positives == 0).any():
        raise ParameterError("tags", f"none of {classes[int(positives.argmin())]} in train", "a positive of each class")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        front, body, head, options = _parts(network, len(classes))
        found = Classifier(Stacked(front, body, head), classes=classes, multilabel=True, device=device, **options)
        inputs = _inputs(front, body, x, train, found.device)
        trained = [p.requires_grad_() for part in (body, head) for p in part.parameters()]
        adam = torch.optim.Adam(trained, lr=learning_rate)
        weight = ((len(train) - positives) / positives).clamp(1, 20).to(found.device)
        rng, best, kept = np.random.default_rng(seed), -math.inf, None
        for _ in tqdm(range(epochs), disable=not progress, desc="tagger epochs", leave=False):
            body.train()
            for rows in np.array_split(rng.permutation(train.numpy()), math.ceil(len(train) / batch)):
                scores = head(body(inputs[torch.from_numpy(rows)].to(found.device)))
                loss = F.binary_cross_entropy_with_logits(scores, y[rows].to(found.device), pos_weight=weight)
                adam.zero_grad()
                loss.backward()
                adam.step()
            body.eval()
            if (now := _precision(head, body, inputs[valid], y[valid], found)) > best:
                best = now
                kept = {name: value.clone() for name, value in found.module.state_dict().items()}
    found.module.load_state_dict(kept)
    found.module.requires_grad_(False)
    return found


def _parts(network: str | Encoder, classes: int) -> tuple[nn.Module, nn.Module, nn.Linear, dict[str, object]]:
    """What is fixed, what is trained, the head, and what a Classifier must know."""
    if network == "conv":
        front = LogMels(RATE, n_fft=N_FFT, hop=HOP, mels=MELS, floor=FLOOR)
        taps = [f"network.blocks.{i}" for i in (5, 8, 11)]
        return front, SmallConvNet(MELS, 64), nn.Linear(64, classes), {"rate": RATE, "taps": taps, "name": "small net"}
    if network == "vgg":
        vgg = KumarVGG(classes, hidden=512, dropout=0.15)
        taps = [f"network.{tap}" for tap in KumarVGG.TAPS]
        return vgg.front_end, VGGBody(vgg), vgg.out, {"rate": 44100, "taps": taps, "axes": "bctf", "name": "VGG"}
    if not hasattr(getattr(network, "net", None), "features"):
        raise ParameterError("network", network, "'conv', 'vgg' or an EfficientAT encoder")
    front, width = Features(network), network.layers[-1].dim
    taps = [f"front_end.features.{i}" for i in (6, 12, 15)]
    return (
        front,
        nn.BatchNorm1d(width),
        nn.Linear(width, classes),
        {"rate": network.rate, "taps": taps, "name": network.name},
    )


@torch.no_grad()
def _inputs(front: nn.Module, body: nn.Module, x: Tensor, train: Tensor, device: torch.device) -> Tensor:
    """What the fixed part makes of every clip; its statistics over the training clips are set first."""
    front.eval()
    inputs = torch.cat([front(part.to(device)).cpu() for part in x.split(16)])
    if isinstance(front, LogMels):
        shift, scale = inputs[train].mean((0, 2), keepdim=True)[0], inputs[train].std((0, 2), keepdim=True)[0] + 1e-6
        front.shift, front.scale = shift.to(device), scale.to(device)
        inputs = (inputs - shift) / scale
    return inputs


@torch.no_grad()
def _precision(head: nn.Module, body: nn.Module, inputs: Tensor, y: Tensor, found: Classifier) -> float:
    scores = torch.cat([head(body(part.to(found.device))).sigmoid().cpu() for part in inputs.split(32)])
    return average_precision(y.numpy() > 0, scores.double().numpy()).macro
