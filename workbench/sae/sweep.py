"""A sweep: sparse autoencoders over layers, sparsities and seeds, trained together over data that is read once."""

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
#: Training rows by which encoders are scaled before the first step.
CALIBRATED = 1024
#: Most steps from one look at the validation rows to the next; otherwise an epoch.
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
    epochs: int = 100,
    steps: int | None = None,
    batch: int = 16,
    learning_rate: float = 1e-3,
    keep: Literal["best", "last", "last batch"] = "best",
    device: str = "auto",
    checkpoint: str | Path | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> SAESweep:
    """Train one sparse autoencoder a layer x sparsity x seed, all together.

    Parameters
    ----------
    layers : mapping of name to (N, D), or embeddings
        Arrays, memory maps, or anything with ``shape`` and ``x[rows]``; used as float32. D may differ. Rows are asked
        for in chunks of at most 128 MiB over all layers, so the whole need not fit into memory.
    split : Split
        Of the N rows; ``test`` is not looked at.
    sparsities, ks : sequence, optional
        Either shares of silent latents, in [0, 1), or latents kept; default: the paper's six, .75 to .99.
    seeds : sequence of int
        A seed draws the initial weights and the order of the training rows, the same for every layer and sparsity.
    config : SAEConfig or str
        The form, or the name of one: "default" or "paper". Its ``dim`` and ``k`` are those of each layer and sparsity.
    epochs : int
        Times that every training row is seen, at least once.
    steps : int, optional
        Instead of ``epochs``; 0 gives the untrained autoencoders, a control.
    batch : int
        Rows a step; an epoch's last batch is what is left.
    learning_rate : float
        Of Adam, above 0 and at most 1; default forms let it fall to 0 over the last fifth.
    keep : {"best", "last", "last batch"}
        Weights kept of each: those with the lowest error on all validation rows (looked at every epoch, at most 2,000
        steps apart), the last, or, as the paper's code does, those with the lowest error on the last, possibly short,
        batch of the validation rows.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1". "auto" and "cuda" share the autoencoders out to all
        GPUs that this process sees (CUDA_VISIBLE_DEVICES).
    checkpoint : path, optional
        File to which the state is written every five minutes and at the end. The same call goes on from it, to the
        same numbers as if it had never stopped; a finished one is read back.
    progress : bool or callable (done, total)
        True shows a bar of steps.
    **fields
        Fields of :class:`SAEConfig` in place of the config's, such as ``latents=512`` or ``activation="batchtopk"``.

    Returns
    -------
    SAESweep

    Raises
    ------
    ParameterError
        Shapes, rows, sparsities or settings that cannot work; NaN or infinite values (layer and row named); a layer
        whose rows are all equal; a loss that is no number at the end (the step is named); the checkpoint of a sweep
        with other settings or data (each difference named).

    Warns
    -----
    UserWarning
        Autoencoders of which nothing was learnt: no later look at the validation rows found less error than the first.

    Notes
    -----
    On one machine, with one number of threads, the same call gives the same numbers.
    """
    arrays = data.named(layers)
    split = fitting(split, next(iter(arrays.values())).shape[0], needed=("train", "valid"))
    configs = _configs(arrays, sparsities, ks, config, fields)
    whole("batch", batch, least=1)
    whole("epochs", epochs, least=1)
    if steps is not None:
        whole("steps", steps, least=0)
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
        statistics=data.statistics(arrays, split.train),
        steps=epochs * math.ceil(len(split.train) / batch) if steps is None else steps,
        batch=batch,
        rate=learning_rate,
        keep=keep,
        devices=all_devices(device),
        path=None if checkpoint is None else Path(checkpoint),
    )
    run.go(reporter(progress, "steps"))
    run.judge()
    return run.result()


