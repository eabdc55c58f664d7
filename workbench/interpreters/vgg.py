"""The network that arXiv 2202.11479 explains: its front end, its layers, and its published AudioSet weights.

The weights are those of Kumar, Khadkevich, Fügen: Knowledge transfer from weakly labeled audio using convolutional
neural network for sound events and scenes (ICASSP 2018, arXiv 1711.01369), published as
``mx-h64-1024_0d3-1.17.pkl`` in the repository anuragkr90/weak_feature_extractor.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import audio
from ..core.checks import checked, whole
from ..core.errors import ParameterError, WeightsError
from ..core.weights import Wanted, find

#: Shortest clip, in samples, for which the paper's VGG has enough frames to pool.
LEAST_VGG = 512 * 127
#: Numbers of the published network's layers that are a convolution with batch norm; those between them pool.
CONVOLUTIONS = (1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 18)
#: The published weights, as :func:`find_audioset` looks for them.
AUDIOSET = Wanted(
    "vgg",
    "https://github.com/anuragkr90/weak_feature_extractor",
    files=("mx-h64-1024_0d3-1.17.pkl",),
    licence="none stated",
    kind="classifier",
)


class KumarMels(nn.Module):
    """Front end of arXiv 2202.11479: 10 log10 of 128 mel bands of magnitude (not power), at most 80 below the peak."""

    def __init__(self, rate: int = 44100, *, n_fft: int = 1024, hop: int = 512, mels: int = 128):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("filters", audio.mel_filters(rate, n_fft=n_fft, n_mels=mels).T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Map waveforms (B, samples) to mel spectrograms (B, 1, frames, mels)."""
        mel = self.filters @ audio.spectrogram(x, n_fft=self.n_fft, hop=self.hop, power=1.0)
        level = 10 * mel.clamp_min(1e-10).log10()
        return level.maximum(level.amax((1, 2), keepdim=True) - 80).mT[:, None]


class KumarVGG(nn.Module):
    """The classifier that arXiv 2202.11479 explains: the network of Kumar et al. (ICASSP 2018) and a small head.

    Six stages, five with two and the last with one 3 x 3 convolution with batch norm, are each followed by max pooling.
    Then comes a 2 x 2 convolution to 1024 channels. Maps are (channels, time, mel); the paper uses those of
    ``stages.3`` to ``stages.5``.

    Parameters
    ----------
    classes : int
        Number of classes.
    hidden : int
        Number of channels of the head: 256 for ESC-50, 512 for SONYC-UST.
    dropout : float
        Dropout probability: .2 for ESC-50, .15 for SONYC-UST.
    """

    TAPS = ("stages.3", "stages.4", "stages.5")

    @checked
    def __init__(self, classes: int, *, hidden: int = 256, dropout: float = 0.2):
        super().__init__()
        whole("classes", classes, least=1)
        whole("hidden", hidden, least=1)
        if not 0 <= dropout < 1:
            raise ParameterError("dropout", dropout, "from 0 to below 1")
        self.sizes = {"hidden": hidden, "dropout": dropout}
        self.front_end = KumarMels()
        widths = [(1, 16, 16), (16, 32, 32), (32, 64, 64), (64, 128, 128), (128, 256, 256), (256, 512)]
        self.stages = nn.ModuleList(
            nn.Sequential(*(part for a, b in zip(w[:-1], w[1:], strict=True) for part in _convolution(a, b, 3, 1)))
            for w in widths
        )
        self.last = nn.Sequential(*_convolution(512, 1024, 2, 0))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Sequential(
            nn.Conv2d(1024, hidden, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(1), nn.Dropout(dropout)
        )
        self.out = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map waveforms (B, samples) at 44.1 kHz to scores (B, C)."""
        y = self.front_end(x)
        for stage in self.stages:
            y = self.pool(stage(y))
        return self.out(self.head(self.last(y)))


def _convolution(inputs: int, outputs: int, size: int, padding: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, size, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()]


class VGGBody(nn.Module):
    """A KumarVGG without front end and last layer: (B, frames, mels), or (B, 1, frames, mels), to (B, hidden)."""

    def __init__(self, network: KumarVGG):
        super().__init__()
        self.stages, self.last, self.pool, self.head = network.stages, network.last, network.pool, network.head

    def forward(self, x: Tensor) -> Tensor:
        y = x.reshape(len(x), 1, *x.shape[-2:])
        for stage in self.stages:
            y = self.pool(stage(y))
        return self.head(self.last(y))


def read_state(weights: str | os.PathLike) -> dict[str, Tensor]:
    """Return the state dict in a file that torch wrote.

    Raises
    ------
    WeightsError
        If the file is missing, unreadable or holds anything else.
    """
    if not Path(weights).is_file():
        problem = "is a folder" if Path(weights).is_dir() else "no such file"
        raise WeightsError(f"{weights}: {problem}; a file with a state dict is expected")
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds of errors; they get one message
        reason = (str(error).splitlines() or [""])[0]
        raise WeightsError(f"{weights}: not a state dict ({type(error).__name__}: {reason})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{weights}: not a state dict but a {type(state).__name__}")
    return state


def find_audioset() -> Path | None:
    """Return the file of the published AudioSet weights in a folder of ``WORKBENCH_WEIGHTS``; None if it is in none."""
    try:
        return find(AUDIOSET)
    except WeightsError:
        return None


def load_audioset(network: KumarVGG, weights: str | os.PathLike) -> KumarVGG:
    """Load published AudioSet weights into all layers below the head, which are then trained no more.

    The published network has the same convolutions in the same order, and behind them one of 527 classes, which is left
    out. Its layers are numbered through, ``layer1.0.weight`` to ``layer19.0.bias``, with or without ``module.``
    before them.

    Parameters
    ----------
    network : KumarVGG
        Changed in place.
    weights : path
        The published file.

    Returns
    -------
    KumarVGG
        The same network.

    Raises
    ------
    WeightsError
        If the file is missing, cannot be read, or holds another network.
    """
    state = {str(key).removeprefix("module."): value for key, value in read_state(weights).items()}
    blocks = [pair for stage in (*network.stages, network.last) for pair in zip(stage[::3], stage[1::3], strict=True)]
    for place, block in zip(CONVOLUTIONS, blocks, strict=True):
        for part, module in enumerate(block):
            for name, own in module.state_dict().items():
                key = f"layer{place}.{part}.{name}"
                if key not in state and name == "num_batches_tracked":  # files of torch before 0.4.1 have none
                    continue
                shape = tuple(state[key].shape) if key in state else None
                if shape != tuple(own.shape):
                    found = "is missing" if shape is None else f"has the shape {shape}"
                    raise WeightsError(f"{weights}: {key} {found}; {tuple(own.shape)} is expected: another network")
                own.copy_(state[key])
            module.requires_grad_(False)
    return network
