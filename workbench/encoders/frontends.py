"""Front ends of transformers models: waveforms and lengths to a model's inputs, and lengths to numbers of frames.

Each has ``rate`` (Hz), ``padding``, ``window`` (seconds) and ``minimum`` (samples) as :class:`.interface.Encoder`
means them, ``frame_rate`` (Hz), ``parts`` (what its numbers depend on, for the fingerprint), and two methods:
``inputs(x, lengths)`` gives the keyword arguments of the model, ``frames(lengths, total)`` the true frames of each row
when ``total`` came out.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ParameterError


def mask(lengths: Tensor, total: int) -> Tensor:
    """(B, total) True where a sample or frame belongs to the clip."""
    return torch.arange(total, device=lengths.device) < lengths[:, None]


class MaskedGroupNorm(nn.Module):
    """Group norm with one group a channel over the true frames only.

    ``frames`` is set before a pass, (B,), or None where all frames are true; each thread has its own.
    """

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self._batch = threading.local()

    @property
    def frames(self) -> Tensor | None:
        return getattr(self._batch, "frames", None)

    @frames.setter
    def frames(self, frames: Tensor | None) -> None:
        self._batch.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        frames = self.frames
        if frames is None:
            return F.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)
        padded = ~mask(frames, x.shape[2])[:, None]
        n = frames[:, None, None]
        y = x.float().masked_fill(padded, 0.0)
        y = (y - y.sum(2, keepdim=True) / n).masked_fill(padded, 0.0)
        scale = torch.rsqrt(y.square().sum(2, keepdim=True) / n + self.eps)
        return y * (scale * self.weight[:, None]) + self.bias[:, None]


class WaveformFront:
    """Front end of the wav2vec2 kind: samples go in, normalised over the clip where the model was trained so."""

    padding, window = "masked", None

    def __init__(self, config, preprocess: dict, model: nn.Module):
        self.rate = int(preprocess["sampling_rate"])
        self.normalize = bool(preprocess.get("do_normalize", True))
        self.kernels = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.frame_rate = self.rate / math.prod(config.conv_stride)
        self.minimum = 1
        for kernel, stride in reversed(self.kernels):
            self.minimum = (self.minimum - 1) * stride + kernel
        self.norm = None
        if config.feat_extract_norm == "group":
            first = model.feature_extractor.conv_layers[0]
            self.norm = first.layer_norm = MaskedGroupNorm(first.layer_norm)
        if getattr(config, "conv_pos_batch_norm", False):
            self.padding = "equal"  # the batch norm moves the zeros that the position convolution should see
        self.parts = (self.rate, self.normalize)

    def inputs(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        whole = mask(lengths, x.shape[1])
        if self.normalize:  # as Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm
            n = lengths[:, None]
            x = (x - x.sum(1, keepdim=True) / n) * whole
            x = x / (x.square().sum(1, keepdim=True) / n + 1e-7).sqrt()
        padded = bool((lengths != x.shape[1]).any())
        if self.norm is not None:
            kernel, stride = self.kernels[0]
            self.norm.frames = (lengths - kernel) // stride + 1 if padded else None
        return {"input_values": x, "attention_mask": whole.long()} if padded else {"input_values": x}

    def frames(self, lengths: Tensor, total: int) -> Tensor:
        for kernel, stride in self.kernels:
            lengths = (lengths - kernel) // stride + 1
        return lengths


class FilterbankFront:
    """AST's front end: Kaldi filterbank of 128 bands, cut or zero-padded to ``max_length`` frames."""

    padding, frame_rate = "fixed", 0.0

    def __init__(self, config, preprocess: dict, model: nn.Module):
        from transformers import ASTFeatureExtractor

        self.extractor = ASTFeatureExtractor.from_dict(preprocess)
        self.rate = int(self.extractor.sampling_rate)
        self.minimum = round(0.025 * self.rate)
        self.hop = round(0.010 * self.rate)
        self.window = self.extractor.max_length * self.hop / self.rate
        keys = ("num_mel_bins", "max_length", "do_normalize", "mean", "std")
        self.parts = (self.rate, *(getattr(self.extractor, key) for key in keys))

    def inputs(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        most = self.minimum + (self.extractor.max_length - 1) * self.hop  # what lies behind would be computed in vain
        clips = [row[: min(n, most)] for row, n in zip(x.cpu().numpy(), lengths.tolist(), strict=True)]
        values = self.extractor(clips, sampling_rate=self.rate, return_tensors="pt")["input_values"]
        return {"input_values": values.to(x.device)}

    def frames(self, lengths: Tensor, total: int) -> Tensor:
        return torch.full_like(lengths, total)


class WhisperFront:
    """Whisper's front end: log-mel of exactly ``chunk_length`` seconds, scaled by the clip's own maximum."""

    padding, minimum = "fixed", 1

    def __init__(self, config, preprocess: dict, model: nn.Module):
        from transformers import WhisperFeatureExtractor

        self.extractor = WhisperFeatureExtractor.from_dict(preprocess)
        self.rate = int(self.extractor.sampling_rate)
        self.window = float(self.extractor.n_samples / self.rate)
        self.samples = 2 * self.extractor.hop_length  # of one frame: the second convolution has stride 2
        self.frame_rate = self.rate / self.samples
        self.parts = (self.rate, self.window, self.extractor.feature_size, self.extractor.n_fft)

    def inputs(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        clips = [row[:n] for row, n in zip(x.cpu().numpy(), lengths.tolist(), strict=True)]
        features = self.extractor(clips, sampling_rate=self.rate, return_tensors="pt")["input_features"]
        return {"input_features": features.to(x.device)}

    def frames(self, lengths: Tensor, total: int) -> Tensor:
        return ((lengths + self.samples - 1) // self.samples).clamp(max=total)


class OtherFront:
    """Any other model through its own feature extractor, for clips of equal length; frames are what comes out."""

    padding, window, frame_rate = "equal", None, 0.0

    def __init__(self, config, preprocess: dict, model: nn.Module):
        import transformers

        kind = preprocess.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
        extractor = getattr(transformers, kind, None)
        if extractor is None:
            raise ParameterError("feature_extractor_type", kind, "a feature extractor that transformers has")
        self.extractor = extractor.from_dict(preprocess)
        self.rate = int(self.extractor.sampling_rate)
        self.parts = (kind, json.dumps(preprocess, sort_keys=True, default=str))
        self.minimum = self._minimum(model)

    def _minimum(self, model: nn.Module) -> int:
        """Shortest power-of-two multiple of 12.5 ms that gives finite frames; longer clips give frames too."""
        unfit = (RuntimeError, ValueError, AssertionError, IndexError, AttributeError, TypeError)
        for samples in (self.rate // 80 * 2**i for i in range(10)):
            with contextlib.suppress(*unfit), warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")
                x = torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
                states = model(**self.inputs(x, torch.tensor([samples])), output_hidden_states=True).hidden_states
                if states[0].ndim == 3 and states[0].shape[1] and all(state.isfinite().all() for state in states):
                    return samples
        raise ParameterError("model", type(model).__name__, "one whose hidden states are (B, T, D) for 6.4 s of sound")

    def inputs(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        found = self.extractor(list(x.cpu().numpy()), sampling_rate=self.rate, return_tensors="pt")
        return {key: value.to(x.device) for key, value in found.items()}

    def frames(self, lengths: Tensor, total: int) -> Tensor:
        return torch.full_like(lengths, total)
