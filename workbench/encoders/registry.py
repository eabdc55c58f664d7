"""Load any encoder, by name, from a folder, from the hub or from your own code, with :func:`load_encoder`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ..core.checks import checked, seed
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.weights import Wanted, find
from .batching import compute_dtype
from .catalog import SPECS, EncoderSpec
from .interface import Encoder
from .naming import check_encoder_name, own_code
from .own_code import load_object, load_own_code


@checked
def load_encoder(
    name_or_path: str | Path | Encoder | nn.Module,
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
    name_or_path : str, path, Encoder or nn.Module
        A registry name (:func:`list_encoders`); a folder with a transformers model; a hub id, "owner/model" or
        "owner/model@revision"; your own code, "path/to/file.py:name" or "module:name", where ``name`` is an encoder, a
        torch module, or a function that returns one (:mod:`.own_code`; the file is run); or an encoder or torch module
        itself.
    device : str or torch.device
        "auto" is cuda if available, else mps, else cpu.
    weights : path, optional
        The file or folder with the weights, or a folder that contains it. By default the weights are looked for in the
        folders of ``WORKBENCH_WEIGHTS`` and in the download caches.
    random_weights : int, optional
        Seed for random weights in the same network, as an untrained control. With a registry name, nothing needs to be
        on disk. A function of your own that takes ``random_weights`` makes its own control; otherwise the parameters of
        torch modules are reset (:func:`encoder_from`).
    config : {"default", "paper", "cut"}
        "paper" loads WavLM weights into the wav2vec2 network, as the code of arXiv 2509.24793 does. "cut" runs Whisper
        on positions of the clip's own length only, instead of 30 s for every clip; the frames differ from those of 30 s
        (:mod:`.huggingface` says how much). The choice is part of the fingerprint.
    fetch : bool
        Whether to download what is missing; size and licence are printed first.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Compute precision of :func:`extract`. "auto" is bfloat16 on cuda and float32 elsewhere; for torch modules and
        ``logmel`` it is float32. The precision is part of the fingerprint.

    Returns
    -------
    Encoder

    Raises
    ------
    ParameterError
        The name, device, config or precision is unknown; options exclude each other; or your own code fails or returns
        something else.
    WeightsError
        The weights are missing (the error says which, how large, under which licence and how to get them), are damaged,
        or do not fit the network.

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
    if isinstance(name_or_path, (Encoder, nn.Module)):
        _for_published(f"{type(name_or_path).__name__} in memory", weights, config, fetch)
        return _load_object(name_or_path, device, random_weights, dtype)
    if not str(name_or_path).strip():
        check_encoder_name("")
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
    code = None if spec is not None or Path(name_or_path).expanduser().exists() else own_code(name_or_path)
    if code is not None:
        _for_published(code.text, weights, config, fetch)
        encoder = load_own_code(code, device=place, random_weights=random_weights)
    elif spec is None:
        encoder = _load_other(name_or_path, place, weights, random_weights, config, fetch)
    elif spec.family == "huggingface":
        encoder = _load_hub(spec, place, weights, random_weights, config, fetch)
    else:
        encoder = _load_own(spec, place, weights, random_weights, fetch)
    if code is None:
        encoder.reentrant = True  # these encoders keep no state between batches
    encoder.recipe = {
        "name_or_path": _whole_path(name_or_path) if code is None else code.whole,
        "weights": None if weights is None else str(Path(weights).expanduser().absolute()),
        "random_weights": random_weights,
        "config": config,
        "dtype": dtype,
    }
    return _computing(encoder, dtype)


def _computing(encoder: Encoder, dtype: str) -> Encoder:
    """Set the precision of an encoder, as an attribute and as part of its fingerprint."""
    encoder.compute = compute_dtype(encoder, dtype)
    if encoder.compute != "float32":
        encoder.fingerprint = fingerprint(encoder.fingerprint, encoder.compute, "float32 convolutions on the CPU")
    return encoder


def _for_published(name: str, weights, config: str, fetch: bool) -> None:
    """Refuse options that apply to published models only."""
    given = {"weights": (weights, None), "config": (config, "default"), "fetch": (fetch, False)}
    for option, (value, default) in given.items():
        if value != default:
            raise ParameterError(option, value, f"left out for {name}: it is for published models")


def _load_object(thing: Encoder | nn.Module, device, random_weights: int | None, dtype: str) -> Encoder:
    """Return an encoder for an encoder or module that is in memory."""
    loaded = load_object(thing, device=chosen_device(device), random_weights=random_weights)
    if loaded is not thing:
        return _computing(loaded, dtype)
    if device != "auto" and chosen_device(device) != thing.device:
        raise ParameterError("device", str(device), f"'auto': {thing.name} lies on {thing.device} already")
    if dtype != "auto":
        raise ParameterError("dtype", dtype, "'auto' for an encoder that is loaded already; extract takes a dtype")
    return thing


def _whole_path(name_or_path: str | Path) -> str:
    """Return the absolute path of an existing folder, or any other name as it is."""
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
    """Load a transformers model from a folder, or by a hub id that is not in the registry."""
    from .huggingface import load_huggingface

    folder = Path(name_or_path).expanduser()
    name, revision = str(name_or_path), None
    check_encoder_name(name)
    if not folder.is_dir():
        source, _, revision = name.partition("@")
        folder = find(Wanted(name, source, revision or None), weights=weights, fetch=fetch)
    elif weights is not None:
        raise ParameterError("weights", weights, f"None when a folder is loaded ({folder} holds its own)")
    rest = {"device": device, "config": config, "random_weights": random_weights}
    return load_huggingface(name, folder=folder, revision=revision or None, **rest)
