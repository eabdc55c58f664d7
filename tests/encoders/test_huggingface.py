"""transformers models: hidden states equal to transformers' own, in any batch; checkpoints that do not fit; MERT."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.core.errors import ParameterError, WeightsError, WorkbenchError
from workbench.encoders import extract, load_encoder

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
SPEECH = ("hubert", "wavlm", "wav2vec2", "unispeech-sat")
ALONE = {"group": {}, "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower on two cores; one test below asks for two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clips(rate=16000):
    """Seven clips of 0.025 to 1 s, one of 0.05 s; loud, with an offset, so that normalisation matters."""
    rng = np.random.default_rng(0)
    seconds = (0.05, 1.0, 0.3125, 0.77156, 0.025, 1.0, 0.4375)
    return [(0.3 * rng.standard_normal(round(s * rate)) + 0.1).astype(np.float32) for s in seconds]


def small_model(kind, **options):
    """(model with seeded weights, its feature extractor)."""
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    if kind == "whisper":
        from transformers import WhisperFeatureExtractor

        side = {"layers": 2, "attention_heads": 2, "ffn_dim": 48}
        shape = {f"{name}_{key}": value for name in ("encoder", "decoder") for key, value in side.items()}
        words = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        config = AutoConfig.for_model(kind, d_model=32, max_source_positions=100, **shape, **words)
        return AutoModel.from_config(config).eval(), WhisperFeatureExtractor(chunk_length=2)
    if kind == "audio-spectrogram-transformer":
        from transformers import ASTFeatureExtractor

        shape = {key: value for key, value in SMALL.items() if "conv" not in key}
        config = AutoConfig.for_model(kind, max_length=80, **shape)
        return AutoModel.from_config(config).eval(), ASTFeatureExtractor(max_length=80)
    config = AutoConfig.for_model(kind, **SMALL, **options)
    return AutoModel.from_config(config).eval(), Wav2Vec2FeatureExtractor(do_normalize=kind != "wavlm")


def saved(folder, kind, **options):
    model, extractor = small_model(kind, **options)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model, extractor


def direct(model, extractor, x, rate=16000):
    """transformers' own hidden states of one clip alone."""
    inputs = extractor(x, sampling_rate=rate, return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs, output_hidden_states=True).hidden_states
    return [state[0].numpy() for state in states]


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", SPEECH)
def test_speech_models_in_one_batch_equal_transformers_alone(tmp_path, kind, norm):
    model, extractor = saved(tmp_path, kind, **ALONE[norm])
    encoder = load_encoder(tmp_path, device="cpu")
    assert (encoder.padding, encoder.rate, encoder.minimum, encoder.frame_rate) == ("masked", 16000, 400, 50.0)
    assert [layer.name for layer in encoder.layers] == ["0", "1", "2"] and encoder.dim == 32
    found = dict(extract(encoder, clips(), pooling=None, batch_seconds=100, progress=False))
    for i, x in enumerate(clips()):
        for mine, theirs in zip(found[i], direct(model, extractor, x), strict=True):
            assert mine.shape == theirs.shape
            np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_batches_side_by_side_do_not_meet(tmp_path):
    """The group norm's true lengths belong to one batch; two threads run two batches at once."""
    model, extractor = saved(tmp_path, "hubert")
    encoder = load_encoder(tmp_path, device="cpu")
    many = clips() * 6
    torch.set_num_threads(2)
    found = dict(extract(encoder, many, batch_seconds=2, progress=False))
    expected = [np.stack([state.mean(0) for state in direct(model, extractor, x)]) for x in clips()]
    for i in range(len(many)):
        np.testing.assert_allclose(np.stack(found[i]), expected[i % len(expected)], atol=1e-4)


