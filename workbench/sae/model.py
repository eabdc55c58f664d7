"""A sparse autoencoder: its configuration, encoding and decoding, and saving and loading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..core.checks import checked, numbers, whole
from ..core.devices import chosen_device
from ..core.errors import ParameterError, WeightsError
from ..core.fitting import Config, read_fitted, reading, restored, settle, write_fitted

#: Number of rows that are encoded at once.
ROWS = 4096


@checked
def k_of(sparsity: float, latents: int) -> int:
    """Return the number of latents kept at a sparsity, ``int((1 - sparsity) * latents)``, as in arXiv 2509.24793.

    Of 2048: .75 -> 512, .80 -> 409, .85 -> 307, .90 -> 204, .95 -> 102, .99 -> 20. The product is in floating point.

    Raises
    ------
    ParameterError
        If ``sparsity`` is outside [0, 1), or so high that no latent is kept. The message says which sparsity or how
        many latents are possible.
    """
    whole("latents", latents, least=1)
    if latents < (fewest := fewest_latents(sparsity)):
        highest = next(n / 1000 for n in range(999, -1, -1) if fewest_latents(n / 1000) <= latents)
        expected = f"at most {highest:g} with latents={latents}, or no latent is kept; it needs latents={fewest}"
        raise ParameterError("sparsity", sparsity, expected)
    return int((1 - sparsity) * latents)


@checked
def fewest_latents(sparsity: float) -> int:
    """Return the smallest number of latents of which one is kept at a sparsity, such as 100 at .99.

    Raises
    ------
    ParameterError
        If ``sparsity`` is outside [0, 1).
    """
    if not 0 <= sparsity < 1:
        raise ParameterError("sparsity", sparsity, "in [0, 1)")
    fewest = math.ceil(1 / (1 - sparsity))
    return fewest if int((1 - sparsity) * fewest) >= 1 else fewest + 1  # the product may round to just below 1


@dataclass(frozen=True)
class SAEConfig(Config):
    """Configuration of a sparse autoencoder and its training; the defaults follow current practice.

    The preset "paper", after Mariotte et al. (arXiv 2509.24793), has an encoder with bias, ReLU and TopK, and a decoder
    without bias. Weights start as in ``torch.nn.Linear``. Inputs are neither normalised nor bounded, decoder directions
    are not constrained, dead latents are not revived, and the learning rate is constant. The presets "batchtopk" and
    "jumprelu" change only the activation. "matryoshka" is a BatchTopK whose first sixteenth, eighth, quarter and half
    of the latents are nested codes.

    With the input scale ``s`` and the pre-bias ``b`` (1 and 0 if switched off),
    ``z = top-k(ReLU(W_e (x / s - b) + b_e))`` and ``x_hat = s (W_d^T z + b)``. In place of top-k, "batchtopk" and
    "jumprelu" set activations up to a threshold to 0.

    Raises
    ------
    ParameterError
        If a field is out of range, such as ``k`` below 1 or above ``latents``.
    """

    PRESETS: ClassVar = {
        "paper": {
            "pre_bias": False,
            "unit_norm_decoder": False,
            "tied_init": False,
            "normalise_input": False,
            "row_bound": None,
            "auxk": 0.0,
            "decay": 0.0,
        },
        "batchtopk": {"activation": "batchtopk"},
        "jumprelu": {"activation": "jumprelu"},
        "matryoshka": {"activation": "batchtopk", "prefixes": (1 / 16, 1 / 8, 1 / 4, 1 / 2)},
    }

    dim: int
    """Number of dimensions D of the input vectors."""
    latents: int = 2048
    """Number of latents, the size of the code."""
    k: int = 102
    """Number of latents kept for each vector; with "batchtopk" and "jumprelu" on average over training vectors, so that
    unseen ones may have more."""
    activation: Literal["topk", "batchtopk", "jumprelu"] = "topk"
    """With "topk" the k largest activations of each vector are kept. With "batchtopk" (Bussmann et al. 2024, arXiv
    2412.06410) it is the k times batch size largest of a batch, and after training all above a learnt threshold. With
    "jumprelu" (Rajamanoharan et al. 2024, arXiv 2407.14435) it is all above a threshold that each latent learns."""
    prefixes: Sequence[int | float] = ()
    """Sizes of nested codes, as in a Matryoshka autoencoder (Bussmann et al. 2025, arXiv 2503.17547). The first
    latents, as many as each prefix says, must also reconstruct x. The loss is the mean over prefixes and whole code.
    Numbers below 1 are shares of ``latents``, such as .25, and become sizes; shares of less than one latent are left
    out."""
    l0_weight: float = 1.0
    """With "jumprelu", weight of the loss ``(L0 / k - 1)^2``, where L0 is the mean number of active latents per vector
    of a batch, next to the mean squared error per dimension. It is the form with a target of Rajamanoharan et al."""
    bandwidth: float = 0.2
    """With "jumprelu", width of the window around a threshold, in units of activations (of scaled inputs). Activations
    within it tell in which direction the threshold moves: the kernel of the straight-through estimator is 1 there."""
    pre_bias: bool = True
    """Whether to train a vector, initially the training mean, that is subtracted from the input and added to the
    output."""
    unit_norm_decoder: bool = True
    """Whether to keep every latent's decoder direction at length 1 (for scaled inputs)."""
    tied_init: bool = True
    """Whether encoder and decoder start with the same random directions (Gao et al. 2024, arXiv 2406.04093), with the
    encoder scaled to the least initial error. Otherwise they start as in ``torch.nn.Linear``."""
    normalise_input: bool = True
    """Whether to divide inputs by one number, so that their mean variance per dimension is 1 on the training rows."""
    row_bound: float | None = 3.0
    """Bound of what a single training row counts: one that is more than ``row_bound`` times as far from the median
    vector as nine in ten rows are is drawn in to that distance, for the mean, the scale, the steps and the history,
    but not when it is encoded. Transformers have a few vectors of hundreds of times the usual norm (Sun et al. 2024,
    arXiv 2402.17762), whose squared errors would outweigh all others. None lets rows count as they are."""
    auxk: float = 1 / 32
    """Weight of the AuxK loss, by which dead latents learn to reconstruct the residual (Gao et al. 2024), or 0."""
    auxk_latents: int = 256
    """Number of dead latents that reconstruct the residual of each vector."""
    dead_after: int = 2000
    """Length of a block of training vectors; a latent that is inactive in a whole block is dead in the next block."""
    decay: float = 0.2
    """Share of the steps, at the end, over which the learning rate falls linearly to 0."""

    def __post_init__(self):
        counts = dict.fromkeys(("dim", "latents", "auxk_latents", "dead_after"), {"least": 1})
        settle(
            self,
            **counts,
            k={},
            l0_weight={"least": 0},
            bandwidth={"above": 0},
            auxk={"least": 0},
            row_bound={"above": 0},
            decay={"least": 0, "most": 1},
        )
        object.__setattr__(self, "prefixes", _sizes(self.prefixes, self.latents))
        if not 1 <= self.k <= self.latents:
            raise ParameterError("k", self.k, f"from 1 to latents={self.latents}")
        if list(self.prefixes) != sorted({p for p in self.prefixes if 0 < p < self.latents}):
            raise ParameterError("prefixes", self.prefixes, f"ascending, between 0 and latents={self.latents}")


