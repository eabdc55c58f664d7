"""Six kinds of work on a GPU, each beside its rival and beside its own limit, in one table.

    python tests/benchmarks/bench_gpu.py [--device cuda] [--seconds 300] [--only sae] [--size full]

Rows: sae, probes, lasso, nmf, extraction, sampling. All their ways are warmed up and then take turns until the time of
the row is spent; the least time of each counts, and ratios are within rounds, as their median and range. What is too
slow to run whole is run in part and multiplied, and the row says which part. The goal is held against the median.

A limit is what the arithmetic or the memory alone would take on the same device: operations over the rate of a large
product in the same precision, bytes over that of a large copy, both measured first. Where the number of steps hangs on
the data (probes, NMF) the operations are those of the products that this package makes; everything else counts nothing.
"launches" is how long as many of the smallest operations take as the work consists of, one after the other; "waits" are
numbers read and tensors copied between the device and the CPU, which let all that is under way end first.

Without a GPU all sizes are those of a toy, so that the script is run now and then; the goals then mean nothing.
Only torch, transformers, scikit-learn, scipy and pandas are needed. Nothing reads sound files: extraction begins with
waveforms in memory, and the row with "16 bit" adds no more than turning samples of 16 bits into numbers when asked.
"""

from __future__ import annotations

import argparse
import datetime
import math
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from inspect import signature

import bench_lasso
import bench_nmf
import bench_probes
import bench_sae
import numpy as np
import torch
from sklearn.decomposition import non_negative_factorization
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from workbench.core.splits import Split
from workbench.encoders import SPECS, extract, load_encoder
from workbench.encoders.huggingface import load_huggingface
from workbench.metrics.importance import ALPHAS
from workbench.metrics.lasso import lasso
from workbench.nmf import SparseNMF
from workbench.probes import fit_probes
from workbench.probes.inputs import PENALTIES
from workbench.sae import k_of
from workbench.sonify.autoencoder import ROWS
from workbench.sonify.diffusion import draw_noise, sample
from workbench.sonify.network import SummaryConfig, SummaryNet

