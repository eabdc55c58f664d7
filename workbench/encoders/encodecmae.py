"""EnCodecMAE: masked autoencoders that predict EnCodec's codes, from its latents (version 1) or from mel bands (2).

This is an implementation of the model of Pepino, Riera and Ferrer, "EnCodecMAE: leveraging neural codecs for universal
audio representation learning" (2023, arXiv 2309.07391), which reads the released checkpoints. A front end turns 24 kHz
sound into frames; a linear map, sinusoidal positions with a learned scale and a ResiDual transformer (:mod:`.residual`)
follow. No frame is masked out, and the decoder of the pretraining is not built.

- Version 1 (``encodecmae-small``, ``-base``, ``-large``): the front end is the encoder of EnCodec 24 kHz (Defossez et
  al. 2022, arXiv 2210.13438), with 128 continuous numbers a frame and 75 frames a second. The network is that of
  transformers, with the weights of the checkpoint. PECMAE (arXiv 2402.09318) uses ``encodecmae-base``.
- Version 2 (``encodecmae-mel-...``): the front end computes 256 log-mel bands as Kaldi does (Hann window of 26.56 ms
  every 13.28 ms, in samples 637 and 318; HTK-compatible; 20 Hz to 12 kHz), then (x + 6.12) / 4.82, at 75.5 frames a
  second. The entries of its checkpoints have other names. No file of version 2 was available when this was written:
  layout and front end follow the authors' code, sizes and checksums of the files are not recorded, and a file that does
  not fit is refused with the first keys that differ.

Layer "0" is the input of the transformer, the layers from "1" on are its normalised stream, and the last layer is its
output, as in the authors' feature extraction; see :meth:`.residual.ResiDualStack.outputs`.

Padding is "masked": the front end gets each clip at its own length, because EnCodec's convolutions pad by reflection at
the ends of a clip, and attention leaves padded frames out. As in the authors' code, a last frame of fewer than 320
samples is returned but not attended to; :meth:`EncodecMAE.unmasked` returns an encoder that attends to it. Clips
shorter than one frame (320 samples; version 2: 637) are zero-padded to it. The authors cut long sounds into windows of
4 s, each with positions from 0; here a clip is one window, so segment it first to get theirs.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.checks import checked
from ..core.dependencies import load
from ..core.errors import ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from .catalog import CONFIGS, EncodecMAEConfig
from .interface import Encoder, Layer
from .residual import ResiDualStack, released_to_own, sinusoidal

FRONT_END_VERSION = 1
RATE, HOP = 24000, 320
LATENT, BANDS = 128, 256
"""Length of a frame of the two front ends; the first linear map of a checkpoint shows which one it was trained with."""
MEL = {
    "num_mel_bins": BANDS,
    "sample_frequency": float(RATE),
    "frame_length": 26.56,
    "frame_shift": 13.28,
    "htk_compat": True,
    "use_energy": False,
    "window_type": "hanning",
    "dither": 0.0,
}
MEL_WINDOW, MEL_HOP = 637, 318  # torchaudio rounds the two times down to samples
MEL_MEAN, MEL_STD = -6.12, 4.82
NESTED = "encoder.encodecmae_model."
"""Prefix of the model's entries in the checkpoint of a summary autoencoder."""
NOT_NEEDED = ("target_encoder.", "decoder.", "decoder_projector.", "head.", "extra_head.", "masker.", "loss.")
"""Prefixes of entries that only pretraining uses: codebooks, decoder, prediction heads."""
SECOND_NAMES = {
    "wav_encoder.post_net.": "feat_projector.",
    "wav_encoder.encoder.": "wav_encoder.",
    "visible_encoder.post_net.": "decoder_projector.",
    "masker.positional_encoder.": "positional_encoder.",
}
"""Prefix of entries in version 2 -> the prefix of version 1."""


