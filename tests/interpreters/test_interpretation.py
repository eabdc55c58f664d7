import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.interpreters import Interpretation, Spectra, component_mask, relevance

SPECTRA = Spectra(rate=8000, n_fft=64, hop=32)


def interpretation(*, z=(2.0, 1.0, 0.5, 3.0), weights=(0.5, -3.0, 1.0, 0.1), rules="default", silent=0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, generator=generator)
    log_magnitude, phase = SPECTRA.analyse(x)
    w, h = torch.rand(33, len(z), generator=generator), torch.rand(len(z), log_magnitude.shape[1], generator=generator)
    h[:, :silent] = 0
    return Interpretation(
        classes=("cat", "dog"),
        index=1,
        waveform_in=x,
        log_magnitude=log_magnitude,
        phase=phase,
        dictionary=w / w.norm(dim=0),
        activations=h,
        pooled=torch.tensor(z),
        weights=torch.tensor(weights),
        logits=np.array([0.0, 1.0]),
        scores=np.array([0.1, 0.9]),
        spectra=SPECTRA,
        rules=rules,
    )


@pytest.mark.parametrize(
    ("sign", "preset", "expected"),
    [
        (1, "default", (1 / 3, -1, 1 / 6, 0.1)),
        (1, "paper", (1, -3, 0.5, 0.3)),
        (-1, "paper", (10 / 3, 10, 5 / 3, 1)),
    ],
)
def test_relevance(sign, preset, expected):
    weights = sign * np.array([0.5, -3, 1, 0.1]) if sign > 0 else -np.array([0.5, 3, 1, 0.1])
    assert relevance((2, 1, 0.5, 3), weights, preset=preset) == pytest.approx(expected)


def test_nothing_is_relevant_where_no_contribution_is_positive():
    found = interpretation(weights=(-0.5, -3.0, -1.0, -0.1))
    assert (found.relevance <= 0).all() and len(found.selected(0.0)) == 0
    assert relevance(np.zeros(4), np.ones(4)).tolist() == [0, 0, 0, 0]


def test_selections_are_nested_and_strict():
    found = interpretation()
    assert found.selected(found.relevance[3]).tolist() == [0, 2]  # what equals tau is not above it
    assert found.selected(0.0999).tolist() == [0, 2, 3]
    assert found.selected(1.0).tolist() == [] and sorted(found.selected(-1.01)) == [0, 1, 2, 3]
    sets = [set(found.selected(tau)) for tau in np.linspace(-1, 1, 21)]
    assert all(a >= b for a, b in zip(sets[:-1], sets[1:], strict=True))


def test_masks_of_all_components_sum_to_one_and_so_do_their_log_magnitudes():
    found = interpretation()
    masks = [component_mask(found.dictionary, found.activations, [k]) for k in range(4)]
    assert torch.allclose(sum(masks), torch.ones_like(masks[0]))
    parts = [(mask * found.log_magnitude).double() for mask in masks]
    whole = torch.stack([part.expm1() for part in parts])
    assert torch.allclose((1 + whole).prod(0), found.log_magnitude.double().exp())
    assert (whole.sum(0) <= found.log_magnitude.double().expm1() + 1e-6).all()


def test_where_nothing_is_active_all_components_share():
    mask = component_mask(torch.eye(3), torch.zeros(3, 2), [0, 2])
    assert mask.tolist() == [[pytest.approx(2 / 3)] * 2] * 3


def test_where_nothing_is_active_no_component_has_anything_if_so_chosen():
    w, h = torch.eye(3) + 0.1, torch.tensor([[0.0, 1.0], [0.0, 0.5], [0.0, 0.0]])
    zero, share = (component_mask(w, h, [0, 2], empty=empty) for empty in ("zero", "share"))
    assert not zero[:, 0].any() and share[:, 0].tolist() == pytest.approx([2 / 3] * 3)
    assert torch.equal(zero[:, 1], share[:, 1]) and (zero[:, 1] > 0).all()
    every = component_mask(w, h, [0, 1, 2], empty="zero")
    assert every.tolist() == [[0, 1]] * 3 and component_mask(w, h, [0, 1, 2]).min() == 1
    with pytest.raises(ParameterError, match="empty='half'"):
        component_mask(w, h, [0], empty="half")
    with pytest.raises(ParameterError, match="epsilon=-1"):
        component_mask(w, h, [0], epsilon=-1)


MANY = {"z": (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4), "weights": (1.0,) * 7}


def test_the_paper_s_masks_are_the_formula_of_its_code():
    """Components w_k h_k / (1e-6 + W H) of X; the five most relevant, and of these those above tau."""
    found = interpretation(**MANY, rules="paper", silent=6)
    w, h = found.dictionary.double().numpy(), found.activations.double().numpy()
    parts = np.stack([np.outer(w[:, k], h[k]) / (1e-6 + w @ h) for k in range(7)])
    assert found.selected(0.3).tolist() == [0, 1, 2, 3, 4] and found.selected(0.65).tolist() == [0, 1, 2, 3]
    for tau, count in ((0.3, 5), (0.65, 4)):
        np.testing.assert_allclose(found.mask(tau), parts[:count].sum(0), atol=1e-5)
    assert not found.mask(0.3)[:, :6].any()  # silence is nobody's
    clip = found.waveform_in.numpy()
    quiet = SPECTRA.hop * 4
    assert not found.waveform(0.3)[:quiet].any() and found.removed(0.3)[:quiet] == pytest.approx(clip[:quiet], abs=1e-5)
    heard = SPECTRA.invert(torch.tensor(parts[2]).float() * found.log_magnitude, found.phase, len(clip))
    assert found.component(2) == pytest.approx(heard.numpy(), abs=1e-5)


def test_by_default_all_above_tau_are_played_and_share_silence():
    found = interpretation(**MANY, silent=6)
    assert found.selected(0.3).tolist() == list(range(7)) and found.mask(0.3).min() == 1
    assert found.mask(0.65)[:, :6].unique().tolist() == pytest.approx([4 / 7])


def test_the_paper_s_relevance_may_be_above_one_and_inverted():
    against = {"weights": (-0.5, -3.0, -1.0, -0.1)}
    assert interpretation(**against, rules="paper").relevance == pytest.approx([10 / 3, 10, 5 / 3, 1])
    assert interpretation(**against, rules="paper").ranked[0] == 1  # that which speaks most against the class
    assert interpretation(**against).relevance.max() < 0
    with pytest.raises(ParameterError, match="rules='mine'"):
        interpretation(rules="mine")


def test_limits_of_tau():
    found = interpretation()
    x = found.waveform_in.numpy()
    assert (found.waveform(1.0) == 0).all() and found.removed(1.0) == pytest.approx(x, abs=1e-5)
    assert found.waveform(-2.0) == pytest.approx(x, abs=1e-5) and (found.removed(-2.0) == 0).all()
    assert found.waveform(0.1).shape == x.shape


def test_components_by_number():
    found = interpretation()
    assert np.abs(found.component(0)).max() > 0
    with pytest.raises(ParameterError, match="k=4 must be from 0 to 3"):
        found.component(4)
    with pytest.raises(ParameterError, match="preset='mine'"):
        relevance([1.0], [1.0], preset="mine")
    assert "dog" in repr(found)