SMALL_HUBERT = {
    "model_type": "hubert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
SIZES = {
    "full": {
        "sae": {"layers": 8, "dim": 768, "grids": ((2048, 4096, 10), (8192, 4096, 5), (2048, 16, 40))},
        "probes": {"layers": 13, "seeds": 10, "clips": 1250, "dim": 768, "classes": 10},
        "lasso": {"clips": 400, "codes": 2048, "active": 102, "factors": 88, "sampled": 8},
        "nmf": {"frames": 20_000, "components": 100, "iterations": 100},
        "extraction": {"architecture": None, "seconds": 3600, "sampled": 32},
        "sampling": {"config": {}, "prototypes": 64, "steps": 40, "sampled": 2},
        "product": 8192,
        "copy": 2**32,
        "rounds": 5,
    },
    "toy": {
        "sae": {"layers": 2, "dim": 128, "grids": ((256, 256, 4), (256, 16, 10))},
        "probes": {"layers": 2, "seeds": 2, "clips": 300, "dim": 64, "classes": 4},
        "lasso": {"clips": 200, "codes": 256, "active": 32, "factors": 12, "sampled": 4},
        "nmf": {"frames": 1000, "components": 20, "iterations": 20},
        "extraction": {"architecture": None, "seconds": 4, "sampled": 2},
        "sampling": {"config": {"latent_frames": 60, "hidden": 1024}, "prototypes": 4, "steps": 4, "sampled": 1},
        "product": 1024,
        "copy": 2**26,
        "rounds": 2,
    },
    "least": {
        "sae": {"layers": 1, "dim": 16, "grids": ((128, 16, 2),)},
        "probes": {"layers": 1, "seeds": 2, "clips": 120, "dim": 8, "classes": 2},
        "lasso": {"clips": 60, "codes": 40, "active": 10, "factors": 4, "sampled": 2},
        "nmf": {"frames": 200, "components": 4, "iterations": 10},
        "extraction": {"architecture": SMALL_HUBERT, "seconds": 8, "sampled": 2},
        "sampling": {
            "config": {"dim": 32, "latent_dim": 8, "latent_frames": 20, "denoiser_layers": 2, "hidden": 64},
            "prototypes": 3,
            "steps": 2,
            "sampled": 1,
        },
        "product": 256,
        "copy": 2**20,
        "rounds": 1,
    },
}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass
class Line:
    """One line of the table."""

    work: str
    rival: str
    ours: list[float]
    """Seconds in each round."""
    theirs: list[float]
    """Seconds of the rival in each round."""
    goal: float | None
    """How many times faster it should be; None: this rival is there to compare with."""
    limit: float
    """Seconds that no way of doing the work can go below."""
    bound: str
    """What the limit is."""
    note: str = ""

    def __str__(self) -> str:
        ratios = np.array(self.theirs) / self.ours
        ratio = f"{short(np.median(ratios))}x ({short(ratios.min())} to {short(ratios.max())})"
        goal = "none"
        if self.goal is not None:
            goal = f"{self.goal:,g}x: {'reached' if np.median(ratios) >= self.goal else 'missed'}"
        rival = f"{self.rival}: {spoken(min(self.theirs))}"
        limit = f"{spoken(self.limit)} ({self.bound})"
        cells = (
            self.work,
            spoken(min(self.ours)),
            rival,
            ratio,
            goal,
            limit,
            f"{100 * self.limit / min(self.ours):.2g}%",
        )
        return f"| {' | '.join((*cells, self.note))} |"


def short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def spoken(seconds: float) -> str:
    return f"{short(seconds)} s" if seconds >= 1 else f"{short(1e3 * seconds)} ms"


class Counts(TorchDispatchMode):
    """Counts operations that launch something, waits, and the floating-point operations of products by precision."""

    def __init__(self):
        super().__init__()
        self.number, self.waits, self.operations = 0, 0, Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        formula = flop_registry.get(getattr(operation, "_overloadpacket", None))
        if formula is None and operation is not torch.ops.prim.device.default:
            with self:  # in inference mode what consists of others arrives whole
                result = operation.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = operation(*args, **kwargs)
        self.number += not getattr(operation, "is_view", False)
        tensors = [part for part in (*args, result) if isinstance(part, torch.Tensor)]
        moved = "copy" in str(operation) and len({part.device.type for part in tensors}) > 1
        self.waits += moved or "local_scalar" in str(operation) or "nonzero" in str(operation)
        if formula is not None:
            self.operations[str(tensors[0].dtype).removeprefix("torch.")] += formula(*args, **kwargs, out_val=result)
        return result


class Bench:
    """The device, what it can do, and how the ways of one piece of work are timed on it."""

    def __init__(self, device: torch.device, size: dict):
        self.device, self.size, self.seconds = device, size, 0.0
        self.clock = bench_sae.Clock(device)
        self.rates = {name: self._product(name) for name in PRECISIONS}
        self.tf32 = self._product("float32", "high") if device.type == "cuda" else None
        block = torch.empty(size["copy"] // 4, device=device)
        other = torch.ones_like(block)
        block.copy_(other)
        self.bandwidth = 2 * size["copy"] / min(self.clock(lambda: block.copy_(other)) for _ in range(5))
        few = torch.zeros(1, device=device)
        few.add_(1)
        self.launch = min(self.clock(lambda: [few.add_(1) for _ in range(1000)]) for _ in range(5)) / 1000

    def _product(self, name: str, precision: str = "highest") -> float:
        """Operations a second of a large square product of random numbers."""
        size = self.size["product"] // (2 if name == "float64" else 1)
        a = torch.randn(size, size, device=self.device).to(PRECISIONS[name])
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            a @ a
            return 2 * size**3 / min(self.clock(lambda: a @ a) for _ in range(5))
        finally:
            torch.set_float32_matmul_precision(before)

    def turns(self, ways: dict[str, Callable[[], float]], *, cold: Sequence[str] = ()) -> dict[str, list[float]]:
        """Seconds of every way in every round; those that are slow on the CPU, or have run before, may start cold."""
        start, seconds = time.perf_counter(), {name: [] for name in ways}
        for name, way in ways.items():
            if name not in cold:
                way()  # the first time pays for libraries and memory
        for _ in range(self.size["rounds"]):
            before = time.perf_counter()
            for name, way in ways.items():
                seconds[name].append(way())
            now = time.perf_counter()
            if now + (now - before) - start > self.seconds:
                break
        return seconds

    def timed(self, work: Callable[[], object]) -> Callable[[], float]:
        return lambda: self.clock(work)

    def counted(self, work: Callable[[], object]) -> tuple[float, str, str]:
        """Seconds that the products of some work take at their rates, what they are, and a note on waiting."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # on a CPU work would be given to other threads, where nothing is counted
        try:
            with Counts() as counts:
                work()
        finally:
            torch.set_num_threads(threads)
        seconds = sum(number / self.rates[name] for name, number in counts.operations.items())
        parts = [f"{short(number / 1e9)} G in {name}" for name, number in counts.operations.items() if number]
        launches = f"launches {spoken(counts.number * self.launch)} ({counts.number:,}), {counts.waits:,} waits"
        return seconds, f"products: {' and '.join(parts)}", launches


def sae(bench: Bench, layers: int, dim: int, grids: Sequence[tuple[int, int, int]]) -> list[Line]:
    """Training steps of layers x the paper's sparsities as one stack."""
    first = grids[0][0]
    chosen = [(form, *grid) for grid in grids for form in (("paper", "default") if grid[0] == first else ("default",))]
    share, lines = bench.seconds / len(chosen), []
    for form, latents, batch, steps in chosen:
        bench.seconds = share
        lines += grid(bench, form, layers, dim, latents, batch, steps)
        emptied(bench.device)
    return lines


def grid(bench: Bench, form: str, layers: int, dim: int, latents: int, batch: int, steps: int) -> list[Line]:
    ks = [k_of(sparsity, latents) for sparsity in bench_sae.SPARSITIES]
    members, rates = layers * len(ks), [1e-3] * steps
    x = hidden_states(layers, batch * steps, dim, bench.device)
    batches = x[0].split(batch)
    whole = bench_sae.stack(x, form, ks, latents)
    singles = [bench_sae.stack(x[:1], form, [k], latents) for k in ks]

    def together() -> None:
        whole.train(x, batch, rates)

    def alone() -> None:
        for one in singles:
            one.train(x[:1], batch, rates)

    rivals = {"one by one here": alone}
    for name, make in (("plain torch", bench_sae.plain), ("dictionary_learning", bench_sae.dictionary_learning)):
        try:
            rivals[name] = partial(stepped, [make(dim, latents, k, bench.device) for k in ks], batches)
        except ImportError as error:
            once(f"sae: {name} left out: {error}")
    layer = {name: lambda work=work: layers * bench.clock(work) for name, work in rivals.items()}
    seconds = bench.turns({"stack": bench.timed(together)} | layer)
    launches = bench.counted(together)[-1]
    # encode, decode, and three products for the gradients; Adam reads four numbers a weight and writes three
    products = 10 * dim * latents * batch * steps * members / bench.rates["float32"]
    adam = 28 * 2 * dim * latents * steps * members / bench.bandwidth
    bound = f"products in float32 {spoken(products)}, Adam's bytes {spoken(adam)}"
    work = f"sae: {members} of {dim} to {latents}, {form} form, {steps} steps of batch {batch}"
    ours, limit = seconds.pop("stack"), products + adam
    return [
        Line(work, f"{name} (one layer of {layers})", ours, theirs, 10, limit, bound, launches)
        for name, theirs in seconds.items()
    ]


@cache
def once(text: str) -> None:
    print(text)


def hidden_states(layers: int, rows: int, dim: int, device: torch.device) -> torch.Tensor:
    """Like bench_sae's, drawn on the device: (layers, rows, dim) of few active directions around a mean."""
    generator = torch.Generator(device).manual_seed(0)
    draw = partial(torch.randn, generator=generator, device=device)
    x = torch.empty(layers, rows, dim, device=device)
    for layer in x:
        codes = torch.empty(rows, 300, device=device).exponential_(generator=generator)
        codes *= torch.rand(rows, 300, generator=generator, device=device) < 0.05
        directions = draw(300, dim) * torch.arange(1, dim + 1, device=device) ** -0.5
        layer.copy_(codes @ directions + 0.1 * draw(rows, dim) + draw(1, dim))
    return x


def stepped(steppers: Sequence[Callable], batches: Sequence[torch.Tensor]) -> None:
    for step in steppers:
        for number, batch in enumerate(batches):
            step(number, batch)


def emptied(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def probes(bench: Bench, layers: int, seeds: int, clips: int, dim: int, classes: int) -> list[Line]:
    """Probes of layers x seeds x penalties in one call."""
    x, y = bench_probes.hidden_states(layers, clips, dim, classes)
    order = np.random.default_rng(1).permutation(clips)
    split = Split(*np.split(order, [int(0.64 * clips), int(0.8 * clips)]))
    call = partial(fit_probes, x, y, split, seeds=range(seeds), device=str(bench.device))
    alone = partial(fit_probes, x[:1], y, split, device=str(bench.device))
    fitted, scores = alone(), []

    def looped() -> float:
        """The path of one layer and seed, with one thread or all, whichever is faster."""
        spent = []
        for threads in sorted({1, torch.get_num_threads()}):
            with threadpool_limits(threads):
                start = time.perf_counter()
                scores[:] = [path_step(x[0], y, split, penalty) for penalty in PENALTIES]
                spent.append(time.perf_counter() - start)
        return layers * seeds * min(spent)

    limit, bound, launches = bench.counted(call)
    seconds = bench.turns({"ours": bench.timed(call), "loop": looped}, cold=("loop",))
    points = 100 * np.abs(fitted.validation_path[0, 0] - scores).max()
    note = f"{launches}; validation accuracies apart by at most {points:.1f} points"
    work = f"probes: {layers} layers x {seeds} seeds x {len(PENALTIES)} penalties, {len(split.train)} x {dim}"
    rival = f"scikit-learn one by one, default tolerance (one layer and seed of {layers * seeds})"
    return [Line(work, rival, seconds["ours"], seconds["loop"], 50, limit, bound, note)]


def path_step(x: np.ndarray, y: np.ndarray, split: Split, penalty: float) -> float:
    """Validation accuracy of scikit-learn's probe at one penalty, with its default tolerance."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=100_000))
    return model.fit(x[split.train], y[split.train]).score(x[split.valid], y[split.valid])


def lassos(bench: Bench, clips: int, codes: int, active: int, factors: int, sampled: int) -> list[Line]:
    """Lassos of all factors, at one penalty and along a path."""
    z, v = bench_lasso.codes_and_factors(clips, codes, active, factors)
    where = {"device": str(bench.device)} if "device" in signature(lasso).parameters else {}
    note = "" if where else "lasso takes no device: on the CPU"
    share, lines = bench.seconds / 2, []
    for alphas in ((0.1,), ALPHAS):
        bench.seconds = share
        call, found, fits = partial(lasso, z, v, alphas, **where), [], []
        work = lambda call=call, fits=fits: fits.append(call())  # noqa: E731

        def looped(alphas=alphas, found=found) -> float:
            start = time.perf_counter()
            found[:] = [
                Lasso(alpha=alpha, max_iter=10_000).fit(z, v[:, factor]).coef_
                for alpha in alphas
                for factor in range(sampled)
            ]
            return factors / sampled * (time.perf_counter() - start)

        seconds = bench.turns({"ours": bench.timed(work), "loop": looped}, cold=("loop",))
        coefficients = fits[-1].coefficients
        above = []
        for at, theirs in enumerate(found):
            p, k = divmod(at, sampled)
            ours, theirs = (cost(z, v[:, k], w, alphas[p]) for w in (coefficients[p, :, k], theirs))
            above.append(ours / theirs - 1)
        used = (coefficients != 0).sum(1).astype(float)
        # every optimality condition looked at once, and the normal equations of every support solved once
        operations = used.size * 2 * clips * codes + (clips * used**2 + used**3 / 3).sum()
        bound = f"conditions once, supports solved once: {short(operations / 1e9)} G in float64"
        work = f"lasso: {factors} factors on {clips} x {codes} codes, {len(alphas)} penalties"
        remark = "; ".join(filter(None, (note, f"objective at most {max(above):+.1e} of the loop's")))
        rival = f"scikit-learn one by one ({sampled} factors of {factors})"
        limit = operations / bench.rates["float64"]
        lines.append(Line(work, rival, seconds["ours"], seconds["loop"], 10, limit, bound, remark))
    return lines


def cost(z: np.ndarray, v: np.ndarray, w: np.ndarray, alpha: float) -> float:
    """The objective, at the intercept that is best for these weights."""
    residual = v - z @ w
    return ((residual - residual.mean()) ** 2).mean() / 2 + alpha * np.abs(w).sum()


def nmf(bench: Bench, frames: int, components: int, iterations: int) -> list[Line]:
    """Sparse NMF to the objective that scikit-learn's multiplicative updates reach, all from the same start."""
    x = bench_nmf.synthetic(frames)
    rng = np.random.default_rng(0)
    w = rng.random((components, x.shape[1]), dtype=np.float32)
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    h = np.repeat(x.sum(1, keepdims=True) / w.sum(), components, axis=1) + np.float32(1e-6)
    options = {"init": "custom", "n_components": components, "solver": "mu", "max_iter": iterations, "tol": 0}

    def scikit() -> tuple:
        return non_negative_factorization(x, W=h.copy(), H=w.copy(), **options)[:2]

    mark = bench_nmf.normalised(x, *scikit(), 0.0)

    def fit(algorithm: str, device: str, most: int) -> SparseNMF:
        nmf = SparseNMF(components, algorithm=algorithm, tolerance=0, iterations=most, device=device, progress=False)
        return nmf.fit(x, components=w, activations=h)

    def enough(algorithm: str, device: str) -> int:
        """Iterations to the mark."""
        most = 16
        while most < 16 * iterations:
            there = np.flatnonzero(fit(algorithm, device, most).history_ <= mark)
            if len(there):
                return max(1, int(there[0]))
            most *= 2
        raise RuntimeError(f"{algorithm} does not get down to {mark:.6g} in {most // 2} iterations")

    device, lines = str(bench.device), []
    needed = {(algorithm, device): enough(algorithm, device) for algorithm in ("hals", "mu")}
    needed["hals", "cpu"] = enough("hals", "cpu")
    ways = {(a, place): bench.timed(partial(fit, a, place, most)) for (a, place), most in needed.items()}
    ways["loop"] = bench.timed(scikit)
    seconds = bench.turns(ways, cold=list(ways))
    for algorithm in ("hals", "mu"):
        most = needed[algorithm, device]
        limit, bound, launches = bench.counted(partial(fit, algorithm, device, most))
        work = f"nmf: {x.shape[1]} x {frames}, {components} components, ours {algorithm} ({most} iterations)"
        ours = seconds[algorithm, device]
        rival = f"scikit-learn mu ({iterations} iterations)"
        lines.append(Line(work, rival, ours, seconds["loop"], 10, limit, bound, launches))
        if bench.device.type != "cpu" or algorithm != "hals":
            rival = f"ours hals on the CPU ({needed['hals', 'cpu']} iterations)"
            lines.append(Line(work, rival, ours, seconds["hals", "cpu"], 10, limit, bound, launches))
    return lines


class SixteenBit(Sequence):
    """Waveforms kept as samples of 16 bits and turned into numbers when they are asked for."""

    def __init__(self, clips: Sequence[np.ndarray]):
        self.clips = [(32767 * clip).astype(np.int16) for clip in clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.clips[index].astype(np.float32) / 32767


def extraction(bench: Bench, architecture: dict | None, seconds: float, sampled: int) -> list[Line]:
    """All layers of a transformer with random weights over clips of 1 to 10 s, means over time."""
    name, device = "hubert-base", bench.device
    if architecture is None:
        encoder = load_encoder(name, random_weights=0, device=device, dtype="float32")
    else:
        preprocess = SPECS[name].preprocess
        options = {"architecture": architecture, "preprocess": preprocess, "random_weights": 0, "device": device}
        name, encoder = "a small HuBERT", load_huggingface("small", folder=None, **options)
    rng, clips = np.random.default_rng(0), []
    while (sound := sum(map(len, clips)) / encoder.rate) < seconds:
        length = int(math.exp(rng.uniform(0, math.log(10))) * encoder.rate)
        clips.append((0.1 * rng.standard_normal(length, dtype=np.float32)).clip(-1, 1))
    layers = range(len(encoder.layers))
    mean = int(sound / len(clips) * encoder.rate)
    few = torch.zeros(min(len(clips), 8), mean, device=device)
    lengths = torch.full((len(few),), mean, device=device)
    with torch.inference_mode(), Counts() as counts:
        encoder.forward(few, lengths, layers)
    operations = sum(counts.operations.values()) * sound / (len(few) * mean / encoder.rate)

    share, lines = bench.seconds / 2, []
    for precision in ("float32", "bfloat16"):
        bench.seconds = share
        autocast = partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bfloat16")

        def batched(waveforms, loaders=0, precision=precision) -> None:
            for _ in extract(encoder, waveforms, dtype=precision, loaders=loaders, progress=False):
                pass

        def alone(autocast=autocast) -> None:
            for x in clips[:sampled]:
                with torch.inference_mode(), autocast():
                    length = torch.tensor([len(x)], device=device)
                    outputs = encoder.forward(torch.from_numpy(x)[None].to(device), length, layers)
                    np.stack([frames[0].float().mean(0).cpu().numpy() for frames, _ in outputs])

        part = sound / (sum(map(len, clips[:sampled])) / encoder.rate)
        ways = {
            "in memory": bench.timed(partial(batched, clips)),
            "16 bit": bench.timed(partial(batched, SixteenBit(clips), 8)),
            "alone": lambda alone=alone, part=part: part * bench.clock(alone),
        }
        spent = bench.turns(ways)
        launches = bench.counted(partial(batched, clips))[-1]
        limit = operations / bench.rates[precision]
        bound = f"products: {short(operations / 1e9)} G in {precision}"
        work = f"extraction: {name}, {len(layers)} layers, {len(clips)} clips, {precision}"
        real, none = [sound], f"decoding left out; {launches}"
        cast = "decoding counted in as 16 bit to numbers, eight loaders"
        for way, note in (("in memory", none), ("16 bit", cast)):
            title = f"{work}, {way}"
            lines.append(Line(title, "real time", spent[way], real * len(spent[way]), 10_000, limit, bound, note))
        rival = f"clip by clip ({min(sampled, len(clips))} of {len(clips)})"
        lines.append(Line(f"{work}, in memory", rival, spent["in memory"], spent["alone"], None, limit, bound, none))
    return lines


def sampling(bench: Bench, config: dict, prototypes: int, steps: int, sampled: int) -> list[Line]:
    """Sounds of many prototypes from the decoder of the summary autoencoder, up to the codec's latents."""
    torch.manual_seed(0)
    net = SummaryNet(SummaryConfig(**config)).eval().requires_grad_(False).to(bench.device)
    shape = (net.config.latent_frames, net.config.latent_dim)
    z = torch.randn(prototypes, net.config.dim, device=bench.device)

    @torch.inference_mode()
    def generate(rows: int, count: int = prototypes) -> None:
        """As SummaryAutoencoder.generate goes about it."""
        for start in range(0, count, rows):
            part = z[start : min(start + rows, count)]
            sample(net, draw_noise([0] * len(part), shape, device=bench.device), part, steps=steps)

    def halved() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            generate(ROWS)

    ways = {
        "float32": bench.timed(partial(generate, ROWS)),
        "bfloat16": bench.timed(halved),
        "alone": lambda: prototypes / sampled * bench.clock(lambda: generate(1, sampled)),
    }
    seconds = bench.turns(ways)
    with torch.inference_mode(), Counts() as counts:
        sample(net, draw_noise([0], shape, device=bench.device), z[:1], steps=1)
    operations = sum(counts.operations.values()) * steps * prototypes
    number = counts.number * steps * math.ceil(prototypes / ROWS)
    launches = f"launches {spoken(number * bench.launch)} ({number:,})"
    lines = []
    for precision, note in (("float32", "as generate does"), ("bfloat16", "autocast, which generate does not do")):
        work = f"sampling: {prototypes} prototypes, {steps} steps with guidance, {ROWS} rows at once, {precision}"
        limit, bound = operations / bench.rates[precision], f"products: {short(operations / 1e9)} G in {precision}"
        rival = f"one by one, float32 ({sampled} of {prototypes})"
        note = f"{note}; {launches}"
        lines.append(Line(work, rival, seconds[precision], seconds["alone"], 20, limit, bound, note))
    return lines


WORK = {"sae": sae, "probes": probes, "lasso": lassos, "nmf": nmf, "extraction": extraction, "sampling": sampling}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, help="in all, 300 or 30; a row takes one round at least")
    parser.add_argument("--only", choices=WORK, action="append", metavar="ROW", help=f"of {', '.join(WORK)}")
    parser.add_argument("--size", choices=SIZES, help="full on a GPU, else toy")
    args = parser.parse_args()
    begin = time.perf_counter()
    warnings.filterwarnings("ignore", module="sklearn")
    device = torch.device(args.device)
    chosen = args.size or ("full" if device.type == "cuda" else "toy")
    limit = args.seconds if args.seconds is not None else 300 if chosen == "full" else 30
    bench = Bench(device, SIZES[chosen])
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    rates = ", ".join(f"{name} {short(rate / 1e12)}" for name, rate in bench.rates.items())
    rates += f", TF32 {short(bench.tf32 / 1e12)} (which nothing here uses)" if bench.tf32 else ""
    print(f"size {chosen}; large products in TFLOP/s: {rates}")
    print(f"a large copy {short(bench.bandwidth / 1e9)} GB/s, a smallest operation {1e6 * bench.launch:.1f} us")
    lines, failed = [], 0
    rows = args.only or list(WORK)
    for done, row in enumerate(rows):
        start = time.perf_counter()
        bench.seconds = max(0.0, begin + limit - start) / (len(rows) - done)
        try:
            lines += map(str, WORK[row](bench, **SIZES[chosen][row]))
        except Exception as error:  # one row that fails must not cost the others their time on the machine
            traceback.print_exc()
            lines.append(f"| {row}: failed, {type(error).__name__} | | | | | | | |")
            failed = 1
        emptied(device)
        print(f"{row}: {time.perf_counter() - start:.0f} s", flush=True)
    print()
    print("| work | time | rival | ratio (range) | goal | limit | of the limit | note |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))
    print()
    print(f"{machine}, torch {torch.__version__}, {datetime.date.today()}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
