"""Spliced encoders: nothing changed is nothing changed, and what follows is what the rest of the network computes."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from workbench.core.errors import ParameterError
from workbench.encoders import Encoder, Layer, encoder_from, extract, load_encoder, splice
from workbench.encoders.efficientat import load_efficientat
from workbench.encoders.residual import ResiDualStack
from workbench.encoders.splicing import replaced_input
from workbench.encoders.stages import tensor_of, with_tensor

HIDDEN = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
SPEECH = {**HIDDEN, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}


class Halves(nn.Module):
    """Two halves in a row; the axes of the first half's output are as unusual as one likes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(1, 6, 400, 160), nn.Tanh())
        self.second = nn.Sequential(nn.Conv1d(6, 4, 3, 2), nn.Tanh())

    def forward(self, x):
        return self.second(self.first(x[:, None]))


class Around(nn.Module):
    """The output also reads the first stage, around the second."""

    def __init__(self):
        super().__init__()
        self.stages = nn.Sequential(nn.Conv1d(1, 6, 400, 160), nn.Conv1d(6, 6, 3, padding=1))

    def forward(self, x):
        a = self.stages[0](x[:, None])
        return self.stages[1](a).tanh() + a


class Told(nn.Module):
    """An encoder block that answers with a tuple, and refuses a batch of one."""

    def __init__(self):
        super().__init__()
        self.front, self.block, self.end = nn.Conv1d(1, 6, 400, 160), _Pair(), nn.Linear(6, 3)

    def forward(self, x):
        y = self.block(self.front(x[:, None]).squeeze().transpose(-1, -2))[0]
        return self.end(y)


class _Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(6, 6)

    def forward(self, y):
        return self.line(y).tanh(), "said"


def whisper(folder):
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(0)
    side = {"layers": 3, "attention_heads": 2, "ffn_dim": 48}
    shape = {f"{name}_{key}": value for name in ("encoder", "decoder") for key, value in side.items()}
    words = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(d_model=32, max_source_positions=100, **shape, **words)
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)


def other(folder, kind):
    from transformers import ASTFeatureExtractor, AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    shape = {**HIDDEN, "max_length": 80} if "spectrogram" in kind else SPEECH
    AutoModel.from_config(AutoConfig.for_model(kind, **shape)).save_pretrained(folder)
    front = ASTFeatureExtractor(max_length=80) if "spectrogram" in kind else Wav2Vec2FeatureExtractor()
    front.save_pretrained(folder)


