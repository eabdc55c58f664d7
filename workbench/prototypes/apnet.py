"""APNet: prototypes in the latent space of a spectrogram autoencoder, the rival whose prototypes can be heard too.

After Zinemanas, Rocamora, Miron, Font, Serra: An interpretable deep learning model for automatic sound classification,
Electronics 10(7), 850, 2021. A convolutional encoder maps a log-mel spectrogram, scaled to [-1, 1], to a latent
(C, T/4, F/4); a prototype is such a latent. Similarities are ``exp(-d)`` at each latent frequency, d being the squared
difference summed over time and channels, and each prototype weighs its frequencies. A decoder maps latents back: it is
told where the encoder's maxima were (unpooling masks), so that a prototype needs the masks of a real sound to be heard.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from .. import audio
from ..core import checks
from ..core.checks import choice, number, numbers, several
from ..core.devices import chosen_device
from ..core.errors import ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from ..core.learning import (
    RATES,
    VERSION,
    check_loss,
    configured,
    load_weights,
    restored,
    settle,
    unlearnt,
    warn_unlearnt,
)
from ..core.saving import read_checkpoint, read_record, write_checkpoint, write_record
from .tracks import TrackDecisions, columns, decide, held_out, known, warn_shared

if TYPE_CHECKING:
    import os

    import pandas as pd
SLOPE = 0.3
"""Of LeakyReLU below 0."""
KERNEL = 5
"""Width of every convolution."""
ROWS = 64
"""Spectrograms judged at once."""

Masks = tuple[Tensor, Tensor]
"""Where the maxima were before the first and the second pooling, 0 or 1: (B, C, T, F) and (B, C, T/2, F/2)."""


@dataclass(frozen=True)
class APNetConfig:
    """Shape and training of an APNet; the fields' values suit some thousand short sounds on a CPU."""

    frames: int = 64
    """T of the input, a multiple of 4."""
    bands: int = 64
    """F of the input, a multiple of 4."""
    filters: int = 12
    """Channels of every convolution and of the latent."""
    per_class: int = 5
    """Prototypes for each class, in number: which class they serve is learnt."""
    loss_weights: tuple[float, float, float] = (10.0, 5.0, 5.0)
    """Of cross-entropy, reconstruction and distance to prototypes."""
    own_class_start: bool = False
    """Start the last layer with 1/K for K prototypes of a class, -1/K for the others, as for UrbanSound8K."""
    learning_rate: float = 3e-3
    """Of Adam; 1e-3 in the paper."""
    epochs: int = 30
    """Times that the training sounds are seen, at most."""
    patience: int = 10
    """Stop after as many epochs without a better validation accuracy."""
    batch: int = 32
    """Sounds a step."""

    def __post_init__(self):
        weights = several("loss_weights", self.loss_weights, lambda name, weight: number(name, weight, least=0))
        if len(weights) != 3 or not any(weights):
            raise ParameterError("loss_weights", self.loss_weights, "three numbers, not all of them 0")
        object.__setattr__(self, "loss_weights", tuple(weights))
        names = ("frames", "bands", "filters", "per_class", "epochs", "patience", "batch")
        settle(self, **dict.fromkeys(names, {"least": 1}), learning_rate=RATES)
        for name in ("frames", "bands"):
            if getattr(self, name) % 4:
                raise ParameterError(name, getattr(self, name), "a multiple of 4: it is halved twice")

    @property
    def latent(self) -> tuple[int, int, int]:
        """(C, T/4, F/4), the shape of a prototype."""
        return self.filters, self.frames // 4, self.bands // 4

    @classmethod
    def preset(cls, name: str, **fields: object) -> APNetConfig:
        """One of :data:`PRESETS`, with some fields changed."""
        return configured(cls, cls(**PRESETS[choice("preset", name, tuple(PRESETS))]), fields)


_PAPER = {"learning_rate": 1e-3, "epochs": 200, "patience": 100}
PRESETS = {
    "default": {},
    "medley_solos_db": {"frames": 128, "bands": 256, "filters": 48, "batch": 96, **_PAPER},
    "urbansound8k": {
        **{"frames": 84, "bands": 128, "filters": 32, "batch": 256, "own_class_start": True},
        **_PAPER,
    },
    "speech_commands": {
        **{"frames": 60, "bands": 80, "filters": 48, "per_class": 3, "loss_weights": (2.0, 1.0, 1.0), "batch": 128},
        **_PAPER,
    },
}
"""Published settings. Their sounds: 44.1 kHz, window 4096, hop 1024, 256 mels, 3 s; 22.05 kHz, 4096, 1024, 128 mels,
4 s; 16 kHz, 1024, 256, 80 mels, 1 s, where 60 frames are what the published number of parameters asks for."""


