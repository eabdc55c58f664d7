"""The built-in encoder: padding, short clips, loading, shape, and what the shipped weights know."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.encoders.mini.network import WEIGHTS, Mini, MiniConfig, MiniNet, _Ripples, load_mini, save_mini

ALL = range(7)


@pytest.fixture(scope="module")
def mini() -> Mini:
    return load_mini()


def noise(rows: int, samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


def test_the_shipped_file_is_small_and_says_how_it_was_made():
    from safetensors import safe_open

    assert WEIGHTS.stat().st_size < 8e6
    with safe_open(str(WEIGHTS), "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
        assert "workbench.encoders.mini.training --data DATA" in file.metadata()["command"]
    assert (WEIGHTS.parent / "mini.md").is_file()


def test_layers_dims_and_rate(mini):
    assert [layer.name for layer in mini.layers] == ["0", "1", "2", "3", "4", "5", "6"]
    assert mini.dim == 256 and mini.frame_rate == 25.0 and mini.rate == 16000 and mini.padding == "masked"
    assert sum(p.numel() for p in mini.net.parameters()) == 3_290_880


@pytest.mark.parametrize("random_weights", [None, 0])
def test_a_clips_frames_do_not_depend_on_its_batch_mates(random_weights):
    mini = load_mini(random_weights=random_weights)
    lengths = torch.tensor([32000, 16001, 15999, 800, 1279, 20003])
    x = noise(6, 32000)
    for row, n in enumerate(lengths):
        x[row, n:] = 0
    with torch.inference_mode():
        together = mini.forward(x, lengths, ALL)
        for row, n in enumerate(lengths.tolist()):
            alone = mini.forward(x[row : row + 1, :n], lengths[row : row + 1], ALL)
            for (frames, counts), (own, own_counts) in zip(together, alone, strict=True):
                assert counts[row] == own_counts[0] == own.shape[1]
                assert float((frames[row, : counts[row]] - own[0]).abs().max()) < 1e-4


def test_what_lies_beyond_a_clips_length_is_ignored(mini):
    lengths = torch.tensor([8000, 5000])
    x = noise(2, 8000)
    clean = x.clone()
    clean[1, 5000:] = 0
    with torch.inference_mode():
        ((dirty, counts),) = mini.forward(x, lengths, [6])
        ((expected, _),) = mini.forward(clean, lengths, [6])
    assert torch.equal(dirty[1, : counts[1]], expected[1, : counts[1]])


@pytest.mark.parametrize("samples", [1, 400, 800, 16000, 160000])
def test_every_length_gives_frames_at_25_hz(mini, samples):
    with torch.inference_mode():
        ((frames, counts),) = mini.forward(noise(1, samples), torch.tensor([samples]), [6])
    expected = math.ceil((max(samples, 400) // 160 + 1) / 4)
    assert frames.shape == (1, expected, 256) and counts.tolist() == [expected]
    assert torch.isfinite(frames).all()


def test_asked_for_layers_are_those_of_a_full_pass(mini):
    x, lengths = noise(2, 16000), torch.tensor([16000, 16000])
    with torch.inference_mode():
        full = mini.forward(x, lengths, ALL)
        some = mini.forward(x, lengths, [0, 3])
    assert torch.equal(some[0][0], full[0][0]) and torch.equal(some[1][0], full[3][0])


def test_nothing_is_taken_from_the_whole_clip():
    """The stem's frames at the beginning do not change when the end of the clip does."""
    mini = load_mini(random_weights=1)
    x = noise(1, 32000)
    y = x.clone()
    y[:, 20000:] *= 30
    with torch.inference_mode():
        a = mini.forward(x, torch.tensor([32000]), [0])[0][0]
        b = mini.forward(y, torch.tensor([32000]), [0])[0][0]
    # frame j is centred at sample 640 j and reaches 256 + 8 * 160 samples further
    reach = (20000 - 256 - 8 * 160) // 640
    assert torch.equal(a[:, :reach], b[:, :reach]) and not torch.allclose(a[:, reach + 3 :], b[:, reach + 3 :])


