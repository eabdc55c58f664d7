"""The classifier to be explained: any torch module from waveforms to scores, with access to some inner feature maps."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from .. import audio
from ..core.checks import checked, choice, numbers, several, whole
from ..core.devices import chosen_device
from ..core.errors import ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from ..core.fitting import load_weights, new_module, read_fitted, reading, seeded, write_fitted
from ..core.labels import known
from ..core.splits import Split, fitting
from ..encoders import Encoder
from ..encoders import efficientat as mobilenets
from ..prototypes import SmallConvNet, fit_classifier, networks
from .spectra import Spectra
from .vgg import LEAST_VGG, KumarMels, KumarVGG, VGGBody, load_audioset, read_state

if TYPE_CHECKING:
    import pandas as pd

#: Possible axes of a feature map: batch, channels, frequency, time.
AXES = ("bcft", "bctf", "btc")
_KEPT = ("rate", "classes", "taps", "axes", "multilabel", "batch", "name")
#: Mel bands and sampling rate in Hz of the small network that :func:`network_of` makes.
MELS, RATE = 64, 16000


class Classifier:
    """A frozen classifier of sounds, and the inner feature maps that an interpreter may use.

    If it was trained by this package, ``history`` is a table with one row per epoch, otherwise None.

    Parameters
    ----------
    module : nn.Module
        Module from waveforms (B, samples) to scores (B, C) before softmax or sigmoid. It is set to eval mode; its
        weights are not changed.
    rate : int
        Sampling rate of the waveforms in Hz.
    classes : sequence of str (C,)
        Names of the classes.
    taps : sequence of str
        Names of sub-modules whose outputs are the feature maps, as in ``module.named_modules()``, shallow first.
    axes : str
        Axes of these outputs: "bcft" (batch, channels, frequency, time), "bctf", or "btc" (batch, time, channels).
    multilabel : bool
        Whether a clip can have several classes (sigmoid), or has exactly one (softmax).
    batch : int
        Number of clips that are classified at once.
    device : str
        Device on which the classifier runs.
    name : str
        Name of the classifier.

    Raises
    ------
    ParameterError
        If the module does not have a tap (the message suggests similar names), or axes are unknown.
    """

    history: pd.DataFrame | None = None

    @checked
    def __init__(
        self,
        module: nn.Module,
        *,
        rate: int,
        classes: Sequence[object],
        taps: Sequence[str] = (),
        axes: str = "bcft",
        multilabel: bool = False,
        batch: int = 16,
        device: str | torch.device = "auto",
        name: str = "classifier",
    ):
        if not isinstance(module, nn.Module):
            raise ParameterError("module", type(module).__name__, "a torch module from waveforms to scores")
        choice("axes", axes, AXES)
        whole("rate", rate, least=1)
        whole("batch", batch, least=1)
        classes = several("classes", classes, lambda _, name: str(name))
        if len(set(classes)) != len(classes):
            raise ParameterError("classes", classes, "different names")
        known = dict(module.named_modules())
        for tap in taps:
            if tap not in known:
                near = get_close_matches(tap, known, 5, 0.3)
                raise ParameterError("taps", tap, f"a named module, such as {near or list(known)[1:6]}")
        self.device = chosen_device(device)
        self.module = module.eval().requires_grad_(False).to(self.device)
        self.rate, self.classes, self.taps, self.axes = rate, tuple(classes), tuple(taps), axes
        self.multilabel, self.batch, self.name = multilabel, batch, name

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines scores and maps: module, weights, rate, classes and taps."""
        said = (repr(self.module), self.rate, self.classes, self.taps, self.axes, self.multilabel)
        return fingerprint("classifier", *said, weights=self.module.state_dict())

    def __repr__(self) -> str:
        kind = "labels" if self.multilabel else "classes"
        return f"Classifier({self.name}: {self.rate} Hz -> {len(self.classes)} {kind}; taps {', '.join(self.taps)})"

    @torch.no_grad()
    def logits(self, x: ArrayLike | Tensor) -> np.ndarray:
        """Return the scores, float32 (N, C), of waveforms (N, samples) at :attr:`rate`.

        Raises
        ------
        ParameterError
            If the shape is wrong, or scores are not finite (the clip is named).
        """
        x = self.waveforms(x)
        try:
            scores = torch.cat([self.module(part.to(self.device)).float().cpu() for part in x.split(self.batch)])
        except RuntimeError as error:
            raise self.unfit(x, error) from error
        return self.checked(scores.numpy())

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the softmax or sigmoid of scores (N, C), float64."""
        scores = torch.from_numpy(numbers("logits", logits).astype(np.float64))
        return (scores.sigmoid() if self.multilabel else scores.softmax(-1)).numpy()

    def tapped(self, x: Tensor, *, gradient: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return the scores (B, C) of a batch and the map (B, channels, frequency, time) of each tap, in order.

        With ``gradient`` they can be differentiated with respect to ``x``, if the module can.
        """
        if not self.taps:
            raise ParameterError("taps", [], "at least one, given to Classifier")
        outputs: dict[str, Tensor] = {}
        try:
            with self._listening(outputs), torch.set_grad_enabled(gradient):
                scores = self.module(x.to(self.device))
        except RuntimeError as error:
            raise self.unfit(x, error) from error
        return scores.float(), [self._map(outputs[tap]) for tap in self.taps]

    def shapes(self, samples: int) -> list[tuple[int, int, int]]:
        """Return the shape (channels, frequency, time) of each tap's map for clips of this many samples."""
        return [tuple(values.shape[1:]) for values in self.tapped(torch.zeros(1, samples))[1]]

    def unfit(self, x: Tensor, error: RuntimeError) -> ParameterError:
        """Return the error to raise if the module fails on clips."""
        reason = (str(error).splitlines() or [""])[0]
        return ParameterError("x.shape", tuple(x.shape), f"clips that {self.name} takes ({reason})")

    @checked
    def randomised(self, seed: int, *, modules: int | None = None) -> Classifier:
        """Return a copy with random weights, for the sanity check of Adebayo et al. (2018): explanations must change.

        Parameters
        ----------
        seed : int
            Seed of the weights.
        modules : int, optional
            Number of modules with weights to randomise, counted from the scores backwards; by default all.
        """
        if modules is not None:
            whole("modules", modules, least=1)
        other = copy.deepcopy(self.module)
        resettable = [module for module in other.modules() if hasattr(module, "reset_parameters")]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for module in resettable if modules is None else resettable[-modules:]:
                module.cpu().reset_parameters()
        same = {"rate": self.rate, "classes": self.classes, "taps": self.taps, "axes": self.axes}
        same |= {"multilabel": self.multilabel, "batch": self.batch, "device": str(self.device)}
        return Classifier(other, name=f"{self.name}, random weights", **same)

    @checked
    def save(self, folder: str | os.PathLike) -> Path:
        """Write the weights and the options of the classifier to a folder, and return the folder."""
        record = {name: getattr(self, name) for name in _KEPT} | {"fingerprint": self.fingerprint}
        record |= {"sizes": getattr(self.module, "sizes", {})}
        record |= {} if self.history is None else {"history": self.history}
        return write_fitted(folder, "Classifier", self.module.state_dict(), record)

    @classmethod
    @checked
    def load(
        cls,
        folder: str | os.PathLike,
        network: str | Encoder | nn.Module | Callable[[], nn.Module],
        *,
        device: str | torch.device = "auto",
    ) -> Self:
        """Read a classifier that :meth:`save` wrote.

        Parameters
        ----------
        folder : path
            The folder.
        network : str, Encoder, nn.Module or callable
            For a classifier by :func:`~workbench.interpreters.fit_tagger`, its argument ``network``; for one by
            :func:`fit_vgg`, "vgg"; otherwise a module with the same architecture, or a callable that returns one. The
            weights are read from the folder.
        device : str
            Device on which the classifier runs.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, holds something else, or was written with another network.
        """
        tensors, record = read_fitted(folder, "Classifier")
        with reading(folder, "classifier"):
            options, sizes = {name: record[name] for name in _KEPT}, dict(record["sizes"])
        with seeded(0, torch.device("cpu")):
            if isinstance(network, str | Encoder):
                module, _ = network_of(network, len(options["classes"]), **sizes)
            else:
                module = new_module(network)
        load_weights(folder, module, tensors)
        with reading(folder, "classifier"):
            loaded = cls(module, device=device, **options)
        if loaded.fingerprint != record.get("fingerprint"):
            raise WeightsError(f"{folder}: was written with a network that is built otherwise than this one")
        loaded.history = record.get("history")
        return loaded

    @contextmanager
    def _listening(self, outputs: dict[str, Tensor]) -> Iterator[None]:
        modules = dict(self.module.named_modules())

        def keep(tap):
            return lambda module, inputs, output: outputs.__setitem__(tap, output)

        hooks = [modules[tap].register_forward_hook(keep(tap)) for tap in self.taps]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _map(self, output: Tensor) -> Tensor:
        if output.ndim != len(self.axes):
            raise ParameterError("axes", self.axes, f"that of a tap with the shape {tuple(output.shape)}")
        if self.axes == "btc":
            return output.mT[:, :, None].float()
        return (output.mT if self.axes == "bctf" else output).float()

    def waveforms(self, x: ArrayLike | Tensor) -> Tensor:
        """Return clips as a float32 tensor (N, samples), or raise an error for a wrong shape or values not finite."""
        x = real("x", x)
        if x.ndim != 2 or not x.numel():
            raise ParameterError("x.shape", tuple(x.shape), "(N, samples) with at least one clip")
        bad = ~x.isfinite().all(1)
        if bad.any():
            raise ParameterError(f"x[{int(bad.int().argmax())}]", "nan or inf", "finite")
        return x

    def positions(self, classes: ArrayLike, count: int) -> np.ndarray:
        """Return the class numbers, 0 to C - 1, of ``count`` clips as int64, or raise an error."""
        rows, most = numbers("classes", classes, ndim=1), len(self.classes)
        if rows.dtype.kind not in "iu" or len(rows) != count or rows.min() < 0 or rows.max() >= most:
            expected = f"{count} whole numbers from 0 to {most - 1}, one a clip"
            raise ParameterError("classes", rows.tolist()[:5], expected)
        return rows.astype(np.int64)

    def checked(self, scores: np.ndarray) -> np.ndarray:
        """Return scores (N, C), or raise an error if their number of classes is wrong or they are not finite."""
        if scores.ndim != 2 or scores.shape[1] != len(self.classes):
            raise ParameterError("classes", len(self.classes), f"as many as {self.name} has scores: {scores.shape}")
        bad = ~np.isfinite(scores).all(1)
        if bad.any():
            raise ParameterError(f"scores of {self.name} for clip {int(bad.argmax())}", "nan or inf", "finite")
        return scores


