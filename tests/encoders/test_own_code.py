"""Encoders in the user's own code, by ``path/to/file.py:name`` and ``module:name``."""

import sys
import textwrap

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.encoders import check_encoder_name, extract, load_encoder
from workbench.encoders.naming import own_code

CODE = """
import torch
from torch import nn
from workbench.encoders import Encoder, Layer, encoder_from, fingerprint
from beside import SCALE


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.rate, self.front = 2000, nn.Conv1d(1, width, 40, 20)

    def forward(self, x):
        return SCALE * self.front(x[:, None])


def make(device=None):
    torch.manual_seed(0)
    return Net()


def own_control(random_weights=None, *, seen=[]):
    torch.manual_seed(0 if random_weights is None else 100 + random_weights)
    return Net(6)


def whole():
    return encoder_from(make(), name="whole", layers="front")


class Mine(Encoder):
    def __init__(self):
        torch.manual_seed(0)
        self.name, self.rate, self.padding, self.net = "mine", 2000, "equal", nn.Conv1d(1, 4, 40, 20)
        self.layers, self.fingerprint = (Layer("last", 4, 100.0),), "mine"

    def forward(self, x, lengths, layers):
        frames = self.net(x[:, None]).mT
        return [(frames, torch.full_like(lengths, frames.shape[1]))]


class Bare(Mine):
    def __init__(self):
        super().__init__()
        self.net = self.net.forward


class Unmarked(Mine):
    def __init__(self):
        super().__init__()
        self.fingerprint = None


ready = make()
LIST = [1]


def fails():
    return 1 / 0


def nothing():
    pass


def needs(path):
    return path
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("SCALE = 2.0\n")
    (tmp_path / "net.py").write_text(CODE)
    before = list(sys.path)
    yield tmp_path
    assert sys.path == before
    for name in ("beside", "own_net", "own_module"):
        sys.modules.pop(name, None)


def marks(text, **options):
    return load_encoder(text, device="cpu", **options).fingerprint


@pytest.mark.parametrize(
    ("name", "called", "layers"),
    [
        ("make", "Net", ["front", "output"]),
        ("Net", "Net", ["front", "output"]),
        ("ready", "Net", ["front", "output"]),
        ("own_control", "Net", ["front", "output"]),
        ("whole", "whole", ["front"]),
        ("Mine", "mine", ["last"]),
    ],
)
def test_whatever_gives_an_encoder_or_a_module_is_loaded(here, name, called, layers):
    encoder = load_encoder(f"net.py:{name}", device="cpu")
    assert encoder.name == called and [layer.name for layer in encoder.layers] == layers
    assert encoder.recipe["name_or_path"] == f"{here / 'net.py'}:{name}"
    (_, (own, *_)), *_ = extract(encoder, [np.ones(500, np.float32)], progress=False)
    assert own.shape == (encoder.layers[0].dim,)


def test_the_same_from_elsewhere_and_as_a_module(here, monkeypatch):
    first = marks("net.py:make")
    assert marks(f"{here}/net.py:make") == first
    monkeypatch.chdir("/")
    again = load_encoder(**{**load_encoder(f"{here}/net.py:make", device="cpu").recipe, "device": "cpu"})
    assert again.fingerprint == first
    monkeypatch.chdir(here)
    (here / "own_module.py").write_text(CODE)
    assert load_encoder("own_module:whole", device="cpu").name == "whole"


def test_a_change_of_the_file_or_of_what_it_takes_changes_the_fingerprint(here):
    before = {name: marks(f"net.py:{name}") for name in ("make", "Mine")}
    (here / "net.py").write_text(CODE.replace("self.net(x[:, None]).mT", "2 * self.net(x[:, None]).mT"))
    assert marks("net.py:Mine") != before["Mine"]
    (here / "net.py").write_text(CODE)
    assert {name: marks(f"net.py:{name}") for name in before} == before
    (here / "beside.py").write_text("SCALE = 30.0\n")
    sys.modules.pop("beside")
    assert marks("net.py:make") != before["make"]


def test_untrained_controls(here):
    for name in ("make", "own_control", "whole", "Mine"):
        one, other = (load_encoder(f"net.py:{name}", device="cpu", random_weights=seed) for seed in (1, 2))
        trained = load_encoder(f"net.py:{name}", device="cpu")
        assert one.name == f"{trained.name}-random1"
        assert len({one.fingerprint, other.fingerprint, trained.fingerprint}) == 3
        assert one.fingerprint == marks(f"net.py:{name}", random_weights=1)
    with pytest.raises(ParameterError, match="random_weights=1 must be None: Bare holds no torch module that could be"):
        load_encoder("net.py:Bare", device="cpu", random_weights=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nett.py:make", r"name_or_path='nett.py:make' must be .*/nett\.py is no file"),
        ("net.py:mak", "net.py has no mak; did you mean make"),
        ("net.py:fails", r"must be code that runs: .*/net\.py, line \d+: ZeroDivisionError: division by zero"),
        ("net.py:nothing", "an Encoder or a torch module, or what gives one: nothing gives None"),
        ("net.py:LIST", "LIST is something of type list"),
        ("net.py:needs", "what can be called without path: give them defaults"),
        ("net.py:Unmarked", "encoder.fingerprint=None must be text that changes .*encoder_from"),
        ("net.py", r"not a file; of a Python file say what of it: net\.py:name"),
        ("broken.py:make", r"a file of Python code: .*broken\.py, line 2: "),
        ("importing.py:make", r"importing\.py, line 2: ModuleNotFoundError: No module named 'no_such_library'"),
        ("no_such_module:make", "there is no module no_such_module to import"),
        ("minni", r"code of your own \(path/to/file\.py:name\) or a name among mini"),
    ],
)
def test_what_goes_wrong_is_named(here, text, message):
    (here / "broken.py").write_text("\ndef make(:\n")
    (here / "importing.py").write_text("\nimport no_such_library\n\ndef make():\n    pass\n")
    with pytest.raises(ParameterError, match=message):
        load_encoder(text, device="cpu")


def test_a_name_is_checked_without_running_anything(here):
    (here / "late.py").write_text(textwrap.dedent("raise SystemExit\nmake = 1\n"))
    check_encoder_name("late.py:make", "encoder")
    for name in ("mini", "owner/model", "net.py:Mine", str(here)):
        check_encoder_name(name)
    with pytest.raises(ParameterError, match="encoder='late.py:mke' must be .* has no mke; did you mean make"):
        check_encoder_name("late.py:mke", "encoder")


def test_the_forms_of_names():
    windows = own_code("C:\\nets\\x.py:make")
    assert (windows.source, windows.name) == ("C:\\nets\\x.py", "make")
    assert own_code("pkg.nets:Net.small").name == "Net.small"
    for text in ("mini", "owner/model@v1", "C:\\nets\\x.py", "net.py:", ":make", "a b:c"):
        assert own_code(text) is None, text


def test_options_of_published_models_are_refused(here):
    for option in ({"weights": "x"}, {"config": "paper"}, {"fetch": True}):
        with pytest.raises(ParameterError, match="must be left out for net.py:make: it is for published models"):
            load_encoder("net.py:make", device="cpu", **option)