def test_log_mel_is_0_for_silence_and_1_a_4_nepers(mini):
    x = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)[None]
    mel = mini.net.log_mel(x)[0, 50]
    assert float(mel.max()) == pytest.approx(math.log(1e8) / 4, abs=0.04)
    assert float(mini.net.log_mel(x / 10)[0, 50].max() - mel.max()) == pytest.approx(-math.log(100) / 4, abs=1e-4)
    assert mel.shape == (80,) and float(mini.net.log_mel(torch.zeros(1, 1600)).abs().max()) < 1e-6


def test_ripples_answer_their_own_direction_and_rate():
    """A rising 10 Hz, .06 cycles a band ripple excites its pair most, and the falling one hardly."""
    bank = _Ripples()
    time, band = torch.arange(200)[:, None] / 100, torch.arange(80)[None]
    ripple = torch.cos(2 * math.pi * (10 * time + 0.06 * band))[None]
    response = bank(ripple)[0].view(50, 25, 20)[10:40, 1:, 5:15].mean((0, 2))
    names = [
        (rate, scale, sign)
        for rate in (0, 5, 10, 20)
        for scale in (0, 0.06, 0.12, 0.25)
        for sign in ((1, -1) if rate and scale else (1,))
        if rate or scale
    ]
    assert names[int(response.argmax())] == (10, 0.06, 1)
    assert response[names.index((10, 0.06, -1))] < 0.3 * response.max()


def test_seeded_random_weights_and_fingerprints(mini):
    one, again, two = (load_mini(random_weights=seed) for seed in (1, 1, 2))
    assert one.fingerprint == again.fingerprint
    assert len({one.fingerprint, two.fingerprint, mini.fingerprint}) == 3
    assert load_mini(weights=WEIGHTS).fingerprint == mini.fingerprint


