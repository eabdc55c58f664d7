"""The ResiDual stack: sizes, streams, padding, and heads that released weights interleave."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.encoders.residual import ResiDualStack, _deinterleave, released_to_own, sinusoidal


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def stack(dim=24, layers=3, heads=4, hidden=40, seed=0, dtype=torch.float64):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResiDualStack(dim, layers, heads, hidden).to(dtype).eval()


def released(dim=24, layers=3, heads=4, hidden=40, seed=0, dtype=torch.float64):
    """Seeded random weights as released files name them: the feed-forward repeated under every layer."""
    inner = heads * (dim // heads)
    shapes = {"wq": (inner, dim), "wk": (inner, dim), "wv": (inner, dim), "wo": (dim, inner)}
    shared = {
        "ff_layer.0.weight": noise(hidden, dim, seed=seed, dtype=dtype) / dim**0.5,
        "ff_layer.0.bias": noise(hidden, seed=seed + 1, dtype=dtype),
        "ff_layer.2.weight": noise(dim, hidden, seed=seed + 2, dtype=dtype) / hidden**0.5,
        "ff_layer.2.bias": noise(dim, seed=seed + 3, dtype=dtype),
    }
    state = {}
    for i in range(layers):
        start = f"encoder_layers.{i}."
        for j, (name, shape) in enumerate(shapes.items()):
            state[f"{start}att_layer.{name}.weight"] = noise(*shape, seed=seed + 10 * i + 4 + j, dtype=dtype) / dim**0.5
        state |= {start + key: value.clone() for key, value in shared.items()}
        for j, norm in enumerate(("norm1", "norm2")):
            state[f"{start}{norm}.weight"] = 1 + 0.1 * noise(dim, seed=seed + 10 * i + 8 + j, dtype=dtype)
            state[f"{start}{norm}.bias"] = 0.1 * noise(dim, seed=seed + 10 * i + 9 + j, dtype=dtype)
    state["final_norm.weight"] = 1 + 0.1 * noise(dim, seed=seed + 90, dtype=dtype)
    state["final_norm.bias"] = 0.1 * noise(dim, seed=seed + 91, dtype=dtype)
    return state


def norm(x, weight, bias):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def interleaved_attention(x, state, start, heads):
    """Attention written with loops on channels d * heads + h, straight from the released matrices."""
    q, k, v = (x @ state[f"{start}att_layer.{name}.weight"].T for name in ("wq", "wk", "wv"))
    joined = torch.zeros_like(q)
    for h in range(heads):
        channels = [d * heads + h for d in range(q.shape[2] // heads)]
        scores = q[:, :, channels] @ k[:, :, channels].transpose(1, 2) / math.sqrt(len(channels))
        joined[:, :, channels] = scores.softmax(2) @ v[:, :, channels]
    return joined @ state[f"{start}att_layer.wo.weight"].T


def reference(x, state, layers, heads):
    """The released stack, layer by layer, with the formulae of the paper."""
    a = b = x
    for i in range(layers):
        start = f"encoder_layers.{i}."
        u = interleaved_attention(a, state, start, heads)
        a, b = norm(a + u, state[start + "norm1.weight"], state[start + "norm1.bias"]), b + u
        hidden = (a @ state[start + "ff_layer.0.weight"].T + state[start + "ff_layer.0.bias"]).clamp(min=0)
        f = hidden @ state[start + "ff_layer.2.weight"].T + state[start + "ff_layer.2.bias"]
        a, b = norm(a + f, state[start + "norm2.weight"], state[start + "norm2.bias"]), b + f
    return a + norm(b, state["final_norm.weight"], state["final_norm.bias"])


@pytest.mark.parametrize("layers", [2, 8, 10])
def test_sizes_of_the_published_stacks(layers):
    with torch.device("meta"):
        net = ResiDualStack(768, layers, 12 if layers == 10 else 8)
    count = sum(p.numel() for p in net.parameters())
    assert count == 2_362_368 * layers + 6_297_856
    assert count == {2: 11_022_592, 8: 25_196_800, 10: 29_921_536}[layers]


def test_the_feed_forward_is_one_block_and_attention_has_no_biases():
    keys = stack().state_dict().keys()
    assert sum("feed_forward" in key for key in keys) == 4
    assert not [key for key in keys if "attention" in key and "bias" in key]


@pytest.mark.parametrize(("dim", "heads"), [(24, 4), (26, 4)])
def test_released_weights_give_what_the_interleaved_formulae_give(dim, heads):
    """Heads that do not divide the dimension are narrower, as 12 heads on 1024 would be."""
    state, x = released(dim, heads=heads), noise(2, 7, dim, seed=5, dtype=torch.float64)
    net = stack(dim, heads=heads)
    net.load_state_dict(released_to_own(state, heads))
    expected = reference(x, state, 3, heads)
    assert float((net(x) - expected).detach().abs().max()) < 1e-12
    naive = {key.replace("encoder_layers", "layers").replace("att_layer", "attention"): v for key, v in state.items()}
    naive = {key: v for key, v in naive.items() if "ff_layer" not in key}
    missing, unexpected = net.load_state_dict(naive, strict=False)
    assert not unexpected and all("feed_forward" in key for key in missing)
    assert float((net(x) - expected).detach().abs().max()) > 0.1  # it loads without a word, and is wrong


def test_deinterleave_takes_the_published_rows():
    rows = _deinterleave(torch.arange(768.0)[:, None], 12)[:, 0]
    assert rows[:4].tolist() == [0, 12, 24, 36] and rows[64:67].tolist() == [1, 13, 25]
    columns = _deinterleave(torch.arange(768.0)[None], 12, columns=True)[0]
    assert torch.equal(rows, columns)
    with pytest.raises(ParameterError, match=r"weight=\(10, 3\) must be a matrix whose channels 4 heads share evenly"):
        _deinterleave(torch.zeros(10, 3), 4)


def test_layers_that_do_not_share_a_block_are_another_model():
    state = released()
    state["encoder_layers.2.ff_layer.0.bias"] += 1
    with pytest.raises(WeightsError, match=r"encoder_layers\.2\.ff_layer\.0\.bias differs"):
        released_to_own(state, 4)


def test_padded_frames_change_nothing():
    net, x = stack(), noise(3, 9, 24, dtype=torch.float64)
    counts = torch.tensor([9, 5, 1])
    padding = torch.arange(9) >= counts[:, None]
    together = net(x.masked_fill(padding[:, :, None], 100.0), padding)
    for row, n in enumerate(counts.tolist()):
        alone = net(x[row : row + 1, :n])
        assert float((together[row, :n] - alone[0]).detach().abs().max()) < 1e-12


def test_layer_outputs():
    net, x = stack(), noise(2, 6, 24, dtype=torch.float64)
    outputs = net.outputs(x)
    assert len(outputs) == 4 and torch.equal(outputs[0], x) and torch.equal(outputs[3], net(x))
    early = net.outputs(x, depth=2)
    assert len(early) == 3 and torch.equal(early[2], outputs[2])
    # stream a leaves a layer through a norm, untrained here: mean 0, variance 1 (less eps)
    assert float(outputs[2].detach().mean(2).abs().max()) < 1e-12
    assert float((outputs[2].detach().var(2, unbiased=False) - 1).abs().max()) < 1e-3


def test_positions():
    table = sinusoidal(50, 8)
    assert table.shape == (50, 8) and table.dtype == torch.float32
    assert table[0].tolist() == [0, 1] * 4
    for t, column in ((7, 0), (7, 1), (49, 6), (49, 7)):
        angle = t / 10000 ** (2 * (column // 2) / 8)
        assert float(table[t, column]) == pytest.approx(math.cos(angle) if column % 2 else math.sin(angle), abs=1e-6)
    with pytest.raises(ParameterError, match="dim=7 must be even"):
        sinusoidal(3, 7)


def test_positions_of_inference_serve_training_and_nobody_changes_those_of_another():
    with torch.inference_mode():
        first = sinusoidal(31, 6)
        expected = first.tolist()
        first.zero_()
    table, scale = sinusoidal(31, 6), torch.ones((), requires_grad=True)
    assert table.tolist() == expected
    (scale * table).sum().backward()
    assert float(scale.grad) == pytest.approx(float(table.sum()), rel=1e-5)


def test_wrong_shapes_are_named():
    net = stack()
    with pytest.raises(ParameterError, match=r"x=\(2, 24\) must be frames \(B, T, 24\)"):
        net(torch.zeros(2, 24))
    with pytest.raises(ParameterError, match=r"padding='torch.bool \(2, 4\)' must be bool of shape \(2, 5\)"):
        net(torch.zeros(2, 5, 24, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ParameterError, match="heads=30 must be at most dim=24"):
        ResiDualStack(24, 2, 30)


@pytest.mark.parametrize(
    "call",
    [
        lambda: sinusoidal("3", 4),
        lambda: sinusoidal(3, 10**30),
        lambda: ResiDualStack(8.0, 1, 2),
        lambda: ResiDualStack(8, True, 2),
        lambda: ResiDualStack(8, 1, 2)(None),
        lambda: ResiDualStack(8, 1, 2)(torch.zeros(1, 3, 8, dtype=torch.long)),
        lambda: ResiDualStack(8, 1, 2)(torch.zeros(1, 3, 8), torch.zeros(1, 3)),
        lambda: ResiDualStack(8, 1, 2).outputs(torch.zeros(1, 3, 8), depth=2),
        lambda: _deinterleave(torch.zeros(4), 2),
        lambda: released_to_own([], 2),
        lambda: released_to_own({"a": 1}, 2),
    ],
)
def test_wrong_sizes_and_kinds_are_refused_by_name(call):
    with pytest.raises(ParameterError, match="must be"):
        call()
