"""EfficientAT: MobileNetV3 audio taggers trained on AudioSet, of any width (mn01_as to mn40_as).

This is an implementation of the models of Schmid, Koutini and Widmer, "Efficient large-scale audio tagging via
transformer-to-CNN knowledge distillation", ICASSP 2023. The weights (MIT) are published as release files of
github.com/fschmid56/EfficientAT.

Padding is "equal": convolutions near the end of a clip and squeeze-excitation blocks (a mean over the whole feature
map) would see appended zeros, so that only clips of equal length share a batch; the numbers are then those of the clip
alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.checks import checked, numbers
from ..core.dependencies import load
from ..core.errors import ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from .interface import Encoder, Layer
from .towers import reason

FRONT_END_VERSION = 1
RATE = 32000
N_FFT, HOP, WINDOW = 1024, 320, 800
N_MELS, F_MAX = 128, 15000.0
CLASSES = 527

# MobileNetV3-Large (Howard et al. 2019, table 1): kernel, expanded, out, squeeze-excitation, Hardswish, stride
_BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def _round8(channels: float) -> int:
    """Round to a multiple of 8 that is at least 8, and not more than 10 % below ``channels``."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _conv(inputs: int, outputs: int, kernel: int, stride: int, groups: int, activation: type | None) -> nn.Sequential:
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
    ]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)


