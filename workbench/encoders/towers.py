"""Find the audio encoder in a transformers model, the part that turns sound into frames, and how to build and call it.

A model type may be the audio encoder itself (HuBERT), an encoder and a decoder (Whisper), a language model with an
audio tower (Qwen2-Audio), a pair of towers (CLAP) or a codec (EnCodec, Mimi, DAC). Only the audio encoder is built and
only its weights are read. The configuration says which part it is; otherwise the whole model is built without weights
and searched.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..core.errors import ParameterError

FIRST_INPUTS = ("input_values", "input_features", "audio_mel")
"""Names that the first argument of an audio encoder may have."""
PARTS = ("audio_tower", "audio_encoder", "speech_encoder", "encoder")
"""Names that a model's audio encoder may have."""
WITHIN = ("audio_config", "audio_encoder", "audio_encoder_config", "codec_config", "encoder")
"""Names of an audio encoder's or codec's configuration inside another; it counts if its model type is known."""


class Tower(NamedTuple):
    """The audio encoder of a model type."""

    network: type
    """Class of the network to build or load, which takes ``settings``."""
    settings: object
    """Configuration of the network."""
    kept: Callable[[nn.Module], nn.Module] = staticmethod(lambda model: model)
    """Function that returns the part of the network that is called with the front end's inputs."""


def tower(settings) -> Tower:
    """Return the audio encoder of a transformers configuration.

    Raises
    ------
    ParameterError
        The model type has no audio encoder, or its model cannot be built, for instance without a missing package.
    """
    import transformers

    kind = settings.model_type
    if kind in SPECIAL:
        return SPECIAL[kind](transformers, settings)
    for part in (getattr(settings, name, None) for name in WITHIN):
        if type(part) in transformers.MODEL_MAPPING:
            return tower(part)
    model, whole = None, None
    try:
        whole = transformers.MODEL_MAPPING[type(settings)]
        whole = whole[0] if isinstance(whole, tuple) else whole
        with torch.device("meta"):
            model = whole(settings)
        expected = (
            f"a type with an audio encoder: {whole.__name__} has none that takes sound and gives frames; "
            "load the encoder or codec that it was built on instead, by its own name"
        )
    except Exception as error:  # a configuration that does not go together fails in any way
        cause = reason(error) if whole else "it has no bare model; load the encoder that it was built on instead"
        expected = f"a type whose model transformers can build from config.json ({cause})"
    for name, part in () if model is None else model.named_modules():
        if name.rpartition(".")[2] in PARTS and isinstance(part, transformers.PreTrainedModel) and _hears(part):
            within = part.config.model_type != kind and type(part.config) in transformers.MODEL_MAPPING
            return tower(part.config) if within else Tower(type(part), part.config)
    if model is not None and _hears(model) and not settings.is_encoder_decoder:
        return Tower(whole, settings)
    raise ParameterError("model_type", kind, expected)


def reason(error: BaseException) -> str:
    """Return an error of a library as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _hears(module: nn.Module) -> bool:
    first = next(iter(inspect.signature(module.forward).parameters), None)
    # Granite's speech encoder calls its mel frames hidden states
    return first in FIRST_INPUTS or (first == "hidden_states" and module.input_modalities in ("audio", ("audio",)))


def frames(output) -> list[Tensor]:
    """Return the layers of a model's output, each (B, T, D): hidden states or the last one, and a codec's latents."""
    states = list(getattr(output, "hidden_states", None) or ())
    if getattr(output, "latents", None) is not None:
        states.append(output.latents.transpose(1, 2))
    if not states and getattr(output, "last_hidden_state", None) is not None:
        states = [output.last_hidden_state]
    if getattr(output, "audio_embeds", None) is not None:  # CLAP: one vector a clip, in the space of the texts
        states.append(output.audio_embeds[:, None])
    # (B, D, frequency, time) of a hierarchical image transformer: tokens, row by row
    return [state.flatten(2).transpose(1, 2) if state.ndim == 4 else state for state in states]


class CodecFrames(nn.Module):
    """The encoder of a codec without its quantiser; its output is what would be quantised.

    Parameters
    ----------
    encoder : torch.nn.Module
        Module that maps (B, channels, samples) to (B, D, T).
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_values: Tensor, output_hidden_states: bool = True):
        """Return an output with ``latents`` (B, D, T)."""
        from transformers.utils import ModelOutput

        return ModelOutput(latents=self.encoder(input_values))