def test_saved_weights_come_back_with_their_shape(tmp_path):
    config = MiniConfig(n_mels=40, dim=32, layers=2, heads=2)
    net = MiniNet(config)
    save_mini(net, tmp_path / "small.safetensors", note={"steps": "0"})
    back = load_mini(weights=tmp_path / "small.safetensors")
    assert back.net.config == config and len(back.layers) == 3
    for key, value in net.state_dict().items():
        np.testing.assert_allclose(back.net.state_dict()[key], value, rtol=1e-3, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


def test_plain_log_mel_is_a_front_end_too(tmp_path):
    """Four frames side by side, zeros beyond the clip; the choice is stored beside the weights."""
    net = MiniNet(MiniConfig(dim=32, layers=1, heads=2, front_end="log-mel"))
    x, lengths = noise(2, 16000), torch.tensor([16000, 8000])
    mel = net.log_mel(x)
    y, counts = net.modulations(x, lengths)
    assert y.shape == (2, 26, 320) and counts.tolist() == [26, 13]
    assert torch.equal(y[0, :25].reshape(100, 80), mel[0, :100]) and float(y[1, 13:].abs().max()) == 0
    save_mini(net, tmp_path / "plain.safetensors")
    assert load_mini(weights=tmp_path / "plain.safetensors").net.config.front_end == "log-mel"
    with pytest.raises(ParameterError, match="front_end='mel'"):
        MiniConfig(front_end="mel")


def test_wrong_keys_are_listed(tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(WEIGHTS)
    state["stranger"] = state.pop("centre")
    save_file(state, tmp_path / "wrong.safetensors", metadata={"config": "{}"})
    with pytest.raises(WeightsError, match=r"missing keys \['centre'\], unexpected keys \['stranger'\]"):
        load_mini(weights=tmp_path / "wrong.safetensors")


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.safetensors: no such file"):
        load_mini(weights=tmp_path / "absent.safetensors")
    with pytest.raises(WeightsError, match="is a folder; it should be a file with the weights of mini"):
        load_mini(weights=tmp_path)
    (tmp_path / "half.safetensors").write_bytes(WEIGHTS.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"half\.safetensors: not a readable safetensors file"):
        load_mini(weights=tmp_path / "half.safetensors")


def test_weights_and_random_weights_exclude_each_other():
    with pytest.raises(ParameterError, match="random_weights"):
        load_mini(weights=WEIGHTS, random_weights=0)


def test_every_clip_of_four_sets_is_held_out_of_one_part_and_groups_stay_whole(shared_audio):
    from workbench.encoders.mini.held_out import GROUPS, PARTS, read_table, task_rows

    tables = [read_table(shared_audio, part) for part in range(PARTS)]
    counts = [table.loc[table["held_out"], "part"].value_counts().to_dict() for table in tables]
    assert counts[0] == {"fsdd": 600, "philharmonia": 459, "speech_commands": 150, "esc10": 80}
    among = tables[0]["part"].isin(GROUPS)
    assert np.array_equal(sum(table["held_out"].astype(int) for table in tables)[among], np.ones(among.sum()))
    for table in tables:
        for task in GROUPS:
            rows = task_rows(table, task)
            assert not set(rows.loc[rows["held_out"], "group"]) & set(rows.loc[~rows["held_out"], "group"])
    with pytest.raises(ParameterError, match="part=3"):
        read_table(shared_audio, 3)


def test_generated_sounds_and_batches_are_seeded():
    from workbench.encoders.mini.sounds import RATE, Corpus, draw_batch, generate, halve

    a, b = (generate(np.random.default_rng(5), 0.5) for _ in range(2))
    assert np.array_equal(a, b) and a.dtype == np.float32 and a.shape == (RATE // 2,) and np.abs(a).max() <= 1
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.int16)
    parts = ("fsdd", "speech_commands", "philharmonia", "librispeech")
    corpus = Corpus({part: [tone, tone[: RATE // 4]] for part in parts})
    (x, n), (y, m) = (draw_batch(corpus, np.random.default_rng(7), "short", 4) for _ in range(2))
    assert x.shape == (8, RATE) and torch.equal(x, y) and torch.equal(n, m)
    assert all(float(row[k:].abs().max()) == 0 for row, k in zip(x, n.tolist(), strict=True) if k < x.shape[1])
    sine = torch.sin(2 * torch.pi * 1000 / RATE * torch.arange(RATE))[None]
    assert float((halve(sine)[0, 200:-200] - sine[0, ::2][200:-200]).abs().max()) < 1e-3


@pytest.mark.slow
def test_depth_brings_words_of_speakers_never_heard(mini, shared_audio):
    """The story of the model card's table; the whole of it is tests/benchmarks/bench_mini.py."""
    from workbench.audio import load
    from workbench.core.splits import Split
    from workbench.encoders import extract
    from workbench.encoders.mini.held_out import read_table
    from workbench.probes import fit_probes

    rows = read_table(shared_audio).query("part == 'speech_commands'").reset_index(drop=True)
    waveforms = [load(shared_audio / file, rate=16000)[0] for file in rows["file"]]
    test = np.flatnonzero(rows["held_out"])
    split = Split(np.setdiff1d(np.arange(len(rows)), test), [], test)
    accuracy = {}
    for name, encoder in (("mini", mini), ("untrained", load_mini(random_weights=0))):
        vectors = dict(extract(encoder, waveforms, progress=False))
        x = {str(layer): np.stack([vectors[i][layer] for i in range(len(rows))]) for layer in ALL}
        probes = fit_probes(x, rows["label"], split, groups=rows["group"])
        accuracy[name] = probes.accuracy[:, 0]
    assert accuracy["mini"][6] > 0.93
    assert accuracy["mini"][6] > accuracy["mini"][0] + 0.05 and accuracy["mini"][6] > accuracy["untrained"].max() + 0.05