def encodec_half(half: str, settings: object = None) -> nn.Module:
    """Build the encoder or the decoder of EnCodec without training; the codebooks are not built.

    Convolutions are initialised Kaiming-normal with biases of 0; with torch's default, biases would exceed the signal.

    ``half`` is "encoder", which maps (B, 1, samples) to (B, 128, T), or "decoder", which maps them back. ``settings``
    is an EncodecConfig of transformers, by default that of the 24 kHz model.
    """
    from transformers import EncodecConfig
    from transformers.models.encodec.modeling_encodec import EncodecDecoder, EncodecEncoder

    kind = {"encoder": EncodecEncoder, "decoder": EncodecDecoder}[half]
    net = kind(EncodecConfig() if settings is None else settings)
    for module in net.modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            module.weight = nn.init.kaiming_normal_(torch.empty_like(module.weight))
            nn.init.zeros_(module.bias)
    return net


def encodec_entries(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of EnCodec's encoder or decoder from transformers' older files, or Meta's, to today's names.

    Meta's ``model.N`` is ``layers.N``, its ``.conv.conv.`` and ``.convtr.convtr.`` are ``.conv.``; the weight norm's
    ``weight_g`` and ``weight_v`` are ``parametrizations.weight.original0`` and ``original1``.
    """
    renamed = {}
    for key, value in state.items():
        key = f"layers.{key.removeprefix('model.')}" if key.startswith("model.") else key
        key = key.replace(".conv.conv.", ".conv.").replace(".convtr.convtr.", ".conv.")
        key = key.replace(".weight_g", ".parametrizations.weight.original0")
        renamed[key.replace(".weight_v", ".parametrizations.weight.original1")] = value
    return renamed


class _LatentFront(nn.Module):
    """EnCodec's encoder without quantisation, from (B, samples) of equal length to (B, ceil(samples / 320), 128)."""

    hop, minimum = HOP, HOP

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encodec_half("encoder")

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x[:, None]).transpose(1, 2)


class _MelFront(nn.Module):
    """Kaldi's log-mel bands, normalised: (B, samples) of equal length to (B, 1 + (samples - 637) // 318, 256)."""

    hop, minimum = MEL_HOP, MEL_WINDOW

    def forward(self, x: Tensor) -> Tensor:
        fbank = load("torchaudio.compliance.kaldi").fbank
        return torch.stack([(fbank(row[None], **MEL) - MEL_MEAN) / MEL_STD for row in x])


class EncodecMAENet(nn.Module):
    """The network: front end, linear map, positions and transformer; see the module.

    Parameters
    ----------
    config : EncodecMAEConfig
    """

    def __init__(self, config: EncodecMAEConfig):
        super().__init__()
        self.config = config
        self.front = _MelFront() if config.mel else _LatentFront()
        self.projector = nn.Linear(BANDS if config.mel else LATENT, config.dim)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.visible = ResiDualStack(config.dim, config.layers, config.heads)

    def features(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, samples) to the front end's frames (B, T, 128 or 256), 0 where padded, and their number (B,)."""
        by_row: dict[int, Tensor] = {}
        for n in lengths.unique().tolist():  # a clip's frames depend on where it ends
            rows = (lengths == n).nonzero()[:, 0]
            by_row |= zip(rows.tolist(), self.front(x[rows, :n]), strict=True)
        clips = [by_row[row] for row in range(len(x))]
        counts = torch.tensor([len(clip) for clip in clips], device=lengths.device)
        return nn.utils.rnn.pad_sequence(clips, batch_first=True), counts

    def encode(self, features: Tensor, attended: Tensor, depth: int | None = None, changes=None) -> list[Tensor]:
        """Return frames (B, T, D) of layers 0 to depth; only the first ``attended`` (B,) frames are attended to.

        ``changes`` is as in :meth:`.residual.ResiDualStack.outputs`.
        """
        y = self.projector(features)
        y = y + self.scale * sinusoidal(y.shape[1], self.config.dim, device=y.device)
        padding = torch.arange(y.shape[1], device=y.device) >= attended[:, None]
        return self.visible.outputs(y, padding if padding.any() else None, depth=depth, changes=changes)


