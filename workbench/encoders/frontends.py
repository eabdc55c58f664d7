"""Front ends of transformers models, which turn waveforms and lengths into a model's inputs and count its true frames.

Each front end has ``rate`` (Hz), ``padding``, ``window`` (seconds) and ``minimum`` (samples) with the meaning they have
in :class:`.interface.Encoder`, ``frame_rate`` (Hz), ``parts`` (the settings on which its numbers depend, for the
fingerprint), and three methods. ``inputs(x, lengths)`` returns the keyword arguments of the model. ``frames(lengths,
total, layer)`` returns the number of true frames of each row, where the layer gave ``total`` frames. ``layers(model)``
returns (D, frames a second) of each layer.
"""

from __future__ import annotations

import inspect
import json
import math
import threading
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.dependencies import load
from ..core.errors import ParameterError
from .towers import frames, reason


def mask(lengths: Tensor, total: int) -> Tensor:
    """Return a mask (B, total) that is True where a sample or frame belongs to the clip."""
    return torch.arange(total, device=lengths.device) < lengths[:, None]


class _MaskedGroupNorm(nn.Module):
    """Group norm with one group for each channel, whose statistics are taken over the true frames only.

    ``frames``, the true frames of each row (B,) or None if there is no padding, is set before a forward pass; each
    thread has its own.
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

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_batch"}  # not to be copied

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._batch = threading.local()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, T) over T."""
        frames = self.frames
        if frames is None:
            # in float32 also under autocast, as below: with one or two frames, half precision is mostly rounding error
            return F.group_norm(x.float(), x.shape[1], self.weight, self.bias, self.eps)
        padded = ~mask(frames, x.shape[2])[:, None]
        n = frames[:, None, None]
        y = x.float().masked_fill(padded, 0.0)
        y = (y - y.sum(2, keepdim=True) / n).masked_fill(padded, 0.0)
        scale = torch.rsqrt(y.square().sum(2, keepdim=True) / n + self.eps)
        return y * (scale * self.weight[:, None]) + self.bias[:, None]


class WaveformFront:
    """Front end of wav2vec2 and similar models: samples, normalised over the clip if the model was trained that way."""

    padding, window = "masked", None

    def __init__(self, config, preprocess: dict, model: nn.Module):
        self.rate = int(preprocess["sampling_rate"])
        self.dim, self.count = config.hidden_size, config.num_hidden_layers + 1
        self.normalize = bool(preprocess.get("do_normalize", True))
        self.kernels = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.frame_rate = self.rate / math.prod(config.conv_stride)
        self.minimum = 1
        for kernel, stride in reversed(self.kernels):
            self.minimum = (self.minimum - 1) * stride + kernel
        self.norm = None
        if config.feat_extract_norm == "group":
            first = model.feature_extractor.conv_layers[0]
            self.norm = first.layer_norm = _MaskedGroupNorm(first.layer_norm)
        if getattr(config, "conv_pos_batch_norm", False):
            self.padding = "equal"  # the batch norm changes the zeros that the position convolution should see
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

    def layers(self, model: nn.Module) -> list[tuple[int, float]]:
        return [(self.dim, self.frame_rate)] * self.count

    def frames(self, lengths: Tensor, total: int, layer: int) -> Tensor:
        for kernel, stride in self.kernels:
            lengths = (lengths - kernel) // stride + 1
        return lengths


