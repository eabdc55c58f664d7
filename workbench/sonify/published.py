"""Load the released autoencoders of PECMAE (arXiv 2402.09318): 4 s, which is the paper's, 1 s and 10 s.

One checkpoint contains EnCodecMAE base, the summary transformer, the denoiser and the state of the optimiser. EnCodec's
decoder is not part of it and comes from the codec ``encodec``. This module was written without access to a released
file: the layout and the computation follow the authors' code and the published sizes. A file with another layout is
refused with an error that names the first unexpected entries.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..codecs import Codec, load_codec
from ..core.checks import checked, choice
from ..core.errors import ParameterError, WeightsError
from ..core.warn import warn
from ..core.weights import Wanted, find
from ..encoders import encodecmae, residual
from .autoencoder import SummaryAutoencoder
from .catalog import PUBLISHED
from .network import SummaryConfig, SummaryNet

HEADS = 8
"""Number of attention heads of both transformers; the 12 in the paper are those of EnCodecMAE."""
BACKBONE = "encodecmae-base"
FRAME_RATE = 75
SOURCE = "https://huggingface.co/lpepino/encodecmae-base/resolve/main/ae"
SIZE = 699_535_532
STACKS = {"encoder.encoder.": "summary.", "denoiser.": "denoiser."}
NAMES = {
    "encoder.cls_tokens.weight": "token",
    "encoder.pos_encoder.scale": "position_scale",
    "in_adapter.weight": "in_adapter.weight",
    "in_adapter.bias": "in_adapter.bias",
    "out_adapter.weight": "out_adapter.weight",
    "out_adapter.bias": "out_adapter.bias",
    "time_embedding.0.weight": "time_embedding.0.weight",
    "time_embedding.0.bias": "time_embedding.0.bias",
    "time_embedding.2.weight": "time_embedding.2.weight",
    "time_embedding.2.bias": "time_embedding.2.bias",
}
"""Names of the entries outside the two transformers in a checkpoint and in :class:`SummaryNet`."""


def _own_entries(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of a released checkpoint, without those of EnCodecMAE, as those of a :class:`SummaryNet`."""
    own: dict[str, Tensor] = {}
    stacks: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in STACKS}
    for key, value in state.items():
        prefix = next((prefix for prefix in STACKS if key.startswith(prefix)), None)
        if key.startswith(encodecmae.NESTED):
            continue
        if prefix is not None:
            stacks[prefix][key.removeprefix(prefix)] = value
        elif key in ("encoder.cls_tokens.weight", "encoder.pos_encoder.scale"):
            own[NAMES[key]] = value.squeeze(0) if value.ndim else value  # the checkpoint may have a leading axis of 1
        else:
            own[NAMES.get(key, key)] = value
    for prefix, entries in stacks.items():
        own |= {f"{STACKS[prefix]}{key}": value for key, value in residual.released_to_own(entries, HEADS).items()}
    return own


