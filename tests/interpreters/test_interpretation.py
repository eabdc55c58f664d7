import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError
from workbench.interpreters import Interpretation, Spectra, component_mask, relevance

SPECTRA = Spectra(rate=8000, n_fft=64, hop=32)


def interpretation(*, z=(2.0, 1.0, 0.5, 3.0), weights=(0.5, -3.0, 1.0, 0.1)):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, generator=generator)
    log_magnitude, phase = SPECTRA.analyse(x)
    w = torch.rand(33, 4, generator=generator)
    return Interpretation(
        classes=("cat", "dog"),
        index=1,
        waveform_in=x,
        log_magnitude=log_magnitude,
        phase=phase,
        dictionary=w / w.norm(dim=0),
        activations=torch.rand(4, log_magnitude.shape[1], generator=generator),
        pooled=torch.tensor(z),
        weights=torch.tensor(weights),
        logits=np.array([0.0, 1.0]),
        scores=np.array([0.1, 0.9]),
        spectra=SPECTRA,
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
