"""EfficientAT: MobileNetV3 audio taggers trained on AudioSet, at any width (mn01_as ... mn40_as).

Own implementation of the family of Schmid, Koutini and Widmer, "Efficient large-scale audio tagging via
transformer-to-CNN knowledge distillation", ICASSP 2023; weights (MIT) are published as release files of
github.com/fschmid56/EfficientAT.

Padding: every convolution near the end of a clip and every squeeze-excitation block (a mean over the whole
map) would see zeros appended to a clip, so the policy is "equal": only clips of equal length share a batch,
and then the numbers are those of the clip alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.checks import checked
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
    """Nearest multiple of 8, never below 8 nor more than 10 % below ``channels``."""
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
    """Squeeze-excitation over the whole map: mean, two linear maps, ReLU between, Sigmoid after."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, _round8(channels / 4))
        self.fc2 = nn.Linear(_round8(channels / 4), channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(F.relu(self.fc1(x.mean((2, 3)))))
        return x * gate.sigmoid()[:, :, None, None]


class _Squeeze(nn.Module):
    """One gate under the name the published checkpoints use (they allow several side by side)."""

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
    """The network alone: (B, 1, 128, T) normalised log-mel in, AudioSet logits (B, 527) out.

    Parameters
    ----------
    width : float
        Multiplier of every channel count (0.4 for mn04_as), rounded to multiples of 8.
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
    """Waveform to the log-mel image the networks were trained on, evaluation setting (no augmentation)."""

    def __init__(self) -> None:
        super().__init__()
        banks, _ = load("torchaudio.compliance.kaldi").get_mel_banks(
            N_MELS, N_FFT, RATE, 0.0, F_MAX, 100.0, -500.0, 1.0
        )
        # Kaldi's banks leave out the Nyquist bin: it gets zero weight
        self.register_buffer("banks", F.pad(banks.float(), (0, 1)), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, samples) at 32 kHz, samples >= 514, to (B, 1, 128, 1 + (samples - 1) // 320)."""
        x = x[:, 1:] - 0.97 * x[:, :-1]
        spectrum = torch.stft(x, N_FFT, HOP, WINDOW, self.window, center=True, return_complex=True)
        mel = self.banks @ spectrum.abs().square()
        return ((mel + 1e-5).log()[:, None] + 4.5) / 5


class EfficientAT(Encoder):
    """A frozen EfficientAT tagger: 17 taps ``features.0`` ... ``features.16`` and AudioSet logits.

    Frames of a tap are the mean over frequency of its map, (B, T, C); the mean over time of ``features.16`` is
    the embedding its classifier reads (384-d at width 0.4). 32 kHz in; taps run at 50 to 3.125 frames a second.

    Parameters
    ----------
    net : EfficientATNet
    name : str
        What :attr:`name` says, "mn04_as" for instance.
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
        """See :meth:`Encoder.forward`; raises ParameterError when the lengths differ."""
        outputs = []
        y = self._mel(x, lengths)
        for i in range(max(layers) + 1):
            y = self.net.features[i](y)
            if i in layers:
                frames = y.mean(2).transpose(1, 2)
                outputs.append((frames, torch.full_like(lengths, frames.shape[1])))
        return outputs

    def logits(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Scores of the 527 AudioSet classes before the sigmoid.

        Parameters
        ----------
        x : Tensor, float32 (B, samples)
            At 32 kHz, on :attr:`device`. Gradients flow to it unless inference mode is on.
        lengths : Tensor, int64 (B,)
            All equal.

        Returns
        -------
        Tensor, float32 (B, 527)
            In the order of AudioSet's class list.

        Raises
        ------
        ParameterError
            When the lengths differ.
        """
        return self.net(self._mel(x, lengths))


def _width(name: str) -> float:
    match = re.match(r"mn(\d\d)(?!\d)", name)
    if match is None or match.group(1) == "00":
        raise ParameterError("name", name, "of the form mn04_as: two digits that are ten times the width (01 to 40)")
    return int(match.group(1)) / 10


def _read(path: Path, net: EfficientATNet, name: str) -> dict[str, Tensor]:
    """The state dict in a checkpoint, checked key by key and shape by shape against the network."""
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
    """An EfficientAT encoder from a published checkpoint, or with seeded random weights.

    Parameters
    ----------
    name : str
        "mn04_as" and the like; the two digits are ten times the width, which the checkpoint must fit.
    weights : path or None
        The ``.pt`` file (a plain state dict, loaded with ``weights_only``); None only with ``random_weights``.
    device : str or torch.device, optional
    random_weights : int, optional
        Seed; the architecture without training, as a control. Not together with ``weights``.

    Returns
    -------
    EfficientAT

    Raises
    ------
    ParameterError
        Name of no known form, or neither or both of ``weights`` and ``random_weights``.
    WeightsError
        File missing, unreadable, or with missing, unexpected or misshapen entries (all listed).
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
