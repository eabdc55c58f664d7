"""Networks that map a batch of inputs to embeddings z (B, k), and the spectrograms that two of them take.

:func:`workbench.prototypes.train_classifier` takes a callable that makes one, ``partial(MLPProjector, 256, 64)`` or
``partial(fine_tune_ast, "ast", frames=498)`` for example, and calls it with torch's generator seeded for the run.

====================  ==============================  =================================================================
network               inputs                          what it is
====================  ==============================  =================================================================
`MLPProjector`        (N, D) frozen embeddings        one hidden layer; EfficientAT and the others through
                                                      :func:`workbench.embed`
`SmallConvNet`        (N, mels, frames) `log_mels`    from scratch, in a minute or two on two cores
`fine_tune_ast`       (N, 128, frames)                AST with all its weights, preset "paper"
                      `filterbanks`
`SpeechBrainNetwork`  (N, samples) at 16 kHz          BEATs or ECAPA-TDNN of the package speechbrain
====================  ==============================  =================================================================
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .. import audio
from ..errors import ParameterError, WeightsError

N_FFT, HOP = 1024, 320
"""Samples of :func:`log_mels` at 16 kHz: windows of 64 ms, 50 frames a second."""


class MLPProjector(nn.Module):
    """A head for frozen embeddings: linear, ReLU, linear.

    Parameters
    ----------
    dim_in : int
        D of the inputs.
    k : int
        Of z.
    hidden : int
        Units of the hidden layer.
    norm : bool
        End with a layer norm: z then starts at length sqrt(k).
    """

    def __init__(self, dim_in: int, k: int, *, hidden: int = 256, norm: bool = False):
        super().__init__()
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
        Of z.
    norm : bool
        End with a layer norm: z then starts at length sqrt(k).
    """

    WIDTHS = (16, 32, 64, 64)

    def __init__(self, mels: int, k: int, *, norm: bool = False):
        super().__init__()
        if mels < 16:
            raise ParameterError("mels", mels, "at least 16")
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


class ASTNetwork(nn.Module):
    """An Audio Spectrogram Transformer, all weights trainable; z is the mean of its two tokens after the last norm.

    Parameters
    ----------
    model : transformers.ASTModel
    frames : int, optional
        Of the inputs. Fewer than the model was made for: the position table is cut to its central columns, as Gong et
        al. 2021 do, instead of padding the sound with silence.
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
    """AST ready for fine-tuning; train it with ``preset="paper"`` on :func:`filterbanks`.

    Parameters
    ----------
    name_or_path, random_weights, weights, fetch
        As in :func:`workbench.encoders.load_encoder`: "ast", a hub id, or a folder; a seed for an untrained one.
    frames : int, optional
        Of the inputs, such as 498 for 5 s; default: those the model was made for.

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
            expected = 'used with the package speechbrain installed: pip install "workbench[speechbrain]"'
            raise ParameterError("kind", kind, expected)
        if weights is not None and not Path(weights).is_file():
            raise WeightsError(f"{weights}: no such file; the checkpoint for {kind} is expected there")
        self.kind = kind
        if kind == "beats":
            from speechbrain.lobes.models.beats import BEATs

            self.model = BEATs(None if weights is None else str(weights), freeze=False)
            return
        from speechbrain.lobes.features import Fbank
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

        self.features = Fbank(n_mels=80)
        self.model = ECAPA_TDNN(80, channels=[1024] * 4 + [3072], lin_neurons=192)
        if weights is not None:
            self.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, samples) -> (B, k)."""
        whole = torch.ones(len(x), device=x.device)
        if self.kind == "beats":
            return self.model.extract_features(x, whole)[0].mean(1)
        mels = self.features(x)
        return self.model(mels - mels.mean(1, keepdim=True), whole).squeeze(1)


def log_mels(
    clips: object, *, mels: int = 64, rate: int = 16000, seconds: float | None = None, hop: int = HOP
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

    Returns
    -------
    np.ndarray float32 (N, mels, frames)

    Raises
    ------
    ParameterError
        No clips, or clips of different lengths without ``seconds``.
    """
    floor = 1e-6  # above audio.LOG_FLOOR: digital silence should not lie far off all that is heard
    filters = audio.mel_filters(rate, n_fft=N_FFT, n_mels=mels).T
    waves = _waveforms(clips, rate, seconds)
    spectra = ((filters @ audio.spectrogram(x, n_fft=N_FFT, hop=hop) + floor).log().numpy() for x in waves)
    return np.stack(list(spectra))


def filterbanks(clips: object, *, mels: int = 128, seconds: float | None = None) -> np.ndarray:
    """Kaldi filterbanks as AST and the code of arXiv 2406.16145 take them: 16 kHz, 25 ms every 10 ms, Hann window.

    Parameters and errors as of :func:`log_mels`; 5 s are 498 frames.

    Returns
    -------
    np.ndarray float32 (N, mels, frames)
        Natural logarithm, not normalised: ``standardise="all"`` does that with training statistics.
    """
    from torchaudio.compliance.kaldi import fbank

    return np.stack(
        [
            fbank(
                torch.from_numpy(x - x.mean())[None],
                htk_compat=True,
                sample_frequency=16000,
                use_energy=False,
                window_type="hanning",
                num_mel_bins=mels,
                dither=0.0,
                frame_shift=10,
            ).T.numpy()
            for x in _waveforms(clips, 16000, seconds)
        ]
    )


def _waveforms(clips: object, rate: int, seconds: float | None) -> list[np.ndarray]:
    if hasattr(clips, "audio"):
        waves: Sequence = [clips.audio(i, rate=rate)[0] for i in range(len(clips))]
    else:
        waves = [np.asarray(x, dtype=np.float32) for x in clips]
    if not waves:
        raise ParameterError("clips", [], "at least one clip")
    if seconds is not None:
        waves = [audio.fit(x, rate, seconds=seconds) for x in waves]
    lengths = {len(x) for x in waves}
    if len(lengths) > 1:
        raise ParameterError("seconds", None, f"given: clips have {min(lengths)} to {max(lengths)} samples")
    return waves