def test_a_plain_padded_batch_would_differ(tmp_path):
    """What the masked group norm is for: transformers' own zero-padded batch changes a clip's numbers."""
    model, extractor = saved(tmp_path, "hubert")
    x = clips()
    inputs = extractor([x[3], x[1]], sampling_rate=16000, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(inputs["input_values"], output_hidden_states=True).hidden_states
    alone = direct(model, extractor, x[3])
    difference = max(np.abs(s[0, : len(a)].numpy() - a).max() for s, a in zip(states, alone, strict=True))
    assert difference > 0.01


@pytest.mark.parametrize("kind", [*SPEECH, "whisper", "audio-spectrogram-transformer"])
def test_blocks_behind_the_layers_that_are_wanted_are_not_run(tmp_path, kind):
    saved(tmp_path, kind)
    encoder = load_encoder(tmp_path, device="cpu")
    last = len(encoder.layers) - 1
    options = {"pooling": None, "progress": False, "batch_seconds": 100}
    whole = dict(extract(encoder, clips(), **options))
    below = dict(extract(encoder, clips(), layers=[0, 1], **options))
    run = []
    handles = [part.register_forward_hook(lambda m, *_: run.append(m)) for part in encoder.model.modules()]
    first = dict(extract(encoder, clips(), layers=[1], **options))
    few = len(run)
    dict(extract(encoder, clips(), layers=[last], **options))
    for handle in handles:
        handle.remove()
    assert 0 < few < len(run) - few, "the last block and the model itself did not end"
    for i, states in whole.items():
        for mine, full in [*zip(below[i], states[:2], strict=True), (first[i][0], states[1])]:
            np.testing.assert_allclose(mine, full, atol=1e-5)


def test_whisper_encoder(tmp_path):
    model, extractor = saved(tmp_path, "whisper")
    encoder = load_encoder(tmp_path, device="cpu")
    assert (encoder.padding, encoder.window, encoder.frame_rate) == ("fixed", 2.0, 50.0)
    long = np.tile(clips()[1], 3)  # 3 s: cut to the window
    found = dict(extract(encoder, [*clips(), long], pooling=None, progress=False))
    for i, x in enumerate([*clips(), long]):
        for mine, theirs in zip(found[i], direct(model.encoder, extractor, x), strict=True):
            assert len(mine) == min(-(-len(x) // 320), 100)
            np.testing.assert_allclose(mine, theirs[: len(mine)], atol=1e-4)


def test_ast(tmp_path):
    model, extractor = saved(tmp_path, "audio-spectrogram-transformer")
    encoder = load_encoder(tmp_path, device="cpu")
    assert (encoder.padding, encoder.window, encoder.frame_rate) == ("fixed", 0.8, 0.0)
    found = dict(extract(encoder, clips(), pooling=None, progress=False))
    for i, x in enumerate(clips()):
        for mine, theirs in zip(found[i], direct(model, extractor, x), strict=True):
            assert len(mine) == 2 + 12 * 7  # class and distillation token, then patches
            np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize("kind", ["data2vec-audio", "wav2vec2-conformer"])
def test_other_models_batch_equal_lengths_only(tmp_path, kind):
    model, extractor = saved(tmp_path, kind)
    encoder = load_encoder(tmp_path, device="cpu")
    assert encoder.padding == "equal" and encoder.frame_rate == 50.0
    x = [clip for clip in clips() if len(clip) >= encoder.minimum]
    found = dict(extract(encoder, x, pooling=None, progress=False))
    for i in range(len(x)):
        for mine, theirs in zip(found[i], direct(model, extractor, x[i]), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_normalisation_flag_is_read(tmp_path):
    saved(tmp_path, "hubert")
    encoder = load_encoder(tmp_path, device="cpu")
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**settings, "do_normalize": False}))
    without = load_encoder(tmp_path, device="cpu")
    assert encoder.fingerprint != without.fingerprint
    x = clips()[1]
    loud, quiet = (next(extract(encoder, [x * gain], progress=False))[1][0] for gain in (1.0, 0.1))
    np.testing.assert_allclose(loud, quiet, atol=1e-3)
    loud, quiet = (next(extract(without, [x * gain], pooling=None, progress=False))[1][0] for gain in (1.0, 0.01))
    assert np.abs(loud - quiet).max() > 1e-3


def as_mert(folder, **options):
    """A MERT folder as published: own model type, remote code beside it, HuBERT's keys with the old weight norm."""
    model, extractor = saved(folder, "hubert")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "mert_model",
        "architectures": ["MERTModel"],
        "auto_map": {"AutoConfig": "configuration_MERT.MERTConfig", "AutoModel": "modeling_MERT.MERTModel"},
        "attention_relax": -1.0,
        "deepnorm": False,
        "feature_extractor_cqt": False,
        "feature_extractor_cqt_bins": 336,
        "sample_rate": 24000,
        **options,
    }
    config.pop("conv_pos_batch_norm", None)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_MERT.py").write_text("raise SystemExit('remote code ran')")
    (folder / "configuration_MERT.py").write_text("raise SystemExit('remote code ran')")
    settings = json.loads((folder / "preprocessor_config.json").read_text()) | {"sampling_rate": 24000}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    state = load_file(folder / "model.safetensors")
    prefix = "encoder.pos_conv_embed.conv."
    for new, old in (
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
    ):
        if prefix + new in state:
            state[prefix + old] = state.pop(prefix + new)
    assert prefix + "weight_g" in state
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    return model, extractor


