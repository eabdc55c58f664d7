"""Errors pass from one process to another as they are."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from workbench.core.errors import AudioError, DependencyError, ParameterError, StoreError
from workbench.embeddings.shards import DamagedRows


@pytest.mark.parametrize(
    "error",
    [
        ParameterError("n", 0, "1 or more"),
        ParameterError("f", lambda: None, "a number"),  # the value itself could not be sent
        AudioError("a.wav", "is damaged"),
        StoreError("cannot be read"),
        DependencyError("umap cannot be loaded"),
        DamagedRows(Path("x.safetensors"), np.arange(3), "checksum"),
    ],
)
def test_an_error_survives_pickling(error):
    for again in (*(pickle.loads(pickle.dumps(error, protocol)) for protocol in range(6)), copy.copy(error)):
        assert type(again) is type(error) and str(again) == str(error)
        assert again.__dict__.keys() == error.__dict__.keys() and getattr(again, "reason", "") == getattr(
            error, "reason", ""
        )
