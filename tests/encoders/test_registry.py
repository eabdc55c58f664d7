"""Names, devices, where weights are found, what the errors say."""

import os
import shutil

import numpy as np
import pytest
import torch

import workbench.core.weights as weights_module
from workbench.core.errors import ParameterError, WeightsError
from workbench.core.weights import Wanted, find
from workbench.encoders import describe_encoder, extract, list_encoders, load_encoder
from workbench.encoders.catalog import SPECS

NAMES = [
    *("mini", "logmel", "whisper-tiny.en"),
    *("mn01_as", "mn04_as", "mn05_as", "mn10_as", "mn20_as", "mn40_as"),
    *("hubert-base", "wav2vec2-base", "wavlm-base-plus", "ast", "mert-95m", "whisper-base", "whisper-small"),
    *("encodecmae-small", "encodecmae-base", "encodecmae-large"),
    *("encodecmae-mel-base", "encodecmae-mel-base-st", "encodecmae-mel-large-st"),
]


REAL_HUB = weights_module._hub


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch, tmp_path):
    """No weights on the machine but what a test puts there, and no network."""
    monkeypatch.delenv("WORKBENCH_WEIGHTS", raising=False)
    monkeypatch.setattr(weights_module, "_hub", lambda wanted, local=True: None)


def test_list_and_describe():
    table = list_encoders()
    assert list(table["name"]) == NAMES
    assert (table["rate"] > 0).all() and (table["layers"] > 0).all() and (table["licence"] != "").all()
    spec = describe_encoder("wavlm-base-plus")
    assert spec.source == "microsoft/wavlm-base-plus" and spec.layers == 13 and len(spec.revision) == 40
    for spec in SPECS.values():
        assert spec.padding and spec.citation and spec.title
        assert spec.source == "" or spec.files
        if spec.family == "huggingface":
            assert len(spec.revision) == 40 and spec.size > 1e8


@pytest.mark.parametrize("name", ["mini", "logmel", "mn04_as", "mert-95m"])
def test_specs_tell_the_truth(name):
    encoder = load_encoder(name, device="cpu", random_weights=None if name in ("mini", "logmel") else 0)
    spec = describe_encoder(name)
    assert (spec.rate, spec.layers, spec.dim) == (encoder.rate, len(encoder.layers), encoder.dim)
    assert abs(spec.frame_rate - encoder.frame_rate) < 1e-6
    clip = [np.zeros(encoder.rate // 20, np.float32)]  # 0.05 s
    ((_, arrays),) = extract(encoder, clip, progress=False)
    assert len(arrays) == spec.layers and all(np.isfinite(array).all() for array in arrays)


def test_unknown_names_offer_close_ones():
    with pytest.raises(ParameterError, match=r"name='hubert-bas' .*did you mean hubert-base"):
        describe_encoder("hubert-bas")
    with pytest.raises(
        ParameterError, match=r"name_or_path='minni' must be a model folder.*among mini, .*did you mean mini"
    ):
        load_encoder("minni")


@pytest.mark.parametrize(
    ("device", "message"),
    [("gpu", "device='gpu' must be 'auto'"), ("cuda:99", "torch sees"), ("meta", "device='meta' must be 'auto'")],
)
def test_devices_that_are_not_there(device, message):
    with pytest.raises(ParameterError, match=message):
        load_encoder("logmel", device=device)


def test_auto_device():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert load_encoder("logmel").device.type == expected


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mn10_as", ["mn10_as_mAP_471.pt", "19.7 MB", "MIT", "releases/download/v0.0.1/mn10_as_mAP_471.pt"]),
        ("mn40_as", ["mn40_as_mAP_484.pt", "size not known"]),
        ("mert-95m", ["m-a-p/MERT-v1-95M", "377.6 MB", "CC BY-NC 4.0", "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5"]),
        ("someone/model", ["someone/model", "size not known", "see the model card"]),
    ],
)
def test_missing_weights_say_all(name, parts, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_WEIGHTS", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    with pytest.raises(WeightsError) as caught:
        load_encoder(name, device="cpu")
    message = str(caught.value)
    ways = f"`workbench encoders fetch {name}` or load_encoder({name!r}, fetch=True)"
    common = [ways, "WORKBENCH_WEIGHTS=<folder>", "weights=<path>"]
    for part in [*parts, *common, str(tmp_path / "a"), str(tmp_path / "b")]:
        assert part in message, part


def test_option_clashes():
    for options, message in (
        ({"name_or_path": "mini", "weights": "x", "random_weights": 1}, "weights='x' must be None when random_weights"),
        ({"name_or_path": "mini", "config": "paper"}, "config='paper' must be 'default' for encoder mini"),
        ({"name_or_path": "logmel", "random_weights": 1}, "logmel, which has none"),
        ({"name_or_path": "mini", "dtype": "int8"}, "dtype='int8'"),
    ):
        with pytest.raises(ParameterError, match=message):
            load_encoder(device="cpu", **options)


FILE = Wanted("m", "https://example.org/m.pt", files=("m.pt",))
FOLDER = Wanted("short", "owner/model", revision="abc")


@pytest.mark.parametrize("place", ["m.pt", "efficientat/m.pt", "any/deep/m.pt"])
def test_files_are_found_in_roots(tmp_path, monkeypatch, place):
    path = tmp_path / "second" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    monkeypatch.setenv("WORKBENCH_WEIGHTS", os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")]))
    assert find(FILE) == path
    assert find(FILE, weights=path) == path
    assert find(FILE, weights=tmp_path / "second") == path


@pytest.mark.parametrize(
    "place",
    [
        "owner/model",
        "model",
        "short",
        "models--owner--model/snapshots/abc",
        "family/short",
        "a/b/model",
        "a/owner/model",
    ],
)
def test_folders_are_found_in_roots(tmp_path, monkeypatch, place):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError):
        find(FOLDER)
    (folder / "config.json").write_text("{}")
    assert find(FOLDER) == folder
    assert find(FOLDER, weights=folder) == folder
    other = Wanted("x", "owner/other")
    with pytest.raises(WeightsError):  # a root that is itself some model is not any model
        monkeypatch.setenv("WORKBENCH_WEIGHTS", str(folder))
        find(other)


def test_given_place_without_weights_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match="for encoder m: expected m.pt there"):
        find(FILE, weights=tmp_path / "nowhere.pt")
    with pytest.raises(WeightsError, match="expected a folder with config.json"):
        find(FOLDER, weights=tmp_path)


