"""The paper's grid of sparse autoencoders as one stack, against training them one by one here and with rivals.

    python tests/benchmarks/bench_sae.py [--device cuda] [--members 48] [--steps 40] [--rounds 3]

Vectors are in memory; only training steps are timed (gather, encode, decode, gradients, Adam). ``members`` are layers x
the paper's six sparsities; what trains one by one is measured once a sparsity and averaged: layers cost the same.
Rivals run where they can be imported: dictionary_learning's TopKTrainer (whose package need not import as a whole) and
SAELens's TopKTrainingSAE under torch's Adam; both normalise their decoders and clip or project gradients, so their
closest relative here is the default form. Stacks of the other forms are timed beside it. Rounds alternate between all
of them; the least time of each counts, and the ratios are within rounds, as their median and range.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
import types
from collections.abc import Callable

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.sae import SAEConfig, k_of
from workbench.sae.stack import Stack

SPARSITIES = (0.75, 0.80, 0.85, 0.90, 0.95, 0.99)


def hidden_states(layers: int, rows: int, dim: int) -> torch.Tensor:
    """(layers, rows, dim) of few active directions with a decaying spectrum, around a mean."""
    rng = np.random.default_rng(0)
    codes = rng.exponential(size=(layers, rows, 300)) * (rng.random((layers, rows, 300)) < 0.05)
    x = codes @ (rng.standard_normal((layers, 300, dim)) * np.arange(1, dim + 1) ** -0.5)
    return torch.from_numpy(
        (x + 0.1 * rng.standard_normal(x.shape) + rng.standard_normal((layers, 1, dim))).astype("f4")
    )


def stack(x: torch.Tensor, form: str, ks: list[int], latents: int) -> Stack:
    config = SAEConfig.named(form, dim=x.shape[2], latents=latents, k=1)
    scale = x.std((1, 2)).cpu().numpy() if config.normalise_input else np.ones(len(x), np.float32)
    inputs = [i for i in range(len(x)) for _ in ks]
    mean = x.mean(1).cpu().numpy()
    whole = Stack(config, ks * len(x), [0] * len(inputs), inputs, mean=mean, scale=scale, device=x.device)
    if config.activation == "jumprelu":  # whose thresholds begin where k latents are active
        whole.calibrate(x[:, :1024])
    return whole


def plain(dim: int, latents: int, k: int, device: torch.device) -> Callable[[int, torch.Tensor], None]:
    """What one would write first: two linear layers, autograd, fused Adam."""
    encoder, decoder = torch.nn.Linear(dim, latents), torch.nn.Linear(latents, dim, bias=False)
    encoder, decoder = encoder.to(device), decoder.to(device)
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)

    def step(_: int, x: torch.Tensor) -> None:
        a = encoder(x).relu()
        values, index = a.topk(k, sorted=False)
        loss = torch.nn.functional.mse_loss(decoder(torch.zeros_like(a).scatter(1, index, values)), x)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return step


def dictionary_learning(dim: int, latents: int, k: int, device: torch.device) -> Callable[[int, torch.Tensor], object]:
    if "dictionary_learning" not in sys.modules:
        spec = importlib.util.find_spec("dictionary_learning")
        if spec is None:
            raise ImportError("dictionary_learning is not installed")
        package = types.ModuleType("dictionary_learning")  # its own __init__ asks for a language model's libraries
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["dictionary_learning"] = package
    module = importlib.import_module("dictionary_learning.trainers.top_k")
    name = str(device)
    return module.TopKTrainer(10**6, dim, latents, k, 0, "none", lr=1e-3, seed=0, device=name).update


def saelens(dim: int, latents: int, k: int, device: torch.device) -> Callable[[int, torch.Tensor], None]:
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=dim, d_sae=latents, k=k, device=str(device)))
    adam = torch.optim.Adam(sae.parameters(), lr=1e-3)
    alive = torch.zeros(latents, dtype=torch.bool, device=device)

    def step(number: int, x: torch.Tensor) -> None:
        given = {"sae_in": x, "coefficients": {}, "dead_neuron_mask": alive, "n_training_steps": number}
        out = sae.training_forward_pass(TrainStepInput(**given, is_logging_step=False))
        adam.zero_grad()
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()

    return step


class Clock:
    """Seconds of work that may still be under way on a GPU."""

    def __init__(self, device: torch.device):
        self.device = device

    def __call__(self, work: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def adam_alone(stack: Stack, rates: list[float]) -> None:
    """The stack's steps without all but Adam, its gradients lying in the cache: what a step that moves every weight
    cannot go below, whoever takes it."""

    def part_alone(part) -> None:
        for rate in rates:
            for block in part.blocks:
                shape = block.trained[0][2].shape
                grads = [buffer[:, : block.stop - block.start] for buffer in part.buffers]
                part.adam(block.trained, [*grads, torch.zeros(shape, device=grads[0].device)], rate)

    stack._each(part_alone)


class _Calls(TorchDispatchMode):
    """Counts operations, each of which is at least one kernel launch."""

    number = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.number += 1
        return operation(*args, **(kwargs or {}))


def launch_limit(clock: Clock, whole: Stack, x: torch.Tensor, batch: int) -> tuple[int, float]:
    """Operations of one step of a stack, and the seconds that as many of the smallest possible ones take."""
    with _Calls() as calls:
        for part in whole._parts:
            part.train(x, batch, [1e-3], 0)
    small = torch.zeros(1, device=clock.device)
    return calls.number, min(clock(lambda: [small.add_(1) for _ in range(calls.number)]) for _ in range(5))


def flop_limit(clock: Clock) -> float:
    """FLOP/s of a large square product in float32."""
    size = 8192 if clock.device.type == "cuda" else 2048
    a = torch.randn(size, size, device=clock.device)
    return 2 * size**3 / min(clock(lambda: a @ a) for _ in range(5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"members": 48, "steps": 40, "rounds": 3, "dim": 768, "latents": 2048, "batch": 16, "threads": 2}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    clock, layers = Clock(device), max(1, args.members // len(SPARSITIES))
    ks = [k_of(sparsity, args.latents) for sparsity in SPARSITIES][: args.members]
    x = hidden_states(layers, args.batch * args.steps, args.dim).to(device)
    rates = [1e-3] * args.steps

    # seconds of one member's step, by whatever trains it
    ways: dict[str, Callable[[], float]] = {}
    for form in ("paper", "default"):
        whole = stack(x, form, ks, args.latents)
        ways[f"Adam alone, {form}"] = lambda s=whole: clock(lambda: adam_alone(s, rates)) / len(s)
        singles = [stack(x[:1], form, [k], args.latents) for k in ks]
        ways[f"stack, {form}"] = lambda s=whole: clock(lambda: s.train(x, args.batch, rates)) / len(s)
        ways[f"one by one, {form}"] = lambda s=singles: np.mean(
            [clock(lambda one=one: one.train(x[:1], args.batch, rates)) for one in s]
        )
    for form in ("batchtopk", "jumprelu", "matryoshka"):
        whole = stack(x, form, ks, args.latents)
        ways[f"stack, {form}"] = lambda s=whole: clock(lambda: s.train(x, args.batch, rates)) / len(s)
    for name, make in (("plain torch", plain), ("dictionary_learning", dictionary_learning), ("SAELens", saelens)):
        try:
            steppers = [make(args.dim, args.latents, k, device) for k in ks]
        except ImportError as error:
            print(f"{name} left out: {error}")
            continue
        batches = x[0].split(args.batch)

        def loop(steppers=steppers, batches=batches) -> float:
            return np.mean([clock(lambda step=step: [step(i, b) for i, b in enumerate(batches)]) for step in steppers])

        ways[name] = loop
    for way in ways.values():
        way()  # the first time pays for libraries and memory
    seconds = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            seconds[name].append(way() / args.steps)

    limit = flop_limit(clock)
    products = 10 * args.dim * args.latents  # encode, decode, and three for the gradients, of two operations each
    machine = f"{args.threads} threads" if device.type == "cpu" else torch.cuda.get_device_name(device)
    print(f"{layers * len(ks)} members, {args.dim} -> {args.latents}, batch {args.batch}, {machine}")
    print(f"a large product runs at {limit / 1e9:.0f} GFLOP/s: at most {limit / products:.0f} vectors/s")
    number, launching = launch_limit(clock, stack(x, "paper", ks, args.latents), x, args.batch)
    each = 1e3 * launching / (layers * len(ks))
    print(f"a step of the paper stack is {number} operations: {each:.3f} ms a member to launch")
    for form in ("paper", "default"):
        adam = min(seconds.pop(f"Adam alone, {form}"))
        floor, step = adam + args.batch * products / limit, min(seconds[f"stack, {form}"])
        print(f"no {form} step below {1e3 * floor:.2f} ms: Adam {1e3 * adam:.2f}, products {1e3 * (floor - adam):.2f}; "
              f"the stack takes {step / floor:.2f} x that")  # fmt: skip
    for name, times in seconds.items():
        rate = args.batch / min(times)
        line = (
            f"{name:20} {1e3 * min(times):8.3f} ms a step {rate:10.0f} vectors/s {products * rate / limit:6.1%} of it"
        )
        for form in () if name.startswith("stack") else ("paper", "default"):
            if form in name or "," not in name:
                ratios = np.array(times) / seconds[f"stack, {form}"]
                line += f"  {np.median(ratios):.2f} x the {form} stack ({ratios.min():.2f} to {ratios.max():.2f})"
        print(line)


if __name__ == "__main__":
    main()
