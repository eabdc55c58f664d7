"""Train ``mini``: ``python -m workbench.encoders.mini.training --help``.

The student learns to predict the frames of frozen teachers for the same sounds (:mod:`.lessons`): those of a middle and
of the last layer of a speech model, and of late stages of a tagger. Each layer of a teacher has three losses: for its
frames, for their mean over the clip, and for the cluster that a frame belongs to, as in HuBERT (Hsu et al. 2021).

Self-supervision is added: in one of a clip's two views, spans of the input are masked, and the teachers' frames must be
predicted from their context; and a contrastive loss at the layer before the last distinguishes a clip's two views from
other clips.

Labels are not used. Held-out clips (see :mod:`.held_out`) are never decoded.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.checks import checked, whole
from ...core.fitting import seeded, train
from .held_out import PARTS
from .lessons import Lessons, Taught, inside, student_frames
from .network import FRONT_ENDS, MiniConfig, MiniNet, frame_mask, save_mini

if TYPE_CHECKING:
    import pandas as pd

LESSONS = 640
PREPARED = 60
"""Number of lessons from which centres, scales and clusters are fitted."""
CLUSTERS = 512
CONTRASTED_AT = 5
CONTRAST_WEIGHT = 0.1
LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 1e-3, 0.03, 100
HIDDEN, SPAN = 0.35, 5
"""Fraction of a masked view's frames that are hidden, and the length of a hidden span in frames."""


class _Head(nn.Module):
    """Predicts one layer of one teacher from the student's frames; it is dropped after training."""

    def __init__(self, dim: int, entry: Taught, frames: list[Tensor], inside: list[Tensor], seed: int):
        super().__init__()
        from sklearn.cluster import MiniBatchKMeans

        self.entry = entry
        width, size = frames[0].shape[2], max(y.shape[1] for y in frames)
        total, count = torch.zeros(size, width), torch.zeros(size, 1)
        for y, own in zip(frames, inside, strict=True):
            total[: y.shape[1]] += (y * own[..., None]).sum(0)
            count[: y.shape[1]] += own.sum(0)[:, None]
        # Whisper's frames contain their position in the clip, which the student cannot know and need not
        positions = total / count.clamp(min=1)
        rest = torch.cat([(y - positions[: y.shape[1]])[own] for y, own in zip(frames, inside, strict=True)])
        scale = rest.std(0)
        self.register_buffer("positions", positions)
        self.register_buffer("scale", scale + 0.05 * scale.mean())
        some = (rest / self.scale)[:: max(1, len(rest) // 30000)]
        clusters = MiniBatchKMeans(CLUSTERS, n_init=1, batch_size=4096, max_iter=20, random_state=seed).fit(
            some.numpy()
        )
        self.register_buffer("centres", torch.from_numpy(clusters.cluster_centers_).float())
        self.norm = nn.LayerNorm(dim)
        self.frames = nn.Linear(dim, width)
        self.clusters = nn.Linear(dim, CLUSTERS)

    def losses(self, y: Tensor, own: Tensor, target: Tensor, inside: Tensor) -> dict[str, Tensor]:
        """Compute the losses of the student's frames (B, T, dim) for the teacher's (B, T', D).

        ``own`` (B, T) and ``inside`` (B, T') are True where a frame of the student or the teacher is in its clip.
        """
        target = (target.float() - self.positions[: target.shape[1]]) / self.scale
        y = y.float()
        mean = (y * own[..., None]).sum(1) / own.sum(1, keepdim=True)
        if target.shape[1] < y.shape[1]:
            y, weight = (
                F.adaptive_avg_pool1d(x.transpose(1, 2), target.shape[1]).transpose(1, 2)
                for x in (y * own[..., None], own[..., None].float())
            )
            y = y / weight.clamp(min=1e-3)
        y, mean = self.norm(y), self.norm(mean)
        wanted = (target * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
        target, y = target[inside], y[inside]
        labels = (target @ self.centres.T - self.centres.square().sum(1) / 2).argmax(-1)
        return {
            "frames": F.smooth_l1_loss(self.frames(y).float(), target),
            "mean": F.smooth_l1_loss(self.frames(mean).float(), wanted, beta=0.3),
            "clusters": F.cross_entropy(self.clusters(y).float(), labels),
        }


class _Heads(nn.Module):
    """Modules that only training needs, and that are dropped afterwards."""

    def __init__(self, dim: int, heads: Sequence[_Head]):
        super().__init__()
        self.taught = nn.ModuleList(heads)
        self.mask = nn.Parameter(torch.zeros(dim))
        self.contrast = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 128))


def _fit_stem(net: MiniNet, frames: Tensor, seed: int) -> None:
    """Initialise the projection: partly whitened principal axes, rotated at random."""
    net.centre.copy_(frames.mean(0))
    net.scale.copy_(frames.std(0) + 1e-3)
    values, axes = torch.linalg.eigh(torch.cov(((frames - net.centre) / net.scale).T))
    dim = net.config.dim
    values, axes = values[-dim:].clamp(min=1e-4), axes[:, -dim:]
    turn, _ = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed)))
    projection = axes * values**-0.25 * (dim / values.sqrt().sum()) ** 0.5
    net.project.weight.copy_((projection @ turn).T)
    net.project.bias.zero_()


