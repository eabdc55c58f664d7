"""interpreters.vgg: the published AudioSet weights in the paper's network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from workbench.core.errors import WeightsError
from workbench.core.splits import Split
from workbench.interpreters import fit_vgg
from workbench.interpreters.vgg import AUDIOSET, LEAST_VGG, KumarVGG, find_audioset, load_audioset


class Published(nn.Module):
    """The layers as they are numbered in the published file: three a stage, the third pools."""

    def __init__(self):
        super().__init__()
        channels = {1: (1, 16), 2: (16, 16), 4: (16, 32), 5: (32, 32), 7: (32, 64), 8: (64, 64), 10: (64, 128)}
        channels |= {11: (128, 128), 13: (128, 256), 14: (256, 256), 16: (256, 512)}
        for number in range(1, 18):
            layer = nn.MaxPool2d(2)
            if number in channels:
                a, b = channels[number]
                layer = nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            setattr(self, f"layer{number}", layer)
        self.layer18 = nn.Sequential(nn.Conv2d(512, 1024, 2), nn.BatchNorm2d(1024), nn.ReLU())
        self.layer19 = nn.Sequential(nn.Conv2d(1024, 527, 1), nn.Sigmoid())

    def forward(self, x):
        for number in range(1, 19):
            x = getattr(self, f"layer{number}")(x)
        return x


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[nn.Module, str]:
    torch.manual_seed(0)
    network = Published().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    state = {key: value for key, value in state.items() if "num_batches" not in key}  # as old torch wrote it
    path = tmp_path_factory.mktemp("weights") / AUDIOSET.files[0]
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return network, path


def test_the_layers_below_the_head_are_the_published_ones(published):
    reference, path = published
    network = load_audioset(KumarVGG(5), path).eval()
    x = torch.randn(2, 1, 160, 128)
    with torch.no_grad():
        y = x
        for stage in network.stages:
            y = network.pool(stage(y))
        assert torch.equal(network.last(y), reference(x))
    trained = {name.split(".")[0] for name, value in network.named_parameters() if value.requires_grad}
    assert trained == {"head", "out"}


def test_only_the_head_is_trained_and_the_name_says_so(published):
    _, path = published
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(8, LEAST_VGG)).astype(np.float32))
    split = Split(np.arange(4), np.arange(4, 6), np.arange(6, 8))
    options = {"epochs": 1, "batch": 4, "device": "cpu", "progress": False}
    made = fit_vgg(x, np.arange(8) % 2, split, weights=path, **options)
    start = load_audioset(KumarVGG(2), path)
    assert torch.equal(made.module.stages[2][0].weight, start.stages[2][0].weight)
    assert not torch.equal(made.module.stages[2][1].running_mean, start.stages[2][1].running_mean), "statistics follow"
    assert made.name == "VGG on AudioSet weights"
    assert fit_vgg(x, np.arange(8) % 2, split, **options).name == "VGG"


def test_the_file_is_found_in_a_folder_of_weights(published, monkeypatch, tmp_path):
    _, path = published
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(path.parent.parent))
    assert find_audioset() == path
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    assert find_audioset() is None


def test_other_files_are_refused_by_what_differs(published, tmp_path):
    reference, _ = published
    state = dict(reference.state_dict())
    path = tmp_path / "other.pkl"
    torch.save({key: value for key, value in state.items() if key != "layer5.0.weight"}, path)
    with pytest.raises(WeightsError, match=r"layer5\.0\.weight is missing"):
        load_audioset(KumarVGG(5), path)
    torch.save(state | {"layer18.0.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"layer18\.0\.weight has the shape \(3,\)"):
        load_audioset(KumarVGG(5), path)
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a state dict"):
        load_audioset(KumarVGG(5), path)
    with pytest.raises(WeightsError, match="no such file"):
        load_audioset(KumarVGG(5), tmp_path / "none.pkl")