def _configs(
    arrays: Mapping[str, object],
    sparsities: Sequence[float] | None,
    ks: Sequence[int] | None,
    config: SAEConfig | str,
    fields: Mapping[str, object],
) -> dict[str, list[SAEConfig]]:
    """Return, for each layer, a configuration a sparsity."""
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
    """A sweep under way: stacks of one D each, and where they are in the data."""

    arrays: dict[str, object]
    train: np.ndarray
    valid: np.ndarray
    configs: dict[str, list[SAEConfig]]
    seeds: list[int]
    statistics: dict[str, tuple[np.ndarray, float, str]]
    steps: int
    batch: int
    rate: float
    keep: str
    devices: list[torch.device]
    path: Path | None

    def __post_init__(self):
        self.epoch_steps = math.ceil(len(self.train) / self.batch)
        self.step, self.history, self._order = 0, [], {}
        self.names: list[list[str]] = []  # of each stack's layers
        self.stacks: list[Stack] = []
        self.places: list[torch.device] = []  # of each stack
        self.members: list[tuple[str, SAEConfig, int]] = []
        dims = {array.shape[1]: None for array in self.arrays.values()}
        for dim in dims:
            names = [name for name, array in self.arrays.items() if array.shape[1] == dim]
            ks, count = range(len(self.configs[names[0]])), len(self.devices)
            if len(names) >= count:  # a device has all of some layers, or where they are few some of all
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
        means, scales, _ = zip(*(self.statistics[name] for name in names for _ in self.seeds), strict=True)
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
        if config.tied_init:
            rows = data.sample(self.train, min(CALIBRATED, data.chunk_rows(self.arrays, len(self.seeds))))
            wanted = [(name, rows) for name in names for _ in self.seeds]
            stack.calibrate(data.tensors(self.arrays, wanted, device))
        self.names.append(names)
        self.places.append(device)
        self.stacks.append(stack)
        self.members += [(name, config, seed) for _, config, seed, name in members]

    # ---- training ----

    def go(self, report: Progress) -> None:
        self.resume()
        saved = time.monotonic()
        if not self.history:
            self.evaluate()
        while self.step < self.steps:
            self.advance()
            report(self.step, self.steps)
            if self.path and (self.step == self.steps or time.monotonic() - saved >= CHECKPOINT_SECONDS):
                self.save()
                saved = time.monotonic()

    def advance(self) -> None:
        """Train on the next chunk: to the end of the epoch, the next look at the validation rows, or what fits."""
        at = self.step % self.epoch_steps
        stop = min(self.epoch_steps, at + self.steps - self.step, at + self.period - self.step % self.period)
        room = data.chunk_rows(self.arrays, len(self.seeds)) // self.batch
        stop = min(stop, at + max(1, room))
        rates = [self.rate_at(self.step + i) for i in range(stop - at)]
        rows = {seed: self.train[self.order(seed)[at * self.batch : stop * self.batch]] for seed in self.seeds}

        def train(names: list[str], stack: Stack, device: torch.device) -> None:
            wanted = [(name, rows[seed]) for name in names for seed in self.seeds]
            stack.train(data.tensors(self.arrays, wanted, device), self.batch, rates)

        work = list(zip(self.names, self.stacks, self.places, strict=True))
        if len(self.devices) == 1:
            for each in work:
                train(*each)
        else:  # a device waits for no other
            with ThreadPoolExecutor(len(work)) as pool:
                list(pool.map(lambda each: train(*each), work))
        self.step += len(rates)
        if self.step % self.period == 0 or self.step == self.steps:
            self.evaluate()

    @property
    def period(self) -> int:
        """Steps between two looks at the validation rows."""
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
        """Every member's FVU on the validation rows, and the weights to keep by it."""
        rows = self.valid
        if self.keep == "last batch":
            rows = rows[(len(rows) - 1) // self.batch * self.batch :]
        size, fvus = data.chunk_rows(self.arrays), []
        for names, stack, device in zip(self.names, self.stacks, self.places, strict=True):
            errors, spread = 0.0, np.zeros(len(names))
            for at in range(0, len(rows), size):
                x = data.tensors(self.arrays, [(name, rows[at : at + size]) for name in names], torch.device("cpu"))
                means = torch.from_numpy(np.stack([self.statistics[name][0] for name in names]))
                moved = x - means[:, None]
                part = moved.square().sum((1, 2), dtype=torch.float64)
                if not (part.isfinite() & (part > 0)).all():  # squares that single precision cannot hold
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
        """Say of which autoencoders nothing was learnt; refuse those that are no numbers."""
        looked = np.array(self.history)
        if len(looked) < 2:
            return  # nothing was to be learnt
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
        """What has to agree for two runs to be one, as JSON would give it back."""
        layers = {name: [array.shape[1], self.statistics[name][2]] for name, array in self.arrays.items()}
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
        order = self._canonical()  # whatever the devices
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
        """Positions of the members by dimensions, layer, sparsity and seed, each in the order in which it was given."""
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