def _sizes(prefixes: Sequence[int | float], latents: int) -> tuple[int, ...]:
    """Return sizes of nested codes, of which those in (0, 1) are shares of ``latents``."""
    shares = [p for p in prefixes if isinstance(p, float) and 0 < p < 1]
    sizes = [int(p * latents) if p in shares else whole("prefixes", p) for p in prefixes]
    return tuple(dict.fromkeys(size for size in sizes if size)) if shares else tuple(sizes)  # shares of few are alike


class SparseAutoencoder:
    """A sparse autoencoder, trained or not, in the units of its input; the scale of training is part of its weights.

    ``z = top-k(ReLU(encoder (x - bias) + encoder_bias))``, ``x_hat = z decoder + bias``.

    Attributes
    ----------
    config : SAEConfig
        Its configuration.
    encoder, decoder : Tensor, float32 (latents, D)
        Weights with one row per latent. One unit of latent j adds ``decoder[j]`` to the reconstruction.
    encoder_bias : Tensor, float32 (latents,)
        Bias of the encoder.
    bias : Tensor, float32 (D,)
        Pre-bias, subtracted from the input and added to the output; zero without ``pre_bias``.
    threshold : Tensor, float32 (latents,), or None
        With "batchtopk" and "jumprelu", activations up to the threshold are set to 0; None with "topk".
    """

    def __init__(
        self,
        config: SAEConfig,
        *,
        encoder: Tensor,
        encoder_bias: Tensor,
        decoder: Tensor,
        bias: Tensor,
        threshold: Tensor | None = None,
    ):
        tensors = {"encoder": encoder, "encoder_bias": encoder_bias, "decoder": decoder, "bias": bias}
        for name, tensor in (tensors | ({} if threshold is None else {"threshold": threshold})).items():
            if not isinstance(tensor, Tensor):
                raise ParameterError(name, type(tensor).__name__, "a tensor")
        if not isinstance(config, SAEConfig):
            raise ParameterError("config", type(config).__name__, "an SAEConfig")
        self.config, self.encoder, self.encoder_bias, self.decoder = config, encoder, encoder_bias, decoder
        self.bias, self.threshold = bias, threshold
        shapes = {"encoder": (config.latents, config.dim), "encoder_bias": (config.latents,), "bias": (config.dim,)}
        for name, shape in (shapes | {"decoder": shapes["encoder"]}).items():
            if tuple(getattr(self, name).shape) != shape:
                raise ParameterError(f"{name}.shape", tuple(getattr(self, name).shape), f"{shape}, as config says")
        if threshold is not None and tuple(threshold.shape) != shapes["encoder_bias"]:
            raise ParameterError("threshold.shape", tuple(threshold.shape), f"{shapes['encoder_bias']}, as config says")
        if (threshold is None) != (config.activation == "topk"):
            raise ParameterError(
                "threshold", threshold, "given for activation='batchtopk' or 'jumprelu', None for 'topk'"
            )

    def __repr__(self) -> str:
        c = self.config
        return f"SparseAutoencoder({c.dim} -> {c.latents}, {c.activation} k={c.k})"

    @torch.no_grad()
    @checked
    def encode(self, x: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Return the codes, float32 (N, latents), of vectors (N, D); a tensor for a tensor, otherwise an ndarray.

        Raises
        ------
        ParameterError
            If the shape is wrong or values are not finite (the row is named).
        """
        rows = self._rows(x, "x", self.config.dim)
        parts = [self._encode(part) for part in rows.split(ROWS)]
        z = torch.cat(parts) if parts else rows.new_zeros(0, self.config.latents)
        return z if isinstance(x, Tensor) else z.cpu().numpy()

    @torch.no_grad()
    @checked
    def preactivations(self, x: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Return the activation of each latent before ReLU and top-k for vectors (N, D), float32 (N, latents).

        It is an affine function of x. Therefore the mean over the frames of a clip equals the pre-activation of the
        mean frame, and the pre-activation of a pooled clip is an exact sum of contributions of its frames.
        """
        rows = self._rows(x, "x", self.config.dim)
        a = torch.addmm(self.encoder_bias, rows - self.bias, self.encoder.T)
        return a if isinstance(x, Tensor) else a.cpu().numpy()

    def _encode(self, x: Tensor) -> Tensor:
        a = torch.addmm(self.encoder_bias, x - self.bias, self.encoder.T).relu_()
        if self.threshold is not None:
            return a * (a > self.threshold)
        values, index = a.topk(self.config.k, sorted=False)
        return torch.zeros_like(a).scatter_(1, index, values)

    @torch.no_grad()
    @checked
    def decode(self, z: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Return the reconstructions, float32 (N, D) in the units of the input, of codes (N, latents)."""
        x_hat = torch.addmm(self.bias, self._rows(z, "z", self.config.latents), self.decoder)
        return x_hat if isinstance(z, Tensor) else x_hat.cpu().numpy()

    def _rows(self, values: np.ndarray | Tensor, name: str, width: int) -> Tensor:
        if not isinstance(values, Tensor):
            with np.errstate(over="ignore"):  # values too large for float32 become inf and are reported below
                values = numbers(name, values, empty=True, finite=False).astype(np.float32)
            values = torch.from_numpy(values)
        if values.ndim != 2 or values.shape[1] != width:
            raise ParameterError(f"{name}.shape", tuple(values.shape), f"(N, {width})")
        if values.is_complex():
            raise ParameterError(name, str(values.dtype), "an array of numbers")
        values = values.to(self.encoder)
        if not values.isfinite().all():
            row = int((~values.isfinite().all(1)).nonzero()[0])
            raise ParameterError(f"{name}[{row}]", "nan or inf", "finite (as float32)")
        return values

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name, as :meth:`save` writes them."""
        names = ("encoder", "encoder_bias", "decoder", "bias", "threshold")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @checked
    def to(self, device: str | torch.device) -> SparseAutoencoder:
        """Return a copy of the autoencoder on another device."""
        device = device if isinstance(device, torch.device) else chosen_device(device)
        return SparseAutoencoder(self.config, **{name: tensor.to(device) for name, tensor in self.tensors().items()})

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the weights and the configuration to a folder (:func:`workbench.core.fitting.write_fitted`)."""
        return write_fitted(folder, "SparseAutoencoder", self.tensors(), {"config": self.config})

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> SparseAutoencoder:
        """Read an autoencoder that :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, or holds something else.
        """
        tensors, record = read_fitted(folder, "SparseAutoencoder")
        config = restored(folder, record, "config", SAEConfig, what="sparse autoencoder")
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or not tensor.isfinite().all():
                raise WeightsError(f"{folder}: {name} holds values that are not finite numbers ({tensor.dtype})")
        with reading(folder, "sparse autoencoder"):
            return cls(config, **{name: tensor.float() for name, tensor in tensors.items()})
