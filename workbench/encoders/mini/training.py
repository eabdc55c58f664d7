"""Train ``mini``, or measure it: ``python -m workbench.encoders.mini.training --help``.

Three kinds of loss, one step: the last layer's frames and their mean learn the teacher's (mn04_as) embedding,
frame by frame and pooled; the layer before learns to tell its clip from the others of the batch under distortion;
a layer in the middle predicts, where the input is masked, clusters of the stem's frames and clusters of cepstra
(without the clip's mean, so that speaker and channel matter less).
Labels are never used. Held-out clips (see :mod:`.evaluation`) are never decoded.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.checks import checked, whole
from ...core.fitting import seeded, train
from ..efficientat import EfficientAT, load_efficientat
from ..interface import Encoder
from .evaluation import evaluate_mini, read_table
from .network import HOP, MiniConfig, MiniNet, frame_mask, load_mini, save_mini
from .sounds import Corpus, draw_batch, halve

if TYPE_CHECKING:
    import pandas as pd

BATCH = {"short": 24, "long": 12}
CLUSTERS = 256
PREPARED = 40  # batches from which centres and scales are fitted
CEPSTRA = 14
PREDICTED_AT, CONTRASTED_AT = 4, 5
LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 8e-4, 0.03, 150
MASKED, SPAN = 0.45, 6


class Heads(nn.Module):
    """What training needs beside the network, and drops afterwards."""

    def __init__(self, dim: int, teacher_dim: int):
        super().__init__()
        self.mask = nn.Parameter(torch.zeros(dim))
        self.pooled = nn.Linear(dim, teacher_dim)
        self.frames = nn.Linear(dim, teacher_dim)
        self.contrast = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 128))
        self.predict_norm = nn.LayerNorm(dim)
        self.cepstral = nn.Linear(dim, CLUSTERS)
        self.spectral = nn.Linear(dim, CLUSTERS)
        self.register_buffer("cepstral_centres", torch.zeros(CLUSTERS, 3 * CEPSTRA))
        self.register_buffer("spectral_centres", torch.zeros(CLUSTERS, dim))
        self.register_buffer("teacher_mean", torch.zeros(teacher_dim))
        self.register_buffer("teacher_scale", torch.ones(teacher_dim))


def _teach(teacher: EfficientAT, x: Tensor) -> Tensor:
    """The teacher's last frames for 32 kHz waveforms of one length: (B, T at 3.125 Hz, 384)."""
    lengths = torch.full((len(x),), x.shape[1])
    with torch.inference_mode():
        return teacher.forward(x, lengths, [len(teacher.layers) - 1])[0][0].clone()


@torch.no_grad()
def _cepstra(net: MiniNet, x: Tensor, counts: Tensor) -> Tensor:
    """Return cepstra at 25 Hz, with one frame of context on both sides, clip mean removed, (B, T, 3 * 14)."""
    mel = F.avg_pool1d(net.log_mel(x).transpose(1, 2), 4, 4, padding=2).transpose(1, 2)
    mel = mel[:, : x.shape[1] // HOP // 4 + 1]
    mels = mel.shape[2]
    basis = torch.cos(torch.pi / mels * (torch.arange(mels) + 0.5)[:, None] * torch.arange(CEPSTRA))
    y = mel @ (basis / mels**0.5)
    inside = frame_mask(counts, mel.shape[1])[..., None]
    y = (y - (y * inside).sum(1, keepdim=True) / counts[:, None, None]) * inside
    around = F.pad(y, (0, 0, 1, 1))
    return torch.cat((y, around[:, :-2], around[:, 2:]), 2)


def _nearest(frames: Tensor, centres: Tensor) -> Tensor:
    """Position of the nearest centre of every frame."""
    return (frames @ centres.T - centres.square().sum(1) / 2).argmax(-1)


def _fit_stem(net: MiniNet, frames: Tensor, seed: int) -> None:
    """Set the fixed projection: principal axes, their spread evened out by half, then turned at random.

    The turn keeps a later standardisation of single dimensions from blowing up the faintest axes.
    """
    mean, scale = frames.mean(0), frames.std(0) + 1e-3
    values, axes = torch.linalg.eigh(torch.cov(((frames - mean) / scale).T))
    dim = net.config.dim
    values, axes = values[-dim:].clamp(min=1e-4), axes[:, -dim:]
    turn, _ = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed)))
    projection = axes * values**-0.25
    projection *= (dim / values.sqrt().sum()) ** 0.5
    net.centre.copy_(mean)
    net.projection.copy_(projection @ turn / scale[:, None])


