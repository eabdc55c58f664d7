"""prototypes.losses and rival_losses: closed forms, gradients, where free embeddings come to rest, state."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from workbench.core.errors import ParameterError
from workbench.prototypes import prototypes
from workbench.prototypes.losses import LOSSES, make_loss
from workbench.prototypes.rival_losses import _episode

GOLDEN = json.loads((Path(__file__).parent / "losses.json").read_text())
LOGITS, LABELS = torch.tensor(GOLDEN["logits"], dtype=torch.float32), torch.tensor(GOLDEN["labels"])
Z = torch.tensor(GOLDEN["prototype"]["z"], dtype=torch.float32)
M = 2 * np.eye(3, 4)
PAIRS = GOLDEN["orthogonal_projection"]
PAIR_Z, PAIR_Y = torch.tensor(PAIRS["z"], dtype=torch.float32), torch.tensor(PAIRS["labels"])
FLAT = torch.zeros(4, 2)
LN2 = math.log(2)


def batch(n: int = 12, classes: int = 3, dim: int = 4, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    z, logits = torch.randn(n, dim, generator=g), torch.randn(n, classes, generator=g)
    return z, logits, torch.arange(n) % classes


def make(name: str, **options):
    return make_loss(name, classes=3, dim=4, prototypes=M, **options)


def test_cross_entropy_and_focal():
    assert make("cross_entropy")(Z, LOGITS, LABELS).item() == pytest.approx(GOLDEN["cross_entropy"], abs=1e-6)
    assert make("focal", gamma=0)(Z, LOGITS, LABELS).item() == pytest.approx(GOLDEN["cross_entropy"], abs=1e-6)
    assert make("focal")(Z, LOGITS, LABELS).item() == pytest.approx(GOLDEN["focal_2"], abs=1e-6)
    for i in range(2):
        row = slice(i, i + 1)
        assert make("cross_entropy")(Z, LOGITS[row], LABELS[row]).item() == pytest.approx(
            GOLDEN["each_cross_entropy"][i], abs=1e-6
        )
        assert make("focal")(Z, LOGITS[row], LABELS[row]).item() == pytest.approx(GOLDEN["each_focal_2"][i], abs=1e-6)


def test_sigmoid_classification_is_mean_binary_cross_entropy():
    loss = make("cross_entropy", classification="sigmoid")
    assert loss(Z, torch.zeros(2, 3), LABELS).item() == pytest.approx(LN2)
    assert loss(Z, torch.full((1, 3), 2.0), torch.tensor([[0.3, 0.7, 0]])).item() == pytest.approx(
        math.log(1 + math.exp(2)) - 2 / 3, abs=1e-6
    )


def test_prototype_loss_in_both_reductions():
    golden = GOLDEN["prototype"]
    total = make("prototype", weight=0.5, reduction="sum")(Z, LOGITS, LABELS)
    mean = make("prototype")(Z, LOGITS, LABELS)
    assert total.item() == pytest.approx(golden["sum_weight_half"], abs=1e-6)
    assert mean.item() == pytest.approx(golden["mean_weight_one"], abs=1e-6)
    same = make("prototype", weight=1 / 4, reduction="sum")(Z, LOGITS, LABELS)
    assert same.item() == pytest.approx(mean.item())
    pull = make("prototype").pull(Z, torch.tensor(M, dtype=torch.float32)[LABELS])
    assert pull.item() == pytest.approx(sum(golden["squares"]) / 8)


@pytest.mark.parametrize("reduction, size", [("sum", 1), ("mean", 4)])
def test_gradient_of_the_prototype_term(reduction, size):
    z = Z.clone().requires_grad_()
    make("prototype", weight=0.7, reduction=reduction)(z, LOGITS, LABELS).backward()
    expected = 2 * 0.7 * (Z - torch.tensor(M, dtype=torch.float32)[LABELS]) / (2 * size)
    assert torch.allclose(z.grad, expected, atol=1e-7)


def test_angular_prototype():
    loss = make("prototype", angular=True, weight=1.0)
    assert loss(Z, LOGITS, LABELS).item() - GOLDEN["cross_entropy"] == pytest.approx(
        ((1 - math.sqrt(0.5)) + 1) / 2, abs=1e-6
    )


def test_mixed_labels_mix_the_prototypes():
    y = torch.tensor([[0.3, 0.7, 0]])
    rows = prototypes("orthonormal", 3, 4, scale=1.0)
    loss = make_loss("prototype", classes=3, dim=4, prototypes=rows, reduction="sum")
    mixed = loss.soft(y) @ loss.prototypes
    assert mixed.square().sum().item() == pytest.approx(0.58, abs=1e-6)
    assert loss(mixed, LOGITS[:1], y).item() == pytest.approx(F.cross_entropy(LOGITS[:1], y).item())


def test_targets_take_the_place_of_class_prototypes():
    loss = make_loss("prototype", classes=3, dim=4, reduction="sum")
    assert loss(Z, LOGITS, LABELS, targets=Z).item() == pytest.approx(GOLDEN["cross_entropy"], abs=1e-6)
    with pytest.raises(ParameterError, match="targets=None must be given"):
        loss(Z, LOGITS, LABELS)


@pytest.mark.parametrize("weight", [0.3, 1.0, 1000.0])
def test_free_embeddings_rest_where_the_gradients_balance(weight):
    """z* = p - W^T (softmax - y) / (2 lambda)."""
    W = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    y, p = torch.arange(3), torch.tensor(M, dtype=torch.float32)
    rest = torch.zeros(3, 4)
    for _ in range(300):  # damped, for W is long against 2 lambda
        rest = 0.8 * rest + 0.2 * (p - ((rest @ W.T).softmax(1) - torch.eye(3)) @ W / (2 * weight))
    loss = make("prototype", weight=weight, reduction="sum")
    z = torch.zeros(3, 4, requires_grad=True)
    for _ in range(500):
        (slope,) = torch.autograd.grad(loss(z, z @ W.T, y), z)
        z = (z - slope / (2 * weight)).detach().requires_grad_()
    assert torch.allclose(z, rest, atol=1e-5)
    assert (z - p).abs().max().item() == pytest.approx(0, abs=1e-3) if weight == 1000 else (z - p).abs().max() > 0.05


def test_learnt_prototypes_get_gradients_and_may_be_held_at_a_length():
    loss = make("learnt_prototype", norm=5.0)
    loss(*batch()).backward()
    assert loss.learnt.grad.abs().sum() > 0 and [name for name, _ in loss.named_parameters()] == ["learnt"]
    assert loss.prototypes.norm(dim=1).tolist() == pytest.approx([5, 5, 5])
    assert torch.equal(make("learnt_prototype").prototypes.detach(), torch.tensor(M, dtype=torch.float32))
    assert not list(make("prototype").parameters())


def test_the_pace_of_learnt_prototypes_is_a_multiple_of_the_learning_rate():
    """The first step of Adam is the learning rate for every entry with a gradient, whatever the gradient's size."""
    z, y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
    for pace in (1.0, 10.0):
        loss = make("learnt_prototype", pace=pace)
        begun = loss.prototypes.detach().clone()
        assert torch.allclose(begun, torch.tensor(M, dtype=torch.float32))
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
        loss(z, z[:, :3], y).backward()
        optimizer.step()
        assert torch.allclose((loss.prototypes.detach() - begun).abs(), torch.tensor(0.01 * pace), rtol=1e-3)
    with pytest.raises(ParameterError, match="pace=0"):
        make("learnt_prototype", pace=0)