class FilterbankFront:
    """AST's front end: a Kaldi filterbank of 128 bands, cut or zero-padded to ``max_length`` frames."""

    padding, frame_rate = "fixed", 0.0

    def __init__(self, config, preprocess: dict, model: nn.Module):
        load("torchaudio.compliance.kaldi")  # transformers uses it if it can be imported
        from transformers import ASTFeatureExtractor

        self.extractor = ASTFeatureExtractor.from_dict(preprocess)
        self.rate = int(self.extractor.sampling_rate)
        self.dim, self.count = config.hidden_size, config.num_hidden_layers + 1
        self.minimum = round(0.025 * self.rate)
        self.hop = round(0.010 * self.rate)
        self.window = self.extractor.max_length * self.hop / self.rate
        keys = ("num_mel_bins", "max_length", "do_normalize", "mean", "std")
        self.parts = (self.rate, *(getattr(self.extractor, key) for key in keys))

    def inputs(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        most = self.minimum + (self.extractor.max_length - 1) * self.hop  # the extractor cuts what is beyond
        clips = [row[: min(n, most)] for row, n in zip(x.cpu().numpy(), lengths.tolist(), strict=True)]
        values = self.extractor(clips, sampling_rate=self.rate, return_tensors="pt")["input_values"]
        return {"input_values": values.to(x.device)}

    def layers(self, model: nn.Module) -> list[tuple[int, float]]:
        return [(self.dim, self.frame_rate)] * self.count

    def frames(self, lengths: Tensor, total: int, layer: int) -> Tensor:
        return torch.full_like(lengths, total)


class WhisperFront:
    """Whisper's front end, which other encoders use as well: log-mel of fixed length, scaled by the clip's maximum."""

    padding, minimum = "fixed", 1

    def __init__(self, config, preprocess: dict, model: nn.Module):
        from transformers import WhisperFeatureExtractor

        self.extractor = WhisperFeatureExtractor.from_dict(preprocess)
        self.rate = int(self.extractor.sampling_rate)
        self.samples = int(self.extractor.n_samples)
        self.window = float(self.samples / self.rate)
        self.frame_rate = self.rate / (2 * self.extractor.hop_length)  # the second convolution has stride 2
        self.parts = (self.rate, self.window, self.extractor.feature_size, self.extractor.n_fft)
        self.masked = "input_features_mask" in inspect.signature(model.forward).parameters

    def inputs(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        if x.requires_grad and not self.masked:
            return {"input_features": self._log_mel(x * mask(lengths, x.shape[1]))}
        features = self.extractor(
            _rows(x, lengths), sampling_rate=self.rate, return_attention_mask=self.masked, return_tensors="pt"
        )
        inputs = {"input_features": features["input_features"].to(x.device)}
        if self.masked:  # encoders that do not attend to frames behind the clip
            inputs["input_features_mask"] = features["attention_mask"].to(x.device)
        return inputs

    def _log_mel(self, x: Tensor) -> Tensor:
        """Compute what the extractor computes, with differentiable operations."""
        size, hop = self.extractor.n_fft, self.extractor.hop_length
        x = F.pad(x[:, : self.samples], (0, max(self.samples - x.shape[1], 0)))
        spectrum = torch.stft(x, size, hop, window=torch.hann_window(size, device=x.device), return_complex=True)
        power = spectrum[..., :-1].real.square() + spectrum[..., :-1].imag.square()
        filters = torch.as_tensor(self.extractor.mel_filters, dtype=torch.float32, device=x.device)
        level = (filters.T @ power).clamp_min(1e-10).log10()
        return (level.maximum(level.amax((1, 2), keepdim=True) - 8) + 4) / 4

    def frames(self, lengths: Tensor, total: int, layer: int) -> Tensor:
        """Count the frames that begin inside the clip; layers after a pooling have fewer, longer frames."""
        samples = self.samples // total
        return ((lengths + samples - 1) // samples).clamp(max=total)

    def layers(self, model: nn.Module) -> list[tuple[int, float]]:
        if model.config.model_type == "whisper":
            return [(model.config.d_model, self.frame_rate)] * (model.config.encoder_layers + 1)
        with torch.inference_mode():
            n = torch.tensor([1])
            states = frames(model(**self.inputs(torch.zeros(1, 1), n), output_hidden_states=True))
        return [(state.shape[2], state.shape[1] / self.window) for state in states]


class CutWhisperFront(WhisperFront):
    """Whisper's log-mel cut after the clip's last frame, for :class:`.towers.CutWhisper`."""

    padding = "equal"

    def inputs(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        x = x[:, : self.samples]
        hop = self.extractor.hop_length
        count = 2 * (-(-x.shape[1] // (2 * hop)))
        # as much silence as the clip's frames overlap, so that they equal those of the 30 s
        whole = count * hop + self.extractor.n_fft
        rows = list(F.pad(x, (0, whole - x.shape[1])).cpu().numpy())
        features = self.extractor(rows, sampling_rate=self.rate, padding="longest", return_tensors="pt")
        return {"input_features": features["input_features"][:, :, :count].to(x.device)}

    def frames(self, lengths: Tensor, total: int, layer: int) -> Tensor:
        return torch.full_like(lengths, total)


class ClapFront:
    """CLAP's front end: log-mel of ``max_length_s`` seconds; shorter clips are repeated, longer ones cut.

    transformers takes a random part of a longer clip; here it is the beginning, so that results are reproducible.
    """

    padding, minimum, frame_rate = "fixed", 1, 0.0

    def __init__(self, config, preprocess: dict, model: nn.Module):
        from transformers import ClapFeatureExtractor

        self.extractor = ClapFeatureExtractor.from_dict(preprocess)
        self.rate = int(self.extractor.sampling_rate)
        self.samples = int(self.extractor.nb_max_samples)
        self.window = float(self.samples / self.rate)
        self.parts = (self.rate, json.dumps(preprocess, sort_keys=True, default=str))

    def inputs(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        rows = [row[: self.samples] for row in _rows(x, lengths)]
        features = self.extractor(rows, sampling_rate=self.rate, return_tensors="pt")
        # with fusion the extractor marks a random clip of every batch as longer; after the cut none is
        longer = torch.zeros(len(rows), 1, dtype=torch.bool, device=x.device)
        return {"input_features": features["input_features"].to(x.device), "is_longer": longer}

    def frames(self, lengths: Tensor, total: int, layer: int) -> Tensor:
        return torch.full_like(lengths, total)

    def layers(self, model: nn.Module) -> list[tuple[int, float]]:
        with torch.inference_mode():
            n = torch.tensor([self.samples])
            states = frames(model(**self.inputs(torch.zeros(1, self.samples), n), output_hidden_states=True))
        return [(state.shape[2], 0.0) for state in states]


class OtherFront:
    """Front end of any other model: its own feature extractor, for clips of equal length."""

    padding, window, frame_rate = "equal", None, 0.0

    def __init__(self, config, preprocess: dict, model: nn.Module):
        self.extractor, kind = _feature_extractor(preprocess)
        self.rate = int(preprocess.get("sampling_rate") or self.extractor.sampling_rate)
        self.parts = (kind, json.dumps(preprocess, sort_keys=True, default=str))
        self.rates: list[float] = []
        takes = inspect.signature(self.extractor.__call__).parameters
        self.options = {"sampling_rate": self.rate, "return_tensors": "pt", "return_attention_mask": True}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
            self.options = {key: value for key, value in self.options.items() if key in takes}
        self.takes = {
            name: parameter.default is parameter.empty
            for name, parameter in inspect.signature(model.forward).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        }
        self.kind = config.model_type
        self.minimum = self._minimum(model)

    def _minimum(self, model: nn.Module) -> int:
        """Return the samples of the shortest clip of 12.5 ms times a power of two for which all frames are finite."""
        problem = None
        for samples in (self.rate // 80 * 2**i for i in range(10)):
            try:
                with warnings.catch_warnings(), torch.inference_mode():
                    warnings.simplefilter("ignore")
                    x = torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
                    states = self._states(model, x)
                if states and all(s.ndim == 3 and s.shape[1] and s.isfinite().all() for s in states):
                    return samples
                problem = "it gives no hidden states" if not states else "its hidden states are no frames (B, T, D)"
                if not states or any(s.ndim != 3 for s in states):
                    break
            except Exception as error:  # too short, or a wrong call: the longest clip decides
                problem = reason(error)
        raise ParameterError(
            "model_type",
            self.kind,
            f"a type whose audio encoder gives frames for the features of 6.4 s of sound; "
            f"{type(model).__name__} with {type(self.extractor).__name__} does not ({problem})",
        )

    def _states(self, model: nn.Module, x: Tensor) -> list[Tensor]:
        n = torch.tensor([x.shape[1]])
        return frames(model(**self.inputs(x, n), output_hidden_states=True))

    def inputs(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        rows = _rows(x, lengths)
        features = self.extractor(rows, **self.options)
        mask = next((features[key] for key in ("input_features_mask", "attention_mask") if key in features), None)
        inputs = {}
        for place, (name, needed) in enumerate(self.takes.items()):
            if place == 0 and name not in features:
                inputs[name] = next(features[key] for key in ("input_features", "input_values") if key in features)
            elif name == "audio_mel_mask" and mask is not None:  # true where there is padding
                inputs[name] = ~mask.bool()
            elif name in features:
                inputs[name] = features[name]
            elif needed and name.endswith("mask") and mask is not None:
                inputs[name] = mask
        return {key: torch.as_tensor(value).to(x.device) for key, value in inputs.items()}

    def frames(self, lengths: Tensor, total: int, layer: int) -> Tensor:
        """Count all frames, or if the extractor pads those that begin inside the clip."""
        if not self.rates or not self.rates[layer]:
            return torch.full_like(lengths, total)
        within = torch.ceil(lengths * self.rates[layer] / self.rate - 1e-6).long().clamp(min=1)
        return torch.where(within < total - 1, within, torch.full_like(lengths, total))

    def layers(self, model: nn.Module) -> list[tuple[int, float]]:
        """Return (D, frames a second) of each layer, measured by how many more frames a longer clip has.

        The difference in length is a multiple of every stride (times the extractor's hop) whose prime factors are
        within 2^10, 3 and 5^2, so that effects at the ends of a clip cancel.
        """
        hop = getattr(self.extractor, "hop_length", 1)
        more = hop * 480 if isinstance(hop, int) and hop > 1 else 76_800
        lengths = (max(self.minimum, self.rate // 2), max(self.minimum, self.rate // 2) + more)
        with torch.inference_mode():
            short, long = (self._states(model, torch.zeros(1, n)) for n in lengths)
        if [state.shape[2] for state in short] != [state.shape[2] for state in long]:
            raise ParameterError(
                "model_type", self.kind, "a type whose hidden states are frames (B, T, D), time second"
            )
        if all(a.shape[1] == b.shape[1] for a, b in zip(short, long, strict=True)):
            return self._fixed(short)
        self.rates = [(b.shape[1] - a.shape[1]) * self.rate / more for a, b in zip(short, long, strict=True)]
        return [(state.shape[2], rate) for state, rate in zip(short, self.rates, strict=True)]

    def _fixed(self, states: list[Tensor]) -> list[tuple[int, float]]:
        """Return the layers of a model whose extractor pads or cuts every clip to one length."""
        seconds = getattr(self.extractor, "chunk_length", None) or 0
        samples = getattr(self.extractor, "n_samples", None) or seconds * self.rate
        if not samples:
            return [(state.shape[2], 0.0) for state in states]
        self.padding, self.window = "fixed", samples / self.rate
        self.rates = [state.shape[1] / self.window for state in states]
        return [(state.shape[2], rate) for state, rate in zip(states, self.rates, strict=True)]


def _feature_extractor(preprocess: dict):
    """Return the feature extractor of a preprocessor_config.json, and its type."""
    load("torchaudio.compliance.kaldi")
    import transformers

    kind = preprocess.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    extractor_class = getattr(transformers, kind, None) if isinstance(kind, str) else None
    if extractor_class is None or not hasattr(extractor_class, "from_dict"):
        raise ParameterError("feature_extractor_type", kind, "a feature extractor that transformers has")
    return extractor_class.from_dict(preprocess), kind


def _rows(x: Tensor, lengths: Tensor) -> list:
    return [row[:n] for row, n in zip(x.cpu().numpy(), lengths.tolist(), strict=True)]
