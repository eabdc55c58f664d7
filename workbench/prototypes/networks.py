"""Networks that map a batch of inputs to embeddings z (B, k), and functions that compute their inputs.

:func:`workbench.prototypes.fit_classifier` takes a callable that makes a network, such as
``partial(MLPProjector, 256, 64)`` or ``partial(fine_tune_ast, "ast", frames=498)``, and calls it with torch's seeded
random generator.

====================  ==============================  =================================================================
network               inputs                          what it is
====================  ==============================  =================================================================
`MLPProjector`        (N, D) frozen embeddings        one hidden layer
`SmallConvNet`        (N, mels, frames) `log_mels`    trained from scratch, in a minute or two on two cores
`EfficientATNetwork`  (N, 128, frames)                EfficientAT, all weights trained, config "efficientat"
                      `efficientat_mels`
`fine_tune_ast`       (N, mels, frames)               AST, all weights trained, config "paper"
                      `filterbanks`
`SpeechBrainNetwork`  (N, samples) `waveforms`        BEATs or ECAPA-TDNN of the package speechbrain, configs
                                                      "paper-beats" and "ecapa"
====================  ==============================  =================================================================

:func:`workbench.prototypes.extractors.extractor` chooses network, inputs and settings. The functions that compute
inputs read one clip at a time and return float32 arrays in memory. An hour of clips takes 46 MB as `log_mels`, 184 MB
as `filterbanks` or `efficientat_mels`, and 230 MB as `waveforms`; training on the CPU takes up to three times as much.
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
"""Types of sequences of waveforms that are accepted."""
N_FFT, HOP = 1024, 320
"""Window and hop of :func:`log_mels` in samples; at 16 kHz windows of 64 ms and 50 frames per second."""
FLOOR = 1e-6
"""Number added to the power in :func:`log_mels`, larger than ``audio.LOG_FLOOR`` to limit the range of silence."""
COPIES = 3
"""Number of copies of the inputs in training on the CPU: as given, standardised, and divided into parts."""


class MLPProjector(nn.Module):
    """A head for frozen embeddings: linear, ReLU, linear.

    Parameters
    ----------
    dim_in : int
        Number of dimensions D of the inputs.
    k : int
        Number of dimensions of z.
    hidden : int
        Number of units of the hidden layer.
    norm : bool
        Whether to add a final layer norm, with which z initially has length sqrt(k).
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
        """Map inputs (B, D) to embeddings (B, k)."""
        return self.layers(x)


class SmallConvNet(nn.Module):
    """Four strided convolutions, mean and standard deviation over time, and a linear layer; under 300,000 weights.

    Parameters
    ----------
    mels : int
        Number of bands of the log-mel spectrogram, at least 16.
    k : int
        Number of dimensions of z.
    norm : bool
        Whether to add a final layer norm, with which z initially has length sqrt(k).
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
        """Map log-mel spectrograms (B, mels, frames) to embeddings (B, k)."""
        if x.ndim != 3 or x.shape[1] != self.mels:
            raise ParameterError("inputs.shape", ("B", *x.shape[1:]), f"(B, {self.mels}, frames)")
        frames = self.blocks(x[:, None]).flatten(1, 2)
        spread = (frames.var(2, correction=0) + 1e-5).sqrt()  # the gradient of the root is infinite at 0
        return self.out(torch.cat([frames.mean(2), spread], 1))


class EfficientATNetwork(nn.Module):
    """An EfficientAT tagger with all weights trained; z is its hidden layer before the activation, with a layer norm.

    The layer below it, which :func:`workbench.embed` returns, is almost never negative, so it cannot reach prototypes
    in all directions. With the layer norm z initially has length sqrt(k), as for AST. Without it all clips would have
    nearly the same, long vector.

    Parameters
    ----------
    net : workbench.encoders.efficientat.EfficientATNet
        The tagger; its modules are used, not copied.

    Notes
    -----
    Batch norm uses the means and variances of the checkpoint also in training; its scales and shifts are trained. In a
    few epochs on a small set the running statistics, which are used in evaluation, would lag far behind those of the
    batches.
    """

    def __init__(self, net: efficientat.EfficientATNet):
        super().__init__()
        self.features, self.out = net.features, net.classifier[2]
        self.norm = nn.LayerNorm(self.out.out_features)
        self.requires_grad_(True)

    def train(self, mode: bool = True) -> EfficientATNetwork:
        """Set training or evaluation mode, except for batch norm, which stays in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map spectrograms (B, 128, frames) to embeddings (B, k)."""
        return self.norm(self.out(self.features(x[:, None]).mean((2, 3))))


class ASTNetwork(nn.Module):
    """An Audio Spectrogram Transformer with all weights trained; z is the mean of its two tokens after the last norm.

    Parameters
    ----------
    model : transformers.ASTModel
        The transformer; it is used, not copied.
    frames : int, optional
        Number of frames of the inputs. If it is smaller than that of the model, the position embeddings are cut to
        their central columns, as in Gong et al. 2021, instead of padding the sound with silence.
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
        """Map filterbanks (B, mels, frames) to embeddings (B, k)."""
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
    """Load an AST for fine-tuning, with ``config="paper"`` on :func:`filterbanks`.

    Parameters
    ----------
    name_or_path, random_weights, weights, fetch
        As in :func:`workbench.encoders.load_encoder`: "ast", a hub id, or a folder; ``random_weights`` is the seed of
        an untrained network.
    frames : int, optional
        Number of frames of the inputs, such as 498 for 5 s; by default that of the model.

    Raises
    ------
    WeightsError
        If the weights are missing; the message says how to get them.
    ParameterError
        If the model is not an AST, or has fewer frames.
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
    """BEATs (mean of its tokens, k = 768) or ECAPA-TDNN (k = 192) on waveforms at 16 kHz, with all weights trained.

    Parameters
    ----------
    kind : {"beats", "ecapa"}
        Which network.
    weights : path, optional
        Checkpoint: ``BEATs_iter3_plus_AS2M.pt``, or ``embedding_model.ckpt`` of speechbrain/spkrec-ecapa-voxceleb. By
        default the network is untrained.

    Raises
    ------
    ParameterError
        If speechbrain is not installed, or the kind is unknown.
    WeightsError
        If the checkpoint does not exist or does not contain these weights.

    Notes
    -----
    Train with ``standardise="none"``. Checkpoints are read with ``weights_only``, and the recipes of the hub, which are
    code, are not executed.
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
            except Exception as error:  # one message for all kinds of errors, as below
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
            except Exception as error:  # torch raises a dozen kinds of errors; they get one message
                reason = " ".join(str(error).split())[:200]
                raise WeightsError(f"{weights}: no weights of {kind} ({type(error).__name__}: {reason})") from error

    def forward(self, x: Tensor) -> Tensor:
        """Map waveforms (B, samples) to embeddings (B, k)."""
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
    """Compute log-mel spectrograms of clips, for :class:`SmallConvNet`.

    Parameters
    ----------
    clips : Clips, or sequence of waveforms (samples,) at ``rate``
        The clips.
    mels : int
        Number of mel bands.
    rate : int
        Sampling rate in Hz to which clips are resampled.
    seconds : float, optional
        Length to which each clip is cut or zero-padded; by default clips are not changed and must have equal lengths.
    hop : int
        Samples between frames.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    np.ndarray float32 (N, mels, frames)
        Natural logarithm of mel power.

    Raises
    ------
    ParameterError
        If there are no clips, clips differ in length without ``seconds``, or the inputs do not fit in memory.
    AudioError
        If a clip has samples that are not finite.
    """
    for name, value in (("mels", mels), ("rate", rate), ("hop", hop)):
        whole(name, value, least=1)
    filters = audio.mel_filters(rate, n_fft=N_FFT, n_mels=mels).T

    def log_mel(x: np.ndarray) -> Tensor:
        return (filters @ audio.spectrogram(x, n_fft=N_FFT, hop=hop) + FLOOR).log()

    return _each(clips, log_mel, rate, seconds, progress, "log-mels")


