"""The estimator: a dictionary learnt from frames."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, choice, number, numbers, whole
from ..core.checks import seed as check_seed
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.warn import warn
from .fitting import Run
from .frames import BETAS, DTYPES, Frames, array, check_values, tensor
from .solving import activations as solved
from .updates import FLOOR, full_precision

#: Residual above which transform warns.
RESIDUAL = 1e-2

Start = ArrayLike | None
Source = ArrayLike | Tensor | Callable[[], Iterable[np.ndarray | Tensor]]


class SparseNMF:
    """Sparse non-negative matrix factorisation with components of length 1, in the manner of scikit-learn.

    Parameters
    ----------
    components : int
        K. More than there are frames is allowed.
    sparsity : float
        Weight of the sum of all activations, in the units of the frames.
    beta : {"euclidean", "kl", "is"}
        Divergence.
    algorithm : {"auto", "hals", "mu"}
        "auto" is "hals" for "euclidean", else "mu" (the only one there).
    iterations : int
        At most so many.
    tolerance : float
        Stop when an iteration lowers the objective by less than this share of it; 0: never.
    restarts : int
        Random starts, learnt at once; the one with the lowest objective is kept.
    seed : int
        Draws the starts. The first of several is that of a single one.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1".
    dtype : {"float32", "float64"}
        Of the updates. Sums over frames are in double precision anyhow.
    tile : int, optional
        Frames at once; the result does not depend on it beyond rounding.
    progress : bool
        Show a bar.

    Attributes
    ----------
    components_ : np.ndarray (K, F), or (B, K, F) of B problems
        Rows of length 1, in the dtype asked for. ``W = components_.T``.
    history_ : np.ndarray float64 (iterations + 1,), or (B, iterations + 1)
        Objective at the start and after every iteration, of the start that was kept.
    objectives_ : np.ndarray float64 (restarts,), or (B, restarts)
        Where each start ended.
    iterations_ : int
        Made.
    residual_ : float
        Largest residual of the last :meth:`transform` (see :func:`activations`).

    Notes
    -----
    A start is uniform random components, and activations equal within a frame that give the frame's sum. Problems and
    restarts that are learnt at once stop together, when the last one may.

    Examples
    --------
    >>> nmf = SparseNMF(1, tolerance=0, iterations=20, device="cpu", dtype="float64", progress=False)
    >>> nmf.fit([[3.0, 4.0], [6.0, 8.0]]).components_.round(6).tolist()
    [[0.6, 0.8]]
    >>> nmf.transform([[0.3, 0.4]]).round(6).tolist()
    [[0.5]]
    """

    @checked
    def __init__(
        self,
        components: int = 100,
        *,
        sparsity: float = 0.0,
        beta: str = "euclidean",
        algorithm: str = "auto",
        iterations: int = 200,
        tolerance: float = 1e-5,
        restarts: int = 1,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        tile: int | None = None,
        progress: bool = True,
    ):
        self.components, self.sparsity, self.beta, self.algorithm = components, sparsity, beta, algorithm
        self.iterations, self.tolerance, self.restarts, self.seed = iterations, tolerance, restarts, seed
        self.device, self.dtype, self.tile, self.progress = device, dtype, tile, progress

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """The constructor's arguments, as scikit-learn asks for them."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **parameters: object) -> SparseNMF:
        """Change some of them."""
        for name, value in parameters.items():
            choice("parameter", name, self.get_params())
            setattr(self, name, value)
        return self

    def fit(
        self,
        frames: Source,
        y: None = None,
        *,
        components: ArrayLike | None = None,
        activations: ArrayLike | None = None,
    ) -> SparseNMF:
        """Learn the components.

        Parameters
        ----------
        frames : array_like, memory map or tensor (N, F) or (B, N, F), or callable
            Non-negative. (B, N, F): B problems, learnt at once. A callable returns an iterable of tiles (n, F) and is
            called at every pass, with the same tiles each time; of a memory map or a callable no more than a tile is in
            memory, beside the activations.
        y : ignored
        components : array_like (K, F) or (B, K, F), optional
            Start with these; they are brought to length 1 and the activations of the start rescaled accordingly.
        activations : array_like (N, K) or (B, N, K), optional
            Start with these.

        Raises
        ------
        ParameterError
            Frames that are negative, not finite, all zero or of unequal width, a start that does not fit, or a
            parameter out of range.
        """
        self._fit(frames, components, activations)
        return self

    def fit_transform(
        self,
        frames: Source,
        y: None = None,
        *,
        components: ArrayLike | None = None,
        activations: ArrayLike | None = None,
    ) -> np.ndarray:
        """:meth:`fit`, and the activations (N, K) or (B, N, K) of the last iteration: those of ``history_[-1]``."""
        return self._fit(frames, components, activations)

    def transform(self, frames: ArrayLike | Tensor) -> np.ndarray:
        """Activations (N, K), or (B, N, K), of frames for the components learnt: see :func:`activations`.

        Warns
        -----
        UserWarning
            The solver stopped further from the minimum than a residual of 0.01.
        """
        learnt = self._learnt()
        frames = array("frames", frames)
        options = {name: getattr(self, name) for name in ("sparsity", "beta", "device", "dtype")}
        if learnt.ndim == 2:
            h, residual = solved(frames, learnt, **options)
        elif frames.ndim and len(frames) == len(learnt):
            pairs = [solved(x, w, **options) for x, w in zip(frames, learnt, strict=True)]
            h, residual = (np.stack(some) for some in zip(*pairs, strict=True))
        else:
            raise ParameterError("frames.shape", tuple(frames.shape), f"({len(learnt)}, N, F), one entry a problem")
        self.residual_ = float(residual.max(initial=0.0))
        if self.residual_ > RESIDUAL:
            warn(f"activations are not at the minimum: residual {self.residual_:.1e}")
        return h

    def inverse_transform(self, activations: ArrayLike) -> np.ndarray:
        """Frames (N, F) that activations (N, K) stand for."""
        learnt, given = self._learnt(), numbers("activations", activations, empty=True)
        if given.ndim != learnt.ndim or given.shape[-1] != learnt.shape[-2] or given.shape[:-2] != learnt.shape[:-2]:
            expected = (*learnt.shape[:-2], "N", learnt.shape[-2])
            raise ParameterError("activations.shape", given.shape, f"({', '.join(map(str, expected))})")
        return given @ learnt

    def _learnt(self) -> np.ndarray:
        if not hasattr(self, "components_"):
            raise ParameterError("components_", None, "learnt before: call fit")
        return self.components_

    def _check(self) -> int:
        """Parameters in range; the number of beta."""
        choice("beta", self.beta, BETAS)
        choice("dtype", self.dtype, DTYPES)
        choice("algorithm", self.algorithm, ("auto", "hals", "mu"))
        if self.algorithm == "hals" and self.beta != "euclidean":
            raise ParameterError("algorithm", "hals", f"'mu' or 'auto' for beta={self.beta!r}")
        for name in ("components", "iterations", "restarts", *(["tile"] if self.tile is not None else [])):
            whole(name, getattr(self, name), least=1)
        for name in ("sparsity", "tolerance"):
            number(name, getattr(self, name), least=0)
        check_seed(self.seed)
        return BETAS[self.beta]

    @torch.no_grad()
    def _fit(self, source: Source, components: Start, activations: Start) -> np.ndarray:
        beta = self._check()
        place, dtype = chosen_device(self.device, float64=True), DTYPES[self.dtype]
        with full_precision():
            floor = FLOOR if beta == 0 else 0.0
            frames = Frames(source, tile=self.tile, device=place, dtype=dtype, floor=floor)
            w, h = self._start(frames, components, activations)
            multiplicative = self.algorithm == "mu" or beta != 2
            run = Run(frames, w, h, self.sparsity * frames.unit ** (1 - beta), beta, multiplicative)
            costs = self._iterate(run) * frames.unit**beta
        kept = costs[-1].argmin(1)
        rows = torch.arange(len(kept), device=place)
        history = costs[:, rows, kept].T
        found = run.w[rows, kept]
        h = torch.cat([part[rows, kept].cpu() for part in run.h], dim=-1).mT * frames.unit
        if not (costs[-1].isfinite().all() and h.isfinite().all()):
            raise ParameterError("frames", f"an objective of {float(costs[-1].max())}", "of a size that can be learnt")
        level = int((history[:, -1] >= history[:, 0]).sum())
        if level:
            text = f"nothing was learnt: {len(costs) - 1} iterations did not lower the objective, {history[0, 0]:.6g}"
            warn(text + (f" ({level} of {len(history)} problems)" if len(history) > 1 else ""))
        single = len(kept) == 1 and (callable(source) or np.ndim(source) == 2)
        squeeze = (lambda a: a[0]) if single else (lambda a: a)
        self.components_, self.history_ = (squeeze(a.cpu().numpy()) for a in (found, history))
        self.objectives_, self.iterations_ = squeeze(costs[-1].cpu().numpy()), len(costs) - 1
        return squeeze(h.contiguous().numpy())

    def _iterate(self, run: Run) -> Tensor:
        """Objectives (iterations + 1, B, restarts)."""
        from tqdm.auto import tqdm

        costs = [] if run.late else [run.sweep(update=False)]
        with tqdm(total=self.iterations, disable=not self.progress, desc="sparse NMF", leave=False) as bar:
            for _ in range(self.iterations):
                costs.append(run.sweep())
                bar.set_postfix_str(f"objective {float(costs[-1].min()):.6g}", refresh=False)
                bar.update()
                if self.tolerance and len(costs) > 1 and self._level(*costs[-2:]):
                    break
        if run.late:
            costs.append(run.sweep(update=False))
        return torch.stack(costs)

    def _level(self, before: Tensor, now: Tensor) -> bool:
        return bool((before - now < self.tolerance * before).all())

    def _start(self, frames: Frames, components: Start, activations: Start):
        """Components (B, restarts, K, F) of length 1 and activations of each tile (B, restarts, K, n)."""
        problems, bins = frames.shape
        given = {"components": components, "activations": activations}
        if self.restarts > 1 and any(value is not None for value in given.values()):
            raise ParameterError("restarts", self.restarts, "1 where the start is given")
        widths = {"components": (self.components, bins), "activations": (sum(frames.sizes), self.components)}
        for name, value in given.items():
            if value is None:
                continue
            value = tensor(name, value, frames.device, torch.float64)
            if tuple(value.shape) not in (widths[name], (problems, *widths[name])):
                raise ParameterError(f"{name}.shape", tuple(value.shape), f"{widths[name]}, or one such a problem")
            check_values(name, value)
            given[name] = value.expand(problems, *widths[name])[:, None]
        w = given["components"]
        if w is None:
            generator = torch.Generator().manual_seed(int(self.seed))
            draws = [
                torch.rand(self.components, bins, generator=generator, dtype=torch.float64)
                for _ in range(self.restarts)
            ]
            w = torch.stack(draws).to(frames.device).expand(problems, -1, -1, -1)
        lengths = torch.linalg.vector_norm(w, dim=-1, keepdim=True)
        bad = (lengths < 1e-100) | (lengths > 1e100)
        if bad.any():
            row = int(bad[..., 0].nonzero()[0, -1])
            shown = f"length {float(lengths[bad][0]):.1e} of row {row}"
            raise ParameterError(
                "components", shown if lengths[bad][0] else f"0 in row {row}", "above 0 (and a number)"
            )
        w = w / lengths
        if given["activations"] is not None:
            h = list((given["activations"].mT * (lengths / frames.unit)).to(frames.dtype).split(frames.sizes, dim=-1))
        else:
            level = w.sum((-2, -1))[..., None]
            h = [(x.sum(-1) / level).to(frames.dtype)[..., None, :].repeat(1, 1, w.shape[-2], 1) for x in frames]
        return w.to(frames.dtype).contiguous(), [part.contiguous() for part in h]