@torch.no_grad()
def _prepare(net: MiniNet, heads: Heads, teacher: EfficientAT, corpus: Corpus, seed: int) -> None:
    """The stem's projection, cluster centres, the teacher's mean and scale, from distorted training sounds."""
    from sklearn.cluster import MiniBatchKMeans

    rng = np.random.default_rng((seed, 1))
    frames, cepstral, taught = [], [], []
    for step in range(PREPARED):
        x, lengths = draw_batch(corpus, rng, "long" if step % 2 else "short", 16)
        student = halve(x)
        y, counts = net.modulations(student, lengths // 2)
        inside = frame_mask(counts, y.shape[1])
        frames.append(y[inside])
        cepstral.append(_cepstra(net, student, counts)[inside])
        taught.append(_teach(teacher, x[:16]).mean(1))
    _fit_stem(net, torch.cat(frames), seed)
    stem = (torch.cat(frames) - net.centre) @ net.projection
    for y, centres in ((stem, heads.spectral_centres), (torch.cat(cepstral), heads.cepstral_centres)):
        fitted = MiniBatchKMeans(CLUSTERS, n_init=1, batch_size=4096, random_state=seed).fit(y.numpy())
        centres.copy_(torch.from_numpy(fitted.cluster_centers_))
    heads.teacher_mean.copy_(torch.cat(taught).mean(0))
    heads.teacher_scale.copy_(torch.cat(taught).std(0) + 0.05)


def _draw_mask(rng: np.random.Generator, rows: int, counts: Tensor, frames: int) -> Tensor:
    """Spans of masked frames over the second half of the rows (the first half is left whole), (B, T)."""
    starts = rng.uniform(size=(rows, frames)) < MASKED / SPAN * 1.3
    starts[: rows // 2] = False
    masked = np.zeros_like(starts)
    for shift in range(SPAN):
        masked[:, shift:] |= starts[:, : frames - shift]
    return torch.from_numpy(masked) & frame_mask(counts, frames)


def _losses(net: MiniNet, heads: Heads, x: Tensor, lengths: Tensor, taught: Tensor, masked_rng) -> dict[str, Tensor]:
    """The losses of one batch: whole views, then masked ones; ``taught`` are the teacher's frames of the whole."""
    student = halve(x)
    with torch.no_grad():  # the stem is fixed
        stem, counts = net.stem(student, lengths // 2)
    masked = _draw_mask(masked_rng, len(x), counts, stem.shape[1])
    with torch.autocast("cpu", torch.bfloat16):
        layers = net.encode(torch.where(masked[..., None], heads.mask.to(stem.dtype), stem), counts)
    inside = frame_mask(counts, stem.shape[1])[..., None]

    def pool(y: Tensor) -> Tensor:
        return (y.float() * inside).sum(1) / counts[:, None]

    def standard(y: Tensor) -> Tensor:
        return (y - heads.teacher_mean) / heads.teacher_scale

    last, whole = layers[-1].float(), len(taught)
    losses = {"pooled": F.smooth_l1_loss(heads.pooled(pool(last)[:whole]), standard(taught.mean(1)))}
    slow = F.adaptive_avg_pool1d((last * inside)[:whole].transpose(1, 2), taught.shape[1]).transpose(1, 2)
    losses["frames"] = F.smooth_l1_loss(heads.frames(slow), standard(taught))
    a, b = F.normalize(heads.contrast(pool(layers[CONTRASTED_AT])), dim=1).chunk(2)
    similar, same = a @ b.T / 0.1, torch.arange(len(a))
    losses["contrast"] = (F.cross_entropy(similar, same) + F.cross_entropy(similar.T, same)) / 2
    predicted = heads.predict_norm(layers[PREDICTED_AT].float()[masked])
    targets = _cepstra(net, student, counts)[masked]
    losses["cepstral"] = F.cross_entropy(heads.cepstral(predicted), _nearest(targets, heads.cepstral_centres))
    losses["spectral"] = F.cross_entropy(heads.spectral(predicted), _nearest(stem[masked], heads.spectral_centres))
    return losses


LOSS_WEIGHTS = {"pooled": 4.0, "frames": 2.0, "contrast": 0.5, "cepstral": 0.25, "spectral": 0.25}


def learning_rate(step: int, steps: int, *, highest: float = LEARNING_RATE, warm_up: int = WARM_UP) -> float:
    """Linear warm-up, then half a cosine to zero."""
    return highest * min(step / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def optimizer(net: nn.Module, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """AdamW that lets matrices decay, and vectors not; the learning rate is set at every step."""
    groups = [[p for p in net.parameters() if (p.ndim > 1) == matrices] for matrices in (True, False)]
    decays = (weight_decay, 0.0)
    return torch.optim.AdamW(
        [{"params": group, "weight_decay": decay} for group, decay in zip(groups, decays, strict=True)], betas=betas
    )


def step_once(adam: torch.optim.Optimizer, net: nn.Module, loss: Tensor, rate: float) -> None:
    """One step down the gradient of a loss, cut to length 1, at a learning rate."""
    for group in adam.param_groups:
        group["lr"] = rate
    adam.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    adam.step()


def in_rounds(advance: Callable[[int], dict[str, float]], steps: int, every: int) -> tuple[Callable, int]:
    """A training of single steps as the rounds of :func:`workbench.core.fitting.train`, and how many they are.

    ``advance(step)`` gives what a round gives the means of, and the seconds that it took.
    """

    def round_of(i: int) -> dict[str, float]:
        begin = time.monotonic()
        rows = [advance(step) for step in range(i * every, min(steps, (i + 1) * every))]
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return means | {"seconds": time.monotonic() - begin}

    return round_of, math.ceil(steps / every)


@checked
def train_mini(
    root: Path, teacher: EfficientAT, *, seed: int, steps: int, out: Path, every: int = 100, command: str = ""
) -> pd.DataFrame:
    """Train and write the weights; goes on from ``out`` + ".checkpoint" when that is there.

    Parameters
    ----------
    root : Path
        Audio folder with ``manifest.csv``.
    teacher : EfficientAT
        mn04_as.
    seed, steps : int
        Every random draw of a step depends on these and the step's number alone, so a resumed run goes on as
        the undisturbed one would have.
    out : Path
        Where the float16 safetensors go at the end.
    every : int
        Steps from one checkpoint to the next.
    command : str
        Kept in the weights' metadata.

    Returns
    -------
    pandas.DataFrame
        A row every so many steps: the mean losses, and seconds.

    Raises
    ------
    ParameterError
        The checkpoint there is of another seed or number of steps.
    """
    whole("steps", steps, least=1)
    whole("every", every, least=1)
    checkpoint = out.with_name(out.name + ".checkpoint")
    with seeded(seed, torch.device("cpu")):
        net = MiniNet(MiniConfig())
        heads = Heads(net.config.dim, teacher.dim)
        module = nn.ModuleList([net, heads])
        corpus = Corpus.read(root, read_table(root))
        if not checkpoint.is_file():
            _prepare(net, heads, teacher, corpus, seed)
        adam = optimizer(module, (0.9, 0.98), WEIGHT_DECAY)

        def advance(step: int) -> dict[str, float]:
            rng = np.random.default_rng((seed, 2, step))
            kind = "short" if step % 2 else "long"
            x, lengths = draw_batch(corpus, rng, kind, BATCH[kind])
            terms = _losses(net, heads, x, lengths, _teach(teacher, x[: BATCH[kind]]), rng)
            loss = sum(LOSS_WEIGHTS[name] * value for name, value in terms.items())
            step_once(adam, module, loss, learning_rate(step + 1, steps))
            return {name: float(value.detach()) for name, value in {"loss": loss, **terms}.items()}

        rounds, count = in_rounds(advance, steps, every)
        fixed = {"module": module, "optimizer": adam, "learning_rate": LEARNING_RATE, "name": "mini", "unit": "round"}
        identity = f"mini, seed {seed}, {steps} steps, {every} a round"
        history, _ = train(rounds, count, checkpoint=checkpoint, identity=lambda: identity, **fixed)
    note = {"command": command, "steps": str(steps), "seconds": f"{history['seconds'].sum():.0f}"}
    save_mini(net, out, note=note)
    return history


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workbench.encoders.mini.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="audio folder with manifest.csv")
    parser.add_argument("--teacher", type=Path, help="mn04_as checkpoint; with --evaluate one more row of the table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--out", type=Path, help="weights to write; beside them .checkpoint, from which a run goes on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--evaluate", type=Path, metavar="FILE", help="print the table for these weights instead")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    teacher: Encoder | None = None
    if options.teacher is not None:
        teacher = load_efficientat("mn04_as", weights=options.teacher, device="cpu")
    if options.evaluate is not None:
        table = evaluate_mini(options.data, load_mini(weights=options.evaluate, device="cpu"), teacher)
        print(table.round(1).to_string())
        return
    if teacher is None or options.out is None:
        parser.error("training needs --teacher and --out")
    command = (  # file names only: where they lay on the machine of the run is nobody's business
        f"python -m workbench.encoders.mini.training --data DATA --teacher {options.teacher.name} "
        f"--seed {options.seed} --steps {options.steps} --out {options.out.name}"
    )
    train_mini(options.data, teacher, seed=options.seed, steps=options.steps, out=options.out, command=command)


if __name__ == "__main__":
    main()