def test_mean_prototypes_follow_the_class_means():
    loss = make("mean_prototype", momentum=0.9, reduction="sum")
    z = torch.tensor([[1.0, 0, 0, 0], [3, 0, 0, 0], [0, 4, 0, 0]], requires_grad=True)
    y, logits = torch.tensor([0, 0, 1]), torch.zeros(3, 3)
    assert loss(z, logits, y).item() == pytest.approx(math.log(3) + 2 / 3)
    assert loss.prototypes[:, :2].tolist() == [[2, 0], [0, 4], [0, 0]]
    loss(z + 10, logits, y).backward()
    assert loss.prototypes[0].tolist() == pytest.approx([3, 1, 1, 1])
    assert not loss.prototypes.requires_grad
    before = loss.eval().prototypes.clone()
    loss(z, logits, y)
    assert torch.equal(before, loss.prototypes)


def test_center_loss_moves_its_centres_by_its_own_rule():
    loss = make_loss("center", classes=2, dim=2, weight=0.1)
    z = torch.tensor([[1.0, 0], [3, 0]], requires_grad=True)
    value = loss(z, torch.zeros(2, 2), torch.tensor([0, 0]))
    assert value.item() == pytest.approx(LN2 + 0.05 * 5, abs=1e-6)
    value.backward()
    assert z.grad.tolist() == [[pytest.approx(0.05), 0], [pytest.approx(0.15), 0]]
    assert loss.prototypes.tolist() == [[pytest.approx(2 / 3), 0], [0, 0]]
    assert not list(loss.parameters()) and "centers" in loss.state_dict()