class CutWhisper(nn.Module):
    """Whisper's encoder on as many positions as its features need, instead of all 1500.

    Parameters
    ----------
    encoder : transformers.WhisperEncoder
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder, self.config = encoder, encoder.config

    def forward(self, input_features: Tensor, output_hidden_states: bool = True):
        """Return the hidden states (B, T, D) as the encoder itself does: before each block, and after the last norm."""
        from transformers.utils import ModelOutput

        encoder = self.encoder
        x = nn.functional.gelu(encoder.conv1(input_features))
        x = nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        states = []
        for block in encoder.layers:
            states.append(x)
            x = block(x, None)
            x = x[0] if isinstance(x, tuple) else x
        return ModelOutput(hidden_states=(*states, encoder.layer_norm(x)))


def _codec(name: str, kept: Callable[[nn.Module], nn.Module] = lambda model: model.encoder) -> Callable:
    def build(transformers, settings) -> Tower:
        if getattr(settings, "normalize", False) or getattr(settings, "chunk_length_s", None):
            raise ParameterError(
                "chunk_length_s",
                settings.chunk_length_s,
                "null: a codec that scales each chunk by its loudness (encodec_48khz) has no common scale of frames; "
                "facebook/encodec_24khz loads",
            )
        return Tower(getattr(transformers, name), settings, lambda model: CodecFrames(kept(model)))

    return build


def _clap(transformers, settings) -> Tower:
    return Tower(transformers.ClapAudioModelWithProjection, getattr(settings, "audio_config", settings))


def _packed(transformers, settings) -> Tower:
    raise ParameterError(
        "model_type",
        settings.model_type,
        "a type whose audio encoder takes a batch of clips: this one takes all clips joined into one sequence, which "
        "is not supported; the encoder of qwen2_audio (Qwen/Qwen2-Audio-7B) loads, and so does 'whisper-base'",
    )


def _two_parts(transformers, settings) -> Tower:
    raise ParameterError(
        "model_type",
        settings.model_type,
        "a type with one audio encoder: this codec joins a semantic and an acoustic one and gives no frames; "
        f"the semantic one ({settings.semantic_model_config.model_type}) loads by its name, and so do encodec and mimi",
    )


def _speecht5(transformers, settings) -> Tower:
    from transformers.models.speecht5.modeling_speecht5 import SpeechT5EncoderWithSpeechPrenet

    return Tower(SpeechT5EncoderWithSpeechPrenet, settings)


SPECIAL: dict[str, Callable] = {
    "clap": _clap,
    "clap_audio_model": _clap,
    "speecht5": _speecht5,
    **dict.fromkeys(("neucodec", "xcodec", "xcodec2", "higgs_audio_v2_tokenizer"), _two_parts),
    "encodec": _codec("EncodecModel"),
    "dac": _codec("DacModel"),
    "wavtokenizer": _codec("WavTokenizerModel", lambda model: model.encoder_model.encoder),
    "wavtokenizer_encoder": _codec("WavTokenizerEncoderModel"),
    **{
        family + part: _packed
        for family in ("qwen2_5_omni", "qwen3_omni_moe", "qwen3_asr")
        for part in ("", "_thinker", "_audio_encoder", "_encoder")
    },
}
"""Model type -> function that returns its audio encoder, for types in which the rules above do not find it."""