@torch.no_grad()
def _prepare(net: MiniNet, lessons: Lessons, seed: int) -> _Heads:
    """Fit the stem's statistics, and make a head for each layer that is taught."""
    first = [lessons[i] for i in range(min(PREPARED, len(lessons)))]
    frames = []
    for lesson in first:
        y, counts = net.modulations(lesson["x"].float() / 32767, lesson["lengths"])
        frames.append(y[frame_mask(counts, y.shape[1])][::3])
    _fit_stem(net, torch.cat(frames), seed)
    heads = []
    for entry in lessons.entries:
        targets = [lesson[entry.name].float() for lesson in first]
        totals = [int(student_frames(lesson["lengths"]).max()) for lesson in first]
        own = [
            inside(lesson["lengths"], y.shape[1], total)
            for lesson, y, total in zip(first, targets, totals, strict=True)
        ]
        heads.append(_Head(net.config.dim, entry, targets, own, seed))
    return _Heads(net.config.dim, heads)


def _disturb(x: Tensor, lengths: Tensor, rng: np.random.Generator) -> Tensor:
    """Distort the student's input only: a gain from -15 to 9 dB, and noise in four of ten rows on average."""
    rows = len(x)
    level = x.square().mean(1, keepdim=True).sqrt() + 1e-5
    noise = np.where(rng.uniform(size=rows) < 0.4, rng.uniform(-40, -12, rows), -200.0)
    decibels = torch.from_numpy(np.stack((noise, rng.uniform(-15, 9, rows)))).float()[..., None]
    decibels, white = decibels.to(x.device), torch.from_numpy(rng.standard_normal(x.shape, np.float32)).to(x.device)
    x = x + white * level * 10 ** (decibels[0] / 20)
    return (x * 10 ** (decibels[1] / 20)).clamp(-1, 1) * frame_mask(lengths, x.shape[1])