class APNetwork(nn.Module):
    """Encoder, decoder and prototypes on scaled spectrograms (B, T, F).

    Attributes
    ----------
    prototypes : Tensor (M, C, T/4, F/4)
    frequency_weights : Tensor (M, F/4)
        What each prototype's similarity at a latent frequency counts.
    dense : Tensor (classes, M)
        Last layer, without bias.
    """

    def __init__(self, config: APNetConfig, classes: int):
        super().__init__()
        self.config, c, pad = config, config.filters, KERNEL // 2
        number, bands = config.per_class * classes, config.latent[2]
        self.encoder = nn.ModuleList([nn.Conv2d(n, c, KERNEL, padding=pad) for n in (1, c, c)])
        self.decoder = nn.ModuleList([nn.ConvTranspose2d(c, n, KERNEL, padding=pad) for n in (c, c, 1)])
        for convolution in (*self.encoder, *self.decoder):
            nn.init.xavier_uniform_(convolution.weight)
            nn.init.zeros_(convolution.bias)
        self.prototypes = nn.Parameter(torch.empty(number, *config.latent).uniform_(-0.05, 0.05))
        self.frequency_weights = nn.Parameter(torch.full((number, bands), 1 / bands))
        self.dense = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, number)))
        if config.own_class_start:
            own = F.one_hot(torch.arange(number) // config.per_class, classes).T
            noise = torch.empty(classes, number).uniform_(-0.05, 0.05)
            self.dense.data = (2.0 * own - 1) / config.per_class + noise

    def encode(self, x: Tensor) -> tuple[Tensor, Masks]:
        """Latents (B, C, T/4, F/4) and where the maxima were."""
        h, masks = x[:, None], []
        for convolution in self.encoder[:2]:
            before = F.leaky_relu(convolution(h), SLOPE)
            h = F.max_pool2d(before, 2)
            masks.append((before >= _twice(h)).to(x.dtype))
        return F.leaky_relu(self.encoder[2](h), SLOPE), tuple(masks)

    def decode(self, latents: Tensor, masks: Masks) -> Tensor:
        """Scaled spectrograms (B, T, F)."""
        h = latents
        for convolution, mask in zip(self.decoder[:2], masks[::-1], strict=True):
            h = F.leaky_relu(_twice(convolution(h)) * mask, SLOPE)
        return torch.tanh(self.decoder[2](h))[:, 0]

    def distances(self, latents: Tensor) -> Tensor:
        """Squared difference of latents and prototypes over time and channels, (B, M, F/4)."""
        a, b = (each.permute(3, 0, 1, 2).flatten(2) for each in (latents, self.prototypes))  # (F/4, B or M, C T/4)
        squares = a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None]
        return torch.baddbmm(squares, a, b.mT, alpha=-2).clamp_min(0).permute(1, 2, 0)

    def similarities(self, distances: Tensor) -> Tensor:
        """Weighed sum over frequencies of exp(-d), (B, M)."""
        return torch.einsum("bmf,mf->bm", torch.exp(-distances), self.frequency_weights)

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring the weights of each frequency, over all prototypes, to length 1."""
        self.frequency_weights.div_(self.frequency_weights.norm(dim=0).clamp_min(1e-7))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, classes), reconstructions (B, T, F) and distances (B, M, F/4)."""
        latents, masks = self.encode(x)
        distances = self.distances(latents)
        return self.similarities(distances) @ self.dense.T, self.decode(latents, masks), distances


