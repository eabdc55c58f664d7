"""The estimator of sparse NMF, which learns components from frames in repeated passes over all of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core.checks import checked, choice, number, numbers, whole
from ..core.checks import seed as check_seed
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.fitting import read_fitted, reading, write_fitted
from ..core.progress import progress_bar
from ..core.warn import warn
from .frames import BETAS, DTYPES, Frames, check_values, tensor
from .solving import activations as solved
from .updates import FLOOR, balanced, directions, divergence, full_precision, hals, multiply, parts

#: Number of passes over the rows of H in each iteration of "hals".
PASSES = 2
#: Residual of the activations above which :meth:`SparseNMF.transform` warns.
RESIDUAL = 1e-2

Start = ArrayLike | None
Source = ArrayLike | Tensor | Callable[[], Iterable[np.ndarray | Tensor]]


class SparseNMF:
    """Sparse non-negative matrix factorisation with components of length 1 and the interface of scikit-learn.

    Parameters
    ----------
    components : int
        Number of components K; it may be larger than the number of frames.
    sparsity : float
        Weight of the sum of all activations in the objective; a useful value depends on the scale of the frames.
    beta : {"euclidean", "kl", "is"}
        Divergence.
    algorithm : {"auto", "hals", "mu"}
        "auto" is "hals" for "euclidean", and "mu", the only choice, for the others.
    iterations : int
        Largest number of iterations.
    tolerance : float
        Stop when an iteration lowers the objective by less than this share of it; with 0, never.
    seed : int
        Seed of the initial components. The best of several seeds has the lowest ``history_[-1]``.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1".
    dtype : {"float32", "float64"}
        Precision of the updates. Sums over frames are always in double precision.
    tile : int, optional
        Number of frames processed at once; it changes the result only by rounding.
    progress : bool
        Whether to show a progress bar.

    Attributes
    ----------
    components_ : np.ndarray (K, F)
        Components, one per row and of length 1, in the given dtype. ``W = components_.T``.
    history_ : np.ndarray float64 (iterations + 1,)
        Objective before the first iteration and after each one.
    residual_ : float
        Largest residual of the last :meth:`transform` (see :func:`activations`).

    Notes
    -----
    Initial components are uniform random. Initial activations are equal within a frame and reproduce the frame's sum.

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
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        tile: int | None = None,
        progress: bool = True,
    ):
        self.components, self.sparsity, self.beta, self.algorithm = components, sparsity, beta, algorithm
        self.iterations, self.tolerance, self.seed = iterations, tolerance, seed
        self.device, self.dtype, self.tile, self.progress = device, dtype, tile, progress

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """Return the constructor's arguments by name, as scikit-learn expects."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **parameters: object) -> SparseNMF:
        """Set constructor arguments by name and return the estimator."""
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
        frames : array_like, memory map or tensor (N, F), or callable
            Non-negative frames. A callable returns an iterable of tiles (n, F); it is called for every pass and must
            return the same tiles each time. Of a memory map or a callable only one tile and all activations are in
            memory.
        y : ignored
        components : array_like (K, F), optional
            Initial components. They are scaled to length 1, and the given initial activations accordingly.
        activations : array_like (N, K), optional
            Initial activations.

        Raises
        ------
        ParameterError
            If frames are negative, not finite, all zero or of unequal width, initial values have the wrong shape, or a
            parameter is out of range.
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
        """Learn the components as :meth:`fit` does and return the activations (N, K) of the last iteration."""
        return self._fit(frames, components, activations)

    def transform(self, frames: ArrayLike | Tensor) -> np.ndarray:
        """Return the activations (N, K) of frames (N, F) for the learnt components, by :func:`activations`.

        Warns
        -----
        UserWarning
            If the solver stopped with a residual above 0.01.
        """
        options = {name: getattr(self, name) for name in ("sparsity", "beta", "device", "dtype")}
        h, residual = solved(frames, self._learnt(), **options)
        self.residual_ = float(residual.max(initial=0.0))
        if self.residual_ > RESIDUAL:
            warn(f"activations are not at the minimum: residual {self.residual_:.1e}")
        return h

    def inverse_transform(self, activations: ArrayLike) -> np.ndarray:
        """Return the frames (N, F) that activations (N, K) reconstruct."""
        learnt, h = self._learnt(), numbers("activations", activations, empty=True)
        if h.ndim != 2 or h.shape[1] != len(learnt):
            raise ParameterError("activations.shape", h.shape, f"(N, {len(learnt)})")
        return h @ learnt

    @checked
    def save(self, folder: str | os.PathLike) -> Path:
        """Write the parameters, the components and the history to a folder, and return the folder.

        Raises
        ------
        WeightsError
            If the folder cannot be written to.
        """
        components = {"components": torch.from_numpy(self._learnt())}
        record = {"parameters": self.get_params(), "objective": self.history_}
        return write_fitted(folder, "SparseNMF", components, record)

    @classmethod
    @checked
    def load(cls, folder: str | os.PathLike) -> SparseNMF:
        """Read a factorisation that :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, or holds something else.
        """
        tensors, record = read_fitted(folder, "SparseNMF")
        with reading(folder, "SparseNMF"):
            nmf = cls(**record["parameters"])
            nmf._check()
            nmf.components_, nmf.history_ = tensors["components"].numpy(), np.array(record["objective"])
        return nmf

    def _learnt(self) -> np.ndarray:
        if not hasattr(self, "components_"):
            raise ParameterError("components_", None, "learnt before: call fit")
        return self.components_

    def _check(self) -> int:
        """Check that the parameters are in range, and return the exponent of the divergence ``beta``."""
        choice("beta", self.beta, BETAS)
        choice("dtype", self.dtype, DTYPES)
        choice("algorithm", self.algorithm, ("auto", "hals", "mu"))
        if self.algorithm == "hals" and self.beta != "euclidean":
            raise ParameterError("algorithm", "hals", f"'mu' or 'auto' for beta={self.beta!r}")
        for name in ("components", "iterations", *(["tile"] if self.tile is not None else [])):
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
            run = _Run(frames, w, h, self.sparsity * frames.unit ** (1 - beta), beta, multiplicative)
            costs = self._iterate(run) * frames.unit**beta
        h = torch.cat([part.cpu() for part in run.h], dim=1).T * frames.unit
        history = costs.cpu().numpy()
        if not (np.isfinite(history[-1]) and h.isfinite().all()):
            raise ParameterError("frames", f"an objective of {history[-1]}", "of a size that can be learnt")
        if history[-1] >= history[0]:
            warn(f"nothing was learnt: {len(costs) - 1} iterations did not lower the objective, {history[0]:.6g}")
        self.components_, self.history_ = run.w.cpu().numpy(), history
        return h.contiguous().numpy()

    def _iterate(self, run: _Run) -> Tensor:
        """Make the iterations and return the objectives (iterations + 1,)."""
        costs = [] if run.late else [run.sweep(update=False)]
        with progress_bar(total=self.iterations, disable=not self.progress, desc="sparse NMF", leave=False) as bar:
            for _ in range(self.iterations):
                costs.append(run.sweep())
                if self.progress:  # reading the objective has to wait for a GPU
                    bar.set_postfix_str(f"objective {float(costs[-1]):.6g}", refresh=False)
                bar.update()
                if self.tolerance and len(costs) > 1 and costs[-2] - costs[-1] < self.tolerance * costs[-2]:
                    break
        if run.late:
            costs.append(run.sweep(update=False))
        return torch.stack(costs)

    def _start(self, frames: Frames, components: Start, activations: Start) -> tuple[Tensor, list[Tensor]]:
        """Return initial components (K, F) of length 1, and initial activations (K, n) of each tile."""
        start = {"components": components, "activations": activations}
        shapes = {"components": (self.components, frames.bins), "activations": (sum(frames.sizes), self.components)}
        for name, value in start.items():
            if value is not None:
                start[name] = value = tensor(name, value, frames.device, torch.float64)
                if tuple(value.shape) != shapes[name]:
                    raise ParameterError(f"{name}.shape", tuple(value.shape), f"{shapes[name]}")
                check_values(name, value)
        w, h = start.values()
        if w is None:
            generator = torch.Generator().manual_seed(int(self.seed))
            w = torch.rand(shapes["components"], generator=generator, dtype=torch.float64).to(frames.device)
        lengths = torch.linalg.vector_norm(w, dim=1, keepdim=True)
        bad = ((lengths < 1e-100) | (lengths > 1e100))[:, 0]
        if bad.any():
            row = int(bad.nonzero()[0])
            shown = f"length {float(lengths[row]):.1e} of row {row}" if lengths[row] else f"0 in row {row}"
            raise ParameterError("components", shown, "above 0 and finite")
        w = w / lengths
        if h is not None:
            parts = (h.T * (lengths / frames.unit)).to(frames.dtype).split(frames.sizes, dim=1)
        else:
            parts = [(x.sum(1).double() / w.sum()).to(frames.dtype).repeat(len(w), 1) for x in frames]
        return w.to(frames.dtype).contiguous(), [part.contiguous() for part in parts]


class _Run:
    """State of a fit: the components and the activations of all tiles."""

    def __init__(self, frames: Frames, w: Tensor, h: list[Tensor], sparsity: float, beta: int, multiplicative: bool):
        self.frames, self.w, self.h, self.sparsity, self.beta = frames, w, h, sparsity, beta
        self.multiplicative = multiplicative
        self.late = beta != 2
        """Whether :meth:`sweep` returns the objective before its update, because that costs no further pass."""

    def sweep(self, update: bool = True) -> Tensor:
        """Update activations and then components in one pass over all frames, and return the objective."""
        return (self._euclidean if self.beta == 2 else self._divergence)(update)

    def _euclidean(self, update: bool) -> Tensor:
        w, gram_w = self.w, self.w @ self.w.T
        a = gram = total = 0.0
        for x, h in zip(self.frames, self.h, strict=True):
            if update:
                products = w @ x.T
                if self.multiplicative:
                    multiply(h, products, gram_w @ h + self.sparsity)
                else:
                    hals(h, products - self.sparsity, gram_w, PASSES)
            a, gram = a + (h @ x).double(), gram + (h @ h.T).double()
            total = total + h.sum(dtype=torch.float64)
        if update:
            new = w.double()
            new = balanced(new, a, gram @ new) if self.multiplicative else directions(new, a, gram)
            self.w = new.to(w.dtype)
        wide = self.w.double()
        fit = self.frames.squares - 2 * (wide * a).sum() + ((wide @ wide.T) * gram).sum()
        return fit / 2 + self.sparsity * total

    def _divergence(self, update: bool) -> Tensor:
        w, beta = self.w, self.beta
        a = b = cost = 0.0
        for x, h in zip(self.frames, self.h, strict=True):
            whole, ratio, other = parts(x, h, w, beta)
            cost = cost + divergence(x, whole, beta) + self.sparsity * h.sum(dtype=torch.float64)
            if update:
                sums = w.sum(-1, keepdim=True) if other is None else w @ other.T
                multiply(h, w @ ratio.T, sums + self.sparsity)
                _, ratio, other = parts(x, h, w, beta)
                a = a + (h @ ratio).double()
                b = b + (h.sum(-1, keepdim=True) if other is None else h @ other).double()
        if update:
            self.w = balanced(w.double(), a, b).to(w.dtype)
        return cost