def _shape_of(own: Mapping[str, Tensor], seconds: float) -> SummaryConfig:
    """Derive the configuration from entries of :func:`_own_entries` and the window of ``seconds``.

    Raises
    ------
    WeightsError
        If entries that determine it are missing or of a wrong shape.
    """
    needed = ("in_adapter.weight", "summary.feed_forward.0.weight")
    missing = [key for key in needed if key not in own]
    if missing:
        raise WeightsError(f"no entries {', '.join(missing)}: this is no summary autoencoder")
    for key in needed:
        if own[key].ndim != 2:
            raise WeightsError(f"{key} is of shape {tuple(own[key].shape)}: a matrix is expected")
    dim, latent_dim = own["in_adapter.weight"].shape
    layers = {
        stack: 1 + max((int(m[1]) for m in (re.match(rf"{stack}\.layers\.(\d+)\.", k) for k in own) if m), default=0)
        for stack in ("summary", "denoiser")
    }
    if dim % HEADS:
        raise WeightsError(f"in_adapter.weight has {dim} rows, which {HEADS} heads cannot share")
    return SummaryConfig(
        dim=dim,
        latent_dim=latent_dim,
        latent_frames=round(seconds * FRAME_RATE),
        summary_layers=layers["summary"],
        denoiser_layers=layers["denoiser"],
        heads=HEADS,
        hidden=own["summary.feed_forward.0.weight"].shape[0],
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published_name(path: Path) -> str:
    """Return the name of a released autoencoder from its checkpoint's SHA-256.

    Raises
    ------
    WeightsError
        If the file is none of the released ones; the error says how to load one that is a summary autoencoder.
    """
    digest = _sha256(path)
    for name, (_, _, own) in PUBLISHED.items():
        if digest == own:
            return name
    try:
        _shape_of(_own_entries(encodecmae.read_checkpoint(path)), 1.0)
    except WeightsError as error:
        raise WeightsError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    name, (_, file, _) = next(iter(PUBLISHED.items()))
    raise WeightsError(
        f"{path}: a summary autoencoder, but its SHA-256, {digest[:12]}..., is that of none of the released ones, and "
        "it does not hold the length of its window. Say which it is: load_autoencoder(name, weights=file) with one of "
        f"{', '.join(PUBLISHED)}; or, for a notebook, give the name, and put the file into a folder of "
        f"WORKBENCH_WEIGHTS by the name of the released file, {file} for {name}"
    )


@checked
def load_published(
    name: str = "pecmae-4s",
    *,
    weights: Path | str | None = None,
    codec: Codec | None = None,
    device: str | torch.device = "auto",
    fetch: bool = False,
) -> SummaryAutoencoder:
    """Load a released summary autoencoder.

    Parameters
    ----------
    name : str
        A name in :data:`PUBLISHED`; it determines the length of the window, which the file does not contain. The 1 s, 4
        s and 10 s models have entries of equal shapes, and only their SHA-256 tells them apart.
    weights : path, optional
        The checkpoint, or a folder that contains it; by default it is searched for in the folders of
        ``WORKBENCH_WEIGHTS`` and in the download cache. The numbers of layers are read from the file.
    codec : Codec, optional
        EnCodec at 24 kHz; by default ``load_codec("encodec")``.
    device : str or torch.device
        Device on which the codec and the networks are loaded.
    fetch : bool
        Whether to download missing weights, 0.7 GB; size and licence are printed first.

    Returns
    -------
    SummaryAutoencoder

    Raises
    ------
    ParameterError
        If the name is unknown, or the codec is not EnCodec at 24 kHz.
    WeightsError
        If the file is missing, damaged, of another layout, contains objects other than tensors and plain values, or is,
        by its SHA-256, the one of another name.

    Warns
    -----
    UserWarning
        If the file, by its SHA-256, is none of the released ones: the window is then that of ``name``.
    """
    choice("name", name, PUBLISHED)
    if not isinstance(device, (str, torch.device)):
        raise ParameterError("device", device, "text such as 'auto' or 'cpu', or a torch device")
    seconds, file, sha256 = PUBLISHED[name]
    path = None if weights is None else Path(weights).expanduser()
    if path is None or not path.is_file():
        licence = "MIT, as its model card says"
        wanted = Wanted(name, f"{SOURCE}/{file}", None, (file,), SIZE, sha256, licence, "autoencoder")
        path = find(wanted, weights=weights, fetch=fetch)
    digest = _sha256(path)
    known = {own: other for other, (_, _, own) in PUBLISHED.items()}.get(digest)
    if known not in (None, name):
        raise WeightsError(f"{path} is the file of {known}, by its SHA-256, not of {name}: load it as {known!r}")
    codec = codec or load_codec("encodec", device=device, fetch=fetch)
    if (codec.rate, codec.hop) != (24000, 320):
        raise ParameterError("codec", codec.name, "EnCodec at 24 kHz, whose latents these weights generate")
    try:
        state = encodecmae.read_checkpoint(path)
    except WeightsError as error:
        advice = "If its training saved other objects beside the weights, take them out once, where that is safe: "
        code = "torch.save(torch.load(path, weights_only=False)['state_dict'], new_path)"
        raise WeightsError(f"{error}. {advice}{code}") from error
    try:
        own = _own_entries(state)
        net = SummaryNet(_shape_of(own, seconds))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    encodecmae.fit(net, own, path=path, name=name)
    if known is None:
        released = f"is that of none of the released autoencoders ({', '.join(PUBLISHED)})"
        warn(f"{path}: its SHA-256, {digest[:12]}..., {released}; as {name} its window is taken to be {seconds:g} s")
    encoder = encodecmae.load_encodecmae(BACKBONE, weights=path, device=codec.device)
    return SummaryAutoencoder(net, encoder, codec, layer=-1, seconds=seconds, name=name)