@dataclass(frozen=True, eq=False)
class APNet:
    """A trained APNet; made by :func:`fit_apnet`. Spectrograms are log-mels (N, T, F), frames first."""

    config: APNetConfig
    """As trained."""
    labels: np.ndarray
    """(C,) sorted labels; columns of the logits."""
    low: float
    """Least value of the training spectrograms, which is scaled to -1."""
    high: float
    """Greatest, scaled to 1."""
    network: APNetwork = field(repr=False)
    """In eval mode, on the CPU."""
    history: pd.DataFrame = field(repr=False)
    """Row an epoch: training means of loss, cross_entropy, reconstruction and distance; valid_accuracy, valid_loss."""
    epoch: int
    """The one kept, 0 first."""
    seconds: float
    """Time of the training."""

    @property
    @torch.no_grad()
    def classes(self) -> np.ndarray:
        """Column of the class of each prototype, int64 (M,): what the network decides of the prototype itself.

        Nothing makes classes have equally many; some may have none.
        """
        net = self.network
        return (net.similarities(net.distances(net.prototypes)) @ net.dense.T).argmax(1).numpy()

    def similarities(self, x: ArrayLike) -> np.ndarray:
        """float32 (N, M)."""
        return self._each(
            x, lambda part: self.network.similarities(self.network.distances(self.network.encode(part)[0]))
        )

    def logits(self, x: ArrayLike) -> np.ndarray:
        """float32 (N, C)."""
        return self.similarities(x) @ self.network.dense.detach().numpy().T

    def predict(self, x: ArrayLike, tracks: ArrayLike | None = None) -> TrackDecisions:
        """Mean logits of each track's segments, and its label; without ``tracks`` (N,) each segment is one."""
        return decide(self.logits(x), self.labels, tracks)

    def reconstruct(self, x: ArrayLike) -> np.ndarray:
        """What is left of log-mels after encoding and decoding, float32 (N, T, F), in their units."""
        return self._unscaled(self._each(x, lambda part: self.network(part)[1]))

    @checks.checked
    @torch.no_grad()
    def decode(self, x: ArrayLike | None = None, *, seed: int = 0) -> np.ndarray:
        """Log-mels of the prototypes, float32 (M, T, F).

        Parameters
        ----------
        x : array_like (N, T, F), optional
            Training spectrograms: a prototype takes the masks of the one most similar to it. Without, the masks are
            random, a quarter of them 1, which is what a maximum of four leaves.
        seed : int
            Of the random masks.
        """
        net = self.network
        if x is None:
            generator, (c, t, f) = torch.Generator().manual_seed(int(seed)), self.config.latent
            shapes = [(len(net.prototypes), c, n * t, n * f) for n in (4, 2)]
            masks = tuple(torch.bernoulli(torch.full(shape, 0.25), generator=generator) for shape in shapes)
        else:
            nearest = self.similarities(x).argmax(0)
            masks = net.encode(torch.from_numpy(self._scaled(checked(x, self.config)[nearest])))[1]
        return self._unscaled(net.decode(net.prototypes, masks).numpy())

    @torch.no_grad()
    def _each(self, x: ArrayLike, work) -> np.ndarray:
        return torch.cat([work(part) for part in torch.from_numpy(self._scaled(x)).split(ROWS)]).numpy()

    def _scaled(self, x: ArrayLike) -> np.ndarray:
        x = checked(x, self.config)
        return ((x - self.low) * (2 / (self.high - self.low)) - 1).astype(np.float32)

    def _unscaled(self, x: np.ndarray) -> np.ndarray:
        return ((x + 1) * ((self.high - self.low) / 2) + self.low).astype(np.float32)

    @checks.checked
    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, wholly or not at all; all but the weights is JSON in its metadata."""
        record = {"version": VERSION, "apnet": asdict(self.config), "labels": self.labels.tolist()}
        record |= {
            "low": self.low,
            "high": self.high,
            "history": self.history.to_dict("list"),
            "epoch": self.epoch,
            "seconds": self.seconds,
        }
        return write_record(Path(path), self.network.state_dict(), record)

    @classmethod
    @checks.checked
    def load(cls, path: str | Path) -> APNet:
        """Read what :meth:`save` wrote.

        Raises
        ------
        WeightsError
            No such file, a damaged one, or one that holds something else.
        """
        import pandas as pd

        tensors, record = read_record(Path(path))
        config = restored(path, record, "apnet", APNetConfig, what="APNet")
        try:
            labels = np.asarray(record["labels"])
            rest = (pd.DataFrame(record["history"]), record["epoch"], record["seconds"])
            low = number("low", record["low"])
            scale = (low, number("high", record["high"], above=low))
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path}: no APNet of this package ({error!r})") from error
        network = APNetwork(config, len(labels))
        load_weights(path, network, tensors)
        return cls(config, labels, *scale, network.eval(), *rest)


@checks.checked
def fit_apnet(
    x: ArrayLike,
    y: ArrayLike,
    *,
    validation: tuple[ArrayLike | None, ...],
    config: APNetConfig | str = "default",
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
    **fields: object,
) -> APNet:
    """Train an APNet on log-mel spectrograms.

    Parameters
    ----------
    x : array_like float (N, T, F)
        Log-mels of the training sounds, frames first, all of the config's shape; in dB or any other log.
    y : array_like (N,)
        Their labels.
    validation : (x, y), or (x, y, tracks)
        Sounds on which the epoch is chosen: highest accuracy of sounds (ties: lowest loss, then the first).
    config : APNetConfig or str
        Or a name of :data:`PRESETS`.
    seed : int
        Draws weights and the order of sounds.
    device : str
        "auto" (cuda if present, else cpu), "cpu", "cuda", "cuda:1".
    checkpoint : path, optional
        File to which the state is written after each epoch; a training that finds it goes on from there.
    progress : bool
        Show a bar.
    fields
        Of :class:`APNetConfig`, in place of the config's.

    Raises
    ------
    ParameterError
        Spectrograms that are NaN, constant or of another shape, a validation class without training sounds, or a
        checkpoint of another training.
    """
    begin = time.perf_counter()
    config = configured(APNetConfig, config, fields)
    x, place = checked(x, config), chosen_device(device)
    labels = np.unique(known(y, len(x)))
    if len(labels) < 2:
        raise ParameterError("y", labels.tolist(), "labels of at least two classes")
    low, high = float(x.min()), float(x.max())
    if not high > low or (x == x[0]).all():
        what = "spectrograms that are all the same" if high > low else "spectrograms of one value"
        raise ParameterError("x", what, "spectrograms with some range")
    parts = []
    for name, (sounds, truth) in (("", (x, y)), ("validation ", held_out(validation, (2, 3))[:2])):
        sounds = checked(sounds, config, f"{name}x")
        scaled = ((sounds - low) * (2 / (high - low)) - 1).astype(np.float32)
        parts.append((scaled, columns(truth, labels, len(sounds), f"{name}y")))
    warn_shared(parts[0][0], parts[1][0], "the validation part")
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        network = APNetwork(config, len(labels)).to(place)
    history, epoch = train(network, *parts, config=config, seed=seed, checkpoint=checkpoint, progress=progress)
    reason = unlearnt(history["loss"].tolist(), epoch)
    warn_unlearnt("fit_apnet", reason, f"learning_rate={config.learning_rate:g}, epochs={config.epochs}")
    return APNet(config, labels, low, high, network.cpu().eval(), history, epoch, time.perf_counter() - begin)


@checks.checked
def sound(
    log_mel: ArrayLike,
    rate: int,
    *,
    n_fft: int = 1024,
    hop: int = 256,
    floor: float = audio.LOG_FLOOR,
    **options: object,
) -> np.ndarray:
    """Sounds of log-mels, such as those of :meth:`APNet.decode`: inverse of the filters, then Griffin-Lim.

    Parameters
    ----------
    log_mel : array_like (M, T, F)
        Natural logarithms of mel power, frames first.
    rate, n_fft, hop
        Of the analysis, as in :func:`~workbench.audio.log_mel`.
    floor : float
        What was added to the power before the logarithm.
    options
        Of :func:`~workbench.audio.mel_to_audio`, such as ``seed``.

    Returns
    -------
    np.ndarray float32 (M, samples)
    """
    checks.whole("n_fft", n_fft, least=2)
    checks.whole("hop", hop, least=1, most=n_fft)
    number("floor", floor, least=0)
    log_mel = numbers("log_mel", log_mel, ndim=3).astype(np.float64)
    if log_mel.max() > 88:  # e^88 is what a float32 can hold
        raise ParameterError(
            "log_mel", f"up to {log_mel.max():g}", "natural logarithms of power, not decibels: below 88"
        )
    power = np.maximum(np.exp(log_mel) - floor, 0).swapaxes(-1, -2)
    return audio.mel_to_audio(power.astype(np.float32), rate, n_fft=n_fft, hop=hop, **options).numpy()


def checked(x: ArrayLike, config: APNetConfig, name: str = "x") -> np.ndarray:
    """Spectrograms as float32 (N, T, F) of the config's shape, finite."""
    x = numbers(name, x, finite=False, empty=True)
    with np.errstate(over="ignore"):  # what does not fit becomes inf and is named below
        x = x.astype(np.float32)
    shape = (config.frames, config.bands)
    if x.ndim != 3 or not len(x) or x.shape[1:] != shape:
        raise ParameterError(f"{name}.shape", x.shape, f"(N, {shape[0]}, {shape[1]}), frames and bands of the config")
    bad = ~np.isfinite(x).all((1, 2))
    if bad.any():
        raise ParameterError(f"{name}[{int(bad.argmax())}]", "nan or inf", "finite")
    return x