def test_mert_without_remote_code(tmp_path):
    model, extractor = as_mert(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu")
    assert (encoder.rate, encoder.frame_rate, encoder.padding) == (24000, 75.0, "masked")
    assert encoder.describe()["model"] == "HubertModel"
    found = dict(extract(encoder, clips(24000), pooling=None, progress=False))
    for i, x in enumerate(clips(24000)):
        for mine, theirs in zip(found[i], direct(model, extractor, x), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize("option", ["feature_extractor_cqt", "deepnorm"])
def test_mert_options_that_are_not_hubert_are_refused(tmp_path, option):
    as_mert(tmp_path, **{option: True})
    with pytest.raises(ParameterError, match=f"{option}=True must be false"):
        load_encoder(tmp_path, device="cpu")


def test_remote_code_is_never_run(tmp_path):
    as_mert(tmp_path, model_type="someones_own")
    with pytest.raises(ParameterError, match="model_type='someones_own' must be .* remote code is never run"):
        load_encoder(tmp_path, device="cpu")


def test_wrong_keys_are_listed(tmp_path):
    saved(tmp_path, "hubert")
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    state["encoder.layers.7.surplus"] = torch.zeros(1)
    state.pop("encoder.layers.1.attention.q_proj.weight")
    state["feature_projection.projection.bias"] = torch.zeros(5)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        load_encoder(tmp_path, device="cpu")
    for part in (
        "missing keys: encoder.layers.1.attention.q_proj.weight",
        "unexpected keys: encoder.layers.7.surplus",
        "wrong shapes: feature_projection.projection.bias (5,), expected (32,)",
        str(tmp_path),
    ):
        assert part in str(caught.value)


def test_heads_are_left_out_and_recorded(tmp_path):
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    bare, _ = saved(tmp_path / "bare", "wav2vec2")
    sizes = {"codevector_dim": 8, "proj_codevector_dim": 8, "num_codevectors_per_group": 4}
    whole = Wav2Vec2ForPreTraining(Wav2Vec2Config(**SMALL, **sizes))
    whole.wav2vec2.load_state_dict(bare.state_dict())
    whole.save_pretrained(tmp_path / "whole")
    (tmp_path / "whole" / "preprocessor_config.json").write_text(
        (tmp_path / "bare" / "preprocessor_config.json").read_text()
    )
    one, two = (load_encoder(tmp_path / name, device="cpu") for name in ("bare", "whole"))
    assert one.describe()["left_out"] == []
    assert {key.split(".")[0] for key in two.describe()["left_out"]} == {"quantizer", "project_hid", "project_q"}
    x = clips()[:2]
    for (_, a), (_, b) in zip(extract(one, x, progress=False), extract(two, x, progress=False), strict=True):
        np.testing.assert_array_equal(a[-1], b[-1])


TEXT = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
SIDES = {
    f"{side}_{key}": n
    for side in ("encoder", "decoder")
    for key, n in {"layers": 2, "attention_heads": 2, "ffn_dim": 48}.items()
}
HEADED = {
    "Wav2Vec2ForCTC": SMALL,
    "Wav2Vec2ForXVector": SMALL,
    "Wav2Vec2ForAudioFrameClassification": SMALL,
    "HubertForSequenceClassification": SMALL,
    "WavLMForXVector": SMALL,
    "UniSpeechForPreTraining": {**SMALL, "codevector_dim": 8, "num_codevectors_per_group": 4},
    "UniSpeechSatForPreTraining": {**SMALL, "codevector_dim": 8, "num_codevectors_per_group": 4},
    "UniSpeechSatForXVector": SMALL,
    "Data2VecAudioForXVector": SMALL,
    "WhisperForAudioClassification": {"d_model": 32, "max_source_positions": 100, **SIDES, **TEXT},
    "WhisperForConditionalGeneration": {"d_model": 32, "max_source_positions": 100, **SIDES, **TEXT},
    "Speech2TextForConditionalGeneration": {"d_model": 32, "conv_channels": 32, **SIDES, **TEXT},
    "SpeechT5ForSpeechToText": {**SMALL, **SIDES, "vocab_size": 50},
}
ENCODERS = {"Whisper": "model.encoder", "Speech2T": "model.encoder", "SpeechT5": "speecht5.encoder"}


@pytest.mark.parametrize("name", HEADED)
def test_encoders_of_fine_tuned_checkpoints(tmp_path, name):
    """What is not the encoder is left out and recorded; the encoder is that of the checkpoint, and whole."""
    import transformers
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

    network = getattr(transformers, name)
    torch.manual_seed(0)
    whole = network(network.config_class(**HEADED[name])).eval()
    whole.save_pretrained(tmp_path)
    kind = FEATURE_EXTRACTOR_MAPPING_NAMES[whole.config.model_type]
    extractor = getattr(transformers, kind)(**({"chunk_length": 2} if "Whisper" in kind else {}))
    extractor.save_pretrained(tmp_path)
    part = next((place for start, place in ENCODERS.items() if name.startswith(start)), None)
    place = "encoder" if name == "WhisperForAudioClassification" else part or whole.base_model_prefix
    encoder = load_encoder(tmp_path, device="cpu")
    left_out = encoder.describe()["left_out"]
    own = set(load_file(tmp_path / "model.safetensors"))
    kept = {key for key in own if key.startswith(f"{place}.")}
    assert left_out and set(left_out) == own - kept
    x = clips()[1]
    ((_, found),) = extract(encoder, [x], pooling=None, progress=False)
    for mine, theirs in zip(found, direct(whole.get_submodule(place), extractor, x), strict=True):
        np.testing.assert_allclose(mine, theirs[: len(mine)], atol=1e-4)
    state = load_file(tmp_path / "model.safetensors")  # an encoder without one of its own weights is refused
    gone = sorted(key for key in kept if "layers.1" in key and key.endswith("weight"))[0]
    state.pop(gone)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="missing keys: "):
        load_encoder(tmp_path, device="cpu")


def test_layers_of_unlike_length_are_pooled_by_their_own_count(tmp_path):
    """Qwen2-Audio halves the time behind its last block; and of its 30 s only the clip's own frames count."""
    from transformers import Qwen2AudioEncoder, Qwen2AudioEncoderConfig, WhisperFeatureExtractor

    torch.manual_seed(0)
    model = Qwen2AudioEncoder(
        Qwen2AudioEncoderConfig(d_model=32, num_mel_bins=80, max_source_positions=100, **SIDES)
    ).eval()
    extractor = WhisperFeatureExtractor(chunk_length=2)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu")
    assert [layer.frame_rate for layer in encoder.layers] == [50.0, 50.0, 25.0]
    assert (encoder.padding, encoder.window) == ("fixed", 2.0)
    x = clips()
    frames = dict(extract(encoder, x, pooling=None, progress=False))
    means = dict(extract(encoder, x, progress=False))
    for i, clip in enumerate(x):
        for layer, their in enumerate(direct(model, extractor, clip)):
            n = -(-len(clip) // (640 if layer == 2 else 320))
            assert frames[i][layer].shape == (n, 32)
            np.testing.assert_allclose(means[i][layer], their[:n].mean(0), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "rate"),
    [
        ("moonshine", {"hidden_size": 32, "intermediate_size": 48, **SIDES}, 16000 / 384),
        ("sew", {**SMALL, "conv_dim": [16] * 13}, 25.0),
    ],
)
def test_frame_rates_are_those_of_the_strides(tmp_path, kind, options, rate):
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    if kind == "moonshine":
        heads = {f"{s}_num_{what}": 2 for s in ("encoder", "decoder") for what in ("attention_heads", "hidden_layers")}
        heads |= {f"{s}_num_key_value_heads": 2 for s in ("encoder", "decoder")}
        options = {"hidden_size": 32, "intermediate_size": 48, **heads}
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(kind, **options)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu")
    assert abs(encoder.frame_rate / rate - 1) < 1e-9


def test_whisper_cut_to_the_clip(tmp_path):
    """The clip's own positions: equal to the network with that many positions, and to 30 s where it fills them."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    model, extractor = saved(tmp_path, "whisper")
    cut, whole = load_encoder(tmp_path, device="cpu", config="cut"), load_encoder(tmp_path, device="cpu")
    assert cut.fingerprint != whole.fingerprint and cut.describe()["config"] == "cut"
    assert (cut.padding, cut.frame_rate, len(cut.layers)) == ("equal", 50.0, 3)
    x = [*clips(), np.tile(clips()[1], 2), np.tile(clips()[1], 3)]  # the last two fill and exceed the 2 s
    with pytest.warns(UserWarning, match=r"1 of 9 clips are longer than the 2 s .* hears: 1\.0 s behind"):
        found = dict(extract(cut, x, pooling=None, progress=False))
    for i, clip in enumerate(x):
        n = min(-(-len(clip) // 320), 100)
        short = WhisperEncoder(WhisperConfig(**{**model.config.to_dict(), "max_source_positions": n})).eval()
        state = model.encoder.state_dict()
        short.load_state_dict({**state, "embed_positions.weight": state["embed_positions.weight"][:n]})
        features = extractor(clip, sampling_rate=16000, return_tensors="pt")["input_features"][:, :, : 2 * n]
        with torch.inference_mode():
            theirs = short(features, output_hidden_states=True).hidden_states
        for mine, their in zip(found[i], theirs, strict=True):
            np.testing.assert_allclose(mine, their[0].numpy(), atol=1e-4)
    with pytest.warns(UserWarning, match=r"hears: 1\.0 s behind"):
        same = dict(extract(whole, x[-2:], pooling=None, progress=False))
    for i in (0, 1):
        for a, b in zip(found[len(x) - 2 + i], same[i], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def test_whisper_lets_gradients_through_to_the_waveform(tmp_path):
    saved(tmp_path, "whisper")
    encoder, (one, other) = load_encoder(tmp_path, device="cpu"), clips()[:2]
    x, lengths = torch.zeros(2, max(len(one), len(other))), torch.tensor([len(one), len(other)])
    x[0, : len(one)], x[1, : len(other)] = torch.from_numpy(one), torch.from_numpy(other)
    plain = encoder.forward(x, lengths, [0, 2])
    followed = encoder.forward(x.clone().requires_grad_(), lengths, [0, 2])
    for (a, counts), (b, same) in zip(plain, followed, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-3)
        assert torch.equal(counts, same) and b.requires_grad and not a.requires_grad


def test_an_encoder_that_masks_its_group_norm_can_be_copied(tmp_path):
    saved(tmp_path, "hubert")
    encoder, x = load_encoder(tmp_path, device="cpu"), clips()
    twin = copy.deepcopy(encoder)
    for (i, own), (j, other) in zip(extract(encoder, x, progress=False), extract(twin, x, progress=False), strict=True):
        assert i == j and all(np.array_equal(a, b) for a, b in zip(own, other, strict=True))
    assert twin.front.norm is twin.model.feature_extractor.conv_layers[0].layer_norm is not encoder.front.norm


def test_minutes_of_sound_in_the_cut_config_are_the_window_and_a_warning(tmp_path, monkeypatch):
    """No windows of five minutes, of which each would be cut in turn."""
    saved(tmp_path, "whisper")
    cut = load_encoder(tmp_path, device="cpu", config="cut")
    monkeypatch.setattr("workbench.encoders.batching.LONGEST_SECONDS", 4.0)
    x = np.tile(clips()[1], 9)
    with pytest.warns(UserWarning, match=r"1 of 1 clips are longer than the 2 s .* hears: 7\.0 s behind"):
        ((_, long),) = extract(cut, [x], pooling=None, progress=False)
    ((_, first),) = extract(cut, [x[: 2 * 16000]], pooling=None, progress=False)
    for a, b in zip(long, first, strict=True):
        np.testing.assert_array_equal(a, b)


def chirp():
    """One second at 16 kHz, from 200 to 4000 Hz."""
    t = np.arange(16000) / 16000
    return (0.5 * np.sin(2 * np.pi * (200 * t + 1900 * t**2))).astype(np.float32)


# three values of frame 25, three of the mean over the clip's 50 frames, and the mean size of that mean
TINY_EN = [
    [-0.13258, -0.82636, -0.21447, 0.05046, 0.27704, 0.34591, 0.55523],
    [0.45490, 0.63160, 1.00470, 0.36194, 0.64956, 0.86047, 0.62283],
    [0.81763, 0.96865, 0.77591, 0.85351, 0.72127, 0.86426, 0.64939],
    [1.48391, 0.86109, -0.37157, 1.55044, 0.57088, -0.39401, 0.73116],
    [0.20009, 1.39277, -0.87693, 0.38658, 0.94100, -0.93068, 0.63139],
]
BASE = [[-2.15970, -0.42298, 0.94742, -1.79322, -0.15244, 0.68533, 0.71147]]


@pytest.mark.parametrize(("name", "golden"), [("whisper-tiny.en", TINY_EN), ("whisper-base", BASE)])
def test_real_whisper_gives_known_numbers(shared_weights, name, golden):
    """Those of transformers alone, and of the clip's own second only: 50 of 1500 frames."""
    from transformers import WhisperFeatureExtractor, WhisperModel

    folder = shared_weights / "whisper" / name
    encoder = load_encoder(folder, device="cpu")
    ((_, found),) = extract(encoder, [chirp()], pooling=None, progress=False)
    ((_, means),) = extract(encoder, [chirp()], progress=False)
    model = WhisperModel.from_pretrained(folder, dtype=torch.float32).encoder.eval()
    theirs = direct(model, WhisperFeatureExtractor.from_pretrained(folder), chirp())
    assert len(found) == len(theirs) == len(encoder.layers)
    for frames, mean, their in zip(found, means, theirs, strict=True):
        assert frames.shape == (50, encoder.dim) and their.shape == (1500, encoder.dim)
        np.testing.assert_allclose(frames, their[:50], atol=1e-3, rtol=1e-4)
        np.testing.assert_allclose(mean, their[:50].mean(0), atol=1e-3, rtol=1e-4)
        assert np.abs(mean - their.mean(0)).max() > 0.1
    for frames, mean, expected in zip(found[-len(golden) :], means[-len(golden) :], golden, strict=True):
        np.testing.assert_allclose([*frames[25, :3], *mean[:3], np.abs(mean).mean()], expected, atol=1e-3)


def clap(folder):
    """A small CLAP with its feature extractor and a tokenizer of single letters."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizerFast

    vocab = {word: i for i, word in enumerate(("<s>", "<pad>", "</s>", "<unk>", "<mask>"))}
    vocab |= {letter: len(vocab) + i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    shape = {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 48}
    text = {**shape, "hidden_size": 32, "vocab_size": len(vocab), "max_position_embeddings": 34}
    image = {"depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16, "hidden_size": 32}
    torch.manual_seed(0)
    config = ClapConfig(text_config=text, audio_config=image, projection_dim=24)
    model = ClapModel(config).eval()
    model.save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    tokenizer = RobertaTokenizerFast(vocab=vocab, merges=[])
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def test_words_in_the_space_of_sounds(tmp_path):
    model, tokenizer = clap(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu")
    texts = ["a dog", "rain on a roof", "a"]
    found = encoder.text(texts)
    assert found.dtype == np.float32 and found.shape == (3, encoder.dim) == (3, 24)
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        theirs = model.get_text_features(**inputs).pooler_output.numpy()
        plain = model.text_projection(model.text_model(**inputs).pooler_output).numpy()
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found / lengths, theirs / np.linalg.norm(theirs, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(found, plain, atol=1e-5)
    sound = chirp().repeat(3)
    ((_, layers),) = extract(encoder, [sound], progress=False)
    features = encoder.front.extractor(sound, sampling_rate=48000, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        audio = model.audio_model(features, is_longer=torch.zeros(1, 1, dtype=torch.bool)).pooler_output
        np.testing.assert_allclose(layers[-1], model.audio_projection(audio)[0].numpy(), atol=1e-4)
    control = load_encoder(tmp_path, device="cpu", random_weights=1)
    assert np.abs(control.text(["a dog"])[0] - found[0]).max() > 1e-3
    np.testing.assert_array_equal(control.text(["a dog"]), control.text(["a dog"]))


@pytest.mark.parametrize("texts", ["a dog", [], [""], ["  "], [5], None, 3, [["a dog"]], ["a dog", None], [b"x"]])
def test_wrong_texts_are_refused(tmp_path_factory, texts):
    folder = tmp_path_factory.getbasetemp() / "clap"
    if not folder.exists():
        clap(folder)
    encoder = load_encoder(folder, device="cpu")
    with pytest.raises(ParameterError, match="texts"):
        encoder.text(texts)


def test_texts_that_cannot_be_read_say_why(tmp_path):
    clap(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu")
    with pytest.raises(ParameterError, match=r"42 tokens\)' must be texts of at most 32 tokens"):
        encoder.text(["x" * 40])
    encoder = load_encoder(tmp_path, device="cpu")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match="tokenizer's files cannot be read"):
        encoder.text(["a dog"])
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"tokenizer.json: no such file \(nor vocab.json and merges.txt\)"):
        encoder.text(["a dog"])
    clap(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop("text_projection.linear1.weight")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    encoder = load_encoder(tmp_path, device="cpu")  # the sounds need none of it
    with pytest.raises(WeightsError, match="missing keys: text_projection.linear1.weight"):
        encoder.text(["a dog"])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", "[1, 2]", "config.json: expected settings by name .*, found list"),
        ("config.json", "5", "found int"),
        ("config.json", "null", "found NoneType"),
        ("config.json", "{}", "model_type=None must be"),
        ("config.json", '{"model_type": 3}', "model_type=3 must be"),
        ("config.json", '{"model_type": ["hubert"]}', "model_type=.* must be"),
        ("config.json", '{"model_type": "hubrt"}', "did you mean 'hubert'"),
        ("config.json", '{"model_type": "bert"}', "model_type='bert' must be a type with an audio encoder"),
        ("config.json", '{"model_type": "hubert", "hidden_size": "big"}', "config.json|hidden_size"),
        ("config.json", '{"model_type": "hubert", "num_hidden_layers": -1}', "hubert|does not fit"),
        ("config.json", '{"model_type": "hubert", "conv_dim": [8]}', "config.json|conv"),
        ("preprocessor_config.json", "{}", "has no sampling_rate"),
        ("preprocessor_config.json", "[]", "found list"),
        ("preprocessor_config.json", '{"sampling_rate": "16000"}', "sampling_rate is '16000', expected Hz"),
        ("preprocessor_config.json", '{"sampling_rate": 0}', "sampling_rate is 0, expected"),
        ("preprocessor_config.json", '{"sampling_rate": -1}', "sampling_rate is -1, expected"),
        ("preprocessor_config.json", '{"sampling_rate": 16000.5}', "sampling_rate is 16000.5, expected"),
        ("preprocessor_config.json", '{"sampling_rate": null}', "sampling_rate is None, expected"),
        ("preprocessor_config.json", '{"sampling_rate": true}', "sampling_rate is True, expected"),
        ("model.safetensors", "", "weights cannot be read"),
        ("model.safetensors", "nothing of the sort", "weights cannot be read"),
    ],
)
def test_bad_folders_are_one_sentence(tmp_path, file, text, message):
    saved(tmp_path, "hubert")
    (tmp_path / file).write_text(text)
    with pytest.raises(WorkbenchError, match=message) as caught:
        load_encoder(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_files(tmp_path):
    saved(tmp_path, "hubert")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="weights cannot be read"):
        load_encoder(tmp_path, device="cpu")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="weights cannot be read"):
        load_encoder(tmp_path, device="cpu")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="preprocessor_config.json: no such file"):
        load_encoder(tmp_path, device="cpu")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="not valid json"):
        load_encoder(tmp_path, device="cpu")


def test_pickles_are_not_run(tmp_path):
    """A .bin is read with weights_only: code inside it does not run."""
    saved(tmp_path, "hubert")
    (tmp_path / "model.safetensors").unlink()
    witness = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    torch.save({"masked_spec_embed": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="weights cannot be read"):
        load_encoder(tmp_path, device="cpu")
    assert not witness.exists()


def test_wavlm_paper_config_is_wav2vec2_with_its_weights(tmp_path):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    model, extractor = saved(tmp_path, "wavlm")
    with torch.no_grad():  # biases that matter, as after training
        for layer in model.encoder.layers:
            layer.attention.gru_rel_pos_linear.weight.normal_()
        model.encoder.layers[0].attention.rel_attn_embed.weight.normal_()
    model.save_pretrained(tmp_path)
    paper, right = load_encoder(tmp_path, device="cpu", config="paper"), load_encoder(tmp_path, device="cpu")
    assert paper.fingerprint != right.fingerprint
    assert {key.split("attention.")[1] for key in paper.describe()["left_out"]} == {
        "gru_rel_pos_const",
        "gru_rel_pos_linear.weight",
        "gru_rel_pos_linear.bias",
        "rel_attn_embed.weight",
    }
    same = Wav2Vec2Model(Wav2Vec2Config(**SMALL)).eval()
    kept = {key: value for key, value in model.state_dict().items() if "rel_" not in key}
    same.load_state_dict(kept)
    for encoder, reference in ((paper, same), (right, model)):
        found = dict(extract(encoder, clips(), pooling=None, progress=False))
        for i, x in enumerate(clips()):
            for mine, theirs in zip(found[i], direct(reference, extractor, x), strict=True):
                np.testing.assert_allclose(mine, theirs, atol=1e-4)
    x = clips()[1:2]
    (_, a), (_, b) = next(extract(paper, x, progress=False)), next(extract(right, x, progress=False))
    assert np.abs(a[0] - b[0]).max() < 1e-6 < 1e-3 < np.abs(a[-1] - b[-1]).max()


def test_paper_config_is_for_wavlm(tmp_path):
    saved(tmp_path, "hubert")
    with pytest.raises(ParameterError, match="config='paper' must be 'default' for a hubert model"):
        load_encoder(tmp_path, device="cpu", config="paper")


def test_eval_mode_even_after_train(tmp_path):
    """Trap 2 of the paper's code: in training mode dropout, SpecAugment and LayerDrop change the hidden states."""
    saved(tmp_path, "wavlm")
    encoder = load_encoder(tmp_path, device="cpu")
    x = [np.tile(clip, 4) for clip in clips()[1:3]]
    calm = dict(extract(encoder, x, progress=False))
    encoder.model.train()
    again = dict(extract(encoder, x, progress=False))
    for i in calm:
        assert len(again[i]) == 3
        np.testing.assert_array_equal(calm[i], again[i])


def test_random_weights_from_a_folder(tmp_path):
    saved(tmp_path, "hubert")
    (tmp_path / "model.safetensors").unlink()  # not needed
    one, same, other = (load_encoder(tmp_path, device="cpu", random_weights=seed) for seed in (1, 1, 2))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.describe()["random_weights"] == 1
    ((_, a),) = extract(one, clips()[1:2], progress=False)
    assert all(np.isfinite(layer).all() and layer.std() > 0 for layer in a)


def test_random_weights_leave_the_generator_alone(tmp_path):
    saved(tmp_path, "hubert")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_encoder(tmp_path, device="cpu", random_weights=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", [*SPEECH, "whisper", "audio-spectrogram-transformer"])
def test_half_precision_runs_close_by(tmp_path, kind):
    saved(tmp_path, kind)
    encoder = load_encoder(tmp_path, device="cpu")
    full = dict(extract(encoder, clips(), progress=False))
    half = dict(extract(encoder, clips(), dtype="bfloat16", progress=False))
    for i in full:
        for a, b in zip(full[i], half[i], strict=True):
            assert 0 < np.abs(a - b).max() < 0.1


def test_precision_is_in_the_fingerprint(tmp_path):
    saved(tmp_path, "hubert")
    full, half = (load_encoder(tmp_path, device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert full.fingerprint != half.fingerprint
    assert full.fingerprint == load_encoder(tmp_path, device="cpu").fingerprint


def test_loading_is_silent(tmp_path, capfd):
    from transformers import HubertConfig, HubertForCTC

    _, extractor = saved(tmp_path, "hubert")
    HubertForCTC(HubertConfig(**SMALL)).save_pretrained(tmp_path)
    capfd.readouterr()
    encoder = load_encoder(tmp_path, device="cpu")
    list(extract(encoder, clips(), progress=False))
    out, err = capfd.readouterr()
    assert out == "" and "lm_head" not in err and "Loading weights" not in err
    assert encoder.describe()["left_out"] == ["lm_head.bias", "lm_head.weight"]
