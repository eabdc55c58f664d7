"""Save summary autoencoders to files and load them: :func:`save_autoencoder` and :func:`load_autoencoder`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..codecs import Codec, load_codec
from ..core.checks import checked
from ..core.errors import ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from ..core.fitting import VERSION, restored
from ..core.saving import write_tensors
from ..encoders import Encoder, load_encoder
from .autoencoder import SummaryAutoencoder
from .catalog import BUILT_IN, PUBLISHED, known_autoencoders
from .network import SummaryConfig, SummaryNet
from .published import load_published, published_name
from .window import WindowConfig, WindowNet

WEIGHTS = Path(__file__).parent / "mini_mel"
NETWORKS = {"transformer": (SummaryConfig, SummaryNet), "window": (WindowConfig, WindowNet)}
"""Networks between encoder and codec: the classes of configuration and network, by name."""


@checked
def save_autoencoder(autoencoder: SummaryAutoencoder, path: Path | str, *, note: dict[str, str] | None = None) -> None:
    """Write the network in float16 and the settings to a safetensors file, atomically.

    Parameters
    ----------
    autoencoder : SummaryAutoencoder
        The autoencoder; its encoder and codec are stored by name and fingerprint only.
    path : path
        Name of the file.
    note : dict of str to str, optional
        Entries that are added to the metadata of the file.

    Raises
    ------
    WeightsError
        If the file cannot be written.
    """

    if not isinstance(autoencoder, SummaryAutoencoder):
        raise ParameterError("autoencoder", type(autoencoder).__name__, "a SummaryAutoencoder")
    path = Path(path)
    if not path.name:
        raise ParameterError("path", str(path), "the name of a file")
    state = autoencoder.net.state_dict()
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    settings = {
        "network": next(name for name, (_, kind) in NETWORKS.items() if isinstance(autoencoder.net, kind)),
        "config": asdict(autoencoder.net.config),
        "layer": autoencoder.layer,
        "seconds": autoencoder.seconds,
        "level": autoencoder.level,
        "encoder": [autoencoder.encoder.name, autoencoder.encoder.fingerprint],
        "codec": [autoencoder.codec.name, autoencoder.codec.fingerprint],
        "version": VERSION,
    }
    try:
        write_tensors(path, state, {"settings": json.dumps(settings), **(note or {})})
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error})") from error


@checked
def load_autoencoder(
    name_or_path: str | os.PathLike = "mini-mel",
    *,
    weights: str | os.PathLike | None = None,
    device: str | torch.device = "auto",
    encoder: Encoder | None = None,
    codec: Codec | None = None,
    fetch: bool = False,
) -> SummaryAutoencoder:
    """Load a summary autoencoder with its weights.

    Parameters
    ----------
    name_or_path : str or path
        "mini-mel", the built-in autoencoder (frames of ``mini``, latents of the mel codec, 2 s); a file written by
        :func:`save_autoencoder`; or "pecmae-4s", "pecmae-1s" or "pecmae-10s", the released ones, whose file also
        contains the encoder EnCodecMAE; or the file of a released one, which is recognised by its SHA-256.
    weights : path, optional
        The file of a released one, or a folder that holds it; another file of the same layout is loaded with a warning,
        with the window of the name. By default it is looked for in the folders of
        ``WORKBENCH_WEIGHTS`` and in the download cache.
    device : str or torch.device
        Device on which encoder and codec are loaded; those that are given stay on theirs.
    encoder, codec : optional
        The frozen parts, if they are already loaded; by default those with which the weights were trained.
    fetch : bool
        Whether to download missing weights of a released autoencoder; size and licence are printed first.

    Returns
    -------
    SummaryAutoencoder

    Raises
    ------
    WeightsError
        If the file is missing, damaged or inconsistent, the encoder or codec is not that of the training, or a released
        file is loaded by the name of another one.
    """
    if not isinstance(device, (str, torch.device)):
        raise ParameterError("device", device, "text such as 'auto' or 'cpu', or a torch device")
    name = str(name_or_path)
    if weights is None and _is_checkpoint(path := Path(name_or_path).expanduser()):
        name, weights = published_name(path), path
    if name in PUBLISHED or (name.startswith("pecmae-") and not os.path.isfile(name)):
        if encoder is not None:
            raise ParameterError("encoder", encoder.name, f"None for {name}, whose file holds its own")
        return load_published(name, weights=weights, codec=codec, device=device, fetch=fetch)
    if weights is not None:
        raise ParameterError("weights", str(weights), f"None for {name}: weights= is for {', '.join(PUBLISHED)}")
    path = WEIGHTS / f"{name}.safetensors" if name in BUILT_IN else Path(name_or_path).expanduser()
    settings, state = _read(path)
    if (kind := settings.get("network", "transformer")) not in NETWORKS:
        raise WeightsError(f"{path}: its network is {kind!r}; this package knows {', '.join(NETWORKS)}")
    shape, network = NETWORKS[kind]
    config = restored(path, settings, "config", shape, what="summary autoencoder")
    named = all(isinstance(settings.get(key), list) and len(settings[key]) == 2 for key in ("encoder", "codec"))
    if not named or not isinstance(settings.get("layer"), str) or not isinstance(settings.get("seconds"), (int, float)):
        raise WeightsError(f"{path}: its settings lack encoder, codec, layer or seconds: {sorted(settings)}")
    if not isinstance(settings.get("level"), (int, float, type(None))):
        raise WeightsError(f"{path}: its level is {settings['level']!r}; a number in dB or nothing is expected")
    encoder = encoder or load_encoder(settings["encoder"][0], device=device, dtype="float32")
    codec = codec or load_codec(settings["codec"][0], device=encoder.device)
    for part, (wanted, mark) in ((encoder, settings["encoder"]), (codec, settings["codec"])):
        # frames are computed in float32 here, whatever precision the encoder was loaded for
        if part.fingerprint not in (mark, fingerprint(mark, getattr(part, "compute", "float32"))):
            raise WeightsError(f"{path} was trained with {wanted} {mark}, not with {part.name} {part.fingerprint}")
    net = network(config)
    expected = {key: value.shape for key, value in net.state_dict().items()}
    if expected != {key: value.shape for key, value in state.items()}:
        wrong = sorted(k for k in expected.keys() | state.keys() if k not in state or expected.get(k) != state[k].shape)
        raise WeightsError(f"{path} does not fit its own settings: missing, left over or misshapen {wrong}")
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    if broken := [key for key, value in state.items() if not value.isfinite().all()]:
        raise WeightsError(f"{path}: {len(broken)} entries hold NaN or infinity, such as {broken[0]}")
    net.load_state_dict(state)
    short = name if name in BUILT_IN else path.stem
    place = {name: settings.get(name) for name in ("layer", "seconds", "level")}
    return SummaryAutoencoder(net, encoder, codec, name=short, **place)


def _is_checkpoint(path: Path) -> bool:
    """Whether a file is one that torch.save wrote, a zip archive or, before torch 1.6, a pickle."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4).startswith((b"PK\x03\x04", b"\x80"))


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise WeightsError(f"{path}: a folder; expected a file that save_autoencoder wrote")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected {known_autoencoders(path)}")
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    if "settings" not in metadata:
        raise WeightsError(f"{path}: its metadata has no 'settings'; weights are written by save_autoencoder")
    try:
        settings = json.loads(metadata["settings"])
    except ValueError as error:
        raise WeightsError(f"{path}: its settings are no JSON ({error})") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"{path}: its settings are a {type(settings).__name__}, not fields by name")
    return settings, state