def _twice(x: Tensor) -> Tensor:
    """Each cell repeated two times two."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


# --- how it is trained: cross-entropy, reconstruction, and prototypes that stay near the sounds --------------------

TRAINING_VERSION = 1
"""To be raised when training changes its numbers: checkpoints of before are then refused."""
TERMS = ("loss", "cross_entropy", "reconstruction", "distance")

Part = tuple[np.ndarray, np.ndarray]
"""Scaled spectrograms float32 (N, T, F), classes int64 (N,)."""


def objective(network: APNetwork, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The :data:`TERMS` (4,), and logits.

    The distance is that of each prototype to its nearest sound of the batch plus that of each sound to its nearest
    prototype, means of both; squared differences are means over latent frequencies.
    """
    logits, reconstructed, distances = network(x)
    entropy, error = F.cross_entropy(logits, y), F.mse_loss(reconstructed, x)
    apart = distances.mean(2)
    pull = apart.amin(0).mean() + apart.amin(1).mean()
    a, b, c = network.config.loss_weights
    return torch.stack([a * entropy + b * error + c * pull, entropy, error, pull]), logits


def train(
    network: APNetwork,
    training: Part,
    validation: Part,
    *,
    config: APNetConfig,
    seed: int,
    checkpoint: str | os.PathLike | None,
    progress: bool,
) -> tuple[pd.DataFrame, int]:
    """All epochs; leaves the weights of the epoch kept in the network. History, that epoch."""
    import pandas as pd
    from tqdm.auto import tqdm

    place = network.prototypes.device
    parts = [tuple(torch.from_numpy(values) for values in part) for part in (training, validation)]
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    state = {"epoch": 0, "history": [], "best": None}
    identity = None
    if checkpoint is not None:
        arrays = {f"{i}{j}": values for i, part in enumerate(parts) for j, values in enumerate(part)}
        identity = fingerprint("apnet", TRAINING_VERSION, sorted(asdict(config).items()), seed, weights=arrays)
        if Path(checkpoint).exists():
            state = read_checkpoint(checkpoint, identity)
            network.load_state_dict(state["network"])
            adam.load_state_dict(state["adam"])
    with tqdm(total=config.epochs, initial=state["epoch"], disable=not progress, desc="epochs") as bar:
        while state["epoch"] < config.epochs and not _patience_is_over(state, config.patience):
            epoch = state["epoch"]
            order = np.random.default_rng([seed, epoch]).permutation(len(parts[0][0]))
            row = {"epoch": epoch, **_epoch(network, adam, parts[0], torch.from_numpy(order), config.batch, place)}
            check_loss(row["loss"], config.learning_rate, f"epoch {epoch}")
            row |= _validate(network, parts[1], config.batch, place)
            state["history"].append(row)
            score = [row["valid_accuracy"], -row["valid_loss"]]
            if state["best"] is None or score > state["best"]["score"]:
                weights = {name: values.detach().clone() for name, values in network.state_dict().items()}
                state["best"] = {"score": score, "epoch": epoch, "weights": weights}
            state["epoch"] += 1
            if checkpoint is not None:
                now = {"network": network.state_dict(), "adam": adam.state_dict(), "identity": identity}
                write_checkpoint(checkpoint, state | now)
            bar.update()
    network.load_state_dict(state["best"]["weights"])
    return pd.DataFrame(state["history"]), state["best"]["epoch"]


