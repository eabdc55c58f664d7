"""Results that are kept one by one: what is damaged is not read."""

import functools

import numpy as np
import pytest

from workbench.core.errors import StoreError
from workbench.core.files import temporary_beside
from workbench.core.kept import Kept, plain, read, write
from workbench.sonify import sound_vectors


def test_a_kept_result_with_a_flipped_digit_is_not_read(tmp_path):
    kept = Kept(tmp_path, "study 1", {"x": np.zeros(3)})
    path, row = kept.path(seed=0), {"accuracy": 0.8125, "per_class": [0.5, float("nan")], "n": 3}
    write(path, row)
    assert list(map(str, read(path).items())) == list(map(str, row.items())) and list(tmp_path.iterdir()) == [path]
    whole = path.read_bytes()
    for at in range(len(whole) - 1):  # the newline at the end means nothing
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
            assert read(path) is None
    path.unlink()
    path.mkdir()
    with pytest.warns(UserWarning, match="is damaged"):
        assert read(path) is None
    with pytest.raises(StoreError, match=f"cannot keep a result in {path}.*resume=False"):
        write(path, row)
    temporary_beside(tmp_path / "x.json").write_text("{")
    Kept(tmp_path, "study 1", {})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_function_of_the_package_is_described_by_what_it_encloses():
    from workbench.codecs import load_codec

    sounds = np.random.default_rng(0).normal(0, 0.1, (2, 4000)).astype(np.float32)
    codec = load_codec("mel", device="cpu")
    first, again, other = (sound_vectors(sounds, 16000, codec, seed=seed) for seed in (0, 0, 1))
    assert plain("decode", first.decode) == plain("decode", again.decode)
    assert plain("decode", first.decode) != plain("decode", other.decode), "another seed decodes to another sound"


def test_what_an_object_works_out_once_does_not_change_its_description():
    class Box:
        def __init__(self, x):
            self.x = x

        @functools.cached_property
        def twice(self):
            return 2 * self.x

    box = Box(3)
    before = plain("box", box)
    assert box.twice == 6 and plain("box", box) == before != plain("box", Box(4))