def test_fetch_goes_through_download_and_is_found_again(monkeypatch, capsys):
    asked = {}

    def download(url, path, *, size=None, checksum=None, progress=True):
        asked.update(url=url, path=path, size=size, checksum=checksum)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
        return path

    import sys
    import types

    monkeypatch.setitem(sys.modules, "workbench.core.download", types.SimpleNamespace(download=download))
    wanted = Wanted("m", FILE.source, files=("m.pt",), size=1_500_000, sha256="ab", licence="MIT")
    path = find(wanted, fetch=True)
    assert asked == {"url": FILE.source, "path": path, "size": 1_500_000, "checksum": "sha256:ab"}
    assert "1.5 MB, licence MIT" in capsys.readouterr().out
    assert find(wanted) == path
    assert path.parent.name == "weights"


def test_hub_cache_is_looked_at(tmp_path, monkeypatch):
    """As the hub's client lays it out: blobs and snapshots by commit; an incomplete snapshot is not taken."""
    import huggingface_hub.constants

    commit = "a" * 40
    folder = tmp_path / "models--owner--model" / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    wanted = Wanted("short", "owner/model", revision=commit)
    assert REAL_HUB(wanted) is None
    (folder / "model.safetensors").write_bytes(b"x")
    assert REAL_HUB(wanted) == folder
    assert REAL_HUB(Wanted("short", "owner/model", revision="b" * 40)) is None


def test_fetch_without_network_is_one_error(monkeypatch):
    def offline(wanted, local=True):
        if not local:
            raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(weights_module, "_hub", offline)
    wanted = Wanted("short", "owner/model", revision="abc", files=("config.json",))
    with pytest.raises(
        WeightsError, match=r"fetching .*owner/model/tree/abc failed \(ConnectionError: no route to host\)"
    ):
        find(wanted, fetch=True)


def test_real_efficientat_is_found(shared_weights, monkeypatch):
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(shared_weights))
    encoder = load_encoder("mn04_as", device="cpu")
    assert encoder.dim == describe_encoder("mn04_as").dim == 384
    import hashlib

    path = find(SPECS["mn04_as"].wanted)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SPECS["mn04_as"].sha256
    assert path.stat().st_size == SPECS["mn04_as"].size


def test_parts_of_another_model_are_not_taken(tmp_path, monkeypatch):
    """A folder inside a model's folder belongs to that model, whatever it is called."""
    (tmp_path / "other" / "short").mkdir(parents=True)
    for place in ("other", "other/short"):
        (tmp_path / place / "config.json").write_text("{}")
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="not on this machine"):
        find(FOLDER)