class EncodecMAE(Encoder):
    """A frozen EnCodecMAE behind the encoder interface; see the module for layers and padding.

    Parameters
    ----------
    net : EncodecMAENet
    name : str
    device : str or torch.device
    mask_incomplete : bool
        Whether attention leaves out a last frame of fewer than 320 samples, as in the authors' feature extractor.
    """

    rate = RATE
    padding = "masked"

    def __init__(
        self, net: EncodecMAENet, *, name: str, device: str | torch.device = "cpu", mask_incomplete: bool = True
    ):
        import transformers

        self.name, self.mask_incomplete = name, mask_incomplete
        self.device = torch.device(device)
        self.net = net.eval().requires_grad_(False).to(self.device)
        config = net.config
        self.minimum = net.front.minimum
        self.layers = tuple(Layer(str(i), config.dim, RATE / net.front.hop) for i in range(config.layers + 1))
        library = ".".join(transformers.__version__.split(".")[:2])  # its code is the front end of version 1
        parts = ("encodecmae", FRONT_END_VERSION, config.mel or library, config.heads, self.padding, self.minimum)
        parts = parts if mask_incomplete else (*parts, "unmasked")
        self.fingerprint = fingerprint(*parts, "float32", weights=net.state_dict())

    def unmasked(self) -> EncodecMAE:
        """Return an encoder with this network that attends to every frame of a clip, an incomplete last one too.

        This is what the authors' network computes if it is given the length of a whole window with a shorter clip, as
        the script does that the paper of PECMAE (arXiv 2402.09318) was computed with.
        """
        return EncodecMAE(self.net, name=self.name, device=self.device, mask_incomplete=False)

    def forward(self, x: Tensor, lengths: Tensor, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch, see :meth:`Encoder.forward`. The frames of a clip do not depend on the other rows."""
        return self._encode(x, lengths, layers)

    def forward_changed(self, x, lengths, layers, at, change) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch with the frames of one layer changed, see :meth:`Encoder.forward_changed`.

        The second stream of the network is not changed (:meth:`.residual.ResiDualStack.outputs`).
        """
        return self._encode(x, lengths, layers, at, change)

    def _encode(self, x, lengths, layers, at=None, change=None) -> list[tuple[Tensor, Tensor]]:
        x = x.masked_fill(torch.arange(x.shape[1], device=x.device) >= lengths[:, None], 0.0)
        x = F.pad(x, (0, max(0, self.minimum - x.shape[1])))
        lengths = lengths.clamp(min=self.minimum)
        with torch.autocast(x.device.type, enabled=False):  # the front end stays in float32
            features, counts = self.net.features(x, lengths)
        attended = (lengths // HOP).minimum(counts) if self.mask_incomplete else counts
        changes = {} if at is None else {at: lambda frames: change(frames, counts)}
        outputs = self.net.encode(features, attended, max(layers), changes)
        return [(outputs[i], counts) for i in layers]


def read_checkpoint(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint file by name, mapped into memory if possible; code in the file is never run.

    Parameters
    ----------
    path : path
        File with a state dict, or with a dict that holds one as "state_dict" (with optimiser states, for instance).

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    WeightsError
        The file is missing or damaged, holds no state dict, or holds objects other than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise WeightsError(f"{path}: {problem}; it should be a file with a checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises a dozen kinds; the reader needs one message
        reason = (str(error).splitlines() or [""])[0]
        raise WeightsError(
            f"{path}: not a checkpoint of tensors and plain values ({type(error).__name__}: {reason})"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: expected a dict of tensors, got {type(state).__name__}")
    return state


def fit(module: nn.Module, state: Mapping[str, Tensor], *, path: Path | str, name: str) -> None:
    """Load a state dict into a module whose keys and shapes must be exactly the same.

    Raises
    ------
    WeightsError
        Keys are missing, unexpected or of another shape; the error says how many, and names the first of them.
    """
    own = module.state_dict()
    shapes = [
        f"{key} {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": shapes,
    }
    listed = {what: "; ".join(keys[:3]) + " ..." * (len(keys) > 3) for what, keys in problems.items()}
    differences = [f"{len(keys)} {what}: {listed[what]}" for what, keys in problems.items() if keys]
    if differences:
        raise WeightsError(f"{path} does not fit {name}: " + ". ".join(differences))
    module.load_state_dict({key: value.float() for key, value in state.items()})


def _own_entries(
    state: Mapping[str, Tensor], config: EncodecMAEConfig, *, path: Path | str, name: str
) -> dict[str, Tensor]:
    """Return the entries of a released state dict that :class:`EncodecMAENet` has, in its names and channel order.

    The state dict may be of version 1, of version 2, or of a summary autoencoder that contains version 1. If it has no
    EnCodecMAE, or one with another front end, a WeightsError that begins with ``path`` is raised.
    """
    if any(key.startswith(NESTED) for key in state):
        state = {key.removeprefix(NESTED): value for key, value in state.items() if key.startswith(NESTED)}
    if "wav_encoder.post_net.weight" in state:
        state = {_first_name(key): value for key, value in state.items()}
    if "feat_projector.weight" not in state:
        raise WeightsError(f"{path}: no EnCodecMAE checkpoint, its keys begin with {', '.join(list(state)[:3])}")
    inputs, expected = state["feat_projector.weight"].shape[-1], BANDS if config.mel else LATENT
    if inputs != expected:
        kinds = {LATENT: "EnCodec latents (encodecmae-small, -base, -large)", BANDS: "mel bands (encodecmae-mel-...)"}
        raise WeightsError(
            f"{path} is of another version than {name}: it takes {inputs} {kinds.get(inputs, 'numbers')} a frame, "
            f"{name} takes {expected} {kinds[expected]}"
        )
    parts: dict[str, dict[str, Tensor]] = {"wav_encoder.model.": {}, "visible_encoder.": {}, "": {}}
    for key, value in state.items():
        if not key.startswith(NOT_NEEDED):
            prefix = next(prefix for prefix in parts if key.startswith(prefix))
            parts[prefix][key.removeprefix(prefix)] = value
    latent, visible, rest = parts.values()
    try:
        visible = released_to_own(visible, config.heads)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    own = {f"front.encoder.{key}": value for key, value in encodec_entries(latent).items()}
    own |= {f"visible.{key}": value for key, value in visible.items()}
    names = {"feat_projector.weight": "projector.weight", "feat_projector.bias": "projector.bias"}
    names["positional_encoder.scale"] = "scale"
    return own | {names.get(key, key): value for key, value in rest.items()}


def _first_name(key: str) -> str:
    """Return the name in version 1 of an entry of version 2."""
    prefix = next((prefix for prefix in SECOND_NAMES if key.startswith(prefix)), None)
    return key if prefix is None else SECOND_NAMES[prefix] + key.removeprefix(prefix)


@checked
def load_encodecmae(
    name: str,
    *,
    weights: Path | str | None,
    device: str | torch.device = "cpu",
    random_weights: int | None = None,
) -> EncodecMAE:
    """Load an EnCodecMAE from a released checkpoint, or make one with seeded random weights.

    Parameters
    ----------
    name : str
        One of :data:`CONFIGS`.
    weights : path or None
        ``model.pt``, or the checkpoint of a summary autoencoder that holds the model; None only with
        ``random_weights``.
    device : str or torch.device
    random_weights : int, optional
        Seed for random weights in the same architecture, front end included, as an untrained control.

    Raises
    ------
    ParameterError
        The name is unknown, or neither or both of ``weights`` and ``random_weights`` are given.
    WeightsError
        The file is missing or damaged, or is of another version or size (the error names the first keys that differ).
    """
    if name not in CONFIGS:
        raise ParameterError("name", name, f"among {', '.join(CONFIGS)}")
    if (weights is None) == (random_weights is None):
        raise ParameterError("weights", weights, "a checkpoint file, or None together with random_weights=seed")
    config = CONFIGS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if random_weights is None else random_weights)
        net = EncodecMAENet(config)
    if weights is not None:
        fit(net, _own_entries(read_checkpoint(weights), config, path=weights, name=name), path=weights, name=name)
    return EncodecMAE(net, name=name if random_weights is None else f"{name}-random{random_weights}", device=device)
