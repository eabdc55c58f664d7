"""APNet: a classifier with learnt prototypes in the latent space of a spectrogram autoencoder, which can be played.

After Zinemanas, Rocamora, Miron, Font, Serra: An interpretable deep learning model for automatic sound classification,
Electronics 10(7), 850, 2021. A convolutional encoder maps a log-mel spectrogram, scaled to [-1, 1], to a latent
(C, T/4, F/4), and a prototype is such a latent. The similarity at each latent frequency is ``exp(-d)``, where d is the
squared difference summed over time and channels; each prototype has a weight for each frequency. A decoder maps latents
back to spectrograms. It needs unpooling masks, the positions of the encoder's maxima, so that decoding a prototype
takes the masks of a real sound.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from .. import audio
from ..core.checks import checked, number, numbers, several, whole
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.fitting import RATES, Config, seeded, settle, train
from ..core.labels import known
from ..core.progress import Progress
from ..core.splits import Split
from .tracks import TrackClassifier, checked_parts

if TYPE_CHECKING:
    import pandas as pd

TRAINING_VERSION = 1
"""To be increased when a change of the training changes its results; older checkpoints are then refused."""
_TERMS = ("loss", "cross_entropy", "reconstruction", "distance")
_SLOPE = 0.3
"""Slope of LeakyReLU below 0."""
_KERNEL = 5
"""Kernel size of every convolution."""
_ROWS = 64
"""Number of spectrograms that are evaluated at once."""

Masks = tuple[Tensor, Tensor]
"""Positions (0 or 1) of the maxima of the first and the second pooling, (B, C, T, F) and (B, C, T/2, F/2)."""


_PAPER = {"learning_rate": 1e-3, "epochs": 200, "patience": 100}


@dataclass(frozen=True)
class APNetConfig(Config):
    """Configuration of an APNet and its training; the defaults suit a few thousand short sounds on a CPU.

    The preset "paper" is the published setting for Medley-solos-DB (44.1 kHz, window 4096, hop 1024, 256 mels, 3 s).
    "urbansound8k" (22.05 kHz, window 4096, hop 1024, 128 mels, 4 s) and "speech_commands" (16 kHz, window 1024, hop
    256, 80 mels, 1 s) are those for other sets. For the latter the number of frames, 60, was derived from the published
    number of parameters. All three take mels of HTK's scale (``htk=True`` of :func:`workbench.audio.log_mel`).
    """

    PRESETS: ClassVar = {
        "paper": {"frames": 128, "bands": 256, "filters": 48, "batch": 96, **_PAPER},
        "urbansound8k": {
            **{"frames": 84, "bands": 128, "filters": 32, "batch": 256, "own_class_start": True},
            **_PAPER,
        },
        "speech_commands": {
            **{"frames": 60, "bands": 80, "filters": 48, "per_class": 3, "loss_weights": (2.0, 1.0, 1.0), "batch": 128},
            **_PAPER,
        },
    }

    frames: int = 64
    """Number of frames T of the input, a multiple of 4."""
    bands: int = 64
    """Number of mel bands F of the input, a multiple of 4."""
    filters: int = 12
    """Number of channels C of every convolution and of the latent."""
    per_class: int = 5
    """Number of prototypes divided by the number of classes; which class a prototype represents is learnt."""
    loss_weights: tuple[float, float, float] = (10.0, 5.0, 5.0)
    """Weights in the loss of cross-entropy, reconstruction error and distance to the prototypes."""
    own_class_start: bool = False
    """Whether the last layer starts with 1/K for the K prototypes of a class and -1/K for others, as for UrbanSound8K.
    """
    learning_rate: float = 3e-3
    """Learning rate of Adam; 1e-3 in the paper."""
    epochs: int = 30
    """Largest number of passes over the training sounds."""
    patience: int = 10
    """Number of epochs without a better validation accuracy after which training stops."""
    batch: int = 32
    """Number of sounds per step."""

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
        """Shape of a latent and of a prototype, (C, T/4, F/4)."""
        return self.filters, self.frames // 4, self.bands // 4


class APNetwork(nn.Module):
    """Encoder, decoder, prototypes and last layer of an APNet, for scaled spectrograms (B, T, F).

    Parameters
    ----------
    config : APNetConfig
    classes : int
    number : int, optional
        Number of prototypes M; by default ``config.per_class`` times the classes.

    Attributes
    ----------
    prototypes : Tensor (M, C, T/4, F/4)
        Prototypes in latent space.
    frequency_weights : Tensor (M, F/4)
        Weight of each prototype's similarity at each latent frequency.
    dense : Tensor (classes, M)
        Weights of the last layer, which has no bias.
    """

    def __init__(self, config: APNetConfig, classes: int, number: int | None = None):
        super().__init__()
        self.config, c, pad = config, config.filters, _KERNEL // 2
        number, bands = config.per_class * classes if number is None else number, config.latent[2]
        self.encoder = nn.ModuleList([nn.Conv2d(n, c, _KERNEL, padding=pad) for n in (1, c, c)])
        self.decoder = nn.ModuleList([nn.ConvTranspose2d(c, n, _KERNEL, padding=pad) for n in (c, c, 1)])
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
        """Return the latents (B, C, T/4, F/4) of spectrograms (B, T, F), and the unpooling masks."""
        h, masks = x[:, None], []
        for convolution in self.encoder[:2]:
            before = F.leaky_relu(convolution(h), _SLOPE)
            h = F.max_pool2d(before, 2)
            masks.append((before >= _twice(h)).to(x.dtype))
        return F.leaky_relu(self.encoder[2](h), _SLOPE), tuple(masks)

    def decode(self, latents: Tensor, masks: Masks) -> Tensor:
        """Return the scaled spectrograms (B, T, F) that latents and unpooling masks decode to."""
        h = latents
        for convolution, mask in zip(self.decoder[:2], masks[::-1], strict=True):
            h = F.leaky_relu(_twice(convolution(h)) * mask, _SLOPE)
        return torch.tanh(self.decoder[2](h))[:, 0]

    def distances(self, latents: Tensor) -> Tensor:
        """Return the squared differences of latents and prototypes summed over time and channels, (B, M, F/4)."""
        a, b = (each.permute(3, 0, 1, 2).flatten(2) for each in (latents, self.prototypes))  # (F/4, B or M, C T/4)
        squares = a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None]
        return torch.baddbmm(squares, a, b.mT, alpha=-2).clamp_min(0).permute(1, 2, 0)

    def similarities(self, distances: Tensor) -> Tensor:
        """Return the weighted sum over frequencies of exp(-d), (B, M)."""
        return torch.einsum("bmf,mf->bm", torch.exp(-distances), self.frequency_weights)

    @torch.no_grad()
    def constrain(self) -> None:
        """Scale the weights of each frequency, a vector over all prototypes, to length 1."""
        self.frequency_weights.div_(self.frequency_weights.norm(dim=0).clamp_min(1e-7))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, classes), reconstructions (B, T, F) and distances (B, M, F/4)."""
        latents, masks = self.encode(x)
        distances = self.distances(latents)
        return self.similarities(distances) @ self.dense.T, self.decode(latents, masks), distances