def spectra_for(classifier: object, spectra: object | None = None) -> Spectra:
    """Return the spectra on which a classifier is explained, by default the paper's windows at the classifier's rate.

    Raises
    ------
    ParameterError
        If arguments have a wrong type, or the spectra have another rate than the classifier.
    """
    if not isinstance(classifier, Classifier):
        raise ParameterError("classifier", type(classifier).__name__, "a Classifier")
    spectra = Spectra(rate=classifier.rate) if spectra is None else spectra
    if not isinstance(spectra, Spectra):
        raise ParameterError("spectra", spectra, "Spectra")
    if spectra.rate != classifier.rate:
        raise ParameterError("spectra.rate", spectra.rate, f"{classifier.rate}, that of {classifier.name}")
    return spectra


def real(name: str, x: ArrayLike | Tensor) -> Tensor:
    """Return real numbers as a float32 tensor without gradient, on the device of the input."""
    if isinstance(x, Tensor) and not x.is_complex():
        return x.detach().float()
    return torch.from_numpy(np.ascontiguousarray(numbers(name, x, finite=False, empty=True), dtype=np.float32))


class LogMels(nn.Module):
    """Module from waveforms (B, samples) to standardised log-mel spectrograms (B, mels, frames)."""

    def __init__(self, rate: int, *, n_fft: int, hop: int, mels: int, floor: float, shift=0.0, scale=1.0):
        super().__init__()
        self.n_fft, self.hop, self.floor = n_fft, hop, floor
        self.register_buffer("filters", audio.mel_filters(rate, n_fft=n_fft, n_mels=mels).T.contiguous())
        for name, values in (("shift", shift), ("scale", scale)):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32).expand(mels, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        power = audio.spectrogram(x, n_fft=self.n_fft, hop=self.hop)
        return ((self.filters @ power + self.floor).log() - self.shift) / self.scale


@checked
def kumar_vgg(classes: Sequence[str], *, weights: str | Path | None = None, seed: int = 0, **options) -> Classifier:
    """Make a :class:`Classifier` from a :class:`KumarVGG`.

    Parameters
    ----------
    classes : sequence of str
        Names of the classes.
    weights : path, optional
        File with the state dict of a :class:`KumarVGG`; by default the network is untrained.
    seed : int
        Seed of untrained weights.
    **options
        Options of :class:`KumarVGG` and :class:`Classifier`, such as ``hidden``, ``multilabel`` or ``device``.

    Raises
    ------
    WeightsError
        If the file is missing, unreadable or does not match the network.
    """
    own = {name: options.pop(name) for name in ("hidden", "dropout") if name in options}
    classes = several("classes", classes, lambda _, name: str(name))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = KumarVGG(len(classes), **own)
    if weights is not None:
        load_weights(weights, network, read_state(weights))
    return Classifier(network, rate=44100, classes=classes, taps=KumarVGG.TAPS, axes="bctf", name="VGG", **options)


def network_of(network: str | Encoder, classes: int, *, hidden: int = 512, dropout: float = 0.15) -> tuple:
    """Return an untrained module from waveforms to scores, and the options for a :class:`Classifier` with it.

    Parameters
    ----------
    network : {"conv", "vgg"} or Encoder
        The network. The taps of an EfficientAT are some of its feature maps, those of other encoders three layers.
    classes : int
        Number of classes.
    hidden, dropout : int, float
        As in :class:`KumarVGG`; the defaults are for SONYC-UST.
    """
    if network == "conv":
        front = LogMels(RATE, n_fft=networks.N_FFT, hop=networks.HOP, mels=MELS, floor=networks.FLOOR)
        module = Stacked(front, SmallConvNet(MELS, 64), nn.Linear(64, classes))
        return module, {"rate": RATE, "taps": [f"network.blocks.{i}" for i in (5, 8, 11)], "name": "small net"}
    if network == "vgg":
        module = KumarVGG(classes, hidden=hidden, dropout=dropout)
        return module, {"rate": 44100, "taps": KumarVGG.TAPS, "axes": "bctf", "name": "VGG"}
    if not isinstance(network, Encoder):
        raise ParameterError("network", network, "'conv', 'vgg' or an encoder, as load_encoder gives it")
    width = network.layers[-1].dim
    front, options = _front(network, len(network.layers) - 1)
    return Stacked(front, nn.BatchNorm1d(width), nn.Linear(width, classes)), options


def _front(encoder: Encoder, layer: int, pool: nn.Module | None = None) -> tuple[nn.Module, dict[str, object]]:
    """Return an encoder as a module from (B, samples) to (B, D), and the options for a :class:`Classifier` on it."""
    options = {"rate": encoder.rate, "name": encoder.name}
    if pool is None and isinstance(encoder, mobilenets.EfficientAT) and layer == len(encoder.layers) - 1:
        return Features(encoder), options | {"taps": [f"front_end.features.{i}" for i in (6, 12, 15)]}
    front = Frames(encoder, layer, pool)
    return front, options | {"taps": [f"front_end.taps.{i}" for i in range(len(front.taps))], "axes": "btc"}


@checked
def fit_vgg(
    x: Tensor,
    y: ArrayLike,
    split: Split,
    *,
    weights: str | os.PathLike | None = None,
    seed: int = 0,
    hidden: int = 256,
    **options,
) -> Classifier:
    """Train the paper's VGG: its head on AudioSet weights as in the paper, or all of it from random weights.

    Parameters
    ----------
    x : Tensor (N, samples)
        Waveforms at 44.1 kHz.
    y : array_like (N,)
        Classes of the clips.
    split : Split
        Split of the clips.
    weights : path, optional
        Published AudioSet weights of the network below the head (:func:`~.vgg.find_audioset`). They stay as they are;
        only statistics of the batch normalisation follow the clips, as in the paper. Without them, everything is
        trained from random weights, which is another classifier than the paper's.
    seed : int
        Seed of the training.
    hidden : int
        Number of channels of the head.
    **options
        Options of :func:`~workbench.prototypes.fit_classifier`, such as ``epochs``, ``device`` or ``checkpoint``.

    Returns
    -------
    Classifier
        The classifier, with the history of its training. Its name says which weights it started from.

    Raises
    ------
    WeightsError
        If the file of weights cannot be read or is of another network.
    """
    x, front_end = real("x", x), KumarMels()
    if x.ndim != 2 or not x.numel() or not x.isfinite().all():
        raise ParameterError("x.shape", tuple(x.shape), "(N, samples), finite, with at least one clip")
    if x.shape[1] < LEAST_VGG:
        raise ParameterError("x.shape", tuple(x.shape), f"clips of at least {LEAST_VGG} samples at 44.1 kHz")
    y = known(y, len(x))
    classes = len(np.unique(y[fitting(split, len(x)).train]))
    with torch.no_grad():
        mels = torch.cat([front_end(part)[:, 0] for part in x.split(16)]).numpy()

    def made() -> KumarVGG:
        network = KumarVGG(classes, hidden=hidden)
        return network if weights is None else load_audioset(network, weights)

    fixed = {"loss": "cross_entropy", "standardise": "none", "seed": seed}
    trained = fit_classifier(mels, y, split, network=lambda: VGGBody(made()), **fixed, **options)
    network = made()
    network.load_state_dict(trained.network.state_dict(), strict=False)
    network.out.load_state_dict({"weight": torch.from_numpy(trained.weight), "bias": torch.from_numpy(trained.bias)})
    name = "VGG" if weights is None else "VGG on AudioSet weights"
    same = {"device": options.get("device", "auto"), "axes": "bctf", "name": name}
    classifier = Classifier(network, rate=44100, classes=trained.classes, taps=KumarVGG.TAPS, **same)
    classifier.history = trained.history
    return classifier


class Stacked(nn.Module):
    """Front end, network and linear head in sequence."""

    def __init__(self, front_end: nn.Module, network: nn.Module, head: nn.Linear):
        super().__init__()
        self.front_end, self.network, self.head = front_end, network, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.network(self.front_end(x)))


