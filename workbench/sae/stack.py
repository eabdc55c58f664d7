"""Train many sparse autoencoders of one shape together, with the same result as training each alone.

Weights are stacked, (M, latents, D), and so are Adam's moments. One step of the stack is a few batched matrix products,
one top-k and one fused Adam step; the members do not affect each other. Gradients are computed explicitly instead of by
autograd.

On a GPU all members are updated together. On a CPU the whole stack does not fit into the caches, and threads that share
a product mostly wait for each other. There each thread takes one member, or a few small ones. The gradients of a large
member are computed and applied block by block, with blocks of latents small enough to stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from .model import SAEConfig, SparseAutoencoder

#: Number of weights of one matrix that a CPU thread processes at once: several members if they have fewer weights, a
#: block of latents if one member has more.
BLOCK = 2**17
#: Parameters betas and eps of Adam, with the defaults of ``torch.optim.Adam``.
BETAS, EPSILON = (0.9, 0.999), 1e-8
#: Decay per step of the running mean that is the threshold of BatchTopK.
THRESHOLD_DECAY = 0.99
#: Number of rows that are encoded at once to compute a loss.
ROWS = 512
TRAINED = ("encoder", "encoder_bias", "decoder", "bias")


class Stack:
    """M sparse autoencoders (members) that differ in k, seed and input.

    Parameters
    ----------
    config : SAEConfig
        Configuration of all members; its ``k`` is not used.
    ks, seeds, inputs : sequence of int (M,)
        For each member the number of latents kept, the seed of the initial weights, and the number of its input among
        the I inputs.
    mean : ndarray, float32 (I, D)
        Mean of each input over the training rows.
    scale : ndarray, float32 (I,)
        Number by which each input is divided.
    device : torch.device
        Where the members are trained.

    Attributes
    ----------
    state : dict of str to Tensor
        Weights, moments, dead latents and kept weights: with ``steps`` and ``seen`` all that is needed to resume.
    steps, seen : int
        Number of steps taken, and number of training vectors in the current block of ``dead_after``.
    """

    def __init__(
        self,
        config: SAEConfig,
        ks: Sequence[int],
        seeds: Sequence[int],
        inputs: Sequence[int],
        *,
        mean: np.ndarray,
        scale: np.ndarray,
        device: torch.device,
    ):
        self.config, self.ks, self.inputs = config, list(ks), list(inputs)
        self.scale = torch.from_numpy(np.asarray(scale, dtype=np.float32)).to(device)
        self.steps = self.seen = 0
        members = len(self.ks)
        drawn = {seed: _initial_weights(config, seed) for seed in sorted(set(seeds))}
        state = {name: torch.stack([drawn[seed][name] for seed in seeds]) for name in drawn[seeds[0]]}
        self.trained = (*TRAINED, "log_threshold") if config.activation == "jumprelu" else TRAINED
        if config.activation == "jumprelu":
            state["log_threshold"] = torch.zeros(members, config.latents)
        state["bias"] = torch.zeros(members, config.dim)
        if config.pre_bias:
            state["bias"] += torch.from_numpy(np.asarray(mean / scale[:, None], dtype=np.float32))[self.inputs]
        for name in self.trained:
            state |= {f"{name}.first": torch.zeros_like(state[name]), f"{name}.second": torch.zeros_like(state[name])}
        state["fired"] = torch.zeros(members, config.latents, dtype=torch.bool)
        state["dead"] = torch.zeros_like(state["fired"])
        state["threshold"] = torch.zeros(members)
        state["kept.loss"] = torch.full((members,), torch.inf, dtype=torch.float64)
        for name in (*self.trained, "threshold"):
            state[f"kept.{name}"] = state[name].clone()
        self.state = {name: tensor.to(device) for name, tensor in state.items()}
        self._split(device)

    def __len__(self) -> int:
        return len(self.ks)

    def _split(self, device: torch.device) -> None:
        members, weights = len(self), self.config.latents * self.config.dim
        self._workers, self._inner, each, block = 1, 1, members, self.config.latents
        if device.type == "cpu":
            threads = torch.get_num_threads()
            each = max(1, min(BLOCK // weights, math.ceil(members / threads)))
            self._workers = min(threads, math.ceil(members / each))
            self._inner = threads // self._workers
            if each == 1 and self._inner == 1:
                block = math.ceil(self.config.latents / math.ceil(weights / BLOCK))
        self._parts = [_Part(self, slice(at, min(at + each, members)), block) for at in range(0, members, each)]

    def restore(self, state: dict[str, Tensor], steps: int, seen: int) -> None:
        """Resume from the ``state``, ``steps`` and ``seen`` of another stack."""
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
        self.steps, self.seen = steps, seen
        for part in self._parts:
            part.restore(steps)

    def calibrate(self, x: Tensor) -> None:
        """Fit each member's encoder and thresholds to inputs x (I, n, D) before training.

        A tied encoder is scaled so that its first code reconstructs x best. Otherwise, with k near D, directions that
        are not orthogonal would add up to a multiple of the input. The thresholds of JumpReLU start where k latents
        are active on average.
        """
        x = self._scaled(x)
        self._each(lambda part: part.calibrate(x))

    def train(self, x: Tensor, batch: int, rates: Sequence[float]) -> None:
        """Make one step per batch of rows of x (I, n, D), each with its own rate; the last batch may be smaller."""
        x = self._scaled(x)
        self._each(lambda part: part.train(x, batch, rates, self.seen))
        self.steps += len(rates)
        for width in _widths(x.shape[1], batch):
            self.seen = 0 if self.seen + width >= self.config.dead_after else self.seen + width

    def errors(self, x: Tensor) -> Tensor:
        """Return each member's squared error on x (I, n, D), summed over rows and dimensions and not scaled, (M,)."""
        scaled = self._scaled(x)
        sums = torch.cat(self._each(lambda part: part.errors(scaled)))
        return sums * self.scale[self.inputs].double().square()

    def keep(self, losses: Tensor) -> None:
        """Keep the weights of those members whose loss (M,) is the lowest so far."""
        better = losses < self.state["kept.loss"]
        self.state["kept.loss"] = torch.where(better, losses, self.state["kept.loss"])
        for member in better.nonzero().flatten().tolist():
            for name in (*self.trained, "threshold"):
                self.state[f"kept.{name}"][member] = self.state[name][member]

    def member(self, member: int, *, kept: bool = True) -> SparseAutoencoder:
        """Return one member on the CPU in the units of its input, with the kept weights or with the current ones."""
        names, scale = (*self.trained, "threshold"), self.scale[self.inputs[member]].cpu()
        weights = {name: self.state[f"kept.{name}" if kept else name][member].cpu() for name in names}
        threshold = weights["log_threshold"].exp() if "log_threshold" in weights else weights["threshold"]
        return SparseAutoencoder(
            replace(self.config, k=self.ks[member]),
            encoder=weights["encoder"] / scale,
            encoder_bias=weights["encoder_bias"].clone(),
            decoder=weights["decoder"] * scale,
            bias=weights["bias"] * scale,
            threshold=None if self.config.activation == "topk" else threshold.expand(self.config.latents).clone(),
        )

    def _scaled(self, x: Tensor) -> Tensor:
        return x / self.scale[:, None, None] if self.config.normalise_input else x

    def _each(self, work) -> list:
        """Return the results of ``work(part)`` for all parts, in order."""
        if self._workers == 1:
            return [work(part) for part in self._parts]

        def alone(part: _Part):
            torch.set_num_threads(self._inner)  # this applies to the worker's thread only
            return work(part)

        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(self._workers) as pool:
                return list(pool.map(alone, self._parts))
        finally:
            torch.set_num_threads(threads)  # threads that start later would otherwise inherit the workers' setting