@dataclass(frozen=True, eq=False)
class APNet(TrackClassifier):
    """A trained APNet; made by :func:`fit_apnet`, or read by :meth:`from_keras`.

    It takes log-mel spectrograms (N, T, F), frames first.
    """

    CONFIG: ClassVar = APNetConfig

    config: APNetConfig
    """Configuration of the network and its training."""
    labels: np.ndarray
    """Sorted labels of the C classes, in the order of the columns of the logits, (C,)."""
    low: float
    """Smallest value of the training spectrograms, which is scaled to -1."""
    high: float
    """Largest value of the training spectrograms, which is scaled to 1."""
    network: APNetwork = field(repr=False)
    """The trained network, in eval mode, on the CPU."""
    history: pd.DataFrame = field(repr=False)
    """One row per epoch: means over the training sounds of loss, cross_entropy, reconstruction and distance, and
    valid_accuracy and valid_loss."""
    epoch: int
    """Number of the epoch whose weights were kept, from 0."""
    seconds: float
    """Duration of the training in seconds."""

    @property
    @torch.no_grad()
    def classes(self) -> np.ndarray:
        """Class of each prototype as a column number, int64 (M,): the network's prediction for the prototype itself.

        Classes need not have equally many prototypes, and some may have none.
        """
        net = self.network
        return (net.similarities(net.distances(net.prototypes)) @ net.dense.T).argmax(1).numpy()

    def similarities(self, x: ArrayLike) -> np.ndarray:
        """Return the similarities of spectrograms to the prototypes, float32 (N, M)."""
        net = self.network
        return self._each(x, lambda part: net.similarities(net.distances(net.encode(part)[0])))

    def logits(self, x: ArrayLike) -> np.ndarray:
        """Return the logits of spectrograms, float32 (N, C)."""
        return self.similarities(x) @ self.network.dense.detach().numpy().T

    def reconstruct(self, x: ArrayLike) -> np.ndarray:
        """Encode and decode log-mels; return the reconstructions, float32 (N, T, F), in the same units."""
        return self._unscaled(self._each(x, lambda part: self.network(part)[1]))

    @checked
    @torch.no_grad()
    def decode(self, x: ArrayLike | None = None, *, seed: int = 0) -> np.ndarray:
        """Return the log-mels that the prototypes decode to, float32 (M, T, F).

        Parameters
        ----------
        x : array_like (N, T, F), optional
            Training spectrograms; a prototype is decoded with the masks of the one that is most similar to it. By
            default masks are random with a quarter of ones, as in pooling by the maximum of four.
        seed : int
            Seed of the random masks.
        """
        net = self.network
        if x is None:
            generator, (c, t, f) = torch.Generator().manual_seed(int(seed)), self.config.latent
            shapes = [(len(net.prototypes), c, n * t, n * f) for n in (4, 2)]
            masks = tuple(torch.bernoulli(torch.full(shape, 0.25), generator=generator) for shape in shapes)
        else:
            nearest = self.similarities(x).argmax(0)
            masks = net.encode(torch.from_numpy(self._scaled(_spectrograms(x, self.config)[nearest])))[1]
        return self._unscaled(net.decode(net.prototypes, masks).numpy())

    @torch.no_grad()
    def _each(self, x: ArrayLike, work) -> np.ndarray:
        return torch.cat([work(part) for part in torch.from_numpy(self._scaled(x)).split(_ROWS)]).numpy()

    def _scaled(self, x: ArrayLike) -> np.ndarray:
        return _scaled(_spectrograms(x, self.config), self.low, self.high)

    def _unscaled(self, x: np.ndarray) -> np.ndarray:
        return ((x + 1) * ((self.high - self.low) / 2) + self.low).astype(np.float32)

    def evaluate(self, x: ArrayLike, y: ArrayLike, split: Split, tracks: ArrayLike | None = None) -> dict[str, float]:
        """Score the decisions on the test part.

        Parameters
        ----------
        x, y, split, tracks
            As in :func:`fit_apnet`.

        Returns
        -------
        dict
            ``per_class``, ``prototypes`` (their number M), ``accuracy`` and ``balanced_accuracy`` of the test tracks,
            ``without_prototype`` (the number of classes without a prototype), the kept ``epoch``, and the ``seconds``
            of the training. A task of :func:`workbench.study` can return it.
        """
        scores = {"per_class": self.config.per_class, "prototypes": len(self.network.prototypes)}
        scores |= self._score(_spectrograms(x, self.config), y, split, tracks)
        scores["without_prototype"] = len(self.labels) - len(np.unique(self.classes))
        return scores | {"epoch": self.epoch, "seconds": self.seconds}

    @classmethod
    @checked
    def from_keras(cls, path: str | os.PathLike, labels: ArrayLike, *, low: float, high: float) -> APNet:
        """Read the weights of a network that the authors' code trained.

        Parameters
        ----------
        path : path
            The HDF5 file of Keras, such as ``best_weights.hdf5``. It may have any number of prototypes: the authors
            remove near-duplicates after training. All convolutions must have equally many channels.
        labels : array_like (C,)
            Labels of the classes, in the order of the network's outputs; the file does not hold them.
        low, high : float
            Values of the training spectrograms that were scaled to -1 and to 1, which the file does not hold either.
            The spectrograms are to be in the same units: in the authors' code decibels, ten times the decimal logarithm
            of mel power.

        Returns
        -------
        APNet
            With an empty history; ``config.per_class`` is M / C, rounded up, and the shape is that of the file.

        Raises
        ------
        DependencyError
            If h5py is not installed.
        WeightsError
            If the file is missing, damaged, or not that of an APNet; what is wrong is named.
        ParameterError
            If the labels are not one for each output and all different, or ``low`` is not below ``high``.
        """
        import pandas as pd

        from .keras import keras_tensors

        labels, low, high = known(labels, name="labels"), number("low", low), number("high", high, above=low)
        state = keras_tensors(path)
        if len(labels) != len(state["dense"]) or len(np.unique(labels)) != len(labels):
            raise ParameterError("labels", labels.tolist(), f"{len(state['dense'])} different ones, one an output")
        order, (count, c, t, f) = np.argsort(labels), state["prototypes"].shape
        state["dense"] = state["dense"][torch.from_numpy(order)]
        config = APNetConfig(frames=4 * t, bands=4 * f, filters=c, per_class=-(-count // len(labels)))
        with seeded(0, torch.device("cpu")):
            network = cls._built(config, len(labels), state)
        network.load_state_dict(state)
        network.eval().requires_grad_(False)
        return cls(config, labels[order], low, high, network, pd.DataFrame(), 0, 0.0)

    @classmethod
    def _built(cls, config, classes, tensors):
        return APNetwork(config, classes, len(tensors["prototypes"]))


@checked
def fit_apnet(
    x: ArrayLike,
    y: ArrayLike,
    split: Split,
    *,
    tracks: ArrayLike | None = None,
    config: APNetConfig | str = "default",
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | os.PathLike | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> APNet:
    """Train an APNet on log-mel spectrograms.

    Parameters
    ----------
    x : array_like float (N, T, F)
        Log-mels of the sounds, frames first and of the shape in ``config``, in dB or any other logarithm.
    y : array_like (N,)
        Labels of the sounds.
    split : Split
        Rows of train and of valid. The epoch with the highest accuracy on the sounds of valid is kept (in a tie, that
        with the lowest loss, then the first).
    tracks : array_like (N,), optional
        Track of each sound; a track must not be in two parts.
    config : APNetConfig or str
        Configuration, or the name of a preset.
    seed : int
        Seed of the initial weights and of the order of the sounds.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    checkpoint : path, optional
        File to which the state is written after each epoch; the same call resumes from it.
    progress : bool or callable (done, total)
        True shows a progress bar; a callable is called as epochs are done.
    **fields
        Fields of :class:`APNetConfig` that replace those of ``config``.

    Raises
    ------
    ParameterError
        If spectrograms are not finite, constant or of another shape, a class has no training sounds, a track is in two
        parts, or the checkpoint belongs to another training.
    """
    begin, config = time.perf_counter(), APNetConfig.named(config, **fields)
    x, place = _spectrograms(x, config), chosen_device(device)
    split, labels, y, _ = checked_parts(x, y, split, tracks, needed=("train", "valid"))
    low, high = float(x[split.train].min()), float(x[split.train].max())
    pairs = [(_scaled(x[rows], low, high), y[rows]) for rows in (split.train, split.valid)]
    own, held = ([torch.from_numpy(values) for values in pair] for pair in pairs)
    with seeded(seed, place):
        network = APNetwork(config, len(labels)).to(place)
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)

    def epoch(number: int) -> dict[str, float]:
        """Train on all sounds once, and return the terms of the loss averaged over the steps."""
        order = torch.from_numpy(np.random.default_rng([seed, number]).permutation(len(own[0])))
        sums = torch.zeros(len(_TERMS), device=place)
        for rows in order.split(config.batch):
            terms, _ = _objective(network, *(values[rows].to(place) for values in own))
            adam.zero_grad()
            terms[0].backward()
            adam.step()
            network.constrain()
            sums += terms.detach() * len(rows)
        return dict(zip(_TERMS, (sums / len(order)).tolist(), strict=True))

    @torch.no_grad()
    def validate() -> dict[str, float]:
        right = loss = 0.0
        for sounds, truth in zip(*(values.split(config.batch) for values in held), strict=True):
            terms, logits = _objective(network, sounds.to(place), truth.to(place))
            right += float((logits.argmax(1).cpu() == truth).sum())
            loss += float(terms[0]) * len(sounds)
        return {"valid_accuracy": right / len(held[0]), "valid_loss": loss / len(held[0])}

    def identity() -> str:
        weights = {str(place): values for place, values in enumerate([*own, *held])}
        return fingerprint("fit_apnet", TRAINING_VERSION, sorted(asdict(config).items()), seed, weights=weights)

    history, kept = train(
        epoch,
        config.epochs,
        module=network,
        optimizer=adam,
        validate=validate,
        score=lambda row: (row["valid_accuracy"], -row["valid_loss"]),
        patience=config.patience,
        learning_rate=config.learning_rate,
        name="fit_apnet",
        checkpoint=checkpoint,
        identity=identity,
        progress=progress,
    )
    network.cpu().requires_grad_(False).zero_grad()
    return APNet(config, labels, low, high, network, history, kept, time.perf_counter() - begin)


@checked
def log_mel_to_audio(
    log_mel: ArrayLike,
    rate: int,
    *,
    n_fft: int = 1024,
    hop: int = 256,
    floor: float = audio.LOG_FLOOR,
    **options: object,
) -> np.ndarray:
    """Convert log-mels, such as those of :meth:`APNet.decode`, to sound by inverting the filters and by Griffin-Lim.

    Parameters
    ----------
    log_mel : array_like (M, T, F)
        Natural logarithms of mel power, frames first.
    rate, n_fft, hop
        Settings of the analysis, as in :func:`~workbench.audio.log_mel`.
    floor : float
        Number that was added to the power before the logarithm.
    **options
        Options of :func:`~workbench.audio.mel_to_audio`, such as ``seed``.

    Returns
    -------
    np.ndarray float32 (M, samples)
    """
    whole("n_fft", n_fft, least=2)
    whole("hop", hop, least=1, most=n_fft)
    number("floor", floor, least=0)
    log_mel = numbers("log_mel", log_mel, ndim=3).astype(np.float64)
    if log_mel.max() > 88:  # e^88 is near the largest float32
        raise ParameterError(
            "log_mel", f"up to {log_mel.max():g}", "natural logarithms of power, not decibels: below 88"
        )
    power = np.maximum(np.exp(log_mel) - floor, 0).swapaxes(-1, -2)
    return audio.mel_to_audio(power.astype(np.float32), rate, n_fft=n_fft, hop=hop, **options).numpy()


def _spectrograms(x: ArrayLike, config: APNetConfig) -> np.ndarray:
    """Return spectrograms as float32 (N, T, F), or raise an error if their shape is wrong or they are not finite."""
    x = numbers("x", x, finite=False, empty=True)
    with np.errstate(over="ignore"):  # values too large for float32 become inf and are reported below
        x = x.astype(np.float32)
    shape = (config.frames, config.bands)
    if x.ndim != 3 or not len(x) or x.shape[1:] != shape:
        raise ParameterError("x.shape", x.shape, f"(N, {shape[0]}, {shape[1]}), frames and bands of the config")
    bad = ~np.isfinite(x).all((1, 2))
    if bad.any():
        raise ParameterError(f"x[{int(bad.argmax())}]", "nan or inf", "finite")
    return x


def _scaled(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return ((x - low) * (2 / (high - low)) - 1).astype(np.float32)


def _twice(x: Tensor) -> Tensor:
    """Double both axes by repeating every value."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _objective(network: APNetwork, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the :data:`_TERMS` (4,) and the logits.

    The distance term is the mean distance of prototypes to their nearest sound of the batch plus the mean distance of
    sounds to their nearest prototype; squared differences are averaged over latent frequencies.
    """
    logits, reconstructed, distances = network(x)
    entropy, error = F.cross_entropy(logits, y), F.mse_loss(reconstructed, x)
    apart = distances.mean(2)
    pull = apart.amin(0).mean() + apart.amin(1).mean()
    a, b, c = network.config.loss_weights
    return torch.stack([a * entropy + b * error + c * pull, entropy, error, pull]), logits
