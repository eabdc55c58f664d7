"""Results that are kept one by one: what is damaged is not read."""

import numpy as np
import pytest

from workbench.core.errors import StoreError
from workbench.core.files import temporary_beside
from workbench.core.kept import Kept, read, write


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
