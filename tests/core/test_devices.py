"""One rule for every ``device=``."""

import pytest
import torch

from workbench.core.devices import chosen_device
from workbench.core.errors import ParameterError


@pytest.fixture
def machine(monkeypatch):
    """machine(cuda=2, mps=True): what torch sees."""

    def make(cuda: int = 0, mps: bool = False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return make


def test_auto_takes_the_best_there_is(machine, recwarn):
    for there, wide, expected in (
        ({}, False, "cpu"),
        ({"mps": True}, False, "mps"),
        ({"mps": True}, True, "cpu"),
        ({"mps": True, "cuda": 1}, False, "cuda"),
        ({"cuda": 1}, True, "cuda"),
    ):
        machine(**there)
        assert chosen_device("auto", float64=wide) == torch.device(expected)
    assert not recwarn


def test_a_device_is_taken_by_name(machine):
    machine(cuda=2, mps=True)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert chosen_device(name) == chosen_device(torch.device(name)) == torch.device(name)
    assert chosen_device("cuda:1", float64=True) == torch.device("cuda:1")
    with pytest.warns(UserWarning, match="device='mps' has no numbers of 64 bits, which this needs: done on the CPU"):
        assert chosen_device("mps", float64=True) == torch.device("cpu")


def test_what_is_no_device_or_not_there(machine):
    machine(cuda=1)
    for device in ("gpu", "cuda:x", "", "meta", 0, None, ["cpu"]):
        with pytest.raises(ParameterError, match="must be 'auto', 'cpu', 'cuda', 'cuda:<number>' or 'mps'"):
            chosen_device(device)
    with pytest.raises(ParameterError, match=r"device='cuda:1' must be one that is there: torch sees 1 cuda"):
        chosen_device("cuda:1")
    with pytest.raises(ParameterError, match="torch sees 0 mps"):
        chosen_device("mps", float64=True)