@checked
def filterbanks(clips: object, *, mels: int = 128, seconds: float | None = None, progress: bool = True) -> np.ndarray:
    """Compute Kaldi filterbanks for AST, as in arXiv 2406.16145: 16 kHz, 25 ms windows every 10 ms, Hann window.

    Parameters and errors are those of :func:`log_mels`; a clip of 5 s has 498 frames.

    Returns
    -------
    np.ndarray float32 (N, mels, frames)
        Natural logarithm, not normalised; ``standardise="all"`` normalises it with training statistics.
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
    """Compute log-mel spectrograms for EfficientAT: 32 kHz, 25 ms windows every 10 ms, normalised by its constants.

    Parameters and errors are those of :func:`log_mels`.

    Returns
    -------
    np.ndarray float32 (N, 128, frames)
        Inputs for training with ``standardise="none"``.
    """
    from ..encoders import efficientat

    front_end = efficientat.FrontEnd()
    return _each(
        clips, lambda x: front_end(torch.from_numpy(x)[None])[0, 0], efficientat.RATE, seconds, progress, "log-mels"
    )


@checked
def waveforms(clips: object, *, rate: int = 16000, seconds: float | None = None, progress: bool = True) -> np.ndarray:
    """Return the waveforms of clips, float32 (N, samples), for :class:`SpeechBrainNetwork`.

    Parameters and errors are those of :func:`log_mels`.
    """
    return _each(clips, torch.from_numpy, rate, seconds, progress, "waveforms")


def _each(
    clips: object, compute: Callable[[np.ndarray], Tensor], rate: int, seconds: float | None, progress: bool, what: str
) -> np.ndarray:
    """Apply ``compute`` to each clip's waveform, one at a time so that only one waveform is in memory."""
    if isinstance(clips, (str, bytes, Mapping)) or not (hasattr(clips, "audio") or isinstance(clips, LISTS)):
        raise ParameterError("clips", type(clips).__name__, "clips, as load_dataset gives them, or a list of waveforms")
    if not len(clips):
        raise ParameterError("clips", [], "at least one clip")
    if seconds is not None:
        number("seconds", seconds, above=0, most=86_400)  # more than a day is a mistake and would not fit in memory
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
    """Return an empty float32 array of this shape, or raise an error if training on it would not fit in memory."""
    import psutil

    gigabytes, free = math.prod(shape) * 4e-9, psutil.virtual_memory().available * 1e-9
    if COPIES * gigabytes > free:
        expected = f"fewer or shorter: inputs of {shape} take {gigabytes:.1f} GB, training on them "
        expected += f"{COPIES * gigabytes:.1f} GB, and {free:.1f} GB of memory are free"
        raise ParameterError("clips", f"{shape[0]} clips", expected)
    return np.empty(shape, dtype=np.float32)
