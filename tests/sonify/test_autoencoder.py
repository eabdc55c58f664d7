"""The summary autoencoder: shapes, seeds, batches, what is refused, and what the built-in one remembers of a note."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from workbench.audio import resample
from workbench.codecs.mel import MelCodec
from workbench.core.errors import AudioError, ParameterError, WeightsError
from workbench.datasets.generated import notes
from workbench.encoders.mini import load_mini
from workbench.sonify.autoencoder import SummaryAutoencoder
from workbench.sonify.files import WEIGHTS, load_autoencoder, save_autoencoder
from workbench.sonify.network import SummaryConfig, SummaryNet

SMALL = SummaryConfig(
    dim=256, latent_dim=80, latent_frames=25, summary_layers=1, denoiser_layers=2, hidden=32, patch=5, skip=True
)


def build(**changes) -> SummaryAutoencoder:
    torch.manual_seed(0)
    net = SummaryNet(changes.pop("config", SMALL))
    arguments = {"encoder": load_mini(), "codec": MelCodec(), "layer": "2", "seconds": 0.4} | changes
    return SummaryAutoencoder(net, **arguments)


@pytest.fixture(scope="module")
def small() -> SummaryAutoencoder:
    return build()


@pytest.fixture(scope="module")
def built_in() -> SummaryAutoencoder:
    return load_autoencoder(device="cpu")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_shapes_all_the_way(small):
    assert (small.dim, small.layer, small.samples) == (256, "2", 6400)
    z = small.embed([noise(6400).numpy(), noise(3000).numpy()], 16000)
    latents = small.generate(z, steps=2)
    assert z.shape == (2, 256) and latents.shape == (2, 25, 80)
    assert small.decode(z, steps=1).shape == (2, 6400)
    assert small.reconstruct(noise(2, 6400), 16000, steps=1, guidance=0.0).shape == (2, 6400)


def test_a_summary_does_not_depend_on_batch_mates_nor_on_what_lies_beyond_its_length(small):
    frames, lengths = noise(3, 11, 256), torch.tensor([11, 4, 7])
    frames[1, 4:] = math.nan
    together = small.summarise(frames, lengths)
    for row, n in enumerate(lengths.tolist()):
        alone = small.summarise(frames[row : row + 1, :n], lengths[row : row + 1])
        assert float((alone[0] - together[row]).abs().max()) < 1e-5


def test_many_rows_go_in_chunks(small):
    frames = noise(70, 3, 256)
    whole = small.summarise(frames, torch.full((70,), 3))
    assert whole.shape == (70, 256)
    assert float((whole[40:42] - small.summarise(frames[40:42], torch.full((2,), 3))).abs().max()) < 1e-5
    assert small.generate(whole, steps=1, guidance=0.0).shape == (70, 25, 80)


def test_padding_is_part_of_a_summary_unless_it_is_left_out(small):
    x = noise(1, 3000)
    padded = torch.nn.functional.pad(x, (0, 3400))
    assert torch.equal(small.embed(x, 16000), small.embed(padded, 16000))
    assert not torch.allclose(small.embed(x, 16000), small.embed(x, 16000, windows="unpadded"), atol=1e-3)


def test_a_row_is_the_same_alone_with_its_seed(small):
    z = noise(3, 256) * 10
    together = small.generate(z, steps=3, guidance=1.5, seed=[4, 9, 4])
    assert float((small.generate(z[1:2], steps=3, guidance=1.5, seed=9) - together[1]).abs().max()) < 1e-4
    same = small.generate(z[:1].expand(3, -1), steps=3, seed=[4, 9, 4])
    assert torch.allclose(same[0], same[2], atol=1e-4) and not torch.allclose(same[0], same[1], atol=0.1)
    one, each = small.generate(z, steps=2, seed=1), small.generate(z, steps=2, seed=[1, 1, 1])
    assert torch.allclose(one, each, atol=1e-4)


def test_the_condition_and_its_guidance_matter_and_zeros_are_no_condition(small):
    z = noise(1, 256) * 10
    plain, pushed = (small.generate(z, steps=2, guidance=g) for g in (0.0, 2.0))
    assert not torch.allclose(plain, pushed, atol=1e-4)
    none = torch.zeros(1, 256)
    assert torch.allclose(small.generate(none, steps=2, guidance=0.0), small.generate(none, steps=2), atol=1e-5)
    assert torch.allclose(small.generate(z, steps=2, guidance=-1.0), small.generate(none, steps=2), atol=1e-4)


def test_what_is_saved_is_loaded(small, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_autoencoder(small, path, note={"command": "none"})
    assert list(tmp_path.iterdir()) == [path]
    loaded = load_autoencoder(path, device="cpu")
    assert (loaded.name, loaded.layer, loaded.seconds) == ("mine", "2", 0.4)
    x = noise(1, 6400)
    assert float((loaded.embed(x, 16000) - small.embed(x, 16000)).abs().max()) < 2e-2  # float16
    assert loaded.fingerprint == load_autoencoder(path, encoder=load_mini(), codec=MelCodec()).fingerprint
    assert loaded.fingerprint != small.fingerprint
    with pytest.raises(WeightsError, match="was trained with mini [0-9a-f]{16}, not with mini-random0"):
        load_autoencoder(path, encoder=load_mini(random_weights=0))


def test_released_ones_go_by_name():
    with pytest.raises(ParameterError, match="name='pecmae-2s' must be 'pecmae-4s', 'pecmae-1s' or 'pecmae-10s'"):
        load_autoencoder("pecmae-2s")
    with pytest.raises(ParameterError, match="encoder='mini' must be None for pecmae-4s, whose file holds its own"):
        load_autoencoder("pecmae-4s", encoder=load_mini())


def test_files_that_are_no_autoencoder(tmp_path):
    with pytest.raises(WeightsError, match="absent: no such file; expected mini-mel"):
        load_autoencoder(tmp_path / "absent")
    (tmp_path / "text").write_text("no")
    with pytest.raises(WeightsError, match="text: not a readable safetensors file"):
        load_autoencoder(tmp_path / "text")
    with pytest.raises(WeightsError, match=r"mini\.safetensors: its metadata has no 'settings'"):
        load_autoencoder(WEIGHTS.parents[1] / "encoders/mini/mini.safetensors")


def test_parts_that_do_not_fit(small):
    with pytest.raises(ParameterError, match="codec='mel' must be one that gives 25 latent frames of 80 in 0.5 s"):
        build(seconds=0.5)
    narrow = SummaryConfig(dim=64, latent_dim=80, latent_frames=25, hidden=32)
    with pytest.raises(ParameterError, match="encoder='mini' must be one with 64-d frames, not 256"):
        build(config=narrow)
    with pytest.raises(ParameterError, match="patch=4 must be a divisor of latent_frames=25"):
        SummaryConfig(latent_frames=25, patch=4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: a.generate(torch.zeros(2, 255)), r"z=\(2, 255\) must be summaries \(B, 256\)"),
        (lambda a: a.generate(torch.zeros(0, 256)), r"z=\(0, 256\) must be"),
        (lambda a: a.generate(torch.full((1, 256), math.nan)), "z='256 of 256 numbers that are NaN or infinite'"),
        (lambda a: a.generate(torch.zeros(1, 256), steps=0), "steps=0 must be a whole number, 1 or more"),
        (lambda a: a.decode(torch.zeros(1, 256), guidance=math.inf), "guidance=inf must be a finite number"),
        (lambda a: a.generate(torch.zeros(2, 256), seed=[1]), "seed='1 seeds' must be one for all rows or one for"),
        (lambda a: a.summarise(torch.zeros(1, 3, 8), torch.tensor([3])), r"frames=\(1, 3, 8\) must be \(B, T, 256\)"),
        (lambda a: a.summarise(torch.zeros(1, 3, 256), torch.tensor([4])), r"lengths=\[4\] must be 1 numbers from 1"),
        (lambda a: a.summarise(torch.zeros(1, 3, 256), torch.tensor([3]), source="x"), "source='x' must be .*another"),
        (lambda a: a.summarise(torch.full((1, 3, 256), math.inf), torch.tensor([3])), "frames='768 of 768 numbers"),
        (lambda a: a.embed(torch.zeros(1, 3200), 8000), "rate=8000 must be 16000 Hz, that of mini"),
        (lambda a: a.embed([], 16000), "waveforms='an empty batch' must be at least one"),
    ],
)
def test_bad_arguments_are_named(small, call, message):
    with pytest.raises(ParameterError, match=message):
        call(small)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros(1599), "clip 1: lasts 0.100 s; a summary needs 0.1 s"),
        (np.zeros(6401), "clip 1: lasts 0.400 s; the window is 0.4 s: segment it"),
        (np.full(6400, np.nan), "clip 1: 6400 of 6400 samples are NaN"),
        (np.zeros((2, 3000)), r"clip 1: expected a waveform \(samples,\)"),
        (np.float32(0), "clip 1: lasts 0.000 s"),
    ],
)
def test_bad_clips_are_named(small, clip, message):
    with pytest.raises(AudioError, match=message):
        small.embed([np.zeros(3200, np.float32), clip], 16000)


def test_the_shipped_file_is_small_and_says_how_it_was_made():
    from safetensors import safe_open

    path = WEIGHTS / "mini-mel.safetensors"
    assert path.stat().st_size < 12e6
    with safe_open(str(path), "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16, torch.int8}  # noqa: SIM118
        assert "workbench.sonify.mini_mel.training" in file.metadata()["command"]
    assert (WEIGHTS / "mini-mel.md").is_file()


def test_the_built_in_one_brings_back_the_note_that_went_in(built_in):
    table = notes.table(48, seed=5)
    rows = table[table["split"] == "test"].head(8)  # specimens that the training did not hear
    x = np.stack([resample(notes.render(notes.recipe(row)), notes.RATE, 16000) for _, row in rows.iterrows()])
    latents = built_in.generate(built_in.embed(x, 16000), steps=10, guidance=1.0)
    truth = built_in.codec.encode(torch.from_numpy(x))
    r = np.corrcoef(truth.flatten(1).numpy(), latents.flatten(1).numpy())[:8, 8:]
    own, others = np.diag(r).mean(), r[~np.eye(8, dtype=bool)].mean()
    assert own > 0.4 and own > others + 0.25
    assert (r.argmax(1) == np.arange(8)).sum() >= 4  # by chance one of eight


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([1, 2], "its settings are a list"),
        ({"version": 2}, "is a file of version 2; this package reads version 1"),
        ({"config": {"patch": 5}}, "of another version of this package .unknown: patch"),
        ({"config": {"width": 5}}, "of another version of this package .missing: "),
        ({"config": None}, "holds no summary autoencoder of this package"),
        ({"layer": 2}, "its settings lack encoder, codec, layer or seconds"),
    ],
)
def test_files_of_other_versions_are_refused_for_the_true_reason(tmp_path, settings, message):
    import json

    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(str(WEIGHTS / "mini-mel.safetensors"), "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        known = json.loads(file.metadata()["settings"])
    path = tmp_path / "other.safetensors"
    changed = settings if isinstance(settings, list) else known | settings
    save_file(tensors, str(path), metadata={"settings": json.dumps(changed)})
    with pytest.raises(WeightsError, match=f"other.safetensors: .*{message}"):
        load_autoencoder(path)
    with pytest.raises(WeightsError, match="a folder; expected a file"):
        load_autoencoder(tmp_path)
