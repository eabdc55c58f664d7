"""sae.stack against autograd and torch.optim.Adam, and members against their single runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from workbench.sae import stack as stacking
from workbench.sae.model import SAEConfig
from workbench.sae.stack import Stack

CPU = torch.device("cpu")
DIM, LATENTS, BATCH = 12, 40, 8


def vectors(inputs: int = 1, rows: int = 16 * BATCH, seed: int = 0) -> torch.Tensor:
    """(inputs, rows, DIM) of few directions, so that some latents die."""
    rng = np.random.default_rng(seed)
    sparse = rng.exponential(size=(inputs, rows, 6)) * (rng.random((inputs, rows, 6)) < 0.4)
    x = sparse @ rng.standard_normal((inputs, 6, DIM)) + 0.1 * rng.standard_normal((inputs, rows, DIM))
    return torch.from_numpy((3 * x + rng.standard_normal((inputs, 1, DIM))).astype(np.float32))


def make(config: SAEConfig, x: torch.Tensor, ks: list[int], seeds: list[int], inputs: list[int]) -> Stack:
    scale = x.std((1, 2)).numpy() if config.normalise_input else np.ones(len(x), np.float32)
    return Stack(config, ks, seeds, inputs, mean=x.mean(1).numpy(), scale=scale, device=CPU)


def cut(x: torch.Tensor, steps: int) -> torch.Tensor:
    """Rows for so many steps: x over and over."""
    return torch.cat([x] * (1 + steps * BATCH // x.shape[1]), 1)[:, : steps * BATCH]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["groups", "blocks"])
def layout(request, monkeypatch):
    """Several members at once, or one at a time in blocks of 13 latents."""
    monkeypatch.setattr(stacking, "BLOCK", 2**17 if request.param == "groups" else 13 * DIM)
    return request.param


def test_paper_member_is_two_linear_layers_under_adam(layout):
    x, config = vectors(), SAEConfig.named("paper", dim=DIM, latents=LATENTS, k=5)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder, decoder = nn.Linear(DIM, LATENTS), nn.Linear(LATENTS, DIM, bias=False)
    stack = make(config, x, [5], [3], [0])
    torch.testing.assert_close(stack.state["encoder"][0], encoder.weight.detach(), rtol=0, atol=0)
    torch.testing.assert_close(stack.state["encoder_bias"][0], encoder.bias.detach(), rtol=0, atol=0)
    torch.testing.assert_close(stack.state["decoder"][0], decoder.weight.detach().T, rtol=0, atol=0)
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    rows = cut(x, 50)
    for batch in rows[0].split(BATCH):
        a = encoder(batch).relu()
        values, index = a.topk(5)
        loss = nn.functional.mse_loss(decoder(torch.zeros_like(a).scatter(1, index, values)), batch)
        adam.zero_grad()
        loss.backward()
        adam.step()
    before = stack.errors(x)
    stack.train(rows, BATCH, [1e-3] * 50)
    torch.testing.assert_close(stack.state["encoder"][0], encoder.weight.detach(), rtol=0, atol=2e-6)
    torch.testing.assert_close(stack.state["encoder_bias"][0], encoder.bias.detach(), rtol=0, atol=2e-6)
    torch.testing.assert_close(stack.state["decoder"][0], decoder.weight.detach().T, rtol=0, atol=2e-6)
    assert stack.steps == 50 and stack.errors(x) < 0.9 * before


def reference(config: SAEConfig, stack: Stack, rows: torch.Tensor, rate: float) -> dict[str, torch.Tensor]:
    """The default form by autograd, from the stack's initial weights (one member)."""
    w = {name: stack.state[name][0].clone().requires_grad_() for name in stacking.TRAINED}
    adam = torch.optim.Adam(w.values(), lr=rate)
    fired, dead = torch.zeros(config.latents, dtype=torch.bool), torch.zeros(config.latents, dtype=torch.bool)
    seen = revived = 0
    for x in rows.split(BATCH):
        x = x / stack.scale[0]
        a = ((x - w["bias"]) @ w["encoder"].T + w["encoder_bias"]).relu()
        values, index = a.topk(config.k)
        z = torch.zeros_like(a).scatter(1, index, values)
        levels = [z[:, :p] @ w["decoder"][:p] + w["bias"] for p in (*config.prefixes, config.latents)]
        loss = sum(nn.functional.mse_loss(level, x) for level in levels) / len(levels)
        if dead.any():
            values, index = (a * dead).topk(config.auxk_latents)
            residual = (x - levels[-1]).detach()
            again = torch.zeros_like(a).scatter(1, index, values) @ w["decoder"]
            loss = loss + config.auxk * nn.functional.mse_loss(again, residual) / residual.square().mean()
            revived += int((values > 0).any())
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            d, g = w["decoder"], w["decoder"].grad
            g -= (g * d).sum(1, keepdim=True) * d
            adam.step()
            d /= d.norm(dim=1, keepdim=True)
        fired |= (z > 0).any(0)
        seen += len(x)
        if seen >= config.dead_after:
            dead, fired, seen = ~fired, torch.zeros_like(fired), 0
    assert revived > 5  # AuxK took part
    return {name: value.detach() for name, value in w.items()}