def _draw_mask(rng: np.random.Generator, own: Tensor) -> Tensor:
    """Draw hidden frames, bool (B, T), in spans and in the second half of the rows only (the second views)."""
    rows, frames = own.shape
    starts = rng.uniform(size=(rows, frames)) < HIDDEN / SPAN
    starts[: rows // 2] = False
    hidden = np.zeros_like(starts)
    for shift in range(SPAN):
        hidden[:, shift:] |= starts[:, : frames - shift]
    return torch.from_numpy(hidden).to(own.device) & own


def _contrast(heads: _Heads, y: Tensor, own: Tensor) -> Tensor:
    """Return the cross entropy of identifying a clip's other view among those of the batch."""
    mean = (y.float() * own[..., None]).sum(1) / own.sum(1, keepdim=True)
    a, b = F.normalize(heads.contrast(mean).float(), dim=1).chunk(2)
    similar, same = a @ b.T / 0.1, torch.arange(len(a), device=a.device)
    return (F.cross_entropy(similar, same) + F.cross_entropy(similar.T, same)) / 2


def _losses(
    net: MiniNet, heads: _Heads, lesson: Mapping[str, Tensor], rng: np.random.Generator, *, alone: bool
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of one lesson, and its terms; ``alone`` leaves out self-supervision."""
    lengths = lesson["lengths"]
    x = _disturb(lesson["x"].float() / 32767, lengths, rng)
    stem, counts = net.stem(x, lengths)
    own = frame_mask(counts, stem.shape[1])
    hidden = torch.zeros_like(own) if alone else _draw_mask(rng, own)
    loss, terms = stem.new_zeros(()), {}
    with torch.autocast(x.device.type, torch.bfloat16):
        layers = net.encode(torch.where(hidden[..., None], heads.mask, stem), counts)
        for head in heads.taught:
            target = lesson[head.entry.name]
            valid = inside(lengths, target.shape[1], stem.shape[1])
            for kind, value in head.losses(layers[head.entry.at], own, target, valid).items():
                loss = loss + head.entry.weight * value
                terms[f"{head.entry.name} {kind}"] = value.item()
        if not alone:
            value = _contrast(heads, layers[CONTRASTED_AT], own)
            loss = loss + CONTRAST_WEIGHT * value
            terms["contrast"] = value.item()
    return loss, {"loss": loss.item(), **terms}


def learning_rate(step: int, steps: int, *, highest: float = LEARNING_RATE, warm_up: int = WARM_UP) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine to zero."""
    return highest * min(step / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def optimizer(net: nn.Module, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW with weight decay for matrices, not for vectors; :func:`step_once` sets the learning rate."""
    groups = [[p for p in net.parameters() if (p.ndim > 1) == matrices] for matrices in (True, False)]
    decays = (weight_decay, 0.0)
    return torch.optim.AdamW(
        [{"params": group, "weight_decay": decay} for group, decay in zip(groups, decays, strict=True)], betas=betas
    )


def step_once(adam: torch.optim.Optimizer, net: nn.Module, loss: Tensor, rate: float) -> None:
    """Take one step with a learning rate, with the norm of the gradient clipped to 1."""
    for group in adam.param_groups:
        group["lr"] = rate
    adam.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    adam.step()


def in_rounds(advance: Callable[[int], dict[str, float]], steps: int, every: int) -> tuple[Callable, int]:
    """Group single steps into rounds for :func:`workbench.core.fitting.train`; return its function and their number.

    ``advance(step)`` takes a step and returns its losses; a round returns their means and the seconds that it took.
    """

    def round_of(i: int) -> dict[str, float]:
        begin = time.monotonic()
        rows = [advance(step) for step in range(i * every, min(steps, (i + 1) * every))]
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return means | {"seconds": time.monotonic() - begin}

    return round_of, math.ceil(steps / every)


@checked
def train_mini(
    root: Path,
    teachers: Sequence[str],
    *,
    seed: int,
    steps: int,
    out: Path,
    part: int = 0,
    front_end: str = "ripples",
    alone: bool = False,
    lessons: Path | None = None,
    device: str = "cpu",
    every: int = 100,
    command: str = "",
) -> pd.DataFrame:
    """Train ``mini`` and write its weights; continue from ``out`` + ".checkpoint" if that exists.

    Parameters
    ----------
    root : Path
        Audio folder with ``manifest.csv``.
    teachers : sequence of str
        Names of encoders whose weights can be found (``WORKBENCH_WEIGHTS``); see ``lessons.TAUGHT``.
    seed, steps : int
        Seed, and number of steps. The random draws of a step depend on the seed and the step's number alone, so that a
        resumed run continues exactly as an uninterrupted one.
    out : Path
        Path of the weights, float16 safetensors, which are written at the end.
    part : int
        Part of the clips that is held out (:func:`.held_out.read_table`).
    front_end : {"ripples", "log-mel"}
        Front end of the network (:class:`.network.MiniConfig`).
    alone : bool
        Whether to learn from teachers alone, without self-supervision.
    lessons : Path, optional
        Folder for the lessons, of 3 GB for each part and seed; by default ``out`` + ".lessons".
    device : str
        Device on which the student is trained; teachers run on the CPU.
    every : int
        Number of steps between two checkpoints.
    command : str
        Command for the weights' metadata.

    Returns
    -------
    pandas.DataFrame
        One row for every `every` steps, with the mean losses and the seconds.

    Raises
    ------
    ParameterError
        A teacher is unknown, or the checkpoint is of another training.
    """
    whole("steps", steps, least=1)
    whole("every", every, least=1)
    folder = lessons or out.with_name(out.name + ".lessons")
    taken = Lessons(folder, LESSONS, teachers, root=root, part=part, seed=seed)
    taken.make()
    checkpoint = out.with_name(out.name + ".checkpoint")
    place = torch.device(device)
    with seeded(seed, place):
        net = MiniNet(MiniConfig(front_end=front_end))
        module = nn.ModuleList([net, _prepare(net, taken, seed)]).to(place)
        adam = optimizer(module, (0.9, 0.98), WEIGHT_DECAY)

        def advance(step: int) -> dict[str, float]:
            epoch, position = divmod(step, len(taken))
            lesson = taken[int(np.random.default_rng((seed, 3, epoch)).permutation(len(taken))[position])]
            lesson = {name: tensor.to(place) for name, tensor in lesson.items()}
            loss, terms = _losses(*module, lesson, np.random.default_rng((seed, 4, step)), alone=alone)
            step_once(adam, module, loss, learning_rate(step + 1, steps))
            return terms

        rounds, count = in_rounds(advance, steps, every)
        fixed = {"module": module, "optimizer": adam, "learning_rate": LEARNING_RATE, "name": "mini", "unit": "round"}
        names = " ".join(entry.name for entry in taken.entries)
        identity = f"mini, {taken.fingerprint}, {names}, {front_end}, {steps} steps, {every} a round, alone {alone}"
        history, _ = train(rounds, count, checkpoint=checkpoint, identity=lambda: identity, **fixed)
    note = {"command": command, "steps": str(steps), "seconds": f"{history['seconds'].sum():.0f}"}
    save_mini(net, out, note=note)
    return history


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m workbench.encoders.mini.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="audio folder with manifest.csv")
    parser.add_argument("--teachers", nargs="+", default=["whisper-tiny.en", "mn04_as"], help="names of encoders")
    parser.add_argument("--front-end", default="ripples", choices=FRONT_ENDS, help="plain log-mel for comparison")
    parser.add_argument("--alone", action="store_true", help="without self-supervision")
    parser.add_argument("--part", type=int, default=0, choices=range(PARTS), help="which clips are held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--out", type=Path, required=True, help="weights to write; a stopped run goes on")
    parser.add_argument("--lessons", type=Path, help="folder for what the teachers say (3 GB)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    changed = f" --front-end {options.front_end}" * (options.front_end != "ripples") + " --alone" * options.alone
    command = (  # file names only: where they lay on the machine of the run is nobody's business
        f"python -m workbench.encoders.mini.training --data DATA --teachers {' '.join(options.teachers)}{changed} "
        f"--part {options.part} --seed {options.seed} --steps {options.steps} --out {options.out.name}"
    )
    chosen = ("seed", "steps", "out", "part", "front_end", "alone", "lessons", "device")
    train_mini(options.data, options.teachers, command=command, **{name: getattr(options, name) for name in chosen})


if __name__ == "__main__":
    main()