@pytest.mark.parametrize(
    ("name", "values"),
    [("whisper-tiny.en", (5, 384, 50.0)), ("whisper-base", (7, 512, 50.0))],
)
def test_real_whisper_is_found(shared_weights, monkeypatch, name, values):
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(shared_weights))
    assert find(SPECS[name].wanted) == shared_weights / "whisper" / name
    encoder = load_encoder(name, device="cpu")
    spec = describe_encoder(name)
    assert (len(encoder.layers), encoder.dim, encoder.frame_rate) == values == (spec.layers, spec.dim, spec.frame_rate)
    assert "MIT" in spec.licence and "Apache-2.0" in spec.licence


def test_recorded_checksums_are_those_of_the_files(shared_weights):
    import hashlib

    notes = (shared_weights / "README.md").read_text()
    recorded = {spec.files[0]: spec.sha256 for spec in SPECS.values() if spec.sha256 and len(spec.files) == 1}
    there = {name: path for name in recorded for path in shared_weights.glob(f"**/{name}")}
    assert there
    for name, path in there.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == recorded[name] and recorded[name] in notes


@pytest.mark.parametrize(("config", "words"), [({"model_type": "clap"}, True), ({"model_type": "hubert"}, False)])
def test_a_fetch_of_clap_takes_its_tokenizer_along(monkeypatch, config, words):
    import types

    import huggingface_hub

    names = ("config.json", "model.safetensors", "tokenizer.json", "vocab.json", "README.md", "onnx/tokenizer.json")
    files = [types.SimpleNamespace(rfilename=name, size=10) for name in names]
    info = types.SimpleNamespace(siblings=files, sha="abc", config=config, tags=None)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: info)
    found = weights_module._listed(Wanted("short", "owner/model"))
    expected = {"config.json", "model.safetensors"} | ({"tokenizer.json", "vocab.json"} if words else set())
    assert set(found.files) == expected and found.size == 10 * len(expected) and found.revision == "abc"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name_or_path": None}, "name_or_path=None must be"),
        ({"name_or_path": 5}, "name_or_path=5 must be"),
        ({"name_or_path": ["mini"]}, "name_or_path=.* must be"),
        ({"name_or_path": ""}, "name_or_path='' must be a model folder"),
        ({"name_or_path": "Mini"}, "did you mean mini"),
        ({"name_or_path": "own er/model"}, "name_or_path='own er/model' must be a model folder"),
        ({"name_or_path": "a/b/c"}, "name_or_path='a/b/c' must be"),
        ({"name_or_path": "owner/model@"}, "name_or_path='owner/model@' must be"),
        ({"name_or_path": "x" * 5000}, "name_or_path='x+' must be a name or path that can be looked for"),
        ({"weights": "x" * 5000}, "weights='x+' must be a name or path"),
        ({"name_or_path": __file__}, "a model folder .with config.json., not a file"),
        ({"device": None}, "device=None must be"),
        ({"device": 5}, "device=5 must be"),
        ({"device": "cuda:-1"}, "device='cuda:-1' must be"),
        ({"device": "cuda:7"}, "torch sees"),
        ({"device": ""}, "device='' must be 'auto'"),
        ({"random_weights": "a"}, "random_weights='a' must be"),
        ({"random_weights": -1}, "random_weights=-1 must be"),
        ({"random_weights": 1.5}, "random_weights=1.5 must be"),
        ({"random_weights": True}, "random_weights=True must be"),
        ({"random_weights": 2**40}, "random_weights=1099511627776 must be"),
        ({"weights": 5}, "weights=5 must be"),
        ({"config": "papr"}, "config='papr' must be"),
        ({"config": "cut"}, "config='cut' must be 'default' for encoder mini"),
        ({"config": 3}, "config=3 must be"),
        ({"fetch": "yes"}, "fetch='yes' must be"),
        ({"dtype": "double"}, "dtype='double' must be"),
        ({"dtype": None}, "dtype=None must be"),
        ({"dtype": torch.float32}, "dtype=torch.float32 must be"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ParameterError, match=message):
        load_encoder(**{"name_or_path": "mini", "device": "cpu", **options})


@pytest.mark.parametrize("name", [None, 5, "", "hubert", ["mini"], b"mini"])
def test_wrong_names(name):
    with pytest.raises(ParameterError, match="name="):
        describe_encoder(name)


def test_names_that_no_hub_has():
    with pytest.raises(WeightsError, match=r"'a/b+' is no hub id"):
        REAL_HUB(Wanted("a", "a/" + "b" * 200))


def test_folder_goes_before_hub_id(tmp_path, monkeypatch):
    """A relative folder that looks like a hub id is the folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)
    with pytest.raises(WeightsError, match="config.json: no such file"):
        load_encoder("owner/model", device="cpu")
    shutil.rmtree(tmp_path / "owner")
    with pytest.raises(WeightsError, match="fetch=True"):
        load_encoder("owner/model@abc", device="cpu")
