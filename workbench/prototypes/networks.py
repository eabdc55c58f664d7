"""Networks that map a batch of inputs to embeddings z (B, k), and the inputs that they take.

:func:`workbench.prototypes.fit_classifier` takes a callable that makes one, ``partial(MLPProjector, 256, 64)`` or
``partial(fine_tune_ast, "ast", frames=498)`` for example, and calls it with torch's generator seeded for the run.

====================  ==============================  =================================================================
network               inputs                          what it is
====================  ==============================  =================================================================
`MLPProjector`        (N, D) frozen embeddings        one hidden layer
`SmallConvNet`        (N, mels, frames) `log_mels`    from scratch, in a minute or two on two cores
`EfficientATNetwork`  (N, 128, frames)                EfficientAT with all its weights, config "efficientat"
                      `efficientat_mels`
`fine_tune_ast`       (N, mels, frames)               AST with all its weights, config "paper"
                      `filterbanks`
`SpeechBrainNetwork`  (N, samples) `waveforms`        BEATs or ECAPA-TDNN of the package speechbrain, configs
                                                      "paper-beats" and "ecapa"
====================  ==============================  =================================================================

:func:`workbench.prototypes.extractors.extractor` puts network, inputs and settings together. The functions that compute
inputs read one clip at a time; what they return is float32 and in memory: 4 bytes a number, so that an hour of clips
takes 46 MB as `log_mels`, 184 MB as `filterbanks` or `efficientat_mels` and 230 MB as `waveforms`. Training on
the CPU holds up to three times that.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .. import audio
from ..core.checks import checked, number, numbers, whole
from ..core.dependencies import load
from ..core.errors import AudioError, ParameterError, WeightsError
from ..core.progress import progress_bar

if TYPE_CHECKING:
    from ..encoders import efficientat

LISTS = (list, tuple, np.ndarray, Tensor)
"""What may hold waveforms."""
N_FFT, HOP = 1024, 320
"""Samples of :func:`log_mels` at 16 kHz: windows of 64 ms, 50 frames a second."""
FLOOR = 1e-6
"""Added to the power of :func:`log_mels`, more than ``audio.LOG_FLOOR``: silence should not lie far off all sound."""
COPIES = 3
"""How often training on the CPU holds its inputs: as given, standardised, and cut into parts."""


class MLPProjector(nn.Module):
    """A head for frozen embeddings: linear, ReLU, linear.

    Parameters
    ----------
    dim_in : int
        D of the inputs.
    k : int
        Length of z.
    hidden : int
        Units of the hidden layer.
    norm : bool
        End with a layer norm: z then starts at length sqrt(k).
    """

    @checked
    def __init__(self, dim_in: int, k: int, *, hidden: int = 256, norm: bool = False):
        super().__init__()
        for name, value in (("dim_in", dim_in), ("k", k), ("hidden", hidden)):
            whole(name, value, least=1)
        self.layers = nn.Sequential(nn.Linear(dim_in, hidden), nn.ReLU(), nn.Linear(hidden, k))
        if norm:
            self.layers.append(nn.LayerNorm(k))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, k)."""
        return self.layers(x)