@pytest.mark.parametrize("prefixes", [(), (7, 20)])
def test_default_member_is_the_loss_under_autograd(layout, prefixes):
    x, config = vectors(), SAEConfig(DIM, LATENTS, 3, prefixes=prefixes, dead_after=24, auxk_latents=6)
    stack, rows = make(config, x, [3], [0], [0]), cut(x, 40)
    expected = reference(config, stack, rows[0], 3e-3)
    stack.train(rows, BATCH, [3e-3] * 40)
    for name, value in expected.items():
        torch.testing.assert_close(stack.state[name][0], value, rtol=0, atol=1e-5, msg=name)
    torch.testing.assert_close(stack.state["decoder"].norm(dim=-1), torch.ones(1, LATENTS))


class Gate(torch.autograd.Function):
    """The step function H(a - theta), with the pseudo-derivative of arXiv 2407.14435 (its appendix on code)."""

    @staticmethod
    def forward(ctx, a, theta, width):
        ctx.save_for_backward(a, theta)
        ctx.width = width
        return (a > theta).float()

    @staticmethod
    def backward(ctx, grad):
        a, theta = ctx.saved_tensors
        window = (((a - theta) / ctx.width).abs() < 0.5).float() * (a > 0)
        return torch.zeros_like(a), (-window / ctx.width * grad).sum(0), None


class Jump(torch.autograd.Function):
    """JumpReLU a H(a - theta), with the pseudo-derivative of the same source."""

    @staticmethod
    def forward(ctx, a, theta, width):
        ctx.save_for_backward(a, theta)
        ctx.width = width
        return a * (a > theta)

    @staticmethod
    def backward(ctx, grad):
        a, theta = ctx.saved_tensors
        window = (((a - theta) / ctx.width).abs() < 0.5).float() * (a > 0)
        return (a > theta) * grad, (-theta / ctx.width * window * grad).sum(0), None


@pytest.mark.parametrize("prefixes", [(), (7, 20)])
def test_jumprelu_member_is_its_loss_under_autograd(layout, prefixes):
    x, rows, rate = vectors(), cut(vectors(), 40), 3e-3
    fields = {"activation": "jumprelu", "bandwidth": 0.4, "l0_weight": 0.7, "auxk_latents": 6, "dead_after": 24}
    config = SAEConfig(DIM, LATENTS, 3, prefixes=prefixes, **fields)
    stack = make(config, x, [3], [0], [0])
    stack.calibrate(x)
    w = {name: stack.state[name][0].clone().requires_grad_() for name in stack.trained}
    start, adam = w["log_threshold"].detach().clone(), torch.optim.Adam(w.values(), lr=rate)
    fired, dead, seen, revived = torch.zeros(LATENTS, dtype=torch.bool), torch.zeros(LATENTS, dtype=torch.bool), 0, 0
    for batch in (rows[0] / stack.scale[0]).split(BATCH):
        a = ((batch - w["bias"]) @ w["encoder"].T + w["encoder_bias"]).relu()
        theta = w["log_threshold"].exp()
        z, l0 = Jump.apply(a, theta, 0.4), Gate.apply(a, theta, 0.4).sum(1).mean()
        levels = [z[:, :p] @ w["decoder"][:p] + w["bias"] for p in (*prefixes, LATENTS)]
        loss = sum(nn.functional.mse_loss(level, batch) for level in levels) / len(levels)
        loss = loss + 0.7 * (l0 / 3 - 1) ** 2
        if dead.any():
            values, index = (a * dead).topk(6)
            residual = (batch - levels[-1]).detach()
            again = torch.zeros_like(a).scatter(1, index, values) @ w["decoder"]
            loss = loss + nn.functional.mse_loss(again, residual) / residual.square().mean() / 32
            revived += int((values > 0).any())
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            d, g = w["decoder"], w["decoder"].grad
            g -= (g * d).sum(1, keepdim=True) * d
            adam.step()
            d /= d.norm(dim=1, keepdim=True)
        fired |= (z > 0).any(0)
        seen += BATCH
        if seen >= 24:
            dead, fired, seen = ~fired, torch.zeros_like(fired), 0
    stack.train(rows, BATCH, [rate] * 40)
    for name, value in w.items():
        torch.testing.assert_close(stack.state[name][0], value.detach(), rtol=0, atol=1e-5, msg=name)
    assert revived > 5 and ((w["log_threshold"] - start).abs() > 0.01).float().mean() > 0.5