KINDS = "mini whisper whisper-cut hubert wavlm audio-spectrogram-transformer mn04 halves told".split()


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Name -> encoder, made once."""
    made = {}

    def make(kind):
        if kind in made:
            return made[kind]
        folder = tmp_path_factory.mktemp(kind)
        torch.manual_seed(1)
        if kind == "mini":
            made[kind] = load_encoder("mini", device="cpu")
        elif kind == "mn04":
            made[kind] = load_efficientat("mn04_as", weights=None, random_weights=3)
        elif kind in ("halves", "told"):
            made[kind] = encoder_from(Halves() if kind == "halves" else Told(), rate=16000, device="cpu")
        elif kind.startswith("whisper"):
            whisper(folder)
            made[kind] = load_encoder(folder, device="cpu", config="cut" if "cut" in kind else "default")
        else:
            other(folder, kind)
            made[kind] = load_encoder(folder, device="cpu")
        return made[kind]

    return make


def waveforms(encoder, count=2):
    """Clips of equal length where the encoder needs it, else of two lengths; zero-padded."""
    generator = torch.Generator().manual_seed(5)
    longest = encoder.rate
    x = 0.1 * torch.randn(count, longest, generator=generator)
    lengths = torch.full((count,), longest)
    if encoder.padding != "equal":
        lengths[0] = longest * 2 // 3
        x[0, lengths[0] :] = 0
    return x, lengths


def forward(encoder, x, lengths):
    """The true frames of every clip at every layer."""
    with torch.inference_mode():
        outputs = encoder.forward(x, lengths, range(len(encoder.layers)))
    return [[y[:n] for y, n in zip(frames, counts, strict=True)] for frames, counts in outputs]


def far(a, b):
    """Largest difference of the frames of two layers, relative to the largest number."""
    return max(float((p - q).abs().max() / q.abs().max()) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_identity_changes_nothing_and_a_change_only_what_follows(encoders, kind):
    encoder = encoders(kind)
    x, lengths = waveforms(encoder)
    plain, last = forward(encoder, x, lengths), len(encoder.layers) - 1
    for at in sorted({0, last // 2, last}):
        same = forward(splice(encoder, at, lambda frames, lengths: frames), x, lengths)
        assert all(far(a, b) <= 1e-6 for a, b in zip(same, plain, strict=True))
        double = splice(encoder, encoder.layers[at].name, lambda frames, lengths: 2 * frames)
        found = forward(double, x, lengths)
        assert all(
            torch.equal(p, q) for a, b in zip(found[:at], plain[:at], strict=True) for p, q in zip(a, b, strict=True)
        )
        assert far(found[at], [2 * y for y in plain[at]]) < 1e-5
        assert all(far(a, b) > 1e-4 for a, b in zip(found[at + 1 :], plain[at + 1 :], strict=True))
        assert double.bypassed == () or kind == "mn04"  # of a mean over frequency the rest reads more than the mean
    again = forward(encoder, x, lengths)
    assert all(torch.equal(p, q) for a, b in zip(again, plain, strict=True) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", ["mini", "whisper", "hubert", "halves", "told"])
def test_with_the_frames_of_other_clips_the_rest_is_that_of_the_other_clips(encoders, kind):
    encoder = encoders(kind)
    x, lengths = waveforms(encoder)
    x2 = x.flip(1) * (torch.arange(x.shape[1]) < lengths[:, None])
    theirs, at = forward(encoder, x2, lengths), 1
    if encoder.padding == "fixed":  # frames behind the clip are the network's own: compare a clip that fills the window
        x, x2, lengths = (torch.cat([part, part], 1) if part.ndim > 1 else 2 * part for part in (x, x2, lengths))
        x, x2, lengths = x[1:], x2[1:], lengths[1:]
        theirs = forward(encoder, x2, lengths)
    given = nn.utils.rnn.pad_sequence(theirs[at], batch_first=True)
    swapped = forward(splice(encoder, at, lambda frames, lengths: given), x, lengths)
    assert all(far(a, b) < 1e-4 for a, b in zip(swapped[at:], theirs[at:], strict=True))


def test_the_rest_of_an_own_module_is_what_its_second_half_computes(encoders):
    encoder = encoders("halves")
    names = [layer.name for layer in encoder.layers]
    x, lengths = waveforms(encoder)
    shift = torch.tensor([0.5, -1.0, 0.0, 2.0, 0.25, -0.25])
    found = forward(splice(encoder, "first.1", lambda frames, lengths: frames + shift), x, lengths)
    torch.manual_seed(1)
    net = Halves().eval()
    with torch.no_grad():
        wanted = net.second(net.first(x[:, None]) + shift[:, None]).transpose(1, 2)
    torch.testing.assert_close(found[names.index("second.1")][1], wanted[1])  # the clip without padding


def test_a_layer_that_later_ones_read_around_is_named(encoders):
    torch.manual_seed(0)
    around = encoder_from(Around(), rate=16000, device="cpu", layers=["stages.0", "stages.1", "output"])
    assert splice(around, "stages.1", lambda frames, lengths: frames).bypassed == ("output",)
    assert splice(around, "stages.0", lambda frames, lengths: frames).bypassed == ()
    assert splice(encoders("mn04"), 8, lambda frames, lengths: frames).bypassed[-1] == "features.16"


def test_frames_behind_a_clip_are_not_given_and_stay(encoders):
    seen = []

    def change(frames, lengths):
        seen.append((frames, lengths))
        return torch.full_like(frames, 7.0)

    encoder = encoders("whisper")
    x, lengths = waveforms(encoder)
    with torch.inference_mode():
        frames, counts = splice(encoder, 1, change).forward(x, lengths, [1])[0]
        plain, _ = encoder.forward(x, lengths, [1])[0]
    given, told = seen[-1]
    assert torch.equal(told, counts) and counts.tolist() == [34, 50] and given.shape == frames.shape == (2, 100, 32)
    for row, count in enumerate(counts):
        assert (given[row, count:] == 0).all() and (given[row, :count] == plain[row, :count]).all()
        assert (frames[row, :count] == 7).all() and torch.equal(frames[row, count:], plain[row, count:])


def test_extract_pools_the_changed_layer_and_the_fingerprint_knows_the_change(encoders):
    encoder = encoders("mini")
    rng = np.random.default_rng(0)
    clips = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in (16000, 9000, 16000, 4000)]
    ones, twos = torch.ones(256), torch.full((256,), 2.0)
    spliced = [splice(encoder, "2", lambda frames, lengths, by=by: frames + by) for by in (ones, ones, twos)]
    assert spliced[0].fingerprint == spliced[1].fingerprint
    assert len({encoder.fingerprint, spliced[0].fingerprint, spliced[2].fingerprint}) == 3
    plain = dict(extract(encoder, clips, layers=["1", "2"], progress=False))
    found = dict(extract(spliced[2], clips, layers=["1", "2"], progress=False))
    for i in range(len(clips)):
        np.testing.assert_allclose(found[i][0], plain[i][0], atol=1e-5)
        np.testing.assert_allclose(found[i][1], plain[i][1] + 2, atol=1e-5)
    assert spliced[0].describe()["changed"] == "2" and spliced[0].describe()["bypassed"] == []


def test_another_thread_may_meet_a_hook_that_is_being_removed():
    layer, found = torch.nn.Identity(), []
    with replaced_input(layer, torch.zeros_like):
        layer._forward_pre_hooks_with_kwargs.clear()  # between two lines of torch: on the list, but no more with kwargs
        worker = threading.Thread(target=lambda: found.append(layer(torch.ones(1, 2, 3))))
        worker.start()
        worker.join()
    assert torch.equal(*found, torch.ones(1, 2, 3))


def test_another_thread_reads_the_unchanged_network(encoders):
    encoder = encoders("hubert")
    x, lengths = waveforms(encoder)
    plain, meanwhile = forward(encoder, x, lengths), []

    def change(frames, lengths_):
        worker = threading.Thread(target=lambda: meanwhile.append(forward(encoder, x, lengths)))
        worker.start()
        worker.join()
        return 0 * frames

    forward(splice(encoder, 1, change), x, lengths)
    assert all(torch.equal(p, q) for a, b in zip(meanwhile[-1], plain, strict=True) for p, q in zip(a, b, strict=True))


def test_tags_are_the_logits_of_the_last_layer(encoders):
    encoder = encoders("mn04")
    x, lengths = waveforms(encoder)
    vectors = torch.stack([frames.mean(0) for frames in forward(encoder, x, lengths)[-1]]).numpy()
    with torch.no_grad():
        wanted = encoder.logits(x, lengths).sigmoid().numpy()
    np.testing.assert_allclose(encoder.tags(vectors), wanted, rtol=1e-4, atol=1e-6)
    with pytest.raises(ParameterError, match=r"vectors.shape=\(2, 5\) must be \(N, 384\)"):
        encoder.tags(vectors[:, :5])


def test_the_second_stream_of_a_residual_stack_is_not_changed():
    torch.manual_seed(0)
    stack = ResiDualStack(8, 3, 2, 16).eval()
    x, shift = torch.randn(1, 5, 8), torch.randn(8)
    a = b = x
    with torch.no_grad():
        for i, layer in enumerate(stack.layers):
            u = layer.attention(a, None)
            a, b = layer.norm1(a + u), b + u
            f = stack.feed_forward(a)
            a, b = layer.norm2(a + f), b + f
            a = a + shift if i == 0 else a
        torch.testing.assert_close(stack.outputs(x, changes={1: lambda y: y + shift})[-1], a + stack.final_norm(b))
        torch.testing.assert_close(stack.outputs(x, changes={3: lambda y: 0 * y})[-1], torch.zeros_like(x))
        torch.testing.assert_close(stack.outputs(x, changes={0: lambda y: 2 * y})[0], 2 * x)


def test_a_tensor_is_put_back_where_it_was_found():
    from transformers.modeling_outputs import BaseModelOutput

    old, new = torch.zeros(2), torch.ones(2)
    for output in (old, (None, old, 3), ["a", (old,)], {"x": None, "y": old}, BaseModelOutput(last_hidden_state=old)):
        changed = with_tensor(output, new)
        assert tensor_of(changed) is new and tensor_of(output) is old and type(changed) is type(output)


class Mute(Encoder):
    name, rate, layers, fingerprint = "mute", 16000, (Layer("0", 2, 1.0),), "mute"

    def forward(self, x, lengths, layers):
        return [(torch.zeros(len(x), 1, 2), torch.ones(len(x), dtype=torch.long)) for _ in layers]


def test_wrong_arguments_are_refused(encoders):
    encoder = encoders("mini")
    x, lengths = waveforms(encoder)
    with pytest.raises(ParameterError, match="change=3 must be a function of frames"):
        splice(encoder, "2", 3)
    with pytest.raises(ParameterError, match="layers='9' must be 'all' or among"):
        splice(encoder, "9", lambda frames, lengths: frames)
    with pytest.raises(ParameterError, match=r"layer=\['1', '2'\] must be text or a whole number"):
        splice(encoder, ["1", "2"], lambda frames, lengths: frames)
    with pytest.raises(ParameterError, match=r"change=\(2, 25, 3\) must be a function that returns float frames"):
        forward(splice(encoder, "2", lambda frames, lengths: frames[:, :25, :3]), x, lengths)
    with pytest.raises(ParameterError, match="change='nan or inf' must be a function that returns finite"):
        forward(splice(encoder, "2", lambda frames, lengths: frames / 0), x, lengths)
    with pytest.raises(ParameterError, match="layer='0' must be a layer of an encoder that has forward_changed"):
        splice(Mute(), "0", lambda frames, lengths: frames)
