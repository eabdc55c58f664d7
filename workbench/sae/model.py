"""One sparse autoencoder: its configuration, encode and decode, and its file."""

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

#: Rows encoded at once.
ROWS = 4096


@checked
def k_of(sparsity: float, latents: int) -> int:
    """Latents kept at a sparsity, ``int((1 - sparsity) * latents)`` in floating point, as in arXiv 2509.24793.

    Of 2048: .75 -> 512, .80 -> 409, .85 -> 307, .90 -> 204, .95 -> 102, .99 -> 20.

    Raises
    ------
    ParameterError
        ``sparsity`` outside [0, 1), or so high that no latent is kept; says which would do, and how many latents.
    """
    whole("latents", latents, least=1)
    if latents < (fewest := fewest_latents(sparsity)):
        highest = next(n / 1000 for n in range(999, -1, -1) if fewest_latents(n / 1000) <= latents)
        expected = f"at most {highest:g} with latents={latents}, of which it keeps none; it takes latents={fewest}"
        raise ParameterError("sparsity", sparsity, expected)
    return int((1 - sparsity) * latents)


@checked
def fewest_latents(sparsity: float) -> int:
    """The smallest code that keeps a latent at a sparsity: 100 latents at .99.

    Raises
    ------
    ParameterError
        ``sparsity`` outside [0, 1).
    """
    if not 0 <= sparsity < 1:
        raise ParameterError("sparsity", sparsity, "in [0, 1)")
    fewest = math.ceil(1 / (1 - sparsity))
    return fewest if int((1 - sparsity) * fewest) >= 1 else fewest + 1  # in floating point


@dataclass(frozen=True)
class SAEConfig(Config):
    """Shape and training rules of a sparse autoencoder; the defaults are the better form, "paper" the paper's.

    The form of Mariotte et al. (arXiv 2509.24793) is ReLU, then TopK, a biased encoder, an unbiased decoder, nothing
    normalised or constrained, the initial weights of ``torch.nn.Linear``, and nothing done about dead latents.

    With ``s`` the input scale and ``b`` the pre-bias (1 and 0 where switched off),
    ``z = top-k(ReLU(W_e (x / s - b) + b_e))`` and ``x_hat = s (W_d^T z + b)``.

    Raises
    ------
    ParameterError
        A field out of range, such as ``k`` below 1 or above ``latents``.
    """

    PRESETS: ClassVar = {
        "paper": {
            "pre_bias": False,
            "unit_norm_decoder": False,
            "tied_init": False,
            "normalise_input": False,
            "auxk": 0.0,
            "decay": 0.0,
        }
    }

    dim: int
    """The width D of the input vectors."""
    latents: int = 2048
    """Size of the code."""
    k: int = 102
    """Latents kept of each vector (of ``batchtopk``: on average)."""
    activation: Literal["topk", "batchtopk"] = "topk"
    """"topk", or "batchtopk": the k times batch largest of a batch; outside training, all above a learnt threshold
    (Bussmann et al. 2024, arXiv 2412.06410)."""
    prefixes: Sequence[int] = ()
    """Matryoshka (Bussmann et al. 2025, arXiv 2503.17547): the first so many latents must reconstruct by themselves
    too; the loss is the mean over these prefixes and the whole code."""
    pre_bias: bool = True
    """Train a vector that is subtracted from the input and added to the output; starts at the training mean."""
    unit_norm_decoder: bool = True
    """Keep every latent's decoder direction at length 1 (in scaled units)."""
    tied_init: bool = True
    """Start with encoder = decoder, of random directions (Gao et al. 2024, arXiv 2406.04093), and the encoder scaled so
    that the first code reconstructs as well as it can; False: as ``torch.nn.Linear`` does."""
    normalise_input: bool = True
    """Divide inputs by one number, so that their training variance is 1 a dimension on average."""
    auxk: float = 1 / 32
    """Weight of the AuxK loss, by which dead latents learn to reconstruct the residual (Gao et al. 2024); 0: off."""
    auxk_latents: int = 256
    """Dead latents used for each vector's residual."""
    dead_after: int = 2000
    """A latent silent for a whole block of this many training vectors is dead during the next block."""
    decay: float = 0.2
    """Last share of the steps over which the learning rate falls linearly to 0."""

    def __post_init__(self):
        counts = dict.fromkeys(("dim", "latents", "auxk_latents", "dead_after"), {"least": 1})
        settle(self, **counts, k={}, auxk={"least": 0}, decay={"least": 0, "most": 1})
        object.__setattr__(self, "prefixes", tuple(whole("prefixes", prefix) for prefix in self.prefixes))
        if not 1 <= self.k <= self.latents:
            raise ParameterError("k", self.k, f"from 1 to latents={self.latents}")
        if list(self.prefixes) != sorted({p for p in self.prefixes if 0 < p < self.latents}):
            raise ParameterError("prefixes", self.prefixes, f"ascending, between 0 and latents={self.latents}")


