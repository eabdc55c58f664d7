"""Every audio model type of the installed transformers: layers as transformers gives them, or one clear sentence.

``models.json`` beside this file is the table of what loads. The tests keep it true; after an upgrade of transformers
``python tests/encoders/test_model_types.py`` writes it anew (with names behind it, for these types only). "not tried"
are types that take longer than a minute here, however small their audio encoder.
"""

import json
import re
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.core.errors import WorkbenchError
from workbench.encoders import extract, load_encoder
from workbench.encoders.towers import WITHIN, frames, tower

TABLE = Path(__file__).with_name("models.json")
TWO = (
    "num_hidden_layers encoder_layers decoder_layers num_layers encoder_num_hidden_layers decoder_num_hidden_layers "
    "speech_encoder_layers num_attention_heads encoder_attention_heads decoder_attention_heads num_heads "
    "num_key_value_heads encoder_num_attention_heads encoder_num_key_value_heads decoder_num_attention_heads "
    "decoder_num_key_value_heads speech_encoder_attention_heads adaptor_num_layers num_adapter_layers"
)
SHAPE = {
    **dict.fromkeys(TWO.split(), 2),
    **dict.fromkeys(("hidden_size", "d_model", "hidden_dim"), 32),
    **dict.fromkeys(("head_dim", "attention_head_dim"), 16),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim"), 48),
    "encoder_intermediate_size": 48,
    **dict.fromkeys(("speech_encoder_intermediate_size", "subsampling_conv_channels", "conv_channels"), 32),
    "output_dim": 64,
    "conv_dim": 16,
}
"""What is made small, wherever it stands in the configuration of an audio encoder."""
PE = {"dac_config.encoder_hidden_size": 4, "dac_config.hidden_size": 64, "dac_config.decoder_hidden_size": 16}
ENCODEC = {"num_filters": 4, "hidden_size": 32, "codebook_dim": 32}
WHISPER = {"num_mel_bins": 80, "max_source_positions": 100}
OPTIONS = {
    **dict.fromkeys(("whisper", "qwen2_audio", "qwen2_audio_encoder", "voxtral", "voxtral_encoder"), WHISPER),
    **dict.fromkeys(("audioflamingo3", "audioflamingo3_encoder", "glmasr", "glmasr_encoder"), WHISPER),
    "clap": {"depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16, "hidden_size": 32},
    **dict.fromkeys(("encodec", "musicgen", "musicgen_melody"), ENCODEC),
    **dict.fromkeys(("wavtokenizer", "wavtokenizer_encoder", "apertus1p5"), ENCODEC),
    "dac": {"encoder_hidden_size": 4, "hidden_size": 64, "decoder_hidden_size": 64},
    **dict.fromkeys(("mimi", "mimi_encoder", "csm", "moshi", "kyutai_speech_to_text"), {"num_filters": 4}),
    **dict.fromkeys(("muse_spark", "muse_spark_audio"), {"num_hidden_layers": 4, "hidden_sizes": [16, 16, 16, 16]}),
    "dots3_note": {"adapter_input_size": 32},
    "nemotron3_diarization": {"hidden_size": 512},
    **dict.fromkeys(("pe_audio", "pe_audio_encoder"), PE),
}
"""What a type needs besides, in the configuration of its audio encoder."""
EXTRACTORS = {
    "wav2vec2-bert": "SeamlessM4TFeatureExtractor",
    "speech-encoder-decoder": "Wav2Vec2FeatureExtractor",
}
"""Feature extractors that published folders of a type name, where that is not what transformers lists."""

BANDS_128 = "canary cohere_asr nemo_speechlm nemotron3_diarization_audio nemotron3_5_transcribe_audio".split()
BANDS_128 += ["nemotron3_5_transcribe_asr_audio", "nemotron3_diarization"]


@cache
def audio_types() -> dict[str, str | None]:
    """Every type that has a feature extractor of sound or transcribes, and encoders of such models: its extractor."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import model_type_to_module_name as package
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES as EXTRACTOR

    speech = modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
    found = {kind: EXTRACTOR.get(kind) for kind in (*EXTRACTOR, *speech) if "Image" not in str(EXTRACTOR.get(kind))}
    by_package = {package(kind): kind for kind in found}
    for kind in modeling_auto.MODEL_MAPPING_NAMES:  # the encoder of a whole model as a type of its own
        if kind not in found and package(kind) in by_package and re.search("audio|encoder|speech", kind):
            found[kind] = found[by_package[package(kind)]]
    return found


def audio_part(settings):
    """The configuration of the audio encoder inside that of a whole model."""
    for name in ("audio_config", "encoder_config", "speech_encoder_config", *WITHIN):
        part = getattr(settings, name, None)
        if part is not None and not isinstance(part, dict):
            return audio_part(part) if part.model_type == "mimi" else part
    return settings


def tiny(kind):
    """A configuration of a type whose audio encoder is small."""
    from transformers import CONFIG_MAPPING

    settings = CONFIG_MAPPING[kind]()
    part = audio_part(settings)
    for key, value in list(vars(part).items()):
        if key in SHAPE and isinstance(value, int) and not isinstance(value, bool) and value > SHAPE[key]:
            setattr(part, key, SHAPE[key])
        elif key in SHAPE and isinstance(value, (list, tuple)) and key == "conv_dim":
            setattr(part, key, type(value)([SHAPE[key]] * len(value)))
    for key, value in OPTIONS.get(kind, {}).items():
        place, _, name = key.rpartition(".")
        setattr(getattr(part, place) if place else part, name, value)
    return settings


def extractor_of(kind):
    import transformers

    name = EXTRACTORS.get(kind) or audio_types()[kind] or "WhisperFeatureExtractor"
    options = {"WhisperFeatureExtractor": {"chunk_length": 2}, "ClapFeatureExtractor": {"truncation": "rand_trunc"}}
    more = {"feature_size": 128} if kind in BANDS_128 else {}
    return getattr(transformers, name)(**options.get(name, {}), **more)


def saved(kind, folder):
    """(the audio encoder with seeded weights, its feature extractor); the folder holds it inside a whole model."""
    from safetensors.torch import load_file, save_file

    settings = tiny(kind)
    found = tower(settings)
    torch.manual_seed(0)
    network = found.network(found.settings)
    network.save_pretrained(folder)
    if found.settings is not settings:
        state = {f"model.audio_tower.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
        state["model.language_model.embed_tokens.weight"] = torch.zeros(3, 2)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings.to_dict(), default=str))
    extractor = extractor_of(kind)
    extractor.save_pretrained(folder)
    return found.kept(network).eval(), extractor


def direct(model, extractor, x):
    """transformers' own layers of one clip alone."""
    import inspect

    takes = inspect.signature(model.forward).parameters
    options = {"sampling_rate": getattr(extractor, "sampling_rate", 16000), "return_tensors": "pt"}
    if "Granite" in type(extractor).__name__:
        options = {"device": "cpu"} if "5" not in type(extractor).__name__ else options
    if "input_features_mask" in takes or "audio_mel_mask" in takes:
        options["return_attention_mask"] = True
    found = dict(extractor([x], **options))
    if "input_features_mask" in takes and "input_features_mask" not in found:
        found["input_features_mask"] = found["attention_mask"]
    if "audio_mel" in takes:
        found |= {"audio_mel": found["input_features"], "audio_mel_mask": ~found["input_features_mask"].bool()}
    if "is_longer" in takes:
        found["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)
    if "hidden_states" in takes:
        found["hidden_states"] = found["input_features"]
    inputs = {key: torch.as_tensor(value) for key, value in found.items() if key in takes}
    with torch.inference_mode():
        return [state[0].numpy() for state in frames(model(**inputs, output_hidden_states=True))]


def examine(kind, folder) -> dict:
    """Load a tiny model of a type, compare it with transformers alone, and say what a table says of it."""
    model, extractor = saved(kind, folder)
    encoder = load_encoder(folder, device="cpu")
    rng = np.random.default_rng(0)
    clips = [(0.1 * rng.standard_normal(round(s * encoder.rate))).astype(np.float32) for s in (1.0, 0.61, 1.0)]
    found = dict(extract(encoder, clips, pooling=None, progress=False))
    for i, x in enumerate(clips):
        theirs = direct(model, extractor, x)
        assert len(found[i]) == len(theirs) == len(encoder.layers)
        for mine, their, layer in zip(found[i], theirs, encoder.layers, strict=True):
            if encoder.padding == "fixed" and layer.frame_rate:
                their = their[: int(np.ceil(len(x) / encoder.rate * layer.frame_rate - 1e-6))]
            assert abs(len(mine) - len(x) / encoder.rate * layer.frame_rate) <= 3.5 or not layer.frame_rate
            their = their[: len(mine)] if len(their) > len(mine) + 1 else their  # frames of the extractor's padding
            assert mine.shape == their.shape and mine.shape[1] == layer.dim
            np.testing.assert_allclose(mine, their, atol=2e-4 * max(1.0, np.abs(their).max()))
    rates = sorted({round(layer.frame_rate, 3) for layer in encoder.layers}, reverse=True)
    return {"encoder": type(model).__name__, "padding": encoder.padding, "frame_rates": rates}


def row(kind, folder) -> dict:
    try:
        return examine(kind, folder)
    except WorkbenchError as error:
        return {"refused": str(error).replace(str(folder), "<folder>")}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def known() -> dict:
    return json.loads(TABLE.read_text())


@cache
def of_the_table() -> bool:
    """Whether transformers is of the version that the table was written with, the one of constraints.txt."""
    constraints = Path(__file__).parents[2] / "constraints.txt"
    return f"transformers=={metadata.version('transformers')}" in constraints.read_text().splitlines()


def test_every_audio_type_is_in_the_table():
    """A type that another version of transformers brings is not passed over: write the table anew (see above)."""
    new = sorted(set(audio_types()) - set(known()))
    if new and not of_the_table():
        pytest.skip(f"this version of transformers has types that the table lacks: {', '.join(new)}")
    assert new == []


def kinds(entry: str) -> list:
    """Types with this entry in the table; building the whole of a few takes long, however small the encoder."""
    long = (
        "vibevoice_acoustic_tokenizer",
        "nemo_speechlm",
        "nemotron3_5_transcribe_audio",
        "apertus1p5",
        "wavtokenizer",
    )
    found = sorted(kind for kind, entries in known().items() if entry in entries)
    return [pytest.param(kind, marks=pytest.mark.slow) if kind in long else kind for kind in found]


@pytest.mark.parametrize("kind", kinds("encoder"))
def test_layers_are_those_of_transformers(tmp_path, kind):
    if kind not in audio_types():
        pytest.skip("this version of transformers has no such type")
    found = examine(kind, tmp_path)
    assert found == known()[kind] or not of_the_table()


@pytest.mark.parametrize("kind", kinds("refused"))
def test_types_that_do_not_load_say_why(tmp_path, kind):
    """One sentence that names the type, and the one that the table has; what a library says in brackets may change."""
    if kind not in audio_types() or not of_the_table():
        pytest.skip("another version of transformers than the table's")
    found, expected = row(kind, tmp_path)["refused"], known()[kind]["refused"]
    assert "\n" not in found and ("model_type='" in found[:12] or "does not fit Dots3NoteAudioModel" in found)
    assert re.sub(r" \(.*\)", "", found) == re.sub(r" \(.*\)", "", expected)


if __name__ == "__main__":
    import signal
    import sys
    import time

    class Late(BaseException):
        """No Exception: the package turns those into a refusal, and a type that takes long is not refused."""

    def late(*_):
        raise Late("60 s are over")

    signal.signal(signal.SIGALRM, late)

    torch.set_num_threads(1)
    table = json.loads(TABLE.read_text()) if TABLE.exists() and sys.argv[1:] else {}
    for kind in sys.argv[1:] or audio_types():
        begin = time.perf_counter()
        signal.alarm(60)
        with tempfile.TemporaryDirectory() as place:
            try:
                table[kind] = row(kind, Path(place))
            except (Exception, Late) as error:  # a configuration that these sizes do not suit
                print("FAILED", type(error).__name__, str(error)[:300].replace("\n", " "))
                table.pop(kind, None)
        signal.alarm(0)
        print(kind, f"{time.perf_counter() - begin:.1f} s", str(table.get(kind))[:250], flush=True)
        TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")