def _patience_is_over(state: dict, patience: int) -> bool:
    return state["best"] is not None and state["epoch"] - 1 - state["best"]["epoch"] >= patience


def _epoch(
    network: APNetwork, adam: torch.optim.Adam, part: tuple[Tensor, Tensor], order: Tensor, batch: int, place
) -> dict[str, float]:
    """Train once through the sounds; means over them while weights change."""
    network.train()
    sums = torch.zeros(len(TERMS), device=place)
    for rows in order.split(batch):
        terms, _ = objective(network, part[0][rows].to(place), part[1][rows].to(place))
        adam.zero_grad()
        terms[0].backward()
        adam.step()
        network.constrain()
        sums += terms.detach() * len(rows)
    return dict(zip(TERMS, (sums / len(order)).tolist(), strict=True))


@torch.no_grad()
def _validate(network: APNetwork, part: tuple[Tensor, Tensor], batch: int, place) -> dict[str, float]:
    network.eval()
    right = loss = 0.0
    for x, y in zip(part[0].split(batch), part[1].split(batch), strict=True):
        terms, logits = objective(network, x.to(place), y.to(place))
        right += float((logits.argmax(1).cpu() == y).sum())
        loss += float(terms[0]) * len(x)
    return {"valid_accuracy": right / len(part[0]), "valid_loss": loss / len(part[0])}