def _initial_weights(config: SAEConfig, seed: int) -> dict[str, Tensor]:
    """Return the initial encoder, encoder_bias and decoder.

    With ``tied_init=False`` they are those of ``torch.nn.Linear(D, latents)`` and then ``torch.nn.Linear(latents, D,
    bias=False)`` after ``torch.manual_seed(seed)``.
    """
    generator = torch.Generator().manual_seed(seed)
    if config.tied_init:
        directions = torch.randn(config.latents, config.dim, generator=generator)
        directions /= directions.norm(dim=1, keepdim=True)
        return {"encoder": directions, "encoder_bias": torch.zeros(config.latents), "decoder": directions.clone()}
    encoder, decoder = torch.empty(config.latents, config.dim), torch.empty(config.dim, config.latents)
    nn.init.kaiming_uniform_(encoder, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(config.dim)
    bias = torch.empty(config.latents).uniform_(-bound, bound, generator=generator)
    nn.init.kaiming_uniform_(decoder, a=math.sqrt(5), generator=generator)
    decoder = decoder.T.contiguous()
    if config.unit_norm_decoder:
        decoder /= decoder.norm(dim=1, keepdim=True)
    return {"encoder": encoder, "encoder_bias": bias, "decoder": decoder}


def _widths(rows: int, batch: int) -> list[int]:
    return [min(batch, rows - at) for at in range(0, rows, batch)]


class _Part:
    """G neighbouring members that are updated together, on views of the stack's tensors."""

    def __init__(self, stack: Stack, members: slice, block: int):
        config, self.config = stack.config, stack.config
        self.state = {name: tensor[members] for name, tensor in stack.state.items()}
        device = stack.scale.device
        self.inputs, ks = stack.inputs[members], stack.ks[members]
        self.shared = len(set(self.inputs)) == 1
        self.index = torch.tensor(self.inputs, device=device)
        self.k = max(ks)
        self.ks = torch.tensor(ks, device=device)[:, None] if len(set(ks)) > 1 else None
        self.count = torch.zeros((), device=device)  # number of steps, as a tensor for fused Adam
        self.reviving, self.jumping = False, config.activation == "jumprelu"
        edges = [0, *config.prefixes, config.latents]
        self.levels = list(zip(edges[:-1], edges[1:], strict=True))
        starts = sorted({*range(0, config.latents, block), *(edges[:-1] if block < config.latents else ())})
        self.blocks = [
            _Block(self.state, self.levels, start, stop)
            for start, stop in zip(starts, [*starts[1:], config.latents], strict=True)
        ]
        shape = (len(ks), max(b.stop - b.start for b in self.blocks), config.dim)
        self.buffers = [torch.empty(shape, device=device) for _ in range(2)]

    def restore(self, steps: int) -> None:
        self.count.fill_(steps)
        self.reviving = bool(self.config.auxk and self.state["dead"].any())

    def take(self, x: Tensor, rows: slice) -> Tensor:
        """Return rows (G, n, D) of each member's input."""
        if self.shared:
            return x[self.inputs[0], rows].expand(len(self.inputs), -1, -1)
        return x[self.index, rows]

    def calibrate(self, x: Tensor) -> None:
        centred = self.take(x, slice(None)) - self.state["bias"][:, None]
        if self.config.tied_init:
            z = _keep_top(self.activations(centred), self.k, None if self.ks is None else self.ks[:, None])
            x_hat = z @ self.state["decoder"]
            overlap, power = ((a * x_hat).sum((1, 2)) for a in (centred, x_hat))
            self.state["encoder"] *= torch.where(power > 0, overlap / power, 1.0)[:, None, None]
        if self.jumping:
            _, least = self.keep_batchwise(self.activations(centred))
            self.state["log_threshold"].copy_(torch.where(least.isfinite(), least, 1.0).log()[:, None])

    def train(self, x: Tensor, batch: int, rates: Sequence[float], seen: int) -> None:
        for step, rate in enumerate(rates):
            rows = self.take(x, slice(step * batch, (step + 1) * batch))
            self.step(rows, rate)
            seen += rows.shape[1]
            if seen >= self.config.dead_after:
                seen = 0
                if self.config.auxk:
                    torch.logical_not(self.state["fired"], out=self.state["dead"])
                    self.state["fired"].zero_()
                    self.reviving = bool(self.state["dead"].any())

    def step(self, x: Tensor, rate: float) -> None:
        """Compute the gradients and make one Adam step on x (G, B, D).

        The loss is ``mean over levels of |x - x_hat|^2 / (B D)``, where a level is a prefix or the whole code. Added
        is ``auxk`` times the mean squared error with which dead latents reconstruct the residual, divided by the
        residual's mean square, and for JumpReLU ``l0_weight (L0 / k - 1)^2``.
        """
        state, cells = self.state, x.shape[1] * x.shape[2]
        centred = x - state["bias"][:, None] if self.config.pre_bias else x
        a = self.activations(centred)
        z = self.select(a)
        misses, total = [], -centred
        for lo, hi in self.levels:
            total = torch.baddbmm(total, z[..., lo:hi], state["decoder"][:, lo:hi])
            misses.append(total)
        slopes = [total * (2 / (cells * len(misses)))]  # a latent's gradient sums over its level and all larger ones
        for miss in misses[-2::-1]:
            slopes.insert(0, torch.add(slopes[0], miss, alpha=2 / (cells * len(misses))))
        bias_grad = slopes[0].sum(1)
        if self.config.auxk:
            state["fired"] |= (z > 0).any(1)
        if self.reviving:
            silent = _keep_top(a * state["dead"][:, None], min(self.config.auxk_latents, self.config.latents))
            miss = torch.baddbmm(total, silent, state["decoder"])
            power = total.square().mean((1, 2), keepdim=True).clamp_min(1e-12)
            slope = miss * (2 * self.config.auxk / cells / power)
            z, centred = torch.cat([z, silent], 1), torch.cat([centred, centred], 1)
            slopes = [torch.cat([main, slope], 1) for main in slopes]
        gates = self.gates(a, z[:, : x.shape[1]]) if self.jumping else None
        self.count += 1
        for block in self.blocks:
            code_grads = block.gradients(z, slopes, centred, self.buffers, self.config.unit_norm_decoder, gates)
            if self.config.pre_bias:
                bias_grad = torch.baddbmm(bias_grad[:, None], code_grads, block.encoder, alpha=-1)[:, 0]
            self.adam(block.trained, block.grads, rate)
            if self.config.unit_norm_decoder:
                block.decoder.div_(block.decoder.norm(dim=-1, keepdim=True))
        if self.config.pre_bias:
            names = ("bias", "bias.first", "bias.second")
            self.adam([[state[name]] for name in names], [bias_grad], rate)

    def adam(self, trained: list[list[Tensor]], grads: list[Tensor], rate: float) -> None:
        # the function that torch.optim.Adam(fused=True) calls, which handles whole parameters and not blocks
        parameters, first, second = trained
        torch._fused_adam_(
            parameters,
            grads,
            first,
            second,
            [],
            [self.count] * len(grads),
            lr=rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def activations(self, centred: Tensor) -> Tensor:
        state = self.state
        return torch.baddbmm(state["encoder_bias"][:, None], centred, state["encoder"].mT).relu_()

    def select(self, a: Tensor) -> Tensor:
        """Return the code (G, B, latents) of the activations a, and update the threshold of BatchTopK."""
        if self.config.activation == "topk":
            return _keep_top(a, self.k, None if self.ks is None else self.ks[:, None])
        if self.jumping:
            return a * (a > self.threshold())
        z, least = self.keep_batchwise(a)
        threshold = self.state["threshold"]
        moved = torch.where(threshold > 0, torch.lerp(least, threshold, THRESHOLD_DECAY), least)
        threshold.copy_(torch.where(least.isinf(), threshold, moved))
        return z

    def keep_batchwise(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return a with k values per row of the whole batch, and the least of them that is above 0, (G,), or inf."""
        rows = a.shape[1]
        z = _keep_top(a.flatten(1), self.k * rows, None if self.ks is None else self.ks * rows).view_as(a)
        return z, torch.where(z > 0, z, torch.inf).flatten(1).amin(1)

    def threshold(self) -> Tensor:
        """Return the thresholds above which activations are kept, (G, 1, latents) or, of BatchTopK, (G, 1, 1)."""
        return self.state["log_threshold"].exp()[:, None] if self.jumping else self.state["threshold"][:, None, None]

    def gates(self, a: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what gives the gradients of JumpReLU's thresholds, which straight-through estimators replace.

        A gate ``H(a - theta)`` has the derivative ``-K((a - theta) / bandwidth) / bandwidth`` by theta, where K is 1
        from -1/2 to 1/2 and else 0 (Rajamanoharan et al. 2024, equations 11 and 12).

        Returns
        -------
        near : (G, B, latents)
            The derivative of each gate by the logarithm of its threshold.
        theta : (G, 1, latents)
            Thresholds, which are also what a gate that opens adds to the code.
        push : (G, 1, 1)
            Derivative of the loss on L0 by each gate.
        """
        theta, width = self.threshold(), self.config.bandwidth
        near = ((a - theta).abs() < width / 2) & (a > 0)  # what a ReLU has cut to 0 lies at no distance
        k = self.k if self.ks is None else self.ks[:, 0]
        push = (z > 0).sum((1, 2)) / a.shape[1] / k - 1  # L0 / k - 1
        push = push * (2 * self.config.l0_weight / a.shape[1]) / k
        return near * (theta / -width), theta, push[:, None, None]

    def errors(self, x: Tensor) -> Tensor:
        sums = torch.zeros(len(self.inputs), dtype=torch.float64, device=x.device)
        for at in range(0, x.shape[1], ROWS):
            centred = self.take(x, slice(at, at + ROWS)) - self.state["bias"][:, None]
            z = self.activations(centred)
            if self.config.activation == "topk":
                z = self.select(z)
            else:
                z *= z > self.threshold()
            sums += torch.baddbmm(-centred, z, self.state["decoder"]).square().sum((1, 2), dtype=torch.float64)
        return sums


def _keep_top(a: Tensor, most: int, ks: Tensor | None = None) -> Tensor:
    """Set all but the ``ks`` (by default ``most``) largest values along the last axis to 0."""
    values, index = a.topk(most, sorted=ks is not None)
    if ks is not None:
        values = values * (torch.arange(most, device=a.device) < ks)
    return torch.zeros_like(a).scatter_(-1, index, values)


class _Block:
    """Latents ``start`` to ``stop`` of a part, with their weights, moments and gradients."""

    def __init__(self, state: dict[str, Tensor], levels: list[tuple[int, int]], start: int, stop: int):
        self.start, self.stop = start, stop
        #: (level, first latent, end) of the latents of this block within each level
        self.shares = [(i, max(lo, start), min(hi, stop)) for i, (lo, hi) in enumerate(levels)]
        self.shares = [share for share in self.shares if share[1] < share[2]]
        names = [name for name in ("encoder", "decoder", "encoder_bias", "log_threshold") if name in state]
        self.trained = [
            [state[f"{name}{moment}"][:, start:stop] for name in names] for moment in ("", ".first", ".second")
        ]
        self.encoder, self.decoder = self.trained[0][:2]
        self.grads: list[Tensor] = []

    def gradients(
        self,
        z: Tensor,
        slopes: list[Tensor],
        centred: Tensor,
        buffers: list[Tensor],
        unit_norm: bool,
        gates: tuple[Tensor, Tensor, Tensor] | None,
    ) -> Tensor:
        """Fill ``grads`` and return the gradients of the pre-activations summed over the batch, (G, 1, stop - start).

        z is (G, B, latents). slopes are the derivatives of the loss with respect to the reconstruction of each level,
        (G, B, D). gates are those of :meth:`_Part.gates`, on the rows of the batch without those of dead latents.
        """
        z = z[..., self.start : self.stop]
        by_encoder, by_decoder = (buffer[:, : self.stop - self.start] for buffer in buffers)
        by_code = []
        for level, lo, hi in self.shares:
            here = slice(lo - self.start, hi - self.start)
            by_code.append(torch.bmm(slopes[level], self.decoder[:, here].mT))
            if len(self.shares) == 1:
                torch.bmm(z.mT, slopes[level], out=by_decoder)
            else:
                by_decoder[:, here] = torch.bmm(z[..., here].mT, slopes[level])
        by_code = by_code[0] if len(by_code) == 1 else torch.cat(by_code, -1)
        by_threshold = []
        if gates is not None:
            near, theta, push = gates[0][..., self.start : self.stop], gates[1][..., self.start : self.stop], gates[2]
            by_threshold = [torch.addcmul(push, by_code[:, : near.shape[1]], theta).mul_(near).sum(1)]
        by_code.mul_(z > 0)
        torch.bmm(by_code.mT, centred, out=by_encoder)
        if unit_norm:  # remove the part of the gradient along the direction, which would only change its length
            by_decoder.sub_(self.decoder * (by_decoder * self.decoder).sum(-1, keepdim=True))
        sums = by_code.sum(1)
        self.grads = [by_encoder, by_decoder, sums, *by_threshold]
        return sums[:, None]
