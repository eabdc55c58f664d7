"""Classifiers that give a clip several labels or none, trained here to be explained (the SONYC-UST setting)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked, number, numbers, several, whole
from ..core.errors import ParameterError
from ..core.learning import RATES, check_loss, unlearnt, warn_unlearnt
from ..core.warn import warn
from ..encoders import Encoder
from ..metrics.fidelity import average_precision
from ..prototypes.networks import FLOOR, HOP, N_FFT, SmallConvNet
from .classifiers import LEAST_VGG, Classifier, Features, KumarVGG, LogMels, Stacked, VGGBody, real
from .l2i import training_rows

MELS, RATE = 64, 16000


@checked
def train_tagger(
    x: Tensor,
    tags: ArrayLike,
    split: object,
    *,
    classes: Sequence[object],
    network: str | Encoder = "conv",
    epochs: int = 30,
    batch: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str | torch.device = "auto",
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

    for name, value in (("epochs", epochs), ("batch", batch)):
        whole(name, value, least=1)
    number("learning_rate", learning_rate, **RATES)
    classes = several("classes", classes, lambda _, one: str(one))
    x, y = real("x", x), torch.from_numpy(numbers("tags", tags).astype(np.float32))
    if x.ndim != 2 or not x.numel() or not x.isfinite().all():
        raise ParameterError("x.shape", tuple(x.shape), "(N, samples), finite, with at least one clip")
    if not ((y == 0) | (y == 1)).all():
        raise ParameterError("tags", sorted(set(y.flatten().tolist()))[:5], "0 and 1, or False and True")
    if y.shape != (len(x), len(classes)):
        raise ParameterError("tags.shape", tuple(y.shape), f"({len(x)}, {len(classes)}), clips and classes")
    train, valid = map(torch.from_numpy, training_rows(split, len(x)))
    if len(train) < 2 or not len(valid):
        raise ParameterError("split", f"{len(train)} train, {len(valid)} valid", "clips in both, two or more in train")
    positives = y[train].sum(0)
    if (positives == 0).any():
        raise ParameterError("tags", f"none of {classes[int(positives.argmin())]} in train", "a positive of each class")
    absent = [classes[int(c)] for c in (y[valid].sum(0) == 0).nonzero()]
    if len(absent) == len(classes):
        raise ParameterError("tags", "no positive of any class in valid", "some, on which the epoch is chosen")
    if absent:
        few = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        text = f"{len(absent)} of {len(classes)} classes have no positive in valid ({few}): the epoch is chosen without"
        warn(text)
    losses, chosen = [], None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        front, body, head, options = _parts(network, len(classes))
        found = Classifier(Stacked(front, body, head), classes=classes, multilabel=True, device=device, **options)
        inputs = _inputs(front, body, x, train, found.device)
        if isinstance(body, nn.BatchNorm1d) and math.ceil(len(train) / batch) > len(train) // 2:
            raise ParameterError("batch", batch, "so large that no step has one clip alone")
        trained = [p.requires_grad_() for part in (body, head) for p in part.parameters()]
        adam = torch.optim.Adam(trained, lr=learning_rate)
        weight = ((len(train) - positives) / positives).clamp(1, 20).to(found.device)
        rng, best, kept = np.random.default_rng(seed), -math.inf, None
        for epoch in tqdm(range(epochs), disable=not progress, desc="tagger epochs", leave=False):
            body.train()
            total = torch.zeros((), device=found.device)
            for rows in np.array_split(rng.permutation(train.numpy()), math.ceil(len(train) / batch)):
                scores = head(body(inputs[torch.from_numpy(rows)].to(found.device)))
                loss = F.binary_cross_entropy_with_logits(scores, y[rows].to(found.device), pos_weight=weight)
                adam.zero_grad()
                loss.backward()
                adam.step()
                total += loss.detach() * len(rows)
            body.eval()
            losses.append(float(total) / len(train))
            check_loss(losses[-1], learning_rate, f"epoch {epoch}")
            if (now := _precision(head, body, inputs[valid], y[valid], found)) > best:
                best, chosen = now, epoch
                kept = {name: value.clone() for name, value in found.module.state_dict().items()}
    warn_unlearnt("train_tagger", unlearnt(losses, chosen), f"learning_rate={learning_rate:g}, epochs={epochs}")
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
    if isinstance(body, VGGBody) and x.shape[1] < LEAST_VGG:
        raise ParameterError("x.shape", tuple(x.shape), f"clips of at least {LEAST_VGG} samples at 44.1 kHz")
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