class SmallConvNet(nn.Module):
    """Four strided convolutions, mean and standard deviation over time, linear: under 300,000 weights.

    Parameters
    ----------
    mels : int
        Bands of the log-mel spectrogram, at least 16.
    k : int
        Length of z.
    norm : bool
        End with a layer norm: z then starts at length sqrt(k).
    """

    WIDTHS = (16, 32, 64, 64)

    @checked
    def __init__(self, mels: int, k: int, *, norm: bool = False):
        super().__init__()
        whole("mels", mels, least=16)
        whole("k", k, least=1)
        blocks, before, rows = [], 1, mels
        for i, width in enumerate(self.WIDTHS):
            stride = (2, 2 if i < 3 else 1)
            size = 5 if i == 0 else 3
            blocks += [nn.Conv2d(before, width, size, stride, size // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before, rows = width, -(-rows // 2)
        self.mels = mels
        self.blocks = nn.Sequential(*blocks)
        self.out = nn.Sequential(nn.Linear(2 * before * rows, k), *([nn.LayerNorm(k)] if norm else []))

    def forward(self, x: Tensor) -> Tensor:
        """(B, mels, frames) -> (B, k)."""
        if x.ndim != 3 or x.shape[1] != self.mels:
            raise ParameterError("inputs.shape", ("B", *x.shape[1:]), f"(B, {self.mels}, frames)")
        frames = self.blocks(x[:, None]).flatten(1, 2)
        spread = (frames.var(2, correction=0) + 1e-5).sqrt()  # the slope of a root is infinite at 0
        return self.out(torch.cat([frames.mean(2), spread], 1))


class EfficientATNetwork(nn.Module):
    """An EfficientAT tagger, all weights trainable; z is its hidden layer before the activation, then a layer norm.

    The layer below, which :func:`workbench.embed` reads, is hardly ever negative and cannot reach prototypes in every
    direction. The norm lets z start at length sqrt(k), as AST's does: without it the clips share one long mean vector.

    Parameters
    ----------
    net : workbench.encoders.efficientat.EfficientATNet
        Taken over, not copied.

    Notes
    -----
    Batch norm keeps the means and variances of the checkpoint, in training too; its scales and shifts are trained. A
    few epochs on a small set would leave its running statistics, which predict, far behind those of the batches.
    """

    def __init__(self, net: efficientat.EfficientATNet):
        super().__init__()
        self.features, self.out = net.features, net.classifier[2]
        self.norm = nn.LayerNorm(self.out.out_features)
        self.requires_grad_(True)

    def train(self, mode: bool = True) -> EfficientATNetwork:
        """Switch the mode, but for batch norm, which stays in its evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, 128, frames) -> (B, k)."""
        return self.norm(self.out(self.features(x[:, None]).mean((2, 3))))


class ASTNetwork(nn.Module):
    """An Audio Spectrogram Transformer, all weights trainable; z is the mean of its two tokens after the last norm.

    Parameters
    ----------
    model : transformers.ASTModel
    frames : int, optional
        Frames of the inputs. Where there are fewer than the model was made for, the position table is cut to its
        central columns, as Gong et al. 2021 do, instead of padding the sound with silence.
    """

    def __init__(self, model: nn.Module, *, frames: int | None = None):
        super().__init__()
        self.model = model.train().requires_grad_(True)
        config = model.config
        if frames is not None and frames != config.max_length:
            if not config.patch_size <= frames <= config.max_length:
                raise ParameterError("frames", frames, f"from {config.patch_size} to {config.max_length} of the model")
            rows, had = (
                (n - config.patch_size) // stride + 1
                for n, stride in (
                    (config.num_mel_bins, config.frequency_stride),
                    (config.max_length, config.time_stride),
                )
            )
            now = (frames - config.patch_size) // config.time_stride + 1
            table = model.embeddings.position_embeddings.detach()
            grid = table[:, 2:].reshape(1, rows, had, -1)[:, :, (had - now) // 2 :][:, :, :now]
            cut = torch.cat([table[:, :2], grid.reshape(1, rows * now, -1)], 1)
            model.embeddings.position_embeddings = nn.Parameter(cut.clone())
            config.max_length = frames
        self.shape = (config.num_mel_bins, config.max_length)

    def forward(self, x: Tensor) -> Tensor:
        """(B, mels, frames) -> (B, k)."""
        if x.shape[1:] != self.shape:
            raise ParameterError("inputs.shape", ("B", *x.shape[1:]), f"(B, {self.shape[0]}, {self.shape[1]})")
        return self.model(x.transpose(1, 2)).pooler_output


def fine_tune_ast(
    name_or_path: str | Path = "ast",
    *,
    frames: int | None = None,
    random_weights: int | None = None,
    weights: str | Path | None = None,
    fetch: bool = False,
) -> ASTNetwork:
    """AST ready for fine-tuning; train it with ``config="paper"`` on :func:`filterbanks`.

    Parameters
    ----------
    name_or_path, random_weights, weights, fetch
        As in :func:`workbench.encoders.load_encoder`: "ast", a hub id, or a folder; a seed for an untrained one.
    frames : int, optional
        Frames of the inputs, such as 498 for 5 s; default: those the model was made for.

    Raises
    ------
    WeightsError
        They are not there; the message says how to get them.
    ParameterError
        The model is no AST, or has fewer frames.
    """
    from ..encoders import load_encoder

    encoder = load_encoder(
        name_or_path, device="cpu", random_weights=random_weights, weights=weights, fetch=fetch, dtype="float32"
    )
    model = getattr(encoder, "model", None)
    if type(model).__name__ != "ASTModel":
        raise ParameterError("name_or_path", str(name_or_path), f"an AST; this is {type(model or encoder).__name__}")
    return ASTNetwork(model, frames=frames)


class SpeechBrainNetwork(nn.Module):
    """BEATs (mean of its tokens, k = 768) or ECAPA-TDNN (k = 192), from waveforms at 16 kHz, all weights trainable.

    Parameters
    ----------
    kind : {"beats", "ecapa"}
    weights : path, optional
        Checkpoint: ``BEATs_iter3_plus_AS2M.pt``, or ``embedding_model.ckpt`` of speechbrain/spkrec-ecapa-voxceleb.
        None: untrained.

    Raises
    ------
    ParameterError
        speechbrain is not installed, or an unknown kind.
    WeightsError
        The checkpoint is not there.

    Notes
    -----
    Train with ``standardise="none"``. Checkpoints are read with ``weights_only``; the recipes of the hub, which are
    code, are not run.
    """

    def __init__(self, kind: str, *, weights: str | Path | None = None):
        super().__init__()
        if kind not in ("beats", "ecapa"):
            raise ParameterError("kind", kind, "'beats' or 'ecapa'")
        if importlib.util.find_spec("speechbrain") is None:
            expected = 'used with the package speechbrain installed: pip install "audio-workbench[speechbrain]"'
            raise ParameterError("kind", kind, expected)
        if weights is not None and not Path(weights).is_file():
            raise WeightsError(f"{weights}: no such file; the checkpoint for {kind} is expected there")
        self.kind = kind
        if kind == "beats":
            from speechbrain.lobes.models.beats import BEATs

            try:
                self.model = BEATs(None if weights is None else str(weights), freeze=False)
            except Exception as error:  # as below
                reason = " ".join(str(error).split())[:200]
                raise WeightsError(f"{weights}: no weights of {kind} ({type(error).__name__}: {reason})") from error
            return
        from speechbrain.lobes.features import Fbank
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

        self.features = Fbank(n_mels=80)
        self.model = ECAPA_TDNN(80, channels=[1024] * 4 + [3072], lin_neurons=192)
        if weights is not None:
            try:
                self.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
            except Exception as error:  # torch raises a dozen kinds; the reader needs one message
                reason = " ".join(str(error).split())[:200]
                raise WeightsError(f"{weights}: no weights of {kind} ({type(error).__name__}: {reason})") from error

    def forward(self, x: Tensor) -> Tensor:
        """(B, samples) -> (B, k)."""
        whole = torch.ones(len(x), device=x.device)
        if self.kind == "beats":
            return self.model.extract_features(x, whole)[0].mean(1)
        mels = self.features(x)
        return self.model(mels - mels.mean(1, keepdim=True), whole).squeeze(1)


@checked
def log_mels(
    clips: object,
    *,
    mels: int = 64,
    rate: int = 16000,
    seconds: float | None = None,
    hop: int = HOP,
    progress: bool = True,
) -> np.ndarray:
    """Log-mel spectrograms of clips, for :class:`SmallConvNet`.

    Parameters
    ----------
    clips : Clips, or sequence of waveforms (samples,) at ``rate``
    mels : int
    rate : int
        Hz, at which the clips are heard.
    seconds : float, optional
        Cut or zero-pad each clip to this length; default: as they are, then all of one length.
    hop : int
        Samples from frame to frame.
    progress : bool
        Show a bar.

    Returns
    -------
    np.ndarray float32 (N, mels, frames)

    Raises
    ------
    ParameterError
        No clips, clips of different lengths without ``seconds``, or more than memory has room for.
    """
    for name, value in (("mels", mels), ("rate", rate), ("hop", hop)):
        whole(name, value, least=1)
    filters = audio.mel_filters(rate, n_fft=N_FFT, n_mels=mels).T

    def log_mel(x: np.ndarray) -> Tensor:
        return (filters @ audio.spectrogram(x, n_fft=N_FFT, hop=hop) + FLOOR).log()

    return _each(clips, log_mel, rate, seconds, progress, "log-mels")


@checked
def filterbanks(clips: object, *, mels: int = 128, seconds: float | None = None, progress: bool = True) -> np.ndarray:
    """Kaldi filterbanks as AST and the code of arXiv 2406.16145 take them: 16 kHz, 25 ms every 10 ms, Hann window.

    Parameters and errors as of :func:`log_mels`; 5 s are 498 frames.

    Returns
    -------
    np.ndarray float32 (N, mels, frames)
        Natural logarithm, not normalised: ``standardise="all"`` does that with training statistics.
    """
    fbank = load("torchaudio.compliance.kaldi").fbank

    whole("mels", mels, least=4)

    def filterbank(x: np.ndarray) -> Tensor:
        return fbank(
            torch.from_numpy(x - x.mean())[None],
            htk_compat=True,
            sample_frequency=16000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=mels,
            dither=0.0,
            frame_shift=10,
        ).T

    return _each(clips, filterbank, 16000, seconds, progress, "filterbanks")


@checked
def efficientat_mels(clips: object, *, seconds: float | None = None, progress: bool = True) -> np.ndarray:
    """Log-mel spectrograms as EfficientAT takes them: 32 kHz, 25 ms every 10 ms, normalised by its constants.

    Parameters and errors as of :func:`log_mels`.

    Returns
    -------
    np.ndarray float32 (N, 128, frames)
        To train on with ``standardise="none"``.
    """
    from ..encoders import efficientat

    front_end = efficientat.FrontEnd()
    return _each(
        clips, lambda x: front_end(torch.from_numpy(x)[None])[0, 0], efficientat.RATE, seconds, progress, "log-mels"
    )


@checked
def waveforms(clips: object, *, rate: int = 16000, seconds: float | None = None, progress: bool = True) -> np.ndarray:
    """Clips as they sound, float32 (N, samples), for :class:`SpeechBrainNetwork`; else as :func:`log_mels`."""
    return _each(clips, torch.from_numpy, rate, seconds, progress, "waveforms")


def _each(
    clips: object, compute: Callable[[np.ndarray], Tensor], rate: int, seconds: float | None, progress: bool, what: str
) -> np.ndarray:
    """``compute`` of each clip's waveform, clip by clip, so that never all waveforms are held."""
    if isinstance(clips, (str, bytes, Mapping)) or not (hasattr(clips, "audio") or isinstance(clips, LISTS)):
        raise ParameterError("clips", type(clips).__name__, "clips, as load_dataset gives them, or a list of waveforms")
    if not len(clips):
        raise ParameterError("clips", [], "at least one clip")
    if seconds is not None:
        number("seconds", seconds, above=0, most=86_400)  # a day: more is a mistake, and no memory holds it
    inputs = None
    for i in progress_bar(range(len(clips)), disable=not progress, desc=what, leave=False):
        if hasattr(clips, "audio"):
            x = clips.audio(i, rate=rate)[0]
            if not np.isfinite(x).all():
                raise AudioError(f"clip {clips.table['id'][i]} of {clips.name}", "holds NaN or infinity")
        else:
            x = numbers(f"clips[{i}]", clips[i], ndim=1).astype(np.float32)
        x = x if seconds is None else audio.fit(x, rate, seconds=seconds)
        if inputs is None:
            samples, inputs = len(x), _room((len(clips), *compute(x).shape))
        elif len(x) != samples:
            expected = f"given: clip 0 has {samples} samples at {rate} Hz and clip {i} has {len(x)}"
            raise ParameterError("seconds", None, expected)
        inputs[i] = compute(x).numpy()
    return inputs


def _room(shape: tuple[int, ...]) -> np.ndarray:
    """An array of this shape, float32, if training on it will fit into memory."""
    import psutil

    gigabytes, free = math.prod(shape) * 4e-9, psutil.virtual_memory().available * 1e-9
    if COPIES * gigabytes > free:
        expected = f"fewer or shorter: inputs of {shape} take {gigabytes:.1f} GB, training on them "
        expected += f"{COPIES * gigabytes:.1f} GB, and {free:.1f} GB of memory are free"
        raise ParameterError("clips", f"{shape[0]} clips", expected)
    return np.empty(shape, dtype=np.float32)
