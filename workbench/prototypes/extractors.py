"""Choose inputs, network and training settings for an encoder, as :func:`fit_classifier` needs them.

==========  =========================================  =================================================================
train       encoder                                    what is trained
==========  =========================================  =================================================================
"head"      whatever :func:`load_encoder` takes, an    a hidden layer on frozen embeddings, which the store keeps
            Encoder or a torch module
"scratch"   "conv"                                     a small convolutional network, from random weights
"all"       "ast", or an AST's folder or hub id;       all weights of the encoder, from where its pretraining left them
            "mn01_as" ... "mn40_as"; "beats"; "ecapa"
==========  =========================================  =================================================================
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ..core.checks import checked, choice, number, whole
from ..core.checks import seed as checked_seed
from ..core.errors import ParameterError, WeightsError
from ..core.weights import roots
from ..embeddings import embed
from ..encoders import SPECS, Encoder, load_encoder
from .networks import (
    ASTNetwork,
    EfficientATNetwork,
    MLPProjector,
    SmallConvNet,
    SpeechBrainNetwork,
    efficientat_mels,
    filterbanks,
    fine_tune_ast,
    log_mels,
    waveforms,
)

if TYPE_CHECKING:
    from ..datasets import Clips

CHECKPOINTS = {
    "beats": ("BEATs_iter3_plus_AS2M.pt", "MIT licence, from github.com/microsoft/unilm/tree/master/beats"),
    "ecapa": ("embedding_model.ckpt", "Apache-2.0, from huggingface.co/speechbrain/spkrec-ecapa-voxceleb"),
}
"""Checkpoint files of the networks from speechbrain, with their licence and source."""
SHORT = 16000
"""Clips of up to this many samples at 16 kHz are trained with the settings for Speech Commands, others as ESC-50."""


@dataclass(frozen=True, eq=False)
class Extractor:
    """Inputs, network and settings of a training; made by :func:`extractor`.

    >>> run = fit_classifier(e.inputs, clips.labels, fold, network=e.network, **e.training)  # doctest: +SKIP
    """

    name: str
    """Name of the encoder, and which part is trained."""
    inputs: np.ndarray = field(repr=False)
    """Inputs of the network, one row per clip, float32 (N, D), (N, mels, frames) or (N, samples)."""
    network: Callable[[], nn.Module] = field(repr=False)
    """Function that returns a new network at each call."""
    training: dict[str, object]
    """Keyword arguments of :func:`fit_classifier`: the config, and fields that replace some of its own."""
    dim: int
    """Number of dimensions k of the embeddings z."""


@checked
def extractor(
    clips: Clips,
    encoder: str | Path | Encoder | nn.Module,
    *,
    train: str = "head",
    dim: int = 64,
    seconds: float | None = None,
    weights: str | Path | None = None,
    fetch: bool = False,
    random_weights: int | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> Extractor:
    """Choose inputs, network and training settings for clips and an encoder.

    Parameters
    ----------
    clips : Clips
        Clips to train on.
    encoder : str, path, Encoder or nn.Module
        Encoder; see the table of the module.
    train : {"head", "scratch", "all"}
        What is trained; see the table of the module. With "head" it is a hidden layer on the mean over frames of the
        frozen encoder's last layer.
    dim : int
        Number of dimensions k of the embeddings for "head" and "scratch". With "all" it is that of the encoder: 768 for
        AST and BEATs, 192 for ECAPA, 512 for mn04_as.
    seconds : float, optional
        Length to which each clip is cut or zero-padded. By default clips are not changed; except with "head" they must
        then have equal lengths. AST uses at most 10.24 s.
    weights, fetch, random_weights
        As in :func:`load_encoder`. "beats" and "ecapa" cannot be fetched; their checkpoint is read from ``weights``, or
        found in the folders of ``WORKBENCH_WEIGHTS``.
    device : str
        Device on which frozen embeddings are computed; that of the training is chosen in :func:`fit_classifier`.
    progress : bool
        Whether to show a progress bar while inputs are computed.

    Returns
    -------
    Extractor
        Its config is "default" for "head" and "conv" for "scratch". For AST and BEATs it is the paper's for ESC-50, or,
        for clips of up to a second, that for Speech Commands, whose mixup excludes the prototypical network.
        ``training`` is a dict, which ``e.training | {"epochs": 5}`` changes.

    Raises
    ------
    ParameterError
        If the encoder cannot be trained in this way, clips differ in length, or inputs do not fit in memory. Inputs are
        held in memory with 4 bytes per number, and training on the CPU holds them up to three times. The 105,829 clips
        of Speech Commands of 1 s take 1.4 GB for "scratch", 5.3 GB for AST and 6.8 GB for BEATs.
    WeightsError
        If weights are missing. This, and every error that a single clip shows, is raised before the inputs of all clips
        are computed.

    Notes
    -----
    The settings of ECAPA-TDNN in arXiv 2406.16145 are not published; "ecapa" has usual settings for fine-tuning.
    """
    choice("train", train, ("head", "scratch", "all"))
    whole("dim", dim, least=1)
    if seconds is not None:
        number("seconds", seconds, above=0)
    if random_weights is not None:
        checked_seed(random_weights, "random_weights")
    if not len(clips):
        raise ParameterError("clips", "no clips", "at least one")
    if isinstance(encoder, nn.Module):
        encoder, random_weights = load_encoder(encoder, device=device, random_weights=random_weights), None
    _fits(encoder, train, weights, fetch, random_weights)
    source = {"weights": weights, "fetch": fetch, "random_weights": random_weights}
    clip = clips.take([0])
    if train == "head":
        frozen = encoder if isinstance(encoder, Encoder) else load_encoder(encoder, device=device, **source)
        embeddings = embed(clips, frozen, layers=-1, seconds=seconds, progress=progress)
        inputs, training = embeddings.layer(0), {"config": "default"}
        network = partial(MLPProjector, inputs.shape[1], dim)
    else:
        if train == "scratch":
            compute, training = log_mels, {"config": "conv"}
            network = partial(SmallConvNet, 64, dim)
        else:
            compute, made, training = _whole(clip, encoder, seconds, **source)
            network = partial(copy.deepcopy, made)
        dim = _dimension(network, compute(clip, seconds=seconds, progress=False))
        inputs = compute(clips, seconds=seconds, progress=progress)
    name = encoder.name if isinstance(encoder, Encoder) else str(encoder)
    return Extractor(f"{name}, {train}", inputs, network, training, dim)


def _fits(encoder, train: str, weights, fetch: bool, random_weights: int | None) -> None:
    """Raise an error for arguments that contradict each other."""
    options = {"weights": weights, "fetch": fetch or None, "random_weights": random_weights}
    loaded = [name for name, value in options.items() if value is not None]
    if isinstance(encoder, Encoder):
        if train != "head":
            raise ParameterError("encoder", encoder.name, f"a name or a folder with train={train!r}")
        if loaded:
            raise ParameterError(loaded[0], options[loaded[0]], "left out: the encoder is loaded already")
        return
    name = str(encoder)
    if name == "conv" and train != "scratch":
        raise ParameterError("train", train, "'scratch' for encoder 'conv', which has no pretrained weights")
    if train == "scratch":
        if name != "conv":
            expected = "'conv' with train='scratch'; train='all' with random_weights=<seed> trains others untrained"
            raise ParameterError("encoder", name, expected)
        if loaded:
            raise ParameterError(loaded[0], options[loaded[0]], "left out with train='scratch': nothing is loaded")
    if train == "head" and name in CHECKPOINTS:
        raise ParameterError("train", train, f"'all' for encoder {name!r}, which has no frozen form here")
    if train == "all" and name in SPECS and name != "ast" and SPECS[name].family != "efficientat":
        tagger = ", ".join(repr(spec.name) for spec in SPECS.values() if spec.family == "efficientat")
        expected = f"'ast', an AST's folder or hub id, {tagger}, 'beats' or 'ecapa' with train='all'"
        raise ParameterError("encoder", name, expected)


def _whole(clip: Clips, encoder, seconds: float | None, **source) -> tuple[Callable, nn.Module, dict[str, object]]:
    """Return the function that computes inputs, the network and the settings of an encoder that is fully trained."""
    if str(encoder) in CHECKPOINTS:
        made, compute = _speechbrain(str(encoder), **source), waveforms
        if str(encoder) == "ecapa":
            return compute, made, {"config": "ecapa"}
        config = "paper-beats"
    elif str(encoder) in SPECS and SPECS[str(encoder)].family == "efficientat":
        loaded = load_encoder(encoder, device="cpu", **source)
        return efficientat_mels, EfficientATNetwork(loaded.net), {"config": "efficientat"}
    else:
        whole = fine_tune_ast(encoder, **source)
        compute, config = partial(filterbanks, mels=whole.shape[0]), "paper"
        frames = compute(clip, seconds=seconds, progress=False).shape[2]
        made = ASTNetwork(whole.model, frames=frames)
    short = waveforms(clip, seconds=seconds, progress=False).shape[1] <= SHORT
    return compute, made, {"config": f"{config}-ks2" if short else config}


def _speechbrain(kind: str, *, weights, fetch: bool, random_weights: int | None) -> SpeechBrainNetwork:
    file, origin = CHECKPOINTS[kind]
    if random_weights is not None:
        if weights is not None:
            raise ParameterError("weights", weights, "None when random_weights is given")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_weights)
            return SpeechBrainNetwork(kind)
    if fetch:
        raise ParameterError("fetch", fetch, f"False for {kind!r}: download {file} ({origin}) and pass weights=<path>")
    if weights is None:
        weights = next((path for root in roots() for path in sorted(root.rglob(file))), None)
    if weights is None:
        raise WeightsError(
            f"the weights of {kind!r} are not on this machine: {file} ({origin}). Put it into a folder that"
            " WORKBENCH_WEIGHTS names, or pass weights=<path>"
        )
    return SpeechBrainNetwork(kind, weights=weights)


@torch.no_grad()
def _dimension(network: Callable[[], nn.Module], inputs: np.ndarray) -> int:
    return network().eval()(torch.from_numpy(inputs)).shape[1]
