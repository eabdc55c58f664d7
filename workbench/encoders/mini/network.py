"""``mini``: the built-in encoder, a small transformer trained by this project and shipped in the package.

It maps 16 kHz mono to 25 frames a second. Log-mel frames go through a fixed bank of spectro-temporal modulation filters
(ripples of several rates, scales and directions, as in Chi, Ru and Shamma, "Multiresolution spectrotemporal analysis of
complex sounds", JASA 2005). A trained projection maps the magnitudes of these to the network's width, which gives layer
"0". Pre-norm transformer layers with rotary positions (Su et al., "RoFormer", 2021) follow. The model card ``mini.md``
beside this file describes its training data and its results.

Padding is "masked": the front end is local, its filters see silence beyond a clip's last frame as they do for the clip
alone, and attention leaves padded frames out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.checks import checked, choice, whole
from ...core.dependencies import load
from ...core.errors import ParameterError, WeightsError
from ...core.fingerprints import fingerprint
from ...core.saving import write_tensors
from ..interface import Encoder, Layer

FRONT_END_VERSION = 2
WEIGHTS = Path(__file__).parent / "mini.safetensors"
RATE = 16000
N_FFT, HOP = 512, 160
FLOOR = 1e-8
FRONT_ENDS = ("ripples", "log-mel")


@dataclass(frozen=True)
class MiniConfig:
    """The dimensions of the network, stored with the weights."""

    n_mels: int = 80
    """Number of mel bands (Slaney's) from 0 to 8 kHz."""
    dim: int = 256
    """Length of a frame at every layer."""
    layers: int = 6
    """Number of transformer layers; with layer "0" there is one more layer that can be read."""
    heads: int = 8
    """Number of attention heads."""
    expansion: int = 2
    """Hidden width of the feed-forward block, as a multiple of ``dim``."""
    front_end: str = "ripples"
    """What is projected to layer "0": magnitudes of modulations ("ripples") or four concatenated frames ("log-mel")."""

    def __post_init__(self):
        for entry in fields(self):
            if entry.name != "front_end":
                whole(entry.name, getattr(self, entry.name), least=1)
        choice("front_end", self.front_end, FRONT_ENDS)
        if self.dim % (2 * self.heads):
            raise ParameterError("heads", self.heads, f"a number whose double divides dim={self.dim}")


class LogMel(nn.Module):
    """Log-mel frames at 100 Hz, without a normalisation over the clip.

    The values are (ln(power + 1e-8) - ln 1e-8) / 4, so that digital silence is 0 and a full-scale sine about 4.6. The
    Hann window has 512 samples and is centred, with zeros outside the clip.
    """

    def __init__(self, n_mels: int):
        super().__init__()
        banks = load("torchaudio.functional").melscale_fbanks(
            N_FFT // 2 + 1, 0.0, RATE / 2, n_mels, RATE, norm=None, mel_scale="slaney"
        )
        window = torch.hann_window(N_FFT)
        self.register_buffer("banks", banks, persistent=False)
        self.register_buffer("window", window / (window.sum() / 2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, samples) to (B, 1 + samples // 160, n_mels)."""
        x = F.pad(x, (N_FFT // 2, N_FFT // 2))
        spectrum = torch.stft(x, N_FFT, HOP, N_FFT, self.window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return ((power.transpose(1, 2) @ self.banks + FLOOR).log() - math.log(FLOOR)) / 4.0


class _Ripples(nn.Module):
    """Magnitudes of spectro-temporal modulations around every fourth log-mel frame, in every fourth band.

    The filters are one average and 24 quadrature pairs of Hann-windowed ripples of 17 frames (170 ms) by 13 bands, with
    rates of 0, 5, 10, 20 Hz and scales of 0, .06, .12, .25 cycles a band, rising and falling.
    """

    def __init__(self) -> None:
        super().__init__()
        time, band = torch.arange(-8, 9)[:, None] / 100, torch.arange(-6, 7)[None]
        window = torch.hann_window(19, periodic=False)[1:-1, None] * torch.hann_window(15, periodic=False)[1:-1]
        filters = [window]
        for rate in (0.0, 5.0, 10.0, 20.0):
            for scale in (0.0, 0.06, 0.12, 0.25):
                for sign in (1, -1) if rate and scale else (1,):
                    for phase in (0.0, math.pi / 2) if rate or scale else ():
                        ripple = torch.cos(2 * math.pi * (rate * time + sign * scale * band) + phase) * window
                        filters.append(ripple - window * (ripple.sum() / window.sum()))
        bank = torch.stack([ripple / ripple.abs().sum() for ripple in filters])
        self.register_buffer("bank", bank[:, None], persistent=False)

    @staticmethod
    def size(n_mels: int) -> int:
        """Return the length of a frame."""
        return 25 * ((n_mels - 1) // 4 + 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Map (B, T, n_mels) to (B, (T + 3) // 4, 25 * bands)."""
        y = F.conv2d(mel[:, None], self.bank, stride=4, padding=(8, 6))
        pairs = (y[:, 1::2].square() + y[:, 2::2].square() + 1e-4).sqrt()
        return torch.cat((y[:, :1], pairs), 1).transpose(1, 2).flatten(2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to (B, heads, T, d): pairs (i, i + d/2) are rotated by an angle that grows with time."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class _TransformerLayer(nn.Module):
    def __init__(self, dim: int, heads: int, expansion: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, expansion * dim)
        self.down = nn.Linear(expansion * dim, dim)
        with torch.no_grad():  # a layer starts close to the identity, as the stem's frames are useful already
            self.out.weight *= 0.2
            self.down.weight *= 0.2

    def forward(self, y: Tensor, keys: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, time, dim = y.shape
        qkv = self.qkv(self.norm1(y)).view(batch, time, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(_rotate(q, cos, sin), _rotate(k, cos, sin), v, attn_mask=keys)
        y = y + self.out(z.transpose(1, 2).reshape(batch, time, dim))
        return y + self.down(F.gelu(self.up(self.norm2(y))))


class MiniNet(nn.Module):
    """The network, which maps waveforms and lengths to the frames of every layer.

    Parameters
    ----------
    config : MiniConfig
    """

    def __init__(self, config: MiniConfig):
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.n_mels)
        self.ripples = _Ripples() if config.front_end == "ripples" else None
        size = _Ripples.size(config.n_mels) if self.ripples else 4 * config.n_mels
        # mean and standard deviation of each of these numbers over training sounds, which the training sets
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.project = nn.Linear(size, config.dim)
        self.blocks = nn.ModuleList(
            _TransformerLayer(config.dim, config.heads, config.expansion) for _ in range(config.layers)
        )

    def modulations(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, samples) to magnitudes of ripples (B, T, 500), or to log-mel (B, T, 320), and their lengths."""
        mel = self.log_mel(x)
        counts = lengths // HOP + 1
        mel = mel * frame_mask(counts, mel.shape[1])[..., None]
        if self.ripples is None:
            mel = F.pad(mel, (0, 0, 0, -mel.shape[1] % 4)).unflatten(1, (-1, 4)).flatten(2)
            return mel, (counts + 3) // 4
        return self.ripples(mel), (counts + 3) // 4

    def stem(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, samples) to the frames of layer "0", (B, T, dim), and their lengths."""
        y, counts = self.modulations(x, lengths)
        return self.project((y - self.centre) / self.scale), counts

    def encode(
        self,
        y: Tensor,
        counts: Tensor,
        depth: int | None = None,
        *,
        changes: Mapping[int, Callable[[Tensor, Tensor], Tensor]] | None = None,
    ) -> list[Tensor]:
        """Return the frames of layers 0 to depth, from the stem's output; those in ``changes`` are changed first."""
        keys = frame_mask(counts, y.shape[1])[:, None, None]
        half = self.config.dim // self.config.heads // 2
        speed = 10000.0 ** (-torch.arange(half, device=y.device) / half)
        angle = torch.arange(y.shape[1], device=y.device)[:, None] * speed
        cos, sin = angle.cos().to(y.dtype), angle.sin().to(y.dtype)
        changes = changes or {}
        outputs = [changes[0](y, counts) if 0 in changes else y]
        for i, block in enumerate(self.blocks[:depth], 1):
            y = block(outputs[-1], keys, cos, sin)
            outputs.append(changes[i](y, counts) if i in changes else y)
        return outputs

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        y, counts = self.stem(x, lengths)
        return self.encode(y, counts), counts


def frame_mask(counts: Tensor, total: int) -> Tensor:
    """Return a mask (B, total) that is True where a frame belongs to the clip."""
    return torch.arange(total, device=counts.device) < counts[:, None]


class Mini(Encoder):
    """The built-in encoder at 16 kHz: layers "0" (projected modulations) to "6", 256-d, 25 frames a second.

    Parameters
    ----------
    net : MiniNet
    name : str, optional
    device : str or torch.device, optional
    """

    rate = RATE
    padding = "masked"
    minimum = 400

    def __init__(self, net: MiniNet, *, name: str = "mini", device: str | torch.device = "cpu"):
        self.name = name
        self.device = torch.device(device)
        self.net = net.eval().requires_grad_(False).to(self.device)
        frame_rate = RATE / HOP / 4
        self.layers = tuple(Layer(str(i), net.config.dim, frame_rate) for i in range(net.config.layers + 1))
        self.fingerprint = fingerprint(
            "mini",
            FRONT_END_VERSION,
            tuple(asdict(net.config).items()),
            self.padding,
            self.minimum,
            "float32",
            weights=net.state_dict(),
        )

    def forward(self, x: Tensor, lengths: Tensor, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch, see :meth:`Encoder.forward`. The frames of a clip do not depend on the other rows."""
        return self._encode(x, lengths, layers)

    def forward_changed(self, x, lengths, layers, at, change) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch with the frames of one layer changed, see :meth:`Encoder.forward_changed`."""
        return self._encode(x, lengths, layers, {at: change})

    def _encode(self, x, lengths, layers, changes=None) -> list[tuple[Tensor, Tensor]]:
        # samples beyond a row's length must not leak through the analysis window
        x = x * frame_mask(lengths, x.shape[1])
        if x.shape[1] < self.minimum:
            x = F.pad(x, (0, self.minimum - x.shape[1]))
        with torch.autocast(x.device.type, enabled=False):  # logarithms of half-precision spectra would be coarse
            y, counts = self.net.stem(x, lengths.clamp(min=self.minimum))
        outputs = self.net.encode(y, counts, max(layers), changes=changes)
        return [(outputs[i], counts) for i in layers]


@checked
def save_mini(net: MiniNet, path: Path | str, *, note: dict[str, str] | None = None) -> None:
    """Write a network as float16 safetensors with its configuration, atomically.

    Parameters
    ----------
    net : MiniNet
    path : path
    note : dict of str to str, optional
        Entries for the file's metadata, such as command and steps.
    """
    path = Path(path)
    state = {key: value.half() for key, value in net.state_dict().items()}
    write_tensors(path, state, {"config": json.dumps(asdict(net.config)), **(note or {})})


def _read(path: Path) -> MiniNet:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise WeightsError(f"{path}: {problem}; it should be a file with the weights of mini (safetensors)")
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    if "config" not in metadata:
        raise WeightsError(f"{path}: its metadata has no 'config'; weights of mini are written by save_mini")
    net = MiniNet(MiniConfig(**json.loads(metadata["config"])))
    expected = net.state_dict()
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    wrong = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if missing or unexpected or wrong:
        raise WeightsError(
            f"{path} does not fit mini: missing keys {missing}, unexpected keys {unexpected}, wrong shapes {wrong}"
        )
    net.load_state_dict(state)
    return net


@checked
def load_mini(
    *,
    device: str | torch.device = "cpu",
    weights: Path | str | None = None,
    random_weights: int | None = None,
) -> Mini:
    """Load the built-in encoder with the weights of the package, with others, or with seeded random ones.

    Parameters
    ----------
    device : str or torch.device, optional
    weights : path, optional
        A file written by :func:`save_mini`; by default the one in the package.
    random_weights : int, optional
        Seed for random weights in the same architecture, as an untrained control. It excludes ``weights``.

    Returns
    -------
    Mini

    Raises
    ------
    ParameterError
        Both ``weights`` and ``random_weights`` are given.
    WeightsError
        The file is missing or unreadable, or has missing, unexpected or wrongly shaped entries (the error lists them).
    """
    if random_weights is None:
        return Mini(_read(WEIGHTS if weights is None else Path(weights)), device=device)
    if weights is not None:
        raise ParameterError("weights", weights, "None when random_weights is given")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_weights)
        net = MiniNet(MiniConfig())
    return Mini(net, name=f"mini-random{random_weights}", device=device)