@pytest.mark.parametrize(
    "options, value",
    [
        ({}, PAIRS["paper"]),
        ({"config": "per-pair abs", "gamma": 2, "weight": 0.1}, PAIRS["per_pair_abs_gamma_2_weight_tenth"]),
        ({"config": "signed"}, PAIRS["signed"]),
    ],
)
def test_orthogonal_projection(options, value):
    loss = make_loss("orthogonal_projection", classes=2, dim=2, **options)
    assert loss(PAIR_Z, FLAT, PAIR_Y).item() - LN2 == pytest.approx(value, abs=1e-6)


def test_angular_distance():
    loss = make_loss("angular_distance", classes=2, dim=2)
    assert loss(PAIR_Z, FLAT, PAIR_Y).item() - LN2 == pytest.approx(PAIRS["angular_distance"], abs=1e-6)


def test_supervised_contrastive():
    golden = GOLDEN["supervised_contrastive"]
    z, y = torch.tensor(golden["z"], dtype=torch.float32), torch.tensor(golden["labels"])
    loss = make_loss("supervised_contrastive", classes=2, dim=2, temperature=1.0)
    assert loss.contrast(z, y).item() == pytest.approx(golden["temperature_1"], abs=1e-6)
    alone = torch.cat([z, torch.tensor([[0.0, 1]])]), torch.tensor([0, 0, 1, 1, 0])
    assert loss.contrast(*alone).item() > golden["temperature_1"]
    for n in (1, 2):  # no clip has a positive: nothing to learn, and no NaN
        z = torch.eye(2)[:n].clone().requires_grad_()
        value = loss.contrast(z, torch.arange(n))
        value.backward()
        assert value.item() == 0 and torch.equal(z.grad, torch.zeros(n, 2))


def test_supervised_contrastive_trains_its_probe_without_moving_the_embedding():
    loss = make_loss("supervised_contrastive", classes=3, dim=4)
    z, logits, y = batch()
    z.requires_grad_()
    whole = torch.autograd.grad(loss(z, logits, y), z, retain_graph=True)[0]
    assert torch.allclose(whole, torch.autograd.grad(loss.contrast(z, y), z)[0])
    loss(z, logits, y).backward()
    assert loss.weight.grad.abs().sum() > 0 and loss.scores(z, logits).shape == (12, 3)


def test_prototypical_episode():
    golden = GOLDEN["prototypical_network"]
    support, query = torch.tensor(golden["support"]).float(), torch.tensor([golden["query"]]).float()
    logits = _episode(support, torch.tensor(golden["support_labels"]), query, 3)
    assert logits[0, :2].tolist() == [-square for square in golden["squares"]] and logits[0, 2] == -math.inf
    assert logits.softmax(1)[0, 0].item() == pytest.approx(1 / (1 + math.exp(-16)))


def test_prototypical_network_splits_a_batch_into_support_and_queries():
    loss = make_loss("prototypical_network", classes=3, dim=2)
    z = torch.tensor([[0.0, 0], [4, 4], [3, 1], [2, 0], [6, 4]], requires_grad=True)
    y = torch.tensor([0, 1, 0, 0, 1])  # support: 0, 3 of class 0 (mean (1, 0)), 1 of class 1; queries: 2 and 4
    expected = F.cross_entropy(torch.tensor([[-5.0, -10], [-41, -4]]), torch.tensor([0, 1]))
    value = loss(z, torch.zeros(5, 3), y)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    assert z.grad.isfinite().all()
    assert loss.scores(torch.tensor([[5.0, 4]]), None).argmax().item() == 1
    assert loss(z[:2], None, y[:2]).item() == 0
    with pytest.raises(ParameterError, match="hard labels"):
        loss(z, torch.zeros(5, 3), F.one_hot(y, 3).float())


@pytest.mark.parametrize("label, term", [(0, lambda S, m: S * math.cos(m)), (1, lambda S, m: -S * math.sin(m))])
def test_arcface(label, term):
    S, m = 4.0, 0.5
    loss = make_loss("arcface", classes=2, dim=2, scale=S, margin=m)
    with torch.no_grad():
        loss.weight.copy_(3 * torch.eye(2))
    true, wrong = term(S, m), S * label  # cosine 1 to class 0, 0 to class 1
    value = loss(torch.tensor([[2.0, 0]]), None, torch.tensor([label])).item()
    assert value == pytest.approx(math.log(math.exp(true) + math.exp(wrong)) - true, abs=1e-4)
    assert loss.scores(torch.tensor([[2.0, 0]]), None).tolist() == [[S, 0]]


