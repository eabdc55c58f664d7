"""Train sparse autoencoders for a grid of layers, sparsities and seeds together, reading the data once per epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..core.checks import checked, number, several, whole
from ..core.checks import seed as check_seed
from ..core.devices import all_devices
from ..core.errors import ParameterError, WeightsError
from ..core.progress import Progress, reporter
from ..core.saving import read_record, write_record
from ..core.splits import Split, fitting
from ..core.warn import warn
from ..metrics.sparse_coding import Scores
from . import data
from .model import SAEConfig, SparseAutoencoder, k_of
from .result import SAESweep
from .stack import Stack

#: Seconds between two checkpoints.
CHECKPOINT_SECONDS = 300.0
#: Number of training rows on which encoders are scaled before the first step.
CALIBRATED = 1024
#: Training ends after so many passes over the training rows, or after so many vectors if that is less.
EPOCHS, VECTORS = 100, 10**8
#: Smallest and largest number of rows per step that is chosen, and the share of the training rows in between.
BATCHES, SHARE = (16, 4096), 256
#: Steps between which the time of training is measured; the earlier ones are slower.
MEASURED = (2, 10)
#: Trainings that take less time, in seconds, are not announced.
ANNOUNCED = 60.0
#: Largest number of steps between two evaluations on the validation rows; they are an epoch apart if that is shorter.
EVALUATE_STEPS = 2000


@checked
def fit_saes(
    layers: Mapping[str, ArrayLike] | object,
    split: Split,
    *,
    sparsities: Sequence[float] | None = None,
    ks: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    config: SAEConfig | str = "default",
    epochs: int | None = None,
    rows: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float = 1e-3,
    keep: Literal["best", "last", "last batch"] = "best",
    device: str = "auto",
    checkpoint: str | Path | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> SAESweep:
    """Train one sparse autoencoder for each layer, sparsity and seed, all together.

    Parameters
    ----------
    layers : mapping of name to (N, D), or embeddings
        Arrays, memory maps, or other objects with ``shape`` and ``x[rows]``, used as float32. D may differ between
        layers. Rows are read in chunks of at most 128 MiB over all layers, so the data need not fit in memory.
    split : Split
        Split of the N rows; ``test`` is not used.
    sparsities, ks : sequence, optional
        Either sparsities, the shares of latents that are zero, in [0, 1), or numbers of latents kept. By default the
        paper's six sparsities, .75 to .99.
    seeds : sequence of int
        Seeds of the initial weights and of the order of the training rows, the same for every layer and sparsity.
    config : SAEConfig or str
        Configuration, or the name of one: "default", "paper", "batchtopk", "jumprelu" or "matryoshka". ``dim`` and
        ``k`` are set for each layer and sparsity.
    epochs : int, optional
        Number of passes over the training rows, at least 1. By default 100, or as many as 100 million vectors make.
    rows : int, optional
        Number of training vectors to see in all, repeated ones counted again; used instead of ``epochs``.
    steps : int, optional
        Number of steps, used instead of ``epochs`` and ``rows``; 0 gives untrained autoencoders as a control.
    batch : int, optional
        Rows per step; the last batch of an epoch may be smaller. By default the power of two up to a 256th of the
        training rows, at least 16, which it is for up to 8,191 rows, and at most 4,096, from a million rows on.
    learning_rate : float
        Learning rate of Adam, above 0 and at most 1. With the default config it falls to 0 over the last fifth of the
        steps.
    keep : {"best", "last", "last batch"}
        Which weights to keep: "best" those with the lowest error on the validation rows (of more than 65,536 on so
        many, evenly spaced), evaluated after every epoch or, of longer epochs, every 2,000 steps; "last" those of the
        last step; "last batch" those with the lowest error on the last, possibly smaller, batch of the validation rows,
        as in the paper's code.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1". "auto" and "cuda" distribute the autoencoders over
        all GPUs that this process sees (CUDA_VISIBLE_DEVICES).
    checkpoint : path, optional
        File to which the state is written every five minutes and at the end. The same call resumes from it, with the
        same result as an uninterrupted run; the result of a finished run is read from it.
    progress : bool or callable (done, total)
        True shows a progress bar of steps and, for what takes a minute or more, first prints the numbers of
        autoencoders, rows and steps and the time they will take as measured on the first ten steps. A callable is
        called as steps are done.
    **fields
        Fields of :class:`SAEConfig` that replace those of ``config``, such as ``latents=512`` or
        ``activation="batchtopk"``.

    Returns
    -------
    SAESweep

    Raises
    ------
    ParameterError
        If shapes, rows, sparsities or settings are invalid, values are not finite (layer and row are named), with
        ``keep="last"`` the loss is not finite at the end (the step is named), or the checkpoint belongs to a sweep with
        other settings or data (each difference is named).
    WeightsError
        If ``checkpoint`` is not a checkpoint of a sweep.

    Warns
    -----
    UserWarning
        If the validation rows of a layer are all equal, if the loss of an autoencoder became infinite or NaN, so that
        weights of an earlier step are kept, or if an autoencoder learnt nothing, because no evaluation found a lower
        error than that of the untrained one.

    Notes
    -----
    The same call gives the same result on the same machine with the same number of threads.
    """
    arrays = data.named(layers)
    split = fitting(split, next(iter(arrays.values())).shape[0], needed=("train", "valid"))
    configs = _configs(arrays, sparsities, ks, config, fields)
    for name, value, least in (("batch", batch, 1), ("epochs", epochs, 1), ("rows", rows, 1), ("steps", steps, 0)):
        if value is not None:
            whole(name, value, least=least)
    count = len(split.train)
    batch = min(max(2 ** (count // SHARE).bit_length() // 2, BATCHES[0]), BATCHES[1]) if batch is None else batch
    if rows is None:
        rows = min(EPOCHS * count, VECTORS) if epochs is None else epochs * count
    passes, rest = divmod(rows, count)
    number("learning_rate", learning_rate, above=0, most=1)
    seeds = several("seeds", seeds, lambda name, value: check_seed(value, name))
    if len(set(seeds)) < len(seeds):
        raise ParameterError("seeds", seeds, "at least one, all different")
    run = _Run(
        arrays=arrays,
        train=split.train,
        valid=split.valid,
        configs=configs,
        seeds=seeds,
        statistics=data.statistics(arrays, split.train, next(iter(configs.values()))[0].row_bound),
        steps=passes * math.ceil(count / batch) + math.ceil(rest / batch) if steps is None else steps,
        batch=batch,
        rate=learning_rate,
        keep=keep,
        devices=all_devices(device),
        path=None if checkpoint is None else Path(checkpoint),
    )
    run.go(reporter(progress, "steps"), announced=progress is True)
    run.judge()
    return run.result()


def _configs(
    arrays: Mapping[str, object],
    sparsities: Sequence[float] | None,
    ks: Sequence[int] | None,
    config: SAEConfig | str,
    fields: Mapping[str, object],
) -> dict[str, list[SAEConfig]]:
    """Return the configurations of each layer, one per sparsity."""
    if own := {"dim", "k"} & set(fields):
        raise ParameterError(own.pop(), fields, "left out: each layer has its dim, each sparsity its k")
    dims = {name: array.shape[1] for name, array in arrays.items()}
    latents = SAEConfig.named(config, dim=1, k=1, **fields).latents
    if sparsities is not None and ks is not None:
        raise ParameterError("ks", ks, "None where sparsities are given")
    if ks is None:
        sparsities = (0.75, 0.8, 0.85, 0.9, 0.95, 0.99) if sparsities is None else sparsities
        ks = [k_of(sparsity, latents) for sparsity in sparsities]
    ks = several("ks", ks, whole)
    if not ks or len(set(ks)) < len(ks):
        expected = "at least one, all different (sparsities give k = int((1 - sparsity) * latents))"
        raise ParameterError("ks", ks, expected)
    return {name: [SAEConfig.named(config, dim=dim, k=k, **fields) for k in ks] for name, dim in dims.items()}


@dataclass(eq=False)
class _Run:
    """State of a running sweep: its stacks, each with one D, and the position in the data."""

    arrays: dict[str, object]
    train: np.ndarray
    valid: np.ndarray
    configs: dict[str, list[SAEConfig]]
    seeds: list[int]
    statistics: dict[str, data.Moments]
    steps: int
    batch: int
    rate: float
    keep: str
    devices: list[torch.device]
    path: Path | None

    def __post_init__(self):
        self.epoch_steps = math.ceil(len(self.train) / self.batch)
        self.step, self.history, self._order = 0, [], {}
        self.names: list[list[str]] = []  # names of each stack's layers
        self.stacks: list[Stack] = []
        self.places: list[torch.device] = []  # device of each stack
        self.members: list[tuple[str, SAEConfig, int]] = []
        dims = {array.shape[1]: None for array in self.arrays.values()}
        for dim in dims:
            names = [name for name, array in self.arrays.items() if array.shape[1] == dim]
            ks, count = range(len(self.configs[names[0]])), len(self.devices)
            if len(names) >= count:  # a device gets some layers with every k, or, with few layers, all with some k
                shares = [(part.tolist(), ks) for part in np.array_split(names, count)]
            else:
                shares = [(names, part) for part in np.array_split(ks, count)]
            for (some, kept), device in zip(shares, self.devices, strict=True):
                if len(kept):
                    self._add(some, kept, device)

    def _add(self, names: list[str], ks: Sequence[int], device: torch.device) -> None:
        members = [
            (i * len(self.seeds) + j, self.configs[name][at], seed, name)
            for i, name in enumerate(names)
            for at in ks
            for j, seed in enumerate(self.seeds)
        ]
        moments = [self.statistics[name] for name in names for _ in self.seeds]
        means, scales = [each.mean for each in moments], [each.scale for each in moments]
        config = members[0][1]
        stack = Stack(
            config,
            [config.k for _, config, _, _ in members],
            [seed for _, _, seed, _ in members],
            [which for which, _, _, _ in members],
            mean=np.stack(means),
            scale=np.array(scales if config.normalise_input else np.ones(len(scales)), dtype=np.float32),
            device=device,
        )
        if config.tied_init or config.activation == "jumprelu":
            rows = data.sample(self.train, min(CALIBRATED, data.chunk_rows(self.arrays, len(self.seeds))))
            wanted = [(name, rows) for name in names for _ in self.seeds]
            stack.calibrate(data.tensors(self.arrays, wanted, device, self.statistics))
        self.names.append(names)
        self.places.append(device)
        self.stacks.append(stack)
        self.members += [(name, config, seed) for _, config, seed, name in members]

    # ---- training ----

    def go(self, report: Progress, *, announced: bool = False) -> None:
        self.resume()
        began = saved = time.monotonic()
        if not self.history:
            self.evaluate()
        looked, began, since = self.now() - began, self.now(), self.step
        while self.step < self.steps:
            self.advance()
            if self.step == MEASURED[0]:
                began, since = self.now(), self.step
            if announced and self.step == MEASURED[1]:
                seconds = (self.now() - began) / (self.step - since) + looked / self.period
                if seconds * self.steps >= ANNOUNCED:
                    print(self.announcement(seconds * self.steps))
            if self.step >= min(MEASURED[1], self.steps):  # a bar starts below the announcement
                report(self.step, self.steps)
            if self.path and (self.step == self.steps or time.monotonic() - saved >= CHECKPOINT_SECONDS):
                self.save()
                saved = time.monotonic()

    def now(self) -> float:
        """Return the time, in seconds, when all devices have done what they were given."""
        for device in self.devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        return time.monotonic()

    def announcement(self, seconds: float) -> str:
        """Return, for a reader, how much there is to train and how long that takes."""
        much = f"{len(self.members):,} autoencoders, {len(self.train):,} rows, {self.steps:,} steps of {self.batch:,}"
        return f"{much}: about " + (f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h")

    def advance(self) -> None:
        """Train on the next chunk, which ends with the epoch, before the next evaluation, or at the memory limit."""
        at = self.step % self.epoch_steps
        stop = min(self.epoch_steps, at + self.steps - self.step, at + self.period - self.step % self.period)
        room = data.chunk_rows(self.arrays, len(self.seeds)) // self.batch
        stop = min(stop, at + max(1, room), *(at + step - self.step for step in MEASURED if step > self.step))
        rates = [self.rate_at(self.step + i) for i in range(stop - at)]
        rows = {seed: self.train[self.order(seed)[at * self.batch : stop * self.batch]] for seed in self.seeds}

        def train(names: list[str], stack: Stack, device: torch.device) -> None:
            wanted = [(name, rows[seed]) for name in names for seed in self.seeds]
            stack.train(data.tensors(self.arrays, wanted, device, self.statistics), self.batch, rates)

        work = list(zip(self.names, self.stacks, self.places, strict=True))
        if len(self.devices) == 1:
            for each in work:
                train(*each)
        else:  # one thread per device, so that devices do not wait for each other
            with ThreadPoolExecutor(len(work)) as pool:
                list(pool.map(lambda each: train(*each), work))
        self.step += len(rates)
        if self.step % self.period == 0 or self.step == self.steps:
            self.evaluate()

    @property
    def period(self) -> int:
        """Number of steps between two evaluations on the validation rows."""
        return min(self.epoch_steps, EVALUATE_STEPS)

    def order(self, seed: int) -> np.ndarray:
        epoch = self.step // self.epoch_steps
        if self._order.get(seed, (None,))[0] != epoch:
            self._order[seed] = epoch, data.order(len(self.train), seed, epoch)
        return self._order[seed][1]

    def rate_at(self, step: int) -> float:
        falling = self.stacks[0].config.decay * self.steps
        return self.rate * min(1.0, (self.steps - step) / falling) if falling else self.rate

    def evaluate(self) -> None:
        """Compute every member's FVU on validation rows and keep its weights if that is the lowest so far."""
        rows = self.valid if self.keep == "last batch" else data.sample(self.valid)
        if self.keep == "last batch":
            rows = rows[(len(rows) - 1) // self.batch * self.batch :]
        size, fvus = data.chunk_rows(self.arrays), []
        for names, stack, device in zip(self.names, self.stacks, self.places, strict=True):
            errors, spread = 0.0, np.zeros(len(names))
            for at in range(0, len(rows), size):
                wanted = [(name, rows[at : at + size]) for name in names]
                x = data.tensors(self.arrays, wanted, torch.device("cpu"), self.statistics)
                means = torch.from_numpy(np.stack([self.statistics[name].mean for name in names]))
                moved = x - means[:, None]
                part = moved.square().sum((1, 2), dtype=torch.float64)
                if not (part.isfinite() & (part > 0)).all():  # squares that overflow or vanish in single precision
                    part = moved.double().square().sum((1, 2))
                spread += part.numpy()
                errors = errors + stack.errors(x.repeat_interleave(len(self.seeds), 0).to(device))
            if self.keep != "last" or self.step == self.steps:
                stack.keep(errors if self.keep != "last" else torch.full_like(errors, -torch.inf))
            inputs = np.array(stack.inputs) // len(self.seeds)
            with np.errstate(divide="ignore", invalid="ignore"):
                fvus += (errors.cpu().numpy() / spread[inputs]).tolist()
        self.history.append([self.step, *fvus])

    def judge(self) -> None:
        """Warn of autoencoders that learnt nothing, and raise an error for weights that are not finite."""
        looked = np.array(self.history)
        if len(looked) < 2:
            return  # there were no steps
        names = [f"layer {name}, k={config.k}, seed {seed}" for name, config, seed in self.members]
        broken = ~np.isfinite(looked[:, 1:])
        if broken[0].any():
            warn(f"nothing to learn: the validation rows of {names[broken[0].argmax()]} do not vary")
        lost = np.flatnonzero(broken[-1] & ~broken[0])
        step = int(looked[broken[:, lost[0]].argmax(), 0]) if len(lost) else 0
        if len(lost) and self.keep == "last":
            shown = f"no finite loss from step {step} on ({names[lost[0]]})"
            raise ParameterError(f"learning_rate={self.rate!r}, which gives", shown, "smaller")
        if len(lost):
            warn(
                f"training went wrong for {len(lost)} of {len(names)} autoencoders: no finite loss from step {step} on "
                f"({names[lost[0]]}); the weights are those of the best step before"
            )
        ends = looked[-1, 1:] if self.keep == "last" else np.where(broken, np.inf, looked[:, 1:])[1:].min(0)
        idle = np.flatnonzero(~(ends < looked[0, 1:]) & ~broken[0])
        if len(idle):
            warn(
                f"nothing was learnt by {len(idle)} of {len(names)} autoencoders in {self.steps} steps at learning "
                f"rate {self.rate:g}: the validation error never fell below that of the untrained ones "
                f"({names[idle[0]]}: FVU {looked[0, 1 + idle[0]]:.3g}, then {ends[idle[0]]:.3g})"
            )

    # ---- checkpoints ----

    def settings(self) -> dict[str, object]:
        """Return the settings that a checkpoint must share with the run that resumes it, in types that JSON keeps."""
        layers = {name: [array.shape[1], self.statistics[name].digest] for name, array in self.arrays.items()}
        config = asdict(self.stacks[0].config)
        settings = {f"config.{name}": value for name, value in config.items() if name not in ("k", "dim")}
        settings["config.prefixes"] = list(settings["config.prefixes"])
        return settings | {
            "layers and their training rows": layers,
            "train": len(self.train),
            "valid": [len(self.valid), int(self.valid.sum())],
            "ks": [config.k for config in next(iter(self.configs.values()))],
            "seeds": self.seeds,
            "steps": self.steps,
            "batch": self.batch,
            "learning_rate": self.rate,
            "keep": self.keep,
            "devices": len(self.devices),
        }

    def save(self) -> None:
        tensors = {f"{i}.{name}": t for i, stack in enumerate(self.stacks) for name, t in stack.state.items()}
        seen = [stack.seen for stack in self.stacks]
        write_record(
            self.path, tensors, {"settings": self.settings(), "step": self.step, "seen": seen, "history": self.history}
        )

    def resume(self) -> None:
        if self.path is None or not self.path.exists():
            return
        tensors, record = read_record(self.path)
        if not {"settings", "step", "seen", "history"} <= set(record) or not isinstance(record["settings"], dict):
            raise WeightsError(f"{self.path}: not a checkpoint of a sweep")
        now, then = self.settings(), record["settings"]
        differ = [f"{key} was {then.get(key)}, is {now.get(key)}" for key in now if then.get(key) != now[key]]
        if differ:
            raise ParameterError("checkpoint", str(self.path), f"of a sweep with these settings; {'; '.join(differ)}")
        for i, stack in enumerate(self.stacks):
            absent = [name for name in stack.state if f"{i}.{name}" not in tensors]
            if absent:
                raise WeightsError(f"{self.path}: a checkpoint without {', '.join(absent)}: of another version")
            state = {name: tensors[f"{i}.{name}"] for name in stack.state}
            stack.restore(state, record["step"], record["seen"][i])
        self.step, self.history = record["step"], record["history"]

    # ---- results ----

    def result(self) -> SAESweep:
        import pandas as pd

        saes = [stack.member(m) for stack in self.stacks for m in range(len(stack))]
        looked = np.array(self.history)
        order = self._canonical()  # an order that does not depend on the devices
        saes, members = [saes[i] for i in order], [self.members[i] for i in order]
        looked = looked[:, [0, *(1 + i for i in order)]]
        keys = [
            {"layer": name, "sparsity": 1 - config.k / config.latents, "k": config.k, "seed": seed}
            for name, config, seed in members
        ]
        fvu = np.where(np.isfinite(looked[:, 1:]), looked[:, 1:], np.inf)
        best = fvu.argmin(0) if self.keep != "last" else np.full(len(saes), len(looked) - 1)
        rows = []
        for key, sae, at in zip(keys, saes, best, strict=True):
            scores, trained = (self.scores(key["layer"], sae, part) for part in (self.valid, data.sample(self.train)))
            trained = {"train_fvu": trained["fvu"], "train_dead": trained["dead"]}
            rows.append(key | scores | trained | {"kept": int(looked[at, 0])})
        history = [
            key | {"step": int(step), "fvu": fvu}
            for step, *fvus in looked.tolist()
            for key, fvu in zip(keys, fvus, strict=True)
        ]
        return SAESweep(pd.DataFrame(rows), pd.DataFrame(history), tuple(saes))

    def _canonical(self) -> list[int]:
        """Return the members' positions sorted by D, layer, sparsity and seed, each in the order that was given."""
        dims = list(dict.fromkeys(array.shape[1] for array in self.arrays.values()))
        names = list(self.arrays)

        def place(i: int) -> tuple[int, ...]:
            name, config, seed = self.members[i]
            ks = [each.k for each in self.configs[name]]
            return dims.index(config.dim), names.index(name), ks.index(config.k), self.seeds.index(seed)

        return sorted(range(len(self.members)), key=place)

    def scores(self, name: str, sae: SparseAutoencoder, rows: np.ndarray) -> dict[str, float]:
        scores, device = Scores(), self.devices[0]
        on_device = sae.to(device)
        for x in data.chunks(self.arrays[name], rows, name, min(2048, data.chunk_rows(self.arrays))):
            z = on_device.encode(torch.from_numpy(x).to(device))
            scores.add(x, on_device.decode(z).cpu().numpy(), z.cpu().numpy())
        return scores.result()
