"""Codes of frames, kept sparse: equal to the dense codes, whatever the chunks, in memory and on disk."""

import json

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.sae import SAEConfig, SparseAutoencoder, SparseCodes, encode_frames, sparse_codes

LENGTHS = np.array([5, 1, 40, 17, 3, 34])


def autoencoder(dim=6, latents=30, k=4, seed=0):
    torch.manual_seed(seed)
    weights = torch.randn(latents, dim)
    bias = 0.3 * torch.randn(latents) - 0.5
    config = SAEConfig(dim=dim, latents=latents, k=k)
    return SparseAutoencoder(config, encoder=weights, encoder_bias=bias, decoder=weights, bias=torch.zeros(dim))


@pytest.fixture(params=["memory", "folder", "saved"])
def both(request, tmp_path, monkeypatch):
    """The dense codes of 100 frames, and the sparse ones, made and read in many small pieces."""
    monkeypatch.setattr(sparse_codes, "FRAMES", 7)
    monkeypatch.setattr(sparse_codes, "ACTIVE", 64)
    sae, x = autoencoder(), np.random.default_rng(1).standard_normal((100, 6)).astype(np.float32)
    x[11] = -100 * sae.encoder.numpy().sum(0)  # hardly a latent answers
    dense = np.concatenate([sae.encode(x[at : at + 7]) for at in range(0, 100, 7)])
    codes = encode_frames(sae, x, LENGTHS, folder=tmp_path / "a" if request.param == "folder" else None, progress=False)
    if request.param == "saved":
        codes = SparseCodes.load(codes.save(tmp_path / "b"))
    return dense, codes


def test_sparse_codes_are_the_dense_ones(both):
    dense, codes = both
    assert codes.shape == dense.shape == (100, 30) and len(codes) == 100
    ends = np.cumsum(LENGTHS)
    for i, (begin, end) in enumerate(zip(ends - LENGTHS, ends, strict=True)):
        np.testing.assert_array_equal(codes.clip(i), dense[begin:end])
    rows = [99, 0, 11, 11, 50]
    np.testing.assert_array_equal(codes[rows], dense[rows])
    np.testing.assert_array_equal(codes[3:90:4], dense[3:90:4])
    assert codes[np.zeros(0, int)].shape == (0, 30)
    np.testing.assert_array_equal(codes.density, (dense > 0).mean(0))
    active = np.count_nonzero(dense)
    assert codes.nbytes == 8 * 101 + active * (2 + 4) + 8 * 6
    assert codes.values.dtype == np.float32 and codes.indices.dtype == np.uint16


def test_a_clip_has_the_mean_and_the_largest_of_its_frames(both):
    dense, codes = both
    of = np.repeat(np.arange(6), LENGTHS)
    np.testing.assert_allclose(codes.pooled("mean"), [dense[of == i].mean(0) for i in range(6)], rtol=1e-6)
    np.testing.assert_array_equal(codes.pooled("max"), [dense[of == i].max(0) for i in range(6)])


def by_hand(dense, latent, n, apart):
    """The same from the dense codes: take the strongest frame that is left, cross out those too close to it."""
    of, left, found = np.repeat(np.arange(6), LENGTHS), dense[:, latent].copy(), []
    first = np.cumsum(LENGTHS) - LENGTHS
    while left.max() > 0 and len(found) < n:
        row = int(left.argmax())
        found.append((latent, of[row], row - first[of[row]], left[row]))
        near = np.abs(np.arange(100) - row) < (100 if apart is None else apart)
        left[near & (of == of[row])] = 0
    return found


@pytest.mark.parametrize("apart", [None, 1, 4])
@pytest.mark.parametrize("n", [1, 3, 200])
def test_strongest_frames(both, apart, n):
    dense, codes = both
    latents = [7, 0, 29, 12]
    found = codes.strongest(latents, n, apart=apart)
    wanted = [row for j in latents for row in by_hand(dense, j, n, apart)]
    assert list(found.columns) == ["latent", "clip", "frame", "value"]
    assert [tuple(row) for row in found.itertuples(index=False)] == wanted
    one = codes.strongest(12, n, apart=apart)
    assert [tuple(row) for row in one.itertuples(index=False)] == by_hand(dense, 12, n, apart)


def test_a_silent_latent_has_no_frames_and_no_density():
    sae = autoencoder()
    sae.encoder_bias[4] = -1e4
    codes = encode_frames(sae, np.ones((9, 6)), [4, 5], progress=False)
    assert codes.density[4] == 0 and codes.strongest(4).empty
    sae.encoder_bias[:] = -1e4  # nothing is active in any frame
    nothing = encode_frames(sae, np.ones((9, 6)), [4, 5], progress=False)
    assert len(nothing.values) == 0 and not nothing[:].any() and nothing.pooled().shape == (2, 30)
    assert not nothing.pooled("max").any() and nothing.strongest([0, 1]).empty


