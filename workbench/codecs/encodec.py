"""``encodec``: EnCodec's continuous latents, before quantisation, and its decoder.

It maps 24 kHz mono to 75 frames a second of 128 numbers (Defossez et al., "High fidelity neural audio compression",
2022, arXiv 2210.13438). The two networks are those of transformers. The codebooks are neither built nor read, so that
only the bottleneck of 128 numbers loses information. The latents are the features that the summary autoencoder of
PECMAE (arXiv 2402.09318) generates, and the input of EnCodecMAE.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.checks import checked, seed
from ..core.errors import ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from ..encoders import encodecmae
from .interface import Codec

VERSION = 1
WEIGHTS = "model.safetensors"
ROWS = 16
"""Number of sounds in a batch; each second of a sound takes 20 MB."""


class EncodecCodec(Codec):
    """EnCodec's encoder and decoder as a codec.

    A frame depends on its 320 samples and on those before them; the last frame of a sound may have fewer samples. The
    first frames also depend on the first 100 ms, which EnCodec mirrors before the beginning of a sound.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        Networks that map (B, 1, samples) to (B, dim, T), and back.
    settings : transformers.EncodecConfig
    name : str
    device : str or torch.device
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        settings,
        *,
        name: str = "encodec",
        device: str | torch.device = "cpu",
    ):
        self.name = name
        self.device = torch.device(device)
        self.rate, self.dim, self.hop = settings.sampling_rate, settings.hidden_size, settings.hop_length
        self.encoder = encoder.eval().requires_grad_(False).to(self.device)
        self.decoder = decoder.eval().requires_grad_(False).to(self.device)
        weights = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
        weights |= {f"decoder.{key}": value for key, value in decoder.state_dict().items()}
        self.fingerprint = fingerprint("encodec", VERSION, self.rate, self.hop, weights=weights)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Encode waveforms into continuous latents, which are not quantised; see :meth:`Codec.encode`."""
        x = self.check_waveforms(x)
        return torch.cat([self.encoder(part[:, None]) for part in x.split(ROWS)]).transpose(1, 2)

    @torch.no_grad()
    def decode(self, latents: Tensor, *, length: int | None = None, seed: int = 0) -> Tensor:
        """Decode latents, see :meth:`Codec.decode`; the result does not depend on `seed`."""
        latents, length = self.check_latents(latents, length, seed=seed)
        parts = latents.transpose(1, 2).split(ROWS)
        return torch.cat([self.decoder(part)[:, 0] for part in parts])[:, :length]


@checked
def load_encodec(
    *,
    folder: Path | str | None,
    device: str | torch.device = "cpu",
    random_weights: int | None = None,
) -> EncodecCodec:
    """Load EnCodec from a model folder of transformers, or make it with seeded random weights.

    Parameters
    ----------
    folder : path or None
        Folder with config.json and model.safetensors, such as facebook/encodec_24khz; None only with
        ``random_weights``.
    device : str or torch.device
    random_weights : int, optional
        Seed for random weights in the networks of the 24 kHz model, as an untrained control.

    Raises
    ------
    ParameterError
        Neither or both of ``folder`` and ``random_weights`` are given, or the model is stereo or scales its sound.
    WeightsError
        A file is missing or damaged, or has entries that are not EnCodec's (the error names the first of them).
    """
    if (folder is None) == (random_weights is None):
        raise ParameterError("folder", folder, "a model folder, or None together with random_weights=seed")
    if random_weights is not None:
        seed(random_weights, "random_weights")
    settings = _settings(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if random_weights is None else random_weights)
        halves = {half: encodecmae.encodec_half(half, settings) for half in ("encoder", "decoder")}
    if random_weights is not None:
        return EncodecCodec(*halves.values(), settings, name=f"encodec-random{random_weights}", device=device)
    path = Path(folder) / WEIGHTS
    state = _read(path)
    for half, net in halves.items():
        part = {key.removeprefix(f"{half}."): value for key, value in state.items() if key.startswith(f"{half}.")}
        encodecmae.fit(net, encodecmae.encodec_entries(part), path=path, name=f"the {half} of EnCodec")
    return EncodecCodec(*halves.values(), settings, device=device)


def _settings(folder: Path | str | None):
    """Return the transformers configuration in a folder, by default that of the 24 kHz model."""
    from transformers import EncodecConfig

    if folder is None:
        return EncodecConfig()
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; a model folder holds config.json and {WEIGHTS}") from error
    except ValueError as error:
        raise WeightsError(f"{path}: not valid json ({error})") from error
    if config.get("model_type") != "encodec":
        raise ParameterError("model_type", config.get("model_type"), f"'encodec' in {path}")
    settings = EncodecConfig.from_dict(config)
    if settings.audio_channels != 1 or settings.normalize:
        layout = f"{settings.audio_channels} channel(s), normalize={settings.normalize}"
        raise ParameterError("folder", str(folder), f"a mono EnCodec that keeps the level (24 kHz, say), not {layout}")
    return settings


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"{path}: no such file; it should hold the weights of EnCodec")
    try:
        with safe_open(str(path), "pt") as file:  # the codebooks, a third of the file, stay on disk
            keys = [key for key in file.keys() if not key.startswith("quantizer.")]  # noqa: SIM118 (not a dict)
            return {key: file.get_tensor(key) for key in keys}
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
