"""The one call that loads any encoder: :func:`load_encoder`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from ..core.checks import checked, seed
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.weights import Wanted, find
from .batching import compute_dtype
from .catalog import HUB_ID, SPECS, EncoderSpec, known_names
from .interface import Encoder


@checked
def load_encoder(
    name_or_path: str | Path,
    *,
    device: str | torch.device = "auto",
    weights: str | Path | None = None,
    random_weights: int | None = None,
    config: Literal["default", "paper", "cut"] = "default",
    fetch: bool = False,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
) -> Encoder:
    """Load a frozen encoder.

    Parameters
    ----------
    name_or_path : str or path
        A registry name (:func:`list_encoders`); a folder with a transformers model; or a hub id, "owner/model" or
        "owner/model@revision".
    device : str or torch.device
        "auto" takes cuda, then mps, then cpu.
    weights : path, optional
        The file or folder with the weights, or a folder that holds it; else they are looked for in the folders of
        ``WORKBENCH_WEIGHTS`` and in the download caches.
    random_weights : int, optional
        Seed: the same network before training, as a control. For registry names nothing needs to be on disk.
    config : {"default", "paper", "cut"}
        "paper" for WavLM: its weights in the wav2vec2 network, as the code of arXiv 2509.24793 loads them.
        "cut" for Whisper: positions of the clip's own length only, instead of 30 s for every clip. On one-second words
        its clip vectors differ from those of 30 s (see :mod:`.huggingface` for how much); it is part of the
        fingerprint.
    fetch : bool
        Download what is missing; size and licence are printed first.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Compute precision of :func:`extract`: "auto" is bfloat16 on cuda and float32 elsewhere. Part of the
        fingerprint.

    Returns
    -------
    Encoder

    Raises
    ------
    ParameterError
        Unknown name, device, config or precision; options that exclude each other.
    WeightsError
        Weights missing (what, how big, which licence, how to get them), damaged, or not fitting the network.

    Examples
    --------
    >>> encoder = load_encoder("mini", device="cpu")
    >>> encoder.rate
    16000
    """
    if random_weights is not None and weights is not None:
        raise ParameterError("weights", weights, "None when random_weights is given")
    if random_weights is not None:
        seed(random_weights, "random_weights")
    if not str(name_or_path).strip():
        raise ParameterError(
            "name_or_path", name_or_path, f"a model folder, a hub id (owner/model) or a name {known_names('')}"
        )
    for name, value in (("name_or_path", name_or_path), ("weights", weights)):
        try:
            if value is not None:
                Path(value).expanduser().exists()
        except (OSError, RuntimeError, ValueError) as error:  # too long, an unknown user's home ...
            raise ParameterError(
                name, str(value)[:60], f"a name or path that can be looked for ({error})"[:200]
            ) from error
    place = chosen_device(device)
    spec = SPECS.get(str(name_or_path))
    if config != "default" and spec is not None and spec.family != "huggingface":
        raise ParameterError("config", config, f"'default' for encoder {name_or_path}")
    if spec is None:
        encoder = _load_other(name_or_path, place, weights, random_weights, config, fetch)
    elif spec.family == "huggingface":
        encoder = _load_hub(spec, place, weights, random_weights, config, fetch)
    else:
        encoder = _load_own(spec, place, weights, random_weights, fetch)
    encoder.reentrant = True  # no family keeps anything of one batch for the next
    encoder.recipe = {
        "name_or_path": _whole_path(name_or_path),
        "weights": None if weights is None else str(Path(weights).expanduser().absolute()),
        "random_weights": random_weights,
        "config": config,
        "dtype": dtype,
    }
    encoder.compute = compute_dtype(encoder, dtype)
    if encoder.compute != "float32":
        encoder.fingerprint = fingerprint(encoder.fingerprint, encoder.compute, "float32 convolutions on the CPU")
    return encoder


def _whole_path(name_or_path: str | Path) -> str:
    """A folder from the root, where it is one that is there; else the name."""
    folder = Path(name_or_path).expanduser()
    named = str(name_or_path) in SPECS or not folder.is_dir()
    return str(name_or_path) if named else str(folder.absolute())


def _load_own(spec: EncoderSpec, device, weights, random_weights, fetch) -> Encoder:
    if spec.name == "logmel":
        from .logmel import LogMelStatistics

        if weights is not None or random_weights is not None:
            raise ParameterError("weights", weights, "None for logmel, which has none (random_weights neither)")
        return LogMelStatistics(device=device)
    if spec.name == "mini":
        from .mini import load_mini

        return load_mini(device=device, weights=weights, random_weights=random_weights)
    if spec.family == "encodecmae":
        from .encodecmae import load_encodecmae as load
    else:
        from .efficientat import load_efficientat as load

    path = None if random_weights is not None else find(spec.wanted, weights=weights, fetch=fetch)
    return load(spec.name, weights=path, device=device, random_weights=random_weights)


def _load_hub(spec: EncoderSpec, device, weights, random_weights, config, fetch) -> Encoder:
    from .huggingface import load_huggingface

    rest = {"device": device, "config": config, "revision": spec.revision}
    if random_weights is not None:
        rest |= {"architecture": spec.config, "preprocess": spec.preprocess}
        return load_huggingface(spec.name, folder=None, random_weights=random_weights, **rest)
    return load_huggingface(spec.name, folder=find(spec.wanted, weights=weights, fetch=fetch), **rest)


def _load_other(name_or_path, device, weights, random_weights, config, fetch) -> Encoder:
    """A folder, or a hub id that the registry does not have."""
    from .huggingface import load_huggingface

    folder = Path(name_or_path).expanduser()
    name, revision = str(name_or_path), None
    if folder.is_file():
        raise ParameterError("name_or_path", name, "a model folder (with config.json), not a file")
    if not folder.is_dir():
        if not HUB_ID.match(name):
            raise ParameterError(
                "name_or_path", name, f"a model folder, a hub id (owner/model) or a name {known_names(name)}"
            )
        source, _, revision = name.partition("@")
        folder = find(Wanted(name, source, revision or None), weights=weights, fetch=fetch)
    elif weights is not None:
        raise ParameterError("weights", weights, f"None when a folder is loaded ({folder} holds its own)")
    rest = {"device": device, "config": config, "random_weights": random_weights}
    return load_huggingface(name, folder=folder, revision=revision or None, **rest)