def test_thresholds_of_jumprelu_start_where_k_are_active_and_stay_there():
    x, ks = vectors(rows=64 * BATCH), [2, 6]
    stack = make(CONFIGS["jumprelu"], x, ks, [0, 0], [0, 0])
    stack.calibrate(x)
    for steps in (0, 800):
        stack.train(cut(x, steps), BATCH, [1e-3] * steps)
        saes = [stack.member(m, kept=False) for m in range(2)]
        for sae, k in zip(saes, ks, strict=True):
            assert (sae.encode(x[0]) > 0).sum(1).float().mean().item() == pytest.approx(k, rel=0.15 if steps else 0.01)
        errors = [(sae.decode(sae.encode(x[0])) - x[0]).square().sum().item() for sae in saes]
        assert errors == pytest.approx(stack.errors(x).tolist(), rel=1e-4)
    assert saes[0].threshold.std() > 0.02 * saes[0].threshold.mean()  # each latent has learnt its own


CONFIGS = {
    "paper": SAEConfig.named("paper", dim=DIM, latents=LATENTS, k=1),
    "default": SAEConfig(DIM, LATENTS, 1, dead_after=24, auxk_latents=6),
    "batchtopk": SAEConfig(DIM, LATENTS, 1, activation="batchtopk", dead_after=24, auxk_latents=6),
    "jumprelu": SAEConfig(DIM, LATENTS, 1, activation="jumprelu", dead_after=24, auxk_latents=6),
    "matryoshka": SAEConfig(DIM, LATENTS, 1, prefixes=(8, 24), dead_after=24, auxk_latents=6),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_member_equals_its_single_run(layout, name):
    x, config, steps = vectors(inputs=2), CONFIGS[name], 40
    members = [(k, seed, which) for k in (2, 5, 11) for seed in (0, 1) for which in (0, 1)]
    torch.set_num_threads(2)
    together = make(config, x, *map(list, zip(*members, strict=True)))
    together.calibrate(x)
    together.train(cut(x, steps), BATCH, [2e-3] * steps)
    assert torch.get_num_threads() == 2 and len(together._parts) == (2 if layout == "groups" else 12)
    torch.set_num_threads(1)  # where a member alone is worked on in the same blocks
    if config.auxk:
        assert together.state["dead"].any() and not together.state["dead"].all()
    errors = together.errors(x)
    for m, (k, seed, which) in enumerate(members):
        alone = make(config, x[[which]], [k], [seed], [0])
        alone.calibrate(x[[which]])
        alone.train(cut(x[[which]], steps), BATCH, [2e-3] * steps)
        tolerance = 2e-5 if layout == "groups" else 0.0
        for part in (*together.trained, "threshold"):
            close = {"rtol": 0, "atol": tolerance, "msg": part}
            torch.testing.assert_close(together.state[part][m], alone.state[part][0], **close)
        assert errors[m].item() == pytest.approx(alone.errors(x[[which]]).item(), rel=1e-4)


def test_calibrated_encoders_write_their_inputs_once(layout):
    """The scale is the best one: no other lowers the error, and without it k > D overshoots."""
    x, ks = vectors(2), [3, 30, 3, 30]
    raw, stack = (make(SAEConfig(DIM, latents=LATENTS, k=1), x, ks, [0] * 4, [0, 0, 1, 1]) for _ in range(2))
    stack.calibrate(x)
    assert (raw.errors(x)[1::2] > 3 * stack.errors(x)[1::2]).all()
    assert (stack.errors(x) < (x - x.mean(1, keepdim=True)).square().sum((1, 2))[[0, 0, 1, 1]]).all()
    best = stack.errors(x)
    for factor in (0.97, 1.03):
        stack.state["encoder"] *= factor
        assert (stack.errors(x) > best).all()
        stack.state["encoder"] /= factor


def test_members_differ_by_seed_and_share_the_start_within_one():
    stack = make(CONFIGS["default"], vectors(2), [2, 5, 2], [0, 0, 1], [0, 1, 0])
    encoder = stack.state["encoder"]
    assert torch.equal(encoder[0], encoder[1]) and not torch.isclose(encoder[0], encoder[2]).any()
    torch.testing.assert_close(stack.state["decoder"], encoder)
    torch.testing.assert_close(stack.state["bias"] * stack.scale[[0, 1, 0], None], vectors(2).mean(1)[[0, 1, 0]])


def test_auxk_revives_latents_that_are_too_quiet_to_be_kept():
    x, alive = vectors(rows=32 * BATCH), {}
    for auxk in (0.0, 1 / 32):
        config = SAEConfig(DIM, LATENTS, 3, auxk=auxk, dead_after=256, auxk_latents=6)
        stack = make(config, x, [3], [0], [0])
        stack.state["encoder"][:, 4:] *= 0.01
        stack.train(cut(x, 1000), BATCH, [2e-3] * 1000)
        alive[auxk] = int((stack.member(0, kept=False).encode(x[0]) > 0).any(0).sum())
    assert alive[1 / 32] >= 1.3 * alive[0.0]


def test_batchtopk_spends_k_on_average_and_its_threshold_does_too():
    x, config = vectors(rows=64 * BATCH), CONFIGS["batchtopk"]
    stack = make(config, x, [4, 2], [0, 0], [0, 0])
    stack.train(cut(x, 600), BATCH, [1e-3] * 600)
    part = stack._parts[0]
    rows = part.take(x / stack.scale[:, None, None], slice(0, 64))
    z = part.select(part.activations(rows - part.state["bias"][:, None]))
    counts = (z > 0).sum(-1).float()
    assert counts[0].sum() == [4, 2][0] * 64 and counts[0].std() > 0.5
    for m, k in enumerate([4, 2]):
        assert (stack.member(m, kept=False).encode(x[0]) > 0).sum(1).float().mean().item() == pytest.approx(k, rel=0.2)


def test_exactly_k_are_kept_among_equal_values():
    z = stacking._keep_top(torch.tensor([[[1.0, 1.0, 1.0, 0.0]]] * 2), 3, torch.tensor([[[1]], [[3]]]))
    assert z.sum(-1).flatten().tolist() == [1.0, 3.0]


def test_kept_weights_are_those_of_the_lowest_loss():
    x = vectors()
    stack = make(CONFIGS["paper"], x, [5, 5], [0, 1], [0, 0])
    stack.keep(torch.tensor([2.0, 1.0], dtype=torch.float64))
    first = stack.state["encoder"].clone()
    stack.train(cut(x, 5), BATCH, [1e-2] * 5)
    stack.keep(torch.tensor([1.0, 3.0], dtype=torch.float64))
    kept = stack.state["kept.encoder"]
    assert torch.equal(kept[1], first[1]) and torch.equal(kept[0], stack.state["encoder"][0])
    assert not torch.equal(kept[0], first[0])


def test_members_come_out_in_the_units_of_their_input():
    x = vectors(2) * torch.tensor([1.0, 50.0])[:, None, None]
    stack = make(CONFIGS["default"], x, [4, 4], [0, 0], [0, 1])
    stack.train(cut(x, 30), BATCH, [1e-3] * 30)
    errors = stack.errors(x)
    for m in range(2):
        sae = stack.member(m, kept=False)
        rest = sae.decode(sae.encode(x[m])) - x[m]
        assert rest.square().sum().item() == pytest.approx(errors[m].item(), rel=1e-4)
        torch.testing.assert_close(sae.decoder.norm(dim=1), stack.scale[m].expand(LATENTS))


def test_a_short_last_batch_counts_as_a_step():
    x = vectors()
    stack = make(CONFIGS["default"], x, [4], [0], [0])
    stack.train(x[:, : BATCH + 1], BATCH, [1e-3] * 2)
    assert stack.steps == 2 and stack.seen == BATCH + 1 and torch.isfinite(stack.state["decoder"]).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_and_cpu_agree():
    x = vectors()
    stacks = [
        Stack(
            CONFIGS["default"],
            [4, 2],
            [0, 1],
            [0, 0],
            mean=x.mean(1).numpy(),
            scale=x.std((1, 2)).numpy(),
            device=torch.device(kind),
        )
        for kind in ("cpu", "cuda")
    ]
    for stack in stacks:
        device = stack.scale.device
        stack.train(cut(x, 20).to(device), BATCH, [1e-3] * 20)
    torch.testing.assert_close(stacks[1].state["decoder"].cpu(), stacks[0].state["decoder"], rtol=0, atol=1e-4)