class _Gate(nn.Module):
    """Squeeze-excitation over the whole feature map: mean, linear map, ReLU, linear map, sigmoid."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, _round8(channels / 4))
        self.fc2 = nn.Linear(_round8(channels / 4), channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(F.relu(self.fc1(x.mean((2, 3)))))
        return x * gate.sigmoid()[:, :, None, None]


class _Squeeze(nn.Module):
    """One gate, under the name that the published checkpoints use (which allow several in parallel)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conc_se_layers = nn.ModuleList([_Gate(channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.conc_se_layers[0](x)


class _Block(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise convolution, gate, linear 1x1 projection."""

    def __init__(self, inputs: int, kernel: int, expanded: int, outputs: int, gate: bool, hard: bool, stride: int):
        super().__init__()
        activation = nn.Hardswish if hard else nn.ReLU
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(_conv(inputs, expanded, 1, 1, 1, activation))
        layers.append(_conv(expanded, expanded, kernel, stride, expanded, activation))
        if gate:
            layers.append(_Squeeze(expanded))
        layers.append(_conv(expanded, outputs, 1, 1, 1, None))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class EfficientATNet(nn.Module):
    """The network without its front end, from normalised log-mel (B, 1, 128, T) to AudioSet logits (B, 527).

    Parameters
    ----------
    width : float
        Factor on all numbers of channels (0.4 for mn04_as), which are rounded to multiples of 8.
    """

    def __init__(self, width: float):
        super().__init__()
        stem = _round8(16 * width)
        features: list[nn.Module] = [_conv(1, stem, 3, 2, 1, nn.Hardswish)]
        channels = [stem]
        for kernel, expanded, outputs, gate, hard, stride in _BLOCKS:
            expanded, outputs = _round8(expanded * width), _round8(outputs * width)
            features.append(_Block(channels[-1], kernel, expanded, outputs, gate, hard, stride))
            channels.append(outputs)
        channels.append(6 * channels[-1])
        features.append(_conv(channels[-2], channels[-1], 1, 1, 1, nn.Hardswish))
        self.features = nn.Sequential(*features)
        self.channels = tuple(channels)
        hidden = _round8(1280 * width)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(1),
            nn.Linear(channels[-1], hidden),
            nn.Hardswish(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(hidden, CLASSES),
        )

    def forward(self, mel: Tensor) -> Tensor:
        return self.classifier(self.features(mel))


class FrontEnd(nn.Module):
    """Computes the log-mel image on which the networks were trained, without augmentation."""

    def __init__(self) -> None:
        super().__init__()
        banks, _ = load("torchaudio.compliance.kaldi").get_mel_banks(
            N_MELS, N_FFT, RATE, 0.0, F_MAX, 100.0, -500.0, 1.0
        )
        # Kaldi's banks leave out the Nyquist bin: it gets zero weight
        self.register_buffer("banks", F.pad(banks.float(), (0, 1)), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, samples) at 32 kHz, with samples >= 514, to (B, 1, 128, 1 + (samples - 1) // 320)."""
        x = x[:, 1:] - 0.97 * x[:, :-1]
        spectrum = torch.stft(x, N_FFT, HOP, WINDOW, self.window, center=True, return_complex=True)
        mel = self.banks @ spectrum.abs().square()
        return ((mel + 1e-5).log()[:, None] + 4.5) / 5


class EfficientAT(Encoder):
    """A frozen EfficientAT tagger with the 17 layers ``features.0`` ... ``features.16`` and AudioSet logits.

    The frames of a layer are the mean of its feature map over frequency, (B, T, C); the mean of ``features.16`` over
    time is the embedding that the classifier reads (384-d at width 0.4). Waveforms are at 32 kHz; layers have 50 to
    3.125 frames a second.

    Parameters
    ----------
    net : EfficientATNet
    name : str
        The encoder's name, such as "mn04_as".
    device : str or torch.device, optional
    """

    rate = RATE
    padding = "equal"
    minimum = 1024

    def __init__(self, net: EfficientATNet, *, name: str, device: str | torch.device = "cpu"):
        self.name = name
        self.device = torch.device(device)
        self.net = net.eval().requires_grad_(False).to(self.device)
        self.front_end = FrontEnd().to(self.device)
        rates, rate = [], RATE / HOP
        for stride in (2, *(block[-1] for block in _BLOCKS), 1):
            rate /= stride
            rates.append(rate)
        self.layers = tuple(
            Layer(f"features.{i}", dim, rate) for i, (dim, rate) in enumerate(zip(net.channels, rates, strict=True))
        )
        self.fingerprint = fingerprint(
            "efficientat", FRONT_END_VERSION, self.padding, self.minimum, "float32", weights=net.state_dict()
        )

    def _mel(self, x: Tensor, lengths: Tensor) -> Tensor:
        samples = lengths.clamp(min=self.minimum).unique().tolist()
        if len(samples) != 1:
            raise ParameterError("lengths", lengths.tolist(), f"all equal for {self.name}: padding changes its numbers")
        x = x[:, : samples[0]]
        with torch.autocast(x.device.type, enabled=False):  # logarithms of half-precision spectra would be coarse
            return self.front_end(F.pad(x, (0, samples[0] - x.shape[1])))

    def forward(self, x: Tensor, lengths: Tensor, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch, see :meth:`Encoder.forward`; raises ParameterError if the lengths differ."""
        return self._encode(x, lengths, layers)

    def forward_changed(self, x, lengths, layers, at, change) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch with the frames of one layer changed, see :meth:`Encoder.forward_changed`.

        A frame is a mean over frequency: its change is added at every frequency.
        """
        return self._encode(x, lengths, layers, at, change)

    def _encode(self, x, lengths, layers, at=None, change=None) -> list[tuple[Tensor, Tensor]]:
        outputs = []
        y = self._mel(x, lengths)
        for i in range(max(layers) + 1):
            y = self.net.features[i](y)
            frames = y.mean(2).transpose(1, 2) if i in layers or i == at else None
            if i == at:
                changed = change(frames, torch.full_like(lengths, frames.shape[1]))
                y, frames = y + (changed - frames).transpose(1, 2)[:, :, None], changed
            if i in layers:
                outputs.append((frames, torch.full_like(lengths, frames.shape[1])))
        return outputs

    def logits(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of the 527 AudioSet classes, before the sigmoid.

        Parameters
        ----------
        x : Tensor, float32 (B, samples)
            Waveforms at 32 kHz on :attr:`device`. Gradients flow to them unless inference mode is on.
        lengths : Tensor, int64 (B,)
            Lengths in samples, all equal.

        Returns
        -------
        Tensor, float32 (B, 527)
            Logits in the order of AudioSet's class list.

        Raises
        ------
        ParameterError
            If the lengths differ.
        """
        return self.net(self._mel(x, lengths))

    @torch.no_grad()
    def tags(self, vectors: np.ndarray) -> np.ndarray:
        """Return the probabilities of the 527 AudioSet classes from clip vectors of the last layer.

        Parameters
        ----------
        vectors : ndarray (N, D)
            Means over time of the frames of ``features.16``, as ``pooling="mean"`` gives them: all that the network's
            classifier reads of a clip.

        Returns
        -------
        ndarray, float32 (N, 527)
            In the order of AudioSet's class list; :meth:`logits` before this sigmoid, from waveforms.
        """
        vectors = numbers("vectors", vectors, ndim=2).astype(np.float32)
        if vectors.shape[1] != self.dim:
            raise ParameterError("vectors.shape", vectors.shape, f"(N, {self.dim}), as layer {self.layers[-1].name}")
        return self.net.classifier[2:](torch.from_numpy(vectors).to(self.device)).sigmoid().cpu().numpy()


def _width(name: str) -> float:
    match = re.match(r"mn(\d\d)(?!\d)", name)
    if match is None or match.group(1) == "00":
        raise ParameterError("name", name, "of the form mn04_as: two digits that are ten times the width (01 to 40)")
    return int(match.group(1)) / 10


def _read(path: Path, net: EfficientATNet, name: str) -> dict[str, Tensor]:
    """Read the state dict of a checkpoint, whose keys and shapes must be those of the network."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; it should hold the weights of {name}") from error
    except Exception as error:
        raise WeightsError(f"{path}: not a readable checkpoint of {name} ({reason(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: expected a dict of tensors with the weights of {name}, got {type(state).__name__}")
    expected = net.state_dict()
    problems = []
    if missing := sorted(expected.keys() - state.keys()):
        problems.append(f"missing keys: {', '.join(missing)}")
    if unexpected := sorted(state.keys() - expected.keys()):
        problems.append(f"unexpected keys: {', '.join(map(str, unexpected))}")
    shapes = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    if shapes:
        problems.append(f"wrong shapes (another width than {name}?): {'; '.join(shapes)}")
    if problems:
        raise WeightsError(f"{path} does not fit {name}: " + "; ".join(problems))
    return state


@checked
def load_efficientat(
    name: str,
    *,
    weights: Path | str | None,
    device: str | torch.device = "cpu",
    random_weights: int | None = None,
) -> EfficientAT:
    """Load an EfficientAT encoder from a published checkpoint, or make one with seeded random weights.

    Parameters
    ----------
    name : str
        Name such as "mn04_as"; the two digits are ten times the width, which the checkpoint must have.
    weights : path or None
        The ``.pt`` file (a plain state dict, loaded with ``weights_only``); None only with ``random_weights``.
    device : str or torch.device, optional
    random_weights : int, optional
        Seed for random weights in the same architecture, as an untrained control. It excludes ``weights``.

    Returns
    -------
    EfficientAT

    Raises
    ------
    ParameterError
        The name does not have this form, or neither or both of ``weights`` and ``random_weights`` are given.
    WeightsError
        The file is missing or unreadable, or has missing, unexpected or wrongly shaped entries (the error lists them).
    """
    width = _width(name)
    if (weights is None) == (random_weights is None):
        raise ParameterError("weights", weights, "a checkpoint file, or None together with random_weights=seed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if random_weights is None else random_weights)
        net = EfficientATNet(width)
    if weights is not None:
        net.load_state_dict(_read(Path(weights), net, name), strict=True)
    return EfficientAT(net, name=name if random_weights is None else f"{name}-random{random_weights}", device=device)