def convolutional(trained, *, rate: int = 16000, **options) -> Classifier:
    """Make a classifier of waveforms from a :class:`~workbench.prototypes.SmallConvNet` that was trained on log-mels.

    Parameters
    ----------
    trained : TrainedClassifier
        Result of :func:`~workbench.prototypes.fit_classifier` on :func:`~workbench.prototypes.log_mels`.
    rate : int
        Sampling rate in Hz of these log-mels.
    **options
        Options of :class:`Classifier`.
    """
    whole("rate", rate, least=1)
    if not isinstance(getattr(trained, "network", None), SmallConvNet):
        raise ParameterError("trained", type(trained).__name__, "what fit_classifier made of a SmallConvNet")
    mels = trained.network.mels
    statistics = {"shift": trained.shift, "scale": trained.scale} if trained.shift is not None else {}
    front_end = LogMels(rate, n_fft=networks.N_FFT, hop=networks.HOP, mels=mels, floor=networks.FLOOR, **statistics)
    head = _linear(trained.weight, trained.bias)
    module = Stacked(front_end, trained.network, head)
    taps = [f"network.blocks.{i}" for i in (5, 8, 11)]
    return Classifier(module, rate=rate, classes=trained.classes, taps=taps, **{"name": "small net", **options})


class Features(nn.Module):
    """An EfficientAT from waveforms (B, samples) to the mean of its last feature map, (B, D)."""

    def __init__(self, encoder):
        super().__init__()
        self.mels, self.features = encoder.front_end, copy.deepcopy(encoder.net.features)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(self.mels(x)).mean((2, 3))