class SparseAutoencoder:
    """A trained (or untrained) sparse autoencoder in the units of its input: the training scale is folded in.

    ``z = top-k(ReLU(encoder (x - bias) + encoder_bias))``, ``x_hat = z decoder + bias``.

    Attributes
    ----------
    config : SAEConfig
    encoder, decoder : Tensor, float32 (latents, D)
        A row a latent. ``decoder[j]`` is what one unit of latent j adds to the reconstruction.
    encoder_bias : Tensor, float32 (latents,)
    bias : Tensor, float32 (D,)
        Zero without ``pre_bias``.
    threshold : Tensor, float32 (latents,), or None
        ``batchtopk`` alone: a latent counts where it is above.
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
            raise ParameterError("threshold", threshold, "given for activation='batchtopk', None for 'topk'")

    def __repr__(self) -> str:
        c = self.config
        return f"SparseAutoencoder({c.dim} -> {c.latents}, {c.activation} k={c.k})"

    @torch.no_grad()
    @checked
    def encode(self, x: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Codes (N, latents), float32, of vectors (N, D); a tensor gives a tensor, anything else an ndarray.

        Raises
        ------
        ParameterError
            Wrong shape; NaN or infinite values (the row is named).
        """
        rows = self._rows(x, "x", self.config.dim)
        parts = [self._encode(part) for part in rows.split(ROWS)]
        z = torch.cat(parts) if parts else rows.new_zeros(0, self.config.latents)
        return z if isinstance(x, Tensor) else z.cpu().numpy()

    @torch.no_grad()
    @checked
    def preactivations(self, x: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """What each latent sees in vectors (N, D) before ReLU and top-k, float32 (N, latents).

        They are affine in x, so of the frames of a clip their mean over time is that of the mean frame: a latent's
        activation of a pooled clip falls apart exactly into what each moment adds to it.
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
        """Reconstructions (N, D), float32, in the input's units, of codes (N, latents)."""
        x_hat = torch.addmm(self.bias, self._rows(z, "z", self.config.latents), self.decoder)
        return x_hat if isinstance(z, Tensor) else x_hat.cpu().numpy()

    def _rows(self, values: np.ndarray | Tensor, name: str, width: int) -> Tensor:
        if not isinstance(values, Tensor):
            with np.errstate(over="ignore"):  # what does not fit becomes inf and is named below
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
        """The weights by name, those of :meth:`save`."""
        names = ("encoder", "encoder_bias", "decoder", "bias", "threshold")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @checked
    def to(self, device: str | torch.device) -> SparseAutoencoder:
        """The same on another device."""
        device = device if isinstance(device, torch.device) else chosen_device(device)
        return SparseAutoencoder(self.config, **{name: tensor.to(device) for name, tensor in self.tensors().items()})

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the weights and the configuration to a folder (:func:`workbench.core.fitting.write_fitted`)."""
        return write_fitted(folder, "SparseAutoencoder", self.tensors(), {"config": self.config})

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> SparseAutoencoder:
        """Read what :meth:`save` wrote.

        Raises
        ------
        WeightsError
            No such folder, a damaged one, or one that holds something else.
        """
        tensors, record = read_fitted(folder, "SparseAutoencoder")
        config = restored(folder, record, "config", SAEConfig, what="sparse autoencoder")
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or not tensor.isfinite().all():
                raise WeightsError(f"{folder}: {name} holds values that are not finite numbers ({tensor.dtype})")
        with reading(folder, "sparse autoencoder"):
            return cls(config, **{name: tensor.float() for name, tensor in tensors.items()})