def test_codes_without_activations_are_saved_too(tmp_path):
    sae = autoencoder()
    sae.encoder_bias[:] = -1e4
    codes = encode_frames(sae, np.ones((9, 6)), [4, 5], folder=tmp_path / "codes", progress=False)
    assert codes.shape == (9, 30) and len(codes.values) == 0


class Generated:
    """Frames that are made when they are asked for; the largest number asked for at once is remembered."""

    def __init__(self, rows, dim):
        self.shape, self.most = (rows, dim), 0

    def __getitem__(self, rows):
        at = np.arange(*rows.indices(self.shape[0]))
        self.most = max(self.most, len(at))
        return np.sin(at[:, None] * np.arange(1, self.shape[1] + 1)).astype(np.float32)


def test_frames_are_read_chunk_by_chunk_with_progress(monkeypatch, tmp_path):
    monkeypatch.setattr(sparse_codes, "FRAMES", 128)
    x, told = Generated(1000, 6), []
    codes = encode_frames(autoencoder(), x, [500, 500], folder=tmp_path, progress=lambda *done: told.append(done))
    assert x.most == 128 and told[0] == (128, 1000) and told[-1] == (1000, 1000)
    np.testing.assert_array_equal(codes[500:510], autoencoder().encode(x[384:512])[116:126])


def test_a_killed_writer_leaves_the_old_codes_and_nothing_else(tmp_path):
    sae, x = autoencoder(), np.ones((20, 6), np.float32)
    old = encode_frames(sae, x, [20], folder=tmp_path, progress=False)[:]
    files = sorted(path.name for path in tmp_path.iterdir())

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_frames(sae, 2 * x, [20], folder=tmp_path, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    np.testing.assert_array_equal(SparseCodes.load(tmp_path)[:], old)
    x[7] = np.nan
    with pytest.raises(ParameterError, match="nan"):
        encode_frames(sae, x, [20], folder=tmp_path / "new", progress=False)
    assert list((tmp_path / "new").iterdir()) == []


def test_new_codes_replace_old_ones(tmp_path):
    sae = autoencoder()
    encode_frames(sae, np.ones((20, 6)), [20], folder=tmp_path, progress=False)
    codes = encode_frames(sae, -np.ones((8, 6)), [8], folder=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 5
    np.testing.assert_array_equal(SparseCodes.load(tmp_path)[:], codes[:])


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "record", "kind"])
def test_damaged_codes_are_refused(tmp_path, damage):
    encode_frames(autoencoder(), np.ones((20, 6)), [20], folder=tmp_path, progress=False)
    (values,) = tmp_path.glob("values-*.bin")
    data = bytearray(values.read_bytes())
    if damage == "cut":
        values.write_bytes(data[:-4])
    elif damage == "changed":
        data[9] ^= 1
        values.write_bytes(data)
    elif damage == "gone":
        values.unlink()
    elif damage == "record":
        (tmp_path / "codes.json").write_text("{")
    else:
        record = json.loads((tmp_path / "codes.json").read_text())
        (tmp_path / "codes.json").write_text(json.dumps(record | {"kind": "SAESweep"}))
    with pytest.raises(WeightsError, match=str(tmp_path)):
        SparseCodes.load(tmp_path)


def test_wide_codes_have_wide_numbers():
    sae = autoencoder(latents=2**16 + 1)
    codes = encode_frames(sae, np.random.default_rng(0).standard_normal((3, 6)), [3], progress=False)
    assert codes.indices.dtype == np.uint32 and codes.indices.max() > 2**15
    x = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_array_equal(codes[:], sae.encode(x))


def test_wrong_arguments_are_named():
    sae, x = autoencoder(), np.ones((10, 6))
    with pytest.raises(ParameterError, match="sum to 9"):
        encode_frames(sae, x, [4, 5])
    with pytest.raises(ParameterError, match="lengths"):
        encode_frames(sae, x, [0, 10])
    with pytest.raises(ParameterError, match=r"x\.shape"):
        encode_frames(sae, x[:, :3], [10])
    codes = encode_frames(sae, x, [4, 6], progress=False)
    with pytest.raises(ParameterError, match="latents"):
        codes.strongest(30)
    with pytest.raises(ParameterError, match="i="):
        codes.clip(2)
    with pytest.raises(ParameterError, match="rows"):
        codes[[10]]
    with pytest.raises(ParameterError, match="how"):
        codes.pooled("sum")