class Frames(nn.Module):
    """Any encoder as a module from waveforms (B, samples) to one vector of one of its layers: the mean frame, (B, D).

    Three layers, spread over the depth up to this one, pass through the modules ``taps`` as (B, T, D). Gradients reach
    the waveforms if the encoder's front end is differentiable.

    Parameters
    ----------
    encoder : Encoder
        The encoder; it is copied.
    layer : int
        Position of the layer.
    pool : nn.Module, optional
        What makes one vector (B, D') of the layer's frames (B, T, D), in place of their mean.
    """

    def __init__(self, encoder: Encoder, layer: int, pool: nn.Module | None = None):
        super().__init__()
        self.encoder, self.layer, self.pool = copy.deepcopy(encoder), layer, pool
        parts = {name: value for name, value in vars(self.encoder).items() if isinstance(value, nn.Module)}
        self.parts = nn.ModuleDict(
            parts
        )  # the same objects, registered so that they move and are reset with this module
        below = encoder.layers[: layer + 1]
        timed = [i for i, each in enumerate(below) if each.frame_rate] or range(len(below))
        self.positions = sorted({timed[round(share * (len(timed) - 1))] for share in (1 / 3, 2 / 3, 1)})
        self.taps = nn.ModuleList(nn.Identity() for _ in self.positions)

    def extra_repr(self) -> str:
        """Return a text that identifies the encoder; fingerprints of classifiers include it."""
        return (
            f"{self.encoder.name}, {getattr(self.encoder, 'fingerprint', '')}, {self.encoder.layers[self.layer].name}"
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.encoder.device != x.device:
            self._move(x.device)
        x = F.pad(x, (0, max(self.encoder.minimum - x.shape[1], 0)))
        lengths = torch.full((len(x),), x.shape[1], device=x.device)
        wanted = sorted({*self.positions, self.layer})
        outputs = dict(zip(wanted, self.encoder.forward(x, lengths, wanted), strict=True))
        heard = {i: frames[:, : int(counts[0])] for i, (frames, counts) in outputs.items()}
        for tap, position in zip(self.taps, self.positions, strict=True):
            tap(heard[position])
        frames = heard[self.layer].float()
        return frames.mean(1) if self.pool is None else self.pool(frames)

    def _move(self, device: torch.device) -> None:
        """Move the encoder's tensors that are not in modules; its modules have been moved already."""
        for name, value in vars(self.encoder).items():
            if isinstance(value, Tensor):
                setattr(self.encoder, name, value.to(device))
        self.encoder.device = device


@checked
def classifier_on(
    encoder: Encoder,
    weight: ArrayLike,
    bias: ArrayLike,
    classes: Sequence[object],
    *,
    layer: int = -1,
    pool: nn.Module | None = None,
    **options,
) -> Classifier:
    """Make a classifier from an encoder and a linear head on the mean frames of one of its layers.

    Parameters
    ----------
    encoder : Encoder
        Encoder from :func:`~workbench.load_encoder` or :func:`~workbench.encoders.encoder_from`.
    weight : array_like (D, C)
        Weights of a linear map of the layer, such as a probe's or those of some latents of a sparse autoencoder.
    bias : array_like (C,)
        Intercepts of the map.
    classes : sequence of str
        Names of the classes.
    layer : int
        Position of the layer, by default that of the last one; from the end where it is negative.
    pool : nn.Module, optional
        What makes one vector (B, D) of the layer's frames (B, T, D'), such as the summary of an autoencoder; by default
        their mean, for which D is D'. It is not copied.
    **options
        Options of :class:`Classifier`. By default the taps are three layers spread over the depth up to this layer, or,
        for the last layer of an EfficientAT, its features 6, 12 and 15.

    Raises
    ------
    ParameterError
        If the encoder has no such layer, the weights have a wrong shape, or ``pool`` is no module.
    """
    count = len(encoder.layers)
    layer = range(count)[whole("layer", layer, least=-count, most=count - 1)]
    head = _linear(numbers("weight", weight, ndim=2).T, bias)
    width = encoder.layers[layer].dim if pool is None else head.in_features
    if (head.in_features, head.out_features) != (width, len(classes)):
        expected = f"({width}, {len(classes)}): the layer's numbers and the classes"
        raise ParameterError("weight.shape", (head.in_features, head.out_features), expected)
    front, known = _front(encoder, layer, pool)
    return Classifier(Stacked(front, nn.Identity(), head), classes=classes, **{**known, **options})


def _linear(weight: ArrayLike, bias: ArrayLike) -> nn.Linear:
    weight = torch.from_numpy(np.array(weight, dtype=np.float32))
    bias = numbers("bias", bias, ndim=1)
    if bias.shape != weight.shape[:1]:
        raise ParameterError("bias.shape", bias.shape, f"({len(weight)},), a number a class")
    head = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(torch.from_numpy(np.array(bias, dtype=np.float32)))
    return head