def test_arcface_beyond_pi_goes_on_falling_and_its_gradients_are_finite():
    loss = make_loss("arcface", classes=2, dim=2, scale=1.0, margin=0.5)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    z = torch.tensor([[-1.0, 0], [1, 0]], requires_grad=True)
    value = loss(z[:1], None, torch.tensor([0]))
    raised = -1 - 0.5 * math.sin(0.5)
    assert value.item() == pytest.approx(math.log(math.exp(raised) + 1) - raised, abs=1e-6)
    loss(z, None, torch.tensor([0, 0])).backward()
    assert z.grad.isfinite().all() and loss.weight.grad.isfinite().all()


def test_rbf():
    loss = make_loss("rbf", classes=2, dim=2, scale=4.0, width=1.8)
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[0.0, 0], [3, 0]]))
    assert loss.scores(torch.zeros(1, 2), None).tolist()[0] == pytest.approx([4, 4 * math.exp(-9 / 1.8)])


def test_fixed_classifier_on_a_simplex():
    loss = make_loss("fixed_classifier", classes=3, dim=5)
    w = loss.prototypes
    assert (w @ w.T).numpy() == pytest.approx(np.where(np.eye(3), 1, -0.5), abs=1e-6)
    own = 7 * w
    assert loss(own, None, torch.arange(3)).item() == pytest.approx(0, abs=1e-6)
    assert loss(own, None, torch.tensor([1, 2, 0])).item() == pytest.approx(1.125, abs=1e-6)
    separated = make_loss("fixed_classifier", classes=3, dim=5, term="cross-entropy", scale=2.0)
    assert separated(own, None, torch.arange(3)).item() == pytest.approx(math.log(1 + 2 * math.exp(-3)), abs=1e-6)
    assert loss.scores(own, None).argmax(1).tolist() == [0, 1, 2] and not list(loss.parameters())


def test_hyperspherical():
    golden = GOLDEN["hyperspherical"]
    points = np.array([golden["prototype"], [-1, -1]])
    loss = make_loss("hyperspherical", classes=2, dim=2, prototypes=points)
    z = torch.tensor([golden["z"]], dtype=torch.float32)
    assert loss(z, None, torch.tensor([0])).item() == pytest.approx(golden["value"], abs=1e-6)
    w = make_loss("hyperspherical", classes=3, dim=2).prototypes
    assert (w @ w.T).numpy() == pytest.approx(np.where(np.eye(3), 1, -0.5), abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_takes_hard_and_one_hot_labels_alike_and_moves_z_or_its_head(name):
    z, logits, y = batch()
    values = []
    for labels in (y, F.one_hot(y, 3).float())[: 1 if name == "prototypical_network" else 2]:
        z, logits = z.detach().requires_grad_(), logits.detach().requires_grad_()
        loss = make(name)
        value = loss(z, logits, labels)
        value.backward()
        assert value.shape == () and value.isfinite()
        assert any(x.grad is not None and x.grad.abs().sum() > 0 for x in (z, logits))
        assert loss.scores(z, logits).shape == (12, 3)
        assert loss.prototypes is None or loss.prototypes.shape == (3, 4)
        assert all(p.grad is not None for p in loss.parameters())
        values.append(value.item())
    assert values == pytest.approx([values[0]] * len(values), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_making_a_loss_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    first, again = make(name), make(name)
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: make("triplet"), "name='triplet' must be 'cross_entropy', 'focal'"),
        (lambda: make("focal", weight=1), r"weight=1 must be left out: loss 'focal' has \['gamma'\]"),
        (lambda: make("hyperspherical", term="x"), r"term='x' must be left out: loss 'hyperspherical' has \['seed'\]"),
        (lambda: make("center", momentum=1), r"has \['alpha', 'classification', 'weight'\]"),
        (lambda: make("prototype", reduction="max"), "reduction='max' must be 'mean' or 'sum'"),
        (lambda: make("orthogonal_projection", config="mine"), "'paper', 'per-pair abs' or 'signed'"),
        (
            lambda: make_loss("prototype", classes=4, dim=4, prototypes=M),
            r"prototypes.shape=\(3, 4\) must be .*\(4, 4\)",
        ),
        (lambda: make_loss("learnt_prototype", classes=3, dim=4), "prototypes=None must be"),
        (lambda: make("mean_prototype", momentum=1.0), r"momentum=1.0 must be a finite number, 0 or more and below 1"),
        (lambda: make_loss("fixed_classifier", classes=9, dim=4), "kind='simplex' must be one of repulsion"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
